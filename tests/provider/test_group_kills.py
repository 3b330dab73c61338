"""SqlToSegmentTaskGroup where a task is killed between any two statements, of the warehouse or of the state."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filtered import Source, Sync, made_source
from groups import GroupRun

from airflow_provider_segment.core.changes.lease import Lease
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.task import SegmentFailException
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.warehouse_filter import WarehouseTables


def dies(task: Callable[[], Any], number: int) -> bool:
    """Run a task in a process that is killed before a statement; tell whether it got so far."""
    if (child := os.fork()) == 0:
        count = itertools.count(1)

        def counted(method: Callable[..., Any]) -> Callable[..., Any]:
            def call(*asked: Any, **more: Any) -> Any:
                if next(count) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return method(*asked, **more)

            return call

        # Of this process, which ends here.
        WarehouseTables._execute = counted(WarehouseTables._execute)  # type: ignore[method-assign]
        Lease.writing = counted(Lease.writing)  # type: ignore[method-assign]
        with suppress(BaseException):
            task()
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


@pytest.mark.parametrize("then", ["tried again", "next run"])
@pytest.mark.parametrize("stage", ["plan", "send", "finalize"])
def test_a_kill_at_each_statement(
    segment: SegmentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any, stage: str, then: str
) -> None:
    """Whether the task is tried again or a new run follows, what is left is sent, under the ids of then, no more."""
    source: Source = made_source("sqlite", request, tmp_path, monkeypatch)
    database, state = tmp_path / "source.sqlite", tmp_path / "state.db"
    settings = Sync(source, "group", state, "users").settings() | {"shards": 2, "rows_per_shard": 2, "max_deleted": 0.5}
    source.fill([(n, "a") for n in range(1, 31)])
    GroupRun(settings).all()
    source.run("UPDATE users SET email = 'b' WHERE id < 5")
    source.run("DELETE FROM users WHERE id > 27")
    source.insert([(n, "c") for n in range(100, 104)])
    for path in (database, state):
        shutil.copy(path, f"{path}.first")
    number, died = 0, True
    while died:
        number += 1
        segment.reset()
        for path in (database, state):
            shutil.copy(f"{path}.first", path)
        group = GroupRun(settings)
        if stage != "plan":
            group.plan()
        if stage == "finalize":
            group.send(0)
            group.send(1)
        tasks: dict[str, Callable[[], Any]] = {"plan": group.plan, "send": partial(group.send, 0)}
        died = dies(tasks.get(stage, group.finalize), number)
        if then == "tried again":
            finish(group, stage)
        SegmentHook().release("users", state_path=str(state))
        GroupRun(settings).all()
        unique = {message["messageId"]: message for message in [*segment.messages, *segment.duplicates]}
        told = sorted((message["type"], int(message["userId"])) for message in unique.values())
        identified = [("identify", n) for n in [*range(1, 5), *range(100, 104)]]
        assert told == [*identified, *(("track", n) for n in (28, 29, 30))], number
        assert GroupRun(settings).all()["skipped"] == 31
        assert not [name for name in source.tables() if "_due_" in name]
    assert number > 5


def finish(group: GroupRun, stage: str) -> None:
    """Try a task again, and go on."""
    if stage == "plan":
        group.plan()
    if stage != "finalize":
        group.send(0)
        group.send(1)
    with suppress(SegmentFailException):  # it had ended, and nobody heard of it
        group.finalize()
