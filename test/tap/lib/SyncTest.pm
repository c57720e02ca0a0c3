# What the TAP tests share. Nothing here sleeps: all waits poll up to a deadline.
package SyncTest;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_node watch_log create_extension add_connection worker_pid wait_for_worker
  wait_for_other_worker wait_for_no_worker wait_for_jobs log_position log_since processes_log_since
  ticks_done wait_for_ticks poke_worker count_processes count_locks buffers_of);

my @nodes;

# The servers' logs are gone with the temporary folder, so what a failure needs is shown here.
END
{
    if ($? != 0 || !Test::More->builder->is_passing)
    {
        foreach my $node (@nodes)
        {
            next unless -f $node->logfile;
            my @lines = grep { !/LOG:  (statement|checkpoint)/ } split /\n/, slurp_file($node->logfile);
            @lines = @lines[ -60 .. -1 ] if @lines > 60;
            diag('end of the log of ' . $node->name . ":\n" . join("\n", @lines));
        }
    }
}

# Has its log shown if the test fails; new_node does it by itself.
sub watch_log
{
    push @nodes, @_;
    return;
}

# A running cluster with the extension preloaded. Options: conf (text appended to postgresql.conf), preload
# (false: without the library), start (false: leave it stopped), init (list of arguments for init).
sub new_node
{
    my ($name, %options) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    watch_log($node);
    # The same whatever locale the caller has.
    $node->init(extra => [ '--encoding=UTF8', '--no-locale' ], @{ $options{init} // [] });
    $node->append_conf('postgresql.conf', "shared_preload_libraries = 'sync_engine'\n")
      if $options{preload} // 1;
    $node->append_conf('postgresql.conf', $options{conf} // '');
    $node->start if $options{start} // 1;
    return $node;
}

sub create_extension
{
    my ($node, @databases) = @_;
    foreach my $database (@databases)
    {
        $node->safe_psql('postgres', "CREATE DATABASE $database")
          if $node->safe_psql('postgres', "SELECT 1 FROM pg_database WHERE datname = '$database'") eq '';
        $node->safe_psql($database, 'CREATE EXTENSION sync_engine');
    }
    return;
}

# A connection that is due at once; its provider is made when it is the first.
sub add_connection
{
    my ($node, $database, $tenant) = @_;
    $node->safe_psql(
        $database, qq{
        INSERT INTO sync.providers (slug, connector) VALUES ('p', 'noop') ON CONFLICT DO NOTHING;
        INSERT INTO sync.connections (tenant_id, provider_slug) VALUES ('$tenant', 'p');});
    return;
}

# Of the worker in the database; empty if there is none, several lines if there are several.
sub worker_pid
{
    my ($node, $database) = @_;
    return $node->safe_psql(
        'postgres', qq{
        SELECT pid FROM pg_stat_activity
        WHERE backend_type = 'sync_engine scheduler' AND datname = '$database'});
}

sub wait_for_worker
{
    my ($node, $database) = @_;
    $node->poll_query_until(
        'postgres', qq{
        SELECT count(*) = 1 FROM pg_stat_activity
        WHERE backend_type = 'sync_engine scheduler' AND datname = '$database' AND state = 'idle'})
      or die "no worker came to database $database";
    return worker_pid($node, $database);
}

sub wait_for_other_worker
{
    my ($node, $database, $former_pid) = @_;
    $node->poll_query_until(
        'postgres', qq{
        SELECT count(*) = 1 AND max(pid) <> $former_pid FROM pg_stat_activity
        WHERE backend_type = 'sync_engine scheduler' AND datname = '$database' AND state = 'idle'})
      or die "no other worker came to database $database";
    return worker_pid($node, $database);
}

sub wait_for_no_worker
{
    my ($node, $database) = @_;
    $node->poll_query_until(
        'postgres', qq{
        SELECT count(*) = 0 FROM pg_stat_activity
        WHERE backend_type = 'sync_engine scheduler' AND datname = '$database'})
      or die "the worker did not leave database $database";
    return;
}

# Until the tick has enqueued so many jobs.
sub wait_for_jobs
{
    my ($node, $database, $count) = @_;
    $node->poll_query_until($database, "SELECT count(*) >= $count FROM sync.sync_jobs")
      or die "database $database never had $count jobs";
    return;
}

sub log_position
{
    my ($node) = @_;
    return -s $node->logfile;
}

sub log_since
{
    my ($node, $position) = @_;
    return slurp_file($node->logfile, $position);
}

# The same without the lines about clients, such as one that is still leaving when the server stops.
sub processes_log_since
{
    my ($node, $position) = @_;
    return join "\n", grep { !/\] \S+\.pl [A-Z]+:/ } split /\n/, log_since($node, $position);
}

# Batches of ticks that any session of the database has run since the server started.
sub ticks_done
{
    my ($node, $database) = @_;
    my $count = $node->safe_psql($database,
        "SELECT max(count) FROM sync._metrics_snapshot() WHERE name = 'sync_scheduler_tick_duration_ms'");
    return $count eq '' ? 0 : $count;
}

# Makes the worker tick now, and waits until it has.
sub poke_worker
{
    my ($node, $database) = @_;
    my $before = ticks_done($node, $database);
    $node->safe_psql($database, 'SELECT sync._wake_launcher()');
    wait_for_ticks($node, $database, $before + 1);
    return;
}

# Until that many batches have been run, as ticks_done counts them.
sub wait_for_ticks
{
    my ($node, $database, $count) = @_;
    $node->poll_query_until(
        $database, qq{
        SELECT max(count) >= $count FROM sync._metrics_snapshot()
        WHERE name = 'sync_scheduler_tick_duration_ms'})
      or die "the worker of database $database did not tick";
    return;
}

# Processes of the engine, launcher and workers.
sub count_processes
{
    my ($node) = @_;
    return $node->safe_psql('postgres',
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'sync_engine%'");
}

# What the process has locked, but for the lock that each transaction has on itself.
sub count_locks
{
    my ($node, $pid) = @_;
    return $node->safe_psql('postgres',
        "SELECT count(*) FROM pg_locks WHERE pid = $pid AND locktype <> 'virtualxid'");
}

# How many buffers the query reads in that session, a background_psql.
sub buffers_of
{
    my ($session, $query) = @_;
    my $plan = $session->query_safe("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) $query");
    my ($hit) = $plan =~ /"Shared Hit Blocks": (\d+)/;
    my ($read) = $plan =~ /"Shared Read Blocks": (\d+)/;
    return $hit + $read;
}

1;
