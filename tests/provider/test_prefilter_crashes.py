"""The filter in the warehouse where runs die: whatever statement they die at, Segment gets what it would have got."""

from __future__ import annotations

import itertools
import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from filtered import FILTERS, LEFT, USERS, Source, Sync, made_source, source
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.warehouse_filter import WarehouseTables

__all__ = ["source"]


def dying(sync: Sync, number: int, when: str) -> bool:
    """Run the sync in a process that is killed before or after a statement; tell whether it got so far."""
    if (child := os.fork()) == 0:
        execute, count = WarehouseTables._execute, itertools.count(1)

        def counted(self: WarehouseTables, *asked: Any) -> None:
            is_last = next(count) == number
            if is_last and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            execute(self, *asked)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)

        WarehouseTables._execute = counted  # type: ignore[method-assign]  # of this process, which ends here
        with suppress(BaseException):
            sync.send()
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_each_statement(segment: SegmentServer, source: Source, tmp_path: Path, when: str) -> None:
    """After a kill at any statement the next run sends what is left, under the ids of then, and nothing false."""
    number, died = 0, True
    while died:
        number += 1
        segment.reset()
        sync = Sync(source, "warehouse", tmp_path / f"{number}.db", f"users {number}")
        source.fill([(n, "a") for n in range(30)])
        sync.send()
        source.run("UPDATE users SET email = 'b' WHERE id < 5")
        source.run("DELETE FROM users WHERE id > 27")
        source.insert([(n, "c") for n in range(100, 104)])
        heard = len(segment.messages)
        died = dying(sync, number, when)
        sync.state("UPDATE segment_sync SET token = NULL, expires = 0")  # as after a minute
        sync.send()
        told = segment.messages[heard:]
        unique = {m["messageId"]: m for m in told}
        assert sorted(m["userId"] for m in unique.values() if m["type"] == "identify") == sorted(
            map(str, [*range(5), *range(100, 104)])
        )
        assert sorted(m["userId"] for m in unique.values() if m["type"] == "track") == ["28", "29"]
        assert sync.send()["skipped"] == 32
        assert not [name for name in source.tables() if "_due_" in name]
    assert number > 12


KEYS = st.integers(0, 8)
TABLE = st.dictionaries(KEYS, st.sampled_from(["a", "A", "", "bad", None]), max_size=8)
STEP = st.tuples(TABLE, st.sampled_from(["", "", "", "reset", "more traits", "refuse", "lost", "dry"]))


@pytest.fixture(params=["sqlite", "postgres"])
def some_source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A database that takes statements fast."""
    return made_source(request.param, request, tmp_path, monkeypatch)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=2, max_size=5))
@example(steps=[({}, ""), ({5: "a", 6: "a", 4: "bad", 0: "bad"}, "refuse")])  # a task has but refused rows
def test_the_filters_make_the_same_calls(
    segment: SegmentServer, some_source: Source, tmp_path: Path, steps: list[tuple[dict[int, Any], str]]
) -> None:
    """Random tables, refusals, resets, kills and mappings: each filter sends what none would have sent."""
    home = tmp_path / os.urandom(4).hex()
    home.mkdir()
    syncs = [Sync(some_source, how, home / f"{how}.db", f"{how} {home.name}") for how in FILTERS]
    for table, what in steps:
        some_source.fill(list(table.items()))
        sent = [sorted(step(segment, sync, what)) for sync in syncs]
        assert all(one == sent[0] for one in sent), what


def step(segment: SegmentServer, sync: Sync, what: str) -> list[str]:
    """Make one step, and return what Segment got by it, without the ids."""
    segment.reset()
    segment.refuse(lambda message: what == "refuse" and message.get("traits", {}).get("email") == "bad")
    if what == "reset" and sync.path.exists():
        SegmentHook().reset(sync.sync_id, [1, 2], state_path=str(sync.path))
    calls = [Identify("id", traits=["email", "id"]), LEFT] if what == "more traits" else [USERS, LEFT]
    more = {"calls": calls, "max_rejected": 100}
    told: list[dict[str, Any]] = []
    if what == "lost":  # Segment has the first batch, its answer is lost, and the run ends there
        segment.respond_with(["reset_after", 401])
        with suppress(Exception):
            sync.send(**more)
        told += segment.messages
        segment.reset()
    sync.send(**more, validate_only=what == "dry")
    unique = {message["messageId"]: message for message in [*told, *segment.messages]}
    return [json.dumps({name: m.get(name) for name in ("type", "userId", "traits")}) for m in unique.values()]
