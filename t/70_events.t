#!/usr/bin/perl

# Events of every kind from the inbox to their tables: steps, containers, what
# is quarantined and why, declarations of error, what is kept beside.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;
use Test::More;

use Test::SerialVerify;

my $gtin = '09506000134352';
my $case = '19506000134359';
my $sscc = '095060000000000015';
my $sv   = Test::SerialVerify->new;

$sv->start_postgres;
$sv->product($_) for $gtin, $case;
$sv->start_worker(roles => 'ingest', redis => undef);


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


sub pack_of { return "urn:epc:id:sgtin:9506000.013435.$_[0]" }
sub case_of { return "urn:epc:id:sgtin:9506000.113435.$_[0]" }
sub pallet  { return 'urn:epc:id:sscc:9506000.0000000001' }


# deliver, wait until it is filed: the report
sub feed {
    my ($name, $content) = @_;

    $sv->deliver($name, $content);
    wait_for { $sv->filed($name) =~ /done|rejected/ } "$name to be filed";

    return decode_json(Test::SerialVerify::slurp($sv->base . '/inbox/' . $sv->filed($name) . "/$name.report.json"));
}


sub event {
    my ($type, $action, $step, %more) = @_;

    return {
        type => "${type}Event", action => $action, bizStep => $step, eventTime => '2026-11-20T10:00:00+01:00', eventTimeZoneOffset => '+01:00',
        %more
    };
}


sub commission {
    my ($items, %more) = @_;

    return event('Object', 'ADD', 'commissioning', epcList => $items,
        ilmd => {'cbvmda:lotNumber' => 'E1', 'cbvmda:itemExpirationDate' => '2030-12-31'}, %more);
}


sub document {
    return JSON::PP->new->utf8->canonical->encode({
        '@context'  => ['https://ref.gs1.org/standards/epcis/epcis-context.jsonld', {ex => 'https://ns.example.com/epcis/'}],
        type        => 'EPCISDocument', schemaVersion => '2.0', creationDate => '2026-11-20T10:00:00Z', epcisBody => {eventList => [@_]}
    });
}


sub rows {
    my ($sql, @values) = @_;

    return join "\n", map { join ' ', map { $_ // '-' } @{$_} } @{$sv->dbh->selectall_arrayref($sql, undef, @values)};
}


sub members {
    my ($load, $event) = @_;

    return rows(q{select gtin, serial from sv.event_epc where load_id = ? and event = ? order by 1, 2}, $load, $event);
}


subtest 'a day on a line' => sub {
    my $report = feed('day.json', document(
        commission([map { pack_of("A$_") } 1 .. 9]),
        event('Object', 'ADD', 'commissioning', epcList => [case_of('C1'), pallet()], disposition => 'active'),
        event('Aggregation', 'ADD', 'packing', parentID => case_of('C1'), childEPCs => [map { pack_of("A$_") } 1 .. 5]),
        event('Aggregation', 'ADD', 'packing', parentID => pallet(), childEPCs => [case_of('C1')]),
        event('Object', 'OBSERVE', 'shipping', epcList => [pallet()], disposition => 'in_transit', readPoint => {id => 'urn:epc:id:sgln:9506000.00001.7'}),
        event('Object', 'OBSERVE', 'void_shipping', epcList => [pallet()]),
        event('Object', 'OBSERVE', 'receiving', epcList => [pallet()], bizLocation => {id => 'ML-150'}),
        event('Aggregation', 'DELETE', 'unpacking', parentID => pallet()),
        event('Object', 'DELETE', 'decommissioning', epcList => [pack_of('A6'), pack_of('A7')]),
        event('Object', 'DELETE', 'destroying', epcList => [pack_of('A8')]),
        event('Object', 'OBSERVE', 'sampling', epcList => [pack_of('A9')]),
        event('Object', 'OBSERVE', 'https://example.com/step/weighing', epcList => [pack_of('A1')]),
        event('Transaction', 'ADD', 'shipping', epcList => [pallet()], bizTransactionList => [{type => 'po', bizTransaction => 'urn:x:1'}]),
    ));

    is("@{$report}{qw(state packs events events_skipped events_quarantined lines_rejected)}", 'loaded 9 13 0 0 0', 'the report');
    is_deeply($report->{errors}, [], 'nothing is wrong');

    my $load = $report->{load_id};
    my $expect = <<"END" =~ s/\n\z//r;
1 object add commissioning - - - 9 E1
2 object add commissioning active - - 2 -
3 aggregation add packing - 19506000134359 C1 5 -
4 aggregation add packing - 0 $sscc 1 -
5 object observe shipping in_transit - - 1 -
6 object observe void_shipping - - - 1 -
7 object observe receiving - - - 1 -
8 aggregation delete unpacking - 0 $sscc 0 -
9 object delete decommissioning - - - 2 -
10 object delete destroying - - - 1 -
11 object observe sampling - - - 1 -
12 object observe https://example.com/step/weighing - - - 1 -
13 transaction add shipping - - - 1 -
END
    is(rows('select event, kind, action, step, disposition, parent_gtin, parent_serial, packs, lot from sv.event where load_id = ? order by event', $load),
        $expect, 'every event');
    is(rows(q{select distinct event_time at time zone 'UTC', offset_min from sv.event where load_id = ?}, $load), '2026-11-20 09:00:00 60', 'its time, and the offset beside it');
    is(members($load, 1), '', 'packs carry the number of the event that commissioned them');
    is($sv->sql('select count(*) from sv.pack where load_id = ? and event = 1 and line is not null', $load), 9, 'all of them');
    is(members($load, 2), "0 $sscc\n19506000134359 C1", 'containers are in the event');
    is(members($load, 3), join("\n", map { "9506000134352 A$_" } 1 .. 5), 'children');
    is(rows('select event, serial, step from sv.item_end where load_id = ? order by 1, 2', $load),
        "9 A6 decommissioning\n9 A7 decommissioning\n10 A8 destroying\n11 A9 sampling", 'what ended');
    is($sv->sql('select read_point from sv.event where load_id = ? and event = 5', $load), 'https://id.gs1.org/414/9506000000015/254/7', 'a location has one form');
    is($sv->sql('select biz_location from sv.event where load_id = ? and event = 7', $load), 'ML-150', 'what is none stays what it is');
};

subtest 'nothing is loaded of what cannot be read without guessing' => sub {
    my $report = feed('bad.json', document(
        commission([pack_of('B1')]),
        commission([pack_of('B2'), 'urn:epc:id:sgtin:10331722192016.276429174853', pack_of('B3')]),
        commission([pack_of('B4')], 'ex:line' => {'ex:countryMarket' => 'Italy'}),
        commission([pack_of('B5')], ilmd => {'cbvmda:lotNumber' => 'E1', 'cbvmda:itemExpirationDate' => '2919-96-39'}),
        commission([pack_of('B6')], 'ex:content' => "(01)$gtin(21)B6(17)301231(10)E2"),
        event('Object', 'DELETE', 'shredding', epcList => [pack_of('B7')]),
        event('Aggregation', 'ADD', 'packing', childEPCs => [pack_of('B1')]),
        commission([pack_of('B8')], eventTime => '2126-11-20T10:00:00Z'),
        event('Object', 'OBSERVE', 'shipping', epcList => [pack_of('B1')], eventTime => undef),
        commission([pack_of('B1'), pack_of('B9'), pack_of('B1')]),
        event('Transformation', 'ADD', 'commissioning'),
    ));

    is("@{$report}{qw(state packs events events_skipped events_quarantined lines_rejected)}", 'partial 2 10 1 8 10', 'the report');
    is(rows('select event, packs, reason, element, value, state from sv.quarantine where load_id = ? order by event', $report->{load_id}), <<'END' =~ s/\n\z//r, 'reasons');
2 3 epc_syntax epcList[1] urn:epc:id:sgtin:10331722192016.276429174853 waiting
3 1 market_format market Italy waiting
4 1 expiry_date expiry 2919-96-39 waiting
5 1 claim_contradiction lot (barcode, cbvmda) E2, E1 waiting
6 1 event_step bizStep shredding waiting
7 1 parent_missing parentID - waiting
8 1 event_time_future eventTime 2126-11-20T10:00:00Z waiting
9 1 event_time_missing eventTime - waiting
END
    is($sv->sql(q{select count(*) from sv.pack where serial in ('B2', 'B3', 'B4', 'B5', 'B6', 'B7', 'B8')}), 0, 'no pack of theirs');
    is(rows('select event from sv.event where load_id = ? order by 1', $report->{load_id}), "1\n10", 'no event of theirs');

    my @told = map { "$_->{element} $_->{reason}" . ($_->{quarantined} ? ' quarantined' : '') . ($_->{skipped} ? ' skipped' : '') } @{$report->{errors}};
    is($told[0], 'event 2 epcList[1] epc_syntax quarantined', 'told in the report');
    is_deeply([@told[8, 9]], ['event 10 epcList[2] epc_twice skipped', 'event 11 type event_type skipped'], 'what is left alone, too');
    like(Test::SerialVerify::slurp($sv->base . '/inbox/done/bad.json.report.txt'), qr/event 6 bizStep "shredding"/, 'and to read');

    my $content = $sv->sql('select content from sv.quarantine where load_id = ? and event = 2', $report->{load_id});
    my $kept = decode_json($content);
    is("@{$kept->{epcList}}", join(' ', pack_of('B2'), 'urn:epc:id:sgtin:10331722192016.276429174853', pack_of('B3')), 'what was held back is kept');

    my $again = feed('bad2.json', $content);
    is("@{$again}{qw(state packs events_quarantined)} $again->{errors}[0]{reason}", 'partial 0 1 epc_syntax', 'delivered again it is held back again');

    $again = feed('bad3.json', $content =~ s/urn:epc:id:sgtin:10331722192016[.]/urn:epc:id:sgtin:9506000.013435./r);
    is("@{$again}{qw(state packs events_quarantined)}", 'loaded 3 0', 'put right it is loaded');
};

subtest 'declared an error' => sub {
    my $first = feed('error1.json', document(commission([pack_of('D1'), pack_of('D2')], eventID => 'urn:uuid:d1'), commission([pack_of('D3')])));
    my $report = feed('error2.json', document(
        commission([pack_of('D2'), pack_of('D1')], eventID => 'urn:uuid:d1', errorDeclaration => {
            declarationTime => '2026-11-20T12:00:00+01:00', reason => 'incorrect_data', correctiveEventIDs => ['urn:uuid:d2']}),
        commission([pack_of('D3')], errorDeclaration => {declarationTime => '2026-11-20T12:00:00+01:00', reason => 'did_not_occur'})));

    is("@{$report}{qw(packs repeated events_quarantined lines_rejected)}", '0 0 0 0', 'nothing is commissioned by it');

    my $errors = $sv->dbh->selectcol_arrayref('select error from sv.event where load_id = ? order by event', undef, $first->{load_id});
    is(scalar @{$errors}, 2, 'two events, found by name and by what they say');
    my @error = map { decode_json($_ // '{}') } @{$errors};
    is("$error[0]{reason} $error[0]{time} @{$error[0]{corrective}}", 'incorrect_data 2026-11-20T11:00:00.000Z urn:uuid:d2', 'each has what was declared');
    is("$error[1]{reason} " . @{$error[1]{corrective}}, 'did_not_occur 0', 'the other one, too');
};

subtest 'texts of any kind' => sub {
    my $odd = "a\tb\\c\nd\\N \x{1F600}\"'{}";
    my $json = document(commission([pack_of('T1')], eventID => $odd, readPoint => {id => $odd}, 'ex:odd' => $odd, 'ex:cut' => 'CUT'));
    my $report = feed('texts.json', $json =~ s/CUT/x\\u0000y\\udc00z/r);

    is("@{$report}{qw(state packs)}", 'loaded 1', 'loaded');

    my ($id, $place, $detail) = $sv->sql('select event_id, read_point, detail from sv.event where load_id = ?', $report->{load_id});
    utf8::decode($_) for grep { !utf8::is_utf8($_) } $id, $place;
    is($id, $odd, 'as it came');
    is($place, $odd, 'also a place');
    $detail = utf8::is_utf8($detail) ? JSON::PP->new->decode($detail) : decode_json($detail);
    is($detail->{'{https://ns.example.com/epcis/}odd'}, $odd, 'also what is kept beside');
    is($detail->{'{https://ns.example.com/epcis/}cut'}, 'x?y???z', 'what PostgreSQL takes nowhere');
};

subtest 'what is kept without being understood' => sub {
    my $report = feed('detail.json', document(commission([pack_of('K1')], 'ex:shift' => 'B', 'ex:camera' => {'ex:grade' => 3.5, 'ex:read' => [1, 2]},
        bizTransactionList => [{type => 'urn:epcglobal:cbv:btt:po', bizTransaction => 'urn:x:po:7'}],
        persistentDisposition => {set => ['completeness_verified']},
        sensorElementList => [{sensorMetadata => {time => '2026-11-20T10:00:00+01:00'}, sensorReport => [{type => 'Temperature', value => 21.5, uom => 'CEL'}]}])));

    is_deeply(decode_json(scalar $sv->sql('select detail from sv.event where load_id = ?', $report->{load_id})), {
        '{https://ns.example.com/epcis/}shift' => 'B',
        '{https://ns.example.com/epcis/}camera' => {'{https://ns.example.com/epcis/}grade' => '3.5', '{https://ns.example.com/epcis/}read' => ['1', '2']},
        bizTransactionList => [{type => 'po', bizTransaction => 'urn:x:po:7'}],
        persistentDisposition => {set => ['completeness_verified']},
        sensorElementList => [{sensorMetadata => {time => '2026-11-20T09:00:00.000Z'}, sensorReport => [{type => 'Temperature', value => '21.5', uom => 'CEL'}]}],
    }, 'transactions, dispositions, sensors, the line');
};

subtest 'an event that is too long to be kept' => sub {
    my $report = feed('long.json', document(commission([(map { pack_of("L$_") } 1 .. 120_000), 'nothing'])));

    is("@{$report}{qw(packs events_quarantined lines_rejected)}", '0 1 120001', 'it is quarantined');
    is($sv->sql('select content is null, line from sv.quarantine where load_id = ?', $report->{load_id}), 1, 'its content is in the file alone');
    is($report->{errors}[0]{element}, 'event 1 epcList[120000]', 'and its place is told');
};

subtest 'rows of all tables take turns' => sub {
    my $n = 12_000;
    my $report = feed('turns.json', document(map {
        (
            commission([pack_of("U$_")]), event('Object', 'OBSERVE', 'inspecting', epcList => [pack_of("U$_")], 'ex:n' => "$_"),
            ($_ % 10 ? () : event('Object', 'DELETE', 'inspecting', epcList => [pack_of("U$_")]))
        )
    } 1 .. $n));

    is("@{$report}{qw(packs events events_quarantined)}", join(' ', $n, $n * 2 + $n / 10, $n / 10), 'counts');
    is($sv->sql('select count(*) from sv.event_epc where load_id = ?', $report->{load_id}), $n, 'members');
    is($sv->sql(q{select count(*) from sv.event where load_id = ? and detail ->> '{https://ns.example.com/epcis/}n' is not null}, $report->{load_id}), $n, 'details');
    is($sv->sql('select count(*) from sv.quarantine where load_id = ? and content is not null', $report->{load_id}), $n / 10, 'quarantine');
};

$sv->done_testing;
