#!/usr/bin/perl

# Feeds: sections of the configuration, each with an inbox and rules of its own.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json);
use Test::More;

use Test::SerialVerify;

my $gtin = '09506000134352';
my $sv   = Test::SerialVerify->new;
my $base = $sv->base;

$sv->start_postgres;
$sv->product($gtin);


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


sub csv {
    my ($lot, @serials) = @_;

    return join '', "gtin,serial,lot,expiry\n", map { "$gtin,$_,$lot,2030-12-31\n" } @serials;
}


# a complete file in the inbox of a feed
sub feed {
    my ($feed, $name, $content) = @_;

    my $path = $sv->write_file("$feed/.new", $content);
    rename $path, "$base/$feed/$name" or die "$feed/$name: $!";

    return;
}


sub report {
    my ($feed, $name) = @_;

    for my $place (qw(done rejected)) {
        my $file = "$base/$feed/$place/$name.report.json";
        return ($place, decode_json(Test::SerialVerify::slurp($file))) if -e $file && !-e "$base/$feed/$name";
    }

    return;
}


# settings of feeds with an inbox each
sub feeds {
    my (%of) = @_;

    return feeds => {map { ($_ => {inbox => $sv->directory($_), %{$of{$_}}}) } keys %of};
}


subtest 'a configuration that cannot be' => sub {
    my $postgres = 'host=' . $sv->pg_socket . ' dbname=sv user=sv_worker';
    my $good     = "postgres = $postgres\n";

    my $check = sub {
        my ($content, $code, $like, $name) = @_;
        $sv->write_file('worker.conf', $content);
        my ($rc, $text) = $sv->command('--check');
        is($rc, $code, "$name: code") or diag($text);
        like($text, $like, "$name: text");
    };

    $sv->directory($_) for qw(in a b capture);

    my $a = "[feed a]\ninbox = $base/a\n";

    $check->("${good}inbox = $base/in\n\n  [feed a]  \n# of a line\ninbox = $base/a\ncompany = Example Pharma\nstrictness = strict\n"
        . "on_error = none\n[feed b]\ninbox = $base/b/\ndone = $base/x\n", 0, qr/ok$/, 'good');
    $check->("$good$a", 0, qr/ok$/, 'only a feed');

    $check->("$good\n[feet a]\n", 2, qr/worker\.conf:3: expected "\[feed NAME\]"$/, 'no feed');
    $check->("$good\n[feed a\n", 2, qr/worker\.conf:3: expected "\[feed NAME\]"$/, 'no end');
    $check->("${good}[feed]\n", 2, qr/worker\.conf:2: expected "\[feed NAME\]"$/, 'no name');
    $check->("${good}[feed a b]\n", 2, qr/worker\.conf:2: the name of a feed is 1 to 64 letters/, 'two names');
    $check->("${good}[feed ../x]\n", 2, qr/worker\.conf:2: the name of a feed is 1 to 64 letters/, 'a path');
    $check->("${good}[feed " . 'x' x 65 . "]\n", 2, qr/worker\.conf:2: the name of a feed is 1 to 64 letters/, 'a long name');
    $check->("$good$a$a", 2, qr/worker\.conf:4: there is a feed of this name above$/, 'a name twice');
    $check->("${good}[feed a]\n[feed b]\ninbox = $base/b\n", 2, qr/worker\.conf:2: a: the feed needs "inbox"$/, 'no inbox');
    $check->("$good${a}settle = 1s\n", 2, qr/worker\.conf:4: settle: no such setting of a feed; settings of the worker stand before/, 'a setting of the worker');
    $check->("$good${a}inbox = $base/b\n", 2, qr/worker\.conf:4: inbox: is given twice$/, 'a setting twice');
    $check->("$good${a}strictness = very\n", 2, qr/worker\.conf:4: strictness: expected tolerant .* or strict/, 'strictness');
    $check->("$good${a}on_error = panic\n", 2, qr/worker\.conf:4: on_error: expected skip .* or none/, 'on_error');
    $check->("${good}strictness = very\n", 2, qr/worker\.conf:2: strictness: expected tolerant .* or strict/, 'strictness of the worker');
    $check->("$good${a}done = $base/a\n", 2, qr/worker\.conf:2: a: "done" and "rejected" must not be the inbox itself$/, 'done is the inbox');
    $check->("$good${a}[feed b]\ninbox = $base/a/\n", 2, qr/worker\.conf:4: b: its inbox is that of another feed$/, 'an inbox twice');
    $check->("${good}inbox = $base/a\n$a", 2, qr/worker\.conf:3: a: its inbox is that of another feed$/, 'the inbox');
    $check->("$good${a}[feed b]\ninbox = $base/a/done\n", 2, qr/worker\.conf:4: b: what one feed puts aside would be the inbox of another$/, 'done of another');
    $check->("$good${a}[feed b]\ninbox = $base/b\nrejected = $base/a\n", 2, qr/worker\.conf:4: b: what one feed puts aside/, 'rejected is another');
    $check->("$good${a}[feed b]\ninbox = $base/none\n", 2, qr/inbox "\Q$base\E\/none": No such file or directory/, 'no directory');

    my $api = "${good}roles = api\napi_listen = unix:/x/y\napi_postgres = $postgres\n";

    $check->("${good}ingest_processes = 9\n", 2, qr/worker\.conf:2: ingest_processes: the number is out of range/, 'too many processes');
    $check->("${good}api_listen = 80\n", 2, qr/worker\.conf:2: api_listen: expected "host:port" or "unix:\/path"/, 'api_listen');
    $check->("${good}capture_file_limit = 1q\n", 2, qr/worker\.conf:2: capture_file_limit: expected a size such as/, 'not a size');
    $check->("${good}capture_file_limit = 5g\n", 2, qr/worker\.conf:2: capture_file_limit: the size is out of range/, 'a size too large');
    $check->("${good}capture_file_limit = 18446744073709551615g\n", 2, qr/worker\.conf:2: capture_file_limit: the size is out of range/, 'far too large');
    $check->("${good}push_url = ftp://x/\n", 2, qr/worker\.conf:2: push_url: expected a URL/, 'push_url');
    $check->("${good}push_token_file = /x\n", 2, qr/"push_token_file" needs "push_url"/, 'a token for nothing');
    $check->($api, 2, qr/the role api needs "api_listen", "api_postgres" and "api_secret"/, 'the role api');
    $check->("${api}api_secret = $base/none\n", 2, qr/api_secret "\Q$base\E\/none": No such file/, 'no secret');
    $check->("${good}roles = push\n", 2, qr/the role push needs "push_url"/, 'the role push');
    $check->("${good}capture_dir = $base/none\n", 2, qr/capture_dir "\Q$base\E\/none": No such file/, 'capture_dir');

    $sv->write_file("secret", "0123456789abcdef" x 4 . "\n");
    chmod oct("600"), "$base/secret";
    $check->("${good}inbox = $base/in\nroles = ingest, api, push\napi_listen = 127.0.0.1:8090\napi_postgres = " . $postgres =~ s/sv_worker/sv_api/r
        . "\napi_secret = $base/secret\napi_threads = 2\ncapture_dir = $base/capture\ncapture_file_limit = 10m\ncapture_event_limit = 5\n"
        . "push_url = http://127.0.0.1/\npush_token_file = $base/secret\n"
        . "push_company = A\npush_interval = 1s\ningest_processes = 2\nstrictness = strict\n", 0, qr/ok$/, 'all that is new');
};

subtest 'a feed with many files does not keep others waiting' => sub {
    my $n = 300;

    # by age the others would come last
    my @config = feeds(many => {}, map { ("few$_" => {}) } 1 .. 3);
    feed('many', "m$_.csv", csv("M$_", "M$_")) for 1 .. $n;
    utime 1_000_000_000 + $_, 1_000_000_000 + $_, "$base/many/m$_.csv" for 1 .. $n;
    feed("few$_", 'f.csv', csv("F$_", "F$_")) for 1 .. 3;

    $sv->start_worker(roles => 'ingest', redis => undef, inbox => undef, @config);
    wait_for { 3 == grep { (report("few$_", 'f.csv'))[0] } 1 .. 3 } 'the few';
    cmp_ok($sv->sql(q{select count(*) from sv.load where file ~ '^m' and load_id < (select max(load_id) from sv.load where file ~ '^f')}), '<=', 5,
        'one of each feed in turn');

    wait_for { $sv->sql(q{select count(*) from sv.load where filed and file ~ '^m'}) == $n } 'the many';
    is($sv->sql(q{select string_agg(substr(file, 2), ' ' order by load_id) from sv.load where file ~ '^m'}),
        join(' ', map { "$_.csv" } 1 .. $n), 'of one feed the oldest first');
    is($sv->sql(q{select string_agg(feed, ' ' order by feed) from sv.load where file ~ '^f'}), 'few1 few2 few3', 'a load names its feed');
    $sv->stop('worker');
};

subtest 'several processes share all inboxes' => sub {
    my $n = 40;
    my @config = feeds(map { ("p$_" => {}) } 1 .. 5);

    for my $file (1 .. $n) {
        feed("p$_", "$file.csv", csv("P$_", "P$_-$file")) for 1 .. 5;
    }

    $sv->start_worker(roles => 'ingest', redis => undef, inbox => undef, ingest_processes => 4, @config);
    wait_for { 0 == (() = glob "$base/p[1-5]/*.csv") } 'every file';
    wait_for { !$sv->sql('select count(*) from sv.load where not filed') } 'what is noted of them';
    is($sv->sql(q{select count(*) from sv.pack where lot ~ '^P'}), 5 * $n, 'every pack');
    is($sv->sql(q{select count(*) from sv.load where feed ~ '^p' and filed and attempts = 1 and state = 'loaded'}), 5 * $n, 'each file is one load');
    is(scalar(() = glob "$base/p[1-5]/done/*.report.json"), 5 * $n, 'and has a report');
    is($sv->sql(q{select count(*) from pg_stat_activity where application_name ~ 'ingest'}), 4, 'by four processes');
    $sv->stop('worker');
};

subtest 'a directory that is away' => sub {
    my @config = feeds(here => {}, away => {});

    rmdir "$base/away" or die $!;
    feed('here', 'x.csv', csv('H', 'H1'));
    $sv->start_worker(roles => 'ingest', redis => undef, inbox => undef, @config);
    wait_for { (report('here', 'x.csv'))[0] } 'the other';
    wait_for { $sv->log_of('worker') =~ /No such file/ } 'a look at the one that is away';
    like($sv->log_of('worker'), qr{\[error\].* inbox "\Q$base\E/away": No such file}, 'is told');
    $sv->stop('worker');
};

subtest 'rules of a feed' => sub {
    my $other  = '09506000134369';
    my @config = feeds(mine => {company => 'acme'}, theirs => {company => 'bolt'}, whole => {on_error => 'none'}, strict => {strictness => 'strict'}, tolerant => {});
    my $two    = csv('R', 'R1') . "$other,R2,R,2030-12-31\n";
    my $odd    = sub {
        my ($serial) = @_;
        return qq({"type":"ObjectEvent","action":"ADD","bizStep":"commissioning","eventTime":"2026-11-01T10:00:00Z","eventTimeZoneOffset":"+00:00",)
            . qq("epcList":["https://id.gs1.org/01/$gtin/21/$serial"],"ilmd":{"x:lotNumber":"R","x:itemExpirationDate":"2030-12-31"}});
    };

    $sv->product($gtin, company => 'acme');
    $sv->product($other, company => 'bolt');
    feed($_, 'two.csv', $two) for qw(mine theirs);
    feed('whole', 'bad.csv', csv('R', 'R3') . "$gtin,R4,R,never\n");
    feed('tolerant', 'odd.json', $odd->('R5'));
    feed('strict', 'odd.json', $odd->('R6'));
    $sv->start_worker(roles => 'ingest', redis => undef, inbox => undef, @config);

    my %got = map { my $feed = $_; my ($file) = $feed =~ /mine|theirs/ ? 'two.csv' : $feed eq 'whole' ? 'bad.csv' : 'odd.json';
        ($feed => wait_for { my @r = report($feed, $file); @r && \@r } $feed) } qw(mine theirs whole tolerant strict);
    my $said = sub { my ($feed) = @_; my ($place, $report) = @{$got{$feed}}; return join ' ', $place, $report->{state}, map { $_->{reason} } @{$report->{errors}} };

    is($said->('mine'), 'done partial not_permitted', 'a company names its own products only');
    is($said->('theirs'), 'done partial not_permitted', 'the other company, too: the same file is another load');
    is($sv->sql(q{select string_agg(p.serial || ' ' || l.company, ' ' order by p.serial) from sv.pack p join sv.load l using (load_id) where p.lot = 'R' and serial in ('R1', 'R2')}),
        'R1 acme R2 bolt', 'each loaded its own');
    is($said->('whole'), 'rejected rejected expiry_format', 'on_error = none');
    is($said->('tolerant'), 'done loaded', 'tolerant');
    like($said->('strict'), qr/^done partial json_prefix/, 'strict');
    $sv->stop('worker');
};

subtest 'names and kinds of files' => sub {
    my @config = feeds(names => {});
    my $in = "$base/names";

    $sv->write_file('outside.csv', csv('OUT', 'OUT1'));
    $sv->directory('elsewhere');
    symlink "$base/outside.csv", "$in/link.csv" or die $!;
    symlink "$base/elsewhere", "$in/linked" or die $!;
    symlink 'nowhere', "$in/dangling.csv" or die $!;
    mkdir "$in/dir.csv" or die $!;
    system('mkfifo', "$in/fifo.csv");
    feed('names', $_, csv('DOTS', 'DOTS')) for '...', '..%2f..%2fx.csv';

    my %name = (
        newline  => "a\nb\r\x1b[31m.csv",
        long     => 'l' x 251 . '.csv',
        alike    => 'l' x 250 . 'm.csv',
        accents  => "\xc3\xa9" x 127,
        invalid  => "\xff\xfe.csv",
        escape   => 'x%2f..%2f..%2fx.csv',
        back     => 'x\\..\\..\\x.csv',
        option   => '-rf.csv',
        quote    => q{';drop table sv.pack--.csv},
        format   => '%n%s%s.csv',
        report   => 'x.csv.report.json',
    );

    feed('names', $name{$_}, csv('N', "N-$_")) for sort keys %name;
    feed('names', 'one.csv', csv('N', 'N-hard'));
    link "$in/one.csv", "$in/two.csv" or die $!;

    $sv->start_worker(roles => 'ingest', redis => undef, inbox => undef, @config);
    wait_for { !grep { -f && !-l } glob "$in/*" } 'every file';

    my @files = grep { !/\.report\.(?:json|txt)$/ } glob "$in/done/*";
    is(scalar @files, 2 + keys %name, 'every regular file is filed');
    is(join(' ', grep { !-s "$_.report.json" || !-s "$_.report.txt" } @files), '', 'and has its report');
    is($sv->sql(q{select string_agg(substr(serial, 3), ' ' order by serial) from sv.pack where lot = 'N'}),
        join(' ', sort('hard', keys %name)), 'every regular file is loaded');
    is(scalar(grep { (report('names', $_))[1]{already_loaded} } 'one.csv', 'two.csv'), 1, 'two names of one file: one load');
    is($sv->sql(q{select count(*) from sv.pack where lot in ('OUT', 'DOTS')}), 0, 'no link is followed; a name that begins with a dot is not complete');
    ok(-l "$in/link.csv" && -l "$in/linked" && -l "$in/dangling.csv" && -d "$in/dir.csv" && -p "$in/fifo.csv" && -e "$in/..." && -e "$in/..%2f..%2fx.csv", 'all of these are where they were');
    is(join(' ', glob "$base/elsewhere/*"), '', 'nothing is written elsewhere');
    unlike($sv->log_of('worker'), qr/\x1b|^b/m, 'no name writes to the log what it likes');
    is(scalar(() = glob "$in/done/l*l"), 1, 'a long name is cut');
    is(scalar(() = glob "$in/done/l*-1"), 1, 'and kept apart from another');

    $sv->stop('worker');
};

$sv->done_testing;
