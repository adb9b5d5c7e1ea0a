#!/usr/bin/env perl

# The rules on stored history: the same cases as in the live system, other ones
# with other parameters, and not a trace of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP qw(decode_json);
use Test::More;
use Test::SerialVerify;
use Test::SerialVerify::Stream;

my $gtin = 9506000134352;
my $sv   = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
$sv->lot($gtin, 'LOT1');
$sv->sql(q{insert into sv.pack (gtin, serial, lot, expiry) select ?, 'P' || i, 'LOT1', date '2030-12-31' from generate_series(1, 50) i}, $gtin);
$sv->sql(q{select sv.put_market(?, 'LOT1', 'IT', 'test')}, $gtin);

my @site = map { $sv->location(role => 'pharmacy', country => $_->[0], lat => $_->[1], lon => $_->[2]) } ['IT', 45.46, 9.19], ['BR', -23.55, -46.63];

sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


sub operate {
    my ($serial, $site) = @_;

    return $sv->sql(q{select reason from sv.operate(?, ?, 'LOT1', date '2030-12-31', 'supply', null, ?, gen_random_uuid()::text, 'f', 'scanned', null, 'IT-1',
        gen_random_uuid(), gen_random_uuid()::text)}, $gtin, $serial, $site);
}

# replay(OPTION..): exit code, cases, what went to standard error
sub replay {
    my (@options) = @_;

    my ($code, $text) = $sv->command('replay', '--from', '2020-01-01', '--to', '2099-01-01', @options);

    return ($code, [map { decode_json($_) } grep {/^\{/} split /\n/, $text], join "\n", grep { !/^\{/ } split /\n/, $text);
}

# what cases say, without what is another one each time
sub essence { return [sort map { join ' ', $_->{rule}, $_->{severity}, @{$_->{serials}}, '|', @{$_->{scans}} } @_] }


my $gateway = Test::SerialVerify::Stream->new($sv);
operate("P$_", $site[0]), operate("P$_", $site[1]) for 1 .. 3;
$gateway->send(map { {serial => "P$_", location => $site[1]} } 10 .. 20);
$gateway->send(map { {serial => "P$_", location => $site[0]} } 21 .. 30);
$sv->sql(q{insert into sv.finding (gtin, at, finding_id, rule, serial, lot, detail) values (?, now(), gen_random_uuid(), 'duplicate_commissioning', 'P40', 'LOT9', '{}')}, $gtin);
$sv->start_worker(roles => 'relay, consume');
wait_for { $sv->sql(q{select count(*) = 27 from sv.scan}) && $sv->sql('select count(*) from sv.case_finding where rule = $$duplicate_commissioning$$') } 'history';
$sv->judge_rests;

my @tables = map { $_->[0] } @{$sv->dbh->selectall_arrayref(q{select table_name from information_schema.tables
    where table_schema = 'sv' and table_type = 'BASE TABLE' and table_name not in ('worker_figure') order by 1})};

# every row of every table
sub trace { return join "\n", map { $sv->sql("select count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)), 0) from sv.$_ t") } @tables }


subtest 'the same cases' => sub {
    my ($code, $cases, $log) = replay('--info');
    my $live = $sv->dbh->selectall_arrayref(q{select c.rule, c.severity::text, array_agg(distinct s order by s) as serials,
            coalesce(array_agg(distinct n order by n) filter (where n is not null), '{}') as scans
        from sv.case c join sv.case_finding f using (gtin, case_id) cross join unnest(f.serials) s left join unnest(f.scans) n on true
        where c.status <> 'merged' and not f.withdrawn group by c.case_id, c.rule, c.severity}, {Slice => {}});

    is($code, 0, 'code');
    cmp_ok(scalar @{$cases}, '>=', 2, 'there are some');
    is_deeply(essence(@{$cases}), essence(@{$live}), 'as the live system has');
    like($log, qr/duplicate_commissioning.*supply_of_inactive/s, 'counts');
};

subtest 'no trace' => sub {
    $sv->stop('worker');

    my $before = trace();

    my ($code) = replay();
    is($code, 0, 'code');
    is(trace(), $before, 'nothing has changed');

    # a role that may look, and nothing else
    $sv->sql('create role reader login');
    $sv->sql('grant usage on schema sv to reader');
    $sv->sql(sprintf 'grant execute on function %s to reader', join ', ', map { "sv.$_" } 'judge_params()', 'judge_locations(bigint, integer)', 'judge_recalls()',
        'judge_history(bigint, timestamptz, timestamptz, integer)', 'judge_lots(bigint[], text[])', 'judge_late(bigint, text, timestamptz)',
        'judge_feeds(timestamptz, timestamptz)');
    my $conf = Test::SerialVerify::slurp("$sv->{base}/worker.conf");
    $sv->write_file('worker.conf', $conf =~ s/user=sv_worker/user=reader/r);
    my @all = replay();
    is($all[0], 0, 'a role that may not write') or diag($all[2]);
    is(trace(), $before, 'nothing has changed');
    $sv->write_file('worker.conf', $conf);
};

subtest 'other parameters' => sub {
    my $before = trace();
    my $file   = $sv->write_file('rules.txt', "supply_of_inactive.enabled = off\n");
    my ($code, $cases) = replay('--rules', $file);

    is($code, 0, 'code');
    is(scalar(grep { $_->{rule} eq 'supply_of_inactive' } @{$cases}), 0, 'no case of that rule');
    is(trace(), $before, 'nothing has changed');

    $sv->sql(q{insert into sv.rule_param (name, value, at, by) values ('supply_of_inactive.enabled', 'off', now(), 'test')});
    (undef, $cases) = replay();
    is(scalar(grep { $_->{rule} eq 'supply_of_inactive' } @{$cases}), 0, 'nor if it is set so');
    (undef, $cases) = replay('--rules', $sv->write_file('rules.txt', "supply_of_inactive.enabled = on\n"));
    cmp_ok(scalar(grep { $_->{rule} eq 'supply_of_inactive' } @{$cases}), '>', 0, 'the file changes what is set');
};

subtest 'a part of history' => sub {
    my ($code, $text) = $sv->command('replay', '--from', '2020-01-01', '--to', '2020-01-02');
    is($code, 0, 'code');
    unlike($text, qr/^\{/m, 'nothing then');

    # a pack in each of two months, supplied twice: from the first moment of --from, and before that of --to
    $sv->sql(q{insert into sv.scan (gtin, at, gateway, boot, seq, n, serial, lot, operation, location_id, reason, before_id)
        select ?, x.at, '', 0, 1000000 + x.i, 1000000 + x.i, x.serial, 'LOT1', 'supply', case x.reason when 'ok' then ?::integer else ?::integer end, x.reason,
          case when x.reason <> 'ok' then ?::integer end
        from (values (1, timestamptz '2020-02-01 00:00Z', 'P45', 'ok'), (2, '2020-02-01 00:01Z', 'P45', 'already_supplied'),
          (3, '2020-03-01 00:00Z', 'P46', 'ok'), (4, '2020-03-01 00:01Z', 'P46', 'already_supplied')) x (i, at, serial, reason)},
        $gtin, @site, $site[0]);

    for (['2020-02-01', '2020-03-01', 'P45 1000001,1000002'], ['2020-03-01', '2020-04-01', 'P46 1000003,1000004'],
        ['2020-02-01T00:00:01Z', '2020-03-01T00:01:00Z', 'P45 1000002'], ['2020-02-01T00:02:00Z', '2020-03-01T00:00:01Z', ''])
    {
        my ($from, $to, $said) = @{$_};
        my @cases = map { decode_json($_) } grep {/^\{/} split /\n/, ($sv->command('replay', '--from', $from, '--to', $to))[1];
        is(join('; ', map { "@{$_->{serials}} " . join ',', @{$_->{scans}} } @cases), $said, "from $from to $to");
    }

    for (['--from', '2020-01-01'], ['--from', '2020-01-02', '--to', '2020-01-01'], ['--from', 'x', '--to', '2020-01-01'], [],
        ['--scans', '/dev/null', '--from', '2020-01-01', '--to', '2021-01-01'])
    {
        is(($sv->command('replay', @{$_}))[0], 2, "refused: @{$_}");
    }
};

$sv->done_testing;
