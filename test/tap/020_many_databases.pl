# More databases than places for workers or room in the table: those without the extension are not in the way.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main', conf => "max_worker_processes = 5\nsync_engine.max_databases = 8\n");
$node->safe_psql('postgres', "CREATE DATABASE without$_ STRATEGY file_copy") foreach (1 .. 12);
create_extension($node, 'd1', 'd2');
wait_for_worker($node, $_) foreach ('d1', 'd2');

my $position = log_position($node);
$node->restart;
wait_for_worker($node, $_) foreach ('d1', 'd2');
$node->poll_query_until('postgres',
    "SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'sync_engine scheduler'")
  or die 'workers that have nothing to do stay';
unlike(log_since($node, $position), qr/no background worker is free|more databases/,
    'looking at every database in turn needs neither places nor room');

create_extension($node, 'without7');
$node->safe_psql('postgres', 'DROP DATABASE d1');
wait_for_worker($node, 'without7');
pass('a database that was looked at in vain gets its worker when it gets the extension');

$node->stop;
done_testing();
