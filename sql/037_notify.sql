-- Notifications of cases: who is told what.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(37, 'notify');


-- Who is told: a URL, or a log (`log HOST:PATH').  Lines of the timeline are
-- looked at up to `n'; what is to be told is a row of sv.notification then, and
-- stays until it was taken.  Who sends holds a lease, as in sv.push.
create table sv.notify_target (
  target      text         not null primary key,
  n           bigint       not null,                      -- of sv.case_event
  seq         bigint       not null default 0,            -- of the last notification
  holder      integer,                                    -- pid
  held_until  timestamptz,                                -- without a holder: when it left
  log_ino     bigint,                                     -- a log: the file, and up to where it is known
  log_pos     bigint,
  sent        bigint       not null default 0,
  sent_at     timestamptz,
  since       timestamptz  not null
);

-- What a target knows of a case.
create table sv.notify_case (
  gtin              bigint       not null,
  case_id           uuid         not null,
  target            text         not null references sv.notify_target on delete cascade,
  told              boolean      not null,
  severity          sv.severity  not null,                -- the last that it was told
  proposed_closure  boolean      not null,
  closed            boolean      not null,
  due_at            timestamptz,                          -- to be told then, unless it asks no more
  due_n             bigint,                               -- the line of the timeline that asked
  primary key (gtin, case_id, target)
);

create index notify_case_due on sv.notify_case (target, due_at) where due_at is not null;

-- Written once, with all its bytes.
create table sv.notification (
  gtin      bigint       not null,
  case_id   uuid         not null,
  target    text         not null references sv.notify_target on delete cascade,
  seq       bigint       not null,                        -- of the target; per case the order of the timeline
  id        text         not null,
  kind      text         not null,
  body      text         not null,
  at        timestamptz  not null,
  attempts  integer      not null default 0,
  next_at   timestamptz  not null,                        -- not to be sent before
  refused   boolean      not null default false,          -- the receiver will not have it
  error     text,
  error_at  timestamptz,
  sent_at   timestamptz,                                  -- taken
  primary key (gtin, case_id, target, seq)
);

create index notification_waits on sv.notification (target, seq) where sent_at is null;
create index notification_sent on sv.notification (sent_at) where sent_at is not null;


-- The lease of a target, taken or renewed; a target that is new is told what
-- comes from now on.  sv_worker.
create function sv.notify_take(p_target text, p_lease_s integer, out held boolean, out log_ino bigint, out log_pos bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now     timestamptz := clock_timestamp();
  v_target  sv.notify_target;
begin
  insert into sv.notify_target (target, n, since)
  select p_target, k.n, v_now from sv.case_clock k
  on conflict (target) do nothing;

  select t.* into strict v_target from sv.notify_target t where t.target = p_target for update;

  held := v_target.holder is null or v_target.holder = pg_backend_pid() or v_target.held_until < v_now
    or not exists (select from pg_stat_get_activity(null) a where a.pid = v_target.holder);

  if not held then
    return;
  end if;

  update sv.notify_target t
  set holder = pg_backend_pid(), held_until = v_now + make_interval(secs => p_lease_s)
  where t.target = p_target;

  -- who comes new to it tries at once: a person may have restarted it because the receiver is mended
  if v_target.holder is distinct from pg_backend_pid() then
    update sv.notification x set next_at = v_now where x.target = p_target and x.sent_at is null and x.next_at > v_now;
  end if;

  log_ino := v_target.log_ino;
  log_pos := v_target.log_pos;
end
$$;


create function sv.notify_leave(p_target text)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update sv.notify_target
  set holder = null, held_until = clock_timestamp()
  where target = p_target and holder = pg_backend_pid()
$$;


-- RFC 3339, UTC
create function sv.notify_time(p_at timestamptz)
returns text
language sql stable
return to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- What is sent.  p_state: the row of the case as the timeline keeps it.
create function sv.notify_body(p_id text, p_kind text, p_at timestamptz, p_state jsonb)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'id', p_id,
    'type', 'case.' || p_kind,
    'timestamp', sv.notify_time(p_at),
    'data', jsonb_strip_nulls(jsonb_build_object(
      'case', p_state ->> 'case_id',
      'number', p_state -> 'number',
      'version', p_state -> 'version',
      'rule', p_state ->> 'rule',
      'severity', p_state ->> 'severity',
      'status', p_state ->> 'status',
      'proposed_closure', p_state -> 'proposed_closure',
      'cause', p_state ->> 'cause',
      'gtin', case when (p_state ->> 'gtin')::bigint <> 0 then lpad(p_state ->> 'gtin', 14, '0') end,
      'lot', p_state ->> 'lot',
      'countries', p_state -> 'countries',
      'serials', p_state -> 'serials',
      'actors', p_state -> 'actors',
      'scans', p_state -> 'scans',
      'first_at', sv.notify_time((p_state ->> 'first_at')::timestamptz),
      'last_at', sv.notify_time((p_state ->> 'last_at')::timestamptz),
      'opened_at', sv.notify_time((p_state ->> 'opened_at')::timestamptz),
      'close_reason', p_state ->> 'close_reason',
      'merged_into', p_state ->> 'merged_into')))::text
$$;


-- Whether somebody has to look at a case; p_at: muted until later than that, it does not ask.
create function sv.notify_asks(p_state jsonb, p_severity sv.severity, p_at timestamptz)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select p_state ->> 'status' not in ('closed', 'merged')
    and not (p_state ->> 'proposed_closure')::boolean
    and (p_state ->> 'severity')::sv.severity >= p_severity
    and coalesce((p_state ->> 'muted_until')::timestamptz <= p_at, true)
$$;


-- What of a line of the timeline is news to a target that knows p_known; null:
-- nothing.  A case of less than high severity waits (sv.notify_plan) before it
-- is told, but not one that a person reopened.  p_unmuted: by itself; who ends a
-- mute knows the case.
create function sv.notify_news(p_known sv.notify_case, p_state jsonb, p_asks boolean, p_muted boolean, p_unmuted boolean)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when not p_known.told then
      case
        when not p_asks then null
        when t.status = 'reopened' then 'reopened'
        when t.severity >= 'high' then 'opened'
      end
    when t.status in ('closed', 'merged') then case when not p_known.closed then t.status end
    when p_known.closed then 'reopened'
    when p_muted then null
    when t.proposed_closure <> p_known.proposed_closure then case when t.proposed_closure then 'proposed_closure' else 'asks' end
    when t.severity > p_known.severity then 'severity'
    when p_unmuted and p_asks then 'unmuted'
  end
  from (select p_state ->> 'status' as status, (p_state ->> 'severity')::sv.severity as severity,
    (p_state ->> 'proposed_closure')::boolean as proposed_closure) t
$$;


-- What a target knows of a case: what it was told; of a case that is older than
-- the target, what it would know.
create function sv.notify_known(p_target text, p_gtin bigint, p_case_id uuid, p_n bigint, p_severity sv.severity)
returns sv.notify_case
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_known  sv.notify_case;
  v_state  jsonb;
  v_at     timestamptz;
begin
  select k.* into v_known from sv.notify_case k where k.gtin = p_gtin and k.case_id = p_case_id and k.target = p_target;

  if found then
    return v_known;
  end if;

  select e.state, e.at into v_state, v_at
  from sv.case_event e
  where e.gtin = p_gtin and e.case_id = p_case_id and e.n < p_n
  order by e.n desc
  limit 1;

  v_known.gtin := p_gtin;
  v_known.case_id := p_case_id;
  v_known.target := p_target;
  v_known.told := coalesce((v_state ->> 'severity')::sv.severity >= p_severity
    and (v_state ->> 'status' in ('closed', 'merged') or sv.notify_asks(v_state, p_severity, v_at)), false);
  v_known.severity := coalesce(v_state ->> 'severity', 'info')::sv.severity;
  v_known.proposed_closure := coalesce((v_state ->> 'proposed_closure')::boolean, false);
  v_known.closed := coalesce(v_state ->> 'status' in ('closed', 'merged'), false);

  return v_known;
end
$$;


-- Writes a notification down, behind those before it.  The caller holds the
-- target's row.  The id names the database and its history, too: after a
-- restore a number may be another line.
create function sv.notify_write(p_target text, p_n bigint, p_kind text, p_at timestamptz, p_state jsonb)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_seq  bigint;
  v_id   text := replace(sv.epoch(), '/', '.') || '.' || p_n;
begin
  update sv.notify_target t set seq = t.seq + 1 where t.target = p_target returning t.seq into v_seq;

  insert into sv.notification (gtin, case_id, target, seq, id, kind, body, at, next_at)
  values ((p_state ->> 'gtin')::bigint, (p_state ->> 'case_id')::uuid, p_target, v_seq, v_id, p_kind,
    sv.notify_body(v_id, p_kind, p_at, p_state), clock_timestamp(), '-infinity');
end
$$;


-- One line of the timeline: what the target knows then.
create function sv.notify_line(p_target text, p_event sv.case_event, p_severity sv.severity, p_hold_s integer)
returns sv.notify_case
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_known  sv.notify_case := sv.notify_known(p_target, p_event.gtin, p_event.case_id, p_event.n, p_severity);
  v_asks   boolean := sv.notify_asks(p_event.state, p_severity, p_event.at);
  v_kind   text;
begin
  v_kind := sv.notify_news(v_known, p_event.state, v_asks, (p_event.state ->> 'muted_until')::timestamptz > p_event.at,
    p_event.kind = 'unmuted' and p_event.actor is null);

  if v_kind is not null then
    perform sv.notify_write(p_target, p_event.n, v_kind, p_event.at, p_event.state);

    v_known.told := true;
    v_known.severity := (p_event.state ->> 'severity')::sv.severity;
    v_known.proposed_closure := (p_event.state ->> 'proposed_closure')::boolean;
    v_known.closed := p_event.state ->> 'status' in ('closed', 'merged');
    v_known.due_at := null;
    v_known.due_n := null;

  elsif v_known.told or not v_asks then
    v_known.due_at := null;
    v_known.due_n := null;

  elsif v_known.due_at is null then
    v_known.due_at := p_event.at + make_interval(secs => p_hold_s);
    v_known.due_n := p_event.n;
  end if;

  return v_known;
end
$$;


-- Cases that waited long enough and still ask, as they are by the last line that
-- was looked at.
create function sv.notify_due(p_target text, p_n bigint, p_limit integer)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_due    sv.notify_case;
  v_state  jsonb;
  v_made   integer := 0;
begin
  for v_due in
    select k.* from sv.notify_case k where k.target = p_target and k.due_at <= clock_timestamp() order by k.due_at, k.due_n limit p_limit
  loop
    select e.state into strict v_state
    from sv.case_event e
    where e.gtin = v_due.gtin and e.case_id = v_due.case_id and e.n <= p_n
    order by e.n desc
    limit 1;

    perform sv.notify_write(p_target, v_due.due_n, 'opened', v_due.due_at, v_state);

    update sv.notify_case k
    set told = true, severity = (v_state ->> 'severity')::sv.severity, due_at = null, due_n = null
    where k.gtin = v_due.gtin and k.case_id = v_due.case_id and k.target = p_target;

    v_made := v_made + 1;
  end loop;

  return v_made;
end
$$;


-- Looks at the next p_limit lines of the timeline, and at cases that waited.  The
-- cursor moves in the transaction that writes down what follows from them.  How
-- many lines and cases it looked at: less than p_limit, there are no more.  sv_worker.
create function sv.notify_plan(p_target text, p_severity text, p_hold_s integer, p_limit integer)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_n      bigint;
  v_event  sv.case_event;
  v_known  sv.notify_case;
  v_seen   integer := 0;
begin
  select t.n into v_n from sv.notify_target t where t.target = p_target and t.holder = pg_backend_pid() for update;

  if not found then
    return 0;
  end if;

  for v_event in
    select e.* from sv.case_event e where e.n > v_n order by e.n limit p_limit
  loop
    v_known := sv.notify_line(p_target, v_event, p_severity::sv.severity, p_hold_s);

    insert into sv.notify_case
    select v_known.*
    on conflict (gtin, case_id, target) do update set told = excluded.told, severity = excluded.severity, proposed_closure = excluded.proposed_closure,
      closed = excluded.closed, due_at = excluded.due_at, due_n = excluded.due_n;

    v_n := v_event.n;
    v_seen := v_seen + 1;
  end loop;

  if v_seen > 0 then
    update sv.notify_target t set n = v_n where t.target = p_target;
  end if;

  -- not before all that is known was looked at: it may explain a case
  if v_seen < p_limit then
    v_seen := v_seen + sv.notify_due(p_target, v_n, p_limit - v_seen);
  end if;

  return v_seen;
end
$$;


grant execute on function
  sv.notify_take(text, integer),
  sv.notify_leave(text),
  sv.notify_plan(text, text, integer, integer)
to sv_worker;

commit;
