package Test::SerialVerify::Receiver;

# An HTTP server that takes documents, or does not: what it does with the next
# request stands in a file.  Everything that arrived whole is kept.
#
#   ok         taken, 201
#   NNN        answered with this status, not taken
#   lost       taken, and the answer never arrives
#   hang       taken when the mode changes, not before
#   endless    taken, and the answer's body has no end
#   late       taken, answered after half a second
#   random     any of ok, 503, 429, lost, reset
#   for WORD MODE    as MODE for a document with this word, else taken

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Fcntl qw(:flock);
use IO::Socket::INET;
use JSON::PP qw(decode_json encode_json);
use POSIX ();
use Time::HiRes qw(sleep);


sub start {
    my ($class, $sv, $name) = @_;

    my $self = bless {dir => $sv->directory($name // 'receiver'), owner => $$, port => $sv->port}, $class;

    $self->mode('ok');

    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $self->{port}, Listen => 50, ReuseAddr => 1)
        or die "listen: $!";

    $self->{pid} = fork // die "fork: $!";
    return $self if $self->{pid};

    local $SIG{CHLD} = 'IGNORE';

    while (1) {
        my $client = $listen->accept or next;

        if (fork == 0) {
            srand;
            eval { $self->serve($client); 1 } or print STDERR $@;
            POSIX::_exit(0);
        }
    }

    POSIX::_exit(0);
}


sub url { return "http://127.0.0.1:$_[0]{port}/capture" }


sub mode {
    my ($self, $mode) = @_;

    if (defined $mode) {
        open(my $fh, '>', "$self->{dir}/mode.new") or die "mode: $!";
        print {$fh} $mode;
        close $fh;
        rename "$self->{dir}/mode.new", "$self->{dir}/mode" or die "mode: $!";
    }

    return Test::SerialVerify::slurp("$self->{dir}/mode");
}


sub note {
    my ($self, %line) = @_;

    open(my $fh, '>>', "$self->{dir}/log") or die "log: $!";
    flock $fh, LOCK_EX;
    print {$fh} encode_json(\%line) . "\n";
    close $fh;

    return;
}


sub serve {
    my ($self, $client) = @_;

    my ($head, $body) = ('', '');

    while ($head !~ /\r\n\r\n/) {
        sysread($client, $head, 65536, length $head) or return;
    }

    ($head, $body) = split /\r\n\r\n/, $head, 2;
    my ($length) = $head =~ /^content-length: (\d+)/mi or return;

    while (length $body < $length) {
        sysread($client, $body, 1 << 20, length $body) or return;
    }

    my ($line, @header) = split /\r\n/, $head;
    my %header = map { my ($name, $value) = split /: */, $_, 2; (lc $name => $value) } @header;
    my $sha    = sha256_hex($body);
    my $mode   = $self->mode;
    my $id     = "$$." . rand;

    if ($mode =~ /^for (\S+) (.*)/) {
        $mode = index($body, $1) >= 0 ? $2 : 'ok';
    }

    if (!-e "$self->{dir}/$sha") {
        open(my $fh, '>:raw', "$self->{dir}/$sha.$$") or die "body: $!";
        print {$fh} $body;
        close $fh;
        rename "$self->{dir}/$sha.$$", "$self->{dir}/$sha";
    }

    $self->note(what => 'begin', id => $id, line => $line, header => \%header, sha => $sha);

    while ($mode eq 'hang') {
        last if $self->mode !~ /hang$/;
        sleep 0.01;
    }

    if ($mode eq 'late') {
        sleep 0.5;
        $mode = 'ok';
    }

    $mode = 'ok' if $mode eq 'hang';
    $mode = (qw(ok ok 503 429 lost reset))[rand 6] if $mode eq 'random';

    $self->note(what => 'end', id => $id, taken => $mode =~ /^(?:ok|lost|endless)$/ ? 1 : 0, sha => $sha, mode => $mode);

    return if $mode =~ /^(?:lost|reset)$/;

    if ($mode eq 'endless') {
        print {$client} "HTTP/1.1 201 Created\r\n\r\n";
        local $SIG{PIPE} = 'IGNORE';
        1 while print {$client} 'x' x 65536;
        return;
    }

    my ($status, $more) = $mode eq 'ok' ? (201, '') : split / /, $mode, 2;
    print {$client} "HTTP/1.1 $status Whatever\r\n" . ($more ? "$more\r\n" : '') . "Content-Length: 4\r\nConnection: close\r\n\r\nbody";

    return;
}


# What happened behind line `from', in order: {what => 'begin', line, header, sha}, {what => 'end', taken, sha}
sub log_lines {
    my ($self, $from) = @_;

    my @lines = split /\n/, Test::SerialVerify::slurp("$self->{dir}/log");

    return map { decode_json($_) } splice @lines, $from // 0;
}


sub mark { my ($self) = @_; return scalar(my @lines = $self->log_lines) }


# The requests that arrived, and those that ended.
sub begun { my ($self, $from) = @_; return grep { $_->{what} eq 'begin' } $self->log_lines($from) }
sub ended { my ($self, $from) = @_; return grep { $_->{what} eq 'end' } $self->log_lines($from) }


# The events of all documents that were taken, in the order in which they were.
sub taken {
    my ($self, $from) = @_;

    return map { @{decode_json(Test::SerialVerify::slurp("$self->{dir}/$_->{sha}"))->{epcisBody}{eventList}} }
        grep { $_->{taken} } $self->ended($from);
}


# The documents that were taken, in the order in which they were.
sub bodies {
    my ($self, $from) = @_;

    return map { decode_json(Test::SerialVerify::slurp("$self->{dir}/$_->{sha}")) } grep { $_->{taken} } $self->ended($from);
}


sub stop {
    my ($self) = @_;

    return if !$self->{pid} || $self->{owner} != $$;

    $self->mode('ok') if -d $self->{dir};
    kill 'KILL', $self->{pid};
    waitpid $self->{pid}, 0;
    delete $self->{pid};

    return;
}


sub DESTROY {
    my ($self) = @_;

    local ($?, $!, $@);
    $self->stop;

    return;
}


1;
