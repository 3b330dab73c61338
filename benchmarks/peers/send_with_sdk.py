"""Sends users with segment-analytics-python or rudder-sdk-python, whose clients are alike; runs in its environment."""

from __future__ import annotations

import importlib
import logging
from contextlib import closing
from hashlib import md5
from typing import Any

from worker import begin

WRITE_KEY = "k" * 32


def run(
    warehouse: dict[str, Any], url: str, sql: str, home: str, module: str, options: dict[str, Any], *, careful: bool
) -> dict[str, int]:
    """Send all rows, until `flush` returns.

    :param home: not used: an SDK keeps nothing.
    :param module: that has the client.
    :param options: of the client.
    :param careful: give a row the same id each time, and fail when a message was not sent.
    :raises SystemExit: if a message was not sent, as `on_error` or the full queue told.
    """
    import psycopg2

    logging.disable()  # they log each lost message
    lost: list[int] = []
    watched = {"on_error": lambda _, batch: lost.append(len(batch))} if careful else {}
    client = importlib.import_module(module).Client(WRITE_KEY, host=url, **options, **watched)
    names = {"host": "host", "port": "port", "user": "login", "dbname": "schema"}
    connection = psycopg2.connect(**{theirs: warehouse[airflows] for theirs, airflows in names.items()})
    rows = 0
    with closing(connection), connection.cursor("users") as cursor:
        cursor.itersize = 2_500
        cursor.execute(sql)
        for row in cursor:
            traits = dict(zip((column.name for column in cursor.description), row, strict=True))
            user = str(traits.pop("id"))
            identity = {"message_id": md5(repr(row).encode()).hexdigest()} if careful else {}  # noqa: S324 - an id
            queued, _ = client.identify(user_id=user, traits=traits, **identity)
            if not queued:
                lost.append(1)
            rows += 1
    client.flush()
    for consumer in client.consumers:
        consumer.pause()  # it ends when it next looks, up to half a second later: no part of the sending
    if careful and lost:
        raise SystemExit(f"{sum(lost)} messages were not sent")
    return {"rows": rows, "sent": rows}


if __name__ == "__main__":
    begin(run)
