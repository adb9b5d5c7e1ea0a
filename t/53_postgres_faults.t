#!/usr/bin/env perl

# PostgreSQL stopped, frozen, restarted, slow, killed in the middle: what is in
# the cache is served and marked, operations are answered 503 and told the
# truth later, no worker process blocks, and everything recovers by itself.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(time);
use Test::SerialVerify;

my $gtin     = 9506000134352;
my $deadline = 0.5;     # and of the cache: more than the defaults, as a busy machine is no fault of PostgreSQL
my %verify   = (deadline => '500ms', redis_timeout => '200ms');
my %patient  = (deadline => '8s', redis_timeout => '4s');

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
my $pharmacy = $sv->actor('pharmacy', country => 'IT');
my $limit    = $sv->time_limit($deadline);

# one worker process: what blocks it blocks everybody
$sv->start_nginx(name => 'direct', verify => \%verify);
$sv->start_nginx(name => 'patient', verify => \%patient);

our $gateway = 'direct';
my $number  = 0;


sub pack_new {
    my $serial = 'P-' . ++$number;
    $sv->pack_row($gtin, $serial);
    return $serial;
}


sub verify_request { return ['GET', $sv->link_to($gtin, $_[0]), key => $pharmacy->{key}, nginx => $gateway] }

sub supply_request {
    my ($serial, $key) = @_;
    return ['POST', $sv->link_to($gtin, $serial), body => '{"operation":"supply"}', key => $pharmacy->{key},
        idempotency => $key // "supply-$serial", nginx => $gateway];
}

sub verify { return $sv->request(@{verify_request(@_)}) }
sub supply { return $sv->request(@{supply_request(@_)}) }


sub warm {
    my ($serial) = @_;

    Test::SerialVerify::wait_for { verify($serial); $sv->cached($gtin, $serial) } 'an entry in the cache';
    return;
}


# An answer that says: not now, ask again.
sub not_now {
    my ($answer) = @_;

    return 'no answer' if !$answer->{status};
    return "status $answer->{status}: $answer->{body}" if $answer->{status} != 503;
    return 'no Retry-After' if ($answer->{headers}{'retry-after'} // '') !~ /^\d+$/;
    return sprintf 'after %.3f s', $answer->{time} if $answer->{time} > $limit;

    return 'not now';
}


# A busy machine is late, too: what is late by the fault is late whenever it is asked.
sub in_time {
    my (@request) = @_;

    my $said;

    for (1 .. 4) {
        $said = not_now($sv->request(@request));
        last if $said !~ /^after/;
    }

    return $said;
}


# Answers of which it is not known when they came, as others were asked for meanwhile.
sub whenever { return map { $_->{time} = 0; $_ } @_ }


sub works_again {
    my ($what) = @_;

    my $serial = pack_new();
    my $first;

    ok(eval { Test::SerialVerify::wait_for { supply($serial)->{status} == 200 } 'a supply' }, "$what: operations work again");
    ok(eval { Test::SerialVerify::wait_for { my $a = verify(pack_new()); $a->{status} == 200 && !$a->{json}{stale} } 'a verify' },
        "$what: verifies too, and are not marked");

    return;
}


# What a retry with the same key says in the end, and what is stored.
sub truth {
    my ($serial, $what) = @_;

    my $answer;
    eval { Test::SerialVerify::wait_for { ($answer = supply($serial))->{status} != 503 } 'the truth' };

    my ($changed, $rows) = $sv->sql(q{select count(*) filter (where changed), count(*) from sv.audit where gtin = ? and serial = ?}, $gtin, $serial);
    is_deeply([$answer->{json}{changed} ? 'changed' : $answer->{body}, $changed, $rows], ['changed', 1, 1],
        "$what: the same key tells what became of it, once");

    return $answer;
}


# While PostgreSQL does not answer: cached verdicts, marked; the rest 503; the static location at once.
sub without_database {
    my ($what, $cached, @unknown) = @_;

    # as soon as the sessions are known to be lost, long before the reference data is old
    eval { Test::SerialVerify::wait_for { !$sv->figure('postgres', 'read', 'ready', {nginx => $gateway}) } 'the sessions to be given up' };
    my $answer = verify($cached);
    ok($answer->{json}{stale}, "$what: a verdict from the cache is marked");
    is_deeply([$answer->{status}, $answer->{json}{state}, $answer->{json}{reason}], [200, 'active', 'ok'], "$what: and right");

    my @requests = map { (supply_request($_), verify_request("$_-NEVER-SEEN")) } @unknown;
    my (@waiting, @wrong);

    my $delay = $sv->static_delay(nginx => $gateway,
        before => sub { @waiting = $sv->sent(@requests) },
        after  => sub { push @wrong, grep { $_ ne 'not now' } map { not_now($_) } whenever($sv->answers(30, @waiting)) });

    cmp_ok($delay, '<', 0.1, sprintf '%s: the same worker process answers others at once (%.3f s)', $what, $delay);

    push @wrong, grep { $_ ne 'not now' } map { in_time(@$_) } @requests[0 .. 7];
    is_deeply(\@wrong, [], "$what: what is not in the cache, and operations, are answered 503 in time");

    return;
}


for my $how (['stopped at once', 'QUIT'], ['stopped in order', 'INT']) {
    my ($what, $signal) = @{$how};

    subtest $what => sub {
        my $cached  = pack_new();
        my @unknown = map { pack_new() } 1 .. 10;

        warm($cached);
        $sv->stop('postgres', signal => $signal);
        without_database($what, $cached, @unknown);
        $sv->start_postgres;
        works_again($what);
        truth($_, "$what, $_") for @unknown;
    };
}


subtest 'frozen' => sub {
    my $cached  = pack_new();
    my @unknown = map { pack_new() } 1 .. 10;

    warm($cached);
    $sv->pause('postgres');

    # the very first requests find connections that look well
    my @first = $sv->sent(map { (supply_request($_), verify_request($_)) } @unknown);
    my $delay = $sv->static_delay(nginx => $gateway, rounds => 1);
    my @wrong = grep { $_ ne 'not now' } map { not_now($_) } whenever($sv->answers(30, @first));
    is_deeply(\@wrong, [], 'the first requests are answered 503');
    is(verify($cached)->{json}{state}, 'active', 'and the cache at once');

    without_database('frozen', $cached, @unknown);
    $sv->resume('postgres');
    works_again('frozen');
    truth($_, "frozen, $_") for @unknown;
};


subtest 'a row that somebody holds' => sub {
    my $locked = pack_new();
    my $seconds = $ENV{SV_TEST_ALL} ? 60 : 5;
    my $holder  = $sv->hold_row($gtin, $locked);
    my (@waiting, @answers, @others, @times, $late, $round);

    # A busy machine is late, too: what does not queue behind the row is in time in one of a few tries,
    # what does is late in each.
    for my $try (1 .. 6) {
        my $end = time + $seconds;
        @times = ();

        while (time < $end) {
            # more of them than there are connections for writing
            push @answers, $sv->answers(30, @waiting);
            @waiting = $sv->sent(map { supply_request($locked, sprintf 'held-%d-%d', $round, $_) } 1 .. 6) if ++$round;
            push @waiting, $sv->sent(supply_request($locked, 'held'));

            # many at once, so that some would have to queue behind it
            my @serials = map { pack_new() } 1 .. 8;
            my @first = $sv->parallel(map { verify_request($_) } @serials);
            my @both  = $sv->parallel(map { (supply_request($_), verify_request($_)) } @serials);

            # verifies do not queue behind rows: where they took long, the machine was busy
            next if grep { $_->{time} > 0.3 * $deadline } @first, @both[map { 2 * $_ + 1 } 0 .. 7];
            push @others, @first, @both;
            push @times, map { $_->{time} } @both[map { 2 * $_ } 0 .. 7];
        }

        # a supply behind it waits until PostgreSQL gives the lock up, three quarters of the deadline
        $late = grep { $_ > 0.6 * $deadline } @times;
        last if @times && $late <= @times / 50;
    }

    push @answers, $sv->answers(30, @waiting);

    is(in_time(@{supply_request($locked, 'held')}), 'not now', 'an operation on the locked pack is answered 503 in time');
    my @wrong = grep { $_ ne 'not now' } map { not_now($_) } whenever(@answers);
    is_deeply(\@wrong, [], 'and so are many');
    Test::SerialVerify::wait_for { $sv->figure('operations_in_flight', {nginx => $gateway}) == 0 } 'PostgreSQL to give up';
    is(verify($locked)->{json}{state}, 'active', 'its verify is not held up');

    my @states = grep { $_ ne 'active' && $_ ne 'supplied' } map { $_->{json}{state} // "status $_->{status}" } @others;
    is_deeply(\@states, [], scalar(@others) . ' verifies and supplies of other packs are done');

    cmp_ok($late, '<=', @times / 50, "no supply of another pack waits for it ($late of " . @times . ' were late)');

    my ($rows) = $sv->sql('select count(*) from sv.audit where gtin = ? and serial = ?', $gtin, $locked);
    my ($keys) = $sv->sql(q{select count(*) from sv.idempotency where gtin = ? and key like 'held%'}, $gtin);
    is_deeply([$rows, $keys], [0, 0], 'what was answered 503 had no effect');

    $holder->rollback;
    $holder->disconnect;

    my $answer = supply($locked, 'held');
    is_deeply([$answer->{status}, $answer->{json}{changed} ? 'changed' : $answer->{body}], [200, 'changed'], 'the retry with the same key is carried out');
};


subtest 'the session is killed in the middle' => sub {
    # one that waits long enough to be seen
    local $gateway = 'patient';

    my $serial = pack_new();
    my $holder = $sv->hold_row($gtin, $serial);
    my @sent   = $sv->sent(supply_request($serial));

    Test::SerialVerify::wait_for { $sv->waiting_sessions } 'the operation to wait for the row';
    $sv->sql(q{select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'sv_gateway' and wait_event_type = 'Lock'});

    my ($answer) = whenever($sv->answers(30, @sent));
    is(not_now($answer), 'not now', 'the client is told that it is not known');
    $holder->rollback;
    $holder->disconnect;
    truth($serial, 'killed in the middle');

    # all sessions at once, many times, with supplies under way
    $gateway = 'direct';
    my @serials = map { pack_new() } 1 .. 40;
    my @waiting = $sv->sent(map { supply_request($_) } @serials);
    $sv->sql(q{select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'sv_gateway'});
    my @strange = grep { $_->{status} != 200 && not_now($_) ne 'not now' } whenever($sv->answers(30, @waiting));
    is_deeply(\@strange, [], 'all sessions killed: done, or not known');
    truth($_, 'all sessions killed') for @serials[0 .. 9];
};


# Through a proxy: the database is well, the way to it is not.
$gateway = 'proxied';
$sv->start_fake('postgres');
$sv->start_nginx(name => 'proxied', verify => {
    %verify, postgres => "host=$sv->{base}/fake-postgres dbname=sv user=sv_gateway"});
$sv->start_nginx(name => 'proxied-patient', verify => {
    %patient, postgres => "host=$sv->{base}/fake-postgres dbname=sv user=sv_gateway"});

sub proxied_ready { return $sv->figure('postgres', 'write', 'ready', {nginx => $gateway}) // 0 }

subtest 'the reply is lost after the commit' => sub {
    local $gateway = 'proxied-patient';

    for my $how ('drop', 'cut 30', 'reset') {
        my $serial = pack_new();
        Test::SerialVerify::wait_for { proxied_ready() == 4 } 'connections';

        $sv->tell('postgres', $how =~ /cut/ ? $how : 'stall-down');
        my @sent = $sv->sent(supply_request($serial));
        Test::SerialVerify::wait_for { $sv->sql('select state from sv.pack where gtin = ? and serial = ?', $gtin, $serial) eq 'supplied' } 'the commit';
        $sv->tell('postgres', $how) if $how !~ /cut/;

        my ($answer) = whenever($sv->answers(30, @sent));
        is(not_now($answer), 'not now', "$how: the client is told that it is not known");
        $sv->tell('postgres', 'pass');

        my $first = truth($serial, "$how after the commit");
        is($first->{headers}{'idempotent-replayed'}, 'true', "$how: as a replay");
        is(supply($serial)->{body}, $first->{body}, "$how: and always the same");
    }
};

subtest 'the network is silent' => sub {
    my $cached  = pack_new();
    my @unknown = map { pack_new() } 1 .. 10;

    warm($cached);
    $sv->tell('postgres', 'stall');
    without_database('silent', $cached, @unknown);
    $sv->tell('postgres', 'drop');
    $sv->tell('postgres', 'pass');
    works_again('silent');
    truth($_, "silent, $_") for @unknown[0 .. 2];
};

subtest 'replies in pieces' => sub {
    my @serials = map { pack_new() } 1 .. 4;
    my (@sent, @wrong);

    Test::SerialVerify::wait_for { proxied_ready() == 4 } 'connections';
    $sv->tell('postgres', 'dribble 1 20');

    my $delay = $sv->static_delay(nginx => $gateway,
        before => sub { @sent = $sv->sent(map { (supply_request($_), verify_request($_)) } @serials) },
        after  => sub { push @wrong, grep { $_->{status} != 200 && not_now($_) ne 'not now' } whenever($sv->answers(30, @sent)) });

    cmp_ok($delay, '<', 0.1, sprintf 'half a reply holds nobody up (%.3f s)', $delay);
    is_deeply(\@wrong, [], 'done, or not known');
    $sv->tell('postgres', 'pass');
    truth($_, 'in pieces') for @serials;
};

subtest 'dribbling, cut, nonsense' => sub {
    my %fault = (
        'one byte every 2 ms'     => 'dribble 1 2',
        'cut after 3 bytes'       => 'cut 3',
        'cut after 40 bytes'      => 'cut 40',
        'cut on the way up'       => 'cut-up 20',
        'not the protocol'        => 'inject HTTP/1.1 400 Bad Request\r\n\r\n',
        'a length without sense'  => 'inject D\xff\xff\xff\xff\xff',
        'a message without query' => 'inject C\0\0\0\x0dSELECT 1\0',
        'instead of the reply'    => 'replace D\0\0\0\x04Z\0\0\0\x05I',
        'connections cut'         => 'cut-new 50',
    );

    for my $name (sort keys %fault) {
        my @serials = map { pack_new() } 1 .. 4;

        Test::SerialVerify::wait_for { proxied_ready() } 'connections';
        $sv->tell('postgres', $fault{$name});
        $sv->tell('postgres', 'drop') if $name eq 'connections cut';

        my @sent  = $sv->sent(map { (supply_request($_), verify_request($_)) } @serials);
        my @wrong = grep { $_->{status} != 200 && not_now($_) ne 'not now' } whenever($sv->answers(30, @sent));
        is_deeply(\@wrong, [], "$name: done, or not known");
        $sv->tell('postgres', 'pass');
        truth($_, $name) for @serials;
    }
};

subtest 'away from the start' => sub {
    my $serial = pack_new();

    $sv->tell('postgres', 'away');
    $sv->tell('postgres', 'drop');
    my @wrong = grep { $_ ne 'not now' } map { in_time(@{supply_request($serial)}) } 1 .. 5;
    is_deeply(\@wrong, [], 'operations are answered 503');
    $sv->tell('postgres', 'pass');
    works_again('away');
    truth($serial, 'away');
};

$sv->done_testing;
