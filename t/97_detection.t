# What the rules find in simulated traffic, in small: docs/simulate.md.  ./dev bench detection is the measure.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use Test::More;

my $root = "$FindBin::Bin/..";
my $dir  = tempdir(CLEANUP => 1);


# (exit code, output)
sub detection {
    my (@option) = @_;

    my $pid = open(my $fh, '-|') // die "fork: $!";

    if ($pid == 0) {
        open(STDERR, '>&', \*STDOUT);
        exec "$root/tools/bench/detection", '--dir', $dir, @option;
    }

    local $/;
    my $output = <$fh>;
    close $fh;

    return ($? >> 8, $output // '');
}


subtest 'limits are kept' => sub {
    my ($rc, $output) = detection('--seeds', 2, '--first-seed', 101, '--scans', 50_000, '--verbose');

    is($rc, 0, 'exit status') or diag($output);
    like($output, qr/^ok      recall of /m, 'recall of every fraud');
    like($output, qr/^ok      false alerts a scan/m, 'false alerts');
    like($output, qr/^ok      cases an incident/m, 'cases');
    like($output, qr/^ok      scanner faults and late uploads/m, 'faults and late uploads');
    like($output, qr{^plot: \Q$dir\E/detection\.svg$}m, 'the plot is named');
    ok(-s "$dir/detection.svg", 'and there');
    ok(!-e "$dir/101.scans", 'the traffic is not kept');
};


# windows go by: what was found stays found
subtest 'over half a year' => sub {
    my ($rc, $output) = detection('--seeds', 1, '--first-seed', 103, '--scans', 60_000, '--days', 180, '--verbose');

    is($rc, 0, 'limits are kept') or diag($output);
};


subtest 'limits that are missed are said' => sub {
    # no case is found
    for my $seed (101, 102) {
        open(my $fh, '>', "$dir/$seed.cases") or die "$seed: $!";
        close $fh or die "$seed: $!";
    }

    my ($rc, $output) = detection('--seeds', 2, '--first-seed', 101, '--scans', 50_000, '--cases');

    is($rc, 1, 'exit status');
    like($output, qr/^MISSED  recall of \w+, the lowest: 0 /m, 'recall');
};

done_testing;
