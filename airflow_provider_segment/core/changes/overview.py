"""What the syncs of a database did last, and why calls are refused: read for a page, of which the most is bounded."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from airflow_provider_segment.core.changes.tables import LAYOUT, Tables, columns_of

# Refused calls that are looked at, at most, to group their reasons.
REFUSALS_READ = 100_000
REASONS = 50
_RUN = ("run", "state", "mode", "dag_id", "task_id", "run_id", "map_index", "try_number", "started", "ended", "error")


@dataclass(frozen=True)
class SyncLine:
    """One sync.

    :param number: in its database.
    :param sync_id: its name.
    :param dag_id: of its newest run within a DAG; empty where there is none.
    :param expires: until when the lease on it lasts, in seconds since 1970.
    :param is_newer: whether a newer version of this package has written its state.
    """

    number: int
    sync_id: str
    dag_id: str
    expires: int
    is_newer: bool


@dataclass(frozen=True)
class RunLine:
    """One run of a sync, as History has written it down.

    :param run: its number.
    :param state: "running", "success", "failed" or "killed".
    :param mode: "changes", "all" or "reset".
    :param dag_id: of the task; empty outside of one, as are the next two.
    :param task_id: of the task.
    :param run_id: of the DAG run.
    :param map_index: of a mapped task; -1 for others.
    :param try_number: which try it is.
    :param started: seconds since 1970.
    :param ended: the same; None where it has not ended or nobody knows when.
    :param error: that ended it.
    :param report: its counts, as far as they are known.
    """

    run: int
    state: str
    mode: str
    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    try_number: int
    started: int
    ended: int | None
    error: str | None
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reason:
    """One reason for which calls are refused.

    :param call: the call's identity.
    :param stage: "mapping" or "delivery".
    :param field: where in the message; empty where it is the message as a whole.
    :param code: of the rule.
    :param words: what was found and what was expected, of one of them.
    :param calls: how many calls are refused for it.
    :param run: the last run that refused one.
    """

    call: str
    stage: str
    field: str
    code: str
    words: str
    calls: int
    run: int


class Overview:
    """Reads the syncs of one database; tables and columns that an older version had not made are as good as empty.

    :param connection: to the database.
    :param tables: of the states in it.
    """

    def __init__(self, connection: sa.engine.Connection, tables: Tables) -> None:
        self._connection, self._tables = connection, tables
        self._there = {table: columns_of(connection, table) for table in (tables.sync, tables.run, tables.refusal)}

    def syncs(self) -> list[SyncLine]:
        """Return all syncs by name."""
        sync, run = self._tables.sync, self._tables.run
        if not self._there[sync]:
            return []
        dag: Any = sa.literal("")
        if self._there[run]:
            of_sync = sa.select(run.c.dag_id).where(run.c.sync_no == sync.c.sync_no, run.c.dag_id != "")
            dag = of_sync.order_by(run.c.run.desc()).limit(1).scalar_subquery()
        columns = (sync.c.sync_no, sync.c.sync_id, sync.c.layout, sync.c.expires)
        rows = self._connection.execute(sa.select(*columns, dag.label("dag_id")).order_by(sync.c.sync_id))
        return [SyncLine(row.sync_no, row.sync_id, row.dag_id or "", row.expires, row.layout > LAYOUT) for row in rows]

    def runs(self, sync_no: int, last: int, *, before: int | None = None, first: int | None = None) -> list[RunLine]:
        """Return the last runs of a sync, the newest first.

        :param sync_no: the sync's number.
        :param last: runs at most.
        :param before: only those before this one.
        :param first: only those from this one on.
        """
        run = self._tables.run
        if not self._there[run]:
            return []
        columns = [run.c[name] for name in (*_RUN, "report") if name in self._there[run]]
        query = sa.select(*columns).where(run.c.sync_no == sync_no).order_by(run.c.run.desc()).limit(last)
        if before is not None:
            query = query.where(run.c.run < before)
        if first is not None:
            query = query.where(run.c.run >= first)
        return [_run_of(row) for row in self._connection.execute(query).mappings()]

    def reasons(self, sync_no: int) -> tuple[list[Reason], bool]:
        """Return why calls of a sync are refused, the commonest reason first, and whether that is all of them.

        :param sync_no: the sync's number.
        """
        call, refusal = self._tables.call, self._tables.refusal
        if not self._there[refusal]:
            return [], True
        mine = sa.select(call.c.call_no).where(call.c.sync_no == sync_no)
        read = sa.select(refusal).where(refusal.c.call_no.in_(mine)).limit(REFUSALS_READ).subquery()
        kind = (read.c.call_no, read.c.stage, read.c.field, read.c.code)
        number, newest = sa.func.count().label("number"), sa.func.max(read.c.run).label("newest")
        columns = (call.c.identity, *kind[1:], sa.func.min(read.c.reason).label("words"), number, newest)
        query = sa.select(*columns).join(call, call.c.call_no == read.c.call_no).group_by(call.c.identity, *kind)
        rows = self._connection.execute(query).fetchall()
        found = [Reason(*row) for row in sorted(rows, key=lambda row: (-row.number, row.identity, row.code))]
        return found[:REASONS], len(found) <= REASONS and sum(one.calls for one in found) < REFUSALS_READ


def _run_of(row: Any) -> RunLine:
    report: Any = None
    with suppress(ValueError):  # a text that was cut is no reason to show no run
        report = json.loads(row.get("report") or "{}")
    return RunLine(**{name: row.get(name) for name in _RUN}, report=report if isinstance(report, dict) else {})
