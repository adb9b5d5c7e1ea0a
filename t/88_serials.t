#!/usr/bin/perl

# Serial numbers for the lines: random by rule, never twice, never one that is in
# use, whoever asks at the same time; returned and expired ones are never issued again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use POSIX ();
use Test::More;

use Test::SerialVerify;

my $gtin  = '09506000134352';
my $other = '09506000134369';
my $bare  = '09506000134376';
my $sv    = Test::SerialVerify->new;
my $base  = $sv->base;
my $abc   = '23456789ABCDEFGHJKLMNPQRSTUVWXYZ';

sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)
sub slurp { return Test::SerialVerify::slurp($_[0]) }

sub says {
    my ($code, $pattern, @arguments) = @_;

    my ($got, $text) = $sv->command(@arguments);

    is($got, $code, "@arguments: code") or diag($text);
    like($text, $pattern, "@arguments: text");

    return $text;
}

sub problem {
    my ($answer, $status, $reason, $name) = @_;

    is($answer->{status}, $status, "$name: status") or diag($answer->{body});
    is($answer->{json}{reason}, $reason, "$name: $reason");

    return $answer->{json} // {};
}

sub serials_of {
    my ($file) = @_;
    return map { /^\d{14},"(.*)"$/ ? $1 =~ s/""/"/gr : () } split /\n/, slurp($file);
}

$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
$sv->product($other, company => 'other');
$sv->product($bare);
$sv->worker_conf;

my $mah      = $sv->actor('manufacturer', company => 'acme');
my $operator = $sv->actor('operator');
my $shop     = $sv->actor('pharmacy');


subtest 'rules' => sub {
    says(2, qr/serials rule, serials request, serials return or serials list/, 'serials');
    says(1, qr/there is no rule for the serial numbers/, qw(serials rule --gtin), $gtin);
    says(1, qr/there is no product 09506000134390/, qw(serials rule --gtin 09506000134390 --alphabet ABC --length 20));
    says(2, qr/alphabet: characters of the GS1 set/, qw(serials rule --gtin), $gtin, '--alphabet', 'AB C', '--length', 12);
    says(2, qr/alphabet: characters of the GS1 set/, qw(serials rule --gtin), $gtin, '--alphabet', "AB\x{c3}\x{a4}", '--length', 12);
    says(2, qr/alphabet: a character stands there twice/, qw(serials rule --gtin), $gtin, '--alphabet', 'ABCA', '--length', 12);
    says(2, qr/length: a number from 1 to 20/, qw(serials rule --gtin), $gtin, '--alphabet', $abc, '--length', 21);
    says(2, qr/length: a number from 1 to 20/, qw(serials rule --gtin), $gtin, '--alphabet', $abc);
    says(2, qr/--length "x": a number is needed/, qw(serials rule --gtin), $gtin, '--alphabet', $abc, '--length', 'x');
    says(2, qr/reserve_days: a number from 1 to 3650/, qw(serials rule --gtin), $gtin, '--alphabet', $abc, qw(--length 12 --reserve-days 0));
    says(1, qr/length: .* make them at least 3 characters long/, qw(serials rule --gtin), $gtin, '--alphabet', $abc, qw(--length 2));
    says(1, qr/take more characters, no length up to 20 does/, qw(serials rule --gtin), $gtin, '--alphabet', 'A', qw(--length 20));
    says(0, qr/the rule is set/, qw(serials rule --gtin), $gtin, '--alphabet', $abc, qw(--length 12 --reserve-days 30));
    says(0, qr/was so already/, qw(serials rule --gtin), $gtin, '--alphabet', scalar reverse($abc), qw(--length 12 --reserve-days 30));
    says(0, qr/12 characters out of "$abc", reserved for 30 days\nissued 0, commissioned 0; chance/, qw(serials rule --gtin), $gtin);
    says(0, qr/the rule is set/, qw(serials rule --gtin), $bare, '--opted-out');
    says(0, qr/come from elsewhere/, qw(serials rule --gtin), $bare);
    is($sv->sql(q{select count(*) from sv.audit where operation = 'put_serial_rule' and kind = 'admin' and actor is not null}), 2, 'audited');
};

subtest 'numbers by command' => sub {
    says(2, qr/n: a number from 1 to 150000/, qw(serials request --line L7 --n 150001 --out), "$base/x", '--gtin', $gtin);
    says(2, qr/n: a number from 1 to 150000/, qw(serials request --line L7 --n 0 --out), "$base/x", '--gtin', $gtin);
    says(1, qr/none are issued/, qw(serials request --line L7 --n 10 --out), "$base/x", '--gtin', $bare);
    says(1, qr/there is no rule/, qw(serials request --line L7 --n 10 --out), "$base/x", '--gtin', $other);
    says(2, qr/lot: 1 to 20 characters/, qw(serials request --line L7 --n 10 --out), "$base/x", '--gtin', $gtin, '--lot', 'a b');
    is($sv->sql('select count(*) from sv.serial_request'), 0, 'nothing was issued');

    my $text = says(0, qr/^request [0-9a-f-]{36}$/m, qw(serials request --line L7 --n 5000 --lot LOT1 --out), "$base/numbers.csv", '--gtin', $gtin);
    my ($id) = $text =~ /^request (\S+)/m;
    my @serials = serials_of("$base/numbers.csv");
    is(scalar @serials, 5000, 'as many');
    my %once = map { $_ => 1 } @serials;
    is(scalar keys %once, 5000, 'each once');
    is(scalar(grep { !/^[$abc]{12}$/ } @serials), 0, 'by the rule');
    is((stat "$base/numbers.csv")[2] & oct('777'), oct('600'), 'for nobody else');

    my %seen;
    $seen{$_}++ for map { split // } @serials;
    my ($least, $most) = (sort { $a <=> $b } values %seen)[0, -1];
    is(scalar keys %seen, 32, 'all characters');
    cmp_ok($most, '<', $least * 1.35, 'each as likely as the others');    # 1,875 of each, give or take 43

    says(0, qr/1000 numbers/, qw(serials request --line L8 --n 1000 --out), "$base/numbers.json", '--gtin', $gtin);
    my $json = JSON::PP->new->utf8->decode(slurp("$base/numbers.json"));
    is(scalar @{$json->{serials}}, 1000, 'as JSON');
    is(scalar(grep { $once{$_} } @{$json->{serials}}), 0, 'others');

    says(0, qr/5000 for line "L7", lot "LOT1".*\n.*not used 5000/, qw(serials list --gtin), $gtin, '--request', $id);
    is(() = says(0, qr/open/, qw(serials list --gtin), $gtin) =~ /^\S{36}  open/mg, 2, 'both are listed');
    says(1, qr/there is no request/, qw(serials list --gtin), $gtin, '--request', '00000000-0000-0000-0000-000000000000');

    # a file that was lost
    unlink "$base/numbers.csv";
    says(0, qr/5000 numbers/, qw(serials list --gtin), $gtin, '--request', $id, '--out', "$base/numbers.csv");
    is(join(' ', sort(serials_of("$base/numbers.csv"))), join(' ', sort @serials), 'is written again');
    says(1, qr/the numbers are issued, get them with/, qw(serials request --line L7 --n 3 --out), "$base/none/x.csv", '--gtin', $gtin);
    ok(!-e "$base/numbers.csv.part", 'nothing is left over');
};

subtest 'none that is in use' => sub {
    # so few numbers that most tries would hit one that is in use
    $sv->product(9506000134383);
    $sv->sql(q{insert into sv.serial_rule (gtin, alphabet, length, opted_out, reserve_days, at) values (9506000134383, '01', 5, false, 90, now())});
    $sv->pack_row(9506000134383, sprintf '%05b', $_) for 0 .. 7;
    $sv->sql(q{insert into sv.item_end (gtin, load_id, event, line, event_time, step, serial) values (9506000134383, 1, 1, 1, now(), 'decommissioning', '01000')});
    $sv->sql(q{insert into sv.commission (gtin, load_id, event, line, expiry, at, serial, lot) values (9506000134383, 1, 1, 1, now(), now(), '01001', 'L')});
    $sv->sql(q{insert into sv.serial_number (gtin, request_id, serial, returned) values (9506000134383, gen_random_uuid(), '01010', true)});

    my @all = map { sprintf '%05b', $_ } 0 .. 31;
    my $guess = $sv->sql(q{select pg_get_functiondef('sv.check_guess(text, integer, bigint)'::regprocedure)});
    $sv->sql(q{create or replace function sv.check_guess(p_alphabet text, p_length integer, p_numbers bigint) returns void language sql as ''});
    my $id = $sv->sql(q{select request_id from sv.serial_issue(null, 9506000134383, 'L', null, 21, null, 'test', ?)}, [@all, @all]);
    is($sv->sql('select count(*) from sv.serial_number where gtin = 9506000134383 and request_id = ?::text::uuid', $id), 21, 'all that are free');
    is($sv->sql('select count(*) from sv.serial_number n where gtin = 9506000134383 and request_id = ?::text::uuid and (serial < ?)', $id, '01011'), 0, 'none of the others');
    ok(!eval { $sv->sql(q{select sv.serial_issue(null, 9506000134383, 'L', null, 1, null, 'test', ?)}, \@all); 1 }, 'then no more');
    like($@, qr/make others/, 'and says so');
    ok(!eval { $sv->sql(q{select sv.serial_issue(null, 9506000134383, 'L', null, 1, null, 'test', '{2222,22222,A1111}')}); 1 }, 'none that is not of the rule');
    $sv->sql($guess);

    # the chance is looked at each time
    $sv->sql(q{insert into sv.load_lot (gtin, lot, load_id, first_line, lines, new_packs, repeated, contradictions, expiry, digest, at)
        values (?, 'BIG', 99, 1, 1, 120000000000000, 0, 0, '2030-12-31', '', now())}, $gtin);
    says(1, qr/one in 10000 at most may be: make them at least 13 characters long/, qw(serials request --line L7 --n 1 --out), "$base/x", '--gtin', $gtin);
    $sv->sql('delete from sv.load_lot where load_id = 99');
};

$sv->start_api;
$sv->start_nginx(api => 1, verify => {deadline => '5s'});

sub ask {
    my ($who, $body, %more) = @_;
    my $target = $more{gtin} // $gtin;
    return $sv->post("/serials/$target", JSON::PP->new->canonical->encode($body), key => $who->{key}, idempotency => $more{idempotency},
        headers => {'Content-Type' => 'application/json'}, nginx => 'nginx', timeout => 30);
}

subtest 'numbers by API' => sub {
    my $answer = ask($mah, {n => 100, line => 'L7', lot => 'LOT2'}, idempotency => 'k1');
    is($answer->{status}, 201, 'issued') or diag($answer->{body});
    my $json = $answer->{json};
    is(scalar @{$json->{serials}}, 100, 'the numbers');
    is_deeply([@{$json}{qw(gtin line lot n state used unused)}], [$gtin, 'L7', 'LOT2', 100, 'open', 0, 100], 'and what was asked');
    is($answer->{headers}{location}, "/serials/$gtin/$json->{request}", 'where it is');

    my $again = ask($mah, {n => 100, line => 'L7', lot => 'LOT2'}, idempotency => 'k1');
    is($again->{status}, 200, 'a repeat');
    is($again->{headers}{'idempotent-replayed'}, 'true', 'says so');
    is_deeply($again->{json}{serials}, $json->{serials}, 'gets the same numbers');
    is_deeply($sv->get("/serials/$gtin/$json->{request}", key => $mah->{key})->{json}{serials}, $json->{serials}, 'so does who asks for it');
    problem(ask($mah, {n => 101, line => 'L7', lot => 'LOT2'}, idempotency => 'k1'), 422, 'key_reused', 'the same key for something else');
    is(ask($operator, {n => 100, line => 'L7', lot => 'LOT2'}, idempotency => 'k1')->{status}, 201, 'the key of another location is another');

    problem(ask($mah, {n => 1, line => 'x'}), 400, 'idempotency_key_missing', 'no key');
    problem(ask($mah, {n => 1, line => 'x'}, idempotency => 'x', gtin => $other), 403, 'not_permitted', 'the product of another company');
    problem(ask($shop, {n => 1, line => 'x'}, idempotency => 'x'), 403, 'not_permitted', 'a pharmacy');
    problem(ask($operator, {n => 1, line => 'x'}, idempotency => 'x', gtin => '09506000134390'), 404, 'not_found', 'no such product');
    problem(ask($mah, {n => 1, line => 'x'}, idempotency => 'x', gtin => $bare), 409, 'conflict', 'opted out');
    problem(ask($operator, {n => 1, line => 'x'}, idempotency => 'x', gtin => $other), 409, 'conflict', 'no rule');
    problem(ask($mah, {n => 1, line => 'x'}, idempotency => 'x', gtin => '123'), 400, 'invalid_value', 'not a GTIN');
    problem(ask($mah, {n => 0, line => 'x'}, idempotency => 'x'), 400, 'invalid_value', 'none');
    problem(ask($mah, {n => 150_001, line => 'x'}, idempotency => 'x'), 400, 'invalid_value', 'too many');
    problem(ask($mah, {n => 1e15, line => 'x'}, idempotency => 'x'), 400, 'invalid_value', 'far too many');
    problem(ask($mah, {n => '1', line => 'x'}, idempotency => 'x'), 400, 'invalid_value', 'a string');
    problem(ask($mah, {n => 1}, idempotency => 'x'), 400, 'member_missing', 'no line');
    problem(ask($mah, {n => 1, line => 'x', colour => 'red'}, idempotency => 'x'), 400, 'member_unknown', 'a member too many');
    is($sv->sql(q{select count(*) from sv.serial_request where key = 'x'}), 0, 'nothing was issued of these');

    my $list = $sv->get("/serials/$gtin", key => $mah->{key});
    is($list->{status}, 200, 'the list');
    is((grep { $_->{request} eq $json->{request} } @{$list->{json}{requests}})[0]{by}, $sv->sql('select gln from sv.location where location_id = ?', $mah->{id}), 'tells who asked');
    problem($sv->get("/serials/$other", key => $mah->{key}), 403, 'not_permitted', 'the list of another company');
    problem($sv->get("/serials/$gtin/00000000-0000-0000-0000-000000000000", key => $mah->{key}), 404, 'not_found', 'no such request');
    problem($sv->get("/serials/$gtin/x", key => $mah->{key}), 404, 'not_found', 'not a request');
    ok(!eval { my $dbh = $sv->new_dbh('sv_api'); $dbh->selectrow_array('select sv.serial_requests(null, ?, null, 1)', undef, $gtin); 1 }, 'sv_api has to name its location');
};

subtest 'numbers come back' => sub {
    my $made = ask($mah, {n => 50, line => 'L7'}, idempotency => 'back')->{json};
    my $path = "/serials/$gtin/$made->{request}/return";
    my @serials = @{$made->{serials}};
    my $return = sub {
        my ($body) = @_;
        return $sv->post($path, JSON::PP->new->encode($body), key => $mah->{key}, headers => {'Content-Type' => 'application/json'});
    };

    my $file = $sv->write_file('line.csv', join "\n", 'gtin,serial,lot,expiry', (map { "$gtin,$_,LOTR,301231" } @serials[0 .. 9]), '');
    is(($sv->command('load-file', $file))[0], 0, 'ten are commissioned');

    problem($return->({}), 400, 'invalid_value', 'neither');
    problem($return->({serials => ['NONE']}), 400, 'invalid_value', 'none of this request');
    problem($return->({serials => [$serials[0]]}), 409, 'conflict', 'one that was used');
    is_deeply($return->({serials => [@serials[10 .. 14]]})->{json}, {returned => 5, unused => 35}, 'some');
    is_deeply($return->({serials => [@serials[10 .. 15]]})->{json}, {returned => 1, unused => 34}, 'again, and one more');
    is_deeply($return->({unused => JSON::PP::true})->{json}, {returned => 34, unused => 0}, 'all that were not used');
    my $now = $sv->get("/serials/$gtin/$made->{request}", key => $mah->{key})->{json};
    is_deeply([@{$now}{qw(state used returned unused)}, scalar @{$now->{serials}}], ['returned', 10, 40, 0, 10], 'the request');

    my ($id) = says(0, qr/^request/m, qw(serials request --line L7 --n 20 --out), "$base/back.csv", '--gtin', $gtin) =~ /^request (\S+)/m;
    my @more = serials_of("$base/back.csv");
    my $list = $sv->write_file('back.txt', join "\n", @more[0 .. 2], '');
    says(2, qr/needs --serials FILE or --unused/, qw(serials return --gtin), $gtin, '--request', $id);
    says(0, qr/returned 3, 17 of the request are not used yet/, qw(serials return --gtin), $gtin, '--request', $id, '--serials', $list);
    says(0, qr/returned 17, 0 of/, qw(serials return --gtin), $gtin, '--request', $id, '--unused');
    is($sv->sql(q{select count(*) from sv.audit where operation = 'return_serials'}), 5, 'audited');
};

subtest 'reservations end' => sub {
    my $made = ask($mah, {n => 5, line => 'L7'}, idempotency => 'late')->{json};

    $sv->sql(q{update sv.serial_request set reserved_until = now() - interval '1 minute' where request_id = ?::text::uuid}, $made->{request});
    $sv->start_worker(roles => 'housekeeping', housekeeping_interval => '100ms');
    wait_for { $sv->sql('select state from sv.serial_request where request_id = ?::text::uuid', $made->{request}) eq 'expired' } 'its end';
    is($sv->sql(q{select count(*) from sv.serial_request where state = 'expired'}), 1, 'no other');
    $sv->stop('worker');

    my $file = $sv->write_file('late.csv', "gtin,serial,lot,expiry\n$gtin,$made->{serials}[0],LOTL,301231\n");
    is(($sv->command('load-file', $file))[0], 0, 'one is commissioned all the same');
    is($sv->get("/serials/$gtin/$made->{request}", key => $mah->{key})->{json}{used}, 1, 'and counts');
};

subtest 'many ask at the same time' => sub {
    my @pids;

    for my $i (1 .. 6) {
        my $pid = fork() // die "fork: $!";

        if ($pid == 0) {
            my $bad = 0;
            for my $j (1 .. 4) {
                my ($code) = $i % 2 ? $sv->command(qw(serials request --line L --n 500 --out), "$base/race-$i-$j.csv", '--gtin', $gtin)
                    : ask($mah, {n => 500, line => 'L'}, idempotency => "race-$i-" . ($j % 2))->{status} =~ /^20[01]$/ ? 0 : 1;
                $bad ||= $code;
            }
            POSIX::_exit($bad);
        }

        push @pids, $pid;
    }

    is(scalar(grep { waitpid($_, 0); $? } @pids), 0, 'all get theirs');
    is($sv->sql('select count(*) from (select r.request_id from sv.serial_request r left join sv.serial_number s using (gtin, request_id)
        where r.gtin = ? group by r.request_id, r.n having count(s.serial) <> r.n) x', $gtin), 0, 'each whole');
    is($sv->sql('select issued - (select sum(n) from sv.serial_request where gtin = 9506000134352) from sv.serial_rule where gtin = 9506000134352'), 0, 'and counted');
    is($sv->sql(q{select count(*) from sv.serial_request where key like 'race-%'}), 6, 'a key gets one');
};

subtest 'a large request' => sub {
    my $start = Time::HiRes::time();
    my $answer = ask($mah, {n => 150_000, line => 'L7'}, idempotency => 'large');
    is($answer->{status}, 201, 'issued') or diag(substr $answer->{body}, 0, 200);
    is(scalar @{$answer->{json}{serials} // []}, 150_000, 'all of it');
    diag(sprintf '150000 numbers in %.1f s', Time::HiRes::time() - $start);
};

$sv->done_testing;
