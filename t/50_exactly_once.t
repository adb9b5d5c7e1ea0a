#!/usr/bin/env perl

# Exactly one "changed": true.  A hundred supplies of one pack at the same
# moment, by two pharmacies, through two gateways, with an empty cache, while a
# worker process is killed; then everybody who got no answer asks again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use Test::More;
use Time::HiRes qw(time);
use Test::SerialVerify;
use Test::SerialVerify::HTTP;

my $gtin     = 9506000134352;
my $clients  = 100;
my @gateways = qw(north south);

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);

my @pharmacies = map { $sv->actor('pharmacy', country => $_) } qw(IT FR);

$sv->start_nginx(name => $_, workers => 2) for @gateways;
$sv->start_worker(roles => 'relay');
$sv->allow_log(qr/worker process \d+ exited on signal 9/);

for my $seed ($sv->seeds(3, 20)) {
    subtest "seed $seed" => sub { race($seed) };
}

$sv->done_testing;


sub race {
    my ($seed) = @_;

    srand($seed);

    my $serial = "ONCE-$seed";
    my $target = $sv->link_to($gtin, $serial);

    $sv->redis->flushall;
    $sv->pack_row($gtin, $serial);

    my @calls = map { {key => "$serial-$_", pharmacy => $pharmacies[$_ % 2], gateway => $gateways[int($_ / 2) % 2]} } 1 .. $clients;

    # every connection is there before the first byte is sent
    $_->{connection} = $sv->connection($_->{gateway}) for @calls;

    my @workers = map { $sv->workers($_) } @gateways;
    my $victim  = $workers[rand @workers];
    my $moment  = int rand 1.5 * $clients;

    send_all(\@calls, $target, $victim, $moment);
    note(sprintf 'worker %d killed after %d, %s', $victim, $moment,
        join ', ', map { my $kind = $_; "$kind: " . grep { $_->{first} eq $kind } @calls } qw(changed repeat refused unknown));

    is_deeply([map { $_->{first} } grep { $_->{first} !~ /^(?:changed|repeat|refused|unknown)$/ } @calls], [],
        'every answer is the change, a repeat, a refusal or not known');
    cmp_ok(scalar(grep { $_->{first} eq 'changed' } @calls), '<=', 1, 'not more than one is told that it changed the pack');

    # who knows it, and who does not: all ask again, with the same key
    my $again = ask_again(\@calls, $target);
    is($again, 0, 'the retries with the same keys are answered');

    my @changed = grep { $_->{last} eq 'changed' } @calls;
    is(scalar @changed, 1, 'exactly one key has changed the pack');
    is_deeply([map { [$_->{key}, $_->{body}, $_->{body_again}] }
        grep { defined $_->{body} && $_->{body} ne $_->{body_again} } @calls], [], 'and what was known is said again');

    agree($serial, $changed[0]);

    return;
}


sub outcome {
    my ($answer) = @_;

    my ($status, $json) = @{$answer}{qw(status json)};

    return 'unknown' if $status == 0 || $status == 503;
    return 'changed' if $status == 200 && $json->{changed};
    return 'repeat' if $status == 200 && $json->{reason} eq 'already_supplied_here';
    return 'refused' if $status == 409 && $json->{reason} eq 'already_supplied' && !$json->{changed};

    return "status $status: $answer->{body}";
}


sub supply_bytes {
    my ($call, $target) = @_;

    return Test::SerialVerify::HTTP::build('POST', $target, body => '{"operation":"supply"}', close => 1,
        key => $call->{pharmacy}{key}, idempotency => $call->{key});
}


# Sends all, and kills at the moment: after so many were sent, or were answered.
sub send_all {
    my ($calls, $target, $victim, $moment) = @_;

    my %waiting = map { $_->{connection}{socket} => $_ } @{$calls};
    my $select  = IO::Select->new(map { $_->{connection}{socket} } @{$calls});
    my $events  = 0;
    my $strike  = sub { kill 'KILL', $victim if $events++ == $moment };

    for my $call (@{$calls}) {
        $strike->();
        $call->{connection}->put(supply_bytes($call, $target));
    }

    while ($select->count) {
        my @ready = $select->can_read(30) or last;

        for my $socket (@ready) {
            my $call   = $waiting{$socket};
            my $answer = $call->{connection}->next_response(10) // {status => 0};

            $strike->();
            $call->{first} = outcome($answer);
            $call->{body}  = $answer->{body} if $call->{first} ne 'unknown';
            $select->remove($socket);
            $call->{connection}->close_now;
        }
    }

    $_->{first} //= 'no answer at all' for @{$calls};
    kill 'KILL', $victim if $events <= $moment;

    return;
}


# How many were left without an answer in the end.
sub ask_again {
    my ($calls, $target) = @_;

    my @left = @{$calls};

    eval {
        Test::SerialVerify::wait_for {
            my @ask = splice @left, 0, 20;
            my @answers = Test::SerialVerify::HTTP->together(10,
                map { [$sv->address($_->{gateway}), supply_bytes($_, $target)] } @ask);

            for my $i (0 .. $#ask) {
                $ask[$i]{last} = outcome($answers[$i]);
                $ask[$i]{body_again} = $answers[$i]{body};
                push @left, $ask[$i] if $ask[$i]{last} eq 'unknown';
            }

            !@left;
        } 'every key to be answered';
    };

    return scalar @left;
}


# PostgreSQL, the audit trail, the cache and both gateways tell the same story.
sub agree {
    my ($serial, $winner) = @_;

    # within two seconds; a busy machine may give the relay no turn in that time
    my $soon = time + 2;
    Test::SerialVerify::wait_for { time > $soon && !$sv->sql('select count(*) from sv.outbox') } 'the relay';

    # a 503 says nothing of the pack
    my @said;
    Test::SerialVerify::wait_for { push @said, map { $_->{json}{state} // "status $_->{status}" } grep { $_->{status} != 503 } gets($serial, 8); @said >= 16 } 'answers';
    is_deeply([grep { $_ ne 'supplied' } @said], [], 'every worker process of both gateways says supplied');

    my ($state, $version, $location) = $sv->sql('select state, version, location_id from sv.pack where gtin = ? and serial = ?', $gtin, $serial);
    is_deeply([$state, $version, $location], ['supplied', 2, $winner->{pharmacy}{id}], 'PostgreSQL: supplied once, by the owner');

    my @audit = $sv->sql(q{select count(*), count(*) filter (where changed), count(distinct key),
            max(key) filter (where changed), max(location_id) filter (where changed)
        from sv.audit where gtin = ? and serial = ?}, $gtin, $serial);
    is_deeply(\@audit, [$clients, 1, $clients, $winner->{key}, $winner->{pharmacy}{id}],
        'audit: one row for each key, one of them changed the pack');

    is(scalar $sv->sql('select count(*) from sv.audit a join sv.audit_chain c using (gtin, at, audit_id) where a.gtin = ? and a.serial = ?',
        $gtin, $serial), $clients, 'the chain holds them all');

    # a fill comes behind the answer
    my %cached;
    Test::SerialVerify::wait_for { gets($serial, 1); %cached = $sv->cached($gtin, $serial) } 'an entry';
    is(scalar(keys %cached), 1, 'one entry in the cache');
    like((values %cached)[0], qr/^2\D/, 'of the version in PostgreSQL');

    return;
}


sub gets {
    my ($serial, $each) = @_;

    return $sv->parallel(map { my $gateway = $_; map { ['GET', $sv->link_to($gtin, $serial), nginx => $gateway,
        key => $pharmacies[0]{key}] } 1 .. $each } @gateways);
}
