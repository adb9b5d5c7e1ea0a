#!/usr/bin/env perl

# What others do to the streams and to PostgreSQL behind the judge's back: all that
# is still there is judged, once, and what is gone is counted.

use strict;
use warnings;

use FindBin;
use JSON::PP ();
use lib "$FindBin::Bin/lib";
use Redis;
use Test::More;
use Test::SerialVerify;
use Test::SerialVerify::Stream;
use Time::HiRes qw(time);

my $gtin = 9506000134352;
my $sv   = Test::SerialVerify->new(day => 200);
my $boot = 0;

$sv->start_postgres;
$sv->start_redis;

# another Redis, of another gateway
my $other = $sv->directory('other') . '/redis.sock';
$sv->start_server('other', command => ['redis-server', '--port', 0, '--unixsocket', $other, '--save', '', '--appendonly', 'no', '--daemonize', 'no', '--logfile', '']);
$sv->ready('other', sub { -S $other && eval { Redis->new(sock => $other)->ping } });

$sv->product($gtin);
$sv->lot($gtin, 'LOT1');
$sv->lot($gtin, 'LOTM');
$sv->sql(q{select sv.put_market(?, 'LOTM', 'IT', 'test')}, $gtin);

my @site = map { $sv->location(role => 'pharmacy', country => $_->[0], lat => $_->[1], lon => $_->[2]) } ['IT', 45.46, 9.19], ['BR', -23.55, -46.63];

sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)

# of another process each
sub gateway { my (%of) = @_; return Test::SerialVerify::Stream->new($sv, boot => ++$boot, %of) }

sub scans { my (@serials) = @_; return map { {serial => $_, location => $site[0]} } @serials }

sub supply {
    my ($serial, @at) = @_;

    $sv->sql(q{insert into sv.lot (gtin, lot, expiry) values (?, ?, date '2030-12-31') on conflict do nothing}, $gtin, "L$serial");
    $sv->sql(q{insert into sv.pack (gtin, serial, lot, expiry) values (?, ?, ?, date '2030-12-31') on conflict do nothing}, $gtin, $serial, "L$serial");
    $sv->sql(q{select sv.operate(?, ?, ?, date '2030-12-31', 'supply', null, ?, gen_random_uuid()::text, 'f', 'scanned', null, 'IT-1',
        gen_random_uuid(), gen_random_uuid()::text)}, $gtin, $serial, "L$serial", $_) for @at;

    return;
}

sub there { my ($serial) = @_; return $sv->sql('select count(*) from sv.scan where serial = ?', $serial) }

sub comes { my ($serial) = @_; return wait_for { there($serial) } "$serial in history" }

sub source { my ($gateway) = @_; return [$sv->sql('select last_seq, received from sv.scan_source where gateway = ? and boot = ?', $gateway->{gateway}, $gateway->{boot})] }

sub whole {
    my ($what) = @_;

    is($sv->sql(q{select string_agg(k, ', ') from (
        select 'scan ' || s.gateway || ' ' || s.boot || ' ' || s.seq as k from sv.scan s group by s.gateway, s.boot, s.seq having count(*) > 1
        union all
        select 'number ' || s.n from sv.scan s group by s.n having count(*) > 1
        union all
        select 'evidence ' || n from sv.case_finding f, unnest(f.scans) n where not exists (select from sv.scan s where s.n = n)) x}), undef, "$what: nothing is there twice");
    return;
}


$sv->start_worker(name => 'relay', roles => 'relay');
$sv->start_worker(roles => 'consume', drain_timeout => '1s', redis => 'unix:' . $sv->redis_socket . "\nredis = unix:$other");

subtest 'a stream that somebody cuts off' => sub {
    my $gateway = gateway();

    $gateway->send(scans('A1'));
    comes('A1');
    $sv->pause('worker');
    # what it asked for before is answered
    $sv->redis->ping for 1 .. 2;
    $gateway->send(scans("A$_")) for 2 .. 9;

    # three were delivered and not acknowledged; four are cut off, delivered or not
    $sv->redis->xreadgroup('GROUP', 'judge', 'judge', 'COUNT', 3, 'STREAMS', 'sv:scans', '>');
    $sv->redis->xtrim('sv:scans', 'MAXLEN', 4);
    $sv->resume('worker');
    comes('A9');
    wait_for { $sv->redis->xpending('sv:scans', 'judge')->[0] == 0 } 'all to be acknowledged';
    is_deeply(source($gateway), [9, 5], 'what is gone is counted');
    is(there('A5'), 0, 'the last that was cut off');
    is(there('A6'), 1, 'the first that was not');
    whole('cut off');
};

# one that was acknowledged and stays, when a server dies between the two, would stay for ever
subtest 'deleted, then acknowledged' => sub {
    $sv->redis->config('set', 'slowlog-log-slower-than', 0);
    gateway()->send(scans('AA'));
    comes('AA');
    my $done = wait_for {
        my @found = map { $_->[3][0] } reverse @{$sv->redis->slowlog('get', 100)};
        @found = grep {/^x(?:ack|del)$/i} @found;
        @found == 2 && \@found;
    } 'both';
    $sv->redis->config('set', 'slowlog-log-slower-than', 10_000);
    is_deeply([map {lc} @{$done}], [qw(xdel xack)], 'in this order');
};

subtest 'a stream or its group is gone' => sub {
    my $gateway = gateway();
    my %gone    = (
        'the group'  => sub { $sv->redis->xgroup('DESTROY', 'sv:scans', 'judge') },
        'the stream' => sub { $sv->redis->del('sv:scans') },
        'everything' => sub { $sv->redis->flushall },
        'its place'  => sub {
            $sv->redis->del('sv:scans');
            $sv->redis->set('sv:scans', 'of another kind');
            wait_for { $sv->log_of('worker') =~ /WRONGTYPE/ } 'it to be told';
            supply('GONE', $site[0]);
            comes('GONE');
            $sv->redis->del('sv:scans');
        },
    );

    for my $what (sort keys %gone) {
        my $serial = 'B' . ($gateway->{sequence} + 1);

        $gone{$what}->();
        $gateway->send(scans($serial));
        comes($serial);
    }

    is_deeply(source($gateway), [4, 4], 'none is missing');
    whole('gone');
};

subtest 'one Redis of two' => sub {
    my ($here, $there) = (gateway(), gateway(gateway => 'other', redis => Redis->new(sock => $other)));

    $there->send(scans('C1'));
    comes('C1');
    $there->send(scans("C$_")) for 2 .. 5;
    comes('C5');
    $sv->pause('other');
    my $start = time;
    $here->send(scans('D1'));
    comes('D1');
    supply('D2', $site[0]);
    comes('D2');
    cmp_ok(time - $start, '<', 60, 'one that is frozen holds up nothing of the other');
    wait_for { JSON::PP::decode_json($sv->sql('select streams from sv.judge'))->{"unix:$other"} // 'null' eq 'null' } 'status to tell';
    $sv->resume('other');
    $there->send(scans('C6'));
    comes('C6');
    is_deeply([map { source($_) } $here, $there], [[1, 1], [6, 6]], 'all came once');
    whole('two');
};

subtest 'clocks of gateways' => sub {
    my ($gateway, $twin) = (gateway(), gateway());
    my $now = int(time * 1000);

    # it jumps back, and has never been set
    $gateway->send({serial => 'E1', location => $site[0], at => $now}, {serial => 'E2', location => $site[0], at => $now - 3_600_000},
        {serial => 'E3', location => $site[0], at => 86_400_000});

    # another one has the same name
    my @line = map { $twin->line($_) } scans(map {"F$_"} 1 .. 3);
    $twin->lines(@line[2, 0]);
    $gateway->send(scans('E4'));
    $twin->lines(@line);
    comes($_) for qw(E4 F2);
    is_deeply([map { source($_) } $gateway, $twin], [[4, 4], [3, 3]], 'all came once');
    whole('clocks');
};

subtest 'a day without a partition' => sub {
    my $gateway = gateway();
    my $part    = $sv->sql(q{select 'scan_' || to_char(now() at time zone 'UTC' + interval '1 day', 'YYYYMMDD')});
    my $day     = 86_400_000;
    my $now     = int(time * 1000);

    # housekeeping stood still for a week: tomorrow has none
    $sv->sql("drop table sv.$part");
    $gateway->send({serial => 'G1', location => $site[0], at => $now + $day}, {serial => 'G2', location => $site[0], at => $now - 20 * $day});
    comes('G2');
    is($sv->sql(q{select count(*) from only sv.scan_default where serial ~ '^G'}), 2, 'they are kept');

    # what comes late into a day that retention has taken off
    $sv->sql('set role sv_owner');
    $sv->sql(q{select sv.make_day_partition('scan', (now() at time zone 'UTC')::date - 401)});
    $sv->sql('reset role');
    $gateway->send({serial => 'G3', location => $site[0], at => $now - 401 * $day});
    comes('G3');
    for (1 .. 9) { last if !$sv->sql(q{select more from sv.keep_scans(now() - interval '400 days', 1000)}) }
    is(there('G3'), 0, 'the day is gone');
    $gateway->send({serial => 'G4', location => $site[0], at => $now - 401 * $day});
    comes('G4');
    is_deeply(source($gateway), [4, 4], 'all came');
    for (1 .. 9) { last if !$sv->sql(q{select more from sv.keep_scans(now() - interval '400 days', 1000)}) }
    is(there('G4'), 0, 'and it goes with the next round');
    whole('days');
};

# longer than a lease: whoever waits for it must not take it away, for ever
subtest 'two workers, and history that takes long to read' => sub {
    $sv->stop('worker');
    $sv->sql('alter function sv.judge_late(bigint, text, timestamptz) rename to judge_late_fast');
    $sv->sql(q{create function sv.judge_late(p_gtin bigint, p_lot text, p_since timestamptz)
        returns table (gtin bigint, lot text, expiry text, at_ms bigint, serials text)
        language sql security definer set search_path = pg_catalog, pg_temp
        as $$ select l.* from (select pg_sleep(12)) s, sv.judge_late_fast(p_gtin, p_lot, p_since) l $$});
    $sv->start_worker(name => $_, roles => 'consume', drain_timeout => '1s') for qw(one two);
    gateway()->send(scans('K1'));
    comes('K1');
    $sv->stop($_) for qw(one two);
    $sv->sql('drop function sv.judge_late(bigint, text, timestamptz)');
    $sv->sql('alter function sv.judge_late_fast(bigint, text, timestamptz) rename to judge_late');
    $sv->start_worker(roles => 'consume', drain_timeout => '1s');
    whole('two workers');
};

# What was acknowledged in a stream is gone with it; operations are in the chain of that time.
subtest 'PostgreSQL comes back as it was before' => sub {
    my $gateway = gateway();
    my $data    = $sv->directory('postgres') . '/data';
    my $send    = sub { $gateway->send(map { {serial => $_, lot => 'LOTM', location => $site[1]} } @_) };

    $send->('H1');
    comes('H1');
    supply('H0', @site);
    wait_for { $sv->sql(q{select count(*) from sv.case_finding where 'H0' = any (serials)}) } 'a case';

    # a copy of now
    $sv->pause('worker');
    $sv->stop('postgres');
    is(system('cp', '-a', $data, "$data.before"), 0, 'a copy');
    $sv->start_postgres;
    $sv->resume('worker');

    $send->(map {"H$_"} 2 .. 9);
    comes('H9');
    supply('I0', @site);
    wait_for { $sv->sql(q{select count(*) from sv.case_finding where 'I0' = any (serials)}) } 'a case of what will be lost';
    wait_for { $sv->redis->xlen('sv:scans') == 0 } 'the blocks to be acknowledged';
    my $pid = ($sv->server('worker')->children)[0];

    $sv->kill9('postgres');
    is(system('rm', '-rf', $data) || system('mv', "$data.before", $data), 0, 'the copy comes back');
    $sv->start_postgres;

    $send->('H10');
    supply('J0', @site);
    comes('H10');
    wait_for { $sv->sql(q{select count(*) from sv.case_finding where 'J0' = any (serials)}) } 'a case';
    wait_for { $sv->sql(q{select count(*) from sv.case_finding where 'H10' = any (serials)}) } 'the same case as before with new evidence';
    is(($sv->server('worker')->children)[0], $pid, 'it is the same process');
    whole('restored');
    is_deeply([map { there($_) } qw(H1 H5 H10)], [1, 0, 1], 'what was lost is not there');
    is($sv->sql(q{select count(*) from sv.case_finding where serials && '{H2,H3,H9,I0}'}), 0, 'nor is anything said of it');
    is_deeply(source($gateway), [10, 2], 'it is counted');
};

$sv->done_testing;
