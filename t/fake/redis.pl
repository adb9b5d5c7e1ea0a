#!/usr/bin/perl

# A misbehaving Redis: a proxy in front of a real one, or, without --server,
# a fake that knows nothing but the replies it was told.
#
#   t/fake/redis.pl --listen PATH --control PATH [--server REAL]
#
# Options and control commands: the head of Proxy.pm. Without --server also:
#
#   reply COMMAND TEXT    answer this command (or "*": all) with TEXT, byte by byte
#                         as given; TEXT "none": never answer, "close": hang up
#   reply COMMAND         back to the usual answer
#   flood COMMAND         answer it with a string that does not end (64 MiB of it)
#   forget                back to the usual answers, counters at 0
#   seen COMMAND          ok N: how often it came
#
# Usual answers: those of an empty server (AUTH, SELECT, INFO, PING, SET, DEL,
# XADD, SCRIPT LOAD, EVAL, EVALSHA), nil for everything else.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use Digest::SHA qw(sha1_hex);

use Proxy;

my (%reply, %seen);

my %usual = (
    AUTH    => "+OK\r\n",
    SELECT  => "+OK\r\n",
    PING    => "+PONG\r\n",
    SET     => "+OK\r\n",
    DEL     => ":0\r\n",
    XADD    => bulk('1-1'),
    EVAL    => ":1\r\n",
    EVALSHA => ":1\r\n",
    INFO    => bulk("# Server\r\nredis_version:7.0.0\r\nrun_id:"
            . 'f' x 40
            . "\r\n"),
);

Proxy->main(
    \@ARGV,
    handler  => sub { return Fake->new },
    commands => {
        reply => sub {
            my ($command, $text) = split / /, $_[0], 2;

            if (defined $text) {
                $reply{ uc $command } = Proxy::unescape($text);

            } else {
                delete $reply{ uc $command };
            }

            return '';
        },
        seen  => sub { return $seen{ uc $_[0] } || 0 },
        flood => sub {
            $reply{ uc $_[0] } = "\$2000000000\r\n" . 'x' x (64 * 1024 * 1024);
            return '';
        },
        forget => sub { %reply = %seen = (); return '' },
    },
);

sub bulk {
    my ($text) = @_;

    return '$' . length($text) . "\r\n$text\r\n";
}

package Fake;

sub new {
    my ($class) = @_;

    return bless { in => '' }, $class;
}

sub feed {
    my ($self, $bytes) = @_;

    my $out = '';
    $self->{in} .= $bytes;

    while (my @args = $self->take) {
        my $command = uc $args[0];
        $seen{$command}++;

        my $answer = exists $reply{$command} ? $reply{$command} : $reply{q{*}};
        $answer = usual($command, @args) if !defined $answer;

        return if $answer eq 'close';

        $out .= $answer if $answer ne 'none';
    }

    return $out;
}

# one complete command from the front of what has arrived
sub take {
    my ($self) = @_;

    my @args;

    pos $self->{in} = 0;
    $self->{in} =~ /\G\*([0-9]+)\r\n/gc or return;

    for (1 .. $1) {
        $self->{in} =~ /\G\$([0-9]+)\r\n/gc or return;

        my ($len, $at) = ($1, pos $self->{in});
        return if length $self->{in} < $at + $len + 2;

        push @args, substr $self->{in}, $at, $len;
        pos($self->{in}) = $at + $len + 2;
    }

    substr $self->{in}, 0, pos $self->{in}, '';

    return @args;
}

sub usual {
    my ($command, @args) = @_;

    return main::bulk(Digest::SHA::sha1_hex($args[2]))
        if $command eq 'SCRIPT' && @args == 3;

    return $usual{$command} || "\$-1\r\n";
}
