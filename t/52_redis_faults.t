#!/usr/bin/env perl

# Whatever Redis does, answers are right and inside the deadline, and when it
# is well again the cache is used again, by itself.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(time);
use Test::SerialVerify;

my $gtin     = 9506000134352;
my $deadline = 1;       # more than the default: a busy machine is no fault of Redis

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
my $pharmacy = $sv->actor('pharmacy', country => 'IT');

my $limit = $sv->time_limit($deadline);

# packs are never used twice but for these
$sv->pack_row($gtin, 'ACTIVE');
$sv->pack_row($gtin, 'GONE', state => 'supplied', version => 2, location_id => $pharmacy->{id}, since => '2026-01-02');

$sv->start_fake('redis', real => 1);
$sv->start_nginx(verify => {redis => 'unix:' . $sv->fake_socket('redis'), deadline => '1s'});


sub get_pack {
    my ($serial) = @_;

    return $sv->get($sv->link_to($gtin, $serial), key => $pharmacy->{key});
}


sub cache_hits { return $sv->counter('source_cache') }


# The cache is used: an entry is made, and found by the next verify.
sub cache_works {
    my $hits = cache_hits();

    get_pack('ACTIVE');

    return cache_hits() > $hits;
}


my $fresh = 0;

# Verifies and a supply, some of packs that were asked for before and some not:
# all right, none late.
sub right {
    my ($what, %option) = @_;

    my $new = 'NEW-' . ++$fresh;
    my (@wrong, $slowest);

    $sv->pack_row($gtin, $new);
    my $link = $sv->link_to($gtin, $new);

    my @steps = (
        [ACTIVE  => 'active',   'ok',                    sub { get_pack('ACTIVE') }],
        [GONE    => 'supplied', 'already_supplied_here', sub { get_pack('GONE') }],
        [$new    => 'active',   'ok',                    sub { get_pack($new) }],
        [$new    => 'active',   'ok',                    sub { get_pack($new) }],
        [supply  => 'supplied', 'ok',                    sub {
            $sv->post($link, '{"operation":"supply"}', key => $pharmacy->{key}, idempotency => "supply-$new") }],
        [$new    => 'supplied', 'already_supplied_here', sub { get_pack($new) }],
        [NOBODY  => 'none',     'serial_unknown',        sub { get_pack('NOBODY') }],
        [GONE    => 'supplied', 'already_supplied_here', sub { get_pack('GONE') }],
    );

    for my $i (1 .. $option{times} // 1) {
        for my $step (@steps) {
            my ($name, $state, $reason, $ask) = @{$step};

            # the pack was supplied in the first round
            next if $i > 1 && $name =~ /^(?:NEW|supply)/;

            my $answer = $ask->();
            $slowest = $answer->{time} if !defined $slowest || $answer->{time} > $slowest;

            my $got = join ' ', $answer->{json}{state} // 'none', $answer->{json}{reason} // "status $answer->{status}";
            push @wrong, "$name: $got" if $got ne "$state $reason";
        }
    }

    is(join(', ', @wrong), '', "$what: every answer is right");
    cmp_ok($slowest, '<', $limit, sprintf "%s: within the deadline (%.3f s)", $what, $slowest);

    return;
}


sub recovers {
    my ($what) = @_;

    ok(eval { Test::SerialVerify::wait_for { cache_works() } 'the cache to be used' }, "$what: the cache is used again, by itself");

    return;
}


recovers('at first');
right('a healthy cache');


subtest 'flushed' => sub {
    $sv->redis->flushall;
    right('flushed');
    recovers('flushed');
};

subtest 'the script is gone' => sub {
    $sv->redis->script_flush;
    right('NOSCRIPT');
    $sv->redis->flushall;
    $sv->redis->script_flush;
    recovers('NOSCRIPT');
};

subtest 'stopped' => sub {
    get_pack('ACTIVE');
    $sv->stop('redis');
    $sv->tell('redis', 'drop');
    right('stopped', times => 3);
    $sv->start_redis;
    recovers('stopped');
};

subtest 'nobody listens' => sub {
    $sv->tell('redis', 'away');
    $sv->tell('redis', 'drop');
    right('away', times => 3);
    $sv->tell('redis', 'pass');
    recovers('away');
};

subtest 'frozen' => sub {
    recovers('before');
    $sv->pause('redis');
    right('frozen', times => 10);
    $sv->resume('redis');
    recovers('frozen');
    right('thawed: late answers belong to nobody');
};

subtest 'the network is silent' => sub {
    $sv->tell('redis', 'stall');
    right('silent', times => 10);
    $sv->tell('redis', 'pass');
    recovers('silent');
};

subtest 'dribbling' => sub {
    $sv->tell('redis', 'dribble 1 4');
    right('one byte every 4 ms', times => 3);
    $sv->tell('redis', 'pass');
    recovers('dribbling');

    $sv->tell('redis', 'dribble 3 0');
    right('three bytes at a time');
    $sv->tell('redis', 'pass');
    recovers('dribbling');
};

subtest 'cut in the middle of a reply' => sub {
    for my $n (1, 4, 7, 20, 60) {
        recovers("before the cut after $n bytes");
        $sv->tell('redis', "cut $n");
        right("cut after $n bytes");
    }

    $sv->tell('redis', 'pass');
    $sv->tell('redis', 'cut-new 70');
    $sv->tell('redis', 'drop');
    right('cut while connecting', times => 2);
    $sv->tell('redis', 'pass');
    recovers('cut');

    $sv->tell('redis', 'cut-up 30');
    right('cut in the middle of a command');
    recovers('cut');
};

subtest 'nonsense' => sub {
    my %nonsense = (
        'not the protocol'       => 'HTTP/1.1 400 Bad Request\r\n\r\n',
        'a reply too many'       => '+OK\r\n',
        'a length without sense' => '$-7\r\n',
        'a huge length'          => '$99999999999999999999\r\n',
        'deeply nested'          => '*1\r\n' x 40,
        'zero bytes'             => '\0' x 64,
    );

    for my $name (sort keys %nonsense) {
        recovers("before $name");
        $sv->tell('redis', "inject $nonsense{$name}");
        right($name);
    }

    for my $name (sort keys %nonsense) {
        recovers("before $name instead of a reply");
        $sv->tell('redis', "replace $nonsense{$name}");
        right("$name instead of a reply");
        $sv->tell('redis', 'pass');
    }

    recovers('nonsense');
};


# The server answers, and what it answers is no use.
subtest 'out of memory' => sub {
    $sv->redis->config_set('maxmemory-policy', 'noeviction');
    $sv->redis->config_set('maxmemory', 1);
    right('OOM', times => 2);
    $sv->redis->flushall;
    right('OOM and empty', times => 2);
    $sv->redis->config_set('maxmemory', 0);
    recovers('OOM');
};

subtest 'read only' => sub {
    $sv->redis->replicaof('127.0.0.1', 1);
    $sv->redis->config_set('replica-serve-stale-data', 'no');
    right('a replica without its primary', times => 2);
    $sv->redis->replicaof('no', 'one');
    recovers('a replica');
};


# An entry must be the one that was stored for this very pack.
subtest 'lying' => sub {
    my $redis = $sv->redis;

    $redis->flushall;
    Test::SerialVerify::wait_for { get_pack($_) for qw(ACTIVE GONE); !grep { !(my @entry = $sv->cached($gtin, $_)) } qw(ACTIVE GONE) } 'the entries';

    my (undef, $value) = $sv->cached($gtin, 'ACTIVE');
    my ($gone_key, $gone_value) = $sv->cached($gtin, 'GONE');

    my $tampered = $gone_value;
    $tampered =~ s/^(\d+)/$1 + 5/e;

    my %lie = (
        "another pack's entry"  => $value,
        'another version'       => $tampered,
        'half of it'            => substr($gone_value, 0, length($gone_value) / 2),
        'nothing'               => '',
        'more than there was'   => "${gone_value}x",
        'a megabyte'            => 'x' x 1_000_000,
        'bytes'                 => join('', map { chr } 0 .. 255),
        'a newer version of another pack' => do { (my $v = $value) =~ s/^\d+/9/; $v },
    );

    for my $name (sort keys %lie) {
        $redis->set($gone_key, $lie{$name});
        right($name);
    }

    for my $position (0 .. length($gone_value) - 1) {
        my $flipped = $gone_value;
        substr($flipped, $position, 1) = chr(ord(substr $flipped, $position, 1) ^ 1);
        $redis->set($gone_key, $flipped);

        my $answer = get_pack('GONE');
        next if ($answer->{json}{state} // '') eq 'supplied' && $answer->{json}{reason} eq 'already_supplied_here';
        fail("a flipped bit at $position: $answer->{body}");
    }

    $redis->lpush('a list', 'a value');
    $redis->rename('a list', $gone_key);
    right('not even a string');

    $redis->flushall;
    recovers('lying');
};


# A server of which nothing is true: no real one behind it.
subtest 'a fake' => sub {
    $sv->stop('fake-redis');
    $sv->start_fake('redis');

    my %reply = (
        'LOADING'                => '-LOADING Redis is loading the dataset in memory\r\n',
        'BUSY'                   => '-BUSY Redis is busy running a script\r\n',
        'MISCONF'                => '-MISCONF Redis is configured to save RDB snapshots\r\n',
        'numbers'                => ':42\r\n',
        'an empty string'        => '$0\r\n\r\n',
        'an array'               => '*2\r\n$1\r\na\r\n*1\r\n:1\r\n',
        'nothing at all'         => 'none',
        'the end'                => 'close',
        'no script, ever'        => '-NOSCRIPT No matching script. Please use EVAL.\r\n',
    );

    for my $name (sort keys %reply) {
        for my $command (qw(GET SET EVALSHA EVAL)) {
            $sv->tell('redis', "reply $command $reply{$name}");
        }

        # before the fake was started anew it may not have been connected
        Test::SerialVerify::wait_for { $sv->figure('redis', 'ready') } 'the fake to be connected';
        right("the fake says $name", times => 2);
        $sv->tell('redis', 'forget');
    }

    # while it is loading, even the first commands fail
    for my $first (qw(INFO SCRIPT)) {
        $sv->tell('redis', "reply $first $reply{LOADING}");
        $sv->tell('redis', 'drop');
        right("LOADING, as answer to $first", times => 2);
        $sv->tell('redis', 'forget');
    }

    $sv->tell('redis', 'flood GET');
    right('a reply without an end', times => 2);
    $sv->tell('redis', 'forget');

    $sv->stop('fake-redis');
    $sv->start_fake('redis', real => 1);
    recovers('the fake');
    right('the real one again');
};

$sv->done_testing;
