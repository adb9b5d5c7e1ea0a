-- The merge of events: staging, claiming, settling what became of a pack.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(8, 'merge');

-- to come here: -- until now only commissioning events were kept, without their place
-- insert into sv.event (load_id, event, line, identity, facts, kind, action, step, at, packs)
-- select e.load_id, row_number() over (partition by e.load_id order by e.line), e.line, e.identity, e.facts,
--   'object', 'add', 'commissioning', e.at, 0
-- from sv.load_event e;
--
-- drop table sv.load_event;
-- alter table sv.load drop constraint load_digest_key, add constraint load_content unique (digest, company, whole);

commit;
