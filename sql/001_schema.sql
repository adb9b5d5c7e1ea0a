-- Tables.
--
-- `gtin` leads every key of what grows with the packs and is the column to
-- distribute by; product, location, credential and the rule tables are small
-- and would be reference tables.  One level of partitioning, no triggers, no
-- foreign keys on the hot path, no generated ids: ids and times come in.
--
-- A GTIN is its 14 digits as a number.  0 stands for "no product" in sv.audit.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(1, 'schema');

create type sv.pack_state as enum (
  'active', 'supplied', 'destroyed', 'exported', 'sample', 'free_sample', 'locked', 'stolen', 'checked_out'
);

create type sv.operation as enum (
  'verify', 'supply', 'destroy', 'export', 'sample', 'free_sample', 'lock', 'steal', 'check_out', 'undo'
);

create type sv.role as enum (
  'pharmacy', 'wholesaler', 'parallel_distributor', 'manufacturer', 'authority', 'reviewer', 'operator'
);


-- Packs.  A hundred bytes a pack count when there are a billion: eight-byte
-- columns first, then four, two, and the texts last.

create table sv.pack (
  gtin         bigint         not null,
  since        timestamptz,                       -- of the last change of state, at the counter (an offline replay's own time)
  version      integer        not null default 1, -- raised by every change of state
  location_id  integer,                           -- of the last change of state
  expiry       date           not null,
  load_id      integer,                           -- sv.load
  state        sv.pack_state  not null default 'active',
  repeats      smallint       not null default 0, -- supplies repeated by the location that supplied
  serial       text           collate "C" not null,
  lot          text           collate "C" not null,
  primary key (gtin, serial)
) partition by hash (gtin);

do $$
begin
  for i in 0 .. 63 loop
    execute format(
      'create table sv.pack_%s partition of sv.pack for values with (modulus 64, remainder %s) with (fillfactor = 90)',
      to_char(i, 'FM00'), i);
  end loop;
end
$$;


-- Reference data: small, and replicated whole to every gateway.  Rows are
-- written by the functions of 004_refdata.sql only, which number each change
-- (ref_n) by sv.ref_clock; nothing is deleted, a deleted row is a tombstone.

create table sv.ref_clock (
  one_row  boolean  not null primary key default true check (one_row),
  n        bigint   not null
);

insert into sv.ref_clock (n) values (0);

create table sv.product (
  gtin             bigint       not null primary key,
  name             text         not null,
  company          text         not null,                 -- who holds it; a manufacturer's location acts on its own company's products
  default_link     text,                                  -- null: the gateway's own page
  lot_optional     boolean      not null default false,   -- an operation may leave the lot away
  expiry_optional  boolean      not null default false,
  withdrawn_at     timestamptz,
  reason           text,
  reference        text,
  deleted          boolean      not null default false,
  ref_n            bigint
);

create index product_ref_n on sv.product (ref_n);

-- A lot becomes known when it is first loaded (expiry set); one that was
-- recalled before has a row without expiry.  A load must not hold the row of a
-- lot it merely finds, a recall may be waiting for it:
--   insert ... on conflict do nothing;  update ... where expiry is null
create table sv.lot (
  gtin         bigint       not null,
  lot          text         collate "C" not null,
  expiry       date,
  recalled_at  timestamptz,
  reason       text,
  reference    text,
  ref_n        bigint,                                    -- null until it is first recalled
  primary key (gtin, lot)
);

create index lot_ref_n on sv.lot (ref_n) where ref_n is not null;

create table sv.location (
  location_id  integer           not null primary key,
  gln          text              collate "C" not null unique,
  name         text              not null,
  role         sv.role           not null,
  company      text,
  country      text              not null,                -- ISO 3166-1 alpha-2
  lat          double precision,
  lon          double precision,
  deleted      boolean           not null default false,
  ref_n        bigint
);

create index location_ref_n on sv.location (ref_n);

create table sv.credential (
  sha256       bytea        not null primary key,         -- of the API key, or of the client certificate
  kind         text         not null check (kind in ('api_key', 'certificate')),
  location_id  integer      not null references sv.location,
  not_before   timestamptz  not null,
  not_after    timestamptz,
  revoked      boolean      not null default false,
  ref_n        bigint
);

create index credential_ref_n on sv.credential (ref_n);
create index credential_location on sv.credential (location_id);


-- Rules as data (rows in 002_rules.sql).

create table sv.setting (
  name   text  not null primary key,
  value  text  not null check (value ~ '^[0-9]{1,6}$'),
  note   text  not null
);

-- What an operation does to a pack whose identity and status are in order.
-- For undo, `of' is the operation to take back; else it repeats `operation'.
create table sv.transition (
  operation      sv.operation   not null,
  of             sv.operation   not null,
  state          sv.pack_state  not null,
  same_location  boolean        not null,                 -- as the last change of state
  next_state     sv.pack_state,                           -- null: the state stays
  reason         text           not null,
  code           text,                                    -- null: the reason's own
  alert          boolean,                                 -- null: the reason's own
  primary key (operation, of, state, same_location)
);

create table sv.permission (
  role       sv.role       not null,
  operation  sv.operation  not null,                      -- undo: whoever may do what is taken back
  primary key (role, operation)
);

create table sv.reason (
  reason  text     not null primary key,
  code    text,                                           -- hub code
  alert   boolean  not null default false                 -- level 5: the answer carries an alert id
);


-- What was answered to whom, so that a repeated request gets the same answer.
-- The row comes first in its transaction; a request with the same key waits on it.
create table sv.idempotency (
  gtin          bigint       not null,
  location_id   integer      not null,
  key           text         collate "C" not null,
  at            timestamptz  not null,                    -- for the purge
  fingerprint   text         collate "C" not null,
  reason        text,                                     -- the outcome, as sv.operate() returned it
  changed       boolean,
  state         text,
  state_before  text,
  version       integer,
  lot           text,
  expiry        text,
  pack_location integer,
  since_ms      bigint,
  at_ms         bigint,
  occurred_ms   bigint,
  code          text,
  alert_id      text,
  repeat        smallint,
  repeats_left  smallint,
  hint          text,
  primary key (gtin, location_id, key)
) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);

create index idempotency_at on sv.idempotency (at);


-- Every operation, accepted or refused, every load, recall and change of
-- reference data.  `operation' is one of sv.operation for kind 'operation',
-- else the function's word ('recall_lot', 'put_location', ...).
create table sv.audit (
  gtin          bigint       not null,                    -- 0: none
  at            timestamptz  not null,                    -- when it was recorded
  audit_id      uuid         not null,
  occurred_at   timestamptz,                              -- when it happened, if the client said so
  location_id   integer,
  version       integer,                                  -- of the pack, afterwards
  expiry        date,                                     -- as presented
  repeat        smallint,
  changed       boolean      not null,
  kind          text         not null check (kind in ('operation', 'load', 'recall', 'admin')),
  operation     text         not null,
  of            text,
  serial        text         collate "C",                 -- as presented
  lot           text         collate "C",                 -- as presented
  reason        text         not null,
  state_before  text,
  state         text,                                     -- afterwards
  code          text,
  alert_id      text,
  hint          text,
  entry_mode    text,
  key           text,                                     -- of idempotency
  request_id    text,
  actor         text,                                     -- who, when it was no location: a person or a program
  detail        jsonb,
  primary key (gtin, at, audit_id)
) partition by range (at);

create table sv.audit_default partition of sv.audit default;

-- What the relay has still to do: one row an audit row.
create table sv.outbox (
  gtin      bigint       not null,
  audit_id  uuid         not null,
  at        timestamptz  not null,                        -- of the audit row
  primary key (gtin, audit_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);

-- hash(n) = sha256(hash(n - 1) || digest(n)), digest = sha256 of the audit row.
create table sv.audit_chain (
  n         bigint       not null primary key,
  gtin      bigint       not null,
  at        timestamptz  not null,
  audit_id  uuid         not null,
  digest    bytea        not null,
  hash      bytea        not null
);

create table sv.audit_head (
  one_row  boolean  not null primary key default true check (one_row),
  n        bigint   not null,
  hash     bytea    not null
);

insert into sv.audit_head (n, hash) values (0, '\x0000000000000000000000000000000000000000000000000000000000000000');

create table sv.finding (
  gtin        bigint       not null,
  at          timestamptz  not null,
  finding_id  uuid         not null,
  rule        text         not null,
  serial      text         collate "C",
  lot         text         collate "C",
  detail      jsonb        not null default '{}',
  primary key (gtin, at, finding_id)
) partition by range (at);

create table sv.finding_default partition of sv.finding default;


-- Makes the partition of one month (UTC) of sv.audit, sv.finding or any table
-- partitioned by a timestamptz that has a default partition; true when it was
-- missing and could be made.  It is attached, not created in place, so that
-- nobody who writes to the parent has to wait.  Where rows of the month are in
-- the default partition already they stay there: moving them would stop every
-- operation meanwhile.
create function sv.make_month_partition(p_parent text, p_month date)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  v_from  timestamptz := date_trunc('month', p_month::timestamptz);
  v_to    timestamptz := date_trunc('month', p_month::timestamptz) + interval '1 month';
  v_name  text := p_parent || '_' || to_char(p_month, 'YYYYMM');
  v_late  boolean;
begin
  if to_regclass(format('sv.%I', v_name)) is not null then
    return false;
  end if;

  execute format('select exists (select from sv.%I where at >= $1 and at < $2)', p_parent || '_default')
  into v_late
  using v_from, v_to;

  if v_late then
    raise warning 'sv.% has rows of % already, no partition is made for it', p_parent || '_default', to_char(p_month, 'YYYY-MM');
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
  for i in 0 .. 2 loop
    perform sv.make_month_partition('audit', (v_today + make_interval(months => i))::date);
    perform sv.make_month_partition('finding', (v_today + make_interval(months => i))::date);
  end loop;
end
$$;

commit;
