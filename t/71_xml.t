#!/usr/bin/perl

# EPCIS XML as it is and as real systems write it: what each document becomes, at
# a tolerant feed and at a strict one.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Encode qw(encode);
use JSON::PP qw(decode_json);
use Test::More;

use Test::SerialVerify;

my $gtin  = '09506000134352';
my $sv    = Test::SerialVerify->new;
my %inbox = map { $_ => $sv->directory($_) } qw(tolerant strict);

$sv->start_postgres;
$sv->product($gtin);
$sv->start_worker(roles => 'ingest', redis => undef, feeds => {
    tolerant => {inbox => $inbox{tolerant}}, strict => {inbox => $inbox{strict}, strictness => 'strict'}});


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


# a complete file in the inbox of a feed, until it is filed: its report
sub feed {
    my ($feed, $name, $content) = @_;

    my $path = $sv->write_file("$feed/.new", $content);
    rename $path, "$inbox{$feed}/$name" or die "$name: $!";

    my $report = wait_for { (glob "$inbox{$feed}/{done,rejected}/$name.report.json")[0] } "$feed/$name to be filed";
    wait_for { !-e "$inbox{$feed}/$name" } "$feed/$name to be moved";

    return decode_json(Test::SerialVerify::slurp($report));
}


my %ns = (
    epcis1 => 'urn:epcglobal:epcis:xsd:1', epcis2 => 'urn:epcglobal:epcis:xsd:2', query1 => 'urn:epcglobal:epcis-query:xsd:1',
    query2 => 'urn:epcglobal:epcis-query:xsd:2', mda => 'urn:epcglobal:cbv:mda', hc => 'http://epcis.gs1us.org/hc/ns',
    sbdh => 'http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader', soap => 'http://schemas.xmlsoap.org/soap/envelope/',
);

sub list { return join '', '<EPCISBody><EventList>', @_, '</EventList></EPCISBody>' }
sub doc1 { return qq(<epcis:EPCISDocument xmlns:epcis="$ns{epcis1}" xmlns:cbvmda="$ns{mda}" schemaVersion="1.2">) . list(@_) . '</epcis:EPCISDocument>' }
sub doc2 { return qq(<epcis:EPCISDocument xmlns:epcis="$ns{epcis2}" xmlns:cbvmda="$ns{mda}" schemaVersion="2.0">) . list(@_) . '</epcis:EPCISDocument>' }
sub more { return join '', '<extension>', @_, '</extension>' }


sub query {
    my ($version, $events) = @_;

    return qq(<q:QueryResults xmlns:q="$ns{"query$version"}"><queryName>SimpleEventQuery</queryName><resultsBody><EventList>$events</EventList>)
        . '</resultsBody></q:QueryResults>';
}


sub ilmd {
    my ($lot, $expiry, $prefix) = @_;

    $prefix //= 'cbvmda:';

    return "<ilmd><${prefix}lotNumber>$lot</${prefix}lotNumber>"
        . ($expiry ? "<${prefix}itemExpirationDate>$expiry</${prefix}itemExpirationDate>" : '') . '</ilmd>';
}


# a commissioning with SERIAL in place of its serial
sub event {
    my ($tail, %with) = @_;

    return join '', "<ObjectEvent>\n  <eventTime>2026-11-20T10:00:00Z</eventTime>\n  <eventTimeZoneOffset>+01:00</eventTimeZoneOffset>\n",
        $with{base} // '', '  <epcList><epc>urn:epc:id:sgtin:9506000.013435.SERIAL</epc></epcList>', "\n  <action>ADD</action>",
        '<bizStep>urn:epcglobal:cbv:bizstep:commissioning</bizStep><disposition>urn:epcglobal:cbv:disp:active</disposition>', $tail, "</ObjectEvent>\n";
}


my $e1 = event(more(ilmd('L1', '2030-12-31')));
my $e2 = event(ilmd('L1', '2030-12-31'));
my $is = 'L1 2030-12-31 -';

# [name, document, lot expiry market of the pack's event, why a strict feed does not take it]
my @documents = (
    ['1.2', doc1($e1), $is],
    ['2.0', doc2($e2), $is],
    ['other prefixes', doc1($e1) =~ s/(<\/?|xmlns:)epcis:/$1x:/gr =~ s/xmlns:epcis=/xmlns:x=/r =~ s/cbvmda/y/gr, $is],
    ['declaration, comments, blanks', "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<!-- a -->\n"
        . doc1($e1) =~ s/(<epc>urn:epc:id:sgtin:)/\n <!-- b -->\n$1<!-- c -->/r =~ s/>L1</>\n  L1\n </r . "\n<!-- d -->\n", $is],
    ['a header with master data', doc1($e1) =~ s/(<EPCISBody>)/<EPCISHeader><s:StandardBusinessDocumentHeader xmlns:s="$ns{sbdh}"><s:HeaderVersion>1.0<\/s:HeaderVersion><s:CreationDateAndTime>2026 - 11<\/s:CreationDateAndTime><\/s:StandardBusinessDocumentHeader><extension><EPCISMasterData><VocabularyList><Vocabulary type="t"><VocabularyElementList><VocabularyElement id="urn:epc:id:sgln:1"><attribute id="urn:a">b<\/attribute><\/VocabularyElement><\/VocabularyElementList><\/Vocabulary><\/VocabularyList><\/EPCISMasterData><\/extension><\/EPCISHeader>$1/r, $is],
    ['query document 1.2', qq(<x:EPCISQueryDocument xmlns:x="$ns{query1}" xmlns:cbvmda="$ns{mda}"><EPCISBody>) . query(1, $e1) . '</EPCISBody></x:EPCISQueryDocument>', $is],
    ['query document 2.0', qq(<x:EPCISQueryDocument xmlns:x="$ns{query2}" xmlns:cbvmda="$ns{mda}"><EPCISBody>) . query(2, $e2) . '</EPCISBody></x:EPCISQueryDocument>', $is],
    ['query results', query(1, $e1 =~ s/<extension>/<extension xmlns:cbvmda="$ns{mda}">/r), $is],
    ['query results in SOAP', qq(<s:Envelope xmlns:s="$ns{soap}"><s:Header><x/></s:Header><s:Body>) . query(1, $e1 =~ s/<extension>/<extension xmlns:cbvmda="$ns{mda}">/r)
        . '</s:Body></s:Envelope>', $is],
    ['a document in SOAP', qq(<s:Envelope xmlns:s="$ns{soap}"><s:Body>) . doc1($e1) . '</s:Body></s:Envelope>', $is],
    ['a document in a wrapper in SOAP', qq(<s:Envelope xmlns:s="$ns{soap}"><s:Body><c:capture xmlns:c="http://c/">) . doc2($e2) . '</c:capture></s:Body></s:Envelope>', $is],
    ['StandardBusinessDocument', qq(<s:StandardBusinessDocument xmlns:s="$ns{sbdh}"><s:StandardBusinessDocumentHeader><s:Sender/></s:StandardBusinessDocumentHeader>)
        . doc1($e1) . '</s:StandardBusinessDocument>', $is],
    ['UTF-16', encode('UTF-16LE', "\x{feff}" . doc1($e1)), $is],
    ['UTF-16, big end first', encode('UTF-16BE', "\x{feff}<?xml version=\"1.0\" encoding=\"UTF-16\"?>" . doc1($e1)), $is],
    ['ISO-8859-1', "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><!-- \xe4 -->" . doc1($e1), $is],

    # in the standard's form, but not where the standard has it
    ['no namespace', doc1($e1) =~ s/epcis:EPCIS/EPCIS/gr, $is, 'xml_namespace'],
    ['all in one namespace', doc1($e1) =~ s/epcis:EPCIS/EPCIS/gr =~ s/xmlns:epcis/xmlns/r, $is, 'xml_namespace'],
    ['a prefix that is not declared', doc1($e1) =~ s/ xmlns:epcis="[^"]*"//r, $is, 'xml_namespace'],
    ['<epcisbody>', doc1($e1) =~ s/EPCISBody/epcisbody/gr, $is, 'xml_name'],
    ['an event outside of the EventList', doc1($e1) =~ s/<.?EventList>//gr, $is, 'xml_place'],
    ['an event by itself', $e1 =~ s/<extension>/<extension xmlns:cbvmda="$ns{mda}">/r, $is, 'xml_place'],
    ['an event in <extension>', doc1(more($e1)), $is, 'xml_place'],
    ['1.2: ilmd outside of <extension>', doc1($e2), $is, 'xml_place'],
    ['2.0: ilmd in <extension>', doc2($e1), $is, 'xml_place'],
    ['XML 1.9', '<?xml version="1.9"?>' . doc1($e1), $is, 'xml_version'],

    # dialects
    ['gs1ushc', doc1(event(qq(<g:lotNumber xmlns:g="$ns{hc}">L2</g:lotNumber><g:itemExpirationDate xmlns:g="$ns{hc}">2030-06-30</g:itemExpirationDate>))),
        'L2 2030-06-30 -', 'dialect'],
    ['gs1ushc in ilmd', doc1(event(more(ilmd('L2', '2030-06-30', 'g:'))) =~ s/<ilmd>/<ilmd xmlns:g="$ns{hc}">/r), 'L2 2030-06-30 -', 'dialect'],
    ['unqualified in ilmd', doc1(event(more(ilmd('L2', '2030-06-30', '')))), 'L2 2030-06-30 -', 'dialect'],
    ['unqualified', doc1(event('<lotNumber>L2</lotNumber><itemExpirationDate>2030-06-30</itemExpirationDate>')), 'L2 2030-06-30 -', 'xml_name'],
    ['sap', doc1(event('<SAPExtension><ObjAttributes><LOTNO>L3</LOTNO><DATEX>20300700</DATEX><DATMF>20260101</DATMF></ObjAttributes><ObjAttGroupList/></SAPExtension>')),
        'L3 2030-07-31 -', 'xml_name'],
    ['sap in a namespace', doc1(event('<s:SAPExtension xmlns:s="http://sap/"><s:ObjAttributes><s:LOTNO>L3</s:LOTNO><s:DATEX>20300700</s:DATEX></s:ObjAttributes></s:SAPExtension>')),
        'L3 2030-07-31 -', 'dialect'],
    ['label', doc1(event(more('<extension name="BATCH">L4</extension><extension name="EXPIRY">20210930</extension>'))), 'L4 2021-09-30 -', 'xml_name'],
    ['label with a value', doc1(event('<x:a xmlns:x="http://x/" name="BATCH" value="L4"/><x:a xmlns:x="http://x/" name="EXPIRY" value="210930"/>')),
        'L4 2021-09-30 -', 'dialect'],
    ['barcode', doc1(event("<x:code xmlns:x=\"http://x/\">(01)$gtin(21)SERIAL(17)270301(10)ABCDE</x:code>")), 'ABCDE 2027-03-01 -', 'dialect'],
    ['two that agree', doc1(event('<x:a xmlns:x="http://x/" name="EXPIRY" value="301200"/>' . more(ilmd('L1', '2030-12-31')))), $is, 'dialect'],
    ['tracelink', doc1(event('<tl:a xmlns:tl="http://tl/"><tl:countryMarket>IT</tl:countryMarket></tl:a>' . more(ilmd('L1', '2030-12-31')))), 'L1 2030-12-31 IT'],
    ['scantrust', doc1(event('<x:intended_market xmlns:x="http://x/">de</x:intended_market>' . more(ilmd('L1', '2030-12-31')))), 'L1 2030-12-31 DE'],
    ['an expiry with a time', doc2(event(ilmd('L1', '2030-12-31T00:00:00.000+01:00'))), $is],
    ['an expiry with an offset', doc2(event(ilmd('L1', '2030-12-31Z'))), $is],
    ['an expiry without dashes', doc2(event(ilmd('L1', '20301231'))), $is],
    ['an expiry as on the pack', doc2(event(ilmd('L1', '301200'))), $is],
);

# [name, document, reason]: of both feeds
my @quarantined = (
    ['two lots', doc1(event('<x:a xmlns:x="http://x/" name="BATCH">L9</x:a>' . more(ilmd('L1', '2030-12-31')))), 'claim_contradiction'],
    ['the code of another pack', doc1(event("<x:code xmlns:x=\"http://x/\">(01)$gtin(21)ANOTHER(17)270301(10)ABCDE</x:code>")), 'barcode_item'],
    ['a lot of something else', doc1(event('<x:material xmlns:x="http://x/"><lotNumber>L1</lotNumber></x:material>')), 'lot_missing'],
    ['no expiry', doc2(event(ilmd('L1', ''))), 'expiry_missing'],
    ['no such day', doc2(event(ilmd('L1', '2919-96-39'))), 'expiry_date'],
    ['an empty lot', doc2(event(ilmd('', '2030-12-31'))), 'lot_missing'],
    ['a strange EPC', doc2($e2 =~ s/<epc>urn:/<epc>/r), 'epc_syntax'],
    ['an EPC in parts', doc2($e2 =~ s/SERIAL<\/epc>/SERIAL<a\/><\/epc>/r), 'epc_syntax'],
    ['a value in parts', doc2($e2 =~ s/(<disposition>)/$1<a\/>/r), 'event_member_form'],
    ['a list that is a text', doc2($e2 =~ s/<epcList>/<epcList>urn:epc:id:sgtin:9506000.013435.X/r), 'event_member_form'],
    ['a member twice', doc2($e2 =~ s/(<action>ADD<.action>)/$1$1/r), 'event_member_twice'],
);


for my $feed (qw(tolerant strict)) {
    subtest "$feed: documents" => sub {
        my $n = 0;

        for my $document (@documents) {
            my ($name, $content, $told, $reason) = @{$document};
            my $serial = uc(substr $feed, 0, 1) . sprintf '%03d', ++$n;
            my $wide   = $content =~ /\0/ ? encode('UTF-16LE', 'SERIAL') : 'SERIAL';

            if ($content =~ s/\Q$wide\E/$wide eq 'SERIAL' ? $serial : encode('UTF-16LE', $serial)/ge == 0) {
                $content =~ s/\Q@{[encode 'UTF-16BE', 'SERIAL']}\E/encode('UTF-16BE', $serial)/ge;
            }

            my $report = feed($feed, "$serial.xml", $content);

            if ($feed eq 'strict' && $reason) {
                is(join(' ', map { $_->{reason} . ($_->{quarantined} ? ' quarantined' : '') } @{$report->{errors}}), "$reason quarantined", "$name: $reason");
                is($sv->sql('select count(*) from sv.pack where serial = ?', $serial), 0, "$name: not loaded");
                next;
            }

            is(join(' ', $report->{state}, $report->{packs}, map { $_->{reason} } @{$report->{errors}}), 'loaded 1', "$name: loaded");
            is(join(' ', $sv->sql(q{select e.lot, e.expiry, coalesce(e.market, '-') from sv.event e join sv.pack p on p.load_id = e.load_id and p.event = e.event
                where p.serial = ? and (p.lot, p.expiry) = (e.lot, e.expiry)}, $serial)), $told, "$name: $told");
        }
    };

    subtest "$feed: what is not plain" => sub {
        my $n = 0;

        for my $document (@quarantined) {
            my ($name, $content, $reason) = @{$document};
            my $serial = uc(substr $feed, 0, 1) . sprintf 'Q%02d', ++$n;
            my $report = feed($feed, "$serial.xml", $content =~ s/SERIAL/$serial/gr);

            is(join(' ', map { $_->{reason} } @{$report->{errors}}), $reason, "$name: $reason");
            is($sv->sql('select count(*) from sv.pack where serial = ?', $serial), 0, "$name: not loaded");
            is($sv->sql('select reason from sv.quarantine where load_id = ?', $report->{load_id}), $reason, "$name: in quarantine");
        }
    };
}


# The same event in 1.2, 2.0 and JSON, each with an eventID of its own.
subtest 'members' => sub {
    my $time   = '<eventTime>2026-11-20T11:00:00.500+01:00</eventTime><recordTime>2026-11-20T11:00:01Z</recordTime><eventTimeZoneOffset>+01:00</eventTimeZoneOffset>';
    my $epcs   = '<epcList><epc>urn:epc:id:sgtin:9506000.013435.T001</epc><epc>https://id.gs1.org/01/09506000134352/21/T002</epc></epcList>';
    my $what   = '<action>OBSERVE</action><bizStep>urn:epcglobal:cbv:bizstep:shipping</bizStep><disposition>urn:epcglobal:cbv:disp:in_transit</disposition>';
    my $where  = '<readPoint><id>urn:epc:id:sgln:9506000.14000.7</id></readPoint><bizLocation><id>urn:epc:id:sgln:9506000.14000.0</id></bizLocation>';
    my $orders = '<bizTransactionList><bizTransaction type="urn:epcglobal:cbv:btt:po">urn:po:1</bizTransaction><bizTransaction>urn:x:2</bizTransaction></bizTransactionList>';
    my $lists  = '<quantityList><quantityElement><epcClass>urn:epc:class:lgtin:9506000.013435.L1</epcClass><quantity>10.0</quantity><uom>KGM</uom></quantityElement></quantityList>'
        . '<sourceList><source type="urn:epcglobal:cbv:sdt:owning_party">urn:epc:id:pgln:9506000.14000</source></sourceList>'
        . '<destinationList><destination type="urn:epcglobal:cbv:sdt:location">urn:epc:id:sgln:9506000.14001.0</destination></destinationList>';
    my $extra  = '<x:line xmlns:x="http://x/ns">7</x:line><x:shift xmlns:x="http://x/ns"><x:lead>Ann</x:lead><x:lead>Bob</x:lead></x:shift>';

    my %file = (
        '1.2' => doc1("<ObjectEvent>$time<baseExtension><eventID>urn:uuid:1</eventID></baseExtension>$epcs$what$where$orders" . more($lists) . "$extra</ObjectEvent>"),
        '2.0' => doc2("<ObjectEvent>$time<eventID>urn:uuid:2</eventID>$epcs$what$where$orders$lists$extra</ObjectEvent>"),
        'JSON' => JSON::PP->new->canonical->encode({'@context' => ['https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld', {x => 'http://x/ns'}], type => 'EPCISDocument',
            schemaVersion => '2.0', creationDate => '2026-11-20T10:00:00Z', epcisBody => {eventList => [{type => 'ObjectEvent', eventID => 'urn:uuid:3',
            eventTime => '2026-11-20T10:00:00.5Z', eventTimeZoneOffset => '+01:00', epcList => [map { "urn:epc:id:sgtin:9506000.013435.$_" } qw(T002 T001)],
            action => 'OBSERVE', bizStep => 'shipping', disposition => 'in_transit', readPoint => {id => 'urn:epc:id:sgln:9506000.14000.7'},
            bizLocation => {id => 'urn:epc:id:sgln:9506000.14000.0'}, bizTransactionList => [{type => 'po', bizTransaction => 'urn:po:1'}, {bizTransaction => 'urn:x:2'}],
            quantityList => [{epcClass => 'urn:epc:class:lgtin:9506000.013435.L1', quantity => 10, uom => 'KGM'}],
            sourceList => [{type => 'owning_party', source => 'urn:epc:id:pgln:9506000.14000'}],
            destinationList => [{type => 'location', destination => 'urn:epc:id:sgln:9506000.14001.0'}], 'x:line' => '7', 'x:shift' => {'x:lead' => ['Ann', 'Bob']}}]}}),
    );

    my %row;

    for my $name (sort keys %file) {
        my $report = feed('strict', $name, $file{$name});
        is(join(' ', $report->{state}, map { "$_->{reason} $_->{element}" } @{$report->{errors}}), 'loaded', "$name: loaded");

        $row{$name} = join "\n", map { $_ // '-' } $sv->sql(q{
            select kind, action, step, disposition, event_time, offset_min, read_point, biz_location, packs, encode(facts, 'hex'), detail::text,
              (select string_agg(gtin || ' ' || serial, ',' order by serial) from sv.event_epc x where (x.load_id, x.event) = (e.load_id, e.event))
            from sv.event e where load_id = ?}, $report->{load_id});
    }

    like($row{'1.2'}, qr/^object\nobserve\nshipping\nin_transit\n2026-11-20 .*:00:00\.5\S*\n60\n\S*9506000140007?\S*\n/, 'what it is');
    is($row{'2.0'}, $row{'1.2'}, '2.0 is the same as 1.2');
    is($row{JSON}, $row{'1.2'}, 'JSON is the same as 1.2');

    my $detail = decode_json((split /\n/, $row{'1.2'})[10]);
    is_deeply($detail->{'{http://x/ns}shift'}, {'{http://x/ns}lead' => ['Ann', 'Bob']}, 'what somebody added is kept');
    is_deeply($detail->{bizTransactionList}, [{type => 'po', bizTransaction => 'urn:po:1'}, {bizTransaction => 'urn:x:2'}], 'business transactions are');
};

subtest 'packing, sensors, errors' => sub {
    my $sscc = 'urn:epc:id:sscc:9506000.0000000001';
    my $time = '<eventTime>2026-11-20T12:00:00Z</eventTime><eventTimeZoneOffset>+00:00</eventTimeZoneOffset>';

    my $packing = "<AggregationEvent>$time<parentID>$sscc</parentID><childEPCs><epc>urn:epc:id:sgtin:9506000.013435.T001</epc></childEPCs><action>ADD</action>"
        . '<bizStep>packing</bizStep></AggregationEvent>';
    my $order   = "<TransactionEvent>$time<bizTransactionList><bizTransaction type=\"po\">urn:po:2</bizTransaction></bizTransactionList>"
        . "<epcList><epc>$sscc</epc></epcList><action>ADD</action></TransactionEvent>";
    my $sensor  = "<ObjectEvent>$time<epcList><epc>$sscc</epc></epcList><action>OBSERVE</action><sensorElementList><sensorElement>"
        . '<sensorMetadata time="2026-11-20T12:00:00Z" deviceID="urn:d:1"/><sensorReport type="gs1:Temperature" value="5.50" uom="CEL"/></sensorElement></sensorElementList>'
        . '<persistentDisposition><set>urn:epcglobal:cbv:disp:recalled</set></persistentDisposition></ObjectEvent>';
    my $made    = "<TransformationEvent>$time<inputEPCList><epc>urn:epc:id:sgtin:9506000.013435.T002</epc></inputEPCList></TransformationEvent>";

    my $report = feed('strict', 'more.xml', doc2($packing, $order, $sensor, $made));
    is(join(' ', map { "$_->{reason} $_->{value}" } @{$report->{errors}}), 'event_type TransformationEvent', 'what is not understood is told');

    my @rows = map { join ' ', map { $_ // '-' } @{$_} } @{$sv->dbh->selectall_arrayref(q{
        select kind, action, step, parent_gtin, parent_serial, packs from sv.event where load_id = ? order by event}, undef, $report->{load_id})};
    is_deeply(\@rows, ['aggregation add packing 0 095060000000000015 1', 'transaction add - - - 1', 'object observe - - - 1'], 'the others are events')
        or diag(explain(\@rows));

    my $detail = decode_json($sv->sql('select detail from sv.event where load_id = ? and event = 3', $report->{load_id}));
    is_deeply($detail, {
        sensorElementList => [{sensorMetadata => {time => $detail->{sensorElementList}[0]{sensorMetadata}{time}, deviceID => 'urn:d:1'},
            sensorReport => [{type => 'Temperature', value => '5.5', uom => 'CEL'}]}],
        persistentDisposition => {set => ['recalled']}}, 'readings are kept');

    my $wrong = "<errorDeclaration><declarationTime>2026-11-20T13:00:00Z</declarationTime><reason>urn:epcglobal:cbv:er:incorrect_data</reason>"
        . '<correctiveEventIDs><correctiveEventID>urn:uuid:11</correctiveEventID></correctiveEventIDs></errorDeclaration>';

    feed('strict', 'first.xml', doc2(event("<eventID>urn:uuid:10</eventID>" . ilmd('L7', '2030-12-31')) =~ s/SERIAL/W001/r));
    $report = feed('strict', 'wrong.xml', doc1(event(more(ilmd('L7', '2030-12-31')), base => "<baseExtension><eventID>urn:uuid:10</eventID>$wrong</baseExtension>") =~ s/SERIAL/W001/r));
    is($report->{state}, 'loaded', 'a declaration of error is taken');

    my $error = decode_json($sv->sql(q{select error from sv.event where event_id = 'urn:uuid:10'}));
    is_deeply([$error->{reason}, $error->{corrective}], ['incorrect_data', ['urn:uuid:11']], 'and stands at the event');
};

$sv->done_testing;
