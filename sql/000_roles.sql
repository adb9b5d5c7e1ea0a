-- Roles, the schema and the list of applied migrations.
--
-- Who runs the migrations: a superuser, or a role with CREATEROLE that may
-- create schemas in this database.  Roles that exist are kept as they are;
-- the login roles get no password here (set one, or authenticate by
-- certificate or peer).
--
--   sv_owner     owns every object, never logs in
--   sv_gateway   nginx: may execute the functions of the counter, no table
--   sv_worker    the worker: may execute loading, relay and administration
--
-- Every migration starts with
--
--   begin;
--   do $$
--   begin
--     if to_regprocedure('sv.migration_begin(integer, text)') is null then
--       raise exception 'apply sql/000_roles.sql first';
--     end if;
--   end
--   $$;
--   set local role sv_owner;
--   select sv.migration_begin(NUMBER, 'NAME');
--
-- and ends with commit; so it is applied once, whole, in order.

begin;

do $$
begin
  if to_regclass('sv.migration') is not null then
    raise exception 'migration 0 (roles) is already applied';
  end if;

  if not exists (select from pg_catalog.pg_roles where rolname = 'sv_owner') then
    create role sv_owner nologin;
  end if;

  if not exists (select from pg_catalog.pg_roles where rolname = 'sv_gateway') then
    create role sv_gateway login;
  end if;

  if not exists (select from pg_catalog.pg_roles where rolname = 'sv_worker') then
    create role sv_worker login;
  end if;

  -- Since PostgreSQL 16 who creates a role administers it, but may act as it
  -- only once granted; who may not grant has been granted it by another.
  if not (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user) then
    begin
      execute pg_catalog.format('grant sv_owner to %I', current_user);
    exception
      when insufficient_privilege then
        null;
    end;
  end if;
end
$$;

create schema sv authorization sv_owner;

set local role sv_owner;

-- In this database nobody may execute what sv_owner creates unless granted.
alter default privileges for role sv_owner revoke execute on functions from public;

grant usage on schema sv to sv_gateway, sv_worker;

create table sv.migration (
  version  integer      not null primary key,
  name     text         not null,
  at       timestamptz  not null
);

create function sv.migration_begin(p_version integer, p_name text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_last  integer;
begin
  lock table sv.migration in share row exclusive mode;

  select max(m.version) into v_last from sv.migration m;

  if p_version <= v_last then
    raise exception 'migration % (%) is already applied', p_version, p_name;
  end if;

  if p_version <> v_last + 1 then
    raise exception 'migration % (%) needs migration % first, the schema is at %',
      p_version, p_name, p_version - 1, v_last;
  end if;

  insert into sv.migration (version, name, at) values (p_version, p_name, transaction_timestamp());
end
$$;

-- The schema's version, for a program that wants to know whether it fits.
create function sv.schema_version()
returns integer
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select max(m.version) from sv.migration m
$$;

grant execute on function sv.schema_version() to sv_gateway, sv_worker;

insert into sv.migration (version, name, at) values (0, 'roles', transaction_timestamp());

commit;
