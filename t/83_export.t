#!/usr/bin/perl

# The export: what was recorded in a period as one EPCIS document, the same
# bytes whenever it is asked for; loaded elsewhere it makes the same packs.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use JSON::PP qw(decode_json);
use Test::More;

use Test::SerialVerify;

my $gtin    = '09506000134352';
my $other   = '09506000134369';
my $foreign = '09506000164908';
my $sv      = Test::SerialVerify->new;
my $number  = 0;

$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
$sv->product($other);
$sv->product($foreign, company => 'bigpharma');

my $pharmacy     = $sv->location(role => 'pharmacy');
my $manufacturer = $sv->location(role => 'manufacturer', company => 'acme');


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


sub operate {
    my ($serial, $operation, %option) = @_;

    my $uuid = join '-', unpack 'A8 A4 A4 A4 A12', sha256_hex(join '-', $$, ++$number);
    my $row  = $sv->dbh->selectrow_hashref(
        q{select * from sv.operate(?, ?, ?, ?, ?, ?, ?, ?, 'f', 'scanned', null, 'XX-1', ?::text::uuid, 'r')}, undef,
        $gtin, $serial, $option{lot} // 'L1', '2030-12-31', $operation, $option{of}, $option{location} // $pharmacy, "key-$number", $uuid);

    is($row->{reason}, 'ok', "$operation $serial");

    return $uuid;
}


sub load {
    my ($server, $name, $content) = @_;

    my ($code, $text) = $server->command('load-file', $server->write_file($name, $content));

    is($code, 0, "$name is loaded") or diag($text);

    return;
}


sub csv {
    my ($code, $lot, @serials) = @_;

    return join '', "gtin,serial,lot,expiry,event_time\n", map { "$code,$_,$lot,2030-12-31,2026-11-20T10:00:00Z\n" } @serials;
}


# export(OPTIONS..): the document, decoded, and its bytes
sub export {
    my (@option) = @_;

    my $file = $sv->base . '/export.json';
    my @from = grep({ $_ eq '--from' } @option) ? () : ('--from', '2026-01-01');
    my ($code, $text) = $sv->command('export', @from, '--out', $file, @option);

    is($code, 0, "export @option") or diag($text);
    my $bytes = Test::SerialVerify::slurp($file);

    return (decode_json($bytes), $bytes);
}


sub now { return $sv->sql(q{select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')}) }


sub packs {
    my ($server) = @_;

    return join "\n", map { join ' ', @{$_} } @{$server->dbh->selectall_arrayref(
        'select gtin, serial, lot, expiry, state from sv.pack order by gtin, serial')};
}


# --- what is recorded

my $start = now();
my @many  = map { sprintf 'M%06d', $_ } 1 .. 12_003;
my @odd   = ('a/b', '50%25', '!"%&()*+', '-./_', "it's", '<>?=;:', '+');

load($sv, 'many.csv', csv($gtin, 'L1', @many));
load($sv, 'odd.csv', "gtin;serial;lot;expiry\n" . join '', map { my $s = $_; $s =~ s/"/""/g; qq{$other;"$s";L/2;2029-02-28\n} } @odd);
load($sv, 'foreign.csv', csv($foreign, 'F1', 'F1', 'F2'));

my %id = (
    supplied => operate('M000001', 'supply'),
    undone   => operate('M000002', 'supply'),
);

operate('M000002', 'undo', of => 'supply');
$id{again} = operate('M000002', 'destroy');
$id{$_->[1]} = operate($_->[0], $_->[1], location => $manufacturer)
    for ['M000003', 'sample'], ['M000004', 'free_sample'], ['M000005', 'export'], ['M000006', 'lock'], ['M000007', 'steal'],
    ['M000008', 'check_out'];

my $middle = now();

# --- nothing is left out

my ($code, $text) = $sv->command('export', '--from', $start, '--to', $middle);
is($code, 1, 'what the relay has not chained is waited for');
like($text, qr/the relay has not taken up all/, 'and it says so');

$sv->start_worker(roles => 'relay');
wait_for { $sv->sql('select count(*) from sv.outbox') == 0 } 'the chain';

($code, $text) = $sv->command('export', '--from', $start, '--to', '2999-01-01');
is($code, 1, 'a period that has not ended is not exported');

for my $case (['--from', '2026-02-30', '--to', '2026-03-01'], ['--from', '2026-03-01', '--to', '2026-03-01'],
    ['--from', '2026-03-01', '--to', 'tomorrow'], ['--from', '2026-03-01'],
    ['--from', '2026-01-01', '--to', '2026-03-01', '--gtin', '123'])
{
    ($code, $text) = $sv->command('export', @{$case});
    is($code, 2, "export @{$case} is refused");
}

# --- the document

my ($document, $bytes) = export('--to', $middle);
my @events = @{$document->{epcisBody}{eventList}};

is($document->{type}, 'EPCISDocument', 'a document');
is($document->{schemaVersion}, '2.0', 'of EPCIS 2.0');

my @commissions = grep { $_->{bizStep} eq 'commissioning' } @events;
is(join(' ', map { scalar @{$_->{epcList}} } @commissions), '5000 5000 2003 7 2', 'a large lot is cut into parts');
is($commissions[0]{ilmd}{'cbvmda:lotNumber'}, 'L1', 'with its lot');
is($commissions[0]{ilmd}{'cbvmda:itemExpirationDate'}, '2030-12-31', 'and expiry');
is($commissions[0]{eventTime}, '2026-11-20T10:00:00.000Z', 'and time');
is(scalar(keys %{{map { $_->{eventID} => 1 } @commissions}}), 5, 'each part has an eventID of its own');

my %by = map { ($_->{eventID} . ($_->{errorDeclaration} ? ' declared' : '')) => $_ } @events;
my $supply = $by{"urn:uuid:$id{supplied}"};

is("$supply->{action} $supply->{bizStep} $supply->{disposition}", 'DELETE dispensing dispensed', 'a supply');
like($supply->{readPoint}{id}, qr{^https://id\.gs1\.org/414/95060001\d{5}$}, 'where it was');
ok(!exists $supply->{ilmd}, 'no ilmd but with ADD');

my $undone = $by{"urn:uuid:$id{undone} declared"};

is($undone->{errorDeclaration}{reason}, 'did_not_occur', 'an undo is a declaration of error');
is($undone->{eventTime}, $by{"urn:uuid:$id{undone}"}{eventTime}, 'of the event it takes back');
is($by{"urn:uuid:$id{steal}"}{disposition}, 'stolen', 'a theft');

for my $event (@events) {
    next if !grep { !defined $event->{$_} } qw(type eventID eventTime eventTimeZoneOffset recordTime action bizStep epcList);
    fail("every event is complete: $event->{eventID}");
}

# --- the same again

my (undef, $again) = export('--to', $middle);
ok($again eq $bytes, 'the same period gives the same bytes');

operate('M000009', 'supply');
wait_for { $sv->sql('select count(*) from sv.outbox') == 0 } 'the chain';
(undef, $again) = export('--to', $middle);
ok($again eq $bytes, 'whatever came later');

my ($later) = export('--from', $middle, '--to', now());
is(scalar @{$later->{epcisBody}{eventList}}, 1, 'which is in the next period');

# --- of whom

my ($acme) = export('--to', $middle, '--company', 'acme');
my $all = JSON::PP->new->canonical->encode($acme);

unlike($all, qr/$foreign/, 'a company gets its own products only');
is(scalar @{$acme->{epcisBody}{eventList}}, @events - 1, 'and all of them');

my ($told) = grep { $_->{eventID} eq "urn:uuid:$id{supplied}" } @{$acme->{epcisBody}{eventList}};
ok(!exists $told->{readPoint}, 'not where a pharmacy supplied');
my ($own) = grep { $_->{eventID} eq "urn:uuid:$id{sample}" } @{$acme->{epcisBody}{eventList}};
ok(exists $own->{readPoint}, 'but where it acted itself');

my ($one) = export('--to', $middle, '--gtin', $other);
is(join(' ', map { scalar @{$_->{epcList}} } @{$one->{epcisBody}{eventList}}), '7', 'one product');

my ($none) = export('--to', '2026-01-02');
is(scalar @{$none->{epcisBody}{eventList}}, 0, 'an empty period is an empty document');

# --- the round trip

my ($whole, $file) = export('--to', now());
my $second = Test::SerialVerify->new;

$second->start_postgres;
$second->start_redis;
$second->product($_) for $gtin, $other, $foreign;

load($second, 'export.json', $file);

SKIP: {
    skip 'states come with the merge of events', 1 if $second->sql(q{select count(*) from sv.pack where state <> 'active'}) == 0;
    is(packs($second), packs($sv), 'loaded elsewhere, the same packs in the same states');
}

is($second->sql('select count(*) from sv.pack'), $sv->sql('select count(*) from sv.pack'), 'as many packs');

$second->stop_all;
$second->{done} = 1;
$sv->done_testing;
