# Many sessions at once on few thousand connections: claims and completions in batches of all sizes, with ticks, triggers,
# heartbeats that fail jobs as lost, cancellations, pauses, an application's inserts and housekeeping beside them, across
# midnight. engine.md section 5: the loser of a race skips and never errors, the unique index is "the backstop that no test
# ever sees fire".
# SYNC_ENGINE_CONTENDED_CLAIMS (100000) sets the size, SYNC_ENGINE_CONTENDED_CLIENTS (8) the sessions.
use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $wanted = $ENV{SYNC_ENGINE_CONTENDED_CLAIMS} // 100_000;
my $clients = $ENV{SYNC_ENGINE_CONTENDED_CLIENTS} // 8;
my $connections = 3000;
my $mean_batch = 30;
# Out of 1000 transactions.
my %scripts = (
    work => 650,
    trigger => 150,
    insert => 70,
    cancel => 40,
    tick => 30,
    heartbeat => 30,
    pause => 28,
    housekeeping => 2);

# Leases are of the fast clock: half a second.
my $node = new_node(
    'main',
    conf => q{
shared_buffers = 256MB
max_wal_size = 4GB
log_line_prefix = '%m [%p] %q%a %e '
log_lock_waits = off
sync_engine.background_ticks = off
sync_engine.lease_seconds = 300
sync_engine.max_run_seconds = 86400
sync_engine.max_attempts = 5
sync_engine.execution_retention_days = 0
sync_engine.job_retention_days = 0
});
create_extension($node, 'contended');
$node->command_ok(
    [
        'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-v', "connections=$connections", '-d', $node->connstr('contended'),
        '-f', "$FindBin::Bin/contended/setup.sql"
    ],
    'connections and jobs are there');

my $position = log_position($node);
my $claims = 0;
for (my $round = 0; $claims < $wanted && $round < 20; ++$round)
{
    my $transactions = int(($wanted - $claims) * 1000 / ($scripts{work} * $mean_batch * $clients)) + 1;
    my ($output, $errors) = ('', '');
    my $done = IPC::Run::run(
        [
            'pgbench', '-n', '-c', $clients, '-j', 2, '-t', $transactions, '-D', "connections=$connections",
            (map { ('-f', "$FindBin::Bin/contended/$_.sql\@$scripts{$_}") } sort keys %scripts),
            $node->connstr('contended')
        ],
        '>', \$output, '2>', \$errors);
    unless (ok($done && $output =~ /number of failed transactions: 0 /, "round $round of pgbench fails no transaction"))
    {
        diag($output . $errors);
        last;
    }
    $claims = $node->safe_psql('contended', 'SELECT count(*) FROM run.claims');
}
cmp_ok($claims, '>=', $wanted, "$claims claims by $clients sessions");

$node->safe_psql('contended', 'CALL run.drain()');
foreach my $rule (split /\n/, $node->safe_psql('contended', slurp_file("$FindBin::Bin/contended/checks.sql")))
{
    my ($name, $broken) = split /\|/, $rule;
    is($broken, '0', $name);
}
note($node->safe_psql('contended', 'SELECT meant, outcome, count(*) FROM run.claims GROUP BY 1, 2 ORDER BY 1, 2'));

my $log = log_since($node, $position);
foreach my $code ('23505', '40P01', '40001')
{
    # As log_line_prefix puts it: a process id may be the same number.
    unlike($log, qr/ $code [A-Z]+:/, "no session saw $code");
}
unlike($log, qr/ERROR:/, 'nor any other error');

$node->stop;
done_testing();
