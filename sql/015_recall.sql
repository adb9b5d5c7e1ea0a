-- Recalls: of a lot, a range or a list of serials, and withdrawals of a product;
-- who made them, who may lift them.
--
-- sv.recall holds every recall there is or was.  What gateways and sv.operate
-- look at follows from the open ones:
--
--   lot, product    sv.lot.recalled_at, sv.product.withdrawn_at: of the earliest
--   range, serials  sv.product.partly_recalled, the mark in the reference feed
--                   that sends every look-up of the product to PostgreSQL, where
--                   sv.recall_of_serial() says which packs it is
--
-- Each party (the authority, the operator, a company) has recalls of its own: two
-- recalls of the same lot are two rows, the earliest stands, and to lift one
-- leaves the other.  The same recall by the same party again is no other row.
--
-- Locks: the row of the lot (of a range or list: of the product), then rows of
-- sv.recall, then the reference clock, as in 004_refdata.sql.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(15, 'recall');


create table sv.recall (
  gtin         bigint       not null,
  recall_id    uuid         not null,
  kind         text         not null check (kind in ('lot', 'range', 'serials', 'product')),
  lot          text         collate "C",                  -- lot
  serial_from  text         collate "C",                  -- range: all serials of this length from here,
  serial_to    text         collate "C",                  --   byte by byte, up to and with this
  n            integer,                                   -- serials: how many
  digest       bytea,                                     -- serials: sha256 over them in order, a line feed behind each
  reason       text         not null,
  reference    text,
  at           timestamptz  not null,
  role         sv.role      not null,                     -- the party: role and company of who made it; a command's is operator
  company      text,
  actor        text         not null,                     -- the location's GLN; of a command: a person or a program
  location_id  integer,                                   -- null: a command
  lifted_at    timestamptz,
  lifted_by    text,                                      -- as actor
  lift_reason  text,
  primary key (gtin, recall_id)
);

create index recall_id on sv.recall (recall_id);
create index recall_at on sv.recall (at);

create unique index recall_open on sv.recall (gtin, kind, coalesce(lot, ''), coalesce(serial_from, ''), coalesce(serial_to, ''),
  coalesce(digest, ''), role, coalesce(company, '')) where lifted_at is null;

-- looked at for every pack
create index recall_open_serials on sv.recall (gtin) where lifted_at is null and kind in ('range', 'serials');

create table sv.recall_serial (
  gtin       bigint  not null,
  serial     text    collate "C" not null,
  recall_id  uuid    not null,
  primary key (gtin, serial, recall_id)
);

-- Who may lift what.  No row: never.
create table sv.recall_lift_rule (
  role   sv.role  not null,
  kind   text     not null check (kind in ('lot', 'range', 'serials', 'product')),
  own    boolean  not null,                               -- only what the same party recalled
  hours  integer,                                         -- and not longer after; null: any time
  primary key (role, kind)
);

insert into sv.recall_lift_rule (role, kind, own, hours)
select r.role, k.kind, r.own, r.hours
from (values
        ('authority'::sv.role, false, null::integer),
        ('operator',           false, null),              -- the commands
        ('manufacturer',       true,  24)) as r (role, own, hours),
     (values ('lot'), ('range'), ('serials'), ('product')) as k (kind);

alter table sv.product add column partly_recalled boolean not null default false;     -- some of its serials are
alter table sv.idempotency add column reference text;                                 -- of the recall or withdrawal

-- what was recalled and withdrawn before
insert into sv.recall (gtin, recall_id, kind, lot, reason, reference, at, role, actor)
select l.gtin, gen_random_uuid(), 'lot', l.lot, coalesce(l.reason, ''), l.reference, l.recalled_at, 'operator'::sv.role,
  coalesce((select a.actor
            from sv.audit a
            where a.gtin = l.gtin and a.lot = l.lot and a.operation = 'recall_lot'
            order by a.at desc
            limit 1), 'unknown')
from sv.lot l
where l.recalled_at is not null
union all
select r.gtin, gen_random_uuid(), 'product', null, coalesce(r.reason, ''), r.reference, r.withdrawn_at, 'operator',
  coalesce((select a.actor
            from sv.audit a
            where a.gtin = r.gtin and a.operation = 'withdraw_product'
            order by a.at desc
            limit 1), 'unknown')
from sv.product r
where r.withdrawn_at is not null;


-- Reason and reference of a recall or withdrawal, as one text for a person, at
-- most 128 bytes: that is what a gateway holds.  A long reason is cut, never the
-- reference (at most 100).
create or replace function sv.reason_text(p_reason text, p_reference text)
returns text
language sql immutable parallel safe
return case
  when p_reference is null and octet_length(p_reason) <= 128                    then p_reason
  when octet_length(p_reason) + octet_length(p_reference) + 3 <= 128            then p_reason || ' (' || p_reference || ')'
  else
    (select left(p_reason, max(i))
     from generate_series(0, length(p_reason)) as i
     where octet_length(left(p_reason, i)) <= 125 - coalesce(octet_length(p_reference) + 3, 0))
    || '...' || coalesce(' (' || p_reference || ')', '')
end;

-- The earliest open recall of a range or list that names this serial, or no row.
-- Its callers look first whether the product has any, in a statement of its own
-- (an index that is empty for most): so the plans of the hot path stay simple.
create function sv.recall_of_serial(p_gtin bigint, p_serial text)
returns table (at timestamptz, reason text, reference text)
language sql stable
begin atomic
  select r.at, r.reason, r.reference
  from sv.recall r
  where r.gtin = p_gtin and r.lifted_at is null and r.kind in ('range', 'serials')
    and case r.kind
      when 'range' then
        octet_length(r.serial_from) = octet_length(p_serial) and p_serial collate "C" between r.serial_from and r.serial_to
      else exists (
        select
        from sv.recall_serial s
        where s.gtin = p_gtin and s.serial = p_serial collate "C" and s.recall_id = r.recall_id)
    end
  order by r.at, r.recall_id
  limit 1;
end;


-- What is known of a pack; always one row.  Never used to decide a change.
-- recalled_ms, recall_text: of a recall that names its serial.
drop function sv.verify_read(bigint, text, text);

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
  out lot_known    boolean,
  out recalled_ms  bigint,
  out recall_text  text
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_pack  sv.pack;
begin
  select k.* into v_pack
  from sv.pack k
  where k.gtin = p_gtin and k.serial = p_serial and k.state <> 'void';

  known := v_pack.gtin is not null;
  state := v_pack.state;
  version := v_pack.version;
  lot := v_pack.lot;
  expiry := to_char(v_pack.expiry, 'YYYYMMDD');
  location_id := v_pack.location_id;
  since_ms := sv.ms(v_pack.since);

  lot_known := v_pack.lot = p_lot;

  if exists (select from sv.recall r where r.gtin = p_gtin and r.lifted_at is null and r.kind in ('range', 'serials')) then
    select sv.ms(c.at), sv.reason_text(c.reason, c.reference) into recalled_ms, recall_text
    from sv.recall_of_serial(p_gtin, p_serial) c;
  end if;

  if lot_known is not true then
    lot_known := exists (
      select from sv.lot l
      where l.gtin = p_gtin and l.lot = p_lot and l.expiry is not null
    );
  end if;
end
$$;


-- As in 003_operate.sql, and: recalls that name the serial count like those of
-- its lot (the earlier of both stands); an outcome recalled or withdrawn tells
-- why (reference).  What a feed ended is not made active by an undo: a fact that
-- was not stronger than the counter's (sv.settle) is there all the same.
drop function sv.operate(bigint, text, text, date, text, text, integer, text, text, text, timestamptz, text, uuid, text);

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
  out hint          text,
  out reference     text
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
  v_ended      sv.pack_state;                             -- by what feeds say
  v_recall     sv.recall;                                 -- the one that counts: of the lot, or of the serial
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
    reference := v_stored.reference;
    return;
  end loop;

  if v_operation = 'verify' then
    select k.* into v_pack
    from sv.pack k
    where k.gtin = p_gtin and k.serial = p_serial and k.state <> 'void';

  else
    select k.* into v_pack
    from sv.pack k
    where k.gtin = p_gtin and k.serial = p_serial and k.state <> 'void'
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
    b.reason as lot_reason,
    b.reference as lot_reference,
    r.reason as product_reason,
    r.reference as product_reference,
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

  v_recall.at := v_ref.recalled_at;
  v_recall.reason := v_ref.lot_reason;
  v_recall.reference := v_ref.lot_reference;

  if exists (select from sv.recall r where r.gtin = p_gtin and r.lifted_at is null and r.kind in ('range', 'serials')) then
    select coalesce(c.at, v_recall.at), coalesce(c.reason, v_recall.reason), case when c.at is null then v_recall.reference else c.reference end
    into v_recall.at, v_recall.reason, v_recall.reference
    from (values (true)) as x (one)
      left join sv.recall_of_serial(p_gtin, p_serial) c on v_recall.at is null or sv.ms(c.at) < sv.ms(v_recall.at);
  end if;

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
      v_recall.at is not null and (p_occurred_at is null or v_recall.at <= p_occurred_at),
      (v_when at time zone 'UTC')::date, 'active', true);
  end if;

  if reason = 'recalled' then
    reference := sv.reason_text(v_recall.reason, v_recall.reference);

  elsif reason = 'withdrawn' then
    reference := sv.reason_text(v_ref.product_reason, v_ref.product_reference);
  end if;

  replayed := false;
  changed := false;
  state_before := v_pack.state;

  if reason = 'ok' then
    reason := v_ref.reason;
    code := v_ref.code;
    v_alert := v_ref.alert;

    if v_operation = 'undo' and v_ref.next_state is not null then
      v_ended := sv.ended_state(p_gtin, p_serial);
    end if;

    if v_operation = 'undo' and v_ref.next_state is not null and sv.undo_too_late(v_pack.since, v_when) then
      reason := 'undo_too_late';

    elsif v_operation = 'undo' and v_ref.next_state is not null and v_ended is not null then
      -- it would be what a feed said meanwhile, and that is not taken back here
      select t.reason, t.code, t.alert into reason, code, v_alert
      from sv.transition t
      where t.operation = 'undo' and t.of = v_of and t.state = v_ended and not t.same_location;

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
    and (v_recall.at is not null or v_ref.withdrawn_at is not null)
  then
    insert into sv.finding (gtin, at, finding_id, rule, serial, lot, detail)
    values (p_gtin, v_now, p_audit_id, 'supplied_before_recall', p_serial, v_pack.lot,
      jsonb_build_object('operation', p_operation, 'location_id', p_location, 'occurred_at', p_occurred_at,
        'recalled_at', v_recall.at, 'withdrawn_at', v_ref.withdrawn_at));
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
    alert_id = operate.alert_id, repeat = operate.repeat, repeats_left = operate.repeats_left, hint = operate.hint,
    reference = operate.reference
  where i.gtin = p_gtin and i.location_id = p_location and i.key = p_key;
end
$$;


-- As in 003_operate.sql; f8 of a product: whether some of its serials are recalled.
drop function sv.ref_feed(bigint, text, text, integer);

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
  f7       text,
  f8       text
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
    case when not u.deleted then u.f7 end, case when not u.deleted then u.f8 end
  from (
    (
      select c.ref_n as n, 'credential' as kind, encode(c.sha256, 'hex') as key, c.revoked as deleted,
        c.location_id::text as f1, sv.ms(c.not_before)::text as f2, sv.ms(c.not_after)::text as f3,
        null as f4, null as f5, null as f6, null as f7, null as f8
      from sv.credential c
      where c.ref_n >= v_n
        and (c.ref_n > v_n or ('credential' collate "C", encode(c.sha256, 'hex') collate "C") > (v_kind, v_key))
      order by c.ref_n, encode(c.sha256, 'hex') collate "C"
      limit p_limit
    )
    union all
    (
      select l.ref_n, 'location', l.location_id::text, l.deleted,
        l.gln, l.role::text, l.company, l.country, null, null, null, null
      from sv.location l
      where l.ref_n >= v_n
        and (l.ref_n > v_n or ('location' collate "C", l.location_id::text collate "C") > (v_kind, v_key))
      order by l.ref_n, l.location_id::text collate "C"
      limit p_limit
    )
    union all
    (
      select b.ref_n, 'lot', lpad(b.gtin::text, 14, '0') || b.lot, b.recalled_at is null,
        sv.ms(b.recalled_at)::text, sv.reason_text(b.reason, b.reference), null, null, null, null, null, null
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
        sv.ms(r.withdrawn_at)::text, sv.reason_text(r.reason, r.reference), r.default_link,
        left(r.partly_recalled::text, 1)
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

commit;
