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
$sv->lot($gtin, 'LOT1');
$sv->sql(q{insert into sv.pack (gtin, serial, lot, expiry) select ?, 'P' || i, 'LOT1', date '2030-12-31' from generate_series(1, 50) i}, $gtin);
$sv->sql(q{select sv.put_market(?, 'LOT1', 'IT', 'test')}, $gtin);

my %conf    = (roles => 'consume', inbox => undef, session_keep => '10d', scan_keep => '32d');
my $gateway = Test::SerialVerify::Stream->new($sv);

sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)

sub judged { my ($n) = @_; return wait_for { $sv->sql('select scan_n from sv.judge') == $n } "$n scans to be judged" }

sub found {
    return join ' ', map { $_ // '-' } $sv->sql(q{select rule, weight, withdrawn, cardinality(serials), cardinality(actors), (select count(*) from sv.case_event)
        from sv.case_finding where rule = 'off_market'});
}

# consumers abroad, twenty days ago
my $then = int((time - 20 * 86400) * 1000);
$sv->start_worker(%conf);
$gateway->send(map { {serial => "P$_", at => $then + $_ * 60_000, session => sprintf('session-of-%05d', $_), country => 'BR', lat => -23.5, lon => -46.6, accuracy_km => 50} } 1 .. 30);
judged(30);
wait_for { found() =~ /^off_market asks 0 30 30/ } 'what they saw';
$sv->judge_rests;
my $before = found();


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
    is($sv->sql('select count(*) from sv.scan where session is not null'), 30, 'consumers are known, whatever session_keep is');
    again(31);
    is(found(), $before, 'a judge that is built anew says the same');
};


subtest 'and no longer' => sub {
    is(($sv->command('rules', 'set', 'evidence.window=12'))[0], 0, 'it looks back twelve days');
    wait_for { $sv->sql(q{select count(*) from sv.scan where session like 'session-of-%'}) == 0 } 'the tokens to go';
    again(32);
    is(found(), $before, 'what was found before stays');

    round();
    is(tokens(), 30, 'with who saw it, as long as the case is open');
    $sv->sql(q{update sv.case set status = 'closed', close_reason = 'diverted'});
    wait_for { tokens() == 0 } 'the tokens to go with it';
    is(found(), $before, 'how many there were stays');
    is($sv->sql('select count(*) from sv.case where sessions'), 0, 'and is not looked at again');
};

$sv->done_testing;
