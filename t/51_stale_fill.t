#!/usr/bin/env perl

# A stale fill never wins: a verify is held back between its read of the
# database and its write to the cache, and an operation comes in between.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(time);
use Test::SerialVerify;

my $gtin = 9506000134352;
my $many = $ENV{SV_TEST_ALL} ? 480 : 24;

my $sv = Test::SerialVerify->new;
$sv->need_failpoints;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);

my $here  = $sv->actor('pharmacy', country => 'IT');
my $there = $sv->actor('pharmacy', country => 'FR');

my @gateways = qw(north south);
my %verify   = (deadline => '8s', redis_timeout => '4s');
$sv->start_nginx(name => $_, workers => 2, verify => \%verify) for @gateways;

sub other { return $_[0] eq 'north' ? 'south' : 'north' }


sub delayed_verify {
    my ($serial, $gateway, $ms) = @_;

    return $sv->get($sv->link_to($gtin, $serial), key => $here->{key}, nginx => $gateway,
        headers => {'Test-Fill-Delay' => $ms});
}


sub supply {
    my ($serial, $gateway) = @_;

    return $sv->post($sv->link_to($gtin, $serial), '{"operation":"supply"}', key => $there->{key},
        idempotency => "supply-$serial", nginx => $gateway);
}


# What every worker process of every gateway says, in one word if they agree.
sub verdicts {
    my ($serial) = @_;

    my %seen;

    for my $answer ($sv->parallel(map { my $g = $_; map { ['GET', $sv->link_to($gtin, $serial),
            key => $here->{key}, nginx => $g] } 1 .. 4 } @gateways)) {
        $seen{$answer->{json}{state} // "status $answer->{status}"}++;
    }

    return join ' and ', sort keys %seen;
}


sub fills_written {
    my ($calls, $until) = @_;

    Test::SerialVerify::wait_for {
        time > $until && (eval { $sv->script_calls } // 0) >= $calls;
    } "$calls calls of the script";

    return;
}


# The failpoint does what it is for: without an operation the fill arrives, late.  A busy
# machine may look too late for the one, or fill too late for the other.
{
    my ($none, $arrived, $try) = (0, 0, 0);

    while (!($none && $arrived) && ++$try <= 20) {
        $sv->pack_row($gtin, "CONTROL-$try");
        is(delayed_verify("CONTROL-$try", 'north', 500)->{json}{state}, 'active', 'a verify with a delayed fill');
        $none    = !(my @entry = $sv->cached($gtin, "CONTROL-$try"));
        $arrived = eval { Test::SerialVerify::wait_for { $sv->cached($gtin, "CONTROL-$try") } 'the fill', 2 };
    }

    ok($none, 'has written nothing yet');
    ok($arrived, 'and its fill arrives');
}


# A fill older than a second is dropped, whatever happened.
{
    my $calls = $sv->script_calls;
    $sv->pack_row($gtin, 'OLD');
    delayed_verify('OLD', 'south', 1200);
    fills_written($calls + 1, time + 1);
    is_deeply([$sv->cached($gtin, 'OLD')], [], 'a fill older than a second is dropped');
}


# between(CODE): what happens between the operation and the fill, besides the operation
my %variant = (
    'plain' => sub { },

    'the newer entry was evicted' => sub {
        my (@packs) = @_;
        $sv->parallel(map { ['GET', $sv->link_to($gtin, $_->{serial}), key => $here->{key}, nginx => $_->{far}] } @packs);
        for my $pack (@packs) {
            my %cached = $sv->cached($gtin, $pack->{serial});
            $sv->redis->del($_) for keys %cached;
        }
    },

    'FLUSHALL' => sub { $sv->redis->flushall },
);

for my $name (sort keys %variant) {
    my (@packs, $calls);

    srand(51);

    for my $seed (1 .. $many) {
        push @packs, {serial => sprintf('%s-%d', substr($name, 0, 3), $seed), near => $gateways[rand 2],
            delay => int rand 900, seed => $seed};
        $packs[-1]{serial} =~ s/ /_/g;
        $packs[-1]{far} = rand() < 0.5 ? $packs[-1]{near} : other($packs[-1]{near});
        $sv->pack_row($gtin, $packs[-1]{serial});
    }

    while (my @some = splice @packs, 0, 24) {
        my $through = time + 1.2;
        $calls = $sv->script_calls;

        my @before = $sv->parallel(map { ['GET', $sv->link_to($gtin, $_->{serial}), key => $here->{key},
            nginx => $_->{near}, headers => {'Test-Fill-Delay' => $_->{delay}}] } @some);
        my @after = $sv->parallel(map { ['POST', $sv->link_to($gtin, $_->{serial}), body => '{"operation":"supply"}',
            key => $there->{key}, idempotency => "supply-$_->{serial}", nginx => $_->{far}] } @some);

        $variant{$name}->(@some);
        fills_written($calls + 2 * @some, $through);

        for my $i (0 .. $#some) {
            my $what = "$name, seed $some[$i]{seed}, $some[$i]{delay} ms";
            my @got  = ($before[$i]{json}{state} // '', $after[$i]{json}{changed} ? 'changed' : $after[$i]{body},
                verdicts($some[$i]{serial}));
            is_deeply(\@got, ['active', 'changed', 'supplied'], $what);
        }
    }
}


# Redis comes back with what it held before the operation: entry, lease and all.
for my $seed ($sv->seeds(2, 20)) {
    srand($seed);

    my @serials = map { "DUMP-$seed-$_" } 1 .. 4;
    my $delay   = 300 + int rand 650;
    my $start   = time;

    $sv->pack_row($gtin, $_) for @serials;

    # one with an entry, the others with a lease and a fill on its way
    $sv->get($sv->link_to($gtin, $serials[0]), key => $here->{key}, nginx => $gateways[0]);
    Test::SerialVerify::wait_for { $sv->cached($gtin, $serials[0]) } 'an entry';
    delayed_verify($_, $gateways[rand 2], $delay) for @serials[1 .. 3];
    $sv->redis->save;

    is(supply($_, $gateways[rand 2])->{json}{changed}, 1, "old dump, seed $seed: $_ is supplied") for @serials;

    $sv->kill9('redis');
    $sv->start_redis;
    ok(scalar(my @held = $sv->redis->keys('sv:*')), 'the restarted server holds the old entries');

    for my $gateway (@gateways) {
        Test::SerialVerify::wait_for { ($sv->figure('redis', 'ready', {nginx => $gateway}) // 0) == 2 } "$gateway has its cache back";
    }

    Test::SerialVerify::wait_for { time > $start + ($delay + 200) / 1000 } 'the fills to be through';
    is(verdicts($_), 'supplied', "old dump, seed $seed, fill after $delay ms: $_") for @serials;
}

$sv->done_testing;
