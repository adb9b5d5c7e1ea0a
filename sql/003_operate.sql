-- The functions of the counter: verify, operate, hint, and the reference feed
-- and cache epoch every gateway follows.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(3, 'operate');


-- Milliseconds since 1970.
create function sv.ms(p_at timestamptz)
returns bigint
language sql stable strict parallel safe
return floor(extract(epoch from p_at) * 1000)::bigint;


-- What is known of a pack; always one row.  Never used to decide a change.
create function sv.verify_read(
  p_gtin           bigint,
  p_serial         text,
  p_lot            text,
  out known        boolean,                       -- not "found": that is a variable of plpgsql's own
  out state        text,
  out version      integer,
  out lot          text,
  out expiry       text,
  out location_id  integer,
  out since_ms     bigint,
  out lot_known    boolean
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_pack  sv.pack;
begin
  select k.* into v_pack
  from sv.pack k
  where k.gtin = p_gtin and k.serial = p_serial;

  known := v_pack.gtin is not null;
  state := v_pack.state;
  version := v_pack.version;
  lot := v_pack.lot;
  expiry := to_char(v_pack.expiry, 'YYYYMMDD');
  location_id := v_pack.location_id;
  since_ms := sv.ms(v_pack.since);

  lot_known := v_pack.lot = p_lot;

  if lot_known is not true then
    lot_known := exists (
      select from sv.lot l
      where l.gtin = p_gtin and l.lot = p_lot and l.expiry is not null
    );
  end if;
end
$$;


-- 'scanner' when a serial that is not found, or a lot that is not the pack's,
-- becomes right by a keyboard setting or by taking the next element off it.
-- The right value is never told.
create function sv.hint(p_gtin bigint, p_serial text, p_lot text)
returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_pack_lot  text;
begin
  select k.lot into v_pack_lot
  from sv.pack k
  where k.gtin = p_gtin and k.serial = p_serial;

  if v_pack_lot is not null then
    if v_pack_lot <> p_lot
      and (v_pack_lot = any (sv.scanner_variants(p_lot)) or v_pack_lot = any (sv.glued_prefixes(p_lot)))
    then
      return 'scanner';
    end if;

    return null;
  end if;

  if exists (select from sv.pack k where k.gtin = p_gtin and k.serial = any (sv.scanner_variants(p_serial))) then
    return 'scanner';
  end if;

  if exists (
    select from sv.lot l
    where l.gtin = p_gtin and l.lot = any (sv.glued_prefixes(p_lot)) and l.expiry is not null
  ) then
    return 'scanner';
  end if;

  return null;
end
$$;


create function sv.setting_integer(p_name text)
returns integer
language sql stable
return (select s.value::integer from sv.setting s where s.name = p_name);

create function sv.occurred_at_valid(p_occurred_at timestamptz, p_now timestamptz)
returns boolean
language sql stable
return p_occurred_at between p_now - make_interval(hours => 24 * sv.setting_integer('offline_days'))
  and p_now + make_interval(mins => sv.setting_integer('offline_ahead_minutes'));

create function sv.undo_too_late(p_since timestamptz, p_when timestamptz)
returns boolean
language sql stable
return p_when > p_since + make_interval(hours => sv.setting_integer('undo_hours'));


-- The one function that changes a pack, in the caller's transaction (one call
-- a transaction):
--
--   1. The idempotency row, first: whoever comes with the same key waits for
--      this transaction, then finds its outcome, or, if it was rolled back, acts.
--   2. The pack's row is locked; only then the time is taken and the status of
--      lot and product is read, so that a racer that waited sees what the
--      winner left, carries a later time, and no recall is overlooked.
--   3. Permission, time, product, elements, serial and lot, expiry, status, state.
--   4. The change, audit and outbox (refusals too), the outcome.
--
-- Lock order is idempotency row, pack row: no deadlock between two calls.
-- lock_timeout (55P03) and statement_timeout (57014) leave no trace.
--
-- p_key, p_fingerprint  as the client's request has them; p_audit_id is fresh
-- p_lot, p_expiry       null: not presented
-- p_occurred_at         null: now; else an offline replay: expiry, recall and
--                       withdrawal are judged at that time, and undo_hours count from it
-- p_alert_id            used when the outcome is an alert; null: ask silently
create function sv.operate(
  p_gtin            bigint,
  p_serial          text,
  p_lot             text,
  p_expiry          date,
  p_operation       text,
  p_of              text,
  p_location        integer,
  p_key             text,
  p_fingerprint     text,
  p_entry_mode      text,
  p_occurred_at     timestamptz,
  p_alert_id        text,
  p_audit_id        uuid,
  p_request_id      text,
  out replayed      boolean,
  out reason        text,
  out changed       boolean,
  out state         text,
  out state_before  text,
  out version       integer,
  out lot           text,
  out expiry        text,
  out location_id   integer,
  out since_ms      bigint,
  out at_ms         bigint,
  out occurred_ms   bigint,
  out code          text,
  out alert_id      text,
  out repeat        smallint,
  out repeats_left  smallint,
  out hint          text
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_operation  sv.operation := p_operation;
  v_of         sv.operation := coalesce(p_of, p_operation);
  v_now        timestamptz;
  v_when       timestamptz;
  v_here       boolean;
  v_alert      boolean;
  v_stored     sv.idempotency;
  v_pack       sv.pack;
  v_ref        record;
begin
  if v_operation = 'undo' then
    if v_of in ('undo', 'verify') then
      raise exception using errcode = '22023', message = 'undo needs the operation to take back';
    end if;

  elsif v_of <> v_operation then
    raise exception using errcode = '22023', message = 'only undo takes back another operation';
  end if;

  v_now := clock_timestamp();

  loop
    insert into sv.idempotency (gtin, location_id, key, at, fingerprint)
    values (p_gtin, p_location, p_key, v_now, p_fingerprint)
    on conflict do nothing;

    exit when found;

    select i.* into v_stored
    from sv.idempotency i
    where i.gtin = p_gtin and i.location_id = p_location and i.key = p_key;

    if not found then
      continue;  -- purged in between
    end if;

    if v_stored.fingerprint <> p_fingerprint then
      replayed := false;
      reason := 'key_reused';
      changed := false;
      return;
    end if;

    replayed := true;
    reason := v_stored.reason;
    changed := v_stored.changed;
    state := v_stored.state;
    state_before := v_stored.state_before;
    version := v_stored.version;
    lot := v_stored.lot;
    expiry := v_stored.expiry;
    location_id := v_stored.pack_location;
    since_ms := v_stored.since_ms;
    at_ms := v_stored.at_ms;
    occurred_ms := v_stored.occurred_ms;
    code := v_stored.code;
    alert_id := v_stored.alert_id;
    repeat := v_stored.repeat;
    repeats_left := v_stored.repeats_left;
    hint := v_stored.hint;
    return;
  end loop;

  if v_operation = 'verify' then
    select k.* into v_pack
    from sv.pack k
    where k.gtin = p_gtin and k.serial = p_serial;

  else
    select k.* into v_pack
    from sv.pack k
    where k.gtin = p_gtin and k.serial = p_serial
    for update;
  end if;

  v_now := clock_timestamp();
  v_when := coalesce(p_occurred_at, v_now);
  v_here := v_pack.location_id is not null and v_pack.location_id = p_location;

  select
    m.operation is not null
      and (l.role <> 'manufacturer' or v_operation = 'verify' or r.gtin is null or l.company = r.company)
      is true as permitted,
    r.gtin is not null as product_known,
    r.lot_optional,
    r.expiry_optional,
    r.withdrawn_at,
    b.expiry is not null as lot_known,
    b.recalled_at,
    t.next_state,
    t.reason,
    t.code,
    t.alert
  into v_ref
  from (values (p_gtin)) as x (gtin)
    left join sv.location l on l.location_id = p_location and not l.deleted
    left join sv.permission m on m.role = l.role and m.operation = v_of
    left join sv.product r on r.gtin = x.gtin and not r.deleted
    left join sv.lot b on b.gtin = x.gtin and b.lot = coalesce(v_pack.lot, p_lot)
    left join sv.transition t on t.operation = v_operation and t.of = v_of
      and t.state = v_pack.state and t.same_location = v_here;

  if not v_ref.permitted then
    reason := 'not_permitted';

  elsif p_occurred_at is not null and not sv.occurred_at_valid(p_occurred_at, v_now) then
    reason := 'occurred_at_invalid';

  elsif v_ref.product_known and v_operation <> 'verify'
    and (p_lot is null and not v_ref.lot_optional or p_expiry is null and not v_ref.expiry_optional)
  then
    reason := 'elements_missing';

  else
    -- at the counter a recall that is seen counts; a replay happened before or after it
    reason := sv.judge(
      v_ref.product_known, v_pack.gtin is not null, v_ref.lot_known, v_pack.lot, v_pack.expiry, p_lot, p_expiry,
      v_ref.withdrawn_at is not null and (p_occurred_at is null or v_ref.withdrawn_at <= p_occurred_at),
      v_ref.recalled_at is not null and (p_occurred_at is null or v_ref.recalled_at <= p_occurred_at),
      (v_when at time zone 'UTC')::date, 'active', true);
  end if;

  replayed := false;
  changed := false;
  state_before := v_pack.state;

  if reason = 'ok' then
    reason := v_ref.reason;
    code := v_ref.code;
    v_alert := v_ref.alert;

    if v_operation = 'undo' and v_ref.next_state is not null and sv.undo_too_late(v_pack.since, v_when) then
      reason := 'undo_too_late';

    elsif v_ref.next_state is not null then
      v_pack.state := v_ref.next_state;
      v_pack.version := v_pack.version + 1;
      v_pack.location_id := p_location;
      v_pack.since := v_when;

      update sv.pack k
      set state = v_pack.state, version = v_pack.version, location_id = v_pack.location_id, since = v_pack.since,
        repeats = 0
      where k.gtin = p_gtin and k.serial = p_serial;

      changed := true;

    elsif v_operation = 'supply' and reason = 'already_supplied_here' then
      if v_pack.repeats < sv.setting_integer('supply_repeats') then
        repeat := v_pack.repeats + 1;
        repeats_left := sv.setting_integer('supply_repeats') - repeat;

        update sv.pack k
        set repeats = operate.repeat
        where k.gtin = p_gtin and k.serial = p_serial;

      else
        reason := 'already_supplied';
        code := 'A7';
        v_alert := true;
      end if;
    end if;
  end if;

  if reason <> 'ok' then
    select coalesce(operate.code, n.code), coalesce(v_alert, n.alert)
    into code, v_alert
    from sv.reason n
    where n.reason = operate.reason;

    if reason in ('serial_unknown', 'lot_unknown', 'lot_mismatch') then
      hint := sv.hint(p_gtin, p_serial, p_lot);
    end if;

    -- a scanner's setting is no falsification: the pack is scanned again
    if v_alert and hint is null then
      alert_id := p_alert_id;
    end if;

  elsif changed and p_occurred_at is not null and v_operation <> 'undo'
    and (v_ref.recalled_at is not null or v_ref.withdrawn_at is not null)
  then
    insert into sv.finding (gtin, at, finding_id, rule, serial, lot, detail)
    values (p_gtin, v_now, p_audit_id, 'supplied_before_recall', p_serial, v_pack.lot,
      jsonb_build_object('operation', p_operation, 'location_id', p_location, 'occurred_at', p_occurred_at,
        'recalled_at', v_ref.recalled_at, 'withdrawn_at', v_ref.withdrawn_at));
  end if;

  state := v_pack.state;
  version := v_pack.version;
  lot := v_pack.lot;
  expiry := to_char(v_pack.expiry, 'YYYYMMDD');
  location_id := v_pack.location_id;
  since_ms := sv.ms(v_pack.since);
  at_ms := sv.ms(v_now);
  occurred_ms := sv.ms(p_occurred_at);

  with entry as (
    insert into sv.audit (gtin, at, audit_id, occurred_at, location_id, version, expiry, repeat, changed, kind, operation, of,
      serial, lot, reason, state_before, state, code, alert_id, hint, entry_mode, key, request_id)
    values (p_gtin, v_now, p_audit_id, p_occurred_at, p_location, operate.version, p_expiry, operate.repeat, operate.changed,
      'operation', p_operation, p_of, p_serial, p_lot, operate.reason, operate.state_before, operate.state, operate.code,
      operate.alert_id, operate.hint, p_entry_mode, p_key, p_request_id)
  )
  insert into sv.outbox (gtin, audit_id, at)
  values (p_gtin, p_audit_id, v_now);

  update sv.idempotency i
  set reason = operate.reason, changed = operate.changed, state = operate.state, state_before = operate.state_before,
    version = operate.version, lot = operate.lot, expiry = operate.expiry, pack_location = operate.location_id,
    since_ms = operate.since_ms, at_ms = operate.at_ms, occurred_ms = operate.occurred_ms, code = operate.code,
    alert_id = operate.alert_id, repeat = operate.repeat, repeats_left = operate.repeats_left, hint = operate.hint
  where i.gtin = p_gtin and i.location_id = p_location and i.key = p_key;
end
$$;


-- Reason and reference of a recall or withdrawal, as one text for a person.
create function sv.reason_text(p_reason text, p_reference text)
returns text
language sql immutable parallel safe
return case when p_reference is null then p_reason else p_reason || ' (' || p_reference || ')' end;


-- What changed in the reference data after (p_n, p_kind, p_key), in this
-- order, at most p_limit rows: fewer mean that the reader has caught up.
-- Numbers become visible in order, so nothing is ever inserted behind a reader.
create function sv.ref_feed(
  p_n      bigint,
  p_kind   text,
  p_key    text,
  p_limit  integer
)
returns table (
  n        bigint,
  kind     text,
  key      text,
  deleted  boolean,
  f1       text,
  f2       text,
  f3       text,
  f4       text,
  f5       text,
  f6       text,
  f7       text
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
  v_n     bigint := coalesce(p_n, 0);
  v_kind  text := coalesce(p_kind, '');
  v_key   text := coalesce(p_key, '');
begin
  return query
  select u.n, u.kind, u.key, u.deleted,
    case when not u.deleted then u.f1 end, case when not u.deleted then u.f2 end,
    case when not u.deleted then u.f3 end, case when not u.deleted then u.f4 end,
    case when not u.deleted then u.f5 end, case when not u.deleted then u.f6 end,
    case when not u.deleted then u.f7 end
  from (
    (
      select c.ref_n as n, 'credential' as kind, encode(c.sha256, 'hex') as key, c.revoked as deleted,
        c.location_id::text as f1, sv.ms(c.not_before)::text as f2, sv.ms(c.not_after)::text as f3,
        null as f4, null as f5, null as f6, null as f7
      from sv.credential c
      where c.ref_n >= v_n
        and (c.ref_n > v_n or ('credential' collate "C", encode(c.sha256, 'hex') collate "C") > (v_kind, v_key))
      order by c.ref_n, encode(c.sha256, 'hex') collate "C"
      limit p_limit
    )
    union all
    (
      select l.ref_n, 'location', l.location_id::text, l.deleted,
        l.gln, l.role::text, l.company, l.country, null, null, null
      from sv.location l
      where l.ref_n >= v_n
        and (l.ref_n > v_n or ('location' collate "C", l.location_id::text collate "C") > (v_kind, v_key))
      order by l.ref_n, l.location_id::text collate "C"
      limit p_limit
    )
    union all
    (
      select b.ref_n, 'lot', lpad(b.gtin::text, 14, '0') || b.lot, b.recalled_at is null,
        sv.ms(b.recalled_at)::text, sv.reason_text(b.reason, b.reference), null, null, null, null, null
      from sv.lot b
      where b.ref_n >= v_n
        and (b.ref_n > v_n or ('lot' collate "C", (lpad(b.gtin::text, 14, '0') || b.lot) collate "C") > (v_kind, v_key))
      order by b.ref_n, (lpad(b.gtin::text, 14, '0') || b.lot) collate "C"
      limit p_limit
    )
    union all
    (
      select r.ref_n, 'product', lpad(r.gtin::text, 14, '0'), r.deleted,
        r.name, r.company, left(r.lot_optional::text, 1), left(r.expiry_optional::text, 1),
        sv.ms(r.withdrawn_at)::text, sv.reason_text(r.reason, r.reference), r.default_link
      from sv.product r
      where r.ref_n >= v_n
        and (r.ref_n > v_n or ('product' collate "C", lpad(r.gtin::text, 14, '0') collate "C") > (v_kind, v_key))
      order by r.ref_n, lpad(r.gtin::text, 14, '0') collate "C"
      limit p_limit
    )
  ) u
  order by u.n, u.kind collate "C", u.key collate "C"
  limit p_limit;
end
$$;


-- Which life of the database this is.  A restore or a promotion begins another
-- timeline; a restored cluster of the same timeline needs cache_counter raised.
create function sv.epoch()
returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_timeline  integer;
begin
  -- The control file names the new timeline only after the first checkpoint of
  -- a promoted server; the write-ahead log does at once, but not in recovery.
  if pg_is_in_recovery() then
    v_timeline := (select c.timeline_id from pg_control_checkpoint() c);
  else
    v_timeline := ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer;
  end if;

  return (select c.system_identifier from pg_control_system() c)
    || '/' || v_timeline || '/' || sv.setting_integer('cache_counter');
end
$$;


grant execute on function
  sv.verify_read(bigint, text, text),
  sv.hint(bigint, text, text),
  sv.operate(bigint, text, text, date, text, text, integer, text, text, text, timestamptz, text, uuid, text),
  sv.ref_feed(bigint, text, text, integer),
  sv.epoch()
to sv_gateway;

-- The relay and the worker's own checks look as the gateway does.
grant execute on function
  sv.verify_read(bigint, text, text),
  sv.ref_feed(bigint, text, text, integer),
  sv.epoch()
to sv_worker;

commit;
