#!/usr/bin/perl

# serial-verify-worker rules: parameters of the rules are listed, changed, given
# back and audited; what --file prints is what replay --rules takes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Test::SerialVerify;

my $sv = Test::SerialVerify->new;

$sv->start_postgres;


sub rules {
    my ($code, @arguments) = @_;

    my ($got, $text) = $sv->command('rules', @arguments);
    is($got, $code, "rules @arguments: exit code") or diag $text;

    return $text;
}


sub audited {
    return $sv->sql(q{select string_agg(concat_ws(' ', a.actor is not null, a.detail ->> 'name', a.detail ->> 'before', '>', a.detail ->> 'value'), '; '
        order by a.at) from sv.audit a where a.kind = 'admin' and a.operation = 'set_rule_param'}) // '';
}


subtest 'listed' => sub {
    my $text = rules(0);

    like($text, qr/^harvesting\.misses +\x3d 10 n\n    different serials /m, 'name, value, unit, meaning');
    like($text, qr/^area\.free_movement +\x3d AT BE /m, 'the area of free movement');
    like($text, qr/^dead_pack\.enabled +\x3d on\n/m, 'a switch for each rule');
    unlike($text, qr/default/, 'nothing is changed');
};

subtest 'changed, all or none' => sub {
    like(rules(0, 'set', 'harvesting.misses=15', 'dead_pack.enabled=off', 'area.free_movement=IT,FR'), qr/^3 changed$/, 'told');

    my $text = rules(0);
    like($text, qr/^harvesting\.misses += 15 n  \(default 10\)$/m, 'and listed beside its default');
    like($text, qr/^dead_pack\.enabled += off  \(default on\)$/m, 'a rule is off');
    like($text, qr/^area\.free_movement += FR IT  \(default /m, 'the area is smaller');

    is(audited(), 't area.free_movement > FR IT; t dead_pack.enabled > off; t harvesting.misses > 15', 'audited, one row each');

    like(rules(0, 'set', 'harvesting.misses=15.0'), qr/^0 changed$/, 'the same again is no change');
    like(rules(0, 'set', 'harvesting.misses=16'), qr/^1 changed$/, 'another value');
    like(audited(), qr/; t harvesting\.misses 15 > 16\z/, 'audited with what was before');

    my %wrong = (
        'harvesting.misses=0'                       => qr/harvesting\.misses: 0 is out of range, 2 to 10000 n is permitted/,
        'harvesting.misses'                         => qr/"harvesting\.misses": NAME=VALUE is needed/,
        'harvesting.colour=1'                       => qr/harvesting\.colour: there is no such parameter/,
        'harvesting.misses=9 harvesting.misses=9'   => qr/harvesting\.misses is given twice/,
        'harvesting.misses=9 dead_pack.enabled=x'   => qr/dead_pack\.enabled: "x" is neither "on" nor "off"/,
        'area.free_movement=Italy'                  => qr/"Italy" is no country/,
    );

    for my $change (sort keys %wrong) {
        like(rules(2, 'set', split / /, $change), $wrong{$change}, $change);
    }

    like(rules(2, 'reset', 'harvesting.misses=9'), qr/a name is needed/, 'reset takes names');
    like(rules(2, 'reset', 'harvesting.colour'), qr/there is no such parameter/, '.. that are some');
    like(rules(2, 'dance'), qr/rules, rules --file, /, 'what there is');
    like(rules(0), qr/^harvesting\.misses += 16 n/m, 'nothing of that was done');
};

subtest 'a file for replay' => sub {
    my $file = $sv->write_file('my.rules', rules(0, '--file'));

    like(Test::SerialVerify::slurp($file), qr/^# different serials .*, in n; default 10\nharvesting\.misses = 16$/m, 'with its meaning');

    my $scans = $sv->write_file('scans.jsonl', '');
    my ($code, $text) = $sv->command('replay', '--scans', $scans, '--rules', $file);
    is($code, 0, 'is taken') or diag $text;
};

subtest 'defaults again' => sub {
    like(rules(0, 'reset', 'harvesting.misses', 'dead_pack.enabled', 'area.free_movement', 'harvesting.hits'), qr/^3 changed$/, 'told');
    unlike(rules(0), qr/\(default/, 'nothing is changed any more');
    like(audited(), qr/; t harvesting\.misses 16 >\z/, 'audited');
    is($sv->sql('select count(*) from sv.rule_param'), 0, 'no row is left');
};

subtest 'the functions' => sub {
    my $refused = eval { $sv->sql(q{select sv.set_rule_params('{"drop table": "1"}')}); 1 } ? '' : $@;
    like($refused, qr/not names and values/, 'no names');

    $sv->sql(q{insert into sv.rule_param values ('gone.parameter', '1', now(), 'somebody'), ('harvesting.misses', 'x', now(), 'somebody')});
    like(rules(0), qr/^harvesting\.misses += 10 n$/m, 'what this release does not know is passed over');

    is($sv->sql(q{select string_agg(r || ' ' || has_function_privilege(r, 'sv.set_rule_params(jsonb, text)', 'execute'), ', ' order by r)
        from unnest(array['sv_api', 'sv_gateway', 'sv_worker']) r}), 'sv_api false, sv_gateway false, sv_worker true', 'the worker alone');
};

$sv->done_testing;
