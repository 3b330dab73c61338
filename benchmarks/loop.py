"""Sends all users of a SQLite file with a plain hand-written loop, for changes.py: what the package's layers cost.

It has no tries, no checks and no report: fetchmany, one function for the row, orjson, md5, requests in 4 threads,
bodies of up to 480 KB. Arguments: the file and the sink's URL.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from hashlib import md5
from threading import local
from typing import Any

import orjson
import requests

WRITE_KEY = "k" * 32
MAX_BODY, MAX_EVENTS, THREADS = 479_900, 2_500, 4


def message(row: tuple[Any, ...]) -> dict[str, Any]:
    """Return the message of a row: the same as the operator's, in its order."""
    number, email, first_name, last_name, plan, country, orders, lifetime_value, is_active, created_at = row
    traits = {
        "country": country,
        "created_at": created_at,
        "email": email,
        "first_name": first_name,
        "is_active": is_active,
        "last_name": last_name,
        "lifetime_value": lifetime_value,
        "orders": orders,
        "plan": plan,
    }
    return {"type": "identify", "userId": str(number), "traits": traits}


def bodies(path: str) -> Iterator[bytes]:
    """Yield the bodies of all users."""
    cursor = sqlite3.connect(path).execute("SELECT * FROM users")
    events: list[bytes] = []
    size = 0
    while page := cursor.fetchmany(2_500):
        for row in page:
            encoded = orjson.dumps(message(row))
            event = b'%b,"messageId":"%b"}' % (encoded[:-1], md5(encoded).hexdigest().encode())  # noqa: S324
            if size + len(event) + 1 > MAX_BODY or len(events) == MAX_EVENTS:
                yield b'{"batch":[%b]}' % b",".join(events)
                events, size = [], 0
            events.append(event)
            size += len(event) + 1
    yield b'{"batch":[%b]}' % b",".join(events)


def main() -> None:
    """Send all and print the seconds; imports and a first request are before the clock, as for the operator."""
    path, url = sys.argv[1:]
    own = local()

    def post(body: bytes) -> None:
        if not hasattr(own, "session"):
            own.session = requests.Session()
            own.session.auth = (WRITE_KEY, "")
            own.session.headers["Content-Type"] = "application/json"
        answer = own.session.post(f"{url}/v1/batch", data=body, timeout=30)
        answer.raise_for_status()

    post(b'{"batch":[]}')
    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        under_way: set[Future[None]] = set()
        for body in bodies(path):
            if len(under_way) == THREADS:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
            under_way.add(pool.submit(post, body))
        for future in under_way:
            future.result()
    print(json.dumps({"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
