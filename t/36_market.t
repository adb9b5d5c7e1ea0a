#!/usr/bin/perl

# Intended markets: what lines of a lot name, more of them later, those of the
# product, and the order in which readers learn of them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Test::SerialVerify;

my $gtin  = '09506000134352';
my $other = '09506000164908';
my $sv    = Test::SerialVerify->new;

$sv->start_postgres;
$sv->product($_) for $gtin, $other;


# The markets of a lot, as a worker sees them.
sub markets {
    my ($lot, $product) = @_;

    return $sv->dbh('sv_worker')->selectrow_array(q{select array_to_string(markets, ' ') from sv.markets_of(array[?::bigint], array[?])}, undef,
        $product // $gtin, $lot);
}


# What changed behind a number: "lot: markets" each, - for the product itself.
sub changes {
    my ($n, $limit) = @_;

    return map { ($_->[2] // '-') . ': ' . join ' ', @{$_->[3]} }
        @{$sv->dbh('sv_worker')->selectall_arrayref('select * from sv.market_changes(?, ?)', undef, $n, $limit // 100)};
}


sub clock { return $sv->sql('select n from sv.market_clock') }


sub load_file {
    my ($name, $content) = @_;

    my ($code, $text) = $sv->command('load-file', $sv->write_file($name, $content));
    is($code, 0, "$name is loaded") or diag($text);

    return;
}


sub csv { return join '', "gtin,serial,lot,expiry,market\n", map { "$gtin,$_->[0],$_->[1],2030-12-31,$_->[2]\n" } @_ }


sub event {
    my ($id, $lot, $market, $error, @serials) = @_;

    my $list   = join ',', map { qq("https://id.gs1.org/01/$gtin/21/$_") } @serials;
    my $wrong  = $error ? '"errorDeclaration":{"declarationTime":"2026-11-02T10:00:00Z","reason":"did_not_occur"},' : '';
    my $intend = $market ? qq(,"ex:countryMarket":"$market") : '';

    return qq({"type":"ObjectEvent","eventID":"urn:uuid:0b8b7c1e-0000-4000-8000-00000000000$id",$wrong"eventTime":"2026-11-01T10:00:00Z",)
        . qq("eventTimeZoneOffset":"+00:00","action":"ADD","bizStep":"commissioning","epcList":[$list],)
        . qq("ilmd":{"cbvmda:lotNumber":"$lot","cbvmda:itemExpirationDate":"2030-12-31"}$intend});
}


sub document {
    return '{"@context":["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",{"ex":"https://example.com/"}],'
        . '"type":"EPCISDocument","schemaVersion":"2.0","creationDate":"2026-11-01T10:00:00Z","epcisBody":{"eventList":['
        . join(',', @_) . ']}}';
}


subtest 'what lines name' => sub {
    is(markets('M1'), '', 'a lot that nobody knows');

    load_file('first.csv', csv(['A1', 'M1', 'IT'], ['A2', 'M1', 'DE'], ['A3', 'M1', 'IT'], ['A4', 'M2', ''], ['A5', 'M3', 'FR']));
    is(markets('M1'), 'DE IT', 'all that its lines name');
    is(markets('M2'), '', 'none is named');
    is(markets('M3'), 'FR', 'one');
    is(markets('M1', $other), '', 'of this product only');
    is_deeply([changes(0)], ['M1: DE IT', 'M1: DE IT', 'M3: FR'], 'readers learn of it');

    my $n = clock();
    load_file('again.csv', csv(['A1', 'M1', 'IT'], ['A6', 'M1', 'DE']));
    is(clock(), $n, 'what is known is no change');

    load_file('more.csv', csv(['A1', 'M1', 'AT'], ['A2', 'M1', 'IT']));
    is(markets('M1'), 'AT DE IT', 'a later file adds one');
    is_deeply([changes($n)], ['M1: AT DE IT'], 'readers learn of it');
};

subtest 'what events name' => sub {
    load_file('events.json', document(event(1, 'E1', 'SE', 0, 'E1'), event(2, 'E1', 'NO', 0, 'E2'), event(3, 'E2', '', 0, 'E3')));
    is(markets('E1'), 'NO SE', 'commissionings');
    is(markets('E2'), '', 'one that names none');

    load_file('error.json', document(event(4, 'E4', 'RU', 0, 'E4'), event(4, 'E4', 'RU', 1, 'E4'), event(5, 'E4', 'PL', 0, 'E5')));
    is(markets('E4'), 'PL', 'an event that is declared an error says nothing');
};

subtest 'the command' => sub {
    my $load = sub {
        my ($content) = @_;
        my $file = $sv->write_file('markets.csv', $content);
        my ($code, $text) = $sv->command('load', 'markets', $file);
        $text =~ s/\Q$file\E/FILE/g;
        return "$code $text";
    };

    my $n = clock();
    is($load->("gtin,lot,markets\n$gtin,,ES PT\n$gtin,M3,\"CH,FR\"\n"), "0 markets: 2 rows, 2 new or changed\n", 'loaded');
    is(markets('M2'), 'ES PT', 'those of the product');
    is(markets('M3'), 'CH FR', 'more for a lot');
    is(markets('M1'), 'AT DE IT', 'a lot that has its own keeps them');
    is_deeply([changes($n)], ['-: ES PT', 'M3: CH FR'], 'readers learn of both, in order') or diag(explain([changes($n)]));
    is($load->("gtin,lot,markets\n$gtin,,PT ES\n$gtin,M3,FR\n"), "0 markets: 2 rows, 0 new or changed\n", 'once more');
    is($load->("gtin,lot,markets\n$gtin,,GR\n"), "0 markets: 1 rows, 1 new or changed\n", 'others for the product');
    is(markets('M2'), 'GR', 'take the place of those before');
    is($sv->sql(q{select count(*) from sv.audit where operation = 'put_market'}), 3, 'in the audit');

    my %wrong = (
        "$gtin,,it"             => 'markets: country codes of two capital letters (ISO 3166) are needed, such as IT DE',
        "$gtin,,ITA"            => 'markets: country codes of two capital letters (ISO 3166) are needed, such as IT DE',
        "$gtin,x x,IT"          => qr/lot: 1 to 20 characters/,
        "$gtin,,"               => 'markets: is missing',
        '09506000134376,,IT'    => 'gtin: there is no product 09506000134376',
    );

    like($load->("gtin,lot,markets\n$_\n"), qr/^1 FILE:2: (?:$wrong{$_}|\Q$wrong{$_}\E)/, "told: $_") for sort keys %wrong;
};

subtest 'in order, whoever comes first' => sub {
    my $n     = clock();
    my @first = changes(0, 2);
    is(scalar @first, 2, 'a page');
    is_deeply([changes(0), 'x'], [(map { changes($_, 1) } map { $_->[0] }
        @{$sv->dbh->selectall_arrayref('select lag(n, 1, 0::bigint) over (order by n) from sv.market_changes(0, 1000) order by n')}), 'x'],
        'page by page');

    # one that takes its number first and commits last holds up the next, so that no reader passes it
    my $slow = $sv->new_dbh('sv_worker');
    my $fast = $sv->new_dbh('sv_worker');
    $slow->begin_work;
    $slow->do(q{select sv.put_market(?, 'O1', 'IT', 'x')}, undef, $gtin);
    $fast->do(q{set lock_timeout = '100ms'});
    ok(!eval { $fast->do(q{select sv.put_market(?, 'O2', 'IT', 'x')}, undef, $gtin); 1 }, 'the second waits');
    is_deeply([changes($n)], [], 'nothing is seen');
    $slow->commit;
    $fast->do(q{select sv.put_market(?, 'O2', 'IT', 'x')}, undef, $gtin);
    is_deeply([changes($n)], ['O1: IT', 'O2: IT'], 'both, in order');
};

$sv->done_testing;
