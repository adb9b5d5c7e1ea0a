package Simulate::Score;

# Cases of a run against the labels of its traffic.

use strict;
use warnings;

use JSON::PP ();

use Simulate::Fraud;

# These have to end as proposed closures or one case.
our @QUIET = qw(caps keyboard separators date_format typo glitch late_lot late_part);


sub read_lines {
    my ($path) = @_;

    open(my $fh, '<', $path) or die "$path: $!\n";
    my $json  = JSON::PP->new;
    my @lines = map { $json->decode($_) } <$fh>;
    close $fh or die "$path: $!\n";

    return \@lines;
}


# {frauds => [..], noise => [..], false => [..], scans => n} of one run
sub score {
    my ($labels, $cases, $scans) = @_;

    my %at;    # line -> incidents

    for my $incident (@{$labels}) {
        push @{$at{$_}}, $incident for @{$incident->{lines}};
    }

    my (%cases_of, @false);

    for my $case (sort { $a->{decided_at} <=> $b->{decided_at} } @{$cases}) {
        my (%touched, %times);
        $touched{$_->{incident}} = $_, $times{$_->{incident}}++ for map { @{$at{$_} // []} } @{$case->{scans}};
        my @touched = @touched{sort { $a <=> $b } keys %touched};

        push @{$cases_of{$_->{incident}}}, $case for @touched;
        next if $case->{status} ne 'new' || grep { $_->{label} eq 'fraud' } @touched;

        # what it was instead: of several the one that has most of the case's lines, the smaller one if they all have
        my ($most) = sort { $times{$b->{incident}} <=> $times{$a->{incident}} || @{$a->{lines}} <=> @{$b->{lines}} || $a->{incident} <=> $b->{incident} } @touched;
        push @false, {case => $case, kind => $most ? $most->{kind} : 'trade', incident => $most};
    }

    my @ended = map { ended($_, $cases_of{$_->{incident}} || []) } @{$labels};

    return {
        frauds => [grep { $_->{incident}{label} eq 'fraud' } @ended],
        noise  => [grep { $_->{incident}{label} ne 'fraud' } @ended],
        false  => \@false,
        scans  => $scans,
    };
}


sub ended {
    my ($incident, $cases) = @_;

    my @new = grep { $_->{status} eq 'new' } @{$cases};
    my $at  = $incident->{decidable_at};

    return {
        incident => $incident,
        new      => scalar @new,
        proposed => scalar grep({ $_->{status} eq 'proposed_closure' } @{$cases}),
        rules    => [map { $_->{rule} } @new],
        delay    => @new && defined $at ? $new[0]{decided_at} - $at : undef,
    };
}


# --- figures of some runs

sub median { return scalar share_of(0.5, @_) }

sub share_of {
    my ($share, @values) = @_;

    return undef if !@values;    ## no critic (ProhibitExplicitReturnUndef): the value of a pair
    @values = sort { $a <=> $b } @values;

    return $values[int $share * $#values + 0.5];
}


sub sum {
    my $sum = 0;
    $sum += $_ for @_;

    return $sum;
}


# per kind of fraud: {kind, n, found, recall, cases, delay, late, missed}
sub by_fraud {
    my (@scores) = @_;

    my @rows;

    for my $kind (Simulate::Fraud::kinds()) {
        my @all       = grep { $_->{incident}{kind} eq $kind } map { @{$_->{frauds}} } @scores;
        my @decidable = grep { defined $_->{incident}{decidable_at} } @all;
        my @found     = grep { $_->{new} } @decidable;
        # said before it could be told is said at once
        my @delays    = map { $_->{delay} < 0 ? 0 : $_->{delay} } @found;

        push @rows, {
            kind => $kind, n => scalar @decidable, undecidable => @all - @decidable, found => scalar @found,
            recall => @decidable ? @found / @decidable : undef,
            cases  => @found ? sum(map { $_->{new} } @found) / @found : undef,
            delay  => median(@delays), late => share_of(0.95, @delays),
            missed => [grep { !$_->{new} } @decidable],
        };
    }

    return @rows;
}


# per kind of innocent trouble: {kind, n, quiet, proposed, one, more}
sub by_noise {
    my (@scores) = @_;

    my %row;

    for my $ended (map { @{$_->{noise}} } @scores) {
        my $kind = $ended->{incident}{kind};
        my $how  = $ended->{new} > 1 ? 'more' : $ended->{new} ? 'one' : $ended->{proposed} ? 'proposed' : 'quiet';
        $row{$kind} ||= {kind => $kind, n => 0, quiet => 0, proposed => 0, one => 0, more => 0};
        $row{$kind}{n}++;
        $row{$kind}{$how}++;
    }

    return map { $row{$_} } sort keys %row;
}


sub false_per_scan {
    my (@scores) = @_;

    my $scans = sum(map { $_->{scans} } @scores);

    return $scans ? sum(map { scalar @{$_->{false}} } @scores) / $scans : 0;
}


sub cases_per_incident {
    my (@scores) = @_;

    my @found = grep { $_->{new} } map { @{$_->{frauds}} } @scores;

    return @found ? sum(map { $_->{new} } @found) / @found : 0;
}


# share of the quiet kinds that ended as more than one case
sub loud {
    my (@scores) = @_;

    my %quiet = map { $_ => 1 } @QUIET;
    my @all   = grep { $quiet{$_->{incident}{kind}} } map { @{$_->{noise}} } @scores;

    return @all ? grep({ $_->{new} > 1 } @all) / @all : 0;
}

1;
