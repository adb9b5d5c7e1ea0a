-- Scans, what rules find in them, and cases: the tables.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(28, 'scan');


-- Every verify and operation, as it was judged.  A verify came as an event of a
-- gateway, an operation is its audit row (gateway '', sequence: its place in the
-- audit chain).  An event that comes twice meets its own key.
create table sv.scan (
  gtin         bigint       not null,
  at           timestamptz  not null,                     -- when it was answered
  gateway      text         collate "C" not null,
  boot         bigint       not null,                     -- of the gateway's process
  seq          bigint       not null,
  n            bigint       not null,                     -- in the order in which scans were judged
  occurred_at  timestamptz,                               -- of an offline replay
  serial       text         collate "C",                  -- as presented, like lot and expiry
  lot          text         collate "C",
  expiry       text,                                      -- YYMMDD
  operation    text         not null,
  of           text,
  location_id  integer,                                   -- null: a consumer
  session      text         collate "C",                  -- of a consumer, another one every day
  country      text,
  lat          real,
  lon          real,
  accuracy_km  integer,
  entry_mode   text,
  reason       text         not null,
  alert_id     text,
  request_id   text,
  hint         text,
  silent       boolean      not null default false,       -- kept, not judged
  before_id    integer,                                   -- location that made the state an inactive pack was met in
  pack_lot     text         collate "C",                  -- the pack's, where none was presented
  primary key (gtin, at, gateway, boot, seq)
) partition by range (at);

create table sv.scan_default partition of sv.scan default;

create index scan_n on sv.scan (n);

-- what an upload that comes late, or what was commissioned, may explain
create index scan_miss on sv.scan (gtin, serial)
  where reason in ('product_unknown', 'lot_unknown', 'serial_unknown', 'lot_mismatch', 'expiry_mismatch');


-- Where the judge is, and who judges: one worker, by lease.  Whoever writes what
-- was judged updates this row first, and finds out that it was replaced.
create table sv.judge (
  one      boolean      not null primary key default true check (one),
  holder   uuid,
  pid      integer,                                       -- the holder's backend
  until    timestamptz,
  chain_n  bigint       not null default 0,               -- operations are judged up to this row of the audit chain
  scan_n   bigint       not null default 0,               -- the last n of sv.scan
  case_n   bigint       not null default 0,               -- the last number of a case
  refused_n  bigint     not null default 0,               -- the last number of sv.refused
  streams  jsonb        not null default '{}',            -- what waits in each Redis: blocks; null: it cannot be reached
  told_at  timestamptz                                    -- when the holder said so
);

insert into sv.judge default values;


-- How much of what a gateway's process sent has come.  Lost: last_seq - received.
create table sv.scan_source (
  gateway   text         collate "C" not null,
  boot      bigint       not null,
  first_at  timestamptz  not null,
  last_at   timestamptz  not null,
  last_seq  bigint       not null,
  received  bigint       not null,
  ahead     bigint       not null default 0,              -- of them, by a clock that is ahead: kept, not judged
  ahead_at  timestamptz,                                  -- when such a one came last
  primary key (gateway, boot)
);


-- What PostgreSQL refuses for what is in it, or what cannot be read, is put aside,
-- so that what comes behind it is judged; it can be judged again.
--
--   event  of a gateway         lines  of a block that are no events
--   chain  a row of the audit chain: an operation, a load or a recall; its place is seq
--   case   that could not be written
create table sv.refused (
  n         bigint       not null primary key,            -- counted in sv.judge
  key       text         collate "C" not null unique,     -- what it is: the same again is no other row
  kind      text         not null check (kind in ('event', 'lines', 'chain', 'case')),
  gateway   text         collate "C",
  boot      bigint,
  seq       bigint,
  case_id   uuid,
  content   bytea,                                        -- lines as they came
  lines     integer,
  code      text         not null,                        -- SQLSTATE; '': cannot be read
  reason    text         not null,
  at        timestamptz  not null,
  tried_at  timestamptz  not null,
  tries     integer      not null default 1,
  again     boolean      not null default false           -- somebody wants it judged again
);

create index refused_again on sv.refused (n) where again;


-- What was changed of the rules' parameters; what is not here has its default
-- (`serial-verify-worker rules' lists them all).
create table sv.rule_param (
  name   text         not null primary key,               -- rule.parameter
  value  text         not null,
  at     timestamptz  not null,
  by     text         not null
);


create type sv.severity as enum ('info', 'low', 'medium', 'high', 'critical');
create type sv.case_status as enum ('new', 'acknowledged', 'investigating', 'closed', 'reopened', 'merged');

-- gtin 0: of many products.
create table sv.case (
  gtin              bigint          not null,
  case_id           uuid            not null,
  number            bigint          not null,             -- for people; counted in sv.judge
  rule              text            not null,             -- that decided
  severity          sv.severity     not null,
  status            sv.case_status  not null default 'new',
  proposed_closure  boolean         not null default false,  -- an innocent cause explains all of it: proposed for closure
  cause             text            not null,             -- proposed
  lot               text            collate "C",
  countries         text[]          not null default '{}',
  serials           integer         not null default 0,   -- how many
  actors            integer         not null default 0,
  scans             integer         not null default 0,
  first_at          timestamptz     not null,             -- of the evidence
  last_at           timestamptz     not null,
  opened_at         timestamptz     not null,
  changed_at        timestamptz     not null,
  version           integer         not null default 1,   -- every change raises it
  muted_until       timestamptz,
  close_reason      text,
  close_note        text,
  merged_into       uuid,
  sessions          boolean         not null default true,   -- findings may hold tokens of consumers
  primary key (gtin, case_id)
);

create index case_changed on sv.case (changed_at, case_id);
create index case_number on sv.case (number);
create index case_quiet on sv.case (changed_at) where status = 'new' and proposed_closure;


-- What a rule said: replaced when there is more evidence, withdrawn when it is explained away.
create table sv.case_finding (
  gtin        bigint       not null,
  case_id     uuid         not null,
  finding_id  uuid         not null,                      -- digest of rule and key
  rule        text         not null,
  severity    sv.severity  not null,
  weight      text         not null check (weight in ('info', 'explained', 'asks')),
  cause       text         not null,
  lot         text         collate "C",
  serials     text[]       collate "C" not null,
  actors      text[]       collate "C" not null,          -- GLN of sites, tokens of consumers
  scans       bigint[]     not null,                      -- n of sv.scan
  keys        text[]       collate "C" not null default '{}',      -- findings that share one are one case
  first_at    timestamptz  not null,
  last_at     timestamptz  not null,
  found_at    timestamptz  not null,
  changed_at  timestamptz  not null,
  withdrawn   boolean      not null default false,
  detail      jsonb        not null default '{}',
  primary key (gtin, case_id, finding_id)
);

create index case_finding_id on sv.case_finding (finding_id);


-- The timeline of cases.  n: under the row of the clock, so numbers become
-- visible in order and a reader by number misses nothing.
create table sv.case_clock (
  one  boolean  not null primary key default true check (one),
  n    bigint   not null
);

insert into sv.case_clock (n) values (0);

create table sv.case_event (
  n        bigint       not null primary key,
  gtin     bigint       not null,
  case_id  uuid         not null,
  at       timestamptz  not null,
  kind     text         not null,     -- opened, evidence, severity, proposed_closure, asks, merged, status, note, party, muted, unmuted
  actor    text,                      -- GLN and name of who did it; null: the judge
  detail   jsonb        not null default '{}',
  state    jsonb        not null      -- the row of the case as it was then
);

create index case_event_case on sv.case_event (gtin, case_id, n);

-- What each party found on its side.
create table sv.case_party (
  gtin     bigint       not null,
  case_id  uuid         not null,
  party    text         not null check (party in ('manufacturer', 'parallel_distributor', 'wholesaler', 'pharmacy', 'authority', 'system')),
  status   text         not null check (status in ('pending', 'no_root_cause', 'root_cause')),
  note     text         not null default '',
  at       timestamptz  not null,
  actor    text         not null,
  primary key (gtin, case_id, party)
);


-- Appends to a case's timeline and raises its version; the number.  The caller
-- holds the case's row.  Everything that changes a case calls it, in the
-- transaction of the change, last: the clock's row is held until it commits.
create function sv.case_tell(p_gtin bigint, p_case_id uuid, p_kind text, p_actor text, p_detail jsonb, p_at timestamptz)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_n      bigint;
  v_state  jsonb;
begin
  update sv.case c
  set version = c.version + 1, changed_at = p_at
  where c.gtin = p_gtin and c.case_id = p_case_id
  returning to_jsonb(c) into v_state;

  update sv.case_clock k set n = k.n + 1 returning k.n into v_n;

  insert into sv.case_event (n, gtin, case_id, at, kind, actor, detail, state)
  values (v_n, p_gtin, p_case_id, p_at, p_kind, p_actor, coalesce(p_detail, '{}'), v_state);

  return v_n;
end
$$;

commit;
