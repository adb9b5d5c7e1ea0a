#!/usr/bin/env perl

# What must not be dispensed, is not: recalls, withdrawals and revoked keys
# reach every worker process of every gateway within a second while Redis is
# dead, and operations are refused by the database from the commit on.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(time);
use Test::SerialVerify;

my $gtin     = 9506000134352;
my @gateways = qw(north south);

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);

my $pharmacy = $sv->actor('pharmacy', country => 'IT');
my $key      = $pharmacy->{key};
my $serials  = 0;
my $keys     = 0;

$sv->pack_row($gtin, 'A1');
$sv->pack_row($gtin, 'B1', lot => 'LOT2');
$sv->pack_row($gtin, 'OLD', lot => 'LOT3', expiry => '2026-01-31');

# expiry as it is on each pack
my %link = (
    A1  => $sv->link_to($gtin, 'A1'),
    B1  => $sv->link_to($gtin, 'B1', lot => 'LOT2'),
    OLD => $sv->link_to($gtin, 'OLD', lot => 'LOT3', expiry => '260131'),
);

# time enough for a busy machine: nothing here waits for the deadline
$sv->start_nginx(name => $_, workers => 2, verify => {deadline => '8s'}) for @gateways;
$sv->kill9('redis');


# The reasons that all worker processes of all gateways give, in one word if they agree.
sub reasons {
    my ($name, %option) = @_;

    my %seen;

    for my $answer ($sv->parallel(map { my $g = $_; map { ['GET', $link{$name}, key => $key, nginx => $g, %option] } 1 .. 3 } @gateways)) {
        $seen{$answer->{json}{reason} // "status $answer->{status}"}++;
    }

    return join ' and ', sort keys %seen;
}


# within_a_second(CHANGE, NAME, REASON, TEXT, BACK)
sub within_a_second {
    my ($change, $name, $reason, $text, $back) = @_;

    my ($took, $last) = $sv->said_after(change => $change, ask => sub { reasons($name) }, said => $reason, within => 1, back => $back);

    is($last, $reason, "$text: everywhere");
    cmp_ok($took, '<', 1, sprintf '%s: within a second (%.2f s)', $text, $took);

    return;
}


sub supply {
    my ($name, %option) = @_;

    return $sv->post($link{$name}, '{"operation":"supply"}', key => $key, idempotency => 'try-' . ++$keys, nginx => $gateways[0], %option);
}


# By the SQL function alone, as the gateway calls it.
sub operate {
    my ($serial, $lot, $expiry) = @_;

    my $row = $sv->dbh('sv_gateway')->selectrow_hashref('select reason, changed, state from sv.operate(?, ?, ?, ?, ?, null, ?, ?, ?, ?, null, null, gen_random_uuid(), ?)',
        undef, $gtin, $serial, $lot, $expiry, 'supply', $pharmacy->{id}, 'sql-' . ++$keys, 'f' x 64, 'scanned', 'r-1');

    return "$row->{reason}, " . ($row->{changed} ? 'changed' : 'not changed') . ", $row->{state}";
}


sub recall   { return $sv->sql('select sv.recall_lot(?, ?, ?, ?, ?)', $gtin, $_[0], 'impurity', 'REF-1', 'test') }
sub lift     { return $sv->sql('select sv.lift_recall(?, ?, ?, ?)', $gtin, $_[0], 'all is well', 'test') }


is(reasons('A1'), 'ok', 'nothing is recalled, and Redis is dead');


subtest 'a recall' => sub {
    # the gateways need not know it yet
    recall('LOT1');
    my $answer = supply('A1');
    is($answer->{status}, 409, 'a supply right after the commit is refused');
    is($answer->{json}{reason}, 'recalled', 'because of the recall');
    lift('LOT1');

    Test::SerialVerify::wait_for { reasons('A1') eq 'ok' } 'the recall to be lifted';

    within_a_second(sub { recall('LOT1') }, 'A1', 'recalled', 'recalled', sub { lift('LOT1') });
    is(reasons('B1'), 'ok', 'another lot is not');
    is(operate('A1', 'LOT1', '2030-12-31'), 'recalled, not changed, active', 'the SQL function refuses it alone');
    like($sv->get($link{A1}, key => $key, nginx => 'south')->{json}{reference}, qr/REF-1/, 'and the reference is told');

    within_a_second(sub { lift('LOT1') }, 'A1', 'ok', 'lifted', sub { recall('LOT1') });
};


subtest 'two changes, the first commits last' => sub {
    my $first  = $sv->new_dbh;
    my $second = $sv->new_dbh;

    $first->begin_work;
    $first->do('select sv.recall_lot(?, ?, ?)', undef, $gtin, 'LOT1', 'slow');

    # DBD::Pg's PG_ASYNC: it waits in the server
    my $statement = $second->prepare('select sv.recall_lot(?, ?, ?)', {pg_async => 1});
    $statement->execute($gtin, 'LOT2', 'quick');
    Test::SerialVerify::wait_for {
        $sv->sql(q{select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%recall_lot%'});
    } 'the second to wait';
    ok(!$second->pg_ready, 'the second waits for the first');
    is(reasons('B1'), 'ok', 'and nobody sees it yet');

    within_a_second(sub { $first->commit }, 'A1', 'recalled', 'the first');
    ok(eval { Test::SerialVerify::wait_for { $second->pg_ready } 'the second' }, 'the second is through');
    within_a_second(sub { $second->pg_result }, 'B1', 'recalled', 'the second');

    $statement->finish;
    $_->disconnect for $first, $second;

    # the number of one that was rolled back is missing, and nobody waits for it
    my $third = $sv->new_dbh;
    $third->begin_work;
    $third->do('select sv.lift_recall(?, ?, ?)', undef, $gtin, 'LOT1', 'no');
    $third->rollback;
    $third->disconnect;
    within_a_second(sub { lift('LOT2') }, 'B1', 'ok', 'after one that was rolled back', sub { recall('LOT2') });
    is(reasons('A1'), 'recalled', 'which had no effect');
    within_a_second(sub { lift('LOT1') }, 'A1', 'ok', 'lifted', sub { recall('LOT1') });
};


subtest 'a product withdrawn' => sub {
    my $withdraw = sub { $sv->sql('select sv.withdraw_product(?, ?, ?, ?)', $gtin, 'unsafe', 'REF-2', 'test') };
    my $allow    = sub { $sv->sql('select sv.lift_withdrawal(?, ?, ?)', $gtin, 'safe', 'test') };

    within_a_second($withdraw, 'A1', 'withdrawn', 'withdrawn', $allow);
    is(supply('A1')->{json}{reason}, 'withdrawn', 'a supply is refused');
    is(operate('A1', 'LOT1', '2030-12-31'), 'withdrawn, not changed, active', 'the SQL function refuses it alone');
    within_a_second($allow, 'A1', 'ok', 'lifted', $withdraw);
};


subtest 'an expired pack' => sub {
    is(reasons('OLD'), 'expired', 'says so');
    is(supply('OLD')->{json}{reason}, 'expired', 'a supply is refused');
    is(operate('OLD', 'LOT3', '2026-01-31'), 'expired, not changed, active', 'the SQL function refuses it alone');
};


subtest 'a key revoked' => sub {
    my ($stolen, $took);

    for (1 .. 4) {
        $stolen = $sv->credential($pharmacy->{id});
        Test::SerialVerify::wait_for { reasons('A1', key => $stolen) eq 'ok' } 'a second key of the pharmacy';

        ($took) = $sv->said_after(change => sub { $sv->sql('select sv.revoke_credential(?, ?)', sha256_hex($stolen), 'test') },
            ask => sub { reasons('A1', key => $stolen) }, said => 'credential_unknown', within => 1);
        last if $took < 1;
    }

    is(reasons('A1', key => $stolen), 'credential_unknown', 'revoked everywhere');
    cmp_ok($took, '<', 1, sprintf 'within a second (%.2f s)', $took);
    is(supply('A1', key => $stolen)->{status}, 401, 'an operation is refused');
    is(reasons('A1'), 'ok', 'the other key is as good as before');
};


# Of two worker processes one holds the lease: both are killed, one after the other.
subtest 'the process that reads the changes is killed' => sub {
    $sv->allow_log(qr/worker process \d+ exited on signal 9/);

    my $replaced = sub { my ($victim) = @_; Test::SerialVerify::wait_for { 2 == grep { $_ != $victim } $sv->workers('north') } 'the next process' };

    for my $turn (1 .. 2) {
        my $victim;

        # the oldest
        within_a_second(sub { ($victim) = $sv->workers('north'); kill 'KILL', $victim; recall('LOT1') }, 'A1', 'recalled', 'another takes over',
            sub { lift('LOT1'); $replaced->($victim) });
        $replaced->($victim);
        within_a_second(sub { lift('LOT1') }, 'A1', 'ok', 'and goes on', sub { recall('LOT1') });
    }
};


# --- without PostgreSQL

subtest 'before the first complete copy' => sub {
    $sv->stop('postgres', signal => 'QUIT');
    $sv->start_nginx(name => 'new', unready => 1);

    my %who = ('a good key' => {key => $key}, 'a wrong key' => {key => 'key-0123456789abcdef0123'}, 'no key' => {}, 'no sense' => {headers => {Authorization => 'x'}});

    for my $who (sort keys %who) {
        my $answer = $sv->get($link{A1}, nginx => 'new', %{$who{$who}});
        is($answer->{status}, 503, "$who: not known, never 401");
        like($answer->{headers}{'retry-after'}, qr/^\d+$/, "$who: ask again");
    }

    is(supply('A1', nginx => 'new')->{status}, 503, 'nor is an operation done');
    is($sv->get('/static', nginx => 'new')->{status}, 200, 'other locations are served');
    ok(!$sv->figure('reference_data', 'complete', {nginx => 'new'}), 'and /status says why');

    $sv->start_postgres;
    ok(eval { Test::SerialVerify::wait_for { $sv->get($link{A1}, nginx => 'new', key => $key)->{status} == 200 } 'the copy' }, 'it comes by itself');
    is($sv->get($link{A1}, nginx => 'new', key => 'key-0123456789abcdef0123')->{status}, 401, 'now a wrong key is wrong');
};


subtest 'a copy that grows old' => sub {
    $sv->start_redis;
    $sv->start_nginx(name => 'old', verify => {stale_limit => '3s', deadline => '8s', redis_timeout => '4s'});

    my $get = sub { return $sv->get($link{A1}, nginx => 'old', key => $key) };
    Test::SerialVerify::wait_for { $get->(); $sv->cached($gtin, 'A1') } 'an entry in the cache';
    ok(!exists $get->()->{json}{stale}, 'up to date: no mark');

    $sv->pause('postgres');

    my @seen = ('not marked');
    my $answer;
    Test::SerialVerify::wait_for {
        $answer = $get->();
        my $what = $answer->{status} == 200 ? ($answer->{json}{stale} ? 'marked' : 'not marked') : $answer->{status};
        push @seen, $what if $seen[-1] ne $what;
        $what eq '503';
    } 'the limit';

    is_deeply(\@seen, ['not marked', 'marked', 503], 'first marked, beyond the limit refused');
    like($answer->{headers}{'retry-after'}, qr/^\d+$/, 'with a hint when to ask again');
    is($sv->get($link{A1}, nginx => 'old', key => 'key-0123456789abcdef0123')->{status}, 503, 'nor is a key called wrong');

    $sv->resume('postgres');
    ok(eval { Test::SerialVerify::wait_for { my $a = $get->(); $a->{status} == 200 && !$a->{json}{stale} } 'the copy' }, 'it recovers by itself');
};


subtest 'a copy that does not fit' => sub {
    $sv->start_nginx(name => 'small', verify => {zone => '1m', deadline => '8s'});

    my $reference = sub { return $sv->figure('reference_data', $_[0], {nginx => 'small'}) };
    my $get       = sub { return $sv->get($link{A1}, nginx => 'small', key => $key) };

    recall('LOT1');
    Test::SerialVerify::wait_for { $get->()->{json}{reason} eq 'recalled' } 'the recall';

    $sv->numbered("insert into sv.credential (ref_n, sha256, kind, location_id, not_before)
        select ?, sha256(i::text::bytea), 'api_key', ?, now() from generate_series(1, 20000) i", $pharmacy->{id});
    Test::SerialVerify::wait_for { $reference->('full') } 'the zone to be full';

    my $answer = $get->();
    is_deeply([@{$answer->{json}}{qw(reason stale)}], ['recalled', JSON::PP::true()], 'the old copy stays, marked');
    like($sv->get('/metrics', nginx => 'small')->{body}, qr/^serial_verify_reference_full 1$/m, 'the metric says so');
    like($sv->log_of('small'), qr/\[error\].*reference data does not fit into its zone/, 'and the log');

    recall('LOT2');
    is(supply('B1', nginx => 'small')->{json}{reason}, 'recalled', 'an operation is refused all the same');

    $sv->numbered('update sv.credential set ref_n = ?, revoked = true where ref_n = (select max(ref_n) from sv.credential)');
    ok(eval { Test::SerialVerify::wait_for { !$reference->('full') && !$reference->('stale') } 'room' }, 'with less to hold it recovers');
    is_deeply([@{$get->()->{json}}{qw(reason stale)}], ['recalled', undef], 'and is up to date');
};

$sv->done_testing;
