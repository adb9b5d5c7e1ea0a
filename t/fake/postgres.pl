#!/usr/bin/perl

# A misbehaving PostgreSQL: a proxy in front of a real one.
#
#   t/fake/postgres.pl --listen DIRECTORY/.s.PGSQL.5432 --control PATH \
#       --server REAL/.s.PGSQL.5432
#
# Options and control commands: the head of Proxy.pm.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use Proxy;

Proxy->main(\@ARGV);
