#!/usr/bin/perl

# The end of a mute: a case that is still open then comes back, in the timeline,
# the stream and the notifications, once, whoever is killed meanwhile.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP qw(decode_json);
use Test::More;
use Test::SerialVerify;
use Test::SerialVerify::Cases;

my $gtin = 9506000134352;
my $sv   = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
$sv->directory('log');

my $desk  = $sv->actor('reviewer');
my $cases = Test::SerialVerify::Cases->new($sv);
my $log   = $sv->base . '/log/cases.jsonl';
my %keep  = (roles => 'housekeeping', housekeeping_interval => '100ms', inbox => undef);

$sv->start_api;
$sv->start_nginx(api => 1, workers => 1);
$sv->start_worker(name => 'notify', roles => 'notify', inbox => undef, notify_interval => '50ms', notify_hold => '10m', notify_log => $log);

sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)

wait_for { $sv->sql('select count(*) from sv.notify_target') } 'the target';

sub kinds { my ($id) = @_; return join ' ', @{$sv->dbh->selectcol_arrayref('select kind from sv.case_event where case_id = ? order by n', undef, $id)} }
sub state_of { my ($id) = @_; return join ' ', map { $_ // '-' } $sv->sql('select status, muted_until from sv.case where case_id = ?', $id) }
sub is_looked_at { return wait_for { $sv->sql('select bool_and(t.n = k.n) from sv.notify_target t, sv.case_clock k') && !$sv->sql('select count(*) from sv.notification where sent_at is null') } 'all to be told' }

# "opened", ..: what is told of a case
sub told {
    my ($id) = @_;

    is_looked_at();
    return join ' ', map { $_->{type} =~ s/^case\.//r } grep { $_->{data}{case} eq $id } map { decode_json($_) } split /\n/, -e $log ? Test::SerialVerify::slurp($log) : '';
}

sub patch {
    my ($id, $body) = @_;

    my $answer = $sv->request('PATCH', "/alerts/$id", key => $desk->{key}, headers => {'If-Match' => '*'}, body => $body);
    is($answer->{status}, 200, 'changed') or diag($answer->{body});

    return $answer;
}

# as if that much later
sub end_mute {
    my (@ids) = @_;

    $sv->sql(q{update sv.case set muted_until = now() - interval '1 minute' where case_id = any(?::uuid[])}, \@ids);

    return;
}


subtest 'what comes back' => sub {
    my %id = (
        told      => $cases->open(severity => 'high'),
        graver    => $cases->open(severity => 'high'),
        waits     => $cases->open(severity => 'medium', at => scalar $sv->sql('select clock_timestamp()')),
        explained => $cases->open(severity => 'high', proposed_closure => 1),
        closed    => $cases->open(severity => 'high'),
        later     => $cases->open(severity => 'high'),
    );
    is_looked_at();
    my $until = $sv->sql(q{select to_char(now() at time zone 'UTC' + interval '7 days', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')});
    patch($id{$_}, {muted_until => $until}) for sort keys %id;
    patch($id{closed}, {status => 'closed', reason => 'test'});
    $sv->sql(q{update sv.case set severity = 'critical' where case_id = ?}, $id{graver});
    $cases->evidence($id{graver}, kind => 'severity');
    is(told($id{graver}), 'opened', 'what becomes graver while it is muted is not told');
    is(told($id{waits}), '', 'nor what waited');

    my $stream = Test::SerialVerify::HTTP->connect_to($sv->address);
    $stream->put(Test::SerialVerify::HTTP::build('GET', '/alerts/events', key => $desk->{key}, close => 1) =~ s/HTTP\/1\.1/HTTP\/1.0/r);
    my $read = '';
    wait_for { sysread $stream->{socket}, $read, 4096, length $read; $read =~ /^id: \d+$/m } 'the stream';

    end_mute(grep { $_ ne $id{later} } values %id);
    my $version = $cases->version($id{told});
    $sv->start_worker(name => 'keep', %keep);
    wait_for { kinds($id{$_}) =~ /unmuted$/ } $_ for qw(told graver waits explained);

    is(kinds($id{told}), 'opened muted unmuted', 'the end is told');
    is($cases->version($id{told}), $version + 1, 'it is a change like any other');
    my $whole = $sv->get("/alerts/$id{told}", key => $desk->{key})->{json};
    is($whole->{muted_until}, undef, 'it is no longer muted');
    like($whole->{timeline}{events}[0]{detail}{ended}, qr/^\d{4}-\d\d-\d\dT[\d:.]+Z$/, 'since when');
    wait_for { sysread $stream->{socket}, $read, 65536, length $read; 4 == (() = $read =~ /"kind": ?"unmuted"/g) } 'the stream to tell of each';

    is(told($id{told}), 'opened unmuted', 'it is told again');
    is(told($id{graver}), 'opened severity', 'or what became of it');
    is(told($id{waits}), '', 'what was never told waits for what may explain it');
    ok($sv->sql('select due_at is not null from sv.notify_case where case_id = ?', $id{waits}), '.. and is told then');
    is(told($id{explained}), '', 'what asks for nobody is told to nobody');
    is(kinds($id{closed}), 'opened muted status', 'what is closed stays away');
    is(kinds($id{later}), 'opened muted', 'and what is still muted');

    # a closed one that is opened again is not muted by what is over
    patch($id{closed}, {status => 'reopened', note => 'again'});
    is(state_of($id{closed}), 'reopened -', 'reopened: the mute is over');
    patch($id{later}, {muted_until => undef});
    is(told($id{later}), 'opened', 'a person who ends a mute knows the case');
    $sv->stop('keep');
};


subtest 'a mute that is made longer' => sub {
    my $id = $cases->open(severity => 'high', muted_until => '2026-01-01 00:00Z');
    my $desk = $sv->new_dbh;

    $desk->begin_work;
    $desk->do(q{update sv.case set muted_until = now() + interval '1 day' where case_id = ?}, undef, $id);
    is($sv->sql('select sv.case_unmute(10)'), 0, 'nobody waits for a row that is held');
    $desk->commit;
    is($sv->sql('select sv.case_unmute(10)'), 0, 'it is muted');
    end_mute($id);
    is($sv->sql('select sv.case_unmute(10)'), 1, 'until it ends');
    is($sv->sql('select sv.case_unmute(10)'), 0, 'once');
    is(kinds($id), 'opened unmuted', 'so it is told');
};


subtest 'over deaths' => sub {
    my @id = map { $cases->open(severity => 'high', muted_until => '2099-01-01 00:00Z') } 1 .. 400;
    my $ended = sub { $sv->sql(q{select count(*) from sv.case_event where kind = 'unmuted' and case_id = any(?::uuid[])}, \@id) };

    end_mute(@id);

    for my $least (1, 101, 201) {
        $sv->start_worker(name => $_, %keep) for qw(keep second);
        wait_for { $ended->() >= $least } 'some of them';
        $sv->kill9($_) for qw(keep second);
    }

    $sv->start_worker(name => 'keep', %keep);
    wait_for { $ended->() >= @id } 'all';
    $sv->stop('keep');
    is($ended->(), scalar @id, 'each once');
    is($sv->sql(q{select count(distinct case_id) from sv.case_event where kind = 'unmuted' and case_id = any(?::uuid[])}, \@id), scalar @id, 'all of them');

    is_looked_at();
    my %n;
    $n{$_->{data}{case}}{$_->{type}}++ for map { decode_json($_) } split /\n/, Test::SerialVerify::slurp($log);
    is(scalar(grep { ($n{$_}{'case.opened'} // 0) == 1 } @id), scalar @id, 'a receiver hears of each once');
};

$sv->done_testing;
