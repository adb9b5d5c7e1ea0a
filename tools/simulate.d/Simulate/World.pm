package Simulate::World;

# Places, sites, products, lots and packs.  Sites and packs are numbers, their
# properties columns: there are a million of them.

use strict;
use warnings;

use Time::Local qw(timegm);

use Simulate::Random;

use constant DAY => 86_400;


sub new {
    my ($class, $params, $seed, $scans, $days) = @_;

    my ($year, $month, $day) = split /-/, $params->{start};
    my $start = timegm(0, 0, 0, $day, $month - 1, $year);

    my $self = bless {
        params  => $params, seed => $seed, scans => $scans, days => $days,
        start   => $start, end => $start + $days * DAY,
        share   => $scans / 100_000,      # incidents are counted for 100,000 scans
        sites   => [], of => {}, lots => [], products => [],
        serial  => [], lot_of => [],      # of packs
        random  => Simulate::Random->new($seed, 'world'),
    }, $class;

    $self->make_sites;
    $self->make_lots;

    return $self;
}


sub stream {
    my ($self, $name) = @_;

    return Simulate::Random->new($self->{seed}, $name);
}


sub countries {
    my ($self, $area) = @_;

    my $place = $self->{params}{place};

    return [grep { $place->{$_}{area} =~ /^(?:$area)$/ } sort keys %{$place}];
}


# country codes, as often as their weight
sub weighted {
    my ($self, $countries) = @_;

    return [map { ($_) x ($self->{params}{place}{$_}{weight} || 1) } @{$countries}];
}


sub is_free {
    my ($self, $country) = @_;

    return $self->{params}{place}{$country}{area} eq 'free';
}


# May a pack with these markets be in trade there?
sub is_legal {
    my ($self, $markets, $country) = @_;

    return 1 if !@{$markets} || grep { $_ eq $country } @{$markets};
    return $self->is_free($country) && grep { $self->is_free($_) } @{$markets};
}


# --- sites

sub make_sites {
    my ($self) = @_;

    my $params    = $self->{params};
    my $random    = $self->{random};
    my $countries = $self->countries('free|own');
    my $weighted  = $self->weighted($countries);
    my $wanted    = $params->{sites_per_100k} * $self->{scans} / 100_000 * 30 / $self->{days};

    $wanted = $params->{sites_least} if $wanted < $params->{sites_least};

    for my $country (@{$countries}) {
        my $place = $params->{place}{$country};
        $self->{cities}{$country} = [map { [near($random, $place->{lat}, $place->{lon}, $place->{spread})] } 1 .. 6];
        $self->make_site($country, $_) for qw(pharmacy pharmacy hospital wholesaler);
    }

    for my $country (qw(DE NL)) {
        $self->make_site($country, 'parallel_distributor') if $params->{place}{$country};
    }

    $self->make_site('DE', 'authority');

    my @kinds = (('pharmacy') x 17, ('hospital') x 2, 'wholesaler');

    while (@{$self->{sites}} < $wanted) {
        $self->make_site($random->pick($weighted), $random->pick(\@kinds));
    }

    return;
}


sub near {
    my ($random, $lat, $lon, $spread) = @_;

    # the sum of some is nearer to the middle than one
    my ($x, $y) = map { $random->unit + $random->unit + $random->unit - 1.5 } 1, 2;

    return (sprintf('%.4f', $lat + $spread * $x), sprintf('%.4f', $lon + $spread * $y));
}


sub make_site {
    my ($self, $country, $kind) = @_;

    my $random = $self->{random};
    my $n      = @{$self->{sites}};
    my $weight = 1 + int 24 * power($random->unit, $self->{params}{site_skew});
    my $city   = $random->pick($self->{cities}{$country});
    my ($lat, $lon) = near($random, @{$city}, 0.12);

    $self->{sites}[$n] = {
        n => $n, actor => "s$n", kind => $kind, country => $country, lat => $lat, lon => $lon, weight => $weight,
        gln => check_digit(sprintf '9512%08d', $n), style => $random->word($self->{params}{place_style}),
        offset => $self->{params}{place}{$country}{offset},
    };

    push @{$self->{of}{$country}{$kind}}, ($n) x $weight;

    return $n;
}


# x to the power y, about, by multiplications only
sub power {
    my ($x, $y) = @_;

    my $result = 1;
    $result *= $x for 1 .. int $y;

    return $result * (1 - ($y - int $y) * (1 - $x));
}


# by chance, busier ones more often; not one of these
sub site {
    my ($self, $random, $country, $kind, @not) = @_;

    my $list = $self->{of}{$country}{$kind} or return;

    for (1 .. 20) {
        my $site = $random->pick($list);
        return $site if !grep { $_ == $site } @not;
    }

    return;
}


sub check_digit {
    my ($digits) = @_;

    my ($sum, $weight) = (0, 3);

    for my $digit (reverse split //, $digits) {
        $sum += $digit * $weight;
        $weight = 4 - $weight;
    }

    return $digits . (10 - $sum % 10) % 10;
}


# --- products, lots, packs

my $digits = '0123456789';
my $upper  = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';

# alphabets and lengths of serials
my @serials = (
    [$digits . $upper, 10, 14],
    [$digits, 12, 16],
    ['23456789ABCDEFGHJKLMNPQRSTUVWXYZ', 10, 12],
    [$digits . $upper . lc $upper, 9, 13],
    [$digits . lc $upper, 11, 13],
);


sub make_lots {
    my ($self) = @_;

    my $params = $self->{params};
    my $random = $self->{random};
    my $wanted = int $params->{lots_per_100k} * $self->{scans} / 100_000;

    $wanted = $params->{lots_least} if $wanted < $params->{lots_least};

    for (1 .. 1 + $wanted * $params->{products_per_lot}) {
        my ($alphabet, @length) = @{$random->pick(\@serials)};
        my $product = {
            gtin     => check_digit(sprintf '0952000%06d', 1000 + 7 * @{$self->{products}}),
            alphabet => $alphabet, length => $random->whole(\@length), form => $random->below(4),
        };
        push @{$self->{products}}, $product;
    }

    for (1 .. $wanted) {
        my $new  = $random->chance($params->{lot_new});
        my $made = $new
            ? $self->{start} + $random->unit * 0.7 * $self->{days} * DAY
            : $self->{start} - $random->within($params->{lot_age_days}) * DAY;
        $self->make_lot($random, made => $made);
    }

    # for packs in trade: a lot as often as it is large
    $self->{trade} = [map { ($_->{i}) x (1 + $_->{n} / 200) } @{$self->{lots}}];

    return;
}


sub make_lot {
    my ($self, $random, %lot) = @_;

    my $params  = $self->{params};
    my $product = $lot{product} // $random->pick($self->{products});
    my $n       = $lot{n} // $random->whole($params->{lot_size});
    my $made    = int $lot{made};
    my $expires = $made + ($lot{shelf} // $random->within($params->{lot_shelf_days})) * DAY;
    my $day00   = $lot{day00} // $random->chance($params->{lot_day_00});
    my $expiry  = $day00 ? month_end($expires) : day($expires);
    my $first   = @{$self->{serial}};
    my $i       = @{$self->{lots}};

    my $lot = {
        i => $i, product => $product, gtin => $product->{gtin}, lot => $lot{lot} // lot_name($random, $product->{form}, $i),
        made => $made, upload => int($lot{upload} // $made + 1800 + 7200 * $random->unit),
        expiry => $expiry, printed => $day00 ? substr($expiry, 0, 4) . '00' : $expiry,
        first => $first, n => $n, next => $first, line => 'L' . $random->below(12),
        markets => $lot{markets} // $self->markets($random), marked => $lot{marked} // 0,
        from => $made + $random->within($params->{ship_days}) * DAY,    # in trade
    };

    $lot->{sold} = $self->sold($lot);
    push @{$self->{lots}}, $lot;

    my ($alphabet, $length) = @{$product}{qw(alphabet length)};
    my $serial = $self->{serial};
    my $lot_of = $self->{lot_of};

    for (1 .. $n) {
        push @{$serial}, $random->text($alphabet, $length);
        push @{$lot_of}, $i;
    }

    return $lot;
}


sub lot_name {
    my ($random, $form, $i) = @_;

    # its number keeps it apart
    return sprintf 'A%d%s%03d', 3 + $random->below(6), $random->text($upper, 1), $i if $form == 0;
    return sprintf '%07d', 2_100_000 + 613 * $i if $form == 1;
    return sprintf '%s%04d', $random->text($upper, 2), $i if $form == 2;

    return sprintf 'Lz%d-%02d', $i, $random->below(90) + 10;
}


sub markets {
    my ($self, $random) = @_;

    my $params = $self->{params};
    return [] if $random->chance($params->{market_unknown});

    my $countries = $self->countries($random->chance($params->{market_outside}) ? 'own' : 'free');
    my $weighted  = $self->weighted($countries);
    my %market    = ($random->pick($weighted) => 1);

    # a lot for several markets outside would be legal too often where it is not meant for
    if ($self->is_free((keys %market)[0]) && $random->chance($params->{market_many})) {
        $market{$random->pick($weighted)} = 1 for 1 .. 1 + $random->below(4);
    }

    return [sort keys %market];
}


# where a lot's packs are sold, as often as a country is large
sub sold {
    my ($self, $lot) = @_;

    my @markets = @{$lot->{markets}} ? @{$lot->{markets}} : @{$self->countries('free')};

    return $self->weighted(\@markets);
}


# A lot that fits: in trade at $t, with so many packs left, of nobody's incident.
sub lot {
    my ($self, $random, $t, $need, $fits) = @_;

    my $lots = $self->{lots};

    for my $try (1 .. 400) {
        my $lot = $random->pick($lots);

        next if $lot->{marked} || $lot->{from} > $t || $lot->{first} + $lot->{n} - $lot->{next} < $need;
        next if $fits && !$fits->($lot);

        $lot->{marked} = 1;
        return $lot;
    }

    # none is left: one is made
    for my $try (1 .. 200) {
        my $markets = $self->markets($random);
        my $product = $random->pick($self->{products});
        next if $fits && !$fits->({markets => $markets, product => $product});
        return $self->make_lot($random, made => $t - 20 * DAY, markets => $markets, product => $product, marked => 1,
            n => $need + 400);
    }

    die "no lot fits\n";
}


# the next pack of a lot that nobody had
sub take {
    my ($self, $lot) = @_;

    return if $lot->{next} >= $lot->{first} + $lot->{n};
    return $lot->{next}++;
}


# --- dates

sub day {
    my ($t) = @_;

    my (undef, undef, undef, $mday, $month, $year) = gmtime int $t;

    return sprintf '%02d%02d%02d', $year % 100, $month + 1, $mday;
}


sub month_end {
    my ($t) = @_;

    my (undef, undef, undef, undef, $month, $year) = gmtime int $t;
    ($month, $year) = $month == 11 ? (0, $year + 1) : ($month + 1, $year);

    return day(timegm(0, 0, 0, 1, $month, $year) - DAY);
}


sub resolve {
    my ($expiry) = @_;

    return $expiry if $expiry !~ /^(\d\d)(\d\d)00$/;
    return month_end(timegm(0, 0, 0, 1, $2 - 1, 2000 + $1));
}

1;
