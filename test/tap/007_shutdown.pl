# Workers do not hold up a shutdown.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use SyncTest;

my $node = new_node('main');
create_extension($node, 'd1', 'd2');

foreach my $mode ('fast', 'smart')
{
    wait_for_worker($node, $_) foreach ('d1', 'd2');
    my $position = log_position($node);
    my $started = time;
    $node->stop($mode);
    my $took = time - $started;
    cmp_ok($took, '<', 2, "$mode shutdown within two seconds");
    my $log = processes_log_since($node, $position);
    like($log, qr/scheduler for database "$_" stopped cleanly/, "$mode: the worker of $_ stopped cleanly")
      foreach ('d1', 'd2');
    unlike($log, qr/FATAL|ERROR/, "$mode: without an error");
    $node->start;
}

# A fast shutdown while the worker waits for a lock: it waits at most half a second.
my $pid = wait_for_worker($node, 'd1');
my $blocker = $node->background_psql('d1');
$blocker->query_safe('BEGIN; LOCK TABLE sync.sync_jobs IN ACCESS EXCLUSIVE MODE');
$node->safe_psql('d1', 'SELECT sync._wake_launcher()');
$node->poll_query_until('postgres',
    "SELECT count(*) > 0 FROM pg_locks WHERE pid = $pid AND NOT granted")
  or die 'the worker never waited for the lock';
my $started = time;
$node->stop('fast');
cmp_ok(time - $started, '<', 2, 'fast shutdown within two seconds while a table is locked');
$blocker->{run}->finish;

# A standby that does not answer: the worker's commit does not wait for it.
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'\n");
$node->start;
wait_for_worker($node, 'd1');
$node->safe_psql(
    'd1', q{
    SET synchronous_commit = local;
    INSERT INTO sync.providers (slug, connector) VALUES ('p', 'noop');
    INSERT INTO sync.connections (tenant_id, provider_slug) VALUES ('t', 'p');
    SELECT sync._wake_launcher();});
wait_for_jobs($node, 'd1', 1);
$started = time;
$node->stop('fast');
cmp_ok(time - $started, '<', 2, 'fast shutdown within two seconds while a synchronous standby is missing');

done_testing();
