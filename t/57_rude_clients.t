#!/usr/bin/env perl

# Clients that reset their connection while the answer is written at once, and
# a gateway that is stopped with lists and queued operations under way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;
use Test::SerialVerify;
use Test::SerialVerify::HTTP;

my $gtin = 9506000134352;

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
my $key = $sv->pharmacy('IT');
$sv->pack_row($gtin, "A$_") for 1 .. 20;
$sv->start_nginx(verify => {refresh => '50ms'});


# the request, and at once a reset
sub rude {
    my ($request) = @_;

    my $socket = IO::Socket::INET->new(PeerAddr => $sv->address) or die "connect: $!";
    setsockopt($socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0)) or die "linger: $!";
    syswrite $socket, $request;
    close $socket;

    return;
}


sub survived {
    my ($what, @before) = @_;

    my $answer = $sv->get($sv->link_to($gtin, 'A1'), key => $key, timeout => 60);
    isnt($answer->{status}, 0, "$what: the gateway answers");
    is_deeply([$sv->workers], \@before, "$what: by the same process");

    return;
}


my @workers = $sv->workers;
my $bad = Test::SerialVerify::HTTP::build('POST', '/packs', key => $key, body => '[' . join(',', ('{"operation":"dance"}') x 200) . ']');

rude($bad) for 1 .. 200;
survived('lists of which every line is wrong', @workers);

$sv->stop('postgres');
my $supply = Test::SerialVerify::HTTP::build('POST', $sv->link_to($gtin, 'A2'), key => $key, idempotency => 'k',
    body => '{"operation":"supply"}');
Test::SerialVerify::wait_for { $sv->post($sv->link_to($gtin, 'A2'), '{"operation":"supply"}', key => $key, idempotency => 'k')->{status} == 503 }
    'operations are refused at once';
my $list = Test::SerialVerify::HTTP::build('POST', '/packs', key => $key, body => '['
    . join(',', map { qq({"operation":"supply","key":"b$_","scan":"(01)09506000134352(21)A$_(10)LOT1(17)301231"}) } 1 .. 20) . ']');

for (1 .. 100) {
    rude($supply);
    rude($list);
}

survived('operations and lists without a database', @workers);
$sv->start_postgres;

# with the time to see that something waits
my %patient = (refresh => '50ms', deadline => '50s', bulk_deadline => '50s');
$sv->stop('nginx');
$sv->start_nginx(verify => \%patient);

# A list whose lines wait for a lock, a supply of the same pack behind it, and
# the gateway is told to stop at once.
for my $round (1 .. 3) {
    Test::SerialVerify::wait_for { !grep { $_->{ready} < 2 } values %{$sv->get('/status')->{json}{postgres} // {}} }
        'all connections to be back';

    my $locker = $sv->new_dbh;
    $locker->begin_work;
    $locker->do("select 1 from sv.pack where gtin = $gtin and serial in ('A3', 'A4', 'A5') for update");

    my $lines = join ',', map { my $n = $_; map { qq({"operation":"$_","key":"c$round-$n-$_","scan":"(01)09506000134352(21)A$n(10)LOT1(17)301231"}) }
        qw(supply verify) } 3 .. 20;
    my @clients = map { $sv->connection } 1 .. 4;
    $_->put(Test::SerialVerify::HTTP::build('POST', '/packs', key => $key, body => "[$lines]")) for @clients[0, 1];
    $_->put(Test::SerialVerify::HTTP::build('POST', $sv->link_to($gtin, 'A3'), key => $key, idempotency => "d$round",
        body => '{"operation":"supply"}')) for @clients[2, 3];

    Test::SerialVerify::wait_for { ($sv->get('/status')->{json}{operations_in_flight} // 0) >= 3 } 'operations wait for the lock';
    $sv->signal('nginx', 'TERM');
    Test::SerialVerify::wait_for { !$sv->server('nginx')->running } 'the gateway to end';
    $locker->rollback;
    $locker->disconnect;

    ok(1, "round $round: stopped with everything under way");
    $sv->start_nginx(verify => \%patient);
}

$sv->done_testing;
