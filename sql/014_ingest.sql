-- What the role ingest and the command quarantine call.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(14, 'ingest');

-- For a session that commits without waiting for the disk: when this returns,
-- everything that it committed before is there.
create function sv.load_durable()
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config('synchronous_commit', 'on', true);
  perform pg_logical_emit_message(true, 'sv', '');
end
$$;

grant execute on function sv.load_durable() to sv_worker;

commit;
