-- The caches are told ahead of the chain.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(27, 'ahead');


-- Work behind `p_after' (null: the oldest), in the order of its time, with the
-- packs as they are now; nothing is locked or taken.  A long queue, of a container
-- that was destroyed say, must not keep a change behind it from the caches until
-- it is chained: they are told of what waits, and once more when it is taken
-- (an older version changes nothing).  What was committed late, behind the
-- reader, waits for its turn as ever.
create function sv.relay_ahead(p_after timestamptz, p_limit integer)
returns table (
  gtin         bigint,
  at           timestamptz,
  serial       text,
  version      integer,
  state        text,
  lot          text,
  expiry       date,
  location_id  integer,
  since_ms     bigint
)
language sql stable security definer
set search_path = pg_catalog, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
as $$
  with waiting as materialized (
    select o.gtin, o.audit_id, o.at
    from sv.outbox o
    where o.at > coalesce(p_after, '-infinity')
    order by o.at
    limit p_limit
  )
  select t.gtin, t.at, p.serial, p.version, p.state::text, p.lot, p.expiry, p.location_id, sv.ms(p.since)
  from waiting t
    left join sv.audit a on a.gtin = t.gtin and a.at = t.at and a.audit_id = t.audit_id
    left join sv.pack p on a.changed and p.gtin = a.gtin and p.serial = a.serial
  order by t.at
$$;


grant execute on function sv.relay_ahead(timestamptz, integer) to sv_worker;

commit;
