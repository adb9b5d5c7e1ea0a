package Simulate::Plot;

# The plot of a detection run: an SVG that any browser shows.

use strict;
use warnings;

use Simulate::Score;

my %colour = (
    text => '#222', grid => '#ddd', bar => '#4477aa', seed => '#222', limit => '#cc3311',
    quiet => '#bbbbbb', proposed => '#88bbdd', one => '#ddaa33', more => '#cc3311',
);


sub write_file {
    my ($path, $scores, $limit) = @_;

    my @frauds = Simulate::Score::by_fraud(@{$scores});
    my @noise  = Simulate::Score::by_noise(@{$scores});
    my $rows   = @frauds > @{$scores} ? @frauds : @{$scores};
    my $below  = 70 + 22 * $rows + 60;
    my $height = $below + 22 * @noise + 60;

    my $svg = qq(<svg xmlns="http://www.w3.org/2000/svg" width="1120" height="$height" font-family="sans-serif" font-size="12" fill="$colour{text}">\n)
        . qq(<rect width="1120" height="$height" fill="white"/>\n)
        . recall(20, 30, \@frauds, $scores, $limit)
        . cases(420, 30, \@frauds, $limit)
        . false(760, 30, $scores, $limit)
        . noise(20, $below, \@noise)
        . "</svg>\n";

    open(my $out, '>', $path) or die "$path: $!\n";
    print {$out} $svg or die "$path: $!\n";
    close $out or die "$path: $!\n";

    return;
}


# --- panels

# From 0.9 on, where it matters; less is drawn at the left edge.
sub recall {
    my ($x, $y, $rows, $scores, $limit) = @_;

    my $at = sub { my ($v) = @_; return $x + 110 + 240 * (($v < 0.9 ? 0.9 : $v) - 0.9) / 0.1 };
    my $h  = 22 * @{$rows};

    my $svg = title($x, $y, 'Recall of frauds', 'bar: all seeds; dots: each seed') . axis($at, $y, $h, '%.2f', 0.9, 0.95, 1) . limit($at->($limit->{recall}), $y, $h);
    my $top = $y + 40;

    for my $row (@{$rows}) {
        my $kind = $row->{kind};
        $svg .= text($x, $top + 13, $kind);
        $svg .= bar($at->(0.9), $top, $at->($row->{recall}) - $at->(0.9), $colour{bar}) if defined $row->{recall};

        for my $i (0 .. $#{$scores}) {
            my ($one) = grep { $_->{kind} eq $kind } Simulate::Score::by_fraud($scores->[$i]);
            next if !defined $one->{recall};
            $svg .= sprintf qq(<circle cx="%.1f" cy="%.1f" r="2" fill="$colour{seed}"/>\n), $at->($one->{recall}), $top + 3 + 10 * ($i + 0.5) / @{$scores};
        }

        $top += 22;
    }

    return $svg;
}


sub cases {
    my ($x, $y, $rows, $limit) = @_;

    my $at  = sub { my ($v) = @_; return $x + 110 + 60 * ($v > 3 ? 3 : $v) };
    my $h   = 22 * @{$rows};
    my $svg = title($x, $y, 'Cases for each that was found') . axis($at, $y, $h, '%d', 0 .. 3) . limit($at->($limit->{cases}), $y, $h);
    my $top = $y + 40;

    for my $row (@{$rows}) {
        $svg .= text($x, $top + 13, $row->{kind});
        $svg .= bar($at->(0), $top, $at->($row->{cases}) - $at->(0), $colour{bar}) . text($at->($row->{cases}) + 4, $top + 13, sprintf '%.2f', $row->{cases})
            if defined $row->{cases};
        $top += 22;
    }

    return $svg;
}


sub false {
    my ($x, $y, $scores, $limit) = @_;

    my @rates = map { 10_000 * Simulate::Score::false_per_scan($_) } @{$scores};
    my ($max) = sort { $b <=> $a } @rates, 2 * 10_000 * $limit->{false};
    my $at    = sub { my ($v) = @_; return $x + 70 + 240 * $v / $max };
    my $h     = 22 * @{$scores};
    my $svg   = title($x, $y, 'False alerts in 10,000 scans') . axis($at, $y, $h, '%.1f', 0, $max / 2, $max) . limit($at->(10_000 * $limit->{false}), $y, $h);
    my $top   = $y + 40;

    for my $i (0 .. $#rates) {
        $svg .= text($x, $top + 13, "seed $scores->[$i]{seed}") . bar($at->(0), $top, $at->($rates[$i]) - $at->(0), $colour{bar})
            . text($at->($rates[$i]) + 4, $top + 13, scalar @{$scores->[$i]{false}});
        $top += 22;
    }

    return $svg;
}


# how it ended, in shares
sub noise {
    my ($x, $y, $rows) = @_;

    my $svg = title($x, $y, 'How innocent trouble ended');
    my $key = $x + 200;

    for my $how (['quiet', 'no case'], ['proposed', 'proposed closure'], ['one', 'one case'], ['more', 'more cases']) {
        $svg .= bar($key, $y - 11, 12, $colour{$how->[0]}) . text($key + 18, $y, $how->[1]);
        $key += 140;
    }

    my $top = $y + 20;

    for my $row (@{$rows}) {
        my $left = $x + 130;
        $svg .= text($x, $top + 13, $row->{kind});

        for my $how (qw(quiet proposed one more)) {
            my $width = 800 * $row->{$how} / $row->{n};
            $svg .= bar($left, $top, $width, $colour{$how}) if $width;
            $left += $width;
        }

        $svg .= text($left + 6, $top + 13, $row->{n});
        $top += 22;
    }

    return $svg;
}


# --- pieces

sub title {
    my ($x, $y, $title, $small) = @_;

    return qq(<text x="$x" y="$y" font-size="15">$title</text>\n) . ($small ? text($x + 150, $y, "($small)") : '');
}


sub text {
    my ($x, $y, $text) = @_;

    return sprintf qq(<text x="%.1f" y="%.1f">%s</text>\n), $x, $y, $text;
}


sub bar {
    my ($x, $y, $width, $colour) = @_;

    return sprintf qq(<rect x="%.1f" y="%.1f" width="%.1f" height="16" fill="%s"/>\n), $x, $y, $width, $colour;
}


sub axis {
    my ($at, $y, $height, $format, @values) = @_;

    return join '', map {
        sprintf(qq(<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="$colour{grid}"/>\n), $at->($_), $y + 34, $at->($_), $y + 40 + $height)
            . text($at->($_) - 10, $y + 28, sprintf $format, $_)
    } @values;
}


sub limit {
    my ($x, $y, $height) = @_;

    return sprintf qq(<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="$colour{limit}" stroke-width="2" stroke-dasharray="4 3"/>\n), $x, $y + 34, $x,
        $y + 40 + $height;
}

1;
