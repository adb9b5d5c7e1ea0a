package Test::SerialVerify::Cases;

# Cases as the judge would have made them, with their findings and scans.
#
#   my $cases = Test::SerialVerify::Cases->new($sv);
#   my $id = $cases->open(gtin => 9506000134352, severity => 'high', findings => [{rule => 'impossible_travel', scans => [$n]}]);
#   $cases->evidence($id);

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);


sub new {
    my ($class, $sv) = @_;

    return bless {sv => $sv, n => 0}, $class;
}


sub uuid { return join '-', unpack 'A8 A4 A4 A4 A12', substr sha256_hex(join "\0", rand, time, @_), 0, 32 }


# scan(gtin =>, serial =>, at =>, location => or session =>, ...): its n
sub scan {
    my ($self, %row) = @_;

    my $n = ++$self->{n};
    %row = (gtin => 9506000134352, serial => "S$n", lot => 'LOT1', expiry => '301231', at => '2026-11-20 10:00:00Z', operation => 'verify',
        reason => 'ok', %row);

    $self->{sv}->sql('insert into sv.scan (gtin, at, gateway, boot, seq, n, occurred_at, serial, lot, expiry, operation, location_id, session,
            country, lat, lon, accuracy_km, entry_mode, reason, alert_id, silent)
        values (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, false)',
        $row{gtin}, $row{at}, 'g1', $n, $n, @row{qw(occurred_at serial lot expiry operation location session country lat lon accuracy_km entry_mode reason alert_id)});

    return $n;
}


# open(gtin =>, rule =>, severity =>, findings => [{}..], ..): its id
sub open {    ## no critic (ProhibitBuiltinHomonyms)
    my ($self, %row) = @_;

    %row = (gtin => 9506000134352, case_id => uuid(\%row), rule => 'impossible_travel', severity => 'medium', status => 'new', proposed_closure => 0,
        cause => 'clone', lot => 'LOT1', countries => ['IT'], first_at => '2026-11-20 10:00:00Z', last_at => '2026-11-20 12:00:00Z',
        at => '2026-11-20 12:00:01Z', findings => [{}], %row);

    my $dbh = $self->{sv}->dbh;
    $dbh->begin_work;
    $dbh->do('update sv.judge set case_n = case_n + 1');
    $dbh->do('insert into sv.case (number, gtin, case_id, rule, severity, status, proposed_closure, cause, lot, countries, serials, actors, scans, first_at, last_at,
            opened_at, changed_at, version, muted_until, merged_into)
        values ((select case_n from sv.judge), ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 1, 2, ?, ?, ?, ?, 0, ?, ?)', undef,
        @row{qw(gtin case_id rule severity status)}, $row{proposed_closure} ? 't' : 'f', @row{qw(cause lot countries first_at last_at at at muted_until merged_into)});
    $self->finding($row{gtin}, $row{case_id}, rule => $row{rule}, severity => $row{severity}, weight => $row{proposed_closure} ? 'explained' : 'asks',
        cause => $row{cause}, at => $row{at}, lot => $row{lot}, first_at => $row{first_at}, last_at => $row{last_at}, %{$_}) for @{$row{findings}};
    $dbh->do('select sv.case_tell(?, ?, ?, null, ?, ?)', undef, @row{qw(gtin case_id)}, 'opened', '{}', $row{at});
    $dbh->commit;

    return $row{case_id};
}


sub finding {
    my ($self, $gtin, $id, %row) = @_;

    %row = (finding_id => uuid(\%row), serials => ['S1'], actors => [], keys => [], scans => [], detail => '{}', withdrawn => 0, %row);

    $self->{sv}->dbh->do('insert into sv.case_finding (gtin, case_id, finding_id, rule, severity, weight, cause, lot, serials, actors, keys, scans, first_at, last_at,
            found_at, changed_at, withdrawn, detail)
        values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)', undef,
        $gtin, $id, @row{qw(finding_id rule severity weight cause lot serials actors keys scans first_at last_at at at)}, $row{withdrawn} ? 't' : 'f', $row{detail});

    return;
}


# the judge says something more of it
sub evidence {
    my ($self, $id, %row) = @_;

    $self->{sv}->sql('select sv.case_tell(c.gtin, c.case_id, ?, null, ?, coalesce(?, clock_timestamp())) from sv.case c where c.case_id = ?',
        $row{kind} // 'evidence', $row{detail} // '{}', $row{at}, $id);

    return;
}


sub version { my ($self, $id) = @_; return scalar $self->{sv}->sql('select version from sv.case where case_id = ?', $id) }


1;
