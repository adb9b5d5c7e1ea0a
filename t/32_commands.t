#!/usr/bin/perl

# The worker's commands: what they do, and what they say of each bad value.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use Test::More;

use Test::SerialVerify;

my $gtin = '09506000134352';
my $gln  = '9506000134352';
my $sv   = Test::SerialVerify->new;

$sv->start_postgres;
$sv->product($gtin);


# fails(CODE, qr/TEXT/, ARGUMENTS..)
sub fails {
    my ($expected, $pattern, @arguments) = @_;

    my ($code, $text) = $sv->command(@arguments);
    my $name = join ' ', @arguments;

    is($code, $expected, "$name: code");
    like($text, $pattern, "$name: text");

    return;
}


sub works {
    my ($pattern, @arguments) = @_;

    my ($code, $text) = $sv->command(@arguments);

    is($code, 0, "@arguments");
    like($text, $pattern, "@arguments: text");

    return $text;
}


# load(TABLE, CONTENT): (code, text, lines that name the file without it)
sub load {
    my ($table, $content) = @_;

    my $file = $sv->write_file('table.csv', $content);
    my ($code, $text) = $sv->command('load', $table, $file);
    $text =~ s/\Q$file\E/FILE/g;

    return ($code, $text);
}


sub complains {
    my ($table, $row, $pattern, $header) = @_;

    my ($code, $text) = load($table, "$header\n$row\n");

    is($code, 1, "$table: $row");
    like($text, qr/^FILE:2: $pattern/, "$table: $row: told with line and element");
    like($text, qr/^FILE: 1 of 1 rows are bad, nothing was loaded$/m, "$table: $row: nothing is loaded");

    return;
}


subtest 'without a command, and help' => sub {
    fails(2, qr/^usage: /);
    fails(2, qr/unknown command "dance"/, 'dance');
    fails(2, qr/unknown option "--dance"/, '--dance');
    works(qr/^usage: /, '--help');
    works(qr/^serial-verify-worker \d/, '--version');

    my ($list) = works(qr/^usage: /, '--help') =~ /^commands, each with --help:\n(.*?)\n\n/ms;
    my %listed = map { $_ => 1 } $list =~ /^  ([a-z-]+)/mg;
    my %known  = map { $_ => 1 } qw(run load-file load key recall lift-recall withdraw lift-withdrawal
        export serials lot audit quarantine swap-commission findings cases refused replay rules status);

    is_deeply(\%listed, \%known, 'every command is in the list');
    works(qr/^usage: .*\b$_\b/, $_, '--help') for sort keys %listed;
    works(qr/^usage: .*\bquarantine\b/, 'quarantine', 'release', '--help');
    fails(2, qr/-c needs a file/, '-c');
};

subtest 'the configuration' => sub {
    my $base = $sv->base;
    my $good = 'postgres = host=' . $sv->pg_socket . " dbname=sv user=sv_worker\n";

    my $check = sub {
        my ($content, $code, $pattern, $name) = @_;
        $sv->write_file('worker.conf', $content);
        my ($got, $text) = $sv->command('--check');
        is($got, $code, $name);
        like($text, $pattern, "$name: text");
    };

    $check->($good, 0, qr/worker\.conf: ok$/, 'good');
    $check->("# comment\n\n  postgres=" . substr($good, 11), 0, qr/ok$/, 'comments and blanks');
    $check->('', 2, qr/worker\.conf: the setting "postgres" is missing$/, 'nothing');
    $check->("${good}colour = red\n", 2, qr/worker\.conf:2: colour: no such setting$/, 'an unknown setting');
    $check->("${good}settle\n", 2, qr/worker\.conf:2: expected "name = value"$/, 'no value');
    $check->("${good}settle =\n", 2, qr/worker\.conf:2: settle: the value is empty$/, 'an empty value');
    $check->("${good}settle = 1s\nsettle = 2s\n", 2, qr/worker\.conf:3: settle: is given twice$/, 'twice');
    $check->("${good}settle = soon\n", 2, qr/worker\.conf:2: settle: expected a time such as/, 'not a time');
    $check->("${good}settle = 5 weeks\n", 2, qr/worker\.conf:2: settle: expected a time/, 'a unit that is none');
    $check->("${good}settle = 9999999999999999999999s\n", 2, qr/worker\.conf:2: settle: the time is out of range/, 'too long');
    $check->("${good}cache_ttl = 1ms\n", 2, qr/worker\.conf:2: cache_ttl: the time is out of range/, 'too short');
    $check->("${good}relay_batch = -1\n", 2, qr/worker\.conf:2: relay_batch: expected a number/, 'a negative number');
    $check->("${good}relay_batch = 0\n", 2, qr/worker\.conf:2: relay_batch: the number is out of range/, 'a number too small');
    $check->("${good}on_error = panic\n", 2, qr/worker\.conf:2: on_error: expected skip .* or none/, 'on_error');
    $check->("${good}unknown_products = buy\n", 2, qr/worker\.conf:2: unknown_products: expected reject or create/, 'unknown_products');
    $check->("${good}roles = ingest, king\n", 2, qr/worker\.conf:2: roles: expected a list of ingest, relay, housekeeping, api, push, consume, notify/, 'roles');
    $check->("${good}roles = ,\n", 2, qr/worker\.conf:2: roles: no role is given/, 'no role');
    $check->("${good}log_level = loud\n", 2, qr/worker\.conf:2: log_level: expected error, warn/, 'log_level');
    $check->("${good}redis = nowhere\n", 2, qr/worker\.conf:2: redis: expected "host:port" or "unix:\/path"/, 'redis');
    $check->("${good}redis = a:70000\n", 2, qr/worker\.conf:2: redis: the port is not/, 'a port');
    $check->("${good}redis = unix:x\n", 2, qr/worker\.conf:2: redis: expected an absolute path/, 'a socket');
    $check->("${good}redis = a:1\nredis = a:1\n", 2, qr/worker\.conf:3: redis: this server is given twice/, 'a server twice');
    $check->("${good}redis_user = x\n", 2, qr/"redis_user" needs "redis_password_file"/, 'a user without password');
    $check->("${good}done = $base/x\n", 2, qr/need "inbox"/, 'done without inbox');
    $check->("${good}inbox = $base/none\n", 2, qr/inbox "\Q$base\E\/none": No such file or directory/, 'no inbox');
    $check->("${good}inbox = $base/worker.conf\n", 2, qr/inbox ".*": is not a directory/, 'an inbox that is none');
    $check->("${good}inbox = $base\ndone = $base\n", 2, qr/must not be the inbox itself/, 'done is the inbox');
    $check->("${good}api_secret = $base/none\n", 2, qr/api_secret "\Q$base\E\/none": No such file or directory/, 'no secret');
    $sv->write_file('weak', 'x' x 40);
    $check->("${good}api_secret = $base/weak\n", 2, qr/api_secret ".*": others may read or change it/, 'a secret for everybody');
    $check->('api_secret = ' . $sv->api_secret . "\n$good", 0, qr/ok$/, 'a secret');
    $check->("postgres = host\n", 2, qr/worker\.conf:1: postgres: not a libpq connection string/, 'a connection string');
    $check->("postgres = host=/nowhere dbname=sv\n", 2, qr/postgres: .*No such file/, 'PostgreSQL is not there');
    $check->($good =~ s/sv_worker/sv_gateway/r, 2, qr/permission denied.*is this the role sv_worker/, 'another role');
    $check->('x' x 5000, 2, qr/:1: the line is too long/, 'a long line');
    $check->("${good}\n[feed l7]\n\ninbox = $base/none\n", 2, qr/worker\.conf:5: inbox ".*": No such file/, 'the inbox of a feed');
    $check->("${good}inbox = $base\ndone = $base/none/done\n", 2, qr/worker\.conf:3: done ".*": its directory does not exist/, 'a directory that cannot be made');
    $check->("${good}log = $base/none/log\npid_file = $base/none/pid\n", 2, qr/:2: log ".*": its directory .*\n.*:3: pid_file ".*": its directory/, 'log and pid file');
    $check->("${good}api_listen = unix:$base/none/api.sock\n", 2, qr/:2: api_listen ".*": its directory does not exist/, 'a socket nowhere');
    $check->("${good}inbox = $base\n" . 'push_url = https://x/' . "\n", 0, qr/^note: .*:3: push_url is set, but "roles" names no role that uses it\n.*ok$/, 'a role that is not named');
    $check->($good, 0, qr/^note: .*the role ingest needs "inbox".* leave ingest out of "roles"\n.*ok$/, 'nothing to ingest');
    fails(2, qr/the role ingest needs "inbox"/, 'run') if $sv->write_file('worker.conf', $good);
    fails(2, qr/no such role "king"/, 'run', '--role', 'king');

    unlink "$base/worker.conf";
    my $text = `${\ $sv->program('serial-verify-worker')} -c $base/none.conf status 2>&1`;
    is($? >> 8, 2, 'no configuration');
    like($text, qr/none\.conf: No such file/, 'no configuration: text');
};

subtest 'recall' => sub {
    unlink $sv->base . '/worker.conf';

    fails(2, qr/recall needs --gtin/, 'recall');
    fails(2, qr/recall needs --lot/, 'recall', '--gtin', $gtin, '--reason', 'x');
    fails(2, qr/recall has no option "--batch"/, 'recall', '--batch', 'L1');
    fails(2, qr/--lot needs a value/, 'recall', '--lot');
    fails(2, qr/--lot is given twice/, 'recall', '--lot', 'a', '--lot', 'b');
    fails(2, qr/"123" is not a GTIN/, 'recall', '--gtin', '123', '--lot', 'L1', '--reason', 'x');
    fails(2, qr/"9506000134353": the check digit of the GTIN is wrong/, 'recall', '--gtin', '9506000134353', '--lot', 'L1', '--reason', 'x');
    fails(2, qr/lot: 1 to 20 characters/, 'recall', '--gtin', $gtin, '--lot', 'L 1', '--reason', 'x');
    fails(2, qr/reason: is missing/, 'recall', '--gtin', $gtin, '--lot', 'L1', '--reason', ' ');
    fails(1, qr/there is no product 09506000134369/, 'recall', '--gtin', '9506000134369', '--lot', 'L1', '--reason', 'x');
    fails(1, qr/L1 of product $gtin is not recalled/, 'lift-recall', '--gtin', $gtin, '--lot', 'L1', '--reason', 'x');

    works(qr/^$gtin lot "L1" is recalled$/, 'recall', '--gtin', '9506000134352', '--lot', 'L1', '--reason', 'impurity', '--reference', 'R-1');
    is(join(' ', $sv->sql('select reason, reference, ref_n from sv.lot where lot = ?', 'L1')), 'impurity R-1 '
        . $sv->sql('select n from sv.ref_clock'), 'the lot');
    works(qr/was recalled already/, 'recall', '--gtin', $gtin, '--lot', 'L1', '--reason', 'impurity', '--reference', 'R-1');
    works(qr/^$gtin lot "L1" is no longer recalled$/, 'lift-recall', '--gtin', $gtin, '--lot', 'L1', '--reason', 'all clear');
    is($sv->sql('select recalled_at from sv.lot where lot = ?', 'L1'), undef, 'lifted');
    isnt($sv->sql(q{select actor from sv.audit where operation = 'recall_lot'}), '', 'the audit says who');
};

subtest 'withdraw' => sub {
    fails(2, qr/withdraw needs --reason/, 'withdraw', '--gtin', $gtin);
    fails(2, qr/withdraw has no option "--lot"/, 'withdraw', '--gtin', $gtin, '--reason', 'x', '--lot', 'L1');
    fails(1, qr/product $gtin is not withdrawn/, 'lift-withdrawal', '--gtin', $gtin, '--reason', 'x');
    works(qr/^$gtin is withdrawn$/, 'withdraw', '--gtin', $gtin, '--reason', 'unsafe');
    works(qr/was withdrawn already/, 'withdraw', '--gtin', $gtin, '--reason', 'unsafe');
    works(qr/^$gtin is no longer withdrawn$/, 'lift-withdrawal', '--gtin', $gtin, '--reason', 'safe');
};

subtest 'load products' => sub {
    my $header = 'gtin,name,company,default_link,lot_optional,expiry_optional';

    my ($code, $text) = load('products', "\xef\xbb\xbfcompany;GTIN;name;lot_optional\r\nacme;09506000134376;\"A; B\";true\r\nacme;09506000134383;C;\r\n");
    is("$code $text", "0 products: 2 rows, 2 new or changed\n", 'loaded');
    is(join('|', $sv->sql('select name, company, lot_optional from sv.product where gtin = 9506000134376')), 'A; B|acme|1', 'a product');
    ($code, $text) = load('products', "company,gtin,name,lot_optional\nacme,09506000134376,A; B,true\nacme,09506000134383,D,\n");
    is("$code $text", "0 products: 2 rows, 1 new or changed\n", 'again, one changed');

    complains('products', ',x,y,,,', 'gtin: is missing', $header);
    complains('products', '9506000134352,x,y,,,', 'gtin "9506000134352": a GTIN has 14 digits', $header);
    complains('products', '09506000134353,x,y,,,', 'gtin "09506000134353": the check digit', $header);
    complains('products', "$gtin,,y,,,", 'name: is missing', $header);
    complains('products', "$gtin,x,,,,", 'company: is missing', $header);
    complains('products', "$gtin,x," . ('y' x 33) . ',,,', 'company: has 33 bytes', $header);
    complains('products', "$gtin,x,y,ftp://x,,", 'default_link: a link that begins with', $header);
    complains('products', "$gtin,x,y,,maybe,", 'lot_optional "maybe": true or false', $header);
    complains('products', "$gtin,x,y", 'the line has another number of fields', $header);

    ($code, $text) = load('products', "$header\n$gtin,changed,y,,,\n$gtin,x,y,,no,\n");
    is($code, 1, 'one bad row');
    isnt($sv->sql('select name from sv.product where gtin = ?', $gtin), 'changed', 'nothing is loaded');

    ($code, $text) = load('products', "gtin,name\n");
    is("$code $text", qq(1 FILE:1: the column "company" is missing\n), 'a column is missing');
    ($code, $text) = load('products', "gtin,name,company,colour\n");
    is("$code $text", qq(1 FILE:1: there is no column "colour" in products\n), 'a column too many');
    ($code, $text) = load('products', "gtin,gtin,name,company\n");
    is("$code $text", qq(1 FILE:1: the column "gtin" stands there twice\n), 'a column twice');
    ($code, $text) = load('products', '');
    is("$code $text", "1 FILE: the file is empty, a header line is needed\n", 'empty');
    ($code, $text) = load('products', qq($header\n$gtin,"x,y,,,\n));
    is("$code $text", "1 FILE:2: a quoted field does not end\n", 'a quote');
    ($code, $text) = load('products', "$header\n$gtin,\xff\xfe,y,,,\n");
    is($code, 1, 'not UTF-8');
    like($text, qr/^FILE:2: /, 'not UTF-8: told');
    fails(2, qr/load products, locations, keys or markets/, 'load', 'horses', 'x');
    fails(2, qr/No such file/, 'load', 'products', $sv->base . '/none');
};

subtest 'load locations' => sub {
    my $header = 'gln,name,role,company,country,lat,lon';

    my ($code, $text) = load('locations', "$header\n$gln,Farmacia,pharmacy,,IT,41.9028,12.4964\n9506000140032,Acme,manufacturer,acme,CH,,\n");
    is("$code $text", "0 locations: 2 rows, 2 new or changed\n", 'loaded');

    complains('locations', ',x,pharmacy,,IT,,', 'gln: is missing', $header);
    complains('locations', '950600013435,x,pharmacy,,IT,,', 'gln "950600013435": a GLN has 13 digits', $header);
    complains('locations', '9506000134353,x,pharmacy,,IT,,', 'gln "9506000134353": the check digit', $header);
    complains('locations', "$gln,,pharmacy,,IT,,", 'name: is missing', $header);
    complains('locations', "$gln,x,king,,IT,,", 'role: one of pharmacy, ', $header);
    complains('locations', "$gln,x,manufacturer,,IT,,", 'company: is missing', $header);
    complains('locations', "$gln,x,pharmacy,,it,,", 'country: two capital letters', $header);
    complains('locations', "$gln,x,pharmacy,,ITA,,", 'country: two capital letters', $header);
    complains('locations', "$gln,x,pharmacy,,IT,north,1", 'lat "north": a number', $header);
    complains('locations', "$gln,x,pharmacy,,IT,91,1", 'lat: degrees from -90 to 90', $header);
    complains('locations', "$gln,x,pharmacy,,IT,1,", 'lon: latitude and longitude|lat: latitude and longitude', $header);
};

subtest 'keys' => sub {
    my $text = works(qr/^svk_[A-Za-z0-9_-]{43}$/m, 'key', 'create', '--gln', $gln, '--days', '30');
    my ($key) = $text =~ /^(svk_\S+)$/m;

    is($sv->sql(q{select count(*) from sv.credential where sha256 = decode(?, 'hex')}, sha256_hex($key)), 1, 'its digest is stored');
    is($sv->sql(q{select count(*) from sv.audit where detail::text like '%' || ? || '%'}, $key), 0, 'the key itself nowhere');
    cmp_ok($sv->sql(q{select extract(epoch from not_after - now()) / 86400 from sv.credential}), '>', 29.9, 'until');

    my ($second) = works(qr/^svk_/m, 'key', 'create', '--gln', $gln) =~ /^(svk_\S+)$/m;
    isnt($second, $key, 'another one');
    fails(1, qr/has two valid API keys, revoke one first/, 'key', 'create', '--gln', $gln);
    works(qr/^revoked$/, 'key', 'revoke', '--key', $key);
    works(qr/^was revoked already$/, 'key', 'revoke', '--sha256', sha256_hex($key));
    works(qr/^svk_/m, 'key', 'create', '--gln', $gln);

    my $digest = sha256_hex($key);
    my $list = works(qr/^$digest  api_key      revoked  \S+Z  \S+Z$/m, 'key', 'list', '--gln', $gln);
    is(scalar(() = $list =~ /  valid    /g), 2, 'two of the list are valid');
    unlike($list, qr/svk_/, 'and no key is in it');
    fails(1, qr/there is no location with this GLN/, 'key', 'list', '--gln', '9506000140001');
    fails(2, qr/key needs --gln/, 'key', 'list');

    fails(2, qr/key create, key list or key revoke/, 'key');
    fails(2, qr/key needs --gln/, 'key', 'create');
    fails(2, qr/--gln "950600013435x": a GLN is all digits/, 'key', 'create', '--gln', '950600013435x');
    fails(2, qr/--gln "9506000134353": the check digit/, 'key', 'create', '--gln', '9506000134353');
    fails(2, qr/--days "0": a number from 1 to 3650/, 'key', 'create', '--gln', $gln, '--days', '0');
    fails(1, qr/there is no location 9506000140001/, 'key', 'create', '--gln', '9506000140001');
    fails(2, qr/needs --key or --sha256/, 'key', 'revoke');
    fails(2, qr/sha256: 64 hexadecimal digits/, 'key', 'revoke', '--sha256', 'abc');
    fails(1, qr/there is no such credential/, 'key', 'revoke', '--key', 'svk_none');

    my $certificate = sha256_hex('certificate');
    my ($code, $said) = load('keys', "sha256,kind,gln,not_before,not_after\n$certificate,certificate,$gln,2026-01-01T00:00:00Z,2036-01-01T00:00:00+01:00\n");
    is("$code $said", "0 keys: 1 rows, 1 new or changed\n", 'a certificate');

    my $header = 'sha256,kind,gln,not_before,not_after';
    complains('keys', "abc,,$gln,,", 'sha256 "abc": 64 hexadecimal digits', $header);
    complains('keys', "$certificate,smile,$gln,,", 'kind: api_key or certificate', $header);
    complains('keys', "$certificate,,9506000140001,,", 'gln: there is no location', $header);
    complains('keys', sha256_hex('x') . ",certificate,$gln,soon,", 'not_before "soon": a time such as', $header);
    complains('keys', sha256_hex('x') . ",certificate,$gln,,2020-01-01T00:00:00Z", 'not_after: is past', $header);
};

subtest 'PostgreSQL cannot be reached' => sub {
    $sv->stop('postgres');
    fails(3, qr/PostgreSQL: /, 'status');
    fails(3, qr/PostgreSQL: /, 'recall', '--gtin', $gtin, '--lot', 'L1', '--reason', 'x');
    fails(3, qr/PostgreSQL: /, 'load-file', $sv->write_file('x.csv', 'x'));
};

$sv->done_testing;
