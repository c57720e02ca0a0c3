# Sessions that land pages, in order, late and in vain, an application that inserts signals of its own, and readers, all at once
# across a month's end: each reader gets each of its signals exactly once, those of a connection in order.
# SYNC_ENGINE_CONTENDED_LANDINGS (3000) sets the size.
use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

my $landings = $ENV{SYNC_ENGINE_CONTENDED_LANDINGS} // 3000;
my $clients = 8;
# Out of 1000 transactions.
my %scripts = (land_soon => 250, land_late => 100, land_undone => 50, insert => 100, read => 500);

my $node = new_node(
    'main',
    conf => q{
shared_buffers = 256MB
max_wal_size = 4GB
log_line_prefix = '%m [%p] %q%a %e '
sync_engine.background_ticks = off
sync_engine.lease_seconds = 86400
sync_engine.max_run_seconds = 604800
sync_engine.execution_retention_days = 0
sync_engine.job_retention_days = 0
});
create_extension($node, 'contended');
$node->command_ok(
    [
        'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-v', 'connections=40', '-d', $node->connstr('contended'),
        '-f', "$FindBin::Bin/reading/setup.sql"
    ],
    'connections and readers are there');

my $position = log_position($node);
my ($output, $errors) = ('', '');
my $done = IPC::Run::run(
    [
        'pgbench', '-n', '-c', $clients, '-j', 2, '-t', int($landings * 1000 / 350 / $clients) + 1,
        (map { ('-f', "$FindBin::Bin/reading/$_.sql\@$scripts{$_}") } sort keys %scripts),
        $node->connstr('contended')
    ],
    '>', \$output, '2>', \$errors);
ok($done && $output =~ /number of failed transactions: 0 /, 'no transaction fails') or diag($output . $errors);
cmp_ok($node->safe_psql('contended', 'SELECT count(*) FROM run.was_read'), '>', 0, 'some are read while others land');

# What autovacuum has under way may hold readers up for a moment.
$node->poll_query_until('contended',
    'SELECT max(landed_by) < sync._position(pg_snapshot_xmin(pg_current_snapshot())) FROM sync.signal_pages')
  or die 'a transaction does not come to its end';
$node->safe_psql('contended', 'CALL run.read_to_the_end()');
foreach my $rule (split /\n/, $node->safe_psql('contended', slurp_file("$FindBin::Bin/reading/checks.sql")))
{
    my ($name, $broken) = split /\|/, $rule;
    is($broken, '0', $name);
}
note($node->safe_psql('contended', 'SELECT count(*) FROM sync.signals') . ' signals');
my @told = grep { /ERROR:|DETAIL:|CONTEXT:/ } split /\n/, log_since($node, $position);
is(scalar(grep { /ERROR:/ } @told), 0, 'no session saw an error')
  or diag(join("\n", @told[ 0 .. ($#told < 20 ? $#told : 20) ]));

# A restart loses and repeats nothing.
my $cursor = $node->safe_psql('contended', q{SELECT cursor FROM run.readers WHERE name = 'all'});
my $signals = $node->safe_psql('contended', 'SELECT count(*) FROM sync.signals');
$node->stop('immediate');
$node->start;
is($node->safe_psql('contended', "SELECT count(*) FROM sync.read_signals('$cursor')"), '0', 'after a crash, a cursor at the end is still there');
$node->safe_psql('contended', q{CALL run.land('soon', 5)});
is( $node->safe_psql('contended', "SELECT count(*) > 0, count(*) = (SELECT count(*) - $signals FROM sync.signals) FROM sync.read_signals('$cursor')"),
    't|t', 'and what lands next comes after it');

$node->stop;
done_testing();
