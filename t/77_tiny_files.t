#!/usr/bin/perl

# Very many very small files: each has its report, memory stays flat, nothing is
# loaded by half.  3,000 of them, 100,000 with ./dev test --all.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use Test::SerialVerify;

my $gtin  = '09506000134352';
my $files = $ENV{SV_TEST_ALL} ? 100_000 : 3_000;
my $sv    = Test::SerialVerify->new;

$sv->start_postgres;
$sv->product($gtin);


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)

# the most memory a process of the role ingest had, in kB
sub high_water {
    my @most = sort { $b <=> $a } map { Test::SerialVerify::slurp("/proc/$_/status") =~ /^VmHWM:\s+(\d+)/m } $sv->server('worker')->children;
    return $most[0];
}


my $in = $sv->directory('inbox');

for my $i (1 .. $files) {
    my $path = "$in/$i.csv";

    # one in a hundred is nothing at all, one is a replay, one has a bad line
    my $content = $i % 100 == 1 ? '' : "gtin,serial,lot,expiry\n$gtin,S" . ($i % 100 == 2 ? $i + 1 : $i) . ",LOT,2030-12-31\n"
        . ($i % 100 == 3 ? "$gtin,,LOT,2030-12-31\n" : '');
    open(my $file, '>', $path) or die "$path: $!";
    print {$file} $content;
    close $file;
}

$sv->give($in);

my $before = time;
$sv->start_worker(roles => 'ingest', redis => undef, ingest_processes => 2, log_level => 'warn');
my $filed = sub { $sv->sql('select count(*) from sv.load where filed') };

wait_for { $filed->() >= 500 } 'the first of them', 300;
my $early = high_water();

wait_for { opendir(my $dir, $in) or die $!; !grep { /\.csv$/ } readdir $dir } 'every file', $files / 10 + 300;
wait_for { !$sv->sql('select count(*) from sv.load where not filed') && !$sv->sql('select count(*) from sv.load_stage where not free') } 'what is noted of them';
my $late = high_water();

diag(sprintf '%d files, %.0f a second; high water %d kB after 500, %d kB at the end', $files, $files / (time - $before), $early, $late);
# AddressSanitizer keeps up to 256 MB of what was freed
cmp_ok($late, '<', $early + ($sv->asan ? 300_000 : 2_000), 'memory is flat');

opendir(my $done, "$in/done") or die $!;
opendir(my $rejected, "$in/rejected") or die $!;
my @done = readdir $done;
my @rejected = readdir $rejected;

is(scalar(grep { /^\d+\.csv$/ } @done, @rejected), $files, 'every file is filed');
is(scalar(grep { /^\d+\.csv\.report\.json$/ } @done, @rejected), $files, 'with a report');
is(scalar(grep { /^\d+\.csv\.report\.txt$/ } @done, @rejected), $files, 'in both forms');
is(scalar(grep { /^\.[^.]/ } @done, @rejected), 0, 'and nothing besides');
is(scalar(grep { /^\d+\.csv$/ } @rejected), $files / 100, 'what is empty is rejected');
is($sv->sql('select count(*) from sv.pack'), $files - 2 * $files / 100, 'every pack, once');
is($sv->sql(q{select count(*) from sv.load where state = 'loading'}), 0, 'no load is open');
is($sv->sql('select count(*) from sv.load_stage where not free'), 0, 'no staging table is in use');
cmp_ok($sv->sql(q{select pg_relation_size('pg_class') + pg_relation_size('pg_attribute')}), '<', 16 * 1024 * 1024, 'the catalog has not grown with the files');

$sv->done_testing;
