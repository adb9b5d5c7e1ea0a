#!/usr/bin/env perl

# GET /epcis/export: the same document as the command's; a manufacturer gets its own products'.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use POSIX qw(strftime);
use Test::More;

use Test::SerialVerify;

my ($gtin, $foreign) = (9506000134352, 9506000164908);
my $sv = Test::SerialVerify->new(day => 60);
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin,    company => 'Acme');
$sv->product($foreign, company => 'Other');

my %who = map { $_ => $sv->actor($_) } qw(authority operator pharmacy wholesaler);
$who{acme}  = $sv->actor('manufacturer', company => 'Acme');
$who{other} = $sv->actor('manufacturer', company => 'Other');
$who{none}  = $sv->actor('manufacturer');

$sv->start_worker;
$sv->start_api(api_threads => 2);
$sv->start_nginx(api => 1, verify => {deadline => '5s'});

my $from = strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time - 60));

$sv->deliver('a.csv', join "\n", 'gtin,serial,lot,expiry', (map { sprintf '%014d,A%d,L1,2030-06-30', $gtin, $_ } 1 .. 20),
    (map { sprintf '%014d,F%d,L9,2030-06-30', $foreign, $_ } 1 .. 5), '');
Test::SerialVerify::wait_for { $sv->filed('a.csv') eq 'done' } 'the file is loaded';

is($sv->post($sv->link_to($gtin, 'A1', lot => 'L1', expiry => '300630'), '{"operation":"supply"}', key => $who{pharmacy}{key},
    headers => {'Idempotency-Key' => 's1'})->{status}, 200, 'a pack is supplied');
Test::SerialVerify::wait_for { !$sv->sql('select count(*) from sv.outbox') } 'the chain has it all';

my $to;
Test::SerialVerify::wait_for { $to = strftime('%Y-%m-%dT%H:%M:%SZ', gmtime); $to gt $sv->sql(
    q{select to_char(max(at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') from sv.audit}) } 'the second is over';

sub export {
    my ($who, $query) = @_;
    return $sv->get('/epcis/export?' . ($query // "from=$from&to=$to"), key => $who{$who}{key});
}

my $all = export('authority');
is($all->{status}, 200, 'the authority') or diag($all->{body});
is($all->{headers}{'content-type'}, 'application/ld+json', 'JSON-LD');

my ($code) = $sv->command('export', '--from', $from, '--to', $to, '--out', $sv->base . '/all.json');
is($code, 0, 'the command');
is($all->{body}, Test::SerialVerify::slurp($sv->base . '/all.json'), 'writes the same bytes');
is(export('operator')->{body}, $all->{body}, 'an operator gets them, too');

my $own = export('acme');
is($own->{status}, 200, 'a manufacturer');
like($own->{body}, qr{/01/0*$gtin/21/A20"}, 'has its own packs');
like($own->{body}, qr/dispens/, 'and what became of them');
unlike($own->{body}, qr/$foreign/, 'nothing of another company');
unlike(export('other')->{body}, qr/$gtin/, 'nor the other way round');

is(export('none')->{status}, 403, 'a manufacturer of no company');
is(export('wholesaler')->{status}, 403, 'others may not');
is($sv->get("/epcis/export?from=$from&to=$to")->{status}, 401, 'nor the public');
is(export('acme', "to=$to")->{json}{element}, 'from', 'a time is missing');
is(export('acme', "from=$from&to=x")->{json}{element}, 'to', 'no time');
is(export('acme', "from=$to&to=$from")->{status}, 400, 'backwards');
is(export('acme', "from=$from&to=2100-01-01")->{status}, 409, 'not ended yet');
is(scalar @{decode_json(export('acme', 'from=2020-01-01&to=2020-01-02')->{body})->{epcisBody}{eventList}}, 0, 'an empty period');

$sv->done_testing;
