# pg_upgrade with the library preloaded on both sides: no worker is in its way, and the upgraded database is
# another cluster's, so it stays quiet until it is adopted.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $old = new_node('old');
create_extension($old, 'd');
wait_for_worker($old, 'd');
add_connection($old, 'd', 't1');
poke_worker($old, 'd');
wait_for_jobs($old, 'd', 1);
$old->stop;

my $new = new_node('new', start => 0);
my $bin = $new->config_data('--bindir');
chdir $PostgreSQL::Test::Utils::tmp_check or die "chdir: $!";
command_ok(
    [
        'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $bin, '-B', $bin,
        '-p', $old->port, '-P', $new->port, '-s', $new->host
    ],
    'pg_upgrade');

$new->start;
wait_for_worker($new, 'd');
$new->wait_for_log(qr/sync_engine does nothing in database "d"/);
is($new->safe_psql('d', 'SELECT count(*) FROM sync.sync_jobs'), '1', 'the rows are there');
$new->safe_psql('d', 'SELECT sync.adopt_database()');
add_connection($new, 'd', 't2');
poke_worker($new, 'd');
wait_for_jobs($new, 'd', 2);
pass('and once it is adopted it works');

$new->stop;
done_testing();
