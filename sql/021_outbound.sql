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
select sv.migration_begin(21, 'outbound');


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

commit;
