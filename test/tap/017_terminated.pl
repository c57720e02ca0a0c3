# Terminated by hand, launcher and worker come back; a launcher that is new takes over the workers it finds.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use SyncTest;

my $node = new_node('main');
create_extension($node, 'd');
my $pid = wait_for_worker($node, 'd');

my $position = log_position($node);
my $started = time;
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$pid = wait_for_other_worker($node, 'd', $pid);
cmp_ok(time - $started, '<', 4, 'a worker that was terminated is back soon');
like(log_since($node, $position), qr/scheduler for database "d" stopped cleanly/, 'it had stopped cleanly');

my $launcher = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'sync_engine launcher'";
my $launcher_pid = $node->safe_psql('postgres', $launcher);
is( $node->safe_psql(
        'postgres',
        "SELECT datname IS NULL, application_name FROM pg_stat_activity WHERE pid = $launcher_pid"),
    't|sync_engine launcher', 'the launcher is connected to no database');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($launcher_pid)");
$node->poll_query_until('postgres', "SELECT count(*) = 1 AND max(pid) <> $launcher_pid FROM ($launcher) l")
  or die 'no other launcher';
is(worker_pid($node, 'd'), $pid, 'the workers outlive their launcher');

# The new launcher did not start that worker, and looks after it all the same.
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$pid = wait_for_other_worker($node, 'd', $pid);
$node->safe_psql('postgres', 'ALTER DATABASE d RENAME TO e');
wait_for_other_worker($node, 'e', $pid);
create_extension($node, 'f');
wait_for_worker($node, 'f');
is(count_processes($node), '3', 'the launcher and one worker for each database, as before');

$node->stop;
done_testing();
