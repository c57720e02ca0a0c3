# Settings of the server in the audit log: housekeeping finds what took effect, whoever changed it and however.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $node = new_node('main', conf => "sync_engine.background_ticks = off\n");
$node->safe_psql('postgres', 'CREATE DATABASE d');
$node->safe_psql('postgres', 'ALTER DATABASE d SET sync_engine.enabled = off');
create_extension($node, 'd');
my $housekeep = 'DO $$ BEGIN WHILE sync._housekeeping() LOOP NULL; END LOOP; END $$';
$node->safe_psql('d', $housekeep);
my $rows = q{SELECT string_agg(concat_ws(' ', action, object_id, role, actor, before, after), E'\n' ORDER BY id) FROM sync.audit_log};
is($node->safe_psql('d', $rows), '', 'what is so from the beginning is no change');

# A setting that the file has now
sub effective
{
    my ($name, $value) = @_;
    $node->reload;
    $node->poll_query_until('d', "SELECT current_setting('$name') = '$value'") or die "$name did not become $value";
    $node->safe_psql('d', $housekeep) for 1 .. 2;
    return;
}

my $told = 'setting.change sync_engine.lease_seconds unknown {"server": "60"} {"server": "61"}';
$node->safe_psql('d', 'ALTER SYSTEM SET sync_engine.lease_seconds = 61');
is($node->safe_psql('d', $rows), '', 'ALTER SYSTEM alone changes nothing yet');
effective('sync_engine.lease_seconds', '61');
is($node->safe_psql('d', $rows), $told, 'what takes effect is told, once');

isnt($node->psql('d', 'ALTER SYSTEM SET sync_engine.lease_seconds = 1'), 0, 'a value out of range');
is($node->safe_psql('d', $rows), $told, 'what is refused leaves no row');

$node->append_conf('postgresql.conf', 'sync_engine.max_attempts = 5');
effective('sync_engine.max_attempts', '5');
$told .= "\nsetting.change sync_engine.max_attempts unknown {\"server\": \"20\"} {\"server\": \"5\"}";
is($node->safe_psql('d', $rows), $told, 'a file that somebody edited');

$node->safe_psql('postgres', 'ALTER DATABASE d SET sync_engine.max_attempts = 6');
$node->safe_psql('d', $housekeep);
$told .= "\nsetting.change sync_engine.max_attempts unknown {\"database\": \"6\"}";
is($node->safe_psql('d', $rows), $told, 'ALTER DATABASE from another database');

$node->stop;
done_testing();
