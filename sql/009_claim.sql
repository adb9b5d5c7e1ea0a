-- What a load may name, and which events are its own.
--
-- An event counts as a whole; its row is there before anything of it is merged.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(9, 'claim');


-- The GTIN of the item in a case: indicators 1 to 8 in front of it say that it is
-- packed (GS1 General Specifications 2.1.1); the check digit is another.
create function sv.base_gtin(p_gtin bigint)
returns bigint
language sql immutable parallel safe
begin atomic
  select b.body * 10 + (10 - sum((b.body / (10::bigint ^ i)::bigint % 10) * case i % 2 when 0 then 3 else 1 end) % 10)::bigint % 10
  from (select p_gtin / 10 % 1000000000000 as body) b, generate_series(0, 11) i
  group by b.body;
end;

-- May a load of this company ('': any) name this GTIN?  Null, or why not.  A case
-- without packs of its own number (`p_packs' is not true) is that of its item.
create function sv.gtin_refused(p_gtin bigint, p_company text, p_packs boolean default true)
returns text
language sql stable
begin atomic
  with own as (
    select p.company from sv.product p where p.gtin = p_gtin and not p.deleted
  ), found as (
    select o.company from own o
    union all
    select p.company
    from sv.product p
    where not p_packs and p_gtin / 10000000000000 between 1 and 8 and p.gtin = sv.base_gtin(p_gtin) and not p.deleted
      and not exists (select from own)
  )
  select case
    when count(*) = 0 then 'product_unknown'
    when p_company <> '' and max(f.company) <> p_company then 'not_permitted'
  end
  from found f;
end;

create function sv.stage_gtins(p_stage text)
returns table (gtin bigint, line bigint, packs bigint, others bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query execute format(
    'select u.gtin, min(u.line), sum(u.packs)::bigint, sum(u.others)::bigint
     from (
       select t.gtin, t.first_line::bigint as line, t.lines as packs, 0::bigint as others from sv.%1$s_lot t
       union all
       select m.gtin, min(m.line), 0, count(*) from sv.%1$s_epc m where m.gtin <> 0 group by m.gtin
       union all
       select e.parent_gtin, min(e.line), 0, count(*) from sv.%1$s_event e where e.parent_gtin <> 0 and e.old is null group by e.parent_gtin
     ) u
     group by u.gtin', p_stage);
end
$$;


-- GTINs that this load may not name, page by page, and why.  `lines' are all
-- places that name them, `packs' those that sv.merge_lot will pass over.
drop function sv.stage_unknown(text, bigint, integer);

create function sv.stage_unknown(p_stage text, p_after bigint, p_limit integer)
returns table (gtin bigint, line bigint, lines bigint, packs bigint, reason text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_company  text;
begin
  perform sv.stage_check(p_stage);

  select l.company into v_company from sv.load_stage s join sv.load l on l.load_id = s.load_id where s.stage = p_stage;

  return query
  select g.gtin, g.line, g.packs + g.others, g.packs, r.reason
  from sv.stage_gtins(p_stage) g
    cross join lateral (select sv.gtin_refused(g.gtin, v_company, g.packs > 0) as reason) r
  where g.gtin > p_after and r.reason is not null
  order by g.gtin
  limit p_limit;
end
$$;


-- The rows of sv.event for what this load brings: after it nothing refuses the
-- file.  An event counts as a whole: one that names a GTIN this load may not name
-- is left away (`aside', `lines' are its other lines), and may come again.
--
-- Two loads with the same event race for its row; who loses has seen it.  Who
-- is killed finds its rows again, by the load's number.
create function sv.stage_claim(
  p_load_id   integer,
  p_stage     text,
  out events  bigint,                                     -- whose rows are there for this load
  out seen    bigint,                                     -- besides those of sv.stage_ready
  out aside   bigint,
  out lines   bigint,
  out line    bigint,                                     -- the first of them
  out gtins   bigint,                                     -- that it may not name
  out work    bigint                                      -- pieces are left for sv.merge_events
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set work_mem = '32MB'
as $$
#variable_conflict use_column
declare
  v_now   timestamptz;
  v_load  sv.load;
  v_all   bigint;
  v_bad   bigint[];
  v_some  boolean;
  v_work  boolean;
begin
  perform sv.stage_check(p_stage);

  select l.* into v_load from sv.load l where l.load_id = p_load_id;

  -- never before the load: the clock may have been set back
  v_now := greatest(transaction_timestamp(), v_load.begun_at);

  stage_claim.events := 0;
  stage_claim.seen := 0;
  stage_claim.aside := 0;
  stage_claim.lines := 0;
  stage_claim.work := 0;
  stage_claim.gtins := 0;

  select array_agg(g.gtin), count(*) into v_bad, gtins
  from sv.stage_gtins(p_stage) g
  where sv.gtin_refused(g.gtin, v_load.company, g.packs > 0) is not null;

  execute format('select exists (select from sv.%s_event)', p_stage) into v_some;

  if not v_some then
    return;
  end if;

  perform set_config('synchronous_commit', 'off', true);
  perform sv.stage_few(p_stage);

  if v_bad is not null then
    execute format(
      'update sv.%1$s_event e
       set old = true
       where e.old is null and (e.parent_gtin = any ($1)
         or e.event in (select s.event from sv.%1$s s where s.gtin = any ($1) and s.event is not null)
         or e.event in (select m.event from sv.%1$s_epc m where m.gtin = any ($1)))', p_stage)
    using v_bad;
    get diagnostics aside = row_count;

    -- lines of the bad GTINs stay: sv.merge_lot counts them
    select d.n, d.line into lines, line from sv.stage_take(p_stage, v_bad) d;
  end if;

  -- An event that was declared an error before it came takes its row over, and
  -- the error, when who declared it may.  Who merges the declaration's items holds
  -- the row: they are there when it is ours.
  execute format(
    'select count(*)
     from (
       select
       from sv.event k
       where k.error is not null and sv.event_declared(k)
         and k.identity in (select e.identity from sv.%1$s_event e where e.old is null and e.error is null)
       order by k.identity
       for update of k) x', p_stage)
  into v_all;

  if v_all > 0 then
    execute format(
      'with gone as (
         delete from sv.event k
         using sv.%1$s_event e
         where k.identity = e.identity and e.old is null and e.error is null and sv.event_declared(k)
           and (k.load_id, k.event) <> ($1, e.event)
         returning k.load_id, k.event, k.error, k.identity,
           (select sv.error_refused($2, e.event, l.company, $3, k.facts = e.facts) from sv.load l where l.load_id = k.load_id) as refused
       ), a as (
         delete from sv.event_epc m using gone g where m.load_id = g.load_id and m.event = g.event
       ), b as (
         delete from sv.item_end x using gone g where x.load_id = g.load_id and x.event = g.event
       ), c as (
         delete from sv.commission x using gone g where x.load_id = g.load_id and x.event = g.event
       ), f as (
         insert into sv.finding (gtin, at, finding_id, rule, detail)
         select 0, $4, gen_random_uuid(), ''declaration_refused'', jsonb_build_object(
           ''declaration'', jsonb_build_object(''load_id'', g.load_id, ''event'', g.event),
           ''event'', jsonb_build_object(''load_id'', $1, ''event'', e.event, ''line'', e.line))
         from gone g
           join sv.%1$s_event e on e.identity = g.identity and e.old is null and e.error is null
         where g.refused
       )
       update sv.%1$s_event e
       set error = g.error, taken = true
       from gone g
       where g.identity = e.identity and e.old is null and e.error is null and not g.refused', p_stage)
    using p_load_id, p_stage, v_load.company, v_now;
  end if;

  execute format(
    'select count(*), count(e.error) > 0,
       count(e.error) > 0 or count(e.parent_serial) > 0 or exists (select from sv.%1$s_epc)
     from sv.%1$s_event e
     where e.old is null', p_stage)
  into v_all, v_some, v_work;

  -- An event that nobody has is inserted without looking for conflicts: half of
  -- the cost.  When somebody has it all the same, it is undone and done with looking.
  begin
    if v_some or v_load.attempts > 1 then
      raise unique_violation;
    end if;

    events := sv.stage_insert(p_load_id, p_stage, v_now, false);
  exception
    when unique_violation then
      events := sv.stage_insert(p_load_id, p_stage, v_now, true);
  end;

  if events < v_all then
    -- declared an error just now: once more, and its row is taken over
    execute format(
      'select exists (
         select
         from sv.%1$s_event e
           join sv.event k on k.identity = e.identity
         where e.old is null and e.error is null and (k.load_id, k.event) <> ($1, e.event) and sv.event_declared(k))', p_stage)
    into v_some
    using p_load_id;

    if v_some then
      raise exception 'an event was declared an error while it came' using errcode = '40001';
    end if;

    -- of loads that do not go on
    execute format(
      'with orphan as materialized (
         select o.load_id, o.own, e.event, e.line
         from sv.stage_orphans($1, $3) o
           join sv.%1$s_event e on e.event = o.event
       ), ended as (
         delete from sv.item_end x using orphan o where x.load_id = o.load_id and x.event = o.own and x.derived
       )
       update sv.event k
       set load_id = $1, event = o.event, line = o.line, at = $2
       from orphan o
       where k.load_id = o.load_id and k.event = o.own', p_stage)
    using p_load_id, v_now, p_stage;

    -- what has no row of ours: an event that lost its race, or a declaration of error about another row
    execute format(
      'update sv.%1$s_event e
       set old = true
       where e.old is null and (e.error is null or e.taken)
         and not exists (select from sv.event k where k.load_id = $1 and k.event = e.event and k.identity = e.identity)', p_stage)
    using p_load_id;
    get diagnostics seen = row_count;

    if seen > 0 then
      perform sv.stage_take(p_stage, '{}');
    end if;

    execute format(
      'select count(*)
       from sv.%1$s_event e
         join sv.event k on k.load_id = $1 and k.event = e.event and k.identity = e.identity
       where e.old is null', p_stage)
    into events
    using p_load_id;
  end if;

  if v_work then
    -- declarations of error come last, each a piece of its own
    execute format(
      'insert into sv.%1$s_work (n, event, members, declares, rule)
       select row_number() over (order by w.declares, w.event)::integer, w.event, w.members, w.declares, w.rule
       from (
         select e.event, coalesce(m.n, 0) as members, k.identity is null as declares,
           coalesce(r.step, case when e.kind = ''aggregation'' and e.action in (''add'', ''delete'') then ''packing'' end) as rule
         from sv.%1$s_event e
           left join (select x.event, count(*)::integer as n from sv.%1$s_epc x group by x.event) m on m.event = e.event
           left join sv.event k on k.load_id = $1 and k.event = e.event and k.identity = e.identity
           left join sv.step_rule r on r.step = e.step and r.action = e.action
         where e.old is null and (m.n is not null or e.parent_serial is not null or e.error is not null and e.taken is null)
       ) w', p_stage)
    using p_load_id;
    get diagnostics work = row_count;

    -- What ends an item is known before the lots are merged: a pack that is
    -- commissioned and rejected in one file is not genuine in between.  Marked as
    -- derived until its event is merged, which settles it.
    execute format(
      'insert into sv.item_end (gtin, load_id, event, line, event_time, step, serial, derived)
       select m.gtin, $1, m.event, min(m.line), coalesce(e.event_time, ''-infinity''), w.rule, m.serial, true
       from sv.%1$s_work w
         join sv.%1$s_event e on e.event = w.event
         join sv.step_rule r on r.step = w.rule and r.action = e.action and r.state is not null
         join sv.%1$s_epc m on m.event = w.event
       where not w.declares and e.error is null
       group by m.gtin, m.serial, m.event, e.event_time, w.rule
       order by m.gtin, m.serial, m.event
       on conflict (gtin, serial, load_id, event) do nothing', p_stage)
    using p_load_id;
  end if;

  if seen > 0 then
    update sv.load l set events_seen = l.events_seen + stage_claim.seen where l.load_id = p_load_id;
  end if;
end
$$;


-- The rows of sv.event of what is not left away; how many.  p_again: some may be
-- there, or several have one identity; an event comes before its declaration of error.
create function sv.stage_insert(p_load_id integer, p_stage text, p_now timestamptz, p_again boolean)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_n  bigint;
begin
  execute format(
    'insert into sv.event (load_id, event, line, identity, facts, event_id, kind, action, step, disposition, event_time,
       offset_min, at, parent_gtin, parent_serial, lot, expiry, market, read_point, biz_location, packs, error, detail)
     select $1, e.event, e.line, e.identity, e.facts, e.event_id, e.kind, e.action, e.step, e.disposition, e.event_time,
       e.offset_min, $2, e.parent_gtin, e.parent_serial, e.lot, e.expiry, e.market, e.read_point, e.biz_location, e.packs,
       %2$s, e.detail
     from sv.%1$s_event e
     %3$s', p_stage,
    case when p_again then 'case when e.taken then e.error else t.error end' else 'e.error' end,
    case when p_again then format(
      'left join (
         select d.identity, d.error || jsonb_build_object(''load_id'', $1, ''event'', d.event, ''line'', d.line, ''at'', $2) as error
         from sv.%s_event d
         where d.old is null and d.error is not null and d.taken is null) t on t.identity = e.identity
       where e.old is null
       order by e.error is not null and e.taken is null, e.event
       on conflict (identity) do nothing', p_stage)
      else 'where e.old is null' end)
  using p_load_id, p_now;
  get diagnostics v_n = row_count;

  return v_n;
end
$$;


-- Takes the rows of events away that are not to be merged, but for those of
-- the GTINs named, and counts the lots anew; how many, and the first line.
create function sv.stage_take(p_stage text, p_but bigint[], out n bigint, out line bigint)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_lots  integer[];
begin
  execute format(
    'with packs as (
       delete from sv.%1$s s using sv.%1$s_event e
       where s.event = e.event and e.old and s.gtin <> all ($1)
       returning s.gtin, s.lot, s.line
     ), others as (
       delete from sv.%1$s_epc m using sv.%1$s_event e
       where m.event = e.event and e.old
       returning m.gtin, m.line
     ), gone as (
       select p.line from packs p
       union all
       select o.line from others o where o.gtin <> all ($1)
     )
     select (select count(*) from gone), (select min(g.line) from gone g),
       (select array_agg(distinct t.n) from packs p join sv.%1$s_lot t on t.gtin = p.gtin and t.lot = p.lot)', p_stage)
  into n, line, v_lots
  using p_but;

  if v_lots is not null then
    execute format(
      'update sv.%1$s_lot t
       set lines = coalesce(c.lines, 0), first_line = coalesce(c.first_line, t.first_line), expiry = coalesce(c.expiry, t.expiry),
         last_expiry = coalesce(c.last_expiry, t.last_expiry)
       from sv.%1$s_lot x
         left join (
           select s.gtin, s.lot, count(*) as lines, min(s.line) as first_line, min(s.expiry) as expiry, max(s.expiry) as last_expiry
           from sv.%1$s s
           group by s.gtin, s.lot) c on c.gtin = x.gtin and c.lot = x.lot
       where x.n = t.n and t.n = any ($1)', p_stage)
    using v_lots;
  end if;
end
$$;

commit;
