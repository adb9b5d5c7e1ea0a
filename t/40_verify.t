#!/usr/bin/env perl

# GET of a pack: verdicts, credentials, the anonymous public, the cache.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;

my $gtin = 9506000134352;

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
my $pharmacy = $sv->actor('pharmacy', country => 'IT');
$sv->pack_row($gtin, 'A1');
$sv->start_nginx;

my $answer = $sv->get($sv->link_to($gtin, 'A1'), key => $pharmacy->{key});
is($answer->{status}, 200, 'a known pack');
note($answer->{body});
is($answer->{json}{reason}, 'ok', 'is genuine');

$answer = $sv->get($sv->link_to($gtin, 'A1'), key => $pharmacy->{key});
note($answer->{body});
$answer = $sv->post($sv->link_to($gtin, 'A1'), '{"operation":"supply"}', key => $pharmacy->{key}, idempotency => 'k1');
note($answer->{body});
$answer = $sv->post($sv->link_to($gtin, 'A1'), '{"operation":"supply"}', key => $pharmacy->{key}, idempotency => 'k1');
note($answer->{body});
$answer = $sv->get($sv->link_to($gtin, 'A1'), key => $pharmacy->{key});
note($answer->{body});
note(join "\n", map { "$_ => " . $sv->redis->get($_) } $sv->redis->keys('*'));
$answer = $sv->get($sv->link_to($gtin, 'A2'), key => $pharmacy->{key});
note($answer->{body});
$answer = $sv->get($sv->link_to($gtin, 'A2'));
note($answer->{body});
$answer = $sv->get('/status');
note($answer->{body});
$answer = $sv->get('/metrics');
note($answer->{body});
note $sv->log_of('nginx');

$sv->done_testing;
