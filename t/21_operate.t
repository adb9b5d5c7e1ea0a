# sv.operate(): a pack changes once, whatever races, retries and time-outs do;
# repeats, undo, offline replays; what is written down; who may touch what.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use Test::SvPg;

my $gtin = 9506000134352;
my ($rome, $paris, $depot) = (1, 2, 3);

my $pg = Test::SvPg->new;
my $dbh = $pg->connect;
my $gateway = $pg->connect('sv_gateway');
my $n = 0;

$dbh->do(q{insert into sv.product (gtin, name, company) values (?, 'Test', 'ACME')}, undef, $gtin);
$dbh->do(q{insert into sv.lot (gtin, lot, expiry) values (?, 'L1', '2030-06-30'), (?, 'R1', '2030-06-30')}, undef, $gtin, $gtin);
$dbh->do(q{insert into sv.location (location_id, gln, name, role, company, country) values
    (1, 'g1', 'Rome', 'pharmacy', null, 'IT'), (2, 'g2', 'Paris', 'pharmacy', null, 'FR'),
    (3, 'g3', 'Depot', 'wholesaler', null, 'DE')});


sub new_pack {
    my (%option) = @_;

    my $serial = 'S' . ++$n;

    $dbh->do('insert into sv.pack (gtin, serial, lot, expiry) values (?, ?, ?, ?)', undef, $gtin, $serial,
        $option{lot} // 'L1', $option{expiry} // '2030-06-30');

    return $serial;
}


sub supply {
    my ($serial, $location, %option) = @_;

    return $pg->operate($gateway, { serial => $serial, operation => 'supply', location => $location, %option });
}


sub undo {
    my ($serial, $location, %option) = @_;

    return $pg->operate($gateway, { serial => $serial, operation => 'undo', of => 'supply', location => $location, %option });
}


sub value {
    my ($sql, @value) = @_;

    return scalar $dbh->selectrow_array($sql, undef, @value);
}


sub pack_of {
    my ($serial) = @_;

    return join ' ', map { $_ // '-' } $dbh->selectrow_array(
        'select state, version, location_id, repeats from sv.pack where gtin = ? and serial = ?', undef, $gtin, $serial);
}


sub audits {
    my ($serial) = @_;

    return value('select count(*) from sv.audit a join sv.outbox o using (gtin, at, audit_id) where a.serial = ?', $serial);
}


# How many backends wait for a lock.
sub wait_for_waiting {
    my ($count) = @_;

    return $pg->wait_for($dbh, q{select count(*) >= ? from pg_stat_activity where wait_event_type = 'Lock'}, $count);
}


# The same request again.
{
    my $serial = new_pack();
    my %request = (key => 'k1', request_id => 'r1', alert_id => 'DE-1');
    my $first = supply($serial, $rome, %request);

    is("$first->{reason} $first->{changed} $first->{state_before} $first->{state} $first->{version}", 'ok 1 active supplied 2',
        'a supply');
    ok(!$first->{replayed}, 'acted');
    is("$first->{lot} $first->{expiry} $first->{location_id}", "L1 20300630 $rome", 'what the cache needs');
    is($first->{since_ms}, $first->{at_ms}, 'the change is of the time it was decided');
    is($first->{occurred_ms}, undef, 'and happened then');

    is(undo($serial, $rome)->{reason}, 'ok', 'the pack is taken back');

    my $again = supply($serial, $rome, %request, request_id => 'r2', alert_id => 'DE-2');
    ok($again->{replayed}, 'the same key is a replay');
    is_deeply({ %{$again}, replayed => 0 }, { %{$first}, replayed => 0 }, 'with the same outcome, whatever happened since');
    is(pack_of($serial), "active 3 $rome 0", 'and without effect');
    is(audits($serial), 2, 'and without an entry');

    my $refused = supply('NOPE', $rome, key => 'k2', alert_id => 'DE-3', lot => 'L1');
    my $refused_again = supply('NOPE', $rome, key => 'k2', alert_id => 'DE-4', lot => 'L1');
    is($refused->{alert_id}, 'DE-3', 'a refusal with an alert');
    is_deeply({ %{$refused_again}, replayed => 0 }, { %{$refused}, replayed => 0 }, 'is stored with its alert id');

    my $reused = supply($serial, $rome, %request, expiry => '2030-06-29');
    is($reused->{reason}, 'key_reused', 'the same key with another body');
    ok(!$reused->{changed} && !$reused->{replayed}, 'is no replay and no change');
    is(audits($serial), 2, 'and leaves no entry');
    ok(supply($serial, $rome, %request)->{replayed}, 'nor does it disturb the stored outcome');

    is(supply($serial, $paris, %request)->{replayed}, 0, 'a key belongs to its location');
    $dbh->do(q{insert into sv.product (gtin, name, company) values (9506000134369, 'Other', 'ACME')});
    is(supply($serial, $rome, %request, gtin => 9506000134369)->{reason}, 'lot_unknown', 'and to its GTIN');
}


# Two at the same instant: whoever comes second waits, then repeats the answer, or acts when the first gave up.
for my $ends (qw(commit rollback)) {
    my $serial = new_pack();
    my $first = $pg->connect('sv_gateway');

    $first->begin_work;
    my $outcome = $pg->operate($first, { serial => $serial, operation => 'supply', location => $rome, key => "same-$ends" });
    is($outcome->{reason}, 'ok', "$ends: the first acts");

    my $second = $pg->child(sub {
        my $o = $pg->operate($pg->connect('sv_gateway'),
            { serial => $serial, operation => 'supply', location => $rome, key => "same-$ends" });
        print join(' ', $o->{replayed}, $o->{reason}, $o->{changed}, $o->{version}), "\n";
    });

    ok(wait_for_waiting(1), "$ends: the second waits");
    $first->$ends;

    is(join("\n", Test::SvPg::lines_of($second)), $ends eq 'commit' ? '1 ok 1 2' : '0 ok 1 2',
        $ends eq 'commit' ? 'commit: and repeats the answer' : 'rollback: and acts');
    is(pack_of($serial), "supplied 2 $rome 0", "$ends: once");
    is(audits($serial), 1, "$ends: one entry");
}


# Many at the same instant.
sub race {
    my ($serial, @requests) = @_;

    my $holder = $pg->connect;
    $holder->begin_work;
    $holder->do('select from sv.pack where gtin = ? and serial = ? for update', undef, $gtin, $serial);

    my @children = map {
        my $request = $_;

        $pg->child(sub {
            my $o = $pg->operate($pg->connect('sv_gateway'), { serial => $serial, %{$request} });
            print join(' ', map { $_ // '-' } @{$o}{qw(replayed changed reason location_id at_ms)}), "\n";
        });
    } @requests;

    ok(wait_for_waiting(scalar @requests), 'all of them wait');
    $holder->commit;

    return map { [split / /] } map { Test::SvPg::lines_of($_) } @children;
}

for my $seed (1 .. 5) {
    my $serial = new_pack();
    my @answers = race($serial, map { { operation => 'supply', location => $_ % 2 ? $rome : $paris } } 1 .. 12);
    my ($winner, @more) = grep { $_->[1] } @answers;

    is(@answers, 12, "race $seed: everybody is answered");
    is(@more, 0, "race $seed: exactly one changed the pack");
    is(pack_of($serial) =~ /^supplied 2 $winner->[3] [0-3]$/ ? 'agrees' : pack_of($serial), 'agrees', "race $seed: the pack says who");
    is_deeply([sort keys %{ { map { $_->[2] => 1 } grep { !$_->[1] } @answers } }], ['already_supplied', 'already_supplied_here'],
        "race $seed: the others repeat or are refused");
    is(scalar(grep { $_->[3] != $winner->[3] } @answers), 0, "race $seed: all name the winner");
    is(scalar(grep { $_->[4] < $winner->[4] } @answers), 0, "race $seed: nobody was before the winner");
    is(audits($serial), 12, "race $seed: all are written down");
}

{
    my $serial = new_pack();
    my @answers = race($serial, map { { operation => 'supply', location => $rome, key => 'one' } } 1 .. 8);

    is(scalar(grep { $_->[1] } @answers), 8, 'one key, eight at once: all hear of the change');
    is(scalar(grep { !$_->[0] } @answers), 1, 'that one of them made');
    is(audits($serial), 1, 'and that is written down once');
}

{
    my $serial = new_pack();
    my @answers = race($serial, (map { { operation => $_, location => $depot } } qw(destroy export sample lock steal free_sample)),
        map { { operation => 'supply', location => $_ } } $rome, $paris);

    is(scalar(grep { $_->[1] } @answers), 1, 'different operations at once: one acts');
    is(value('select count(*) from sv.audit where serial = ? and changed', $serial), 1, 'by the audit trail, too');
}


# Nothing is half done.
{
    my $serial = new_pack();
    my $impatient = $pg->connect('sv_gateway');
    my $holder = $pg->connect;
    my %request = (serial => $serial, operation => 'supply', location => $rome, key => 'late');

    $holder->begin_work;
    $holder->do('select from sv.pack where gtin = ? and serial = ? for update', undef, $gtin, $serial);

    for my $limit (['lock_timeout', '55P03'], ['statement_timeout', '57014']) {
        my ($name, $state) = @{$limit};

        $impatient->do("set $name = '50ms'");
        ok(!eval { $pg->operate($impatient, {%request}); 1 }, "$name ends the wait for a row");
        is($impatient->state, $state, '... with its own code');
        $impatient->do("set $name = 0");
    }

    is(supply(new_pack(), $rome)->{reason}, 'ok', 'no other pack is delayed');
    is($gateway->selectrow_array('select state from sv.verify_read(?, ?, ?)', undef, $gtin, $serial, 'L1'), 'active',
        'nor is a verify');

    my $killed = $pg->child(sub {
        $pg->operate($pg->connect('sv_gateway'), {%request});
    });
    ok(wait_for_waiting(1), 'one more waits');
    $dbh->do(q{select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'});
    like(join('', Test::SvPg::lines_of($killed)), qr/terminating connection/, 'and loses its connection');
    $holder->rollback;

    is(value(q{select count(*) from sv.idempotency where key = 'late'}), 0, 'none of them left a key');
    is(audits($serial), 0, 'or an entry');
    is(pack_of($serial), 'active 1 - 0', 'or a change');

    my $o = $pg->operate($gateway, {%request});
    ok(!$o->{replayed} && $o->{changed}, 'the retry with the same key acts');
}


# Repeats.
{
    my $serial = new_pack();
    my @answers = map { supply($serial, $rome) } 1 .. 6;

    is_deeply([map { join ' ', map { $_ // '-' } @{$_}{qw(reason changed code repeat alert_id version)} } @answers], [
        'ok 1 - - - 2',
        'already_supplied_here 0 A10 1 - 2',
        'already_supplied_here 0 A10 2 - 2',
        'already_supplied_here 0 A10 3 - 2',
        'already_supplied 0 A7 - XX-ALERT 2',
        'already_supplied 0 A7 - XX-ALERT 2',
    ], 'three repeats, then an alert');

    is($answers[3]{since_ms}, $answers[0]{since_ms}, 'a repeat is not a change');
    is(undo($serial, $rome)->{reason}, 'ok', 'taken back');
    is_deeply([map { supply($serial, $rome)->{reason} } 1 .. 2], ['ok', 'already_supplied_here'], 'the count begins anew');

    $dbh->do(q{update sv.setting set value = '1' where name = 'supply_repeats'});
    is(supply($serial, $rome)->{reason}, 'already_supplied', 'the limit is a setting');
    $dbh->do(q{update sv.setting set value = '3' where name = 'supply_repeats'});

    my $silent = supply($serial, $paris, alert_id => undef);
    is(join(' ', map { $_ // '-' } @{$silent}{qw(reason code alert_id)}), 'already_supplied A24 -', 'a silent question has no alert id');
}


# Undo: in time, counted from when it happened.
sub supplied_ago {
    my ($interval) = @_;

    my $serial = new_pack();
    supply($serial, $rome);
    $dbh->do('update sv.pack set since = now() - ?::interval where gtin = ? and serial = ?', undef, $interval, $gtin, $serial);

    return $serial;
}

{
    my $serial = supplied_ago('239 hours 59 minutes');
    is(undo($serial, $rome)->{reason}, 'ok', 'just in time');
    is(pack_of($serial), "active 3 $rome 0", 'active again');
    is(undo($serial, $rome)->{reason}, 'nothing_to_undo', 'only once');
    is(supply($serial, $paris)->{reason}, 'ok', 'and anybody may supply it');

    $serial = supplied_ago('240 hours 1 minute');
    my $o = undo($serial, $rome);
    is(join(' ', map { $_ // '-' } @{$o}{qw(reason code alert_id changed state)}), 'undo_too_late A4 - 0 supplied', 'too late');
    is(undo($serial, $paris)->{reason}, 'undo_elsewhere', 'elsewhere comes before too late');

    $dbh->do(q{update sv.reason set alert = true where reason = 'undo_too_late'});
    is(undo($serial, $rome)->{alert_id}, 'XX-ALERT', 'where a late undo is an alert, it is one');
    $dbh->do(q{update sv.reason set alert = false where reason = 'undo_too_late'});

    $dbh->do(q{update sv.setting set value = '300' where name = 'undo_hours'});
    is(undo($serial, $rome)->{reason}, 'ok', 'the window is a setting');
    $dbh->do(q{update sv.setting set value = '240' where name = 'undo_hours'});

    $serial = new_pack();
    is(supply($serial, $rome, occurred_at => value(q{select now() - interval '11 days'}))->{reason}, 'ok', 'supplied offline');
    is(undo($serial, $rome)->{reason}, 'undo_too_late', 'the window counts from then, not from the replay');
    is(undo($serial, $rome, occurred_at => value(q{select now() - interval '10 days'}))->{reason}, 'ok',
        'an undo that happened in time and is replayed is in time');

    $serial = new_pack(lot => 'R1');
    is(supply($serial, $rome, lot => 'R1')->{reason}, 'ok', 'a pack supplied');
    $dbh->do(q{update sv.lot set recalled_at = now(), reason = 'x' where lot = 'R1'});
    is(undo($serial, $rome, lot => 'R1')->{reason}, 'recalled', 'and recalled since cannot come back');
    $dbh->do(q{update sv.lot set recalled_at = null, reason = null where lot = 'R1'});
}


# Offline replays.
{
    my %limit = (
        '13 days 23 hours' => 'ok', '14 days 1 minute' => 'occurred_at_invalid',
        '-4 minutes' => 'ok', '-6 minutes' => 'occurred_at_invalid',
    );

    for my $ago (sort keys %limit) {
        my $serial = new_pack();
        my $o = supply($serial, $rome, occurred_at => value('select now() - ?::interval', $ago));
        is($o->{reason}, $limit{$ago}, "occurred $ago ago: $limit{$ago}");
        is($o->{state}, $limit{$ago} eq 'ok' ? 'supplied' : 'active', '... and acted upon accordingly');
    }

    my $yesterday = value(q{select (now() at time zone 'UTC')::date - 1});
    my $serial = new_pack(expiry => $yesterday);
    is(supply($serial, $rome, expiry => $yesterday)->{reason}, 'expired', 'expired yesterday');
    my $when = value(q{select date_trunc('second', now() - interval '3 days')});
    my $o = supply($serial, $rome, expiry => $yesterday, occurred_at => $when);
    is($o->{reason}, 'ok', 'but it was not when it was supplied');
    is($o->{occurred_ms}, value('select extract(epoch from ?::timestamptz) * 1000', $when) + 0, 'the outcome tells when that was');
    is($o->{since_ms}, $o->{occurred_ms}, 'and the pack is supplied since then');
    ok($o->{at_ms} > $o->{occurred_ms}, 'while it was decided now');

    $dbh->do(q{update sv.lot set recalled_at = now() - interval '2 days', reason = 'glass' where lot = 'R1'});

    $serial = new_pack(lot => 'R1');
    is(supply($serial, $rome, lot => 'R1')->{reason}, 'recalled', 'a recalled pack');
    is(supply($serial, $rome, lot => 'R1', occurred_at => value(q{select now() - interval '1 day'}))->{reason}, 'recalled',
        'that was supplied after the recall is refused');
    is(value('select count(*) from sv.finding'), 0, 'no finding so far');

    my $id = Test::SvPg::uuid();
    $o = supply($serial, $rome, lot => 'R1', occurred_at => $when, audit_id => $id);
    is($o->{reason}, 'ok', 'one that was supplied before is taken');
    is_deeply($dbh->selectrow_arrayref(q{select rule, serial, lot, detail->>'operation', detail->>'location_id',
        (detail->>'recalled_at')::timestamptz > (detail->>'occurred_at')::timestamptz from sv.finding where finding_id = ?}, undef, $id),
        ['supplied_before_recall', $serial, 'R1', 'supply', $rome, 1], 'with a finding');

    $dbh->do(q{update sv.lot set recalled_at = null, reason = null where lot = 'R1'});
    $dbh->do(q{update sv.product set withdrawn_at = now(), reason = 'x' where gtin = ?}, undef, $gtin);
    is(supply(new_pack(), $rome, occurred_at => $when)->{reason}, 'ok', 'supplied before the product was withdrawn');
    is(value('select count(*) from sv.finding'), 2, 'with a finding');
    is(supply(new_pack(), $rome)->{reason}, 'withdrawn', 'and not any more');
    $dbh->do(q{update sv.product set withdrawn_at = null, reason = null where gtin = ?}, undef, $gtin);

    $serial = new_pack();
    is(supply($serial, $paris)->{reason}, 'ok', 'supplied in Paris now');
    is(supply($serial, $rome, occurred_at => $when)->{reason}, 'already_supplied', 'the replay of Rome comes later, whatever its time');
}


# A recall that commits while an operation waits for its pack is seen by it.
{
    my $serial = new_pack(lot => 'R1');
    my $holder = $pg->connect;

    $holder->begin_work;
    $holder->do('select from sv.pack where gtin = ? and serial = ? for update', undef, $gtin, $serial);

    my $waiting = $pg->child(sub {
        my $o = $pg->operate($pg->connect('sv_gateway'), { serial => $serial, lot => 'R1', operation => 'supply', location => $rome });
        print "$o->{reason}\n";
    });

    ok(wait_for_waiting(1), 'an operation waits');
    $pg->connect('sv_worker')->do(q{select sv.recall_lot(?, 'R1', 'glass')}, undef, $gtin);
    $holder->commit;
    is(join('', Test::SvPg::lines_of($waiting)), 'recalled', 'and sees the recall');
    is(pack_of($serial), 'active 1 - 0', 'the pack stays');
}


# What is written down.
{
    my $serial = new_pack();
    my $when = value(q{select date_trunc('second', now() - interval '1 day')});
    my $id = Test::SvPg::uuid();
    my $o = supply($serial, $rome, key => 'audited', request_id => 'req-7', entry_mode => 'manual', occurred_at => $when,
        audit_id => $id);

    is_deeply($dbh->selectrow_hashref(q{
        select gtin, audit_id, occurred_at = ? as occurred_at, location_id, version, expiry, repeat, changed, kind, operation, of,
          serial, lot, reason, state_before, state, code, alert_id, hint, entry_mode, key, request_id, actor, detail,
          sv.ms(at) as at
        from sv.audit where audit_id = ?}, undef, $when, $id), {
        gtin => $gtin, audit_id => $id, occurred_at => 1, location_id => $rome, version => 2, expiry => '2030-06-30',
        repeat => undef, changed => 1, kind => 'operation', operation => 'supply', of => undef, serial => $serial, lot => 'L1',
        reason => 'ok', state_before => 'active', state => 'supplied', code => undef, alert_id => undef, hint => undef,
        entry_mode => 'manual', key => 'audited', request_id => 'req-7', actor => undef, detail => undef, at => $o->{at_ms},
    }, 'an operation');

    supply('nope', $paris, lot => 'l1');
    is_deeply($dbh->selectrow_arrayref(q{select serial, lot, reason, code, alert_id, state, version, changed from sv.audit
        where serial = 'nope'}), ['nope', 'l1', 'lot_unknown', 'A2', 'XX-ALERT', undef, undef, 0],
        'a refusal, with what was presented');

    $pg->operate($gateway, { serial => $serial, operation => 'undo', of => 'lock', location => $rome, audit_id => $id = Test::SvPg::uuid() });
    is_deeply($dbh->selectrow_arrayref('select operation, of, reason from sv.audit where audit_id = ?', undef, $id),
        ['undo', 'lock', 'not_permitted'], 'what is not permitted');

    is(value('select count(*) from sv.audit a where not exists (select from sv.outbox o
        where o.gtin = a.gtin and o.audit_id = a.audit_id and o.at = a.at)'), 0, 'every entry is in the outbox');
    is(value('select count(*) from sv.audit where tableoid = ?::regclass', 'sv.audit_default'), 0, 'and in the partition of its month');
}


# Rights.
{
    my @tables = map { $_->[0] } @{ $dbh->selectall_arrayref(q{select c.oid::regclass from pg_class c
        where c.relnamespace = 'sv'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition}) };

    cmp_ok(scalar @tables, '>=', 15, 'the tables of the schema');

    is_deeply([grep { value('select has_table_privilege(?, ?, ?) or has_any_column_privilege(?, ?, ?)', ('sv_gateway', $_,
        'select, insert, update, delete, truncate, references, trigger')[0 .. 2], 'sv_gateway', $_,
        'select, insert, update, references') } @tables], [], 'the gateway has no right on any of them');

    is_deeply([grep { value('select has_table_privilege(?, ?, ?)', 'sv_worker', $_, 'insert, update, delete, truncate') }
        qw(sv.pack sv.audit sv.audit_chain sv.audit_head sv.idempotency sv.outbox sv.finding sv.product sv.lot sv.location
        sv.credential sv.ref_clock sv.setting sv.transition sv.permission sv.reason sv.migration)], [],
        'the worker writes none of them but by functions');

    is_deeply($dbh->selectcol_arrayref(q{select p.oid::regprocedure::text from pg_proc p, aclexplode(coalesce(p.proacl,
        acldefault('f', p.proowner))) a where p.pronamespace = 'sv'::regnamespace and a.grantee = 0}), [],
        'nobody else may execute a function');
    is_deeply($dbh->selectcol_arrayref(q{select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'sv'::regnamespace
        and has_function_privilege('sv_gateway', p.oid, 'execute') order by p.proname}), [
        'sv.epoch()', 'sv.gateway_figures()', 'sv.hint(bigint,text,text)',
        'sv.operate(bigint,text,text,date,text,text,integer,text,text,text,timestamp with time zone,text,uuid,text)',
        'sv.ref_feed(bigint,text,text,integer)', 'sv.schema_version()', 'sv.verify_read(bigint,text,text)',
    ], 'the gateway has these functions');
    is_deeply($dbh->selectcol_arrayref(q{select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'sv'::regnamespace
        and p.prosecdef and (p.proowner <> 'sv_owner'::regrole or not coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false))}),
        [], 'what runs with the rights of the owner has a fixed search path');
    is_deeply($dbh->selectcol_arrayref(q{select rolname from pg_roles where rolname like 'sv\_%' and (rolsuper or rolcreaterole
        or rolcreatedb or rolbypassrls or (rolname = 'sv_owner' and rolcanlogin))}), [], 'no role has more than it needs');

    for my $try (['select * from sv.pack', 'sv_gateway'], ['select * from sv.credential', 'sv_gateway'],
        ['update sv.pack set state = default', 'sv_gateway'], ['delete from sv.audit', 'sv_gateway'],
        [q{select sv.recall_lot(1, 'x', 'y')}, 'sv_gateway'], [q{insert into sv.setting values ('a', 'b', 'c')}, 'sv_gateway'],
        ['set role sv_owner', 'sv_gateway'], ['create table sv.mine ()', 'sv_gateway'],
        [q{update sv.pack set state = 'active'}, 'sv_worker'], ['delete from sv.audit', 'sv_worker'],
        ['update sv.audit_head set n = 0', 'sv_worker'], [q{update sv.lot set recalled_at = null}, 'sv_worker'],
        ['set role sv_owner', 'sv_worker'], ['create function sv.f() returns int language sql as $$ select 1 $$', 'sv_worker'],
        [q{select * from sv.operate(1, 'x', null, null, 'supply', null, 1, 'k', 'f', 'scanned', null, null, gen_random_uuid(), 'r')},
            'sv_worker'])
    {
        my ($sql, $role) = @{$try};
        my $other = $pg->connect($role);

        ok(!eval { $other->do($sql); 1 } && $other->state eq '42501', "$role may not: $sql");
    }

    my $sly = $pg->connect('sv_gateway');
    $sly->do(q{create temp table pack (gtin bigint, serial text, state text, version int, lot text)});
    $sly->do(q{set search_path = pg_temp, sv, public});
    is($sly->selectrow_array('select known from sv.verify_read(?, ?, ?)', undef, $gtin, 'S1', 'L1'), 1,
        'a table of the same name in the way is not looked at');
}


# Partitions by month, and settings.
{
    my $make = sub { value('select sv.make_month_partition(?, ?)', @_) };

    is($make->('audit', '2031-12-15'), 1, 'a month is made');
    is($make->('audit', '2031-12-01'), 0, 'once');

    for my $row (['2031-11-30 23:59:59.999+00', 'audit_default'], ['2031-12-01 00:00+00', 'audit_203112'],
        ['2031-12-31 23:59:59.999+00', 'audit_203112'], ['2032-01-01 00:00+00', 'audit_default'])
    {
        my ($at, $partition) = @{$row};
        is(value(q{insert into sv.audit (gtin, at, audit_id, changed, kind, operation, reason)
            values (0, ?, gen_random_uuid(), false, 'admin', 'test', 'ok') returning tableoid::regclass}, $at), "sv.$partition",
            "$at belongs to $partition");
    }

    local $SIG{__WARN__} = sub { };
    is($make->('audit', '2032-01-01'), 0, 'a month that has rows in the default partition is left there');
    is($make->('audit', '2032-02-01'), 1, 'the next one is made');
    is(value(q{select count(*) from sv.audit where operation = 'test'}), 4, 'no row is lost');

    for my $value ('', 'ten', '-1', '1.5', '1000000') {
        ok(!eval { $dbh->do(q{update sv.setting set value = ? where name = 'undo_hours'}, undef, $value); 1 },
            "a setting of '$value' is refused");
    }
}


# Verify: one row always, and it tells apart what the verdict needs.
{
    my $serial = new_pack();
    my $read = sub {
        my $row = $gateway->selectrow_hashref('select * from sv.verify_read(?, ?, ?)', undef, $gtin, @_);

        return join ' ', map { $_ // '-' } @{$row}{qw(known state version lot expiry location_id lot_known)};
    };

    is($read->($serial, 'L1'), '1 active 1 L1 20300630 - 1', 'a pack');
    is($read->($serial, undef), '1 active 1 L1 20300630 - 0', 'its lot not presented');
    is($read->($serial, 'nope'), '1 active 1 L1 20300630 - 0', 'an unknown lot presented');
    is($read->('nope', 'L1'), '0 - - - - - 1', 'no pack, a known lot');
    is($read->('nope', 'nope'), '0 - - - - - 0', 'no pack, no lot');
    is($read->(lc $serial, 'L1'), '0 - - - - - 1', 'a serial is what it is, to the letter');

    my $o = supply($serial, $rome);
    is($gateway->selectrow_array('select since_ms from sv.verify_read(?, ?, ?)', undef, $gtin, $serial, 'L1'), $o->{since_ms},
        'the time of the last change');
    like($gateway->selectrow_array('select sv.epoch()'), qr{^\d+/1/0$}, 'the epoch');
}


# Migrations: each once, in order, by the script and by hand, by a role that is no superuser.
{
    my $root = Test::SvPg::root();
    my $bare = Test::SvPg->new(migrate => 0);
    my $admin = $bare->connect;
    my ($first, $second) = ("$root/sql/000_roles.sql", "$root/sql/001_schema.sql");
    my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f');

    isnt($bare->tool(@psql, $second), 0, 'by hand, the second first: refused');
    like($bare->{said}, qr{apply sql/000_roles.sql first}, 'with the reason');

    $admin->do('create role installer login createrole');
    $admin->do('grant create on database postgres to installer');
    $bare->{as} = 'installer';

    is($bare->tool(@psql, $first), 0, 'by hand, as a role with CREATEROLE') or diag($bare->{said});
    isnt($bare->tool(@psql, $first), 0, 'twice: refused');
    like($bare->{said}, qr/migration 0 \(roles\) is already applied/, 'with the reason');
    isnt($bare->tool(@psql, "$root/sql/002_rules.sql"), 0, 'one left out: refused');
    like($bare->{said}, qr/migration 2 \(rules\) needs migration 1 first, the schema is at 0/, 'with the reason');

    is($bare->migrate, 0, 'the script applies the rest') or diag($bare->{said});
    unlike($bare->{said}, qr/000_roles/, 'and only that');
    is($bare->migrate, 0, 'again');
    is($bare->{said}, '', 'there is nothing left to do');
    is($bare->migrate('--status'), 0, 'the status');
    unlike($bare->{said}, qr/missing/, 'says so');
    is($bare->migrate('--help'), 0, 'help');
    like($bare->{said}, qr/PGHOST/, 'tells how');
    isnt($bare->migrate('--frobnicate'), 0, 'an unknown option is refused');

    isnt($bare->tool(@psql, $second), 0, 'by hand, an older one again: refused');
    like($bare->{said}, qr/is already applied/, 'with the reason');

    is_deeply($admin->selectcol_arrayref(q{select distinct relowner::regrole::text from pg_class where relnamespace = 'sv'::regnamespace}),
        ['sv_owner'], 'everything belongs to sv_owner');
    like($bare->connect('sv_gateway')->selectrow_array('select sv.epoch()'), qr{^\d+/1/0$}, 'and works');

    local $bare->{database} = 'second';
    $admin->do('create database second');
    $admin->do('grant create on database second to installer');
    is($bare->migrate, 0, 'a second database of the same server') or diag($bare->{said});
}

is_deeply([grep { !/terminating connection due to administrator command/ } $pg->alarms], [], 'the server logged nothing alarming');

done_testing();
