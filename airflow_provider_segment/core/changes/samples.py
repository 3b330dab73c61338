"""Which field differs, where nearly all rows of a sync differ: told from a few bits of a sample of its rows.

The state has hashes of whole messages only. So of some keys a call's fields are remembered too, in four bits each: they
tell which field changes in most of a hundred rows, and hardly anything about the value of one.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import orjson

from airflow_provider_segment.core.rows.keys import hashes

KEYS = 100
# Fewer rows that differ say nothing of all.
LEAST = 10


class Sample:
    """The fields of some keys of one call, as the run before and this one found them.

    :param known: what the run before has kept; None before the first.
    :param columns: the paths of the fields that are made of a column; names below them may be personal data.
    """

    def __init__(self, known: str | None, columns: Collection[str]) -> None:
        self._columns = columns
        self._before = _read(known) if known else {}
        self._now: dict[int, dict[str, str]] = {}
        self._differing: Counter[str] = Counter()
        self._compared = 0

    def wanted(self, keys: Sequence[int]) -> list[int]:
        """Return the places of the rows that belong to the sample, or for which there is room.

        :param keys: the numbers of the rows' keys.
        """
        room = max(KEYS - len(self._now), 0)
        if not room and self._before.keys().isdisjoint(keys):  # most pages
            return []
        return [place for place, key in enumerate(keys) if place < room or key in self._before]

    def see(self, key: int, message: bytes) -> None:
        """Remember the fields of a row that is not as it was.

        :param key: its number.
        :param message: encoded, in the one way of writing that all with the same meaning share.
        """
        self._now[key] = now = self._bits(key, orjson.loads(message))
        if (before := self._before.get(key)) is not None:
            self._compared += 1
            self._differing.update(field for field in {**before, **now} if before.get(field) != now.get(field))

    def most(self) -> str:
        """Return the fields that differ most, with how often; empty where the sample does not tell."""
        ((_, most),) = self._differing.most_common(1) or [("", 0)]
        if self._compared < LEAST or most * 2 < self._compared:
            return ""
        # Of fields that all differ some have the same bits by chance in one row more than others.
        fields = sorted(field for field, number in self._differing.items() if number * 5 >= most * 4)
        return f"{', '.join(fields[:3])} (in at least {most:,} of {self._compared:,} rows of a sample)"

    def kept(self, *, always: bool = False) -> str | None:
        """Return what the next run needs, in ASCII; None where that is as it was.

        Rows of this run come first: others may be gone.

        :param always: whether it is returned even so.
        """
        rest = {key: bits for key, bits in self._before.items() if key not in self._now}
        kept = dict(itertools.islice((self._now | rest).items(), KEYS))
        if not always and (not self._now or kept == self._before):
            return None
        fields = sorted({field for bits in kept.values() for field in bits})
        rows = {key: "".join(bits.get(field, "-") for field in fields) for key, bits in kept.items()}
        return json.dumps({"fields": fields, "rows": rows})

    def _bits(self, key: int, message: dict[str, Any]) -> dict[str, str]:
        """Return four bits of each field; the key is hashed with them, so that equal values do not look equal."""
        fields = dict(self._fields(message, ""))
        found = hashes(orjson.dumps([key, field, value]) for field, value in fields.items())
        return {field: f"{number & 15:x}" for field, number in zip(fields, found, strict=True)}

    def _fields(self, part: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
        for name, value in part.items():
            if isinstance(value, dict) and path + name not in self._columns:
                yield from self._fields(value, f"{path}{name}.")
            else:
                yield path + name, value


def _read(known: str) -> dict[int, dict[str, str]]:
    kept = json.loads(known)
    rows: dict[str, str] = kept["rows"]
    return {
        int(key): {field: bit for field, bit in zip(kept["fields"], bits, strict=True) if bit != "-"}
        for key, bits in rows.items()
    }
