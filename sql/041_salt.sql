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


-- What 015_recall.sql made, and kind salt: key the day, f1 the salt in hexadecimal
-- digits.  Either side gives its first p_limit rows, so the first of both are here.
alter function sv.ref_feed(bigint, text, text, integer) rename to ref_feed_known;
revoke execute on function sv.ref_feed_known(bigint, text, text, integer) from sv_gateway, sv_worker;

create function sv.ref_feed(
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
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select u.n, u.kind, u.key, u.deleted, u.f1, u.f2, u.f3, u.f4, u.f5, u.f6, u.f7, u.f8
  from (
    select k.n, k.kind, k.key, k.deleted, k.f1, k.f2, k.f3, k.f4, k.f5, k.f6, k.f7, k.f8
    from sv.ref_feed_known(p_n, p_kind, p_key, p_limit) k
    union all
    (
      select s.ref_n, 'salt', s.day::text, s.salt is null, encode(s.salt, 'hex'), null, null, null, null, null, null, null
      from sv.session_salt s
      where s.ref_n >= coalesce(p_n, 0)
        and (s.ref_n > coalesce(p_n, 0)
          or ('salt' collate "C", s.day::text collate "C") > (coalesce(p_kind, ''), coalesce(p_key, '')))
      order by s.ref_n, s.day::text collate "C"
      limit p_limit
    )
  ) u
  order by u.n, u.kind collate "C", u.key collate "C"
  limit p_limit
$$;

grant execute on function sv.ref_feed(bigint, text, text, integer) to sv_gateway, sv_worker;


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
