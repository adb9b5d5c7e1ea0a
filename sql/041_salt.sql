-- The salt of consumers' tokens, another one every day, the same at every gateway.
--
-- A token says that two scans of one day came from one device, and nothing else:
-- it is a keyed digest of address prefix and browser, and when the day's salt is
-- gone nobody can find out whose it was, by trying all addresses neither.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(41, 'salt');


-- day: UTC.  salt null: destroyed; the row stays, for gateways learn of it by its number.
create table sv.session_salt (
  day    date    not null primary key,
  salt   bytea   check (length(salt) = 32),
  ref_n  bigint  not null
);

create index session_salt_ref_n on sv.session_salt (ref_n);


-- As in 015_recall.sql; kind salt: key the day, f1 the salt in hexadecimal digits.
create or replace function sv.ref_feed(
  p_n      bigint,
  p_kind   text,
  p_key    text,
  p_limit  integer
)
returns table (
  n        bigint,
  kind     text,
  key      text,
  deleted  boolean,
  f1       text,
  f2       text,
  f3       text,
  f4       text,
  f5       text,
  f6       text,
  f7       text,
  f8       text
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
  v_n     bigint := coalesce(p_n, 0);
  v_kind  text := coalesce(p_kind, '');
  v_key   text := coalesce(p_key, '');
begin
  return query
  select u.n, u.kind, u.key, u.deleted,
    case when not u.deleted then u.f1 end, case when not u.deleted then u.f2 end,
    case when not u.deleted then u.f3 end, case when not u.deleted then u.f4 end,
    case when not u.deleted then u.f5 end, case when not u.deleted then u.f6 end,
    case when not u.deleted then u.f7 end, case when not u.deleted then u.f8 end
  from (
    (
      select c.ref_n as n, 'credential' as kind, encode(c.sha256, 'hex') as key, c.revoked as deleted,
        c.location_id::text as f1, sv.ms(c.not_before)::text as f2, sv.ms(c.not_after)::text as f3,
        null as f4, null as f5, null as f6, null as f7, null as f8
      from sv.credential c
      where c.ref_n >= v_n
        and (c.ref_n > v_n or ('credential' collate "C", encode(c.sha256, 'hex') collate "C") > (v_kind, v_key))
      order by c.ref_n, encode(c.sha256, 'hex') collate "C"
      limit p_limit
    )
    union all
    (
      select l.ref_n, 'location', l.location_id::text, l.deleted,
        l.gln, l.role::text, l.company, l.country, null, null, null, null
      from sv.location l
      where l.ref_n >= v_n
        and (l.ref_n > v_n or ('location' collate "C", l.location_id::text collate "C") > (v_kind, v_key))
      order by l.ref_n, l.location_id::text collate "C"
      limit p_limit
    )
    union all
    (
      select b.ref_n, 'lot', lpad(b.gtin::text, 14, '0') || b.lot, b.recalled_at is null,
        sv.ms(b.recalled_at)::text, sv.reason_text(b.reason, b.reference), null, null, null, null, null, null
      from sv.lot b
      where b.ref_n >= v_n
        and (b.ref_n > v_n or ('lot' collate "C", (lpad(b.gtin::text, 14, '0') || b.lot) collate "C") > (v_kind, v_key))
      order by b.ref_n, (lpad(b.gtin::text, 14, '0') || b.lot) collate "C"
      limit p_limit
    )
    union all
    (
      select r.ref_n, 'product', lpad(r.gtin::text, 14, '0'), r.deleted,
        r.name, r.company, left(r.lot_optional::text, 1), left(r.expiry_optional::text, 1),
        sv.ms(r.withdrawn_at)::text, sv.reason_text(r.reason, r.reference), r.default_link,
        left(r.partly_recalled::text, 1)
      from sv.product r
      where r.ref_n >= v_n
        and (r.ref_n > v_n or ('product' collate "C", lpad(r.gtin::text, 14, '0') collate "C") > (v_kind, v_key))
      order by r.ref_n, lpad(r.gtin::text, 14, '0') collate "C"
      limit p_limit
    )
    union all
    (
      select s.ref_n, 'salt', s.day::text, s.salt is null,
        encode(s.salt, 'hex'), null, null, null, null, null, null, null
      from sv.session_salt s
      where s.ref_n >= v_n
        and (s.ref_n > v_n or ('salt' collate "C", s.day::text collate "C") > (v_kind, v_key))
      order by s.ref_n, s.day::text collate "C"
      limit p_limit
    )
  ) u
  order by u.n, u.kind collate "C", u.key collate "C"
  limit p_limit;
end
$$;


-- There is a salt for today and one for tomorrow, and none that is older than
-- yesterday's; how many were made and destroyed.  Role housekeeping calls it
-- with each round: gateways have the salt of a day before the day begins.
create function sv.keep_salts()
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_today  date := (now() at time zone 'UTC')::date;
  v_day    date;
  v_n      integer := 0;
begin
  for v_day in
    select s.day from sv.session_salt s where s.day < v_today - 1 and s.salt is not null order by s.day for update
  loop
    update sv.session_salt s set salt = null, ref_n = sv.next_ref_n() where s.day = v_day;
    v_n := v_n + 1;
  end loop;

  for v_day in
    select d.day
    from (values (v_today), (v_today + 1)) as d (day)
    where not exists (select from sv.session_salt s where s.day = d.day)
    order by d.day
  loop
    -- who else makes it meanwhile holds the row: its salt stands
    insert into sv.session_salt (day, salt, ref_n)
    values (v_day, decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'), sv.next_ref_n())
    on conflict (day) do nothing;

    if found then
      v_n := v_n + 1;
    end if;
  end loop;

  return v_n;
end
$$;


grant execute on function sv.keep_salts() to sv_worker;

commit;
