-- What comes to the judge: the lease, scans into history, operations out of the chain.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(29, 'judge');


-- Feed findings (contradicting commissionings, a supply before a recall ..) are
-- judged once, and once more when they were settled.  What was found before
-- there was a judge is not looked at.
alter table sv.finding add column judged smallint not null default 2;
alter table sv.finding alter column judged set default 0;

create index finding_unjudged on sv.finding (at)
  where judged < case when sv.finding_settled(detail) then 2 else 1 end;

-- nor is what was done before
update sv.judge set chain_n = (select h.n from sv.audit_head h);


-- Makes the partition of one day (UTC), as sv.make_month_partition does of a month.
create function sv.make_day_partition(p_parent text, p_day date)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  v_from  timestamptz := p_day::timestamptz;
  v_to    timestamptz := (p_day + 1)::timestamptz;
  v_name  text := p_parent || '_' || to_char(p_day, 'YYYYMMDD');
  v_late  boolean;
begin
  if to_regclass(format('sv.%I', v_name)) is not null then
    return false;
  end if;

  execute format('select exists (select from sv.%I where at >= $1 and at < $2)', p_parent || '_default')
  into v_late
  using v_from, v_to;

  if v_late then
    raise warning 'sv.% has rows of % already, no partition is made for it', p_parent || '_default', p_day;
    return false;
  end if;

  execute format('create table sv.%I (like sv.%I including all)', v_name, p_parent);
  execute format('alter table sv.%I attach partition sv.%I for values from (%L) to (%L)', p_parent, v_name, v_from, v_to);

  return true;
end
$$;

do $$
declare
  v_today  date := (transaction_timestamp() at time zone 'UTC')::date;
begin
  for i in -1 .. 7 loop
    perform sv.make_day_partition('scan', v_today + i);
  end loop;
end
$$;


-- The lease, taken or renewed: free is one that ended, or whose holder's backend
-- is gone.  Not while the holder is in a transaction of its own.  kept: nobody else
-- had it since this holder took it first.  waits: there is something to judge in
-- the chain or among the feeds' findings.  again: what was put aside is to be judged
-- once more.  sv_worker.
create function sv.judge_take(p_holder uuid, p_lease_ms integer, out held boolean, out kept boolean, out waits boolean, out again boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now    timestamptz := clock_timestamp();
  v_judge  sv.judge;
  v_free   boolean;
begin
  select j.* into v_judge from sv.judge j;

  kept := v_judge.holder is not distinct from p_holder;
  waits := false;
  again := false;

  -- another's that is good is left alone: whoever locks it to look is in the holder's way
  v_free := v_judge.holder is null or kept or v_judge.until < v_now
    or not exists (select from pg_stat_get_activity(null) a where a.pid = v_judge.pid);

  -- it is asked for ten times a second, and written every now and then
  held := kept and coalesce(v_judge.pid = pg_backend_pid() and v_judge.until > v_now + make_interval(secs => p_lease_ms / 2000.0), false);

  if v_free and not held then
    -- as it was seen, or else it has been taken or renewed since
    perform
    from sv.judge j
    where (j.holder, j.pid, j.until) is not distinct from (v_judge.holder, v_judge.pid, v_judge.until)
    for update skip locked;

    -- somebody holds the row at this moment: what was good is good until it ends
    held := found or coalesce(kept and v_judge.pid = pg_backend_pid() and v_judge.until > v_now, false);

    if found then
      update sv.judge
      set holder = p_holder, pid = pg_backend_pid(), until = v_now + make_interval(secs => p_lease_ms / 1000.0);
    end if;
  end if;

  if held then
    again := exists (select from sv.refused r where r.again);
    waits := (select h.n from sv.audit_head h) > v_judge.chain_n
      or exists (select from sv.finding f where f.judged < case when sv.finding_settled(f.detail) then 2 else 1 end);
  end if;
end
$$;

-- The lease is given back.  sv_worker.
create function sv.judge_leave(p_holder uuid)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update sv.judge set holder = null, pid = null, until = null where holder = p_holder
$$;


-- First in every transaction of the judge: its row is locked and the lease
-- renewed, so nobody takes it over before the end.  55000: another has it.  sv_worker.
create function sv.judge_begin(p_holder uuid, p_lease_ms integer)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update sv.judge
  set until = clock_timestamp() + make_interval(secs => p_lease_ms / 1000.0)
  where holder = p_holder and pid = pg_backend_pid();

  if not found then
    raise exception using errcode = '55000', message = 'another worker judges now';
  end if;
end
$$;


-- The session's table of what came, in order of arrival; emptied at the end of
-- each transaction.  sv_worker.
create function sv.judge_session()
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set client_min_messages = warning
as $$
begin
  create temp table if not exists scan_in (
    i            integer      not null,
    gtin         bigint       not null,
    at           timestamptz  not null,
    gateway      text         collate "C" not null,
    boot         bigint       not null,
    seq          bigint       not null,
    occurred_at  timestamptz,
    serial       text         collate "C",
    lot          text         collate "C",
    expiry       text,
    location_id  integer,
    session      text         collate "C",
    country      text,
    lat          real,
    lon          real,
    accuracy_km  integer,
    entry_mode   text,
    reason       text         not null,
    alert_id     text,
    request_id   text,
    hint         text,
    silent       boolean      not null
  ) on commit delete rows;

  execute format('grant insert on pg_temp.scan_in to %I', session_user);
end
$$;


-- What an operation or scan met, of the pack it names: its lot where none was
-- presented, how and when it was commissioned where something else was presented
-- or it was not known then, and who made its state, if that is the state that was met.
create function sv.judge_pack(p_gtin bigint, p_serial text, p_lot text, p_reason text, p_at timestamptz)
returns table (pack_lot text, pack_expiry date, pack_at timestamptz, before_id integer)
language sql stable
begin atomic
  select
    case when p_lot is null or b.load_id is not null then p.lot end,
    p.expiry,
    b.at,
    case when p_reason not in ('ok', 'product_unknown', 'lot_unknown', 'serial_unknown', 'lot_mismatch', 'expiry_mismatch', 'expired', 'recalled',
      'withdrawn') and p.since <= p_at then p.location_id end
  from sv.pack p
    left join sv.load_lot b on b.gtin = p.gtin and b.lot = p.lot and b.load_id = p.load_id
      and p_reason in ('product_unknown', 'lot_unknown', 'serial_unknown', 'lot_mismatch', 'expiry_mismatch')
  where p.gtin = p_gtin and p.serial = p_serial and p.state <> 'void';
end;


-- The scans of the session's table into history; a row for each that is new,
-- with its number, in order of arrival.  One that came before, here or in an
-- earlier transaction, is passed over: nobody else inserts while the judge's row
-- is locked, and of a gateway's process what is beyond the last sequence is new
-- without a look.  sv_worker.
create function sv.judge_scans(p_holder uuid)
returns table (i integer, n bigint, pack_lot text, pack_expiry text, pack_ms bigint, before_id integer, ahead boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_n      bigint;
  -- a gateway's clock that is ahead of this is wrong: the judge would forget all that is older
  v_ahead  timestamptz := clock_timestamp() + interval '10 minutes';
begin
  select j.scan_n into v_n from sv.judge j where j.holder = p_holder;

  if not found then
    raise exception using errcode = '55000', message = 'another worker judges now';
  end if;

  -- a view of that name would run what its maker wrote as the owner of all this
  if (select c.relowner <> current_user::regrole or c.relkind <> 'r' from pg_class c where c.oid = 'pg_temp.scan_in'::regclass) then
    raise exception using errcode = '42501', message = 'pg_temp.scan_in is not the table that sv.judge_session() made';
  end if;

  return query
  with come as materialized (
    select distinct on (s.gateway, s.boot, s.seq) s.*
    from pg_temp.scan_in s
    order by s.gateway, s.boot, s.seq, s.i
  ), fresh as materialized (
    select c.*, v_n + row_number() over (order by c.i) as n, coalesce(c.occurred_at, c.at) > v_ahead as ahead
    from come c
      left join sv.scan_source o on o.gateway = c.gateway and o.boot = c.boot
    where o.last_seq is null or c.seq > o.last_seq
      or not exists (select from sv.scan x
        where x.gtin = c.gtin and x.at = c.at and x.gateway = c.gateway and x.boot = c.boot and x.seq = c.seq)
  ), met as materialized (
    select f.*, k.pack_lot, k.pack_expiry, k.pack_at, k.before_id
    from fresh f
      left join lateral (
        select j.*
        from sv.judge_pack(f.gtin, f.serial, f.lot, f.reason, coalesce(f.occurred_at, f.at)) j
        where f.lot is null or f.reason not in ('ok', 'expired', 'recalled', 'withdrawn')
      ) k on true
  ), kept as (
    insert into sv.scan (gtin, at, gateway, boot, seq, n, occurred_at, serial, lot, expiry, operation, location_id, session, country,
      lat, lon, accuracy_km, entry_mode, reason, alert_id, request_id, hint, silent, before_id, pack_lot)
    select m.gtin, m.at, m.gateway, m.boot, m.seq, m.n, m.occurred_at, m.serial, m.lot, m.expiry, 'verify', m.location_id, m.session, m.country,
      m.lat, m.lon, m.accuracy_km, m.entry_mode, m.reason, m.alert_id, m.request_id, m.hint, m.silent or m.ahead, m.before_id,
      case when m.lot is null then m.pack_lot end
    from met m
  ), counted as (
    insert into sv.scan_source as o (gateway, boot, first_at, last_at, last_seq, received, ahead, ahead_at)
    select m.gateway, m.boot, min(m.at), max(m.at), max(m.seq), count(*), count(*) filter (where m.ahead),
      case when bool_or(m.ahead) then clock_timestamp() end
    from met m
    group by m.gateway, m.boot
    on conflict (gateway, boot) do update
    set first_at = least(o.first_at, excluded.first_at), last_at = greatest(o.last_at, excluded.last_at),
      last_seq = greatest(o.last_seq, excluded.last_seq), received = o.received + excluded.received,
      ahead = o.ahead + excluded.ahead, ahead_at = coalesce(excluded.ahead_at, o.ahead_at)
  ), moved as (
    update sv.judge j set scan_n = v_n + (select count(*) from met) where j.holder = p_holder
  )
  select m.i, m.n, m.pack_lot, to_char(m.pack_expiry, 'YYMMDD'), sv.ms(m.pack_at), m.before_id, m.ahead
  from met m
  order by m.n;
end
$$;


-- What the audit chain has behind the judge's place: operations go into history;
-- a row for each of them and for each load of a lot and each recall, in the order
-- of the chain.  Not more than p_limit rows of the chain.  p_refused: of one that was
-- put aside instead, by its number in sv.refused; nothing if it is in history.  sv_worker.
create function sv.judge_chain(p_holder uuid, p_limit integer, p_refused bigint default null)
returns table (
  n            bigint,                                    -- of sv.scan; null: not an operation
  kind         text,
  operation    text,
  of           text,
  gtin         bigint,
  at_ms        bigint,
  occurred_ms  bigint,
  serial       text,
  lot          text,
  expiry       text,
  location_id  integer,
  entry_mode   text,
  reason       text,
  hint         text,
  pack_lot     text,
  pack_expiry  text,
  pack_ms      bigint,
  before_id    integer
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_judge  sv.judge;
  v_first  bigint;                                        -- behind this one ..
  v_last   bigint;                                        -- .. up to this one
begin
  select j.* into v_judge from sv.judge j where j.holder = p_holder;

  if not found then
    raise exception using errcode = '55000', message = 'another worker judges now';
  end if;

  if p_refused is null then
    v_first := v_judge.chain_n;
    v_last := least((select h.n from sv.audit_head h), v_judge.chain_n + p_limit);
  else
    select r.seq - 1, r.seq into v_first, v_last from sv.refused r where r.n = p_refused and r.kind = 'chain';
  end if;

  if v_last is null or v_last = v_first then
    return;
  end if;

  return query
  with told as materialized (
    -- a time that was refused is none
    select c.n as place, a.*, case when a.reason <> 'occurred_at_invalid' then a.occurred_at end as happened_at
    from sv.audit_chain c
      join sv.audit a on a.gtin = c.gtin and a.at = c.at and a.audit_id = c.audit_id
    where c.n > v_first and c.n <= v_last
      and (a.kind = 'operation' or a.kind = 'recall' or a.kind = 'load' and a.operation = 'commission')
      and (p_refused is null or not exists (select from sv.scan x
        where x.gtin = c.gtin and x.at = c.at and x.gateway = '' and x.boot = 0 and x.seq = c.n))
  ), met as materialized (
    select t.*, k.pack_lot, k.pack_expiry, k.pack_at, k.before_id,
      case when t.kind = 'operation'
        then v_judge.scan_n + count(*) filter (where t.kind = 'operation') over (order by t.place) end as scan_n
    from told t
      left join lateral (
        select j.*
        from sv.judge_pack(t.gtin, t.serial, t.lot, t.reason, coalesce(t.happened_at, t.at)) j
        where t.kind = 'operation'
      ) k on true
  ), kept as (
    insert into sv.scan (gtin, at, gateway, boot, seq, n, occurred_at, serial, lot, expiry, operation, of, location_id, entry_mode,
      reason, alert_id, request_id, hint, before_id, pack_lot)
    select m.gtin, m.at, '', 0, m.place, m.scan_n, m.happened_at, m.serial, m.lot, to_char(m.expiry, 'YYMMDD'), m.operation, m.of,
      m.location_id, m.entry_mode, m.reason, m.alert_id, m.request_id, m.hint, m.before_id, case when m.lot is null then m.pack_lot end
    from met m
    where m.kind = 'operation'
  ), moved as (
    update sv.judge j
    set chain_n = case when p_refused is null then v_last else j.chain_n end,
      scan_n = v_judge.scan_n + (select count(*) from met m where m.kind = 'operation')
    where j.holder = p_holder
  )
  select m.scan_n, m.kind, m.operation, m.of, m.gtin, sv.ms(m.at), sv.ms(m.happened_at), m.serial, m.lot,
    to_char(m.expiry, 'YYMMDD'), m.location_id, m.entry_mode, m.reason, m.hint, m.pack_lot,
    to_char(m.pack_expiry, 'YYMMDD'), sv.ms(m.pack_at), m.before_id
  from met m
  order by m.place;
end
$$;


-- What waits in the streams.  sv_worker.
create function sv.judge_tell(p_holder uuid, p_streams jsonb)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update sv.judge set streams = p_streams, told_at = transaction_timestamp() where holder = p_holder
$$;


grant execute on function
  sv.judge_take(uuid, integer),
  sv.judge_leave(uuid),
  sv.judge_begin(uuid, integer),
  sv.judge_session(),
  sv.judge_scans(uuid),
  sv.judge_chain(uuid, integer, bigint),
  sv.judge_tell(uuid, jsonb)
to sv_worker;

commit;
