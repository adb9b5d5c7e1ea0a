package Test::SerialVerify::Feed;

# Facts as feeds write them: the same list of events in every syntax.
#
#   my $feed  = Test::SerialVerify::Feed->new(gtin => 9506000134352);
#   my $bytes = $feed->document('xml1', {step => 'commissioning', items => ['A1'], lot => 'L1', expiry => '2030-12-31'}, ..);
#
# Syntaxes: csv, json, json_query, xml1, xml1_query, xml1_soap (EPCIS 1.2), xml2, xml2_query, xml2_soap.
#
# An event has step, kind, action, time, offset, items, parent, lot, expiry, id, error {reason, time, corrective},
# disposition, read_point and biz_location ([GLN, extension]), orders ([type, number]..), to ([type, GLN]..),
# quantities ([GTIN, lot, quantity, unit]..), sensors ({time, device, reports => [{type, value, uom}..]}..),
# more {name => text}, market.  An item is a serial, "GTIN/SERIAL", or an SSCC.
#
# What may be written in several ways is written in any of them (rand): URN or
# Digital Link of any host, words bare or not, times, the order of members and items.

use strict;
use warnings;

use JSON::PP ();
use List::Util qw(shuffle sum0);
use POSIX ();

my $namespace = 'http://example.com/epcis/line/';
my $plain     = JSON::PP->new->canonical->allow_nonref;

my %action = (
    commissioning => 'add', packing => 'add', unpacking => 'delete', decommissioning => 'delete', destroying => 'delete',
    dispensing => 'delete',
);

my %web = (bizstep => 'BizStep', disp => 'Disp', btt => 'BTT', sdt => 'SDT', er => 'ER');

my %space = (
    epcis1 => 'urn:epcglobal:epcis:xsd:1', epcis2 => 'urn:epcglobal:epcis:xsd:2',
    query1 => 'urn:epcglobal:epcis-query:xsd:1', query2 => 'urn:epcglobal:epcis-query:xsd:2',
);


sub new {
    my ($class, %option) = @_;

    return bless {gtin => 9506000134352, %option}, $class;
}


sub syntaxes { return qw(json json_query xml1 xml1_query xml1_soap xml2 xml2_query xml2_soap) }

sub check_digit {
    my ($digits) = @_;

    my $weight = 1;

    return (10 - sum0(map { $_ * ($weight = 4 - $weight) } reverse split //, $digits) % 10) % 10;
}

sub sscc { my ($n) = @_; my $body = sprintf '09506000%09d', $n; return $body . check_digit($body) }
sub gln  { my ($n) = @_; my $body = sprintf '9506000%05d', $n; return $body . check_digit($body) }

sub one_of { return $_[int rand @_] }


sub document {
    my ($self, $syntax, @events) = @_;

    return $self->csv(@events) if $syntax eq 'csv';

    # how this file says it
    my $old = $syntax =~ /^xml1/;
    local $self->{how} = {
        link => !$old && rand() < 0.5, host => one_of('https://id.gs1.org', 'https://example.com', 'http://brand.example/some/path'),
        word => one_of($old ? qw(urn) : $syntax =~ /^xml/ ? qw(urn web) : qw(bare bare web urn)), prefix => one_of(6, 7, 7, 9, 12), old => $old,
    };

    return $syntax =~ /^json/ ? $self->json($syntax, @events) : $self->xml($syntax, @events);
}


# what was left away
sub whole {
    my ($event) = @_;

    my %e = %{$event};

    $e{step} //= 'commissioning' if !exists $e{step};
    $e{kind} //= ($e{step} // '') =~ /packing$/ ? 'aggregation' : 'object';
    $e{action} //= $action{$e{step} // ''} // 'observe';
    $e{time} //= '2026-11-01T10:00:00Z';
    $e{offset} //= '+00:00';
    $e{items} //= [];

    return \%e;
}


# --- values

sub item {
    my ($self, $name) = @_;

    return (0, $name) if $name =~ /^[0-9]{18}$/;
    return (sprintf('%014d', $1), $2) if $name =~ m{^([0-9]{8,14})/(.+)$};

    return (sprintf('%014d', $self->{gtin}), $name);
}


sub link_escape { my ($text) = @_; $text =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ge; return $text }

# an EPC URN writes some signs as they are
sub urn_escape { my ($text) = @_; $text =~ s/(["%&\/<>?])/sprintf '%%%02X', ord $1/ge; return $text }


sub epc {
    my ($self, $name) = @_;

    my $how = $self->{how};
    my ($gtin, $serial) = $self->item($name);

    if ($how->{link}) {
        return "$how->{host}/00/$serial" if !$gtin;
        return "$how->{host}/01/$gtin/21/" . link_escape($serial);
    }

    return 'urn:epc:id:sscc:' . substr($serial, 1, 7) . '.' . substr($serial, 0, 1) . substr($serial, 8, 9) if !$gtin;

    return "urn:epc:id:sgtin:" . $self->company($gtin) . '.' . urn_escape($serial);
}


# prefix and item reference; the same GTIN whatever the length of the prefix
sub company {
    my ($self, $gtin) = @_;

    my $n = $self->{how}{prefix};

    return substr($gtin, 1, $n) . '.' . substr($gtin, 0, 1) . substr($gtin, 1 + $n, 12 - $n);
}


sub class_of {
    my ($self, $gtin, $lot) = @_;

    $gtin = sprintf '%014d', $gtin;

    return "$self->{how}{host}/01/$gtin/10/" . link_escape($lot) if $self->{how}{link};
    return 'urn:epc:class:lgtin:' . $self->company($gtin) . '.' . urn_escape($lot);
}


sub place {
    my ($self, $gln, $extension) = @_;

    return "$self->{how}{host}/414/$gln" . (defined $extension ? "/254/$extension" : '') if $self->{how}{link};
    return 'urn:epc:id:sgln:' . substr($gln, 0, 7) . '.' . substr($gln, 7, 5) . '.' . ($extension // '0');
}


sub word {
    my ($self, $vocabulary, $word) = @_;

    my $how = $self->{how}{word};

    # of somebody's own
    return $word if $word =~ /:/ || $how eq 'bare';
    return "https://ref.gs1.org/cbv/$web{$vocabulary}-$word" if $how eq 'web';
    return "urn:epcglobal:cbv:$vocabulary:$word";
}


# the same instant
sub instant {
    my ($time) = @_;

    my ($date, $h, $m, $s) = $time =~ /^(\S+)T(\d\d):(\d\d):(\d\d)Z$/ or die "time: $time";

    return one_of("${date}T$h:$m:${s}Z", "${date}T$h:$m:$s.000Z", "${date}T$h:$m:$s+00:00",
        $h < 23 ? sprintf('%sT%02d:%s:%s+01:00', $date, $h + 1, $m, $s) : $time, $h > 4 ? sprintf('%sT%02d:%s:%s-05:00', $date, $h - 5, $m, $s) : $time);
}


# --- CSV: commissionings of packs, and of these no more than this

sub csv {
    my ($self, @events) = @_;

    my $sign = one_of(',', ';');
    my @rows;

    for my $e (map { whole($_) } @events) {
        next if $e->{step} ne 'commissioning' || $e->{error} || !defined $e->{lot};

        for my $name (shuffle(@{$e->{items}})) {
            my ($gtin, $serial) = $self->item($name);
            push @rows, [$gtin, $serial, $e->{lot}, expiry($e->{expiry}), instant($e->{time})];
        }
    }

    return join '', map { join($sign, map { quoted($_, $sign) } @{$_}) . "\n" } ['gtin', 'serial', 'lot', 'expiry', 'event_time'], @rows;
}


# the end of a month may be its day 00
sub expiry {
    my ($date) = @_;

    my ($y, $m, $d) = $date =~ /^\d\d(\d\d)-(\d\d)-(\d\d)$/ or die "expiry: $date";
    my $next = (localtime POSIX::mktime(0, 0, 12, $d + 1, $m - 1, $y + 100))[3];

    return one_of($date, "20$y$m$d", "$y$m" . ($next == 1 ? '00' : $d));
}

sub quoted {
    my ($text, $sign) = @_;

    return $text if $text !~ /["\Q$sign\E]/ && rand() < 0.8;
    $text =~ s/"/""/g;

    return qq("$text");
}


# --- JSON-LD

sub json {
    my ($self, $syntax, @events) = @_;

    my $own    = rand() < 0.5;
    my $prefix = one_of('ex', 'line', 'x');
    my $list   = '[' . join(",\n", map { $self->json_event($_, $prefix, $own) } @events) . ']';
    my %member = (
        '@context'    => $plain->encode(['https://ref.gs1.org/standards/epcis/epcis-context.jsonld', $own ? () : {$prefix => $namespace}]),
        type          => $plain->encode($syntax eq 'json' ? 'EPCISDocument' : 'EPCISQueryDocument'),
        schemaVersion => '"2.0"',
        creationDate  => '"2026-11-20T10:00:00Z"',
    );
    my $body = $syntax eq 'json' ? qq({"eventList":$list}) : qq({"queryResults":{"queryName":"SimpleEventQuery","resultsBody":{"eventList":$list}}});

    return '{' . join(',', (map { qq("$_":$member{$_}) } sort keys %member), qq("epcisBody":$body)) . '}';
}


sub json_event {
    my ($self, $event, $prefix, $own) = @_;

    my $e = whole($event);
    my %o = (
        type => ucfirst("$e->{kind}Event"), action => uc $e->{action}, eventTime => instant($e->{time}), eventTimeZoneOffset => $e->{offset},
        ($e->{kind} eq 'aggregation' ? 'childEPCs' : 'epcList') => [map { $self->epc($_) } shuffle(@{$e->{items}})],
    );

    delete $o{childEPCs} if !@{$e->{items}} && rand() < 0.5;
    $o{'@context'} = {$prefix => $namespace} if $own;
    $o{eventID} = $e->{id} if defined $e->{id};
    $o{parentID} = $self->epc($e->{parent}) if defined $e->{parent};
    $o{bizStep} = $self->word('bizstep', $e->{step}) if defined $e->{step};
    $o{disposition} = $self->word('disp', $e->{disposition}) if defined $e->{disposition};
    $o{readPoint} = {id => $self->place(@{$e->{read_point}})} if $e->{read_point};
    $o{bizLocation} = {id => $self->place(@{$e->{biz_location}})} if $e->{biz_location};
    $o{ilmd} = {'cbvmda:lotNumber' => $e->{lot}, 'cbvmda:itemExpirationDate' => $e->{expiry}} if defined $e->{lot};
    $o{"$prefix:$_"} = $e->{more}{$_} for keys %{$e->{more} // {}};
    $o{"$prefix:countryMarket"} = $e->{market} if defined $e->{market};

    $o{bizTransactionList} = [map { {type => $self->word('btt', $_->[0]), bizTransaction => $_->[1]} } @{$e->{orders}}] if $e->{orders};
    $o{destinationList} = [map { {type => $self->word('sdt', $_->[0]), destination => $self->place($_->[1])} } @{$e->{to}}] if $e->{to};
    $o{quantityList} = [map { {epcClass => $self->class_of(@{$_}[0, 1]), quantity => $_->[2] + 0, uom => $_->[3]} } @{$e->{quantities}}] if $e->{quantities};

    $o{sensorElementList} = [map { {
        sensorMetadata => {time => instant($_->{time}), deviceID => $_->{device}},
        sensorReport   => [map { {type => one_of('', 'gs1:') . $_->{type}, value => $_->{value} + 0, uom => $_->{uom}} } @{$_->{reports}}],
    } } @{$e->{sensors}}] if $e->{sensors};

    $o{errorDeclaration} = {
        declarationTime => instant($e->{error}{time} // '2026-11-15T10:00:00Z'), reason => $self->word('er', $e->{error}{reason} // 'did_not_occur'),
        $e->{error}{corrective} ? (correctiveEventIDs => $e->{error}{corrective}) : (),
    } if $e->{error};

    # names are read with the prefixes in front of them
    return '{' . join(',', map { $plain->encode($_) . ':' . $plain->encode($o{$_}) } grep({ exists $o{$_} } '@context'),
        shuffle(grep { $_ ne '@context' } sort keys %o)) . '}';
}


# --- XML

sub text {
    my ($value) = @_;

    return "<![CDATA[$value]]>" if $value !~ /]]>/ && rand() < 0.1;

    my %entity = ('&' => one_of('&amp;', '&#38;'), '<' => one_of('&lt;', '&#x3C;'), '>' => '&gt;', '"' => one_of('"', '&quot;'), "'" => one_of("'", '&apos;'));
    $value =~ s/([&<>"'])/$entity{$1}/g;

    return $value;
}

sub attribute { my ($value) = @_; $value =~ s/&/&amp;/g; $value =~ s/</&lt;/g; $value =~ s/"/&quot;/g; return qq("$value") }
sub element   { my ($name, @content) = @_; return join '', "<$name>", @content, '</' . ($name =~ /^(\S+)/)[0] . '>' }


sub xml {
    my ($self, $syntax, @events) = @_;

    my ($version, $as) = $syntax =~ /^xml([12])_?(\w*)$/ or die "syntax: $syntax";
    my $more = qq( xmlns:cbvmda="urn:epcglobal:cbv:mda" xmlns:x="$namespace");
    my $list = element('EventList', "\n", map { $self->xml_event($_) . "\n" } @events);
    my $body;

    if ($as eq 'query') {
        $body = element(qq(q:EPCISQueryDocument xmlns:q="$space{"query$version"}"$more), element('EPCISBody',
            element('q:QueryResults', '<queryName>SimpleEventQuery</queryName>', element('resultsBody', $list))));
    } else {
        my $schema = $version == 1 ? '1.2' : '2.0';
        $body = element(qq(e:EPCISDocument xmlns:e="$space{"epcis$version"}"$more schemaVersion="$schema" creationDate="2026-11-20T10:00:00Z"),
            element('EPCISBody', $list));
    }

    $body = element('s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"', '<s:Header/>', element('s:Body', $body)) if $as eq 'soap';

    return qq(<?xml version="1.0" encoding="UTF-8"?>\n$body);
}


sub xml_event {
    my ($self, $event) = @_;

    my $e   = whole($event);
    my $old = $self->{how}{old};

    my $epcs   = join '', map { element('epc', text($self->epc($_))) } shuffle(@{$e->{items}});
    my @base   = (defined $e->{id} ? element('eventID', text($e->{id})) : (), $e->{error} ? $self->xml_error($e->{error}) : ());
    my @orders = $e->{orders} ? element('bizTransactionList', map { '<bizTransaction type=' . attribute($self->word('btt', $_->[0])) . '>' . text($_->[1])
        . '</bizTransaction>' } @{$e->{orders}}) : ();
    my @rest   = (
        $e->{quantities} ? element('quantityList', map { element('quantityElement', element('epcClass', text($self->class_of(@{$_}[0, 1]))),
            element('quantity', $_->[2]), element('uom', $_->[3])) } @{$e->{quantities}}) : (),
        $e->{to} ? element('destinationList', map { '<destination type=' . attribute($self->word('sdt', $_->[0])) . '>'
            . text($self->place($_->[1])) . '</destination>' } @{$e->{to}}) : (),
        defined $e->{lot} ? element('ilmd', element('cbvmda:lotNumber', text($e->{lot})), element('cbvmda:itemExpirationDate', $e->{expiry})) : (),
        $e->{sensors} ? element('sensorElementList', map { $self->xml_sensor($_) } @{$e->{sensors}}) : (),
    );

    return element(ucfirst("$e->{kind}Event"),
        element('eventTime', instant($e->{time})), element('eventTimeZoneOffset', $e->{offset}),
        @base && $old ? element('baseExtension', @base) : @base,
        $e->{kind} eq 'transaction' ? @orders : (),
        defined $e->{parent} ? element('parentID', text($self->epc($e->{parent}))) : (),
        element($e->{kind} eq 'aggregation' ? 'childEPCs' : 'epcList', $epcs),
        element('action', uc $e->{action}),
        defined $e->{step} ? element('bizStep', text($self->word('bizstep', $e->{step}))) : (),
        defined $e->{disposition} ? element('disposition', text($self->word('disp', $e->{disposition}))) : (),
        $e->{read_point} ? element('readPoint', element('id', $self->place(@{$e->{read_point}}))) : (),
        $e->{biz_location} ? element('bizLocation', element('id', $self->place(@{$e->{biz_location}}))) : (),
        $e->{kind} eq 'transaction' ? () : @orders,
        @rest && $old ? element('extension', @rest) : @rest,
        (map { element("x:$_", text($e->{more}{$_})) } sort keys %{$e->{more} // {}}),
        defined $e->{market} ? element('x:countryMarket', $e->{market}) : ());
}


sub xml_error {
    my ($self, $error) = @_;

    return element('errorDeclaration', element('declarationTime', instant($error->{time} // '2026-11-15T10:00:00Z')),
        element('reason', $self->word('er', $error->{reason} // 'did_not_occur')),
        $error->{corrective} ? element('correctiveEventIDs', map { element('correctiveEventID', text($_)) } @{$error->{corrective}}) : ());
}


sub xml_sensor {
    my ($self, $sensor) = @_;

    return element('sensorElement',
        '<sensorMetadata time=' . attribute(instant($sensor->{time})) . ' deviceID=' . attribute($sensor->{device}) . '/>',
        map { '<sensorReport type=' . attribute("gs1:$_->{type}") . ' value=' . attribute($_->{value} . ($_->{value} =~ /[.]/ ? '0' : ''))
            . ' uom=' . attribute($_->{uom}) . '/>' } @{$sensor->{reports}});
}


1;
