#!/usr/bin/perl

# The audit chain, checked by somebody who does not trust the database: whatever
# its administrator changes, the check names it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use MIME::Base64 qw(decode_base64);
use Test::More;

use Test::SerialVerify;

my $gtin  = '09506000134352';
my $other = '09506000134369';
my $sv    = Test::SerialVerify->new(day => 400);
my $base  = $sv->base;
my $n     = 0;

my @columns = qw(gtin at audit_id occurred_at location_id version expiry repeat changed kind operation of serial lot reason
    state_before state code alert_id hint entry_mode key request_id actor detail);

sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)
sub slurp { return Test::SerialVerify::slurp($_[0]) }
sub superuser { $sv->dbh->do($_) for @_; return }


sub operate {
    my ($serial, $operation, %more) = @_;

    return $sv->sql(q{select reason from sv.operate(?, ?, 'LOT1', '2030-12-31', ?, null, ?, ?, 'f', 'scanned', ?, 'XX-1',
        gen_random_uuid(), 'r')}, $more{gtin} // $gtin, $serial, $operation, $more{location}, 'key-' . ++$n, $more{occurred_at});
}


sub drained {
    return wait_for { $sv->sql('select count(*) from sv.outbox') == 0 } 'the outbox';
}


sub verify {
    my (@arguments) = @_;

    return $sv->command('audit', 'verify', @arguments);
}


sub fits {
    my ($name, @arguments) = @_;

    my ($code, $text) = verify(@arguments);

    is($code, 0, "$name: fits") or diag($text);
    like($text, qr/ fits: \d+ rows/, "$name: says so");

    return $text;
}


sub names {
    my ($pattern, $name, @arguments) = @_;

    my ($code, $text) = verify(@arguments);

    is($code, 1, "$name: exit code");
    like($text, qr/^does not fit: $pattern/, "$name: named");

    return;
}


# What a row is called.
sub place {
    my ($row) = @_;

    my ($id, $day) = $sv->sql(q{select audit_id, to_char(at at time zone 'UTC', 'YYYY-MM-DD') from sv.audit_chain where n = ?}, $row);

    return "chain row $row, audit $id, $day: ";
}


my @tables = qw(audit audit_chain audit_head audit_day outbox load load_lot pack);

sub keep {
    superuser('drop schema if exists keep cascade', 'create schema keep', map { "create table keep.$_ as select * from sv.$_" } @tables);
    return;
}


sub restore {
    superuser('begin', (map { ("truncate sv.$_", "insert into sv.$_ select * from keep.$_") } @tables), 'commit');
    return;
}


# tamper(NAME, qr/WHAT IS SAID/, SQL..): undone afterwards
sub tamper {
    my ($name, $pattern, @sql) = @_;

    superuser(@sql);
    names($pattern, $name);
    restore();

    return;
}


# A part of the chain computed anew by whoever may: from the rows as they are.
sub rechain {
    my ($from) = @_;

    superuser(qq{do \$\$
        declare v record; h bytea;
        begin
          select hash into h from sv.audit_chain where n = $from - 1;
          for v in select c.n, sha256(convert_to(sv.audit_text(a), 'UTF8')) as d
            from sv.audit_chain c join sv.audit a using (gtin, at, audit_id) where c.n >= $from order by c.n
          loop
            h := sha256(h || v.d);
            update sv.audit_chain set digest = v.d, hash = h where n = v.n;
          end loop;
          update sv.audit_head set hash = h;
        end \$\$});

    return;
}


sub public_key {
    my ($name) = @_;

    my ($code, $text) = $sv->command('audit', 'key', '--out', "$base/$name");
    $sv->give("$base/$name");
    is($code, 0, "a key: $name");
    my ($pem) = $text =~ /(-----BEGIN PUBLIC KEY-----\n.*?-----END PUBLIC KEY-----\n)/s;

    return $pem;
}


# A head as docs/worker.md says, signed by openssl.
sub sign {
    my ($key, @field) = @_;

    my $line = join ' ', 'serial-verify-head/1', @field;

    $sv->write_file('to-sign', $line);
    system("openssl pkeyutl -sign -rawin -inkey $base/$key -in $base/to-sign -out $base/signed") == 0 or die 'openssl';

    return $line . ' ' . unpack 'H*', slurp("$base/signed");
}


$sv->start_postgres;
$sv->product($gtin);
$sv->product($other);

my $pharmacy = $sv->location(role => 'pharmacy');
my $pem      = public_key('audit.key');
my $raw      = unpack 'H*', substr decode_base64($pem =~ s/-----[^-]+-----//gr), -32;
my %settings = (redis => undef, inbox => undef, audit_key => "$base/audit.key", audit_heads => "$base/heads", housekeeping_interval => '100ms');

$sv->write_file('audit.pub', $pem);

subtest 'keys' => sub {
    is((stat "$base/audit.key")[2] & oct('7777'), oct('600'), 'nobody else reads it');

    my ($code, $text) = $sv->command('audit', 'key', '--out', "$base/audit.key");
    is($code, 1, 'a key that is there stays');
    like($text, qr/File exists/, 'and is told');

    $sv->worker_conf(%settings);
    chmod oct('640'), "$base/audit.key";
    ($code, $text) = $sv->command('--check');
    is($code, 2, 'a key that others may read');
    like($text, qr/audit_key ".*audit\.key": its mode is 0640.*chmod 0600/, 'is refused');
    ($code, $text) = $sv->command('audit', 'sign');
    is($code, 1, 'also for signing');
    chmod oct('600'), "$base/audit.key";
    ($code, $text) = $sv->command('--check');
    is($code, 0, 'now it is good') or diag($text);

    $sv->worker_conf(%settings, audit_key => "$base/audit.pub");
    chmod oct('600'), "$base/audit.pub";
    ($code, $text) = $sv->command('--check');
    like($text, qr/not a private key of Ed25519/, 'not a private key');

    $sv->worker_conf(%settings, audit_key => undef);
    ($code, $text) = $sv->command('--check');
    like($text, qr/"audit_heads" needs "audit_key"/, 'heads without a key');
};

subtest 'days that have ended get heads' => sub {
    $sv->start_worker(%settings, roles => 'relay');
    operate('A1', 'supply', location => $pharmacy);
    drained();
    $sv->stop('worker');

    # a head of five days ago, made by another program, after which the worker was away
    my $hash = $sv->sql(q{select encode(hash, 'hex') from sv.audit_head});
    my $day  = $sv->sql(q{select to_char((now() at time zone 'UTC')::date - 5, 'YYYY-MM-DD')});
    my $line = sign('audit.key', $sv->sql('select system_identifier from pg_control_system()'), 1, 'day', $day, 1, 1, $hash,
        '0' x 64, $raw, 1_795_000_000_000_000);
    my @field = split / /, $line;
    is($sv->sql(q{select sv.audit_sign(1, 'day', ?, ?, 1, 1, ?, ?, ?, ?, 1795000000000000, 'test')}, $day, @field[1, 7, 8, 9, 11]), 1, 'a head');

    operate('A2', 'supply', location => $pharmacy);
    $sv->start_worker(%settings, roles => 'relay');
    drained();
    $sv->stop('worker');
    $sv->start_worker(%settings, roles => 'relay, housekeeping');
    $sv->start_worker(%settings, name => 'second', roles => 'relay, housekeeping');
    wait_for { $sv->sql(q{select count(*) from sv.audit_day where kind = 'day'}) == 5 } 'four heads more';
    drained();

    is(join(' ', map { $_->[0] } @{$sv->dbh->selectall_arrayref('select first_n <= last_n from sv.audit_day order by head')}),
        '1 1 0 0 0', 'days without rows, too; the first takes what was chained late');
    is($sv->sql(q{select max(day) = (now() at time zone 'UTC')::date - 1 and count(distinct day) = 5 from sv.audit_day}), 1, 'each ended day once');

    wait_for { (() = slurp("$base/heads") =~ /\n/g) == 5 } 'the file of heads';
    is((split /\n/, slurp("$base/heads"))[0], $line, 'it begins with the head that was there');
    $sv->stop('second');
    fits('heads', '--public-key', "$base/audit.pub");
};

subtest 'rows of every kind' => sub {
    $sv->pack_row($gtin, "P$_") for 1 .. 6;
    operate('P1', 'supply', location => $pharmacy, occurred_at => '2026-11-20 12:00:00.123456+00');
    operate("P1", 'supply', location => $pharmacy) for 1 .. 5;
    operate('P1', 'destroy', location => $pharmacy);
    operate('X', 'verify', location => $pharmacy, gtin => $other);

    my $file = $sv->write_file('line.csv', join "\n", 'gtin,serial,lot,expiry', (map { "$gtin,L$_,LOTA,301231" } 1 .. 50),
        (map { "$gtin,M$_,LOTB,301231" } 1 .. 50), "$gtin,P1,LOT1,301231", '');
    is(($sv->command('load-file', $file))[0], 0, 'a load');
    $sv->command('recall', '--gtin', $gtin, '--lot', 'LOT9', '--reason', "Gl\x{c3}\x{a4}ser \"zerbrochen\"", '--reference', 'R-1');
    $sv->command('key', 'create', '--gln', $sv->sql('select gln from sv.location'));
    drained();

    my ($code, $text) = $sv->command('audit', 'sign');
    is("$code $text", "0 signed: 1 heads\n", 'signed on demand');
    operate("P2", 'supply', location => $pharmacy);
    drained();
    is(($sv->command('audit', 'sign'))[1], "signed: 1 heads\n", 'again');
    is(($sv->command('audit', 'sign'))[1], "signed: 0 heads\n", 'nothing new');
    operate("P$_", 'supply', location => $pharmacy) for 3 .. 6;
    drained();

    $text = fits('all', '--packs');
    like($text, qr/7 signed heads, 3 loaded lots, serials of 3 lots$/m, 'what was checked');
    like($text, qr/^last signed: head 7 of .*; 4 rows behind it are not signed yet$/m, 'and what is not signed');
    fits('from a row on', '--from', 10);
    names(qr/chain row 4999: there is none/, 'from a row that is not there', '--from', 5000);
    is((verify('--from', 'x'))[0], 2, 'not a number');
};

$sv->stop('worker');
keep();

my $rows  = $sv->sql('select n from sv.audit_head');
my $row   = $sv->sql(q{select c.n from sv.audit_chain c join sv.audit a using (gtin, at, audit_id) where a.occurred_at is not null});
my $load  = $sv->sql(q{select c.n from sv.audit_chain c join sv.audit a using (gtin, at, audit_id) where a.lot = 'LOTB' and a.kind = 'load'});
my $where = "gtin = $gtin and audit_id = (select audit_id from sv.audit_chain where n = $row)";

subtest 'a row changed in any of its columns' => sub {
    my %value = (
        gtin => '1', at => "at - interval '1 second'", audit_id => 'gen_random_uuid()', occurred_at => "occurred_at + interval '1 microsecond'",
        location_id => 'location_id + 1', version => 'coalesce(version, 0) + 1', expiry => "expiry + 1", repeat => 'coalesce(repeat, 0) + 1',
        changed => 'not changed', kind => "'admin'", detail => q{'{"a": 1}'}, map { $_ => "coalesce($_, '') || 'x'" }
        qw(operation of serial lot reason state_before state code alert_id hint entry_mode key request_id actor),
    );

    is(join(' ', sort keys %value), join(' ', sort @columns), 'all columns');
    tamper($_, qr/\Q${\ place($row)}\Erow changed: /, "update sv.audit set $_ = $value{$_} where $where") for @columns;
    tamper('empty instead of null', qr/\Q${\ place($row)}\Erow changed: /, "update sv.audit set hint = '' where $where");
    fits('put back');
};

subtest 'rows removed, added, reordered' => sub {
    my $id = sub { "(select audit_id from sv.audit_chain where n = $_[0])" };

    tamper('a row deleted', qr/\Q${\ place($row)}\Erow missing: /, "delete from sv.audit where $where");
    tamper('a row that waits deleted', qr/audit \S+, [\d-]+: row missing: it waits to be chained/,
        "insert into sv.outbox (gtin, audit_id, at) values (1, gen_random_uuid(), now())");
    tamper('a row added', qr/audit \S+, [\d-]+: row added: it is neither in the chain nor waits for it \(operation supply, gtin $gtin\)/,
        "insert into sv.audit (gtin, at, audit_id, changed, kind, operation, reason) values ($gtin, now(), gen_random_uuid(), true, 'operation', 'supply', 'ok')");
    tamper('contents of two rows swapped', qr/\Q${\ place($row)}\Erow changed: /,
        "create temp table pair as select * from sv.audit where $where or audit_id = " . $id->($row + 1),
        "update sv.audit a set serial = p.serial, key = p.key, request_id = p.request_id, reason = p.reason, changed = p.changed, version = p.version,
           state_before = p.state_before, state = p.state, occurred_at = p.occurred_at, repeat = p.repeat, code = p.code, alert_id = p.alert_id
         from pair p where a.audit_id in (select audit_id from pair) and p.audit_id <> a.audit_id", 'drop table pair');
    tamper('a chain row deleted', qr/chain row 5: removed; the next is audit \S+ of /, 'delete from sv.audit_chain where n = 5');
    tamper('several chain rows deleted', qr/chain row 5: removed, with those to 8; /, 'delete from sv.audit_chain where n between 5 and 8');
    tamper('the chain renumbered', qr/chain row 6, audit \S+, [\d-]+: renumbered: it follows from chain row 4/,
        'update sv.audit_chain set n = -n - 1 where n >= 5', 'update sv.audit_chain set n = -n where n < 0');
    tamper('two chain rows swapped', qr/chain row 5, audit \S+, [\d-]+: reordered: it follows from what is chain row 6 now/,
        'update sv.audit_chain set n = -n where n in (5, 6)', 'update sv.audit_chain set n = 11 + n where n < 0');
    tamper('a chain row far away swapped', qr/chain row 5, audit \S+, [\d-]+: reordered: it follows from what is chain row 9 now/,
        'update sv.audit_chain set n = -n where n in (5, 10)', 'update sv.audit_chain set n = 15 + n where n < 0');
    tamper('a digest changed', qr/\Q${\ place(7)}\Echain row changed: the digest/, q{update sv.audit_chain set digest = sha256(digest) where n = 7});
    tamper('a digest shortened', qr/\Q${\ place(7)}\Echain row changed: the digest/, q{update sv.audit_chain set digest = '' where n = 7});
    tamper('a hash changed', qr/\Q${\ place(7)}\Echain row changed or reordered: its hash/, q{update sv.audit_chain set hash = sha256(hash) where n = 7});
    tamper('digest and hash changed', qr/\Q${\ place(7)}\Erow and chain row changed/,
        q{update sv.audit_chain set digest = sha256(digest), hash = sha256(hash) where n = 7});
    tamper('a chain row that names another time', qr/chain row 7, audit \S+, [\d-]+: chain row changed: it names another row/,
        q{update sv.audit_chain set at = at - interval '1 day' where n = 7});
    tamper('the newest row deleted', qr/\Q${\ place($rows)}\Erow missing: /, "delete from sv.audit where audit_id = " . $id->($rows));
    tamper('the end of the chain deleted', qr/chain row $rows: removed: the chain ends before it/, "delete from sv.audit_chain where n = $rows");
    tamper('the head of the chain changed', qr/chain row $rows: sv\.audit_head was changed/, 'update sv.audit_head set hash = sha256(hash)');
    fits('put back');
};

subtest 'the whole chain computed anew' => sub {
    superuser("update sv.audit set reason = 'recalled' where $where");
    rechain($row);
    names(qr/head 6, [\d-]+: another hash was signed for chain row \d+: .* a row from 4 to \d+ was changed/, 'a row changed');
    restore();

    # before the last signed head, with everything that belongs to it
    my $last = $sv->sql('select last_n from sv.audit_day where head = 7');
    superuser("delete from sv.audit_chain where n >= $last", q{delete from sv.outbox},
        'update sv.audit_head set n = c.n, hash = c.hash from (select * from sv.audit_chain order by n desc limit 1) c',
        'delete from sv.audit a where not exists (select from sv.audit_chain c where c.audit_id = a.audit_id)');
    names(qr/chain row $last: removed: the chain ends before it, head 7 of [\d-]+ was signed for the rows to $last/, 'its end removed');
    restore();

    # behind it: nobody can tell without a copy, which is why one signs and exports
    superuser("update sv.audit set reason = 'recalled' where audit_id = (select audit_id from sv.audit_chain where n = $rows)");
    rechain($rows);
    fits('a row that is not signed yet');
    restore();
};

subtest 'heads' => sub {
    tamper("head: $_->[0]", qr/head 3, [\d-]+: signature wrong: /, "update sv.audit_day set $_->[0] = $_->[1] where head = 3")
        for ['day', 'day - 10'], ['kind', "'demand'"], ['system', "'1'"], ['first_n', 'first_n - 1'], ['last_n', 'last_n - 1'], ['hash', 'sha256(hash)'],
        ['previous', 'sha256(previous)'], ['key', 'sha256(key)'], ['signature', "signature || ''::bytea || sha256(signature)"], ['at', "at + interval '1 second'"];
    tamper('a head removed', qr/head 3: removed: head 4 of [\d-]+ comes behind head 2/, 'delete from sv.audit_day where head = 3');
    tamper('the first head removed', qr/head 1: removed: head 2/, 'delete from sv.audit_day where head = 1');
    tamper('the newest head removed', qr/head 7, [\d-]+: removed: it is in \S+heads:7, not in the database/, 'delete from sv.audit_day where head = 7');
    tamper('all heads removed', qr/head 1, [\d-]+: removed: it is in \S+heads:1, not in the database/, 'delete from sv.audit_day');
    tamper('two heads exchanged', qr/head 3: removed|head 3, [\d-]+: signature wrong/,
        'update sv.audit_day set head = -head where head in (3, 4)', 'update sv.audit_day set head = 7 + head where head < 0');

    # without the file: a day without a head, as long as it is not of this moment
    my %bare = %settings;
    delete $bare{audit_heads};
    $sv->worker_conf(%bare);
    superuser('delete from sv.audit_day where head >= 4');
    names(qr/head of \d{4}-\d\d-\d\d: there is none: it was removed, or the worker/, 'the newest heads of days removed');
    superuser('delete from sv.audit_day');
    names(qr/head 1: there is no signed head/, 'all heads removed');
    restore();
    superuser('delete from sv.audit_day where head >= 6');
    fits('a head on demand removed cannot be told without the file');
    restore();
    $sv->worker_conf(%settings);

    # another key, whose owner signs everything anew
    my $false = public_key('false.key');
    $sv->write_file('false.pub', $false);
    names(qr/head 1, [\d-]+: signature wrong: it is of another key/, 'the key of somebody else', '--public-key', "$base/false.pub");
    is((verify('--public-key', "$base/line.csv"))[0], 2, 'not a key');
    fits('both keys in a file', '--public-key', $sv->write_file('both.pub', $false . $pem));
};

subtest 'the file of heads' => sub {
    my $heads = slurp("$base/heads");
    my @line  = split /^/, $heads;

    my $with = sub {
        my ($pattern, $name, @lines) = @_;
        names($pattern, $name, '--heads', $sv->write_file('tampered', join '', @lines));
    };

    $with->(qr/\S+tampered:3: head 4 comes behind head 2/, 'a line removed', @line[0, 1, 3 .. 6]);
    $with->(qr/\S+tampered:3: this is not a head/, 'a line damaged', @line[0, 1], 'x' . $line[2], @line[3 .. 6]);
    $with->(qr/head 3, [\d-]+: \S+tampered:3 says otherwise/, 'a line changed', @line[0, 1], $line[2] =~ s/ day / demand /r, @line[3 .. 6]);
    $with->(qr/\S+tampered:3: head 4 comes behind head 2/, 'reordered', @line[0, 1, 3, 2, 4, 5, 6]);
    fits('a file that begins later', '--heads', $sv->write_file('tampered', join '', @line[3 .. 6]));
    fits('a file that ends earlier', '--heads', $sv->write_file('tampered', join '', @line[0 .. 3]));
    fits('a file that a crash cut', '--heads', $sv->write_file('tampered', substr $heads, 0, -20));
    is((verify('--heads', "$base/none"))[0], 2, 'no such file');

    # what is cut off by a crash is written again
    $sv->write_file('heads', substr $heads, 0, -20);
    is(($sv->command('audit', 'sign'))[0], 0, 'signed');
    my $now = slurp("$base/heads");
    is(substr($now, 0, length $heads), $heads, 'the line is whole again');
    is((() = $now =~ /\n/g), 8, 'and the new one behind it');
    keep();
    fits('all');

    # heads that the database lost are not signed over
    superuser('delete from sv.audit_day where head = 8');
    my ($code, $text) = $sv->command('audit', 'sign');
    is($code, 1, 'a head is missing: nothing is signed');
    like($text, qr/head 8 is in audit_heads, the database has 7 heads/, 'and it is told');
    is($sv->sql('select count(*) from sv.audit_day'), 7, 'really');
    restore();
    $sv->write_file('heads', join '', @line[0 .. 6], (split /^/, $now)[7] =~ s/ demand / day /r);
    ($code, $text) = $sv->command('audit', 'sign');
    like($text, qr/head 8 is another one in audit_heads/, 'another head');
    $sv->write_file('heads', $now);
};

subtest 'a new key' => sub {
    my $new = public_key('new.key');

    $sv->write_file('new.pub', $new);
    $sv->start_worker(%settings, roles => 'relay', audit_key => "$base/new.key");
    operate('A9', 'supply', location => $pharmacy);
    drained();
    is(($sv->command('audit', 'sign'))[0], 0, 'signs');
    drained();
    $sv->stop('worker');

    my ($was, $is) = $sv->sql(q{select detail ->> 'previous', detail ->> 'key' from sv.audit where operation = 'audit_key' order by at desc limit 1});
    is($was, $raw, 'the audit names the old one');
    isnt($is, $raw, 'and the new one');
    names(qr/head 9, [\d-]+: signature wrong: it is of another key/, 'the old key alone', '--public-key', "$base/audit.pub");
    names(qr/head 1, [\d-]+: signature wrong: it is of another key/, 'the new key alone', '--public-key', "$base/new.pub");
    fits('both', '--public-key', $sv->write_file('both.pub', $pem . $new));
    $sv->write_file('all.pub', $pem . $new);
    $sv->worker_conf(%settings, audit_key => undef, audit_heads => undef);
    keep();
};

subtest 'several sign at the same time' => sub {
    $sv->worker_conf(%settings, audit_key => "$base/new.key");
    $sv->start_worker(%settings, roles => 'relay', audit_key => "$base/new.key");
    my $before = $sv->sql('select max(head) from sv.audit_day');
    my @pids;

    for my $i (1 .. 4) {
        my $pid = fork() // die "fork: $!";

        if ($pid == 0) {
            my $bad = 0;
            $n = 1000 * $i;

            for (1 .. 5) {
                operate("Z$n", 'supply', location => $pharmacy);
                my ($code, $text) = $sv->command('audit', 'sign');
                $bad = 1 if $code != 0;
                print STDERR $text if $code != 0;
            }

            require POSIX;
            POSIX::_exit($bad);
        }

        push @pids, $pid;
    }

    my @failed = grep { waitpid($_, 0); $? != 0 } @pids;
    is(scalar @failed, 0, 'none fails');
    drained();
    $sv->stop('worker');
    cmp_ok($sv->sql('select max(head) from sv.audit_day'), '>', $before, 'heads were made');
    is(slurp("$base/heads") =~ tr/\n//, $sv->sql('select count(*) from sv.audit_day'), 'each is in the file once');
    fits('afterwards', '--public-key', "$base/all.pub");
    $sv->worker_conf(%settings, audit_key => undef, audit_heads => undef);
    keep();
};

subtest 'loads' => sub {
    my $id = $sv->sql(q{select load_id from sv.load_lot where lot = 'LOTB'});

    tamper("sv.load_lot: $_->[0]", qr/\Q${\ place($load)}\Eload $id changed: sv\.load_lot\.$_->[0] is not/, "update sv.load_lot set $_->[0] = $_->[1] where lot = 'LOTB'")
        for ['new_packs', 'new_packs + 1'], ['repeated', '1'], ['contradictions', '1'], ['digest', 'sha256(digest)'];
    tamper("sv.load: $_->[0]", qr/chain row \d+, audit \S+, [\d-]+: load $id changed: sv\.load\.$_->[0] is not/, "update sv.load set $_->[0] = $_->[1] where load_id = $id")
        for ['file', "'other.csv'"], ['digest', 'sha256(digest)'];
    tamper('sv.load_lot deleted', qr/\Q${\ place($load)}\Eload $id changed: the row of sv\.load_lot is missing/, "delete from sv.load_lot where lot = 'LOTB'");
    tamper('sv.load deleted', qr/chain row \d+, audit \S+, [\d-]+: load $id changed: the row of sv\.load is missing/, 'delete from sv.load');
    tamper('sv.load_lot added', qr/load $id, $gtin lot "LOTX", [\d-]+: row of sv\.load_lot added/,
        "insert into sv.load_lot (gtin, lot, load_id, first_line, lines, new_packs, repeated, contradictions, expiry, digest, at)
         select gtin, 'LOTX', load_id, first_line, lines, new_packs, repeated, contradictions, expiry, digest, at from sv.load_lot where lot = 'LOTB'");

    for my $change ("update sv.pack set serial = 'FORGED' where serial = 'M7'", q{delete from sv.pack where serial = 'M7'},
        "insert into sv.pack (gtin, serial, lot, expiry, load_id) values ($gtin, 'FORGED', 'LOTB', '2030-12-31', $id)") {
        superuser($change);
        fits('packs are left alone unless asked for');
        names(qr/load $id, \d+ lot "LOTB", [\d-]+: packs changed/, $change, '--packs');
        restore();
    }
};

subtest 'facts that were taken back' => sub {
    my $n = 0;
    my $event = sub {
        my (%event) = @_;
        my $time = sprintf '2026-11-20T10:00:%02dZ', ++$n;
        my $file = $sv->write_file("event-$n.json", JSON::PP->new->canonical->encode({'@context' => [], type => 'EPCISDocument', schemaVersion => '2.0',
            creationDate => $time, epcisBody => {eventList => [{type => 'ObjectEvent', action => 'ADD', bizStep => 'commissioning', eventTime => $time,
                eventTimeZoneOffset => '+00:00', %event}]}}));
        my ($code, $text) = $sv->command('load-file', $file);
        is($code, 0, "event $n") or diag($text);
    };
    my $epcs = sub { return [map { "https://id.gs1.org/01/$gtin/21/$_" } @_] };
    my $lot  = sub { return {'cbvmda:lotNumber' => $_[0], 'cbvmda:itemExpirationDate' => '2030-12-31'} };
    my %first = (eventID => 'urn:uuid:1a0c7b36-5f4b-4b2c-9f3e-4d5a6b7c8d91', eventTime => '2026-11-20T09:00:00Z', epcList => $epcs->('C1', 'C2', 'C3'), ilmd => $lot->('LOTC'));

    $sv->start_worker(%settings, roles => 'relay', audit_key => undef, audit_heads => undef);
    $event->(%first);
    $event->(epcList => $epcs->('C1', 'C4'), ilmd => $lot->('LOTD'));
    $event->(action => 'DELETE', bizStep => 'decommissioning', epcList => $epcs->('C2'));
    $event->(%first, errorDeclaration => {declarationTime => '2026-11-20T11:00:00Z', reason => 'did_not_occur'});
    drained();
    is($sv->sql(q{select string_agg(serial || ' ' || lot || ' ' || state, ', ' order by serial) from sv.pack where serial ~ '^C[1-4]$'}),
        'C1 LOTD active, C2 LOTC void, C3 LOTC void, C4 LOTD active', 'the packs');
    fits('corrections', '--packs');

    # the same serials again, and the error taken back by another commissioning
    $event->(epcList => $epcs->('C2', 'C3'), ilmd => $lot->('LOTC'));
    drained();
    fits('commissioned again', '--packs');
    $sv->stop('worker');
    keep();

    my $other = $sv->sql(q{select min(load_id) from sv.load l where not exists (select from sv.load_lot b where b.load_id = l.load_id)});
    tamper('a load of other events', qr/chain row \d+, audit \S+, [\d-]+: load $other changed: sv\.load\.digest is not/,
        "update sv.load set digest = sha256(digest) where load_id = $other");
};

subtest 'exports' => sub {
    my ($code, $text) = $sv->command('audit', 'export', '--out', "$base/export");
    is($code, 0, 'written') or diag($text);

    # what does not know any database
    my $check = sub {
        my ($content, @more) = @_;
        my $file = $sv->write_file('tampered', $content);
        my $program = $sv->program('serial-verify-worker');
        my $out = qx{$program -c $base/none.conf audit verify --export $file --public-key $base/all.pub @more 2>&1};
        return ($? >> 8, $out);
    };

    my $whole = slurp("$base/export");
    my @line  = split /^/, $whole;
    ($code, $text) = $check->($whole);
    is($code, 0, 'fits') or diag($text);
    like($text, qr/ fits: \d+ rows, \d+ signed heads$/m, 'rows and heads');

    my ($at) = grep { $line[$_] =~ /"serial":"M?P1"/ && $line[$_] =~ /"occurred_at"/ } 0 .. $#line;
    my ($head) = grep { $line[$_] =~ /^\{"head":"\S+ \S+ 6 / } 0 .. $#line;
    my $rest = sub { my ($i, @new) = @_; return join '', @line[0 .. $i - 1], @new, @line[$i + 1 .. $#line] };

    my $wrong = sub {
        my ($name, $pattern, $content) = @_;
        my ($got, $out) = $check->($content);
        is($got, 1, "$name: exit code");
        like($out, qr/^does not fit: $pattern/, "$name: named");
    };

    for my $column (@columns) {
        my $changed = $line[$at] =~ /"$column":"/ ? $line[$at] =~ s/("$column":")/${1}1/r : $line[$at] =~ s/("audit":\{)/$1"$column":"x",/r;
        isnt($changed, $line[$at], "$column: changed");
        $wrong->($column, qr/line ${\ ($at + 1)}: chain row \d+, audit \S+, \S+: row changed/, $rest->($at, $changed));
    }

    $wrong->('a row removed', qr/line ${\ ($at + 1)}: chain row \d+: removed or reordered/, $rest->($at));
    $wrong->('rows exchanged', qr/line ${\ ($at + 1)}: chain row \d+: removed or reordered/, join '', @line[0 .. $at - 1, $at + 1, $at, $at + 2 .. $#line]);
    $wrong->('its values removed', qr/line ${\ ($at + 1)}: chain row \d+, audit -, -: row missing/, $rest->($at, $line[$at] =~ s/,"audit":\{.*\}\}/}/r));
    $wrong->('a value twice', qr/line ${\ ($at + 1)}: this is not JSON/, $rest->($at, $line[$at] =~ s/("audit":\{)/$1"kind":"x",/r));
    $wrong->('a head removed', qr/line ${\ ($head + 2)}: head 6: removed: head 7|line \d+: head 6: removed/, $rest->($head));
    $wrong->('a head changed', qr/line ${\ ($head + 1)}: head 6, [\d-]+: signature wrong/, $rest->($head, $line[$head] =~ s/ demand / day /r));
    $wrong->('cut in a line', qr/line \d+: cut: the line does not end/, substr $whole, 0, -5);
    $wrong->('cut behind a line', qr/line \d+: cut: the file ends before its last line/, join '', @line[0 .. $#line - 1]);
    $wrong->('rows cut, the end kept', qr/line \d+: chain row \d+: removed: the file says/, join '', @line[0 .. $at, $#line]);
    $wrong->('more behind the end', qr/line \d+: there is something behind the end/, $whole . $line[1]);
    $wrong->('the beginning cut', qr/line 1: this is not an export/, join '', @line[1 .. $#line]);
    $wrong->('the first row cut', qr/line 2: chain row 1: removed/, $rest->(1));
    $wrong->('empty', qr/line 0: the file is empty/, '');
    $wrong->('something else', qr/line 1: this is not JSON/, "gtin,serial\n");

    ($code, $text) = $sv->command('audit', 'export', '--gtin', $other, '--out', "$base/part");
    is($code, 0, 'of one product');
    is((() = slurp("$base/part") =~ /"audit":/g), 1, 'only its rows are told');
    ($code, $text) = $check->(slurp("$base/part"));
    is($code, 0, 'fits') or diag($text);
    like($text, qr/\d+ rows of other products: their places were checked/, 'and says what it is');

    my $today = $sv->sql(q{select to_char(now() at time zone 'UTC', 'YYYY-MM-DD')});
    ($code, $text) = $sv->command('audit', 'export', '--from', $today, '--to', $today, '--out', "$base/part");
    is($code, 0, 'of a day');
    is(($check->(slurp("$base/part")))[0], 0, 'fits');
    ($code, $text) = $sv->command('audit', 'export', '--to', '2020-01-01', '--out', "$base/part");
    is(($check->(slurp("$base/part")))[0], 0, 'of a day without rows');
    is(($sv->command('audit', 'export', '--from', 'monday', '--out', "$base/part"))[0], 2, 'not a day');
    is(($sv->command('audit', 'export', '--out', "$base/none/part"))[0], 1, 'a place that is not there');
    is((verify('--export', "$base/none"))[0], 2, 'no such file');
};

subtest 'many rows' => sub {
    my $many = $ENV{SV_TEST_ALL} ? 400_000 : 100_000;

    superuser(qq{insert into sv.audit (gtin, at, audit_id, location_id, version, expiry, changed, kind, operation, serial, lot, reason, state_before,
        state, entry_mode, key, request_id) select $gtin, clock_timestamp(), gen_random_uuid(), $pharmacy, 2, '2030-12-31', true, 'operation', 'supply', 'S' || i, 'LOT1',
        'ok', 'active', 'supplied', 'scanned', 'k' || i, md5(i::text) from generate_series(1, $many) i},
        q{select sv.relay_chain(array_agg(gtin), array_agg(audit_id), array_agg(at)) from sv.audit a
          where not exists (select from sv.audit_chain c where c.audit_id = a.audit_id)}, 'analyze sv.audit', 'analyze sv.audit_chain');

    my $program = $sv->program('serial-verify-worker');
    my $limited = $sv->asan ? '' : 'ulimit -v 160000; ';
    my $start   = Time::HiRes::time();
    my $out     = qx{$limited $program -c $base/worker.conf audit verify --public-key $base/all.pub 2>&1};
    my $took    = Time::HiRes::time() - $start;

    is($? >> 8, 0, "$many rows: fits, in little memory") or diag($out);
    diag(sprintf '%d rows checked in %.1f s', $many, $took);
    cmp_ok($took, '<', 300, 'in reasonable time');

    $start = Time::HiRes::time();
    is(($sv->command('audit', 'export', '--out', "$base/export"))[0], 0, 'exported');
    $out = qx{$limited $program -c $base/none.conf audit verify --export $base/export --public-key $base/all.pub 2>&1};
    is($? >> 8, 0, 'the export fits, too') or diag($out);
    diag(sprintf 'exported and checked in %.1f s', Time::HiRes::time() - $start);

    superuser(qq{update sv.audit set serial = 'X' where serial = 'S$many'});
    names(qr/chain row \d+, audit \S+, [\d-]+: row changed/, 'the last of them changed', '--public-key', "$base/all.pub");
};

subtest 'PostgreSQL is away' => sub {
    $sv->stop('postgres');
    is((verify())[0], 3, 'exit code');
};

$sv->done_testing;
