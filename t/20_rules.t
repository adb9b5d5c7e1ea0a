# The rules of the domain: what every operation does to a pack in every state,
# at the location that changed it last or elsewhere, and who may ask.  The
# tables below are written out by hand, not derived from sql/.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use Test::SvPg;

#   ok     done (verify: in order)
#   here   already_supplied_here            N
#   A10    already_supplied_here            code A10, no alert
#   seen   the state's word                 N
#   A7     the state's word                 code A7, alert
#   A24    the state's word                 code A24, alert
#   end    the state's word, terminal       code A24, no alert
#   A5     undo_elsewhere                   code A5, no alert
#   none   nothing_to_undo                  N
my $at_same_location = <<'TABLE';
             |              operation                            |              undo of
state        | verify supply destr. export sample free lock steal out | supply destr. export sample free lock steal out
active       | ok     ok     ok     ok     ok     ok   ok   ok    ok  | none   none   none   none   none none none  none
supplied     | here   A10    A24    A24    A24    A24  A24  A24   A24 | ok     A24    A24    A24    A24  A24  A24   A24
destroyed    | seen   A24    A24    A24    A24    A24  A24  A24   A24 | end    end    end    end    end  end  end   end
exported     | seen   A24    A24    A7     A24    A24  A24  A24   A24 | A24    A24    ok     A24    A24  A24  A24   A24
sample       | seen   A24    A24    A24    A7     A24  A24  A24   A24 | A24    A24    A24    ok     A24  A24  A24   A24
free_sample  | seen   A24    A24    A24    A24    A7   A24  A24   A24 | A24    A24    A24    A24    ok   A24  A24   A24
locked       | seen   A24    A24    A24    A24    A24  A7   A24   A24 | A24    A24    A24    A24    A24  ok   A24   A24
stolen       | seen   A24    A24    A24    A24    A24  A24  A24   A24 | end    end    end    end    end  end  end   end
checked_out  | seen   A24    A24    A24    A24    A24  A24  A24   A24 | A24    A24    A24    A24    A24  A24  A24   ok
TABLE

my $elsewhere = <<'TABLE';
             |              operation                            |              undo of
state        | verify supply destr. export sample free lock steal out | supply destr. export sample free lock steal out
active       | ok     ok     ok     ok     ok     ok   ok   ok    ok  | none   none   none   none   none none none  none
supplied     | seen   A24    A24    A24    A24    A24  A24  A24   A24 | A5     A5     A5     A5     A5   A5   A5    A5
destroyed    | seen   A24    A24    A24    A24    A24  A24  A24   A24 | end    end    end    end    end  end  end   end
exported     | seen   A24    A24    A24    A24    A24  A24  A24   A24 | A5     A5     A5     A5     A5   A5   A5    A5
sample       | seen   A24    A24    A24    A24    A24  A24  A24   A24 | A5     A5     A5     A5     A5   A5   A5    A5
free_sample  | seen   A24    A24    A24    A24    A24  A24  A24   A24 | A5     A5     A5     A5     A5   A5   A5    A5
locked       | seen   A24    A24    A24    A24    A24  A24  A24   A24 | A5     A5     A5     A5     A5   A5   A5    A5
stolen       | seen   A24    A24    A24    A24    A24  A24  A24   A24 | end    end    end    end    end  end  end   end
checked_out  | seen   A24    A24    A24    A24    A24  A24  A24   A24 | A5     A5     A5     A5     A5   A5   A5    A5
TABLE

# Y: may; what a role may do it may undo
my $may = <<'TABLE';
role                 | verify supply destr. export sample free lock steal out
pharmacy             | Y      Y      Y      -      Y      -    -    -     -
wholesaler           | Y      -      Y      Y      Y      Y    Y    Y     -
parallel_distributor | Y      -      Y      Y      Y      Y    Y    Y     Y
manufacturer         | Y      -      Y      Y      Y      Y    Y    Y     Y
authority            | Y      -      -      -      -      -    -    -     -
reviewer             | Y      -      -      -      -      -    -    -     -
operator             | Y      -      -      -      -      -    -    -     -
TABLE

my @operations = qw(verify supply destroy export sample free_sample lock steal check_out);
my @columns = ((map { [$_, undef] } @operations), map { ['undo', $_] } @operations[1 .. 8]);

my %leads_to = (supply => 'supplied', destroy => 'destroyed', export => 'exported', sample => 'sample',
    free_sample => 'free_sample', lock => 'locked', steal => 'stolen', check_out => 'checked_out', undo => 'active');

# cell: reason, code, alert
my %meaning = (
    ok   => sub { ['ok', undef, 0] },
    here => sub { ['already_supplied_here', undef, 0] },
    A10  => sub { ['already_supplied_here', 'A10', 0] },
    seen => sub { [word($_[0]), undef, 0] },
    A7   => sub { [word($_[0]), 'A7', 1] },
    A24  => sub { [word($_[0]), 'A24', 1] },
    end  => sub { [word($_[0]), 'A24', 0] },
    A5   => sub { ['undo_elsewhere', 'A5', 0] },
    none => sub { ['nothing_to_undo', undef, 0] },
);

my $gtin = 9506000134352;
my $pg = Test::SvPg->new;
my $dbh = $pg->connect;
my $gateway = $pg->connect('sv_gateway');


sub word {
    my ($state) = @_;

    return $state eq 'supplied' ? 'already_supplied' : $state;
}


sub rows_of {
    my ($table) = @_;

    my %row;

    for my $line (grep { !/^(?:\s|state|role)/ } split /\n/, $table) {
        my ($name, @cells) = grep { $_ ne '|' } split ' ', $line;
        $row{$name} = \@cells;
    }

    return \%row;
}


sub name_of {
    my ($operation, $of) = @_;

    return $of ? "undo of $of" : $operation;
}


my %table = (here => rows_of($at_same_location), other => rows_of($elsewhere));
my $permission = rows_of($may);
my @states = qw(active supplied destroyed exported sample free_sample locked stolen checked_out);
my @roles = qw(pharmacy wholesaler parallel_distributor manufacturer authority reviewer operator);

is_deeply([sort keys %{ $table{$_} }], [sort @states], "the table '$_' has every state") for qw(here other);
is(scalar(grep { @{$_} == @columns } map { values %{$_} } values %table), 18, 'and every operation');

is_deeply([map { @{$_} } @{ $dbh->selectall_arrayref('select unnest(enum_range(null::sv.pack_state))') }], [@states, 'void'],
    'the database knows these states, and the packs nobody is told of');
is_deeply([map { @{$_} } @{ $dbh->selectall_arrayref('select unnest(enum_range(null::sv.role))') }], \@roles,
    'and these roles');
is_deeply([map { @{$_} } @{ $dbh->selectall_arrayref('select unnest(enum_range(null::sv.operation))') }],
    [@operations, 'undo'], 'and these operations');
is($dbh->selectrow_array('select count(*) from sv.transition'), @states * @columns * 2, 'there is a rule for every cell');

$dbh->do(q{insert into sv.product (gtin, name, company) values (?, 'Test', 'ACME'), (9506000134369, 'Other', 'Umbrella')},
    undef, $gtin);
$dbh->do(q{insert into sv.lot (gtin, lot, expiry) values (?, 'L1', '2030-06-30'), (?, 'L2', '2030-06-30'),
    (9506000134369, 'L1', '2030-06-30')}, undef, $gtin, $gtin);

for my $i (0 .. $#roles) {
    for my $place (1, 2) {
        $dbh->do('insert into sv.location (location_id, gln, name, role, company, country) values (?, ?, ?, ?, ?, ?)',
            undef, 10 * ($i + 1) + $place, "g$i-$place", $roles[$i], $roles[$i], 'ACME', 'DE');
    }
}

my $n = 0;

sub new_pack {
    my ($state, $location, %option) = @_;

    my $serial = 'S' . ++$n;

    $dbh->do(q{insert into sv.pack (gtin, serial, lot, expiry, state, location_id, since, version)
        values (?, ?, ?, ?, ?, ?, now() - interval '1 hour', 7)}, undef, $option{gtin} // $gtin, $serial,
        $option{lot} // 'L1', $option{expiry} // '2030-06-30', $state, $location);

    return $serial;
}


sub pack_of {
    my ($serial) = @_;

    return $dbh->selectrow_hashref('select state, version, location_id, repeats from sv.pack where gtin = ? and serial = ?',
        undef, $gtin, $serial);
}


# Every cell, by every role.

for my $role (0 .. $#roles) {
    my ($here, $other) = (10 * ($role + 1) + 1, 10 * ($role + 1) + 2);

    for my $state (@states) {
        my (@got, @expected);

        for my $place (qw(here other)) {
            for my $c (0 .. $#columns) {
                my ($operation, $of) = @{ $columns[$c] };
                my ($column) = grep { $operations[$_] eq ($of // $operation) } 0 .. $#operations;
                my $allowed = $permission->{ $roles[$role] }[$column] eq 'Y';
                my $cell = $table{$place}{$state}[$c];
                my $name = "$roles[$role], $state, $place: " . name_of($operation, $of);

                my ($reason, $code, $alert) = $allowed ? @{ $meaning{$cell}->($state) } : ('not_permitted', undef, 0);
                my $changed = $reason eq 'ok' && $operation ne 'verify' ? 1 : 0;
                my $after = $changed ? $leads_to{$operation} : $state;

                my $serial = new_pack($state, $here);
                my $id = Test::SvPg::uuid();
                my $o = $pg->operate($gateway, { serial => $serial, operation => $operation, of => $of,
                    location => $place eq 'here' ? $here : $other, audit_id => $id });
                my $pack = pack_of($serial);
                my ($audited) = $dbh->selectrow_array('select count(*) from sv.outbox o join sv.audit a using (gtin, at, audit_id)'
                    . ' where o.gtin = ? and o.audit_id = ? and a.serial = ? and a.reason = ? and a.state = ? and a.changed = ?',
                    undef, $gtin, $id, $serial, $o->{reason}, $o->{state}, $o->{changed});

                push @got, join ' ', $name, map { $_ // '-' } $o->{reason}, $o->{code}, $o->{alert_id}, $o->{changed} + 0,
                    $o->{state}, $o->{state_before}, $o->{version}, $pack->{state}, $pack->{version}, $pack->{location_id},
                    "audited $audited";
                push @expected, join ' ', $name, map { $_ // '-' } $reason, $code, $alert ? 'XX-ALERT' : undef, $changed,
                    $after, $state, 7 + $changed, $after, 7 + $changed, $changed && $place eq 'other' ? $other : $here,
                    'audited 1';
            }
        }

        is_deeply(\@got, \@expected, "$roles[$role]: every operation on a pack that is $state");
    }
}


# Identity and status come before the state, in this order, for every operation.

my ($pharmacy, $manufacturer) = (11, 41);
my %asks = map { $_ => $_ eq 'supply' ? $pharmacy : $manufacturer } @operations;

$dbh->do(q{insert into sv.lot (gtin, lot, expiry, recalled_at, reason) values
    (?, 'RECALLED', '2030-06-30', now() - interval '1 day', 'x'), (?, 'OLD', '2020-01-31', null, null),
    (?, 'OLDRECALLED', '2020-01-31', now() - interval '1 day', 'x'), (?, 'ANNOUNCED', null, now(), 'x')},
    undef, ($gtin) x 4);

my $yesterday = $dbh->selectrow_array(q{select (now() at time zone 'UTC')::date - 1});
my $today = $dbh->selectrow_array(q{select (now() at time zone 'UTC')::date});

#  case                          what is presented                             pack's             reason           code alert
my @status = (
    ['unknown product',          { gtin => 9506000134376 },                    {},                'product_unknown', 'A1', 0],
    ['lot known, serial unknown', { serial => 'NOPE' },                        {},                'serial_unknown',  'A3', 1],
    ['lot and serial unknown',   { serial => 'NOPE', lot => 'NOPE' },          {},                'lot_unknown',     'A2', 1],
    ['lot recalled, never loaded', { serial => 'NOPE', lot => 'ANNOUNCED' },   {},                'lot_unknown',     'A2', 1],
    ['another lot',              { lot => 'L2' },                              {},                'lot_mismatch',    'A68', 1],
    ['the lot in lower case',    { lot => 'l1' },                              {},                'lot_mismatch',    'A68', 0],
    ['another lot and expiry',   { lot => 'L2', expiry => '2030-05-31' },      {},                'lot_mismatch',    'A68', 1],
    ['another expiry',           { expiry => '2030-06-29' },                   {},                'expiry_mismatch', 'A52', 1],
    ['another expiry, recalled', { expiry => '2030-06-29', lot => 'RECALLED' }, { lot => 'RECALLED' }, 'expiry_mismatch', 'A52', 1],
    ['recalled',                 { lot => 'RECALLED' },                        { lot => 'RECALLED' }, 'recalled',    undef, 0],
    ['expired',                  { lot => 'OLD', expiry => '2020-01-31' },     { lot => 'OLD', expiry => '2020-01-31' }, 'expired', undef, 0],
    ['expired yesterday',        { expiry => $yesterday },                     { expiry => $yesterday }, 'expired',  undef, 0],
    ['expired and recalled',     { lot => 'OLDRECALLED', expiry => '2020-01-31' }, { lot => 'OLDRECALLED', expiry => '2020-01-31' },
        'expired', undef, 0],
);

sub sweep {
    my ($name, $given, $pack, @expected) = @_;

    my (@got, @want);

    for my $state (qw(active supplied exported stolen)) {
        for my $column (@columns) {
            my ($operation, $of) = @{$column};
            my $asks = $asks{ $of // $operation };
            my $serial = new_pack($state, $asks, %{$pack});
            my $o = $pg->operate($gateway, { serial => $serial, operation => $operation, of => $of, location => $asks, %{$given} });
            my $after = pack_of($serial);

            push @got, join ' ', $state, name_of($operation, $of), map { $_ // '-' } $o->{reason}, $o->{code}, $o->{alert_id},
                $o->{changed} + 0, $after->{state};
            push @want, join ' ', $state, name_of($operation, $of), map { $_ // '-' } $expected[0], $expected[1],
                $expected[2] ? 'XX-ALERT' : undef, 0, $state;
        }
    }

    is_deeply(\@got, \@want, "$name: $expected[0], whatever the operation and the state");

    return;
}

sweep(@{$_}) for @status;

{
    my $serial = new_pack('active', undef, expiry => $today);
    my $o = $pg->operate($gateway, { serial => $serial, operation => 'supply', location => $pharmacy, expiry => $today });
    is($o->{reason}, 'ok', 'a pack may be supplied on the day it expires');
}

$dbh->do('update sv.product set withdrawn_at = now(), reason = ? where gtin = ?', undef, 'x', $gtin);

sweep('withdrawn', {}, {}, 'withdrawn', undef, 0);
sweep('withdrawn and recalled', { lot => 'RECALLED' }, { lot => 'RECALLED' }, 'recalled', undef, 0);
sweep('withdrawn and expired', { expiry => $yesterday }, { expiry => $yesterday }, 'expired', undef, 0);
sweep('withdrawn, another lot', { lot => 'L2' }, {}, 'lot_mismatch', 'A68', 1);

$dbh->do('update sv.product set withdrawn_at = null, deleted = true where gtin = ?', undef, $gtin);

sweep('removed product', {}, {}, 'product_unknown', 'A1', 0);

$dbh->do('update sv.product set deleted = false where gtin = ?', undef, $gtin);


# What may be left away.

my %missing = (
    'no lot'            => { lot => undef },
    'no expiry'         => { expiry => undef },
    'no lot and expiry' => { lot => undef, expiry => undef },
);

for my $optional ([0, 0], [1, 0], [0, 1], [1, 1]) {
    my ($lot_optional, $expiry_optional) = @{$optional};

    $dbh->do('update sv.product set lot_optional = ?, expiry_optional = ? where gtin = ?', undef, $lot_optional,
        $expiry_optional, $gtin);

    for my $name (sort keys %missing) {
        my $may_miss = ($name =~ /lot/ ? $lot_optional : 1) && ($name =~ /expiry/ ? $expiry_optional : 1);
        my (@got, @want);

        for my $column (@columns) {
            my ($operation, $of) = @{$column};
            my $asks = $asks{ $of // $operation };
            my $state = $operation eq 'undo' && $of !~ /destroy|steal/ ? $leads_to{$of} : 'active';
            my $o = $pg->operate($gateway, { serial => new_pack($state, $asks), operation => $operation, of => $of,
                location => $asks, %{ $missing{$name} } });

            push @got, name_of($operation, $of) . " $o->{reason}";
            push @want, name_of($operation, $of) . ' ' . (!$may_miss && $operation ne 'verify' ? 'elements_missing'
                : $operation eq 'undo' && $of =~ /destroy|steal/ ? 'nothing_to_undo' : 'ok');
        }

        is_deeply(\@got, \@want, "$name, lot " . ($lot_optional ? 'optional' : 'required') . ', expiry '
            . ($expiry_optional ? 'optional' : 'required'));
    }
}

$dbh->do('update sv.product set lot_optional = false, expiry_optional = false where gtin = ?', undef, $gtin);


# A manufacturer acts on its own company's products.

{
    my (@got, @want);

    for my $column (@columns) {
        my ($operation, $of) = @{$column};
        my $o = $pg->operate($gateway, { gtin => 9506000134369, serial => new_pack('active', undef, gtin => 9506000134369),
            operation => $operation, of => $of, location => $manufacturer });

        push @got, name_of($operation, $of) . " $o->{reason} " . ($o->{changed} + 0);
        push @want, name_of($operation, $of) . ' ' . ($operation eq 'verify' ? 'ok' : 'not_permitted') . ' 0';
    }

    is_deeply(\@got, \@want, q{a manufacturer only verifies another company's product});

    $dbh->do('update sv.location set company = null where location_id = ?', undef, $manufacturer);
    is($pg->operate($gateway, { serial => new_pack('active', undef), operation => 'lock', location => $manufacturer })->{reason},
        'not_permitted', 'a manufacturer without a company acts on nothing');
    $dbh->do('update sv.location set company = ? where location_id = ?', undef, 'ACME', $manufacturer);
}

for my $case (['a location that was removed', 12], ['a location that never was', 999]) {
    my ($name, $location) = @{$case};

    $dbh->do('update sv.location set deleted = true where location_id = ?', undef, $location);

    my $serial = new_pack('active', undef);
    my $o = $pg->operate($gateway, { serial => $serial, operation => 'supply', location => $location });
    is("$o->{reason} " . pack_of($serial)->{state}, 'not_permitted active', "$name may not supply");
    is($pg->operate($gateway, { serial => $serial, operation => 'verify', location => $location })->{reason},
        'not_permitted', "$name may not verify");
}


# Requests that make no sense have no effect, and are errors.

for my $case (['undo of nothing', 'undo', undef], ['undo of a verify', 'undo', 'verify'], ['undo of an undo', 'undo', 'undo'],
    ['a supply of an export', 'supply', 'export'], ['an unknown operation', 'eat', undef])
{
    my ($name, $operation, $of) = @{$case};
    my ($before) = $dbh->selectrow_array('select count(*) from sv.idempotency');

    ok(!eval { $pg->operate($gateway, { serial => 'S1', operation => $operation, of => $of, location => $pharmacy }); 1 },
        "$name is an error");
    is($gateway->state =~ /^22/ ? 22 : $gateway->state, 22, '... of the data');
    is($dbh->selectrow_array('select count(*) from sv.idempotency'), $before, '... that stores nothing');
}


# A verify by sv.operate() is what sv.judge() says.

{
    my @judged = @{ $dbh->selectall_arrayref(q{
        select t.state || ' ' || t.same_location, t.reason,
          sv.judge(true, true, true, 'L1', '2030-06-30', 'L1', '2030-06-30', false, false, '2030-06-30', t.state::text,
            t.same_location)
        from sv.transition t where t.operation = 'verify'}) };

    is_deeply([map { "$_->[0] $_->[1]" } @judged], [map { "$_->[0] $_->[2]" } @judged], 'one rule for a verify');
}


# Scanner hints: what a keyboard setting or a lost separator explains, and nothing else.

my %registered = map { $_->[0] => $_->[1] } (
    ['abcXYZ123', 'L1'], ['Zy9zY', 'L1'], ['QwAz7', 'L1'], ['12345', 'L2'], ['GLUE1', 'LOT7'], ['mM5', 'L1'],
    ['ALLO', 'AbC9'],
);

for my $serial (keys %registered) {
    $dbh->do(q{insert into sv.lot (gtin, lot, expiry) values (?, ?, '2030-06-30') on conflict do nothing}, undef, $gtin,
        $registered{$serial});
    $dbh->do(q{insert into sv.pack (gtin, serial, lot, expiry) values (?, ?, ?, '2030-06-30')}, undef, $gtin, $serial,
        $registered{$serial});
}

#       serial       lot               hint
for my $case (
    ['ABCxyz123',    'L1',             'scanner', 'Caps Lock'],
    ['abcXZY123',    'L1',             'scanner', 'Y and Z swapped'],
    ['ABCxzy123',    'L1',             'scanner', 'both'],
    ['Yz9yZ',        'l1',             'scanner', 'Y and Z swapped, and the lot unknown with it'],
    ['AzQw7',        'L1',             'scanner', 'AZERTY'],
    ['aZqW7',        'L1',             'scanner', 'AZERTY and Caps Lock'],
    [',?5',          'L1',             'scanner', 'an m typed on AZERTY'],
    ['ALLO',         'aBc9',           'scanner', 'Caps Lock in the lot only'],
    ['GLUE1',        'LOT717300630',   'scanner', 'the expiry glued to the lot'],
    ['GLUE1',        'LOT721X',        'scanner', 'the serial glued to the lot'],
    ['GLUE1',        'LOT771012345',   'scanner', 'a national number glued to the lot'],
    ['GLUE1',        'LOT791A',        'scanner', 'an internal element glued to the lot'],
    ['NOPE',         'LOT717300630',   'scanner', 'the same with a serial that is unknown'],
    ['GLUE1',        'LOT799',         undef,     'not an element'],
    ['GLUE1',        'LOT717309930',   undef,     'not a date'],
    ['GLUE1',        'LOT8',           undef,     'another lot'],
    ['GLUE1',        'LOT',            undef,     'a lot cut short'],
    ['l2345',        'L2',             undef,     'l for 1 is no scanner'],
    ['ABCXYZ123',    'L1',             undef,     'all capitals is no Caps Lock'],
    ['NOPE',         'L1',             undef,     'a serial that is simply unknown'],
    ['12345',        'L2',             undef,     'nothing wrong'],
) {
    my ($serial, $lot, $hint, $name) = @{$case};

    is($gateway->selectrow_array('select sv.hint(?, ?, ?)', undef, $gtin, $serial, $lot), $hint, "hint: $name");
    is($pg->operate($gateway, { serial => $serial, lot => $lot, operation => 'verify', location => $pharmacy })->{hint},
        $hint, '... and in an operation');
}

is($gateway->selectrow_array('select sv.hint(?, ?, ?)', undef, $gtin, 'NOPE', undef), undef, 'hint: no lot presented');

is_deeply([$pg->alarms], [], 'the server logged nothing alarming');

done_testing();
