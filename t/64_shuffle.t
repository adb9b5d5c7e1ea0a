#!/usr/bin/env perl

# The same events and facts, in another order within an hour, to two live
# systems: the same findings.
#
#   SV_TEST_SEED    of the events and their orders

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(shuffle);
use Test::More;
use Test::SerialVerify;
use Test::SerialVerify::Stream;
use Time::HiRes qw(time);

my $gtin  = 9506000134352;
my $seed  = $ENV{SV_TEST_SEED} // time % 1_000_000;
my $began = int((time - 3000) * 1000);

srand $seed;
diag("SV_TEST_SEED=$seed");

sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


my @place = (['IT', 45.46, 9.19], ['DE', 52.52, 13.40], ['BR', -23.55, -46.63], ['IN', 19.08, 72.88]);

# clones, diverted packs, misses with and without their echo, an upload that is missing, dead packs, and what is in order
sub events {
    my @event;
    my $session = 0;
    my $consumer = sub {
        my ($place) = @_;
        return (session => sprintf('%016x', ++$session), country => $place->[0], lat => $place->[1], lon => $place->[2], accuracy_km => 25, entry_mode => undef, expiry => undef);
    };

    push @event, {serial => "OK$_", location => 1 + int rand 2} for 1 .. 150;
    push @event, map { my $i = $_; map { {serial => "CLONE$i", $consumer->($_)} } @place[shuffle 0 .. 3] } 1 .. 4;
    push @event, map { {serial => "CLONE$_", location => 3} } 1 .. 4;
    push @event, map { {serial => "OFF$_", lot => 'LOT2', $consumer->($place[2])} } 1 .. 12;
    push @event, map { ({serial => "ab$_", reason => 'serial_unknown', location => 1}, {serial => "AB$_", location => 1}) } 1 .. 6;
    push @event, map { {serial => "ZZ$_", reason => 'serial_unknown', lot => 'LOT3', location => 1 + $_ % 4} } 1 .. 40;
    push @event, map { {serial => "DEAD$_", reason => 'destroyed', location => 2}, {serial => "DEAD$_", reason => 'destroyed', $consumer->($place[0])} } 1 .. 3;
    push @event, map { {serial => 'SHOWN', $consumer->($place[$_ % 4])} } 1 .. 60;

    $_->{at} = $began + int rand 2_900_000 for @event;

    @event = sort { $a->{at} <=> $b->{at} } @event;

    return @event;
}

# the findings when these blocks and facts came one after the other
sub findings {
    my (@step) = @_;

    my $sv = Test::SerialVerify->new;
    $sv->start_postgres;
    $sv->start_redis;
    $sv->product($gtin);
    $sv->lot($gtin, $_) for qw(LOT1 LOT2 LOT3);
    my @site = map { $sv->location(role => 'pharmacy', country => $_->[0], lat => $_->[1], lon => $_->[2]) } @place;
    $sv->start_worker(roles => 'consume');

    my $gateway = Test::SerialVerify::Stream->new($sv);

    for my $step (@step) {
        if (ref $step eq 'CODE') {
            $step->($sv);
        } else {
            $gateway->lines(@{$step});
        }

        wait_for { $sv->redis->xlen('sv:scans') == 0 } 'the stream' if rand() < 0.3;
    }

    $sv->judge_rests;

    my $found = $sv->dbh->selectcol_arrayref(q{
        select concat_ws(' ', f.finding_id, f.rule, f.severity, f.weight, f.cause, f.lot, f.serials, f.actors,
          (select array_agg(s.seq order by s.seq) from sv.scan s where s.n = any (f.scans)))
        from sv.case_finding f
        where not f.withdrawn
        order by 1});
    my ($scans) = $sv->sql('select count(*) from sv.scan');

    $sv->stop_all;
    $sv->{done} = 1;

    return ($found, $scans);
}

sub markets { my ($sv) = @_; $sv->sql(q{select sv.put_market(?, ?, 'IT DE', 'test')}, $gtin, $_) for qw(LOT1 LOT2); return }

# the record of a site was wrong
sub moved { my ($sv) = @_; $sv->numbered(q{update sv.location set ref_n = ?, country = 'FR', lat = 48.86, lon = 2.35 where location_id = 2}); return }


my $gateway = Test::SerialVerify::Stream->new(undef);
my @line    = map { $gateway->line($_) } events();
my ($first, $n) = findings(\&markets, \&moved, \@line);
is($n, scalar @line, 'in the order of time: all are there');
cmp_ok(scalar @{$first}, '>=', 10, 'something is found');
my %rule = map { (split / /)[1] => 1 } @{$first};
cmp_ok(scalar(keys %rule), '>=', 4, 'by several rules: ' . join ', ', sort keys %rule);

for my $round (1 .. ($ENV{SV_TEST_ALL} ? 10 : 2)) {
    my @mixed = shuffle @line;
    my @step;
    push @step, [splice @mixed, 0, 1 + int rand 60] while @mixed;
    splice @step, int rand(@step + 1), 0, $_ for \&markets, \&moved;
    push @step, $step[0] if ref $step[0] eq 'ARRAY';

    my ($other, $m) = findings(@step);
    is($m, $n, "order $round: all are there");
    my %count;
    $count{$_}++ for @{$first};
    $count{$_}-- for @{$other};
    my @differ = map { ($count{$_} > 0 ? 'only in the order of time: ' : 'only in this order: ') . $_ } grep { $count{$_} } sort keys %count;
    is(join("\n", @differ), '', "order $round: the same findings");
}

done_testing();
