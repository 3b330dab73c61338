"""Measures where the hand-written loop's time goes: microseconds of CPU a row, one step of it more each time.

No program in Python can do without most of them: rows must be fetched, encoded and posted, and a message needs an id.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from hashlib import md5
from itertools import pairwise
from statistics import median
from typing import Any

import loop
import orjson
from results import Stage
from scenarios import USERS
from sink import sink

Page = list[tuple[Any, ...]]


def fetch(page: Page) -> None:
    """Do nothing with the rows."""


def make(page: Page) -> None:
    """Make the messages of the rows."""
    for row in page:
        loop.identify(row)


def encode(page: Page) -> None:
    """Make and encode them."""
    for row in page:
        orjson.dumps(loop.identify(row)[0])


def hashed(page: Page) -> None:
    """Make, encode and hash them."""
    for row in page:
        md5(orjson.dumps(loop.identify(row)[0])).hexdigest()  # noqa: S324 - an id, no secret


def limit(warehouse: str, rows: int, rounds: int) -> list[Stage]:
    """Return what each step adds to the ones before it, by the medians of some rounds."""
    place, sql = json.loads(warehouse), USERS.format(rows=rows)

    def up_to(step: Callable[[Page], None]) -> None:
        connection, cursor = loop.connect(place)
        with closing(connection):
            cursor.execute(sql)
            while page := cursor.fetchmany(loop.PAGE):
                step(page)

    def bodies() -> None:
        connection, cursor = loop.connect(place)
        with closing(connection):
            cursor.execute(sql)
            for _ in loop.bodies(cursor, loop.identify, {"rows": 0, "sent": 0}):
                pass

    with sink() as segment:
        steps: dict[str, Callable[[], object]] = {
            "fetch (sqlite3)": lambda: up_to(fetch),
            "make the message (dict)": lambda: up_to(make),
            "encode (orjson)": lambda: up_to(encode),
            "id (md5)": lambda: up_to(hashed),
            "put the id in, fill bodies": bodies,
            "post (requests, 4 threads)": lambda: loop.run(place, segment.url, sql, "identify", 4),
        }
        found: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, step in steps.items():
                found[name].append(cpu(step) / rows * 1e6)
    sums = [0.0, *(median(each) for each in found.values())]
    return [Stage("limit", name, after - before) for name, (before, after) in zip(found, pairwise(sums), strict=True)]


def cpu(step: Callable[[], object]) -> float:
    """Return the seconds of CPU that a step takes."""
    began = time.process_time()
    step()
    return time.process_time() - began
