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
select sv.migration_begin(8, 'stage');


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

commit;
