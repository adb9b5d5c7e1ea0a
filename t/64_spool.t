#!/usr/bin/env perl

# Scan events when Redis is away, refuses, hangs or loses its mind, and when
# the disk does: what may be lost is counted, and nothing else is lost.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(sum0);
use Test::More;
use Time::HiRes qw(time);

use Test::SerialVerify;
use Test::SerialVerify::Events qw(stream_events stream_bytes identities gaps);

my $gtin = 9506000134352;

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
my $key = $sv->pharmacy('IT');
$sv->pack_row($gtin, 'A1');
$sv->allow_log(qr/exited on signal 9/);

my $link  = $sv->link_to($gtin, 'A1');
my $spool = $sv->directory('spool');
my %verify = (gateway => 'gate', spool => $spool, deadline => '8s', redis_timeout => '500ms');


sub start {
    my (%option) = @_;

    return $sv->start_nginx(workers => 2, %option, verify => {%verify, %{$option{verify} // {}}});
}


# n verifies: all answered
sub verifies {
    my ($n) = @_;

    my $ok = 0;

    for (1 .. $n / 10) {
        $ok += grep { $_->{status} == 200 } $sv->parallel(map { ['GET', $link, key => $key] } 1 .. 10);
    }

    is($ok, $n, "$n verifies are answered");

    return $n;
}


sub segments {
    my ($directory) = @_;

    my @found = glob(($directory // $spool) . '/*.seg');

    return @found;
}

sub counter  { return $sv->counter("event_$_[0]") }

sub dropped { return sum0 map { counter($_) } qw(nowhere no_spool memory spool_full spool_failed invalid) }

# All n events since the start were sent, written or dropped.
sub settled {
    my ($n) = @_;

    eval { Test::SerialVerify::wait_for { counter('sent') + counter('spooled') + dropped() >= $n } "$n events to settle" } or diag($@);

    return is(counter('sent') + counter('spooled') + dropped(), $n, "$n events, each counted once");
}

sub written {
    my ($n) = @_;

    return Test::SerialVerify::wait_for { counter('spooled') >= $n } "$n events in the spool (" . counter('spooled') . ')';
}

sub empty {
    return Test::SerialVerify::wait_for { !segments() && $sv->figure('events', 'spool', 'bytes') == 0 } 'an empty spool';
}

# All that the stream holds, once each.
sub seen {
    my %by = identities(stream_events($sv));

    return scalar keys %by;
}

sub arrive {
    my ($n) = @_;

    eval { Test::SerialVerify::wait_for { seen() >= $n } "$n events" } or diag($@);

    return is(seen(), $n, "$n events have come, each counted once");
}

# A new start: counters, stream and spool are empty.
sub fresh {
    my (%option) = @_;

    if ($sv->{server}{nginx} && $sv->server('nginx')->running) {
        $sv->stop('nginx');
    }

    $sv->redis->del('sv:scans');
    unlink glob "$spool/*";

    return start(%option);
}


subtest 'Redis is not there, and comes' => sub {
    $sv->stop('redis');
    start();

    my $n = verifies(60);
    written($n);
    is($sv->figure('events', 'way'), 'spool', 'the way in /status');
    cmp_ok(scalar(() = segments()), '>=', 1, 'segments');
    cmp_ok($sv->figure('events', 'spool', 'bytes'), '>', 60 * 50, 'their size');
    like($sv->get('/metrics')->{body}, qr/^serial_verify_spool_bytes [1-9]/m, '.. in the metrics');

    $sv->start_redis;
    empty();
    arrive($n);
    is(counter('replayed'), $n, 'sent from the spool');

    verifies(20);
    arrive($n + 20);
    is(counter('sent'), 20, 'and then at once');
    is(dropped(), 0, 'none is lost');
    is(gaps(stream_events($sv)), 0, 'no number is missing');
};


subtest 'Redis takes nothing' => sub {
    my %cases = (
        'out of memory' => [sub { $sv->redis->config('set', 'maxmemory', 1) }, sub { $sv->redis->config('set', 'maxmemory', 0) }, qr/OOM/],
        'read-only'     => [sub { $sv->redis->replicaof('127.0.0.1', 1) }, sub { $sv->redis->replicaof('no', 'one') }, qr/READONLY/],
        'stream of another kind' => [sub { $sv->redis->rename('sv:scans', 'kept'); $sv->redis->set('sv:scans', 1) },
            sub { $sv->redis->del('sv:scans'); $sv->redis->rename('kept', 'sv:scans') }, qr/WRONGTYPE/],
    );

    for my $name (sort keys %cases) {
        my ($break, $mend, $word) = @{$cases{$name}};

        fresh();
        my $n = verifies(10);
        arrive($n);

        $break->();
        $n += verifies(50);
        written(50);
        like($sv->log_of('nginx'), $word, "$name: the reason in the log");

        $mend->();
        $n += verifies(10);
        empty();
        arrive($n);
        is(dropped(), 0, "$name: none is lost");
        is(gaps(stream_events($sv)), 0, "$name: no number is missing");
    }
};


subtest 'it takes nothing, and nobody scans when it is well again' => sub {
    fresh();
    $sv->redis->config('set', 'maxmemory', 1);
    my $n = verifies(30);
    written($n);
    $sv->redis->config('set', 'maxmemory', 0);
    empty();
    arrive($n);
};


subtest 'the stream is full' => sub {
    fresh(verify => {events => ['on', 'limit=3']});
    my $n = 0;

    # each alone in its block
    for (1 .. 8) {
        $n += $sv->get($link, key => $key)->{status} == 200;
        settled($n);
    }

    is($n, 8, 'verifies are answered');
    is($sv->redis->xlen('sv:scans'), 3, 'the stream holds its limit');
    written(5);
    like($sv->log_of('nginx'), qr/FULL/, 'the log says so');

    # somebody reads
    my %read;
    Test::SerialVerify::wait_for {
        my @entries = @{$sv->redis->xrange('sv:scans', '-', '+')};
        %read = (%read, identities(stream_events($sv)));
        $sv->redis->xdel('sv:scans', map { $_->[0] } @entries) if @entries;
        keys %read == 8;
    } 'all events';
    pass('who reads gets all of them');
};


subtest 'Redis is frozen' => sub {
    fresh();
    my $n = verifies(10);
    arrive($n);

    $sv->pause('redis');
    $n += verifies(60);
    settled($n);
    $sv->resume('redis');

    $n += verifies(10);
    empty();
    arrive($n);
    is(dropped(), 0, 'none is lost');
};


subtest 'Redis is killed' => sub {
    fresh();
    $sv->allow_log(qr/redis/);
    my $lost = verifies(10);
    settled($lost);
    $sv->kill9('redis');
    my $n = verifies(40);
    settled($n + $lost);
    is(counter('spooled'), $n, 'what came after it');
    $sv->start_redis;
    empty();
    arrive($n);
};


subtest 'a worker process is killed' => sub {
    fresh();
    $sv->stop('redis');
    my $n = verifies(40);
    written($n);

    my @workers = $sv->workers;
    kill KILL => $workers[0];
    Test::SerialVerify::wait_for { my @now = $sv->workers; @now == 2 && !grep { $_ == $workers[0] } @now } 'a new process';
    kill KILL => $workers[1];
    Test::SerialVerify::wait_for { my @now = $sv->workers; @now == 2 && !grep { $_ == $workers[1] } @now } 'another new process';
    Test::SerialVerify::wait_for { $sv->gateway_ready('nginx') } 'the gateway';

    # the machine stopped while the last block was written
    my ($torn) = sort { $a cmp $b } segments();
    my $bytes  = Test::SerialVerify::slurp($torn);
    my ($last) = $bytes =~ /.*svp1(.*)\z/s;
    my $lost   = () = substr($last, 92) =~ /\n/g;       # behind its head
    truncate $torn, (-s $torn) - 7;

    # and nothing at all was written to another
    open(my $fh, '>', "$spool/0000000000000000-00000001.seg") or die $!;
    close $fh;
    $sv->give("$spool/0000000000000000-00000001.seg");

    $n += verifies(20);
    $sv->start_redis;
    empty();
    arrive($n - $lost);
    is($sv->counter('spool_torn'), 1, 'a torn segment is counted');
    like($sv->log_of('nginx'), qr/the last \d+ bytes of .* are no whole block/, 'and told');
};


subtest 'what is damaged is not taken for events' => sub {
    fresh();
    $sv->stop('redis');
    my $n = verifies(20);
    written($n);
    $sv->stop('nginx');

    my ($segment) = sort { $a cmp $b } segments();
    my $bytes = Test::SerialVerify::slurp($segment);
    my $all   = () = $bytes =~ /\n/g;
    substr($bytes, length($bytes) / 2, 1) = chr(ord(substr($bytes, length($bytes) / 2, 1)) ^ 1);
    open(my $fh, '>:raw', $segment) or die $!;
    print {$fh} $bytes;
    close $fh;

    $sv->start_redis;
    start();
    empty();
    cmp_ok(seen(), '<', $n, 'not all have come');
    cmp_ok(seen(), '>=', $n - $all, 'those before it, and those of other segments');
    is($sv->counter('spool_torn'), 1, 'counted');
    is(scalar(grep { $_->{version} ne '1' || $_->{reason} ne 'ok' || $_->{serial} ne 'A1' } stream_events($sv)), 0, 'no damaged event');
};


subtest 'what cannot be read holds up nothing' => sub {
    fresh();
    $sv->stop('redis');
    my $n = verifies(20);
    written($n);

    # both stand before all others
    my ($first, $second) = map {"$spool/0000000000000000-0000000$_.seg"} 1, 2;
    mkdir $first or die $!;
    open(my $fh, '>', $second) or die $!;
    print {$fh} 'svp9, of a later version';
    close $fh;
    $sv->give($_) for $first, $second;

    $sv->start_redis;
    empty();
    arrive($n);
    is_deeply([-d "$first.bad", -s "$second.bad"], [1, 24], 'both are set aside');
    like($sv->log_of('nginx'), qr/\[error\].*"\Q$first\E" cannot be read and is set aside as ".*\.bad".*Is a directory/, 'the log says why');
    like($sv->log_of('nginx'), qr/\[error\].*"\Q$second\E" is no segment of this version/, '.. of both');
    is($sv->counter('spool_bad'), 2, 'counted');
    is($sv->counter('spool_torn'), 0, 'none is thrown away');
    is(dropped(), 0, 'none is lost');

    # under its name again it is tried once more
    rmdir "$first.bad";
    rename "$second.bad", $second;
    Test::SerialVerify::wait_for { $sv->counter('spool_bad') == 3 } 'it to be set aside again';
    unlink "$second.bad";
};


subtest 'the spool is full' => sub {
    fresh(verify => {spool => [$spool, 'size=32k']});
    $sv->stop('redis');
    my $n = verifies(400);
    settled($n);

    cmp_ok(counter('spool_full'), '>', 50, 'dropped, and counted');
    cmp_ok($sv->figure('events', 'spool', 'bytes'), '<=', 32768, 'it keeps its size');
    like($sv->log_of('nginx'), qr/the spool ".*" is full/, 'the log says so');

    my $lost = dropped();
    $sv->start_redis;
    empty();
    $n += verifies(40);
    arrive($n - $lost);
    is(gaps(stream_events($sv)), $lost, 'who reads them counts the gap');
};


subtest 'the disk is full' => sub {
    my $small = $sv->directory('small');
    plan(skip_all => 'a file system cannot be mounted here')
        if $> != 0 || system("mount -t tmpfs -o size=64k tmpfs $small 2>/dev/null") != 0;

    $sv->give($small);
    my $ok = eval {
        fresh(verify => {spool => $small});
        $sv->stop('redis');
        my $n = verifies(800);
        settled($n);

        cmp_ok(counter('spool_failed'), '>', 100, 'dropped, and counted');
        like($sv->log_of('nginx'), qr/write failed in the spool .*No space left/, 'the log says so') or diag($sv->log_of('nginx'));

        my $lost = dropped();
        $sv->start_redis;
        Test::SerialVerify::wait_for { !segments($small) } 'an empty spool';
        Test::SerialVerify::wait_for { $sv->figure('redis', 'ready') == 2 } 'Redis in both processes';
        $n += verifies(40);
        arrive($n - $lost);
        is(gaps(stream_events($sv)), $lost, 'who reads them counts the gap');
        is($sv->counter('spool_torn'), 0, 'what was written in part was taken back');

        $sv->stop('redis');
        $n += verifies(10);
        settled($n);
        is(dropped(), $lost, 'there is room again');
        $sv->stop('nginx');
        1;
    };
    my $error = $@;

    system("umount $small");
    die $error if !$ok;
    $sv->start_redis;
};


subtest 'the disk becomes read-only' => sub {
    my $disk = $sv->directory('disk');
    plan(skip_all => 'a file system cannot be mounted here')
        if $> != 0 || system("mount -t tmpfs -o size=4m tmpfs $disk 2>/dev/null") != 0;

    $sv->give($disk);
    my $ok = eval {
        fresh(verify => {spool => $disk});
        $sv->stop('redis');
        my $n = verifies(40);
        written($n);
        $sv->stop('nginx');
        system("mount -o remount,ro $disk") == 0 or die 'it cannot be made read-only';
        $sv->start_redis;
        start(verify => {spool => $disk});
        Test::SerialVerify::wait_for { $sv->log_of('nginx') =~ /open failed in the spool .*it is not sent .*Read-only/ } 'the log to say so';
        $n += verifies(20);
        arrive(20);
        cmp_ok(scalar(() = segments($disk)), '>=', 1, 'what is there stays');

        system("mount -o remount,rw $disk") == 0 or die 'it cannot be made writable';
        Test::SerialVerify::wait_for { !segments($disk) } 'an empty spool';
        arrive($n);
        is(gaps(stream_events($sv)), 0, 'no number is missing');
        $sv->stop('nginx');
        1;
    };
    my $error = $@;

    system("umount -l $disk");
    die $error if !$ok;
};


subtest 'two gateways of one name on one spool' => sub {
    fresh();
    $sv->start_nginx(name => 'second', workers => 2, verify => \%verify);
    $sv->stop('redis');
    my $n = verifies(40);
    $n += grep { $_->{status} == 200 } map { $sv->get($link, key => $key, nginx => 'second') } 1 .. 20;
    Test::SerialVerify::wait_for { counter('spooled') + $sv->counter('event_spooled', {nginx => 'second'}) == $n } 'all in the spool';
    $sv->start_redis;
    empty();
    arrive($n);
    is(gaps(stream_events($sv)), 0, 'no number is missing, none is taken for another');
    $sv->stop('second');
};


subtest 'the directory is gone' => sub {
    fresh();
    $sv->stop('redis');
    rename $spool, "$spool.away";
    verifies(20);
    settled(20);
    is(counter('spool_failed'), 20, 'dropped, and counted');
    rename "$spool.away", $spool;
    verifies(20);
    settled(40);
    is(counter('spooled'), 20, 'and it goes on');
    like($sv->log_of('nginx'), qr/is written again/, 'the log says so');
    $sv->start_redis;
    empty();
    arrive(20);
};


subtest 'reload in the midst' => sub {
    fresh();
    settled(verifies(20));

    # with these in its memory
    $sv->stop('redis');
    my $n = verifies(20);
    $sv->reload('nginx', workers => 2, verify => \%verify);
    $n += verifies(20);
    $sv->reload('nginx', workers => 2, verify => \%verify);
    $sv->start_redis;
    $n += verifies(20);
    $sv->reload('nginx', workers => 2, verify => \%verify);
    $n += verifies(20);

    empty();
    arrive($n);
    is(dropped(), 0, 'none is lost');
};


subtest 'the end' => sub {
    for my $signal (qw(QUIT TERM)) {
        my $n;

        # a Redis that gets no turn on a busy machine is late: then it is the spool that has them
        for (1 .. 5) {
            fresh();
            $n = verifies(20);
            $sv->server('nginx')->signal($signal);
            Test::SerialVerify::wait_for { !$sv->server('nginx')->running } "the end by $signal";
            last if seen() == $n || !segments();
        }

        is(seen(), $n, "$signal: Redis has all");

        start();
        $sv->pause('redis');
        verifies(20);
        $sv->server('nginx')->signal($signal);
        Test::SerialVerify::wait_for { !$sv->server('nginx')->running } "the end by $signal";
        $sv->resume('redis');
        my $lines = 0;
        $lines += () = Test::SerialVerify::slurp($_) =~ /\n/g for segments();
        cmp_ok($lines, '>=', 20, "$signal: or the spool") if $signal eq 'QUIT';

        start();
        empty();
        arrive($n + 20);
    }
};


subtest 'stopped at once after an answer, while Redis is away' => sub {
    my $n = 0;

    fresh();
    $sv->stop('redis');

    for (1 .. 5) {
        $n += $sv->get($link, key => $key)->{status} == 200;
        $sv->server('nginx')->signal('TERM');
        Test::SerialVerify::wait_for { !$sv->server('nginx')->running } 'the end';
        start();
    }

    $sv->start_redis;
    empty();
    is($n, 5, 'five answers');
    arrive($n);
};


subtest 'the disk hangs' => sub {
    plan(skip_all => 'the release build has no failpoints') if !$sv->asan;

    fresh(workers => 1);
    $sv->stop('redis');
    my $n = verifies(20);
    written($n);

    my $hang = $sv->write_file("$spool/hang", '');
    my $slow = 0;

    # more than the blocks hold
    for (1 .. 110) {
        $n += 100;
        $sv->parallel(map { ['GET', $link, key => $key] } 1 .. 10);
        $sv->post('/packs', [map { {scan => sprintf '(01)%014d(21)A1', $gtin} } 1 .. 90], key => $key, timeout => 60);

        # who waited for the disk would do so until it goes on
        my $start = time;
        $sv->get('/static');
        $slow++ if time - $start > 5;
    }

    is($slow, 0, 'nothing waits for it');
    cmp_ok(counter('spooled'), '<=', 20, 'nothing is written');
    unlink $hang;
    settled($n);

    my $lost = dropped();
    $sv->start_redis;
    empty();
    $n += verifies(10);
    arrive($n - $lost);
};


subtest 'no address in the spool' => sub {
    fresh();
    $sv->stop('redis');
    $sv->get($link, headers => {'User-Agent' => 'Telltale'}) for 1 .. 3;
    settled(3);
    my $bytes = join '', map { Test::SerialVerify::slurp($_) } segments();
    like($bytes, qr/\tok\t/, 'events');
    unlike($bytes, qr/127\.0\.0\.1|Telltale/, 'and nothing of whom');
    $sv->start_redis;
    empty();
};


$sv->done_testing;
