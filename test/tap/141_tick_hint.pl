# A hint tells ticks where to begin to read, as the claims' hints do. With it a tick does not walk over what an old snapshot keeps
# alive; and nothing is late or lost, wherever it comes to stand: a transaction that sets a due time pulls the hint back when it commits.
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
$node->safe_psql($_, q{INSERT INTO sync.providers (slug, connector) VALUES ('p', 'noop')}) for 'd', 'other';

# As an application would: plain INSERTs of connections, which are due at once.
sub connections
{
    my ($first, $last) = @_;
    return qq{
        INSERT INTO sync.connections (id, tenant_id, provider_slug) SELECT n, 't', 'p' FROM generate_series($first, $last) n;};
}

my $tick = q{SELECT enqueued FROM sync.tick_batch();};
# Rolled back, so that it is no look of a tick's.
my $front = q{BEGIN; SELECT due FROM sync._begin_tick(now()); ROLLBACK;};
my $is_raised = q{BEGIN; SELECT due > '2026-06-01' FROM sync._begin_tick(now()); ROLLBACK;};

sub tick_now
{
    my ($database) = @_;
    return $node->safe_psql($database, $tick);
}

# Ticks where it sees nothing, until others may trust that. A hint is trusted for a second, so a machine that is busy takes several
# tries.
sub raise_hint
{
    my ($database) = @_;
    my $deadline = time + 60;
    while (time < $deadline)
    {
        my $said = $node->safe_psql($database, "$tick $is_raised");
        return if $said eq "0\nt";
        die "a tick said $said where nothing was to be seen" if $said !~ /^0\n/;
    }
    die 'the hint was never raised';
}

is($node->safe_psql('d', $front), '-infinity', 'where nothing is known a tick reads from the front');
$node->safe_psql('d', connections(1, 3));
is(tick_now('d'), 3, 'the first tick finds what is there');

# Each of these would be late without being told.
raise_hint('d');
$node->safe_psql('d', connections(4, 4));
is(tick_now('d'), 1, 'a new connection is due at once');

raise_hint('d');
$node->safe_psql(
    'd', 'SET session_replication_role = replica;' . connections(5, 5) . q{
    INSERT INTO sync.connection_state (connection_id, due_at) VALUES (5, '-infinity');});
is(tick_now('d'), 1, 'so is one past the triggers that applications can switch off');

my $writer = $node->background_psql('d');
$writer->query_safe('BEGIN');
$writer->query_safe(connections(6, 6));
raise_hint('d');
pass('the hint is raised past a connection that is not committed');
$writer->query_safe('COMMIT');
is(tick_now('d'), 1, 'a commit behind the hint is seen at once');

$node->safe_psql('d', q{UPDATE sync.sync_jobs SET status = 'cancelled' WHERE connection_id IN (1, 2, 3)});
is($node->safe_psql('d', q{SELECT count(*) FROM sync.connection_state WHERE due_at > now()}), 3, 'three wait for their next run');
raise_hint('d');
$node->safe_psql('d', q{UPDATE sync.connections SET metadata = '{}' WHERE id = 1});
is(tick_now('d'), 1, 'a connection whose next run an application removes is due at once');
raise_hint('d');
$node->safe_psql('d', q{UPDATE sync.connections SET last_incremental_finished_at = now() - interval '1 day' WHERE id = 2});
is(tick_now('d'), 1, 'so is one whose last run an application moves');
raise_hint('d');
$node->safe_psql('d', q{UPDATE sync.connection_state SET due_at = now() - interval '1 day' WHERE connection_id = 3});
is(tick_now('d'), 1, 'and one whose state is written itself');

# A completion writes its connection's next run without a trigger.
for my $path ('by place', 'by a statement')
{
    my $token = $node->safe_psql(
        'd', q{WITH c AS (SELECT * FROM sync.claim_jobs('e', 1, now() + interval '1 hour')) SELECT job_id || ',' || quote_literal(claim_token) FROM c});
    raise_hint('d');
    $node->safe_psql('d', qq{SELECT sync.complete_job($token, as_of => now() - interval '1 day')});
    is(tick_now('d'), 1, "a connection that a completion makes due, $path, is seen at once");
    $node->safe_psql('d', q{ALTER TABLE sync.connections ADD COLUMN IF NOT EXISTS c int GENERATED ALWAYS AS (1) STORED});
}
$node->safe_psql('d', q{ALTER TABLE sync.connections DROP COLUMN c});

raise_hint('d');
is($node->safe_psql('d', 'BEGIN;' . connections(7, 7) . $tick . 'ROLLBACK;' . $tick),
    "1\n0", 'a transaction sees what it has inserted itself, and nothing is left of it after a rollback');

# Ticks that are undone
$node->safe_psql('d', connections(11, 20));
$writer->query_safe('BEGIN');
is($writer->query_safe($tick), 10, 'a tick that will be undone');
is(tick_now('d'), 0, 'meanwhile others get nothing') for 1 .. 3;
$writer->query_safe('ROLLBACK');
is($node->safe_psql('d', "BEGIN; SAVEPOINT s; $tick $tick ROLLBACK TO s; COMMIT; $tick"),
    "10\n0\n10", 'after a rollback, also one to a savepoint, all is due at once');

# Batches of two that tick at once
my $batch = q{SELECT enqueued, more FROM sync.tick_batch(3);};
$node->safe_psql('d', connections(21, 28));
$writer->query_safe('BEGIN');
is($writer->query_safe($batch), '3|t', 'one takes the first batch');
is($node->safe_psql('d', $batch), '3|t', 'another the second');
is($node->safe_psql('d', $batch), '2|f', 'and the third');
$writer->query_safe('ROLLBACK');
is($node->safe_psql('d', "$batch $batch"), "3|t\n0|f", 'the first batch, which was undone, is taken up');

# A row that makes its batch fail
$node->safe_psql(
    'd', q{
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON sync.sync_jobs FOR EACH ROW WHEN (NEW.connection_id = 33) EXECUTE FUNCTION refuse();}
      . connections(31, 35));
is($node->safe_psql('d', "SET client_min_messages = error; $batch $batch"), "2|t\n2|f", 'a batch that fails is taken apart');
is($node->safe_psql('d', q{SELECT count(*) FROM sync.connection_state WHERE connection_id = 33 AND due_at > now()}),
    1, 'what made it fail is set back');
$node->safe_psql('d', q{DROP TRIGGER refuse ON sync.sync_jobs});

# A snapshot that is older than a commit must not raise the hint past it.
$writer->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$writer->query_safe('SELECT 1');
$node->safe_psql('d', connections(41, 41));
$writer->query_safe($tick);
$writer->query_safe('COMMIT');
is(tick_now('d'), 1, 'a tick with an old snapshot hides nothing');

# Nobody learns of COMMIT PREPARED: it is found as soon as the hint is no longer trusted.
$node->safe_psql('d', 'BEGIN;' . connections(42, 42) . q{PREPARE TRANSACTION 'late';});
raise_hint('d');
$node->safe_psql('d', q{COMMIT PREPARED 'late'});
my $deadline = time + 60;
my $got = 0;
while ($got == 0 && time < $deadline)
{
    $got = tick_now('d');
}
is($got, 1, 'a connection that nobody was told of is due when the hint is not trusted any more');

raise_hint('d');
is($node->safe_psql('other', $front), '-infinity', 'another database does not share the hint');
$node->safe_psql('other', connections(1, 1));
is(tick_now('other'), 1, 'nor does it miss a connection by it');

# What the hint is for: 5,000 connections were scheduled behind the back of an old snapshot. Due times are scattered over the table,
# so that each dead row costs a buffer.
$node->safe_psql(
    'd', connections(1001, 6000) . q{
    UPDATE sync.connection_state SET due_at = '2026-03-01 12:00Z'::timestamptz + connection_id * 7919 % 5000 * interval '1 ms'
    WHERE connection_id > 1000;});
$node->safe_psql('d', 'VACUUM ANALYZE');
$writer->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$writer->query_safe('SELECT count(*) FROM sync.connections');
my $ticker = $node->background_psql('d');
$ticker->query_safe(q{DO $$ BEGIN WHILE (SELECT more FROM sync.tick_batch(500)) LOOP COMMIT; END LOOP; END $$});
my $after;
$deadline = time + 60;
do
{
    $after = buffers_of($ticker, q{SELECT * FROM sync.tick_batch()});
} until ($after <= 100 || time > $deadline);
cmp_ok($after, '<=', 100, "behind 5,000 connections and an open snapshot an idle tick reads $after buffers");
$ticker->query_safe('SET enable_seqscan = off');
my $walk = buffers_of($ticker, q{SELECT count(*) FROM sync.connection_state s WHERE s.due_at <= now()});
cmp_ok($walk, '>', 200, "the walk over them would be $walk");
$ticker->quit;
$writer->query_safe('COMMIT');

# After a batch its entries are marked as dead by the next that comes by, which leaves them to be passed without a look at their rows.
$node->safe_psql('other', connections(1001, 6000));
$node->safe_psql('other', q{SELECT sync.tick()});
my $entries = q{EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF, SUMMARY OFF) SELECT count(*) FROM sync.connection_state s WHERE s.due_at <= now()};
like($node->safe_psql('other', "SET enable_seqscan = off; SET enable_bitmapscan = off; $entries; $entries;"),
    qr/Heap Fetches: [1-9].*Heap Fetches: 0\b/s, 'entries of what was scheduled are passed by without their rows');

# A backend that is killed takes all of shared memory along.
raise_hint('d');
$node->safe_psql('d', connections(51, 51));
$writer->query_safe('BEGIN');
$writer->query_safe($tick);
my $pid = $writer->query_safe('SELECT pg_backend_pid()');
my $position = log_position($node);
kill 'KILL', $pid;
$node->wait_for_log(qr/terminating any other active server processes/, $position);
$node->wait_for_log(qr/database system is ready to accept connections/, $position);
eval { $writer->quit };
is($node->safe_psql('d', $front), '-infinity', 'after a crash nothing is known');
is(tick_now('d'), 1, 'and all is due');

$node->stop;
done_testing();
