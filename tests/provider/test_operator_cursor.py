"""A cursor: only rows from its mark on are read, and none is lost, doubled or passed before it is settled."""

from __future__ import annotations

import datetime as dt
import os
import random
import re
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filtered import DATABASES, Source, made_source
from psycopg.errors import UndefinedTable

from airflow_provider_segment.calls import Constant, Track
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

ORDERED = Track(Constant("Ordered"), "id", properties={"total": "total"})
SECOND = Track(Constant("Seen"), "id")
START = dt.datetime(2026, 1, 1)  # noqa: DTZ001  the columns have no zone
FUTURE = START.replace(year=2099)
HOUR = dt.timedelta(hours=1)
TIMES = {"postgres": "TIMESTAMP", "mariadb": "DATETIME(6)", "duckdb": "TIMESTAMP", "sqlite": "TEXT"}


class Orders:
    """A table of orders, and its sync by the time of the order.

    :param source: where the table is.
    :param state: the settings that say where the sync remembers.
    """

    def __init__(self, source: Source, state: dict[str, Any]) -> None:
        self.source, self.where = source, state
        self.number = 0
        source.run("DROP TABLE IF EXISTS orders")
        source.run(f"CREATE TABLE orders (id INTEGER, total INTEGER, ordered_at {TIMES[source.kind]})")

    def add(self, times: list[dt.datetime | None], total: int = 1) -> list[int]:
        """Put orders into the table, and return their ids."""
        ids = [self.number + n for n in range(1, len(times) + 1)]
        self.number += len(times)
        for at in range(0, len(times), 1_000):
            some = zip(ids[at : at + 1_000], times[at : at + 1_000], strict=True)
            rows = ", ".join(f"({n}, {total}, {'NULL' if time is None else repr(str(time))})" for n, time in some)
            self.source.run(f"INSERT INTO orders VALUES {rows}")  # noqa: S608
        return ids

    def move(self, number: int, time: dt.datetime) -> None:
        """Give an order another time."""
        self.source.run(f"UPDATE orders SET ordered_at = '{time}' WHERE id = {number}")  # noqa: S608

    def send(self, **changed: Any) -> dict[str, Any]:
        """Run the sync, and return its report."""
        report: dict[str, Any] = SqlToSegmentOperator(task_id="sync", **self.settings(**changed)).execute({})
        return report

    def settings(self, **changed: Any) -> dict[str, Any]:
        """The operator's settings, with some changed."""
        return {
            "sql": "SELECT * FROM orders",
            "sql_conn_id": self.source.kind,
            "calls": [ORDERED],
            "key": "id",
            "sync_mode": "changes",
            "sync_id": "orders",
            "cursor": "ordered_at",
            "timezone": "UTC",
            "fetch_size": 100,
            **self.where,
        } | changed


@pytest.fixture(params=DATABASES)
def orders(
    request: pytest.FixtureRequest, segment: SegmentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Orders:
    """Orders in a database of each kind."""
    return Orders(made_source(request.param, request, tmp_path, monkeypatch), {"state_path": str(tmp_path / "s.db")})


@pytest.fixture
def few(
    request: pytest.FixtureRequest, segment: SegmentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Orders:
    """Orders in SQLite."""
    return Orders(made_source("sqlite", request, tmp_path, monkeypatch), {"state_path": str(tmp_path / "s.db")})


Said = Callable[[], str]


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Said:
    """What the log says since it was last asked, wherever this Airflow writes it."""
    caplog.set_level("INFO")

    def text() -> str:
        shown = capfd.readouterr()
        return shown.out + shown.err + caplog.text

    return text


def arrived(segment: SegmentServer, event: str = "Ordered") -> list[int]:
    """The orders that Segment has, once for each time that it got them."""
    return sorted(int(message["userId"]) for message in segment.messages if message.get("event") == event)


def hours(*numbers: float) -> list[dt.datetime | None]:
    """Times, so many hours after the start."""
    return [START + n * HOUR for n in numbers]


# What is read, and what is sent


def test_days(orders: Orders, segment: SegmentServer) -> None:
    """Day by day only rows from the mark on are read, and each order is sent once."""
    orders.add(hours(*range(300)))
    assert orders.send()["rows"] == 300
    orders.add(hours(*range(300, 310)))
    report = orders.send()
    assert (report["rows"], report["added"], report["unchanged"]) == (
        11,
        10,
        1,
    )  # the row at the mark, and the new ones
    assert orders.send()["rows"] == 1
    assert arrived(segment) == list(range(1, 311))


def test_rows_with_one_and_the_same_time(orders: Orders, segment: SegmentServer) -> None:
    """25,000 orders of one second, over many pages and over two days, are neither lost nor doubled."""
    orders.add(hours(*[5] * 20_000))
    assert orders.send(fetch_size=2_500)["added"] == 20_000
    orders.add(hours(*[5] * 5_000))
    report = orders.send(fetch_size=2_500)
    assert (report["rows"], report["added"]) == (25_000, 5_000)
    assert arrived(segment) == list(range(1, 25_001))


def test_late_rows(orders: Orders, segment: SegmentServer) -> None:
    """A row that comes late is sent where it lies within the lookback, and never where it lies before."""
    orders.add(hours(0, 10, 20))
    orders.send(lookback=5 * HOUR)
    within, before = orders.add(hours(16)), orders.add(hours(14))
    report = orders.send(lookback=5 * 3600)
    assert (report["rows"], report["added"]) == (2, 1)
    orders.send(lookback=5 * HOUR)
    assert set(arrived(segment)) == {1, 2, 3, *within}
    assert orders.send(lookback=7 * HOUR)["added"] == 1
    assert arrived(segment) == [1, 2, 3, *within, *before]


def test_rows_without_a_time(orders: Orders, segment: SegmentServer) -> None:
    """Rows whose time is null are read in each run, sent once, and move no mark."""
    orders.add([None, *hours(1), None])
    assert orders.send()["added"] == 3
    orders.add([None, *hours(0.5, 2)])  # one of them late: that is what lookback is for
    report = orders.send()
    assert (report["rows"], report["added"]) == (5, 2)
    assert arrived(segment) == [1, 2, 3, 4, 6]


def test_rows_in_the_future(orders: Orders, segment: SegmentServer, said: Said) -> None:
    """A wrong clock hides no later rows: a row of the year 2099 is sent, and the mark stays before it."""
    orders.add([*hours(1), FUTURE])
    orders.send()
    assert "1 rows have a ordered_at in the future" in said()
    orders.add(hours(2))
    assert orders.send()["added"] == 1
    assert arrived(segment) == [1, 2, 3]
    assert "2099" not in said()


def test_nothing_but_the_future(few: Orders, segment: SegmentServer) -> None:
    """Where all rows lie in the future there is no mark, and all are read."""
    few.add([FUTURE])
    assert [few.send()["rows"], few.send()["rows"]] == [1, 1]
    assert arrived(segment) == [1]


@pytest.mark.parametrize("hours_ahead", [-13, -11])
def test_a_zone_that_is_not_known(few: Orders, segment: SegmentServer, hours_ahead: int) -> None:
    """Without a timezone a row counts as past when it is past in each zone of the world."""
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    few.add([*hours(1), now + hours_ahead * HOUR])
    few.send(timezone=None)
    assert few.send(timezone=None)["rows"] == (1 if hours_ahead == -13 else 2)


# What keeps the mark


@pytest.mark.parametrize("where", ["here", "at Segment"])
def test_refused_rows(orders: Orders, segment: SegmentServer, where: str, said: Said) -> None:
    """The mark does not pass a row that was refused; when it is mended, it is sent, and the mark goes on."""
    orders.add(hours(*range(250)))
    bad = {"200"}
    if where == "here":
        orders.source.run("UPDATE orders SET id = NULL WHERE id = 200")
    else:
        segment.refuse(lambda message: message["userId"] in bad)
    assert orders.send(max_rejected=1)["accepted"] == 249
    assert "the mark of ordered_at stays before them" in said()
    orders.add(hours(300))
    report = orders.send(max_rejected=1)
    # A row that Segment refuses is found by its page of 100.
    assert (report["rows"], report["added"]) == ((52, 1) if where == "here" else (151, 1))
    if where == "here":
        orders.source.run("UPDATE orders SET id = 200 WHERE id IS NULL")
    else:
        bad.clear()
    assert orders.send()["added"] == 1
    assert orders.send()["rows"] == 1
    assert arrived(segment) == list(range(1, 252))


def test_a_late_row_that_is_refused(few: Orders, segment: SegmentServer) -> None:
    """A row within the lookback that is refused is read again until it is sent, however far the mark has come."""
    few.add(hours(0, 10))
    few.send(lookback=5 * HOUR)
    few.add(hours(6))
    bad = {"3"}
    segment.refuse(lambda message: message["userId"] in bad)
    few.send(lookback=5 * HOUR, max_rejected=1)
    few.add(hours(100, 200))
    few.send(lookback=5 * HOUR, max_rejected=1)
    few.send(lookback=5 * HOUR, max_rejected=1)
    bad.clear()
    assert few.send(lookback=5 * HOUR)["added"] == 1
    assert few.send(lookback=5 * HOUR)["rows"] == 1
    assert arrived(segment) == [1, 2, 3, 4, 5]


def test_a_run_that_fails(orders: Orders, segment: SegmentServer) -> None:
    """A run that does not go to its end moves no mark, and the next one sends what is left."""
    orders.add(hours(*range(100)))
    orders.send()
    orders.add(hours(*range(100, 300)))
    bad = set(map(str, range(251, 301)))
    segment.refuse(lambda message: message["userId"] in bad)
    with pytest.raises(Exception, match="refused"):
        orders.send()
    orders.add(hours(400))
    bad.clear()
    assert orders.send()["added"] == 51
    assert arrived(segment) == list(range(1, 302))


@pytest.mark.parametrize("cap", [9, 10])
def test_caps(orders: Orders, segment: SegmentServer, cap: int) -> None:
    """A cap counts what the rows from the mark on ask for; broken, nothing is sent and the mark stays."""
    orders.add(hours(*range(100)))
    orders.send(max_calls=100)
    orders.add(hours(*range(100, 110)))
    requests = len(segment.requests)
    if cap == 9:
        for setting in ("max_calls", "max_added"):
            with pytest.raises(Exception, match=f"10; {setting} allows 9: too many"):
                orders.send(**{setting: 9})
        assert len(segment.requests) == requests
    assert orders.send(max_added=10)["added"] == 10
    assert arrived(segment) == list(range(1, 111))


def test_a_dry_run(orders: Orders, segment: SegmentServer) -> None:
    """A dry run reads from the mark on, counts, and moves nothing; before the first run too."""
    orders.add(hours(*range(10)))
    assert orders.send(validate_only=True)["planned"] == {"track:Ordered": {"added": 10, "updated": 0, "deleted": 0}}
    orders.send()
    orders.add(hours(20, 21))
    for _ in range(2):
        report = orders.send(validate_only=True)
        assert (report["rows"], report["not_sent"]) == (3, 2)
    assert orders.send()["added"] == 2
    assert arrived(segment) == list(range(1, 13))


def test_everything_changed(orders: Orders, segment: SegmentServer) -> None:
    """Rows that all change at once, times and totals, are all read again from the mark on."""
    calls = [Track(Constant("Ordered"), "id", properties={"total": "total"}, on_change=["added", "updated"])]
    orders.add(hours(*range(100)))
    orders.send(calls=calls)
    orders.source.run("DELETE FROM orders")
    orders.number = 0
    orders.add(hours(*range(200, 300)), total=2)
    report = orders.send(calls=calls)
    assert (report["rows"], report["updated"]) == (100, 100)
    assert orders.send(calls=calls)["rows"] == 1


# Why all rows are read


def test_a_new_call(orders: Orders, segment: SegmentServer, said: Said) -> None:
    """A call that no run has seen to its end is made of all rows, and the others of none of them again."""
    orders.add(hours(*range(50)))
    orders.send()
    report = orders.send(calls=[ORDERED, SECOND])
    assert "Every row is read: no run has gone to its end with track:Seen" in said()
    assert (report["rows"], report["added"]) == (50, 50)
    assert orders.send(calls=[ORDERED, SECOND])["rows"] == 1
    assert arrived(segment) == arrived(segment, "Seen") == list(range(1, 51))


def test_a_call_that_was_turned_off(few: Orders, segment: SegmentServer) -> None:
    """What a call missed while it was turned off it gets when it is turned on."""
    few.add(hours(*range(5)))
    few.send(calls=[ORDERED, SECOND])
    few.add(hours(*range(5, 10)))
    few.send(calls=[ORDERED, Track(Constant("Seen"), "id", enabled=False)])
    few.add(hours(*range(10, 15)))
    few.send(calls=[ORDERED, SECOND])
    assert arrived(segment) == arrived(segment, "Seen") == list(range(1, 16))


def test_another_column(few: Orders, segment: SegmentServer) -> None:
    """A mark of another column is none, and the state keeps what was sent."""
    few.add(hours(*range(10)))
    few.send()
    report = few.send(cursor="id")
    assert (report["rows"], report["added"]) == (10, 0)
    few.add(hours(1))
    assert few.send(cursor="id")["rows"] == 2
    assert arrived(segment) == list(range(1, 12))


def test_without_the_cursor_in_between(few: Orders, segment: SegmentServer) -> None:
    """A run without the cursor takes its mark away: the next one with it reads all rows and sends none twice."""
    few.add(hours(*range(10)))
    few.send()
    assert few.send(cursor=None)["rows"] == 10
    assert few.send()["rows"] == 10
    assert few.send()["rows"] == 1
    assert arrived(segment) == list(range(1, 11))


def test_another_type(few: Orders, segment: SegmentServer) -> None:
    """A column whose values are of another kind than the mark, or of several, stops the run and says so."""
    few.add(hours(1))
    few.send()
    few.source.run("DELETE FROM orders")
    few.source.run("CREATE TABLE numbers (id INTEGER, total INTEGER, ordered_at)")
    few.source.run("INSERT INTO numbers VALUES (7, 1, NULL), (8, 1, x'00')")
    with pytest.raises(
        Exception, match=r"cursor: column ordered_at, rows from 1 on: found a bytes; expected timestamps"
    ):
        few.send(sql="SELECT * FROM numbers")
    few.source.run("UPDATE numbers SET ordered_at = 1")
    few.source.run("INSERT INTO numbers VALUES (9, 1, 'text')")
    with pytest.raises(Exception, match="found values that cannot be compared"):
        few.send(sql="SELECT * FROM numbers", sync_id="others")
    assert arrived(segment) == [1]


# What is kept


def test_keep_days(orders: Orders, segment: SegmentServer) -> None:
    """The state has the keys of so many days before the mark, those without a time, and no others."""
    for day in range(20):
        orders.add([*hours(*(24 * day + hour for hour in range(5))), *([None] if day == 0 else [])])
        orders.send(keep_days=3, lookback=48 * HOUR)
    with closing(sqlite3.connect(orders.where["state_path"])) as state:
        kept = [key for (key,) in state.execute("SELECT row_key FROM segment_state ORDER BY row_key")]
    assert kept == [6, *range(5 * 16 + 2, 5 * 20 + 2)]
    assert orders.send(keep_days=3, lookback=48 * HOUR)["added"] == 0
    assert arrived(segment) == list(range(1, 102))


def test_keep_days_of_rows_that_move(few: Orders, segment: SegmentServer) -> None:
    """A key whose row comes again with a later time is kept for that one, though nothing of it is sent."""
    few.add(hours(0, 24))
    few.send(keep_days=2)
    few.move(1, START + 24 * 4 * HOUR)
    few.send(keep_days=2)
    few.add(hours(24 * 5))
    few.send(keep_days=2)
    few.move(1, START + 24 * 6 * HOUR)
    assert few.send(keep_days=2)["added"] == 0
    assert arrived(segment) == [1, 2, 3]


@pytest.mark.parametrize("what", ["a new call", "another column", "no cursor", "a longer lookback", "set back"])
def test_what_was_forgotten_is_not_sent_again(few: Orders, segment: SegmentServer, what: str) -> None:
    """A run that would read rows whose keys were forgotten fails before it sends anything; as it was, it goes on."""
    few.add(hours(*range(0, 480, 24)))
    few.send(keep_days=3)
    changed: dict[str, dict[str, Any]] = {
        "a new call": {"calls": [ORDERED, SECOND], "keep_days": 3},
        "another column": {"cursor": "id"},
        "no cursor": {"cursor": None},
        "a longer lookback": {"keep_days": 9, "lookback": 5 * 24 * HOUR},
    }
    set_back = partial(SegmentHook().reset, "orders", cursor=str(START), state_path=few.where["state_path"])
    again = set_back if what == "set back" else partial(few.send, **changed[what])
    with pytest.raises(Exception, match="keep_days: keys of old rows were forgotten"):
        again()
    few.add(hours(500))
    assert few.send(keep_days=3)["added"] == 1
    assert arrived(segment) == list(range(1, 22))
    assert segment.duplicates == []


@pytest.mark.parametrize("junk", ["unknown", "9999-99-99"])
def test_a_text_that_is_no_time(few: Orders, segment: SegmentServer, junk: str) -> None:
    """Among times that are written as text another text, which might sort after all of them, stops the run."""
    few.add(hours(1, 2))
    few.source.run(f"INSERT INTO orders VALUES (9, 1, '{junk}')")  # noqa: S608
    with pytest.raises(Exception, match="found text and timestamp as text; expected one kind"):
        few.send()
    assert segment.requests == []


# Settings

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "all": ({"sync_mode": "all", "state_path": None}, "cursor: is for sync_mode='changes'"),
    "deleted": (
        {"calls": [Track(Constant("Left"), "id", on_change="deleted")]},
        "cursor: track:Left is on 'deleted', and of rows that are not read nobody knows whether they are gone",
    ),
    "a warehouse": ({"warehouse_schema": "main"}, "cursor, warehouse_schema: expected one of the two"),
    "lookback alone": ({"cursor": None, "lookback": 5}, "lookback: is for a cursor"),
    "keep_days alone": ({"cursor": None, "keep_days": 5}, "keep_days: is for a cursor"),
    "a lookback below 0": ({"lookback": -1}, "lookback: expected seconds from 0 on, or a timedelta; found -1"),
    "a longer lookback": ({"lookback": 90_000, "keep_days": 1}, "keep_days: expected at least the lookback"),
    "keep_days 0": ({"keep_days": 0}, "keep_days: expected a whole number above 0, found 0"),
    "no name": ({"cursor": ""}, "cursor: expected text, found ''"),
}


@pytest.mark.parametrize(("changed", "text"), BAD.values(), ids=BAD)
def test_when_the_dag_is_parsed(few: Orders, changed: dict[str, Any], text: str) -> None:
    """What cannot be fails when the DAG is parsed."""
    with pytest.raises(ValueError, match=re.escape(text)):
        SqlToSegmentOperator(task_id="sync", **few.settings(**changed))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such column": ({"cursor": "at"}, "cursor names the column 'at', which the query does not return"),
    "a query that changes": (
        {"sql": "DELETE FROM orders RETURNING id, total, ordered_at"},
        "sql: with a cursor expected a SELECT that changes nothing",
    ),
    "a limit": (
        {"sql": "SELECT * FROM orders ORDER BY ordered_at LIMIT 4"},
        "sql: with a cursor expected a query without LIMIT",
    ),
    "fractions": (
        {"sql": "SELECT id, total, id + 0.5 AS at FROM orders", "cursor": "at"},
        "found a float; expected timestamps, dates, whole numbers or texts that sort",
    ),
    "a timedelta of numbers": (
        {"cursor": "id", "lookback": HOUR},
        "lookback: expected a column of timestamps or dates",
    ),
    "days of numbers": ({"cursor": "id", "keep_days": 2}, "keep_days: expected a cursor of timestamps or dates"),
    "a name with signs": ({"sql": 'SELECT id, id AS "a%", total FROM orders', "cursor": "a%"}, "rename it with AS"),
}


@pytest.mark.parametrize(("changed", "text"), WRONG.values(), ids=WRONG)
def test_before_the_first_request(few: Orders, segment: SegmentServer, changed: dict[str, Any], text: str) -> None:
    """What only the rows show fails before anything is sent."""
    few.add(hours(1, 2))
    with pytest.raises(Exception, match=re.escape(text)):
        few.send(**changed)
    assert segment.requests == []


def test_rows_of_python(segment: SegmentServer, tmp_path: Path) -> None:
    """hook.sync has the rows already, so that there is no query to run from a mark on."""
    with pytest.raises(Exception, match="cursor: is for SqlToSegmentOperator"):
        SegmentHook().sync(
            [{"id": 1, "at": START}], SECOND, key="id", sync_mode="changes", state_path=str(tmp_path / "s"), cursor="at"
        )


# Set back


def test_reset_sets_the_mark_back(orders: Orders, segment: SegmentServer) -> None:
    """Rows before the mark are read again after it was set back; what is known is not sent twice."""
    orders.add(hours(*range(100)))
    orders.send()
    late = orders.add(hours(50.5))
    assert orders.send()["added"] == 0
    where = {"state_path": orders.where["state_path"]}
    back = START + 50 * HOUR
    assert SegmentHook().reset("orders", cursor=str(back) if orders.source.kind == "sqlite" else back, **where) == 0
    report = orders.send()
    assert (report["rows"], report["added"]) == (51, 1)
    assert arrived(segment) == [*range(1, 101), *late]
    with pytest.raises(Exception, match="cursor: the mark can only be set back"):
        SegmentHook().reset(
            "orders", cursor="2099-01-01" if orders.source.kind == "sqlite" else START + 999 * HOUR, **where
        )
    with pytest.raises(Exception, match="cursor: expected a"):
        SegmentHook().reset("orders", cursor=5, **where)


def test_reset_of_keys(few: Orders, segment: SegmentServer, said: Said) -> None:
    """Keys before the mark that are made due are only read when the mark is set back, and the log says so."""
    few.add(hours(*range(10)))
    few.send()
    where = {"state_path": few.where["state_path"]}
    assert SegmentHook().reset("orders", keys=[3], **where) == 1
    assert "give cursor, to set it back" in said()
    assert few.send()["accepted"] == 0
    assert SegmentHook().reset("orders", keys=[3], cursor=str(START), **where) == 1
    assert few.send()["accepted"] == 1
    assert SegmentHook().reset("orders", **where) == 10
    assert few.send()["accepted"] == 10


# Kills


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_kills(
    kind: str, request: pytest.FixtureRequest, segment: SegmentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed 20 times anywhere, with the state in SQLite or PostgreSQL, the sync ends with each row once."""
    chance = random.Random(7)  # noqa: S311  the same points each time
    path = tmp_path / "s.db"
    state: dict[str, Any] = {"state_path": str(path)}
    if kind == "postgres":
        house = made_source("postgres", request, tmp_path, monkeypatch)
        state = {"state_conn_id": "postgres"}

    def expire() -> None:
        """Let the lease of the killed run run out, as after a minute."""
        if kind == "postgres":
            with suppress(UndefinedTable):  # it died before it made the tables
                house.run("UPDATE segment_sync SET token = NULL, expires = 0")
        elif path.exists():
            with closing(sqlite3.connect(path)) as database, database, suppress(sqlite3.OperationalError):
                database.execute("UPDATE segment_sync SET token = NULL, expires = 0")

    orders = Orders(made_source("sqlite", request, tmp_path, monkeypatch), state)
    time, deaths = 0.0, 0
    while deaths < 20:
        time += 1 + chance.random() * 10
        orders.add(hours(*(time - chance.random() * 3 for _ in range(chance.randrange(5, 60)))))
        orders.add([None] * chance.randrange(2))
        deaths += killed(orders, after=chance.random() * 0.15)
        expire()
        if chance.random() < 0.5:
            orders.send(lookback=3 * HOUR)
    orders.send(lookback=3 * HOUR)
    with closing(sqlite3.connect(tmp_path / "source.sqlite")) as table:
        expected = sorted(n for (n,) in table.execute("SELECT id FROM orders"))
        (nulls,) = table.execute("SELECT count(*) FROM orders WHERE ordered_at IS NULL").fetchone()
    ids = {message["messageId"]: int(message["userId"]) for message in segment.messages}
    assert sorted(ids.values()) == expected
    assert orders.send()["rows"] == nulls + 1


def killed(orders: Orders, after: float) -> bool:
    """Run the sync in a process of its own, which is killed so many seconds after it has begun; tell whether it was."""
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends a process at once, as a kill does
        signal.setitimer(signal.ITIMER_REAL, after)
        with suppress(BaseException):
            orders.send(lookback=3 * HOUR, fetch_size=10, max_in_flight=1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGALRM)
    return status != 0
