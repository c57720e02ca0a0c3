# Crashes in the middle of a completion, a claim and a tick. engine.md section 1: everything a run changes "commits in one fenced
# transaction"; section 5: "repeating a call that had succeeded with the same token ... is a no-op success, because an executor
# that lost its connection does not know whether its commit arrived".
#
# To stop a session in the middle, a trigger of the test's waits there for an advisory lock that another session holds.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node(
    'main',
    conf => q{
sync_engine.background_ticks = off
sync_engine.jitter_pct_max = 0
sync_engine.execution_retention_days = 0
sync_engine.job_retention_days = 0
restart_after_crash = on
});
create_extension($node, 'd');
$node->safe_psql(
    'd', q{
    CREATE FUNCTION public.wait_here() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('test.stop_at', true) = TG_ARGV[0] THEN
            PERFORM pg_advisory_xact_lock(42);
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER wait_here BEFORE INSERT ON sync.signals FOR EACH ROW EXECUTE FUNCTION public.wait_here('signal');
    CREATE TRIGGER wait_here BEFORE INSERT ON sync.sync_executions FOR EACH ROW EXECUTE FUNCTION public.wait_here('execution');
    CREATE TRIGGER wait_here BEFORE UPDATE ON sync.sync_jobs FOR EACH ROW EXECUTE FUNCTION public.wait_here('claim');
    CREATE TRIGGER wait_here BEFORE UPDATE ON sync.connections FOR EACH ROW EXECUTE FUNCTION public.wait_here('connection');
    INSERT INTO sync.providers (slug, connector) VALUES ('p', 'noop');
    INSERT INTO sync.connections (tenant_id, provider_slug, last_incremental_finished_at, metadata)
    SELECT 't', 'p', '2026-03-01 11:00Z', '{"sync": {"next_run_at": "2026-03-01T11:15:00Z"}}' FROM generate_series(1, 3);
    SELECT sync.tick('2026-03-01 11:20Z');
    CREATE TABLE public.claimed AS SELECT * FROM sync.claim_jobs('executor', 3, '2026-03-01 12:00Z');});

# All that a run can change, for comparison: a transaction that did not commit leaves no trace but gaps in the ids.
my $all = q{
    SELECT c.id, c.status, c.metadata, c.last_incremental_finished_at, s.due_at, s.running_job_id FROM sync.connections c
    JOIN sync.connection_state s ON s.connection_id = c.id ORDER BY 1;
    SELECT id, connection_id, status, attempts, page, claim_token, cursor FROM sync.sync_jobs ORDER BY 1;
    SELECT connection_id, dedupe_key FROM sync.signals ORDER BY 1, 2;
    SELECT job_id, attempt, status FROM sync.sync_executions ORDER BY 1, 2};
my $results = q{(SELECT jsonb_agg(jsonb_build_object('job_id', job_id, 'claim_token', claim_token, 'has_more', connection_id = 1,
    'next_cursor', jsonb_build_object('n', 1), 'signals', '[{"kind": "item", "dedupe_key": "x"}, {"kind": "item", "dedupe_key": "y"}]'::jsonb))
    FROM public.claimed)};
my $complete = "SELECT string_agg(outcome, ' ') FROM sync.complete_jobs($results, '2026-03-01 12:01Z')";

# Starts a query that comes to stand at that trigger; returns its session and its process.
my @sessions;

sub start_and_stop
{
    my ($stop_at, $query) = @_;
    foreach my $sql ("SELECT pg_advisory_lock(42); SELECT pg_backend_pid() \\g /dev/null\n", "SET test.stop_at = '$stop_at';\n$query;\n")
    {
        my ($in, $out) = ($sql, '');
        my $session = IPC::Run::start([ 'psql', '-qXAt', '-d', $node->connstr('d') ], '<', \$in, '>', \$out, '2>', \$out);
        push @sessions, [ $session, \$in, \$out ];
        # A holder at first, which waits for more input; then the one that waits for it.
        my $granted = @sessions == 1 ? 't' : 'f';
        $session->pump until $in eq '';
        $node->poll_query_until('d', "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND granted = '$granted'")
          or die "session did not come to stand at $stop_at";
    }
    return $node->safe_psql('d', "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted");
}

sub end_sessions
{
    while (my $session = pop @sessions)
    {
        # They were thrown out, so they end with an error, or they are told to end.
        eval { $session->[0]->kill_kill };
    }
    return;
}

sub crash
{
    my ($pid) = @_;
    my $position = log_position($node);
    kill 'KILL', $pid;
    $node->wait_for_log(qr/all server processes terminated; reinitializing/, $position);
    $node->wait_for_log(qr/database system is ready to accept connections/, $position);
    end_sessions();
    return;
}

my $before = $node->safe_psql('d', $all);

# In the middle of a completion: signals landed, jobs ended, executions half written; in each case all is as it was.
foreach my $stop_at ('signal', 'execution', 'connection')
{
    my $pid = start_and_stop($stop_at, $complete);
    crash($pid);
    is($node->safe_psql('d', $all), $before, "a crash at the $stop_at of a completion leaves nothing of it");
}
my $pid = start_and_stop('execution', $complete);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$node->poll_query_until('d', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
end_sessions();
is($node->safe_psql('d', $all), $before, 'nor does a session that is terminated');
$node->stop('immediate');
$node->start;
is($node->safe_psql('d', $all), $before, 'nor an immediate shutdown');

# The token is good still; once committed, the result outlives a crash and is known when it is repeated.
is($node->safe_psql('d', $complete), 'completed completed completed', 'the token is still good');
my $after = $node->safe_psql('d', $all);
$node->stop('immediate');
$node->start;
is($node->safe_psql('d', $all), $after, 'what was committed outlives a crash');
is($node->safe_psql('d', $complete), 'repeated repeated repeated', 'and is known when it is repeated');
is($node->safe_psql('d', $all), $after, 'without doing it again');
is($node->safe_psql('d', 'SELECT count(*), count(DISTINCT (connection_id, dedupe_key)) FROM sync.signals'), '6|6', 'signals landed once');

# In the middle of a claim: the job is there for the next one.
$pid = start_and_stop('claim', q{SELECT count(*) FROM sync.claim_jobs('executor', 1, '2026-03-01 12:02Z')});
crash($pid);
is($node->safe_psql('d', $all), $after, 'a crash in a claim leaves nothing of it');
is($node->safe_psql('d', q{SELECT connection_id, cursor FROM sync.claim_jobs('executor', 5, '2026-03-01 12:02Z')}),
    '1|{"n": 1}', 'the page is claimed by the next one');
$after = $node->safe_psql('d', $all);

# In the middle of a tick: no job without its next run, nor the other way round.
$pid = start_and_stop('connection', q{SELECT enqueued FROM sync.tick('2026-03-01 12:20Z')});
crash($pid);
is($node->safe_psql('d', $all), $after, 'a crash in a tick leaves nothing of it');
is( $node->safe_psql(
        'd', q{
        SELECT enqueued, requeued FROM sync.tick('2026-03-01 12:20Z');
        SELECT connection_id, metadata #>> '{sync,next_run_at}' FROM sync.sync_jobs j JOIN sync.connections c ON c.id = j.connection_id
        WHERE j.status = 'queued' AND page = 1 ORDER BY 1}),
    "2|1\n2|2026-03-01T12:31:00Z\n3|2026-03-01T12:31:00Z", 'the next tick enqueues what is due, each once');

$node->stop;
done_testing();
