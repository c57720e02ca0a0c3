# SIGTERM while a batch is under way: the batch commits, the stop is logged, no further tick starts.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main', conf => "sync_engine.tick_batch_size = 1\n");
create_extension($node, 'd');
my $pid = wait_for_worker($node, 'd');

# A batch that lasts until this test says so: it polls for the other side of a gate, without any lock.
$node->safe_psql(
    'd', q{
    CREATE TABLE gate (pid int);
    CREATE FUNCTION pass_gate() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        WHILE current_setting('application_name') = 'sync_engine scheduler'
              AND NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE application_name = 'gatekeeper') LOOP
            PERFORM pg_sleep(0.01);
            PERFORM pg_stat_clear_snapshot();
        END LOOP;
        RETURN NEW;
    END $$;
    CREATE TRIGGER pass_gate BEFORE INSERT ON sync.sync_jobs FOR EACH ROW EXECUTE FUNCTION pass_gate();});
add_connection($node, 'd', $_) foreach ('t1', 't2', 't3');
my $position = log_position($node);
$node->safe_psql('d', 'SELECT sync._wake_launcher()');
$node->poll_query_until('postgres', "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $pid")
  or die 'the worker never came to the gate';
is( $node->safe_psql('postgres', "SELECT query FROM pg_stat_activity WHERE pid = $pid"),
    'sync_engine tick', 'pg_stat_activity says what it does');

$node->safe_psql('postgres', 'ALTER SYSTEM SET sync_engine.background_ticks = off');
kill 'TERM', $pid;
is(worker_pid($node, 'd'), $pid, 'SIGTERM does not interrupt the batch');
# The next worker must not tick, or its job would be taken for the first one's.
$node->reload;
my $gatekeeper = $node->background_psql('postgres');
$gatekeeper->query_safe("SET application_name = 'gatekeeper'");
$node->wait_for_log(qr/scheduler for database "d" stopped cleanly/, $position);
pass('the stop is logged');
wait_for_other_worker($node, 'd', $pid);
is($node->safe_psql('d', 'SELECT count(*) FROM sync.sync_jobs'),
    '1', 'the batch in flight was committed, the next one not begun');

my $log = processes_log_since($node, $position);
like(
    $log,
    qr/tick in database "d": enqueued 1, skipped 0, requeued 0, backlog \d+, batches 1, duration \d+ ms/,
    'what it did is logged');
unlike($log, qr/ERROR|FATAL/, 'without an error');

$gatekeeper->quit;
$node->stop;
done_testing();
