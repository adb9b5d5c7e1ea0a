#!/usr/bin/env perl

# What the judge says of cases that people have closed or muted, and of cases
# with very many scans.

use strict;
use warnings;

use FindBin;
use JSON::PP ();
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;
use Test::SerialVerify::Cases;
use Time::HiRes qw(time);

my $gtin = 9506000134352;
my $sv   = Test::SerialVerify->new;
$sv->start_postgres;
$sv->product($gtin);

sub uuid { return Test::SerialVerify::Cases::uuid(@_) }

# a case as the judge says it, of one finding
sub found {
    my ($id, $scans, %more) = @_;

    return {id => $id, gtin => $gtin, rule => 'impossible_travel', severity => 'high', weight => 'asks', cause => 'clone', lot => 'LOT1',
        countries => {IT => 1}, first => 1_795_000_000_000, last => 1_795_000_000_000, findings => [{id => $more{finding} // $id,
            rule => 'impossible_travel', severity => 'high', weight => $more{weight} // 'asks', cause => 'clone', lot => 'LOT1', serials => ['S1'],
            actors => ['9506000100012'], keys => ["k$id"], scans => $scans, first => 1_795_000_000_000, last => 1_795_000_000_000,
            withdrawn => JSON::PP::false(), detail => {}}], %more};
}

sub merged { my ($id, $into) = @_; return {id => $id, gtin => $gtin, merged => $into, merged_gtin => $gtin} }
sub judge  { my (@cases) = @_; return $sv->dbh->do('select sv.case_apply(?)', undef, Test::SerialVerify::HTTP::encode(\@cases)) }
sub set    { my ($id, $what) = @_; $sv->sql("update sv.case set $what where case_id = ?", $id); return }

sub state_of {
    my ($id) = @_;

    return join ' ', map { $_ // '-' } $sv->sql(q{select status, close_reason, muted_until is not null from sv.case where case_id = ?}, $id);
}

sub told {
    my ($id) = @_;

    return join ' ', @{$sv->dbh->selectcol_arrayref('select kind from sv.case_event where case_id = ? order by n', undef, $id)};
}

my $closed = q{status = 'closed', close_reason = 'test'};
my $muted  = q{muted_until = now() + interval '1 day'};


subtest 'an open case is not put away with one that is closed or muted' => sub {
    for (
        ["$closed, $muted", '', 'reopened - 0', 'opened merged unmuted status', 'closed and muted'],
        [$closed, '', 'reopened - 0', 'opened merged status', 'closed'],
        [$muted, '', 'new - 0', 'opened merged unmuted', 'muted'],
        [$muted, $muted, 'new - 1', 'opened merged', 'both muted'],
        [$closed, $closed, 'closed test 0', 'opened merged', 'both closed'],
        [$closed, 'proposed_closure = true', 'closed test 0', 'opened merged', 'closed, the other is explained'],
      )
    {
        my ($old, $new, $state, $events, $name) = @{$_};
        my ($into, $from) = map { uuid() } 1, 2;

        judge(found($into, [1]), found($from, [2]));
        set($into, $old);
        set($from, $new) if $new;

        judge(merged($from, $into), found($into, [1]));
        is(state_of($into), $state, $name);
        is(told($into), $events, '.. and that is told');
        is(state_of($from) =~ s/ .*//r, 'merged', '.. of which it is part');
        is($sv->sql('select count(*) from sv.case_finding where case_id = ?', $into), 2, '.. with what was found');
    }
};


subtest 'a case that is closed' => sub {
    my $id = uuid();

    judge(found($id, [1, 2]));
    set($id, $closed);
    judge(found($id, [1, 2]));
    judge(found($id, [2]));
    is(state_of($id), 'closed test 0', 'stays closed when nothing new is said');
    judge(found($id, [2, 3]));
    is(state_of($id), 'reopened - 0', 'is reopened for a scan that is new');
    judge(found($id, [2 .. $_])) for 4 .. 10;
    is((() = told($id) =~ /status/g), 1, '.. once');
    set($id, "$closed, $muted");
    judge(found($id, [2 .. 11]));
    is(state_of($id), 'closed test 1', '.. but not while it is muted');
};


# compared each with each, these are 20,000,000,000 pairs
subtest 'very many scans' => sub {
    my $id = uuid();

    judge(found($id, [1 .. 200_000]));
    my $began = time;
    judge(found($id, [1 .. 200_001]));
    my $took = time - $began;

    cmp_ok($took, '<', 120, sprintf 'another scan of 200,000: %.1f s', $took);
    is($sv->sql('select scans from sv.case where case_id = ?', $id), 200_001, 'all are counted');
};

$sv->done_testing;
