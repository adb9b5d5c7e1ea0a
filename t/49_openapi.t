#!/usr/bin/env perl

# docs/api/openapi.json: whole, consistent, and true: every example is replayed
# against the server and its answer compared with the example and the schema.

use strict;
use warnings;

use B ();
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP ();
use Test::More;

use Test::SerialVerify;
use Test::SerialVerify::Answer;
use Test::SerialVerify::Cases;

my $root = Test::SerialVerify::root();
my $api  = JSON::PP->new->utf8->decode(Test::SerialVerify::slurp("$root/docs/api/openapi.json"));


# {'$ref' => '#/components/..'}: what it names
sub follow {
    my ($value) = @_;

    while (ref $value eq 'HASH' && defined $value->{'$ref'}) {
        my $path = $value->{'$ref'};
        $value = $api;
        $value = $value->{$_} // die "$path leads nowhere" for (split m{/}, $path)[1 .. ($path =~ tr{/}{})];
    }

    return $value;
}


sub type_of {
    my ($value) = @_;

    return 'null'    if !defined $value;
    return 'boolean' if JSON::PP::is_bool($value);
    return 'object'  if ref $value eq 'HASH';
    return 'array'   if ref $value eq 'ARRAY';
    return 'string'  if B::svref_2object(\$value)->FLAGS & B::SVf_POK;
    return $value == int $value ? 'integer' : 'number';
}

# What of JSON Schema the document uses; anything else is refused, not skipped.
my %check = (
    type => sub {
        my ($value, $type) = @_;
        my $is = type_of($value);
        return $is eq $type || ($type eq 'number' && $is eq 'integer') ? () : "is of type $is, not $type";
    },
    enum => sub {
        my ($value, $words) = @_;
        return (grep { $_ eq ($value // '') } @{$words}) ? () : "'$value' is not one of its words";
    },
    pattern   => sub { return $_[0] =~ /$_[1]/ ? () : "'$_[0]' does not match $_[1]" },
    minLength => sub { return length $_[0] >= $_[1] ? () : 'is too short' },
    maxLength => sub { return length $_[0] <= $_[1] ? () : 'is too long' },
    minimum   => sub { return $_[0] >= $_[1] ? () : 'is too small' },
    minItems  => sub { return @{$_[0]} >= $_[1] ? () : 'has too few items' },
    maxItems  => sub { return @{$_[0]} <= $_[1] ? () : 'has too many items' },
    items     => sub {
        my ($value, $schema) = @_;
        return map { my $i = $_; map { "[$i] $_" } faults($value->[$i], $schema) } 0 .. $#{$value};
    },
    required => sub {
        my ($value, $names) = @_;
        return map { "lacks $_" } grep { !exists $value->{$_} } @{$names};
    },
    properties => sub {
        my ($value, $properties) = @_;
        return map { my $name = $_; map { "$name $_" } faults($value->{$name}, $properties->{$name}) }
            grep { exists $value->{$_} } sort keys %{$properties};
    },
    additionalProperties => sub {
        my ($value, $schema, $whole) = @_;
        my @more = grep { !exists +($whole->{properties} // {})->{$_} } sort keys %{$value};
        return JSON::PP::is_bool($schema)
            ? map { "has $_" } $schema ? () : @more
            : map { my $name = $_; map { "$name $_" } faults($value->{$name}, $schema) } @more;
    },
    allOf => sub { my ($value, $schemas) = @_; return map { faults($value, $_) } @{$schemas} },
    oneOf => sub {
        my ($value, $schemas) = @_;
        my @tried = map { [faults($value, $_)] } @{$schemas};
        my $fit = grep { !@{$_} } @tried;
        return $fit == 1 ? () : "fits $fit of its forms: " . join '; ', map { "@{$_}" } @tried;
    },
    description => sub { return },
);

# faults(VALUE, SCHEMA): what is wrong with it
sub faults {
    my ($value, $schema) = @_;

    $schema = follow($schema);

    my @wrong = $schema->{type} ? $check{type}->($value, $schema->{type}) : ();
    return @wrong if @wrong;

    return map { ($check{$_} // die "the test does not know the keyword $_")->($value, $schema->{$_}, $schema) }
        grep { $_ ne 'type' } sort keys %{$schema};
}


# walk(VALUE, CODE): every hash of the document
sub walk {
    my ($value, $code) = @_;

    if (ref $value eq 'HASH') {
        $code->($value);
        walk($_, $code) for values %{$value};

    } elsif (ref $value eq 'ARRAY') {
        walk($_, $code) for @{$value};
    }

    return;
}


subtest 'the test itself' => sub {
    my $product = {'$ref' => '#/components/schemas/Product'};
    is_deeply([faults({gtin => '09506000134352', name => 'x'}, $product)], [], 'what fits');
    is_deeply([faults({gtin => 9506000134352}, $product)], ['gtin is of type integer, not string'], 'a number for a string');
    is_deeply([faults({name => 'x'}, $product)], ['lacks gtin'], 'a member is missing');
    is_deeply([faults({gtin => '09506000134352', x => 1}, $product)], ['has x'], 'a member too many');
    is_deeply([faults({gtin => '1'}, $product)], [q(gtin '1' does not match ^[0-9]{14}$)], 'a pattern');
    is(scalar(my @none = faults(JSON::PP::true(), {type => 'integer'})), 1, 'a boolean is no number');
    is(scalar(my @some = faults([], {'$ref' => '#/components/schemas/Lines'})), 1, 'an empty list');
    ok(!eval { faults(1, {multipleOf => 2}); 1 }, 'an unknown keyword is not skipped');
};


subtest 'the document' => sub {
    like($api->{openapi}, qr/^3\.1\.\d+$/, 'OpenAPI 3.1');

    my (%used, %operation);
    walk($api, sub {
        my ($hash) = @_;
        if (defined $hash->{'$ref'}) { follow($hash); $used{$hash->{'$ref'}} = 1 }
        $operation{$hash->{operationId}}++ if defined $hash->{operationId};
    });

    for my $kind (qw(schemas responses headers)) {
        is_deeply([grep { !$used{"#/components/$kind/$_"} } sort keys %{$api->{components}{$kind}}], [], "$kind: none is left over");
    }

    is_deeply([grep { $_ > 1 } values %operation], [], 'every operation has a name of its own');

    my $schema  = $api->{components}{schemas};
    my $slurp   = sub { return Test::SerialVerify::slurp("$root/$_[0]") };
    my @reasons = $slurp->('src/model/sv_reason.def') =~ /^SV_REASON\(\w+,\s*"(\w+)"/mg;
    is_deeply([sort @{$schema->{Reason}{enum}}], [sort @reasons], 'every reason');

    my $http = join '', map { Test::SerialVerify::slurp($_) } glob "$root/src/http/*.c";
    my %word = map { $_ => 1 } $http =~ /NGX_(?:HTTP|SV)_[A-Z_]+,\s*"(\w+)"/g, $slurp->('src/gs1/sv_gs1_error.def') =~ /^SV_GS1_ERROR\(\w+, "(\w+)"/mg;
    $word{$_} = 1 for $http =~ /\? "(of_\w+)" : "(of_\w+)"/;
    is_deeply([sort @{$schema->{ProblemReason}{enum}}], [sort keys %word], 'every word of a problem');

    my ($states) = $slurp->('sql/001_schema.sql') =~ /create type sv\.pack_state as enum \((.*?)\)/s;
    is_deeply($schema->{State}{enum}, [$states =~ /'(\w+)'/g], 'every state');
    my ($operations) = $slurp->('sql/001_schema.sql') =~ /create type sv\.operation as enum \((.*?)\)/s;
    is_deeply($schema->{Operation}{enum}, [grep { $_ ne 'verify' } $operations =~ /'(\w+)'/g], 'every operation');

    my $markdown = $slurp->('docs/api.md');
    is_deeply([sort $markdown =~ /^\| `(\w+)` \| (?:\d{3})? ?\|/mg], [sort @reasons], 'docs/api.md: every reason');
};


my $gtin = 9506000134352;
my $sv   = Test::SerialVerify->new;
$sv->start_postgres;
$sv->start_redis;
$sv->product($gtin, name => 'Aspirin 500 mg');
$sv->product(9506000134369, company => 'other');
my $here  = $sv->actor('pharmacy', country => 'IT');
my $there = $sv->actor('pharmacy', country => 'DE');
my $since = '2026-11-01 10:20:30.456Z';

$sv->pack_row($gtin, $_) for qw(21A7BC9 POST1 POST2 SCAN1 LIST1);
$sv->pack_row($gtin, 'a/b');
$sv->pack_row($gtin, 'REC1', lot => 'LOT9');
$sv->recall_lot($gtin, 'LOT9', reason => 'impurity (RPL-7)');
$sv->pack_row($gtin, 'OLD1', lot => 'LOT0', expiry => '2025-12-31');
$sv->pack_row($gtin, 'SOLD1', state => 'supplied', version => 2, location_id => $there->{id}, since => $since);
$sv->pack_row($gtin, $_, state => 'supplied', version => 2, location_id => $here->{id}, since => $sv->sql('select now()')) for qw(HERE1 HERE2);
my %asks = (pharmacy => $here->{key}, map { ($_ => $sv->actor($_, company => $_ eq 'wholesaler' ? 'trade' : 'acme')->{key}) }
    qw(manufacturer wholesaler authority operator reviewer));
my $job = '0d5a4f0e-6c0b-4d0b-9f39-3f6f0c6f9a05';
$sv->sql(q{insert into sv.capture (capture_id, location_id, company, host, file, digest, bytes, whole, state, success, created_at, finished_at)
    select ?, location_id, 'acme', 'x', 'x', '', 1, true, 'done', true, '2026-11-01 12:00:01.25Z', '2026-11-01 12:00:02.5Z'
    from sv.location where role = 'manufacturer'}, $job);
$sv->sql(q{insert into sv.recall (gtin, recall_id, kind, lot, n, reason, reference, at, role, actor, location_id)
    select ?, r.id::uuid, r.kind, r.lot, r.n, r.reason, r.reference, r.at::timestamptz, r.role::sv.role, coalesce(l.gln, 'root'), l.location_id
    from (values ('7d4f0c1e-58a9-4f5c-9a37-0a3c5f6f0b10', 'lot', 'LOT9', null, 'impurity', 'RPL-7', '2026-11-01 10:20:30.456Z', 'authority'),
        ('7d4f0c1e-58a9-4f5c-9a37-0a3c5f6f0b12', 'serials', null, 2, 'stolen', null, '2026-11-01 10:20:29.456Z', 'operator'))
      as r (id, kind, lot, n, reason, reference, at, role)
      left join sv.location l on l.role = 'authority' and r.role = 'authority'}, $gtin);
$sv->product(9506000164908, company => 'bolt');
$sv->product(9506000134376);
$sv->sql(q{insert into sv.serial_rule (gtin, alphabet, length, opted_out, reserve_days, at)
    values (?, 'ABC23456789', 6, false, 90, now()), (9506000134376, null, null, true, 90, now())}, $gtin);
$sv->sql(q{insert into sv.serial_request (gtin, request_id, line, lot, n, state, reserved_until, location_id, at)
    select ?, '3d0a5e52-7f0e-4c7e-9b50-0f3b2c1d4e5f', 'L7', 'LOT7', 3, 'open', '2099-01-30 10:20:30.456Z', location_id, '2026-11-01 10:20:30.456Z'
    from sv.location where role = 'manufacturer'}, $gtin);
$sv->sql(q{insert into sv.serial_number (gtin, request_id, serial, returned)
    select ?, '3d0a5e52-7f0e-4c7e-9b50-0f3b2c1d4e5f', s, s = 'A2B3C4' from unnest('{K3M9QX,T7WB2C,A2B3C4}'::text[]) s}, $gtin);
$sv->sql(q{insert into sv.lot_declaration (gtin, lot, at, packs, location_id)
    select ?, 'LOT7', '2026-11-01 10:20:30.456Z', 0, location_id from sv.location where role = 'manufacturer'}, $gtin);
$sv->sql(q{insert into sv.audit (gtin, at, audit_id, location_id, version, changed, kind, operation, serial, reason)
    values (?, ?, '6c1f2c3e-1111-4a5b-8c0d-1f2e3d4c5b6a', ?, 2, true, 'operation', 'supply', 'SOLD1', 'ok')}, $gtin, $since, $there->{id});
my $cases = Test::SerialVerify::Cases->new($sv);
my @scans = ($cases->scan(serial => 'CLONE1', at => '2026-11-20 10:00:00Z', session => 'k3m9qxt7wb2ca2b3', country => 'FR', lat => 48.5, lon => 2.5, accuracy_km => 50),
    $cases->scan(serial => 'CLONE1', at => '2026-11-20 12:00:00Z', location => $there->{id}, operation => 'supply', reason => 'already_supplied',
        alert_id => 'DE-7K2-9QX-M4T-3WB-2CA', entry_mode => 'scanned'));
$cases->open(case_id => '5b1f0c7e-2d0e-4c55-8f0a-6a1d3e9b7c21', severity => 'high', countries => ['DE', 'FR'], findings => [{serials => ['CLONE1'],
    actors => [$sv->sql('select gln from sv.location where location_id = ?', $there->{id}), 'k3m9qxt7wb2ca2b3'], scans => \@scans}]);
$cases->open(case_id => '5b1f0c7e-2d0e-4c55-8f0a-6a1d3e9b7c22', rule => 'site_burst', severity => 'low', cause => 'scanner_setting', proposed_closure => 1,
    lot => undef, countries => ['IT'], findings => [{}]);
my @events = ({action => 'ADD', bizStep => 'commissioning', epcList => [map { "https://id.gs1.org/01/0$gtin/21/BOX$_" } 1, 2],
        ilmd => {lotNumber => 'LOT8', itemExpirationDate => '2030-12-31'}},
    {type => 'AggregationEvent', action => 'ADD', bizStep => 'packing', parentID => 'https://id.gs1.org/00/095060000000000015',
        childEPCs => [map { "https://id.gs1.org/01/0$gtin/21/BOX$_" } 1, 2]});
my ($loaded, $why) = $sv->command('load-file', $sv->write_file('box.json', JSON::PP::encode_json({type => 'EPCISDocument', schemaVersion => '2.0',
    creationDate => '2026-11-01T00:00:00Z', epcisBody => {eventList => [map { {type => 'ObjectEvent', eventTime => '2026-11-01T10:00:00Z',
        eventTimeZoneOffset => '+00:00', %{$_}} } @events]}})));
is($loaded, 0, 'a box') or diag($why);
$sv->start_api;
$sv->start_nginx(verify => {deadline => '5s'}, api => 1);

$sv->post($sv->link_to($gtin, 'LIST1'), {operation => 'undo', of => 'supply'}, key => $here->{key}, idempotency => 'used-for-something-else');


# The request of an example: method, target, options; nothing when the document does not make it whole.
sub request_of {
    my ($method, $path, $operation, $name, $example) = @_;

    my (%option, @query);

    for my $parameter (map { follow($_) } @{$operation->{parameters} // []}) {
        my $value = ($parameter->{examples}{$name} // {})->{value};
        return if !defined $value && $parameter->{required};
        next   if !defined $value;

        my $escaped = $value =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ger;

        if ($parameter->{in} eq 'path') {
            $path =~ s/\{\Q$parameter->{name}\E\}/$escaped/;
        } elsif ($parameter->{in} eq 'query') {
            push @query, "$parameter->{name}=$escaped";
        } else {
            $option{headers}{$parameter->{name}} = $value;
        }
    }

    if ($operation->{requestBody}) {
        my $body = $operation->{requestBody}{content}{'application/json'}{examples}{$name} // return;
        $option{body} = $body->{value};
    }

    my $who = $example->{'x-credential'} // 'pharmacy';
    $option{key} = $asks{$who} // 'a-key-that-is-not-known-here' if $who ne 'none';

    return (uc $method, $path . (@query ? '?' . join '&', @query : ''), %option);
}


# An answer of this moment as one of any moment.
sub timeless {
    my ($value) = @_;

    return [map { timeless($_) } @{$value}] if ref $value eq 'ARRAY';
    return $value if ref $value ne 'HASH';

    return {map { $_ => /^(?:at|since|alert|request_id|captureID|createdAt|finishedAt|creationDate|id|lifted_at|changed_at)$/ ? 'varies' : timeless($value->{$_}) } keys %{$value}};
}


my $replayed = 0;

for my $path (sort keys %{$api->{paths}}) {
    for my $method (sort keys %{$api->{paths}{$path}}) {
        my $operation = $api->{paths}{$path}{$method};

        subtest "$method $path" => sub {
            my %request = map { $_ => 1 } map { keys %{$_->{examples} // {}} } map { follow($_) } @{$operation->{parameters} // []},
                values %{($operation->{requestBody} // {})->{content} // {}};

            for my $status (sort keys %{$operation->{responses}}) {
                my $response = follow($operation->{responses}{$status});

                for my $type (sort keys %{$response->{content}}) {
                    my ($schema, $examples) = @{$response->{content}{$type}}{qw(schema examples)};

                    for my $name (sort keys %{$examples // {}}) {
                        my $example = $examples->{$name};
                        my @request = request_of($method, $path, $operation, $name, $example);
                        my $answer  = @request ? $sv->request(@request) : {status => 'no request', headers => {}, body => ''};

                        delete $request{$name};
                        $replayed++;

                        is($answer->{status}, $status, "$name: status") or diag($answer->{body});
                        is($answer->{headers}{'content-type'}, $type, "$name: type");
                        is_deeply([faults($example->{value}, $schema)], [], "$name: the example fits the schema");
                        is_deeply([faults($answer->{json}, $schema)], [], "$name: the answer fits the schema") or diag($answer->{body});

                        if ($path ne '/status') {
                            is_deeply(timeless($answer->{json}), timeless($example->{value}), "$name: and is the answer of the example");
                        }

                        for my $header (sort keys %{$response->{headers} // {}}) {
                            my $value = $answer->{headers}{lc $header} // next;
                            is_deeply([faults($value, follow($response->{headers}{$header})->{schema})], [], "$name: $header");
                        }
                    }
                }
            }

            is_deeply([sort keys %request], [], 'every example of a request has its answer');

            my $body = ($operation->{requestBody} // {})->{content};

            for my $name (sort keys %{$body ? $body->{'application/json'}{examples} : {}}) {
                my @faults = faults($body->{'application/json'}{examples}{$name}{value}, $body->{'application/json'}{schema});
                is(@faults ? 'wrong' : 'right', $name =~ /^(?:unknown_operation|empty)$/ ? 'wrong' : 'right', "$name: the request and its schema")
                    or diag(@faults);
            }
        };
    }
}

cmp_ok($replayed, '>', 35, "$replayed examples were replayed");

subtest 'what has no example' => sub {
    my $page = $sv->get('/status', headers => {Accept => 'text/html'});
    is(($page->{headers}{'content-type'} =~ /^([^;]+)/)[0], 'text/html', '/status as a page');
    my $metrics = $sv->get('/metrics');
    is(($metrics->{headers}{'content-type'} =~ /^([^;]+)/)[0], 'text/plain', '/metrics');

    my %in = map { $_ => 1 } keys %{$api->{paths}};
    my ($server) = Test::SerialVerify::slurp("$root/conf/nginx.conf") =~ /server \{(.*)\}/s;
    my @places = $server =~ m{location (?:= )?(/\S*) \{\s*serial_verify }g;
    is_deeply([grep { my $place = $_; !grep { index($_, $place) == 0 } keys %in } @places], [], 'every location of the sample is described');
};

$sv->done_testing;
