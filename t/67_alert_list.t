#!/usr/bin/env perl

# The list of cases among 200,000: what a page reads is in proportion to the
# page, whatever it is selected by; and a case with the scans of many days.
# Blocks are counted, not time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;

my $sv = Test::SerialVerify->new(day => 120);
$sv->start_postgres;
$sv->product($_) for 9506000134352, 9506000134369;

# 200 that are open, the others are closed; a rule that is everywhere and one that is rare; 2,000 sites and many consumers
$sv->sql(q{insert into sv.case (gtin, case_id, number, rule, severity, status, cause, lot, serials, actors, scans, first_at, last_at, opened_at, changed_at)
    select case when i % 3 = 0 then 9506000134369 else 9506000134352 end, md5(i::text)::uuid, i, 'dead_pack', (array['low', 'medium', 'high', 'critical'])[1 + i % 4]::sv.severity,
      case when i % 1000 = 0 then 'new' else 'closed' end::sv.case_status, 'stolen', 'L' || i % 500, 1, 2, 2, at, at, at, at
    from generate_series(1, 200000) i, lateral (select now() - make_interval(mins => 200000 - i) as at) t});
$sv->sql(q{insert into sv.case_finding (gtin, case_id, finding_id, rule, severity, weight, cause, lot, serials, actors, scans, first_at, last_at, found_at, changed_at)
    select c.gtin, c.case_id, md5('f' || c.number)::uuid, case when c.number % 20000 = 7 then 'impossible_travel' else 'dead_pack' end, c.severity, 'asks', c.cause, c.lot,
      array['S' || c.number], array[(9506000000000 + c.number % 2000)::text, md5(c.number::text), md5('x' || c.number)], array[c.number], c.first_at, c.last_at, c.opened_at, c.changed_at
    from sv.case c});
$sv->sql("vacuum analyze sv.$_") for qw(case case_finding);

my $all = $sv->sql(q{select sum(pg_relation_size(x)) / current_setting('block_size')::integer from unnest(array['sv.case', 'sv.case_finding']::regclass[]) x});

# blocks(SQL, BIND..): that are looked at
sub blocks {
    my ($sql, @bind) = @_;

    my $text = join '', @{$sv->dbh->selectcol_arrayref("explain (analyze, buffers, timing off, summary off) $sql", undef, @bind)};
    my ($hit)  = $text =~ /shared hit=(\d+)/;
    my ($read) = $text =~ /read=(\d+)/;

    return ($hit // 0) + ($read // 0);
}

sub numbers {
    my ($filter) = @_;

    return $sv->dbh->selectcol_arrayref(q{select (a ->> 'number')::integer from jsonb_array_elements(sv.alert_page('', ?, 'changed', null, 50, false) -> 'alerts') a}, undef, $filter);
}

note("$all blocks in all");

my @list = (
    ['{}',                                                  'all of them'],
    ['{"status": "new,acknowledged,investigating,reopened"}', 'those that are open'],
    ['{"asks": "yes", "status": "new"}',                    'those that ask'],
    ['{"rule": "dead_pack"}',                               'a rule that is everywhere'],
    ['{"rule": "impossible_travel"}',                       'a rule that is rare'],
    ['{"rule": "none"}',                                    'a rule that found nothing'],
    ['{"actor": "9506000000007"}',                          'a site'],
    ['{"actor": "9506000000007", "severity": "critical"}',  'a site, the worst'],
    ['{"actor": "9506000999999"}',                          'a site that is nowhere'],
    ['{"gtin": "09506000134352", "lot": "L77"}',            'a lot'],
    ['{"gtin": "09506000134352", "serial": "S77"}',         'a serial'],
);

# of many serials: none of the index of the others
$sv->sql(q{update sv.case_finding set serials = serials || array(select 'M' || i from generate_series(1, 101) i) where finding_id = md5('f77')::uuid});
is_deeply(numbers('{"gtin": "09506000134352", "serial": "M101"}'), [77], 'a serial of many');
is_deeply(numbers('{"gtin": "09506000134352", "serial": "S76"}'), [76], 'a serial of few');
is_deeply(numbers('{"gtin": "09506000134369", "serial": "S76"}'), [], 'a serial is one of its product');
is_deeply(numbers('{"rule": "impossible_travel"}'), [map { 20_000 * $_ + 7 } reverse 0 .. 9], 'a rule');
is_deeply([@{numbers('{"actor": "9506000000007"}')}[0, 49]], [198_007, 100_007], 'a site');
is_deeply([@{numbers('{"lot": "L77"}')}[0, 1]], [199_577, 199_077], 'a lot');

for my $one (@list) {
    my ($filter, $name) = @{$one};

    for my $sort (qw(severity changed)) {
        $sv->dbh->do('discard plans');
        my ($n) = map { blocks(q{select sv.alert_page('', ?, ?, null, 50, false)}, $filter, $sort) } 1, 2;
        cmp_ok($n, '<', 3000, "$name, by $sort: $n blocks");
    }
}


# a copied code: 40,000 scans in twenty days, of which others have more
my $owner = $sv->new_dbh;
$owner->do('set role sv_owner');
$owner->do(q{select sv.make_day_partition('scan', (now() at time zone 'UTC')::date - i) from generate_series(1, 20) i});
$sv->sql(q{insert into sv.scan (gtin, at, gateway, boot, seq, n, serial, lot, operation, session, country, reason)
    select 9506000134352, date_trunc('day', now(), 'UTC') - interval '20 days' + i * interval '14.4 s', 'g', 1, i, i, 'S' || i % 3, 'L77', 'verify', 's' || i, 'IT', 'ok'
    from generate_series(1, 120000) i});
# what came late: a number of another day, and a day that has no partition
$sv->sql(q{update sv.scan set n = 120001 where n = 30});
$sv->sql(q{insert into sv.scan (gtin, at, gateway, boot, seq, n, serial, lot, operation, session, country, reason)
    values (9506000134352, date_trunc('day', now(), 'UTC') - interval '22 days', 'g', 2, 1, 120002, 'S0', 'L77', 'verify', 's', 'IT', 'ok')});
$sv->sql('analyze sv.scan');
$sv->sql(q{update sv.case_finding set scans = array(select i from generate_series(3, 120003, 3) i where i <> 30) || array[30, 120001, 120002] where finding_id = md5('f77')::uuid});
$sv->sql(q{update sv.case set first_at = now() - interval '23 days', last_at = now() where number = 77});

sub evidence {
    my ($cursor, $limit) = @_;
    return Test::SerialVerify::HTTP::decode($sv->sql(q{select sv.alert_evidence(c, '', ?, ?) from sv.case c where c.number = 77}, $cursor, $limit));
}

subtest 'a case of many scans' => sub {
    my $first = evidence(undef, 50);
    is_deeply([@{$first}{qw(total gone)}], [40_003, 2], 'all are counted');
    is_deeply([map { $_->{n} } @{$first->{scans}}[0 .. 12]], [120_002, map({ 3 * $_ } 1 .. 9), 120_001, 33, 36], 'in the order of their time');

    my ($n, $pages, $cursor, %seen) = (0, 0, undef);
    do {
        my $page = evidence($cursor, 20_000);
        $n += @{$page->{scans}};
        $seen{$_->{n}}++ for @{$page->{scans}};
        $cursor = $page->{next};
        $pages++;
    } while (defined $cursor);
    is_deeply([$pages, $n, scalar keys %seen], [3, 40_001, 40_001], 'each once');

    # as where the days are large, of other packs
    $sv->sql('set enable_seqscan = off');
    my $read = blocks(q{select sv.alert_evidence(c, 'acme', null, 50) from sv.case c where c.number = 77});
    cmp_ok($read, '<', 20_000, "the first page: $read blocks");
};

$sv->done_testing;
