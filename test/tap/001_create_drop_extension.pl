# A worker comes and goes with the extension, at commit.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main', conf => "sync_engine.tick_interval_seconds = 1\n");
$node->safe_psql('postgres', 'CREATE DATABASE d');

my $session = $node->background_psql('d');
$session->query_safe('BEGIN');
$session->query_safe('CREATE EXTENSION sync_engine');
is(worker_pid($node, 'd'), '', 'no worker before CREATE EXTENSION commits');
my $position = log_position($node);
$session->query_safe('ROLLBACK');
# Something that wakes the launcher and is seen to have been done, so that "nothing happened" means something.
create_extension($node, 'other');
wait_for_worker($node, 'other');
is(worker_pid($node, 'd'), '', 'no worker after it was rolled back');
unlike(log_since($node, $position), qr/database "d"/, 'nor a word about it');

$session->query_safe('BEGIN');
$session->query_safe('CREATE EXTENSION sync_engine');
$session->query_safe('COMMIT');
my $pid = wait_for_worker($node, 'd');
ok($pid, 'a worker after it was committed');
is( $node->safe_psql('postgres', "SELECT application_name FROM pg_stat_activity WHERE pid = $pid"),
    'sync_engine scheduler', 'which reports itself');
add_connection($node, 'd', 't1');
poke_worker($node, 'd');
wait_for_jobs($node, 'd', 1);
pass('and ticks');

# While DROP EXTENSION is under way the worker can neither tick nor wait for it.
$session->query_safe('BEGIN');
$session->query_safe('DROP EXTENSION sync_engine');
my $tries = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'd'";
my $before = $node->safe_psql('postgres', $tries);
$position = log_position($node);
$node->poll_query_until('postgres', "SELECT ($tries) > $before + 2") or die 'the worker does not try';
unlike(processes_log_since($node, $position),
    qr/ERROR/, 'a tick that finds the extension locked waits for nobody and is tried again');
$session->query_safe('ROLLBACK');
poke_worker($node, 'd');
is(worker_pid($node, 'd'), $pid, 'the worker survives a DROP EXTENSION that is rolled back');

$position = log_position($node);
$node->safe_psql('d', 'DROP EXTENSION sync_engine');
wait_for_no_worker($node, 'd');
$node->wait_for_log(qr/scheduler for database "d" ends: the extension is gone/, $position);
unlike(processes_log_since($node, $position),
    qr/ERROR|FATAL/, 'it ends quietly when the extension is dropped');

create_extension($node, 'd');
wait_for_worker($node, 'd');
pass('a second CREATE EXTENSION brings it back');

$node->safe_psql('postgres', 'CREATE ROLE owner SUPERUSER LOGIN');
$node->safe_psql('d', 'DROP EXTENSION sync_engine');
wait_for_no_worker($node, 'd');
$node->safe_psql('d', 'SET ROLE owner; CREATE EXTENSION sync_engine');
wait_for_worker($node, 'd');
$node->safe_psql('d', 'DROP OWNED BY owner CASCADE');
wait_for_no_worker($node, 'd');
is($node->safe_psql('d', "SELECT count(*) FROM pg_extension WHERE extname = 'sync_engine'"),
    '0', 'DROP OWNED takes the extension and its worker away');

$session->quit;
$node->stop;
done_testing();
