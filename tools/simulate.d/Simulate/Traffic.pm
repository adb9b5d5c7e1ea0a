package Simulate::Traffic;

# What is scanned when, before it is known what is answered.  An intent is a
# line of text that begins with the time of its arrival, so all of them are
# sorted at once; the gateway reads them in that order.

use strict;
use warnings;

use Simulate::Random;

use constant DAY => 86_400;

# fields of an intent
our @FIELDS = qw(arrival type event site session country lat lon accuracy operation of pack gtin serial lot expiry entry incident);


sub new {
    my ($class, $world) = @_;

    return bless {
        world => $world, params => $world->{params}, random => $world->stream('traffic'),
        intents => [], scans => 0, incidents => [], start => $world->{start} * 1000, end => $world->{end} * 1000,
        faults => {}, offline => {},
    }, $class;
}


# A new incident; what belongs to it gets its number.
sub incident {
    my ($self, $kind, $what, %more) = @_;

    my $incident = {id => @{$self->{incidents}} + 1, kind => $kind, label => $what, %more};
    push @{$self->{incidents}}, $incident;

    return $incident;
}


# --- intents

# A scan of a professional, in seconds.  %over: what is presented instead of the
# pack's own data, undef for nothing; of; entry; exact: no fault of a scanner comes in between.
sub pro {
    my ($self, $t, $site, $operation, $pack, $incident, %over) = @_;

    my $random = $self->{random};
    my $ms     = int($t * 1000) + $random->below(1000);

    return if $ms < $self->{start} || $ms >= $self->{end} || !defined $site;

    if (!%over || !$over{exact}) {
        my $fault = $self->fault($ms, $site);
        return $self->faulty($ms, $site, $operation, $pack, $fault, $incident, %over) if $fault && !exists $over{serial} && !exists $over{lot} && !exists $over{expiry};
    }

    my $arrival = $ms;

    if (my $gaps = $self->{offline}{$site}) {
        for my $gap (@{$gaps}) {
            next if $ms < $gap->{from} || $ms >= $gap->{to};
            # in order, a few a second
            $arrival = $gap->{to} + int(($ms - $gap->{from}) * 60_000 / ($gap->{to} - $gap->{from}));
            $incident ||= $gap->{incident};
        }
    }

    my $entry = $over{entry} || ($random->chance($self->{params}{manual}) ? 'manual' : 'scanned');

    push @{$self->{intents}}, join "\t", $arrival, 'S', $ms, $site, '', '', '', '', '', $operation, $over{of} // '', $pack,
        presented(\%over), $entry, $incident ? $incident->{id} : '';
    $self->{scans}++;

    return $ms;
}


# GTIN, serial, lot, expiry: empty as on the pack, "-" nothing
sub presented {
    my ($over) = @_;

    return join "\t", map { exists $over->{$_} ? $over->{$_} // '-' : '' } qw(gtin serial lot expiry);
}


# A scan by whoever has the pack.  A person has a country, a place and a token a day.
sub consumer {
    my ($self, $t, $person, $pack, $incident, %over) = @_;

    my $ms = int($t * 1000) + $self->{random}->below(1000);

    return if $ms < $self->{start} || $ms >= $self->{end};

    my $day     = int $t / DAY;
    my $session = $person->{session}{$day} //= $self->{random}->token;

    if (!exists $over{lot} && !$person->{full}) {
        @over{qw(lot expiry)} = ();
    }

    push @{$self->{intents}}, join "\t", $ms, 'S', $ms, -1, $session, @{$person}{qw(country lat lon accuracy)}, 'verify', '', $pack,
        presented(\%over), '', $incident ? $incident->{id} : '';
    $self->{scans}++;

    return $ms;
}


# Somebody in a country, or near a site or another person.
sub person {
    my ($self, $country, $by) = @_;

    my $random = $self->{random};
    my $params = $self->{params};
    my $place  = $params->{place}{$country};
    my $spread = $by ? 0.2 : $place->{spread};
    my ($lat, $lon) = Simulate::World::near($random, $by ? @{$by}{qw(lat lon)} : @{$place}{qw(lat lon)}, $spread);
    my $accuracy = int $random->within($params->{place_accuracy_km});

    if ($random->chance($params->{place_rough})) {
        ($lat, $lon) = Simulate::World::near($random, @{$place}{qw(lat lon)}, 0.3);
        $accuracy = 100 * (2 + $random->below(4));

    } elsif ($random->chance($params->{place_wrong})) {
        ($lat, $lon) = Simulate::World::near($random, @{$place}{qw(lat lon)}, 2);
    }

    # the centre of a coarse cell
    return {
        country => $country, lat => sprintf('%.1f', $lat), lon => sprintf('%.1f', $lon), accuracy => $accuracy,
        full => $random->chance($params->{consumer_expiry}) ? 1 : 0, session => {},
    };
}


# --- days and hours

# The same day at an hour when a site is open; few on Sundays.
sub open_hours {
    my ($self, $t, $site) = @_;

    my $random = $self->{random};
    my $day    = int $t / DAY;
    my $offset = defined $site ? $self->{world}{sites}[$site]{offset} * 60 : 3600;

    # 1970-01-01 was a Thursday
    $day++ if ($day + 4) % 7 == 0 && !$random->chance(0.1);

    return $day * DAY + 8 * 3600 + int(5 * 3600 * ($random->unit + $random->unit)) - $offset;
}


sub evening {
    my ($self, $t, $country) = @_;

    my $random = $self->{random};

    return int($t / DAY) * DAY + 8 * 3600 + int(7 * 3600 * ($random->unit + $random->unit)) - $self->{params}{place}{$country}{offset} * 60;
}


# --- faults of scanners

# What disturbs this scan: what is wrong at the site just now, or by chance.
sub fault {
    my ($self, $ms, $site) = @_;

    my $random = $self->{random};
    my $params = $self->{params};

    if (my $faults = $self->{faults}{$site}) {
        for my $fault (@{$faults}) {
            return $fault if $ms >= $fault->{from} && $ms < $fault->{to} && $random->chance($params->{fault_scans});
        }
    }

    my $x = $random->unit;

    return {kind => 'typo', echo => $params->{typo_echo}} if ($x -= $params->{typo}) < 0;
    return {kind => 'glitch', echo => $params->{typo_echo}} if ($x -= $params->{glitch}) < 0;
    return {kind => 'unknown_product', echo => 0} if $x < $params->{unknown_product};

    return;
}


# The scan with its fault, and in most cases the right one a little later.
sub faulty {
    my ($self, $ms, $site, $operation, $pack, $fault, $incident, %over) = @_;

    my $random = $self->{random};
    my %wrong  = $self->distort($fault->{kind}, $pack);
    my $t      = $ms / 1000;

    return $self->pro($t, $site, $operation, $pack, $incident, %over, exact => 1) if !%wrong;

    my $of = $fault->{incident} || $self->incident($fault->{kind}, 'noise');
    $wrong{entry} //= $fault->{kind} eq 'typo' ? 'manual' : 'scanned';

    # a pharmacist may try twice
    for my $again (0 .. ($random->chance(0.2) ? 1 : 0)) {
        $self->pro($t + 15 * $again, $site, $operation, $pack, $of, %over, %wrong, exact => 1);
    }

    if ($random->chance($fault->{echo})) {
        my $later = 60 * $random->within($self->{params}{echo_minutes});
        $self->pro($t + $later, $site, $operation, $pack, $incident, %over, exact => 1, entry => $random->chance(0.4) ? 'manual' : 'scanned');
    }

    return $ms;
}


# What is presented; nothing where the fault does not show.
sub distort {
    my ($self, $kind, $pack) = @_;

    my $random = $self->{random};
    my $world  = $self->{world};
    my $lot    = $world->{lots}[$world->{lot_of}[$pack]];
    my $serial = $world->{serial}[$pack];
    my ($name, $expiry) = @{$lot}{qw(lot printed)};

    if ($kind eq 'caps') {
        tr/a-zA-Z/A-Za-z/ for $serial, $name;

    } elsif ($kind eq 'keyboard') {
        tr/yzYZ/zyZY/ for $serial, $name;

    } elsif ($kind eq 'separators' || $kind eq 'glitch') {
        my $next = $random->unit;

        # the next element and what follows is taken for the end of the one before
        if ($next < 0.5) {
            $name .= "17$expiry";
            $expiry = undef;
        } elsif ($next < 0.8 || length $serial > 12) {
            $name .= '712' . $random->text('0123456789', 7);
        } else {
            $serial .= '712' . $random->text('0123456789', 20 - length($serial) > 8 ? 5 : 17 - length $serial);
        }

        return if length $name > 20 || length $serial > 20;

    } elsif ($kind eq 'date_format') {
        $expiry = substr($expiry, 0, 4) . '01';

    } elsif ($kind eq 'typo') {
        my $what = $random->unit;
        if    ($what < 0.65) { $serial = $self->mistype($serial) }
        elsif ($what < 0.88) { $name = $self->mistype($name) }
        else                 { substr($expiry, 2, 2) = sprintf '%02d', 1 + $random->below(12) }

    } elsif ($kind eq 'unknown_product') {
        return (gtin => 1, entry => 'scanned');
    }

    my %wrong;
    $wrong{serial} = $serial if $serial ne $world->{serial}[$pack];
    $wrong{lot}    = $name if $name ne $lot->{lot};
    $wrong{expiry} = $expiry if !defined $expiry || $expiry ne $lot->{printed};

    return %wrong;
}


my %alike = (qw(0 O O 0 1 I I 1 l 1 3 E E 3 5 S S 5 8 B B 8 2 Z Z 2));

sub mistype {
    my ($self, $text) = @_;

    my $random = $self->{random};
    my $kind   = $random->word($self->{params}{typo_kinds});
    my $at     = $random->below(length $text);

    if ($kind eq 'alike') {
        my @at = grep { $alike{substr $text, $_, 1} } 0 .. length($text) - 1;
        $at = @at ? $random->pick(\@at) : $at;
        my $like = $alike{substr $text, $at, 1};
        return substr($text, 0, $at) . $like . substr($text, $at + 1) if $like;

    } elsif ($kind eq 'swap') {
        $at = 0 if $at == length($text) - 1;
        my $swapped = substr($text, 0, $at) . reverse(substr $text, $at, 2) . substr($text, $at + 2);
        return $swapped if $swapped ne $text;

    } elsif ($kind eq 'drop') {
        return substr($text, 0, $at) . substr($text, $at + 1);
    }

    my $old = substr $text, $at, 1;
    my $new = $old =~ /\d/ ? ($old + 1 + $random->below(9)) % 10 : chr((ord(uc $old) - 65 + 1 + $random->below(25)) % 26 + ($old =~ /[a-z]/ ? 97 : 65));

    return substr($text, 0, $at) . $new . substr($text, $at + 1);
}


# --- a pack's life

# From a wholesaler to a site in a country, supplied at about $t; returns [site,
# time] of the supply.  Options: site; sure, it is supplied and nothing else; soon
# after receipt; after, when it was somewhere else.
sub life {
    my ($self, $t, $pack, $country, $incident, %option) = @_;

    my $random = $self->{random};
    my $params = $self->{params};
    my $world  = $self->{world};
    my $lot    = $world->{lots}[$world->{lot_of}[$pack]];
    my $hospital = $random->chance($params->{hospital});
    my $site   = $option{site} // $world->site($random, $country, $hospital ? 'hospital' : 'pharmacy') // return;
    my $supply = $self->open_hours($t, $site);
    my $early  = $hospital && $random->chance($params->{hospital_early});
    my $wait   = $option{soon} ? 0.1 + 1.5 * $random->unit : $random->within($params->{receive_days});
    my $receive = $self->open_hours($supply - $wait * DAY, $site);

    $receive = $supply - 300 - $random->below(2000) if $receive > $supply || $early;

    my $from = $option{after} ? $option{after} + DAY * (0.6 + $random->unit) : $lot->{from};

    $receive = $from + $random->below(7200) if $receive < $from;
    $supply  = $receive + 600 + $random->below(DAY) if $supply <= $receive;

    my $before = $receive - (0.6 + $random->unit) * DAY;

    return if !$option{sure} && $random->chance($params->{free_sample}) && $self->free_sample($before, $pack, $country);

    if ($before > $from && $random->chance($params->{wholesaler_verify})) {
        $self->pro($before, $world->site($random, $country, 'wholesaler'), 'verify', $pack, $incident);
    }

    $self->pro($receive, $site, 'verify', $pack, $incident) if $random->chance($params->{receive_verify});

    if ($random->chance($params->{extra_verify})) {
        my $between = $self->open_hours($receive + ($supply - $receive) * $random->unit, $site);
        $self->pro($between > $receive && $between < $supply ? $between : $receive + 90, $site, 'verify', $pack, $incident);
    }

    return if !$option{sure} && $self->other_end($supply, $site, $pack);

    $self->pro($supply - 20 - $random->below(60), $site, 'verify', $pack, $incident) if $random->chance($params->{dispense_verify});

    if (!$option{sure} && !$random->chance($params->{supply})) {
        return;
    }

    $self->pro($supply, $site, 'supply', $pack, $incident);
    $self->after($supply, $site, $pack) if !$option{sure} && !$incident;

    if ($random->chance($params->{consumer}) && !$incident) {
        my $at = $random->chance($params->{consumer_before}) ? $supply - 3600 : $supply + 3600;
        $self->looks($at, $pack, $world->{sites}[$site]);
    }

    return [$site, $supply];
}


# A wholesaler gives it to doctors, who give it to somebody.
sub free_sample {
    my ($self, $t, $pack, $country) = @_;

    my $random = $self->{random};

    $self->pro($t, $self->{world}->site($random, $country, 'wholesaler'), 'free_sample', $pack);

    if ($random->chance($self->{params}{sample_scan})) {
        $self->consumer($self->evening($t + DAY * (1 + 6 * $random->unit), $country), $self->person($country), $pack, $self->incident('free_sample', 'noise'));
    }

    return 1;
}


# It is not supplied: destroyed or a sample.
sub other_end {
    my ($self, $t, $site, $pack) = @_;

    my $random = $self->{random};
    my $params = $self->{params};
    my $world  = $self->{world};
    my $x      = $random->unit;

    if (($x -= $params->{destroy}) < 0) {
        $self->pro($t, $site, 'destroy', $pack);
        $self->pro($t + DAY * (0.1 + 3 * $random->unit), $site, 'verify', $pack, $self->incident('bin', 'noise')) if $random->chance($params->{bin_scan});
        return 1;
    }

    if (($x -= $params->{sample}) < 0) {
        $self->pro($t, $site, 'sample', $pack);
        $self->pro($t + DAY * (1 + 5 * $random->unit), $world->site($random, 'DE', 'authority'), 'verify', $pack, $self->incident('sample', 'noise'))
            if $random->chance($params->{sample_scan});
        return 1;
    }

    return 0;
}


# What follows some supplies.
sub after {
    my ($self, $t, $site, $pack) = @_;

    my $random = $self->{random};
    my $params = $self->{params};
    my $world  = $self->{world};

    if ($random->chance($params->{lost_response})) {
        $self->pro($t + 4 + $random->below(50), $site, 'supply', $pack, $self->incident('lost_response', 'noise'), exact => 1);
    }

    if ($random->chance($params->{undo})) {
        my $undo = $t + 600 + $random->unit * $random->unit * 4 * DAY;
        $self->pro($undo, $site, 'undo', $pack, undef, of => 'supply', exact => 1);
        return if !$random->chance($params->{undo_again});
        my $again = $self->open_hours($undo + DAY + 6 * DAY * $random->unit, $site);
        $self->pro($again - 30, $site, 'verify', $pack);
        $self->pro($again, $site, 'supply', $pack);

    } elsif ($random->chance($params->{undo_late})) {
        $self->pro($self->open_hours($t + DAY * (11 + 5 * $random->unit), $site), $site, 'undo', $pack,
            $self->incident('undo_late', 'noise'), of => 'supply', exact => 1);

    } elsif ($random->chance($params->{undo_elsewhere})) {
        my $other = $world->site($random, $world->{sites}[$site]{country}, 'pharmacy', $site);
        $self->pro($t + DAY * (0.1 + 4 * $random->unit), $other, 'undo', $pack, $self->incident('undo_elsewhere', 'noise'), of => 'supply', exact => 1);

    } elsif ($random->chance($params->{split_pack})) {
        my $incident = $self->incident('split_pack', 'noise');
        my $at       = $t;
        for (1 .. $random->whole($params->{split_times})) {
            $at = $self->open_hours($at + DAY * (10 + 4 * $random->unit), $site);
            $self->pro($at - 25, $site, 'verify', $pack, $incident) if $random->chance(0.3);
            $self->pro($at, $site, 'supply', $pack, $incident);
        }
    }

    return;
}


# Somebody looks at the pack, on some days.
sub looks {
    my ($self, $t, $pack, $site) = @_;

    my $random  = $self->{random};
    my $params  = $self->{params};
    my $world   = $self->{world};
    my $country = $site->{country};
    my $person  = $self->person($country, $site);
    my $incident;

    if ($random->chance($params->{tourist})) {
        my $abroad = $random->pick([grep { $_ ne $country } sort keys %{$params->{place}}]);
        $incident = $self->incident('tourist', 'noise');
        $person   = $self->person($abroad);
        $t += DAY * (2 + 6 * $random->unit);
    }

    for my $day (0 .. $random->whole($params->{consumer_days}) - 1) {
        my $at = $day ? $self->evening($t + DAY * ($day + 3 * $random->unit), $country) : $t + 3600 * $random->unit;
        $self->consumer($at, $person, $pack, $incident);
        $self->consumer($at + 5 + $random->below(600), $person, $pack, $incident) for 1 .. $random->whole($params->{consumer_reloads});

        if ($random->chance($params->{vpn})) {
            my $other = $self->person($random->pick([sort keys %{$params->{place}}]));
            my $of    = $incident || $self->incident('vpn', 'noise');
            $self->consumer($at + 60 + $random->below(3600), $other, $pack, $of);
        }

        if ($random->chance($params->{share_link})) {
            $self->preview($at + 60, $pack, $incident);
            $self->consumer($at + 120 + $random->below(7200), $self->person($country, $person), $pack, $incident);
        }
    }

    return;
}


# A bot fetches what was sent, from a data centre.
sub preview {
    my ($self, $t, $pack, $incident) = @_;

    my $random = $self->{random};
    return if !$random->chance($self->{params}{preview});

    my $bot = $self->person($random->pick($self->{params}{preview_countries}));
    $self->consumer($t + 1 + $random->below(9), $bot, $pack, $incident || $self->incident('preview', 'noise'));

    return;
}


# Packs of trade until there are so many scans.
sub trade {
    my ($self, $scans) = @_;

    my $random = $self->{random};
    my $params = $self->{params};
    my $world  = $self->{world};
    my $free   = $world->weighted($world->countries('free'));
    my $trade  = $world->{trade};
    my %rest;

    while ($self->{scans} < $scans) {
        my $lot  = $world->{lots}[$random->pick($trade)];
        my $rest = $rest{$lot->{i}} //= int $lot->{n} * $params->{lot_traded};
        my $from = $lot->{from} > $world->{start} ? $lot->{from} : $world->{start};

        next if $lot->{from} > $world->{end} - DAY;
        my $pack = $rest > 0 ? $world->take($lot) : undef;

        if (!defined $pack) {
            $trade = $self->{world}{trade} = more_lots($world, $random) if !--$self->{patience};
            $self->{patience} //= 1000;
            next;
        }

        $rest{$lot->{i}}--;
        my $country = $random->pick($lot->{sold});
        $country = $random->pick($free) if $random->chance($params->{parallel_trade}) && $world->is_free($country) && $world->is_legal($lot->{markets}, $country);

        my $t = $from + ($world->{end} - $from + 4 * DAY) * $random->unit;

        if ($random->chance($params->{expired_scan})) {
            $self->expired($t, $country);
        }

        $self->life($t, $pack, $country);
    }

    return;
}


# All are sold: as many again.
sub more_lots {
    my ($world, $random) = @_;

    my $first = @{$world->{lots}};

    $world->make_lot($random, made => $world->{start} - $random->within($world->{params}{lot_age_days}) * DAY) for 1 .. 20;

    return [map { ($_->{i}) x (1 + $_->{n} / 200) } @{$world->{lots}}[$first .. $#{$world->{lots}}]];
}


# A pack of an old lot, found on a shelf.
sub expired {
    my ($self, $t, $country) = @_;

    my $world  = $self->{world};
    my $random = $self->{random};
    my $lots   = $self->{old} //= [map { $world->make_lot($random, made => $world->{start} - (320 + 10 * $_) * DAY, shelf => 300,
        n => 200, markets => [], marked => 1) } 1 .. 4];
    my $pack   = $world->take($random->pick($lots)) // return;
    my $site   = $world->site($random, $country, 'pharmacy');

    $self->pro($self->open_hours($t, $site), $site, $random->chance(0.5) ? 'verify' : 'supply', $pack, $self->incident('expired', 'noise'));

    return;
}


# --- facts

# Records of places, lots and recalls; when all packs are known.
sub facts {
    my ($self) = @_;

    my $random = $self->{world}->stream('facts');
    my $params = $self->{params};
    my $world  = $self->{world};

    for my $site (@{$world->{sites}}) {
        my $late = $random->chance($params->{location_late}) ? $world->{start} + DAY * $random->within($params->{location_late_days}) : 0;
        my $at   = $late ? $late * 1000 : 0;
        $self->fact(sprintf('%013d', $at), 'location', $site->{n}, $site->{wrong_record} ? 'wrong' : '');
        $self->fact(sprintf('%013d', $site->{mended}), 'location', $site->{n}, '') if $site->{mended};
    }

    for my $lot (@{$world->{lots}}) {
        $self->lot_records($random, $lot);
    }

    return;
}


sub fact {
    my ($self, $arrival, @rest) = @_;

    push @{$self->{intents}}, join "\t", $arrival, @rest;

    return;
}


# A lot's records: some hundred serials each; what is late comes later.
sub lot_records {
    my ($self, $random, $lot) = @_;

    my @packs = ($lot->{first} .. $lot->{first} + $lot->{n} - 1);
    my $end   = $self->{end};
    my %late  = map { $_ => 1 } @{$lot->{late_packs} || []};
    my @parts = %late
        ? ([$lot->{upload}, grep { !$late{$_} } @packs], [$lot->{late_upload}, grep { $late{$_} } @packs])
        : ([$lot->{upload}, @packs]);

    push @parts, [$lot->{upload} + 3600 + $random->below(DAY), @packs] if $random->chance($self->{params}{reupload}) && !$lot->{marked};

    for my $part (@parts) {
        my ($at, @rest) = @{$part};

        while (@rest) {
            my @some = splice @rest, 0, $random->whole($self->{params}{commission_record});
            next if $at * 1000 >= $end;
            $self->fact(sprintf('%013d', $at * 1000), 'commission', $lot->{i}, compact(@some));
            $at++;
        }
    }

    return;
}


# numbers as ranges
sub compact {
    my (@packs) = @_;

    my @ranges;

    for my $pack (@packs) {
        if (@ranges && $ranges[-1][1] == $pack - 1) {
            $ranges[-1][1] = $pack;
        } else {
            push @ranges, [$pack, $pack];
        }
    }

    return join ',', map { "$_->[0]-$_->[1]" } @ranges;
}

1;
