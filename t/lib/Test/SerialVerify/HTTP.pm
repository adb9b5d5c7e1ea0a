package Test::SerialVerify::HTTP;

# HTTP/1.1 over plain sockets: one request, many at once, or a connection that
# the test holds in its hands.

use strict;
use warnings;

use Carp qw(croak);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use Time::HiRes qw(time);

my $json = JSON::PP->new->utf8->allow_nonref;


# encode({..}): JSON text with sorted keys
my $writer = JSON::PP->new->utf8->canonical->allow_nonref;

sub encode { return $writer->encode($_[0]) }
sub decode { return $json->decode($_[0]) }


sub connect_to {
    my ($class, $address) = @_;

    my $socket = $address =~ m{^/}
        ? IO::Socket::UNIX->new(Peer => $address)
        : IO::Socket::INET->new(PeerAddr => $address, Proto => 'tcp');

    croak "cannot connect to $address: $!" if !$socket;

    $socket->autoflush(1);
    binmode $socket;

    return bless {socket => $socket, buffer => ''}, $class;
}


# build(METHOD, TARGET, body => , key => , headers => {}, close => 1)
# A body that is a reference is sent as JSON.
sub build {
    my ($method, $target, %option) = @_;

    my %header = (Host => 'id.example.com', %{$option{headers} // {}});
    my $body   = $option{body};

    $header{Authorization} //= "Bearer $option{key}" if defined $option{key};
    $header{'Idempotency-Key'} //= $option{idempotency} if defined $option{idempotency};
    $header{Connection} //= 'close' if $option{close};

    if (ref $body) {
        $body = encode($body);
        $header{'Content-Type'} //= 'application/json';
    }

    $header{'Content-Length'} //= length $body if defined $body;

    my $head = join '', map { "$_: $header{$_}\r\n" } grep { defined $header{$_} } sort keys %header;

    return "$method $target HTTP/1.1\r\n$head\r\n" . ($body // '');
}


# parse(BYTES, EOF): a response and what follows it, or nothing while it is incomplete
sub parse {
    my ($bytes, $eof, $no_body) = @_;

    $bytes =~ /\A(HTTP\/1\.[01] (\d\d\d)[^\r\n]*\r\n(.*?)\r\n)\r\n/s or return;

    my ($status, $raw, $rest) = ($2, $3, substr($bytes, length($1) + 2));
    my %header;

    for my $line (split /\r\n/, $raw) {
        my ($name, $value) = $line =~ /^([^:]+):\s*(.*?)\s*$/ or next;
        $name = lc $name;
        $header{$name} = exists $header{$name} ? "$header{$name}, $value" : $value;
    }

    return parse($rest, $eof) if $status == 100;

    my $body = '';

    if ($no_body || $status == 204 || $status == 304) {
        $body = '';

    } elsif (($header{'transfer-encoding'} // '') eq 'chunked') {
        while (1) {
            $rest =~ s/\A([0-9a-fA-F]+)\r\n//s or return;
            my $size = hex $1;
            return if length($rest) < $size + 2;
            $body .= substr $rest, 0, $size, '';
            $rest =~ s/\A\r\n//s or return;
            last if $size == 0;
        }

    } elsif (defined $header{'content-length'}) {
        return if length($rest) < $header{'content-length'};
        $body = substr $rest, 0, $header{'content-length'}, '';

    } else {
        return if !$eof;
        ($body, $rest) = ($rest, '');
    }

    my $response = {status => $status + 0, headers => \%header, body => $body};

    if (($header{'content-type'} // '') =~ m{^application/(?:[\w.]+\+)?json}) {
        $response->{json} = eval { decode($body) };
    }

    return ($response, $rest);
}


# On a connection: send anything; read the next response (undef: closed, or late).
sub put {
    my ($self, $bytes) = @_;

    my $socket = $self->{socket};
    local $SIG{PIPE} = 'IGNORE';

    return print {$socket} $bytes;
}


sub next_response {
    my ($self, $timeout, $no_body) = @_;

    my $end    = time + ($timeout // 30);
    my $select = IO::Select->new($self->{socket});

    while (1) {
        my ($response, $rest) = parse($self->{buffer}, $self->{eof}, $no_body);

        if ($response) {
            $self->{buffer} = $rest;
            return $response;
        }

        my $left = $end - time;
        return if $self->{eof} || $left <= 0 || !$select->can_read($left);

        my $n = sysread $self->{socket}, $self->{buffer}, 65536, length $self->{buffer};
        $self->{eof} = 1 if !$n;
    }

    return;
}


sub request {
    my ($self, $method, $target, %option) = @_;

    $self->put(build($method, $target, %option));

    return $self->next_response($option{timeout}, $method eq 'HEAD');
}


# Nothing more to send; the answer may still come.
sub half_close { return shutdown $_[0]{socket}, 1 }
sub close_now  { return close delete $_[0]{socket} }


# together(SECONDS, [ADDRESS, BYTES]..): all at once, each on a connection of
# its own.  Responses in the order of the requests, {status => 0} where none came.
sub together {
    my ($class, $timeout, @requests) = @_;

    my (@responses, %open);
    my $poll = IO::Select->new;

    for my $i (0 .. $#requests) {
        my ($address, $bytes) = @{$requests[$i]};

        $responses[$i] = {status => 0, headers => {}, body => ''};

        my $connection = eval { $class->connect_to($address) } or next;
        $connection->{index} = $i;
        $connection->{bytes} = $bytes;
        $open{fileno $connection->{socket}} = $connection;
        $poll->add($connection->{socket});
    }

    my $start = time;

    for my $connection (sort { $a->{index} <=> $b->{index} } values %open) {
        $connection->put($connection->{bytes});
    }

    while ($poll->count && time - $start < $timeout) {
        for my $socket ($poll->can_read($timeout - (time - $start))) {
            my $connection = $open{fileno $socket};
            my $n = sysread $socket, $connection->{buffer}, 65536, length $connection->{buffer};
            my ($response) = parse($connection->{buffer}, !$n);

            if ($response) {
                $response->{time} = time - $start;
                $responses[$connection->{index}] = $response;
            }

            if ($response || !$n) {
                $poll->remove($socket);
                delete $open{fileno $socket};
                close $socket;
            }
        }
    }

    return @responses;
}


1;
