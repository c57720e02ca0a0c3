# A copy of a database, however it was made, calls nobody's API until it is adopted.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main', conf => "sync_engine.tick_interval_seconds = 1\n");
create_extension($node, 'd');
wait_for_worker($node, 'd');
add_connection($node, 'd', 't1');
wait_for_jobs($node, 'd', 1);

sub is_quiet
{
    my ($database, $position, $what) = @_;
    my $pid = wait_for_worker($node, $database);
    $node->wait_for_log(qr/does nothing in database "$database".*\n.*sync\.adopt_database\(\)/, $position);
    pass("$what: the log says why nothing happens, and what to do");
    my $jobs = $node->safe_psql($database, 'SELECT count(*) FROM sync.sync_jobs');
    add_connection($node, $database, 'added');
    # It looks again and again: each look is a transaction of the worker.
    my $looks = "SELECT sum(xact_commit) FROM pg_stat_database WHERE datname = '$database'";
    my $before = $node->safe_psql('postgres', $looks);
    $node->poll_query_until('postgres', "SELECT ($looks) > $before + 2") or die 'the worker does not look';
    is($node->safe_psql($database, 'SELECT count(*) FROM sync.sync_jobs'),
        $jobs, "$what: nothing is enqueued");
    $node->safe_psql($database, q{SELECT sync.register_executor('e', 1, '{}')});
    is($node->safe_psql($database, q{SELECT count(*) FROM sync.claim_jobs('e', 10)}),
        '0', "$what: nothing is handed out");
    my $said = () = log_since($node, $position) =~ /does nothing in database "$database"/g;
    is($said, 1, "$what: said once");

    $position = log_position($node);
    $node->safe_psql($database, 'SELECT sync.adopt_database()');
    $node->wait_for_log(qr/sync_engine ticks again in database "$database"/, $position);
    wait_for_jobs($node, $database, $jobs + 1);
    pass("$what: it works once it is adopted");
    is(worker_pid($node, $database), $pid, "$what: in the same worker");
    return;
}

my $position = log_position($node);
$node->safe_psql('postgres', 'CREATE DATABASE cloned TEMPLATE d');
is_quiet('cloned', $position, 'CREATE DATABASE TEMPLATE');

# A copy of the whole cluster keeps its identity: that is a standby or a restored backup, and goes on.
$position = log_position($node);
$node->safe_psql('postgres', 'ALTER DATABASE d RENAME TO renamed');
wait_for_worker($node, 'renamed');
add_connection($node, 'renamed', 't2');
wait_for_jobs($node, 'renamed', 2);
unlike(log_since($node, $position), qr/does nothing in database/, 'a renamed database is still itself');

# Dumped and restored.
my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('renamed') ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$position = log_position($node);
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $dump ], 'restore');
is_quiet('restored', $position, 'pg_restore');

$node->stop;
done_testing();
