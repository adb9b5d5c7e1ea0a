-- The merge of events: staging, claiming, settling what became of a pack.

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

alter table sv.load drop constraint load_digest_key, add constraint load_content unique (digest, company, whole);
alter table sv.load_error add column quarantined boolean not null default false;

-- A file with this content is about to be loaded.  `action' is
--   load     from the beginning, or again after an interruption
--   file     it is loaded, but not yet moved out of the inbox
--   skip     it was loaded before, without anything rejected
-- A file of which something was rejected is loaded again when it is delivered
-- again: the cause, such as an unknown product, may be gone.  The same content
-- of another company, or to be captured all or nothing, is another load.
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
  select l.* into v_load from sv.load l where l.digest = p_digest and l.company = p_company and l.whole = p_whole for update;

  if not found then
    insert into sv.load (load_id, digest, file, format, state, phase, host, started_at, updated_at, bytes_total,
      feed, company, whole)
    values (nextval('sv.load_number')::integer, p_digest, p_file, p_format, 'loading', 'reading', p_host, v_now, v_now, p_bytes,
      p_feed, p_company, p_whole)
    on conflict (digest, company, whole) do nothing
    returning * into v_load;

    if found then
      load_begin.load_id := v_load.load_id;
      load_begin.action := 'load';
      return;
    end if;

    select l.* into strict v_load from sv.load l where l.digest = p_digest and l.company = p_company and l.whole = p_whole for update;
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
    update sv.load_stage s set free = true where s.stage = p_stage;
  else
    execute format('drop table if exists sv.%1$I, sv.%1$s_lot, sv.%1$s_event, sv.%1$s_epc, sv.%1$s_quarantine', p_stage);
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
       error jsonb, detail jsonb, old boolean, wrong boolean, gone integer)
     with (autovacuum_enabled = false)', p_stage || '_event');
  execute format(
    'create unlogged table sv.%I (event integer not null, line bigint not null, gtin bigint not null, serial text collate "C" not null)
     with (autovacuum_enabled = false)', p_stage || '_epc');
  execute format(
    'create unlogged table sv.%I (event integer not null, line bigint not null, packs integer not null, reason text not null,
       element text, value text, content text)
     with (autovacuum_enabled = false)', p_stage || '_quarantine');
  execute format('grant insert on sv.%1$I, sv.%1$s_event, sv.%1$s_epc, sv.%1$s_quarantine to sv_worker', p_stage);
end
$$;


create or replace function sv.stage_ready(
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

  execute format(
    'update sv.%1$I e
     set old = true, wrong = w.wrong
     from (select n.event, coalesce(k.facts, n.first) <> n.facts as wrong
           from (select x.*, row_number() over w as place, first_value(x.facts) over w as first
                 from sv.%1$I x
                 window w as (partition by x.identity order by x.event)) n
             left join sv.event k on k.identity = n.identity
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
       set gone = g.n
       from (select x.event, count(*)::integer as n from gone x group by x.event) g
       where e.event = g.event', p_stage, v_event);
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

    if lots > 4 then
      execute format('create index on sv.%I (gtin, lot)', p_stage);
    end if;
  end if;

  update sv.load l
  set phase = 'merging', lots = stage_ready.lots, events_seen = stage_ready.seen, updated_at = clock_timestamp()
  where l.load_id = p_load_id;
end
$$;


create or replace function sv.stage_reused(p_stage text, p_after bigint, p_limit integer)
returns table (event bigint, line bigint, packs bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform sv.stage_check(p_stage);

  return query execute format(
    'select e.event::bigint, e.line::bigint, coalesce(e.gone, 0)::bigint from sv.%I e where e.wrong and e.event > $1 order by e.event limit $2',
    p_stage || '_event')
  using p_after, p_limit;
end
$$;


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
  v_now  timestamptz := transaction_timestamp();
begin
  update sv.load l
  set state = p_state, phase = 'done', note = p_note, bytes = l.bytes_total, lines = p_lines, lines_rejected = p_lines_rejected,
    events = p_events, events_skipped = p_events_skipped, lots_merged = p_lots_merged, reasons = p_reasons,
    updated_at = v_now, finished_at = v_now
  where l.load_id = p_load_id;

  delete from sv.load_error where load_id = p_load_id;

  insert into sv.load_error (load_id, n, line, lines, element, value, reason, skipped, quarantined)
  select p_load_id, e.n, (e.v ->> 'line')::bigint, coalesce((e.v ->> 'lines')::bigint, 1), e.v ->> 'element', e.v ->> 'value',
    e.v ->> 'reason', coalesce((e.v ->> 'skipped')::boolean, false), coalesce((e.v ->> 'quarantined')::boolean, false)
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
         insert into sv.event (load_id, event, line, identity, facts, event_id, kind, action, step, disposition, event_time,
           offset_min, at, parent_gtin, parent_serial, lot, expiry, market, read_point, biz_location, packs, detail)
         select $1, e.event, e.line, e.identity, e.facts, e.event_id, e.kind, e.action, e.step, e.disposition, e.event_time,
           e.offset_min, $2, e.parent_gtin, e.parent_serial, e.lot, e.expiry, e.market, e.read_point, e.biz_location, e.packs, e.detail
         from sv.%2$I e
         where e.old is null and not exists (select from missing m where m.event = e.event)
         on conflict (identity) do nothing', p_stage, p_stage || '_event')
      using p_load_id, v_now, p_state;
    end if;

    perform sv.stage_drop(p_stage);
  end if;
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


grant execute on function sv.load_begin(bytea, text, text, bigint, text, text, text, boolean) to sv_worker;

commit;
