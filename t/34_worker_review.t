#!/usr/bin/perl

# What a second look at the worker found: files that were never done with, locks
# that made a recall wait, work that grew with the square of the input.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Handle;
use JSON::PP qw(decode_json);
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use Test::SerialVerify;

my $gtin  = '09506000134352';
my $other = '09506000134369';
my $sv    = Test::SerialVerify->new;

$sv->start_postgres;
$sv->product($gtin);
$sv->product($other);
$sv->start_worker(roles => 'ingest', redis => undef);


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


# deliver, wait until it has left the inbox
sub feed {
    my ($name, $content) = @_;

    my $path = $sv->deliver($name, $content);
    wait_for { !-e $path } "$name to be filed";

    return;
}


# (place, report) of a file that is filed under its own name
sub filed {
    my ($name) = @_;

    my $place = $sv->filed($name);

    return ($place, decode_json(Test::SerialVerify::slurp($sv->base . "/inbox/$place/$name.report.json")));
}


subtest 'a time that its offset leads out of the calendar' => sub {
    feed('time.csv', "gtin,serial,lot,expiry,event_time\n$gtin,A1,A,2030-12-31,9999-12-31T23:59:59-14:00\n"
        . "$gtin,A2,A,2030-12-31,0001-01-01T00:00:00+14:00\n$gtin,A3,A,2030-12-31,9999-12-31T23:59:59Z\n"
        . "$gtin,A4,A,2030-12-31,0001-01-01T00:00:00Z\n");

    my ($place, $report) = filed('time.csv');

    is("$place $report->{state} $report->{packs}", 'done partial 2', 'the good lines are loaded');
    is(join(', ', map { "$_->{line} $_->{reason}" } @{$report->{errors}}), '2 event_time_format, 3 event_time_format', 'the others are told');
};

subtest 'a file with the name of a report' => sub {
    my $content = "gtin,serial,lot,expiry\n$gtin,B1,B,2030-12-31\n";

    feed('b.csv.report.json', $content);
    feed('b.csv', $content =~ s/B1/B2/r);

    my ($kept) = glob $sv->base . '/inbox/done/b.csv.report.json.*-1';
    is(Test::SerialVerify::slurp($kept // ''), $content, 'it is not replaced by the report of another');

    my ($place, $report) = filed('b.csv');
    is("$place $report->{file} $report->{packs}", 'done b.csv 1', 'which is where it belongs');
};


# A load staged by hand: (load, name of the stage)
sub stage {
    my ($name, $rows, @bind) = @_;

    my $load = $sv->sql(q{select load_id from sv.load_begin(sha256(convert_to(?, 'UTF8')), ?, 'epcis_json', 1, 'here')}, $name, $name);
    my $stage = $sv->sql('select sv.stage_open(?)', $load);

    $sv->sql("insert into sv.$stage (gtin, line, expiry, event, serial, lot) $rows", @bind);

    return ($load, $stage);
}

subtest 'as many events as packs, and one of them bad' => sub {
    my $n = 300_000;
    my ($load, $stage) = stage('events', q{select 9506000134352, g, '2030-12-31', g, 'C' || g, 'C' || g % 2 from generate_series(1, ?::integer) g}, $n);

    $sv->sql("insert into sv.${stage}_event (event, line, identity, facts) select g, g, sha256(convert_to(g::text, 'UTF8')), '' from generate_series(1, ?::integer) g", $n);
    $sv->sql('select sv.stage_ready(?, ?)', $load, $stage);
    $sv->sql('select sv.stage_claim(?, ?)', $load, $stage);

    # one of the two lots is merged, as if the product of the other were unknown
    is($sv->sql('select outcome from sv.merge_lot(?, ?, 1, gen_random_uuid())', $load, $stage), 'merged', 'one lot');

    $sv->sql(q{set statement_timeout = '300s'});
    my $done = eval { $sv->sql(q{select sv.load_finish(?, ?, 'partial', null, 1, 1, 1, 0, 1, '{}', '[]')}, $load, $stage); 1 };
    $sv->sql('reset statement_timeout');

    ok($done, 'the load ends');
    is($sv->sql('select count(*) from sv.event where load_id = ?', $load), $n / 2, 'the events of the merged lot are done, the others are not');
};

subtest 'a load does not hold a lot that is known' => sub {
    $sv->sql(q{insert into sv.lot (gtin, lot, expiry) values (?, 'D', '2030-12-31')}, $gtin);

    my ($load, $stage) = stage('lot', q{select 9506000134352, 1, '2030-12-31', null, 'D1', 'D'});
    $sv->sql('select sv.stage_ready(?, ?)', $load, $stage);
    $sv->sql('select sv.stage_claim(?, ?)', $load, $stage);

    $sv->dbh->begin_work;
    is($sv->sql('select outcome from sv.merge_lot(?, ?, 1, gen_random_uuid())', $load, $stage), 'merged', 'merged, not committed');

    my $recall = $sv->new_dbh;
    $recall->do(q{set lock_timeout = '2s'});
    ok(eval { $recall->do(q{select sv.recall_lot(9506000134352, 'D', 'found broken')}) }, 'a recall does not wait for it') or diag($@);
    $recall->disconnect;

    $sv->dbh->commit;
    is($sv->sql('select recalled_at is not null from sv.lot where lot = ?', 'D'), 1, 'recalled');

    $sv->sql('select sv.stage_drop(?)', $stage);
    $sv->sql(q{select sv.recall_lot(9506000134352, 'E', 'before it was loaded')});
    feed('e.csv', "gtin,serial,lot,expiry\n$gtin,E1,E,2030-12-31\n");
    is($sv->sql(q{select expiry from sv.lot where lot = 'E'}), '2030-12-31', 'one that was recalled before becomes known');
};

subtest 'one look into the inbox serves for many files' => sub {
    my $csv = "gtin,serial,lot,expiry\n$gtin,F%d,F%d,2030-12-31\n";
    my $hold = $sv->new_dbh;

    $sv->stop('worker');
    $hold->begin_work;
    $hold->do(q{insert into sv.lot (gtin, lot) values (?, 'F1')}, undef, $gtin);
    $sv->deliver("f$_.csv", sprintf $csv, $_, $_) for 1 .. 3;
    $sv->start_worker(roles => 'ingest', redis => undef, scan_interval => '1h');
    wait_for { $sv->sql(q{select count(*) from pg_stat_activity where usename = 'sv_worker' and wait_event_type = 'Lock'}) } 'the first file';

    # another look would put it before the second
    my $late = $sv->write_file('.f4.csv', sprintf $csv, 4, 4);
    utime 1, 1, $late;
    rename $late, $sv->base . '/inbox/f4.csv' or die $!;
    $hold->rollback;
    $hold->disconnect;

    wait_for { $sv->sql(q{select count(*) from sv.load where file ~ '^f[1-4].csv' and filed}) == 4 } 'the files';
    is($sv->sql(q{select string_agg(file, ' ' order by load_id) from sv.load where file ~ '^f[1-4].csv'}), 'f1.csv f2.csv f3.csv f4.csv', 'those that were seen come first');

    $sv->stop('worker');
    $sv->start_worker(roles => 'ingest', redis => undef);
};

subtest 'loading reference data does not hold up a recall' => sub {
    my @gln   = qw(4012345000009 4012345500004);
    my $fifo  = $sv->base . '/locations.csv';
    my $clock = $sv->sql('select n from sv.ref_clock');

    system('mkfifo', $fifo);
    my $pid = open(my $load, '-|') // die "fork: $!";

    if ($pid == 0) {
        my ($code, $output) = $sv->command('load', 'locations', $fifo);
        print "$code $output";
        close STDOUT;
        POSIX::_exit(0);
    }

    open(my $rows, '>', $fifo) or die "$fifo: $!";
    $rows->autoflush(1);

    # its buffer is full before it is read: the first row is done, the second is still to come
    print {$rows} "gln,name,role,company,country\n$gln[0],One,pharmacy,,IT\n", "\n" x 70_000;
    wait_for { $sv->sql(q{select count(*) from pg_stat_activity where query ~ 'savepoint row' and state = 'idle in transaction'}) } 'the first row';

    my $recall = $sv->new_dbh;
    $recall->do(q{set lock_timeout = '2s'});
    ok(eval { $recall->do(q{select sv.recall_lot(9506000134352, 'G', 'while locations are loaded')}) }, 'a recall does not wait') or diag($@);
    $recall->disconnect;

    print {$rows} "$gln[1],Two,pharmacy,,IT\n";
    close $rows;

    is(<$load>, "0 locations: 2 rows, 2 new or changed\n", 'the load ends');
    close $load;

    is($sv->sql('select count(distinct ref_n) from sv.location where ref_n between ? and ? and not deleted and gln = any (?)', $clock + 2, $clock + 3, \@gln), 2,
        'its rows have numbers of their own, after the recall');
    is($sv->sql('select count(*) from sv.ref_feed(?, null, null, 10)', $clock + 1), 3, 'a gateway gets all of them');

    $sv->write_file('again.csv', "gln,name,role,company,country\n$gln[0],One,pharmacy,,IT\n");
    is(($sv->command('load', 'locations', $sv->base . '/again.csv'))[1], "locations: 1 rows, 0 new or changed\n", 'nothing to change');
    is($sv->sql('select n from sv.ref_clock'), $clock + 3, 'takes no number');
};

subtest 'a product that is removed during a load' => sub {
    my $hold = $sv->new_dbh;

    $hold->begin_work;
    $hold->do(q{insert into sv.lot (gtin, lot) values (?, 'H1')}, undef, $gtin);
    $sv->deliver('h.csv', "gtin,serial,lot,expiry\n$gtin,H1,H1,2030-12-31\n$other,H2,H2,2030-12-31\n");
    wait_for { $sv->sql(q{select count(*) from pg_stat_activity where usename = 'sv_worker' and wait_event_type = 'Lock'}) } 'the first lot';
    $sv->sql('select sv.remove_product(?)', $other);
    $hold->rollback;
    $hold->disconnect;
    wait_for { $sv->filed('h.csv') =~ /done|rejected/ } 'the file';

    my ($place, $report) = filed('h.csv');
    is("$place $report->{state} $report->{packs}", 'done partial 1', 'the other lot is loaded');
    is(join(', ', map { "$_->{line} $_->{reason}" } @{$report->{errors}}), '3 product_unknown', 'what was not loaded is told');

    $sv->sql('select sv.put_product(?, ?, ?)', $other, 'Back', 'ACME');
};

subtest 'a dump of the database does not stop the relay' => sub {
    my $dump = $sv->new_dbh;

    $dump->begin_work;
    $dump->do('lock table sv.audit_default, sv.finding_default in access share mode');
    $sv->sql(q{set statement_timeout = '60s'});
    ok(!eval { $sv->sql('select sv.keep_partitions(5)'); 1 }, 'a partition cannot be attached meanwhile');
    like($@, qr/lock timeout/, 'which is given up');
    $dump->rollback;
    $dump->disconnect;

    is($sv->sql('select sv.keep_partitions(5)'), 6, 'and done afterwards');
    $sv->sql('reset statement_timeout');
};

subtest 'roles change with the configuration' => sub {
    my $roles = sub { $sv->sql(q{select string_agg(substr(application_name, 22), ' ' order by application_name) from pg_stat_activity where usename = 'sv_worker'}) // '' };
    my $none  = q{postgres = host=/nowhere
roles = ingest
};

    is($roles->(), 'ingest', 'one role');
    $sv->worker_conf(roles => 'housekeeping, relay', redis => undef);
    $sv->signal('worker', 'HUP');
    wait_for { $roles->() eq 'housekeeping relay' } 'the others';

    $sv->write_file('worker.conf', $none);
    $sv->signal('worker', 'HUP');
    wait_for { $sv->log_of('worker') =~ /stays as it was: .*the role ingest needs "inbox"/ } 'the error';
    is($roles->(), 'housekeeping relay', 'a role without what it needs changes nothing');
};

subtest 'a Redis that was long away does not hold up the outbox' => sub {
    my $n    = 1000;
    my $node = 'unix:' . $sv->redis_socket;
    my $at   = $sv->location;

    $sv->stop('worker');
    $sv->start_redis;
    $sv->sql(q{insert into sv.pack (gtin, serial, lot, expiry) select 9506000134352, 'J' || g, 'J', '2030-12-31' from generate_series(1, ?::integer) g}, $n);
    $sv->sql(q{insert into sv.relay_pending select gtin, serial, ?, now() from sv.pack where lot = 'J'}, $node);
    $sv->start_worker(roles => 'relay', relay_batch => 1);

    my $pending = sub { $sv->sql('select count(*) from sv.relay_pending') };

    wait_for { $pending->() < $n } 'the first of them';
    $sv->sql(q{select reason from sv.operate(9506000134352, 'J1', 'J', '2030-12-31', 'supply', null, ?, 'k', 'f', 'scanned', null, 'XX-1', gen_random_uuid(), 'r')}, $at);
    wait_for { $sv->sql(q{select count(*) from sv.outbox where at > now() - interval '1 minute'}) == 0 || !$pending->() } 'the operation';
    cmp_ok($pending->(), '>', 0, 'the operation is relayed in between');
    wait_for { !$pending->() } 'the others', 300;
};

subtest 'a dump of the database does not stop the next load' => sub {
    my $dump = $sv->new_dbh;
    my $dead = $sv->new_dbh;

    my $load = $dead->selectrow_array(q{select load_id from sv.load_begin('\x00', 'k', 'csv', 1, 'here')});
    my $stage = $dead->selectrow_array('select sv.stage_open(?)', undef, $load);
    $dead->disconnect;
    wait_for { $sv->sql('select count(*) from pg_stat_activity a join sv.load_stage s using (pid) where s.stage = ?', $stage) == 0 } 'its session to end';

    $dump->begin_work;
    $dump->do("lock table sv.$stage in access share mode");
    $sv->sql(q{set statement_timeout = '60s'});
    is(eval { $sv->sql('select sv.stage_clean()') }, 0, 'a staging table that is read stays for now') or diag($@);
    $sv->sql('reset statement_timeout');
    $dump->rollback;
    $dump->disconnect;

    is($sv->sql('select sv.stage_clean()'), 1, 'and goes afterwards');
};

subtest 'the progress of a file that is one event' => sub {
    my $event = '{"type":"ObjectEvent","action":"ADD","bizStep":"commissioning","eventTime":"2026-11-20T10:00:00Z","epcList":['
        . join(',', map { sprintf '"urn:epc:id:sgtin:9506000.013435.K%06d"', $_ } 1 .. 20_000)
        . '],"ilmd":{"x:lotNumber":"K","x:itemExpirationDate":"2030-12-31"}}';

    $sv->worker_conf(redis => undef);
    my $file = $sv->write_file('k.json', $event);
    local $ENV{SV_COMMAND} = join ' ', $sv->program('serial-verify-worker'), '-c', $sv->base . '/worker.conf', 'load-file', $file;
    my $screen = `script -qec "\$SV_COMMAND" /dev/null </dev/null`;

    my %seen = map { $_ => 1 } $screen =~ /reading +\[[# ]*\] +(\d+) %/g;
    cmp_ok(scalar(keys %seen), '>', 5, 'a terminal shows how far it is read');
    is($sv->sql(q{select count(*) from sv.pack where lot = 'K'}), 20_000, 'every pack');
};

subtest 'files that cannot be read do not keep others out' => sub {
    my $csv = "gtin,serial,lot,expiry\n$gtin,L1,L,2030-12-31\n";

    $sv->stop('worker');
    chmod 0, $sv->deliver("unreadable$_.csv", $csv) for 1 .. 1000;
    $sv->start_worker(roles => 'ingest', redis => undef, log_level => 'error');
    wait_for { my $n = () = $sv->log_of('worker') =~ /Permission denied/g; $n >= 1000 } 'each to be tried';

    feed('l.csv', $csv);
    is(($sv->filed('l.csv')), 'done', 'another file is taken');

    unlink glob $sv->base . '/inbox/unreadable*.csv';
};


$sv->done_testing;
