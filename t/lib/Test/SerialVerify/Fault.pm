package Test::SerialVerify::Fault;

# What tests of faults have in common: servers that misbehave, counters to wait
# for, a location that must not notice, rows that somebody holds.

use strict;
use warnings;

use Carp qw(croak);
use Errno ();
use File::Copy ();
use IO::Socket::UNIX;
use Test::More ();
use Time::HiRes qw(time sleep);


# Tests with seeds: a few, or with SV_TEST_ALL=1 many.
sub seeds {
    my ($self, $few, $many) = @_;

    return 1 .. ($ENV{SV_TEST_ALL} ? $many : $few);
}


# The longest an answer may take: the deadline, and what a loaded machine and
# the sanitizers add.
sub time_limit {
    my ($self, $deadline) = @_;

    return $deadline + ($self->asan ? 0.25 : 0.15);
}


# Has the module the failpoints of test builds?  The release build has none,
# and there the test is skipped; a build with sanitizers must have them.
sub need_failpoints {
    my ($self) = @_;

    return if Test::SerialVerify::contains("$self->{build}/ngx_serial_verify_module.so", 'test-fill-delay');

    if ($self->asan) {
        croak "the module in $self->{build} has no failpoints, build it with ./dev build --asan";
    }

    $self->{done} = 1;
    Test::More::plan(skip_all => 'the release build has no failpoints');

    return;
}


# said_after(change => CODE, ask => CODE, said => TEXT, within => SECONDS, back => CODE): how long after the change
# something else was still said, counted from when it was asked, and what was said last.  A busy machine is
# late now and then: what can be taken back is tried again.
sub said_after {
    my ($self, %of) = @_;

    my ($late, $last);

    for (1 .. ($of{back} ? 4 : 1)) {
        $of{change}->();
        my $start = time;
        ($late, $last) = (0, '');

        my $asks  = sub {
            my $asked = time;
            $last = $of{ask}->();
            $late = $asked - $start if $last ne $of{said};
            return $last eq $of{said};
        };

        eval { Test::SerialVerify::wait_for($asks, $of{said}) } or Test::More::diag($@);

        last if $late < $of{within} || !$of{back};
        $of{back}->();
        Test::SerialVerify::wait_for(sub { $of{ask}->() ne $of{said} }, "no more $of{said}");
    }

    return ($late, $last);
}


# --- fake servers: t/fake/*.pl

# start_fake('redis')              a fake
# start_fake('redis', real => 1)   a proxy in front of the real one
# Its name afterwards is fake-redis; clients connect to fake_socket('redis').
sub start_fake {
    my ($self, $what, %option) = @_;

    my $home = $self->directory("fake-$what");
    my $root = $self->root;

    for my $file ('Proxy.pm', "$what.pl") {
        File::Copy::copy("$root/t/fake/$file", "$home/$file") or croak "t/fake/$file: $!";
        $self->give("$home/$file");
    }

    my @server = $what eq 'postgres' ? ('--server', $self->pg_socket . '/.s.PGSQL.5432')
        : $option{real} ? ('--server', $self->redis_socket) : ();

    unlink "$home/control", $self->fake_socket($what);
    $self->start_server("fake-$what", command => [$^X, "$home/$what.pl",
        '--listen', $self->fake_socket($what), '--control', "$home/control", @server]);
    $self->ready("fake-$what", sub { -S "$home/control" && -S $self->fake_socket($what) });

    return $self;
}


sub fake_socket {
    my ($self, $what) = @_;

    return "$self->{base}/fake-$what/" . ($what eq 'postgres' ? '.s.PGSQL.5432' : 'redis.sock');
}


# tell('redis', 'stall'): what it answered
sub tell {
    my ($self, $what, $command) = @_;

    my $control = IO::Socket::UNIX->new(Peer => "$self->{base}/fake-$what/control")
        or croak "fake-$what: $!";

    print {$control} "$command\n";
    my $answer = <$control> // '';
    chomp $answer;

    $answer =~ s/^ok ?// or croak "fake-$what, $command: $answer";

    return $answer;
}


# --- the gateway

# A figure of /status: figure('counters', 'source_cache')
sub figure {
    my ($self, @path) = @_;

    my $nginx = ref $path[-1] ? (pop @path)->{nginx} : undef;
    my $value = $self->get('/status', nginx => $nginx, timeout => 5)->{json};

    $value = ref $value eq 'HASH' ? $value->{$_} : undef for @path;

    return $value;
}


sub counter {
    my ($self, $name, $option) = @_;

    return $self->figure('counters', $name, $option // ()) // croak "/status has no counter $name";
}


# The longest of many answers of a location that has nothing to do with packs,
# on connections of its own, while $meanwhile is true.  A worker that blocks
# does so every time; a busy machine does not: the best of a few rounds counts.
sub static_delay {
    my ($self, %option) = @_;

    my $best;

    for (1 .. $option{rounds} // 10) {
        my $worst = 0;

        $option{before}->() if $option{before};

        for (1 .. $option{requests} // 60) {
            my $start  = time;
            my $answer = $self->get('/static', timeout => 30, nginx => $option{nginx});
            my $took   = time - $start;

            $took  = 30 if $answer->{status} != 200;
            $worst = $took if $took > $worst;
        }

        $option{after}->() if $option{after};

        $best = $worst if !defined $best || $worst < $best;
        last if $best < 0.05;
    }

    return $best;
}


# Requests are sent now, the answers are read later: sent([METHOD, TARGET, OPTION..]..)
sub sent {
    my ($self, @requests) = @_;

    my @connections = map { my (undef, undef, %o) = @$_; $self->connection($o{nginx}) } @requests;

    for my $i (0 .. $#requests) {
        my ($method, $target, %option) = @{$requests[$i]};
        my $bytes = Test::SerialVerify::HTTP::build($method, $target, close => 1, %option);

        $connections[$i]{started} = time;
        $connections[$i]->put($bytes);
    }

    return @connections;
}


# The answers to what was sent: a lost connection or nothing in time is {status => 0}.
sub answers {
    my ($self, $timeout, @connections) = @_;

    return map {
        my $answer = $_->next_response($timeout) // {status => 0, headers => {}, body => ''};
        $answer->{time} = time - $_->{started};
        $answer;
    } @connections;
}


# --- PostgreSQL

# Somebody else holds the pack's row until the handle is disconnected.
sub hold_row {
    my ($self, $gtin, $serial) = @_;

    my $dbh = $self->new_dbh;

    $dbh->begin_work;
    $dbh->do('select from sv.pack where gtin = ? and serial = ? for update', undef, $gtin, $serial);

    return $dbh;
}


# Sessions of the gateway that wait for a lock.
sub waiting_sessions {
    my ($self) = @_;

    return $self->sql(q{select count(*) from pg_stat_activity
        where usename = 'sv_gateway' and wait_event_type = 'Lock'});
}


sub pg_running {
    my ($self) = @_;

    return eval { $self->sql('select 1') } ? 1 : 0;
}


# --- Redis

# The judge has said all that it has to say.  Markets and locations are looked at every second, and what has
# many scans is looked at last, three seconds later: a judge that tells how it stands has done so since the last
# scan and the last case.
sub judge_rests {
    my ($self) = @_;

    Test::SerialVerify::wait_for(sub { $self->redis->xlen('sv:scans') == 0 }, 'the stream');
    my $mark = $self->sql('select clock_timestamp()');

    return Test::SerialVerify::wait_for(sub { $self->sql(
        q{select j.told_at > greatest(?::timestamptz, (select max(e.at) from sv.case_event e)) + interval '4 seconds' from sv.judge j}, $mark) },
        'the judge to be at rest', 120);
}


# How often the script that writes packs was called.
sub script_calls {
    my ($self) = @_;

    my $stats = $self->redis->info('commandstats');
    my $calls = 0;

    for my $name (qw(cmdstat_evalsha cmdstat_eval)) {
        $calls += $1 if ($stats->{$name} // '') =~ /calls=(\d+)/;
    }

    return $calls;
}


# Keys and values of a pack, under any prefix, without leases.
sub cached {
    my ($self, $gtin, $serial) = @_;

    my $redis = $self->redis;

    return map { ($_ => $redis->get($_)) }
        grep { !/:L$/ } $redis->keys(sprintf 'sv:*:%014d:%s', $gtin, $serial);
}


1;
