# The worker runs what is planned when its time comes, between its own ticks too, also after a restart and after it was killed.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use SyncTest;

# A tick of its own would come too late to pass for one that a schedule has asked for.
my $node = new_node('main', conf => "sync_engine.tick_interval_seconds = 3600\nrestart_after_crash = on\n");
create_extension($node, 'd');
wait_for_worker($node, 'd');
add_connection($node, 'd', 't');
wait_for_jobs($node, 'd', 1);

sub one
{
    my ($query) = @_;
    return $node->safe_psql('d', $query);
}

# With a tick interval of an hour all of the hour is looked ahead: one job is queued for the first instant, and the next one
# is looked at when that has come. Runs jobs as an executor would, until that many instants have fired.
sub wait_for_fires
{
    my ($schedule, $count, $what) = @_;
    $node->poll_query_until(
        'd', qq{
        WITH done AS (
            SELECT sync.complete_job(c.job_id, c.claim_token) FROM sync.claim_jobs('e', 10) c)
        SELECT count(*) >= 0 AND (SELECT count(*) >= $count FROM sync.schedule_fires
                                  WHERE schedule_id = $schedule AND outcome = 'fired')
        FROM done}) or die "$what: schedule $schedule never fired $count times";
    pass($what);
    return;
}

# No instant is covered twice, none is left out between the first and what is covered.
sub is_whole
{
    my ($schedule, $what) = @_;
    is( one(qq{
        SELECT count(*) FROM sync.schedule_fires a JOIN sync.schedule_fires b
        ON b.schedule_id = a.schedule_id AND b.id > a.id
        AND a.first_planned_at <= b.last_planned_at AND b.first_planned_at <= a.last_planned_at
        WHERE a.schedule_id = $schedule}), '0', "$what: no instant twice");
    is( one(qq{
        SELECT sum(planned_count) = extract(epoch FROM max(last_planned_at) - min(first_planned_at)) + 1
        FROM sync.schedule_fires WHERE schedule_id = $schedule}), 't', "$what: none left out");
    is(one("SELECT count(*) - count(DISTINCT job_id) FROM sync.schedule_fires
            WHERE schedule_id = $schedule AND outcome = 'fired'"),
        '0', "$what: a job each");
    return;
}

my $connection = one('SELECT min(id) FROM sync.connections');
my $schedule = one("SELECT sync.create_schedule($connection, 's', 'custom', cron_expression => '* * * * * *')");
wait_for_fires($schedule, 3, 'a schedule of every second runs, three times, within one tick interval');
is_whole($schedule, 'running');

# An application's row, of another type of job.
my $other = one(qq{
    INSERT INTO sync.sync_schedules (connection_id, name, schedule_type, cron_expression, job_type)
    VALUES ($connection, 'o', 'custom', '*/2 * * * * *', 'full') RETURNING id});
wait_for_fires($other, 2, 'so does one that an application has inserted');

# A restart.
my $fired = one("SELECT count(*) FROM sync.schedule_fires WHERE schedule_id = $schedule AND outcome = 'fired'");
$node->restart;
wait_for_worker($node, 'd');
wait_for_fires($schedule, $fired + 3, 'after a restart');
is_whole($schedule, 'after a restart');

# A worker that is killed takes the server through a recovery, from which both come back.
my $pid = wait_for_worker($node, 'd');
$fired = one("SELECT count(*) FROM sync.schedule_fires WHERE schedule_id = $schedule AND outcome = 'fired'");
kill 'KILL', $pid;
$node->poll_query_until('postgres',
    "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid") or die 'the killed worker is still there';
wait_for_other_worker($node, 'd', $pid);
wait_for_fires($schedule, $fired + 3, 'after the worker was killed');
is_whole($schedule, 'after the worker was killed');

# A pause that ends by itself.
one("SELECT sync.pause_schedule($schedule, 'r', clock_timestamp() + interval '3 seconds', clock_timestamp())");
$node->poll_query_until('d', "SELECT is_active FROM sync.sync_schedules WHERE id = $schedule")
  or die 'the schedule was never resumed';
$fired = one("SELECT count(*) FROM sync.schedule_fires WHERE schedule_id = $schedule AND outcome = 'fired'");
wait_for_fires($schedule, $fired + 1, 'after a pause that ended by itself');
is_whole($schedule, 'after a pause');

# How late it is: the worker wakes for it, at most a second after another tick.
is(one("SELECT count(*) FROM sync.schedule_fires
        WHERE schedule_id = $schedule AND outcome = 'fired' AND recorded_at > first_planned_at + interval '30 seconds'"),
    '0', 'none was fired late');

# Without schedules it rests until its own tick.
one("SELECT sync.delete_schedule(id) FROM sync.sync_schedules");
poke_worker($node, 'd');
my $ticks = ticks_done($node, 'd');
is(ticks_done($node, 'd'), $ticks, 'and rests when there is none');

$node->stop;
done_testing();
