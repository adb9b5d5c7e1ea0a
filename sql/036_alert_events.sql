-- What is told of cases, for the stream of GET /alerts/events.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(36, 'alert_events');


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
      'severity', e.state -> 'severity', 'status', e.state -> 'status', 'proposed_closure', e.state -> 'proposed_closure', 'cause', e.state -> 'cause')))
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
  sv.alert_stream(integer),
  sv.alert_clock(),
  sv.alert_events(bigint, integer),
  sv.alert_watchers(integer[])
to sv_api;

commit;
