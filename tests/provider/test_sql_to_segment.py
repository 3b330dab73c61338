"""SqlToSegmentOperator: settings, rows, the report, the log, and retries."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from failing import chain
from runs import COUNTS, HAS_STORE, NO_WAIT, RunDag, new_dag

from airflow_provider_segment.calls import AllColumns, Constant, Group, Identify, Track
from airflow_provider_segment.hooks import segment as hook_module
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

if TYPE_CHECKING:
    from warehouses import PostgresWarehouse, SqliteWarehouse

AT = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
USERS = Identify(user_id="id", traits=["email"])
REPORT = {
    *("rows", "skipped", "calls", *COUNTS, "added", "updated", "deleted"),
    *("batches", "requests", "retries", "bytes", "seconds", "started", "ended", "planned", "by_call"),
}

AT_PARSE: dict[str, tuple[dict[str, Any], str]] = {
    "no calls": ({"calls": []}, "calls: it is empty"),
    "calls of another type": ({"calls": "identify"}, "calls: expected Identify(...), Track(...) ... or a list"),
    "a call of another type": ({"calls": [USERS, 7]}, "calls[1]: expected Identify(...), Track(...) ... or a dict"),
    "an unknown call": ({"calls": {"call": "identfy"}}, "calls[0]: expected 'call' to be one of identify, track"),
    "an unknown field": (
        {"calls": {"call": "identify", "user_id": "id", "trait": {}}},
        "calls[0]: identify knows no trait",
    ),
    "two calls alike": ({"calls": [USERS, USERS]}, "calls: two are called 'identify'; give each a label"),
    "sync_mode": ({"sync_mode": "some"}, "sync_mode: expected"),
    "nulls": ({"nulls": "drop"}, "nulls: expected one of send, omit; found 'drop'"),
    "timezone": ({"timezone": "Mars/Olympus"}, "timezone: expected an IANA name such as 'UTC'"),
    "max_rejected below 0": ({"max_rejected": -1}, "max_rejected: expected a count, or a share below 1; found -1"),
    "max_rejected in words": ({"max_rejected": "10%"}, "max_rejected: expected a count, or a share below 1"),
    "max_rejected true": ({"max_rejected": True}, "max_rejected: expected a count, or a share below 1"),
    "max_rejected not a number": ({"max_rejected": float("nan")}, "max_rejected: expected a count, or a share below 1"),
    "max_rejected of one and a half": ({"max_rejected": 1.5}, "max_rejected: expected a count, or a share below 1"),
    "fetch_size": ({"fetch_size": 0}, "fetch_size: expected a whole number above 0, found 0"),
    "max_in_flight": ({"max_in_flight": 2.5}, "max_in_flight: expected a whole number above 0, found 2.5"),
    "key": ({"key": ["id", "id"]}, "key: expected a column's name, or a list of different ones"),
}

AT_RUN: dict[str, tuple[dict[str, Any], str]] = {
    "unknown SQL connection": ({"sql_conn_id": "nowhere"}, "sql_conn_id: Airflow has no connection 'nowhere'"),
    "unknown Segment connection": (
        {"segment_conn_id": "nowhere"},
        "segment_conn_id: Airflow has no connection 'nowhere'",
    ),
    "no SQL connection": (
        {"sql_conn_id": "segment_default"},
        "sql_conn_id: 'segment_default' is of type 'segment', which is no SQL connection",
    ),
    "connection without a provider": (
        {"sql_conn_id": "odd"},
        "sql_conn_id: no hook for 'odd' of type 'nosuch': install its provider",
    ),
    "missing column": (
        {"calls": Identify(user_id="uid")},
        "identify: user_id names the column 'uid', which the query does not return; it returns id, email, plan",
    ),
    "missing column of a trait": (
        {"calls": Identify(user_id="id", traits={"name": "nam"})},
        "the column 'nam', which the query does not return; it returns id, email, plan",
    ),
    "fixed value without Constant": (
        {"calls": Track(event="Order Completed", user_id="id")},
        "If a fixed value is meant, write Constant('Order Completed')",
    ),
    "missing key": ({"key": "uid"}, "key names the column 'uid', which the query does not return"),
    "column that comes twice": (
        {"sql": "SELECT id, id FROM users"},
        "the column 'id', which the query returns twice: rename one with AS",
    ),
    "SQL with an unknown table": (
        {"sql": "SELECT * FROM nowhere"},
        "The source database failed at the query: sqlite3.OperationalError: no such table: nowhere",
    ),
    "SQL that is no SQL": ({"sql": "SELEKT 1"}, 'sqlite3.OperationalError: near "SELEKT": syntax error'),
    "no result set": ({"sql": "CREATE TABLE other (id TEXT)"}, "sql: the query returns no result set"),
    "parameters that do not fit": ({"parameters": ["one too many"]}, "The source database failed at the query"),
}


class TestSettings:
    """A bad setting is one clear error that names it, and nothing is sent."""

    @pytest.mark.parametrize(("changed", "text"), AT_PARSE.values(), ids=AT_PARSE)
    def test_fails_when_the_dag_is_parsed(self, changed: dict[str, Any], text: str) -> None:
        """What can be known without a connection fails when the DAG is parsed."""
        with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
            operator(**changed)

    @pytest.mark.parametrize(("changed", "text"), AT_RUN.values(), ids=AT_RUN)
    def test_fails_before_the_first_request(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        monkeypatch: pytest.MonkeyPatch,
        changed: dict[str, Any],
        text: str,
    ) -> None:
        """What only the run can know fails before the first request."""
        fill(warehouse, 3)
        monkeypatch.setenv("AIRFLOW_CONN_ODD", json.dumps({"conn_type": "nosuch", "host": "x"}))
        with pytest.raises(Exception, match=re.escape(text)):
            operator(**changed).execute({})
        assert segment.requests == []

    def test_setting_errors_are_not_retried(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag
    ) -> None:
        """A bad column or query fails the task at once, whatever its retries; a database that fails is tried again."""
        fill(warehouse, 3)
        with new_dag() as dag:
            operator(task_id="column", calls=Identify(user_id="uid"), retries=2, retry_delay=NO_WAIT)
            operator(task_id="query", sql="SELECT * FROM nowhere", retries=2, retry_delay=NO_WAIT)
            operator(
                task_id="database", sql="SELECT json_extract(email, '$') FROM users", retries=2, retry_delay=NO_WAIT
            )
        run = run_dag(dag)
        assert run.task("column") == ("failed", 1)
        assert run.task("query") == ("failed", 1)
        assert run.task("database") == ("failed", 3)
        assert segment.requests == []


class TestRows:
    """The rows of the query become calls."""

    def test_no_rows(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
        """A query without rows is a success without a request."""
        fill(warehouse, 0)
        with new_dag() as dag:
            operator(task_id="sync")
        run = run_dag(dag)
        assert run.state == "success"
        assert run.xcom("sync")["rows"] == 0
        assert segment.requests == []

    def test_each_row_makes_each_call(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag
    ) -> None:
        """Each row makes each call whose `when` holds, and the report counts them all."""
        fill(warehouse, 9)
        calls = [
            Identify(user_id="id", traits=AllColumns(extra={"source": Constant("dwh")})),
            Track(event=Constant("Upgraded"), user_id="id", properties=["plan"], when={"plan": "pro"}),
            Group(group_id="plan", user_id="id", enabled=False),
        ]
        with new_dag() as dag:
            operator(task_id="sync", calls=calls)
        report = run_dag(dag).xcom("sync")
        assert set(report) == REPORT
        assert (report["rows"], report["calls"], report["accepted"]) == (9, 12, 12)
        assert report["calls"] == sum(report[name] for name in COUNTS)
        assert report["bytes"] == sum(len(request.body) for request in segment.requests)
        assert (report["requests"], report["retries"]) == (len(segment.requests), 0)
        users = {message["userId"]: message["traits"] for message in segment.messages if message["type"] == "identify"}
        assert users["0004"] == {"email": "user4@example.com", "plan": "free", "source": "dwh"}
        assert {m["userId"] for m in segment.messages if m["type"] == "track"} == {"0000", "0003", "0006"}

    def test_plain_dicts(self, segment: SegmentServer, warehouse: SqliteWarehouse) -> None:
        """A call as a plain dict, as YAML would say it, is the same call."""
        fill(warehouse, 1)
        call = {"call": "track", "event": {"constant": "Signed Up"}, "user_id": "id", "properties": ["plan"]}
        operator(calls=call).execute({})
        (message,) = segment.messages
        assert (message["event"], message["userId"], message["properties"]) == ("Signed Up", "0000", {"plan": "pro"})

    def test_sql_file_and_jinja(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, tmp_path: Path
    ) -> None:
        """A .sql file, the calls, the parameters and the connections' ids are rendered by Jinja."""
        fill(warehouse, 9)
        (tmp_path / "users.sql").write_text("SELECT * FROM {{ params.table }} WHERE plan = ? AND id < ?")
        with new_dag(
            template_searchpath=str(tmp_path),
            params={"table": "users", "plan": "pro", "warehouse": "warehouse", "trait": "email", "segment": "default"},
        ) as dag:
            operator(
                task_id="sync",
                sql="users.sql",
                sql_conn_id="{{ params.warehouse }}",
                segment_conn_id="segment_{{ params.segment }}",
                parameters=["{{ params.plan }}", "0004"],
                calls=Identify(
                    user_id="id",
                    traits={
                        "mail": "{{ params.trait }}",
                        "run": Constant("{{ run_id }}"),
                        "tags": Constant(["{{ 1 + 1 }}"]),
                    },
                ),
            )
        run = run_dag(dag)
        assert run.state == "success"
        assert {message["userId"] for message in segment.messages} == {"0000", "0003"}
        assert segment.messages[0]["traits"] == {"mail": "user0@example.com", "run": run.run_id, "tags": ["2"]}

    @pytest.mark.parametrize(
        ("sql", "parameters", "users"),
        [
            ("SELECT * FROM users WHERE email LIKE 'user1%'", None, {"0001"}),
            ("SELECT * FROM users WHERE email LIKE 'user1%'", [], {"0001"}),
            ("SELECT * FROM users WHERE email LIKE ?", ["%2@example.com"], {"0002"}),
            ("SELECT * FROM users WHERE email LIKE 'user%' AND id = :id", {"id": "0003"}, {"0003"}),
        ],
    )
    def test_like_in_sqlite(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, sql: str, parameters: Any, users: set[str]
    ) -> None:
        """A percent sign in the query means what it says."""
        fill(warehouse, 5)
        operator(sql=sql, parameters=parameters).execute({})
        assert {message["userId"] for message in segment.messages} == users

    def test_nulls_and_zone(self, segment: SegmentServer, warehouse: SqliteWarehouse) -> None:
        """Nulls can be left out, and timestamps without a zone are given the one that is named."""
        warehouse.run("CREATE TABLE users (id, email, seen); INSERT INTO users VALUES (1, NULL, '2026-01-31 10:30:00')")
        call = Identify(user_id="id", traits=["email"], timestamp="seen")
        operator(calls=call, nulls="omit", timezone="Europe/Berlin").execute({})
        operator(calls=call, timezone="UTC").execute({})
        assert [message.get("traits", {}) for message in segment.messages] == [{}, {"email": None}]
        times = [message["timestamp"] for message in segment.messages]
        assert times == ["2026-01-31T09:30:00Z", "2026-01-31T10:30:00Z"]

    def test_two_operators_share_calls(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag
    ) -> None:
        """Operators that are given one list of calls send each their own rendered values."""
        fill(warehouse, 1)
        calls = [Identify(user_id="id", traits={"task": Constant("{{ ti.task_id }}")})]
        with new_dag() as dag:
            for name in ("one", "two"):
                operator(task_id=name, calls=calls)
        assert run_dag(dag).state == "success"
        assert sorted(message["traits"]["task"] for message in segment.messages) == ["one", "two"]
        assert calls == [Identify(user_id="id", traits={"task": Constant("{{ ti.task_id }}")})]

    def test_mapped_task(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
        """Mapped tasks send each their own rows with their own rendered values."""
        fill(warehouse, 3)
        with new_dag() as dag:
            SqlToSegmentOperator.partial(
                task_id="sync",
                sql="SELECT * FROM users WHERE id = ?",
                sql_conn_id="warehouse",
                calls=[Identify(user_id="id", traits={"part": Constant("{{ ti.map_index }}")})],
            ).expand(parameters=[["0000"], ["0001"], ["0002"]])
        run = run_dag(dag)
        assert run.state == "success"
        assert {message["userId"]: message["traits"]["part"] for message in segment.messages} == {
            "0000": "0",
            "0001": "1",
            "0002": "2",
        }
        assert [run.xcom("sync", map_index=part)["accepted"] for part in range(3)] == [1, 1, 1]

    def test_mapped_tasks_with_equal_rows(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag
    ) -> None:
        """Equal rows of two mapped tasks are calls of their own."""
        fill(warehouse, 1)
        with new_dag() as dag:
            SqlToSegmentOperator.partial(task_id="sync", sql_conn_id="warehouse", calls=[USERS]).expand(
                sql=["SELECT * FROM users", "SELECT * FROM users"]
            )
        assert run_dag(dag).state == "success"
        assert len(segment.messages) == 2
        assert segment.duplicates == []


class TestRefusedRows:
    """Bad rows are counted and named by number, the good ones are sent."""

    def test_too_many(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
        """The task fails at once when more rows are refused than allowed, with its report as XCom `report`."""
        fill(warehouse, 10)
        warehouse.run("UPDATE users SET id = NULL WHERE id = '0004'")
        segment.refuse(lambda message: message["userId"] == "0007")
        with new_dag() as dag:
            operator(task_id="sync", max_rejected=1, retries=2, retry_delay=NO_WAIT)
        run = run_dag(dag)
        assert run.task("sync") == ("failed", 1)
        report = run.xcom("sync", "report")
        assert set(report) == REPORT
        assert (report["rows"], report["calls"], report["accepted"]) == (10, 10, 8)
        assert (report["invalid"], report["rejected"], report["not_sent"]) == (1, 1, 0)
        assert run.xcom("sync") is None
        assert len(segment.messages) == 8

    @pytest.mark.parametrize("allowed", [2, 0.25])
    def test_as_many_as_allowed(self, segment: SegmentServer, warehouse: SqliteWarehouse, allowed: float) -> None:
        """Up to a count, or a share, of refused rows the task succeeds."""
        fill(warehouse, 10)
        warehouse.run("UPDATE users SET id = NULL WHERE id = '0004'")
        segment.refuse(lambda message: message["userId"] == "0007")
        report = operator(max_rejected=allowed).execute({})
        assert (report["invalid"], report["rejected"], report["accepted"]) == (1, 1, 8)

    def test_error_names_the_row(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The error names row, call, field and rule of a bad row, and no log shows its values."""
        warehouse.run("CREATE TABLE users (id, email); INSERT INTO users VALUES (NULL, 'secret@example.com')")
        with new_dag() as dag:
            operator(task_id="sync")
        assert run_dag(dag).state == "failed"
        shown = capfd.readouterr()
        assert "1 of 1 calls were refused, and max_rejected allows 0" in shown.out + shown.err
        assert "row 1, identify" in shown.out + shown.err
        assert "no_user_anon_id" in shown.out + shown.err
        assert "secret@example.com" not in shown.out + shown.err

    def test_missing_zone(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A timestamp without a zone stops the task, naming row, column and setting, and no log shows the row."""
        warehouse.run("CREATE TABLE users (id, email, seen)")
        warehouse.insert("users", [("u1", "secret@example.com", "2026-01-31 10:30:00")])
        with new_dag() as dag:
            operator(task_id="sync", calls=Identify(user_id="id", traits=["email"], timestamp="seen"))
        assert run_dag(dag).state == "failed"
        shown = capfd.readouterr()
        assert "row 1, identify, column seen, timestamp: found a timestamp without a time zone" in shown.out + shown.err
        assert "set timezone='UTC'" in shown.out + shown.err
        assert "secret@example.com" not in shown.out + shown.err
        assert segment.requests == []

    def test_outage(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
        """When Segment goes away for good, what was accepted and what was not sent are in the report."""
        fill(warehouse, 10_000)
        segment.respond_with([None, 401])
        segment.respond_with(lambda _: 401)
        with new_dag() as dag:
            operator(task_id="sync", max_in_flight=1)
        run = run_dag(dag)
        assert run.task("sync") == ("failed", 1)
        report = run.xcom("sync", "report")
        assert report["accepted"] == len(segment.messages) > 0
        assert report["not_sent"] > 0
        assert report["calls"] == sum(report[name] for name in COUNTS)


class TestLog:
    """The log says what a run does, and how it went."""

    def test_start_progress_end(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        run_dag: RunDag,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The log says at the start from where to where and what, on the way how far, and at the end how it went."""
        monkeypatch.setattr(hook_module, "PROGRESS_SECONDS", 0.0)
        fill(warehouse, 25)
        calls = [
            USERS,
            Track(event=Constant("Seen"), user_id="id"),
            Group(group_id="plan", user_id="id", enabled=False),
        ]
        with new_dag() as dag:
            operator(task_id="sync", calls=calls, fetch_size=10)
        assert run_dag(dag).state == "success"
        log = capfd.readouterr().out
        assert (
            f"From warehouse (sqlite, plain cursor) to {segment.url}/v1: identify, track:Seen, group (turned off); "
            "sync_mode all; no limit of events a second; Segment bills each call" in log
        )
        read = [int(number) for number in re.findall(r"(\d+) rows read, \d+ calls, \d+ accepted, \d+ a second", log)]
        assert sorted(set(read)) == [10, 20, 25]
        assert "Done: 25 rows, 50 calls: 50 accepted, 0 unchanged, 0 invalid, 0 rejected, 0 not sent; " in log
        assert "user7@example.com" not in log
        assert json.loads(segment.connection)["password"] not in log

    def test_limit(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        run_dag: RunDag,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The start names the limit that the connection sets."""
        limited = {**json.loads(segment.connection), "extra": {"events_per_second": 5000}}
        monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(limited))
        fill(warehouse, 1)
        with new_dag() as dag:
            operator(task_id="sync")
        assert run_dag(dag).state == "success"
        assert "at most 5,000 events a second" in capfd.readouterr().out


class TestRetry:
    """Another try of a task repeats its message ids, so that Segment removes what it has already."""

    def test_source_fails_and_rows_come_in_another_order(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag
    ) -> None:
        """A try that read the rows in another order, and failed halfway, leaves no second event behind.

        On Airflow 3.3, which keeps what tries remember, not even on the way.
        """
        fill(warehouse, 12_000)
        warehouse.run("INSERT INTO users SELECT * FROM users WHERE id < '0500'")  # rows that repeat exactly
        broken = "abs(-9223372036854775807 - (row = 9000))"  # SQLite's integer overflow: fails at that row
        rows = "SELECT u.*, row_number() OVER () AS row FROM (SELECT * FROM users ORDER BY {order}) u"
        tries = (
            f"SELECT id, email, plan FROM ({rows.format(order='rowid')}) WHERE {broken} > 0",  # noqa: S608
            f"SELECT id, email, plan FROM ({rows.format(order='email DESC, rowid DESC')})",  # noqa: S608
        )
        with new_dag() as dag:
            operator(
                task_id="sync",
                sql=f"{{% if ti.try_number == 1 %}}{tries[0]}{{% else %}}{tries[1]}{{% endif %}}",
                retries=1,
                retry_delay=NO_WAIT,
            )
        expected = undisturbed(run_dag, segment, dag.dag_id)
        run = run_dag(dag, AT)
        assert run.task("sync") == ("success", 2)
        report = run.xcom("sync")
        assert report["accepted"] + report["unchanged"] == 12_500
        assert {message["messageId"] for message in segment.messages} == expected
        assert len(segment.messages) == len(expected) == 12_500
        assert (report["unchanged"] if HAS_STORE else len(segment.duplicates)) > 2_000
        assert not (segment.duplicates if HAS_STORE else report["unchanged"])

    def test_killed(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, tmp_path: Path) -> None:
        """A worker that is killed halfway and a second try in another order leave exactly the events of a quiet run."""
        fill(warehouse, 12_000)
        warehouse.run("CREATE VIEW source AS SELECT * FROM users ORDER BY id")
        (tmp_path / "dags").mkdir()
        script = tmp_path / "dags" / "killed_dag.py"
        script.write_text(KILLED_DAG)
        dag = runpy.run_path(str(script))["dag"]
        expected = undisturbed(run_dag, segment, dag.dag_id)
        assert len(expected) == 12_000

        child: list[subprocess.Popen[bytes]] = []
        segment.respond_with(lambda _: child[0].kill() if len(segment.requests) >= 3 else None)
        folder = {"AIRFLOW__CORE__DAGS_FOLDER": str(script.parent), "PYTHONPATH": str(Path(__file__).parent)}
        with (tmp_path / "log").open("wb") as log:
            command = [sys.executable, str(script)]
            child.append(subprocess.Popen(command, env={**os.environ, **folder}, stdout=log, stderr=log))  # noqa: S603
            assert child[0].wait(120) == -signal.SIGKILL, (tmp_path / "log").read_text()
        segment.stop()  # waits for what it still holds of the killed
        sent_before = len(segment.messages)
        segment.start()
        assert 0 < sent_before < 12_000

        warehouse.run("DROP VIEW source; CREATE VIEW source AS SELECT * FROM users ORDER BY email DESC")
        assert run_dag(dag, AT).state == "success"
        assert {message["messageId"] for message in segment.messages} == expected
        assert len(segment.messages) == 12_000
        assert len(segment.duplicates) == sent_before

    def test_key(self, segment: SegmentServer, warehouse: SqliteWarehouse) -> None:
        """With a key, rows of equal key and content are one call; without, each is a call of its own."""
        fill(warehouse, 3)
        warehouse.run("INSERT INTO users SELECT * FROM users")
        operator(task_id="with_key", key="id").execute({})
        assert (len(segment.messages), len(segment.duplicates)) == (3, 3)
        operator(task_id="without").execute({})
        assert (len(segment.messages), len(segment.duplicates)) == (9, 3)

    def test_sync_id(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
        """The same run with another sync id is sent anew, on purpose."""
        fill(warehouse, 3)
        with new_dag(params={"part": "a"}) as dag:
            operator(task_id="sync", sync_id="users-{{ params.part }}")
        run_dag(dag, AT)
        run_dag(dag, AT)
        assert (len(segment.messages), len(segment.duplicates)) == (3, 3)
        dag.task_dict["sync"].sync_id = "users-b"
        run_dag(dag, AT)
        assert (len(segment.messages), len(segment.duplicates)) == (6, 3)


KILLED_DAG = """
import datetime as dt
import runs
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_segment.calls import Identify
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

AT = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
with DAG("killed", start_date=AT, schedule=None) as dag:
    SqlToSegmentOperator(
        task_id="sync",
        sql="SELECT * FROM source",
        sql_conn_id="warehouse",
        calls=Identify(user_id="id", traits=["email"]),
        max_in_flight=2,
    )
if __name__ == "__main__":
    assert runs.run(dag, AT).state == "success"
"""
HASHED_DAG = """
import datetime as dt, json, sys
from airflow.providers.common.compat.sdk import DAG
try:
    from airflow.serialization.serialized_objects import DagSerialization as Serialized
except ImportError:
    from airflow.serialization.serialized_objects import SerializedDAG as Serialized
from airflow_provider_segment.calls import AllColumns, Constant, Identify, Track
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

names = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta"}
calls = [
    Identify(user_id="id", traits=AllColumns(exclude=names, extra={"tags": Constant(names)}), when={"kind": names}),
    Track(event=Constant("Seen"), user_id="id", on_change={"added", "deleted", "updated"},
          properties={"nested": {"tags": Constant({"deep": frozenset(names)})}}),
]
with DAG("hashed", start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), schedule=None) as dag:
    SqlToSegmentOperator(task_id="plain", sql="SELECT 1", sql_conn_id="warehouse", calls=calls)
    SqlToSegmentOperator.partial(task_id="mapped", sql_conn_id="warehouse", calls=calls).expand(sql=["a", "b"])
serialized = json.dumps(Serialized.to_dict(dag), sort_keys=True)
assert "epsilon" in serialized
sys.stderr.write("SERIALIZED " + serialized)
"""


def test_serialized_dag_is_the_same_at_every_parse(tmp_path: Path) -> None:
    """Sets in calls do not make another DAG of it at every parse, for a plain and for a mapped task."""
    script = tmp_path / "hashed_dag.py"
    script.write_text(HASHED_DAG)
    command = [sys.executable, str(script)]
    children = [
        subprocess.Popen(command, env={**os.environ, "PYTHONHASHSEED": str(seed)}, stderr=subprocess.PIPE, text=True)  # noqa: S603
        for seed in (0, 1, 3)  # under some two of them each set has another order
    ]
    said = [child.communicate()[1].partition("SERIALIZED ")[2] for child in children]
    assert [child.returncode for child in children] == [0] * 3
    assert len(set(said)) == 1
    assert "hashed" in said[0]


POSTGRES_TYPES: dict[str, tuple[str, Any]] = {
    "integer": ("7", 7),
    "bigint": ("9007199254740993::bigint", 9007199254740993),
    "numeric": ("12.50::numeric(10, 2)", 12.5),
    "double": ("0.1::float8", 0.1),
    "boolean": ("true", True),
    "null": ("NULL::text", None),
    "text": ("'Zoë'::text", "Zoë"),
    "timestamptz": ("'2026-01-31 10:30:00+01'::timestamptz", "2026-01-31T09:30:00Z"),
    "timestamp": ("'2026-01-31 10:30:00.123456'::timestamp", "2026-01-31T10:30:00.123456Z"),
    "date": ("'2026-01-31'::date", "2026-01-31"),
    "time": ("'09:30'::time", "09:30:00"),
    "interval": ("'1 hour 30 minutes'::interval", 5400),
    "jsonb": ("""'{"a": [1, {"b": null}]}'::jsonb""", {"a": [1, {"b": None}]}),
    "json": ("""'[1, "x"]'::json""", [1, "x"]),
    "uuid": ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "array of text": ("ARRAY['a', NULL, 'c']", ["a", None, "c"]),
    "array of integers": ("ARRAY[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
    "array of numerics": ("ARRAY[1.5::numeric]", [1.5]),
    "array of timestamps": ("ARRAY['2026-01-31 10:30:00+01'::timestamptz]", ["2026-01-31T09:30:00Z"]),
    "bytea": ("'\\xdeadbeef'::bytea", "3q2+7w=="),
    "inet": ("'192.0.2.1'::inet", "192.0.2.1"),
    "range": ("'[1,5)'::int4range", {"lower": 1, "upper": 5, "bounds": "[)"}),
}

NO_SINGLE_QUERY = {
    "INSERT": "INSERT INTO users VALUES ('new', 'new@example.com') RETURNING id, email",
    "UPDATE": "UPDATE users SET email = 'x' RETURNING id, email",
    "DO": "DO $$ BEGIN INSERT INTO users VALUES ('new', 'x'); END $$",
    "INSERT after a comment": "-- all of them\n/* SELECT */ INSERT INTO users VALUES ('new', 'x') RETURNING id, email",
    "INSERT in a WITH": "WITH n AS (INSERT INTO users VALUES ('new', 'x') RETURNING id, email) SELECT * FROM n",
}
SINGLE_QUERIES = {
    "SELECT": "SELECT * FROM users",
    "a semicolon at the end": "SELECT * FROM users;\n-- done\n",
    "a semicolon in a text": "SELECT id, email || ';' AS email FROM users",
    "WITH": "WITH u AS (SELECT * FROM users) SELECT * FROM u",
    "VALUES": "SELECT column1 AS id, column2 AS email FROM (VALUES ('u1', 'x'), ('u2', 'y'), ('u3', 'z')) AS v",
    "brackets": "(SELECT * FROM users) UNION ALL (SELECT * FROM users WHERE false)",
    "a comment first": "/* INSERT */ -- INSERT\nSELECT * FROM users",
}


class TestPostgres:
    """PostgreSQL is read through a server-side cursor, in constant memory."""

    def test_server_side_cursor(self, segment: SegmentServer, postgres: PostgresWarehouse, run_dag: RunDag) -> None:
        """The query runs as a cursor of the server, and as a plain one where the switch says so."""
        sql = "SELECT 'u1' AS id, (SELECT count(*) FROM pg_cursors WHERE statement LIKE '%u1%') AS cursors"
        calls = Identify(user_id="id", traits=["cursors"])
        with new_dag() as dag:
            operator(task_id="streamed", sql=sql, sql_conn_id="postgres", calls=calls)
            operator(
                task_id="plain", sql=sql, sql_conn_id="postgres", calls=calls, sql_hook_params={"streaming": False}
            ).set_upstream(dag.task_dict["streamed"])
        assert run_dag(dag).state == "success"
        assert [message["traits"]["cursors"] for message in segment.messages] == [1, 0]

    @pytest.mark.parametrize("streaming", [True, False])
    def test_no_rows(self, segment: SegmentServer, postgres: PostgresWarehouse, streaming: bool) -> None:
        """A query without rows is a success, and a missing column of it is still found."""
        people(postgres, 0)
        source = {"sql_conn_id": "postgres", "sql_hook_params": {"streaming": streaming}}
        assert operator(**source).execute({})["rows"] == 0
        with pytest.raises(Exception, match="the column 'uid', which the query does not return; it returns id, email"):
            operator(**source, calls=Identify(user_id="uid")).execute({})
        assert segment.requests == []

    @pytest.mark.parametrize(("expression", "expected"), POSTGRES_TYPES.values(), ids=POSTGRES_TYPES)
    def test_types(self, segment: SegmentServer, postgres: PostgresWarehouse, expression: str, expected: Any) -> None:
        """A value of each type arrives as this JSON."""
        sql = f"SELECT 'u1' AS id, {expression} AS value"
        operator(
            sql=sql, sql_conn_id="postgres", calls=Identify(user_id="id", traits=["value"]), timezone="UTC"
        ).execute({})
        (message,) = segment.messages
        assert message["traits"] == {"value": expected}

    def test_numeric_keeps_its_digits(self, segment: SegmentServer, postgres: PostgresWarehouse) -> None:
        """All digits of a numeric are on the wire."""
        sql = "SELECT 'u1' AS id, 12345678901234567890.1234567890::numeric AS value"
        operator(sql=sql, sql_conn_id="postgres", calls=Identify(user_id="id", traits=["value"])).execute({})
        assert b'"value":12345678901234567890.1234567890' in segment.requests[0].body

    @pytest.mark.parametrize("streaming", [True, False])
    def test_dictcursor(
        self,
        segment: SegmentServer,
        postgres: PostgresWarehouse,
        monkeypatch: pytest.MonkeyPatch,
        streaming: bool,
    ) -> None:
        """A connection whose extra asks for rows as dicts is read like any other."""
        people(postgres, 3)
        monkeypatch.setenv("AIRFLOW_CONN_POSTGRES", postgres.connection(cursor="dictcursor"))
        operator(sql_conn_id="postgres", sql_hook_params={"streaming": streaming}, fetch_size=2).execute({})
        assert {message["userId"]: message["traits"]["email"] for message in segment.messages} == {
            "u1": "user1@example.com",
            "u2": "user2@example.com",
            "u3": "user3@example.com",
        }

    @pytest.mark.parametrize("sql", SINGLE_QUERIES.values(), ids=SINGLE_QUERIES)
    def test_single_query(self, segment: SegmentServer, postgres: PostgresWarehouse, sql: str) -> None:
        """Whatever is one query can be read."""
        people(postgres, 3)
        operator(sql=sql, sql_conn_id="postgres").execute({})
        assert {message["userId"] for message in segment.messages} == {"u1", "u2", "u3"}

    @pytest.mark.parametrize("sql", NO_SINGLE_QUERY.values(), ids=NO_SINGLE_QUERY)
    def test_no_single_query(self, segment: SegmentServer, postgres: PostgresWarehouse, sql: str) -> None:
        """What is no single query is refused, changes nothing, and the error names the switch."""
        people(postgres, 2)
        with pytest.raises(Exception, match=re.escape("sql_hook_params={'streaming': False}")):
            operator(sql=sql, sql_conn_id="postgres").execute({})
        assert postgres.count("SELECT count(*) FROM users WHERE id = 'new' OR email = 'x'") == 0
        assert segment.requests == []

    def test_plain_cursor(self, segment: SegmentServer, postgres: PostgresWarehouse) -> None:
        """The switch lets a statement through that returns rows."""
        people(postgres, 0)
        operator(sql=NO_SINGLE_QUERY["INSERT"], sql_conn_id="postgres", sql_hook_params={"streaming": False}).execute(
            {}
        )
        assert [message["userId"] for message in segment.messages] == ["new"]

    def test_plain_cursor_keeps_what_was_changed(self, segment: SegmentServer, postgres: PostgresWarehouse) -> None:
        """What such a statement changed stays changed once its rows were accepted."""
        people(postgres, 0)
        operator(sql=NO_SINGLE_QUERY["INSERT"], sql_conn_id="postgres", sql_hook_params={"streaming": False}).execute(
            {}
        )
        assert len(segment.messages) == 1
        assert postgres.count("SELECT count(*) FROM users") == 1

    def test_plain_cursor_without_a_result(self, segment: SegmentServer, postgres: PostgresWarehouse) -> None:
        """A statement without a result set is an error that says so."""
        people(postgres, 1)
        with pytest.raises(Exception, match="sql: the query returns no result set; expected a SELECT"):
            operator(
                sql="UPDATE users SET email = 'x'", sql_conn_id="postgres", sql_hook_params={"streaming": False}
            ).execute({})
        assert segment.requests == []

    @pytest.mark.parametrize(
        ("sql", "parameters", "users"),
        [
            ("SELECT * FROM users WHERE email LIKE 'user1%'", None, {"u1"}),
            ("SELECT * FROM users WHERE email LIKE %s", ["%2@example.com"], {"u2"}),
            ("SELECT * FROM users WHERE email LIKE 'user%%' AND id = %(id)s", {"id": "u3"}, {"u3"}),
        ],
    )
    def test_like(
        self, segment: SegmentServer, postgres: PostgresWarehouse, sql: str, parameters: Any, users: set[str]
    ) -> None:
        """Without parameters a percent sign means itself; with parameters it is written twice, as the driver says."""
        people(postgres, 5)
        operator(sql=sql, sql_conn_id="postgres", parameters=parameters).execute({})
        assert {message["userId"] for message in segment.messages} == users

    @pytest.mark.parametrize(
        ("sql", "text"),
        [
            ("SELECT * FROM nowhere", 'SQLSTATE 42P01: relation "nowhere" does not exist'),
            ("SELECT nothing FROM users", 'SQLSTATE 42703: column "nothing" does not exist'),
            ("SELECT FROM WHERE", "SQLSTATE 42601: syntax error"),
        ],
    )
    def test_wrong_query(self, segment: SegmentServer, postgres: PostgresWarehouse, sql: str, text: str) -> None:
        """The database's own words about the query are shown."""
        people(postgres, 1)
        with pytest.raises(Exception, match=re.escape(text)):
            operator(sql=sql, sql_conn_id="postgres").execute({})
        assert segment.requests == []

    @pytest.mark.parametrize("streaming", [True, False])
    def test_error_that_quotes_a_row(
        self,
        segment: SegmentServer,
        postgres: PostgresWarehouse,
        run_dag: RunDag,
        streaming: bool,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """A database's error that quotes a row's value shows it neither in the exception nor in any log."""
        people(postgres, 3)
        postgres.run("INSERT INTO users VALUES ('u4', 'secret@example.com')")
        source = {"sql_conn_id": "postgres", "sql_hook_params": {"streaming": streaming}}
        sql = "SELECT id, (CASE WHEN id = 'u4' THEN email ELSE '7' END)::int AS email FROM users"
        with new_dag() as dag:
            operator(task_id="sync", sql=sql, **source)
        with caplog.at_level("DEBUG"):
            with pytest.raises(Exception, match="SQLSTATE 22P02; run the query by hand") as caught:
                operator(sql=sql, **source).execute({})
            assert run_dag(dag).state == "failed"
        shown = capfd.readouterr()
        assert "SQLSTATE 22P02" in shown.out + shown.err
        for text in (*chain(caught.value), caplog.text, shown.out, shown.err):
            assert "secret" not in text

    def test_error_in_the_middle(self, segment: SegmentServer, postgres: PostgresWarehouse, run_dag: RunDag) -> None:
        """A database that fails halfway fails the try; the task's retry, in another order, repeats the ids."""
        people(postgres, 12_000)
        tries = (
            "SELECT id, email, 1 / (9000 - substr(id, 2)::int) AS x FROM users",
            "SELECT id, email, 1 AS x FROM users ORDER BY email DESC",
        )
        calls = Identify(user_id="id", traits=["email"])
        with new_dag() as dag:
            operator(
                task_id="sync",
                sql=f"SELECT id, email FROM ({{{{ {tries!r}[ti.try_number - 1] }}}}) AS u WHERE x IS NOT NULL",  # noqa: S608
                sql_conn_id="postgres",
                calls=calls,
                retries=1,
                retry_delay=NO_WAIT,
            )
        expected = undisturbed(run_dag, segment, dag.dag_id, sql_conn_id="postgres", calls=calls)
        run = run_dag(dag, AT)
        assert run.task("sync") == ("success", 2)
        assert {message["messageId"] for message in segment.messages} == expected
        assert len(segment.messages) == len(expected) == 12_000
        assert (run.xcom("sync")["unchanged"] if HAS_STORE else len(segment.duplicates)) > 2_000


def operator(**changed: Any) -> SqlToSegmentOperator:
    """Return an operator that identifies the users of the warehouse, with some settings changed."""
    settings = {"task_id": "sync", "sql": "SELECT * FROM users", "sql_conn_id": "warehouse", "calls": USERS}
    return SqlToSegmentOperator(**(settings | changed))


def fill(warehouse: SqliteWarehouse, count: int) -> None:
    """Make users 0000, 0001 ...; each third has the plan pro."""
    warehouse.run("CREATE TABLE users (id TEXT, email TEXT, plan TEXT)")
    users = [(f"{n:04}", f"user{n}@example.com", "free" if n % 3 else "pro") for n in range(count)]
    if users:
        warehouse.insert("users", users)


def people(postgres: PostgresWarehouse, count: int) -> None:
    """Make users u1, u2 ..."""
    postgres.run(
        "CREATE TABLE users AS SELECT 'u' || n AS id, 'user' || n || '@example.com' AS email "  # noqa: S608
        f"FROM generate_series(1, {count}) AS n"
    )


def undisturbed(run_dag: RunDag, segment: SegmentServer, dag_id: str, **changed: Any) -> set[str]:
    """Return the message ids of a run of the same name at the same date that nothing disturbs, and forget it."""
    with new_dag() as dag:
        operator(sync_id=f"{dag_id}.sync", **changed)
    assert run_dag(dag, AT).state == "success"
    ids = {message["messageId"] for message in segment.messages}
    segment.reset()
    return ids
