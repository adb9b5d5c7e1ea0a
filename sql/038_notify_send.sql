-- Notifications on their way: what is to be sent, and what became of it.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(38, 'notify_send');


-- What is to be sent now: of each case the first that was not taken, unless it
-- has to wait or is under way (p_busy: seq).  sv_worker.
create function sv.notify_next(p_target text, p_busy bigint[], p_limit integer)
returns table (seq bigint, id text, body text, attempts integer)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select x.seq, x.id, x.body, x.attempts
  from sv.notification x
  where x.target = p_target and x.sent_at is null and x.next_at <= clock_timestamp() and x.seq <> all (p_busy)
    and exists (select from sv.notify_target t where t.target = p_target and t.holder = pg_backend_pid())
    and not exists (
      select
      from sv.notification y
      where y.gtin = x.gtin and y.case_id = x.case_id and y.target = x.target and y.seq < x.seq and y.sent_at is null)
  order by x.seq
  limit p_limit
$$;


-- Was taken.  Also of who lost the lease meanwhile: it is true all the same.  sv_worker.
create function sv.notify_done(p_target text, p_seq bigint)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update sv.notification x
  set sent_at = clock_timestamp(), refused = false, error = null
  where x.target = p_target and x.seq = p_seq and x.sent_at is null;

  if found then
    update sv.notify_target t set sent = t.sent + 1, sent_at = clock_timestamp() where t.target = p_target;
  end if;
end
$$;


create function sv.notify_failed(p_target text, p_seq bigint, p_error text, p_refused boolean, p_wait_ms bigint)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update sv.notification
  set attempts = attempts + 1, error = p_error, error_at = clock_timestamp(), refused = p_refused,
    next_at = clock_timestamp() + make_interval(secs => p_wait_ms / 1000.0)
  where target = p_target and seq = p_seq and sent_at is null
$$;


-- The lines of a log that are still to be written, in order.  sv_worker.
create function sv.notify_lines(p_target text, p_limit integer)
returns table (seq bigint, id text, body text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select x.seq, x.id, x.body
  from sv.notification x
  where x.target = p_target and x.sent_at is null
    and exists (select from sv.notify_target t where t.target = p_target and t.holder = pg_backend_pid())
  order by x.seq
  limit p_limit
$$;

-- These are in the log, which is known up to p_pos of the file p_ino now: one
-- transaction, so what is behind p_pos is what was written and not noted.
-- False: another process holds the lease, nothing is noted.  sv_worker.
create function sv.notify_written(p_target text, p_ids text[], p_ino bigint, p_pos bigint)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_n  bigint;
begin
  perform from sv.notify_target t where t.target = p_target and t.holder = pg_backend_pid() for update;

  if not found then
    return false;
  end if;

  update sv.notification x
  set sent_at = clock_timestamp(), error = null
  where x.target = p_target and x.sent_at is null and x.id = any (p_ids);
  get diagnostics v_n = row_count;

  update sv.notify_target t
  set log_ino = p_ino, log_pos = p_pos, sent = t.sent + v_n, sent_at = case when v_n > 0 then clock_timestamp() else t.sent_at end
  where t.target = p_target;

  return true;
end
$$;


grant execute on function
  sv.notify_next(text, bigint[], integer),
  sv.notify_done(text, bigint),
  sv.notify_failed(text, bigint, text, boolean, bigint),
  sv.notify_lines(text, integer),
  sv.notify_written(text, text[], bigint, bigint)
to sv_worker;

commit;
