#!/usr/bin/env perl

# A manufacturer captures, recalls and exports only its own products: everything
# that another company's may try changes nothing, shows nothing, and is answered
# as if there were nothing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Digest::SHA qw(sha256_hex);
use JSON::PP;
use Test::More;

use Test::SerialVerify;

my $gtin   = '09506000134352';
my $case_n = '19506000134359';
my $own    = '09506000164908';                  # of company bolt, who tries
my $none   = '09506000199993';                  # of nobody
my $sv     = Test::SerialVerify->new;
my $writer = JSON::PP->new->canonical;

$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin, company => 'acme', name => 'Acmedol');
$sv->product($own, company => 'bolt');

my $acme  = $sv->actor('manufacturer', company => 'acme');
my $bolt  = $sv->actor('manufacturer', company => 'bolt');
my $trade = $sv->actor('wholesaler', company => 'trade');
my $para  = $sv->actor('parallel_distributor', company => 'para');
my $loose = $sv->actor('manufacturer');
my $law   = $sv->actor('authority');

$sv->start_worker(roles => 'ingest, housekeeping', housekeeping_interval => '100ms', $sv->api_settings);
$sv->start_api;
$sv->start_nginx(api => 1, verify => {deadline => '5s'});


sub epc { my ($serial, $code) = @_; return sprintf 'https://id.gs1.org/01/%s/21/%s', $code // $gtin, $serial }

sub sscc {
    my ($digits, $sum, $w) = (sprintf('09506000%09d', $_[0]), 0, 1);

    $sum += $_ * ($w = 4 - $w) for reverse split //, $digits;

    return 'https://id.gs1.org/00/' . $digits . (10 - $sum % 10) % 10;
}

# event(TIME, MEMBER => VALUE..)
sub event {
    my ($time, %event) = @_;

    return {type => 'ObjectEvent', action => 'OBSERVE', eventTimeZoneOffset => '+00:00', eventTime => "2026-11-01T$time:00Z", %event};
}

sub commissioning {
    my ($time, $lot, $epcs, %more) = @_;

    return event($time, action => 'ADD', bizStep => 'commissioning', disposition => 'active', epcList => $epcs,
        ilmd => {'cbvmda:lotNumber' => $lot, 'cbvmda:itemExpirationDate' => '2030-12-31'}, %more);
}

sub packing {
    my ($time, $parent, $children, %more) = @_;

    return event($time, type => 'AggregationEvent', action => 'ADD', bizStep => 'packing', parentID => $parent, childEPCs => $children, %more);
}

sub wrong {
    my ($event, %more) = @_;

    return {%{$event}, errorDeclaration => {declarationTime => '2026-11-02T08:00:00Z', reason => 'https://ref.gs1.org/cbv/ER-did_not_occur'}, %more};
}

sub document {
    return $writer->encode({'@context' => ['https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld'], type => 'EPCISDocument',
        schemaVersion => '2.0', creationDate => '2026-11-01T00:00:00Z', epcisBody => {eventList => \@_}});
}

sub escape { my ($text) = @_; return $text =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ger }

sub ask {
    my ($who, $method, $target, $body, %header) = @_;

    return $sv->request($method, $target, key => $who->{key}, timeout => 60,
        (defined $body ? (body => ref $body ? $writer->encode($body) : $body, headers => {'Content-Type' => 'application/json', %header}) : ()));
}

# The job of a capture, when it is done.
sub capture {
    my ($who, $body, %header) = @_;

    my $answer = ask($who, 'POST', '/epcis/capture', $body, %header);
    my $job    = $answer->{headers}{location} // die "no job: $answer->{status} $answer->{body}";

    return Test::SerialVerify::wait_for { my $got = ask($who, 'GET', $job)->{json}; !$got->{running} && $got } 'the job to be done';
}

# Without what differs from request to request, and without what was asked for.
sub words {
    my ($answer, @asked) = @_;

    my $text = "$answer->{status} $answer->{body}";
    $text =~ s/"request_id":"[0-9a-f]+"//g;
    $text =~ s/\Q$_\E/ITEM/g for @asked;

    return $text;
}


# --- what acme has, of an inbox and of its own captures

my %uuid;
sub uuid { return $uuid{$_[0]} //= 'urn:uuid:' . join '-', unpack 'A8 A4 A4 A4 A12', sha256_hex($_[0]) =~ s/^(.{12})./${1}4/r =~ s/^(.{16})./${1}8/r }

my @packs = map { epc("P$_") } 1 .. 12;
my $case  = epc('C1', $case_n);
my %line  = (
    packs    => commissioning('08:00', 'L1', \@packs),
    boxes    => event('08:01', action => 'ADD', bizStep => 'commissioning', epcList => [$case, map { sscc($_) } 1 .. 3]),
    case     => packing('08:02', $case, [@packs[0 .. 3]]),
    box      => packing('08:03', sscc(1), [@packs[4 .. 7]]),
    pallet   => packing('08:04', sscc(2), [$case, sscc(1)]),
    filled   => packing('08:05', sscc(3), [@packs[8 .. 9]]),
    emptied  => event('08:06', type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', parentID => sscc(3)),
);
my @line = map { $line{$_} } qw(packs boxes case box pallet filled emptied);

my ($code, $said) = $sv->command('load-file', $sv->write_file('line.json', document(@line)));
is($code, 0, 'a file of an inbox') or diag($said);

my @more = map { epc("Q$_") } 1 .. 6;
my %told = (
    packs   => commissioning('09:00', 'L2', \@more, eventID => uuid('packs')),
    boxes   => event('09:01', action => 'ADD', bizStep => 'commissioning', epcList => [sscc(11), sscc(12), sscc(13)], eventID => uuid('boxes')),
    box     => packing('09:02', sscc(11), [@more[0 .. 3]], eventID => uuid('box')),
    pallet  => packing('09:03', sscc(12), [sscc(11)], eventID => uuid('pallet')),
    filled  => packing('09:04', sscc(13), [@more[4 .. 5]], eventID => uuid('filled')),
    emptied => event('09:05', type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', parentID => sscc(13), eventID => uuid('emptied')),
    reject  => event('09:06', action => 'DELETE', bizStep => 'decommissioning', disposition => 'inactive', epcList => [$more[5]], eventID => uuid('reject')),
    shipped => event('09:07', bizStep => 'shipping', disposition => 'in_transit', epcList => [sscc(12)], eventID => uuid('shipped')),
);
my @told = map { $told{$_} } qw(packs boxes box pallet filled emptied reject shipped);
my $first = ask($acme, 'POST', '/epcis/capture', document(@told));
my $job   = $first->{headers}{location};
Test::SerialVerify::wait_for { !ask($acme, 'GET', $job)->{json}{running} } 'a capture';
ok(ask($acme, 'GET', $job)->{json}{success}, 'captured by acme') or diag(ask($acme, 'GET', $job)->{body});
ok(capture($bolt, document(commissioning('08:00', 'B1', [map { epc("B$_", $own) } 1 .. 4])))->{success}, 'bolt captures its own');

$code = ($sv->command('serials', 'rule', '--gtin', $_, '--alphabet', '23456789ABCDEFGHJKLMNPQRSTUVWXYZ', '--length', 12))[0] for $gtin, $own;
my $issued = ask($acme, 'POST', "/serials/$gtin", {line => 'l', n => 5, lot => 'L1'}, 'Idempotency-Key' => 'k1');
is($issued->{status}, 201, 'numbers for acme') or diag($issued->{body});
my $recall = ask($acme, 'POST', '/recalls', {gtin => $gtin, from => 'ZZ1', to => 'ZZ9', reason => 'glass'});
is($recall->{status}, 201, 'a recall of acme') or diag($recall->{body});
is(ask($acme, 'POST', "/lots/$gtin/L1", {packs => 12})->{status}, 201, 'a declared lot');


# Everything of acme's, as the authority and the tables know it.
sub state_of_acme {
    my @state = map { @{$sv->dbh->selectcol_arrayref($_)} } (
        qq{select concat_ws(' ', gtin, serial, state, version, lot, expiry, location_id) from sv.pack where gtin = $gtin order by serial},
        qq{select concat_ws(' ', gtin, lot, expiry, recalled_at, reason) from sv.lot where gtin = $gtin order by lot},
        qq{select concat_ws(' ', gtin, company, withdrawn_at, partly_recalled, ref_n) from sv.product where gtin = $gtin},
        qq{select concat_ws(' ', recall_id, reason, lifted_at) from sv.recall where gtin = $gtin order by at},
        qq{select concat_ws(' ', request_id, line) from sv.serial_request where gtin = $gtin order by 1},
        qq{select n::text from sv.serial_number x, lateral (select count(*) as n) y where x.gtin = $gtin order by 1},
        qq{select concat_ws(' ', lot, packs, rejected) from sv.lot_declaration where gtin = $gtin order by 1},
        qq{select concat_ws(' ', serial, load_id, event, lot) from sv.commission where gtin = $gtin order by 1},
        qq{select concat_ws(' ', serial, step, derived) from sv.item_end where gtin = $gtin order by 1},
        qq{select concat_ws(' ', load_id, event, step, error) from sv.event where load_id in (1, 2) order by load_id, event},
    );

    for my $item ($case, map { sscc($_) } 1 .. 3, 11 .. 13) {
        my $answer = ask($law, 'GET', '/containers?epc=' . escape($item))->{json};
        push @state, $item . ' ' . $writer->encode([map { "$_->{epc} $_->{parent}" } @{$answer->{items} // []}]), "@{$answer->{parents} // []}";
    }

    for my $item ($packs[0], $packs[9], $more[0], $more[5], $case, map { sscc($_) } 1 .. 3, 11 .. 13) {
        my $answer = ask($law, 'GET', '/epcis/events?MATCH_anyEPC=' . escape($item))->{json};
        push @state, $item . ' ' . $writer->encode([map { "$_->{bizStep} $_->{eventID} " . ($_->{errorDeclaration} ? '!' : '') }
            @{$answer->{epcisBody}{queryResults}{resultsBody}{eventList} // []}]);
    }

    return \@state;
}

my $before = state_of_acme();
cmp_ok(scalar @{$before}, '>', 40, 'what there is');

sub nothing_changed {
    my ($name) = @_;

    my $now = state_of_acme();
    my $ok  = is_deeply($now, $before, "$name: nothing changed");
    $before = $now;

    return $ok;
}


# --- captures

subtest 'captures' => sub {
    my $mine = epc('B1', $own);
    my %try  = (
        'a new serial'                   => commissioning('10:00', 'L1', [epc('NEW1')]),
        'a serial again'                 => commissioning('10:00', 'L9', [$packs[0]]),
        'a serial among its own'         => commissioning('10:00', 'L9', [epc('B9', $own), epc('NEW2')]),
        'a rejected pack'                => event('10:00', action => 'DELETE', bizStep => 'decommissioning', epcList => [$packs[0]]),
        'a rejected pack among its own'  => event('10:00', action => 'DELETE', bizStep => 'decommissioning', epcList => [$mine, $packs[0]]),
        'a destroyed pack'               => event('10:00', action => 'DELETE', bizStep => 'destroying', epcList => [$packs[10]]),
        'a sampled pack'                 => event('10:00', bizStep => 'sampling', epcList => [$packs[10]]),
        'a dispensed pack'               => event('10:00', bizStep => 'dispensing', epcList => [$packs[10]]),
        'a stolen pack'                  => event('10:00', bizStep => 'urn:serial-verify:bizstep:stealing', epcList => [$packs[10]]),
        'a destroyed case'               => event('10:00', action => 'DELETE', bizStep => 'destroying', epcList => [$case]),
        'a destroyed box'                => event('10:00', action => 'DELETE', bizStep => 'destroying', epcList => [sscc(1)]),
        'a destroyed pallet'             => event('10:00', action => 'DELETE', bizStep => 'destroying', epcList => [sscc(2)]),
        'a destroyed captured pallet'    => event('10:00', action => 'DELETE', bizStep => 'destroying', epcList => [sscc(12)]),
        'a decommissioned box'           => event('10:00', action => 'DELETE', bizStep => 'decommissioning', epcList => [sscc(11)]),
        'an emptied pallet'              => event('10:00', type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', parentID => sscc(2)),
        'an emptied captured pallet'     => event('10:00', type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', parentID => sscc(12)),
        'an emptied case'                => event('10:00', type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', parentID => $case),
        'a box taken from the pallet'    => event('10:00', type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', parentID => sscc(2), childEPCs => [sscc(1)]),
        'a box taken from somewhere'     => event('10:00', type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', childEPCs => [sscc(1)]),
        'a pack taken from the box'      => event('10:00', type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', parentID => sscc(1), childEPCs => [$packs[4]]),
        'a pack packed'                  => packing('10:00', sscc(900), [$packs[4]]),
        'a case packed'                  => packing('10:00', sscc(901), [$case]),
        'a box packed'                   => packing('10:00', sscc(902), [sscc(1)]),
        'its pack into the box'          => packing('10:00', sscc(1), [$mine]),
        'its pack into the case'         => packing('10:00', $case, [$mine]),
        'its pack into the captured box' => packing('10:00', sscc(13), [$mine]),
        'a shipped pallet'               => event('10:00', bizStep => 'shipping', epcList => [sscc(2)]),
        'a shipped pack'                 => event('10:00', bizStep => 'shipping', epcList => [$packs[4]]),
        'a pack in a transaction'        => event('10:00', type => 'TransactionEvent', action => 'ADD', bizStep => 'shipping', epcList => [$packs[4]],
            bizTransactionList => [{type => 'po', bizTransaction => 'urn:x:1'}]),
        'a commissioned box'             => event('10:00', action => 'ADD', bizStep => 'commissioning', epcList => [sscc(11)]),
    );

    for my $what (sort keys %told) {
        my $id = uuid($what);
        $try{"the capture's $what, an error, in full"} = wrong($told{$what});
        $try{"the capture's $what, an error, of its own pack"} = wrong(event('10:00', action => 'DELETE', bizStep => 'decommissioning', epcList => [$mine], eventID => $id));
        $try{"the capture's $what, an error, of its own box"} = wrong(packing('10:00', sscc(910), [$mine], eventID => $id));
        $try{"the capture's $what, an error, of its own serial"} = wrong(commissioning('10:00', 'B1', [$mine], eventID => $id));
        $try{"the capture's $what, taken over"} = event('10:00', bizStep => 'storing', epcList => [$mine], eventID => $id);
    }

    $try{"the inbox's $_, an error, in full"} = wrong($line{$_}) for sort keys %line;

    for my $name (sort keys %try) {
        for my $how (qw(rollback proceed)) {
            my $done = capture($bolt, document($try{$name}), 'GS1-Capture-Error-Behaviour' => $how);

            ok(!$done->{success}, "$name, $how: refused") or diag($writer->encode($done));
            unlike($writer->encode($done->{errors}), qr/line\.json|acme|Acmedol/, "$name, $how: and nothing is shown");
        }
    }

    nothing_changed('all of it');

    my $csv = ask($bolt, 'POST', '/epcis/capture', "gtin,serial,lot,expiry\n$gtin,CSV1,L1,2030-12-31\n$gtin,P1,L9,2030-12-31\n", 'Content-Type' => 'text/csv');
    Test::SerialVerify::wait_for { !ask($bolt, 'GET', $csv->{headers}{location})->{json}{running} } 'a CSV file';
    ok(!ask($bolt, 'GET', $csv->{headers}{location})->{json}{success}, 'a CSV file: refused');
    capture($bolt, document(event('10:00', action => 'ADD', bizStep => 'commissioning', epcList => [epc('B8', $own)],
        ilmd => {'cbvmda:lotNumber' => 'L1', 'cbvmda:itemExpirationDate' => '2030-12-31'},
        quantityList => [{epcClass => "https://id.gs1.org/01/$gtin/10/L1", quantity => 99}])));
    Test::SerialVerify::wait_for { $sv->sql('select count(*) from sv.event_declared') } 'the quantity is looked at';
    nothing_changed('a CSV file, a quantity');

    for my $who ($trade, $para) {
        capture($who, document($_), 'GS1-Capture-Error-Behaviour' => 'proceed')
            for $try{'a rejected pack'}, $try{'an emptied pallet'}, $try{'a destroyed pallet'}, wrong($told{packs}), wrong($line{emptied});
    }

    nothing_changed('a wholesaler, a parallel distributor');

    is(ask($loose, 'POST', '/epcis/capture', document($try{'a new serial'}))->{status}, 403, 'who belongs to no company captures nothing');
};


# What is said before the line says it: the line's word stands.
subtest 'ahead of the line' => sub {
    my $mine = epc('B2', $own);

    capture($bolt, document($_)) for (
        wrong(commissioning('11:00', 'B1', [$mine], eventID => uuid('later'))),
        wrong(event('11:00', bizStep => 'storing', epcList => [$mine], eventID => uuid('later box'))),
        wrong(event('11:04', type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', parentID => sscc(22), eventID => uuid('later out'))),
        wrong(event('11:01', action => 'ADD', bizStep => 'commissioning', epcList => [sscc(21), sscc(22)], eventID => uuid('later boxes'))),
        event('12:00', type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', parentID => sscc(22)),
        event('12:00', type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', parentID => sscc(21)),
        packing('12:00', sscc(930), [sscc(21)]),
        event('12:00', action => 'DELETE', bizStep => 'destroying', epcList => [sscc(22)]),
    );

    my $done = capture($acme, document(
        commissioning('11:00', 'L3', [map { epc("R$_") } 1 .. 4], eventID => uuid('later')),
        event('11:01', action => 'ADD', bizStep => 'commissioning', epcList => [sscc(21), sscc(22)], eventID => uuid('later boxes')),
        packing('11:02', sscc(21), [map { epc("R$_") } 1 .. 4], eventID => uuid('later box')),
        packing('11:03', sscc(22), [sscc(21)])));
    ok($done->{success}, 'acme captures') or diag($writer->encode($done));
    is($sv->sql('select string_agg(distinct state::text, q) from sv.pack, (values (?)) v(q) where gtin = ? and lot = ?', ' ', $gtin, 'L3'), 'active', 'its packs are genuine');
    is_deeply([sort map { $_->{epc} } @{ask($law, 'GET', '/containers?epc=' . escape(sscc(22)))->{json}{items}}], [sort { $a cmp $b } sscc(21), map { epc("R$_") } 1 .. 4],
        'and where they are is what acme says');
    is_deeply(ask($law, 'GET', '/containers?epc=' . escape(sscc(21)))->{json}{parents}, [sscc(22)], 'and nobody else');
};


# --- the other interfaces

subtest 'recalls' => sub {
    $before = state_of_acme();

    my %kind = (lot => [lot => 'L1'], range => [from => 'P1', to => 'P9'], serials => [serials => ['P1']], product => [kind => 'product']);
    my $id   = $recall->{json}{id};
    my $no   = '00000000-0000-4000-8000-000000000000';

    for my $who ($bolt, $trade, $para, $loose) {
        for my $kind (sort keys %kind) {
            my ($there, $not) = map { ask($who, 'POST', '/recalls', {gtin => $_, reason => 'x', @{$kind{$kind}}}) } $gtin, $none;
            is($there->{status}, 403, "$kind: refused");
            is(words($there, $gtin), words($not, $none), "$kind: as of a product that is not there");
        }

        my ($there, $not) = map { ask($who, 'POST', "/recalls/$_/lift", {reason => 'x'}) } $id, $no;
        is(words($there, $id), words($not, $no), 'lifted: as one that is not there');
        ($there, $not) = map { ask($who, 'GET', "/recalls/$_") } $id, $no;
        like($there->{status}, qr/^40[34]$/, 'looked at: refused');
        is(words($there, $id), words($not, $no), 'looked at: as one that is not there');
        unlike(ask($who, 'GET', "/recalls$_")->{body}, qr/glass|$id/, 'listed: it is not') for '', "?gtin=$gtin", '?open=true';
    }

    nothing_changed('recalls');
};


subtest 'containers' => sub {
    my $unknown = sscc(999);

    # a pack of bolt's stands on a pallet with acme's
    ($code, $said) = $sv->command('load-file', $sv->write_file('mixed.json', document(
        event('13:00', action => 'ADD', bizStep => 'commissioning', epcList => [sscc(40), sscc(41), sscc(42)]),
        commissioning('13:01', 'L4', [epc('M1')]), packing('13:02', sscc(41), [epc('M1')]), packing('13:03', sscc(42), [epc('B3', $own)]),
        packing('13:04', sscc(40), [sscc(41), sscc(42)]))));
    is($code, 0, 'a mixed pallet') or diag($said);
    $before = state_of_acme();

    for my $item ($case, map { sscc($_) } 1 .. 3, 11 .. 13, 41) {
        my ($there, $not) = map { ask($bolt, 'GET', '/containers?epc=' . escape($_)) } $item, $unknown;
        is($there->{status}, 404, "$item: not there for bolt");
        is(words($there, $item), words($not, $unknown), "$item: in the same words");

        for my $order ((map { {operation => $_} } qw(lock destroy export sample free_sample check_out steal supply ship receive)),
            {operation => 'undo', of => 'lock'}, {operation => 'recall', reason => 'x'})
        {
            ($there, $not) = map { ask($bolt, 'POST', '/containers', {epc => $_, %{$order}}, 'Idempotency-Key' => substr sha256_hex($_ . $order->{operation}), 0, 40) } $item, $unknown;
            is($there->{status}, 404, "$item $order->{operation}: not there");
            is(words($there, $item), words($not, $unknown), "$item $order->{operation}: in the same words");
        }
    }

    my $mixed = ask($bolt, 'GET', '/containers?epc=' . escape(sscc(40)));
    is_deeply([$mixed->{status}, sort map { $_->{epc} } @{$mixed->{json}{items}}], [200, sort { $a cmp $b } sscc(42), epc('B3', $own)], 'of a mixed pallet its own is told')
        or diag($mixed->{body});
    is_deeply([@{$mixed->{json}}{qw(packs containers)}], [1, 1], 'and counted');

    my ($token, @paged) = ('');
    for (1 .. 4) {
        my $page = ask($bolt, 'GET', '/containers?perPage=1&epc=' . escape(sscc(40)) . $token)->{json};
        push @paged, map { $_->{epc} } @{$page->{items}};
        $token = '&nextPageToken=' . escape($page->{nextPageToken} // last);
    }
    is_deeply([sort { $a cmp $b } @paged], [sort { $a cmp $b } sscc(42), epc('B3', $own)], 'page by page, too');
    is(ask($bolt, 'POST', '/containers', {epc => sscc(40), operation => 'destroy'}, 'Idempotency-Key' => 'mixed')->{json}{changed}, 1, 'and destroyed');
    is($sv->sql(q{select state from sv.pack where gtin = ? and serial = 'M1'}, $gtin), 'active', 'the others are not');

    nothing_changed('containers');
    is($sv->sql('select count(*) from sv.capture where location_id = ? and company = ?', $bolt->{id}, ''), 0, 'bolt moved nothing');
};


subtest 'what is asked' => sub {
    my $id = $issued->{json}{request};
    my $no = '00000000-0000-4000-8000-000000000000';
    my ($there, $not);

    for my $case (['POST', '/serials/%s', {line => 'x', n => 1}], ['GET', '/serials/%s'], ['GET', "/serials/%s/$id"], ['GET', "/serials/%s/$no"],
        ['POST', "/serials/%s/$id/return", {unused => JSON::PP::true}], ['POST', "/serials/%s/$id/return", {serials => ['P1']}],
        ['GET', '/lots/%s/L1'], ['GET', '/lots/%s/NONE'], ['POST', '/lots/%s/L1', {packs => 1}])
    {
        my ($method, $target, $body) = @{$case};

        for my $who ($bolt, $trade, $loose) {
            ($there, $not) = map { ask($who, $method, sprintf($target, $_), $body, 'Idempotency-Key' => 'x') } $gtin, $none;
            is($there->{status}, 403, "$method $target: refused") or diag($there->{body});
            is(words($there, $gtin), words($not, $none), "$method $target: as of a product that is not there");
        }
    }

    ($there, $not) = map { ask($bolt, 'GET', "/serials/$own/$_") } $id, $no;
    is(words($there, $id), words($not, $no), 'a request of another product under its own');
    ($there, $not) = map { ask($bolt, 'POST', "/serials/$own/$_/return", {unused => JSON::PP::true}) } $id, $no;
    is(words($there, $id), words($not, $no), 'returned under its own');

    for my $pair ([$packs[0], epc('NONE')], [$packs[0], epc('P1', $none)], map { [$_, sscc(998)] } $case, map { sscc($_) } 1 .. 3, 11 .. 13, 40, 41) {
        ($there, $not) = map { ask($bolt, 'GET', '/epcis/events?MATCH_anyEPC=' . escape($_)) } @{$pair};
        is($there->{status}, 403, "events of $pair->[0]: refused") or diag($there->{body});
        is(words($there), words($not), "events of $pair->[0]: as of $pair->[1]");
    }

    for my $who ($bolt, $trade, $para) {
        ($there, $not) = map { ask($who, 'GET', "/epcis/capture/$_") } $job =~ m{([^/]+)\z}, $no;
        is($there->{status}, 404, 'a capture job');
        is(words($there), words($not), 'as one that is not there');
        unlike(ask($who, 'GET', '/epcis/capture')->{body}, qr/\Q@{[$job =~ m{([^\/]+)\z}]}\E/, 'nor listed');
    }

    ($there) = $job =~ m{([^/]+)\z};
    is(ask($bolt, 'GET', "/epcis/capture?nextPageToken=$there")->{body}, '[]', 'nor a place in the list');
    nothing_changed('what is asked');
};


subtest 'exports' => sub {
    my $until = $sv->sql(q{select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')});
    $sv->stop('worker');
    $sv->start_worker(roles => 'relay');
    Test::SerialVerify::wait_for { !$sv->sql('select count(*) from sv.outbox') } 'the relay';

    my %packs = (acme => $gtin, bolt => $own);

    for my $company (sort keys %packs) {
        my $file = $sv->base . "/$company.json";

        ($code, $said) = $sv->command('export', '--company', $company, '--from', '2020-01-01T00:00:00Z', '--to', $until, '--out', $file);
        is($code, 0, "export of $company") or diag($said);

        my $text = Test::SerialVerify::slurp($file);
        like($text, qr/$packs{$company}/, 'has its packs');
        $text =~ s/"quantityList":\[.*?\]//g;      # what it said itself
        unlike($text, qr/$packs{$_}/, "no pack of $_") for grep { $_ ne $company } sort keys %packs;
    }

    my $text = Test::SerialVerify::slurp($sv->base . '/bolt.json');
    unlike($text, qr/\Q$_\E/, "bolt's has nothing of $_") for $case, map { sscc($_) } 1 .. 3, 11, 12, 41;
};

$sv->done_testing;
