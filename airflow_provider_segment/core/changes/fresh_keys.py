"""Keys of calls that are on their way, or held: what this run makes of them does not stand in the state yet."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import orjson

from airflow_provider_segment.core.changes.scratch import scratch_of

# Tells in memory of most keys that they are not on disk; what it says of others is looked up.
_FLAGS = 1 << 22


class FreshKeys:
    """The numbers of keys, each with the hash of what its message says."""

    def __init__(self) -> None:
        self._here: dict[int, int] = {}
        self._database: sqlite3.Connection | None = None
        self._flags = bytearray()

    def hold(self) -> None:
        """Keep them on disk from now on, until the end of the run: there may be millions."""
        self._database = scratch_of(self)
        self._database.execute("CREATE TABLE fresh (key INTEGER PRIMARY KEY, content INTEGER)")
        self._database.execute("BEGIN")
        self._flags = bytearray(_FLAGS)

    def __contains__(self, key: object) -> bool:
        """Tell whether a key is on its way."""
        return isinstance(key, int) and key in self.among([key])

    def among(self, keys: Sequence[int]) -> dict[int, int]:
        """Return those of some keys that are on their way.

        :param keys: the numbers of some.
        """
        if self._database is not None:
            flags, last = self._flags, _FLAGS - 1
            keys = [key for key in keys if flags[key & last]]
            if not keys:
                return {}
            query = "SELECT key, content FROM fresh WHERE key IN (SELECT value FROM json_each(?))"
            return dict(self._database.execute(query, (orjson.dumps(keys).decode(),)))
        here = self._here
        return {key: here[key] for key in keys if key in here} if here else {}

    def add(self, contents: Mapping[int, int]) -> None:
        """Remember keys.

        :param contents: by key.
        """
        if self._database is None:
            self._here.update(contents)
            return
        for key in contents:
            self._flags[key & (_FLAGS - 1)] = 1
        self._database.executemany("INSERT OR REPLACE INTO fresh VALUES (?, ?)", sorted(contents.items()))

    def drop(self, keys: Iterable[int]) -> None:
        """Forget keys: the state has what became of them.

        :param keys: their numbers.
        """
        for key in keys:
            self._here.pop(key, None)
