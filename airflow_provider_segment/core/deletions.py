"""Keys that are gone from a query's result: which they are, and whether so many of them may go."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

import orjson

from airflow_provider_segment.core.errors import DeletionError
from airflow_provider_segment.core.state import Base


class Seen:
    """The keys that a query has returned, and those that it has not; on disk where they are many."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # a file of its own that is gone with the connection
        self._database.execute("CREATE TABLE seen (key INTEGER PRIMARY KEY)")
        self._database.execute("CREATE TABLE gone (call INTEGER, key INTEGER, PRIMARY KEY (call, key)) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, keys: Sequence[int]) -> None:
        """Remember keys that the query has returned."""
        self._database.executemany("INSERT OR IGNORE INTO seen VALUES (?)", [(key,) for key in sorted(keys)])

    def missing(self, keys: Sequence[int]) -> set[int]:
        """Return those of some keys that were not returned."""
        query = "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT key FROM seen)"
        return {key for (key,) in self._database.execute(query, (orjson.dumps(keys).decode(),))}

    def note_gone(self, call: int, keys: Iterable[int]) -> None:
        """Remember keys of a call that are gone.

        :param call: its number.
        :param keys: some.
        """
        self._database.executemany("INSERT INTO gone VALUES (?, ?)", [(call, key) for key in sorted(keys)])

    def gone(self, call: int, size: int) -> Iterator[list[int]]:
        """Yield the keys of a call that are gone, in order, some at a time.

        :param call: its number.
        :param size: keys at a time.
        """
        found = self._database.execute("SELECT key FROM gone WHERE call = ? ORDER BY key", (call,))
        while page := found.fetchmany(size):
            yield [key for (key,) in page]


def check_share(identity: str, gone: Mapping[int, int], bases: Sequence[Base], allowed: float) -> None:
    """Refuse to delete more than a share of the keys that were known before.

    Before means: when this run began, and when each one began since which none has ended whole. Otherwise a run that
    saved new keys and was killed would make room for the next one to delete all old ones.

    :param identity: of the call.
    :param gone: the number of its keys that are gone, by the run that wrote them last.
    :param bases: how many keys were known, and when; the last is this run's.
    :param allowed: the share.
    :raises DeletionError: if more are gone.
    """
    *earlier, now = bases
    for base in (now, *earlier):
        # Those of its keys that are gone now, and at least as many as runs in between have deleted.
        lost = sum(n for run, n in gone.items() if run < base.run) + max(0, base.known - now.known)
        if lost > allowed * base.known:
            before = "" if base is now else f" of before run {base.run}, since which no run has ended whole,"
            raise DeletionError(
                f"{identity}: {lost:,} of {base.known:,} known keys{before} are gone from the result; max_deleted "
                f"allows a share of {allowed:g}. Nothing was deleted; mend the query or raise it"
            )
