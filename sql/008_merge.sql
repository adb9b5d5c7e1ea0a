-- The merge of events: staging, claiming, settling what became of a pack.
--
-- Invariants.  The tables are the same for any order in which facts arrive, however
-- often, whoever is killed meanwhile; of facts that contradict each other the one
-- recorded first stands.
--
--   An event's row is there before anything of it is merged, and is one load's.
--   What an interrupted attempt claimed is found again by the load's number
--   and done again: each step passes over what is there.
--   Facts of an item are merged under its lock (sv.item_key): a commissioning
--   and an end, a packing and the end of the container see each other.
--   A declaration of error locks the row of the load that brought the event: what
--   that load merges in the same moment is before or after it.
--   What follows from the facts (sv.settle, sv.rederive, sv.commission_swap) is
--   done in the transaction that brings the fact.  What a container's end means
--   for what was in it is stored (item_end.derived), and made anew when anything is
--   told of what was in it.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(8, 'merge');

-- Until now only commissioning events were kept, without their place: negative
-- numbers, so that the places of a file that is delivered again are free.
insert into sv.event (load_id, event, line, identity, facts, kind, action, step, at, packs)
select e.load_id, -row_number() over (partition by e.load_id order by e.line), e.line, e.identity, e.facts,
  'object', 'add', 'commissioning', e.at, 0
from sv.load_event e;

drop table sv.load_event;

-- A partial load that is repeated becomes another one: what was merged and audited
-- under its number stays as it is.
alter table sv.load drop constraint load_digest_key, add column repeated boolean not null default false;
create unique index load_content on sv.load (digest, company, whole) where not repeated;
alter table sv.load_error add column quarantined boolean not null default false;

-- Where an attempt began that is not over yet: events of this load claimed
-- since are its own work, earlier ones are done.
alter table sv.load add column begun_at timestamptz;

-- of what was in a container that was ended: follows from other facts
alter table sv.item_end add column derived boolean not null default false;

-- the finding that was made at the deadline
alter table sv.parked add column finding_gtin bigint, add column finding_at timestamptz, add column finding_id uuid;

-- Which row of the audit trail tells of an event: the first one after which its
-- items were there.  An event goes out once, however often its file is loaded.
create table sv.event_told (
  load_id   integer  not null,
  event     integer  not null,
  audit_id  uuid     not null,
  primary key (load_id, event)
);

create index event_error on sv.event (load_id, event) where error is not null;

-- What the counter had made of a pack before a fact of a feed was stronger; it
-- comes back when that fact is declared an error.
create table sv.overruled (
  gtin         bigint         not null,
  since        timestamptz,
  location_id  integer,
  state        sv.pack_state  not null,
  repeats      smallint       not null,
  serial       text           collate "C" not null,
  primary key (gtin, serial)
);


-- A file with this content is about to be loaded.  `action' is
--   load     from the beginning, or again after an interruption
--   file     all of it is loaded, but it is not known to be moved out of the inbox
--   skip     it was loaded before, without anything rejected
-- A file of which something was rejected is loaded again when it is delivered
-- again: the cause, such as an unknown product, may be gone.  Its lots may get
-- packs of events that were left away, so it is another load when it has events.
-- The same content of another company, or to be captured all or nothing, is
-- another load, too.
drop function sv.load_begin(bytea, text, text, bigint, text);

create function sv.load_begin(
  p_digest      bytea,
  p_file        text,
  p_format      text,
  p_bytes       bigint,
  p_host        text,
  p_feed        text default '',
  p_company     text default '',
  p_whole       boolean default false,
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
  select l.* into v_load
  from sv.load l
  where l.digest = p_digest and l.company = p_company and l.whole = p_whole and not l.repeated
  for update;

  if found and v_load.state = 'partial' and exists (select from sv.event v where v.load_id = v_load.load_id) then
    update sv.load l set repeated = true, filed = true where l.load_id = v_load.load_id;
    v_load := null;
  end if;

  if v_load.load_id is null then
    insert into sv.load (load_id, digest, file, format, state, phase, host, started_at, updated_at, begun_at, bytes_total,
      feed, company, whole)
    values (nextval('sv.load_number')::integer, p_digest, p_file, p_format, 'loading', 'reading', p_host, v_now, v_now, v_now, p_bytes,
      p_feed, p_company, p_whole)
    on conflict (digest, company, whole) where not repeated do nothing
    returning * into v_load;

    if found then
      load_begin.load_id := v_load.load_id;
      load_begin.action := 'load';
      return;
    end if;

    select l.* into strict v_load
    from sv.load l
    where l.digest = p_digest and l.company = p_company and l.whole = p_whole and not l.repeated
    for update;
  end if;

  load_begin.load_id := v_load.load_id;

  if v_load.state = 'loaded' and not v_load.filed then
    load_begin.action := 'file';

  elsif v_load.state = 'loaded' then
    load_begin.action := 'skip';

  else
    load_begin.action := 'load';

    update sv.load
    set state = 'loading', phase = 'reading', filed = false, attempts = attempts + 1, host = p_host,
      begun_at = case when v_load.state = 'loading' then v_load.begun_at else v_now end,
      started_at = v_now, updated_at = v_now, finished_at = null, format = p_format, bytes = 0, lines = 0,
      lines_rejected = 0, events = 0, events_seen = 0, events_skipped = 0, events_quarantined = 0,
      events_parked = 0, lots = 0, lots_merged = 0,
      reasons = '{}', note = null
    where load_id = v_load.load_id;

    delete from sv.load_error where load_id = v_load.load_id;
  end if;
end
$$;


-- A session keeps its staging tables for the next load as long as they are
-- small: making five tables takes longer than loading a small file.
alter table sv.load_stage add column free boolean not null default false;


create function sv.stage_small(p_stage text)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(sum(pg_relation_size(c.oid)) < 512 * 1024, false)
  from pg_class c
  where c.relnamespace = 'sv'::regnamespace and c.relname in (p_stage, p_stage || '_event', p_stage || '_epc', p_stage || '_quarantine')
$$;


-- There are no statistics of tables that live so shortly, and a few events are
-- looked up by index however many are guessed.  True: they are a few.
create function sv.stage_few(p_stage text)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_many  boolean;
begin
  execute format(
    'select exists (select from sv.%1$s_event offset 200) or exists (select from sv.%1$s_epc offset 200)', p_stage)
  into v_many;

  if not v_many then
    perform set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true);
  end if;

  return not v_many;
end
$$;


create or replace function sv.stage_drop(p_stage text)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform sv.stage_check(p_stage);

  if exists (select from sv.load_stage s where s.stage = p_stage and s.pid = pg_backend_pid()) and sv.stage_small(p_stage) then
    execute format('delete from sv.%I', p_stage);
    execute format('delete from sv.%I', p_stage || '_lot');
    execute format('delete from sv.%I', p_stage || '_event');
    execute format('delete from sv.%I', p_stage || '_epc');
    execute format('delete from sv.%I', p_stage || '_quarantine');
    execute format('delete from sv.%I', p_stage || '_work');
    update sv.load_stage s set free = true where s.stage = p_stage;
  else
    execute format('drop table if exists sv.%1$I, sv.%1$s_lot, sv.%1$s_event, sv.%1$s_epc, sv.%1$s_quarantine, sv.%1$s_work', p_stage);
    delete from sv.load_stage where stage = p_stage;
  end if;
end
$$;


create or replace function sv.stage_open(p_load_id integer)
returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_stage  text;
begin
  update sv.load_stage s
  set load_id = p_load_id, free = false, at = transaction_timestamp()
  where s.stage = (select f.stage from sv.load_stage f where f.pid = pg_backend_pid() and f.free limit 1)
  returning s.stage into v_stage;

  if not found then
    perform sv.stage_clean();
    v_stage := 'stage_' || nextval('sv.load_number');

    insert into sv.load_stage (stage, load_id, pid, at) values (v_stage, p_load_id, pg_backend_pid(), transaction_timestamp());
    perform sv.stage_make(v_stage);
  end if;

  return v_stage;
end
$$;


create function sv.stage_make(p_stage text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format(
    'create unlogged table sv.%I (gtin bigint not null, event_time timestamptz, line integer not null, expiry date not null,
       event integer, serial text collate "C" not null, lot text collate "C" not null, market text)
     with (autovacuum_enabled = false)', p_stage);
  execute format(
    'create unlogged table sv.%I (n integer not null primary key, gtin bigint not null, lot text collate "C" not null, lines bigint not null,
       first_line integer not null, expiry date not null, last_expiry date not null, event_from timestamptz, event_to timestamptz,
       market text)
     with (autovacuum_enabled = false)', p_stage || '_lot');
  execute format(
    'create unlogged table sv.%I (event integer not null, line bigint not null, identity bytea not null, facts bytea not null,
       event_id text, kind text not null default ''object'', action text not null default ''add'', step text default ''commissioning'',
       disposition text, event_time timestamptz, offset_min smallint, parent_gtin bigint, parent_serial text collate "C",
       lot text collate "C", expiry date, market text, read_point text, biz_location text, packs integer not null default 0,
       error jsonb, detail jsonb, old boolean, wrong text, gone integer, taken boolean)
     with (autovacuum_enabled = false)', p_stage || '_event');
  execute format(
    'create unlogged table sv.%I (event integer not null, line bigint not null, gtin bigint not null, serial text collate "C" not null)
     with (autovacuum_enabled = false)', p_stage || '_epc');
  execute format('create index on sv.%I (event)', p_stage || '_epc');
  execute format(
    'create unlogged table sv.%I (event integer not null, line bigint not null, packs integer not null, reason text not null,
       element text, value text, content text)
     with (autovacuum_enabled = false)', p_stage || '_quarantine');
  execute format(
    'create unlogged table sv.%I (n integer not null primary key, event integer not null, members integer not null,
       declares boolean not null, rule text)
     with (autovacuum_enabled = false)', p_stage || '_work');
  execute format('grant insert on sv.%1$I, sv.%1$s_event, sv.%1$s_epc, sv.%1$s_quarantine to sv_worker', p_stage);
end
$$;


-- Is a session at work on this load?
create function sv.load_working(p_load_id integer)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select
    from sv.load_stage s
      join pg_stat_get_activity(null) a on a.pid = s.pid
    where s.load_id = p_load_id and not s.free and s.pid <> pg_backend_pid())
$$;


-- Events of this file that another load claimed and did not merge: it was
-- interrupted, and its file may never come back.  They are this load's then, by
-- sv.stage_claim.  Of a load that is under way nobody knows yet whether it will
-- come to them: 40001, once more.  An event that it merged in part stays its own:
-- 55000, its file is needed.
create function sv.stage_orphans(p_load_id integer, p_stage text)
returns table (event integer, load_id integer, own integer)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_loads  integer[];
  v_other  record;
  v_bad    bigint[];
begin
  execute format(
    'select array_agg(distinct k.load_id)
     from sv.%1$s_event e
       join sv.event k on k.identity = e.identity
       join sv.load l on l.load_id = k.load_id
       join sv.load b on b.load_id = $1
     where e.old is null and e.error is null and k.facts = e.facts and k.load_id <> $1 and not sv.event_declared(k)
       and l.state = ''loading'' and k.at >= coalesce(l.begun_at, l.started_at) and b.company in ('''', l.company)', p_stage)
  into v_loads
  using p_load_id;

  if v_loads is null then
    return;
  end if;

  -- none of them begins again meanwhile, or ends
  perform
  from sv.load l
  where l.load_id = any (v_loads)
  order by l.load_id
  for no key update;

  select l.load_id, l.file into v_other
  from sv.load l
  where l.load_id = any (v_loads) and l.state = 'loading' and sv.load_working(l.load_id)
  order by l.load_id
  limit 1;

  if found then
    raise exception 'load %, of "%", has some of the same events and is not done', v_other.load_id, v_other.file using errcode = '40001';
  end if;

  -- what this load may not name is not taken over
  select array_agg(g.gtin) into v_bad
  from sv.load b
    cross join sv.stage_gtins(p_stage) g
  where b.load_id = p_load_id and sv.gtin_refused(g.gtin, b.company, g.packs > 0) is not null;

  for v_other in execute format(
    'with same as materialized (
       select min(e.event) as event, k.load_id, k.event as own, l.file
       from sv.%1$s_event e
         join sv.event k on k.identity = e.identity
         join sv.load l on l.load_id = k.load_id
       where e.old is null and e.error is null and k.facts = e.facts and k.load_id = any ($1) and not sv.event_declared(k)
         and l.state = ''loading'' and k.at >= coalesce(l.begun_at, l.started_at)
         and (e.parent_gtin = any ($2)) is not true
       group by k.load_id, k.event, l.file
     ), lots as (
       select m.event, bool_or(t.load_id is not null) as some, bool_or(t.load_id is null) as lacking
       from same m
         join sv.%1$s s on s.event = m.event
         left join sv.load_lot t on t.gtin = s.gtin and t.lot = s.lot and t.load_id = m.load_id
       group by m.event
     ), refused as (
       select s.event from sv.%1$s s where s.gtin = any ($2)
       union
       select x.event from sv.%1$s_epc x where x.gtin = any ($2)
     ), judged as (
       select m.*, coalesce(o.some, false) as some, coalesce(o.lacking, false) as lacking,
         m.event in (select x.event from sv.%1$s_epc x) as members,
         exists (select from sv.event_told t where t.load_id = m.load_id and t.event = m.own)
           or exists (select from sv.event_epc x where x.load_id = m.load_id and x.event = m.own)
           or exists (select from sv.item_end x where x.load_id = m.load_id and x.event = m.own and not x.derived) as told
       from same m
         left join lots o on o.event = m.event
       where m.event not in (select r.event from refused r where r.event is not null)
     )
     select j.*
     from judged j
     where not (j.some or j.told) or j.lacking or j.members and not j.told
     order by j.event', p_stage)
  using v_loads, v_bad
  loop
    if v_other.some or v_other.told then
      raise exception 'load %, of "%", was interrupted within its event %, which is in this file, too: deliver that file again',
        v_other.load_id, v_other.file, v_other.own using errcode = '55000';
    end if;

    event := v_other.event;
    load_id := v_other.load_id;
    own := v_other.own;
    return next;
  end loop;
end
$$;


-- All is staged: takes events away that were loaded before, and lists the lots.
-- `reused' are events that nothing may come of: sv.stage_reused tells why.
--
-- Of events with the same identity the first counts.  A declaration of error
-- repeats the identity of what it declares; the first declaration counts, too.
-- An event that is there only because it was declared an error before it came
-- (its error names its own row) is taken over by the event itself.
create or replace function sv.stage_ready(
  p_load_id     integer,
  p_stage       text,
  out lots      bigint,
  out seen      bigint,
  out reused    bigint
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set work_mem = '32MB'
set default_statistics_target = 10                        -- how many rows there are, and little more
as $$
#variable_conflict use_column
declare
  v_load     sv.load;
  v_some     boolean;
  v_orphans  integer[];
begin
  perform sv.stage_check(p_stage);

  select l.* into v_load from sv.load l where l.load_id = p_load_id;

  stage_ready.seen := 0;
  stage_ready.reused := 0;

  execute format('select exists (select from sv.%I)', p_stage || '_event') into v_some;

  if v_some then
    v_some := sv.stage_few(p_stage);

    if not v_some then
      execute format('analyze sv.%1$s_epc; analyze sv.%1$s_event', p_stage);

      -- most files bring nothing twice: their identities alone tell that
      execute format(
        'select exists (select from sv.%1$s_event x group by x.identity having count(*) > 1)
           or exists (select from sv.%1$s_event x join sv.event k on k.identity = x.identity)', p_stage)
      into v_some;
    end if;

    if v_some then
      v_orphans := array(select o.event from sv.stage_orphans(p_load_id, p_stage) o);

      execute format(
        'update sv.%1$s_event e
         set old = true, wrong = w.wrong
         from (select n.event,
                 case when not n.declared and coalesce(case when not sv.event_declared(k) then k.facts end, n.first) <> n.facts
                   then ''event_id_reused'' end as wrong
               from (select x.event, x.identity, x.facts, x.error is not null as declared, row_number() over w as place,
                       first_value(x.facts) over w as first
                     from sv.%1$s_event x
                     window w as (partition by x.identity, x.error is not null order by x.event)) n
                 left join sv.event k on k.identity = n.identity
               where n.place > 1
                 or k.identity is not null and (k.load_id <> $1 or k.at < $2) and n.event <> all ($3)
                   and (n.declared and k.error is not null or not n.declared and not sv.event_declared(k))) w
         where e.event = w.event', p_stage)
      using p_load_id, coalesce(v_load.begun_at, v_load.started_at), v_orphans;
    end if;

    if v_load.company <> '' then
      perform sv.stage_foreign(p_stage, v_load.company);
    end if;

    if v_some or v_load.company <> '' then
      execute format('select count(*) filter (where wrong is null), count(*) filter (where wrong is not null) from sv.%s_event where old',
        p_stage)
      into stage_ready.seen, stage_ready.reused;
    end if;

    if stage_ready.seen + stage_ready.reused > 0 then
      execute format(
        'with gone as (
           delete from sv.%1$s s using sv.%1$s_event e where s.event = e.event and e.old returning s.event
         )
         update sv.%1$s_event e
         set gone = g.n
         from (select x.event, count(*)::integer as n from gone x group by x.event) g
         where e.event = g.event', p_stage);
      execute format('delete from sv.%1$s_epc m using sv.%1$s_event e where m.event = e.event and e.old', p_stage);
    end if;
  end if;

  execute format(
    'insert into sv.%I (n, gtin, lot, lines, first_line, expiry, last_expiry, event_from, event_to, market)
     select row_number() over (order by min(s.line), s.gtin, s.lot)::integer, s.gtin, s.lot, count(*),
       min(s.line), min(s.expiry), max(s.expiry), min(s.event_time), max(s.event_time),
       case when count(s.market) = count(*) and min(s.market) = max(s.market) then min(s.market) end
     from sv.%I s
     group by s.gtin, s.lot', p_stage || '_lot', p_stage);
  get diagnostics lots = row_count;

  if not sv.stage_small(p_stage) then
    execute format('analyze sv.%I', p_stage);

    if stage_ready.lots > 4 then
      execute format('create index on sv.%I (gtin, lot)', p_stage);
    end if;
  end if;

  update sv.load l
  set phase = 'merging', lots = stage_ready.lots, events_seen = stage_ready.seen, updated_at = clock_timestamp()
  where l.load_id = p_load_id;
end
$$;


-- Is the row of this event there only because it was declared an error?
create function sv.event_declared(p_event sv.event)
returns boolean
language sql immutable parallel safe
return p_event.error is not null and (p_event.error ->> 'load_id')::integer = p_event.load_id
  and (p_event.error ->> 'event')::integer = p_event.event;


-- Who says it names none of another's containers: it is known whose packs were
-- in them, or who commissioned them.
create function sv.containers_own(p_gtin bigint[], p_serial text[], p_company text)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return coalesce(bool_and(
      u.gtin <> 0
      or sv.container_is_of(u.gtin, u.serial, p_company)
      or exists (
        select
        from sv.container c
          join sv.load l on l.load_id = c.load_id
        where c.gtin = u.gtin and c.serial = u.serial collate "C" and l.company = p_company)), true)
    from unnest(p_gtin, p_serial) as u (gtin, serial);
end
$$;

-- May p_company declare this event of a load of p_of an error?  Its own, any; of
-- others only in full (p_same), so that all it names is known to be its own.
create function sv.error_refused(p_stage text, p_event integer, p_company text, p_of text, p_same boolean)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_own  boolean;
begin
  if p_company in ('', p_of) then
    return false;
  end if;

  if not p_same then
    return true;
  end if;

  execute format(
    'select sv.containers_own(array_agg(n.gtin), array_agg(n.serial), $2)
     from (
       select m.gtin, m.serial from sv.%1$s_epc m where m.event = $1
       union
       select e.parent_gtin, e.parent_serial from sv.%1$s_event e where e.event = $1 and e.parent_serial is not null) n', p_stage)
  into v_own
  using p_event, p_company;

  return not v_own;
end
$$;

-- Packs of another company are found by their GTIN (sv.stage_unknown).  What is
-- named by its container alone is looked into; and so is what is declared an error.
create function sv.stage_foreign(p_stage text, p_company text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format(
    'with named as (
       select m.event, m.gtin, m.serial from sv.%1$s_epc m
       union
       select e.event, e.parent_gtin, e.parent_serial from sv.%1$s_event e where e.parent_serial is not null
     ), container as materialized (
       select distinct n.gtin, n.serial
       from named n
       where exists (select from sv.event v where v.parent_gtin = n.gtin and v.parent_serial = n.serial)
         or exists (select from sv.container c where c.gtin = n.gtin and c.serial = n.serial)
     ), alien as materialized (
       select c.gtin, c.serial
       from container c
       where exists (
           select
           from sv.contents(c.gtin, c.serial, ''infinity'') x
             join sv.product p on p.gtin = x.gtin
           where p.company <> $1)
         or exists (
           select
           from sv.container k
             join sv.load l on l.load_id = k.load_id
           where k.gtin = c.gtin and k.serial = c.serial and l.company not in ('''', $1))
     )
     update sv.%1$s_event e
     set old = true, wrong = ''not_permitted''
     where e.old is null
       and (e.event in (select n.event from named n join alien a on a.gtin = n.gtin and a.serial = n.serial)
         or e.error is not null and exists (
           select
           from sv.event k
             join sv.load l on l.load_id = k.load_id
           where k.identity = e.identity and sv.error_refused($2, e.event, $1, l.company, k.facts = e.facts)))', p_stage)
  using p_company, p_stage;
end
$$;


-- Events that nothing may come of, page by page: an eventID that stands for
-- something else already, or a container of another company.
drop function sv.stage_reused(text, bigint, integer);

create function sv.stage_reused(p_stage text, p_after bigint, p_limit integer)
returns table (event bigint, line bigint, packs bigint, reason text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform sv.stage_check(p_stage);

  return query execute format(
    'select e.event::bigint, e.line, coalesce(e.gone, greatest(e.packs, 1))::bigint, e.wrong
     from sv.%I e
     where e.wrong is not null and e.event > $1
     order by e.event
     limit $2', p_stage || '_event')
  using p_after, p_limit;
end
$$;


-- The GTIN of the item in a case: indicators 1 to 8 in front of it say that it is
-- packed (GS1 General Specifications 2.1.1); the check digit is another.
create function sv.base_gtin(p_gtin bigint)
returns bigint
language sql immutable parallel safe
begin atomic
  select b.body * 10 + (10 - sum((b.body / (10::bigint ^ i)::bigint % 10) * case i % 2 when 0 then 3 else 1 end) % 10)::bigint % 10
  from (select p_gtin / 10 % 1000000000000 as body) b, generate_series(0, 11) i
  group by b.body;
end;

-- May a load of this company ('': any) name this GTIN?  Null, or why not.  A case
-- without packs of its own number (`p_packs' is not true) is that of its item.
create function sv.gtin_refused(p_gtin bigint, p_company text, p_packs boolean default true)
returns text
language sql stable
begin atomic
  with own as (
    select p.company from sv.product p where p.gtin = p_gtin and not p.deleted
  ), found as (
    select o.company from own o
    union all
    select p.company
    from sv.product p
    where not p_packs and p_gtin / 10000000000000 between 1 and 8 and p.gtin = sv.base_gtin(p_gtin) and not p.deleted
      and not exists (select from own)
  )
  select case
    when count(*) = 0 then 'product_unknown'
    when p_company <> '' and max(f.company) <> p_company then 'not_permitted'
  end
  from found f;
end;

create function sv.stage_gtins(p_stage text)
returns table (gtin bigint, line bigint, packs bigint, others bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query execute format(
    'select u.gtin, min(u.line), sum(u.packs)::bigint, sum(u.others)::bigint
     from (
       select t.gtin, t.first_line::bigint as line, t.lines as packs, 0::bigint as others from sv.%1$s_lot t
       union all
       select m.gtin, min(m.line), 0, count(*) from sv.%1$s_epc m where m.gtin <> 0 group by m.gtin
       union all
       select e.parent_gtin, min(e.line), 0, count(*) from sv.%1$s_event e where e.parent_gtin <> 0 and e.old is null group by e.parent_gtin
     ) u
     group by u.gtin', p_stage);
end
$$;


-- GTINs that this load may not name, page by page, and why.  `lines' are all
-- places that name them, `packs' those that sv.merge_lot will pass over.
drop function sv.stage_unknown(text, bigint, integer);

create function sv.stage_unknown(p_stage text, p_after bigint, p_limit integer)
returns table (gtin bigint, line bigint, lines bigint, packs bigint, reason text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_company  text;
begin
  perform sv.stage_check(p_stage);

  select l.company into v_company from sv.load_stage s join sv.load l on l.load_id = s.load_id where s.stage = p_stage;

  return query
  select g.gtin, g.line, g.packs + g.others, g.packs, r.reason
  from sv.stage_gtins(p_stage) g
    cross join lateral (select sv.gtin_refused(g.gtin, v_company, g.packs > 0) as reason) r
  where g.gtin > p_after and r.reason is not null
  order by g.gtin
  limit p_limit;
end
$$;


-- The rows of sv.event for what this load brings: after it nothing refuses the
-- file.  An event counts as a whole: one that names a GTIN this load may not name
-- is left away (`aside', `lines' are its other lines), and may come again.
--
-- Two loads with the same event race for its row; who loses has seen it.  Who
-- is killed finds its rows again, by the load's number.
create function sv.stage_claim(
  p_load_id   integer,
  p_stage     text,
  out events  bigint,                                     -- whose rows are there for this load
  out seen    bigint,                                     -- besides those of sv.stage_ready
  out aside   bigint,
  out lines   bigint,
  out line    bigint,                                     -- the first of them
  out gtins   bigint,                                     -- that it may not name
  out work    bigint                                      -- pieces are left for sv.merge_events
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set work_mem = '32MB'
as $$
#variable_conflict use_column
declare
  v_now   timestamptz;
  v_load  sv.load;
  v_all   bigint;
  v_bad   bigint[];
  v_some  boolean;
  v_work  boolean;
begin
  perform sv.stage_check(p_stage);

  select l.* into v_load from sv.load l where l.load_id = p_load_id;

  -- never before the load: the clock may have been set back
  v_now := greatest(transaction_timestamp(), v_load.begun_at);

  stage_claim.events := 0;
  stage_claim.seen := 0;
  stage_claim.aside := 0;
  stage_claim.lines := 0;
  stage_claim.work := 0;
  stage_claim.gtins := 0;

  select array_agg(g.gtin), count(*) into v_bad, gtins
  from sv.stage_gtins(p_stage) g
  where sv.gtin_refused(g.gtin, v_load.company, g.packs > 0) is not null;

  execute format('select exists (select from sv.%s_event)', p_stage) into v_some;

  if not v_some then
    return;
  end if;

  perform set_config('synchronous_commit', 'off', true);
  perform sv.stage_few(p_stage);

  if v_bad is not null then
    execute format(
      'update sv.%1$s_event e
       set old = true
       where e.old is null and (e.parent_gtin = any ($1)
         or e.event in (select s.event from sv.%1$s s where s.gtin = any ($1) and s.event is not null)
         or e.event in (select m.event from sv.%1$s_epc m where m.gtin = any ($1)))', p_stage)
    using v_bad;
    get diagnostics aside = row_count;

    -- lines of the bad GTINs stay: sv.merge_lot counts them
    select d.n, d.line into lines, line from sv.stage_take(p_stage, v_bad) d;
  end if;

  -- An event that was declared an error before it came takes its row over, and
  -- the error, when who declared it may.  Who merges the declaration's items holds
  -- the row: they are there when it is ours.
  execute format(
    'select count(*)
     from (
       select
       from sv.event k
       where k.error is not null and sv.event_declared(k)
         and k.identity in (select e.identity from sv.%1$s_event e where e.old is null and e.error is null)
       order by k.identity
       for update of k) x', p_stage)
  into v_all;

  if v_all > 0 then
    execute format(
      'with gone as (
         delete from sv.event k
         using sv.%1$s_event e
         where k.identity = e.identity and e.old is null and e.error is null and sv.event_declared(k)
           and (k.load_id, k.event) <> ($1, e.event)
         returning k.load_id, k.event, k.error, k.identity,
           (select sv.error_refused($2, e.event, l.company, $3, k.facts = e.facts) from sv.load l where l.load_id = k.load_id) as refused
       ), a as (
         delete from sv.event_epc m using gone g where m.load_id = g.load_id and m.event = g.event
       ), b as (
         delete from sv.item_end x using gone g where x.load_id = g.load_id and x.event = g.event
       ), c as (
         delete from sv.commission x using gone g where x.load_id = g.load_id and x.event = g.event
       ), f as (
         insert into sv.finding (gtin, at, finding_id, rule, detail)
         select 0, $4, gen_random_uuid(), ''declaration_refused'', jsonb_build_object(
           ''declaration'', jsonb_build_object(''load_id'', g.load_id, ''event'', g.event),
           ''event'', jsonb_build_object(''load_id'', $1, ''event'', e.event, ''line'', e.line))
         from gone g
           join sv.%1$s_event e on e.identity = g.identity and e.old is null and e.error is null
         where g.refused
       )
       update sv.%1$s_event e
       set error = g.error, taken = true
       from gone g
       where g.identity = e.identity and e.old is null and e.error is null and not g.refused', p_stage)
    using p_load_id, p_stage, v_load.company, v_now;
  end if;

  execute format(
    'select count(*), count(e.error) > 0,
       count(e.error) > 0 or count(e.parent_serial) > 0 or exists (select from sv.%1$s_epc)
     from sv.%1$s_event e
     where e.old is null', p_stage)
  into v_all, v_some, v_work;

  -- An event that nobody has is inserted without looking for conflicts: half of
  -- the cost.  When somebody has it all the same, it is undone and done with looking.
  begin
    if v_some or v_load.attempts > 1 then
      raise unique_violation;
    end if;

    events := sv.stage_insert(p_load_id, p_stage, v_now, false);
  exception
    when unique_violation then
      events := sv.stage_insert(p_load_id, p_stage, v_now, true);
  end;

  if events < v_all then
    -- declared an error just now: once more, and its row is taken over
    execute format(
      'select exists (
         select
         from sv.%1$s_event e
           join sv.event k on k.identity = e.identity
         where e.old is null and e.error is null and (k.load_id, k.event) <> ($1, e.event) and sv.event_declared(k))', p_stage)
    into v_some
    using p_load_id;

    if v_some then
      raise exception 'an event was declared an error while it came' using errcode = '40001';
    end if;

    -- of loads that do not go on
    execute format(
      'with orphan as materialized (
         select o.load_id, o.own, e.event, e.line
         from sv.stage_orphans($1, $3) o
           join sv.%1$s_event e on e.event = o.event
       ), ended as (
         delete from sv.item_end x using orphan o where x.load_id = o.load_id and x.event = o.own and x.derived
       )
       update sv.event k
       set load_id = $1, event = o.event, line = o.line, at = $2
       from orphan o
       where k.load_id = o.load_id and k.event = o.own', p_stage)
    using p_load_id, v_now, p_stage;

    -- what has no row of ours: an event that lost its race, or a declaration of error about another row
    execute format(
      'update sv.%1$s_event e
       set old = true
       where e.old is null and (e.error is null or e.taken)
         and not exists (select from sv.event k where k.load_id = $1 and k.event = e.event and k.identity = e.identity)', p_stage)
    using p_load_id;
    get diagnostics seen = row_count;

    if seen > 0 then
      perform sv.stage_take(p_stage, '{}');
    end if;

    execute format(
      'select count(*)
       from sv.%1$s_event e
         join sv.event k on k.load_id = $1 and k.event = e.event and k.identity = e.identity
       where e.old is null', p_stage)
    into events
    using p_load_id;
  end if;

  if v_work then
    -- declarations of error come last, each a piece of its own
    execute format(
      'insert into sv.%1$s_work (n, event, members, declares, rule)
       select row_number() over (order by w.declares, w.event)::integer, w.event, w.members, w.declares, w.rule
       from (
         select e.event, coalesce(m.n, 0) as members, k.identity is null as declares,
           coalesce(r.step, case when e.kind = ''aggregation'' and e.action in (''add'', ''delete'') then ''packing'' end) as rule
         from sv.%1$s_event e
           left join (select x.event, count(*)::integer as n from sv.%1$s_epc x group by x.event) m on m.event = e.event
           left join sv.event k on k.load_id = $1 and k.event = e.event and k.identity = e.identity
           left join sv.step_rule r on r.step = e.step and r.action = e.action
         where e.old is null and (m.n is not null or e.parent_serial is not null or e.error is not null and e.taken is null)
       ) w', p_stage)
    using p_load_id;
    get diagnostics work = row_count;

    -- What ends an item is known before the lots are merged: a pack that is
    -- commissioned and rejected in one file is not genuine in between.  Marked as
    -- derived until its event is merged, which settles it.
    execute format(
      'insert into sv.item_end (gtin, load_id, event, line, event_time, step, serial, derived)
       select m.gtin, $1, m.event, min(m.line), coalesce(e.event_time, ''-infinity''), w.rule, m.serial, true
       from sv.%1$s_work w
         join sv.%1$s_event e on e.event = w.event
         join sv.step_rule r on r.step = w.rule and r.action = e.action and r.state is not null
         join sv.%1$s_epc m on m.event = w.event
       where not w.declares and e.error is null
       group by m.gtin, m.serial, m.event, e.event_time, w.rule
       order by m.gtin, m.serial, m.event
       on conflict (gtin, serial, load_id, event) do nothing', p_stage)
    using p_load_id;
  end if;

  if seen > 0 then
    update sv.load l set events_seen = l.events_seen + stage_claim.seen where l.load_id = p_load_id;
  end if;
end
$$;


-- The rows of sv.event of what is not left away; how many.  p_again: some may be
-- there, or several have one identity; an event comes before its declaration of error.
create function sv.stage_insert(p_load_id integer, p_stage text, p_now timestamptz, p_again boolean)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_n  bigint;
begin
  execute format(
    'insert into sv.event (load_id, event, line, identity, facts, event_id, kind, action, step, disposition, event_time,
       offset_min, at, parent_gtin, parent_serial, lot, expiry, market, read_point, biz_location, packs, error, detail)
     select $1, e.event, e.line, e.identity, e.facts, e.event_id, e.kind, e.action, e.step, e.disposition, e.event_time,
       e.offset_min, $2, e.parent_gtin, e.parent_serial, e.lot, e.expiry, e.market, e.read_point, e.biz_location, e.packs,
       %2$s, e.detail
     from sv.%1$s_event e
     %3$s', p_stage,
    case when p_again then 'case when e.taken then e.error else t.error end' else 'e.error' end,
    case when p_again then format(
      'left join (
         select d.identity, d.error || jsonb_build_object(''load_id'', $1, ''event'', d.event, ''line'', d.line, ''at'', $2) as error
         from sv.%s_event d
         where d.old is null and d.error is not null and d.taken is null) t on t.identity = e.identity
       where e.old is null
       order by e.error is not null and e.taken is null, e.event
       on conflict (identity) do nothing', p_stage)
      else 'where e.old is null' end)
  using p_load_id, p_now;
  get diagnostics v_n = row_count;

  return v_n;
end
$$;


-- Takes the rows of events away that are not to be merged, but for those of
-- the GTINs named, and counts the lots anew; how many, and the first line.
create function sv.stage_take(p_stage text, p_but bigint[], out n bigint, out line bigint)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_lots  integer[];
begin
  execute format(
    'with packs as (
       delete from sv.%1$s s using sv.%1$s_event e
       where s.event = e.event and e.old and s.gtin <> all ($1)
       returning s.gtin, s.lot, s.line
     ), others as (
       delete from sv.%1$s_epc m using sv.%1$s_event e
       where m.event = e.event and e.old
       returning m.gtin, m.line
     ), gone as (
       select p.line from packs p
       union all
       select o.line from others o where o.gtin <> all ($1)
     )
     select (select count(*) from gone), (select min(g.line) from gone g),
       (select array_agg(distinct t.n) from packs p join sv.%1$s_lot t on t.gtin = p.gtin and t.lot = p.lot)', p_stage)
  into n, line, v_lots
  using p_but;

  if v_lots is not null then
    execute format(
      'update sv.%1$s_lot t
       set lines = coalesce(c.lines, 0), first_line = coalesce(c.first_line, t.first_line), expiry = coalesce(c.expiry, t.expiry),
         last_expiry = coalesce(c.last_expiry, t.last_expiry)
       from sv.%1$s_lot x
         left join (
           select s.gtin, s.lot, count(*) as lines, min(s.line) as first_line, min(s.expiry) as expiry, max(s.expiry) as last_expiry
           from sv.%1$s s
           group by s.gtin, s.lot) c on c.gtin = x.gtin and c.lot = x.lot
       where x.n = t.n and t.n = any ($1)', p_stage)
    using v_lots;
  end if;
end
$$;


-- Locks.  An item's facts are merged under the row of sv.feed_gtin of its GTIN;
-- of containers with an SSCC, which have no GTIN, under one of 1024.  Who needs
-- several takes them in order.  Where what was found only then needs more, they
-- are taken, too: two that do so may meet, PostgreSQL ends one, and it is
-- repeated by the worker.
create function sv.item_key(p_gtin bigint, p_serial text)
returns bigint
language sql immutable parallel safe
return case when p_gtin <> 0 then p_gtin else -1 - (hashtextextended(p_serial, 0) & 1023) end;

create function sv.feed_lock(p_keys bigint[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into sv.feed_gtin (gtin)
  select distinct k.key
  from unnest(p_keys) as k (key)
  where k.key is not null and not exists (select from sv.feed_gtin f where f.gtin = k.key)
  order by k.key
  on conflict (gtin) do nothing;

  perform
  from sv.feed_gtin f
  where f.gtin = any (p_keys)
  order by f.gtin
  for no key update;
end
$$;


-- Packs of a lot: new ones, and void ones that are commissioned again.  In the
-- order of the key: neighbours in the index, and no deadlock with another load.
-- The digest is over the serials, a line feed behind each.
-- p_errors: events that are declared errors; null: none.
drop function sv.merge_insert(text, integer, bigint, text, text);

create function sv.merge_insert(
  p_stage     text,
  p_load_id   integer,
  p_gtin      bigint,
  p_lot       text,
  p_errors    integer[],
  p_again     boolean,                                    -- some may be known
  out n       bigint,
  out digest  bytea,
  out again   text[]                                      -- serials that were void
)
language plpgsql
set search_path = pg_catalog, pg_temp
set work_mem = '32MB'
as $$
declare
  v_errors  text := case when p_errors is not null then 'and (s.event is null or s.event <> all ($4))' else '' end;
begin
  if p_again then
    execute format(
      'with told as materialized (
         select distinct on (s.serial) s.serial, s.lot, s.expiry, s.event, s.line, gen_random_uuid() as audit_id
         from sv.%1$I s
           join sv.pack p on p.gtin = s.gtin and p.serial = s.serial
         where s.gtin = $1 and s.lot = $2 and p.gtin = $1 and p.state = ''void'' %2$s
         order by s.serial, s.line
       ), back as (
         update sv.pack p
         set lot = t.lot, expiry = t.expiry, load_id = $3, event = t.event, line = t.line, state = ''active'',
           version = p.version + 1, location_id = null, since = null, repeats = 0
         from told t
         where p.gtin = $1 and p.serial = t.serial
         returning p.serial, p.lot, p.expiry, p.version, t.audit_id, t.event
       ), noted as (
         insert into sv.audit (gtin, at, audit_id, version, changed, kind, operation, serial, lot, reason, state_before, state, actor, detail)
         select $1, transaction_timestamp(), b.audit_id, b.version, true, ''load'', ''commission'', b.serial, b.lot, ''ok'', ''void'', ''active'',
           ''worker'', jsonb_build_object(''load_id'', $3, ''event'', b.event)
         from back b
       ), queued as (
         insert into sv.outbox (gtin, audit_id, at)
         select $1, b.audit_id, transaction_timestamp() from back b
       )
       select array_agg(b.serial order by b.serial) from back b', p_stage, v_errors)
    into again
    using p_gtin, p_lot, p_load_id, p_errors;
  end if;

  execute format(
    'with added as (
       insert into sv.pack (gtin, serial, lot, expiry, load_id, event, line)
       select s.gtin, s.serial, s.lot, s.expiry, $3, s.event, s.line
       from sv.%I s
       where s.gtin = $1 and s.lot = $2 %s
       order by s.serial, s.line
       %s
       returning serial
     )
     select count(*), sha256(convert_to(coalesce(string_agg(a.serial || E''\n'', ''''), ''''), ''UTF8''))
     from (%s) a', p_stage, v_errors, case when p_again then 'on conflict (gtin, serial) do nothing' else '' end,
     case when again is null then 'select x.serial from added x'
       else 'select u.serial from (select x.serial from added x union all select unnest($5)) u order by u.serial' end)
  into n, digest
  using p_gtin, p_lot, p_load_id, p_errors, again;
end
$$;


-- What the lot's lines say of packs that are not theirs: each is kept beside the
-- commissioning that counts.  Not kept: what only repeats, when neither of both
-- has an event, because then neither can be declared an error.
-- What says something else is a finding; the first recorded stands.
drop function sv.merge_contradictions(integer, text, bigint, text, timestamptz);

create function sv.merge_kept(
  p_load_id  integer,
  p_stage    text,
  p_gtin     bigint,
  p_lot      text,
  p_errors   integer[],
  p_now      timestamptz
)
returns bigint                                            -- contradictions
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_n  bigint;
begin
  execute format(
    'with told as materialized (
       select s.serial, s.expiry, s.line, s.event, p.lot as first_lot, p.expiry as first_expiry, p.load_id as first_load,
         p.event as first_event, p.line as first_line, coalesce(s.event = any ($5), false) as wrong,
         p.lot is distinct from s.lot or p.expiry is distinct from s.expiry as other
       from sv.%1$I s
         left join sv.pack p on p.gtin = s.gtin and p.serial = s.serial and p.gtin = $2
       where s.gtin = $2 and s.lot = $3
     ), kept as (
       insert into sv.commission (gtin, load_id, event, line, expiry, at, serial, lot)
       select distinct on (t.serial, t.event) $2, $1, coalesce(t.event, 0), t.line, t.expiry, $4, t.serial, $3
       from told t
       where t.wrong
         or t.other
         or t.event is not null and (t.first_load <> $1 or t.first_event is distinct from t.event)
         or t.event is null and t.first_event is not null and not exists (
           select
           from sv.commission c
           where c.gtin = $2 and c.serial = t.serial and c.event = 0 and c.lot = $3 and c.expiry = t.expiry)
       order by t.serial, t.event, t.line
       on conflict (gtin, serial, load_id, event) do nothing
     ), found as (
       insert into sv.finding (gtin, at, finding_id, rule, serial, lot, detail)
       select $2, $4, gen_random_uuid(), ''duplicate_commissioning'', o.serial, $3, jsonb_build_object(
         ''first'', jsonb_strip_nulls(jsonb_build_object(''load_id'', o.first_load, ''file'', f.file, ''event'', o.first_event,
           ''line'', o.first_line, ''lot'', o.first_lot, ''expiry'', o.first_expiry)),
         ''other'', jsonb_strip_nulls(jsonb_build_object(''load_id'', $1, ''file'', t.file, ''event'', o.event, ''line'', o.line,
           ''lot'', $3, ''expiry'', o.expiry)))
       from (select distinct on (x.serial, x.expiry) x.* from told x where x.other and not x.wrong order by x.serial, x.expiry, x.line) o
         join sv.load t on t.load_id = $1
         left join sv.load f on f.load_id = o.first_load
       where not exists (
         -- sent again in another file
         select
         from sv.commission c
           left join sv.event v on v.load_id = c.load_id and v.event = c.event
         where c.gtin = $2 and c.serial = o.serial and c.lot = $3 and c.expiry = o.expiry and v.error is null)
     )
     select count(*) from told x where x.other and not x.wrong', p_stage)
  into v_n
  using p_load_id, p_gtin, p_lot, p_now, p_errors;

  return v_n;
end
$$;


-- The expiry of a lot: of its packs, of the load recorded first.  Null: no pack
-- is of this lot, or all that commissioned some were declared errors.
create function sv.lot_expiry(p_gtin bigint, p_lot text)
returns date
language sql stable
return (
  select p.expiry
  from sv.load_lot t
    cross join lateral (
      select k.expiry
      from sv.pack k
      where k.gtin = p_gtin and k.load_id = t.load_id and k.lot = p_lot and k.state <> 'void'
      limit 1) p
  where t.gtin = p_gtin and t.lot = p_lot
  order by t.at, t.load_id
  limit 1
);


-- One lot of a load, in one transaction.  `outcome': merged, before (by an
-- interrupted attempt), product_unknown (or not to be named by this load), empty
-- (its events are left away), none (there is no lot of this number).
--
-- Against a declaration of error of one of the load's events: that one locks the
-- load's row before it looks for packs, so it comes before this transaction,
-- whose p_errors name the event then, or finds what this transaction merged.
create or replace function sv.merge_lot(
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
  v_now      timestamptz := transaction_timestamp();
  v_lot      record;
  v_load     record;
  v_wrong    bigint := 0;
  v_known    date;
  v_digest   bytea;
  v_errors   integer[];
  v_again    text[];
  v_serials  text[];
begin
  perform sv.stage_check(p_stage);

  execute format('select * from sv.%I where n = $1', p_stage || '_lot') into v_lot using p_n;

  if v_lot.n is null then
    merge_lot.outcome := 'none';
    return;
  end if;

  merge_lot.lines := v_lot.lines;

  if v_lot.lines = 0 then
    merge_lot.outcome := 'empty';
    return;
  end if;

  select l.file, l.digest, l.company into v_load from sv.load l where l.load_id = p_load_id for key share;

  if sv.gtin_refused(v_lot.gtin, v_load.company) is not null then
    merge_lot.outcome := 'product_unknown';
    return;
  end if;

  perform sv.feed_lock(array[v_lot.gtin]);

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

  select array_agg(v.event) into v_errors from sv.event v where v.load_id = p_load_id and v.error is not null;

  -- A lot that is new inserts without looking for conflicts: two thirds of the
  -- cost.  When it has one all the same, it is undone and done with looking.
  begin
    if exists (select from sv.lot l where l.gtin = v_lot.gtin and l.lot = v_lot.lot and l.expiry is not null) then
      raise unique_violation;
    end if;

    select i.n, i.digest into new_packs, v_digest from sv.merge_insert(p_stage, p_load_id, v_lot.gtin, v_lot.lot, v_errors, false) i;
  exception
    when unique_violation then
      select i.n, i.digest, i.again into new_packs, v_digest, v_again
      from sv.merge_insert(p_stage, p_load_id, v_lot.gtin, v_lot.lot, v_errors, true) i;
  end;

  contradictions := 0;

  if new_packs < v_lot.lines then
    contradictions := sv.merge_kept(p_load_id, p_stage, v_lot.gtin, v_lot.lot, v_errors, v_now);
  end if;

  if v_errors is not null then
    -- what was declared an error says nothing about the lot
    execute format(
      'select count(*) filter (where s.event = any ($3)), min(s.expiry) filter (where s.event = any ($3) is not true),
         max(s.expiry) filter (where s.event = any ($3) is not true)
       from sv.%I s
       where s.gtin = $1 and s.lot = $2', p_stage)
    into v_wrong, v_lot.expiry, v_lot.last_expiry
    using v_lot.gtin, v_lot.lot, v_errors;
  end if;

  repeated := v_lot.lines - v_wrong - new_packs - contradictions;

  update sv.load_lot
  set new_packs = merge_lot.new_packs, repeated = merge_lot.repeated, contradictions = merge_lot.contradictions, digest = v_digest
  where gtin = v_lot.gtin and lot = v_lot.lot and load_id = p_load_id;

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

  if v_lot.expiry <> v_known or v_lot.last_expiry <> v_known then
    insert into sv.finding (gtin, at, finding_id, rule, lot, detail)
    values (v_lot.gtin, v_now, p_audit_id, 'lot_expiry', v_lot.lot, jsonb_build_object(
      'first', jsonb_build_object('expiry', v_known),
      'other', jsonb_build_object('load_id', p_load_id, 'file', v_load.file, 'line', v_lot.first_line,
        'expiry', case when v_lot.expiry <> v_known then v_lot.expiry else v_lot.last_expiry end)));
  end if;

  -- packs that were rejected or destroyed before they were commissioned
  if v_again is not null or exists (select from sv.item_end x where x.gtin = v_lot.gtin) then
    execute format(
      'select array_agg(distinct s.serial)
       from sv.%I s
       where s.gtin = $1 and s.lot = $2 and (s.serial = any ($3)
         or exists (select from sv.item_end x where x.gtin = $1 and x.serial = s.serial))', p_stage)
    into v_serials
    using v_lot.gtin, v_lot.lot, v_again;

    if v_serials is not null then
      perform sv.settle(array_fill(v_lot.gtin, array[cardinality(v_serials)]), v_serials, 'load', p_load_id, null, 'worker');
    end if;
  end if;

  insert into sv.audit (gtin, at, audit_id, expiry, changed, kind, operation, lot, reason, actor, detail)
  values (v_lot.gtin, v_now, p_audit_id, coalesce(v_lot.expiry, v_known), merge_lot.new_packs > 0, 'load', 'commission', v_lot.lot, 'ok', 'worker',
    jsonb_build_object('load_id', p_load_id, 'file', v_load.file, 'file_sha256', encode(v_load.digest, 'hex'),
      'packs', merge_lot.new_packs, 'repeated', merge_lot.repeated, 'contradictions', merge_lot.contradictions,
      'serials_sha256', encode(v_digest, 'hex')));

  insert into sv.outbox (gtin, audit_id, at) values (v_lot.gtin, p_audit_id, v_now);
end
$$;


-- How strong a state that the counter gave a pack is beside the ends of a feed
-- (sv.step_rule.rank): a higher rank goes over it.
create function sv.state_rank(p_state sv.pack_state)
returns integer
language sql immutable parallel safe
return case p_state::text
  when 'active'      then -1
  when 'destroyed'   then 5
  when 'stolen'      then 5
  when 'supplied'    then 3
  when 'exported'    then 3
  when 'sample'      then 2
  when 'free_sample' then 2
  else 0
end;


-- The end of an item that counts: of the highest rank, and not declared an error.
-- p_after: commissioned again at that time, where the setting `recommission' allows it.
create function sv.end_of(p_gtin bigint, p_serial text, p_after timestamptz)
returns table (state sv.pack_state, rank smallint, step text, load_id integer, event integer)
language sql stable
begin atomic
  select r.state, r.rank, x.step, x.load_id, x.event
  from sv.item_end x
    join sv.event v on v.load_id = x.load_id and v.event = x.event
    join sv.step_rule r on r.step = x.step and r.action = v.action
  where x.gtin = p_gtin and x.serial = p_serial and v.error is null and r.state is not null
    and not (r.revives and coalesce(p_after > x.event_time, false))
  order by r.rank desc, x.event_time, x.load_id, x.event
  limit 1;
end;


-- The last time at which an item was commissioned, of events that count.
create function sv.commissioned_at(p_gtin bigint, p_serial text)
returns timestamptz
language sql stable
begin atomic
  select max(u.event_time)
  from (
    select v.event_time
    from sv.pack p
      join sv.event v on v.load_id = p.load_id and v.event = p.event
    where p.gtin = p_gtin and p.serial = p_serial and p.state <> 'void' and v.error is null
    union all
    select v.event_time
    from sv.commission c
      join sv.event v on v.load_id = c.load_id and v.event = c.event
    where c.gtin = p_gtin and c.serial = p_serial and v.error is null
  ) u;
end;


-- What feeds say became of an item; null: nothing.
create function sv.ended_state(p_gtin bigint, p_serial text)
returns sv.pack_state
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select e.state
  from sv.end_of(p_gtin, p_serial, case when sv.setting_integer('recommission') = 1 then sv.commissioned_at(p_gtin, p_serial) end) e
$$;


-- What became of packs, by the facts that are there: called by whoever brought
-- one, under the locks of their GTINs.  How many changed.
--
-- A state with a location is the counter's; it stands unless the end is
-- stronger, and is kept in sv.overruled while that is so.  Any other state is
-- what the ends say.  Void stays void.
create function sv.settle(
  p_gtin     bigint[],
  p_serial   text[],
  p_kind     text,                                        -- of the audit rows
  p_load_id  integer,                                     -- the fact that brought it, if it is none of the ends
  p_event    integer,
  p_actor    text
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
as $$
declare
  v_again  boolean := sv.setting_integer('recommission') = 1;
  v_now    timestamptz := transaction_timestamp();
  v_n      bigint;
begin
  if v_again then
    perform sv.recommission(p_gtin, p_serial, p_kind, p_actor);
  end if;

  -- an operation at the counter may be changing one of them
  perform
  from sv.pack p
  where (p.gtin, p.serial) in (select t.gtin, t.serial from unnest(p_gtin, p_serial) as t (gtin, serial))
  order by p.gtin, p.serial
  for update;

  with pack as materialized (
    select p.gtin, p.serial, p.state, p.lot, p.version, p.location_id, p.since, p.repeats, o.state as kept,
      o.location_id as kept_location, o.since as kept_since, o.repeats as kept_repeats,
      coalesce(o.state, case when p.location_id is null then 'active' else p.state end) as own,
      e.state as ended, e.rank, e.step, e.load_id, e.event
    from (select distinct u.gtin, u.serial from unnest(p_gtin, p_serial) as u (gtin, serial)) t
      join sv.pack p on p.gtin = t.gtin and p.serial = t.serial
      left join sv.overruled o on o.gtin = t.gtin and o.serial = t.serial
      left join lateral sv.end_of(t.gtin, t.serial, case when v_again then sv.commissioned_at(t.gtin, t.serial) end) e on true
    where p.state <> 'void'
  ), become as materialized (
    select k.*, gen_random_uuid() as audit_id, coalesce(k.rank > sv.state_rank(k.own), false) as over,
      case when k.rank > sv.state_rank(k.own) then k.ended else k.own end as next
    from pack k
  ), changed as materialized (
    select b.* from become b where b.next <> b.state
  ), written as (
    update sv.pack p
    set state = c.next, version = p.version + 1,
      location_id = case when not c.over then c.kept_location end,
      since = case when not c.over then c.kept_since end,
      repeats = case when not c.over and c.kept is not null then c.kept_repeats else 0 end
    from changed c
    where p.gtin = c.gtin and p.serial = c.serial
  ), kept as (
    insert into sv.overruled (gtin, since, location_id, state, repeats, serial)
    select c.gtin, c.since, c.location_id, c.state, c.repeats, c.serial
    from changed c
    where c.over and c.kept is null and c.location_id is not null and c.state <> 'active'
  ), given_back as (
    delete from sv.overruled o
    using changed c
    where o.gtin = c.gtin and o.serial = c.serial and not c.over
  ), noted as (
    insert into sv.audit (gtin, at, audit_id, version, changed, kind, operation, serial, lot, reason, state_before, state, actor, detail)
    select c.gtin, v_now, c.audit_id, c.version + 1, true, p_kind, case when c.over then c.step else 'taken_back' end, c.serial, c.lot, 'ok',
      c.state, c.next, p_actor,
      jsonb_strip_nulls(jsonb_build_object('load_id', case when c.over then c.load_id else p_load_id end,
        'event', case when c.over then c.event else p_event end))
    from changed c
  ), queued as (
    insert into sv.outbox (gtin, audit_id, at)
    select c.gtin, c.audit_id, v_now from changed c
  ), found as (
    insert into sv.finding (gtin, at, finding_id, rule, serial, lot, detail)
    select c.gtin, v_now, c.audit_id, 'ended_pack_supplied', c.serial, c.lot, jsonb_build_object('step', c.step, 'load_id', c.load_id,
      'event', c.event, 'file', l.file, 'line', v.line, 'location_id', c.location_id, 'supplied_at', c.since)
    from changed c
      join sv.load l on l.load_id = c.load_id
      join sv.event v on v.load_id = c.load_id and v.event = c.event
    where c.over and c.kept is null and c.location_id is not null and c.state = 'supplied'
  )
  select count(*) into v_n from changed;

  return v_n;
end
$$;


-- Another commissioning takes the place of the one that counts: of each pack
-- named the kept one named beside it, or, where that is null, none: it is void.
-- The one that counted is kept.  The callers hold the locks.
create function sv.commission_swap(
  p_gtin     bigint[],
  p_serial   text[],
  p_load_id  integer[],
  p_event    integer[],
  p_by       text,                                        -- the operation, for the audit
  p_kind     text,
  p_actor    text,
  p_detail   jsonb
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
as $$
declare
  v_now  timestamptz := transaction_timestamp();
  v_n    bigint;
begin
  perform
  from sv.pack p
  where (p.gtin, p.serial) in (select t.gtin, t.serial from unnest(p_gtin, p_serial) as t (gtin, serial))
  order by p.gtin, p.serial
  for update;

  with pair as materialized (
    select p.gtin, p.serial, p.lot, p.expiry, p.load_id, p.event, p.line, p.state, p.version, p.since, p.location_id, p.repeats,
      c.load_id as next_load, nullif(c.event, 0) as next_event, c.line as next_line, c.lot as next_lot, c.expiry as next_expiry,
      coalesce(v.at, b.at, v_now) as at, gen_random_uuid() as audit_id
    from unnest(p_gtin, p_serial, p_load_id, p_event) as t (gtin, serial, load_id, event)
      join sv.pack p on p.gtin = t.gtin and p.serial = t.serial
      left join sv.commission c on c.gtin = t.gtin and c.serial = t.serial and c.load_id = t.load_id and c.event = t.event
      left join sv.load_lot b on b.gtin = p.gtin and b.lot = p.lot and b.load_id = p.load_id
      left join sv.event v on v.load_id = p.load_id and v.event = p.event
    where p.state <> 'void' or c.load_id is not null
  ), gone as (
    delete from sv.commission c
    using pair p
    where c.gtin = p.gtin and c.serial = p.serial and c.load_id = p.next_load and c.event = coalesce(p.next_event, 0)
      and (p.state = 'void' or (c.load_id, c.event) is distinct from (p.load_id, coalesce(p.event, 0)))
  ), kept as (
    -- a file without events that contradicts itself has but one row to keep
    insert into sv.commission (gtin, load_id, event, line, expiry, at, serial, lot)
    select p.gtin, coalesce(p.load_id, 0), coalesce(p.event, 0), coalesce(p.line, 0), p.expiry, p.at, p.serial, p.lot
    from pair p
    where p.state <> 'void'
    on conflict (gtin, serial, load_id, event) do update
    set line = excluded.line, expiry = excluded.expiry, at = excluded.at, lot = excluded.lot
  ), written as (
    update sv.pack k
    set lot = coalesce(p.next_lot, k.lot), expiry = coalesce(p.next_expiry, k.expiry),
      load_id = case when p.next_load is null then k.load_id else p.next_load end,
      event = case when p.next_load is null then k.event else p.next_event end,
      line = case when p.next_load is null then k.line else p.next_line end,
      state = case when p.next_load is null then 'void' when k.state = 'void' then 'active' else k.state end,
      location_id = case when p.next_load is not null then k.location_id end,
      since = case when p.next_load is not null then k.since end,
      repeats = case when p.next_load is not null then k.repeats else 0 end,
      version = k.version + 1
    from pair p
    where k.gtin = p.gtin and k.serial = p.serial
  ), held as (
    -- what the counter made of a pack that is void now
    insert into sv.overruled (gtin, since, location_id, state, repeats, serial)
    select p.gtin, p.since, p.location_id, p.state, p.repeats, p.serial
    from pair p
    where p.next_load is null and p.location_id is not null and p.state not in ('active', 'void')
    on conflict (gtin, serial) do nothing
  ), noted as (
    insert into sv.audit (gtin, at, audit_id, version, expiry, changed, kind, operation, serial, lot, reason, state_before, state, actor, detail)
    select p.gtin, v_now, p.audit_id, p.version + 1, coalesce(p.next_expiry, p.expiry), true, p_kind, p_by, p.serial, coalesce(p.next_lot, p.lot), 'ok',
      p.state, case when p.next_load is null then 'void' when p.state = 'void' then 'active' else p.state end, p_actor,
      coalesce(p_detail, '{}') || jsonb_build_object(
        'before', jsonb_build_object('load_id', p.load_id, 'event', p.event, 'lot', p.lot, 'expiry', p.expiry),
        'after', case when p.next_load is not null
          then jsonb_build_object('load_id', p.next_load, 'event', p.next_event, 'lot', p.next_lot, 'expiry', p.next_expiry) end)
    from pair p
  ), queued as (
    insert into sv.outbox (gtin, audit_id, at)
    select p.gtin, p.audit_id, v_now from pair p
  ), known as (
    -- its lot is known now, if all that was said of it were contradictions until now
    insert into sv.lot as l (gtin, lot, expiry)
    select distinct on (p.gtin, p.next_lot) p.gtin, p.next_lot, p.next_expiry
    from pair p
    where p.next_lot is not null
      and not exists (select from sv.lot k where k.gtin = p.gtin and k.lot = p.next_lot and k.expiry is not null)
    order by p.gtin, p.next_lot, p.serial
    on conflict (gtin, lot) do update set expiry = excluded.expiry where l.expiry is null
  )
  select count(*) into v_n from pair;
end
$$;


-- With the setting `recommission': a serial that was rejected on the line, and
-- commissioned again later, is what the later commissioning says.
create function sv.recommission(p_gtin bigint[], p_serial text[], p_kind text, p_actor text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_later  record;
begin
  select array_agg(t.gtin) as gtin, array_agg(t.serial) as serial, array_agg(n.load_id) as load_id, array_agg(n.event) as event
  into v_later
  from (select distinct u.gtin, u.serial from unnest(p_gtin, p_serial) as u (gtin, serial)) t
    join sv.pack p on p.gtin = t.gtin and p.serial = t.serial and p.state <> 'void'
    left join sv.event own on own.load_id = p.load_id and own.event = p.event
    cross join lateral (
      select max(x.event_time) as at
      from sv.item_end x
        join sv.event v on v.load_id = x.load_id and v.event = x.event
        join sv.step_rule r on r.step = x.step and r.action = v.action
      where x.gtin = t.gtin and x.serial = t.serial and v.error is null and r.revives) ended
    cross join lateral (
      select c.load_id, c.event
      from sv.commission c
        join sv.event v on v.load_id = c.load_id and v.event = c.event
      where c.gtin = t.gtin and c.serial = t.serial and v.error is null and v.event_time > ended.at
      order by c.at, c.load_id, c.event
      limit 1) n
  where own.event_time is null or own.event_time <= ended.at;

  if v_later.gtin is not null then
    perform sv.commission_swap(v_later.gtin, v_later.serial, v_later.load_id, v_later.event, 'recommission', p_kind, p_actor, null);
  end if;

  -- what it was before does not contradict what it is since
  select array_agg(t.gtin) as gtin, array_agg(t.serial) as serial
  into v_later
  from (select distinct u.gtin, u.serial from unnest(p_gtin, p_serial) as u (gtin, serial)) t
    join sv.pack p on p.gtin = t.gtin and p.serial = t.serial
    join sv.event own on own.load_id = p.load_id and own.event = p.event
    join sv.commission c on c.gtin = t.gtin and c.serial = t.serial
    join sv.event v on v.load_id = c.load_id and v.event = c.event
  where exists (
    select
    from sv.item_end x
      join sv.event e on e.load_id = x.load_id and e.event = x.event
      join sv.step_rule r on r.step = x.step and r.action = e.action
    where x.gtin = t.gtin and x.serial = t.serial and e.error is null and r.revives
      and x.event_time < own.event_time and x.event_time >= v.event_time);

  if v_later.gtin is not null then
    perform sv.explain_findings(v_later.gtin, v_later.serial, null, null);

    insert into sv.lot as l (gtin, lot, expiry)
    select distinct on (c.gtin, c.lot) c.gtin, c.lot, c.expiry
    from (select distinct u.gtin, u.serial from unnest(v_later.gtin, v_later.serial) as u (gtin, serial)) t
      join sv.commission c on c.gtin = t.gtin and c.serial = t.serial
      join sv.event v on v.load_id = c.load_id and v.event = c.event and v.error is null
    where not exists (select from sv.lot k where k.gtin = c.gtin and k.lot = c.lot and k.expiry is not null)
    order by c.gtin, c.lot, c.at
    on conflict (gtin, lot) do update set expiry = excluded.expiry where l.expiry is null;
  end if;
end
$$;


-- Findings of contradictions that are none any more: of this event, which was
-- declared an error; null: all of these packs.
create function sv.explain_findings(p_gtin bigint[], p_serial text[], p_load_id integer, p_event integer)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update sv.finding f
  set detail = f.detail || jsonb_build_object('explained', true)
  where f.rule = 'duplicate_commissioning' and f.gtin = any (p_gtin)
    and (f.gtin, f.serial) in (select t.gtin, t.serial from unnest(p_gtin, p_serial) as t (gtin, serial))
    and not f.detail ? 'explained'
    and (p_load_id is null
      or f.detail -> 'first' @> jsonb_build_object('load_id', p_load_id, 'event', p_event)
      or f.detail -> 'other' @> jsonb_build_object('load_id', p_load_id, 'event', p_event))
$$;


-- What contradicts the commissioning that counts since another was declared an
-- error: a finding for each that has none.
create function sv.find_duplicates(p_gtin bigint[], p_serial text[])
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into sv.finding (gtin, at, finding_id, rule, serial, lot, detail)
  select o.gtin, transaction_timestamp(), gen_random_uuid(), 'duplicate_commissioning', o.serial, o.lot, jsonb_build_object(
    'first', jsonb_strip_nulls(jsonb_build_object('load_id', o.first_load, 'file', f.file, 'event', o.first_event, 'line', o.first_line,
      'lot', o.first_lot, 'expiry', o.first_expiry)),
    'other', jsonb_strip_nulls(jsonb_build_object('load_id', o.load_id, 'file', l.file, 'event', nullif(o.event, 0), 'line', o.line,
      'lot', o.lot, 'expiry', o.expiry)))
  from (
    select distinct on (c.gtin, c.serial, c.lot, c.expiry) c.*, p.load_id as first_load, p.event as first_event, p.line as first_line,
      p.lot as first_lot, p.expiry as first_expiry
    from unnest(p_gtin, p_serial) as t (gtin, serial)
      join sv.pack p on p.gtin = t.gtin and p.serial = t.serial and p.state <> 'void'
      join sv.commission c on c.gtin = t.gtin and c.serial = t.serial and (c.lot <> p.lot or c.expiry <> p.expiry)
      left join sv.event v on v.load_id = c.load_id and v.event = c.event
    where v.error is null
    order by c.gtin, c.serial, c.lot, c.expiry, c.at, c.load_id, c.event
  ) o
    left join sv.load f on f.load_id = o.first_load
    left join sv.load l on l.load_id = o.load_id
  where not exists (
    select
    from sv.finding x
    where x.rule = 'duplicate_commissioning' and x.gtin = o.gtin and x.serial = o.serial and x.lot = o.lot
      and x.detail -> 'other' ->> 'expiry' = o.expiry::text and not x.detail ? 'explained')
$$;


-- Events that put items into a container or take them out, as seen at a time:
-- of kind aggregation, whatever their step, and not declared an error.  An event
-- without a time came before all others.
--
-- An item's parent is that of its last packing (of several at the same time the
-- one recorded first), unless it was unpacked from there since: by name, or with
-- everything in it (an unpacking that names no items).  A load of one company
-- empties a container of its own packs only.

-- Does what a company says of a container's place count?  Not when another
-- company commissioned it.  Of packs it is looked at when the event comes.
create function sv.may_place(p_gtin bigint, p_serial text, p_company text)
returns boolean
language sql stable
return p_gtin <> 0 or p_company = '' or not exists (
  select
  from sv.container c
    join sv.load l on l.load_id = c.load_id
  where c.gtin = p_gtin and c.serial = p_serial collate "C" and l.company not in ('', p_company));

-- The parent of an item; no row: none.
create function sv.parent_of(p_gtin bigint, p_serial text, p_at timestamptz)
returns table (gtin bigint, serial text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with packed as materialized (
    select v.parent_gtin, v.parent_serial, coalesce(v.event_time, '-infinity') as time
    from sv.event_epc m
      cross join lateral (select e.* from sv.event e where e.load_id = m.load_id and e.event = m.event offset 0) v
    where m.gtin = p_gtin and m.serial = p_serial and v.kind = 'aggregation' and v.action = 'add' and v.error is null
      and v.parent_serial is not null and coalesce(v.event_time, '-infinity') <= p_at
      and (p_gtin <> 0 or sv.may_place(p_gtin, p_serial, (select l.company from sv.load l where l.load_id = v.load_id)))
    order by coalesce(v.event_time, '-infinity') desc, v.at, v.load_id, v.event
    limit 1
  )
  select k.parent_gtin, k.parent_serial
  from packed k
  where not exists (
      select
      from sv.event_epc m
        cross join lateral (select e.* from sv.event e where e.load_id = m.load_id and e.event = m.event offset 0) u
      where m.gtin = p_gtin and m.serial = p_serial and u.kind = 'aggregation' and u.action = 'delete' and u.error is null
        and (u.parent_serial is null or u.parent_gtin = k.parent_gtin and u.parent_serial = k.parent_serial)
        and coalesce(u.event_time, '-infinity') > k.time and coalesce(u.event_time, '-infinity') <= p_at
        and (p_gtin <> 0 or sv.may_place(p_gtin, p_serial, (select l.company from sv.load l where l.load_id = u.load_id))))
    and not exists (
      select
      from sv.event u
        join sv.load l on l.load_id = u.load_id
      where u.parent_gtin = k.parent_gtin and u.parent_serial = k.parent_serial and u.kind = 'aggregation' and u.action = 'delete'
        and u.packs = 0 and u.error is null
        and coalesce(u.event_time, '-infinity') > k.time and coalesce(u.event_time, '-infinity') <= p_at
        and (l.company = '' or p_gtin = 0 and sv.may_place(p_gtin, p_serial, l.company)
          or exists (select from sv.product r where r.gtin = p_gtin and r.company = l.company)))
$$;


-- The containers an item is in at a time, from the inside: at most ten.
create function sv.parents(p_gtin bigint, p_serial text, p_at timestamptz)
returns table (gtin bigint, serial text, depth integer)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_seen  text[] := array[p_gtin || ' ' || p_serial];
begin
  gtin := p_gtin;
  serial := p_serial;

  for v_depth in 1 .. 10 loop
    select f.gtin, f.serial into gtin, serial from sv.parent_of(parents.gtin, parents.serial, p_at) f;

    -- what is in itself is told once
    exit when serial is null or gtin || ' ' || serial = any (v_seen);

    v_seen := v_seen || (gtin || ' ' || serial);
    depth := v_depth;
    return next;
  end loop;
end
$$;


-- Everything in a container at a time, at every level (at most ten).  Level by
-- level, each container once: so a container that is said to be in itself ends it.
create function sv.contents(p_gtin bigint, p_serial text, p_at timestamptz)
returns table (gtin bigint, serial text, parent_gtin bigint, parent_serial text, depth integer)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off                                  -- whatever is believed of tables that grow fast
set jit = off
as $$
#variable_conflict use_column
declare
  v_gtin    bigint[] := array[p_gtin];
  v_serial  text[] := array[p_serial];
  v_level   text[] := array[p_gtin || ' ' || p_serial];
  v_seen    text[] := v_level;
  v_found   record;
begin
  for v_depth in 1 .. 10 loop
    with level as materialized (
      select u.gtin, u.serial from unnest(v_gtin, v_serial) as u (gtin, serial)
    ), inside as materialized (
      select distinct m.gtin, m.serial
      from level l
        join sv.event v on v.parent_gtin = l.gtin and v.parent_serial = l.serial collate "C"
        join sv.event_epc m on m.load_id = v.load_id and m.event = v.event
      where v.kind = 'aggregation' and v.action = 'add' and v.error is null and coalesce(v.event_time, '-infinity') <= p_at
    ), past as materialized (
      select i.gtin, i.serial, v.action, v.parent_gtin, v.parent_serial, coalesce(v.event_time, '-infinity') as time, v.at, v.load_id, v.event
      from inside i
        cross join lateral (select x.load_id, x.event from sv.event_epc x where x.gtin = i.gtin and x.serial = i.serial offset 0) m
        cross join lateral (select e.* from sv.event e where e.load_id = m.load_id and e.event = m.event offset 0) v
      where v.kind = 'aggregation' and v.action in ('add', 'delete') and v.error is null and coalesce(v.event_time, '-infinity') <= p_at
        and (i.gtin <> 0 or sv.may_place(i.gtin, i.serial, (select b.company from sv.load b where b.load_id = v.load_id)))
    ), told as (
      -- each with the last packing of its item
      select a.gtin, a.serial, a.action, a.parent_gtin, a.parent_serial, a.time, first_value(a.parent_gtin) over w as last_gtin,
        first_value(a.parent_serial) over w as last_serial, first_value(a.time) over w as last_time
      from past a
      window w as (partition by a.gtin, a.serial order by a.action = 'add' and a.parent_serial is not null desc, a.time desc, a.at, a.load_id, a.event)
    ), packed as (
      select t.gtin, t.serial, t.last_gtin as parent_gtin, t.last_serial as parent_serial, t.last_time as time
      from told t
      where t.last_gtin || ' ' || t.last_serial = any (v_level)
      group by t.gtin, t.serial, t.last_gtin, t.last_serial, t.last_time
      having not bool_or(t.action = 'delete' and t.time > t.last_time
        and (t.parent_serial is null or t.parent_gtin = t.last_gtin and t.parent_serial = t.last_serial))
    ), emptied as materialized (
      select l.gtin, l.serial, coalesce(u.event_time, '-infinity') as time, b.company
      from level l
        join sv.event u on u.parent_gtin = l.gtin and u.parent_serial = l.serial collate "C"
        join sv.load b on b.load_id = u.load_id
      where u.kind = 'aggregation' and u.action = 'delete' and u.packs = 0 and u.error is null and coalesce(u.event_time, '-infinity') <= p_at
    ), child as (
      select k.gtin, k.serial, k.parent_gtin, k.parent_serial
      from packed k
      where (k.gtin, k.serial) <> (p_gtin, p_serial)
        and not exists (
          select
          from emptied e
          where e.gtin = k.parent_gtin and e.serial = k.parent_serial and e.time > k.time
            and (e.company = '' or k.gtin = 0 and sv.may_place(k.gtin, k.serial, e.company)
              or exists (select from sv.product r where r.gtin = k.gtin and r.company = e.company)))
    )
    select array_agg(c.gtin) as gtin, array_agg(c.serial) as serial, array_agg(c.parent_gtin) as parent_gtin,
      array_agg(c.parent_serial) as parent_serial
    into v_found
    from child c;

    exit when v_found.gtin is null;

    return query
    select u.gtin, u.serial, u.parent_gtin, u.parent_serial, v_depth
    from unnest(v_found.gtin, v_found.serial, v_found.parent_gtin, v_found.parent_serial) as u (gtin, serial, parent_gtin, parent_serial);

    select array_agg(u.gtin), array_agg(u.serial)
    into v_gtin, v_serial
    from unnest(v_found.gtin, v_found.serial) as u (gtin, serial)
    where exists (select from sv.event v where v.parent_gtin = u.gtin and v.parent_serial = u.serial collate "C")
      and u.gtin || ' ' || u.serial <> all (v_seen);

    exit when v_gtin is null;

    v_level := array(select u.gtin || ' ' || u.serial from unnest(v_gtin, v_serial) as u (gtin, serial));
    v_seen := v_seen || v_level;
  end loop;
end
$$;


-- The items that are ended by an event because they were in a container that it
-- names, but for those it names itself.  A load of one company ends its own only.
create function sv.end_contents(p_load_id integer, p_event integer)
returns table (gtin bigint, serial text, line integer, event_time timestamptz, step text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with container as materialized (
    select x.gtin, x.serial, x.line, x.event_time, x.step, l.company
    from sv.item_end x
      join sv.event v on v.load_id = x.load_id and v.event = x.event
      join sv.load l on l.load_id = x.load_id
      join sv.step_rule r on r.step = x.step and r.action = v.action
    where x.load_id = p_load_id and x.event = p_event and not x.derived and v.error is null and r.contents
      and exists (select from sv.event p where p.parent_gtin = x.gtin and p.parent_serial = x.serial)
  )
  select distinct on (c.gtin, c.serial) c.gtin, c.serial, k.line, k.event_time, k.step
  from container k
    cross join lateral sv.contents(k.gtin, k.serial, k.event_time) c
  where (k.company = '' or c.gtin = 0 or exists (select from sv.product p where p.gtin = c.gtin and p.company = k.company))
    and not exists (
      select
      from sv.item_end d
      where d.gtin = c.gtin and d.serial = c.serial and d.load_id = p_load_id and d.event = p_event and not d.derived)
  order by c.gtin, c.serial, k.line
$$;


-- Events that end what is in a container in which these items ever were, or in
-- one of these items themselves.
create function sv.ends_around(p_gtin bigint[], p_serial text[])
returns table (load_id integer, event integer)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set join_collapse_limit = 1
set jit = off
as $$
#variable_conflict use_column
declare
  v_gtin    bigint[] := p_gtin;
  v_serial  text[] := p_serial;
  v_all     text[] := '{}';
begin
  for v_depth in 0 .. 10 loop
    return query
    select distinct x.load_id, x.event
    from unnest(v_gtin, v_serial) as u (gtin, serial)
      join sv.item_end x on x.gtin = u.gtin and x.serial = u.serial collate "C"
      join sv.step_rule r on r.step = x.step and r.contents
    where not x.derived;

    v_all := v_all || case when v_depth = 0 then '{}' else array(select u.gtin || ' ' || u.serial from unnest(v_gtin, v_serial) as u (gtin, serial)) end;

    select array_agg(distinct_parent.parent_gtin), array_agg(distinct_parent.parent_serial)
    into v_gtin, v_serial
    from (
      select distinct v.parent_gtin, v.parent_serial
      from unnest(v_gtin, v_serial) as u (gtin, serial)
        join sv.event_epc m on m.gtin = u.gtin and m.serial = u.serial collate "C"
        cross join lateral (select e.* from sv.event e where e.load_id = m.load_id and e.event = m.event offset 0) v
      where v.kind = 'aggregation' and v.parent_serial is not null and v.parent_gtin || ' ' || v.parent_serial <> all (v_all)
    ) distinct_parent;

    exit when v_gtin is null;
  end loop;
end
$$;


-- Makes the derived ends of these events what they should be; the items of
-- which some came or went.  Their locks are taken here: what is in a container
-- shows only under its own.
create function sv.rederive(p_load_id integer[], p_event integer[], out gtins bigint[], out serials text[])
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_keys    bigint[];
  v_locked  bigint[] := '{}';
begin
  gtins := '{}';
  serials := '{}';

  if coalesce(cardinality(p_load_id), 0) = 0 then
    return;
  end if;

  loop
    select array_agg(distinct sv.item_key(i.gtin, i.serial)) into v_keys
    from unnest(p_load_id, p_event) as d (load_id, event)
      cross join lateral (
        select c.gtin, c.serial from sv.end_contents(d.load_id, d.event) c
        union all
        select x.gtin, x.serial from sv.item_end x where x.load_id = d.load_id and x.event = d.event and x.derived) i;

    exit when v_keys is null or v_keys <@ v_locked;

    perform sv.feed_lock(v_keys);
    v_locked := v_locked || v_keys;
  end loop;

  if v_keys is null then
    return;
  end if;

  with wanted as materialized (
    select distinct d.load_id, d.event, c.gtin, c.serial, c.line, c.event_time, c.step
    from unnest(p_load_id, p_event) as d (load_id, event)
      cross join lateral sv.end_contents(d.load_id, d.event) c
  ), gone as (
    delete from sv.item_end x
    using (select distinct u.load_id, u.event from unnest(p_load_id, p_event) as u (load_id, event)) d
    where x.load_id = d.load_id and x.event = d.event and x.derived
      and (x.load_id, x.event, x.gtin, x.serial) not in (select w.load_id, w.event, w.gtin, w.serial from wanted w)
    returning x.gtin, x.serial
  ), added as (
    insert into sv.item_end (gtin, load_id, event, line, event_time, step, serial, derived)
    select w.gtin, w.load_id, w.event, w.line, w.event_time, w.step, w.serial, true
    from wanted w
    on conflict (gtin, serial, load_id, event) do nothing
    returning gtin, serial
  ), both_ways as (
    select g.gtin, g.serial from gone g
    union
    select a.gtin, a.serial from added a
  )
  select coalesce(array_agg(b.gtin), '{}'), coalesce(array_agg(b.serial), '{}') into gtins, serials from both_ways b;
end
$$;


-- Is there anything of this item that an event may be about?  A commissioning
-- that was declared an error is enough: the event did not come too early.
create function sv.item_known(p_gtin bigint, p_serial text)
returns boolean
language sql stable
return
  exists (select from sv.pack p where p.gtin = p_gtin and p.serial = p_serial)
  or exists (select from sv.container c where c.gtin = p_gtin and c.serial = p_serial)
  or exists (select from sv.event v where v.parent_gtin = p_gtin and v.parent_serial = p_serial)
  or exists (select from sv.commission c where c.gtin = p_gtin and c.serial = p_serial);


-- Events of a load piece by piece, each in one transaction: about `limit' items,
-- one event at least.  `last' is where to go on, null: that was all.
create function sv.merge_events(
  p_load_id   integer,
  p_stage     text,
  p_after     integer,
  p_limit     integer,
  p_audit_id  uuid,
  out last    integer,
  out events  bigint,
  out parked  bigint
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_piece  record;
begin
  perform sv.stage_check(p_stage);

  merge_events.events := 0;
  merge_events.parked := 0;

  execute format(
    'select max(w.n) as last, array_agg(w.event order by w.event) as events, bool_or(w.declares) as declares
     from (
       select x.*, sum(x.members + 1) over (order by x.n) as up
       from sv.%1$s_work x
       where x.n > $1 and x.n <= $1 + $2
         and x.declares = (select f.declares from sv.%1$s_work f where f.n = $1 + 1)
     ) w
     where w.n = $1 + 1 or not w.declares and w.up <= $2', p_stage)
  into v_piece
  using p_after, p_limit;

  merge_events.last := v_piece.last;

  if v_piece.last is null then
    return;
  end if;

  -- as for a lot: the load's last commit waits for the disk
  perform set_config('synchronous_commit', 'off', true);
  perform sv.stage_few(p_stage);

  if v_piece.declares then
    perform sv.merge_declaration(p_load_id, p_stage, v_piece.events[1], p_audit_id);
    merge_events.events := 1;
    return;
  end if;

  select p.events, p.parked into merge_events.events, merge_events.parked
  from sv.merge_piece(p_load_id, p_stage, p_after + 1, v_piece.last, v_piece.events, p_audit_id) p;
end
$$;


-- Members of events, and what follows from them.  Everything is there to be done
-- again: what was merged before is passed over, and notes nothing.
--
-- The members are taken into arrays, and everything is looked up by key, in the
-- order in which it is written (`offset 0' is what makes PostgreSQL do so): there
-- are no statistics to go by.
create function sv.merge_piece(
  p_load_id   integer,
  p_stage     text,
  p_from      integer,                                    -- numbers of its work
  p_to        integer,
  p_events    integer[],
  p_audit_id  uuid,
  out events  bigint,
  out parked  bigint
)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set join_collapse_limit = 1
set jit = off
as $$
#variable_conflict use_column
declare
  v_now    timestamptz := transaction_timestamp();
  v_after  interval := make_interval(mins => sv.setting_integer('park_minutes'));
  v_load   record;
  v_keys   bigint[];
  v_m      record;
  v_made   bigint;
  v_n      bigint;
  v_ended  record;
  v_child  record;
  v_moved  record;
  v_ends   record;
begin
  -- a declaration of error of one of these events comes before this transaction, or after it
  select l.file, l.digest, l.company into v_load from sv.load l where l.load_id = p_load_id for key share;

  execute format(
    'select array_agg(distinct k.key)
     from (
       select sv.item_key(m.gtin, m.serial) as key
       from sv.%1$s_work w
         join sv.%1$s_epc m on m.event = w.event
       where w.n between $1 and $2
       union all
       select sv.item_key(v.parent_gtin, v.parent_serial)
       from sv.event v
       where v.load_id = $3 and v.event = any ($4) and v.parent_serial is not null
     ) k', p_stage)
  into v_keys
  using p_from, p_to, p_load_id, p_events;

  perform sv.feed_lock(v_keys);

  -- a row that a declaration made may be taken over by the event itself: then there is nothing to do for it
  perform
  from sv.event v
  where v.load_id = p_load_id and v.event = any (p_events) and v.error is not null
  order by v.event
  for key share;

  -- Each member once an event, in the order of the key.  What it is there: an item
  -- that is ended, a container that is commissioned, a pack of a commissioning that
  -- is known by its declaration of error only, what is packed, or any other.
  execute format(
    'select coalesce(array_agg(u.gtin), ''{}'') as gtin, coalesce(array_agg(u.serial), ''{}'') as serial,
       coalesce(array_agg(u.event), ''{}'') as event, coalesce(array_agg(u.line), ''{}'') as line,
       coalesce(array_agg(u.rule), ''{}'') as rule, coalesce(array_agg(u.what), ''{}'') as what, coalesce(array_agg(u.waits), ''{}'') as waits
     from (
       select m.gtin, m.serial, m.event, min(m.line) as line, w.rule,
         case
           when r.state is not null then ''end''
           when w.rule = ''commissioning'' and v.error is null then ''container''
           when w.rule = ''commissioning'' and m.gtin <> 0 and v.lot is not null and v.expiry is not null then ''declared''
           when v.kind = ''aggregation'' then ''child''
           else ''member''
         end as what,
         r.waits and v.error is null as waits
       from sv.%1$s_work w
         cross join lateral (select e.* from sv.event e where e.load_id = $3 and e.event = w.event offset 0) v
         join sv.%1$s_epc m on m.event = w.event
         left join sv.step_rule r on r.step = w.rule and r.action = v.action
       where w.n between $1 and $2
       group by m.gtin, m.serial, m.event, w.rule, r.state, v.error is null, v.lot is null, v.expiry is null, v.kind, r.waits, v.lot, v.expiry, v.error
       order by m.gtin, m.serial, m.event
     ) u', p_stage)
  into v_m
  using p_from, p_to, p_load_id;

  insert into sv.event_epc (gtin, load_id, event, line, serial)
  select u.gtin, p_load_id, u.event, u.line, u.serial
  from unnest(v_m.gtin, v_m.serial, v_m.event, v_m.line, v_m.what) as u (gtin, serial, event, line, what)
  where u.what in ('container', 'child', 'member')
  on conflict (gtin, serial, load_id, event) do nothing;
  get diagnostics v_made = row_count;

  with added as (
    insert into sv.item_end as x (gtin, load_id, event, line, event_time, step, serial)
    select u.gtin, p_load_id, u.event, u.line, coalesce(v.event_time, '-infinity'), u.rule, u.serial
    from unnest(v_m.gtin, v_m.serial, v_m.event, v_m.line, v_m.rule, v_m.what) as u (gtin, serial, event, line, rule, what)
      cross join lateral (select e.* from sv.event e where e.load_id = p_load_id and e.event = u.event offset 0) v
    where u.what = 'end'
    on conflict (gtin, serial, load_id, event) do update set derived = false where x.derived
    returning gtin, serial
  )
  select count(*) as n, coalesce(array_agg(a.gtin), '{}') as gtins, coalesce(array_agg(a.serial), '{}') as serials into v_ended
  from added a;

  insert into sv.container (gtin, serial, load_id, event, event_time)
  select distinct on (u.gtin, u.serial) u.gtin, u.serial, p_load_id, u.event, v.event_time
  from unnest(v_m.gtin, v_m.serial, v_m.event, v_m.what) as u (gtin, serial, event, what)
    cross join lateral (select e.* from sv.event e where e.load_id = p_load_id and e.event = u.event offset 0) v
  where u.what = 'container'
  order by u.gtin, u.serial, u.event
  on conflict (gtin, serial) do nothing;

  insert into sv.commission (gtin, load_id, event, line, expiry, at, serial, lot)
  select u.gtin, p_load_id, u.event, u.line, v.expiry, v.at, u.serial, v.lot
  from unnest(v_m.gtin, v_m.serial, v_m.event, v_m.line, v_m.what) as u (gtin, serial, event, line, what)
    cross join lateral (select e.* from sv.event e where e.load_id = p_load_id and e.event = u.event offset 0) v
  where u.what = 'declared'
  on conflict (gtin, serial, load_id, event) do nothing;
  get diagnostics v_n = row_count;

  -- one that empties a container names nobody
  v_made := v_made + v_ended.n + v_n + (
    select count(*) from unnest(p_events) as e (event) where e.event <> all (v_m.event));

  -- containers that were ended, by these events or because these events say who was in them
  select coalesce(array_agg(c.gtin), '{}') as gtins, coalesce(array_agg(c.serial), '{}') as serials into v_child
  from (
    select u.gtin, u.serial
    from unnest(v_m.gtin, v_m.serial, v_m.what) as u (gtin, serial, what)
    where u.what = 'child'
    union
    select v.parent_gtin, v.parent_serial
    from sv.event v
    where v.load_id = p_load_id and v.event = any (p_events) and v.kind = 'aggregation' and v.parent_serial is not null
  ) c;

  select array_agg(d.load_id) as load_id, array_agg(d.event) as event into v_ends
  from (
    select p_load_id as load_id, u.event
    from unnest(v_m.event, v_m.rule, v_m.what) as u (event, rule, what)
    where u.what = 'end' and exists (select from sv.step_rule r where r.step = u.rule and r.contents)
    union
    select a.load_id, a.event
    from sv.ends_around(v_child.gtins, v_child.serials) a
    where v_child.gtins <> '{}'
  ) d;

  select * into v_moved from sv.rederive(v_ends.load_id, v_ends.event);

  if v_ended.n > 0 or v_moved.gtins <> '{}' then
    perform sv.settle(v_ended.gtins || v_moved.gtins, v_ended.serials || v_moved.serials, 'load', p_load_id, null, 'worker');
  end if;

  if v_made > 0 and v_child.gtins <> '{}' then
    perform sv.find_conflicts(p_load_id, v_m.gtin, v_m.serial, v_m.event, v_m.what);
  end if;

  insert into sv.parked (load_id, event, missing, at, next_at, deadline)
  select p_load_id, u.event, count(*), v_now, v_now + least(interval '1 minute', v_after), v_now + v_after
  from unnest(v_m.gtin, v_m.serial, v_m.event, v_m.waits) as u (gtin, serial, event, waits)
  where u.waits and not exists (select from sv.pack p where p.gtin = u.gtin and p.serial = u.serial collate "C")
    and not sv.item_known(u.gtin, u.serial)
  group by u.event
  on conflict (load_id, event) do nothing;
  get diagnostics parked = row_count;

  events := cardinality(p_events);

  if v_made > 0 then
    insert into sv.audit (gtin, at, audit_id, changed, kind, operation, reason, actor, detail)
    select 0, v_now, p_audit_id, true, 'load', 'events', 'ok', 'worker',
      jsonb_build_object('load_id', p_load_id, 'file', v_load.file, 'file_sha256', encode(v_load.digest, 'hex'),
        'events', count(*), 'first', min(v.event), 'last', max(v.event), 'members', v_made,
        'identities_sha256', encode(sha256(coalesce(string_agg(v.identity, '' order by v.event), '')), 'hex'))
    from sv.event v
    where v.load_id = p_load_id and v.event = any (p_events);

    insert into sv.outbox (gtin, audit_id, at) values (0, p_audit_id, v_now);

    insert into sv.event_told (load_id, event, audit_id)
    select p_load_id, u.event, p_audit_id
    from unnest(p_events) as u (event)
    order by u.event
    on conflict (load_id, event) do nothing;

    update sv.load l set events_parked = l.events_parked + merge_piece.parked where l.load_id = p_load_id and merge_piece.parked > 0;
  end if;
end
$$;


-- Items that two events put into different containers at the same time: the one
-- recorded first stands, who comes second makes the finding.  The items are those
-- of one piece, `child' the ones that are packed.
create function sv.find_conflicts(p_load_id integer, p_gtin bigint[], p_serial text[], p_event integer[], p_what text[])
returns void
language sql
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set join_collapse_limit = 1
set jit = off
as $$
  with other as materialized (
    select u.gtin, u.serial, u.event, x.load_id as first_load, x.event as first_event
    from unnest(p_gtin, p_serial, p_event, p_what) as u (gtin, serial, event, what)
      join sv.event_epc x on x.gtin = u.gtin and x.serial = u.serial collate "C"
    where u.what = 'child' and (x.load_id <> p_load_id or x.event < u.event or x.event > u.event and x.event <> all (p_event))
  ), pair as materialized (
    select c.event, c.first_load, c.first_event, count(*) as n, min(c.gtin) as gtin, array_agg(c.serial order by c.gtin, c.serial) as serials
    from other c
    group by c.event, c.first_load, c.first_event
  )
  insert into sv.finding (gtin, at, finding_id, rule, serial, detail)
  select c.gtin, transaction_timestamp(), gen_random_uuid(), 'aggregation_conflict', c.serials[1], jsonb_build_object(
    'first', jsonb_build_object('load_id', c.first_load, 'file', f.file, 'event', c.first_event, 'line', o.line,
      'parent_gtin', to_char(o.parent_gtin, 'FM00000000000000'), 'parent_serial', o.parent_serial),
    'other', jsonb_build_object('load_id', p_load_id, 'file', t.file, 'event', c.event, 'line', v.line,
      'parent_gtin', to_char(v.parent_gtin, 'FM00000000000000'), 'parent_serial', v.parent_serial),
    'items', c.n, 'serials', to_jsonb(c.serials[1:20]))
  from pair c
    cross join lateral (select e.* from sv.event e where e.load_id = p_load_id and e.event = c.event offset 0) v
    cross join lateral (select e.* from sv.event e where e.load_id = c.first_load and e.event = c.first_event offset 0) o
    join sv.load t on t.load_id = p_load_id
    join sv.load f on f.load_id = c.first_load
  where v.action = 'add' and v.error is null and v.parent_serial is not null
    and o.kind = 'aggregation' and o.action = 'add' and o.error is null and o.parent_serial is not null
    and o.event_time = v.event_time and (o.parent_gtin, o.parent_serial) <> (v.parent_gtin, v.parent_serial)
$$;


-- An event was declared an error.  Locks: the rows of both loads in order, so
-- that the other one's merge is before or after it; then the items.
create function sv.merge_declaration(p_load_id integer, p_stage text, p_number integer, p_audit_id uuid)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_told   record;
  v_event  sv.event;
  v_items  record;
begin
  execute format('select e.* from sv.%s_event e where e.event = $1', p_stage) into v_told using p_number;

  select v.* into v_event from sv.event v where v.identity = v_told.identity;

  perform
  from sv.load l
  where l.load_id in (p_load_id, v_event.load_id)
  order by l.load_id
  for update;

  select v.* into v_event from sv.event v where v.identity = v_told.identity;

  if v_event.load_id is null then
    -- its load was given up between the claim and now: from the beginning
    raise exception 'the event that is declared an error went away' using errcode = '40001';
  end if;

  if v_event.error is not null then
    return;
  end if;

  if v_event.facts = v_told.facts then
    execute format(
      'select coalesce(array_agg(m.gtin), ''{}'') as gtins, coalesce(array_agg(m.serial), ''{}'') as serials
       from (select distinct x.gtin, x.serial from sv.%s_epc x where x.event = $1) m', p_stage)
    into v_items
    using p_number;
  else
    -- it does not repeat the event: slow, but complete
    select coalesce(array_agg(p.gtin), '{}') as gtins, coalesce(array_agg(p.serial), '{}') as serials into v_items
    from sv.pack p
    where p.gtin in (select t.gtin from sv.load_lot t where t.load_id = v_event.load_id)
      and p.load_id = v_event.load_id and p.event = v_event.event;
  end if;

  perform sv.declare_error(v_event.load_id, v_event.event,
    v_told.error || jsonb_build_object('load_id', p_load_id, 'event', p_number, 'line', v_told.line, 'at', transaction_timestamp()),
    v_items.gtins, v_items.serials, p_load_id, p_audit_id);
end
$$;


-- p_gtins, p_serials: packs it may have commissioned; its other items are asked
-- from the tables.  p_by: the load that says so.
create function sv.declare_error(
  p_load_id   integer,
  p_event     integer,
  p_error     jsonb,
  p_gtins     bigint[],
  p_serials   text[],
  p_by        integer,
  p_audit_id  uuid
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now    timestamptz := transaction_timestamp();
  v_event  sv.event;
  v_named  record;
  v_moved  record;
  v_ends   record;
  v_back   record;
  v_lot    record;
begin
  select v.* into strict v_event from sv.event v where v.load_id = p_load_id and v.event = p_event;

  select coalesce(array_agg(m.gtin), '{}') as gtins, coalesce(array_agg(m.serial), '{}') as serials into v_named
  from (
    select x.gtin, x.serial from sv.event_epc x where x.load_id = p_load_id and x.event = p_event
    union
    select x.gtin, x.serial from sv.item_end x where x.load_id = p_load_id and x.event = p_event
    union
    select v_event.parent_gtin, v_event.parent_serial where v_event.parent_serial is not null
  ) m;

  perform sv.feed_lock(array(
    select distinct sv.item_key(u.gtin, u.serial)
    from unnest(p_gtins || v_named.gtins, p_serials || v_named.serials) as u (gtin, serial)));

  update sv.event v set error = p_error where v.load_id = p_load_id and v.event = p_event;

  -- commissionings: the next one counts, or none
  select coalesce(array_agg(p.gtin), '{}') as gtins, coalesce(array_agg(p.serial), '{}') as serials,
    coalesce(array_agg(n.load_id), '{}') as loads, coalesce(array_agg(n.event), '{}') as events
  into v_back
  from (select distinct u.gtin, u.serial from unnest(p_gtins, p_serials) as u (gtin, serial)) t
    join sv.pack p on p.gtin = t.gtin and p.serial = t.serial and p.load_id = p_load_id and p.event = p_event and p.state <> 'void'
    left join lateral (
      select c.load_id, c.event
      from sv.commission c
      where c.gtin = t.gtin and c.serial = t.serial
        and not exists (select from sv.event e where e.load_id = c.load_id and e.event = c.event and e.error is not null)
      order by c.at, c.load_id, c.event
      limit 1) n on true;

  perform sv.commission_swap(v_back.gtins, v_back.serials, v_back.loads, v_back.events, 'declare_error', 'correction', 'worker',
    jsonb_build_object('load_id', p_by));

  if v_event.step = 'commissioning' then
    delete from sv.container c
    using unnest(v_named.gtins, v_named.serials) as u (gtin, serial)
    where c.gtin = u.gtin and c.serial = u.serial and c.load_id = p_load_id and c.event = p_event;

    insert into sv.container (gtin, serial, load_id, event, event_time)
    select distinct on (u.gtin, u.serial) u.gtin, u.serial, e.load_id, e.event, e.event_time
    from unnest(v_named.gtins, v_named.serials) as u (gtin, serial)
      join sv.event_epc m on m.gtin = u.gtin and m.serial = u.serial
      join sv.event e on e.load_id = m.load_id and e.event = m.event
    where e.step = 'commissioning' and e.action = 'add' and e.error is null
    order by u.gtin, u.serial, e.at, e.load_id, e.event
    on conflict (gtin, serial) do nothing;

    perform sv.explain_findings(p_gtins, p_serials, p_load_id, p_event);
    perform sv.find_duplicates(p_gtins, p_serials);

    for v_lot in
      select l.gtin, l.lot, sv.lot_expiry(l.gtin, l.lot) as expiry
      from sv.lot l
      where l.gtin in (select distinct u.gtin from unnest(p_gtins) as u (gtin)) and l.lot = v_event.lot
    loop
      update sv.lot l
      set expiry = v_lot.expiry
      where l.gtin = v_lot.gtin and l.lot = v_lot.lot and l.expiry is distinct from v_lot.expiry
        and (v_lot.expiry is null or l.expiry = v_event.expiry);

      update sv.finding f
      set detail = f.detail || jsonb_build_object('explained', true)
      where f.gtin = v_lot.gtin and f.rule = 'lot_expiry' and f.lot = v_lot.lot and not f.detail ? 'explained'
        and (f.detail -> 'first' ->> 'expiry' = v_event.expiry::text or f.detail -> 'other' ->> 'expiry' = v_event.expiry::text);
    end loop;
  end if;

  -- containers whose end it was, or that it filled or emptied
  select array_agg(d.load_id) as load_id, array_agg(d.event) as event into v_ends
  from (
    select p_load_id as load_id, p_event as event
    where exists (select from sv.item_end x where x.load_id = p_load_id and x.event = p_event)
    union
    select a.load_id, a.event
    from sv.ends_around(v_named.gtins, v_named.serials) a
    where v_event.kind = 'aggregation'
  ) d;

  select * into v_moved from sv.rederive(v_ends.load_id, v_ends.event);

  perform sv.settle(v_back.gtins || v_named.gtins || v_moved.gtins, v_back.serials || v_named.serials || v_moved.serials,
    'correction', p_by, null, 'worker');

  -- nobody waits for what did not happen
  update sv.finding f
  set detail = f.detail || jsonb_build_object('resolved', v_now)
  from sv.parked k
  where k.load_id = p_load_id and k.event = p_event and f.gtin = k.finding_gtin and f.at = k.finding_at and f.finding_id = k.finding_id;

  delete from sv.parked k where k.load_id = p_load_id and k.event = p_event;

  insert into sv.audit (gtin, at, audit_id, changed, kind, operation, reason, actor, detail)
  select 0, v_now, p_audit_id, true, 'correction', 'declare_error', 'ok', 'worker',
    jsonb_build_object('load_id', p_load_id, 'event', p_event, 'event_id', v_event.event_id, 'identity', encode(v_event.identity, 'hex'),
      'by', jsonb_build_object('load_id', p_by, 'file', l.file, 'file_sha256', encode(l.digest, 'hex')), 'packs', cardinality(v_back.gtins),
      'error', p_error)
  from sv.load l
  where l.load_id = p_by;

  insert into sv.outbox (gtin, audit_id, at) values (0, p_audit_id, v_now);
end
$$;


-- Looks again at events that wait for their items (role housekeeping); how many
-- it looked at.  At the deadline there is one finding; the event is looked at
-- for another 90 days, and the finding says when what was missing came.
create function sv.park_retry(p_limit integer)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now      timestamptz := transaction_timestamp();
  v_n        integer := 0;
  v_row      record;
  v_missing  record;
begin
  for v_row in
    select k.*, v.line as event_line, v.error is not null as wrong, v.load_id is null as gone, l.file
    from sv.parked k
      left join sv.event v on v.load_id = k.load_id and v.event = k.event
      left join sv.load l on l.load_id = k.load_id
    where k.next_at <= v_now
    order by k.next_at
    limit p_limit
    for update of k skip locked
  loop
    v_n := v_n + 1;

    select count(*)::integer as n, (array_agg(m.gtin order by m.gtin, m.serial))[1] as gtin,
      (array_agg(m.serial order by m.gtin, m.serial))[1:20] as serials
    into v_missing
    from (
      select x.gtin, x.serial from sv.event_epc x where x.load_id = v_row.load_id and x.event = v_row.event
      union
      select x.gtin, x.serial from sv.item_end x where x.load_id = v_row.load_id and x.event = v_row.event and not x.derived
    ) m
    where not sv.item_known(m.gtin, m.serial);

    if v_missing.n = 0 or v_row.wrong or v_row.gone then
      update sv.finding f
      set detail = f.detail || jsonb_build_object('resolved', v_now)
      where f.gtin = v_row.finding_gtin and f.at = v_row.finding_at and f.finding_id = v_row.finding_id;

      delete from sv.parked k where k.load_id = v_row.load_id and k.event = v_row.event;

    elsif v_row.expired and v_row.deadline < v_now - interval '90 days' then
      delete from sv.parked k where k.load_id = v_row.load_id and k.event = v_row.event;

    elsif v_row.deadline <= v_now and not v_row.expired then
      update sv.parked k
      set missing = v_missing.n, expired = true, next_at = v_now + interval '1 hour',
        finding_gtin = v_missing.gtin, finding_at = v_now, finding_id = gen_random_uuid()
      where k.load_id = v_row.load_id and k.event = v_row.event;

      insert into sv.finding (gtin, at, finding_id, rule, serial, detail)
      select k.finding_gtin, k.finding_at, k.finding_id, 'commissioning_missing', v_missing.serials[1],
        jsonb_build_object('load_id', k.load_id, 'file', v_row.file, 'event', k.event, 'line', v_row.event_line, 'missing', v_missing.n,
          'serials', to_jsonb(v_missing.serials))
      from sv.parked k
      where k.load_id = v_row.load_id and k.event = v_row.event;

    else
      -- the longer it waits the more seldom, but at the deadline
      update sv.parked k
      set missing = v_missing.n, next_at = case
          when k.expired then v_now + least(interval '1 day', (v_now - k.at) / 4)
          else least(k.deadline, v_now + greatest(interval '1 minute', (v_now - k.at) / 4))
        end
      where k.load_id = v_row.load_id and k.event = v_row.event;
    end if;
  end loop;

  return v_n;
end
$$;


-- A person makes another of a pack's commissionings count.  Errors: P0002 there
-- is no such pack or commissioning; 55000 it was declared an error; 22023 no reason.
create function sv.swap_commission(p_gtin bigint, p_serial text, p_load_id integer, p_event integer, p_by text, p_reason text)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_event  integer := coalesce(p_event, 0);
begin
  if coalesce(p_reason, '') = '' then
    raise exception 'reason: say why' using errcode = '22023', column = 'reason';
  end if;

  perform sv.feed_lock(array[p_gtin]);

  if not exists (select from sv.pack p where p.gtin = p_gtin and p.serial = p_serial) then
    raise exception 'serial: there is no pack % of GTIN %', p_serial, to_char(p_gtin, 'FM00000000000000')
      using errcode = 'P0002', column = 'serial';
  end if;

  if not exists (select from sv.commission c where c.gtin = p_gtin and c.serial = p_serial and c.load_id = p_load_id and c.event = v_event) then
    raise exception 'load: no other commissioning of this pack is kept from load %, event %', p_load_id, v_event
      using errcode = 'P0002', column = 'load';
  end if;

  if exists (select from sv.event v where v.load_id = p_load_id and v.event = v_event and v.error is not null) then
    raise exception 'event: it was declared an error by its sender' using errcode = '55000', column = 'event';
  end if;

  perform sv.commission_swap(array[p_gtin], array[p_serial], array[p_load_id], array[v_event], 'swap_commission', 'correction', p_by,
    jsonb_build_object('reason', p_reason));
  perform sv.settle(array[p_gtin], array[p_serial], 'correction', p_load_id, nullif(v_event, 0), p_by);
end
$$;


-- `p_errors' is a list of {line, lines, element, value, reason, skipped, quarantined}.
create or replace function sv.load_finish(
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
  v_now    timestamptz := transaction_timestamp();
  v_audit  uuid := gen_random_uuid();
  v_n      bigint := 0;
begin
  if p_stage is not null then
    perform sv.stage_check(p_stage);

    if p_state <> 'loaded' then
      -- an event is done when all its lots are
      execute format(
        'with missing as materialized (
           select distinct s.event
           from sv.%1$I s
           where s.event is not null and not exists (
             select from sv.load_lot t where t.gtin = s.gtin and t.lot = s.lot and t.load_id = $1)
         ), members as (
           delete from sv.event_epc m using missing g where m.load_id = $1 and m.event = g.event
         )
         delete from sv.event v using missing g where v.load_id = $1 and v.event = g.event', p_stage)
      using p_load_id;
    end if;

    execute format(
      'insert into sv.quarantine (quarantine_id, load_id, event, line, packs, reason, element, value, content, state, at, company)
       select nextval(''sv.quarantine_number''), $1, q.event, q.line, q.packs, q.reason, q.element, q.value, q.content, ''waiting'', $2,
         nullif(l.company, '''')
       from sv.%1$s_quarantine q
         join sv.load l on l.load_id = $1
       where not exists (
         select
         from sv.load o
           join sv.quarantine x on x.load_id = o.load_id and x.event = q.event
         where o.digest = l.digest and o.company = l.company and o.whole = l.whole and o.repeated)
       order by q.event
       on conflict (load_id, event) do nothing', p_stage)
    using p_load_id, v_now;

    execute format('select count(*) from sv.%s_quarantine', p_stage) into v_n;

    perform sv.stage_drop(p_stage);
  end if;

  update sv.load l
  set state = p_state, phase = 'done', note = p_note, bytes = l.bytes_total, lines = p_lines, lines_rejected = p_lines_rejected,
    events = p_events, events_skipped = p_events_skipped, events_quarantined = v_n, lots_merged = p_lots_merged, reasons = p_reasons,
    updated_at = v_now, finished_at = v_now
  where l.load_id = p_load_id;

  delete from sv.load_error where load_id = p_load_id;

  insert into sv.load_error (load_id, n, line, lines, element, value, reason, skipped, quarantined)
  select p_load_id, e.n, (e.v ->> 'line')::bigint, coalesce((e.v ->> 'lines')::bigint, 1), e.v ->> 'element', e.v ->> 'value',
    e.v ->> 'reason', coalesce((e.v ->> 'skipped')::boolean, false), coalesce((e.v ->> 'quarantined')::boolean, false)
  from jsonb_array_elements(p_errors) with ordinality as e (v, n);

  insert into sv.audit (gtin, at, audit_id, changed, kind, operation, reason, actor, detail)
  select 0, v_now, v_audit, true, 'load', 'load_done', 'ok', 'worker',
    jsonb_build_object('load_id', p_load_id, 'file', l.file, 'file_sha256', encode(l.digest, 'hex'), 'state', p_state, 'lines', p_lines,
      'rejected', p_lines_rejected, 'events', p_events, 'quarantined', v_n, 'lots', p_lots_merged)
  from sv.load l
  where l.load_id = p_load_id;

  insert into sv.outbox (gtin, audit_id, at) values (0, v_audit, v_now);
end
$$;


create or replace function sv.load_report(p_load_id integer)
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
    'events_quarantined', l.events_quarantined, 'events_parked', l.events_parked,
    'lots', l.lots, 'lots_merged', l.lots_merged,
    'packs', coalesce(t.packs, 0), 'repeated', coalesce(t.repeated, 0), 'contradictions', coalesce(t.contradictions, 0),
    'reasons', l.reasons,
    'merged', coalesce(t.merged, '[]'),
    'errors', coalesce((
      select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('line', e.line, 'lines', e.lines, 'element', e.element,
        'value', e.value, 'reason', e.reason, 'skipped', nullif(e.skipped, false),
        'quarantined', nullif(e.quarantined, false))) order by e.n)
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


-- As in 003_operate.sql; a void pack is none.
create or replace function sv.hint(p_gtin bigint, p_serial text, p_lot text)
returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_pack_lot  text;
begin
  select k.lot into v_pack_lot
  from sv.pack k
  where k.gtin = p_gtin and k.serial = p_serial and k.state <> 'void';

  if v_pack_lot is not null then
    if v_pack_lot <> p_lot
      and (v_pack_lot = any (sv.scanner_variants(p_lot)) or v_pack_lot = any (sv.glued_prefixes(p_lot)))
    then
      return 'scanner';
    end if;

    return null;
  end if;

  if exists (
    select from sv.pack k
    where k.gtin = p_gtin and k.serial = any (sv.scanner_variants(p_serial)) and k.state <> 'void'
  ) then
    return 'scanner';
  end if;

  if exists (
    select from sv.lot l
    where l.gtin = p_gtin and l.lot = any (sv.glued_prefixes(p_lot)) and l.expiry is not null
  ) then
    return 'scanner';
  end if;

  return null;
end
$$;


grant execute on function
  sv.load_begin(bytea, text, text, bigint, text, text, text, boolean),
  sv.stage_reused(text, bigint, integer),
  sv.stage_unknown(text, bigint, integer),
  sv.stage_claim(integer, text),
  sv.merge_events(integer, text, integer, integer, uuid),
  sv.park_retry(integer),
  sv.swap_commission(bigint, text, integer, integer, text, text),
  sv.contents(bigint, text, timestamptz),
  sv.parents(bigint, text, timestamptz)
to sv_worker;

commit;
