-- The functions that change reference data: recalls, withdrawals, products,
-- locations, credentials.  The worker's commands call them, one call a
-- transaction.
--
-- Each validates what it was given (SQLSTATE 22023, the message begins with
-- the element, which is also the error's column name; P0002: what it names does
-- not exist; 55000: it is not in a state for this), locks the one row it changes
-- (of a credential: its location's), writes the audit row, and takes its number
-- as late as possible: sv.ref_clock stays locked from there to the end of the
-- transaction, so that numbers become visible in order.  Row first, clock
-- second: no deadlock, and nobody holds the clock while it waits.  Many changes
-- in one transaction: see sv.ref_together().
--
-- They return the number of the change, or null when everything was already so.
-- Every gateway has it within 500 ms of the commit.
--
-- p_by: who did it, a person or a program, for the audit trail; null: the session's user.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(4, 'refdata');


create function sv.next_ref_n()
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_n  bigint;
begin
  if current_setting('sv.ref_together', true) = 'on' then
    return -1;
  end if;

  update sv.ref_clock set n = n + 1 returning n into v_n;
  return v_n;
end
$$;

-- Many changes in one transaction: first sv.ref_together(), then the changes,
-- which get -1, and last sv.ref_number(), which numbers them and returns the
-- last number.  Who holds the clock holds up every recall.
create function sv.ref_together()
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config('sv.ref_together', 'on', true);
end
$$;

-- Each row gets a number of its own: readers page by numbers, and a page that
-- has to sort all rows of one number is slow.
create function sv.ref_number()
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_rows  bigint;
  v_some  bigint;
  v_last  bigint;
  v_n     bigint;
begin
  perform set_config('sv.ref_together', '', true);

  select (select count(*) from sv.product r where r.ref_n = -1)
    + (select count(*) from sv.location l where l.ref_n = -1)
    + (select count(*) from sv.credential c where c.ref_n = -1)
    + (select count(*) from sv.lot b where b.ref_n = -1)
  into v_rows;

  if v_rows = 0 then
    return null;
  end if;

  update sv.ref_clock set n = n + v_rows returning n into v_last;
  v_n := v_last - v_rows;

  update sv.product r set ref_n = v_n + x.i
  from (select p.gtin, row_number() over () as i from sv.product p where p.ref_n = -1) as x
  where r.gtin = x.gtin;
  get diagnostics v_some = row_count;
  v_n := v_n + v_some;

  update sv.location l set ref_n = v_n + x.i
  from (select p.location_id, row_number() over () as i from sv.location p where p.ref_n = -1) as x
  where l.location_id = x.location_id;
  get diagnostics v_some = row_count;
  v_n := v_n + v_some;

  update sv.credential c set ref_n = v_n + x.i
  from (select p.sha256, row_number() over () as i from sv.credential p where p.ref_n = -1) as x
  where c.sha256 = x.sha256;
  get diagnostics v_some = row_count;
  v_n := v_n + v_some;

  update sv.lot b set ref_n = v_n + x.i
  from (select p.gtin, p.lot, row_number() over () as i from sv.lot p where p.ref_n = -1) as x
  where b.gtin = x.gtin and b.lot = x.lot;

  return v_last;
end
$$;

create function sv.bad_value(p_element text, p_problem text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception using errcode = '22023', column = p_element, message = p_element || ': ' || p_problem;
end
$$;

-- The check digit of a GS1 key: weights 3, 1, 3, ... from the right.
create function sv.gs1_check_digit_ok(p_digits text)
returns boolean
language sql immutable parallel safe
begin atomic
  select sum(substr(reverse(p_digits), i, 1)::integer * case when i % 2 = 0 then 3 else 1 end) % 10 = 0
  from generate_series(1, length(p_digits)) as i;
end;

create function sv.check_gtin(p_gtin bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_gtin is null or p_gtin not between 1 and 99999999999999 then
    perform sv.bad_value('gtin', 'a GTIN of up to 14 digits is needed');
  end if;

  if not sv.gs1_check_digit_ok(p_gtin::text) then
    perform sv.bad_value('gtin', format('the check digit of %s is wrong', lpad(p_gtin::text, 14, '0')));
  end if;
end
$$;

create function sv.check_lot(p_lot text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_lot is null or p_lot collate "C" !~ '^[!"%-?A-Z_a-z]{1,20}$' then
    perform sv.bad_value('lot', '1 to 20 characters of the GS1 set are needed (letters, digits, !"%&''()*+,-./:;<=>?_)');
  end if;
end
$$;

create function sv.check_text(p_element text, p_text text, p_bytes integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_text is null or btrim(p_text) = '' then
    perform sv.bad_value(p_element, 'is missing');
  end if;

  if octet_length(p_text) > p_bytes then
    perform sv.bad_value(p_element, format('has %s bytes, at most %s are allowed', octet_length(p_text), p_bytes));
  end if;

  if p_text ~ '[[:cntrl:]]' then
    perform sv.bad_value(p_element, 'holds a control character');
  end if;
end
$$;

create function sv.check_gln(p_gln text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_gln is null or p_gln !~ '^[0-9]{13}$' then
    perform sv.bad_value('gln', '13 digits are needed');
  end if;

  if not sv.gs1_check_digit_ok(p_gln) then
    perform sv.bad_value('gln', format('the check digit of %s is wrong', p_gln));
  end if;
end
$$;

create function sv.check_sha256(p_sha256 text)
returns bytea
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_sha256 is null or p_sha256 !~ '^[0-9A-Fa-f]{64}$' then
    perform sv.bad_value('sha256', '64 hexadecimal digits are needed');
  end if;

  return decode(p_sha256, 'hex');
end
$$;

-- The audit row of a change that was made at no counter, with its outbox row.
create function sv.audit_change(
  p_kind       text,
  p_operation  text,
  p_gtin       bigint,
  p_lot        text,
  p_reason     text,
  p_by         text,
  p_detail     jsonb
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now   timestamptz := clock_timestamp();
  v_id    uuid := gen_random_uuid();
begin
  insert into sv.audit (gtin, at, audit_id, changed, kind, operation, lot, reason, actor, detail)
  values (p_gtin, v_now, v_id, true, p_kind, p_operation, p_lot, p_reason,
    coalesce(nullif(btrim(p_by), ''), session_user), jsonb_strip_nulls(p_detail));

  insert into sv.outbox (gtin, audit_id, at)
  values (p_gtin, v_id, v_now);
end
$$;


-- A lot may be recalled before anything of it was loaded.  A second recall
-- replaces reason and reference and keeps the time of the first.
create function sv.recall_lot(p_gtin bigint, p_lot text, p_reason text, p_reference text default null, p_by text default null)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_lot  sv.lot;
  v_n    bigint;
begin
  perform sv.check_gtin(p_gtin);
  perform sv.check_lot(p_lot);
  perform sv.check_text('reason', p_reason, 300);

  if p_reference is not null then
    perform sv.check_text('reference', p_reference, 100);
  end if;

  if not exists (select from sv.product r where r.gtin = p_gtin and not r.deleted) then
    raise exception using errcode = 'P0002', column = 'gtin',
      message = format('gtin: there is no product %s', lpad(p_gtin::text, 14, '0'));
  end if;

  insert into sv.lot (gtin, lot) values (p_gtin, p_lot) on conflict do nothing;

  select l.* into v_lot
  from sv.lot l
  where l.gtin = p_gtin and l.lot = p_lot
  for update;

  if v_lot.recalled_at is not null and v_lot.reason = p_reason and v_lot.reference is not distinct from p_reference then
    return null;
  end if;

  perform sv.audit_change('recall', 'recall_lot', p_gtin, p_lot, p_reason, p_by,
    jsonb_build_object('reference', p_reference, 'loaded', v_lot.expiry is not null));

  v_n := sv.next_ref_n();
  v_lot.recalled_at := coalesce(v_lot.recalled_at, clock_timestamp());

  update sv.lot l
  set recalled_at = v_lot.recalled_at, reason = p_reason, reference = p_reference, ref_n = v_n
  where l.gtin = p_gtin and l.lot = p_lot;

  return v_n;
end
$$;

create function sv.lift_recall(p_gtin bigint, p_lot text, p_reason text, p_by text default null)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_lot  sv.lot;
  v_n    bigint;
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

  perform sv.audit_change('recall', 'lift_recall', p_gtin, p_lot, p_reason, p_by,
    jsonb_build_object('recalled_at', v_lot.recalled_at, 'recall_reason', v_lot.reason, 'reference', v_lot.reference));

  v_n := sv.next_ref_n();

  update sv.lot l
  set recalled_at = null, reason = null, reference = null, ref_n = v_n
  where l.gtin = p_gtin and l.lot = p_lot;

  return v_n;
end
$$;

create function sv.withdraw_product(p_gtin bigint, p_reason text, p_reference text default null, p_by text default null)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_product  sv.product;
  v_n        bigint;
begin
  perform sv.check_gtin(p_gtin);
  perform sv.check_text('reason', p_reason, 300);

  if p_reference is not null then
    perform sv.check_text('reference', p_reference, 100);
  end if;

  select r.* into v_product
  from sv.product r
  where r.gtin = p_gtin and not r.deleted
  for update;

  if not found then
    raise exception using errcode = 'P0002', column = 'gtin',
      message = format('gtin: there is no product %s', lpad(p_gtin::text, 14, '0'));
  end if;

  if v_product.withdrawn_at is not null and v_product.reason = p_reason
    and v_product.reference is not distinct from p_reference
  then
    return null;
  end if;

  perform sv.audit_change('recall', 'withdraw_product', p_gtin, null, p_reason, p_by,
    jsonb_build_object('reference', p_reference));

  v_n := sv.next_ref_n();
  v_product.withdrawn_at := coalesce(v_product.withdrawn_at, clock_timestamp());

  update sv.product r
  set withdrawn_at = v_product.withdrawn_at, reason = p_reason, reference = p_reference, ref_n = v_n
  where r.gtin = p_gtin;

  return v_n;
end
$$;

create function sv.lift_withdrawal(p_gtin bigint, p_reason text, p_by text default null)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_product  sv.product;
  v_n        bigint;
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

  perform sv.audit_change('recall', 'lift_withdrawal', p_gtin, null, p_reason, p_by,
    jsonb_build_object('withdrawn_at', v_product.withdrawn_at, 'withdrawal_reason', v_product.reason,
      'reference', v_product.reference));

  v_n := sv.next_ref_n();

  update sv.product r
  set withdrawn_at = null, reason = null, reference = null, ref_n = v_n
  where r.gtin = p_gtin;

  return v_n;
end
$$;


-- Makes or changes a product; a withdrawal stays as it is.
create function sv.put_product(
  p_gtin             bigint,
  p_name             text,
  p_company          text,
  p_default_link     text default null,
  p_lot_optional     boolean default false,
  p_expiry_optional  boolean default false,
  p_by               text default null
)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_product  sv.product;
  v_n        bigint;
begin
  perform sv.check_gtin(p_gtin);
  perform sv.check_text('name', p_name, 200);
  perform sv.check_text('company', p_company, 32);

  if p_default_link is not null then
    perform sv.check_text('default_link', p_default_link, 256);

    if p_default_link !~ '^https?://[^[:space:]/?#]+[^[:space:]]*$' then
      perform sv.bad_value('default_link', 'a link that begins with http:// or https:// is needed');
    end if;
  end if;

  if p_lot_optional is null then
    perform sv.bad_value('lot_optional', 'is missing');
  end if;

  if p_expiry_optional is null then
    perform sv.bad_value('expiry_optional', 'is missing');
  end if;

  -- a row that is deleted and has no number yet is seen by nobody
  insert into sv.product (gtin, name, company, deleted)
  values (p_gtin, p_name, p_company, true)
  on conflict do nothing;

  select r.* into v_product
  from sv.product r
  where r.gtin = p_gtin
  for update;

  if not v_product.deleted
    and (v_product.name, v_product.company, v_product.lot_optional, v_product.expiry_optional)
      = (p_name, p_company, p_lot_optional, p_expiry_optional)
    and v_product.default_link is not distinct from p_default_link
  then
    return null;
  end if;

  perform sv.audit_change('admin', 'put_product', p_gtin, null, 'ok', p_by,
    jsonb_build_object('name', p_name, 'company', p_company, 'default_link', p_default_link,
      'lot_optional', p_lot_optional, 'expiry_optional', p_expiry_optional));

  v_n := sv.next_ref_n();

  update sv.product r
  set name = p_name, company = p_company, default_link = p_default_link, lot_optional = p_lot_optional,
    expiry_optional = p_expiry_optional, deleted = false, ref_n = v_n
  where r.gtin = p_gtin;

  return v_n;
end
$$;

-- From here on the product is unknown; its packs stay.
create function sv.remove_product(p_gtin bigint, p_by text default null)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_n  bigint;
begin
  perform sv.check_gtin(p_gtin);

  perform
  from sv.product r
  where r.gtin = p_gtin and not r.deleted
  for update;

  if not found then
    raise exception using errcode = 'P0002', column = 'gtin',
      message = format('gtin: there is no product %s', lpad(p_gtin::text, 14, '0'));
  end if;

  perform sv.audit_change('admin', 'remove_product', p_gtin, null, 'ok', p_by, null);
  v_n := sv.next_ref_n();

  update sv.product r set deleted = true, ref_n = v_n where r.gtin = p_gtin;

  return v_n;
end
$$;


-- Makes or changes the location with this GLN.  Its number (location_id) never changes.
create function sv.put_location(
  p_gln      text,
  p_name     text,
  p_role     text,
  p_company  text,
  p_country  text,
  p_lat      double precision default null,
  p_lon      double precision default null,
  p_by       text default null
)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_company   text := nullif(btrim(p_company), '');
  v_location  sv.location;
  v_known     boolean;
  v_n         bigint;
begin
  perform sv.check_gln(p_gln);
  perform sv.check_text('name', p_name, 200);

  if p_role is null or p_role <> all (enum_range(null::sv.role)::text[]) then
    perform sv.bad_value('role', 'one of ' || array_to_string(enum_range(null::sv.role), ', ') || ' is needed');
  end if;

  if v_company is not null then
    perform sv.check_text('company', v_company, 32);

  elsif p_role = 'manufacturer' then
    perform sv.bad_value('company', 'is missing: a manufacturer acts on the products of its company');
  end if;

  if p_country is null or p_country collate "C" !~ '^[A-Z]{2}$' then
    perform sv.bad_value('country', 'two capital letters (ISO 3166-1) are needed');
  end if;

  if (p_lat is null) <> (p_lon is null) then
    perform sv.bad_value(case when p_lat is null then 'lat' else 'lon' end, 'latitude and longitude come together');
  end if;

  if p_lat not between -90 and 90 then
    perform sv.bad_value('lat', 'degrees from -90 to 90 are needed');
  end if;

  if p_lon not between -180 and 180 then
    perform sv.bad_value('lon', 'degrees from -180 to 180 are needed');
  end if;

  select l.* into v_location
  from sv.location l
  where l.gln = p_gln
  for update;

  v_known := found;

  if v_known and not v_location.deleted
    and (v_location.name, v_location.role::text, v_location.country) = (p_name, p_role, p_country)
    and (v_location.company, v_location.lat, v_location.lon) is not distinct from (v_company, p_lat, p_lon)
  then
    return null;
  end if;

  -- before the clock: it waits for others; deleted and without ref_n it is seen by nobody
  while not v_known loop
    insert into sv.location (location_id, gln, name, role, country, deleted)
    select coalesce(max(l.location_id), 0) + 1, p_gln, p_name, p_role::sv.role, p_country, true
    from sv.location l
    on conflict do nothing;

    v_known := found;

    if not v_known and exists (select from sv.location l where l.gln = p_gln) then
      raise exception using errcode = '40001', message = format('location %s was made by another at the same moment, try again', p_gln);
    end if;
  end loop;

  perform sv.audit_change('admin', 'put_location', 0, null, 'ok', p_by,
    jsonb_build_object('gln', p_gln, 'name', p_name, 'role', p_role, 'company', v_company, 'country', p_country,
      'lat', p_lat, 'lon', p_lon));

  v_n := sv.next_ref_n();

  update sv.location l
  set name = p_name, role = p_role::sv.role, company = v_company, country = p_country, lat = p_lat, lon = p_lon,
    deleted = false, ref_n = v_n
  where l.gln = p_gln;

  return v_n;
end
$$;

-- Its credentials are revoked with it.
create function sv.remove_location(p_gln text, p_by text default null)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_location  sv.location;
  v_n         bigint;
begin
  perform sv.check_gln(p_gln);

  select l.* into v_location
  from sv.location l
  where l.gln = p_gln and not l.deleted
  for update;

  if not found then
    raise exception using errcode = 'P0002', column = 'gln', message = format('gln: there is no location %s', p_gln);
  end if;

  perform sv.audit_change('admin', 'remove_location', 0, null, 'ok', p_by, jsonb_build_object('gln', p_gln));
  v_n := sv.next_ref_n();

  update sv.location l set deleted = true, ref_n = v_n where l.location_id = v_location.location_id;

  update sv.credential c
  set revoked = true, ref_n = v_n
  where c.location_id = v_location.location_id and not c.revoked;

  return v_n;
end
$$;


-- p_sha256: of the key or of the certificate (DER), in hexadecimal; the secret
-- itself never comes here.  At most two API keys of a location are valid at a
-- time, so that one can be rotated in while the other is still in use.
create function sv.put_credential(
  p_sha256      text,
  p_kind        text,
  p_gln         text,
  p_not_before  timestamptz default null,
  p_not_after   timestamptz default null,
  p_by          text default null
)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now         timestamptz := clock_timestamp();
  v_not_before  timestamptz;
  v_sha256      bytea := sv.check_sha256(p_sha256);
  v_location    sv.location;
  v_credential  sv.credential;
  v_known       boolean;
  v_keys        integer;
  v_n           bigint;
begin
  if p_kind is null or p_kind not in ('api_key', 'certificate') then
    perform sv.bad_value('kind', 'api_key or certificate is needed');
  end if;

  perform sv.check_gln(p_gln);

  -- the location's row serialises what is done to its credentials
  select l.* into v_location
  from sv.location l
  where l.gln = p_gln and not l.deleted
  for update;

  if not found then
    raise exception using errcode = 'P0002', column = 'gln', message = format('gln: there is no location %s', p_gln);
  end if;

  select c.* into v_credential from sv.credential c where c.sha256 = v_sha256;
  v_known := found;
  v_not_before := coalesce(p_not_before, v_credential.not_before, v_now);

  if p_not_after <= greatest(v_not_before, v_now) then
    perform sv.bad_value('not_after', 'is past, or not after not_before');
  end if;

  if v_known then
    if v_credential.location_id <> v_location.location_id or v_credential.kind <> p_kind then
      perform sv.bad_value('sha256', 'this credential is already in use for another location or as another kind');
    end if;

    if v_credential.revoked then
      perform sv.bad_value('sha256', 'this credential was revoked, and stays so');
    end if;

    if v_credential.not_before = v_not_before and v_credential.not_after is not distinct from p_not_after then
      return null;
    end if;
  end if;

  if p_kind = 'api_key' then
    select count(*) into v_keys
    from sv.credential c
    where c.location_id = v_location.location_id and c.kind = 'api_key' and c.sha256 <> v_sha256
      and not c.revoked and (c.not_after is null or c.not_after > v_now);

    if v_keys >= 2 then
      raise exception using errcode = '55000', column = 'gln',
        message = format('gln: location %s has two valid API keys, revoke one first', p_gln);
    end if;
  end if;

  perform sv.audit_change('admin', 'put_credential', 0, null, 'ok', p_by,
    jsonb_build_object('sha256', encode(v_sha256, 'hex'), 'kind', p_kind, 'gln', p_gln, 'not_before', v_not_before,
      'not_after', p_not_after));

  v_n := sv.next_ref_n();

  insert into sv.credential (sha256, kind, location_id, not_before, not_after, ref_n)
  values (v_sha256, p_kind, v_location.location_id, v_not_before, p_not_after, v_n)
  on conflict (sha256) do update
  set not_before = excluded.not_before, not_after = excluded.not_after, ref_n = excluded.ref_n;

  return v_n;
end
$$;

create function sv.revoke_credential(p_sha256 text, p_by text default null)
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_sha256      bytea := sv.check_sha256(p_sha256);
  v_credential  sv.credential;
  v_n           bigint;
begin
  perform
  from sv.credential c
    join sv.location l on l.location_id = c.location_id
  where c.sha256 = v_sha256
  for update of l;

  if not found then
    raise exception using errcode = 'P0002', column = 'sha256', message = 'sha256: there is no such credential';
  end if;

  select c.* into v_credential from sv.credential c where c.sha256 = v_sha256;

  if v_credential.revoked then
    return null;
  end if;

  perform sv.audit_change('admin', 'revoke_credential', 0, null, 'ok', p_by,
    jsonb_build_object('sha256', encode(v_sha256, 'hex'), 'kind', v_credential.kind,
      'location_id', v_credential.location_id));

  v_n := sv.next_ref_n();

  update sv.credential c set revoked = true, ref_n = v_n where c.sha256 = v_sha256;

  return v_n;
end
$$;


-- The credentials of a location, newest first, revoked ones too: what to
-- revoke when two are valid already.  No secret is in it.
create function sv.list_credentials(p_gln text)
returns table (
  sha256      text,
  kind        text,
  not_before  timestamptz,
  not_after   timestamptz,
  state       text                                        -- valid, not yet, expired, revoked
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_location  integer;
begin
  select l.location_id into v_location from sv.location l where l.gln = p_gln and not l.deleted;

  if v_location is null then
    raise exception using errcode = 'P0002', column = 'gln', message = 'gln: there is no location with this GLN';
  end if;

  return query
  select encode(c.sha256, 'hex'), c.kind::text, c.not_before, c.not_after,
    case
      when c.revoked                                  then 'revoked'
      when c.not_before > transaction_timestamp()     then 'not yet'
      when c.not_after <= transaction_timestamp()     then 'expired'
      else 'valid'
    end
  from sv.credential c
  where c.location_id = v_location
  order by c.not_before desc, c.sha256;
end
$$;


-- Starts every gateway with an empty cache (after a restore to the same
-- timeline); returns the new epoch.
create function sv.raise_cache_counter(p_by text default null)
returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform sv.audit_change('admin', 'raise_cache_counter', 0, null, 'ok', p_by, null);

  update sv.setting s set value = (s.value::integer + 1)::text where s.name = 'cache_counter';

  return sv.epoch();
end
$$;


grant execute on function
  sv.ref_together(),
  sv.ref_number(),
  sv.recall_lot(bigint, text, text, text, text),
  sv.lift_recall(bigint, text, text, text),
  sv.withdraw_product(bigint, text, text, text),
  sv.lift_withdrawal(bigint, text, text),
  sv.put_product(bigint, text, text, text, boolean, boolean, text),
  sv.remove_product(bigint, text),
  sv.put_location(text, text, text, text, text, double precision, double precision, text),
  sv.remove_location(text, text),
  sv.put_credential(text, text, text, timestamptz, timestamptz, text),
  sv.revoke_credential(text, text),
  sv.list_credentials(text),
  sv.raise_cache_counter(text)
to sv_worker;

commit;
