-- The relay's and housekeeping's functions: audit chain, cache writes that are
-- still to do, partitions, purges, status.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(6, 'relay');


-- Cache writes that a Redis server could not take.  A row may be dropped once
-- every entry that was in the cache at that time has reached the end of its
-- life: that is as good as the write.
create table sv.relay_pending (
  gtin    bigint       not null,
  serial  text         collate "C" not null,
  node    text         not null,                          -- as the configuration names it
  at      timestamptz  not null,                          -- of the newest change
  primary key (gtin, serial, node)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

create index relay_pending_at on sv.relay_pending (at);

-- the relay takes the oldest first, also of a long queue
create index outbox_at on sv.outbox (at);

-- What the worker wants to be known of itself.
create table sv.worker_figure (
  name   text         not null primary key,
  value  text         not null,
  at     timestamptz  not null
);


-- The text that stands for an audit row in the chain: its values in the order
-- of this list, each as its length in bytes, a colon and the value, null as
-- "-".  Times are microseconds since 1970.  docs/worker.md says how to check it.
create function sv.audit_text(p_row sv.audit)
returns text
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
set datestyle = 'ISO, YMD'
as $$
  select string_agg(coalesce(octet_length(f.v) || ':' || f.v, '-'), '' order by f.n)
  from unnest(array[
    p_row.gtin::text,
    (extract(epoch from p_row.at) * 1000000)::bigint::text,
    p_row.audit_id::text,
    (extract(epoch from p_row.occurred_at) * 1000000)::bigint::text,
    p_row.location_id::text,
    p_row.version::text,
    p_row.expiry::text,
    p_row.repeat::text,
    p_row.changed::text,
    p_row.kind,
    p_row.operation,
    p_row.of,
    p_row.serial,
    p_row.lot,
    p_row.reason,
    p_row.state_before,
    p_row.state,
    p_row.code,
    p_row.alert_id,
    p_row.hint,
    p_row.entry_mode,
    p_row.key,
    p_row.request_id,
    p_row.actor,
    p_row.detail::text
  ]) with ordinality as f (v, n)
$$;


-- The functions of the relay look their rows up one by one, whatever the
-- planner believes of tables that grow and shrink: hence their settings.

-- The oldest work, locked for this transaction, with the packs as they are now.
-- Rows without a serial, or of a refused operation, are nothing for the cache:
-- version is null.
create function sv.relay_take(p_limit integer)
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
  with taken as materialized (
    select o.gtin, o.audit_id, o.at
    from sv.outbox o
    order by o.at
    limit p_limit
    for update skip locked
  )
  select t.gtin, t.audit_id, t.at, p.serial, p.version, p.state::text, p.lot, p.expiry, p.location_id, sv.ms(p.since)
  from taken t
    left join sv.audit a on a.gtin = t.gtin and a.at = t.at and a.audit_id = t.audit_id
    left join sv.pack p on a.changed and p.gtin = a.gtin and p.serial = a.serial
$$;


-- Appends what was taken to the chain and takes it out of the outbox.  The
-- lock on the head puts the relays one behind the other; it is held until the
-- commit, so the numbers are without gaps.
create function sv.relay_chain(p_gtin bigint[], p_audit_id uuid[], p_at timestamptz[])
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
as $$
declare
  v_n     bigint;
  v_hash  bytea;
  v_row   record;
begin
  select h.n, h.hash into strict v_n, v_hash from sv.audit_head h for update;

  for v_row in
    select a.gtin, a.at, a.audit_id, sha256(convert_to(sv.audit_text(a), 'UTF8')) as digest
    from unnest(p_gtin, p_audit_id, p_at) as t (gtin, audit_id, at)
      join sv.audit a on a.gtin = t.gtin and a.at = t.at and a.audit_id = t.audit_id
    order by a.at, a.audit_id
  loop
    v_n := v_n + 1;
    v_hash := sha256(v_hash || v_row.digest);

    insert into sv.audit_chain (n, gtin, at, audit_id, digest, hash)
    values (v_n, v_row.gtin, v_row.at, v_row.audit_id, v_row.digest, v_hash);
  end loop;

  update sv.audit_head set n = v_n, hash = v_hash;

  delete from sv.outbox o
  using unnest(p_gtin, p_audit_id) as t (gtin, audit_id)
  where o.gtin = t.gtin and o.audit_id = t.audit_id;

  return v_n;
end
$$;


-- Packs that a Redis server has still to be told of.
create function sv.relay_postpone(p_node text, p_gtin bigint[], p_serial text[], p_at timestamptz[])
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into sv.relay_pending as r (gtin, serial, node, at)
  select t.gtin, t.serial, p_node, max(t.at)
  from unnest(p_gtin, p_serial, p_at) as t (gtin, serial, at)
  group by t.gtin, t.serial
  order by t.gtin, t.serial
  on conflict (gtin, serial, node) do update set at = greatest(r.at, excluded.at)
$$;


-- What a server has still to be told, locked for this transaction.
create function sv.relay_retry(p_node text, p_limit integer)
returns table (
  gtin         bigint,
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
  with taken as materialized (
    select r.gtin, r.serial
    from sv.relay_pending r
    where r.node = p_node
    order by r.at
    limit p_limit
    for update skip locked
  )
  select t.gtin, t.serial, p.version, p.state::text, p.lot, p.expiry, p.location_id, sv.ms(p.since)
  from taken t
    join sv.pack p on p.gtin = t.gtin and p.serial = t.serial
$$;

create function sv.relay_told(p_node text, p_gtin bigint[], p_serial text[])
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
as $$
  delete from sv.relay_pending r
  using unnest(p_gtin, p_serial) as t (gtin, serial)
  where r.gtin = t.gtin and r.serial = t.serial and r.node = p_node
$$;


create function sv.figure_set(p_name text, p_value text)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into sv.worker_figure (name, value, at)
  values (p_name, p_value, transaction_timestamp())
  on conflict (name) do update set value = excluded.value, at = excluded.at
$$;


-- The partitions of this month and the next ones; how many were missing.  To
-- attach one locks the default partition; while that waits, for a dump say, the
-- relay would wait behind it: so it gives up soon and is called again later.
create function sv.keep_partitions(p_months_ahead integer)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '500ms'
as $$
declare
  v_parent  text;
  v_made    integer := 0;
begin
  foreach v_parent in array array['audit', 'finding'] loop
    for v_i in 0 .. p_months_ahead loop
      if sv.make_month_partition(v_parent,
        ((transaction_timestamp() at time zone 'UTC')::date + make_interval(months => v_i))::date)
      then
        v_made := v_made + 1;
      end if;
    end loop;
  end loop;

  return v_made;
end
$$;


-- A batch of what is older than the time; less than the limit: that was all.
create function sv.purge_idempotency(p_before timestamptz, p_limit integer)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_n  integer;
begin
  -- never what a client may still repeat
  if p_before > transaction_timestamp() - interval '1 day' then
    raise exception 'idempotency keys are kept for a day at least' using errcode = '22023';
  end if;

  with old as materialized (
    select i.gtin, i.location_id, i.key
    from sv.idempotency i
    where i.at < p_before
    order by i.at
    limit p_limit
    for update skip locked
  )
  delete from sv.idempotency i
  using old o
  where i.gtin = o.gtin and i.location_id = o.location_id and i.key = o.key;

  get diagnostics v_n = row_count;

  return v_n;
end
$$;

create function sv.purge_pending(p_before timestamptz, p_limit integer)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_n  integer;
begin
  with old as materialized (
    select r.gtin, r.serial, r.node
    from sv.relay_pending r
    where r.at < p_before
    order by r.at
    limit p_limit
    for update skip locked
  )
  delete from sv.relay_pending r
  using old o
  where r.gtin = o.gtin and r.serial = o.serial and r.node = o.node;

  get diagnostics v_n = row_count;

  return v_n;
end
$$;


create function sv.worker_status()
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'now', transaction_timestamp(),
    'schema', sv.schema_version(),
    'outbox', jsonb_build_object(
      'rows', (select count(*) from (select from sv.outbox limit 100000) o),
      'oldest_s', (select extract(epoch from transaction_timestamp() - min(o.at))::numeric(12, 1) from sv.outbox o)),
    'chain', (select jsonb_build_object('n', h.n, 'hash', encode(h.hash, 'hex')) from sv.audit_head h),
    'pending', coalesce((select jsonb_object_agg(r.node, r.n)
      from (select x.node, count(*) as n from sv.relay_pending x group by x.node) r), '{}'),
    'figures', coalesce((select jsonb_object_agg(f.name, jsonb_build_object('value', f.value, 'at', f.at)) from sv.worker_figure f), '{}'),
    'loads', coalesce((select jsonb_agg(jsonb_build_object('load_id', l.load_id, 'file', l.file, 'state', l.state, 'phase', l.phase,
        'bytes', l.bytes, 'bytes_total', l.bytes_total, 'lines', l.lines, 'lines_rejected', l.lines_rejected,
        'lots', l.lots, 'lots_merged', case when l.state = 'loading'
          then (select count(*) from sv.load_lot b where b.load_id = l.load_id) else l.lots_merged end, 'filed', l.filed, 'note', l.note, 'host', l.host,
        'started_at', l.started_at, 'updated_at', l.updated_at) order by l.started_at desc, l.load_id desc)
      from (select * from sv.load x order by x.started_at desc, x.load_id desc limit 20) l), '[]'))
$$;


grant execute on function
  sv.relay_take(integer),
  sv.relay_chain(bigint[], uuid[], timestamptz[]),
  sv.relay_postpone(text, bigint[], text[], timestamptz[]),
  sv.relay_retry(text, integer),
  sv.relay_told(text, bigint[], text[]),
  sv.figure_set(text, text),
  sv.keep_partitions(integer),
  sv.purge_idempotency(timestamptz, integer),
  sv.purge_pending(timestamptz, integer),
  sv.worker_status()
to sv_worker;

commit;
