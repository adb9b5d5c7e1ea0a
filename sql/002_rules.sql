-- The rules of the domain as data, and the pure functions that read a verdict
-- off what is known of a pack.

begin;

do $$
begin
  if to_regprocedure('sv.migration_begin(integer, text)') is null then
    raise exception 'apply sql/000_roles.sql first';
  end if;
end
$$;

set local role sv_owner;
select sv.migration_begin(2, 'rules');

insert into sv.setting (name, value, note) values
  ('undo_hours',            '240', 'hours after which a change can no longer be undone'),
  ('supply_repeats',        '3',   'how often the location that supplied a pack may supply it again without an alert'),
  ('offline_days',          '14',  'the oldest occurred_at that is taken, in days'),
  ('offline_ahead_minutes', '5',   'how far ahead of our clock an occurred_at may be'),
  ('cache_counter',         '0',   'raise it to start every gateway with an empty cache');


-- Who may.  A role that may do something may also undo it; a manufacturer only
-- touches its own company's products (sv.operate).

insert into sv.permission (role, operation)
select r.role, 'verify'
from unnest(enum_range(null::sv.role)) as r (role);

insert into sv.permission (role, operation) values
  ('pharmacy', 'supply'),
  ('pharmacy', 'destroy'),
  ('pharmacy', 'sample');

insert into sv.permission (role, operation)
select r.role, o.operation
from (values ('wholesaler'::sv.role), ('parallel_distributor'), ('manufacturer')) as r (role),
     (values ('destroy'::sv.operation), ('sample'), ('free_sample'), ('lock'), ('export'), ('steal')) as o (operation);

insert into sv.permission (role, operation) values
  ('parallel_distributor', 'check_out'),
  ('manufacturer',         'check_out');


-- Hub code, and whether an answer with this reason carries an alert id (level
-- 5).  Countries differ on undo_too_late and undo_elsewhere: where those are
-- alerts,  update sv.reason set alert = true where reason in (...).
-- What a refusal because of a pack's state is worth stands in sv.transition.

insert into sv.reason (reason, code, alert) values
  ('ok',                    null,  false),
  ('already_supplied_here', null,  false),
  ('already_supplied',      null,  false),
  ('product_unknown',       'A1',  false),
  ('lot_unknown',           'A2',  true),
  ('serial_unknown',        'A3',  true),
  ('lot_mismatch',          'A68', true),
  ('expiry_mismatch',       'A52', true),
  ('expired',               null,  false),
  ('recalled',              null,  false),
  ('withdrawn',             null,  false),
  ('destroyed',             null,  false),
  ('exported',              null,  false),
  ('sample',                null,  false),
  ('free_sample',           null,  false),
  ('locked',                null,  false),
  ('stolen',                null,  false),
  ('checked_out',           null,  false),
  ('undo_too_late',         'A4',  false),
  ('undo_elsewhere',        'A5',  false),
  ('nothing_to_undo',       null,  false),
  ('not_permitted',         null,  false),
  ('elements_missing',      null,  false),
  ('occurred_at_invalid',   null,  false),
  ('key_reused',            null,  false);


-- What a verify says of a pack: product, serial and lot, expiry, status of lot
-- and product, state, in this order.  src/model/sv_verdict.c is the same rule;
-- a test feeds both.  A null lot or expiry was not presented and is not
-- compared; p_here: the last change of state was made by who asks.

create function sv.judge(
  p_product_known  boolean,
  p_pack_found     boolean,
  p_lot_known      boolean,
  p_pack_lot       text,
  p_pack_expiry    date,
  p_lot            text,
  p_expiry         date,
  p_withdrawn      boolean,
  p_recalled       boolean,
  p_today          date,
  p_state          text,
  p_here           boolean
)
returns text
language sql immutable parallel safe
return case
  when not p_product_known                       then 'product_unknown'
  when not p_pack_found and p_lot is null        then 'serial_unknown'
  when not p_pack_found and p_lot_known          then 'serial_unknown'
  when not p_pack_found                          then 'lot_unknown'
  when p_lot collate "C" <> p_pack_lot           then 'lot_mismatch'
  when p_expiry <> p_pack_expiry                 then 'expiry_mismatch'
  when p_today > p_pack_expiry                   then 'expired'
  when p_recalled                                then 'recalled'
  when p_withdrawn                               then 'withdrawn'
  when p_state = 'active'                        then 'ok'
  when p_state = 'supplied' and p_here           then 'already_supplied_here'
  when p_state = 'supplied'                      then 'already_supplied'
  else p_state
end;


-- State by state, what is left when identity and status are in order.

insert into sv.transition (operation, of, state, same_location, next_state, reason, code, alert)
with
  target (operation, state) as (
    values
      ('supply'::sv.operation, 'supplied'::sv.pack_state),
      ('destroy',              'destroyed'),
      ('export',               'exported'),
      ('sample',               'sample'),
      ('free_sample',          'free_sample'),
      ('lock',                 'locked'),
      ('steal',                'stolen'),
      ('check_out',            'checked_out')
  ),
  place (here) as (
    values (true), (false)
  ),
  -- every state, and the word a refusal uses for it
  pack (state, word) as (
    select s.state, case s.state when 'supplied' then 'already_supplied' else s.state::text end
    from unnest(enum_range(null::sv.pack_state)) as s (state)
  )

-- a verify changes nothing
select 'verify'::sv.operation, 'verify'::sv.operation, k.state, h.here, null::sv.pack_state,
  sv.judge(true, true, true, null, null, null, null, false, false, null, k.state::text, h.here), null, null::boolean
from pack k, place h

union all
-- an active pack takes every operation
select t.operation, t.operation, 'active', h.here, t.state, 'ok', null, null
from target t, place h

union all
-- the same pharmacy again: a double scan or a split pack; counted by sv.operate
select 'supply', 'supply', 'supplied', true, null, 'already_supplied_here', 'A10', false

union all
-- anything else on an inactive pack is refused and alerts; A7 is the location
-- that repeats itself, but for what is terminal or between two owners
select t.operation, t.operation, k.state, h.here, null, k.word,
  case
    when h.here and t.state = k.state and k.state in ('exported', 'sample', 'free_sample', 'locked') then 'A7'
    else 'A24'
  end,
  true
from target t, pack k, place h
where k.state <> 'active' and not (t.operation = 'supply' and k.state = 'supplied' and h.here)

union all
-- undo: nothing was done
select 'undo', t.operation, 'active', h.here, null, 'nothing_to_undo', null, null
from target t, place h

union all
-- undo: destroyed and stolen are terminal
select 'undo', t.operation, k.state, h.here, null, k.word, 'A24', false
from target t, pack k, place h
where k.state in ('destroyed', 'stolen')

union all
-- undo: nobody takes back what another location did
select 'undo', t.operation, k.state, false, null, 'undo_elsewhere', null, null
from target t, pack k
where k.state not in ('active', 'destroyed', 'stolen')

union all
-- undo of what was done here (sv.operate looks at the time)
select 'undo', t.operation, t.state, true, 'active', 'ok', null, null
from target t
where t.state not in ('destroyed', 'stolen')

union all
-- undo of something else than what was done here
select 'undo', t.operation, k.state, true, null, k.word, 'A24', true
from target t, pack k
where k.state not in ('active', 'destroyed', 'stolen') and k.state <> t.state;


-- What a scanner's keyboard set otherwise than the computer makes of a text:
-- Caps Lock, QWERTZ for QWERTY, AZERTY for QWERTY, each also with Caps Lock.
-- Not O for 0 or I for 1: no scanner does that, but a person who types or guesses.

create function sv.scanner_variants(p_text text)
returns text[]
language sql immutable strict parallel safe
begin atomic
  with
    layout (text) as (
      values
        (p_text collate "C"),
        (translate(p_text, 'yzYZ', 'zyZY')),
        (translate(p_text, 'aqzwAQZW,;?:', 'qawzQAWZmmMM'))
    ),
    variant (text) as (
      select l.text from layout l
      union
      select translate(l.text,
        'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ',
        'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz')
      from layout l
    )
  select array_agg(v.text) from variant v where v.text <> p_text;
end;


-- The lots a lot may be when the separator after it was lost: its beginnings
-- that are followed by what may begin the next element.

create function sv.glued_prefixes(p_lot text)
returns text[]
language sql immutable strict parallel safe
begin atomic
  select array_agg(left(p_lot, i))
  from generate_series(1, length(p_lot) - 3) as i
  where substr(p_lot, i + 1) ~ '^(1[1-7][0-9]{2}(0[1-9]|1[0-2])[0-3][0-9]|2[0-2].|24[01].|71[0-6].|9[0-9].)';
end;

commit;
