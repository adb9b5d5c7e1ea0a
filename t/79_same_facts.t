#!/usr/bin/perl

# The same facts lead to the same tables: in every syntax, in any order, in other
# batches, delivered twice, with several workers that are killed at any moment.
#
#   SV_TEST_ALL=1   many orders and stories
#   SV_TEST_SEED    of what is left to chance

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP qw(decode_json);
use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(sleep time);

use Test::SerialVerify;
use Test::SerialVerify::Answer;
use Test::SerialVerify::Facts;
use Test::SerialVerify::Feed;

my ($gtin, $other, $case) = (9506000134352, 9506000134369, 19506000134359);

my $seed  = $ENV{SV_TEST_SEED} // time % 1_000_000;
my $all   = $ENV{SV_TEST_ALL};
my $sv    = Test::SerialVerify->new;
my $feed  = Test::SerialVerify::Feed->new(gtin => $gtin);
my $inbox = $sv->directory('inbox');
my $json  = JSON::PP->new->canonical;

srand $seed;
diag("SV_TEST_SEED=$seed");

$sv->start_postgres;
$sv->product($_) for $gtin, $other;

my $facts = Test::SerialVerify::Facts->new($sv, gtin => $gtin);
my @sscc  = map { Test::SerialVerify::Feed::sscc($_) } 0 .. 9;

# every sign a serial may have that is neither letter nor digit
my $signs = q{!"%&'()*+,-./:;<=>?_};


sub wait_for(&;$$) { goto &Test::SerialVerify::wait_for }    ## no critic (ProhibitSubroutinePrototypes)

sub one_of { return $_[int rand @_] }
sub start_ingest { return $sv->start_worker(roles => 'ingest', redis => undef, log_level => 'notice', @_) }


# --- delivering

my $number = 0;

sub delivered { return !grep { -f } glob "$inbox/*" }

# files given at once, until the last is filed
sub deliver {
    my (@contents) = @_;

    my @names = map { sprintf 'f%05d', ++$number } @contents;

    $sv->deliver($names[$_], $contents[$_]) for 0 .. $#contents;
    wait_for { delivered() && $sv->sql('select bool_and(filed) from sv.load') } 'all files', 300;

    return @names;
}

sub report {
    my ($name) = @_;

    my ($file) = glob "$inbox/{done,rejected}/$name.report.json";
    return decode_json(Test::SerialVerify::slurp($file));
}

# what is not loaded whole, of all files until now
sub faults {
    my @rows = @{$sv->dbh->selectall_arrayref(q{select l.file, l.state, e.line, e.element, e.value, e.reason
        from sv.load l left join sv.load_error e on e.load_id = l.load_id and not e.skipped
        where l.state <> 'loaded'})};

    return map { join ' ', map { $_ // '-' } @{$_} } @rows;
}

sub tables {
    my $tables = $facts->tables;

    $tables->{told} = [sort map { $json->encode($_) } @{$sv->dbh->selectall_arrayref(q{
        select encode(identity, 'hex') as identity, offset_min, (error - 'load_id' - 'event' - 'line' - 'at')::text as error, detail::text from sv.event},
        {Slice => {}})}];

    return $tables;
}

# by table, what only one of both has
sub difference {
    my ($got, $expected) = @_;

    my @lines;

    for my $name (sort keys %{$expected}) {
        my %n;
        $n{$_}++ for @{$got->{$name}};
        $n{$_}-- for @{$expected->{$name}};
        push @lines, map { "$name: " . ($n{$_} > 0 ? 'too much' : 'missing') . ": $_" } grep { $n{$_} } sort keys %n;
    }

    return @lines;
}

sub same_tables {
    my ($expected, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my @lines = difference(tables(), $expected);
    return 1 if ok(!@lines, $name);

    diag(join "\n", @lines > 40 ? (@lines[0 .. 39], '...') : @lines);

    return 0;
}

# these events in files of a few, each file in a syntax of its own
sub batches {
    my ($n, @events) = @_;

    my @batches;
    push @{$batches[rand $n]}, $_ for @events;

    return map { $feed->document(one_of($feed->syntaxes), @{$_}) } grep { defined } @batches;
}


# --- what happened

sub day { my ($time, $day) = @_; return sprintf '2026-11-%02dT%s:00Z', $day // 1, $time }

sub story {
    my $wrong   = {lot => 'WRONG', expiry => '2029-01-31', items => ['E1', 'E2', 'E3'], id => 'urn:uuid:e1', time => day('08:05')};
    my $packed  = {step => 'packing', items => ['A7'], parent => $sscc[3], id => 'urn:uuid:p1', time => day('09:30')};
    my $destroy = {step => 'destroying', items => ['A8', "$other/B5"], id => 'urn:uuid:d1', time => day('15:00')};
    my $made    = {items => ['F1', 'F2'], lot => 'F', expiry => '2030-06-30', id => 'http://example.com/event?id=1&a=<b>', time => day('08:06')};

    return (
        {items => [map({ "A$_" } 1 .. 9), $signs], lot => 'L/1%&', expiry => '2030-12-31', time => day('08:00'), offset => '+01:00',
            disposition => 'active', read_point => [Test::SerialVerify::Feed::gln(1), '7'], biz_location => [Test::SerialVerify::Feed::gln(2)],
            more => {line => 'Linie 7', shift => 'night & day'}, market => 'IT'},
        {items => [map { "$other/B$_" } 1 .. 9], lot => 'L2', expiry => '2031-02-28', time => day('08:01'), id => 'urn:uuid:b'},
        {items => ['C1', "$other/C1"], lot => 'both', expiry => '2031-01-15', time => day('08:02')},
        {items => [@sscc[0 .. 4], "$case/K1"], time => day('08:03'), disposition => 'active'},

        # sent again in other batches
        {items => [map { "$other/B$_" } 3, 4], lot => 'L2', expiry => '2031-02-28', time => day('08:01')},
        {items => [map { "$other/B$_" } 4, 5, 6], lot => 'L2', expiry => '2031-02-28', time => day('08:30'), id => 'urn:uuid:b2'},

        {step => 'packing', items => ['A1', 'A2', $signs], parent => $sscc[0], time => day('09:00')},
        {step => 'packing', items => ['A3', "$other/B1"], parent => "$case/K1", time => day('09:01'), offset => '-05:30'},
        {step => 'packing', items => [$sscc[0], "$case/K1"], parent => $sscc[1], time => day('10:00')},
        {step => 'unpacking', items => ['A1'], parent => $sscc[0], time => day('11:00')},
        {step => 'packing', items => ['A1', 'A4'], parent => $sscc[2], time => day('12:00')},
        {step => 'packing', items => ["$other/B2", "$other/B3"], parent => $sscc[4], time => day('09:00')},
        {step => 'unpacking', parent => $sscc[4], time => day('09:40')},

        {step => 'shipping', items => [$sscc[1]], time => day('13:00'), disposition => 'in_transit', to => [[location => Test::SerialVerify::Feed::gln(9)]],
            orders => [[po => 'urn:example:po:1'], [desadv => 'urn:epcglobal:cbv:bt:9506000140001:77']], quantities => [[$gtin, 'L/1%&', 10.5, 'KGM']]},
        {step => 'receiving', items => [$sscc[1]], time => day('14:00', 2), disposition => 'in_progress',
            sensors => [{time => day('13:30'), device => 'urn:example:sensor:1', reports => [{type => 'Temperature', value => 5.5, uom => 'CEL'},
                {type => 'RelativeHumidity', value => 40, uom => 'A93'}]}]},
        {step => 'void_shipping', items => [$sscc[2]], time => day('14:30')},
        {step => 'https://example.com/step/weighing', items => ['A9'], time => day('09:10')},
        {step => undef, kind => 'transaction', action => 'add', items => [$sscc[1]], orders => [[inv => 'urn:example:invoice:9']], time => day('13:10')},

        # rejected on the line: also what was never commissioned
        {step => 'decommissioning', items => ['A5', 'X1', "$other/X2"], time => day('08:45'), disposition => 'inactive'},
        {step => 'decommissioning', action => 'observe', items => ['A6'], time => day('07:00')},
        {step => 'sampling', items => ["$other/B7"], time => day('16:00')},
        {step => 'sampling', items => ["$other/B8"], time => day('16:00')},
        {step => 'dispensing', items => ["$other/B8"], time => day('17:00', 2), disposition => 'dispensed'},
        {step => 'destroying', items => [$sscc[2]], time => day('18:00'), disposition => 'destroyed'},

        # errors, and what is right instead
        $wrong, {%{$wrong}, error => {reason => 'incorrect_data', corrective => ['urn:uuid:e2', 'urn:uuid:e3']}},
        {items => ['E1'], lot => 'RIGHT', expiry => '2030-09-30', id => 'urn:uuid:e2', time => day('08:05')},
        {items => ['E2'], lot => 'RIGHT', expiry => '2030-09-30', id => 'urn:uuid:e3', time => day('08:05')},
        $packed, {%{$packed}, error => {}},
        $destroy, {%{$destroy}, error => {}},
        $made, {%{$made}, error => {reason => 'incorrect_data', time => '2026-11-03T10:00:00Z'}},
    );
}

my %state = (
    A1 => 'destroyed', A2 => 'active', A3 => 'active', A4 => 'destroyed', A5 => 'destroyed', A6 => 'destroyed', A7 => 'active', A8 => 'active',
    A9 => 'active', $signs => 'active', C1 => 'active', E1 => 'active', E2 => 'active', E3 => 'none', F1 => 'none', F2 => 'none', X1 => 'none',
    "$other/X2" => 'none', "$other/B2" => 'active', "$other/B5" => 'active', "$other/B7" => 'sample', "$other/B8" => 'supplied', "$other/C1" => 'active',
);

sub state_of {
    my ($name) = @_;

    my $state = $sv->sql('select state from sv.pack where gtin = ? and serial = ?', $facts->item($name)) // 'none';
    return $state eq 'void' ? 'none' : $state;
}

my @story = story();
my $story;

subtest 'the story' => sub {
    start_ingest();
    deliver($feed->document('json', @story));

    is_deeply([faults()], [], 'all of it is loaded');
    is_deeply({map { $_ => state_of($_) } keys %state}, \%state, 'what became of the packs');
    is($sv->sql('select string_agg(serial, chr(10) order by serial collate "C") from sv.contents(0, ?, ?)', $sscc[1], 'infinity'),
        join("\n", sort 'A2', 'A3', 'B1', $sscc[0], 'K1', $signs), 'what is on the pallet');
    is($sv->sql('select lot from sv.pack where serial = ? and gtin = ?', 'E1', $gtin), 'RIGHT', 'corrected');
    is($sv->sql(q{select count(*) from sv.finding where not jsonb_exists(detail, 'explained')}), 0, 'nothing to find');
    is($sv->sql('select count(*) from sv.quarantine'), 0, 'nothing in quarantine');

    $story = tables();
    cmp_ok(scalar @{$story->{events}}, '==', 30, 'each event once');
};

subtest 'the same in every syntax' => sub {
    for my $syntax ($feed->syntaxes) {
        $facts->forget;
        deliver($feed->document($syntax, @story));
        same_tables($story, $syntax) or diag(join "\n", faults());

        # in other words, with another name: nothing is new
        deliver($feed->document($syntax, @story));
        same_tables($story, "$syntax, again") or last;
    }
};

subtest 'packs and lots in CSV, too' => sub {
    my @made = map { {%{$_}, market => undef, read_point => undef} } grep { defined $_->{lot} && !$_->{error} && $_->{lot} !~ /^(?:WRONG|F)$/ } @story;

    $facts->forget;
    deliver($feed->document('csv', @made));
    my $csv = tables();
    cmp_ok(scalar @{$csv->{packs}}, '==', 23, 'packs');

    for my $syntax (qw(xml1 xml2 json csv)) {
        $facts->forget if rand() < 0.5;
        deliver($feed->document($syntax, @made));
        is_deeply([map { tables()->{$_} } qw(packs lots findings)], [map { $csv->{$_} } qw(packs lots findings)], "those of $syntax") or last;
    }

    # beside the events that tell of the same packs
    for (1 .. ($all ? 20 : 3)) {
        $facts->forget;
        my ($a, @b) = shuffle($feed->document('csv', @made), $feed->document('csv', shuffle @made), batches(3, shuffle @story));
        deliver($a);
        deliver(@b);
        my @lines = grep { /^(?:packs|lots|ends|contents|findings|events|parked)/ } difference(tables(), $story);
        is_deeply(\@lines, [], 'CSV beside events') or last;
    }
};

subtest 'any order, other batches' => sub {
    for (1 .. ($all ? 200 : 12)) {
        $facts->forget;
        deliver($_) for shuffle(batches(int 1 + rand 12, shuffle @story));
        same_tables($story, 'any order') or last;
    }
};

# Facts of a few items, so that they meet: none contradicts another, but for those that are declared errors.
sub random_story {
    my @items = map { one_of("S$_", "$other/S$_") } 1 .. 10;
    my %lot   = (M1 => '2030-12-31', M2 => '2031-02-28', M3 => '2031-06-15');
    my %of    = map { $_ => one_of(sort keys %lot) } @items;
    my ($n, $minute, @events) = (0, 0);

    my $some   = sub { my ($most, @from) = @_; @from = shuffle(@from); return [splice @from, 0, 1 + int rand $most] };
    my $error  = sub { my ($e) = @_; $e->{id} = 'urn:uuid:r' . ++$n; return {%{$e}, error => {reason => one_of('did_not_occur', 'incorrect_data')}} };
    my $moment = sub { $minute++; return sprintf '2026-11-01T%02d:%02d:00Z', 6 + int($minute / 60), $minute % 60 };

    for my $lot (sort keys %lot) {
        my @left = grep { $of{$_} eq $lot } @items;

        for (1 .. 3) {
            push @events, {items => $some->(4, @left), lot => $lot, expiry => $lot{$lot}, time => $moment->(), rand() < 0.5 ? (id => 'urn:uuid:r' . ++$n) : ()} if @left;
        }
    }

    # wrong ones: another lot, another expiry of the same lot, or right but for the declaration
    for (1 .. 3) {
        my $lot = one_of(sort(keys %lot), 'W1', 'W2');
        my $e = {items => $some->(5, @items), lot => $lot, expiry => one_of('2029-01-31', $lot{$lot} // '2029-02-28'), time => $moment->()};
        push @events, $e, $error->($e);
    }

    push @events, {items => $some->(3, @sscc[0 .. 4]), time => $moment->()} for 1 .. 2;

    # a container is in one of a higher number only
    for (1 .. 8) {
        my $parent = int rand 5;
        my @child  = (@items, $parent ? @sscc[0 .. $parent - 1] : ());
        my $e = one_of(
            {step => 'packing', items => $some->(4, @child), parent => $sscc[$parent]}, {step => 'packing', items => $some->(4, @child), parent => $sscc[$parent]},
            {step => 'unpacking', items => $some->(4, @child), parent => $sscc[$parent]}, {step => 'unpacking', parent => $sscc[$parent]},
            {step => 'packing', action => 'delete', items => $some->(2, @child), parent => $sscc[$parent]});
        $e->{time} = $moment->();
        push @events, $e, rand() < 0.25 ? $error->($e) : ();
    }

    for (1 .. 6) {
        my $step = one_of(qw(decommissioning destroying destroying sampling dispensing shipping));
        my $e = {step => $step, items => $some->(2, @items, @sscc[0 .. 4]), time => $moment->()};
        push @events, $e, rand() < 0.3 ? $error->($e) : ();
    }

    # times say another order than the list
    my @times = shuffle(map { $_->{time} } grep { !$_->{error} } @events);
    my %new;
    $_->{time} = $new{$_->{time}} //= shift @times for @events;

    return @events;
}

subtest 'stories by chance' => sub {
    for my $n (1 .. ($all ? 300 : 8)) {
        my @events = random_story();
        my $expected;

        for my $order (0 .. 3) {
            $facts->forget;
            deliver($order == 0 ? $feed->document('json', @events) : batches(int 1 + rand 8, shuffle @events));
            last if $order > 0 && !same_tables($expected, "story $n, order $order");
            $expected //= tables();
        }

        is_deeply([faults()], [], "story $n") or last;
        last if !Test::More->builder->is_passing;
    }

};

sub waiting { return $sv->sql(q{select count(*) from pg_stat_activity where usename = 'sv_worker' and wait_event_type = 'Lock'}) }

# Two workers with two processes each, of which some are killed now and then.
sub killed_meanwhile {
    my (@contents) = @_;

    my @worker = map { "race$_" } 1 .. 2;
    my $kills  = 0;

    start_ingest(name => $_, file => "$_.conf", ingest_processes => 2) for @worker;

    my @names = map { sprintf 'f%05d', ++$number } @contents;
    $sv->deliver($names[$_], $contents[$_]) for 0 .. $#contents;

    my $end  = time + 600;
    my $hold = $sv->new_dbh;

    # on a busy machine nothing would ever be done if they were killed as often as they are started
    my $calm = time + 100;

    while (!delivered()) {
        die 'not loaded' if time > $end;

        # whoever is about to write to this table waits, and is likely to be killed there
        $hold->begin_work;
        $hold->do('lock table sv.' . one_of(qw(event event_epc item_end pack load_lot commission parked container lot load feed_gtin audit)) . ' in share mode');
        my $wait = time + rand 0.2;
        sleep 0.01 while time < $wait && !waiting();

        my $name = one_of(@worker);
        my @pids = $sv->server($name)->children;

        # one that ends again and again is started later and later
        if (time > $calm) {
            sleep 0.1;
        } elsif (rand() < 0.4) {
            $sv->kill9($name);
            $kills++;
            $hold->rollback if rand() < 0.5;
            start_ingest(name => $name, file => "$name.conf", ingest_processes => 2);
        } elsif (@pids && rand() < 0.4) {
            $kills += kill 'KILL', one_of(@pids);
        }

        $hold->rollback if !$hold->{AutoCommit};
    }

    $hold->disconnect;
    $sv->kill9($_) for @worker;
    wait_for { $sv->sql(q{select count(*) from pg_stat_activity where usename = 'sv_worker'}) == 0 } 'their sessions to end', 180;

    return $kills;
}

subtest 'workers race and are killed' => sub {
    $sv->stop('worker');

    for my $n (1 .. ($all ? 40 : 2)) {
        my @events = $n % 2 ? @story : random_story();
        my $expected = $story;

        $facts->forget;

        if (!($n % 2)) {
            start_ingest();
            deliver($feed->document('json', @events));
            $expected = tables();
            $sv->stop('worker');
            $facts->forget;
        }

        # all of it twice: in other words, and some files as they are, too
        my @files = (batches(40, shuffle @events), batches(20, shuffle @events));
        push @files, @files[0 .. 3];

        my $kills = killed_meanwhile(shuffle @files);
        diag("killed $kills times");
        is_deeply([faults()], [], 'all of it is loaded');
        same_tables($expected, 'the same') or last;
    }

    start_ingest();
};

subtest 'killed before it is noted that the file is put aside' => sub {
    my $new   = 9506000134376;
    my @files = map { $feed->document('xml2', @{$_}) } [{items => ['A1'], lot => 'L', expiry => '2030-12-31'}],
        [{items => ['A2'], lot => 'L', expiry => '2030-12-31'}, {items => ["$new/A3"], lot => 'L', expiry => '2030-12-31'}];

    $facts->forget;
    my @names = deliver(@files);
    is(join(' ', map { report($_)->{state} } @names), 'loaded partial', 'a product is not known');

    $sv->sql('update sv.load set filed = false');
    $sv->product($new);
    @names = deliver(@files);
    is(join(' ', map { report($_)->{state} } @names), 'loaded loaded', 'delivered again');
    is($sv->sql('select string_agg(serial, $$ $$ order by serial) from sv.pack'), 'A1 A2 A3', 'nothing is missing');
    $sv->sql('update sv.product set deleted = true where gtin = ?', $new);
};

# --- what contradicts

# the line on which the n-th event of a document begins; of CSV, its n-th pack
sub line_of { my ($syntax, $n) = @_; return $n + ($syntax =~ /^xml/ ? 2 : $syntax eq 'csv' ? 1 : 0) }

subtest 'of what contradicts the first stands' => sub {
    my @kinds = $all ? map({ my $first = $_; map { [$first, $_] } $feed->syntaxes, 'csv' } $feed->syntaxes, 'csv')
        : (map { [shuffle($_, one_of($feed->syntaxes))] } qw(csv json xml1 xml2));

    for my $kinds (@kinds, ['csv', 'csv']) {
        my %told = (
            first => {syntax => $kinds->[0], lot => 'X', expiry => '2030-12-31', serial => ['A0'], event => 2},
            other => {syntax => $kinds->[1], lot => one_of('X', 'Y'), expiry => '2030-06-15', serial => ['A8', 'A9'], event => 3},
        );

        $facts->forget;

        for my $side (qw(first other)) {
            my $t = $told{$side};
            my @before = map { {items => [$_], lot => "Z$side", expiry => '2031-01-31', time => day('07:00')} } @{$t->{serial}};

            $t->{bytes} = $feed->document($t->{syntax}, @before, {items => ['A1'], lot => $t->{lot}, expiry => $t->{expiry}, time => day('08:00')});
            ($t->{file}) = deliver($t->{bytes});
            $t->{line} = line_of($t->{syntax}, $t->{event});
        }

        my $name = "$told{first}{syntax}, $told{other}{syntax}";
        is(join(' ', $sv->sql('select state, lot, expiry from sv.pack where serial = ?', 'A1')), 'active X 2030-12-31', "$name: the first stands");
        is(join(' ', $sv->sql('select lot, expiry from sv.commission where serial = ?', 'A1')), "$told{other}{lot} 2030-06-15", 'the other is kept beside it');

        my @found = map { decode_json($_) } @{$sv->dbh->selectcol_arrayref(q{select detail from sv.finding where rule = 'duplicate_commissioning'})};
        is(scalar @found, 1, 'one finding');

        for my $side (qw(first other)) {
            my $t = $told{$side};
            my $expected = join ' ', @{$t}{qw(file lot expiry line)}, $t->{syntax} eq 'csv' ? '-' : $t->{event};
            is(join(' ', map { $found[0]{$side}{$_} // '-' } qw(file lot expiry line event)), $expected, "names the $side");
        }

        # the same again, and in other words and batches
        my $n = $sv->sql('select count(*) from sv.finding');
        deliver(shuffle($told{first}{bytes}, $told{other}{bytes}));
        deliver($feed->document($told{other}{syntax}, {items => ['A1'], lot => $told{other}{lot}, expiry => '2030-06-15', time => day('08:00')}));
        deliver($feed->document(one_of($feed->syntaxes), {items => ['A1', 'A8'], lot => $told{other}{lot}, expiry => '2030-06-15', time => day('09:00')})) if $told{other}{lot} eq 'X';
        is($sv->sql('select lot from sv.pack where serial = ?', 'A1'), 'X', 'it still does');
        is($sv->sql(q{select count(*) from sv.finding where rule = 'duplicate_commissioning' and serial = 'A1'}), 1, 'nothing new to find');
        is(report(sprintf 'f%05d', $number)->{contradictions} > 0 ? 1 : 0, $told{other}{syntax} eq 'csv' || $told{other}{lot} eq 'X' ? 1 : 0, 'but the report says so');
        last if !Test::More->builder->is_passing;
    }
};

subtest 'what contradicts only when another is taken back' => sub {
    my $wrong = {items => ['A1'], lot => 'W', expiry => '2030-01-31', time => day('08:00'), id => 'urn:uuid:w'};
    my $error = {%{$wrong}, error => {reason => 'incorrect_data'}};
    my @right = map { {items => ['A1'], lot => $_, expiry => '2031-01-31', time => day('09:00')} } qw(X Y);
    my $expected;

    for my $order ([$error, @right, $wrong], [$wrong, @right, $error], [$right[0], $wrong, $error, $right[1]], [$right[0], $wrong, $right[1], $error],
        [$wrong, $right[0], $error, $right[1]])
    {
        $facts->forget;
        deliver($feed->document(one_of($feed->syntaxes), $_)) for @{$order};
        is(join(' ', $sv->sql('select lot, state from sv.pack')), 'X active', 'the one recorded first of what is left');
        my @open = map { decode_json($_) } @{$sv->dbh->selectcol_arrayref(
            q{select detail from sv.finding where rule = 'duplicate_commissioning' and not jsonb_exists(detail, 'explained')})};
        is(join(', ', map { "$_->{first}{lot} $_->{other}{lot}" } @open), 'X Y', 'and the other is told');
        $expected //= tables();
        same_tables($expected, 'the same') or last;
    }
};

subtest 'in two containers at the same time' => sub {
    for my $order ([0, 1], [1, 0]) {
        my @told = map { {step => 'packing', items => ['A1', 'A2'], parent => $sscc[$_], time => day('09:00')} } @{$order};

        $facts->forget;
        my @file = map { deliver($feed->document('xml2', {step => 'shipping', items => [$sscc[9]]}, $_)) } @told;
        deliver($feed->document('json', reverse @told));

        is($sv->sql('select serial from sv.parents(?, ?, ?)', $gtin, 'A1', 'infinity'), $told[0]{parent}, 'the one recorded first');
        my @found = map { decode_json($_) } @{$sv->dbh->selectcol_arrayref(q{select detail from sv.finding where rule = 'aggregation_conflict'})};
        is(scalar @found, 1, 'one finding');
        is(join(' ', map { @{$found[0]{$_}}{qw(file event line parent_serial)} } qw(first other)),
            join(' ', map { ($file[$_], 2, 4, $told[$_]{parent}) } 0, 1), 'names both files, events and lines');
    }
};

# --- what the counter is told, with caches that hold what was right before

my $key;

sub verdict {
    my ($name, %option) = @_;

    my ($item_gtin, $serial) = $facts->item($name);
    my $answer = $sv->get($sv->link_to($item_gtin, $serial, lot => $option{lot} // 'GL', expiry => $option{expiry} // '301231'),
        key => $key, nginx => $option{nginx} // one_of('nginx', 'second'));

    return $answer->{json}{verified} ? 'genuine' : $answer->{json}{reason} // "status $answer->{status}";
}

sub verdicts { return join ' ', map { verdict($_) } @_ }

# every gateway says so, and keeps saying so
sub becomes {
    my ($expected, $name, $serials, %option) = @_;

    my $start = time;
    my $all   = sub { join ' ', map { my $nginx = $_; map { verdict($_, %option, nginx => $nginx) } @{$serials} } qw(nginx second) };
    my $want  = join ' ', ($expected) x (2 * @{$serials});
    my $wrong = $start;

    # to ask takes its time, too: when was something else still said
    wait_for { my $asked = time; my $right = $all->() eq $want; $wrong = $asked if !$right; $right } "$name: $expected";
    my $took = $wrong - $start;

    ok(!grep({ $all->() ne $want } 1 .. 10), $name);
    cmp_ok($took, '<', $sv->asan ? 8 : 2, sprintf '%s: after %.2f s', $name, $took) if !$option{slow};

    return;
}

# In a process of its own: asks all the time, until a file is there.  What it was answered, in order.
sub ask_meanwhile {
    my ($code, @names) = @_;

    my $stop = $sv->base . '/stop';
    my $file = $sv->base . '/answers';
    my $pid  = fork // die "fork: $!";

    if (!$pid) {
        open(my $fh, '>', $file) or POSIX::_exit(1);

        while (!-e $stop) {
            print {$fh} "$_ " . (eval { verdict($_) } // 'none') . "\n" for @names;
        }

        close $fh;
        POSIX::_exit(0);
    }

    $code->();
    $sv->write_file('stop', '');
    waitpid $pid, 0;
    unlink $stop;

    my %seen;
    push @{$seen{$_->[0]}}, $_->[1] for map { [split / /, $_, 2] } split /\n/, Test::SerialVerify::slurp($file);

    return \%seen;
}

# without what follows itself
sub turns { my ($last, @turns) = (''); for (@_) { push @turns, $_ if $_ ne $last; $last = $_ } return join ', ', @turns }

subtest 'caches that hold the old verdict' => sub {
    $sv->stop('worker');
    $facts->forget;
    $sv->start_redis;
    $sv->start_nginx;
    $sv->start_nginx(name => 'second', verify => {cache_ttl => '1h'});
    $key = $sv->pharmacy;
    $sv->start_worker(roles => 'ingest, relay');

    my @named  = map { "G$_" } 1 .. 12;
    my $made   = {items => \@named, lot => 'GL', expiry => '2030-12-31', time => day('08:00'), id => 'urn:uuid:g'};
    my $pallet = {step => 'destroying', items => [$sscc[1]], time => day('12:00'), id => 'urn:uuid:gd'};

    deliver($feed->document('xml1', {step => 'decommissioning', items => ['G11'], time => day('08:30')}));
    deliver($feed->document('json', $made,
        {step => 'packing', items => ['G1', 'G2'], parent => $sscc[0], time => day('09:00')},
        {step => 'packing', items => [$sscc[0], 'G3'], parent => $sscc[1], time => day('10:00')}));

    becomes('genuine', 'commissioned', [@named[0 .. 9, 11]], slow => 1);
    becomes('destroyed', 'rejected before it was commissioned', ['G11'], slow => 1);
    cmp_ok(scalar(grep { /:G\d+$/ } $sv->redis->keys('sv:*')), '>=', 12, 'cached');

    my $seen = ask_meanwhile(sub {
        deliver(batches(3, {step => 'decommissioning', items => ['G4'], time => day('11:00')}, {step => 'sampling', items => ['G5'], time => day('11:00')},
            {step => 'dispensing', items => ['G6'], time => day('11:00')}, $pallet));
        becomes('destroyed', 'a pallet and what was rejected', ['G1', 'G2', 'G3', 'G4']);
        becomes('sample', 'sampled', ['G5']);
        becomes('already_supplied', 'dispensed', ['G6']);
    }, 'G1', 'G4', 'G6');

    is_deeply({map { $_ => turns(@{$seen->{$_}}) } keys %{$seen}}, {G1 => 'genuine, destroyed', G4 => 'genuine, destroyed', G6 => 'genuine, already_supplied'},
        'whoever asks meanwhile is told the old, then the new, never the old again');

    $sv->redis->flushall;
    becomes('destroyed', 'without the caches', ['G1', 'G2', 'G3', 'G4', 'G11']);
    becomes('genuine', 'others are as they were', ['G7', 'G8']);

    # the relay dies with the change at hand
    wait_for { verdict('G10') eq 'genuine' && $sv->redis->keys('sv:*:G10') } 'it to be cached';
    $sv->kill9('worker');
    start_ingest();
    deliver($feed->document('xml2', {step => 'destroying', items => ['G10'], time => day('13:00')}));
    $sv->kill9('worker');
    is(verdict('G10'), 'genuine', 'without a relay the caches keep what they have');
    $sv->start_worker(roles => 'ingest, relay');
    becomes('destroyed', 'told by the next relay', ['G10']);

    deliver($feed->document('json_query', {%{$pallet}, error => {}}));
    becomes('genuine', 'the pallet was not destroyed', ['G1', 'G2', 'G3']);

    # taken back, and made anew with another lot
    my $error = {%{$made}, error => {reason => 'incorrect_data', corrective => ['urn:uuid:g2']}};
    my @right = ('G1', 'G4', 'G7');

    $seen = ask_meanwhile(sub {
        deliver($feed->document('xml1', $error));
        becomes('lot_unknown', 'its commissioning was an error', ['G1', 'G7', 'G8']);
    }, 'G7');
    is(turns(@{$seen->{G7}}), 'genuine, lot_unknown', 'never genuine again');
    becomes('lot_unknown', 'rejected ones, too', ['G4', 'G11']);

    deliver($feed->document('xml2', {items => \@right, lot => 'GR', expiry => '2031-06-30', time => day('08:00'), id => 'urn:uuid:g2'}));
    becomes('genuine', 'what is right instead', ['G1', 'G7'], lot => 'GR', expiry => '310630');
    becomes('destroyed', 'what was rejected stays rejected', ['G4'], lot => 'GR', expiry => '310630');
    becomes('lot_mismatch', 'not with the lot it had', ['G1', 'G7']);
    becomes('lot_unknown', 'what it does not name', ['G8']);

    $sv->stop($_) for qw(worker nginx second redis);
    start_ingest();
};

$sv->done_testing;
