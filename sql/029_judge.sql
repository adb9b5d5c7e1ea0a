-- What the role consume calls: the lease, scans into history, operations out of the chain.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(29, 'judge');


commit;
