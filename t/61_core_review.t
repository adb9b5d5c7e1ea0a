#!/usr/bin/env perl

# Ways round the gateway's own rules: many requests at once, and headers that
# mean something to nginx.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Test::SerialVerify;
use Test::SerialVerify::Answer;

my $gtin = 9506000134352;

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
my $key = $sv->actor('pharmacy', country => 'IT')->{key};
$sv->product($gtin, name => 'Aspirin 500 mg');
$sv->pack_row($gtin, $_) for qw(GENUINE A1 A2 A3 A4);


subtest 'guesses all at once' => sub {
    $sv->start_nginx(verify => {miss_budget => ['5', '1d'], deadline => '5s', anonymous_floor => '200ms'});

    my @answers = $sv->parallel(map { ['GET', $sv->link_to($gtin, "GUESS$_")] } 1 .. 40);
    my %seen;
    $seen{$_->{status}}++ for @answers;

    is_deeply(\%seen, {404 => 5, 429 => 35}, 'no more of them are told than one after the other');
    problem_is((grep { $_->{status} == 429 } @answers)[0], 429, 'too_many_misses', {}, 'the rest');
    cmp_ok((sort { $a <=> $b } map { $_->{time} } grep { $_->{status} == 404 } @answers)[0], '>=', 0.2, 'and those not before the floor');
    is($sv->get($sv->link_to($gtin, 'GENUINE'), key => $key)->{status}, 200, 'a professional from there is served');
    $sv->stop('nginx');
};


subtest 'preconditions of HTTP' => sub {
    $sv->start_nginx(name => 'conditional', verify => {deadline => '5s'});

    my %condition = (
        A1 => {'If-Match'            => '"x"'},
        A2 => {'If-None-Match'       => '*'},
        A3 => {'If-Unmodified-Since' => 'Sat, 21 Nov 2026 12:00:00 GMT'},
        A4 => {'If-Modified-Since'   => 'Sat, 21 Nov 2026 12:00:00 GMT'},
    );

    for my $serial (sort keys %condition) {
        my ($name) = keys %{$condition{$serial}};
        my @option = (nginx => 'conditional', key => $key, headers => $condition{$serial});
        my $link   = $sv->link_to($gtin, $serial);

        answer_is($sv->get($link, @option), 200, {verified => 1}, "$name: a verdict");
        answer_is($sv->post($link, {operation => 'supply'}, idempotency => "k-$serial", @option), 200, {changed => 1, reason => 'ok'},
            "$name: the outcome of what was done");
    }

    $sv->stop('conditional');
};


# Packs are sent on to another server, and a part of that server is guarded.
subtest 'a guarded path that ends like a Digital Link' => sub {
    my $behind = $sv->port;
    my $front  = $sv->{port}{front} = $sv->port;

    $sv->start_nginx(name => 'proxy', http => <<"CONF");
    server {
        listen 127.0.0.1:$behind;
        return 200 "behind \$request_uri";
    }

    server {
        listen 127.0.0.1:$front;
        serial_verify_routing on;

        location / {
            proxy_pass http://127.0.0.1:$behind;
        }

        location /guarded/ {
            deny all;
        }
    }
CONF

    my $ask  = sub { return $sv->get($_[0], nginx => 'front') };
    my $link = $sv->link_to($gtin, 'GENUINE');

    is($ask->('/guarded/report')->{status}, 403, 'the guard');
    is($ask->('/other')->{body}, 'behind /other', 'what is not guarded');
    is($ask->("/guarded$link")->{body}, 'behind /01/09506000134352?17=301231', 'only what the location was chosen by gets behind');

    $sv->stop('proxy');
};


subtest 'the request id' => sub {
    $sv->start_nginx(name => 'ids');

    my $connection = $sv->connection('ids');
    my (%id, %half);

    for (1 .. 600) {
        my $id = $connection->request('GET', '/01/x')->{headers}{'x-request-id'};
        $id{$id}++;
        $half{$_}++ for $id =~ /^([0-9a-f]{16})([0-9a-f]{16})\z/;
    }

    is(scalar keys %id, 600, 'is never the same');
    is(scalar keys %half, 1200, 'and counts nothing');
    $sv->stop('ids');
};


# Year 10000 in UTC: what cannot be written is left away, and nothing of the process's memory stands in its place.
subtest 'a time that has no form' => sub {
    $sv->pack_row($gtin, 'LATE');
    $sv->start_nginx(name => 'times', verify => {deadline => '5s'});

    for my $try ('first', 'replayed') {
        my $answer = $sv->post($sv->link_to($gtin, 'LATE'), {operation => 'supply', occurred_at => '9999-12-31T23:59:59-14:00'},
            nginx => 'times', key => $key, idempotency => 'late');
        answer_is($answer, 422, {reason => 'occurred_at_invalid', at => qr/^20\d\d-/, occurred_at => undef}, $try);
    }

    $sv->stop('times');
};


subtest 'the page of another site' => sub {
    $sv->pack_row($gtin, 'CROSS');
    $sv->start_nginx(name => 'sites', verify => {deadline => '5s'});

    my $list = qq([{"operation":"supply","key":"c","scan":"(01)09506000134352(21)CROSS(10)LOT1(17)301231"}]);
    my $cross = $sv->post('/packs', $list, nginx => 'sites', key => $key, headers => {'Sec-Fetch-Site' => 'cross-site'});

    is_deeply([$cross->{status}, $cross->{json}{reason}], [403, 'cross_site'], 'may not send a list');
    is($sv->sql(q{select state from sv.pack where serial = 'CROSS'}), 'active', 'nothing was done');
    is($sv->post('/packs', $list, nginx => 'sites', key => $key, headers => {'Sec-Fetch-Site' => 'same-origin'})->{json}{results}[0]{changed}, 1,
        'the gateway\'s own may');

    $sv->stop('sites');
};

$sv->done_testing;
