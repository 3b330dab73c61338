"""The task that a call is made from: what its message ids repeat, and how it ends in Airflow's terms."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_segment.compat import AirflowFailException, dag_run_state, get_current_context
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.errors import SegmentError, SettingError
from airflow_provider_segment.core.mapping.message_ids import MessageIds, Namespace, content_digest, fingerprint
from airflow_provider_segment.core.report import Report, utc_text

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context

log = logging.getLogger(__name__)


class SegmentFailException(AirflowFailException):
    """The task failed, and a retry cannot help.

    :ivar report: what had happened when the run ended; None when nothing had begun.
    """

    def __init__(self, text: str, report: Report | None = None) -> None:
        super().__init__(text)
        self.report = report


@dataclass(frozen=True)
class TaskRun:
    """A try of a task, or no task at all.

    :param ids: dag id, task id, run id and map index; random outside a task.
    :param try_number: which try it is.
    :param instance: Airflow's task instance; None outside a task.
    :param store: Airflow's task_state_store, from 3.3 on: what the tries of a task remember.
    :param run_started: when the DAG run started, where Airflow tells it.
    """

    ids: tuple[str, str, str, int]
    try_number: int = 0
    instance: Any = None
    store: Any = None
    run_started: dt.datetime | None = None

    @property
    def is_task(self) -> bool:
        """Whether a task is running."""
        return bool(self.ids[0])

    @property
    def label(self) -> str:
        """What the history of a warehouse shows of the task."""
        dag_id, task_id, run_id, map_index = self.ids
        mapped = f", map index {map_index}" if map_index >= 0 else ""
        return f"DAG {dag_id}, task {task_id}{mapped}, run {run_id}"

    @property
    def name(self) -> str:
        """The default of a sync's id."""
        return f"{self.ids[0]}.{self.ids[1]}"

    @property
    def holder(self) -> Holder:
        """Who holds a state's lease: a later try of the same task takes it over."""
        return Holder(*self.ids, self.try_number)

    def has_ended(self, other: Holder) -> bool:
        """Tell whether the DAG run of another task has ended, whatever became of the task.

        :param other: the task.
        """
        return bool(other.dag_id) and dag_run_state(self.instance, other.dag_id, other.run_id) in ("success", "failed")

    def namespace(
        self, write_key: str, sync_id: str | None = None, run_id: str | None = None, *, has_key: bool = False
    ) -> Namespace:
        """Return where the message ids of a sync in ``sync_mode="all"`` are unique.

        :param write_key: the same rows to another source must have other ids; only a hash of it is used.
        :param sync_id: default the task's name.
        :param run_id: default the task's run.
        :param has_key: whether a key tells the rows apart. Then a row has the same id in whichever mapped task it
            comes; without one each mapped task counts equal rows by itself, and its map index is in the ids.
        """
        map_index = -1 if has_key else self.ids[3]
        return Namespace("all", sync_id or self.name, run_id or self.ids[2], map_index, fingerprint(write_key))

    def with_ids(self, messages: Iterable[Mapping[str, Any]], write_key: str) -> Iterator[Any]:
        """Yield messages with an id each: equal messages of one try are told apart by their order.

        :param messages: as on the wire; those that have an id keep it.
        :param write_key: as for :meth:`namespace`.
        """
        maker = Namespace("messages", *self.ids, fingerprint(write_key)).maker("message")
        seen = _message_counts.of(self)
        for message in messages:
            if isinstance(message, Mapping) and not message.get("messageId"):
                yield {**message, "messageId": _next_id(message, maker, seen)}
            else:
                yield message

    def new_report(self) -> Report:
        """Return the report of this try; one of a later try starts where the DAG run did.

        What an earlier try had sent is sent again under the same ids, and Segment may have counted it then.
        """
        report = Report()
        if self.try_number > 1 and self.run_started is not None:
            report.started = min(report.started, utc_text(self.run_started))
        return report

    def push(self, key: str, value: Any) -> None:
        """Push an XCom that the task can do without.

        :param key: of the XCom.
        :param value: of it.
        """
        if self.instance is None:
            return
        try:
            self.instance.xcom_push(key=key, value=value)
        except Exception as error:  # noqa: BLE001  how the run itself ends matters more
            log.warning("The XCom %s could not be pushed (%s)", key, type(error).__name__)

    def leave(self, report: Report) -> None:
        """Push a report as XCom `report`, unless a later try has begun, whose report it is.

        :param report: of this try.
        """
        if self._is_followed():
            log.warning("A later try of this task has begun: its report stands, and this one is only in this log")
        else:
            self.push("report", report.as_dict())

    def _is_followed(self) -> bool:
        """Whether a later try has begun: one that was frozen or cut off may wake up beside it."""
        try:
            if self.store is not None:
                self.store.delete("segment")  # there is no such key; Airflow refuses a try that is not the last
            look = getattr(type(self.instance), "get_task_instance", None)  # of Airflow 2, where tries share a row
            if look is not None:
                dag_id, task_id, run_id, map_index = self.ids
                row = look(dag_id=dag_id, task_id=task_id, run_id=run_id, map_index=map_index)
                return row is not None and row.try_number > self.try_number
        except Exception as error:  # noqa: BLE001  each Airflow has its own; without an answer an XCom would fail too
            log.debug("Airflow did not answer (%s)", type(error).__name__)
            return self.store is not None
        return False


@contextmanager
def leaves_report(task_run: TaskRun, last: Callable[[], Report | None]) -> Iterator[None]:
    """Leave a report of a try that fails, also where nothing had begun: then all its counts are zero.

    :param task_run: the task.
    :param last: gives the report of what was done, if there is one.
    """
    try:
        yield
    except BaseException as error:
        if report_of(error) is None:  # otherwise it was left where the run ended
            report = last() or Report()
            vars(error)["report"] = report
            task_run.leave(report)
        raise


def report_of(error: object) -> Report | None:
    """Return the report that an error carries; all that end a run of ours carry one.

    :param error: any.
    """
    report = getattr(error, "report", None)
    return report if isinstance(report, Report) else None


@contextmanager
def as_airflow_exceptions() -> Iterator[None]:
    """Raise what Airflow understands: an error that a retry cannot help fails the task at once.

    :raises SegmentFailException: instead of such an error.
    """
    try:
        yield
    except SegmentError as error:
        if error.retry_helps:
            raise
        raise SegmentFailException(str(error), error.report) from error


def current(context: Context | None = None) -> TaskRun:
    """Return the task that is running.

    :param context: its context; by default the one that Airflow says is current.
    """
    known: Mapping[str, Any] = current_context() if context is None else context
    instance = known.get("ti") or known.get("task_instance")
    run_id = _text(known.get("run_id")) or _text(getattr(instance, "run_id", None))
    if not run_id:
        return TaskRun(("", "", uuid.uuid4().hex, -1), instance=instance)
    dag_id, task_id = (_text(getattr(instance, name, None)) for name in ("dag_id", "task_id"))
    map_index, try_number = (getattr(instance, name, None) for name in ("map_index", "try_number"))
    ids = (dag_id, task_id, run_id, map_index if isinstance(map_index, int) else -1)
    number = try_number if isinstance(try_number, int) else 0
    run_started = getattr(known.get("dag_run"), "start_date", None)
    is_time = isinstance(run_started, dt.datetime) and run_started.tzinfo is not None
    return TaskRun(ids, number, instance, known.get("task_state_store"), run_started if is_time else None)


def default_sync_id(operator: Any, context: Context, sync_mode: str) -> str:
    """Return the id of a sync that was given none.

    :param operator: whose sync it is.
    :param context: of the task.
    :param sync_mode: with "changes", mapped tasks would share one state.
    :raises SettingError: if they would.
    """
    if sync_mode == "changes" and current(context).ids[3] >= 0:
        raise SettingError("sync_id: mapped tasks with sync_mode='changes' need one each, by expand_kwargs")
    return f"{operator.dag_id}.{operator.task_id}"


def current_context() -> Mapping[str, Any]:
    """Return the context that Airflow says is current; empty outside a task."""
    try:
        return get_current_context()
    except Exception:  # noqa: BLE001  Airflow 2 and 3 raise different ones to say that no task is running
        return {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class _MessageCounts:
    """How many equal messages the running try has made, whichever hooks it used."""

    def __init__(self) -> None:
        self._task: object = None
        self._counts: Counter[bytes] = Counter()

    def of(self, task_run: TaskRun) -> Counter[bytes]:
        if self._task != (task_run.ids, task_run.try_number):
            self._task, self._counts = (task_run.ids, task_run.try_number), Counter()
        return self._counts


# A process runs one task at a time, and two hooks in it must not give two equal events one id.
_message_counts = _MessageCounts()


def _next_id(message: Mapping[str, Any], maker: MessageIds, seen: Counter[bytes]) -> str:
    content = content_digest(message)
    seen[content] += 1
    return maker.make(seen[content].to_bytes(8), content).decode()
