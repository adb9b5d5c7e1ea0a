#!/usr/bin/perl

# Commissioning files from the inbox to packs: CSV and EPCIS, reports, repeats,
# contradictions, bad lines, names that try to get out.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json encode_json);
use Test::More;

use Test::SerialVerify;

my $gtin  = '09506000134352';
my $other = '09506000134369';
my $sv    = Test::SerialVerify->new;

$sv->start_postgres;
$sv->product($gtin);
$sv->product($other);
$sv->start_worker(roles => 'ingest', redis => undef);


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


sub report_of {
    my ($place, $name) = @_;

    return decode_json(Test::SerialVerify::slurp($sv->base . "/inbox/$place/$name.report.json"));
}


# deliver, wait until it is filed, (place, report)
sub feed {
    my ($name, $content) = @_;

    $sv->deliver($name, $content);
    wait_for { $sv->filed($name) =~ /done|rejected/ } "$name to be filed";

    my $place = $sv->filed($name);

    return ($place, report_of($place, $name));
}


sub packs { return $sv->sql('select count(*) from sv.pack where serial like ?', $_[0] . '%') }

sub errors_of {
    my ($report) = @_;

    return [map { join ' ', $_->{line}, $_->{element} // '-', $_->{reason} } @{$report->{errors}}];
}


sub event {
    my (%event) = @_;

    return {
        type => 'ObjectEvent', action => 'ADD', bizStep => 'commissioning', eventTime => '2026-11-20T10:00:00.000+01:00',
        eventTimeZoneOffset => '+01:00', ilmd => {'cbvmda:lotNumber' => 'E1', 'cbvmda:itemExpirationDate' => '2030-12-31'}, %event,
    };
}


sub document {
    return encode_json({'@context' => ['https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld'], type => 'EPCISDocument',
        schemaVersion => '2.0', creationDate => '2026-11-20T10:00:00Z', epcisBody => {eventList => [@_]}});
}


subtest 'a CSV file becomes packs' => sub {
    my ($place, $report) = feed('a.csv', "gtin,serial,lot,expiry\n$gtin,A1,L1,301231\n$gtin,A2,L1,2030-12-31\n$other,A1,L2,300200\n");

    is($place, 'done', 'done');
    is($report->{state}, 'loaded', 'loaded');
    is("@{$report}{qw(lines packs repeated contradictions lines_rejected)}", '3 3 0 0 0', 'counts');
    is($sv->sql('select expiry from sv.pack where gtin = ? and serial = ?', $other, 'A1'), '2030-02-28', 'day 00 is the end of the month');
    is(join(' ', $sv->sql('select lot, state, version from sv.pack where gtin = ? and serial = ?', $gtin, 'A2')), 'L1 active 1', 'a pack');
    is($sv->sql('select expiry from sv.lot where gtin = ? and lot = ?', $gtin, 'L1'), '2030-12-31', 'its lot is known');
    is($sv->sql(q{select count(*) from sv.audit a join sv.outbox o using (gtin, audit_id) where kind = 'load' and operation = 'commission'}), 2, 'an audit row a lot');

    my $digest = $sv->sql(q{select detail ->> 'serials_sha256' from sv.audit where lot = 'L1'});
    is($digest, Digest::SHA::sha256_hex("A1\nA2\n"), 'the digest over its serials');
    like(Test::SerialVerify::slurp($sv->base . '/inbox/done/a.csv.report.txt'), qr/^new +3$/m, 'a report to read');
    is($sv->sql('select count(*) from sv.load_stage where not free'), 0, 'no staging table is in use');
    is($sv->sql('select count(*) from sv.' . $sv->sql('select stage from sv.load_stage')), 0, 'one that is kept is empty');
};

subtest 'dialects of CSV' => sub {
    my ($place, $report) = feed('b.csv', "\xef\xbb\xbfSerial;GTIN;Expiry;Lot;event_time;market;line\r\n"
        . qq("B;1";$gtin;301231;L3;2026-11-20T10:00:00+01:00;IT;4\r\n\r\n"B""2" ; $gtin ;20301231;L3;;IT;4\r\nB"3;$gtin;301231;L3;;;4));

    is("$place $report->{packs} $report->{lines_rejected}", 'done 3 0', 'byte order mark, semicolons, quotes, CRLF, other columns, no last line feed');
    is(join('|', map { $_->[0] } @{$sv->dbh->selectall_arrayref(q{select serial from sv.pack where lot = 'L3' order by 1})}),
        'B"2|B"3|B;1', 'quoted values');
    is($sv->sql(q{select to_char(event_from at time zone 'UTC', 'HH24:MI') from sv.load_lot where lot = 'L3'}), '09:00', 'the time has its offset');
};

subtest 'the same file again' => sub {
    my $before = packs('A');
    my ($place, $report) = feed('a-again.csv', "gtin,serial,lot,expiry\n$gtin,A1,L1,301231\n$gtin,A2,L1,2030-12-31\n$other,A1,L2,300200\n");

    is($place, 'done', 'done');
    ok($report->{already_loaded}, 'it says so');
    is($report->{file}, 'a.csv', 'and names the load');
    like(Test::SerialVerify::slurp($sv->base . '/inbox/done/a-again.csv.report.txt'), qr/^already loaded as load $report->{load_id} /, 'to read');
    is(packs('A'), $before, 'no pack twice');
    is($sv->sql(q{select count(*) from sv.audit where lot = 'L1'}), 1, 'nothing new in the audit');
};

subtest 'the same name again' => sub {
    feed('n.csv', "gtin,serial,lot,expiry\n$gtin,N1,L1,301231\n");
    $sv->deliver('n.csv', "gtin,serial,lot,expiry\n$gtin,N2,L1,301231\n");
    wait_for { packs('N') == 2 } 'the second file';
    wait_for { $sv->sql('select bool_and(filed) from sv.load') } 'the second file to be filed';
    my @files = grep { !/report/ } glob $sv->base . '/inbox/done/n.csv*';
    is(scalar @files, 2, 'both are kept');
};

subtest 'repeats and contradictions' => sub {
    my ($place, $report) = feed('c.csv', "gtin,serial,lot,expiry\n$gtin,C1,L1,301231\n$gtin,A1,L1,301231\n$gtin,A2,L9,291231\n$gtin,C1,L1,301231\n$gtin,C1,L8,301231\n");

    is("$place $report->{state}", 'done loaded', 'no line is bad');
    is("@{$report}{qw(lines packs repeated contradictions)}", '5 1 2 2', 'counts');
    is(join(' ', $sv->sql('select lot, expiry from sv.pack where gtin = ? and serial = ?', $gtin, 'A2')), 'L1 2030-12-31', 'the first stands');

    my $detail = decode_json($sv->sql(q{select detail from sv.finding where rule = 'duplicate_commissioning' and serial = 'A2'}));
    is_deeply($detail->{other}, {load_id => $report->{load_id}, file => 'c.csv', line => 4, lot => 'L9', expiry => '2029-12-31'}, 'the other source');
    is("@{$detail->{first}}{qw(file lot expiry)}", 'a.csv L1 2030-12-31', 'the first source');

    $detail = decode_json($sv->sql(q{select detail from sv.finding where rule = 'duplicate_commissioning' and serial = 'C1'}));
    is("$detail->{first}{line} $detail->{other}{line}", '2 6', 'within one file both lines are told');
    is($sv->sql(q{select count(*) from sv.lot where lot in ('L9', 'L8')}), 0, 'a lot of which nothing stands is not known');
};

subtest 'a lot with two expiries' => sub {
    my ($place, $report) = feed('x.csv', "gtin,serial,lot,expiry\n$gtin,X1,L1,320131\n");

    is("$place $report->{packs}", 'done 1', 'loaded');
    my $detail = decode_json($sv->sql(q{select detail from sv.finding where rule = 'lot_expiry' and lot = 'L1'}));
    is("$detail->{first}{expiry} $detail->{other}{expiry} $detail->{other}{file}", '2030-12-31 2032-01-31 x.csv', 'a finding');
};

subtest 'bad lines' => sub {
    my ($place, $report) = feed('d.csv', join("\n", 'gtin,serial,lot,expiry,event_time,market', "$gtin,D1,L1,301231,,", '0950600013435,D2,L1,301231,,',
        '09506000134353,D3,L1,301231,,', '0950600013435x,D4,L1,301231,,', "$gtin,,L1,301231,,", "$gtin,D23456789012345678901,L1,301231,,",
        "$gtin,D 7,L1,301231,,", "$gtin,D\x{e9},L1,301231,,", "$gtin,D9,,301231,,", "$gtin,D10,L^1,301231,,", "$gtin,D11,L1,,,", "$gtin,D12,L1,301331,,",
        "$gtin,D13,L1,31.12.2030,,", "$gtin,D14,L1,301231,yesterday,", "$gtin,D15,L1,301231,,it", "$gtin,D16,L1", "$gtin,D17,L1,2919-96-39,,",
        ",D18,L1,301231,,", '00000000000000,D19,L1,301231,,', "$gtin,D20,L1,301231,,") . "\n");

    is("$place $report->{state} $report->{packs} $report->{lines_rejected}", 'done partial 2 18', 'the rest loads');
    is_deeply(errors_of($report), ['3 gtin gtin_length', '4 gtin gtin_check_digit', '5 gtin gtin_digits', '6 serial serial_missing',
        '7 serial serial_length', '8 serial serial_charset', '9 serial serial_charset', '10 lot lot_missing', '11 lot lot_charset',
        '12 expiry expiry_missing', '13 expiry expiry_date', '14 expiry expiry_format', '15 event_time event_time_format',
        '16 market market_format', '17 - field_count', '18 expiry expiry_date', '19 gtin gtin_missing', '20 gtin gtin_check_digit'],
        'each with its line, element and reason');
    is($report->{reasons}{serial_charset}, 2, 'counted by reason');
    like(Test::SerialVerify::slurp($sv->base . '/inbox/done/d.csv.report.txt'), qr/line 9: serial "D\\xe9": .* \[serial_charset\]/, 'a strange byte is shown as such');
};

subtest 'files that are none' => sub {
    my %file = (
        'empty.csv'  => ['', qr/the file is empty/],
        'header.csv' => ["gtin,serial,lot\n$gtin,E1,L1\n", qr/there is no column "expiry"/],
        'twice.csv'  => ["gtin,serial,lot,expiry,lot\n", qr/the column "lot" stands there twice/],
        'utf16.csv'  => ["\xff\xfeg\0t\0i\0n\0", qr/UTF-16/],
        'quote.csv'  => ["gtin,serial,lot,expiry\n$gtin,\"E1,L1,301231\n" . ("$gtin,E2,L1,301231\n" x 5000), qr/line 2: a quoted field does not end/],
        'open.csv'   => ["gtin,serial,lot,expiry\n$gtin,E1,L1,301231\n$gtin,\"E2,L1,301231\n", qr/line 3: a quoted field does not end/],
        'half.json'  => ['{"type":"EPCISDocument","epcisBody":{"eventList":[' . "\n{\"type\":", qr/line 2: not JSON: .*premature EOF/],
        'other.json' => ['{"hello": [1, 2, 3]}', qr/neither an EPCIS document/],
        'deep.json'  => ['[' x 1000, qr/nested more than 64 levels/],
        'long.json'  => ['{"type":"' . ('x' x 3_000_000) . '"}', qr/longer than 1 MiB/],
        'bytes.json' => ["{\"type\":\"\xff\xfe\"}", qr/not JSON: .*UTF-?8/i],
    );

    for my $name (sort keys %file) {
        my ($place, $report) = feed($name, $file{$name}[0]);
        is("$place $report->{state} $report->{packs}", 'rejected rejected 0', $name);
        like($report->{note}, $file{$name}[1], "$name: the reason");
    }

    my ($place, $report) = feed('only-header.csv', "gtin,serial,lot,expiry\n");
    is("$place $report->{lines}", 'done 0', 'a file without lines is loaded');
};

subtest 'an unknown product' => sub {
    my $unknown = '09506000134376';
    my $csv = "gtin,serial,lot,expiry\n$unknown,U1,L1,301231\n$gtin,U2,L1,301231\n$unknown,U3,L2,301231\n";

    my ($place, $report) = feed('u.csv', $csv);
    is("$place $report->{state} $report->{packs} $report->{lines_rejected}", 'done partial 1 2', 'its lines are rejected, the rest loads');
    is_deeply(errors_of($report), ['2 gtin product_unknown'], 'told once');
    is("$report->{errors}[0]{value} $report->{errors}[0]{lines}", "$unknown 2", 'with the GTIN and how many');

    $sv->product($unknown);
    ($place, $report) = feed('u2.csv', $csv);
    is("$place $report->{state} $report->{lines_rejected}", 'done loaded 0', 'once the product is known, the same file loads');
    is(packs('U'), 3, 'all packs');
};

subtest 'EPCIS' => sub {
    my ($place, $report) = feed('e.json', document(
        event(epcList => ['urn:epc:id:sgtin:9506000.013435.E1', "https://id.gs1.org/01/$gtin/21/E%2F2", 'https://example.com/x/01/' . $gtin . '/21/E3?17=301231']),
        event(bizStep => 'urn:epcglobal:cbv:bizstep:commissioning', epcList => ['urn:epc:id:sgtin:9506000.013435.E%2F4']),
        event(bizStep => 'https://ref.gs1.org/cbv/BizStep-commissioning', epcList => ['urn:epc:id:sgtin:95060001343.05.E5', 'urn:epc:id:sgtin:9506000.013435.E5'],
            ilmd => {'urn:epcglobal:cbv:mda#lotNumber' => {'@value' => 'E2'}, 'itemExpirationDate' => '2031-01-31T00:00:00Z'})));

    is("$place $report->{state} $report->{packs} $report->{repeated} $report->{events}", 'done loaded 5 0 3', 'loaded');
    is_deeply(errors_of($report), ['1 event 3 epcList[1] epc_twice'], 'the same one twice in an event counts once, and is told');
    is(join(' ', map { $_->[0] } @{$sv->dbh->selectall_arrayref(q{select serial from sv.pack where lot like 'E%' order by 1})}),
        'E/2 E/4 E1 E3 E5', 'URN, whatever its company prefix, and Digital Link come to the same key');
    is($sv->sql(q{select expiry from sv.pack where lot = 'E2' limit 1}), '2031-01-31', 'lot and expiry of the event');

    my $text = encode_json(event(epcList => ['urn:epc:id:sgtin:9506000.013435.E6'], type => 'ObjectEvent'));
    ($place, $report) = feed('bare.json', $text);
    is("$place $report->{packs}", 'done 1', 'an event by itself');

    ($place, $report) = feed('query.json', encode_json({type => 'EPCISQueryDocument',
        epcisBody => {queryResults => {resultsBody => {eventList => [event(epcList => ['urn:epc:id:sgtin:9506000.013435.E7'])]}}}}));
    is("$place $report->{packs}", 'done 1', 'a query document');
};

subtest 'EPCIS: the same event again' => sub {
    my @epcs = map { "urn:epc:id:sgtin:9506000.013435.F$_" } 1 .. 5;

    my ($place, $report) = feed('f1.json', document(event(epcList => [@epcs])));
    is("$report->{packs} $report->{events_seen}", '5 0', 'new');

    ($place, $report) = feed('f2.json', document(event(epcList => [reverse(@epcs[1 .. 4]), "https://id.gs1.org/01/$gtin/21/F1"], eventTime => '2026-11-20T09:00:00Z')));
    is("$place $report->{state} $report->{packs} $report->{events_seen}", 'done loaded 0 1', 'other order, other form, other offset: the same facts');

    ($place, $report) = feed('f3.json', document(event(epcList => [@epcs[0, 1]])));
    is("$report->{packs} $report->{repeated} $report->{events_seen}", '0 2 0', 'grouped otherwise: the serials are known');

    ($place, $report) = feed('f4.json', document(event(eventID => 'urn:uuid:1', epcList => ['urn:epc:id:sgtin:9506000.013435.G1']),
        event(eventID => 'urn:uuid:1', epcList => ['urn:epc:id:sgtin:9506000.013435.G1']),
        event(eventID => 'urn:uuid:1', epcList => ['urn:epc:id:sgtin:9506000.013435.G2'])));
    is("$report->{state} $report->{packs} $report->{events_seen} $report->{lines_rejected}", 'partial 1 1 1', 'by eventID; other facts under it are refused');
    is_deeply(errors_of($report), ['1 eventID event_id_reused'], 'and told');

    ($place, $report) = feed('f5.json', document(event(eventID => 'urn:uuid:2', epcList => ['urn:epc:id:sgtin:9506000.013435.G3', 'urn:epc:id:sgtin:G4'])));
    is("$report->{packs} $report->{lines_rejected} $report->{events_quarantined}", '0 2 1', 'nothing is loaded of an event with a bad EPC');
    ($place, $report) = feed('f6.json', document(event(eventID => 'urn:uuid:2', epcList => ['urn:epc:id:sgtin:9506000.013435.G3', 'urn:epc:id:sgtin:9506000.013435.G4'])));
    is("$report->{packs} $report->{repeated} $report->{lines_rejected}", '2 0 0', 'may come again, put right');
};

subtest 'EPCIS: what is left alone, and what is bad' => sub {
    my ($place, $report) = feed('g.json', document(
        event(type => 'AggregationEvent', action => 'ADD', bizStep => 'packing', parentID => 'urn:epc:id:sscc:9506000.1234567890', childEPCs => ['urn:epc:id:sgtin:9506000.013435.H1']),
        event(action => 'OBSERVE', bizStep => 'shipping', epcList => ['urn:epc:id:sscc:9506000.1234567890']),
        event(action => 'DELETE', bizStep => 'decommissioning', epcList => ['urn:epc:id:sgtin:9506000.013435.H2']),
        event(epcList => ['urn:epc:id:sscc:9506000.1234567890']),
        event(epcList => ['urn:epc:id:sgtin:9506000.013435.H3'], errorDeclaration => {declarationTime => '2026-11-20T10:00:00Z', reason => 'did_not_occur'}),
        event(epcList => []),
        event(epcList => ['urn:epc:id:sgtin:9506000.013435.H4'], ilmd => {'cbvmda:itemExpirationDate' => '2030-12-31'}),
        event(epcList => ['urn:epc:id:sgtin:9506000.013435.H5'], ilmd => {lotNumber => 'H', itemExpirationDate => '2919-96-39'}),
        event(epcList => ['urn:epc:id:sgtin:9506000.013435.H6'], eventTime => 'noon'),
        event(epcList => ['urn:epc:class:lgtin:9506000.013435.L', 'sscc:1', 7, {id => 'x'}, 'urn:epc:id:sgtin:10331722192016.276429174853', "https://id.gs1.org/01/$gtin", 'urn:epc:id:sgtin:9506000.013435.H7'])));

    is("$place $report->{state} $report->{packs} $report->{events} $report->{events_skipped} $report->{events_quarantined}",
        'done partial 0 9 1 4', 'counts');
    is_deeply([map { s/^\d+ //r } @{errors_of($report)}], ['event 6 epcList event_empty',
        'event 7 lot lot_missing', 'event 8 expiry expiry_date', 'event 9 eventTime event_time_format',
        'event 10 epcList[0] and 5 more epc_class'], 'each with its event, element and reason');

    my $twice = document(event(epcList => ['urn:epc:id:sgtin:9506000.013435.H8']));
    $twice =~ s/"action":"ADD"/"action":"ADD","action":"ADD"/;
    ($place, $report) = feed('g2.json', $twice);
    is("$place $report->{reasons}{event_member_twice}", 'done 1', 'a member that stands twice');
};

subtest 'an event larger than memory is worth: EPCs first, lot last' => sub {
    my $epcs = join ",\n", map { qq("urn:epc:id:sgtin:9506000.013435.J$_") } 1 .. 20000;
    my ($place, $report) = feed('j.json', qq({"type":"EPCISDocument","epcisBody":{"eventList":[{"epcList":[$epcs],"type":"ObjectEvent","action":"ADD",)
        . qq("bizStep":"commissioning","eventTime":"2026-11-20T10:00:00Z","ilmd":{"lotNumber":"J","itemExpirationDate":"2030-12-31"}}]}}));
    is("$place $report->{packs}", 'done 20000', 'loaded');

    $epcs = join ",\n", map { qq("urn:epc:id:sgtin:9506000.013435.J$_") } 1 .. 20000, 'x y';
    ($place, $report) = feed('j2.json', qq({"type":"EPCISDocument","epcisBody":{"eventList":[{"epcList":[$epcs],"type":"ObjectEvent","action":"ADD",)
        . qq("bizStep":"commissioning","eventTime":"2026-11-20T10:00:00Z","ilmd":{"lotNumber":"J","itemExpirationDate":"2030-12-31"}}]}}));
    is("$report->{repeated} $report->{errors}[0]{line} $report->{errors}[0]{element}", '0 20001 event 1 epcList[20000]', 'line and place of a bad one');
};

subtest 'more errors than are listed' => sub {
    my ($place, $report) = feed('m.csv', "gtin,serial,lot,expiry\n" . ("$gtin,M,L1,never\n" x 2500) . "$gtin,M1,L1,301231\n");
    is(scalar @{$report->{errors}}, 1000, 'a thousand are listed');
    is("$report->{lines_rejected} $report->{reasons}{expiry_format} $report->{packs}", '2500 2500 1', 'all are counted');
};

subtest 'names and kinds of files' => sub {
    my $inbox = $sv->base . '/inbox';
    my $csv = "gtin,serial,lot,expiry\n$gtin,P0,L1,301231\n";

    for my $name ('.hidden.csv', 'upload.csv.tmp', 'upload.csv.part', 'upload.PART') {
        $sv->deliver($name, $csv =~ s/P0/P-$name/r);
    }

    $sv->write_file('outside.csv', $csv =~ s/P0/P-outside/r);
    symlink $sv->base . '/outside.csv', "$inbox/link.csv" or die $!;
    mkdir "$inbox/dir.csv" or die $!;
    system('mkfifo', "$inbox/fifo.csv");

    # a file that is taken says that those before it in the directory were looked at
    feed('p1.csv', $csv =~ s/P0/P1/r);
    feed("p2 \$(x);'\"\n\xff.csv", $csv =~ s/P0/P2/r);

    is(packs('P'), 2, 'only complete regular files are taken');
    ok(-l "$inbox/link.csv" && -d "$inbox/dir.csv" && -p "$inbox/fifo.csv", 'the others are left alone');
    is($sv->sql(q{select file from sv.load l join sv.pack p using (load_id) where p.serial = 'P2'}), q{p2 $(x);'"\x0a\xff.csv}, 'a strange name is told safely');

    unlink "$inbox/link.csv", "$inbox/fifo.csv";
    rmdir "$inbox/dir.csv";

    rename "$inbox/upload.csv.part", "$inbox/upload.csv" or die $!;
    wait_for { $sv->filed('upload.csv') eq 'done' } 'the upload';
    is(packs('P'), 3, 'renamed, it is taken');
};

$sv->stop('worker');
$sv->start_worker(roles => 'ingest', redis => undef, on_error => 'none', settle => '300ms', unknown_products => 'create', max_errors => 2);

subtest 'on_error = none' => sub {
    my ($place, $report) = feed('q.csv', "gtin,serial,lot,expiry\n$gtin,Q1,L1,301231\n$gtin,Q 2,L1,301231\n" . ("$gtin,,L1,301231\n" x 3) . "$gtin,Q3,L2,301231\n");

    is("$place $report->{state}", 'rejected rejected', 'rejected');
    like($report->{note}, qr/on_error = none/, 'why');
    is(packs('Q'), 0, 'no line is loaded');
    is(scalar @{$report->{errors}}, 2, 'max_errors');

    ($place, $report) = feed('q2.csv', "gtin,serial,lot,expiry\n$gtin,Q1,L1,301231\n$gtin,Q3,L2,301231\n");
    is("$place $report->{packs}", 'done 2', 'put right, it loads');
};

subtest 'unknown_products = create' => sub {
    my ($place, $report) = feed('r.csv', "gtin,serial,lot,expiry\n09506000134383,R1,L1,301231\n");

    is("$place $report->{packs}", 'done 1', 'loaded');
    my ($name, $company, $n) = $sv->sql('select name, company, ref_n from sv.product where gtin = 9506000134383');
    is("$name, $company", 'Product 09506000134383, unnamed', 'the product is there');
    is($n, $sv->sql('select n from sv.ref_clock'), 'and numbered for the gateways');
};

subtest 'a file that is still being written' => sub {
    my ($taken, $still);

    # a piece each tenth of a second: longer than the settling time, never still; but for a busy machine, which may stand still itself
    for my $try (1 .. 10) {
        my $name = "slow$try.csv";
        my $csv  = "gtin,serial,lot,expiry\n" . join '', map { "$gtin,S$try-$_,L1,301231\n" } 1 .. 20;
        my $last;

        open(my $fh, '>', $sv->base . "/inbox/$name") or die $!;
        $fh->autoflush(1);
        ($taken, $still) = (0, 0);

        for my $piece ($csv =~ /(.{1,40})/gs) {
            print {$fh} $piece;
            my $now = Time::HiRes::time();
            $still = $now - $last if defined $last && $now - $last > $still;
            $last  = $now;
            Time::HiRes::sleep(0.1);
            $taken ||= $sv->filed($name) ne 'inbox';
        }

        close $fh;
        wait_for { $sv->filed($name) ne 'inbox' } 'the slow file';
        next if $taken && $still > 0.2;

        is($sv->filed($name), 'done', 'done');
        is(packs("S$try-"), 20, 'whole');
        last;
    }

    ok(!$taken, 'is left in peace');
};

subtest 'PostgreSQL is away for a while' => sub {
    $sv->stop('postgres');
    $sv->deliver('t.csv', "gtin,serial,lot,expiry\n$gtin,T1,L1,301231\n");
    wait_for { $sv->log_of('worker') =~ /next try in/ } 'the worker to notice';
    is($sv->filed('t.csv'), 'inbox', 'the file waits');
    $sv->start_postgres;
    wait_for { $sv->filed('t.csv') eq 'done' } 'the file';
    is(packs('T'), 1, 'loaded');
};

subtest 'the status' => sub {
    my ($code, $text) = $sv->command('status');
    is($code, 0, 'code');
    like($text, qr/^ *\d+  loaded .* t\.csv$/m, 'the last file');

    ($code, $text) = $sv->command('status', '--json');
    is(decode_json($text)->{loads}[0]{state}, 'loaded', 'as JSON');

    my $id = decode_json($text)->{loads}[0]{load_id};
    ($code, $text) = $sv->command('status', '--load', $id);
    like($text, qr/^file +t\.csv$/m, 'the report of a load');
    ($code, $text) = $sv->command('status', '--load', '99999');
    is($code, 1, 'no such load');
};

subtest 'load-file' => sub {
    my $file = $sv->write_file('v.csv', "gtin,serial,lot,expiry\n$gtin,V1,L1,301231\n");
    my ($code, $text) = $sv->command('load-file', $file);
    is($code, 0, 'code');
    like($text, qr/^new +1$/m, 'the report');
    ok(-e $file, 'the file stays');

    ($code, $text) = $sv->command('load-file', $file);
    is($code, 0, 'again');
    like($text, qr/^already loaded as load/, 'it says so');

    ($code, $text) = $sv->command('load-file', $sv->write_file('w.csv', "gtin,serial\n"));
    is($code, 1, 'a bad file');
    ($code, $text) = $sv->command('load-file', $sv->base . '/none.csv');
    is($code, 2, 'no file');
    like($text, qr/No such file/, 'it says so');
    ($code, $text) = $sv->command('load-file', $sv->base);
    is($code, 2, 'a directory');
};

$sv->done_testing;
