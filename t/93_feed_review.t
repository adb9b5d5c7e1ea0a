#!/usr/bin/perl

# Ways in which a feed's facts could get lost, or be made undone: interrupted
# loads whose files never come back, files that are delivered again, undo at the
# counter.  And a plain day of a line, of which nobody should have to hear.

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
my $sv    = Test::SerialVerify->new;

$sv->start_postgres;
$sv->product($gtin, company => 'acme');

my $facts    = Test::SerialVerify::Facts->new($sv, gtin => $gtin);
my $pharmacy = $sv->location(role => 'pharmacy');
my @sscc     = map { sprintf '0950600000000%05d', $_ } 0 .. 9;
my $keys     = 0;


sub state_of { my ($serial) = @_; return $sv->sql('select state from sv.pack where gtin = ? and serial = ?', $gtin, $serial) // 'none' }

sub operate {
    my ($serial, $operation, $of) = @_;

    return join ' ', $sv->sql(
        q{select reason, state, changed from sv.operate(?, ?, 'L1', '2030-12-31', ?, ?, ?, ?, 'f', 'scan', null, null, gen_random_uuid(), null)},
        $gtin, $serial, $operation, $of, $pharmacy, 'key ' . ++$keys);
}

sub told { my ($step, $items, %more) = @_; return {step => $step, items => $items, time => '2026-11-01T08:00:00Z', %more} }


subtest 'an undo takes back nothing that a feed said' => sub {
    $facts->load([told('commissioning', [map { "U$_" } 1 .. 5])]);

    my @case = (['U1', 'supply', 'dispensing'], ['U2', 'supply', 'sampling'], ['U3', 'sample', 'sampling'], ['U4', 'export', 'dispensing']);

    for (@case) {
        my ($serial, $operation, $step) = @{$_};
        my $event = told($step, [$serial], id => "end of $serial");

        $sv->sql(q{update sv.location set role = ? where location_id = ?}, $operation eq 'export' ? 'wholesaler' : 'pharmacy', $pharmacy);
        like(operate($serial, $operation), qr/^ok \w+ 1$/, "$operation at the counter");
        my $before = state_of($serial);
        $facts->load([$event]);
        is(state_of($serial), $before, "$step is not stronger");
        is(operate($serial, 'undo', $operation), "undo_elsewhere $before 0", 'but it is not undone');
        is(state_of($serial), $before, 'nor active');

        $facts->load([{%{$event}, error => {reason => 'did_not_occur'}}]);
        is(operate($serial, 'undo', $operation), 'ok active 1', 'until it is declared an error');
    }

    is(operate('U5', 'lock'), 'ok locked 1', 'locked');
    $facts->load([told('decommissioning', ['U5'])]);
    is(operate('U5', 'undo', 'lock'), 'destroyed destroyed 0', 'what is stronger stands');
};

subtest 'rejected in the file that commissions it' => sub {
    my @file = (told('commissioning', ['R1', 'R2']), told('decommissioning', ['R1'], time => '2026-11-01T09:00:00Z'));

    $facts->load(\@file, name => 'rejects', until => 'lots');
    is(join(' ', map { state_of($_) } qw(R1 R2)), 'destroyed active', 'it is not genuine for a moment, nor when the worker dies now');

    $facts->load(\@file, name => 'rejects');
    is(join(' ', map { state_of($_) } qw(R1 R2)), 'destroyed active', 'nor afterwards');
    is($sv->sql(q{select count(*) filter (where derived) || ' of ' || count(*) from sv.item_end where serial = 'R1'}), '0 of 1', 'one end, told by its event');
};

subtest 'a file that is delivered again when its product is known' => sub {
    $facts->forget;

    my @file = (told('commissioning', ['A1']), told('commissioning', ['A2', "$other/B1"], time => '2026-11-01T09:00:00Z'),
        told('packing', ['A2', "$other/B1"], parent => $sscc[0]));
    my $load = sub { $facts->load(\@file, name => 'again') };

    my $first = $load->();
    is(join(' ', map { state_of($_) } qw(A1 A2)), 'active none', 'an event with an unknown product is left away');
    my $merged = join '/', $sv->sql(q{select load_id, lines, encode(digest, 'hex') from sv.load_lot});

    $sv->product($other, company => 'acme');
    my $second = $load->();
    is(join(' ', map { state_of($_) } qw(A1 A2)), 'active active', 'its packs are there, though their lot was merged before');
    isnt($second->{load}, $first->{load}, 'it is another load');
    is(join('/', $sv->sql(q{select load_id, lines, encode(digest, 'hex') from sv.load_lot where load_id = ?}, $first->{load})), $merged, 'what is audited stays');
    is($sv->sql('select count(*) from sv.contents(0, ?, now())', $sscc[0]), 2, 'packed');
    is($load->()->{action}, 'skip', 'now it is known');

    my $tables = $facts->tables;
    $facts->forget;
    $facts->load(\@file, name => 'once');
    is_deeply($tables, $facts->tables, 'as if it had been known from the beginning');
};

subtest 'an interrupted load whose file never comes back' => sub {
    my @day = (
        told('commissioning', [map { "A$_" } 1 .. 4]),
        told('commissioning', ['B1', 'B2'], lot => 'L2', time => '2026-11-01T09:00:00Z'),
        told('commissioning', [@sscc[0, 1]], container => 1),
        told('decommissioning', ['A4'], time => '2026-11-01T09:10:00Z'),
        told('packing', ['A1', 'A2', 'B1'], parent => $sscc[0], time => '2026-11-01T10:00:00Z'),
        told('packing', [$sscc[0], 'A3'], parent => $sscc[1], time => '2026-11-01T10:00:00Z'),
        told('unpacking', [], parent => $sscc[0], time => '2026-11-01T11:00:00Z'),
        told('destroying', [$sscc[1]], time => '2026-11-01T12:00:00Z'),
    );
    my @more = told('commissioning', ['C1'], time => '2026-11-01T13:00:00Z');

    $facts->forget;
    $facts->load([@day, @more], name => 'whole');
    my $want = $facts->tables;

    for my $until (qw(ready claim lots), 1 .. 6) {
        $facts->forget;
        $facts->load(\@day, name => 'lost', until => $until, limit => 1);

        # the line makes other files of the same events
        $facts->load([@more, @day[0, 3, 4, 5]], name => 'batch 1');
        $facts->load([reverse @day[1, 2, 6, 7], $day[0]], name => 'batch 2');
        is_deeply($facts->tables, $want, "interrupted at $until") or last;

        $facts->load(\@day, name => 'lost');
        is_deeply($facts->tables, $want, 'it comes back all the same') or last;
        is($sv->sql(q{select count(*) from sv.load where state <> 'loaded'}), 0, 'all are done');
    }
};

subtest 'a load that is under way' => sub {
    my $dbh = $sv->new_dbh;

    $facts->forget;
    my $lost = $facts->load([told('commissioning', ['A1'])], name => 'under way', dbh => $dbh, until => 'claim');
    my $rc = eval { $facts->load([told('commissioning', ['A1'])], name => 'beside'); 1 };
    is($rc, undef, 'another one with its events waits');
    is($sv->dbh->state, '40001', 'and is repeated');
    like($@, qr/load $lost->{load}, of "under way", has some of the same events/, 'saying for what');

    $dbh->disconnect;
    Test::SerialVerify::wait_for { $sv->sql('select not sv.load_working(?)', $lost->{load}) } 'the end of its session';
    $facts->load([told('commissioning', ['A1'])], name => 'beside');
    is(state_of('A1'), 'active', 'its events are those of the other when it is gone');
};

subtest 'an event that was merged in part' => sub {
    my @event = told('commissioning', ['A1', "$other/B1"]);
    my $stage;

    $facts->forget;
    my $lost = $facts->load(\@event, name => 'in part', until => 'claim');
    $facts->again($sv->dbh, 'select outcome from sv.merge_lot(?, ?, 1, gen_random_uuid())', $lost->{load}, $lost->{stage});

    is(eval { $facts->load([@event, told('commissioning', ['A2'])], name => 'other'); 1 }, undef, 'another file cannot end it');
    like($@, qr/"in part", was interrupted within its event 1.* deliver that file again/, 'and says what can');

    $facts->load(\@event, name => 'in part');
    $facts->load([@event, told('commissioning', ['A2'])], name => 'other');
    is($sv->sql('select count(*) from sv.pack'), 3, 'then all is there');
};

subtest 'a plain day of a line' => sub {
    my @serials = map { sprintf 'D%03d', $_ } 1 .. 60;
    my @rejects = @serials[3, 17, 42];
    my %gone    = map { $_ => 1 } @rejects, 'D011';
    my @good    = grep { !$gone{$_} } @serials;
    my $n       = 0;
    my $time    = sub { $n++; return sprintf '2026-11-01T%02d:%02d:00Z', 8 + $n / 60, $n % 60 };
    my $wrong   = told('packing', [@good[0 .. 9]], parent => $sscc[0], time => '2026-11-01T23:00:00Z', id => 'clock');

    my @line = (
        (map { told('commissioning', [@serials[$_ * 10 .. $_ * 10 + 9]], time => $time->()) } 0 .. 5),
        told('commissioning', [@sscc], container => 1, time => $time->()),
        (map { told('decommissioning', [$_], time => $time->()) } @rejects),
        told('sampling', ['D011'], time => $time->()),
    );
    # a clock that was wrong is put right
    my @corrected = ($wrong, {%{$wrong}, error => {reason => 'incorrect_data', corrective => ['clock 2']}}, {%{$wrong}, id => 'clock 2', time => $time->()});
    my @packed = (
        (map { told('packing', [@good[$_ * 10 .. $_ * 10 + 9]], parent => $sscc[$_], time => $time->()) } 1 .. 4),
        told('packing', [@sscc[0 .. 4]], parent => $sscc[9], time => $time->()),
        # a case is opened, a pack changed, and packed again elsewhere
        told('unpacking', [$sscc[4]], parent => $sscc[9], time => $time->()),
        told('unpacking', [], parent => $sscc[4], time => $time->()),
        told('packing', [@good[40 .. 49]], parent => $sscc[5], time => $time->()),
        told('packing', [$sscc[5]], parent => $sscc[9], time => $time->()),
        told('shipping', [$sscc[9]], time => $time->()),
    );

    my $deliver = sub {
        my (@files) = @_;

        $facts->load($_, name => 'day ' . ++$n) for @files;
        $facts->unpark;
    };

    for my $name ('in order', 'late commissioning', 'in other batches, twice') {
        $facts->forget;

        if ($name eq 'in order') {
            $deliver->(\@line, \@corrected, \@packed);
        } elsif ($name eq 'late commissioning') {
            $deliver->(\@packed, \@corrected, \@line);
        } else {
            $deliver->(map { [$_] } @line, @packed[0 .. 3]);
            $deliver->([@line, @corrected], [@corrected, @packed], [shuffle(@line, @packed)]);
        }

        is(join(' ', $sv->sql('select array_agg(distinct rule) from sv.finding') // ''), '', "$name: no finding");
        is($sv->sql('select count(*) from sv.parked'), 0, "$name: nothing waits");
        is($sv->sql(q{select count(*) from sv.pack where state = 'active'}), 56, "$name: what is good is active");
        is($sv->sql('select count(*) from sv.contents(0, ?, now())', $sscc[9]), 55, "$name: five cases with 50 packs");
        is($sv->sql(q{select count(*) from sv.audit where kind = 'operation' or changed and serial is not null}), 4, "$name: one change for each pack that was taken out");
    }
};

subtest 'what gateways answer' => sub {
    $facts->forget;
    $sv->start_redis;
    $sv->start_worker(roles => 'relay');
    $sv->start_nginx;

    my $key    = $sv->pharmacy('IT');
    my @events = map { told('commissioning', ["G$_"], id => "made G$_") } 1 .. 4;
    my $reason = sub { my ($serial) = @_; return $sv->get($sv->link_to($gtin, $serial, lot => 'L1', expiry => '301231'), key => $key)->{json}{reason} // 'none' };
    my $within = sub {
        my ($is, $serial, $what) = @_;

        my ($took) = $sv->said_after(change => sub { }, ask => sub { $reason->($serial) }, said => $is, within => 2);
        is($reason->($serial), $is, $what);
        cmp_ok($took, '<', 2, "$what: within two seconds");
    };

    $facts->load([@events, told('packing', ['G3'], parent => $sscc[0])]);
    $within->('ok', "G$_", "G$_ is genuine") for 1 .. 4;
    ok(scalar(@{[$sv->redis->keys("*:G$_")]}), "and G$_ is cached") for 1 .. 4;

    $facts->load([told('decommissioning', ['G1'])]);
    $within->('destroyed', 'G1', 'rejected');
    $facts->load([{%{$events[1]}, error => {reason => 'did_not_occur'}}]);
    $within->('serial_unknown', 'G2', 'never made');
    is_deeply([$sv->redis->keys('*:G2')], [], 'nothing is cached of it');
    $facts->load([told('destroying', [$sscc[0]], time => '2026-11-02T08:00:00Z')]);
    $within->('destroyed', 'G3', 'destroyed with its container');
    $facts->load([told('commissioning', ['G2'], id => 'made again')]);
    $within->('ok', 'G2', 'made after all');
};

$sv->done_testing;
