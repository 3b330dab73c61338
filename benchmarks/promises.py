"""What is promised, what was measured, and whether it holds: one table of all scenarios and checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from report_parts import MB, table
from results import Promise

if TYPE_CHECKING:
    from results import Peak, Results, Speed, Startup

HEAD = ("scenario", "promised", "measured", "held")


def promises(results: Results) -> list[Promise]:
    """Return all that is promised of what was measured."""
    return [
        *(of_speed(one, one.at_least) for one in results.speed if one.at_least is not None),
        *(of_memory(one, one.at_most) for one in results.memory if one.at_most is not None),
        *(of_startup(one, *one.at_most) for one in results.startup if one.at_most is not None),
        *results.checks,
    ]


def of_speed(one: Speed, at_least: float) -> Promise:
    """Return the promise of ours beside another side."""
    assert one.ratio is not None
    measured = f"{one.ratio.median:.2f} ({one.ratio.low:.2f} to {one.ratio.high:.2f})"
    return Promise(one.scenario, f"at least {at_least:g} times the speed of {one.side}", measured, held=one.kept)


def of_memory(one: Peak, at_most: int) -> Promise:
    """Return the promise of many rows' memory."""
    promised = f"{one.rows:,} rows: at most {at_most / MB:.1f} MB ({at_most / one.base:.2f} times that of the fewest)"
    return Promise(one.scenario, promised, f"{one.peak / MB:.1f} MB ({one.peak / one.base:.2f} times)", held=one.kept)


def of_startup(one: Startup, ms: float, memory: float) -> Promise:
    """Return the promise of an import."""
    promised = f"at most {ms:g} ms and {memory / MB:g} MB more, no heavy module"
    measured = f"{one.ms.median:.1f} ms, {one.memory / MB:.1f} MB, {', '.join(one.heavy) or 'none'}"
    return Promise(one.scenario, promised, measured, held=one.kept)


def cells(one: Promise) -> list[str]:
    """Return the cells of one promise."""
    return [one.scenario, one.promised, one.measured, "held" if one.held else "**missed**"]


def summary(results: Results) -> str:
    """Return the table of all promises, the missed ones first, with a line of how many there are."""
    found = sorted(promises(results), key=lambda one: one.held)
    missed = sum(not one.held for one in found)
    failed = f" Not measured, since the run failed: {', '.join(results.failed)}." if results.failed else ""
    return f"{len(found)} promises, {missed} missed.{failed}\n\n{table(HEAD, found, cells)}"


def told(found: list[Promise]) -> int:
    """Print promises, one a line, and return the exit code of a script that checks these alone: 1 if one is missed."""
    for one in found:
        print(f"{'held  ' if one.held else 'MISSED'} {one.scenario}: {one.promised}; measured: {one.measured}")
    return 0 if all(one.held for one in found) else 1
