-- Events that wait for their packs, what a person decides, and the end of a load.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(14, 'park');


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
