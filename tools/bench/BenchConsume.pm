package BenchConsume;

# Scans of plausible traffic in the stream before the worker starts: how fast
# they are history and judged, and whether memory grows with history.

use strict;
use warnings;

use Time::HiRes qw(time sleep);
use Test::SerialVerify;
use Test::SerialVerify::Stream;

my $gtin  = 9506000134352;
my $days  = 6;
my $sites = 2000;
my @countries = (['IT', 45.46, 9.19], ['DE', 52.52, 13.40], ['FR', 48.86, 2.35], ['ES', 40.42, -3.70], ['PL', 52.23, 21.01]);


sub traffic {
    my ($sv, $n) = @_;

    my @event;
    my $start = time * 1000 - $days * 86_400_000;
    my $rank  = 0;
    srand 7;

    for my $i (1 .. $n) {
        my $at     = int($start + $i * ($days * 86_400_000 - 60_000) / $n);
        my $serial = sprintf 'X%09d', ($i * 7919) % 1_000_000_007;
        my $lot    = 'LOT' . (1 + $i % 40);
        my $dice   = rand 1000;

        # a verify of a pharmacy; 15 % consumers, with a reload; few that are not found or were supplied
        my %event = $dice < 150
            ? (session => sprintf('%016x', $i), country => $countries[$i % 5][0], lat => $countries[$i % 5][1], lon => $countries[$i % 5][2],
               accuracy_km => 25, entry_mode => undef, expiry => undef)
            : (location => 1 + int rand $sites);
        $event{reason} = $dice > 997 ? 'serial_unknown' : $dice > 993 ? 'lot_mismatch' : $dice > 980 ? 'already_supplied' : 'ok';
        $event{flags}  = 'h' if $dice > 998;
        push @event, {serial => $serial, lot => $lot, at => $at, request_id => sprintf('%032x', $i), %event};
        push @event, {%{$event[-1]}, at => $at + 4000, request_id => sprintf('%032x', $i + $n)} if $dice < 15;
    }

    return @event;
}


sub fill {
    my ($sv, $n) = @_;

    my $gateway = Test::SerialVerify::Stream->new($sv, gateway => 'gw1.example.com', boot => 1_795_000_000_123);
    my @event   = traffic($sv, $n);

    while (my @block = splice @event, 0, 150) {
        $gateway->send(@block);
    }

    return $gateway->{sequence};
}


sub rss {
    my ($pid) = @_;

    open(my $fh, '<', "/proc/$pid/status") or die "/proc/$pid/status: $!";
    local $/;
    my ($kb) = <$fh> =~ /^VmRSS:\s+(\d+)/m;

    return $kb / 1024;
}


# the judge remembers a day: the second half of the scans must need no more memory than the first
sub measure {
    my ($sv, $cpu_of) = @_;

    $sv->sql("select sv.make_day_partition('scan', current_date - d) from generate_series(0, ?) d", $days + 1);
    $sv->sql(q{insert into sv.rule_param (name, value, at, by) values ('evidence.window', '1', now(), 'bench')});
    $sv->sql(q{insert into sv.lot (gtin, lot, expiry) select ?, 'LOT' || i, date '2030-12-31' from generate_series(1, 40) i}, $gtin);
    $sv->sql(q{insert into sv.lot_market (gtin, lot, country, n, at) select ?, 'LOT' || i, c, i, now() from generate_series(1, 40) i, unnest(array['DE', 'IT']) c}, $gtin);
    $sv->sql(q{insert into sv.location (ref_n, location_id, gln, name, role, country, lat, lon)
        select i, i, '95060' || lpad(i::text, 8, '0'), 'site', 'pharmacy', (array['IT', 'DE', 'FR', 'ES', 'PL'])[1 + i % 5], 45, 9 from generate_series(1, ?) i}, $sites);
    $sv->sql('update sv.ref_clock set n = ?', $sites);

    my $n      = fill($sv, $ENV{SV_BENCH_SCANS} || 300_000);
    my $judged = sub { return $sv->sql('select scan_n from sv.judge') };
    my $cpu    = $cpu_of->($sv->server('postgres'));

    $sv->start_worker(roles => 'consume', log_level => 'notice');
    my ($pid) = $sv->server('worker')->children;
    my ($half, $start);

    while ((my $done = $judged->()) < $n) {
        $start //= time if $done > 0;
        $half  //= rss($pid) if $done > $n / 2;
        sleep 0.02;
    }

    Test::SerialVerify::wait_for { $sv->redis->xlen('sv:scans') == 0 } 'the end of the stream';

    my $seconds = time - $start;
    my $worker  = $cpu_of->($sv->server('worker'));
    my $used    = $cpu_of->($sv->server('postgres')) - $cpu + $worker;
    my $end     = rss($pid);

    return {n => $n, seconds => $seconds, cpu => $used, worker => $worker, half => $half, end => $end, cases => $sv->sql('select count(*) from sv.case'),
        again($sv), copy => copy($sv)};
}


# a start with all of it in the window
sub again {
    my ($sv) = @_;

    $sv->stop('worker');
    $sv->sql('delete from sv.rule_param');
    $sv->start_worker(name => 'again', roles => 'consume', log_level => 'notice');
    Test::SerialVerify::wait_for { $sv->log_of('again') =~ /history was read/ } 'history to be read', 300;

    my ($ms, $scans) = $sv->log_of('again') =~ /history was read in (\d+) ms: (\d+) scans/;
    my ($pid) = $sv->server('again')->children;

    return (start_ms => $ms, start_scans => $scans, start_rss => rss($pid));
}


# the same rows into a table with the same indexes
sub copy {
    my ($sv) = @_;

    my $bin  = Test::SerialVerify::pg_bin();
    my $file = "$sv->{base}/copy.txt";
    my $psql = "$bin/psql -q -h ${\ $sv->pg_socket} -U postgres sv";

    $sv->sql('create table public.copied (like sv.scan including all)');
    system("$psql -c '\\copy (select * from sv.scan) to $file'") == 0 or die 'copy';
    $sv->sql('checkpoint');
    my $start = time;
    system("$psql -c '\\copy public.copied from $file'") == 0 or die 'copy';

    return time - $start;
}


1;
