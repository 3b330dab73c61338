"""Renders what was measured of the peers: two Markdown tables and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from report_parts import MB, empty, spread, table

from peers.sides import SIDES

if TYPE_CHECKING:
    from results import Delivery, PeerSpeed

SPEED_HEAD = (
    *("way to Segment", "what is set", "rows", "rows a second", "ours is times that"),
    *("CPU s a million rows", "peak MB", "lost"),
)
FAULTS_HEAD = (
    *("way to Segment", "what is set", "rows", "scenario", "lost", "arrived twice", "with another id"),
    *("exit code", "seconds", "requests", "of them failed"),
)
SCENARIOS = {"faults": "faults", "killed": "faults, killed, run again"}
BY_NAME = {side.name: side for side in SIDES}


def parts(peers: Sequence[PeerSpeed], deliveries: Sequence[Delivery]) -> list[str]:
    """Return the tables of which there are rows, with their headings."""
    found = []
    if peers:
        found += ["**Peers**", table(SPEED_HEAD, peers, speed_cells)]
    if deliveries:
        found += ["**Peers under faults**", table(FAULTS_HEAD, deliveries, delivery_cells)]
    return found


def speed_cells(one: PeerSpeed) -> list[str]:
    """Return the cells of one way's speed."""
    stopped = f"; stopped after {one.stopped:g} s" if one.stopped else ""
    return [
        one.side,
        BY_NAME[one.side].said,
        f"{one.rows:,}",
        spread(one.rate, 0) + stopped,
        spread(one.ratio, 1) if one.ratio else "",
        f"{one.cpu:.1f}" if not one.stopped else "",
        f"{one.peak / MB:.0f}" if not one.stopped else "",
        f"{one.lost:,}",
    ]


def delivery_cells(one: Delivery) -> list[str]:
    """Return the cells of what became of one way's rows."""
    first = one.scenario == "faults"
    return [
        one.side,
        BY_NAME[one.side].said_at_faults if first else "",
        f"{one.rows:,}" if first else "",
        SCENARIOS[one.scenario],
        f"{one.lost:,}",
        f"{one.twice:,}",
        f"{one.counted:,}",
        "not ended" if one.exit_code is None else str(one.exit_code),
        f"{one.seconds:.1f}",
        f"{one.requests:,}",
        f"{one.failed:,}",
    ]


def plot(peers: Sequence[PeerSpeed], deliveries: Sequence[Delivery], path: Path) -> None:
    """Plot the rows a second of each way, and the share of rows that went wrong after a kill and a second run."""
    figure, (left, right) = empty("rows a second", "", columns=2)
    by_speed = sorted(peers, key=lambda one: one.rate.median)
    bars = left.barh(
        [one.side for one in by_speed],
        [one.rate.median for one in by_speed],
        color=["tab:green" if one.side == "ours" else "tab:gray" for one in by_speed],
    )
    left.bar_label(bars, [f"{one.rate.median:,.0f}" for one in by_speed], padding=3)
    left.set_xscale("log")
    left.set_xlim(1, 10 * max(one.rate.median for one in by_speed))
    killed = [one for one in reversed(deliveries) if one.scenario == "killed"]
    names = [one.side for one in killed]
    lost = [100 * one.lost / one.rows for one in killed]
    right.barh(names, lost, color="tab:red", label="lost")
    right.barh(names, [100 * one.counted / one.rows for one in killed], left=lost, color="tab:orange", label="doubled")
    right.set_xlabel("% of the rows, after faults, SIGKILL and a second run")
    right.set_xlim(0, 100)
    right.legend(loc="lower right")
    for axes in (left, right):
        axes.grid(visible=True, axis="x", alpha=0.3)
    figure.savefig(path, dpi=110)
