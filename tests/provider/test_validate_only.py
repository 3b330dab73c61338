"""To look before sending: a run that only validates, and the preview of what a run sends."""

from __future__ import annotations

import json
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import task
from runs import COUNTS, NO_WAIT, RunDag, new_dag

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.state import open_state
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

if TYPE_CHECKING:
    from warehouses import SqliteWarehouse

CALLS = [
    Identify(user_id="id", traits=["plan"]),
    Track(event=Constant("Upgraded"), user_id="id", when={"plan": "pro"}),
]
BY_REFUSALS: dict[str, tuple[float, tuple[str, int]]] = {
    "none allowed": (0, ("failed", 1)),
    "one too few": (2, ("failed", 1)),
    "as many": (3, ("success", 1)),
    "a share that is too small": (0.01, ("failed", 1)),
    "a share": (0.05, ("success", 1)),
}


class TestValidateOnly:
    """With validate_only every row is read, mapped and validated, and nothing is sent."""

    def test_report(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
        """The report says what would be sent: valid calls are not_sent, and there was no request."""
        fill(warehouse, 6_000)
        with new_dag() as dag:
            operator(task_id="sync", validate_only=True)
        run = run_dag(dag)
        assert run.task("sync") == ("success", 1)
        report = run.xcom("sync")
        assert (report["rows"], report["calls"], report["not_sent"]) == (6_000, 8_000, 8_000)
        assert {report[name] for name in ("accepted", "invalid", "batches", "requests", "retries", "bytes")} == {0}
        assert segment.requests == []

    @pytest.mark.parametrize(("allowed", "expected"), BY_REFUSALS.values(), ids=BY_REFUSALS)
    def test_invalid_rows(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        run_dag: RunDag,
        tmp_path: Path,
        allowed: float,
        expected: tuple[str, int],
    ) -> None:
        """Invalid calls are counted and written down, and the task's state is the one that a real run would have."""
        fill(warehouse, 90)
        warehouse.run("UPDATE users SET id = ' ' WHERE id IN ('0001', '0002', '0004')")
        again: dict[str, Any] = {"max_rejected": allowed, "retries": 2, "retry_delay": NO_WAIT}
        rejects = {name: tmp_path / f"{name}.jsonl" for name in ("dry", "real")}
        with new_dag() as dag:
            for name, path in rejects.items():
                operator(task_id=name, validate_only=name == "dry", rejects_path=str(path), **again)
            dag.task_dict["dry"] >> dag.task_dict["real"]
            dag.task_dict["real"].trigger_rule = "all_done"
        run = run_dag(dag)
        assert run.task("dry") == run.task("real") == expected
        key = "return_value" if expected[0] == "success" else "report"
        dry, real = run.xcom("dry", key), run.xcom("real", key)
        assert (dry["calls"], dry["invalid"], dry["not_sent"], dry["accepted"]) == (120, 3, 117, 0)
        assert (real["calls"], real["invalid"], real["not_sent"], real["accepted"]) == (120, 3, 0, 117)
        assert dry["calls"] == sum(dry[name] for name in COUNTS)
        assert len(segment.messages) == 117
        found = [[(line["row"], line["code"]) for line in lines(path)] for path in rejects.values()]
        assert found == [[(2, "id_not_string"), (3, "id_not_string"), (5, "id_not_string")]] * 2

    def test_bad_columns(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
        """A column that is missing fails the task, as it would when sending."""
        fill(warehouse, 3)
        with new_dag() as dag:
            operator(task_id="sync", validate_only=True, calls=Identify(user_id="uid"))
        assert run_dag(dag).task("sync") == ("failed", 1)
        assert segment.requests == []

    def test_without_segment(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Segment need not be reached, and the log says that nothing was sent."""
        segment.stop()
        fill(warehouse, 30)
        with new_dag() as dag:
            operator(task_id="sync", validate_only=True)
        assert run_dag(dag).xcom("sync")["not_sent"] == 40
        log = capfd.readouterr().out
        assert "Nothing was sent: 30 rows, 40 calls: 0 accepted, 0 unchanged, 0 invalid, 0 rejected, 40 not sent" in log

    def test_in_a_task(self, segment: SegmentServer, run_dag: RunDag, tmp_path: Path) -> None:
        """A @task function's hook validates and previews as the operator does."""
        path = tmp_path / "preview.jsonl"
        with new_dag() as dag:

            @task
            def look() -> dict[str, Any]:
                rows = ({"id": n, "plan": "free"} for n in range(7))
                options: dict[str, Any] = {"validate_only": True, "preview_path": str(path)}
                return SegmentHook().sync(rows, CALLS, **options).as_dict()

            look()
        assert run_dag(dag).xcom("look")["not_sent"] == 7
        assert [line["userId"] for line in lines(path)] == [str(n) for n in range(7)]
        assert segment.requests == []

    @pytest.mark.parametrize(
        ("setting", "value"),
        [("validate_only", "yes"), ("validate_only", 1), ("preview_path", ""), ("preview_path", 7)],
    )
    def test_wrong_settings(self, setting: str, value: object) -> None:
        """Anything but True and False, and a path that is none, fails when the DAG is parsed."""
        with pytest.raises(ValueError, match=f"^{setting}: expected "):
            operator(**{setting: value})


SAID: dict[str, tuple[Any, bool, bool]] = {
    "a param that is true": ("{{ params.dry_run }}", False, True),
    "a param that is true, in native types": ("{{ params.dry_run }}", True, True),
    "an expression": ("{{ 'true' if params.dry_run else '' }}", False, True),
    "nothing": ("{{ '' if params.dry_run else 'true' }}", False, False),
    "a param that is false": ("{{ not params.dry_run }}", False, False),
    "a param that is false, in native types": ("{{ not params.dry_run }}", True, False),
    "a param that is not given": ("{{ params.get('nobody') }}", False, False),
    "the same in native types": ("{{ params.get('nobody') }}", True, False),
}


class TestPlan:
    """One DAG looks and sends: validate_only may be a template, and the report says what would be sent."""

    @pytest.mark.parametrize(("text", "native", "dry"), SAID.values(), ids=SAID)
    def test_template(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, text: str, native: bool, dry: bool
    ) -> None:
        """What Jinja makes True is a dry run, what it makes False, or nothing, is not."""
        fill(warehouse, 30)
        with new_dag(params={"dry_run": True}, render_template_as_native_obj=native) as dag:
            operator(task_id="sync", validate_only=text)
        run = run_dag(dag)
        assert run.task("sync") == ("success", 1)
        report = run.xcom("sync")
        assert (report["not_sent"], report["accepted"]) == ((40, 0) if dry else (0, 40))
        assert len(segment.messages) == report["accepted"]
        assert report["planned"] == {"identify": {"all": 30}, "track:Upgraded": {"all": 10}}

    @pytest.mark.parametrize("text", ["{{ 'maybe' }}", "{{ 1 }}", "{{ params }}"])
    def test_template_of_something_else(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, text: str
    ) -> None:
        """What is neither fails the task without a retry, and sends nothing."""
        fill(warehouse, 3)
        with new_dag() as dag:
            operator(task_id="sync", validate_only=text, retries=2, retry_delay=NO_WAIT)
        assert run_dag(dag).task("sync") == ("failed", 1)
        assert segment.requests == []

    def test_log(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The log has the plan as a table."""
        fill(warehouse, 30)
        with new_dag() as dag:
            operator(task_id="sync", validate_only=True)
        run_dag(dag)
        found = capfd.readouterr().out
        for line in ("It would send:", "  call            all", "  identify         30", "  track:Upgraded   10"):
            assert line in found

    def test_deletions(self, segment: SegmentServer, warehouse: SqliteWarehouse, tmp_path: Path) -> None:
        """A dry run fails where the deletions of a real one would, with the same numbers, and deletes nothing."""
        fill(warehouse, 30)
        left = Track(Constant("Left"), user_id="id", on_change=["deleted"])
        changes = {"sync_mode": "changes", "key": "id", "state_path": str(tmp_path / "state.db"), "sync_id": "users"}
        send = partial(operator, task_id="sync", calls=[CALLS[0], left], **changes)
        send().execute({})
        warehouse.run("DELETE FROM users WHERE id > '0013'")
        with pytest.raises(Exception, match="16 of 30 known keys are gone"):
            send(validate_only=True).execute({})
        assert send(validate_only=True, max_deleted=0.6).execute({})["planned"]["track:Left"]["deleted"] == 16
        assert send(max_deleted=0.6).execute({})["deleted"] == 16

    def test_beside_a_run(self, segment: SegmentServer, warehouse: SqliteWarehouse, tmp_path: Path) -> None:
        """A dry run takes no lease: it looks while another run holds the state, at once."""
        fill(warehouse, 30)
        path = str(tmp_path / "state.db")
        changes = {"sync_mode": "changes", "key": "id", "state_path": path, "sync_id": "users"}
        operator(task_id="sync", calls=CALLS[0], **changes).execute({})
        where = {"conn_id": None, "schema": None, "path": path}
        with open_state("users", None, Holder(run_id="another run"), **where) as state:
            report = operator(task_id="sync", calls=CALLS[0], validate_only=True, **changes).execute({})
            state.save([])
            state.seen([])  # still ours
        assert report["unchanged"] == 30


class TestPreview:
    """preview_path has the first 100 messages as JSON lines, for its owner only."""

    @pytest.mark.parametrize("validate_only", [True, False])
    def test_first_messages(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        run_dag: RunDag,
        tmp_path: Path,
        validate_only: bool,
    ) -> None:
        """The path is rendered, missing folders are made, and the file holds the first 100 messages of many."""
        fill(warehouse, 5_000)
        with new_dag(params={"folder": str(tmp_path)}) as dag:
            operator(
                task_id="look",
                validate_only=validate_only,
                preview_path="{{ params.folder }}/{{ dag.dag_id }}/{{ ti.task_id }}.jsonl",
            )
        assert run_dag(dag).state == "success"
        path = tmp_path / dag.dag_id / "look.jsonl"
        shown = lines(path)
        assert [line["userId"] for line in shown] == [f"{n:04}" for n in range(100)]
        first = dict(shown[0])
        assert 32 <= len(first.pop("messageId")) < 100
        assert first == {"type": "identify", "userId": "0000", "traits": {"plan": "pro"}}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(segment.requests) == (0 if validate_only else 3)

    def test_is_what_is_sent(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, tmp_path: Path
    ) -> None:
        """A run that only validates shows the messages, with their ids, that the same run sends."""
        fill(warehouse, 30)
        paths = {name: tmp_path / f"{name}.jsonl" for name in ("dry", "real")}
        with new_dag() as dag:
            for name, path in paths.items():
                operator(task_id=name, sync_id="users", validate_only=name == "dry", preview_path=str(path))
        assert run_dag(dag).state == "success"
        assert paths["dry"].read_bytes() == paths["real"].read_bytes()
        shown = lines(paths["real"])
        assert len(shown) == 40
        arrived = {message["messageId"]: message for message in segment.messages}
        assert len(arrived) == 40
        for line in shown:
            sent = arrived[line["messageId"]]
            assert {name: sent[name] for name in line} == line

    def test_without_valid_messages(self, segment: SegmentServer, tmp_path: Path) -> None:
        """Bad rows are not in it: without a good one the file is there, and empty."""
        path = tmp_path / "preview.jsonl"
        SegmentHook().sync([{"id": None, "plan": "free"}], CALLS, max_rejected=1, preview_path=str(path))
        assert path.read_bytes() == b""
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_file_of_before(self, segment: SegmentServer, tmp_path: Path) -> None:
        """A file that is there is replaced by one that only its owner can read."""
        path = tmp_path / "preview.jsonl"
        path.write_text("of an earlier run\n" * 200)
        path.chmod(0o644)
        SegmentHook().sync([{"id": "u1", "plan": "free"}], CALLS, preview_path=str(path))
        assert [line["userId"] for line in lines(path)] == ["u1"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    @pytest.mark.parametrize("place", ["below a file", "a folder"])
    def test_cannot_be_written(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        run_dag: RunDag,
        tmp_path: Path,
        capfd: pytest.CaptureFixture[str],
        place: str,
    ) -> None:
        """A path that cannot be written fails the task at once, before any request, and is named."""
        fill(warehouse, 5_000)
        (tmp_path / "file").write_text("")
        path = tmp_path if place == "a folder" else tmp_path / "file" / "preview.jsonl"
        with new_dag() as dag:
            operator(task_id="sync", preview_path=str(path), retries=2, retry_delay=NO_WAIT)
        assert run_dag(dag).task("sync") == ("failed", 1)
        assert segment.requests == []
        shown = capfd.readouterr()
        assert f"preview_path: {path} cannot be written: " in shown.out + shown.err


def operator(**changed: Any) -> SqlToSegmentOperator:
    """Return an operator for the users of the warehouse, with some settings changed."""
    settings = {"task_id": "sync", "sql": "SELECT * FROM users", "sql_conn_id": "warehouse", "calls": CALLS}
    return SqlToSegmentOperator(**(settings | changed))


def fill(warehouse: SqliteWarehouse, count: int) -> None:
    """Make users 0000, 0001 ...; each third has the plan pro, which makes a second call."""
    warehouse.run("CREATE TABLE users (id TEXT, plan TEXT)")
    warehouse.insert("users", [(f"{n:04}", "free" if n % 3 else "pro") for n in range(count)])


def lines(path: Path) -> list[dict[str, Any]]:
    """Return what a file of JSON lines holds."""
    return [json.loads(line) for line in path.read_text().splitlines()]
