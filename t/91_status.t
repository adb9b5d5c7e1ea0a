#!/usr/bin/perl

# What somebody on duty is told: what waits, what was found, what needs a person.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json);
use Test::More;

use Test::SerialVerify;

my $gtin = '09506000134352';
my $sv   = Test::SerialVerify->new(day => 120);

$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


sub status {
    my ($code, $text) = $sv->command('status', '--json');

    die $text if $code != 0;

    return decode_json($text);
}


# the sentences that match, of a status read now
sub told {
    my ($pattern) = @_;

    return scalar grep { $_ =~ $pattern } @{status()->{attention}};
}


sub deliver {
    my ($name, $content) = @_;

    $sv->deliver($name, $content);
    wait_for { $sv->filed($name) =~ /done|rejected/ } "$name to be filed";

    return;
}


subtest 'nothing runs' => sub {
    my ($code, $text) = $sv->command('status');

    is($code, 0, 'code');
    like($text, qr/^running +nothing: no process is connected$/m, 'running');
    like($text, qr/^This needs a person:\n  - no process with the role relay is connected: .* start serial-verify-worker run\n  - no process with the role housekeeping/m,
        'and that it should');
};

subtest 'all is well' => sub {
    $sv->start_worker(housekeeping_interval => '100ms');
    wait_for { 4 == keys %{status()->{running}} } 'the roles';

    my ($code, $text) = $sv->command('status');
    like($text, qr/^running +(?=.*ingest 1)(?=.*relay 1)(?=.*housekeeping 1)(?=.*consume 1)/m, 'running');
    like($text, qr/^Nothing needs a person\.\n\z/m, 'said in words');
};

subtest 'quarantine' => sub {
    my $event = Test::SerialVerify::HTTP::encode({type => 'ObjectEvent', action => 'ADD', bizStep => 'commissioning', eventTime => '2026-11-01T10:00:00Z',
        eventTimeZoneOffset => '+00:00', epcList => ["https://id.gs1.org/01/$gtin/21/Q1"]});

    deliver('q.json', $event);
    is(told(qr/^1 event waits in quarantine: serial-verify-worker quarantine list$/), 1, 'told');

    my ($code, $text) = $sv->command('quarantine', 'list');
    my ($id) = $text =~ /^(\d+) /m;
    is(($sv->command('quarantine', 'discard', $id, '--reason', 'a test'))[0], 0, 'decided');
    is(told(qr/quarantine/), 0, 'and told no more');
};

subtest 'findings' => sub {
    deliver('one.csv', "gtin,serial,lot,expiry\n$gtin,F1,L1,301231\n");
    deliver('two.csv', "gtin,serial,lot,expiry\n$gtin,F1,L2,301231\n$gtin,F 2,L2,301231\n");

    is(told(qr/^1 finding of the rule duplicate_commissioning in the last day: serial-verify-worker findings --rule duplicate_commissioning$/), 1, 'told');
    is(told(qr/^\d files? w(?:as|ere) loaded in part in the last day: /), 1, 'so is the file');

    my ($code, $text) = $sv->command('findings', '--rule', 'duplicate_commissioning');
    is($code, 0, 'findings');
    like($text, qr/^\S+Z  duplicate_commissioning  $gtin serial F1 lot L2\n    .*"file": "one\.csv".*"file": "two\.csv"/m, 'names both files');

    ($code, $text) = $sv->command('findings', '--json', '--gtin', $gtin);
    is(decode_json($text)->{serial}, 'F1', 'as JSON');

    $sv->sql(q{update sv.finding set detail = detail || '{"explained": true}'});
    is(told(qr/duplicate_commissioning/), 0, 'one that is explained needs nobody');
    like(($sv->command('findings'))[1], qr/^no open finding of the last 7 days$/, 'and is not listed');
    like(($sv->command('findings', '--all'))[1], qr/serial F1/, 'but with --all');

    for my $bad (['--days', 'x'], ['--days', '99999'], ['--limit', '-1'], ['--gtin', '1'], ['--colour', 'red']) {
        is(($sv->command('findings', @{$bad}))[0], 2, "@{$bad}");
    }
};

subtest 'a container without packs' => sub {
    my $packing = Test::SerialVerify::HTTP::encode({type => 'AggregationEvent', action => 'ADD', bizStep => 'packing', eventTime => '2026-11-01T10:00:00Z',
        eventTimeZoneOffset => '+00:00', parentID => 'https://id.gs1.org/00/095060001343520000', childEPCs => ["https://id.gs1.org/01/$gtin/21/P1"]});

    deliver('p.json', $packing);
    is(status()->{parked}{waiting}, 1, 'waits');
    is(told(qr/never commissioned/), 0, 'nobody is needed yet');
    $sv->sql(q{update sv.parked set deadline = now(), next_at = now()});
    wait_for { status()->{parked}{overdue} } 'its deadline';
    is(told(qr/^1 event waits for packs that were never commissioned: serial-verify-worker findings --rule commissioning_missing$/), 1, 'told');
    like(($sv->command('findings', '--rule', 'commissioning_missing'))[1], qr/serial P1/, 'which');

    deliver('late.csv', "gtin,serial,lot,expiry\n$gtin,P1,L3,301231\n");
    deliver('sscc.json', Test::SerialVerify::HTTP::encode({type => 'ObjectEvent', action => 'ADD', bizStep => 'commissioning', eventTime => '2026-11-01T09:00:00Z',
        eventTimeZoneOffset => '+00:00', epcList => ['https://id.gs1.org/00/095060001343520000']}));
    $sv->sql(q{update sv.parked set next_at = now()});
    wait_for { !status()->{parked}{overdue} } 'what was missing has come';
    is(told(qr/never commissioned/), 0, 'told no more');
};

subtest 'what stands still' => sub {
    $sv->sql(q{insert into sv.push (target, error, error_at, refused, attempts) values ('https://partner.example/capture', 'HTTP 400: no', now(), true, 1)});
    is(told(qr{^the receiver https://partner\.example/capture refuses what is pushed \(HTTP 400: no\): nothing more is sent}), 1, 'push');

    $sv->sql(q{insert into sv.capture (capture_id, location_id, company, host, file, digest, bytes, whole, state, created_at)
        values (gen_random_uuid(), 1, '', 'elsewhere', 'x', '', 0, true, 'queued', now() - interval '1 hour')});
    is(told(qr/^1 capture waits on elsewhere, the oldest since 36\d\d s: does the role ingest run there/), 1, 'captures');

    $sv->sql(q{insert into sv.audit_day (head, kind, day, system, first_n, last_n, hash, previous, key, signature, at)
        values (1, 'day', (now() at time zone 'UTC')::date - 5, 'x', 1, 0, '', '', '', '', now())});
    is(told(qr/^no head of the audit chain is signed for \d{4}-\d\d-\d\d: /), 1, 'heads');

    $sv->stop('worker');
    $sv->sql(qq{insert into sv.outbox (gtin, audit_id, at) values ($gtin, gen_random_uuid(), now() - interval '10 minutes')});
    is(told(qr/^no process with the role relay/), 1, 'the relay');
    is(status()->{outbox}{rows}, 1, 'the outbox');
};

$sv->done_testing;
