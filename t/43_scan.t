#!/usr/bin/env perl

# POST /scan: what scanners send, right and wrong; operations from a scan.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use Test::SerialVerify;
use Test::SerialVerify::Answer;

my $gtin = 9506000134352;
my $gs   = "\x{1d}";

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
$sv->product(80614141123458);
my $key = $sv->actor('pharmacy', country => 'IT')->{key};

$sv->pack_row($gtin, 'S-1/a');
$sv->pack_row($gtin, '32A', lot => '17AB');
$sv->pack_row(80614141123458, '6789');
$sv->start_nginx(verify => {deadline => '5s'});

my $connection = $sv->connection;

sub scan {
    my ($text, %option) = @_;

    my $body = {scan => $text, %{delete $option{body} // {}}};

    return $connection->request('POST', '/scan', key => $key, body => $body, %option);
}

my %element = ('01' => '09506000134352', 21 => 'S-1/a', 10 => 'LOT1', 17 => '301231');
my %fixed   = map { $_ => 1 } qw(01 17 11);
my %pack    = (verified => 1, reason => 'ok', serial => 'S-1/a', lot => 'LOT1', expiry => '2030-12-31');

# An element string in this order, separators where the next element needs one.
sub elements {
    my (@order) = @_;

    my $text = '';

    for my $i (0 .. $#order) {
        $text .= $order[$i] . $element{$order[$i]};
        $text .= $gs if $i < $#order && !$fixed{$order[$i]};
    }

    return $text;
}

sub permutations {
    my (@items) = @_;

    return [] if !@items;

    return map { my $i = $_; map { [$items[$i], @{$_}] } permutations(@items[grep { $_ != $i } 0 .. $#items]) } 0 .. $#items;
}


subtest 'every order of the elements' => sub {
    for my $order (permutations(qw(01 21 10 17))) {
        answer_is(scan(']d2' . elements(@{$order})), 200, \%pack, "elements @{$order}");
    }
};


subtest 'forms of a scan' => sub {
    my $text = elements(qw(01 17 10 21));
    my %form = (
        'GS1 DataMatrix'                  => "]d2$text",
        'GS1 QR'                          => "]Q3$text",
        'GS1-128'                         => "]C1$text",
        'DataBar, composite'              => "]e0$text",
        'DotCode'                         => "]J1$text",
        'a leading separator'             => "]d2$gs$text",
        'a trailing separator'            => "]d2$text$gs",
        'separators after fixed lengths'  => "]d201$element{'01'}$gs" . "17301231${gs}10LOT1${gs}21S-1/a",
        'an element twice, alike'         => "]d2$text${gs}10LOT1",
        'more elements'                   => "]d2$text${gs}71012345678${gs}24012AB",
        'brackets'                        => '(01)09506000134352(17)301231(10)LOT1(21)S-1/a',
        'brackets in another order'       => '(21)S-1/a(01)09506000134352(10)LOT1(17)301231',
        'a Digital Link'                  => 'https://id.gs1.org/01/09506000134352/10/LOT1/21/S-1%2Fa?17=301231',
        'in upper case'                   => 'HTTPS://EXAMPLE.COM/01/09506000134352/10/LOT1/21/S-1%2Fa?17=301231',
        'with a stem and a fragment'      => 'http://example.com:8080/de/01/09506000134352/10/LOT1/21/S-1%2Fa/?17=301231&x=y#z',
        'a Digital Link in a QR code'     => ']Q1https://example.com/01/09506000134352/10/LOT1/21/S-1%2Fa?17=301231',
        'in a plain DataMatrix'           => ']d1https://example.com/01/09506000134352/10/LOT1/21/S-1%2Fa?17=301231',
    );

    for my $name (sort keys %form) {
        answer_is(scan($form{$name}), 200, \%pack, $name);
    }

    answer_is(scan('urn:epc:id:sgtin:0614141.812345.6789'), 200, {verified => 1, serial => '6789', product => {gtin => '80614141123458'}},
        'an EPC URN');
    answer_is(scan(']d2' . elements(qw(01 17 10 21)), body => {operation => 'verify', entry_mode => 'manual'}), 200, \%pack,
        'a verify that says so');

    $element{'21'} = '32A';
    $element{'10'} = '17AB';
    answer_is(scan(']d2' . elements(qw(01 21 10 17))), 200, {verified => 1, serial => '32A', lot => '17AB'},
        'values that look like identifiers');
};


subtest 'what is wrong, and where' => sub {
    my @cases = (
        ['',                                       'symbology_missing',      0],
        ['A',                                      'symbology_missing',      0],
        ['0109506000134352',                       'symbology_missing',      0],
        ["\x{f1}0109506000134352",                 'symbology_missing',      0],
        [']',                                      'symbology_missing',      0],
        [']d',                                     'symbology_missing',      0],
        [']d2',                                    'not_a_link',             3],
        ["]d2$gs",                                 'not_a_link',             4],
        [']A00109506000134352',                    'not_gs1',                0],
        [']d1' . '0109506000134352',               'not_gs1',                3],
        [']d19N110375286414',                      'not_gs1',                3],
        [']d2' . '0109506000134351',               'check_digit_wrong',      18],
        [']d2' . '010950600013435',                'ai_value_too_short',     undef],
        [']d2' . '0109506000134352' . '21',        'ai_value_empty',         21],
        [']d2' . '0109506000134352' . '21' . 'A' x 21, 'ai_value_too_long',  undef],
        [']d2' . '0109506000134352' . '21A' . "$gs$gs" . '10L', 'separator_misplaced', undef],
        [']d2' . '0109506000134352' . '17301301',  'date_invalid',           undef],
        [']d2' . '0109506000134352' . '17301231' . '17301230', 'ai_duplicate', undef],
        [']d2' . '0109506000134352' . '05XX',      'ai_unknown',             19],
        [']d2' . '21A',                            'ai_requires_another',    undef],
        [']d2' . '0109506000134352' . '21A B',     'ai_value_bad_character', 22],
        [']d2' . '0109506000134352' . "21\x{fc}",  'ai_value_bad_character', 21],
        ['(01)09506000134352(21)',                 'ai_value_empty',         undef],
        ['(01)09506000134352(21',                  'ai_value_too_long',      undef],
        ['(01)09506000134351',                     'check_digit_wrong',      17],
        ['(',                                      'bracket_syntax',         undef],
        ['https://',                               'bad_host',               undef],
        ['https:/x/01/09506000134352',             'bad_scheme',             0],
        ['https://user@x/01/09506000134352',       'bad_host',               12],
        ['https://x/y',                            'not_a_link',             undef],
        ['https://x/01/09506000134352/21/A%2',     'bad_percent_escape',     undef],
        ['https://x/01/09506000134352/21/A%0',     'bad_percent_escape',     undef],
        ['https://x/01/09506000134352/21/%00',     'ai_value_bad_character', undef],
        ['urn:epc:id:sgtin:0614141',               'urn_syntax',             undef],
        ['urn:epc:id:gdti:0614141.06012.1234',     'urn_scheme_unsupported', undef],
        [']d2' . '00' . '106141412345678908',      'gtin_missing',           'none'],
        ['urn:epc:id:sscc:0614141.1234567890',     'gtin_missing',           'none'],
    );

    for my $case (@cases) {
        my ($text, $reason, $offset) = @{$case};
        my %expected = !defined $offset ? (element => 'scan', offset => qr/^\d+$/)
            : $offset eq 'none' ? (element => '01', offset => undef) : (element => 'scan', offset => $offset);
        problem_is(scan($text), 422, $reason, \%expected, "'" . ($text =~ s/[^ -~]/?/gr) . "'");
    }

    problem_is($sv->post('/scan', {}, key => $key), 422, 'scan_missing', {element => 'scan'}, 'no scan');
    problem_is(scan(']d20109506000134352'), 422, 'elements_missing', {element => '21'}, 'no serial');
};


subtest 'a lost separator' => sub {
    my $lost = qr/group separator/;

    # the serial swallowed lot and expiry; they are missing, and that is why
    problem_is(scan(']d2' . '0109506000134352' . '21AB1' . '10LOT1' . '17301231', body => {operation => 'supply'}, idempotency => 'lost-1'),
        422, 'elements_missing', {element => '10', detail => $lost, hint => 'scanner'}, 'after the serial');
    problem_is(scan(']d2' . '0109506000134352' . '17301231' . '10LOT1' . '21S-1', body => {operation => 'supply'}, idempotency => 'lost-2'),
        422, 'elements_missing', {element => '21', detail => $lost}, 'after the lot');
    problem_is(scan(']d2' . '0109506000134352' . '17301231' . '10LOT1' . '21S-1'), 422, 'elements_missing', {element => '21', detail => $lost},
        'after the lot, for a verify');
    problem_is(scan(']d2' . '0109506000134352' . '21ABCDEFGHIJKL' . '10LOT1' . '17301231'), 422, 'ai_value_too_long',
        {element => 'scan', detail => $lost, hint => 'scanner', offset => qr/^\d+$/}, 'so that a value became too long');
    problem_is(scan(']d2' . '0109506000134352' . '21AB1' . $gs . '10LOT1', body => {operation => 'supply'}, idempotency => 'lost-3'), 422,
        'elements_missing', {element => '17', detail => qr/^AI 17 is missing\. An/, hint => undef}, 'but not when something is simply not there');
};


subtest 'operations' => sub {
    my $pack  = $sv->pack_row($gtin, 'OP');
    my $text  = ']d2' . '0109506000134352' . "21OP${gs}10LOT1${gs}17301231";
    my $first = scan($text, body => {operation => 'supply'}, idempotency => 'op-1');

    answer_is($first, 200, {operation => 'supply', changed => 1, state => 'supplied', serial => 'OP'}, 'supply');

    my $again = scan($text, body => {operation => 'supply'}, idempotency => 'op-1');
    is($again->{body}, $first->{body}, 'its replay');
    is($again->{headers}{'idempotent-replayed'}, 'true', 'says so');

    my $url = $sv->post($sv->link_to($gtin, 'OP'), {operation => 'supply'}, key => $key, idempotency => 'op-1');
    is($url->{body}, $first->{body}, 'the same operation by the pack\'s URL is the same operation');

    answer_is(scan('(01)09506000134352(21)OP(10)LOT1(17)301231', body => {operation => 'undo', of => 'supply'}, idempotency => 'op-2'), 200,
        {operation => 'undo', of => 'supply', changed => 1, state => 'active'}, 'undo');
    is($sv->sql('select state from sv.pack where serial = ?', $pack), 'active', 'in the registry');

    problem_is(scan($text, body => {operation => 'supply'}), 400, 'key_missing', {}, 'without a key');
    problem_is(scan('(01)09506000134352(21)OP', body => {operation => 'supply'}, idempotency => 'op-3'), 422, 'elements_missing',
        {element => '10'}, 'without a lot');
    problem_is(scan('https://x/01/09506000134376/01/09506000134352/10/LOT1/21/OP?17=301231', body => {operation => 'supply'},
        idempotency => 'op-4'), 422, 'elements_ambiguous', {}, 'a stem that holds elements');

    answer_is(scan('(01)09506000134352(21)NOSUCH'), 404, {reason => 'serial_unknown', alert => qr/^IT-/}, 'an unknown serial alerts');
    answer_is($connection->request('POST', '/scan?alert=no', key => $key, body => {scan => '(01)09506000134352(21)NOSUCH'}), 404,
        {reason => 'serial_unknown', alert => undef}, 'but not silently');
};

$sv->done_testing;
