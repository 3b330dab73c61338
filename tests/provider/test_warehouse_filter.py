"""The filter in front of the state: in the warehouse, on the client, and without one, the same calls are made."""

from __future__ import annotations

import itertools
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from filtered import DATABASES, FILTERS, LEFT, USERS, Source, Sync, kinds, made_source, source
from warehouses import PostgresWarehouse

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.warehouse_filter import WarehouseTables

__all__ = ["source"]

PAID = Track(Constant("Paid"), "id", properties=["email"])


EVERY = [f"{how} {database}" for how in FILTERS for database in DATABASES]
# On the client, and without a filter, rows are rows wherever they come from.
SOME = [one for one in EVERY if one.startswith(("warehouse", "group")) or one.endswith(("sqlite", "postgres"))]


@pytest.fixture(params=SOME)
def sync(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sync:
    """A sync with each kind of filter."""
    how, database = request.param.split()
    return Sync(made_source(database, request, tmp_path, monkeypatch), how, tmp_path / "state.db")


def passed_over(sync: Sync, report: dict[str, Any]) -> bool:
    """Tell whether no row was looked at; without a filter, whether none was due."""
    if sync.how == "none":
        return bool(report["unchanged"] == report["calls"])
    return bool(report["skipped"] == report["rows"] and report["calls"] == 0)


class TestEveryFilter:
    """What Segment gets does not depend on the filter."""

    @pytest.mark.parametrize("sync", EVERY, indirect=True)
    def test_the_life_of_a_table(self, segment: SegmentServer, sync: Sync) -> None:
        """All, nothing, changes, a new trait, a new call, another order, a reset of some keys, the mapping back."""
        table = sync.source
        table.fill([(n, f"user{n}@example.com") for n in range(1, 301)])
        assert kinds(sync.send()) == (300, 0, 0)
        assert passed_over(sync, sync.send())
        table.run("UPDATE users SET email = 'new@example.com' WHERE id <= 37")
        table.run("DELETE FROM users WHERE id > 289")
        table.insert([(n, "b@example.com") for n in range(1_000, 1_020)])
        assert kinds(sync.send()) == (20, 37, 11)
        assert passed_over(sync, sync.send())
        more = [Identify("id", traits=["email", "id"]), LEFT]
        assert kinds(sync.send(calls=more)) == (0, 309, 0)
        assert kinds(sync.send(calls=[*more, PAID])) == (309, 0, 0)
        report = sync.send(calls=[*more, PAID], sql="SELECT * FROM users ORDER BY id DESC")
        assert kinds(report) == (0, 0, 0)
        assert SegmentHook().reset(f"users {sync.how}", [1, 2], state_path=str(sync.path)) == 6
        report = sync.send(calls=[*more, PAID])
        assert (report["accepted"], report["skipped"]) == (4, 0)
        assert kinds(sync.send()) == (0, 309, 0)
        assert passed_over(sync, sync.send())
        assert segment.duplicates == []
        assert {m["userId"] for m in segment.messages if m["type"] == "track" and m["event"] == "Left"} == {
            str(n) for n in range(290, 301)
        }

    def test_everything_changes(self, segment: SegmentServer, sync: Sync) -> None:
        """Each row changed is each row sent, and no key taken for gone; each row gone is each key deleted."""
        sync.source.fill([(n, "a") for n in range(200)])
        assert kinds(sync.send()) == (200, 0, 0)
        sync.source.run("UPDATE users SET email = 'b'")
        assert kinds(sync.send()) == (0, 200, 0)
        sync.source.run("DELETE FROM users")
        assert kinds(sync.send()) == (0, 0, 200)
        assert kinds(sync.send()) == (0, 0, 0)

    def test_what_looks_alike_is_told_apart(self, segment: SegmentServer, sync: Sync) -> None:
        """Texts that differ in case or in spaces at their end, an empty one and NULL are changes, also in keys."""
        keys = ["a", "A", "ä", "a ", "b"]
        sync.source.fill([(key, "x") for key in keys], key=sync.source.text)
        assert kinds(sync.send()) == (5, 0, 0)
        values = ["X", "x ", None, "", "x"]
        sync.source.fill(list(zip(keys, values, strict=True)), key=sync.source.text)
        assert kinds(sync.send()) == (0, 4, 0)
        values = ["X", "x ", "", None, "x"]
        sync.source.fill(list(zip(keys, values, strict=True)), key=sync.source.text)
        assert kinds(sync.send()) == (0, 2, 0)
        sync.source.fill(
            [(key, value) for key, value in zip(keys, values, strict=True) if key != "A"], key=sync.source.text
        )
        assert kinds(sync.send()) == (0, 0, 1)
        assert segment.messages[-1]["userId"] == "A"

    def test_refused_rows_are_looked_at_until_they_are_accepted(self, segment: SegmentServer, sync: Sync) -> None:
        """A row that Segment or a rule refuses comes again in each run; the others rest; nothing seems gone."""
        sync.source.fill([(1, "good"), (2, "bad"), (3, "y" * 3), (None, "z")])
        segment.refuse(lambda message: message.get("traits", {}).get("email") == "bad")
        for _ in range(2):
            report = sync.send(max_rejected=3)
            assert (report["rejected"], report["invalid"], report["deleted"]) == (1, 2, 0)  # no key for two calls
        assert sync.how == "none" or report["skipped"] == 2
        sync.source.run("UPDATE users SET email = 'mended' WHERE id = 2")
        assert kinds(sync.send(max_rejected=2)) == (1, 0, 0)
        sync.source.run("DELETE FROM users WHERE id = 2 OR id IS NULL")
        assert kinds(sync.send()) == (0, 0, 1)
        assert passed_over(sync, sync.send())

    def test_a_deletion_that_was_refused_comes_again(self, segment: SegmentServer, sync: Sync) -> None:
        """A call on "deleted" that Segment refuses is made again until it is accepted, though its row is gone."""
        sync.source.fill([(n, "a") for n in range(10)])
        sync.send()
        segment.refuse(lambda message: message["type"] == "track" and message["userId"] == "3")
        sync.source.run("DELETE FROM users WHERE id IN (3, 4)")
        assert kinds(sync.send(max_rejected=1)) == (0, 0, 1)
        for _ in range(2):
            report = sync.send(max_rejected=1)
            assert (report["rejected"], report["deleted"]) == (1, 0)
        segment.reset()
        segment.refuse(lambda message: False)
        assert kinds(sync.send()) == (0, 0, 1)
        assert passed_over(sync, sync.send())

    def test_two_rows_of_one_key_never_take_turns(self, segment: SegmentServer, sync: Sync) -> None:
        """Of two rows of a key the new one is sent once; from then on what Segment has stands, and one is refused."""
        sync.source.fill([(n, "a") for n in range(5)])
        sync.send()
        sync.source.insert([(1, "b"), (2, "a")])
        report = sync.send(max_rejected=1)
        assert kinds(report) == (0, 1, 0)
        heard = len(segment.messages)
        for _ in range(3):
            report = sync.send(max_rejected=1)
            assert (report["invalid"], report["accepted"]) == (1, 0)
        sync.source.run("DELETE FROM users WHERE id = 1 AND email = 'a'")
        for _ in range(2):
            assert kinds(sync.send()) == (0, 0, 0)
        assert len(segment.messages) == heard

    def test_a_dry_run_leaves_nothing(self, segment: SegmentServer, sync: Sync) -> None:
        """What would be sent is counted, also against the filter, and the next run finds all as it was."""
        sync.source.fill([(n, "a") for n in range(20)])
        assert sync.send(validate_only=True)["not_sent"] == 20
        assert [name for name in sync.source.tables() if "_due_" in name or "_seen_" in name] == []
        sync.send()
        sync.source.run("UPDATE users SET email = 'b' WHERE id < 3")
        report = sync.send(validate_only=True)
        assert report["planned"]["identify"]["updated"] == 3
        assert sync.how == "none" or report["skipped"] == 17
        assert [name for name in sync.source.tables() if "_due_" in name] == []
        report = sync.send()
        assert kinds(report) == (0, 3, 0)
        assert sync.how == "none" or report["skipped"] == 17

    def test_a_key_column_that_changes_its_type(self, segment: SegmentServer, sync: Sync) -> None:
        """Integers that become text are the same keys: nothing is sent, nothing is gone; then what has changed is."""
        rows = [(n, "a") for n in range(1, 51)]
        sync.source.fill(rows)
        sync.send()
        sync.source.fill([(str(n), "a") for n, _ in rows], key="VARCHAR(20)")
        assert kinds(sync.send()) == (0, 0, 0)
        sync.source.run("DELETE FROM users WHERE id = '7'")
        sync.source.run("UPDATE users SET email = 'b' WHERE id = '8'")
        assert kinds(sync.send()) == (0, 1, 1)
        assert passed_over(sync, sync.send())

    def test_parameters_percents_and_comments(self, segment: SegmentServer, sync: Sync) -> None:
        """The query may have parameters, percent signs, a WITH, and a comment or a semicolon at its end."""
        sync.source.fill([(n, f"{n}%") for n in range(20)])
        mark = {"postgres": "%s", "mariadb": "%s"}.get(sync.source.kind, "?")
        percent = "%%" if mark == "%s" else "%"
        sql = f"WITH u AS (SELECT * FROM users WHERE id > {mark} AND email LIKE '1{percent}') SELECT * FROM u -- all;"  # noqa: S608
        assert kinds(sync.send(sql=sql, parameters=[5])) == (10, 0, 0)
        sync.source.run("UPDATE users SET email = '1!' WHERE id = 12")
        sync.source.run("DELETE FROM users WHERE id = 13")
        assert kinds(sync.send(sql=sql, parameters=[5])) == (0, 1, 1)
        assert passed_over(sync, sync.send(sql=sql, parameters=[5]))
        for end in (";", "; -- done"):
            report = sync.send(sql=f"SELECT * FROM users WHERE email LIKE '1%'{end}")  # noqa: S608
            assert kinds(report) == ((1, 0, 0) if end == ";" else (0, 0, 0))
        quoted = "`a % b`" if sync.source.kind == "mariadb" else '"a % b"'
        doubled = quoted.replace("%", percent)
        sql = f"SELECT id, email AS {doubled} FROM users WHERE id > {mark}"  # noqa: S608
        assert sync.send(sql=sql, parameters=[100], calls=[Identify("id", traits=["a % b"]), LEFT])["rows"] == 0


class TestInTheWarehouse:
    """What is promised of the tables in the warehouse."""

    def test_scratch_of_runs_that_died_is_dropped(self, segment: SegmentServer, source: Source, tmp_path: Path) -> None:
        """What a run that was killed has left is dropped by the next one, which reads all and sends nothing again."""
        sync = Sync(source, "warehouse", tmp_path / "state.db")
        source.fill([(n, "a") for n in range(10)])
        sync.send()
        (seen,) = [name for name in source.tables() if "_seen_" in name]
        dead, young = seen.replace("_seen_", "_due_") + "_1", seen.replace("_seen_", "_due_") + "_dry_9999999999_abcdef"
        for name in (dead, young):
            source.run(f"CREATE TABLE {source.schema}.{name} (id INTEGER)")
        report = sync.send()
        assert (report["skipped"], report["calls"]) == (10, 0)
        assert source.tables() == sorted([seen, young, "segment_filter"])

    @pytest.mark.parametrize("broken", ["mark", "seen"])
    def test_a_warehouse_that_was_restored_is_read_whole(
        self, segment: SegmentServer, source: Source, tmp_path: Path, broken: str
    ) -> None:
        """With another mark, or without its table, every row is looked at, nothing is sent, and the next run skips."""
        sync = Sync(source, "warehouse", tmp_path / "state.db")
        source.fill([(n, "a") for n in range(10)])
        sync.send()
        if broken == "mark":
            source.run(f"UPDATE {source.schema}.segment_filter SET mark = 'of yesterday'")  # noqa: S608
        else:
            (seen,) = [name for name in source.tables() if "_seen_" in name]
            source.run(f"DROP TABLE {source.schema}.{seen}")
        source.run("DELETE FROM users WHERE id = 1")
        report = sync.send()
        assert (report["skipped"], kinds(report)) == (0, (0, 0, 1))
        assert sync.send()["skipped"] == 9

    def test_two_states_of_one_sync_keep_apart(self, segment: SegmentServer, source: Source, tmp_path: Path) -> None:
        """A test deployment with the same sync and schema has tables of its own: each sends all, and skips its own."""
        syncs = [Sync(source, "warehouse", tmp_path / f"{n}.db") for n in range(2)]
        source.fill([(n, "a") for n in range(10)])
        assert [kinds(sync.send()) for sync in syncs] == [(10, 0, 0)] * 2
        source.run("UPDATE users SET email = 'b' WHERE id = 1")
        for _ in range(2):
            reports = [sync.send() for sync in syncs]
        assert [report["skipped"] for report in reports] == [10, 10]
        assert [m["userId"] for m in segment.messages].count("1") == 4

    def test_tables_that_are_lost_at_the_end_fail_no_run(
        self, segment: SegmentServer, source: Source, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Where the filter cannot be written when all was sent, the run is whole; the next one looks at every row."""
        sync = Sync(source, "warehouse", tmp_path / "state.db")
        source.fill([(n, "a") for n in range(10)])

        def lost(message: Any) -> bool:
            source.run(f"DROP TABLE IF EXISTS {source.schema}.segment_filter")
            return False

        if source.kind not in ("postgres", "mariadb"):
            pytest.skip("their tables are locked while they are read")
        segment.refuse(lost)
        assert kinds(sync.send()) == (10, 0, 0)
        segment.reset()
        report = sync.send()
        assert (report["skipped"], report["unchanged"]) == (0, 20)

    def test_what_cannot_be(self, segment: SegmentServer, source: Source, tmp_path: Path) -> None:
        """Columns that are named twice, or like ours, and a query that changes data, are refused with the way out."""
        sync = Sync(source, "warehouse", tmp_path / "state.db")
        source.fill([(1, "a")])
        twice = {"SELECT id, email, email FROM users": "more than once: rename one with AS|Duplicate column"}
        for sql, said in {
            **(twice if source.kind in ("postgres", "mariadb") else {}),  # the others rename one
            "SELECT id, email, 1 AS segment_x FROM users": "may not begin with segment_: rename segment_x",
            "DELETE FROM users": "expected a SELECT that changes nothing",
        }.items():
            with pytest.raises(Exception, match=said):
                sync.send(sql=sql)
        assert segment.requests == []


def test_nested_values_of_duckdb_are_told_apart(
    segment: SegmentServer, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values that DuckDB's hash takes for one, such as an empty list and none, are changes."""
    source = made_source("duckdb", request, tmp_path, monkeypatch)
    sync = Sync(source, "warehouse", tmp_path / "state.db")
    for kind, values in {
        "INTEGER[]": ["NULL", "[]", "[NULL]", "[1]"],
        "INTEGER[][]": ["[[]]", "[NULL]", "[[],[1]]", "[[1],[]]"],
        "STRUCT(a INTEGER)": ["NULL", "{'a': NULL}", "{'a': 1}"],
        "MAP(VARCHAR, INTEGER)": ["NULL", "MAP {}", "MAP {'a': NULL}"],
    }.items():
        source.run("DROP TABLE IF EXISTS users")
        source.run(f"CREATE TABLE users (id INTEGER, email {kind})")
        source.run("INSERT INTO users VALUES (1, NULL)")
        sync.send()
        for before, after in itertools.pairwise([*values, values[0]]):
            source.run(f"UPDATE users SET email = {before}::{kind}")  # noqa: S608
            sync.send()
            source.run(f"UPDATE users SET email = {after}::{kind}")  # noqa: S608
            assert sync.send()["skipped"] == 0, (kind, before, after)


def test_a_missing_right_names_the_one_grant(
    segment: SegmentServer, postgres: PostgresWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a schema, or without the right to make tables in it, the error has the statement that gives it."""
    postgres.run("DROP ROLE IF EXISTS reader")
    postgres.run("CREATE ROLE reader LOGIN")
    postgres.run("CREATE TABLE users AS SELECT 1 AS id, 'a' AS email")
    postgres.run("GRANT SELECT ON users TO reader")
    told = json.loads(postgres.connection()) | {"login": "reader"}
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES", json.dumps(told))
    sync = Sync(Source("postgres", "segment", lambda _: []), "warehouse", tmp_path / "state.db")
    grant = "GRANT USAGE, CREATE ON SCHEMA segment TO reader"
    with pytest.raises(Exception, match=r"has no schema 'segment'.* CREATE SCHEMA segment AUTHORIZATION"):
        sync.send()
    postgres.run("CREATE SCHEMA segment")
    with pytest.raises(Exception, match=grant) as error:
        sync.send()
    assert "a right is missing" in str(error.value)
    assert segment.requests == []
    postgres.run(grant)
    assert kinds(sync.send()) == (1, 0, 0)
    assert sync.send()["skipped"] == 1
    postgres.run("DROP OWNED BY reader")


def test_each_statement_says_who_runs_it_and_the_query_is_scanned_once(
    segment: SegmentServer, postgres: PostgresWarehouse, tmp_path: Path
) -> None:
    """Each statement begins with its DAG, task and run; PostgreSQL's plan has one scan of the query and one join."""
    postgres.run("CREATE TABLE users AS SELECT n AS id, 'a' || n AS email FROM generate_series(1, 20000) n")
    sync = Sync(Source("postgres", "segment", lambda _: []), "warehouse", tmp_path / "state.db")
    sync.send()
    seen: list[str] = []
    execute = WarehouseTables._execute

    class Seeing(WarehouseTables):
        """The statements as the driver gets them."""

        def _execute(self, cursor: Any, sql: str, parameters: Any) -> None:
            execute(self, cursor, sql, parameters)
            seen.append((cursor._query.query if hasattr(cursor, "_query") else cursor.query).decode())

    told = ("postgres", "SELECT * FROM users", None, "segment", "users warehouse", "DAG d", {"hook_params": None})
    with closing(Seeing(*told)) as tables:
        ((owner,),) = sync.state("SELECT generation FROM segment_sync")
        mark = tables._run("SELECT mark FROM segment.segment_filter")[0][0].partition(" ")[0]
        assert not tables.lay_out(["id", "email"], ["id"], owner, 9, mark, is_dry=True).is_full
        (made,) = [one for one in seen if "CREATE TABLE" in one and "segment_due" in one]
        plan = "\n".join(row[0] for row in tables._run(f"EXPLAIN {made.partition(' AS ')[2]}"))
    assert plan.count("on users") == 1
    assert plan.count("Hash Full Join") + plan.count("Merge Full Join") == 1
    assert all("/* DAG d */" in one for one in seen)


def test_settings_of_the_schema() -> None:
    """A schema without "changes", or that is no name, fails when the DAG is parsed."""
    from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

    common: dict[str, Any] = {"task_id": "t", "sql": "SELECT 1", "sql_conn_id": "c", "calls": USERS}
    with pytest.raises(SettingError, match="warehouse_schema: is for sync_mode='changes'"):
        SqlToSegmentOperator(**common, warehouse_schema="segment")
    with pytest.raises(SettingError, match="warehouse_schema: expected the name of a schema, found ' '"):
        SqlToSegmentOperator(**common, sync_mode="changes", key="id", state_path="s", warehouse_schema=" ")
