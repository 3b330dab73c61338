"""SqlToSegmentTaskGroup where all goes wrong at once: what Segment has in the end is what the table says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from filtered import DATABASES, LEFT, USERS, Source, Sync, made_source
from groups import GroupRun

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.core.errors import LeaseError
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.task import SegmentFailException
from airflow_provider_segment.testing import SegmentServer

BOTH = ["warehouse", "group"]


@pytest.fixture(params=DATABASES)
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A table of 40 users in a database of each kind."""
    found = made_source(request.param, request, tmp_path, monkeypatch)
    found.fill([(n, f"user{n}") for n in range(40)])
    return found


@pytest.fixture
def settings(source: Source, tmp_path: Path) -> dict[str, Any]:
    """A group's settings, of three tasks that send."""
    common = Sync(source, "group", tmp_path / "state.db", "users").settings()
    return common | {"shards": 3, "rows_per_shard": 5, "lease_timeout": 1}


class TestRefusals:
    """What Segment refuses is refused, also where it is all that a task has."""

    @pytest.mark.parametrize("mode", ["changes", "all"])
    def test_a_part_of_refused_rows_alone(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any], mode: str
    ) -> None:
        """The write key is not blamed, on the first day or the second: others arrive, and max_rejected judges."""
        source.run("DELETE FROM users")
        source.insert([(0, "bad"), (4, "bad"), (5, "a"), (6, "a")])
        segment.refuse(lambda message: message.get("traits", {}).get("email") == "bad")
        settings |= {"calls": [USERS], "rows_per_shard": 2, "max_rejected": 2, "sync_mode": mode}
        if mode == "all":
            settings |= {"key": "id", "state_path": None, "max_deleted": None}
        report = GroupRun(settings).all()
        assert (report["accepted"], report["rejected"]) == (2, 2)
        report = GroupRun(settings).all()
        assert (report["accepted"], report["rejected"]) == (0 if mode == "changes" else 2, 2)


class TestDeletions:
    """A key that is gone is told to Segment, and no other."""

    @pytest.mark.parametrize("how", BOTH)
    def test_one_is_refused_in_a_run_that_reads_every_row(
        self, segment: SegmentServer, source: Source, tmp_path: Path, how: str
    ) -> None:
        """It comes again in each run until Segment takes it, also after a changed mapping, where no filter lists it."""
        sync = Sync(source, how, tmp_path / "state.db", "users")
        sync.send()
        segment.refuse(lambda message: message["type"] == "track" and message["userId"] == "3")
        source.run("DELETE FROM users WHERE id IN (3, 4)")
        mapping = {"calls": [Identify("id", traits=["email", "id"]), LEFT], "max_rejected": 1}
        report = sync.send(**mapping)
        assert (report["updated"], report["deleted"], report["rejected"]) == (38, 1, 1)
        for _ in range(2):
            report = sync.send(**mapping)
            assert (report["deleted"], report["rejected"]) == (0, 1)

    def test_the_limit_is_lowered_within_a_run(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any]
    ) -> None:
        """The run that deletes nothing leaves no filter as if it had sent nothing: what it sent is looked at again."""
        GroupRun(settings).all()
        source.run("UPDATE users SET email = 'b' WHERE id < 20")
        source.run("DELETE FROM users WHERE id >= 30")
        group = GroupRun(settings)
        for number in range(len(group.plan())):
            group.send(number)
        group.settings = settings | {"max_deleted": 0}
        with pytest.raises(SegmentFailException, match="10 of 40 known keys are gone"):
            group.finalize()
        source.run("UPDATE users SET email = 'user1' WHERE id = 1")
        report = GroupRun(settings).all()
        assert (report["updated"], report["deleted"]) == (1, 10)


class TestLease:
    """The state is held from the plan to the end."""

    def test_a_plan_that_stands_goes_on_holding_it(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any]
    ) -> None:
        """A second try of `plan` frees nothing: tasks that send go on, and another run waits."""
        group = GroupRun(settings)
        shards = group.plan()
        assert group.plan() == shards
        with pytest.raises(LeaseError, match="another run is writing its state"):
            GroupRun(settings).plan()
        for number in range(len(shards)):
            group.send(number)
        assert group.finalize()["added"] == 40

    def test_a_mapping_that_was_mended_within_a_run(
        self, segment: SegmentServer, source: Source, settings: dict[str, Any]
    ) -> None:
        """What the error says to do is enough to send the run with the new mapping."""
        group = GroupRun(settings)
        group.plan()
        group.settings = settings | {"calls": [Identify("id", traits=["id"]), LEFT]}
        group.plan()
        with pytest.raises(SegmentFailException, match=r"SegmentHook.release.*clear the whole task group"):
            group.send(0)
        SegmentHook().release("users", state_path=settings["state_path"])
        assert group.all()["added"] == 40


class TestAll:
    """All rows, each as one event."""

    def test_two_groups_of_one_sync_id(self, segment: SegmentServer, source: Source, settings: dict[str, Any]) -> None:
        """In one DAG run each sends its own rows."""
        changed = {"sync_mode": "all", "calls": [USERS], "state_path": None}
        one = GroupRun(settings | changed | {"sql": "SELECT * FROM users WHERE id < 15"})
        two = GroupRun(settings | changed | {"sql": "SELECT * FROM users WHERE id >= 15"}, one.run_id)
        two.group_id = "others"
        one.plan()
        assert [run.all()["accepted"] for run in (two, one)] == [25, 15]
        assert sorted(int(message["userId"]) for message in segment.messages) == list(range(40))

    def test_equal_rows_without_a_user(self, segment: SegmentServer, source: Source, settings: dict[str, Any]) -> None:
        """Rows that are equal are events of their own, whichever of the tasks sends them."""
        source.run(f"CREATE TABLE visits (user_id {source.text}, page {source.text})")
        values = ", ".join([*(f"(NULL, 'p{n % 4}')" for n in range(40)), *(f"('u{n % 3}', 'q')" for n in range(20))])
        source.run(f"INSERT INTO visits VALUES {values}")  # noqa: S608
        visited = Track(Constant("Visited"), "user_id", anonymous_id=Constant("a"), properties=["page"])
        changed = {"sql": "SELECT * FROM visits", "sync_mode": "all", "key": None, "calls": [visited]}
        group = GroupRun(settings | changed | {"state_path": None})
        assert group.all()["accepted"] == 60
        assert len({message["messageId"] for message in segment.messages}) == 60
        assert GroupRun(group.settings, group.run_id).all()["accepted"] == 60
        assert len({message["messageId"] for message in segment.messages}) == 60
