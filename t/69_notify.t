#!/usr/bin/perl

# Notifications: what is told of cases, to whom and when; nothing is lost or told
# twice, whatever the receiver does and whoever is killed.
#
#   SV_TEST_SEED    of the points of death

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json encode_json);
use MIME::Base64 qw(encode_base64);
use Test::More;
use Time::HiRes qw(sleep time);

use Test::SerialVerify;
use Test::SerialVerify::Receiver;

my $gtin = 9506000134352;
my $seed = $ENV{SV_TEST_SEED} // time % 1_000_000;
my $sv   = Test::SerialVerify->new;
my $made = 0;
my %number;

srand $seed;
diag("SV_TEST_SEED=$seed");

$sv->start_postgres;
$sv->directory('log');

my $receiver = Test::SerialVerify::Receiver->start($sv);
my $second   = Test::SerialVerify::Receiver->start($sv, 'second');
my $secret   = 'whsec_' . encode_base64('0123456789abcdef0123456789abcdef', '');
my $file     = secret_file("$secret\n");
my $log      = $sv->base . '/log/cases.jsonl';
my %base     = (roles => 'notify', inbox => undef, notify_interval => '50ms', notify_secret_file => $file, notify_hold => '10m',
    notify_timeout => '5s', drain_timeout => '5s');
my %url  = (%base, notify_url => $receiver->url);
my %file = (%base, notify_secret_file => undef, notify_log => $log);


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


sub secret_file {
    my ($content) = @_;

    my $path = $sv->write_file('notify-secret', $content);
    chmod oct('600'), $path;

    return $path;
}


# A case of a name; open_case(NAME, severity => .., COLUMN => VALUE ..): it is told in its timeline
sub open_case {
    my ($name, %row) = @_;

    %row = (severity => 'high', status => 'new', proposed_closure => 'f', %row);
    $number{$name} = ++$made;
    $sv->sql(q{insert into sv.case (gtin, case_id, number, rule, severity, status, proposed_closure, cause, lot, first_at, last_at, opened_at, changed_at)
        values (?, md5(?)::uuid, ?, 'impossible_travel', ?::text::sv.severity, ?::text::sv.case_status, ?::text::boolean, ?, 'L1', now(), now(), now(), now())},
        $gtin, $name, $made, @row{qw(severity status proposed_closure)}, $name);

    return announce($name, 'opened', at => $row{at});
}


# change(NAME, KIND, COLUMN => VALUE ..)
sub change {
    my ($name, $kind, %row) = @_;

    my $at  = delete $row{at};
    my $dbh = $sv->dbh;

    $dbh->begin_work;
    $dbh->do("update sv.case set $_ = ? where gtin = ? and case_id = md5(?)::uuid", undef, $row{$_}, $gtin, $name) for sort keys %row;
    my $n = announce($name, $kind, at => $at);
    $dbh->commit;

    return $n;
}


sub announce {
    my ($name, $kind, %option) = @_;

    return $sv->sql('select sv.case_tell(?, md5(?)::uuid, ?, null, null, coalesce(?::timestamptz, clock_timestamp()))', $gtin, $name, $kind, $option{at});
}


# "opened A high" ..: what arrived, of one case or of all
sub told {
    my ($of, $from, @bodies) = @_;

    return grep { !defined $of || / \Q$of\E / } map { short($_) } @bodies ? @bodies : $receiver->bodies($from);
}


sub short { my ($body) = @_; return ($body->{type} =~ s/^case\.//r) . " $body->{data}{cause} $body->{data}{severity}" }


sub lines {
    my ($path) = @_;

    return map { decode_json($_) } split /\n/, Test::SerialVerify::slurp($path // $log);
}


# Everything was looked at, and nothing waits.
sub quiet {
    return wait_for {
        $sv->sql('select count(*) from sv.notify_target t, sv.case_clock k where t.n < k.n') == 0
            && $sv->sql('select count(*) from sv.notify_case where due_at <= now()') == 0
            && $sv->sql('select count(*) from sv.notification where sent_at is null') == 0
    } 'everything to be told', 180;
}


sub looked { return wait_for { $sv->sql('select bool_and(t.n = k.n) from sv.notify_target t, sv.case_clock k') } 'all lines to be looked at' }


# What waited long enough.
sub due {
    my ($name) = @_;

    looked();
    is($sv->sql(q{update sv.notify_case set due_at = now() where case_id = md5(?)::uuid and due_at is not null returning 1}, $name) // 0, 1, "$name waits");

    return quiet();
}


sub worker { my ($name, %setting) = @_; return $sv->start_worker(name => $name, %setting) }
sub held   { my ($name) = @_; return $sv->log_of($name) !~ /another process tells/ }


subtest 'what is told' => sub {
    open_case('before');
    worker('w', %url);
    wait_for { $sv->sql('select count(*) from sv.notify_target') } 'the target';

    change('before', 'evidence', scans => 3);
    open_case('A');
    open_case('low', severity => 'low');
    open_case('B', severity => 'medium');
    open_case('C', severity => 'medium');
    open_case('D', severity => 'medium');
    open_case('innocent', severity => 'critical', proposed_closure => 't');
    change('D', 'severity', severity => 'critical');
    change('D', 'severity', severity => 'high');
    change('D', 'severity', severity => 'critical');
    change('B', 'proposed_closure', proposed_closure => 't');
    change('A', 'note');
    change('A', 'severity', severity => 'critical');
    quiet();

    is_deeply([sort(told())], ['opened A high', 'opened D critical', 'severity A critical'],
        'at once: high and critical ones; no old one, no low one, none that is explained, none that waits');

    due('C');
    is_deeply([told('C')], ['opened C medium'], 'the others when they have waited');
    is($sv->sql(q{select count(*) from sv.notify_case where case_id = md5('B')::uuid and due_at is null and not told}), 1,
        'one that is explained meanwhile is not told');

    my $mark = $receiver->mark;
    change('C', 'proposed_closure', proposed_closure => 't');
    change('C', 'asks', proposed_closure => 'f');
    change('C', 'status', status => 'acknowledged');
    change('C', 'status', status => 'closed', close_reason => 'process');
    change('C', 'evidence', scans => 4);
    change('C', 'status', status => 'reopened', close_reason => undef);
    change('B', 'status', status => 'closed');
    change('B', 'status', status => 'reopened', proposed_closure => 'f');
    change('before', 'severity', severity => 'critical');
    change('D', 'merged', status => 'merged', merged_into => '00000000-0000-4000-8000-000000000001');
    quiet();
    is_deeply([told('C', $mark)], ['proposed_closure C medium', 'asks C medium', 'closed C medium', 'reopened C medium'], 'the way of a case, in order');
    is_deeply([told('B', $mark)], ['reopened B medium'], 'reopened by a person: at once, and nothing of before');
    is_deeply([told('before', $mark)], ['severity before critical'], 'what becomes of an old one is told');
    is_deeply([told('D', $mark)], ['merged D critical'], 'merged');

    $mark = $receiver->mark;
    change('A', 'muted', muted_until => '2999-01-01', severity => 'high');
    change('B', 'muted', muted_until => '2999-01-01');
    change('B', 'severity', severity => 'critical');
    open_case('muted', severity => 'medium');
    change('muted', 'muted', muted_until => '2999-01-01');
    change('A', 'status', status => 'closed', close_reason => 'no_root_cause');
    quiet();
    is_deeply([told(undef, $mark)], ['closed A high'], 'of what is muted only the end');
    is($sv->sql(q{select due_at from sv.notify_case where case_id = md5('muted')::uuid}), undef, 'nothing waits for its turn');
    change('B', 'unmuted', muted_until => undef);
    quiet();
    is_deeply([told('B', $mark)], ['severity B critical'], 'what became of it is told then');

    my ($body) = grep { $_->{type} eq 'case.closed' && $_->{data}{cause} eq 'A' } $receiver->bodies($mark);
    my $data = $body->{data};
    is($data->{gtin}, '09506000134352', 'the product');
    is($data->{number}, $number{A}, 'the number for people');
    is("$data->{rule} $data->{status} $data->{close_reason} $data->{lot}", 'impossible_travel closed no_root_cause L1', 'the case as it is then');
    like("$body->{timestamp} $data->{opened_at}", qr/^(?:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ?){2}$/, 'times');
    like($body->{id}, qr/^\d+\.\d+\.\d+\.\d+$/, 'an id');
    my %seen;
    is(scalar(grep { $seen{$_->{id}}++ } $receiver->bodies), 0, 'each id once');
};

subtest 'the signature, as the documentation checks it' => sub {
    my ($code) = Test::SerialVerify::slurp($sv->root . '/docs/worker.md') =~ /^```perl\n(.*?)^```$/ms;
    my $genuine = eval "package Receiver::Check; $code; \\&genuine" or die $@;    ## no critic (ProhibitStringyEval)
    my $check   = sub {
        my ($request, $with, %other) = @_;
        my $body = Test::SerialVerify::slurp($sv->base . "/receiver/$request->{sha}");
        return $genuine->($other{id} // $request->{header}{'webhook-id'}, $other{at} // $request->{header}{'webhook-timestamp'},
            $request->{header}{'webhook-signature'}, $other{body} // $body, $with);
    };

    my ($first) = $receiver->begun;
    is($first->{line}, 'POST /capture HTTP/1.1', 'a POST');
    is($first->{header}{'content-type'}, 'application/json', 'of JSON');
    is($first->{header}{'webhook-id'}, decode_json(Test::SerialVerify::slurp($sv->base . "/receiver/$first->{sha}"))->{id}, 'the id in header and body');
    ok($check->($first, $secret), 'genuine');
    ok(!$check->($first, 'whsec_' . encode_base64('x' x 32, '')), 'another secret');
    ok(!$check->($first, $secret, id => '1'), 'another id');
    ok(!$check->($first, $secret, body => '{}'), 'another body');
    ok(!$check->($first, $secret, at => $first->{header}{'webhook-timestamp'} - 1), 'another time');
    ok(!$check->($first, $secret, at => time - 1000), 'an old one');

    my $next = 'whsec_' . encode_base64('y' x 40, '');
    secret_file("$next\n$secret\n");
    my $mark = $receiver->mark;
    open_case('rotated');
    quiet();
    my ($both) = $receiver->begun($mark);
    ok($check->($both, $secret), 'two secrets: the old one');
    ok($check->($both, $next), 'and the new one');

    secret_file("none\n");
    open_case('unsigned');
    wait_for { $sv->sql(q{select count(*) from sv.notification where error like '%one secret or two%'}) } 'a secret that is none to be told';
    is(scalar(() = $receiver->begun($mark)), 1, 'nothing goes out unsigned');
    secret_file("$secret\n");
    quiet();
    is_deeply([told('unsigned')], ['opened unsigned high'], 'it goes on when there is one');
};

subtest 'failures, case by case' => sub {
    my $mark = $receiver->mark;

    $receiver->mode('for poison 503');
    open_case('poison');
    change('poison', 'severity', severity => 'critical');
    open_case("fine$_") for 1 .. 10;
    wait_for { 10 == (() = told(undef, $mark)) } 'the others';
    wait_for { $sv->sql(q{select count(*) = 2 and bool_or(error like 'HTTP 503%') from sv.notification where sent_at is null}) } 'what is noted of them';
    is_deeply([told('poison', $mark)], [], 'one that is not taken does not hold up others');
    is($sv->sql(q{select count(*) from sv.notification where body like '%poison%' and sent_at is null and attempts = 0}), 1, 'its next waits behind it');

    my ($code, $text) = $sv->command('status');
    like($text, qr/^notify +\Q${\ $receiver->url}\E: \d+ sent, 2 wait, \d+ cases held$/m, 'status says so');
    like($text, qr/\Q${\ $receiver->url}\E cannot be told of 1 change of a case \(HTTP 503: body\): it is tried again by itself$/m, 'and what is the matter');

    $receiver->mode('for poison 410');
    wait_for { $sv->sql('select refused from sv.notification where sent_at is null and attempts > 0') } 'the refusal';
    ($code, $text) = $sv->command('status');
    like($text, qr/refuses 1 notification \(HTTP 410: body\): they are kept and tried again every hour/, 'a refusal is told');
    cmp_ok($sv->sql(q{select extract(epoch from next_at - error_at) from sv.notification where refused}), '>=', 1.4, 'and tried slowly');

    $receiver->mode('ok');
    $sv->stop('w');
    worker('w', %url);
    quiet();
    is_deeply([told('poison', $mark)], ['opened poison high', 'severity poison critical'], 'a restart tries at once; in order');

    my %sha;
    $sha{$_->{header}{'webhook-id'}}{$_->{sha}} = 1 for $receiver->begun;
    is(scalar(grep { keys %{$_} > 1 } values %sha), 0, 'what was sent again was the same');

    $mark = $receiver->mark;
    $receiver->mode('429 Retry-After: 2');
    open_case('asked');
    wait_for { $sv->sql('select count(*) from sv.notification where error is not null') } 'it asks for time';
    cmp_ok($sv->sql('select extract(epoch from next_at - error_at) from sv.notification where error is not null'), '>=', 1.9, 'and gets it');
    $receiver->mode('ok');
    quiet();

    $mark = $receiver->mark;
    $receiver->mode('lost');
    open_case('lost');
    wait_for { told('lost', $mark) } 'one whose answer is lost';
    $receiver->mode('ok');
    quiet();
    my @ids = map { $_->{id} } $receiver->bodies($mark);
    cmp_ok(scalar @ids, '>=', 2, 'it is told again');
    is(scalar(grep { $_ ne $ids[0] } @ids), 0, 'with the same id');
    my $count = $receiver->mark;
    open_case('after');
    quiet();
    is_deeply([told(undef, $count)], ['opened after high'], 'what was noted is never told again');

    $mark = $receiver->mark;
    $receiver->mode('for stuck hang');
    open_case('stuck');
    wait_for { $receiver->begun($mark) } 'one that hangs';
    open_case("free$_") for 1 .. 5;
    wait_for { 5 == (() = told(undef, $mark)) } 'the others are told meanwhile';
    $receiver->mode('endless');
    quiet();
    pass('an answer without end');

    $receiver->mode('302 Location: ' . $receiver->url . '/elsewhere');
    open_case('redirected');
    wait_for { $sv->sql('select count(*) from sv.notification where refused') } 'a redirect';
    is(scalar(grep { $_->{line} =~ /elsewhere/ } $receiver->begun), 0, 'is not followed');
    $receiver->mode('ok');
    $sv->stop('w');
    worker('w', %url);
    quiet();

    $mark = $receiver->mark;
    $receiver->mode('late');
    open_case('leaving');
    wait_for { $receiver->begun($mark) } 'a request';
    $sv->stop('w');
    is_deeply([$sv->sql(q{select count(*) filter (where sent_at is null), count(*) from sv.notification where body like '%leaving%'})], [0, 1],
        'who is told to leave waits for the answer');
    $receiver->mode('ok');
};

subtest 'PostgreSQL goes away while a receiver thinks' => sub {
    my $mark = $receiver->mark;

    worker('w', %url, notify_timeout => '60s');
    quiet();
    $receiver->mode('hang');
    open_case('gone');
    wait_for { $receiver->begun($mark) } 'a request';
    $sv->stop('postgres');
    $receiver->mode('ok');
    wait_for { told('gone', $mark) } 'the answer';
    $sv->start_postgres;
    quiet();
    is_deeply([told('gone', $mark)], ['opened gone high'], 'the answer is noted later, nothing is told again');
    $sv->stop('w');
};

subtest 'several processes, and killed at any point' => sub {
    my $mark = $receiver->mark;
    my (%wanted, %state);

    # nothing is sent again because it took long
    local $url{notify_timeout} = '60s';

    worker('w', %url);
    quiet();
    worker('w2', %url);
    wait_for { !held('w2') } 'the other to find the lease taken';

    $receiver->mode('hang');
    open_case('first');
    wait_for { $receiver->begun($mark) } 'a request';
    open_case('other');
    wait_for { 2 == (() = $receiver->begun($mark)) } 'and another';
    $sv->kill9('w');
    wait_for { 4 == (() = $receiver->begun($mark)) } 'it goes on when the first is dead';
    $receiver->mode('ok');
    quiet();

    $receiver->mode('random');
    worker('w', %url);

    for my $round (1 .. 15) {
        for (1 .. 6) {
            my $name = 'R' . int rand 25;

            if (!$state{$name}) {
                open_case($name);
                push @{$wanted{$name}}, 'opened';
                $state{$name} = 'open';
            } elsif ($state{$name} eq 'open') {
                change($name, 'status', status => 'closed');
                push @{$wanted{$name}}, 'closed';
                $state{$name} = 'closed';
            } else {
                change($name, 'status', status => 'reopened');
                push @{$wanted{$name}}, 'reopened';
                $state{$name} = 'open';
            }
        }

        my $victim = rand(2) < 1 ? 'w' : 'w2';
        sleep rand 0.3;
        $sv->kill9($victim);
        worker($victim, %url);
    }

    $receiver->mode('ok');
    $sv->stop($_) for qw(w w2);
    worker('w', %url);
    quiet();
    $sv->stop('w');

    my (%got, %seen);
    push @{$got{$_->{data}{cause}}}, $_->{type} =~ s/^case\.//r for grep { $_->{data}{cause} =~ /^R/ && !$seen{$_->{id}}++ } $receiver->bodies($mark);
    is_deeply(\%got, \%wanted, 'each once but for doubles of an id, in the order of each case');
    is($sv->sql('select count(*) from sv.notify_target where holder is not null'), 0, 'who leaves gives the lease back');
};

subtest 'the log' => sub {
    worker('log', %file);
    wait_for { $sv->sql(q{select count(*) from sv.notify_target where target like 'log %' and log_ino > 0}) } 'the log to be known';
    open_case('L1');
    wait_for { eval { lines() } } 'a line';
    is_deeply([map { short($_) } lines()], ['opened L1 high'], 'as it is told to others; from now on');

    # moved away, as logrotate does
    rename $log, "$log.1" or die $!;
    open_case('L2');
    wait_for { -e $log && eval { lines() } } 'the new file';
    is_deeply([map { short($_) } lines()], ['opened L2 high'], 'a file that is moved away is not written any more');
    is_deeply([map { short($_) } lines("$log.1")], ['opened L1 high'], 'nor lost');

    # written, and not noted: killed in between
    my $target = q{target like 'log %'};
    $sv->kill9('log');
    open_case('L3');
    open_case('L4');
    $sv->sql(qq{update sv.notification set sent_at = null where $target and body like '%L2%'});
    $sv->sql(qq{update sv.notify_target set log_pos = 0 where $target});
    open(my $out, '>>', $log) or die $!;
    print {$out} '{"id": "torn';
    close $out;
    rename $log, "$log.2" or die $!;
    worker('log', %file);
    wait_for { $sv->sql(qq{select bool_and(sent_at is not null) from sv.notification where $target}) && -e $log && 2 == (eval { lines() } // 0) } 'the lines';
    is_deeply([map { short($_) } lines()], ['opened L3 high', 'opened L4 high'], 'what stands in the file that was moved away is not written again');
    is_deeply([map { short($_) } lines("$log.2")], ['opened L2 high'], 'a torn line is taken off');
    unlink "$log.1", "$log.2";

    # two want the same file
    worker('log2', %file);
    wait_for { !held('log2') } 'the other to find the lease taken';
    $sv->sql(qq{update sv.notify_target set holder = null where $target});
    wait_for { $sv->log_of('log') =~ /another process writes it|another process tells/ || $sv->log_of('log2') =~ /another process writes it/ } 'who has the lease, but not the file';
    $sv->stop($_) for qw(log log2);

    my @wanted = ('L3', 'L4');
    my $moved  = 0;
    worker('log', %file);

    for my $round (1 .. 25) {
        my $name = "K$round";
        open_case("$name.$_"), push @wanted, "$name.$_" for 1 .. 1 + int rand 30;
        sleep rand 0.12;
        $sv->kill9('log');

        if (rand(3) < 1) {
            rename $log, "$log." . ++$moved;
        } elsif (rand(2) < 1) {
            # a line that was being written
            my $open = $sv->sql(qq{select body from sv.notification where $target and sent_at is null order by seq limit 1});
            if (defined $open && $sv->sql(qq{select log_pos from sv.notify_target where $target}) == (-s $log // -1)) {
                open($out, '>>', $log) or die $!;
                print {$out} substr $open, 0, rand length $open;
                close $out;
            }
        }

        worker('log', %file);
    }

    wait_for { $sv->sql(qq{select count(*) from sv.notification where $target and sent_at is null}) == 0
        && $sv->sql(qq{select t.n = k.n from sv.notify_target t, sv.case_clock k where $target}) } 'every line', 180;
    is_deeply([map { $_->{data}{cause} } map { lines($_) } (map { "$log.$_" } 1 .. $moved), $log], \@wanted, 'each exactly once, in order, over every death');
    $sv->stop('log');
};

subtest 'more than one receiver' => sub {
    # in the form of the file: the same setting twice
    my $conf = Test::SerialVerify::slurp($sv->worker_conf(%url, notify_timeout => '60s'));
    $sv->write_file('worker.conf', $conf . 'notify_url = ' . $second->url . "\n");
    my ($code, $text) = $sv->command('--check');
    is("$code", 0, 'two are in order') or diag($text);
    $sv->start_server('two', env => $sv->sanitizer_env('two'),
        command => [$sv->program('serial-verify-worker'), '-c', $sv->base . '/worker.conf', 'run']);
    wait_for { $sv->sql('select count(*) from sv.notify_target where held_until > now()') == 2 } 'both to be held';
    $sv->sql(q{delete from sv.notify_target where target like 'log %'});
    quiet();

    my $mark = $receiver->mark;
    $receiver->mode('hang');
    open_case('both');
    wait_for { told(undef, 0, $second->bodies) } 'the one';
    is_deeply([$receiver->ended($mark)], [], 'does not wait for the other');
    $receiver->mode('ok');
    quiet();
    is_deeply([told('both', $mark)], ['opened both high'], 'which gets it, too');
    is_deeply([told(undef, 0, $second->bodies)], ['opened both high'], 'one that is new is told from now on');
    $sv->stop('two');
};

subtest 'from the counter to the receiver' => sub {
    $sv->start_redis;
    $sv->product($gtin);
    my @site = map { $sv->location(role => 'pharmacy', country => $_) } qw(IT DE);
    $sv->pack_row($gtin, 'REAL');
    $sv->start_worker(%url, roles => 'relay, consume, notify');
    wait_for { 3 == $sv->sql(q{select count(distinct application_name) from pg_stat_activity where application_name ~ '^serial-verify-worker'}) } 'the roles';
    quiet();

    my $mark  = $receiver->mark;
    my $start = time;
    $sv->sql(q{select sv.operate(?, 'REAL', 'LOT1', '2030-12-31', 'supply', null, ?, 'k', 'f', 'scanned', null, 'IT-1', gen_random_uuid(), 'r')}, $gtin, $_) for @site;
    wait_for { $receiver->bodies($mark) } 'the notification';
    my ($body) = $receiver->bodies($mark);
    diag(sprintf 'a second supply, told after %.2f s', time - $start);
    is("$body->{type} $body->{data}{severity} $body->{data}{serials} $body->{data}{gtin}", 'case.opened high 1 09506000134352', 'a case of real operations');
    is($body->{data}{case}, $sv->sql(q{select case_id from sv.case where cause = ? and number = ?}, @{$body->{data}}{qw(cause number)}), 'as it is stored');
    $sv->stop('worker');
};

subtest 'settings' => sub {
    my $refused = sub {
        my ($pattern, %setting) = @_;
        $sv->worker_conf(%base, %setting);
        my ($code, $text) = $sv->command('--check');
        is($code, 2, "refused: $pattern");
        like($text, $pattern, 'and it says why');
    };

    $refused->(qr/the role notify needs "notify_url" or "notify_log"/, notify_secret_file => undef);
    $refused->(qr/need each other/);
    $refused->(qr/notify_url: must begin with https:/, notify_url => 'http://example.com/');
    $refused->(qr/notify_url: a user and password/, notify_url => 'https://user:word@example.com/');
    $refused->(qr/notify_severity: expected info, low/, %url, notify_severity => 'awful');
    $refused->(qr/notify_log ".*": its directory does not exist/, %file, notify_log => '/nowhere/at/all');
    chmod oct('644'), $file;
    $refused->(qr/notify_secret_file ".*": others may read or change it/, %url);
};

$_->stop for $receiver, $second;
$sv->done_testing;
