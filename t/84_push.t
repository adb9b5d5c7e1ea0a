#!/usr/bin/perl

# The push: every event arrives, in the order of each pack, whatever the receiver
# does and whoever is killed; what is sent again is the same to the last byte.
#
#   SV_TEST_SEED    of the points of death

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(sleep time);

use Test::SerialVerify;
use Test::SerialVerify::Receiver;

my $gtin    = '09506000134352';
my $foreign = '09506000164908';
my $seed    = $ENV{SV_TEST_SEED} // time % 1_000_000;
my $sv      = Test::SerialVerify->new;
my $number  = 0;

srand $seed;
diag("SV_TEST_SEED=$seed");

$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
$sv->product($foreign, company => 'bigpharma');

my $pharmacy = $sv->location(role => 'pharmacy');
my $receiver = Test::SerialVerify::Receiver->start($sv);
my $token    = $sv->write_file('token', "first-token\n");
my @push     = (roles => 'push', push_url => $receiver->url, push_interval => '100ms', push_token_file => $token);


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


sub operate {
    my ($serial, $operation, $of, $product) = @_;

    my $uuid = join '-', unpack 'A8 A4 A4 A4 A12', sha256_hex(join '-', $$, ++$number);

    return $sv->dbh->selectrow_hashref(
        q{select * from sv.operate(?, ?, 'L1', '2030-12-31', ?, ?, ?, ?, 'f', 'scanned', null, 'XX-1', ?::text::uuid, 'r')}, undef,
        $product // $gtin, $serial, $operation, $of, $pharmacy, "key-$number", $uuid)->{reason};
}


sub load {
    my ($name, $code, @serials) = @_;

    my ($exit, $text) = $sv->command('load-file',
        $sv->write_file($name, join '', "gtin,serial,lot,expiry\n", map { "$code,$_,L1,2030-12-31\n" } @serials));

    is($exit, 0, "$name is loaded") or diag($text);

    return;
}


sub chained { return wait_for { $sv->sql('select count(*) from sv.outbox') == 0 } 'the chain' }
sub cursor  { return $sv->sql('select n from sv.push where target not like ?', '% %') // 0 }
sub head    { return $sv->sql('select n from sv.audit_head') }
sub pushed  { chained(); return wait_for { cursor() == head() } 'everything to be pushed', 180 }
sub id_of   { my ($event) = @_; return $event->{eventID} . ($event->{errorDeclaration} ? ' declared' : '') }


# What ought to have arrived: the export says the same in the same order.
sub wanted {
    my (@option) = @_;

    my $file = $sv->base . '/wanted.json';
    my $now  = $sv->sql(q{select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')});
    my ($code, $text) = $sv->command('export', '--from', '2026-01-01', '--to', $now, '--out', $file, @option);
    is($code, 0, 'export') or diag($text);

    return @{decode_json(Test::SerialVerify::slurp($file))->{epcisBody}{eventList}};
}


# Without doubles, in the order of the first arrival.
sub arrived {
    my ($from) = @_;

    my %seen;

    return grep { !$seen{id_of($_)}++ } $receiver->taken($from);
}


# All that there is has arrived, in the order in which it was recorded.
sub same {
    my ($name) = @_;

    my @got    = arrived();
    my @wanted = wanted();
    my $encode = JSON::PP->new->canonical;

    is(scalar @got, scalar @wanted, "$name: as many events as there are");
    ok(join("\n", map { $encode->encode($_) } @got) eq join("\n", map { $encode->encode($_) } @wanted),
        "$name: nothing lost, nothing else, in order");

    # a key stands for one document
    my %sha;
    $sha{$_->{header}{'idempotency-key'}}{$_->{sha}} = 1 for $receiver->begun;
    is(scalar(grep { keys %{$_} > 1 } values %sha), 0, "$name: what was sent again was the same");

    return;
}


# The values of something in what was sent, each once.
sub distinct {
    my ($what, @requests) = @_;

    my %value = map { ($what eq 'sha' ? $_->{sha} : $_->{header}{$what}) => 1 } @requests;

    return keys %value;
}


# --- all goes well

load('first.csv', $gtin, map { sprintf 'A%06d', $_ } 1 .. 12_003);
load('foreign.csv', $foreign, 'F1');
operate('A000001', 'supply');
operate('A000001', 'undo', 'supply');
operate('A000001', 'destroy');
is(operate('A000001', 'supply'), 'destroyed', 'a refused operation');

$sv->start_worker(name => 'relay', roles => 'relay');
$sv->start_worker(name => 'push', @push);
pushed();
same('all goes well');

my ($first) = $receiver->begun;
is($first->{line}, 'POST /capture HTTP/1.1', 'a POST');
is($first->{header}{'content-type'}, 'application/ld+json', 'of JSON-LD');
is($first->{header}{authorization}, 'Bearer first-token', 'with the token');
like($first->{header}{'idempotency-key'}, qr{^"\d+/1/0/0\.0-\d+\.\d+"$}, 'and a key');

my ($document) = decode_json(Test::SerialVerify::slurp($sv->base . "/receiver/$first->{sha}"));
is($document->{type}, 'EPCISDocument', 'a document');

# --- a failure is repeated, the token is read again

$sv->write_file('token', "second-token\n");
my $mark = $receiver->mark;
$receiver->mode('503');
operate('A000002', 'supply');
chained();
wait_for { $receiver->ended($mark) >= 3 } 'three attempts';

is(scalar(my @none = $receiver->taken($mark)), 0, 'nothing was taken');
like($sv->sql('select sv.push_figure(target) from sv.push'), qr/failing: HTTP 503: body$/, 'status says so');

$receiver->mode('lost');
wait_for { $receiver->taken($mark) } 'a document whose answer is lost';
$receiver->mode('ok');
pushed();

is(($receiver->begun($mark))[-1]{header}{authorization}, 'Bearer second-token', 'the new token');
is(scalar(distinct('idempotency-key', $receiver->begun($mark))), 1, 'one key');
is(scalar(distinct('sha', $receiver->begun($mark))), 1, 'one document');
cmp_ok(scalar(my @double = $receiver->taken($mark)), '>=', 2, 'it was taken twice');
is(scalar(my @single = arrived($mark)), 1, 'and is told apart by its eventID');
like($sv->sql('select sv.push_figure(target) from sv.push'), qr/^\d+ events sent, 0 rows behind$/, 'status forgets the failure');

# --- a receiver asks for time

$mark = $receiver->mark;
$receiver->mode('429 Retry-After: 2');
operate('A000003', 'supply');
chained();
wait_for { $receiver->ended($mark) } 'an attempt';
wait_for { defined $sv->sql('select next_at from sv.push') } 'the failure to be written down';
cmp_ok($sv->sql('select extract(epoch from next_at - error_at) from sv.push'), '>=', 1.9, 'and gets it');
$receiver->mode('ok');
pushed();

# --- a refusal

$mark = $receiver->mark;
$receiver->mode('400');
operate('A000004', 'supply');
chained();
wait_for { $sv->sql('select refused from sv.push') } 'the refusal';
operate('A000005', 'supply');
chained();
wait_for { $sv->sql(q{select value like '%refused: HTTP 400: body' from sv.worker_figure where name = 'push'}) } 'status to say so';
like($sv->log_of('push'), qr/is refused, nothing is sent until it is taken: HTTP 400: body/, 'the log, too');
is(scalar(my @refused = $receiver->begun($mark)), 1, 'it is not sent again and again');
$receiver->mode('ok');
pushed();
ok(!$sv->sql('select refused from sv.push'), 'it goes on once it is taken');

# --- a redirect is not followed, an answer without end is not read

$mark = $receiver->mark;
$receiver->mode('302 Location: ' . $receiver->url . '/elsewhere');
operate('A000006', 'supply');
chained();
wait_for { $sv->sql('select refused from sv.push') } 'the redirect to be refused';
is(scalar(grep { $_->{line} =~ /elsewhere/ } $receiver->begun($mark)), 0, 'a redirect is not followed');
$receiver->mode('endless');
pushed();
ok(1, 'an answer without end');
$receiver->mode('ok');

# --- killed while the receiver thinks; nobody else sends while the lease is held

$mark = $receiver->mark;
$receiver->mode('hang');
operate('A000007', 'supply');
chained();
wait_for { $receiver->begun($mark) } 'a document to arrive';
$sv->start_worker(name => 'push2', @push);
wait_for { $sv->log_of('push2') =~ /another process sends/ } 'the other to find the lease taken';
operate('A000008', 'supply');
chained();
is(scalar(my @one = $receiver->begun($mark)), 1, 'another process does not send what is under way');
$sv->kill9('push');
wait_for { $receiver->begun($mark) == 2 } 'it goes on when the first is dead';
$receiver->mode('ok');
pushed();
is(scalar(distinct('idempotency-key', ($receiver->begun($mark))[0, 1])), 1, 'under the same key');
is(scalar(distinct('sha', ($receiver->begun($mark))[0, 1])), 1, 'with the same document');
same('killed while it sends');

# --- everything at random

$receiver->mode('random');
$sv->start_worker(name => 'push', @push);
$sv->start_worker(name => 'relay2', roles => 'relay', relay_batch => 3);

my %state = map { sprintf('A%06d', $_) => 'active' } 100 .. 140;
my $wrong = 0;

for my $round (1 .. 12) {
    for (1 .. 15) {
        my $serial = (keys %state)[rand keys %state];
        my $undo   = $state{$serial} ne 'active';

        $wrong++ if operate($serial, $undo ? ('undo', 'supply') : ('supply')) ne 'ok';
        $state{$serial} = $undo ? 'active' : 'supplied';
    }

    load("more$round.csv", $gtin, map { sprintf 'R%02d%05d', $round, $_ } 1 .. 5100) if $round % 4 == 0;

    my $name = rand(2) < 1 ? 'push' : 'push2';
    sleep rand 0.4;
    $sv->kill9($name);
    $sv->start_worker(name => $name, @push);
}

is($wrong, 0, 'the operations at random');
$receiver->mode('ok');

# who starts does not wait for what was waited for before
$sv->stop($_) for qw(push push2);
$mark = $sv->sql('select clock_timestamp()');
$sv->start_worker(name => $_, @push) for qw(push push2);
pushed();
same('everything at random');

# per pack: a supply is declared not to have occurred after it was told, and before the next
my %last;
my $disorder = 0;

for my $event (grep { $_->{bizStep} eq 'dispensing' } arrived()) {
    my $pack = $event->{epcList}[0];

    $disorder++ if ($last{$pack} // '') ne ($event->{errorDeclaration} ? $event->{eventID} : '');
    $last{$pack} = $event->{errorDeclaration} ? '' : $event->{eventID};
}

is($disorder, 0, 'the events of each pack are in their order');

# --- of one company

# what a dead process held is one of these two's now
wait_for { $sv->sql(q{select count(*) from sv.push join pg_stat_activity on pid = holder where backend_start > ?}, $mark) } 'the lease to be taken';
$sv->stop($_) for qw(push push2);
is($sv->sql('select count(*) from sv.push where holder is not null'), 0, 'who leaves gives the lease back');

$mark = $receiver->mark;
$sv->start_worker(name => 'company', @push, push_company => 'bigpharma');
wait_for { ($sv->sql(q{select n from sv.push where target like '% bigpharma'}) // 0) == head() } 'the push of a company';
is(join(' ', map { @{$_->{epcList}} } $receiver->taken($mark)), "https://id.gs1.org/01/$foreign/21/F1", 'a company gets its own packs only');
$sv->stop('company');

# --- where it does not send to

for my $case (['http://epcis.example.com/capture', qr/must begin with https/], ['https://user:word@epcis.example.com/', qr/push_token_file/]) {
    $sv->worker_conf(@push, push_url => $case->[0], log => undef);
    my ($code, $text) = $sv->command('run', '--role', 'push');
    is($code, 2, "$case->[0] is refused");
    like($text, $case->[1], 'and it says why');
}

$receiver->stop;
$sv->done_testing;
