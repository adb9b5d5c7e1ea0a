package Simulate::Decide;

# From which scan on a fraud can be told from trade: the line number, or
# nothing when it never can.  Each rule is what an honest person with all the
# lines so far would say, and what trade never looks like here; the scans come
# in order of arrival.

use strict;
use warnings;

my %how = (
    clone        => \&clone,
    diversion    => \&diversion,
    reuse        => \&supplied_again,
    harvest      => \&harvest,
    guess        => \&guess,
    recommission => \&recommission,
    relabel      => \&relabel,
    stolen       => \&dead,
    destroyed    => \&dead,
);


sub decidable_at {
    my ($incident, $params) = @_;

    my $how = $how{$incident->{kind}} or return;

    return $how->($incident, $params, $incident->{events} || []);
}


sub is_professional { return $_[0]{type} eq 'scan' && $_[0]{site} >= 0 }


# A professional wants to supply what another site has supplied.
sub supplied_again {
    my ($incident, $params, $events) = @_;

    for my $event (@{$events}) {
        return $event->{line} if is_professional($event) && $event->{operation} eq 'supply' && $event->{outcome} eq 'already_supplied' && !$event->{here};
    }

    return;
}


# .. or consumers see packs of these serials here and there, over days, and not
# as one person who travels, or as friends of whom one sent a link.
sub clone {
    my ($incident, $params, $events) = @_;

    my $first = supplied_again($incident, $params, $events);
    my (%session, @seen);

    for my $event (grep { !is_professional($_) && $_->{type} eq 'scan' } @{$events}) {
        last if defined $first && $event->{line} > $first;
        next if $session{$event->{session}}++;

        push @seen, $event;
        my @by_time = sort { $a->{ms} <=> $b->{ms} || $a->{line} <=> $b->{line} } @seen;

        # what goes round the world does so within two days
        next if @by_time < $params->{decide_sessions} || $by_time[-1]{ms} - $by_time[0]{ms} < 3 * 86_400_000;

        my ($switches, $last) = (0, undef);

        for my $seen (@by_time) {
            $switches++ if defined $last && $last ne $seen->{country};
            $last = $seen->{country};
        }

        return $event->{line} if $switches >= $params->{decide_switches};
    }

    return $first;
}


# Packs that are not one tourist's: each at a professional counts twice.
sub diversion {
    my ($incident, $params, $events) = @_;

    my (%count, %session, $sum);

    for my $event (@{$events}) {
        next if $event->{type} ne 'scan' || $event->{country} ne $incident->{country};

        if (!is_professional($event)) {
            next if $session{$event->{session}}++;
        }

        my $worth = is_professional($event) ? 2 : 1;
        my $had   = $count{$event->{serial}} // 0;
        next if $had >= $worth;

        $count{$event->{serial}} = $worth;
        $sum += $worth - $had;
        return $event->{line} if $sum >= $params->{decide_diversion};
    }

    return;
}


# Many packs read by one consumer; what a professional reads may be a pallet, until it is cloned.
sub harvest {
    my ($incident, $params, $events) = @_;

    my $clone = supplied_again($incident, $params, $events);
    my %read;

    for my $event (grep { !is_professional($_) } @{$events}) {
        last if defined $clone && $event->{line} > $clone;
        $read{$event->{session}}{$event->{serial}} = 1;
        return $event->{line} if keys %{$read{$event->{session}}} >= $params->{decide_reads};
    }

    return $clone;
}


sub guess {
    my ($incident, $params, $events) = @_;

    my $how = $incident->{variant};
    my (%misses, %serials, %sites, $first);

    for my $event (grep { $_->{type} eq 'scan' && $_->{outcome} =~ /_unknown$/ } @{$events}) {
        my $client = is_professional($event) ? "s$event->{site} " . int $event->{ms} / 86_400_000 : $event->{session};
        $misses{$client}{$event->{serial}} = 1;
        return $event->{line} if $how =~ /^(?:client|site)$/ && keys %{$misses{$client}} >= $params->{decide_misses};

        # the same unknown pack cannot be at two counters
        if ($event->{operation} eq 'supply') {
            $serials{$event->{serial}}{$event->{site}} = 1;
            return $event->{line} if keys %{$serials{$event->{serial}}} >= 2;
        }

        # no serials of this product, and no scanner of one site
        $sites{$event->{site}} = 1;
        return $event->{line} if $how eq 'form' && keys %serials >= 3 && keys %sites >= 2;

        # no upload is that late
        $first //= $event->{ms};
        return $event->{line} if keys %sites >= 2 && $event->{ms} > $first + 86_400_000 * $params->{decide_late_days};
    }

    return;
}


# The record itself.
sub recommission {
    my ($incident, $params, $events) = @_;

    return @{$events} ? $events->[0]{line} : undef;
}


# Two packs of a lot whose others are right.
sub relabel {
    my ($incident, $params, $events) = @_;

    my (%packs, %sessions);

    for my $event (grep { $_->{outcome} eq 'expiry_mismatch' } @{$events}) {
        if (is_professional($event)) {
            $packs{$event->{serial}} = 1;
        } else {
            $sessions{$event->{serial}} //= $event->{session};
        }

        return $event->{line} if keys %packs >= 2 || keys %sessions >= $params->{decide_consumers};
    }

    return;
}


# A professional has it, or some consumers have some.
sub dead {
    my ($incident, $params, $events) = @_;

    my (%packs, %sessions);

    for my $event (grep { $_->{type} eq 'scan' && $_->{outcome} eq $incident->{kind} } @{$events}) {
        return $event->{line} if is_professional($event);
        $packs{$event->{serial}}     = 1;
        $sessions{$event->{session}} = 1;
        return $event->{line} if keys %packs >= $params->{decide_consumers} && keys %sessions >= $params->{decide_consumers};
    }

    return;
}

1;
