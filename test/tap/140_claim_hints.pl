# Hints tell claims where to begin to read. With them a claim does not walk over what an old snapshot keeps alive; and no job is
# late or lost, wherever it comes to stand: a transaction that queues one pulls the hint back when it commits.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use SyncTest;

my $node = new_node(
    'main',
    conf => q{
sync_engine.background_ticks = off
max_prepared_transactions = 2
autovacuum = off
restart_after_crash = on
});
create_extension($node, 'd', 'other');
my $long_ago = "'2026-03-01 12:00Z'::timestamptz";

# Connections from $first to $last of provider p, without jobs.
sub connections
{
    my ($database, $first, $last) = @_;
    $node->safe_psql(
        $database, qq{
        INSERT INTO sync.providers (slug, connector) VALUES ('p', 'noop') ON CONFLICT DO NOTHING;
        INSERT INTO sync.connections (id, tenant_id, provider_slug) SELECT n, 't', 'p' FROM generate_series($first, $last) n;});
    return;
}

# As an application would: a plain INSERT, due long ago, in the order of the ids.
sub job_of
{
    my ($first, $last) = @_;
    return qq{
        INSERT INTO sync.sync_jobs (tenant_id, provider_slug, connection_id, job_type, status, scheduled_at)
        SELECT 't', 'p', n, 'incremental', 'queued', $long_ago + n * interval '1 ms' FROM generate_series($first, $last) n;};
}

my $claim = q{SELECT string_agg(connection_id::text, ',' ORDER BY connection_id) FROM sync.claim_jobs('e', 100);};
my $front = q{SELECT due FROM sync._lane_front('p', 0);};
my $is_raised = q{SELECT due > '2026-06-01' FROM sync._lane_front('p', 0);};

sub claim_now
{
    my ($database) = @_;
    return $node->safe_psql($database, $claim);
}

sub complete_all
{
    my ($database) = @_;
    $node->safe_psql(
        $database, q{
        SELECT count(*) FROM sync.complete_jobs((SELECT jsonb_agg(jsonb_build_object('job_id', id, 'claim_token', claim_token))
            FROM ONLY sync.sync_jobs WHERE status = 'running'));});
    return;
}

# Claims from a queue in which it sees nothing, until others may trust that. A hint is trusted for a second, so a machine
# that is busy takes several tries.
sub raise_hint
{
    my ($database) = @_;
    my $deadline = time + 60;
    while (time < $deadline)
    {
        my $said = $node->safe_psql($database, "$claim $is_raised");
        return if $said eq "\nt";
        die "a claim got $said where nothing was to be seen" if $said =~ /\d/;
    }
    die 'the hint was never raised';
}

connections('d', 1, 20);
is($node->safe_psql('d', $front), '-infinity', 'a lane of which nothing is known is read from its front');
$node->safe_psql('d', job_of(20, 20));
is(claim_now('d'), '20', 'the first claim finds what is there');

# Each of these would be late without being told.
raise_hint('d');
$node->safe_psql('d', job_of(1, 1));
is(claim_now('d'), '1', 'a plain INSERT behind the hint is claimed at once');

raise_hint('d');
$node->safe_psql('d', 'SET session_replication_role = replica;' . job_of(2, 2));
is(claim_now('d'), '2', 'so is one past the triggers that applications can switch off');

my $writer = $node->background_psql('d');
$writer->query_safe('BEGIN');
$writer->query_safe(job_of(3, 3));
raise_hint('d');
pass('the hint is raised past a job that is not committed');
$writer->query_safe('COMMIT');
is(claim_now('d'), '3', 'a commit behind the hint is claimed at once');

raise_hint('d');
$node->safe_psql('d', q{SELECT sync.release_jobs('e', array_agg(id), array_agg(claim_token)) FROM ONLY sync.sync_jobs WHERE connection_id = 2});
is(claim_now('d'), '2', 'a job that was released is claimed at once');

raise_hint('d');
$node->safe_psql('d', q{SELECT sync.trigger(4)});
$node->safe_psql('d', qq{UPDATE sync.sync_jobs SET priority = 0, scheduled_at = $long_ago WHERE connection_id = 4});
is(claim_now('d'), '4', 'a job that an application moved behind the hint is claimed at once');

raise_hint('d');
is( $node->safe_psql('d', 'BEGIN;' . job_of(5, 5) . $claim . 'ROLLBACK;' . $claim),
    "5\n", 'a transaction claims what it has queued itself, and nothing is left of it after a rollback');

# Claims that are undone
complete_all('d');
$node->safe_psql('d', job_of(1, 10));
$writer->query_safe('BEGIN');
is($writer->query_safe($claim), '1,2,3,4,5,6,7,8,9,10', 'a claim that will be undone');
is(claim_now('d'), '', 'meanwhile others get nothing') for 1 .. 3;
$writer->query_safe('ROLLBACK');
is(claim_now('d'), '1,2,3,4,5,6,7,8,9,10', 'after the rollback they are claimed at once');
$node->safe_psql('d',
    q{SELECT sync.release_jobs('e', array_agg(id), array_agg(claim_token)) FROM ONLY sync.sync_jobs WHERE status = 'running'});
is( $node->safe_psql('d', "BEGIN; SAVEPOINT s; $claim $claim ROLLBACK TO s; COMMIT; $claim"),
    "1,2,3,4,5,6,7,8,9,10\n\n1,2,3,4,5,6,7,8,9,10", 'so they are after a rollback to a savepoint');
complete_all('d');

# A snapshot that is older than a commit must not raise the hint past it.
$writer->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$writer->query_safe('SELECT 1');
$node->safe_psql('d', job_of(11, 11));
$writer->query_safe($claim);
$writer->query_safe('COMMIT');
is(claim_now('d'), '11', 'a claim with an old snapshot hides no job');
complete_all('d');

# Nobody learns of COMMIT PREPARED: such a job is found as soon as the hint is no longer trusted.
$node->safe_psql('d', 'BEGIN;' . job_of(12, 12) . q{PREPARE TRANSACTION 'late';});
raise_hint('d');
$node->safe_psql('d', q{COMMIT PREPARED 'late'});
my $deadline = time + 60;
my $got = '';
while ($got eq '' && time < $deadline)
{
    $got = claim_now('d');
}
is($got, '12', 'a job that nobody was told of is claimed when the hint is not trusted any more');
complete_all('d');

# Databases have lanes of their own.
connections('other', 1, 1);
raise_hint('d');
is($node->safe_psql('other', $front), '-infinity', 'another database does not share the hint');
$node->safe_psql('other', job_of(1, 1));
is(claim_now('other'), '1', 'nor does it miss a job by it');

# What the hints are for: 5,000 jobs were claimed behind the back of an old snapshot. Due times are scattered over the table, so
# that each dead row costs a buffer.
connections('d', 101, 6100);
$node->safe_psql('d', job_of(101, 6100) =~ s/n \* interval/n * 7919 % 6000 * interval/r);
$node->safe_psql('d', 'VACUUM ANALYZE');
$writer->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$writer->query_safe('SELECT count(*) FROM sync.connections');
my $claimer = $node->background_psql('d');

my $claim_one = q{SELECT * FROM sync.claim_jobs('e', 1)};
# The first ones read the catalogs.
buffers_of($claimer, $claim_one) for 1 .. 3;
my $fresh = buffers_of($claimer, $claim_one);
$claimer->query_safe(q{DO $$ BEGIN FOR i IN 1 .. 50 LOOP PERFORM * FROM sync.claim_jobs('e', 100); COMMIT; END LOOP; END $$});
my $after;
$deadline = time + 60;
do
{
    $after = buffers_of($claimer, $claim_one);
} until ($after <= 3 * $fresh || time > $deadline);
cmp_ok($after, '<=', 3 * $fresh, "behind 5,000 jobs and an open snapshot a claim reads $after buffers, $fresh before");
$claimer->query_safe('SET enable_seqscan = off');
my $walk = buffers_of($claimer, q{SELECT j.id FROM ONLY sync.sync_jobs j WHERE j.status = 'queued' AND NOT j.own_lane AND j.provider_slug = 'p' AND j.priority = 0
    ORDER BY GREATEST(j.scheduled_at, j.retry_after), j.id LIMIT 1});
cmp_ok($walk, '>', 10 * $fresh, "the walk over them would be $walk");
$claimer->quit;
$writer->query_safe('COMMIT');

# A backend that is killed takes all of shared memory along.
raise_hint('d') if claim_now('d') eq '';
$node->safe_psql('d', job_of(13, 13));
$writer->query_safe('BEGIN');
$writer->query_safe($claim);
my $pid = $writer->query_safe('SELECT pg_backend_pid()');
my $position = log_position($node);
kill 'KILL', $pid;
$node->wait_for_log(qr/terminating any other active server processes/, $position);
$node->wait_for_log(qr/database system is ready to accept connections/, $position);
eval { $writer->quit };
is($node->safe_psql('d', $front), '-infinity', 'after a crash nothing is known of any lane');
like(claim_now('d'), qr/^13,/, 'and all is claimed');

$node->stop;
done_testing();
