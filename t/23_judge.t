#!/usr/bin/env perl

# The verdict stands twice, in C for a verify answered from the cache and in SQL
# for an operation.  Both get every combination of inputs and give the same reason.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use File::Temp ();
use Test::More;

use Test::SerialVerify;

my $sv = Test::SerialVerify->new;
my ($program) = grep { -x } map { $sv->build . "$_/unit/test_verdict" } '', '/asan';
plan skip_all => 'unit/test_verdict is not built (./dev build --unit)' if !$program;

$sv->start_postgres;

# Field by field what both are given; null stands for what is not presented.
# Packs that are not found have no lot, expiry or state to vary; one that is void is not found.
my $grid = q{
    select product::text, found::text, lot_known::text, pack_lot, pack_expiry, lot, expiry, withdrawn::text, recalled::text, today, state,
      here::text,
      sv.judge(product, found, lot_known, pack_lot, pack_expiry, lot, expiry, withdrawn, recalled, today, state, here)
    from (values (true), (false)) p (product),
      (values (true, 'Lot1', date '2028-02-29'), (false, null, null)) f (found, pack_lot, pack_expiry),
      (values (true), (false)) k (lot_known),
      (values (null), ('Lot1'), ('lot1'), ('Lot'), ('Lot11'), ('X'), ('ZZZZZZZZZZZZZZZZZZZZ')) l (lot),
      (values (null), (date '2028-02-29'), ('2028-02-28'), ('2028-03-01'), ('1999-12-31'), ('2099-12-31')) e (expiry),
      (values (true), (false)) w (withdrawn),
      (values (true), (false)) r (recalled),
      (values (date '2026-11-21'), ('2028-02-29'), ('2028-03-01'), ('2027-12-31')) t (today),
      unnest(enum_range(null::sv.pack_state)::text[]) s (state),
      (values (true), (false)) h (here)
    where (found or (state = 'active' and here and not recalled)) and state <> 'void'
};

my $rows = $sv->dbh->selectall_arrayref($grid);
cmp_ok(scalar @{$rows}, '>', 20_000, @{$rows} . ' combinations');

my $input = File::Temp->new;
print {$input} map { join("\t", map { $_ // '-' } @{$_}[0 .. 11]) . "\n" } @{$rows};
close $input or die "input: $!";

open(my $output, '-|', 'sh', '-c', 'exec "$1" --lines < "$2"', 'sh', $program, "$input") or die "$program: $!";
chomp(my @reasons = <$output>);
ok(close $output, 'test_verdict --lines');

is(scalar @reasons, scalar @{$rows}, 'a reason for each');

my (%seen, @different);

for my $i (0 .. $#{$rows}) {
    my $sql = $rows->[$i][12];
    my $c   = $reasons[$i] // 'nothing';

    $seen{$sql}++;
    push @different, join(' ', map { $_ // 'null' } @{$rows->[$i]}[0 .. 11]) . ": SQL says $sql, C says $c" if $sql ne $c;
}

is(scalar @different, 0, 'and always the same') or diag(join "\n", @different[0 .. ($#different < 9 ? $#different : 9)]);

# the grid is worth something only if it reaches every verdict there is
my @verdicts = qw(already_supplied already_supplied_here checked_out destroyed expired expiry_mismatch exported free_sample locked
    lot_mismatch lot_unknown ok product_unknown recalled sample serial_unknown stolen withdrawn);
is_deeply([sort keys %seen], \@verdicts, 'every verdict is reached');

# what the tables of both say of a reason
my $root = Test::SerialVerify::root();
my %code = Test::SerialVerify::slurp("$root/src/model/sv_reason.def") =~ /^SV_REASON\(\w+,\s*"(\w+)",\s*\d+,\s*\d+,\s*("\w*",\s*\d)/mg;

for my $row (@{$sv->dbh->selectall_arrayref('select reason, code, alert from sv.reason')}) {
    my ($reason, $sql_code, $alert) = @{$row};
    my ($code, $level) = ($code{$reason} // '') =~ /"(\w*)",\s*(\d)/;

    is($code, $sql_code // '', "$reason: the hub code");
    is($level == 5 ? 1 : 0, $alert ? 1 : 0, "$reason: whether it alerts");
}

my @sql_only = $sv->dbh->selectall_arrayref('select reason from sv.reason')->@*;
is_deeply([sort grep { !/^(?:not_confirmed|unavailable)$/ } keys %code], [sort map { $_->[0] } @sql_only], 'the same reasons in both');

$sv->done_testing;
