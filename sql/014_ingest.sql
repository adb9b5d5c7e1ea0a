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


-- Captures whose files this host has and that are not done, the oldest first.
-- sv_worker.  Who has the lock of its file carries one out; one that failed for
-- a reason of its host waits half a minute.
create function sv.capture_take(p_host text, p_limit integer)
returns table (capture_id uuid, file text, company text, whole boolean)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select c.capture_id, c.file, c.company, c.whole
  from sv.capture c
  where c.host = p_host and c.state <> 'done'
    and (c.state = 'running' or c.started_at is null or c.started_at < transaction_timestamp() - interval '30 seconds')
  order by c.created_at, c.capture_id
  limit p_limit
$$;


-- The caller has the lock of its file.  sv_worker.  False: it is done, or there is none.
create function sv.capture_begin(p_capture uuid)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update sv.capture c set state = 'running', started_at = transaction_timestamp() where c.capture_id = p_capture and c.state <> 'done';

  return found;
end
$$;


-- It could not be carried out for a reason of its host.  sv_worker.
create function sv.capture_later(p_capture uuid)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update sv.capture c set state = 'queued', started_at = transaction_timestamp() where c.capture_id = p_capture and c.state = 'running'
$$;


-- Its outcome; when this returns it is on the disk, and with it what was loaded.
-- sv_worker.  `p_load_id' null: it never became a load.
create function sv.capture_done(p_capture uuid, p_load_id integer, p_success boolean, p_errors jsonb)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config('synchronous_commit', 'on', true);

  update sv.capture c
  set state = 'done', success = p_success, load_id = p_load_id, errors = p_errors, finished_at = transaction_timestamp()
  where c.capture_id = p_capture and c.state <> 'done';

  update sv.load l set filed = true where l.load_id = p_load_id;
end
$$;


grant execute on function
  sv.load_durable(),
  sv.capture_take(text, integer),
  sv.capture_begin(uuid),
  sv.capture_later(uuid),
  sv.capture_done(uuid, integer, boolean, jsonb)
to sv_worker;

commit;
