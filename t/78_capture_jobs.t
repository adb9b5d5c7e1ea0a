#!/usr/bin/perl

# Capture jobs: rows of sv.capture become loads, all or nothing or what can be,
# whoever is killed in between.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json);
use Sys::Hostname qw(hostname);
use Test::More;

use Test::SerialVerify;

my $gtin    = '09506000134352';
my $foreign = '09506000134369';
my $sv      = Test::SerialVerify->new;
my $dir     = $sv->directory('capture');
my $n       = 0;

$ENV{SVW_FAILPOINTS} = $sv->directory('failpoints');

$sv->start_postgres;
$sv->product($gtin, company => 'acme');
$sv->product($foreign, company => 'bolt');

my $location = $sv->location;


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


sub ingest {
    my (%setting) = @_;

    return $sv->start_worker(roles => 'ingest', redis => undef, inbox => undef, capture_dir => $dir, %setting);
}


sub event {
    my ($lot, @epcs) = @_;

    return {type => 'ObjectEvent', action => 'ADD', bizStep => 'commissioning', eventTime => '2026-11-01T10:00:00Z',
        eventTimeZoneOffset => '+00:00', epcList => \@epcs, ilmd => {'cbvmda:lotNumber' => $lot, 'cbvmda:itemExpirationDate' => '2030-12-31'}};
}


sub document {
    my (@events) = @_;

    return Test::SerialVerify::HTTP::encode({'@context' => ['https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld'], type => 'EPCISDocument',
        schemaVersion => '2.0', creationDate => '2026-11-01T00:00:00Z', epcisBody => {eventList => \@events}});
}


sub epc { my ($of, $serial) = @_; return "https://id.gs1.org/01/$of/21/$serial" }


# a job; its id
sub job {
    my ($content, %with) = @_;

    my $id   = sprintf '01234567-89ab-4cde-8f01-%012d', ++$n;
    my $file = $with{file} // "$id.json";

    $sv->write_file("capture/$file", $content) if defined $content;
    $sv->sql(q{insert into sv.capture (capture_id, location_id, company, host, file, digest, bytes, whole, state, created_at)
        values (?, ?, ?, ?, ?, sha256(convert_to(coalesce(?, ''), 'UTF8')), length(coalesce(?, '')), ?, 'queued', clock_timestamp())},
        $id, $location, $with{company} // '', $with{host} // hostname(), $file, $content, $content, $with{proceed} ? 'f' : 't');

    return $id;
}


# what became of it: 1 or 0, the reasons and titles of its errors
sub outcome {
    my ($id) = @_;

    done($id);
    wait_for { !-e "$dir/$id.json" } 'its file to be removed';

    return said($id);
}


sub done { my ($id) = @_; return wait_for { $sv->sql(q{select state = 'done' from sv.capture where capture_id = ?}, $id) } "capture $id" }


sub said {
    my ($id) = @_;

    my ($success, $errors) = $sv->sql('select success::integer, errors from sv.capture where capture_id = ?', $id);

    return ($success, map { $_->{reason} // $_->{title} } @{decode_json($errors)});
}


sub packs { my ($lot) = @_; return $sv->sql('select count(*) from sv.pack where lot = ?', $lot) }


ingest();

subtest 'what is good' => sub {
    my $id = job(document(event('A', map { epc($gtin, "A$_") } 1 .. 3)), company => 'acme');

    is(join(' ', outcome($id)), '1', 'success, no error');
    is(packs('A'), 3, 'captured');
    is(join(' ', $sv->sql(q{select l.feed, l.company, l.whole, l.filed from sv.capture c join sv.load l using (load_id) where capture_id = ?}, $id)),
        '/epcis/capture acme 1 1', 'its load');
    is($sv->sql('select started_at <= finished_at from sv.capture where capture_id = ?', $id), 1, 'its times');

    $id = job(document(event('A', map { epc($gtin, "A$_") } 1 .. 3)), company => 'acme');
    is(join(' ', outcome($id)), '1', 'the same again is a success, too');
    is($sv->sql(q{select count(distinct load_id) from sv.capture where state = 'done'}), 1, 'of the same load');
};

my $bad = sub { my ($lot) = @_; return document(event($lot, epc($gtin, "${lot}1")), event($lot, epc($gtin, "${lot}2"), 'urn:epc:id:sgtin:x')) };

subtest 'rollback: something is bad' => sub {
    my @outcome = outcome(job($bad->('B')));

    is(join(' ', @outcome[0, 1]), '0 epc_syntax', 'no success, and why');
    is($outcome[2], 'Nothing was captured.', 'and what became of the rest');
    is(packs('B'), 0, 'nothing is captured');
    is($sv->sql(q{select count(*) from sv.event where lot = 'B'}) + $sv->sql('select count(*) from sv.quarantine'), 0, 'not even an event, or a row in quarantine');
};

subtest 'proceed: something is bad' => sub {
    my $id = job($bad->('C'), proceed => 1);

    is(join(' ', outcome($id)), '0 epc_syntax', 'no success, and why');
    is(packs('C'), 1, 'what is good is captured');
    is($sv->sql('select count(*) from sv.quarantine q join sv.capture c using (load_id) where c.capture_id = ?', $id), 1, 'the other event waits in quarantine');

    my ($error) = @{decode_json(scalar $sv->sql('select errors from sv.capture where capture_id = ?', $id))};
    is($error->{type}, 'epcisException:ValidationException', 'as EPCIS tells it: type');
    like($error->{detail}, qr/^line \d+, event 2 epcList.* "urn:epc:id:sgtin:x": /, 'detail');
};

subtest 'products of others' => sub {
    my $both = sub { my ($lot) = @_; return document(event($lot, epc($gtin, "${lot}1")), event($lot, epc($foreign, "${lot}2"))) };

    is(join(' ', (outcome(job($both->('D'), company => 'acme')))[0, 1]), '0 not_permitted', 'rollback');
    is(packs('D'), 0, 'nothing is captured');
    is(join(' ', outcome(job($both->('D'), company => 'acme', proceed => 1))), '0 not_permitted', 'proceed');
    is($sv->sql(q{select string_agg(serial, ' ') from sv.pack where lot = 'D'}), 'D1', 'its own is captured');
};

subtest 'what is no document' => sub {
    for my $content ('{"type":', '', "PK\x03\x04 zip") {
        my @outcome = outcome(job($content));
        is($outcome[0], 0, 'no success');
        cmp_ok(@outcome, '>', 1, 'and a reason') or diag("@outcome");
    }
};

subtest 'a file that is no longer there' => sub {
    is(join(' ', outcome(job(undef))), '0 What was sent is lost.', 'lost');

    $sv->write_file('secret.json', document(event('L', epc($gtin, 'L1'))));
    is(join(' ', outcome(job(undef, file => '../secret.json'))), '0 What was sent is lost.', 'a path leads nowhere');
    ok(-e $sv->base . '/secret.json', 'and removes nothing');
    is(packs('L'), 0, 'nothing is read');
};

subtest 'another host' => sub {
    my $id = job(document(event('H', epc($gtin, 'H1'))), host => 'elsewhere');

    is(join(' ', outcome(job(document(event('H', epc($gtin, 'H2')))))), '1', 'one of this host is carried out');
    is($sv->sql('select state from sv.capture where capture_id = ?', $id), 'queued', 'that of another is not');
};

subtest 'killed at any time' => sub {
    $sv->stop('worker');

    my $jobs = 20;
    my @id   = map { job(document(event("K$_", map { epc($gtin, "K$_") } 10 * $n .. 10 * $n + 9)), proceed => $_ % 2) } 1 .. $jobs;

    srand 1;
    ingest(ingest_processes => 2);

    for my $round (1 .. 15) {
        my @child = $sv->server('worker')->children;
        Time::HiRes::sleep(rand 0.15);
        kill KILL => $child[rand @child] if @child;
        last if !$sv->sql(q{select count(*) from sv.capture where capture_id = any (?) and state <> 'done'}, \@id);
    }

    done($_) for @id;
    is(join(' ', map { (said($_))[0] } @id), join(' ', (1) x $jobs), 'every job is done');
    is($sv->sql(q{select count(*) from sv.pack where lot ~ '^K'}), 10 * $jobs, 'every pack, once');
    is($sv->sql(q{select count(*) from sv.finding}), 0, 'nothing looks like a contradiction');
};

# Who dies between the end of the job and that of its file leaves the file to
# the sweep of role api, which knows nothing younger than an hour.
subtest 'what the dead left' => sub {
    if ($sv->asan) {
        my $armed = $sv->write_file('failpoints/capture-done', '');
        my $id    = job(document(event('M', epc($gtin, 'M1'))));

        wait_for { !-e $armed } 'the worker to die';
        done($id);
        ok(-e "$dir/$id.json", 'its file is still there');
    }

    utime time - 7200, time - 7200, glob "$dir/*.json";
    $sv->start_api(capture_dir => $dir);
    wait_for { my @left = glob "$dir/*.json"; @left == 1 } 'the sweep';
    is(join(' ', glob "$dir/*.json"), "$dir/" . $sv->sql(q{select file from sv.capture where host = 'elsewhere'}), 'only the file of another host is left');
};

$sv->done_testing;
