#!/usr/bin/env perl

# Configuration: nginx -t says what is wrong, and where; docs/directives.md
# says what there is.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use Test::SerialVerify;

my $root = Test::SerialVerify::root();
my $sv   = Test::SerialVerify->new;
my $home = $sv->directory('config');

sub slurp { return Test::SerialVerify::slurp("$root/$_[0]") }

my $postgres = 'serial_verify_postgres "host=/run/postgresql dbname=sv user=sv_gateway";';

# nginx -t of a configuration with these lines in http {}, server {} and location {}: exit code, output
sub check {
    my (%in) = @_;

    my ($module, $port) = ($sv->module, 1);
    $in{http}     //= '';
    $in{postgres} //= $postgres;
    $in{server}   //= '';
    $in{location} //= 'serial_verify pack;';
    my $temp = join '', map { "${_}_temp_path $home/$_;\n" } qw(client_body proxy fastcgi uwsgi scgi);

    my $file = $sv->write_file('config/nginx.conf',
        "load_module $module;\npid $home/pid;\nerror_log stderr;\nevents {}\nhttp {\n$in{http}\n$in{postgres}\naccess_log off;\n${temp}server {\nlisten unix:$home/s;\n"
            . "$in{server}\nlocation /01/ {\n$in{location}\n}\n}\n}\n");

    my $env = $sv->sanitizer_env('config', 1);
    my $pid = open(my $out, '-|') // die "fork: $!";

    if ($pid == 0) {
        @ENV{keys %{$env}} = values %{$env};
        open(STDERR, '>&', \*STDOUT);
        exec '/usr/sbin/nginx', '-t', '-e', 'stderr', '-p', "$home/", '-c', $file;
    }

    local $/;
    my $output = <$out> // '';
    close $out;

    return ($? >> 8, $output);
}

sub refused {
    my ($in, $line, $message, $name) = @_;

    my ($rc, $output) = check(%{$in});
    my ($emerg) = $output =~ /\[emerg\] (?:\d+#\d+: )?(.*)$/m;

    is($rc, 1, "$name: refused") or diag($output);
    like($emerg, $message, "$name: the reason");
    like($emerg, qr{ in $home/nginx\.conf:$line$}, "$name: the place") if defined $line;

    return $output;
}


my $time = sub { my ($low, $high) = @_; return qr/the time must be between $low ms and $high ms/ };

my %values = (
    serial_verify_postgres => [
        ['""',                                              qr/"dbname" is missing|needs/],
        ['"host=/run"',                                     qr/"dbname" is missing/],
        ['"host=/run dbname=sv"',                           qr/"user" is missing/],
        ['"dbname=sv user=u"',                              qr/needs "hostaddr" \(numeric\) or "host"/],
        ['"host=db.example.com dbname=sv user=u"',          qr/would need name resolution/],
        ['"host=/a,/b dbname=sv user=u"',                   qr/more than one server/],
        ['"hostaddr=db dbname=sv user=u sslmode=require"',  qr/not a numeric address/],
        ['"hostaddr=192.0.2.1 dbname=sv user=u"',           qr/"sslmode" has to be/],
        ['"hostaddr=192.0.2.1 dbname=sv user=u sslmode=prefer"', qr/"sslmode" has to be/],
        ['"service=sv"',                                    qr/"service" would read a file/],
        ['"host=/run dbname=sv user=u passfile=/x"',        qr/"passfile" would read a file/],
        ['"host=/run dbname=sv user=u colour=blue"',        qr/not a connection string/],
        ['"host=/run dbname=sv user=u password=SECRET-1 x"', qr/not a connection string/],
        ['"postgresql://u:SECRET-1@h:x/sv"',                qr/./],
        ['a b',                                             qr/invalid number of arguments/],
        ['',                                                qr/invalid number of arguments/],
    ],
    serial_verify_postgres_connections => [
        ['read=0',          qr/invalid number of connections in "read=0": 1 to 64/],
        ['write=65',        qr/invalid number of connections in "write=65"/],
        ['bulk=x',          qr/invalid number of connections in "bulk=x"/],
        ['read=2 read=3',   qr/is duplicate/],
        ['read=',           qr/invalid parameter "read="/],
        ['4',               qr/invalid parameter "4": read=, write= or bulk= is expected/],
        ['',                qr/invalid number of arguments/],
    ],
    serial_verify_redis => [
        ['localhost:6379',       qr/must be numeric/],
        ['127.0.0.1',            qr/unix:\/path, address:port or off is expected/],
        ['127.0.0.1:0',          qr/invalid address/],
        ['127.0.0.1:65536',      qr/invalid address/],
        ['127.0.0.1:x',          qr/invalid address/],
        ['[::1:6379',            qr/must be numeric/],
        [':6379',                qr/must be numeric/],
        ['unix:',                qr/invalid address/],
        ['unix:/' . 'x' x 110,   qr/too long for a unix socket/],
        ['on',                   qr/invalid address/],
        ['127.0.0.1:1 database=x', qr/invalid parameter "database=x": database=n or password_file=path is expected/],
        ['127.0.0.1:1 database=-1', qr/invalid parameter/],
        ['127.0.0.1:1 password=SECRET-1', qr/invalid parameter/],
        ["127.0.0.1:1 password_file=$home/nothing", qr/open\(\) "$home\/nothing" failed \(2: No such file/],
        ["127.0.0.1:1 password_file=$home/empty", qr/"$home\/empty" holds no password in its first line/],
        ['',                     qr/invalid number of arguments/],
    ],
    serial_verify_redis_timeout   => [['0', $time->(1, 10000)], ['11s', $time->(1, 10000)], ['x', qr/invalid value/], ['-1', qr/invalid value/]],
    serial_verify_cache_ttl       => [['999ms', $time->(1000, 86400000)], ['2d', $time->(1000, 86400000)], ['1y1y', qr/invalid value/]],
    serial_verify_deadline        => [['19ms', $time->(20, 60000)], ['61s', $time->(20, 60000)], ['250 ms', qr/invalid number of arguments/]],
    serial_verify_bulk_deadline   => [['99ms', $time->(100, 300000)], ['6m', $time->(100, 300000)]],
    serial_verify_bulk_requests   => [['0', qr/value must be between 1 and 1000/], ['1001', qr/value must be between 1 and 1000/], ['x', qr/invalid number/]],
    serial_verify_zone            => [['1023k', qr/the size must be between 1048576 and 68719476736 bytes/], ['65g', qr/the size must be|invalid value/], ['x', qr/invalid value/]],
    serial_verify_refresh         => [['9ms', $time->(10, 500)], ['501ms', $time->(10, 500)]],
    serial_verify_stale_limit     => [['999ms', $time->(1000, 86400000)], ['2d', $time->(1000, 86400000)]],
    serial_verify_anonymous_floor => [['11s', $time->(0, 10000)], ['x', qr/invalid value/]],
    serial_verify_miss_budget     => [['0', qr/invalid budget "0": 1 to 10000 misses, or off/], ['10001', qr/invalid budget/], ['x', qr/invalid budget/],
        ['30 0', qr/invalid period "0": 1s to 1d/], ['30 2d', qr/invalid period/], ['30 x', qr/invalid period/], ['30 60s 1', qr/invalid number of arguments/]],
    serial_verify_routing         => [['yes', qr/invalid value "yes" .* it must be "on" or "off"/]],
    serial_verify_short_gtin      => [['1', qr/invalid value "1" .* it must be "on" or "off"/]],
    serial_verify_identity        => [['yes', qr/invalid value "yes" .* it must be "on" or "off"/], ['on off', qr/invalid number of arguments/]],
    serial_verify_api_secret      => [
        ["$home/nothing",  qr/open\(\) "$home\/nothing" failed \(2: No such file/],
        ["$home/empty",    qr/"$home\/empty" holds no secret: 32 to 4096 bytes/],
        ["$home/short",    qr/"$home\/short" holds no secret: 32 to 4096 bytes/],
        ["$home/long",     qr/"$home\/long" holds no secret: 32 to 4096 bytes/],
        ["$home/open",     qr/others may read or change "$home\/open": chmod o= it/],
        ['',               qr/invalid number of arguments/],
    ],
    serial_verify_events          => [['yes', qr/invalid value "yes": on or off is expected/], ['on limit=0', qr/invalid parameter "limit=0": limit=n is expected/],
        ['on limit=x', qr/invalid parameter "limit=x"/], ['on 5', qr/invalid parameter "5"/], ['', qr/invalid number of arguments/]],
    serial_verify_gateway         => [['"a b"', qr/invalid name "a b": 1 to 64 letters/], ['""', qr/invalid name ""/], ['x' x 65, qr/invalid name/]],
    serial_verify_spool           => [["$home/spool size=1k", qr/invalid parameter "size=1k": size=n is expected, at least 32768 bytes/],
        ["$home/spool size=x", qr/invalid parameter "size=x"/], ["$home/spool 1g", qr/invalid parameter "1g"/], ['/x' x 500, qr/is too long/]],
    serial_verify_client_place    => [['land=$host', qr/invalid parameter "land=\$host": country=, lat=, lon= and accuracy= are expected, each once/],
        ['country=$host country=$host', qr/invalid parameter "country=\$host"/], ['country=', qr/invalid parameter "country="/],
        ['lat=1', qr/"lat=" and "lon=" go together/], ['', qr/invalid number of arguments/]],
    serial_verify_anonymous       => [['no', qr/invalid value "no" .* it must be "on" or "off"/]],
    serial_verify                 => [['pack2', qr/invalid endpoint "pack2": pack, scan, packs, status or metrics is expected/], ['', qr/invalid number of arguments/],
        ['pack scan', qr/invalid number of arguments/]],
);

my %good = (
    serial_verify_postgres             => ['"host=/run/postgresql dbname=sv user=u"', '"hostaddr=::1 dbname=sv user=u sslmode=disable port=5433"',
        '"postgresql://u@/sv?host=/run"', '"hostaddr=192.0.2.1 host=db.example dbname=sv user=u sslmode=verify-full password=x"'],
    serial_verify_postgres_connections => ['read=1', 'read=64 write=64 bulk=64', 'bulk=3 read=2'],
    serial_verify_redis                => ['off', '127.0.0.1:6379', '[::1]:6379', 'unix:/run/redis/redis.sock', "127.0.0.1:1 database=3 password_file=$home/secret"],
    serial_verify_redis_timeout        => [qw(1ms 25ms 249ms)],
    serial_verify_cache_ttl            => [qw(1s 1h 1d)],
    serial_verify_deadline             => [qw(31ms 250ms 60s)],
    serial_verify_bulk_deadline        => [qw(100ms 5s 5m)],
    serial_verify_bulk_requests        => [qw(1 32 1000)],
    serial_verify_zone                 => [qw(1m 1048576 256m)],
    serial_verify_refresh              => [qw(10ms 500ms)],
    serial_verify_stale_limit          => [qw(1s 300s 1d)],
    serial_verify_anonymous_floor      => [qw(0 30ms 249ms)],
    serial_verify_miss_budget          => ['off', '1', '10000 1d', '30 60s'],
    serial_verify_routing              => [qw(on off)],
    serial_verify_short_gtin           => [qw(on off)],
    serial_verify_identity             => [qw(off on)],
    serial_verify_api_secret           => ["$home/key", 'key', "$home/longest"],
    serial_verify_events               => ['on', 'off', 'on limit=1000'],
    serial_verify_gateway              => ['gate-1', 'x' x 64],
    serial_verify_spool                => ["$home/spool", "$home/spool size=32k", 'spool size=10g'],
    serial_verify_client_place         => ['country=$http_x_country', 'lat=$http_x_lat lon=$http_x_lon', 'accuracy=5 lon=1 lat=1 country=DE'],
    serial_verify_anonymous            => [qw(on off)],
    serial_verify                      => [qw(pack scan packs status metrics)],
);

$sv->write_file('config/secret', "SECRET-1\n");

my %secrets = (key => 's' x 32 . "\n", short => 's' x 31 . "\n", longest => 's' x 4096, long => 's' x 4097, open => 's' x 32, empty => "\nsecond line\n");
$sv->write_file("config/$_", $secrets{$_}) for keys %secrets;
chmod oct($_ eq 'open' ? '644' : '640'), "$home/$_" for keys %secrets;

my $secret = "serial_verify_api_secret $home/key;";

# What the module says there is: name, and where.
my $module = slurp('ngx_serial_verify_module.c');
my %context = $module =~ /ngx_string\("(serial_verify\w*)"\),\s*([A-Z_|\d]+),/g;

# Where the tests put a directive.
sub place {
    my ($name, $value) = @_;

    my $line = "$name $value;";

    return $name eq 'serial_verify' ? (location => $line) : $name eq 'serial_verify_identity' ? (location => $line, http => $secret) : $name eq 'serial_verify_postgres' ? (http => $line, postgres => '') : (http => $line);
}


subtest 'bad values' => sub {
    is_deeply([sort keys %values], [sort keys %context], 'every directive is tried');

    for my $name (sort keys %values) {
        for my $case (@{$values{$name}}) {
            my ($value, $message) = @{$case};
            my $line = $name =~ /^serial_verify(?:_identity)?$/ ? 18 : 6;
            my $output = refused({place($name, $value)}, $line, $message, "$name " . substr $value, 0, 50);
            unlike($output, qr/SECRET-1/, 'no password is told') if $value =~ /SECRET/ && $name eq 'serial_verify_postgres';
        }
    }
};


subtest 'good values' => sub {
    is_deeply([sort keys %good], [sort keys %context], 'every directive is tried');

    for my $name (sort keys %good) {
        for my $value (@{$good{$name}}) {
            my ($rc, $output) = check(place($name, $value));
            is($rc, 0, "$name $value") or diag($output);
            unlike($output, qr/\[(?:warn|error|crit|alert|emerg)\]|SECRET-1/, 'without a word');
        }
    }

    my $all = join "\n", map { "$_ $good{$_}[0];" } grep { !/^serial_verify(?:_postgres|_identity)?$/ } sort keys %good;
    my ($rc, $output) = check(http => $all);
    is($rc, 0, 'all together') or diag($output);
};


subtest 'duplicates' => sub {
    for my $name (sort keys %good) {
        my $value  = $good{$name}[0];
        my $twice  = "$name $value;\n$name $value;";
        my %in     = $name =~ /^serial_verify(?:_identity)?$/ ? (location => $twice) : $name eq 'serial_verify_postgres' ? (http => $twice, postgres => '')
            : (http => $twice);
        refused(\%in, $name =~ /^serial_verify(?:_identity)?$/ ? 19 : 7, qr/^"$name" directive is duplicate/, $name);
    }
};


subtest 'places' => sub {
    for my $name (sort keys %context) {
        my $value = $good{$name}[0];

        for my $place (['http', 'HTTP_MAIN'], ['server', 'HTTP_SRV'], ['location', 'HTTP_LOC']) {
            my ($block, $flag) = @{$place};
            my %in = ($block => "$name $value;", $block ne 'location' ? () : $name eq 'serial_verify' ? () : (location => "$name $value;\nserial_verify pack;"));
            $in{postgres} = '' if $name eq 'serial_verify_postgres';
            next if $name eq 'serial_verify_postgres' && $block ne 'http' && $context{$name} =~ /NGX_${flag}_CONF/;

            my ($rc, $output) = check(%in);

            if ($context{$name} =~ /NGX_${flag}_CONF/) {
                is($rc, 0, "$name in $block") or diag($output);

            } else {
                like($output, qr/"$name" directive is not allowed here in .*:\d+$/m, "$name not in $block");
            }
        }
    }
};


subtest 'what does not fit together' => sub {
    my $output = refused({postgres => ''}, undef, qr/"serial_verify" is used in a location, and "serial_verify_postgres" is missing/, 'no PostgreSQL');
    refused({http => 'serial_verify_redis_timeout 250ms;'}, qr/\d+/, qr/"serial_verify_redis_timeout" of 250 ms must be less than "serial_verify_deadline" of 250 ms/,
        'a cache slower than the deadline');
    refused({http => 'serial_verify_deadline 30ms;'}, qr/\d+/, qr/"serial_verify_anonymous_floor" of 30 ms must be less than "serial_verify_deadline" of 30 ms/,
        'a floor above the deadline');

    refused({location => 'serial_verify_identity on;'}, undef, qr/"serial_verify_identity" is used in a location, and "serial_verify_api_secret" is missing/,
        'no secret');
    refused({location => 'serial_verify_identity on;', http => $secret, postgres => ''}, undef,
        qr/"serial_verify_identity" is used in a location, and "serial_verify_postgres" is missing/, 'no PostgreSQL');

    my ($rc) = check(postgres => '', location => 'return 204;');
    is($rc, 0, 'a module that is loaded and not used needs nothing');
};


subtest 'the sample' => sub {
    my $sample = slurp('conf/nginx.conf');
    $sample =~ s{^load_module .*$}{"load_module " . $sv->module . ";"}me;
    my $file = $sv->write_file('config/sample.conf', $sample);
    mkdir "$home/$_" for qw(run logs);
    symlink 'key', "$home/api-secret";

    my $env = $sv->sanitizer_env('config', 1);
    my $output = do { local @ENV{keys %{$env}} = values %{$env}; `/usr/sbin/nginx -t -p $home/ -c $file 2>&1` };
    is($?, 0, 'is as it should be') or diag($output);
};


subtest 'docs/directives.md' => sub {
    my $text = slurp('docs/directives.md');
    my %documented;

    while ($text =~ /^### (serial_verify\w*)\n\n    Syntax:   (.*)\n    Default:  (.*)\n    Context:  (.*)\n\n(\S)/mg) {
        $documented{$1} = {syntax => $2, default => $3, context => $4};
    }

    is_deeply([sort keys %documented], [sort keys %context], 'every directive');

    for my $name (sort keys %documented) {
        my ($syntax, $default) = @{$documented{$name}}{qw(syntax default)};
        my $flags = $context{$name};
        my @where = map { $_->[1] } grep { $flags =~ /NGX_$_->[0]_CONF/ } ['HTTP_MAIN', 'http'], ['HTTP_SRV', 'server'], ['HTTP_LOC', 'location'];

        like($syntax, qr/^$name .*;$/, "$name: syntax");
        is($documented{$name}{context}, join(', ', @where), "$name: where");
        like($text, qr/\[$name\]\(#$name\)/, "$name: in the contents");

        next if $default =~ /^none/;
        like($default, qr/^$name (.*);$/, "$name: default");
        my ($rc, $output) = check(place($default =~ /^(\w+) (.*);$/));
        is($rc, 0, "$name: its default is accepted") or diag($output);
    }

    # a default is what is used when nothing is said
    my $conf    = slurp('src/http/ngx_sv_conf.c');
    my %default = map { $_ => (grep { /\S/ } $documented{$_}{default} =~ /^\S+ (.*);/)[0] // '' } keys %documented;
    my %unit    = (ms => 1, s => 1000, m => 60_000, h => 3_600_000);

    while ($conf =~ /ngx_conf_init_msec_value\(smcf->(\w+), (\d+)\)/g) {
        my ($name, $ms) = ($1, $2);
        my ($n, $unit)  = $default{"serial_verify_$name"} =~ /^(\d+)(ms|s|m|h)$/;
        is($n * $unit{$unit}, $ms, "serial_verify_$name: the default");
    }

    while ($conf =~ /ngx_conf_merge_value\(conf->(\w+), prev->\w+, (\d)\)/g) {
        is($default{"serial_verify_$1"}, $2 ? 'on' : 'off', "serial_verify_$1: the default");
    }

    my @variables  = slurp('src/http/ngx_sv_variables.c') =~ /ngx_string\("(serial_verify_\w+)"\)/g;
    my @documented = $text =~ /^\| `\$(serial_verify_\w+)` \| \S/mg;
    is_deeply([sort @documented], [sort @variables], 'every variable');
};

$sv->done_testing;
