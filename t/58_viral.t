#!/usr/bin/env perl

# A copied code goes viral: the anonymous public asks for one pack again and
# again, and PostgreSQL is asked once a second.  Professionals share only what
# has not been sent yet.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;

my $gtin = 9506000134352;

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->product($gtin);
my $key = $sv->pharmacy('IT');
$sv->pack_row($gtin, 'A1');
$sv->start_nginx(verify => {redis => undef, miss_budget => 'off', anonymous_floor => '0', deadline => '20s'});


sub lookups {
    my ($source) = @_;

    my ($n) = $sv->get('/metrics')->{body} =~ /lookups_total\{source="$source"\} (\d+)/;
    return $n;
}


# of the look-ups that PostgreSQL answered, those that shared no other's query
sub queries {
    my ($shared) = $sv->get('/metrics')->{body} =~ /coalesced_total (\d+)/;

    return lookups('database') - $shared;
}


sub storm {
    my ($serial, $n, %option) = @_;

    return $sv->parallel(map { ['GET', $sv->link_to($gtin, $serial), %option] } 1 .. $n);
}


for my $serial ('A1', 'INVENTED') {
    my $before = queries();
    my $start  = time;
    my %status;

    $status{$_->{status}}++ for map { storm($serial, 50) } 1 .. 8;
    my $seconds = time - $start + 2;

    is_deeply([keys %status], [$serial eq 'A1' ? 200 : 404], "$serial: 400 phones have the same answer");
    cmp_ok(queries() - $before, '<=', 2 * $seconds, "$serial: PostgreSQL is asked by few of them");
    cmp_ok(lookups('memory'), '>', 0, "$serial: the others are answered from memory");
}

# what is remembered is a second old at most
is($sv->post($sv->link_to($gtin, 'A1'), '{"operation":"supply"}', key => $key, idempotency => 'k')->{status}, 200, 'supplied');
is($sv->get($sv->link_to($gtin, 'A1'), key => $key)->{json}{reason}, 'already_supplied_here', 'a professional knows at once');

my $start = Time::HiRes::time();
my $asked = $start;
Test::SerialVerify::wait_for {
    my $now = Time::HiRes::time();
    my $known = $sv->get($sv->link_to($gtin, 'A1'))->{json}{reason} eq 'already_supplied';
    $asked = $now if !$known;
    $known;
} 'the public to know';
cmp_ok($asked - $start, '<', 2, 'the public knows after a second');

# a professional is never answered from memory, also between consumers
storm('A1', 20);
my $remembered = lookups('memory');
my %reason;
$reason{$_->{json}{reason}}++ for storm('A1', 50, key => $key);
is_deeply(\%reason, {already_supplied_here => 50}, 'fifty professionals at once have the same answer');
is(lookups('memory'), $remembered, 'none of them from memory');

# and a recall is judged anew for every answer
storm('A1', 5);
$sv->recall_lot($gtin, 'LOT1');
Test::SerialVerify::wait_for { $sv->get($sv->link_to($gtin, 'A1'), key => $key)->{json}{reason} eq 'recalled' } 'the recall';
is($sv->get($sv->link_to($gtin, 'A1'))->{json}{reason}, 'recalled', 'the public is told of the recall as soon as anybody');

$sv->done_testing;
