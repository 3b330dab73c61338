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
from warehouse import QUERY, sqlite

from airflow_provider_segment.testing import Request, SegmentServer

ROWS = 100_000
SETTINGS: dict[str, Any] = {"calls": [IDENTIFY], "key": "id"}
# About 120 events a body, so that there are hundreds of requests for faults to befall; small ones fill 20 bodies.
WIDE = "SELECT id, email, hex(zeroblob(2000)) AS note FROM users WHERE id <= 50000"


def show(name: str, report: dict[str, Any], more: str, *, kept: bool) -> bool:
    """Print what became of the rows, and return whether the promise was kept."""
    print(
        f"{name}: {report['accepted']:,} accepted, {report['rejected']:,} rejected, {report['not_sent']:,} not sent; "
        f"{report['seconds']:.1f} s, {report['requests']:,} requests ({report['retries']:,} retries){more}"
        f"{'' if kept else '   BROKEN'}",
        flush=True,
    )
    return kept


def faults(home: Path, warehouse: str) -> bool:
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
    return show("faults", report, more, kept=report["accepted"] == arrived == 50_000)


def refused(home: Path, warehouse: str) -> bool:
    """Seven of 100,000 events get their request a 400."""
    bad = {str(number) for number in random.Random(7).sample(range(1, ROWS + 1), 7)}
    with SegmentServer(keep_bodies=False) as segment:
        segment.refuse(lambda message: message["userId"] in bad)
        rejects = home / "rejects.jsonl"
        settings = {**SETTINGS, "max_rejected": 7, "rejects_path": str(rejects)}
        report = execute(home, segment.url, warehouse, sql=QUERY.format(rows=ROWS), **settings)["report"]
        arrived = {message["userId"] for message in segment.messages}
    found = [json.loads(line)["message"]["userId"] for line in rejects.read_text().splitlines()]
    kept = report["accepted"] == len(arrived) == ROWS - 7 and sorted(found) == sorted(bad) and not arrived & bad
    return show("400 for 7 events", report, f"; {len(found)} lines of rejects", kept=kept)


def limited(home: Path, warehouse: str) -> bool:
    """A limit of 1,000 events a second, for ten seconds, as the server sees it."""
    with SegmentServer(keep_bodies=False) as segment:
        sql, limit = QUERY.format(rows=10_500), {"events_per_second": 1_000}
        report = execute(home, segment.url, warehouse, limit, sql=sql, max_in_flight=8, **SETTINGS)["report"]
        came = sorted((request.time, request.events) for request in segment.requests)
    first, whole = came[0][0], int(came[-1][0] - came[0][0])
    most = max(sum(n for time, n in came if start <= time < start + 1) for start, _ in came)
    average = sum(n for time, n in came if time < first + whole) / whole
    kept = report["accepted"] == 10_500 and most <= 1_100 and average >= 900
    return show(
        "1,000 events a second", report, f"; at most {most:,} in a second, {average:,.0f} on average", kept=kept
    )


def main() -> int:
    """Run all and return the exit code."""
    with tempfile.TemporaryDirectory() as folder, sqlite(Path(folder), ROWS) as warehouse:
        kept = [scenario(Path(folder), warehouse) for scenario in (faults, refused, limited)]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
