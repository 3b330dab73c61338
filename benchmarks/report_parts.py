"""What all tables and plots are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results import Spread

MB = 1_000_000


def table(head: Sequence[str], lines: Iterable[Any], cells: Callable[[Any], Sequence[str]]) -> str:
    """Return a Markdown table; a scenario is named in its first row only."""
    rows, last = [], ""
    for line in lines:
        first, *others = cells(line)
        rows.append(["" if first == last else first, *others])
        last = first
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def spread(figure: Spread, digits: int) -> str:
    """Return a median and its quartiles."""
    return f"{figure.median:,.{digits}f} ({figure.low:,.{digits}f} to {figure.high:,.{digits}f})"


def verdict(promise: str, *, kept: bool) -> str:
    """Say what is promised and whether it is kept."""
    return f"{promise}: {'ok' if kept else '**MISSED**'}" if promise else ""


def empty(x: str, y: str, columns: int = 1) -> tuple[Any, Any]:
    """Return an empty figure and its axes; with columns the axes of each, of which the first has the labels."""
    # Imported here, so that measuring does without it; Figure needs no screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5 * columns, 5), layout="constrained")
    axes = figure.subplots(ncols=columns)
    first = axes if columns == 1 else axes[0]
    first.set_xlabel(x)
    first.set_ylabel(y)
    return figure, axes


def finish(figure: Any, axes: Any, path: Path) -> None:
    """Write the figure."""
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
