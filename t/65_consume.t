#!/usr/bin/env perl

# From a scan to a case: streams, the audit chain, facts that change, feeds'
# findings, and what is in the tables afterwards.

use strict;
use warnings;

use FindBin;
use JSON::PP ();
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;
use Test::SerialVerify::Stream;
use Time::HiRes qw(time);

my $gtin = 9506000134352;
my $sv   = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
$sv->lot($gtin, 'LOT1');

my @site = map { $sv->location(role => 'pharmacy', country => $_->[0], lat => $_->[1], lon => $_->[2]) }
    ['IT', 45.46, 9.19], ['DE', 52.52, 13.40], ['BR', -23.55, -46.63];

my $gateway = Test::SerialVerify::Stream->new($sv);

*wait_for = \&Test::SerialVerify::wait_for;
sub wait_for(&;$$);    ## no critic (ProhibitSubroutinePrototypes)


sub uuid { return $sv->sql('select gen_random_uuid()') }

# an operation as a gateway carries it out; its reason
sub operate {
    my ($serial, $operation, $site, %more) = @_;

    return $sv->sql(q{select reason from sv.operate(?, ?, 'LOT1', date '2030-12-31', ?, ?, ?, ?, ?, 'scanned', ?, 'IT-1', ?, ?)},
        $gtin, $serial, $operation, $more{of}, $site, uuid(), 'f', $more{occurred_at}, uuid(), uuid());
}

sub packs {
    my (@serials) = @_;

    $sv->sql(q{insert into sv.pack (gtin, serial, lot, expiry) select ?, s, 'LOT1', date '2030-12-31' from unnest(?::text[]) s}, $gtin, \@serials);
    return;
}

sub scans { return $sv->sql('select count(*) from sv.scan where gateway = ?', $_[0] // 'gateway1') }

# the cases about a serial
sub cases {
    my ($serial) = @_;

    return $sv->dbh->selectall_arrayref('select distinct c.* from sv.case c join sv.case_finding f using (gtin, case_id)
        where ? = any (f.serials) order by c.number', {Slice => {}}, $serial);
}

# nothing waits to be judged
sub idle {
    wait_for {
        $sv->redis->xlen('sv:scans') == 0 && $sv->sql('select not exists (select from sv.outbox) and h.n = j.chain_n from sv.audit_head h, sv.judge j');
    } 'everything to be judged';

    return;
}


subtest 'a scan is history' => sub {
    $gateway->send({serial => 'A1', location => $site[0], request_id => 'r1'}, {serial => 'A2', lot => undef, expiry => undef, session => 'tok',
        country => 'IT', lat => 45.5, lon => 9.25, accuracy_km => 20, flags => 'h', entry_mode => undef});
    packs('A2');
    $sv->start_worker(roles => 'relay, consume');
    wait_for { scans() == 2 } 'two scans';

    my $rows = $sv->dbh->selectall_arrayref('select * from sv.scan order by n', {Slice => {}});
    is($rows->[0]{$_->[0]}, $_->[1], "a professional's: $_->[0]")
        for [n => 1], [boot => 1], [seq => 1], [serial => 'A1'], [lot => 'LOT1'], [expiry => '301231'], [location_id => $site[0]], [operation => 'verify'],
        [reason => 'ok'], [request_id => 'r1'], [session => undef], [entry_mode => 'scanned'], [hint => undef], [silent => 0];
    is($rows->[1]{$_->[0]}, $_->[1], "a consumer's: $_->[0]")
        for [n => 2], [lot => undef], [pack_lot => 'LOT1'], [location_id => undef], [session => 'tok'], [country => 'IT'], [lat => 45.5], [lon => 9.25],
        [accuracy_km => 20], [hint => 'scanner'];
    idle();
    is($sv->redis->xpending('sv:scans', 'judge')->[0], 0, 'and acknowledged');
};

subtest 'doubles, gaps, disorder' => sub {
    my $other = Test::SerialVerify::Stream->new($sv, gateway => 'other', boot => 77);
    my @line  = map { $other->line({serial => "G$_", location => $site[0]}) } 1 .. 10;

    $other->lines(@line[4 .. 6]);
    $other->lines(@line[0, 1, 1]);
    $other->lines(@line[4 .. 6]);
    $other->lines($line[9]);
    idle();
    is_deeply([$sv->sql('select last_seq, received from sv.scan_source where gateway = ? and boot = 77', 'other')], [10, 6], 'counted once each');
    $other->lines(@line[2, 3], @line);
    idle();
    is_deeply([$sv->sql('select last_seq, received from sv.scan_source where gateway = ?', 'other')], [10, 10], 'none is missing in the end');
    is(scans('other'), 10, 'each is there once');
    is($sv->sql('select count(distinct n) = count(*) and max(n) = (select scan_n from sv.judge) from sv.scan'), 1, 'numbers');
};

subtest 'what cannot be read' => sub {
    $sv->redis->xadd('sv:scans', '*', 'x', 'y');
    $sv->redis->xadd('sv:scans', '*', 'g', 'gateway1', 'b', 'no', 'e', "1\t");
    $gateway->lines("1\tnonsense\n", $gateway->line({serial => 'B1', location => $site[0]}), $gateway->line({serial => 'B2', location => $site[0]}) =~ s/\n//r);
    idle();
    is($sv->sql(q{select count(*) from sv.scan where serial in ('B1', 'B2')}), 2, 'what stands beside it can');
    like($sv->log_of('worker'), qr/a block .* has no gateway.*sent 1 lines that are no events/s, 'told');
    $gateway->send({serial => 'B3', location => $site[0], at => int((time + 3600) * 1000)});
    idle();
    is($sv->sql(q{select silent from sv.scan where serial = 'B3'}), 1, 'a clock that is ahead: kept, not judged');
};

subtest 'an operation becomes a case' => sub {
    packs('C1');
    is(operate('C1', 'supply', $site[0]), 'ok', 'supplied');
    is(operate('C1', 'supply', $site[1]), 'already_supplied', 'and again, elsewhere');

    my $case = (wait_for { my $c = cases('C1'); @{$c} ? $c : 0 } 'a case')->[0];
    is($case->{$_->[0]}, $_->[1], $_->[0]) for [rule => 'supply_of_inactive'], [severity => 'high'], [status => 'new'], [proposed => 0], [serials => 1],
        [gtin => $gtin], [lot => 'LOT1'];
    is_deeply([$sv->sql('select operation, gateway, seq, before_id from sv.scan where serial = ? and location_id = ?', 'C1', $site[1])],
        ['supply', '', $sv->sql('select max(n) from sv.audit_chain'), $site[0]], 'the row of history, and who had made the state');
    is($sv->sql('select string_agg(kind, $$ $$ order by n) from sv.case_event where case_id = ?', $case->{case_id}), 'opened', 'its timeline');

    my $finding = $sv->dbh->selectrow_hashref('select * from sv.case_finding where case_id = ?', undef, $case->{case_id});
    is_deeply([sort @{$finding->{actors}}], [sort map { $sv->sql('select gln from sv.location where location_id = ?', $_) } @site[0, 1]], 'actors are GLNs');
    is($sv->sql('select count(*) from sv.scan where n = any (?)', $finding->{scans}), 2, 'the evidence is in history');
};

subtest 'more evidence, closed, reopened, muted' => sub {
    my $case = cases('C1')->[0];

    operate('C1', 'supply', $site[2]);
    wait_for { cases('C1')->[0]{scans} == 3 } 'more evidence';
    is(scalar @{cases('C1')}, 1, 'in the same case');
    is($sv->sql('select kind from sv.case_event where case_id = ? order by n desc limit 1', $case->{case_id}), 'evidence', 'told');

    $sv->sql(q{update sv.case set status = 'closed', close_reason = 'other' where case_id = ?}, $case->{case_id});
    operate('C1', 'supply', $site[1]);
    wait_for { cases('C1')->[0]{scans} == 4 } 'still more';
    is(cases('C1')->[0]{status}, 'reopened', 'reopened');
    like($sv->sql(q{select detail ->> 'note' from sv.case_event where case_id = ? and kind = 'status'}, $case->{case_id}), qr/^new evidence: .*supply_of_inactive/, 'and why');

    $sv->sql(q{update sv.case set status = 'closed', muted_until = now() + interval '1 day' where case_id = ?}, $case->{case_id});
    operate('C1', 'supply', $site[2]);
    wait_for { cases('C1')->[0]{scans} == 5 } 'once more';
    is(cases('C1')->[0]{status}, 'closed', 'not one that is muted');
};

subtest 'nothing is said twice' => sub {
    my $before = $sv->sql('select jsonb_build_array((select jsonb_agg(c order by c.number) from sv.case c), (select jsonb_agg(f order by f.finding_id) from sv.case_finding f),
        (select n from sv.case_clock))');

    $sv->stop('worker');
    $sv->start_worker(roles => 'relay, consume');
    wait_for { $sv->log_of('worker') =~ /history was read in \d+ ms: [1-9]/ } 'the history to be read';
    $gateway->send({serial => 'D1', location => $site[0]});
    wait_for { $sv->sql(q{select count(*) from sv.scan where serial = 'D1'}) } 'a scan';
    is($sv->sql('select jsonb_build_array((select jsonb_agg(c order by c.number) from sv.case c), (select jsonb_agg(f order by f.finding_id) from sv.case_finding f),
        (select n from sv.case_clock))'), $before, 'by a judge that was started anew');
};

subtest 'status' => sub {
    wait_for { $sv->sql(q{select told_at > now() - interval '6 seconds' from sv.judge}) } 'the judge to tell';

    my $gone = Test::SerialVerify::Stream->new($sv, gateway => 'gone', boot => 5);
    $gone->line({serial => "L$_"}) for 1 .. 7;
    $gone->send({serial => 'L8', location => $site[0]});
    idle();

    my $status = JSON::PP::decode_json($sv->sql('select sv.worker_status()'));
    is_deeply($status->{judge}{missing}, [{gateway => 'gone', boot => 5, events => 7, last_at => $status->{judge}{missing}[0]{last_at}}], 'what has not come');
    is_deeply([values %{$status->{judge}{streams}}], [0], 'what waits in the stream');
    is($status->{judge}{behind}, 0, 'in the chain');
    cmp_ok($status->{judge}{asking}, '>=', 0, 'cases that ask');
    is(scalar(grep {/^7 scan events have not come of the gateway gone in the last day: /} @{$status->{attention}}), 1, 'a sentence for a person');
    my ($code, $text) = $sv->command('status');
    like($text, qr/^judged +\d+ scans and operations; 0 rows of the chain wait; 0 blocks at unix:.*^missing +7 events of gone \(boot 5\)$/ms, 'the command');
};

$sv->done_testing;
