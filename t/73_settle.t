#!/usr/bin/perl

# What becomes of packs by what feeds tell of them, whatever comes first:
# commissioned, rejected, destroyed with their container, declared an error.
#
#   SV_TEST_ALL=1   more races
#   SV_TEST_SEED    of their choices

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(time);

use Test::SerialVerify;
use Test::SerialVerify::Facts;

my $gtin  = 9506000134352;
my $other = 9506000134369;
my $seed  = $ENV{SV_TEST_SEED} // time % 1_000_000;
my $sv    = Test::SerialVerify->new;

srand $seed;
diag("SV_TEST_SEED=$seed");

$sv->start_postgres;
$sv->product($gtin, company => 'acme');
$sv->product($other, company => 'other');

my $facts = Test::SerialVerify::Facts->new($sv, gtin => $gtin);
my @sscc  = map { sprintf '0950600000000%05d', $_ } 0 .. 9;


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)

sub pack_of {
    my ($serial) = @_;

    return join ' ', map { $_ // '-' } $sv->sql('select state, lot, expiry, version from sv.pack where gtin = ? and serial = ?', $gtin, $serial);
}

sub state_of { my ($serial) = @_; return $sv->sql('select state from sv.pack where gtin = ? and serial = ?', $gtin, $serial) // 'none' }

sub permutations {
    my (@rest) = @_;

    return [] if !@rest;

    return map { my $i = $_; my @others = @rest; my ($one) = splice @others, $i, 1; map { [$one, @{$_}] } permutations(@others) } 0 .. $#rest;
}

# Every order of these files leads to the same tables; what the caller looks at is looked at in each.
sub same_in_any_order {
    my ($name, $look, @files) = @_;

    my ($first, $n);
    my @orders = shuffle(permutations(0 .. $#files));
    splice @orders, 4 if @orders > 6 && !$ENV{SV_TEST_ALL};

    for my $order (@orders) {
        $facts->forget;
        $facts->load(ref $files[$_] eq 'HASH' ? ($files[$_]{events} // [], %{$files[$_]}) : $files[$_], name => "$name $_") for @{$order};

        my $tables = $facts->tables;
        $first //= $tables;
        $n++;
        is_deeply($tables, $first, "$name: order @{$order}") or return;
        $look->("order @{$order}") or return;
    }

    return $n;
}

sub commission { my ($items, %more) = @_; return {step => 'commissioning', items => $items, time => '2026-11-01T08:00:00Z', %more} }


subtest 'a pack and its end' => sub {
    $facts->forget;
    same_in_any_order('rejected', sub { is(state_of('A1') . state_of('A2'), 'destroyedactive', $_[0]) },
        [commission(['A1', 'A2'])], [{step => 'decommissioning', items => ['A1']}]);

    is(pack_of('A1'), 'destroyed L1 2030-12-31 2', 'the version is raised');
    is($sv->sql(q{select count(*) from sv.audit a join sv.outbox o using (gtin, audit_id) where a.serial = 'A1' and a.state = 'destroyed' and a.changed}), 1, 'audited and queued for the caches');

    same_in_any_order('the stronger end', sub { is(state_of('B1'), 'supplied', $_[0]) },
        [commission(['B1'])], [{step => 'sampling', items => ['B1']}], [{step => 'dispensing', items => ['B1'], time => '2026-11-01T07:00:00Z'}]);
};

subtest 'declared an error' => sub {
    my $wrong = commission(['A1', 'A2'], lot => 'WRONG', id => 'e1');
    my $error = {%{$wrong}, error => {reason => 'incorrect_data', time => '2026-11-02T00:00:00Z', corrective => ['e2']}};
    my $right = commission(['A1', 'A2'], lot => 'RIGHT', id => 'e2');

    is(same_in_any_order('corrected', sub { is(pack_of('A1') =~ s/ \d+$//r, 'active RIGHT 2030-12-31', $_[0]) }, [$wrong], [$error], [$right]), 6, 'six orders');

    my @expiry = map { {%{$_}, lot => 'L1', expiry => $_ == $right ? '2030-06-30' : '2031-12-31'} } $wrong, $error, $right;
    same_in_any_order('only the expiry', sub { is($sv->sql('select expiry from sv.lot'), '2030-06-30', $_[0]) }, map { [$_] } @expiry);

    same_in_any_order('no other', sub { is(join(' ', grep { $_ ne 'none' } state_of('A1')) =~ s/^$/void/r, 'void', $_[0]) }, [$wrong], [$error]);
    same_in_any_order('in one file', sub { like(state_of('A1'), qr/^(?:void|none)$/, $_[0]) }, [$error, $wrong], [$wrong, $error]);

    my $reject = {step => 'decommissioning', items => ['A1'], id => 'r'};
    same_in_any_order('a rejection that was none', sub { is(state_of('A1'), 'active', $_[0]) },
        [commission(['A1'])], [$reject], [{%{$reject}, error => {reason => 'did_not_occur'}}]);

    same_in_any_order('a file without events beside it', sub { is(pack_of('A1') =~ s/ \d+$//r, 'active RIGHT 2030-12-31', $_[0]) },
        [{%{$wrong}, lot => 'RIGHT'}], [{%{$error}, lot => 'RIGHT'}], {csv => [['A1', 'RIGHT'], ['A2', 'RIGHT']]});

    # one that does not repeat what it declares
    same_in_any_order('a short declaration', sub { like(state_of('A2'), qr/^(?:void|none)$/, $_[0]) },
        [$wrong], [{%{$error}, items => ['A1'], lot => undef, expiry => undef, container => 1}]);
};

subtest 'containers' => sub {
    my @told = (
        [commission([qw(A1 A2 A3)])],
        [{step => 'commissioning', items => [@sscc[0, 1]], container => 1, time => '2026-11-01T08:00:00Z'}],
        [{step => 'packing', items => ['A1', 'A2'], parent => $sscc[0], time => '2026-11-01T09:00:00Z'}],
        [{step => 'packing', items => [$sscc[0], 'A3'], parent => $sscc[1], time => '2026-11-01T10:00:00Z'}],
        [{step => 'destroying', items => [$sscc[1]], time => '2026-11-01T12:00:00Z'}],
    );

    same_in_any_order('destroyed with its pallet', sub { is(join(' ', map { state_of($_) } qw(A1 A2 A3)), 'destroyed destroyed destroyed', $_[0]) }, @told);
    is($sv->sql('select count(*) from sv.item_end where derived'), 4, 'three packs and a case');

    same_in_any_order('but for what was taken out', sub { is(join(' ', map { state_of($_) } qw(A1 A2 A3)), 'active destroyed destroyed', $_[0]) },
        [map { @{$_} } @told[0, 1]], @told[2 .. 4], [{step => 'unpacking', items => ['A1'], parent => $sscc[0], time => '2026-11-01T11:00:00Z'}]);

    same_in_any_order('all was taken out', sub { is(join(' ', map { state_of($_) } qw(A1 A2 A3)), 'active active destroyed', $_[0]) },
        [map { @{$_} } @told[0, 1]], @told[2 .. 4], [{step => 'unpacking', parent => $sscc[0], time => '2026-11-01T11:00:00Z'}]);

    same_in_any_order('packed elsewhere before', sub { is(join(' ', map { state_of($_) } qw(A1 A2 A3)), 'destroyed active destroyed', $_[0]) },
        [map { @{$_} } @told[0, 1]], @told[2 .. 4], [{step => 'packing', items => ['A2'], parent => $sscc[2], time => '2026-11-01T11:00:00Z'}]);

    my $packed = {%{$told[2][0]}, id => 'p'};
    same_in_any_order('a packing that was none', sub { is(join(' ', map { state_of($_) } qw(A1 A2 A3)), 'active active destroyed', $_[0]) },
        [map { @{$_} } @told[0, 1]], [$packed], @told[3, 4], [{%{$packed}, error => {reason => 'did_not_occur'}}]);

    my $destroyed = {%{$told[4][0]}, id => 'd'};
    same_in_any_order('a destruction that was none', sub { is(join(' ', map { state_of($_) } qw(A1 A2 A3)), 'active active active', $_[0]) },
        [map { @{$_} } @told[0, 1]], @told[2, 3], [$destroyed], [{%{$destroyed}, error => {reason => 'did_not_occur'}}]);

    is(join(' ', map { join '/', @{$_} } @{$sv->dbh->selectall_arrayref(q{select serial, depth from sv.parents(?, 'A1', 'infinity') order by depth}, undef, $gtin)}),
        "$sscc[0]/1 $sscc[1]/2", 'the parents of a pack');
    is($sv->sql(q{select count(*) from sv.parents(?, 'A1', '2026-11-01T08:30:00Z')}, $gtin), 0, 'none before it was packed');
};

subtest 'a container in itself' => sub {
    $facts->forget;
    $facts->load([{step => 'packing', items => [$sscc[0]], parent => $sscc[1]}, {step => 'packing', items => [$sscc[1], 'A1'], parent => $sscc[0]}]);

    is($sv->sql(q{select string_agg(serial, ' ' order by depth, serial) from sv.contents(0, ?, 'infinity')}, $sscc[0]), "$sscc[1] A1", 'ends');
    is($sv->sql(q{select string_agg(serial, ' ' order by depth) from sv.parents(0, ?, 'infinity')}, $sscc[0]), $sscc[1], 'upwards, too');
};

subtest 'two containers at the same time' => sub {
    $facts->forget;
    $facts->load([{step => 'packing', items => ['A1', 'A2'], parent => $sscc[0]}], name => 'x');
    $facts->load([{step => 'packing', items => ['A1', 'A2'], parent => $sscc[1]}], name => 'y');
    $facts->load([{step => 'packing', items => ['A1', 'A2'], parent => $sscc[1]}], name => 'y again');

    is($sv->sql(q{select string_agg(serial, ' ' order by serial) from sv.contents(0, ?, 'infinity')}, $sscc[0]), 'A1 A2', 'the one recorded first stands');
    is(join(' ', $sv->sql(q{select count(*), min(detail -> 'first' ->> 'file'), min(detail -> 'other' ->> 'file'), min(detail ->> 'items') from sv.finding where rule = 'aggregation_conflict'})),
        '1 x y 2', 'one finding names both');
};

subtest 'a pallet of 10,000 packs' => sub {
    $facts->forget;

    my $load = $sv->sql(q{select load_id from sv.load_begin('\x01', 'pallet', 'epcis_json', 1, 'here')});
    $sv->sql(q{insert into sv.event (load_id, event, line, identity, facts, kind, action, step, event_time, at, parent_gtin, parent_serial, packs)
        select ?::integer, g, g, sha256(convert_to(g::text, 'UTF8')), '', 'aggregation', 'add', 'packing', '2026-11-01', now(), 0, case g when 0 then 'P' else 'C' || g end, 100
        from generate_series(0, 100) g}, $load);
    $sv->sql(q{insert into sv.event_epc (gtin, load_id, event, line, serial) select 0, ?::integer, 0, 1, 'C' || g from generate_series(1, 100) g}, $load);
    $sv->sql(q{insert into sv.event_epc (gtin, load_id, event, line, serial) select ?::bigint, ?::integer, g % 100 + 1, 1, 'X' || g from generate_series(1, 10000) g}, $gtin, $load);
    $sv->sql('analyze sv.event, sv.event_epc');

    my ($n, $best) = (0, 9);
    for (1 .. 5) {
        my $start = time;
        $n = $sv->sql(q{select count(*) from sv.contents(0, 'P', 'infinity')});
        my $took = time - $start;
        $best = $took if $took < $best;
    }

    is($n, 10_100, 'all levels');
    diag(sprintf 'contents of 10,100 items: %.0f ms', 1000 * $best);
    cmp_ok($best, '<', $sv->asan ? 5 : 1, 'fast');
};

subtest 'commissioned again after a rejection' => sub {
    my @told = ([commission(['A1'], lot => 'OLD')], [{step => 'decommissioning', items => ['A1'], time => '2026-11-02T00:00:00Z'}],
        [commission(['A1'], lot => 'NEW', time => '2026-11-03T00:00:00Z')]);

    $sv->sql(q{update sv.setting set value = '1' where name = 'recommission'});
    same_in_any_order('allowed', sub { is(pack_of('A1') =~ s/ \d+$//r, 'active NEW 2030-12-31', $_[0]) }, @told);


    $sv->sql(q{update sv.setting set value = '0' where name = 'recommission'});

    $facts->forget;
    $facts->load($_) for @told;
    is(state_of('A1'), 'destroyed', 'not allowed: it stays destroyed');
};

subtest 'the counter and the feed' => sub {
    my $pharmacy = $sv->location(role => 'pharmacy');
    my $n = 0;
    my $operate = sub {
        my ($serial, $operation, $of) = @_;
        return $sv->sql(q{select reason from sv.operate(?, ?, 'L1', '2030-12-31', ?, ?, ?, ?, 'f', 'scanned', null, 'XX-1', gen_random_uuid(), 'r')},
            $gtin, $serial, $operation, $of, $pharmacy, 'k' . ++$n);
    };

    $facts->forget;
    my $destroy = {step => 'destroying', items => ['A1'], id => 'd'};
    my $made = commission(['A1', 'A2'], id => 'c');
    $facts->load([$made]);
    is($operate->('A1', 'supply'), 'ok', 'supplied');
    $facts->load([$destroy]);
    is(state_of('A1'), 'destroyed', 'destroyed is stronger');
    is(join(' ', $sv->sql(q{select count(*), min(serial), min(detail ->> 'step') from sv.finding where rule = 'ended_pack_supplied'})), '1 A1 destroying', 'and a finding');
    $facts->load([{%{$destroy}, error => {reason => 'did_not_occur'}}]);
    is(join(' ', $sv->sql('select state, location_id from sv.pack where serial = ?', 'A1')), "supplied $pharmacy", 'an error: it is supplied again, by the same pharmacy');
    is($operate->('A1', 'undo', 'supply'), 'ok', 'which can undo it');

    is($operate->('A2', 'supply'), 'ok', 'another');
    $facts->load([{step => 'sampling', items => ['A2']}]);
    is(state_of('A2'), 'supplied', 'a sampling is weaker');

    $facts->load([{%{$made}, error => {reason => 'incorrect_data'}}]);
    is(state_of('A2'), 'void', 'its commissioning was an error');
    is($operate->('A2', 'supply'), 'lot_unknown', 'the counter knows neither it nor its lot');

    ok(!$sv->sql(q{select known from sv.verify_read(?, 'A2', 'L1')}, $gtin), 'nor does a verify');
    is($sv->sql(q{select sv.hint(?, 'a2', 'L1')}, $gtin), undef, 'nor a hint');
    $facts->load([commission(['A2'], id => 'c2', lot => 'L2')]);
    is(join(' ', $sv->sql('select state, lot, location_id from sv.pack where serial = ?', 'A2')), "supplied L2 $pharmacy", 'the corrective event brings it back, supplied');
};

subtest 'contradictions name both' => sub {
    $facts->forget;
    $facts->load([commission(['B1'], lot => 'X'), commission(['A1', 'A2'], lot => 'L1', id => 'one')], name => 'first.json');
    $facts->load([commission(['A1'], lot => 'L2', id => 'two')], name => 'other.json');

    my $detail = JSON::PP::decode_json($sv->sql(q{select detail from sv.finding where rule = 'duplicate_commissioning'}));
    is_deeply([map { my $side = $_; map { $detail->{$side}{$_} } qw(file event line lot expiry) } qw(first other)],
        ['first.json', 2, 4, 'L1', '2030-12-31', 'other.json', 1, 2, 'L2', '2030-12-31'], 'files, events and lines');
    is(pack_of('A1'), 'active L1 2030-12-31 1', 'the first stands');

    my $load = $sv->sql(q{select load_id from sv.load where file = 'other.json'});
    ok(!eval { $sv->sql('select sv.swap_commission(?, ?, ?, ?, ?, ?)', $gtin, 'A1', $load, 7, 'anna', 'checked'); 1 }, 'there is no such event');
    is($sv->dbh->state, 'P0002', 'which is told');
    ok(!eval { $sv->sql('select sv.swap_commission(?, ?, ?, ?, ?, ?)', $gtin, 'A1', $load, 1, 'anna', ''); 1 }, 'a reason is needed');
    $sv->sql('select sv.swap_commission(?, ?, ?, ?, ?, ?)', $gtin, 'A1', $load, 1, 'anna', 'checked');
    is(pack_of('A1'), 'active L2 2030-12-31 2', 'a person swaps them');
    is(join(' ', $sv->sql(q{select kind, actor, detail ->> 'reason' from sv.audit where operation = 'swap_commission'})), 'correction anna checked', 'audited');
    is($sv->sql('select lot from sv.commission where serial = ?', 'A1'), 'L1', 'the other is kept');

    my $first = $sv->sql(q{select load_id from sv.load where file = 'first.json'});
    my ($code, $text) = $sv->command('swap-commission', '--gtin', '09506000134352', '--serial', 'A1', '--load', $first, '--event', 2, '--reason', 'back');
    is("$code " . pack_of('A1'), '0 active L1 2030-12-31 3', 'by command') or diag($text);
    ($code, $text) = $sv->command('swap-commission', '--gtin', '09506000134352', '--serial', 'A1', '--load', $first, '--event', 2, '--reason', 'again');
    is($code, 1, 'which is not there any more');
    like($text, qr/no other commissioning of this pack is kept from load $first, event 2/, 'said plainly');
    ($code, $text) = $sv->command('swap-commission', '--gtin', '09506000134352', '--serial', 'A1', '--load', 'x', '--reason', 'again');
    is($code, 2, 'a bad number');
};

subtest 'a file that contradicts itself' => sub {
    $facts->forget;
    $facts->load([], csv => [['A1', 'L1'], ['A1', 'L2']], name => 'csv');
    is(pack_of('A1'), 'active L1 2030-12-31 1', 'its first line stands');
    my $load = $sv->sql('select load_id from sv.load');
    $sv->sql('select sv.swap_commission(?, ?, ?, null, ?, ?)', $gtin, 'A1', $load, 'anna', 'checked');
    is(pack_of('A1') . ' ' . $sv->sql('select lot from sv.commission'), 'active L2 2030-12-31 2 L1', 'swapped');
};

subtest 'parked' => sub {
    $facts->forget;
    is($facts->load([{step => 'packing', items => ['A1', 'A2', $sscc[0]], parent => $sscc[1]}], name => 'p')->{parked}, 1, 'its items are not there yet');
    is($facts->load([{step => 'decommissioning', items => ['A9']}])->{parked}, 0, 'a line reject waits for nothing');
    $facts->load([commission(['A1'])]);
    $facts->unpark;
    is($sv->sql('select missing from sv.parked'), 2, 'two are missing');

    $sv->sql(q{update sv.parked set deadline = now()});
    $facts->unpark;
    $facts->unpark;
    is(join(' ', $sv->sql(q{select count(*), min(detail ->> 'file'), min(detail ->> 'missing'), min(detail ->> 'serials') from sv.finding where rule = 'commissioning_missing'})),
        qq{1 p 2 ["$sscc[0]", "A2"]}, 'at the deadline one finding');

    $facts->load([commission(['A2']), {step => 'commissioning', items => [$sscc[0]], container => 1}]);
    $sv->sql('update sv.parked set next_at = now()');
    $sv->start_worker(roles => 'housekeeping', redis => undef);
    wait_for { $sv->sql('select count(*) from sv.parked') == 0 } 'housekeeping';
    $sv->stop('worker');
    is($sv->sql('select count(*) from sv.parked'), 0, 'when all are there it waits no more');
    ok($sv->sql(q{select jsonb_exists(detail, 'resolved') from sv.finding}), 'and the finding says so');
};

subtest 'seen, reused, unknown' => sub {
    $facts->forget;
    my $event = commission(['A1'], id => 'e');
    $facts->load([$event], name => 'a');
    my $done = $facts->load([$event, commission(['A1', 'A2'], id => 'e'), commission(['A3'])], name => 'b');
    is("$done->{seen} $done->{reused} $done->{refused}[0][0]", '1 1 event_id_reused', 'the same again, and other facts under its identity');
    is(state_of('A2') . state_of('A3'), 'noneactive', 'only what is new is merged');

    $done = $facts->load([{step => 'shipping', items => ['A1', '9506000134376/X']}, {step => 'shipping', items => ['A3']}, commission(['A4', '9506000134376/X4'])], name => 'c');
    is("$done->{aside} $done->{claimed}", '2 1', 'an event that names an unknown product is left away whole');
    is(join(' ', @{$done->{unknown}[0]}), '9506000134376 product_unknown 2', 'which is told');
    is(state_of('A4'), 'none', 'its other items, too');
    $sv->product(9506000134376);
    $done = $facts->load([{step => 'shipping', items => ['A1', '9506000134376/X']}, {step => 'shipping', items => ['A3']}, commission(['A4', '9506000134376/X4'])], name => 'c');
    is("$done->{seen} $done->{claimed} " . state_of('A4'), '1 2 active', 'delivered again, when it is known, the rest is merged');
    $sv->sql('update sv.product set deleted = true where gtin = 9506000134376');
};

subtest 'one company' => sub {
    $facts->forget;
    $facts->load([{step => 'packing', items => ["$other/B1", 'A1'], parent => $sscc[0], time => '2026-11-01T08:00:00Z'}, commission(["$other/B1", 'A1', 'A2'], id => 'both')]);

    my $done = $facts->load([{step => 'destroying', items => ["$other/B1"]}, {step => 'destroying', items => [$sscc[0]]}, {step => 'unpacking', parent => $sscc[0]},
        {step => 'destroying', items => ['A2']}, {%{commission(["$other/B1", 'A1', 'A2'], id => 'both')}, error => {reason => 'did_not_occur'}}], company => 'acme');
    is_deeply([sort map { $_->[0] } @{$done->{refused}}], ['not_permitted', 'not_permitted'], 'a container with packs of another is not touched');
    is_deeply([map { $_->[1] } @{$done->{unknown}}], ['not_permitted'], 'nor its packs');
    is(join(' ', map { $sv->sql('select state from sv.pack where serial = ?', $_) } qw(B1 A1 A2)), 'active active destroyed', 'only its own');

    # the container is filled only later
    $facts->load([{step => 'destroying', items => [$sscc[5]], time => '2026-11-05T00:00:00Z'}], company => 'acme');
    $facts->load([{step => 'packing', items => ["$other/B1", 'A1'], parent => $sscc[5], time => '2026-11-04T00:00:00Z'}]);
    is(join(' ', map { $sv->sql('select state from sv.pack where serial = ?', $_) } qw(B1 A1)), 'active destroyed', 'nor when it comes to be in a container afterwards');

    my $mine = commission(['A5'], id => 'mine');
    $facts->load([$mine], company => 'acme');
    $facts->load([{%{$mine}, error => {reason => 'did_not_occur'}}], company => 'acme');
    is(state_of('A5'), 'void', 'it may take back what is its own');

    $facts->load([commission(["$other/B7"], id => 'theirs')], company => 'other');
    $done = $facts->load([{%{commission(['A6'], id => 'theirs')}, error => {reason => 'did_not_occur'}}], company => 'acme');
    is($done->{refused}[0][0], 'not_permitted', 'not an event of another under its identity');
    is($sv->sql('select state from sv.pack where serial = ?', 'B7'), 'active', 'whose pack stays');
};

subtest 'killed anywhere' => sub {
    my $wrong = commission([qw(A1 A2)], id => 'w', lot => 'W');
    my @events = (commission([map { "C$_" } 1 .. 5]), $wrong, {%{$wrong}, error => {reason => 'x'}}, {step => 'packing', items => [qw(C1 C2)], parent => $sscc[0]},
        {step => 'destroying', items => [$sscc[0]], time => '2026-11-02T00:00:00Z'}, {step => 'decommissioning', items => ['C3']},
        {step => 'shipping', items => ['C4']}, {step => 'unpacking', parent => $sscc[3]});

    $facts->forget;
    $facts->load(\@events, name => 'whole');
    my $whole = $facts->tables;

    for my $until ($ENV{SV_TEST_ALL} ? qw(ready claim lots 1 2 3 4 5 6 7) : qw(ready claim lots 1 3 5)) {
        $facts->forget;
        $facts->load(\@events, name => 'k', until => $until, limit => 2);
        $facts->load(\@events, name => 'k', until => $until, limit => 2);
        $facts->load(\@events, name => 'k', limit => 2);
        is_deeply($facts->tables, $whole, "after $until") or last;
    }

    is($sv->sql(q{select count(*) from sv.audit where operation = 'load_done'}), 1, 'the end is audited once');
};

# Two sessions with the same GTINs at the same time: forked, in lock step by a lock held until both wait.
sub race {
    my ($n, @loads) = @_;

    my $dbh = $sv->new_dbh;
    $dbh->begin_work;
    $dbh->do('insert into sv.feed_gtin (gtin) values (?) on conflict do nothing', undef, $gtin);
    $dbh->do('select from sv.feed_gtin where gtin = ? for update', undef, $gtin);

    my @pids;

    for my $load (@loads) {
        my $pid = fork // die "fork: $!";

        if ($pid == 0) {
            my $own = $sv->new_dbh;
            my $ok;

            # who has to wait for another load begins again, as the worker does
            for (1 .. 1000) {
                $ok = eval { $facts->load(@{$load}, dbh => $own); 1 };
                last if $ok || $own->state ne '40001';
                $own->do('select sv.stage_drop(s.stage) from sv.load_stage s where s.pid = pg_backend_pid() and not s.free');
            }

            print STDERR "# $@" if !$ok;
            $own->disconnect;
            POSIX::_exit($ok ? 0 : 1);
        }

        push @pids, $pid;
    }

    wait_for { $sv->sql(q{select count(*) from pg_stat_activity where wait_event_type = 'Lock'}) >= @loads } 'both to wait' if $n;
    $dbh->commit;
    $dbh->disconnect;

    my $failed = 0;

    for my $pid (@pids) {
        waitpid $pid, 0;
        $failed++ if $?;
    }

    return $failed;
}

subtest 'races' => sub {
    my $made   = commission([map { "A$_" } 1 .. 5], id => 'c');
    my $error  = {%{$made}, error => {reason => 'x'}};
    my $packed = {step => 'packing', items => [qw(A1 A2)], parent => $sscc[0]};
    my $ended  = {step => 'destroying', items => [$sscc[0]], time => '2026-11-02T00:00:00Z'};

    my @pairs = (
        [commission => [[$made], [{step => 'decommissioning', items => ['A1']}]]],
        [error      => [[$made], [$error]]],
        [twice      => [[$made], [$made]]],
        [pallet     => [[$made], [$packed], [$ended]]],
        [all        => [[$made, $packed], [$ended, $error], [$packed, $made]]],
    );

    for my $pair (@pairs) {
        my ($name, $files) = @{$pair};

        $facts->forget;
        $facts->load($files->[$_], name => "$name $_") for 0 .. $#{$files};
        my $one = $facts->tables;

        for my $round (1 .. ($ENV{SV_TEST_ALL} ? 20 : 2)) {
            $facts->forget;
            my $failed = race($name eq 'commission', map { [$files->[$_], name => "$name $_"] } shuffle(0 .. $#{$files}));
            is($failed, 0, "$name: nobody fails");
            is_deeply($facts->tables, $one, "$name: the same, round $round") or last;
        }
    }
};

$sv->done_testing;
