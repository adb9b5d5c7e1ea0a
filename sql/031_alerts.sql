-- What the endpoints /alerts call: cases for the role reviewer.
--
-- A reviewer whose location has a company sees and changes the cases of that
-- company's products only; one without a company all, those of no single product (gtin 0), too.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(31, 'alerts');


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

-- Changes by people: the same change of the same version by the same location again is a repeat.
create table sv.case_request (
  gtin         bigint       not null,
  case_id      uuid         not null,
  version      integer      not null,                     -- that it was made of
  location_id  integer      not null,
  digest       bytea        not null,                     -- of what was asked for
  at           timestamptz  not null,
  primary key (gtin, case_id, version)
);

create index case_request_digest on sv.case_request (digest);

create index case_id on sv.case (case_id);
create index case_severity on sv.case (severity, number);


-- The reviewer who asks.  42501: it is none.
create function sv.reviewer(p_location integer, out who text, out company text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  select l.gln || ' ' || l.name, coalesce(l.company, '')
  into who, company
  from sv.location l
  where l.location_id = p_location and not l.deleted and l.role = 'reviewer';

  if who is null then
    raise exception using errcode = '42501', column = 'role', message = 'role: only a reviewer sees and changes cases';
  end if;
end
$$;

-- Are cases of this product those of a reviewer of this company ('': of none)?
create function sv.reviews(p_company text, p_gtin bigint)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select p_company = '' or exists (select from sv.product p where p.gtin = p_gtin and p.company = p_company)
$$;

-- A case that this company may see; its row is held where the caller changes it.  P0002: there is none.
create function sv.reviewed_case(p_company text, p_case_id uuid, p_hold boolean)
returns sv.case
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_case  sv.case;
begin
  if p_hold then
    select c.* into v_case from sv.case c where c.case_id = p_case_id for update;
  else
    select c.* into v_case from sv.case c where c.case_id = p_case_id;
  end if;

  if v_case.case_id is null or not sv.reviews(p_company, v_case.gtin) then
    raise exception using errcode = 'P0002', message = format('There is no case %s.', p_case_id);
  end if;

  return v_case;
end
$$;


-- What a list is asked for; null: anything.
create type sv.alert_filter as (
  status    sv.case_status[],
  asks      boolean,
  proposed  boolean,
  muted     boolean,
  severity  sv.severity,
  rule      text,
  gtin      bigint,
  lot       text,
  serial    text,
  country   text,
  actor     text,
  since     timestamptz,
  until     timestamptz,
  cause     text,
  now       timestamptz
);

-- An RFC 3339 time with its offset.  22023: it is none.
create function sv.alert_time(p_element text, p_text text)
returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_text !~ '^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$' then
    perform sv.bad_value(p_element, 'a time such as 2026-11-20T10:00:00Z is needed');
  end if;

  return p_text::timestamptz;
exception
  when datetime_field_overflow or invalid_datetime_format or invalid_time_zone_displacement_value then
    perform sv.bad_value(p_element, 'there is no such time');
end
$$;

-- The values of a filter as texts, by name -> the filter.  22023: one is wrong.
create function sv.alert_filter(p_filter jsonb)
returns sv.alert_filter
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_name   text;
  v_value  text;
  v_type   text;
  v_f      sv.alert_filter;
begin
  v_f.now := statement_timestamp();

  for v_name, v_value, v_type in select e.key, e.value #>> '{}', jsonb_typeof(e.value) from jsonb_each(p_filter) e loop
    if v_type <> 'string' then
      perform sv.bad_value(v_name, 'a text is needed');

    elsif v_name in ('asks', 'proposed', 'muted') and v_value not in ('yes', 'no') then
      perform sv.bad_value(v_name, 'yes or no is needed');

    elsif v_name not in ('status', 'since', 'until') and length(v_value) not between 1 and 100 then
      perform sv.bad_value(v_name, '1 to 100 characters are needed');
    end if;

    case v_name
      when 'status' then
        if v_value = '' or not string_to_array(v_value, ',') <@ enum_range(null::sv.case_status)::text[] then
          perform sv.bad_value(v_name, 'one or several of ' || array_to_string(enum_range(null::sv.case_status), ',') || ' are needed');
        end if;
        v_f.status := string_to_array(v_value, ',')::sv.case_status[];
      when 'asks' then v_f.asks := v_value = 'yes';
      when 'proposed' then v_f.proposed := v_value = 'yes';
      when 'muted' then v_f.muted := v_value = 'yes';
      when 'severity' then
        if v_value <> all (enum_range(null::sv.severity)::text[]) then
          perform sv.bad_value(v_name, 'one of ' || array_to_string(enum_range(null::sv.severity), ', ') || ' is needed');
        end if;
        v_f.severity := v_value::sv.severity;
      when 'gtin' then
        if v_value !~ '^(\d{8}|\d{12,14})$' or not sv.gs1_check_digit_ok(v_value) then
          perform sv.bad_value(v_name, 'a GTIN of 8, 12, 13 or 14 digits with its check digit is needed');
        end if;
        v_f.gtin := v_value::bigint;
      when 'country' then
        if v_value !~ '^[A-Z]{2}$' then
          perform sv.bad_value(v_name, 'two capital letters are needed, such as IT');
        end if;
        v_f.country := v_value;
      when 'actor' then
        if v_value !~ '^\d{13}$' then
          perform sv.bad_value(v_name, 'a GLN of 13 digits is needed');
        end if;
        v_f.actor := v_value;
      when 'since' then v_f.since := sv.alert_time(v_name, v_value);
      when 'until' then v_f.until := sv.alert_time(v_name, v_value);
      when 'rule' then v_f.rule := v_value;
      when 'lot' then v_f.lot := v_value;
      when 'serial' then v_f.serial := v_value;
      when 'cause' then v_f.cause := v_value;
      else perform sv.bad_value(v_name, 'this is nothing that cases are selected by');
    end case;
  end loop;

  if v_f.serial is not null and v_f.gtin is null then
    perform sv.bad_value('serial', 'say gtin, too: a serial is one of a product');
  end if;

  return v_f;
end
$$;

-- Conditions on sv.case c for what the filter ($1) asks; $2 is the company.
create function sv.alert_where(p_filter sv.alert_filter, p_company text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select string_agg(w.condition, ' and ')
  from (values
    (p_filter.status is null, 'c.status <> ''merged'''),
    (p_filter.status is not null, 'c.status = any (($1).status)'),
    (p_filter.asks is not null, case when not p_filter.asks then 'not ' else '' end
      || 'exists (select from sv.case_finding f where f.gtin = c.gtin and f.case_id = c.case_id and f.weight = ''asks'' and not f.withdrawn)'),
    (p_filter.proposed is not null, 'c.proposed = ($1).proposed'),
    (p_filter.muted is not null, '(coalesce(c.muted_until, ''-infinity'') > ($1).now) = ($1).muted'),
    (p_filter.severity is not null, 'c.severity >= ($1).severity'),
    (p_filter.gtin is not null, 'c.gtin = ($1).gtin'),
    (p_filter.country is not null, 'c.countries @> array[($1).country]'),
    (p_filter.since is not null, 'c.changed_at >= ($1).since'),
    (p_filter.until is not null, 'c.changed_at < ($1).until'),
    (p_filter.cause is not null, 'position(lower(($1).cause) in lower(c.cause)) > 0'),
    (p_filter.rule is not null, 'exists (select from sv.case_finding f where f.gtin = c.gtin and f.case_id = c.case_id and f.rule = ($1).rule)'),
    (p_filter.lot is not null, '(c.lot = ($1).lot or exists (select from sv.case_finding f where f.gtin = c.gtin and f.case_id = c.case_id and f.lot = ($1).lot))'),
    (p_filter.serial is not null, 'c.case_id = any (array (select f.case_id from sv.case_finding f where f.gtin = ($1).gtin and ($1).serial = any (f.serials)))'),
    (p_filter.actor is not null, 'c.case_id = any (array (select f.case_id from sv.case_finding f where ($1).actor = any (f.actors)))'),
    (p_company <> '', 'exists (select from sv.product p where p.gtin = c.gtin and p.company = $2)')
  ) as w (wanted, condition)
  where w.wanted
$$;

-- Does one of its findings ask for a person?
create function sv.case_asks(p_gtin bigint, p_case_id uuid)
returns boolean
language sql stable
as $$
  select exists (
    select from sv.case_finding f
    where f.gtin = p_gtin and f.case_id = p_case_id and f.weight = 'asks' and not f.withdrawn)
$$;

create function sv.alert_json(p_case sv.case)
returns jsonb
language sql stable
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'id', p_case.case_id,
    'number', p_case.number,
    'version', p_case.version,
    'gtin', case when p_case.gtin <> 0 then lpad(p_case.gtin::text, 14, '0') end,
    'product', (select p.name from sv.product p where p.gtin = p_case.gtin),
    'lot', p_case.lot,
    'rule', p_case.rule,
    'severity', p_case.severity,
    'status', p_case.status,
    'asks', sv.case_asks(p_case.gtin, p_case.case_id),
    'proposed', p_case.proposed,
    'cause', p_case.cause,
    'countries', to_jsonb(p_case.countries),
    'serials', p_case.serials,
    'actors', p_case.actors,
    'scans', p_case.scans,
    'first_at', sv.out_time(p_case.first_at),
    'last_at', sv.out_time(p_case.last_at),
    'opened_at', sv.out_time(p_case.opened_at),
    'changed_at', sv.out_time(p_case.changed_at),
    'muted_until', sv.out_time(p_case.muted_until),
    'close_reason', p_case.close_reason,
    'close_note', p_case.close_note,
    'merged_into', p_case.merged_into))
$$;

-- Where the next page begins: hex of "SORT VALUE NUMBER".
create function sv.alert_cursor(p_sort text, p_case sv.case)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select encode(convert_to(concat_ws(' ', p_sort,
    case p_sort when 'severity' then p_case.severity::text else (extract(epoch from p_case.changed_at) * 1000000)::bigint::text end,
    p_case.number), 'UTF8'), 'hex')
$$;

-- The condition on sv.case c that stands for a cursor: c is behind it.  22023: it is none that was given out.
create function sv.alert_behind(p_sort text, p_cursor text)
returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_text  text;
  v_part  text[];
begin
  if p_cursor is null then
    return 'true';
  end if;

  if p_cursor ~ '^([2-7][0-9a-f]){1,60}$' then
    v_text := convert_from(decode(p_cursor, 'hex'), 'SQL_ASCII');
  end if;

  if p_sort = 'severity' then
    v_part := regexp_match(v_text, '^severity (info|low|medium|high|critical) (\d{1,18})$');
  else
    v_part := regexp_match(v_text, '^changed (\d{1,17}) (\d{1,18})$');
  end if;

  if v_part is null then
    perform sv.bad_value('cursor', 'it is not one that was given out for this order');
  end if;

  return case p_sort
    when 'severity' then format('(c.severity, c.number) < (%L::sv.severity, %L::bigint)', v_part[1], v_part[2])
    else format('(c.changed_at, c.number) < (timestamptz ''epoch'' + %L::bigint * interval ''1 microsecond'', %L::bigint)', v_part[1], v_part[2])
  end;
end
$$;

-- Cases of a company ('': all) that the filter selects, those of the highest
-- severity or the last change first, a page; `event' is the number up to which the list knows all that was told.
create function sv.alert_page(p_company text, p_filter jsonb, p_sort text, p_cursor text, p_limit integer, p_counts boolean)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_filter   sv.alert_filter := sv.alert_filter(p_filter);
  v_where    text := sv.alert_where(v_filter, p_company);
  v_order    text;
  v_answer   jsonb;
  v_counts   jsonb;
begin
  if p_sort not in ('severity', 'changed') then
    perform sv.bad_value('sort', 'severity or changed is needed');
  end if;

  v_order := case p_sort when 'severity' then 'c.severity desc, c.number desc' else 'c.changed_at desc, c.number desc' end;

  -- one statement: the cases and the number are of the same moment
  execute format(
    'with page as materialized (
       select c as found, row_number() over (order by %2$s) as place
       from sv.case c where %1$s and %3$s order by %2$s limit $3 + 1
     )
     select jsonb_build_object(
       ''alerts'', coalesce((select jsonb_agg(sv.alert_json(p.found) order by p.place) from page p where p.place <= $3), ''[]''),
       ''event'', (select k.n from sv.case_clock k))
       || coalesce((select jsonb_build_object(''next'', sv.alert_cursor($4, p.found)) from page p
                    where p.place = $3 and exists (select from page o where o.place > $3)), ''{}'')',
    v_where, v_order, sv.alert_behind(p_sort, p_cursor))
  into v_answer using v_filter, p_company, p_limit, p_sort;

  if p_counts then
    execute format(
      'with found as (select c.status, c.severity, c.proposed, count(*) as n from sv.case c where %s group by 1, 2, 3)
       select jsonb_build_object(''total'', coalesce(sum(f.n), 0), ''proposed'', coalesce(sum(f.n) filter (where f.proposed), 0),
         ''status'', coalesce((select jsonb_object_agg(s.status, s.n) from (select o.status, sum(o.n) as n from found o group by 1) s), ''{}''),
         ''severity'', coalesce((select jsonb_object_agg(s.severity, s.n) from (select o.severity, sum(o.n) as n from found o group by 1) s), ''{}''))
       from found f', v_where)
    into v_counts using v_filter, p_company;

    v_answer := v_answer || jsonb_build_object('counts', v_counts);
  end if;

  return v_answer;
end
$$;

-- sv.alert_page() of the cases that this reviewer may see.
-- sv_api.  p_filter: texts by name.  22023: a filter, p_sort or p_cursor is wrong; 42501.
create function sv.alerts(p_location integer, p_filter jsonb, p_sort text, p_cursor text, p_limit integer, p_counts boolean)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select sv.alert_page((sv.reviewer(p_location)).company, p_filter, p_sort, p_cursor, p_limit, p_counts)
$$;

-- The cases of the highest severity that the filter selects.  sv_worker.  22023
create function sv.cases(p_filter jsonb, p_limit integer)
returns setof jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_array_elements(sv.alert_page('', p_filter, 'severity', null, p_limit, false) -> 'alerts')
$$;


-- What rules said.  Of consumers a finding tells how many they were: who their
-- tokens are is told by scans, as long as those are kept.  A case may be of more
-- products than those of a company: it is told of its own (a key s:GTIN/SERIAL each).
create function sv.alert_findings(p_case sv.case, p_company text)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
      'id', f.finding_id, 'rule', f.rule, 'severity', f.severity, 'weight', f.weight, 'cause', f.cause, 'withdrawn', f.withdrawn, 'lot', f.lot,
      'serials', to_jsonb(o.serials[1:100]), 'serials_total', cardinality(o.serials),
      'sites', to_jsonb(a.sites[1:100]), 'sites_total', cardinality(a.sites), 'consumers', cardinality(f.actors) - cardinality(a.sites),
      'scans', cardinality(f.scans), 'first_at', sv.out_time(f.first_at), 'last_at', sv.out_time(f.last_at),
      'found_at', sv.out_time(f.found_at), 'changed_at', sv.out_time(f.changed_at), 'detail', nullif(f.detail, '{}')))
    order by f.withdrawn, f.severity desc, f.found_at, f.finding_id), '[]')
  from (
    select o.* from sv.case_finding o
    where o.gtin = p_case.gtin and o.case_id = p_case.case_id
      and (p_company = '' or not exists (select from unnest(o.keys) k where k ~ '^s:\d{14}/')
        or exists (select from unnest(o.keys) k where k ~ '^s:\d{14}/' and sv.reviews(p_company, substr(k, 3, 14)::bigint)))
    order by o.withdrawn, o.severity desc, o.found_at, o.finding_id limit 200
  ) f
  cross join lateral (
    select case when p_company = '' or not exists (select from unnest(f.keys) k where k ~ '^s:\d{14}/') then f.serials
      else array (select distinct substr(k, 18) as serial from unnest(f.keys) k
                  where k ~ '^s:\d{14}/' and sv.reviews(p_company, substr(k, 3, 14)::bigint) order by serial) end as serials) o
  cross join lateral (select array (select x from unnest(f.actors) x where x ~ '^\d{13}$' order by x) as sites) a
$$;

-- The scans of a case that are still kept, by the time of the event, behind the
-- cursor, of products of this company.  On the first page: how many there are, and how many are gone.
create function sv.alert_evidence(p_case sv.case, p_company text, p_cursor text, p_limit integer)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
as $$
declare
  v_scans   bigint[];
  v_kept    bigint;
  v_alien   bigint;
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
  with page as materialized (
    select s.*, coalesce(s.occurred_at, s.at) as event_at
    from sv.scan s
    where s.n = any (v_scans) and s.at >= p_case.first_at - interval '1 day' and s.at < p_case.last_at + interval '16 days'
      and sv.reviews(p_company, s.gtin)
      and (v_part is null or (coalesce(s.occurred_at, s.at), s.n) > (timestamptz 'epoch' + v_part[1]::bigint * interval '1 microsecond', v_part[2]::bigint))
    order by coalesce(s.occurred_at, s.at), s.n
    limit p_limit + 1
  ), told as (
    select row_number() over (order by p.event_at, p.n) as place, p.event_at, p.n, sv.alert_scan_json(p.gtin, p.at, p.gateway, p.boot, p.seq, p_case) as body
    from page p
  )
  select jsonb_build_object('scans', coalesce(jsonb_agg(t.body order by t.place) filter (where t.place <= p_limit), '[]'))
    || coalesce((
      select jsonb_build_object('next', encode(convert_to((extract(epoch from o.event_at) * 1000000)::bigint || ' ' || o.n, 'UTF8'), 'hex'))
      from told o
      where o.place = p_limit and exists (select from told m where m.place > p_limit)), '{}')
  into v_answer
  from told t;

  if p_cursor is null then
    select count(distinct s.n), count(distinct s.n) filter (where not sv.reviews(p_company, s.gtin)) into v_kept, v_alien
    from sv.scan s
    where s.n = any (v_scans) and s.at >= p_case.first_at - interval '1 day' and s.at < p_case.last_at + interval '16 days';

    v_answer := v_answer || jsonb_build_object('total', cardinality(v_scans) - v_alien, 'gone', cardinality(v_scans) - v_kept);
  end if;

  return v_answer;
end
$$;

-- One scan: who, where, when, what, and which rules it is evidence of.
create function sv.alert_scan_json(p_gtin bigint, p_at timestamptz, p_gateway text, p_boot bigint, p_seq bigint, p_case sv.case)
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
    'rules', (select jsonb_agg(distinct f.rule) from sv.case_finding f
              where f.gtin = p_case.gtin and f.case_id = p_case.case_id and s.n = any (f.scans))))
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
  select sv.alert_json(p_case) || jsonb_build_object(
    'findings', sv.alert_findings(p_case, p_company),
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


-- The members of a change and their types.  22023: one is wrong.
create function sv.alert_check(p_change jsonb)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_name  text;
  v_type  text;
  v_text  text;
begin
  if jsonb_typeof(p_change) <> 'object' or p_change = '{}' then
    raise exception using errcode = '22023', message = 'The body is an object with status, reason, note, party, muted_until, or some of them.';
  end if;

  for v_name, v_type, v_text in select e.key, jsonb_typeof(e.value), e.value #>> '{}' from jsonb_each(p_change) e loop
    if v_name not in ('status', 'reason', 'note', 'party', 'muted_until') then
      perform sv.bad_value(v_name, 'it is no member of this body');

    elsif v_type <> (case v_name when 'party' then 'object' else 'string' end) and not (v_name = 'muted_until' and v_type = 'null') then
      perform sv.bad_value(v_name, case v_name when 'party' then 'an object is needed' else 'a text is needed' end);

    elsif v_name = 'note' and (length(v_text) > 500 or v_text !~ '\S') then
      perform sv.bad_value(v_name, 'up to 500 characters are needed');

    elsif v_name = 'status' and v_text <> all (enum_range(null::sv.case_status)::text[]) then
      perform sv.bad_value(v_name, 'one of ' || (select string_agg(distinct t.to_status::text, ', ') from sv.case_transition t) || ' is needed');
    end if;
  end loop;

  if p_change ? 'reason' and p_change ->> 'status' is distinct from 'closed' then
    perform sv.bad_value('reason', 'it is what a case is closed with; another status has a note');

  elsif p_change ? 'reason' and not exists (select from sv.case_close_reason r where r.reason = p_change ->> 'reason') then
    perform sv.bad_value('reason', 'one of ' || (select string_agg(r.reason, ', ' order by r.place) from sv.case_close_reason r) || ' is needed');
  end if;
end
$$;

-- What people can change of a case: before and after, for the audit trail.
create function sv.alert_state(p_gtin bigint, p_case_id uuid)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_strip_nulls(jsonb_build_object('status', c.status, 'close_reason', c.close_reason, 'close_note', c.close_note,
    'muted_until', sv.out_time(c.muted_until), 'parties', (
      select jsonb_object_agg(p.party, jsonb_build_object('status', p.status, 'note', p.note)) from sv.case_party p
      where p.gtin = c.gtin and p.case_id = c.case_id)))
  from sv.case c
  where c.gtin = p_gtin and c.case_id = p_case_id
$$;

-- The part `status' of a change: what is told of it, or null when it is so already.  22023, 55000.
create function sv.alert_status(p_case sv.case, p_change jsonb)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_step  sv.case_transition;
  v_to    sv.case_status := (p_change ->> 'status')::sv.case_status;
begin
  if v_to = p_case.status and (v_to <> 'closed' or p_case.close_reason is not distinct from p_change ->> 'reason') then
    return null;
  end if;

  select t.* into v_step from sv.case_transition t where t.status = p_case.status and t.to_status = v_to;

  if v_step.status is null then
    raise exception using errcode = '55000', column = 'status', message = format('status: a case that is %s does not become %s', p_case.status, v_to)
      || coalesce((select '; it may become ' || string_agg(t.to_status::text, ', ') from sv.case_transition t where t.status = p_case.status), '');

  elsif v_step.needs is not null and not p_change ? v_step.needs then
    perform sv.bad_value(v_step.needs, format('say why a case that is %s becomes %s', p_case.status, v_to));
  end if;

  update sv.case c
  set status = v_to, close_reason = p_change ->> 'reason', close_note = case v_to when 'closed' then p_change ->> 'note' end
  where c.gtin = p_case.gtin and c.case_id = p_case.case_id;

  return jsonb_strip_nulls(jsonb_build_object('from', p_case.status, 'to', v_to, 'reason', p_change -> 'reason', 'note', p_change -> 'note'));
end
$$;

-- The part `party'; as sv.alert_status().  A status of null takes back what it said.
create function sv.alert_party(p_case sv.case, p_party jsonb, p_who text, p_at timestamptz)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_name   text := p_party ->> 'party';
  v_said   text := p_party ->> 'status';
  v_note   text := coalesce(p_party ->> 'note', '');
  v_was    sv.case_party;
begin
  if coalesce(v_name, '') not in ('manufacturer', 'parallel_distributor', 'wholesaler', 'pharmacy', 'authority', 'system') then
    perform sv.bad_value('party.party', 'one of manufacturer, parallel_distributor, wholesaler, pharmacy, authority, system is needed');

  elsif not p_party ? 'status' or v_said not in ('pending', 'no_root_cause', 'root_cause') then
    perform sv.bad_value('party.status', 'one of pending, no_root_cause, root_cause is needed, or null');

  elsif jsonb_typeof(p_party -> 'note') <> 'string' or length(v_note) > 500 then
    perform sv.bad_value('party.note', 'a text of up to 500 characters is needed');

  elsif (p_party - '{party,status,note}'::text[]) <> '{}' then
    perform sv.bad_value('party', 'it has party, status and note');
  end if;

  select p.* into v_was from sv.case_party p where p.gtin = p_case.gtin and p.case_id = p_case.case_id and p.party = v_name;

  if v_was.status is not distinct from v_said and (v_said is null or v_was.note = v_note) then
    return null;

  elsif v_said is null then
    delete from sv.case_party p where p.gtin = p_case.gtin and p.case_id = p_case.case_id and p.party = v_name;

  else
    insert into sv.case_party (gtin, case_id, party, status, note, at, actor)
    values (p_case.gtin, p_case.case_id, v_name, v_said, v_note, p_at, p_who)
    on conflict (gtin, case_id, party) do update
    set status = excluded.status, note = excluded.note, at = excluded.at, actor = excluded.actor;
  end if;

  return jsonb_strip_nulls(jsonb_build_object('party', v_name, 'status', v_said, 'note', nullif(v_note, ''), 'before', v_was.status));
end
$$;

-- The part `muted_until'; as sv.alert_status().  null: no longer muted.
create function sv.alert_mute(p_case sv.case, p_until text, p_at timestamptz)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_until  timestamptz := sv.alert_time('muted_until', p_until);
begin
  if v_until is not distinct from p_case.muted_until then
    return null;

  elsif v_until <= p_at or v_until > p_at + interval '1 year' then
    perform sv.bad_value('muted_until', 'a time within a year from now is needed');
  end if;

  update sv.case c set muted_until = v_until where c.gtin = p_case.gtin and c.case_id = p_case.case_id;

  return jsonb_strip_nulls(jsonb_build_object('until', sv.out_time(v_until), 'before', sv.out_time(p_case.muted_until)));
end
$$;

-- Changes a case whose row the caller holds, tells it and audits it, as one:
-- whatever is changed is told, whatever is told is in the audit trail.  The version afterwards.
create function sv.alert_apply(p_case sv.case, p_location integer, p_who text, p_change jsonb, p_digest bytea, p_request_id text)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now      timestamptz := clock_timestamp();
  v_audit    uuid := gen_random_uuid();
  v_before   jsonb := sv.alert_state(p_case.gtin, p_case.case_id);
  v_status   jsonb;
  v_party    jsonb;
  v_mute     jsonb;
  v_n        bigint;
  v_version  integer;
begin
  if p_case.merged_into is not null then
    raise exception using errcode = '55000', column = 'status', message = format('status: the case is part of case %s; change that', p_case.merged_into);
  end if;

  if p_change ? 'party' then
    v_party := sv.alert_party(p_case, p_change -> 'party', p_who, v_now);
  end if;

  -- who hears of what a party found looks into it
  if p_change ? 'status' then
    v_status := sv.alert_status(p_case, p_change);
  elsif v_party ? 'status' and exists (select from sv.case_transition t where t.status = p_case.status and t.to_status = 'investigating' and t.needs is null) then
    v_status := sv.alert_status(p_case, '{"status": "investigating"}');
  end if;

  if p_change ? 'muted_until' then
    v_mute := sv.alert_mute(p_case, p_change ->> 'muted_until', v_now);
  end if;

  select max(sv.case_tell(p_case.gtin, p_case.case_id, t.kind, p_who, t.detail, v_now)) into v_n
  from (values
    (v_party is not null, 'party', v_party),
    (v_status is not null, 'status', v_status),
    (v_mute is not null, case when v_mute ? 'until' then 'muted' else 'unmuted' end, v_mute),
    (p_change ? 'note' and not coalesce(v_status ? 'note', false), 'note', jsonb_build_object('note', p_change -> 'note'))
  ) as t (happened, kind, detail)
  where t.happened;

  if v_n is null then
    return p_case.version;
  end if;

  insert into sv.case_request (gtin, case_id, version, location_id, digest, at)
  values (p_case.gtin, p_case.case_id, p_case.version, p_location, p_digest, v_now);

  select c.version into v_version from sv.case c where c.gtin = p_case.gtin and c.case_id = p_case.case_id;

  insert into sv.audit (gtin, at, audit_id, changed, kind, operation, lot, reason, location_id, request_id, detail)
  values (p_case.gtin, v_now, v_audit, true, 'admin', 'case_change', p_case.lot, 'ok', p_location, p_request_id,
    jsonb_build_object('case_id', p_case.case_id, 'number', p_case.number, 'version', v_version, 'change', p_change,
      'before', v_before, 'after', sv.alert_state(p_case.gtin, p_case.case_id)));

  insert into sv.outbox (gtin, audit_id, at) values (p_case.gtin, v_audit, v_now);

  return v_version;
end
$$;

-- A change of one case by a reviewer.  sv_api.  p_version: that he has seen
-- (null: whatever it is).  outcome: changed, unchanged (it is so already), repeated (this
-- request was carried out before), stale (another version; nothing was done).
-- 22023, 42501, P0002; 55000: the case cannot become this.
create function sv.alert_change(
  p_location    integer,
  p_case_id     uuid,
  p_version     integer,
  p_change      jsonb,
  p_request_id  text,
  out outcome   text,
  out version   integer
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_who     record;
  v_case    sv.case;
  v_last    sv.case_request;
  v_digest  bytea := sha256(convert_to(p_change::text, 'UTF8'));
begin
  v_who := sv.reviewer(p_location);
  perform sv.alert_check(p_change);
  v_case := sv.reviewed_case(v_who.company, p_case_id, true);
  version := v_case.version;

  -- the change of this version, or where none is named the last one
  select x.* into v_last
  from sv.case_request x
  where x.gtin = v_case.gtin and x.case_id = v_case.case_id and (p_version is null or x.version = p_version)
  order by x.version desc limit 1;

  if v_last.location_id = p_location and v_last.digest = v_digest
    and (p_version is not null or coalesce(p_change ->> 'status', v_case.status::text) = v_case.status::text)
  then
    outcome := 'repeated';

  elsif p_version <> v_case.version then
    outcome := 'stale';

  else
    version := sv.alert_apply(v_case, p_location, v_who.who, p_change, v_digest, p_request_id);
    outcome := case when version = v_case.version then 'unchanged' else 'changed' end;
  end if;
end
$$;


-- A list of cases to close, each with the version that was seen: its rows of (place, case_id, version).  22023
create function sv.alert_items(p_cases jsonb)
returns table (place bigint, case_id uuid, version integer)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_place  bigint;
  v_item   jsonb;
begin
  if jsonb_typeof(p_cases) <> 'array' or jsonb_array_length(p_cases) not between 1 and 500 then
    perform sv.bad_value('cases', 'an array of 1 to 500 objects with id and version is needed');
  end if;

  for v_place, v_item in select e.ordinality, e.value from jsonb_array_elements(p_cases) with ordinality e loop
    if jsonb_typeof(v_item) <> 'object' or v_item - '{id,version}'::text[] <> '{}'
      or coalesce(v_item ->> 'id', '') !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
      or jsonb_typeof(v_item -> 'version') is distinct from 'number' or v_item ->> 'version' !~ '^\d{1,9}$'
    then
      perform sv.bad_value(format('cases[%s]', v_place - 1), 'an object with id and version is needed');
    end if;
  end loop;

  if (select count(distinct lower(e ->> 'id')) from jsonb_array_elements(p_cases) e) <> jsonb_array_length(p_cases) then
    perform sv.bad_value('cases', 'a case is there twice');
  end if;

  return query
  select e.ordinality, (e.value ->> 'id')::uuid, (e.value ->> 'version')::integer
  from jsonb_array_elements(p_cases) with ordinality e;
end
$$;

-- Closes what is listed, each for itself, or all or none.
create function sv.alerts_close_items(p_location integer, p_who text, p_company text, p_order jsonb, p_change jsonb, p_request_id text)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_digest   bytea := sha256(convert_to(p_change::text, 'UTF8'));
  v_item     record;
  v_case     sv.case;
  v_result   text;
  v_again    boolean;
  v_results  jsonb := '[]';
begin
  -- all rows first, in the judge's order, then what is told: nobody waits for each other
  perform from sv.case c
  where c.case_id in (select i.case_id from sv.alert_items(p_order -> 'cases') i) and sv.reviews(p_company, c.gtin)
  order by c.case_id
  for update;

  for v_item in select i.* from sv.alert_items(p_order -> 'cases') i order by i.place loop
    select c.* into v_case from sv.case c where c.case_id = v_item.case_id and sv.reviews(p_company, c.gtin);

    v_again := exists (
      select from sv.case_request x
      where x.gtin = v_case.gtin and x.case_id = v_case.case_id and x.version = v_item.version and x.location_id = p_location and x.digest = v_digest);

    v_result := case
      when v_case.case_id is null then 'not_found'
      when v_again then 'closed'
      when v_case.version <> v_item.version then 'stale'
      when not exists (select from sv.case_transition t where t.status = v_case.status and t.to_status = 'closed') then 'not_open'
      when not v_case.proposed then 'not_proposed'
      else 'closed' end;

    if v_result <> 'closed' and p_order @> '{"all": true}' then
      raise exception using errcode = '55000', column = format('cases[%s]', v_item.place - 1),
        message = format('cases[%s]: %s, so none is closed', v_item.place - 1, case v_result
          when 'not_found' then 'there is no such case' when 'stale' then 'it has changed since version ' || v_item.version
          when 'not_open' then 'it is ' || v_case.status else 'it is not proposed for closure' end);

    elsif v_result = 'closed' and not v_again then
      v_case.version := sv.alert_apply(v_case, p_location, p_who, p_change, v_digest, p_request_id);
    end if;

    v_results := v_results || jsonb_strip_nulls(jsonb_build_object('id', v_item.case_id, 'result', v_result, 'version', v_case.version,
      'repeated', case when v_again then true end));
  end loop;

  return v_results;
end
$$;

-- Closes every proposed case that a filter selects, provided that there are as
-- many as were counted, and that none changed after the event they were counted at.
create function sv.alerts_close_found(p_location integer, p_who text, p_company text, p_order jsonb, p_change jsonb, p_request_id text)
returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_digest   bytea := sha256(convert_to(p_order::text, 'UTF8'));
  v_filter   sv.alert_filter := sv.alert_filter(p_order -> 'filter');
  v_cases    sv.case[] := '{}';
  v_case     sv.case;
  v_results  jsonb;
begin
  select jsonb_agg(jsonb_build_object('id', c.case_id, 'result', 'closed', 'version', c.version, 'repeated', true) order by c.case_id) into v_results
  from sv.case_request x
    join sv.case c on c.gtin = x.gtin and c.case_id = x.case_id
  where x.digest = v_digest and x.location_id = p_location;

  if v_results is not null then
    return v_results;
  end if;

  v_filter.proposed := true;

  for v_case in execute format(
    'select c.* from sv.case c where %s and c.status in (select t.status from sv.case_transition t where t.to_status = ''closed'')
     order by c.case_id limit 1001 for update of c', sv.alert_where(v_filter, p_company))
  using v_filter, p_company loop
    v_cases := v_cases || v_case;
  end loop;

  if cardinality(v_cases) > 1000 then
    raise exception using errcode = '54000', column = 'filter', message = 'filter: more than 1000 proposed cases; select fewer';

  elsif cardinality(v_cases) <> (p_order ->> 'count')::bigint then
    raise exception using errcode = '55000', column = 'count', message = format('count: %s proposed cases are selected now; look at the list again', cardinality(v_cases));

  elsif exists (select from unnest(v_cases) c join sv.case_event e on e.gtin = c.gtin and e.case_id = c.case_id and e.n > (p_order ->> 'event')::bigint) then
    raise exception using errcode = '55000', column = 'event', message = 'event: some of these cases have changed since; look at the list again';
  end if;

  v_results := '[]';

  foreach v_case in array v_cases loop
    v_results := v_results || jsonb_build_object('id', v_case.case_id, 'result', 'closed',
      'version', sv.alert_apply(v_case, p_location, p_who, p_change, v_digest, p_request_id));
  end loop;

  return v_results;
end
$$;

-- Closes cases that are proposed for closure: {"cases": [{"id", "version"}..], "all"} or
-- {"filter": {..}, "count", "event"}, with reason and note.  sv_api.  22023, 42501; 54000: too many;
-- 55000: not all can be closed, or the filter selects others than were seen.
create function sv.alerts_close(p_location integer, p_order jsonb, p_request_id text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_who      record;
  v_name     text;
  v_change   jsonb;
  v_results  jsonb;
begin
  v_who := sv.reviewer(p_location);

  if jsonb_typeof(p_order) <> 'object' or (p_order ? 'cases') = (p_order ? 'filter') then
    raise exception using errcode = '22023', message = 'The body is an object with reason, and either cases or filter.';
  end if;

  for v_name in select k from jsonb_object_keys(p_order) k loop
    if v_name <> all ((case when p_order ? 'cases' then '{cases,all,reason,note}' else '{filter,count,event,reason,note}' end)::text[]) then
      perform sv.bad_value(v_name, 'it is no member of this body');
    end if;
  end loop;

  if not p_order ? 'reason' then
    perform sv.bad_value('reason', 'say why they are closed');
  end if;

  v_change := jsonb_build_object('status', 'closed', 'reason', p_order -> 'reason')
    || case when p_order ? 'note' then jsonb_build_object('note', p_order -> 'note') else '{}' end;
  perform sv.alert_check(v_change);

  if p_order ? 'cases' then
    if jsonb_typeof(p_order -> 'all') <> 'boolean' then
      perform sv.bad_value('all', 'true or false is needed');
    end if;

    v_results := sv.alerts_close_items(p_location, v_who.who, v_who.company, p_order, v_change, p_request_id);

  else
    foreach v_name in array '{count,event}'::text[] loop
      if coalesce(p_order ->> v_name, '') !~ '^\d{1,18}$' or jsonb_typeof(p_order -> v_name) <> 'number' then
        perform sv.bad_value(v_name, 'the number of the list that was looked at is needed');
      end if;
    end loop;

    if jsonb_typeof(p_order -> 'filter') <> 'object' then
      perform sv.bad_value('filter', 'an object is needed');
    end if;

    v_results := sv.alerts_close_found(p_location, v_who.who, v_who.company, p_order, v_change, p_request_id);
  end if;

  return jsonb_build_object('closed', (select count(*) from jsonb_array_elements(v_results) r where r ->> 'result' = 'closed'), 'results', v_results);
end
$$;


-- Who may watch, whose cases, and up to where it is told now.  sv_api.  42501
create function sv.alert_stream(p_location integer, out company text, out n bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  company := (sv.reviewer(p_location)).company;
  select k.n into alert_stream.n from sv.case_clock k;
end
$$;

-- Up to where it is told now.  sv_api.
create function sv.alert_clock()
returns bigint
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select k.n from sv.case_clock k
$$;

-- What is told after a number, with the company whose case it is ('': of
-- nobody).  sv_api, for all streams at once: who sees what, it decides itself by sv.alert_stream().
create function sv.alert_events(p_after bigint, p_limit integer)
returns table (n bigint, company text, body jsonb)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select e.n, coalesce(p.company, ''), jsonb_strip_nulls(jsonb_build_object('n', e.n, 'at', sv.out_time(e.at), 'kind', e.kind, 'by', e.actor,
    'detail', case when length(e.detail::text) between 3 and 4000 then e.detail end,
    'alert', jsonb_build_object('id', e.case_id, 'number', e.state -> 'number', 'version', e.state -> 'version',
      'gtin', case when e.gtin <> 0 then lpad(e.gtin::text, 14, '0') end, 'lot', e.state -> 'lot', 'rule', e.state -> 'rule',
      'severity', e.state -> 'severity', 'status', e.state -> 'status', 'proposed', e.state -> 'proposed', 'cause', e.state -> 'cause')))
  from sv.case_event e
  left join sv.product p on p.gtin = e.gtin
  where e.n > p_after
  order by e.n
  limit p_limit
$$;

-- Which of these locations may still watch: reviewers with a credential that is good now.  sv_api.
create function sv.alert_watchers(p_locations integer[])
returns table (location_id integer, company text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select l.location_id, coalesce(l.company, '')
  from sv.location l
  where l.location_id = any (p_locations) and l.role = 'reviewer' and not l.deleted
    and exists (
      select from sv.credential c
      where c.location_id = l.location_id and not c.revoked and c.not_before <= statement_timestamp()
        and coalesce(c.not_after, 'infinity') > statement_timestamp())
$$;


grant execute on function
  sv.cases(jsonb, integer),
  sv.case_show(text)
to sv_worker;

grant execute on function
  sv.alerts(integer, jsonb, text, text, integer, boolean),
  sv.alert(integer, uuid),
  sv.alert_more(integer, uuid, text, text, integer),
  sv.alert_change(integer, uuid, integer, jsonb, text),
  sv.alerts_close(integer, jsonb, text),
  sv.alert_stream(integer),
  sv.alert_clock(),
  sv.alert_events(bigint, integer),
  sv.alert_watchers(integer[])
to sv_api;

commit;
