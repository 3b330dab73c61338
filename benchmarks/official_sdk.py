"""Sends users with segment-analytics-python, as its README says; runs in an environment of that package's own.

`bench.py` runs it beside the operator; `peers/environments.py` makes the environment.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from typing import Any

WRITE_KEY = "k" * 32


def run(warehouse: dict[str, Any], url: str, sql: str, queue: int, *, flush: bool) -> dict[str, int]:
    """Send all rows, until `flush` returns, or `join` where it does not flush.

    :param queue: how many messages it may hold; 0: as it comes, 10,000.
    :param flush: wait for the queue in the end; without it only what is under way is waited for, as at exit.
    """
    from segment.analytics.client import Client  # type: ignore[import-not-found]

    logging.getLogger("segment").setLevel(logging.CRITICAL)  # it warns once for each lost event
    client = Client(WRITE_KEY, host=url, **({"max_queue_size": queue} if queue else {}))
    rows = 0
    with closing(sqlite3.connect(warehouse["host"])) as connection:
        cursor = connection.execute(sql)
        names = [column[0] for column in cursor.description]
        while page := cursor.fetchmany(2_500):
            for row in page:
                client.identify(user_id=row[0], traits=dict(zip(names, row, strict=True)))
            rows += len(page)
    if not flush:
        client.join()
        return {"rows": rows, "sent": rows}
    client.flush()
    for consumer in client.consumers:
        consumer.pause()  # it ends when it next looks, up to half a second later: no part of the sending
    return {"rows": rows, "sent": rows}


if __name__ == "__main__":
    from worker import serve

    serve(run)
