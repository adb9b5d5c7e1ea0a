-- The merge of events: members, ends, containers, declarations of error.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(13, 'events');


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

commit;
