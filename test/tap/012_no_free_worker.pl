# max_worker_processes exhausted: said once, tried again, and said when it is over.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

# A place for the launcher and one for a worker.
my $node = new_node('main', conf => "max_worker_processes = 2\nmax_logical_replication_workers = 0\n");
create_extension($node, 'd1');
wait_for_worker($node, 'd1');

my $position = log_position($node);
create_extension($node, 'd2');
$node->wait_for_log(
    qr/no background worker is free for sync_engine in database "d2"\n.*HINT.*max_worker_processes/,
    $position);
pass('the log names the database and the setting');
# Each wakes the launcher, which tries again.
$node->safe_psql('d2', 'SELECT sync._wake_launcher()') foreach (1 .. 20);
is(worker_pid($node, 'd2'), '', 'no worker for the second database');
my $said = () = log_since($node, $position) =~ /no background worker is free/g;
is($said, 1, 'said once');

$node->safe_psql('d1', 'DROP EXTENSION sync_engine');
wait_for_worker($node, 'd2');
$node->wait_for_log(qr/background workers are free for sync_engine again/, $position);
pass('retried, and said to be over');

$position = log_position($node);
create_extension($node, 'd1');
$node->wait_for_log(qr/no background worker is free for sync_engine in database "d1"/, $position);
pass('said again when it happens again');
$node->stop;

# Databases that the launcher has no room for. One that does not have the extension needs none.
my $small = new_node('small', conf => "sync_engine.max_databases = 2\n");
$small->safe_psql('postgres', "CREATE DATABASE without$_") foreach (1 .. 4);
create_extension($small, 'd1', 'd2');
wait_for_worker($small, $_) foreach ('d1', 'd2');
unlike(log_since($small, 0), qr/more databases/, 'databases without the extension take no room');
$position = log_position($small);
create_extension($small, 'd3');
$small->wait_for_log(
    qr/more databases to look after than sync_engine.max_databases \(2\)\n.*Database "d3" is left out/,
    $position);
pass('too many with it: the log names one, and the setting');
$small->safe_psql('d3', 'SELECT sync._wake_launcher()') foreach (1 .. 20);
$said = () = log_since($small, $position) =~ /more databases/g;
is($said, 1, 'said once');
$small->safe_psql('postgres', 'DROP DATABASE d1');
wait_for_worker($small, 'd3');
$small->wait_for_log(qr/sync_engine looks after all databases again/, $position);
pass('and said to be over');
$small->stop;

done_testing();
