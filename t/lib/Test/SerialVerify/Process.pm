package Test::SerialVerify::Process;

# A server that a test started: runs in the foreground as a child of the test,
# as an unprivileged user, and dies with it.

use strict;
use warnings;

use Carp qw(croak);
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(time sleep);


# user    name of the user when the test runs as root
# stop    signal that ends it in an orderly way
# orphan  signal it gets when the test dies

sub start {
    my ($class, %self) = @_;

    my $self = bless {stop => 'TERM', orphan => 'TERM', env => {}, %self}, $class;

    my @drop = $> == 0
        ? ("--reuid=$self->{user}", '--regid=' . (getpwnam($self->{user}))[3], '--clear-groups') : ();
    my @command = ('setpriv', "--pdeathsig=$self->{orphan}", @drop, '--', @{$self->{command}});

    my $pid = fork();
    croak "fork: $!" if !defined $pid;

    if ($pid == 0) {
        # a shell's background job ignores them, and so would the server
        @SIG{qw(INT QUIT)} = ('DEFAULT', 'DEFAULT');

        # prove names directories in it that the servers' user may not be able to reach
        delete $ENV{PERL5LIB};
        @ENV{keys %{$self->{env}}} = values %{$self->{env}};
        my $ok = open(STDIN, '<', '/dev/null') && open(STDOUT, '>>', $self->{log})
            && open(STDERR, '>&', \*STDOUT) && chdir($self->{cwd} // '/');
        exec {$command[0]} @command if $ok;
        POSIX::_exit(127);
    }

    $self->{pid}   = $pid;
    $self->{owner} = $$;

    return $self;
}


sub pid { return $_[0]{pid} }


# Direct children, by number.
sub children {
    my ($self) = @_;

    return if !$self->{pid};

    my @pids;

    for my $stat (glob '/proc/[0-9]*/stat') {
        open(my $fh, '<', $stat) or next;
        my $line = <$fh> // next;
        my ($pid, $ppid) = $line =~ /^(\d+) \(.*\) \S (\d+)/s or next;
        push @pids, $pid if $ppid == $self->{pid};
    }

    @pids = sort { $a <=> $b } @pids;

    return @pids;
}


sub running {
    my ($self) = @_;

    return 0 if !$self->{pid};
    return 1 if waitpid($self->{pid}, WNOHANG) == 0;

    $self->{status} = $?;
    delete $self->{pid};

    return 0;
}


sub signal {
    my ($self, $signal) = @_;

    return $self->{pid} ? kill($signal, $self->{pid}) : 0;
}


# The whole server stands still (and goes on).  The parent first, so that it has
# no more children than are seen; and a signal that was sent has not yet arrived.
sub pause {
    my ($self) = @_;

    stop_now($self->{pid});
    stop_now($self->children);

    return;
}


sub stop_now {
    my @left = @_;

    my $end = time + 60;

    kill 'STOP', @left;

    while (@left && time < $end) {
        @left = grep { (state_of($_) // 'Z') !~ /^[TZ]$/ } @left;
        sleep 0.001 if @left;
    }

    croak "not stopped: @left" if @left;

    return;
}


# The letter of ps; T: stopped, Z: dead
sub state_of {
    my ($pid) = @_;

    open(my $fh, '<', "/proc/$pid/stat") or return;
    my $line = <$fh> // return;

    return ($line =~ /^\d+ \(.*\) (\S)/s)[0];
}


sub resume {
    my ($self) = @_;

    kill('CONT', $self->children, $self->{pid}) if $self->{pid};
    return;
}


# True when it ended by itself within the time, else it was killed.
sub stop {
    my ($self, %option) = @_;

    return 1 if !$self->running;

    $self->resume;
    $self->signal($option{signal} // $self->{stop});

    my $end = time + ($option{timeout} // 60);

    while (time < $end) {
        return 1 if !$self->running;
        sleep 0.01;
    }

    my @children = $self->children;
    kill 'KILL', $self->{pid}, @children;
    waitpid $self->{pid}, 0;
    delete $self->{pid};

    return 0;
}


# As the power failing: nothing gets a chance to clean up.  Who stands still makes
# no more children: one that survived would keep the shared memory of PostgreSQL.
sub kill9 {
    my ($self) = @_;

    return if !$self->{pid};

    eval { stop_now($self->{pid}); 1 } or warn $@;

    my @children = $self->children;
    kill 'KILL', $self->{pid}, @children;
    waitpid $self->{pid}, 0;
    delete $self->{pid};

    my $end = time + 30;

    while (@children && time < $end) {
        @children = grep { (state_of($_) // 'Z') ne 'Z' } @children;
        sleep 0.01 if @children;
    }

    return;
}


sub DESTROY {
    my ($self) = @_;

    local ($?, $!, $@);
    $self->kill9 if $self->{pid} && $self->{owner} == $$;

    return;
}


1;
