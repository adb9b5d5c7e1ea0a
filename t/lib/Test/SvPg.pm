package Test::SvPg;

# A PostgreSQL of a test's own, migrated, on a Unix socket in a directory of
# its own, gone when the object is.
#
#   my $pg = Test::SvPg->new;
#   my $dbh = $pg->connect;                     # as the superuser
#   my $gateway = $pg->connect('sv_gateway');
#   my $outcome = $pg->operate($gateway, { serial => 'A1', operation => 'supply', location => 1 });

use strict;
use warnings;

use Carp qw(croak);
use Cwd qw(abs_path);
use DBI;
use File::Basename qw(dirname);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use POSIX ();
use Time::HiRes qw(sleep);

use Test::SerialVerify::Report;

my $root = abs_path(dirname(__FILE__) . '/../../..');
my $serial = 0;


sub new {
    my ($class, %option) = @_;

    my $dir = tempdir('sv-pg-XXXXXX', TMPDIR => 1, CLEANUP => 0);
    my $self = bless { dir => $dir, owner => $$, bin => bin_dir(), user => scalar run_user() }, $class;

    if ($self->{user}) {
        chown $self->{user}[0], $self->{user}[1], $dir or croak "chown $dir: $!";
    }

    Test::SerialVerify::Report::watch(sub { "$dir/log" });
    Test::SerialVerify::Report::limit_time(1200, sub { $self->stop });

    $self->run($self->{bin} . '/initdb', '-D', "$dir/data", '-U', 'postgres', '--auth=trust', '--no-sync',
        '--encoding=UTF8', '--locale=C.UTF-8');

    $self->start;

    if ($option{migrate} // 1) {
        $self->migrate == 0 or croak 'sql/migrate failed';
    }

    return $self;
}


sub root { return $root }
sub dir  { return $_[0]{dir} }


# The newest PostgreSQL installed.
sub bin_dir {
    my ($newest) = sort { version_of($b) <=> version_of($a) } glob '/usr/lib/postgresql/*/bin/initdb';

    return dirname($newest) if $newest;

    for my $dir (split /:/, $ENV{PATH}) {
        return $dir if -x "$dir/initdb";
    }

    croak 'PostgreSQL is not installed (Debian: postgresql)';
}


sub version_of {
    my ($path) = @_;

    return $path =~ m{/postgresql/([\d.]+)/} ? $1 : 0;
}


# PostgreSQL refuses to run as root.
sub run_user {
    return if $> != 0;

    for my $name ($ENV{SV_USER} // (), 'postgres', 'nobody') {
        my (undef, undef, $uid, $gid) = getpwnam $name;

        return [$uid, $gid] if $uid;
    }

    croak 'no unprivileged user to run PostgreSQL';
}


sub start {
    my ($self) = @_;

    my $dir = $self->{dir};

    $self->run($self->{bin} . '/pg_ctl', '-D', "$dir/data", '-l', "$dir/log", '-w', '-t', '60', '-o',
        "-c listen_addresses='' -c unix_socket_directories='$dir' -c fsync=off -c max_connections=100"
            . ' -c deadlock_timeout=200ms -c log_line_prefix=', 'start');

    return;
}


# Runs a command as the unprivileged user; croaks with its output when it fails.
sub run {
    my ($self, @command) = @_;

    my $pid = fork // croak "fork: $!";

    if ($pid == 0) {
        if ($self->{user}) {
            my ($uid, $gid) = @{ $self->{user} };

            chdir $self->{dir};
            $) = "$gid $gid";
            POSIX::setgid($gid);
            POSIX::setuid($uid);
        }

        open STDIN,  '<',  '/dev/null';
        open STDOUT, '>>', "$self->{dir}/out";
        open STDERR, '>&', \*STDOUT;
        exec { $command[0] } @command or POSIX::_exit(127);
    }

    waitpid $pid, 0;

    if ($? != 0) {
        croak "$command[0] failed: " . slurp("$self->{dir}/out");
    }

    return;
}


sub slurp {
    my ($file) = @_;

    open my $fh, '<', $file or return '';
    local $/ = undef;

    return <$fh>;
}


# Runs sql/migrate with these arguments; its exit status. What it said is in $self->{said}.
sub migrate {
    my ($self, @arg) = @_;

    return $self->tool("$root/sql/migrate", @arg);
}


sub tool {
    my ($self, @command) = @_;

    local $ENV{PGHOST} = $self->{dir};
    local $ENV{PGPORT} = 5432;
    local $ENV{PGUSER} = $self->{as} // 'postgres';
    local $ENV{PGDATABASE} = $self->{database} // 'postgres';
    local $ENV{PATH} = "$self->{bin}:$ENV{PATH}";

    my $pid = open(my $fh, '-|') // croak "fork: $!";

    if ($pid == 0) {
        open STDERR, '>&', \*STDOUT;
        exec { $command[0] } @command or POSIX::_exit(127);
    }

    local $/ = undef;
    $self->{said} = <$fh>;
    close $fh;

    return $? >> 8;
}


sub connect {    ## no critic (Subroutines::ProhibitBuiltinHomonyms)
    my ($self, $user, %option) = @_;

    my $database = $option{database} // $self->{database} // 'postgres';

    return DBI->connect("dbi:Pg:host=$self->{dir};port=5432;dbname=$database", $user // 'postgres', '',
        { RaiseError => 1, PrintError => 0, AutoCommit => 1, AutoInactiveDestroy => 1, pg_enable_utf8 => 0 });
}


# One call of sv.operate(); what is not given is a scan of the pack now with a new key.
sub operate {
    my ($self, $dbh, $arg) = @_;

    my %a = (gtin => 9506000134352, lot => 'L1', expiry => '2030-06-30', entry_mode => 'scanned',
        key => sprintf('%d-%d', $$, ++$serial), alert_id => 'XX-ALERT', %{$arg});

    $a{fingerprint} //= join '|', map { $_ // '' } @a{qw(serial lot expiry operation of entry_mode occurred_at)};
    $a{audit_id} //= uuid();

    my $sth = $dbh->prepare_cached('select * from sv.operate($1::bigint, $2::text, $3::text, $4::date, $5::text, $6::text,'
        . ' $7::integer, $8::text, $9::text, $10::text, $11::timestamptz, $12::text, $13::uuid, $14::text)');

    $sth->execute(@a{qw(gtin serial lot expiry operation of location key fingerprint entry_mode occurred_at alert_id
        audit_id request_id)});

    my $row = $sth->fetchrow_hashref;
    $sth->finish;

    return $row;
}


sub uuid {
    return sprintf '%08x-%04x-4%03x-8%03x-%012x', int(rand 2**32), int(rand 2**16), int(rand 2**12), int(rand 2**12),
        int(rand 2**48);
}


# Runs code in a child, so that what it does runs beside the test; the child's
# lines of output are read by lines_of().
sub child {
    my ($self, $code) = @_;

    my $pid = open(my $fh, '-|') // croak "fork: $!";

    if ($pid == 0) {
        $| = 1;
        srand;
        my $ok = eval { $code->(); 1 };
        print 'died: ', $@ =~ s/\n/ /gr, "\n" unless $ok;
        close STDOUT;
        POSIX::_exit($ok ? 0 : 1);
    }

    return $fh;
}


sub lines_of {
    my ($fh) = @_;

    my @lines = <$fh>;
    close $fh;
    chomp @lines;

    return @lines;
}


# Waits until SQL says true, a minute at most.
sub wait_for {
    my ($self, $dbh, $sql, @value) = @_;

    for (1 .. 6000) {
        my ($ok) = $dbh->selectrow_array($sql, undef, @value);

        return 1 if $ok;

        sleep 0.01;
    }

    return 0;
}


# What the server logged that no test may cause.
sub alarms {
    my ($self) = @_;

    return grep { /^(?:PANIC|FATAL|LOG:\s+server process)/ } split /\n/, slurp("$self->{dir}/log");
}


sub stop {
    my ($self) = @_;

    return if !$self->{dir} || $self->{owner} != $$;

    local $? = 0;
    eval { $self->run($self->{bin} . '/pg_ctl', '-D', "$self->{dir}/data", '-m', 'immediate', '-w', 'stop') };
    remove_tree($self->{dir});
    $self->{dir} = undef;

    return;
}


sub DESTROY {
    my ($self) = @_;

    $self->stop;

    return;
}

1;
