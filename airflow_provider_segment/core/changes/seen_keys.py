"""Many 64-bit numbers, on disk where they are many: those that were seen, and those of keys that are gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import orjson

from airflow_provider_segment.core.changes.scratch import scratch_of


class SeenKeys:
    """A set of 64-bit numbers in a temporary file of its own, which is gone with it."""

    def __init__(self) -> None:
        self._database = scratch_of(self)
        self._database.execute("CREATE TABLE seen (key INTEGER PRIMARY KEY)")
        self._database.execute("CREATE TABLE gone (call INTEGER, key INTEGER, PRIMARY KEY (call, key)) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, keys: Sequence[int]) -> None:
        """Remember numbers.

        :param keys: some.
        """
        self._database.executemany("INSERT OR IGNORE INTO seen VALUES (?)", [(key,) for key in sorted(keys)])

    def missing(self, keys: Sequence[int]) -> set[int]:
        """Return those that were not seen.

        :param keys: some.
        """
        query = "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT key FROM seen)"
        return {key for (key,) in self._database.execute(query, (orjson.dumps(keys).decode(),))}

    def count(self) -> int:
        """Return how many were seen."""
        return int(self._database.execute("SELECT count(*) FROM seen").fetchone()[0])

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
