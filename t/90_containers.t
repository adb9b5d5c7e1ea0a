#!/usr/bin/env perl

# One scan of a pallet: what is in it, and operations on all of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;

use Test::SerialVerify;

my $gtin   = 9506000134352;
my $case_n = 19506000134359;
my $pallet = '106141412345678908';
my $sv     = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin, company => 'Acme');

my $wholesaler = $sv->actor('wholesaler');
my $pharmacy   = $sv->actor('pharmacy');
my $acme       = $sv->actor('manufacturer', company => 'Acme');
my $other      = $sv->actor('manufacturer', company => 'Other');

$sv->start_worker(capture_dir => $sv->directory('captures'));
$sv->start_api(api_threads => 2);
$sv->start_nginx(api => 1, verify => {deadline => '5s'});

sub epc  { my ($serial) = @_; return sprintf 'https://id.gs1.org/01/%014d/21/%s', $gtin, $serial }
sub kase { my ($serial) = @_; return sprintf 'https://id.gs1.org/01/%014d/21/%s', $case_n, $serial }

my $sscc = "https://id.gs1.org/00/$pallet";
my $time = 0;

sub event {
    my (%event) = @_;

    return {type => 'ObjectEvent', action => 'OBSERVE', eventTimeZoneOffset => '+00:00',
        eventTime => sprintf('2026-11-01T08:%02d:00Z', $time++), %event};
}

sub deliver {
    my ($name, @events) = @_;

    $sv->deliver($name, encode_json({'@context' => ['https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld'],
        type => 'EPCISDocument', schemaVersion => '2.0', creationDate => '2026-11-01T08:00:00Z',
        epcisBody => {eventList => \@events}}));
    Test::SerialVerify::wait_for { $sv->filed($name) eq 'done' } "$name is loaded";

    return;
}

sub aggregate {
    my ($parent, $children, %option) = @_;

    return event(type => 'AggregationEvent', action => 'ADD', bizStep => 'packing', parentID => $parent, childEPCs => $children, %option);
}

# 3 cases of 4 packs on a pallet
my @cases = map { kase("C$_") } 1 .. 3;
my %packs = map { my $case = $_; kase("C$case") => [map { epc("P$case$_") } 1 .. 4] } 1 .. 3;
my @packs = map { @{$packs{$_}} } @cases;

deliver('line.json',
    event(action => 'ADD', bizStep => 'commissioning', disposition => 'active', epcList => \@packs,
        ilmd => {'cbvmda:lotNumber' => 'L1', 'cbvmda:itemExpirationDate' => '2030-06-30'}),
    event(action => 'ADD', bizStep => 'commissioning', disposition => 'active', epcList => [@cases, $sscc]),
    (map { aggregate($_, $packs{$_}) } @cases),
    aggregate($sscc, \@cases));

sub ask {
    my ($epc, $who, $more) = @_;

    $epc =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ge;
    return $sv->get("/containers?epc=$epc" . ($more // ''), key => $who->{key});
}

sub order {
    my ($who, $key, %order) = @_;

    return $sv->post('/containers', encode_json(\%order), key => $who->{key},
        headers => {'Content-Type' => 'application/json', (defined $key ? ('Idempotency-Key' => $key) : ())});
}


subtest 'one scan lists and verifies everything' => sub {
    for my $form ($sscc, $pallet, "]C100$pallet", "(00)$pallet", 'urn:epc:id:sscc:0614141.1234567890') {
        my $answer = ask($form, $wholesaler);
        is($answer->{status}, 200, "by $form") or diag($answer->{body});
        is_deeply([@{$answer->{json}}{qw(epc packs containers)}], [$sscc, 12, 3], 'in figures');
        ok($answer->{json}{verified}, 'all are genuine');
    }

    my $all = ask($sscc, $wholesaler)->{json};
    is_deeply([sort map { $_->{epc} } @{$all->{items}}], [sort @packs, @cases], 'its items, at every level');
    is_deeply([sort map { $_->{epc} } grep { $_->{parent} eq $cases[1] } @{$all->{items}}], $packs{$cases[1]}, 'with their parents');
    is_deeply({%{(grep { $_->{epc} eq $packs[0] } @{$all->{items}})[0]}},
        {epc => $packs[0], kind => 'pack', parent => $cases[0], verified => JSON::PP::true, reason => 'ok', state => 'active',
            lot => 'L1', expiry => '2030-06-30'}, 'one of them');
    is_deeply($all->{parents}, [], 'it stands alone');

    my $one = ask($cases[0], $wholesaler)->{json};
    is_deeply([@{$one}{qw(packs containers)}, @{$one->{parents}}], [4, 0, $sscc], 'a case, and what it stands on');
};


subtest 'paged' => sub {
    my ($token, @seen) = ('');

    for my $page (1 .. 4) {
        my $answer = ask($sscc, $wholesaler, "&perPage=4$token");
        is($answer->{status}, 200, "page $page") or diag($answer->{body});
        push @seen, map { $_->{epc} } @{$answer->{json}{items}};
        my $next = $answer->{json}{nextPageToken} // last;
        $next =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ge;
        $token = "&nextPageToken=$next";
    }

    is_deeply([sort @seen], [sort @packs, @cases], 'every item once');
};


subtest 'what cannot be asked' => sub {
    is(ask('hello', $wholesaler)->{status}, 400, 'no identifier');
    is($sv->get('/containers', key => $wholesaler->{key})->{json}{element}, 'epc', 'none at all');
    is(ask('(00)106141412345678991', $wholesaler)->{json}{reason}, 'container_unknown', 'unknown');
    is(ask($packs[0], $wholesaler)->{json}{reason}, 'container_unknown', 'a pack is no container');
    is($sv->get("/containers?epc=$pallet")->{status}, 401, 'the public may not');
    is(ask($sscc, $wholesaler, '&perPage=0')->{json}{element}, 'perPage', 'a page of nothing');
    is(ask($sscc, $other)->{json}{reason}, 'container_unknown', 'a manufacturer sees nothing of another');
    is(ask($sscc, $acme)->{json}{packs}, 12, 'its own it does');
};


subtest 'lock a case, unlock it' => sub {
    my $answer = order($wholesaler, 'lock-1', epc => $cases[0], operation => 'lock');
    is($answer->{status}, 200, 'locked') or diag($answer->{body});
    is_deeply($answer->{json}, {operation => 'lock', packs => 4, changed => 4, complete => JSON::PP::true, reasons => {ok => 4}, refused => []}, 'all four');
    is($sv->sql(q{select string_agg(state::text, ' ' order by serial) from sv.pack where serial like 'P1%'}), 'locked locked locked locked', 'in the truth');

    is_deeply(order($wholesaler, 'lock-1', epc => $cases[0], operation => 'lock')->{json}, $answer->{json}, 'repeated: the same answer');
    is($sv->sql(q{select count(*) from sv.audit where operation = 'lock' and changed}), 4, 'and nothing was done twice');

    my $all = ask($sscc, $wholesaler)->{json};
    is_deeply($all->{reasons}, {ok => 8, locked => 4}, 'the pallet tells');
    ok(!$all->{verified}, 'it is not all genuine and free');

    is(order($wholesaler, 'unlock-1', epc => $cases[0], operation => 'undo', of => 'lock')->{json}{changed}, 4, 'unlocked');
};


subtest 'some are refused' => sub {
    is($sv->post($sv->link_to($gtin, 'P21', lot => 'L1', expiry => '300630'), '{"operation":"supply"}', key => $pharmacy->{key},
        headers => {'Idempotency-Key' => 's1'})->{status}, 200, 'a pack is supplied');

    my $answer = order($wholesaler, 'export-2', epc => $cases[1], operation => 'export')->{json};
    is_deeply([@{$answer}{qw(packs changed complete)}], [4, 3, JSON::PP::false], 'the others are exported');
    is_deeply($answer->{reasons}, {ok => 3, already_supplied => 1}, 'by reason');
    is($answer->{refused}[0]{epc}, epc('P21'), 'the refused is named');
    like($answer->{refused}[0]{alert} // '', qr/^[A-Z]{2}(?:-[A-Z0-9]{3}){5}$/, 'with an alert');

    is(order($pharmacy, 'e-3', epc => $cases[2], operation => 'export')->{json}{reasons}{not_permitted}, 4, 'permission is each pack\'s');
};


subtest 'what cannot be ordered' => sub {
    is(order($wholesaler, undef, epc => $sscc, operation => 'lock')->{json}{element}, 'Idempotency-Key', 'without a key');
    is(order($wholesaler, 'x', epc => $sscc, operation => 'burn')->{json}{element}, 'operation', 'no such operation');
    is(order($wholesaler, 'x', epc => $sscc, operation => 'undo')->{json}{element}, 'of', 'undo of what');
    is(order($wholesaler, 'x', operation => 'lock')->{json}{element}, 'epc', 'no container');
    is($sv->post('/containers', '[', key => $wholesaler->{key}, headers => {'Content-Type' => 'application/json', 'Idempotency-Key' => 'x'})->{status},
        400, 'no JSON');
};


subtest 'a case is of the product in it' => sub {
    is($sv->sql('select sv.base_gtin(19506000134359)'), $gtin, 'its GTIN without the indicator');
    is($sv->sql('select sv.base_gtin(80614141123458)'), 614141123452, 'another');
    is($sv->sql(q{select sv.gtin_refused(?, '', false)}, $case_n), undef, 'packed, it is known');
    is($sv->sql(q{select sv.gtin_refused(?, '', true)}, $case_n), 'product_unknown', 'as a pack it is not');
    is($sv->sql(q{select sv.gtin_refused(?, 'Other', false)}, $case_n), 'not_permitted', 'and it is its company\'s');
};


subtest 'unpacked, and packed elsewhere' => sub {
    deliver('unpack.json', event(type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', parentID => $cases[2],
        childEPCs => [epc('P31')]));
    is_deeply([map { $_->{epc} } @{ask($cases[2], $wholesaler)->{json}{items}}], [map { epc("P3$_") } 2 .. 4], 'one is out');

    deliver('all.json', event(type => 'AggregationEvent', action => 'DELETE', bizStep => 'unpacking', parentID => $sscc));
    is(ask($sscc, $wholesaler)->{json}{containers}, 0, 'everything is out of the pallet');
    is(order($wholesaler, 'empty', epc => $sscc, operation => 'lock')->{json}{packs}, 0, 'so nothing is locked by it');
};


subtest 'shipped, and received' => sub {
    my $answer = order($wholesaler, 'ship-1', epc => $sscc, operation => 'ship', to => '4012345000009');
    is($answer->{status}, 202, 'told') or diag($answer->{body});
    my $job = $answer->{headers}{location};
    Test::SerialVerify::wait_for { !$sv->get($job, key => $wholesaler->{key})->{json}{running} } 'the event is captured';
    ok($sv->get($job, key => $wholesaler->{key})->{json}{success}, 'captured');
    is($sv->sql(q{select step || ' ' || disposition || ' ' || read_point from sv.event e join sv.event_epc m using (load_id, event)
        where m.gtin = 0 and e.step = 'shipping'}), 'shipping in_transit https://id.gs1.org/414/' . $sv->sql('select gln from sv.location where location_id = ?', $wholesaler->{id}), 'from here');

    is(order($wholesaler, 'ship-1', epc => $sscc, operation => 'ship', to => '4012345000009')->{headers}{location}, $job, 'repeated: the same job');
    my $received = order($pharmacy, 'ship-1', epc => $sscc, operation => 'receive');
    is($received->{status}, 202, 'received elsewhere');
    is($sv->get($received->{headers}{location}, key => $pharmacy->{key})->{status}, 200, 'and who told may look at the job');
    is($sv->get($job, key => $pharmacy->{key})->{status}, 404, 'at its own only');
    Test::SerialVerify::wait_for { $sv->sql(q{select count(*) from sv.event where step = 'receiving'}) } 'that is captured';
    is($sv->sql(q{select count(*) from sv.event where step = 'shipping'}), 1, 'shipped once');

    is(order($wholesaler, 'ship-1', epc => $sscc, operation => 'receive')->{status}, 202, 'another order under the same key');
    Test::SerialVerify::wait_for { $sv->sql(q{select count(*) from sv.event where step = 'receiving'}) == 2 } 'is another event';

    # the same order many times at once: one event, whole
    my $body = encode_json({epc => $sscc, operation => 'ship'});
    my @many = $sv->parallel(map { [POST => '/containers', body => $body, key => $wholesaler->{key},
        headers => {'Content-Type' => 'application/json', 'Idempotency-Key' => 'at-once'}] } 1 .. 12);
    is_deeply([map { $_->{status} } @many], [(202) x 12], 'twelve at once');
    is(scalar(keys %{{map { $_->{headers}{location} => 1 } @many}}), 1, 'are one job');
    Test::SerialVerify::wait_for { !$sv->get($many[0]{headers}{location}, key => $wholesaler->{key})->{json}{running} } 'it is done';
    ok($sv->get($many[0]{headers}{location}, key => $wholesaler->{key})->{json}{success}, 'and captured');
    is($sv->sql(q{select count(*) from sv.event where step = 'shipping'}), 2, 'once');
    is(order($wholesaler, 'ship-2', epc => $sscc, operation => 'ship', to => '12')->{json}{element}, 'to', 'no GLN');
};


subtest 'recalled' => sub {
    is(order($wholesaler, 'r-0', epc => $cases[1], operation => 'recall', reason => 'glass')->{status}, 403, 'not by anybody');
    is(order($other, 'r-0', epc => $cases[1], operation => 'recall', reason => 'glass')->{json}{reason}, 'container_unknown', 'nor by another company');

    my $answer = order($acme, 'r-1', epc => $cases[1], operation => 'recall', reason => 'glass', reference => 'R-7');
    is($answer->{status}, 200, 'by its manufacturer') or diag($answer->{body});
    is_deeply([$answer->{json}{packs}, scalar @{$answer->{json}{recalls}}], [4, 1], 'all packs in it');
    is_deeply(order($acme, 'r-1', epc => $cases[1], operation => 'recall', reason => 'glass', reference => 'R-7')->{json}, $answer->{json}, 'repeated: the same recall');

    Test::SerialVerify::wait_for {
        $sv->get($sv->link_to($gtin, 'P24', lot => 'L1', expiry => '300630'), key => $pharmacy->{key})->{json}{reason} eq 'recalled'
    } 'the gateway tells';
    is($sv->get($sv->link_to($gtin, 'P11', lot => 'L1', expiry => '300630'), key => $pharmacy->{key})->{json}{reason}, 'ok', 'another case is not recalled');
    is(ask($cases[1], $wholesaler)->{json}{items}[0]{reference}, 'glass (R-7)', 'with its reason');
};


subtest 'killed in between' => sub {
    my @many = map { epc("M$_") } 1 .. 600;
    deliver('many.json', event(action => 'ADD', bizStep => 'commissioning', epcList => \@many,
        ilmd => {'cbvmda:lotNumber' => 'L1', 'cbvmda:itemExpirationDate' => '2030-06-30'}), aggregate(kase('BIG'), \@many));

    # the third batch waits for this row
    my $dbh = $sv->new_dbh;
    $dbh->begin_work;
    $dbh->do(q{select from sv.pack where gtin = ? and serial = 'M450' for update}, undef, $gtin);
    my $answer = order($wholesaler, 'big', epc => kase('BIG'), operation => 'lock');
    is($answer->{status}, 503, 'somebody holds a pack for too long') or diag($answer->{body});
    $dbh->rollback;

    cmp_ok($sv->sql(q{select count(*) from sv.pack where state = 'locked' and serial like 'M%'}), '>', 0, 'some are done');
    is(order($wholesaler, 'big', epc => kase('BIG'), operation => 'lock')->{json}{changed}, 600, 'the same key does the rest');
    is($sv->sql(q{select count(*) from sv.audit where operation = 'lock' and changed and serial like 'M%'}), 600, 'each once');
};

$sv->done_testing;
