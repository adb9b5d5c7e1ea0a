#!/usr/bin/env perl

# The raw request target: whatever a serial does to a path, it reaches its own
# pack, under every location of conf/nginx.conf.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP ();
use Test::More;

use Test::SerialVerify;
use Test::SerialVerify::Answer;

my $gtin = 9506000134352;
my $root = Test::SerialVerify::root();

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
my $key = $sv->actor('pharmacy', country => 'IT')->{key};

my $sample    = Test::SerialVerify::slurp("$root/conf/nginx.conf");
my @locations = $sample =~ m{^\s*location\s+(?:[=~^*]+\s+)?(/\S*)\s}mg;

# What nginx makes of a path before it chooses a location: true when it leaves the root.
sub leaves_the_root {
    my ($serial) = @_;

    my $depth = 0;

    for my $segment ('01', '09506000134352', '10', 'LOT1', '21', split m{/}, $serial, -1) {
        $depth += $segment eq '..' ? -1 : $segment eq '.' ? 0 : 1;
        return 1 if $depth < 0;
    }

    return 0;
}

my @serials = (
    '..', '.', '...', '../..', '../../status', 'a/b', 'a//b', '/a', 'a/', '//', '/', '%', '%25', '%2F', '<x>', 'a%b', '+', 'a+b', '?', 'a?17=1',
    '&', 'a&b=c', ';', '"', q('), '!', '*', '=', ':', ',', '(01)', './.', '/.', '/..', '../', './', 'x/../y', '..%2F..', '%00', 'a.b', '~'x0 . '-_.',
    '../../../../..', '../../../../../status', '../' x 6 . '..', '/../../../../../x',
    # each location of the sample, as seen from the serial's place in the path
    (map { ('../../../../..' . $_, '../../../..' . $_) } @locations),
    # a link inside the serial
    '/01/1', '01/2/21/x', '/21/x',
    map { $_ x 20 } map { chr } 0x21, 0x22, 0x25 .. 0x3f, 0x41 .. 0x5a, 0x5f, 0x61 .. 0x7a,
);

@serials = grep { length $_ && length $_ <= 20 } do { my %seen; grep { !$seen{$_}++ } @serials };
$sv->pack_row($gtin, $_) for @serials;

$sv->{port}{nginx} = $sv->port;

sub localized {
    my $home = $sv->directory('nginx');
    my @set  = ('load_module=' . $sv->module, "pid=$home/nginx.pid", "error_log=$home/error.log", 'listen=' . $sv->address,
        'postgres=host=' . $sv->pg_socket . ' dbname=sv user=sv_gateway', 'redis=unix:' . $sv->redis_socket,
        "access_log=$home/access.log", "state=$home", 'daemon=off', 'api=' . $sv->api_socket, 'api_secret=' . $sv->api_secret);

    open(my $out, '-|', 'sh', '-c', 'exec perl "$@" < ' . "$root/conf/nginx.conf", 'sh', "$root/tools/dev/localize", 'nginx', @set)
        or die "localize: $!";
    local $/;
    my $text = <$out>;
    close $out or die 'localize failed';
    $text =~ s/^( *)(serial_verify_redis )/$1serial_verify_deadline 8s;\n$1$2/m or die 'no redis';

    return $text;
}

$sv->start_nginx(config => localized());

sub escape_all { my ($text) = @_; return $text =~ s/(.)/sprintf '%%%02X', ord $1/gesr }
sub escape     { my ($text) = @_; return $text =~ s/([^A-Za-z0-9._-])/sprintf '%%%02X', ord $1/ger }

# One connection for many requests.
my $connection;

sub get {
    my ($target, %option) = @_;

    $connection //= $sv->connection;
    my $answer = $connection->request('GET', $target, key => $key, %option);
    undef $connection if !$answer || ($answer->{headers}{connection} // '') eq 'close';

    return $answer // {status => 0, headers => {}, body => ''};
}


cmp_ok(scalar @locations, '>=', 6, 'the sample has locations: ' . join ' ', @locations);
cmp_ok(scalar @serials, '>', 120, 'serials to try: ' . @serials);


subtest 'serials in the URL' => sub {
    my $refused = 0;

    for my $serial (@serials) {
        for my $form (['escaped', escape($serial)], ['all escaped', escape_all($serial)], ['lower-case digits', lc escape_all($serial)]) {
            my ($name, $text) = @{$form};
            my $answer = get("/01/09506000134352/10/LOT1/21/$text?17=301231");

            if (leaves_the_root($serial)) {
                is($answer->{status}, 400, "\"$serial\", $name: refused by nginx, as documented");
                $refused++;
                next;
            }

            answer_is($answer, 200, {verified => 1, serial => $serial, lot => 'LOT1'}, "\"$serial\", $name");
        }
    }

    cmp_ok($refused, '>', 0, 'some leave the root');
    cmp_ok($refused, '<', 40, 'not many');
};


subtest 'serials by POST to the URL' => sub {
    for my $serial (grep { !leaves_the_root($_) } @serials[0 .. 60]) {
        my $answer = $sv->post('/01/09506000134352/10/LOT1/21/' . escape_all($serial) . '?17=301231', {operation => 'sample'},
            key => $key, idempotency => 'post-' . unpack 'H*', $serial);
        answer_is($answer, 200, {changed => 1, serial => $serial}, "\"$serial\"");
        is($sv->sql('select state from sv.pack where gtin = ? and serial = ?', $gtin, $serial), 'sample', 'this very pack');
    }
};


subtest 'serials by POST /scan: always' => sub {
    my $scan = $sv->connection;

    for my $serial (@serials) {
        my $answer = $scan->request('POST', '/scan', key => $key, body => {scan => "]d20109506000134352" . "21$serial\x{1d}10LOT1\x{1d}17301231"});
        answer_is($answer, 200, {reason => qr/^(?:ok|sample)$/, serial => $serial, lot => 'LOT1'}, "\"$serial\"");
    }
};


sub raw {
    my ($bytes, $timeout) = @_;

    my $raw = $sv->connection;
    $raw->put($bytes);

    return $raw->next_response($timeout // 10) // {status => 0, headers => {}, body => $raw->{buffer}};
}


subtest 'forms of a target' => sub {
    my $pack = $sv->pack_row($gtin, 'PLAIN+1');
    my $link = '/01/09506000134352/10/LOT1/21/PLAIN%2B1?17=301231';
    my %ok   = (verified => 1, serial => 'PLAIN+1', lot => 'LOT1', expiry => '2030-12-31');

    my %target = (
        'as it is'                 => $link,
        'a raw plus'               => $link =~ s/%2B/+/r,
        'lower-case hexadecimal'   => lc($link) =~ s/lot1/LOT1/r =~ s/plain/PLAIN/r,
        'one trailing slash'       => $link =~ s/\?/\/?/r,
        'a stem'                   => "/de/medicines$link",
        'a stem with a dot'        => "/a.b/..$link",
        'an empty stem segment'    => "//x$link",
        'a stem named as a place'  => "/status$link",
        'a stem named as another'  => "/packs/scan$link",
        'other parameters'         => "$link&linkType=all&utm_source=x",
        'an empty parameter'       => "$link&&",
        'a semicolon'              => "$link;x=y",
        'a singleton'              => "$link&alone",
        'a fragment'               => "$link#part",
        'more attributes'          => "$link&11=260101&3103=000195",
        'the variant too'          => $link =~ s{/10/}{/22/2A/10/}r,
        'absolute form'            => "http://id.example.com$link",
        'absolute form, other host' => "http://other.example:8080/stem$link",
    );

    for my $name (sort keys %target) {
        answer_is(get($target{$name}), 200, \%ok, $name);
    }

    answer_is(raw("GET $link HTTP/1.0\r\nAuthorization: Bearer $key\r\n\r\n"), 200, \%ok, 'HTTP/1.0 without a host');
    answer_is(raw("GET $link HTTP/1.1\r\nHost: unknown.example\r\nAuthorization: Bearer $key\r\nConnection: close\r\n\r\n"), 200, \%ok,
        'any host');
    my $old = raw("GET $link\r\n");
    like($old->{body}, qr/"verified":true/, 'HTTP/0.9');

    my $two = $sv->connection;
    $two->put(join '', map { Test::SerialVerify::HTTP::build('GET', $_, key => $key) } $link, '/01/09506000134352/21/%2E%2E', '/01/x', $link);
    is(join(' ', map { $two->next_response->{status} } 1 .. 4), '200 200 400 200', 'pipelined, each its own');

    is($pack, 'PLAIN+1', 'one pack');
};


subtest 'HTTP/2' => sub {
    plan skip_all => 'curl without HTTP/2' if `curl -V` !~ /\bHTTP2\b/;

    my $port = $sv->port;
    $sv->start_nginx(name => 'http2', server => "listen 127.0.0.1:$port http2;");

    my $curl = sub {
        my ($target, @options) = @_;
        open(my $out, '-|', 'curl', '-sig', '--http2-prior-knowledge', '--path-as-is', '-H', "Authorization: Bearer $key", @options,
            "http://127.0.0.1:$port$target") or die "curl: $!";
        local $/;
        my $text = <$out> // '';
        close $out;
        my ($answer) = Test::SerialVerify::HTTP::parse($text =~ s{^HTTP/2 (\d+)}{HTTP/1.1 $1}r, 1);
        return $answer // {status => 0, headers => {}, body => $text};
    };

    for my $serial ('..', 'a/b', 'a//b', '%', '<x>', '../../../../status') {
        answer_is($curl->('/01/09506000134352/10/LOT1/21/' . escape_all($serial)), 200, {verified => qr/./, serial => $serial}, "\"$serial\"");
    }

    $sv->pack_row($gtin, 'HTTP2');
    answer_is($curl->('/01/09506000134352/10/LOT1/21/HTTP2?17=301231', '-H', 'Idempotency-Key: h2', '-d', '{"operation":"supply"}'), 200,
        {changed => 1}, 'an operation');
    answer_is($curl->('/scan', '-d', '{"scan":"(01)09506000134352(21)HTTP2"}'), 200, {reason => 'already_supplied_here'}, 'a scan');
    problem_is($curl->('/packs', '-d', '[]'), 422, 'list_malformed', {}, 'a list');
    $sv->stop('http2');
};


subtest 'what is wrong is told, with its place' => sub {
    my @cases = (
        ['/01/09506000134351/21/A',           'check_digit_wrong',     4 + 13],
        ['/01/0950600013435/21/A',            'ai_value_too_short',    undef],
        ['/01/095060001343522/21/A',          'ai_value_too_long',     undef],
        ['/01/09506000134352/21/' . 'A' x 21, 'ai_value_too_long',     undef],
        ['/01/09506000134352/21/A/10/L',      'qualifier_order',       undef],
        ['/01/09506000134352/21/A/foo/bar',   'path_segment_unknown',  undef],
        ['/01/09506000134352/21/A?10=L',      'ai_belongs_in_path',    undef],
        ['/01/09506000134352/21/A?17=301301', 'date_invalid',          undef],
        ['/01/09506000134352/21/A?17=301231&17=301231', 'ai_duplicate', undef],
        ['/01/09506000134352/21/A?9999=1',    'ai_unknown',            undef],
        ['/01/09506000134352//21/A',          qr/./,                   undef],
        ['/01/09506000134352/21/A//',         qr/./,                   undef],
        ['/01/09506000134352/21/%7F',         'ai_value_bad_character', undef],
        ['/01/09506000134352/21/A%20B',       'ai_value_bad_character', 23],
        ['/01/09506000134352/21/A{B',         'illegal_uri_character', 23],
        ["/01/09506000134352/21/A\xe4",       'illegal_uri_character', 23],
    );

    for my $case (@cases) {
        my ($target, $reason, $offset) = @{$case};
        my $expected = {offset => $offset // qr/^\d+$/};
        problem_is(get($target), 400, $reason, $expected, $target =~ s/[^ -~]/?/gr);
    }

    # what nginx itself does not accept
    for my $target ('/01/09506000134352/21/A%', '/01/09506000134352/21/A%2', '/01/09506000134352/21/A%ZZ', '/01/09506000134352/21/%00',
        '/01/09506000134352/21/%2e%2e/../../../..', "/01/09506000134352/21/A\x01")
    {
        is(get($target)->{status}, 400, $target =~ s/[^ -~]/?/gr);
    }

    is(get('/01/09506000134352/21/A?x=' . 'y' x 9000)->{status}, 414, 'longer than large_client_header_buffers');
    answer_is(get('/01/09506000134352/21/A?x=' . 'y' x 8000), 404, {serial => 'A'}, 'but not much shorter');
};


subtest 'what is no Digital Link is left alone' => sub {
    $sv->start_nginx(name => 'static', server => 'location /static/ { return 200 "static $uri\n"; } location ~ \.php$ { return 418; }');

    for my $target ('/static/', '/static/01/x', '/static/01/09506000134351/21/A', '/static/21/A', '/static/e', '/static/ex', '/static/eh0',
        '/static/01', '/static/01/', '/static/x/01/', '/static/01/09506000134352/foo')
    {
        my $answer = $sv->get($target, nginx => 'static', key => $key);
        is($answer->{body}, "static $target\n", $target);
    }

    is($sv->get('/x.php', nginx => 'static')->{status}, 418, 'another location');
    is($sv->get('/nothing')->{status}, 404, 'nothing');

    answer_is($sv->get('/static/01/09506000134352/21/a.php', nginx => 'static', key => $key), 404, {serial => 'a.php'},
        'but a Digital Link is a pack, whatever location its path names');
    answer_is($sv->get('/static/01/09506000134352/10/LOT1/21/%2E%2E', nginx => 'static', key => $key), 200, {serial => '..'},
        'and its serial may be anything');
};


subtest 'compressed links' => sub {
    # SGTIN-96 of 0614141.812345.6789: filter 3, partition 5
    $sv->product(80614141123458);
    $sv->pack_row(80614141123458, '6789');
    Test::SerialVerify::wait_for { $sv->get('/status')->{json}{reference_data}{change} >= $sv->sql('select n from sv.ref_clock') } 'the product';

    answer_is(get('/eh3074257bf7194e4000001a85'), 200, {verified => 1, serial => '6789', product => {gtin => '80614141123458'}}, 'hexadecimal');
    answer_is(get('/stem/exMHQle_cZTkAAABqF'), 200, {verified => 1, serial => '6789'}, 'base64url, with a stem');
};

subtest 'what the sample lets nginx refuse is a problem document too' => sub {
    my $large = $sv->post('/packs', '[' . ' ' x (1 << 21) . ']', key => $key);
    is($large->{status}, 413, 'a body that is too large');
    is($large->{json}{reason}, 'body_too_large', 'by its reason');
    like($large->{headers}{'content-type'}, qr{^application/problem\+json}, 'as a problem document');

    my $nowhere = $sv->get('/nowhere');
    is_deeply([$nowhere->{status}, $nowhere->{json}{reason}], [404, 'not_found'], 'a path that is nobody\'s');
};

is_deeply([seen_in_log($sv, $key)], [], 'no key in a log');

$sv->done_testing;
