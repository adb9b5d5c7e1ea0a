#!/usr/bin/perl

# The relay: what changed reaches every Redis, the audit rows are chained, and
# neither is lost or doubled whoever is killed or away.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256 sha256_hex);
use Test::More;

use Test::SerialVerify;

my $gtin = 9506000134352;
my $sv   = Test::SerialVerify->new;

$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);

my $pharmacy = $sv->location(role => 'pharmacy');
my $number   = 0;


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


sub uuid {
    my $hex = sha256_hex(join '-', $$, ++$number);

    return join '-', unpack 'A8 A4 A4 A4 A12', $hex;
}


sub operate {
    my ($serial, $operation, $of, $dbh) = @_;

    my $row = ($dbh // $sv->dbh)->selectrow_hashref(
        q{select * from sv.operate(?, ?, 'LOT1', '2030-12-31', ?, ?, ?, ?, 'f', 'scanned', null, 'XX-1', ?::text::uuid, 'r')},
        undef, $gtin, $serial, $operation, $of, $pharmacy, 'key-' . ++$number, uuid());

    return $row->{reason};
}


sub outbox { return $sv->sql('select count(*) from sv.outbox') }
sub drained { return outbox() == 0 }


# The prefix as docs/architecture.md says: FNV-1a over epoch, a slash, and the run id.
sub prefix {
    my ($run_id) = $sv->redis->info('server')->{run_id};
    my $hash = Math::BigInt->from_hex('cbf29ce484222325');
    my $mod  = Math::BigInt->new(2)->bpow(64);

    for my $byte (unpack 'C*', $sv->sql('select sv.epoch()') . '/' . $run_id) {
        $hash->bxor($byte)->bmul(Math::BigInt->from_hex('100000001b3'))->bmod($mod);
    }

    return sprintf '%016s', substr $hash->to_hex, 0;
}


sub key { return sprintf 'sv:%s:%014d:%s', prefix(), $gtin, $_[0] }


# As a gateway would have cached it: version 1, active. Only an entry that is there is replaced.
sub cached {
    my ($serial) = @_;

    $sv->redis->set(key($serial), '1 a 20301231 0 0 LOT1 0000000000000000', 'PX', 3_600_000);

    return;
}


# The chain, computed anew from the audit rows, as docs/worker.md says.
sub check_chain {
    my ($name) = @_;

    my $rows = $sv->dbh->selectall_arrayref(q{
        select c.n, encode(c.digest, 'hex') as digest, encode(c.hash, 'hex') as hash,
          (extract(epoch from a.at) * 1000000)::bigint as at_us, (extract(epoch from a.occurred_at) * 1000000)::bigint as occurred_us, a.*
        from sv.audit_chain c join sv.audit a using (gtin, at, audit_id) order by c.n}, {Slice => {}});

    my $hash = "\0" x 32;
    my $n    = 0;
    my $bad  = 0;

    for my $row (@{$rows}) {
        my @value = @{$row}{qw(gtin at_us audit_id occurred_us location_id version expiry repeat changed kind operation of serial lot
            reason state_before state code alert_id hint entry_mode key request_id actor detail)};

        $value[8] = $row->{changed} ? 'true' : 'false';

        my $text = join '', map { defined $_ ? do { utf8::encode(my $v = $_); length($v) . ":$v" } : '-' } @value;
        my $digest = sha256($text);

        $hash = sha256($hash . $digest);
        $bad++ if ++$n != $row->{n} || unpack('H*', $digest) ne $row->{digest} || unpack('H*', $hash) ne $row->{hash};
    }

    is($bad, 0, "$name: every link is right");
    is($n, $sv->sql('select count(*) from sv.audit'), "$name: as many links as audit rows");
    is(join(' ', $sv->sql(q{select n, encode(hash, 'hex') from sv.audit_head})), "$n " . unpack('H*', $hash), "$name: the head");
    is($sv->sql('select count(*) from (select from sv.audit_chain group by gtin, audit_id having count(*) > 1) x'), 0, "$name: no row twice");

    return;
}

require Math::BigInt;

$sv->pack_row($gtin, "P$_") for 1 .. 40;

subtest 'a change reaches Redis and the chain' => sub {
    $sv->start_worker(roles => 'relay');
    cached('P1');
    is(operate('P1', 'supply'), 'ok', 'supplied');
    wait_for { ($sv->redis->get(key('P1')) // '') =~ /^2 s / } 'the newer version';

    # a busy machine may be late now and then
    my $took;

    for my $serial (map { "P$_" } 33 .. 37) {
        cached($serial);
        operate($serial, 'supply');
        my $start = Time::HiRes::time();
        wait_for { ($sv->redis->get(key($serial)) // '') =~ /^2 s / } 'the newer version';
        $took = Time::HiRes::time() - $start;
        last if $took < 2;
    }

    cmp_ok($took, '<', 2, 'within two seconds');
    like($sv->redis->get(key('P1')), qr/^2 s 20301231 $pharmacy \d{13} LOT1 [0-9a-f]{16}$/, 'whole');
    cmp_ok($sv->redis->pttl(key('P1')), '>', 3_500_000, 'with a life');
    wait_for { drained() } 'the outbox';
    ok(!$sv->redis->exists(key('P2')), 'nothing else');

    operate('P2', 'supply');
    wait_for { drained() } 'the outbox';
    ok(!$sv->redis->exists(key('P2')), 'what was not cached is not put there');

    $sv->redis->set(key('P3'), '9 a 20301231 0 0 LOT1 0000000000000000');
    $sv->redis->set(key('P3') . ':L', 'token');
    operate('P3', 'supply');
    wait_for { drained() } 'the outbox';
    like($sv->redis->get(key('P3')), qr/^9 /, 'a newer version stays');
    ok(!$sv->redis->exists(key('P3') . ':L'), 'a fill under way loses');

    is(operate('P1', 'destroy'), 'already_supplied', 'a refusal');
    $sv->command('recall', '--gtin', $gtin, '--lot', 'LOT9', '--reason', "Gl\x{c3}\x{a4}ser");
    wait_for { drained() } 'the outbox';
    check_chain('one by one');
};

subtest 'a void pack is in no cache' => sub {
    $sv->pack_row($gtin, 'V1');
    cached('V1');
    $sv->redis->set(key('V1') . ':L', 'token');

    my $id = uuid();
    $sv->dbh->begin_work;
    $sv->sql(q{update sv.pack set state = 'void', version = 2 where gtin = ? and serial = 'V1'}, $gtin);
    $sv->sql(q{insert into sv.audit (gtin, at, audit_id, changed, kind, operation, serial, reason) values (?, now(), ?, true, 'correction', 'declare_error', 'V1', 'ok')}, $gtin, $id);
    $sv->sql('insert into sv.outbox (gtin, audit_id, at) values (?, ?, now())', $gtin, $id);
    $sv->dbh->commit;

    wait_for { drained() } 'the outbox';
    ok(!$sv->redis->exists(key('V1')), 'its entry is gone');
    ok(!$sv->redis->exists(key('V1') . ':L'), 'and its lease: a fill under way loses');
};

subtest 'a long queue does not hold a change up' => sub {
    $sv->stop('worker');
    cached('P38');
    cached('P39');

    # as a pallet that is destroyed leaves it; then somebody supplies a pack
    $sv->sql(q{insert into sv.audit (gtin, at, audit_id, changed, kind, operation, serial, reason)
        select ?, now(), gen_random_uuid(), true, 'load', 'destroying', 'P38', 'ok' from generate_series(1, 30000)}, $gtin);
    $sv->sql(q{insert into sv.outbox (gtin, audit_id, at) select gtin, audit_id, at from sv.audit where operation = 'destroying'});
    is(operate('P39', 'supply'), 'ok', 'supplied');

    $sv->start_worker(roles => 'relay', relay_batch => 20);
    wait_for { ($sv->redis->get(key('P39')) // '') =~ /^2 s / } 'the last change of the queue';
    cmp_ok(outbox(), '>', 100, 'is known long before its turn to be chained');

    $sv->stop('worker');
    $sv->start_worker(roles => 'relay');
    wait_for { drained() } 'the outbox', 120;
    check_chain('all of it');
};


subtest 'it is killed and goes on' => sub {
    for my $i (4 .. 13) {
        cached("P$i");
        operate("P$i", 'supply');
        my ($child) = $sv->server('worker')->children;
        kill 'KILL', $child if $child && $i % 3 == 0;
    }

    wait_for { drained() } 'the outbox';
    is(scalar(grep { $sv->redis->get(key("P$_")) !~ /^2 s / } 4 .. 13), 0, 'every pack');
    check_chain('killed');
    like($sv->log_of('worker'), qr/ended with signal 9; it is started again/, 'it was killed');
};

subtest 'Redis is away' => sub {
    cached("P$_") for 14 .. 16;
    $sv->pause('redis');
    operate("P$_", 'supply') for 14 .. 16;

    wait_for { drained() } 'the outbox';
    pass('the chain does not wait');
    is($sv->sql('select count(*) from sv.relay_pending'), 3, 'what Redis missed is written down');
    $sv->resume('redis');
    wait_for { $sv->sql('select count(*) from sv.relay_pending') == 0 } 'Redis to be told';
    is(scalar(grep { $sv->redis->get(key("P$_")) !~ /^2 s / } 14 .. 16), 0, 'it knows');

    $sv->stop('redis');
    operate('P17', 'supply');
    wait_for { drained() } 'the outbox';
    is($sv->sql('select node from sv.relay_pending'), 'unix:' . $sv->redis_socket, 'by the name of the server');
    $sv->start_redis;
    wait_for { $sv->sql('select count(*) from sv.relay_pending') == 0 } 'Redis to be told';
    check_chain('without Redis');
};

subtest 'what Redis missed is let go when no old entry can be left' => sub {
    $sv->stop('redis');
    operate('P18', 'supply');
    operate('P19', 'supply');
    wait_for { $sv->sql('select count(*) from sv.relay_pending') == 2 } 'the notes';
    $sv->stop('worker');
    $sv->sql(q{update sv.relay_pending set at = at - interval '1 hour 6 minutes' where serial = 'P18'});
    $sv->start_worker(roles => 'housekeeping', housekeeping_interval => '100ms');
    wait_for { $sv->sql('select count(*) from sv.relay_pending') == 1 } 'the old note to go';
    is($sv->sql('select serial from sv.relay_pending'), 'P19', 'the young one stays');
    $sv->stop('worker');
    $sv->start_redis;
    $sv->start_worker(roles => 'relay');
};

subtest 'two relays, and one of them dies' => sub {
    $sv->start_worker(name => 'second', roles => 'relay', relay_batch => 7);
    $sv->pack_row($gtin, "R$_") for 1 .. 300;
    cached("R$_") for 1 .. 300;

    my $links = $sv->sql('select count(*) from sv.audit_chain');
    my @pids;

    for my $part (0 .. 2) {
        my $pid = fork() // die "fork: $!";

        if ($pid == 0) {
            my $dbh = $sv->new_dbh;
            $number = 100_000 * ($part + 1);
            operate("R$_", 'supply', undef, $dbh) for grep { $_ % 3 == $part } 1 .. 300;
            require POSIX;
            POSIX::_exit(0);
        }

        push @pids, $pid;
    }

    wait_for { $sv->sql('select count(*) from sv.audit_chain') > $links + 20 } 'some links';
    kill 'KILL', $sv->server('second')->children;
    waitpid $_, 0 for @pids;
    is($sv->sql(q{select count(*) from sv.pack where serial like 'R%' and state = 'supplied'}), 300, 'all were supplied');
    wait_for { drained() } 'the outbox';
    is(scalar(grep { $sv->redis->get(key("R$_")) !~ /^2 s / } 1 .. 300), 0, 'Redis knows all');
    check_chain('raced');
    $sv->stop('second');
};

subtest 'a row that was changed afterwards shows' => sub {
    $sv->sql(q{update sv.audit set reason = 'ok' where reason = 'already_supplied'});
    my $bad = $sv->sql(q{select count(*) from sv.audit_chain c join sv.audit a using (gtin, at, audit_id)
        where c.digest <> sha256(convert_to(sv.audit_text(a), 'UTF8'))});
    is($bad, 1, 'the digest no longer fits');
    $sv->sql(q{update sv.audit set reason = 'already_supplied' where operation = 'destroy'});
    check_chain('put back');
};

subtest 'housekeeping' => sub {
    $sv->stop('worker');

    my @keys = map { "key-old-$_" } 1 .. 2500;
    $sv->sql(q{insert into sv.idempotency (gtin, location_id, key, at, fingerprint)
        select 1, 1, k, now() - interval '8 days', 'f' from unnest(?::text[]) k}, \@keys);
    my $young = $sv->sql(q{select count(*) from sv.idempotency where at > now() - interval '1 day'});
    $sv->sql('drop table ' . $_->[0]) for @{$sv->dbh->selectall_arrayref(
        q{select inhrelid::regclass::text from pg_inherits where inhparent in ('sv.audit'::regclass, 'sv.finding'::regclass)
          and inhrelid::regclass::text like '%' || to_char(now() + interval '2 month', 'YYYYMM')})};

    $sv->sql(q{insert into sv.load_stage (stage, load_id, pid, at) values ('stage_1', 1, 2147483647, now())});
    $sv->sql('create unlogged table sv.stage_1 (a integer)');

    $sv->start_worker(roles => 'housekeeping', housekeeping_interval => '100ms', months_ahead => 3);
    wait_for { $sv->sql('select count(*) from sv.idempotency') == $young } 'the old keys to go';
    wait_for { ($sv->sql(q{select value from sv.worker_figure where name = 'housekeeping'}) // '') =~ /^last round/ } 'its figures';
    is($sv->sql(q{select count(*) from pg_class where relname in
        (select t || '_' || to_char(now() + make_interval(months => m), 'YYYYMM') from (values ('audit'), ('finding')) x (t), generate_series(0, 3) m)}),
        8, 'partitions for this month and the next three');
    is($sv->sql(q{select to_regclass('sv.stage_1')}), undef, 'staging tables of the dead');

    my ($code, $text) = $sv->command('status');
    like($text, qr/^outbox +0 rows$/m, 'status: outbox');
    like($text, qr/^audit chain +\d+ rows, head [0-9a-f]{64}$/m, 'status: chain');
    like($text, qr/^housekeeping +last round/m, 'status: housekeeping');
};

subtest 'the supervisor' => sub {
    $sv->stop('worker');
    $sv->start_worker;
    my $server = $sv->server('worker');
    wait_for { $server->children == 4 } 'four roles';

    my @before = $server->children;
    $sv->worker_conf(log_level => 'debug');
    $sv->signal('worker', 'HUP');
    wait_for { my %old = map { $_ => 1 } @before; my @now = $server->children; @now == 4 && !grep { $old{$_} } @now } 'new processes with the new configuration';

    @before = $server->children;
    $sv->write_file('worker.conf', "postgres = dbname=sv\nnonsense = 1\n");
    $sv->signal('worker', 'HUP');
    wait_for { $sv->log_of('worker') =~ /the configuration stays as it was: .*worker\.conf:2: nonsense: no such setting/ } 'the complaint';
    is(join(' ', $server->children), "@before", 'a wrong configuration changes nothing');

    my $pid = $server->pid;
    kill 'KILL', $pid;
    wait_for { !grep { kill 0, $_ } @before } 'the roles to end with the supervisor';
    pass('no orphan is left');
    $server->running;
    delete $sv->{server}{worker};
};

$sv->done_testing;
