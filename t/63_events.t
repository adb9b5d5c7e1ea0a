#!/usr/bin/env perl

# Every verdict leaves the gateway as a scan event: what it says of each kind of
# request, and that it says nothing of a consumer's address.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use FindBin;
use lib "$FindBin::Bin/lib";
use MIME::Base64 qw(encode_base64url);
use POSIX qw(strftime);
use Test::More;
use Time::HiRes qw(time);

use Test::SerialVerify;
use Test::SerialVerify::Events qw(stream_events stream_bytes identities gaps);

my $gtin    = 9506000134352;
my $unknown = 9506000134376;

my $sv = Test::SerialVerify->new(day => 120);
$sv->start_postgres;
$sv->start_redis;
$sv->sql('select sv.keep_salts()');
$sv->product($gtin);
my $pharmacy = $sv->actor('pharmacy', country => 'IT');
my $key      = $pharmacy->{key};

$sv->pack_row($gtin, $_) for qw(A1 A2 A3 A4);
$sv->pack_row($gtin, 'GONE', state => 'supplied', location_id => $pharmacy->{id}, since => '2026-01-02');
$sv->pack_row($gtin, 'DEAD', state => 'destroyed');
$sv->pack_row($gtin, 'CALLED', lot => 'LOT3');
$sv->recall_lot($gtin, 'LOT3', reason => 'impurity');

my @place = ('country=$http_x_country', 'lat=$http_x_lat', 'lon=$http_x_lon', 'accuracy=$http_x_km');
my %verify = (miss_budget => 'off', anonymous_floor => '0', deadline => '5s', client_place => \@place);

$sv->start_nginx(verify => {%verify, gateway => 'gate-1'},
    http => "    set_real_ip_from 127.0.0.1;\n    real_ip_header X-Address;\n");

my $seen = 0;


# What the requests of `code' leave in the stream: n events, in order.
sub events_of {
    my ($n, $code) = @_;

    $code->();

    my @events;
    Test::SerialVerify::wait_for { @events = stream_events($sv); @events >= $seen + $n } "$n events";

    my @new = @events[$seen .. $#events];
    $seen = @events;

    return @new;
}


sub event_of {
    my ($code) = @_;

    my $answer;
    my @events = events_of(1, sub { $answer = $code->() });
    is(scalar @events, 1, 'one event');

    return ($events[0], $answer);
}


sub event_is {
    my ($event, $expected, $name) = @_;

    my %got = map { $_ => $event->{$_} } keys %{$expected};
    return is_deeply(\%got, $expected, $name);
}


subtest 'who, where, when, what' => sub {
    my $before = int(time * 1000) - 1000;
    my ($event, $answer) = event_of(sub { $sv->get($sv->link_to($gtin, 'A1'), key => $key, headers => {'Entry-Mode' => 'manual'}) });

    event_is($event, {version => 1, gateway => 'gate-1', sequence => 1, occurred_ms => '', gtin => $gtin, serial => 'A1',
        lot => 'LOT1', expiry => '301231', location => $pharmacy->{id}, session => '', country => '', lat => '', lon => '',
        accuracy_km => '', entry_mode => 'manual', reason => 'ok', alert_id => '', flags => '',
        request_id => $answer->{headers}{'request-id'} // $answer->{headers}{'x-request-id'}}, 'a verify by its link');
    cmp_ok($event->{at_ms}, '>=', $before, 'the time');
    cmp_ok($event->{at_ms}, '<=', time * 1000 + 1000, 'in milliseconds');
    like($event->{boot}, qr/^\d{15,19}$/, 'boot');

    ($event) = event_of(sub { $sv->get($sv->link_to($gtin, 'A1', lot => undef, expiry => undef), key => $key) });
    event_is($event, {sequence => 2, lot => '', expiry => '', entry_mode => ''}, 'what was not presented is empty');

    ($event) = event_of(sub { $sv->request('HEAD', $sv->link_to($gtin, 'A1'), key => $key) });
    event_is($event, {sequence => 3, reason => 'ok'}, 'HEAD');

    ($event) = event_of(sub { $sv->post('/scan', {scan => "]d201${\ sprintf '%014d', $gtin}21A2\x{1d}10LOT1\x{1d}17301200"}, key => $key) });
    event_is($event, {serial => 'A2', lot => 'LOT1', expiry => '301200', entry_mode => 'scanned', reason => 'ok'}, 'POST /scan');

    ($event) = event_of(sub { $sv->post('/scan', {scan => "]d201${\ sprintf '%014d', $gtin}21A%2FB", entry_mode => 'manual'}, key => $key) });
    event_is($event, {serial => 'A%2FB', reason => 'serial_unknown', entry_mode => 'manual'}, 'characters are as they were');
};


subtest 'verdicts' => sub {
    my ($event, $answer) = event_of(sub { $sv->get($sv->link_to($gtin, 'GONE'), key => $key) });
    event_is($event, {reason => 'already_supplied_here', alert_id => ''}, 'of a professional');

    ($event, $answer) = event_of(sub { $sv->get($sv->link_to($gtin, 'A1', lot => 'LOTX'), key => $key) });
    event_is($event, {reason => 'lot_mismatch', lot => 'LOTX', flags => ''}, 'another lot');
    ok($answer->{json}{alert_id} || $answer->{json}{alert}, 'an alert');
    is($event->{alert_id}, $answer->{json}{alert_id} // $answer->{json}{alert}, 'is the same in the event');

    ($event, $answer) = event_of(sub { $sv->get($sv->link_to($gtin, 'A1', lot => 'LOTX') . '&alert=no', key => $key) });
    event_is($event, {reason => 'lot_mismatch', flags => 's', alert_id => ''}, 'a silent one says so');

    ($event, $answer) = event_of(sub { $sv->get($sv->link_to($gtin, 'a1'), key => $key) });
    is($answer->{json}{hint}, 'scanner', 'a scanner\'s setting');
    event_is($event, {reason => 'serial_unknown', serial => 'a1', flags => 'h', alert_id => ''}, 'is told');
};


subtest 'the public is told less than the event tells' => sub {
    my @cases = (
        ['A1',     {},                        200, 'ok'],
        ['GONE',   {},                        200, 'already_supplied'],
        ['DEAD',   {},                        200, 'destroyed'],
        ['CALLED', {lot => 'LOT3'},           200, 'recalled'],
        ['A1',     {lot => 'LOTX'},           404, 'lot_mismatch'],
        ['A1',     {expiry => '291231'},      404, 'expiry_mismatch'],
        ['NONE',   {},                        404, 'serial_unknown'],
        ['NONE',   {lot => 'LOTX'},           404, 'lot_unknown'],
    );

    for my $case (@cases) {
        my ($serial, $option, $status, $reason) = @{$case};
        my ($event, $answer) = event_of(sub { $sv->get($sv->link_to($gtin, $serial, %{$option})) });

        is($answer->{status}, $status, "$serial, $reason: answered");
        is($answer->{json}{reason}, 'not_confirmed', '.. as all others') if $status == 404;
        event_is($event, {reason => $reason, location => '', alert_id => ''}, '.. and truly');
    }

    my ($event) = event_of(sub { $sv->get($sv->link_to($unknown, 'A1')) });
    event_is($event, {reason => 'product_unknown', gtin => $unknown}, 'an unknown product');
};


subtest 'no verdict, no event' => sub {
    my ($event) = event_of(sub {
        $sv->get('/01/09506000134353/21/A1');
        $sv->get('/01/09506000134352');
        $sv->get($sv->link_to($gtin, 'A1'), key => 'nobody');
        $sv->post('/scan', '{"scan":"x"}', key => $key);
        $sv->get('/status');
        is($sv->post($sv->link_to($gtin, 'A4'), '{"operation":"supply"}', key => $key, idempotency => 'k')->{status}, 200, 'supplied');
        $sv->get($sv->link_to($gtin, 'A3'), key => $key);
    });

    event_is($event, {serial => 'A3'}, 'only of the verify: an operation is its audit row');
};


subtest 'lines of a list' => sub {
    my $now   = int time;
    my $stamp = sub { strftime('%Y-%m-%dT%H:%M:%S', gmtime $_[0]) };
    my $line  = sub {
        my ($serial, %more) = @_;
        my $lot = delete $more{lot} // 'LOT1';
        return {scan => sprintf('(01)%014d(21)%s(10)%s(17)301231', $gtin, $serial, $lot), %more};
    };

    my $answer;
    my @events = events_of(5, sub {
        $answer = $sv->post('/packs', [
            $line->('A1', occurred_at => $stamp->($now - 3600) . '.250Z'),
            $line->('A2', occurred_at => $stamp->($now) . '+02:00', entry_mode => 'manual'),
            $line->('A3', operation => 'supply', key => 'k3'),
            $line->('NONE', occurred_at => $stamp->($now - 20 * 86400) . 'Z'),
            $line->('DEAD', occurred_at => $stamp->($now + 3600) . 'Z'),
            {scan => 'wrong'},
            $line->('A1', lot => 'LOTX'),
        ], key => $key);
    });

    my @results = @{$answer->{json}{results} // []};
    is_deeply([map { $_->{serial} } @events], [qw(A1 A2 NONE DEAD A1)], 'each verify of them, no operation');
    is_deeply([map { $_->{occurred_ms} } @events], [($now - 3600) * 1000 + 250, ($now - 7200) * 1000, '', '', ''],
        'when it happened; what an operation would be refused for is not believed');
    is_deeply([map { $_->{entry_mode} } @events], [qw(scanned manual scanned scanned scanned)], 'entry modes');
    is($events[4]{alert_id}, $results[6]{alert_id} // $results[6]{alert}, 'the alert of a line');
    is(scalar(grep { $_->{request_id} eq $events[0]{request_id} } @events), 5, 'one request');

    @events = events_of(1, sub { $sv->post('/packs?alert=no', [$line->('A1')], key => $key) });
    event_is($events[0], {flags => 's'}, 'a silent list');
};


subtest 'a coarse place' => sub {
    my $place = sub {
        my (%header) = @_;
        my ($event) = event_of(sub { $sv->get($sv->link_to($gtin, 'A1'), headers => {map { ("X-$_" => $header{$_}) } keys %header}) });
        return join ' ', map { $event->{$_} } qw(country lat lon accuracy_km);
    };

    is($place->(Country => 'NZ', Lat => '-36.8485', Lon => '174.7633', KM => 20), 'NZ -36.75 174.75 60', 'the centre of its cell');
    is($place->(Country => 'fr', Lat => '48.9999', Lon => '2.0'), 'FR 48.75 2.25 ', 'no accuracy');
    is($place->(Lat => '-0.1', Lon => '-180'), ' -0.25 -179.75 ', 'no country');
    is($place->(Lat => '90', Lon => '180', KM => 0), ' 89.75 179.75 40', 'edges');
    is($place->(Country => 'GB', KM => 5), 'GB   ', 'no coordinates');
    is($place->(Country => 'Great Britain', Lat => '91', Lon => '0'), '   ', 'no such place');
    is($place->(Country => '1A', Lat => '1e1', Lon => '0'), '   ', 'no number');
    is($place->(Country => 'DE', Lat => '10', Lon => ''), 'DE   ', 'half a place');
    is($place->(Lat => '10', Lon => '10', KM => 'x'), ' 10.25 10.25 ', 'no such accuracy');

    my ($event) = event_of(sub { $sv->get($sv->link_to($gtin, 'A1'), key => $key, headers => {'X-Country' => 'DE', 'X-Lat' => 1, 'X-Lon' => 1}) });
    event_is($event, {country => '', lat => '', session => ''}, 'a professional is where his location is');
};


sub token_of {
    my ($address, $agent, %option) = @_;

    my ($event) = event_of(sub {
        $sv->get($sv->link_to($gtin, 'A1'), headers => {'X-Address' => $address, defined $agent ? ('User-Agent' => $agent) : ()}, %option);
    });

    return $event->{session};
}


subtest 'tokens' => sub {
    my $token = token_of('203.0.113.7', 'Phone/1');
    my $salt  = $sv->sql("select encode(salt, 'hex') from sv.session_salt where day = (now() at time zone 'UTC')::date");
    my $whole = hmac_sha256(pack('Q>', (4 << 56) | (203 << 16 | 0 << 8 | 113)) . 'Phone/1', pack 'H*', $salt);

    is($token, substr(encode_base64url($whole), 0, 16), 'a keyed digest of address prefix and browser');
    is(token_of('203.0.113.99', 'Phone/1'), $token, 'the same for the prefix');
    isnt(token_of('203.0.114.7', 'Phone/1'), $token, 'another address, another token');
    isnt(token_of('203.0.113.7', 'Phone/2'), $token, 'another browser, another token');
    isnt(token_of('203.0.113.7', undef), $token, 'no browser');
    is(token_of('2001:db8:1:2::3', 'P'), token_of('2001:db8:1:ffff::4', 'P'), 'IPv6 by its prefix');
    isnt(token_of('2001:db8:1:2::3', 'P'), token_of('2001:db8:2:2::3', 'P'), '.. of 48 bits');

    $sv->start_nginx(name => 'second', verify => {%verify, gateway => 'gate-2'},
        http => "    set_real_ip_from 127.0.0.1;\n    real_ip_header X-Address;\n");
    is(token_of('203.0.113.7', 'Phone/1', nginx => 'second'), $token, 'the same at another gateway');

    # the day's salt is another one: that is what a day does
    $sv->sql(q{update sv.session_salt set salt = sha256('another'), ref_n = sv.next_ref_n() where day = (now() at time zone 'UTC')::date});
    my $other;
    Test::SerialVerify::wait_for { ($other = token_of('203.0.113.7', 'Phone/1')) ne $token } 'the new salt';
    like($other, qr/^[A-Za-z0-9_-]{16}$/, 'another salt, another token');

    $sv->sql(q{update sv.session_salt set salt = null, ref_n = sv.next_ref_n()});
    Test::SerialVerify::wait_for { token_of('203.0.113.7', 'Phone/1') eq '' } 'no token without a salt';
    $sv->sql('delete from sv.session_salt');
    $sv->sql('select sv.keep_salts()');
    Test::SerialVerify::wait_for { token_of('203.0.113.7', 'Phone/1') ne '' } 'tokens again';
};


subtest 'salts' => sub {
    my $salts = sub { return $sv->sql(q{select string_agg(s.day - (now() at time zone 'UTC')::date || case when s.salt is null then '-' else '' end, ' ' order by s.day)
        from sv.session_salt s}) };

    is($salts->(), '0 1', 'today and tomorrow');
    is($sv->sql('select sv.keep_salts()'), 0, 'once');
    $sv->sql('update sv.session_salt set day = day - 2');
    is($sv->sql('select sv.keep_salts()'), 3, 'two days later');
    is($salts->(), '-2- -1 0 1', 'the salt before yesterday\'s is destroyed');
    is($sv->sql('select count(distinct salt) from sv.session_salt where length(salt) = 32'), 3, 'each is another one');

    $sv->sql('delete from sv.session_salt');
    $sv->start_worker(roles => 'housekeeping');
    Test::SerialVerify::wait_for { ($salts->() // '') eq '0 1' } 'the role housekeeping';
    pass('the role housekeeping makes them');
    $sv->stop('worker');

    $sv->sql('update sv.session_salt set day = day - 3');
    $sv->sql('select sv.keep_salts()');

    # page by page, whatever their size: each row once, in order, salts among the others
    my $whole = $sv->dbh->selectall_arrayref(q{select n, kind, key from sv.ref_feed(0, '', '', 10000)});

    for my $size (1, 2, 3) {
        my ($at, @paged) = [0, '', ''];

        while (my @page = @{$sv->dbh->selectall_arrayref('select n, kind, key from sv.ref_feed(?, ?, ?, ?)', undef, @{$at}, $size)}) {
            push @paged, @page;
            $at = $page[-1];
            last if @paged > @{$whole};
        }

        is_deeply(\@paged, $whole, "pages of $size");
    }

    my @row = $sv->sql(q{select kind, deleted, f1 is null from sv.ref_feed(0, '', '', 1000) where kind = 'salt' and deleted});
    is_deeply(\@row, ['salt', 1, 1], 'gateways learn of it');
};


subtest 'no address anywhere' => sub {
    my $bytes = stream_bytes($sv);

    unlike($bytes, qr/203\.0\.113|2001:db8|127\.0\.0\.1|Phone/, 'in the stream');
    unlike($sv->log_of('nginx') =~ s/^.*client: .*$//mgr, qr/203\.0\.113|Phone/, 'in the log');
};


subtest 'identity' => sub {
    my @events = stream_events($sv);
    my %by     = identities(@events);

    is(scalar keys %by, scalar @events, 'no identity twice');
    is(gaps(@events), 0, 'no number is missing');
    is_deeply([sort { $a cmp $b } keys %{{map { $_->{gateway} => 1 } @events}}], [qw(gate-1 gate-2)], 'both gateways');
    Test::SerialVerify::wait_for { $sv->counter('event_sent') + $sv->counter('event_sent', {nginx => 'second'}) >= @events } 'what was sent to be counted';
    is($sv->counter('event_sent') + $sv->counter('event_sent', {nginx => 'second'}), scalar @events, 'counted');
    is($sv->figure('events', 'way'), 'redis', 'the way in /status');
    is($sv->figure('events', 'gateway'), 'gate-1', 'the name in /status');
    like($sv->get('/metrics')->{body}, qr/^serial_verify_events_total\{result="sent"\} [1-9]/m, 'metrics');
};


subtest 'many at once are few blocks' => sub {
    my $few;

    # a busy machine may take its time from one to the next
    for (1 .. 5) {
        my $blocks = $sv->redis->xlen('sv:scans');
        my @events = events_of(400, sub { $sv->parallel(map { ['GET', $sv->link_to($gtin, 'A1'), key => $key] } 1 .. 100) for 1 .. 4 });

        is(scalar @events, 400, 'all');
        $few = $sv->redis->xlen('sv:scans') - $blocks;
        last if $few < 200;
    }

    cmp_ok($few, '<', 200, 'in fewer blocks');
};


subtest 'off, and nowhere to go' => sub {
    $sv->stop('second');
    $sv->start_nginx(name => 'second', verify => {%verify, events => 'off'});
    $sv->get($sv->link_to($gtin, 'A1'), key => $key, nginx => 'second');
    is($sv->figure('events', 'way', {nginx => 'second'}), 'off', 'off');
    is($sv->counter('event_nowhere', {nginx => 'second'}), 0, 'nothing is counted');
    $sv->stop('second');

    $sv->start_nginx(name => 'second', verify => {%verify, redis => undef});
    $sv->get($sv->link_to($gtin, 'A1'), key => $key, nginx => 'second');
    is($sv->figure('events', 'way', {nginx => 'second'}), 'nowhere', 'no Redis, no spool');
    is($sv->counter('event_nowhere', {nginx => 'second'}), 1, 'counted as dropped');
};


subtest 'the worker reads them' => sub {
    my %sent = identities(stream_events($sv));

    $sv->start_worker(roles => 'consume');
    Test::SerialVerify::wait_for { $sv->redis->xlen('sv:scans') == 0 } 'an empty stream';

    my $rows = $sv->dbh->selectall_arrayref(q{select s.gateway, s.boot, s.seq, s.gtin, s.serial, coalesce(s.lot, ''), coalesce(s.session, ''),
        coalesce(s.country, ''), coalesce(to_char(s.lat, 'FM990.00'), ''), s.reason, s.request_id, s.silent::integer, sv.ms(s.at)
        from sv.scan s where s.gateway <> ''});
    my %kept = map { (join(' ', @{$_}[0 .. 2]) => join ' ', @{$_}[3 .. 12]) } @{$rows};
    my %told = map {
        my $event = $sent{$_};
        ($_ => join ' ', (map { $event->{$_} } qw(gtin serial lot session country lat reason request_id)), $event->{flags} =~ /s/ ? 1 : 0, $event->{at_ms});
    } keys %sent;

    is_deeply(\%kept, \%told, 'all of them, as they were sent');
    is($sv->sql('select sum(last_seq - received) from sv.scan_source'), 0, 'none is missing');
    $sv->stop('worker');
};


$sv->done_testing;
