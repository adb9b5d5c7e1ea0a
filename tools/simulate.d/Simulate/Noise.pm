package Simulate::Noise;

# Innocent trouble, each an incident with a label; and what looks like fraud but is trade.

use strict;
use warnings;

use constant DAY => 86_400;

# what has to be known before anything is scanned, then the others
my @first = qw(caps keyboard separators date_format offline wrong_location);
my %first = map { $_ => 1 } @first;
my @then  = qw(late_lot late_part wrong_list batch_correction late_markets hospital_hub moved_stock stolen_found pallet
    stock_take export repack recall shared_link viral shop_display habit curious shortage_import);

my %how = (
    (map { $_ => \&fault } qw(caps keyboard separators date_format)),
    offline => \&offline, wrong_location => \&wrong_location, late_lot => \&late, late_part => \&late,
    wrong_list => \&wrong_list, batch_correction => \&batch_correction, late_markets => \&late_markets,
    hospital_hub => \&hospital_hub, moved_stock => \&moved_stock, stolen_found => \&stolen_found, pallet => \&pallet,
    stock_take => \&stock_take, export => \&export, repack => \&repack, recall => \&recall, shared_link => \&shared_link,
    viral => \&viral, shop_display => \&shop_display, habit => \&habit, curious => \&curious,
    shortage_import => \&shortage_import,
);

# scans with other outcomes are trade
my %only = (
    late_lot => 'lot_unknown|serial_unknown', late_part => 'lot_unknown|serial_unknown', wrong_list => 'destroyed',
    batch_correction => 'expiry_mismatch', recall => 'recalled',
);


sub kinds { return (@first, @then) }


sub make {
    my ($traffic) = @_;

    for my $kind (@first, @then) {
        my $random = $traffic->{world}->stream("noise $kind");

        for (1 .. $random->about($traffic->{params}{$kind} * $traffic->{world}{share})) {
            my $incident = $traffic->incident($kind, 'noise', only => $only{$kind});
            $how{$kind}->($traffic, $random, $incident, $kind);
        }
    }

    return;
}


# --- what they share

# a time within the days, this many left after it
sub at {
    my ($traffic, $random, $left) = @_;

    my $world = $traffic->{world};
    my $days  = $world->{days} - ($left // 0);
    $days = $world->{days} / 3 if $days < $world->{days} / 3;

    return $world->{start} + DAY * $days * $random->unit;
}


# a site, rather a busy one
sub busy {
    my ($traffic, $random, $kind) = @_;

    my $world = $traffic->{world};
    my @sites = sort { $world->{sites}[$b]{weight} <=> $world->{sites}[$a]{weight} || $a <=> $b }
        map { $world->site($random, $random->pick($world->weighted($world->countries('free|own'))), $kind) } 1 .. 3;

    return $sites[0];
}


sub sold_in {
    my ($random, $lot) = @_;

    return $random->pick($lot->{sold});
}


# packs of one lot or of some; those with incidents of their own are left alone
sub mixed_packs {
    my ($traffic, $random, $n, $t, $country) = @_;

    my $world = $traffic->{world};
    my @lots  = grep { !$_->{marked} && $_->{from} < $t - DAY && $world->is_legal($_->{markets}, $country) } @{$world->{lots}};
    my @some  = $random->some(\@lots, 1 + $random->below(12)) or return;
    my @packs;

    while (@packs < $n) {
        my $lot = $random->pick(\@some);
        push @packs, grep { defined } map { $world->take($lot) } 0 .. $random->below(30);
        return @packs if !grep { $_->{next} < $_->{first} + $_->{n} } @some;
    }

    return @packs[0 .. $n - 1];
}


# --- sites

sub fault {
    my ($traffic, $random, $incident, $kind) = @_;

    my $params = $traffic->{params};
    my $site   = busy($traffic, $random, $random->chance(0.9) ? 'pharmacy' : 'hospital');
    my $from   = $traffic->open_hours(at($traffic, $random, 2), $site) - 3600;
    my $length = $random->chance($params->{fault_days_long}) ? DAY * (1 + 3 * $random->unit) : 3600 * $random->within($params->{fault_hours});

    push @{$traffic->{faults}{$site}}, {
        kind => $kind, from => int($from * 1000), to => int(($from + $length) * 1000), incident => $incident,
        # some never notice
        echo => $random->chance(0.15) ? 0 : $params->{echo},
    };

    return;
}


sub offline {
    my ($traffic, $random, $incident) = @_;

    my $site = busy($traffic, $random, 'pharmacy');
    my $from = at($traffic, $random, 7);
    my $days = $random->within($traffic->{params}{offline_days});

    push @{$traffic->{offline}{$site}}, {from => int($from * 1000), to => int(($from + $days * DAY) * 1000), incident => $incident};

    return;
}


# The record names the owner's place, in another country; it may be mended.
sub wrong_location {
    my ($traffic, $random, $incident) = @_;

    my $world = $traffic->{world};
    my $n     = busy($traffic, $random, 'pharmacy');
    my $site  = $world->{sites}[$n];
    my $other = $random->pick($world->{sites});

    $incident->{site} = $n;
    $site->{incident} = $incident;
    $site->{style}    = 'record';

    $site->{wrong_record} = $random->chance(0.5)
        ? {country => $other->{country}, lat => $other->{lat}, lon => $other->{lon}}
        : {country => $site->{country}, lat => $site->{lon}, lon => $site->{lat}};     # swapped
    $site->{mended} = int(1000 * at($traffic, $random, 3)) if $random->chance(0.6);

    return;
}


# --- the line

sub late {
    my ($traffic, $random, $incident, $kind) = @_;

    my $world  = $traffic->{world};
    my $params = $traffic->{params};
    my $first  = at($traffic, $random, 6) + DAY;
    my $upload = $first + DAY * $random->within($params->{late_days});
    my $lot    = $world->make_lot($random, made => $first - 3 * DAY, marked => 1);
    my $n      = $random->whole($params->{late_packs});

    $lot->{from} = $first;
    $lot->{late} = $incident;

    if ($kind eq 'late_lot') {
        $lot->{upload} = int $upload;
    } else {
        my $part  = int $lot->{n} * $random->within($params->{late_part_share});
        my $begin = $lot->{first} + $random->below($lot->{n} - $part);
        $lot->{late_packs}  = [$begin .. $begin + $part - 1];
        $lot->{late_upload} = int $upload;
        $lot->{next} = $begin - int($n / 2) > $lot->{first} ? $begin - int($n / 2) : $lot->{first};
    }

    for (1 .. $n) {
        my $pack = $world->take($lot) // last;
        my $country = sold_in($random, $lot);
        my $t       = $first + ($upload - $first) * 1.3 * $random->unit;
        my $done    = $traffic->life($t, $pack, $country, $incident, sure => 1, soon => 1) or next;
        my ($site, $supplied) = @{$done};

        # refused: looked at again, and supplied when it is known
        if ($supplied < $upload) {
            $traffic->pro($supplied + 60 + $random->below(400), $site, 'verify', $pack, $incident) for 1 .. $random->below(3);
            $traffic->pro($traffic->open_hours($upload + DAY, $site), $site, 'supply', $pack, $incident);
        }
    }

    return;
}


# Packs in trade are destroyed, by a list that was not theirs.
sub wrong_list {
    my ($traffic, $random, $incident) = @_;

    my $world = $traffic->{world};
    my $t     = at($traffic, $random, 8);
    my $n     = $random->whole($traffic->{params}{wrong_list_packs});
    my $lot   = $world->lot($random, $t, $n, sub { !@{$_[0]{markets}} || $world->is_free($_[0]{markets}[0]) });
    my $country = sold_in($random, $lot);
    my $site    = $world->site($random, $country, 'wholesaler');
    my @packs   = map { $world->take($lot) } 1 .. $n;

    $t = $traffic->open_hours($t, $site);

    for my $pack (@packs) {
        $traffic->pro($t += 2, $site, 'destroy', $pack, undef, exact => 1);
        $traffic->life($t + DAY * (1 + 8 * $random->unit), $pack, $country, $incident, sure => 1) if $random->chance(0.8);
    }

    return;
}


# A lot's expiry was wrong in the upload; the packs bear another, which comes hours later.
sub batch_correction {
    my ($traffic, $random, $incident) = @_;

    my $world = $traffic->{world};
    my $first = at($traffic, $random, 4) + DAY;
    my $lot   = $world->make_lot($random, made => $first - 2 * DAY, marked => 1, day00 => 0);
    my $later = $first + 3600 * $random->within($traffic->{params}{correction_hours});
    my $right = Simulate::World::day($lot->{made} + 700 * DAY + 30 * DAY * (1 + $random->below(12)));

    $lot->{from}    = $first;
    $lot->{correct} = {expiry => $right, at => int $later};
    $lot->{printed} = $right;
    $traffic->fact(sprintf('%013d', $later * 1000), 'commission', $lot->{i},
        Simulate::Traffic::compact($lot->{first} .. $lot->{first} + $lot->{n} - 1), "corrected $incident->{id}");

    for (1 .. 6 + $random->below(30)) {
        my $pack = $world->take($lot) // last;
        $traffic->life($first + 3 * DAY * $random->unit, $pack, sold_in($random, $lot), $incident, sure => 1, soon => 1);
    }

    return;
}


# Packs go to a further market, legally; the upload that says so is late.
sub late_markets {
    my ($traffic, $random, $incident) = @_;

    my $world = $traffic->{world};
    my $t     = at($traffic, $random, 9) + DAY;
    my $lot   = $world->lot($random, $t, 60, sub { @{$_[0]{markets}} == 1 });
    my @other = grep { !$world->is_legal($lot->{markets}, $_) } @{$world->countries('free|own')};
    my $country = $random->pick($world->weighted(\@other));
    my $says    = $t + DAY * (0.3 + 3 * $random->unit);

    extended($traffic, $lot, $says, $country, $incident);

    for (1 .. 5 + $random->below(30)) {
        my $pack = $world->take($lot) // last;
        $traffic->life($t + 8 * DAY * $random->unit, $pack, $country, $incident, sure => 1, soon => 1);
    }

    return;
}


sub extended {
    my ($traffic, $lot, $t, $country, $incident) = @_;

    $traffic->fact(sprintf('%013d', $t * 1000), 'commission', $lot->{i}, "$lot->{first}-$lot->{first}", "markets $country $incident->{id}");

    return;
}


# A hospital needs what another market has, and is permitted to.
sub shortage_import {
    my ($traffic, $random, $incident) = @_;

    my $world = $traffic->{world};
    my $t     = at($traffic, $random, 6) + DAY;
    my $lot   = $world->lot($random, $t, 60, sub { @{$_[0]{markets}} == 1 });
    my @other = grep { !$world->is_legal($lot->{markets}, $_) } @{$world->countries('free|own')};
    my $country = $random->pick($world->weighted(\@other));
    my $site    = $world->site($random, $country, 'hospital');

    extended($traffic, $lot, $t - DAY * $random->unit, $country, $incident);

    for (1 .. 10 + $random->below(30)) {
        my $pack = $world->take($lot) // last;
        $traffic->life($t + 5 * DAY * $random->unit, $pack, $country, $incident, sure => 1, soon => 1, site => $site);
    }

    return;
}


# --- trade that looks odd

sub hospital_hub {
    my ($traffic, $random, $incident) = @_;

    my $world = $traffic->{world};
    my $t     = at($traffic, $random, 6);
    my $hub   = busy($traffic, $random, 'hospital');
    my $place = $world->{sites}[$hub];
    my @packs = mixed_packs($traffic, $random, $random->whole($traffic->{params}{hub_packs}), $t, $place->{country});
    my @wards = map { my $n = $world->make_site($place->{country}, 'hospital');
        @{$world->{sites}[$n]}{qw(lat lon)} = Simulate::World::near($random, $place->{lat}, $place->{lon}, 0.15); $n } 1 .. 1 + $random->below(3);

    $t = $traffic->open_hours($t, $hub);

    for my $pack (@packs) {
        $traffic->pro($t += 3 + $random->below(15), $hub, 'supply', $pack);
        next if !$random->chance(0.6);
        my $ward = $random->pick(\@wards);
        my $at   = $traffic->open_hours($t + DAY * (0.5 + 5 * $random->unit), $ward);
        $traffic->pro($at, $ward, $random->chance(0.6) ? 'supply' : 'verify', $pack, $incident);
    }

    return;
}


# A pack is supplied by mistake and handed to the pharmacy round the corner.
sub moved_stock {
    my ($traffic, $random, $incident) = @_;

    my $world = $traffic->{world};
    my $t     = at($traffic, $random, 4);
    my $site  = busy($traffic, $random, 'pharmacy');
    my $place = $world->{sites}[$site];
    my ($sister) = sort { apart($place, $world->{sites}[$a]) <=> apart($place, $world->{sites}[$b]) || $a <=> $b }
        grep { $_ != $site && $world->{sites}[$_]{kind} eq 'pharmacy' } 0 .. $#{$world->{sites}};

    my ($pack) = mixed_packs($traffic, $random, 1, $t, $place->{country}) or return;

    $t = $traffic->open_hours($t, $site);
    $traffic->pro($t, $site, 'supply', $pack);
    $t = $traffic->open_hours($t + DAY * (1 + $random->unit), $sister);
    $traffic->pro($t, $sister, 'supply', $pack, $incident);
    $traffic->pro($t + 40 + $random->below(200), $sister, 'verify', $pack, $incident);

    return;
}


# the square of a distance, for comparing only
sub apart {
    my ($a, $b) = @_;

    return ($a->{lat} - $b->{lat}) ** 2 + ($a->{lon} - $b->{lon}) ** 2;
}


# The wholesaler that was robbed has its packs again.
sub stolen_found {
    my ($traffic, $random, $incident) = @_;

    my $world = $traffic->{world};
    my $t     = at($traffic, $random, 8);
    my $lot   = $world->lot($random, $t, 40, undef);
    my $site  = $world->site($random, sold_in($random, $lot), 'wholesaler');
    my @packs = map { $world->take($lot) } 1 .. 10 + $random->below(30);

    $t = $traffic->open_hours($t, $site);
    $traffic->pro($t += 2, $site, 'steal', $_, undef, exact => 1) for @packs;
    $t = $traffic->open_hours($t + DAY * (2 + 5 * $random->unit), $site);
    $traffic->pro($t += 4, $site, 'verify', $_, $incident, exact => 1) for @packs[0 .. $#packs / 2];
    $traffic->pro($t + DAY, $world->site($random, 'DE', 'authority'), 'verify', $packs[0], $incident);

    return;
}


sub pallet {
    my ($traffic, $random, $incident) = @_;

    my $world  = $traffic->{world};
    my $params = $traffic->{params};
    my $t      = at($traffic, $random, 5);
    my $site   = busy($traffic, $random, 'wholesaler');
    my $country = $world->{sites}[$site]{country};
    my @packs  = mixed_packs($traffic, $random, $random->whole($params->{pallet_packs}), $t, $country);
    my $pace   = $random->within($params->{pallet_pace});

    $t = $traffic->open_hours($t, $site);

    for my $pack (@packs) {
        # some were supplied before they came back, and are not sold again
        my $supplied = $random->chance(0.01);
        $traffic->pro($t - DAY * (1 + 5 * $random->unit), $world->site($random, $country, 'pharmacy'), 'supply', $pack) if $supplied;
        $traffic->pro($t += $pace * (0.9 + 0.2 * $random->unit), $site, 'verify', $pack, $incident);
        $traffic->life($t + DAY * (2 + 10 * $random->unit), $pack, $country, undef, after => $t) if !$supplied && $random->chance(0.25);
    }

    return;
}


sub stock_take {
    my ($traffic, $random, $incident) = @_;

    my $world = $traffic->{world};
    my $t     = at($traffic, $random, 3);
    my $site  = busy($traffic, $random, 'pharmacy');
    my @packs = mixed_packs($traffic, $random, $random->whole($traffic->{params}{stock_take_packs}), $t, $world->{sites}[$site]{country});

    $t = $traffic->open_hours($t, $site);
    $traffic->pro($t += 3 + $random->below(9), $site, 'verify', $_, $incident) for @packs;

    for my $pack (grep { $random->chance(0.3) } @packs) {
        my $at = $traffic->open_hours($t + DAY * (1 + 9 * $random->unit), $site);
        $traffic->pro($at, $site, 'supply', $pack);
    }

    return;
}


# Exported, and looked at where it went.
sub export {
    my ($traffic, $random, $incident) = @_;

    my $world = $traffic->{world};
    my $t     = at($traffic, $random, 10);
    my $n     = $random->whole($traffic->{params}{export_packs});
    my $lot   = $world->lot($random, $t, $n, sub { @{$_[0]{markets}} && $world->is_free($_[0]{markets}[0]) });
    my $site  = $world->site($random, sold_in($random, $lot), 'wholesaler');
    my $country = $random->pick($world->countries('own|far'));
    my @packs   = map { $world->take($lot) } 1 .. $n;

    $t = $traffic->open_hours($t, $site);

    for my $pack (@packs) {
        $traffic->pro($t += 2, $site, 'export', $pack, undef, exact => 1);
        next if !$random->chance(0.12);
        my $person = $traffic->person($country);
        $traffic->consumer($traffic->evening($t + DAY * (3 + 15 * $random->unit), $country), $person, $pack, $incident);

        my $there = $world->site($random, $country, 'pharmacy');
        $traffic->pro($traffic->open_hours($t + DAY * (3 + 12 * $random->unit), $there), $there, 'verify', $pack, $incident) if defined $there && $random->chance(0.3);
    }

    return;
}


sub repack {
    my ($traffic, $random, $incident) = @_;

    my $world = $traffic->{world};
    my $t     = at($traffic, $random, 8);
    my $n     = $random->whole($traffic->{params}{repack_packs});
    my $site  = $world->site($random, $random->pick([qw(DE NL)]), 'parallel_distributor') // return;
    my $country = $world->{sites}[$site]{country};
    my $lot   = $world->lot($random, $t, $n, sub { @{$_[0]{markets}} && $world->is_free($_[0]{markets}[0]) && !grep { $_ eq $country } @{$_[0]{markets}} });
    my $own   = $world->make_lot($random, made => $t + DAY, n => $n, markets => [$country], marked => 1);

    $t = $traffic->open_hours($t, $site);

    for (1 .. $n) {
        my $pack = $world->take($lot);
        $traffic->pro($t += 3, $site, 'verify', $pack, $incident);
        $traffic->pro($t + 1800, $site, 'check_out', $pack, $incident, exact => 1);
    }

    for (1 .. $n / 2) {
        my $pack = $world->take($own) // last;
        $traffic->life($own->{from} + DAY * 8 * $random->unit, $pack, $country);
    }

    return;
}


sub recall {
    my ($traffic, $random, $incident) = @_;

    my $world = $traffic->{world};
    my $t     = at($traffic, $random, 5) + 2 * DAY;
    my $lot   = $world->lot($random, $t - 5 * DAY, 80, sub { !@{$_[0]{markets}} || $world->is_free($_[0]{markets}[0]) });

    $traffic->fact(sprintf('%013d', $t * 1000), 'recall', $lot->{i});

    for (1 .. 20 + $random->below(60)) {
        my $pack = $world->take($lot) // last;
        $traffic->life($t + DAY * (8 * $random->unit - 3), $pack, sold_in($random, $lot), $incident, sure => 1);
    }

    return;
}


# --- consumers

# a pack that was bought: [pack, country, site's place, time], or nothing
sub bought {
    my ($traffic, $random, $t) = @_;

    my $world   = $traffic->{world};
    my @lots    = grep { !$_->{marked} && $_->{from} < $t - 2 * DAY } @{$world->{lots}};
    my $lot     = $random->pick(\@lots);
    my $country = sold_in($random, $lot);
    my $pack    = $world->take($lot) // return;
    my $done    = $traffic->life($t, $pack, $country, undef, sure => 1) or return;

    return [$pack, $country, $world->{sites}[$done->[0]], $done->[1]];
}


sub shared_link {
    my ($traffic, $random, $incident) = @_;

    my $bought = bought($traffic, $random, at($traffic, $random, 3) + DAY) or return;
    my ($pack, $country, $site, $t) = @{$bought};
    my $owner  = $traffic->person($country, $site);
    my @family = ($country, $country, $country, $random->pick([sort keys %{$traffic->{params}{place}}]));

    $t = $traffic->evening($t + DAY, $country);
    $traffic->consumer($t, $owner, $pack, $incident);
    $traffic->preview($t + 30, $pack, $incident);

    for (1 .. $random->whole($traffic->{params}{shared_link_people})) {
        my $person = $traffic->person($random->pick(\@family));
        my $u      = $random->unit;
        my $at     = $t + 60 + $u * $u * 20 * 3600;
        $traffic->consumer($at, $person, $pack, $incident);
        $traffic->consumer($at + 10 + $random->below(300), $person, $pack, $incident) for 1 .. $random->below(3);
        $traffic->preview($at + 20, $pack, $incident) if $random->chance(0.15);
    }

    return;
}


sub viral {
    my ($traffic, $random, $incident) = @_;

    my $bought = bought($traffic, $random, at($traffic, $random, 4) + DAY) or return;
    my ($pack, $country, $site, $t) = @{$bought};
    my @places = (($country) x 10, sort keys %{$traffic->{params}{place}});

    for (1 .. $random->whole($traffic->{params}{viral_people})) {
        my $u = $random->unit;
        $traffic->consumer($t + 7200 + $u * $u * 2 * DAY, $traffic->person($random->pick(\@places)), $pack, $incident);
    }

    return;
}


sub shop_display {
    my ($traffic, $random, $incident) = @_;

    my $t      = at($traffic, $random, 8);
    my $bought = bought($traffic, $random, $t + DAY) or return;
    my ($pack, $country, $site, $from) = @{$bought};

    for (1 .. $random->whole($traffic->{params}{shop_display_people})) {
        my $at     = $traffic->open_hours($from + DAY * (1 + 14 * $random->unit), $site->{n});
        my $person = $traffic->person($country, $site);
        $traffic->consumer($at, $person, $pack, $incident) for 0 .. $random->below(2);
    }

    return;
}


# The same person each day or two, some days of them on holiday.
sub habit {
    my ($traffic, $random, $incident) = @_;

    my $bought = bought($traffic, $random, at($traffic, $random, 14) + DAY) or return;
    my ($pack, $country, $site, $t) = @{$bought};
    my $person = $traffic->person($country, $site);
    my $away   = $traffic->person($random->pick([sort keys %{$traffic->{params}{place}}]));
    my $leaves = 4 + $random->below(8);
    my $back   = $leaves + 3 + $random->below(6);

    for my $day (1 .. 14 + $random->below(8)) {
        next if $random->chance(0.3) || $day == $leaves || $day == $back;
        my $who = $day > $leaves && $day < $back ? $away : $person;
        $traffic->consumer($traffic->evening($t + DAY * $day, $who->{country}), $who, $pack, $incident);
    }

    return;
}


# All that is in the cupboard, in one evening.
sub curious {
    my ($traffic, $random, $incident) = @_;

    my $world   = $traffic->{world};
    my $t       = at($traffic, $random, 3) + 2 * DAY;
    my $country = $random->pick($world->weighted($world->countries('free')));
    my @packs   = mixed_packs($traffic, $random, $random->whole($traffic->{params}{curious_packs}), $t, $country);
    my $site    = $world->site($random, $country, 'pharmacy');
    my $person  = $traffic->person($country, $world->{sites}[$site]);

    $t = $traffic->evening($t, $country);

    for my $pack (@packs) {
        $traffic->pro($t - DAY * (1 + 5 * $random->unit), $site, 'supply', $pack);
        $traffic->consumer($t += 10 + $random->below(50), $person, $pack, $incident);
    }

    return;
}

1;
