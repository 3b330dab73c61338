"""`sync_mode="changes"` in a DAG: the same on every database that can hold a state; its guards and its lease."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import sqlalchemy as sa
from airflow.providers.common.compat.sdk import BaseHook
from runs import RunDag, Shards, new_dag
from warehouses import PostgresWarehouse, SqliteWarehouse

from airflow_provider_segment.calls import AllColumns, Constant, Identify, Track
from airflow_provider_segment.core.changes.entries import Entry
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.selection import Selection
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.errors import LeaseError
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

USERS = Identify("id", traits=["email"])
LEFT = Track(Constant("Left"), "id", on_change="deleted")
WAY = (
    "sync_id: mapped tasks with sync_mode='changes' share one state; give each shard its own: "
    ".partial(...).expand_kwargs([{'parameters': ..., 'sync_id': 'users-eu'}, ...])"
)


def settings_of(**changed: Any) -> dict[str, Any]:
    """An operator's settings, with some changed."""
    settings = {"task_id": "sync", "sql": "SELECT * FROM users", "sql_conn_id": "warehouse", "calls": [USERS, LEFT]}
    return {**settings, "sync_id": "users", "sync_mode": "changes", "key": "id", "fetch_size": 50} | changed


def send(where: dict[str, str], **changed: Any) -> dict[str, Any]:
    """Run the operator, and return its report."""
    return SqlToSegmentOperator(**settings_of(**where, **changed)).execute({})


def kinds(report: dict[str, Any]) -> tuple[int, int, int]:
    assert report["calls"] == sum(report[n] for n in ("unchanged", "invalid", "accepted", "rejected", "not_sent"))
    return report["added"], report["updated"], report["deleted"]


def fill(warehouse: SqliteWarehouse, count: int) -> None:
    """Make a table of users with the ids 1, 2 ..."""
    warehouse.run("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, seen INTEGER)")
    warehouse.insert("users", [(n, f"user{n}@example.com", 0) for n in range(1, count + 1)])


STATES = ["file", "sqlite", "postgres", "postgres schema", "mariadb"]


@pytest.fixture(params=STATES)
def where(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The settings of a place for the state, which is empty."""
    kind = request.param
    if kind == "file":
        return {"state_path": str(tmp_path / "new" / "state.db")}
    if kind == "sqlite":
        monkeypatch.setenv("AIRFLOW_CONN_STATE", SqliteWarehouse(tmp_path / "behind.db").connection)
        return {"state_conn_id": "state"}
    if kind == "mariadb":
        request.getfixturevalue("mariadb")
        return {"state_conn_id": "mariadb"}
    house: PostgresWarehouse = request.getfixturevalue("postgres")
    if kind == "postgres":
        return {"state_conn_id": "postgres"}
    house.run('CREATE SCHEMA "Segments State"'.replace("'", ""))
    return {"state_conn_id": "postgres", "state_schema": "Segments State"}


def url_of(where: dict[str, str]) -> str:
    """The SQLAlchemy URL of a place."""
    if "state_path" in where:
        Path(where["state_path"]).parent.mkdir(exist_ok=True)
        return f"sqlite:///{where['state_path']}"
    url = BaseHook.get_connection(where["state_conn_id"]).get_hook().get_sqlalchemy_engine().url
    if url.drivername.startswith("postgresql"):  # the socket's folder as a host is no part of a URL that is read again
        query = {"host": unquote(str(url.host or url.query["host"]))}
        url = sa.engine.URL.create(url.drivername, url.username, database=url.database, query=query)
    return url.render_as_string(hide_password=False)


def plain(row: Any) -> str:
    """Return a row's text; psycopg2 gives bytes as a view, whose own text is its address."""
    return repr(tuple(bytes(value) if isinstance(value, memoryview) else value for value in row))


def tables_of(where: dict[str, str]) -> dict[str, list[Any]]:
    """All that the tables of a state hold, by their names, without the times of the lease; no state is made to look."""
    if "state_path" in where and not Path(where["state_path"]).exists():
        return {}
    engine = sa.create_engine(url_of(where), poolclass=sa.pool.NullPool)
    schema = where.get("state_schema")
    names = [name for name in sa.inspect(engine).get_table_names(schema) if name.startswith("segment_")]
    quoted = [(name, engine.dialect.identifier_preparer.format_table(sa.table(name, schema=schema))) for name in names]
    with engine.connect() as connection:
        return {
            name: sorted(map(plain, connection.execute(sa.text(f"SELECT * FROM {table}"))))  # noqa: S608
            for name, table in quoted
        }


def make_old(where: dict[str, str]) -> None:
    """Take out of a state's tables what those of the first version did not have."""
    engine = sa.create_engine(url_of(where), poolclass=sa.pool.NullPool)
    quote = engine.dialect.identifier_preparer.format_table
    names = ("segment_state", "segment_sample", "segment_run", "segment_known", "segment_filter", "segment_arrival")
    state, *younger = (quote(sa.table(name, schema=where.get("state_schema"))) for name in names)
    with engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {state} DROP COLUMN meaning"))
        for table in younger:
            connection.execute(sa.text(f"DROP TABLE {table}"))


def planned(added: int = 0, updated: int = 0, deleted: int = 0) -> dict[str, int]:
    return {"added": added, "updated": updated, "deleted": deleted}


class TestEveryDatabase:
    """What is promised holds on SQLite, PostgreSQL and MariaDB."""

    def test_the_life_of_a_table(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, where: dict[str, str]
    ) -> None:
        """All, nothing, k changes, a crash, a way back, resets of some keys and of all: each sends what it should."""
        fill(warehouse, 200)
        assert kinds(send(where)) == (200, 0, 0)
        requests = len(segment.requests)
        assert send(where)["skipped"] == 200
        warehouse.run("UPDATE users SET seen = 1")
        assert send(where)["skipped"] == 200
        assert len(segment.requests) == requests
        warehouse.run("UPDATE users SET email = 'a@b.c' WHERE id <= 7; DELETE FROM users WHERE id > 197")
        warehouse.insert("users", [(n, "new@b.c", 0) for n in range(-2, 1)])
        assert kinds(send(where)) == (3, 7, 3)
        warehouse.run("UPDATE users SET email = 'b@b.c' WHERE id = 1")
        segment.respond_with(["reset_after"])
        assert kinds(send(where)) == (0, 1, 0)  # its try again is a repeat, which Segment removes
        assert len(segment.duplicates) == 1
        segment.reset()
        warehouse.run("UPDATE users SET email = 'a@b.c' WHERE id = 1")
        assert kinds(send(where)) == (0, 1, 0)
        hook = SegmentHook()
        assert hook.reset("users", [2, 3, 999], **where) == 4  # of two calls
        assert send(where)["accepted"] == 2
        assert hook.reset("users", **where) == 2 * 203  # the keys of two calls, gone ones included
        assert kinds(send(where)) == (200, 0, 0)
        ids = [m["messageId"] for m in segment.messages]
        assert len(ids) == len(set(ids)) == 203
        assert segment.duplicates == []

    def test_keys_of_texts_and_of_two_columns(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, where: dict[str, str]
    ) -> None:
        """Texts of any script, and keys of two columns, are told apart, found again, and sent when they are gone."""
        warehouse.run("CREATE TABLE users (id TEXT, email TEXT)")
        rows = [(a, b) for a in ("ä", "Ä", "a", "a ", "👍", "x" * 200) for b in ("1", "2")]
        warehouse.insert("users", rows)
        assert kinds(send(where, key=["id", "email"], calls=[USERS, LEFT], sync_id="ü" * 100)) == (12, 0, 0)
        warehouse.run("DELETE FROM users WHERE id = 'Ä'")
        assert kinds(send(where, key=["id", "email"], calls=[USERS, LEFT], sync_id="ü" * 100)) == (0, 0, 2)
        assert [m["userId"] for m in segment.messages if m["type"] == "track"] == ["Ä", "Ä"]
        assert send(where, key=["id", "email"], sync_id="Ü" * 100)["added"] == 10

    @pytest.mark.parametrize("kind", ["REAL", "TEXT"])
    def test_a_key_column_that_changes_its_type(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, where: dict[str, str], kind: str
    ) -> None:
        """Integers that become floats, or text, are the same keys: nothing is sent; then what has changed is."""
        fill(warehouse, 120)
        assert kinds(send(where)) == (120, 0, 0)
        warehouse.run(f"ALTER TABLE users RENAME TO old; CREATE TABLE users (id {kind}, email TEXT, seen INTEGER)")
        warehouse.run("INSERT INTO users SELECT * FROM old")
        assert kinds(send(where)) == (0, 0, 0)
        warehouse.run("UPDATE users SET email = 'a@b.c'; DELETE FROM users WHERE CAST(id AS INTEGER) > 110")
        assert kinds(send(where)) == (0, 110, 10)
        assert kinds(send(where)) == (0, 0, 0)
        assert SegmentHook().reset("users", [1, "2", 3.0], **where) == 6  # of two calls
        assert kinds(send(where)) == (3, 0, 0)
        assert segment.duplicates == []

    def test_tables_of_before(self, segment: SegmentServer, warehouse: SqliteWarehouse, where: dict[str, str]) -> None:
        """Tables that an older version made get what is new in them, and their state keeps its meaning."""
        fill(warehouse, 120)
        send(where)
        make_old(where)
        before = tables_of(where)
        dry = send(where, validate_only=True)
        assert (kinds(dry), dry["unchanged"]) == ((0, 0, 0), 240)
        assert tables_of(where) == before
        assert kinds(send(where)) == (0, 0, 0)
        assert "segment_sample" in tables_of(where)
        warehouse.run("UPDATE users SET email = 'a@b.c' WHERE id > 20; DELETE FROM users WHERE id > 110")
        assert kinds(send(where)) == (0, 90, 10)

    def test_a_dry_run(self, segment: SegmentServer, warehouse: SqliteWarehouse, where: dict[str, str]) -> None:
        """It tells what a run would send, by call and kind, whatever the state; it makes no state and changes none."""
        fill(warehouse, 120)
        first = send(where, validate_only=True)
        assert first["planned"] == {"identify": planned(added=120), "track:Left": planned()}
        assert tables_of(where) == {}
        send(where)
        before = tables_of(where)
        warehouse.run("UPDATE users SET email = 'a@b.c' WHERE id <= 7; DELETE FROM users WHERE id > 110")
        warehouse.insert("users", [(n, "new@b.c", 0) for n in range(-2, 1)])
        sent = len(segment.messages)
        dry = send(where, validate_only=True)
        assert (tables_of(where), len(segment.messages)) == (before, sent)
        assert dry["planned"] == {"identify": planned(added=3, updated=7), "track:Left": planned(deleted=10)}
        assert (kinds(dry), dry["accepted"], dry["not_sent"]) == ((3, 7, 10), 0, 20)
        real = send(where)
        assert (real["planned"], kinds(real), real["accepted"]) == (dry["planned"], (3, 7, 10), 20)

    def test_a_state_of_another_source(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, where: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another write key is refused with a way out, and that way works."""
        fill(warehouse, 3)
        send(where)
        other = json.loads(segment.connection) | {"password": "another-key-00000000000000000000"}
        monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(other))
        with pytest.raises(Exception, match=r"another write key.*or start over with SegmentHook\.reset"):
            send(where)
        assert SegmentHook().reset("users", **where) == 6
        assert send(where)["added"] == 3

    def test_two_first_runs_at_once(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, where: dict[str, str]
    ) -> None:
        """Shards that start together on a database without tables do not get into each other's way."""
        fill(warehouse, 5)
        url, schema, start, failed = url_of(where), where.get("state_schema"), threading.Barrier(6), []

        def shard(number: int) -> None:
            engine = sa.create_engine(url)
            start.wait()
            try:
                State(engine, f"shard {number}", "key", Holder(run_id="me"), schema=schema).close()
            except Exception as error:  # noqa: BLE001  whatever it is, the test says it
                failed.append(error)
            engine.dispose()

        threads = [threading.Thread(target=shard, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert send(where)["added"] == 5

    def test_killed_holder_and_lease(self, where: dict[str, str]) -> None:
        """A lease is waited for, for one expiry; a killed holder's is free then; its own later try does not wait."""
        url, schema = url_of(where), where.get("state_schema")
        with subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", HOLDER, url, schema or "", "2"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                assert child.stdout is not None
                assert child.stdout.readline() == "held\n"
                with pytest.raises(LeaseError, match="another run is writing its state; they must not run at once"):
                    take(url, schema, "other", 0)
                child.kill()
                child.wait()
                began = time.monotonic()
                take(url, schema, "other", 2).close()
                assert time.monotonic() - began < 10
            finally:
                child.kill()
        with closing(take(url, schema, "first", 60)) as first, closing(first_again(url, schema)) as again:
            number, _ = again.call("identify")
            with pytest.raises(LeaseError, match="another run has taken over its state; this one writes no more"):
                first.save([Entry(number, 1, 5, 1, 1)])
            assert again.known(number, [1]) == {}
            again.save([Entry(number, 1, 6, 1, 2)])
            with pytest.raises(LeaseError):
                first.make_due(Selection())
            with pytest.raises(LeaseError):
                first.forget()
            assert again.known(number, [1])[1][1:4] == (6, 1, 2)

    def test_entries_that_differ_in_key_and_content_alone(self, where: dict[str, str]) -> None:
        """Many at once are kept as they are, to the ends of 64 bits, beside others, also when they are saved again."""
        with closing(take(url_of(where), where.get("state_schema"), "first", 60)) as state:
            number, _ = state.call("identify")
            ends = [-(2**63), -(2**63) + 1, -1, 0, 1, 2**63 - 2, 2**63 - 1]
            keys = [*ends, *range(1_000, 1_150), *(n * 2**40 - 7 for n in range(-75, 75))]
            for sent, contents in ((1, ends), (2, ends[::-1])):
                alike = [
                    Entry(number, key, contents[place % len(ends)], sent, 3, 0, None, 0)
                    for place, key in enumerate(keys)
                ]
                others = [
                    Entry(number, 10_000 + n, n, sent + n % 3, n, n % 3, ids, None if n % 2 else n - 5)
                    for n, ids in enumerate([None, "", '{"a\\\\": "\\u00e4\\""}', "x"] * 3)
                ]
                state.save([*others, *alike])
                wanted = {one.key: (*one[1:6], one.meaning) for one in (*alike, *others)}
                assert state.known(number, [*wanted]) == wanted
                assert state.entries(number, [one.key for one in others]) == others


HOLDER = """
import sys
import sqlalchemy as sa
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.state import State
url, schema, seconds = sys.argv[1:]
me = Holder(run_id="killed")
state = State(sa.create_engine(url), "s", "key", me, schema=schema or None, lease_seconds=int(seconds))
print("held", flush=True)
sys.stdin.read()
"""


def take(url: str, schema: str | None, holder: str, seconds: int) -> State:
    """Take the lease of the sync `s`."""
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    return State(engine, "s", "key", Holder(run_id=holder), schema=schema, lease_seconds=seconds)


def first_again(url: str, schema: str | None) -> State:
    """A later try of the holder `first`, which does not wait a minute."""
    began = time.monotonic()
    state = take(url, schema, "first", 60)
    assert time.monotonic() - began < 10
    return state


AT_PARSE: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({"key": None}, "key: sync_mode='changes' needs the column, or columns, that identify a row"),
    "no state": ({"state_path": None}, "state_path, state_conn_id: sync_mode='changes' needs one of the two"),
    "two states": ({"state_conn_id": "c"}, "state_path, state_conn_id: sync_mode='changes' needs one of the two"),
    "a file's schema": ({"state_schema": "s"}, "state_schema: is for state_conn_id; a SQLite file has no schemas"),
    "first_run": ({"first_run": "skip"}, "first_run: expected one of send, baseline, fail; found 'skip'"),
    **{
        f"max_deleted {value!r}": (
            {"max_deleted": value},
            f"max_deleted: expected a count, or a share below 1; found {value!r}",
        )
        for value in (-0.1, 1.1, -5, True, float("nan"))
    },
    "a cap that is no number": (
        {"max_deleted": "10%"},
        "max_deleted: expected a count, or a share below 1; found '10%'",
    ),
    "an unknown kind": (
        {"calls": {"call": "identify", "user_id": "id", "on_change": ["removed"]}},
        "Identify(on_change=...): expected a list of added, updated, deleted; found ['removed']",
    ),
    "deleted with when": (
        {"calls": Identify("id", when={"id": 1}, on_change="deleted")},
        "identify: when=...: a call on 'deleted' has no row to look at any more",
    ),
    "deleted with a column": (
        {"calls": Identify("id", traits={"e": "email", "i": "id"}, on_change=["updated", "deleted"])},
        "identify: a call on 'deleted' may use its ids, the key columns and constants, since the row is gone; it also",
    ),
    "deleted with an event's column": (
        {"calls": Track("event", "id", on_change="deleted")},
        "track:[event]: a call on 'deleted' may use its ids, the key columns and constants",
    ),
    "deleted with all columns": (
        {"calls": Identify("id", traits=AllColumns(), on_change="deleted")},
        "identify: AllColumns: a call on 'deleted' has no row to take them from",
    ),
}


class TestGuards:
    """What cannot go well is refused, as early as it can be known, by its name."""

    @pytest.mark.parametrize(("changed", "text"), AT_PARSE.values(), ids=AT_PARSE)
    def test_when_the_dag_is_parsed(self, changed: dict[str, Any], text: str) -> None:
        """What the settings alone show fails when the DAG is parsed."""
        with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
            SqlToSegmentOperator(**(settings_of(state_path="never_opened.db") | changed))

    @pytest.mark.parametrize(
        ("conn_type", "found"), [(None, ""), ("http", "http"), ("segment", "segment"), ("odd", "odd")]
    )
    def test_a_connection_that_holds_no_state(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        monkeypatch: pytest.MonkeyPatch,
        conn_type: str,
        found: str,
    ) -> None:
        """A connection that is not there, or is of a type that holds no state, is named before the first request."""
        fill(warehouse, 3)
        text = "state_conn_id: Airflow has no connection 'there'"
        if conn_type:
            monkeypatch.setenv("AIRFLOW_CONN_THERE", json.dumps({"conn_type": conn_type, "host": "x"}))
            text = f"state_conn_id: 'there' is of type '{found}'; expected PostgreSQL, MySQL or MariaDB, SQLite"
        with pytest.raises(Exception, match=re.escape(text)):
            send({"state_conn_id": "there"})
        assert segment.requests == []

    def test_a_server_that_is_not_there(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A state that cannot be reached fails before the first request, without a word of the driver's."""
        fill(warehouse, 3)
        fields = {"conn_type": "postgres", "host": str(tmp_path), "login": "canary", "schema": "w"}
        monkeypatch.setenv("AIRFLOW_CONN_THERE", json.dumps(fields))
        with pytest.raises(Exception, match=r"The state's database failed at opening it: psycopg2?\.") as caught:
            send({"state_conn_id": "there"})
        assert "canary" not in str(caught.value)
        assert segment.requests == []

    def test_a_path_that_cannot_be_written(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, tmp_path: Path
    ) -> None:
        """A path below a file, or a folder, is named before the first request."""
        fill(warehouse, 3)
        (tmp_path / "file").touch()
        for path in (tmp_path / "file" / "state.db", tmp_path):
            with pytest.raises(Exception, match=f"^state_path: {path} cannot be written: "):
                send({"state_path": str(path)})
        assert segment.requests == []

    @pytest.mark.parametrize("place", [{}, {"state_path": "never_opened.db", "state_conn_id": "c"}], ids=["no", "two"])
    def test_a_reset_must_know_where(self, place: dict[str, str]) -> None:
        """A reset needs one place, and a sync that is there."""
        with pytest.raises(Exception, match="state_path, state_conn_id: expected one of the two"):
            SegmentHook().reset("users", **place)

    def test_a_reset_of_no_sync(self, segment: SegmentServer, tmp_path: Path) -> None:
        """A reset of a sync that has no state says so."""
        with pytest.raises(Exception, match="sync_id 'nobody' has no state here"):
            SegmentHook().reset("nobody", state_path=str(tmp_path / "s.db"))


def partial(**changed: Any) -> Any:
    """A task to map, without a sync_id."""
    settings = settings_of(sql="SELECT * FROM users WHERE seen = ?", state_path="never_opened.db") | changed
    del settings["sync_id"]
    return SqlToSegmentOperator.partial(**settings)


SHARDS = [{"parameters": [n], "sync_id": f"users-{n}"} for n in range(3)]


class TestMapped:
    """Each shard of a mapped task has a state of its own."""

    def test_shards_without_their_own_sync_id(self) -> None:
        """Shards that would share a state are refused when the DAG is parsed, with the way to do it."""
        with new_dag():
            with pytest.raises(ValueError, match=f"^{re.escape(WAY)}$"):
                partial().expand(parameters=[[0], [1]])
            with pytest.raises(ValueError, match=f"^{re.escape(WAY)}$"):
                partial().expand_kwargs([{"parameters": [0]}, SHARDS[1]])
            twice = f"^{re.escape(WAY)}. Found twice: users-1$"
            with pytest.raises(ValueError, match=twice):
                partial().expand_kwargs([*SHARDS, SHARDS[1]])
            with pytest.raises(ValueError, match=twice):
                partial().expand(sync_id=["users-1", "users-2", "users-1"])

    def test_a_sync_id_for_all_shards(self, warehouse: SqliteWarehouse) -> None:
        """One sync_id for all shards is refused when the DAG is parsed, also where the shards are not known yet."""
        with new_dag():
            shards = SqlToSegmentOperator(**settings_of(task_id="up", state_path="never_opened.db"))
            with pytest.raises(ValueError, match=f"^{re.escape(WAY)}"):
                SqlToSegmentOperator.partial(**settings_of(state_path="never_opened.db")).expand_kwargs(shards.output)

    def test_all_needs_none(self) -> None:
        """Mapped tasks that send all need no sync_id."""
        with new_dag() as dag:
            partial(sync_mode="all", state_path=None, calls=USERS).expand(parameters=[[0], [1]])
        assert dag.task_ids == ["sync"]

    def test_each_shard_has_its_own_state(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, tmp_path: Path, run_dag: RunDag
    ) -> None:
        """Shards that run in a DAG remember each their own rows: the second run sends nothing and deletes nothing."""
        fill(warehouse, 9)
        warehouse.run("UPDATE users SET seen = id % 3")
        path = tmp_path / "state.db"
        for expected in (3, 0):
            with new_dag() as dag:
                partial(state_path=str(path), max_deleted=0).expand_kwargs(SHARDS)
            run = run_dag(dag)
            assert run.state == "success"
            assert [kinds(run.xcom("sync", map_index=n)) for n in range(3)] == [(expected, 0, 0)] * 3
        with closing(sqlite3.connect(path)) as database:
            names = [name for (name,) in database.execute("SELECT sync_id FROM segment_sync ORDER BY sync_id")]
        assert names == ["users-0", "users-1", "users-2"]
        assert len(segment.messages) == 9

    def test_shards_of_an_upstream_task(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, tmp_path: Path, run_dag: RunDag
    ) -> None:
        """Shards that only the run knows are checked there: without a sync_id nothing is sent."""
        fill(warehouse, 3)
        for shards, state in (([{"parameters": [0]}], "failed"), (SHARDS[:1], "success")):
            with new_dag() as dag:
                up = Shards(task_id="up", shards=shards)
                partial(state_path=str(tmp_path / "state.db")).expand_kwargs(up.output)
            run = run_dag(dag)
            assert run.task("sync", 0)[0] == state
            assert len(segment.messages) == (0 if state == "failed" else 3)


def test_a_column_that_changes_in_each_run_is_named_in_the_log(
    segment: SegmentServer,
    warehouse: SqliteWarehouse,
    run_dag: RunDag,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """From the second run on the log says, before the end as well, that nearly all is updated, and by which field."""
    fill(warehouse, 200)
    calls = Identify("id", traits=AllColumns())
    for run in range(3):
        sql = f"SELECT id, email, {run} AS loaded_at FROM users"  # noqa: S608
        with new_dag() as dag:
            SqlToSegmentOperator(
                **settings_of(sql=sql, calls=calls, fetch_size=100, state_path=str(tmp_path / "state.db"))
            )
        report = run_dag(dag).xcom("sync")
        shown = capfd.readouterr()
        warned = re.findall(r"identify: ([^;]*) known rows .*traits\.loaded_at \(in at least", shown.out + shown.err)
        if run == 0:
            assert (warned, report.get("warnings")) == ([], None)
        else:
            assert [*dict.fromkeys(warned)] == ["so far 100 of 100", "nearly_all_updated: 200 of 200"]
            assert report["warnings"] == {"identify: nearly_all_updated": 200}


class TestWhatIsKept:
    """The state's file is its owner's, and has no personal data in it."""

    @pytest.mark.parametrize("calls", [[USERS], [USERS, LEFT]], ids=["no ids", "ids of deleted"])
    def test_nothing_personal(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, tmp_path: Path, calls: list[Any]
    ) -> None:
        """Neither keys nor values are in the file, journal included; only a call on "deleted" keeps its ids."""
        warehouse.run("CREATE TABLE users (id TEXT, email TEXT)")
        warehouse.insert("users", [("canary-id", "canary@example.com"), ("2", "x" * 40_000)])
        path = tmp_path / "state.db"
        os.umask(os.umask(0o000))
        send({"state_path": str(path)}, calls=calls, max_rejected=1)
        warehouse.run("UPDATE users SET email = 'canary2@example.com' WHERE id = 'canary-id'")
        send({"state_path": str(path)}, calls=calls, max_rejected=1)
        files = [file for file in tmp_path.iterdir() if file.name.startswith("state.db")]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        data = b"".join(file.read_bytes() for file in files)
        assert b"segment_state" in data
        assert b"example.com" not in data
        assert b"local-write-key" not in data
        assert (b"canary" in data) == (LEFT in calls)

    def test_files_of_a_running_sync(
        self, warehouse: SqliteWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While it runs, the journals beside the file are its owner's as well."""
        fill(warehouse, 3)
        path, modes = tmp_path / "state.db", {}
        with SegmentServer() as server:
            monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", server.connection)
            server.respond_with(
                lambda _: modes.update({f.name: stat.S_IMODE(f.stat().st_mode) for f in tmp_path.glob("state.db*")})
            )
            send({"state_path": str(path)})
        assert {"state.db", "state.db-wal"} <= modes.keys()
        assert set(modes.values()) == {0o600}
