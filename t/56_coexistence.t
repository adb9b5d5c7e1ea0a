#!/usr/bin/env perl

# Beside others: another module that brings a Redis client of its own, and the
# event loop, which no system call may hold up.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;

my $gtin   = 9506000134352;
my $number = 0;
my $nchan  = $ENV{SV_NCHAN_MODULE} // '/usr/lib/nginx/modules/ngx_nchan_module.so';

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
my $pharmacy = $sv->actor('pharmacy', country => 'IT');


sub pack_new {
    my $serial = 'C-' . ++$number;
    $sv->pack_row($gtin, $serial);
    return $sv->link_to($gtin, $serial);
}


# nchan exports the symbols of the hiredis it holds, and modules are loaded
# with RTLD_GLOBAL: loaded first, it must not serve our calls.
SKIP: {
    skip 'the package libnginx-mod-nchan is not installed', 4 if !-e $nchan;

    # with nchan, nginx makes its default directories whatever the configuration says: here they are private
    my @private = ('unshare', '--map-current-user', '--keep-caps', '--mount', 'sh', '-c',
        'mount -t tmpfs -o mode=1777 none /var/lib/nginx && exec env "$@"', 'sh');
    skip 'there are no private mounts here', 4 if system('unshare --map-current-user --keep-caps --mount true 2>/dev/null') != 0;

    my $copy = $sv->write_file('nchan.so', Test::SerialVerify::slurp($nchan));
    my $home = $sv->directory('beside');
    my $env  = $sv->sanitizer_env('beside', 1);
    $sv->{port}{beside} = $sv->port;
    $sv->write_file('beside/nginx.conf', "load_module $copy;\n" . $sv->nginx_conf('beside'));
    $sv->start_server('beside', stop => 'QUIT', orphan => 'TERM', command => [@private, (map { "$_=$env->{$_}" } sort keys %{$env}),
        '/usr/sbin/nginx', '-p', "$home/", '-c', "$home/nginx.conf", '-e', "$home/error.log"]);
    $sv->ready('beside', sub { $sv->gateway_ready('beside') });

    my $link = pack_new();
    my %ask  = (nginx => 'beside', key => $pharmacy->{key});
    Test::SerialVerify::wait_for { $sv->get($link, %ask); $sv->counter('source_cache', {nginx => 'beside'}) > 0 } 'the cache to be used';
    is($sv->get($link, %ask)->{json}{state}, 'active', 'nchan loaded before: verified, from the cache');
    ok($sv->post($link, '{"operation":"supply"}', %ask, idempotency => 'beside')->{json}{changed}, 'supplied');
    is($sv->get($link, %ask)->{json}{state}, 'supplied', 'and so says the cache');
    $sv->kill9('redis');
    $sv->start_redis;
    Test::SerialVerify::wait_for { $sv->figure('redis', 'ready', {nginx => 'beside'}) } 'Redis again';
    ok($sv->stop('beside'), 'connections lost and made again, and an orderly end');
}


# What may wait: epoll_wait and nothing else.  Sockets are connected without waiting.
SKIP: {
    skip 'strace is not installed', 4 if !grep { -x "$_/strace" } split /:/, $ENV{PATH};

    $sv->start_nginx(name => 'traced', verify => {deadline => '500ms'});
    my ($worker) = $sv->workers('traced');
    my $trace = "$sv->{base}/trace";

    $sv->start_server('strace', user => $> == 0 ? 'root' : $sv->{user}, stop => 'INT', command => ['strace', '-f', '-tt', '-y', '-e',
        'trace=socket,connect,fcntl,poll,ppoll,select,pselect6,nanosleep,clock_nanosleep,fsync,fdatasync,flock,epoll_wait,wait4,openat',
        '-o', $trace, '-p', $worker]);

    my $attached = eval { Test::SerialVerify::wait_for { Test::SerialVerify::slurp($trace) =~ /epoll_wait/ } 'strace', 30 };
    skip 'strace may not look at processes here', 4 if !$attached;

    exercise();
    $sv->stop('strace');

    my @lines = split /\n/, Test::SerialVerify::slurp($trace);
    # poll() with a time of 0 only looks
    my @waits = grep { !/\bpoll\(.*\], \d+, 0\)/ } grep { /\b(?:poll|ppoll|select|pselect6|nanosleep|clock_nanosleep|fsync|fdatasync|flock|wait4)\(/ } @lines;
    is_deeply(\@waits, [], 'no system call waits but epoll_wait');

    my ($connects, @blocking) = (0);
    my %nonblocking;

    for my $line (@lines) {
        if (my ($flags, $fd) = $line =~ /\bsocket\(\w+, ([\w|]+), \w+\) = (\d+)/) {
            $nonblocking{$fd} = $flags =~ /SOCK_NONBLOCK/;

        } elsif (($fd) = $line =~ /\bfcntl\((\d+)\S*, F_SETFL, [\w|]*O_NONBLOCK/) {
            $nonblocking{$fd} = 1;

        } elsif (($fd) = $line =~ /\bconnect\((\d+)/) {
            $connects++;
            push @blocking, $line if !$nonblocking{$fd};
        }
    }

    cmp_ok($connects, '>=', 9, "$connects connections were made");
    is_deeply(\@blocking, [], 'none of them waited for');

    my @names = grep { m{/etc/(?:hosts|resolv\.conf|nsswitch\.conf|passwd|services)} } @lines;
    is_deeply(\@names, [], 'no name is looked up');
}

$sv->done_testing;


# Everything a worker process does: verifies and operations, and every backend lost and found.
sub exercise {
    my %ask = (nginx => 'traced', key => $pharmacy->{key});

    my $all = sub {
        my $link = pack_new();
        $sv->get($link, %ask) for 1 .. 2;
        $sv->post($link, '{"operation":"supply"}', %ask, idempotency => "traced-$number");
        $sv->post('/packs', [map { {operation => 'verify', scan => "(01)09506000134352(21)N-$_(10)LOT1(17)301231"} } 1 .. 20], %ask);
        $sv->get($link, nginx => 'traced');
        $sv->get($_, nginx => 'traced') for '/status', '/metrics', '/static';
    };

    my $down = sub { ($sv->figure('postgres', 'read', 'ready', {nginx => 'traced'}) // 0) == 0 };
    my $up   = sub { ($sv->figure('postgres', $_[0], 'ready', {nginx => 'traced'}) // 0) >= $_[1] };

    $all->();
    $sv->pause('redis');
    $all->();
    $sv->resume('redis');
    $sv->kill9('redis');
    $all->();
    $sv->start_redis;

    # requests that find it dead, and one that is under way when it dies
    my $link = pack_new();
    $sv->pause('postgres');
    my @sent = $sv->sent(map { ['GET', "$link-$_", %ask] } 1 .. 20);
    Test::SerialVerify::wait_for { $down->() } 'the sessions to be given up';
    $sv->resume('postgres');
    $sv->answers(30, @sent);
    $sv->stop('postgres', signal => 'QUIT');
    Test::SerialVerify::wait_for { $down->() } 'the sessions to be lost';
    $sv->start_postgres;
    Test::SerialVerify::wait_for { $up->('read', 2) && $up->('write', 4) && $up->('bulk', 2) } 'all sessions';
    Test::SerialVerify::wait_for { $sv->figure('redis', 'ready', {nginx => 'traced'}) } 'the cache';
    $all->();

    return;
}
