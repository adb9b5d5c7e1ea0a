package Simulate::Random;

# Random numbers that are the same on every machine: a linear congruential
# generator of 64 bits, its upper bits, one stream for each name.  Only
# additions and multiplications of floating point: no logarithms, which differ.

use strict;
use warnings;


sub new {
    my ($class, $seed, $name) = @_;

    use integer;
    my $state = -3750763034362895579;    # FNV-1a

    for my $byte (unpack 'C*', "$seed $name") {
        $state = ($state ^ $byte) * 1099511628211;
    }

    my $self = bless \$state, $class;
    $self->bits for 1 .. 4;

    return $self;
}


# 31 random bits
sub bits {
    my ($self) = @_;

    use integer;
    ${$self} = ${$self} * 6364136223846793005 + 1442695040888963407;

    return ${$self} >> 33 & 0x7fffffff;
}


# 0 <= x < 1
sub unit {
    my ($self) = @_;

    return $self->bits / 2147483648;
}


# 0 <= n < $n
sub below {
    my ($self, $n) = @_;

    return $self->bits % $n;
}


sub chance {
    my ($self, $share) = @_;

    return $self->bits < $share * 2147483648;
}


# of a range [from, to]
sub within {
    my ($self, $range) = @_;

    return $range->[0] + ($range->[1] - $range->[0]) * $self->unit;
}


# .. a whole number, both ends in
sub whole {
    my ($self, $range) = @_;

    return $range->[0] + $self->below($range->[1] - $range->[0] + 1);
}


sub pick {
    my ($self, $list) = @_;

    return $list->[$self->below(scalar @{$list})];
}


# of [[word, share]..]
sub word {
    my ($self, $shares) = @_;

    my $x = $self->unit;

    for my $share (@{$shares}) {
        return $share->[0] if ($x -= $share->[1]) < 0;
    }

    return $shares->[-1][0];
}


# $n different ones of a list
sub some {
    my ($self, $list, $n) = @_;

    my @rest = @{$list};
    my @some;

    while (@rest && @some < $n) {
        push @some, splice @rest, $self->below(scalar @rest), 1;
    }

    return @some;
}


# round a mean, up or down by chance
sub about {
    my ($self, $mean) = @_;

    my $n = int $mean;

    return $n + ($self->chance($mean - $n) ? 1 : 0);
}


# $length characters of a string
sub text {
    my ($self, $alphabet, $length) = @_;

    my $n    = length $alphabet;
    my $text = '';

    while (length $text < $length) {
        my $bits = $self->bits;

        for (1 .. 4) {
            $text .= substr $alphabet, $bits % $n, 1;
            $bits = int $bits / $n;
        }
    }

    return substr $text, 0, $length;
}


# the token of a client
sub token {
    my ($self) = @_;

    return sprintf '%08x%08x', $self->bits << 1 ^ $self->below(4), $self->bits;
}

1;
