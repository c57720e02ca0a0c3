"""Cost against size, drawn by gnuplot as SVG."""

import dataclasses
import pathlib
import statistics
import subprocess

import report

FOLDER = "benchmarks"
# Readable without colour, too.
STYLES = ("lw 2 pt 7 ps 0.6 lc rgb '#1f5fa8'", "lw 2 pt 5 ps 0.6 lc rgb '#c2571a'", "lw 2 pt 9 ps 0.7 lc rgb '#2c7d3f'",
          "lw 2 pt 13 ps 0.7 lc rgb '#7a3c99'", "lw 1.5 dt 2 pt 6 ps 0.5 lc rgb '#777777'",
          "lw 1.5 dt 3 pt 4 ps 0.5 lc rgb '#aa3333'")


@dataclasses.dataclass
class Plot:
    title: str
    x: str
    y: str
    series: dict  # label: [(x, y)]
    log: str = "x"


def digits(value):
    return f"{value:.4g}"


def script(plot):
    lines = ["set terminal svg size 760,340 font 'sans-serif,12' noenhanced background rgb 'white'",
             "set key outside right top vertical Left reverse samplen 2", "set grid lc rgb '#dddddd'",
             "set border 3", "set tics nomirror",
             "set format '%.0s%c'", f"set logscale {plot.log}" if plot.log else "unset logscale",
             f"set title \"{plot.title}\"", f"set xlabel \"{plot.x}\"", f"set ylabel \"{plot.y}\"",
             "set offsets graph 0.02, graph 0.02, graph 0.05, 0"]
    if "y" not in plot.log:
        lines += ["set yrange [0:*]", "set format y '%g'"]
    drawn = []
    for number, (label, points) in enumerate(plot.series.items()):
        lines += [f"$s{number} << END", *(f"{digits(x)} {digits(y)}" for x, y in sorted(points)), "END"]
        drawn.append(f"$s{number} using 1:2 with linespoints {STYLES[number]} title \"{label}\"")
    return "\n".join([*lines, "plot " + ", ".join(drawn), ""])


def draw(plots, folder):
    """Writes FOLDER/NAME.svg of each, and returns what the page says in their places."""
    pathlib.Path(folder).mkdir(exist_ok=True)
    parts = {}
    for name, plot in plots.items():
        done = subprocess.run(["gnuplot"], input=script(plot), capture_output=True, text=True, check=True)
        (pathlib.Path(folder) / f"{name}.svg").write_text(done.stdout)
        parts[f"{name}_plot"] = f"\n![{plot.title}]({FOLDER}/{name}.svg)\n"
    return parts


def tick(results):
    labels = {"tick": "sync.tick", "tick_batch": "sync.tick_batch", "bare": "bare insert and update"}
    series = {label: [(connections, report.median(costs, lambda c: c.rate))
                      for (connections, way), costs in results.costs.items() if way == name]
              for name, label in labels.items()}
    due = next(iter(results.costs.values()))[0].count
    return {"tick": Plot(f"Enqueueing {due:,} due connections", "connections", "rows/s", series)}


def drain(costs):
    series = {}
    for (way, batch, clients), found in costs.items():
        label = "sync_engine" if way == "engine" else "bare queue table"
        series.setdefault(f"{label}, {clients} client{'s' if clients > 1 else ''}", []).append(
            (batch, report.median(found, lambda c: c.rate)))
    return {"drain": Plot("Claiming and completing", "jobs a batch", "jobs/s", series, "xy")}


def growth(results):
    series = {}
    empty = {}
    for situation in results.beside:
        series.setdefault(situation.what, []).append(
            (situation.amount, statistics.median(situation.grown.both)))
        empty.setdefault(situation.amount, []).extend(situation.empty.both)
    series["empty system beside them"] = [(amount, statistics.median(times)) for amount, times in empty.items()]
    passing = results.passing
    fresh = statistics.median(results.pinned.empty.claim)
    ends = (passing[0][0], passing[-1][0])
    pinned = {"median": [(jobs, statistics.median(times)) for jobs, times in passing],
              "mean": [(jobs, statistics.mean(times)) for jobs, times in passing],
              "fresh": [(jobs, fresh) for jobs in ends], "three times fresh": [(jobs, 3 * fresh) for jobs in ends]}
    return {"growth": Plot("Claiming and completing 100 jobs among others", "other jobs", "ms", series),
            "snapshot": Plot("Claiming 100 jobs under an open snapshot", "jobs passed, whose rows stay", "ms",
                             pinned, "")}
