-- Signed heads of the audit chain, and what a check of it reads.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(17, 'audit');


-- A head says where the chain stood: signed with a key that is not in the
-- database.  One for each day (UTC) that has ended, others on demand.  What it
-- covers is told by places in the chain: a row that was chained after midnight
-- belongs to the next one.  docs/worker.md says what is signed.
create table sv.audit_day (
  head       bigint       not null primary key,           -- 1, 2, 3 ...
  kind       text         not null check (kind in ('day', 'demand')),
  day        date         not null,                       -- that has ended; of `demand', that it was made on
  system     text         not null,                       -- the database's system identifier
  first_n    bigint       not null,                       -- from here,
  last_n     bigint       not null,                       -- to here; one less than first_n: no row
  hash       bytea        not null,                       -- sv.audit_chain.hash of last_n
  previous   bytea        not null,                       -- digest of the head before
  key        bytea        not null,                       -- the public key, Ed25519
  signature  bytea        not null,
  at         timestamptz  not null
);

create unique index audit_day_day on sv.audit_day (day) where kind = 'day';


-- What a check reads: the values that stand for an audit row, as texts, in the
-- order in which sv.audit_text() takes them.  The check puts them together itself.
create view sv.audit_value as
select
  a.gtin::text                                              as gtin,
  (extract(epoch from a.at) * 1000000)::bigint::text        as at,
  a.audit_id::text                                          as audit_id,
  (extract(epoch from a.occurred_at) * 1000000)::bigint::text as occurred_at,
  a.location_id::text                                       as location_id,
  a.version::text                                           as version,
  to_char(a.expiry, 'YYYY-MM-DD')                           as expiry,
  a.repeat::text                                            as repeat,
  a.changed::text                                           as changed,
  a.kind                                                    as kind,
  a.operation                                               as operation,
  a.of                                                      as of,
  a.serial                                                  as serial,
  a.lot                                                     as lot,
  a.reason                                                  as reason,
  a.state_before                                            as state_before,
  a.state                                                   as state,
  a.code                                                    as code,
  a.alert_id                                                as alert_id,
  a.hint                                                    as hint,
  a.entry_mode                                              as entry_mode,
  a.key                                                     as key,
  a.request_id                                              as request_id,
  a.actor                                                   as actor,
  a.detail::text                                            as detail,
  a.gtin                                                    as row_gtin,
  a.at                                                      as row_at,
  a.audit_id                                                as row_id
from sv.audit a;

-- The chain with its rows, and with what the tables of loads say of the same.
create view sv.audit_link as
select c.n, c.gtin as chain_gtin, c.at as chain_at, c.audit_id as chain_id,
  to_char(c.at at time zone 'UTC', 'YYYY-MM-DD') as day,
  encode(c.digest, 'hex') as digest, encode(c.hash, 'hex') as hash, v.*,
  l.file as load_file, encode(l.digest, 'hex') as load_sha256,
  b.new_packs as lot_packs, b.repeated as lot_repeated, b.contradictions as lot_contradictions,
  encode(b.digest, 'hex') as lot_serials
from sv.audit_chain c
  left join sv.audit_value v on v.row_gtin = c.gtin and v.row_at = c.at and v.row_id = c.audit_id
  left join sv.load l on v.kind = 'load'
    and l.load_id = case when v.detail::jsonb ->> 'load_id' ~ '^[0-9]{1,9}$' then (v.detail::jsonb ->> 'load_id')::integer end
  left join sv.load_lot b on v.operation = 'commission' and b.gtin = c.gtin and b.lot = v.lot and b.load_id = l.load_id;


-- A page of the chain: the rows after p_after.
create function sv.audit_rows(p_after bigint, p_limit integer)
returns setof sv.audit_link
language sql stable security definer
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
as $$
  select k.* from sv.audit_link k where k.n > p_after order by k.n limit p_limit
$$;


-- An audit row that may be the one that is missing: with the same number, or
-- of the same GTIN and time, and not in the chain itself.
create function sv.audit_lookalike(p_n bigint)
returns setof sv.audit_value
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select v.*
  from sv.audit_chain c
    join sv.audit_value v on v.row_id = c.audit_id or v.row_gtin = c.gtin and v.row_at = c.at
  where c.n = p_n
    and not exists (select from sv.audit_chain o where o.gtin = v.row_gtin and o.at = v.row_at and o.audit_id = v.row_id)
  order by v.row_id = c.audit_id desc
  limit 1
$$;


-- What is in one place only: audit rows that are neither in the chain nor wait
-- for it, waiting rows without an audit row, lots of loads without one.
create function sv.audit_loose(p_limit integer)
returns table (what text, audit_id text, day text, gtin text, lot text, detail text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  (
    select 'added', a.audit_id::text, to_char(a.at at time zone 'UTC', 'YYYY-MM-DD'), to_char(a.gtin, 'FM00000000000000'), a.lot,
      a.kind || ' ' || a.operation
    from sv.audit a
    where not exists (select from sv.audit_chain c where c.audit_id = a.audit_id and c.gtin = a.gtin and c.at = a.at)
      and not exists (select from sv.outbox o where o.audit_id = a.audit_id and o.gtin = a.gtin and o.at = a.at)
    order by a.at
    limit p_limit
  )
  union all
  (
    select 'waiting', o.audit_id::text, to_char(o.at at time zone 'UTC', 'YYYY-MM-DD'), to_char(o.gtin, 'FM00000000000000'), null, null
    from sv.outbox o
    where not exists (select from sv.audit a where a.gtin = o.gtin and a.at = o.at and a.audit_id = o.audit_id)
    order by o.at
    limit p_limit
  )
  union all
  (
    select 'lot', null, to_char(b.at at time zone 'UTC', 'YYYY-MM-DD'), to_char(b.gtin, 'FM00000000000000'), b.lot, b.load_id::text
    from sv.load_lot b
    where not exists (
      select from sv.audit a
      where a.gtin = b.gtin and a.lot = b.lot and a.kind = 'load' and a.detail ->> 'load_id' = b.load_id::text)
    order by b.at
    limit p_limit
  )
$$;


-- Which chain row stood before one with this hash and digest; null: none.
create function sv.audit_predecessor(p_digest bytea, p_hash bytea)
returns bigint
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select min(c.n) from sv.audit_chain c where sha256(c.hash || p_digest) = p_hash
$$;


-- A page of the heads.
create function sv.audit_days(p_after bigint, p_limit integer)
returns table (head text, kind text, day text, system text, first_n text, last_n text, hash text, previous text, key text,
  signature text, at text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select d.head::text, d.kind, to_char(d.day, 'YYYY-MM-DD'), d.system, d.first_n::text, d.last_n::text, encode(d.hash, 'hex'),
    encode(d.previous, 'hex'), encode(d.key, 'hex'), encode(d.signature, 'hex'), (extract(epoch from d.at) * 1000000)::bigint::text
  from sv.audit_day d
  where d.head > p_after
  order by d.head
  limit p_limit
$$;


-- How things stand, all of one moment: the chain, its end, the last head, the day.
create function sv.audit_state(
  out system    text,
  out today     text,
  out now_us    bigint,
  out n         bigint,                                   -- of sv.audit_head
  out hash      text,
  out head      bigint,                                   -- the last; 0: none
  out head_day  text,                                     -- the last day that has a head
  out due       text                                      -- the oldest day that has ended and has none, or null
)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select
    (select c.system_identifier::text from pg_control_system() c),
    to_char(t.today, 'YYYY-MM-DD'),
    (extract(epoch from transaction_timestamp()) * 1000000)::bigint,
    h.n, encode(h.hash, 'hex'),
    coalesce((select max(d.head) from sv.audit_day d), 0),
    to_char(t.last, 'YYYY-MM-DD'),
    case when coalesce(t.last + 1, t.today - 1) < t.today then to_char(coalesce(t.last + 1, t.today - 1), 'YYYY-MM-DD') end
  from sv.audit_head h,
    (select (transaction_timestamp() at time zone 'UTC')::date as today,
      (select max(d.day) from sv.audit_day d where d.kind = 'day') as last) t
$$;


-- Keeps a head that was signed; false: another worker made one of this number,
-- or this is not the next one.  A new key leaves an audit row.
create function sv.audit_sign(
  p_head       bigint,
  p_kind       text,
  p_day        date,
  p_system     text,
  p_first_n    bigint,
  p_last_n     bigint,
  p_hash       text,
  p_previous   text,
  p_key        text,
  p_signature  text,
  p_at_us      bigint,
  p_by         text
)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_last  sv.audit_day;
begin
  select d.* into v_last from sv.audit_day d order by d.head desc limit 1;

  if p_head <> coalesce(v_last.head, 0) + 1 or p_first_n <> coalesce(v_last.last_n, 0) + 1 then
    return false;
  end if;

  insert into sv.audit_day (head, kind, day, system, first_n, last_n, hash, previous, key, signature, at)
  values (p_head, p_kind, p_day, p_system, p_first_n, p_last_n, decode(p_hash, 'hex'), decode(p_previous, 'hex'),
    decode(p_key, 'hex'), decode(p_signature, 'hex'), 'epoch'::timestamptz + p_at_us * interval '1 microsecond')
  on conflict do nothing;

  if not found then
    return false;
  end if;

  if v_last.key is distinct from decode(p_key, 'hex') then
    perform sv.audit_change('admin', 'audit_key', 0, null, 'ok', p_by,
      jsonb_build_object('head', p_head, 'key', p_key, 'previous', encode(v_last.key, 'hex')));
  end if;

  return true;
end
$$;


-- The part of the chain that is exported for these days (null: from the first,
-- to the last), widened to whole heads; first_n > last_n: nothing.
create function sv.audit_range(p_from date, p_to date, out first_n bigint, out last_n bigint, out before text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  with asked as (
    select
      coalesce(min(c.n), 1) as first_n,
      coalesce(max(c.n), 0) as last_n
    from sv.audit_chain c
    where (p_from is null or c.at >= p_from::timestamp at time zone 'UTC')
      and (p_to is null or c.at < (p_to + 1)::timestamp at time zone 'UTC')
  ), whole as (
    select
      coalesce((select max(d.first_n) from sv.audit_day d where d.first_n <= a.first_n and d.last_n >= a.first_n), a.first_n) as first_n,
      coalesce((select min(d.last_n) from sv.audit_day d where d.last_n >= a.last_n and d.first_n <= a.last_n), a.last_n) as last_n
    from asked a
  )
  select w.first_n, w.last_n,
    coalesce((select encode(c.hash, 'hex') from sv.audit_chain c where c.n = w.first_n - 1), repeat('0', 64))
  from whole w
$$;


-- The products of which something was loaded, page by page.
create function sv.audit_load_gtins(p_after bigint, p_limit integer)
returns setof bigint
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select distinct b.gtin from sv.load_lot b where b.gtin > p_after order by b.gtin limit p_limit
$$;


-- The serials digest of every lot of a product's loads, computed anew: over the
-- packs that carry the load's number, and over those whose first recorded
-- commissioning it is.  They differ where a commissioning was declared an error
-- and another took its place: such packs are counted in `moved'.
create function sv.audit_load_packs(p_gtin bigint)
returns table (load_id integer, lot text, day text, told text, counting text, first text, moved bigint)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  with told as (
    select k.serial, k.lot, k.load_id, true as counts
    from sv.pack k
    where k.gtin = p_gtin and k.load_id is not null
    union all
    select m.serial, m.lot, m.load_id, false
    from sv.commission m
    where m.gtin = p_gtin
  ), placed as (
    select t.*, row_number() over (partition by t.serial order by b.at, t.load_id, t.counts desc) as place,
      count(*) over (partition by t.serial) as n
    from told t
      left join sv.load_lot b on b.gtin = p_gtin and b.lot = t.lot and b.load_id = t.load_id
  ), found as (
    select p.load_id, p.lot,
      string_agg(p.serial || E'\n', '' order by p.serial) filter (where p.counts) as counting,
      string_agg(p.serial || E'\n', '' order by p.serial) filter (where p.place = 1) as first,
      count(*) filter (where p.n > 1) as moved
    from placed p
    group by p.load_id, p.lot
  )
  select b.load_id, b.lot, to_char(b.at at time zone 'UTC', 'YYYY-MM-DD'), encode(b.digest, 'hex'),
    encode(sha256(convert_to(coalesce(f.counting, ''), 'UTF8')), 'hex'),
    encode(sha256(convert_to(coalesce(f.first, ''), 'UTF8')), 'hex'),
    coalesce(f.moved, 0)
  from sv.load_lot b
    left join found f on f.load_id = b.load_id and f.lot = b.lot
  where b.gtin = p_gtin
  order by b.load_id, b.lot
$$;


grant execute on function
  sv.audit_rows(bigint, integer),
  sv.audit_lookalike(bigint),
  sv.audit_loose(integer),
  sv.audit_predecessor(bytea, bytea),
  sv.audit_days(bigint, integer),
  sv.audit_state(),
  sv.audit_sign(bigint, text, date, text, bigint, bigint, text, text, text, text, bigint, text),
  sv.audit_range(date, date),
  sv.audit_load_gtins(bigint, integer),
  sv.audit_load_packs(bigint)
to sv_worker;

commit;
