#!/usr/bin/env perl

# Reload and shutdown lose no request; clients that leave, dawdle or send more
# than they should leave nothing behind and disturb nobody.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;
use Time::HiRes qw(time);
use Test::SerialVerify;
use Test::SerialVerify::HTTP;

my $gtin   = 9506000134352;
my $number = 0;

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
my $pharmacy = $sv->actor('pharmacy', country => 'IT');
my $key      = $pharmacy->{key};

# time enough to stop and continue the servers while requests wait
my %patient = (workers => 2, verify => {deadline => '50s', redis_timeout => '9s'});
$sv->start_nginx(%patient);


sub pack_new {
    my $serial = 'L-' . ++$number;
    $sv->pack_row($gtin, $serial);
    return $serial;
}

sub verify_request { return ['GET', $sv->link_to($gtin, $_[0]), key => $key] }

sub supply_request {
    my ($serial, %option) = @_;
    return ['POST', $sv->link_to($gtin, $serial), body => '{"operation":"supply"}', key => $key, idempotency => "supply-$serial", %option];
}

sub bytes_of {
    my ($request, %more) = @_;
    my ($method, $target, %option) = @$request;
    return Test::SerialVerify::HTTP::build($method, $target, %option, %more);
}

sub supply { return $sv->request(@{supply_request(@_)}) }


sub in_flight { return $sv->figure('operations_in_flight') }

# Every worker process says once a second what it has in flight.
sub wait_in_flight {
    my ($n) = @_;
    Test::SerialVerify::wait_for { in_flight() == $n } "$n operations in flight";
    return;
}

sub state_of { return $sv->sql('select state from sv.pack where gtin = ? and serial = ?', $gtin, $_[0]) }

sub statuses {
    my %seen;
    $seen{$_->{status}}++ for @_;
    return join ', ', map { "$seen{$_} times $_" } sort keys %seen;
}

sub descriptors {
    my ($name) = @_;
    return scalar map { glob "/proc/$_/fd/*" } $sv->workers($name);
}


subtest 'reload' => sub {
    my @old     = $sv->workers;
    my @serials = map { pack_new() } 1 .. 20;

    $sv->pause('postgres');
    my @waiting = $sv->sent(map { (supply_request($_), verify_request($_)) } @serials);
    wait_in_flight(20);

    $sv->reload;
    my %alive = map { $_ => 1 } $sv->workers;
    is(scalar(grep { $alive{$_} } @old), 2, 'the old processes wait for their answers');
    is($sv->get('/static')->{status}, 200, 'the new ones serve');

    $sv->resume('postgres');
    my @answers = $sv->answers(60, @waiting);
    is(statuses(@answers), '40 times 200', 'all are answered');
    is(scalar(grep { $_->{json}{changed} } @answers), 20, 'and done');
    ok(eval { Test::SerialVerify::wait_for { my %now = map { $_ => 1 } $sv->workers; !grep { $now{$_} } @old } 'the old processes to leave' },
        'then the old processes leave');

    # while requests keep coming
    my @all;

    for my $round (1 .. 3) {
        my @before = $sv->sent(map { supply_request(pack_new()) } 1 .. 15);
        $sv->signal('nginx', 'HUP');
        my @after = $sv->sent(map { supply_request(pack_new()) } 1 .. 15);
        push @all, $sv->answers(60, @before, @after);
    }

    is(statuses(@all), '90 times 200', 'three reloads, with requests coming all the time');
};


subtest 'orderly shutdown' => sub {
    $sv->start_nginx(%patient, name => 'leaving');

    my @serials = map { pack_new() } 1 .. 10;
    $sv->pause('postgres');
    my @waiting = $sv->sent(map { ([@{supply_request($_)}, nginx => 'leaving'], [@{verify_request($_)}, nginx => 'leaving']) } @serials);
    Test::SerialVerify::wait_for { $sv->figure('operations_in_flight', {nginx => 'leaving'}) == 10 } '10 operations in flight';

    $sv->signal('leaving', 'QUIT');
    Test::SerialVerify::wait_for { !eval { $sv->accepts('leaving') } } 'nobody to listen any more';
    $sv->resume('postgres');

    is(statuses($sv->answers(60, @waiting)), '20 times 200', 'QUIT: what was begun is finished');
    ok(eval { Test::SerialVerify::wait_for { !$sv->server('leaving')->running } 'the end' }, 'then it ends');
};


# Bytes of these clients that the gateway has not read yet, as the kernel counts them.
sub unread {
    my (@clients) = @_;

    my %port  = map { sprintf('%04X', $_->{socket}->sockport) => 1 } @clients;
    my $bytes = 0;

    for my $line (split /\n/, Test::SerialVerify::slurp('/proc/net/tcp')) {
        my (undef, $local, $remote, undef, $queues) = split ' ', $line;
        next if ($remote // '') !~ /:(\w{4})$/ || !$port{$1};
        $bytes += hex((split /:/, $queues)[1]) if $local eq sprintf '0100007F:%04X', $sv->{port}{nginx};
    }

    return $bytes;
}


subtest 'clients that leave' => sub {
    # keep-alive connections and caches have their size after this
    $sv->request(@{verify_request(pack_new())}) for 1 .. 20;
    wait_in_flight(0);

    my $serial = pack_new();
    my $supply = bytes_of(supply_request($serial, idempotency => 'left'));
    my ($head) = $supply =~ /^(.*\r\n\r\n)/s;
    my $big    = '{"operation":"supply"' . ' ' x 200_000 . '}';

    my %stage = (
        'before a byte'                 => '',
        'in the request line'           => substr($supply, 0, 20),
        'in the headers'                => substr($supply, 0, length($head) - 10),
        'before the body'               => $head,
        'in the body'                   => substr($supply, 0, length($head) + 5),
        'in a body that goes to a file' => substr(bytes_of(supply_request($serial, body => $big)), 0, 100_000),
        'while it is verified'          => bytes_of(verify_request(pack_new())),
        'while a list is done'          => bytes_of(['POST', '/packs', key => $key, body => [map {
            {operation => 'verify', scan => "(01)09506000134352(21)NEVER-$_(10)LOT1(17)301231"} } 1 .. 50]]),
        'while a consumer waits'        => bytes_of(['GET', $sv->link_to($gtin, pack_new())]),
        'while a scan is looked up'     => bytes_of(['POST', '/scan', key => $key, body => {operation => 'verify',
            scan => '(01)09506000134352(21)NEVER(10)LOT1(17)301231'}]),
    );

    for my $server (qw(postgres redis)) {
        for my $stage (sort keys %stage) {
            my $before  = descriptors();
            my $aborted = $sv->counter('aborted');

            $sv->pause($server);
            my @clients = map { $sv->connection } 1 .. 6;
            $_->put($stage{$stage}) for @clients;

            # half of them in order, half of them with a reset
            Test::SerialVerify::wait_for { descriptors() >= $before + 6 } 'the clients to be let in';
            Test::SerialVerify::wait_for { !unread(@clients) } 'what they sent to be read';
            for my $i (0 .. $#clients) {
                setsockopt $clients[$i]{socket}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) if $i % 2;
                $clients[$i]->close_now;
            }

            if ($stage =~ /^while/ && $server eq 'postgres') {
                ok(eval { Test::SerialVerify::wait_for { $sv->counter('aborted') >= $aborted + 6 } 'the processes to notice' }, "$stage: the leaving is noticed");
            }

            $sv->resume($server);
            ok(eval { Test::SerialVerify::wait_for { descriptors() <= $before } 'the descriptors' }, "$server stands still, client leaves $stage: nothing is left")
                or diag("$before descriptors before, " . descriptors() . ' now');
        }
    }

    is(state_of($serial), 'active', 'what was not sent whole has no effect');
};


subtest 'an operation goes on without its client' => sub {
    for my $how ('closed', 'reset', 'half closed') {
        my $serial = pack_new();

        $sv->pause('postgres');
        my ($client) = $sv->sent(supply_request($serial));
        wait_in_flight(1);
        setsockopt $client->{socket}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) if $how eq 'reset';
        $how eq 'half closed' ? $client->half_close : $client->close_now;
        $sv->resume('postgres');

        ok(eval { Test::SerialVerify::wait_for { state_of($serial) eq 'supplied' } 'the supply' }, "$how: it is carried out");
        wait_in_flight(0);

        my $answer = supply($serial);
        is_deeply([@{$answer->{headers}}{'idempotent-replayed'}, $answer->{json}{changed} ? 'changed' : $answer->{body}], ['true', 'changed'],
            "$how: and found by its key");
    }

    # with the end of what it says, said at once
    my $serial = pack_new();
    my $client = $sv->connection;
    $client->put(bytes_of(supply_request($serial)));
    $client->half_close;
    my $answer = $client->next_response(60);
    ok(!$answer || $answer->{status} == 200, 'half closed at once: answered, or not');
    is(supply($serial)->{json}{state}, 'supplied', 'but done');
};


subtest 'many requests on one connection' => sub {
    my @serials = map { pack_new() } 1 .. 3;
    my $client  = $sv->connection;

    my @requests = (
        (map { (verify_request($_), supply_request($_), verify_request($_)) } @serials),
        ['GET', '/static'], verify_request('NEVER-SEEN'), ['GET', '/nowhere'], verify_request($serials[0]),
    );

    my @expected = ((map { ('200 active', '200 supplied', '200 supplied') } @serials), '200 ', '404 ', '404 ', '200 supplied');

    $client->put(join '', map { bytes_of($_) } @requests);
    my @got = map { my $a = $client->next_response(60); $a ? "$a->{status} " . ($a->{json}{state} // '') : 'none' } @requests;
    is_deeply(\@got, \@expected, 'pipelined: every answer, in order');

    # the second arrives while the first waits
    my $serial = pack_new();
    $sv->pause('postgres');
    $client->put(bytes_of(supply_request($serial)));
    wait_in_flight(1);
    $client->put(bytes_of(verify_request($serial)) . bytes_of(['GET', '/static']));
    $sv->resume('postgres');
    @got = map { my $a = $client->next_response(60); $a ? "$a->{status} " . ($a->{json}{state} // '') : 'none' } 1 .. 3;
    is_deeply(\@got, ['200 supplied', '200 supplied', '200 '], 'while the first waits');

    # a byte at a time
    $serial = pack_new();
    $client = $sv->connection;
    $client->put($_) for split //, bytes_of(supply_request($serial));
    is(($client->next_response(60) // {})->{json}{changed} ? 'changed' : '', 'changed', 'a byte at a time');

    for my $target ($sv->link_to($gtin, $serial), $sv->link_to($gtin, 'NOBODY'), '/status', '/metrics', $sv->link_to(1, 'NOBODY')) {
        $client->put(bytes_of(['HEAD', $target, key => $key]) . bytes_of(['GET', '/static']));
        my $answer = $client->next_response(60, 1);
        my $next   = $client->next_response(60) // {body => 'none'};
        ok($answer && $answer->{status} =~ /^(?:200|404|422|400)$/ && $answer->{headers}{'content-length'} > 0, "HEAD $target");
        is($next->{body}, "static\n", 'has no body');
    }
};


# What is refused before its body was read: the body is not the next request.
subtest 'bodies that nobody wants' => sub {
    my $trap = "GET /trap HTTP/1.1\r\nHost: id.example.com\r\n\r\n";
    my $link = $sv->link_to($gtin, pack_new());
    my %body = ('a small body' => $trap, 'a large body' => $trap x 10_000);

    my %refused = (
        'a wrong key'      => [401, 'POST', $link, key => 'key-0123456789abcdef0123'],
        'no key'           => [401, 'POST', '/scan'],
        'no key for lists' => [401, 'POST', '/packs'],
        'a wrong method'   => [405, 'DELETE', $link, key => $key],
        'a wrong way'      => [405, 'PUT', '/scan', key => $key],
        'a wrong link'     => [qr/^4\d\d$/, 'POST', '/01/09506000134351/21/1', key => $key],
        'a GET'            => [200, 'GET', $link, key => $key],
        'status'           => [200, 'GET', '/status'],
        'status, posted'   => [405, 'POST', '/status'],
    );

    for my $name (sort keys %refused) {
        my ($status, $method, $target, %option) = @{$refused{$name}};

        for my $size (sort keys %body) {
            for my $chunked (0, 1) {
                my %how = $chunked
                    ? (body => undef, headers => {'Transfer-Encoding' => 'chunked'})
                    : (body => $body{$size});
                my $bytes = Test::SerialVerify::HTTP::build($method, $target, %option, %how);
                $bytes .= join '', map { sprintf("%x\r\n%s\r\n", length, $_) } ($body{$size} =~ /.{1,30000}/sg), '' if $chunked;

                my $client = $sv->connection;
                $client->put($bytes . bytes_of(['GET', '/static'], close => 1));

                my $first  = $client->next_response(60) // {status => 'none'};
                my $second = $client->next_response(60) // {body => 'none'};
                my $third  = $client->next_response(60);

                # a server may also close after a refusal, but must not answer what was a body
                my $what = "$name, $size" . ($chunked ? ', chunked' : '');
                like($first->{status}, ref $status ? $status : qr/^$status$/, $what);
                is($second->{body}, "static\n", "$what: the next request is the next request");
                ok(!$third, "$what: and no other");
            }
        }
    }

    # more than client_max_body_size
    my $client = $sv->connection;
    $client->put("POST /packs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $key\r\nContent-Length: 99999999\r\n\r\n");
    is(($client->next_response(60) // {})->{status}, 413, 'too large: refused before it is sent');
};


subtest 'bodies in every shape' => sub {
    my $order = '{"operation":"supply"}';

    my $serial = pack_new();
    my $client = $sv->connection;
    my $bytes  = bytes_of(supply_request($serial, body => undef, headers => {'Transfer-Encoding' => 'chunked'}));
    $client->put($bytes . join '', map { sprintf("%x\r\n%s\r\n", length, $_) } substr($order, 0, 7), substr($order, 7), '');
    is(($client->next_response(60) // {})->{json}{state}, 'supplied', 'chunked');

    $serial = pack_new();
    my $large = '{' . ' ' x 300_000 . '"operation":"supply"}';
    is($sv->request(@{supply_request($serial, body => $large)})->{json}{state}, 'supplied', 'larger than client_body_buffer_size');

    $serial = pack_new();
    $client->put(bytes_of(supply_request($serial, body => undef, headers => {'Transfer-Encoding' => 'chunked'}))
        . join '', map { sprintf("%x\r\n%s\r\n", length, $_) } ($large =~ /.{1,9999}/sg), '');
    is(($client->next_response(60) // {})->{json}{state}, 'supplied', 'larger, and chunked');

    # Expect: 100-continue
    $serial = pack_new();
    my ($head) = bytes_of(supply_request($serial, headers => {Expect => '100-continue'})) =~ /^(.*\r\n\r\n)/s;
    $client = $sv->connection;
    $client->put($head);
    sysread $client->{socket}, my $line, 100;
    is($line, "HTTP/1.1 100 Continue\r\n\r\n", 'Expect: told to continue');
    $client->put($order);
    is(($client->next_response(60) // {})->{json}{state}, 'supplied', 'and answered');

    $serial = pack_new();
    my $answer = $sv->request(@{supply_request($serial, body => '')});
    is($answer->{status}, 400, 'an empty body');
    is($answer->{json}{reason}, 'body_missing', 'is called missing');
    is(state_of($serial), 'active', 'and has no effect');
};


subtest 'a worker process is killed while it serves' => sub {
    $sv->allow_log(qr/worker process \d+ exited on signal 9/);

    my @serials = map { pack_new() } 1 .. 20;
    my ($victim) = $sv->workers;

    $sv->pause('postgres');
    my @waiting = $sv->sent(map { supply_request($_) } @serials);
    wait_in_flight(20);
    kill 'KILL', $victim;
    $sv->resume('postgres');

    my @strange = grep { $_->{status} != 200 && $_->{status} != 0 } $sv->answers(60, @waiting);
    is_deeply(\@strange, [], 'answered, or cut off');

    my @again = map { supply($_) } @serials;
    is(scalar(grep { $_->{json}{changed} } @again), 20, 'each is found by its key');
    is(scalar $sv->sql(q{select count(*) from sv.audit where gtin = ? and changed and serial = any (?)}, $gtin, \@serials), 20, 'and was done once');
    Test::SerialVerify::wait_for { 2 == grep { $_ != $victim } $sv->workers } 'the next process';
    pass('and another process takes its place');
};


# Too few connections for clients and for the gateway's own.
subtest 'no connections left' => sub {
    $sv->allow_log(qr/worker_connections are not enough/);

    $sv->{port}{tight} = $sv->port;
    $sv->directory('tight');
    (my $conf = $sv->nginx_conf('tight', workers => 1, verify => {deadline => '8s'})) =~ s/worker_connections 512/worker_connections 40/;
    $sv->start_nginx(name => 'tight', config => $conf);

    # nginx closes idle connections to make room: all of these have said something
    my @known = map { my $c = $sv->connection('tight'); my $b = bytes_of(verify_request(pack_new()));
        $c->put(substr $b, 0, 30); $c->{rest} = substr $b, 30; $c } 1 .. 3;
    my $ask   = sub { my $c = shift @known; $c->put($c->{rest}); return ($c->next_response(60) // {})->{status} // 'none' };
    is($ask->(), 200, 'a connection that is there');

    my @crowd = map { $sv->connection('tight') } 1 .. 60;
    $_->put("GET /static HTTP/1.1\r\nHost:") for @crowd;
    Test::SerialVerify::wait_for { $sv->log_of('tight') =~ /worker_connections are not enough/ } 'the alert';
    is($ask->(), 200, 'is served when there are no more');

    # the gateway's own connections have to be made anew, and there is no room
    $sv->sql(q{select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'sv_gateway' and pid <> pg_backend_pid()});
    Test::SerialVerify::wait_for {
        push @crowd, $sv->connection('tight');
        $crowd[-1]->put("GET /static HTTP/1.1\r\nHost:");
        $sv->log_of('tight') =~ /no place for its socket/;
    } 'the gateway to find no room';
    my $answer = $ask->();
    like($answer, qr/^(?:200|503)$/, 'when its sessions are lost: answered');

    $_->close_now for @crowd;
    ok(eval { Test::SerialVerify::wait_for {
        my $new = pack_new();
        $sv->request(@{verify_request($new)}, nginx => 'tight')->{status} == 200;
    } 'a connection' }, 'when the crowd has gone, all is well by itself');
};

$sv->done_testing;
