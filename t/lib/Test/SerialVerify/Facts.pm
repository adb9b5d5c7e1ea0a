package Test::SerialVerify::Facts;

# What feeds told, as rows that can be compared: without anything that depends on
# the file, or on when it came.
#
#   my $facts = Test::SerialVerify::Facts->new($sv, gtin => 9506000134352);
#   $facts->load([{step => 'commissioning', items => ['A1', 'A2'], lot => 'L1'}]);
#   is_deeply($facts->tables, $before);
#
# An event is {step, action, kind, time, items, parent, lot, expiry, id, error};
# an item is a serial, "GTIN/SERIAL", or an SSCC of 18 digits.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use JSON::PP ();

my %action = (
    commissioning => 'add', packing => 'add', unpacking => 'delete', decommissioning => 'delete', destroying => 'delete',
    sampling => 'delete', dispensing => 'delete',
);

my $json = JSON::PP->new->canonical;


sub new {
    my ($class, $sv, %option) = @_;

    return bless {sv => $sv, gtin => 9506000134352, number => 0, %option}, $class;
}


# (GTIN, serial)
sub item {
    my ($self, $name) = @_;

    return (0, $name) if $name =~ /^[0-9]{18}$/;
    return ($1 + 0, $2) if $name =~ m{^([0-9]+)/(.+)$};

    return ($self->{gtin}, $name);
}


# An event with all that was left away.
sub event {
    my ($self, %event) = @_;

    $event{step} //= 'commissioning';
    $event{kind} //= $event{step} =~ /packing$/ ? 'aggregation' : 'object';
    $event{action} //= $action{$event{step}} // 'observe';
    $event{time} //= '2026-11-01T10:00:00Z';
    $event{items} //= [];

    if ($event{step} eq 'commissioning' && !$event{container}) {
        $event{expiry} //= '2030-12-31';
        $event{lot} //= 'L1';
    }

    my $facts = join '|', map { $_ // '' } @event{qw(kind action step time parent lot expiry)}, sort @{$event{items}};

    $event{facts} //= sha256_hex($facts);
    $event{identity} //= sha256_hex(defined $event{id} ? "id $event{id}" : $facts);

    return \%event;
}


# load(EVENTS, name =>, company =>, csv => [[serial, lot, expiry]..], until => STEP): what the worker does, by hand.
# `until' ends it there, as if the worker had been killed: ready, claim, lots, or a number of pieces.
sub load {
    my ($self, $events, %option) = @_;

    my $dbh   = $option{dbh} // $self->{sv}->dbh;
    my $until = $option{until} // '';
    my $name  = $option{name} // 'file ' . ++$self->{number};

    my ($load, $action) = $dbh->selectrow_array(
        q{select load_id, action from sv.load_begin(sha256(convert_to(?, 'UTF8')), ?, 'epcis_json', 1, 'here', '', ?, false)},
        undef, $name, $name, $option{company} // '');
    return {load => $load, action => $action} if $action eq 'skip';

    my $stage = $dbh->selectrow_array('select sv.stage_open(?)', undef, $load);
    $self->stage($dbh, $stage, $events, $option{csv} // []);

    my %done = (load => $load, stage => $stage, action => $action);
    @done{qw(lots seen reused)} = $dbh->selectrow_array('select lots, seen, reused from sv.stage_ready(?, ?)', undef, $load, $stage);
    $done{refused} = $dbh->selectall_arrayref(q{select reason, packs from sv.stage_reused(?, 0, 100)}, undef, $stage);
    $done{unknown} = $dbh->selectall_arrayref(q{select gtin, reason, lines from sv.stage_unknown(?, 0, 100)}, undef, $stage);
    return \%done if $until eq 'ready';

    @done{qw(claimed lost aside)} = @{$self->again($dbh, 'select events, seen, aside from sv.stage_claim(?, ?)', $load, $stage)};
    return \%done if $until eq 'claim';

    for my $n (1 .. $done{lots}) {
        push @{$done{outcomes}}, $self->again($dbh, 'select outcome, new_packs, repeated, contradictions from sv.merge_lot(?, ?, ?, gen_random_uuid())', $load, $stage, $n);
    }

    return \%done if $until eq 'lots';

    my ($last, $pieces) = (0, 0);

    while (defined $last) {
        my ($row) = $self->again($dbh, 'select last, parked from sv.merge_events(?, ?, ?, ?, gen_random_uuid())', $load, $stage, $last, $option{limit} // 5000);
        $last = $row->[0];
        $done{parked} += $row->[1];
        return \%done if $until =~ /^[0-9]+$/ && ++$pieces == $until;
    }

    my $rejected = grep { $_->[0] eq 'product_unknown' } @{$done{outcomes} // []};
    $dbh->do(q{select sv.load_finish(?, ?, ?, null, 1, 0, ?, 0, 0, '{}', '[]')}, undef, $load, $stage,
        $rejected || @{$done{unknown}} || @{$done{refused}} ? 'partial' : 'loaded', scalar @{$events});
    $dbh->do('select sv.load_filed(?)', undef, $load);

    return \%done;
}


# A statement that may be told to try again.
sub again {
    my ($self, $dbh, $text, @bind) = @_;

    for (1 .. 10) {
        my $row = eval { $dbh->selectrow_arrayref($text, undef, @bind) };
        return [@{$row}] if $row;
        die $@ if ($dbh->state // '') !~ /^(?:40001|40P01)$/;
    }

    die $@;
}


sub stage {
    my ($self, $dbh, $stage, $events, $csv) = @_;

    my ($n, $line) = (0, 0);
    my $pack = "insert into sv.$stage (gtin, event_time, line, expiry, event, serial, lot) values (?, ?, ?, ?, ?, ?, ?)";

    $dbh->do($pack, undef, ($self->item($_->[0]))[0], undef, ++$line, $_->[2] // '2030-12-31', undef, ($self->item($_->[0]))[1], $_->[1] // 'L1') for @{$csv};

    for my $told (map { $self->event(%{$_}) } @{$events}) {
        my %e = %{$told};
        my ($parent_gtin, $parent_serial) = defined $e{parent} ? $self->item($e{parent}) : ();

        $dbh->do("insert into sv.${stage}_event (event, line, identity, facts, event_id, kind, action, step, event_time, parent_gtin, parent_serial,
              lot, expiry, packs, error)
            values (?, ?, decode(?, 'hex'), decode(?, 'hex'), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", undef,
            ++$n, ++$line, @e{qw(identity facts id kind action step time)}, $parent_gtin, $parent_serial, @e{qw(lot expiry)}, scalar @{$e{items}},
            $e{error} ? $json->encode($e{error}) : undef);

        for my $name (@{$e{items}}) {
            my ($gtin, $serial) = $self->item($name);

            if ($e{step} eq 'commissioning' && $gtin && defined $e{lot} && !$e{error}) {
                $dbh->do($pack, undef, $gtin, $e{time}, ++$line, $e{expiry}, $n, $serial, $e{lot});
            } else {
                $dbh->do("insert into sv.${stage}_epc (event, line, gtin, serial) values (?, ?, ?, ?)", undef, $n, ++$line, $gtin, $serial);
            }
        }
    }

    return;
}


my %type = (object => 'ObjectEvent', aggregation => 'AggregationEvent', transaction => 'TransactionEvent');

# An event as EPCIS 2.0 JSON, items as Digital Links.
sub epcis {
    my ($self, %told) = @_;

    my %e = %{$self->event(%told)};
    my $epc = sub {
        my ($gtin, $serial) = $self->item($_[0]);
        $serial =~ s/([^A-Za-z0-9_-])/sprintf '%%%02X', ord $1/ge;
        return $gtin ? sprintf('https://id.gs1.org/01/%014d/21/%s', $gtin, $serial) : "https://id.gs1.org/00/$serial";
    };
    my @items = map { $epc->($_) } @{$e{items}};

    return {
        type => $type{$e{kind}}, action => uc $e{action}, bizStep => $e{step}, eventTime => $e{time}, eventTimeZoneOffset => '+00:00',
        defined $e{id} ? (eventID => $e{id}) : (),
        $e{kind} eq 'aggregation' ? (parentID => $epc->($e{parent}), childEPCs => \@items) : (epcList => \@items),
        defined $e{lot} ? (ilmd => {'cbvmda:lotNumber' => $e{lot}, 'cbvmda:itemExpirationDate' => $e{expiry}}) : (),
        $e{error} ? (errorDeclaration => {declarationTime => '2026-11-20T00:00:00Z', %{$e{error}}}) : (),
    };
}

sub document {
    my ($self, @events) = @_;

    return $json->encode({type => 'EPCISDocument', schemaVersion => '2.0', creationDate => '2026-11-20T00:00:00Z',
        '@context' => ['https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld', {cbvmda => 'urn:epcglobal:cbv:mda'}],
        epcisBody => {eventList => [map { $self->epcis(%{$_}) } @events]}});
}


# An SSCC with a right check digit.
sub sscc {
    my ($number) = @_;

    my $text = sprintf '0950600%010d', $number;
    my $sum  = 0;
    my $w    = 1;

    $sum += $_ * ($w = 4 - $w) for reverse split //, $text;

    return $text . (10 - $sum % 10) % 10;
}


# Everything that was told and what follows from it, sorted, by table.  A pack that
# is void, and what was a contradiction until one of both was declared an error, are as good as not there.
my %table = (
    packs => q{select gtin, serial, state, lot, expiry, location_id from sv.pack where state <> 'void'},
    commissions => q{select distinct u.gtin, u.serial, u.lot, u.expiry, encode(v.identity, 'hex') as event, v.error is not null as error
        from (select gtin, serial, lot, expiry, load_id, event from sv.pack where state <> 'void'
              union all
              select gtin, serial, lot, expiry, load_id, event from sv.commission) u
          left join sv.event v on v.load_id = u.load_id and v.event = u.event},
    lots => q{select gtin, lot, expiry from sv.lot where expiry is not null},
    events => q{select encode(identity, 'hex') as identity, encode(facts, 'hex') as facts, event_id, kind, action, step, disposition, event_time,
          parent_gtin, parent_serial, lot, expiry, market, read_point, biz_location, packs, error ->> 'reason' as reason, error is not null as error
        from sv.event},
    members => q{select encode(v.identity, 'hex') as event, m.gtin, m.serial from sv.event_epc m left join sv.event v using (load_id, event)},
    ends => q{select x.gtin, x.serial, x.step, x.event_time, x.derived, encode(v.identity, 'hex') as event
        from sv.item_end x left join sv.event v using (load_id, event)},
    containers => q{select gtin, serial from sv.container},
    contents => q{select c.gtin, c.serial, x.gtin as item_gtin, x.serial as item_serial, x.parent_gtin, x.parent_serial, x.depth
        from (select distinct parent_gtin as gtin, parent_serial as serial from sv.event where parent_serial is not null) c
          cross join lateral sv.contents(c.gtin, c.serial, 'infinity') x},
    findings => q{select rule, gtin, serial, lot from sv.finding where not jsonb_exists(detail, 'explained') and not jsonb_exists(detail, 'resolved')},
    parked => q{select encode(v.identity, 'hex') as event, k.missing from sv.parked k left join sv.event v using (load_id, event)},
    quarantine => q{select reason, element, value, content, packs, state from sv.quarantine},
    overruled => q{select gtin, serial, state, location_id from sv.overruled},
);

sub tables {
    my ($self, $dbh) = @_;

    $dbh //= $self->{sv}->dbh;
    $self->unpark($dbh);

    my %rows;

    for my $name (keys %table) {
        my $rows = $dbh->selectall_arrayref($table{$name}, {Slice => {}});
        $rows{$name} = [sort map { $json->encode($_) } @{$rows}];
    }

    return \%rows;
}


# Looks again at all events that wait.
sub unpark {
    my ($self, $dbh) = @_;

    $dbh //= $self->{sv}->dbh;
    $dbh->do('update sv.parked set next_at = now()');
    $dbh->do('select sv.park_retry(100000)');

    return;
}


# Nothing was ever told.
sub forget {
    my ($self, $dbh) = @_;

    $dbh //= $self->{sv}->dbh;
    $dbh->begin_work;
    # quicker than to truncate all those partitions
    $dbh->do("delete from sv.$_") for qw(pack commission lot event event_epc item_end container parked quarantine overruled finding load load_lot load_error audit outbox);
    $dbh->commit;

    return;
}


1;
