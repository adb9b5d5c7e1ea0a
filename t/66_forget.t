#!/usr/bin/perl

# What housekeeping takes away of consumers changes nothing of what was found.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;
use Test::SerialVerify::Stream;
use Time::HiRes qw(time);

my $gtin = 9506000134352;
my $sv   = Test::SerialVerify->new(day => 120);
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);

for my $lot (qw(LOT1 LOT2)) {
    $sv->lot($gtin, $lot);
    $sv->sql(q{insert into sv.pack (gtin, serial, lot, expiry) select ?, ? || i, ?, date '2030-12-31' from generate_series(1, 50) i},
        $gtin, {LOT1 => 'P', LOT2 => 'Q'}->{$lot}, $lot);
    $sv->sql(q{select sv.put_market(?, ?, 'IT', 'test')}, $gtin, $lot);
}

my %conf    = (roles => 'consume', inbox => undef, session_keep => '10d', scan_keep => '32d');
my $gateway = Test::SerialVerify::Stream->new($sv);

sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)

sub judged { my ($n) = @_; return wait_for { $sv->sql('select scan_n from sv.judge') == $n } "$n scans to be judged" }

sub found {
    my ($lot) = @_;

    return join ' ', map { $_ // '-' } $sv->sql(q{select rule, weight, withdrawn, cardinality(serials), cardinality(actors),
        (select count(*) from sv.case_event e where (e.gtin, e.case_id) = (f.gtin, f.case_id))
        from sv.case_finding f where rule = 'off_market' and lot = ?}, $lot // 'LOT1');
}

sub abroad {
    my ($serial, $at, $session) = @_;

    return {serial => $serial, lot => $serial =~ /^P/ ? 'LOT1' : 'LOT2', at => int($at * 1000), session => $session, country => 'BR', lat => -23.5, lon => -46.6, accuracy_km => 50};
}

# consumers abroad, twenty days ago; and those of another lot, most of them eighteen days ago
my $then = time - 20 * 86400;
$sv->start_worker(%conf);
$gateway->send(map { abroad("P$_", $then + $_ * 60, sprintf 'session-of-%05d', $_) } 1 .. 30);
$gateway->send((map { abroad("Q$_", $then + 2 * 86400 + $_ * 60, sprintf 'other-of-%05d', $_) } 1 .. 30), abroad('Q31', $then + 10 * 86400, 'other-later'));
judged(61);
wait_for { found() =~ /^off_market asks 0 30 30/ && found('LOT2') =~ /^off_market asks 0 31 31/ } 'what they saw';
$sv->judge_rests;
my $before = found();
my $other  = found('LOT2');


sub tokens { return scalar $sv->sql(q{select count(*) from sv.case_finding, unnest(actors) a where a like 'session-of-%'}) }

# a round of housekeeping that began after now has ended
sub round {
    my $now = $sv->sql('select clock_timestamp()');
    return wait_for { $sv->sql(q{select count(*) from sv.keep_job where job = 'receivers' and ran_at > ?}, $now) } 'a round' for 1, 2;
}

sub again {
    my ($n) = @_;

    $sv->stop('worker');
    $sv->start_worker(%conf);
    $gateway->send({serial => 'P50', country => 'IT', session => 'new'});

    return judged($n);
}


subtest 'as long as the judge looks back' => sub {
    $sv->start_worker(name => 'keep', file => 'keep.conf', %conf, roles => 'housekeeping', housekeeping_interval => '100ms');
    round();
    is($sv->sql('select count(*) from sv.scan where session is not null'), 61, 'consumers are known, whatever session_keep is');
    again(62);
    is(found(), $before, 'a judge that is built anew says the same');
    is(found('LOT2'), $other, 'of both');
};


subtest 'and no longer' => sub {
    is(($sv->command('rules', 'set', 'evidence.window=12'))[0], 0, 'it looks back twelve days');
    wait_for { $sv->sql(q{select count(*) from sv.scan where session like 'session-of-%'}) == 0 } 'the tokens to go';
    again(63);
    is(found(), $before, 'what was found before stays');
    is(found('LOT2'), $other, 'also where the judge remembers the last of it only, which would not ask');

    $gateway->send(abroad('Q32', time, 'other-last'));
    judged(64);
    wait_for { found('LOT2') =~ /^off_market asks 0 32 32/ } 'more of it to be added';

    round();
    is(tokens(), 30, 'with who saw it, as long as the case is open');
    $sv->sql(q{update sv.case set status = 'closed', close_reason = 'diverted' where lot = 'LOT1'});
    wait_for { tokens() == 0 } 'the tokens to go with it';
    is(found(), $before, 'how many there were stays');
    is($sv->sql('select count(*) from sv.case where sessions and lot = ?', 'LOT1'), 0, 'and is not looked at again');
};

$sv->done_testing;
