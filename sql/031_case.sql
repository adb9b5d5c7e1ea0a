-- Findings into cases.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(31, 'case');


-- What the judge made of cases since it wrote last.  Which finding is in which
-- case was decided already; this writes it down, and tells what is new of each
-- case.  The same again changes nothing and tells nothing.
--
-- p_cases: an array of
--   {id, gtin, merged, merged_gtin}: its findings are in the case `merged' now
--   {id, gtin, rule, severity, weight, cause, lot, countries: {IT: ..}, first, last (ms), findings: [
--     {id, rule, severity, weight, cause, lot, serials, actors, keys, scans, first, last, withdrawn, detail}]}
--   findings: those that changed; the others stay as they are
--
-- A closed case of which somebody should look at something new is reopened,
-- unless it is muted.  All cases are locked before any is told of: lock order is cases,
-- clock.  In the judge's transaction only.  sv_worker.
create function sv.case_apply(p_cases jsonb)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now   timestamptz := clock_timestamp();
  v_case  record;
begin
  perform
  from sv.case c
  where (c.gtin, c.case_id) in (
    select x.gtin, x.id from jsonb_to_recordset(p_cases) as x (gtin bigint, id uuid)
    union
    select x.merged_gtin, x.merged from jsonb_to_recordset(p_cases) as x (merged_gtin bigint, merged uuid) where x.merged is not null)
  order by c.case_id
  for update;

  for v_case in
    select x.*
    from jsonb_to_recordset(p_cases) as x (id uuid, gtin bigint, merged uuid, rule text, severity sv.severity, weight text, cause text,
      lot text, countries jsonb, first bigint, last bigint, findings jsonb)
    where x.merged is null
    order by x.first, x.id
  loop
    perform sv.case_open(v_case.gtin, v_case.id, v_case.rule, v_case.severity, v_case.weight, v_case.cause, v_case.first, v_case.last, v_now);
  end loop;

  for v_case in
    select x.gtin, x.id, x.merged_gtin as into_gtin, x.merged
    from jsonb_to_recordset(p_cases) as x (id uuid, gtin bigint, merged uuid, merged_gtin bigint)
    where x.merged is not null
    order by x.id
  loop
    perform sv.case_merge(v_case.gtin, v_case.id, v_case.into_gtin, v_case.merged, v_now);
  end loop;

  for v_case in
    select x.*
    from jsonb_to_recordset(p_cases) as x (id uuid, gtin bigint, merged uuid, rule text, severity sv.severity, weight text, cause text,
      lot text, countries jsonb, first bigint, last bigint, findings jsonb)
    where x.merged is null
    order by x.first, x.id
  loop
    perform sv.case_change(v_case.gtin, v_case.id, v_case.rule, v_case.severity, v_case.weight, v_case.cause, v_case.lot,
      array(select k from jsonb_object_keys(v_case.countries) k order by k), v_case.first, v_case.last, v_case.findings, v_now);
  end loop;
end
$$;


-- The row of a case that is new; its version is 0 until it is told of.
create function sv.case_open(p_gtin bigint, p_case_id uuid, p_rule text, p_severity sv.severity, p_weight text, p_cause text,
  p_first bigint, p_last bigint, p_now timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_number  bigint;
begin
  if exists (select from sv.case c where c.gtin = p_gtin and c.case_id = p_case_id) then
    return;
  end if;

  update sv.judge set case_n = case_n + 1 returning case_n into v_number;

  insert into sv.case (gtin, case_id, number, rule, severity, proposed_closure, cause, first_at, last_at, opened_at, changed_at, version)
  values (p_gtin, p_case_id, v_number, p_rule, p_severity, p_weight <> 'asks', p_cause, to_timestamp(p_first / 1000.0),
    to_timestamp(p_last / 1000.0), p_now, p_now, 0);
end
$$;


-- The findings of a case are in another one now.  What somebody has to look at is
-- not put away with it: one that is closed is reopened, one that is muted is not any more.
create function sv.case_merge(p_gtin bigint, p_case_id uuid, p_into_gtin bigint, p_into uuid, p_now timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_from     sv.case;
  v_into     sv.case;
  v_reopens  boolean;
  v_unmutes  boolean;
begin
  select c.* into v_from from sv.case c where c.gtin = p_gtin and c.case_id = p_case_id;
  select c.* into v_into from sv.case c where c.gtin = p_into_gtin and c.case_id = p_into;

  if v_from.status is null or v_from.status = 'merged' then
    return;
  end if;

  delete from sv.case_finding f
  where f.gtin = p_gtin and f.case_id = p_case_id
    and exists (select from sv.case_finding o where o.gtin = p_into_gtin and o.case_id = p_into and o.finding_id = f.finding_id);

  update sv.case_finding f
  set gtin = p_into_gtin, case_id = p_into
  where f.gtin = p_gtin and f.case_id = p_case_id;

  update sv.case c
  set status = 'merged', merged_into = p_into
  where c.gtin = p_gtin and c.case_id = p_case_id;

  perform sv.case_tell(p_gtin, p_case_id, 'merged', null, jsonb_build_object('into', p_into, 'number', v_into.number), p_now);

  -- one that is new tells first that it was opened
  if v_into.version = 0 then
    return;
  end if;

  v_reopens := v_into.status = 'closed' and v_from.status <> 'closed' and not v_from.proposed_closure;
  v_unmutes := v_into.muted_until > p_now and v_from.status <> 'closed' and not v_from.proposed_closure
    and coalesce(v_from.muted_until <= p_now, true);

  update sv.case c
  set status = case when v_reopens then 'reopened' else c.status end,
    close_reason = case when not v_reopens then c.close_reason end,
    close_note = case when not v_reopens then c.close_note end,
    muted_until = case when v_unmutes is not true and c.muted_until > p_now then c.muted_until end
  where c.gtin = p_into_gtin and c.case_id = p_into and (v_reopens or v_unmutes);

  perform sv.case_tell(p_into_gtin, p_into, t.kind, null, t.detail, p_now)
  from (values
    (1, true, 'merged', jsonb_build_object('from', p_case_id, 'number', v_from.number)),
    (2, v_unmutes, 'unmuted', '{}'),
    (3, v_reopens, 'status', jsonb_build_object('from', 'closed', 'to', 'reopened', 'note', format('case %s, which is open, is part of it now', v_from.number)))
  ) as t (place, happens, kind, detail)
  where t.happens
  order by t.place;
end
$$;


-- The findings of a case that changed, and what follows for the case.
create function sv.case_change(p_gtin bigint, p_case_id uuid, p_rule text, p_severity sv.severity, p_weight text, p_cause text, p_lot text,
  p_countries text[], p_first bigint, p_last bigint, p_findings jsonb, p_now timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_old      sv.case;
  v_new      sv.case;
  v_found    record;
  v_reopens  boolean;
begin
  select c.* into strict v_old from sv.case c where c.gtin = p_gtin and c.case_id = p_case_id;

  v_found := sv.case_findings(p_gtin, p_case_id, p_findings, p_now);
  v_reopens := v_old.status = 'closed' and v_found.asks and p_weight = 'asks' and (v_old.muted_until is null or v_old.muted_until <= p_now);

  update sv.case c
  set rule = p_rule, severity = p_severity, proposed_closure = p_weight <> 'asks', cause = p_cause, lot = p_lot, countries = p_countries,
    serials = n.serials, actors = n.actors, scans = n.scans,
    first_at = to_timestamp(p_first / 1000.0), last_at = to_timestamp(p_last / 1000.0), sessions = true,
    status = case when v_reopens then 'reopened' else c.status end,
    close_reason = case when not v_reopens then c.close_reason end,
    close_note = case when not v_reopens then c.close_note end,
    muted_until = case when not v_reopens then c.muted_until end
  from sv.case_counts(p_gtin, p_case_id) n
  where c.gtin = p_gtin and c.case_id = p_case_id
  returning c.* into v_new;

  if v_old.version = 0 then
    perform sv.case_tell(p_gtin, p_case_id, 'opened', null, jsonb_build_object('rule', p_rule, 'severity', p_severity, 'cause', p_cause,
      'proposed_closure', v_new.proposed_closure), p_now);
    return;
  end if;

  if v_new is not distinct from v_old and v_found.changed = 0 then
    return;
  end if;

  if v_old.severity <> v_new.severity then
    perform sv.case_tell(p_gtin, p_case_id, 'severity', null, jsonb_build_object('from', v_old.severity, 'to', v_new.severity, 'rule', p_rule), p_now);
  end if;

  if v_old.proposed_closure <> v_new.proposed_closure then
    perform sv.case_tell(p_gtin, p_case_id, case when v_new.proposed_closure then 'proposed_closure' else 'asks' end, null,
      jsonb_build_object('rule', p_rule, 'cause', p_cause), p_now);
  end if;

  if v_reopens then
    perform sv.case_tell(p_gtin, p_case_id, 'status', null, jsonb_build_object('from', 'closed', 'to', 'reopened',
      'note', format('new evidence: %s', v_found.rules)), p_now);
  end if;

  if v_found.changed > 0 then
    perform sv.case_tell(p_gtin, p_case_id, 'evidence', null, jsonb_build_object('scans', v_new.scans, 'serials', v_new.serials,
      'actors', v_new.actors), p_now);
  end if;
end
$$;


-- Writes findings; how many are new or say something else, and whether one of them
-- asks because of something that was not known before.
create function sv.case_findings(p_gtin bigint, p_case_id uuid, p_findings jsonb, p_now timestamptz,
  out changed integer, out asks boolean, out rules text)
language sql
set search_path = pg_catalog, pg_temp
as $$
  with said as materialized (
    select x.id, x.rule, x.severity, x.weight, x.cause, x.lot, x.serials, x.actors, x.keys, x.scans, to_timestamp(x.first / 1000.0) as first_at,
      to_timestamp(x.last / 1000.0) as last_at, x.withdrawn, coalesce(x.detail, '{}') as detail
    from jsonb_to_recordset(p_findings) as x (id uuid, rule text, severity sv.severity, weight text, cause text, lot text, serials text[],
      actors text[], keys text[], scans bigint[], first bigint, last bigint, withdrawn boolean, detail jsonb)
  ), known as materialized (
    select s.*, f.scans as old_scans, f.weight as old_weight, f.withdrawn as old_withdrawn
    from said s
      left join sv.case_finding f on f.gtin = p_gtin and f.case_id = p_case_id and f.finding_id = s.id
  ), written as (
    insert into sv.case_finding as f (gtin, case_id, finding_id, rule, severity, weight, cause, lot, serials, actors, keys, scans,
      first_at, last_at, found_at, changed_at, withdrawn, detail)
    select p_gtin, p_case_id, k.id, k.rule, k.severity, k.weight, k.cause, k.lot, k.serials, k.actors, k.keys, k.scans,
      k.first_at, k.last_at, p_now, p_now, k.withdrawn, k.detail
    from known k
    on conflict (gtin, case_id, finding_id) do update
    set severity = excluded.severity, weight = excluded.weight, cause = excluded.cause, lot = excluded.lot, serials = excluded.serials,
      actors = excluded.actors, keys = excluded.keys, scans = excluded.scans, first_at = excluded.first_at, last_at = excluded.last_at,
      changed_at = excluded.changed_at, withdrawn = excluded.withdrawn, detail = f.detail || excluded.detail
    where (f.severity, f.weight, f.cause, f.lot, f.serials, f.actors, f.scans, f.first_at, f.last_at, f.withdrawn)
      is distinct from (excluded.severity, excluded.weight, excluded.cause, excluded.lot, excluded.serials, excluded.actors, excluded.scans,
        excluded.first_at, excluded.last_at, excluded.withdrawn)
    returning f.finding_id
  )
  select
    (select count(*)::integer from written),
    coalesce(bool_or(fresh), false),
    string_agg(distinct k.rule, ', ') filter (where fresh)
  from known k
    cross join lateral (select k.weight = 'asks' and not k.withdrawn
      and (k.old_weight is null or k.old_weight <> 'asks' or k.old_withdrawn
        or exists (select unnest(k.scans) except select unnest(k.old_scans))) as fresh) l        -- <@ compares each with each
$$;


-- Of all that is said in a case, or, when nothing is any more, was said.
create function sv.case_counts(p_gtin bigint, p_case_id uuid, out serials integer, out actors integer, out scans integer)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with said as materialized (
    select f.*
    from sv.case_finding f
    where f.gtin = p_gtin and f.case_id = p_case_id
      and (not f.withdrawn or not exists (
        select from sv.case_finding o where o.gtin = p_gtin and o.case_id = p_case_id and not o.withdrawn))
  )
  select
    (select count(distinct x)::integer from said s, unnest(s.serials) x),
    (select count(distinct x)::integer from said s, unnest(s.actors) x),
    (select count(distinct x)::integer from said s, unnest(s.scans) x)
$$;


-- Cases with evidence since a time, each with its findings, for the judge that starts.  sv_worker.
create function sv.judge_cases(p_since timestamptz)
returns setof jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object('id', c.case_id, 'gtin', c.gtin, 'findings', (
    select coalesce(jsonb_agg(jsonb_build_object('id', f.finding_id, 'rule', f.rule, 'severity', f.severity, 'weight', f.weight, 'cause', f.cause,
      'lot', f.lot, 'serials', f.serials, 'actors', f.actors, 'keys', f.keys, 'scans', f.scans, 'first', sv.ms(f.first_at),
      'last', sv.ms(f.last_at), 'withdrawn', f.withdrawn, 'feed', f.detail ? 'finding_id') order by f.first_at, f.finding_id), '[]')
    from sv.case_finding f
    where f.gtin = c.gtin and f.case_id = c.case_id))
  from sv.case c
  where c.last_at >= p_since and c.status <> 'merged'
  order by c.number
$$;


grant execute on function
  sv.case_apply(jsonb),
  sv.judge_cases(timestamptz)
to sv_worker;


commit;
