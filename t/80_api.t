#!/usr/bin/env perl

# The role api: who asks is what the gateway has proven, whoever else connects;
# its limits, its end, and what the gateway says when it is not there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Digest::SHA qw(hmac_sha256_hex);
use MIME::Base64 ();
use Test::More;
use Time::HiRes qw(time);

use Test::SerialVerify;

my $json = '{"type":"EPCISDocument"}';
my $gtin = 9506000134352;
my $sv   = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);

my $nasty = qq(a"\\\x{e9} <\x{1}\t&>);
my $mah   = $sv->actor('manufacturer', company => $nasty);
my $other = $sv->actor('manufacturer', company => 'other');
my $shop  = $sv->actor('pharmacy');
my $mint  = {location => $mah->{id}, role => 'manufacturer', company => $nasty};

$sv->start_api(capture_file_limit => '1m', api_threads => 2);
$sv->start_nginx(api => 1, verify => {deadline => '5s'});

sub files { return grep { !/\.$/ } glob $sv->base . '/captures/* ' . $sv->base . '/captures/.*' }

# An answer is a problem of this kind.
sub problem {
    my ($answer, $status, $reason, $name) = @_;

    is($answer->{status}, $status, "$name: status") or diag($answer->{body});
    is($answer->{headers}{'content-type'}, 'application/problem+json', "$name: type");
    is_deeply([@{$answer->{json} // {}}{qw(status reason)}], [$status, $reason], "$name: $reason");
    like($answer->{json}{detail} // '', qr/\S \S.*\.\z/, "$name: says what");

    return $answer->{json} // {};
}


subtest 'through the gateway' => sub {
    my $answer = $sv->get('/epcis/capture', key => $mah->{key});
    is($answer->{status}, 200, 'asked') or diag($answer->{body});
    is_deeply($answer->{json}, [], 'answered');
    like($answer->{headers}{'x-request-id'}, qr/^[0-9a-f]{32}$/, 'with a request id');
    is($answer->{headers}{'cache-control'}, 'private, no-store', 'for nobody else');

    is(problem($sv->get('/epcis/capture'), 401, 'credential_missing', 'nobody')->{type}, 'about:blank', 'by nginx itself');
    problem($sv->get('/epcis/capture', key => 'k' x 30), 401, 'credential_unknown', 'a wrong key');
    problem($sv->post('/epcis/capture', $json, headers => {'Content-Type' => 'application/json'}), 401, 'credential_missing', 'nobody, with a body');
    problem($sv->get('/epcis/capture', key => $shop->{key}), 403, 'not_permitted', 'a role that may not');
    problem($sv->post('/epcis/capture', $json, key => $mah->{key}, headers => {'Content-Type' => 'application/json', 'Sec-Fetch-Site' => 'cross-site'}),
        403, 'cross_site', 'the page of another site');
    is($sv->get('/epcis/capture', key => $mah->{key}, headers => {'Sec-Fetch-Site' => 'cross-site'})->{status}, 200, 'which may look');
    problem($sv->get('/epcis/nothing', key => $mah->{key}), 404, 'not_found', 'no such path');
    problem($sv->get('/epcis/capture%2F', key => $mah->{key}), 404, 'not_found', 'a segment with a slash in it');
    problem($sv->get('/epcis/capture?x=%ff', key => $mah->{key}), 400, 'target_malformed', 'no UTF-8');
    problem($sv->get('/epcis/capture?x=%2', key => $mah->{key}), 400, 'target_malformed', 'half an escape');

    my $delete = $sv->request('DELETE', '/epcis/capture', key => $mah->{key});
    problem($delete, 405, 'method_not_allowed', 'another method');
    is($delete->{headers}{allow}, 'POST, GET, HEAD, OPTIONS', 'what may be');
    my $options = $sv->request('OPTIONS', '/epcis/capture/x', key => $mah->{key});
    is("$options->{status} $options->{headers}{allow}", '204 GET, HEAD, OPTIONS', 'OPTIONS');
    my $head = $sv->request('HEAD', '/epcis/capture', key => $mah->{key});
    is("$head->{status} $head->{body}", '200 ', 'HEAD');
    is($head->{headers}{'content-length'}, 2, 'with its length');
};


# What a client claims to be is not passed on, proof or not.
subtest 'a header from outside' => sub {
    my $token = $sv->api_token('GET', '/epcis/capture', {%{$mint}, role => 'operator'});

    problem($sv->get('/epcis/capture', headers => {'Serial-Verify-Identity' => $token}), 401, 'credential_missing', 'instead of a credential');
    problem($sv->get('/epcis/capture', key => $shop->{key}, headers => {'Serial-Verify-Identity' => $token}), 403, 'not_permitted', 'beside one');
    is($sv->get('/01/09506000134352/21/X', headers => {'Serial-Verify-Identity' => $token})->{json}{reason}, 'not_confirmed', 'elsewhere: still the public');
};


subtest 'connected without the gateway' => sub {
    my $target = '/epcis/capture?perPage=1';
    my $now    = int(time * 1000);
    my $asked  = sub { return $sv->api_request('GET', $target, token => $_[0]) };
    my $good   = $sv->api_token('GET', $target, $mint);

    is($asked->($good)->{status}, 200, 'a proof');
    like($asked->($good)->{headers}{'x-request-id'}, qr/^[0-9a-f]{32}$/, 'and the request id it names');
    is($asked->($sv->api_token('GET', $target, $mint, t => $now - 55_000))->{status}, 200, 'of 55 s ago');

    problem($asked->(undef), 401, 'credential_missing', 'no proof');
    is($asked->(undef)->{headers}{'www-authenticate'}, 'Bearer', 'and what is asked for');

    my ($payload, $mac) = split /\./, $good;
    my $unsigned = MIME::Base64::encode_base64url(Test::SerialVerify::HTTP::encode({%{$mint}, t => $now, role => 'operator'}));
    my %bad = (
        'empty'             => '.',
        'without a mac'     => $payload,
        'with half a mac'   => "$payload." . substr($mac, 0, 32),
        'with more'         => "$good\0" =~ s/\0/0/r,
        'in capitals'       => "$payload." . uc $mac,
        'of another payload' => "$unsigned.$mac",
        'of another method' => $sv->api_token('POST', $target, $mint),
        'of another target' => $sv->api_token('GET', '/epcis/capture', $mint),
        'of another secret' => $sv->api_token('GET', $target, $mint, secret => 'x' x 64),
        'that is stale'     => $sv->api_token('GET', $target, $mint, t => $now - 61_000),
        'of the future'     => $sv->api_token('GET', $target, $mint, t => $now + 60_000),
        'of no role'        => $sv->api_token('GET', $target, {%{$mint}, role => 'king'}),
        'of no location'    => $sv->api_token('GET', $target, {%{$mint}, location => undef}),
        'that is long'      => 'A' x 5000 . ".$mac",
    );
    problem($asked->($bad{$_}), 401, 'credential_unknown', "a proof $_") for sort keys %bad;

    my $secret = Test::SerialVerify::slurp($sv->api_secret) =~ s/\s+\z//r;
    like($sv->log_of('api'), qr/\[warn\] .*without a valid proof/, 'said in the log');
    unlike($sv->log_of('api'), qr/\Q$secret\E|\Q$mac\E|\Q$payload\E/, 'without secret and proof');
};


# The company in the proof may hold anything.
subtest 'a company with any characters' => sub {
    my $answer = $sv->post('/epcis/capture', $json, key => $mah->{key}, headers => {'Content-Type' => 'application/json'});
    is($answer->{status}, 202, 'captured') or diag($answer->{body});
    is($sv->sql('select company from sv.capture'), $nasty, 'for it');
};


subtest 'limits' => sub {
    my %ask  = (key => $mah->{key}, headers => {'Content-Type' => 'application/json'});
    my $jobs = $sv->sql('select count(*) from sv.capture');

    is($sv->post('/epcis/capture', ' ' x (1 << 20), %ask)->{status}, 202, 'as large as is allowed');
    my $large = problem($sv->post('/epcis/capture', ' ' x ((1 << 20) + 1), %ask), 413, 'body_too_large', 'a byte more');
    is($large->{type}, 'epcisException:CaptureLimitExceededException', 'as EPCIS says it');
    problem($sv->post('/epcis/capture', ' ' x (30 << 20), %ask, timeout => 60), 413, 'body_too_large', 'thirty times as large');

    my $connection = $sv->connection;
    $connection->put("POST /epcis/capture HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $mah->{key}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    $connection->put('10000' . "\r\n" . ' ' x 65536 . "\r\n") for 1 .. 17;
    $connection->put("0\r\n\r\n");
    problem($connection->next_response(60), 413, 'body_too_large', 'in pieces of no declared length');

    problem($sv->request('GET', '/epcis/capture?' . join('&', map { "a$_=1" } 1 .. 33), %ask), 400, 'target_malformed', 'many parameters');
    is($sv->api_request('GET', '/epcis/capture', who => $mint, headers => {map { ("X-$_" => 'x' x 1000) } 1 .. 100})->{status}, 431, 'a large header')
        or diag('some versions say 413');
    is($sv->sql('select count(*) from sv.capture'), $jobs + 1, 'no job of what was refused');
    is(scalar(my @files = files()), $jobs + 1, 'and no file');
};


# Two threads, and twenty connections that say nothing, or stop in the middle of what they say.
subtest 'slow clients' => sub {
    my $head = 'POST /epcis/capture HTTP/1.1' . "\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\nServial: x\r\nSerial-Verify-Identity: "
        . $sv->api_token('POST', '/epcis/capture', $mint) . "\r\n\r\n";
    my @slow = map { Test::SerialVerify::HTTP->connect_to($sv->api_socket) } 1 .. 20;

    for my $i (0 .. $#slow) {
        $slow[$i]->put(substr $head, 0, $i % 4 ? length($head) * $i / 20 : length $head);
        $slow[$i]->put('{"x":') if $i % 4 == 0;
    }

    my $start = time;
    is($sv->get('/epcis/capture', key => $mah->{key})->{status}, 200, 'others are answered') for 1 .. 10;
    cmp_ok(time - $start, '<', 20, 'at once');

    Test::SerialVerify::wait_for { grep { /\.part$/ } files() } 'their bodies to begin';
    $_->close_now for @slow;
    Test::SerialVerify::wait_for { !grep { /\.part$/ } files() } 'what they left to be removed';
    pass('nothing is left of them');
};


# A request waits for a lock in PostgreSQL when the stop comes.
subtest 'a stop with requests under way' => sub {
    my $held = $sv->new_dbh;
    $held->begin_work;
    $held->do('lock table sv.capture in access exclusive mode');

    my $slow = $sv->connection;
    $slow->put("POST /epcis/capture HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer $mah->{key}\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n");
    $slow->put('{"a":');
    Test::SerialVerify::wait_for { grep { /\.part$/ } files() } 'the slow body';
    my ($waiting) = $sv->sent([POST => '/epcis/capture', key => $mah->{key}, body => {a => 1}]);
    Test::SerialVerify::wait_for { $sv->sql(q{select count(*) from pg_stat_activity where usename = 'sv_api' and wait_event_type = 'Lock'}) } 'the lock';

    $sv->signal('api', 'TERM');
    Test::SerialVerify::wait_for { !-e $sv->api_socket } 'the stop to begin';
    problem($sv->get('/epcis/capture', key => $mah->{key}), 503, 'unavailable', 'a new request');

    $held->rollback;
    $slow->put('12}');
    is(($sv->answers(60, $waiting))[0]{status}, 202, 'what waited is finished');
    is($slow->next_response(60)->{status}, 202, 'and what was still coming');
    ok($sv->stop('api'), 'then it ends');
};


subtest 'without the api' => sub {
    my $down = $sv->get('/epcis/capture', key => $mah->{key});
    problem($down, 503, 'unavailable', 'no socket');
    is($down->{headers}{'retry-after'}, 1, 'try again');
    problem($sv->post('/epcis/capture', 'x' x 3_000_000, key => $mah->{key}), 503, 'unavailable', 'with a body');
    problem($sv->get('/epcis/capture'), 401, 'credential_missing', 'who may not is told so');
    is($sv->get('/status')->{status}, 200, 'the gateway goes on');

    $sv->start_api;
    is($sv->get('/epcis/capture', key => $mah->{key})->{status}, 200, 'there again');

    $sv->kill9('api');
    problem($sv->get('/epcis/capture', key => $mah->{key}), 503, 'unavailable', 'killed: a socket that nobody listens on');
    $sv->start_api;
    is($sv->get('/epcis/capture', key => $mah->{key})->{status}, 200, 'which the next one takes');
    $sv->allow_log(qr/connect\(\) to unix:\S+ failed/);
};


subtest 'without PostgreSQL' => sub {
    $sv->stop('postgres');
    my $down = $sv->get('/epcis/capture', key => $mah->{key});
    problem($down, 503, 'unavailable', 'a question');
    is($down->{headers}{'retry-after'}, 1, 'try again');
    problem($sv->post('/epcis/capture', $json, key => $mah->{key}, headers => {'Content-Type' => 'application/json'}), 503, 'unavailable', 'a capture');
    is($sv->request('OPTIONS', '/epcis/capture', key => $mah->{key})->{status}, 204, 'what needs it not');

    $sv->start_postgres;
    Test::SerialVerify::wait_for { $sv->get('/epcis/capture', key => $mah->{key})->{status} == 200 } 'PostgreSQL again';

    # sessions that ended meanwhile cost nobody an answer
    $sv->get('/epcis/capture', key => $mah->{key}) for 1 .. 4;
    $sv->sql(q{select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'sv_api'});
    is($sv->get('/epcis/capture', key => $mah->{key})->{status}, 200, 'a session that was ended') for 1 .. 4;
};


# Without the directive nobody is let in by name, and nobody is kept out.
subtest 'a location without it' => sub {
    my $socket = $sv->api_socket;
    my $proxy  = "proxy_pass http://unix:$socket:; proxy_set_header Serial-Verify-Identity \$serial_verify_identity;";

    $sv->start_nginx(name => 'plain', http => 'serial_verify_api_secret ' . $sv->api_secret . ';',
        server => "location /epcis/ { $proxy } location /containers { serial_verify_identity on; $proxy location /containers/off { serial_verify_identity off; $proxy } }"
            . ' location /seen { serial_verify_identity on; return 200 "$serial_verify_identity\n$serial_verify_identity"; }');

    my $answer = $sv->get('/epcis/capture', key => $mah->{key}, nginx => 'plain');
    is($answer->{json}{reason}, 'credential_missing', 'a credential alone is not passed on');
    is($answer->{headers}{server} && $answer->{json}{element}, 'Authorization', 'says the worker');
    like($sv->get('/containers', nginx => 'plain')->{json}{detail}, qr/Send an API key/, 'on: asked for by nginx');
    like($sv->get('/containers/off', nginx => 'plain')->{json}{detail}, qr/through the gateway only/, 'off inside on');
    is($sv->get('/containers/x', key => $mah->{key}, nginx => 'plain')->{status}, 404, 'on: let through');

    # `return' comes before access is looked at: so does its variable
    is($sv->get('/seen', key => $mah->{key}, nginx => 'plain')->{body}, "\n", 'nobody has been let in yet');
};


subtest 'where it listens' => sub {
    my $conf = sub { return $sv->worker_conf(file => 'other.conf', $sv->api_settings, roles => 'api', redis => undef, inbox => undef, @_) };
    my $run  = sub {
        my ($file) = @_;
        my $user = $> == 0 ? "setpriv --reuid=$sv->{user} --clear-groups --regid=$sv->{user} " : '';
        $user =~ s/--regid=\S+/'--regid=' . (getpwnam $sv->{user})[3]/e;
        my $program = $sv->program('serial-verify-worker');
        my $out = qx(timeout 20 $user$program -c $file run --role api 2>&1);
        return ($? >> 8, $out);
    };

    my ($rc, $out) = $run->($conf->());
    is($rc, 1, 'a socket that is in use');
    like($out, qr/another process answers there/, 'is left alone');
    is($sv->get('/epcis/capture', key => $mah->{key})->{status}, 200, 'the other goes on');

    ($rc, $out) = $run->($conf->(api_listen => 'unix:' . $sv->base . '/nothing/api.sock'));
    like("$rc $out", qr/^1 .*api_listen "unix:\S+": No such file/s, 'a directory that is not there');
    $sv->write_file('weak', 'x' x 31);
    ($rc, $out) = $run->($conf->(api_secret => $sv->base . '/weak'));
    like("$rc $out", qr/^1 .*api_secret "\S+": others may read/s, 'a secret that others may read');
    chmod oct('600'), $sv->base . '/weak';
    ($rc, $out) = $run->($conf->(api_secret => $sv->base . '/weak'));
    like("$rc $out", qr/^1 .*a secret is 32 to 4096 bytes/s, 'a secret that is short');
    ($rc, $out) = $run->($conf->(capture_dir => $sv->base . '/nothing'));
    like("$rc $out", qr/^1 .*capture_dir "\S+": No such file/s, 'no directory for captures');

    my $port = $sv->port;
    $sv->stop('api');
    $sv->start_server('api', command => [$sv->program('serial-verify-worker'), '-c', $conf->(api_listen => "127.0.0.1:$port", capture_dir => undef), 'run']);
    $sv->ready('api', sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") ? 1 : 0 });

    my $tcp = Test::SerialVerify::HTTP->connect_to("127.0.0.1:$port");
    my $got = $tcp->request('GET', '/epcis/capture', close => 1, headers => {'Serial-Verify-Identity' => $sv->api_token('GET', '/epcis/capture', $mint)});
    is($got->{status}, 200, 'an address');
    $tcp = Test::SerialVerify::HTTP->connect_to("127.0.0.1:$port");
    $got = $tcp->request('POST', '/epcis/capture', close => 1, body => {}, headers => {'Serial-Verify-Identity' => $sv->api_token('POST', '/epcis/capture', $mint)});
    problem($got, 503, 'unavailable', 'a capture where none are taken');
};


# It may do what its functions do, and nothing else.
subtest 'the role sv_api' => sub {
    my $dbh = $sv->new_dbh('sv_api');

    my $tables = $sv->dbh->selectcol_arrayref(q{select c.oid::regclass::text from pg_class c where c.relnamespace = 'sv'::regnamespace
        and c.relkind in ('r', 'p', 'v', 'm', 'S')
        and (c.relkind = 'S' and has_sequence_privilege('sv_api', c.oid, 'usage, select, update')
             or c.relkind <> 'S' and has_table_privilege('sv_api', c.oid, 'select, insert, update, delete, truncate, references, trigger'))});
    is_deeply($tables, [], 'no table, no view, no sequence');

    my @may = @{$sv->dbh->selectcol_arrayref(q{select p.proname from pg_proc p where p.pronamespace = 'sv'::regnamespace
        and has_function_privilege('sv_api', p.oid, 'execute') order by 1})};
    ok((grep { $_ eq 'capture_create' } @may), 'its functions');
    is_deeply([grep { /^(?:operate|load_|stage_|merge_|put_|remove_|relay|outbox|purge|raise_|revoke_credential|put_credential|capture_take|capture_done)/ } @may], [],
        'not those of the gateway and the worker') or diag("@may");

    my @open = @{$sv->dbh->selectcol_arrayref(q{select p.proname from pg_proc p where p.pronamespace = 'sv'::regnamespace
        and has_function_privilege('sv_api', p.oid, 'execute') and (not p.prosecdef or not coalesce(p.proconfig, '{}') @> '{"search_path=pg_catalog, pg_temp"}')})};
    is_deeply(\@open, [], 'each of them as the owner, with a search path of its own');

    my ($super) = $dbh->selectrow_array(q{select rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls from pg_roles where rolname = current_user});
    ok(!$super, 'no attribute');
    is($sv->sql(q{select count(*) from pg_auth_members where member = 'sv_api'::regrole}), 0, 'a member of nothing');
    ok(!eval { $dbh->do('create table sv.x (y integer)'); 1 }, 'it makes nothing in sv');
};

$sv->done_testing;
