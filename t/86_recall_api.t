#!/usr/bin/env perl

# Recalls through the role api: by whom, in which words, and that a request may
# be repeated.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(time);
use Test::SerialVerify;

my $gtin  = 9506000134352;
my $alien = 9506000134369;
my $text  = "0$gtin";

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
$sv->product($alien, company => 'rival');
$sv->pack_row($gtin, $_) for qw(A1 A5 B1);

my %who = map { $_ => $sv->actor($_, company => 'acme') } qw(manufacturer authority pharmacy wholesaler parallel_distributor reviewer operator);
$who{sister} = $sv->actor('manufacturer', company => 'acme');
$who{rival}  = $sv->actor('manufacturer', company => 'rival');

$sv->start_api;
$sv->start_nginx(name => $_, api => 1, workers => 2) for qw(north south);


sub ask {
    my ($who, $method, $target, $body) = @_;

    return $sv->request($method, $target, key => $who{$who}{key}, nginx => 'north', timeout => 30, ($body ? (body => $body) : ()));
}

sub recall { my ($who, %body) = @_; return ask($who, 'POST', '/recalls', {gtin => $text, reason => 'glass', %body}) }
sub lift   { my ($who, $id, $reason) = @_; return ask($who, 'POST', "/recalls/$id/lift", {reason => $reason // 'well'}) }
sub told   { my ($answer) = @_; return join ' ', $answer->{status}, grep { defined } @{$answer->{json} // {}}{qw(reason element)} }

sub verdict {
    my ($serial, $gateway) = @_;

    my $answer = $sv->get($sv->link_to($gtin, $serial), key => $who{pharmacy}{key}, nginx => $gateway // 'north');
    return join ' ', grep { defined } @{$answer->{json}}{qw(reason reference)};
}

sub open_recalls { return scalar $sv->sql('select count(*) from sv.recall where lifted_at is null') }


subtest 'the four kinds' => sub {
    my %kind = (
        lot     => [{lot => 'LOT1'}, 'recalled'],
        range   => [{from => 'A1', to => 'A9'}, 'recalled'],
        serials => [{serials => ['A1', 'ZZZ', 'A1']}, 'recalled'],
        product => [{kind => 'product'}, 'withdrawn'],
    );

    for my $kind (sort keys %kind) {
        my ($what, $reason) = @{$kind{$kind}};
        my $start = time;
        my $made  = recall('manufacturer', %{$what}, reference => 'R-1');

        is($made->{status}, 201, "$kind: made") or diag($made->{body});
        my $id = $made->{json}{id};
        is($made->{headers}{location}, "/recalls/$id", "$kind: its address");
        is($made->{json}{kind}, $kind, "$kind: so it is called");
        is_deeply([@{$made->{json}}{qw(gtin reason reference open)}, @{$made->{json}{by}}{qw(role)}], [$text, 'glass', 'R-1', JSON::PP::true(), 'manufacturer'], "$kind: what it is");
        is($made->{json}{count}, $kind eq 'serials' ? 2 : undef, "$kind: how many serials");

        for my $gateway (qw(north south)) {
            Test::SerialVerify::wait_for { verdict('A1', $gateway) eq "$reason glass (R-1)" } "$kind at $gateway";
        }

        is(ask('authority', 'GET', "/recalls/$id")->{body}, $made->{body}, "$kind: read by its address");

        my $again = recall('sister', %{$what}, reference => 'R-1');
        is("$again->{status} $again->{json}{id} $again->{headers}{location}", "200 $id /recalls/$id", "$kind: the same by the company again");
        is(open_recalls(), 1, "$kind: is no other");

        my $worded = recall('manufacturer', %{$what}, reason => 'splinters');
        is_deeply([$worded->{status}, @{$worded->{json}}{qw(id reason reference)}], [200, $id, 'splinters', undef], "$kind: with another reason");

        my $lifted = lift('sister', $id);
        is_deeply([$lifted->{status}, @{$lifted->{json}}{qw(open lift_reason)}], [200, JSON::PP::false(), 'well'], "$kind: lifted") or diag($lifted->{body});
        is($lifted->{json}{lifted_by}, $sv->sql('select gln from sv.location where location_id = ?', $who{sister}{id}), "$kind: by whom");
        is(lift('sister', $id)->{status}, 200, "$kind: lifted again");
        is(told(lift('authority', $id, 'again')), '409 conflict recall', "$kind: it is closed");
        Test::SerialVerify::wait_for { verdict('A1') eq 'ok' } "$kind: the lift";
    }

    is($sv->sql(q{select count(*) from sv.audit where kind = 'recall' and location_id = any (?) and request_id ~ '^[0-9a-f]{32}$'},
        [map { $_->{id} } @who{qw(manufacturer sister)}]), 4 * 3, 'the audit knows location and request');
};


subtest 'who may' => sub {
    is(told(recall($_, lot => 'LOT1')), '403 not_permitted', "$_: recalls nothing") for qw(pharmacy wholesaler parallel_distributor reviewer operator);
    is(told(ask($_, 'GET', '/recalls')), '403 not_permitted', "$_: sees none") for qw(pharmacy operator);
    is(told(recall('rival', lot => 'LOT1')), '403 not_permitted gtin', 'nor a manufacturer what is not its own');
    is($sv->request('POST', '/recalls', nginx => 'north', body => {gtin => $text, lot => 'LOT1', reason => 'x'})->{status}, 401, 'nobody without a key');
    is(open_recalls(), 0, 'nothing is recalled');

    my $id = recall('authority', lot => 'LOT1')->{json}{id};
    is(told(lift('manufacturer', $id)), '403 not_permitted recall', 'what the authority recalls it lifts');
    is(told(lift('rival', $id)), '404 not_found recall', 'another company does not even see it');
    is(told(ask('rival', 'GET', "/recalls/$id")), '404 not_found', 'nor by its address');
    is_deeply(ask('rival', 'GET', "/recalls?gtin=$text")->{json}, {recalls => [], more => JSON::PP::false()}, 'nor in the list');

    my $own = recall('manufacturer', lot => 'LOT1')->{json}{id};
    isnt($own, $id, 'the manufacturer recalls it, too');
    $sv->sql(q{update sv.recall set at = at - interval '25 hours' where recall_id = ?}, $own);
    my $late = lift('manufacturer', $own);
    is(told($late), '403 not_permitted recall', 'and does not lift it a day later');
    like($late->{json}{detail}, qr/within 24 hours/, 'and is told why');
    is(lift('authority', $own)->{status}, 200, 'the authority does');
    ok(eval { Test::SerialVerify::wait_for { verdict('A1') eq 'recalled glass' } 'the verdict' }, 'its own recall is still there');
    is(lift('authority', $id)->{status}, 200, 'until it lifts it');
};


subtest 'the list' => sub {
    my @made = map { recall('manufacturer', from => "L$_", to => "L$_")->{json}{id} } 1 .. 3;
    my $rival = ask('rival', 'POST', '/recalls', {gtin => "0$alien", lot => 'X', reason => 'y'})->{json}{id};
    lift('manufacturer', $made[1]);
    $sv->sql('select sv.recall_lot(?, ?, ?, ?, ?)', $gtin, 'CMD', 'by hand', undef, 'root');

    my $ids = sub { my ($who, $query) = @_; my $answer = ask($who, 'GET', "/recalls$query"); return [map { $_->{id} } @{$answer->{json}{recalls}}] };
    is_deeply([@{$ids->('manufacturer', "?gtin=$text&open=true")}[1, 2]], [@made[2, 0]], 'open ones, the newest first');
    ok((grep { $_ eq $made[1] } @{$ids->('manufacturer', "?gtin=$gtin&open=false")}), 'lifted ones, by a GTIN of 13 digits');
    ok(!(grep { $_ eq $rival } @{$ids->('manufacturer', '')}), 'not those of others');
    ok((grep { $_ eq $rival } @{$ids->('authority', '')}), 'but for the authority');

    my ($command) = grep { ($_->{lot} // '') eq 'CMD' } @{ask('manufacturer', 'GET', "/recalls?open=true")->{json}{recalls}};
    is_deeply($command->{by}, {role => 'operator'}, 'an operator has no name');

    is(told(ask('authority', 'GET', '/recalls?open=yes')), '400 invalid_value open', 'a wrong word');
    is(told(ask('authority', 'GET', '/recalls?gtin=12')), '400 invalid_value gtin', 'a wrong GTIN');
    is(told(ask('authority', 'GET', '/recalls/nothing')), '404 not_found', 'no such recall');
    is(told(ask('authority', 'GET', '/recalls/0d5a4f0e-6c0b-4d0b-9f39-3f6f0c6f9a05')), '404 not_found', 'no such recall, in the right form');
    is(told(lift('authority', '0d5a4f0e-6c0b-4d0b-9f39-3f6f0c6f9a05')), '404 not_found recall', 'nor to lift');
    $sv->sql('select sv.lift(recall_id, ?, ?) from sv.recall where lifted_at is null', 'next', 'test');
};


subtest 'what is wrong' => sub {
    my %bad = (
        'nothing said of what'      => [{}, '400 invalid_value kind'],
        'two things at once'        => [{lot => 'LOT1', serials => ['A1']}, '400 invalid_value kind'],
        'a product and a lot'       => [{kind => 'product', lot => 'LOT1'}, '400 invalid_value kind'],
        'a kind that does not fit'  => [{kind => 'range', lot => 'LOT1'}, '400 invalid_value kind'],
        'half a range'              => [{from => 'A1'}, '400 invalid_value to'],
        'other lengths'             => [{from => 'A1', to => 'A10'}, '400 invalid_value to'],
        'the wrong way round'       => [{from => 'A9', to => 'A1'}, '400 invalid_value to'],
        'a lot that cannot be'      => [{lot => 'L 1'}, '400 invalid_value lot'],
        'an empty list'             => [{serials => []}, '400 invalid_value serials'],
        'a number for a serial'     => [{serials => ['A1', 5]}, '400 invalid_value serials'],
        'a serial that cannot be'   => [{serials => ['A1', "B\n"]}, '400 invalid_value serials'],
        'a serial with quotes'      => [{serials => ['","A1']}, '201 glass'],
        'a list of texts in a text' => [{serials => '{A1}'}, '400 invalid_value serials'],
        'no reason'                 => [{lot => 'LOT1', reason => ''}, '400 invalid_value reason'],
        'a long reason'             => [{lot => 'LOT1', reason => 'x' x 301}, '400 invalid_value reason'],
        'a number for a reason'     => [{lot => 'LOT1', reason => 5}, '400 invalid_value reason'],
        'a GTIN that is none'       => [{gtin => '09506000134353', lot => 'LOT1'}, '400 invalid_value gtin'],
        'a product that is none'    => [{gtin => '09506000134376', lot => 'LOT1'}, '404 not_found gtin'],
        'a member too many'         => [{lot => 'LOT1', refrence => 'R-1'}, '400 member_unknown refrence'],
    );

    is(told(recall('authority', %{$bad{$_}[0]})), $bad{$_}[1], $_) for sort keys %bad;
    is_deeply($sv->dbh->selectcol_arrayref('select serial from sv.recall_serial where serial !~ ?', undef, '^[A-Z]'), ['","A1'], 'quotes are part of it');

    is(told($sv->request('POST', '/recalls', key => $who{authority}{key}, nginx => 'north', body => $_)), '400 body_malformed', "body: $_") for '{', '[]', '';
    is(told(ask('authority', 'POST', '/recalls', {lot => 'LOT1', reason => 'x'})), '400 invalid_value gtin', 'no GTIN');
    $sv->sql('select sv.lift(recall_id, ?, ?) from sv.recall where lifted_at is null', 'next', 'test');
};


subtest 'a long list' => sub {
    my @serials = map { sprintf 'N%06d', $_ } 1 .. 100_000;
    my $made = recall('manufacturer', serials => \@serials);
    is_deeply([$made->{status}, $made->{json}{count}], [201, 100_000], '100,000 serials') or diag($made->{body});
    is(recall('manufacturer', serials => [reverse @serials])->{json}{id}, $made->{json}{id}, 'in another order it is the same');

    my $refused = recall('manufacturer', serials => [@serials, 'N999999']);
    is(told($refused), '413 too_many serials', 'one more is too many');
    like($refused->{json}{detail}, qr/recall the lot, or a range/, 'with the advice to recall the lot');
    lift('manufacturer', $made->{json}{id});
};


# The same by two at once, and an api that is killed while it works: the repeat finds what was done.
subtest 'repeated' => sub {
    my $body  = {gtin => $text, lot => 'LOT1', reason => 'race'};
    my @twice = $sv->parallel(map { ['POST', '/recalls', key => $who{$_}{key}, nginx => 'north', body => $body] } qw(manufacturer sister manufacturer sister));
    is(join(' ', sort map { $_->{status} } @twice), '200 200 200 201', 'one makes it');
    is(scalar(keys %{{map { $_->{json}{id} => 1 } @twice}}), 1, 'the others are told of it');

    my $dbh = $sv->new_dbh;
    $dbh->begin_work;
    $dbh->do('select from sv.lot where gtin = ? and lot = ? for update', undef, $gtin, 'LOT1');
    my $pid = fork // die "fork: $!";

    if ($pid == 0) {
        my $answer = lift('manufacturer', $twice[0]{json}{id});
        POSIX::_exit($answer->{status} == 200 ? 1 : 0);
    }

    Test::SerialVerify::wait_for { $sv->sql(q{select count(*) from pg_stat_activity where usename = 'sv_api' and wait_event_type = 'Lock'}) } 'the lift to wait';
    $sv->kill9('api');
    waitpid $pid, 0;
    is($?, 0, 'no success is told');
    $dbh->rollback;
    $dbh->disconnect;

    $sv->start_api;
    is(lift('manufacturer', $twice[0]{json}{id})->{status}, 200, 'the repeat is');
    is(open_recalls(), 0, 'lifted once');
    is($sv->sql(q{select count(*) from sv.audit where operation = 'lift_recall' and detail ->> 'recall_id' = ?}, $twice[0]{json}{id}), 1, 'in the audit, too');
};

$sv->done_testing;
