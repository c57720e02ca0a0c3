# ALTER EXTENSION sync_engine UPDATE from every released version. engine.md section 11: "with 100,000 rows and a running
# executor, is tested, and a schema dump equals a fresh install's". The library is the new one throughout, as it is after the
# server's restart: the released version's objects have to work with it.
use strict;
use warnings;

use File::Basename;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $program = $ENV{SYNC_EXECUTOR} // '';
die 'SYNC_EXECUTOR does not name the program' unless -x $program;
my $node = new_node('main', conf => "sync_engine.background_ticks = off\nsync_engine.tick_interval_seconds = 1\n"
      . "sync_engine.lease_seconds = 3600\nsync_engine.jitter_pct_max = 0\nTimeZone = 'UTC'\nautovacuum_naptime = 1s\n");
my $catalog = slurp_file(dirname(__FILE__) . '/upgrade/catalog.sql');
my $now = $node->safe_psql('postgres', "SELECT date_trunc('second', now())");
my $newest = $node->safe_psql('postgres', q{SELECT default_version FROM pg_available_extensions WHERE name = 'sync_engine'});
# Released versions have an install script of their own; what is on the way between two of them has not.
my @released = split /\n/, $node->safe_psql('postgres',
    qq{SELECT version FROM pg_available_extension_versions WHERE name = 'sync_engine' AND version <> '$newest' ORDER BY 1});
cmp_ok(scalar @released, '>=', 1, "there are versions before $newest");

# What pg_dump --schema-only says, but for the order of its entries, which follows the OIDs.
sub schema_dump
{
    my ($database) = @_;
    my ($output, $errors) = run_command([ 'pg_dump', '-s', $node->connstr($database) ]);
    is($errors, '', "$database: pg_dump has nothing to complain of");
    return join "\n", sort grep { !/^\\(un)?restrict/ } split /\n/, $output;
}

# The lines that only one of the two has.
sub difference
{
    my %count;
    my $sign = 1;
    foreach my $text (@_)
    {
        $count{$_} += $sign foreach split /\n/, $text;
        $sign = -1;
    }
    return join "\n", map { ($count{$_} > 0 ? '- ' : '+ ') . $_ } grep { $count{$_} } sort keys %count;
}

sub create_released
{
    my ($database, $version) = @_;
    $node->safe_psql('postgres', "CREATE DATABASE $database");
    $node->safe_psql($database, "CREATE EXTENSION sync_engine VERSION '$version'");
    return;
}

# A fresh database with the same dated tables.
sub create_fresh
{
    my ($database, $like) = @_;
    $node->safe_psql('postgres', "CREATE DATABASE $database");
    $node->safe_psql($database, 'CREATE EXTENSION sync_engine');
    my $made = $node->safe_psql($like, q{SELECT string_agg(format('SELECT sync._make_partition(%L, %L)', parent, (range_from AT TIME ZONE 'UTC')::date), ';')
        FROM sync.partitions});
    $node->safe_psql($database, $made);
    rotate($database);
    return;
}

# Makes the dated tables of tomorrow, so that midnight makes no difference to the comparison; the audit log's of this month too, which the
# first audited change would make.
sub rotate
{
    my ($database) = @_;
    my $tomorrow = "'$now'::timestamptz + interval '1 day'";
    $node->safe_psql($database, "SELECT sync._make_partition('audit_log', ('$now'::timestamptz AT TIME ZONE 'UTC')::date)");
    $node->poll_query_until(
        $database, qq{
        SELECT count(sync._housekeeping($tomorrow)) = 3
           AND pg_get_viewdef('sync._finished_jobs'::regclass) ~ to_char($tomorrow, '"sync_jobs_"YYYYMMDD')
           AND sync._history_is_ready($tomorrow)
        FROM generate_series(1, 3)})
      or die "the dated tables of $database were never made";
    return;
}

# 100,000 connections, history of two days, jobs in all states. The jobs of provider q are nobody's for now.
my $fill = qq{
    CREATE PROCEDURE public.run_all(day timestamptz, n int) LANGUAGE plpgsql AS \$\$
    DECLARE
        results jsonb;
    BEGIN
        SELECT jsonb_agg(jsonb_build_object('job_id', job_id, 'claim_token', claim_token)
                         || CASE job_id % 4
                                WHEN 0 THEN jsonb_build_object('error', '{"message": "no answer"}'::jsonb,
                                                               'kind', CASE job_id % 8 WHEN 0 THEN 'transient' ELSE 'permanent' END)
                                WHEN 1 THEN jsonb_build_object('has_more', true, 'next_cursor', jsonb_build_object('page', job_id))
                                ELSE jsonb_build_object('next_cursor', jsonb_build_object('at', job_id), 'signals', jsonb_build_array(
                                    jsonb_build_object('kind', 'item', 'dedupe_key', 'k' || job_id), jsonb_build_object('kind', 'item')))
                            END)
        INTO results FROM sync.claim_jobs('filler', n, day);
        PERFORM sync.complete_jobs(results, day);
    END \$\$;
    INSERT INTO sync.providers (slug, connector, config)
    VALUES ('p', 'noop', '{"noop": {"signals": 1, "pages": 2, "cursor": true}}'), ('q', 'noop', '{}');
    INSERT INTO sync.connections (tenant_id, provider_slug, external_id, metadata)
    SELECT 't' || n % 100, CASE WHEN n % 10 = 0 THEN 'q' ELSE 'p' END, 'e' || n, jsonb_build_object('ours', n)
    FROM generate_series(1, 100000) n;
    SELECT sync._housekeeping('$now'::timestamptz - interval '1 day') FROM generate_series(1, 6);
    SELECT enqueued FROM sync.tick('$now'::timestamptz - interval '1 day');
    CALL public.run_all('$now'::timestamptz - interval '23 hours', 2000);
    SELECT sync._housekeeping('$now') FROM generate_series(1, 6);
    CALL public.run_all('$now', 2000);
    SELECT sync.pause_provider('p');
    CREATE TABLE public.held AS SELECT * FROM sync.claim_jobs('holder', 50, '$now');
    SELECT sync.pause_provider('q'), sync.resume_provider('p');
    SELECT sync.cancel_job(min(id)) FROM sync.sync_jobs WHERE status = 'queued' AND provider_slug = 'q';
    SELECT sync.pause(min(id)), sync.trigger(max(id), 'full') FROM sync.connections WHERE provider_slug = 'p';
    ANALYZE sync.connections, sync.connection_state, sync.sync_jobs;
    DROP PROCEDURE public.run_all;};

# What is there now, to be found again later: jobs by id, whatever their status; the rest as it is.
my $remember = q{
    CREATE TABLE public.jobs_then AS SELECT id, tenant_id, provider_slug, connection_id, job_type, priority, run_id, page, created_at FROM sync.sync_jobs;
    CREATE TABLE public.signals_then AS SELECT s.id, to_jsonb(s) AS row FROM sync.signals s;
    CREATE TABLE public.executions_then AS SELECT e.id, to_jsonb(e) AS row FROM sync.sync_executions e;
    CREATE TABLE public.connections_then AS SELECT id, tenant_id, provider_slug, external_id, status, metadata -> 'ours' AS ours, config, created_at FROM sync.connections;
    CREATE TABLE public.providers_then AS SELECT p.slug, to_jsonb(p) AS row FROM sync.providers p;};
my %lost = (
    jobs => q{SELECT count(*) FROM (TABLE public.jobs_then EXCEPT ALL
              SELECT id, tenant_id, provider_slug, connection_id, job_type, priority, run_id, page, created_at FROM sync.sync_jobs) x},
    connections => q{SELECT count(*) FROM (TABLE public.connections_then EXCEPT ALL
              SELECT id, tenant_id, provider_slug, external_id, status, metadata -> 'ours', config, created_at FROM sync.connections) x},
    # A column that is new does not make a row another one.
    signals => q{SELECT count(*) FROM public.signals_then t
                 WHERE NOT EXISTS (SELECT 1 FROM sync.signals s WHERE s.id = t.id AND to_jsonb(s) @> t.row)},
    executions => q{SELECT count(*) FROM public.executions_then t
                    WHERE NOT EXISTS (SELECT 1 FROM sync.sync_executions e WHERE e.id = t.id AND to_jsonb(e) @> t.row)},
    providers => q{SELECT count(*) FROM public.providers_then t
                   WHERE NOT EXISTS (SELECT 1 FROM sync.providers p WHERE p.slug = t.slug AND to_jsonb(p) @> t.row)});
# What must hold whatever happens.
my %wrong = (
    'a job is there twice' => q{SELECT count(*) - count(DISTINCT id) FROM sync.sync_jobs},
    'an attempt ended twice' => q{SELECT count(*) - count(DISTINCT (job_id, attempt)) FROM sync.sync_executions},
    'a job succeeded without its execution' => q{
        SELECT count(*) FROM sync.sync_jobs j WHERE status = 'succeeded'
        AND NOT EXISTS (SELECT 1 FROM sync.sync_executions e WHERE e.job_id = j.id AND e.status = 'succeeded' AND e.finished_at = j.finished_at)},
    'signals differ from what was counted' => q{
        SELECT (SELECT count(*) FROM sync.signals) - (SELECT sum(signals_inserted) FROM sync.sync_executions)},
    'a lease is nobody\'s' => q{
        SELECT count(*) FROM sync.connection_state s FULL JOIN (SELECT * FROM ONLY sync.sync_jobs WHERE status = 'running') j
        ON j.connection_id = s.connection_id WHERE s.running_job_id IS DISTINCT FROM j.id},
    'an active connection has neither a job nor a time' => q{
        SELECT count(*) FROM sync.connections c JOIN sync.connection_state s ON s.connection_id = c.id
        WHERE c.status = 'active' AND s.due_at IS NULL AND s.parked_for IS NULL
          AND NOT EXISTS (SELECT 1 FROM ONLY sync.sync_jobs j WHERE j.connection_id = c.id AND j.job_type = 'incremental'
                          AND j.status IN ('queued', 'running'))});

sub start_executor
{
    my ($database) = @_;
    my $log = "$PostgreSQL::Test::Utils::log_path/executor-$database.log";
    local $ENV{SYNC_EXECUTOR_DATABASE_URL} = $node->connstr($database);
    # A few jobs at a time: it is busy from before the update until after it.
    my $run = IPC::Run::start([ $program, '--name', 'worker', '--concurrency', '10', '--batch-size', '10', '--heartbeat-seconds', '1' ],
        '>', \my $out, '2>', $log);
    return ($run, $log);
}

sub wait_for_runs
{
    my ($database, $more) = @_;
    my $had = $node->safe_psql($database, q{SELECT count(*) FROM sync.sync_executions WHERE claimed_by LIKE 'worker%'});
    $node->poll_query_until($database, "SELECT count(*) >= $had + $more FROM sync.sync_executions WHERE claimed_by LIKE 'worker%'")
      or die "the executor did not finish $more more jobs";
    return;
}

sub version
{
    my ($database) = @_;
    return $node->safe_psql($database, q{SELECT extversion FROM pg_extension WHERE extname = 'sync_engine'});
}

sub background_ticks
{
    my ($value) = @_;
    $node->safe_psql('postgres', "ALTER SYSTEM SET sync_engine.background_ticks = $value");
    $node->safe_psql('postgres', 'SELECT pg_reload_conf()');
    return;
}

# The update of a busy database, 100,000 connections large.
sub update_while_working
{
    my ($old, $fresh, $version) = @_;
    create_released($old, $version);
    wait_for_worker($node, $old);
    $node->safe_psql($old, $fill);
    is($node->safe_psql($old, q{SELECT string_agg(DISTINCT status, ' ' ORDER BY status) FROM sync.sync_jobs}),
        'cancelled failed queued running succeeded', "$version: jobs of all states");
    is($node->safe_psql($old, 'SELECT count(*) FROM sync.connections'), '100000', "$version: connections");
    cmp_ok($node->safe_psql($old, q{SELECT count(*) FROM sync.sync_jobs}), '>', 100000, "$version: jobs");

    # With the new library, before the update: ticks, claims and completions.
    background_ticks('on');
    my ($executor, $log) = start_executor($old);
    wait_for_runs($old, 200);
    $node->safe_psql($old, q{INSERT INTO sync.connections (tenant_id, provider_slug, external_id) VALUES ('new', 'p', 'before')});
    poke_worker($node, $old);
    $node->poll_query_until($old, q{SELECT count(*) = 1 FROM sync.sync_jobs WHERE tenant_id = 'new'}) or die 'nothing was enqueued';
    pass("$version: the worker ticks and the executor works before the update");

    $node->safe_psql($old, $remember);
    $node->safe_psql($old, 'ALTER EXTENSION sync_engine UPDATE');
    is(version($old), $newest, "$version: the database has $newest");
    wait_for_runs($old, 200);
    $node->safe_psql($old, q{INSERT INTO sync.connections (tenant_id, provider_slug, external_id) VALUES ('new', 'p', 'after')});
    poke_worker($node, $old);
    $node->poll_query_until($old, q{SELECT count(DISTINCT connection_id) = 2 FROM sync.sync_jobs WHERE tenant_id = 'new'})
      or die 'nothing was enqueued';
    pass("$version: and after it");

    # A claim of before the update ends with its token.
    is( $node->safe_psql($old, q{
            SELECT string_agg(DISTINCT outcome, ' '), count(*) FROM sync.complete_jobs((
                SELECT jsonb_agg(jsonb_build_object('job_id', job_id, 'claim_token', claim_token)) FROM public.held))}),
        'completed|50', "$version: jobs that ran during the update end with their tokens");
    $executor->signal('TERM');
    ok($executor->finish, "$version: the executor drains and stops with status 0") or diag(slurp_file($log));
    # A call that was within a function when the update took its locks goes on in that function's former body. If that calls one
    # that the step dropped, the call is refused, and the executor repeats it; nothing else may go wrong, a deadlock least of all.
    my @troubles = grep { /"level":"(warn|error)"/ } split /\n/, slurp_file($log);
    is(join("\n", grep { !/"msg":"the database refused".*"sqlstate":"42883","error":"function sync\._/ } @troubles),
        '', "$version: no other trouble than a call that was under way and is repeated");
    cmp_ok(scalar @troubles, '<=', 2, "$version: nor often");
    is( $node->safe_psql($old, q{SELECT count(*) FROM sync.sync_executions WHERE claimed_by LIKE 'worker%' AND status <> 'succeeded'}),
        '0', "$version: no run of the executor failed");
    background_ticks('off');

    is($node->safe_psql($old, $lost{$_}), '0', "$version: no row of $_ is lost") foreach sort keys %lost;
    is($node->safe_psql($old, $wrong{$_}), '0', "$version: never: $_") foreach sort keys %wrong;

    rotate($old);
    create_fresh($fresh, $old);
    $node->safe_psql($old, 'DROP TABLE public.held, public.jobs_then, public.signals_then, public.executions_then, public.connections_then, public.providers_then');
    is(difference($node->safe_psql($fresh, $catalog), $node->safe_psql($old, $catalog)), '', "$version: every object is as in a fresh install");
    is(difference(schema_dump($fresh), schema_dump($old)), '', "$version: pg_dump --schema-only tells no difference");
    return;
}

# An update that fails or is rolled back leaves all as it was.
sub update_in_vain
{
    my ($old, $version) = @_;
    create_released($old, $version);
    add_connection($node, $old, 't');
    $node->safe_psql($old, "SELECT sync._housekeeping('$now') FROM generate_series(1, 6)");
    my $state = sub { difference($_[0], $node->safe_psql($old, "$catalog; SELECT to_jsonb(c) FROM sync.connections c; SELECT * FROM sync.sync_jobs")) };
    my $before = $node->safe_psql($old, "$catalog; SELECT to_jsonb(c) FROM sync.connections c; SELECT * FROM sync.sync_jobs");

    $node->safe_psql($old, 'BEGIN; ALTER EXTENSION sync_engine UPDATE; SELECT sync.trigger(id) FROM sync.connections; ROLLBACK');
    is($state->($before), '', "$version: a rolled back update leaves nothing");

    $node->safe_psql($old, q{
        CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
        CREATE EVENT TRIGGER refuse ON ddl_command_end WHEN TAG IN ('ALTER EXTENSION') EXECUTE FUNCTION public.refuse()});
    my ($status, $out, $errors) = $node->psql($old, 'ALTER EXTENSION sync_engine UPDATE');
    like($errors, qr/refused/, "$version: an update that fails at its end says why");
    is($state->($before), '', "$version: and leaves nothing");
    is(version($old), $version, "$version: the version is the old one");
    $node->safe_psql($old, 'DROP EVENT TRIGGER refuse; DROP FUNCTION public.refuse()');
    is($node->safe_psql($old, q{SELECT enqueued FROM sync.tick(); SELECT connection_id FROM sync.claim_jobs('e', 1, now() + interval '5 minutes')}),
        "1\n1", "$version: it works on");
    return;
}

# Two applications hold a table each, and one of them asks for another while the update tries for all. Who waits for the update
# longer than the update itself waits would be the one to fail with a deadlock: the update may not keep anybody waiting so long.
sub update_in_the_way
{
    my ($old) = @_;
    my ($early, $late) = map { $node->background_psql($old) } 1 .. 2;
    $early->query_safe('BEGIN; LOCK TABLE sync.providers IN ROW EXCLUSIVE MODE');
    $late->query_safe('BEGIN; LOCK TABLE sync.deleted_connections IN ROW EXCLUSIVE MODE');
    my $pid = $late->query_safe('SELECT pg_backend_pid()');
    my $errors = '';
    my $update = IPC::Run::start([ 'psql', '-qXAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($old), '-c', 'ALTER EXTENSION sync_engine UPDATE' ],
        '2>', \$errors);
    my $update_waits = q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER EXTENSION%'};
    $node->poll_query_until($old, $update_waits) or die 'the update did not wait';
    # Not by query_until, which drops what arrives together with the text that it waits for.
    $late->{stdin} .= "SELECT count(*) FROM sync.database_identity, sync.executors;\n\\echo answered\n";
    $late->{run}->pump_nb();
    $node->poll_query_until($old, "SELECT wait_event_type = 'Lock' OR state = 'idle in transaction' FROM pg_stat_activity WHERE pid = $pid")
      or die 'the application did not ask';
    $early->query_safe(q{UPDATE sync.connections SET name = 'changed'; COMMIT});
    ok(pump_until($late->{run}, $late->{timeout}, \$late->{stdout}, qr/answered/), 'an application that holds a table gets others');
    $late->{stdout} = '';
    $late->query_safe('COMMIT');
    ok($update->finish, 'the update waited for it') or diag($errors);
    is($node->safe_psql($old, 'SELECT name FROM sync.connections'), 'changed', 'and what was written is there');
    $_->quit foreach $early, $late;
    return;
}

# Privileges that others were given are kept, and a dump still holds them; a dump of the released version is restored into it.
sub update_what_others_made
{
    my ($old, $restored, $version) = @_;
    create_released($old, $version);
    add_connection($node, $old, 't');
    $node->safe_psql($old, qq{
        SELECT sync._housekeeping('$now') FROM generate_series(1, 6);
        SELECT enqueued FROM sync.tick('$now');
        SELECT sync.complete_job(job_id, claim_token, '[{"kind": "item", "dedupe_key": "k"}]', as_of => '$now'::timestamptz + interval '10 minutes')
        FROM sync.claim_jobs('e', 1, '$now'::timestamptz + interval '10 minutes');
        GRANT SELECT ON sync.connections TO app;
        GRANT EXECUTE ON FUNCTION sync.trigger(bigint, text, int, timestamptz), sync.tick(timestamptz) TO app;
        CREATE VIEW public.mine AS SELECT connection_id, late_by FROM sync.connection_status;});
    my $dump = PostgreSQL::Test::Utils::tempdir() . '/released.dump';
    $node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr($old) ], "$version: pg_dump");
    my $granted = join "\n", grep { /TO app|mine/ } split /\n/, schema_dump($old);
    like($granted, qr/GRANT SELECT ON TABLE sync.connections TO app/, "$version: the dump holds what the application was granted");
    $node->safe_psql($old, 'ALTER EXTENSION sync_engine UPDATE');
    is(join("\n", grep { /TO app|mine/ } split /\n/, schema_dump($old)), $granted, "$version: and after the update as well");

    $node->safe_psql('postgres', "CREATE DATABASE $restored");
    $node->safe_psql($restored, "SET row_security = off; CREATE EXTENSION sync_engine VERSION '$version'");
    $node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr($restored), $dump ], "$version: pg_restore into that version");
    $node->safe_psql($restored, 'ALTER EXTENSION sync_engine UPDATE');
    my $rows = 'SELECT to_jsonb(s) FROM sync.signals s; SELECT to_jsonb(j) FROM sync.sync_jobs j; SELECT to_jsonb(c) FROM sync.connections c';
    is($node->safe_psql($restored, $rows), $node->safe_psql($old, $rows), "$version: rows");
    is($node->safe_psql($restored, 'SELECT sync._is_quiet(); SELECT sync.adopt_database(); SELECT sync._is_quiet()'), "t\n\nf",
        "$version: it is quiet until it is adopted");
    rotate($_) foreach $old, $restored;
    is(difference($node->safe_psql($old, $catalog), $node->safe_psql($restored, $catalog)), '', "$version: restored and updated it is the same");
    return;
}

$node->safe_psql('postgres', 'CREATE ROLE app');
foreach my $version (@released)
{
    my $tag = $version =~ s/\W/_/gr;
    update_in_vain("vain_$tag", $version);
    update_in_the_way("vain_$tag");
    update_what_others_made("others_$tag", "restored_$tag", $version);
    update_while_working("busy_$tag", "fresh_$tag", $version);
}

$node->stop;
done_testing();
