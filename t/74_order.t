#!/usr/bin/perl

# The same facts give the same tables: in random orders, grouped into files in
# different ways, delivered twice, by two workers, killed at random points.
#
#   SV_TEST_ALL=1   more facts and more rounds
#   SV_TEST_SEED    of all choices

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(sleep time);

use Test::SerialVerify;
use Test::SerialVerify::Facts;

my $gtin   = 9506000134352;
my $second = 9506000134369;
my $all    = $ENV{SV_TEST_ALL};
my $seed   = $ENV{SV_TEST_SEED} // time % 1_000_000;
my $sv     = Test::SerialVerify->new;

srand $seed;
diag("SV_TEST_SEED=$seed");

$sv->start_postgres;
$sv->product($_) for $gtin, $second;

my $facts = Test::SerialVerify::Facts->new($sv, gtin => $gtin);
my $minute;


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)

sub one_of { return $_[rand @_] }
sub some { my ($n, @of) = @_; return (shuffle(@of))[0 .. ($n < @of ? $n : scalar @of) - 1] }

# every event at a time of its own: of two packings at the same time the one recorded first would stand
sub at { my ($m) = @_; return sprintf '2026-11-%02dT%02d:%02d:00Z', 1 + $m / 1440, $m / 60 % 24, $m % 60 }
sub later { return at($minute += 1 + int rand 5) }


# What lines may tell of some packs, cases and pallets, in the order of its happening.
sub story {
    my ($n) = @_;

    $minute = 0;

    my @packs   = map { ("A$_", "$second/B$_") } 1 .. $n;
    my @cases   = map { Test::SerialVerify::Facts::sscc($_) } 1 .. $n / 5 + 1;
    my @pallets = map { Test::SerialVerify::Facts::sscc(1000 + $_) } 1 .. $n / 20 + 1;
    my @told;

    my %lot = map { $_ => m{/} ? 'K' . int rand 2 : 'L' . int rand 3 } @packs;

    for my $lot (sort { $a cmp $b } keys %{{reverse %lot}}) {
        my @of = shuffle(grep { $lot{$_} eq $lot } @packs);

        while (my @some = splice @of, 0, 1 + rand 6) {
            if (rand() < 0.3) {
                # told wrong first, and put right
                my $id = 'urn:x:wrong-' . ++$minute;
                my %wrong = (items => [@some], id => $id, time => later(), lot => rand() < 0.5 ? "W$lot" : $lot, expiry => '2031-12-31');
                push @told, {%wrong}, {%wrong, error => {reason => 'incorrect_data', correctiveEventIDs => ["$id-right"]}};
                push @told, {items => [@some], lot => $lot, id => "$id-right", time => later()} if rand() < 0.8;
            } else {
                push @told, {items => [@some], lot => $lot, time => later(), rand() < 0.5 ? (id => 'urn:x:made-' . ++$minute) : ()};
            }

            # the same again, grouped otherwise
            push @told, {items => [some(2, @some)], lot => $lot, time => later()} if rand() < 0.2;
        }
    }

    push @told, {items => [@cases, @pallets], container => 1, time => later()} if rand() < 0.7;

    for (1 .. $n) {
        my $case = one_of(@cases);

        push @told, one_of(
            {step => 'packing', items => [some(4, @packs)], parent => $case},
            {step => 'packing', items => [some(4, @packs)], parent => $case},
            {step => 'packing', items => [some(2, @cases), some(1, @packs)], parent => one_of(@pallets)},
            {step => 'unpacking', items => [some(2, @packs)], parent => $case},
            {step => 'unpacking', parent => one_of(@cases, @pallets)},
            {step => 'decommissioning', items => [some(1, @packs, 'never-made')]},
            {step => 'destroying', items => [one_of(@packs, @cases, @pallets)]},
            {step => 'sampling', items => [one_of(@packs)]},
            {step => 'dispensing', items => [one_of(@packs)]},
            {step => 'shipping', items => [one_of(@cases, @pallets)]},
            {step => 'receiving', items => [some(3, @packs)]});
        $told[-1]{time} = later();

        if (rand() < 0.2) {
            $told[-1]{id} = 'urn:x:event-' . ++$minute if rand() < 0.5;
            push @told, {%{$told[-1]}, error => {reason => 'did_not_occur'}};
        }
    }

    return @told;
}


# The events in files of random sizes: ([name, content]..)
sub files {
    my ($name, @events) = @_;

    my @files;

    while (my @some = splice @events, 0, 1 + rand 6) {
        push @files, [sprintf('%s-%03d.json', $name, scalar @files), $facts->document(@some)];
    }

    return @files;
}


sub start { my ($name) = @_; return $sv->start_worker(name => $name, roles => 'ingest', redis => undef, log_level => 'notice') }

# An inbox is not empty while something is in it or on its way out of it.
sub taken { return !(grep { -f } glob $sv->base . '/inbox/*') && !$sv->sql('select count(*) from sv.load where not filed') }


sub differences {
    my ($got, $expected) = @_;

    for my $table (sort keys %{$expected}) {
        my %there = map { $_ => 1 } @{$got->{$table}};
        my %wanted = map { $_ => 1 } @{$expected->{$table}};
        diag("$table: not there: $_") for grep { !$there{$_} } sort keys %wanted;
        diag("$table: too much:  $_") for grep { !$wanted{$_} } sort keys %there;
    }

    return;
}


my @told = story($all ? 150 : 60);

start('worker');
$sv->deliver(@{$_}) for files('first', @told);
wait_for { taken() } 'the first delivery', 600;
my $expected = $facts->tables;

is($sv->sql(q{select count(*) from sv.load where state <> 'loaded'}), 0, 'every file is loaded');
cmp_ok(scalar @{$expected->{events}}, '>', 40, scalar(@{$expected->{events}}) . ' events');
cmp_ok(scalar @{$expected->{$_}}, '>', 0, scalar(@{$expected->{$_}}) . " $_") for qw(packs commissions ends members contents);
diag(join ' ', map { "$_ " . @{$expected->{$_}} } sort keys %{$expected});

my $rounds = $all ? 20 : 3;
my $killed = 0;

for my $round (1 .. $rounds) {
    $facts->forget;
    start('other');

    my @files = shuffle(files("r$round", shuffle(@told)), files("r$round-again", shuffle(@told)));
    # the same content under another name, too
    push @files, map { ["copy-$_->[0]", $_->[1]] } some(5, @files);

    for my $file (@files) {
        $sv->deliver(@{$file});

        if (rand() < 0.05) {
            my $name = one_of(qw(worker other));
            sleep rand 0.3;
            $sv->kill9($name);
            $killed++;
            start($name);
        }
    }

    wait_for { taken() } "round $round", 600;
    my $tables = $facts->tables;

    if (!is_deeply($tables, $expected, "round $round: " . @files . ' files')) {
        differences($tables, $expected);
        last;
    }

    $sv->stop('other');
}

diag("killed $killed times");

is($sv->sql(q{select count(*) from sv.pack p where state = 'active' and exists (
        select from sv.item_end x join sv.event v using (load_id, event) join sv.step_rule r on r.step = x.step and r.action = v.action
        where x.gtin = p.gtin and x.serial = p.serial and v.error is null and r.state is not null)}), 0, 'nothing that was ended is active');
is($sv->sql(q{select count(*) from sv.pack p join sv.event v using (load_id, event) where v.error is not null and p.state <> 'void'}), 0, 'no pack rests on a declared error');
is($sv->sql(q{select count(*) from (select gtin, serial from sv.audit where changed and serial is not null
        except select gtin, serial from sv.pack) x}), 0, 'no change of a pack that is not there');

$sv->done_testing;
