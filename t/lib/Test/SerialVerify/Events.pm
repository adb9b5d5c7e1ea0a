package Test::SerialVerify::Events;

# Scan events as they lie in the stream: [{gateway =>, boot =>, sequence =>, ..}..]

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(stream_events lines_of identities gaps stream_bytes);

my @fields = qw(version sequence at_ms occurred_ms gtin serial lot expiry location session country lat lon
    accuracy_km entry_mode reason alert_id request_id flags);


sub lines_of {
    my ($gateway, $boot, $lines) = @_;

    return map {
        my %event = (gateway => $gateway, boot => $boot);
        @event{@fields} = split /\t/, $_, -1;
        \%event;
    } split /\n/, $lines;
}


# All events of the stream, in its order.
sub stream_events {
    my ($sv) = @_;

    return map {
        my %entry = @{$_->[1]};
        lines_of(@entry{qw(g b e)});
    } @{$sv->redis->xrange('sv:scans', '-', '+')};
}


sub stream_bytes {
    my ($sv) = @_;

    return join '', map { join '', @{$_->[1]} } @{$sv->redis->xrange('sv:scans', '-', '+')};
}


# The different ones: gateway, boot, sequence => event
sub identities {
    my (@events) = @_;

    return map { ("$_->{gateway} $_->{boot} $_->{sequence}" => $_) } @events;
}


# How many numbers are missing up to the greatest of each process.
sub gaps {
    my (@events) = @_;

    my (%last, %seen);

    for my $event (@events) {
        my $process = "$event->{gateway} $event->{boot}";
        $seen{$process}{$event->{sequence}} = 1;
        $last{$process} = $event->{sequence} if $event->{sequence} > ($last{$process} // 0);
    }

    my $missing = 0;
    $missing += $last{$_} - keys %{$seen{$_}} for keys %last;

    return $missing;
}

1;
