# A standby does not tick; it starts to when it is promoted.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $primary = new_node('primary', init => [ allows_streaming => 1 ]);
create_extension($primary, 'd');
wait_for_worker($primary, 'd');
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
watch_log($standby);
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
add_connection($primary, 'd', 't1');
poke_worker($primary, 'd');
wait_for_jobs($primary, 'd', 1);
$primary->wait_for_catchup($standby);
is($standby->safe_psql('d', 'SELECT count(*) FROM sync.sync_jobs'), '1', 'the standby follows');
is(count_processes($standby), '0', 'neither launcher nor worker runs in recovery');

# Operators and readers may ask it instead of the primary; whatever writes is refused.
my ($job, $token) = split /\|/, $primary->safe_psql('d', "SELECT job_id, claim_token FROM sync.claim_jobs('e', 1, now() + interval '1 hour')");
$primary->safe_psql('d', qq{SELECT sync.complete_job($job, '$token', '[{"kind": "k"}]')});
$primary->wait_for_catchup($standby);
is($standby->safe_psql('d', 'SELECT kind FROM sync.read_signals()'), 'k', 'the standby serves readers of signals');
my $connection = $primary->safe_psql('d', 'SELECT id FROM sync.connections');
foreach my $question ('connection_status', 'queue', 'metrics', 'running_now', 'late', 'failed_lately', 'upcoming', 'throttled',
    "explain($connection)", 'health()', 'metrics_text()')
{
    is(scalar $standby->psql('d', "SELECT * FROM sync.$question"), 0, "the standby answers $question");
}
foreach my $call ('tick()', "register_executor('other')", "trigger($connection)")
{
    my ($status, undef, $error) = $standby->psql('d', "SELECT * FROM sync.$call");
    isnt($status, 0, "the standby refuses $call");
    like($error, qr/read-only transaction|during recovery/, "and says why it refuses $call");
}

# What is due while nobody ticks.
$primary->safe_psql('postgres', 'ALTER SYSTEM SET sync_engine.background_ticks = off');
$primary->reload;
$primary->wait_for_log(qr/does not tick in database "d": sync_engine.background_ticks is off/);
add_connection($primary, 'd', 't2');
$primary->wait_for_catchup($standby);
$primary->stop;

$standby->promote;
wait_for_worker($standby, 'd');
wait_for_jobs($standby, 'd', 2);
pass('the promoted standby ticks at once');

$standby->stop;
done_testing();
