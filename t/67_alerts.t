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
        scanner => $cases->open(severity => 'low', rule => 'site_burst', cause => 'scanner_setting', lot => 'LOT2', proposed_closure => 1, countries => ['FR'], at => '2026-11-20 12:00:03Z'),
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
        'proposed_closure=yes'                   => 'scanner',
        'proposed_closure=no&severity=high'      => 'clone old muted',
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
        'number=3'                       => 'scanner',
        'number=999999'                  => '',
    );
    is($named->(list("?$_")), $filter{$_}, $_) for sort keys %filter;

    my $counts = ask('reviewer', 'GET', '/alerts?counts=yes&limit=1')->{json};
    is_deeply($counts->{counts}, {total => 7, proposed_closure => 1, status => {new => 5, investigating => 1, closed => 1},
        severity => {critical => 1, high => 2, medium => 2, low => 1, info => 1},
        rule => {impossible_travel => 3, site_burst => 1, off_market => 1, dead_pack => 1, harvesting => 1}}, 'totals');
    is(scalar @{$counts->{alerts}}, 1, 'of all pages');
    is($counts->{event}, $sv->sql('select n from sv.case_clock'), 'and how far it knows what was told');
    is_deeply(ask('reviewer', 'GET', '/alerts?counts=yes&rule=none')->{json}, {alerts => [], event => $counts->{event},
        counts => {total => 0, proposed_closure => 0, status => {}, severity => {}, rule => {}}}, 'of nothing');

    my ($clone) = @{ask('reviewer', 'GET', '/alerts?severity=critical')->{json}{alerts}};
    is_deeply($clone, {id => $id{clone}, number => $clone->{number}, version => 1, gtin => $text, product => 'Aspirin 500 mg', lot => 'LOT1',
        rule => 'impossible_travel', severity => 'critical', status => 'new', asks => JSON::PP::true(), proposed_closure => JSON::PP::false(), cause => 'clone',
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
        'number=two' => 'number', 'number=1e1' => 'number',
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

    # a client that asked for serials of two companies, and what was found of them
    my @of   = map { $cases->scan(gtin => $_->[0], serial => $_->[1], location => $who{pharmacy}{id}) } [$gtin, 'OURS'], [$alien, 'THEIRS'];
    my $both = $cases->open(findings => [
        {rule => 'harvesting', serials => ['OURS', 'THEIRS'], keys => ['o:harvesting', "s:0$alien/THEIRS", "s:$text/OURS"], scans => [@of]},
        {serials => ['THEIRS'], keys => ["s:0$alien/THEIRS"], scans => [$of[1]]}]);
    my $whole = ask('reviewer', 'GET', "/alerts/$both")->{json};
    is_deeply([$whole->{evidence}{total}, sort map { @{$_->{serials}} } @{$whole->{findings}}], [2, 'OURS', 'THEIRS', 'THEIRS'], 'of two companies: who is of none sees all');
    my $ours = ask('acme', 'GET', "/alerts/$both");
    is_deeply([$ours->{json}{evidence}{total}, map { @{$_->{serials}}, $_->{serials_total} } @{$ours->{json}{findings}}], [1, 'OURS', 1], '.. a company its own');
    unlike($ours->{body} . ask('acme', 'GET', "/alerts/$both/evidence")->{body}, qr/THEIRS|$alien/, '.. and nothing of the other');

    my $long = $cases->open(findings => [map { {rule => $_ == 201 ? 'scan_volume' : 'off_market', severity => $_ == 201 ? 'low' : 'high', keys => ["s:$text/S$_"]} } 1 .. 201]);
    my $most = ask('acme', 'GET', "/alerts/$long")->{json};
    is_deeply([scalar @{$most->{findings}}, $most->{findings_total}, scalar grep { $_->{rule} ne 'off_market' } @{$most->{findings}}], [200, 201, 0], 'very many findings: the gravest, and how many');
    is(ask('acme', 'GET', "/alerts/$both")->{json}{findings_total}, 1, '.. of those that it is told');

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

# told(..) and what is told of the case afterwards
sub patch {
    my ($who, $id, $body, $tag) = @_;

    $tag //= '"' . $cases->version($id) . '"';

    return ask($who, 'PATCH', "/alerts/$id", $body, $tag eq '' ? () : ('If-Match' => $tag));
}

sub kinds { my ($id) = @_; return join ' ', @{$sv->dbh->selectcol_arrayref('select kind from sv.case_event where case_id = ? order by n', undef, $id)} }
sub audits { my ($id) = @_; return scalar $sv->sql(q{select count(*) from sv.audit where kind = 'admin' and operation = 'case_change' and detail ->> 'case_id' = ?}, $id) }


subtest 'changes' => sub {
    my $id = $cases->open;

    is(told(patch('reviewer', $id, {status => 'acknowledged'}, '')), '428 version_missing If-Match', 'no version');
    is(told(patch('reviewer', $id, {status => 'acknowledged'}, $_)), '400 invalid_value If-Match', "no version: $_") for 5, '"x"', '"1"x', '"1", "2"', '""';
    my $stale = patch('reviewer', $id, {status => 'acknowledged'}, '"7"');
    is(told($stale) . $stale->{headers}{etag}, '412 version_stale If-Match"1"', 'another version');

    my $answer = patch('reviewer', $id, {status => 'acknowledged'});
    is_deeply([$answer->{status}, $answer->{headers}{etag}, @{$answer->{json}}{qw(status version)}], [200, '"2"', 'acknowledged', 2], 'acknowledged') or diag($answer->{body});
    my ($told) = @{$answer->{json}{timeline}{events}};
    is_deeply([@{$told}{qw(kind by detail)}], ['status', "$gln{reviewer} location $who{reviewer}{id}", {from => 'new', to => 'acknowledged'}], 'by whom');

    my $again = patch('reviewer', $id, {status => 'acknowledged'}, '"1"');
    is_deeply([$again->{status}, $again->{headers}{'idempotent-replayed'}, $again->{json}{version}], [200, 'true', 2], 'the same again is a repeat');
    is(told(patch('second', $id, {status => 'acknowledged'}, '"1"')), '412 version_stale If-Match', 'of the same desk only');
    is(told(patch('reviewer', $id, {status => 'investigating'}, '"1"')), '412 version_stale If-Match', 'and of the same words');
    $answer = patch('second', $id, {status => 'acknowledged'});
    is_deeply([$answer->{status}, $answer->{json}{version}], [200, 2], 'what is so already changes nothing');
    is(kinds($id), 'opened status', 'and is told to nobody');

    is(patch('reviewer', $id, {status => 'investigating'}, 'W/"2"')->{status}, 200, 'a weak tag is one');
    is(told(patch('reviewer', $id, {status => 'closed'})), '400 invalid_value reason', 'closed with a reason');
    is(told(patch('reviewer', $id, {status => 'closed', reason => 'bored'})), '400 invalid_value reason', 'of those there are');
    $answer = patch('reviewer', $id, {status => 'closed', reason => 'falsified', note => "leaflet in \x{201e}Comic Sans\x{201c}"});
    is_deeply([@{$answer->{json}}{qw(status close_reason close_note)}], ['closed', 'falsified', "leaflet in \x{201e}Comic Sans\x{201c}"], 'closed') or diag($answer->{body});
    is_deeply([map { [@{$_}{qw(status needs)}] } @{$answer->{json}{next}}], [['reopened', 'note']], 'then it is reopened, or stays');
    is(told(patch('reviewer', $id, {status => 'closed', reason => 'test'})), '409 conflict status', 'it is closed for one reason');
    is(told(patch('reviewer', $id, {status => 'new'})), '409 conflict status', 'nothing becomes new');
    is(told(patch('reviewer', $id, {status => 'reopened'})), '400 invalid_value note', 'reopened with a note');
    $answer = patch('reviewer', $id, {status => 'reopened', note => 'another pack'});
    is_deeply([@{$answer->{json}}{qw(status close_reason close_note)}], ['reopened', undef, undef], 'reopened');
    is(kinds($id), 'opened status status status status', 'all of it is told');

    is(audits($id), 4, 'and audited');
    my @row = $sv->sql(q{select location_id, request_id ~ '^[0-9a-f]{32}$', actor, gtin, lot, detail -> 'before' ->> 'status', detail -> 'after' ->> 'status',
        detail -> 'after' ->> 'close_reason', detail -> 'change' ->> 'note' from sv.audit where detail ->> 'case_id' = ? and detail ->> 'version' = '4'}, $id);
    is_deeply(\@row, [$who{reviewer}{id}, 1, undef, $gtin, 'LOT1', 'investigating', 'closed', 'falsified', "leaflet in \x{201e}Comic Sans\x{201c}"], 'who, what, before and after');
    is($sv->sql('select count(*) from sv.audit a join sv.outbox o using (gtin, audit_id, at) where a.operation = ?', 'case_change'), 4, 'on its way to the chain');

    my $merged = $cases->open(status => 'merged', merged_into => $id);
    is(told(patch('reviewer', $merged, $_)), '409 conflict status', 'one that is part of another stays as it is') for {status => 'closed', reason => 'test'}, {note => 'x'};
};


subtest 'notes, mute, parties' => sub {
    my $id = $cases->open;

    my $answer = patch('reviewer', $id, {note => "call \"X\"\n<b>"});
    is_deeply([@{$answer->{json}{timeline}{events}[0]}{qw(kind detail)}], ['note', {note => "call \"X\"\n<b>"}], 'a note');
    is(patch('reviewer', $id, {note => 'y' x 500})->{status}, 200, 'of 500 characters');
    is(told(patch('reviewer', $id, {note => "\x{fc}" x 500})), '200', 'whatever they are');

    my $until = '2027-03-01T10:00:00+02:00';
    $answer = patch('reviewer', $id, {muted_until => $until});
    is($answer->{json}{muted_until}, '2027-03-01T08:00:00.000Z', 'muted');
    my $version = $answer->{json}{version};
    is(patch('second', $id, {muted_until => $until})->{json}{version}, $version, 'again, nothing changes');
    is(told(patch('reviewer', $id, {muted_until => undef})), '200', 'no longer muted');
    is(list('?muted=yes')->[0], undef, 'so it is');

    $answer = patch('reviewer', $id, {party => {party => 'manufacturer', status => 'no_root_cause', note => 'files are complete'}});
    is($answer->{json}{status}, 'investigating', 'what a party found begins the investigation');
    is_deeply([map { [@{$_}{qw(party status note by)}] } @{$answer->{json}{parties}}], [['manufacturer', 'no_root_cause', 'files are complete', "$gln{reviewer} location $who{reviewer}{id}"]], 'and stands');
    patch('second', $id, {party => {party => 'pharmacy', status => 'root_cause'}, note => 'keyboard'});
    $answer = patch('second', $id, {party => {party => 'manufacturer', status => undef}});
    is_deeply([map { [@{$_}{qw(party status note)}] } @{$answer->{json}{parties}}], [['pharmacy', 'root_cause', undef]], 'others too, and what was said is taken back');
    is(kinds($id), 'opened note note note muted unmuted party status party note party', 'in this order');

    my $old = $cases->version($id);
    my $both = {status => 'closed', reason => 'user_technical', note => 'keyboard', party => {party => 'system', status => 'no_root_cause'}, muted_until => $until};
    is(patch('reviewer', $id, $both)->{json}{version}, $old + 3, 'several at once');
    $answer = patch('reviewer', $id, $both, qq("$old"));
    is_deeply([$answer->{status}, $answer->{headers}{'idempotent-replayed'}, $answer->{json}{version}], [200, 'true', $old + 3], 'repeated as one');
    is(told(patch('reviewer', $id, {status => 'acknowledged', note => 'x'})), '409 conflict status', 'all or nothing');
    is($cases->version($id), $old + 3, 'nothing');

    my %bad = (
        'nothing'                 => [{}, '400 invalid_value'],
        'a list'                  => [[], '400 invalid_value'],
        'an unknown member'       => [{state => 'closed'}, '400 invalid_value state'],
        'an unknown status'       => [{status => 'done'}, '400 invalid_value status'],
        'a number for a status'   => [{status => 5}, '400 invalid_value status'],
        'no status'               => [{status => undef}, '400 invalid_value status'],
        'a long note'             => [{note => 'x' x 501}, '400 invalid_value note'],
        'an empty note'           => [{note => ''}, '400 invalid_value note'],
        'a note of blanks'        => [{note => " \n"}, '400 invalid_value note'],
        'a reason without status' => [{reason => 'test'}, '400 invalid_value reason'],
        'a reason to reopen'      => [{status => 'reopened', reason => 'test', note => 'x'}, '400 invalid_value reason'],
        'muted in the past'       => [{muted_until => '2026-01-01T00:00:00Z'}, '400 invalid_value muted_until'],
        'muted for ever'          => [{muted_until => '2099-01-01T00:00:00Z'}, '400 invalid_value muted_until'],
        'muted until nonsense'    => [{muted_until => 'monday'}, '400 invalid_value muted_until'],
        'muted by a number'       => [{muted_until => 5}, '400 invalid_value muted_until'],
        'a party that is none'    => [{party => {party => 'press', status => 'pending'}}, '400 invalid_value party.party'],
        'a party in one word'     => [{party => 'pharmacy'}, '400 invalid_value party'],
        'a party without status'  => [{party => {party => 'pharmacy'}}, '400 invalid_value party.status'],
        'a party of its own mind' => [{party => {party => 'pharmacy', status => 'maybe'}}, '400 invalid_value party.status'],
        'a party of many words'   => [{party => {party => 'pharmacy', status => 'pending', note => 'x' x 501}}, '400 invalid_value party.note'],
        'a party and more'        => [{party => {party => 'pharmacy', status => 'pending', at => 'now'}}, '400 invalid_value party'],
    );
    my $fresh = $cases->open;
    is(told(patch('reviewer', $fresh, $bad{$_}[0])), $bad{$_}[1], $_) for sort keys %bad;
    is(told(patch('reviewer', $fresh, $_)), '400 body_malformed', "no JSON: $_") for '{', '{"note":"a\u0000b"}', '{"note":"a","note":"b"}', "{\"note\":\"\xff\"}";
    is($cases->version($fresh), 1, 'none of it changed anything');

    is(told(patch('acme', $cases->open(gtin => $alien), {note => 'x'})), '404 not_found', 'a company: not those of others');
    is(told(patch('acme', $cases->open(gtin => 0), {note => 'x'})), '404 not_found', 'nor those of many products');
    is(patch('acme', $fresh, {note => 'ours'})->{status}, 200, 'its own');
    is(told(patch($_, $fresh, {note => 'x'})), '403 not_permitted', "$_: no change") for qw(pharmacy wholesaler parallel_distributor manufacturer authority operator);
    is($sv->request('PATCH', "/alerts/$fresh", body => {note => 'x'}, headers => {'If-Match' => '*'})->{status}, 401, 'nobody without a key');
};


# What is not known to be the same version is not changed but where that is asked for.
subtest 'any version' => sub {
    my $id = $cases->open;

    is(patch('reviewer', $id, {note => 'first'}, '*')->{status}, 200, 'any');
    $cases->evidence($id);
    my $again = patch('reviewer', $id, {note => 'first'}, '*');
    is_deeply([$again->{headers}{'idempotent-replayed'}, kinds($id)], ['true', 'opened note evidence'], 'the same again is a repeat');
    is(patch('reviewer', $id, {note => 'second'}, '*')->{headers}{'idempotent-replayed'}, undef, 'another is another');
    is(patch('reviewer', $id, {note => 'first'}, '*')->{headers}{'idempotent-replayed'}, undef, 'and then the first, too');

    my $close = {status => 'closed', reason => 'no_cause_found'};
    patch('reviewer', $id, $close, '*');
    $sv->sql('update sv.case set status = ? where case_id = ?', 'reopened', $id);
    $cases->evidence($id, kind => 'status');
    my $closed = patch('reviewer', $id, $close, '*');
    is_deeply([$closed->{headers}{'idempotent-replayed'}, $closed->{json}{status}], [undef, 'closed'], 'a case that came back is closed anew');
};


subtest 'two at once' => sub {
    my $id = $cases->open;

    my @answers = $sv->parallel(map { my $who = $_; map { ['PATCH', "/alerts/$id", key => $who{$who}{key}, headers => {'If-Match' => '"1"'}, body => $_] }
        {status => 'closed', reason => 'falsified'}, {status => 'acknowledged'} } qw(reviewer second acme));
    is(join(' ', sort map { $_->{status} } @answers), '200 412 412 412 412 412', 'one of six');
    is(kinds($id), 'opened status', 'is told');
    is(audits($id), 1, 'and audited');

    my @notes = $sv->parallel(map { ['PATCH', "/alerts/$id", key => $who{$_ % 2 ? 'reviewer' : 'second'}{key}, headers => {'If-Match' => '*'}, body => {note => "note $_"}] } 1 .. 20);
    is(join(' ', map { $_->{status} } @notes), join(' ', (200) x 20), 'notes of any version: all');
    is($cases->version($id), 22, 'each of them once');
    is($sv->sql(q{select count(distinct n) = count(*) and max(n) = (select n from sv.case_clock) from sv.case_event}), 1, 'numbered one by one');

    # an api that is killed while it waits: nothing is done, and the repeat does it
    my $dbh = $sv->new_dbh;
    $dbh->begin_work;
    $dbh->do('update sv.case_clock set n = n');
    my $pid = fork // die "fork: $!";
    POSIX::_exit(patch('reviewer', $id, {note => 'x'}, '"22"')->{status} == 200 ? 1 : 0) if $pid == 0;
    Test::SerialVerify::wait_for { $sv->sql(q{select count(*) from pg_stat_activity where usename = 'sv_api' and wait_event_type = 'Lock'}) } 'the change to wait';
    $sv->kill9('api');
    waitpid $pid, 0;
    is($?, 0, 'no success is told');
    $dbh->rollback;
    $dbh->disconnect;
    Test::SerialVerify::wait_for { !$sv->sql(q{select count(*) from pg_stat_activity where usename = 'sv_api'}) } 'its session to end';
    my $done = $cases->version($id) == 23;
    $sv->start_api;
    my $again = patch('reviewer', $id, {note => 'x'}, '"22"');
    is_deeply([@{$again->{json}}{qw(version)}, $again->{headers}{'idempotent-replayed'}], [23, $done ? 'true' : undef], 'the repeat is') or diag($again->{body});
    is(audits($id), 22, 'audited once');
};


sub close_all { my ($who, %body) = @_; return ask($who, 'POST', '/alerts/close', {reason => 'user_technical', %body}) }
sub seen { return map { {id => $_, version => 0 + $cases->version($_)} } @_ }
sub results { my ($answer) = @_; return join ' ', $answer->{status}, $answer->{json}{closed} // told($answer), map { $_->{result} . ($_->{repeated} ? '*' : '') } @{$answer->{json}{results} // []} }

subtest 'closures in bulk' => sub {
    my @id = map { $cases->open(proposed_closure => 1, cause => 'scanner_setting') } 1 .. 5;
    my $asks   = $cases->open;
    my $closed = $cases->open(proposed_closure => 1, status => 'closed');
    my $foreign = $cases->open(gtin => $alien, proposed_closure => 1);
    my @seen   = seen(@id[0 .. 2], $asks, $closed);

    $cases->evidence($id[2]);
    my @list = (cases => [@seen, {id => '0d5a4f0e-6c0b-4d0b-9f39-3f6f0c6f9a05', version => 1}, seen($foreign)], note => 'caps lock');
    my $all  = close_all('acme', @list, all => JSON::PP::true());
    is(told($all), '409 conflict cases[2]', 'all or none: none') or diag($all->{body});
    is(scalar(grep { $cases->version($_) == 1 } @id[0, 1]), 2, 'indeed');

    my $some = close_all('acme', @list);
    is(results($some), '200 2 closed closed stale not_proposed not_open not_found not_found', 'each for itself') or diag($some->{body});
    is($some->{json}{results}[2]{version}, 2, 'one that changed: its version now');
    is_deeply([map { [$sv->sql('select status, close_reason, close_note from sv.case where case_id = ?', $_)] } @id[0, 1]], [(['closed', 'user_technical', 'caps lock']) x 2], 'closed');
    is_deeply([map { kinds($_) . audits($_) } @id[0, 1, 2]], [('opened status1') x 2, 'opened evidence0'], 'told and audited');
    is(results(close_all('acme', @list)), '200 2 closed* closed* stale not_proposed not_open not_found not_found', 'a repeat');
    is(results(close_all('second', @list)), '200 0 stale stale stale not_proposed not_open not_found stale' =~ s/stale$/closed/r =~ s/200 0/200 1/r, 'of the same desk only');
    is(results(close_all('reviewer', cases => [seen($id[2])], all => JSON::PP::true())), '200 1 closed', 'all: all');

    my $found  = ask('reviewer', 'GET', '/alerts?proposed_closure=yes&status=new&cause=scanner&counts=yes')->{json};
    my %filter = (filter => {cause => 'scanner', gtin => $text}, count => $found->{counts}{total}, event => $found->{event});
    is($filter{count}, 2, 'two more in the list');
    is(told(close_all('reviewer', %filter, count => 3)), '409 conflict count', 'another number than was seen');
    $cases->evidence($id[4]);
    is(told(close_all('reviewer', %filter)), '409 conflict event', 'one has changed since');
    $filter{event} = ask('reviewer', 'GET', '/alerts')->{json}{event};
    my $one = $cases->open(proposed_closure => 1, cause => 'scanner_setting', status => 'closed');
    is(told(close_all('rival', %filter)), '409 conflict count', 'another company sees none of them');
    my $both = close_all('reviewer', %filter);
    is(results($both), '200 2 closed closed', 'as they were seen') or diag($both->{body});
    is(results(close_all('reviewer', %filter)), '200 2 closed* closed*', 'a repeat');
    is($sv->sql('select count(*) from sv.case where proposed_closure and status <> ?', 'closed'), 0, 'all are closed');

    my %bad = (
        'nothing'              => [{}, '400 invalid_value'],
        'both'                 => [{cases => [], filter => {}}, '400 invalid_value'],
        'no case'              => [{cases => []}, '400 invalid_value cases'],
        'too many'             => [{cases => [map { {id => Test::SerialVerify::Cases::uuid($_), version => 1} } 0 .. 500]}, '400 invalid_value cases'],
        'no version'           => [{cases => [{id => $asks}]}, '400 invalid_value cases[0]'],
        'no id'                => [{cases => [{version => 1}]}, '400 invalid_value cases[0]'],
        'an id alone'          => [{cases => [$asks]}, '400 invalid_value cases[0]'],
        'more than id'         => [{cases => [{id => $asks, version => 1, x => 1}]}, '400 invalid_value cases[0]'],
        'a version in a text'  => [{cases => [{id => $asks, version => '1'}]}, '400 invalid_value cases[0]'],
        'twice'                => [{cases => [({id => $asks, version => 1}) x 2]}, '400 invalid_value cases'],
        'all of what'          => [{cases => [seen($asks)], all => 'yes'}, '400 invalid_value all'],
        'no reason'            => [{cases => [seen($asks)], reason => undef}, '400 invalid_value reason'],
        'a reason of its own'  => [{cases => [seen($asks)], reason => 'because'}, '400 invalid_value reason'],
        'a long note'          => [{cases => [seen($asks)], note => 'x' x 501}, '400 invalid_value note'],
        'a member'             => [{cases => [seen($asks)], count => 1}, '400 invalid_value count'],
        'a filter uncounted'   => [{filter => {}, event => 1}, '400 invalid_value count'],
        'a filter of no event' => [{filter => {}, count => 1}, '400 invalid_value event'],
        'a count in a text'    => [{filter => {}, count => '1', event => 1}, '400 invalid_value count'],
        'an unknown filter'    => [{filter => {colour => 'red'}, count => 1, event => 1}, '400 invalid_value colour'],
        'what is not proposed' => [{filter => {proposed_closure => 'no'}, count => 0, event => 1}, '400 invalid_value proposed_closure'],
        'a filter in a list'   => [{filter => ['x'], count => 1, event => 1}, '400 invalid_value filter'],
        'a filter by number'   => [{filter => {gtin => 9506000134352}, count => 1, event => 1}, '400 invalid_value gtin'],
    );
    is(told(close_all('reviewer', %{$bad{$_}[0]})), $bad{$_}[1], $_) for sort keys %bad;
    is(told(close_all($_, cases => [seen($asks)])), '403 not_permitted', "$_: closes none") for qw(pharmacy manufacturer authority operator);

    my @many = map { $cases->open(proposed_closure => 1) } 1 .. 500;
    my $most = close_all('reviewer', cases => [seen(@many)]);
    is($most->{json}{closed}, 500, 'five hundred') or diag(substr $most->{body}, 0, 500);
    note(sprintf '500 closed in %.2f s', $most->{time});

    # two desks close the same, in another order: neither waits for ever
    my @twice = map { $cases->open(proposed_closure => 1) } 1 .. 40;
    my @orders = ([seen(@twice)], [reverse seen(@twice)]);
    my @raced = $sv->parallel(map { ['POST', '/alerts/close', key => $who{$_ ? 'reviewer' : 'second'}{key}, body => {reason => 'test', cases => $orders[$_]}] } 0, 1);
    is(join(' ', sort { $a <=> $b } map { $_->{json}{closed} // -1 } @raced), '0 40', 'each case is closed once');
};


# The judge writes cases while reviewers change the same: both get through, nothing is lost.
subtest 'beside the judge' => sub {
    my $found = sub {
        my ($id, $scans) = @_;
        return {id => $id, gtin => $gtin, rule => 'impossible_travel', severity => 'high', weight => 'asks', cause => 'clone', lot => 'LOT1', countries => {IT => 1},
            first => 1_795_000_000_000, last => 1_795_000_000_000, findings => [{id => $id =~ s/^./f/r, rule => 'impossible_travel', severity => 'high', weight => 'asks',
                cause => 'clone', lot => 'LOT1', serials => ['S1'], actors => ['9506000100012'], keys => ["k$id"], scans => $scans, first => 1_795_000_000_000,
                last => 1_795_000_000_000, withdrawn => JSON::PP::false(), detail => {}}]};
    };
    my $judge = sub { my ($dbh, @cases) = @_; return $dbh->do('select sv.case_apply(?)', undef, Test::SerialVerify::HTTP::encode(\@cases)) };
    my @id = map { Test::SerialVerify::Cases::uuid($_) =~ s/^./0/r } 1 .. 20;

    $judge->($sv->dbh, map { $found->($_, [1]) } @id);
    is(ask('acme', 'GET', "/alerts/$id[0]")->{json}{findings}[0]{scans}, 1, 'what the judge said');
    is(patch('reviewer', $id[0], {status => 'closed', reason => 'falsified'})->{status}, 200, 'closed');
    $judge->($sv->dbh, $found->($id[0], [1, 2]));
    is(ask('acme', 'GET', "/alerts/$id[0]")->{json}{status}, 'reopened', 'new evidence reopens it');

    my $pid = fork // die "fork: $!";

    if ($pid == 0) {
        my $dbh = $sv->new_dbh;
        my $failed = 0;
        for my $round (3 .. 60) {
            eval { $judge->($dbh, map { $found->($_, [1 .. $round]) } $round % 2 ? @id : reverse @id); 1 } or $failed++;
        }
        POSIX::_exit($failed);
    }

    my ($notes, @status) = (0);
    for my $round (1 .. 15) {
        my @answers = $sv->parallel((map { ['PATCH', "/alerts/$id[$_]", key => $who{$_ % 2 ? 'reviewer' : 'second'}{key}, headers => {'If-Match' => '*'}, body => {note => "$round $_"}] } 0 .. 9),
            ['POST', '/alerts/close', key => $who{acme}{key}, body => {reason => 'test', cases => [seen(@id)]}]);
        push @status, map { $_->{status} } @answers;
    }
    waitpid $pid, 0;
    is($?, 0, 'the judge was never refused');
    is(join(' ', grep { $_ != 200 } @status), '', 'nor a reviewer');
    is($sv->sql(q{select count(*) from sv.case_event where kind = 'note' and detail ->> 'note' ~ '^\d+ \d$'}), 150, 'all notes are there');
    is($sv->sql(q{select count(*) from sv.case c where c.version <> (select count(*) from sv.case_event e where e.gtin = c.gtin and e.case_id = c.case_id)}), 0, 'every change is told');
};


subtest 'by command' => sub {
    $sv->sql("delete from sv.$_") for qw(case_event case_finding case);
    my $high = $cases->open(severity => 'high');
    my $low  = $cases->open(severity => 'low', proposed_closure => 1, rule => 'site_burst', cause => 'scanner_setting', gtin => 0, lot => undef);
    $cases->open(severity => 'critical', status => 'closed', lot => 'LOT9');
    my $number = $sv->sql('select number from sv.case where case_id = ?', $high);

    my ($code, $list) = $sv->command('cases', 'list');
    is($code, 0, 'a list');
    like($list, qr/\A$number +high +new +asks +impossible_travel +$text lot LOT1\n +clone, 1 serials, 2 scans, changed 2026-11-20T12:00:01\.000Z\n\d+ +low +new +proposed_closure +site_burst +\n/, 'what is not closed');
    like(($sv->command('cases', 'list', '--status', 'closed', '--lot', 'LOT9'))[1], qr/\A\d+ +critical +closed/, 'or is');
    is(($sv->command('cases', 'list', '--rule', 'none'))[1], "no such case\n", 'or none');
    my @lines = split /\n/, ($sv->command('cases', 'list', '--json', '--limit', 1))[1];
    is_deeply([scalar @lines, Test::SerialVerify::HTTP::decode($lines[0])->{id}], [1, $high], 'as JSON');

    for my $name ($number, $high, uc $high) {
        my ($shown, $one) = $sv->command('cases', 'show', $name);
        is_deeply([$shown, Test::SerialVerify::HTTP::decode($one)], [0, ask('reviewer', 'GET', "/alerts/$high")->{json}], "one: $name");
    }

    is(($sv->command('cases', @{$_}))[0], 2, "cases @{$_}") for [], ['show'], ['drop'], ['list', '--limit', 'x'], ['list', '--gtin', '12'], ['list', '--colour', 'red'];
    ($code, my $why) = $sv->command('cases', 'show', '999999');
    is("$code $why", "1 serial-verify-worker: There is no case 999999.\n", 'there is none');
    like(($sv->command('cases', 'list', '--severity', 'worst'))[1], qr/severity: one of info, low/, 'a wrong word');
};

$sv->done_testing;
