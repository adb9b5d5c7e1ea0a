-- What line feeds say beyond commissioning: events, who was in them, what ended
-- a pack, containers; quarantine, parked events, capture jobs.
--
-- The tables hold facts as they were told; what follows from them (a pack's
-- state, a container's content) is a function of the facts that are there, never
-- of the order in which they came.  Of facts that contradict each other the one
-- recorded first stands.
--
-- An item is (gtin, serial).  A container with an SSCC has gtin 0 and the 18
-- digits for a serial; one with an SGTIN is written as a pack would be.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;

  if not exists (select from pg_catalog.pg_roles where rolname = 'sv_api') then
    create role sv_api login;
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(7, 'feed');

-- the worker's role `api': may execute the functions that are granted to it
grant usage on schema sv to sv_api;
grant execute on function sv.schema_version() to sv_api;

-- A pack whose commissioning was declared an error, and that no other event
-- commissions: unknown to everybody who asks.  The row stays because its version goes on.
alter type sv.pack_state add value 'void';

-- the commissioning that counts: the event's place in its file (null: no event), and the line
alter table sv.pack add column event integer, add column line integer;


-- Events, one row an identity: the sha256 of the eventID, else of the facts.
-- A row is there before anything of the event is merged, so that the same
-- event is merged by one load only and a declaration of error finds it.
create table sv.event (
  load_id        integer      not null,
  event          integer      not null,                   -- its place in the file, from 1
  line           bigint       not null,
  identity       bytea        not null unique,
  facts          bytea        not null,
  event_id       text,                                    -- as given
  kind           text         not null check (kind in ('object', 'aggregation', 'transaction')),
  action         text         not null check (action in ('add', 'observe', 'delete')),
  step           text,                                    -- the word of the vocabulary ('commissioning'), or the URI of another
  disposition    text,                                    -- likewise
  event_time     timestamptz,
  offset_min     smallint,                                -- eventTimeZoneOffset: told, never applied
  at             timestamptz  not null,                   -- recorded
  parent_gtin    bigint,
  parent_serial  text         collate "C",
  lot            text         collate "C",                -- commissioning
  expiry         date,
  market         text,                                    -- ISO 3166-1 alpha-2
  read_point     text,
  biz_location   text,
  packs          integer      not null,                   -- items it names
  error          jsonb,                                   -- declared an error: {time, reason, corrective: [], load_id, line, at}
  detail         jsonb,                                   -- what else it says: business transactions, sensors, extensions
  primary key (load_id, event)
);

create index event_parent on sv.event (parent_gtin, parent_serial) where parent_gtin is not null;

-- Who was in an event, but for the packs it commissioned (they carry its number).
create table sv.event_epc (
  gtin     bigint   not null,
  load_id  integer  not null,
  event    integer  not null,
  line     integer  not null,
  serial   text     collate "C" not null,
  primary key (gtin, serial, load_id, event)
) partition by hash (gtin);

do $$
begin
  for i in 0 .. 15 loop
    execute format(
      'create table sv.event_epc_%s partition of sv.event_epc for values with (modulus 16, remainder %s)',
      to_char(i, 'FM00'), i);
  end loop;
end
$$;

create index event_epc_event on sv.event_epc (load_id, event);

-- Commissionings of a pack beside the one that counts: repeated by another
-- event, contradicting it, or declared an error.
create table sv.commission (
  gtin     bigint       not null,
  load_id  integer      not null,
  event    integer      not null,                         -- 0: no event
  line     integer      not null,
  expiry   date         not null,
  at       timestamptz  not null,                         -- recorded
  serial   text         collate "C" not null,
  lot      text         collate "C" not null,
  primary key (gtin, serial, load_id, event)
);

create index commission_event on sv.commission (load_id, event);

-- What ended an item, also before it was commissioned: rejected on the line,
-- destroyed, sampled.  Of a container, and of what was in it at that time.
create table sv.item_end (
  gtin        bigint       not null,
  load_id     integer      not null,
  event       integer      not null,
  line        integer      not null,
  event_time  timestamptz  not null,
  step        text         not null,
  serial      text         collate "C" not null,
  primary key (gtin, serial, load_id, event)
);

create index item_end_event on sv.item_end (load_id, event);

-- What a step of the vocabulary does to the items it names.
create table sv.step_rule (
  step      text           not null,
  action    text           not null check (action in ('add', 'observe', 'delete')),
  state     sv.pack_state,                                -- null: nothing but history
  rank      smallint       not null default 0,            -- of several ends the highest counts
  contents  boolean        not null default false,        -- of a container: what is in it, too
  revives   boolean        not null default false,        -- a later commissioning may be allowed (setting `recommission')
  waits     boolean        not null default true,         -- the items should be commissioned: parked until they are
  primary key (step, action)
);

insert into sv.step_rule (step, action, state, rank, contents, revives, waits) values
  ('commissioning',   'add',     null,        0, false, false, false),
  ('packing',         'add',     null,        0, false, false, true),
  ('packing',         'delete',  null,        0, false, false, true),   -- real files unpack so
  ('unpacking',       'delete',  null,        0, false, false, true),
  ('shipping',        'observe', null,        0, false, false, true),
  ('departing',       'observe', null,        0, false, false, true),
  ('receiving',       'observe', null,        0, false, false, true),
  ('arriving',        'observe', null,        0, false, false, true),
  ('void_shipping',   'observe', null,        0, false, false, true),
  ('decommissioning', 'delete',  'destroyed', 4, false, true,  false),  -- line rejects often come without their commissioning
  ('decommissioning', 'observe', 'destroyed', 4, false, true,  false),
  ('destroying',      'delete',  'destroyed', 5, true,  false, false),
  ('destroying',      'observe', 'destroyed', 5, true,  false, false),
  ('sampling',        'delete',  'sample',    2, false, false, true),
  ('sampling',        'observe', 'sample',    2, false, false, true),
  ('dispensing',      'delete',  'supplied',  3, false, false, true),
  ('dispensing',      'observe', 'supplied',  3, false, false, true),
  ('retail_selling',  'delete',  'supplied',  3, false, false, true),
  ('retail_selling',  'observe', 'supplied',  3, false, false, true);

insert into sv.setting (name, value, note) values
  ('recommission', '0', '1: a serial that was rejected on the line may be commissioned again later'),
  ('park_minutes', '120', 'what was packed or shipped and is not commissioned after so long is a finding');


-- Containers that were commissioned.  What is in them follows from the events.
create table sv.container (
  gtin        bigint       not null,
  serial      text         collate "C" not null,
  load_id     integer      not null,
  event       integer      not null,
  event_time  timestamptz,
  primary key (gtin, serial)
);

-- Whoever merges facts about packs of a GTIN locks its row first, the GTINs in
-- order: so a commissioning and an end of the same pack see each other.
create table sv.feed_gtin (
  gtin  bigint  not null primary key
);

-- Events whose items are not all commissioned yet.
create table sv.parked (
  load_id   integer      not null,
  event     integer      not null,
  missing   integer      not null,                        -- items
  at        timestamptz  not null,
  next_at   timestamptz  not null,                        -- to be looked at again
  deadline  timestamptz  not null,
  expired   boolean      not null default false,          -- the finding is made; still looked at, seldom
  primary key (load_id, event)
);

create index parked_next on sv.parked (next_at);

-- Events that cannot be read without guessing.  A person releases or discards them.
create table sv.quarantine (
  quarantine_id  bigint       not null primary key,
  load_id        integer      not null,
  event          integer      not null,
  line           bigint       not null,
  packs          integer      not null,
  reason         text         not null,                   -- as in a report
  element        text,
  value          text,
  content        text,                                    -- the event as EPCIS 2.0 JSON; null: too large, correct the file
  state          text         not null check (state in ('waiting', 'released', 'discarded')),
  at             timestamptz  not null,
  company        text,                                    -- whose capture it was; null: an inbox
  done_at        timestamptz,
  done_by        text,
  note           text,
  release_id     integer,                                 -- the load of what was released
  unique (load_id, event)
);

create sequence sv.quarantine_number;
create index quarantine_waiting on sv.quarantine (at) where state = 'waiting';


-- Loads: where they came from.  The same content from another company, or to
-- be captured in another way, is another load.
alter table sv.load
  add column feed                text     not null default '',      -- of the configuration; '': the inbox
  add column company             text     not null default '',      -- whose packs it may name; '': any
  add column whole               boolean  not null default false,   -- all or nothing
  add column events_quarantined  bigint   not null default 0,
  add column events_parked       bigint   not null default 0;

-- POST /epcis/capture: the body is on the host's disk before the row is here.
create table sv.capture (
  capture_id   uuid         not null primary key,
  location_id  integer      not null,
  company      text         not null,                     -- '': any
  host         text         not null,                     -- whose disk
  file         text         not null,                     -- below its capture directory
  digest       bytea        not null,
  bytes        bigint       not null,
  whole        boolean      not null,                     -- rollback; else proceed
  state        text         not null check (state in ('queued', 'running', 'done')),
  success      boolean,
  load_id      integer,
  errors       jsonb        not null default '[]',
  request_id   text,
  created_at   timestamptz  not null,
  started_at   timestamptz,
  finished_at  timestamptz
);

create index capture_queue on sv.capture (host, created_at) where state <> 'done';
create index capture_location on sv.capture (location_id, created_at);

alter table sv.audit drop constraint audit_kind_check;
alter table sv.audit add constraint audit_kind_check check (kind in ('operation', 'load', 'recall', 'correction', 'admin'));

commit;
