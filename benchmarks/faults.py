"""What becomes of many rows when the network, the server and the limit are against them; each promise is checked.

`python benchmarks/faults.py`; the exit code is 1 when one is broken.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from child import IDENTIFY, execute
from promises import told
from results import Promise
from warehouse import QUERY, sqlite

from airflow_provider_segment.testing import Request, SegmentServer

ROWS = 100_000
SETTINGS: dict[str, Any] = {"calls": [IDENTIFY], "key": "id"}
# About 120 events a body, so that there are hundreds of requests for faults to befall; small ones fill 20 bodies.
WIDE = "SELECT id, email, hex(zeroblob(2000)) AS note FROM users WHERE id <= 50000"


def promise(name: str, promised: str, report: dict[str, Any], more: str, *, held: bool) -> Promise:
    """Return what was promised and what became of the rows."""
    measured = (
        f"{report['accepted']:,} accepted, {report['rejected']:,} rejected, {report['not_sent']:,} not sent; "
        f"{report['seconds']:.1f} s, {report['requests']:,} requests ({report['retries']:,} retries){more}"
    )
    return Promise(f"faults: {name}", promised, measured, held)


def faults(home: Path, warehouse: str) -> Promise:
    """100 ms an answer; of the requests 1 % are reset, 1 % get a 500 and 1 % a 429 that asks for a second."""
    luck, met = random.Random(7), {"reset": 0, "500": 0, "429": 0}

    def fault(_: Request) -> Any:
        for name, answer in (("reset", "reset"), ("500", 500), ("429", (429, {"Retry-After": "1"}))):
            if luck.random() < 0.01:
                met[name] += 1
                return answer
        return None

    with SegmentServer(keep_bodies=False) as segment:
        segment.delay = 0.1
        segment.respond_with(fault)
        report = execute(home, segment.url, warehouse, sql=WIDE, **SETTINGS)["report"]
        arrived, twice = len(segment.messages), len(segment.duplicates)
    more = f", {', '.join(f'{count} x {name}' for name, count in met.items())}; {arrived:,} arrived, {twice} twice"
    held = report["accepted"] == arrived == 50_000
    return promise("500, 429 and resets", "all 50,000 accepted and arrived", report, more, held=held)


def refused(home: Path, warehouse: str) -> Promise:
    """Seven of 100,000 events get their request a 400."""
    bad = {str(number) for number in random.Random(7).sample(range(1, ROWS + 1), 7)}
    with SegmentServer(keep_bodies=False) as segment:
        segment.refuse(lambda message: message["userId"] in bad)
        rejects = home / "rejects.jsonl"
        settings = {**SETTINGS, "max_rejected": 7, "rejects_path": str(rejects)}
        report = execute(home, segment.url, warehouse, sql=QUERY.format(rows=ROWS), **settings)["report"]
        arrived = {message["userId"] for message in segment.messages}
    found = [json.loads(line)["message"]["userId"] for line in rejects.read_text().splitlines()]
    held = report["accepted"] == len(arrived) == ROWS - 7 and sorted(found) == sorted(bad) and not arrived & bad
    more = f"; {len(found)} lines of rejects"
    return promise("400 for 7 events", f"exactly 7 rejects, {ROWS - 7:,} accepted", report, more, held=held)


def limited(home: Path, warehouse: str) -> Promise:
    """A limit of 1,000 events a second, for ten seconds, as the server sees it."""
    with SegmentServer(keep_bodies=False) as segment:
        sql, limit = QUERY.format(rows=10_500), {"events_per_second": 1_000}
        report = execute(home, segment.url, warehouse, limit, sql=sql, max_in_flight=8, **SETTINGS)["report"]
        came = sorted((request.time, request.events) for request in segment.requests)
    first, whole = came[0][0], int(came[-1][0] - came[0][0])
    most = max(sum(n for time, n in came if start <= time < start + 1) for start, _ in came)
    average = sum(n for time, n in came if time < first + whole) / whole
    held = report["accepted"] == 10_500 and most <= 1_100 and average >= 900
    more = f"; at most {most:,} in a second, {average:,.0f} on average"
    promised = "in no second above 1,100, 900 on average"
    return promise("1,000 events a second", promised, report, more, held=held)


def check() -> list[Promise]:
    """Run all."""
    with tempfile.TemporaryDirectory() as folder, sqlite(Path(folder), ROWS) as warehouse:
        return [scenario(Path(folder), warehouse) for scenario in (faults, refused, limited)]


if __name__ == "__main__":
    sys.exit(told(check()))
