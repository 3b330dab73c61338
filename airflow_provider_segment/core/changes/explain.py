"""What is known of a sync's runs, and of one key: read from the state, of which nothing is changed."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from airflow_provider_segment.core.changes.doubts import in_doubt
from airflow_provider_segment.core.changes.selection import Selection
from airflow_provider_segment.core.changes.tables import FORGOTTEN, GONE, Tables, columns_of
from airflow_provider_segment.core.errors import SettingError

# The counts of a report that a line of the history has.
COUNTS = (
    "rows", "skipped", "calls", "unchanged", "accepted", "added", "updated", "deleted",
    "invalid", "rejected", "not_sent", "requests", "retries", "seconds",
)  # fmt: skip
_RUN = ("run", "state", "mode", "dag_id", "task_id", "run_id", "map_index", "try_number")


class Reader:
    """Reads one sync.

    :param connection: to the state's database.
    :param tables: of the states in it.
    :param sync_id: whose state it is.
    :raises SettingError: if there is no such state.
    """

    def __init__(self, connection: sa.engine.Connection, tables: Tables, sync_id: str) -> None:
        self._connection, self._tables = connection, tables
        sync = tables.sync
        known = columns_of(connection, sync)
        query = sa.select(sync.c.sync_no).where(sync.c.sync_id == sync_id)
        number = connection.execute(query).scalar_one_or_none() if known else None
        if number is None:
            others = "; it has none" if not known else f"; it has {', '.join(syncs(connection, tables)) or 'none'}"
            raise SettingError(f"sync_id {sync_id!r} has no state in this database{others}")
        self._number = number
        left = in_doubt(connection, tables, number) if columns_of(connection, tables.doubt) else []
        self._on_their_way = {(entry[0], entry[1]): entry for entry in left}

    def history(self, last: int) -> list[dict[str, Any]]:
        """Return the last runs, the newest first.

        :param last: runs at most.
        """
        run = self._tables.run
        columns = self._there(run, [*_RUN, "started", "ended", "report", "error"])
        query = sa.select(*columns).where(run.c.sync_no == self._number).order_by(run.c.run.desc()).limit(last)
        return [_line(row) for row in self._connection.execute(query).mappings()]

    def count(self, selection: Selection) -> int:
        """Return how many entries are meant.

        :param selection: of them.
        """
        state, refusal = self._tables.state, self._tables.refusal
        if selection.refused and not columns_of(self._connection, refusal):
            return 0
        query = sa.select(sa.func.count()).select_from(state)
        parts = selection.conditions(self._tables, self._number)
        return sum(int(self._connection.execute(query.where(those)).scalar_one()) for those in parts)

    def explain(self, keys: Sequence[Sequence[int]]) -> Iterator[dict[str, Any]]:
        """Yield for each key and each call what is known of it.

        :param keys: for each key the numbers that it may have in the state: one, or several where it may be of another
            type there.
        """
        call = self._tables.call
        calls = self._connection.execute(
            sa.select(call.c.call_no, call.c.identity).where(call.c.sync_no == self._number).order_by(call.c.call_no)
        ).fetchall()
        for place, numbers in enumerate(keys, 1):
            for call_no, identity in calls:
                yield {"key": place, "call": identity, **self._of(call_no, numbers)}

    def _of(self, call: int, numbers: Sequence[int]) -> dict[str, Any]:
        """Return what is known of one call and key."""
        state, refusal = self._tables.state, self._tables.refusal
        query = sa.select(state).where(state.c.call_no == call, state.c.row_key.in_(numbers))
        row = max(self._connection.execute(query), key=lambda one: one.run, default=None)
        found = {"state": "never seen", "said": "No run has seen it, as far as this state knows"}
        last = 0
        if row is not None:
            found, last = self._said_of(row), row.run
        for number in numbers:
            if (left := self._on_their_way.get((call, number))) is not None:
                found, last = self._on_its_way(left[4]), left[4]
        if columns_of(self._connection, refusal):
            query = sa.select(refusal).where(refusal.c.call_no == call, refusal.c.row_key.in_(numbers))
            # One of before what the entry says is left where no run since has gone to its end.
            if (refused := self._connection.execute(query.where(refusal.c.run >= last)).first()) is not None:
                where = f"{refused.field}: " if refused.field else ""
                why = f"Refused in {self._run(refused.run)}: {where}{refused.reason} ({refused.code})"
                found = {"state": "refused", "said": f"{why}{self._before(row, refused)}"}
        return found

    def _before(self, row: Any, refused: Any) -> str:
        """Return what is known of a refused call besides, from its entry."""
        if row is None:
            return ""
        if row.doubt and refused.stage == "delivery":  # the posted content was written over what was accepted before it
            return f". {row.sent:,} calls of it were accepted before"
        return f". Before that: {self._said_of(row)['said']}"

    def _said_of(self, row: Any) -> dict[str, str]:
        run = self._run(row.run)
        calls = f"{row.sent:,} calls of it were accepted so far"
        if row.content == FORGOTTEN and row.doubt:
            return {"state": "reset", "said": f"Made due again by a reset; {calls}"}
        if row.doubt:
            return self._on_its_way(row.run)
        if row.content == GONE:
            return {"state": "gone", "said": f"Found gone from the query in {run}; {calls}"}
        if not row.sent:
            why = "a baseline, or no call is made of such a change"
            return {"state": "remembered", "said": f"Remembered in {run}, and no call was sent: {why}"}
        # An entry does not tell which: a change of a kind that the call is not made on is remembered without a call.
        return {"state": "accepted", "said": f"What it said in {run} was accepted, or asked for no call; {calls}"}

    def _on_its_way(self, run: int) -> dict[str, str]:
        said = f"On its way when {self._run(run)} ended; nobody knows whether it arrived. Due"
        return {"state": "on its way", "said": said}

    def _run(self, number: int) -> str:
        """Return a run as an operator knows it."""
        run = self._tables.run
        query = sa.select(run.c.started, run.c.state, run.c.dag_id, run.c.run_id).where(
            run.c.sync_no == self._number, run.c.run == number
        )
        row = self._connection.execute(query).first()
        if row is None:
            return f"run {number} (its line is not kept any more)"
        who = f", DAG run {row.run_id}" if row.dag_id else ""
        return f"run {number} ({_time(row.started)} UTC{who}, {row.state})"

    def _there(self, table: sa.Table, names: Sequence[str]) -> list[Any]:
        """Return the columns that the database has: it may be of an older version."""
        there = columns_of(self._connection, table)
        return [table.c[name] for name in names if name in there]


def syncs(connection: sa.engine.Connection, tables: Tables) -> list[str]:
    """Return the names of the syncs that have a state in a database.

    :param connection: to it.
    :param tables: of the states in it.
    """
    sync = tables.sync
    if not columns_of(connection, sync):
        return []
    return [name for (name,) in connection.execute(sa.select(sync.c.sync_id).order_by(sync.c.sync_id))]


def _line(row: Any) -> dict[str, Any]:
    report = json.loads(row.get("report") or "{}")
    line = {name: row[name] for name in _RUN}
    line |= {"started": _time(row["started"]), "ended": None if row["ended"] is None else _time(row["ended"])}
    line |= {name: report.get(name) for name in COUNTS}
    line |= {name: report.get(name) for name in ("all_tries", "planned", "by_call")}
    return line | {"error": row.get("error")}


def _time(seconds: float) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S}"
