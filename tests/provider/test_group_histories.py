"""Random histories of a table, sent by a group that is disturbed and by one task that is not: both tell Segment all."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from filtered import LEFT, Source, made_source
from groups import GroupRun
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.task import SegmentFailException
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

KEYS = range(1, 13)
IDS = (["email"], ["email", "id"])


class Day(NamedTuple):
    """What happens between two runs, and in the second one.

    :param changes: the new contents of keys: none is a key that is gone, two are two rows.
    :param refused: users of whom Segment refuses each message.
    :param forgotten: keys that are reset before the run.
    :param traits: of the mapping.
    :param is_text: whether the keys come as texts.
    :param shards: tasks that send, at most.
    :param outage: a user whose batch is not answered as it should be, so that a task fails; 0 is none.
    :param trouble: what else is done: the plan is tried again, a part is sent twice, or tasks never run.
    :param mended: whether what failed is cleared "now", "later", after the plan of the next run, or never.
    """

    changes: Mapping[int, tuple[str, ...]]
    refused: frozenset[int] = frozenset()
    forgotten: frozenset[int] = frozenset()
    traits: int = 0
    is_text: bool = False
    shards: int = 3
    outage: int = 0
    trouble: str = ""
    mended: str = "now"


keys = st.sampled_from(KEYS)
contents = st.sampled_from([(), ("a",), ("b",), ("c",), ("a",), ("b",), ("a", "b")])
some = st.frozensets(keys, max_size=2)
days = st.builds(
    Day,
    changes=st.dictionaries(keys, contents, max_size=12),
    refused=some,
    forgotten=st.just(frozenset()) | some,
    traits=st.sampled_from([0, 0, 0, 1]),
    is_text=st.sampled_from([False, False, False, True]),
    shards=st.integers(1, 5),
    outage=st.just(0) | keys,
    trouble=st.sampled_from(["", "", "plan again", "sent twice", "killed"]),
    mended=st.sampled_from(["now", "later", "never"]),
)


class World:
    """A table, and what is sent of it by a group to one Segment and by one task to another.

    :param source: of the table.
    :param path: where the states are.
    """

    def __init__(self, source: Source, path: Path) -> None:
        self.source, self.path = source, path
        self.table: dict[int, tuple[str, ...]] = {}
        self.refused: frozenset[int] = frozenset()
        self.outage, self.is_disturbed = 0, False
        self.left_behind: GroupRun | None = None
        self.segments = {name: SegmentServer() for name in ("group", "one")}
        for segment in self.segments.values():
            segment.refuse(lambda message: int(message["userId"]) in self.refused)
        self.segments["group"].respond_with(
            lambda request: 401 if self.outage and f'"userId":"{self.outage}"'.encode() in request.body else None
        )

    def live(self, day: Day) -> dict[str, dict[str, Any] | None]:
        """Change the table, run both, and return their reports; None where the group's run did not end."""
        self.table = {key: said for key, said in (self.table | dict(day.changes)).items() if said}
        rows = [(key, email) for key, emails in self.table.items() for email in emails]
        self.source.run("DELETE FROM users")
        self.source.insert([*rows, (99, "z")])
        self.refused = day.refused
        for name in self.segments:
            state = str(self.path / name)
            if day.forgotten and Path(state).exists():
                SegmentHook().release(name, state_path=state)
                SegmentHook().reset(name, sorted(day.forgotten), state_path=state)
        key = "CAST(id AS TEXT) AS id" if day.is_text else "id"
        common = {
            "sql": f"SELECT {key}, email FROM users",  # noqa: S608
            "sql_conn_id": self.source.kind,
            "warehouse_schema": self.source.schema,
            "calls": [Identify("id", traits=IDS[day.traits]), LEFT],
            "key": "id",
            "sync_mode": "changes",
            "max_deleted": 1,
            "max_rejected": 1_000,
        }
        one = {"sync_id": "one", "state_path": str(self.path / "one"), "segment_conn_id": "one"}
        group = {"sync_id": "group", "state_path": str(self.path / "group"), "segment_conn_id": "group"}
        group |= {"rows_per_shard": 2, "lease_timeout": 1}
        plain = SqlToSegmentOperator(task_id="one", **common | one).execute({})
        return {"one": plain, "group": self._group(GroupRun(common | group | {"shards": day.shards}), day)}

    def _group(self, run: GroupRun, day: Day) -> dict[str, Any] | None:
        """Run the group, with the day's trouble."""
        if self.left_behind is not None:
            SegmentHook().release("group", state_path=run.settings["state_path"])
        shards = run.plan()
        self._clear_too_late()
        if day.trouble == "plan again":
            assert run.plan() == shards
        self.outage = day.outage
        failed = [number for number in range(len(shards)) if not self._sends(run, number, day.trouble)]
        report = None
        with suppress(SegmentFailException):
            report = run.finalize()
        self.outage = 0
        if report is not None:
            return report
        self.is_disturbed = True
        if day.mended == "later":
            self.left_behind = run
        if day.mended != "now":
            return None
        assert run.plan() == shards
        for number in failed:
            run.send(number)
        return run.finalize()

    def _sends(self, run: GroupRun, number: int, trouble: str) -> bool:
        """Run a task that sends, and tell whether it succeeded."""
        if trouble == "killed" and number == 0:
            return False
        try:
            for _ in range(2 if trouble == "sent twice" else 1):
                run.send(number)
        except SegmentFailException:
            return False
        return True

    def _clear_too_late(self) -> None:
        """Clear tasks of an old run, now that another has begun."""
        old, self.left_behind = self.left_behind, None
        if old is None:
            return
        for task in (lambda: old.send(0), old.finalize):
            with pytest.raises((SegmentFailException, IndexError)):  # perhaps it had nothing to send
                task()

    def heard(self, name: str) -> dict[int, list[dict[str, Any] | None]]:
        """What Segment heard of each user, in order; None is that it is gone."""
        found: dict[int, list[dict[str, Any] | None]] = {}
        for message in self.segments[name].messages:
            found.setdefault(int(message["userId"]), []).append(message.get("traits"))
        return found


@pytest.fixture(params=["sqlite", "postgres"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A database."""
    return made_source(request.param, request, tmp_path, monkeypatch)


@pytest.fixture
def worlds(source: Source) -> Callable[[], World]:
    """Makes a world, with an empty table and new states."""

    def new() -> World:
        source.fill([])
        return World(source, Path(tempfile.mkdtemp()))

    return new


@given(history=st.lists(days, min_size=2, max_size=5))
@settings(
    max_examples=5,  # about three seconds each
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_both_tell_segment_what_the_table_says(history: list[Day], worlds: Callable[[], World]) -> None:
    """After days of changes, refusals and failures: the last content of each key, and who left; nothing twice."""
    world = worlds()
    last = history[-1]._replace(changes={}, refused=frozenset(), forgotten=frozenset(), outage=0, trouble="")
    with world.segments["group"] as segment, world.segments["one"] as other:
        names = {"AIRFLOW_CONN_GROUP": segment.connection, "AIRFLOW_CONN_SEGMENT_DEFAULT": segment.connection}
        with mock.patch.dict(os.environ, names | {"AIRFLOW_CONN_ONE": other.connection}):
            for day in [*history, last, last, last]:
                reports = world.live(day)
                for report in filter(None, reports.values()):
                    ends = ("unchanged", "invalid", "accepted", "rejected", "not_sent")
                    assert report["calls"] == sum(report[name] for name in ends)
                    assert report["accepted"] == report["added"] + report["updated"] + report["deleted"]
        assert [report and report["accepted"] for report in reports.values()] == [0, 0]
        for name in world.segments:
            check(world, name, last, frozenset(sent_again(history)))
        if not world.is_disturbed:
            assert world.heard("one") == world.heard("group")


def sent_again(history: list[Day]) -> Iterator[int]:
    """Yield the keys whose content may be sent twice: after a reset, a refusal, or beside another row of the key."""
    for day in history:
        yield from (*day.forgotten, *day.refused, *(key for key, said in day.changes.items() if len(said) > 1))


def check(world: World, name: str, last: Day, again: frozenset[int]) -> None:
    """Compare what Segment has with the table."""
    heard = world.heard(name)
    for key in KEYS:
        said = heard.get(key, [])
        ids = {"id": str(key) if last.is_text else key} if last.traits else {}
        now = [{"email": email} | ids for email in world.table.get(key, ())]
        assert said[-1] in now if now else not said or said[-1] is None, (name, key, said, now)
        if key not in again:
            assert all(one != two for one, two in itertools.pairwise(said)), (name, key, said)
    assert world.segments[name].duplicates == []
