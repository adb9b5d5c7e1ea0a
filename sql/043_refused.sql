-- What cannot be judged: put aside, looked at, judged again.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(43, 'refused');


-- Puts something aside, in the transaction that goes on behind it: of the chain the
-- next row, which the judge's place passes; an event counts as come.  Whether it is
-- new here.  After sv.judge_begin().  55000: another worker judges.  sv_worker.
create function sv.judge_refuse(p_holder uuid, p_kind text, p_gateway text, p_boot bigint, p_seq bigint, p_case_id uuid,
  p_content bytea, p_lines integer, p_code text, p_reason text)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now  timestamptz := transaction_timestamp();
  v_n    bigint;
  v_seq  bigint := p_seq;
  v_key  text;
begin
  update sv.judge j
  set refused_n = j.refused_n + 1, chain_n = j.chain_n + (p_kind = 'chain')::integer
  where j.holder = p_holder
  returning j.refused_n, case when p_kind = 'chain' then j.chain_n else p_seq end into v_n, v_seq;

  if not found then
    raise exception using errcode = '55000', message = 'another worker judges now';
  end if;

  v_key := concat_ws('/', p_kind, p_gateway, p_boot, v_seq, p_case_id, md5(p_content));

  update sv.refused r
  set tried_at = v_now, tries = r.tries + 1, code = p_code, reason = p_reason
  where r.key = v_key;

  if found then
    return false;
  end if;

  insert into sv.refused (n, key, kind, gateway, boot, seq, case_id, content, lines, code, reason, at, tried_at)
  values (v_n, v_key, p_kind, p_gateway, p_boot, v_seq, p_case_id, p_content, p_lines, p_code, p_reason, v_now, v_now);

  if p_kind = 'event' then
    insert into sv.scan_source as o (gateway, boot, first_at, last_at, last_seq, received)
    values (p_gateway, p_boot, v_now, v_now, v_seq, 1)
    on conflict (gateway, boot) do update
    set last_at = v_now, last_seq = greatest(o.last_seq, excluded.last_seq), received = o.received + 1;
  end if;

  return true;
end
$$;


-- The next thing that somebody wants to be judged again.  After sv.judge_begin().  sv_worker.
create function sv.judge_again()
returns table (n bigint, kind text, gateway text, boot bigint, seq bigint, content bytea)
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  select r.n, r.kind, r.gateway, r.boot, r.seq, r.content from sv.refused r where r.again order by r.n limit 1 for update
$$;

-- What became of it, in the transaction in which it was judged; p_code null: it was,
-- and is put aside no more.  sv_worker.
create function sv.judge_again_done(p_n bigint, p_code text, p_reason text)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_refused  sv.refused;
begin
  if p_code is not null then
    update sv.refused r
    set again = false, tried_at = transaction_timestamp(), tries = r.tries + 1, code = p_code, reason = p_reason
    where r.n = p_n;
    return;
  end if;

  delete from sv.refused r where r.n = p_n returning r.* into v_refused;

  -- it was counted when it was put aside, and now once more
  if v_refused.kind = 'event' then
    update sv.scan_source o set received = o.received - 1 where o.gateway = v_refused.gateway and o.boot = v_refused.boot;
  end if;
end
$$;


-- What was put aside behind number p_n, for people; what: a row of the chain in
-- words, lines as they came.  sv_worker.
create function sv.refused_list(p_n bigint, p_limit integer)
returns table (n bigint, at text, kind text, source text, what text, code text, reason text, tries integer, again boolean)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select r.n, to_char(r.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), r.kind,
    case r.kind
      when 'chain' then format('row %s of the audit chain', r.seq)
      when 'case' then format('case %s', r.case_id)
      else format('gateway %s, boot %s', r.gateway, r.boot) || case r.kind when 'event' then format(', event %s', r.seq) else format(', %s lines', r.lines) end
    end,
    coalesce(
      rtrim(encode(r.content, 'escape'), E'\n'),
      (select concat_ws(' ', a.kind, a.operation, lpad(a.gtin::text, 14, '0'), 'serial ' || a.serial, 'lot ' || a.lot)
       from sv.audit_chain c
         join sv.audit a on a.gtin = c.gtin and a.at = c.at and a.audit_id = c.audit_id
       where r.kind = 'chain' and c.n = r.seq)),
    r.code, r.reason, r.tries, r.again
  from sv.refused r
  where r.n > p_n
  order by r.n
  limit p_limit
$$;

-- One of them, or (null) all, are to be judged again; how many.  sv_worker.
create function sv.refused_again(p_n bigint)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_count  integer;
begin
  update sv.refused r set again = true where p_n is null or r.n = p_n;
  get diagnostics v_count = row_count;

  return v_count;
end
$$;


grant execute on function
  sv.judge_refuse(uuid, text, text, bigint, bigint, uuid, bytea, integer, text, text),
  sv.judge_again(),
  sv.judge_again_done(bigint, text, text),
  sv.refused_list(bigint, integer),
  sv.refused_again(bigint)
to sv_worker;

commit;
