package Simulate::Gateway;

# What the gateway answers, and the lines.  Packs have a state, in order of
# arrival; what is not uploaded is not known.  The checks are those of every
# answer: product, serial and lot, expiry, status of the lot, state.

use strict;
use warnings;

my %state_of = (
    supply => 'supplied', destroy => 'destroyed', export => 'exported', sample => 'sample', free_sample => 'free_sample',
    lock => 'locked', steal => 'stolen', check_out => 'checked_out',
);

use constant {UNDO_MS => 240 * 3_600_000, REPEATS => 3};


sub new {
    my ($class, $world, $incidents) = @_;

    return bless {
        world => $world, incidents => $incidents, line => 0, dates => {},
        known => '', by_serial => {}, lots => {},
        state => {}, site => {}, since => {}, repeats => {}, recalled => {}, corrected => {},
    }, $class;
}


# Writes a line for each intent, which are sorted.
sub run {
    my ($self, $intents, $out) = @_;

    $self->index_presented($intents);

    my $buffer = '';

    for my $intent (@{$intents}) {
        my @field = split /\t/, $intent, -1;
        my $type  = $field[1];

        my $text = $type eq 'S' ? $self->scan(\@field)
            : $type eq 'commission' ? $self->commission(\@field)
            : $type eq 'location' ? $self->location(\@field)
            : $self->recall(\@field);

        $self->{line}++;
        $buffer .= $text;

        if (length $buffer > 1_000_000) {
            print {$out} $buffer or die "writing: $!\n";
            $buffer = '';
        }
    }

    print {$out} $buffer or die "writing: $!\n";

    return;
}


# Serials that are presented instead of a pack's own may be another pack's: only
# these have to be found by their text.
sub index_presented {
    my ($self, $intents) = @_;

    my %wanted;

    for my $intent (@{$intents}) {
        next if $intent !~ /^\d+\tS/;
        my $serial = (split /\t/, $intent, 15)[13];
        $wanted{$serial} = 1 if length $serial > 1;
    }

    my $world = $self->{world};
    my $lots  = $world->{lots};
    my $n     = 0;

    for my $serial (@{$world->{serial}}) {
        $self->{by_serial}{"$lots->[$world->{lot_of}[$n]]{gtin} $serial"} //= $n if $wanted{$serial};
        $n++;
    }

    return;
}


# --- facts

sub commission {
    my ($self, $field) = @_;

    my ($arrival, undef, $i, $ranges, $more) = @{$field};
    my $world = $self->{world};
    my $lot   = $world->{lots}[$i];
    my $made  = $lot->{made};
    my ($expiry, @markets) = ($lot->{expiry}, @{$lot->{markets}});
    my ($what, @of) = split ' ', $more // '';
    my $line = $lot->{line};
    my @serials;

    if (($what // '') eq 'corrected') {
        $expiry = $lot->{correct}{expiry};
        $self->{corrected}{$i} = 1;
        $self->belongs($of[0], {line => $self->{line} + 1, type => 'commission', ms => $arrival});

    } elsif (($what // '') eq 'markets') {
        @markets = sort @markets, $of[0];

    } elsif (($what // '') eq 'again') {
        $self->belongs($of[0], {line => $self->{line} + 1, type => 'commission', ms => $arrival});
        $line = 'R' . $i % 5;
    }

    $self->{lots}{"$lot->{gtin} $lot->{lot}"} = 1;

    for my $range (split /,/, $ranges) {
        my ($from, $to) = split /-/, $range;
        push @serials, @{$world->{serial}}[$from .. $to];
        # of two commissionings the first stands
        vec($self->{known}, $_, 1) = 1 for $from .. $to;
    }

    $made = int $arrival / 1000 - 600 if ($what // '') eq 'again';

    return qq({"type":"commission","time":"${\ $self->time($made * 1000, 0)}","gtin":"$lot->{gtin}","lot":"$lot->{lot}","expiry":"$expiry")
        . (@markets ? ',"markets":["' . join('","', @markets) . '"]' : $i % 2 ? ',"markets":[]' : '')
        . qq(,"line":"$line","serials":[") . join('","', @serials) . qq("]}\n);
}


sub location {
    my ($self, $field) = @_;

    my $site  = $self->{world}{sites}[$field->[2]];
    my %place = (%{$site}, ($field->[3] // '') eq 'wrong' ? %{$site->{wrong_record}} : ());

    return qq({"type":"location","actor":"$site->{actor}","gln":"$site->{gln}","kind":"$site->{kind}","country":"$place{country}",)
        . qq("lat":$place{lat},"lon":$place{lon}}\n);
}


sub recall {
    my ($self, $field) = @_;

    my $lot = $self->{world}{lots}[$field->[2]];
    $self->{recalled}{$lot->{i}} = 1;

    return qq({"type":"recall","time":"${\ $self->time($field->[0], 0)}","gtin":"$lot->{gtin}","lot":"$lot->{lot}"}\n);
}


# --- scans

sub scan {
    my ($self, $field) = @_;

    my ($arrival, undef, $ms, $n, $session, $country, $lat, $lon, $accuracy, $operation, $of, $pack, $gtin, $serial, $name, $expiry, $entry,
        $incident) = @{$field};
    my $world = $self->{world};
    my $lot   = $world->{lots}[$world->{lot_of}[$pack]];
    my $site  = $n >= 0 ? $world->{sites}[$n] : undef;
    my $found = $pack;

    if ($gtin eq '') {
        $gtin = $lot->{gtin};
    } else {
        $gtin  = Simulate::World::check_digit(sprintf '0978%09d', 300_000_000 + 79 * $pack % 99_991);
        $found = -1;
    }

    if ($serial eq '') {
        $serial = $world->{serial}[$pack];
    } else {
        $found = $self->{by_serial}{"$gtin $serial"} // -2 if $found >= 0;
    }

    $name   = $lot->{lot} if $name eq '';
    $expiry = $lot->{printed} if $expiry eq '';
    $found  = -2 if $found >= 0 && !vec $self->{known}, $found, 1;

    my $outcome = $self->outcome($found, $gtin, $name, $expiry, $operation, $of, $ms, $n);
    my $text    = qq({"time":"${\ $self->time($ms, $site ? $site->{offset} : 0)}","gtin":"$gtin","serial":"$serial");

    $text .= qq(,"lot":"$name") if $name ne '-';
    $text .= qq(,"expiry":"$expiry") if $expiry ne '-';
    $text .= qq(,"operation":"$operation");
    $text .= qq(,"of":"$of") if $of ne '';

    if ($site) {
        $text .= qq(,"actor_kind":"$site->{kind}","actor":"$site->{actor}");
        my $style = $site->{style};
        $text .= qq(,"country":"$site->{country}") if $style ne 'record';
        $text .= qq(,"lat":$site->{lat},"lon":$site->{lon},"accuracy_km":1) if $style eq 'coordinates';
        $text .= qq(,"entry_mode":"$entry");
        $incident ||= $site->{incident}{id} if $site->{incident};

    } else {
        $text .= qq(,"actor_kind":"consumer","session":"$session","country":"$country","lat":$lat,"lon":$lon,"accuracy_km":$accuracy);
    }

    if ($incident) {
        $self->belongs($incident, {
            line => $self->{line} + 1, type => 'scan', ms => $ms, site => $n, session => $session, country => $site ? $site->{country} : $country,
            lat => $site ? $site->{lat} : $lat, lon => $site ? $site->{lon} : $lon, operation => $operation, serial => "$gtin $serial",
            outcome => $outcome, here => ($self->{site}{$found} // -1) == $n,
        });
    }

    return qq($text,"outcome":"$outcome"}\n);
}


sub belongs {
    my ($self, $id, $event) = @_;

    my $incident = $self->{incidents}[$id - 1];
    my $only     = $incident->{only};

    return if $only && $event->{type} eq 'scan' && $event->{outcome} !~ /^(?:$only)$/;
    push @{$incident->{events}}, $event;

    return;
}


# $pack: -1 of an unknown product, -2 unknown
sub outcome {
    my ($self, $pack, $gtin, $name, $expiry, $operation, $of, $ms, $site) = @_;

    return 'product_unknown' if $pack == -1;

    my $verify = $operation eq 'verify';

    return 'elements_missing' if !$verify && ($name eq '-' || $expiry eq '-');

    if ($pack == -2) {
        return $name eq '-' || $self->{lots}{"$gtin $name"} ? 'serial_unknown' : 'lot_unknown';
    }

    my $world = $self->{world};
    my $lot   = $world->{lots}[$world->{lot_of}[$pack]];
    my $true  = $self->{corrected}{$lot->{i}} ? $lot->{correct}{expiry} : $lot->{expiry};

    return 'lot_mismatch' if $name ne '-' && $name ne $lot->{lot};

    if ($expiry ne '-' && $expiry ne $true) {
        return 'expiry_mismatch' if ($self->{resolved}{$expiry} //= Simulate::World::resolve($expiry)) ne $true;
    }

    return 'expired' if ($self->{days}{int $ms / 86_400_000} //= Simulate::World::day($ms / 1000)) gt $true;
    return 'recalled' if $self->{recalled}{$lot->{i}};

    return $self->change($pack, $operation, $of, $ms, $site);
}


# What state and operation make of each other.
sub change {
    my ($self, $pack, $operation, $of, $ms, $site) = @_;

    my $state = $self->{state}{$pack};
    my $here  = defined $state && $self->{site}{$pack} == $site;

    if (!defined $state) {
        return 'ok' if $operation eq 'verify';
        return 'nothing_to_undo' if $operation eq 'undo';
        $self->set($pack, $state_of{$operation}, $site, $ms);
        return 'ok';
    }

    my $word = $state eq 'supplied' ? 'already_supplied' : $state;

    if ($operation eq 'verify') {
        return $here && $state eq 'supplied' ? 'already_supplied_here' : $word;
    }

    if ($operation eq 'undo') {
        return $word if $state eq 'destroyed' || $state eq 'stolen';
        return 'undo_elsewhere' if !$here;
        return $word if $state_of{$of} ne $state;
        return 'undo_too_late' if $ms > $self->{since}{$pack} + UNDO_MS;
        delete $self->{$_}{$pack} for qw(state site since repeats);
        return 'ok';
    }

    if ($operation eq 'supply' && $state eq 'supplied' && $here && ($self->{repeats}{$pack} // 0) < REPEATS) {
        $self->{repeats}{$pack}++;
        return 'already_supplied_here';
    }

    return $word;
}


sub set {
    my ($self, $pack, $state, $site, $ms) = @_;

    $self->{state}{$pack} = $state;
    $self->{site}{$pack}  = $site;
    $self->{since}{$pack} = $ms;
    delete $self->{repeats}{$pack};

    return;
}


# RFC 3339, at an offset in minutes
sub time {    ## no critic (ProhibitBuiltinHomonyms)
    my ($self, $ms, $offset) = @_;

    my $local = $ms + 60_000 * $offset;
    my $day   = int $local / 86_400_000;
    my $rest  = $local - $day * 86_400_000;
    my $date  = $self->{dates}{$day} //= do {
        my (undef, undef, undef, $mday, $month, $year) = gmtime $day * 86_400;
        sprintf '%04d-%02d-%02dT', $year + 1900, $month + 1, $mday;
    };
    my $zone = $self->{zones}{$offset} //= $offset == 0 ? 'Z'
        : sprintf '%s%02d:%02d', $offset < 0 ? '-' : '+', abs($offset) / 60, abs($offset) % 60;

    return sprintf '%s%02d:%02d:%02d.%03d%s', $date, $rest / 3_600_000, $rest / 60_000 % 60, $rest / 1000 % 60, $rest % 1000, $zone;
}

1;
