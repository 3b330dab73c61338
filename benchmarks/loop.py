"""The hand-written loop: what a row costs without the package's layers.

It has no tries, no checks and no report: fetchmany, one function for the row, orjson, md5, requests in threads, bodies
of up to 480 KB. `bench.py` runs it beside the operator, with the same query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from hashlib import md5
from threading import local
from typing import Any

import orjson
import requests
from worker import serve

WRITE_KEY = "k" * 32
MAX_BODY, MAX_EVENTS, PAGE = 479_900, 2_500, 2_500

Row = tuple[Any, ...]
Message = dict[str, Any]


def traits_of(row: Row) -> Message:
    """Return the traits of a user: the same as the operator's, in its order."""
    _, email, first_name, last_name, plan, country, orders, lifetime_value, is_active, created_at = row
    return {
        "email": email,
        "first_name": first_name,
        "last_name": last_name,
        "plan": plan,
        "country": country,
        "orders": orders,
        "lifetime_value": lifetime_value,
        "is_active": is_active,
        "created_at": created_at,
    }


def identify(row: Row) -> list[Message]:
    """Return the one message of a user."""
    return [{"type": "identify", "userId": str(row[0]), "traits": traits_of(row)}]


def track(row: Row) -> list[Message]:
    """Return the one event of a user."""
    return [{"type": "track", "event": "Signed Up", "userId": str(row[0]), "properties": traits_of(row)}]


def three(row: Row) -> list[Message]:
    """Return the three messages of a user."""
    user = str(row[0])
    return [
        {"type": "identify", "userId": user, "traits": traits_of(row)},
        {"type": "track", "event": "Signed Up", "userId": user, "properties": {"plan": row[4], "orders": row[6]}},
        {"type": "group", "groupId": row[5], "userId": user, "traits": {"country": row[5]}},
    ]


NAMES = [f"c{number:02}" for number in range(1, 94)]


def wide(row: Row) -> list[Message]:
    """Return the one message of a row of 100 columns: its key, six of the context, and 93 traits."""
    number, ip, locale, wifi, latitude, longitude, campaign, *values = row
    context = {
        "ip": ip,
        "locale": locale,
        "network": {"wifi": wifi == 1},
        "location": {"latitude": latitude, "longitude": longitude},
        "campaign": {"name": campaign},
    }
    traits = dict(zip(NAMES, values, strict=True))
    return [{"type": "identify", "userId": str(number), "context": context, "traits": traits}]


def decimal(row: Row) -> list[Message]:
    """Return the one message of a user with amounts."""
    number, email, plan, price, tax, total = row
    traits = {"email": email, "plan": plan, "price": price, "tax": tax, "total": total}
    return [{"type": "identify", "userId": str(number), "traits": traits}]


def datetime(row: Row) -> list[Message]:
    """Return the one event of a user at some time."""
    number, email, plan, created_at, updated_at, seen_at = row
    properties = {"email": email, "plan": plan, "updated_at": updated_at, "seen_at": seen_at}
    event = {"type": "track", "event": "Signed Up", "userId": str(number), "timestamp": created_at}
    return [event | {"properties": properties}]


def uuid(row: Row) -> list[Message]:
    """Return the one message of a user whose id is a UUID."""
    _, email, plan, user, account, device = row
    traits = {"email": email, "plan": plan, "account_uuid": account, "device_uuid": device}
    return [{"type": "identify", "userId": user, "traits": traits}]


def json(row: Row) -> list[Message]:
    """Return the one message of a user with objects that are stored as text."""
    number, email, plan, *texts = row
    address, settings, scores = map(orjson.loads, texts)
    traits = {"email": email, "plan": plan, "address": address, "settings": settings, "scores": scores}
    return [{"type": "identify", "userId": str(number), "traits": traits}]


MESSAGES = {function.__name__: function for function in (identify, track, three, wide, decimal, datetime, uuid, json)}


def exact(value: Any) -> orjson.Fragment:
    """Return PostgreSQL's numeric, which is Decimal, with all digits."""
    return orjson.Fragment(str(value))


def connect(warehouse: dict[str, Any]) -> tuple[Any, Any]:
    """Return a connection and a cursor that reads page by page."""
    if warehouse["conn_type"] == "sqlite":
        import sqlite3

        connection: Any = sqlite3.connect(warehouse["host"])
        return connection, connection.cursor()
    import psycopg2

    names = {"host": "host", "port": "port", "user": "login", "dbname": "schema"}
    place = {theirs: warehouse[airflows] for theirs, airflows in names.items()}
    connection = psycopg2.connect(**place, options="-c timezone=UTC")
    return connection, connection.cursor("rows")


def bodies(cursor: Any, messages: Callable[[Row], list[Message]], counts: dict[str, int]) -> Iterator[bytes]:
    """Yield the bodies of all rows, and count."""
    events: list[bytes] = []
    size = 0
    while page := cursor.fetchmany(PAGE):
        counts["rows"] += len(page)
        for row in page:
            for message in messages(row):
                encoded = orjson.dumps(message, exact, orjson.OPT_UTC_Z)
                event = b'%b,"messageId":"%b"}' % (encoded[:-1], md5(encoded).hexdigest().encode())  # noqa: S324
                if size + len(event) + 1 > MAX_BODY or len(events) == MAX_EVENTS:
                    counts["sent"] += len(events)
                    yield b'{"batch":[%b]}' % b",".join(events)
                    events, size = [], 0
                events.append(event)
                size += len(event) + 1
    counts["sent"] += len(events)
    yield b'{"batch":[%b]}' % b",".join(events)


def run(warehouse: dict[str, Any], url: str, sql: str, messages: str, threads: int) -> dict[str, int]:
    """Send the messages of all rows, from the connection to the last answer."""
    own = local()

    def post(body: bytes) -> None:
        if not hasattr(own, "session"):
            own.session = requests.Session()
            own.session.auth = (WRITE_KEY, "")
            own.session.headers["Content-Type"] = "application/json"
        own.session.post(f"{url}/v1/batch", data=body, timeout=30).raise_for_status()

    counts = {"rows": 0, "sent": 0}
    connection, cursor = connect(warehouse)
    with closing(connection), ThreadPoolExecutor(threads) as pool:
        cursor.execute(sql)
        under_way: set[Future[None]] = set()
        for body in bodies(cursor, MESSAGES[messages], counts):
            if len(under_way) == threads:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
            under_way.add(pool.submit(post, body))
        for future in under_way:
            future.result()
    return counts


if __name__ == "__main__":
    serve(run)
