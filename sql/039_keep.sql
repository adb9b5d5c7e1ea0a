-- How long what is kept: partitions ahead, retention, purges, and their figures.
--
-- Every job is a function (.., p_before, p_limit) that does a small part in one
-- transaction and says whether there is more; the role housekeeping calls it again.
-- So one that is killed goes on where it was, and nobody waits for it long.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(39, 'keep');


-- What a job did last and in all.
create table sv.keep_job (
  job        text         not null primary key,
  ran_at     timestamptz  not null,
  took_ms    bigint       not null,
  rows       bigint       not null,                       -- of the last run
  parts      bigint       not null,                       -- partitions, likewise
  rows_all   bigint       not null,
  parts_all  bigint       not null,
  before     timestamptz,                                 -- older ones go
  oldest     timestamptz,                                 -- that there is
  failed     text
);

-- Up to which page of a partition consumers were made unknown.
create table sv.keep_page (
  part  text     not null primary key,
  page  bigint   not null,
  last  bigint   not null,                                -- pages there were
  done  boolean  not null
);

create index quarantine_decided on sv.quarantine (done_at) where state <> 'waiting' and content is not null;
create index capture_done on sv.capture (finished_at) where state = 'done';
create index load_loading on sv.load (updated_at) where state = 'loading';
create index case_ended on sv.case (changed_at) where status in ('closed', 'merged');
create index case_sessions on sv.case (last_at) where sessions and status in ('closed', 'merged');


-- The partitions of a table by day or month, the detached ones too.
create function sv.keep_parts(p_parent text)
returns table (part text, attached boolean, since timestamptz, until timestamptz)
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
  select c.relname::text, c.relispartition, t.since,
    t.since + case when length(t.day) = 8 then interval '1 day' else interval '1 month' end
  from pg_class c
    cross join lateral (select substr(c.relname, length(p_parent) + 2) as day) d
    cross join lateral (select d.day, to_date(rpad(d.day, 8, '01'), 'YYYYMMDD')::timestamptz as since) t
  where c.relnamespace = (select n.oid from pg_namespace n where n.nspname = 'sv')
    and c.relkind = 'r' and c.relname ~ ('^' || p_parent || '_([0-9]{6}|[0-9]{8})$')
$$;


-- The partitions of the days ahead; how many were missing.  Gives up soon, as
-- sv.keep_partitions.  sv_worker.
create function sv.keep_days(p_days_ahead integer)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '500ms'
as $$
declare
  v_made  integer := 0;
begin
  for v_i in 0 .. p_days_ahead loop
    if sv.make_day_partition('scan', (transaction_timestamp() at time zone 'UTC')::date + v_i) then
      v_made := v_made + 1;
    end if;
  end loop;

  return v_made;
end
$$;


-- One step of removing what is older than p_before from a partitioned table: a
-- partition is taken off, or one that was taken off is dropped, or, when there is
-- none, rows of the default partition are deleted.  The locks are taken at once or
-- not at all: a lock that is waited for holds up everybody who comes behind.
create function sv.keep_drop(p_parent text, p_before timestamptz, p_limit integer,
  out rows bigint, out parts bigint, out more boolean, out oldest timestamptz)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_part  record;
begin
  rows := 0;
  parts := 0;
  more := true;

  select k.part, k.attached into v_part from sv.keep_parts(p_parent) k where k.until <= p_before order by k.until limit 1;

  if v_part.part is null then
    execute format('delete from sv.%1$I d where d.ctid = any (array(select x.ctid from sv.%1$I x where x.at < $1 limit $2))', p_parent || '_default')
    using p_before, p_limit;
    get diagnostics rows = row_count;
    more := keep_drop.rows = p_limit;

  elsif v_part.attached then
    begin
      execute format('lock table only sv.%I, sv.%I, sv.%I in access exclusive mode nowait', p_parent, p_parent || '_default', v_part.part);
      execute format('alter table sv.%I detach partition sv.%I', p_parent, v_part.part);
    exception
      when lock_not_available then
        more := false;
    end;

  else
    execute format('drop table sv.%I', v_part.part);
    delete from sv.keep_page g where g.part = v_part.part;
    parts := 1;
  end if;

  select min(k.since) into oldest from sv.keep_parts(p_parent) k where k.attached;
end
$$;

-- History of scans.  sv_worker.
create function sv.keep_scans(p_before timestamptz, p_limit integer, out rows bigint, out parts bigint, out more boolean, out oldest timestamptz)
language sql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '50ms'
as $$
  select * from sv.keep_drop('scan', p_before, p_limit)
$$;

-- Findings of feeds and operations.  sv_worker.
create function sv.keep_findings(p_before timestamptz, p_limit integer, out rows bigint, out parts bigint, out more boolean, out oldest timestamptz)
language sql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '50ms'
as $$
  select * from sv.keep_drop('finding', p_before, p_limit)
$$;


-- Consumers become unknown: their tokens and cells are taken out of the history,
-- p_limit pages of a partition at a time; the country stays.  A partition that
-- has grown since is looked at again.  sv_worker.
create function sv.keep_sessions(p_before timestamptz, p_limit integer, out rows bigint, out parts bigint, out more boolean, out oldest timestamptz)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_part  record;
  v_more  bigint;
begin
  rows := 0;
  parts := 0;

  select k.part, coalesce(g.page, 0) as page, coalesce(g.done, false) as again, t.pages
  into v_part
  from sv.keep_parts('scan') k
    cross join lateral (select pg_relation_size(format('sv.%I', k.part)) / current_setting('block_size')::bigint as pages) t
    left join sv.keep_page g on g.part = k.part
  where k.attached and k.until <= p_before and (g.part is null or not g.done or g.last < t.pages)
  order by k.until
  limit 1;

  if v_part.part is not null then
    if v_part.again then
      v_part.page := 0;
    end if;

    execute format(
      'update sv.%I s
       set session = null, lat = null, lon = null, accuracy_km = null
       where s.ctid >= format(''(%%s,0)'', $1)::tid and s.ctid < format(''(%%s,0)'', $2)::tid
         and s.location_id is null and (s.session is not null or s.lat is not null)', v_part.part)
    using v_part.page, v_part.page + p_limit;
    get diagnostics rows = row_count;

    -- what was updated made the table grow: those pages are no news
    v_part.page := v_part.page + p_limit;
    parts := (v_part.page >= v_part.pages)::integer;

    insert into sv.keep_page (part, page, last, done)
    values (v_part.part, v_part.page, v_part.pages, parts = 1)
    on conflict (part) do update set page = excluded.page, done = excluded.done,
      last = case when excluded.done then pg_relation_size(format('sv.%I', v_part.part)) / current_setting('block_size')::bigint else excluded.last end;

    more := true;

  else
    update sv.scan_default s
    set session = null, lat = null, lon = null, accuracy_km = null
    where s.ctid = any (array(
      select x.ctid
      from sv.scan_default x
      where x.at < p_before and x.location_id is null and (x.session is not null or x.lat is not null)
      limit p_limit));
    get diagnostics rows = row_count;

    more := keep_sessions.rows = p_limit;
  end if;

  select min(k.since) into oldest
  from sv.keep_parts('scan') k
    left join sv.keep_page g on g.part = k.part and g.done
  where k.attached and g.part is null;
end
$$;


-- Likewise in findings of cases that ended: how many consumers there were stays.
-- p_before is behind what the judge looks at, so it compares nothing with them.  sv_worker.
create function sv.keep_case_sessions(p_before timestamptz, p_limit integer, out rows bigint, out parts bigint, out more boolean, out oldest timestamptz)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_cases  sv.case[] := array(
    select c
    from sv.case c
    where c.sessions and c.status in ('closed', 'merged') and c.last_at < p_before
    order by c.last_at
    limit p_limit
    for update skip locked);
begin
  update sv.case_finding f
  set actors = sv.case_sites(f.actors) || array(select '#' || i from generate_series(1, cardinality(f.actors) - cardinality(sv.case_sites(f.actors))) i)
  from unnest(v_cases) c
  where f.gtin = c.gtin and f.case_id = c.case_id and cardinality(f.actors) > cardinality(sv.case_sites(f.actors));
  get diagnostics rows = row_count;

  update sv.case c
  set sessions = false
  from unnest(v_cases) o
  where c.gtin = o.gtin and c.case_id = o.case_id;

  parts := 0;
  more := cardinality(v_cases) = p_limit;
  oldest := (select min(c.last_at) from sv.case c where c.sessions and c.status in ('closed', 'merged'));
end
$$;


-- What goes by the age of its rows, a line a job: rows of `source' for which `which'
-- holds go when `since' is old enough, or are changed as `sets' says.  Each has an
-- index on `since' with that condition, or is small.
create table sv.keep_rule (
  job     text  not null primary key,
  source  text  not null,
  since   text  not null,
  which   text  not null,
  sets    text
);

insert into sv.keep_rule (job, source, since, which, sets)
values
  -- outcomes that are kept for repeats; never what a client may still repeat
  ('idempotency', 'idempotency', 'x.at', $$x.at < transaction_timestamp() - interval '1 day'$$, null),

  -- cache writes that are out of date
  ('cache_writes', 'relay_pending', 'x.at', 'true', null),

  -- loads that were interrupted and whose file never came again, while other files
  -- took over what they had: nothing of them counts, nobody waits for them; one that
  -- owns an event or merged a lot stays: its file is needed (`status' asks for it)
  ('loads', 'load', 'x.updated_at',
    $$x.state = 'loading' and not sv.load_working(x.load_id)
      and not exists (select from sv.event e where e.load_id = x.load_id)
      and not exists (select from sv.load_lot b where b.load_id = x.load_id)$$,
    $$state = 'rejected', phase = 'done', filed = true, finished_at = transaction_timestamp(), updated_at = transaction_timestamp(),
      note = 'was interrupted and not delivered again; nothing of it was loaded under this number'$$),

  -- contents of events that were decided; the row stays: the same event is not put there again
  ('quarantine', 'quarantine', 'x.done_at', $$x.state <> 'waiting' and x.content is not null$$, 'content = null, value = null'),

  -- captures that are done; their files went when they were
  ('captures', 'capture', 'x.finished_at', $$x.state = 'done'$$, null),

  -- notifications that were taken
  ('notifications', 'notification', 'x.sent_at', 'x.sent_at is not null', null),

  -- what was put aside and nobody wanted to be judged again: tokens of consumers are in it
  ('refused', 'refused', 'x.at', 'true', null),

  -- processes of gateways that have been gone for long; the lost events that they stand for are counted no more
  ('gateways', 'scan_source', 'x.last_at', 'true', null),

  -- receivers that no process has told of anything since
  ('receivers', 'notify_target', 'coalesce(x.held_until, x.since)', 'true', null);

-- A part of one of these jobs: the oldest first, but none that somebody holds.  sv_worker.
create function sv.keep_rows(p_job text, p_before timestamptz, p_limit integer,
  out rows bigint, out parts bigint, out more boolean, out oldest timestamptz)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_rule  sv.keep_rule;
begin
  select r.* into strict v_rule from sv.keep_rule r where r.job = p_job;

  execute format(case when v_rule.sets is null then 'delete from sv.%1$I o' else 'update sv.%1$I o set %4$s' end
    || ' where o.ctid = any (array(select x.ctid from sv.%1$I x where %2$s < $1 and %3$s order by %2$s limit $2 for update skip locked))',
    v_rule.source, v_rule.since, v_rule.which, v_rule.sets)
  using p_before, p_limit;
  get diagnostics rows = row_count;

  parts := 0;
  more := keep_rows.rows = p_limit;

  execute format('select min(%2$s) from sv.%1$I x where %3$s', v_rule.source, v_rule.since, v_rule.which) into oldest;
end
$$;


-- Staging tables of sessions that are gone, whatever their age.  sv_worker.
create function sv.keep_stages(p_before timestamptz, p_limit integer, out rows bigint, out parts bigint, out more boolean, out oldest timestamptz)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '500ms'
as $$
begin
  rows := 0;
  parts := sv.stage_clean();
  more := false;
  oldest := (select min(s.at) from sv.load_stage s);
end
$$;


-- What was wrong with lines of files; the counts stay with the load.  sv_worker.
create function sv.keep_errors(p_before timestamptz, p_limit integer, out rows bigint, out parts bigint, out more boolean, out oldest timestamptz)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  delete from sv.load_error e
  using (
    select x.load_id, x.n
    from sv.load l
      join sv.load_error x on x.load_id = l.load_id
    where l.started_at < p_before and l.state <> 'loading'
    limit p_limit) old
  where e.load_id = old.load_id and e.n = old.n;
  get diagnostics rows = row_count;

  parts := 0;
  more := keep_errors.rows = p_limit;
end
$$;


-- These cases go, with all that belongs to them.
create function sv.keep_forget(p_gtins bigint[], p_cases uuid[])
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
begin atomic
  delete from sv.notification x using unnest(p_gtins, p_cases) as t (gtin, case_id) where x.gtin = t.gtin and x.case_id = t.case_id;
  delete from sv.notify_case x using unnest(p_gtins, p_cases) as t (gtin, case_id) where x.gtin = t.gtin and x.case_id = t.case_id;
  delete from sv.case_finding x using unnest(p_gtins, p_cases) as t (gtin, case_id) where x.gtin = t.gtin and x.case_id = t.case_id;
  delete from sv.case_event x using unnest(p_gtins, p_cases) as t (gtin, case_id) where x.gtin = t.gtin and x.case_id = t.case_id;
  delete from sv.case_party x using unnest(p_gtins, p_cases) as t (gtin, case_id) where x.gtin = t.gtin and x.case_id = t.case_id;
  delete from sv.case_request x using unnest(p_gtins, p_cases) as t (gtin, case_id) where x.gtin = t.gtin and x.case_id = t.case_id;
  delete from sv.case x using unnest(p_gtins, p_cases) as t (gtin, case_id) where x.gtin = t.gtin and x.case_id = t.case_id;
end;


-- Cases that ended long ago.  sv_worker.
create function sv.keep_cases(p_before timestamptz, p_limit integer, out rows bigint, out parts bigint, out more boolean, out oldest timestamptz)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_gtins  bigint[];
  v_cases  uuid[];
begin
  select array_agg(t.gtin), array_agg(t.case_id)
  into v_gtins, v_cases
  from (
    select c.gtin, c.case_id
    from sv.case c
    where c.status in ('closed', 'merged') and c.changed_at < p_before
    order by c.changed_at
    limit p_limit
    for update skip locked) t;

  rows := coalesce(cardinality(v_cases), 0);
  parts := 0;
  more := keep_cases.rows = p_limit;
  perform sv.keep_forget(v_gtins, v_cases);
  oldest := (select min(c.changed_at) from sv.case c where c.status in ('closed', 'merged'));
end
$$;


-- Cases that never asked anybody and that nobody touched: most of those there
-- are, and nobody will ever close them.  What asked once stays until a person has
-- closed it, also when it was explained since.  p_before is no later than the
-- judge looks back: it knows none of these any more.  sv_worker.
create function sv.keep_quiet_cases(p_before timestamptz, p_limit integer, out rows bigint, out parts bigint, out more boolean, out oldest timestamptz)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_gtins  bigint[];
  v_cases  uuid[];
begin
  select array_agg(t.gtin), array_agg(t.case_id)
  into v_gtins, v_cases
  from (
    select c.gtin, c.case_id
    from sv.case c
    where c.status = 'new' and c.proposed_closure and c.changed_at < p_before
      and not exists (select from sv.case_event e
        where e.gtin = c.gtin and e.case_id = c.case_id and (e.actor is not null or not (e.state ->> 'proposed_closure')::boolean))
    order by c.changed_at
    limit p_limit
    for update of c skip locked) t;

  rows := coalesce(cardinality(v_cases), 0);
  parts := 0;
  more := keep_quiet_cases.rows = p_limit;
  perform sv.keep_forget(v_gtins, v_cases);
end
$$;


-- What a job did.  sv_worker.
create function sv.keep_note(p_job text, p_took_ms bigint, p_rows bigint, p_parts bigint, p_before timestamptz, p_oldest timestamptz, p_failed text)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into sv.keep_job as k (job, ran_at, took_ms, rows, parts, rows_all, parts_all, before, oldest, failed)
  values (p_job, transaction_timestamp(), p_took_ms, p_rows, p_parts, p_rows, p_parts, p_before, p_oldest, p_failed)
  on conflict (job) do update set ran_at = excluded.ran_at, took_ms = excluded.took_ms, rows = excluded.rows, parts = excluded.parts,
    rows_all = k.rows_all + excluded.rows, parts_all = k.parts_all + excluded.parts, before = excluded.before,
    oldest = excluded.oldest, failed = excluded.failed
$$;


grant execute on function
  sv.keep_days(integer),
  sv.keep_scans(timestamptz, integer),
  sv.keep_findings(timestamptz, integer),
  sv.keep_sessions(timestamptz, integer),
  sv.keep_case_sessions(timestamptz, integer),
  sv.keep_rows(text, timestamptz, integer),
  sv.keep_stages(timestamptz, integer),
  sv.keep_errors(timestamptz, integer),
  sv.keep_cases(timestamptz, integer),
  sv.keep_quiet_cases(timestamptz, integer),
  sv.keep_note(text, bigint, bigint, bigint, timestamptz, timestamptz, text)
to sv_worker;

commit;
