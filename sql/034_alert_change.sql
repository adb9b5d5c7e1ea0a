-- What reviewers make of a case.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(34, 'alert_change');


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
create index case_muted on sv.case (muted_until) where muted_until is not null and status not in ('closed', 'merged');


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
  set status = v_to, close_reason = p_change ->> 'reason', close_note = case v_to when 'closed' then p_change ->> 'note' end,
    muted_until = case when v_to <> 'reopened' or c.muted_until > clock_timestamp() then c.muted_until end
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

-- Open cases whose mute has ended come back: each is told once, for what told of
-- it is no longer muted.  How many.  A row that somebody holds is left for the
-- next time.  Role housekeeping calls it with each round.  sv_worker.
create function sv.case_unmute(p_limit integer)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now    timestamptz := clock_timestamp();
  v_cases  sv.case[];
begin
  v_cases := array(
    select c
    from sv.case c
    where c.muted_until <= v_now and c.status not in ('closed', 'merged')
    order by c.muted_until
    limit p_limit
    for update skip locked);

  update sv.case c
  set muted_until = null
  from unnest(v_cases) m
  where c.gtin = m.gtin and c.case_id = m.case_id;

  perform sv.case_tell(m.gtin, m.case_id, 'unmuted', null, jsonb_build_object('ended', sv.out_time(m.muted_until)), v_now)
  from unnest(v_cases) m;

  return cardinality(v_cases);
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


grant execute on function sv.alert_change(integer, uuid, integer, jsonb, text) to sv_api;
grant execute on function sv.case_unmute(integer) to sv_worker;

commit;
