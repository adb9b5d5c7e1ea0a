-- The reconciliation of a lot: what was declared, commissioned, rejected and
-- aggregated, and whether it agrees.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(19, 'reconcile');


-- A figure of a declared lot may have changed.
create function sv.lot_touch(p_gtin bigint, p_lot text)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update sv.lot_reconciliation c set touched_at = clock_timestamp() where c.gtin = p_gtin and c.lot = p_lot
$$;


-- What was produced of a lot, as its line says.  False: the same was declared
-- before.  sv_worker (p_location null), sv_api.  22023, 42501, P0002.
create function sv.declare_lot(
  p_location    integer,
  p_gtin        bigint,
  p_lot         text,
  p_packs       bigint,
  p_rejected    bigint,
  p_aggregated  bigint,
  p_by          text
)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform sv.product_party(p_location, p_gtin, array['manufacturer', 'operator']::sv.role[]);
  perform sv.check_lot(p_lot);

  if p_packs is null or p_packs not between 0 and 1000000000 then
    perform sv.bad_value('packs', 'a number from 0 to 1000000000 is needed');
  end if;

  if p_rejected not between 0 and 1000000000 then
    perform sv.bad_value('rejected', 'a number from 0 to 1000000000 is needed');
  end if;

  if p_aggregated not between 0 and 1000000000 then
    perform sv.bad_value('aggregated', 'a number from 0 to 1000000000 is needed');
  end if;

  return sv.declare_lot_by(p_gtin, p_lot, p_packs, p_rejected, p_aggregated, null, null, p_location, p_by);
end
$$;

create function sv.declare_lot_by(
  p_gtin        bigint,
  p_lot         text,
  p_packs       bigint,
  p_rejected    bigint,
  p_aggregated  bigint,
  p_load_id     integer,
  p_event       integer,
  p_location    integer,
  p_by          text
)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into sv.lot_reconciliation (gtin, lot, touched_at) values (p_gtin, p_lot, clock_timestamp()) on conflict do nothing;
  perform from sv.lot_reconciliation c where c.gtin = p_gtin and c.lot = p_lot for update;

  if exists (
    select from sv.lot_declaration d
    where d.gtin = p_gtin and d.lot = p_lot
      and (d.packs, d.rejected, d.aggregated, d.load_id) is not distinct from (p_packs, p_rejected, p_aggregated, p_load_id))
  then
    return false;
  end if;

  insert into sv.lot_declaration (gtin, lot, at, packs, rejected, aggregated, load_id, event, location_id, actor)
  values (p_gtin, p_lot, clock_timestamp(), p_packs, p_rejected, p_aggregated, p_load_id, p_event, p_location,
    case when p_location is null then p_by end);

  perform sv.audit_serials('declare_lot', p_gtin, p_lot, p_location, p_by, jsonb_build_object('packs', p_packs, 'rejected', p_rejected,
    'aggregated', p_aggregated, 'load_id', p_load_id, 'event', p_event));
  perform sv.lot_touch(p_gtin, p_lot);

  return true;
end
$$;


-- Commissioning events that tell quantities and were not looked at.  sv_worker.
create function sv.declaring_events(p_limit integer)
returns table (load_id integer, event integer, lot text, quantities text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select v.load_id, v.event, v.lot, (v.detail -> 'quantityList')::text
  from sv.event v
  where v.detail ? 'quantityList' and v.action = 'add' and v.step = 'commissioning'
    and not exists (select from sv.event_declared d where d.load_id = v.load_id and d.event = v.event)
  order by v.load_id, v.event
  limit p_limit
$$;

-- What such an event says of lots: those of products that are known (and of the
-- load's company) are declared.  Once an event.  sv_worker.
create function sv.declare_event(p_load_id integer, p_event integer, p_gtin bigint[], p_lot text[], p_packs bigint[])
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into sv.event_declared (load_id, event) values (p_load_id, p_event) on conflict do nothing;

  if found then
    perform sv.declare_lot_by(x.gtin, x.lot, x.packs, null, null, p_load_id, p_event, null, 'feed')
    from (select u.gtin, u.lot, sum(u.packs)::bigint as packs
          from unnest(p_gtin, p_lot, p_packs) as u (gtin, lot, packs)
            join sv.product r on r.gtin = u.gtin and not r.deleted
            join sv.load l on l.load_id = p_load_id and l.company in ('', r.company)
          group by u.gtin, u.lot
          order by u.gtin, u.lot) x;
  end if;
end
$$;


-- The declarations of a lot that count, the first recorded first.
create function sv.lot_declarations(p_gtin bigint, p_lot text)
returns setof sv.lot_declaration
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select d.*
  from sv.lot_declaration d
    left join sv.event v on v.load_id = d.load_id and v.event = d.event
  where d.gtin = p_gtin and d.lot = p_lot and v.error is null
  order by d.at
$$;


-- What is known of a lot.
--
--   declared, declared_rejected, declared_aggregated   null: not told
--   declarations   how many there are that say different things
--   commissioned   packs that carry this lot, whatever became of them
--   rejected       on the line (decommissioning); destroyed, sampled: likewise.  A serial that was never commissioned belongs to
--                  the lot that its number was issued for
--   aggregated     packs that are in a container now
--   issued         numbers of the requests for this lot; null with unjudged: the product has no rule, or opted out
--   outside        commissioned packs whose number was never issued
--   missing        issued for this lot: neither commissioned nor ended nor returned
--   late           commissioned after the reservation of their number had ended
create function sv.lot_figures(p_gtin bigint, p_lot text)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
set jit = off
as $$
declare
  v_first     sv.lot_declaration;
  v_many      bigint;
  v_packs     record;
  v_ends      record;
  v_numbers   record;
  v_judged    boolean;
begin
  select d.* into v_first from sv.lot_declarations(p_gtin, p_lot) d order by d.at limit 1;

  select count(*) into v_many
  from (select distinct d.packs, d.rejected, d.aggregated from sv.lot_declarations(p_gtin, p_lot) d) x;

  v_judged := exists (select from sv.serial_rule r where r.gtin = p_gtin and not r.opted_out);

  -- by way of the loads: a pack has no index by its lot
  select count(*) as n,
    count(*) filter (where s.serial is null) as outside,
    count(*) filter (where b.at > q.reserved_until) as late,
    count(*) filter (where exists (select from sv.parent_of(k.gtin, k.serial, transaction_timestamp()) f)) as aggregated
  into v_packs
  from sv.load_lot b
    join sv.pack k on k.gtin = b.gtin and k.load_id = b.load_id and k.lot = b.lot
    left join sv.serial_number s on v_judged and s.gtin = k.gtin and s.serial = k.serial
    left join sv.serial_request q on q.gtin = s.gtin and q.request_id = s.request_id
  where b.gtin = p_gtin and b.lot = p_lot and k.state <> 'void';

  select count(*) filter (where u.step = 'decommissioning') as rejected, count(*) filter (where u.step = 'destroying') as destroyed,
    count(*) filter (where u.step = 'sampling') as sampled
  into v_ends
  from (
    select distinct x.serial, x.step
    from sv.item_end x
      join sv.event v on v.load_id = x.load_id and v.event = x.event
      left join sv.pack k on k.gtin = x.gtin and k.serial = x.serial and k.state <> 'void'
      left join sv.serial_number s on s.gtin = x.gtin and s.serial = x.serial
      left join sv.serial_request q on q.gtin = s.gtin and q.request_id = s.request_id
    where x.gtin = p_gtin and v.error is null and coalesce(k.lot, q.lot) = p_lot) u;

  select sum(q.n)::bigint as issued, coalesce(sum(c.unused), 0)::bigint as missing, coalesce(sum(c.returned), 0)::bigint as returned
  into v_numbers
  from sv.serial_request q
    cross join lateral sv.serial_counts(q.gtin, q.request_id) c
  where q.gtin = p_gtin and q.lot = p_lot;

  return jsonb_build_object(
    'declared', v_first.packs, 'declared_rejected', v_first.rejected, 'declared_aggregated', v_first.aggregated, 'declarations', v_many,
    'commissioned', v_packs.n, 'rejected', v_ends.rejected, 'destroyed', v_ends.destroyed, 'sampled', v_ends.sampled,
    'aggregated', v_packs.aggregated,
    'issued', v_numbers.issued, 'returned', v_numbers.returned,
    'outside', case when v_judged then v_packs.outside end, 'missing', v_numbers.missing,
    'late', case when v_judged then v_packs.late end);
end
$$;

-- The figures that do not agree; null: all do.
create function sv.lot_differences(p_figures jsonb)
returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select nullif(jsonb_strip_nulls(jsonb_build_object(
    'commissioned', case when (p_figures ->> 'declared')::bigint <> (p_figures ->> 'commissioned')::bigint
      then jsonb_build_object('declared', p_figures -> 'declared', 'found', p_figures -> 'commissioned') end,
    'rejected', case when (p_figures ->> 'declared_rejected')::bigint <> (p_figures ->> 'rejected')::bigint
      then jsonb_build_object('declared', p_figures -> 'declared_rejected', 'found', p_figures -> 'rejected') end,
    'aggregated', case when (p_figures ->> 'declared_aggregated')::bigint <> (p_figures ->> 'aggregated')::bigint
      then jsonb_build_object('declared', p_figures -> 'declared_aggregated', 'found', p_figures -> 'aggregated') end,
    'declarations', case when (p_figures ->> 'declarations')::bigint > 1 then p_figures -> 'declarations' end,
    'outside', case when (p_figures ->> 'outside')::bigint > 0 then p_figures -> 'outside' end,
    'missing', case when (p_figures ->> 'missing')::bigint > 0 then p_figures -> 'missing' end)), '{}'::jsonb)
$$;


-- A lot as it is now, and as it was reconciled.  sv_worker (p_location null),
-- sv_api.  42501; P0002: nothing is known of it.
create function sv.lot_show(p_location integer, p_gtin bigint, p_lot text)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_figures  jsonb;
  v_last     sv.lot_reconciliation;
begin
  perform sv.product_party(p_location, p_gtin, array['manufacturer', 'operator', 'authority']::sv.role[]);
  perform sv.check_lot(p_lot);

  select c.* into v_last from sv.lot_reconciliation c where c.gtin = p_gtin and c.lot = p_lot;

  if not found and not exists (select from sv.lot l where l.gtin = p_gtin and l.lot = p_lot)
    and not exists (select from sv.serial_request q where q.gtin = p_gtin and q.lot = p_lot)
  then
    raise exception using errcode = 'P0002', column = 'lot',
      message = format('lot: nothing is known of lot %s of product %s', p_lot, lpad(p_gtin::text, 14, '0'));
  end if;

  v_figures := sv.lot_figures(p_gtin, p_lot);

  return jsonb_build_object('gtin', lpad(p_gtin::text, 14, '0'), 'lot', p_lot, 'figures', jsonb_strip_nulls(v_figures),
    'differences', coalesce(sv.lot_differences(v_figures), '{}'),
    'declarations', coalesce((
      select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('at', to_char(d.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'packs', d.packs, 'rejected', d.rejected, 'aggregated', d.aggregated, 'load_id', d.load_id, 'event', d.event,
        'by', coalesce(l.gln, d.actor))) order by d.at)
      from sv.lot_declarations(p_gtin, p_lot) d
        left join sv.location l on l.location_id = d.location_id), '[]'))
    || case when v_last.reconciled_at is null then '{}'
         else jsonb_build_object('reconciled_at', to_char(v_last.reconciled_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) end;
end
$$;


-- Declared lots that facts recorded since the last look may have changed.  How
-- many facts come late is not known, so each look begins a quarter of an hour before the last.  sv_worker.
create function sv.reconcile_look()
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
declare
  v_now    timestamptz := transaction_timestamp();
  v_since  timestamptz;
  v_n      bigint;
begin
  -- another housekeeping is at it
  select c.at - interval '15 minutes' into v_since from sv.reconcile_clock c for update skip locked;

  if not found then
    return 0;
  end if;

  with load as materialized (
    select l.load_id from sv.load l where l.finished_at > v_since
  ), item as materialized (
    select distinct m.gtin, m.serial
    from load l
      join sv.event v on v.load_id = l.load_id
      join sv.event_epc m on m.load_id = v.load_id and m.event = v.event
    where m.gtin in (select c.gtin from sv.lot_reconciliation c)
    union
    select distinct x.gtin, x.serial
    from load l
      join sv.event v on v.load_id = l.load_id
      join sv.item_end x on x.load_id = v.load_id and x.event = v.event
    where x.gtin in (select c.gtin from sv.lot_reconciliation c)
  ), lot as (
    -- what was packed, rejected ..
    select i.gtin, coalesce(k.lot, q.lot) as lot
    from item i
      left join sv.pack k on k.gtin = i.gtin and k.serial = i.serial and k.state <> 'void'
      left join sv.serial_number s on s.gtin = i.gtin and s.serial = i.serial
      left join sv.serial_request q on q.gtin = s.gtin and q.request_id = s.request_id
    union
    -- .. loaded, corrected
    select a.gtin, a.lot
    from (select distinct c.gtin from sv.lot_reconciliation c) g
      join sv.audit a on a.gtin = g.gtin and a.at > v_since and a.kind in ('load', 'correction')
    union
    -- a declaration whose event was declared an error, or no longer is
    select d.gtin, d.lot
    from sv.lot_declaration d
      join sv.event v on v.load_id = d.load_id and v.event = d.event
    where v.error is not null and (v.error ->> 'at')::timestamptz > v_since
  )
  update sv.lot_reconciliation c
  set touched_at = v_now
  from (select distinct l.gtin, l.lot from lot l) t
  where c.gtin = t.gtin and c.lot = t.lot and c.touched_at < v_now
    and (c.reconciled_at is null or c.reconciled_at < v_now);

  get diagnostics v_n = row_count;

  update sv.reconcile_clock set at = v_now;

  return v_n;
end
$$;


-- Reconciles a lot.  One finding tells what does not agree: it is replaced when
-- that changes, and resolved when everything agrees.  sv_worker.
create function sv.reconcile_lot(p_gtin bigint, p_lot text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now          timestamptz := transaction_timestamp();
  v_last         sv.lot_reconciliation;
  v_figures      jsonb;
  v_differences  jsonb;
begin
  select c.* into v_last from sv.lot_reconciliation c where c.gtin = p_gtin and c.lot = p_lot for update;

  if not found then
    return null;
  end if;

  v_figures := sv.lot_figures(p_gtin, p_lot);
  v_differences := case when (v_figures -> 'declared') <> 'null' then sv.lot_differences(v_figures) end;

  if v_differences is null then
    update sv.finding f
    set detail = f.detail || jsonb_build_object('resolved', v_now)
    where f.gtin = p_gtin and f.at = v_last.finding_at and f.finding_id = v_last.finding_id;

    v_last.finding_at := null;
    v_last.finding_id := null;

  elsif v_last.finding_id is null then
    v_last.finding_at := v_now;
    v_last.finding_id := gen_random_uuid();

    insert into sv.finding (gtin, at, finding_id, rule, lot, detail)
    values (p_gtin, v_now, v_last.finding_id, 'lot_reconciliation', p_lot,
      jsonb_build_object('differences', v_differences, 'figures', jsonb_strip_nulls(v_figures)));

  else
    update sv.finding f
    set detail = jsonb_build_object('differences', v_differences, 'figures', jsonb_strip_nulls(v_figures))
      || case when v_differences <> v_last.differences then jsonb_build_object('changed_at', v_now)
           else coalesce(jsonb_build_object('changed_at', f.detail -> 'changed_at'), '{}') end
    where f.gtin = p_gtin and f.at = v_last.finding_at and f.finding_id = v_last.finding_id;
  end if;

  update sv.lot_reconciliation c
  set reconciled_at = v_now, figures = v_figures, differences = v_differences, finding_at = v_last.finding_at, finding_id = v_last.finding_id
  where c.gtin = p_gtin and c.lot = p_lot;

  return v_differences;
end
$$;

-- The next lots to be reconciled.  sv_worker.
create function sv.reconcile_due(p_limit integer)
returns table (gtin bigint, lot text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select c.gtin, c.lot
  from sv.lot_reconciliation c
  where (c.reconciled_at is null or c.reconciled_at < c.touched_at)
    and c.touched_at <= clock_timestamp() - make_interval(mins => sv.setting_integer('reconcile_minutes'))
  order by c.touched_at
  limit p_limit
$$;


grant execute on function
  sv.put_serial_rule(bigint, text, integer, boolean, integer, text),
  sv.serial_rule_of(bigint),
  sv.serial_issue(integer, bigint, text, text, integer, text, text, text[]),
  sv.serial_requests(integer, bigint, uuid, integer),
  sv.serial_numbers(integer, bigint, uuid, text, integer),
  sv.serial_return(integer, bigint, uuid, text[], text),
  sv.serial_expire(),
  sv.declare_lot(integer, bigint, text, bigint, bigint, bigint, text),
  sv.declaring_events(integer),
  sv.declare_event(integer, integer, bigint[], text[], bigint[]),
  sv.lot_show(integer, bigint, text),
  sv.reconcile_look(),
  sv.reconcile_lot(bigint, text),
  sv.reconcile_due(integer)
to sv_worker;

grant execute on function
  sv.serial_rule_of(bigint),
  sv.serial_issue(integer, bigint, text, text, integer, text, text, text[]),
  sv.serial_requests(integer, bigint, uuid, integer),
  sv.serial_numbers(integer, bigint, uuid, text, integer),
  sv.serial_return(integer, bigint, uuid, text[], text),
  sv.declare_lot(integer, bigint, text, bigint, bigint, bigint, text),
  sv.lot_show(integer, bigint, text)
to sv_api;

commit;
