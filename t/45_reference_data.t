#!/usr/bin/env perl

# Reference data: a recall reaches every gateway within a second, whatever
# dies meanwhile; an old copy is kept and says that it is old.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;
use Time::HiRes qw(time);

my $gtin = 9506000134352;

my $sv = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin);
my $key = $sv->pharmacy('IT');
$sv->pack_row($gtin, 'A1');
$sv->start_nginx(name => $_, workers => 2) for qw(one two);

my $link = $sv->link_to($gtin, 'A1');


sub reason {
    my ($gateway) = @_;

    my $answer = eval { $sv->get($link, key => $key, nginx => $gateway) } or return '';

    return $answer->{json} && $answer->{json}{reason} // '';
}


sub reference {
    my ($gateway) = @_;

    my $answer = eval { $sv->get('/status', nginx => $gateway // 'one') } or return {};

    return $answer->{json} && $answer->{json}{reference_data} // {};
}


# until all gateways say so
sub until_said {
    my ($reason, @gateways) = @_;

    for my $gateway (@gateways) {
        Test::SerialVerify::wait_for { reason($gateway) eq $reason } "$reason at $gateway";
    }

    return;
}


# soon(SECONDS, CHANGE, REASON, GATEWAYS, TEXT, BACK): all gateways say so
sub soon {
    my ($within, $change, $reason, $gateways, $text, $back) = @_;

    my ($took, $last) = $sv->said_after(change => $change, within => $within, back => $back, said => $reason, ask => sub {
        my %said = map { reason($_) => 1 } @{$gateways};
        join ' and ', sort keys %said;
    });

    is($last, $reason, $text);
    cmp_ok($took, '<', $within, sprintf '%s (%.2f s)', $text, $took);

    return;
}


sub current {
    my ($gateway) = @_;

    my $n = $sv->sql('select n from sv.ref_clock');

    return (reference($gateway)->{change} // -1) == $n;
}


subtest 'a recall, with Redis dead' => sub {
    is(reason($_), 'ok', "$_ knows the pack") for qw(one two);
    $sv->kill9('redis');

    for my $round (1 .. 3) {
        my $recall = sub { $sv->recall_lot($gtin, 'LOT1', reason => "round $round") };
        my $lift   = sub { $sv->lift_recall($gtin, 'LOT1') };

        soon(1, $recall, 'recalled', [qw(one two)], 'recalled everywhere within a second', $lift);
        soon(1, $lift, 'ok', [qw(one two)], 'lifted everywhere within a second', $recall);
    }
};


subtest 'changes that commit out of order' => sub {
    my ($first, $second) = ($sv->new_dbh, $sv->new_dbh);
    $sv->lot($gtin, $_) for qw(LOT1 LOT2);

    $first->begin_work;
    my ($n) = $first->selectrow_array('update sv.ref_clock set n = n + 1 returning n');
    $first->do('update sv.lot set recalled_at = now(), reason = ?, ref_n = ? where gtin = ? and lot = ?', undef, 'slow', $n, $gtin, 'LOT1');

    # the later one cannot overtake: it waits for its number
    $second->do(q(set lock_timeout = '200ms'));
    ok(!eval { $second->do('select sv.recall_lot(?, ?, ?)', undef, $gtin, 'LOT2', 'quick'); 1 }, 'the second waits for the first');
    $second->do('reset lock_timeout');

    is(reason('one'), 'ok', 'nothing is seen before it is committed');
    soon(1, sub { $first->commit; $second->do('select sv.recall_lot(?, ?, ?)', undef, $gtin, 'LOT2', 'quick') }, 'recalled', [qw(one two)],
        'the first within a second');
    Test::SerialVerify::wait_for { reference($_)->{recalled_lots} == 2 } "both at $_" for qw(one two);
    pass('and the second');
    $sv->lift_recall($gtin, $_) for qw(LOT1 LOT2);
    until_said('ok', qw(one two));
};


subtest 'whoever reads is killed or stands still' => sub {
    for my $round (1 .. 6) {
        my $whole = sub {
            $sv->lift_recall($gtin, 'LOT1');
            until_said('ok', 'one');
            Test::SerialVerify::wait_for { $sv->workers('one') == 2 } 'a new worker process';
        };

        # one after the other: the one that holds the lease is among them
        soon(1, sub {
            my @workers = $sv->workers('one');
            kill 'KILL', $workers[$round % @workers];
            $sv->recall_lot($gtin, 'LOT1', reason => "round $round");
        }, 'recalled', ['one'], 'recalled within a second', $whole);
        $whole->();
    }

    for my $worker ($sv->workers('one')) {
        my $again = sub { kill 'CONT', $worker; $sv->lift_recall($gtin, 'LOT1'); until_said('ok', 'one') };

        my ($took) = $sv->said_after(within => 1, back => $again, said => 'recalled',
            change => sub { kill 'STOP', $worker; $sv->recall_lot($gtin, 'LOT1', reason => "$worker stands") },
            ask => sub { eval { $sv->get($link, key => $key, nginx => 'one', timeout => 0.2)->{json}{reason} } // '' });
        cmp_ok($took, '<', 1, 'recalled within a second, with one process stopped');
        $again->();
    }
};


subtest 'PostgreSQL is away' => sub {
    $sv->stop('postgres');
    $sv->reload('one');

    ok(reference()->{complete}, 'the copy survives a reload');
    Test::SerialVerify::wait_for { reference()->{stale} } 'the copy to be called stale';
    pass('and says that it is old');

    $sv->start_nginx(name => 'three', unready => 1);
    is($sv->get($link, key => $key, nginx => 'three')->{status}, 503, 'without a copy: not known');
    is($sv->get($link, key => 'key-0123456789abcdef0123', nginx => 'three')->{status}, 503, '... never 401');

    $sv->start_postgres;
    Test::SerialVerify::wait_for { !reference()->{stale} && current('three') } 'PostgreSQL to be read again';
    is($sv->get($link, key => 'key-0123456789abcdef0123', nginx => 'three')->{status}, 401, 'now it is');
    until_said('ok', qw(one two three));
    $sv->stop('three');
};


# Numbers of another timeline say nothing about those that were read before.
subtest 'another database' => sub {
    my $n     = $sv->sql('select n from sv.ref_clock');
    my $epoch = $sv->sql('select pg_get_functiondef(?::regprocedure)', 'sv.epoch()');

    soon(3, sub {
        $sv->sql('update sv.ref_clock set n = 1');
        $sv->recall_lot($gtin, 'LOT1', reason => 'restored');
        $sv->sql(q(create or replace function sv.epoch() returns text language sql stable as $$ select '1/7/0' $$));
    }, 'recalled', [qw(one two)], 'a lower number of another timeline is read');

    soon(3, sub {
        $sv->sql($epoch);
        $sv->sql('update sv.ref_clock set n = ?', $n);
        $sv->lift_recall($gtin, 'LOT1');
    }, 'ok', [qw(one two)], 'and back');
};


subtest 'the zone is full' => sub {
    $sv->start_nginx(name => 'small', verify => {zone => '1m'});
    my $before = reference('small');

    $sv->sql(q(with clock as (update sv.ref_clock set n = n + 20000 returning n)
        insert into sv.product (gtin, name, company, ref_n)
        select 10000000000000 + i, 'product ' || i, 'acme', n - 20000 + i from clock, generate_series(1, 20000) as i));
    Test::SerialVerify::wait_for { reference('small')->{full} } 'the zone to be full';

    my $now = reference('small');
    ok($now->{stale}, 'the copy is stale');
    is($now->{locations}, $before->{locations}, 'and whole, up to some change');
    is(reason('small'), 'ok', 'it still answers');
    like($sv->log_of('small'), qr/\[error\].*does not fit into its zone/, 'the log says so');

    Test::SerialVerify::wait_for { current('one') } 'a larger zone to have it';
    is(reference()->{products}, 20001, 'a larger zone has all');

    $sv->numbered('update sv.product set ref_n = ?, deleted = true where gtin > 10000000000000');
    Test::SerialVerify::wait_for { current('small') } 'the small zone to have it';
    $now = reference('small');
    is($now->{products}, 1, 'it recovers by itself');
    ok(!$now->{full} && !$now->{stale}, 'and is up to date');
};


$sv->allow_log(qr/exited on signal 9/);
$sv->done_testing;
