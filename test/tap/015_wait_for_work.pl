# sync.wait_for_work: pins nothing while it waits, misses no wake-up, and ends in time.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use SyncTest;

my $node = new_node('main', conf => "sync_engine.background_ticks = off\n");
create_extension($node, 'd', 'other');
my $long = 600_000;

sub is_waiting
{
    my ($pid, $event) = @_;
    $node->poll_query_until('postgres',
        "SELECT state = 'active' AND wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid")
      or die 'the session never waited';
    return;
}

sub start_waiting
{
    my ($database, $call) = @_;
    my $session = $node->background_psql($database, on_error_stop => 0);
    my $pid = $session->query_safe('SELECT pg_backend_pid()');
    $session->query_until(qr/called/, "\\echo called\n$call;\n\\echo finished\n");
    is_waiting($pid);
    return ($session, $pid);
}

sub finishes
{
    my ($session, $name) = @_;
    ok(pump_until($session->{run}, $session->{timeout}, \$session->{stdout}, qr/finished/), $name);
    $session->quit;
    return;
}

my ($session, $pid) = start_waiting('d', "CALL sync.wait_for_work($long)");
is( $node->safe_psql(
        'postgres',
        "SELECT backend_xmin IS NULL, backend_xid IS NULL FROM pg_stat_activity WHERE pid = $pid"),
    't|t', 'a waiting session has neither snapshot nor transaction id');
is(count_locks($node, $pid), '0', 'nor a lock');
$node->safe_psql('d', 'CREATE TABLE t AS SELECT 1 AS x; DELETE FROM t; VACUUM t');
is($node->safe_psql('d', "SELECT pg_relation_size('t')"),
    '0', 'so vacuum can remove what was deleted meanwhile');

# Wakes at commit, not before, and in this database only.
my $writer = $node->background_psql('d');
$writer->query_safe('BEGIN');
$writer->query_safe('SELECT sync._wake_executors()');
$writer->query_safe('ROLLBACK');
$node->safe_psql('other', 'SELECT sync._wake_executors()');
$writer->query_safe('BEGIN');
$writer->query_safe('SELECT sync._wake_executors()');
is_waiting($pid);
pass('it still waits after a rollback, after another database\'s commit and before the commit');
$writer->query_safe('COMMIT');
finishes($session, 'it is woken by the commit');

# Real work wakes too: the tick enqueues a job.
($session, $pid) = start_waiting('d', "CALL sync.wait_for_work($long)");
add_connection($node, 'd', 't1');
$node->safe_psql('d', 'SELECT enqueued FROM sync.tick()');
finishes($session, 'it is woken by a tick that enqueued something');

# What happens between the last look and the wait is not missed by a caller that says where it was.
my $seen = $node->safe_psql('d', 'CALL sync.wait_for_work(0)');
like($seen, qr/^\d+$/, 'max_ms 0 asks where the wake-ups have got to');
$node->safe_psql('d', 'SELECT sync._wake_executors()');
my $started = time;
my $now = $node->safe_psql('d', "CALL sync.wait_for_work($long, $seen)");
cmp_ok(time - $started, '<', 60, 'a wake-up before the call ends it at once');
isnt($now, $seen, 'and it returns how far it has got since');
$started = time;
is($node->safe_psql('d', "CALL sync.wait_for_work(150, $now)"),
    $now, 'nothing new: it returns what it was given');
cmp_ok(time - $started, '>=', 0.15, 'after max_ms');

# Where it cannot work.
my ($code, $out, $err) = $node->psql('d', 'BEGIN; CALL sync.wait_for_work(10)');
isnt($code, 0, 'refused in a transaction block');
like($err, qr/sync.wait_for_work cannot run inside a transaction block/, 'with the reason');
($code, $out, $err) = $node->psql('d', 'CALL sync.wait_for_work(-1)');
like($err, qr/max_ms must be between 0 and 3600000/, 'a negative time is refused with the range');
($code, $out, $err) = $node->psql('d', 'CALL sync.wait_for_work(NULL)');
like($err, qr/max_ms must be between 0 and 3600000/, 'and so is none');
is( $node->safe_psql(
        'd', 'DO $$ DECLARE seen bigint; BEGIN CALL sync.wait_for_work(0, seen); END $$; SELECT 1'),
    '1', 'DO may call it');

# It can be cancelled, and does not hold up a shutdown.
($session, $pid) = start_waiting('d', "CALL sync.wait_for_work($long)");
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
finishes($session, 'it can be cancelled');
($session, $pid) = start_waiting('d', "CALL sync.wait_for_work($long)");
$writer->quit;
$started = time;
$node->stop('fast');
cmp_ok(time - $started, '<', 2, 'nor does it hold up a fast shutdown');
$session->{run}->finish;

done_testing();
