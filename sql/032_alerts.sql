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
select sv.migration_begin(32, 'alerts');


create index case_id on sv.case (case_id);
create index case_severity on sv.case (severity, number);

-- few are open of all there ever were
create index case_open on sv.case (severity, number) where status not in ('closed', 'merged');
create index case_lot on sv.case (lot) where lot is not null;

create index case_finding_rule on sv.case_finding (rule, gtin, case_id);
create index case_finding_lot on sv.case_finding (lot) where lot is not null;

-- Of actors those that may be asked for: sites, by GLN (tokens have 16 characters).  Consumers
-- are too many, and known for too short a time, for an index.
create function sv.case_sites(p_actors text[])
returns text[]
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select array(select x from unnest(p_actors) x where octet_length(x) = 13)
$$;

create index case_finding_sites on sv.case_finding using gin (sv.case_sites(actors));

-- Findings of many serials grow all the time: each is looked at.  The others are by far the most.
create index case_finding_serials on sv.case_finding using gin (serials) where cardinality(serials) <= 100;
create index case_finding_many on sv.case_finding (gtin) where cardinality(serials) > 100;


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
  status            sv.case_status[],
  asks              boolean,
  proposed_closure  boolean,
  muted             boolean,
  severity          sv.severity,
  number            bigint,
  rule              text,
  gtin              bigint,
  lot               text,
  serial            text,
  country           text,
  actor             text,
  since             timestamptz,
  until             timestamptz,
  cause             text,
  now               timestamptz
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

    elsif v_name in ('asks', 'proposed_closure', 'muted') and v_value not in ('yes', 'no') then
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
      when 'proposed_closure' then v_f.proposed_closure := v_value = 'yes';
      when 'muted' then v_f.muted := v_value = 'yes';
      when 'severity' then
        if v_value <> all (enum_range(null::sv.severity)::text[]) then
          perform sv.bad_value(v_name, 'one of ' || array_to_string(enum_range(null::sv.severity), ', ') || ' is needed');
        end if;
        v_f.severity := v_value::sv.severity;
      when 'number' then
        if v_value !~ '^[0-9]{1,18}$' then
          perform sv.bad_value(v_name, 'the number of a case is needed');
        end if;
        v_f.number := v_value::bigint;
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
    (p_filter.proposed_closure is not null, 'c.proposed_closure = ($1).proposed_closure'),
    (p_filter.muted is not null, '(coalesce(c.muted_until, ''-infinity'') > ($1).now) = ($1).muted'),
    (p_filter.severity is not null, 'c.severity >= ($1).severity'),
    (p_filter.number is not null, 'c.number = ($1).number'),
    (p_filter.gtin is not null, 'c.gtin = ($1).gtin'),
    (p_filter.country is not null, 'c.countries @> array[($1).country]'),
    (p_filter.since is not null, 'c.changed_at >= ($1).since'),
    (p_filter.until is not null, 'c.changed_at < ($1).until'),
    (p_filter.cause is not null, 'position(lower(($1).cause) in lower(c.cause)) > 0'),
    (p_filter.rule is not null, 'exists (select from sv.case_finding f where f.gtin = c.gtin and f.case_id = c.case_id and f.rule = ($1).rule)'),
    (p_filter.lot is not null, 'c.case_id = any (array (select o.case_id from sv.case o where o.lot = ($1).lot
        union select f.case_id from sv.case_finding f where f.lot = ($1).lot))'),
    (p_filter.serial is not null, 'c.case_id = any (array (
        select f.case_id from sv.case_finding f where cardinality(f.serials) <= 100 and f.serials @> array[($1).serial] and f.gtin = ($1).gtin
        union select f.case_id from sv.case_finding f where cardinality(f.serials) > 100 and ($1).serial = any (f.serials) and f.gtin = ($1).gtin))'),
    (p_filter.actor is not null, 'c.case_id = any (array (select f.case_id from sv.case_finding f where sv.case_sites(f.actors) @> array[($1).actor]))'),
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
    'proposed_closure', p_case.proposed_closure,
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
      'with found as (select c.status, c.severity, c.rule, c.proposed_closure, count(*) as n from sv.case c where %s group by 1, 2, 3, 4)
       select jsonb_build_object(''total'', coalesce(sum(f.n), 0), ''proposed_closure'', coalesce(sum(f.n) filter (where f.proposed_closure), 0),
         ''status'', coalesce((select jsonb_object_agg(s.status, s.n) from (select o.status, sum(o.n) as n from found o group by 1) s), ''{}''),
         ''severity'', coalesce((select jsonb_object_agg(s.severity, s.n) from (select o.severity, sum(o.n) as n from found o group by 1) s), ''{}''),
         ''rule'', coalesce((select jsonb_object_agg(s.rule, s.n) from (select o.rule, sum(o.n) as n from found o group by 1) s), ''{}''))
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


grant execute on function
  sv.cases(jsonb, integer)
to sv_worker;


grant execute on function
  sv.alerts(integer, jsonb, text, text, integer, boolean)
to sv_api;

commit;
