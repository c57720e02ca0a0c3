# kill -9 of the worker makes the postmaster restart everything: shared memory is empty, the work is not.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main', conf => "restart_after_crash = on\n");
create_extension($node, 'd');
my $pid = wait_for_worker($node, 'd');
add_connection($node, 'd', 't1');
poke_worker($node, 'd');
wait_for_jobs($node, 'd', 1);

my $position = log_position($node);
kill 'KILL', $pid;
$node->wait_for_log(qr/terminating any other active server processes/, $position);
$node->wait_for_log(qr/database system is ready to accept connections/, $position);
wait_for_other_worker($node, 'd', $pid);
pass('the worker is there again');

add_connection($node, 'd', 't2');
poke_worker($node, 'd');
wait_for_jobs($node, 'd', 2);
is($node->safe_psql('d', 'SELECT count(*), count(DISTINCT connection_id) FROM sync.sync_jobs'),
    '2|2', 'and goes on where it was');

$node->stop;
done_testing();
