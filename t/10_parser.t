#!/usr/bin/perl

# sv-parse: what support staff and scripts see of the parser.

use strict;
use warnings;

use File::Temp qw(tempfile);
use FindBin;
use Test::More;

my $root  = "$FindBin::Bin/..";
my $parse = ($ENV{SV_BUILD} // "$root/build") . '/sv-parse';

my $GTIN = '09506000134352';
my $GS   = "\x1d";

plan skip_all => "$parse is not built (./dev build)" if !-x $parse && !$ENV{SV_BUILD};


# run(\@args, $input) = ($status, $stdout, $stderr)
sub run {
    my ($args, $input) = @_;

    my ($in, $in_name)   = tempfile(UNLINK => 1);
    my ($out, $out_name) = tempfile(UNLINK => 1);
    my ($err, $err_name) = tempfile(UNLINK => 1);

    binmode $in;
    print {$in} $input // '';
    close $in or die "$in_name: $!";

    my $pid = fork // die "fork: $!";

    if ($pid == 0) {
        open(STDIN,  '<', $in_name)  or die "$in_name: $!";
        open(STDOUT, '>', $out_name) or die "$out_name: $!";
        open(STDERR, '>', $err_name) or die "$err_name: $!";
        exec($parse, @{$args}) or die "$parse: $!";
    }

    waitpid $pid, 0;

    my $status = $? & 127 ? "signal $?" : $? >> 8;

    return ($status, map { slurp($_) } $out, $err);
}


sub slurp {
    my ($fh) = @_;

    seek $fh, 0, 0;
    binmode $fh;
    local $/ = undef;

    return scalar <$fh> // '';
}


sub file {
    my ($name) = @_;

    open(my $fh, '<:encoding(UTF-8)', $name) or die "$name: $!";
    local $/ = undef;

    return scalar <$fh>;
}


# what one line of input gives
sub line_is {
    my ($args, $input, $expected, $name) = @_;

    my ($status, $out, $err) = run($args, "$input\n");

    is($out, "$expected\n", $name);
    is("$status$err", '0', "$name: exit status 0 and nothing to complain of");

    return;
}


# the modes

line_is([], "https://example.com/01/$GTIN/10/ABC/21/S%2F1?17=271231&utm_source=x",
    "ok\t(01)$GTIN(10)ABC(21)S/1(17)271231\thttps://id.gs1.org/01/$GTIN/10/ABC/21/S%2F1?17=271231", 'a URI');

line_is(['--mode', 'uri'], "https://example.com/01/09506000134353", "error\tcheck_digit_wrong\t36", 'a URI with a wrong digit');

line_is(['--mode', 'scan'], "]d201${GTIN}21S1${GS}1727123110LOT",
    "ok\t(01)$GTIN(21)S1(17)271231(10)LOT\thttps://id.gs1.org/01/$GTIN/10/LOT/21/S1?17=271231", 'a scan');

line_is(['--mode=scan'], "01${GTIN}", "error\tsymbology_missing\t0", 'a scan without symbology identifier');

line_is(['--mode', 'brackets'], "(21)S1(01)$GTIN", "ok\t(01)$GTIN(21)S1\thttps://id.gs1.org/01/$GTIN/21/S1", 'brackets: the key comes first');

line_is(['--mode', 'brackets'], '(99)x', "ok\t(99)x\t", 'no key, no URI');

line_is(['--mode', 'urn'], 'urn:epc:id:sgtin:0614141.812345.6789', "ok\t(01)80614141123458(21)6789\thttps://id.gs1.org/01/80614141123458/21/6789",
    'an EPC URN');

# options

line_is([], 'https://a/01/9506000134352', "error\tai_value_too_short\t26", 'a GTIN of 13 digits');
line_is(['--short-gtin'], 'https://a/01/9506000134352', "ok\t(01)$GTIN\thttps://id.gs1.org/01/$GTIN", 'a GTIN of 13 digits, permitted');

line_is(['--mode', 'scan', '--gs', '<GS>'], "]d201${GTIN}21S1<GS>10LOT", "ok\t(01)$GTIN(21)S1(10)LOT\thttps://id.gs1.org/01/$GTIN/10/LOT/21/S1",
    'a substitute for the separator');
line_is(['--mode', 'scan', '--gs', '<GS>'], "]d201${GTIN}21S1<GS>10L^T", "error\tai_value_bad_character\t30", 'an offset counts bytes of the input');
line_is(['--mode', 'scan'], "]d201${GTIN}21S1<GS>10LOT", "ok\t(01)$GTIN(21)S1<GS>10LOT\thttps://id.gs1.org/01/$GTIN/21/S1%3CGS%3E10LOT",
    'no substitute is guessed');

# lines

{
    my ($status, $out) = run([], "https://a/01/$GTIN\n\nhttps://a/01/$GTIN\r\nhttps://a/01/$GTIN");
    my @line = split /\n/, $out;

    is(scalar @line, 4, 'one line of output for a line of input, also for an empty one and a last one without its end');
    is($line[1], "error\tbad_scheme\t0", 'an empty line is an error');
    is($line[2], $line[0], 'a carriage return belongs to the end of a line');
    is($line[3], $line[0], 'the last line counts');
}

{
    my $long = "https://a/01/$GTIN?x=" . 'y' x 100_000;
    my ($status, $out) = run([], "$long\nhttps://a/01/$GTIN\n");

    is($status, 0, 'a line of 100,000 bytes does no harm');
    like($out, qr{\Aerror\tinput_too_long\t8191\nok\t}, '.. it is an error, and the next line is read');
}

{
    my ($status, $out) = run(['--mode', 'scan', '--gs', 'yy'], "]d201${GTIN}99" . 'y' x 20_000 . "\n");

    is($out, "error\tinput_too_long\t8191\n", 'substitutes do not make a long line short');
}

{
    my ($status, $out) = run([], "https://a/01/$GTIN/21/a\0b\n");

    is($out, "error\tillegal_uri_character\t32\n", 'a NUL byte does not end a line');
}

{
    my ($status, $out) = run([], '');

    is("$status$out", '0', 'no input, no output');
}

# words

{
    my ($status, $out) = run(['--mode', 'scan', '--explain'], "]d201${GTIN}1727120021SER10LOT\n");

    like($out, qr/^ok\t/, '--explain begins with the same line');
    like($out, qr/^  \(01\) GTIN: $GTIN$/m, 'it names the elements');
    like($out, qr/^  \(17\) USE BY or EXPIRY: 271200, that is 2027-12-31$/m, 'it says which day is meant');
    like($out, qr/the lot \(10\)/, 'it says what a medicine pack lacks');
    like($out, qr/separator was lost after the value\s+of \(21\)/s, 'it says that the separator was lost');
}

{
    my ($status, $out) = run(['--mode', 'scan', '--explain'], "]d201${GTIN}172712312112345678901234567810LOT\n");

    like($out, qr/\Aerror\tai_value_too_long\t49\n/, 'a serial that swallowed the lot');
    like($out, qr/separator was lost after the value\s+of \(21\)/s, '.. with the reason');
}

{
    my ($status, $out) = run(['--explain'], "https://a/10/L/01/$GTIN\nhttps://a/01/$GTIN?17=270229\n\x1b[2J\n");

    like($out, qr/1 more AI pair before the key/, 'it warns of pairs in the stem');
    like($out, qr/not a day of the calendar/, 'it says what is wrong');
    like($out, qr/At byte 35: .*270 ?/, '.. and where');
    unlike($out, qr/\x1b/, 'nothing of the input reaches the terminal unescaped');
}

# use and misuse

{
    my ($status, $out, $err) = run(['--help']);

    is($status, 0, '--help');
    like($out, qr/^Usage: sv-parse/, '.. says how to use it');
    like($out, qr/--\Q$_\E\b/, "--help names --$_") for qw(mode gs short-gtin explain bench help);
}

for my $misuse (['--mode', 'xml'], ['--nonsense'], ['file'], ['--gs', 'x'], ['--mode', 'scan', '--gs', ''], ['--mode']) {
    my ($status, $out, $err) = run($misuse);

    is($status, 2, "sv-parse @{$misuse}: refused");
    isnt($err, '', '.. with a reason');
    is($out, '', '.. on standard error');
}

{
    my ($status, $out) = run(['--bench']);

    is($status, 0, '--bench');
    like($out, qr{\A\d+ ns\thttps://\S+/01/$GTIN/10/\S+/21/\S+\?17=\d+\n\z}, '.. prints a number and the URI');
}

# the page says what the program does

{
    my $page    = file("$root/docs/parser.md");
    my @example = $page =~ /^    \$ (.*?)\n((?:    .*\n)+)/mg;

    cmp_ok(scalar @example, '>=', 6, 'docs/parser.md has examples');

    while (my ($command, $expected) = splice @example, 0, 2) {
        $expected =~ s/^    //mg;
        (my $call = $command) =~ s/\| sv-parse/| "\$SV_PARSE"/;

        local $ENV{SV_PARSE} = $parse;
        (my $out = qx{$call}) =~ s/\t/  /g;
        is($out, $expected, "docs/parser.md: $command");
    }
}

{
    my $page = file("$root/docs/parser.md");
    my $def  = file("$root/src/gs1/sv_gs1_error.def");
    my %code = $def =~ /^SV_GS1_ERROR\(\w+, "(\w+)", "(.+)"\)$/mg;
    my ($table) = $page =~ /^## Errors\n(.*)/ms;
    my %page = $table =~ /^\| `(\w+)` \| (.+?) \|$/mg;

    cmp_ok(scalar keys %code, '>', 40, 'the error codes are found in the source');
    is_deeply([sort keys %page], [sort keys %code], 'docs/parser.md has the error codes, all and no others');
    is($page{$_}, $code{$_}, "docs/parser.md: $_") for sort keys %code;
}

done_testing();
