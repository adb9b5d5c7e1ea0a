#!/usr/bin/env perl

# The lease of the judge: one holds it; who looks at it does not take it away,
# nor make the holder forget that it was its own all the time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Test::SerialVerify;

my $sv = Test::SerialVerify->new;
$sv->start_postgres;

my ($one, $two, $look) = map { $sv->new_dbh } 1 .. 3;
my %holder = map { $_ => $sv->sql('select gen_random_uuid()') } qw(one two);


# held, kept; `1 1': mine, and nobody else's since
sub take {
    my ($dbh, $name) = @_;

    return join ' ', $dbh->selectrow_array('select held::integer, kept::integer from sv.judge_take(?, 3600000)', undef, $holder{$name});
}

# so many seconds of the lease are left
sub left { my ($seconds) = @_; $sv->sql('update sv.judge set until = clock_timestamp() + make_interval(secs => ?)', $seconds); return }


subtest 'one at a time' => sub {
    is(take($one, 'one'), '1 0', 'it is free');
    is(take($one, 'one'), '1 1', '.. and kept');
    is(take($two, 'two'), '0 0', 'another has it');
    left(-1);
    is(take($two, 'two'), '1 0', 'it has ended');
    is(take($one, 'one'), '0 0', '.. for who had it, too');
    left(-1);
    is(take($one, 'one'), '1 0', 'and was not kept meanwhile');
    $one->do('select sv.judge_leave(?)', undef, $holder{one});
    is(take($two, 'two'), '1 0', 'given back');
    $two->disconnect;
    Test::SerialVerify::wait_for { take($one, 'one') eq '1 0' } 'the lease of a session that has gone';
    pass('nobody waits for who has gone');
};

subtest 'somebody looks' => sub {
    my $until = sub { return $sv->sql('select extract(epoch from until - clock_timestamp()) from sv.judge') };

    left(1200);
    $look->begin_work;
    $look->do('select from sv.judge for update');
    is(take($one, 'one'), '1 1', 'what is good stays good, when it cannot be renewed at this moment');
    cmp_ok($until->(), '<', 1200, 'it is not renewed');
    $look->rollback;
    is(take($one, 'one'), '1 1', 'now it can');
    cmp_ok($until->(), '>', 1800, 'and is');

    # the others look all the time, and are not in the way
    my $other = $sv->new_dbh;
    $other->begin_work;
    is(take($other, 'two'), '0 0', 'another one looks');
    left(1200);
    is(take($one, 'one'), '1 1', 'the holder goes on');
    cmp_ok($until->(), '>', 1800, 'and renews it, whatever the other does meanwhile');
    $other->rollback;

    # one that ended is not good because somebody looks
    left(-1);
    $look->begin_work;
    $look->do('select from sv.judge for update');
    is(take($one, 'one'), '0 1', 'what has ended is not held');
    $look->rollback;
};

$sv->done_testing;
