# A worker survives whatever a tick can raise, and goes on when it is over.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main', conf => "sync_engine.tick_interval_seconds = 1\n");
create_extension($node, 'd');
my $pid = wait_for_worker($node, 'd');

# The function that it calls is not there.
my $position = log_position($node);
$node->safe_psql('d', 'ALTER FUNCTION sync.tick_batch(int, timestamptz) RENAME TO tick_batch_away');
$node->wait_for_log(
    qr/function sync.tick_batch\(\) does not exist.*CONTEXT:  sync_engine scheduler for database "d"/s,
    $position);
pass('an error is logged with its database');
$node->wait_for_log(qr/(does not exist.*){2}/s, $position);
pass('and the tick tried again');
is(worker_pid($node, 'd'), $pid, 'by the same worker');

$node->safe_psql('d', 'ALTER FUNCTION sync.tick_batch_away(int, timestamptz) RENAME TO tick_batch');
add_connection($node, 'd', 't1');
wait_for_jobs($node, 'd', 1);
pass('it goes on when the function is back');

# A table that is locked: half a second, then an error.
$position = log_position($node);
my $blocker = $node->background_psql('d');
$blocker->query_safe('BEGIN; LOCK TABLE sync.connections IN ACCESS EXCLUSIVE MODE');
$node->wait_for_log(qr/ERROR:  canceling statement due to lock timeout/, $position);
$blocker->query_safe('ROLLBACK');
add_connection($node, 'd', 't2');
wait_for_jobs($node, 'd', 2);
pass('it goes on after a lock timeout');

# Cancelled by somebody: between ticks that means nothing.
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
add_connection($node, 'd', 't3');
wait_for_jobs($node, 'd', 3);
is(worker_pid($node, 'd'), $pid, 'pg_cancel_backend does not end the worker');

# A trigger of the application that cannot be satisfied.
$node->safe_psql(
    'd', q{
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON sync.sync_jobs FOR EACH ROW EXECUTE FUNCTION refuse();});
$position = log_position($node);
add_connection($node, 'd', 't4');
$node->wait_for_log(qr/not today/, $position);
is(worker_pid($node, 'd'), $pid, 'nor does a trigger that raises');

# Housekeeping does not wait for locks: another may keep house in the same moment, an application hold a table.
$node->safe_psql('d', q{UPDATE sync.sync_jobs SET status = 'cancelled' WHERE id = (SELECT min(id) FROM sync.sync_jobs)});
$node->append_conf('postgresql.conf', "sync_engine.background_ticks = off\n");
$node->reload;
$node->wait_for_log(qr/does not tick in database "d"/, $position);
$position = log_position($node);
$blocker->query_safe('BEGIN; LOCK TABLE sync.executors IN ACCESS EXCLUSIVE MODE');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$node->wait_for_log(qr/housekeeping in database "d" is put off: a lock was not free/, $position);
$blocker->query_safe('ROLLBACK');
$node->poll_query_until('d', q{SELECT count(*) = 0 FROM ONLY sync.sync_jobs WHERE status = 'cancelled'})
  or die 'housekeeping does not go on';
pass('a lock that is not free puts housekeeping off');
$pid = wait_for_worker($node, 'd');
$position = log_position($node);
$blocker->query_safe('BEGIN; LOCK TABLE sync.executors IN ACCESS EXCLUSIVE MODE');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$node->wait_for_log(qr/ERROR:  canceling statement due to lock timeout/, $position);
like(log_since($node, $position), qr/^(?:(?!ERROR:).)*is put off: a lock was not free.*ERROR:/s, 'and is an error when that goes on');
$blocker->query_safe('ROLLBACK');
$pid = wait_for_worker($node, 'd');

# Nobody is left waiting for what the worker holds: it holds nothing between ticks.
is(count_locks($node, $pid), '0', 'no lock is left behind');

$blocker->quit;
$node->stop;
done_testing();
