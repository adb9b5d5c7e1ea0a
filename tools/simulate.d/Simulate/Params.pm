package Simulate::Params;

# Reads the file of parameters.

use strict;
use warnings;


# The file, and on top of it another one, which may name only what the first has.
sub load {
    my ($base, $more) = @_;

    my $params = read_file($base, undef);
    my $known  = {%{$params}};

    return $params if !defined $more;

    my $changed = read_file($more, $known);
    my %places  = (%{$params->{place}}, %{$changed->{place}});

    return {%{$params}, %{$changed}, place => \%places};
}


sub read_file {
    my ($path, $known) = @_;

    open(my $fh, '<', $path) or die "parameters $path: $!\n";
    my %params = (place => {});

    while (my $line = <$fh>) {
        chomp $line;
        $line =~ s/\s*#.*//;
        next if $line !~ /\S/;

        my ($name, @words) = split ' ', $line;

        if ($name eq 'place') {
            @words == 7 or die "$path:$.: a place has a country, latitude, longitude, spread, offset, weight and area\n";
            my ($country, @rest) = @words;
            @{$params{place}{$country}}{qw(lat lon spread offset weight area)} = @rest;
            $params{place}{$country}{code} = $country;
            next;
        }

        !$known || exists $known->{$name} or die "$path:$.: there is no parameter \"$name\"\n";
        $params{$name} = value(\@words) // die "$path:$.: \"$name\" needs a number, a range, words or words with shares\n";
    }

    close $fh or die "parameters $path: $!\n";

    return \%params;
}


sub value {
    my ($words) = @_;

    my $number = qr/-?\d+(?:\.\d+)?/;

    return if !@{$words};
    return $words if @{$words} > 1 && !grep { /=/ } @{$words};
    return [map { /^(\w+)=($number)$/ ? [$1, $2] : return } @{$words}] if $words->[0] =~ /=/;
    return [$1, $2] if $words->[0] =~ /^($number)\.\.($number)$/;
    return $words->[0] if $words->[0] =~ /^(?:$number|\d{4}-\d\d-\d\d)$/;

    return;
}

1;
