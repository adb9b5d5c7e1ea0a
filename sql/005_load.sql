-- Loading of commissioning data: files, lots, events; staging and merge.
--
-- A file is staged whole into tables of its own (unlogged, dropped at the end),
-- then merged lot by lot: one transaction a lot, with the note that this lot of
-- this file is done.  Whoever is killed starts again with an empty staging table
-- and passes over the lots that are done.
--
-- The staging tables belong to sv_owner: a temporary table of the caller's
-- could be a view, and the merge would run its functions with sv_owner's rights.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(5, 'load');

create sequence sv.load_number;

-- One row a content of a file, whatever names it came under.
create table sv.load (
  load_id         integer      not null primary key,
  digest          bytea        not null unique,           -- sha256 of the file
  file            text         not null,                  -- its name, as it came first
  format          text         not null,
  state           text         not null check (state in ('loading', 'loaded', 'partial', 'rejected')),
  phase           text         not null,                  -- of loading: reading, merging; else done
  filed           boolean      not null default false,    -- moved out of the inbox, with its report
  attempts        integer      not null default 1,
  host            text         not null,
  started_at      timestamptz  not null,
  updated_at      timestamptz  not null,
  finished_at     timestamptz,
  bytes           bigint       not null default 0,        -- read
  bytes_total     bigint       not null,
  lines           bigint       not null default 0,        -- packs named by the file, good or bad
  lines_rejected  bigint       not null default 0,
  events          bigint       not null default 0,        -- EPCIS: commissioning events
  events_seen     bigint       not null default 0,        -- of them, loaded before
  events_skipped  bigint       not null default 0,        -- of another kind
  lots            bigint       not null default 0,
  lots_merged     bigint       not null default 0,
  reasons         jsonb        not null default '{}',     -- reason: how often, of everything rejected or skipped
  note            text                                    -- why the whole file was rejected
);

create index load_started on sv.load (started_at);

create table sv.load_lot (
  gtin            bigint       not null,
  lot             text         collate "C" not null,
  load_id         integer      not null,
  first_line      bigint       not null,
  lines           bigint       not null,
  new_packs       bigint       not null,
  repeated        bigint       not null,                  -- recorded before with the same data
  contradictions  bigint       not null,                  -- recorded before with other data; the first stands
  expiry          date         not null,                  -- the earliest
  event_from      timestamptz,
  event_to        timestamptz,
  market          text,                                   -- if all lines name the same
  digest          bytea        not null,                  -- sha256 over the serials of the new packs in order, a line feed behind each
  at              timestamptz  not null,
  primary key (gtin, lot, load_id)
);

create index load_lot_load on sv.load_lot (load_id);

-- Commissioning events by identity: of the eventID, else of the facts.
create table sv.load_event (
  identity  bytea        not null primary key,
  facts     bytea        not null,
  load_id   integer      not null,
  line      bigint       not null,
  at        timestamptz  not null
);

-- What is wrong with a file, up to a limit; all is counted in sv.load.reasons.
create table sv.load_error (
  load_id  integer  not null,
  n        integer  not null,
  line     bigint   not null,
  lines    bigint   not null default 1,                   -- how many lines this stands for
  element  text,
  value    text,
  reason   text     not null,
  skipped  boolean  not null default false,               -- left to others, not wrong
  primary key (load_id, n)
);

-- Staging tables and the sessions that fill them.
create table sv.load_stage (
  stage    text         not null primary key,
  load_id  integer      not null,
  pid      integer      not null,
  at       timestamptz  not null
);


-- A file with this content is about to be loaded.  `action' is
--   load     from the beginning, or again after an interruption
--   file     it is loaded, but not yet moved out of the inbox
--   skip     it was loaded before, without anything rejected
-- A file of which something was rejected is loaded again when it is delivered
-- again: the cause, such as an unknown product, may be gone.
create function sv.load_begin(
  p_digest      bytea,
  p_file        text,
  p_format      text,
  p_bytes       bigint,
  p_host        text,
  out load_id   integer,
  out action    text
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_now   timestamptz := transaction_timestamp();
  v_load  sv.load;
begin
  select l.* into v_load from sv.load l where l.digest = p_digest for update;

  if not found then
    insert into sv.load (load_id, digest, file, format, state, phase, host, started_at, updated_at, bytes_total)
    values (nextval('sv.load_number')::integer, p_digest, p_file, p_format, 'loading', 'reading', p_host, v_now, v_now, p_bytes)
    on conflict (digest) do nothing
    returning * into v_load;

    if found then
      load_begin.load_id := v_load.load_id;
      load_begin.action := 'load';
      return;
    end if;

    select l.* into strict v_load from sv.load l where l.digest = p_digest for update;
  end if;

  load_begin.load_id := v_load.load_id;

  if v_load.state <> 'loading' and not v_load.filed then
    load_begin.action := 'file';

  elsif v_load.state = 'loaded' then
    load_begin.action := 'skip';

  else
    load_begin.action := 'load';

    update sv.load
    set state = 'loading', phase = 'reading', filed = false, attempts = attempts + 1, host = p_host,
      started_at = v_now, updated_at = v_now, finished_at = null, format = p_format, bytes = 0, lines = 0,
      lines_rejected = 0, events = 0, events_seen = 0, events_skipped = 0, lots = 0, lots_merged = 0,
      reasons = '{}', note = null
    where load_id = v_load.load_id;

    delete from sv.load_error where load_id = v_load.load_id;
  end if;
end
$$;


create function sv.stage_check(p_stage text)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_stage !~ '^stage_[0-9]+$' then
    raise exception 'not a staging table: %', p_stage using errcode = '22023';
  end if;
end
$$;


create function sv.stage_drop(p_stage text)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform sv.stage_check(p_stage);
  execute format('drop table if exists sv.%I, sv.%I, sv.%I', p_stage, p_stage || '_lot', p_stage || '_event');
  delete from sv.load_stage where stage = p_stage;
end
$$;


-- Drops what killed sessions left behind; what a dump is reading, later.
create function sv.stage_clean()
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '500ms'
as $$
declare
  v_stage  text;
  v_n      integer := 0;
begin
  for v_stage in
    select s.stage
    from sv.load_stage s
    where s.pid <> pg_backend_pid() and not exists (select from pg_stat_get_activity(null) a where a.pid = s.pid)
    for update skip locked
  loop
    begin
      perform sv.stage_drop(v_stage);
      v_n := v_n + 1;
    exception
      when lock_not_available then
        null;
    end;
  end loop;

  return v_n;
end
$$;


-- Staging tables for a load, to be filled by COPY.
create function sv.stage_open(p_load_id integer)
returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_stage  text := 'stage_' || nextval('sv.load_number');
begin
  insert into sv.load_stage (stage, load_id, pid, at) values (v_stage, p_load_id, pg_backend_pid(), transaction_timestamp());

  execute format(
    'create unlogged table sv.%I (gtin bigint not null, event_time timestamptz, line integer not null, expiry date not null,
       event integer, serial text collate "C" not null, lot text collate "C" not null, market text)
     with (autovacuum_enabled = false)', v_stage);
  execute format(
    'create unlogged table sv.%I (event integer not null, line integer not null, identity bytea not null, facts bytea not null)
     with (autovacuum_enabled = false)', v_stage || '_event');
  execute format('grant insert on sv.%I, sv.%I to sv_worker', v_stage, v_stage || '_event');

  return v_stage;
end
$$;


-- All is staged: takes events away that were loaded before, and lists the lots.
-- `reused' are eventIDs that stand for other facts than before.
create function sv.stage_ready(
  p_load_id     integer,
  p_stage       text,
  out lots      bigint,
  out seen      bigint,
  out reused    bigint
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_event  text := p_stage || '_event';
begin
  perform sv.stage_check(p_stage);

  execute format('alter table sv.%I add column old boolean, add column wrong boolean, add column packs integer', v_event);
  execute format(
    'update sv.%1$I e
     set old = true, wrong = w.wrong
     from (select n.event, coalesce(k.facts, n.first) <> n.facts as wrong
           from (select x.*, row_number() over w as place, first_value(x.facts) over w as first
                 from sv.%1$I x
                 window w as (partition by x.identity order by x.event)) n
             left join sv.load_event k on k.identity = n.identity
           where n.place > 1 or k.identity is not null) w
     where e.event = w.event', v_event);
  execute format('select count(*) filter (where not wrong), count(*) filter (where wrong) from sv.%I where old', v_event)
  into seen, reused;

  if seen + reused > 0 then
    execute format(
      'with gone as (
         delete from sv.%1$I s using sv.%2$I e where s.event = e.event and e.old returning s.event
       )
       update sv.%2$I e
       set packs = g.n
       from (select x.event, count(*)::integer as n from gone x group by x.event) g
       where e.event = g.event', p_stage, v_event);
  end if;

  execute format('analyze sv.%I', p_stage);
  execute format(
    'create unlogged table sv.%I with (autovacuum_enabled = false) as
     select row_number() over (order by min(s.line), s.gtin, s.lot)::integer as n, s.gtin, s.lot, count(*) as lines,
       min(s.line) as first_line, min(s.expiry) as expiry, max(s.expiry) as last_expiry,
       min(s.event_time) as event_from, max(s.event_time) as event_to,
       case when count(s.market) = count(*) and min(s.market) = max(s.market) then min(s.market) end as market
     from sv.%I s
     group by s.gtin, s.lot', p_stage || '_lot', p_stage);
  execute format('create unique index on sv.%I (n)', p_stage || '_lot');
  execute format('select count(*) from sv.%I', p_stage || '_lot') into lots;

  if lots > 4 then
    execute format('create index on sv.%I (gtin, lot)', p_stage);
  end if;

  update sv.load l
  set phase = 'merging', lots = stage_ready.lots, events_seen = stage_ready.seen, updated_at = clock_timestamp()
  where l.load_id = p_load_id;
end
$$;


-- Events whose eventID stands for something else already, page by page.
create function sv.stage_reused(p_stage text, p_after bigint, p_limit integer)
returns table (event bigint, line bigint, packs bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform sv.stage_check(p_stage);

  return query execute format(
    'select e.event::bigint, e.line::bigint, e.packs::bigint from sv.%I e where e.wrong and e.event > $1 order by e.event limit $2',
    p_stage || '_event')
  using p_after, p_limit;
end
$$;


-- GTINs that no product is known for, page by page.
create function sv.stage_unknown(p_stage text, p_after bigint, p_limit integer)
returns table (gtin bigint, line bigint, lines bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform sv.stage_check(p_stage);

  return query execute format(
    'select t.gtin, min(t.first_line)::bigint, sum(t.lines)::bigint
     from sv.%I t
     where t.gtin > $1 and not exists (select from sv.product p where p.gtin = t.gtin and not p.deleted)
     group by t.gtin
     order by 1
     limit $2', p_stage || '_lot')
  using p_after, p_limit;
end
$$;


-- In the order of the key: neighbours in the index, and no deadlock with another
-- load.  The digest is over the serials of the packs that are new.
create function sv.merge_insert(p_stage text, p_load_id integer, p_gtin bigint, p_lot text, p_conflict text, out n bigint, out digest bytea)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format(
    'with added as (
       insert into sv.pack (gtin, serial, lot, expiry, load_id)
       select s.gtin, s.serial, s.lot, s.expiry, $3
       from sv.%I s
       where s.gtin = $1 and s.lot = $2
       order by s.serial, s.line
       %s
       returning serial
     )
     select count(*), sha256(convert_to(coalesce(string_agg(a.serial || E''\n'', ''''), ''''), ''UTF8''))
     from added a', p_stage, p_conflict)
  into n, digest
  using p_gtin, p_lot, p_load_id;
end
$$;


-- One lot of a load, in one transaction.  `outcome': merged, before (by an
-- interrupted attempt), product_unknown, none (there is no lot of this number).
create function sv.merge_lot(
  p_load_id           integer,
  p_stage             text,
  p_n                 integer,
  p_audit_id          uuid,
  out outcome         text,
  out lines           bigint,
  out new_packs       bigint,
  out repeated        bigint,
  out contradictions  bigint
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_now     timestamptz := transaction_timestamp();
  v_lot     record;
  v_load    record;
  v_known   date;
  v_digest  bytea;
begin
  perform sv.stage_check(p_stage);

  execute format('select * from sv.%I where n = $1', p_stage || '_lot') into v_lot using p_n;

  if v_lot.n is null then
    merge_lot.outcome := 'none';
    return;
  end if;

  merge_lot.lines := v_lot.lines;

  if not exists (select from sv.product p where p.gtin = v_lot.gtin and not p.deleted) then
    merge_lot.outcome := 'product_unknown';
    return;
  end if;

  -- comes first: two sessions with the same file do not merge a lot twice
  insert into sv.load_lot (gtin, lot, load_id, first_line, lines, new_packs, repeated, contradictions, expiry,
    event_from, event_to, market, digest, at)
  values (v_lot.gtin, v_lot.lot, p_load_id, v_lot.first_line, v_lot.lines, 0, 0, 0, v_lot.expiry,
    v_lot.event_from, v_lot.event_to, v_lot.market, '', v_now)
  on conflict (gtin, lot, load_id) do nothing;

  if not found then
    merge_lot.outcome := 'before';
    return;
  end if;

  merge_lot.outcome := 'merged';

  -- Nobody counts on this lot before the load's last commit, which waits for
  -- the disk with all that came before it; what a crash takes away it takes
  -- away together with the row above.
  perform set_config('synchronous_commit', 'off', true);

  -- A lot that is new inserts without looking for conflicts: two thirds of the
  -- cost.  When it has one all the same, it is undone and done with looking.
  begin
    if exists (select from sv.lot l where l.gtin = v_lot.gtin and l.lot = v_lot.lot and l.expiry is not null) then
      raise unique_violation;
    end if;

    select i.n, i.digest into new_packs, v_digest from sv.merge_insert(p_stage, p_load_id, v_lot.gtin, v_lot.lot, '') i;
  exception
    when unique_violation then
      select i.n, i.digest into new_packs, v_digest
      from sv.merge_insert(p_stage, p_load_id, v_lot.gtin, v_lot.lot, 'on conflict (gtin, serial) do nothing') i;
  end;

  contradictions := 0;

  if new_packs < v_lot.lines then
    contradictions := sv.merge_contradictions(p_load_id, p_stage, v_lot.gtin, v_lot.lot, v_now);
  end if;

  repeated := v_lot.lines - new_packs - contradictions;

  if new_packs > 0 or repeated > 0 then
    -- a row that is merely found must not be locked: a recall may be waiting for it
    insert into sv.lot (gtin, lot, expiry)
    values (v_lot.gtin, v_lot.lot, v_lot.expiry)
    on conflict (gtin, lot) do nothing;

    update sv.lot l
    set expiry = v_lot.expiry
    where l.gtin = v_lot.gtin and l.lot = v_lot.lot and l.expiry is null;

    select l.expiry into v_known from sv.lot l where l.gtin = v_lot.gtin and l.lot = v_lot.lot;
  end if;

  select l.file, l.digest into v_load from sv.load l where l.load_id = p_load_id;

  if v_lot.expiry <> v_known or v_lot.last_expiry <> v_known then
    insert into sv.finding (gtin, at, finding_id, rule, lot, detail)
    values (v_lot.gtin, v_now, p_audit_id, 'lot_expiry', v_lot.lot, jsonb_build_object(
      'first', jsonb_build_object('expiry', v_known),
      'other', jsonb_build_object('load_id', p_load_id, 'file', v_load.file, 'line', v_lot.first_line,
        'expiry', case when v_lot.expiry <> v_known then v_lot.expiry else v_lot.last_expiry end)));
  end if;

  update sv.load_lot
  set new_packs = merge_lot.new_packs, repeated = merge_lot.repeated, contradictions = merge_lot.contradictions, digest = v_digest
  where gtin = v_lot.gtin and lot = v_lot.lot and load_id = p_load_id;

  insert into sv.audit (gtin, at, audit_id, expiry, changed, kind, operation, lot, reason, actor, detail)
  values (v_lot.gtin, v_now, p_audit_id, v_lot.expiry, merge_lot.new_packs > 0, 'load', 'commission', v_lot.lot, 'ok', 'worker',
    jsonb_build_object('load_id', p_load_id, 'file', v_load.file, 'file_sha256', encode(v_load.digest, 'hex'),
      'packs', merge_lot.new_packs, 'repeated', merge_lot.repeated, 'contradictions', merge_lot.contradictions,
      'serials_sha256', encode(v_digest, 'hex')));

  insert into sv.outbox (gtin, audit_id, at) values (v_lot.gtin, p_audit_id, v_now);
end
$$;


-- Lines of a lot that say something else about a pack than what is recorded.
-- The first recorded stands; both sources are kept beside each other.
create function sv.merge_contradictions(p_load_id integer, p_stage text, p_gtin bigint, p_lot text, p_now timestamptz)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_n  bigint;
begin
  execute format(
    'with other as (
       select s.serial, s.expiry, s.line, p.lot as first_lot, p.expiry as first_expiry, p.load_id as first_load
       from sv.%1$I s
         join sv.pack p on p.gtin = s.gtin and p.serial = s.serial
       where s.gtin = $2 and s.lot = $3 and p.gtin = $2 and (p.lot <> s.lot or p.expiry <> s.expiry)
     ), stored as (
       insert into sv.finding (gtin, at, finding_id, rule, serial, lot, detail)
       select $2, $4, gen_random_uuid(), ''duplicate_commissioning'', o.serial, $3, jsonb_build_object(
         ''first'', jsonb_build_object(''load_id'', o.first_load, ''file'', f.file, ''line'', o.first_line, ''lot'', o.first_lot, ''expiry'', o.first_expiry),
         ''other'', jsonb_build_object(''load_id'', $1, ''file'', t.file, ''line'', o.line, ''lot'', $3, ''expiry'', o.expiry))
       from (select distinct on (x.serial, x.expiry) x.*, y.line as first_line
             from other x
               left join sv.%1$I y on y.gtin = $2 and y.serial = x.serial and y.lot = x.first_lot
                 and y.expiry = x.first_expiry and x.first_load = $1
             order by x.serial, x.expiry, x.line, y.line) o
         join sv.load t on t.load_id = $1
         left join sv.load f on f.load_id = o.first_load
     )
     select count(*) from other', p_stage)
  into v_n
  using p_load_id, p_gtin, p_lot, p_now;

  return v_n;
end
$$;


create function sv.load_progress(p_load_id integer, p_bytes bigint, p_lines bigint, p_lots_merged bigint)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update sv.load
  set bytes = p_bytes, lines = p_lines, lots_merged = p_lots_merged, updated_at = clock_timestamp()
  where load_id = p_load_id and state = 'loading'
$$;


-- `p_errors' is a list of {line, lines, element, value, reason, skipped}.
create function sv.load_finish(
  p_load_id         integer,
  p_stage           text,
  p_state           text,
  p_note            text,
  p_lines           bigint,
  p_lines_rejected  bigint,
  p_events          bigint,
  p_events_skipped  bigint,
  p_lots_merged     bigint,
  p_reasons         jsonb,
  p_errors          jsonb
)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off                                 -- as many events as packs, and no statistics of either
as $$
declare
  v_now  timestamptz := transaction_timestamp();
begin
  update sv.load l
  set state = p_state, phase = 'done', note = p_note, bytes = l.bytes_total, lines = p_lines, lines_rejected = p_lines_rejected,
    events = p_events, events_skipped = p_events_skipped, lots_merged = p_lots_merged, reasons = p_reasons,
    updated_at = v_now, finished_at = v_now
  where l.load_id = p_load_id;

  delete from sv.load_error where load_id = p_load_id;

  insert into sv.load_error (load_id, n, line, lines, element, value, reason, skipped)
  select p_load_id, e.n, (e.v ->> 'line')::bigint, coalesce((e.v ->> 'lines')::bigint, 1), e.v ->> 'element', e.v ->> 'value',
    e.v ->> 'reason', coalesce((e.v ->> 'skipped')::boolean, false)
  from jsonb_array_elements(p_errors) with ordinality as e (v, n);

  if p_stage is not null then
    -- an event is done when all its lots are
    if p_state <> 'rejected' then
      perform sv.stage_check(p_stage);
      execute format(
        'with missing as materialized (
           select distinct s.event
           from sv.%1$I s
           where $3 <> ''loaded'' and s.event is not null and not exists (
             select from sv.load_lot t where t.gtin = s.gtin and t.lot = s.lot and t.load_id = $1)
         )
         insert into sv.load_event (identity, facts, load_id, line, at)
         select e.identity, e.facts, $1, e.line, $2
         from sv.%2$I e
         where e.old is null and not exists (select from missing m where m.event = e.event)
         on conflict (identity) do nothing', p_stage, p_stage || '_event')
      using p_load_id, v_now, p_state;
    end if;

    perform sv.stage_drop(p_stage);
  end if;
end
$$;


-- The file has left the inbox, its report lies beside it.
create function sv.load_filed(p_load_id integer)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update sv.load set filed = true where load_id = p_load_id
$$;


-- What is to be told of a load; null: there is none of this number.
create function sv.load_report(p_load_id integer)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'load_id', l.load_id, 'file', l.file, 'sha256', encode(l.digest, 'hex'), 'format', l.format, 'state', l.state,
    'note', l.note, 'attempts', l.attempts, 'host', l.host, 'started_at', l.started_at, 'finished_at', l.finished_at,
    'bytes', l.bytes, 'bytes_total', l.bytes_total, 'phase', l.phase,
    'lines', l.lines, 'lines_rejected', l.lines_rejected,
    'events', l.events, 'events_seen', l.events_seen, 'events_skipped', l.events_skipped,
    'lots', l.lots, 'lots_merged', l.lots_merged,
    'packs', coalesce(t.packs, 0), 'repeated', coalesce(t.repeated, 0), 'contradictions', coalesce(t.contradictions, 0),
    'reasons', l.reasons,
    'merged', coalesce(t.merged, '[]'),
    'errors', coalesce((
      select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('line', e.line, 'lines', e.lines, 'element', e.element,
        'value', e.value, 'reason', e.reason, 'skipped', nullif(e.skipped, false))) order by e.n)
      from sv.load_error e
      where e.load_id = l.load_id), '[]'))
  from sv.load l
    left join lateral (
      select sum(b.new_packs)::bigint as packs, sum(b.repeated)::bigint as repeated, sum(b.contradictions)::bigint as contradictions,
        jsonb_agg(jsonb_build_object('gtin', to_char(b.gtin, 'FM00000000000000'), 'lot', b.lot, 'expiry', b.expiry,
          'lines', b.lines, 'packs', b.new_packs, 'repeated', b.repeated, 'contradictions', b.contradictions)
          order by b.first_line) filter (where b.place <= 1000) as merged
      from (select x.*, row_number() over (order by x.first_line) as place from sv.load_lot x where x.load_id = l.load_id) b
    ) t on true
  where l.load_id = p_load_id
$$;


grant execute on function
  sv.load_begin(bytea, text, text, bigint, text),
  sv.stage_drop(text),
  sv.stage_clean(),
  sv.stage_open(integer),
  sv.stage_ready(integer, text),
  sv.stage_reused(text, bigint, integer),
  sv.stage_unknown(text, bigint, integer),
  sv.merge_lot(integer, text, integer, uuid),
  sv.load_progress(integer, bigint, bigint, bigint),
  sv.load_finish(integer, text, text, text, bigint, bigint, bigint, bigint, bigint, jsonb, jsonb),
  sv.load_filed(integer),
  sv.load_report(integer)
to sv_worker;

commit;
