-- Recalls are made and lifted.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(16, 'recall_make');


-- As sv.audit_change(), of a recall: by a location, or by a command (p_by).
create function sv.audit_recall(
  p_operation   text,
  p_gtin        bigint,
  p_lot         text,
  p_reason      text,
  p_by          text,
  p_location    integer,
  p_request_id  text,
  p_detail      jsonb
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now   timestamptz := clock_timestamp();
  v_id    uuid := gen_random_uuid();
begin
  insert into sv.audit (gtin, at, audit_id, changed, kind, operation, lot, reason, actor, location_id, request_id, detail)
  values (p_gtin, v_now, v_id, true, 'recall', p_operation, p_lot, p_reason,
    case when p_location is null then p_by end, p_location, p_request_id, jsonb_strip_nulls(p_detail));

  insert into sv.outbox (gtin, audit_id, at)
  values (p_gtin, v_id, v_now);
end
$$;

create function sv.check_serial(p_element text, p_serial text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_serial is null or p_serial collate "C" !~ '^[!"%-?A-Z_a-z]{1,20}$' then
    perform sv.bad_value(p_element, '1 to 20 characters of the GS1 set are needed (letters, digits, !"%&''()*+,-./:;<=>?_)');
  end if;
end
$$;

-- What follows from the open recalls of a lot or product gets its number; the
-- caller holds the row.  Last in its transaction: it takes the reference clock.
create function sv.recall_settle(p_kind text, p_gtin bigint, p_lot text)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_first  sv.recall;
  v_some   boolean;
  v_n      bigint;
begin
  select r.* into v_first
  from sv.recall r
  where r.gtin = p_gtin and r.kind = p_kind and r.lot is not distinct from p_lot and r.lifted_at is null
  order by r.at, r.recall_id
  limit 1;

  v_some := exists (select from sv.recall r where r.gtin = p_gtin and r.lifted_at is null and r.kind in ('range', 'serials'));
  v_n := sv.next_ref_n();

  if p_kind = 'lot' then
    update sv.lot l
    set recalled_at = v_first.at, reason = v_first.reason, reference = v_first.reference, ref_n = v_n
    where l.gtin = p_gtin and l.lot = p_lot;

  elsif p_kind = 'product' then
    update sv.product r
    set withdrawn_at = v_first.at, reason = v_first.reason, reference = v_first.reference, ref_n = v_n
    where r.gtin = p_gtin;

  else
    update sv.product r set partly_recalled = v_some, ref_n = v_n where r.gtin = p_gtin;
  end if;

  return v_n;
end
$$;

-- Makes a recall.  n: the number of the change, null when the same party has
-- made it already; with another reason or reference, these are replaced and its
-- time is kept (made is false).
create function sv.recall_make(
  p_kind         text,
  p_gtin         bigint,
  p_lot          text,
  p_from         text,
  p_to           text,
  p_serials      text[],
  p_reason       text,
  p_reference    text,
  p_role         sv.role,
  p_company      text,
  p_by           text,
  p_location     integer,
  p_request_id   text,
  out recall_id  uuid,
  out made       boolean,
  out n          bigint
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_at       timestamptz;
  v_bad      record;
  v_digest   bytea;
  v_serials  text[];
  v_many     integer;
  v_product  sv.product;
  v_lot      sv.lot;
  v_recall   sv.recall;
begin
  perform sv.check_gtin(p_gtin);

  if p_kind = 'lot' then
    perform sv.check_lot(p_lot);

  elsif p_kind = 'range' then
    perform sv.check_serial('from', p_from);
    perform sv.check_serial('to', p_to);

    if octet_length(p_from) <> octet_length(p_to) then
      perform sv.bad_value('to', format('has %s characters, from has %s: a range is of one length, recall each length by itself',
        octet_length(p_to), octet_length(p_from)));
    end if;

    if p_from collate "C" > p_to collate "C" then
      perform sv.bad_value('to', 'comes before from (bytes are compared: digits, capitals, small letters)');
    end if;

  elsif p_kind = 'serials' then
    select x.i, x.serial into v_bad
    from unnest(p_serials) with ordinality as x (serial, i)
    where x.serial is null or x.serial collate "C" !~ '^[!"%-?A-Z_a-z]{1,20}$'
    order by x.i
    limit 1;

    if found then
      perform sv.bad_value('serials', format('number %s (%s) is none: 1 to 20 characters of the GS1 set are needed', v_bad.i,
        coalesce(quote_literal(left(v_bad.serial, 40)), 'null')));
    end if;

    select array_agg(x.serial order by x.serial), count(*),
      sha256(convert_to(coalesce(string_agg(x.serial || e'\n', '' order by x.serial), ''), 'UTF8'))
    into v_serials, v_many, v_digest
    from (select distinct u.serial collate "C" as serial from unnest(p_serials) as u (serial)) x;

    if v_many = 0 then
      perform sv.bad_value('serials', 'is empty');
    end if;

    if v_many > 100000 then
      raise exception using errcode = '54000', column = 'serials',
        message = format('serials: %s serials are too many for a list, at most 100000 are allowed: recall the lot, or a range', v_many);
    end if;
  end if;

  perform sv.check_text('reason', p_reason, 300);

  if p_reference is not null then
    perform sv.check_text('reference', p_reference, 100);
  end if;

  if p_kind = 'lot' then
    select r.* into v_product from sv.product r where r.gtin = p_gtin and not r.deleted;

  else
    select r.* into v_product from sv.product r where r.gtin = p_gtin and not r.deleted for update;
  end if;

  -- a manufacturer is told the same of a product that there is not
  if p_role = 'manufacturer' and (v_product.gtin is null or v_product.company is distinct from p_company) then
    raise exception using errcode = '42501', column = 'gtin',
      message = format('gtin: product %s is not one of your company''s', lpad(p_gtin::text, 14, '0'));
  end if;

  if v_product.gtin is null then
    raise exception using errcode = 'P0002', column = 'gtin',
      message = format('gtin: there is no product %s', lpad(p_gtin::text, 14, '0'));
  end if;

  if p_kind = 'lot' then
    insert into sv.lot (gtin, lot) values (p_gtin, p_lot) on conflict do nothing;

    select l.* into v_lot from sv.lot l where l.gtin = p_gtin and l.lot = p_lot for update;
  end if;

  v_at := clock_timestamp();

  select r.* into v_recall
  from sv.recall r
  where r.gtin = p_gtin and r.kind = p_kind and r.lifted_at is null and r.role = p_role
    and (r.lot, r.serial_from, r.serial_to, r.digest, r.company) is not distinct from (p_lot, p_from, p_to, v_digest, p_company);

  made := not found;
  recall_id := coalesce(v_recall.recall_id, gen_random_uuid());

  if not made and v_recall.reason = p_reason and v_recall.reference is not distinct from p_reference then
    return;
  end if;

  if made then
    insert into sv.recall (gtin, recall_id, kind, lot, serial_from, serial_to, n, digest, reason, reference, at, role, company,
      actor, location_id)
    values (p_gtin, recall_make.recall_id, p_kind, p_lot, p_from, p_to, v_many, v_digest, p_reason, p_reference, v_at, p_role,
      p_company, p_by, p_location);

    insert into sv.recall_serial (gtin, serial, recall_id)
    select p_gtin, x.serial, recall_make.recall_id
    from unnest(v_serials) as x (serial);

  else
    update sv.recall r
    set reason = p_reason, reference = p_reference
    where r.gtin = p_gtin and r.recall_id = recall_make.recall_id;
  end if;

  perform sv.audit_recall(case p_kind when 'product' then 'withdraw_product' else 'recall_' || p_kind end, p_gtin, p_lot, p_reason,
    p_by, p_location, p_request_id,
    jsonb_build_object('recall_id', recall_id, 'reference', p_reference, 'from', p_from, 'to', p_to, 'n', v_many,
      'digest', encode(v_digest, 'hex'), 'loaded', case p_kind when 'lot' then v_lot.expiry is not null end));

  n := sv.recall_settle(p_kind, p_gtin, p_lot);
end
$$;


-- The recalls by command: of the operator.  See above for what they return and
-- refuse: 22023, P0002, 54000.

-- A lot may be recalled before anything of it was loaded.  Returns the number of
-- the change, null when there was none.
create or replace function sv.recall_lot(p_gtin bigint, p_lot text, p_reason text, p_reference text default null,
  p_by text default null)
returns bigint
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  select m.n
  from sv.recall_make('lot', p_gtin, p_lot, null, null, null, p_reason, p_reference, 'operator', null,
    coalesce(nullif(btrim(p_by), ''), session_user), null, null) m
$$;

create or replace function sv.withdraw_product(p_gtin bigint, p_reason text, p_reference text default null, p_by text default null)
returns bigint
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  select m.n
  from sv.recall_make('product', p_gtin, null, null, null, null, p_reason, p_reference, 'operator', null,
    coalesce(nullif(btrim(p_by), ''), session_user), null, null) m
$$;

-- All serials of the length of p_from and p_to that lie between them, byte by
-- byte, commissioned or not.
create function sv.recall_range(
  p_gtin         bigint,
  p_from         text,
  p_to           text,
  p_reason       text,
  p_reference    text default null,
  p_by           text default null,
  out recall_id  uuid,
  out made       boolean,
  out n          bigint
)
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  select m.recall_id, m.made, m.n
  from sv.recall_make('range', p_gtin, null, p_from, p_to, null, p_reason, p_reference, 'operator', null,
    coalesce(nullif(btrim(p_by), ''), session_user), null, null) m
$$;

-- Up to 100,000 serials, commissioned or not; one that comes twice counts once.
create function sv.recall_serials(
  p_gtin         bigint,
  p_serials      text[],
  p_reason       text,
  p_reference    text default null,
  p_by           text default null,
  out recall_id  uuid,
  out made       boolean,
  out n          bigint
)
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  select m.recall_id, m.made, m.n
  from sv.recall_make('serials', p_gtin, null, null, null, coalesce(p_serials, '{}'), p_reason, p_reference, 'operator', null,
    coalesce(nullif(btrim(p_by), ''), session_user), null, null) m
$$;


-- Lifts one recall, when the rules allow it (42501); the caller holds the row of
-- the lot or product and settles it afterwards.
create function sv.recall_close(
  p_recall      sv.recall,
  p_reason      text,
  p_role        sv.role,
  p_company     text,
  p_by          text,
  p_location    integer,
  p_request_id  text
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now   timestamptz := clock_timestamp();
  v_rule  sv.recall_lift_rule;
begin
  select u.* into v_rule from sv.recall_lift_rule u where u.role = p_role and u.kind = p_recall.kind;

  if not found then
    raise exception using errcode = '42501', column = 'recall', message = 'recall: your role lifts no such recall';
  end if;

  if v_rule.own and (p_recall.role, p_recall.company) is distinct from (p_role, p_company) then
    raise exception using errcode = '42501', column = 'recall', message = 'recall: only who made it may lift it';
  end if;

  if v_now > p_recall.at + make_interval(hours => v_rule.hours) then
    raise exception using errcode = '42501', column = 'recall',
      message = format('recall: it may be lifted within %s hours, that was until %s: ask the authority', v_rule.hours,
        to_char((p_recall.at + make_interval(hours => v_rule.hours)) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
  end if;

  perform sv.audit_recall(
    case p_recall.kind when 'lot' then 'lift_recall' when 'product' then 'lift_withdrawal' else 'lift_' || p_recall.kind end,
    p_recall.gtin, p_recall.lot, p_reason, p_by, p_location, p_request_id,
    jsonb_build_object('recall_id', p_recall.recall_id, 'reference', p_recall.reference, 'from', p_recall.serial_from,
      'to', p_recall.serial_to, 'n', p_recall.n,
      case p_recall.kind when 'product' then 'withdrawn_at' else 'recalled_at' end, p_recall.at,
      case p_recall.kind when 'product' then 'withdrawal_reason' else 'recall_reason' end, p_recall.reason));

  update sv.recall r
  set lifted_at = v_now, lifted_by = p_by, lift_reason = p_reason
  where r.gtin = p_recall.gtin and r.recall_id = p_recall.recall_id;
end
$$;

-- Lifts a recall by its id.  Null: the same party has lifted it already, for the
-- same reason.  Errors: P0002 no such recall, 42501 the rules, 55000 lifted already.
create function sv.recall_lift(
  p_recall_id   uuid,
  p_reason      text,
  p_role        sv.role,
  p_company     text,
  p_by          text,
  p_location    integer,
  p_request_id  text
)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_recall  sv.recall;
begin
  perform sv.check_text('reason', p_reason, 300);

  select r.* into v_recall from sv.recall r where r.recall_id = p_recall_id;

  if not found then
    raise exception using errcode = 'P0002', column = 'recall', message = format('recall: there is no recall %s', p_recall_id);
  end if;

  if v_recall.kind = 'lot' then
    perform from sv.lot l where l.gtin = v_recall.gtin and l.lot = v_recall.lot for update;

  else
    perform from sv.product r where r.gtin = v_recall.gtin for update;
  end if;

  -- again: another may have lifted it meanwhile
  select r.* into v_recall from sv.recall r where r.gtin = v_recall.gtin and r.recall_id = p_recall_id for update;

  if v_recall.lifted_at is not null then
    if (v_recall.lifted_by, v_recall.lift_reason) = (p_by, p_reason) then
      return null;
    end if;

    raise exception using errcode = '55000', column = 'recall',
      message = format('recall: it was lifted at %s',
        to_char(v_recall.lifted_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
  end if;

  perform sv.recall_close(v_recall, p_reason, p_role, p_company, p_by, p_location, p_request_id);

  return sv.recall_settle(v_recall.kind, v_recall.gtin, v_recall.lot);
end
$$;

create function sv.lift(p_recall_id uuid, p_reason text, p_by text default null)
returns bigint
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  select sv.recall_lift(p_recall_id, p_reason, 'operator', null, coalesce(nullif(btrim(p_by), ''), session_user), null, null)
$$;

-- Every recall of the lot as a lot, whoever made it.
create or replace function sv.lift_recall(p_gtin bigint, p_lot text, p_reason text, p_by text default null)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_lot     sv.lot;
  v_recall  sv.recall;
begin
  perform sv.check_gtin(p_gtin);
  perform sv.check_lot(p_lot);
  perform sv.check_text('reason', p_reason, 300);

  select l.* into v_lot
  from sv.lot l
  where l.gtin = p_gtin and l.lot = p_lot
  for update;

  if v_lot.recalled_at is null then
    raise exception using errcode = '55000', column = 'lot',
      message = format('lot: %s of product %s is not recalled', p_lot, lpad(p_gtin::text, 14, '0'));
  end if;

  for v_recall in
    select r.*
    from sv.recall r
    where r.gtin = p_gtin and r.kind = 'lot' and r.lot = p_lot and r.lifted_at is null
    order by r.at, r.recall_id
    for update
  loop
    perform sv.recall_close(v_recall, p_reason, 'operator', null, coalesce(nullif(btrim(p_by), ''), session_user), null, null);
  end loop;

  return sv.recall_settle('lot', p_gtin, p_lot);
end
$$;

-- Every withdrawal of the product, whoever made it.
create or replace function sv.lift_withdrawal(p_gtin bigint, p_reason text, p_by text default null)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_product  sv.product;
  v_recall   sv.recall;
begin
  perform sv.check_gtin(p_gtin);
  perform sv.check_text('reason', p_reason, 300);

  select r.* into v_product
  from sv.product r
  where r.gtin = p_gtin and not r.deleted
  for update;

  if v_product.withdrawn_at is null then
    raise exception using errcode = '55000', column = 'gtin',
      message = format('gtin: product %s is not withdrawn', lpad(p_gtin::text, 14, '0'));
  end if;

  for v_recall in
    select r.*
    from sv.recall r
    where r.gtin = p_gtin and r.kind = 'product' and r.lifted_at is null
    order by r.at, r.recall_id
    for update
  loop
    perform sv.recall_close(v_recall, p_reason, 'operator', null, coalesce(nullif(btrim(p_by), ''), session_user), null, null);
  end loop;

  return sv.recall_settle('product', p_gtin, null);
end
$$;


-- Recalls, the newest first; p_gtin, p_recall_id, p_open null: any.
create function sv.recalls(p_gtin bigint, p_recall_id uuid, p_open boolean, p_limit integer)
returns table (
  recall_id    uuid,
  gtin         bigint,
  kind         text,
  lot          text,
  serial_from  text,
  serial_to    text,
  n            integer,
  reason       text,
  reference    text,
  at           timestamptz,
  role         text,
  actor        text,
  location_id  integer,
  lifted_at    timestamptz,
  lifted_by    text,
  lift_reason  text
)
language sql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
as $$
  select r.recall_id, r.gtin, r.kind, r.lot, r.serial_from, r.serial_to, r.n, r.reason, r.reference, r.at, r.role::text, r.actor,
    r.location_id, r.lifted_at, r.lifted_by, r.lift_reason
  from sv.recall r
  where (p_gtin is null or r.gtin = p_gtin)
    and (p_recall_id is null or r.recall_id = p_recall_id)
    and (p_open is null or (r.lifted_at is null) = p_open)
  order by r.at desc, r.recall_id
  limit p_limit
$$;


-- The same for the role `api': p_location is who asks.  A manufacturer recalls and
-- sees its own company's products, the authority all; nobody else may (42501).

create function sv.recall_party(p_location integer, out role sv.role, out company text, out gln text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  select l.role, l.company, l.gln into role, company, gln
  from sv.location l
  where l.location_id = p_location and not l.deleted and l.role in ('manufacturer', 'authority');

  if role is null then
    raise exception using errcode = '42501', column = 'role', message = 'role: a manufacturer or the authority recalls';
  end if;
end
$$;

-- kind: lot, range, serials, product; what the others take is null.
create function sv.api_recall(
  p_location     integer,
  p_gtin         bigint,
  p_kind         text,
  p_lot          text,
  p_from         text,
  p_to           text,
  p_serials      text[],
  p_reason       text,
  p_reference    text,
  p_request_id   text,
  out recall_id  uuid,
  out made       boolean
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_party  record;
begin
  select p.* into v_party from sv.recall_party(p_location) p;

  if p_kind is null or p_kind not in ('lot', 'range', 'serials', 'product') then
    perform sv.bad_value('kind', 'one of lot, range, serials, product is needed');
  end if;

  select m.recall_id, m.made into api_recall.recall_id, api_recall.made
  from sv.recall_make(p_kind, p_gtin, case p_kind when 'lot' then p_lot end, case p_kind when 'range' then p_from end,
    case p_kind when 'range' then p_to end, case p_kind when 'serials' then coalesce(p_serials, '{}') end, p_reason, p_reference,
    v_party.role, v_party.company, v_party.gln, p_location, p_request_id) m;
end
$$;

create function sv.api_recalls(p_location integer, p_gtin bigint, p_recall_id uuid, p_open boolean, p_limit integer)
returns table (
  recall_id    uuid,
  gtin         bigint,
  kind         text,
  lot          text,
  serial_from  text,
  serial_to    text,
  n            integer,
  reason       text,
  reference    text,
  at           timestamptz,
  by_role      text,
  by_gln       text,                                      -- null: the operator's command
  lifted_at    timestamptz,
  lifted_by    text,                                      -- a GLN, or null: the operator's command
  lift_reason  text
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
  v_party  record;
begin
  select p.* into v_party from sv.recall_party(p_location) p;

  return query
  select r.recall_id, r.gtin, r.kind, r.lot, r.serial_from, r.serial_to, r.n, r.reason, r.reference, r.at, r.role::text,
    case when r.location_id is not null then r.actor end, r.lifted_at, l.gln, r.lift_reason
  from sv.recall r
    left join sv.product p on p.gtin = r.gtin
    left join sv.location l on l.gln = r.lifted_by
  where (p_gtin is null or r.gtin = p_gtin)
    and (p_recall_id is null or r.recall_id = p_recall_id)
    and (p_open is null or (r.lifted_at is null) = p_open)
    and (v_party.role = 'authority' or p.company = v_party.company)
  order by r.at desc, r.recall_id
  limit p_limit;
end
$$;

create function sv.api_lift(p_location integer, p_recall_id uuid, p_reason text, p_request_id text)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_party  record;
begin
  select p.* into v_party from sv.recall_party(p_location) p;

  -- of another's product it is not even said that there is one
  if not exists (select from sv.api_recalls(p_location, null, p_recall_id, null, 1)) then
    raise exception using errcode = 'P0002', column = 'recall', message = format('recall: there is no recall %s', p_recall_id);
  end if;

  return sv.recall_lift(p_recall_id, p_reason, v_party.role, v_party.company, v_party.gln, p_location, p_request_id);
end
$$;


grant execute on function
  sv.verify_read(bigint, text, text),
  sv.operate(bigint, text, text, date, text, text, integer, text, text, text, timestamptz, text, uuid, text),
  sv.ref_feed(bigint, text, text, integer)
to sv_gateway;

grant execute on function
  sv.verify_read(bigint, text, text),
  sv.ref_feed(bigint, text, text, integer),
  sv.recall_range(bigint, text, text, text, text, text),
  sv.recall_serials(bigint, text[], text, text, text),
  sv.lift(uuid, text, text),
  sv.recalls(bigint, uuid, boolean, integer)
to sv_worker;

grant execute on function
  sv.api_recall(integer, bigint, text, text, text, text, text[], text, text, text),
  sv.api_recalls(integer, bigint, uuid, boolean, integer),
  sv.api_lift(integer, uuid, text, text)
to sv_api;

commit;
