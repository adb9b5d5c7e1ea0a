package Simulate::Fraud;

# Frauds.  Each says nothing of how it would be found; Decide.pm says from which
# scan on it can be told from trade.

use strict;
use warnings;

use constant DAY => 86_400;

my @kinds = qw(clone diversion reuse harvest guess recommission relabel stolen destroyed);

my %how = (
    clone => \&clone, diversion => \&diversion, reuse => \&reuse, harvest => \&harvest, guess => \&guess,
    recommission => \&recommission, relabel => \&relabel, stolen => \&dead, destroyed => \&dead,
);


sub kinds { return @kinds }


sub make {
    my ($traffic) = @_;

    for my $kind (@kinds) {
        my $random = $traffic->{world}->stream("fraud $kind");
        my $n      = $random->about($traffic->{params}{$kind} * $traffic->{world}{share});
        $n = $traffic->{params}{fraud_least} if $n < $traffic->{params}{fraud_least};

        for (1 .. $n) {
            my $incident = $traffic->incident($kind, 'fraud');
            $how{$kind}->($traffic, $random, $incident, $kind);
        }
    }

    return;
}


# --- what they share

# a time within the first part of the days
sub early {
    my ($traffic, $random, $share) = @_;

    my $world = $traffic->{world};

    return $world->{start} + DAY * (1 + ($world->{days} - 2) * $share * $random->unit);
}


# within so many days after $t, but within the days
sub later {
    my ($traffic, $random, $t, $days) = @_;

    my $left = ($traffic->{world}{end} - $t) / DAY - 1;
    $left = 0.5 if $left < 0.5;

    return $t + DAY * ($days < $left ? $days : $left) * $random->unit;
}


sub home {
    my ($random, $lot) = @_;

    return $random->pick($lot->{sold});
}


# .. or another one with professionals
sub elsewhere {
    my ($traffic, $random, $country) = @_;

    return $country if $random->chance($traffic->{params}{same_country});
    return $random->pick($traffic->{world}->weighted($traffic->{world}->countries('free|own')));
}


# A genuine pack goes its way; with an incident when it meets its double.
sub bought {
    my ($traffic, $t, $pack, $country, $incident, @option) = @_;

    return $traffic->life($t, $pack, $country, $incident, sure => 1, @option);
}


# A professional tries to supply what will be refused, and looks again.
sub refused {
    my ($traffic, $random, $t, $site, $pack, $incident, %over) = @_;

    my $params = $traffic->{params};

    $t = $traffic->open_hours($t, $site);
    $traffic->pro($t - 2 * DAY * $random->unit, $site, 'verify', $pack, $incident, %over) if $random->chance(0.3);
    $traffic->pro($t - 30, $site, 'verify', $pack, $incident, %over) if $random->chance(0.5);
    $traffic->pro($t, $site, 'supply', $pack, $incident, %over);

    return if !$random->chance($params->{rescan});

    for (1 .. $random->whole($params->{rescans})) {
        $t += 20 + $random->below(300);
        $traffic->pro($t, $site, $random->chance(0.6) ? 'verify' : 'supply', $pack, $incident, %over, entry => $random->chance(0.2) ? 'manual' : 'scanned');
    }

    return;
}


# Somebody who bought it looks, some minutes long.
sub looks {
    my ($traffic, $random, $t, $country, $pack, $incident, %over) = @_;

    my $person = $traffic->person($country);

    $t = $traffic->evening($t, $country);
    $traffic->consumer($t, $person, $pack, $incident, %over);
    $traffic->consumer($t + 5 + $random->below(900), $person, $pack, $incident, %over) for 1 .. $random->below(3);

    return;
}


sub seen {
    my ($traffic, $random) = @_;

    return $random->word($traffic->{params}{seen_first});
}


# --- clones

sub clone {
    my ($traffic, $random, $incident) = @_;

    my $world  = $traffic->{world};
    my $params = $traffic->{params};
    my $t      = early($traffic, $random, 0.45);
    my $n      = $random->word($params->{clone_serials}) eq 'one' ? 1 : 2 + $random->below(11);
    my $lot    = $world->lot($random, $t, $n, undef);
    my $home   = home($random, $lot);
    my @other  = grep { $_ ne $home } @{$world->countries('free|own')};
    my @places = ($home, $random->some(\@other, $random->whole($params->{clone_places}) - 1));
    my $days   = $random->within($params->{clone_days});
    my $seen   = seen($traffic, $random);
    my @packs  = map { $world->take($lot) } 1 .. $n;

    $incident->{variant} = "$seen, $n";

    for my $pack (@packs) {
        bought($traffic, later($traffic, $random, $t, $days), $pack, $home, $incident) if $random->chance(0.6);

        if ($seen ne 'consumer') {
            for (1 .. $random->whole($params->{clone_copies})) {
                my $country = $random->pick(\@places);
                my $site    = $world->site($random, $country, $random->chance(0.9) ? 'pharmacy' : 'hospital');
                refused($traffic, $random, later($traffic, $random, $t, $days), $site, $pack, $incident);
            }
        }
    }

    return if $seen eq 'professional';

    # consumers see copies of all serials, of one after the other
    my $sessions = $random->whole($params->{clone_sessions});
    $sessions = 14 * $n > 80 ? 80 : 14 * $n if $sessions < 14 * $n;

    for my $i (1 .. $sessions) {
        my $country = $random->pick(\@places);
        looks($traffic, $random, later($traffic, $random, $t, $days < 5 ? 5 : $days), $country, $packs[$i % $n], $incident);
    }

    return;
}


# --- diverted lots

sub diversion {
    my ($traffic, $random, $incident) = @_;

    my $world   = $traffic->{world};
    my $params  = $traffic->{params};
    my $t       = early($traffic, $random, 0.5);
    my $n       = $random->whole($params->{diversion_packs});
    my $outside = $random->chance(0.7);
    my $lot     = $world->lot($random, $t, $n, sub { @{$_[0]{markets}} && ($outside xor $world->is_free($_[0]{markets}[0])) });
    my @other   = grep { !$world->is_legal($lot->{markets}, $_) } @{$world->countries('free|own')};
    my $country = $random->pick($world->weighted(\@other));
    my $days    = $random->within($params->{diversion_days});
    my $seen    = seen($traffic, $random);

    $n = 8 if $seen eq 'consumer' && $n < 8;
    @{$incident}{qw(variant country)} = ("$seen, $n", $country);

    for (1 .. $n) {
        my $pack = $world->take($lot) // last;
        my $at   = later($traffic, $random, $t, $days);
        my $both = $random->chance(0.6);

        # it is in trade there as if it were meant for it
        $traffic->life($at, $pack, $country, $incident, sure => 1, soon => 1) if $seen eq 'professional' || $seen eq 'both' && $both;
        looks($traffic, $random, $at + DAY, $country, $pack, $incident) if $seen eq 'consumer' || $seen eq 'both' && !$both;
    }

    return;
}


# --- empty packs filled again

sub reuse {
    my ($traffic, $random, $incident) = @_;

    my $world  = $traffic->{world};
    my $params = $traffic->{params};
    my $t      = early($traffic, $random, 0.3);
    my $n      = $random->whole($params->{reuse_packs});
    my $lot    = $world->lot($random, $t - 3 * DAY, $n, undef);
    my $home   = home($random, $lot);
    my $there  = elsewhere($traffic, $random, $home);
    my @sites  = map { $world->site($random, $there, 'pharmacy') } 1 .. $random->whole($params->{reuse_sites});

    $incident->{variant} = "$n";

    for (1 .. $n) {
        my $pack = $world->take($lot);
        my $done = bought($traffic, later($traffic, $random, $t, 5), $pack, $home, $incident) or next;
        my ($site, $supplied) = @{$done};
        my @others = grep { $_ != $site } @sites;
        my $other  = @others ? $random->pick(\@others) : $world->site($random, $there, 'pharmacy', $site) // next;

        refused($traffic, $random, $supplied + DAY * $random->within($params->{reuse_days}), $other, $pack, $incident);
    }

    return;
}


# --- serials that were read, and appear elsewhere

sub harvest {
    my ($traffic, $random, $incident) = @_;

    my $world  = $traffic->{world};
    my $params = $traffic->{params};
    my $t      = early($traffic, $random, 0.4);
    my $n      = $random->whole($params->{harvest_read});
    my $lot    = $world->lot($random, $t, $n, undef);
    my $home   = home($random, $lot);
    my @packs  = map { $world->take($lot) } 1 .. $n;
    my $site   = $world->site($random, $home, $random->chance(0.5) ? 'wholesaler' : 'pharmacy');
    my $person = $traffic->person($home, $world->{sites}[$site]);
    my $inside = $random->chance(0.4);
    my $pace   = $random->within($params->{harvest_pace});

    $incident->{variant} = $inside ? 'professional' : 'consumer';
    $t = $traffic->open_hours($t, $site);

    for my $pack (@packs) {
        $t += $pace * (0.8 + 0.4 * $random->unit);
        if ($inside) { $traffic->pro($t, $site, 'verify', $pack, $incident) }
        else         { $traffic->consumer($t, $person, $pack, $incident) }
    }

    my $wait   = DAY * $random->within($params->{harvest_wait_days});
    my @copies = $random->some(\@packs, $random->whole($params->{harvest_packs}));
    my $there  = elsewhere($traffic, $random, $home);

    # the genuine ones go their way
    for my $pack (@packs) {
        my $copied = grep { $_ == $pack } @copies;
        bought($traffic, $t + DAY * (1 + 12 * $random->unit), $pack, $home, $copied ? $incident : undef, after => $t) if $copied || $random->chance(0.3);
    }

    for my $pack (@copies) {
        for (1 .. 1 + $random->below(2)) {
            my $other = $world->site($random, $there, 'pharmacy', $site);
            refused($traffic, $random, later($traffic, $random, $t + $wait, 8), $other, $pack, $incident);
        }
    }

    return;
}


# --- serials that nobody made

sub guess {
    my ($traffic, $random, $incident) = @_;

    my $how = $random->word([['client', 0.4], ['site', 0.15], ['repeated', 0.2], ['form', 0.15], ['new', 0.1]]);

    $incident->{variant} = $how;
    return $how eq 'client' || $how eq 'site' ? tries($traffic, $random, $incident, $how) : invented($traffic, $random, $incident, $how);
}


# A client tries, some hundred times.
sub tries {
    my ($traffic, $random, $incident, $how) = @_;

    my $world   = $traffic->{world};
    my $params  = $traffic->{params};
    my $t       = early($traffic, $random, 0.8);
    my $lot     = $world->lot($random, $t, 1, undef);
    my $pack    = $world->take($lot);
    my $country = $random->pick($world->weighted($world->countries('free|own')));
    my $site    = $world->site($random, $country, 'pharmacy');
    my $person  = $traffic->person($random->chance(0.3) ? $random->pick($world->countries('far')) : $country);
    my $pace    = $random->within($params->{guess_pace});
    my ($alphabet, $length) = @{$lot->{product}}{qw(alphabet length)};

    $t = $how eq 'site' ? $traffic->open_hours($t, $site) : $traffic->evening($t, $country);

    for (1 .. $random->whole($params->{guess_tries})) {
        my %over = (serial => $random->text($alphabet, $length));
        $t += $pace * (0.5 + $random->unit);
        if ($how eq 'site') { $traffic->pro($t, $site, 'verify', $pack, $incident, %over) }
        else                { $traffic->consumer($t, $person, $pack, $incident, %over) }
    }

    return;
}


# Packs with invented serials at pharmacies.
sub invented {
    my ($traffic, $random, $incident, $how) = @_;

    my $world  = $traffic->{world};
    my $params = $traffic->{params};
    my $t      = early($traffic, $random, 0.3);
    my $n      = $random->whole($params->{guess_packs});
    my $lot    = $world->lot($random, $t, 1, undef);
    my $pack   = $world->take($lot);
    my $there  = elsewhere($traffic, $random, home($random, $lot));
    my ($alphabet, $length) = @{$lot->{product}}{qw(alphabet length)};
    my $days   = $how eq 'new' ? 16 : 10;

    $n = 8 if $how eq 'new' && $n < 8;
    my @serials = map { serial($random, $how, $alphabet, $length, $_) } 1 .. ($how eq 'repeated' ? $random->whole($params->{guess_serials}) : $n);

    # also a lot that does not exist
    my %lot = $random->chance(0.25) ? (lot => 'X' . $random->text('0123456789', 5)) : ();

    for my $i (0 .. $n - 1) {
        my $site = $world->site($random, $there, $random->chance(0.9) ? 'pharmacy' : 'hospital');
        my $at   = $how eq 'new' ? $t + $days * DAY * ($i + 0.5 * $random->unit) / $n : later($traffic, $random, $t, $days);
        refused($traffic, $random, $at, $site, $pack, $incident, serial => $serials[$i % @serials], %lot);
    }

    return;
}


sub serial {
    my ($random, $how, $alphabet, $length, $i) = @_;

    return $random->text($alphabet, $length) if $how ne 'form';

    # one after the other, of another length
    return sprintf '%0*d', $length > 11 ? $length - 3 : $length + 3, 4711 + $i;
}


# --- serials made again under another lot

sub recommission {
    my ($traffic, $random, $incident) = @_;

    my $world  = $traffic->{world};
    my $params = $traffic->{params};
    my $t      = early($traffic, $random, 0.6);
    my $n      = $random->whole($params->{recommission_packs});
    my $lot    = $world->lot($random, $t - 2 * DAY, $n, undef);
    my $home   = home($random, $lot);
    my $there  = elsewhere($traffic, $random, $home);
    my $other  = $world->make_lot($random, made => $t, upload => $t + 600, product => $lot->{product}, markets => $lot->{markets}, marked => 1,
        n => 20 + $random->below(300));
    my @packs  = map { $world->take($lot) } 1 .. $n;

    # among serials that are new, or alone
    $traffic->fact(sprintf('%013d', ($t + 700) * 1000), 'commission', $other->{i}, Simulate::Traffic::compact(@packs), "again $incident->{id}");

    for my $pack (@packs) {
        bought($traffic, later($traffic, $random, $t - DAY, 12), $pack, $home) if $random->chance(0.5);
    }

    for my $pack ($random->some(\@packs, $random->whole($params->{recommission_seen}))) {
        my $site = $world->site($random, $there, 'pharmacy');
        refused($traffic, $random, later($traffic, $random, $t + 2 * DAY, 12), $site, $pack, $incident, lot => $other->{lot}, expiry => $other->{printed});
    }

    return;
}


# --- another expiry on the label

sub relabel {
    my ($traffic, $random, $incident) = @_;

    my $world  = $traffic->{world};
    my $params = $traffic->{params};
    my $t      = early($traffic, $random, 0.5);
    my $n      = $random->whole($params->{relabel_packs});
    my $shelf  = 300 + $random->below(200);
    my $lot    = $world->make_lot($random, made => $world->{start} - ($shelf - $random->below($world->{days} + 30)) * DAY, shelf => $shelf, marked => 1);
    my $home   = home($random, $lot);
    my $there  = elsewhere($traffic, $random, $home);
    my @sites  = map { $world->site($random, $there, 'pharmacy') } 1 .. 1 + $random->below(4);
    my $expiry = Simulate::World::day($lot->{made} + ($shelf + 180 + $random->below(500)) * DAY);
    my $seen   = seen($traffic, $random);

    $lot->{from} = $world->{start} - 30 * DAY;
    $expiry = substr($expiry, 0, 4) . '00' if $lot->{printed} =~ /00$/;
    $incident->{variant} = "$seen, $n";

    # the others of the lot are what they say
    bought($traffic, $world->{start} + DAY * $world->{days} * $random->unit, $world->take($lot), $home) for 1 .. 10 + $random->below(20);

    for (1 .. $n) {
        my $pack = $world->take($lot);
        my $at   = later($traffic, $random, $t, $random->within($params->{relabel_days}));
        refused($traffic, $random, $at, $random->pick(\@sites), $pack, $incident, expiry => $expiry) if $seen ne 'consumer' || $_ <= 2;
        looks($traffic, $random, $at, $there, $pack, $incident, lot => $lot->{lot}, expiry => $expiry) if $seen ne 'professional';
    }

    return;
}


# --- packs that must not be in trade any more

sub dead {
    my ($traffic, $random, $incident, $kind) = @_;

    my $world  = $traffic->{world};
    my $params = $traffic->{params};
    my $t      = early($traffic, $random, 0.4);
    my $n      = $random->whole($params->{"${kind}_packs"});
    my $lot    = $world->lot($random, $t, $n, undef);
    my $home   = home($random, $lot);
    my $there  = elsewhere($traffic, $random, $home);
    my $site   = $world->site($random, $home, 'wholesaler');
    my @packs  = map { $world->take($lot) } 1 .. $n;
    my $seen   = seen($traffic, $random);
    my $some   = $random->whole($params->{"${kind}_seen"});

    $some = 6 if $seen eq 'consumer' && $some < 6;
    $incident->{variant} = "$seen, $some of $n";
    $t = $traffic->open_hours($t, $site);
    $traffic->pro($t += 1 + $random->below(3), $site, $kind eq 'stolen' ? 'steal' : 'destroy', $_, undef, exact => 1) for @packs;

    for my $pack ($random->some(\@packs, $some)) {
        my $at = later($traffic, $random, $t + DAY, 14);
        refused($traffic, $random, $at, $world->site($random, $there, 'pharmacy'), $pack, $incident) if $seen ne 'consumer';
        looks($traffic, $random, $at, $there, $pack, $incident) if $seen ne 'professional';
    }

    return;
}

1;
