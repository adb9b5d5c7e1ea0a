package Test::SerialVerify;

# A PostgreSQL, a Redis, gateways and workers of a test's own, in a directory of
# its own.  Whatever a test checks, done_testing() also checks that no server
# logged an alert and no sanitizer reported anything.
#
#   my $sv = Test::SerialVerify->new;
#   $sv->start_postgres;
#   $sv->start_redis;
#   $sv->start_nginx;
#   $sv->product(9506000134352);
#   my $answer = $sv->get('/01/09506000134352/21/A1', key => $sv->pharmacy('IT'));
#   is($answer->{status}, 404, 'unknown');
#   $sv->done_testing;

use strict;
use warnings;

use Carp qw(croak);
use Cwd qw(abs_path);
use Digest::SHA qw(hmac_sha256_hex sha256_hex);
use Fcntl qw(:flock);
use File::Basename qw(dirname);
use File::Copy ();
use File::Path qw(make_path remove_tree);
use File::Temp ();
use IO::Socket::INET;
use IO::Socket::UNIX;
use MIME::Base64 ();
use POSIX ();
use Test::More ();
use Time::HiRes qw(time sleep);

use Test::SerialVerify::Fault;
use Test::SerialVerify::HTTP;
use Test::SerialVerify::Process;
use Test::SerialVerify::Report;
use Test::SerialVerify::Seed;

our @ISA = ('Test::SerialVerify::Seed', 'Test::SerialVerify::Fault');

my $root = abs_path(dirname(__FILE__) . '/../../..');
my @open;


# timeout  seconds that the whole test may take
# day      seconds that it takes, when it must not see midnight (UTC): then it begins behind it
sub new {
    my ($class, %option) = @_;

    sleep 1 while 86_400 - time % 86_400 < ($option{day} // 0);

    my $base = File::Temp::tempdir('sv-t-XXXXXX', TMPDIR => 1, CLEANUP => 0);
    my $self = bless {
        base    => $base,
        build   => absolute($ENV{SV_BUILD} // 'build'),
        user    => $> == 0 ? ($ENV{SV_USER} // 'nobody') : scalar(getpwuid $>),
        owner   => $$,
        server  => {},
        allowed => [],
        ports   => [],
    }, $class;

    $self->{asan} = contains("$self->{build}/ngx_serial_verify_module.so", '__asan_init')
        || contains("$self->{build}/serial-verify-worker", '__asan_init');

    $self->give($base);
    push @open, $self;

    Test::SerialVerify::Report::watch(sub { glob "$base/*/error.log" });
    Test::SerialVerify::Report::limit_time($option{timeout} // ($ENV{SV_TEST_ALL} ? 3600 : 1200), sub { $self->abandon });

    return $self;
}


sub root  { return $root }
sub base  { return $_[0]{base} }
sub build { return $_[0]{build} }
sub asan  { return $_[0]{asan} }


sub absolute {
    my ($path) = @_;

    return $path =~ m{^/} ? $path : "$root/$path";
}


sub contains {
    my ($file, $string) = @_;

    open(my $fh, '<:raw', $file) or return 0;
    local $/;

    return index(<$fh>, $string) >= 0;
}


sub slurp {
    my ($file) = @_;

    open(my $fh, '<:raw', $file) or return '';
    local $/;

    return scalar <$fh> // '';
}


# A file below the base directory, owned by the servers' user.
sub write_file {
    my ($self, $name, $content) = @_;

    my $path = $name =~ m{^/} ? $name : "$self->{base}/$name";

    make_path(dirname($path));
    open(my $fh, '>:raw', "$path.new") or croak "$path: $!";
    print {$fh} $content;
    close $fh or croak "$path: $!";
    $self->give("$path.new");
    rename "$path.new", $path or croak "$path: $!";
    $self->give(dirname($path));

    return $path;
}


sub give {
    my ($self, @paths) = @_;

    return if $> != 0;

    my ($uid, $gid) = (getpwnam $self->{user})[2, 3];
    chown $uid, $gid, @paths;

    return;
}


sub directory {
    my ($self, $name) = @_;

    my $path = "$self->{base}/$name";
    mkdir $path;
    $self->give($path);

    return $path;
}


# wait_for { CONDITION } 'what', SECONDS: the condition's value; dies when it does not come true
sub wait_for(&;$$) {    ## no critic (ProhibitSubroutinePrototypes)
    my ($condition, $what, $timeout) = @_;

    my $end = time + ($timeout // 60);

    while (1) {
        my $value = $condition->();
        return $value if $value;
        croak 'waited in vain for ' . ($what // 'a condition') if time > $end;
        sleep 0.01;
    }

    return;
}


# A port of 127.0.0.1, below those the kernel gives to clients, kept from other
# tests by a lock until this one ends.
sub port {
    my ($self) = @_;

    my $locks = '/tmp/sv-test-ports';
    mkdir $locks and chmod oct('1777'), $locks;

    for (1 .. 500) {
        my $port = 12000 + int rand 18000;

        open(my $lock, '>>', "$locks/$port") or next;
        flock($lock, LOCK_EX | LOCK_NB) or next;
        IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 1, ReuseAddr => 1)
            or next;

        push @{$self->{ports}}, $lock;
        return $port;
    }

    croak 'no free port';
}


sub server {
    my ($self, $name) = @_;

    return $self->{server}{$name} // croak "$name was not started";
}


sub start_server {
    my ($self, $name, %option) = @_;

    my $directory = $self->directory($name);

    open(my $log, '>>', "$directory/error.log") or croak "$directory/error.log: $!";
    close $log;
    $self->give("$directory/error.log");

    return $self->{server}{$name} = Test::SerialVerify::Process->start(
        name => $name, user => $self->{user}, log => "$directory/error.log", cwd => $directory, %option);
}


sub fail_start {
    my ($self, $name) = @_;

    my $log = slurp("$self->{base}/$name/error.log");
    croak "$name does not start:\n" . substr($log, -3000);
}


sub ready {
    my ($self, $name, $condition) = @_;

    my $process = $self->{server}{$name};

    eval {
        wait_for { !$process->running || $condition->() } "$name to be ready", 60;
        1;
    } or $self->fail_start($name);

    $self->fail_start($name) if !$process->running;

    return $process;
}


sub stop    { my ($self, $name, @option) = @_; return $self->server($name)->stop(@option) }
sub kill9   { my ($self, $name) = @_; return $self->server($name)->kill9 }
sub pause   { my ($self, $name) = @_; return $self->server($name)->pause }
sub resume  { my ($self, $name) = @_; return $self->server($name)->resume }
sub signal  { my ($self, $name, $signal) = @_; return $self->server($name)->signal($signal) }
sub log_of  { my ($self, $name) = @_; return slurp("$self->{base}/$name/error.log") }


# What a test provokes on purpose may be logged.
sub allow_log {
    my ($self, @patterns) = @_;

    push @{$self->{allowed}}, @patterns;
    return;
}


# --- PostgreSQL

sub pg_bin {
    my @bins = sort { ($a =~ /(\d+)/)[0] <=> ($b =~ /(\d+)/)[0] } glob '/usr/lib/postgresql/*/bin/postgres';

    return @bins ? dirname($bins[-1]) : croak 'PostgreSQL is not installed';
}


my @pg_settings = (
    'listen_addresses=', 'unix_socket_permissions=0700', 'fsync=off', 'full_page_writes=off',
    'shared_buffers=32MB', 'max_connections=100', 'log_min_messages=warning', 'timezone=UTC',
    'log_line_prefix=%m [%p] %u ', 'max_wal_size=512MB', 'autovacuum_naptime=5s',
);


sub postgres_command {
    my ($data, $socket) = @_;

    return [pg_bin() . '/postgres', '-D', $data, '-k', $socket, map { ('-c', $_) } @pg_settings];
}


# A data directory with all migrations applied, made once for a state of sql/.
sub template {
    my ($self) = @_;

    my $bin  = pg_bin();
    my $key  = substr sha256_hex(join "\0", $bin, $self->{user}, map { ($_, slurp($_)) } sort glob "$root/sql/*"), 0, 16;
    my $home = "$root/build/test-template";
    my $done = "$home/$key.tar";

    make_path($home);
    open(my $lock, '>>', "$home/lock") or croak "$home/lock: $!";
    flock $lock, LOCK_EX;
    return $done if -e $done;

    my $made = $self->directory('template');
    my $data = "$made/data";

    my @as = $> == 0
        ? ('setpriv', "--reuid=$self->{user}", '--regid=' . (getpwnam $self->{user})[3], '--clear-groups', '--') : ();
    system("cd $made && @as $bin/initdb -D $data -U postgres -A trust -E UTF8 --locale=C.UTF-8 -N --wal-segsize=1 >$made/initdb.log 2>&1") == 0
        or croak slurp("$made/initdb.log");

    $self->start_server('template', command => postgres_command($data, $made), stop => 'INT', orphan => 'QUIT');
    $self->ready('template', sub { -S "$made/.s.PGSQL.5432" && system("$bin/pg_isready -q -U postgres -h $made") == 0 });

    my $failed = system("$bin/createdb -h $made -U postgres sv >>$made/initdb.log 2>&1"
        . " && PGHOST=$made PGUSER=postgres PGDATABASE=sv $root/sql/migrate >>$made/initdb.log 2>&1");
    $self->server('template')->stop;
    delete $self->{server}{template};
    croak slurp("$made/initdb.log") if $failed;

    unlink glob "$home/*.tar";
    system("tar -C $made -cf $done.new data") == 0 or croak 'tar failed';
    rename "$done.new", $done or croak "$done: $!";
    remove_tree($made);

    return $done;
}


sub start_postgres {
    my ($self, %option) = @_;

    my $home = $self->directory('postgres');

    if (!-d "$home/data") {
        my $template = $self->template;
        system("tar -C $home --numeric-owner -xf $template") == 0 or croak 'tar failed';
    }

    $self->start_server('postgres', stop => 'INT', orphan => 'QUIT',
        command => [@{postgres_command("$home/data", $home)}, map { ('-c', $_) } @{$option{settings} // []}]);

    my $bin = pg_bin();
    $self->ready('postgres', sub { -S "$home/.s.PGSQL.5432" && system("$bin/pg_isready -q -U postgres -h $home") == 0 });

    return $self;
}


sub pg_socket { return "$_[0]{base}/postgres" }


# A connection of the caller's process, kept for each user.
sub dbh {
    my ($self, $user) = @_;

    require DBI;
    $user //= 'postgres';

    my $dbh = $self->{dbh}{$$}{$user};
    return $dbh if $dbh && $dbh->ping;

    return $self->{dbh}{$$}{$user} = $self->new_dbh($user);
}


sub new_dbh {
    my ($self, $user) = @_;

    require DBI;

    return DBI->connect('dbi:Pg:dbname=sv;host=' . $self->pg_socket, $user // 'postgres', '',
        {RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1, AutoInactiveDestroy => 1, pg_enable_utf8 => 1});
}


# sql('select ..', PARAMETERS): the first row, in scalar context its first column
sub sql {
    my ($self, $text, @bind) = @_;

    my $statement = $self->dbh->prepare($text);
    $statement->execute(@bind);
    return if !$statement->{NUM_OF_FIELDS};

    my @row = $statement->fetchrow_array;
    $statement->finish;

    return wantarray ? @row : $row[0];
}


# --- Redis

sub redis_socket { return "$_[0]{base}/redis/redis.sock" }


sub start_redis {
    my ($self, %option) = @_;

    my $home   = $self->directory('redis');
    my $socket = $self->redis_socket;

    unlink $socket;
    $self->start_server('redis', command => ['redis-server',
        '--port', 0, '--unixsocket', $socket, '--unixsocketperm', 700, '--dir', $home, '--save', '',
        '--appendonly', 'no', '--daemonize', 'no', '--logfile', '', @{$option{settings} // []}]);
    $self->ready('redis', sub { -S $socket && eval { $self->redis->ping } });

    return $self;
}


sub redis {
    my ($self) = @_;

    require Redis;

    my $redis = $self->{redis}{$$};
    return $redis if $redis && eval { $redis->ping };

    return $self->{redis}{$$} = Redis->new(sock => $self->redis_socket);
}


# --- nginx

sub module {
    my ($self) = @_;

    # the servers' user may not be able to reach the build directory
    my $copy = "$self->{base}/ngx_serial_verify_module.so";

    if (!-e $copy) {
        File::Copy::copy("$self->{build}/ngx_serial_verify_module.so", $copy) or croak "no module in $self->{build}: $!";
        $self->give($copy);
    }

    return $copy;
}


sub program {
    my ($self, $name) = @_;

    my $copy = "$self->{base}/$name";

    if (!-e $copy) {
        File::Copy::copy("$self->{build}/$name", $copy) or croak "no $name in $self->{build}: $!";
        chmod oct('755'), $copy;
        $self->give($copy);
    }

    return $copy;
}


sub sanitizer_env {
    my ($self, $name, $preload) = @_;

    return {} if !$self->{asan};

    my %env = (
        ASAN_OPTIONS  => "detect_leaks=0:abort_on_error=0:log_path=$self->{base}/sanitizer.$name",
        # beside AddressSanitizer it heeds no log_path: it writes to stderr, which is the error log
        UBSAN_OPTIONS => 'print_stacktrace=1',
    );

    if ($preload) {
        my $libraries = join ' ', map { scalar `gcc -print-file-name=$_` } qw(libasan.so libubsan.so);
        ($env{LD_PRELOAD} = $libraries) =~ s/\s+/ /g;
    }

    return \%env;
}


# The directives a gateway gets unless start_nginx(verify => {..}) says otherwise; undef leaves one away.
# On a busy machine 250 ms are no fault: who tests deadlines sets them.
sub gateway_directives {
    my ($self, $option) = @_;

    my %patient   = grep({ exists $option->{$_} } qw(deadline redis_timeout)) ? () : (deadline => '8s', redis_timeout => '2s');
    my %directive = (
        postgres => 'host=' . $self->pg_socket . ' dbname=sv user=sv_gateway',
        redis    => 'unix:' . $self->redis_socket,
        %patient,
        %{$option // {}},
    );

    # several arguments: an array
    return join '', map { "    serial_verify_$_ " . join(' ', map { qq("$_") } ref $directive{$_} ? @{$directive{$_}} : $directive{$_}) . ";\n" }
        grep { defined $directive{$_} } sort keys %directive;
}


# name       of this gateway: several may run
# workers    processes
# verify     {deadline => '250ms', ..}: serial_verify_* directives of http {}; undef leaves one away
# main, http, server: more configuration;  config: all of it
# api        with the locations of conf/nginx.conf that the role api answers
# unready    do not wait for the reference data
sub start_nginx {
    my ($self, %option) = @_;

    my $name = $option{name} // 'nginx';
    my $home = $self->directory($name);
    my $port = $self->{port}{$name} //= $self->port;

    $self->write_file("$name/nginx.conf", $self->nginx_conf($name, %option));
    $self->start_server($name, stop => 'QUIT', orphan => 'TERM', env => $self->sanitizer_env($name, 1),
        command => ['/usr/sbin/nginx', '-p', "$home/", '-c', "$home/nginx.conf", '-e', "$home/error.log"]);
    $self->ready($name, sub { $option{unready} ? $self->accepts($name) : $self->gateway_ready($name) });

    return $self;
}


# What conf/nginx.conf says of the role api: for http {}, for server {}.
sub api_directives {
    my ($self) = @_;

    my $sample = slurp("$root/conf/nginx.conf");
    my $secret = $self->api_secret;
    my $socket = $self->api_socket;

    my ($upstream)  = $sample =~ /^(    upstream serial_verify_api \{.*?^    \}\n)/ms or croak 'no upstream';
    my ($locations) = $sample =~ /^(        # What the worker's role api answers.*?)^        # for the operator/ms or croak 'no locations';
    my ($down)      = $sample =~ /^(        error_page 502 .*?\n)/m or croak 'no error_page';
    my ($page)      = $sample =~ /^(        location \@api_down \{.*?^        \}\n)/ms or croak 'no @api_down';

    $upstream =~ s/unix:\S+;/unix:$socket;/;

    return ("    serial_verify_api_secret $secret;\n$upstream", "$locations$down$page");
}


sub nginx_conf {
    my ($self, $name, %option) = @_;

    my $home   = "$self->{base}/$name";
    my $module = $self->module;
    my %more   = (workers => 1, main => '', http => '', server => '', %option);
    my $verify = $self->gateway_directives($option{verify});

    return $option{config} if defined $option{config};

    if ($option{api}) {
        my ($http, $server) = $self->api_directives;
        $more{http}   .= $http;
        $more{server} .= $server;
    }

    return <<"END";
load_module $module;
daemon off;
worker_processes $more{workers};
pid $home/nginx.pid;
error_log $home/error.log info;
$more{main}
events {
    worker_connections 512;
}

http {
    access_log $home/access.log;
    client_body_temp_path $home/body;
    proxy_temp_path $home/proxy;
    fastcgi_temp_path $home/fastcgi;
    uwsgi_temp_path $home/uwsgi;
    scgi_temp_path $home/scgi;

$verify
$more{http}
    server {
        listen 127.0.0.1:$self->{port}{$name};
        server_name id.example.com;

        serial_verify_routing on;
        merge_slashes off;
        client_max_body_size 1m;

        location /01/ {
            serial_verify pack;
        }

        location = /scan {
            serial_verify scan;
        }

        location = /packs {
            serial_verify packs;
        }

        location = /status {
            serial_verify status;
        }

        location = /metrics {
            serial_verify metrics;
        }

        location / {
            return 404;
        }

        location = /static {
            return 200 "static\n";
        }
$more{server}
    }
}
END
}


sub accepts {
    my ($self, $name) = @_;

    return IO::Socket::INET->new(PeerAddr => $self->address($name)) ? 1 : 0;
}


# The gateway has its copy of the reference data.
sub gateway_ready {
    my ($self, $name) = @_;

    my $answer = eval { $self->get('/status', nginx => $name, timeout => 2) } or return 0;

    return $answer->{status} == 200 && $answer->{json}{reference_data}{complete};
}


# The file as it is now, or with new options; waits until only new processes answer.
sub reload {
    my ($self, $name, %option) = @_;

    $name //= 'nginx';

    my %old = map { $_ => 1 } $self->workers($name);

    $self->write_file("$name/nginx.conf", $self->nginx_conf($name, %option)) if %option;
    $self->signal($name, 'HUP');
    wait_for { grep { !$old{$_} } $self->workers($name) } 'new worker processes';

    return $self;
}


sub workers { my ($self, $name) = @_; return $self->server($name // 'nginx')->children }
sub address { my ($self, $name) = @_; return "127.0.0.1:$self->{port}{$name // 'nginx'}" }


# request(METHOD, TARGET, key =>, body =>, headers =>, idempotency =>, nginx =>, timeout =>)
# -> {status, headers, body, json, time}
sub request {
    my ($self, $method, $target, %option) = @_;

    my $start      = time;
    my $connection = $self->connection($option{nginx});
    my $response   = $connection->request($method, $target, close => 1, %option)
        // {status => 0, headers => {}, body => ''};

    $response->{time} = time - $start;

    return $response;
}


sub get  { my ($self, $target, @option) = @_; return $self->request('GET', $target, @option) }
sub post { my ($self, $target, $body, @option) = @_; return $self->request('POST', $target, body => $body, @option) }


sub connection {
    my ($self, $name) = @_;

    return Test::SerialVerify::HTTP->connect_to($self->address($name));
}


# parallel([METHOD, TARGET, OPTION..]..): all at the same time
sub parallel {
    my ($self, @requests) = @_;

    return Test::SerialVerify::HTTP->together(30, map {
        my ($method, $target, %option) = @$_;
        [$self->address($option{nginx}), Test::SerialVerify::HTTP::build($method, $target, close => 1, %option)];
    } @requests);
}


# --- the worker

# setting => value of worker.conf; undef leaves one away
# feeds => {NAME => {setting => value}}: sections
sub worker_conf {
    my ($self, %setting) = @_;

    my $inbox = $self->directory('inbox');
    my $file  = delete $setting{file} // 'worker.conf';
    my $feeds = delete $setting{feeds} // {};
    my $lines = sub {
        my ($of) = @_;
        return map { "$_ = $of->{$_}\n" } grep { defined $of->{$_} } sort keys %{$of};
    };

    %setting = (
        postgres       => 'host=' . $self->pg_socket . ' dbname=sv user=sv_worker',
        redis          => 'unix:' . $self->redis_socket,
        inbox          => $inbox,
        settle         => '0ms',
        scan_interval  => '50ms',
        relay_interval => '20ms',
        redis_timeout  => '2s',
        log_level      => 'info',
        %setting,
    );

    return $self->write_file($file, join '', $lines->(\%setting),
        map { ("[feed $_]\n", $lines->($feeds->{$_})) } sort keys %{$feeds});
}


# start_worker(roles => 'relay', SETTING => VALUE..)
sub start_worker {
    my ($self, %setting) = @_;

    my $name = delete $setting{name} // 'worker';
    my $conf = $self->worker_conf(%setting);
    my $mark = $self->sql('select clock_timestamp()');

    # not one of another worker, nor one that outlives its worker for a moment
    $self->start_server($name, env => $self->sanitizer_env($name),
        command => [$self->program('serial-verify-worker'), '-c', $conf, 'run']);
    $self->ready($name, sub {
        $self->sql(q{select count(*) from pg_stat_activity where usename = 'sv_worker' and backend_start > ?}, $mark);
    });

    return $self;
}


# --- the role api

sub api_socket { return $_[0]->directory('api') . '/api.sock' }


# The secret that nginx and the role api have in common: its file.
sub api_secret {
    my ($self) = @_;

    my $file = "$self->{base}/api-secret";

    if (!-e $file) {
        $self->write_file('api-secret', sha256_hex(rand() . $$) . "\n");
        chmod oct('640'), $file;
    }

    return $file;
}


# What a worker with the role api needs, for start_worker() too.
sub api_settings {
    my ($self) = @_;

    return (
        api_listen   => 'unix:' . $self->api_socket,
        api_postgres => 'host=' . $self->pg_socket . ' dbname=sv user=sv_api',
        api_secret   => $self->api_secret,
        capture_dir  => $self->directory('captures'),
    );
}


# start_api(SETTING => VALUE..): a worker of its own with the role api only
sub start_api {
    my ($self, %setting) = @_;

    my $conf = $self->worker_conf(file => 'api.conf', $self->api_settings, roles => 'api', drain_timeout => '20s', %setting);

    unlink $self->api_socket;
    $self->start_server('api', env => $self->sanitizer_env('api'),
        command => [$self->program('serial-verify-worker'), '-c', $conf, 'run']);
    $self->ready('api', sub { $self->api_listens });

    return $self;
}


sub api_listens { return IO::Socket::UNIX->new(Peer => $_[0]->api_socket) ? 1 : 0 }


# A proof as the module makes it: api_token(METHOD, TARGET, {location =>, role =>, company => ..}, t => ms, secret => ..)
sub api_token {
    my ($self, $method, $target, $who, %option) = @_;

    my $payload = MIME::Base64::encode_base64url(Test::SerialVerify::HTTP::encode({
        t => int($option{t} // time * 1000), gln => '9506000100012', country => 'IT', company => '', lang => 'en',
        request => substr(sha256_hex(rand), 0, 32), %{$who}}));
    my $secret = $option{secret} // slurp($self->api_secret) =~ s/\s+\z//r;

    return "$payload." . hmac_sha256_hex("$method\n$target\n$payload", $secret);
}


# A request to the role api itself: who => {..} as above, or token => a text (undef: none); as request() otherwise
sub api_request {
    my ($self, $method, $target, %option) = @_;

    my $token = exists $option{token} ? delete $option{token} : $self->api_token($method, $target, delete $option{who});
    my $connection = Test::SerialVerify::HTTP->connect_to($self->api_socket);

    $option{headers}{'Serial-Verify-Identity'} = $token if defined $token;

    return $connection->request($method, $target, close => 1, %option) // {status => 0, headers => {}, body => ''};
}


# command(ARGUMENTS..): a command of the worker; (exit code, output and errors together)
sub command {
    my ($self, @arguments) = @_;

    my $conf = -e "$self->{base}/worker.conf" ? "$self->{base}/worker.conf" : $self->worker_conf;
    my $pid  = open(my $pipe, '-|') // croak "fork: $!";

    if ($pid == 0) {
        my $env = $self->sanitizer_env('command');
        @ENV{keys %{$env}} = values %{$env};
        open(STDIN, '<', '/dev/null') && open(STDERR, '>&', \*STDOUT) or POSIX::_exit(127);
        exec {$self->program('serial-verify-worker')} 'serial-verify-worker', '-c', $conf, @arguments
            or POSIX::_exit(127);
    }

    local $/;
    my $output = <$pipe> // '';
    close $pipe;

    return ($? >> 8, $output);
}


# A file appears in the inbox, complete.
sub deliver {
    my ($self, $name, $content) = @_;

    my $path = $self->write_file(".$name", $content);
    rename $path, "$self->{base}/inbox/$name" or croak "$name: $!";

    return "$self->{base}/inbox/$name";
}


# Where a delivered file is now: inbox, done, rejected, or nowhere.
sub filed {
    my ($self, $name) = @_;

    my $inbox = "$self->{base}/inbox";

    for my $place (qw(done rejected)) {
        return $place if -e "$inbox/$place/$name";
    }

    return -e "$inbox/$name" ? 'inbox' : '';
}


# --- the end

my $grave = qr/\[(?:alert|crit|emerg)\]|PANIC:|was terminated by signal|runtime error:|Sanitizer/;


sub complaints {
    my ($self) = @_;

    my @lines;

    for my $log (glob "$self->{base}/*/error.log") {
        my ($name) = $log =~ m{([^/]+)/error\.log$};

        for my $line (grep { $_ =~ $grave } split /\n/, slurp($log)) {
            push @lines, "$name: $line" if !grep { $line =~ $_ } @{$self->{allowed}};
        }
    }

    push @lines, map { slurp($_) } glob "$self->{base}/sanitizer.*";

    return @lines;
}


sub stop_all {
    my ($self) = @_;

    my %server = %{$self->{server}};
    my @order  = sort { ($a =~ /^(?:postgres|redis)$/) <=> ($b =~ /^(?:postgres|redis)$/) || $a cmp $b } keys %server;

    delete $self->{redis};
    $_->disconnect for values %{(delete $self->{dbh} // {})->{$$} // {}};

    my @killed = grep { !$server{$_}->stop } @order;

    return @killed;
}


# At once: without a word to libpq, which may be what hangs.
sub abandon {
    my ($self) = @_;

    $_->stop(timeout => 5) for values %{$self->{server}};
    kill_children();
    remove_tree($self->{base}) if !$ENV{SV_KEEP};

    return;
}


# What the test itself forked: it would hold the pipe open whose end prove waits for.
sub kill_children { return kill 'KILL', Test::SerialVerify::Process::children({pid => $$}) }


sub done_testing {
    my ($self) = @_;

    my @killed = $self->stop_all;
    Test::More::is(join(' ', @killed), '', 'every server stopped when asked to');

    my @complaints = $self->complaints;
    Test::More::is(join("\n", @complaints), '', 'no alert in a log, no report of a sanitizer');

    $self->{done} = 1;
    Test::More::done_testing();

    return;
}


END {
    my $status = $?;

    for my $self (grep { $_->{owner} == $$ } @open) {
        Test::SerialVerify::Report::tell_logs('the end') if !$self->{done};
        $self->stop_all;
        kill_children();

        if (!$self->{done}) {
            Test::More::diag($_) for $self->complaints;
            Test::More::diag("the test ended before done_testing()");
            $status ||= 1;
        }

        my $passed = $status == 0 && Test::More->builder->is_passing;

        if ($passed || !$ENV{SV_KEEP}) {
            remove_tree($self->{base}, {safe => 0});
        } else {
            Test::More::diag("kept: $self->{base}");
        }
    }

    $? = $status;    ## no critic (RequireLocalizedPunctuationVars)
}


1;
