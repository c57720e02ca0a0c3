# Changed settings take effect at a reload, without a restart of the worker.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main', conf => "sync_engine.tick_interval_seconds = 3600\n");
create_extension($node, 'd');
my $pid = wait_for_worker($node, 'd');
wait_for_ticks($node, 'd', 1);
add_connection($node, 'd', 't1');

$node->append_conf('postgresql.conf', "sync_engine.tick_interval_seconds = 1\n");
$node->reload;
wait_for_jobs($node, 'd', 1);
pass('a shorter interval takes effect at once, not after the long one');
is(worker_pid($node, 'd'), $pid, 'in the same worker');

my $before = ticks_done($node, 'd');
wait_for_ticks($node, 'd', $before + 2);
pass('and it keeps ticking each second');

my $position = log_position($node);
$node->append_conf('postgresql.conf', "sync_engine.background_ticks = off\n");
$node->reload;
$node->wait_for_log(qr/does not tick in database "d": sync_engine.background_ticks is off/, $position);
add_connection($node, 'd', 't2');
is($node->safe_psql('d', 'SELECT enqueued FROM sync.tick()'),
    '1', 'with background ticks off a tick by hand works');

$position = log_position($node);
$node->append_conf('postgresql.conf', "sync_engine.background_ticks = on\nsync_engine.enabled = off\n");
$node->reload;
$node->wait_for_log(qr/does nothing in database "d": sync_engine.enabled is off/, $position);
add_connection($node, 'd', 't3');
is($node->safe_psql('d', 'SELECT count(*) FROM sync.sync_jobs'), '2', 'with enabled off nothing is enqueued');

$position = log_position($node);
$node->append_conf('postgresql.conf',
    "sync_engine.tick_interval_seconds = 3600\nsync_engine.enabled = on\n");
$node->reload;
wait_for_jobs($node, 'd', 3);
$node->wait_for_log(qr/ticks again in database "d"/, $position);
pass('and it goes on at once when it is on again');
is(worker_pid($node, 'd'), $pid, 'still in the same worker');

$node->stop;
done_testing();
