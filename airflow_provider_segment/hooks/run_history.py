"""Where a run writes down its counts while it goes on: in the history of a state, or for its later tries in Airflow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_segment.core.errors import end_of
from airflow_provider_segment.core.mapping.message_ids import content_digest
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.report import ADD_UP, Report
from airflow_provider_segment.core.stages import Stage
from airflow_provider_segment.hooks.run_part import RunPart
from airflow_provider_segment.hooks.task import TaskRun

if TYPE_CHECKING:
    from airflow_provider_segment.core.changes.state import State

# Seconds between writes to Airflow's store.
EVERY = 5.0


class _Record(Protocol):
    """Where a run is written down.

    :ivar earlier: the counts of earlier tries.
    """

    earlier: list[dict[str, Any]]

    def note(self, counts: Callable[[], Mapping[str, Any]]) -> None:
        """Write down the counts so far, from time to time."""
        ...

    def end(self, counts: Mapping[str, Any], outcome: str, error: str | None) -> None:
        """Write down how the run ended."""
        ...


class StoreRecord:
    """What the tries of a task counted, in Airflow's task_state_store, which retries and "Clear task" keep.

    :param store: of the task.
    :param name: of the run within the task.
    :param try_number: of this try: the first has nothing to ask for.
    :param log: is told of a store that fails; the run goes on without it.
    """

    def __init__(self, store: Any, name: str, try_number: int, log: Any) -> None:
        self._store, self._key, self._try, self._log = store, f"segment_counts_{name}", str(try_number), log
        self._due = time.monotonic() + EVERY
        self._tries: dict[str, Any] = {}
        if try_number > 1:
            self._asking(self._read)
        self.earlier = [counts for number, counts in self._tries.items() if int(number) < try_number]

    def _read(self) -> None:
        self._tries = self._store.get(self._key) or {}

    def note(self, counts: Callable[[], Mapping[str, Any]]) -> None:
        """Write down the counts so far, from time to time."""
        if time.monotonic() >= self._due:
            self._write(counts())
            self._due = time.monotonic() + EVERY

    def end(self, counts: Mapping[str, Any], *_: Any) -> None:
        """Write down the counts; how the run ended is Airflow's to know."""
        self._write(counts)

    def _write(self, counts: Mapping[str, Any]) -> None:
        self._tries[self._try] = {name: counts[name] for name in ADD_UP}
        self._asking(lambda: self._store.set(self._key, self._tries))

    def _asking(self, ask: Callable[[], None]) -> None:
        try:
            ask()
        except Exception as error:  # noqa: BLE001  Airflow's own, of its API: the counts of the try are in its log
            self._log.debug("Airflow's store did not take what the tries counted (%s)", type(error).__name__)


@contextmanager
def written_down(
    task_run: TaskRun, options: Options, run: Sequence[Any], report: Report, log: Any, part: RunPart | None
) -> Iterator[Callable[[], None]]:
    """Write a run with ``sync_mode="all"`` down, where there is a place for it; lend what does so while it goes on.

    :param task_run: the task.
    :param options: of the sync; with "changes" its state writes the history itself.
    :param run: names the run, as for tries.resuming(): the sync's id comes first.
    :param report: of this try; is told what earlier tries had done.
    :param log: of the hook.
    :param part: of a run that several tasks do, which is written down as a whole; its plan sends nothing.
    """
    record = None
    if options.sync_mode == "all" and not options.validate_only and (part is None or part.stage is not Stage.PLAN):
        record = _record(task_run, options, run, log, is_part=part is not None)
    if record is None:
        yield lambda: None
        return
    report.earlier = [*record.earlier]
    try:
        yield lambda: record.note(report.so_far)
    except BaseException as error:
        record.end(report.so_far(), *end_of(error))
        raise
    record.end(report.so_far(), *end_of(None))


def write_changes_down(state: State, options: Options, report: Report, part: RunPart | None) -> None:
    """Let the state of a run with ``sync_mode="changes"`` write it down.

    :param state: of the sync.
    :param options: of the sync.
    :param report: of this try; is told what earlier tries had done.
    :param part: of a run that several tasks do; its plan sends nothing.
    """
    if not options.validate_only and (part is None or part.stage is not Stage.PLAN):
        report.earlier = [*state.earlier_tries()]
        state.write_down(report)


def _record(task_run: TaskRun, options: Options, run: Sequence[Any], log: Any, *, is_part: bool) -> _Record | None:
    has_state = options.state_path is not None or options.state_conn_id is not None
    if has_state and not is_part:
        from airflow_provider_segment.core.changes.history import ALL, RunDetails  # it brings SQLAlchemy
        from airflow_provider_segment.hooks.state import open_record

        return open_record(
            run[0],
            RunDetails(task_run.holder, ALL, days=options.history_days),
            task_run.has_ended,
            conn_id=options.state_conn_id,
            schema=options.state_schema,
            path=options.state_path,
            log=log,
        )
    if task_run.store is None or None in run:
        return None
    return StoreRecord(task_run.store, content_digest([*run]).hex(), task_run.try_number, log)
