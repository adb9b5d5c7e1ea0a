#!/usr/bin/env perl

# From a scan to a case: streams, the audit chain, facts that change, feeds'
# findings, and what is in the tables afterwards.

use strict;
use warnings;

use FindBin;
use JSON::PP ();
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;
use Test::SerialVerify::Stream;
use Time::HiRes qw(time);

my $gtin = 9506000134352;
my $sv   = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
$sv->lot($gtin, 'LOT1');

my @site = map { $sv->location(role => 'pharmacy', country => $_->[0], lat => $_->[1], lon => $_->[2]) }
    ['IT', 45.46, 9.19], ['DE', 52.52, 13.40], ['BR', -23.55, -46.63];

my $gateway = Test::SerialVerify::Stream->new($sv);

*wait_for = \&Test::SerialVerify::wait_for;
sub wait_for(&;$$);    ## no critic (ProhibitSubroutinePrototypes)


sub uuid { return $sv->sql('select gen_random_uuid()') }

# an operation as a gateway carries it out; its reason
sub operate {
    my ($serial, $operation, $site, %more) = @_;

    return $sv->sql(q{select reason from sv.operate(?, ?, ?, date '2030-12-31', ?, ?, ?, ?, ?, 'scanned', ?, 'IT-1', ?, ?)},
        $gtin, $serial, $more{lot} // 'LOT1', $operation, $more{of}, $site, uuid(), 'f', $more{occurred_at}, uuid(), uuid());
}

sub packs {
    my (@serials) = @_;

    $sv->sql(q{insert into sv.pack (gtin, serial, lot, expiry) select ?, s, 'LOT1', date '2030-12-31' from unnest(?::text[]) s}, $gtin, \@serials);
    return;
}

sub scans { return $sv->sql('select count(*) from sv.scan where gateway = ?', $_[0] // 'gateway1') }

# the cases about a serial
sub cases {
    my ($serial) = @_;

    return $sv->dbh->selectall_arrayref('select distinct c.* from sv.case c join sv.case_finding f using (gtin, case_id)
        where ? = any (f.serials) order by c.number', {Slice => {}}, $serial);
}

# nothing waits to be judged
sub idle {
    wait_for {
        $sv->redis->xlen('sv:scans') == 0 && $sv->sql('select not exists (select from sv.outbox) and h.n = j.chain_n from sv.audit_head h, sv.judge j');
    } 'everything to be judged', 180;

    return;
}


subtest 'a scan is history' => sub {
    $gateway->send({serial => 'A1', location => $site[0], request_id => 'r1'}, {serial => 'A2', lot => undef, expiry => undef, session => 'tok',
        country => 'IT', lat => 45.5, lon => 9.25, accuracy_km => 20, flags => 'h', entry_mode => undef});
    packs('A2');
    $sv->start_worker(roles => 'relay, consume');
    wait_for { scans() == 2 } 'two scans';

    my $rows = $sv->dbh->selectall_arrayref('select * from sv.scan order by n', {Slice => {}});
    is($rows->[0]{$_->[0]}, $_->[1], "a professional's: $_->[0]")
        for [n => 1], [boot => 1], [seq => 1], [serial => 'A1'], [lot => 'LOT1'], [expiry => '301231'], [location_id => $site[0]], [operation => 'verify'],
        [reason => 'ok'], [request_id => 'r1'], [session => undef], [entry_mode => 'scanned'], [hint => undef], [silent => 0];
    is($rows->[1]{$_->[0]}, $_->[1], "a consumer's: $_->[0]")
        for [n => 2], [lot => undef], [pack_lot => 'LOT1'], [location_id => undef], [session => 'tok'], [country => 'IT'], [lat => 45.5], [lon => 9.25],
        [accuracy_km => 20], [hint => 'scanner'];
    idle();
    is($sv->redis->xpending('sv:scans', 'judge')->[0], 0, 'and acknowledged');
};

subtest 'doubles, gaps, disorder' => sub {
    my $other = Test::SerialVerify::Stream->new($sv, gateway => 'other', boot => 77);
    my @line  = map { $other->line({serial => "G$_", location => $site[0]}) } 1 .. 10;

    $other->lines(@line[4 .. 6]);
    $other->lines(@line[0, 1, 1]);
    $other->lines(@line[4 .. 6]);
    $other->lines($line[9]);
    idle();
    is_deeply([$sv->sql('select last_seq, received from sv.scan_source where gateway = ? and boot = 77', 'other')], [10, 6], 'counted once each');
    $other->lines(@line[2, 3], @line);
    idle();
    is_deeply([$sv->sql('select last_seq, received from sv.scan_source where gateway = ?', 'other')], [10, 10], 'none is missing in the end');
    is(scans('other'), 10, 'each is there once');
    is($sv->sql('select count(distinct n) = count(*) and max(n) = (select scan_n from sv.judge) from sv.scan'), 1, 'numbers');
};

subtest 'what cannot be read' => sub {
    $sv->redis->xadd('sv:scans', '*', 'x', 'y');
    $sv->redis->xadd('sv:scans', '*', 'g', 'gateway1', 'b', 'no', 'e', "1\t");
    $sv->redis->xadd('sv:scans', '*', 'g', $_, 'b', 9, 'e', $gateway->line({serial => 'B0', sequence => 1, location => $site[0]}))
        for "\xff", "a\0b", "one\n2026-11-20 [error] two", '', 'g' x 65;
    $gateway->lines("1\tnonsense\n", $gateway->line({serial => 'B1', location => $site[0]}), $gateway->line({serial => 'B2', location => $site[0]}) =~ s/\n//r);
    idle();
    is($sv->sql(q{select count(*) from sv.scan where serial = 'B0'}), 0, 'a gateway without a name');
    unlike($sv->log_of('worker'), qr/^2026-11-20/m, '.. does not write lines of the log');
    is($sv->sql(q{select count(*) from sv.scan where serial in ('B1', 'B2')}), 2, 'what stands beside it can');
    like($sv->log_of('worker'), qr/a block .* has no gateway.*sent 1 lines that are no events/s, 'told');
    $gateway->send({serial => 'B3', location => $site[0], at => int((time + 3600) * 1000)});
    idle();
    is($sv->sql(q{select silent from sv.scan where serial = 'B3'}), 1, 'a clock that is ahead: kept, not judged');
    $gateway->send({serial => 'B4', location => $site[0], occurred => int((time + 3600) * 1000)}, {serial => 'B5', location => $site[0], at => int((time + 300) * 1000)});
    idle();
    is($sv->sql(q{select string_agg(serial, ' ') from sv.scan where serial in ('B4', 'B5') and silent}), 'B4', 'so is what claims to be of later, but not by a little');
    is($sv->sql('select received - ahead from sv.scan_source where gateway = ?', 'gateway1'), scans() - 2, 'counted');
    like($sv->sql('select sv.worker_status() ->> ?', 'attention'), qr/the clock of the gateway gateway1 is ahead .*: 2 scans are kept and not judged; set it/, 'a sentence for a person');
};

subtest 'an operation becomes a case' => sub {
    packs('C1');
    is(operate('C1', 'supply', $site[0]), 'ok', 'supplied');
    is(operate('C1', 'supply', $site[1]), 'already_supplied', 'and again, elsewhere');

    my $case = (wait_for { my $c = cases('C1'); @{$c} ? $c : 0 } 'a case')->[0];
    is($case->{$_->[0]}, $_->[1], $_->[0]) for [rule => 'supply_of_inactive'], [severity => 'high'], [status => 'new'], [proposed_closure => 0], [serials => 1],
        [gtin => $gtin], [lot => 'LOT1'];
    is_deeply([$sv->sql('select operation, gateway, seq, before_id from sv.scan where serial = ? and location_id = ?', 'C1', $site[1])],
        ['supply', '', $sv->sql('select max(n) from sv.audit_chain'), $site[0]], 'the row of history, and who had made the state');
    is($sv->sql('select string_agg(kind, $$ $$ order by n) from sv.case_event where case_id = ?', $case->{case_id}), 'opened', 'its timeline');

    my $finding = $sv->dbh->selectrow_hashref('select * from sv.case_finding where case_id = ?', undef, $case->{case_id});
    is_deeply([sort @{$finding->{actors}}], [sort map { $sv->sql('select gln from sv.location where location_id = ?', $_) } @site[0, 1]], 'actors are GLNs');
    is($sv->sql('select count(*) from sv.scan where n = any (?)', $finding->{scans}), 2, 'the evidence is in history');
};

subtest 'more evidence, closed, reopened, muted' => sub {
    my $case = cases('C1')->[0];

    operate('C1', 'supply', $site[2]);
    wait_for { cases('C1')->[0]{scans} == 3 } 'more evidence';
    is(scalar @{cases('C1')}, 1, 'in the same case');
    is($sv->sql('select kind from sv.case_event where case_id = ? order by n desc limit 1', $case->{case_id}), 'evidence', 'told');

    $sv->sql(q{update sv.case set status = 'closed', close_reason = 'other' where case_id = ?}, $case->{case_id});
    operate('C1', 'supply', $site[1]);
    wait_for { cases('C1')->[0]{scans} == 4 } 'still more';
    is(cases('C1')->[0]{status}, 'reopened', 'reopened');
    like($sv->sql(q{select detail ->> 'note' from sv.case_event where case_id = ? and kind = 'status'}, $case->{case_id}), qr/^new evidence: .*supply_of_inactive/, 'and why');

    $sv->sql(q{update sv.case set status = 'closed', muted_until = now() + interval '1 day' where case_id = ?}, $case->{case_id});
    operate('C1', 'supply', $site[2]);
    wait_for { cases('C1')->[0]{scans} == 5 } 'once more';
    is(cases('C1')->[0]{status}, 'closed', 'not one that is muted');
};

subtest 'nothing is said twice' => sub {
    my $before = $sv->sql('select jsonb_build_array((select jsonb_agg(c order by c.number) from sv.case c), (select jsonb_agg(f order by f.finding_id) from sv.case_finding f),
        (select n from sv.case_clock))');

    $sv->stop('worker');
    $sv->start_worker(roles => 'relay, consume');
    wait_for { $sv->log_of('worker') =~ /history was read in \d+ ms: [1-9]/ } 'the history to be read';
    $gateway->send({serial => 'D1', location => $site[0]});
    wait_for { $sv->sql(q{select count(*) from sv.scan where serial = 'D1'}) } 'a scan';
    is($sv->sql('select jsonb_build_array((select jsonb_agg(c order by c.number) from sv.case c), (select jsonb_agg(f order by f.finding_id) from sv.case_finding f),
        (select n from sv.case_clock))'), $before, 'by a judge that was started anew');
};

subtest 'facts that come later' => sub {
    $sv->stop('worker');
    $sv->start_worker(roles => 'ingest, relay, consume');

    # markets: what was legal is off its markets now
    $sv->lot($gtin, 'LOTM');
    $gateway->send(map { {serial => "M$_", lot => 'LOTM', location => $site[2]} } 1 .. 5);
    idle();
    is(scalar @{cases('M1')}, 0, 'a lot whose markets are unknown');
    $sv->sql(q{select sv.put_market(?, 'LOTM', 'IT', 'test')}, $gtin);
    is((wait_for { cases('M1')->[0] } 'a case')->{rule}, 'off_market', 'its markets are known');

    # an upload that came late
    $gateway->send(map { {serial => "U$_", lot => 'LOTU', location => $site[0], reason => 'serial_unknown'} } 1 .. 30);
    idle();
    my $asks = wait_for { my ($c) = grep { !$_->{proposed_closure} } @{cases('U1')}; $c } 'packs that nobody knows';
    $sv->deliver('late.csv', join '', "gtin,serial,lot,expiry\n", map {"0$gtin,U$_,LOTU,301231\n"} 1 .. 30);
    wait_for { $sv->sql('select bool_and(withdrawn or weight <> $$asks$$) from sv.case_finding where case_id = ?', $asks->{case_id}) } 'the upload to explain them';
    is($sv->sql('select proposed_closure from sv.case where case_id = ?', $asks->{case_id}), 1, 'proposed for closure');
    is($sv->sql(q{select string_agg(kind, ' ' order by n) from sv.case_event where case_id = ? and kind in ('asks', 'proposed_closure')}, $asks->{case_id}) =~ /proposed_closure$/, 1, 'told');

    # the other way round: the upload is chained before the scan's event comes
    $gateway->send({serial => 'U31', lot => 'LOTU', location => $site[0], reason => 'serial_unknown'});
    $sv->deliver('more.csv', "gtin,serial,lot,expiry\n0$gtin,U32,LOTU,301231\n");
    wait_for { $sv->sql(q{select count(*) from sv.pack where serial = 'U32'}) } 'the pack';
    idle();
    $gateway->send({serial => 'U32', lot => 'LOTU', location => $site[0], reason => 'serial_unknown', at => int((time - 60) * 1000)});
    idle();
    is(scalar(grep { !$_->{proposed_closure} } @{cases('U32')}), 0, 'an event that comes behind the upload asks for nobody');
};

# what a scanner or a typist made of a pack that is known
subtest 'what was commissioned explains a miss' => sub {
    $gateway->send({serial => 'U5', lot => 'lotu', location => $site[0], reason => 'lot_mismatch'},
        {serial => 'U6', lot => 'LOTU', expiry => '331231', location => $site[1], reason => 'expiry_mismatch'});
    idle();
    my ($caps, $label) = map { my $s = $_; wait_for { $sv->dbh->selectrow_hashref(q{select * from sv.case_finding where rule = 'identifier_mismatch' and ? = any (serials)
        and not withdrawn and scans && array(select n from sv.scan where serial = ? and reason like '%mismatch')}, undef, $s, $s) } "what is said of $s" } qw(U5 U6);
    is($caps->{weight}, 'explained', 'caps lock');
    is($label->{weight}, 'asks', 'a later expiry is printed on it');
};

subtest 'what feeds found' => sub {
    $sv->deliver('dup.csv', "gtin,serial,lot,expiry\n0$gtin,U1,OTHER,301231\n");
    my $case = wait_for { my ($c) = grep { $_->{rule} eq 'duplicate_commissioning' } @{cases('U1')}; $c } 'a case';
    is($case->{severity}, 'high', 'severity');
    is($sv->sql(q{select count(*) from sv.case_finding where rule = 'duplicate_commissioning'}), 1, 'once');
    like($sv->sql(q{select detail ->> 'other' from sv.case_finding where rule = 'duplicate_commissioning'}), qr/OTHER/, 'with what the load said');

    $sv->stop('worker');
    $sv->start_worker(roles => 'relay, consume');
    wait_for { $sv->sql('select holder is not null from sv.judge') } 'the judge';
    $sv->sql(q{update sv.finding set detail = detail || '{"explained": true}' where rule = 'duplicate_commissioning'});
    wait_for { $sv->sql(q{select withdrawn from sv.case_finding where rule = 'duplicate_commissioning'}) } 'it to be withdrawn when it was explained';
};

subtest 'a parameter is changed' => sub {
    $sv->sql(q{insert into sv.rule_param (name, value, at, by) values ('off_market.enabled', 'off', now(), 'test')});
    wait_for { $sv->log_of('worker') =~ /the rules' parameters have changed/ } 'the judge to notice';
    wait_for { $sv->sql(q{select bool_and(withdrawn) from sv.case_finding where rule = 'off_market'}) } 'what the rule said to be withdrawn';
    $sv->sql('delete from sv.rule_param');
    ok((wait_for { $sv->sql(q{select not bool_or(withdrawn) from sv.case_finding where rule = 'off_market' and serials && '{M1}'}) } 'it to be said again'), 'and what it finds comes back');
};

subtest 'how long it takes' => sub {
    my @took;

    for my $i (1 .. 15) {
        packs("T$i");
        $sv->lot($gtin, "T$i");
        $sv->sql('update sv.pack set lot = ? where serial = ?', "T$i", "T$i");
        operate("T$i", 'supply', $site[0], lot => "T$i");
        idle();
        my $start = time;
        operate("T$i", 'supply', $site[1], lot => "T$i");
        wait_for { @{cases("T$i")} } 'a case';
        push @took, time - $start;
    }

    my $median = (sort { $a <=> $b } @took)[@took / 2];
    cmp_ok($median, '<', $sv->asan ? 4 : 2, sprintf 'from the deciding operation to the case: median %.0f ms', 1000 * $median);
    diag(sprintf 'median %.0f ms', 1000 * $median);
};

subtest 'all the way from the counter' => sub {
    my @pharmacy = map { $sv->actor('pharmacy', country => $_) } qw(IT DE);
    my %lot      = (lot => 'LOTN', expiry => '301231');

    $sv->pack_row($gtin, 'N1', lot => 'LOTN');
    $sv->start_nginx(verify => {deadline => '8s'});

    my $link = $sv->link_to($gtin, 'N1', %lot);
    is($sv->get($link, key => $pharmacy[0]{key})->{json}{reason}, 'ok', 'a verify');
    wait_for { $sv->sql(q{select count(*) from sv.scan where serial = 'N1' and operation = 'verify' and location_id = ?}, $pharmacy[0]{id}) } 'it in history';

    is($sv->post($link, '{"operation":"supply"}', key => $_->[0]{key}, idempotency => "n$_->[1]")->{status}, $_->[1], 'a supply')
        for [$pharmacy[0], 200], [$pharmacy[1], 409];
    my $case = wait_for { cases('N1')->[0] } 'a case';
    is($case->{rule}, 'supply_of_inactive', 'rule');
    cmp_ok($case->{scans}, '>=', 2, 'evidence');
    is($sv->sql(q{select count(*) from sv.scan where serial = 'N1'}), 3, 'nothing is there twice');
};

subtest 'status' => sub {
    wait_for { $sv->sql(q{select told_at > now() - interval '6 seconds' from sv.judge}) } 'the judge to tell';

    my $gone = Test::SerialVerify::Stream->new($sv, gateway => 'gone', boot => 5);
    $gone->line({serial => "L$_"}) for 1 .. 7;
    $gone->send({serial => 'L8', location => $site[0]});
    idle();

    # how many blocks wait it tells every few seconds
    my $status;
    wait_for { $status = JSON::PP::decode_json($sv->sql('select sv.worker_status()')); !grep { $_ } values %{$status->{judge}{streams}} } 'the judge to tell again';
    is_deeply($status->{judge}{missing}, [{gateway => 'gone', boot => 5, events => 7, last_at => $status->{judge}{missing}[0]{last_at}}], 'what has not come');
    is_deeply([values %{$status->{judge}{streams}}], [0], 'what waits in the stream');
    is($status->{judge}{behind}, 0, 'in the chain');
    cmp_ok($status->{judge}{asking}, '>=', 0, 'cases that ask');
    is(scalar(grep {/^7 scan events have not come of the gateway gone in the last day: /} @{$status->{attention}}), 1, 'a sentence for a person');
    my $says = sub { $sv->sql(q{select string_agg(t, ' ') from jsonb_array_elements_text(sv.judge_attention(sv.judge_state() || jsonb_build_object('told_at',
        now() - ?::interval), '{"consume": 1}', now())) t where t ~ '^the judge'}, $_[0]) };
    is($says->('1 minute'), undef, 'a judge that works');
    like($says->('3 minutes'), qr/^the judge has not told how it stands since 2/, 'one that fails at every round');
    my ($code, $text) = $sv->command('status');
    like($text, qr/^judged +\d+ scans and operations; 0 rows of the chain wait; 0 blocks at unix:.*^missing +7 events of gone \(boot 5\)$/ms, 'the command');
};

# the table that the worker's session fills is read with the rights of the schema's owner
subtest 'a table that somebody else made' => sub {
    $sv->stop('worker');

    my $dbh    = $sv->new_dbh('sv_worker');
    my $holder = uuid();
    my @column = qw(i::integer gtin::bigint at::timestamptz gateway::text boot::bigint seq::bigint occurred_at::timestamptz serial::text lot::text expiry::text
        location_id::integer session::text country::text lat::real lon::real accuracy_km::integer entry_mode::text reason::text alert_id::text
        request_id::text hint::text silent::boolean);
    $dbh->do('create temp view scan_in as select ' . join(', ', map { my ($name, $type) = split /::/; "null::$type as $name" } @column));
    ok($dbh->selectrow_array('select held from sv.judge_take(?, 5000)', undef, $holder), 'the lease');
    ok(!eval { $dbh->selectall_arrayref('select * from sv.judge_scans(?)', undef, $holder); 1 }, 'it is refused');
    like($@, qr/is not the table that/, '.. and said why');
};

$sv->done_testing;
