"""Measures where the loop's time goes: microseconds of CPU that each of its steps takes for a row, one step at a time.

No program in Python can do without most of them: rows must be fetched, encoded and posted, and a message needs an id.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from hashlib import md5
from statistics import median
from typing import Any

import orjson
import requests
from loop import PAGE, bodies, connect, identify
from results import Stage
from scenarios import USERS
from sink import sink


class Again:
    """A cursor over rows that were fetched already."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows
        self._place = 0

    def fetchmany(self, size: int) -> list[Any]:
        """Return the next rows."""
        self._place += size
        return self._rows[self._place - size : self._place]


def limit(warehouse: str, rows: int, rounds: int) -> list[Stage]:
    """Return the steps of the loop, each measured alone, medians."""
    place, sql = json.loads(warehouse), USERS.format(rows=rows)

    def fetch() -> list[Any]:
        connection, cursor = connect(place)
        cursor.execute(sql)
        found: list[Any] = []
        while page := cursor.fetchmany(PAGE):
            found += page
        connection.close()
        return found

    fetched = fetch()
    messages = [identify(row)[0] for row in fetched]
    encoded = [orjson.dumps(message) for message in messages]
    hashed = [md5(one).hexdigest() for one in encoded]  # noqa: S324 - an id, no secret
    ready = list(bodies(Again(fetched), identify, {"rows": 0, "sent": 0}))
    with sink() as segment, requests.Session() as session:
        url = f"{segment.url}/v1/batch"
        steps: dict[str, Callable[[], object]] = {
            "fetch (sqlite3)": fetch,
            "make the message (dict)": lambda: [identify(row)[0] for row in fetched],
            "encode (orjson)": lambda: [orjson.dumps(message) for message in messages],
            "id (md5)": lambda: [md5(one).hexdigest() for one in encoded],  # noqa: S324
            "put the id in": lambda: [
                b'%b,"messageId":"%b"}' % (one[:-1], name.encode()) for one, name in zip(encoded, hashed, strict=True)
            ],
            "post (requests)": lambda: [session.post(url, data=body, timeout=30) for body in ready],
        }
        found: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, step in steps.items():
                found[name].append(cpu(step) / rows * 1e6)
    return [Stage("limit", name, median(each)) for name, each in found.items()]


def cpu(step: Callable[[], object]) -> float:
    """Return the seconds of CPU that a step takes."""
    began = time.process_time()
    step()
    return time.process_time() - began
