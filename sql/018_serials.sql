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
select sv.migration_begin(18, 'serials');


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

commit;
