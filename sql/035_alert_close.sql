-- Cases that are proposed for closure, closed in bulk by reviewers.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(35, 'alert_close');


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
      when not v_case.proposed_closure then 'not_proposed'
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

  if not v_filter.proposed_closure then
    perform sv.bad_value('proposed_closure', 'none is closed but those that are proposed for closure');
  end if;

  v_filter.proposed_closure := true;

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


grant execute on function sv.alerts_close(integer, jsonb, text) to sv_api;

commit;
