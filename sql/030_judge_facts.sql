-- What the judge knows besides scans: findings of feeds, locations, lots, recalls, parameters
-- of the rules; and history, when it is built anew.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(30, 'judge_facts');


-- The feeds' findings that nobody judged, or that were settled since.  sv_worker.
create function sv.judge_findings(p_limit integer)
returns table (rule text, gtin bigint, serial text, lot text, at_ms bigint, finding_id uuid, settled boolean, detail jsonb)
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  with open as materialized (
    select f.gtin, f.at, f.finding_id, sv.finding_settled(f.detail) as settled
    from sv.finding f
    where f.judged < case when sv.finding_settled(f.detail) then 2 else 1 end
    order by f.at
    limit p_limit
    for update
  )
  update sv.finding f
  set judged = case when o.settled then 2 else 1 end
  from open o
  where f.gtin = o.gtin and f.at = o.at and f.finding_id = o.finding_id
  returning f.rule, f.gtin, f.serial, f.lot, sv.ms(f.at), f.finding_id, o.settled, f.detail
$$;


-- The feeds' findings of a time that nothing has settled, as they are now.  sv_worker.
create function sv.judge_feeds(p_since timestamptz, p_until timestamptz)
returns table (rule text, gtin bigint, serial text, lot text, at_ms bigint, finding_id uuid, settled boolean, detail jsonb)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select f.rule, f.gtin, f.serial, f.lot, sv.ms(f.at), f.finding_id, false, f.detail
  from sv.finding f
  where f.at >= p_since and f.at < p_until and not sv.finding_settled(f.detail)
  order by f.at, f.finding_id
$$;


-- Locations that changed behind number p_n, in order.  sv_worker.
create function sv.judge_locations(p_n bigint, p_limit integer)
returns table (n bigint, location_id integer, gln text, role text, country text, lat double precision, lon double precision)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select l.ref_n, l.location_id, l.gln, l.role::text, l.country, l.lat, l.lon
  from sv.location l
  where l.ref_n > p_n
  order by l.ref_n
  limit p_limit
$$;


-- Of lots, those that are known: a line for each of their markets ('': unknown).  sv_worker.
create function sv.judge_lots(p_gtin bigint[], p_lot text[])
returns table (n bigint, gtin bigint, lot text, expiry text, at_ms bigint, markets text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  return query
  select 0::bigint, l.gtin, l.lot, to_char(l.expiry, 'YYMMDD'),
    (select sv.ms(min(b.at)) from sv.load_lot b where b.gtin = l.gtin and b.lot = l.lot),
    array_to_string(m.markets || ''::text, E'\n')
  from sv.markets_of(p_gtin, p_lot) m
    join sv.lot l on l.gtin = m.gtin and l.lot = m.lot
  where l.expiry is not null;
end
$$;

-- The same of lots whose markets changed behind number p_n; gtin null: nothing is
-- known of the lot.  sv_worker.
create function sv.judge_markets(p_n bigint, p_limit integer)
returns table (n bigint, gtin bigint, lot text, expiry text, at_ms bigint, markets text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  return query
  select c.n, k.gtin, k.lot, k.expiry, k.at_ms, k.markets
  from sv.market_changes(p_n, p_limit) c
    left join lateral (
      select j.*
      from sv.judge_lots(array(select c.gtin from sv.lot l where l.gtin = c.gtin and (l.lot = c.lot or c.lot is null) order by l.lot),
        array(select l.lot from sv.lot l where l.gtin = c.gtin and (l.lot = c.lot or c.lot is null) order by l.lot)) j
    ) k on true
  order by c.n;
end
$$;

create function sv.judge_markets_n()
returns bigint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  return (select c.n from sv.market_clock c);
end
$$;


-- The serials of misses since a time that are commissioned, or are now, in lots, a line
-- each.  p_gtin null: of all products; else of one lot.  sv_worker.
create function sv.judge_late(p_gtin bigint, p_lot text, p_since timestamptz)
returns table (gtin bigint, lot text, expiry text, at_ms bigint, serials text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select k.gtin, k.lot, to_char(k.expiry, 'YYMMDD'), sv.ms(k.at), string_agg(k.serial || E'\n', '' order by k.serial)
  from (
    select distinct p.gtin, p.serial, p.lot, p.expiry, b.at
    from sv.scan s
      join sv.pack p on p.gtin = s.gtin and p.serial = s.serial and p.state <> 'void'
      join sv.load_lot b on b.gtin = p.gtin and b.lot = p.lot and b.load_id = p.load_id
    where s.reason in ('product_unknown', 'lot_unknown', 'serial_unknown', 'lot_mismatch', 'expiry_mismatch')
      and s.at >= p_since
      and (p_gtin is null or s.gtin = p_gtin and p.lot = p_lot)) k
  group by k.gtin, k.lot, k.expiry, k.at
$$;

-- What was changed of the rules' parameters.  sv_worker.
create function sv.judge_params()
returns table (name text, value text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select p.name, p.value from sv.rule_param p order by p.name
$$;


-- Recalls of lots that are open.  sv_worker.
create function sv.judge_recalls()
returns table (gtin bigint, lot text, at_ms bigint)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select r.gtin, r.lot, sv.ms(min(r.at))
  from sv.recall r
  where r.kind = 'lot' and r.lifted_at is null
  group by r.gtin, r.lot
$$;


-- A page of history behind number p_n, of scans since a time.  sv_worker.
create function sv.judge_history(p_n bigint, p_since timestamptz, p_until timestamptz, p_limit integer)
returns table (
  n            bigint,
  gtin         bigint,
  at_ms        bigint,
  occurred_ms  bigint,
  serial       text,
  lot          text,
  expiry       text,
  operation    text,
  of           text,
  location_id  integer,
  session      text,
  country      text,
  lat          real,
  lon          real,
  accuracy_km  integer,
  entry_mode   text,
  reason       text,
  hint         text,
  before_id    integer
)
language sql stable security definer
set search_path = pg_catalog, pg_temp
set enable_sort = off
set enable_seqscan = off
set jit = off
as $$
  select s.n, s.gtin, sv.ms(s.at), sv.ms(s.occurred_at), s.serial, coalesce(s.lot, s.pack_lot), s.expiry, s.operation, s.of, s.location_id,
    s.session, s.country, s.lat, s.lon, s.accuracy_km, s.entry_mode, s.reason, s.hint, s.before_id
  from sv.scan s
  where s.n > p_n and s.at >= p_since and s.at < p_until and not s.silent
  order by s.n
  limit p_limit
$$;


-- What was changed of the rules' parameters, by name.  sv_worker.
create function sv.rule_params(out name text, out value text, out at timestamptz, out "by" text)
returns setof record
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select p.name, p.value, p.at, p.by from sv.rule_param p order by p.name
$$;


-- Changes parameters of the rules, all or none: {"rule.parameter": "value", ..},
-- null for its default again; how many changed.  The worker knows names and
-- ranges and has checked them.  sv_worker; 22023: no such names or values.
create function sv.set_rule_params(p_values jsonb, p_by text default null)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_by      text := coalesce(nullif(btrim(p_by), ''), session_user);
  v_name    text;
  v_value   text;
  v_before  text;
  v_n       integer := 0;
begin
  if exists (
    select from jsonb_each_text(p_values) v
    where v.key !~ '^[a-z_]{1,64}\.[a-z_]{1,64}$' or length(v.value) > 256
  ) then
    raise exception using errcode = '22023', column = 'values', message = 'values: not names and values of rules'' parameters';
  end if;

  -- by name: two that change the same wait for each other, and do not lock each other out
  for v_name, v_value in
    select v.key, v.value from jsonb_each_text(p_values) v order by v.key
  loop
    select p.value into v_before from sv.rule_param p where p.name = v_name for update;

    continue when v_before is not distinct from v_value;

    if v_value is null then
      delete from sv.rule_param p where p.name = v_name;
    else
      insert into sv.rule_param (name, value, at, by)
      values (v_name, v_value, clock_timestamp(), v_by)
      on conflict (name) do update set value = excluded.value, at = excluded.at, by = excluded.by;
    end if;

    perform sv.audit_change('admin', 'set_rule_param', 0, null, 'ok', v_by,
      jsonb_build_object('name', v_name, 'value', v_value, 'before', v_before));

    v_n := v_n + 1;
  end loop;

  return v_n;
end
$$;


grant execute on function
  sv.judge_findings(integer),
  sv.judge_feeds(timestamptz, timestamptz),
  sv.judge_locations(bigint, integer),
  sv.judge_lots(bigint[], text[]),
  sv.judge_markets(bigint, integer),
  sv.judge_markets_n(),
  sv.judge_late(bigint, text, timestamptz),
  sv.judge_params(),
  sv.judge_recalls(),
  sv.judge_history(bigint, timestamptz, timestamptz, integer),
  sv.rule_params(),
  sv.set_rule_params(jsonb, text)
to sv_worker;

commit;
