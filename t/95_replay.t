#!/usr/bin/perl

# serial-verify-worker replay: what it reads, what it prints, what it says of
# lines that are broken; nothing but a file is needed, and the order of lines
# within an hour does not matter.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use List::Util qw(shuffle);
use Test::More;

use Test::SerialVerify;

my $sv   = Test::SerialVerify->new;
my $root = Test::SerialVerify::root();
my $json = JSON::PP->new->canonical;
my $gtin = '09506000134352';


# (code, standard output, standard error); input: what standard input holds
sub replay {
    my ($input, @arguments) = @_;

    my $in  = $sv->write_file('stdin', $input // '');
    my $out = $sv->base . '/out';
    my $err = $sv->base . '/err';
    my $pid = fork // die "fork: $!";

    if ($pid == 0) {
        my $env = $sv->sanitizer_env('replay');
        @ENV{keys %{$env}} = values %{$env};
        open(STDIN, '<', $in) && open(STDOUT, '>', $out) && open(STDERR, '>', $err) or POSIX::_exit(127);
        exec {$sv->program('serial-verify-worker')} 'serial-verify-worker', @arguments or POSIX::_exit(127);
    }

    waitpid $pid, 0;

    return ($? >> 8, Test::SerialVerify::slurp($out), Test::SerialVerify::slurp($err));
}


sub cases_of {
    my ($text) = @_;

    return map { $json->decode($_) } split /\n/, $text;
}


# the cases of lines: hashes, or text as it is
sub cases {
    my @lines = map { ref $_ ? $json->encode($_) : $_ } @_;

    my ($code, $out, $err) = replay(join('', map {"$_\n"} @lines), 'replay', '--scans', '-');
    is($code, 0, 'read without a complaint') or diag $err;

    return cases_of($out);
}


my $minute = 0;

sub scan {
    my (%member) = @_;

    $minute++;

    return {
        time => sprintf('2026-02-01T%02d:%02d:00Z', int($minute / 60), $minute % 60), gtin => $gtin, operation => 'verify',
        actor_kind => 'pharmacy', actor => 'P1', entry_mode => 'scanned', outcome => 'ok', %member,
    };
}


sub made {
    my (%member) = @_;

    return {
        type => 'commission', time => '2026-01-01T00:00:00Z', gtin => $gtin, lot => 'L1', expiry => '281231', line => 'A',
        serials => [qw(S1 S2 S3)], %member,
    };
}


# a clone: supplied here, and there
my @reused = (
    made(), scan(serial => 'S1', lot => 'L1', expiry => '281231', operation => 'supply'),
    scan(serial => 'S1', lot => 'L1', expiry => '281231', operation => 'supply', actor => 'P2', outcome => 'already_supplied'),
);

my $fake = scan(serial => 'FAKE', lot => 'L9', outcome => 'lot_unknown', actor => 'P9');


subtest 'a case' => sub {
    my ($code, $out, $err) = replay(join('', map { $json->encode($_) . "\n" } @reused), 'replay', '--scans', '-');

    is($code, 0, 'exit code');
    like($out, qr/\A\{"case":"[0-9a-f]{32}","rule":"supply_of_inactive","severity":"high","status":"new","gtin":"$gtin","lot":"L1",/, 'its beginning');
    like($out, qr/,"serials":\["S1"\],"actors":\["P1","P2"\],"scans":\[1,2,3\],"decided_at":3,"cause":"\w+"\}\n\z/, '.. and its end');

    like($err, qr/^2 scans, 1 facts$/m, 'what was read');
    like($err, qr/^rule +findings +new +proposed +info$/m, 'counts');
    like($err, qr/^supply_of_inactive +1 +1 +0 +0$/m, '.. of the rule');
    like($err, qr/^harvesting +0 +0 +0 +0$/m, '.. of a rule that says nothing');
    like($err, qr/^all +1 +1 +0 +0$/m, '.. of all');
    unlike($err, qr/\r/, 'no bar where there is no terminal');

    my ($case) = cases(map { scan(serial => 'a1', outcome => 'serial_unknown', gtin => '96385074', actor => $_) } qw(P1 P2));
    is($case->{gtin}, '00000096385074', 'a GTIN has 14 digits');
    is($case->{lot}, undef, 'a lot that is not known is null');
};


# one case of each kind, so that each member and each count is another one
subtest 'every member, and every count' => sub {
    my ($other, $third) = qw(09506000134369 09506000134376);
    my %abroad = (gtin => $other, country => 'BR');
    my @lines  = (
        made(lot => 'L1', markets => ['IT'], serials => [qw(S1 S2 S3 S4)]),
        made(lot => 'L2', markets => undef, expiry => '291231', line => 'B', time => '2026-01-03T00:00:00Z', serials => [qw(S1 T2)]),
        made(gtin => $other, lot => 'M1', markets => ['IT'], serials => [qw(U1 U2)]),
        made(gtin => $other, lot => 'N1', markets => ['IT'], serials => undef),
        scan(serial => 's2', lot => 'l1', outcome => 'lot_unknown'),                                                     # 5: caps lock
        scan(serial => 'U1', lot => 'M1', %abroad, actor_kind => 'consumer', actor => undef, session => 'c1'),
        scan(serial => 'U2', lot => 'M1', %abroad, actor => 'P8'),
        scan(serial => 'S3', lot => 'L1', operation => 'supply'),
        scan(serial => 'S3', lot => 'L1', operation => 'supply', actor => 'P2', outcome => 'already_supplied'),           # 9
        scan(serial => 'S3', lot => 'L1', operation => 'supply', actor => 'P3', outcome => 'already_supplied'),
        scan(serial => 'X1', lot => 'Z1', gtin => $third, actor_kind => 'consumer', actor => undef, session => 'c2', outcome => 'lot_unknown'),
        scan(serial => 'S4', lot => 'L1', operation => 'supply'),
        scan(serial => 'S4', lot => 'L1', operation => 'supply', actor => 'P2', outcome => 'already_supplied'),           # 13: the same two sites
        scan(serial => 'V1', lot => 'N1', %abroad, actor => 'P9'),
    );
    my ($code, $out, $err) = replay(join('', map { $json->encode($_) . "\n" } @lines), 'replay', '--info', '--scans', '-');
    my %cases = map { join(',', @{$_->{serials}}) => $_ } cases_of($out);
    my %ids   = map { delete $_->{case} => 1 } values %cases;
    my $case  = sub {
        my %one;
        @one{qw(rule severity status gtin lot actors scans decided_at cause)} = @_;
        return \%one;
    };

    is($code, 0, 'exit code');
    is(scalar keys %ids, 6, 'an id each');
    delete $_->{serials} for values %cases;

    my %expected = (
        'S1'    => $case->('duplicate_commissioning', 'high', 'new', $gtin, 'L1', [], [1, 2], 2, 'serial_reused'),
        's2'    => $case->('identifier_mismatch', 'low', 'proposed_closure', $gtin, 'l1', ['P1'], [5], 5, 'scanner_setting'),
        'U1,U2' => $case->('off_market', 'medium', 'new', $other, 'M1', [qw(P8 c1)], [3, 6, 7], 7, 'diversion'),
        'S3,S4' => $case->('supply_of_inactive', 'high', 'new', $gtin, 'L1', [qw(P1 P2 P3)], [1, 8, 9, 10, 12, 13], 9, 'reused_pack'),
        'X1'    => $case->('identifier_mismatch', 'info', 'proposed_closure', $third, 'Z1', ['c2'], [11], 11, 'unknown_lot'),
        'V1'    => $case->('off_market', 'medium', 'new', $other, 'N1', ['P9'], [4, 14], 14, 'diversion'),
    );
    is_deeply($cases{$_}, $expected{$_}, "the case of $_") or diag explain $cases{$_} for sort keys %expected;

    my %count = $err =~ /^(\w+) +(\d+ +\d+ +\d+ +\d+)$/mg;
    s/ +/ /g for values %count;
    is_deeply({map { $_ => $count{$_} } grep { $count{$_} !~ /^0 0 0 0$/ } keys %count},
        {duplicate_commissioning => '1 1 0 0', identifier_mismatch => '2 0 1 1', off_market => '2 2 0 0', supply_of_inactive => '2 1 0 0', all => '7 4 1 1'},
        'findings, new, proposed, info of each rule');
};


subtest 'what the manual says' => sub {
    my ($section) = Test::SerialVerify::slurp("$root/docs/worker.md") =~ /^## Trying the rules\n(.*?)(?=^## )/ms;
    my ($block)   = $section =~ /^((?:    .*\n|\n(?=    ))+)/m;
    my $dir       = $sv->directory('manual');

    $block =~ s/^    //mg;
    $sv->program('serial-verify-worker');
    my $env = $sv->sanitizer_env('replay');
    local @ENV{keys %{$env}} = values %{$env};
    local $ENV{PATH} = $sv->base . ":$ENV{PATH}";
    $sv->write_file('manual.sh', $block);

    my $base  = $sv->base;
    my @cases = cases_of(scalar qx(cd '$dir' && sh -e '$base/manual.sh' 2>'$base/err'));

    is($?, 0, 'it works as printed') or diag Test::SerialVerify::slurp("$base/err");
    is_deeply([map {"$_->{rule} $_->{status}"} @cases], ['identifier_mismatch proposed_closure', 'identifier_mismatch new'], 'and says what it promises');
    is_deeply([map { $_->{scans} } @cases], [[3], [1, 4]], 'of the lines it names, and how it was commissioned');
};


subtest 'nothing but a file' => sub {
    my $file = $sv->write_file('scans.jsonl', join '', map { $json->encode($_) . "\n" } @reused);

    for my $before ([], ['-c', '/nowhere/worker.conf'], ['-c', $file]) {
        my ($code, $out) = replay('', @{$before}, 'replay', '--scans', $file);
        is($code, 0, "@{$before}");
        is(scalar cases_of($out), 1, 'a case');
    }

    my %wrong = (
        '--scans /nowhere.jsonl'              => qr{^serial-verify-worker: /nowhere\.jsonl: No such file or directory$},
        '--scans ' . $sv->base                => qr/: is no file$/,
        "--scans $file --rules /nowhere"      => qr{^serial-verify-worker: /nowhere: No such file or directory$},
        "--scans $file --scans $file"         => qr/--scans is given twice/,
        '--scans'                             => qr/--scans needs a value/,
        "--scans $file --colour red"          => qr/replay has no option "--colour"/,
    );

    for my $arguments (sort keys %wrong) {
        my ($code, $out, $err) = replay('', 'replay', split / /, $arguments);
        is($code, 2, "$arguments: exit code");
        like($err, $wrong{$arguments}, "$arguments: said");
        is($out, '', "$arguments: no case");
    }

    # what is wrong with the arguments is said, not that there is no configuration
    for my $arguments ([], ['--info'], ['--rules', $file], ['--scan', $file]) {
        my ($code, $out, $err) = replay('', '-c', '/nowhere/worker.conf', 'replay', @{$arguments});
        is($code, 2, "replay @{$arguments}");
        like($err, qr/^serial-verify-worker: replay .*, see replay --help$/, '.. says what it needs');
    }

    my ($code, $out) = replay('', 'replay', '--scans', '-');
    is("$code$out", '0', 'nothing in, nothing out');
    ($code, $out) = replay('', 'replay', '--help');
    like($out, qr/^usage: .*replay --scans FILE \| --from TIME --to TIME \[--rules FILE\]/, '--help');
};


# each of these says the same as the plain lines, but for what is named
subtest 'liberal reading' => sub {
    my ($plain) = cases(@reused);
    my $line    = sub { return map { $json->encode($_) } @_ };
    my @text    = $line->(@reused);

    my %same = (
        'a GTIN as a number'          => [map { s/"gtin":"0(\d+)"/"gtin":$1/r } @text],
        'a GTIN of 13 digits'         => [map { s/"gtin":"0/"gtin":"/r } @text],
        'members nobody knows'        => [map { s/^\{/{"weather":{"serial":"X","a":[1,{"lot":"Y"}]},"serials2":["Z"],/r } @text],
        'null is absent'              => [map { s/^\{/{"session":null,"country":null,"lat":null,"lon":null,"of":null,"idempotency_key":null,/r } @text],
        'an offset'                   => [map { s/T00:(\d\d):00Z/T02:$1:00+02:00/r } @text],
        'another offset, small'       => [map { s/"2026-02-01T00:(\d\d):00Z"/"2026-01-31t18:$1:00.000-06:00"/r } @text],
        'blanks'                      => [map { s/([,:{])/ $1 /gr =~ s/(T\d\d) : (\d\d) : /$1:$2:/r } @text],
        'line ends of other systems'  => [map {"$_\r"} @text],
        'a byte order mark'           => ["\xef\xbb\xbf$text[0]", @text[1, 2]],
        'expiry as a number, day 00'  => [map { s/"expiry":"281231"/"expiry":281200/r } @text],
        'a scan may have a type'      => [$text[0], map { s/^\{/{"type":"scan",/r } @text[1, 2]],
        'escapes'                     => [map { s/"S1"/"\\u00531"/gr } @text],
    );

    for my $name (sort keys %same) {
        my @cases = cases(@{$same{$name}});
        is_deeply(\@cases, [$plain], $name) or diag explain $same{$name};
    }

    my ($case) = cases($text[0], '', $text[1], '   ', '{"type":"weather","time":"soon"}', $text[2]);
    is_deeply($case->{scans}, [1, 3, 6], 'empty lines and types that mean nothing are lines');

    # a lower-case country is one, a serial's case is not the same
    my @abroad = (made(markets => 'jp'), scan(serial => 'S1', lot => 'L1', country => 'it', session => 'x', actor => undef, actor_kind => 'consumer'));
    my ($code, $out) = replay(join('', map {"$_\n"} $line->(@abroad)), 'replay', '--scans', '-', '--info');
    is(scalar(grep { $_->{status} eq 'new' } cases_of($out)), 0, 'one consumer never asks');

    is(scalar cases($reused[0], scan(serial => 'S1', lot => 'L1', operation => 'supply'),
        scan(serial => 's1', lot => 'L1', operation => 'supply', actor => 'P2')), 0, 'S1 is not s1');
};


subtest 'what is unknown' => sub {
    is(scalar cases({}), 0, 'a scan of which nothing is known');
    is(scalar cases(scan(operation => 'juggle', outcome => 'splendid', actor_kind => 'circus', entry_mode => 'psychic', serial => 'S1')), 0, 'words nobody knows');
    is(scalar cases(made(serials => 100), made(lot => 'L2', serials => undef, markets => [], time => undef, line => undef)), 0, 'serials as a number, none');
    is(scalar cases({type => 'commission', gtin => $gtin}, {type => 'recall', gtin => $gtin}, {type => 'location', actor => 'P1'}), 0, 'facts of which hardly anything is known');

    my @strange = (scan(serial => 'S1'), scan(operation => 'juggle'), scan(outcome => 'splendid', actor_kind => 'circus'), scan(outcome => undef), scan(outcome => 'splendid'), {type => 'weather'});
    my ($rc, $cases, $said) = replay(join('', map { $json->encode($_) . "\n" } @strange), 'replay', '--scans', '-');
    is("$rc$cases", '0', 'words nobody knows are no error');
    is(join(', ', $said =~ /^(\d+ lines have a word for "\w+" that is not known, the first is \d+)$/mg), join(', ', map {"$_->[0] lines have a word for \"$_->[1]\" that is not known, the first is $_->[2]"}
        [1, 'operation', 2], [1, 'actor_kind', 3], [2, 'outcome', 3], [1, 'type', 6]), '.. and counted');

    my ($code, $out, $err) = replay(qq({"serial":"A","outcome":"serial_unknown","actor":"P"}\n{"gtin":"$gtin","serial":"A","actor":"P","outcome":"serial_unknown","lot":"L"}\n),
        'replay', '--scans', '-');
    is($code, 0, 'no time, no GTIN');
    like($err, qr/^1 scans without a gtin were not looked at$/m, 'told');
    like($err, qr/^2 without a time were taken for as late as what came before them$/m, 'told, too');
    is(scalar cases_of($out), 1, 'and looked at');
};


subtest 'a repeat of a request is no event' => sub {
    my %one = (serial => 'FAKE', lot => 'L1', expiry => '281231', operation => 'supply', outcome => 'serial_unknown', time => '2026-02-01T10:00:00Z');

    for my $member (qw(idempotency_key key)) {
        my ($case) = cases(made(), scan(%one, $member => 'k'), scan(%one, $member => 'k'), scan(%one, $member => 'l'), scan(%one, $member => 'k', actor => 'P2'));
        is_deeply($case->{scans}, [2, 4, 5], "$member: of the same actor, once");
    }
};


subtest 'hostile lines' => sub {
    my @broken = (
        'x', '{', '{"gtin":', '[]', '7', '"text"', '{}{}', "{\"gtin\":\"\0\"}", '{"time":"yesterday"}', '{"gtin":"1234"}', '{"gtin":-5}',
        '{"time":"2026-02-30T00:00:00Z"}', '{"time":"2026-02-01T25:00:00Z"}', '{"time":"2026-02-01T00:00:00"}', '{"type":"location"}',
        '[' x 5000, '{"a":' x 5000, "{\"serial\":\"\x01\"}", 'null',
    );

    my @good  = map { $json->encode($_) } @reused, $fake;
    my @lines = ($good[0], @broken, @good[1 .. 3]);
    my ($code, $out, $err) = replay(join('', map {"$_\n"} @lines), 'replay', '--scans', '-');
    my @cases = cases_of($out);

    is($code, 1, 'exit code');
    is(scalar @cases, 2, 'the cases are there');
    is_deeply($cases[0]{scans}, [1, 2 + @broken, 3 + @broken], 'with their lines');

    for my $n (2 .. 1 + @broken) {
        like($err, qr/^standard input:$n: [[:print:]]+$/m, 'told: ' . substr($broken[$n - 2], 0, 30) =~ s/[^[:print:]]/?/gr);
    }

    like($err, qr/^@{[scalar @broken]} lines could not be read$/m, 'counted');
    is($err =~ s/^(?:standard input:.*|\d+ scans, \d+ facts|\d+ lines could not be read|\w+(?: +\w+){4})\n//mgr, '', 'and nothing else is said');

    ($code, $out, $err) = replay("x\n" x 300 . $good[0] . "\n$good[3]", 'replay', '--scans', '-');
    is(() = $err =~ /^standard input:/mg, 100, 'a hundred are told one by one');
    is(scalar cases_of($out), 1, 'a last line without an end counts');

    # any bytes in what strangers present
    my $odd = qq({"gtin":"$gtin","serial":"\xff\xfe\\u0000\\n\\"\xc3\xa9\x7f","lot":"L1","actor":"\xc3\xa9<script>","outcome":"serial_unknown","time":"2026-02-01T10:00:00Z"});
    ($code, $out) = replay("$good[0]\n$odd\n", 'replay', '--scans', '-');
    my ($case) = cases_of($out);
    is($code, 0, 'read');
    is($case->{serials}[0], "\x{fffd}\x{fffd}\0\n\"\xc3\xa9\x7f", 'printed as JSON');
    is($case->{actors}[0], "\xc3\xa9<script>", 'what is UTF-8 stays');
    unlike($out, qr/[\x00-\x09\x0b-\x1f\x7f\xff]/, 'no control characters');

    # long lines
    my $long = 'S' x 100_000;
    ($code, $out) = replay(qq({"gtin":"$gtin","serial":"$long","lot":"$long","actor":"$long","session":"$long","outcome":"serial_unknown","time":"2026-02-01T10:00:00Z"}\n),
        'replay', '--scans', '-');
    is($code, 0, 'a long value');
};


subtest 'a commission record of 200,000 serials' => sub {
    my ($case) = cases(made(serials => [map { sprintf 'S%06d', $_ } 1 .. 200_000]),
        scan(serial => 'S199999', lot => 'L1', operation => 'supply'), scan(serial => 's199998', lot => 'L1', outcome => 'serial_unknown'));
    is("$case->{status} $case->{cause}", 'proposed_closure scanner_setting', 'all of them are known');
};


subtest '--rules' => sub {
    my $file = $sv->write_file('scans.jsonl', join '', map { $json->encode($_) . "\n" } @reused, $fake);
    my $with = sub {
        my $rules = $sv->write_file('my.rules', $_[0]);
        return replay('', 'replay', '--scans', $file, '--rules', $rules);
    };

    my ($code, $out) = $with->("# mine\n\n  supply_of_inactive.enabled   =  off  \n");
    is_deeply([map { $_->{rule} } cases_of($out)], ['identifier_mismatch'], 'a rule that is off');
    ($code, $out) = $with->('');
    is(scalar cases_of($out), 2, 'an empty file changes nothing');

    my %wrong = (
        "\nharvesting.misses = 0\n"                                => qr{/my\.rules:2: harvesting\.misses: 0 is out of range, },
        "harvesting.misses = many\n"                               => qr{/my\.rules:1: harvesting\.misses: "many" is no number, },
        "harvesting.misses\n"                                      => qr{/my\.rules:1: expected "name = value"$},
        "harvesting.colour = 7\n"                                  => qr{/my\.rules:1: harvesting\.colour: there is no such parameter},
        "dead_pack.enabled = perhaps\n"                            => qr{/my\.rules:1: dead_pack\.enabled: },
        "harvesting.misses = 9\n#\nharvesting.misses = 9\n"        => qr{/my\.rules:3: harvesting\.misses: is given twice$},
        'harvesting.misses = ' . ' ' x 5000 . "9\n"                => qr{/my\.rules:1: the line is too long$},
    );

    for my $rules (sort keys %wrong) {
        my ($rc, $text, $err) = $with->($rules);
        is($rc, 2, 'refused');
        is($text, '', 'no case');
        like($err, $wrong{$rules}, substr($rules, 0, 30) =~ s/\n/\\n/gr);
    }
};


subtest 'a clock that is wrong' => sub {
    my $wrong = scan(time => '2099-01-01T00:00:00Z', actor => 'P7', serial => 'S3', lot => 'L1');

    for my $at (0 .. 3) {
        my @lines = @reused;
        splice @lines, $at, 0, $wrong, $wrong;

        my ($case) = cases(@lines);
        is(scalar @{$case->{scans}}, 3, "one site far ahead of all others, before line $at");
    }
};


# What is the same of two runs: where lines stand in another order, by what stands in them.
sub same {
    my ($out, $lines) = @_;

    my @cases;

    for my $case (cases_of($out)) {
        $case->{scans} = [sort map { substr sha256_hex($lines->[$_ - 1]), 0, 8 } @{$case->{scans}}];
        delete $case->{decided_at};
        push @cases, $json->encode($case);
    }

    return [sort @cases];
}


subtest 'the same input, and the same in another order' => sub {
    my $file = $sv->base . '/traffic.jsonl';

    system("$root/tools/simulate", '--seed', 95, '--scans', 20_000, '--out', $file);
    is($?, 0, 'traffic');

    my @lines = split /\n/, Test::SerialVerify::slurp($file);
    my ($code, $out, $err) = replay('', 'replay', '--scans', $file, '--info');
    is($code, 0, 'read') or diag $err;

    my ($again, $twice) = replay('', 'replay', '--scans', $file, '--info');
    is($twice, $out, 'twice is the same');
    cmp_ok(scalar cases_of($out), '>', 10, 'there is something to find');

    # what arrives when is what the newest scan until then says: each moves by an hour at most
    my ($now, @at) = ('');

    for my $line (@lines) {
        my ($time) = $line =~ /"time":"([^"]+)"/;
        $now = seconds($time) if defined $time && $line !~ /"type":/ && ($now eq '' || seconds($time) > $now);
        push @at, $now eq '' ? 0 : $now;
    }

    srand 95;

    for my $round (1 .. 3) {
        my @moved = map { $at[$_] + rand 3600 } 0 .. $#lines;
        my @order = sort { $moved[$a] <=> $moved[$b] } 0 .. $#lines;
        my @other = @lines[@order];
        my $path  = $sv->write_file('other.jsonl', join '', map {"$_\n"} @other);
        my ($rc, $text) = replay('', 'replay', '--scans', $path, '--info');

        my %once = map { $_ => 1 } @{same($out, \@lines)};
        my @more = grep { !delete $once{$_} } @{same($text, \@other)};

        is_deeply([map { substr $_, 0, 2000 } @more, '--', sort keys %once], ['--'], "shuffled within an hour: $round");
    }
};


# seconds since 1970 of RFC 3339
sub seconds {
    my ($text) = @_;

    my ($date, $hour, $minutes, $second, $sign, $oh, $om) = $text =~ /^(.{10})T(\d\d):(\d\d):([\d.]+)(?:Z|([+-])(\d\d):(\d\d))$/;
    my ($year, $month, $day) = split /-/, $date;
    my $offset = defined $sign ? ($oh * 60 + $om) * 60 * ($sign eq '-' ? -1 : 1) : 0;

    return POSIX::mktime(int $second, $minutes, $hour, $day, $month - 1, $year - 1900) - $offset;
}


# What leaves the judge's memory, and in which order within an hour it came, changes no case.
subtest 'the edge of the window' => sub {
    my $day = sub { sprintf '2026-%02d-%02dT%s:00Z', @_ };
    my %miss = (lot => 'L1', operation => 'supply', outcome => 'serial_unknown', expiry => undef);
    my %look = (serial => 'S9', lot => 'L2', actor => undef, actor_kind => 'consumer');

    # five misses of a scanner that does not send the separator; 35 days later its first two are forgotten
    my @burst = (map { my ($n, $time) = @{$_}; scan(%miss, serial => "S1234${n}17281231", time => $day->(3, 9, $time)) }
        [1, '19:15'], [2, '19:22'], [3, '19:42'], [3, '19:43'], [3, '19:44']);
    my @after = (scan(serial => 'S12343', lot => 'L1', time => $day->(3, 9, '20:27')),
        map { scan(%look, session => "s$_->[0]", time => $day->(4, 13, $_->[1])) } [1, '20:35'], [2, '20:36'], [3, '20:37']);
    my @made = made(serials => [map {"S1234$_"} 1 .. 3]);

    for my $order ([0 .. 3], [0, 3, 2, 1], [0, 2, 3, 1]) {
        my @cases = cases(@made, @burst, @after[@{$order}]);
        is_deeply([map { [$_->{rule}, $_->{scans}] } @cases], [['site_burst', [2 .. 6]]], "one burst: @{$order}") or diag explain \@cases;
    }

    # two travellers 36 days apart, and somebody at home
    my @abroad = (scan(%look, lot => 'L1', serial => 'S1', session => 'a', country => 'BR', time => $day->(2, 3, '12:31')),
        scan(%look, lot => 'L1', serial => 'S2', session => 'b', country => 'JP', time => $day->(3, 11, '17:12')),
        scan(%look, lot => 'L1', serial => 'S3', session => 'c', country => 'US', time => $day->(3, 11, '17:17')));

    for my $order ([0, 1, 2], [0, 2, 1]) {
        my ($code, $out) = replay(join('', map { $json->encode($_) . "\n" } made(markets => ['JP']), @abroad[@{$order}]), 'replay', '--info', '--scans', '-');
        is_deeply([map { $_->{serials} } cases_of($out)], [['S1'], ['S3']], "two that are alone: @{$order}") or diag $out;
    }
};


$sv->done_testing;
