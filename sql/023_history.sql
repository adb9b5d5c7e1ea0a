-- The history of one item.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(23, 'history');


-- The times at which an item was in a container, see sv.parent_of().
create function sv.parent_times(p_gtin bigint, p_serial text)
returns table (gtin bigint, serial text, since timestamptz, until timestamptz)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with moved as materialized (
    select t.action, t.parent_gtin, t.parent_serial, coalesce(t.event_time, '-infinity') as time, t.at, t.load_id, t.event
    from sv.event_epc m
      join sv.event t on t.load_id = m.load_id and t.event = m.event
    where m.gtin = p_gtin and m.serial = p_serial and t.kind = 'aggregation' and t.action in ('add', 'delete') and t.error is null
      and (p_gtin <> 0 or sv.may_place(p_gtin, p_serial, (select l.company from sv.load l where l.load_id = t.load_id)))
  ), packed as (
    select distinct on (a.time) a.parent_gtin, a.parent_serial, a.time
    from moved a
    where a.action = 'add' and a.parent_serial is not null
    order by a.time, a.at, a.load_id, a.event
  )
  select k.parent_gtin, k.parent_serial, k.time, least(
    coalesce(lead(k.time) over (order by k.time), 'infinity'),
    coalesce((
      select min(d.time)
      from moved d
      where d.action = 'delete' and d.time > k.time
        and (d.parent_serial is null or d.parent_gtin = k.parent_gtin and d.parent_serial = k.parent_serial)), 'infinity'),
    coalesce((
      select min(u.event_time)
      from sv.event u
        join sv.load l on l.load_id = u.load_id
      where u.parent_gtin = k.parent_gtin and u.parent_serial = k.parent_serial and u.kind = 'aggregation' and u.action = 'delete'
        and u.packs = 0 and u.error is null and u.event_time > k.time
        and (l.company = '' or p_gtin = 0 and sv.may_place(p_gtin, p_serial, l.company)
          or exists (select from sv.product r where r.gtin = p_gtin and r.company = l.company))), 'infinity'))
  from packed k
$$;


-- An item, and the containers it was in, with the times.
create function sv.item_held(p_gtin bigint, p_serial text)
returns table (gtin bigint, serial text, since timestamptz, until timestamptz, depth integer)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with recursive held (gtin, serial, since, until, depth) as (
    select p_gtin, p_serial collate "C", '-infinity'::timestamptz, 'infinity'::timestamptz, 0
    union all
    select p.gtin, p.serial collate "C", greatest(h.since, p.since), least(h.until, p.until), h.depth + 1
    from held h
      cross join lateral sv.parent_times(h.gtin, h.serial) p
    where h.depth < 10 and p.since < h.until and p.until > h.since
  )
  select h.gtin, h.serial, h.since, h.until, h.depth from held h
$$;


-- The commissionings of a pack, each as the part it goes out in, with this pack only.
create function sv.item_commissions(p_gtin bigint, p_serial text)
returns table (e sv.out_event, declared boolean)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with told as (
    select k.load_id, nullif(k.event, 0) as event, k.lot, k.expiry
    from sv.pack k
    where k.gtin = p_gtin and k.serial = p_serial
    union
    select c.load_id, nullif(c.event, 0), c.lot, c.expiry
    from sv.commission c
    where c.gtin = p_gtin and c.serial = p_serial
  ), placed as (
    -- the event's own items say how many they are when it is small
    select o.load_id, o.event, o.lot, o.expiry, n.before / sv.setting_integer('event_epcs') as k,
      least(sv.setting_integer('event_epcs'), n.n - n.before / sv.setting_integer('event_epcs') * sv.setting_integer('event_epcs')) as n
    from told o
      cross join lateral (
        select count(*) as n, count(*) filter (where i.serial collate "C" < p_serial collate "C") as before
        from sv.out_packs(p_gtin, o.lot, o.load_id) i
        where i.event is not distinct from o.event and i.expiry = o.expiry
      ) n
    where o.load_id is not null
  )
  select sv.out_commission(t, p.load_id, p_gtin, p.lot, p.expiry, p.k, p.n, sv.out_item(p_gtin, p_serial), d.declared,
      case when p.n > 1 then jsonb_build_object('items', p.n) end), d.declared
  from placed p
    left join sv.event t on t.load_id = p.load_id and t.event = p.event
    cross join lateral (select false as declared where not sv.out_declared(t) or t.load_id is null
      union all select true where t.error is not null) d
$$;


-- The other events that an item, or a container it was in at that time, took
-- part in.  Told are the items of which it is the history, but of a container
-- that was asked for also what it held.
create function sv.item_told(p_gtin bigint, p_serial text)
returns table (e sv.out_event, declared boolean)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with held as materialized (
    select * from sv.item_held(p_gtin, p_serial)
  ), named as materialized (
    select m.load_id, m.event, h.gtin, h.serial
    from held h
      join sv.event_epc m on m.gtin = h.gtin and m.serial = h.serial collate "C"
      join sv.event t on t.load_id = m.load_id and t.event = m.event
    where coalesce(t.event_time, '-infinity') between h.since and h.until
    union
    select m.load_id, m.event, h.gtin, h.serial
    from held h
      join sv.item_end m on m.gtin = h.gtin and m.serial = h.serial collate "C"
      join sv.event t on t.load_id = m.load_id and t.event = m.event
    where not m.derived and coalesce(t.event_time, '-infinity') between h.since and h.until
  ), emptied as (
    select t.load_id, t.event
    from held h
      join sv.event t on t.parent_gtin = h.gtin and t.parent_serial = h.serial collate "C"
    where h.depth > 0 and t.action = 'delete' and t.packs = 0 and coalesce(t.event_time, '-infinity') > h.since
      and coalesce(t.event_time, '-infinity') <= h.until
  ), parent as (
    select t.load_id, t.event
    from sv.event t
    where t.parent_gtin = p_gtin and t.parent_serial = p_serial collate "C"
  ), every as (
    select n.load_id, n.event from named n
    union select x.load_id, x.event from emptied x
    union select x.load_id, x.event from parent x
  )
  select sv.out_told(t, sv.out_event_id(t), i.items, d.declared,
      case when t.packs > i.n then jsonb_build_object('items', t.packs) end), d.declared
  from every x
    join sv.event t on t.load_id = x.load_id and t.event = x.event
    cross join lateral (
      select count(*) as n, string_agg(sv.out_item(c.gtin, c.serial), e'\n' order by c.gtin, c.serial collate "C") as items
      from (
        select n.gtin, n.serial
        from named n
        where n.load_id = t.load_id and n.event = t.event
        union
        (select c.gtin, c.serial
         from sv.event_items(t.load_id, t.event, t.event) c
         where t.parent_gtin = p_gtin and t.parent_serial = p_serial collate "C"
         order by c.gtin, c.serial collate "C"
         limit sv.setting_integer('event_epcs'))
      ) c
    ) i
    cross join lateral (select false as declared where not sv.out_declared(t)
      union all select true where t.error is not null) d
$$;


-- Recalls and withdrawals that name a pack, and their ends.
create function sv.item_recalls(p_gtin bigint, p_serial text)
returns setof sv.out_event
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select row(sv.out_id(sha256(convert_to(x.word || r.recall_id, 'UTF8'))), 'object', 'observe', null, null, sv.ms(x.at), 0, sv.ms(x.at),
    null, null, sv.out_item(p_gtin, p_serial), null, null, null, null, null, null,
    jsonb_build_object('persistentDisposition', jsonb_build_object(x.word, jsonb_build_array('recalled'))),
    jsonb_strip_nulls(jsonb_build_object('reason', x.reason, 'reference', r.reference)))::sv.out_event
  from sv.recall r
    cross join lateral (
      select 'set' as word, r.at, r.reason
      union all
      select 'unset', r.lifted_at, r.lift_reason where r.lifted_at is not null
    ) x
  where r.gtin = p_gtin
    and case r.kind
      when 'product' then true
      when 'lot' then r.lot = (select k.lot from sv.pack k where k.gtin = p_gtin and k.serial = p_serial)
      when 'range' then
        octet_length(r.serial_from) = octet_length(p_serial) and p_serial collate "C" between r.serial_from and r.serial_to
      else exists (
        select
        from sv.recall_serial s
        where s.gtin = p_gtin and s.serial = p_serial collate "C" and s.recall_id = r.recall_id)
    end
$$;


-- GET /epcis/events, for sv_api: the history of an item from its commissioning
-- on, in the order of time, then of recording.  A page of p_limit events behind
-- p_token; fewer: that was all, or the items of all but the last are 8 MB of text or more.
-- 42501: a manufacturer sees what is its own; 22023: the token is none.
create function sv.item_events(
  p_location  integer,
  p_gtin      bigint,
  p_serial    text,
  p_steps     text[],                                     -- null: any
  p_from      timestamptz,                                -- eventTime from then, null: any
  p_until     timestamptz,                                -- and before that
  p_token     text,                                       -- null: from the beginning
  p_limit     integer
)
returns table (
  token          text,
  event_id       text,
  kind           text,
  action         text,
  step           text,
  disposition    text,
  event_ms       bigint,
  offset_min     smallint,
  at_ms          bigint,
  parent_gtin    bigint,
  parent_serial  text,
  items          text,
  lot            text,
  expiry         text,
  market         text,
  read_point     text,
  biz_location   text,
  error          jsonb,
  detail         jsonb,
  own            jsonb
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_location  sv.location;
  v_after     text[];
begin
  select l.* into v_location from sv.location l where l.location_id = p_location and not l.deleted;

  if v_location.role is null then
    raise exception 'This location is not known.' using errcode = '42501';
  end if;

  if v_location.role = 'manufacturer'
    and not exists (select from sv.product r where r.gtin = p_gtin and r.company = v_location.company)
    and not sv.container_is_of(p_gtin, p_serial, v_location.company)
  then
    raise exception 'A manufacturer sees the events of its own products and containers only.' using errcode = '42501';
  end if;

  if p_token is not null then
    begin
      v_after := string_to_array(convert_from(decode(p_token, 'hex'), 'UTF8'), ' ', null);

      if cardinality(v_after) <> 4 then
        raise invalid_parameter_value;
      end if;

      perform v_after[1]::bigint, v_after[2]::bigint, v_after[3]::boolean;
    exception
      when others then
        raise exception 'nextPageToken: is not one that was given out' using errcode = '22023';
    end;
  end if;

  -- whose places an asker may know
  if v_location.role in ('authority', 'operator') then
    v_location.company := null;
  else
    v_location.company := coalesce(v_location.company, '');
  end if;

  return query
  select encode(convert_to(concat_ws(' ', (b.e).event_ms, (b.e).at_ms, b.declared, (b.e).event_id), 'UTF8'), 'hex'), (b.e).*
  from (
    select a.e, a.declared, sum(octet_length((a.e).items)) over (
      order by (a.e).event_ms, (a.e).at_ms, a.declared, (a.e).event_id collate "C" rows between unbounded preceding and 2 preceding) as bytes
    from (
      select c.e, c.declared from sv.item_commissions(p_gtin, p_serial) c
      union all
      select t.e, t.declared from sv.item_told(p_gtin, p_serial) t
      union all
      select o.e, (o.e).error is not null
      from sv.audit d
        cross join lateral (select sv.out_operation(d, v_location.company, p_location) as e) o
      where d.gtin = p_gtin and d.serial = p_serial collate "C" and d.changed and d.kind = 'operation' and (o.e).event_id is not null
      union all
      select r, false from sv.item_recalls(p_gtin, p_serial) r
    ) a
    where (p_steps is null or (a.e).step = any (p_steps))
      and (p_from is null or (a.e).event_ms >= sv.ms(p_from))
      and (p_until is null or (a.e).event_ms < sv.ms(p_until))
      and (v_after is null
        or ((a.e).event_ms, (a.e).at_ms, a.declared, (a.e).event_id collate "C")
          > (v_after[1]::bigint, v_after[2]::bigint, v_after[3]::boolean, v_after[4]))
  ) b
  where coalesce(b.bytes, 0) < 8 * 1024 * 1024
  order by (b.e).event_ms, (b.e).at_ms, b.declared, (b.e).event_id collate "C"
  limit p_limit;
end
$$;


grant execute on function
  sv.item_events(integer, bigint, text, text[], timestamptz, timestamptz, text, integer)
to sv_api;

grant execute on function
  sv.out_window(bigint, integer, bigint),
  sv.out_events(bigint, integer, bigint, text, bigint, timestamptz, timestamptz),
  sv.out_range(timestamptz, timestamptz),
  sv.push_take(text, integer),
  sv.push_batch(text, bigint, integer, text, bytea, integer),
  sv.push_pass(text, bigint),
  sv.push_done(text, text),
  sv.push_failed(text, text, text, boolean, bigint),
  sv.push_leave(text),
  sv.push_figure(text)
to sv_worker;

commit;
