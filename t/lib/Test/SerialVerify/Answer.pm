package Test::SerialVerify::Answer;

# What the gateway answered, compared.
#
#   answer_is($answer, 200, {reason => 'ok', verified => 1, alert => undef}, 'genuine');
#   problem_is($answer, 422, 'elements_missing', {element => '10'}, 'no lot');
#
# Of the members only the named ones are looked at: a pattern must match, undef
# means that there is no such member, a hash is compared member by member.

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP ();
use Test::More ();

our @EXPORT = qw(answer_is problem_is member_faults seen_in_log);

my $printer = JSON::PP->new->utf8->canonical->allow_nonref;


# member_faults(JSON, {MEMBER => EXPECTED}): a line for each difference
sub member_faults {
    my ($json, $expected) = @_;

    return ('not a JSON object') if ref $json ne 'HASH';

    my @faults;

    for my $name (sort keys %{$expected}) {
        my ($want, $is) = ($expected->{$name}, $json->{$name});
        my $shown = exists $json->{$name} ? $printer->encode($is) : 'absent';

        if (!defined $want) {
            push @faults, "$name is $shown, expected: absent" if exists $json->{$name};

        } elsif (!exists $json->{$name}) {
            push @faults, "$name is absent";

        } elsif (ref $want eq 'HASH') {
            push @faults, map { "$name: $_" } member_faults($is, $want);

        } elsif (ref $want eq 'Regexp') {
            push @faults, "$name is $shown, expected: $want" if $is !~ $want;

        } elsif (JSON::PP::is_bool($is)) {
            push @faults, "$name is $shown" if ($is ? 1 : 0) != ($want ? 1 : 0);

        } else {
            push @faults, "$name is $shown, expected: $want" if $is ne $want;
        }
    }

    return @faults;
}


# What every answer has, whatever it says.
sub common_faults {
    my ($answer) = @_;

    my $header = $answer->{headers};
    my @faults;

    push @faults, 'Cache-Control is ' . ($header->{'cache-control'} // 'absent')
        if ($header->{'cache-control'} // '') ne 'private, no-store';
    push @faults, 'X-Request-Id is ' . ($header->{'x-request-id'} // 'absent')
        if ($header->{'x-request-id'} // '') !~ /^[0-9a-f]{32}$/;

    return @faults;
}


sub report {
    my ($answer, $name, @faults) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 2;

    return 1 if Test::More::ok(!@faults, $name);

    Test::More::diag($_) for @faults;
    Test::More::diag("status $answer->{status}, body: " . substr($answer->{body}, 0, 2000));

    return 0;
}


sub answer_is {
    my ($answer, $status, $expected, $name) = @_;

    my @faults = common_faults($answer);

    push @faults, "status is $answer->{status}, expected: $status" if $answer->{status} != $status;
    push @faults, member_faults($answer->{json}, $expected);

    return report($answer, $name, @faults);
}


# A problem document of RFC 9457.
sub problem_is {
    my ($answer, $status, $reason, $expected, $name) = @_;

    my $type   = $answer->{headers}{'content-type'} // '';
    my @faults = common_faults($answer);

    push @faults, "status is $answer->{status}, expected: $status" if $answer->{status} != $status;
    push @faults, "Content-Type is $type" if $type ne 'application/problem+json';
    push @faults, member_faults($answer->{json}, {
        type       => 'about:blank',
        title      => qr/^[A-Z][A-Za-z ]+$/,
        status     => $status,
        reason     => $reason,
        detail     => qr/^\S.*[.)]$/s,
        request_id => $answer->{headers}{'x-request-id'} // 'none',
        %{$expected},
    });

    return report($answer, $name, @faults);
}


# seen_in_log(TEST SERVERS, WORD..): the words that stand in a log of nginx
sub seen_in_log {
    my ($sv, @words) = @_;

    my $text = join '', map { Test::SerialVerify::slurp($_) } glob $sv->base . '/*/*.log';

    return grep { index($text, $_) >= 0 } @words;
}


1;
