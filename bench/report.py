"""Tables of medians, as Markdown that is also aligned text."""

import os
import pathlib
import platform
import statistics
import string

import big_page
import executor
import gateway
import latency
import limits
import schedules
import signals
import slow
import worker

FOLDER = pathlib.Path(__file__).resolve().parent
SETTINGS = ("shared_buffers", "max_wal_size", "fsync", "synchronous_commit", "full_page_writes", "autovacuum",
            "sync_engine.background_ticks", "sync_engine.tick_batch_size")


def median(costs, of):
    return statistics.median(of(cost) for cost in costs)


def number(value):
    """Three digits that mean something, thousands separated."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head, rows, sides=""):
    """Columns lie to the right but where `sides` says l."""
    sides = sides.ljust(len(head), "r")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells):
        return "| " + " | ".join(cell.ljust(width) if side == "l" else cell.rjust(width)
                                 for cell, width, side in zip(cells, widths, sides)) + " |"
    rule = "|" + "|".join("-" * (width + 1) + ("-" if side == "l" else ":") for width, side in zip(widths, sides)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def machine():
    cpu = "unknown processor"
    for entry in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if entry.startswith("model name"):
            cpu = entry.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} CPUs ({cpu}), {memory:.0f} GB of memory, Linux {platform.release()}"


def commit_milliseconds(cluster):
    """What the storage takes for a commit: without it, rates of small batches say little."""
    with cluster.connect("postgres") as db:
        db.execute("CREATE TABLE flushed (n int)")
        db.execute("""DO $$
            DECLARE
                started timestamptz := clock_timestamp();
                spent interval;
            BEGIN
                FOR i IN 1 .. 200 LOOP
                    INSERT INTO flushed VALUES (i);
                    COMMIT;
                END LOOP;
                spent := clock_timestamp() - started;
                PERFORM set_config('bench.ms', (extract(epoch FROM spent) * 1000 / 200)::text, false);
            END $$""")
        milliseconds = db.execute("SELECT current_setting('bench.ms')::float8").fetchone()[0]
        db.execute("DROP TABLE flushed")
    return milliseconds


def circumstances(cluster, runs, settings=SETTINGS):
    return {
        "today": cluster.value("SELECT current_date::text"),
        "rounds": "1 round" if runs == 1 else f"{runs} rounds",
        "machine": machine(),
        "version": cluster.value("SHOW server_version"),
        "commit": number(commit_milliseconds(cluster)),
        "settings": ", ".join(f"`{name} = {cluster.value(f'SHOW {name}')}`" for name in settings),
        "concurrency": str(executor.CONCURRENCY),
        "items": str(executor.ITEMS_PER_CONNECTION),
        "rate": str(latency.RATE),
        "push_rate": str(gateway.RATE),
        "api_schedules": f"{gateway.SCHEDULES:,}",
        "api_others": f"{gateway.OTHERS:,}",
        "clients": str(latency.CLIENTS),
        "singles": str(limits.SINGLES),
        "lanes_batch": str(limits.LANES_BATCH),
        "moments": f"{schedules.MOMENTS:,}",
        "slow_concurrency": f"{slow.CONCURRENCY:,}",
    }


def beside(engine, bare):
    """Cells of rate, baseline's rate and their ratio."""
    rate = median(engine, lambda c: c.rate)
    bare_rate = median(bare, lambda c: c.rate)
    return [number(rate), number(bare_rate), number(rate / bare_rate)]


def wal_each(costs):
    return number(median(costs, lambda c: c.wal_bytes / c.count))


def commits_each(costs):
    return f"{median(costs, lambda c: c.commits / c.count):.3f}"


def tick_tables(results):
    rows = []
    for connections, way in sorted(results.costs):
        engine = results.costs[connections, way]
        bare = results.costs[connections, "bare"]
        if way == "bare":
            continue
        seconds = median(engine, lambda c: c.seconds)
        longest = max(results.batch_seconds[connections]) if way == "tick_batch" else seconds
        rows.append([f"{connections:,}", f"{engine[0].count:,}", way, number(seconds), number(longest * 1000),
                     *beside(engine, bare), wal_each(engine), wal_each(bare)])
    head = ["connections", "due", "way", "seconds", "longest transaction ms", "rows/s", "baseline rows/s",
            "ratio", "WAL bytes/row", "baseline WAL bytes/row"]
    idle = [[f"{connections:,}", number(statistics.median(times)), number(max(times))]
            for connections, times in sorted(results.idle_ms.items())]
    return {"tick": table(head, rows), "idle": table(["connections", "median ms", "longest ms"], idle)}


def schedules_tables(results):
    rows = []
    for zone in schedules.ZONES:
        minute = results.next_seconds(schedules.EXPRESSIONS[0], zone)
        for what in (None, *schedules.EXPRESSIONS):
            spent = results.next_seconds(what, zone)
            rows.append([f"`{what}`" if what else "`date_trunc`", zone, number(spent * 1e6), number(1 / spent),
                         number(spent / minute)])
    head = ["expression", "time zone", "CPU µs each", "a second", f"to `{schedules.EXPRESSIONS[0]}`"]
    engine, bare = results.costs["bench"], results.costs["bare"]
    due = [f"{results.schedules:,}", number(median(engine, lambda c: c.seconds)),
           number(max(results.batch_seconds) * 1000), *beside(engine, bare), wal_each(engine), wal_each(bare)]
    due_head = ["due", "seconds", "longest transaction ms", "rows/s", "baseline rows/s", "ratio", "WAL bytes/row",
                "baseline WAL bytes/row"]
    idle = [[when, f"{results.schedules:,}", number(statistics.median(times)), number(max(times))]
            for when, times in results.idle_ms.items()]
    return {"cron": table(head, rows, "ll"), "schedules": table(due_head, [due]),
            "schedules_idle": table(["a tick", "schedules", "median ms", "longest ms"], idle, "l")}


def worker_table(results):
    def cells(of):
        return [number(value / 2**20) for value in of]
    rows = [[what, *cells((first.resident, last.resident, first.own, last.own))]
            for what, (first, last) in results.seen.items()]
    head = ["ticks", f"resident MB at tick {worker.FIRST_LOOK}", f"at tick {results.ticks:,}",
            f"own MB at tick {worker.FIRST_LOOK}", f"at tick {results.ticks:,}"]
    return {"worker": table(head, rows)}


def drain_table(costs):
    rows = []
    for batch, clients in sorted({key[1:] for key in costs}):
        engine = costs["engine", batch, clients]
        bare = costs["bare", batch, clients]
        rows.append([f"{batch:,}", str(clients), f"{engine[0].count:,}", *beside(engine, bare),
                     wal_each(engine), wal_each(bare), commits_each(engine), commits_each(bare)])
    head = ["batch", "clients", "jobs", "jobs/s", "baseline jobs/s", "ratio", "WAL bytes/job",
            "baseline WAL bytes/job", "commits/job", "baseline commits/job"]
    return {"drain": table(head, rows)}


def growth_tables(results):
    def cells(of, situation):
        empty, grown = (statistics.median(of(costs)) for costs in (situation.empty, situation.grown))
        return [number(empty), number(grown), number(grown / empty)]
    rows = [[situation.what, f"{situation.amount:,}", *cells(lambda costs: costs.both, situation),
             *cells(lambda costs: costs.claim, situation)] for situation in results.beside]
    head = ["behind", "of them", "empty ms", "grown ms", "ratio", "claim alone, empty ms", "grown ms", "ratio"]
    pinned = results.pinned
    snapshot = []
    for name, of in (("median", statistics.median), ("mean", statistics.mean), ("longest", max)):
        row = [name]
        for part in ("claim", "complete"):
            fresh, now = (of(getattr(costs, part)) for costs in (pinned.empty, pinned.grown))
            row += [number(fresh), number(now), number(now / fresh)]
        snapshot.append(row)
    snapshot_head = [f"after {pinned.amount:,} jobs", "fresh claim ms", "claim ms", "ratio", "fresh complete ms",
                     "complete ms", "ratio"]
    idle = [[what, number(statistics.median(times)), number(max(times))] for what, times in results.idle_ms.items()]
    return {"growth": table(head, rows), "snapshot": table(snapshot_head, snapshot),
            "growth_idle": table(["connections", "median ms", "longest ms"], idle),
            "growth_connections": f"{results.connections:,}"}


def limits_tables(results):
    rows = []
    for (what, batch), costs in results.costs.items():
        plain, without, behind = (statistics.median(costs[way]) for way in limits.WAYS)
        rows.append([what, f"{results.behind:,}", str(batch), *(number(ms) for ms in (plain, without, behind)),
                     number(behind / without), number(behind / plain)])
    head = ["before them", "of them", "batch", "nothing limited ms", "limited, none before ms", "all before ms",
            "to none before", "to nothing limited"]
    waits = [[str(turns.batch), f"{turns.claims:,}", f"{len(turns.passed):,}", number(statistics.median(turns.passed)),
              str(max(turns.passed)), str(max(turns.most))] for turns in results.turns]
    waits_head = ["batch", "claims", "single jobs", "claims that passed, median", "most",
                  "jobs of one other tenant, most"]
    lanes = []
    for count, costs in results.lanes.items():
        plain, *others = (statistics.median(costs[way]) for way in limits.LANE_WAYS)
        beside_plain = (cell for ms in others for cell in (number(ms), number(ms / plain)))
        lanes.append([f"{count:,}", number(plain), *beside_plain])
    lanes_head = ["tenants", "nothing limited ms", "limits ms", "ratio", "turns ms", "ratio"]
    return {"limits": table(head, rows), "turns": table(waits_head, waits), "lanes": table(lanes_head, lanes)}


def signals_table(results):
    rows = []
    for months, costs in results.items():
        read = costs["read"]
        for way in signals.LANDING:
            landed = costs[way]
            rows.append([str(months), way, f"{landed[0].count:,}", *beside(landed, costs["copy"]), wal_each(landed),
                         wal_each(costs["copy"]), number(median(read, lambda c: c.rate)),
                         number(median(read, lambda c: c.rate) / median(landed, lambda c: c.rate))])
    head = ["months behind", "way", "signals", "signals/s", "COPY signals/s", "ratio", "WAL bytes/signal",
            "COPY WAL bytes/signal", "read signals/s", "read/landed"]
    return {"signals": table(head, rows)}


def big_page_table(peaks):
    row = [f"{big_page.SIGNALS:,}", number(peaks.seconds),
           *(number(size / 2**20) for size in (peaks.executor, peaks.session_own, peaks.session_resident))]
    head = ["signals", "seconds", "executor MB", "session MB", "with shared buffers"]
    return {"big_page": table(head, [row])}


def executor_table(results):
    rows = []
    for connector, runs in results.items():
        calls = runs[0].signals > 0
        rows.append([connector, f"{runs[0].count:,}", number(median(runs, lambda r: r.rate)),
                     number(median(runs, lambda r: r.signals / r.seconds)) if calls else "",
                     wal_each(runs), commits_each(runs),
                     number(median(runs, lambda r: r.cpu_seconds / r.count * 1e6)),
                     number(median(runs, lambda r: r.api_cpu_seconds / r.count * 1e6)) if calls else ""])
    head = ["connector", "jobs", "jobs/s", "signals/s", "WAL bytes/job", "commits/job", "executor CPU",
            "API CPU"]
    return {"executor": table(head, rows)}


def slow_table(runs):
    row = [f"{runs[0].count:,}", number(median(runs, lambda r: r.requests_at_once)),
           number(median(runs, lambda r: r.rate)), number(median(runs, lambda r: r.peak_bytes / 2**20)),
           number(median(runs, lambda r: r.cpu_seconds / r.seconds)), commits_each(runs)]
    head = ["jobs", "requests at once", "jobs/s", "executor's peak MB", "executor's cores", "commits/job"]
    return {"slow": table(head, [row])}


def latency_tables(results):
    quantiles = (number(latency.quantile(results, part)) for part in (0.5, 0.9, 0.99))
    reached = [[f"{len(results.milliseconds[0]):,}", number(statistics.median(results.paces)), *quantiles,
                number(max(times[-1] for times in results.milliseconds))]]
    idle = [[f"{100 * statistics.median(results.idle_cpu):.2f} %", f"{statistics.median(results.idle_queries):.2f}"]]
    on, off = ([turn[way] for turn in results.triggers] for way in (0, 1))
    ratios = results.ratios
    turns = [str(len(ratios)), *(number(statistics.median(rates)) for rates in (on, off)),
             *(number(of(ratios)) for of in (statistics.median, min, max))]
    head = ["pairs of turns", "triggers/s", "without wake-ups", "median of ratios", "least", "most"]
    return {"latency": table(["jobs", "triggers/s", "p50 ms", "p90 ms", "p99 ms", "longest ms"], reached),
            "waiting": table(["of a core", "queries/s"], idle), "triggering": table(head, [turns])}


def middle(rounds, part):
    """Median over the rounds of that part of the way through a round's sorted times."""
    return statistics.median(times[int(part * (len(times) - 1))] for times in rounds)


def gateway_tables(results):
    rows = []
    for (request, clients), done in results.answers.items():
        rows.append([request, str(clients), number(median(done, lambda a: a.rate)),
                     number(median(done, lambda a: a.p50_ms)), number(median(done, lambda a: a.p99_ms))])
    pushed = [[what, f"{len(rounds[0]):,}", *(number(middle(rounds, part)) for part in (0.5, 0.95, 0.99)),
               number(max(times[-1] for times in rounds))]
              for what, rounds in (("claimed", results.claimed), ("answered", results.answered))]
    return {"requests": table(["request", "clients", "requests/s", "p50 ms", "p99 ms"], rows, "l"),
            "pushes": table(["until", "pushes", "p50 ms", "p95 ms", "p99 ms", "longest ms"], pushed, "l")}


NOT_MEASURED = "Not measured in this run."


def page(parts):
    """Sections of which nothing was measured are left away."""
    tables = ["tick", "idle", "cron", "schedules", "schedules_idle", "worker", "drain", "growth", "snapshot",
              "growth_idle", "limits", "turns",
              "lanes", "signals", "big_page", "executor", "latency", "waiting", "triggering", "requests", "pushes",
              "slow"]
    missing = (dict.fromkeys(tables, NOT_MEASURED) | {"growth_connections": "all"}
               | dict.fromkeys(["tick_plot", "drain_plot", "growth_plot", "snapshot_plot"], ""))
    whole = string.Template((FOLDER / "page.md").read_text()).substitute(missing | parts)
    return "\n## ".join(section for section in whole.split("\n## ") if NOT_MEASURED not in section or "\n|" in section)
