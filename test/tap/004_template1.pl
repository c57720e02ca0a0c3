# A template never gets a connection: it would make CREATE DATABASE fail.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main');
$node->safe_psql('template1', 'CREATE EXTENSION sync_engine');
$node->safe_psql('postgres', 'CREATE DATABASE d TEMPLATE template0');
create_extension($node, 'd');
wait_for_worker($node, 'd');
is(worker_pid($node, 'template1'), '', 'no worker in template1');

# It brings the extension along, so here it is there already.
my $position = log_position($node);
$node->safe_psql('postgres', 'CREATE DATABASE made');
wait_for_worker($node, 'made');
pass('a database made from template1 gets a worker');
$node->wait_for_log(qr/does nothing in database "made".*\n.*adopt_database/, $position);
pass('which does nothing until the database is adopted');

$node->restart;
wait_for_worker($node, 'd');
wait_for_worker($node, 'made');
is(worker_pid($node, 'template1'), '', 'nor is there one after a restart');

# A database that becomes a template later, or refuses connections.
$node->safe_psql('postgres', 'ALTER DATABASE d IS_TEMPLATE true');
wait_for_no_worker($node, 'd');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE d');
pass('the worker leaves a database that becomes a template');
$node->safe_psql('postgres', 'ALTER DATABASE d IS_TEMPLATE false');
wait_for_worker($node, 'd');
pass('and comes back when it no longer is one');
$node->safe_psql('postgres', 'ALTER DATABASE d ALLOW_CONNECTIONS false');
wait_for_no_worker($node, 'd');
pass('the worker leaves a database that allows no connections');

$node->stop;
done_testing();
