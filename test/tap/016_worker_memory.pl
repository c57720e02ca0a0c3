# A worker lives for months: its memory must not grow with the number of its ticks.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main', conf => "sync_engine.tick_interval_seconds = 3600\nlog_statement = none\n");
create_extension($node, 'd');
my $pid = wait_for_worker($node, 'd');

# Without the shared buffers that it has touched.
sub private_kb
{
    my ($kb) = slurp_file("/proc/$pid/smaps_rollup") =~ /^Anonymous:\s+(\d+) kB/m;
    return $kb;
}

sub tick_times
{
    my ($count) = @_;
    my $goal = ticks_done($node, 'd') + $count;
    $node->safe_psql(
        'd', qq{
        DO \$\$
        BEGIN
            WHILE (SELECT max(count) FROM sync._metrics_snapshot()
                   WHERE name = 'sync_scheduler_tick_duration_ms') < $goal LOOP
                PERFORM sync._wake_launcher();
                COMMIT;
                PERFORM pg_sleep(0.001);
            END LOOP;
        END \$\$});
    return;
}

add_connection($node, 'd', 't1');
tick_times(300);
my $before = private_kb();
tick_times(2000);
my $after = private_kb();
note("private memory: $before kB, then $after kB");
cmp_ok($after, '<', $before + 256, '2000 ticks more cost no memory');
is(worker_pid($node, 'd'), $pid, 'all in one worker');

$node->stop;
done_testing();
