#!/usr/bin/env perl

# /status, /metrics and the variables for logs: the numbers are right.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use Test::SerialVerify;
use Test::SerialVerify::Answer;

my $gtin = 9506000134352;
my $root = Test::SerialVerify::root();

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
my $here = $sv->actor('pharmacy', country => 'IT', gln => '9506000100012');
my $mah  = $sv->actor('manufacturer', company => 'acme');
$sv->pack_row($gtin, 'SERIAL-1');
$sv->pack_row($gtin, $_) for qw(SERIAL-2 SERIAL-3);
$sv->recall_lot($gtin, 'LOT9');

my @variables = Test::SerialVerify::slurp("$root/src/http/ngx_sv_variables.c") =~ /ngx_string\("(serial_verify_\w+)"\)/g;
my ($sample)  = Test::SerialVerify::slurp("$root/conf/nginx.conf") =~ /^(    log_format pack .*?;)$/ms or die 'the sample has no log_format';
my $home      = $sv->base . '/nginx';
my $format    = 'log_format all ' . join(' ', map { "'$_=\$$_ '" } @variables) . q( 'end';);

my %gateway = (
    workers => 2,
    verify  => {deadline => '5s', redis_timeout => '2s', miss_budget => ['3', '1d'], anonymous_floor => '0'},
    http    => "$format\n$sample",
    server  => "access_log $home/all.log all; access_log $home/pack.log pack;",
);
$sv->start_nginx(%gateway);

sub status { return $sv->get('/status')->{json} }

# Prometheus' text format: {name{labels} => value}; complains about what is not allowed in it
sub metrics {
    my $answer = $sv->get('/metrics');
    my (%value, %type, %help, @faults, $family);

    push @faults, "Content-Type: $answer->{headers}{'content-type'}" if $answer->{headers}{'content-type'} !~ m{^text/plain; version=0\.0\.4};
    push @faults, 'the last line does not end' if $answer->{body} !~ /\n\z/;

    for my $line (split /\n/, $answer->{body}) {
        if ($line =~ /^# HELP ([a-z_]+) (\S.*)$/) {
            push @faults, "$1 is described twice" if $help{$1}++;
            $family = $1;

        } elsif ($line =~ /^# TYPE ([a-z_]+) (counter|gauge|histogram)$/) {
            push @faults, "TYPE of $1 without its HELP" if ($family // '') ne $1;
            $type{$1} = $2;

        } elsif ($line =~ /^([a-z_]+)((?:\{[a-z]+="[^"\\]*"(?:,[a-z]+="[^"\\]*")*\})?) (-?\d+(?:\.\d+)?)$/) {
            my ($name, $labels, $number) = ($1, $2, $3);
            my $of = $type{$family} eq 'histogram' ? $name =~ s/_(?:bucket|sum|count)$//r : $name;
            push @faults, "$name does not belong to $family" if $of ne $family;
            push @faults, "$name$labels twice" if exists $value{"$name$labels"};
            push @faults, "the counter $name does not end in _total" if $type{$family} eq 'counter' && $name !~ /_total$/;
            $value{"$name$labels"} = $number;

        } else {
            push @faults, "not understood: $line";
        }
    }

    return (\%value, \@faults, \%type);
}


subtest 'metrics are Prometheus text' => sub {
    my ($value, $faults, $type) = metrics();

    is_deeply($faults, [], 'well formed');
    cmp_ok(scalar keys %{$value}, '>', 60, 'and many');

    my %documented = map { $_ => 1 } Test::SerialVerify::slurp("$root/docs/api.md") =~ /^\| `(serial_verify_\w+)/mg;
    is_deeply([sort keys %documented], [sort keys %{$type}], 'docs/api.md has every one');
};


# What each request adds to the counters.
my $link  = $sv->link_to($gtin, 'SERIAL-1');
my $key   = $here->{key};
my $total = sub { my ($name, $labels) = @_; return "serial_verify_${name}_total" . ($labels ? "{$labels}" : '') };

my @requests = (
    ['a verify', [GET => $link, key => $key], {verdicts => 'result="verified"', lookups => 'source="database"'}],
    ['one from the cache', [GET => $link, key => $key], {verdicts => 'result="verified"', lookups => 'source="cache"'}],
    ['an unknown one', [GET => $sv->link_to($gtin, 'NOSUCH'), key => $key],
        {verdicts => 'result="unknown"', lookups => 'source="database"', alerts => ''}],
    ['one asked for silently', [GET => $sv->link_to($gtin, 'NOSUCH') . '&alert=no', key => $key],
        {verdicts => 'result="unknown"', lookups => 'source="database"'}],
    ['a scanner', [GET => $sv->link_to($gtin, 'serial-1'), key => $key],
        {verdicts => 'result="unknown"', lookups => 'source="database"', hints => ''}],
    ['the public', [GET => $sv->link_to($gtin, 'NOSUCH')], {verdicts => 'result="unknown"', lookups => 'source="database"'}],
    ['an operation', [POST => $link, key => $key, idempotency => 'k1', body => {operation => 'supply'}], {operations => 'result="changed"'}],
    ['its replay', [POST => $link, key => $key, idempotency => 'k1', body => {operation => 'supply'}], {operations => 'result="replayed"'}],
    ['a pack in use', [GET => $link, key => $key], {verdicts => 'result="not_verified"', lookups => 'source="cache"'}],
    ['a refusal that alerts', [POST => $link, key => $key, idempotency => 'k2', body => {operation => 'sample'}],
        {operations => 'result="refused"', alerts => ''}],
    ['replayed, no new alert', [POST => $link, key => $key, idempotency => 'k2', body => {operation => 'sample'}], {operations => 'result="replayed"'}],
    ['a scanner, in an operation', [POST => $sv->link_to($gtin, 'serial-1'), key => $key, idempotency => 'k3', body => {operation => 'supply'}],
        {operations => 'result="refused"', hints => ''}],
    ['no permission', [POST => $link, key => $mah->{key}, idempotency => 'k1', body => {operation => 'supply'}], {operations => 'result="refused"'}],
    ['a bad URL', [GET => '/01/x', key => $key], {malformed => ''}],
    ['a bad body', [POST => $link, key => $key, idempotency => 'k', body => '{'], {malformed => ''}],
    ['a wrong key', [GET => $link, key => 'k' x 30], {unauthorized => ''}],
    ['a list', [POST => '/packs', key => $key, body => [{scan => '(01)09506000134352(21)SERIAL-3'}, {scan => '(01)09506000134352(21)SERIAL-2(10)LOT1(17)301231',
        operation => 'supply', key => 'k9'}, {scan => 'x'}]], {bulk_requests => '', operations => 'result="changed"', verdicts => 'result="verified"', lookups => 'source="database"'},
        {$total->('bulk_lines') => 2}],
    ['nothing of ours', [GET => '/elsewhere'], {}],
);

subtest 'every request is counted once' => sub {
    for my $case (@requests) {
        my ($name, $request, $expected, $more) = @{$case};

        Test::SerialVerify::wait_for { scalar $sv->redis->keys('*:SERIAL-1') } 'the fill' if $name =~ /cache/;
        my ($before) = metrics();
        my ($method, $target, %option) = @{$request};
        $sv->request($method, $target, %option);
        my ($after) = metrics();

        my %grown = map { ($_ => $after->{$_} - $before->{$_}) } grep { /_total/ && !/_events_/ && $after->{$_} != $before->{$_} } keys %{$after};
        is_deeply(\%grown, {(map { ($total->($_, $expected->{$_}) => 1) } keys %{$expected}), %{$more // {}}}, $name);
    }

    my $limited = $total->('limited');
    my ($before) = metrics();
    $sv->get($sv->link_to($gtin, 'NOSUCH')) for 1 .. 4;
    my ($after) = metrics();
    cmp_ok($after->{$limited}, '>', $before->{$limited}, 'an anonymous prefix over its budget');
};


subtest 'histograms' => sub {
    my ($value) = metrics();

    for my $what (qw(verify operate bulk)) {
        my @bounds = map { [$_, $value->{"serial_verify_duration_seconds_bucket{what=\"$what\",le=\"$_\"}"}] }
            qw(0.001 0.002 0.005 0.010 0.025 0.050 0.100 0.250 0.300 0.500 1.000 5.000 +Inf);
        is(scalar(grep { !defined $_->[1] } @bounds), 0, "$what: every bucket");
        is_deeply([map { $_->[1] } @bounds], [sort { $a <=> $b } map { $_->[1] } @bounds], "$what: cumulative");
        is($bounds[-1][1], $value->{"serial_verify_duration_seconds_count{what=\"$what\"}"}, "$what: the last is all");
        cmp_ok($bounds[-1][1], '>', 0, "$what: counted");
        cmp_ok($value->{"serial_verify_duration_seconds_sum{what=\"$what\"}"}, '<', 60, "$what: seconds, not milliseconds");
    }

    my $verdicts = 0;
    $verdicts += $value->{$total->('verdicts', "result=\"$_\"")} for qw(verified not_verified unknown unavailable);
    is($value->{'serial_verify_duration_seconds_count{what="verify"}'}, $verdicts - 1, 'a time for every single verdict');
};


subtest '/status' => sub {
    my $status = Test::SerialVerify::wait_for { my $s = status(); $s->{worker_processes} == 2 && $s } 'both processes';

    is_deeply([sort keys %{$status}], [qw(counters events operations_in_flight postgres redis reference_data status worker worker_processes)], 'members');
    is($status->{status}, 'ok', 'ok');
    is($status->{postgres}{$_->[0]}{ready}, 2 * $_->[1], "connections: $_->[0]") for [read => 2], [write => 4], [bulk => 2];
    is_deeply($status->{redis}, {configured => JSON::PP::true(), ready => 2}, 'Redis');
    is($status->{operations_in_flight}, 0, 'nothing under way');

    my $ref = $status->{reference_data};
    is_deeply([map { $ref->{$_} } qw(credentials locations products recalled_lots)], [2, 2, 1, 1], 'what is copied');
    is($ref->{change}, $sv->sql('select n from sv.ref_clock'), 'how far');
    ok($ref->{complete} && !$ref->{stale} && !$ref->{full}, 'complete and fresh');
    cmp_ok($ref->{used_bytes}, '<', $ref->{size_bytes}, 'it fits');

    my ($value) = metrics();
    is($status->{counters}{op_changed}, $value->{$total->('operations', 'result="changed"')}, 'the same numbers as in the metrics');

    my $head = $sv->request('HEAD', '/status');
    is($head->{status}, 200, 'HEAD');
    is($head->{body}, '', 'without a body');
};


subtest '/status as a page' => sub {
    my $page = $sv->get('/status', headers => {Accept => 'text/html,application/xhtml+xml,*/*;q=0.8'});
    is($page->{status}, 200, 'a browser asks');
    is($page->{headers}{'content-type'}, 'text/html; charset=utf-8', 'and gets a page');
    like($page->{body}, qr{^<!doctype html><html lang="en">.*</html>\n\z}s, 'a whole one');
    unlike($page->{body}, qr/<script|http:|\bsrc=/, 'that loads nothing');
    like($page->{body}, qr/^\s*status: ok$/m, 'with the status');
    like($page->{body}, qr/^\s*op_changed: \d+$/m, 'and the counters');

    like($sv->get('/status', headers => {Accept => 'application/json'})->{headers}{'content-type'}, qr{^application/json}, 'others get JSON');
    like($sv->get('/status', headers => {Accept => '*/*'})->{headers}{'content-type'}, qr{^application/json}, 'who takes anything too');
};


subtest 'variables' => sub {
    my %line;
    my $read = sub {
        my ($answer, $file) = @_;
        my $id = $answer->{headers}{'x-request-id'};
        return Test::SerialVerify::wait_for { (grep { /$id/ } split /\n/, Test::SerialVerify::slurp("$home/$file.log"))[0] } 'the log';
    };
    my $logged = sub {
        my ($answer) = @_;
        my $text = $read->($answer, 'all');
        return {$text =~ /serial_verify_(\w+)=(\S+)/g};
    };

    my $gln   = '9506000100012';
    my @cases = (
        [[GET => $link, key => $key, headers => {'Entry-Mode' => 'manual'}],
            {reason => 'already_supplied_here', source => 'cache', alert => '-', changed => 0, operation => 'verify', gtin => '09506000134352',
                location => $gln, role => 'pharmacy', entry_mode => 'manual', stale => 0}, 'a verify'],
        [[POST => $link, key => $key, idempotency => 'v1', body => {operation => 'undo', of => 'supply', entry_mode => 'scanned'}],
            {reason => 'ok', source => '-', alert => '-', changed => 1, operation => 'undo', entry_mode => 'scanned', role => 'pharmacy'}, 'an operation'],
        [[GET => $sv->link_to($gtin, 'NOSUCH'), key => $key],
            {reason => 'serial_unknown', source => 'database', alert => qr/^IT-/, changed => 0}, 'an alert'],
        [[POST => '/scan', key => $key, body => {scan => '(01)09506000134352(21)SERIAL-1'}],
            {reason => 'ok', source => 'cache', gtin => '09506000134352', operation => 'verify'}, 'a scan'],
        [[GET => $link], {reason => 'too_many_misses', location => '-', role => '-', gtin => '09506000134352'}, 'the public'],
        [[GET => '/01/x', key => $key], {reason => 'ai_value_too_short', gtin => '-', location => $gln}, 'a bad URL'],
        [[GET => $link, key => 'k' x 30], {reason => 'credential_unknown', location => '-'}, 'a wrong key'],
        [[GET => $link, key => $key, headers => {'Entry-Mode' => 'not-for-the-log'}], {reason => 'entry_mode_unknown', entry_mode => '-'},
            'a bad header'],
    );

    for my $case (@cases) {
        my ($request, $expected, $name) = @{$case};
        my ($method, $target, %option) = @{$request};
        my $answer = $sv->request($method, $target, %option);
        my @faults = member_faults($logged->($answer), {%{$expected}, request_id => $answer->{headers}{'x-request-id'}});
        is(join("\n", @faults), '', $name);
        like($read->($answer, 'pack'), qr/^2\d{3}-\S+ \d{3} \d\.\d{3} [0-9a-f]{32} gtin=/, "$name, in the format of the sample");
    }

    my $pack_log = Test::SerialVerify::slurp("$home/pack.log");
    unlike($pack_log, qr/SERIAL-|NOSUCH|serial-1|LOT1|127\.0\.0\.1|key-|not-for-the-log/, 'no serial, no lot, no address and no key in the sample\'s log');
    unlike($sv->log_of('nginx'), qr/SERIAL-|NOSUCH/, 'nor in the error log');
};


# The status as soon as it is another one.
sub becomes {
    my ($expected, $name) = @_;

    eval { Test::SerialVerify::wait_for { status()->{status} eq $expected } $name; 1 } or diag($@);
    is(status()->{status}, $expected, $name);

    return;
}

subtest 'health' => sub {
    $sv->stop('redis');
    becomes('degraded', 'without Redis: degraded');
    is(status()->{redis}{ready}, 0, 'and why');
    is($sv->get($link, key => $key)->{status}, 200, 'answers come');

    $sv->start_redis;
    becomes('ok', 'ok again');

    $sv->stop('postgres');
    becomes('down', 'without PostgreSQL: down');
    my ($value) = metrics();
    is($value->{'serial_verify_postgres_connections_ready{pool="write"}'}, 0, 'and why');
    is($sv->get('/status')->{status}, 200, 'the page itself always answers');

    $sv->start_postgres;
    becomes('ok', 'ok again');
};

$sv->done_testing;
