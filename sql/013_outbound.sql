-- What goes out: the history of an item, the export of a period and the push of
-- everything, as rows that the worker renders as EPCIS 2.0 events.
--
-- What was told goes out as it was told, under its own eventID.  An event
-- without one, a CSV file and an operation at the counter get an eventID that
-- follows from what they are, so that it is the same whenever it is asked for.
-- The order of the push and of the export is that of sv.audit_chain.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(13, 'outbound');

-- what happened to a pack at the counter
create index audit_item on sv.audit (gtin, serial) where changed and serial is not null;

-- the rows of a period are neighbours in the chain
create index audit_chain_at on sv.audit_chain using brin (at);

-- the packs of a load; equal keys share an entry, so a pack takes a few bytes
create index pack_load on sv.pack (gtin, load_id);

-- most EPCs of one event: a larger one goes out in parts
insert into sv.setting (name, value, note) values
  ('event_epcs', '5000', 'most EPCs in an event that goes out; never to be changed: the eventIDs of parts follow from it');


-- What an operation at the counter is called in EPCIS.  Where the vocabulary has
-- no word the step is a URI of ours, and the disposition says what others
-- understand.
create table sv.operation_step (
  operation    sv.operation  not null primary key,
  action       text          not null check (action in ('add', 'observe', 'delete')),
  step         text          not null,
  disposition  text          not null
);

insert into sv.operation_step (operation, action, step, disposition) values
  ('supply',      'delete',  'dispensing',                               'dispensed'),
  ('destroy',     'delete',  'destroying',                               'destroyed'),
  ('sample',      'delete',  'sampling',                                 'inactive'),
  ('free_sample', 'delete',  'urn:serial-verify:bizstep:free_sampling',  'inactive'),
  ('export',      'delete',  'urn:serial-verify:bizstep:exporting',      'inactive'),
  ('check_out',   'delete',  'urn:serial-verify:bizstep:checking_out',   'inactive'),
  ('lock',        'observe', 'urn:serial-verify:bizstep:locking',        'non_sellable_other'),
  ('steal',       'observe', 'urn:serial-verify:bizstep:stealing',       'stolen');

-- and they are understood when they come back
insert into sv.step_rule (step, action, state, rank, contents, revives, waits) values
  ('urn:serial-verify:bizstep:free_sampling', 'delete',  'free_sample', 2, false, false, true),
  ('urn:serial-verify:bizstep:exporting',     'delete',  'exported',    2, false, false, true),
  ('urn:serial-verify:bizstep:checking_out',  'delete',  'checked_out', 2, false, false, true),
  ('urn:serial-verify:bizstep:locking',       'observe', 'locked',      1, false, false, true),
  ('urn:serial-verify:bizstep:stealing',      'observe', 'stolen',      4, false, false, true);


-- One event that goes out: src/worker/svw_epcis.h.
create type sv.out_event as (
  event_id       text,
  kind           text,
  action         text,
  step           text,
  disposition    text,
  event_ms       bigint,
  offset_min     smallint,
  at_ms          bigint,
  parent_gtin    bigint,
  parent_serial  text,
  items          text,                                    -- a line each: GTIN in 14 digits (an SSCC: zeros) and serial
  lot            text,
  expiry         text,
  market         text,
  read_point     text,
  biz_location   text,
  error          jsonb,
  detail         jsonb,
  own            jsonb
);


create function sv.out_item(p_gtin bigint, p_serial text)
returns text
language sql immutable parallel safe
return lpad(p_gtin::text, 14, '0') || p_serial;

-- An eventID that follows from what the event is.
create function sv.out_id(p_digest bytea)
returns text
language sql immutable parallel safe
return 'ni:///sha-256;' || encode(p_digest, 'hex') || '?ver=sv1';

create function sv.out_event_id(p_event sv.event)
returns text
language sql immutable parallel safe
return case when (p_event).event_id ~ '^[A-Za-z][A-Za-z0-9+.-]*:.' then (p_event).event_id else sv.out_id((p_event).identity) end;

create function sv.out_error(p_time text, p_reason text, p_corrective jsonb)
returns jsonb
language sql immutable parallel safe
return jsonb_strip_nulls(jsonb_build_object('declarationTime', p_time, 'reason', p_reason,
  'correctiveEventIDs', case when jsonb_array_length(coalesce(p_corrective, '[]')) > 0 then p_corrective end));

-- RFC 3339, whatever the session's settings are
create function sv.out_time(p_at timestamptz)
returns text
language sql stable parallel safe
return to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- Was it declared an error before it came itself?  Then it never goes out without that.
create function sv.out_declared(p_event sv.event)
returns boolean
language sql immutable parallel safe
return coalesce(((p_event).error ->> 'at')::timestamptz <= (p_event).at, false);

-- Did the declaration make the row?
create function sv.out_made(p_event sv.event)
returns boolean
language sql immutable parallel safe
return coalesce(((p_event).error ->> 'load_id')::integer = (p_event).load_id
  and ((p_event).error ->> 'event')::integer = (p_event).event, false);

-- An event as it was told, with the items that are to go out.  `p_declared': it
-- again, as the declaration that it was an error.
create function sv.out_told(p_event sv.event, p_id text, p_items text, p_declared boolean, p_own jsonb)
returns sv.out_event
language sql stable parallel safe
return row(
  p_id, (p_event).kind, (p_event).action, (p_event).step, (p_event).disposition,
  sv.ms(coalesce((p_event).event_time, (p_event).at)), coalesce((p_event).offset_min, 0),
  sv.ms(case when p_declared then coalesce(((p_event).error ->> 'at')::timestamptz, (p_event).at) else (p_event).at end),
  (p_event).parent_gtin, (p_event).parent_serial, p_items, (p_event).lot, (p_event).expiry::text, (p_event).market,
  (p_event).read_point, (p_event).biz_location,
  case when p_declared then sv.out_error(
    coalesce((p_event).error ->> 'time', (p_event).error ->> 'at', sv.out_time((p_event).at)),
    (p_event).error ->> 'reason', (p_event).error -> 'corrective') end,
  (p_event).detail, p_own
)::sv.out_event;


-- An operation at the counter.  An undo is the declaration that the operation
-- it takes back did not occur.  Where it happened is told to nobody but the
-- company of that place, and the place itself, when `p_company' is given.
create function sv.out_operation(p_row sv.audit, p_company text, p_location integer default null)
returns sv.out_event
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_done   sv.audit := p_row;
  v_event  sv.out_event;
begin
  if p_row.operation = 'undo' then
    select a.* into v_done
    from sv.audit a
    where a.gtin = p_row.gtin and a.serial = p_row.serial and a.changed and a.kind = 'operation' and a.version = p_row.version - 1;

    if not found then
      return null;
    end if;
  end if;

  select 'urn:uuid:' || v_done.audit_id, 'object', s.action, s.step, s.disposition,
    sv.ms(coalesce(v_done.occurred_at, v_done.at)), 0, sv.ms(p_row.at),
    null, null, sv.out_item(v_done.gtin, v_done.serial), null, null, null,
    case when p_company is null or l.company = p_company or l.location_id = p_location then 'https://id.gs1.org/414/' || l.gln end, null,
    case when p_row.operation = 'undo' then
      sv.out_error(sv.out_time(coalesce(p_row.occurred_at, p_row.at)), 'did_not_occur', null) end,
    null, jsonb_build_object('operation', v_done.operation)
  into v_event
  from sv.operation_step s
    left join sv.location l on l.location_id = v_done.location_id
  where s.operation::text = v_done.operation;

  return v_event;
end
$$;


-- Part `p_k' of a commissioning: of an event, or of a file without events
-- (p_event null).  One that goes out whole keeps its eventID, a part of it has
-- its own.  p_n: how many packs the part has.
create function sv.out_commission(
  p_event     sv.event,
  p_load_id   integer,
  p_gtin      bigint,
  p_lot       text,
  p_expiry    date,
  p_k         bigint,
  p_n         bigint,
  p_items     text,
  p_declared  boolean,
  p_own       jsonb
)
returns sv.out_event
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case when (p_event).load_id is null then
      row(sv.out_id(sha256(l.digest || convert_to(jsonb_build_array(p_load_id, p_gtin, p_lot, p_expiry, p_k)::text, 'UTF8'))),
        'object', 'add', 'commissioning', 'active', sv.ms(coalesce(b.event_from, b.at)), 0, sv.ms(b.at), null, null,
        p_items, p_lot, p_expiry::text, b.market, null, null, null, null,
        jsonb_build_object('file', l.file, 'line', b.first_line) || coalesce(p_own, '{}'))::sv.out_event
    else
      sv.out_told(p_event,
        case when p_n = (p_event).packs then sv.out_event_id(p_event)
          else sv.out_id(sha256((p_event).identity || convert_to(jsonb_build_array(p_gtin, p_lot, p_k)::text, 'UTF8'))) end,
        p_items, p_declared or sv.out_declared(p_event), p_own)
    end
  from sv.load l
    left join sv.load_lot b on b.gtin = p_gtin and b.lot = p_lot and b.load_id = p_load_id
  where l.load_id = p_load_id
$$;


-- The packs that a load commissioned in a lot, also those whose commissioning
-- does not count.
create function sv.out_packs(p_gtin bigint, p_lot text, p_load_id integer)
returns table (event integer, expiry date, serial text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select k.event, k.expiry, k.serial
  from sv.pack k
  where k.gtin = p_gtin and k.load_id = p_load_id and k.lot = p_lot
  union all
  select nullif(c.event, 0), c.expiry, c.serial
  from sv.commission c
  where c.gtin = p_gtin and c.load_id = p_load_id and c.lot = p_lot
$$;


-- The commissionings of a lot of a load, in parts that are always the same:
-- events in their order, packs in the order of their serials.
-- p_event: of this event only, as the declaration that it was an error.
create function sv.out_lot(p_gtin bigint, p_lot text, p_load_id integer, p_event integer default null)
returns table (part integer, e sv.out_event)
language sql stable
set search_path = pg_catalog, pg_temp
set jit = off
as $$
  with cut as (
    select i.event, i.expiry, i.serial,
      (row_number() over (partition by i.event, i.expiry order by i.serial collate "C") - 1) / sv.setting_integer('event_epcs') as k
    from sv.out_packs(p_gtin, p_lot, p_load_id) i
    where p_event is null or i.event = p_event
  ), made as (
    select c.event, c.expiry, c.k, count(*) as n,
      string_agg(sv.out_item(p_gtin, c.serial), e'\n' order by c.serial collate "C") as items
    from cut c
    group by c.event, c.expiry, c.k
  )
  select row_number() over (order by m.event nulls first, m.expiry, m.k)::integer,
    sv.out_commission(t, p_load_id, p_gtin, p_lot, m.expiry, m.k, m.n, m.items, p_event is not null, null)
  from made m
    left join sv.event t on t.load_id = p_load_id and t.event = m.event
  order by 1
$$;


-- Does a container belong to a company?  When packs of it were in it and no others.
create function sv.container_is_of(p_gtin bigint, p_serial text, p_company text)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with recursive inside (gtin, serial) as (
    select p_gtin, p_serial collate "C"
    union
    select c.gtin, c.serial
    from inside i
      join sv.event t on t.parent_gtin = i.gtin and t.parent_serial = i.serial and t.action = 'add'
      join sv.event_epc c on c.load_id = t.load_id and c.event = t.event
  )
  select coalesce(bool_and(r.company = p_company), false)
  from (select distinct i.gtin from inside i where i.gtin <> 0) g
    left join sv.product r on r.gtin = g.gtin
$$;


-- Items of events of a load, but for the packs that they commission.
create function sv.event_items(p_load_id integer, p_from integer, p_to integer)
returns table (event integer, gtin bigint, serial text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select c.event, c.gtin, c.serial
  from sv.event_epc c
  where c.load_id = p_load_id and c.event between p_from and p_to
  union
  select d.event, d.gtin, d.serial
  from sv.item_end d
  where d.load_id = p_load_id and d.event between p_from and p_to and not d.derived
  union
  select c.event, c.gtin, c.serial
  from sv.commission c
    join sv.event t on t.load_id = c.load_id and t.event = c.event
  where c.load_id = p_load_id and c.event between p_from and p_to and sv.out_made(t)
$$;


-- The other events of a load from one place to another: packed, shipped,
-- destroyed .., and containers that were commissioned.  The packs that an event
-- commissions are told by sv.out_lot().  p_audit_id: those that this row of the
-- audit trail tells of; null: the one event, as the declaration that it was an error.
create function sv.out_told_events(p_load_id integer, p_from integer, p_to integer, p_audit_id uuid, p_company text, p_gtin bigint)
returns table (part integer, e sv.out_event)
language sql stable
set search_path = pg_catalog, pg_temp
set jit = off
as $$
  with item as (
    select c.event, c.gtin, c.serial,
      (row_number() over (partition by c.event order by c.gtin, c.serial collate "C") - 1) / sv.setting_integer('event_epcs') as k
    from sv.event_items(p_load_id, p_from, p_to) c
  ), made as (
    select i.event, i.k, count(*) as n,
      string_agg(sv.out_item(i.gtin, i.serial), e'\n' order by i.gtin, i.serial collate "C") filter (where
        (p_gtin is null or i.gtin = p_gtin)
        and (p_company is null
          or i.gtin <> 0 and exists (select from sv.product r where r.gtin = i.gtin and r.company = p_company)
          or i.gtin = 0 and sv.container_is_of(i.gtin, i.serial, p_company))) as items
    from item i
    group by i.event, i.k
  )
  select row_number() over (order by t.event, m.k)::integer,
    sv.out_told(t,
      case when m.n is null or m.n = t.packs then sv.out_event_id(t)
        else sv.out_id(sha256(t.identity || convert_to(jsonb_build_array(m.k)::text, 'UTF8'))) end,
      m.items, p_audit_id is null or sv.out_declared(t), null)
  from sv.event t
    left join made m on m.event = t.event
  where t.load_id = p_load_id and t.event between p_from and p_to
    and (p_audit_id is null
      or exists (select from sv.event_told o where o.load_id = t.load_id and o.event = t.event and o.audit_id = p_audit_id))
    and (m.items is not null
      or m.n is null and t.parent_serial is not null
        and (p_gtin is null or t.parent_gtin = p_gtin)
        and (p_company is null or sv.container_is_of(t.parent_gtin, t.parent_serial, p_company)))
  order by 1
$$;


-- The declaration that an event was an error: all that it said, once more.
create function sv.out_declaration(p_load_id integer, p_event integer, p_company text, p_gtin bigint)
returns table (part integer, e sv.out_event)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select row_number() over (order by a.place, a.gtin, a.part)::integer, a.e
  from (
    select 1 as place, l.gtin, o.part, o.e
    from sv.event t
      join sv.load_lot l on l.load_id = t.load_id and l.lot = t.lot
      cross join lateral sv.out_lot(l.gtin, l.lot, p_load_id, p_event) o
    where t.load_id = p_load_id and t.event = p_event
      and (p_gtin is null or l.gtin = p_gtin)
      and (p_company is null or exists (select from sv.product r where r.gtin = l.gtin and r.company = p_company))
    union all
    select 2, 0, o.part, o.e
    from sv.out_told_events(p_load_id, p_event, p_event, null, p_company, p_gtin) o
  ) a
  order by 1
$$;


-- What one row of the audit trail means to others, in parts.
create function sv.out_row(p_row sv.audit, p_company text, p_gtin bigint)
returns table (part integer, e sv.out_event)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_load_id  integer := p_row.detail ->> 'load_id';
  v_event    sv.out_event;
begin
  if p_row.kind = 'operation' then
    v_event := sv.out_operation(p_row, p_company);

    if v_event.event_id is not null then
      part := 1;
      e := v_event;
      return next;
    end if;

  elsif p_row.kind = 'load' and p_row.operation = 'commission' and p_row.serial is null then
    return query select o.part, o.e from sv.out_lot(p_row.gtin, p_row.lot, v_load_id) o;

  elsif p_row.kind = 'load' and p_row.operation = 'events' then
    return query
    select o.part, o.e
    from sv.out_told_events(v_load_id, (p_row.detail ->> 'first')::integer, (p_row.detail ->> 'last')::integer,
      p_row.audit_id, p_company, p_gtin) o;

  elsif p_row.kind = 'correction' and p_row.operation = 'declare_error' and p_row.gtin = 0 then
    return query
    select o.part, o.e
    from sv.out_declaration(v_load_id, (p_row.detail ->> 'event')::integer, p_company, p_gtin) o;
  end if;
end
$$;


-- How far one reading of the chain goes, from row `p_n' on: at most p_rows rows
-- or p_packs packs, but one row always.  Null: there is nothing behind p_n.
create function sv.out_window(p_n bigint, p_rows integer, p_packs bigint)
returns bigint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
as $$
declare
  v_row    record;
  v_to     bigint;
  v_packs  bigint := 0;
begin
  for v_row in
    select c.n, case when a.kind = 'operation' then 1 else coalesce((a.detail ->> 'packs')::bigint, 1) end as packs
    from sv.audit_chain c
      join sv.audit a on a.gtin = c.gtin and a.at = c.at and a.audit_id = c.audit_id
    where c.n > p_n
    order by c.n
    limit p_rows
  loop
    v_packs := v_packs + v_row.packs;
    exit when v_packs > p_packs and v_to is not null;
    v_to := v_row.n;
  end loop;

  return v_to;
end
$$;


-- The events of the rows behind (p_n, p_part) up to row p_to, in order.  All
-- rows up to p_n are done when p_part is 0; else the first p_part parts of row
-- p_n are.  p_company, p_gtin: of these only; p_from, p_until: recorded then.
create function sv.out_events(
  p_n        bigint,
  p_part     integer,
  p_to       bigint,
  p_company  text default null,
  p_gtin     bigint default null,
  p_from     timestamptz default null,
  p_until    timestamptz default null
)
returns table (
  n              bigint,
  part           integer,
  event_id       text,
  kind           text,
  action         text,
  step           text,
  disposition    text,
  event_ms       bigint,
  offset_min     smallint,
  at_ms          bigint,
  parent_gtin    bigint,
  parent_serial  text,
  items          text,
  lot            text,
  expiry         text,
  market         text,
  read_point     text,
  biz_location   text,
  error          jsonb,
  detail         jsonb,
  own            jsonb
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_row  record;
begin
  for v_row in
    select c.n, a.*::sv.audit as a
    from sv.audit_chain c
      join sv.audit a on a.gtin = c.gtin and a.at = c.at and a.audit_id = c.audit_id
    where c.n between case when p_part = 0 then p_n + 1 else p_n end and p_to
      and a.kind in ('operation', 'load', 'correction')
      and (a.changed or a.kind <> 'operation')
      and (p_from is null or a.at >= p_from)
      and (p_until is null or a.at < p_until)
      and (a.gtin = 0
        or (p_gtin is null or a.gtin = p_gtin)
          and (p_company is null or exists (select from sv.product r where r.gtin = a.gtin and r.company = p_company)))
    order by c.n
  loop
    return query
    select v_row.n, o.part, (o.e).*
    from sv.out_row(v_row.a, p_company, p_gtin) o
    where v_row.n > p_n or o.part > p_part
    order by o.part;
  end loop;
end
$$;


-- The rows of the chain that were recorded in a period: (n_from, n_to], both
-- null when there are none.  `ready': nothing of it can be missing; `note' says
-- why not, or what may still come to it.
create function sv.out_range(
  p_from      timestamptz,
  p_until     timestamptz,
  out n_from  bigint,
  out n_to    bigint,
  out ready   boolean,
  out note    text
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_from >= p_until then
    raise exception using errcode = '22023', message = 'to: must be later than from';
  end if;

  ready := false;

  if p_until > clock_timestamp() then
    note := 'the period has not ended yet';
  elsif exists (select from sv.outbox o where o.at < p_until) then
    note := 'the relay has not taken up all of the period yet';
  else
    ready := true;

    if exists (select from sv.load l where l.state = 'loading' and l.started_at < p_until) then
      note := 'a file is being loaded: what it adds to the period is missing';
    end if;
  end if;

  select min(c.n) - 1, max(c.n) into n_from, n_to
  from sv.audit_chain c
  where c.at >= p_from and c.at < p_until;
end
$$;


-- The push.  What was sent is a prefix of the chain: rows up to `n', and `part'
-- parts of the next when it is not 0 (then n is that row).  A batch is written
-- down with its bytes before it is sent, so what is sent again after a failure
-- or a crash is the same document under the same key; the cursor moves when it
-- was taken.  Who sends holds a lease: the backend's process, for a time.
create table sv.push (
  target      text         not null primary key,
  n           bigint       not null default 0,
  part        integer      not null default 0,
  to_n        bigint,                                     -- where the cursor goes when the batch was taken
  to_part     integer,
  key         text,
  document    bytea,                                      -- null: no batch under way
  events      integer,
  holder      integer,                                    -- pid
  held_until  timestamptz,
  attempts    integer      not null default 0,            -- of the batch under way
  next_at     timestamptz,                                -- not to be sent before
  refused     boolean      not null default false,        -- the receiver will not have it
  error       text,
  error_at    timestamptz,
  sent        bigint       not null default 0,            -- events
  sent_at     timestamptz
);


-- The lease of a target, taken or renewed, and the batch under way unless it has
-- to wait; null columns when another holds the lease.
create function sv.push_take(
  p_target       text,
  p_lease_s      integer,
  out held       boolean,
  out n          bigint,
  out part       integer,
  out key        text,
  out document   bytea,
  out attempts   integer,
  out wait_ms    bigint,
  out epoch      text
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_now   timestamptz := clock_timestamp();
  v_push  sv.push;
begin
  insert into sv.push (target) values (p_target) on conflict (target) do nothing;

  select p.* into strict v_push from sv.push p where p.target = p_target for update;

  held := v_push.holder is null or v_push.holder = pg_backend_pid() or v_push.held_until < v_now
    or not exists (select from pg_stat_get_activity(null) a where a.pid = v_push.holder);

  if not held then
    return;
  end if;

  update sv.push
  set holder = pg_backend_pid(), held_until = v_now + make_interval(secs => p_lease_s)
  where target = p_target;

  push_take.n := v_push.n;
  push_take.part := v_push.part;
  push_take.key := v_push.key;
  push_take.attempts := v_push.attempts;
  -- who comes new to it tries at once: a person may have restarted it because the receiver is mended
  push_take.wait_ms := case when v_push.holder = pg_backend_pid()
    then greatest(0, ceil(extract(epoch from v_push.next_at - v_now) * 1000)) else 0 end::bigint;
  push_take.document := case when coalesce(wait_ms, 0) = 0 then v_push.document end;
  push_take.epoch := sv.epoch();
end
$$;


-- A batch is to be sent: written down once, by who holds the lease.
create function sv.push_batch(p_target text, p_to_n bigint, p_to_part integer, p_key text, p_document bytea, p_events integer)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update sv.push
  set to_n = p_to_n, to_part = p_to_part, key = p_key, document = p_document, events = p_events, attempts = 0
  where target = p_target and holder = pg_backend_pid() and document is null;

  return found;
end
$$;


-- There was nothing for this target up to here.
create function sv.push_pass(p_target text, p_n bigint)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update sv.push
  set n = p_n, part = 0
  where target = p_target and holder = pg_backend_pid() and document is null and n <= p_n;

  return found;
end
$$;


-- The batch with this key was taken.
create function sv.push_done(p_target text, p_key text)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update sv.push
  set n = to_n, part = to_part, sent = sent + events, sent_at = clock_timestamp(), to_n = null, to_part = null,
    document = null, key = null, events = null, attempts = 0, next_at = null, refused = false, error = null
  where target = p_target and key = p_key;

  return found;
end
$$;


create function sv.push_failed(p_target text, p_key text, p_error text, p_refused boolean, p_wait_ms bigint)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update sv.push
  set attempts = attempts + 1, error = p_error, error_at = clock_timestamp(), refused = p_refused,
    next_at = clock_timestamp() + make_interval(secs => p_wait_ms / 1000.0)
  where target = p_target and key = p_key
$$;


create function sv.push_leave(p_target text)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update sv.push
  set holder = null, held_until = null
  where target = p_target and holder = pg_backend_pid()
$$;


-- How it stands, for status: one line.
create function sv.push_figure(p_target text)
returns text
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select p.sent || ' events sent, ' || greatest(h.n - p.n, 0) || ' rows behind'
    || case when p.error is not null then ', ' || case when p.refused then 'refused' else 'failing' end || ': ' || p.error else '' end
  from sv.push p, sv.audit_head h
  where p.target = p_target
$$;


-- As in 006_relay.sql, but one relay at a time: a second one takes nothing while
-- the first has rows.  Or else it could chain a pack's later change first, and
-- the push, which follows the chain, would tell them in the wrong order.  A
-- relay that stands still in between loses its session, and the rows are free.
create or replace function sv.relay_take(p_limit integer)
returns table (
  gtin         bigint,
  audit_id     uuid,
  at           timestamptz,
  serial       text,
  version      integer,
  state        text,
  lot          text,
  expiry       date,
  location_id  integer,
  since_ms     bigint
)
language sql security definer
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
as $$
  select set_config('idle_in_transaction_session_timeout', '10s', true);

  with alone as materialized (
    select h.n from sv.audit_head h for update skip locked
  ), taken as materialized (
    select o.gtin, o.audit_id, o.at
    from sv.outbox o
    where exists (select from alone)
    order by o.at
    limit p_limit
    for update of o
  )
  select t.gtin, t.audit_id, t.at, p.serial, p.version, p.state::text, p.lot, p.expiry, p.location_id, sv.ms(p.since)
  from taken t
    left join sv.audit a on a.gtin = t.gtin and a.at = t.at and a.audit_id = t.audit_id
    left join sv.pack p on a.changed and p.gtin = a.gtin and p.serial = a.serial
$$;


-- The times at which an item was in a container, see sv.parent_of().
create function sv.parent_times(p_gtin bigint, p_serial text)
returns table (gtin bigint, serial text, since timestamptz, until timestamptz)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with moved as materialized (
    select t.action, t.parent_gtin, t.parent_serial, coalesce(t.event_time, '-infinity') as time, t.at, t.load_id, t.event
    from sv.event_epc m
      join sv.event t on t.load_id = m.load_id and t.event = m.event
    where m.gtin = p_gtin and m.serial = p_serial and t.kind = 'aggregation' and t.action in ('add', 'delete') and t.error is null
      and (p_gtin <> 0 or sv.may_place(p_gtin, p_serial, (select l.company from sv.load l where l.load_id = t.load_id)))
  ), packed as (
    select distinct on (a.time) a.parent_gtin, a.parent_serial, a.time
    from moved a
    where a.action = 'add' and a.parent_serial is not null
    order by a.time, a.at, a.load_id, a.event
  )
  select k.parent_gtin, k.parent_serial, k.time, least(
    coalesce(lead(k.time) over (order by k.time), 'infinity'),
    coalesce((
      select min(d.time)
      from moved d
      where d.action = 'delete' and d.time > k.time
        and (d.parent_serial is null or d.parent_gtin = k.parent_gtin and d.parent_serial = k.parent_serial)), 'infinity'),
    coalesce((
      select min(u.event_time)
      from sv.event u
        join sv.load l on l.load_id = u.load_id
      where u.parent_gtin = k.parent_gtin and u.parent_serial = k.parent_serial and u.kind = 'aggregation' and u.action = 'delete'
        and u.packs = 0 and u.error is null and u.event_time > k.time
        and (l.company = '' or p_gtin = 0 and sv.may_place(p_gtin, p_serial, l.company)
          or exists (select from sv.product r where r.gtin = p_gtin and r.company = l.company))), 'infinity'))
  from packed k
$$;


-- An item, and the containers it was in, with the times.
create function sv.item_held(p_gtin bigint, p_serial text)
returns table (gtin bigint, serial text, since timestamptz, until timestamptz, depth integer)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with recursive held (gtin, serial, since, until, depth) as (
    select p_gtin, p_serial collate "C", '-infinity'::timestamptz, 'infinity'::timestamptz, 0
    union all
    select p.gtin, p.serial collate "C", greatest(h.since, p.since), least(h.until, p.until), h.depth + 1
    from held h
      cross join lateral sv.parent_times(h.gtin, h.serial) p
    where h.depth < 10 and p.since < h.until and p.until > h.since
  )
  select h.gtin, h.serial, h.since, h.until, h.depth from held h
$$;


-- The commissionings of a pack, each as the part it goes out in, with this pack only.
create function sv.item_commissions(p_gtin bigint, p_serial text)
returns table (e sv.out_event, declared boolean)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with told as (
    select k.load_id, nullif(k.event, 0) as event, k.lot, k.expiry
    from sv.pack k
    where k.gtin = p_gtin and k.serial = p_serial
    union
    select c.load_id, nullif(c.event, 0), c.lot, c.expiry
    from sv.commission c
    where c.gtin = p_gtin and c.serial = p_serial
  ), placed as (
    -- the event's own items say how many they are when it is small
    select o.load_id, o.event, o.lot, o.expiry, n.before / sv.setting_integer('event_epcs') as k,
      least(sv.setting_integer('event_epcs'), n.n - n.before / sv.setting_integer('event_epcs') * sv.setting_integer('event_epcs')) as n
    from told o
      cross join lateral (
        select count(*) as n, count(*) filter (where i.serial collate "C" < p_serial collate "C") as before
        from sv.out_packs(p_gtin, o.lot, o.load_id) i
        where i.event is not distinct from o.event and i.expiry = o.expiry
      ) n
    where o.load_id is not null
  )
  select sv.out_commission(t, p.load_id, p_gtin, p.lot, p.expiry, p.k, p.n, sv.out_item(p_gtin, p_serial), d.declared,
      case when p.n > 1 then jsonb_build_object('items', p.n) end), d.declared
  from placed p
    left join sv.event t on t.load_id = p.load_id and t.event = p.event
    cross join lateral (select false as declared where not sv.out_declared(t) or t.load_id is null
      union all select true where t.error is not null) d
$$;


-- The other events that an item, or a container it was in at that time, took
-- part in.  Told are the items of which it is the history, but of a container
-- that was asked for also what it held.
create function sv.item_told(p_gtin bigint, p_serial text)
returns table (e sv.out_event, declared boolean)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with held as materialized (
    select * from sv.item_held(p_gtin, p_serial)
  ), named as materialized (
    select m.load_id, m.event, h.gtin, h.serial
    from held h
      join sv.event_epc m on m.gtin = h.gtin and m.serial = h.serial collate "C"
      join sv.event t on t.load_id = m.load_id and t.event = m.event
    where coalesce(t.event_time, '-infinity') between h.since and h.until
    union
    select m.load_id, m.event, h.gtin, h.serial
    from held h
      join sv.item_end m on m.gtin = h.gtin and m.serial = h.serial collate "C"
      join sv.event t on t.load_id = m.load_id and t.event = m.event
    where not m.derived and coalesce(t.event_time, '-infinity') between h.since and h.until
  ), emptied as (
    select t.load_id, t.event
    from held h
      join sv.event t on t.parent_gtin = h.gtin and t.parent_serial = h.serial collate "C"
    where h.depth > 0 and t.action = 'delete' and t.packs = 0 and coalesce(t.event_time, '-infinity') > h.since
      and coalesce(t.event_time, '-infinity') <= h.until
  ), parent as (
    select t.load_id, t.event
    from sv.event t
    where t.parent_gtin = p_gtin and t.parent_serial = p_serial collate "C"
  ), every as (
    select n.load_id, n.event from named n
    union select x.load_id, x.event from emptied x
    union select x.load_id, x.event from parent x
  )
  select sv.out_told(t, sv.out_event_id(t), i.items, d.declared,
      case when t.packs > i.n then jsonb_build_object('items', t.packs) end), d.declared
  from every x
    join sv.event t on t.load_id = x.load_id and t.event = x.event
    cross join lateral (
      select count(*) as n, string_agg(sv.out_item(c.gtin, c.serial), e'\n' order by c.gtin, c.serial collate "C") as items
      from (
        select n.gtin, n.serial
        from named n
        where n.load_id = t.load_id and n.event = t.event
        union
        (select c.gtin, c.serial
         from sv.event_items(t.load_id, t.event, t.event) c
         where t.parent_gtin = p_gtin and t.parent_serial = p_serial collate "C"
         order by c.gtin, c.serial collate "C"
         limit sv.setting_integer('event_epcs'))
      ) c
    ) i
    cross join lateral (select false as declared where not sv.out_declared(t)
      union all select true where t.error is not null) d
$$;


-- Recalls and withdrawals that name a pack, and their ends.
create function sv.item_recalls(p_gtin bigint, p_serial text)
returns setof sv.out_event
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select row(sv.out_id(sha256(convert_to(x.word || r.recall_id, 'UTF8'))), 'object', 'observe', null, null, sv.ms(x.at), 0, sv.ms(x.at),
    null, null, sv.out_item(p_gtin, p_serial), null, null, null, null, null, null,
    jsonb_build_object('persistentDisposition', jsonb_build_object(x.word, jsonb_build_array('recalled'))),
    jsonb_strip_nulls(jsonb_build_object('reason', x.reason, 'reference', r.reference)))::sv.out_event
  from sv.recall r
    cross join lateral (
      select 'set' as word, r.at, r.reason
      union all
      select 'unset', r.lifted_at, r.lift_reason where r.lifted_at is not null
    ) x
  where r.gtin = p_gtin
    and case r.kind
      when 'product' then true
      when 'lot' then r.lot = (select k.lot from sv.pack k where k.gtin = p_gtin and k.serial = p_serial)
      when 'range' then
        octet_length(r.serial_from) = octet_length(p_serial) and p_serial collate "C" between r.serial_from and r.serial_to
      else exists (
        select
        from sv.recall_serial s
        where s.gtin = p_gtin and s.serial = p_serial collate "C" and s.recall_id = r.recall_id)
    end
$$;


-- GET /epcis/events, for sv_api: the history of an item from its commissioning
-- on, in the order of time, then of recording.  A page of p_limit events behind
-- p_token; fewer: that was all, or the items of all but the last are 8 MB of text or more.
-- 42501: a manufacturer sees what is its own; 22023: the token is none.
create function sv.item_events(
  p_location  integer,
  p_gtin      bigint,
  p_serial    text,
  p_steps     text[],                                     -- null: any
  p_from      timestamptz,                                -- eventTime from then, null: any
  p_until     timestamptz,                                -- and before that
  p_token     text,                                       -- null: from the beginning
  p_limit     integer
)
returns table (
  token          text,
  event_id       text,
  kind           text,
  action         text,
  step           text,
  disposition    text,
  event_ms       bigint,
  offset_min     smallint,
  at_ms          bigint,
  parent_gtin    bigint,
  parent_serial  text,
  items          text,
  lot            text,
  expiry         text,
  market         text,
  read_point     text,
  biz_location   text,
  error          jsonb,
  detail         jsonb,
  own            jsonb
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_location  sv.location;
  v_after     text[];
begin
  select l.* into v_location from sv.location l where l.location_id = p_location and not l.deleted;

  if v_location.role is null then
    raise exception 'This location is not known.' using errcode = '42501';
  end if;

  if v_location.role = 'manufacturer'
    and not exists (select from sv.product r where r.gtin = p_gtin and r.company = v_location.company)
    and not sv.container_is_of(p_gtin, p_serial, v_location.company)
  then
    raise exception 'A manufacturer sees the events of its own products and containers only.' using errcode = '42501';
  end if;

  if p_token is not null then
    begin
      v_after := string_to_array(convert_from(decode(p_token, 'hex'), 'UTF8'), ' ', null);

      if cardinality(v_after) <> 4 then
        raise invalid_parameter_value;
      end if;

      perform v_after[1]::bigint, v_after[2]::bigint, v_after[3]::boolean;
    exception
      when others then
        raise exception 'nextPageToken: is not one that was given out' using errcode = '22023';
    end;
  end if;

  -- whose places an asker may know
  if v_location.role in ('authority', 'operator') then
    v_location.company := null;
  else
    v_location.company := coalesce(v_location.company, '');
  end if;

  return query
  select encode(convert_to(concat_ws(' ', (b.e).event_ms, (b.e).at_ms, b.declared, (b.e).event_id), 'UTF8'), 'hex'), (b.e).*
  from (
    select a.e, a.declared, sum(octet_length((a.e).items)) over (
      order by (a.e).event_ms, (a.e).at_ms, a.declared, (a.e).event_id collate "C" rows between unbounded preceding and 2 preceding) as bytes
    from (
      select c.e, c.declared from sv.item_commissions(p_gtin, p_serial) c
      union all
      select t.e, t.declared from sv.item_told(p_gtin, p_serial) t
      union all
      select o.e, (o.e).error is not null
      from sv.audit d
        cross join lateral (select sv.out_operation(d, v_location.company, p_location) as e) o
      where d.gtin = p_gtin and d.serial = p_serial collate "C" and d.changed and d.kind = 'operation' and (o.e).event_id is not null
      union all
      select r, false from sv.item_recalls(p_gtin, p_serial) r
    ) a
    where (p_steps is null or (a.e).step = any (p_steps))
      and (p_from is null or (a.e).event_ms >= sv.ms(p_from))
      and (p_until is null or (a.e).event_ms < sv.ms(p_until))
      and (v_after is null
        or ((a.e).event_ms, (a.e).at_ms, a.declared, (a.e).event_id collate "C")
          > (v_after[1]::bigint, v_after[2]::bigint, v_after[3]::boolean, v_after[4]))
  ) b
  where coalesce(b.bytes, 0) < 8 * 1024 * 1024
  order by (b.e).event_ms, (b.e).at_ms, b.declared, (b.e).event_id collate "C"
  limit p_limit;
end
$$;


grant execute on function
  sv.item_events(integer, bigint, text, text[], timestamptz, timestamptz, text, integer)
to sv_api;

grant execute on function
  sv.out_window(bigint, integer, bigint),
  sv.out_events(bigint, integer, bigint, text, bigint, timestamptz, timestamptz),
  sv.out_range(timestamptz, timestamptz),
  sv.push_take(text, integer),
  sv.push_batch(text, bigint, integer, text, bytea, integer),
  sv.push_pass(text, bigint),
  sv.push_done(text, text),
  sv.push_failed(text, text, text, boolean, bigint),
  sv.push_leave(text),
  sv.push_figure(text)
to sv_worker;

commit;
