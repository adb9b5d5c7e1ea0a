#!/usr/bin/env perl

# Bad input: a clear error each time, nothing crashes, nothing is half done, no
# secret is told.

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
my $key    = $sv->actor('pharmacy', country => 'IT')->{key};
my $wrong  = 'wrong-0123456789-secret-0123456789';
my $serial = $sv->pack_row($gtin, 'A1');
my $link   = $sv->link_to($gtin, $serial);
$sv->start_nginx(verify => {deadline => '5s'});

my @worker = $sv->workers('nginx');
my @bodies;

sub asked {
    my (@arguments) = @_;

    my $answer = $sv->request(@arguments);
    push @bodies, $answer->{body}, values %{$answer->{headers}};

    return $answer;
}

my $count = 0;
sub post { my ($target, $body, %option) = @_; return asked('POST', $target, body => $body, key => $key, idempotency => 'k' . ++$count, %option) }
sub shown { my ($text) = @_; return "'" . (substr($text, 0, 60) =~ s/[^ -~]/?/gr) . "'" }


subtest 'what is no JSON' => sub {
    my @bodies_malformed = (
        '{', '}', '[', '{"operation"', '{"operation":', '{"operation":"supply"', '{"operation":"supply"}}', '{"operation":"supply"} x',
        "{'operation':'supply'}", '{operation:"supply"}', '{"operation":"supply",}', '{,}', '{"operation":supply}', '{"operation":"supply"}{}',
        'supply', '"supply"', '1', 'null', 'true', 'NaN', '-', '{"a":01}', '{"a":1.}', '{"a":+1}', '{"a":1e999}', '{"a":-1e999}',
        '{"a":' . '9' x 400 . '}', '{"a":1' . '0' x 5000 . '}', '{"a":.5}', '{"a":0x10}', '{"a":Infinity}',
        '{"operation":"sup' . "\0" . 'ply"}', '{"operation":"sup\u0000ply"}', "\0", "{\0}", '{"oper\u0000ation":"supply"}',
        "{\"operation\":\"\xff\"}", "{\"operation\":\"\xc0\xaf\"}", "{\"operation\":\"\xed\xa0\x80\"}", "{\"\xfe\":\"x\"}",
        '{"operation":"\ud800"}', '{"operation":"\udc00\ud800"}', '{"operation":"\x41"}', '{"operation":"' . "\n" . '"}', "{\"operation\":\"\x1d\"}",
        "\xef\xbb\xbf{\"operation\":\"supply\"}", "\xff\xfe{\0}\0", '{"operation":"supply","operation":"supply"}',
        '{"operation":"supply","operation":"destroy"}', '// x', '/* x */{}', '[' x 100_000, '{"a":' x 50_000, '[' x 3000 . ']' x 3000,
        '{"a":' x 3000 . '1' . '}' x 3000,
    );

    for my $target ($link, '/scan', '/packs') {
        for my $body (@bodies_malformed) {
            problem_is(post($target, $body), 400, 'json_malformed', {detail => qr/^(?:The body is not JSON|A member stands twice in an object): line \d+, column \d+\.$/,
                offset => qr/^\d+$/}, "$target: " . shown($body));
        }

        problem_is(post($target, ''), 400, 'body_missing', {}, "$target: empty");
        problem_is(post($target, undef), 400, 'body_missing', {}, "$target: none");
    }

    problem_is(post($link, "{\n\n  \"operation\": nothing }"), 400, 'json_malformed', {detail => qr/line 3,/}, 'the place is told');
};


subtest 'what is JSON, but not what is expected' => sub {
    my @common = (
        [[],                                     'object_expected'],
        [[{operation => 'supply'}],              'object_expected'],
        ['{"operation":1}',                      'string_expected', 'operation', qr/"operation"/],
        ['{"operation":null}',                   'string_expected', 'operation'],
        ['{"operation":true}',                   'string_expected', 'operation'],
        ['{"operation":["supply"]}',             'string_expected', 'operation'],
        ['{"operation":{"supply":"x"}}',         'string_expected', 'operation'],
        ['{"operation":1e300}',                  'string_expected', 'operation'],
        ['{"operation":123456789012345678}',     'string_expected', 'operation'],
        ['{"x":' . '[' x 1000 . ']' x 1000 . '}', 'string_expected', 'x'],
        [{operation => ''},                      'operation_unknown', 'operation'],
        [{operation => 'SUPPLY'},                'operation_unknown', 'operation'],
        [{operation => 'supply '},               'operation_unknown', 'operation'],
        [{operation => 'supply,undo'},           'operation_unknown', 'operation'],
        [{operation => 'x' x 100_000},           'operation_unknown', 'operation'],
        [{operation => "supply'; drop table sv.pack; --"}, 'operation_unknown', 'operation'],
        [{operation => 'supply', of => 'supply'}, 'of_unexpected',   'of'],
        [{operation => 'undo'},                  'of_missing',       'of'],
        [{operation => 'undo', of => 'undo'},    'of_unknown',       'of'],
        [{operation => 'undo', of => 'verify'},  'of_unknown',       'of'],
        [{operation => 'undo', of => ''},        'of_unknown',       'of'],
        [{operation => 'supply', entry_mode => 'ocr'}, 'entry_mode_unknown', 'entry_mode'],
        [{operation => 'supply', entry_mode => ''}, 'entry_mode_unknown', 'entry_mode'],
        [{operation => 'supply', occurred_at => 'yesterday'}, 'occurred_at_malformed', 'occurred_at'],
        [{operation => 'supply', serial => 'x'}, 'member_unknown', 'serial', qr/"serial"/],
        [{operation => 'supply', Operation => 'x'}, 'member_unknown', 'Operation', qr/"Operation"/],
        [{operation => 'supply', '' => 'x'},     'member_unknown', '', qr/""/],
        [{operation => 'supply', '<b>%s%n' => 'x'}, 'member_unknown', '<b>%s%n', qr/<b>%s%n/],
        [{operation => 'supply', 'x' x 1000 => 'x'}, 'member_unknown', 'x' x 40, qr/"x{40}"/],
        [{operation => 'supply', key => 'x'},    'member_unknown', 'key', qr/header/],
    );

    for my $target ($link, '/scan') {
        for my $case (@common) {
            my ($body, $reason, $element, $detail) = @{$case};
            $body = {%{$body}, scan => '(01)09506000134352(21)A1'} if $target eq '/scan' && $reason =~ /^of_(?:missing|unexpected)$/;
            my $sent   = ref $body ? Test::SerialVerify::HTTP::encode($body) : $body;
            my $answer = post($target, $sent);
            problem_is($answer, 422, $reason, {element => $element, $detail ? (detail => $detail) : ()}, "$target: " . shown($sent));
        }
    }

    problem_is(post($link, {operation => 'verify'}), 422, 'operation_unknown', {detail => qr/GET/}, 'a verify is a GET');
    problem_is(post($link, {}), 422, 'operation_missing', {element => 'operation'}, 'no operation');
    problem_is(post($link, {operation => 'supply', scan => 'x'}), 422, 'member_unknown', {element => 'scan'}, 'the pack is in the URL');
    problem_is(post('/scan', {}), 422, 'scan_missing', {element => 'scan'}, 'no scan');
    problem_is(post('/scan', {scan => 'x' x 500_000}), 422, 'input_too_long', {element => 'scan'}, 'a long scan');
    is($sv->sql('select state from sv.pack where serial = ?', $serial), 'active', 'nothing was done');
    is($sv->sql('select count(*) from sv.audit'), 0, 'nor tried');
};


subtest 'headers' => sub {
    my $body = {operation => 'supply'};

    for my $bad ('k' x 65, 'k' x 4000, 'a b', "a\tb", "a\x7fb", "\xc3\xa4", "a\x01b", "\x80") {
        problem_is(post($link, $body, idempotency => $bad), 422, 'key_malformed', {element => 'Idempotency-Key'}, 'Idempotency-Key: ' . shown($bad));
    }

    my $raw = sub {
        my ($lines, $content) = @_;
        my $connection = $sv->connection;
        $connection->put("POST $link HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $key\r\nConnection: close\r\n$lines\r\n" . ($content // ''));
        my $answer = $connection->next_response // {status => 0, headers => {}, body => ''};
        push @bodies, $answer->{body};
        return $answer;
    };

    is($raw->("Content-Length: 22\r\nIdempotency-Key: a\0b\r\n", '{"operation":"supply"}')->{status}, 400, 'NUL in a header');
    problem_is($raw->("Content-Length: 22\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n", '{"operation":"supply"}'), 422, 'key_malformed',
        {detail => qr/more than one/}, 'two keys');

    # nginx logs the second one, at info
    my $twice = $sv->connection;
    $twice->put("GET $link HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer first\r\nAuthorization: Bearer second\r\n\r\n");
    is($twice->next_response->{status}, 400, 'two credentials');
    is($raw->("Content-Length: x\r\n")->{status}, 400, 'a length that is none');
    is($raw->("Content-Length: -1\r\n")->{status}, 400, 'a negative length');
    is($raw->("Content-Length: 1\r\nContent-Length: 2\r\n")->{status}, 400, 'two lengths');
    is($raw->("Transfer-Encoding: chunked\r\n", "zz\r\n")->{status}, 400, 'a chunk that is none');
    like($raw->("Transfer-Encoding: gzip\r\n")->{status}, qr/^501$/, 'a transfer coding that is none');
    is($raw->("Content-Length: 99999999999\r\n")->{status}, 413, 'a body of 100 GB');
    is($raw->('X: ' . 'y' x 20_000 . "\r\n")->{status}, 400, 'a header that is too long');

    for my $mode ('MANUAL', 'x', "manual\t", 'scanned;q=1', 'x' x 4000) {
        my $answer = asked('GET', $link, key => $key, headers => {'Entry-Mode' => $mode});
        problem_is($answer, 422, 'entry_mode_unknown', {element => 'Entry-Mode'}, 'Entry-Mode: ' . shown($mode)) if $mode !~ /\t$/;
    }

    is($sv->sql('select state from sv.pack where serial = ?', $serial), 'active', 'nothing was done');
};


subtest 'bodies of every size' => sub {
    is(post($link, '{"operation":"supply"' . ' ' x (1 << 20) . '}')->{status}, 413, 'more than client_max_body_size');

    my $pack = $sv->pack_row($gtin, 'BIG');

    for my $size (0, 1000, 16_384, 70_000, 900_000) {
        my $answer = post($sv->link_to($gtin, $pack), '{"operation":"supply"' . ' ' x $size . '}', idempotency => "size-$size");
        answer_is($answer, 200, {reason => qr/^(?:ok|already_supplied_here|already_supplied)$/}, "$size blanks") if $size < 900_000;
        answer_is($answer, 409, {reason => 'already_supplied'}, 'from a file, and the fifth supply') if $size == 900_000;
    }

    my $chunked = $sv->connection;
    my $text    = '{"operation":"undo","of":"supply"}';
    $chunked->put('POST ' . $sv->link_to($gtin, $pack) . " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $key\r\nIdempotency-Key: chunked\r\n"
        . "Transfer-Encoding: chunked\r\n\r\n");
    $chunked->put("1\r\n$_\r\n") for split //, $text;
    $chunked->put("0\r\n\r\n");
    answer_is($chunked->next_response, 200, {changed => 1, operation => 'undo'}, 'byte by byte');

    my $next = $chunked->request('GET', $link, key => $key);
    answer_is($next, 200, {verified => 1}, 'and the connection goes on');

    # refused before the body was read: it must not be taken for a request
    my $early = $sv->connection;
    $early->put(Test::SerialVerify::HTTP::build('POST', $link, body => 'GET /status HTTP/1.1' . "\r\nHost: x\r\n\r\n"));
    problem_is($early->next_response, 401, 'credential_missing', {}, 'a body behind a refusal');
    problem_is($early->request('PUT', $link, body => 'GET /status HTTP/1.1' . "\r\nHost: x\r\n\r\n"), 405, 'method_not_allowed', {}, 'and again');
    answer_is($early->request('GET', $link, key => $key), 200, {verified => 1}, 'is thrown away');
};


subtest 'methods' => sub {
    my %allowed = ('/scan' => 'POST', '/packs' => 'POST', '/status' => 'GET, HEAD', '/metrics' => 'GET, HEAD', $link => 'GET, HEAD, POST');

    for my $target (sort keys %allowed) {
        my %may = map { $_ => 1 } split /, /, $allowed{$target};

        for my $method (grep { !$may{$_} } qw(GET HEAD POST PUT DELETE PATCH OPTIONS MKCOL PROPFIND)) {
            my $answer = asked($method, $target, key => $key);
            is($answer->{headers}{allow}, $allowed{$target}, "$method $target: what is allowed");
            problem_is($answer, 405, 'method_not_allowed', {}, "$method $target") if $method ne 'HEAD';
        }
    }

    like(asked('TRACE', $link, key => $key)->{status}, qr/^405$/, 'TRACE is refused by nginx');
    is(asked('BREW', $link, key => $key)->{status}, 405, 'an unknown method');
    is(asked('get', $link, key => $key)->{status}, 400, 'in lower case');
};


# Of every error of the parser an example: a target, or, in a list, a scan.
my $p = '/01/09506000134352';
my %example = (
    not_a_link             => [']d2'],
    input_too_long         => [']d2' . '0' x 9000],
    too_many_elements      => [join '', ']d20109506000134352112601011530123117301231',
        (map { "${_}0000001" } 310 .. 316, 320 .. 329, 330 .. 337, 340 .. 349, 350 .. 357, 360 .. 369), map { "9${_}A\x{1d}" } 0 .. 9],
    bad_scheme             => ['httpx://x/01/09506000134352'],
    bad_host               => ['https://a_b/01/09506000134352'],
    illegal_uri_character  => "$p/21/a|b",
    bad_percent_escape     => ['https://x/01/09506000134352/21/%G0'],
    path_segment_unknown   => "$p/lot/L",
    qualifier_not_allowed  => "$p/254/X",
    qualifier_order        => "$p/21/S/10/L",
    ai_belongs_in_path     => "$p?21=S",
    ai_not_an_attribute    => "$p/21/S?254=X",
    query_key_empty        => "$p?=x",
    ai_unknown             => "$p?9999=1",
    ai_duplicate           => "$p?17=301231;17=301231",
    ai_requires_another    => "$p?250=X",
    ai_excludes_another    => "$p?37=1",
    ai_value_empty         => "$p?17=",
    ai_value_too_short     => "$p?17=3012",
    ai_value_too_long      => "$p/10/" . 'L' x 21,
    ai_value_bad_character => "$p/10/%23",
    check_digit_wrong      => '/01/09506000134353',
    check_pair_wrong       => ['https://x/8013/1987654Ad4X4bL5ttr2310cXX'],
    company_prefix_bad     => ['https://x/8004/12'],
    date_invalid           => "$p?17=300231",
    time_invalid           => "$p?8008=30123124",
    country_unknown        => "$p?422=000",
    currency_unknown       => "$p?3910=0001",
    piece_of_total_wrong   => ['https://x/8006/095060001343520201'],
    iban_invalid           => ['https://x/415/9506000134352/8020/R?8007=XX00'],
    zero_invalid           => ['https://x/8003/19506000134352'],
    code_not_in_list       => "$p?4321=2",
    text_escape_bad        => "$p?4300=%25ZZ",
    position_out_of_range  => ['https://x/00/106141412345678908?4309=99999999999999999999'],
    sequence_invalid       => "$p?7258=1-2",
    coupon_invalid         => "$p?8110=1",
    key_without_serial     => ['https://x/255/9506000134352?8030=A'],
    symbology_missing      => ['0109506000134352'],
    not_gs1                => [']A0X'],
    separator_misplaced    => ["]d2" . '0109506000134352' . "10A\x{1d}\x{1d}" . '17301231'],
    bracket_syntax         => ['(x)'],
    urn_syntax             => ['urn:epc:id:sgtin:x'],
    urn_scheme_unsupported => ['urn:epc:id:giai:0614141.12345400'],
    epc_binary_invalid     => ['https://x/eh30ffffffffffffffffffffff'],
    epc_scheme_unsupported => ['https://x/ehff74257bf7194e4000001a85'],
);

subtest 'every error of the parser' => sub {
    my @codes = Test::SerialVerify::slurp("$root/src/gs1/sv_gs1_error.def") =~ /^SV_GS1_ERROR\(\w+, "(\w+)"/mg;

    is_deeply([sort keys %example], [sort @codes], 'an example of each');

    for my $code (sort keys %example) {
        my $given = $example{$code};

        if (ref $given) {
            problem_is(post('/scan', {scan => $given->[0]}), 422, $code, {element => 'scan', offset => qr/^\d+$/}, $code);
            my $line = post('/packs', [{scan => $given->[0]}])->{json}{results}[0];
            is($line->{reason}, $code, "$code, in a list");

        } else {
            problem_is(asked('GET', $given, key => $key), 400, $code, {offset => qr/^\d+$/}, $code);
            problem_is(asked('GET', $given), 400, $code, {}, "$code, for anybody");
            problem_is(post($given, {operation => 'supply'}), 400, $code, {}, "$code, by POST");
        }
    }
};


subtest 'bytes' => sub {
    # a generator of its own: the same noise each time
    my $seed = 20261121;
    my $random = sub { $seed = ($seed * 1103515245 + 12345) % 2147483648; return int($seed / 65536) % $_[0] };

    my @alphabet = ('0' .. '9', qw(/ / % ? & = ; + . 01 21 10 17 09506000134352 301231 %2F %00 %25 %C3%A4 //), "\x80", '#', '<', '"');
    my %seen;

    for (1 .. ($ENV{SV_TEST_ALL} ? 20_000 : 400)) {
        my $target = '/' . join '', map { $alphabet[$random->(scalar @alphabet)] } 0 .. $random->(12);
        $target = $p . $target if $random->(2);
        my $answer = asked('GET', $target, key => $key);
        $seen{$answer->{status}}++;
        fail('answered: ' . shown($target)) if $answer->{status} !~ /^(?:200|400|404|422)$/;
        next if ($answer->{headers}{'content-type'} // '') !~ /json/;
        fail('valid JSON: ' . shown($target)) if !$answer->{json};
    }

    note join ' ', map { "$_: $seen{$_}" } sort keys %seen;
    ok($seen{400} && $seen{404}, 'noise is answered');
};


subtest 'a wrong credential' => sub {
    for my $target ($link, '/scan', '/packs') {
        for my $header ("Bearer $wrong", "Basic $wrong", $wrong, "Bearer $wrong," . 'x' x 3000) {
            problem_is(asked('POST', $target, body => '{', headers => {Authorization => $header}), 401, 'credential_unknown', {},
                "$target: " . shown($header));
        }
    }
};


is_deeply([$sv->workers('nginx')], \@worker, 'the process is still the same');

subtest 'no secret is told' => sub {
    my $hash = $sv->sql(q{select encode(sha256, 'hex') from sv.credential});

    for my $secret ($key, $wrong, $hash) {
        is_deeply([seen_in_log($sv, $secret)], [], 'in a log');
        is(scalar(grep { index($_, $secret) >= 0 } @bodies), 0, 'in an answer');
    }

    my $inside = qr{/tmp|/work|sv_gateway|postgres|SQLSTATE|ERROR:|src/|\bat line\b};
    is_deeply([grep { $_ =~ $inside } @bodies], [], 'nor how it is built inside');
    cmp_ok(scalar @bodies, '>', 1000, 'of many answers');
};

$sv->done_testing;
