"""Values and keys of every type: whatever the filter, Segment gets what changed, and the rest is passed over."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from column_values import KEYS, STRANGE, TYPES, VALUES
from filtered import DATABASES, Source, Sync, kinds, made_source

from airflow_provider_segment.calls import AllColumns, Constant, Identify, Track
from airflow_provider_segment.core.changes.prefilter.store import FilterStore
from airflow_provider_segment.testing import SegmentServer

WAREHOUSES = [f"warehouse {database}" for database in DATABASES]
# What the filter on the client gets from drivers.
CLIENTS = [f"client {database}" for database in ("postgres", "duckdb", "sqlite")]
# Types of PostgreSQL whose values the filter on the client does not know.
UNKNOWN = {"int4range"}
NUMBERED = [Identify("n", traits=["x"]), Track(Constant("Left"), "n", on_change="deleted")]


@pytest.fixture
def sync(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sync:
    """A sync of a database, with a kind of filter."""
    how, database = request.param.split()
    return Sync(made_source(database, request, tmp_path, monkeypatch), how, tmp_path / "state.db")


class Sent(NamedTuple):
    """What Segment got by a run: the users that it identified, and those that left."""

    told: set[int]
    left: set[int]
    report: dict[str, Any]


def sent(segment: SegmentServer, sync: Sync, **settings: Any) -> Sent:
    """Run a sync, and return what Segment got."""
    segment.reset()
    report = sync.send(timezone="UTC", **settings)
    ids = {kind: {int(m["userId"]) for m in segment.messages if m["type"] == kind} for kind in ("identify", "track")}
    return Sent(ids["identify"], ids["track"], report)


class Pair(NamedTuple):
    """A row whose one column has a value on the first day and another one on the second."""

    column: int
    kind: str
    values: tuple[str, str]
    same: bool
    refused: tuple[bool, bool]


def pairs_of(kind: str) -> list[Pair]:
    """All pairs of values of each type."""
    found = []
    for place, (type_name, groups) in enumerate(VALUES[kind].items()):
        flat = [(group, value) for group, values in enumerate(groups) for value in values]
        for first, a in flat:
            for second, b in flat:
                refused = a.startswith("!"), b.startswith("!")
                found.append(Pair(place, type_name, (a.strip("!"), b.strip("!")), first == second, refused))
    return found


def fill_with(pairs: list[Pair], source: Source) -> None:
    """Make a table that has the values of both days, in a column of each type for each day."""
    for statement in TYPES.get(source.kind, ()):
        source.run(statement)
    types = VALUES[source.kind]
    columns = ", ".join(f"a{place} {name}, b{place} {name}" for place, name in enumerate(types))
    source.run(f"CREATE TABLE users (id INTEGER, {columns})")
    for place, name in enumerate(types):
        cast = "CAST({} AS {})" if source.kind == "postgres" else "{}"
        rows = [
            f"({number}, {', '.join(cast.format(value, name) for value in pair.values)})"
            for number, pair in enumerate(pairs)
            if pair.column == place
        ]
        source.run(f"INSERT INTO users (id, a{place}, b{place}) VALUES {', '.join(rows)}")  # noqa: S608


@pytest.mark.parametrize("sync", [*WAREHOUSES, *CLIENTS], indirect=True)
def test_each_value_that_becomes_another_is_one_call(segment: SegmentServer, sync: Sync) -> None:
    """Of each type each value becomes each other: a call where it says another thing, none where not; then it rests."""
    pairs = pairs_of(sync.source.kind)
    fill_with(pairs, sync.source)
    places = range(len(VALUES[sync.source.kind]))

    def run(day: int) -> Sent:
        columns = ", ".join(f"{'ab'[day]}{place} AS c{place}" for place in places)
        sql = f"SELECT id, {columns} FROM users ORDER BY id"  # noqa: S608
        done = sent(segment, sync, sql=sql, calls=Identify("id", traits=AllColumns()), max_rejected=len(pairs))
        rows = [pair for pair in pairs if not pair.refused[day]]
        unknown = [pair for pair in rows if pair.kind in UNKNOWN and pair.values[day] != "NULL"]
        settled[:] = [len(rows) - (len(unknown) if sync.how == "client" else 0)]
        return done

    def named(numbers: Iterable[int]) -> list[Any]:
        return [(pairs[number].kind, *pairs[number].values) for number in sorted(numbers)]

    settled: list[int] = []
    assert named(run(0).told) == named(n for n, pair in enumerate(pairs) if not pair.refused[0])
    for day in (1, 0):
        due = [n for n, pair in enumerate(pairs) if not pair.same and not pair.refused[day]]
        if day == 0:  # Segment has still what a row said before it was refused
            due = [n for n in due if not pairs[n].refused[1]]
        assert named(run(day).told) == named(due)
        # Where nearly all rows of an order changed, the filter on the client takes one more run to find them again.
        for _ in range(2 if sync.how == "client" else 1):
            done = run(day)
            assert named(done.told) == []
        assert done.report["skipped"] == settled[0]


@pytest.mark.parametrize("sync", WAREHOUSES, indirect=True)
def test_keys_of_each_type_are_told_apart(segment: SegmentServer, sync: Sync) -> None:
    """A key of any type is passed over, changed, gone and back as itself; so it is as a column of a key of several."""
    types = KEYS[sync.source.kind]
    for statement in TYPES.get(sync.source.kind, ()):
        sync.source.run(statement)
    columns = [f"k{place}" for place in range(len(types))]
    sync.source.run(
        f"CREATE TABLE users ({', '.join(map(' '.join, zip(columns, types, strict=True)))}, n INTEGER, x INTEGER)"
    )
    firsts = [values[0] for values in types.values()]
    rows = [firsts]
    for place, values in enumerate(types.values()):
        rows += [[*firsts[:place], value, *firsts[place + 1 :]] for value in values[1:]]
    live_through(segment, sync, [", ".join(row) for row in rows], columns)


@pytest.mark.parametrize("sync", [*WAREHOUSES, "client sqlite", "none sqlite"], indirect=True)
def test_keys_of_every_kind_of_text_are_told_apart(segment: SegmentServer, sync: Sync) -> None:
    """Keys that differ in case, spaces or accents only, quotes, backslashes, line ends, other scripts and long ones."""
    kind = sync.source.kind
    text = "VARCHAR(750) COLLATE utf8mb4_general_ci" if kind == "mariadb" else sync.source.text
    sync.source.run(f"CREATE TABLE users (k {text}, n INTEGER, x INTEGER)")
    keys = ["'" + key.replace("'", "''") + "'" for key in STRANGE]
    if kind == "mariadb":
        keys = [key.replace("\\", "\\\\") for key in keys]
    nul = {"mariadb": "CHAR(0)", "duckdb": "chr(0)", "sqlite": "char(0)"}.get(kind)
    if nul:  # PostgreSQL has no such character
        joined = "CONCAT('a', {}, 'b')" if kind == "mariadb" else "'a' || {} || 'b'"
        keys += [joined.format(nul)]
    live_through(segment, sync, keys, ["k"])


def live_through(segment: SegmentServer, sync: Sync, keys: list[str], names: list[str]) -> None:
    """Let every other row change while the rest goes, then the rest come back while those go; each is one call."""

    def run(told: Iterable[int], left: Iterable[int]) -> None:
        done = sent(segment, sync, sql=f"SELECT {columns}, n, x FROM users", key=names, calls=NUMBERED)  # noqa: S608
        assert [keys[n] for n in sorted(done.told)] == [keys[n] for n in told]
        assert [keys[n] for n in sorted(done.left)] == [keys[n] for n in left]
        if not told and not left and sync.how != "none":
            assert done.report["skipped"] == done.report["rows"]

    def insert(numbers: Iterable[int]) -> None:
        sync.source.run(f"INSERT INTO users VALUES {', '.join(f'({keys[n]}, {n}, 0)' for n in numbers)}")  # noqa: S608

    columns = ", ".join(names)
    odd, even = range(1, len(keys), 2), range(0, len(keys), 2)
    insert(range(len(keys)))
    run(range(len(keys)), ())
    run((), ())
    sync.source.run("UPDATE users SET x = 1 WHERE n % 2 = 1")
    sync.source.run("DELETE FROM users WHERE n % 2 = 0")
    run(odd, even)
    run((), ())
    insert(even)
    sync.source.run("DELETE FROM users WHERE n % 2 = 1")
    run(even, odd)
    run((), ())


@pytest.mark.parametrize("sync", [*WAREHOUSES, "client sqlite", "none sqlite"], indirect=True)
def test_a_key_with_a_null_is_refused_until_it_is_whole(segment: SegmentServer, sync: Sync) -> None:
    """A row is refused in each run while a column of its key is null; filled, it is new; nothing else seems gone."""
    sync.source.run("CREATE TABLE users (a INTEGER, b VARCHAR(9), n INTEGER, x INTEGER)")
    sync.source.run(
        "INSERT INTO users VALUES (1, 'p', 1, 0), (1, NULL, 2, 0), (NULL, 'p', 3, 0), (NULL, NULL, 4, 0), (2, '', 5, 0)"
    )
    common = {"key": ["a", "b"], "calls": NUMBERED, "max_rejected": 6}
    for told in ({1, 5}, set(), set()):
        done = sent(segment, sync, **common)
        assert (done.told, done.left, done.report["invalid"]) == (told, set(), 6)
    assert sync.how == "none" or done.report["skipped"] == 2
    sync.source.run("UPDATE users SET b = 'q' WHERE n = 2")
    sync.source.run("UPDATE users SET a = NULL WHERE n = 5")
    done = sent(segment, sync, **common)
    assert (done.told, done.left) == ({2}, {5})
    sync.source.run("DELETE FROM users WHERE a IS NULL OR b IS NULL")
    done = sent(segment, sync, **common)
    assert (done.told, done.left, done.report["invalid"]) == (set(), set(), 0)


@pytest.mark.parametrize("sync", [*WAREHOUSES, "client sqlite", "none sqlite"], indirect=True)
def test_refused_keys_go_and_come_and_are_mended(segment: SegmentServer, sync: Sync) -> None:
    """A key is told as gone once, refused or not, whatever became of its last change; mended, or back, it is sent."""
    table = sync.source
    table.fill([(1, "a"), (2, "bad"), (3, "bad"), (4, "a"), (5, "a"), (6, "a")])
    segment.refuse(lambda message: message.get("traits", {}).get("email") == "bad")

    def run(told: set[int], left: set[int]) -> None:
        done = sent(segment, sync, max_rejected=9)
        accepted = {
            int(m["userId"])
            for m in segment.messages
            if m.get("traits", {}).get("email") != "bad" and m["type"] == "identify"
        }
        assert (accepted, done.left) == (told, left)

    run({1, 4, 5, 6}, set())
    table.run("DELETE FROM users WHERE id IN (2, 6)")
    table.run("UPDATE users SET email = 'bad' WHERE id IN (4, 5)")
    run(set(), {2, 6})
    table.run("DELETE FROM users WHERE id = 4")  # gone while its last change is refused
    table.run("UPDATE users SET email = 'mended' WHERE id = 3")
    run({3}, {4})
    table.run("UPDATE users SET email = 'a' WHERE id = 5")  # another one was posted since
    table.insert([(2, "a"), (4, "a"), (6, "bad")])
    run({2, 4, 5}, set())
    table.run("DELETE FROM users WHERE id = 6")  # gone before it was accepted again
    run(set(), {6})
    assert kinds(sync.send()) == (0, 0, 0)


def test_the_filters_take_turns(
    segment: SegmentServer, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run by the client between two in the warehouse costs full reads, and no call is lost or made twice."""
    source = made_source("postgres", request, tmp_path, monkeypatch)
    source.fill([(n, "a") for n in range(30)])
    syncs = {how: Sync(source, how, tmp_path / "state.db", "users") for how in ("warehouse", "client")}
    assert sent(segment, syncs["warehouse"]).told == {*range(30)}
    for turn, how in enumerate(["client", "warehouse", "client", "client", "warehouse", "warehouse"]):
        source.run(f"UPDATE users SET email = 'b' WHERE id = {turn}")  # noqa: S608
        source.run(f"DELETE FROM users WHERE id = {turn + 20}")  # noqa: S608
        done = sent(segment, syncs[how])
        assert (done.told, done.left) == ({turn}, {turn + 20})
        assert done.report["skipped"] == ((28 - turn) if turn in (3, 5) else 0)


@pytest.mark.parametrize("step", ["keep_pages", "forget_pages", "keep_record"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("sync", ["client sqlite"], indirect=True)
def test_a_kill_while_the_filter_on_the_client_is_written(
    segment: SegmentServer, sync: Sync, step: str, when: str
) -> None:
    """What was acknowledged is not sent again; a filter that is half written is not used, and made anew."""
    sync.source.fill([(n, "a") for n in range(200)])
    sync.send()
    sync.source.run("UPDATE users SET email = 'b' WHERE id % 10 = 0")
    sync.source.run("DELETE FROM users WHERE id = 7")
    if (child := os.fork()) == 0:
        write = getattr(FilterStore, step)

        def dying(self: FilterStore, *asked: Any) -> None:
            if when == "after":
                write(self, *asked)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(FilterStore, step, dying)  # of this process, which ends here
        with suppress(BaseException):
            sync.send()
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert (len([m for m in segment.messages if m["type"] == "track"]), len(segment.messages)) == (1, 221)
    sync.state("UPDATE segment_sync SET token = NULL, expires = 0")  # as after a minute
    sync.source.run("UPDATE users SET email = 'c' WHERE id = 11")
    done = sent(segment, sync)
    assert (done.told, done.left) == ({11}, set())
    done = sent(segment, sync)
    assert (done.told, done.left, done.report["skipped"]) == (set(), set(), 199)


@pytest.mark.parametrize("sync", ["warehouse postgres", "client postgres"], indirect=True)
def test_the_sessions_time_zone(segment: SegmentServer, sync: Sync) -> None:
    """What the query says in the session's zone is sent as without a filter; points in time are the same in all."""
    sync.source.run("CREATE TABLE users AS SELECT 1 AS id, '2026-01-01 02:00+00'::timestamptz AS at")
    berlin, new_york = ({"options": f"-c TimeZone={zone}"} for zone in ("Europe/Berlin", "America/New_York"))
    sql = "SELECT id, at, ARRAY[at] AS more FROM users"
    calls = Identify("id", traits=AllColumns())
    assert sent(segment, sync, sql=sql, calls=calls, sql_hook_params=berlin).told == {1}
    assert sent(segment, sync, sql=sql, calls=calls, sql_hook_params=new_york).told == set()
    sql = "SELECT id, at::date AS day, at::text AS text FROM users"
    for hook_params, text in ((berlin, "2026-01-01 03:00:00+01"), (new_york, "2025-12-31 21:00:00-05")):
        assert sent(segment, sync, sql=sql, calls=calls, sql_hook_params=hook_params).told == {1}
        assert segment.messages[0]["traits"] == {"day": text[:10], "text": text}


@pytest.mark.parametrize("sync", ["warehouse postgres", "client postgres"], indirect=True)
def test_a_field_of_a_composite_that_is_renamed(segment: SegmentServer, sync: Sync) -> None:
    """Its values stay and its names do not, at any depth: it is a change, in arrays too."""
    sync.source.run("CREATE TYPE inner_thing AS (a int)")
    sync.source.run("CREATE TYPE thing AS (b inner_thing)")
    sync.source.run("CREATE TABLE users AS SELECT 1 AS id, ROW(ROW(1))::thing AS one")
    calls = Identify("id", traits=AllColumns(exclude=["id"]))
    for sql in ("SELECT id, one FROM users", "SELECT id, ARRAY[one] AS one FROM users"):
        sent(segment, sync, sql=sql, calls=calls)
        for renamed in ("thing RENAME ATTRIBUTE b TO c", "inner_thing RENAME ATTRIBUTE a TO z"):
            sync.source.run(f"ALTER TYPE {renamed}")
            assert sent(segment, sync, sql=sql, calls=calls).told == {1}, renamed
        sync.source.run("ALTER TYPE thing RENAME ATTRIBUTE c TO b")
        sync.source.run("ALTER TYPE inner_thing RENAME ATTRIBUTE z TO a")
