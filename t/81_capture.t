#!/usr/bin/env perl

# EPCIS capture: what is answered, what is there afterwards, whoever is killed
# in between.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Digest::SHA qw(sha256_hex);
use Test::More;
use Time::HiRes qw(time);

use Test::SerialVerify;

my $gtin = 9506000134352;
my $mine = 9506000140001;
my $sv   = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin, company => 'acme');
$sv->product(9506000150000, company => 'bolt');

my $acme  = $sv->actor('manufacturer', company => 'acme');
my $plant = $sv->actor('manufacturer', company => 'acme');
my $bolt  = $sv->actor('manufacturer', company => 'bolt');
my $trade = $sv->actor('wholesaler', company => 'trade');
my $loose = $sv->actor('wholesaler');
my $boss  = $sv->actor('operator');
my $law   = $sv->actor('authority');
my $shop  = $sv->actor('pharmacy');
my $dir   = $sv->base . '/captures';

$sv->start_api(capture_event_limit => 1000);
$sv->start_nginx(api => 1, verify => {deadline => '5s'});

# EPCIS 2.0 JSON that commissions these serials
sub document {
    my ($of, $lot, @serials) = @_;

    my ($prefix, $item) = sprintf('%014d', $of) =~ /^.(.{7})(.{5})/;

    return Test::SerialVerify::HTTP::encode({'@context' => 'https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld', type => 'EPCISDocument',
        schemaVersion => '2.0', creationDate => '2026-11-01T00:00:00Z', epcisBody => {eventList => [{type => 'ObjectEvent', action => 'ADD',
            eventTime => '2026-11-01T10:00:00Z', eventTimeZoneOffset => '+00:00', bizStep => 'commissioning',
            epcList => [map { "urn:epc:id:sgtin:$prefix.0$item.$_" } @serials], ilmd => {lotNumber => $lot, itemExpirationDate => '2030-12-31'}}]}});
}

# capture(WHO, BODY, HEADER => VALUE..)
sub capture {
    my ($who, $body, %header) = @_;

    return $sv->post('/epcis/capture', $body, key => $who->{key}, headers => {'Content-Type' => 'application/json', %header}, timeout => 60);
}

sub job { my ($who, $id) = @_; return $sv->get("/epcis/capture/$id", key => $who->{key}) }

sub id_of { return ($_[0]{headers}{location} // '') =~ m{^/epcis/capture/([0-9a-f-]{36})$} ? $1 : '' }

sub files { return map { s{.*/}{}r } grep { -f } glob "$dir/* $dir/.*" }

sub refused {
    my ($answer, $status, $type, $element, $name) = @_;

    is($answer->{status}, $status, "$name: $status") or diag($answer->{body});
    is($answer->{headers}{'content-type'}, 'application/problem+json', "$name: a problem document");
    is_deeply([@{$answer->{json} // {}}{qw(type status element)}], ["epcisException:$type", $status, $element], "$name: $type");

    return;
}


subtest 'OPTIONS' => sub {
    my $answer = $sv->request('OPTIONS', '/epcis/capture', key => $acme->{key});
    my %told   = map { $_ => $answer->{headers}{$_} } grep { /^gs1-|^allow$/ } keys %{$answer->{headers}};

    is($answer->{status}, 204, 'answered');
    is_deeply(\%told, {
        'allow' => 'POST, GET, HEAD, OPTIONS', 'gs1-epcis-min' => '1.2', 'gs1-epcis-max' => '2.0', 'gs1-cbv-min' => '1.2', 'gs1-cbv-max' => '2.0',
        'gs1-epc-format' => 'No_Preference', 'gs1-capture-error-behaviour' => 'rollback, proceed',
        'gs1-epcis-capture-file-size-limit' => 100 << 20, 'gs1-epcis-capture-limit' => 1000}, 'with what can be captured');
};


subtest 'a job' => sub {
    my $body   = document($gtin, 'L1', qw(A1 A2));
    my $answer = capture($acme, $body);
    my $id     = id_of($answer);

    is($answer->{status}, 202, 'accepted') or diag($answer->{body});
    like($id, qr/./, 'Location');
    like($answer->{json}{createdAt} // '', qr/^20\d\d-\d\d-\d\dT[\d:]{8}\.\d{3}Z$/, 'when');
    is_deeply({%{$answer->{json}}, createdAt => 0}, {captureID => $id, createdAt => 0, running => JSON::PP::true(), success => JSON::PP::true(),
        captureErrorBehaviour => 'rollback', errors => []}, 'the job');
    is_deeply(job($acme, $id)->{json}, $answer->{json}, 'and again');

    my $row = $sv->dbh->selectrow_hashref('select * from sv.capture where capture_id = ?', undef, $id);
    is_deeply([@{$row}{qw(location_id company bytes whole state request_id)}], [$acme->{id}, 'acme', length $body, 1, 'queued',
        $answer->{headers}{'x-request-id'}], 'the row');
    is(unpack('H*', $row->{digest}), sha256_hex($body), 'its digest');
    is(Test::SerialVerify::slurp("$dir/$row->{file}"), $body, 'the file, byte by byte');
    is((stat "$dir/$row->{file}")[2] & oct('7'), 0, 'which others do not read');

    my $large = document($gtin, 'L2', map { "S$_" } 1 .. 20_000);
    my $piece = $sv->connection;
    $piece->put("POST /epcis/capture HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer $acme->{key}\r\nContent-Type: application/ld+json; charset=utf-8\r\n"
        . "GS1-Capture-Error-Behaviour: proceed\r\nTransfer-Encoding: chunked\r\n\r\n");
    $piece->put(sprintf("%x\r\n%s\r\n", length $_, $_)) for $large =~ /(.{1,9973})/gs;
    $piece->put("0\r\n\r\n");
    $answer = $piece->next_response(60);
    is($answer->{json}{captureErrorBehaviour}, 'proceed', 'proceed, in pieces') or diag($answer->{body});
    is(unpack('H*', $sv->sql('select digest from sv.capture where capture_id = ?', id_of($answer))), sha256_hex($large), 'whole');
};


subtest 'what is understood' => sub {
    my $files = () = files();
    my %ending = ('application/json' => 'json', 'application/ld+json' => 'json', 'Application/JSON;charset=utf-8' => 'json', 'application/xml' => 'xml',
        'text/xml; charset="utf-8"' => 'xml', 'text/csv' => 'csv');

    for my $type (sort keys %ending) {
        my $answer = capture($acme, 'x', 'Content-Type' => $type);
        like($sv->sql('select file from sv.capture where capture_id = ?', id_of($answer)), qr/\.$ending{$type}$/, $type) or diag($answer->{body});
    }

    refused(capture($acme, 'x', 'Content-Type' => $_), 415, 'UnsupportedMediaTypeException', 'Content-Type', "type '" . ($_ // 'none') . q('))
        for undef, '', 'text/plain', 'application/jsonx', 'application/', 'multipart/form-data; boundary=x';

    for my $header (qw(GS1-EPCIS-Version GS1-CBV-Version)) {
        is(capture($acme, 'x', $header => $_)->{status}, 202, "$header $_") for qw(2.0 2.0.0 1.2 1.2.1);
        refused(capture($acme, 'x', $header => $_), 400, 'ValidationException', $header, "$header '$_'") for qw(1.1 2.1 3.0 2.0. 2.0x 2 x 1.22);
    }

    is(capture($acme, 'x', 'GS1-Capture-Error-Behaviour' => $_)->{status}, 202, $_) for qw(rollback proceed);
    refused(capture($acme, 'x', 'GS1-Capture-Error-Behaviour' => $_), 400, 'ValidationException', 'GS1-Capture-Error-Behaviour', "'$_'")
        for qw(Rollback all none x);
    is(capture($acme, 'x', 'GS1-Extensions' => 'ex=https://ex.com/epcis')->{status}, 202, 'GS1-Extensions');
    refused(capture($acme, ''), 400, 'ValidationException', undef, 'no body');

    is(scalar(() = files()), $files + 6 + 8 + 3, 'a file of each that was accepted, of no other');
};


subtest 'whose jobs' => sub {
    my $first  = id_of(capture($acme, 'one'));
    my $second = id_of(capture($bolt, 'two'));

    is(job($acme, $first)->{status}, 200, 'its own');
    is(job($plant, $first)->{status}, 200, 'of another place of the company');
    is(job($boss, $first)->{status}, 200, 'the operator');
    is(job($law, $first)->{status}, 200, 'the authority');
    refused(job($acme, $second), 404, 'NoSuchResourceException', undef, "another company's");
    refused(job($trade, $first), 404, 'NoSuchResourceException', undef, "a wholesaler, a manufacturer's");
    refused(job($acme, 'x'), 404, 'NoSuchResourceException', undef, 'no id');
    refused(job($acme, '00000000-0000-4000-8000-000000000000'), 404, 'NoSuchResourceException', undef, 'of no job');
    is(job($acme, $second)->{json}{detail}, job($acme, '00000000-0000-4000-8000-000000000000')->{json}{detail}, 'in the same words');

    is(capture($trade, 'x')->{status}, 202, 'a wholesaler captures');
    is($sv->sql('select company from sv.capture where location_id = ?', $trade->{id}), 'trade', 'for its company');
    is(capture($boss, 'x')->{status}, 202, 'the operator captures');
    is($sv->sql('select company from sv.capture where location_id = ?', $boss->{id}), '', 'for any');

    my $files = () = files();
    refused(capture($_->[1], 'x'), 403, 'SecurityException', undef, $_->[0]) for ['a pharmacy', $shop], ['the authority', $law], ['no company', $loose];
    is(scalar(() = files()), $files, 'and no file is left');
};


subtest 'the list' => sub {
    my @ids = map { id_of(capture($bolt, "list $_")) } 1 .. 6;
    my $all = $sv->get('/epcis/capture', key => $bolt->{key})->{json};

    is_deeply([map { $_->{captureID} } @{$all}[0 .. 5]], [reverse @ids], 'the newest first');
    is(scalar @{$all}, 7, 'its own only');

    my ($next, @seen, @sizes) = ('/epcis/capture?perPage=3');

    while ($next) {
        my $page = $sv->get($next, key => $bolt->{key});
        push @seen, map { $_->{captureID} } @{$page->{json}};
        push @sizes, scalar @{$page->{json}};
        ($next) = ($page->{headers}{link} // '') =~ /^<(.*)>; rel="next"$/;
        capture($bolt, 'meanwhile') if @sizes == 1;
    }

    is_deeply(\@seen, [map { $_->{captureID} } @{$all}], 'page by page the same, whatever is added');
    is_deeply(\@sizes, [3, 3, 1], 'of this size');
    is_deeply($sv->get("/epcis/capture?nextPageToken=$seen[0]", key => $acme->{key})->{json}, [], "nothing behind another's");
    refused($sv->get("/epcis/capture?$_->[0]", key => $bolt->{key}), 400, 'ValidationException', $_->[1], $_->[0])
        for ['perPage=0', 'perPage'], ['perPage=1001', 'perPage'], ['perPage=x', 'perPage'], ['perPage=', 'perPage'], ['nextPageToken=x', 'nextPageToken'];
};


# A file without a job is removed when it is old; one with a job stays.
subtest 'killed in between' => sub {
    my $half = $sv->connection;
    $half->put("POST /epcis/capture HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $acme->{key}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{");
    Test::SerialVerify::wait_for { grep { /\.part$/ } files() } 'half an upload';

    # and one whose job cannot be made yet
    my $held = $sv->new_dbh;
    $held->begin_work;
    $held->do('lock table sv.capture in exclusive mode');
    my %before = map { $_ => 1 } files();
    my ($waiting) = $sv->sent([POST => '/epcis/capture', key => $acme->{key}, body => {a => 1}]);
    my ($orphan) = Test::SerialVerify::wait_for { my @new = grep { /^[0-9a-f-]{36}\.json$/ && !$before{$_} } files(); @new ? \@new : 0 } 'a file without a row';
    $orphan = $orphan->[0];

    $sv->kill9('api');
    $held->rollback;
    is(($sv->answers(60, $waiting))[0]{status}, 503, 'whose client is told that the outcome is not known');
    is($half->next_response(60)->{status}, 503, 'and the other one');

    # a session that was killed may still have committed
    Test::SerialVerify::wait_for { !$sv->sql(q{select count(*) from pg_stat_activity where usename = 'sv_api'}) } 'its session to end';
    my $made = $sv->sql('select count(*) from sv.capture where file = ?', $orphan);
    is($sv->sql('select count(*) from sv.capture where file <> all (?)', [files()]), 0, 'no job without a file');
    $sv->sql('delete from sv.capture where file = ?', $orphan) if $made;

    my ($kept, $done) = map { $_->[0] } @{$sv->dbh->selectall_arrayref('select file from sv.capture limit 2')};
    $sv->sql(q{update sv.capture set state = 'done', success = true, finished_at = now() where file = ?}, $done);
    my ($young) = $sv->write_file('captures/00000000-0000-4000-8000-000000000000.json', 'x');
    $sv->write_file('captures/notes.txt', 'x');
    utime time - 7200, time - 7200, "$dir/$_" for $orphan, $kept, $done, 'notes.txt', grep { /\.part$/ } files();

    $sv->start_api(capture_event_limit => 1000);
    Test::SerialVerify::wait_for { !-e "$dir/$orphan" && !-e "$dir/$done" } 'the orphan to be removed';
    Test::SerialVerify::wait_for { !grep { /\.part$/ } files() } 'the half upload to be removed';
    ok(-e "$dir/$kept", 'a file with a job stays');
    ok(-e $young, 'one that may still get its job, too');
    ok(-e "$dir/notes.txt", 'and what is not of ours');
};


# --- what becomes of them

sub start_ingest {
    my (%setting) = @_;

    $sv->start_worker(roles => 'ingest', $sv->api_settings, capture_event_limit => 1000, %setting);

    return;
}

# The job when it is done.
sub done {
    my ($who, $answer) = @_;

    my $id = id_of($answer) || die "no job: $answer->{status} $answer->{body}";

    return Test::SerialVerify::wait_for { my $job = job($who, $id)->{json}; $job && !$job->{running} && $job } 'the job to be done', 180;
}

sub packs { my ($lot) = @_; return $sv->sql('select count(*) from sv.pack where lot = ?', $lot) }

sub verdict {
    my ($serial, $lot) = @_;

    return $sv->get($sv->link_to($gtin, $serial, lot => $lot), key => $shop->{key})->{json}{reason};
}

# 'x' in EPCIS XML, 1.2 or 2.0
sub xml_document {
    my ($version, $lot, @serials) = @_;

    my $ilmd = "<ilmd><cbvmda:lotNumber>$lot</cbvmda:lotNumber><cbvmda:itemExpirationDate>2030-12-31</cbvmda:itemExpirationDate></ilmd>";
    $ilmd = "<extension>$ilmd</extension>" if $version eq '1.2';

    return '<?xml version="1.0" encoding="UTF-8"?><epcis:EPCISDocument xmlns:epcis="urn:epcglobal:epcis:xsd:' . ($version eq '1.2' ? 1 : 2)
        . "\" xmlns:cbvmda=\"urn:epcglobal:cbv:mda\" schemaVersion=\"$version\" creationDate=\"2026-11-01T00:00:00Z\"><EPCISBody><EventList><ObjectEvent>"
        . '<eventTime>2026-11-01T10:00:00Z</eventTime><eventTimeZoneOffset>+00:00</eventTimeZoneOffset><epcList>'
        . join('', map { "<epc>urn:epc:id:sgtin:9506000.013435.$_</epc>" } @serials)
        . "</epcList><action>ADD</action><bizStep>urn:epcglobal:cbv:bizstep:commissioning</bizStep>$ilmd</ObjectEvent></EventList></EPCISBody></epcis:EPCISDocument>";
}


subtest 'from the request to the counter' => sub {
    $sv->sql('delete from sv.capture');
    start_ingest();

    my %body = (
        J1 => [document($gtin, 'J1', qw(J1A J1B)), 'Content-Type' => 'application/json'],
        X1 => [xml_document('1.2', 'X1', qw(X1A X1B)), 'Content-Type' => 'application/xml'],
        X2 => [xml_document('2.0', 'X2', qw(X2A X2B)), 'Content-Type' => 'text/xml'],
        C1 => ["gtin,serial,lot,expiry\n09506000134352,C1A,C1,2030-12-31\n09506000134352,C1B,C1,2030-12-31\n", 'Content-Type' => 'text/csv'],
    );

    for my $lot (sort keys %body) {
        my $answer = capture($acme, @{$body{$lot}});
        my $job    = done($acme, $answer);

        ok($job->{success}, "$lot: success") or diag(Test::SerialVerify::HTTP::encode($job));
        like($job->{finishedAt}, qr/Z$/, "$lot: when");
        is_deeply($job->{errors}, [], "$lot: no error");
        is(verdict("${lot}A", $lot), 'ok', "$lot: its packs verify");
        is(packs($lot), 2, "$lot: both");
    }

    my $again = done($acme, capture($acme, @{$body{J1}}));
    ok($again->{success}, 'the same again: a job that finds everything done') or diag(Test::SerialVerify::HTTP::encode($again));
    is(packs('J1'), 2, 'and does nothing');
    ok(done($boss, capture($boss, @{$body{J1}}))->{success}, 'by somebody else, too');

    Test::SerialVerify::wait_for { !grep { /^[0-9a-f-]{36}\./ && $sv->sql('select count(*) from sv.capture where file = ?', $_) } files() } 'the files to be removed';
    pass('no file stays');
};


subtest 'all or nothing, and what can be' => sub {
    my $body = document($gtin, 'R1', qw(R1A R1B));
    my $bad  = $body =~ s/("epcList":\[)("[^"]*R1A")/$1"urn:epc:id:sgtin:9506000.013435.R1*~^",$2/r;
    isnt($bad, $body, 'a document with a bad serial');

    my $job = done($acme, capture($acme, $bad));
    ok(!$job->{success}, 'rollback: no success');
    is(packs('R1'), 0, 'rollback: nothing');
    cmp_ok(scalar @{$job->{errors}}, '>=', 1, 'rollback: and why');
    like($job->{errors}[0]{type}, qr/^epcisException:\w+$/, 'as EPCIS tells it') or diag(Test::SerialVerify::HTTP::encode($job));

    my $two = Test::SerialVerify::HTTP::decode($bad);
    push @{$two->{epcisBody}{eventList}}, Test::SerialVerify::HTTP::decode(document($gtin, 'R2', qw(R2A R2B)))->{epcisBody}{eventList}[0];
    $job = done($acme, capture($acme, Test::SerialVerify::HTTP::encode($two), 'GS1-Capture-Error-Behaviour' => 'proceed'));
    ok(!$job->{success}, 'proceed: no success');
    is(packs('R2'), 2, 'proceed: what can be');
    is(verdict('R2A', 'R2'), 'ok', 'and it verifies');

    $job = done($acme, capture($acme, 'no JSON at all'));
    ok(!$job->{success} && @{$job->{errors}}, 'what cannot be read');
    is($job->{errors}[0]{type}, 'epcisException:ValidationException', 'is not valid') or diag(Test::SerialVerify::HTTP::encode($job));
};


subtest 'two companies' => sub {
    my $body = document(9506000150000, 'B1', qw(B1A B1B));

    my $job = done($acme, capture($acme, $body));
    ok(!$job->{success} && @{$job->{errors}}, "another's product: refused") or diag(Test::SerialVerify::HTTP::encode($job));
    is(packs('B1'), 0, 'and nothing of it there');

    ok(done($bolt, capture($bolt, $body))->{success}, 'the same by whose it is') or diag($sv->log_of('worker'));
    is(packs('B1'), 2, 'captured');

    ok(done($boss, capture($boss, document(9506000150000, 'B2', 'B2A')))->{success}, 'an operator for any');
    my $trade_job = done($trade, capture($trade, document($gtin, 'T1', 'T1A')));
    ok(!$trade_job->{success}, 'a wholesaler commissions nothing of others');
    is(packs('T1'), 0, 'nothing');
};


subtest 'more events than are allowed' => sub {
    my $many = Test::SerialVerify::HTTP::decode(document($gtin, 'E1', 'E0'));
    my $event = $many->{epcisBody}{eventList}[0];
    $many->{epcisBody}{eventList} = [map { {%{$event}, epcList => ["urn:epc:id:sgtin:9506000.013435.E$_"]} } 1 .. 1001];

    my $job = done($acme, capture($acme, Test::SerialVerify::HTTP::encode($many), 'GS1-Capture-Error-Behaviour' => 'proceed'));
    ok(!$job->{success}, 'refused');
    is($job->{errors}[0]{type}, 'epcisException:CaptureLimitExceededException', 'for its size') or diag(Test::SerialVerify::HTTP::encode($job));
    is(packs('E1'), 0, 'whole');

    pop @{$many->{epcisBody}{eventList}};
    $job = done($acme, capture($acme, Test::SerialVerify::HTTP::encode($many)));
    ok($job->{success}, 'one less') or diag(Test::SerialVerify::HTTP::encode($job));
    is(packs('E1'), 1000, 'is captured');
};


# Two workers, killed again and again; each job is done once.
subtest 'killed at work' => sub {
    my @jobs = map { my $lot = "K$_"; [$lot, capture($acme, document($gtin, $lot, map { "$lot-$_" } 1 .. 3000))] } 1 .. 6;

    $sv->stop('worker');
    start_ingest(name => 'second', file => 'second.conf');

    for my $round (1 .. 6) {
        start_ingest();
        my $target = $sv->sql(q{select count(*) from sv.capture where state = 'done'}) + 1;
        eval { Test::SerialVerify::wait_for { $sv->sql(q{select count(*) from sv.capture where state <> 'queued'}) >= $target } 'a job to begin', 2 };
        $sv->kill9($round % 2 ? 'worker' : 'second');
        start_ingest(name => 'second', file => 'second.conf') if $round % 2 == 0;
    }

    start_ingest();

    for my $job (@jobs) {
        my ($lot, $answer) = @{$job};
        ok(done($acme, $answer)->{success}, "$lot: done");
        is(packs($lot), 3000, "$lot: whole");
    }

    is($sv->sql(q{select count(*) from sv.load l where exists (select from sv.capture c where c.load_id = l.load_id) and l.state = 'loading'}) // 0, 0, 'no load is left open');
};

$sv->done_testing;
