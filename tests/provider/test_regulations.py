"""The users of a query are suppressed or deleted at Segment: each once, and never more than allowed."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import processes
import pytest
import runs
from airflow.providers.common.compat.sdk import DAG
from runs import HAS_STORE, NO_WAIT, SECONDS_TO_END, Run, RunDag, again, new_dag
from waiting import until
from warehouses import PostgresWarehouse, SqliteWarehouse

from airflow_provider_segment.hooks.state import open_database_regulated
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment_regulation import SqlToSegmentRegulationOperator

PLACES = ["file", "postgres", "mariadb"]
CANARY = "forget-me-zaphod"


@pytest.fixture(params=PLACES)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The settings of an empty state."""
    if request.param == "mariadb":
        return {"state_conn_id": request.getfixturevalue("mariadb_connection")}
    if request.param == "postgres":
        request.getfixturevalue("postgres")
        return {"state_conn_id": "postgres"}
    return {"state_path": str(tmp_path / "new" / "state.db")}


@pytest.fixture
def _signals() -> Iterator[None]:
    """Airflow's handler of SIGTERM does not outlive the test."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def operator(**changed: Any) -> SqlToSegmentRegulationOperator:
    """Return an operator that deletes the users of the warehouse, with some settings changed."""
    settings: dict[str, Any] = {
        "task_id": "forget",
        "sql": "SELECT id FROM leavers ORDER BY rowid",
        "sql_conn_id": "warehouse",
        "regulation_type": "SUPPRESS_WITH_DELETE",
        "max_users": 20_000,
        "retry_delay": NO_WAIT,
    }
    return SqlToSegmentRegulationOperator(**(settings | changed))


def run_one(run_dag: RunDag, **changed: Any) -> Run:
    """Run a DAG of such a task."""
    with new_dag() as dag:
        operator(**changed)
    return run_dag(dag)


def fill(warehouse: SqliteWarehouse, *users: Any) -> None:
    warehouse.run("CREATE TABLE IF NOT EXISTS leavers (id); DELETE FROM leavers")
    if users:
        warehouse.insert("leavers", [(user,) for user in users])


def many(count: int, first: int = 0) -> list[str]:
    return [f"{CANARY}-{number:06}" for number in range(first, first + count)]


def regulated(segment: SegmentServer) -> list[list[str]]:
    """Return the users of each regulation that Segment took."""
    return [one["subjects"] for one in segment.public_api.regulations.made]


def posts(segment: SegmentServer) -> list[str]:
    return [request.path for request in segment.requests if request.method == "POST"]


class TestCalls:
    """Users go in calls of at most 5,000, and the report counts each."""

    def test_twelve_thousand(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        run_dag: RunDag,
        capfd: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """12,000 users are three calls; the second is refused twice by 429, and made when Segment lets it."""
        fill(warehouse, *many(12_000))
        limit = (429, {"Retry-After": "1"})
        segment.public_api.respond_with([None, limit, limit, None])
        run = run_one(run_dag)
        report = run.xcom("forget")
        assert regulated(segment) == [many(5_000), many(5_000, 5_000), many(2_000, 10_000)]
        assert posts(segment) == ["/regulations"] * 5
        assert (report["rows"], report["calls"], report["accepted"], report["not_sent"]) == (12_000, 12_000, 12_000, 0)
        assert (report["batches"], report["requests"], report["retries"]) == (3, 5, 2)
        assert report["bytes"] > 12_000 * len(many(1)[0])
        assert report["planned"] == {"SUPPRESS_WITH_DELETE": {"all": 12_000}}
        assert report["regulations"] == [one["id"] for one in segment.public_api.regulations.made]
        body = json.loads(segment.requests[0].body)
        assert {name: body[name] for name in ("regulationType", "subjectType")} == {
            "regulationType": "SUPPRESS_WITH_DELETE",
            "subjectType": "USER_ID",
        }
        assert "12,000 rows, 12,000 calls: 12,000 accepted" in capfd.readouterr().out + caplog.text

    def test_one_source(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
        """With scope="source" the regulations are those of the connection's source."""
        fill(warehouse, "u1", 7)
        report = run_one(run_dag, scope="source", regulation_type="DELETE_ARCHIVE_ONLY").xcom("forget")
        assert posts(segment) == ["/regulations/sources/local-source"]
        assert regulated(segment) == [["u1", "7"]]
        assert report["accepted"] == 2

    def test_nobody(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
        """A query without rows makes no call, and succeeds."""
        fill(warehouse)
        report = run_one(run_dag).xcom("forget")
        assert (report["rows"], report["regulations"], segment.requests) == (0, [], [])

    def test_changes_of_the_query_stay(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag
    ) -> None:
        """What the query changes is kept when the last regulation is taken, and not before."""
        warehouse.run("CREATE TABLE requests (id TEXT, done TEXT)")
        warehouse.insert("requests", [(user, None) for user in many(6_000)])
        sql = "UPDATE requests SET done = '{{ run_id }}' WHERE done IS NULL RETURNING id"
        segment.public_api.respond_with([None, 422])
        assert run_one(run_dag, sql=sql).state == "failed"
        assert count(warehouse, "done IS NOT NULL") == 0
        assert run_one(run_dag, sql=sql).state == "success"
        assert count(warehouse, "done IS NOT NULL") == 6_000

    def test_a_lost_answer(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
        """A call whose answer is lost is made again: Segment then has two regulations of the same users."""
        fill(warehouse, *many(3))
        segment.public_api.respond_with(["reset_after", None])
        report = run_one(run_dag).xcom("forget")
        assert regulated(segment) == [many(3)] * 2
        assert (report["accepted"], report["requests"], report["retries"]) == (3, 2, 1)
        assert report["regulations"] == [segment.public_api.regulations.made[1]["id"]]


def count(warehouse: SqliteWarehouse, condition: str) -> int:
    with closing(sqlite3.connect(warehouse.path)) as database:
        return int(database.execute(f"SELECT count(*) FROM requests WHERE {condition}").fetchone()[0])  # noqa: S608


class TestBeforeTheFirstCall:
    """All rows are read and checked before the first call; what must not be sent stops all."""

    def test_more_users_than_allowed(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
        """One user more than max_users: nothing is sent, and no retry tries it."""
        fill(warehouse, *many(11))
        run = run_one(run_dag, max_users=10, retries=2)
        assert run.task("forget") == ("failed", 1)
        assert segment.requests == []
        report = run.xcom("forget", "report")
        assert (report["calls"], report["accepted"], report["not_sent"]) == (11, 0, 11)
        assert report["planned"] == {"SUPPRESS_WITH_DELETE": {"all": 11}}
        assert run_one(run_dag, max_users="{{ params.most }}", params={"most": 11}).state == "success"

    def test_a_row_that_is_refused(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        run_dag: RunDag,
        tmp_path: Path,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """A missing, blank, repeated or wrong id is refused with its reason, and nothing is sent for it."""
        fill(warehouse, CANARY, None, " ", "", CANARY, 1.5, b"blob", "null", "u2")
        rejects = tmp_path / "rejects.jsonl"
        run = run_one(run_dag, rejects_path=str(rejects), retries=2)
        assert run.task("forget") == ("failed", 1)
        assert segment.requests == []
        report = run.xcom("forget", "report")
        assert (report["calls"], report["invalid"], report["not_sent"]) == (9, 7, 2)
        lines = [json.loads(line) for line in rejects.read_text().splitlines()]
        assert [(line["row"], line["code"]) for line in lines] == [
            (2, "id_required"),
            (3, "id_not_string"),
            (4, "id_required"),
            (5, "id_again"),
            (6, "id_not_string"),
            (7, "id_not_string"),
            (8, "id_is_placeholder"),
        ]
        assert lines[3]["message"] == {"userId": CANARY}
        assert "Nothing was sent: 7 of 9 calls were refused" in capfd.readouterr().out
        assert run_one(run_dag, max_rejected=7).state == "success"
        assert regulated(segment) == [[CANARY, "u2"]]

    def test_a_query_that_breaks_off(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
        """Where the rows break off, nobody is sent."""
        fill(warehouse, *many(6_000))
        sql = "SELECT id FROM (SELECT id, row_number() OVER () AS row FROM leavers) WHERE abs(-9223372036854775807 - (row = 5999)) > 0"  # noqa: E501
        assert run_one(run_dag, sql=sql).state == "failed"
        assert segment.requests == []

    @pytest.mark.parametrize("column", [None, "user_id"])
    def test_a_column_that_is_not_there(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, column: str | None
    ) -> None:
        """Of several columns one is named, and is there."""
        fill(warehouse, "u1")
        assert run_one(run_dag, sql="SELECT id, 1 AS plan FROM leavers", user_id=column).state == "failed"
        assert segment.requests == []
        assert run_one(run_dag, sql="SELECT 1 AS plan, id FROM leavers", user_id="ID").state == "success"
        assert regulated(segment) == [["u1"]]

    def test_validate_only(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, state: dict[str, str]
    ) -> None:
        """A run that only looks counts whom it would send, touches no state, and makes no call."""
        fill(warehouse, "u1", "u2", None)
        for _ in range(2):
            report = run_one(run_dag, validate_only="{{ True }}", max_users=1, **state).xcom("forget")
            assert (report["not_sent"], report["invalid"], report["accepted"]) == (2, 1, 0)
            assert report["planned"] == {"SUPPRESS_WITH_DELETE": {"all": 2}}
        assert segment.requests == []
        if "state_path" in state:
            assert not Path(state["state_path"]).exists()


PARSE = {
    "no max_users": ({"max_users": None}, "max_users: expected a whole number above 0, found None"),
    "none at all": ({"max_users": 0}, "max_users: expected a whole number above 0, found 0"),
    "a share": ({"max_users": 0.5}, "max_users: "),
    "a type of nobody": ({"regulation_type": "FORGET"}, "regulation_type: expected one of SUPPRESS_ONLY, "),
    "a source's type": ({"regulation_type": "DELETE_ARCHIVE_ONLY"}, "regulation_type: "),
    "another scope": ({"scope": "world"}, "scope: expected workspace or source, found 'world'"),
    "two states": ({"state_path": "x.db", "state_conn_id": "c"}, "state_path, state_conn_id: "),
    "a schema of a file": ({"state_path": "x.db", "state_schema": "s"}, "state_schema: "),
    "a share above one": ({"max_rejected": 1.5}, "max_rejected: "),
    "no column": ({"user_id": ""}, "user_id: expected text, found ''"),
    "no statement": ({"sql": " "}, "sql: "),
}


@pytest.mark.parametrize(("changed", "said"), PARSE.values(), ids=PARSE)
def test_a_wrong_setting_fails_the_parsing(changed: dict[str, Any], said: str) -> None:
    """A setting that is missing or wrong fails when the DAG is parsed."""
    with pytest.raises(ValueError, match=said):
        operator(**changed)


def test_max_users_has_no_default() -> None:
    """Whoever does not say how many users may be deleted gets no task."""
    with pytest.raises(Exception, match="max_users"):
        SqlToSegmentRegulationOperator(
            task_id="forget", sql="SELECT 1", sql_conn_id="warehouse", regulation_type="DELETE_ONLY"
        )


class TestDays:
    """With a state a user is sent once, for as long as the query returns the user."""

    def day(self, dag: DAG, run_dag: RunDag, number: int) -> dict[str, Any]:
        run = run_dag(dag, dt.datetime(2026, 5, number, tzinfo=dt.UTC))
        assert run.state == "success"
        report: dict[str, Any] = run.xcom("forget")
        return report

    def test_several_days(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, state: dict[str, str]
    ) -> None:
        """Nobody is sent twice; a new one is; who left the query and is there again is sent again."""
        with new_dag() as dag:
            operator(**state)
        fill(warehouse, "u1", "u2", "u3")
        assert self.day(dag, run_dag, 1)["accepted"] == 3
        report = self.day(dag, run_dag, 2)
        assert (report["accepted"], report["unchanged"], report["regulations"]) == (0, 3, [])
        fill(warehouse, "u4", "u3", "u2")
        report = self.day(dag, run_dag, 3)
        assert (report["accepted"], report["unchanged"], len(report["regulations"])) == (1, 2, 1)
        fill(warehouse, *("u1", "u2", "u3", "u4"))
        assert self.day(dag, run_dag, 4)["accepted"] == 1
        assert regulated(segment) == [["u1", "u2", "u3"], ["u4"], ["u1"]]

    def test_everything_changed(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, state: dict[str, str]
    ) -> None:
        """Where all users are others on the second day, all are sent; and max_users counts those that are due."""
        with new_dag() as dag:
            operator(max_users=600, **state)
        fill(warehouse, *many(600))
        assert self.day(dag, run_dag, 1)["accepted"] == 600
        fill(warehouse, *many(600, 600))
        assert self.day(dag, run_dag, 2)["accepted"] == 600
        fill(warehouse, *many(1_200, 600))
        assert self.day(dag, run_dag, 3)["unchanged"] == 600

    def test_another_type_and_another_scope(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, state: dict[str, str]
    ) -> None:
        """What was asked of Segment is remembered by its type and scope: another one is due."""
        fill(warehouse, "u1")
        same = {"sync_id": "leavers", **state}
        for changed in ({"regulation_type": "SUPPRESS_ONLY"}, {}, {"scope": "source"}, {}, {"scope": "source"}):
            run_one(run_dag, **same, **changed)
        types = [(one["regulationType"], one["sourceId"]) for one in segment.public_api.regulations.made]
        deletes = "SUPPRESS_WITH_DELETE"
        assert types == [("SUPPRESS_ONLY", None), (deletes, None), (deletes, "local-source")]

    def test_mapped_tasks_name_their_syncs(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, tmp_path: Path
    ) -> None:
        """Mapped tasks with a state need a sync_id each, since each forgets whom its query does not return."""
        fill(warehouse, "u1", "u2")

        def run(*shards: dict[str, Any]) -> Run:
            with new_dag() as dag:
                SqlToSegmentRegulationOperator.partial(
                    task_id="forget",
                    sql_conn_id="warehouse",
                    regulation_type="DELETE_ONLY",
                    max_users=5,
                    state_path=str(tmp_path / "state.db"),
                ).expand_kwargs(list(shards))
            return run_dag(dag)

        queries = [{"sql": f"SELECT id FROM leavers WHERE id = 'u{n}'"} for n in (1, 2)]  # noqa: S608
        assert run(*queries).state == "failed"
        assert segment.requests == []
        named = [shard | {"sync_id": f"leavers_{number}"} for number, shard in enumerate(queries)]
        for _ in range(2):
            assert run(*named).state == "success"
        assert sorted(regulated(segment)) == [["u1"], ["u2"]]


class TestTries:
    """A retry sends nobody whom an earlier try of the run had sent, and its report names all regulations."""

    @pytest.mark.parametrize("place", [*(["store"] if HAS_STORE else []), "state"])
    def test_a_call_that_fails(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, tmp_path: Path, place: str
    ) -> None:
        """A try that fails between two calls is gone on with; "Clear task" after it sends nobody."""
        fill(warehouse, *many(12_000))
        limited(segment, deadline=0.01)
        segment.public_api.respond_with([None, (429, {"Retry-After": "60"})])
        with new_dag() as dag:
            operator(retries=1, **({"state_path": str(tmp_path / "state.db")} if place == "state" else {}))
        run = run_dag(dag)
        assert run.task("forget") == ("success", 2)
        report = run.xcom("forget")
        assert (report["unchanged"], report["accepted"], report["requests"]) == (5_000, 7_000, 2)
        made = [one["id"] for one in segment.public_api.regulations.made]
        assert sorted(report["regulations"]) == sorted(made)
        assert regulated(segment) == [many(5_000), many(5_000, 5_000), many(2_000, 10_000)]
        report = again(dag, run.run_id, "forget").xcom("forget")
        assert (report["unchanged"], report["accepted"]) == (12_000, 0)
        assert sorted(report["regulations"]) == sorted(made)

    @pytest.mark.skipif(HAS_STORE, reason="where Airflow has a store, a retry skips them")
    def test_nothing_is_known(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        run_dag: RunDag,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """Where nothing tells who was sent, a retry sends all again, and says so."""
        fill(warehouse, *many(6_000))
        limited(segment, deadline=0.01)
        segment.public_api.respond_with([None, 503])
        run = run_one(run_dag, retries=1)
        assert run.task("forget") == ("success", 2)
        assert [len(users) for users in regulated(segment)] == [5_000, 5_000, 1_000]
        assert "Try 2 of this run: the users of regulations that an earlier one made are sent again" in (
            capfd.readouterr().out
        )

    @pytest.mark.parametrize("place", [*(["store"] if HAS_STORE else []), "state"])
    def test_killed_between_two_calls(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, tmp_path: Path, place: str
    ) -> None:
        """After kill -9 between two calls a retry makes the others, and none twice."""
        fill(warehouse, *many(12_000))
        segment.public_api.respond_with([None, (429, {"Retry-After": "300"})])
        where = {"state_path": str(tmp_path / "state.db")} if place == "state" else {}
        environment = {
            "AIRFLOW_CONN_SEGMENT_DEFAULT": segment.connection,
            "AIRFLOW_CONN_WAREHOUSE": warehouse.connection,
        }
        child = processes.start(be_killed, environment, f"forget_{place}", where)
        try:
            until(lambda: len(segment.requests) == 2)
        finally:
            child.kill()
            child.join(60)
        assert child.exitcode == -signal.SIGKILL
        assert regulated(segment) == [many(5_000)]
        dag = killed_dag(f"forget_{place}", where)
        run = again(dag, runs.run_ids(dag.dag_id)[0], "forget")
        assert run.task("forget") == ("success", 2)
        assert regulated(segment) == [many(5_000), many(5_000, 5_000), many(2_000, 10_000)]
        assert len(run.xcom("forget")["regulations"]) == 3

    @pytest.mark.usefixtures("_signals")
    @pytest.mark.parametrize("step", ["hang", (429, {"Retry-After": "300"}), None], ids=str)
    def test_sigterm(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, step: Any) -> None:
        """A task that is told to end makes no further call, ends in time, and leaves its report."""
        fill(warehouse, *many(12_000))
        segment.public_api.respond_with([None, step])
        if step is None:
            segment.delay = 0.5
        began = [0.0]
        with new_dag() as dag:
            operator()

        def terminate() -> None:
            until(lambda: len(segment.requests) == 2)
            began[0] = time.monotonic()
            os.kill(os.getpid(), signal.SIGTERM)

        terminator = threading.Thread(target=terminate)
        terminator.start()
        with suppress(BaseException):  # `dag.test()` of Airflow 2 raises what ended it
            run_dag(dag)
        took = time.monotonic() - began[0]
        terminator.join(60)
        run = Run(SimpleNamespace(dag_id=dag.dag_id, run_id=runs.run_ids(dag.dag_id)[0], state="failed"))
        assert took < SECONDS_TO_END
        assert run.task("forget")[0] == "failed"
        assert len(segment.requests) == 2
        report = run.xcom("forget", "report")
        assert (report["accepted"], report["not_sent"]) == (5_000, 7_000)
        assert len(report["regulations"]) == 1


def be_killed(environment: dict[str, str], dag_id: str, where: dict[str, str]) -> None:
    """Be the first try: what runs in a process of its own."""
    os.environ.update(environment)
    runs.run(killed_dag(dag_id, where), dt.datetime(2026, 5, 1, tzinfo=dt.UTC))


def killed_dag(dag_id: str, where: dict[str, str]) -> DAG:
    with DAG(dag_id, start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), schedule=None) as dag:
        operator(**where)
    return dag


def limited(segment: SegmentServer, **extra: Any) -> None:
    """Change the connection's extra, for this test."""
    connection = json.loads(segment.connection)
    connection["extra"] |= extra
    os.environ["AIRFLOW_CONN_SEGMENT_DEFAULT"] = json.dumps(connection)


REFUSALS = {
    "a token that is refused": (401, 1, "public_api_token: "),
    "a plan without it": (403, 1, "look whether the workspace's plan has it"),
    "no such source": (404, 1, "has nothing for POST /regulations"),
    "what Segment does not take": (422, 1, "does not take what POST /regulations"),
    "another API": (302, 1, "does not answer as Segment's Public API"),
    "a quota": (429, 2, "no answer for now: HTTP 429"),
    "trouble": (500, 2, "no answer for now: HTTP 500"),
    "no network": ("reset", 2, "no answer for now: "),
    "no id in the answer": ((200, {}, b'{"data": {}}'), 1, "the regulation may have been made"),
    "no data": ((200, {}, b"[]"), 1, "the answer is none of Segment's Public API"),
}


@pytest.mark.parametrize(("step", "tries", "said"), REFUSALS.values(), ids=REFUSALS)
def test_what_segment_may_answer(
    segment: SegmentServer,
    warehouse: SqliteWarehouse,
    run_dag: RunDag,
    capfd: pytest.CaptureFixture[str],
    step: Any,
    tries: int,
    said: str,
) -> None:
    """Each answer that is no regulation fails the task in its own words; a retry comes where it may help."""
    fill(warehouse, *many(2))
    limited(segment, deadline=0.01)
    segment.public_api.respond_with(lambda _: step)
    run = run_one(run_dag, retries=1)
    assert run.task("forget") == ("failed", tries)
    report = run.xcom("forget", "report")
    assert (report["accepted"], report["not_sent"], report["regulations"]) == (0, 2, [])
    out = capfd.readouterr().out
    assert said in out
    assert CANARY not in out


def test_a_connection_without_a_token(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a token of the Public API, or with scope="source" without a source, the error says what is missing."""
    fill(warehouse, "u1")
    limited(segment, public_api_token=None)
    assert run_one(run_dag).state == "failed"
    assert "public_api_token is missing" in capfd.readouterr().out
    limited(segment, source_id=None)
    assert run_one(run_dag, scope="source").state == "failed"
    assert "source_id is missing" in capfd.readouterr().out
    assert segment.requests == []


def test_a_state_that_fails(
    segment: SegmentServer, warehouse: SqliteWarehouse, postgres: PostgresWarehouse, run_dag: RunDag
) -> None:
    """A state that cannot be written stops the run after the call that it does not know; the retry sends it again."""
    fill(warehouse, *many(6_000))

    def break_it(_: Any) -> None:
        if len(segment.requests) == 1:
            postgres.run("ALTER TABLE segment_regulated RENAME TO elsewhere")

    segment.public_api.respond_with(break_it)
    run = run_one(run_dag, state_conn_id="postgres", retries=1)
    assert run.task("forget") == ("success", 2)
    assert [len(users) for users in regulated(segment)] == [5_000, 5_000, 1_000]


def test_first_runs_at_once(postgres: PostgresWarehouse) -> None:
    """Runs that make the state's table at the same moment do not fail each other."""
    postgres.run("CREATE SCHEMA segment")
    where: dict[str, Any] = {"conn_id": "postgres", "schema": "segment", "path": None, "reads_only": False}

    def begin(number: int) -> set[int]:
        regulated = open_database_regulated(number, 1, **where)
        regulated.accepted("r1", [number])
        found = regulated.known()
        regulated.close()
        return found

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(begin, range(8))) == [{number} for number in range(8)]
    assert postgres.count("SELECT count(*) FROM segment.segment_regulated") == 8


def test_no_user_is_shown(
    segment: SegmentServer,
    warehouse: SqliteWarehouse,
    run_dag: RunDag,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No user id is in a log, an XCom or a rendered field, of a run that succeeds and of one that is refused."""
    caplog.set_level("DEBUG")
    fill(warehouse, CANARY, CANARY, None)
    assert run_one(run_dag, max_rejected=2).state == "success"
    assert run_one(run_dag).state == "failed"
    quoting = json.dumps(
        {"errors": [{"type": "invalid", "message": f"{CANARY} is not valid", "field": f"users {CANARY}"}]}
    )
    segment.public_api.respond_with([(422, {}, quoting.encode())])
    assert run_one(run_dag, max_rejected=2).state == "failed"
    with closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"]) / "airflow.db")) as database:
        tables = ("xcom", "rendered_task_instance_fields")
        stored = [str(row) for table in tables for row in database.execute(f"SELECT * FROM {table}")]  # noqa: S608
    captured = capfd.readouterr()
    assert regulated(segment) == [[CANARY]]
    for shown in (captured.out, captured.err, caplog.text, *stored):
        assert CANARY not in shown
