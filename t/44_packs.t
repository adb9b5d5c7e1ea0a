#!/usr/bin/env perl

# POST /packs: lists of verifies and operations, each line answered in its place.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use Test::SerialVerify;
use Test::SerialVerify::Answer;

my $gtin = 9506000134352;

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
my $here  = $sv->actor('pharmacy', country => 'IT');
my $there = $sv->actor('pharmacy', country => 'DE');
$sv->sql(q{insert into sv.pack (gtin, serial, lot, expiry) select ?, 'P' || i, 'LOT1', '2030-12-31' from generate_series(1, 2000) i}, $gtin);
$sv->lot($gtin, 'LOT1');
$sv->start_nginx(verify => {bulk_deadline => '60s', deadline => '5s'});

sub scan_of { my ($serial, $lot) = @_; return "(01)09506000134352(21)$serial(10)" . ($lot // 'LOT1') . '(17)301231' }

sub packs {
    my ($lines, %option) = @_;

    return $sv->post('/packs', $lines, key => $here->{key}, timeout => 90, %option);
}

sub line_is {
    my ($line, $expected, $name) = @_;

    my @faults = member_faults($line, $expected);
    is(join("\n", @faults), '', $name) or diag(Test::SerialVerify::HTTP::encode($line));

    return;
}

sub registered { my ($serial) = @_; return join ' ', $sv->sql('select state, version from sv.pack where serial = ?', $serial) }

my $alert = qr/^IT(?:-[0-9A-Z]{3}){5}$/;


subtest 'a mixed list' => sub {
    my $at = $sv->sql(q{select to_char(now() at time zone 'UTC' - interval '2 days', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')});

    my @cases = (
        [{scan => scan_of('P1')},
            {status => 200, verified => 1, reason => 'ok', serial => 'P1', key => undef, operation => undef}, 'a verify'],
        [{scan => scan_of('P2'), operation => 'verify', key => 'mixed-v'},
            {status => 200, verified => 1, key => 'mixed-v'}, 'a verify with a key'],
        [{scan => scan_of('P3'), operation => 'supply', key => 'mixed-1'},
            {status => 200, operation => 'supply', changed => 1, state => 'supplied', key => 'mixed-1', replayed => undef}, 'supply'],
        [{scan => scan_of('P4'), operation => 'destroy', key => 'mixed-2', entry_mode => 'manual'},
            {status => 200, operation => 'destroy', changed => 1, state => 'destroyed'}, 'destroy'],
        [{scan => scan_of('P5'), operation => 'supply', key => 'mixed-3', occurred_at => $at},
            {status => 200, changed => 1, occurred_at => $at, since => $at}, 'an offline replay'],
        [{scan => scan_of('P6'), operation => 'export', key => 'mixed-4'},
            {status => 403, changed => 0, reason => 'not_permitted'}, 'not for a pharmacy'],
        [{scan => scan_of('NOSUCH')}, {status => 404, verified => 0, reason => 'serial_unknown', code => 'A3', alert => $alert}, 'unknown'],
        [{scan => scan_of('p12')}, {status => 404, reason => 'serial_unknown', hint => 'scanner', advice => 'rescan', alert => undef}, 'caps lock'],
        [{scan => scan_of('p12'), operation => 'supply', key => 'mixed-7'},
            {status => 404, reason => 'serial_unknown', hint => 'scanner', advice => 'rescan', alert => undef}, 'caps lock, supply'],
        [{scan => scan_of('P7', 'WRONG')}, {status => 200, verified => 0, reason => 'lot_mismatch', code => 'A68', lot => 'WRONG'}, 'wrong lot'],
        [{scan => scan_of('P7', 'WRONG'), operation => 'supply', key => 'mixed-5'},
            {status => 409, changed => 0, reason => 'lot_mismatch', alert => $alert}, 'wrong lot, supply'],
        [{scan => scan_of('P8'), operation => 'undo', of => 'supply', key => 'mixed-6'},
            {status => 409, reason => 'nothing_to_undo', operation => 'undo', of => 'supply'}, 'undo of nothing'],
        [{scan => "]d20109506000134352" . "21P9\x{1d}10LOT1\x{1d}17301231"}, {status => 200, verified => 1, serial => 'P9'}, 'an element string'],
        [{scan => 'https://x/01/09506000134352/21/P9'}, {status => 200, verified => 1, serial => 'P9'}, 'a Digital Link'],

        [{scan => scan_of('P8'), operation => 'supply'}, {status => 422, reason => 'key_missing', element => 'key'}, 'no key'],
        [{scan => scan_of('P8'), operation => 'supply', key => ''}, {status => 422, reason => 'key_missing', element => 'key'}, 'an empty key'],
        [{scan => scan_of('P8'), operation => 'supply', key => 'a b'}, {status => 422, reason => 'key_malformed', element => 'key'}, 'a bad key'],
        [{scan => scan_of('P8'), operation => 'supply', key => 'k' x 65}, {status => 422, reason => 'key_malformed', element => 'key'}, 'a long key'],
        [{scan => scan_of('P8'), operation => 'sell', key => 'k'}, {status => 422, reason => 'operation_unknown', element => 'operation'},
            'an unknown operation'],
        [{scan => scan_of('P8'), operation => 'undo', key => 'k'}, {status => 422, reason => 'of_missing', element => 'of'}, 'undo of what?'],
        [{scan => scan_of('P8'), of => 'supply'}, {status => 422, reason => 'of_unexpected', element => 'of'}, 'of without undo'],
        [{scan => scan_of('P8'), occurred_at => 'yesterday'}, {status => 422, reason => 'occurred_at_malformed'}, 'a bad time'],
        [{scan => scan_of('P8'), mode => 'x'}, {status => 422, reason => 'member_unknown', element => 'mode', detail => qr/"mode"/}, 'an unknown member'],
        [{scan => 17}, {status => 422, reason => 'string_expected', element => 'scan', detail => qr/"scan"/}, 'a number'],
        [{scan => '(01)09506000134351(21)A'}, {status => 422, reason => 'check_digit_wrong', element => 'scan', offset => 17}, 'a bad check digit'],
        [{scan => '(01)09506000134352'}, {status => 422, reason => 'elements_missing', element => '21'}, 'no serial'],
        [{scan => '(01)09506000134352(21)P8', operation => 'supply', key => 'k'}, {status => 422, reason => 'elements_missing', element => '10'},
            'no lot'],
        [{operation => 'verify'}, {status => 422, reason => 'scan_missing', element => 'scan'}, 'no scan'],
        [{}, {status => 422, reason => 'scan_missing'}, 'an empty line'],
        [undef, {status => 422, reason => 'object_expected'}, 'null'],
        [17, {status => 422, reason => 'object_expected'}, 'a number alone'],
        ['x', {status => 422, reason => 'object_expected'}, 'a string alone'],
        [[], {status => 422, reason => 'object_expected'}, 'a list'],
        [{scan => scan_of('P10')}, {status => 200, verified => 1, serial => 'P10'}, 'and after all that a verify'],
    );

    my $answer = packs([map { $_->[0] } @cases]);
    answer_is($answer, 200, {}, 'the list is answered');
    is(scalar @{$answer->{json}{results}}, scalar @cases, 'line by line');

    for my $i (0 .. $#cases) {
        line_is($answer->{json}{results}[$i], $cases[$i][1], $cases[$i][2]);
    }

    is(registered('P3'), 'supplied 2', 'supplied');
    is(registered('P4'), 'destroyed 2', 'destroyed');
    is(registered('P8'), 'active 1', 'a line that is wrong changes nothing');

    my $again = packs([map { $_->[0] } @cases]);
    my @first = grep { defined $_->{changed} } @{$answer->{json}{results}};
    my @replayed = grep { $_->{replayed} } @{$again->{json}{results}};
    is(scalar @replayed, scalar @first, 'every operation of the same list is replayed');
    delete $_->{replayed} for @replayed;
    is_deeply(\@replayed, \@first, 'with the same outcome');

    $answer = packs([{scan => scan_of('P3'), operation => 'sample', key => 'mixed-1'}]);
    line_is($answer->{json}{results}[0], {status => 422, reason => 'key_reused', changed => 0}, 'a key that was used for something else');

    answer_is($sv->post($sv->link_to($gtin, 'P3'), {operation => 'supply'}, key => $here->{key}, idempotency => 'mixed-1'), 200,
        {changed => 1}, 'a line and a single request are the same operation');
};


subtest 'the same twice in a list' => sub {
    my $answer = packs([
        {scan => scan_of('P20'), operation => 'supply', key => 'twin'}, {scan => scan_of('P20'), operation => 'supply', key => 'twin'},
        {scan => scan_of('P21'), operation => 'supply', key => 'one'},  {scan => scan_of('P21'), operation => 'supply', key => 'two'},
        {scan => scan_of('P22'), operation => 'supply', key => 'reused'}, {scan => scan_of('P23'), operation => 'supply', key => 'reused'},
    ]);
    my @line = @{$answer->{json}{results}};

    is($line[0]{changed} && $line[1]{changed}, 1, 'the same key: the same outcome');
    is(join(' ', sort map { $_->{replayed} ? 1 : 0 } @line[0, 1]), '0 1', 'one of them a replay');
    is(registered('P20'), 'supplied 2', 'done once');

    is(join(' ', sort map { $_->{reason} } @line[2, 3]), 'already_supplied_here ok', 'two keys: two operations');
    is(registered('P21'), 'supplied 2', 'one change');

    is(join(' ', sort map { $_->{reason} } @line[4, 5]), 'key_reused ok', 'one key for two packs');
    is($sv->sql(q{select count(*) from sv.pack where serial in ('P22', 'P23') and state = 'supplied'}), 1, 'only one was supplied');
};


subtest 'how many' => sub {
    my @lines = map { {scan => scan_of("P$_"), $_ % 2 ? (operation => 'sample', key => "many-$_") : ()} } 100 .. 599;

    my $answer = packs(\@lines);
    answer_is($answer, 200, {}, 'five hundred');
    is(join(' ', map { $_->{serial} } @{$answer->{json}{results}}), join(' ', map { "P$_" } 100 .. 599), 'in their order');
    is(scalar(grep { $_->{verified} } @{$answer->{json}{results}}), 250, 'the verifies');
    is(scalar(grep { $_->{changed} } @{$answer->{json}{results}}), 250, 'the operations');
    is($sv->sql(q{select count(*) from sv.pack where state = 'sample'}), 250, 'in the registry');

    problem_is(packs([@lines, {scan => scan_of('P600')}]), 422, 'list_malformed', {detail => qr/1 to 500/}, 'one more');
    is($sv->sql(q{select count(*) from sv.pack where state = 'sample'}), 250, 'none of them was done');
    problem_is(packs([]), 422, 'list_malformed', {}, 'none');

    for my $body ('{}', '{"results":[]}') {
        problem_is(packs($body), 422, 'list_malformed', {}, "no list: $body");
    }

    for my $body ('', 'null', '1', '"x"', '[', '[1,]', '[{}', '[{}]x', '[{"scan":"x","scan":"y"}]') {
        problem_is(packs($body), 400, $body eq '' ? 'body_missing' : 'json_malformed', {}, "no list: $body");
    }
};


subtest 'the longest lines there are' => sub {
    my $long = $sv->product(9506000134369, name => '&' x 200, withdrawn_at => '2026-01-01', reason => '<' x 500);
    my $lot  = '>' x 20;
    $sv->pack_row($long, '<' x 20, lot => $lot);
    Test::SerialVerify::wait_for { $sv->get('/status')->{json}{reference_data}{change} >= $sv->sql('select n from sv.ref_clock') } 'the product';

    my $scan = '(01)09506000134369(21)' . '<' x 20 . "(10)$lot(17)301231";
    my @lines = (
        {scan => $scan, key => '&' x 64},
        {scan => $scan, key => '<' x 64, operation => 'supply'},
        {key => '<' x 64, '<' x 1000 => 'x'},
        {key => '<' x 64, '&' x 1000 => 1},
        {key => '<' x 64, "\x{20ac}" x 1000 => 1},
    );

    my $answer = packs([map { @lines } 1 .. 100], headers => {'Accept-Language' => 'fr'});
    answer_is($answer, 200, {}, '500 of them');
    line_is($answer->{json}{results}[0], {reason => 'withdrawn', serial => '<' x 20, lot => $lot, key => '&' x 64}, 'a verdict');
    line_is($answer->{json}{results}[1], {reason => 'withdrawn', changed => 0}, 'a refusal');
    line_is($answer->{json}{results}[$_], {status => 422}, 'an error') for 2 .. 4;
    cmp_ok(length $_->{detail}, '<', 100, 'not longer than it is read') for @{$answer->{json}{results}}[2 .. 4];
};


subtest 'another list at the same time' => sub {
    my @answers = $sv->parallel(map {
        my $n = $_;
        ['POST', '/packs', key => ($n % 2 ? $here : $there)->{key},
            body => [map { {scan => scan_of("P$_"), operation => 'supply', key => "race-$n-$_"} } 700 .. 739]];
    } 1 .. 4);

    is(join(' ', map { $_->{status} } @answers), '200 200 200 200', 'all are answered');
    my %changed;
    $changed{$_->{serial}}++ for grep { $_->{changed} } map { @{$_->{json}{results}} } @answers;
    is(scalar(grep { $_ == 1 } values %changed), 40, 'every pack supplied by exactly one');
};


subtest 'a row that is locked' => sub {
    $sv->start_nginx(name => 'slow', verify => {bulk_deadline => '5s', deadline => '5s', postgres_connections => ['bulk=2']});

    my $other = $sv->new_dbh;
    $other->begin_work;
    $other->do(q{select from sv.pack where serial = 'P800' for update});

    my @lines  = map { {scan => scan_of("P$_"), operation => 'supply', key => "locked-$_"} } 795 .. 834;
    my $answer = packs(\@lines, nginx => 'slow');
    my @line   = @{$answer->{json}{results} // []};

    answer_is($answer, 200, {}, 'the list is answered');
    cmp_ok($answer->{time}, '<', 20, 'when its deadline has passed');
    line_is($line[5], {status => 503, reason => 'unavailable', key => 'locked-800', changed => undef}, 'one line is not known');
    is(scalar(grep { $_->{changed} } @line), 39, 'it delayed no other');

    $other->rollback;
    $answer = packs(\@lines, nginx => 'slow');
    is(scalar(grep { $_->{changed} } @{$answer->{json}{results}}), 40, 'the same list again finds out');
    is(scalar(grep { $_->{replayed} } @{$answer->{json}{results}}), 39, 'and repeats nothing');
    is(registered('P800'), 'supplied 2', 'done');
    $sv->stop('slow');
};


subtest 'so many at once' => sub {
    $sv->start_nginx(name => 'busy', verify => {bulk_deadline => '60s', deadline => '5s', bulk_requests => 2,
        postgres_connections => ['bulk=4']});

    my $other = $sv->new_dbh;
    $other->begin_work;
    $other->do(q{select from sv.pack where serial in ('P900', 'P901', 'P902') for update});

    my $under_way = sub { return $sv->get('/status', nginx => 'busy')->{json}{postgres}{bulk}{in_flight} };
    my @held;

    for my $n (0, 1) {
        my $connection = $sv->connection('busy');
        $connection->put(Test::SerialVerify::HTTP::build('POST', '/packs', key => $here->{key},
            body => [{scan => scan_of("P90$n"), operation => 'supply', key => "busy-$n"}]));
        push @held, $connection;
        Test::SerialVerify::wait_for { $under_way->() > $n } 'the list to wait for the lock';
    }

    my @third = (nginx => 'busy');
    my $list  = [{scan => scan_of('P903'), operation => 'supply', key => 'busy-3'}];
    my $busy  = packs($list, @third);
    problem_is($busy, 503, 'busy', {detail => qr/same keys/}, 'one more than there may be');
    is($busy->{headers}{'retry-after'}, 1, 'when to try again');
    is(registered('P903'), 'active 1', 'nothing of it was done');
    answer_is($sv->get($sv->link_to($gtin, 'P903'), key => $here->{key}, @third), 200, {verified => 1}, 'the counter does not notice');

    # a client that leaves makes room, though its operation goes on
    $held[0]->close_now;
    Test::SerialVerify::wait_for { $sv->get('/status', nginx => 'busy')->{json}{counters}{aborted} } 'the client to be missed';
    my $room = Test::SerialVerify::wait_for {
        my $answer = $sv->post('/packs', [{scan => scan_of('P904')}], key => $here->{key}, @third);
        $answer->{status} == 200 && $answer;
    } 'room';
    is($room->{json}{results}[0]{verified}, JSON::PP::true(), 'room for another list');

    $other->rollback;
    answer_is($held[1]->next_response(60), 200, {}, 'who waited is answered');
    Test::SerialVerify::wait_for { registered('P900') eq 'supplied 2' } 'what a client left behind';
    pass('and what a client left behind is done');
};

$sv->done_testing;
