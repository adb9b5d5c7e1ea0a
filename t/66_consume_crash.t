#!/usr/bin/env perl

# Whatever ends the judge, its servers or their disks, at any time: every
# operation is judged once, every scan once or counted as lost, and each case is there once.
#
#   SV_TEST_SEED    of the times at which something dies
#   SV_TEST_ALL=1   more of them

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;
use Test::SerialVerify::Stream;
use Time::HiRes qw(sleep time);

my $gtin = 9506000134352;
my $seed = $ENV{SV_TEST_SEED} // time % 1_000_000;
my $sv   = Test::SerialVerify->new(day => 400);

srand $seed;
diag("SV_TEST_SEED=$seed");

$ENV{SVW_FAILPOINTS} = $sv->directory('failpoints');
$sv->start_postgres;
$sv->start_redis(settings => ['--appendonly', 'yes', '--appendfsync', 'always']);
$sv->product($gtin);
$sv->lot($gtin, 'LOT1');

# a lot each: packs of one lot that were supplied twice at the same sites would be one case
$sv->sql(q{insert into sv.lot (gtin, lot, expiry) select ?, 'L' || i, date '2030-12-31' from generate_series(1, 5000) i}, $gtin);
$sv->sql(q{insert into sv.pack (gtin, serial, lot, expiry) select ?, 'P' || i, 'L' || i, date '2030-12-31' from generate_series(1, 5000) i}, $gtin);

my @site    = map { $sv->location(role => 'pharmacy', country => $_) } qw(IT DE);
my $gateway = Test::SerialVerify::Stream->new($sv);
my $pack    = 0;
my @clones;

sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


sub operate {
    my ($serial, $site) = @_;

    my $dbh = $sv->dbh;
    return $dbh->selectrow_array(q{select reason from sv.operate(?, ?, ?, date '2030-12-31', 'supply', null, ?, gen_random_uuid()::text, 'f', 'scanned', null, 'IT-1',
        gen_random_uuid(), gen_random_uuid()::text)}, undef, $gtin, $serial, $serial =~ s/P/L/r, $site);
}

# traffic of one turn: scans, a supply, and a pack that two sites supply
sub turn {
    my ($scans) = @_;

    my $serial = 'P' . ++$pack;

    operate($serial, $site[0]);
    operate($serial, $site[1]);
    push @clones, $serial;
    operate('P' . ++$pack, $site[0]);
    $gateway->send(map { {serial => "V$gateway->{sequence}x$_", location => $site[$_ % 2]} } 1 .. ($scans // 20));

    return;
}

sub start { my ($name, %more) = @_; return $sv->start_worker(name => $name, roles => 'consume', drain_timeout => '1s', %more) }

sub consumer { my ($name) = @_; return ($sv->server($name)->children)[0] }

# everything that was sent and done is judged
sub settled {
    wait_for {
        eval {
            $sv->redis->xlen('sv:scans') == 0
                && $sv->sql('select not exists (select from sv.outbox) and h.n = j.chain_n from sv.audit_head h, sv.judge j')
                && $sv->sql(q{select count(distinct s) = ? from (select unnest(f.serials) s from sv.case_finding f join sv.case c using (gtin, case_id)
                    where f.rule = 'supply_of_inactive' and not f.withdrawn) x}, scalar @clones);
        };
    } 'all to be judged', 180;

    return;
}

# nothing is missing, nothing is double
sub whole {
    my ($what, %lost) = @_;

    settled();

    is($sv->sql(q{select string_agg(k, ', ') from (
        select 'operation ' || c.n as k
        from sv.audit_chain c join sv.audit a using (gtin, at, audit_id) left join sv.scan s on s.gateway = '' and s.seq = c.n
        where a.kind = 'operation'
        group by c.n having count(s.n) <> 1
        union all
        select 'number ' || s.n from sv.scan s group by s.n having count(*) > 1
        union all
        select 'scan ' || s.gateway || ' ' || s.seq from sv.scan s group by s.gateway, s.boot, s.seq having count(*) > 1
        union all
        select 'finding ' || f.finding_id from sv.case_finding f group by f.finding_id having count(*) > 1
        union all
        select 'cases of ' || x.s from (select distinct unnest(f.serials) as s, f.case_id from sv.case_finding f where not f.withdrawn) x
        group by x.s having count(*) > 1
        union all
        select 'evidence of ' || f.serials[1] from sv.case_finding f where cardinality(f.scans) <> 2
        union all
        select 'opened ' || e.case_id from sv.case_event e where e.kind = 'opened' group by e.case_id having count(*) > 1
        union all
        select 'never opened ' || c.number from sv.case c where not exists (select from sv.case_event e where e.case_id = c.case_id and e.kind = 'opened')
        union all
        select 'evidence told of ' || e.case_id from sv.case_event e where e.kind <> 'opened'
        ) x}), undef, "$what: nothing is double");
    is($sv->sql(q{select count(*) from sv.case where status <> 'merged'}), scalar @clones, "$what: a case for each");
    is_deeply([$sv->sql('select coalesce(sum(last_seq), 0), coalesce(sum(last_seq - received), 0) from sv.scan_source')],
        [$gateway->{sequence} + ($lost{unseen} // 0), $lost{scans} // 0], "$what: scans, and those that were lost");
    is($sv->sql(q{select count(*) from sv.scan where gateway <> ''}), $gateway->{sequence} - ($lost{scans} // 0), "$what: all that came are there");

    return;
}


$sv->start_worker(name => 'relay', roles => 'relay');
start('worker');

subtest 'SIGKILL at random' => sub {
    for ($sv->seeds(5, 60)) {
        my $pid = wait_for { consumer('worker') } 'a consumer';
        turn() for 1 .. 3;
        sleep rand 0.25;
        kill 'KILL', $pid;
        turn();
    }

    whole('killed');
};

subtest 'SIGKILL where it hurts' => sub {
    plan skip_all => 'the release build has no failpoints' if !$sv->asan;

    for my $name (map { ("consume-$_") x 2 } qw(begun history chain cases committed)) {
        $sv->write_file("failpoints/$name", '');
        turn();
        wait_for { !-e "$ENV{SVW_FAILPOINTS}/$name" } $name;
        turn();
    }

    whole('killed');
};

subtest 'two workers' => sub {
    start('second');

    for ($sv->seeds(2, 20)) {
        for my $name (qw(worker second)) {
            my $pid = wait_for { consumer($name) } 'a consumer';
            turn();
            sleep rand 0.1;
            kill 'KILL', $pid;
            turn();
        }
    }

    whole('killed');
    is($sv->sql(q{select count(*) from sv.judge where holder is not null}), 1, 'one judges');
};

# It stands still in the middle of a transaction, PostgreSQL ends it, the other one takes over, and it comes back.
subtest 'the lease of one that hangs' => sub {
    turn();
    settled();

    # of the two the one that does not hang goes on; those that were killed wrote to the same logs
    my %says;
    my $tell = sub { my ($name) = @_; my $pid = consumer($name) // 0; return ($sv->log_of($name) =~ /consume\[$pid\]: (judges|another worker judges)$/mg)[-1] // '' };
    wait_for { %says = map { ($tell->($_) => $_) } qw(worker second); $says{judges} && $says{'another worker judges'} } 'both to say who judges';
    my ($hung, $other) = @says{'judges', 'another worker judges'};

    my $first = $sv->sql('select a.pid from sv.judge j join pg_stat_activity a on a.pid = j.pid');
    my $hold  = $sv->new_dbh;
    $hold->begin_work;
    $hold->do('select from sv.scan_source for update');
    turn();
    wait_for { $sv->sql(q{select count(*) from pg_stat_activity where pid = ? and wait_event_type = 'Lock'}, $first) } 'it to be in a transaction';

    $sv->pause($_) for qw(worker second);
    $hold->rollback;
    wait_for { $sv->sql(q{select count(*) from pg_stat_activity where pid = ? and state = 'idle in transaction'}, $first) } 'its transaction to stay open';

    $sv->resume($other);
    wait_for { ($sv->sql('select pid from sv.judge') // 0) != $first } 'the other to take the lease', 120;
    $sv->resume($hung);
    turn();
    whole('taken over');
};

subtest 'Redis is away, comes back, loses all' => sub {
    turn();
    $sv->kill9('redis');
    operate('P' . ++$pack, $site[0]) for 1 .. 3;
    $sv->start_redis(settings => ['--appendonly', 'yes', '--appendfsync', 'always']);
    turn();
    whole('killed and back');

    # the workers stand still: what is in the stream now is lost with it, but for an answer to what they asked before
    $sv->pause($_) for qw(worker second);
    $sv->redis->ping for 1 .. 2;
    my $before = $gateway->{sequence};
    turn(30);
    my $lost = $gateway->{sequence} - $before;
    $sv->kill9('redis');
    system("rm -rf $sv->{base}/redis/appendonlydir");
    $sv->start_redis(settings => ['--appendonly', 'yes', '--appendfsync', 'always']);
    $sv->resume($_) for qw(worker second);
    turn();
    whole('lost', scans => $lost);
};

subtest 'PostgreSQL is killed' => sub {
    for (1 .. 2) {
        turn();
        sleep rand 0.1;
        $sv->kill9('postgres');
        $gateway->send(map { {serial => "W$gateway->{sequence}x$_", location => $site[0]} } 1 .. 20);
        $sv->start_postgres;
        turn();
        whole('killed', scans => 30);
    }
};

subtest 'Redis is full' => sub {
    turn();
    $sv->redis->config('set', 'maxmemory', '1mb');
    $sv->redis->config('set', 'maxmemory-policy', 'noeviction');
    ok(!eval { $gateway->lines('x' x 2_000_000); 1 }, 'it takes no more');
    operate('P' . ++$pack, $site[0]);
    settled();

    # a worker that starts when it is full must make room
    $sv->pause($_) for qw(worker second);
    $sv->redis->config('set', 'maxmemory', '0');
    turn();
    $sv->redis->config('set', 'maxmemory', '1mb');
    kill 'KILL', consumer($_) for qw(worker second);
    $sv->resume($_) for qw(worker second);
    settled();
    $sv->redis->config('set', 'maxmemory', '0');
    turn();
    whole('full', scans => 30);
};

subtest 'the disk of PostgreSQL is full' => sub {
    my $small = $sv->directory('small');
    plan skip_all => 'nothing can be mounted here' if $> != 0 || system("mount -t tmpfs -o size=3m none $small 2>/dev/null") != 0;
    $sv->give($small);

    my ($part) = $sv->sql(q{select 'scan_' || to_char(now() at time zone 'UTC', 'YYYYMMDD')});
    $sv->sql("create tablespace small location '$small'");
    $sv->sql("alter table sv.$part set tablespace small");
    $sv->sql("create table sv.filler (t text) tablespace small");
    eval { $sv->sql(q{insert into sv.filler select repeat('x', 7000) from generate_series(1, 1000)}); 1 } for 1 .. 2;
    $sv->sql(q{insert into sv.filler select repeat(md5(i::text), 200) from generate_series(1, 20) i}) while eval { $sv->sql(q{insert into sv.filler select string_agg(md5(i::text || j), '')
        from generate_series(1, 20) i, generate_series(1, 200) j group by j}); 1 };

    turn(400) for 1 .. 4;
    wait_for { join('', map { $sv->log_of($_) } qw(worker second)) =~ /No space left on device/ } 'the disk to be full';
    $sv->sql('drop table sv.filler');
    whole('and has room again', scans => 30);
    $sv->sql("alter table sv.$part set tablespace pg_default");
    $sv->sql('drop tablespace small');
    $sv->stop('postgres');
    system("umount $small");
};

$sv->allow_log(qr/was terminated by signal 9/);
$sv->done_testing;
