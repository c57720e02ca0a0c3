# A dump taken while jobs wait, run and have ended, restored into another database. engine.md section 11: "pg_dump and restore
# keep rows, sequences, partitions, policies and indexes (pg_restore --exit-on-error)"; section 7: a restored database "must
# not start calling APIs ... until sync.adopt_database()", and then works on.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main', conf => "sync_engine.background_ticks = off\nsync_engine.jitter_pct_max = 0\nTimeZone = 'UTC'\n"
      . "sync_engine.notification_retention_days = 0\n");
# In the source no worker does anything: it is at rest while it is dumped, at a time of the test's own.
$node->safe_psql('postgres', 'CREATE DATABASE source');
$node->safe_psql('postgres', 'ALTER DATABASE source SET sync_engine.enabled = off');
create_extension($node, 'source');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/source.dump';

# Two days of history, and every kind of row that a dump has to carry. At noon of the second day: jobs 'queued',
# in backoff, running, ended in all ways; connections paused, in error, revoked, with odd metadata and deleted.
$node->safe_psql(
    'source', q{
    SET sync_engine.enabled = on;
    CREATE PROCEDURE public.run_all(day timestamptz, n int) LANGUAGE plpgsql AS $$
    DECLARE
        results jsonb;
    BEGIN
        SELECT jsonb_agg(jsonb_build_object('job_id', job_id, 'claim_token', claim_token)
                         || CASE job_id % 5
                                WHEN 0 THEN '{"error": {"message": "no answer"}}'
                                WHEN 1 THEN '{"error": {"message": "slow down"}, "kind": "rate_limited", "retry_after_seconds": 600}'
                                WHEN 2 THEN jsonb_build_object('has_more', true, 'next_cursor', jsonb_build_object('page', job_id))
                                ELSE jsonb_build_object('next_cursor', jsonb_build_object('at', job_id), 'signals', jsonb_build_array(
                                    jsonb_build_object('kind', 'item', 'dedupe_key', 'k' || job_id, 'payload', jsonb_build_object('n', job_id)),
                                    jsonb_build_object('kind', 'item')))
                            END)
        INTO results FROM sync.claim_jobs('executor', n, day);
        PERFORM sync.complete_jobs(results, day);
    END $$;
    INSERT INTO sync.providers (slug, connector, config, allowed_hosts, max_attempts)
    VALUES ('p', 'noop', '{"base_url": "https://api.example.org", "auth": {"$env": "TOKEN"}}', '{api.example.org}', 7), ('q', 'noop', '{}', '{}', NULL);
    INSERT INTO sync.connections (tenant_id, provider_slug, external_id, metadata)
    SELECT 't' || n % 7, CASE WHEN n % 3 = 0 THEN 'q' ELSE 'p' END, 'e' || n,
           CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN '{"ours": "é \u00df"}' WHEN 2 THEN '[1, 2]'
                      ELSE '{"sync": {"interval_seconds": 300}}'::jsonb END
    FROM generate_series(1, 60) n;
    -- A URL that another database might refuse; more events than a setting is told one by one; a receiver that is gone.
    SET sync_engine.webhook_allow_http = on;
    SET sync_engine.notification_burst = 2;
    SELECT sync.create_notification('t' || n, 'email', '{success,failure,warning,digest}', '{"to": ["a@example.org", "b@example.org"]}', as_of => '2026-02-28 11:00Z'),
           sync.create_notification('t' || n, 'webhook', '{failure,warning}', '{"url": "http://example.org/hook"}', verify => n > 1, as_of => '2026-02-28 11:00Z'),
           sync.create_notification('t' || n, 'in_app', '{success}', '{"users": ["u"]}', as_of => '2026-02-28 11:00Z')
    FROM generate_series(1, 2) n;
    SELECT sync.rotate_webhook_secret(min(id), as_of => '2026-02-28 11:30Z') FROM sync.sync_notifications WHERE notification_type = 'webhook';
    SELECT sync._housekeeping('2026-02-28 12:00Z') FROM generate_series(1, 5);
    SELECT sync.tick('2026-02-28 12:00Z');
    CALL public.run_all('2026-02-28 12:10Z', 40);
    SELECT sync._housekeeping('2026-03-01 00:00Z') FROM generate_series(1, 5);
    CALL public.run_all('2026-03-01 10:00Z', 30);
    SELECT sync.tick('2026-03-01 12:00Z');
    CALL public.run_all('2026-03-01 12:05Z', 10);
    SELECT sync.register_executor('other', 1, '{"host": "h"}', '2026-03-01 12:05Z');
    SELECT count(*) FROM sync.claim_jobs('other', 5, '2026-03-01 12:06Z');
    SELECT sync.trigger(connection_id, 'incremental', as_of => '2026-03-01 12:07Z') FROM sync.sync_jobs WHERE status = 'running';
    SELECT sync.trigger(50, 'full', as_of => '2026-03-01 12:07Z');
    -- A delivery that waits for the end of a job.
    SELECT sync.receive_hook(j.provider_slug, split_part(h.path, '/', 4), 'd', '{}', '{"n": 1}', as_of => '2026-03-01 12:07Z')
    FROM (SELECT provider_slug, connection_id, job_type FROM sync.sync_jobs WHERE status = 'running' ORDER BY id LIMIT 1) j
    CROSS JOIN LATERAL sync.create_hook(j.connection_id, 'github', job_type => j.job_type, as_of => '2026-03-01 12:00Z') h;
    SELECT sync.cancel_job(min(id), as_of => '2026-03-01 12:08Z') FROM sync.sync_jobs WHERE status = 'queued';
    SELECT sync.pause(51, 'on holiday');
    UPDATE sync.connections SET status = 'revoked' WHERE id = 52;
    UPDATE sync.connections SET status = 'error' WHERE id = 53;
    DELETE FROM sync.connections WHERE id = 54;
    INSERT INTO sync.deleted_connections (connection_id, tenant_id) VALUES (999, 't');
    SELECT sync.create_schedule(id, 'n' || id, 'daily', at => '12:30', timezone => 'Europe/Berlin', as_of => '2026-02-27 10:00Z')
    FROM sync.connections WHERE id BETWEEN 1 AND 5;
    SELECT sync.create_schedule(6, 'by hand', 'realtime', as_of => '2026-02-27 10:00Z'), sync.skip_next(1, '2026-02-27 10:01Z');
    SELECT sync.tick('2026-03-01 12:06:30Z');
    SELECT sync.pause_schedule(2, 'for a while', '2026-03-05 10:00Z', '2026-03-01 12:11Z');
    SELECT sync.set_tenant_limits('t1', 100, 50, 10, 2, 3);
    SELECT sync.run_notifications('2026-03-01 12:12Z') FROM generate_series(1, 20);
    SELECT sync.complete_deliveries((SELECT jsonb_agg(jsonb_build_object('delivery_id', delivery_id, 'claim_token', claim_token,
               'outcome', CASE WHEN channel = 'email' THEN 'delivered' ELSE 'failed' END)) FROM sync.claim_deliveries('other', 4, as_of => '2026-03-01 12:12Z')), '2026-03-01 12:12Z');
    SELECT count(*) FROM sync.claim_deliveries('other', 2, as_of => '2026-03-01 12:13Z');
    INSERT INTO sync.outbox (tenant_id, event, type, connection_id, occurred_at, targets) VALUES ('t1', 'success', 'sync.succeeded', 1, '2026-03-01 12:13Z', '{1}');
    INSERT INTO sync.provider_state SELECT slug, '2026-03-01 12:00Z' FROM sync.providers;
    SELECT sync.create_api_token('t1', 'app', '{read,write}', '2027-01-01Z', 100, '2026-03-01 12:00Z'), sync.create_api_token('t2', 'old');
    SELECT sync.revoke_api_token(max(id)) FROM sync.api_tokens;
    SELECT set_config('sync_engine.tenant_id', 't1', false), sync.begin_idempotent('key', 'POST /', 'hash'), sync.end_idempotent('key', 201, '{"location": "/1"}', 'made');
    DROP PROCEDURE public.run_all;});
my $statuses = $node->safe_psql('source', 'SELECT string_agg(DISTINCT status, $$ $$ ORDER BY status) FROM sync.sync_jobs');
is($statuses, 'cancelled queued running succeeded', 'there are jobs in all the ways that a dump may find them');

$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('source') ], 'pg_dump');

# Rows of each table, by name; the identity is that of the database, so it is not among them.
sub rows
{
    my ($database) = @_;
    my $queries = $node->safe_psql(
        $database, q{
        SELECT string_agg(format('SELECT %L, count(*), md5(string_agg(t::text, $$,$$ ORDER BY t::text)) FROM ONLY %s t', c.oid::regclass, c.oid::regclass),
                          ' UNION ALL ' ORDER BY c.relname)
        FROM pg_class c
        WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind = 'r'
          AND c.relname NOT IN ('database_identity', 'engine_clock', 'notification_clock', 'connection_state', 'version_key')});
    return $node->safe_psql($database, $queries);
}

# What hangs on the tables, in the order of their names.
my %shapes = (
    indexes => q{SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'sync' ORDER BY 1, 2},
    partitions => q{SELECT inhrelid::regclass, inhparent::regclass, pg_get_expr(c.relpartbound, c.oid)
                    FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind = 'r' ORDER BY c.relname},
    constraints => q{SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
                     WHERE connamespace = 'sync'::regnamespace ORDER BY 1, 2},
    columns => q{SELECT attrelid::regclass::text, attnum, attname, attnotnull, format_type(atttypid, atttypmod), attidentity,
                        pg_get_expr(adbin, adrelid)
                 FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
                 JOIN pg_class c ON c.oid = attrelid
                 WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p') AND attnum > 0 ORDER BY 1, 2},
    triggers => q{SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
                  WHERE c.relnamespace = 'sync'::regnamespace AND NOT tgisinternal ORDER BY 1, 2},
    privileges => q{SELECT oid::regclass::text, (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(relacl) a) FROM pg_class
                    WHERE relnamespace = 'sync'::regnamespace AND relkind IN ('r', 'p', 'v', 'S') ORDER BY 1},
    comments => q{SELECT objoid::regclass::text, description FROM pg_description JOIN pg_class c ON c.oid = objoid
                  WHERE classoid = 'pg_class'::regclass AND objsubid = 0 AND c.relnamespace = 'sync'::regnamespace ORDER BY 1},
    policies => q{SELECT tablename, policyname, roles, cmd, qual, with_check FROM pg_policies WHERE schemaname = 'sync' ORDER BY 1, 2},
    protected => q{SELECT oid::regclass::text, relrowsecurity FROM pg_class WHERE relnamespace = 'sync'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1},
    tenants => q{SELECT oid::regprocedure::text, has_function_privilege('sync_tenant', oid, 'EXECUTE') FROM pg_proc
                 WHERE pronamespace = 'sync'::regnamespace ORDER BY 1},
    sequences => q{SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'sync' ORDER BY 1},
    members => q{SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
                 WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' ORDER BY 1},
    leases => q{SELECT connection_id, running_job_id, due_at IS NULL FROM sync.connection_state ORDER BY 1});

my $source_rows = rows('source');
like($source_rows, qr/sync_jobs_20260228\|[1-9].*sync_jobs_20260301\|[1-9]/s, 'finished jobs are in dated tables');
like($source_rows, qr/schedule_fires_20260301\|[1-9].*schedule_state\|6/s, 'schedules have a ledger');
like($source_rows, qr/$_\|[1-9]/, "something is in $_")
  foreach qw(sync_notifications notification_state webhook_secrets incidents outbox held_events messages_202603 message_queue delivery_attempts_202603 inbox_202603 record_history hooks hook_secrets hook_deliveries_20260301 pending_inputs pending_events api_tokens idempotency_keys tenant_isolation);
like($source_rows, qr/signals_202602\|[1-9].*signals_202603\|[1-9]/s, 'signals are in more than one');

$node->command_ok([ 'pg_dump', '-f', "$dump.sql", $node->connstr('source') ], 'pg_dump as a script');
my %ways = (
    restored => [ 'pg_restore', '--exit-on-error', '-d', '', $dump ],
    at_once => [ 'pg_restore', '--single-transaction', '-d', '', $dump ],
    by_script => [ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-d', '', '-f', "$dump.sql" ]);
foreach my $database (sort keys %ways)
{
    $node->safe_psql('postgres', "CREATE DATABASE $database");
    $node->command_ok([ map { $_ eq '' ? $node->connstr($database) : $_ } @{ $ways{$database} } ],
        "$database: $ways{$database}[0] $ways{$database}[1]");
    is(rows($database), $source_rows, "$database: rows");
    foreach my $shape (sort keys %shapes)
    {
        is($node->safe_psql($database, $shapes{$shape}), $node->safe_psql('source', $shapes{$shape}), "$database: $shape");
    }
}

# A schema dump of what was restored has the same lines as one of the source; the order of its entries follows the OIDs.
my %schema;
foreach my $database ('source', 'restored')
{
    my ($output, $errors) = run_command([ 'pg_dump', '-s', $node->connstr($database) ]);
    $schema{$database} = join "\n", sort grep { !/^\\(un)?restrict/ } split /\n/, $output;
}
is($schema{restored}, $schema{source}, 'pg_dump --schema-only tells no difference');

# Quiet until adopted.
my $at = '2026-03-01 13:00Z';
is($node->safe_psql('restored', "SELECT count(*) FROM sync.claim_jobs('executor', 10, '$at')"), '0', 'nothing is handed out');
is($node->safe_psql('restored', "SELECT sync.next_claim_at('$at') IS NULL"), 't', 'nor announced');
is($node->safe_psql('restored', "SELECT count(*), sync.next_delivery_at(as_of => '$at') IS NULL, sync.run_notifications('$at') FROM sync.claim_deliveries('executor', 10, as_of => '$at')"),
    '0|t|f', 'nor is anybody told of anything');
like($node->safe_psql('restored', "SELECT detail FROM sync.explain(1, '$at') WHERE aspect = 'engine'"),
    qr/adopt_database/, 'explain says why');
is($node->safe_psql('source', "SET sync_engine.enabled = on; SELECT count(*) > 0 FROM sync.claim_jobs('executor', 1, '$at')"),
    't', 'the source works on');

# And then it works on: what ran is lost, what waits is run, new rows get new ids, what was seen is known.
$node->safe_psql('restored', 'SELECT sync.adopt_database()');
my $running = $node->safe_psql('restored', q{SELECT count(*) FROM sync.sync_jobs WHERE status = 'running'});
cmp_ok($running, '>', 0, 'jobs ran when the dump was taken');
is($node->safe_psql('restored', "SELECT requeued FROM sync.tick('$at')"), $running, 'and are failed as lost');
$node->poll_query_until('restored', q{SELECT pg_get_viewdef('sync._finished_jobs'::regclass) ~ 'sync_jobs_[0-9]+'})
  or die 'the worker never made a table for finished jobs';
my $before = $node->safe_psql('restored', 'SELECT max(id) FROM sync.sync_jobs');
is( $node->safe_psql(
        'restored', qq{
        SELECT string_agg(DISTINCT outcome, ' ') FROM sync.complete_jobs((
            SELECT jsonb_agg(jsonb_build_object('job_id', job_id, 'claim_token', claim_token, 'has_more', true, 'next_cursor', job_id,
                                                'signals', '[{"kind": "item", "dedupe_key": "again"}]'::jsonb))
            FROM sync.claim_jobs('executor', 1000, '$at')), '$at')}),
    'completed', 'jobs are claimed and completed');
is( $node->safe_psql('restored', qq{SELECT count(*) > 0, min(id) > $before FROM sync.sync_jobs WHERE created_at = '$at' AND page > 1}),
    't|t', 'follow-up jobs have new ids');
is($node->safe_psql('restored', 'SELECT count(*) - count(DISTINCT id) FROM sync.sync_jobs'), '0', 'no id is used twice');
$node->poll_query_until('restored', "SELECT NOT sync.run_notifications('$at')") or die 'notifications never come to an end';
cmp_ok($node->safe_psql('restored', "SELECT count(*) FROM sync.claim_deliveries('executor', 100, as_of => '$at')"), '>', 2, 'messages are handed out, those too that were being sent');
is($node->safe_psql('restored', 'SELECT count(*) - count(DISTINCT message_key) FROM sync.messages'), '0', 'each has an id of its own');
is( $node->safe_psql('restored', q{SELECT count(*) - count(DISTINCT id) FROM sync.signals}), '0', 'nor that of a signal');
my ($connection, $key) = split /\|/, $node->safe_psql(
    'restored', q{
    SELECT s.connection_id, s.dedupe_key FROM sync.signals s JOIN sync.connections c ON c.id = s.connection_id
    WHERE s.dedupe_key LIKE 'k%' AND s.received_at < '2026-03-01' AND c.status = 'active' ORDER BY s.id LIMIT 1});
$node->safe_psql('restored', "SELECT sync.trigger($connection, 'webhook', 1000, '$at')");
is( $node->safe_psql(
        'restored', qq{
        SELECT sync.complete_job(job_id, claim_token, '[{"kind": "item", "dedupe_key": "$key"}]', as_of => '$at')
        FROM sync.claim_jobs('executor', 1, '$at') WHERE connection_id = $connection;
        SELECT signals_inserted, signals_duplicate FROM sync.sync_executions WHERE job_type = 'webhook'}),
    "t\n0|1", 'a signal that the source had seen is known');
is($node->safe_psql('restored', q{SELECT count(*) FROM ONLY sync.sync_jobs WHERE status NOT IN ('queued', 'running')}),
    '0', 'finished jobs go to the dated table again');

# Plain DROP EXTENSION, adopted or not, and a second CREATE EXTENSION.
my $left = q{SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('sync') OR relname ~ '^(sync_|signals)'};
foreach my $database ('restored', 'at_once', 'source')
{
    my $errors = '';
    is($node->psql($database, 'DROP EXTENSION sync_engine', stderr => \$errors), 0, "$database: DROP EXTENSION") or diag($errors);
    is($node->safe_psql($database, "SELECT to_regnamespace('sync') IS NULL, ($left)"), 't|0', "$database: nothing is left");
    $node->safe_psql($database, 'CREATE EXTENSION sync_engine');
    add_connection($node, $database, 't');
    is( $node->safe_psql(
            $database, q{
            SET sync_engine.enabled = on;
            SELECT enqueued FROM sync.tick();
            SELECT connection_id FROM sync.claim_jobs('e', 1, now() + interval '5 minutes')}),
        "1\n1", "$database: a second CREATE EXTENSION works");
}

$node->stop;
done_testing();
