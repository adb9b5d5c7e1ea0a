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
select sv.migration_begin(24, 'ingest');


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


-- Events in quarantine, the oldest first, behind `p_after'.  sv_worker.  Null: any
-- (of `p_state': those that wait).  22023: no such state.
create function sv.quarantine_list(p_state text, p_reason text, p_company text, p_load_id integer, p_after bigint, p_limit integer)
returns table (quarantine_id bigint, since text, state text, load_id integer, file text, feed text, event integer, line bigint,
  packs integer, reason text, element text, value text, company text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  if coalesce(p_state, 'waiting') not in ('waiting', 'released', 'discarded') then
    raise exception 'state: expected waiting, released or discarded' using errcode = '22023', column = 'state';
  end if;

  return query
  select q.quarantine_id, to_char(q.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), q.state, q.load_id, l.file, l.feed,
    q.event, q.line, q.packs, q.reason, q.element, q.value, q.company
  from sv.quarantine q
    join sv.load l on l.load_id = q.load_id
  where q.state = coalesce(p_state, 'waiting') and (p_reason is null or q.reason = p_reason)
    and (p_company is null or q.company = p_company) and (p_load_id is null or q.load_id = p_load_id)
    and q.quarantine_id > coalesce(p_after, 0)
  order by q.quarantine_id
  limit coalesce(p_limit, 100);
end
$$;


-- Everything of one.  sv_worker.  P0002: there is none of this number.
create function sv.quarantine_show(p_id bigint)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_shown  jsonb;
begin
  select jsonb_strip_nulls(jsonb_build_object('id', q.quarantine_id, 'state', q.state, 'at', q.at, 'load_id', q.load_id, 'file', l.file,
      'feed', l.feed, 'event', q.event, 'line', q.line, 'packs', q.packs, 'reason', q.reason, 'element', q.element, 'value', q.value,
      'company', q.company, 'done_at', q.done_at, 'done_by', q.done_by, 'note', q.note, 'release_id', q.release_id))
    || jsonb_build_object('content', q.content::jsonb)
  into v_shown
  from sv.quarantine q
    join sv.load l on l.load_id = q.load_id
  where q.quarantine_id = p_id;

  if not found then
    raise exception 'there is no event % in quarantine', p_id using errcode = 'P0002';
  end if;

  return v_shown;
end
$$;


-- The row, if it waits: the caller's transaction holds it until it is decided.
-- P0002: there is none; 55000: it is decided already, or somebody else is at it.
create function sv.quarantine_hold(p_id bigint)
returns sv.quarantine
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_row  sv.quarantine;
begin
  begin
    select q.* into v_row from sv.quarantine q where q.quarantine_id = p_id for update nowait;
  exception
    when lock_not_available then
      raise exception 'somebody else is deciding on event %', p_id using errcode = '55000';
  end;

  if v_row.quarantine_id is null then
    raise exception 'there is no event % in quarantine', p_id using errcode = 'P0002';
  end if;

  if v_row.state <> 'waiting' then
    raise exception 'event % was % by % at %', p_id, v_row.state, v_row.done_by, v_row.done_at using errcode = '55000';
  end if;

  return v_row;
end
$$;


-- A release begins.  sv_worker; in a transaction that stays open until
-- sv.quarantine_release_done.  `file' is the name that its load gets; `load_id' is
-- that load, when a release that was interrupted has made it.
create function sv.quarantine_release_begin(p_id bigint, out file text, out company text, out content text, out load_id integer)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_row  sv.quarantine := sv.quarantine_hold(p_id);
begin
  quarantine_release_begin.file := 'quarantine-' || p_id;
  quarantine_release_begin.content := v_row.content;
  quarantine_release_begin.company := coalesce(v_row.company, '');

  select max(l.load_id) into quarantine_release_begin.load_id
  from sv.load l
  where l.started_at >= v_row.at and l.feed = 'quarantine' and l.file = 'quarantine-' || p_id and l.state = 'loaded';
end
$$;


-- It is loaded.  sv_worker; in the transaction of sv.quarantine_release_begin.  Audited.
create function sv.quarantine_release_done(p_id bigint, p_load_id integer, p_reason text, p_changes jsonb, p_by text)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_row  sv.quarantine := sv.quarantine_hold(p_id);
begin
  update sv.quarantine q
  set state = 'released', done_at = clock_timestamp(), done_by = p_by, note = p_reason, release_id = p_load_id
  where q.quarantine_id = p_id;

  perform sv.audit_change('correction', 'quarantine_release', 0, null, 'ok', p_by, jsonb_build_object('quarantine_id', p_id,
    'load_id', v_row.load_id, 'event', v_row.event, 'held_for', v_row.reason, 'release_id', p_load_id, 'reason', p_reason,
    'changes', p_changes));
end
$$;


-- It is not to be loaded.  sv_worker.  Audited, with the digest of what is left out.
-- Errors as of sv.quarantine_hold; 22023: no reason.
create function sv.quarantine_discard(p_id bigint, p_reason text, p_by text)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_row  sv.quarantine := sv.quarantine_hold(p_id);
begin
  if coalesce(btrim(p_reason), '') = '' then
    raise exception 'reason: say why' using errcode = '22023', column = 'reason';
  end if;

  update sv.quarantine q
  set state = 'discarded', done_at = clock_timestamp(), done_by = p_by, note = p_reason
  where q.quarantine_id = p_id;

  perform sv.audit_change('correction', 'quarantine_discard', 0, null, 'ok', p_by, jsonb_build_object('quarantine_id', p_id,
    'load_id', v_row.load_id, 'event', v_row.event, 'held_for', v_row.reason, 'reason', p_reason,
    'content_sha256', encode(sha256(convert_to(v_row.content, 'UTF8')), 'hex')));
end
$$;


grant execute on function
  sv.quarantine_list(text, text, text, integer, bigint, integer),
  sv.quarantine_show(bigint),
  sv.quarantine_release_begin(bigint),
  sv.quarantine_release_done(bigint, integer, text, jsonb, text),
  sv.quarantine_discard(bigint, text, text),
  sv.load_durable(),
  sv.capture_take(text, integer),
  sv.capture_begin(uuid),
  sv.capture_later(uuid),
  sv.capture_done(uuid, integer, boolean, jsonb)
to sv_worker;

commit;
