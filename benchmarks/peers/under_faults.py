"""Shows what becomes of the rows of each way to Segment when requests fail, a row is refused and a process is killed.

The server is the package's local Segment: 3 % of the requests get a 500, 1 % are reset before it took them and 1 %
after, each request that holds the refused row gets a 400. Once a side runs to its end; once it is ended by SIGKILL when
three tenths of its rows have arrived, and run again.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results import Delivery

from airflow_provider_segment.testing import Request, SegmentServer
from peers.sides import SIDES, Side

TABLE = "notes"  # rows of 4 KB, so that every side makes some hundred requests for faults to befall
FILL = "CREATE TABLE notes AS SELECT id, email, repeat(md5(id::text), 128) AS note FROM users WHERE id <= {rows}"
REFUSED = "77"
REFUSED_IN_BODY = b'"userId": "77"'
LIMIT = 90  # seconds of one run
KILLED_AT = 0.3


def deliveries(warehouse: str, home: Path, at_most: int) -> list[Delivery]:
    """Run each side under faults, and once more with a kill among them.

    :param warehouse: PostgreSQL's connection, whose table of users is there.
    :param home: an empty folder.
    :param at_most: rows of a run; the slow sides have fewer anyway.
    """
    import psycopg2

    place = json.loads(warehouse)
    names = {"host": "host", "port": "port", "user": "login", "dbname": "schema"}
    with psycopg2.connect(**{theirs: place[airflows] for theirs, airflows in names.items()}) as connection:
        connection.cursor().execute(FILL.format(rows=max(side.fault_rows for side in SIDES)))
    connection.close()
    found = []
    for side in SIDES:
        for scenario in ("faults", "killed") if side.fault_rows else ():
            place_of_side = home / f"{side.name} {scenario}"
            place_of_side.mkdir()
            found.append(delivery(side, scenario, warehouse, place_of_side, min(side.fault_rows, at_most)))
    return found


def delivery(side: Side, scenario: str, warehouse: str, home: Path, rows: int) -> Delivery:
    """Run one side once, or twice with a kill, and count what the server has."""
    # The same seed for all; a side with more requests meets more faults.
    luck, failed = random.Random(11), [0]

    def fault(request: Request) -> Any:
        chance = luck.random()
        failed[0] += chance < 0.05
        if chance < 0.05:
            return 500 if chance < 0.03 else "reset" if chance < 0.04 else "reset_after"
        # RudderStack refuses by a text; its SDK takes an answer of Segment's form for an error of the network.
        return (400, {}, b"refused") if side.peer == "rudder" and REFUSED_IN_BODY in request.body else None

    with SegmentServer(keep_bodies=side.peer == "rudder") as segment:
        segment.respond_with(fault)
        segment.refuse(lambda message: message.get("userId") == REFUSED)
        asked = side.asked(home, segment.url, warehouse, TABLE, rows, faults=True)
        environment = side.environment(home, segment.url, warehouse)
        # Ours runs as Airflow would run it: as the first try of a task, and after the kill as the second.
        first, second = ({"try_number": 1}, {"try_number": 2}) if not side.peer else ({}, {})
        seconds, exit_code = run(
            side,
            asked | first,
            environment,
            home,
            None if scenario == "faults" else lambda: len(segment.messages) >= rows * KILLED_AT,
        )
        if scenario == "killed":
            # None: it was so slow that the limit killed it.
            assert exit_code in (None, -signal.SIGKILL), f"{side.name} ended before it could be killed: {exit_code}"
            seconds, exit_code = run(side, asked | second, environment, home)
    arrived = [content(message) for message in segment.messages]
    different = set(arrived)
    wanted = {str(number) for number in range(1, rows + 1)} - {REFUSED}
    return Delivery(
        scenario=scenario,
        side=side.name,
        rows=rows,
        seconds=seconds,
        exit_code=exit_code,
        lost=len(wanted - {user for user, _ in different}),
        twice=len(arrived) - len(different) + len(segment.duplicates),
        counted=len(arrived) - len(different),
        requests=len(segment.requests),
        failed=failed[0],
    )


def content(message: dict[str, Any]) -> tuple[str, str]:
    """Return what a message says of whom; RudderStack's SDK has the traits in the context."""
    traits = message.get("traits") or message["context"]["traits"]
    return message["userId"], traits["note"]


def run(
    side: Side,
    asked: dict[str, Any],
    environment: dict[str, str],
    home: Path,
    kill_when: Callable[[], bool] | None = None,
) -> tuple[float, int | None]:
    """Run a side in a process of its own and return its seconds and its exit code; None: stopped by the limit.

    :param kill_when: asked again and again; SIGKILL follows.
    """
    began = time.monotonic()
    with (home / "log").open("ab") as log:
        command = [*side.command, json.dumps(asked)]
        process = subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)  # noqa: S603 - our own
        while process.poll() is None and time.monotonic() - began < LIMIT:
            if kill_when is not None and kill_when():
                process.send_signal(signal.SIGKILL)
                process.wait()
            time.sleep(0.01)
        stopped = process.poll() is None
        if stopped:
            process.kill()
            process.wait()
    return time.monotonic() - began, None if stopped else process.returncode
