#!/usr/bin/env perl

# What README.md and docs/ print works as printed: commands, the configuration,
# the curl examples, links, defaults.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Basename qw(dirname);
use Test::More;

use Test::SerialVerify;

my $root = Test::SerialVerify::root();

sub text_of { return Test::SerialVerify::slurp("$root/$_[0]") }

my $readme = text_of('README.md');
my @pages  = ('README.md', map { s{^\Q$root/\E}{}r } glob "$root/docs/*.md");

# section(TEXT, TITLE): what stands below a heading, to the next one
sub section {
    my ($text, $title) = @_;

    my ($section) = $text =~ /^##+ \Q$title\E\n(.*?)(?=^##|\z)/ms or die "there is no section \"$title\"";

    return $section;
}


# the first block of lines indented by four
sub block {
    my ($section) = @_;

    my ($block) = $section =~ /^((?:    .*\n|\n(?=    ))+)/m or die 'there is no block';
    $block =~ s/^    //mg;

    return $block;
}


subtest 'commands' => sub {
    my @two = block(section($readme, 'Two commands')) =~ m{^(\./dev \w+)}mg;

    is(scalar @two, 2, 'two commands are two');

    my %named = map { $_ => 1 } @two;
    $named{$_} = 1 for map { text_of($_) =~ m{(\./dev [a-z]+)\b}g } @pages;

    for my $command (sort keys %named) {
        my $help = qx(cd '$root' && $command --help 2>&1);

        is($?, 0, "$command --help");
        like($help, qr/^Usage: /, "$command says how it is used");
    }
};


subtest 'links' => sub {
    my %anchors;

    for my $page (@pages) {
        my $text = text_of($page);

        for my $link ($text =~ /\]\(([^)\s]+)\)/g) {
            next if $link =~ m{^https?://};

            my ($file, $anchor) = $link =~ /^([^#]*)(?:#(.*))?$/;
            my $path = $file eq '' ? "$root/$page" : dirname("$root/$page") . "/$file";

            ok(-e $path, "$page: $link") or next;
            next if !defined $anchor;

            # as GitHub makes them of headings
            $anchors{$path} //= {map { my $name = lc; $name =~ s/[^\w -]//g; $name =~ tr/ /-/; ($name => 1) }
                Test::SerialVerify::slurp($path) =~ /^#+ (.*)$/mg};
            ok($anchors{$path}{$anchor}, "$page: $link names a heading");
        }
    }
};


subtest 'defaults' => sub {
    my $conf       = text_of('src/http/ngx_sv_conf.c');
    my $directives = text_of('docs/directives.md');
    my $operations = text_of('docs/operations.md');
    my %unit       = (ms => 1, s => 1000, m => 60_000, h => 3_600_000);
    my %default    = $conf =~ /ngx_conf_init_(?:msec_|size_|uint_)?value\(smcf->(\w+), ([\d *]+)\);/g;

    s/^(\d+) \* (\d+) \* (\d+)$/$1 * $2 * $3/e for values %default;

    my $ms = sub { my ($n, $unit) = $_[0] =~ /^(\d+)(ms|s|m|h)$/; return $n * $unit{$unit} };

    for my $name (qw(redis_timeout cache_ttl deadline bulk_deadline refresh stale_limit anonymous_floor)) {
        my ($told) = $directives =~ /Default:  serial_verify_$name (\w+);/;

        is($ms->($told), $default{$name}, "docs/directives.md: serial_verify_$name $told");
    }

    my ($zone) = $directives =~ /Default:  serial_verify_zone (\d+)m;/;
    is($zone * 1024 * 1024, $default{zone_size}, 'docs/directives.md: serial_verify_zone');

    my ($lists) = $directives =~ /Default:  serial_verify_bulk_requests (\d+);/;
    is($lists, $default{bulk_requests}, 'docs/directives.md: serial_verify_bulk_requests');

    my ($budget, $period) = $directives =~ /Default:  serial_verify_miss_budget (\d+) (\d+)s;/;
    is("$budget $period", "$default{miss_budget} $default{miss_period}", 'docs/directives.md: serial_verify_miss_budget');

    my %connections = $directives =~ /Default:  serial_verify_postgres_connections (\w+)=(\d+) (\w+)=(\d+) (\w+)=(\d+);/;
    my %pool = $conf =~ /connections\[NGX_SV_POOL_(\w+)\], (\d+)\)/g;
    is_deeply(\%connections, {map { lc $_ => $pool{$_} } keys %pool}, 'docs/directives.md: serial_verify_postgres_connections');

    # the table of limits
    my %row = map { /^\| (.*?) \| (.*?) \| (.*?) \|$/ ? ($3 => $2) : () } split /\n/, section($operations, 'Limits of requests');
    my ($deadline, $bulk) = $row{'`serial_verify_deadline`, `serial_verify_bulk_deadline`'} =~ /^(\d+ ms); lists (\d+ s)$/;

    is($ms->($deadline =~ s/ //r), $default{deadline}, "docs/operations.md: the deadline is $deadline");
    is($ms->($bulk =~ s/ //r), $default{bulk_deadline}, "docs/operations.md: of a list $bulk");
    like($operations, qr/The deadline is $default{deadline} ms\./, 'docs/operations.md: the deadline, in the text');
    is($row{'`serial_verify_bulk_requests`'}, $default{bulk_requests}, 'docs/operations.md: lists under way');
    is($row{'`serial_verify_miss_budget`'}, "$default{miss_budget} a minute", 'docs/operations.md: anonymous misses');
    is($default{miss_period}, 60, 'which is a minute');
    my ($lines) = text_of('src/http/ngx_sv_bulk.c') =~ /^#define NGX_SV_BULK_MAX\s+(\d+)/m;
    like($operations, qr{^\| lines of `POST /packs` \| $lines \|}m, 'docs/operations.md: lines of a list');
};


subtest 'maps' => sub {
    my $tables = text_of('docs/architecture.md');
    my %table  = map { $_ => 1 } map { text_of(s{^\Q$root/\E}{}r) =~ /^create table (sv\.[a-z_]+)/mg } glob "$root/sql/*.sql";

    delete @table{qw(sv.audit_default sv.finding_default sv.scan_default)};
    delete @table{map { text_of(s{^\Q$root/\E}{}r) =~ /^drop table (sv\.[a-z_]+)/mg } glob "$root/sql/*.sql"};
    like($tables, qr/`\Q$_\E`/, "docs/architecture.md: $_") for sort keys %table;

    my ($map) = text_of('src/worker/svw.h') =~ m{^(/\*.*?\*/)}ms;
    my @files = map { m{([^/]+)\.c$} } glob "$root/src/worker/*.c";
    my %named = map { $_ => 1 } $map =~ /\b(svw_\w+)/g;

    $named{"svw_api_container$_"} = 1 for map { split /, / } $map =~ /svw_api_container \(([_\w, ]+)\)/;
    ok($named{$_}, "src/worker/svw.h: $_") for grep { $_ ne 'svw' } @files;
};


my $sv   = Test::SerialVerify->new;
my $port = $sv->port;
my $home = $sv->directory('readme');

$sv->start_postgres;
$sv->start_redis;

# The paths, the port and what an unprivileged test needs are replaced; every other line is the README's.
subtest 'the configuration' => sub {
    my $config = block(section($readme, 'A working configuration'));
    my $temp   = join '', map { "    ${_}_temp_path $home/$_;\n" } qw(client_body proxy fastcgi uwsgi scgi);
    my $given  = $sv->module;
    my @places = (
        [qr/(?<=load_module )\S+(?=;)/,               $given],
        [qr/(?<=host=)\S+(?= dbname=serial_verify )/, $sv->pg_socket],
        [qr/(?<=dbname=)serial_verify(?= )/,          'sv'],
        [qr/(?<=serial_verify_redis ) *\S+(?=;)/,     'unix:' . $sv->redis_socket],
        [qr/(?<=listen 127\.0\.0\.1:)8080(?=;)/,      $port],
        [qr/(?<=http \{\n)/,                          "    access_log off;\n    serial_verify_deadline 8s;\n$temp"],
        [qr/\A/,                                      "daemon off;\npid $home/pid;\nerror_log $home/error.log notice;\n"],
    );

    for my $place (@places) {
        my ($what, $with) = @{$place};
        is($config =~ s/$what/$with/, 1, "replaced: $what");
    }

    # in a directory of its own: what it makes there belongs to who checks
    my $check = $sv->directory('check');
    my $file  = $sv->write_file('check/nginx.conf', $config =~ s/\Q$home\E/$check/gr);
    my %env   = %{$sv->sanitizer_env('check', 1)};
    my $env   = join ' ', map { "$_='$env{$_}'" } sort keys %env;
    my $said  = qx(env $env /usr/sbin/nginx -t -e stderr -p '$check/' -c '$file' 2>&1);

    is($?, 0, 'nginx -t') or diag($said);
    unlike($said, qr/\[(?:warn|emerg)\]/, 'without a warning');

    $sv->{port}{readme} = $port;
    $sv->start_nginx(name => 'readme', config => $config);
};


# examples(TITLE, COUNT, VARIABLES): the answer of each is the one shown, where "..." is anything
sub examples {
    my ($title, $count, %variable) = @_;

    my $text = section($readme, $title);
    my @examples = $text =~ /^    \$ (curl (?:.*\\\n)*.*)\n((?:    (?!\$ ).*\n)+)/mg;
    my $env = join '', map { "$_='$variable{$_}'; " } sort keys %variable;

    is(scalar @examples, 2 * $count, 'commands with their answers');

    while (my ($command, $answer) = splice @examples, 0, 2) {
        $command =~ s/127\.0\.0\.1:8080/127.0.0.1:$port/ or die "no address in $command";
        $command =~ s{\@tools/}{\@$root/tools/};
        $command =~ s/^curl/curl -s/;
        $answer =~ s/\n\s*//g;
        $answer =~ s/^\s+//;
        my $pattern = join '.*', map { quotemeta } split /\.\.\./, $answer, -1;
        my ($got, $code);

        # a job takes its time, and so does a recall; what is asked for changes nothing
        my $again = sub {
            $got = qx(cd '$home'; ${env}$command);
            $code = $?;
            $got =~ s{\n\z}{};

            return $got =~ /\A$pattern\z/s;
        };

        if ($command =~ / -d /) {
            $again->();
        } else {
            eval { Test::SerialVerify::wait_for { $again->() } $command };
        }

        is($code, 0, 'curl');
        like($got, qr/\A$pattern\z/s, $command);
    }

    return;
}


subtest 'a pack at the counter' => sub {
    $sv->product('09506000134352', company => 'acme');
    $sv->pack_row('09506000134352', 'A1', lot => 'L1', expiry => '2030-12-31');
    my $key = $sv->pharmacy('IT');

    Test::SerialVerify::wait_for { $sv->get('/01/09506000134352', key => $key, nginx => 'readme')->{status} == 422 } 'the key';
    examples('A pack at the counter', 2, KEY => $key);
};


# commands(TITLE, INTRODUCTION, COUNT): each works as it stands
sub commands {
    my ($title, $introduction, $count) = @_;

    my ($commands) = section($readme, $title) =~ /\Q$introduction\E\n\n((?:    .*\n)+)/;
    my @commands = $commands =~ /^    serial-verify-worker (.*?)(?: {2,}#.*)?$/mg;
    my $program  = $sv->program('serial-verify-worker');
    my $conf     = $sv->base . '/worker.conf';

    is(scalar @commands, $count, 'commands');

    for my $command (@commands) {
        my $said = qx(cd '$home' && '$program' -c '$conf' $command 2>&1);

        is($?, 0, $command) or diag($said);
        $sv->worker_conf($sv->api_settings, audit_key => "$home/audit.key") if $command =~ /^audit key/;
    }

    return;
}


# The same with what conf/nginx.conf adds for the role api, and the commands.
subtest 'from the line to a recall' => sub {
    my %key = (KEY => $sv->pharmacy('IT'), map { $_->[0] => $sv->actor($_->[1], company => $_->[2])->{key} }
        ['MAKER', 'manufacturer', 'acme'], ['TRADE', 'wholesaler', 'trade']);

    $sv->stop('readme');
    delete $sv->{port}{readme};
    $sv->{port}{nginx} = $port;
    $sv->start_nginx(api => 1);
    $sv->start_worker($sv->api_settings, roles => 'ingest, relay, housekeeping, consume, api', audit_key => undef);
    Test::SerialVerify::wait_for { $sv->api_listens } 'the role api';
    Test::SerialVerify::wait_for { $sv->get('/01/09506000134352', key => $key{TRADE})->{status} == 422 } 'the keys';

    examples('From the line to a recall', 9, %key);

    commands('From the line to a recall', 'What a person does with the worker:', 8);
    like(Test::SerialVerify::slurp("$home/l7.csv"), qr/^(?:.*\n){101}\z/, 'a hundred numbers');
};


subtest 'a copy' => sub {
    my %key = (OTHER => $sv->pharmacy('FR'), DESK => $sv->actor('reviewer')->{key});

    Test::SerialVerify::wait_for { $sv->get('/01/09506000134352', key => $key{OTHER})->{status} == 422 && $sv->get('/alerts', key => $key{DESK})->{status} == 200 } 'the keys';
    examples('A copy, and who hears of it', 2, %key);
    commands('A copy, and who hears of it', 'A rule is changed like this:', 4);
};

$sv->done_testing;
