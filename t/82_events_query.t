#!/usr/bin/perl

# GET /epcis/events: the history of one pack or container, for who may see it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use JSON::PP;
use Test::More;

use Test::SerialVerify;

my $gtin    = '09506000134352';
my $foreign = '09506000164908';
my $sv      = Test::SerialVerify->new;
my $number  = 0;

$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin, company => 'acme');
$sv->product($foreign, company => 'bolt');

my $shop      = $sv->actor('pharmacy');
my $elsewhere = $sv->actor('pharmacy');
my $acme      = $sv->actor('manufacturer', company => 'acme');
my $bolt      = $sv->actor('manufacturer', company => 'bolt');
my $trade     = $sv->actor('wholesaler', company => 'trade');
my $law       = $sv->actor('authority');

$sv->start_api;
$sv->start_nginx(api => 1, verify => {deadline => '5s'});


sub epc { my ($serial, $code) = @_; return sprintf 'https://id.gs1.org/01/%s/21/%s', $code // $gtin, $serial }


sub sscc {
    my ($digits, $sum, $w) = (sprintf('09506000%09d', $_[0]), 0, 1);

    $sum += $_ * ($w = 4 - $w) for reverse split //, $digits;

    return $digits . (10 - $sum % 10) % 10;
}


sub container { return 'https://id.gs1.org/00/' . sscc($_[0]) }


# load(NAME, [TIME, EVENT]..)
sub load {
    my ($name, @list) = @_;

    my $document = {type => 'EPCISDocument', schemaVersion => '2.0', creationDate => '2026-11-20T12:00:00Z',
        '@context' => ['https://ref.gs1.org/standards/epcis/epcis-context.jsonld'],
        epcisBody => {eventList => [map { {type => 'ObjectEvent', eventTime => "2026-11-20T$_->[0]:00Z", eventTimeZoneOffset => '+00:00',
            %{$_->[1]}} } @list]}};
    my ($code, $text) = $sv->command('load-file', $sv->write_file($name, JSON::PP->new->canonical->encode($document)));

    is($code, 0, "$name is loaded") or diag($text);

    return;
}


sub operate {
    my ($who, $serial, $operation, $of) = @_;

    my $uuid = join '-', unpack 'A8 A4 A4 A4 A12', sha256_hex(join '-', $$, ++$number);
    my $row  = $sv->dbh->selectrow_hashref(
        q{select * from sv.operate(?, ?, 'L1', '2030-12-31', ?, ?, ?, ?, 'f', 'scanned', null, 'XX-1', ?::text::uuid, 'r')}, undef,
        $gtin, $serial, $operation, $of, $who->{id}, "key-$number", $uuid);

    is($row->{reason}, 'ok', "$operation $serial");

    return "urn:uuid:$uuid";
}


sub escape { my ($text) = @_; $text =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ge; return $text }


# ask(WHO, ITEM, ARGUMENT => VALUE..): the answer
sub ask {
    my ($who, $item, %argument) = @_;

    my $name = delete $argument{name} // 'MATCH_anyEPC';
    my $target = "/epcis/events?$name=" . escape($item) . join '', map { "&$_=" . escape($argument{$_}) } sort keys %argument;

    return $sv->get($target, key => $who->{key});
}


sub list {
    my ($answer) = @_;

    return @{$answer->{json}{epcisBody}{queryResults}{resultsBody}{eventList} // []};
}


sub words {
    my (@events) = @_;

    return join ' ', map { ($_->{bizStep} // ($_->{persistentDisposition} ? join '', 'recall-', keys %{$_->{persistentDisposition}} : '?'))
        . ($_->{errorDeclaration} ? '!' : '') } @events;
}


# --- what there is to know

my %commission = (action => 'ADD', bizStep => 'commissioning', disposition => 'active',
    ilmd => {'cbvmda:lotNumber' => 'L1', 'cbvmda:itemExpirationDate' => '2030-12-31'});
my %pack   = (type => 'AggregationEvent', action => 'ADD', bizStep => 'packing', disposition => 'in_progress');
my %unpack = (type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', disposition => 'in_progress');

load('line.json',
    ['08:00', {%commission, eventID => 'urn:uuid:00000000-0000-4000-8000-000000000001', epcList => [map { epc("P$_") } 1 .. 30]}],
    ['08:01', {action => 'ADD', bizStep => 'commissioning', epcList => [container(1), container(2), container(3)]}],
    ['09:00', {%pack, parentID => container(1), childEPCs => [map { epc("P$_") } 1 .. 10]}],
    ['09:10', {%pack, parentID => container(2), childEPCs => [container(1), epc('P11')]}],
    ['10:00', {action => 'OBSERVE', bizStep => 'shipping', disposition => 'in_transit', epcList => [container(2), container(3)]}],
    ['11:00', {action => 'OBSERVE', bizStep => 'receiving', disposition => 'in_progress', epcList => [container(2)]}],
    ['11:10', {%unpack, parentID => container(2)}],
    ['11:20', {action => 'OBSERVE', bizStep => 'storing', epcList => [container(2)]}],
    ['11:30', {%unpack, parentID => container(1), childEPCs => [epc('P1')]}],
    ['11:40', {action => 'OBSERVE', bizStep => 'inspecting', epcList => [container(1)]}],
    ['11:50', {action => 'OBSERVE', bizStep => 'inspecting', epcList => [epc('P1'), epc('P2')]}],
    ['12:00', {action => 'DELETE', bizStep => 'decommissioning', disposition => 'inactive', epcList => [epc('P29')]}]);

my ($code) = $sv->command('load-file', $sv->write_file('lot.csv', join '', "gtin,serial,lot,expiry\n",
    map { "$foreign,F$_,F,2030-12-31\n" } 1 .. 50));
is($code, 0, 'a CSV file');

my $first = operate($shop, 'P1', 'supply');
operate($shop, 'P1', 'undo', 'supply');
my $second = operate($elsewhere, 'P1', 'supply');

# --- a pack from the line to the counter

my $answer = ask($law, epc('P1'));
my @events = list($answer);

is($answer->{status}, 200, 'answered') or diag($answer->{body});
is($answer->{headers}{'content-type'}, 'application/ld+json', 'as JSON-LD');
is($answer->{headers}{'gs1-epcis-version'}, '2.0.0', 'of EPCIS 2.0');
is($answer->{headers}{'gs1-epc-format'}, 'Always_GS1_Digital_Link', 'with Digital Links');
is($answer->{json}{type}, 'EPCISQueryDocument', 'a query document');
is($answer->{json}{epcisBody}{queryResults}{queryName}, 'SimpleEventQuery', 'of the simple query');

is(words(@events), 'commissioning packing packing shipping receiving unpacking unpacking inspecting dispensing dispensing! dispensing',
    'its own events, those of the case and pallet it was in, and the counter');

is($events[0]{eventID}, 'urn:uuid:00000000-0000-4000-8000-000000000001', 'the commissioning has its eventID');
is(join(' ', @{$events[0]{epcList}}), epc('P1'), 'of thirty packs only this one is told');
is($events[0]{'sv:items'}, 30, 'and how many there were');
is($events[0]{ilmd}{'cbvmda:lotNumber'}, 'L1', 'the lot');
is($events[1]{parentID}, container(1), 'packed into the case');
is(join(' ', @{$events[1]{childEPCs}}), epc('P1'), 'without the other packs');
is(join(' ', @{$events[2]{childEPCs}}), container(1), 'the case into the pallet');
is(join(' ', @{$events[3]{epcList}}), container(2), 'the pallet was shipped');
is($events[3]{'sv:items'}, 2, 'with another, which is not told');
is(scalar @{$events[5]{childEPCs}}, 0, 'the pallet was emptied');
is($events[8]{eventID}, $first, 'a supply');
is($events[9]{eventID}, $first, 'that was undone');
is($events[9]{errorDeclaration}{reason}, 'did_not_occur', 'and so did not occur');
is($events[10]{eventID}, $second, 'another supply');
is(scalar(keys %{{map { $_->{eventID} . ($_->{errorDeclaration} ? '!' : '') => 1 } @events}}), scalar @events, 'no event twice');

# --- the item in every form

my $brackets = "(01)$gtin(21)P1";
for my $form ("https://id.gs1.org/01/$gtin/21/P1", "https://example.com/x/01/$gtin/10/L1/21/P1?17=301231", 'urn:epc:id:sgtin:9506000.013435.P1',
    $brackets, "01${gtin}21P1", "]d201${gtin}21P1")
{
    is(words(list(ask($law, $form))), words(@events), $form);
}

is(words(list(ask($law, epc('P1'), name => 'MATCH_epc'))), words(@events), 'MATCH_epc');

# --- who was taken out of the case early, who stayed

is(words(list(ask($law, epc('P2')))), 'commissioning packing packing shipping receiving unpacking inspecting inspecting',
    'what stayed in the case was in what became of it');
is(words(list(ask($law, epc('P11')))), 'commissioning packing shipping receiving unpacking', 'one on the pallet itself');
is(words(list(ask($law, epc('P29')))), 'commissioning decommissioning', 'one that was rejected');
is(words(list(ask($law, epc('P30')))), 'commissioning', 'one to which nothing happened');
is(words(list(ask($law, epc('NONE')))), '', 'one that there is not');

# --- a container

my @pallet = list(ask($law, sscc(2)));
is(words(@pallet), 'commissioning packing shipping receiving unpacking storing', 'a pallet by its 18 digits');
is(join(' ', sort @{$pallet[1]{childEPCs}}), join(q{ }, sort(container(1), epc("P11"))), 'with what it held');
is(words(list(ask($law, 'urn:epc:id:sscc:9506000.0000000002', name => 'MATCH_parentID'))), words(@pallet), 'by its URN');
is(words(list(ask($law, sscc(1)))), 'commissioning packing packing shipping receiving unpacking unpacking inspecting', 'a case');

# --- a CSV file

my @csv = list(ask($law, epc('F7', $foreign)));
is(words(@csv), 'commissioning', 'a pack of a CSV file has a commissioning');
is($csv[0]{'sv:items'}, 50, 'with how many');
is($csv[0]{'sv:file'}, 'lot.csv', 'and the file');
is($csv[0]{eventID}, (list(ask($law, epc('F8', $foreign))))[0]{eventID}, 'the same for all of them');

# --- pages

my ($next, @paged) = '';
my $target = '/epcis/events?MATCH_anyEPC=' . escape(epc('P1')) . '&perPage=4';

for my $page (1 .. 3) {
    my $got = $sv->get($target, key => $law->{key});

    push @paged, list($got);
    ($next) = ($got->{headers}{link} // '') =~ /^<(.*)>; rel="next"$/;
    is(scalar(my @n = list($got)), $page == 3 ? 3 : 4, "page $page");
    last if !$next;
    $target = $next;
}

is(JSON::PP->new->canonical->encode(\@paged), JSON::PP->new->canonical->encode(\@events), 'the pages together are the whole');
ok(!$next, 'the last has no next');

# --- a container in which there was very much: pages end before perPage

my $much = 999_999;
$sv->sql(q{insert into sv.load (load_id, digest, file, format, state, phase, host, started_at, updated_at, bytes_total)
    values (?, '\x00', 'much', 'x', 'loaded', 'done', 'x', now(), now(), 1)}, $much);
$sv->sql(q{insert into sv.event (load_id, event, line, identity, facts, kind, action, step, event_time, at, parent_gtin, parent_serial, packs)
    select ?, i, i, sha256(i::text::bytea), '\x00', 'aggregation', 'add', 'packing', timestamptz '2026-11-01T00:00:00Z' + i * interval '1 minute', now(), 0, ?, 5000
    from generate_series(1, 50) i}, $much, sscc(77));
$sv->sql(q{insert into sv.event_epc (gtin, load_id, event, line, serial)
    select ?::bigint, ?, i, i, 'MUCHXX' || lpad(i::text, 6, '0') || lpad(j::text, 8, '0') from generate_series(1, 50) i, generate_series(1, 5000) j}, $gtin, $much);
my $head = $sv->request('HEAD', '/epcis/events?perPage=1000&MATCH_anyEPC=' . sscc(77), key => $law->{key}, timeout => 60);
is($head->{status}, 200, 'a container in which there was very much');
cmp_ok($head->{headers}{'content-length'}, '<', 32 << 20, 'its page is of a bounded size');
cmp_ok($head->{headers}{'content-length'}, '>', 8 << 20, 'and not empty');
($target) = ($head->{headers}{link} // '') =~ /^<(.*)>; rel="next"$/;
@paged = list($sv->get($target, key => $law->{key}, timeout => 60));
is_deeply([map { $_->{eventTime} } @paged], ['2026-11-01T00:49:00.000Z', '2026-11-01T00:50:00.000Z'], 'the next has the rest');

# --- filters

is(words(list(ask($law, epc('P1'), EQ_bizStep => 'shipping'))), 'shipping', 'a step');
is(words(list(ask($law, epc('P1'), EQ_bizStep => 'urn:epcglobal:cbv:bizstep:shipping,https://ref.gs1.org/cbv/BizStep-receiving'))),
    'shipping receiving', 'two, in their long forms');
is(words(list(ask($law, epc('P1'), GE_eventTime => '2026-11-20T10:00:00Z', LT_eventTime => '2026-11-20T12:10:00+01:00'))), 'shipping receiving', 'a time');

# --- who may see what

is(ask($bolt, epc('P1'))->{status}, 403, 'a manufacturer sees no product of another');
is(ask($bolt, epc('P1'))->{json}{reason}, 'not_permitted', 'it is not permitted');
is(ask($bolt, epc('NONE'))->{status}, 403, 'whether the pack is there or not');
is(words(list(ask($bolt, epc('F7', $foreign)))), 'commissioning', 'but its own');
is(ask($bolt, sscc(2))->{status}, 403, 'nor a container of another');
is(words(list(ask($acme, sscc(2)))), words(@pallet), 'but its own');
is(words(list(ask($acme, epc('P1')))), words(@events), 'all of it');

my $places = sub { my ($who) = @_; return join ' ', map { exists $_->{readPoint} ? 1 : 0 } (list(ask($who, epc('P1'))))[8 .. 10] };
is($places->($law), '1 1 1', 'an authority knows where a pack was supplied');
is($places->($acme), '0 0 0', 'a manufacturer does not');
is($places->($trade), '0 0 0', 'nor a wholesaler');
is($places->($shop), '1 1 0', 'a pharmacy knows of itself');
is($sv->get('/epcis/events?MATCH_anyEPC=' . escape(epc('P1')))->{status}, 401, 'nobody: nothing');

# --- recalls

($code) = $sv->command('recall', '--gtin', $gtin, '--lot', 'L1', '--reason', 'particles', '--reference', 'R1');
is($code, 0, 'a recall');
my @recalled = list(ask($law, epc('P30')));
is(words(@recalled), 'commissioning recall-set', 'is in the history');
is($recalled[1]{'sv:reason'}, 'particles', 'with its reason');
($code) = $sv->command('lift-recall', '--gtin', $gtin, '--lot', 'L1', '--reason', 'in order');
is(words(list(ask($law, epc('P30')))), 'commissioning recall-set recall-unset', 'and its end');

# --- what is wrong is told

for my $case (
    ['/epcis/events', 'MATCH_anyEPC'],
    ['/epcis/events?MATCH_anyEPC=x', 'MATCH_anyEPC'],
    ['/epcis/events?MATCH_anyEPC=' . sscc(1) . '&MATCH_epc=' . sscc(1), 'MATCH_anyEPC'],
    ['/epcis/events?MATCH_epc=01095060001343532', 'MATCH_epc'],
    ['/epcis/events?MATCH_anyEPC=' . sscc(1) . '&perPage=0', 'perPage'],
    ['/epcis/events?MATCH_anyEPC=' . sscc(1) . '&perPage=many', 'perPage'],
    ['/epcis/events?MATCH_anyEPC=' . sscc(1) . '&GE_eventTime=today', 'GE_eventTime'],
    ['/epcis/events?MATCH_anyEPC=' . sscc(1) . '&EQ_bizStep=a,,b', 'EQ_bizStep'],
    ['/epcis/events?MATCH_anyEPC=' . sscc(1) . '&EQ_bizStep=' . 'x' x 1100, 'EQ_bizStep'],
    ['/epcis/events?MATCH_anyEPC=' . sscc(1) . '&nextPageToken=xyz', 'nextPageToken'],
    ['/epcis/events?MATCH_anyEPC=' . sscc(1) . '&nextPageToken=abc', 'nextPageToken'],
    ['/epcis/events?MATCH_anyEPC=' . sscc(1) . '&nextPageToken=31203220', 'nextPageToken'],
) {
    my $got = $sv->get($case->[0], key => $law->{key});
    is("$got->{status} " . ($got->{json}{element} // ''), "400 $case->[1]", substr($case->[0], 0, 60)) or diag($got->{body});
}

$sv->done_testing;
