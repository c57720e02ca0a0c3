# NOTIFY sync_engine_changes: the worker tells whose data has changed, a few times a second at most, and nobody else does.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use SyncTest;

my $node = new_node('main', conf => "sync_engine.background_ticks = off\n");
create_extension($node, 'd', 'other');
wait_for_worker($node, 'd');
$node->safe_psql('d', q{
    CREATE TABLE reader (tenant text PRIMARY KEY, "position" text);
    CREATE FUNCTION watch(tenant text, OUT slot text) LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM set_config('sync_engine.tenant_id', tenant, true);
        INSERT INTO reader VALUES (tenant, sync.watch_changes(3600)) ON CONFLICT ON CONSTRAINT reader_pkey DO UPDATE SET position = EXCLUDED.position;
        slot := sync.change_slot();
    END $$;
    CREATE FUNCTION kinds(wanted text) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM set_config('sync_engine.tenant_id', wanted, true);
        RETURN (SELECT string_agg(DISTINCT n.kind, ',') FROM reader d, sync.read_changes(d.position) n WHERE d.tenant = wanted);
    END $$;});

# Payloads that the session has heard since it was last asked.
sub heard
{
    my ($session) = @_;
    my $out = $session->query_safe('SELECT 1');
    return $out =~ /notification "sync_engine_changes" with payload "([^"]*)"/g;
}

# The same, until one matches.
sub hear
{
    my ($session, $wanted, $name) = @_;
    my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
    my @all;
    while (!grep { $_ =~ $wanted } @all)
    {
        if (time > $deadline)
        {
            fail($name);
            return;
        }
        push @all, heard($session);
    }
    pass($name);
    return @all;
}

my $listener = $node->background_psql('d');
$listener->query_safe('LISTEN sync_engine_changes');
my $stranger = $node->background_psql('other');
$stranger->query_safe('LISTEN sync_engine_changes');

add_connection($node, 'd', 'a');
add_connection($node, 'd', 'b');
is_deeply([ heard($listener) ], [], 'nobody watches, so nobody is told');

my $a = $node->safe_psql('d', "SELECT watch('a')");
my $b = $node->safe_psql('d', "SELECT watch('b')");
isnt($a, $b, 'each tenant has a slot');
$node->safe_psql('d', "UPDATE sync.connections SET name = 'A' WHERE tenant_id = 'a'");
my @told = hear($listener, qr/^$a$/, 'a change is told, though the worker does not tick');
is(scalar @told, 1, 'once, and with the slot of the tenant alone');
is($node->safe_psql('d', "SELECT kinds('a')"), 'connection', 'and can be read');
is($node->safe_psql('d', "SELECT kinds('b')"), '', 'not by others');
$node->safe_psql('d', "UPDATE sync.connections SET name = 'both'");
hear($listener, qr/^($a,$b|$b,$a)$/, 'what one transaction changed is told at once');

# Many transactions, few notifications.
my $jobs = 300;
$node->safe_psql('d', qq{
    INSERT INTO sync.connections (tenant_id, provider_slug) SELECT 'a', 'p' FROM generate_series(1, $jobs);
    SELECT enqueued FROM sync.tick();});
heard($listener);
my $started = time;
$node->safe_psql('d', q{
    CREATE PROCEDURE run_all(OUT done int) LANGUAGE plpgsql AS $$
    DECLARE
        j record;
    BEGIN
        done := 0;
        LOOP
            SELECT * INTO j FROM sync.claim_jobs('e', 1, now() + interval '1 day');
            EXIT WHEN NOT FOUND;
            COMMIT;
            PERFORM sync.complete_job(j.job_id, j.claim_token, as_of => now() + interval '1 day');
            COMMIT;
            done := done + 1;
        END LOOP;
    END $$;});
cmp_ok($node->safe_psql('d', 'CALL run_all(NULL)'), '>=', $jobs, 'hundreds of jobs run, two transactions each');
my $elapsed = time - $started;
# What comes after them is told after them.
$node->safe_psql('d', "UPDATE sync.connections SET name = 'last' WHERE tenant_id = 'b'");
@told = hear($listener, qr/$b/, 'all is told');
cmp_ok(scalar @told, '<=', $elapsed / 0.2 + 3, 'in five notifications a second at most');
cmp_ok(scalar @told, '>=', 1, 'but in some');
is($node->safe_psql('d', "SELECT kinds('a') LIKE '%job%'"), 't', 'with the jobs to be read');
is_deeply([ heard($stranger) ], [], 'sessions in other databases are told nothing');

# The worker tells whatever its predecessor did not.
my $pid = worker_pid($node, 'd');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$node->safe_psql('d', "UPDATE sync.connections SET name = 'meanwhile' WHERE tenant_id = 'b'");
hear($listener, qr/$b/, 'what changes while the worker is being replaced is told by the next');
wait_for_other_worker($node, 'd', $pid);
$node->safe_psql('d', "UPDATE sync.connections SET name = 'then' WHERE tenant_id = 'a'");
hear($listener, qr/$a/, 'and so is what comes then');

# With nothing to tell the worker sleeps. It may be at its housekeeping just then, but not each time.
my $state = "SELECT pid, state, state_change FROM pg_stat_activity WHERE backend_type = 'sync_engine scheduler' AND datname = 'd'";
my $slept = 0;
foreach my $attempt (1 .. 5)
{
    my $before = $node->safe_psql('postgres', $state);
    add_connection($node, 'd', "unwatched $attempt");
    $node->safe_psql('d', "UPDATE sync.connections SET name = 'unseen' WHERE tenant_id = 'unwatched $attempt'") foreach 1 .. 5;
    $slept ||= $before eq $node->safe_psql('postgres', $state);
    last if $slept;
}
ok($slept, 'what nobody watches does not wake the worker');

# Two databases beside each other.
add_connection($node, 'other', 'a');
$node->safe_psql('other', q{SET sync_engine.tenant_id = 'a'; SELECT sync.watch_changes(3600);});
$node->safe_psql('other', "UPDATE sync.connections SET name = 'x'");
my $same = $node->safe_psql('other', q{SET sync_engine.tenant_id = 'a'; SELECT sync.change_slot();});
isnt($same, $a, 'a tenant of that name has another slot in another database');
hear($stranger, qr/^$same$/, 'where its changes are told');

# A position from before a restart is one of nowhere.
$listener->quit;
$stranger->quit;
$node->restart;
is($node->safe_psql('d', "SELECT kinds('a')"), 'reset', 'after a restart all has to be read again');
is($node->safe_psql('d', "SELECT watch('a')"), $a, 'the slot stays what it was');
is($node->safe_psql('d', "SELECT kinds('a')"), '', 'from then on there is nothing new');

# Nor is it in the way of dropping the extension.
$listener = $node->background_psql('d');
$listener->query_safe('LISTEN sync_engine_changes');
$node->safe_psql('d', "UPDATE sync.connections SET name = 'y' WHERE tenant_id = 'a'");
hear($listener, qr/^$a$/, 'the worker tells again after the restart');
$node->safe_psql('d', 'DROP EXTENSION sync_engine CASCADE');
wait_for_no_worker($node, 'd');
$listener->quit;
$node->stop;

# Without the library there is no ring: readers are told so, and writers are none the wiser.
my $plain = new_node('plain', preload => 0);
$plain->safe_psql('postgres', 'CREATE EXTENSION sync_engine');
add_connection($plain, 'postgres', 'a');
is($plain->safe_psql('postgres', q{
    SET sync_engine.tenant_id = 'a';
    SELECT sync.watch_changes();
    UPDATE sync.connections SET name = 'A';
    SELECT * FROM sync.read_changes('0-0');}), "0-0\n0-0|reset||", 'not preloaded: always to be read again');
like($plain->safe_psql('postgres', q{SET sync_engine.tenant_id = 'a'; SELECT sync.change_slot();}), qr/^[0-9a-f]{8}$/, 'a slot there is');
$plain->stop;

done_testing();
