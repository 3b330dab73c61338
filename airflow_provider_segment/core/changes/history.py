"""The runs of a sync as they are written down: who ran it, since when, and how it ended."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import astuple
from typing import Any, NamedTuple

import sqlalchemy as sa

from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.tables import Tables
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.options import HISTORY_DAYS

# The mode of a run that takes no lease, since it has no state: runs of one sync may go on side by side.
ALL = "all"
_HOLDER = ("dag_id", "task_id", "run_id", "map_index", "try_number")


class RunDetails(NamedTuple):
    """What a run says of itself when it begins.

    :param holder: who it is.
    :param mode: "changes", "all" or "reset".
    :param deletes: whether it looks for keys that are gone.
    :param days: for so long runs are kept.
    """

    holder: Holder
    mode: str = "changes"
    deletes: bool = False
    days: int = HISTORY_DAYS


class History:
    """The rows of ``segment_run``; each method is a part of its caller's transaction.

    :param tables: of the states.
    :param sync_id: whose runs they are, for the errors.
    """

    def __init__(self, tables: Tables, sync_id: str) -> None:
        self._run = tables.run
        self._sync_id = sync_id

    def begin(self, connection: sa.engine.Connection, sync_no: int, run: int, details: RunDetails, now: int) -> None:
        """Write down that a run begins.

        :param connection: within a transaction.
        :param sync_no: the sync's number.
        :param run: the run's number.
        :param details: of the run.
        :param now: by the database's clock; runs that began ``details.days`` before are forgotten.
        """
        table = self._run
        old = table.c.started < now - details.days * 86_400
        connection.execute(sa.delete(table).where(table.c.sync_no == sync_no, old))
        values = dict(zip(_HOLDER, astuple(details.holder), strict=True)) | {"mode": details.mode}
        values |= {"sync_no": sync_no, "run": run, "deletes": int(details.deletes), "started": now, "state": "running"}
        connection.execute(sa.insert(table).values(**values))

    def next_run(self, connection: sa.engine.Connection, sync_no: int, last: int) -> int:
        """Return the number of a new run.

        :param connection: within a transaction that has locked the sync's row.
        :param sync_no: the sync's number.
        :param last: the number of the last run that had the state.
        """
        table = self._run.c
        query = sa.select(sa.func.max(table.run)).where(table.sync_no == sync_no)
        return int(max(last, connection.execute(query).scalar_one() or 0)) + 1

    def note(self, connection: sa.engine.Connection, sync_no: int, run: int, report: str) -> None:
        """Write down what a run has done so far.

        :param connection: within a transaction.
        :param sync_no: the sync's number.
        :param run: the run's number.
        :param report: its counts as JSON.
        """
        table = self._run
        mine = sa.update(table).where(table.c.sync_no == sync_no, table.c.run == run)
        connection.execute(mine.values(report=report))

    def end(
        self,
        connection: sa.engine.Connection,
        sync_no: int,
        run: int | None,
        state: str,
        ended: Any,
        error: str | None = None,
    ) -> None:
        """Write down how a run ended, unless that stands there already.

        :param connection: within a transaction.
        :param sync_no: the sync's number.
        :param run: the run's number; None means all that had the state and were left open.
        :param state: "success", "failed" or "killed".
        :param ended: seconds since 1970; None where nobody knows.
        :param error: that ended it, in words that hold no value of a row.
        """
        table = self._run
        query = sa.update(table).where(table.c.sync_no == sync_no, table.c.state == "running")
        query = query.where(table.c.mode != ALL if run is None else table.c.run == run)
        connection.execute(query.values(state=state, ended=ended, error=error))

    def open(self, connection: sa.engine.Connection, sync_no: int) -> list[tuple[int, Holder]]:
        """Return the runs with ``sync_mode="all"`` that have not ended, as far as is written down.

        :param connection: within a transaction.
        :param sync_no: the sync's number.
        """
        table = self._run
        query = sa.select(table).where(table.c.sync_no == sync_no, table.c.state == "running", table.c.mode == ALL)
        return [(row.run, _holder_of(row)) for row in connection.execute(query)]

    def plan(
        self, connection: sa.engine.Connection, sync_no: int, run: int, holder: Holder | None = None
    ) -> str | None:
        """Return the plan of a run that several tasks do, as long as it lasts.

        :param connection: within a transaction.
        :param sync_no: the sync's number.
        :param run: the run's number.
        :param holder: who must have begun it; None takes that of any.
        """
        table = self._run.c
        query = sa.select(self._run).where(table.sync_no == sync_no, table.run == run)
        row = connection.execute(query).one_or_none()
        is_theirs = row is not None and holder is not None and _holder_of(row).name != holder.name
        return None if row is None or is_theirs else row.plan

    def keep_plan(self, connection: sa.engine.Connection, sync_no: int, run: int, plan: str | None) -> None:
        """Write down the plan of a run, or with None that it is done.

        :param connection: within a transaction.
        :param sync_no: the sync's number.
        :param run: the run's number.
        :param plan: as JSON.
        """
        table = self._run
        connection.execute(sa.update(table).where(table.c.sync_no == sync_no, table.c.run == run).values(plan=plan))

    def reopen(self, connection: sa.engine.Connection, sync_no: int, run: int) -> None:
        """Write down that a run goes on.

        :param connection: within a transaction.
        :param sync_no: the sync's number.
        :param run: the run's number.
        """
        table = self._run
        query = sa.update(table).where(table.c.sync_no == sync_no, table.c.run == run)
        connection.execute(query.values(state="running", ended=None))

    def holder(self, connection: sa.engine.Connection, sync_no: int, run: int) -> Holder | None:
        """Return who began a run; None where it is not known any more.

        :param connection: within a transaction.
        :param sync_no: the sync's number.
        :param run: the run's number.
        """
        table = self._run
        row = connection.execute(sa.select(table).where(table.c.sync_no == sync_no, table.c.run == run)).first()
        return None if row is None else _holder_of(row)

    def describe(self, connection: sa.engine.Connection, sync_no: int, run: int) -> str:
        """Return who a run is, and since when.

        :param connection: within a transaction.
        :param sync_no: the sync's number.
        :param run: the run's number.
        """
        table = self._run
        row = connection.execute(sa.select(table).where(table.c.sync_no == sync_no, table.c.run == run)).first()
        if row is None:
            return "a run of an older version of this package"
        return f"{'a reset' if row.mode == 'reset' else _holder_of(row)}, {_since(row.started)}"

    def earlier_tries(self, connection: sa.engine.Connection, sync_no: int, holder: Holder) -> list[dict[str, Any]]:
        """Return the counts of the earlier tries of a task in its DAG run.

        :param connection: within a transaction.
        :param sync_no: the sync's number.
        :param holder: the try.
        """
        table = self._run.c
        query = sa.select(table.report).where(table.sync_no == sync_no, *_same_task(table, holder))
        query = query.where(table.try_number < holder.try_number, table.report.is_not(None)).order_by(table.run)
        return [json.loads(report) for (report,) in connection.execute(query)] if holder.dag_id else []

    def check_tasks(self, connection: sa.engine.Connection, sync_no: int, details: RunDetails) -> None:
        """Refuse a sync that another task of the same DAG run has run: each would take the other's keys for gone.

        :param connection: within a transaction.
        :param sync_no: the sync's number.
        :param details: of the run that is about to begin.
        :raises SettingError: if its task is one too many.
        """
        table, holder = self._run, details.holder
        if not holder.dag_id or details.mode != "changes":
            return
        same_run = (table.c.sync_no == sync_no, table.c.dag_id == holder.dag_id, table.c.run_id == holder.run_id)
        query = sa.select(table).where(*same_run, table.c.mode == details.mode)
        for row in connection.execute(query.order_by(table.c.run)):
            if row.task_id == holder.task_id and row.map_index != holder.map_index:
                raise SettingError(
                    f"sync_id {self._sync_id!r}: map index {row.map_index} of this task has it in this DAG run "
                    f"({_since(row.started)}); with sync_mode='changes' each would take the other's keys for gone. "
                    "Nothing was sent. Give each map index a sync_id of its own: "
                    ".expand_kwargs([{'parameters': ..., 'sync_id': 'users-eu'}, ...])"
                )
            # Without a call on "deleted" nothing is taken for gone.
            if row.task_id != holder.task_id and (row.deletes or details.deletes):
                raise SettingError(
                    f"sync_id {self._sync_id!r}: task {row.task_id} has it in this DAG run ({_since(row.started)}); "
                    "where a call is on 'deleted' each would take the other's keys for gone. Nothing was sent. Give "
                    "each task a sync_id of its own"
                )


def _same_task(table: Any, holder: Holder) -> tuple[Any, ...]:
    return tuple(table[name] == getattr(holder, name) for name in _HOLDER if name != "try_number")


def _holder_of(row: Any) -> Holder:
    return Holder(*(getattr(row, name) for name in _HOLDER))


def _since(seconds: int) -> str:
    return f"since {dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
