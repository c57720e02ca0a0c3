# Without preloading everything but the workers works, and the user is told what is missing.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use SyncTest;

my $node = new_node('main', preload => 0);
my ($code, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION sync_engine');
is($code, 0, 'the extension can be created');
like($err, qr/WARNING:  sync_engine is not in shared_preload_libraries/, 'the warning says what is missing');
like(
    $err,
    qr/HINT:  Add sync_engine to shared_preload_libraries and restart the server, or run sync-executor/,
    'and what to do about it');
is($node->safe_psql('postgres', 'SELECT sync._preloaded()'), 'f', 'SQL can tell');
is(count_processes($node), '0', 'no worker');

add_connection($node, 'postgres', 't1');
is($node->safe_psql('postgres', 'SELECT enqueued, more FROM sync.tick_batch()'),
    '1|f', 'a tick by hand works');
is($node->safe_psql('postgres', 'SELECT sync._wake_launcher(), sync._wake_executors()'),
    '|', 'there is nobody to wake, which is no error');
my $started = time;
is($node->safe_psql('postgres', 'CALL sync.wait_for_work(200)'), '', 'wait_for_work knows of no wake-ups');
cmp_ok(time - $started, '>=', 0.2, 'but waits as long as it was told');
# A session that has not called the engine yet can give its settings any value.
$node->safe_psql('postgres', q{
    SET ROLE sync_admin;
    SET sync_engine.actor = 'alice';
    SET sync_engine.internal = on;
    UPDATE sync.connections SET metadata = jsonb_set(metadata, '{sync,interval_seconds}', '77');});
is($node->safe_psql('postgres', 'SELECT action, role, actor, after FROM sync.audit_log ORDER BY id DESC LIMIT 1'),
    'connection.set_interval|sync_admin|alice|{"metadata.sync.interval_seconds": 77}', 'nobody passes for the engine in the audit log');
$node->safe_psql('postgres', 'DROP EXTENSION sync_engine');
pass('and the extension can be dropped');

$node->stop;
done_testing();
