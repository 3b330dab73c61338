"""The syncs that a user may see, from all state connections, and what the pages show of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_segment.core.changes.overview import Overview, Reason, RunLine, SyncLine
from airflow_provider_segment.core.errors import SegmentError
from airflow_provider_segment.plugins.page.access import Access
from airflow_provider_segment.plugins.page.dags import Due, dag_address, debugger_address, due, log_address
from airflow_provider_segment.plugins.page.figures import Figures, figures
from airflow_provider_segment.plugins.page.states import Place, look, places

# Syncs on a page of the list, runs of each in its small line, and runs on a page of one sync.
SYNCS, SPARK_RUNS, RUNS = 50, 30, 60
RESET = "reset"


@dataclass(frozen=True)
class Sync:
    """A sync that the user may see.

    :param place: where its state is.
    :param line: what is written down of it.
    """

    place: Place
    line: SyncLine


@dataclass(frozen=True)
class Listed:
    """A line of the list.

    :param sync: whose it is.
    :param runs: the newest first, without resets.
    :param due: when it is run next.
    """

    sync: Sync
    runs: list[Figures]
    due: Due

    @property
    def last(self) -> Figures | None:
        """The last run."""
        return self.runs[0] if self.runs else None

    @property
    def state(self) -> str:
        """How the last run ended."""
        return self.runs[0].state if self.runs else "never"


@dataclass(frozen=True)
class Found:
    """What the state connections answered.

    :param syncs: those that the user may see, by name.
    :param broken: what is wrong with connections, by their names.
    """

    syncs: list[Sync]
    broken: dict[str, str]


def find_syncs(access: Access, among: Sequence[Place] | None = None) -> Found:
    """Ask all state connections at once for their syncs.

    :param access: of the user.
    :param among: the places to ask; default: all.
    """
    questions = {place: look(place, Overview.syncs) for place in (places() if among is None else among)}
    syncs: list[Sync] = []
    broken: dict[str, str] = {}
    for place, question in questions.items():
        try:
            found = question.answer()
        except SegmentError as error:
            broken[str(place)] = str(error)
        else:
            syncs += [Sync(place, line) for line in found if access.may_read(line.sync_id, line.dag_id)]
    return Found(sorted(syncs, key=lambda sync: (sync.line.sync_id, sync.place)), broken)


def list_runs(syncs: Sequence[Sync], broken: dict[str, str], access: Access) -> list[Listed]:
    """Return the lines of the list.

    :param syncs: some of those that were found.
    :param broken: gets what is wrong with connections that fail now.
    :param access: of the user.
    """
    by_place: dict[Place, list[Sync]] = {}
    for sync in syncs:
        by_place.setdefault(sync.place, []).append(sync)
    questions = {place: look(place, _last_runs(of_place)) for place, of_place in by_place.items()}
    runs: dict[tuple[Place, int], list[RunLine]] = {}
    for place, question in questions.items():
        try:
            runs |= {(place, number): lines for number, lines in question.answer().items()}
        except SegmentError as error:
            broken[str(place)] = str(error)
    dues = due(sync.line.dag_id for sync in syncs)
    return [
        Listed(sync, _shown(sync, runs.get((sync.place, sync.line.number), []), access), dues[sync.line.dag_id])
        for sync in syncs
    ]


def _last_runs(syncs: Sequence[Sync]) -> Any:
    def ask(overview: Overview) -> dict[int, list[RunLine]]:
        return {one.line.number: overview.runs(one.line.number, SPARK_RUNS) for one in syncs if not one.line.is_newer}

    return ask


def _shown(sync: Sync, lines: list[RunLine], access: Access) -> list[Figures]:
    """Return runs but resets and those of DAGs that the user may not read."""
    return [run for run in figures(sync.line, lines) if run.line.mode != RESET and is_readable(run.line, access)]


def is_readable(line: RunLine, access: Access) -> bool:
    """Tell whether a user may see a run: a sync may have been another DAG's before.

    :param line: of the run.
    :param access: of the user.
    """
    return not line.dag_id or access.may_read_dag(line.dag_id)


@dataclass(frozen=True)
class Details:
    """What the page of one sync shows.

    :param runs: the newest first.
    :param chosen: the run that is shown closely; None where there is none.
    :param reasons: why calls are refused, the commonest first.
    :param is_all: whether these are all reasons.
    :param due: when it is run next.
    :param older: the number before which older runs are; None where there are none.
    """

    runs: list[Figures]
    chosen: Figures | None
    reasons: list[Reason]
    is_all: bool
    due: Due
    older: int | None

    @property
    def last(self) -> Figures | None:
        """The last run on this page that is no reset."""
        return next((run for run in self.runs if run.line.mode != RESET), None)

    @property
    def dag(self) -> str:
        """The page of the DAG that ran it last, as seen from ours."""
        last = self.last
        return dag_address(last.line.dag_id) if last is not None and last.line.dag_id else ""

    @property
    def log(self) -> str:
        """The page of the log of the chosen run, as seen from ours."""
        return "" if self.chosen is None else log_address(self.chosen.line)

    @property
    def debugger(self) -> str:
        """The page of Segment's Debugger that the chosen run has left."""
        return "" if self.chosen is None else debugger_address(self.chosen.line)


def details(sync: Sync, access: Access, *, before: int | None, chosen: int | None) -> Details:
    """Return what the page of one sync shows.

    :param sync: the sync.
    :param access: of the user.
    :param before: shows only runs before this one.
    :param chosen: the run that is shown closely; default: the last that is no reset.
    :raises SegmentError: if the state's database fails.
    """
    number = sync.line.number

    def ask(overview: Overview) -> tuple[list[RunLine], list[RunLine], list[RunLine], tuple[list[Reason], bool]]:
        newest = overview.runs(number, 1)
        lines = overview.runs(number, RUNS + 1, before=before)
        one = [] if chosen is None else overview.runs(number, 1, before=chosen + 1, first=chosen)
        return newest, lines, one, overview.reasons(number)

    newest, lines, one, (reasons, is_all) = look(sync.place, ask).answer()
    last = newest[0].run if newest else None
    runs = [run for run in figures(sync.line, lines[:RUNS], last) if is_readable(run.line, access)]
    close = [run for run in figures(sync.line, one, last) if is_readable(run.line, access)]
    close += [run for run in runs if run.line.mode != RESET]
    older = lines[RUNS - 1].run if len(lines) > RUNS else None
    dues = due([sync.line.dag_id])
    return Details(runs, next(iter(close), None), reasons, is_all, dues[sync.line.dag_id], older)
