"""Sends the users of a SQLite file with segment-analytics-python, for latency.py; runs in that package's environment.

Arguments: the file, the sink's URL, the queue's size (0: as it comes), and `flush` or `exit` at the end.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
import time

from segment.analytics.client import Client  # type: ignore[import-not-found]  # see latency.py

WRITE_KEY = "k" * 32


def main() -> None:
    """Send all rows as the package's README says, and print seconds and what the package took."""
    path, url, size, end = sys.argv[1:]
    logging.getLogger("segment").setLevel(logging.CRITICAL)  # it warns once for each lost event
    began = time.perf_counter()
    client = Client(WRITE_KEY, host=url, **({"max_queue_size": int(size)} if int(size) else {}))
    cursor = sqlite3.connect(path).execute("SELECT * FROM users")
    names = [column[0] for column in cursor.description]
    queued = rows = 0
    while page := cursor.fetchmany(2_500):
        for row in page:
            taken, _ = client.identify(user_id=row[0], traits=dict(zip(names, row, strict=True)))
            queued += taken
        rows += len(page)
    if end == "flush":
        client.flush()
    client.join()  # at exit it does this by itself: batches under way are waited for, the queue is not
    print(json.dumps({"rows": rows, "queued": queued, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
