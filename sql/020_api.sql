-- What the worker's role `api' may execute: captures.
--
-- Functions for it take the location that asks first and decide themselves
-- what it may; nginx has authenticated it, the worker only passes it on.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(20, 'api');


-- Whose events a location may capture: those about its company's products, or
-- of anybody ('').  42501: none.
create function sv.capture_company(p_location integer)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_location  sv.location;
begin
  select * into v_location from sv.location l where l.location_id = p_location and not l.deleted;

  if v_location.role = 'operator' then
    return '';
  end if;

  if v_location.role is null or v_location.role not in ('manufacturer', 'parallel_distributor', 'wholesaler') then
    raise exception 'This location may not capture events.' using errcode = '42501';
  end if;

  if coalesce(v_location.company, '') = '' then
    raise exception 'This location belongs to no company, so there is no product it may capture events of.' using errcode = '42501';
  end if;

  return v_location.company;
end
$$;

-- A capture job.  sv_api, once the body is on the disk of p_host: a row without
-- a file does not exist, a file without a row is removed by its host (sv.capture_wanted).
-- 42501: this location may not.
create function sv.capture_create(
  p_location integer,
  p_capture uuid,
  p_host text,
  p_file text,
  p_digest text,
  p_bytes bigint,
  p_whole boolean,
  p_request_id text
)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into sv.capture (capture_id, location_id, company, host, file, digest, bytes, whole, state, request_id, created_at)
  values (p_capture, p_location, sv.capture_company(p_location), p_host, p_file, decode(p_digest, 'hex'), p_bytes, p_whole,
          'queued', p_request_id, clock_timestamp());
end
$$;

-- A job as EPCIS tells it; errors is null while there are none.
create function sv.capture_json(p_capture sv.capture)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'captureID', p_capture.capture_id,
    'createdAt', to_char(p_capture.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'finishedAt', to_char(p_capture.finished_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'running', p_capture.state <> 'done',
    'success', coalesce(p_capture.success, true),
    'captureErrorBehaviour', case when p_capture.whole then 'rollback' else 'proceed' end,
    'errors', p_capture.errors))
$$;

-- The job as JSON.  sv_api.  Those of the location's company; of an operator and an authority: any.
-- P0002: there is none, or it is somebody else's.
create function sv.capture_get(p_location integer, p_capture uuid)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_capture  sv.capture;
begin
  select c.* into v_capture
  from sv.capture c
  join sv.location l on l.location_id = p_location and not l.deleted
  where c.capture_id = p_capture
    and (l.role in ('operator', 'authority') or c.location_id = p_location or (c.company <> '' and c.company = l.company));

  if not found then
    raise exception 'There is no such capture job.' using errcode = 'P0002';
  end if;

  return sv.capture_json(v_capture);
end
$$;

-- The jobs of the location itself, the newest first, behind the job p_after
-- (null: from the first).  sv_api.
create function sv.capture_list(p_location integer, p_after uuid, p_limit integer)
returns setof jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select sv.capture_json(c)
  from sv.capture c
  where c.location_id = p_location
    and (p_after is null
         or (c.created_at, c.capture_id) < (
           select a.created_at, a.capture_id from sv.capture a where a.capture_id = p_after and a.location_id = p_location))
  order by c.created_at desc, c.capture_id desc
  limit p_limit
$$;

-- Is the file of this job still needed?  sv_api.
create function sv.capture_wanted(p_capture uuid)
returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select exists (select from sv.capture c where c.capture_id = p_capture and c.state <> 'done')
$$;

grant execute on function
  sv.capture_create(integer, uuid, text, text, text, bigint, boolean, text),
  sv.capture_get(integer, uuid),
  sv.capture_list(integer, uuid, integer),
  sv.capture_wanted(uuid)
to sv_api;

commit;
