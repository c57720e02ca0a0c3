# Each database that has the extension has a worker of its own, and no other database has one.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main');
$node->safe_psql('postgres', 'CREATE DATABASE without');
create_extension($node, 'd1', 'd2');
my $first = wait_for_worker($node, 'd1');
my $second = wait_for_worker($node, 'd2');
isnt($first, $second, 'two databases, two workers');

add_connection($node, 'd1', 'only-here');
poke_worker($node, $_) foreach ('d1', 'd2');
wait_for_jobs($node, 'd1', 1);
is($node->safe_psql('d2', 'SELECT count(*) FROM sync.sync_jobs'), '0', 'each ticks in its own database');

$node->safe_psql('d1', 'DROP EXTENSION sync_engine');
wait_for_no_worker($node, 'd1');
is(worker_pid($node, 'd2'), $second, 'dropping it in one leaves the other alone');

$node->restart;
wait_for_worker($node, 'd2');
$node->poll_query_until('postgres',
    "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'sync_engine scheduler'")
  or die 'workers in databases without the extension';
is(worker_pid($node, $_), '', "no worker in $_ after a restart") foreach ('d1', 'without', 'postgres');

$node->stop;
done_testing();
