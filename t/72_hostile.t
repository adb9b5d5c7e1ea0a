#!/usr/bin/perl

# Files that somebody made to hurt: each gets a report with its reason, nothing of
# it is loaded by half, and the process that read them all stays as small as before.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json);
use Test::More;

use Test::SerialVerify;

my $gtin  = '09506000134352';
my $limit = 40 * 1024;          # kB: VmHWM of the process that reads
my $epcs  = 500_000;            # in one event of 50 MB
my $sv    = Test::SerialVerify->new;

$sv->start_postgres(settings => ['shared_buffers=128MB', 'max_wal_size=2GB']);
$sv->product($gtin);
$sv->start_worker(roles => 'ingest', redis => undef);


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


sub feed {
    my ($name, $content) = @_;

    $sv->deliver($name, $content);
    wait_for { $sv->filed($name) =~ /done|rejected/ } "$name to be filed", 300;

    my $place = $sv->filed($name);

    return ($place, decode_json(Test::SerialVerify::slurp($sv->base . "/inbox/$place/$name.report.json")));
}


sub packs { return $sv->sql('select count(*) from sv.pack') }

# the process of the role, and the most memory it ever had
sub reader {
    my ($pid) = $sv->server('worker')->children;
    my ($kb)  = Test::SerialVerify::slurp("/proc/$pid/status") =~ /^VmHWM:\s+(\d+)/m;

    return ($pid, $kb);
}


# Each is [content, what the report says]; nothing of any of them is loaded.
sub refused {
    my (%file) = @_;

    for my $name (sort keys %file) {
        my $before = packs();
        my ($place, $report) = feed($name, $file{$name}[0]);

        is("$place $report->{state} $report->{packs} $report->{lots_merged}", 'rejected rejected 0 0', $name);
        like($report->{note}, $file{$name}[1], "$name: the reason");
        is(packs(), $before, "$name: nothing is loaded");
    }

    return;
}


my $head = '<e:EPCISDocument xmlns:e="urn:epcglobal:epcis:xsd:2" xmlns:m="urn:epcglobal:cbv:mda" schemaVersion="2.0"><EPCISBody><EventList>' . "\n";
my $tail = "</EventList></EPCISBody></e:EPCISDocument>\n";


sub xml_event {
    my (@epcs) = @_;

    return join '', '<ObjectEvent><eventTime>2026-11-20T10:00:00Z</eventTime><eventTimeZoneOffset>+00:00</eventTimeZoneOffset><epcList>', "\n",
        map({ "<epc>$_</epc>\n" } @epcs), '</epcList><action>ADD</action><bizStep>commissioning</bizStep><ilmd><m:lotNumber>L1</m:lotNumber>',
        '<m:itemExpirationDate>2030-12-31</m:itemExpirationDate></ilmd></ObjectEvent>', "\n";
}


sub json_event {
    my (@epcs) = @_;

    return join '', '{"type":"ObjectEvent","eventTime":"2026-11-20T10:00:00Z","eventTimeZoneOffset":"+00:00","epcList":[', "\n",
        join(",\n", map { qq("$_") } @epcs), '],"action":"ADD","bizStep":"commissioning","ilmd":{"cbvmda:lotNumber":"L1",',
        '"cbvmda:itemExpirationDate":"2030-12-31"}}', "\n";
}


sub epc { return "urn:epc:id:sgtin:9506000.013435.$_[0]" }

my $good = xml_event(epc('T1'), epc('T2'));


subtest 'entities' => sub {
    my $laughs = join '', '<!DOCTYPE a [<!ENTITY l0 "lol">', map({ "<!ENTITY l$_ \"" . ('&l' . ($_ - 1) . ';') x 10 . '">' } 1 .. 9), ']>';
    my $long   = 'x' x 50_000;

    refused(
        'laughs.xml'    => ["$laughs$head<ObjectEvent><action>&l9;</action></ObjectEvent>$tail", qr/^line 1: an entity is declared/],
        'quadratic.xml' => ["<!DOCTYPE a [<!ENTITY x \"$long\">]>$head<ObjectEvent><action>" . '&x;' x 50_000 . "</action></ObjectEvent>$tail",
            qr/^line 1: an entity is declared/],
        'external.xml'  => ['<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' . "$head<ObjectEvent><action>&x;</action></ObjectEvent>$tail",
            qr/^line 1: an entity is declared/],
        'parameter.xml' => ['<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x.dtd"> %x;]>' . "$head$good$tail", qr/^line 1: an entity is declared/],
        'dtd.xml'       => ["<!DOCTYPE a SYSTEM \"http://127.0.0.1:9/x.dtd\">\n$head<ObjectEvent><action>&x;</action></ObjectEvent>$tail", qr/^line 3: /],
        'unknown.xml'   => ["$head$good<ObjectEvent><action>&x;</action></ObjectEvent>$tail", qr/^line \d+: not XML: Entity 'x' not defined/],
        'defaults.xml'  => ['<!DOCTYPE a [<!ATTLIST epc a CDATA "b">]>' . "$head$good$tail", qr/^line 1: attributes are declared/],
        'reference.xml' => ["$head<ObjectEvent><action>&#99999999999999999999;</action></ObjectEvent>$tail", qr/^line 2: not XML: /],
    );
};

subtest 'what is too deep, too long, too much' => sub {
    refused(
        'deep.xml'       => ["$head<ObjectEvent>" . '<a>' x 200_000, qr/^line 2: nested more than 64 levels/],
        'deep.json'      => ['{"a":' x 200_000, qr/nested more than 64 levels/],
        'lists.json'     => ['[' x 200_000, qr/nested more than 64 levels/],
        'text.xml'       => ["$head$good<ObjectEvent><action>" . 'x' x 20_000_000, qr/^line 6: a single text is longer than 1 MiB/],
        'text.json'      => ['{"type":"' . 'x' x 20_000_000 . '"}', qr/longer than 1 MiB/],
        'number.json'    => ['{"type":' . '9' x 20_000_000 . '}', qr/longer than 1 MiB/],
        'attribute.xml'  => ["$head<ObjectEvent a='" . 'x' x 20_000_000, qr/^line 2: a tag, comment or declaration is longer/],
        'attributes.xml' => ["$head<ObjectEvent " . join(' ', map { "a$_=''" } 1 .. 1_000_000) . '/>', qr/^line 2: (?:a tag|an element)/],
        'spaces.xml'     => ["$head<ObjectEvent " . join(' ', map { "xmlns:a$_='b'" } 1 .. 1000) . '/>', qr/^line 2: an element has more than 256/],
        'comment.xml'    => ["$head<!--" . 'x' x 20_000_000, qr/^line 2: a tag, comment or declaration is longer/],
        'name.xml'       => ["$head<" . 'x' x 20_000_000, qr/^line 2: /],
        'names.xml'      => ["$head<ObjectEvent><ilmd>" . join('', map { "<x$_/>" } 1 .. 100_000) . "</ilmd></ObjectEvent>$tail",
            qr/^line 2: more than 20000 different names/],
        'quote.csv'      => ["gtin,serial,lot,expiry\n$gtin,\"" . 'x' x 20_000_000, qr/line 2: a quoted field does not end/],
    );
};

subtest 'what is not what it says' => sub {
    my $latin = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n$head<ObjectEvent><disposition>\xe4</disposition></ObjectEvent>$good$tail";
    my $utf16 = "\xff\xfe" . join '', map { "$_\0" } split //, "$head$good$tail";

    refused(
        'zip.xml'      => ["PK\x03\x04\x14\0\0\0\x08\0" . "\xff" x 16 . "\xff\xff\xff\x7f" x 2 . ('x' x 1000), qr/a ZIP archive/],
        'gzip.xml'     => ["\x1f\x8b\x08\0" . ("\xff" x 1000), qr/a gzip archive/],
        'latin.xml'    => [$latin, qr/^line 3: not XML: Input is not proper UTF-8/],
        'latin.json'   => ["{\"type\":\"\xe4\"}", qr/not JSON: .*UTF-?8/i],
        'label16.xml'  => ["<?xml version=\"1.0\" encoding=\"UTF-16\"?>$head$good$tail", qr/^line 1: not XML: Document labelled UTF-16/],
        'ebcdic.xml'   => ["<?xml version=\"1.0\" encoding=\"IBM037\"?>$head$good$tail", qr/^line 1: /],
        'utf7.xml'     => ["<?xml version=\"1.0\" encoding=\"UTF-7\"?>$head$good$tail", qr/^line 1: this encoding is not read here; use UTF-8/],
        'nul.xml'      => ["$head<ObjectEvent><action>A\0DD</action></ObjectEvent>$tail", qr/^line 2: not XML: /],
        'nul.json'     => ["{\"type\":\"\0\"}", qr/not JSON/],
        'zeros.xml'    => ["\0" x 10_000_000, qr/./],
        'cut16.xml'    => [substr($utf16, 0, -3), qr/^line \d+: not XML: /],
        'version.xml'  => ["<?xml version=\"2.0\"?>$head$good$tail", qr/^line 1: not XML: Unsupported version/],
        'html.xml'     => ["<html><body>504 Gateway Time-out</body></html>", qr/neither an EPCIS document/],
    );
};

subtest 'what ends too early' => sub {
    my $xml  = "$head$good" . xml_event(epc('T3')) . $tail;
    my $json = '{"type":"EPCISDocument","epcisBody":{"eventList":[' . json_event(epc('T1')) . ',' . json_event(epc('T3')) . ']}}';

    my %file;

    for my $part (0.1, 0.5, 0.9, 0.999) {
        $file{"cut$part.xml"}  = [substr($xml, 0, length($xml) * $part - 1), qr/^line \d+: not XML: /];
        $file{"cut$part.json"} = [substr($json, 0, length($json) * $part - 1), qr/line \d+: not JSON: /];
    }

    $file{'cut.csv'}   = ["gtin,serial,lot,expiry\n$gtin,T1,L1,301231\n$gtin,\"T2", qr/line 3: a quoted field does not end/];
    $file{'twice.xml'} = ["$xml$xml", qr/not XML: Extra content/];
    $file{'empty.xml'} = ["\n\n", qr/./];

    refused(%file);
    is(packs(), 0, 'nothing at all is loaded until here');
};

subtest 'a line that ends in the middle of a CSV file' => sub {
    my ($place, $report) = feed('cut-line.csv', "gtin,serial,lot,expiry\n$gtin,C1,LC,301231\n$gtin,C\0,LC,301231\n$gtin,C3,L");

    is("$place $report->{packs} $report->{lines_rejected}", 'done 1 2', 'whole lines are loaded');
    is(join(' ', map { "$_->{line} $_->{reason}" } @{$report->{errors}}), '3 serial_charset 4 field_count', 'the others are told');
};

subtest 'names' => sub {
    my $entries = sub { return [sort map { s{.*/}{}r } glob $sv->base . '/*'] };
    my $before  = $entries->();
    my $n       = 0;

    for my $name ('..xml', '...' . 'x' x 200 . '.xml') {
        $sv->deliver($name, $head . xml_event(epc('N' . ++$n)) . $tail);
    }

    for my $name ('-rf.xml', "a\nb.xml", 'a b;$(id)`id`.xml', "\xff\xfe.xml", '%s%n.xml', 'x' x 200, "\x1b]0;x\a.xml") {
        my $shown = $name =~ s/[^ -~]/?/gr;

        $sv->deliver($name, $head . xml_event(epc('N' . ++$n)) . $tail);
        wait_for { $sv->filed($name) eq 'done' } "$shown to be filed";
        is($sv->sql('select count(*) from sv.pack where serial = ?', "N$n"), 1, "$shown: loaded, and filed under its name");
    }

    $sv->deliver('y' x 240, $head . xml_event(epc('N' . ++$n)) . $tail);
    wait_for { glob($sv->base . '/inbox/done/' . 'y' x 200 . '*.report.txt') } 'a name that leaves no room for a report';
    is($sv->sql('select count(*) from sv.pack where serial = ?', "N$n"), 1, 'a name that leaves no room for a report: loaded and filed');

    is_deeply([sort grep { !/^(?:done|rejected)$/ } map { s{.*/}{}r } glob $sv->base . '/inbox/*'], [], 'nothing is left in the inbox');
    is($sv->sql(q{select count(*) from sv.pack where serial in ('N1', 'N2')}), 0, 'but for what begins with a dot');
    is_deeply($entries->(), $before, 'nothing came to lie elsewhere');
};

subtest 'one event of 50 MB' => sub {
    my @long = map { sprintf 'https://id.example.com/products/of/a/company/with/a/long/path/01/%s/21/E%07d', $gtin, $_ } 1 .. $epcs;
    my ($pid, $before) = reader();

    my $file = $head . xml_event(@long) . $tail;
    cmp_ok(length $file, '>', 47_000_000, 'it is that large');

    my ($place, $report) = feed('large.xml', $file);
    is("$place $report->{state} $report->{packs}", "done loaded $epcs", 'XML');

    $file = '{"type":"EPCISDocument","epcisBody":{"eventList":[' . json_event(reverse @long) . ']}}';
    ($place, $report) = feed('large.json', $file);
    is("$place $report->{state} $report->{packs} $report->{events_seen}", 'done loaded 0 1', 'JSON: it is the same event');
};

subtest 'the one that read all this' => sub {
    my ($place, $report) = feed('good.xml', "$head$good$tail");
    is("$place $report->{state} $report->{packs}", 'done loaded 2', 'a good file is loaded');

    my ($pid, $kb) = reader();
    is(join(' ', $sv->server('worker')->children), $pid, 'it is one process');
    unlike($sv->log_of('worker'), qr/ended|exited/, 'and the first one');

    SKIP: {
        skip 'sanitizers need memory', 1 if $sv->asan;
        diag("VmHWM $kb kB");
        cmp_ok($kb, '<', $limit, 'and stays small');
    }
};

$sv->done_testing;
