#!/usr/bin/env perl

# Cases through the role api: lists, one case, what a reviewer makes of it, by
# whom, and that a request may be repeated.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;
use Test::SerialVerify::Cases;

my $gtin  = 9506000134352;
my $alien = 9506000134369;
my $text  = "0$gtin";

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
$sv->product($alien, company => 'rival', name => 'Rivalin');

my %who = map { $_ => $sv->actor($_) } qw(pharmacy wholesaler parallel_distributor manufacturer authority reviewer operator);
$who{second} = $sv->actor('reviewer', name => 'second desk');
$who{acme}   = $sv->actor('reviewer', company => 'acme');
$who{rival}  = $sv->actor('reviewer', company => 'rival');
my %gln = map { $_ => scalar $sv->sql('select gln from sv.location where location_id = ?', $who{$_}{id}) } keys %who;

$sv->start_api;
$sv->start_nginx(api => 1, workers => 2);
my $cases = Test::SerialVerify::Cases->new($sv);


sub ask {
    my ($who, $method, $target, $body, %header) = @_;

    return $sv->request($method, $target, key => $who{$who}{key}, timeout => 30, headers => \%header, ($body ? (body => $body) : ()));
}

sub told { my ($answer) = @_; return join ' ', $answer->{status}, grep { defined } @{$answer->{json} // {}}{qw(reason element)} }
sub ids  { my ($answer) = @_; return [map { $_->{id} } @{$answer->{json}{alerts}}] }
sub list { my ($query, $who) = @_; return ids(ask($who // 'reviewer', 'GET', "/alerts$query")) }

# every page of a list
sub pages {
    my ($query, $between) = @_;

    my ($cursor, @pages) = ('');

    while (@pages < 100) {
        my $answer = ask('reviewer', 'GET', "/alerts?$query" . ($cursor ? "&cursor=$cursor" : ''));
        die $answer->{body} if $answer->{status} != 200;
        push @pages, ids($answer);
        $cursor = $answer->{json}{next} // last;
        $between->(scalar @pages) if $between;
    }

    return @pages;
}


subtest 'who may' => sub {
    my $id = $cases->open;

    for my $role (qw(pharmacy wholesaler parallel_distributor manufacturer authority operator)) {
        is(told(ask($role, 'GET', $_)), '403 not_permitted', "$role: $_") for '/alerts', "/alerts/$id";
    }

    is($sv->request('GET', '/alerts')->{status}, 401, 'nobody without a key');
    is(told($sv->api_request('GET', '/alerts', who => {location => $who{pharmacy}{id}, role => 'reviewer'})), '403 not_permitted role', 'nor a role that only the proof has');
    $sv->sql('delete from sv.case');
};


subtest 'a list' => sub {
    my %id = (
        clone   => $cases->open(severity => 'critical', rule => 'impossible_travel', cause => 'clone', countries => ['IT', 'DE'], at => '2026-11-20 12:00:01Z',
            findings => [{serials => ['A1', 'A2'], actors => [$gln{pharmacy}]}, {rule => 'scan_volume', lot => 'LOT7', weight => 'info', severity => 'info'}]),
        scanner => $cases->open(severity => 'low', rule => 'site_burst', cause => 'scanner_setting', lot => 'LOT2', proposed => 1, countries => ['FR'], at => '2026-11-20 12:00:03Z'),
        info    => $cases->open(severity => 'info', rule => 'off_market', cause => 'travel', lot => undef, at => '2026-11-20 12:00:02Z', findings => [{weight => 'info'}, {weight => 'asks', withdrawn => 1}]),
        muted   => $cases->open(severity => 'high', rule => 'dead_pack', cause => 'stolen', muted_until => '2099-01-01 00:00Z', at => '2026-11-20 12:00:04Z'),
        alien   => $cases->open(gtin => $alien, severity => 'medium', lot => 'LOT1', at => '2026-11-20 12:00:05Z'),
        many    => $cases->open(gtin => 0, severity => 'medium', rule => 'harvesting', cause => 'harvesting', lot => undef, status => 'investigating', at => '2026-11-20 12:00:06Z'),
        old     => $cases->open(severity => 'high', status => 'closed', at => '2026-11-19 12:00:00Z'),
    );
    $id{merged} = $cases->open(severity => 'high', status => 'merged', merged_into => $id{clone});

    my $named = sub { my %name = reverse %id; return join ' ', map { $name{$_} } @{$_[0]} };

    is($named->(list('')), 'clone old muted many alien scanner info', 'by severity, the newest first');
    is($named->(list('?sort=changed')), 'many alien muted scanner info clone old', 'by the last change');

    my %filter = (
        'status=new'                     => 'clone muted alien scanner info',
        'status=closed,investigating'    => 'old many',
        'status=merged'                  => 'merged',
        'asks=yes'                       => 'clone old muted many alien',
        'asks=no'                        => 'scanner info',
        'proposed=yes'                   => 'scanner',
        'proposed=no&severity=high'      => 'clone old muted',
        'severity=critical'              => 'clone',
        'rule=scan_volume'               => 'clone',
        "gtin=$alien"                    => 'alien',
        "gtin=$text&lot=LOT2"            => 'scanner',
        'lot=LOT7'                       => 'clone',
        "gtin=$gtin&serial=A2"           => 'clone',
        'country=DE'                     => 'clone',
        "actor=$gln{pharmacy}"           => 'clone',
        'muted=yes'                      => 'muted',
        'muted=no&severity=high'         => 'clone old',
        'cause=SCANNER'                  => 'scanner',
        'cause=%25'                      => '',
        'cause=_'                        => 'scanner',
        "cause=%27%20or%20true%20--"     => '',
        'since=2026-11-20T12:00:05Z'     => 'many alien',
        'until=2026-11-20T13:00:02%2B01:00' => 'clone old',
        'since=2026-11-20T12:00:02Z&until=2026-11-20T12:00:04Z' => 'scanner info',
        'rule=nothing_like_it'           => '',
    );
    is($named->(list("?$_")), $filter{$_}, $_) for sort keys %filter;

    my $counts = ask('reviewer', 'GET', '/alerts?counts=yes&limit=1')->{json};
    is_deeply($counts->{counts}, {total => 7, proposed => 1, status => {new => 5, investigating => 1, closed => 1},
        severity => {critical => 1, high => 2, medium => 2, low => 1, info => 1}}, 'totals');
    is(scalar @{$counts->{alerts}}, 1, 'of all pages');
    is($counts->{event}, $sv->sql('select n from sv.case_clock'), 'and how far it knows what was told');
    is_deeply(ask('reviewer', 'GET', '/alerts?counts=yes&rule=none')->{json}, {alerts => [], event => $counts->{event},
        counts => {total => 0, proposed => 0, status => {}, severity => {}}}, 'of nothing');

    my ($clone) = @{ask('reviewer', 'GET', '/alerts?severity=critical')->{json}{alerts}};
    is_deeply($clone, {id => $id{clone}, number => $clone->{number}, version => 1, gtin => $text, product => 'Aspirin 500 mg', lot => 'LOT1',
        rule => 'impossible_travel', severity => 'critical', status => 'new', asks => JSON::PP::true(), proposed => JSON::PP::false(), cause => 'clone',
        countries => ['IT', 'DE'], serials => 1, actors => 1, scans => 2, first_at => '2026-11-20T10:00:00.000Z', last_at => '2026-11-20T12:00:00.000Z',
        opened_at => '2026-11-20T12:00:01.000Z', changed_at => '2026-11-20T12:00:01.000Z'}, 'what is told of one');

    is($named->(list('', 'acme')), 'clone old muted scanner info', 'a company: its own');
    is($named->(list('', 'rival')), 'alien', 'another company: its own');
    is(ask('rival', 'GET', '/alerts?counts=yes')->{json}{counts}{total}, 1, 'nor in the totals');
    is($named->(list('?gtin=0' . $gtin, 'rival')), '', 'nor when it is asked for');

    my %bad = (
        'sort=age' => 'sort', 'limit=0' => 'limit', 'limit=501' => 'limit', 'limit=1e2' => 'limit', 'limit=' => 'limit', 'counts=2' => 'counts',
        'status=open' => 'status', 'status=' => 'status', 'status=new,' => 'status', 'asks=1' => 'asks', 'severity=worst' => 'severity', 'gtin=12' => 'gtin',
        'gtin=09506000134353' => 'gtin', 'serial=A1' => 'serial', 'country=it' => 'country', 'actor=x' => 'actor', 'since=yesterday' => 'since',
        'until=2026-02-30T10:00:00Z' => 'until', 'since=2026-11-20T10:00:00' => 'since', 'colour=red' => 'colour', 'cursor=00' => 'cursor', 'cursor=zz' => 'cursor',
        'rule=a&rule=b' => 'rule', 'sort=changed&sort=changed' => 'sort', 'cause=' . 'x' x 101 => 'cause', 'rule=' => 'rule',
    );
    is(told(ask('reviewer', 'GET', "/alerts?$_")), "400 invalid_value $bad{$_}", $_) for sort keys %bad;

    $sv->sql("delete from sv.$_") for qw(case_event case_finding case);
};


# Nothing twice and nothing left out, whatever changes between two pages.
subtest 'pages' => sub {
    my @severity = qw(info low medium high critical);
    my @all = map { $cases->open(severity => $severity[$_ % 5], at => sprintf '2026-11-20 12:%02d:00.123456Z', $_ % 7) } 0 .. 39;

    for my $sort (qw(severity changed)) {
        my $whole = list("?sort=$sort&limit=500");
        is(scalar @{$whole}, 40, "$sort: all of them");

        for my $limit (1, 7, 39, 40, 41) {
            my @pages = pages("sort=$sort&limit=$limit");
            is_deeply([map { @{$_} } @pages], $whole, "$sort: in pages of $limit");
            is(scalar @pages, int((40 + $limit - 1) / $limit), "$sort: so many");
        }
    }

    my $first = ask('reviewer', 'GET', '/alerts?limit=7')->{json};
    my %seen;
    $seen{$_}++ for map { @{$_} } pages('limit=7', sub {
        $cases->evidence($_) for @all[map { $_ * 3 % 40 } 1 .. 15];
        $cases->open(severity => $severity[$_]) for 0 .. 4;
    });
    is_deeply([grep { ($seen{$_} // 0) != 1 } @all], [], 'by severity: each once, though they change');

    %seen = ();
    my $began = ask('reviewer', 'GET', '/alerts?sort=changed&limit=7')->{json}{event};
    $seen{$_}++ for map { @{$_} } pages('sort=changed&limit=7', sub { $cases->evidence($all[$_[0] * 5]) });
    is_deeply([grep { $_ > 1 } values %seen], [], 'by change: none twice');
    $seen{$_->[0]}++ for @{$sv->dbh->selectall_arrayref('select distinct case_id from sv.case_event where n > ?', undef, $began)};
    is_deeply([grep { !$seen{$_} } @all], [], 'and what moved is told by the events since');

    my $other = ask('reviewer', 'GET', "/alerts?sort=changed&cursor=$first->{next}");
    is(told($other), '400 invalid_value cursor', 'a cursor is of its order');
    $sv->sql("delete from sv.$_") for qw(case_event case_finding case);
};


subtest 'one case' => sub {
    my @scans = (
        $cases->scan(serial => 'A1', at => '2026-11-20 10:00:00Z', session => 'token-of-a-day-1', country => 'FR', lat => 48.5, lon => 2.5, accuracy_km => 50, reason => 'ok'),
        $cases->scan(serial => 'A1', at => '2026-11-20 11:00:00Z', location => $who{pharmacy}{id}, operation => 'supply', reason => 'already_supplied', alert_id => 'IT-ABC-ABC-ABC-ABC-ABC', entry_mode => 'scanned'),
        $cases->scan(serial => 'A1', at => '2026-11-28 11:00:00Z', occurred_at => '2026-11-20 09:00:00Z', location => $who{wholesaler}{id}),
    );
    my $id = $cases->open(severity => 'high', findings => [
        {serials => ['A1'], actors => [$gln{pharmacy}, 'token-of-a-day-1', 'token-of-a-day-2'], scans => [@scans, 999_999], detail => '{"km": 900}'},
        {rule => 'off_market', severity => 'info', weight => 'info', scans => [$scans[0]], withdrawn => 1}]);
    $cases->evidence($id, detail => '{"scans": 4}');

    my $answer = ask('reviewer', 'GET', "/alerts/$id");
    my $case   = $answer->{json};
    is($answer->{status}, 200, 'found') or diag($answer->{body});
    is($answer->{headers}{etag}, '"2"', 'its version is its tag');

    my ($found, $gone) = @{$case->{findings}};
    is_deeply([@{$found}{qw(rule severity weight cause withdrawn serials serials_total sites sites_total consumers scans)}, $found->{detail}{km}],
        ['impossible_travel', 'high', 'asks', 'clone', JSON::PP::false(), ['A1'], 1, [$gln{pharmacy}], 1, 2, 4, 900], 'what a rule said');
    is_deeply([@{$gone}{qw(rule withdrawn)}], ['off_market', JSON::PP::true()], 'what it no longer says');
    unlike(JSON::PP::encode_json($case->{findings}), qr/token-of/, 'no token of a consumer');

    is_deeply($case->{evidence}, {total => 4, gone => 1, scans => [
        {n => $scans[2], at => '2026-11-20T09:00:00.000Z', recorded_at => '2026-11-28T11:00:00.000Z', gtin => $text, serial => 'A1', lot => 'LOT1', expiry => '301231',
            operation => 'verify', reason => 'ok', who => {role => 'wholesaler', gln => $gln{wholesaler}, name => "location $who{wholesaler}{id}"}, where => {country => 'IT'}, rules => ['impossible_travel']},
        {n => $scans[0], at => '2026-11-20T10:00:00.000Z', gtin => $text, serial => 'A1', lot => 'LOT1', expiry => '301231', operation => 'verify', reason => 'ok',
            who => {role => 'consumer', session => 'token-of-a-day-1'}, where => {country => 'FR', lat => 48.5, lon => 2.5, accuracy_km => 50}, rules => ['impossible_travel', 'off_market']},
        {n => $scans[1], at => '2026-11-20T11:00:00.000Z', gtin => $text, serial => 'A1', lot => 'LOT1', expiry => '301231', operation => 'supply', reason => 'already_supplied',
            alert => 'IT-ABC-ABC-ABC-ABC-ABC', entry_mode => 'scanned', who => {role => 'pharmacy', gln => $gln{pharmacy}, name => "location $who{pharmacy}{id}"}, where => {country => 'IT'}, rules => ['impossible_travel']},
    ]}, 'its evidence, in the order of events');

    is_deeply([map { [@{$_}{qw(kind detail by)}] } @{$case->{timeline}{events}}], [['evidence', {scans => 4}, undef], ['opened', undef, undef]], 'its timeline, the newest first');
    is_deeply([map { [@{$_}{qw(status needs)}] } @{$case->{next}}], [['acknowledged', undef], ['investigating', undef], ['closed', 'reason']], 'what may become of it');
    is_deeply($case->{parties}, [], 'nobody found anything yet');
    my ($closed) = grep { $_->{status} eq 'closed' } @{$case->{next}};
    is_deeply($closed->{reasons}[0], {reason => 'user_technical', confirmed => JSON::PP::false(), meaning => 'End user: scanner, keyboard or software'}, 'with the words to close it');

    my @pages;
    for (my $cursor = ''; ; ) {
        my $page = ask('reviewer', 'GET', "/alerts/$id/evidence?limit=2$cursor");
        push @pages, [map { $_->{n} } @{$page->{json}{scans}}];
        $cursor = '&cursor=' . ($page->{json}{next} // last);
    }
    is_deeply(\@pages, [[@scans[2, 0]], [$scans[1]]], 'evidence in pages');

    my $page = ask('reviewer', 'GET', "/alerts/$id/timeline?limit=1");
    is($page->{json}{events}[0]{kind}, 'evidence', 'the timeline in pages');
    is(ask('reviewer', 'GET', "/alerts/$id/timeline?cursor=$page->{json}{next}")->{json}{events}[0]{kind}, 'opened', 'and the next');
    is(told(ask('reviewer', 'GET', "/alerts/$id/$_")), '400 invalid_value cursor', $_) for 'evidence?cursor=2', 'evidence?cursor=3939', 'timeline?cursor=x';
    is(told(ask('reviewer', 'GET', "/alerts/$id/evidence?rule=x")), '400 invalid_value rule', 'no filter there');

    $sv->sql('delete from sv.scan');
    is_deeply(ask('reviewer', 'GET', "/alerts/$id")->{json}{evidence}, {scans => [], total => 4, gone => 4}, 'scans that are no longer kept');
    unlike(ask('reviewer', 'GET', "/alerts/$id")->{body}, qr/token-of/, 'leave no token');

    my $alien = $cases->open(gtin => $alien);
    my $many  = $cases->open(gtin => 0);
    my $into  = $cases->open(status => 'merged', merged_into => $id);
    is(told(ask('acme', 'GET', "/alerts/$_")), '404 not_found', 'a company: not those of others') for $alien, $many, "$alien/evidence", "$many/timeline";
    is(ask('acme', 'GET', "/alerts/$id")->{status}, 200, 'but its own');
    is_deeply([@{ask('acme', 'GET', "/alerts/$into")->{json}}{qw(status merged_into next)}], ['merged', $id, []], 'one that is part of another');
    is(told(ask('reviewer', 'GET', "/alerts/$_")), '404 not_found', "none: $_") for 'nothing', '0d5a4f0e-6c0b-4d0b-9f39-3f6f0c6f9a05', 'close';
    is(told(ask('reviewer', 'DELETE', "/alerts/$id")), '405 method_not_allowed', 'nothing is deleted');
    $sv->sql("delete from sv.$_") for qw(case_event case_finding case);
};

$sv->done_testing;
