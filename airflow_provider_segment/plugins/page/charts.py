"""The geometry of the charts: bars of what each run sent, by kind, and the small line of a sync's calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_provider_segment.plugins.page.figures import KINDS, STATES, Figures, duration, moment, number

HEIGHT, WIDTH = 160.0, 10.0
SPARK_WIDTH, SPARK_HEIGHT = 120.0, 26.0
# A bar that is so many times as high as nearly all others is cut, so that these can be seen.
CUT = 4
# Of a bar with its gap, at most.
PIXELS = 36


@dataclass(frozen=True)
class Part:
    """One piece of a bar, in the units of the drawing.

    :param kind: one of KINDS.
    :param y: of its upper edge.
    :param height: of it.
    """

    kind: str
    y: float
    height: float


@dataclass(frozen=True)
class Bar:
    """One run.

    :param run: its number.
    :param started: seconds since 1970.
    :param x: of its left edge.
    :param state: of the run.
    :param title: what it says in words.
    :param parts: from below.
    :param is_cut: whether it is higher than the drawing.
    """

    run: int
    started: int
    x: float
    state: str
    title: str
    parts: list[Part]
    is_cut: bool


@dataclass(frozen=True)
class Bars:
    """The bars of some runs.

    :param bars: the oldest first.
    :param top: what the upper edge means, in calls.
    :param kinds: those that some run has.
    """

    bars: list[Bar]
    top: int
    kinds: list[str]

    @property
    def width(self) -> float:
        """Of the drawing."""
        return max(1, len(self.bars)) * WIDTH

    @property
    def pixels(self) -> int:
        """The width at which it is drawn, where there is room: a few bars are no broader than many."""
        return max(PIXELS * len(self.bars), 340)


def bars(runs: Sequence[Figures]) -> Bars:
    """Return the bars of runs.

    :param runs: the newest first.
    """
    ordered = list(reversed(runs))
    totals = sorted(sum(run.kinds.values()) for run in ordered)
    top = totals[-1] if totals else 0
    usual = totals[int((len(totals) - 1) * 0.9)] if totals else 0
    if usual and top > CUT * usual:
        top = usual * 2
    top = _round_up(top)
    drawn = [_bar(run, place * WIDTH, top) for place, run in enumerate(ordered)]
    kinds = [kind for kind in KINDS if any(run.kinds[kind] for run in ordered)]
    return Bars(drawn, top, kinds)


def _bar(run: Figures, x: float, top: int) -> Bar:
    parts: list[Part] = []
    y = HEIGHT
    for kind, calls in run.kinds.items():
        height = min(calls / top * HEIGHT, y) if top else 0.0
        # Some calls are never none: a few that were refused must be seen beside a million.
        height = min(y, max(height, 1.5)) if calls else 0.0
        if height:
            y -= height
            parts.append(Part(kind, round(y, 2), round(height, 2)))
    return Bar(run.line.run, run.line.started, x, run.state, _title(run), parts, sum(run.kinds.values()) > top)


def _title(run: Figures) -> str:
    line = run.line
    said = ", ".join(f"{number(calls)} {KINDS[kind][0]}" for kind, calls in run.kinds.items() if calls) or "no calls"
    took = "" if run.seconds is None else f", {duration(run.seconds)}"
    return f"Run {line.run}, {moment(line.started):%Y-%m-%d %H:%M} UTC{took}: {run.state}. {said}. {STATES[run.state]}."


def _round_up(value: int) -> int:
    """Return the next number that an axis may end at."""
    if value <= 4:
        return max(value, 1)
    size: int = 10 ** (len(str(value)) - 1)
    return next(step * size // 10 for step in (10, 12, 15, 20, 30, 40, 50, 60, 80, 100) if step * size >= value * 10)


@dataclass(frozen=True)
class Spark:
    """The small line of a sync.

    :param points: of the line of accepted calls, for SVG.
    :param ends: where the runs are that did not go to their end.
    :param title: what it says in words.
    """

    points: str
    ends: list[float]
    title: str


def spark(runs: Sequence[Figures]) -> Spark:
    """Return the line of accepted calls a run, from one edge to the other.

    :param runs: the newest first.
    """
    ordered = list(reversed(runs))
    calls = [run.accepted or 0 for run in ordered]
    most = max(calls, default=0)
    step = SPARK_WIDTH / max(1, len(calls) - 1)
    places = [round(place * step, 1) for place in range(len(calls))]
    heights = [round(SPARK_HEIGHT * (1 - one / most), 1) if most else SPARK_HEIGHT for one in calls]
    ended_badly = [x for x, run in zip(places, ordered, strict=True) if run.state in ("failed", "killed", "silent")]
    if len(calls) == 1:  # one point is no line
        places, heights = [0.0, SPARK_WIDTH], heights * 2
    points = " ".join(f"{x:g},{y:g}" for x, y in zip(places, heights, strict=True))
    bad = f"; {len(ended_badly)} of them failed or were killed" if ended_badly else ""
    title = f"Accepted calls of the last {len(calls)} runs, from 0 to {number(most)}{bad}"
    return Spark(points, ended_badly, title)
