#!/usr/bin/env perl

# A recall names a range or a list of serials: it counts at every gateway within
# a second, whatever Redis or the gateway's memory hold, and for an operation at
# once.  Who may lift what, and which of several recalls stands.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(time);
use Test::SerialVerify;

my $gtin     = 9506000134352;
my $other    = 9506000134369;
my @gateways = qw(north south);

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($_) for $gtin, $other;

my $pharmacy = $sv->actor('pharmacy', country => 'IT');
my $key      = $pharmacy->{key};
my $keys     = 0;

$sv->pack_row($gtin,  $_) for qw(A1 A5 A9 A10 a5 B5 B6 L1 L2 L3 X1);
$sv->pack_row($other, 'A5');
$sv->start_nginx(name => $_, workers => 2) for @gateways;


sub verify {
    my ($serial, %option) = @_;

    return $sv->get($sv->link_to($option{gtin} // $gtin, $serial, lot => $option{lot} // 'LOT1'), key => $key, nginx => 'north', %option);
}


# "reason, reference"
sub said {
    my ($answer) = @_;

    return join ', ', grep { defined } @{$answer->{json}}{qw(reason reference)} if $answer->{json};
    return "status $answer->{status}";
}


# What all worker processes of all gateways say, in one text if they agree.
sub everywhere {
    my ($serial, %option) = @_;

    my %seen = map { said($_) => 1 } $sv->parallel(map { my $g = $_; map { ['GET', $sv->link_to($gtin, $serial),
        (exists $option{key} ? () : (key => $key)), %option, nginx => $g] } 1 .. 4 } @gateways);

    return join ' and ', sort keys %seen;
}


sub within_a_second {
    my ($change, $serial, $said, $text) = @_;

    my ($took, $last) = $sv->said_after(change => $change, ask => sub { everywhere($serial) }, said => $said, within => 1);

    is($last, $said, "$text: everywhere");
    cmp_ok($took, '<', 1, sprintf '%s: within a second (%.2f s)', $text, $took);

    return;
}


sub post {
    my ($serial, %option) = @_;

    my $operation = $option{operation} // 'supply';
    my $occurred  = $option{occurred_at} ? qq(,"occurred_at":"$option{occurred_at}") : '';

    return $sv->post($sv->link_to($gtin, $serial, lot => $option{lot} // 'LOT1'), qq({"operation":"$operation"$occurred}),
        key => $key, nginx => 'north', idempotency => $option{idempotency} // 'try-' . ++$keys);
}


# as the worker calls it
sub call {
    my ($function, @arguments) = @_;

    my $row = eval { $sv->dbh('sv_worker')->selectrow_hashref("select r.* from sv.$function(" . join(', ', ('?') x @arguments) . ') r',
        undef, @arguments) };

    return $row ? $row : {error => $sv->dbh('sv_worker')->state . ' ' . ($sv->dbh('sv_worker')->errstr =~ /^ERROR:\s+(.*)/)[0]};
}

# Every gateway has copied what was changed until now.
sub copied {
    my $number = $sv->sql('select n from sv.ref_clock');

    for my $gateway (@gateways) {
        Test::SerialVerify::wait_for { $sv->figure('reference_data', 'change', {nginx => $gateway}) >= $number } "the copy of $gateway";
    }

    return;
}

sub lift { return call('lift', $_[0], $_[1] // 'all is well', 'test') }
sub mark { return $sv->sql('select partly_recalled from sv.product where gtin = ?', $gtin) }


is(everywhere($_), 'ok', "$_: nothing is recalled") for qw(A1 A5);
Test::SerialVerify::wait_for { $sv->cached($gtin, 'A5') } 'entries in the cache';


subtest 'a range' => sub {
    my $range;

    within_a_second(sub { $range = call('recall_range', $gtin, 'A2', 'A9', 'glass', 'R-1', 'test') }, 'A5', 'recalled, glass (R-1)', 'recalled');
    ok($range->{made}, 'a recall was made');
    ok(my %old = $sv->cached($gtin, 'A5'), 'the cache still says active');
    like(join('', values %old), qr/^1 a /, 'as before');
    is(everywhere('A9'), 'recalled, glass (R-1)', 'with its end');
    is(everywhere($_), 'ok', "not $_: " . {A1 => 'before it', A10 => 'another length', a5 => 'bytes, not letters', B5 => 'behind it'}->{$_})
        for qw(A1 A10 a5 B5);
    is(said(verify('A5', gtin => $other)), 'ok', 'nor the same serial of another product');
    is(said(verify('A7', lot => 'LOT1')), 'serial_unknown', 'one that is not commissioned is unknown');
    $sv->pack_row($gtin, 'A7');
    is(said(verify('A7')), 'recalled, glass (R-1)', 'and recalled when it is commissioned');
    ok(!$sv->cached($gtin, 'A7'), 'nothing fills the cache');
    is(said(verify('A5', lot => 'LOT2')), 'lot_mismatch', 'who presents a wrong lot learns nothing of it');

    my $again = call('recall_range', $gtin, 'A2', 'A9', 'glass', 'R-1', 'test');
    is_deeply([@{$again}{qw(recall_id made n)}], [$range->{recall_id}, 0, undef], 'the same again is the same');
    my $worded = call('recall_range', $gtin, 'A2', 'A9', 'glass splinters', 'R-1', 'test');
    is_deeply([@{$worded}{qw(recall_id made)}], [$range->{recall_id}, 0], 'with another reason, too');
    is(said(verify('A5')), 'recalled, glass splinters (R-1)', 'which is told');

    within_a_second(sub { lift($range->{recall_id}) }, 'A5', 'ok', 'lifted');
    is(mark(), 0, 'the product is no longer marked');
    is(lift($range->{recall_id})->{r}, undef, 'lifted again for the same reason: nothing happens');
    like(lift($range->{recall_id}, 'another')->{error}, qr/^55000 recall: it was lifted at /, 'for another: told');
};


subtest 'the first answers after the commit' => sub {
    my $range;

    for my $round (1 .. 20) {
        $range = call('recall_range', $gtin, 'B5', 'B5', "round $round", undef, 'test');
        is(said(post('B5')), "recalled, round $round", "an operation begun after it is refused, round $round");
        lift($range->{recall_id});
    }

    is(verify('B5')->{json}{state}, 'active', 'and none of them was done');
};


subtest 'what Redis and this process remember' => sub {
    my $list = call('recall_serials', $gtin, ['L1', 'L2', 'L1'], 'stolen', undef, 'test');
    is($sv->sql('select n from sv.recall where recall_id = ?', $list->{recall_id}), 2, 'a serial that comes twice counts once');
    copied();
    is(everywhere('L3'), 'ok', 'one that is not in it');

    # an entry that says active, written by whoever, is not even asked for
    my $sources = sub {
        my $metrics = $sv->get('/metrics', nginx => 'north')->{body};
        return join ' ', map { $metrics =~ /lookups_total\{source="$_"\} (\d+)/ ? "$_ $1" : () } qw(cache memory);
    };

    my $before = $sources->();
    verify('L1') for 1 .. 3;
    $sv->get($sv->link_to($gtin, 'L1'), nginx => 'north') for 1 .. 3;
    is($sources->(), $before, 'neither cache nor memory answer');
    is(everywhere('L1', key => undef), 'recalled, stolen', 'the public is told, too');

    $sv->pause('redis');
    is(everywhere('L1'), 'recalled, stolen', 'with a Redis that does not answer');
    $sv->resume('redis');

    lift($list->{recall_id});
    copied();
    Test::SerialVerify::wait_for { everywhere('L1'); $sv->cached($gtin, 'L1') } 'an entry of L1';

    $sv->kill9('redis');
    within_a_second(sub { $list = call('recall_serials', $gtin, ['L1'], 'stolen', undef, 'test') }, 'L1', 'recalled, stolen', 'Redis dead');
    within_a_second(sub { lift($list->{recall_id}) }, 'L1', 'ok', 'lifted');
    $sv->start_redis;
};


subtest 'a burst of the public while a recall arrives' => sub {
    my @asked = map { ['GET', $sv->link_to($gtin, 'L3'), nginx => 'north'] } 1 .. 20;
    $sv->parallel(@asked);
    my $list = call('recall_serials', $gtin, ['L3'], 'stolen', undef, 'test');
    copied();
    my $from = time;
    my @late;

    # what is remembered of an answer to the public is a second old at most
    while (!@late || time - $from < 2) {
        my $begun = time;
        my %seen = map { said($_) => 1 } $sv->parallel(@asked[0 .. 7]);
        push @late, keys %seen if $begun - $from > 1;
    }

    is_deeply([grep { $_ ne 'recalled, stolen' } @late], [], 'nobody is told anything else');
    lift($list->{recall_id});
};


subtest 'without PostgreSQL' => sub {
    my $list = call('recall_serials', $gtin, ['L1'], 'stolen', undef, 'test');
    copied();
    Test::SerialVerify::wait_for { verify('A5', gtin => $other); $sv->cached($other, 'A5') } 'an entry of another product';
    $sv->pause('postgres');
    is(verify('A1')->{status}, 503, 'a cached pack of the product cannot be told');
    is(said(verify('A5', gtin => $other)), 'ok', 'one of another product can');
    $sv->resume('postgres');
    Test::SerialVerify::wait_for { said(verify('A1')) eq 'ok' } 'the answer';
    lift($list->{recall_id});
};


subtest 'an outcome tells why, also when it is replayed' => sub {
    my $range = call('recall_range', $gtin, 'B5', 'B5', 'glass', 'R-2', 'test');
    my $first = post('B5', idempotency => 'why');
    is($first->{status}, 409, 'refused');
    is(said($first), 'recalled, glass (R-2)', 'with reason and reference');
    lift($range->{recall_id});
    is(post('B5', idempotency => 'why')->{body}, $first->{body}, 'the replay says the same, though it was lifted');

    $range = call('recall_serials', $gtin, ['B5'], 'glass', 'R-3', 'test');
    copied();
    my $lines = $sv->request('POST', '/packs', key => $key, nginx => 'north', body => [
        {operation => 'verify', scan => "(01)0$gtin(21)B5(17)301231(10)LOT1"},
        {operation => 'supply', key => 'p-1', scan => "(01)0$gtin(21)B5(17)301231(10)LOT1"},
        {operation => 'verify', scan => "(01)0$gtin(21)A10(17)301231(10)LOT1"}]);
    is_deeply([map { join ' ', grep { defined } @{$_}{qw(status reason reference)} } @{$lines->{json}{results}}],
        ['200 recalled glass (R-3)', '409 recalled glass (R-3)', '200 ok'], 'lines of a list') or diag($lines->{body});
    lift($range->{recall_id});

    my $long = call('recall_serials', $gtin, ['B5'], 'z' x 290 . "\x{e9}" x 5, 'REFERENCE-7', 'test');
    copied();
    like(verify('B5')->{json}{reference}, qr/^z{100,}\.\.\. \(REFERENCE-7\)$/, 'of a long reason the beginning, and the reference');
    is(verify('B5')->{json}{reference}, post('B5')->{json}{reference}, 'an outcome likewise');
    lift($long->{recall_id});
};


subtest 'offline replays' => sub {
    $sv->pack_row($gtin, "OFF$_") for 1 .. 3;
    my $ago = sub { return $sv->sql(q{select to_char((clock_timestamp() + ?::interval) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')}, $_[0]) };
    my $before = $ago->('-1 hour');
    my $range  = call('recall_range', $gtin, 'OFF1', 'OFF3', 'glass', undef, 'test');

    is(said(post('OFF1', occurred_at => $before)), 'ok', 'supplied before the recall');
    is($sv->sql(q{select rule from sv.finding where serial = 'OFF1'}), 'supplied_before_recall', 'with a finding');
    is(said(post('OFF2', occurred_at => $ago->('1 second'))), 'recalled, glass', 'after it: refused');
    lift($range->{recall_id});
    is(said(post('OFF2', occurred_at => $ago->('1 second'))), 'ok', 'lifted');
};


# Every combination of a lot's recall, a range, a list and a withdrawal, made in
# every order of two: the gateway's verdict (C) and an operation's (SQL) agree.
subtest 'verdict and operation agree' => sub {
    my ($n, @different) = 0;
    my %seen;

    for my $first (qw(none lot range list product)) {
        for my $second (qw(none lot range list product)) {
            for my $state (qw(active supplied expired)) {
                my $serial = sprintf 'M%03d', ++$n;
                my $lot    = "M$n";
                my $expiry = $state eq 'expired' ? '2020-01-31' : '2030-12-31';
                my %make   = (
                    none    => sub { },
                    lot     => sub { call('recall_lot', $gtin, $lot, "lot $n", undef, $_[0]) },
                    range   => sub { call('recall_range', $gtin, $serial, $serial, "range $n", "R$n", $_[0]) },
                    list    => sub { call('recall_serials', $gtin, [$serial, 'M999'], "list $n", undef, $_[0]) },
                    product => sub { call('withdraw_product', $gtin, "product $n", undef, $_[0]) },
                );

                $sv->pack_row($gtin, $serial, lot => $lot, expiry => $expiry, state => $state eq 'supplied' ? 'supplied' : 'active', version => 1);
                $make{$_}->('test') for $first, $second;
                copied();

                my $link = $sv->link_to($gtin, $serial, lot => $lot, expiry => $state eq 'expired' ? '200131' : '301231');
                my $c    = said($sv->get($link, key => $key, nginx => 'north'));
                my $sql  = $sv->dbh('sv_gateway')->selectrow_hashref('select reason, reference from sv.operate(?, ?, ?, ?, ?, null, ?, ?, ?, ?, null, null, gen_random_uuid(), ?)',
                    undef, $gtin, $serial, $lot, $expiry, 'verify', $pharmacy->{id}, 'agree-' . $n, 'f' x 64, 'scanned', 'r-1');
                $sql = join ', ', grep { defined } @{$sql}{qw(reason reference)};

                $seen{$c =~ s/ \d+| \(.*//gr}++;
                push @different, "$first, $second, $state: C $c, SQL $sql" if $c ne $sql;

                $sv->sql('select sv.lift(recall_id, ?, ?) from sv.recall where lifted_at is null', 'next', 'test');
            }
        }
    }

    is($n, 75, '75 combinations');
    is_deeply(\@different, [], 'the same reason and reference') or diag(join "\n", @different);
    is_deeply([sort keys %seen], ['already_supplied', 'expired', 'ok', 'recalled, list', 'recalled, lot', 'recalled, range', 'withdrawn, product'],
        'every verdict is reached');
};


subtest 'recalls that overlap' => sub {
    my $list = call('recall_serials', $gtin, ['X1'], 'first', undef, 'test');
    my $lot  = call('recall_lot', $gtin, 'LOT1', 'second', undef, 'test');
    my $range = call('recall_range', $gtin, 'X1', 'X9', 'third', undef, 'test');
    copied();

    is(everywhere('X1'), 'recalled, first', 'the earliest stands');
    lift($list->{recall_id});
    is(everywhere('X1'), 'recalled, second', 'then the next');
    call('lift_recall', $gtin, 'LOT1', 'well', 'test');
    copied();
    is(everywhere('X1'), 'recalled, third', 'and the last');
    is(mark(), 1, 'still marked');
    lift($range->{recall_id});
    is(mark(), 0, 'no longer marked');
};


subtest 'who may lift' => sub {
    my %who = map { $_ => $sv->actor($_, company => $_ eq 'authority' ? undef : 'acme') } qw(manufacturer authority pharmacy operator);
    my $rival = $sv->actor('manufacturer', company => 'rival');
    my $sister = $sv->actor('manufacturer', company => 'acme');

    my $api = sub {
        my ($function, @arguments) = @_;
        my $row = eval { $sv->dbh('sv_api')->selectrow_hashref("select r.* from sv.$function(" . join(', ', ('?') x @arguments) . ') r', undef, @arguments) };
        return $row // {error => $sv->dbh('sv_api')->state};
    };
    my $make = sub { my ($by, $kind, %what) = @_; return $api->('api_recall', $by->{id}, $gtin, $kind, @what{qw(lot from to serials)}, 'why', undef, 'r-1') };
    my $lift = sub { my ($by, $id) = @_; my $row = $api->('api_lift', $by->{id}, $id, 'well', 'r-1'); return $row->{error} // ($row->{r} ? 'lifted' : 'already') };
    my $old  = sub { $sv->sql(q{update sv.recall set at = at - ?::interval where recall_id = ?}, $_[1], $_[0]) };

    is($make->($who{$_}, 'lot', lot => 'LIFT')->{error}, '42501', "a $_ recalls nothing") for qw(pharmacy operator);
    is($make->($rival, 'lot', lot => 'LIFT')->{error}, '42501', 'nor a manufacturer of another company');
    is($api->('api_recalls', $who{pharmacy}{id}, $gtin, undef, undef, 10)->{error}, '42501', 'a pharmacy sees none');

    my %what = (lot => {lot => 'LIFT'}, range => {from => 'Z1', to => 'Z9'}, serials => {serials => ['Z5', 'z']}, product => {});

    for my $kind (sort keys %what) {
        my $id = $make->($who{manufacturer}, $kind, %{$what{$kind}})->{recall_id};
        ok($id, "$kind: recalled by its manufacturer");
        is($lift->($who{$_}, $id), '42501', "$kind: a $_ does not lift it") for qw(pharmacy operator);
        is($lift->($rival, $id), 'P0002', "$kind: nor another company, which does not even see it");
        $old->($id, '23 hours 59 minutes');
        is($lift->($sister, $id), 'lifted', "$kind: another site of the company does, within a day");

        $id = $make->($who{manufacturer}, $kind, %{$what{$kind}})->{recall_id};
        $old->($id, '24 hours 1 minute');
        is($lift->($who{manufacturer}, $id), '42501', "$kind: not later");
        my $theirs = $make->($who{authority}, $kind, %{$what{$kind}})->{recall_id};
        isnt($theirs, $id, "$kind: the authority's is another recall");
        is($lift->($who{manufacturer}, $theirs), '42501', "$kind: which a manufacturer does not lift");
        is($lift->($who{authority}, $id), 'lifted', "$kind: the authority lifts the manufacturer's");
        is($lift->($who{authority}, $theirs), 'lifted', "$kind: and its own");
        is($lift->($who{authority}, $theirs), 'already', "$kind: again");
    }

    is($sv->sql('select count(*) from sv.recall where lifted_at is null'), 0, 'nothing is left');
    is(join(' ', map { $_ // '-' } $sv->sql('select recalled_at, (select withdrawn_at from sv.product where gtin = l.gtin) from sv.lot l where lot = ?', 'LIFT')), '- -', 'of lot and product neither');
    is($sv->sql(q{select count(*) from sv.audit where kind = 'recall' and request_id = 'r-1' and location_id is not null and actor is null}), 6 * 4, 'all of it is audited');

    $sv->sql(q{update sv.recall_lift_rule set own = false, hours = 1 where role = 'operator' and kind = 'lot'});
    my $id = $make->($who{manufacturer}, 'lot', lot => 'LIFT')->{recall_id};
    $old->($id, '2 hours');
    like(lift($id)->{error}, qr/^42501 recall: it may be lifted within 1 hours/, 'the rules are a table');
    like(call('lift_recall', $gtin, 'LIFT', 'well', 'test')->{error}, qr/^42501 /, 'for each of the commands');
    $sv->sql(q{update sv.recall_lift_rule set hours = null where role = 'operator' and kind = 'lot'});
    ok(lift($id)->{r}, 'lifted');
};


subtest 'what is no recall' => sub {
    my @bad = (
        ['recall_range',   [$gtin, 'A1', 'A10', 'x'],       qr/^22023 to: has 3 characters, from has 2: /],
        ['recall_range',   [$gtin, 'A9', 'A1', 'x'],        qr/^22023 to: comes before from/],
        ['recall_range',   [$gtin, 'a1', 'B1', 'x'],        qr/^22023 to: comes before from/],
        ['recall_range',   [$gtin, 'A 1', 'A 2', 'x'],      qr/^22023 from: 1 to 20 characters/],
        ['recall_range',   [$gtin, 'A1', undef, 'x'],       qr/^22023 to: 1 to 20 characters/],
        ['recall_range',   [$gtin, 'A1', 'A9', ' '],        qr/^22023 reason: is missing/],
        ['recall_serials', [$gtin, [], 'x'],                qr/^22023 serials: is empty/],
        ['recall_serials', [$gtin, undef, 'x'],             qr/^22023 serials: is empty/],
        ['recall_serials', [$gtin, ['A', "B\x{e9}"], 'x'],  qr/^22023 serials: number 2 \('B\x{e9}'\) is none/],
        ['recall_serials', [$gtin, ['A', undef], 'x'],      qr/^22023 serials: number 2 \(null\) is none/],
        ['recall_serials', [9506000134376, ['A'], 'x'],     qr/^P0002 gtin: there is no product/],
        ['lift',           ['0d5a4f0e-6c0b-4d0b-9f39-3f6f0c6f9a05', 'x'], qr/^P0002 recall: there is no recall/],
    );

    like(call($_->[0], @{$_->[1]})->{error}, $_->[2], "$_->[0]: $_->[2]") for @bad;
};


subtest 'a list of 100,000' => sub {
    my @serials = map { sprintf 'N%06d', $_ } 1 .. 100_000;
    $sv->pack_row($gtin, 'N050000');
    my $list;

    my $start = time;
    within_a_second(sub { $list = call('recall_serials', $gtin, \@serials, 'many', undef, 'test') }, 'N050000', 'recalled, many', '100,000 serials');
    note(sprintf '%.2f s with the recall itself', time - $start);
    is(said(verify('A10')), 'ok', 'others are as they were');
    is($sv->sql(q{select detail ->> 'n' from sv.audit where operation = 'recall_serials' order by at desc limit 1}), 100_000, 'the audit has their number');
    lift($list->{recall_id});

    like(call('recall_serials', $gtin, [@serials, 'N999999'], 'many', undef, 'test')->{error},
        qr/^54000 serials: 100001 serials are too many for a list, at most 100000 are allowed: recall the lot, or a range/, 'one more: recall the lot');
    is($sv->sql('select count(*) from sv.recall where lifted_at is null'), 0, 'and nothing is recalled');
};


subtest 'commands' => sub {
    my $works = sub { my ($text, @arguments) = @_; my ($code, $output) = $sv->command(@arguments); is($code, 0, "@arguments: done"); like($output, $text, "@arguments: says so"); return $output };
    my $fails = sub { my ($code, $text, @arguments) = @_; my ($got, $output) = $sv->command(@arguments); is($got, $code, "@arguments: exit $code"); like($output, $text, "@arguments: says why"); return };
    my @of    = ('--gtin', $gtin, '--reason', 'glass');

    my $said = $works->(qr/^0$gtin serials "A1" to "A9" are recalled \[[0-9a-f-]{36}\]$/, 'recall', @of, '--from', 'A1', '--to', 'A9', '--reference', 'R-9');
    my ($id) = $said =~ /\[(.*)\]/;
    is(said(post('A5')), 'recalled, glass (R-9)', 'it is');
    $works->(qr/were recalled already, with the same reason \[$id\]/, 'recall', @of, '--from', 'A1', '--to', 'A9', '--reference', 'R-9');
    $works->(qr/were recalled already, the reason is replaced \[$id\]/, 'recall', @of, '--from', 'A1', '--to', 'A9');
    $works->(qr/^recall .*\n$id  \S+  0$gtin  A1 to A9 +operator \S+ +glass$/, 'recall', '--list', '--gtin', $gtin);
    $works->(qr/^recall $id is lifted$/, 'lift-recall', '--id', $id, '--reason', 'well');
    $works->(qr/^recall $id was lifted already$/, 'lift-recall', '--id', $id, '--reason', 'well');
    $works->(qr/\Arecall [^\n]*\n\z/, 'recall', '--list');

    my $file = $sv->write_file('serials.txt', "\xef\xbb\xbfA5\r\nB5\n\nA5\nB6");
    $said = $works->(qr/line 4: "A5" is in line 1 already\n.*1 lines name a serial again\n0$gtin serials of the list are recalled/, 'recall', @of, '--serials', $file);
    is_deeply($sv->dbh->selectcol_arrayref('select serial from sv.recall_serial s join sv.recall r using (gtin, recall_id) where r.lifted_at is null order by 1'), [qw(A5 B5 B6)], 'the list');
    $works->(qr/3 serials/, 'recall', '--list');

    $fails->(2, qr/line 2: "B 5": .*\n.*line 3: "B\\xc3\\xa9": .*\n.*line 4: "x{21,}.*\n.*line 5: "A\\x005"/s, 'recall', @of, '--serials',
        $sv->write_file('bad.txt', "A5\nB 5\nB\xc3\xa9\n" . 'x' x 100_000 . "\nA\x005\n"));
    $fails->(2, qr/there is no serial in it/, 'recall', @of, '--serials', $sv->write_file('empty.txt', "\n\n"));
    $fails->(2, qr/No such file/, 'recall', @of, '--serials', '/nowhere');
    $fails->(2, qr/100001 serials are too many for a list, at most 100000 are allowed: recall the lot/, 'recall', @of, '--serials',
        $sv->write_file('many.txt', join '', map { "N$_\n" } 1 .. 100_001));
    $fails->(2, qr/there is no serial in it/, 'recall', @of, '--serials', '-');
    $fails->(2, qr/recall needs --lot, or --from and --to, or --serials/, 'recall', @of);
    $fails->(2, qr/recall needs --lot, or --from and --to, or --serials/, 'recall', @of, '--from', 'A1');
    $fails->(2, qr/recall needs --lot, or --from and --to, or --serials/, 'recall', @of, '--lot', 'A1', '--serials', $file);
    $fails->(2, qr/to: has 3 characters/, 'recall', @of, '--from', 'A1', '--to', 'A10');
    $fails->(2, qr/lift-recall needs --id, or --gtin and --lot/, 'lift-recall', '--reason', 'x');
    $fails->(2, qr/uuid/, 'lift-recall', '--id', 'x', '--reason', 'x');
    $fails->(1, qr/there is no recall/, 'lift-recall', '--id', '0d5a4f0e-6c0b-4d0b-9f39-3f6f0c6f9a05', '--reason', 'x');
    $sv->sql('select sv.lift(recall_id, ?, ?) from sv.recall where lifted_at is null', 'next', 'test');
};


# Two at once: one row each, no deadlock, and the mark is that of what is left.
subtest 'many at the same time' => sub {
    my @children;

    for my $w (1 .. 4) {
        my $pid = fork // die "fork: $!";

        if ($pid == 0) {
            my $db = $sv->new_dbh('sv_worker');
            my $ok = eval {
                for my $i (1 .. 25) {
                    my ($id) = $db->selectrow_array('select recall_id from sv.recall_range(?, ?, ?, ?)', undef, $gtin, 'Q1', 'Q' . ($i % 3 + 1), "by $w");
                    $db->do('select sv.recall_lot(?, ?, ?)', undef, $gtin, 'QUEUE', "by $w");
                    eval { $db->do('select sv.lift(?, ?, ?)', undef, $id, "by $w", "w$w"); 1 } or $db->state eq '55000' or die $db->errstr;
                    eval { $db->do('select sv.lift_recall(?, ?, ?)', undef, $gtin, 'QUEUE', "by $w"); 1 } or $db->state eq '55000' or die $db->errstr;
                }
                1;
            };
            print {*STDERR} "child: $@\n" if !$ok;
            POSIX::_exit($ok ? 0 : 1);
        }

        push @children, $pid;
    }

    is(join(' ', map { waitpid $_, 0; $? } @children), '0 0 0 0', 'none failed');
    is(mark(), $sv->sql(q{select count(*) > 0 from sv.recall where lifted_at is null and kind in ('range', 'serials') and gtin = ?}, $gtin), 'the mark is right');
    is($sv->sql('select recalled_at is not null from sv.lot where lot = ?', 'QUEUE'),
        $sv->sql(q{select count(*) > 0 from sv.recall where lifted_at is null and lot = 'QUEUE'}), 'the lot, too');
};

$sv->done_testing;
