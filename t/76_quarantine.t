#!/usr/bin/perl

# Events that cannot be read without guessing: shown, put right and released, or
# discarded, by a person, with a reason.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json);
use Test::More;

use Test::SerialVerify;

my $gtin    = '09506000134352';
my $foreign = '09506000134369';
my $sv      = Test::SerialVerify->new;
my $files   = 0;

$sv->start_postgres;
$sv->product($gtin, company => 'acme');
$sv->product($foreign, company => 'bolt');
$sv->start_worker(roles => 'ingest', redis => undef,
    feeds => {acme => {inbox => $sv->directory('acme'), company => 'acme'}, strict => {inbox => $sv->directory('strict'), strictness => 'strict'}});


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)


sub epc { my ($serial, $of) = @_; return 'https://id.gs1.org/01/' . ($of // $gtin) . "/21/$serial" }


sub event {
    my ($lot, $epcs, %more) = @_;

    my %ilmd = ('cbvmda:itemExpirationDate' => '2030-12-31', defined $lot ? ('cbvmda:lotNumber' => $lot) : ());

    return {type => 'ObjectEvent', action => 'ADD', bizStep => 'commissioning', eventTime => '2026-11-01T10:00:00Z',
        eventTimeZoneOffset => '+00:00', epcList => $epcs, ilmd => \%ilmd, %more};
}


# a file of these events in the inbox of a feed; its report
sub feed {
    my ($feed, @events) = @_;

    my $name = 'q' . ++$files . '.json';
    my $path = $sv->write_file("$feed/.new", Test::SerialVerify::HTTP::encode({'@context' => ['https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld'],
        type => 'EPCISDocument', schemaVersion => '2.0', creationDate => '2026-11-01T00:00:00Z', epcisBody => {eventList => \@events}}));
    my $in = $sv->base . "/$feed";

    rename $path, "$in/$name" or die $!;
    wait_for { !-e "$in/$name" } "$name to be filed";
    my ($report) = glob "$in/*/$name.report.json";

    return decode_json(Test::SerialVerify::slurp($report));
}


# the quarantined event of a report
sub held { my ($report) = @_; return scalar $sv->sql('select quarantine_id from sv.quarantine where load_id = ? order by 1 desc limit 1', $report->{load_id}) }

sub quarantine { my (@arguments) = @_; return $sv->command('quarantine', @arguments) }

sub packs { my ($lot) = @_; return $sv->sql(q{select string_agg(serial, ' ' order by serial) from sv.pack where lot = ? and state = 'active'}, $lot) // '' }

sub state_of { my ($id) = @_; return scalar $sv->sql('select state from sv.quarantine where quarantine_id = ?', $id) }


subtest 'an event without a lot' => sub {
    my $report = feed('inbox', event('A0', [epc('A0')]), event(undef, [epc('A1'), epc('A2')]));
    is("$report->{state} $report->{events_quarantined} $report->{packs}", 'partial 1 1', 'is held back, the other is loaded');

    my $id = held($report);
    my ($code, $list) = quarantine('list');
    is($code, 0, 'list: code');
    like($list, qr/^$id +\S+Z +waiting +2 +2 +lot_missing +q1\.json \(load $report->{load_id}\)$/m, 'list') or diag($list);
    is((quarantine('list', '--reason', 'epc_syntax'))[1] =~ /^$id/m ? 1 : 0, 0, 'a filter');

    ($code, my $shown) = quarantine('show', $id);
    $shown = decode_json($shown);
    is("$shown->{reason} $shown->{content}{epcList}[1] $shown->{load_id}", 'lot_missing ' . epc('A2') . " $report->{load_id}", 'show');

    ($code, my $said) = quarantine('release', $id, '--reason', 'try');
    is($code, 1, 'as it is it cannot be released');
    like($said, qr/still waits.*lot_missing/s, 'and why');
    is(state_of($id) . packs('A'), 'waiting', 'nothing happened');

    ($code, $said) = quarantine('release', $id, '--set', 'lot=A', '--set', 'expiry=2031-01-31', '--reason', 'batch record 12');
    is($code, 0, 'put right, it is released') or diag($said);
    is(packs('A'), 'A1 A2', 'its packs are there');
    is($sv->sql(q{select min(expiry) || ' ' || max(expiry) from sv.pack where lot = 'A'}), '2031-01-31 2031-01-31', 'with what was set');

    my ($release, $note) = $sv->sql('select release_id, note from sv.quarantine where quarantine_id = ?', $id);
    like($said, qr/^$id is released as load $release$/m, 'said');
    is($note, 'batch record 12', 'the reason is kept');

    my ($actor, $detail) = $sv->sql(q{select actor, detail from sv.audit where kind = 'correction' and operation = 'quarantine_release'});
    $detail = decode_json($detail);
    is("$detail->{quarantine_id} $detail->{reason} $detail->{changes}{lot}{to} $detail->{release_id}", "$id batch record 12 A $release", 'audited');
    ok($actor, 'with who did it');

    ($code, $said) = quarantine('release', $id, '--set', 'lot=B', '--reason', 'again');
    is($code, 1, 'once');
    like($said, qr/was released by/, 'said');
    is($sv->sql('select count(*) from sv.audit where operation ~ ?', '^quarantine'), 1, 'and audited once');
};

subtest 'EPCs that are none' => sub {
    my $id = held(feed('inbox', event('B', [epc('B1'), 'urn:epc:id:sgtin:950600.0.B2', 'rubbish=1', epc('B4')])));

    is((quarantine('release', $id, '--reason', 'x', '--replace-epc', 'none=' . epc('B2')))[0], 2, 'an EPC that is not there');
    is((quarantine('release', $id, '--reason', 'x', '--replace-epc', 'urn:epc:id:sgtin:950600.0.B2=' . epc('B2')))[0], 1, 'another is still bad');
    is(packs('B'), '', 'all or nothing');

    my ($code, $said) = quarantine('release', $id, '--reason', 'x', '--replace-epc', 'urn:epc:id:sgtin:950600.0.B2=' . epc('B2'), '--drop-bad-epcs');
    is($code, 0, 'one replaced, one dropped') or diag($said);
    is(packs('B'), 'B1 B2 B4', 'the others');

    my $changes = decode_json(scalar $sv->sql(q{select detail -> 'changes' from sv.audit where detail ->> 'quarantine_id' = ?}, $id));
    is("$changes->{replaced}[0]{to} @{$changes->{dropped}}", epc('B2') . ' rubbish=1', 'audited');

    $id = held(feed('inbox', event('B', [epc('B5'), 'a=b'])));
    is((quarantine('release', $id, '--reason', 'x', '--replace-epc', 'a=b=' . epc('B6')))[0], 0, 'an EPC with a =');
    is(packs('B'), 'B1 B2 B4 B5 B6', 'is replaced');
};

subtest 'discard' => sub {
    my $id = held(feed('inbox', event(undef, [epc('C1')])));

    is((quarantine('discard', $id))[0], 2, 'needs a reason');
    is((quarantine('discard', $id, '--reason', 'a test of the line'))[0], 0, 'code');
    is(state_of($id) . packs('C'), 'discarded', 'done');
    is($sv->sql(q{select detail ->> 'reason' from sv.audit where operation = 'quarantine_discard'}), 'a test of the line', 'audited');
    is((quarantine('discard', $id, '--reason', 'x'))[0], 1, 'once');
    is((quarantine('release', $id, '--reason', 'x', '--set', 'lot=C'))[0], 1, 'and not released then');
    is((quarantine('show', 999_999))[0], 1, 'one that is not there');
    is((quarantine('list', '--state', 'lost'))[0], 2, 'a state that is none');
    is((quarantine('release', 'x', '--reason', 'x'))[0], 2, 'no number');
    is((quarantine('release', $id, '--reason', 'x', '--set', 'colour=red'))[0], 2, 'a value that is none');
    is((quarantine('bury', $id))[0], 2, 'a command that is none');
};

subtest 'a feed of a company' => sub {
    my $report = feed('acme', event('D0', [epc('D0'), epc('D0', $foreign)]), event(undef, [epc('D1')]));

    is(join(' ', map { $_->{reason} } @{$report->{errors}}), 'lot_missing not_permitted event_product', 'names its own products only') or diag(explain($report->{errors}));
    is($sv->sql(q{select string_agg(serial, ' ') from sv.pack where gtin = ?}, $foreign), undef, 'that of another is not loaded');

    my $id = held($report);
    my ($code, $said) = quarantine('release', $id, '--reason', 'x', '--set', 'lot=D', '--replace-epc', epc('D1') . '=' . epc('D1', $foreign));
    is($code, 1, 'nor does a release') or diag($said);
    like($said, qr/not_permitted/, 'and why');
    is((quarantine('list', '--company', 'acme'))[1] =~ /^$id /m ? 1 : 0, 1, 'listed by company');
    is((quarantine('release', $id, '--reason', 'x', '--set', 'lot=D'))[0], 0, 'its own is released');
};

subtest 'a strict feed' => sub {
    my $odd = event('E', [epc('E1')]);
    $odd->{ilmd} = {'x:lotNumber' => 'E', 'x:itemExpirationDate' => '2030-12-31'};

    is(feed('inbox', {%{$odd}, epcList => [epc('E0')]})->{state}, 'loaded', 'what is not the standard\'s own form, but plain, loads elsewhere');

    my $report = feed('strict', $odd, event('E', [epc('E2')]));
    is("$report->{events_quarantined} $report->{packs}", '1 1', 'here it is held back');

    my ($code, $said) = quarantine('release', held($report), '--reason', 'known of this line');
    is($code, 0, 'and released by who knows better') or diag($said);
    is(packs('E'), 'E0 E1 E2', 'the packs');
};

subtest 'the same event again' => sub {
    my $id   = 'ni:///sha-256;' . 'f' x 64 . '?ver=CBV2.0';
    my $held = held(feed('inbox', event(undef, [epc('F1')], eventID => $id)));

    # its sender puts it right before anybody here does
    is(feed('inbox', event('F', [epc('F1')], eventID => $id))->{state}, 'loaded', 'put right by its sender');

    my ($code, $said) = quarantine('release', $held, '--set', 'lot=G', '--reason', 'a guess');
    is($code, 1, 'a release that says something else is refused') or diag($said);
    like($said, qr/event_id_reused/, 'and why');
    is(packs('F') . packs('G'), 'F1', 'what the sender said stands');
    is((quarantine('release', $held, '--set', 'lot=F', '--reason', 'as the sender says'))[0], 0, 'one that says the same is done');
    is($sv->sql(q{select count(*) from sv.event where lot = 'F'}), 1, 'and no second event');
};

subtest 'declared an error after it was released' => sub {
    my $id   = 'urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8';
    my $bad  = event(undef, [epc('H1'), epc('H2')], eventID => $id);
    my $held = held(feed('inbox', $bad));

    is((quarantine('release', $held, '--set', 'lot=H', '--reason', 'x'))[0], 0, 'released');
    is(packs('H'), 'H1 H2', 'loaded');

    my $report = feed('inbox', {%{$bad}, errorDeclaration => {declarationTime => '2026-11-02T10:00:00Z', reason => 'did_not_occur'}});
    my $waits  = held($report);

    # the declaration repeats the event as it was sent: without a lot
    if (defined $waits) {
        is((quarantine('release', $waits, '--set', 'lot=H', '--reason', 'x'))[0], 0, 'the declaration is put right, too');
    }

    is(packs('H'), '', 'the declaration reaches what was released');
};

subtest 'declared an error before it is released' => sub {
    my $id   = 'urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a9';
    my $held = held(feed('inbox', event(undef, [epc('I1')], eventID => $id)));

    feed('inbox', event('I', [epc('I1')], eventID => $id, errorDeclaration => {declarationTime => '2026-11-02T10:00:00Z', reason => 'did_not_occur'}));
    is((quarantine('release', $held, '--set', 'lot=I', '--reason', 'x'))[0], 0, 'released');
    is(packs('I'), '', 'but it never counts');
};

subtest 'killed between the load and the note' => sub {
    my $held = held(feed('inbox', event(undef, [epc('J1')])));
    my $hold = $sv->new_dbh;

    # the note waits for the audit: there it is killed
    $hold->begin_work;
    $hold->do('lock table sv.audit in exclusive mode');
    my $pid = fork // die "fork: $!";

    if ($pid == 0) {
        open(STDOUT, '>', '/dev/null');
        exec $sv->program('serial-verify-worker'), '-c', $sv->base . '/worker.conf', 'quarantine', 'release', $held, '--set', 'lot=J', '--reason', 'first';
    }

    wait_for { $sv->sql(q{select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ~ '^select sv\.(?:load_finish|merge_lot|stage_claim|quarantine)|^select (?:\*|outcome)'}) } 'it to come so far';
    kill KILL => $pid;
    waitpid $pid, 0;
    $hold->rollback;
    $hold->disconnect;
    wait_for { !$sv->sql(q{select count(*) from pg_stat_activity where application_name ~ 'worker command'}) } 'its sessions to end';

    is((quarantine('release', $held, '--set', 'lot=J', '--reason', 'second'))[0], 0, 'released the second time');
    is(packs('J'), 'J1', 'loaded once');
    is($sv->sql(q{select count(*) from sv.audit where lot = 'J' and kind = 'load'}), 1, 'noted once');

    # the load is there, the note is not
    $held = held(feed('inbox', event(undef, [epc('J2')])));
    $sv->sql(q{create function sv.test_fail() returns trigger language plpgsql as 'begin raise exception ''no''; end'});
    $sv->sql(q{create trigger test_fail before update on sv.quarantine for each row execute function sv.test_fail()});
    isnt((quarantine('release', $held, '--set', 'lot=J', '--reason', 'first'))[0], 0, 'the note fails');
    $sv->sql('drop trigger test_fail on sv.quarantine');
    is(packs('J') . ' ' . state_of($held), 'J1 J2 waiting', 'loaded, and waiting');

    my ($code, $said) = quarantine('release', $held, '--set', 'lot=K', '--reason', 'other changes');
    is($code, 0, 'the next release finds the load');
    like($said, qr/has it already/, 'says so');
    is(packs('J') . packs('K'), 'J1 J2', 'and loads nothing twice');
};

subtest 'two at a time' => sub {
    my $held = held(feed('inbox', event(undef, [epc('L1')])));
    my $hold = $sv->new_dbh;

    $hold->begin_work;
    $hold->do('select sv.quarantine_release_begin(?)', undef, $held);
    my ($code, $said) = quarantine('discard', $held, '--reason', 'x');
    is($code, 1, 'the second is refused');
    like($said, qr/somebody else/, 'and told');
    $hold->rollback;
    $hold->disconnect;
};

$sv->done_testing;
