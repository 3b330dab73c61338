"""Shows that no body and no event is too large, and that bodies are full: rows of 100 bytes to 30 KB, two extremes.

`python benchmarks/sizes.py`; promises: a body has at most 480,000 bytes and 2,500 events, an event 32,000 bytes.
"""

from __future__ import annotations

import argparse
import json
import math
import sqlite3
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

from child import IDENTIFY, execute
from promises import told
from results import Promise
from sink import sink

Row = tuple[int, str]
Counts = dict[str, int]
MAX_BODY, MAX_EVENTS, MAX_EVENT = 480_000, 2_500, 32_000
# Of one to four bytes in UTF-8, and some that JSON writes as two: characters, bytes and JSON bytes all differ.
LETTERS = Random(1).choices('abcdefghijklmnop "\\\néß漢字😀', k=40_000)
ENDS = [*accumulate(len(json.dumps(letter, ensure_ascii=False).encode()) - 2 for letter in LETTERS)]
TEXT = "".join(LETTERS)


def text(size: int) -> str:
    """Return a text that takes so many bytes as JSON, to the byte."""
    place = bisect_right(ENDS, size)
    return TEXT[:place] + "." * (size - (ENDS[place - 1] if place else 0))


def mixed(rows: int) -> Iterator[Row]:
    """Yield rows from 100 bytes to 30 KB, as many of each order of magnitude."""
    random = Random(2)
    for number in range(rows):
        yield number, text(round(math.exp(random.uniform(math.log(100), math.log(30 * 1024)))))


def tiny(rows: int) -> Iterator[Row]:
    """Yield rows so small that 2,500 of them are less than a body."""
    return ((number, "") for number in range(rows))


def edge(rows: int) -> Iterator[Row]:
    """Yield rows whose events have each size around the limit."""
    return ((10_000 + number, text(MAX_EVENT - 500 + number % 600)) for number in range(rows))


def run(home: Path, name: str, rows: Iterable[Row], **settings: Any) -> tuple[Counts, Counts]:
    """Send rows and return our report and what arrived."""
    path = home / f"{name}.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE texts (id INTEGER PRIMARY KEY, bio TEXT)")
        database.executemany("INSERT INTO texts VALUES (?, ?)", rows)
    warehouse = json.dumps({"conn_type": "sqlite", "host": str(path)})
    with sink(record=True) as segment:
        done = execute(home, segment.url, warehouse, sql="SELECT * FROM texts", calls=[IDENTIFY], **settings)
        stats = segment.stats()
    path.unlink()
    return done["report"], stats


def promise(name: str, report: Counts, stats: Counts, invalid: int = 0, *, full: bool = True) -> Promise:
    """Return what is promised of all bodies and events, and what arrived.

    :param invalid: the rows that are too large.
    :param full: whether the bodies are as full as they should be.
    """
    within = stats["max_body_bytes"] <= MAX_BODY and stats["max_body_events"] <= MAX_EVENTS
    counted = report["accepted"] == stats["events"] == stats["different_ids"] and report["bytes"] == stats["bytes"]
    exact = stats["events_not_compact"] == 0  # so the event sizes are those on the wire
    all_taken = report["accepted"] + invalid == report["rows"] and report["invalid"] == invalid
    measured = (
        f"{stats['max_body_bytes']:,} bytes, {stats['max_body_events']:,} events, {stats['max_event_bytes']:,} bytes; "
        f"{report['accepted']:,} of {report['rows']:,} rows accepted, {report['invalid']:,} invalid, in "
        f"{stats['requests']:,} bodies of {stats['bytes'] / stats['requests']:,.0f} bytes on average"
    )
    promised = (
        f"a body of at most {MAX_BODY:,} bytes and {MAX_EVENTS:,} events, an event of at most {MAX_EVENT:,} bytes"
    )
    within &= stats["max_event_bytes"] <= MAX_EVENT
    return Promise(f"sizes: {name}", promised, measured, held=within and counted and exact and all_taken and full)


def check(rows: int) -> list[Promise]:
    """Send rows of many sizes, of the smallest and of the largest.

    :param rows: those of many sizes.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        found = [promise("100 bytes to 30 KB", *run(home, "mixed", mixed(rows)))]
        report, stats = run(home, "tiny", tiny(20_000))
        found.append(promise("tiny rows", report, stats, full=stats["max_body_events"] == MAX_EVENTS))
        # An event is its text and some constant bytes, so exactly the texts that leave room for these are accepted.
        report, stats = run(home, "edge", edge(6_000), max_rejected=0.99)
        constant = len('{"type":"identify","userId":"10000","traits":{"bio":""},"messageId":""}') + 32
        invalid = 10 * (600 - (500 - constant + 1))
        full = stats["max_event_bytes"] == MAX_EVENT
        return [*found, promise("at the event's limit", report, stats, invalid, full=full)]


def main() -> int:
    """Measure all and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    return told(check(parser.parse_args().rows))


if __name__ == "__main__":
    sys.exit(main())
