#!/usr/bin/env perl

# POST to a pack: operations, repeats, undo, permissions, idempotency, offline replays.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use POSIX qw(strftime);
use Test::More;

use Test::SerialVerify;
use Test::SerialVerify::Answer;

my $gtin = 9506000134352;

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin, company => 'acme');

my $here  = $sv->actor('pharmacy', country => 'IT');
my $there = $sv->actor('pharmacy', country => 'DE');
my $other = $sv->actor('pharmacy', country => 'IT');

my %actor = map { $_ => $sv->actor($_, company => 'acme') }
    qw(wholesaler parallel_distributor manufacturer authority reviewer operator);
$actor{pharmacy} = $here;

$sv->start_nginx(verify => {deadline => '5s'});

# The gateway follows a change of reference data by itself.
sub followed {
    my ($what) = @_;

    my $n = $sv->sql('select n from sv.ref_clock');
    Test::SerialVerify::wait_for { $sv->get('/status')->{json}{reference_data}{change} >= $n } $what;

    return;
}

my $alert = qr/^IT(?:-[0-9A-HJKMNP-TV-Z]{3}){5}$/;
my $time  = qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
my $count = 0;

# A pack of its own for each case.
sub fresh { my (%row) = @_; return $sv->pack_row($row{gtin} // $gtin, 'P' . ++$count, %row) }

# operate(SERIAL, ACTOR, {BODY}, link => [], OPTION..)
sub operate {
    my ($serial, $actor, $body, %option) = @_;

    my %element = (lot => 'LOT1', expiry => '301231', %{delete $option{link} // {}});

    return $sv->post($sv->link_to(delete $option{gtin} // $gtin, $serial, %element), ref $body ? $body : {operation => $body},
        key => $actor->{key}, idempotency => 'key-' . ++$count, %option);
}

# What the registry says of a pack: state, version.
sub registered {
    my ($serial, $of) = @_;

    return join ' ', $sv->sql('select state, version from sv.pack where gtin = ? and serial = ?', $of // $gtin, $serial);
}

# What the audit trail says of a pack, oldest first.
sub audited {
    my ($serial) = @_;

    my $rows = $sv->dbh->selectall_arrayref(q{select operation, reason, changed::int, coalesce(location_id, 0), coalesce(alert_id, '')
        from sv.audit where serial = ? order by at, version}, undef, $serial);

    return [map { join ' ', @{$_}[0 .. 3], $_->[4] ? 'alert' : () } @{$rows}];
}


subtest 'supply, and again' => sub {
    my $pack  = fresh();
    my $first = operate($pack, $here, 'supply', idempotency => 'first');

    answer_is($first, 200, {operation => 'supply', of => undef, changed => 1, reason => 'ok', advice => 'dispense', state => 'supplied',
        since => $time, at => $time, here => 1, repeat => undef, warning => undef, code => undef, alert => undef, occurred_at => undef,
        product => {gtin => '09506000134352'}, serial => $pack, lot => 'LOT1', expiry => '2030-12-31'}, 'supply');
    is($first->{json}{since}, $first->{json}{at}, 'since now');
    is(registered($pack), 'supplied 2', 'in the registry');

    for my $repeat (1 .. 3) {
        answer_is(operate($pack, $here, 'supply'), 200, {changed => 0, reason => 'already_supplied_here', advice => 'do_not_dispense',
            state => 'supplied', here => 1, since => $first->{json}{since}, repeat => $repeat, code => 'A10', alert => undef,
            warning => $repeat == 3 ? qr/next attempt will be refused/ : undef}, "repeat $repeat");
    }

    answer_is(operate($pack, $here, 'supply'), 409, {changed => 0, reason => 'already_supplied', code => 'A7', alert => $alert,
        state => 'supplied', here => 1, repeat => undef}, 'the next one is refused');
    answer_is(operate($pack, $there, 'supply'), 409, {changed => 0, reason => 'already_supplied', code => 'A24', alert => qr/^DE-/,
        state => 'supplied', here => 0, since => $first->{json}{since}}, 'another pharmacy in another country');

    is(registered($pack), 'supplied 2', 'changed once');
    is_deeply(audited($pack), ["supply ok 1 $here->{id}", ("supply already_supplied_here 0 $here->{id}") x 3,
        "supply already_supplied 0 $here->{id} alert", "supply already_supplied 0 $there->{id} alert"], 'all in the audit trail');

    my $answer = operate($pack, $here, 'supply', idempotency => 'first');
    is($answer->{body}, $first->{body}, 'and the first one is still what it was');
};


subtest 'undo' => sub {
    my $pack = fresh();

    answer_is(operate($pack, $here, {operation => 'undo', of => 'supply'}), 409, {changed => 0, reason => 'nothing_to_undo',
        state => 'active', operation => 'undo', of => 'supply', alert => undef}, 'of nothing');

    operate($pack, $here, 'supply');
    answer_is(operate($pack, $other, {operation => 'undo', of => 'supply'}), 409, {changed => 0, reason => 'undo_elsewhere', code => 'A5',
        state => 'supplied', here => 0, alert => undef}, 'by another pharmacy');
    answer_is(operate($pack, $here, {operation => 'undo', of => 'sample'}), 409, {changed => 0, reason => 'already_supplied', code => 'A24',
        alert => $alert}, 'of something else');
    is(registered($pack), 'supplied 2', 'no change so far');

    answer_is(operate($pack, $here, {operation => 'undo', of => 'supply'}), 200, {changed => 1, reason => 'ok', state => 'active',
        operation => 'undo', of => 'supply', here => 1, alert => undef}, 'by who did it');
    is(registered($pack), 'active 3', 'active again');
    answer_is(operate($pack, $other, 'supply'), 200, {changed => 1, state => 'supplied'}, 'and may be supplied by anybody');

    my $old = fresh(state => 'supplied', version => 2, location_id => $here->{id},
        since => $sv->sql(q{select now() - interval '241 hours'}));
    answer_is(operate($old, $here, {operation => 'undo', of => 'supply'}), 409, {changed => 0, reason => 'undo_too_late', code => 'A4',
        state => 'supplied'}, 'too late');
    is(registered($old), 'supplied 2', 'no change');

    my $gone = fresh(state => 'destroyed', version => 2, location_id => $here->{id}, since => $sv->sql('select now()'));
    answer_is(operate($gone, $here, {operation => 'undo', of => 'destroy'}), 409, {changed => 0, reason => 'destroyed'}, 'of what is terminal');
};


# Written out by hand: who may do what to an active pack.
my %may = (
    pharmacy             => [qw(supply destroy sample)],
    wholesaler           => [qw(destroy sample free_sample lock export steal)],
    parallel_distributor => [qw(destroy sample free_sample lock export steal check_out)],
    manufacturer         => [qw(destroy sample free_sample lock export steal check_out)],
    authority            => [],
    reviewer             => [],
    operator             => [],
);

my %state = (supply => 'supplied', destroy => 'destroyed', export => 'exported', sample => 'sample', free_sample => 'free_sample',
    lock => 'locked', steal => 'stolen', check_out => 'checked_out');

subtest 'every operation by every role' => sub {
    for my $role (sort keys %may) {
        my %allowed = map { $_ => 1 } @{$may{$role}};

        for my $operation (sort keys %state) {
            my $pack   = fresh();
            my $answer = operate($pack, $actor{$role}, $operation);

            if ($allowed{$operation}) {
                answer_is($answer, 200, {changed => 1, reason => 'ok', state => $state{$operation}, here => 1}, "$role: $operation");
                is(registered($pack), "$state{$operation} 2", 'done');

            } else {
                answer_is($answer, 403, {changed => 0, reason => 'not_permitted', state => undef, since => undef, code => undef,
                    alert => undef}, "$role: no $operation");
                is(registered($pack), 'active 1', 'no change');
                is_deeply(audited($pack), ["$operation not_permitted 0 $actor{$role}{id}"], 'audited');
            }
        }
    }

    my $pack = fresh(state => 'locked', version => 2, location_id => $actor{authority}{id}, since => $sv->sql('select now()'));
    answer_is(operate($pack, $actor{authority}, {operation => 'undo', of => 'lock'}), 403, {reason => 'not_permitted'},
        'nor undo what it may not do');
    is(registered($pack), 'locked 2', 'no change');
};


subtest 'a manufacturer and the products of others' => sub {
    my $theirs = $sv->product(9506000134376, company => 'rival');
    my $pack   = $sv->pack_row($theirs, 'RIVAL');
    followed('the product');

    answer_is(operate($pack, $actor{manufacturer}, 'destroy', gtin => $theirs), 403, {changed => 0, reason => 'not_permitted'}, 'destroy');
    answer_is(operate($pack, $actor{manufacturer}, {operation => 'undo', of => 'destroy'}, gtin => $theirs), 403,
        {changed => 0, reason => 'not_permitted'}, 'undo');
    is(registered($pack, $theirs), 'active 1', 'no change');
    is_deeply(audited($pack), ["destroy not_permitted 0 $actor{manufacturer}{id}", "undo not_permitted 0 $actor{manufacturer}{id}"],
        'audited');
    answer_is($sv->get($sv->link_to($theirs, $pack), key => $actor{manufacturer}{key}), 200, {reason => 'ok'}, 'a look is free');
};


subtest 'what must not be supplied' => sub {
    my $withdrawn = $sv->product(9506000134369, withdrawn_at => '2026-01-01', reason => 'risk');
    $sv->recall_lot($gtin, 'BAD');

    my @cases = (
        ['recalled',  fresh(lot => 'BAD'), {link => {lot => 'BAD'}}],
        ['expired',   fresh(lot => 'OLD', expiry => '2025-12-31'), {link => {lot => 'OLD', expiry => '251231'}}],
        ['withdrawn', fresh(gtin => $withdrawn), {gtin => $withdrawn}],
    );

    for my $case (@cases) {
        my ($reason, $pack, $option) = @{$case};
        my %same = (%{$option}, idempotency => "$reason-key");

        for my $operation ('supply', {operation => 'undo', of => 'supply'}) {
            answer_is(operate($pack, $here, $operation, %{$option}), 409, {changed => 0, reason => $reason, advice => 'do_not_dispense',
                state => 'active', code => undef, alert => undef}, ref $operation ? "$reason: undo" : "$reason: supply");
        }

        my $first = operate($pack, $here, 'supply', %same);
        my $again = operate($pack, $here, 'supply', %same);
        is($again->{body}, $first->{body}, "$reason: a refusal is replayed too");
        is($again->{headers}{'idempotent-replayed'}, 'true', "$reason: and says so");
        is(registered($pack, $option->{gtin}), 'active 1', "$reason: no change");
    }
};


subtest 'what is not known, or does not fit' => sub {
    my $pack  = fresh();
    my @cases = (
        ['serial',  'NOSUCH', {}, 404, {reason => 'serial_unknown', code => 'A3', alert => $alert, hint => undef}],
        ['lot',     'NOSUCH', {link => {lot => 'NOLOT'}}, 404, {reason => 'lot_unknown', code => 'A2', alert => $alert}],
        ['product', 'NOSUCH', {gtin => 9506000134383}, 404, {reason => 'product_unknown', code => 'A1', alert => undef}],
        ['scanner', lc $pack, {}, 404, {reason => 'serial_unknown', advice => 'rescan', hint => 'scanner', alert => undef}],
        ['other lot', $pack, {link => {lot => 'WRONG'}}, 409,
            {reason => 'lot_mismatch', code => 'A68', alert => $alert, lot => 'WRONG'}],
        ['other expiry', $pack, {link => {expiry => '301130'}}, 409,
            {reason => 'expiry_mismatch', code => 'A52', alert => $alert, lot => 'LOT1', expiry => '2030-11-30'}],
    );

    for my $case (@cases) {
        my ($name, $serial, $option, $status, $expected) = @{$case};
        my $answer = operate($serial, $here, 'supply', %{$option});
        answer_is($answer, $status, {changed => 0, state => undef, since => undef, here => undef, %{$expected}}, $name);
        unlike($answer->{body}, $name eq 'other lot' ? qr/LOT1/ : qr/2030-12-31/, "$name: the right value is not told") if $status == 409;
    }

    is(registered($pack), 'active 1', 'no change');
};


subtest 'what an operation needs' => sub {
    my $pack = fresh();

    for my $missing ([lot => '10'], [expiry => '17']) {
        my ($element, $ai) = @{$missing};
        problem_is(operate($pack, $here, 'supply', link => {$element => undef}, idempotency => 'incomplete'), 422, 'elements_missing',
            {element => $ai}, "no $element");
    }

    problem_is($sv->post('/01/09506000134352', {operation => 'supply'}, key => $here->{key}, idempotency => 'k'), 422, 'elements_missing',
        {element => '21'}, 'no serial');
    problem_is($sv->post('/01/09506000134352/235/ABC', {operation => 'supply'}, key => $here->{key}, idempotency => 'k'), 422,
        'elements_missing', {element => '21'}, 'a UPUI is no serial');

    my $path = $sv->link_to($gtin, $pack);

    for my $stem ('/01/09506000134376', '/10/L/21/S', '/21/S', '/x/10/L') {
        problem_is($sv->post("$stem$path", {operation => 'supply'}, key => $here->{key}, idempotency => 'k'), 422, 'elements_ambiguous', {},
            "further elements in the stem: $stem");
        is($sv->get("$stem$path", key => $here->{key})->{status}, 200, 'a look is free');
    }

    is(registered($pack), 'active 1', 'no change');
    is_deeply(audited($pack), [], 'these never reached the registry');

    answer_is($sv->post("/some/stem$path", {operation => 'supply'}, key => $here->{key}, idempotency => 'incomplete'), 200, {changed => 1},
        'any other stem; and the key of what was incomplete is free');

    my $lax = $sv->product(9506000134390, lot_optional => 1, expiry_optional => 1);
    my $one = fresh(gtin => $lax);
    followed('the policy');
    answer_is(operate($one, $here, 'supply', gtin => $lax, link => {lot => undef, expiry => undef}), 200,
        {changed => 1, lot => 'LOT1', expiry => '2030-12-31'}, 'a product whose policy says so');
    answer_is(operate(fresh(gtin => $lax), $here, 'supply', gtin => $lax, link => {lot => 'WRONG', expiry => undef}), 409,
        {reason => 'lot_mismatch'}, 'what is presented is compared all the same');
};


subtest 'the same key' => sub {
    my $pack  = fresh();
    my @same  = ($pack, $here, {operation => 'supply', entry_mode => 'manual'});
    my $first = operate(@same, idempotency => 'same');

    answer_is($first, 200, {changed => 1}, 'acts once');
    is($first->{headers}{'idempotent-replayed'}, undef, 'the first is no replay');

    operate($pack, $here, {operation => 'undo', of => 'supply'});

    my $again = operate(@same, idempotency => 'same');
    is($again->{status}, 200, 'again');
    is($again->{body}, $first->{body}, 'the same body, though the pack is active again');
    is($again->{headers}{'idempotent-replayed'}, 'true', 'a replay says so');
    isnt($again->{headers}{'x-request-id'}, $first->{headers}{'x-request-id'}, 'another request');
    is(registered($pack), 'active 3', 'no change');

    my %different = (
        operation   => [{operation => 'sample', entry_mode => 'manual'}],
        entry_mode  => [{operation => 'supply', entry_mode => 'scanned'}],
        occurred_at => [{operation => 'supply', entry_mode => 'manual', occurred_at => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime)}],
        lot         => [$same[2], link => {lot => 'LOT2'}],
        expiry      => [$same[2], link => {expiry => '301230'}],
    );

    for my $what (sort keys %different) {
        answer_is(operate($pack, $here, @{$different{$what}}, idempotency => 'same'), 422,
            {changed => 0, reason => 'key_reused', state => undef, alert => undef}, "with another $what");
    }

    answer_is(operate(fresh(), $here, $same[2], idempotency => 'same'), 422, {reason => 'key_reused'}, 'with another serial');
    answer_is(operate($pack, $there, $same[2], idempotency => 'same'), 200, {changed => 1}, 'of another location is another key');
    is(registered($pack), 'supplied 4', 'and acts');
};


subtest 'the same key at the same instant' => sub {
    for my $round (1 .. 5) {
        my $pack    = fresh();
        my @request = ('POST', $sv->link_to($gtin, $pack), key => $here->{key}, idempotency => "twin-$round", body => {operation => 'supply'});
        my @answers = $sv->parallel(map { [@request] } 1 .. 8);

        is(join(' ', map { $_->{status} } @answers), join(' ', (200) x 8), 'all are answered');
        is(scalar(keys %{{map { $_->{body} => 1 } @answers}}), 1, 'alike');
        is(scalar(grep { !$_->{headers}{'idempotent-replayed'} } @answers), 1, 'one acted');
        is(registered($pack), 'supplied 2', 'once');
        is_deeply(audited($pack), ["supply ok 1 $here->{id}"], 'and is audited once');
    }
};


subtest 'no key, no operation' => sub {
    my $pack = fresh();

    problem_is(operate($pack, $here, 'supply', idempotency => undef), 400, 'key_missing', {element => 'Idempotency-Key'}, 'none');
    problem_is(operate($pack, $here, 'supply', idempotency => ''), 400, 'key_missing', {element => 'Idempotency-Key'}, 'an empty one');
    is(registered($pack), 'active 1', 'no change');
};


subtest 'offline replays' => sub {
    my $at = sub { return $sv->sql(q{select to_char(now() at time zone 'UTC' + ?::interval, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')}, $_[0]) };

    my $pack   = fresh();
    my $when   = $at->('-13 days');
    my $answer = operate($pack, $here, {operation => 'supply', occurred_at => $when});
    answer_is($answer, 200, {changed => 1, occurred_at => $when, since => $when, at => $time, state => 'supplied'}, 'two weeks late');
    isnt($answer->{json}{at}, $when, 'and when it was recorded');
    answer_is(operate($pack, $here, {operation => 'undo', of => 'supply'}), 409, {reason => 'undo_too_late'},
        'the time to undo counts from then');

    for my $good ($at->('4 minutes'), $at->('-1 hour') =~ s/Z$/+00:00/r, $at->('-1 hour') =~ s/\.\d+Z$/Z/r, $at->('3 hours') =~ s/Z$/+05:30/r) {
        answer_is(operate(fresh(), $here, {operation => 'supply', occurred_at => $good}), 200, {changed => 1}, "occurred at $good");
    }

    for my $bad ($at->('-15 days'), $at->('6 minutes'), '1970-01-01T00:00:00Z', '9999-12-31T23:59:59Z') {
        my $never = fresh();
        answer_is(operate($never, $here, {operation => 'supply', occurred_at => $bad}), 422,
            {changed => 0, reason => 'occurred_at_invalid', advice => 'retry'}, "occurred at $bad");
        is(registered($never), 'active 1', 'no change');
    }

    my $answer_to_wrong = operate(fresh(), $here, {operation => 'supply', occurred_at => $at->('-15 days')},
        link => {lot => 'WRONG', expiry => '301130'});
    answer_is($answer_to_wrong, 422, {reason => 'occurred_at_invalid', state => undef, lot => 'WRONG', expiry => '2030-11-30'},
        'what was not compared is not told');

    $sv->numbered(q{insert into sv.lot (ref_n, gtin, lot, recalled_at, reason, expiry)
        values (?, ?, 'LATE', now() - interval '1 day', 'impurity', '2030-12-31')}, $gtin);
    my %late = (link => {lot => 'LATE'});

    answer_is(operate(fresh(lot => 'LATE'), $here, {operation => 'supply', occurred_at => $at->('-1 hour')}, %late), 409,
        {reason => 'recalled'}, 'after the recall');
    my $before = fresh(lot => 'LATE');
    answer_is(operate($before, $here, {operation => 'supply', occurred_at => $at->('-2 days')}, %late), 200, {changed => 1},
        'before the recall: it has left');
    is($sv->sql('select rule from sv.finding where serial = ?', $before), 'supplied_before_recall', 'which is found');

    my $day = $sv->sql(q{select ((now() at time zone 'UTC') - interval '3 days')::date});
    my $due = fresh(lot => 'DUE', expiry => $day);
    my %due = (link => {lot => 'DUE', expiry => substr($day =~ tr/-//dr, 2)});
    answer_is(operate($due, $here, 'supply', %due), 409, {reason => 'expired'}, 'expired now');
    answer_is(operate($due, $here, {operation => 'supply', occurred_at => $at->('-4 days')}, %due), 200, {changed => 1}, 'but not then');

    my $malformed = fresh();

    for my $bad ('', 'now', '2026-11-20', '2026-11-20T10:00:00', '2026-11-20 10:00:00Z', '2026-02-30T10:00:00Z', '2026-13-01T10:00:00Z',
        '2026-11-20T24:00:00Z', '2026-11-20T10:60:00Z', '2026-11-20T10:00:60Z', '2026-11-20T10:00:00.Z', '2026-11-20T10:00:00+1:00',
        '2026-11-20T10:00:00+15:00', '2026-11-20T10:00:00+01:60', '2026-11-20T10:00:00+0100', '2026-11-20T10:00:00ZZ',
        "2026-11-20T10:00:00Z'", '2026-11-20T10:00:00.' . '1' x 40 . 'Z', '0000-00-00T00:00:00Z', 'infinity')
    {
        problem_is(operate($malformed, $here, {operation => 'supply', occurred_at => $bad}), 422, 'occurred_at_malformed',
            {element => 'occurred_at'}, 'malformed: ' . substr($bad, 0, 30));
    }

    is(registered($malformed), 'active 1', 'no change');
};


subtest 'an operation is told in the client\'s language' => sub {
    my $pack   = fresh();
    my %german = (headers => {'Accept-Language' => 'de'});

    answer_is(operate($pack, $here, 'supply', %german), 200, {text => qr/ abgegeben/}, 'German');
    operate($pack, $here, 'supply') for 1, 2;
    answer_is(operate($pack, $here, 'supply', %german), 200, {repeat => 3, warning => qr/^Der n\x{e4}chste Versuch/}, 'its warning too');
};


subtest 'how many repeats are taken is a setting' => sub {
    $sv->sql(q{update sv.setting set value = '1' where name = 'supply_repeats'});
    my $pack = fresh();

    operate($pack, $here, 'supply');
    answer_is(operate($pack, $here, 'supply'), 200, {reason => 'already_supplied_here', repeat => 1, warning => qr/next attempt will be refused/},
        'the first repeat is the last');
    answer_is(operate($pack, $here, 'supply'), 409, {reason => 'already_supplied', alert => qr/^IT-/}, 'the second is refused');
};

$sv->done_testing;
