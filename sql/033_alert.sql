-- One case for the role reviewer: findings, evidence, timeline, and what may become of it.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(33, 'alert');


-- What a person may make of a case, and what he has to say with it: `reason', a
-- row of sv.case_close_reason, or `note', a text.
create table sv.case_transition (
  status     sv.case_status  not null,
  to_status  sv.case_status  not null,
  needs      text            check (needs in ('reason', 'note')),
  primary key (status, to_status)
);

insert into sv.case_transition (status, to_status, needs)
values
  ('new', 'acknowledged', null),
  ('new', 'investigating', null),
  ('new', 'closed', 'reason'),
  ('acknowledged', 'investigating', null),
  ('acknowledged', 'closed', 'reason'),
  ('investigating', 'acknowledged', 'note'),
  ('investigating', 'closed', 'reason'),
  ('closed', 'reopened', 'note'),
  ('reopened', 'acknowledged', null),
  ('reopened', 'investigating', null),
  ('reopened', 'closed', 'reason');

-- What a case turned out to be.  confirmed: the suspicion was right.
create table sv.case_close_reason (
  reason     text      not null primary key,
  place      smallint  not null unique,                   -- in lists
  confirmed  boolean   not null,
  meaning    text      not null
);

insert into sv.case_close_reason (place, reason, confirmed, meaning)
values
  (1, 'user_technical', false, 'End user: scanner, keyboard or software'),
  (2, 'user_process', false, 'End user: a step done twice, too late or on the wrong pack'),
  (3, 'upload_missing', false, 'Manufacturer: data came late or in part, and are complete now'),
  (4, 'manufacturer_fixed', false, 'Manufacturer: wrong data, put right'),
  (5, 'manufacturer_not_fixed', false, 'Manufacturer: wrong data, not put right'),
  (6, 'parallel_distributor', false, 'Parallel distributor: its process or its data'),
  (7, 'system_error', false, 'A fault of the registry or of a connection'),
  (8, 'legal_trade', false, 'Parallel trade, travel or return: genuine packs, legally where they were seen'),
  (9, 'falsified', true, 'Falsified packs, confirmed'),
  (10, 'diverted', true, 'Genuine packs outside their market or supply chain, confirmed'),
  (11, 'stolen', true, 'Stolen packs or packs reused, confirmed'),
  (12, 'test', false, 'A test or a training'),
  (13, 'no_cause_found', false, 'Looked into; no cause was found');


-- What rules said, the first 200 of them.  Of consumers a finding tells how many
-- they were: who their tokens are is told by scans, as long as those are kept.  A case may
-- be of more products than those of a company: it is told of its own (a key s:GTIN/SERIAL each).
create function sv.alert_findings(p_case sv.case, p_company text)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with told as materialized (
    select o.*, row_number() over (order by o.withdrawn, o.severity desc, o.found_at, o.finding_id) as place
    from sv.case_finding o
    where o.gtin = p_case.gtin and o.case_id = p_case.case_id
      and (p_company = '' or not exists (select from unnest(o.keys) k where k ~ '^s:\d{14}/')
        or exists (select from unnest(o.keys) k where k ~ '^s:\d{14}/' and sv.reviews(p_company, substr(k, 3, 14)::bigint)))
  )
  select jsonb_build_object('findings_total', (select count(*) from told), 'findings', coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
      'id', f.finding_id, 'rule', f.rule, 'severity', f.severity, 'weight', f.weight, 'cause', f.cause, 'withdrawn', f.withdrawn, 'lot', f.lot,
      'serials', to_jsonb(o.serials[1:100]), 'serials_total', cardinality(o.serials),
      'sites', to_jsonb(a.sites[1:100]), 'sites_total', cardinality(a.sites), 'consumers', cardinality(f.actors) - cardinality(a.sites),
      'scans', cardinality(f.scans), 'first_at', sv.out_time(f.first_at), 'last_at', sv.out_time(f.last_at),
      'found_at', sv.out_time(f.found_at), 'changed_at', sv.out_time(f.changed_at), 'detail', nullif(f.detail, '{}')))
    order by f.place), '[]'))
  from told f
  cross join lateral (
    select case when p_company = '' or not exists (select from unnest(f.keys) k where k ~ '^s:\d{14}/') then f.serials
      else array (select distinct substr(k, 18) as serial from unnest(f.keys) k
                  where k ~ '^s:\d{14}/' and sv.reviews(p_company, substr(k, 3, 14)::bigint) order by serial) end as serials) o
  cross join lateral (select array (select x from unnest(f.actors) x where x ~ '^\d{13}$' order by x) as sites) a
  where f.place <= 200
$$;

-- Of scans by number (ascending), those of a time that are kept.  A number is not in
-- the partitions' key, but those of a day lie close together: each partition is
-- asked for the numbers that it may have, not for all.
create function sv.scans_kept(p_scans bigint[], p_since timestamptz, p_until timestamptz)
returns table (gtin bigint, at timestamptz, gateway text, boot bigint, seq bigint, n bigint, event_at timestamptz)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
as $$
declare
  v_part  text;
  v_low   bigint;
  v_high  bigint;
begin
  for v_part in
    select k.part from sv.keep_parts('scan') k where k.attached and k.since < p_until and k.until > p_since
    union all
    select 'scan_default'
  loop
    execute format('select min(s.n), max(s.n) from sv.%I s', v_part) into v_low, v_high;

    return query execute format(
      'select s.gtin, s.at, s.gateway, s.boot, s.seq, s.n, coalesce(s.occurred_at, s.at)
       from sv.%I s where s.n = any ($1) and s.at >= $2 and s.at < $3', v_part)
    using p_scans[width_bucket(v_low - 1, p_scans) + 1 : width_bucket(v_high, p_scans)], p_since, p_until;
  end loop;
end
$$;

-- The scans of a case that are still kept, by the time of the event, behind the
-- cursor, of products of this company.  On the first page: how many there are, and how many are gone.
create function sv.alert_evidence(p_case sv.case, p_company text, p_cursor text, p_limit integer)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
set jit = off
as $$
declare
  v_scans   bigint[];
  v_part    text[];
  v_answer  jsonb;
begin
  if p_cursor is not null then
    v_part := case when p_cursor ~ '^([2-7][0-9a-f]){1,60}$'
      then regexp_match(convert_from(decode(p_cursor, 'hex'), 'SQL_ASCII'), '^(-?\d{1,17}) (\d{1,18})$') end;

    if v_part is null then
      perform sv.bad_value('cursor', 'it is not one that was given out');
    end if;
  end if;

  select coalesce(array_agg(distinct x), '{}') into v_scans
  from sv.case_finding f, unnest(f.scans) x
  where f.gtin = p_case.gtin and f.case_id = p_case.case_id;

  -- an offline replay is recorded up to 14 days after its event
  with kept as materialized (
    select k.* from sv.scans_kept(v_scans, p_case.first_at - interval '1 day', p_case.last_at + interval '16 days') k
  ), products as materialized (
    select distinct k.gtin from kept k
  ), mine as materialized (
    select d.gtin from products d where sv.reviews(p_company, d.gtin)
  ), page as materialized (
    select f.*, row_number() over (order by f.event_at, f.n) as place
    from (
      select k.*
      from kept k
      where k.gtin in (select m.gtin from mine m)
        and (v_part is null or (k.event_at, k.n) > (timestamptz 'epoch' + v_part[1]::bigint * interval '1 microsecond', v_part[2]::bigint))
      order by k.event_at, k.n
      limit p_limit + 1) f
  ), rules as materialized (
    select x as n, jsonb_agg(distinct f.rule) as rules
    from sv.case_finding f, unnest(f.scans) x
    where f.gtin = p_case.gtin and f.case_id = p_case.case_id and x in (select p.n from page p)
    group by x
  )
  select jsonb_build_object('scans', coalesce(jsonb_agg(sv.alert_scan_json(p.gtin, p.at, p.gateway, p.boot, p.seq, r.rules) order by p.place)
        filter (where p.place <= p_limit), '[]'))
    || coalesce((
      select jsonb_build_object('next', encode(convert_to((extract(epoch from o.event_at) * 1000000)::bigint || ' ' || o.n, 'UTF8'), 'hex'))
      from page o
      where o.place = p_limit and exists (select from page m where m.place > p_limit)), '{}')
    || case when p_cursor is not null then '{}' else (
      select jsonb_build_object('total', cardinality(v_scans) - count(*) filter (where k.gtin not in (select m.gtin from mine m)),
        'gone', cardinality(v_scans) - count(*))
      from kept k) end
  into v_answer
  from page p
    join rules r on r.n = p.n;

  return v_answer;
end
$$;

-- One scan: who, where, when, what, and which rules it is evidence of.
create function sv.alert_scan_json(p_gtin bigint, p_at timestamptz, p_gateway text, p_boot bigint, p_seq bigint, p_rules jsonb)
returns jsonb
language sql stable
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'n', s.n, 'at', sv.out_time(coalesce(s.occurred_at, s.at)), 'recorded_at', sv.out_time(case when s.occurred_at is not null then s.at end),
    'gtin', lpad(s.gtin::text, 14, '0'), 'serial', s.serial, 'lot', s.lot, 'expiry', s.expiry,
    'operation', s.operation, 'of', s.of, 'reason', s.reason, 'alert', s.alert_id, 'entry_mode', s.entry_mode, 'hint', s.hint,
    'silent', case when s.silent then true end,
    'who', case when s.location_id is null then jsonb_build_object('role', 'consumer', 'session', s.session)
                else jsonb_build_object('role', l.role, 'gln', l.gln, 'name', l.name) end,
    'where', case when s.location_id is null then jsonb_build_object('country', s.country, 'lat', s.lat, 'lon', s.lon, 'accuracy_km', s.accuracy_km)
                  else jsonb_build_object('country', coalesce(l.country, s.country), 'lat', l.lat, 'lon', l.lon) end,
    'rules', p_rules))
  from sv.scan s
  left join sv.location l on l.location_id = s.location_id
  where s.gtin = p_gtin and s.at = p_at and s.gateway = p_gateway and s.boot = p_boot and s.seq = p_seq
$$;

-- What happened to the case, the newest first, before the event p_before (null: from the last).
create function sv.alert_timeline(p_case sv.case, p_before bigint, p_limit integer)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with page as materialized (
    select e.*, row_number() over (order by e.n desc) as place
    from sv.case_event e
    where e.gtin = p_case.gtin and e.case_id = p_case.case_id and (p_before is null or e.n < p_before)
    order by e.n desc
    limit p_limit + 1
  )
  select jsonb_build_object('events', coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
      'n', p.n, 'at', sv.out_time(p.at), 'kind', p.kind, 'by', p.actor, 'detail', nullif(p.detail, '{}'))) order by p.place)
      filter (where p.place <= p_limit), '[]'))
    || coalesce((select jsonb_build_object('next', o.n::text) from page o
                 where o.place = p_limit and exists (select from page m where m.place > p_limit)), '{}')
  from page p
$$;

-- What a person may make of it now.
create function sv.alert_next(p_case sv.case)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('status', t.to_status, 'needs', t.needs,
      'reasons', case t.needs when 'reason' then (
        select jsonb_agg(jsonb_build_object('reason', r.reason, 'confirmed', r.confirmed, 'meaning', r.meaning) order by r.place)
        from sv.case_close_reason r) end))
    order by t.to_status), '[]')
  from sv.case_transition t
  where t.status = p_case.status
$$;

-- A case with all that belongs to it; of evidence and timeline the first page.
create function sv.alert_whole(p_case sv.case, p_company text)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select sv.alert_json(p_case) || sv.alert_findings(p_case, p_company) || jsonb_build_object(
    'evidence', sv.alert_evidence(p_case, p_company, null, 50),
    'timeline', sv.alert_timeline(p_case, null, 50),
    'parties', (
      select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('party', p.party, 'status', p.status, 'note', nullif(p.note, ''),
        'at', sv.out_time(p.at), 'by', p.actor)) order by p.party), '[]')
      from sv.case_party p
      where p.gtin = p_case.gtin and p.case_id = p_case.case_id),
    'next', sv.alert_next(p_case))
$$;

-- The case with this number, or id.  sv_worker.  P0002
create function sv.case_show(p_number text)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_case  sv.case;
begin
  select c.* into v_case from sv.case c
  where c.number = case when p_number ~ '^\d{1,18}$' then p_number::bigint end
    or c.case_id = case when p_number ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then p_number::uuid end;

  if v_case.case_id is null then
    raise exception using errcode = 'P0002', message = format('There is no case %s.', p_number);
  end if;

  return sv.alert_whole(v_case, '');
end
$$;

-- One case.  sv_api.  P0002: there is none that this reviewer may see; 42501.
create function sv.alert(p_location integer, p_case_id uuid, out version integer, out body jsonb)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_company  text := (sv.reviewer(p_location)).company;
  v_case     sv.case := sv.reviewed_case(v_company, p_case_id, false);
begin
  version := v_case.version;
  body := sv.alert_whole(v_case, v_company);
end
$$;

-- A page of `evidence' or of the `timeline' of a case.  sv_api.  As sv.alert(); 22023: the cursor is wrong.
create function sv.alert_more(p_location integer, p_case_id uuid, p_what text, p_cursor text, p_limit integer)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_company  text := (sv.reviewer(p_location)).company;
  v_case     sv.case := sv.reviewed_case(v_company, p_case_id, false);
begin
  if p_what = 'evidence' then
    return sv.alert_evidence(v_case, v_company, p_cursor, p_limit);
  end if;

  if p_cursor !~ '^\d{1,18}$' then
    perform sv.bad_value('cursor', 'it is not one that was given out');
  end if;

  return sv.alert_timeline(v_case, p_cursor::bigint, p_limit);
end
$$;


grant execute on function
  sv.case_show(text)
to sv_worker;


grant execute on function
  sv.alert(integer, uuid),
  sv.alert_more(integer, uuid, text, text, integer)
to sv_api;

commit;
