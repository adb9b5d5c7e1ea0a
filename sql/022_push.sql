-- The push: how far a target has been told.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(22, 'push');


-- The push.  What was sent is a prefix of the chain: rows up to `n', and `part'
-- parts of the next when it is not 0 (then n is that row).  A batch is written
-- down with its bytes before it is sent, so what is sent again after a failure
-- or a crash is the same document under the same key; the cursor moves when it
-- was taken.  Who sends holds a lease: the backend's process, for a time.
create table sv.push (
  target      text         not null primary key,
  n           bigint       not null default 0,
  part        integer      not null default 0,
  to_n        bigint,                                     -- where the cursor goes when the batch was taken
  to_part     integer,
  key         text,
  document    bytea,                                      -- null: no batch under way
  events      integer,
  holder      integer,                                    -- pid
  held_until  timestamptz,
  attempts    integer      not null default 0,            -- of the batch under way
  next_at     timestamptz,                                -- not to be sent before
  refused     boolean      not null default false,        -- the receiver will not have it
  error       text,
  error_at    timestamptz,
  sent        bigint       not null default 0,            -- events
  sent_at     timestamptz
);


-- The lease of a target, taken or renewed, and the batch under way unless it has
-- to wait; null columns when another holds the lease.
create function sv.push_take(
  p_target       text,
  p_lease_s      integer,
  out held       boolean,
  out n          bigint,
  out part       integer,
  out key        text,
  out document   bytea,
  out attempts   integer,
  out wait_ms    bigint,
  out epoch      text
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_now   timestamptz := clock_timestamp();
  v_push  sv.push;
begin
  insert into sv.push (target) values (p_target) on conflict (target) do nothing;

  select p.* into strict v_push from sv.push p where p.target = p_target for update;

  held := v_push.holder is null or v_push.holder = pg_backend_pid() or v_push.held_until < v_now
    or not exists (select from pg_stat_get_activity(null) a where a.pid = v_push.holder);

  if not held then
    return;
  end if;

  update sv.push
  set holder = pg_backend_pid(), held_until = v_now + make_interval(secs => p_lease_s)
  where target = p_target;

  push_take.n := v_push.n;
  push_take.part := v_push.part;
  push_take.key := v_push.key;
  push_take.attempts := v_push.attempts;
  -- who comes new to it tries at once: a person may have restarted it because the receiver is mended
  push_take.wait_ms := case when v_push.holder = pg_backend_pid()
    then greatest(0, ceil(extract(epoch from v_push.next_at - v_now) * 1000)) else 0 end::bigint;
  push_take.document := case when coalesce(wait_ms, 0) = 0 then v_push.document end;
  push_take.epoch := sv.epoch();
end
$$;


-- A batch is to be sent: written down once, by who holds the lease.
create function sv.push_batch(p_target text, p_to_n bigint, p_to_part integer, p_key text, p_document bytea, p_events integer)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update sv.push
  set to_n = p_to_n, to_part = p_to_part, key = p_key, document = p_document, events = p_events, attempts = 0
  where target = p_target and holder = pg_backend_pid() and document is null;

  return found;
end
$$;


-- There was nothing for this target up to here.
create function sv.push_pass(p_target text, p_n bigint)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update sv.push
  set n = p_n, part = 0
  where target = p_target and holder = pg_backend_pid() and document is null and n <= p_n;

  return found;
end
$$;


-- The batch with this key was taken.
create function sv.push_done(p_target text, p_key text)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update sv.push
  set n = to_n, part = to_part, sent = sent + events, sent_at = clock_timestamp(), to_n = null, to_part = null,
    document = null, key = null, events = null, attempts = 0, next_at = null, refused = false, error = null
  where target = p_target and key = p_key;

  return found;
end
$$;


create function sv.push_failed(p_target text, p_key text, p_error text, p_refused boolean, p_wait_ms bigint)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update sv.push
  set attempts = attempts + 1, error = p_error, error_at = clock_timestamp(), refused = p_refused,
    next_at = clock_timestamp() + make_interval(secs => p_wait_ms / 1000.0)
  where target = p_target and key = p_key
$$;


create function sv.push_leave(p_target text)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update sv.push
  set holder = null, held_until = null
  where target = p_target and holder = pg_backend_pid()
$$;


-- How it stands, for status: one line.
create function sv.push_figure(p_target text)
returns text
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select p.sent || ' events sent, ' || greatest(h.n - p.n, 0) || ' rows behind'
    || case when p.error is not null then ', ' || case when p.refused then 'refused' else 'failing' end || ': ' || p.error else '' end
  from sv.push p, sv.audit_head h
  where p.target = p_target
$$;


-- As in 006_relay.sql, but one relay at a time: a second one takes nothing while
-- the first has rows.  Or else it could chain a pack's later change first, and
-- the push, which follows the chain, would tell them in the wrong order.  A
-- relay that stands still in between loses its session, and the rows are free.
create or replace function sv.relay_take(p_limit integer)
returns table (
  gtin         bigint,
  audit_id     uuid,
  at           timestamptz,
  serial       text,
  version      integer,
  state        text,
  lot          text,
  expiry       date,
  location_id  integer,
  since_ms     bigint
)
language sql security definer
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
as $$
  select set_config('idle_in_transaction_session_timeout', '10s', true);

  with alone as materialized (
    select h.n from sv.audit_head h for update skip locked
  ), taken as materialized (
    select o.gtin, o.audit_id, o.at
    from sv.outbox o
    where exists (select from alone)
    order by o.at
    limit p_limit
    for update of o
  )
  select t.gtin, t.audit_id, t.at, p.serial, p.version, p.state::text, p.lot, p.expiry, p.location_id, sv.ms(p.since)
  from taken t
    left join sv.audit a on a.gtin = t.gtin and a.at = t.at and a.audit_id = t.audit_id
    left join sv.pack p on a.changed and p.gtin = a.gtin and p.serial = a.serial
$$;

commit;
