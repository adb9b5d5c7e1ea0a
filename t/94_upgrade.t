#!/usr/bin/env perl

# A database of the release before (schema 6) with loads, events, recalls and a
# supplied pack becomes one of this release, and nothing of it is forgotten.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use DBI;
use Test::More;

use Test::SerialVerify;

my $gtin  = 9506000134352;
my $other = 9506000134369;
my $sv    = Test::SerialVerify->new;
my $root  = Test::SerialVerify::root();
$sv->start_postgres;

my @psql = ('psql', '-X', '-q', '-h', $sv->pg_socket, '-U', 'postgres', '-v', 'ON_ERROR_STOP=1');

sub run { my (@command) = @_; return system(join(' ', map { quotemeta } @command) . ' > ' . quotemeta($sv->base . '/psql.log') . ' 2>&1') }

is(run(@psql, '-d', 'sv', '-c', 'create database old'), 0, 'a database');

for my $number (0 .. 6) {
    my ($file) = glob sprintf '%s/sql/%03d_*.sql', $root, $number;
    is(run(@psql, '-d', 'old', '-f', $file), 0, 'migration ' . $file =~ s{.*/}{}r) or diag(Test::SerialVerify::slurp($sv->base . '/psql.log'));
}

my $dbh = DBI->connect('dbi:Pg:dbname=old;host=' . $sv->pg_socket, 'postgres', '', {RaiseError => 1, PrintError => 0, AutoCommit => 1});

sub sql { my ($text, @bind) = @_; return $dbh->selectrow_array($text, undef, @bind) }

# As the worker of that release called them.
sub load {
    my ($name, @rows) = @_;

    my ($load) = sql(q{select load_id from sv.load_begin(sha256(convert_to(?, 'UTF8')), ?, 'epcis_json', 1, 'here')}, $name, $name);
    my ($stage) = sql('select sv.stage_open(?)', $load);
    $dbh->do("insert into sv.$stage (gtin, line, expiry, event, serial, lot) values (?, ?, '2030-06-30', ?, ?, ?)", undef, @{$_}) for @rows;
    my %event = map { ($_->[2] // 0) => $_->[1] } @rows;
    delete $event{0};
    $dbh->do("insert into sv.${stage}_event (event, line, identity, facts) values (?, ?, sha256(convert_to(?, 'UTF8')), sha256(convert_to(?, 'UTF8')))",
        undef, $_, $event{$_}, "$name $_", "$name $_") for sort keys %event;
    my ($lots) = sql('select lots from sv.stage_ready(?, ?)', $load, $stage);
    sql('select outcome from sv.merge_lot(?, ?, ?, gen_random_uuid())', $load, $stage, $_) for 1 .. $lots;
    sql(q{select sv.load_finish(?, ?, 'loaded', null, ?, 0, ?, 0, ?, '{}', '[]')}, $load, $stage, scalar @rows, scalar keys %event, $lots);
    sql('select sv.load_filed(?)', $load);

    return $load;
}

sql(q{select sv.put_product(?, 'A', 'acme', p_by => 't')}, $gtin);
sql(q{select sv.put_product(?, 'B', 'acme', p_by => 't')}, $other);
sql(q{select sv.put_location('9506000100012', 'P', 'pharmacy', null, 'IT', null, null, 't')});
my $load = load('events', map { [$gtin, $_, 1 + ($_ > 3), "S$_", 'L1'] } 1 .. 6);
load('csv', map { [$gtin, $_, undef, "C$_", 'L2'] } 1 .. 3);
sql(q{select sv.recall_lot(?, 'L2', 'glass', 'R-1', 't')}, $gtin);
sql(q{select sv.recall_lot(?, 'NEVER', 'fake', null, 't')}, $gtin);
sql(q{select sv.withdraw_product(?, 'bad', 'W-1', 't')}, $other);
is(sql(q{select reason from sv.operate(?, 'S1', 'L1', '2030-06-30', 'supply', null, (select location_id from sv.location), 'k1', 'f', 'scanned', null,
    'IT-1', gen_random_uuid(), 'r')}, $gtin), 'ok', 'a pack is supplied');
my $packs = sql(q{select string_agg(concat_ws(' ', gtin, serial, lot, expiry, state, version), ',' order by serial) from sv.pack});

{
    local @ENV{qw(PGHOST PGUSER PGDATABASE)} = ($sv->pg_socket, 'postgres', 'old');
    is(run("$root/sql/migrate"), 0, 'all migrations since') or diag(Test::SerialVerify::slurp($sv->base . '/psql.log'));
}

is(sql(q{select string_agg(concat_ws(' ', gtin, serial, lot, expiry, state, version), ',' order by serial) from sv.pack}), $packs, 'the packs are the same');
is(sql('select count(*) from sv.event'), 2, 'events are known');
is(sql(q{select action from sv.load_begin(sha256(convert_to('events', 'UTF8')), 'again', 'epcis_json', 1, 'here', '', '', false)}), 'skip',
    'a file that was loaded is known');
is(sql(q{select string_agg(kind || ' ' || coalesce(lot, '-') || ' ' || reason, ', ' order by kind, lot) from sv.recall where lifted_at is null}),
    'lot L2 glass, lot NEVER fake, product - bad', 'recalls are');
is(sql(q{select reason from sv.operate(?, 'C1', 'L2', '2030-06-30', 'supply', null, (select location_id from sv.location), 'k2', 'f', 'scanned', null,
    'IT-2', gen_random_uuid(), 'r')}, $gtin), 'recalled', 'and hold');
is(join(' ', sql(q{select replayed, reason from sv.operate(?, 'S1', 'L1', '2030-06-30', 'supply', null, (select location_id from sv.location), 'k1', 'f',
    'scanned', null, 'IT-3', gen_random_uuid(), 'r')}, $gtin)), '1 ok', 'an answer of before is given again');
is(sql(q{select lifted is not null from (select sv.lift_recall(?, 'L2', 'checked', 't') as lifted) x}, $gtin), 1, 'a recall of before is lifted');
is(sql('select sv.schema_version()'), (sort { $a <=> $b } map { m{/0*(\d+)_} } glob "$root/sql/*.sql")[-1], 'at the newest version');

$dbh->disconnect;
$sv->done_testing;
