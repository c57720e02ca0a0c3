# A worker that cannot start is tried again, later each time, without anybody's help.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main');
create_extension($node, 'd', 'healthy');
my $pid = wait_for_worker($node, 'd');
my $healthy = wait_for_worker($node, 'healthy');
my $oid = $node->safe_psql('postgres', "SELECT oid FROM pg_database WHERE datname = 'd'");
my $file = $node->data_dir . "/base/$oid/PG_VERSION";

my $position = log_position($node);
rename $file, "$file.away" or die "rename: $!";
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$node->wait_for_log(qr/scheduler for database "d" failed, 1 in a row, comes back in 5 s/, $position);
$node->wait_for_log(qr/scheduler for database "d" failed, 2 in a row, comes back in 10 s/, $position);
pass('it is tried again, each time after twice as long');
rename "$file.away", $file or die "rename: $!";
wait_for_other_worker($node, 'd', $pid);
pass('and is back once it can be');
is(worker_pid($node, 'healthy'), $healthy, 'the other worker never noticed');

$node->stop;
done_testing();
