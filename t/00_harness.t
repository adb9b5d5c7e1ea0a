# The tools themselves: ./dev, the rules of lint, the private servers of tests.

use strict;
use warnings;

use File::Path qw(make_path);
use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use Test::SerialVerify;

my $root = Test::SerialVerify::root();

sub output_of {
    my (@command) = @_;

    my $pid = open(my $fh, '-|') // die "fork: $!";

    if ($pid == 0) {
        open(STDIN, '<', '/dev/null');
        open(STDERR, '>&', \*STDOUT);
        exec @command;
    }

    local $/;
    my $output = <$fh>;
    close $fh;

    return ($? >> 8, $output // '');
}


subtest './dev explains itself' => sub {
    my ($rc, $output) = output_of("$root/dev");
    is($rc, 0, 'without a command');
    like($output, qr/^Usage: /, 'usage');

    for my $command (qw(demo test up down status build lint fuzz bench clean)) {
        like($output, qr/^  (?:.*\| )?$command\b/m, "$command is listed");
        my ($code, $text) = output_of("$root/dev", $command, '--help');
        is($code, 0, "$command --help");
        like($text, qr{^Usage: \./dev $command\b}, "$command: usage");
        unlike($text, qr/\e/, "$command: no colours without a terminal");
    }

    ($rc, $output) = output_of("$root/dev", 'dance');
    is($rc, 1, 'an unknown command');
    like($output, qr/there is no command "dance"/, 'is named');

    ($rc, $output) = output_of("$root/dev", 'build', '--fast');
    is($rc, 1, 'an unknown option');
    like($output, qr/unknown option "--fast"/, 'is named');
};


# findings({FILE => TEXT}, CHECK): what lint says
sub findings {
    my ($files, $check) = @_;

    my $directory = tempdir(CLEANUP => 1);

    for my $file (keys %{$files}) {
        my ($parent) = "$directory/$file" =~ m{^(.*)/};
        make_path($parent);
        open(my $fh, '>', "$directory/$file") or die "$file: $!";
        print {$fh} $files->{$file};
        close $fh;
    }

    open(my $list, '>', "$directory/list") or die "list: $!";
    print {$list} map { "$_\n" } sort keys %{$files};
    close $list;

    my ($rc, $output) = output_of('sh', '-c', "perl $root/tools/lint/rules $check --root $directory < $directory/list");
    is($rc, $output eq '' ? 0 : 1, 'exit code');

    return $output;
}


subtest 'lint: layers' => sub {
    my @bad = (
        ['src/gs1/a.c',    '"../model/sv_record.h"', 'gs1 below model'],
        ['src/model/a.h',  '"../store/sv_pg.h"',     'model below store'],
        ['src/io/a.h',     '"../store/sv_pg.h"',     'io below store'],
        ['src/store/a.c',  '"../serial/sv_verify.h"', 'store knows no serials'],
        ['src/serial/a.c', '"src/http/ngx_sv.h"',    'serial knows no HTTP'],
        ['src/worker/a.c', '"../http/ngx_sv.h"',     'the worker has no nginx'],
        ['src/serial/a.c', '<ngx_core.h>',           'no nginx below http'],
        ['src/gs1/a.c',    '<libpq-fe.h>',           'gs1 is pure'],
        ['src/model/a.c',  '<hiredis/hiredis.h>',    'model is pure'],
    );

    for my $bad (@bad) {
        my ($file, $include, $name) = @{$bad};
        like(findings({$file => "#include <stdio.h>\n#include $include\n"}, 'layers'),
            qr/^\Q$file\E:2: .* may not include /, $name);
    }

    like(findings({'src/magic/a.c' => ''}, 'layers'), qr/not a layer/, 'an unknown layer');

    is(findings({
        'src/http/a.c'   => qq(#include <ngx_http.h>\n#include "../serial/sv_verify.h"\n),
        'src/store/a.c'  => qq(#include <libpq-fe.h>\n#include "sv_pg.h"\n#include "../io/sv_loop.h"\n),
        'src/worker/a.c' => qq(#include <libpq-fe.h>\n#include "../serial/sv_sql.h"\n),
        'tools/a.c'      => qq(#include "../src/http/ngx_sv.h"\n),
    }, 'layers'), '', 'what is allowed');
};


subtest 'lint: SQL' => sub {
    my $table = "create table sv.thing (\n  gtin  bigint not null,\n  serial  text not null,\n  primary key (%s)\n);\n";
    my @bad   = (
        ['create trigger t before update on sv.pack execute function sv.f();',  qr/no triggers/],
        ['select pg_advisory_xact_lock(1);',                                    qr/no advisory locks/],
        ['notify recall;',                                                      qr/no LISTEN or NOTIFY/],
        ["select pg_notify('a', 'b');",                                         qr/no LISTEN or NOTIFY/],
        ['SELECT 1;',                                                           qr/lower-case: SELECT/],
        ["create function f() returns int\nlanguage sql\nreturn 1;",            qr/function f is not schema-qualified/],
        ["create table thing (\n  a  integer primary key\n);",                  qr/table thing is not schema-qualified/],
        ["create function sv.f() returns int\nlanguage sql security definer\nreturn 1;", qr/without a search_path/],
        ["create table sv.a (\n  id  bigserial primary key\n);",                qr/no serial columns/],
        [sprintf($table, 'serial, gtin'),                                       qr/gtin does not lead the primary key of sv\.thing/],
    );

    for my $bad (@bad) {
        my ($text, $finding) = @{$bad};
        (my $name = $text) =~ s/\n.*//s;
        like(findings({'sql/009_bad.sql' => "$text\n"}, 'sql'), $finding, $name);
    }

    is(findings({'sql/009_good.sql' => sprintf($table, 'gtin, serial')
        . "-- a TRIGGER in a comment, SELECT too\ncomment on table sv.thing is 'NOT a trigger';\n"}, 'sql'), '', 'what is allowed');
};


subtest 'lint: C' => sub {
    my $function = "static int\nsv_f(int a)\n{\n%s\n}\n";
    my %bad = (
        'strcpy(a, b);'                  => ['c', qr/strcpy\(\) has no bounds/],
        'PQexec(pg, "select 1");'        => ['c', qr/PQexec\(\) may block/],
        'a = 1; // why'                  => ['c', qr{comments are /\* \*/}],
        'if (a) return 1;'               => ['style', qr/braces/],
        'if(a) {'                        => ['style', qr/a space between keyword/],
        'f((char *)a);'                  => ['style', qr/a space after a cast/],
        "int  a;\n    char  *b;"         => ['style', qr/not in one column/],
    );

    for my $line (sort keys %bad) {
        my ($check, $finding) = @{$bad{$line}};
        like(findings({'src/store/a.c' => sprintf($function, "    $line")}, $check), $finding, $line);
    }

    like(findings({'src/store/a.c' => "int sv_f(int a) {\n}\n"}, 'style'), qr/a line of its own/, 'return type');
    like(findings({'src/store/a.c' => "int\nf(void)\n{\n}\n\nint\ng(void)\n{\n}\n"}, 'style'), qr/two empty lines/, 'gap');

    my $good = sprintf($function, "    int           n;\n    const char   *p, *end;\n    sv_thing_t  **list;\n\n"
        . "    if (a\n        && n)\n    {\n        n = (int) strlen(\"strcpy(a, b)\");\n    }\n\n    return n;");
    is(findings({'src/store/a.c' => "/* PQexec() blocks */\n$good\n\n$good"}, $_), '', "$_: what is allowed") for qw(c style);

    like(findings({'src/a.c' => 'TO' . "DO later\n"}, 'words'), qr/unfinished/, 'unfinished work');
    like(findings({'src/a.c' => '"/ho' . "me/me/x\"\n"}, 'words'), qr/one machine/, 'a path of one machine');
};


subtest 'installing leaves the machine as it was' => sub {
    my $machine = tempdir(CLEANUP => 1);
    my $policy  = "$machine/usr/sbin/policy-rc.d";
    my $cluster = "$machine/etc/postgresql-common/createcluster.d/zz-serial-verify.conf";

    make_path("$machine/$_") for qw(usr/sbin run/lock bin);

    my $apt = sub {
        my ($script, @packages) = @_;
        open(my $fh, '>', "$machine/bin/apt-get") or die "apt-get: $!";
        print {$fh} "#!/bin/sh\necho apt-get \"\$@\"\n$script\n";
        close $fh;
        chmod oct('755'), "$machine/bin/apt-get";
        local @ENV{qw(PATH SV_APT_ROOT)} = ("$machine/bin:$ENV{PATH}", $machine);
        return output_of('bash', "$root/tools/dev/apt-quiet", @packages);
    };

    my ($rc, $output) = $apt->("$policy; echo policy \$?; cat $cluster", qw(nginx jq));
    is($rc, 0, 'installed');
    like($output, qr/install .*-- nginx jq$/m, 'what was asked for');
    like($output, qr/^policy 101$/m, 'no service may start meanwhile');
    like($output, qr/^create_main_cluster = false$/m, 'no cluster is made meanwhile');
    ok(!-e $policy && !-e "$machine/etc", 'nothing is left');

    open(my $fh, '>', $policy) or die "policy: $!";
    print {$fh} "theirs\n";
    close $fh;
    chmod oct('700'), $policy;

    ($rc) = $apt->("[ \$2 = update ] || exit 7", 'nginx');
    is($rc, 7, 'an error of apt-get');
    is(Test::SerialVerify::slurp($policy), "theirs\n", 'a policy that was there is put back');
    is((stat $policy)[2] & oct('777'), oct('700'), 'with its mode');

    # somebody else holds the lists
    local $ENV{SV_APT_PAUSE} = '0.1';
    ($rc, $output) = $apt->("[ \$2 = install ] || { echo x >> $machine/tried; [ \$(wc -l < $machine/tried) -ge 3 ] || exit 100; }", 'nginx');
    is($rc, 0, 'lists that cannot be had at first');
    is(-s "$machine/tried", 6, '.. are tried again');
    ($rc) = $apt->("[ \$2 = install ] || exit 100", 'nginx');
    is($rc, 100, '.. not for ever');
    is(Test::SerialVerify::slurp($policy), "theirs\n", 'the policy is there after that, too');

    ($rc) = $apt->("kill -TERM \$PPID; exit 0", 'nginx');
    is($rc, 143, 'a signal');
    is(Test::SerialVerify::slurp($policy), "theirs\n", 'put back then too');
    ok(!-e $cluster, 'and the cluster setting removed');
};


subtest 'sample configurations are localized' => sub {
    my $sample = tempdir(CLEANUP => 1) . '/sample';

    my $localize = sub {
        my ($text, @arguments) = @_;
        open(my $fh, '>', $sample) or die "sample: $!";
        print {$fh} $text;
        close $fh;
        my (undef, $output) = output_of('sh', '-c', 'file=$1; shift; exec perl "$@" < "$file"', 'sh', $sample,
            "$root/tools/dev/localize", @arguments);
        return $output;
    };

    is($localize->("# a\npostgres = x\nredis = a\nredis = b\nlog = /l\n", 'worker', 'postgres=y z', 'redis=c', 'inbox=/i', 'log='),
        "# a\npostgres = y z\nredis = c\ninbox = /i\n", 'worker');
    is($localize->("#api_listen = x\n#redis_user = y\n", 'worker', 'api_listen=unix:/s'), "api_listen = unix:/s\n#redis_user = y\n",
        'worker: what was a comment');

    my $nginx = $localize->("user www;\npid /run/x;\nhttp {\n    serial_verify_redis a;\n    access_log /l main;\n"
        . "    serial_verify_api_secret s;\n    upstream u {\n        server unix:/x;\n    }\n"
        . "    server {\n        listen 443 ssl;\n        listen 80;\n    }\n}\n", 'nginx',
        qw(pid=/p listen=127.0.0.1:81 redis=unix:/r access_log=/a state=/s daemon=off api=/r/api.sock api_secret=/r/secret));
    unlike($nginx, qr/user|443|listen 80/, 'nginx: taken out');
    like($nginx, qr{^pid /p;$}m, 'nginx: pid');
    like($nginx, qr{^        listen 127\.0\.0\.1:81;$}m, 'nginx: listen');
    like($nginx, qr{^    serial_verify_redis unix:/r;$}m, 'nginx: Redis');
    like($nginx, qr{^        server unix:/r/api\.sock;$}m, 'nginx: the api');
    like($nginx, qr{^    serial_verify_api_secret /r/secret;$}m, 'nginx: its secret');
    like($nginx, qr{^    access_log /a main;$}m, 'nginx: the format of the log stays');
    like($nginx, qr{^    client_body_temp_path /s/client_body;$}m, 'nginx: temporary files');
};


my $sv = Test::SerialVerify->new;

subtest 'HTTP' => sub {
    my $parse = \&Test::SerialVerify::HTTP::parse;
    my $text  = "HTTP/1.1 200 OK\r\nContent-Type: application/problem+json\r\nTransfer-Encoding: chunked\r\n\r\n"
        . "3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\nX: 1\r\n\r\n";

    for my $length (0 .. length($text) - 1) {
        my ($early) = $parse->(substr $text, 0, $length);
        next if !$early;
        is($early->{status}, 200, 'no answer before its end') if $early->{status} != 200;
        last;
    }

    my ($first, $rest) = $parse->($text);
    is_deeply($first->{json}, {a => 1}, 'chunks');
    my ($second, $nothing) = $parse->($rest);
    is($second->{status}, 204, 'the next one');
    is($nothing, '', 'and nothing more');
    is(scalar($parse->("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc")), undef, 'incomplete');

    is(Test::SerialVerify::HTTP::build('POST', '/scan', key => 'k', idempotency => 'i', body => {b => 1, a => 2}),
        "POST /scan HTTP/1.1\r\nAuthorization: Bearer k\r\nContent-Length: 13\r\nContent-Type: application/json\r\n"
        . "Host: id.example.com\r\nIdempotency-Key: i\r\n\r\n{\"a\":2,\"b\":1}", 'a request');
};


subtest 'servers' => sub {
    $sv->start_postgres;
    is($sv->sql('select current_setting(?)', 'fsync'), 'off', 'PostgreSQL answers');
    is($sv->sql('select count(*) from sv.pack'), 0, 'with the schema');
    is($sv->dbh('sv_gateway')->selectrow_array('select current_user'), 'sv_gateway', 'the gateway may log in');

    $sv->start_redis;
    is($sv->redis->ping, 'PONG', 'Redis answers');

    my $process = $sv->server('redis');
    $sv->pause('redis');
    my $state = sub { (Test::SerialVerify::slurp('/proc/' . $process->pid . '/stat') =~ /\) (\S)/)[0] };
    Test::SerialVerify::wait_for { $state->() eq 'T' } 'stopped';
    pass('paused');
    $sv->resume('redis');
    is($sv->redis->ping, 'PONG', 'and resumed');

    isnt((stat '/proc/' . $process->pid)[4], 0, 'no server runs as root');

    $sv->redis->set(a => 1);
    $sv->kill9('redis');
    ok(!$process->running, 'killed');
    $sv->start_redis;
    is($sv->redis->get('a'), undef, 'started again, empty');

    my $gtin = $sv->product(9506000134352);
    my $actor = $sv->actor('pharmacy', country => 'IT');
    $sv->pack_row($gtin, 'A/1', lot => 'L');
    like($actor->{key}, qr/^key-[0-9a-f]{32}$/, 'a key');
    is($sv->link_to($gtin, 'A/1', lot => 'L'), '/01/09506000134352/10/L/21/A%2F1?17=301231', 'a link');
    is(Test::SerialVerify::Seed::gln(1), '9506000100012', 'a GLN');

    isnt($sv->port, $sv->port, 'ports differ');
    ok(!eval { Test::SerialVerify::wait_for { 0 } 'nothing', 0.05; 1 }, 'waiting ends');
    like($@, qr/waited in vain for nothing/, 'with its name');
};


subtest 'what a log says is not overlooked' => sub {
    my $other = bless {base => tempdir(CLEANUP => 1), user => scalar(getpwuid $>), allowed => [], server => {}}, 'Test::SerialVerify';

    make_path("$other->{base}/nginx");
    $other->write_file('nginx/error.log', "x [notice] fine\nx [alert] open socket left\nx [crit] no space\n");
    is(scalar($other->complaints), 2, 'alert and crit');
    $other->allow_log(qr/no space/);
    is_deeply([$other->complaints], ['nginx: x [alert] open socket left'], 'unless allowed');
    $other->write_file('sanitizer.nginx.17', "ERROR: AddressSanitizer: heap-use-after-free\n");
    like(join('', $other->complaints), qr/heap-use-after-free/, 'a report of a sanitizer');
};


subtest 'sanitizers report to where the harness looks' => sub {
    my $other = bless {base => tempdir(CLEANUP => 1), allowed => [], server => {}, asan => 1,
        user => $sv->{user}}, 'Test::SerialVerify';
    my $source = $other->write_file('bad.c', "#include <limits.h>\n#include <stdlib.h>\n"
        . "int main(int argc, char **argv) { volatile int n = INT_MAX; char *p = malloc(1); n += argc; free(p); return argv[0][0] + *p; }\n");

    my ($rc, $output) = output_of('gcc', '-g', '-fsanitize=address,undefined', '-o', "$other->{base}/faulty", $source);
    is($rc, 0, 'compiled') or diag($output);
    $other->give("$other->{base}/faulty");

    $other->give($other->{base});
    my $server = $other->start_server('bad', env => $other->sanitizer_env('bad'), command => ["$other->{base}/faulty"]);
    Test::SerialVerify::wait_for { !$server->running } 'its end';

    my $complaints = join '', $other->complaints;
    like($complaints, qr/signed integer overflow/, 'undefined behaviour');
    like($complaints, qr/heap-use-after-free/, 'memory errors');
};

$sv->done_testing;
