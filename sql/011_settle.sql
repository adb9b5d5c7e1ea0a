-- What became of a pack: a function of the facts that are there, never of the order
-- in which they came.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(11, 'settle');


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

commit;
