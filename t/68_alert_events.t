#!/usr/bin/env perl

# What is told of cases, as a stream: in order, each once, whoever is killed or
# slow meanwhile; to whom it may be told.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use IO::Socket::UNIX;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(sleep time);
use Test::SerialVerify;
use Test::SerialVerify::Cases;

my $gtin  = 9506000134352;
my $alien = 9506000134369;

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
$sv->product($alien, company => 'rival');

my %who = map { $_ => $sv->actor($_) } qw(pharmacy manufacturer authority reviewer operator);
$who{acme}  = $sv->actor('reviewer', company => 'acme');
$who{rival} = $sv->actor('reviewer', company => 'rival');

$sv->start_api;
$sv->start_nginx(api => 1, workers => 1);
my $cases = Test::SerialVerify::Cases->new($sv);


# --- a client: {events => [{id, event, data}], last => id, status, ended}

sub watch {
    my ($who, %option) = @_;

    my $target  = '/alerts/events' . ($option{query} // '');
    my %header  = (defined $option{last} ? ('Last-Event-ID' => $option{last}) : (), %{$option{headers} // {}});
    my $address = $option{direct} ? $sv->api_socket : $sv->address;

    $header{'Serial-Verify-Identity'} = $sv->api_token('GET', $target, {location => $who{$who}{id}, role => 'reviewer'}) if $option{direct};
    my $connection = Test::SerialVerify::HTTP->connect_to($address);
    setsockopt $connection->{socket}, SOL_SOCKET, SO_RCVBUF, 4096 if $option{slow};

    # HTTP/1.0: what comes is what was said
    my $request = Test::SerialVerify::HTTP::build('GET', $target, headers => \%header, close => 1, $option{direct} ? () : (key => $who{$who}{key})) =~ s/HTTP\/1\.1/HTTP\/1.0/r;
    $connection->put($request);

    my $watcher = {socket => $connection->{socket}, buffer => '', events => [], last => $option{last}, all => ''};
    listen_to($watcher, sub { defined $_[0]{status} }) if !$option{slow};

    return $watcher;
}

# one read; false: nothing came
sub hear {
    my ($watcher, $timeout) = @_;

    return 0 if $watcher->{ended} || !IO::Select->new($watcher->{socket})->can_read($timeout);

    my $n = sysread $watcher->{socket}, $watcher->{buffer}, 65536, length $watcher->{buffer};

    if (!$n) {
        $watcher->{ended} = 1;
        close $watcher->{socket};
        return 1;
    }

    if (!defined $watcher->{status} && $watcher->{buffer} =~ s/\AHTTP\/1\.\d (\d+)[^\r]*\r\n(.*?)\r\n\r\n//s) {
        @{$watcher}{qw(status head)} = ($1, $2);
    }

    return 1 if ($watcher->{status} // 0) != 200;

    while ($watcher->{buffer} =~ s/\A(.*?)\n\n//s) {
        my %event = (data => '');
        $watcher->{all} .= "$1\n\n";

        for my $line (split /\n/, $1) {
            my ($name, $value) = $line =~ /^(\w*):\s?(.*)$/ or die "no line of a stream: $line";
            $name eq 'data' ? ($event{data} .= $value) : ($event{$name} = $value);
        }

        $watcher->{last} = $event{id} if defined $event{id};
        $watcher->{beats}++ if exists $event{''};
        next if $event{data} eq '';
        push @{$watcher->{events}}, \%event;
    }

    return 1;
}

sub listen_to {
    my ($watcher, $condition, $timeout) = @_;

    my $end = time + ($timeout // 60);
    hear($watcher, 0.2) while !$condition->($watcher) && !$watcher->{ended} && time < $end;

    return $condition->($watcher);
}

# all at the same time
sub listen_all {
    my ($condition, $timeout, @watchers) = @_;

    my %of  = map { fileno $_->{socket} => $_ } @watchers;
    my $end = time + $timeout;

    while (time < $end) {
        my @left = grep { !$_->{ended} && !$condition->($_) } @watchers;
        last if !@left;
        hear($of{fileno $_}, 0) for IO::Select->new(map { $_->{socket} } @left)->can_read(0.2);
    }

    return scalar grep { $condition->($_) } @watchers;
}

sub said { return Test::SerialVerify::HTTP::decode($_[0]{data}) }
sub numbers { my ($watcher) = @_; return [map { $_->{id} + 0 } @{$watcher->{events}}] }
sub clock { return $sv->sql('select n from sv.case_clock') }
sub has_all { my ($n) = @_; return sub { ($_[0]{last} // -1) >= $n } }
sub told { my ($answer) = @_; return join ' ', $answer->{status}, grep { defined } @{$answer->{json} // {}}{qw(reason element)} }

# the numbers that a company is told, after one
sub expected {
    my ($after, $company) = @_;

    return $sv->dbh->selectcol_arrayref(q{select e.n from sv.case_event e left join sv.product p on p.gtin = e.gtin
        where e.n > ? and (? = '' or p.company = ?) order by e.n}, undef, $after, ($company // '') x 2);
}


subtest 'who may' => sub {
    is(told($sv->get('/alerts/events', key => $who{$_}{key})), '403 not_permitted', "not: $_") for qw(pharmacy manufacturer authority operator);
    is($sv->get('/alerts/events')->{status}, 401, 'nobody without a key');
    is(told($sv->api_request('GET', '/alerts/events', who => {location => $who{pharmacy}{id}, role => 'reviewer'})), '403 not_permitted role', 'nor a role that only the proof has');
    is(told($sv->get('/alerts/events', key => $who{reviewer}{key}, headers => {'Last-Event-ID' => $_})), '400 invalid_value Last-Event-ID', "no number: $_") for 'x', '-1', '1' x 19;
    is(told($sv->get('/alerts/events?after=1e3', key => $who{reviewer}{key})), '400 invalid_value after', 'nor this');
    is($sv->request('HEAD', '/alerts/events', key => $who{reviewer}{key})->{status}, 200, 'HEAD');
};


subtest 'what is told' => sub {
    my %watcher = map { $_ => watch($_) } qw(reviewer acme rival);
    my $start   = clock();

    for my $watcher (values %watcher) {
        is($watcher->{status}, 200, 'a stream');
        like($watcher->{head}, qr{^Content-Type: text/event-stream\r?$}m, 'of events');
        unlike($watcher->{head}, qr/Content-Length/, 'without an end');
        like($watcher->{all}, qr/\Aretry: 2000\nid: $start\n\n/, 'that begins now') if listen_to($watcher, sub { $_[0]{all} ne '' });
    }

    my $before = time;
    my $id = $cases->open(severity => 'high', cause => "two\nlines");
    ok(listen_to($watcher{reviewer}, has_all($start + 1)), 'told');
    cmp_ok(time - $before, '<', 10, 'soon');
    my ($event) = @{$watcher{reviewer}{events}};
    is_deeply(said($event), {n => $start + 1, at => '2026-11-20T12:00:01.000Z', kind => 'opened', alert => {id => $id, number => 1, version => 1,
        gtin => "0$gtin", lot => 'LOT1', rule => 'impossible_travel', severity => 'high', status => 'new', proposed_closure => JSON::PP::false(), cause => "two\nlines"}}, 'the case as it was then');

    $cases->open(gtin => $alien);
    $cases->open(gtin => 0, lot => undef);
    is($sv->request('PATCH', "/alerts/$id", key => $who{acme}{key}, headers => {'If-Match' => '*'}, body => {status => 'closed', reason => 'test', note => 'x'})->{status}, 200, 'a change');
    $cases->evidence($id, detail => Test::SerialVerify::HTTP::encode({much => 'x' x 5000}));
    my $last = clock();
    ok(listen_to($watcher{$_}, has_all($last)), "$_: all") for 'reviewer';
    is_deeply(numbers($watcher{reviewer}), expected($start), 'in order, each once');
    is_deeply([map { said($_)->{kind} } @{$watcher{reviewer}{events}}], [qw(opened opened opened status evidence)], 'whatever it is');
    is_deeply([@{said($watcher{reviewer}{events}[3])}{qw(detail by)}], [{from => 'new', to => 'closed', reason => 'test', note => 'x'},
        $sv->sql(q{select gln || ' ' || name from sv.location where location_id = ?}, $who{acme}{id})], 'what was changed, by whom');
    is(said($watcher{reviewer}{events}[4])->{detail}, undef, 'but not at any length');

    for my $company (qw(acme rival)) {
        my $last = expected($start, $company)->[-1];
        ok(listen_to($watcher{$company}, has_all($last)), "$company: told");
        is_deeply(numbers($watcher{$company}), expected($start, $company), "$company: its own");
    }
};


subtest 'from a number on' => sub {
    my $list = $sv->get('/alerts', key => $who{reviewer}{key})->{json};
    $cases->open for 1 .. 3;
    my $after = watch('reviewer', query => "?after=$list->{event}");
    ok(listen_to($after, has_all(clock())), 'what a list does not know yet');
    is_deeply(numbers($after), expected($list->{event}), 'and no more');

    for my $last (0, 1, clock() - 1, clock()) {
        my $watcher = watch('reviewer', last => $last, query => '?after=0');
        ok(listen_to($watcher, sub { @{$_[0]{events}} == @{expected($last)} && $_[0]{all} ne '' }), "after $last");
        is_deeply(numbers($watcher), expected($last), "$last: each once");
    }

    my $lost = watch('reviewer', last => clock() + 100);
    ok(listen_to($lost, sub { @{$_[0]{events}} }), 'a number that was never given');
    is_deeply([@{$lost->{events}[0]}{qw(event id data)}], ['reset', clock(), '{}'], 'is told to begin anew');

    # more than fits into a buffer and a batch
    $sv->sql(q{do $$ begin for i in 1 .. 3000 loop
        perform sv.case_tell(c.gtin, c.case_id, 'evidence', null, '{}', clock_timestamp()) from (select * from sv.case order by number limit 1) c; end loop; end $$});
    my $all = watch('reviewer', last => 0);
    my $began = time;
    ok(listen_to($all, has_all(clock()), 30), 'a long history');
    note(sprintf '%d events in %.2f s', scalar @{$all->{events}}, time - $began);
    is_deeply(numbers($all), expected(0), 'each once');

    # some that know different parts of it, served by the same reads
    my %from = map { $_ => watch('reviewer', last => $_, direct => 1) } map { $_ * 211 } 0 .. 11;
    listen_all(has_all(clock()), 120, values %from);
    is_deeply(numbers($from{$_}), expected($_), "behind $_: each once") for sort { $a <=> $b } keys %from;
};


# Whatever ends the stream, the client goes on behind what it has.
subtest 'resumed' => sub {
    my $start = clock();
    my @ids   = map { $cases->open(gtin => $_ % 2 ? $gtin : $alien) } 1 .. 4;
    my %mine  = map { $_ => {last => $start, events => []} } qw(reviewer acme rival);
    my $pid   = fork // die "fork: $!";

    if ($pid == 0) {
        my $until = time + 6;
        while (time < $until) {
            $cases->evidence($_) for @ids;
            sleep 0.01;
        }
        POSIX::_exit(0);
    }

    my ($kills, $end) = (0, time + 6);
    my %watcher;

    while (time < $end || $kills < 3) {
        for my $who (keys %mine) {
            $watcher{$who} //= eval { watch($who, last => $mine{$who}{last}) } // next;
            hear($watcher{$who}, 0.05);
            my $part = $watcher{$who};
            push @{$mine{$who}{events}}, splice @{$part->{events}};
            $mine{$who}{last} = $part->{last} // $mine{$who}{last};
            delete $watcher{$who} if $part->{ended} || ($part->{status} // 200) != 200;
        }

        if ($kills < 3 && time > $end - 5 + $kills * 1.5) {
            $kills++;
            $sv->kill9('api');
            $sv->start_api;
        }
    }

    waitpid $pid, 0;
    is($kills, 3, 'killed three times');

    for my $who (sort keys %mine) {
        my $company = $who eq 'reviewer' ? '' : $who;
        my $part    = watch($who, last => $mine{$who}{last});
        listen_to($part, has_all(expected($start, $company)->[-1]));
        push @{$mine{$who}{events}}, @{$part->{events}};
        is_deeply(numbers($mine{$who}), expected($start, $company), "$who: nothing lost, nothing twice");
    }

    my $watcher = watch('reviewer');
    listen_to($watcher, sub { $_[0]{all} ne '' });
    $start = $watcher->{last};
    $sv->stop('postgres');
    $sv->start_postgres;
    $cases->evidence($_) for @ids;
    ok(listen_to($watcher, has_all(clock())), 'PostgreSQL went and came');
    is_deeply(numbers($watcher), expected($start), 'the stream did not');
};


subtest 'many, and one that is slow' => sub {
    my @more = map { $sv->actor('reviewer') } 1 .. 3;
    @who{map { "more$_" } 0 .. $#more} = @more;

    my $id    = $cases->open;
    my $start = clock();
    my $slow  = watch('reviewer', last => $start, direct => 1, slow => 1);
    my @many  = map { my $of = "more$_"; map { watch($of, last => $start, direct => 1) } 1 .. 16 } 0 .. 2;
    push @many, map { watch('reviewer', last => $start, direct => 1) } 1 .. 15;
    is(scalar(grep { $_->{status} == 200 } @many), 63, '64 streams');
    is(watch('acme', direct => 1)->{status}, 503, 'are all there are');

    my $before = time;
    $cases->evidence($id, detail => Test::SerialVerify::HTTP::encode({text => 'x' x 3000})) for 1 .. 200;
    my $last = clock();
    listen_all(has_all($last), 120, @many);
    is(scalar(grep { "@{numbers($_)}" eq "@{expected($start)}" } @many), 63, 'each is told all of it once');
    note(sprintf '200 events to 63 clients in %.2f s', time - $before);
    cmp_ok($sv->sql(q{select count(*) from pg_stat_activity where usename = 'sv_api'}), '<=', 9, 'by one session');
    is($sv->get('/alerts?limit=1', key => $who{reviewer}{key}, timeout => 60)->{status}, 200, 'other requests are answered');

    # those that leave make room at once
    close $_->{socket} for splice @many, 0, 30;
    my @again;
    Test::SerialVerify::wait_for { push @again, watch('more0', last => $last, direct => 1); (grep { $_->{status} == 200 } @again) >= 16 } 'room';
    is(watch('more0', direct => 1)->{status}, 503, 'one location does not take all');

    # the slow one is dropped, and goes on where it was
    listen_to($many[-1], sub { $_[0]{beats} });
    is($many[-1]{beats}, 1, 'a sign of life where nothing happens');
    Test::SerialVerify::wait_for { watch('reviewer', last => $last, direct => 1)->{status} == 200 } 'the slow one to be dropped';
    listen_to($slow, sub { 0 });
    ok($slow->{ended}, 'who reads nothing is dropped');
    cmp_ok(scalar @{$slow->{events}}, '<', 200, 'with a part of it');
    my $rest;
    Test::SerialVerify::wait_for { ($rest = watch('reviewer', last => $slow->{last}, direct => 1))->{status} == 200 } 'room';
    listen_to($rest, has_all($last));
    is_deeply([@{numbers($slow)}, @{numbers($rest)}], expected($start), 'the rest comes by its number');
};


subtest 'the end' => sub {
    my $gone  = $sv->actor('reviewer');
    my $moved = $sv->actor('reviewer', company => 'acme');
    @who{qw(gone moved)} = ($gone, $moved);
    my %watcher = map { $_ => watch($_, direct => 1) } qw(gone moved rival);

    $sv->revoke($gone->{key});
    $sv->sql('update sv.location set company = ? where location_id = ?', 'rival', $moved->{id});
    ok(listen_to($watcher{gone}, sub { $_[0]{ended} }), 'a revoked key ends a stream');
    ok(listen_to($watcher{moved}, sub { $_[0]{ended} }), 'so does another company');
    ok(!listen_to($watcher{rival}, sub { $_[0]{ended} }, 0.5), 'others go on');

    my $before = time;
    $sv->stop('api');
    ok(listen_to($watcher{rival}, sub { $_[0]{ended} }), 'a stop ends all');
    cmp_ok(time - $before, '<', 15, 'at once');
};

$sv->done_testing;
