#!/usr/bin/env perl

# The list of cases among 200,000: what a page reads is in proportion to the
# page, whatever it is selected by.  Blocks are counted, not time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;

my $sv = Test::SerialVerify->new;
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

# blocks(FILTER, OPTION..): that a page is made of, and the numbers of its cases
sub blocks {
    my ($filter, %option) = @_;

    my @args = ($filter, $option{sort} // 'severity', $option{cursor}, 50, $option{counts} // 0);
    my $text = join '', @{$sv->dbh->selectcol_arrayref(q{explain (analyze, buffers, timing off, summary off) select sv.alert_page('', ?, ?, ?, ?, ?)}, undef, @args)};
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
        blocks($filter, sort => $sort);
        my $n = blocks($filter, sort => $sort);
        cmp_ok($n, '<', 3000, "$name, by $sort: $n blocks");
    }
}

$sv->done_testing;
