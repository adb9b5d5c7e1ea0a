#!/usr/bin/env perl

# What a hostile or clumsy client of the role api sends: each is refused in
# words, and nothing else suffers.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use Time::HiRes qw(time);

use Test::SerialVerify;

my $gtin = '09506000134352';
my $sv   = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin, company => 'acme');

my $acme = $sv->actor('manufacturer', company => 'acme');
my $law  = $sv->actor('authority');
my $shop = $sv->actor('pharmacy');
my $dir  = $sv->base . '/captures';

$sv->start_api(api_threads => 2);
$sv->start_nginx(api => 1, verify => {deadline => '5s'});

sub ask {
    my ($who, $method, $target, $body, %header) = @_;

    return $sv->request($method, $target, key => $who->{key}, timeout => 60,
        (defined $body ? (body => $body, headers => {'Content-Type' => 'application/json', 'Idempotency-Key' => 'k', %header}) : ()));
}

sub files { return grep { -f } glob "$dir/* $dir/.*" }


# Neither a crash nor a word of ours about an error of ours.
sub refused {
    my ($answer, $name) = @_;

    like($answer->{status}, qr/^4\d\d$/, $name) or diag("$answer->{status} $answer->{body}");
    return;
}


subtest 'times that are none' => sub {
    my $item = "MATCH_anyEPC=(01)$gtin(21)X";

    for my $time ('0000-01-01T00:00:00Z', '9999-12-31T23:59:59Z', '2026-02-30T00:00:00Z', '2026-01-01T24:00:00Z', '2026-01-01T23:59:60Z', '2026-01-01T00:00:00+23:59',
        '2026-01-01T00:00:00-15:59', '2026-01-01T00:00:00+16:00', '0001-01-01T00:00:00+14:00', '2026-01-01T00:00:00.123456789Z', '-2026-01-01T00:00:00Z', 'now', 'infinity', 'epoch', '2026-01-01')
    {
        for my $name (qw(GE_eventTime LT_eventTime)) {
            like(ask($law, 'GET', "/epcis/events?$item&$name=$time")->{status}, qr/^(?:200|400)$/, "$name=$time");
        }

        like(ask($law, 'GET', "/epcis/export?from=$time&to=$time")->{status}, qr/^(?:200|400|409)$/, "export of $time");
    }
};


subtest 'bodies' => sub {
    my $deep  = 100_000;
    my %body = (
        'deep arrays'      => '[' x $deep,
        'closed arrays'    => '[' x $deep . ']' x $deep,
        'deep objects'     => '{"a":' x $deep . '1' . '}' x $deep,
        'a deep member'    => '{"gtin":"x","serials":' . '[' x 2000 . ']' x 2000 . '}',
        'a huge number'    => '{"gtin":"x","n":' . '9' x 5000 . '}',
        'a huge exponent'  => '{"n":1e999999}',
        'a member twice'   => "{\"gtin\":\"$gtin\",\"gtin\":\"$gtin\",\"lot\":\"L\",\"reason\":\"x\"}",
        'no UTF-8'         => "{\"gtin\":\"$gtin\",\"lot\":\"L\",\"reason\":\"\xff\xfe\"}",
        'half a character' => "{\"gtin\":\"$gtin\",\"lot\":\"L\",\"reason\":\"\xc3\"}",
        'half a surrogate' => "{\"gtin\":\"$gtin\",\"lot\":\"L\",\"reason\":\"\\ud800\"}",
        'a zero'           => "{\"gtin\":\"$gtin\",\"lot\":\"L\\u0000\",\"reason\":\"x\"}",
        'a zero in a name' => '{"g\u0000":1}',
        'a long name'      => '{"' . "\x{c3}\x{a4}" x 5000 . '":1}',
        'null'             => 'null',
        'a text'           => '"x"',
        'a BOM'            => "\x{ef}\x{bb}\x{bf}{}",
        'UTF-16'           => "{\0}\0",
        'many members'     => '{' . join(',', map { "\"m$_\":1" } 1 .. 50_000) . '}',
        'nulls'            => '{"gtin":null,"lot":null,"reason":null,"epc":null,"operation":null,"line":null,"n":null,"packs":null}',
        'objects'          => '{"gtin":{},"lot":{},"reason":{},"epc":{},"operation":{},"line":{},"n":{},"packs":{}}',
        'lines'            => "{\"gtin\":\"$gtin\",\"kind\":\"x\\r\\nSet-Cookie: a\",\"reason\":\"x\"}",
    );

    for my $target ('/recalls', '/containers', "/serials/$gtin", "/lots/$gtin/L", '/recalls/00000000-0000-4000-8000-000000000000/lift') {
        refused(ask($acme, 'POST', $target, $body{$_}), "$target: $_") for sort keys %body;
    }

    ok(!$sv->sql('select count(*) from sv.recall'), 'nothing is recalled');
    unlike($sv->log_of('api'), qr/^Set-Cookie/m, 'no line of a client in the log');
};


subtest 'targets' => sub {
    for my $target ('/epcis/..%2Frecalls', '/epcis/../recalls/x', '//epcis/capture', '/epcis//capture', '/epcis/capture/..%2f..%2fx', '/epcis/capture/%00', '/recalls/%0d%0aX-A:%20b',
        '/recalls/' . 'x' x 4000, '/serials/' . '%2F' x 1000, '/lots/' . $gtin . '/' . '%F0%9F%98%80' x 300, '/epcis/capture/%', '/epcis/capture?' . 'a=1&' x 100,
        '/containers?epc=' . '(00)' x 500, '/containers?epc=%0d%0a', "/serials/$gtin/%2e%2e/return", '/recalls?gtin=' . '9' x 300, '/epcis/capture?nextPageToken=' . 'a' x 3000,
        '/containers?epc=' . '%25' x 1000)
    {
        my $answer = ask($acme, 'GET', $target);
        refused($answer, substr $target, 0, 60);
        ok(!defined $answer->{headers}{'x-a'}, 'no header of a client');
    }
};


# A disk that is full, or a limit of the system: 503, and what was written goes at once.
subtest 'no room' => sub {
    my $before = () = files();

    $sv->stop('api');
    unlink $sv->api_socket;
    my $conf = $sv->base . '/api.conf';
    $sv->start_server('api', env => $sv->sanitizer_env('api'),
        command => ['/bin/sh', '-c', "ulimit -f 4; exec \"\$@\"", 'sh', $sv->program('serial-verify-worker'), '-c', $conf, 'run']);
    Test::SerialVerify::wait_for { $sv->api_listens } 'the api';

    my $answer = ask($acme, 'POST', '/epcis/capture', ' ' x (1 << 20));
    is($answer->{status}, 503, 'too large for the disk') or diag($answer->{body});
    ok($answer->{headers}{'retry-after'}, 'try again');
    is(scalar(() = files()), $before, 'nothing is left');
    is(ask($acme, 'POST', '/epcis/capture', '{"a":1}')->{status}, 202, 'a small one has room');
    is($sv->sql('select count(*) from sv.capture'), 1, 'one job');

    # half an upload
    my $half = $sv->connection;
    $half->put("POST /epcis/capture HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $acme->{key}\r\nContent-Type: application/json\r\nContent-Length: 3000000\r\n\r\n" . ' ' x 65536);
    Test::SerialVerify::wait_for { $sv->log_of('api') =~ /cannot be stored.*cannot be stored/s } 'no room for a part of it';
    Test::SerialVerify::wait_for { !grep { /\.part$/ } files() } 'its part to go, before all of it came';
    $half->close_now;

    $sv->stop('api');
    $sv->start_api(api_threads => 2);
};


subtest 'slow uploads' => sub {
    my @slow = map { $sv->connection } 1 .. 100;
    $_->put("POST /epcis/capture HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $acme->{key}\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{") for @slow;
    Test::SerialVerify::wait_for { 100 <= grep { /\.part$/ } files() } 'a hundred beginnings';

    my $start = time;
    is(ask($acme, 'GET', '/epcis/capture')->{status}, 200, 'others are answered');
    is(ask($acme, 'POST', '/epcis/capture', '{"a":1}')->{status}, 202, 'and capture');
    cmp_ok(time - $start, '<', 20, 'at once');

    $_->put('"a":1234}') for @slow;
    is_deeply([map { $_->next_response(60)->{status} } @slow], [(202) x 100], 'and they, too, at last');
    ok(!grep({ /\.part$/ } files()), 'no part is left');
};


# The place is removed while its request is under way, or is another's now.
subtest 'removed meanwhile' => sub {
    my $gone = $sv->actor('manufacturer', company => 'acme');
    my %who  = (location => $gone->{id}, role => 'manufacturer', company => 'acme');

    $sv->sql('update sv.location set deleted = true where location_id = ?', $gone->{id});

    for my $case (['POST', '/epcis/capture', '{"a":1}'], ['GET', '/epcis/events?MATCH_anyEPC=(01)' . $gtin . '(21)X'], ['POST', '/recalls', "{\"gtin\":\"$gtin\",\"lot\":\"L\",\"reason\":\"x\"}"],
        ['GET', '/recalls'], ['GET', "/serials/$gtin"], ['POST', "/lots/$gtin/L", '{"packs":1}'], ['GET', "/lots/$gtin/L"], ['GET', '/epcis/export?from=2026-01-01&to=2026-01-02'],
        ['GET', '/containers?epc=106141412345678908'])
    {
        my ($method, $target, $body) = @{$case};
        my $answer = $sv->api_request($method, $target, who => \%who, (defined $body ? (body => $body, headers => {'Content-Type' => 'application/json'}) : ()));
        like($answer->{status}, qr/^40[34]$/, "$method $target") or diag($answer->{body});
    }

    is(ask($acme, 'GET', '/epcis/capture')->{status}, 200, 'others are not touched');
};

$sv->done_testing;
