-- What is in a container, and in what an item is: asked from the events, stored
-- nowhere.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(12, 'contents');


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

commit;
