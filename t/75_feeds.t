#!/usr/bin/perl

# Feeds: sections of the configuration, each with an inbox and rules of its own.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Test::SerialVerify;

my $sv   = Test::SerialVerify->new;
my $base = $sv->base;

$sv->start_postgres;


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
    $check->("${api}api_secret = $base\n", 2, qr/api_secret "\Q$base\E": is not a file/, 'a secret that is none');
    $check->("${good}roles = push\n", 2, qr/the role push needs "push_url"/, 'the role push');
    $check->("${good}capture_dir = $base/none\n", 2, qr/capture_dir "\Q$base\E\/none": No such file/, 'capture_dir');
    $check->("${good}audit_heads = $base/worker.conf\n", 2, qr/audit_heads ".*": is not a directory/, 'audit_heads');

    $sv->write_file('secret', "x\n");
    $check->("${good}inbox = $base/in\nroles = ingest, api, push\napi_listen = 127.0.0.1:8090\napi_postgres = " . $postgres =~ s/sv_worker/sv_api/r
        . "\napi_secret = $base/secret\napi_threads = 2\ncapture_dir = $base/capture\ncapture_file_limit = 10m\ncapture_event_limit = 5\n"
        . "audit_key = $base/secret\naudit_heads = $base/in\npush_url = http://127.0.0.1/\npush_token_file = $base/secret\n"
        . "push_company = A\npush_interval = 1s\ningest_processes = 2\nstrictness = strict\n", 0, qr/ok$/, 'all that is new');
};

$sv->done_testing;
