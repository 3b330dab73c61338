"""SqlToSegmentTaskGroup: what arrives, what is red, and what comes after; in real DAG runs, and task by task."""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from filtered import LEFT, USERS, Source, made_source
from groups import GroupRun
from runs import NO_WAIT, RunDag, new_dag

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.core.errors import LeaseError, SettingError
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.task import SegmentFailException
from airflow_provider_segment.sensors.segment import SegmentDeliverySensor
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.group_tasks import SqlToSegmentPlanOperator
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator
from airflow_provider_segment.transfers.sql_to_segment_group import SqlToSegmentTaskGroup
from airflow_provider_segment.transfers.warehouse_shards import Shard, in_shards


class Outage:
    """Segment answers 401 to whatever holds one user, until it is over: one task fails for good.

    :param segment: that answers.
    """

    def __init__(self, segment: SegmentServer, user: str = "7") -> None:
        self.is_over = False
        self._user = f'"userId":"{user}"'.encode()
        segment.respond_with(lambda request: 401 if not self.is_over and self._user in request.body else None)


@pytest.fixture(params=["postgres", "sqlite"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A table of 400 users."""
    found = made_source(request.param, request, tmp_path, monkeypatch)
    found.fill([(n, f"user{n}") for n in range(400)])
    return found


@pytest.fixture
def settings(source: Source, tmp_path: Path) -> dict[str, Any]:
    """A group's settings, of four tasks that send."""
    return {
        "sql": "SELECT * FROM users",
        "sql_conn_id": source.kind,
        "warehouse_schema": source.schema,
        "calls": [USERS, LEFT],
        "key": "id",
        "sync_mode": "changes",
        "state_path": str(tmp_path / "state.db"),
        "sync_id": "users",
        "shards": 4,
        "rows_per_shard": 10,
        "lease_timeout": 1,
    }


def users_of(segment: SegmentServer) -> Counter[str]:
    """How often each user was identified."""
    return Counter(message["userId"] for message in segment.messages if message["type"] == "identify")


class TestDagRuns:
    """Real DAG runs: their colour, and what each task leaves."""

    def test_two_days(self, segment: SegmentServer, source: Source, settings: dict[str, Any], run_dag: RunDag) -> None:
        """All rows arrive once from four tasks, then only what has changed; nothing due skips `send`, and is green."""
        with new_dag() as dag:
            SqlToSegmentTaskGroup("users", **settings)
        first = run_dag(dag)
        report = first.xcom("users.finalize")
        assert (first.state, report["rows"], report["skipped"], report["added"]) == ("success", 400, 0, 400)
        assert [first.task("users.send", n)[0] for n in range(4)] == ["success"] * 4
        assert users_of(segment) == dict.fromkeys(map(str, range(400)), 1)
        requests = len(segment.requests)

        second = run_dag(dag)
        report = second.xcom("users.finalize")
        assert (second.state, report["rows"], report["skipped"], report["calls"]) == ("success", 400, 400, 0)
        assert second.task("users.send")[0] == "skipped"
        assert len(segment.requests) == requests

        source.run("UPDATE users SET email = 'new' WHERE id < 3")
        source.run("DELETE FROM users WHERE id >= 390")
        third = run_dag(dag)
        report = third.xcom("users.finalize")
        assert (report["updated"], report["deleted"], report["skipped"]) == (3, 10, 387)
        assert third.task("users.send", 0)[0] == "success"
        assert third.xcom("users.send", map_index=1) is None, "three rows are one task's work"
        assert segment.duplicates == []
        assert source.tables() == sorted(["segment_filter", *(t for t in source.tables() if "seen" in t)])

    def test_its_report_can_be_waited_for(
        self, segment: SegmentServer, settings: dict[str, Any], run_dag: RunDag
    ) -> None:
        """The report has the time from the first task's start to the last one's end, for SegmentDeliverySensor."""
        with new_dag() as dag:
            SqlToSegmentTaskGroup("users", **settings)
            report = dag.get_task("users.finalize").output
            SegmentDeliverySensor(task_id="arrived", report=report, poke_interval=0.1, deferrable=False)
        run = run_dag(dag)
        assert (run.state, run.xcom("arrived")["received"]) == ("success", len(segment.messages))
        whole = run.xcom("users.finalize")
        parts = [run.xcom("users.send", map_index=n)["report"] for n in range(4)]
        assert whole["started"] == min(part["started"] for part in parts)
        assert whole["ended"] >= max(part["ended"] for part in parts) > whole["started"]

    def test_a_task_that_fails_for_good(
        self, segment: SegmentServer, settings: dict[str, Any], run_dag: RunDag
    ) -> None:
        """The run is red, what the others sent stands, and the next run sends what is missing, and nothing else."""
        with new_dag() as dag:
            SqlToSegmentTaskGroup("users", **settings)
        outage = Outage(segment)
        red = run_dag(dag)
        assert red.state == "failed"
        assert sorted(red.task("users.send", n)[0] for n in range(4)) == ["failed", "success", "success", "success"]
        assert red.task("users.finalize")[0] == "failed"
        assert red.xcom("users.finalize", "report")["accepted"] == len(segment.messages) == 300

        outage.is_over = True
        green = run_dag(dag)
        assert (green.state, green.xcom("users.finalize")["added"]) == ("success", 100)
        assert users_of(segment) == dict.fromkeys(map(str, range(400)), 1)

    def test_a_run_that_ended_in_the_middle(
        self, segment: SegmentServer, settings: dict[str, Any], run_dag: RunDag
    ) -> None:
        """The next run takes its state over at once, though nobody gave it back, as after `dagrun_timeout`."""
        with new_dag() as cut_off:
            SqlToSegmentPlanOperator(task_id="plan", **settings)
        assert run_dag(cut_off).state == "success"
        with new_dag() as dag:
            SqlToSegmentTaskGroup("users", **settings)
        assert run_dag(dag).state == "success"
        assert users_of(segment) == dict.fromkeys(map(str, range(400)), 1)

    def test_a_cap_that_is_broken(self, segment: SegmentServer, settings: dict[str, Any], run_dag: RunDag) -> None:
        """`plan` fails with the numbers, nothing is sent, and the run is red."""
        with new_dag() as dag:
            SqlToSegmentTaskGroup("users", **settings, max_added=399)
        red = run_dag(dag)
        assert (red.state, red.task("users.plan")[0]) == ("failed", "failed")
        assert red.task("users.send")[0] == "upstream_failed"
        assert segment.requests == []

    def test_arguments_of_each_task(self, segment: SegmentServer, settings: dict[str, Any], run_dag: RunDag) -> None:
        """Arguments of one task are its own; those of Airflow for a group are the group's."""
        with new_dag() as dag:
            group = SqlToSegmentTaskGroup(
                "users",
                **settings,
                tooltip="all users",
                send_args={"retries": 3, "retry_delay": NO_WAIT, "pool": "default_pool"},
                plan_args={"execution_timeout": None},
            )
        assert group.tooltip == "all users"
        assert dag.get_task("users.send").retries == 3
        assert dag.get_task("users.plan").retries == 0
        assert run_dag(dag).state == "success"

    def test_all_rows_each_day(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any], run_dag: RunDag
    ) -> None:
        """In mode "all" each run sends all rows, those that repeat exactly as events of their own."""
        source.run("CREATE TABLE orders (user_id TEXT, n INT)")
        values = ", ".join(f"('u{n % 7}', {n % 50})" for n in range(300))
        source.run(f"INSERT INTO orders VALUES {values}, (NULL, 1), (NULL, 1)")  # noqa: S608
        ordered = Track(Constant("Ordered"), "user_id", anonymous_id=Constant("a"), properties=["n"])
        changed = {"sql": "SELECT * FROM orders", "sync_mode": "all", "key": None, "calls": ordered}
        with new_dag() as dag:
            SqlToSegmentTaskGroup("orders", **settings | changed | {"sync_id": None, "state_path": None})
        for day in (1, 2):
            run = run_dag(dag)
            report = run.xcom("orders.finalize")
            assert (run.state, report["rows"], report["accepted"]) == ("success", 302, 302)
            assert run.task("orders.send", 3)[0] == "success"
            assert len(segment.messages) == 302 * day
        assert len({message["messageId"] for message in segment.messages}) == 604
        assert source.tables() == ["segment_filter"]


class TestTasks:
    """The tasks one after another, in whatever order trouble brings."""

    def test_more_and_fewer_tasks(self, segment: SegmentServer, source: Source, settings: dict[str, Any]) -> None:
        """4, then 8, then 3 tasks, with changes and deletions in between: exactly the changes."""
        assert GroupRun(settings).all()["added"] == 400
        source.run("UPDATE users SET email = 'b' WHERE id < 100")
        source.run("DELETE FROM users WHERE id >= 350")
        report = GroupRun(settings | {"shards": 8}).all()
        assert (report["added"], report["updated"], report["deleted"]) == (0, 100, 50)
        source.run("UPDATE users SET email = 'c' WHERE id >= 300")
        source.insert([(n, "again") for n in range(350, 360)])
        report = GroupRun(settings | {"shards": 3}).all()
        assert (report["added"], report["updated"], report["deleted"], report["skipped"]) == (10, 50, 0, 300)
        assert segment.duplicates == []

    def test_one_state_with_the_operator(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any]
    ) -> None:
        """A sync goes on from a group to one task and back, with the same state and the same filter."""
        one = {
            name: value for name, value in settings.items() if name not in {"shards", "rows_per_shard", "lease_timeout"}
        }
        GroupRun(settings).all()
        source.run("UPDATE users SET email = 'b' WHERE id < 10")
        report = SqlToSegmentOperator(task_id="sync", **one).execute({})
        assert (report["updated"], report["skipped"]) == (10, 390)
        source.run("DELETE FROM users WHERE id < 10")
        report = GroupRun(settings).all()
        assert (report["deleted"], report["skipped"], report["calls"]) == (10, 390, 10)

    def test_everything_changes(self, segment: SegmentServer, source: Source, settings: dict[str, Any]) -> None:
        """Each row changed is each row sent and no key gone; each row gone is each key deleted."""
        GroupRun(settings | {"max_deleted": 1}).all()
        source.run("UPDATE users SET email = 'b'")
        report = GroupRun(settings | {"max_deleted": 1}).all()
        assert (report["added"], report["updated"], report["deleted"]) == (0, 400, 0)
        source.run("DELETE FROM users")
        report = GroupRun(settings | {"max_deleted": 1}).all()
        assert (report["added"], report["updated"], report["deleted"]) == (0, 0, 400)
        assert GroupRun(settings).all()["calls"] == 0

    @pytest.mark.parametrize("full", [False, True])
    def test_too_many_are_gone(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any], full: bool
    ) -> None:
        """`plan` refuses it before anything is sent, also of other changes; the next run is as if it had not been."""
        GroupRun(settings).all()
        requests = len(segment.requests)
        source.run("UPDATE users SET email = 'b' WHERE id < 10")
        source.run("DELETE FROM users WHERE id >= 199")
        more = {"calls": [Identify("id", traits=["email", "id"]), LEFT]} if full else {}
        with pytest.raises(SegmentFailException, match="201 of 400 known keys are gone"):
            GroupRun(settings | more).plan()
        assert len(segment.requests) == requests
        assert [name for name in source.tables() if "due" in name] == []
        source.insert([(n, f"user{n}") for n in range(199, 400)])
        report = GroupRun(settings).all()
        # After a plan of another mapping every row is looked at.
        assert (report["updated"], report["deleted"], report["skipped"]) == (10, 0, 0 if full else 390)

    @pytest.mark.parametrize("cap", ["max_added", "max_updated", "max_calls", "max_deleted"])
    def test_caps(self, segment: SegmentServer, source: Source, settings: dict[str, Any], cap: str) -> None:
        """At exactly the cap all is sent; with one call more nothing is, and the next run skips the same rows."""
        GroupRun(settings).all()
        source.run("UPDATE users SET email = 'b' WHERE id < 20")
        source.run("DELETE FROM users WHERE id >= 390")
        source.insert([(n, "new") for n in range(1_000, 1_030)])
        exact = {"max_added": 30, "max_updated": 20, "max_calls": 60, "max_deleted": 10}[cap]
        requests = len(segment.requests)
        with pytest.raises(SegmentFailException, match=cap):
            GroupRun(settings | {cap: exact - 1}).plan()
        assert len(segment.requests) == requests
        report = GroupRun(settings | {cap: exact}).all()
        assert (report["added"], report["updated"], report["deleted"], report["skipped"]) == (30, 20, 10, 370)
        assert GroupRun(settings | {cap: exact}).all()["skipped"] == 420

    def test_validate_only(self, segment: SegmentServer, source: Source, settings: dict[str, Any]) -> None:
        """The plan is the whole answer: nothing is sent, nothing stays, and `finalize` returns it."""
        for changed in ({}, {"sync_mode": "all", "calls": [USERS]}):
            group = GroupRun(settings | changed | {"validate_only": True})
            assert group.plan() == []
            assert sum(group.finalize()["planned"]["identify"].values()) == 400
        assert segment.requests == []
        assert [name for name in source.tables() if "due" in name] == []

    def test_min_rows(self, segment: SegmentServer, source: Source, settings: dict[str, Any]) -> None:
        """Fewer rows than are expected fail `plan`, also where all of them would be skipped."""
        GroupRun(settings).all()
        assert GroupRun(settings | {"min_rows": 400}).all()["skipped"] == 400
        source.run("DELETE FROM users WHERE id = 399")
        for changed in ({}, {"sync_mode": "all", "calls": [USERS]}):
            with pytest.raises(Exception, match="expected at least 400 rows, found 399"):
                GroupRun(settings | changed | {"min_rows": 400}).plan()

    def test_refused_calls_are_judged_together(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any]
    ) -> None:
        """No task fails for refused calls but the last one, which sums them; the rows come again until accepted."""
        segment.refuse(lambda message: message["userId"] in {"1", "2", "3", "200", "399"})
        group = GroupRun(settings)
        for number in range(len(group.plan())):
            group.send(number)
        with pytest.raises(SegmentFailException, match="5 of 800 calls were refused, and max_rejected allows 0"):
            group.finalize()
        report = GroupRun(settings | {"max_rejected": 5}).all()
        assert (report["rejected"], report["accepted"], report["skipped"], report["rows"]) == (5, 0, 395, 400)

    def test_a_deletion_that_is_refused(self, segment: SegmentServer, source: Source, settings: dict[str, Any]) -> None:
        """It comes again in each run, though its row is gone."""
        GroupRun(settings).all()
        segment.refuse(lambda message: message["type"] == "track" and message["userId"] == "3")
        source.run("DELETE FROM users WHERE id IN (3, 4)")
        for deleted in (1, 0):
            report = GroupRun(settings | {"max_rejected": 1}).all()
            assert (report["deleted"], report["rejected"]) == (deleted, 1)


class TestTroubleWithin:
    """A run that is disturbed ends whole, or leaves the next one what it needs."""

    def test_a_task_is_tried_again(self, segment: SegmentServer, settings: dict[str, Any]) -> None:
        """What a first try had accepted is not sent again, and the report adds up."""
        group, outage = GroupRun(settings), Outage(segment, "42")
        failed = failing(group)
        outage.is_over = True
        for number in failed:
            group.send(number)
        report = group.finalize()
        assert report["calls"] == report["accepted"] + report["unchanged"] == 800
        assert users_of(segment) == dict.fromkeys(map(str, range(400)), 1)

    @pytest.mark.parametrize("mode", ["changes", "all"])
    def test_a_task_is_cleared_after_the_end(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any], mode: str
    ) -> None:
        """Its plan, which Airflow clears with it, stands, though rows have changed; only its own part is sent."""
        more: dict[str, Any] = {} if mode == "changes" else {"sync_mode": "all", "calls": [USERS], "state_path": None}
        group, outage = GroupRun(settings | more), Outage(segment)
        failed = failing(group)
        with pytest.raises(SegmentFailException, match=r"1 of 4 tasks have not sent their part .*Clear the tasks"):
            group.finalize()
        before = group.xcoms["users.plan", -1, "return_value"]
        outage.is_over = True
        source.run("UPDATE users SET email = 'later' WHERE id > 100")
        assert group.plan() == before
        for number in failed:
            group.send(number)
        assert group.finalize()["accepted"] == 400
        assert users_of(segment) == dict.fromkeys(map(str, range(400)), 1)
        assert [name for name in source.tables() if "due" in name] == []

    def test_another_run_has_begun_since(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any]
    ) -> None:
        """A task of an older run sends nothing any more, and says what to do; the new run is not disturbed."""
        old, outage = GroupRun(settings), Outage(segment)
        failed = failing(old)
        with pytest.raises(SegmentFailException):
            old.finalize()
        outage.is_over = True
        new = GroupRun(settings)
        new.plan()
        for task in (lambda: old.send(failed[0]), old.finalize):
            with pytest.raises(SegmentFailException, match=r"since another has begun, .* Clear the whole task group"):
                task()
        for number in range(4):
            new.send(number)
        assert new.finalize()["added"] == 100
        assert users_of(segment) == dict.fromkeys(map(str, range(400)), 1)

    def test_cleared_after_a_later_run(self, segment: SegmentServer, source: Source, settings: dict[str, Any]) -> None:
        """An old run whose group is cleared is planned anew: it sends what is due now, and nothing is false."""
        old, outage = GroupRun(settings), Outage(segment)
        failing(old)
        outage.is_over = True
        SegmentHook().release("users", state_path=settings["state_path"])
        source.run("DELETE FROM users WHERE id < 5")
        report = GroupRun(settings).all()
        assert (report["added"], report["deleted"]) == (95, 5)
        assert GroupRun(settings, old.run_id).all()["calls"] == 0

    def test_the_state_is_held_from_plan_to_end(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any]
    ) -> None:
        """A second run waits, then fails for a retry and says who holds it; `release` frees what nobody needs."""
        first, second = GroupRun(settings), GroupRun(settings)
        first.plan()
        first.send(0)
        with pytest.raises(LeaseError, match=r"held by DAG dag, task users.plan, run run_\d+, .*SegmentHook.release"):
            second.plan()
        held = SegmentHook().release("users", state_path=settings["state_path"])
        assert held.startswith(f"DAG dag, task users.plan, run {first.run_id}")
        assert SegmentHook().release("users", state_path=settings["state_path"]) == ""
        assert second.all()["added"] == 300
        with pytest.raises(SegmentFailException, match="Clear the whole task group"):
            first.send(1)
        assert users_of(segment) == dict.fromkeys(map(str, range(400)), 1)

    def test_the_plan_is_made_once(self, segment: SegmentServer, source: Source, settings: dict[str, Any]) -> None:
        """A plan that runs again between tasks that send changes nothing."""
        group = GroupRun(settings)
        shards = group.plan()
        group.send(0)
        source.run("DELETE FROM users")
        assert group.plan() == shards
        for number in range(1, 4):
            group.send(number)
        report = group.finalize()
        assert (report["added"], report["deleted"]) == (400, 0)
        assert GroupRun(settings | {"max_deleted": 1}).all()["deleted"] == 400

    def test_the_end_is_cut_off_and_tried_again(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any]
    ) -> None:
        """Deletions of which nobody knows whether they arrived go again, under the same ids, in the same run."""
        GroupRun(settings).all()
        source.run("DELETE FROM users WHERE id < 10")
        group = GroupRun(settings)
        assert group.plan() == []
        segment.respond_with(["reset_after", 401])
        with pytest.raises(SegmentFailException, match="write key"):
            group.finalize()
        assert group.finalize()["deleted"] == 10
        left = [message["userId"] for message in segment.messages if message["type"] == "track"]
        assert sorted(left) == sorted(map(str, range(10)))
        assert GroupRun(settings).all()["calls"] == 0

    def test_a_part_that_left_nothing(self, segment: SegmentServer, settings: dict[str, Any]) -> None:
        """Rows are not settled on Airflow's word alone: no run ends without what each part has left in the state."""
        group = GroupRun(settings)
        for number in range(len(group.plan())):
            group.send(number)
        with closing(sqlite3.connect(settings["state_path"])) as database, database:
            database.execute("DELETE FROM segment_part WHERE part >= 300")
        with pytest.raises(SegmentFailException, match=r"that begin at bucket 3.. have left nothing in the state"):
            group.finalize()
        with closing(sqlite3.connect(settings["state_path"])) as database:
            assert database.execute("SELECT clean FROM segment_sync").fetchone() == (0,), "calls of unknown fate"

    def test_a_state_that_was_reset_since(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any]
    ) -> None:
        """A task of a run before a reset sends nothing for the run of the same number after it."""
        old = GroupRun(settings)
        old.plan()
        hook = SegmentHook()
        hook.release("users", state_path=settings["state_path"])
        hook.reset("users", state_path=settings["state_path"])
        GroupRun(settings).plan()
        with pytest.raises(SegmentFailException, match="which was reset or is another"):
            old.send(0)
        assert segment.requests == []

    def test_nothing_to_release(self, segment: SegmentServer, settings: dict[str, Any], tmp_path: Path) -> None:
        """A state that is not there is said to be none, and not made."""
        path = tmp_path / "none.db"
        with pytest.raises(SegmentFailException, match="there is no file"):
            SegmentHook().release("users", state_path=str(path))
        assert not path.exists()
        GroupRun(settings).all()
        with pytest.raises(SegmentFailException, match="sync_id 'other' has no state here"):
            SegmentHook().release("other", state_path=settings["state_path"])

    def test_rows_that_are_refused_after_a_run_that_was_cut_off(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any]
    ) -> None:
        """They come again in each run, also where the run before left calls of unknown fate."""
        cut_off = GroupRun(settings)
        cut_off.plan()
        cut_off.send(0)
        SegmentHook().release("users", state_path=settings["state_path"])
        segment.refuse(lambda message: message["userId"] in {"150", "250"})
        for _ in range(2):
            assert GroupRun(settings | {"max_rejected": 2}).all()["rejected"] == 2

    def test_another_state_on_each_worker(
        self, segment: SegmentServer, settings: dict[str, Any], tmp_path: Path
    ) -> None:
        """A task that finds another file than `plan` did sends nothing, and is told that they must share one."""
        GroupRun(settings).all()
        group = GroupRun(settings)
        group.plan()
        requests = len(segment.requests)
        group.xcoms["users.plan", -1, "return_value"] = [
            {"run": 2, "generation": None, "skipped": 0, "senders": 1, "first_bucket": 0, "last_bucket": 9, "rows": 1}
        ]
        with pytest.raises(SegmentFailException, match="all workers must share one"):
            group.send(0, state_path=str(tmp_path / "another.db"))
        assert len(segment.requests) == requests

    def test_the_mapping_changes_within_a_run(self, segment: SegmentServer, settings: dict[str, Any]) -> None:
        """A task whose mapping is not the plan's sends nothing: the filter would be left for another mapping."""
        group = GroupRun(settings)
        group.plan()
        with pytest.raises(SegmentFailException, match="changed since the run was planned"):
            group.send(0, calls=[Identify("id", traits=["id"]), LEFT])
        assert segment.requests == []

    def test_the_laid_out_rows_are_gone(self, segment: SegmentServer, source: Source, settings: dict[str, Any]) -> None:
        """A plan whose rows somebody has dropped says how to start over."""
        group = GroupRun(settings)
        group.plan()
        (due,) = [name for name in source.tables() if "due" in name]
        source.run(f"DROP TABLE {source.schema}.{due}")
        with pytest.raises(SegmentFailException, match=r"are gone from the warehouse.*SegmentHook.release"):
            group.plan()
        SegmentHook().release("users", state_path=settings["state_path"])
        for number in range(len(group.plan())):
            group.send(number)
        assert group.finalize()["added"] == 400


def failing(group: GroupRun) -> list[int]:
    """Run plan and all tasks that send, and return which of these failed."""
    failed = []
    for number in range(len(group.plan())):
        try:
            group.send(number)
        except SegmentFailException:
            failed.append(number)
    return failed


class TestOrder:
    """Which task sends which rows, and in which order."""

    def test_rows_of_a_user_are_sent_by_one_task_in_order(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any]
    ) -> None:
        """In mode "all", with one batch on its way at a time, each user's events come in the query's order."""
        source.run("CREATE TABLE orders (user_id TEXT, n INT)")
        values = ", ".join(f"('u{n * 7 % 31}', {n})" for n in range(600))
        source.run(f"INSERT INTO orders VALUES {values}")  # noqa: S608
        ordered = Track(Constant("Ordered"), "user_id", properties=["n"])
        changed = {"sql": "SELECT * FROM orders ORDER BY n DESC", "sync_mode": "all", "key": None, "calls": ordered}
        report = GroupRun(settings | changed | {"max_in_flight": 1, "state_path": None}).all()
        assert report["accepted"] == 600
        for user in {message["userId"] for message in segment.messages}:
            sent = [message["properties"]["n"] for message in segment.messages if message["userId"] == user]
            assert sent == sorted(sent, reverse=True)

    @pytest.mark.parametrize("most", [1, 2, 3, 7, 50])
    def test_parts_are_of_about_equal_size(self, most: int) -> None:
        """They hold all buckets once, in order, are as many as asked for, and none is twice as large as another."""
        histogram = [(bucket, 1 + bucket % 3) for bucket in range(0, 1_000, 2)]
        shards = in_shards(histogram, most, 1)
        assert len(shards) == most
        assert sum(shard.rows for shard in shards) == 500 + sum(bucket % 3 for bucket in range(0, 1_000, 2))
        assert all(one.last_bucket < two.first_bucket for one, two in itertools.pairwise(shards))
        assert max(shard.rows for shard in shards) <= 2 * min(shard.rows for shard in shards)

    def test_a_bucket_that_holds_nearly_all(self) -> None:
        """It is a part of its own, and the rest is divided."""
        assert in_shards([(0, 1_000), (1, 5), (2, 5)], 4, 1) == [Shard(0, 0, 1_000), Shard(1, 1, 5), Shard(2, 2, 5)]

    def test_few_rows_are_one_part(self) -> None:
        """Fewer rows than a part should have are sent by one task, none by none."""
        assert in_shards([(5, 2), (9, 1)], 8, 50_000) == [Shard(5, 9, 3)]
        assert in_shards([], 8, 50_000) == []


class TestSettings:
    """What a DAG's author is told when the DAG is parsed."""

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"shards": 1_500}, "shards: expected at most 1,024"),
            ({"shards": 0}, "shards: expected a whole number above 0"),
            ({"rows_per_shard": 0}, "rows_per_shard: expected a whole number above 0"),
            ({"pickup_timeout": 0}, "pickup_timeout: expected a whole number above 0"),
            ({"warehouse_schema": None}, "warehouse_schema: a group needs it"),
            ({"cursor": "id", "calls": [USERS]}, "cursor, warehouse_schema: expected one of the two"),
            ({"key": None}, "key: sync_mode='changes' needs"),
            ({"max_added": -1}, "max_added: expected a count"),
            ({"sync_mode": "some"}, "sync_mode: expected one of"),
        ],
    )
    def test_bad_ones(self, tmp_path: Path, changed: dict[str, Any], said: str) -> None:
        """A bad setting is named, with what was found and what was expected."""
        settings = {"sql": "SELECT 1", "sql_conn_id": "w", "warehouse_schema": "s", "calls": [USERS], "key": "id"}
        settings |= {"sync_mode": "changes", "state_path": str(tmp_path / "state.db")}
        with new_dag(), pytest.raises(SettingError, match=said):
            SqlToSegmentTaskGroup("users", **settings | changed)

    def test_an_unknown_one(self) -> None:
        """What neither the operator nor Airflow's group knows is refused by name."""
        settings = {"sql": "SELECT 1", "sql_conn_id": "w", "warehouse_schema": "s", "calls": [USERS]}
        with new_dag(), pytest.raises(TypeError, match="max_shards"):
            SqlToSegmentTaskGroup("users", **settings, max_shards=3)
