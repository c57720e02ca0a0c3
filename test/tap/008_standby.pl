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
