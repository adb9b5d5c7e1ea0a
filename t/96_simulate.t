# The simulator: the same bytes for a seed, lines as replay reads them, answers as
# the gateway gives them, labels that fit; and how cases are scored.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/../tools/simulate.d";
use JSON::PP ();
use List::Util qw(min);
use Test::More;
use Time::Local qw(timegm);

use Simulate::Decide;
use Simulate::Fraud;
use Simulate::Noise;
use Simulate::Plot;
use Simulate::Random;
use Simulate::Score;

my $root = "$FindBin::Bin/..";
my $dir  = tempdir(CLEANUP => 1);
my $json = JSON::PP->new;


sub write_file {
    my ($name, $text) = @_;

    open(my $fh, '>', "$dir/$name") or die "$name: $!";
    print {$fh} $text;
    close $fh or die "$name: $!";

    return "$dir/$name";
}


sub slurp {
    my ($name) = @_;

    open(my $fh, '<', "$dir/$name") or die "$name: $!";
    local $/;

    return scalar <$fh>;
}


sub lines_of {
    my ($name) = @_;

    return map { $json->decode($_) } split /\n/, slurp($name);
}


# (exit code, output)
sub output_of {
    my (@command) = @_;

    my $pid = open(my $fh, '-|') // die "fork: $!";

    if ($pid == 0) {
        open(STDERR, '>&', \*STDOUT);
        exec @command or die "$command[0]: $!";
    }

    local $/;
    my $output = <$fh>;
    close $fh;

    return ($? >> 8, $output // '');
}


# every kind of trouble a few times, which so few scans of usual traffic do not have
my $often = write_file('params', join '', map { "$_ 15\n" } Simulate::Noise::kinds(), Simulate::Fraud::kinds());

sub simulate {
    my ($name, @option) = @_;

    my ($rc, $output) = output_of("$root/tools/simulate", '--scans', 20_000, '--params', $often,
        '--out', "$dir/$name.scans", '--labels', "$dir/$name.labels", @option);
    is("$rc $output", '0 ', "@option");

    return;
}


simulate('one', '--seed', 1);

my @lines  = lines_of('one.scans');
my @labels = lines_of('one.labels');
my @scans  = grep { !$_->{type} } @lines;


subtest 'a seed is a run' => sub {
    my $random = Simulate::Random->new(7, 'test');
    is(join(' ', map { $random->bits } 1 .. 4), '1941907001 1598559815 63100502 705118815', 'the first numbers, on any machine');
    is(Simulate::Random->new(7, 'other')->bits, 741587369, 'another stream');

    {
        local $ENV{PERL_HASH_SEED} = 4711;
        simulate('again', '--seed', 1);
    }

    ok(slurp('one.scans') eq slurp('again.scans'), 'the same traffic');
    ok(slurp('one.labels') eq slurp('again.labels'), 'the same labels');

    simulate('two', '--seed', 2, '--days', 12);
    ok(slurp('one.scans') ne slurp('two.scans'), 'another seed, other traffic');

    cmp_ok(abs(@scans - 20_000), '<', 200, scalar(@scans) . ' scans are about as many as asked for');
};


subtest 'options' => sub {
    my ($rc, $output) = output_of("$root/tools/simulate", '--help');
    is($rc, 0, '--help');
    like($output, qr{^Usage: tools/simulate }, 'usage');

    ($rc, $output) = output_of("$root/tools/simulate", '--days', 3);
    is($rc, 2, 'too few days');
    is($output, "simulate: --days: a number from 5 to 365 is needed, see --help\n", '.. is said, and nothing else');

    for my $wrong (['--scans', 0], ['more']) {
        ($rc, $output) = output_of("$root/tools/simulate", @{$wrong});
        is($rc, 2, "@{$wrong}");
        like($output, qr/^simulate: .*\Q$wrong->[0]\E.*, see --help\n\z/, '.. is named');
    }

    ($rc, $output) = output_of("$root/tools/simulate", '--scans', 10, '--out', '/nowhere/traffic');
    is($rc, 1, 'nowhere to write');
    like($output, qr{^simulate: /nowhere/traffic: No such file or directory$}, '.. is said');

    ($rc, $output) = output_of("$root/tools/simulate", '--params', write_file('wrong', "caps 3\nclones 5  # no such\n"));
    is($rc, 2, 'a parameter that is none');
    like($output, qr{wrong:2: there is no parameter "clones"}, 'is named with its place');

    ($rc, $output) = output_of("$root/tools/simulate", '--params', write_file('value', "caps many\n"));
    like($output, qr{value:1: "caps" needs a number}, 'a value that is none');
};


# --- lines

my $word     = join '|', qw(verify supply destroy export sample free_sample lock steal check_out undo);
my $actors   = join '|', qw(pharmacy hospital wholesaler parallel_distributor manufacturer authority consumer);
my $reasons  = join '|', map { /^SV_REASON\(\w+,\s+"(\w+)"/ ? $1 : () } do { open(my $fh, '<', "$root/src/model/sv_reason.def") or die $!; <$fh> };
my %expected = (
    time => qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/, gtin => qr/^\d{14}$/,
    serial => qr/^[!-~]{1,20}$/, lot => qr/^[!-~]{1,20}$/, expiry => qr/^\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])$/,
    operation => qr/^(?:$word)$/, of => qr/^(?:$word)$/, actor_kind => qr/^(?:$actors)$/, actor => qr/^\w+$/, session => qr/^[0-9a-f]{16}$/,
    country => qr/^[A-Z]{2}$/, lat => qr/^-?\d+(?:\.\d+)?$/, lon => qr/^-?\d+(?:\.\d+)?$/, accuracy_km => qr/^\d+$/,
    entry_mode => qr/^(?:scanned|manual)$/, outcome => qr/^(?:$reasons)$/,
    line => qr/^\w+$/, gln => qr/^\d{13}$/, kind => qr/^(?:$actors)$/, type => qr/^\w+$/,
);
my %fields = (
    scan       => [[qw(time gtin serial operation actor_kind outcome)], [qw(lot expiry of actor session country lat lon accuracy_km entry_mode)]],
    commission => [[qw(type time gtin lot expiry line serials)], ['markets']],
    location   => [[qw(type actor gln kind country lat lon)], []],
    recall     => [[qw(type time gtin lot)], []],
);


# what is wrong with a line
sub wrong_with {
    my ($line) = @_;

    my $fields = $fields{$line->{type} // 'scan'} or return "type $line->{type}";
    my ($must, $may) = @{$fields};
    my %known = map { $_ => 1 } @{$must}, @{$may};

    return grep({ !defined $line->{$_} } @{$must}),
        grep({ !$known{$_} || $expected{$_} && $line->{$_} !~ $expected{$_} } keys %{$line}),
        grep({ defined $line->{$_} && check_digit($line->{$_}) } qw(gtin gln)),
        grep({ !/$expected{country}/ } @{$line->{markets} || []}),
        grep({ !/$expected{serial}/ } @{$line->{serials} || []});
}


# not 0: wrong
sub check_digit {
    my ($sum, $weight) = (0, 1);

    for my $digit (reverse split //, $_[0]) {
        $sum += $digit * $weight;
        $weight = 4 - $weight;
    }

    return $sum % 10;
}


subtest 'every line is one that replay reads' => sub {
    my $n = 0;
    my @wrong = map { $n++; my @what = wrong_with($_); @what ? "$n: @what" : () } @lines;
    is_deeply([@wrong[0 .. min(4, $#wrong)]], [], scalar(@lines) . ' lines');

    my %type;
    $type{$_->{type} // 'scan'}++ for @lines;
    cmp_ok($type{$_} // 0, '>', 0, $_) for sort keys %fields;

    is(scalar(grep { ($_->{actor_kind} eq 'consumer') != (defined $_->{session} && !defined $_->{actor}) } @scans), 0, 'consumers have a session, others are somebody');
    is(scalar(grep { ($_->{operation} eq 'undo') != defined $_->{of} } @scans), 0, 'undo names what');
    cmp_ok(scalar(grep { ($_->{expiry} // '') =~ /00$/ } @scans), '>', 100, 'some expiries have day 00');
    cmp_ok(scalar(grep { ($_->{entry_mode} // '') eq 'manual' } @scans), '>', 100, 'some are typed');
};


# --- answers: the states of packs once more, from the lines alone

sub month_end {
    my ($expiry) = @_;

    return $expiry if $expiry !~ /^(\d\d)(\d\d)00$/;
    my (undef, undef, undef, $day) = gmtime timegm(0, 0, 0, 1, $2 % 12, 2000 + $1 + ($2 == 12)) - 86_400;

    return "$1$2$day";
}


sub seconds_of {
    my ($time) = @_;

    my ($year, $month, $day, $hour, $minute, $second, $sign, $h, $m) = $time =~ /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):([\d.]+)(?:Z|([+-])(\d\d):(\d\d))$/;
    my $seconds = timegm(0, $minute, $hour, $day, $month - 1, $year) + $second;

    return $sign ? $seconds - "${sign}1" * ($h * 3600 + $m * 60) : $seconds;
}


my %leads = (supply => 'supplied', destroy => 'destroyed', export => 'exported', sample => 'sample', free_sample => 'free_sample',
    steal => 'stolen', check_out => 'checked_out');
my (%pack, %lot, %product);

sub commissioned {
    my ($line) = @_;

    my $lot = $lot{"$line->{gtin} $line->{lot}"} ||= {lot => $line->{lot}};
    $lot->{expiry} = $line->{expiry};                                   # of the last record: a correction
    $product{$line->{gtin}} = 1;
    $pack{"$line->{gtin} $_"} ||= {lot => $lot} for @{$line->{serials}};     # the first record stands

    return;
}


sub answer {
    my ($scan) = @_;

    return 'product_unknown' if !$product{$scan->{gtin}};
    return 'elements_missing' if $scan->{operation} ne 'verify' && grep { !defined $scan->{$_} } qw(lot expiry);

    my $pack = $pack{"$scan->{gtin} $scan->{serial}"};
    return defined $scan->{lot} && !$lot{"$scan->{gtin} $scan->{lot}"} ? 'lot_unknown' : 'serial_unknown' if !$pack;

    my $lot  = $pack->{lot};
    my $when = seconds_of($scan->{time});
    my (undef, undef, undef, $day, $month, $year) = gmtime $when;

    return 'lot_mismatch' if defined $scan->{lot} && $scan->{lot} ne $lot->{lot};
    return 'expiry_mismatch' if defined $scan->{expiry} && month_end($scan->{expiry}) ne $lot->{expiry};
    return 'expired' if sprintf('%02d%02d%02d', $year - 100, $month + 1, $day) gt $lot->{expiry};
    return 'recalled' if $lot->{recalled};

    return answer_of_state($scan, $pack, $when);
}


sub answer_of_state {
    my ($scan, $pack, $when) = @_;

    my $operation = $scan->{operation};
    my $state     = $pack->{state} || 'active';
    my $here      = defined $scan->{actor} && ($pack->{by} // '') eq $scan->{actor};

    if ($operation eq 'undo') {
        return 'nothing_to_undo' if $state eq 'active';
        return 'undo_elsewhere' if !$here && $state !~ /^(?:destroyed|stolen)$/;
        return 'undo_too_late' if $state eq $leads{$scan->{of}} && $when > $pack->{since} + 864_000;
        %{$pack} = (lot => $pack->{lot});
        return 'ok';
    }

    if ($state eq 'active') {
        @{$pack}{qw(state by since again)} = ($leads{$operation}, $scan->{actor}, $when, 0) if $operation ne 'verify';
        return 'ok';
    }

    return $state if $state ne 'supplied';
    return 'already_supplied_here' if $here && ($operation eq 'verify' || $operation eq 'supply' && $pack->{again}++ < 3);
    return 'already_supplied';
}


subtest 'answers are those of the gateway' => sub {
    my ($n, @wrong) = (0);

    for my $line (@lines) {
        $n++;
        my $type = $line->{type} // 'scan';

        if    ($type eq 'commission') { commissioned($line) }
        elsif ($type eq 'recall')     { $lot{"$line->{gtin} $line->{lot}"}{recalled} = 1 }
        elsif ($type eq 'scan') {
            # a product is known before its first lot is
            $product{$line->{gtin}} ||= $line->{gtin} =~ /^0952/;
            my $answer = answer($line);
            push @wrong, "$n: $line->{outcome}, not $answer" if $answer ne $line->{outcome};
        }
    }

    is_deeply([@wrong[0 .. min(4, $#wrong)]], [], scalar(@scans) . ' scans');

    my %outcome;
    $outcome{$_->{outcome}}++ for @scans;
    cmp_ok($outcome{$_} // 0, '>', 0, $_) for qw(ok already_supplied_here already_supplied product_unknown lot_unknown serial_unknown lot_mismatch
        expiry_mismatch expired recalled destroyed exported stolen undo_too_late);
};


subtest 'in order of arrival' => sub {
    my ($latest, $back, $days) = (0, 0, 0);

    for my $scan (@scans) {
        my $at = seconds_of($scan->{time});
        $back++ if $at < $latest - 60;
        $days++ if $at < $latest - 86_400;
        $latest = $at if $at > $latest;
    }

    cmp_ok($back, '>', 0, "$back scans arrive late");
    cmp_ok($days, '>', 0, "$days of them by more than a day");
    cmp_ok($back, '<', @scans / 10, 'most do not');
};


# --- labels

subtest 'labels fit' => sub {
    my (%kind, @wrong);

    for my $label (@labels) {
        my $at = $label->{decidable_at};
        $kind{$label->{label}}{$label->{kind}}++;
        push @wrong, "$label->{incident}: lines" if !@{$label->{lines}} || grep { $_ < 1 || $_ > @lines } @{$label->{lines}};
        push @wrong, "$label->{incident}: $at is not one of them" if defined $at && !grep { $_ == $at } @{$label->{lines}};
    }

    is_deeply(\@wrong, [], scalar(@labels) . ' incidents');
    cmp_ok($kind{fraud}{$_} // 0, '>', 0, "$_ is there") for Simulate::Fraud::kinds();
    cmp_ok($kind{noise}{$_} // 0, '>', 0, "$_ is there") for Simulate::Noise::kinds(), qw(typo split_pack lost_response preview tourist expired);

    my @frauds = grep { $_->{label} eq 'fraud' } @labels;
    my @told   = grep { defined $_->{decidable_at} } @frauds;
    cmp_ok(@told / @frauds, '>', 0.9, 'most frauds can be told some time');

    # before a fraud can be told, one observation by one consumer is all there may be; at least one scan came before most
    for my $kind (qw(stolen destroyed)) {
        my %of = map { $_->{incident} => 1 } grep { $_->{kind} eq $kind } @told;
        my @at = map { $lines[$_->{decidable_at} - 1] } grep { $of{$_->{incident}} } @told;
        is(scalar(grep { $_->{outcome} ne $kind } @at), 0, "$kind: told by a scan that was answered so");
    }
};


# --- when a fraud can be told, on scans made by hand

my $line = 0;

sub consumer { my (%more) = @_; return {type => 'scan', line => ++$line, site => -1, operation => 'verify', outcome => 'ok', serial => 'a', country => 'DE', ms => 0, %more} }
sub pharmacy { my (%more) = @_; return consumer(site => 1, operation => 'supply', session => '', here => 0, %more) }

my %decide = (decide_misses => 3, decide_reads => 3, decide_sessions => 4, decide_switches => 2, decide_diversion => 4, decide_consumers => 3, decide_late_days => 7);

sub decided {
    my ($kind, $incident, @events) = @_;

    $line = 0;
    return Simulate::Decide::decidable_at({kind => $kind, %{$incident}, events => \@events}, \%decide);
}


subtest 'when a fraud can be told' => sub {
    is(decided('stolen', {}, consumer(outcome => 'stolen', session => 'x')), undef, 'stolen: not by one consumer');
    is(decided('stolen', {}, map { consumer(outcome => 'stolen', session => 'x', serial => $_) } 1 .. 5), undef, 'nor by the same again');
    is(decided('stolen', {}, map { consumer(outcome => 'stolen', session => "x$_", serial => $_) } 1 .. 5), 3, 'by three with three packs');
    is(decided('stolen', {}, consumer(outcome => 'stolen', session => 'x'), pharmacy(outcome => 'stolen')), 2, 'by a professional');

    is(decided('reuse', {}, pharmacy(), pharmacy(outcome => 'already_supplied', here => 1), pharmacy(outcome => 'already_supplied', operation => 'verify')), undef,
        're-used: not by a repeat, nor by a look');
    is(decided('reuse', {}, pharmacy(), pharmacy(outcome => 'already_supplied')), 2, 'when another site wants to supply it');

    is(decided('diversion', {country => 'FR'}, consumer(country => 'FR', session => 1), consumer(country => 'FR', session => 2)), undef, 'diverted: one pack, two looks');
    is(decided('diversion', {country => 'FR'}, map { pharmacy(country => 'FR', serial => int $_ / 2) } 0 .. 5), 3, 'two packs at counters');

    my @clone = map { consumer(session => $_, country => $_ % 2 ? 'DE' : 'EG', ms => 86_400_000 * $_) } 1 .. 6;
    is(decided('clone', {}, @clone), 4, 'cloned: here and there, over days');
    is(decided('clone', {}, map { consumer(session => $_, country => $_ > 3 ? 'DE' : 'EG', ms => 86_400_000 * $_) } 1 .. 6), undef, 'not by who moved once');

    is(decided('guess', {variant => 'client'}, map { consumer(session => 'x', serial => $_, outcome => 'serial_unknown') } 1 .. 5), 3, 'guessed: by so many tries');
    is(decided('guess', {variant => 'new'}, map { pharmacy(site => $_, serial => $_, outcome => 'serial_unknown', ms => 86_400_000 * 3 * $_) } 1 .. 5), 4,
        'invented: when no upload can be that late');
    is(decided('guess', {variant => 'repeated'}, map { pharmacy(site => $_, outcome => 'serial_unknown') } 1 .. 2), 2, 'or at two counters');

    is(decided('relabel', {}, map { pharmacy(serial => $_, outcome => 'expiry_mismatch') } 1, 1, 2), 3, 'relabelled: two packs');
    is(decided('recommission', {}, {type => 'commission', line => 1}), 1, 'commissioned again: the record');
};


# --- scores

sub case_of {
    my ($status, $at, @lines) = @_;

    return {case => 1, rule => 'some', status => $status, decided_at => $at, scans => \@lines};
}


subtest 'cases are scored' => sub {
    my @incidents = (
        {incident => 1, kind => 'clone', label => 'fraud', decidable_at => 10, lines => [5, 10, 15]},
        {incident => 2, kind => 'clone', label => 'fraud', decidable_at => 20, lines => [18, 20]},
        {incident => 3, kind => 'reuse', label => 'fraud', decidable_at => undef, lines => [30]},
        {incident => 4, kind => 'caps', label => 'noise', lines => [40, 41]},
        {incident => 5, kind => 'tourist', label => 'noise', lines => [50]},
    );
    my @cases = (
        case_of('new', 14, 4, 10), case_of('new', 16, 15), case_of('proposed_closure', 21, 18), case_of('new', 42, 40), case_of('new', 43, 41),
        case_of('new', 44, 50, 30), case_of('new', 60, 60), case_of('proposed_closure', 61, 50),
    );
    my $score = Simulate::Score::score(\@incidents, \@cases, 10_000);
    my ($clone) = grep { $_->{kind} eq 'clone' } Simulate::Score::by_fraud($score);
    my ($reuse) = grep { $_->{kind} eq 'reuse' } Simulate::Score::by_fraud($score);

    is($clone->{recall}, 0.5, 'a proposed closure finds nothing');
    is($clone->{cases}, 2, 'cases of what was found');
    is($clone->{delay}, 4, 'the first case counts');
    is("$reuse->{n} $reuse->{undecidable}", '0 1', 'what cannot be told is not missed');
    is_deeply([map { $_->{kind} } @{$score->{false}}], [qw(caps caps trade)], 'false: what touches no fraud');
    is(Simulate::Score::false_per_scan($score), 0.0003, 'a scan');
    is(Simulate::Score::loud($score), 1, 'a fault that ends as two cases');

    my ($tourist) = grep { $_->{kind} eq 'tourist' } Simulate::Score::by_noise($score);
    is("$tourist->{n} $tourist->{one}", '1 1', 'the case of a fraud is a case of the tourist in it, too');

    Simulate::Plot::write_file("$dir/plot.svg", [{%{$score}, seed => 1}], {recall => 0.99, false => 0.0001, cases => 1.5});
    my $svg = slurp('plot.svg');
    my @open = $svg =~ /<(?!\/)([a-z]+)(?:[^>]*[^>\/])?>/g;
    my @shut = $svg =~ /<\/([a-z]+)>/g;
    is(join(' ', sort @open), join(' ', sort @shut), 'a plot, all of whose elements end');
    like($svg, qr/>clone</, 'that names the frauds');
};

done_testing;
