#!/usr/bin/env perl

# A gateway of this release on the schema of the next: functions have more
# parameters (with defaults) and more columns, in another order; the feed has
# kinds that are not known yet; tables have more columns.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;

my $gtin = 9506000134352;

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;


# The function under its name with a parameter more, and its columns turned
# round behind a new one.
sub succeed {
    my ($name) = @_;

    my ($oid, $arguments) = $sv->sql(q{select p.oid, pg_get_function_identity_arguments(p.oid)
        from pg_proc p where p.pronamespace = 'sv'::regnamespace and p.proname = ?}, $name);
    my @in  = @{$sv->dbh->selectcol_arrayref(q{select a.name || ' ' || format_type(t.type, null)
        from pg_proc p, unnest(p.proargnames, coalesce(p.proargmodes, array_fill('i'::"char", array[p.pronargs])), coalesce(p.proallargtypes, p.proargtypes::oid[]))
            with ordinality as a (name, mode, type, i), lateral (select a.type) as t
        where p.oid = ? and a.mode = 'i' order by a.i}, undef, $oid)};
    my @out = @{$sv->dbh->selectcol_arrayref(q{select a.name || ' ' || format_type(a.type, null)
        from pg_proc p, unnest(p.proargnames, p.proargmodes, p.proallargtypes) with ordinality as a (name, mode, type, i)
        where p.oid = ? and a.mode in ('o', 't') order by a.i desc}, undef, $oid)};
    my $given   = join ', ', map { '$' . $_ } 1 .. @in;
    my $columns = join ', ', map { 'r.' . (split)[0] } @out;

    $sv->sql("alter function sv.$name($arguments) set schema before");
    $sv->sql("create function sv.$name(" . join(', ', @in, 'p_more text default null') . ')
        returns table (' . join(', ', 'more text', @out) . ") language sql security definer as
        'select ''more'', $columns from before.$name($given) as r'");
    $sv->sql("grant execute on function sv.$name to sv_gateway");

    return scalar @out;
}


$sv->sql('create schema before');
cmp_ok(succeed($_), '>', 7, "sv.$_ has changed") for qw(verify_read operate ref_feed);

for my $table (qw(pack product lot location credential audit outbox idempotency)) {
    $sv->sql("alter table sv.$table add column more text default 'more'");
}

$sv->sql('alter function sv.ref_feed rename to ref_feed_before');
$sv->sql(q{create function sv.ref_feed(p_n bigint, p_kind text, p_key text, p_limit integer)
    returns table (n bigint, kind text, key text, deleted boolean, f1 text, f2 text, f3 text, f4 text, f5 text, f6 text, f7 text, f8 text)
    language sql security definer as $$
      select n, kind, key, deleted, f1, f2, f3, f4, f5, f6, f7, f8 from sv.ref_feed_before(p_n, p_kind, p_key, p_limit)
      union all
      select 1, 'anthem', 'x', false, 'la', null, null, null, null, null, null, null where coalesce(p_n, 0) < 1
      order by 1, 2, 3
    $$});
$sv->sql('grant execute on function sv.ref_feed to sv_gateway');

$sv->product($gtin);
my $key = $sv->pharmacy('IT');
$sv->pack_row($gtin, 'A1');
$sv->start_nginx;

my $link = $sv->link_to($gtin, 'A1');

is($sv->get($link, key => $key)->{json}{reason}, 'ok', 'a verify, from PostgreSQL');
is($sv->get($link, key => $key)->{json}{reason}, 'ok', 'and from the cache');

my $first = $sv->post($link, '{"operation":"supply"}', key => $key, idempotency => 'k');
is($first->{json}{state}, 'supplied', 'a supply');
is($sv->post($link, '{"operation":"supply"}', key => $key, idempotency => 'k')->{body}, $first->{body}, 'its replay');
is($sv->get($link, key => $key)->{json}{reason}, 'already_supplied_here', 'the verify after it');
is($sv->get('/status')->{json}{reference_data}{unreadable}, 0, 'rows of an unknown kind are no fault');

$sv->recall_lot($gtin, 'LOT1');
Test::SerialVerify::wait_for { $sv->get($link, key => $key)->{json}{reason} eq 'recalled' } 'the recall';
ok(1, 'a recall arrives');

$sv->done_testing;
