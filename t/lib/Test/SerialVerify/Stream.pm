package Test::SerialVerify::Stream;

# Scan events as a gateway sends them.
#
#   my $gateway = Test::SerialVerify::Stream->new($sv, gateway => 'g1', boot => 7);
#   $gateway->send({serial => 'A1', location => 3}, {serial => 'A2', reason => 'serial_unknown', location => 3});

use strict;
use warnings;

use Time::HiRes qw(time);


sub new {
    my ($class, $sv, %of) = @_;

    return bless {sv => $sv, gateway => 'gateway1', boot => 1, sequence => 0, gtin => 9506000134352, %of}, $class;
}


# the line of an event; it takes the next number unless it has one
sub line {
    my ($self, $event) = @_;

    my %event = (sequence => $event->{sequence} // ++$self->{sequence}, at => int(time * 1000), gtin => $self->{gtin}, lot => 'LOT1', expiry => '301231',
        reason => 'ok', entry_mode => 'scanned', %{$event});

    $_ = defined $_ ? sprintf '%.2f', $_ : undef for @event{qw(lat lon)};

    return join("\t", 1, map { $_ // '' } @event{qw(sequence at occurred gtin serial lot expiry location session country lat lon accuracy_km
        entry_mode reason alert_id request_id flags)}) . "\n";
}


# one block of them; its id in the stream
sub send {    ## no critic (ProhibitBuiltinHomonyms)
    my ($self, @events) = @_;

    return $self->lines(map { $self->line($_) } @events);
}


sub lines {
    my ($self, @lines) = @_;

    my $redis = $self->{redis} // $self->{sv}->redis;

    return $redis->xadd('sv:scans', '*', 'g', $self->{gateway}, 'b', $self->{boot}, 'e', join '', @lines);
}


1;
