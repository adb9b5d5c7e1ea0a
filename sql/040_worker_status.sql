-- How it stands with the judge, notifications and housekeeping: the figures of `status' and
-- of a gateway's /status, and sentences for what a person has to look at.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(40, 'worker_status');


create function sv.status_running()
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(r.role, r.n), '{}')
  from (
    select substr(a.application_name, 22) as role, count(*) as n
    from pg_stat_get_activity(null) a
    where a.datid = (select d.oid from pg_database d where d.datname = current_database())
      and a.application_name ~ '^serial-verify-worker (ingest|relay|housekeeping|api|push|consume|notify)$'
    group by a.application_name) r
$$;


-- What the judge does.
--
--   scans       in history, ever                     behind     rows of the audit chain that wait; behind_s: the first of them, since when
--   streams     blocks that wait in each Redis       missing    of events that gateways numbered in the last day, those that have not come
--   cases       that are not closed, by status       asking     those of them that ask for a person
--   refused     what was put aside, by kind          ahead      of events of the last day, those of gateways whose clock is ahead
create function sv.judge_state()
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'scans', j.scan_n,
    'behind', h.n - j.chain_n,
    'behind_s', (select extract(epoch from transaction_timestamp() - c.at)::numeric(12, 1) from sv.audit_chain c where c.n = j.chain_n + 1),
    'streams', j.streams,
    'refused', coalesce((select jsonb_object_agg(r.kind, r.n) from (select x.kind, count(*) as n from sv.refused x group by x.kind) r), '{}'),
    'told_at', j.told_at,
    'missing', coalesce((select jsonb_agg(jsonb_build_object('gateway', o.gateway, 'boot', o.boot, 'events', o.missing, 'last_at', o.last_at)
        order by o.missing desc, o.gateway, o.boot)
      from (
        select s.*, s.last_seq - s.received as missing
        from sv.scan_source s
        where s.last_at > transaction_timestamp() - interval '1 day' and s.last_seq > s.received
        order by s.last_seq - s.received desc, s.gateway, s.boot
        limit 20) o), '[]'),
    'ahead', coalesce((select jsonb_object_agg(a.gateway, a.n)
      from (select s.gateway, sum(s.ahead) as n
        from sv.scan_source s
        where s.ahead_at > transaction_timestamp() - interval '1 day'
        group by s.gateway
        order by n desc
        limit 20) a), '{}'),
    'cases', coalesce((select jsonb_object_agg(c.status, c.n)
      from (select x.status, count(*) as n from sv.case x where x.status not in ('closed', 'merged') group by x.status) c), '{}'),
    'asking', (select count(*) from sv.case x where x.status not in ('closed', 'merged') and not x.proposed_closure))
  from sv.judge j, sv.audit_head h
$$;

-- As sv.status_attention(), of the judge.
create function sv.judge_attention(p jsonb, p_running jsonb, p_now timestamptz)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(t.text order by t.n, t.text), '[]')
  from (
    select 1 as n, 'no process with the role consume is connected: scans and operations are not judged; start serial-verify-worker run' as text
    where not p_running ? 'consume'

    union all
    select 2, format('the judge is %s s behind the audit chain: look for errors of the role consume in the log', round((p ->> 'behind_s')::numeric))
    where p_running ? 'consume' and (p ->> 'behind_s')::numeric > 60

    union all
    select 2, format('the judge has not told how it stands since %s: look for errors of the role consume in the log', p ->> 'told_at')
    where p_running ? 'consume' and (p ->> 'told_at')::timestamptz < p_now - interval '2 minutes'

    union all
    select 3, format('the stream of the Redis at %s cannot be read: can the role consume reach it?', r.key)
    from jsonb_each(p -> 'streams') r
    where r.value = 'null' and (p ->> 'told_at')::timestamptz > p_now - interval '1 minute'

    union all
    select 4, format('%s in the stream of the Redis at %s: does the role consume keep up?', sv.counted(r.value::text::bigint, 'block waits', 'blocks wait'), r.key)
    from jsonb_each(p -> 'streams') r
    where r.value <> 'null' and r.value::text::bigint > 5000

    union all
    select 5, format('%s put aside (%s): serial-verify-worker refused', sv.counted(sum(r.value::bigint)::bigint, 'thing that cannot be judged is',
      'things that cannot be judged are'), string_agg(format('%s %s', r.key, r.value), ', ' order by r.key))
    from jsonb_each_text(p -> 'refused') r
    having count(*) > 0

    union all
    select 6, format('the clock of the gateway %s is ahead by more than 10 minutes, or was in the last day: %s not judged; set it', r.key,
      sv.counted(r.value::bigint, 'scan is kept and', 'scans are kept and'))
    from jsonb_each_text(p -> 'ahead') r

    union all
    select 7, format('%s of the gateway %s in the last day: lost with a process or a Redis, or still in its spool',
      sv.counted(least(sum((m ->> 'events')::numeric), 9223372036854775807)::bigint, 'scan event has not come', 'scan events have not come'), m ->> 'gateway')
    from jsonb_array_elements(p -> 'missing') m
    group by m ->> 'gateway'
  ) t
$$;


-- How it stands with each target.  behind: lines of the timeline not looked at;
-- held: cases that wait for what may explain them.
create function sv.notify_state()
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(jsonb_build_object('target', t.target, 'sent', t.sent, 'sent_at', t.sent_at,
    'behind', k.n - t.n, 'held', (select count(*) from sv.notify_case h where h.target = t.target and h.due_at is not null),
    'waiting', w.waiting, 'oldest', w.oldest, 'failing', w.failing, 'refused', w.refused, 'error', f.error, 'error_at', f.error_at,
    'running', coalesce(t.held_until > clock_timestamp(), false)) order by t.target), '[]')
  from sv.case_clock k, sv.notify_target t
    cross join lateral (
      select count(*) as waiting, min(x.at) as oldest, count(*) filter (where x.error is not null) as failing,
        count(*) filter (where x.refused) as refused
      from (select y.at, y.error, y.refused from sv.notification y where y.target = t.target and y.sent_at is null limit 100000) x) w
    left join lateral (
      select x.error, x.error_at
      from sv.notification x
      where x.target = t.target and x.sent_at is null and x.error is not null
      order by x.seq
      limit 1) f on true
$$;

-- Sentences for a person.
create function sv.notify_attention(p_state jsonb)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(
    case
      when (r ->> 'refused')::bigint > 0 then format('%s refuses %s (%s): they are kept and tried again every hour; ask whose it is', r ->> 'target',
        sv.counted((r ->> 'refused')::bigint, 'notification', 'notifications'), r ->> 'error')
      when (r ->> 'failing')::bigint > 0 then format('%s cannot be told of %s (%s): it is tried again by itself', r ->> 'target',
        sv.counted((r ->> 'failing')::bigint, 'change of a case', 'changes of cases'), r ->> 'error')
      else format('%s is not told of cases, %s since %s: does a worker with the role notify run, with this target?', r ->> 'target',
        sv.counted((r ->> 'waiting')::bigint + (r ->> 'behind')::bigint, 'line waits', 'lines wait'), r ->> 'oldest')
    end order by r ->> 'target'), '[]')
  from jsonb_array_elements(p_state) r
  where (r ->> 'refused')::bigint > 0 or (r ->> 'failing')::bigint > 0
    or not (r ->> 'running')::boolean and (r ->> 'waiting')::bigint > 0
$$;


-- The figures of every job.  late: there is still what should have gone three days ago.
create function sv.keep_state()
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(k.job, jsonb_build_object('ran_at', k.ran_at, 'took_ms', k.took_ms, 'rows', k.rows, 'parts', k.parts,
    'rows_all', k.rows_all, 'parts_all', k.parts_all, 'before', k.before, 'oldest', k.oldest, 'failed', k.failed,
    'late', coalesce(k.oldest < k.before - interval '3 days' and k.job not in ('stages', 'loads'), false))), '{}')
  from sv.keep_job k
$$;

create function sv.keep_attention(p_state jsonb)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(
    case when k.value ->> 'failed' is not null then format('housekeeping cannot do "%s" (%s): see the log of the role housekeeping', k.key, k.value ->> 'failed')
      else format('housekeeping is behind with "%s", what is from %s should be gone: does a transaction or a dump run for very long?', k.key, k.value ->> 'oldest')
    end order by k.key), '[]')
  from jsonb_each(p_state) k
  where k.value ->> 'failed' is not null or (k.value ->> 'late')::boolean
$$;


-- What the worker is doing: what is in sv.status_work, and what came with the
-- roles consume and notify and with the jobs of housekeeping.  sv_worker.
alter function sv.worker_status() rename to status_work;
revoke execute on function sv.status_work() from sv_worker;

create function sv.worker_status()
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select s.status || jsonb_build_object('judge', s.judge, 'notify', s.told, 'keep', s.keep, 'attention',
    sv.status_attention(s.status) || sv.judge_attention(s.judge, s.status -> 'running', transaction_timestamp())
    || sv.notify_attention(s.told) || sv.keep_attention(s.keep))
  from (select sv.status_work() || jsonb_build_object('running', sv.status_running()) as status, sv.judge_state() as judge,
    sv.notify_state() as told, sv.keep_state() as keep) s
$$;


-- The worker's figures for /status of a gateway: JSON of at most 8 kB that can
-- stand in a page.  sv_gateway.
create function sv.gateway_figures()
returns text
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select case when octet_length(e.json) <= 8192 then e.json else jsonb_build_object('at', sv.notify_time(transaction_timestamp()))::text end
  from (
    select jsonb_build_object(
      'at', sv.notify_time(transaction_timestamp()),
      'figures', coalesce((
        select jsonb_object_agg(left(f.name, 32), jsonb_build_object('value', left(f.value, 160), 'at', sv.notify_time(f.at)))
        from (select * from sv.worker_figure x order by x.name limit 12) f), '{}'),
      'housekeeping', coalesce((
        select jsonb_object_agg(k.job, jsonb_strip_nulls(jsonb_build_object('ran_at', sv.notify_time(k.ran_at), 'rows', k.rows_all,
          'partitions', k.parts_all, 'oldest', sv.notify_time(k.oldest), 'failed', k.failed is not null)))
        from (select * from sv.keep_job x order by x.job limit 20) k), '{}'))::text as json) t
    cross join lateral (select replace(replace(replace(t.json, '&', '\u0026'), '<', '\u003c'), '>', '\u003e') as json) e
$$;


grant execute on function sv.worker_status() to sv_worker;
grant execute on function sv.gateway_figures() to sv_gateway;

commit;
