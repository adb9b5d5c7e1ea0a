#!/usr/bin/perl

# The reconciliation of a lot: what was declared, commissioned, rejected, packed and
# issued agrees, or one finding says what does not; it follows what comes later.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;

use Test::SerialVerify;

my $gtin  = '09506000134352';
my $bare  = '09506000134369';
my $sv    = Test::SerialVerify->new;
my $base  = $sv->base;
my $files = 0;

sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)

sub command {
    my ($code, @arguments) = @_;

    my ($got, $text) = $sv->command(@arguments);
    is($got, $code, "@arguments") or diag($text);

    return $text;
}

sub commission {
    my ($lot, @serials) = @_;

    my $file = $sv->write_file('load-' . ++$files . '.csv', join "\n", 'gtin,serial,lot,expiry', (map { "$gtin,$_,$lot,301231" } @serials), '');
    is(($sv->command('load-file', $file))[0], 0, "commissioned in $lot: " . @serials);

    return;
}

# One event as a feed tells it.
sub event {
    my (%event) = @_;

    my $time = sprintf '2026-11-20T10:%02d:%02dZ', $files / 60, $files++ % 60;
    my $document = {'@context' => [], type => 'EPCISDocument', schemaVersion => '2.0', creationDate => $time,
        epcisBody => {eventList => [{eventTime => $time, eventTimeZoneOffset => '+00:00', %event}]}};
    my ($code, $text) = $sv->command('load-file', $sv->write_file("event-$files.json", JSON::PP->new->canonical->encode($document)));
    is($code, 0, "event: $event{action} $event{bizStep}") or diag($text);

    return $time;
}

sub epcs { return [map { "https://id.gs1.org/01/$gtin/21/$_" } @_] }

sub request {
    my ($lot, $n) = @_;

    my ($id) = command(0, qw(serials request --line L7 --gtin), $gtin, '--n', $n, '--lot', $lot, '--out', "$base/numbers.csv") =~ /^request (\S+)/m;
    return ($id, map { /^\d{14},"(.*)"$/ ? $1 : () } split /\n/, Test::SerialVerify::slurp("$base/numbers.csv"));
}

# The open finding of a lot: its differences.
sub finding {
    my ($lot) = @_;

    my $rows = $sv->dbh->selectcol_arrayref(q{select detail from sv.finding where rule = 'lot_reconciliation' and lot = ? and not detail ? 'resolved'} =~ s/detail \?/detail \\?/r,
        undef, $lot);
    return if !@{$rows};
    is(scalar @{$rows}, 1, "$lot: one finding");

    return JSON::PP->new->decode($rows->[0])->{differences};
}

# Waits until the lot was reconciled with everything that is there now.
sub reconciled {
    my ($lot) = @_;

    my $now = $sv->sql('select clock_timestamp()');
    wait_for { $sv->sql('select reconciled_at > ? from sv.lot_reconciliation where lot = ?', $now, $lot) } "reconciliation of $lot";

    return;
}

sub shows {
    my ($lot, $code, $pattern) = @_;

    like(command($code, qw(lot show --gtin), $gtin, '--lot', $lot), $pattern, "lot show $lot");
    return;
}

$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
$sv->product($bare);
$sv->sql(q{update sv.setting set value = '0' where name = 'reconcile_minutes'});
$sv->worker_conf;
command(0, qw(serials rule --gtin), $gtin, qw(--alphabet 0123456789 --length 14 --reserve-days 30));
$sv->start_worker(roles => 'relay, housekeeping', housekeeping_interval => '100ms');


subtest 'a lot that agrees' => sub {
    my ($id, @serials) = request('GOOD', 60);
    commission('GOOD', @serials[0 .. 49]);
    event(type => 'ObjectEvent', action => 'DELETE', bizStep => 'decommissioning', epcList => epcs(@serials[50 .. 54]));
    event(type => 'ObjectEvent', action => 'ADD', bizStep => 'commissioning', epcList => ['https://id.gs1.org/00/095060000000000015']);
    event(type => 'AggregationEvent', action => 'ADD', bizStep => 'packing', parentID => 'https://id.gs1.org/00/095060000000000015', childEPCs => epcs(@serials[0 .. 49]));
    command(0, qw(serials return --gtin), $gtin, '--request', $id, '--unused');
    is(command(0, qw(lot declare --gtin), $gtin, qw(--lot GOOD --packs 50 --rejected 5 --aggregated 50)), "$gtin lot \"GOOD\": declared\n", 'declared');
    like(command(0, qw(lot declare --gtin), $gtin, qw(--lot GOOD --packs 50 --rejected 5 --aggregated 50)), qr/was declared so already/, 'again');
    reconciled('GOOD');
    is(finding('GOOD'), undef, 'no finding');
    shows('GOOD', 0, qr/^declared +50\ncommissioned +50\ndeclared rejected +5\nrejected +5\n.*^aggregated +50\nnumbers issued +60\nnumbers returned +5\nnumbers missing +0\noutside issued +0\n/ms);
};

subtest 'each figure that does not agree, and agrees later' => sub {
    my ($id, @serials) = request('DIFF', 30);
    commission('DIFF', @serials[0 .. 9], 'OUTSIDE1', 'OUTSIDE2');
    command(0, qw(lot declare --gtin), $gtin, qw(--lot DIFF --packs 20 --rejected 3 --aggregated 4));
    reconciled('DIFF');
    is_deeply(finding('DIFF'), {commissioned => {declared => 20, found => 12}, rejected => {declared => 3, found => 0},
        aggregated => {declared => 4, found => 0}, outside => 2, missing => 20}, 'all of them');
    shows('DIFF', 1, qr/does not agree: commissioned.*does not agree: missing|does not agree: missing.*does not agree: commissioned/s);

    commission('DIFF', @serials[10 .. 17]);
    event(type => 'ObjectEvent', action => 'DELETE', bizStep => 'decommissioning', epcList => epcs(@serials[18 .. 20]));
    wait_for { my $d = finding('DIFF'); $d && !$d->{commissioned} && !$d->{rejected} } 'it to follow';
    is_deeply(finding('DIFF'), {aggregated => {declared => 4, found => 0}, outside => 2, missing => 9}, 'what is left');

    event(type => 'AggregationEvent', action => 'ADD', bizStep => 'packing', parentID => 'https://id.gs1.org/00/095060000000000022', childEPCs => epcs(@serials[0 .. 3]));
    command(0, qw(serials return --gtin), $gtin, '--request', $id, '--unused');
    wait_for { my $d = finding('DIFF'); $d && !$d->{aggregated} && !$d->{missing} } 'it to follow again';
    is_deeply(finding('DIFF'), {outside => 2}, 'what nobody issued stays');
    is($sv->sql(q{select count(*) from sv.finding where rule = 'lot_reconciliation' and lot = 'DIFF'}), 1, 'one finding, replaced');

    # somebody takes them out of a container again
    event(type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', parentID => 'https://id.gs1.org/00/095060000000000022', childEPCs => epcs($serials[0]));
    wait_for { my $d = finding('DIFF'); $d && $d->{aggregated} } 'the unpacking';
    is_deeply(finding('DIFF')->{aggregated}, {declared => 4, found => 3}, 'counts');
};

subtest 'resolved, and not so again' => sub {
    commission('LATER', 'N1');
    $sv->sql(q{insert into sv.serial_number (gtin, request_id, serial) values (?, gen_random_uuid(), 'N1'), (?, gen_random_uuid(), 'N2'), (?, gen_random_uuid(), 'N3')}, $gtin, $gtin, $gtin);
    command(0, qw(lot declare --gtin), $gtin, qw(--lot LATER --packs 2));
    wait_for { finding('LATER') } 'a finding';
    commission('LATER', 'N2');
    wait_for { !finding('LATER') } 'all to agree';
    is($sv->sql(q{select count(*) from sv.finding where lot = 'LATER' and detail ->> 'resolved' is not null}), 1, 'resolved');
    commission('LATER', 'N3');
    wait_for { finding('LATER') } 'another finding';
    is($sv->sql(q{select count(*) from sv.finding where lot = 'LATER'}), 2, 'a new one');
};

subtest 'declared twice' => sub {
    command(0, qw(lot declare --gtin), $gtin, qw(--lot TWICE --packs 0));
    reconciled('TWICE');
    is(finding('TWICE'), undef, 'once');
    command(0, qw(lot declare --gtin), $gtin, qw(--lot TWICE --packs 7));
    wait_for { finding('TWICE') } 'a finding';
    is_deeply(finding('TWICE'), {declarations => 2}, 'the first stands, the other is told');
    shows('TWICE', 1, qr/^declared +0$/m);
};

subtest 'declared by a feed' => sub {
    $sv->sql(q{insert into sv.serial_number (gtin, request_id, serial) values (?, gen_random_uuid(), ?)}, $gtin, "F$_") for 1 .. 4;
    my %lot = (type => 'ObjectEvent', action => 'ADD', bizStep => 'commissioning', ilmd => {'cbvmda:lotNumber' => 'FEED', 'cbvmda:itemExpirationDate' => '2030-12-31'});
    my $declared = sub { return $sv->sql(q{select string_agg(packs::text, ' ' order by at) from sv.lot_declaration where lot = ?}, $_[0]) // '' };

    event(%lot, epcList => epcs('F1', 'F2'), quantityList => [{epcClass => "https://id.gs1.org/01/$gtin/10/FEED", quantity => 3}], eventID => 'urn:uuid:1a0c7b36-5f4b-4b2c-9f3e-4d5a6b7c8d90');
    wait_for { $declared->('FEED') eq '3' } 'the declaration';
    wait_for { finding('FEED') } 'the finding';
    is_deeply(finding('FEED'), {commissioned => {declared => 3, found => 2}}, 'a pack is missing');
    event(%lot, epcList => epcs('F3'));
    wait_for { !finding('FEED') } 'it to agree';

    # the end of a batch: an event of quantities only
    event(%lot, epcList => [], quantityList => [{epcClass => "https://id.gs1.org/01/$gtin/10/BATCH", quantity => 4}]);
    wait_for { $declared->('BATCH') eq '4' } 'the declaration without packs';

    event(%lot, epcList => epcs('F4'), quantityList => [{epcClass => 'urn:epc:class:lgtin:9506000.013435.URN', quantity => 2}, {epcClass => 'urn:epc:class:lgtin:9506000.013435.KILO', quantity => 2.5, uom => 'KGM'},
        {epcClass => 'urn:epc:class:lgtin:9506000.013437.GONE', quantity => 5}, {epcClass => 'nonsense', quantity => 1}]);
    wait_for { $declared->('URN') eq '2' } 'the declaration of a URN';
    is($declared->('KILO') . $declared->('GONE'), '', 'kilograms, and products that are not known, are none');
    is($sv->sql('select count(*) from sv.event_declared'), 3, 'each event is looked at once');
    is($sv->sql(q{select actor from sv.audit where operation = 'declare_lot' and lot = 'FEED'}), 'feed', 'audited');
};

subtest 'products whose numbers come from elsewhere' => sub {
    my $file = $sv->write_file('bare.csv', "gtin,serial,lot,expiry\n$bare,B1,BARE,301231\n");
    command(0, 'load-file', $file);
    command(0, qw(lot declare --gtin), $bare, qw(--lot BARE --packs 1));
    reconciled('BARE');
    is(finding('BARE'), undef, 'without a rule nothing is outside');
    command(0, qw(serials rule --gtin), $bare, '--opted-out');
    command(0, qw(lot declare --gtin), $bare, qw(--lot BARE2 --packs 0));
    reconciled('BARE2');
    is(finding('BARE'), undef, 'nor opted out');
};

subtest 'after their time' => sub {
    my ($id, @serials) = request('LATE', 2);
    $sv->sql(q{update sv.serial_request set reserved_until = now() - interval '1 minute' where request_id = ?::text::uuid}, $id);
    commission('LATE', @serials);
    command(0, qw(lot declare --gtin), $gtin, qw(--lot LATE --packs 2));
    reconciled('LATE');
    is(finding('LATE'), undef, 'is in order');
    shows('LATE', 0, qr/^after their time +2$/m);
};

subtest 'not before its time' => sub {
    $sv->sql(q{update sv.setting set value = '60' where name = 'reconcile_minutes'});
    command(0, qw(lot declare --gtin), $gtin, qw(--lot SOON --packs 9));
    command(0, qw(lot declare --gtin), $gtin, qw(--lot OLD --packs 9));
    $sv->sql(q{update sv.lot_reconciliation set touched_at = now() - interval '61 minutes' where lot = 'OLD'});
    wait_for { finding('OLD') } 'the lot of an hour ago';
    is(finding('SOON'), undef, 'the other waits');
};

my $mah = $sv->actor('manufacturer', company => 'acme');
my $foreign = $sv->actor('manufacturer', company => 'other');
my $authority = $sv->actor('authority');
my $shop = $sv->actor('pharmacy');

$sv->start_api;
$sv->start_nginx(api => 1, verify => {deadline => '5s'});

subtest 'by API' => sub {
    my $post = sub {
        my ($who, $body, $lot) = @_;
        return $sv->post("/lots/$gtin/" . ($lot // 'API'), JSON::PP->new->encode($body), key => $who->{key}, headers => {'Content-Type' => 'application/json'});
    };

    is($post->($mah, {packs => 5, rejected => 1})->{status}, 201, 'declared');
    my $again = $post->($mah, {packs => 5, rejected => 1});
    is($again->{status}, 200, 'again');
    is_deeply([@{$again->{json}{figures}}{qw(declared declared_rejected commissioned)}], [5, 1, 0], 'the figures');
    is_deeply($again->{json}{differences}{commissioned}, {declared => 5, found => 0}, 'the differences');
    is($again->{json}{declarations}[0]{by}, $sv->sql('select gln from sv.location where location_id = ?', $mah->{id}), 'who declared');
    is($sv->get("/lots/$gtin/API", key => $authority->{key})->{json}{figures}{declared}, 5, 'an authority may look');

    for my $case ([$post->($authority, {packs => 5}), 403, 'not_permitted', 'and not declare'], [$post->($foreign, {packs => 5}), 403, 'not_permitted', 'another company'],
        [$post->($shop, {packs => 5}), 403, 'not_permitted', 'a pharmacy'], [$post->($mah, {}), 400, 'member_missing', 'no packs'],
        [$post->($mah, {packs => -1}), 400, 'invalid_value', 'less than none'], [$post->($mah, {packs => 1, boxes => 1}), 400, 'member_unknown', 'boxes'],
        [$post->($mah, {packs => 5}, 'a%20b'), 400, 'invalid_value', 'no lot'],
        [$sv->get("/lots/$gtin/NOTHING", key => $mah->{key}), 404, 'not_found', 'a lot nobody knows'],
        [$sv->get("/lots/$gtin/GOOD", key => $foreign->{key}), 403, 'not_permitted', 'a look by another company']) {
        is($case->[0]{status}, $case->[1], "$case->[3]: status") or diag($case->[0]{body});
        is($case->[0]{json}{reason}, $case->[2], "$case->[3]: reason");
    }

    is($sv->get("/lots/$gtin/GOOD", key => $mah->{key})->{json}{figures}{commissioned}, 50, 'a lot');
};

subtest 'commands' => sub {
    like(command(2, 'lot'), qr/lot declare or lot show/, 'lot');
    like(command(2, qw(lot declare --lot X --packs x --gtin), $gtin), qr/--packs "x": a number is needed/, 'not a number');
    like(command(2, qw(lot declare --lot X --gtin), $gtin), qr/lot needs --packs/, 'no number');
    like(command(1, qw(lot show --lot NOTHING --gtin), $gtin), qr/nothing is known of lot NOTHING/, 'a lot nobody knows');
    like(command(1, qw(lot show --lot X --gtin 09506000134390)), qr/there is no product/, 'a product nobody knows');
};

$sv->done_testing;
