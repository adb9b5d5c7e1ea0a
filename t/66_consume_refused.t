#!/usr/bin/env perl

# What PostgreSQL refuses for what is in it, or what cannot be read, is put aside
# once, whatever is killed meanwhile; what comes behind it is judged; and it can be
# judged after all.

use strict;
use warnings;

use FindBin;
use JSON::PP ();
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;
use Test::SerialVerify::Stream;
use Time::HiRes qw(sleep);

my $gtin = 9506000134352;
my $sv   = Test::SerialVerify->new;

$ENV{SVW_FAILPOINTS} = $sv->directory('failpoints');
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
$sv->lot($gtin, 'LOT1');

my @site    = map { $sv->location(role => 'pharmacy', country => $_) } qw(IT DE);
my $gateway = Test::SerialVerify::Stream->new($sv);

sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)

sub refuse {
    $sv->sql(q{alter table sv.scan add constraint poison check (serial not like 'POISON%') not valid});
    return;
}

sub permit {
    $sv->sql('alter table sv.scan drop constraint poison');
    return;
}

# a pack of a lot of its own, supplied at these sites
sub supply {
    my ($serial, @at) = @_;

    $sv->sql(q{insert into sv.lot (gtin, lot, expiry) values (?, ?, date '2030-12-31') on conflict do nothing}, $gtin, "L$serial");
    $sv->sql(q{insert into sv.pack (gtin, serial, lot, expiry) values (?, ?, ?, date '2030-12-31')}, $gtin, $serial, "L$serial");
    $sv->sql(q{select sv.operate(?, ?, ?, date '2030-12-31', 'supply', null, ?, gen_random_uuid()::text, 'f', 'scanned', null, 'IT-1',
        gen_random_uuid(), gen_random_uuid()::text)}, $gtin, $serial, "L$serial", $_) for @at;

    return;
}

sub scans { my (@serials) = @_; return map { {serial => $_, location => $site[0]} } @serials }

sub cases_of {
    my ($serial) = @_;

    return $sv->sql('select count(distinct f.case_id) from sv.case_finding f where ? = any (f.serials) and not f.withdrawn', $serial);
}

sub refused { my ($kind) = @_; return $sv->sql('select count(*) from sv.refused where kind = ?', $kind) }

sub idle {
    wait_for {
        eval {
            $sv->redis->xlen('sv:scans') == 0
                && $sv->sql('select not exists (select from sv.outbox) and h.n = j.chain_n and not exists (select from sv.refused where again) from sv.audit_head h, sv.judge j');
        };
    } 'everything to be judged or put aside', 180;

    return;
}

# every event and every operation is in one place, once
sub whole {
    my ($what) = @_;

    idle();
    is($sv->sql(q{select string_agg(k, ', ') from (
        select format('%s: %s times in history, %s aside', e.k, count(s.n), count(r.n)) as k
        from (
          select 'event ' || i as k, 'gateway1' as gateway, 1::bigint as boot, i as seq, 'event' as kind from generate_series(1, ?::bigint) i
          union all
          select 'operation ' || c.n, '', 0, c.n, 'chain' from sv.audit_chain c join sv.audit a using (gtin, at, audit_id) where a.kind = 'operation') e
          left join sv.scan s on s.gateway = e.gateway and s.boot = e.boot and s.seq = e.seq
          left join sv.refused r on r.kind = e.kind and r.seq = e.seq
        group by e.k having count(s.n) + count(r.n) <> 1) x}, $gateway->{sequence}), undef, "$what: each is there once");
    is($sv->sql('select last_seq - received from sv.scan_source'), 0, "$what: and counted");

    return;
}


$sv->start_worker(name => 'relay', roles => 'relay');
$sv->start_worker(roles => 'consume', drain_timeout => '1s');

subtest 'in the middle of a block' => sub {
    refuse();
    $gateway->send(scans(map { $_ == 30 || $_ == 47 ? "POISON$_" : "A$_" } 1 .. 60));
    $gateway->send(scans(map {"B$_"} 1 .. 20));
    supply('CLONE1', @site);
    wait_for { cases_of('CLONE1') } 'what is behind it to be judged';
    whole('two of sixty');
    is(refused('event'), 2, 'both are put aside');
    is($sv->redis->xpending('sv:scans', 'judge')->[0], 0, 'the blocks are acknowledged');
    is_deeply([$sv->sql(q{select gateway, boot, seq, code, lines, tries from sv.refused where seq = 30})], ['gateway1', 1, 30, '23514', 1, 1], 'the row');
    like($sv->log_of('worker'), qr/\[error\].*the event 30 of the gateway "gateway1" \(boot 1\) is put aside.*23514.*"poison"/, 'told');
};

subtest 'an operation' => sub {
    supply('BEFORE', @site);
    supply('POISONOP', @site);
    supply('BEHIND', @site);
    wait_for { cases_of('BEHIND') && cases_of('BEFORE') } 'what is beside it to be judged';
    whole('operations');
    is(refused('chain'), 2, 'both are put aside');
    is(cases_of('POISONOP'), 0, 'there is no case');
    is($sv->sql(q{select count(*) from sv.refused r join sv.audit_chain c on c.n = r.seq
        join sv.audit a on a.gtin = c.gtin and a.at = c.at and a.audit_id = c.audit_id
        where r.kind = 'chain' and a.serial = 'POISONOP'}), 2, 'they are the right ones');
};

subtest 'what is no event' => sub {
    my $line = $gateway->line(scans('C1'));

    my @bad  = ("2\tof another version\n", "\x00\xff\e[2J\n", "7  2026-11-20T00:00:00Z  like a row\n");

    $gateway->lines($bad[0], $line, @bad[1, 2]);
    $gateway->lines(@bad);
    whole('what is beside it');
    is(refused('lines'), 1, 'the same twice is put aside once');
    is($sv->sql(q{select content from sv.refused where kind = 'lines'}), join('', @bad), 'as it came');
};

subtest 'a case' => sub {
    $sv->sql(q{alter table sv.case_finding add constraint poison check (not serials && '{BADCASE}')});
    $sv->pause('worker');
    supply($_, @site) for qw(CASE1 BADCASE CASE2);
    wait_for { $sv->sql('select not exists (select from sv.outbox)') } 'them in the chain';
    $sv->resume('worker');
    wait_for { cases_of('CASE1') && cases_of('CASE2') } 'the other cases';
    whole('its operations');
    is(cases_of('BADCASE'), 0, 'it is not written');
    is(refused('case'), 1, 'and told');
};

subtest 'for people' => sub {
    my ($code, $text) = $sv->command('refused');
    is($code, 0, 'the command');
    like($text, qr/^1 .* gateway gateway1, boot 1, event 30\n.*"poison", 23514\n    1\t30\t\d+\t\t$gtin\tPOISON30\t/m, 'an event');
    like($text, qr/row \d+ of the audit chain\n.*\n    operation supply 0$gtin serial POISONOP lot LPOISONOP\n/, 'an operation');
    like($text, qr/gateway gateway1, boot 1, 3 lines\n    cannot be read.*\n    2\tof another version\n    \\000\\377\?\[2J\n    7  2026.*\n/, 'lines, harmless');
    like($text, qr/case [0-9a-f-]{36}\n/, 'a case');
    my @rows = map { JSON::PP::decode_json($_) } split /\n/, ($sv->command('refused', '--json', '--limit', 2))[1];
    is_deeply([map { $_->{n} } @rows], [1, 2], 'as JSON, two of them');
    ($code, $text) = $sv->command('status');
    like($text, qr/^put aside +case 1, chain 2, event 2, lines 1$/m, 'status');
    like($text, qr/^ *- 6 things that cannot be judged are put aside \(case 1, chain 2, event 2, lines 1\): serial-verify-worker refused$/m, 'a sentence');
    is(($sv->command('refused', 'again', 99_999))[0], 1, 'there is no such one');
    is(($sv->command('refused', 'again', 'none'))[0], 2, 'nor is this a number');
    wait_for { ($sv->sql(q{select value from sv.worker_figure where name = 'consume'}) // '') =~ / 6 unreadable, 5 put aside/ } 'the figure';
};

subtest 'again, with the cause there' => sub {
    is(($sv->command('refused', 'again', 'all'))[0], 0, 'wanted');
    idle();
    is_deeply([map { refused($_) } qw(event chain lines)], [2, 2, 1], 'it stays');
    is($sv->sql(q{select count(*) from sv.refused where tries > 1 and kind <> 'case'}), 5, 'tried');
    wait_for { refused('case') == 1 } 'the case to be said and refused again';
    whole('nothing is there twice');
};

subtest 'again, when it is mended' => sub {
    permit();
    $sv->sql('alter table sv.case_finding drop constraint poison');
    is(($sv->command('refused', 'again', 1))[0], 0, 'one');
    idle();
    is(refused('event'), 1, 'is judged');
    is(($sv->command('refused', 'again', 'all'))[0], 0, 'all');
    idle();
    whole('judged');
    is_deeply([map { refused($_) } qw(event chain lines case)], [0, 0, 1, 0], 'what cannot be read stays');
    is($sv->sql(q{select count(*) from sv.scan where serial like 'POISON%'}), 4, 'in history');
    wait_for { cases_of('POISONOP') && cases_of('BADCASE') } 'the cases that they make';
    is(cases_of('POISONOP'), 1, 'one for both');
    is($sv->sql(q{select string_agg(kind, ' ' order by n) from sv.case_event where case_id in (select case_id from sv.case_finding where 'BADCASE' = any (serials))}), 'opened',
        'each is opened once');
};

subtest 'what is there already' => sub {
    refuse();
    my $line = $gateway->line(scans('POISONX'));
    $gateway->lines($line);
    whole('put aside');
    permit();
    $gateway->lines($line);
    idle();
    is($sv->sql(q{select count(*) from sv.scan where serial = 'POISONX'}), 1, 'it came once more and was taken');
    $sv->command('refused', 'again', 'all');
    idle();
    is(refused('event'), 0, 'judged, it is put aside no more');
    whole('and there once');
};

subtest 'SIGKILL at random' => sub {
    refuse();

    for ($sv->seeds(4, 30)) {
        my $pid = wait_for { ($sv->server('worker')->children)[0] } 'a consumer';
        $gateway->send(scans(map { rand() < 0.1 ? "POISONK$_" : "K$_" } 1 .. 200));
        supply("POISONK$gateway->{sequence}", $site[0]);
        supply("K$gateway->{sequence}",       $site[0]);
        sleep rand 0.3;
        kill 'KILL', $pid;
    }

    whole('killed');
    permit();
    wait_for { ($sv->server('worker')->children)[0] } 'a consumer';
    $sv->command('refused', 'again', 'all');
    whole('killed, and again');
    is(refused('event') + refused('chain'), 0, 'nothing is aside');
};

subtest 'SIGKILL where it hurts' => sub {
    plan skip_all => 'the release build has no failpoints' if !$sv->asan;

    for my $name (map { ("consume-$_") x 2 } qw(refused aside)) {
        refuse();
        $sv->write_file("failpoints/$name", '');
        $gateway->send(scans(map { $_ == 5 ? "POISONF$gateway->{sequence}" : "F$_" } 1 .. 9));
        supply("POISONF$gateway->{sequence}", $site[0]);
        wait_for { !-e "$ENV{SVW_FAILPOINTS}/$name" } $name;
        whole($name);
        permit();
        $sv->write_file('failpoints/consume-again', '');
        $sv->command('refused', 'again', 'all');
        wait_for { !-e "$ENV{SVW_FAILPOINTS}/consume-again" } 'consume-again';
        whole("$name, and again");
        is(refused('event') + refused('chain'), 0, 'nothing is aside');
    }
};

$sv->allow_log(qr/was terminated by signal 9/);
$sv->done_testing;
