#!/usr/bin/env perl

# What somebody sees who uses this for the first time and gets things wrong: each
# message names the element, the place and the reason.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Temp qw(tempdir);
use Test::More;

use Test::SerialVerify;

my $gtin = '09506000134352';
my $root = Test::SerialVerify::root();
my $sv   = Test::SerialVerify->new;

$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
$sv->start_nginx;
$sv->start_worker(roles => 'ingest');


subtest 'files that are no commissioning files' => sub {
    my $head  = "gtin,serial,lot,expiry\n";
    my %files = (
        'long.csv'   => [$head . "$gtin," . ('A' x 100_000) . ",L1,301231\n", qr/line 2: a value is longer than 65536 bytes/],
        'quote.csv'  => [$head . "$gtin,\"" . ('A' x 100_000) . ",L1,301231\n", qr/line 2: a quoted field does not end/],
        'epcis.xml'  => ["<?xml version=\"1.0\"?>\n<epcis/>\n", qr/line 2: this is XML, but neither an EPCIS document nor query results/],
        'bom.xml'    => ["\xef\xbb\xbf<?xml version=\"1.0\"?>\n<epcis/>\n", qr/line 2: this is XML, but neither/],
        'lot.xlsx'   => ["PK\x03\x04" . ("\0" x 100), qr/not a feed but a ZIP archive or a spreadsheet; deliver what is in it, a spreadsheet saved as CSV/],
    );

    for my $name (sort keys %files) {
        my ($content, $reason) = @{$files{$name}};

        $sv->deliver($name, $content);
        Test::SerialVerify::wait_for { $sv->filed($name) =~ /done|rejected/ } "$name to be filed";
        is($sv->filed($name), 'rejected', $name);
        my $report = Test::SerialVerify::slurp($sv->base . "/inbox/rejected/$name.report.txt");
        like($report, qr/^result +rejected: .*$reason/m, "$name: the reason");
    }
};


subtest 'tables' => sub {
    my %files = (
        'utf16.csv' => ["\xff\xfeg\0t\0i\0n\0", qr/^FILE: the file is in UTF-16; save it as UTF-8\n\z/],
        'bytes.csv' => ["\xb5\e[31m,name\n", qr/^FILE:1: there is no column "\\xb5\\x1b\[31m" in products\n/],
        'long.csv'  => ["gtin,name,company\n$gtin," . ('A' x 1_000_000) . ",acme\n", qr/^FILE:2: a value is too long\n\z/],
    );

    for my $name (sort keys %files) {
        my $file = $sv->write_file($name, $files{$name}[0]);
        my ($code, $text) = $sv->command('load', 'products', $file);

        $text =~ s/\Q$file\E/FILE/g;
        is($code, 1, "$name is refused");
        like($text, $files{$name}[1], "$name: the reason");
    }

    my ($code, $text) = $sv->command('--help');
    like($text, qr/^  key create .*key revoke /m, 'every command is in the help');
};


subtest 'a link that is wrong' => sub {
    my $key  = $sv->pharmacy('IT');
    Test::SerialVerify::wait_for { $sv->get("/01/$gtin", key => $key)->{status} == 422 } 'the key';

    my @cases = (
        ['/01/09506000134353/10/L/21/A',            'check_digit_wrong',      '01'],
        ["/01/$gtin/10/L/21/A?17=301332",           'date_invalid',           '17'],
        ["/01/$gtin/10/L/21/A?x=y&17=301332",       'date_invalid',           '17'],
        ["/01/$gtin/10/L/21/" . 'A' x 21,           'ai_value_too_long',      '21'],
        ["/01/$gtin/10/" . ('L' x 21) . '/21/A',    'ai_value_too_long',      '10'],
        ["/01/$gtin/21/A/10/L",                     'qualifier_order',        '10'],
        ["/01/$gtin/10/%23/21/A/",                  'ai_value_bad_character', '10'],
        ["/01/$gtin/21/A?9999=1",                   'ai_unknown',             '9999'],
        ["/01/$gtin/21/A?17=301231;17=301231",      'ai_duplicate',           '17'],
        ["/01/$gtin/lot/L",                         'path_segment_unknown',   undef],
        ["/01/$gtin?=x",                            'query_key_empty',        undef],
    );

    for my $case (@cases) {
        my ($target, $reason, $element) = @{$case};
        my $answer = $sv->get($target, key => $key);

        is($answer->{status}, 400, $target);
        is($answer->{json}{reason}, $reason, "$target: the reason");
        is($answer->{json}{element}, $element, "$target: the element");
    }

    my $answer = $sv->post("/01/$gtin/10/L/21/A?17=301231", '{"operation":"supply","operation":"undo"}', key => $key, idempotency => 'twice');
    is($answer->{json}{reason}, 'json_malformed', 'a member twice');
    like($answer->{json}{detail}, qr/^A member stands twice in an object: line 1, column \d+\.$/, 'is told as that');
};


subtest 'too many misses' => sub {
    my $answer;

    Test::SerialVerify::wait_for { $answer = $sv->get("/01/$gtin/10/L/21/GUESS?17=301231"); $answer->{status} == 429 } 'the budget to be used up';
    like($answer->{json}{detail}, qr/Retry-After.*or send a credential/, 'what to do is said');
    like($answer->{headers}{'retry-after'}, qr/^[1-9]\d*$/, 'and for how long');
};


subtest 'sv-parse in the wrong mode' => sub {
    my $program = $sv->program('sv-parse');

    for my $case ([']d20109506000134352', 'scan'], ["(01)$gtin", 'brackets'], ['urn:epc:id:sgtin:9506000.013435.A1', 'urn']) {
        my ($item, $mode) = @{$case};

        like(qx(printf '%s\n' '$item' | '$program' --explain), qr/^  It begins like what --mode $mode reads\.$/m, $item);
        unlike(qx(printf '%s\n' '$item' | '$program' --mode $mode --explain), qr/It begins like/, "$item, as $mode");
    }

    like(qx(printf 'https://x/\n' | '$program' --mode scan --explain), qr/--mode uri/, 'a link is no scan');
};


subtest 'a path with blanks' => sub {
    my $home = tempdir('sv with blanks XXXXXX', TMPDIR => 1, CLEANUP => 1);
    my $out  = qx(cd '$root' && SV_BUILD='$home/build' ./dev build 2>&1);

    is($?, 0, './dev build') or diag($out);
    ok(-x "$home/build/$_", "$_ is built") for qw(sv-parse serial-verify-worker ngx_serial_verify_module.so);
    like($out, qr{^==> Built into \Q$home\E/build$}m, 'and where, is told by its name');
};

$sv->done_testing;
