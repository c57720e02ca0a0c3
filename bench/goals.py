"""The figures that the project has set itself, beside those of this run."""

import dataclasses
import statistics

import big_page as big_pages
import gateway
import growth
import latency
import limits as limit_parts
import report
import schedules as schedule_parts
import signals
import worker


@dataclasses.dataclass
class Goal:
    of: str
    asked: str
    measured: str
    met: bool


def at_least(of, asked, value, limit, more=""):
    return Goal(of, f"{asked}: at least {limit:g}", f"{report.number(value)}{more}", value >= limit)


def under(of, asked, value, limit, unit, more=""):
    return Goal(of, f"{asked}: under {limit:g}{unit}", f"{report.number(value)}{unit}{more}", value < limit)


def at_most(of, asked, value, limit, unit="", more=""):
    value = round(value, 3) + 0.0  # no negative zero
    return Goal(of, f"{asked}: at most {limit:g}{unit}", f"{report.number(value)}{unit}{more}", value <= limit)


def table(found):
    rows = [[goal.of, goal.asked, goal.measured, "met" if goal.met else "NOT MET"] for goal in found]
    return report.table(["goal", "asked", "measured", ""], rows, "llll")


def tick(results):
    most = max(connections for connections, _ in results.costs)
    found = []
    for way in ("tick", "tick_batch"):
        engine, bare = results.costs[most, way], results.costs[most, "bare"]
        ratio = report.median(engine, lambda c: c.rate) / report.median(bare, lambda c: c.rate)
        found.append(at_least("1", f"`{way}`, {engine[0].count:,} due of {most:,}, to the bare insert and update",
                              ratio, 0.6, "" if ratio < 0.8 else ", the stretch of 0.8 too"))
    longest = max(max(seconds) for seconds in results.batch_seconds.values())
    found.append(at_most("1", "longest batch of a tick", longest, 1, " s"))
    idle = results.idle_ms[most]
    found.append(under("1", f"a tick of {most:,} connections, nothing due", statistics.median(idle), 10, " ms",
                       f", longest {report.number(max(idle))}"))
    return found


def schedules(results):
    dense, *_, sparse = schedule_parts.EXPRESSIONS
    ratios = {zone: results.next_seconds(sparse, zone) / results.next_seconds(dense, zone)
              for zone in schedule_parts.ZONES}
    worst = max(ratios, key=ratios.get)
    count = results.schedules
    # The goal is that of 100,000: fewer have their share of the time.
    seconds, limit = report.median(results.costs["bench"], lambda c: c.seconds), 60 * count / 100_000
    return [at_most("9", f"next run of `{sparse}`, to that of `{dense}`", ratios[worst], 20, more=f", {worst}"),
            under("9", f"{count:,} schedules due in one minute, `tick_batch`", seconds, limit, " s"),
            at_most("9", "longest batch of that", max(results.batch_seconds), 1, " s")]


def memory(results):
    """Shared memory (buffers, those of WAL too) counts as resident once touched, so that ticks with work are judged by
    what is the worker's own."""
    ticks = f"from tick {worker.FIRST_LOOK} to tick {results.ticks:,}"
    found = []
    for what, of in zip(worker.SITUATIONS, ("resident", "own")):
        first, last = results.seen[what]
        grown = {kind: (getattr(last, kind) - getattr(first, kind)) / 2**20 for kind in ("resident", "own")}
        own = f", {max(grown['own'], 0):.2f} of its own" if of == "resident" else ""
        found.append(at_most("1", f"growth of the worker's {of} memory {ticks}, {what}", grown[of], 2, " MB", own))
    return found


def drain(costs):
    ratio = (report.median(costs["engine", 100, 2], lambda c: c.rate)
             / report.median(costs["bare", 100, 2], lambda c: c.rate))
    return [at_least("2", "claim and complete by SQL, batches of 100, 2 clients, to the bare queue table", ratio, 0.4)]


def grown(results):
    idle = results.idle_ms[growth.OVERDUE]
    found = [under("1", f"a tick while {results.connections:,} overdue connections have their job waiting",
                   statistics.median(idle), 10, " ms", f", longest {report.number(max(idle))}")]
    for what in dict.fromkeys(situation.what for situation in results.beside):
        most = max((s for s in results.beside if s.what == what), key=lambda s: s.amount)
        ratio = statistics.median(most.grown.both) / statistics.median(most.empty.both)
        found.append(at_most("5", f"claim and complete with {most.amount:,} {what}, to an empty system", ratio, 1.2))
    pinned = results.pinned
    for name, of in (("median", statistics.median), ("mean", statistics.mean)):
        fresh, now = of(pinned.empty.claim), of(pinned.grown.claim)
        found.append(at_most("5", f"claim of 100 after {pinned.amount:,} {pinned.what}, {name}, to fresh", now / fresh,
                             3, more=f" ({report.number(now)} ms to {report.number(fresh)} ms)"))
    return found


def limits(results):
    found = []
    for (what, batch), costs in results.costs.items():
        ratio = limit_parts.ratio(costs, "behind", "without")
        found.append(at_most("10", f"claim of {batch} with {results.behind:,} {what} before, to none", ratio, 2))
    for turns in results.turns:
        # src/core/fair_share.hpp: of weights that are the same.
        waits = f"turns in claims of {turns.batch}: jobs of any one tenant that another's single job waits for"
        found.append(at_most("10", waits, max(turns.most), 2))
    return found


def landing(results):
    found = []
    for months, costs in results.items():
        copied, read = (report.median(costs[way], lambda c: c.rate) for way in ("copy", "read"))
        landed = {way: report.median(costs[way], lambda c: c.rate) for way in signals.LANDING}
        behind = f" with {months} months behind" if months else ""
        for way, rate in landed.items():
            found.append(at_least("4", f"landing by `{way}`{behind}, to COPY", rate / copied, 0.6))
        ratio = read / max(landed.values())
        found.append(Goal("8", f"reading{behind} is faster than landing", f"{report.number(ratio)} times as fast",
                          ratio > 1))
    return found


def big_page(peaks):
    asked = f"a page of {big_pages.SIGNALS:,} signals, memory of"
    resident = f", {report.number(peaks.session_resident / 2**20)} with shared buffers"
    return [at_most("4", f"{asked} the executor", peaks.executor / 2**20, 200, " MB"),
            at_most("4", f"{asked} its session", peaks.session_own / 2**20, 200, " MB", resident)]


def latencies(results):
    p50, p99 = (latency.quantile(results, part) for part in (0.5, 0.99))
    cpu, queries = statistics.median(results.idle_cpu), statistics.median(results.idle_queries)
    return [under("3", f"trigger to connector at {latency.RATE}/s, p50", p50, 1.5, " ms"),
            under("3", f"trigger to connector at {latency.RATE}/s, p99", p99, 5, " ms"),
            under("3", "idle executor, of a core", 100 * cpu, 1, " %"),
            under("3", "idle executor, queries a second", queries, 1, ""),
            at_least("3", f"{latency.CLIENTS} clients triggering with wake-ups, to without",
                     statistics.median(results.ratios), 0.9)]


def pushes(results):
    p99 = report.middle(results.claimed, 0.99)
    return [under("11", f"push to claim at {gateway.RATE}/s by an idle executor, p99", p99, 50, " ms")]


def slow(runs):
    rate, peak, cores = (report.median(runs, of) for of in (
        lambda r: r.rate, lambda r: r.peak_bytes / 2**20, lambda r: r.cpu_seconds / r.seconds))
    at_once = report.median(runs, lambda r: r.requests_at_once)
    return [at_least("7", f"1,000 slow connectors at once ({at_once:,.0f} were), jobs/s", rate, 950),
            under("7", "the executor's memory meanwhile", peak, 64, " MB"),
            under("7", "the executor's cores meanwhile", cores, 0.5, "")]
