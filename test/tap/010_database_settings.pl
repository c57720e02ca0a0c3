# ALTER DATABASE ... SET and ALTER ROLE ... SET reach a worker that is running.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main', conf => "sync_engine.tick_interval_seconds = 3600\n");
create_extension($node, 'd', 'other');
my $pid = wait_for_worker($node, 'd');
my $other = wait_for_worker($node, 'other');

my $position = log_position($node);
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN');
$session->query_safe('ALTER DATABASE d SET sync_engine.enabled = off');
$session->query_safe('ROLLBACK');
poke_worker($node, 'd');
is(worker_pid($node, 'd'), $pid, 'a change that is rolled back changes nothing');

$node->safe_psql('postgres', 'ALTER DATABASE d SET sync_engine.enabled = off');
$node->wait_for_log(qr/does nothing in database "d": sync_engine.enabled is off/, $position);
$pid = wait_for_other_worker($node, 'd', $pid);
pass('ALTER DATABASE ... SET is noticed');

$position = log_position($node);
add_connection($node, 'd', 't1');
$node->safe_psql('postgres', 'ALTER DATABASE d RESET sync_engine.enabled');
wait_for_jobs($node, 'd', 1);
pass('and so is RESET');
is(worker_pid($node, 'other'), $other, 'the worker of another database was left alone');

$pid = wait_for_other_worker($node, 'd', $pid);
$node->safe_psql('postgres', 'ALTER ROLE ALL SET sync_engine.tick_interval_seconds = 1');
$pid = wait_for_other_worker($node, 'd', $pid);
wait_for_other_worker($node, 'other', $other);
my $before = ticks_done($node, 'd');
wait_for_ticks($node, 'd', $before + 2);
pass('ALTER ROLE ALL SET is noticed in every database');

$node->safe_psql('postgres', 'CREATE ROLE somebody; ALTER ROLE somebody SET sync_engine.enabled = off');
poke_worker($node, 'd');
is(worker_pid($node, 'd'), $pid, 'a setting of another role is not the workers\' business');

$session->quit;
$node->stop;
done_testing();
