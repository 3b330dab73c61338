"""The entries of a state: what Segment last accepted, by call and key, in 64-bit numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import starmap
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from airflow_provider_segment.core.changes import dialects
from airflow_provider_segment.core.changes.connection import StateConnection
from airflow_provider_segment.core.changes.doubts import Doubts
from airflow_provider_segment.core.changes.lease import Lease
from airflow_provider_segment.core.changes.selection import Selection, is_there
from airflow_provider_segment.core.changes.tables import FORGOTTEN, GONE, Tables

# What in_doubt is where it is not 0: the content was posted for a key that Segment knew, or as its first.
AS_KNOWN, AS_NEW = 1, 2
# Key, content, sent, run, in_doubt and meaning of an Entry.
StoredEntry: TypeAlias = tuple[int, int, int, int, int, int | None]
NOT_KNOWN = (0, None, 0, 0, 0, None)
# The fields of an Entry. There is one a row: the garbage collector passes over plain tuples of numbers and texts, and
# looks at named ones again and again.
EntryFields: TypeAlias = tuple[int, int, int, int, int, int, str | None, int | None]


class Entry(NamedTuple):
    """What is known of one call and key.

    :param call: the call's number in this state.
    :param key: the key, or its hash.
    :param content: the hash of key and content that Segment last accepted, or GONE, or FORGOTTEN.
    :param sent: calls that Segment accepted for this call and key so far, which the id of the next one carries.
    :param run: the run that wrote it.
    :param in_doubt: not 0 where the content was posted, with ``sent`` in its id, and no acknowledgement was saved.
    :param ids: what a call on "deleted" is made from, as JSON; None for other calls.
    :param meaning: the hash of what the content says, XOR content: 0 where that is one; beside a content that an older
        version wrote later it is the hash of nothing. None where it is not known, as in states of before.
    """

    call: int
    key: int
    content: int
    sent: int
    run: int
    in_doubt: int = 0
    ids: str | None = None
    meaning: int | None = None


def is_alive(known: StoredEntry | None) -> bool:
    """Tell whether a key is known and not gone, or may not be gone.

    :param known: what is known of it.
    """
    return known is not None and (known[1] != GONE or known[4] != 0)


class Base(NamedTuple):
    """How many keys of a call were known when a run began, since which no run has ended whole.

    :param run: the run's number.
    :param known: the number of keys that were known, and not gone.
    """

    run: int
    known: int


class Entries:
    """Reads the entries of a sync's calls, and writes them as long as the run holds the lease; State has the rest."""

    run: int
    doubts: Doubts
    left_in_doubt: Sequence[EntryFields] = ()  # by a killed run, where nothing is written
    _tables: Tables
    _sql: dialects.SqlDialect
    _connection: StateConnection
    _lease: Lease

    def has_accepted(self) -> bool:
        """Tell whether Segment has accepted any call of the sync so far."""
        state = self._tables.state
        query = sa.select(state.c.row_key).where(state.c.call_no.in_(self._mine), state.c.sent > 0).limit(1)
        return self._connection.run("looking up keys", lambda c: c.execute(query).first() is not None)

    def accepted(self, call: int, keys: Sequence[int]) -> dict[int, int]:
        """Return the contents of those keys of a call whose content is not in doubt; perhaps of their neighbours too.

        Those whose meaning is not known are left out: they are looked at, and saved with it.

        :param call: its number.
        :param keys: of a page of rows.
        """
        if not keys:
            return {}
        return dict(self._fetch("looking up keys", self._sql.accepted(call, keys)))

    def known(self, call: int, keys: Sequence[int]) -> dict[int, StoredEntry]:
        """Return key, content, calls sent, run, in_doubt and meaning of those keys of a call that are known.

        :param call: its number.
        :param keys: at least one.
        """
        return {row[0]: row for row in self._fetch("looking up keys", self._sql.known(call, keys))}

    def span(self, call: int) -> tuple[int, int] | None:
        """Return the least and the largest key of a call; None where it has none.

        :param call: its number.
        """
        key = self._tables.state.c.row_key
        query = sa.select(sa.func.min(key), sa.func.max(key)).where(self._tables.state.c.call_no == call)
        low, high = self._connection.run("looking at its keys", lambda c: c.execute(query).one())
        return None if low is None else (int(low), int(high))

    def bases(self, call: int) -> list[Base]:
        """Count the keys of a call that are known now, when the run begins, before it adds any.

        :param call: its number.
        :return: the counts at the beginning of each run since one ended whole, in order; the last is this run's.
        """
        base = self._tables.known.c
        kept = sa.select(base.run, base.known).where(base.call_no == call, base.run <= self.run).order_by(base.run)
        found = self._connection.run("counting keys", lambda c: [Base(*row) for row in c.execute(kept)])
        if found and found[-1].run == self.run:  # another task of this run has counted them, and others added keys
            return found
        return [*found, Base(self.run, self.count(call))]

    def keep_bases(self, known: Mapping[int, int]) -> None:
        """Remember how many keys were known when the run began, until a run ends whole.

        What a run adds before it is killed must not count for the next one.

        :param known: the numbers of keys, by those of the calls.
        """
        base, rows = self._tables.known, [{"call_no": n, "run": self.run, "known": known[n]} for n in known]

        def keep(connection: sa.engine.Connection) -> None:
            connection.execute(sa.delete(base).where(base.c.call_no.in_(list(known)), base.c.run == self.run))
            connection.execute(sa.insert(base), rows)

        self._lease.writing("counting keys", keep)

    def count(self, call: int) -> int:
        """Return how many keys of a call are known and not gone.

        :param call: its number.
        """
        query = sa.select(sa.func.count()).where(self._tables.state.c.call_no == call, is_there(self._tables))
        return int(self._connection.run("counting keys", lambda c: c.execute(query).scalar_one()))

    def keys(self, call: int, size: int) -> Iterator[Sequence[tuple[int, int]]]:
        """Yield the keys of a call that are known and not gone, in order, each with the run that wrote it last.

        :param call: its number.
        :param size: keys at a time.
        """
        first = -(2**63)
        while True:
            query = self._sql.keys(call, first, GONE, size)
            found = self._fetch("reading keys", query)
            if not found:
                return
            yield found
            if (last := found[-1][0]) == 2**63 - 1:
                return
            first = last + 1

    def entries(self, call: int, keys: Sequence[int]) -> list[Entry]:
        """Return what is known of some keys of a call, in the order of the keys.

        :param call: its number.
        :param keys: at least one.
        """
        return sorted(starmap(Entry, self._fetch("reading keys", self._sql.entries(call, keys))))

    def _fetch(self, what: str, query: dialects.Statement) -> Sequence[Any]:
        """Return rows as the driver gives them, which is fastest."""
        return self._connection.run(what, lambda c: c.exec_driver_sql(*query).cursor.fetchall())

    def save(self, entries: Sequence[EntryFields], batches: Sequence[int] = (), **patience: float) -> None:
        """Write what is known, in one transaction.

        :param entries: at most one for each call and key.
        :param batches: the numbers of those that are on their way no more, as Doubts has given them.
        :param patience: as for StateConnection.run().
        :raises LeaseError: if another run has taken the lease.
        """

        statements = self._sql.upserts(entries)

        def save(connection: sa.engine.Connection) -> None:
            for statement in statements:
                connection.exec_driver_sql(*statement)
            if batches:
                self.doubts.forget(connection, batches)

        if entries or batches:
            self._lease.writing("saving what was accepted", save, **patience)

    def make_due(self, selection: Selection) -> int:
        """Make entries due again, whatever Segment last accepted; their counts stay, so that no id is repeated.

        :param selection: of the entries.
        """
        due = sa.update(self._tables.state).values(content=FORGOTTEN, doubt=AS_NEW)
        parts = [due.where(those) for those in selection.conditions(self._tables, self._lease.number)]
        return self._lease.writing("resetting keys", lambda c: sum(c.execute(part).rowcount for part in parts))

    @property
    def _mine(self) -> sa.sql.Select[Any]:
        """The numbers of the sync's calls."""
        call = self._tables.call
        return sa.select(call.c.call_no).where(call.c.sync_no == self._lease.number)
