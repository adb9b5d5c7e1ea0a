-- One scan of a container: what is in it, and operations on all of it.  And whose
-- events a location may export.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(25, 'container');


-- Is a container the company's and nobody else's?  By its number, by who
-- commissioned it, or because only packs of it were ever in it.
create function sv.container_own(p_gtin bigint, p_serial text, p_company text)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return p_company <> '' and (
    p_gtin <> 0 and sv.gtin_refused(p_gtin, p_company, false) is null
    or exists (
      select
      from sv.container c
        join sv.load l on l.load_id = c.load_id
      where c.gtin = p_gtin and c.serial = p_serial collate "C" and l.company = p_company)
    or sv.container_is_of(p_gtin, p_serial, p_company));
end
$$;


-- What is in a container now, at every level, in the order of the key, after
-- (p_after_gtin, p_after_serial), at most p_limit rows; with what a verify of each
-- pack would say.  `known': the item is a pack that was commissioned.  A
-- manufacturer sees its company's packs, and the containers they are in or that
-- are its own.
-- 42501: not a location, or one that was removed.
create function sv.api_contents(
  p_location      integer,
  p_gtin          bigint,
  p_serial        text,
  p_after_gtin    bigint,
  p_after_serial  text,
  p_limit         integer
)
returns table (
  gtin           bigint,
  serial         text,
  parent_gtin    bigint,
  parent_serial  text,
  depth          integer,
  container      boolean,
  known          boolean,
  state          text,
  lot            text,
  expiry         date,
  reason         text,
  reference      text
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now    timestamptz := transaction_timestamp();
  v_actor  sv.location;
begin
  select l.* into v_actor from sv.location l where l.location_id = p_location and not l.deleted;

  if not found then
    raise exception 'location: % is not known', p_location using errcode = '42501';
  end if;

  return query
  with recursive contents as materialized (
    select c.* from sv.contents(p_gtin, p_serial, v_now) c
  ), own as materialized (
    select d.gtin
    from (select distinct c.gtin from contents c where c.gtin <> 0) d
    where v_actor.role = 'manufacturer' and v_actor.company <> '' and sv.gtin_refused(d.gtin, v_actor.company, false) is null
  ), seen (gtin, serial) as (
    select c.gtin, c.serial
    from contents c
    where v_actor.role = 'manufacturer'
      and (c.gtin in (select o.gtin from own o)
        or exists (
          select
          from sv.container t
            join sv.load l on l.load_id = t.load_id
          where t.gtin = c.gtin and t.serial = c.serial collate "C" and l.company = v_actor.company and l.company <> ''))
    union
    select c.gtin, c.serial
    from seen s
      join contents x on x.gtin = s.gtin and x.serial = s.serial
      join contents c on c.gtin = x.parent_gtin and c.serial = x.parent_serial
  ), page as materialized (
    select c.gtin, c.serial, c.parent_gtin, c.parent_serial, c.depth,
      exists (select from contents x where x.parent_gtin = c.gtin and x.parent_serial = c.serial)
        or exists (select from sv.container t where t.gtin = c.gtin and t.serial = c.serial) as container
    from contents c
    where (p_after_gtin is null or (c.gtin, c.serial collate "C") > (p_after_gtin, p_after_serial collate "C"))
      and (v_actor.role <> 'manufacturer' or (c.gtin, c.serial) in (select s.gtin, s.serial from seen s))
    order by c.gtin, c.serial collate "C"
    limit p_limit
  )
  select g.gtin, g.serial, g.parent_gtin, g.parent_serial, g.depth, g.container, v.known, v.state, v.lot, k.expiry,
    case when v.known or not g.container then
      sv.judge(r.gtin is not null, v.known, v.known, v.lot, k.expiry, v.lot, k.expiry, r.withdrawn_at is not null,
        b.recalled_at is not null or v.recalled_ms is not null, (v_now at time zone 'UTC')::date, v.state,
        v.location_id is not distinct from p_location and v.location_id is not null)
    end,
    coalesce(v.recall_text, sv.reason_text(b.reason, b.reference), sv.reason_text(r.reason, r.reference))
  from page g
    cross join lateral sv.verify_read(g.gtin, g.serial, null) v
    left join sv.pack k on v.known and k.gtin = g.gtin and k.serial = g.serial
    left join sv.product r on r.gtin = g.gtin and not r.deleted
    left join sv.lot b on b.gtin = g.gtin and b.lot = v.lot and b.recalled_at is not null
  order by g.gtin, g.serial collate "C";
end
$$;


-- How many packs and containers are in it, and how many of the packs a verify
-- would answer with which reason.
create function sv.api_contents_summary(p_location integer, p_gtin bigint, p_serial text)
returns table (container boolean, reason text, n bigint)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select c.reason is null, c.reason, count(*)
  from sv.api_contents(p_location, p_gtin, p_serial, null, null, null) c
  group by 1, 2
$$;


-- Is it a container, or was it ever one?  For a manufacturer only when it is its
-- own, or holds something of it.
create function sv.api_container_known(p_location integer, p_gtin bigint, p_serial text)
returns boolean
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_actor  sv.location;
begin
  select l.* into v_actor from sv.location l where l.location_id = p_location and not l.deleted;

  if not exists (select from sv.container t where t.gtin = p_gtin and t.serial = p_serial)
    and not exists (select from sv.event e where e.parent_gtin = p_gtin and e.parent_serial = p_serial)
  then
    return false;
  end if;

  return v_actor.role is distinct from 'manufacturer'
    or sv.container_own(p_gtin, p_serial, coalesce(v_actor.company, ''))
    or exists (select from sv.api_contents(p_location, p_gtin, p_serial, null, null, 1));
end
$$;


-- What it is in now, the nearest first.
create function sv.api_parents(p_gtin bigint, p_serial text)
returns table (gtin bigint, serial text, depth integer)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select p.gtin, p.serial, p.depth from sv.parents(p_gtin, p_serial, transaction_timestamp()) p order by p.depth
$$;


-- Some packs of a container, in the order of the key, one transaction: each is
-- operated on as if it had been scanned (sv.operate: rules, permission, audit and
-- outbox are its own), with the lot and the expiry it was commissioned with.
-- The key of each pack follows from the caller's, so that a repeated call finds
-- what was done and does the rest.  Arrays are of one length.
-- Lock order is the key's, as everywhere.
create function sv.api_operate(
  p_location    integer,
  p_operation   text,
  p_of          text,
  p_key         text,
  p_gtin        bigint[],
  p_serial      text[],
  p_alert_id    text[],
  p_request_id  text
)
returns table (
  gtin      bigint,
  serial    text,
  reason    text,
  changed   boolean,
  state     text,
  code      text,
  alert_id  text,
  replayed  boolean
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
  v_item  record;
begin
  for v_item in
    select t.gtin, t.serial, t.alert_id, k.lot, k.expiry
    from unnest(p_gtin, p_serial, p_alert_id) as t (gtin, serial, alert_id)
      left join sv.pack k on k.gtin = t.gtin and k.serial = t.serial
    order by t.gtin, t.serial collate "C"
  loop
    return query
    select v_item.gtin, v_item.serial, o.reason, o.changed, o.state, o.code, o.alert_id, o.replayed
    from sv.operate(v_item.gtin, v_item.serial, v_item.lot, v_item.expiry, p_operation, p_of, p_location,
      encode(sha256(convert_to(p_key || E'\n' || v_item.serial, 'UTF8')), 'hex'),
      'container ' || p_operation || ' ' || coalesce(p_of, ''), 'scanned', null, v_item.alert_id, gen_random_uuid(), p_request_id) o;
  end loop;
end
$$;


-- The capture job of an event that a location tells of a container (shipped,
-- received), once it is on the disk of p_host; nothing when the job is there.  It
-- names the container only and changes no pack, so whose packs are in it does not
-- matter, but to a manufacturer: 42501 when they are not all its own.
create function sv.api_move(
  p_location    integer,
  p_gtin        bigint,
  p_serial      text,
  p_capture     uuid,
  p_host        text,
  p_file        text,
  p_digest      text,
  p_bytes       bigint,
  p_request_id  text
)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_actor  sv.location;
begin
  select l.* into v_actor from sv.location l where l.location_id = p_location and not l.deleted;

  if not found then
    raise exception 'location: % is not known', p_location using errcode = '42501';
  end if;

  if v_actor.role = 'manufacturer' and not sv.container_own(p_gtin, p_serial, coalesce(v_actor.company, '')) then
    raise exception 'epc: not everything in this container is your company''s' using errcode = '42501';
  end if;

  insert into sv.capture (capture_id, location_id, company, host, file, digest, bytes, whole, state, request_id, created_at)
  values (p_capture, p_location, '', p_host, p_file, decode(p_digest, 'hex'), p_bytes, true, 'queued', p_request_id, clock_timestamp())
  on conflict (capture_id) do nothing;
end
$$;


-- Whose events a location may export: a manufacturer its company's, the
-- authority and an operator all (null).  42501: nobody's.
create function sv.api_export_company(p_location integer)
returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_location  sv.location;
begin
  select * into v_location from sv.location l where l.location_id = p_location and not l.deleted;

  if v_location.role in ('authority', 'operator') then
    return null;
  end if;

  if v_location.role is distinct from 'manufacturer' or coalesce(v_location.company, '') = '' then
    raise exception 'role: a manufacturer exports the events of its own products, the authority and an operator all' using errcode = '42501';
  end if;

  return v_location.company;
end
$$;


-- sv.out_events() for the role `api': of whom, this decides.
do $$
begin
  execute format(
    'create function sv.api_out_events(p_location integer, p_n bigint, p_part integer, p_to bigint, p_gtin bigint, p_from timestamptz,
       p_until timestamptz)
     returns %s
     language sql stable security definer
     set search_path = pg_catalog, pg_temp
     as $f$
       select * from sv.out_events(p_n, p_part, p_to, sv.api_export_company(p_location), p_gtin, p_from, p_until)
     $f$',
    pg_get_function_result('sv.out_events(bigint, integer, bigint, text, bigint, timestamptz, timestamptz)'::regprocedure));
end
$$;


grant execute on function
  sv.out_range(timestamptz, timestamptz),
  sv.out_window(bigint, integer, bigint),
  sv.api_out_events(integer, bigint, integer, bigint, bigint, timestamptz, timestamptz),
  sv.api_export_company(integer),
  sv.api_move(integer, bigint, text, uuid, text, text, text, bigint, text),
  sv.api_contents(integer, bigint, text, bigint, text, integer),
  sv.api_contents_summary(integer, bigint, text),
  sv.api_container_known(integer, bigint, text),
  sv.api_parents(bigint, text),
  sv.api_operate(integer, text, text, text, bigint[], text[], text[], text)
to sv_api;

commit;
