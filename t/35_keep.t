#!/usr/bin/perl

# Housekeeping: partitions ahead, what goes when, and that nothing else does;
# nobody waits for it, and one that is killed goes on.  Days pass in the data.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(time);

use Test::SerialVerify;

my $gtin = 9506000134352;
my $sv   = Test::SerialVerify->new(day => 120);

$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);

my $pharmacy = $sv->location(role => 'pharmacy');
my %keep     = (roles => 'housekeeping', housekeeping_interval => '100ms', inbox => undef, session_keep => '40d');
my $rounds   = 0;


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


# A scan so many days ago; consumer: with token and cell
sub scan {
    my ($days, $consumer) = @_;

    $sv->sql(q{insert into sv.scan (gtin, at, gateway, boot, seq, n, serial, operation, location_id, session, country, lat, lon, accuracy_km, reason)
        select ?, date_trunc('day', now()) - make_interval(days => ?) + interval '1 hour', 'g', 1, x.n, x.n, 'S', 'verify', ?, ?, 'IT', ?, ?, ?, 'ok'
        from (select coalesce(max(n), 0) + 1 as n from sv.scan) x},
        $gtin, $days, $consumer ? (undef, 'token', 45.5, 9.5, 20) : ($pharmacy, undef, undef, undef, undef));

    return;
}


sub day_part {
    my ($days) = @_;
    return $sv->sql(q{select 'scan_' || to_char((now() at time zone 'UTC')::date - ?::integer, 'YYYYMMDD')}, $days);
}


# A partition, as the schema's owner makes it: of the day so many days ago, of the month so long ago.
sub make_part {
    my ($sql, $arg) = @_;

    my $dbh = $sv->new_dbh;
    $dbh->do('set role sv_owner');
    return $dbh->selectrow_array($sql, undef, $arg);
}


sub make_day { my ($days) = @_; return make_part(q{select sv.make_day_partition('scan', (now() at time zone 'UTC')::date - ?::integer)}, $days) }
sub there    { my ($table) = @_; return $sv->sql('select to_regclass(?) is not null', "sv.$table") ? 1 : 0 }
sub job      { my ($name) = @_; return $sv->dbh->selectrow_hashref('select * from sv.keep_job where job = ?', undef, $name) }


# A round that began after now has ended.
sub round {
    my ($name) = @_;

    my $now = $sv->sql('select clock_timestamp()');
    return wait_for {
        $sv->sql(q{select count(*) from sv.keep_job where job = 'stages' and ran_at > ?}, $now)
            && $sv->sql(q{select a.ran_at > (select ran_at from sv.keep_job where job = 'stages') - interval '1 hour' from sv.keep_job a where job = 'receivers' and ran_at > ?}, $now)
    } 'a round';
}


sub days_of { return @{$sv->dbh->selectcol_arrayref(q{select extract(day from date_trunc('day', now()) - date_trunc('day', at))::integer from sv.scan order by 1 desc})} }


sub step {
    my ($name, $days, $limit) = @_;

    return $sv->dbh('sv_worker')->selectrow_hashref("select * from sv.$name(now() - make_interval(days => ?), ?)", undef, $days, $limit);
}


subtest 'partitions ahead' => sub {
    $sv->sql('drop table sv.' . day_part(-$_)) for 3 .. 7;
    $sv->start_worker(%keep);
    wait_for { there(day_part(-7)) } 'the seventh day';
    ok(there(day_part(-$_)), "day $_") for 0 .. 6;
    ok(there($sv->sql(q{select 'audit_' || to_char(now() at time zone 'UTC' + interval '2 months', 'YYYYMM')})), 'months, as before');
    round();
    is($sv->sql('select count(*) from sv.keep_parts(?)', 'scan'), 9, 'no more than these');
    is_deeply([sort keys %{decode_json(($sv->command('status', '--json'))[1])->{keep}}], [qw(cache_writes captures case_sessions cases findings gateways idempotency load_errors
        loads notifications quarantine quiet_cases receivers refused scans sessions stages)], 'status knows every job');
};

subtest 'history of scans' => sub {
    for my $days (1200, 401, 400, 399, 60, 41, 40, 39) {
        make_day($days);
        scan($days, $_) for 0, 1;
    }

    scan(0, 1);
    make_day(900);
    my @gone = map { day_part($_) } 1200, 900, 401;
    wait_for { !grep { there($_) } @gone } 'old partitions to go';
    round();
    is_deeply([days_of()], [400, 400, 399, 399, 60, 60, 41, 41, 40, 40, 39, 39, 0], 'what is 400 days old or less stays');
    is_deeply([map { job('scans')->{$_} } qw(parts_all failed)], [3, undef], 'figures');
    is($sv->sql(q{select oldest = (date_trunc('day', now()) - interval '400 days') from sv.keep_job where job = 'scans'}), 1, 'the oldest that is kept');
    like(($sv->command('status'))[1], qr/^scans +\d+ rows and 3 partitions went; the oldest: \d{4}-/m, 'status in words');

    # a partition that was never made: rows are in the default one
    scan(398, 0);
    scan(410, 0) for 1 .. 3;
    wait_for { 1 == $sv->sql('select count(*) from sv.scan_default') } 'old rows of the default partition to go';
    is($sv->sql('select count(*) from sv.scan_default where at > now() - ?::interval', '399 days'), 1, 'a young one stays');
};

subtest 'consumers become unknown' => sub {
    round();
    my $rows = $sv->dbh->selectall_arrayref(q{select extract(day from date_trunc('day', now()) - date_trunc('day', at))::integer, session, lat, lon, accuracy_km, country
        from sv.scan where location_id is null order by at});
    is_deeply([map { $_->[1] // '-' } grep { $_->[0] > 40 } @{$rows}], [('-') x 4], 'tokens are gone');
    is(scalar(grep { $_->[0] > 40 && grep { defined } @{$_}[2 .. 4] } @{$rows}), 0, 'cells are gone');
    is_deeply([map { $_->[5] } @{$rows}], [('IT') x @{$rows}], 'countries stay');
    is_deeply([map { "$_->[1] $_->[2] $_->[4]" } grep { $_->[0] <= 40 } @{$rows}], [('token 45.5 20') x 3], 'nobody is forgotten sooner');

    scan(60, 1);
    # as if it were on a page that was not there before
    $sv->sql('update sv.keep_page set last = last - 1 where part = ?', day_part(60));
    wait_for { !$sv->sql('select count(*) from sv.scan where session is not null and at < now() - ?::interval', '50 days') } 'one that came late';
    pass('what comes later is found, too');
    $sv->stop('worker');
};

subtest 'in small steps, over a death' => sub {
    make_day(50);
    $sv->sql(q{insert into sv.scan (gtin, at, gateway, boot, seq, n, serial, operation, session, country, lat, lon, accuracy_km, reason)
        select ?, date_trunc('day', now()) - interval '50 days' + make_interval(secs => i), 'h', 1, i, 100000 + i, 'S', 'verify', 'token' || i, 'IT', 1, 1, 1, 'ok'
        from generate_series(1, 60000) i}, $gtin);
    $sv->sql('vacuum sv.' . day_part(50));

    my $left = sub { $sv->sql('select count(*) from sv.scan where gateway = ? and session is not null', 'h') };

    my $first = step('keep_sessions', 30, 64);
    cmp_ok($first->{rows}, '<', 10_000, 'one transaction does a small part');
    is($first->{more}, 1, 'and says that there is more');
    is($left->(), 60_000 - $first->{rows}, 'that part');

    # it comes no further than this row
    my $hold = $sv->new_dbh;
    $hold->begin_work;
    $hold->do(q{select from sv.scan where gateway = 'h' and seq = 60000 for update});
    $sv->start_worker(%keep);
    wait_for { $left->() < 50_000 } 'the worker to go on';
    $sv->kill9('worker');
    cmp_ok($left->(), '>', 0, 'killed in between');
    $hold->rollback;
    $hold->disconnect;
    $sv->start_worker(%keep);
    wait_for { $left->() == 0 } 'the rest';
    round();
    is($sv->sql('select done from sv.keep_page where part = ?', day_part(50)), 1, 'done');
    is($sv->sql('select count(*) from sv.scan where gateway = ?', 'h'), 60_000, 'no row is lost');
    round();
    is(job('sessions')->{rows}, 0, 'and not done again');
    $sv->stop('worker');
};

subtest 'nobody waits' => sub {
    make_day(1000);
    scan(1000, 0);

    # somebody reads for long: the partition stays for now, and nobody queues behind it
    my $reader = $sv->new_dbh;
    $reader->begin_work;
    $reader->selectrow_array('select count(*) from sv.scan');

    my $step = step('keep_scans', 400, 1000);
    is_deeply([map { $step->{$_} } qw(parts more)], [0, 0], 'it gives up at once');
    ok(there(day_part(1000)), 'and leaves it');
    $reader->commit;

    # an operation that writes a finding, while months of findings go
    make_part(q{select sv.make_month_partition('finding', (now() - ?::interval)::date)}, '8 years');
    $reader->begin_work;
    $reader->do(q{insert into sv.finding (gtin, at, finding_id, rule) values (?, now(), gen_random_uuid(), 'test')}, undef, $gtin);
    $step = step('keep_findings', 2190, 1000);
    is($step->{more}, 0, 'findings: gives up at once, too');

    my $other = $sv->new_dbh;
    $other->do(q{set lock_timeout = '100ms'});
    ok($other->do(q{insert into sv.finding (gtin, at, finding_id, rule) values (?, now(), gen_random_uuid(), 'test')}, undef, $gtin), 'another operation goes on');
    $reader->commit;

    # detached by one that was killed then
    $sv->sql('alter table sv.scan detach partition sv.' . day_part(1000));

    $sv->start_worker(%keep);
    $sv->start_worker(name => 'relay', file => 'relay.conf', roles => 'relay', inbox => undef);
    my ($slowest, $n, $wrong) = (0, 0, 0);
    my $end = time + 20;

    # operations all the while: none waits
    $sv->pack_row($gtin, "P$_") for 1 .. 400;
    while (time < $end && (there(day_part(1000)) || $n < 400) && $n < 400) {
        my $start = time;
        $n++;
        $wrong++ if $sv->sql(q{select reason from sv.operate(?, ?, 'LOT1', '2030-12-31', 'supply', null, ?, ?, 'f', 'scanned', null, 'XX-1', gen_random_uuid(), 'r')},
            $gtin, "P$n", $pharmacy, "k$n") ne 'ok';
        $slowest = time - $start if time - $start > $slowest;
    }

    is($wrong, 0, "$n operations meanwhile");
    cmp_ok($slowest, '<', 5, 'none of them waited');
    wait_for { !there(day_part(1000)) } 'the partition that was taken off';
    wait_for { !$sv->sql(q{select count(*) from sv.keep_parts('finding') where until < now() - interval '6 years'}) } 'old findings';
    is($sv->sql(q{select count(*) from sv.finding where rule = 'test'}), 2, 'young findings stay');
    is($sv->sql(q{select count(*) from sv.audit where kind = 'operation' and operation = 'supply'}), $n, 'the audit trail stays');
};

subtest 'what else goes' => sub {
    # the worker is at it all the time
    $sv->dbh->begin_work;

    $sv->sql(q{insert into sv.load (load_id, digest, file, format, state, phase, host, started_at, updated_at, bytes_total)
        select 900 + i, sha256(i::text::bytea), 'f' || i, 'csv', case when i < 3 then 'partial' else 'loading' end, 'reading', 'h',
          now() - (case when i % 2 = 1 then interval '100 days' else interval '6 days' end), now() - (case when i % 2 = 1 then interval '100 days' else interval '6 days' end), 1
        from generate_series(1, 8) i});
    $sv->sql(q{insert into sv.load_error (load_id, n, line, reason) select 900 + i, n, 1, 'x' from generate_series(1, 4) i, generate_series(1, 1500) n});
    # 905 merged a lot, 907 owns an event: their files are needed
    $sv->sql(q{insert into sv.load_lot (gtin, lot, load_id, first_line, lines, new_packs, repeated, contradictions, expiry, digest, at) values (?, 'X', 905, 1, 1, 1, 0, 0, '2030-01-01', '', now())}, $gtin);
    $sv->sql(q{insert into sv.event (load_id, event, identity, facts, kind, action, line, packs, at) values (907, 1, 'i', 'f', 'object', 'add', 1, 1, now())});
    $sv->sql(q{insert into sv.quarantine (quarantine_id, load_id, event, line, packs, reason, content, state, at, done_at)
        select i, 901, i, 1, 1, 'x', 'secret', (array['waiting', 'released', 'discarded', 'released'])[i], now() - interval '100 days', case i when 1 then null when 4 then now() - interval '80 days' else now() - interval '91 days' end
        from generate_series(1, 4) i});
    $sv->sql(q{insert into sv.capture (capture_id, location_id, company, host, file, digest, bytes, whole, state, created_at, finished_at)
        select md5(i::text)::uuid, 1, '', 'h', 'f', '', 1, false, (array['done', 'done', 'queued'])[i], now() - interval '100 days', (array[now() - interval '91 days', now() - interval '89 days', null])[i]
        from generate_series(1, 3) i});
    $sv->sql(q{insert into sv.case (gtin, case_id, number, rule, severity, status, cause, first_at, last_at, opened_at, changed_at)
        select ?, md5(i::text)::uuid, i, 'r', 'high', (array['closed', 'merged', 'new', 'closed'])[i]::sv.case_status, 'c', now(), now(), now(),
          now() - case when i = 4 then interval '2189 days' else interval '2191 days' end
        from generate_series(1, 4) i}, $gtin);
    $sv->sql(q{insert into sv.case_event (n, gtin, case_id, at, kind, state) select number, gtin, case_id, now(), 'opened', to_jsonb(c) from sv.case c});
    # 11 goes; 12 is young, 13 asked once, 14 asks, 15 was touched by a person
    $sv->sql(q{insert into sv.case (gtin, case_id, number, rule, severity, cause, proposed_closure, first_at, last_at, opened_at, changed_at)
        select ?, md5(i::text)::uuid, i, 'r', 'info', 'c', i <> 14, now(), now(), now(), now() - make_interval(days => case when i = 12 then 89 else 91 end)
        from generate_series(11, 15) i}, $gtin);
    $sv->sql(q{insert into sv.case_event (n, gtin, case_id, at, kind, actor, state)
        select number + k, gtin, case_id, now(), 'opened', case when number = 15 and k = 100 then 'somebody' end,
          to_jsonb(c) || case when number = 13 and k = 0 then '{"proposed_closure": false}' else '{}' end::jsonb
        from sv.case c, unnest(array[0, 100]) k where number > 10});
    $sv->sql(q{insert into sv.scan_source (gateway, boot, first_at, last_at, last_seq, received) select 'g', i, now(), now() - make_interval(days => i) + interval '1 hour', 1, 1 from generate_series(399, 402) i});
    $sv->sql(q{insert into sv.refused (n, key, kind, code, reason, at, tried_at) select i, i, 'case', '', '', now() - make_interval(days => i) + interval '1 hour', now() from generate_series(39, 42) i});
    $sv->sql(q{insert into sv.notify_target (target, n, held_until, since) values ('old', 9, now() - interval '31 days', now() - interval '1 year'), ('new', 9, now() - interval '29 days', now() - interval '1 year')});
    $sv->sql(q{insert into sv.notification (gtin, case_id, target, seq, id, kind, body, at, next_at, sent_at)
        select ?, md5('3')::uuid, t, i, 'i', 'k', '{}', now(), now(), (array[now() - interval '91 days', now() - interval '89 days', null])[i] from generate_series(1, 3) i, unnest(array['old', 'new']) t}, $gtin);
    $sv->sql(q{insert into sv.idempotency (gtin, location_id, key, fingerprint, at) select ?, 1, 'old' || i, 'f', now() - make_interval(days => i) from generate_series(6, 8) i}, $gtin);

    $sv->dbh->commit;

    round() for 1, 2;
    is_deeply($sv->dbh->selectcol_arrayref('select distinct load_id from sv.load_error order by 1'), [902, 904], 'faults of old loads, but not of those under way');
    is_deeply($sv->dbh->selectcol_arrayref(q{select load_id from sv.load where load_id > 900 and state = 'loading' order by 1}), [904, 905, 906, 907, 908],
        'an old load that nobody finishes is over, unless its file is needed');
    is($sv->sql('select state || filed::text from sv.load where load_id = 903'), 'rejectedtrue', 'its file may be delivered again');
    is_deeply($sv->dbh->selectcol_arrayref('select content from sv.quarantine order by quarantine_id'), ['secret', undef, undef, 'secret'], 'the content of what was decided long ago');
    is($sv->sql('select count(*) from sv.capture'), 2, 'captures: young ones and those that wait stay');
    is_deeply($sv->dbh->selectcol_arrayref('select number from sv.case order by 1'), [3, 4, 12 .. 15], 'cases that ended long ago, or never asked anybody');
    is_deeply($sv->dbh->selectcol_arrayref('select n from sv.case_event order by 1'), [3, 4, 12 .. 15, 112 .. 115], 'with their timeline');
    is_deeply($sv->dbh->selectcol_arrayref('select target from sv.notify_target'), ['new'], 'a receiver that nobody knows any more');
    is_deeply($sv->dbh->selectcol_arrayref('select boot from sv.scan_source order by 1'), [399, 400], 'processes of gateways, as long as their scans');
    is_deeply($sv->dbh->selectcol_arrayref('select n from sv.refused order by 1'), [39, 40], 'what was put aside, as long as consumers are known');
    is_deeply($sv->dbh->selectcol_arrayref('select seq from sv.notification order by 1'), [2, 3], 'notifications that were taken long ago');
    is_deeply($sv->dbh->selectcol_arrayref(q{select key from sv.idempotency where key like 'old%' order by key}), ['old6'], 'outcomes kept for repeats');
    is(job('load_errors')->{rows_all}, 3000, 'figures');

    # what cannot be done is said
    $sv->sql('alter table sv.capture rename to capture_gone');
    wait_for { ($sv->sql(q{select failed from sv.keep_job where job = 'captures'}) // '') =~ /does not exist/ } 'a job that fails';
    my ($text) = $sv->sql('select sv.keep_attention(sv.keep_state())::text');
    like($text, qr/housekeeping cannot do \\"captures\\" \(relation \\"sv.capture\\" does not exist\): see the log/, 'is told');
    ok(job('receivers')->{ran_at} gt job('captures')->{ran_at} || job('receivers')->{ran_at} ne '', 'the others go on');
    $sv->sql('alter table sv.capture_gone rename to capture');
    wait_for { !defined job('captures')->{failed} } 'it to be done again';

    $sv->sql(q{update sv.keep_job set oldest = before - interval '4 days' where job = 'scans'});
    $sv->stop('worker');
    $sv->sql(q{update sv.keep_job set oldest = before - interval '4 days' where job = 'scans'});
    like($sv->sql('select sv.keep_attention(sv.keep_state())::text'), qr/housekeeping is behind with \\"scans\\"/, 'what is late is told');
};

subtest 'the status of a gateway' => sub {
    $sv->sql(q{insert into sv.worker_figure (name, value, at) values ('relay', '<b>a&b "c"', now()) on conflict (name) do update set value = excluded.value});
    $sv->start_nginx;

    my $worker = wait_for { my $answer = $sv->get('/status'); $answer->{json}{worker} } 'the figures';
    is($worker->{figures}{relay}{value}, '<b>a&b "c"', 'what roles say of themselves');
    is($worker->{housekeeping}{scans}{partitions}, job('scans')->{parts_all}, 'what housekeeping removed');
    like($worker->{housekeeping}{scans}{oldest}, qr/^\d{4}-\d\d-\d\dT[\d:.]+Z$/, 'and the oldest that there is');
    unlike($sv->get('/status', headers => {Accept => 'text/html'})->{body}, qr/<b>/, 'nothing of it is markup in the page');
    cmp_ok($sv->sql('select octet_length(sv.gateway_figures())'), '<', 6000, 'not long');

    # many long figures: less, and still JSON
    $sv->sql(q{insert into sv.worker_figure (name, value, at) select 'a' || i || repeat('n', 60), repeat('<', 5000), now() from generate_series(1, 50) i});
    cmp_ok($sv->sql('select octet_length(sv.gateway_figures())'), '<=', 8192, 'however many there are');
    like($sv->sql('select sv.gateway_figures()'), qr/^\{"at": "[^"]+"\}$/, 'or none');

    # the gateway does without
    $sv->sql('revoke execute on function sv.gateway_figures() from sv_gateway');
    $sv->stop('nginx');
    $sv->start_nginx;
    is($sv->get('/status')->{json}{reference_data}{complete}, 1, 'reference data does not wait for it');
};

$sv->done_testing;
