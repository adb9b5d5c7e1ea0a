package Proxy;

# A misbehaving server for tests: a proxy in front of a real one (or of a
# handler in Perl), told through a control socket how to misbehave.
#
#   --listen  PATH | ADDRESS:PORT    where clients connect
#   --control PATH                   unix socket for commands, see below
#   --server  PATH | ADDRESS:PORT    the real server
#
# A control connection sends one line and reads one: "ok ..." when the command
# is in effect, or "error ...".
#
#   pass                  forward everything, end every other mode
#   stall | stall-up | stall-down
#                         forward nothing in both / to the server / to the client;
#                         what arrives is kept for `pass'
#   dribble [BYTES [MS]]  to the client: so many bytes at a time (1), a pause between (1)
#   cut N | cut-up N      close connections after N more bytes to the client / to the server
#   cut-new N             the same to the client, for connections made from now on
#   refuse                new connections are closed at once
#   away                  nobody listens: connections are refused by the kernel
#   drop | reset          close all connections, orderly or with RST
#   finish                pass on what is held for the clients, then close all connections
#   inject TEXT           send TEXT to all clients now
#   truncate N            of what is held for the clients, drop the last N bytes
#   replace TEXT          instead of what the server says next, TEXT
#   wait-stalled N        answers when N bytes are being held back from clients
#   count                 ok connections=N open=N up=BYTES down=BYTES held=BYTES
#
# TEXT may hold \r \n \t \\ \0 and \xHH.

use strict;
use warnings;

use Errno qw(EAGAIN EINPROGRESS EINTR);
use Getopt::Long qw(GetOptionsFromArray);
use IO::Handle;
use IO::Select;
use Socket qw(AF_INET AF_UNIX SOCK_STREAM SOL_SOCKET SO_REUSEADDR SO_LINGER
    SOMAXCONN inet_aton pack_sockaddr_in pack_sockaddr_un);
use Time::HiRes ();

use constant CHUNK => 65536;

sub new {
    my ($class, %arg) = @_;

    my $self = bless {
        pairs       => {},
        mode        => 'pass',
        connections => 0,
        up          => 0,
        down        => 0,
        waiting     => [],
        commands    => {},
        %arg,
    }, $class;

    return $self;
}

# Command line to a running proxy. `handler' makes a handler for each
# connection when there is no --server: an object with feed($bytes), which
# returns what is to be sent, or undef to close.
sub main {
    my ($class, $argv, %arg) = @_;

    my ($listen, $control, $server);

    GetOptionsFromArray($argv,
        'listen=s'  => \$listen,
        'control=s' => \$control,
        'server=s'  => \$server,
    ) or die "wrong option, see the head of Proxy.pm\n";

    die "--listen and --control are needed\n"
        if !defined $listen || !defined $control;
    die "--server is needed\n" if !defined $server && !$arg{handler};

    my $self = $class->new(listen => $listen, server => $server, %arg);

    $self->{listener} = bind_to($listen);
    $self->{control}  = bind_to($control);
    $self->run;

    return;
}

sub run {
    my ($self) = @_;

    local $SIG{PIPE} = 'IGNORE';

    while (1) {
        $self->turn;
    }

    return;
}

sub turn {
    my ($self) = @_;

    my $read  = IO::Select->new($self->{control});
    my $write = IO::Select->new;

    $read->add($self->{listener}) if $self->{listener};

    for my $pair (values %{ $self->{pairs} }) {
        $read->add($pair->{client});
        $read->add($pair->{server}) if $pair->{server};
        $write->add($pair->{client}) if $self->ready_down($pair);
        $write->add($pair->{server})
            if $pair->{server} && length $pair->{to_server} && !$self->stalled('up');
    }

    my ($r, $w) = IO::Select->select($read, $write, undef, $self->pause);

    for my $fh (@{ $r || [] }) {
        $self->readable($fh);
    }

    for my $fh (@{ $w || [] }) {
        $self->writable($fh);
    }

    $self->answer_waiting;

    return;
}

sub stalled {
    my ($self, $direction) = @_;

    return $self->{mode} eq 'stall' || $self->{mode} eq "stall-$direction";
}

# bytes that may go to the client now
sub ready_down {
    my ($self, $pair) = @_;

    return 0 if !length $pair->{to_client} || $self->stalled('down');

    return 1 if $self->{mode} ne 'dribble';

    return Time::HiRes::time() >= ($pair->{next} || 0);
}

sub pause {
    my ($self) = @_;

    return if $self->{mode} ne 'dribble';

    for my $pair (values %{ $self->{pairs} }) {
        return $self->{dribble_ms} / 1000 if length $pair->{to_client};
    }

    return;
}

sub readable {
    my ($self, $fh) = @_;

    if ($fh == $self->{control}) {
        $self->control;
        return;
    }

    if ($self->{listener} && $fh == $self->{listener}) {
        $self->accept_client;
        return;
    }

    my $pair = $self->pair_of($fh) or return;

    my $n = sysread $fh, my $data, CHUNK;

    return if !defined $n && ($! == EAGAIN || $! == EINTR);

    if (!$n) {
        $self->ended($pair, $fh);
        return;
    }

    if ($fh == $pair->{client}) {
        $self->from_client($pair, $data);

    } else {
        $self->from_server($pair, $data);
    }

    return;
}

sub ended {
    my ($self, $pair, $fh) = @_;

    # what the server said before it left still reaches the client
    if ($fh != $pair->{client} && length $pair->{to_client}) {
        close $pair->{server};
        delete $pair->{server};
        $pair->{closing} = 1;
        return;
    }

    $self->close_pair($pair);

    return;
}

sub from_client {
    my ($self, $pair, $data) = @_;

    $self->{up} += length $data;

    if (defined $pair->{cut_up}) {
        $data = substr $data, 0, $pair->{cut_up};
        $pair->{cut_up} -= length $data;
    }

    if ($pair->{handler}) {
        my $answer = $pair->{handler}->feed($data);

        if (!defined $answer) {
            $self->close_pair($pair);
            return;
        }

        $self->from_server($pair, $answer) if length $answer;

    } else {
        $pair->{to_server} .= $data;
    }

    if (defined $pair->{cut_up} && $pair->{cut_up} == 0) {
        $self->flush_server($pair);
        $self->close_pair($pair);
    }

    return;
}

sub from_server {
    my ($self, $pair, $data) = @_;

    $data = delete $pair->{replace} if defined $pair->{replace};
    $pair->{to_client} .= $data;

    return;
}

sub writable {
    my ($self, $fh) = @_;

    my $pair = $self->pair_of($fh) or return;

    if ($fh != $pair->{client}) {
        $self->flush_server($pair);
        return;
    }

    my $max = length $pair->{to_client};

    if ($self->{mode} eq 'dribble') {
        $max = $self->{dribble} if $max > $self->{dribble};
        $pair->{next} = Time::HiRes::time() + $self->{dribble_ms} / 1000;
    }

    $max = $pair->{cut} if defined $pair->{cut} && $max > $pair->{cut};

    my $n = $max ? syswrite $fh, $pair->{to_client}, $max : 0;

    return if !defined $n && ($! == EAGAIN || $! == EINTR);

    if (!defined $n) {
        $self->close_pair($pair);
        return;
    }

    substr $pair->{to_client}, 0, $n, '';
    $self->{down} += $n;

    if (defined $pair->{cut}) {
        $pair->{cut} -= $n;
        $self->close_pair($pair) if $pair->{cut} <= 0;
        return;
    }

    $self->close_pair($pair) if $pair->{closing} && !length $pair->{to_client};

    return;
}

sub flush_server {
    my ($self, $pair) = @_;

    my $n = syswrite $pair->{server}, $pair->{to_server};

    substr $pair->{to_server}, 0, $n, '' if $n;

    return;
}

sub accept_client {
    my ($self) = @_;

    accept my $client, $self->{listener} or return;
    $client->blocking(0);
    $self->{connections}++;

    if ($self->{mode} eq 'refuse') {
        close $client;
        return;
    }

    my $pair = { client => $client, to_client => '', to_server => '' };
    $pair->{cut} = $self->{cut_new} if defined $self->{cut_new};

    if (defined $self->{server}) {
        $pair->{server} = connect_to($self->{server});

        if (!$pair->{server}) {
            close $client;
            return;
        }

    } else {
        $pair->{handler} = $self->{handler}->();
    }

    $self->{pairs}{ fileno $client } = $pair;
    $self->close_pair($pair) if defined $pair->{cut} && $pair->{cut} == 0;

    return;
}

sub pair_of {
    my ($self, $fh) = @_;

    # closed in this very turn
    return if !defined fileno $fh;

    for my $pair (values %{ $self->{pairs} }) {
        return $pair
            if $pair->{client} == $fh
            || ($pair->{server} && $pair->{server} == $fh);
    }

    return;
}

sub close_pair {
    my ($self, $pair) = @_;

    delete $self->{pairs}{ fileno $pair->{client} };
    close $pair->{client};
    close $pair->{server} if $pair->{server};

    return;
}

sub control {
    my ($self) = @_;

    accept my $fh, $self->{control} or return;

    my $line = <$fh>;

    # a probe whether we are there
    return if !defined $line;

    chomp $line;
    my ($command, $rest) = split / /, $line, 2;
    $rest = '' if !defined $rest;

    if ($command eq 'wait-stalled') {
        push @{ $self->{waiting} }, [$fh, $rest];
        return;
    }

    my $answer = eval { $self->command($command, $rest) };
    print {$fh} defined $answer ? "ok $answer\n" : "error $@\n";
    close $fh;

    return;
}

sub answer_waiting {
    my ($self) = @_;

    my $held = $self->held;
    my @left;

    for my $wait (@{ $self->{waiting} }) {
        if ($held >= $wait->[1]) {
            print { $wait->[0] } "ok $held\n";
            close $wait->[0];

        } else {
            push @left, $wait;
        }
    }

    $self->{waiting} = \@left;

    return;
}

sub held {
    my ($self) = @_;

    my $held = 0;

    for my $pair (values %{ $self->{pairs} }) {
        $held += length $pair->{to_client};
    }

    return $held;
}

my %SETTING = (
    'cut'     => 'cut',
    'cut-up'  => 'cut_up',
    'replace' => 'replace',
);

sub command {
    my ($self, $command, $rest) = @_;

    my @pairs = values %{ $self->{pairs} };

    if ($command =~ /\A(?:stall|stall-up|stall-down|refuse)\z/) {
        $self->{mode} = $command;

    } elsif ($command eq 'pass') {
        $self->pass;

    } elsif ($command eq 'dribble') {
        my ($bytes, $ms) = split / /, $rest;
        $self->{mode}       = 'dribble';
        $self->{dribble}    = $bytes || 1;
        $self->{dribble_ms} = defined $ms ? $ms : 1;

    } elsif ($SETTING{$command}) {
        my $value = $command eq 'replace' ? unescape($rest) : $rest;

        for my $pair (@pairs) {
            $pair->{ $SETTING{$command} } = $value;
            $self->close_pair($pair) if $command =~ /\Acut/ && $value == 0;
        }

    } elsif ($command eq 'cut-new') {
        $self->{cut_new} = $rest;

    } elsif ($command eq 'away') {
        close $self->{listener} if $self->{listener};
        delete $self->{listener};
        unlink $self->{listen} if $self->{listen} =~ m{\A/};

    } elsif ($command eq 'drop' || $command eq 'reset') {
        for my $pair (@pairs) {
            setsockopt $pair->{client}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0)
                if $command eq 'reset';
            $self->close_pair($pair);
        }

    } elsif ($command eq 'finish') {
        $self->{mode} = 'pass';

        for my $pair (@pairs) {
            $pair->{closing} = 1;
            $self->close_pair($pair) if !length $pair->{to_client};
        }

    } elsif ($command eq 'inject') {
        $_->{to_client} .= unescape($rest) for @pairs;

    } elsif ($command eq 'truncate') {
        substr $_->{to_client}, -$rest, $rest, '' for @pairs;

    } elsif ($command eq 'count') {
        return sprintf 'connections=%d open=%d up=%d down=%d held=%d',
            $self->{connections}, scalar @pairs, $self->{up}, $self->{down},
            $self->held;

    } elsif ($self->{commands}{$command}) {
        return $self->{commands}{$command}->($rest);

    } else {
        die "unknown command \"$command\"";
    }

    return '';
}

sub pass {
    my ($self) = @_;

    $self->{mode} = 'pass';
    delete $self->{cut_new};
    $self->{listener} ||= bind_to($self->{listen});

    for my $pair (values %{ $self->{pairs} }) {
        delete @{$pair}{qw(cut cut_up replace)};
    }

    return;
}

sub unescape {
    my ($text) = @_;

    my %char = (r => "\r", n => "\n", t => "\t", '\\' => '\\', 0 => "\0");

    $text =~ s/\\(?:x([0-9a-fA-F]{2})|([rnt\\0]))/
               defined $1 ? chr hex $1 : $char{$2}/gex;

    return $text;
}

sub bind_to {
    my ($where) = @_;

    my ($family, $address) = address($where);

    socket my $fh, $family, SOCK_STREAM, 0 or die "socket: $!\n";
    setsockopt $fh, SOL_SOCKET, SO_REUSEADDR, 1 if $family == AF_INET;
    unlink $where if $family == AF_UNIX;
    bind $fh, $address or die "$where: $!\n";

    # servers run as different users
    chmod 0777, $where if $family == AF_UNIX;

    listen $fh, SOMAXCONN or die "$where: $!\n";
    $fh->blocking(0);

    return $fh;
}

sub connect_to {
    my ($where) = @_;

    my ($family, $address) = address($where);

    socket my $fh, $family, SOCK_STREAM, 0 or return;
    $fh->blocking(0);

    return if !connect($fh, $address) && $! != EINPROGRESS;

    return $fh;
}

sub address {
    my ($where) = @_;

    return (AF_UNIX, pack_sockaddr_un($where)) if $where =~ m{\A/};

    my ($host, $port) = $where =~ /\A([0-9.]+):([0-9]+)\z/
        or die "$where: neither a path nor ADDRESS:PORT\n";

    return (AF_INET, pack_sockaddr_in($port, inet_aton($host)));
}

1;
