"""The runs of a sync as they are written down: who ran it, since when, and how it ended."""

from __future__ import annotations

import datetime as dt
from dataclasses import astuple
from typing import Any, NamedTuple

import sqlalchemy as sa

from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.tables import Tables
from airflow_provider_segment.core.errors import SettingError

KEPT_SECONDS = 90 * 86_400
_HOLDER = ("dag_id", "task_id", "run_id", "map_index", "try_number")


class RunDetails(NamedTuple):
    """What a run says of itself when it begins.

    :param holder: who it is.
    :param mode: "changes" or "reset".
    :param deletes: whether it looks for keys that are gone.
    """

    holder: Holder
    mode: str = "changes"
    deletes: bool = False


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
        :param now: by the database's clock; runs that began 90 days before are forgotten.
        """
        table = self._run
        old = table.c.started < now - KEPT_SECONDS
        connection.execute(sa.delete(table).where(table.c.sync_no == sync_no, old))
        values = dict(zip(_HOLDER, astuple(details.holder), strict=True)) | {"mode": details.mode}
        values |= {"sync_no": sync_no, "run": run, "deletes": int(details.deletes), "started": now, "state": "running"}
        connection.execute(sa.insert(table).values(**values))

    def note(self, connection: sa.engine.Connection, sync_no: int, run: int, report: str, error: str | None) -> None:
        """Write down what a run has done so far.

        :param connection: within a transaction.
        :param sync_no: the sync's number.
        :param run: the run's number.
        :param report: its counts as JSON.
        :param error: that ends it, in words that hold no value of a row.
        """
        table = self._run
        mine = sa.update(table).where(table.c.sync_no == sync_no, table.c.run == run)
        connection.execute(mine.values(report=report, error=error))

    def end(self, connection: sa.engine.Connection, sync_no: int, run: int | None, state: str, ended: Any) -> None:
        """Write down how a run ended, unless that stands there already.

        :param connection: within a transaction.
        :param sync_no: the sync's number.
        :param run: the run's number; None means all that were left open.
        :param state: "success", "failed" or "killed".
        :param ended: seconds since 1970.
        """
        table = self._run
        query = sa.update(table).where(table.c.sync_no == sync_no, table.c.state == "running")
        if run is not None:
            query = query.where(table.c.run == run)
        connection.execute(query.values(state=state, ended=ended))

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


def _holder_of(row: Any) -> Holder:
    return Holder(*(getattr(row, name) for name in _HOLDER))


def _since(seconds: int) -> str:
    return f"since {dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
