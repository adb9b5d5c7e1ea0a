#!/usr/bin/env perl

# GET of a pack as a professional: every reason, the cache, languages, credentials.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use Test::SerialVerify;
use Test::SerialVerify::Answer;

my $gtin      = 9506000134352;
my $withdrawn = 9506000134369;
my $unknown   = 9506000134376;

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;

my $here  = $sv->actor('pharmacy', country => 'IT');
my $there = $sv->actor('pharmacy', country => 'DE');

$sv->product($gtin, name => 'Aspirin 500 mg');
$sv->product($withdrawn, name => 'Gone 5 mg', withdrawn_at => '2026-01-01', reason => 'benefit-risk (EMA/1)');

$sv->pack_row($gtin, 'ACTIVE');
$sv->pack_row($gtin, 'MONTH', lot => 'LOT2', expiry => '2028-02-29');
$sv->pack_row($gtin, 'OLD', lot => 'LOT0', expiry => '2025-12-31');
$sv->pack_row($gtin, 'RECALLED', lot => 'LOT3');
$sv->pack_row($withdrawn, 'GONE');
$sv->pack_row($unknown, 'ORPHAN');
$sv->recall_lot($gtin, 'LOT3', reason => 'impurity (RPL-7)');

my $since = '2026-11-01 10:20:30.456Z';
$sv->pack_row($gtin, 'HERE', state => 'supplied', version => 2, location_id => $here->{id}, since => $since);
$sv->pack_row($gtin, 'THERE', state => 'supplied', version => 2, location_id => $there->{id}, since => $since);

my @inactive = qw(destroyed exported sample free_sample locked stolen checked_out);
$sv->pack_row($gtin, uc $_, state => $_, version => 2, location_id => $there->{id}, since => $since) for @inactive;

my $http = q(log_format source '$serial_verify_request_id $serial_verify_source';);
my $log  = $sv->base . '/nginx/source.log';

$sv->start_nginx(http => $http, verify => {deadline => '5s', redis_timeout => '2s'}, server => "access_log $log source;");


# Where a record came from: nginx logs it after the answer.
sub source_of {
    my ($answer) = @_;

    my $id = $answer->{headers}{'x-request-id'};

    return Test::SerialVerify::wait_for { Test::SerialVerify::slurp($log) =~ /^\Q$id\E (\S+)$/m ? $1 : 0 } 'the log';
}


sub cached {
    my ($serial) = @_;

    return Test::SerialVerify::wait_for { scalar $sv->redis->keys("sv:*:$serial") } 'a fill of the cache';
}


sub without_alert {
    my ($body) = @_;

    return $body =~ s/"alert":"[^"]+",//r;
}

my $alert = qr/^IT(?:-[0-9A-HJKMNP-TV-Z]{3}){5}$/;

# name, link, status, expected
my @known = (
    ['genuine', $sv->link_to($gtin, 'ACTIVE'),
        {verified => 1, reason => 'ok', advice => 'dispense', state => 'active', since => undef, here => undef,
            code => undef, alert => undef}],
    ['genuine, by its serial alone', $sv->link_to($gtin, 'ACTIVE', lot => undef, expiry => undef),
        {verified => 1, reason => 'ok', lot => 'LOT1', expiry => '2030-12-31'}],
    ['an expiry without a day is the end of its month', $sv->link_to($gtin, 'MONTH', lot => 'LOT2', expiry => '280200'),
        {verified => 1, reason => 'ok', expiry => '2028-02-29'}],
    ['the day itself', $sv->link_to($gtin, 'MONTH', lot => 'LOT2', expiry => '280229'),
        {verified => 1, reason => 'ok', expiry => '2028-02-29'}],
    ['supplied here', $sv->link_to($gtin, 'HERE'),
        {verified => 0, reason => 'already_supplied_here', advice => 'do_not_dispense', state => 'supplied',
            since => '2026-11-01T10:20:30.456Z', here => 1, code => undef, alert => undef}],
    ['supplied elsewhere', $sv->link_to($gtin, 'THERE'),
        {verified => 0, reason => 'already_supplied', advice => 'do_not_dispense', state => 'supplied',
            since => '2026-11-01T10:20:30.456Z', here => 0, code => undef, alert => undef}],
    ['expired', $sv->link_to($gtin, 'OLD', lot => 'LOT0', expiry => '251231'),
        {verified => 0, reason => 'expired', state => 'active', code => undef, alert => undef, reference => undef}],
    ['recalled', $sv->link_to($gtin, 'RECALLED', lot => 'LOT3'),
        {verified => 0, reason => 'recalled', state => 'active', code => undef, alert => undef,
            reference => 'impurity (RPL-7)'}],
    ['withdrawn', $sv->link_to($withdrawn, 'GONE'),
        {verified => 0, reason => 'withdrawn', state => 'active', alert => undef, reference => 'benefit-risk (EMA/1)',
            product => {name => 'Gone 5 mg'}}],
    ['another lot', $sv->link_to($gtin, 'ACTIVE', lot => 'WRONG'),
        {verified => 0, reason => 'lot_mismatch', code => 'A68', alert => $alert, lot => 'WRONG', expiry => '2030-12-31',
            state => undef, since => undef, here => undef, hint => undef}],
    ['the lot in lower case', $sv->link_to($gtin, 'ACTIVE', lot => 'lot1'),
        {verified => 0, reason => 'lot_mismatch', advice => 'rescan', hint => 'scanner', alert => undef, lot => 'lot1', state => undef}],
    ['another expiry', $sv->link_to($gtin, 'ACTIVE', expiry => '301230'),
        {verified => 0, reason => 'expiry_mismatch', code => 'A52', alert => $alert, lot => 'LOT1', expiry => '2030-12-30',
            state => undef}],
    ['another lot, of a recalled pack', $sv->link_to($gtin, 'RECALLED', lot => 'LOT1'),
        {verified => 0, reason => 'lot_mismatch', reference => undef, lot => 'LOT1'}],
    (map { [$_, $sv->link_to($gtin, uc),
        {verified => 0, reason => $_, advice => 'do_not_dispense', state => $_, here => 0, code => undef, alert => undef}] }
        @inactive),
);

subtest 'a pack that is known' => sub {
    my %from_database;

    for my $case (@known) {
        my ($name, $link, $expected) = @{$case};

        $sv->redis->flushall;
        my $first = $sv->get($link, key => $here->{key});
        answer_is($first, 200, {text => qr/^[A-Z].+\.$/, product => {gtin => qr/^\d{14}$/}, %{$expected}}, $name);
        is(source_of($first), 'database', "$name: from the database");
        is($first->{headers}{'content-type'}, 'application/json', "$name: JSON");

        cached($first->{json}{serial});
        my $second = $sv->get($link, key => $here->{key});
        is(source_of($second), 'cache', "$name: from the cache");
        is(without_alert($second->{body}), without_alert($first->{body}), "$name: the same body");

        next if !defined $first->{json}{alert};
        isnt($second->{json}{alert}, $first->{json}{alert}, "$name: another scan, another alert");
    }
};


subtest 'the right value is never told' => sub {
    for my $link ($sv->link_to($gtin, 'MONTH', lot => 'L'), $sv->link_to($gtin, 'MONTH', lot => 'LOT2', expiry => '280228'),
        $sv->link_to($gtin, 'MONTH', lot => 'LOT1', expiry => '280228'))
    {
        my $answer = $sv->get($link, key => $here->{key});
        like($answer->{json}{reason}, qr/^(?:lot|expiry)_mismatch$/, $answer->{json}{reason});
        unlike($answer->{body}, qr/2028-02-29|280229/, 'no expiry');
        unlike($answer->{body}, qr/LOT2/, 'no lot') if $link !~ /LOT2/;
    }
};


subtest 'a pack that is not known' => sub {
    my @cases = (
        ['product', $sv->link_to($unknown, 'ACTIVE'),
            {reason => 'product_unknown', code => 'A1', alert => undef, product => {gtin => '09506000134376', name => undef}}],
        ['product, though a pack of it is', $sv->link_to($unknown, 'ORPHAN', lot => 'WRONG', expiry => '301130'),
            {reason => 'product_unknown', lot => 'WRONG', expiry => '2030-11-30'}],
        ['serial of a known lot', $sv->link_to($gtin, 'NOSUCH'),
            {reason => 'serial_unknown', code => 'A3', alert => $alert, hint => undef, advice => 'do_not_dispense'}],
        ['serial, no lot presented', $sv->link_to($gtin, 'NOSUCH', lot => undef),
            {reason => 'serial_unknown', code => 'A3', alert => $alert, lot => undef}],
        ['serial and lot', $sv->link_to($gtin, 'NOSUCH', lot => 'NOLOT'),
            {reason => 'lot_unknown', code => 'A2', alert => $alert, lot => 'NOLOT'}],
        ['serial in the other case', $sv->link_to($gtin, 'active'),
            {reason => 'serial_unknown', hint => 'scanner', alert => undef, advice => 'rescan', serial => 'active'}],
        ['serial with Y and Z exchanged', $sv->link_to($gtin, 'DESTROZED'),
            {reason => 'serial_unknown', hint => 'scanner', alert => undef, advice => 'rescan'}],
        ['lot with the next element glued on', $sv->link_to($gtin, 'ACTIVE', lot => 'LOT117301231', expiry => undef),
            {reason => 'lot_mismatch', hint => 'scanner', alert => undef, advice => 'rescan', lot => 'LOT117301231'}, 200],
    );

    for my $case (@cases) {
        my ($name, $link, $expected, $status) = @{$case};
        my $answer = $sv->get($link, key => $here->{key});
        answer_is($answer, $status // 404, {verified => 0, state => undef, since => undef, %{$expected}}, $name);
        is(source_of($answer), 'database', "$name: never from the cache") if !$status;
    }

    is(scalar(grep { /NOSUCH(?!:L)/ } $sv->redis->keys('*')), 0, 'nothing unknown is kept, only leases');
};


subtest 'a status is read silently' => sub {
    my $answer = $sv->get($sv->link_to($gtin, 'NOSUCH') . '&alert=no', key => $here->{key});
    answer_is($answer, 404, {reason => 'serial_unknown', code => 'A3', alert => undef}, '?alert=no');

    $answer = $sv->get($sv->link_to($gtin, 'NOSUCH') . '&alert=yes', key => $here->{key});
    answer_is($answer, 404, {alert => $alert}, 'anything else does not silence');
};


subtest 'languages' => sub {
    my @cases = (
        [undef,                   qr/^This pack is genuine/],
        ['de',                    qr/^Diese Packung ist echt/],
        ['de-AT,de;q=0.9,en;q=0.8', qr/^Diese Packung/],
        ['fr-CH, fr;q=0.9',       qr/^Cette bo\x{ee}te/],
        ['it, fr;q=0.5',          qr/^Cette/],
        ['en;q=0.2, fr;q=0.8',    qr/^Cette/],
        ['fr;q=0, de;q=0.1',      qr/^Diese/],
        ['fr;q=0',                qr/^This/],
        ['it',                    qr/^This/],
        ['*',                     qr/^This/],
        [',;q=,,;',               qr/^This/],
        ['d',                     qr/^This/],
        ['x' x 4000,              qr/^This/],
    );

    for my $case (@cases) {
        my ($header, $text) = @{$case};
        my $answer = $sv->get($sv->link_to($gtin, 'ACTIVE'), key => $here->{key}, headers => {'Accept-Language' => $header});
        like($answer->{json}{text}, $text, defined $header ? substr($header, 0, 40) : 'none asked for');
    }
};


subtest 'HEAD' => sub {
    my $answer = $sv->request('HEAD', $sv->link_to($gtin, 'ACTIVE'), key => $here->{key});
    is($answer->{status}, 200, 'status');
    is($answer->{body}, '', 'no body');
    ok($answer->{headers}{'content-length'} > 100, 'but its length');
};


subtest 'Entry-Mode' => sub {
    for my $mode (qw(manual scanned)) {
        my $answer = $sv->get($sv->link_to($gtin, 'ACTIVE'), key => $here->{key}, headers => {'Entry-Mode' => $mode});
        is($answer->{status}, 200, $mode);
    }

    for my $mode ('Manual', 'scan', 'manual, scanned', "'") {
        my $answer = $sv->get($sv->link_to($gtin, 'ACTIVE'), key => $here->{key}, headers => {'Entry-Mode' => $mode});
        problem_is($answer, 422, 'entry_mode_unknown', {element => 'Entry-Mode'}, "not $mode");
    }
};


# The gateway follows a change of reference data by itself.
sub followed {
    my ($what) = @_;

    my $n = $sv->sql('select n from sv.ref_clock');
    Test::SerialVerify::wait_for { $sv->get('/status')->{json}{reference_data}{change} >= $n } $what;

    return;
}


subtest 'API keys' => sub {
    my $link     = $sv->link_to($gtin, 'ACTIVE');
    my $location = $sv->location(country => 'FR');
    my %key      = (
        old     => $sv->credential($location),
        new     => $sv->credential($location),
        later   => $sv->credential($location, not_before => '2099-01-01'),
        expired => $sv->credential($location, not_after => '2026-01-01'),
        until   => $sv->credential($location, not_after => '2099-01-01'),
        revoked => $sv->credential($location),
    );
    followed('the keys');

    for my $valid (qw(old new until revoked)) {
        is($sv->get($link, key => $key{$valid})->{status}, 200, "$valid: valid");
    }

    $sv->revoke($key{revoked});
    followed('the revocation');

    for my $bad (qw(later expired revoked)) {
        my $answer = $sv->get($link, key => $key{$bad});
        problem_is($answer, 401, 'credential_unknown', {element => 'Authorization'}, $bad);
        is($answer->{headers}{'www-authenticate'}, 'Bearer', "$bad: how to");
    }

    my %header = (
        'Basic'         => 'Basic ' . 'QWxhZGRpbjpvcGVuIHNlc2FtZQ==',
        'the bare key'  => $key{new},
        'Token'         => "Token $key{new}",
        'no key'        => 'Bearer',
        'an empty key'  => 'Bearer ',
        'a short key'   => 'Bearer ' . 'k' x 19,
        'a long key'    => 'Bearer ' . 'k' x 129,
        'a wrong key'   => 'Bearer ' . 'k' x 36,
        'its digest'    => 'Bearer ' . sha256_hex($key{new}),
        'two keys'      => "Bearer $key{new} $key{old}",
        'upper case'    => 'Bearer ' . uc $key{new},
    );

    for my $name (sort keys %header) {
        my $answer = $sv->get($link, headers => {Authorization => $header{$name}});
        problem_is($answer, 401, 'credential_unknown', {}, $name);
    }

    is($sv->get($link, headers => {Authorization => "bearer  $key{new}"})->{status}, 200, 'the scheme in any case');

    $sv->numbered('update sv.location set ref_n = ?, deleted = true where location_id = ?', $location);
    followed('the removal');
    problem_is($sv->get($link, key => $key{new}), 401, 'credential_unknown', {}, 'the location is gone');

    is_deeply([seen_in_log($sv, values %key)], [], 'no key in a log');
};


subtest 'client certificates' => sub {
    my $home = $sv->directory('tls');
    my $run  = sub { system("cd $home && openssl @_ >>openssl.log 2>&1") == 0 or die Test::SerialVerify::slurp("$home/openssl.log") };

    for my $ca (qw(ca other)) {
        $run->("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=$ca -keyout $ca.key -out $ca.crt");
    }

    for my $made (['server', 'ca'], ['pharmacy', 'ca'], ['stranger', 'ca'], ['forged', 'other']) {
        my ($name, $ca) = @{$made};
        $run->("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$name -keyout $name.key -out $name.csr");
        $run->("x509 -req -in $name.csr -CA $ca.crt -CAkey $ca.key -CAcreateserial -days 30 -out $name.crt");
    }

    $sv->give(glob "$home/*");

    my $fingerprint = sub {
        my $text = `openssl x509 -in $home/$_[0].crt -noout -fingerprint -sha256`;
        return lc(($text =~ /=(\S+)/)[0] =~ tr/://dr);
    };

    $sv->credential($here->{id}, kind => 'certificate', sha256 => $fingerprint->('pharmacy'));
    $sv->credential($here->{id}, kind => 'certificate', sha256 => $fingerprint->('forged'));

    my $port = $sv->port;
    $sv->start_nginx(name => 'tls', server => <<"CONF");
        listen 127.0.0.1:$port ssl;
        ssl_certificate $home/server.crt;
        ssl_certificate_key $home/server.key;
        ssl_client_certificate $home/ca.crt;
        ssl_verify_client optional;
CONF

    my $curl = sub {
        my ($name, @options) = @_;
        my @certificate = $name ? ('--cert', "$home/$name.crt", '--key', "$home/$name.key") : ();
        my $pid = open(my $out, '-|') // die "fork: $!";

        if ($pid == 0) {
            open(STDERR, '>', '/dev/null');
            exec 'curl', '-gsi', '--http1.1', '--cacert', "$home/ca.crt", '--connect-to', "server:443:127.0.0.1:$port", @certificate,
                @options, 'https://server' . $sv->link_to($gtin, 'HERE');
        }

        local $/;
        my ($answer) = Test::SerialVerify::HTTP::parse(<$out> // '', 1);
        close $out;

        return $answer // {status => 0, headers => {}, body => ''};
    };

    answer_is($curl->('pharmacy'), 200, {reason => 'already_supplied_here', here => 1}, 'a known certificate is a location');
    answer_is($curl->(''), 200, {reason => 'already_supplied', here => undef}, 'without one: the public');
    problem_is($curl->('stranger'), 401, 'credential_unknown', {}, 'of the right issuer, but not registered');
    is($curl->('forged')->{status}, 400, 'registered, but of another issuer: refused by nginx');
    answer_is($curl->('pharmacy', '-H', "Authorization: Bearer $there->{key}"), 200, {reason => 'already_supplied', here => 0},
        'a key given besides goes first');
    problem_is($curl->('pharmacy', '-H', 'Authorization: Bearer ' . 'k' x 36), 401, 'credential_unknown', {},
        'a wrong key is not made good by a certificate');
};

$sv->done_testing;
