-- Intended markets of lots.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(42, 'market');


-- A change of markets takes its number under this row, last in its transaction:
-- numbers become visible in order, and a reader by number misses nothing.
create table sv.market_clock (
  one  boolean  not null primary key default true check (one),
  n    bigint   not null
);

insert into sv.market_clock (n) values (0);

-- Where a lot may be sold: every market that a line of the lot named, or that a
-- person added.  It only grows: who packs for one more market says so later.
create table sv.lot_market (
  gtin     bigint       not null,
  lot      text         collate "C" not null,
  country  text         not null check (country ~ '^[A-Z]{2}$'),
  n        bigint       not null,
  at       timestamptz  not null,
  load_id  integer,                                       -- null: a person
  primary key (gtin, lot, country)
);

create index lot_market_n on sv.lot_market (n);

-- Of a product, for lots of which nothing is known.
create table sv.product_market (
  gtin       bigint       not null primary key,
  countries  text[]       not null,                       -- sorted; empty: unknown again
  n          bigint       not null,
  at         timestamptz  not null
);

create index product_market_n on sv.product_market (n);


-- What was loaded before: lots whose lines all named the same market.
with told as (
  select l.gtin, l.lot, l.market, min(l.at) as at, min(l.load_id) as load_id
  from sv.load_lot l
  where l.market ~ '^[A-Z]{2}$'
  group by l.gtin, l.lot, l.market
), clock as (
  update sv.market_clock set n = n + (select count(*) from told)
)
insert into sv.lot_market (gtin, lot, country, n, at, load_id)
select t.gtin, t.lot, t.market, row_number() over (order by t.at, t.gtin, t.lot, t.market), t.at, t.load_id
from told t;


-- Adds markets to a lot; the number of the change, or null: it had them all.
-- The caller changes nothing else behind it.
create function sv.lot_market_add(p_gtin bigint, p_lot text, p_countries text[], p_load_id integer)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_n  bigint;
begin
  -- most loads say nothing new: they need no lock
  if not exists (
    select
    from unnest(p_countries) c
    where not exists (select from sv.lot_market m where m.gtin = p_gtin and m.lot = p_lot and m.country = c)
  ) then
    return null;
  end if;

  update sv.market_clock k set n = k.n + cardinality(p_countries) returning k.n into v_n;

  insert into sv.lot_market (gtin, lot, country, n, at, load_id)
  select p_gtin, p_lot, t.country, v_n - cardinality(p_countries) + t.i, transaction_timestamp(), p_load_id
  from unnest(p_countries) with ordinality as t (country, i)
  order by t.country
  on conflict (gtin, lot, country) do nothing;

  return v_n;
end
$$;


-- sv.merge_lot, and the markets that the lot's lines name, but for events that
-- were declared errors, in the same transaction.  sv_worker.
create function sv.merge_lot_markets(
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
declare
  v_lot        record;
  v_errors     integer[];
  v_countries  text[];
begin
  select m.outcome, m.lines, m.new_packs, m.repeated, m.contradictions
  into outcome, lines, new_packs, repeated, contradictions
  from sv.merge_lot(p_load_id, p_stage, p_n, p_audit_id) m;

  if outcome <> 'merged' then
    return;
  end if;

  select array_agg(v.event) into v_errors from sv.event v where v.load_id = p_load_id and v.error is not null;

  execute format('select l.gtin, l.lot from sv.%I l where l.n = $1', p_stage || '_lot') into v_lot using p_n;
  execute format(
    'select array_agg(distinct s.market order by s.market)
     from sv.%I s
     where s.gtin = $1 and s.lot = $2 and s.market is not null and (s.event = any ($3)) is not true', p_stage)
  into v_countries
  using v_lot.gtin, v_lot.lot, v_errors;

  if v_countries is not null then
    perform sv.lot_market_add(v_lot.gtin, v_lot.lot, v_countries, p_load_id);
  end if;
end
$$;


-- The markets of a product (p_lot null: they become those given, none: unknown),
-- or more markets of a lot.  p_markets: country codes with spaces or commas
-- between them.  The number of the change, or null: it was so already.
-- 22023: a bad value; P0002: no such product.  sv_worker.
create function sv.put_market(p_gtin bigint, p_lot text, p_markets text, p_by text)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_countries  text[];
  v_n          bigint;
begin
  perform sv.check_gtin(p_gtin);

  if p_lot is not null then
    perform sv.check_lot(p_lot);
  end if;

  select coalesce(array_agg(distinct c order by c), '{}')
  into v_countries
  from regexp_split_to_table(coalesce(p_markets, ''), '[ ,]+') c
  where c <> '';

  if exists (select from unnest(v_countries) c where c !~ '^[A-Z]{2}$') then
    perform sv.bad_value('markets', 'country codes of two capital letters (ISO 3166) are needed, such as IT DE');
  end if;

  if p_lot is not null and v_countries = '{}' then
    perform sv.bad_value('markets', 'is missing: markets can be added to a lot, and never taken away');
  end if;

  if not exists (select from sv.product p where p.gtin = p_gtin and not p.deleted) then
    raise exception using errcode = 'P0002', column = 'gtin',
      message = format('gtin: there is no product %s', lpad(p_gtin::text, 14, '0'));
  end if;

  if p_lot is not null then
    v_n := sv.lot_market_add(p_gtin, p_lot, v_countries, null);

  elsif v_countries <> coalesce((select m.countries from sv.product_market m where m.gtin = p_gtin), '{}') then
    update sv.market_clock k set n = k.n + 1 returning k.n into v_n;

    insert into sv.product_market (gtin, countries, n, at)
    values (p_gtin, v_countries, v_n, transaction_timestamp())
    on conflict (gtin) do update set countries = excluded.countries, n = excluded.n, at = excluded.at;
  end if;

  if v_n is not null then
    perform sv.audit_change('admin', 'put_market', p_gtin, p_lot, 'ok', p_by, jsonb_build_object('markets', v_countries));
  end if;

  return v_n;
end
$$;


-- The markets of lots, a row for each that was asked for: the lot's own, else
-- those of its product; '{}': unknown.  sv_worker.
create function sv.markets_of(p_gtin bigint[], p_lot text[])
returns table (gtin bigint, lot text, markets text[])
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select t.gtin, t.lot, coalesce(
    (select array_agg(m.country order by m.country) from sv.lot_market m where m.gtin = t.gtin and m.lot = t.lot),
    (select p.countries from sv.product_market p where p.gtin = t.gtin),
    '{}')
  from unnest(p_gtin, p_lot) as t (gtin, lot)
$$;


-- What changed behind number p_n, in order: go on from the last n.  `markets' are
-- all there are now: of the lot, or (lot null) of the product, which count for
-- its lots that have none of their own.  sv_worker.
create function sv.market_changes(p_n bigint, p_limit integer)
returns table (n bigint, gtin bigint, lot text, markets text[])
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select c.n, c.gtin, c.lot, c.markets
  from (
    (select m.n, m.gtin, m.lot,
       (select array_agg(o.country order by o.country) from sv.lot_market o where o.gtin = m.gtin and o.lot = m.lot) as markets
     from sv.lot_market m
     where m.n > p_n
     order by m.n
     limit p_limit)
    union all
    (select p.n, p.gtin, null, p.countries
     from sv.product_market p
     where p.n > p_n
     order by p.n
     limit p_limit)
  ) c
  order by c.n
  limit p_limit
$$;


grant execute on function
  sv.merge_lot_markets(integer, text, integer, uuid),
  sv.put_market(bigint, text, text, text),
  sv.markets_of(bigint[], text[]),
  sv.market_changes(bigint, integer)
to sv_worker;

commit;
