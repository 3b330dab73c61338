"""Renders results: Markdown tables, and plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peers.tables import parts as peer_parts
from peers.tables import plot as plot_peers
from promises import promises, summary
from report_parts import MB, empty, finish, spread, table, verdict
from results import Peak, Results, Speed, Stage, Startup
from scenarios import SPEED

SPEED_HEAD = (
    *("scenario", "side", "rows", "rows a second", "ours is times that", "promised"),
    *("CPU s a million rows", "peak MB", "lost"),
)
MEMORY_HEAD = ("scenario", "rows", "peak MB", "times the fewest rows", "MB more", "promised", "rows a second")
STARTUP_HEAD = ("scenario", "side", "ms more", "MB more", "heavy modules that came", "promised")
MARKS = "<!-- table -->\n", "<!-- /table -->\n"


def markdown(results: Results) -> str:
    """Return all tables of which there are rows."""
    lines = sorted(results.speed, key=place)
    parts = [*results.runs, "gzip is not offered, so there is no figure for it."]
    if lines:
        parts += ["**Speed**", table(SPEED_HEAD, lines, speed_cells), server(lines)]
    if results.memory:
        parts += ["**Memory**", table(MEMORY_HEAD, results.memory, memory_cells)]
    if results.startup:
        parts += ["**Startup**", table(STARTUP_HEAD, results.startup, startup_cells)]
    if results.limit:
        parts += [
            "**Where the time goes**",
            table(("step of the loop", "µs of CPU a row"), stages(results), stage_cells),
        ]
    parts += peer_parts(results.peers, results.deliveries)
    if promises(results) or results.failed:
        parts += ["**Promises**", summary(results)]
    return "\n\n".join(parts) + "\n"


def place(one: Speed) -> int:
    """Return the place of a line's scenario in the table of scenarios; of one that is no more, the last."""
    names = [scenario.name for scenario in SPEED]
    return names.index(one.scenario) if one.scenario in names else len(names)


def server(lines: Sequence[Speed]) -> str:
    """Tell what the stand-in server cost, beside the sides that send full bodies."""
    cpu = [one.server_cpu for one in lines if one.side in {"ours", "loop"}]
    return f"The server took {min(cpu):.2f} to {max(cpu):.2f} seconds of CPU a million rows of ours and the loop's."


def speed_cells(one: Speed) -> list[str]:
    """Return the cells of one side in one scenario."""
    promise = f"at least {one.at_least:g}" if one.at_least is not None else ""
    return [
        one.scenario,
        one.side,
        f"{one.rows:,}",
        spread(one.rate, 0),
        spread(one.ratio, 2) if one.ratio else "",
        verdict(promise, kept=one.kept),
        f"{one.cpu:.1f}",
        f"{one.peak / MB:.0f}",
        f"{one.lost:,}",
    ]


def memory_cells(one: Peak) -> list[str]:
    """Return the cells of one run in a process of its own."""
    return [
        one.scenario,
        f"{one.rows:,}",
        f"{one.peak / MB:.1f}",
        f"{one.peak / one.base:.2f}",
        f"{(one.peak - one.base) / MB:.1f}",
        verdict(f"at most {one.at_most / MB:.1f} MB" if one.at_most else "", kept=one.kept),
        f"{one.rows / one.seconds:,.0f}",
    ]


def startup_cells(one: Startup) -> list[str]:
    """Return the cells of one import or DAG file."""
    promise = f"at most {one.at_most[0]:g} ms, {one.at_most[1] / MB:g} MB, none of these" if one.at_most else ""
    return [
        one.scenario,
        one.side,
        spread(one.ms, 1),
        f"{one.memory / MB:.1f}",
        ", ".join(one.heavy) or "none",
        verdict(promise, kept=one.kept),
    ]


def stages(results: Results) -> list[Stage]:
    """Return the steps of the loop, their sum, and beside it the operator where it was measured too."""
    ours = [one for one in results.speed if one.side == "ours" and one.scenario in {"identify", "identify-without-key"}]
    return [
        *results.limit,
        Stage("limit", "together", sum(stage.us for stage in results.limit)),
        # Seconds for a million rows are microseconds a row.
        *(Stage("limit", f"the operator, scenario {one.scenario}", one.cpu) for one in ours),
    ]


def stage_cells(one: Stage) -> list[str]:
    """Return the cells of one step."""
    return [one.stage, f"{one.us:.2f}"]


def write(results: Results, readme: Path, docs: Path) -> None:
    """Put the tables into a README, between its marks, and the plots into a folder."""
    text = readme.read_text()
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    readme.write_text(f"{before}{MARKS[0]}\n{markdown(results)}\n{MARKS[1]}{after}")
    latency = {one.scenario: one for one in results.speed if one.scenario.startswith("latency-")}
    if latency:
        plot_latency([one for one in results.speed if one.scenario in latency], docs / "benchmark-latency.png")
    if results.memory:
        plot_memory(results.memory, docs / "benchmark-memory.png")
    if results.peers and results.deliveries:
        plot_peers(results.peers, results.deliveries, docs / "benchmark-peers.png")


def plot_latency(lines: Sequence[Speed], path: Path) -> None:
    """Plot rows a second against latency, one line for each number in flight."""
    figure, axes = empty("server's answer after, ms", "rows a second")
    points: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for one in lines:
        delay, in_flight = (int(part) for part in one.scenario.split("-")[1:])
        points.setdefault((one.side, in_flight), []).append((delay, one.rate.median))
    colours = {1: "tab:blue", 4: "tab:orange", 8: "tab:green"}
    for (side, in_flight), each in sorted(points.items(), reverse=True):
        x, y = zip(*sorted(each), strict=True)
        if side == "sdk":
            axes.plot(x, y, "k*", label="segment-analytics-python")
        else:
            style = "-o" if side == "ours" else "--"
            axes.plot(x, y, style, color=colours[in_flight], label=f"{side}, {in_flight} in flight")
    axes.set_xscale("symlog", linthresh=20)
    axes.set_xticks(ticks := sorted({delay for each in points.values() for delay, _ in each}), [str(x) for x in ticks])
    axes.set_yscale("log")
    finish(figure, axes, path)


def plot_memory(lines: Sequence[Peak], path: Path) -> None:
    """Plot peak memory against rows."""
    figure, axes = empty("rows", "peak memory of the process, MB")
    names = {one.scenario: None for one in lines}
    for name in names:
        mine = [one for one in lines if one.scenario == name]
        label = name.removeprefix("memory-").replace("-", " ")
        axes.plot([one.rows for one in mine], [one.peak / MB for one in mine], "-o", label=label)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.1 * max(one.peak for one in lines) / MB)
    finish(figure, axes, path)
