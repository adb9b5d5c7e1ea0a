package Test::SerialVerify::Seed;

# Rows a test needs.  Written to the tables directly, so that a test of the
# functions does not rest on the functions.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);


# How every change of reference data gets its number.
sub numbered {
    my ($self, $text, @bind) = @_;

    my $dbh = $self->dbh;

    $dbh->begin_work;
    my ($n) = $dbh->selectrow_array('update sv.ref_clock set n = n + 1 returning n');
    my $rows = $dbh->do($text, undef, $n, @bind);
    $dbh->commit;

    return $rows + 0;
}


sub product {
    my ($self, $gtin, %row) = @_;

    %row = (name => 'Aspirin 500 mg', company => 'acme', %row);

    $self->numbered(
        'insert into sv.product (ref_n, gtin, name, company, lot_optional, expiry_optional, default_link, withdrawn_at, reason)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?)
         on conflict (gtin) do update set ref_n = excluded.ref_n, name = excluded.name, company = excluded.company,
             lot_optional = excluded.lot_optional, expiry_optional = excluded.expiry_optional,
             default_link = excluded.default_link, withdrawn_at = excluded.withdrawn_at, reason = excluded.reason, deleted = false',
        $gtin, @row{qw(name company)}, $row{lot_optional} ? 't' : 'f', $row{expiry_optional} ? 't' : 'f',
        @row{qw(default_link withdrawn_at reason)});

    return $gtin;
}


# lot(GTIN, LOT, expiry => '2030-12-31')
sub lot {
    my ($self, $gtin, $lot, %row) = @_;

    $self->sql('insert into sv.lot (gtin, lot, expiry) values (?, ?, ?)
                on conflict (gtin, lot) do update set expiry = excluded.expiry', $gtin, $lot, $row{expiry} // '2030-12-31');

    return $lot;
}


sub recall_lot {
    my ($self, $gtin, $lot, %row) = @_;

    return $self->numbered(
        'insert into sv.lot (ref_n, gtin, lot, recalled_at, reason, reference) values (?, ?, ?, now(), ?, ?)
         on conflict (gtin, lot) do update set ref_n = excluded.ref_n, recalled_at = excluded.recalled_at,
             reason = excluded.reason, reference = excluded.reference',
        $gtin, $lot, $row{reason} // 'impurity', $row{reference});
}


sub lift_recall {
    my ($self, $gtin, $lot) = @_;

    return $self->numbered('update sv.lot set ref_n = ?, recalled_at = null, reason = null, reference = null
                            where gtin = ? and lot = ?', $gtin, $lot);
}


# location(role => 'pharmacy', country => 'IT', company => ..): its number
sub location {
    my ($self, %row) = @_;

    my $id = $row{location_id} // $self->sql('select coalesce(max(location_id), 0) + 1 from sv.location');

    $self->numbered(
        'insert into sv.location (ref_n, location_id, gln, name, role, company, country, lat, lon)
         values (?, ?, ?, ?, ?::text::sv.role, ?, ?, ?, ?)',
        $id, $row{gln} // gln($id), $row{name} // "location $id", $row{role} // 'pharmacy', $row{company},
        $row{country} // 'IT', @row{qw(lat lon)});

    return $id;
}


# A GLN with a right check digit.
sub gln {
    my ($number) = @_;

    my $text = sprintf '95060001%04d', $number;
    my $sum  = 0;
    my $w    = 1;

    $sum += $_ * ($w = 4 - $w) for reverse split //, $text;

    return $text . (10 - $sum % 10) % 10;
}


# credential(LOCATION): an API key
sub credential {
    my ($self, $location, %row) = @_;

    my $key = $row{key} // 'key-' . substr(sha256_hex(rand() . $$ . $location), 0, 32);

    $self->numbered(
        "insert into sv.credential (ref_n, sha256, kind, location_id, not_before, not_after)
         values (?, decode(?, 'hex'), ?, ?, coalesce(?::timestamptz, now() - interval '1 day'), ?)",
        $row{sha256} // sha256_hex($key), $row{kind} // 'api_key', $location, @row{qw(not_before not_after)});

    return $key;
}


sub revoke {
    my ($self, $key) = @_;

    return $self->numbered("update sv.credential set ref_n = ?, revoked = true where sha256 = decode(?, 'hex')", sha256_hex($key));
}


# A location and its key in one: actor('pharmacy', country => 'IT'); ->{key}, ->{id}
sub actor {
    my ($self, $role, %row) = @_;

    my $id = $self->location(role => $role, %row);

    return {id => $id, key => $self->credential($id)};
}


sub pharmacy { my ($self, $country) = @_; return $self->actor('pharmacy', country => $country // 'IT')->{key} }


# pack(GTIN, SERIAL, lot =>, expiry =>, state =>, version =>)
sub pack_row {
    my ($self, $gtin, $serial, %row) = @_;

    %row = (lot => 'LOT1', expiry => '2030-12-31', state => 'active', version => 1, %row);

    $self->lot($gtin, $row{lot}, expiry => $row{expiry});
    $self->sql(
        'insert into sv.pack (gtin, serial, lot, expiry, state, version, location_id, since)
         values (?, ?, ?, ?, ?::text::sv.pack_state, ?, ?, ?)',
        $gtin, $serial, @row{qw(lot expiry state version location_id since)});

    return $serial;
}


# The pack's own address: link(GTIN, SERIAL, lot =>, expiry => 'YYMMDD'); undef leaves an element away
sub link_to {
    my ($self, $gtin, $serial, %element) = @_;

    %element = (lot => 'LOT1', expiry => '301231', %element);

    my $escape = sub {
        my ($text) = @_;
        $text =~ s/([^A-Za-z0-9_-])/sprintf '%%%02X', ord $1/ge;
        return $text;
    };

    return sprintf('/01/%014d', $gtin)
        . (defined $element{lot} ? '/10/' . $escape->($element{lot}) : '')
        . '/21/' . $escape->($serial)
        . (defined $element{expiry} ? "?17=$element{expiry}" : '');
}


1;
