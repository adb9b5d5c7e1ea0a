#!/usr/bin/env perl

# From the counter to the reviewer: scans at two gateways become cases, which are
# in the list, on the stream and at the webhook, once each, and soon; replay says
# the same of them, and a dry run leaves no trace.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP qw(decode_json);
use MIME::Base64 qw(encode_base64);
use Test::More;
use Test::SerialVerify;
use Test::SerialVerify::Receiver;
use Time::HiRes qw(time);

my $gtin = 9506000134352;
my $sv   = Test::SerialVerify->new(day => 180);

# autovacuum off: whatever takes a transaction number is ours
$sv->start_postgres(settings => ['autovacuum=off']);
$sv->start_redis;
$sv->product($gtin);

my %place = (IT => [45.46, 9.19], DE => [52.52, 13.40], FR => [48.85, 2.35], BR => [-23.55, -46.63], JP => [35.68, 139.69], KE => [-1.29, 36.82]);
my %site  = map { $_ => $sv->actor('pharmacy', country => substr($_, 0, 2), lat => $place{substr $_, 0, 2}[0], lon => $place{substr $_, 0, 2}[1]) } qw(IT IT2 DE FR BR);
my $desk  = $sv->actor('reviewer');

my $receiver = Test::SerialVerify::Receiver->start($sv);
my $secret   = 'whsec_' . encode_base64('0123456789abcdef0123456789abcdef', '');
my $file     = $sv->write_file('notify-secret', "$secret\n");
chmod oct('600'), $file;

my @gateways = qw(nginx second);
my @where    = ('country=$http_x_country', 'lat=$http_x_lat', 'lon=$http_x_lon', 'accuracy=5');
my $turn     = 0;
my (%case, @took);

sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


# the gateways take turns
sub gateway { return $gateways[$turn++ % @gateways] }

sub link_of { my ($serial, $lot) = @_; return $sv->link_to($gtin, $serial, lot => $lot) }

sub verify {
    my ($serial, $lot, $site) = @_;

    return $sv->get(link_of($serial, $lot), key => $site{$site}{key}, nginx => gateway())->{json}{reason};
}

sub consumer {
    my ($serial, $lot, $country, $agent) = @_;

    return $sv->get(link_of($serial, $lot), nginx => gateway(),
        headers => {'User-Agent' => $agent, 'X-Country' => $country, 'X-Lat' => $place{$country}[0], 'X-Lon' => $place{$country}[1]})->{json}{verified};
}

sub operate {
    my ($operation, $serial, $lot, $site) = @_;

    return $sv->post(link_of($serial, $lot), qq({"operation":"$operation","entry_mode":"scanned"}), key => $site{$site}{key}, nginx => gateway(),
        idempotency => "$operation-$serial-$site")->{json}{reason};
}

# feed(NAME, "SERIAL,LOT[,MARKET]"..): a file of a line, loaded
sub feed {
    my ($name, @packs) = @_;

    $sv->deliver("$name.csv", join '', "gtin,serial,lot,expiry,market\n", map { my ($serial, $lot, $market) = split /,/; "0$gtin,$serial,$lot,301231," . ($market // '') . "\n" } @packs);
    wait_for { $sv->filed("$name.csv") eq 'done' } "$name.csv to be loaded";

    return;
}

# the cases of a serial, as the reviewer lists them
sub listed {
    my ($serial) = @_;

    my $answer = $sv->get("/alerts?gtin=$gtin&serial=$serial", key => $desk->{key});
    die $answer->{body} if $answer->{status} != 200;

    return @{$answer->{json}{alerts}};
}

# deciding(NAME, SERIAL, SCAN): the case that asks after it; how long it took counts
sub deciding {
    my ($name, $serial, $scan) = @_;

    my $reason = $scan->();
    my $start  = time;
    my $case   = wait_for { (grep { !$_->{proposed_closure} && $_->{severity} ne 'info' } listed($serial))[0] } "the case: $name";

    push @took, time - $start;
    $case{$name} = $case->{id};

    return ($case, $reason);
}


$sv->start_nginx(api => 1, verify => {gateway => 'gate-1', client_place => \@where});
$sv->start_nginx(name => 'second', verify => {gateway => 'gate-2', client_place => \@where});
$sv->start_worker($sv->api_settings, roles => 'ingest, relay, housekeeping, consume, notify, api', audit_key => undef,
    notify_url => $receiver->url, notify_secret_file => $file, notify_hold => '0s', notify_severity => 'info', notify_interval => '100ms');
wait_for { $sv->api_listens } 'the role api';
wait_for { $sv->get('/alerts', key => $desk->{key})->{status} == 200 } 'the reviewer';
wait_for { $sv->sql('select holder is not null from sv.judge') } 'the judge';

# all that is told from now on
$sv->start_server('watch', command => ['curl', '-sN', '-H', "Authorization: Bearer $desk->{key}", 'http://' . $sv->address . '/alerts/events']);
wait_for { $sv->log_of('watch') =~ /^:/m } 'the stream';

feed('line1', 'USED1,LOTA', 'DEAD1,LOTB', 'KNOWN1,LOTC', 'CLONE1,LOTD', 'HAND1,LOTG', (map {"OFF$_,LOTE,IT"} 1 .. 3),
    map { ("S$_,LS$_", "D$_,LD$_") } 1 .. 16);
wait_for { verify('D16', 'LD16', 'IT') eq 'ok' } 'what was loaded';
wait_for { $sv->sql("select count(*) from sv.scan where session is not null") || (consumer('KNOWN1', 'LOTC', 'IT', 'salt') && 0) } 'tokens of consumers';


subtest 'a pack that is used again' => sub {
    is(operate('supply', 'USED1', 'LOTA', 'IT'), 'ok', 'supplied');
    my ($case, $reason) = deciding('used', 'USED1', sub { operate('supply', 'USED1', 'LOTA', 'DE') });
    is("$reason $case->{rule} $case->{severity} $case->{status}", 'already_supplied supply_of_inactive high new', 'and again, elsewhere');
};

subtest 'a destroyed pack elsewhere' => sub {
    is(operate('destroy', 'DEAD1', 'LOTB', 'IT'), 'ok', 'destroyed');
    my ($case, $reason) = deciding('dead', 'DEAD1', sub { verify('DEAD1', 'LOTB', 'FR') });
    is("$reason $case->{rule} $case->{status}", 'destroyed dead_pack new', 'and seen elsewhere');
};

subtest 'a serial that is uploaded later' => sub {
    my ($case, $reason) = deciding('late', 'LATE1', sub { verify('LATE1', 'LOTC', 'IT') });
    is("$reason $case->{rule} $case->{status}", 'serial_unknown identifier_mismatch new', 'nobody knows it');
    feed('line2', 'LATE1,LOTC');
    my ($now) = wait_for { (grep { $_->{proposed_closure} } listed('LATE1'))[0] } 'the upload to explain it';
    is($now->{id}, $case->{id}, 'the same case, proposed for closure');
};

subtest 'a pack outside its markets' => sub {
    my ($case, $reason) = deciding('market', 'OFF1', sub { operate('supply', 'OFF1', 'LOTE', 'BR') });
    is("$reason $case->{rule} $case->{status}", 'ok off_market new', 'supplied abroad');
};

subtest 'a pack in two hands' => sub {
    is(verify('HAND1', 'LOTG', 'IT'), 'ok', 'here');
    my ($case) = deciding('hands', 'HAND1', sub { verify('HAND1', 'LOTG', 'BR') });
    is("$case->{rule} $case->{severity}", 'impossible_travel high', 'and there');
};

subtest 'a copy that consumers see, and a parameter that is changed' => sub {
    ok(consumer('CLONE1', 'LOTD', $_, "phone of $_"), "genuine in $_") for qw(IT JP BR);
    wait_for { $sv->sql(q{select count(distinct session) = 3 from sv.scan where serial = 'CLONE1'}) } 'three sessions';
    is(scalar(grep { $_->{severity} ne 'info' } listed('CLONE1')), 0, 'a link that goes round');

    my ($code, $text) = $sv->command('rules', 'set', 'shared.within=0', 'impossible_travel.hops=1');
    is($code, 0, 'rules set') or diag($text);
    wait_for { $sv->log_of('worker') =~ /the rules' parameters have changed/ } 'the judge to notice';
    my ($case) = deciding('clone', 'CLONE1', sub { consumer('CLONE1', 'LOTD', 'KE', 'phone of KE') });
    is("$case->{rule} $case->{severity} $case->{status}", 'impossible_travel medium new', 'asks now');
};

subtest 'how long it takes' => sub {
    my ($first, %took) = (scalar @took);

    for my $i (1 .. 16) {
        operate('supply', "S$i", "LS$i", 'IT');
        operate('destroy', "D$i", "LD$i", 'IT');
        deciding("supply $i", "S$i", sub { operate('supply', "S$i", "LS$i", 'IT2') });
        deciding("dead $i", "D$i", sub { verify("D$i", "LD$i", 'IT2') });
    }

    $took{$_ % 2 ? 'a verify' : 'an operation'}[@{$took{$_ % 2 ? 'a verify' : 'an operation'} // []}] = $took[$first + $_] for 0 .. $#took - $first;

    for (['a scan', @took], map { [$_, @{$took{$_}}] } sort keys %took) {
        my ($name, @sorted) = ($_->[0], sort { $a <=> $b } @{$_}[1 .. $#{$_}]);
        cmp_ok($sorted[@sorted / 2], '<', 2, sprintf '%d times, from the answer of %s to the case: median %.0f ms, worst %.0f ms',
            scalar @sorted, $name, 1000 * $sorted[@sorted / 2], 1000 * $sorted[-1]);
        diag(sprintf '%s: median %.0f ms, worst %.0f ms', $name, 1000 * $sorted[@sorted / 2], 1000 * $sorted[-1]);
    }

    cmp_ok(scalar @took, '>=', 30, 'scans that decided');
};

# nothing waits to be judged or told
wait_for {
    $sv->redis->xlen('sv:scans') == 0 && $sv->sql('select not exists (select from sv.outbox) and h.n = j.chain_n and not exists (select from sv.notification where sent_at is null)
        and not exists (select from sv.notify_target t, sv.case_clock k where t.n < k.n) from sv.audit_head h, sv.judge j')
} 'everything to be judged and told', 60;

$sv->judge_rests;


subtest 'each once' => sub {
    my %id = reverse %case;

    is(scalar keys %id, scalar keys %case, 'different cases');

    my @rows = @{$sv->get('/alerts?limit=500', key => $desk->{key})->{json}{alerts}};
    my (%listed, %told, %sent, %webhook, %n);
    $listed{$_->{id}}++ for @rows;

    my $last = $sv->sql('select n from sv.case_clock');
    wait_for { $sv->log_of('watch') =~ /^id: ?$last$/m } 'the stream';

    for my $event (map { decode_json($_) } $sv->log_of('watch') =~ /^data: ?(\{.*\})$/mg) {
        $n{$event->{n}}++;
        $told{$event->{alert}{id}}++ if $event->{kind} eq 'opened';
    }

    my ($code) = Test::SerialVerify::slurp($sv->root . '/docs/worker.md') =~ /^```perl\n(.*?)^```$/ms;
    my $genuine = eval "package Receiver::Check; $code; \\&genuine" or die $@;    ## no critic (ProhibitStringyEval)
    my $false = 0;

    for my $request ($receiver->begun) {
        my $body = Test::SerialVerify::slurp($sv->base . "/receiver/$request->{sha}");
        $genuine->(@{$request->{header}}{qw(webhook-id webhook-timestamp webhook-signature)}, $body, $secret) or $false++;
        $sent{$request->{header}{'webhook-id'}}++;
        my $notification = decode_json($body);
        $webhook{$notification->{data}{case}}{$notification->{type}}++;
    }

    is_deeply([grep { ($listed{$case{$_}} // 0) != 1 } sort keys %case], [], 'in the list');
    is_deeply([grep { ($told{$case{$_}} // 0) != 1 } sort keys %case], [], 'opened on the stream');
    is_deeply([grep { $n{$_} != 1 } keys %n], [], 'nothing is there twice');
    is(scalar keys %n, $sv->sql('select count(*) from sv.case_event'), 'nothing is missing');
    is_deeply([grep { ($webhook{$case{$_}}{'case.opened'} // 0) != 1 } sort keys %case], [], 'opened at the webhook');
    is($webhook{$case{late}}{'case.proposed_closure'}, 1, 'and proposed for closure');
    is_deeply([grep { $sent{$_} != 1 } keys %sent], [], 'no id twice');
    is($false, 0, 'all signed');
};


# the worker and the gateways rest: who changes anything now is not them
$sv->stop($_) for qw(watch worker), @gateways;

my @tables = map { $_->[0] } @{$sv->dbh->selectall_arrayref(q{select table_name from information_schema.tables where table_schema = 'sv' and table_type = 'BASE TABLE' order by 1})};

# every row of every table with who wrote it, and the next transaction's number
sub trace {
    return join "\n", $sv->sql('select pg_snapshot_xmax(pg_current_snapshot())'),
        map { "$_ " . $sv->sql("select count(*) || ' ' || coalesce(sum(hashtextextended(t::text || t.xmin::text || t.xmax::text, 0)), 0) from sv.$_ t") } @tables;
}

# replay(OPTION..): exit code, cases, what went to standard error
sub replay {
    my (@options) = @_;

    my $env = $sv->sanitizer_env('replay');
    local @ENV{keys %{$env}} = values %{$env};

    my $said  = $sv->base . '/replay.said';
    my @lines = split /\n/, join '', qx('@{[$sv->program('serial-verify-worker')]}' -c '@{[$sv->base]}/worker.conf' replay --from 2020-01-01 --to 2099-01-01 @options 2>'$said');

    return ($? >> 8, [map { decode_json($_) } @lines], Test::SerialVerify::slurp($said));
}

sub essence { return [sort map { join ' ', @{$_}{qw(rule severity status)}, sort @{$_->{serials}} } @_] }

my $before = trace();


subtest 'replay says the same' => sub {
    my ($code, $cases) = replay('--info');
    my $live = $sv->dbh->selectall_arrayref(q{select c.rule, c.severity::text, case when c.proposed_closure then 'proposed_closure' else 'new' end as status,
            array_agg(distinct s) as serials
        from sv.case c join sv.case_finding f using (gtin, case_id) cross join unnest(f.serials) s
        where c.status <> 'merged' and not f.withdrawn group by c.case_id, c.rule, c.severity, c.proposed_closure}, {Slice => {}});

    is($code, 0, 'code');
    cmp_ok(scalar @{$cases}, '>=', 38, 'cases');
    is_deeply(essence(@{$cases}), essence(@{$live}), 'as they are live');
    is(trace(), $before, 'without a trace');
};

subtest 'a rule is tried on history' => sub {
    my $rules = $sv->write_file('my.rules', "off_market.enabled = off\nsupply_of_inactive.enabled = off\n");
    my ($code, $cases, $log) = replay("--rules '$rules'");

    is($code, 0, 'code');
    is(scalar(grep { $_->{rule} =~ /^(?:off_market|supply_of_inactive)$/ } @{$cases}), 0, 'no such case');
    is(scalar(grep { $_->{rule} eq 'dead_pack' } @{$cases}), 17, 'the others are there');
    like($log, qr/dead_pack\W+17\b/, 'counts');
    is(trace(), $before, 'without a trace');
};

$receiver->stop;
$sv->done_testing;
