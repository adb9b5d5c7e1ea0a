-- What the worker is doing, what waits, and what needs a person.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(26, 'status');


-- the findings of a day, of all products; the key leads with the product
create index finding_at on sv.finding using brin (at);


-- Whether nobody needs to look at a finding any more: what was missing has come,
-- the counts agree, or a declaration of error explains it.
create function sv.finding_settled(p_detail jsonb)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select p_detail ?| array['resolved', 'resolved_at', 'explained']
$$;

-- "1 event waits", "3 events wait"
create function sv.counted(p_n bigint, p_one text, p_many text)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select p_n || ' ' || case when p_n = 1 then p_one else p_many end
$$;


-- The sentences for a person who is on duty, the gravest first; empty: nothing
-- needs one.  Each says what is the matter and what to do or where to look.
create function sv.status_attention(p jsonb)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(t.text order by t.n), '[]')
  from (
    select 1 as n, 'no process with the role relay is connected: caches and the audit chain stand still; start serial-verify-worker run' as text
    where not p -> 'running' ? 'relay'

    union all
    select 2, 'no process with the role housekeeping is connected: partitions, parked events and signed heads stand still; start serial-verify-worker run'
    where not p -> 'running' ? 'housekeeping'

    union all
    select 3, format('the relay is %s s behind: look for errors of the role relay in the log', round((p #>> '{outbox,oldest_s}')::numeric))
    where p -> 'running' ? 'relay' and (p #>> '{outbox,oldest_s}')::numeric > 60

    union all
    select 4, format('the Redis at %s does not take writes, %s to be told: can the relay reach it?', r.key,
      sv.counted(r.value::bigint, 'pack is still', 'packs are still'))
    from jsonb_each_text(p -> 'pending') r

    union all
    select 5, format('the load %s (%s) has not moved since %s: look for errors of the role ingest in the log of %s',
      l ->> 'load_id', l ->> 'file', l ->> 'updated_at', l ->> 'host')
    from jsonb_array_elements(p -> 'loads') l
    where l ->> 'state' = 'loading' and (l ->> 'updated_at')::timestamptz < (p ->> 'now')::timestamptz - interval '30 minutes'

    union all
    select 6, format('%s on %s, the oldest since %s s: does the role ingest run there, with the same capture_dir?',
      sv.counted((c.value ->> 'waiting')::bigint, 'capture waits', 'captures wait'), c.key, round((c.value ->> 'oldest_s')::numeric))
    from jsonb_each(p -> 'captures') c
    where (c.value ->> 'oldest_s')::numeric > 600

    union all
    select 7, format('the receiver %s %s (%s): %s', r ->> 'target',
      case when (r ->> 'refused')::boolean then 'refuses what is pushed' else 'cannot be reached' end, r ->> 'error',
      case when (r ->> 'refused')::boolean then 'nothing more is sent until it takes it; ask whose it is' else 'it is tried again by itself' end)
    from jsonb_array_elements(p -> 'push') r
    where r ->> 'error' is not null

    union all
    select 8, format('no head of the audit chain is signed for %s: does a worker with the role housekeeping have audit_key? See its log',
      p #>> '{audit,due}')
    where (p #>> '{audit,heads}')::bigint > 0
      and ((p #>> '{audit,due}')::date + 1)::timestamp at time zone 'UTC' < (p ->> 'now')::timestamptz - interval '1 hour'

    union all
    select 9, sv.counted((p #>> '{quarantine,waiting}')::bigint, 'event waits', 'events wait')
      || ' in quarantine: serial-verify-worker quarantine list'
    where (p #>> '{quarantine,waiting}')::bigint > 0

    union all
    select 10, sv.counted((p #>> '{parked,overdue}')::bigint, 'event waits for packs that were', 'events wait for packs that were')
      || ' never commissioned: serial-verify-worker findings --rule commissioning_missing'
    where (p #>> '{parked,overdue}')::bigint > 0

    union all
    select 11, sv.counted((p #>> '{files,rejected}')::bigint, 'file was', 'files were') || ' rejected in the last day'
      || ': read the report beside it in the directory rejected'
    where (p #>> '{files,rejected}')::bigint > 0

    union all
    select 12, sv.counted((p #>> '{files,partial}')::bigint, 'file was', 'files were') || ' loaded in part in the last day'
      || ': read the report beside it in the directory done'
    where (p #>> '{files,partial}')::bigint > 0

    union all
    select 13, format('%s of the rule %s in the last day: serial-verify-worker findings --rule %2$s',
      sv.counted((f.value ->> 'open')::bigint, 'finding', 'findings'), f.key)
    from jsonb_each(p -> 'findings') f
    where (f.value ->> 'open')::bigint > 0 and f.key <> 'commissioning_missing'
  ) t
$$;


-- What the worker is doing.  sv_worker.
--
--   running     connections by role of the worker     attention   what needs a person
--   quarantine  events that wait for a decision       parked      events that wait for their packs; overdue: past the deadline
--   captures    jobs that are not done, by host       push        receivers: how far, what failed last
--   audit       signed heads; unsigned: rows behind the last; due: the oldest day that has ended and has none
--   serials     requests that are open                recalls     open ones by kind
--   files       loads of the last day by result       findings    of the last day by rule; open: nobody settled them
create or replace function sv.worker_status()
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select s.status || jsonb_build_object('attention', sv.status_attention(s.status))
  from (select jsonb_build_object(
    'now', transaction_timestamp(),
    'schema', sv.schema_version(),
    'running', coalesce((select jsonb_object_agg(r.role, r.n)
      from (
        select substr(a.application_name, 22) as role, count(*) as n
        from pg_stat_get_activity(null) a
        where a.datid = (select d.oid from pg_database d where d.datname = current_database())
          and a.application_name in ('serial-verify-worker ingest', 'serial-verify-worker relay', 'serial-verify-worker housekeeping',
            'serial-verify-worker api', 'serial-verify-worker push')
        group by a.application_name) r), '{}'),
    'outbox', jsonb_build_object(
      'rows', (select count(*) from (select from sv.outbox limit 100000) o),
      'oldest_s', (select extract(epoch from transaction_timestamp() - min(o.at))::numeric(12, 1) from sv.outbox o)),
    'chain', (select jsonb_build_object('n', h.n, 'hash', encode(h.hash, 'hex')) from sv.audit_head h),
    'audit', (select jsonb_build_object('heads', t.head, 'day', t.head_day, 'due', t.due, 'unsigned', t.n - coalesce(d.last_n, 0))
      from sv.audit_state() t left join sv.audit_day d on d.head = t.head),
    'pending', coalesce((select jsonb_object_agg(r.node, r.n)
      from (select x.node, count(*) as n from sv.relay_pending x group by x.node) r), '{}'),
    'quarantine', (select jsonb_build_object('waiting', count(*), 'oldest', min(q.at))
      from (select x.at from sv.quarantine x where x.state = 'waiting' order by x.at limit 100000) q),
    'parked', (select jsonb_build_object('waiting', count(*) filter (where not k.expired), 'overdue', count(*) filter (where k.expired), 'oldest', min(k.at))
      from (select x.expired, x.at from sv.parked x limit 100000) k),
    'captures', coalesce((select jsonb_object_agg(c.host, jsonb_build_object('waiting', c.waiting, 'running', c.running, 'oldest_s', c.oldest_s))
      from (
        select x.host, count(*) filter (where x.state = 'queued') as waiting, count(*) filter (where x.state = 'running') as running,
          extract(epoch from transaction_timestamp() - min(x.created_at))::numeric(12, 1) as oldest_s
        from sv.capture x
        where x.state <> 'done'
        group by x.host) c), '{}'),
    'push', coalesce((select jsonb_agg(jsonb_build_object('target', p.target, 'sent', p.sent, 'sent_at', p.sent_at, 'behind', greatest(h.n - p.n, 0),
        'refused', p.refused, 'attempts', p.attempts, 'error', p.error, 'error_at', p.error_at) order by p.target)
      from sv.push p, sv.audit_head h), '[]'),
    'serials', (select jsonb_build_object('open', count(*), 'numbers', coalesce(sum(r.n), 0), 'reserved_until', min(r.reserved_until))
      from sv.serial_request r where r.state = 'open'),
    'recalls', coalesce((select jsonb_object_agg(r.kind, r.n)
      from (select x.kind, count(*) as n from sv.recall x where x.lifted_at is null group by x.kind) r), '{}'),
    'files', (select jsonb_build_object('loaded', count(*) filter (where l.state = 'loaded'), 'partial', count(*) filter (where l.state = 'partial'),
        'rejected', count(*) filter (where l.state = 'rejected'))
      from sv.load l where l.started_at > transaction_timestamp() - interval '1 day'),
    'findings', coalesce((select jsonb_object_agg(r.rule, jsonb_build_object('n', r.n, 'open', r.open))
      from (
        select f.rule, count(*) as n, count(*) filter (where not sv.finding_settled(f.detail)) as open
        from sv.finding f
        where f.at > transaction_timestamp() - interval '1 day'
        group by f.rule) r), '{}'),
    'figures', coalesce((select jsonb_object_agg(f.name, jsonb_build_object('value', f.value, 'at', f.at)) from sv.worker_figure f), '{}'),
    'loads', coalesce((select jsonb_agg(jsonb_build_object('load_id', l.load_id, 'file', l.file, 'feed', l.feed, 'state', l.state, 'phase', l.phase,
        'bytes', l.bytes, 'bytes_total', l.bytes_total, 'lines', l.lines, 'lines_rejected', l.lines_rejected,
        'events_quarantined', l.events_quarantined,
        'lots', l.lots, 'lots_merged', case when l.state = 'loading'
          then (select count(*) from sv.load_lot b where b.load_id = l.load_id) else l.lots_merged end, 'filed', l.filed, 'note', l.note, 'host', l.host,
        'started_at', l.started_at, 'updated_at', l.updated_at) order by l.started_at desc, l.load_id desc)
      from (select * from sv.load x order by x.started_at desc, x.load_id desc limit 20) l), '[]')) as status) s
$$;


-- Findings, the newest first.  p_days: how far back (a bound for the partitions
-- that are looked at); null: of any rule, product.  sv_worker.
create function sv.findings(p_rule text, p_gtin bigint, p_open boolean, p_days integer, p_limit integer)
returns table (finding_id uuid, at timestamptz, rule text, gtin bigint, serial text, lot text, settled boolean, detail jsonb)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select f.finding_id, f.at, f.rule, f.gtin, f.serial, f.lot, sv.finding_settled(f.detail), f.detail
  from sv.finding f
  where f.at > transaction_timestamp() - make_interval(days => p_days)
    and (p_rule is null or f.rule = p_rule)
    and (p_gtin is null or f.gtin = p_gtin)
    and (not p_open or not sv.finding_settled(f.detail))
  order by f.at desc, f.gtin, f.finding_id
  limit p_limit
$$;


grant execute on function sv.findings(text, bigint, boolean, integer, integer) to sv_worker;

commit;
