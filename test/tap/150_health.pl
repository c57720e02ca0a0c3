# What sync.health() says of other processes: the worker, and who pins the vacuum horizon. Each remedy is a statement that helps.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use SyncTest;

my $primary = new_node(
    'primary',
    init => [ allows_streaming => 1 ],
    conf => "max_prepared_transactions = 2\nautovacuum = off\nmax_worker_processes = 8\n");
create_extension($primary, 'd');
my $pid = wait_for_worker($primary, 'd');

# Verdict, detail and remedy of a row, as somebody would be told some time from now.
sub told
{
    my ($node, $check, $later) = @_;
    $later //= '0';
    return $node->safe_psql('d',
        "SELECT concat_ws(' | ', verdict, detail, remedy) FROM sync.health(now() + '$later') WHERE check_name = '$check'");
}

# The worker has snapshots of its own now and then: what is said a moment later counts too.
sub tells
{
    my ($node, $check, $later, $pattern, $name) = @_;
    my $told = '';
    foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
    {
        $told = told($node, $check, $later);
        last if $told =~ $pattern;
        usleep(100_000);
    }
    like($told, $pattern, $name);
    return;
}

sub remedy
{
    my ($node, $check, $later) = @_;
    my $remedy = $node->safe_psql('d', "SELECT remedy FROM sync.health(now() + '$later') WHERE check_name = '$check'");
    return $remedy;
}

# The worker
tells($primary, 'worker', '0', qr/^ok \| process $pid runs since 20/, 'worker: its process');
tells($primary, 'last tick', '0', qr/^ok \| \d+ s ago, expected each 60 s$/, 'last tick: the worker has ticked');
tells($primary, 'partitions', '0', qr/^ok \| history has its tables until /, 'partitions: the worker has made them');
my $wrong = q{SELECT string_agg(check_name, ',') FROM sync.health() WHERE verdict IN ('warning', 'critical')};
is($primary->safe_psql('d', $wrong), 'executors', 'all is well but for an executor');
$primary->safe_psql('d', q{SELECT sync.register_executor('host')});
is($primary->safe_psql('d', $wrong), '', 'with an executor, all is');

# Settings of the database are mended where they were made.
$primary->safe_psql('postgres', 'ALTER DATABASE d SET sync_engine.enabled = off');
is(remedy($primary, 'engine', '0'), 'ALTER DATABASE d SET sync_engine.enabled = on;', 'engine: off in this database');
$primary->safe_psql('d', remedy($primary, 'engine', '0'));
tells($primary, 'engine', '0', qr/^ok/, 'engine: the remedy helps');

# A session
tells($primary, 'vacuum horizon', '0', qr/^ok/, 'vacuum horizon: nobody pins it');
my $session = $primary->background_psql('d', on_error_stop => 0);
$session->query_safe('SET application_name = $$report$$; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
my $reader = $session->query_safe('SELECT pg_backend_pid()');
tells($primary, 'vacuum horizon', '0', qr/^ok \| session $reader \(.*, report, idle in transaction\)/, 'vacuum horizon: a session is named');
like($primary->safe_psql('d', q{SET ROLE sync_viewer; SELECT detail FROM sync.health() WHERE check_name = 'vacuum horizon'}),
    qr/^session $reader /, 'vacuum horizon: sync_viewer is told, although the session is another role\'s');
tells($primary, 'vacuum horizon', '16 minutes',
    qr/^warning \| session $reader .* since 16 min, \d+ transactions? ago \| SELECT pg_terminate_backend\($reader\);$/,
    'vacuum horizon: for more than a quarter of an hour');
tells($primary, 'vacuum horizon', '3 hours', qr/^critical/, 'vacuum horizon: for more than two hours');

# What it keeps: dead rows
$primary->safe_psql('d', q{
    INSERT INTO sync.providers (slug, connector, status) VALUES ('p', 'noop', 'paused');
    INSERT INTO sync.connections (tenant_id, provider_slug) SELECT 't', 'p' FROM generate_series(1, 60000)});
$primary->safe_psql('d', 'UPDATE sync.connection_state SET parked_for = NULL') foreach (1 .. 2);
tells($primary, 'bloat', '0', qr/^warning \| connection_state has the most: \d{6} dead rows .* \| first .*VACUUM sync.connection_state;/, 'bloat');
$primary->safe_psql('d', remedy($primary, 'vacuum horizon', '16 minutes'));
$primary->poll_query_until('d', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $reader") or die 'the session stayed';
tells($primary, 'vacuum horizon', '16 minutes', qr/^ok/, 'vacuum horizon: the remedy helps');
$primary->safe_psql('d', 'VACUUM sync.connection_state');
tells($primary, 'bloat', '0', qr/^ok/, 'bloat: vacuum helps');
$session->{run}->finish;

# A session that has written, but holds no snapshot; in another database it does not matter here.
$session = $primary->background_psql('d');
$session->query_safe('BEGIN; SELECT pg_current_xact_id()');
tells($primary, 'vacuum horizon', '16 minutes', qr/^warning \| session/, 'vacuum horizon: a transaction without a snapshot');
$session->quit;
$session = $primary->background_psql('postgres');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
tells($primary, 'vacuum horizon', '16 minutes', qr/^ok/, 'vacuum horizon: a session of another database');
$session->quit;

# A prepared transaction
$primary->safe_psql('d', q{BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'forgotten'});
tells($primary, 'vacuum horizon', '16 minutes', qr/^warning \| prepared transaction 'forgotten' of .* since 16 min.*\| ROLLBACK PREPARED 'forgotten';/,
    'vacuum horizon: a prepared transaction');
$primary->safe_psql('d', remedy($primary, 'vacuum horizon', '16 minutes') =~ s/;.*/;/r);
tells($primary, 'vacuum horizon', '16 minutes', qr/^ok/, 'vacuum horizon: rolled back');

# A standby that says what it reads, without a slot
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
watch_log($standby);
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nwal_receiver_status_interval = 1\n");
$standby->start;
$primary->wait_for_catchup($standby);
tells($standby, 'engine', '0', qr/^info \| a standby/, 'a standby answers, and says what it is');
$session = $standby->background_psql('d');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
# A transaction after its snapshot, so that this is the oldest.
$primary->safe_psql('d', 'SELECT pg_current_xact_id()');
tells($primary, 'vacuum horizon', '0', qr/^ok \| standby standby \(local\) holds a snapshot, \d+ transactions? ago$/, 'vacuum horizon: a standby is named');
$session->quit;
$standby->stop;

# and with one, to which it does not come back
$primary->safe_psql('postgres', q{SELECT pg_create_physical_replication_slot('left_behind')});
$standby->append_conf('postgresql.conf', "primary_slot_name = 'left_behind'\n");
$standby->start;
$session = $standby->background_psql('d');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$primary->poll_query_until('d', q{SELECT xmin IS NOT NULL FROM pg_replication_slots WHERE slot_name = 'left_behind'}) or die 'the slot holds nothing';
$primary->safe_psql('d', 'SELECT pg_current_xact_id()');
tells($primary, 'vacuum horizon', '0', qr/^ok \| replication slot left_behind \(in use\)/, 'vacuum horizon: a slot in use is named');
$standby->stop('immediate');
$primary->poll_query_until('d', q{SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'left_behind'}) or die 'the slot stayed in use';
tells($primary, 'vacuum horizon', '0',
    qr/^warning \| replication slot left_behind \(nobody is connected to it\) .* \| bring its standby back, or SELECT pg_drop_replication_slot\('left_behind'\);$/,
    'vacuum horizon: a slot that nobody uses');
$primary->safe_psql('d', remedy($primary, 'vacuum horizon', '0') =~ s/.* or //r);
tells($primary, 'vacuum horizon', '0', qr/^ok/, 'vacuum horizon: the slot is dropped');
$session->{run}->finish;

$primary->stop;
done_testing();
