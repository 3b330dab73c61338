"""Which calls of which keys were refused last, and why: kept until a whole run finds nothing wrong with them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from airflow_provider_segment.core.changes.lease import Lease
from airflow_provider_segment.core.changes.tables import Tables
from airflow_provider_segment.core.errors import StateError
from airflow_provider_segment.core.report import Rejection

# Refusals a transaction, and keys a statement.
WRITTEN, DELETED = 2_500, 500
_NAME = 255


class Refusals:
    """The refusals of one run.

    :param lease: of the run.
    :param tables: of the states in its database.
    """

    def __init__(self, lease: Lease, tables: Tables) -> None:
        self._lease = lease
        self._table, self._call = tables.refusal, tables.call
        self._waiting: dict[tuple[int, int], dict[str, Any]] = {}

    def add(self, call: int, key: int, rejection: Rejection) -> None:
        """Remember a refusal; it is written with others.

        :param call: the number of the call.
        :param key: the number of the key.
        :param rejection: the reason; it holds no value of the row.
        """
        named = {"stage": rejection.stage, "field": rejection.field[:_NAME], "code": rejection.code[:_NAME]}
        of_key = {"call_no": call, "row_key": key, "run": self._lease.run}
        self._waiting[call, key] = of_key | named | {"reason": rejection.reason}
        if len(self._waiting) >= WRITTEN:
            with suppress(StateError):  # the next write of the run says so; a reason that is lost comes again
                self.write()

    def write(self, **patience: float) -> None:
        """Write what waits.

        :param patience: as for StateConnection.run().
        :raises StateError: if the database fails, or another run has taken the lease.
        """
        rows, self._waiting = list(self._waiting.values()), {}
        if not rows:
            return
        table = self._table
        keys: dict[int, list[int]] = {}
        for row in rows:
            keys.setdefault(row["call_no"], []).append(row["row_key"])

        def write(connection: sa.engine.Connection) -> None:
            for call, of_call in keys.items():
                for at in range(0, len(of_call), DELETED):
                    those = table.c.row_key.in_(of_call[at : at + DELETED])
                    connection.execute(sa.delete(table).where(table.c.call_no == call, those))
            connection.execute(sa.insert(table), rows)

        self._lease.writing("writing what was refused", write, **patience)

    def forget_earlier(self) -> None:
        """Forget those of runs before, at the end of a whole run: it looked at their rows, or these are gone."""
        self.write()
        table, call = self._table, self._call
        mine = sa.select(call.c.call_no).where(call.c.sync_no == self._lease.number)
        old = sa.delete(table).where(table.c.call_no.in_(mine), table.c.run < self._lease.run)
        self._lease.writing("forgetting what was refused before", lambda c: c.execute(old))
