-- Serial numbers for the lines, and the reconciliation of a lot.
--
-- A number is issued once, whatever became of it: it is random, and none of the
-- numbers that are issued, commissioned or ended in any way.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(11, 'serials');

insert into sv.setting (name, value, note) values
  ('reconcile_minutes', '60', 'a declared lot is reconciled when nothing was loaded of it for so long');


-- How numbers of a product are made.
create table sv.serial_rule (
  gtin          bigint       not null primary key,
  alphabet      text         collate "C",                 -- characters of the GS1 set, in the order of their bytes, each once
  length        integer      check (length between 1 and 20),
  opted_out     boolean      not null,                    -- numbers come from elsewhere; none are issued
  reserve_days  integer      not null check (reserve_days between 1 and 3650),
  issued        bigint       not null default 0,          -- ever
  at            timestamptz  not null,
  check (opted_out or (alphabet is not null and length is not null))
);

create table sv.serial_request (
  gtin            bigint       not null,
  request_id      uuid         not null,
  line            text         not null,
  lot             text         collate "C",
  n               integer      not null,
  state           text         not null check (state in ('open', 'returned', 'expired')),
  reserved_until  timestamptz  not null,
  location_id     integer,                                -- that asked, or
  actor           text,                                   -- the person who gave the command
  key             text         collate "C",               -- Idempotency-Key of the location
  at              timestamptz  not null,
  primary key (gtin, request_id),
  unique (gtin, location_id, key)
);

create index serial_request_lot on sv.serial_request (gtin, lot) where lot is not null;
create index serial_request_open on sv.serial_request (reserved_until) where state = 'open';

create table sv.serial_number (
  gtin        bigint   not null,
  request_id  uuid     not null,
  returned    boolean  not null default false,
  serial      text     collate "C" not null,
  primary key (gtin, serial)
) partition by hash (gtin);

do $$
begin
  for i in 0 .. 15 loop
    execute format(
      'create table sv.serial_number_%s partition of sv.serial_number for values with (modulus 16, remainder %s)',
      to_char(i, 'FM00'), i);
  end loop;
end
$$;

create index serial_number_request on sv.serial_number (gtin, request_id, serial);

-- What a line or its MES says of a finished lot.  The first that was recorded
-- stands, unless its event was declared an error; others are kept beside it.
create table sv.lot_declaration (
  gtin         bigint       not null,
  lot          text         collate "C" not null,
  at           timestamptz  not null,
  packs        bigint       not null,                     -- commissioned
  rejected     bigint,                                    -- null: not told
  aggregated   bigint,
  load_id      integer,                                   -- the event of a feed that tells it
  event        integer,
  location_id  integer,
  actor        text,
  primary key (gtin, lot, at)
);

-- Events whose quantities were looked at.
create table sv.event_declared (
  load_id  integer  not null,
  event    integer  not null,
  primary key (load_id, event)
);

create index event_quantity on sv.event (load_id, event) where detail ? 'quantityList' and action = 'add';

-- Declared lots: what was found when they were reconciled last.
create table sv.lot_reconciliation (
  gtin           bigint       not null,
  lot            text         collate "C" not null,
  touched_at     timestamptz  not null,                   -- of the last fact that may change a figure
  reconciled_at  timestamptz,
  figures        jsonb,
  differences    jsonb,                                   -- null: none
  finding_at     timestamptz,                             -- the finding that tells them
  finding_id     uuid,
  primary key (gtin, lot)
);

create index lot_reconciliation_due on sv.lot_reconciliation (touched_at) where reconciled_at is null or reconciled_at < touched_at;

-- Facts recorded until then were looked at for lots that they touch.
create table sv.reconcile_clock (
  one_row  boolean      not null primary key default true check (one_row),
  at       timestamptz  not null
);

insert into sv.reconcile_clock (at) values (transaction_timestamp());
create index load_finished on sv.load (finished_at);


-- Who asks: a location of the role `api' (p_location), or the operator by
-- command (null).  42501: not this role, or not its company's product; P0002: no product.
create function sv.product_party(p_location integer, p_gtin bigint, p_roles sv.role[])
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_location  sv.location;
  v_company   text;
begin
  perform sv.check_gtin(p_gtin);

  select r.company into v_company from sv.product r where r.gtin = p_gtin and not r.deleted;

  if p_location is null and session_user = 'sv_api' then
    raise exception using errcode = '42501', message = 'a location is needed';
  end if;

  if p_location is not null then
    select l.* into v_location from sv.location l where l.location_id = p_location and not l.deleted;

    if v_location.role is null or v_location.role <> all (p_roles) then
      raise exception using errcode = '42501', message = 'your role may not do this';
    end if;

    -- of a product that there is not a manufacturer is told the same
    if v_location.role = 'manufacturer' and (v_company is null or v_location.company is distinct from v_company) then
      raise exception using errcode = '42501', column = 'gtin',
        message = format('gtin: product %s is not one of your company''s', lpad(p_gtin::text, 14, '0'));
    end if;
  end if;

  if v_company is null then
    raise exception using errcode = 'P0002', column = 'gtin',
      message = format('gtin: there is no product %s', lpad(p_gtin::text, 14, '0'));
  end if;
end
$$;


-- As sv.audit_change(), by a location or by a command.
create function sv.audit_serials(p_operation text, p_gtin bigint, p_lot text, p_location integer, p_by text, p_detail jsonb)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now  timestamptz := clock_timestamp();
  v_id   uuid := gen_random_uuid();
begin
  insert into sv.audit (gtin, at, audit_id, changed, kind, operation, lot, reason, actor, location_id, detail)
  values (p_gtin, v_now, v_id, true, 'admin', p_operation, p_lot, 'ok',
    case when p_location is null then coalesce(nullif(btrim(p_by), ''), session_user) end, p_location, jsonb_strip_nulls(p_detail));

  insert into sv.outbox (gtin, audit_id, at) values (p_gtin, v_id, v_now);
end
$$;


-- Numbers of a product that were commissioned, ever.
create function sv.commissioned_ever(p_gtin bigint)
returns bigint
language sql stable
return (select coalesce(sum(b.new_packs), 0)::bigint from sv.load_lot b where b.gtin = p_gtin);

-- Refuses when a number of this length could be guessed: of all that can be
-- made one in 10,000 at most may be issued or commissioned.  55000, with the length that would do.
create function sv.check_guess(p_alphabet text, p_length integer, p_numbers bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_length  integer := p_length;
begin
  while power(length(p_alphabet)::numeric, v_length) <= p_numbers::numeric * 10000 and v_length <= 20 loop
    v_length := v_length + 1;
  end loop;

  if v_length > p_length then
    raise exception using errcode = '55000', column = 'length',
      message = format('length: %s of the numbers of %s characters out of %s would be in use, one in 10000 at most may be: %s', p_numbers, p_length,
        length(p_alphabet), case when v_length <= 20 then format('make them at least %s characters long', v_length)
          else 'take more characters, no length up to 20 does' end);
  end if;
end
$$;


-- The rule of a product.  sv_worker.  p_alphabet and p_length may be null when
-- p_opted_out.  True when it changed.  22023, P0002, 55000: see sv.check_guess().
create function sv.put_serial_rule(
  p_gtin          bigint,
  p_alphabet      text,
  p_length        integer,
  p_opted_out     boolean,
  p_reserve_days  integer,
  p_by            text
)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_alphabet  text;
  v_old       sv.serial_rule;
  v_days      integer := coalesce(p_reserve_days, 90);
begin
  perform sv.product_party(null, p_gtin, null);

  if p_opted_out is not true or p_alphabet is not null then
    if p_alphabet is null or p_alphabet collate "C" !~ '^[!"%-?A-Z_a-z]+$' then
      perform sv.bad_value('alphabet', 'characters of the GS1 set are needed (letters, digits, !"%&''()*+,-./:;<=>?_)');
    end if;

    select string_agg(distinct c collate "C", '' order by c collate "C") into v_alphabet from regexp_split_to_table(p_alphabet, '') c;

    if length(v_alphabet) <> length(p_alphabet) then
      perform sv.bad_value('alphabet', 'a character stands there twice');
    end if;

    if p_length is null or p_length not between 1 and 20 then
      perform sv.bad_value('length', 'a number from 1 to 20 is needed');
    end if;
  end if;

  if v_days not between 1 and 3650 then
    perform sv.bad_value('reserve_days', 'a number from 1 to 3650 is needed');
  end if;

  select r.* into v_old from sv.serial_rule r where r.gtin = p_gtin for update;

  if p_opted_out is not true then
    perform sv.check_guess(v_alphabet, p_length, coalesce(v_old.issued, 0) + sv.commissioned_ever(p_gtin) + 1);
  end if;

  if v_old.gtin is not null and (v_old.alphabet, v_old.length, v_old.opted_out, v_old.reserve_days)
    is not distinct from (v_alphabet, p_length, coalesce(p_opted_out, false), v_days)
  then
    return false;
  end if;

  insert into sv.serial_rule (gtin, alphabet, length, opted_out, reserve_days, at)
  values (p_gtin, v_alphabet, p_length, coalesce(p_opted_out, false), v_days, transaction_timestamp())
  on conflict (gtin) do update
  set alphabet = excluded.alphabet, length = excluded.length, opted_out = excluded.opted_out, reserve_days = excluded.reserve_days, at = excluded.at;

  perform sv.audit_serials('put_serial_rule', p_gtin, null, null, p_by, jsonb_build_object('alphabet', v_alphabet, 'length', p_length,
    'opted_out', coalesce(p_opted_out, false), 'reserve_days', v_days));

  return true;
end
$$;


-- The rule, for who makes numbers and for people.  sv_worker, sv_api (what it
-- tells is no secret to somebody who may execute sv.serial_issue()).  P0002: there is none.
create function sv.serial_rule_of(
  p_gtin            bigint,
  out alphabet      text,
  out length        integer,
  out opted_out     boolean,
  out reserve_days  integer,
  out issued        bigint,
  out commissioned  bigint
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  select r.alphabet, r.length, r.opted_out, r.reserve_days, r.issued
  into serial_rule_of.alphabet, serial_rule_of.length, serial_rule_of.opted_out, serial_rule_of.reserve_days, serial_rule_of.issued
  from sv.serial_rule r
  where r.gtin = p_gtin;

  if not found then
    raise exception using errcode = 'P0002', column = 'gtin',
      message = format('gtin: there is no rule for the serial numbers of product %s, set one with serials rule', lpad(p_gtin::text, 14, '0'));
  end if;

  commissioned := sv.commissioned_ever(p_gtin);
end
$$;


-- Issues p_n of the numbers that were made by the rule of the product, in one
-- transaction with the request: all or none.  made: false when the location has
-- sent this key before; same: with the same values.  22023, 42501, P0002; 55000:
-- opted out, or too many are in use; 40001: the rule changed, or too many of the numbers are in use, make others.
--
-- Holds the product's rule, so that requests come one after the other, and the
-- lock of the merge, so that no number is issued while it is commissioned.
-- sv_worker (p_location null), sv_api.
create function sv.serial_issue(
  p_location     integer,
  p_gtin         bigint,
  p_line         text,
  p_lot          text,
  p_n            integer,
  p_key          text,
  p_by           text,
  p_serials      text[],
  out request_id uuid,
  out made       boolean,
  out same       boolean
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_now   timestamptz;
  v_rule  sv.serial_rule;
  v_old   sv.serial_request;
  v_many  integer;
  v_sum   bytea;
begin
  perform sv.product_party(p_location, p_gtin, array['manufacturer', 'operator']::sv.role[]);
  perform sv.check_text('line', p_line, 80);

  if p_lot is not null then
    perform sv.check_lot(p_lot);
  end if;

  if p_n is null or p_n not between 1 and 150000 then
    perform sv.bad_value('n', 'a number from 1 to 150000 is needed');
  end if;

  select r.* into v_rule from sv.serial_rule r where r.gtin = p_gtin for update;

  if not found then
    raise exception using errcode = '55000', column = 'gtin',
      message = format('gtin: there is no rule for the serial numbers of product %s, set one with serials rule', lpad(p_gtin::text, 14, '0'));
  end if;

  if p_key is not null then
    select r.* into v_old from sv.serial_request r where r.gtin = p_gtin and r.location_id = p_location and r.key = p_key;

    if found then
      serial_issue.request_id := v_old.request_id;
      made := false;
      same := (v_old.n, v_old.line, v_old.lot) is not distinct from (p_n, p_line, p_lot);
      return;
    end if;
  end if;

  if v_rule.opted_out then
    raise exception using errcode = '55000', column = 'gtin',
      message = format('gtin: serial numbers of product %s come from elsewhere, none are issued', lpad(p_gtin::text, 14, '0'));
  end if;

  perform sv.check_guess(v_rule.alphabet, v_rule.length, v_rule.issued + sv.commissioned_ever(p_gtin) + p_n);

  insert into sv.feed_gtin (gtin) values (p_gtin) on conflict do nothing;
  perform from sv.feed_gtin f where f.gtin = p_gtin for no key update;

  v_now := clock_timestamp();
  serial_issue.request_id := gen_random_uuid();
  made := true;
  same := true;

  insert into sv.serial_request (gtin, request_id, line, lot, n, state, reserved_until, location_id, actor, key, at)
  values (p_gtin, serial_issue.request_id, p_line, p_lot, p_n, 'open', v_now + make_interval(days => v_rule.reserve_days), p_location,
    case when p_location is null then p_by end, p_key, v_now);

  with fresh as materialized (
    select distinct u.serial
    from unnest(p_serials) as u (serial)
    where length(u.serial) = v_rule.length and translate(u.serial, v_rule.alphabet, '') = ''
      and not exists (select from sv.pack k where k.gtin = p_gtin and k.serial = u.serial)
      and not exists (select from sv.commission k where k.gtin = p_gtin and k.serial = u.serial)
      and not exists (select from sv.item_end k where k.gtin = p_gtin and k.serial = u.serial)
      and not exists (select from sv.serial_number k where k.gtin = p_gtin and k.serial = u.serial)
    limit p_n
  ), issued as (
    insert into sv.serial_number (gtin, request_id, serial)
    select p_gtin, serial_issue.request_id, f.serial from fresh f order by f.serial
    on conflict do nothing
    returning serial
  )
  select count(*), sha256(convert_to(coalesce(string_agg(i.serial || E'\n', '' order by i.serial), ''), 'UTF8'))
  into v_many, v_sum
  from issued i;

  if v_many < p_n then
    raise exception using errcode = '40001', message = 'serials: some of the numbers are in use, make others';
  end if;

  update sv.serial_rule r set issued = r.issued + p_n where r.gtin = p_gtin;

  perform sv.audit_serials('issue_serials', p_gtin, p_lot, p_location, p_by, jsonb_build_object('request_id', serial_issue.request_id,
    'line', p_line, 'n', p_n, 'serials_sha256', encode(v_sum, 'hex')));
end
$$;

-- What became of the numbers of a request.
create function sv.serial_counts(p_gtin bigint, p_request uuid, out used bigint, out ended bigint, out returned bigint, out unused bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select count(*) filter (where u.used), count(*) filter (where not u.used and u.ended), count(*) filter (where not u.used and not u.ended and u.returned),
    count(*) filter (where not u.used and not u.ended and not u.returned)
  from (
    select s.returned,
      exists (select from sv.pack k where k.gtin = s.gtin and k.serial = s.serial and k.state <> 'void') as used,
      exists (select from sv.item_end k where k.gtin = s.gtin and k.serial = s.serial) as ended
    from sv.serial_number s
    where s.gtin = p_gtin and s.request_id = p_request) u
$$;

-- The requests of a product, the newest first; with p_request that one and what
-- became of its numbers.  sv_worker (p_location null), sv_api.  42501, P0002.
create function sv.serial_requests(p_location integer, p_gtin bigint, p_request uuid, p_limit integer)
returns table (request_id text, line text, lot text, n integer, state text, at text, reserved_until text, by text,
  used bigint, ended bigint, returned bigint, unused bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  perform sv.product_party(p_location, p_gtin, array['manufacturer', 'operator']::sv.role[]);

  return query
  select r.request_id::text, r.line, r.lot::text, r.n, r.state, to_char(r.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    to_char(r.reserved_until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), coalesce(l.gln, r.actor), c.used, c.ended, c.returned, c.unused
  from sv.serial_request r
    left join sv.location l on l.location_id = r.location_id
    left join lateral sv.serial_counts(r.gtin, r.request_id) c on p_request is not null
  where r.gtin = p_gtin and (p_request is null or r.request_id = p_request)
  order by r.at desc, r.request_id
  limit p_limit;
end
$$;

-- A page of the numbers of a request.  sv_worker, sv_api.
create function sv.serial_numbers(p_location integer, p_gtin bigint, p_request uuid, p_after text, p_limit integer)
returns table (serial text, returned boolean)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  perform sv.product_party(p_location, p_gtin, array['manufacturer', 'operator']::sv.role[]);

  return query
  select s.serial::text, s.returned
  from sv.serial_number s
  where s.gtin = p_gtin and s.request_id = p_request and s.serial > p_after collate "C"
  order by s.serial
  limit p_limit;
end
$$;


-- Numbers that will not be used: these, or (null) all that were not.  They are
-- never issued again.  How many are returned now, and how many of the request
-- are unused still.  sv_worker, sv_api.  22023: not of this request; 55000: used; P0002, 42501.
create function sv.serial_return(p_location integer, p_gtin bigint, p_request uuid, p_serials text[], p_by text,
  out returned bigint, out unused bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_request  sv.serial_request;
  v_bad      text;
begin
  perform sv.product_party(p_location, p_gtin, array['manufacturer', 'operator']::sv.role[]);

  select r.* into v_request from sv.serial_request r where r.gtin = p_gtin and r.request_id = p_request for update;

  if not found then
    raise exception using errcode = 'P0002', column = 'request', message = format('request: there is no request %s of this product', p_request);
  end if;

  -- as sv.serial_issue(): nothing of it is commissioned meanwhile
  insert into sv.feed_gtin (gtin) values (p_gtin) on conflict do nothing;
  perform from sv.feed_gtin f where f.gtin = p_gtin for no key update;

  select u.serial into v_bad
  from unnest(p_serials) as u (serial)
  where not exists (select from sv.serial_number s where s.gtin = p_gtin and s.serial = u.serial and s.request_id = p_request)
  limit 1;

  if found then
    perform sv.bad_value('serials', format('%s is none of request %s', coalesce(quote_literal(left(v_bad, 40)), 'null'), p_request));
  end if;

  select u.serial into v_bad
  from unnest(p_serials) as u (serial)
  where exists (select from sv.pack k where k.gtin = p_gtin and k.serial = u.serial)
    or exists (select from sv.item_end k where k.gtin = p_gtin and k.serial = u.serial)
  limit 1;

  if found then
    raise exception using errcode = '55000', column = 'serials', message = format('serials: %s was used', quote_literal(v_bad));
  end if;

  update sv.serial_number s
  set returned = true
  where s.gtin = p_gtin and s.request_id = p_request and not s.returned
    and (p_serials is null or s.serial = any (p_serials))
    and not exists (select from sv.pack k where k.gtin = p_gtin and k.serial = s.serial)
    and not exists (select from sv.item_end k where k.gtin = p_gtin and k.serial = s.serial);

  get diagnostics returned = row_count;

  select c.unused into serial_return.unused from sv.serial_counts(p_gtin, p_request) c;

  if returned > 0 then
    if unused = 0 then
      update sv.serial_request r set state = 'returned' where r.gtin = p_gtin and r.request_id = p_request;
    end if;

    perform sv.audit_serials('return_serials', p_gtin, v_request.lot, p_location, p_by,
      jsonb_build_object('request_id', p_request, 'n', returned, 'all', p_serials is null));
    perform sv.lot_touch(p_gtin, v_request.lot);
  end if;
end
$$;


-- Requests whose time is over.  sv_worker (housekeeping).  What is commissioned
-- of them later is in order, and told in the lot's figures.
create function sv.serial_expire()
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_n  bigint;
begin
  with late as materialized (
    select r.gtin, r.request_id
    from sv.serial_request r
    where r.state = 'open' and r.reserved_until < clock_timestamp()
    order by r.gtin, r.request_id
    for update skip locked
  ), touched as (
    update sv.lot_reconciliation c
    set touched_at = clock_timestamp()
    from late l
      join sv.serial_request q on q.gtin = l.gtin and q.request_id = l.request_id
    where c.gtin = q.gtin and c.lot = q.lot
  )
  update sv.serial_request r
  set state = 'expired'
  from late l
  where r.gtin = l.gtin and r.request_id = l.request_id;

  get diagnostics v_n = row_count;

  return v_n;
end
$$;


-- A figure of a declared lot may have changed.
create function sv.lot_touch(p_gtin bigint, p_lot text)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  update sv.lot_reconciliation c set touched_at = clock_timestamp() where c.gtin = p_gtin and c.lot = p_lot
$$;


-- What was produced of a lot, as its line says.  False: the same was declared
-- before.  sv_worker (p_location null), sv_api.  22023, 42501, P0002.
create function sv.declare_lot(
  p_location    integer,
  p_gtin        bigint,
  p_lot         text,
  p_packs       bigint,
  p_rejected    bigint,
  p_aggregated  bigint,
  p_by          text
)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform sv.product_party(p_location, p_gtin, array['manufacturer', 'operator']::sv.role[]);
  perform sv.check_lot(p_lot);

  if p_packs is null or p_packs not between 0 and 1000000000 then
    perform sv.bad_value('packs', 'a number from 0 to 1000000000 is needed');
  end if;

  if p_rejected not between 0 and 1000000000 then
    perform sv.bad_value('rejected', 'a number from 0 to 1000000000 is needed');
  end if;

  if p_aggregated not between 0 and 1000000000 then
    perform sv.bad_value('aggregated', 'a number from 0 to 1000000000 is needed');
  end if;

  return sv.declare_lot_by(p_gtin, p_lot, p_packs, p_rejected, p_aggregated, null, null, p_location, p_by);
end
$$;

create function sv.declare_lot_by(
  p_gtin        bigint,
  p_lot         text,
  p_packs       bigint,
  p_rejected    bigint,
  p_aggregated  bigint,
  p_load_id     integer,
  p_event       integer,
  p_location    integer,
  p_by          text
)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into sv.lot_reconciliation (gtin, lot, touched_at) values (p_gtin, p_lot, clock_timestamp()) on conflict do nothing;
  perform from sv.lot_reconciliation c where c.gtin = p_gtin and c.lot = p_lot for update;

  if exists (
    select from sv.lot_declaration d
    where d.gtin = p_gtin and d.lot = p_lot
      and (d.packs, d.rejected, d.aggregated, d.load_id) is not distinct from (p_packs, p_rejected, p_aggregated, p_load_id))
  then
    return false;
  end if;

  insert into sv.lot_declaration (gtin, lot, at, packs, rejected, aggregated, load_id, event, location_id, actor)
  values (p_gtin, p_lot, clock_timestamp(), p_packs, p_rejected, p_aggregated, p_load_id, p_event, p_location,
    case when p_location is null then p_by end);

  perform sv.audit_serials('declare_lot', p_gtin, p_lot, p_location, p_by, jsonb_build_object('packs', p_packs, 'rejected', p_rejected,
    'aggregated', p_aggregated, 'load_id', p_load_id, 'event', p_event));
  perform sv.lot_touch(p_gtin, p_lot);

  return true;
end
$$;


-- Commissioning events that tell quantities and were not looked at.  sv_worker.
create function sv.declaring_events(p_limit integer)
returns table (load_id integer, event integer, lot text, quantities text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select v.load_id, v.event, v.lot, (v.detail -> 'quantityList')::text
  from sv.event v
  where v.detail ? 'quantityList' and v.action = 'add' and v.step = 'commissioning'
    and not exists (select from sv.event_declared d where d.load_id = v.load_id and d.event = v.event)
  order by v.load_id, v.event
  limit p_limit
$$;

-- What such an event says of lots: those of products that are known (and of the
-- load's company) are declared.  Once an event.  sv_worker.
create function sv.declare_event(p_load_id integer, p_event integer, p_gtin bigint[], p_lot text[], p_packs bigint[])
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into sv.event_declared (load_id, event) values (p_load_id, p_event) on conflict do nothing;

  if found then
    perform sv.declare_lot_by(x.gtin, x.lot, x.packs, null, null, p_load_id, p_event, null, 'feed')
    from (select u.gtin, u.lot, sum(u.packs)::bigint as packs
          from unnest(p_gtin, p_lot, p_packs) as u (gtin, lot, packs)
            join sv.product r on r.gtin = u.gtin and not r.deleted
            join sv.load l on l.load_id = p_load_id and l.company in ('', r.company)
          group by u.gtin, u.lot
          order by u.gtin, u.lot) x;
  end if;
end
$$;


-- The declarations of a lot that count, the first recorded first.
create function sv.lot_declarations(p_gtin bigint, p_lot text)
returns setof sv.lot_declaration
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select d.*
  from sv.lot_declaration d
    left join sv.event v on v.load_id = d.load_id and v.event = d.event
  where d.gtin = p_gtin and d.lot = p_lot and v.error is null
  order by d.at
$$;


-- What is known of a lot.
--
--   declared, declared_rejected, declared_aggregated   null: not told
--   declarations   how many there are that say different things
--   commissioned   packs that carry this lot, whatever became of them
--   rejected       on the line (decommissioning); destroyed, sampled: likewise.  A serial that was never commissioned belongs to
--                  the lot that its number was issued for
--   aggregated     packs that are in a container now
--   issued         numbers of the requests for this lot; null with unjudged: the product has no rule, or opted out
--   outside        commissioned packs whose number was never issued
--   missing        issued for this lot: neither commissioned nor ended nor returned
--   late           commissioned after the reservation of their number had ended
create function sv.lot_figures(p_gtin bigint, p_lot text)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
set jit = off
as $$
declare
  v_first     sv.lot_declaration;
  v_many      bigint;
  v_packs     record;
  v_ends      record;
  v_numbers   record;
  v_judged    boolean;
begin
  select d.* into v_first from sv.lot_declarations(p_gtin, p_lot) d order by d.at limit 1;

  select count(*) into v_many
  from (select distinct d.packs, d.rejected, d.aggregated from sv.lot_declarations(p_gtin, p_lot) d) x;

  v_judged := exists (select from sv.serial_rule r where r.gtin = p_gtin and not r.opted_out);

  -- by way of the loads: a pack has no index by its lot
  select count(*) as n,
    count(*) filter (where s.serial is null) as outside,
    count(*) filter (where b.at > q.reserved_until) as late,
    count(*) filter (where exists (select from sv.parent_of(k.gtin, k.serial, transaction_timestamp()) f)) as aggregated
  into v_packs
  from sv.load_lot b
    join sv.pack k on k.gtin = b.gtin and k.load_id = b.load_id and k.lot = b.lot
    left join sv.serial_number s on v_judged and s.gtin = k.gtin and s.serial = k.serial
    left join sv.serial_request q on q.gtin = s.gtin and q.request_id = s.request_id
  where b.gtin = p_gtin and b.lot = p_lot and k.state <> 'void';

  select count(*) filter (where u.step = 'decommissioning') as rejected, count(*) filter (where u.step = 'destroying') as destroyed,
    count(*) filter (where u.step = 'sampling') as sampled
  into v_ends
  from (
    select distinct x.serial, x.step
    from sv.item_end x
      join sv.event v on v.load_id = x.load_id and v.event = x.event
      left join sv.pack k on k.gtin = x.gtin and k.serial = x.serial and k.state <> 'void'
      left join sv.serial_number s on s.gtin = x.gtin and s.serial = x.serial
      left join sv.serial_request q on q.gtin = s.gtin and q.request_id = s.request_id
    where x.gtin = p_gtin and v.error is null and coalesce(k.lot, q.lot) = p_lot) u;

  select sum(q.n)::bigint as issued, coalesce(sum(c.unused), 0)::bigint as missing, coalesce(sum(c.returned), 0)::bigint as returned
  into v_numbers
  from sv.serial_request q
    cross join lateral sv.serial_counts(q.gtin, q.request_id) c
  where q.gtin = p_gtin and q.lot = p_lot;

  return jsonb_build_object(
    'declared', v_first.packs, 'declared_rejected', v_first.rejected, 'declared_aggregated', v_first.aggregated, 'declarations', v_many,
    'commissioned', v_packs.n, 'rejected', v_ends.rejected, 'destroyed', v_ends.destroyed, 'sampled', v_ends.sampled,
    'aggregated', v_packs.aggregated,
    'issued', v_numbers.issued, 'returned', v_numbers.returned,
    'outside', case when v_judged then v_packs.outside end, 'missing', v_numbers.missing,
    'late', case when v_judged then v_packs.late end);
end
$$;

-- The figures that do not agree; null: all do.
create function sv.lot_differences(p_figures jsonb)
returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select nullif(jsonb_strip_nulls(jsonb_build_object(
    'commissioned', case when (p_figures ->> 'declared')::bigint <> (p_figures ->> 'commissioned')::bigint
      then jsonb_build_object('declared', p_figures -> 'declared', 'found', p_figures -> 'commissioned') end,
    'rejected', case when (p_figures ->> 'declared_rejected')::bigint <> (p_figures ->> 'rejected')::bigint
      then jsonb_build_object('declared', p_figures -> 'declared_rejected', 'found', p_figures -> 'rejected') end,
    'aggregated', case when (p_figures ->> 'declared_aggregated')::bigint <> (p_figures ->> 'aggregated')::bigint
      then jsonb_build_object('declared', p_figures -> 'declared_aggregated', 'found', p_figures -> 'aggregated') end,
    'declarations', case when (p_figures ->> 'declarations')::bigint > 1 then p_figures -> 'declarations' end,
    'outside', case when (p_figures ->> 'outside')::bigint > 0 then p_figures -> 'outside' end,
    'missing', case when (p_figures ->> 'missing')::bigint > 0 then p_figures -> 'missing' end)), '{}'::jsonb)
$$;


-- A lot as it is now, and as it was reconciled.  sv_worker (p_location null),
-- sv_api.  42501; P0002: nothing is known of it.
create function sv.lot_show(p_location integer, p_gtin bigint, p_lot text)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_figures  jsonb;
  v_last     sv.lot_reconciliation;
begin
  perform sv.product_party(p_location, p_gtin, array['manufacturer', 'operator', 'authority']::sv.role[]);
  perform sv.check_lot(p_lot);

  select c.* into v_last from sv.lot_reconciliation c where c.gtin = p_gtin and c.lot = p_lot;

  if not found and not exists (select from sv.lot l where l.gtin = p_gtin and l.lot = p_lot)
    and not exists (select from sv.serial_request q where q.gtin = p_gtin and q.lot = p_lot)
  then
    raise exception using errcode = 'P0002', column = 'lot',
      message = format('lot: nothing is known of lot %s of product %s', p_lot, lpad(p_gtin::text, 14, '0'));
  end if;

  v_figures := sv.lot_figures(p_gtin, p_lot);

  return jsonb_build_object('gtin', lpad(p_gtin::text, 14, '0'), 'lot', p_lot, 'figures', jsonb_strip_nulls(v_figures),
    'differences', coalesce(sv.lot_differences(v_figures), '{}'),
    'declarations', coalesce((
      select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('at', to_char(d.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'packs', d.packs, 'rejected', d.rejected, 'aggregated', d.aggregated, 'load_id', d.load_id, 'event', d.event,
        'by', coalesce(l.gln, d.actor))) order by d.at)
      from sv.lot_declarations(p_gtin, p_lot) d
        left join sv.location l on l.location_id = d.location_id), '[]'))
    || case when v_last.reconciled_at is null then '{}'
         else jsonb_build_object('reconciled_at', to_char(v_last.reconciled_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) end;
end
$$;


-- Declared lots that facts recorded since the last look may have changed.  How
-- many facts come late is not known, so each look begins a quarter of an hour before the last.  sv_worker.
create function sv.reconcile_look()
returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
declare
  v_now    timestamptz := transaction_timestamp();
  v_since  timestamptz;
  v_n      bigint;
begin
  -- another housekeeping is at it
  select c.at - interval '15 minutes' into v_since from sv.reconcile_clock c for update skip locked;

  if not found then
    return 0;
  end if;

  with load as materialized (
    select l.load_id from sv.load l where l.finished_at > v_since
  ), item as materialized (
    select distinct m.gtin, m.serial
    from load l
      join sv.event v on v.load_id = l.load_id
      join sv.event_epc m on m.load_id = v.load_id and m.event = v.event
    where m.gtin in (select c.gtin from sv.lot_reconciliation c)
    union
    select distinct x.gtin, x.serial
    from load l
      join sv.event v on v.load_id = l.load_id
      join sv.item_end x on x.load_id = v.load_id and x.event = v.event
    where x.gtin in (select c.gtin from sv.lot_reconciliation c)
  ), lot as (
    -- what was packed, rejected ..
    select i.gtin, coalesce(k.lot, q.lot) as lot
    from item i
      left join sv.pack k on k.gtin = i.gtin and k.serial = i.serial and k.state <> 'void'
      left join sv.serial_number s on s.gtin = i.gtin and s.serial = i.serial
      left join sv.serial_request q on q.gtin = s.gtin and q.request_id = s.request_id
    union
    -- .. loaded, corrected
    select a.gtin, a.lot
    from (select distinct c.gtin from sv.lot_reconciliation c) g
      join sv.audit a on a.gtin = g.gtin and a.at > v_since and a.kind in ('load', 'correction')
    union
    -- a declaration whose event was declared an error, or no longer is
    select d.gtin, d.lot
    from sv.lot_declaration d
      join sv.event v on v.load_id = d.load_id and v.event = d.event
    where v.error is not null and (v.error ->> 'at')::timestamptz > v_since
  )
  update sv.lot_reconciliation c
  set touched_at = v_now
  from (select distinct l.gtin, l.lot from lot l) t
  where c.gtin = t.gtin and c.lot = t.lot and c.touched_at < v_now
    and (c.reconciled_at is null or c.reconciled_at < v_now);

  get diagnostics v_n = row_count;

  update sv.reconcile_clock set at = v_now;

  return v_n;
end
$$;


-- Reconciles a lot.  One finding tells what does not agree: it is replaced when
-- that changes, and resolved when everything agrees.  sv_worker.
create function sv.reconcile_lot(p_gtin bigint, p_lot text)
returns jsonb
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now          timestamptz := transaction_timestamp();
  v_last         sv.lot_reconciliation;
  v_figures      jsonb;
  v_differences  jsonb;
begin
  select c.* into v_last from sv.lot_reconciliation c where c.gtin = p_gtin and c.lot = p_lot for update;

  if not found then
    return null;
  end if;

  v_figures := sv.lot_figures(p_gtin, p_lot);
  v_differences := case when (v_figures -> 'declared') <> 'null' then sv.lot_differences(v_figures) end;

  if v_differences is null then
    update sv.finding f
    set detail = f.detail || jsonb_build_object('resolved', v_now)
    where f.gtin = p_gtin and f.at = v_last.finding_at and f.finding_id = v_last.finding_id;

    v_last.finding_at := null;
    v_last.finding_id := null;

  elsif v_last.finding_id is null then
    v_last.finding_at := v_now;
    v_last.finding_id := gen_random_uuid();

    insert into sv.finding (gtin, at, finding_id, rule, lot, detail)
    values (p_gtin, v_now, v_last.finding_id, 'lot_reconciliation', p_lot,
      jsonb_build_object('differences', v_differences, 'figures', jsonb_strip_nulls(v_figures)));

  else
    update sv.finding f
    set detail = jsonb_build_object('differences', v_differences, 'figures', jsonb_strip_nulls(v_figures))
      || case when v_differences <> v_last.differences then jsonb_build_object('changed_at', v_now)
           else coalesce(jsonb_build_object('changed_at', f.detail -> 'changed_at'), '{}') end
    where f.gtin = p_gtin and f.at = v_last.finding_at and f.finding_id = v_last.finding_id;
  end if;

  update sv.lot_reconciliation c
  set reconciled_at = v_now, figures = v_figures, differences = v_differences, finding_at = v_last.finding_at, finding_id = v_last.finding_id
  where c.gtin = p_gtin and c.lot = p_lot;

  return v_differences;
end
$$;

-- The next lots to be reconciled.  sv_worker.
create function sv.reconcile_due(p_limit integer)
returns table (gtin bigint, lot text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select c.gtin, c.lot
  from sv.lot_reconciliation c
  where (c.reconciled_at is null or c.reconciled_at < c.touched_at)
    and c.touched_at <= clock_timestamp() - make_interval(mins => sv.setting_integer('reconcile_minutes'))
  order by c.touched_at
  limit p_limit
$$;


grant execute on function
  sv.put_serial_rule(bigint, text, integer, boolean, integer, text),
  sv.serial_rule_of(bigint),
  sv.serial_issue(integer, bigint, text, text, integer, text, text, text[]),
  sv.serial_requests(integer, bigint, uuid, integer),
  sv.serial_numbers(integer, bigint, uuid, text, integer),
  sv.serial_return(integer, bigint, uuid, text[], text),
  sv.serial_expire(),
  sv.declare_lot(integer, bigint, text, bigint, bigint, bigint, text),
  sv.declaring_events(integer),
  sv.declare_event(integer, integer, bigint[], text[], bigint[]),
  sv.lot_show(integer, bigint, text),
  sv.reconcile_look(),
  sv.reconcile_lot(bigint, text),
  sv.reconcile_due(integer)
to sv_worker;

grant execute on function
  sv.serial_rule_of(bigint),
  sv.serial_issue(integer, bigint, text, text, integer, text, text, text[]),
  sv.serial_requests(integer, bigint, uuid, integer),
  sv.serial_numbers(integer, bigint, uuid, text, integer),
  sv.serial_return(integer, bigint, uuid, text[], text),
  sv.declare_lot(integer, bigint, text, bigint, bigint, bigint, text),
  sv.lot_show(integer, bigint, text)
to sv_api;

commit;
