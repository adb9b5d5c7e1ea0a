#!/usr/bin/perl

# A long commissioning file: flat memory, SIGKILL at ten points, two workers on
# one inbox.  At no time is a lot half visible, and in the end nothing is
# missing or double.
#
#   SV_TEST_ALL=1   a million lines instead of 100,000
#   SV_TEST_SEED    of the points

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json);
use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(sleep time);

use Test::SerialVerify;

my $lines = $ENV{SV_TEST_ALL} ? 1_000_000 : 100_000;
my $lots  = 40;
my $each  = $lines / $lots;
my $seed  = $ENV{SV_TEST_SEED} // time % 1_000_000;
my @gtins = qw(09506000134352 09506000134369);
my $sv    = Test::SerialVerify->new;
my $limit = 64 * 1024;

srand $seed;
diag("SV_TEST_SEED=$seed");

$sv->start_postgres(settings => ['shared_buffers=128MB', 'max_wal_size=2GB']);
$sv->product($_) for @gtins;


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)

sub start_ingest { return $sv->start_worker(roles => 'ingest', redis => undef, log_level => 'notice', @_) }


# Lots of which some packs are visible and some are not, or whose packs are there without their row.
sub half_lots {
    return $sv->sql(q{
        select count(*)
        from (select gtin, lot, count(*) as n from sv.pack where lot like 'L%' group by gtin, lot) p
          full join (select gtin, lot, new_packs from sv.load_lot where lot like 'L%') l using (gtin, lot)
          full join (select gtin, lot, (detail ->> 'packs')::bigint as audited from sv.audit where kind = 'load' and lot like 'L%') a using (gtin, lot)
          full join (select gtin, lot, expiry from sv.lot where lot like 'L%') s using (gtin, lot)
        where p.n is distinct from ? or l.new_packs is distinct from p.n or a.audited is distinct from p.n or s.expiry is null}, $each);
}


# Random serials, so that the index is not filled in order; lines of the lots of two products take turns.
sub write_csv {
    my ($name) = @_;

    my $path = $sv->base . "/.$name";
    open(my $fh, '>', $path) or die "$path: $!";
    print {$fh} "gtin,serial,lot,expiry\n";

    for my $i (0 .. $lines - 1) {
        my $lot = int($i / (2 * $each)) * 2 + $i % 2;
        printf {$fh} "%s,%s%09d,L%d,2030-12-31\n", $gtins[$i % 2], chr(65 + $i % 26), $i * 7919 % 1_000_000_007, $lot;
    }

    close $fh or die "$path: $!";
    $sv->give($path);

    return $path;
}


sub high_water {
    my ($pid) = @_;

    my ($kb) = Test::SerialVerify::slurp("/proc/$pid/status") =~ /^VmHWM:\s+(\d+)/m;

    return $kb // 0;
}


# Whoever merges this lot waits in the middle of it, until the caller lets go.
sub hold_lot {
    my ($n) = @_;

    my $dbh = $sv->new_dbh;
    $dbh->begin_work;
    $dbh->do('insert into sv.lot (gtin, lot) values (?, ?)', undef, $gtins[$n % 2], "L$n");

    return $dbh;
}


sub blocked { return $sv->sql(q{select count(*) from pg_stat_activity where usename = 'sv_worker' and wait_event_type = 'Lock'}) }


subtest 'SIGKILL at ten points' => sub {
    my $file  = write_csv('big.csv');
    my @held  = sort { $a <=> $b } (shuffle(1 .. $lots - 2))[0 .. 9];
    my @stage = shuffle((1) x 3, (0) x 7);
    my ($half, $looks, $killed, $hwm) = (0, 0, 0, 0);

    $sv->directory('inbox');
    rename $file, $sv->base . '/inbox/big.csv' or die $!;

    for my $n (@held) {
        my $dbh = hold_lot($n);
        start_ingest();

        if (shift @stage) {
            wait_for { $sv->sql('select count(*) from sv.load_stage') > 0 } 'staging';
            sleep rand($lines / 400_000);
        } else {
            wait_for { blocked() } "lot $n", 120;
        }

        $half += half_lots();
        $looks++;

        my ($pid) = $sv->server('worker')->children;
        my $kb = $pid ? high_water($pid) : 0;
        $hwm = $kb if $kb > $hwm;
        $killed++ if $sv->filed('big.csv') eq 'inbox';
        $sv->kill9('worker');

        # its session does not know yet, and goes on with the lot
        $dbh->rollback;
        $dbh->disconnect;
        wait_for { $sv->sql(q{select count(*) from pg_stat_activity where usename = 'sv_worker'}) == 0 } 'its session to end';
        $half += half_lots();
        $looks++;
    }

    is($killed, 10, 'killed ten times before it was done');

    start_ingest();
    my ($pid) = wait_for { ($sv->server('worker')->children)[0] } 'the role';

    while ($sv->filed('big.csv') eq 'inbox') {
        my $kb = high_water($pid);
        $hwm = $kb if $kb > $hwm;
        $half += half_lots();
        $looks++;
        sleep 0.05;
    }

    is($half, 0, "no lot was half visible ($looks looks)");
    is($sv->filed('big.csv'), 'done', 'done in the end');
    is($sv->sql(q{select count(*) from sv.pack}), $lines, 'every pack, once');
    is($sv->sql(q{select count(*) from sv.audit where kind = 'load' and operation = 'commission'}), $lots, 'one audit row a lot');
    is($sv->sql(q{select count(*) from sv.finding}), 0, 'no finding');

    my $report = decode_json(Test::SerialVerify::slurp($sv->base . '/inbox/done/big.csv.report.json'));
    is("@{$report}{qw(state lines packs repeated contradictions lines_rejected lots_merged)}", "loaded $lines $lines 0 0 0 $lots", 'the report');

    SKIP: {
        skip 'a sanitizer takes memory of its own', 1 if $sv->asan;
        diag("high water $hwm kB for $lines lines");
        ok($hwm > 0 && $hwm < $limit, 'flat memory');
    }

    wait_for { $sv->sql('select count(*) from sv.load_stage') == 0 } 'the staging tables to go';
    is($sv->sql(q{select count(*) from pg_class where relname ~ '^stage_'}), 0, 'no staging table is left');
};

subtest 'one event with all of it' => sub {
    my $path = $sv->base . '/.event.json';

    open(my $fh, '>', $path) or die "$path: $!";
    print {$fh} '{"type":"EPCISDocument","epcisBody":{"eventList":[{"type":"ObjectEvent","action":"ADD","bizStep":"commissioning","eventTime":"2026-11-20T10:00:00Z","epcList":[';
    print {$fh} ($_ ? ',' : '') . sprintf '"urn:epc:id:sgtin:9506000.013435.J%09d"', $_ for 0 .. $lines / 2 - 1;
    print {$fh} '],"ilmd":{"cbvmda:lotNumber":"J","cbvmda:itemExpirationDate":"2030-12-31"}}]}}';
    close $fh or die "$path: $!";
    $sv->give($path);
    rename $path, $sv->base . '/inbox/event.json' or die $!;

    my ($pid) = $sv->server('worker')->children;
    wait_for { $sv->filed('event.json') ne 'inbox' } 'the event', 300;
    is($sv->filed('event.json'), 'done', 'done');
    is($sv->sql(q{select count(*) from sv.pack where lot = 'J'}), $lines / 2, 'every pack');

    SKIP: {
        skip 'a sanitizer takes memory of its own', 1 if $sv->asan;
        my $kb = high_water($pid);
        diag("high water $kb kB");
        ok($kb > 0 && $kb < $limit, 'flat memory');
    }
};

subtest 'two workers on one inbox' => sub {
    start_ingest(name => 'second');
    wait_for { $sv->sql(q{select count(*) from pg_stat_activity where application_name like '%ingest'}) == 2 } 'both workers';

    my %content;

    for my $i (1 .. 30) {
        $content{$i} = "gtin,serial,lot,expiry\n" . join '', map { "$gtins[0],T$i-$_,T$i,2030-12-31\n" } 1 .. 300;
        $sv->deliver("t$i.csv", $content{$i});
        $sv->deliver("t$i-again.csv", $content{$i}) if $i % 3 == 0;
    }

    # a line of each file in every other: they wait for each other's serials, never for ever
    my @lines = map { "$gtins[0],U$_,U,2030-12-31" } 1 .. 2000;
    $sv->deliver("u$_.csv", join("\n", 'gtin,serial,lot,expiry', shuffle(@lines), "$gtins[1],U$_,U,2030-12-31") . "\n") for 1 .. 6;

    wait_for { !grep { -f } glob $sv->base . '/inbox/*' } 'all files';
    wait_for { $sv->sql('select bool_and(filed) from sv.load') } 'the last note';

    is(scalar(grep { !/report/ } glob $sv->base . '/inbox/done/t*.csv'), 40, 'all are done');
    is($sv->sql(q{select count(*) from sv.pack where lot like 'T%'}), 9000, 'every pack once');
    is($sv->sql(q{select count(*) from sv.load_lot where lot like 'T%' and new_packs = 300}), 30, 'every file loaded once');
    is($sv->sql(q{select count(*) from sv.pack where lot = 'U' and gtin = ?}, $gtins[0]), 2000, 'shared packs once');
    is($sv->sql(q{select sum(new_packs) || ' ' || sum(repeated) from sv.load_lot where lot = 'U' and gtin = ?}, $gtins[0]), '2000 10000', 'the others are repeats');
    is($sv->sql(q{select count(*) from sv.finding}), 0, 'no finding');

    my @worked = grep { $sv->log_of($_) =~ /: loaded, / } qw(worker second);
    is("@worked", 'worker second', 'both took part');
};

$sv->done_testing;
