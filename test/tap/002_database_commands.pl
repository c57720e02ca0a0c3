# Commands that need a database without connections: the worker steps aside in time, and comes back if it
# should.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main');
create_extension($node, 'd');
my $pid = wait_for_worker($node, 'd');

sub fails_like
{
    my ($sql, $pattern, $name) = @_;
    my ($code, $out, $err) = $node->psql('postgres', $sql);
    isnt($code, 0, "$name: refused");
    like($err, $pattern, "$name: for the reason it should be");
    return;
}

# CREATE DATABASE ... TEMPLATE, in every strategy.
foreach my $strategy ('', 'STRATEGY wal_log', 'STRATEGY file_copy')
{
    $node->safe_psql('postgres', "CREATE DATABASE copied TEMPLATE d $strategy");
    $pid = wait_for_other_worker($node, 'd', $pid);
    wait_for_worker($node, 'copied');
    $node->safe_psql('postgres', 'DROP DATABASE copied');
    is($node->safe_psql('postgres', "SELECT count(*) FROM pg_database WHERE datname = 'copied'"),
        '0', "a copy ($strategy) is made and dropped while workers are connected");
}

# From within: a session does not stand in its own way, but the worker would.
$node->safe_psql('d', 'CREATE DATABASE copied TEMPLATE d');
$pid = wait_for_other_worker($node, 'd', $pid);
wait_for_worker($node, 'copied');
$node->safe_psql('postgres', 'DROP DATABASE copied');
pass('a copy is made from within the database');

fails_like('CREATE DATABASE postgres TEMPLATE d', qr/already exists/, 'copy under a name that exists');
$pid = wait_for_other_worker($node, 'd', $pid);

# RENAME.
$node->safe_psql('postgres', 'ALTER DATABASE d RENAME TO e');
$pid = wait_for_other_worker($node, 'e', $pid);
pass('renamed while the worker was connected; it comes back');
fails_like('ALTER DATABASE e RENAME TO postgres', qr/already exists/, 'rename to a name that exists');
$pid = wait_for_other_worker($node, 'e', $pid);

my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN');
$session->query_safe('ALTER DATABASE e RENAME TO f');
is(worker_pid($node, 'e'), '', 'no worker while the renaming transaction is open');
$session->query_safe('ROLLBACK');
$pid = wait_for_other_worker($node, 'e', $pid);
pass('the worker comes back when it is rolled back');

# A session that dies in the middle.
$session->query_safe('BEGIN');
$session->query_safe('ALTER DATABASE e RENAME TO f');
my $session_pid = $session->query_safe('SELECT pg_backend_pid()');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($session_pid)");
$pid = wait_for_other_worker($node, 'e', $pid);
pass('the worker comes back when the session is terminated');
$session->{run}->finish;

# SET TABLESPACE.
my $tablespace = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$tablespace'");
$node->safe_psql('postgres', 'ALTER DATABASE e SET TABLESPACE elsewhere');
$pid = wait_for_other_worker($node, 'e', $pid);
pass('moved to another tablespace while the worker was connected; it comes back');

# DROP DATABASE fails while somebody else is connected.
my $user = $node->background_psql('e');
fails_like('DROP DATABASE e', qr/is being accessed by other users/, 'drop while somebody is connected');
$pid = wait_for_other_worker($node, 'e', $pid);
$user->quit;

# Somebody who may not run the command does not disturb the worker.
$node->safe_psql('postgres', 'CREATE ROLE nobody CREATEDB');
fails_like("SET ROLE nobody; $_", qr/must be owner|permission denied/, "by a stranger: $_")
  foreach ('DROP DATABASE e', 'ALTER DATABASE e RENAME TO f', 'CREATE DATABASE mine TEMPLATE e');
is(worker_pid($node, 'e'), $pid, 'the worker was left alone');

my $position = log_position($node);
$node->safe_psql('postgres', 'DROP DATABASE e');
is(worker_pid($node, 'e'), '', 'dropped while the worker was connected');
like(log_since($node, $position),
    qr/scheduler for database "e" stopped cleanly/, 'which had stopped cleanly');
unlike(processes_log_since($node, $position), qr/FATAL/, 'and was not started in vain');

create_extension($node, 'g');
wait_for_worker($node, 'g');
$node->safe_psql('postgres', 'DROP DATABASE g WITH (FORCE)');
is(worker_pid($node, 'g'), '', 'dropped by force');

$node->stop;
done_testing();
