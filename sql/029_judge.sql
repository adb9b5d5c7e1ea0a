-- What the role consume calls: the lease, scans into history, operations out of the chain.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(29, 'judge');


-- What the worker is doing: what is in sv.status_work, and what came with the
-- roles consume and notify.  sv_worker.
alter function sv.worker_status() rename to status_work;

revoke execute on function sv.status_work() from sv_worker;

create function sv.status_running()
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(r.role, r.n), '{}')
  from (
    select substr(a.application_name, 22) as role, count(*) as n
    from pg_stat_get_activity(null) a
    where a.datid = (select d.oid from pg_database d where d.datname = current_database())
      and a.application_name ~ '^serial-verify-worker (ingest|relay|housekeeping|api|push|consume|notify)$'
    group by a.application_name) r
$$;

create function sv.worker_status()
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select s.status || jsonb_build_object('attention', sv.status_attention(s.status))
  from (select sv.status_work() || jsonb_build_object('running', sv.status_running()) as status) s
$$;

grant execute on function sv.worker_status() to sv_worker;

commit;
