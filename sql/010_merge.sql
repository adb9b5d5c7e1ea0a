-- The merge of a lot: its packs, and what contradicts them.
--
-- Whoever merges facts about a GTIN holds its row of sv.feed_gtin.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(10, 'merge');


-- Locks.  An item's facts are merged under the row of sv.feed_gtin of its GTIN;
-- of containers with an SSCC, which have no GTIN, under one of 1024.  Who needs
-- several takes them in order.  Where what was found only then needs more, they
-- are taken, too: two that do so may meet, PostgreSQL ends one, and it is
-- repeated by the worker.
create function sv.item_key(p_gtin bigint, p_serial text)
returns bigint
language sql immutable parallel safe
return case when p_gtin <> 0 then p_gtin else -1 - (hashtextextended(p_serial, 0) & 1023) end;

create function sv.feed_lock(p_keys bigint[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into sv.feed_gtin (gtin)
  select distinct k.key
  from unnest(p_keys) as k (key)
  where k.key is not null and not exists (select from sv.feed_gtin f where f.gtin = k.key)
  order by k.key
  on conflict (gtin) do nothing;

  perform
  from sv.feed_gtin f
  where f.gtin = any (p_keys)
  order by f.gtin
  for no key update;
end
$$;


-- Packs of a lot: new ones, and void ones that are commissioned again.  In the
-- order of the key: neighbours in the index, and no deadlock with another load.
-- The digest is over the serials, a line feed behind each.
-- p_errors: events that are declared errors; null: none.
drop function sv.merge_insert(text, integer, bigint, text, text);

create function sv.merge_insert(
  p_stage     text,
  p_load_id   integer,
  p_gtin      bigint,
  p_lot       text,
  p_errors    integer[],
  p_again     boolean,                                    -- some may be known
  out n       bigint,
  out digest  bytea,
  out again   text[]                                      -- serials that were void
)
language plpgsql
set search_path = pg_catalog, pg_temp
set work_mem = '32MB'
as $$
declare
  v_errors  text := case when p_errors is not null then 'and (s.event is null or s.event <> all ($4))' else '' end;
begin
  if p_again then
    execute format(
      'with told as materialized (
         select distinct on (s.serial) s.serial, s.lot, s.expiry, s.event, s.line, gen_random_uuid() as audit_id
         from sv.%1$I s
           join sv.pack p on p.gtin = s.gtin and p.serial = s.serial
         where s.gtin = $1 and s.lot = $2 and p.gtin = $1 and p.state = ''void'' %2$s
         order by s.serial, s.line
       ), back as (
         update sv.pack p
         set lot = t.lot, expiry = t.expiry, load_id = $3, event = t.event, line = t.line, state = ''active'',
           version = p.version + 1, location_id = null, since = null, repeats = 0
         from told t
         where p.gtin = $1 and p.serial = t.serial
         returning p.serial, p.lot, p.expiry, p.version, t.audit_id, t.event
       ), noted as (
         insert into sv.audit (gtin, at, audit_id, version, changed, kind, operation, serial, lot, reason, state_before, state, actor, detail)
         select $1, transaction_timestamp(), b.audit_id, b.version, true, ''load'', ''commission'', b.serial, b.lot, ''ok'', ''void'', ''active'',
           ''worker'', jsonb_build_object(''load_id'', $3, ''event'', b.event)
         from back b
       ), queued as (
         insert into sv.outbox (gtin, audit_id, at)
         select $1, b.audit_id, transaction_timestamp() from back b
       )
       select array_agg(b.serial order by b.serial) from back b', p_stage, v_errors)
    into again
    using p_gtin, p_lot, p_load_id, p_errors;
  end if;

  execute format(
    'with added as (
       insert into sv.pack (gtin, serial, lot, expiry, load_id, event, line)
       select s.gtin, s.serial, s.lot, s.expiry, $3, s.event, s.line
       from sv.%I s
       where s.gtin = $1 and s.lot = $2 %s
       order by s.serial, s.line
       %s
       returning serial
     )
     select count(*), sha256(convert_to(coalesce(string_agg(a.serial || E''\n'', ''''), ''''), ''UTF8''))
     from (%s) a', p_stage, v_errors, case when p_again then 'on conflict (gtin, serial) do nothing' else '' end,
     case when again is null then 'select x.serial from added x'
       else 'select u.serial from (select x.serial from added x union all select unnest($5)) u order by u.serial' end)
  into n, digest
  using p_gtin, p_lot, p_load_id, p_errors, again;
end
$$;


-- What the lot's lines say of packs that are not theirs: each is kept beside the
-- commissioning that counts.  Not kept: what only repeats, when neither of both
-- has an event, because then neither can be declared an error.
-- What says something else is a finding; the first recorded stands.
drop function sv.merge_contradictions(integer, text, bigint, text, timestamptz);

create function sv.merge_kept(
  p_load_id  integer,
  p_stage    text,
  p_gtin     bigint,
  p_lot      text,
  p_errors   integer[],
  p_now      timestamptz
)
returns bigint                                            -- contradictions
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_n  bigint;
begin
  execute format(
    'with told as materialized (
       select s.serial, s.expiry, s.line, s.event, p.lot as first_lot, p.expiry as first_expiry, p.load_id as first_load,
         p.event as first_event, p.line as first_line, coalesce(s.event = any ($5), false) as wrong,
         p.lot is distinct from s.lot or p.expiry is distinct from s.expiry as other
       from sv.%1$I s
         left join sv.pack p on p.gtin = s.gtin and p.serial = s.serial and p.gtin = $2
       where s.gtin = $2 and s.lot = $3
     ), kept as (
       insert into sv.commission (gtin, load_id, event, line, expiry, at, serial, lot)
       select distinct on (t.serial, t.event) $2, $1, coalesce(t.event, 0), t.line, t.expiry, $4, t.serial, $3
       from told t
       where t.wrong
         or t.other
         or t.event is not null and (t.first_load <> $1 or t.first_event is distinct from t.event)
         or t.event is null and t.first_event is not null and not exists (
           select
           from sv.commission c
           where c.gtin = $2 and c.serial = t.serial and c.event = 0 and c.lot = $3 and c.expiry = t.expiry)
       order by t.serial, t.event, t.line
       on conflict (gtin, serial, load_id, event) do nothing
     ), found as (
       insert into sv.finding (gtin, at, finding_id, rule, serial, lot, detail)
       select $2, $4, gen_random_uuid(), ''duplicate_commissioning'', o.serial, $3, jsonb_build_object(
         ''first'', jsonb_strip_nulls(jsonb_build_object(''load_id'', o.first_load, ''file'', f.file, ''event'', o.first_event,
           ''line'', o.first_line, ''lot'', o.first_lot, ''expiry'', o.first_expiry)),
         ''other'', jsonb_strip_nulls(jsonb_build_object(''load_id'', $1, ''file'', t.file, ''event'', o.event, ''line'', o.line,
           ''lot'', $3, ''expiry'', o.expiry)))
       from (select distinct on (x.serial, x.expiry) x.* from told x where x.other and not x.wrong order by x.serial, x.expiry, x.line) o
         join sv.load t on t.load_id = $1
         left join sv.load f on f.load_id = o.first_load
       where not exists (
         -- sent again in another file
         select
         from sv.commission c
           left join sv.event v on v.load_id = c.load_id and v.event = c.event
         where c.gtin = $2 and c.serial = o.serial and c.lot = $3 and c.expiry = o.expiry and v.error is null)
     )
     select count(*) from told x where x.other and not x.wrong', p_stage)
  into v_n
  using p_load_id, p_gtin, p_lot, p_now, p_errors;

  return v_n;
end
$$;


-- The expiry of a lot: of its packs, of the load recorded first.  Null: no pack
-- is of this lot, or all that commissioned some were declared errors.
create function sv.lot_expiry(p_gtin bigint, p_lot text)
returns date
language sql stable
return (
  select p.expiry
  from sv.load_lot t
    cross join lateral (
      select k.expiry
      from sv.pack k
      where k.gtin = p_gtin and k.load_id = t.load_id and k.lot = p_lot and k.state <> 'void'
      limit 1) p
  where t.gtin = p_gtin and t.lot = p_lot
  order by t.at, t.load_id
  limit 1
);


-- One lot of a load, in one transaction.  `outcome': merged, before (by an
-- interrupted attempt), product_unknown (or not to be named by this load), empty
-- (its events are left away), none (there is no lot of this number).
--
-- Against a declaration of error of one of the load's events: that one locks the
-- load's row before it looks for packs, so it comes before this transaction,
-- whose p_errors name the event then, or finds what this transaction merged.
create or replace function sv.merge_lot(
  p_load_id           integer,
  p_stage             text,
  p_n                 integer,
  p_audit_id          uuid,
  out outcome         text,
  out lines           bigint,
  out new_packs       bigint,
  out repeated        bigint,
  out contradictions  bigint
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_now      timestamptz := transaction_timestamp();
  v_lot      record;
  v_load     record;
  v_wrong    bigint := 0;
  v_known    date;
  v_digest   bytea;
  v_errors   integer[];
  v_again    text[];
  v_serials  text[];
begin
  perform sv.stage_check(p_stage);

  execute format('select * from sv.%I where n = $1', p_stage || '_lot') into v_lot using p_n;

  if v_lot.n is null then
    merge_lot.outcome := 'none';
    return;
  end if;

  merge_lot.lines := v_lot.lines;

  if v_lot.lines = 0 then
    merge_lot.outcome := 'empty';
    return;
  end if;

  select l.file, l.digest, l.company into v_load from sv.load l where l.load_id = p_load_id for key share;

  if sv.gtin_refused(v_lot.gtin, v_load.company) is not null then
    merge_lot.outcome := 'product_unknown';
    return;
  end if;

  perform sv.feed_lock(array[v_lot.gtin]);

  -- comes first: two sessions with the same file do not merge a lot twice
  insert into sv.load_lot (gtin, lot, load_id, first_line, lines, new_packs, repeated, contradictions, expiry,
    event_from, event_to, market, digest, at)
  values (v_lot.gtin, v_lot.lot, p_load_id, v_lot.first_line, v_lot.lines, 0, 0, 0, v_lot.expiry,
    v_lot.event_from, v_lot.event_to, v_lot.market, '', v_now)
  on conflict (gtin, lot, load_id) do nothing;

  if not found then
    merge_lot.outcome := 'before';
    return;
  end if;

  merge_lot.outcome := 'merged';

  -- Nobody counts on this lot before the load's last commit, which waits for
  -- the disk with all that came before it; what a crash takes away it takes
  -- away together with the row above.
  perform set_config('synchronous_commit', 'off', true);

  select array_agg(v.event) into v_errors from sv.event v where v.load_id = p_load_id and v.error is not null;

  -- A lot that is new inserts without looking for conflicts: two thirds of the
  -- cost.  When it has one all the same, it is undone and done with looking.
  begin
    if exists (select from sv.lot l where l.gtin = v_lot.gtin and l.lot = v_lot.lot and l.expiry is not null) then
      raise unique_violation;
    end if;

    select i.n, i.digest into new_packs, v_digest from sv.merge_insert(p_stage, p_load_id, v_lot.gtin, v_lot.lot, v_errors, false) i;
  exception
    when unique_violation then
      select i.n, i.digest, i.again into new_packs, v_digest, v_again
      from sv.merge_insert(p_stage, p_load_id, v_lot.gtin, v_lot.lot, v_errors, true) i;
  end;

  contradictions := 0;

  if new_packs < v_lot.lines then
    contradictions := sv.merge_kept(p_load_id, p_stage, v_lot.gtin, v_lot.lot, v_errors, v_now);
  end if;

  if v_errors is not null then
    -- what was declared an error says nothing about the lot
    execute format(
      'select count(*) filter (where s.event = any ($3)), min(s.expiry) filter (where s.event = any ($3) is not true),
         max(s.expiry) filter (where s.event = any ($3) is not true)
       from sv.%I s
       where s.gtin = $1 and s.lot = $2', p_stage)
    into v_wrong, v_lot.expiry, v_lot.last_expiry
    using v_lot.gtin, v_lot.lot, v_errors;
  end if;

  repeated := v_lot.lines - v_wrong - new_packs - contradictions;

  update sv.load_lot
  set new_packs = merge_lot.new_packs, repeated = merge_lot.repeated, contradictions = merge_lot.contradictions, digest = v_digest
  where gtin = v_lot.gtin and lot = v_lot.lot and load_id = p_load_id;

  if new_packs > 0 or repeated > 0 then
    -- a row that is merely found must not be locked: a recall may be waiting for it
    insert into sv.lot (gtin, lot, expiry)
    values (v_lot.gtin, v_lot.lot, v_lot.expiry)
    on conflict (gtin, lot) do nothing;

    update sv.lot l
    set expiry = v_lot.expiry
    where l.gtin = v_lot.gtin and l.lot = v_lot.lot and l.expiry is null;

    select l.expiry into v_known from sv.lot l where l.gtin = v_lot.gtin and l.lot = v_lot.lot;
  end if;

  if v_lot.expiry <> v_known or v_lot.last_expiry <> v_known then
    insert into sv.finding (gtin, at, finding_id, rule, lot, detail)
    values (v_lot.gtin, v_now, p_audit_id, 'lot_expiry', v_lot.lot, jsonb_build_object(
      'first', jsonb_build_object('expiry', v_known),
      'other', jsonb_build_object('load_id', p_load_id, 'file', v_load.file, 'line', v_lot.first_line,
        'expiry', case when v_lot.expiry <> v_known then v_lot.expiry else v_lot.last_expiry end)));
  end if;

  -- packs that were rejected or destroyed before they were commissioned
  if v_again is not null or exists (select from sv.item_end x where x.gtin = v_lot.gtin) then
    execute format(
      'select array_agg(distinct s.serial)
       from sv.%I s
       where s.gtin = $1 and s.lot = $2 and (s.serial = any ($3)
         or exists (select from sv.item_end x where x.gtin = $1 and x.serial = s.serial))', p_stage)
    into v_serials
    using v_lot.gtin, v_lot.lot, v_again;

    if v_serials is not null then
      perform sv.settle(array_fill(v_lot.gtin, array[cardinality(v_serials)]), v_serials, 'load', p_load_id, null, 'worker');
    end if;
  end if;

  insert into sv.audit (gtin, at, audit_id, expiry, changed, kind, operation, lot, reason, actor, detail)
  values (v_lot.gtin, v_now, p_audit_id, coalesce(v_lot.expiry, v_known), merge_lot.new_packs > 0, 'load', 'commission', v_lot.lot, 'ok', 'worker',
    jsonb_build_object('load_id', p_load_id, 'file', v_load.file, 'file_sha256', encode(v_load.digest, 'hex'),
      'packs', merge_lot.new_packs, 'repeated', merge_lot.repeated, 'contradictions', merge_lot.contradictions,
      'serials_sha256', encode(v_digest, 'hex')));

  insert into sv.outbox (gtin, audit_id, at) values (v_lot.gtin, p_audit_id, v_now);
end
$$;

commit;
