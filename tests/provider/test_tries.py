"""In mode "all" a later try of a run skips what earlier ones had acknowledged, and the log says what becomes of it."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import processes
import pytest
import runs
from airflow.providers.common.compat.sdk import DAG, AirflowTaskTimeout, task
from runs import COUNTS, HAS_STORE, NO_WAIT, RunDag, again, new_dag
from waiting import until
from warehouses import PostgresWarehouse, SqliteWarehouse

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.hooks import tries
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

PLACES = [*(["store"] if HAS_STORE else []), "file", "postgres", "mariadb"]
SKIPPED = "Earlier tries of this run had {} calls accepted"
CLEARED = "This run has succeeded before, with {} calls accepted, and was cleared"
UNKNOWN = "Try 2 of this run: what an earlier one had accepted is sent again"
ON_PURPOSE = "To send it on purpose, change sync_id"


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The settings of a place where the tries of a run remember, which is empty."""
    if request.param == "mariadb":
        return {"state_conn_id": request.getfixturevalue("mariadb_connection")}
    if request.param == "postgres":
        request.getfixturevalue("postgres")
        return {"state_conn_id": "postgres"}
    return {} if request.param == "store" else {"state_path": str(tmp_path / "new" / "tries.db")}


def operator(**changed: Any) -> SqlToSegmentOperator:
    """Return an operator that identifies the users of the warehouse, with some settings changed."""
    settings = {
        "task_id": "sync",
        "sql": "SELECT id, email FROM users",
        "sql_conn_id": "warehouse",
        "calls": Identify(user_id="id", traits=["email"]),
        "fetch_size": 500,
        "max_in_flight": 1,  # a batch is posted when the one before has come back: a try that fails had some accepted
        "retry_delay": NO_WAIT,
    }
    return SqlToSegmentOperator(**(settings | changed))


@pytest.fixture
def _small_batches(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 500, ten a second."""
    limited = json.loads(segment.connection) | {"extra": {"events_per_second": 5_000}}
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(limited))


def fill(warehouse: SqliteWarehouse, count: int, first: int = 0) -> None:
    warehouse.run("CREATE TABLE IF NOT EXISTS users (id TEXT, email TEXT)")
    warehouse.insert("users", [(f"u{n:06}", f"user{n}@example.com") for n in range(first, first + count)])


def ids(segment: SegmentServer) -> list[str]:
    return [message["userId"] for message in segment.messages]


# Fails at this row of those that the first try reads: SQLite's integer overflow.
FAILS = "SELECT id, email FROM (SELECT u.*, row_number() OVER () AS row FROM users u) WHERE abs(-9223372036854775807 - (row = {row} AND {when})) > 0"  # noqa: E501


def failing_at(row: int, tries_that_fail: int = 1) -> str:
    """Return a query whose first tries fail at a row; the others read the rows in reverse, after a new one."""
    broken = FAILS.format(row=row, when="1")
    reverse = "SELECT id, email FROM users ORDER BY id DESC"
    whole = f"SELECT 'new' AS id, 'new@example.com' AS email UNION ALL SELECT * FROM ({reverse})"  # noqa: S608
    return f"{{% if ti.try_number <= {tries_that_fail} %}}{broken}{{% else %}}{whole}{{% endif %}}"


@pytest.mark.usefixtures("_small_batches")
class TestResume:
    """A later try sends what no earlier one had acknowledged."""

    @pytest.mark.usefixtures("no_collection")
    def test_a_time_out_shorter_than_the_run(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, place: dict[str, str]
    ) -> None:
        """A task that no single try can end comes to its end: each goes on where the ones before were stopped."""
        fill(warehouse, 45_000)  # nine seconds
        order = "SELECT id, email FROM users ORDER BY id {{ ['ASC', 'DESC'][ti.try_number % 2] }}"
        with new_dag() as dag:
            operator(sql=order, execution_timeout=dt.timedelta(seconds=4), **place)
        with suppress(AirflowTaskTimeout):  # `dag.test()` of Airflow 2 raises it
            run_dag(dag)
        (run_id,) = runs.run_ids(dag.dag_id)
        one = len(segment.messages)
        assert again(dag, run_id, "sync").task("sync") == ("failed", 2)
        two = len(segment.messages)
        assert 0 < one < two < 45_000
        dag.task_dict["sync"].execution_timeout = None  # so that the last try ends here, however slow the machine
        run = again(dag, run_id, "sync")
        assert run.task("sync") == ("success", 3)
        assert sorted(ids(segment)) == [f"u{n:06}" for n in range(45_000)]
        assert segment.duplicates == []
        report = run.xcom("sync")
        assert report["calls"] == sum(report[name] for name in COUNTS) == 45_000
        assert (report["unchanged"], report["accepted"]) == (two, 45_000 - two)

    def test_other_rows_in_another_order(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        run_dag: RunDag,
        place: dict[str, str],
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """What was acknowledged is known by its id: the rows may come in reverse, and behind new ones."""
        fill(warehouse, 4_000)
        with new_dag() as dag:
            operator(sql=failing_at(3_000), retries=1, **place)
        run = run_dag(dag)
        assert run.task("sync") == ("success", 2)
        assert sorted(ids(segment)) == ["new", *(f"u{n:06}" for n in range(4_000))]
        assert segment.duplicates == []
        report = run.xcom("sync")
        assert report["accepted"] + report["unchanged"] == report["calls"] == 4_001
        out = capfd.readouterr().out
        assert SKIPPED.format(f"{report['unchanged']:,}") in out
        assert f"{report['unchanged']:,} of the unchanged calls were accepted by an earlier try" in out
        assert UNKNOWN not in out

    def test_everything_changed(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, place: dict[str, str]
    ) -> None:
        """Where all rows are others on the retry, none is skipped."""
        fill(warehouse, 3_000)
        changed = "SELECT id, 'new-' || email AS email FROM users"
        broken = FAILS.format(row=2_500, when="1")
        with new_dag() as dag:
            operator(sql=f"{{% if ti.try_number == 1 %}}{broken}{{% else %}}{changed}{{% endif %}}", retries=1, **place)
        run = run_dag(dag)
        assert run.task("sync") == ("success", 2)
        report = run.xcom("sync")
        assert (report["accepted"], report["unchanged"]) == (3_000, 0)
        assert len({m["userId"] for m in segment.messages if m["traits"]["email"].startswith("new-")}) == 3_000

    def test_own_message_ids(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, place: dict[str, str]
    ) -> None:
        """Messages with ids that the user gave are skipped as well, and only with the content that was acknowledged."""
        fill(warehouse, 3_000)
        calls = Track(event=Constant("Seen"), user_id="id", properties=["email"], message_id="id")
        whole = "SELECT id, CASE id WHEN 'u000007' THEN 'moved@example.com' ELSE email END AS email FROM users"
        broken = FAILS.format(row=2_500, when="1")
        with new_dag() as dag:
            sql = f"{{% if ti.try_number == 1 %}}{broken}{{% else %}}{whole}{{% endif %}}"
            operator(sql=sql, calls=calls, retries=1, **place)
        run = run_dag(dag)
        assert run.task("sync") == ("success", 2)
        assert len(segment.messages) == 3_000
        assert [message["userId"] for message in segment.duplicates] == ["u000007"]  # for Segment to judge

    def test_refused_rows_come_again(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, place: dict[str, str]
    ) -> None:
        """What Segment refused was not acknowledged: when nothing else is left, the write key is not blamed for it."""
        fill(warehouse, 2_000)
        segment.refuse(lambda message: message["userId"] == "u000003")
        with new_dag() as dag:
            operator(max_rejected=0, **place)
        run = run_dag(dag)
        assert run.xcom("sync", "report")["rejected"] == 1
        run = again(dag, run.run_id, "sync")
        report = run.xcom("sync", "report")
        assert (report["unchanged"], report["accepted"], report["rejected"]) == (1_999, 0, 1)
        assert segment.duplicates == []

    def test_mapped_tasks(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, place: dict[str, str]
    ) -> None:
        """Each map index has a memory of its own."""
        fill(warehouse, 6_000)
        tail = "{% if ti.try_number == 1 %}1{% else %}0{% endif %}"
        sql = FAILS.format(row=5_500, when=tail) + " AND CAST(substr(id, 2) AS INTEGER) % 2 = ?"
        with new_dag() as dag:
            SqlToSegmentOperator.partial(
                task_id="sync",
                sql=sql,
                sql_conn_id="warehouse",
                calls=Identify(user_id="id"),
                fetch_size=500,
                max_in_flight=1,  # when a batch is sent, the one before it was acknowledged
                retries=1,
                retry_delay=NO_WAIT,
                **place,
            ).expand(parameters=[[0], [1]])
        run = run_dag(dag)
        assert [run.task("sync", index) for index in (0, 1)] == [("success", 2)] * 2
        assert len(segment.messages) == 6_000
        assert segment.duplicates == []
        skipped = [run.xcom("sync", map_index=index)["unchanged"] for index in (0, 1)]
        assert min(skipped) >= 500

    def test_the_hook_in_a_task(self, segment: SegmentServer, run_dag: RunDag, place: dict[str, str]) -> None:
        """`hook.sync` in a `@task` resumes too, each of several syncs by itself."""

        @task(retries=1, retry_delay=NO_WAIT)
        def send(ti: Any = None) -> None:
            def rows(last: int) -> Any:
                for number in range(10_000):
                    if number == last and ti.try_number == 1:
                        raise RuntimeError("the source failed")
                    yield {"id": f"u{number}"}

            hook = SegmentHook()
            hook.sync(({"id": f"g{n}"} for n in range(3_000)), Identify(user_id="id"), sync_id="first", **place)
            hook.sync(rows(8_000), Identify(user_id="id"), **place)

        with new_dag() as dag:
            send()
        assert run_dag(dag).state == "success"
        assert len(segment.messages) == 13_000
        # The first sync had succeeded, and does again; of the second, nothing of the three pages that were sent.
        assert {message["userId"][0] for message in segment.duplicates} == {"g"}

    def test_another_run(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, place: dict[str, str]
    ) -> None:
        """The next day's run sends all of its rows, whatever a failed run has left."""
        fill(warehouse, 2_000)
        with new_dag() as dag:
            sql = FAILS.format(row=1_800, when="{{ params.fails }}")
            operator(sql=sql, params={"fails": 1}, max_in_flight=1, **place)
        assert run_dag(dag, runs_at(1)).state == "failed"
        assert 500 <= len(segment.messages) < 2_000
        dag.task_dict["sync"].params = {"fails": 0}
        dag.task_dict["sync"].sql = "SELECT id, email FROM users"
        run = run_dag(dag, runs_at(2))
        assert run.state == "success"
        assert run.xcom("sync")["accepted"] == 2_000


def runs_at(day: int) -> dt.datetime:
    return dt.datetime(2026, 5, day, tzinfo=dt.UTC)


@pytest.mark.usefixtures("_small_batches")
class TestWords:
    """The log says what becomes of what was sent before."""

    def test_cleared(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        run_dag: RunDag,
        place: dict[str, str],
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """ "Clear task" of a run that was accepted says that Segment drops all of it, and how to send it on purpose."""
        fill(warehouse, 2_000)
        with new_dag() as dag:
            operator(**place)
        run = run_dag(dag)
        assert CLEARED.format("2,000") not in capfd.readouterr().out
        run = again(dag, run.run_id, "sync")
        assert run.xcom("sync")["accepted"] == 2_000
        assert len(segment.messages) == len(segment.duplicates) == 2_000
        out = capfd.readouterr().out
        assert CLEARED.format("2,000") in out
        assert "Segment drops repeats for 24 hours or longer" in out
        assert ON_PURPOSE in out

    @pytest.mark.skipif(HAS_STORE, reason="where Airflow has a store, a retry skips them")
    def test_nothing_is_known(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        run_dag: RunDag,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """Where nothing tells what was accepted, a retry says so, and which settings would."""
        fill(warehouse, 3_000)
        with new_dag() as dag:
            operator(sql=failing_at(2_500), retries=1, max_in_flight=1)
        assert run_dag(dag).task("sync") == ("success", 2)
        out = capfd.readouterr().out
        assert out.count(UNKNOWN) == 1
        assert "set state_path or state_conn_id" in out
        assert ON_PURPOSE in out
        assert len(segment.duplicates) >= 1_000

    def test_first_try(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A first try has nothing to say."""
        fill(warehouse, 10)
        with new_dag() as dag:
            operator()
        assert run_dag(dag).state == "success"
        out = capfd.readouterr().out
        assert "earlier" not in out
        assert ON_PURPOSE not in out


# Kills (-9)


def be_killed(environment: dict[str, str], dag_id: str, place: dict[str, str]) -> None:
    """Be the first try: what runs in a process of its own."""
    os.environ.update(environment)
    tries.EVERY, tries.SHARE = 0.0, 1.0  # what is written every few seconds is written at each batch
    runs.run(killed_dag(dag_id, place), runs_at(3))


def killed_dag(dag_id: str, place: dict[str, str]) -> DAG:
    with DAG(dag_id, start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), schedule=None) as dag:
        operator(sql="SELECT id, email FROM users ORDER BY id {{ ['ASC', 'DESC'][ti.try_number % 2] }}", **place)
    return dag


@pytest.mark.parametrize("kind", [kind for kind in PLACES if kind in ("store", "file")])
def test_killed(segment: SegmentServer, warehouse: SqliteWarehouse, tmp_path: Path, kind: str) -> None:
    """After a kill (-9) the next try repeats what was on its way, at most, and skips the rest."""
    place = {} if kind == "store" else {"state_path": str(tmp_path / "tries.db")}
    fill(warehouse, 20_000)
    limited = json.loads(segment.connection) | {"extra": {"events_per_second": 5_000}}
    environment = {"AIRFLOW_CONN_SEGMENT_DEFAULT": json.dumps(limited), "AIRFLOW_CONN_WAREHOUSE": warehouse.connection}
    child = processes.start(be_killed, environment, f"killed_{kind}", place)
    try:
        until(lambda: len(segment.messages) >= 6_000)
    finally:
        child.kill()
        child.join(60)
    assert child.exitcode == -signal.SIGKILL
    before = len(segment.messages)
    assert before < 20_000
    dag = killed_dag(f"killed_{kind}", place)
    run_id = runs.run_ids(dag.dag_id)[0]
    run = again(dag, run_id, "sync")
    assert run.task("sync") == ("success", 2)
    assert len(segment.messages) == 20_000
    assert len(segment.duplicates) <= 9 * 500  # eight batches on their way, and one whose number was not written
    assert run.xcom("sync")["unchanged"] >= before - 9 * 500 > 0


# What goes wrong


class FailingStore:
    """Airflow's store when its API does not answer."""

    def __init__(self) -> None:
        self.asked = 0

    def get(self, *_: Any, **__: Any) -> None:
        self.asked += 1
        raise RuntimeError("no answer, and a text that may hold anything: secret@example.com")

    set = delete = get


def test_a_store_that_fails(segment: SegmentServer, caplog: pytest.LogCaptureFixture) -> None:
    """A memory that cannot be read or written costs repeats, never the run."""
    store = FailingStore()
    memory = tries.StoreMemory(store, "name", is_first=False)
    assert list(memory.earlier()) == []
    memory.add(bytes(8))
    memory.close()
    memory.succeeded(1)
    assert store.asked == 3
    assert "could not be read for a retry (RuntimeError)" in caplog.text
    assert "secret" not in caplog.text


def test_what_waits_is_bounded() -> None:
    """What waits for the store is bounded, since it must be written in the seconds that a killed task has."""

    class Store(dict[str, Any]):
        def set(self, key: str, value: Any) -> None:
            self[key] = value

    store = Store()
    memory = tries.StoreMemory(store, "name", is_first=True)
    for _ in range(tries.MAX_PENDING_BYTES // 20_000 + 10):
        memory.add(bytes(20_000))
    memory.close()
    assert max(len(json.dumps(part)) for part in store.values()) <= 65_535
    again_ = tries.StoreMemory(store, "name", is_first=False)
    known = sum(map(len, again_.earlier()))
    assert tries.MAX_PENDING_BYTES <= known <= tries.MAX_PENDING_BYTES + 20_000


def test_a_database_that_fails_midway(
    segment: SegmentServer, postgres: PostgresWarehouse, warehouse: SqliteWarehouse, caplog: pytest.LogCaptureFixture
) -> None:
    """A state's database that is lost on the way costs repeats, never the run, and is found again."""
    fill(warehouse, 3_000)

    def lose(_: Any) -> None:
        if len(segment.requests) == 2:
            postgres.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )

    segment.respond_with(lose)
    report = operator(state_conn_id="postgres", max_in_flight=1).execute(
        {"ti": type("Instance", (), {"dag_id": "d", "task_id": "t", "map_index": -1, "try_number": 1})(), "run_id": "r"}
    )
    assert report["accepted"] == 3_000


@pytest.mark.parametrize("mode", ["all", "changes"])
def test_two_places(mode: str) -> None:
    """Two places to remember in are one too many, in both modes."""
    with pytest.raises(ValueError, match="state_path, state_conn_id: "):
        operator(sync_mode=mode, key="id", state_path="x.db", state_conn_id="c")


def test_validate_only_remembers_nothing(segment: SegmentServer, warehouse: SqliteWarehouse, tmp_path: Path) -> None:
    """What sends nothing has nothing to remember."""
    fill(warehouse, 10)
    report = operator(state_path=str(tmp_path / "x.db"), validate_only=True).execute({})
    assert report["not_sent"] == 10
    assert not (tmp_path / "x.db").exists()
