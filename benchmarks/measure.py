"""Measures speed, each side in turn, and peak memory: what the table of scenarios asks for."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from child import operator
from peers.environments import python_of
from results import Peak, Speed, spread
from scenarios import IDENTIFY, USERS, Memory, Scenario
from sink import Sink, sink
from worker import Run, Worker

HERE = Path(__file__).resolve().parent
WARM_UP = 1_000
# A scenario that takes longer than these seconds has no more rounds than it must have.
ENOUGH, LEAST_ROUNDS = 15, 3
# What a peer of the official SDK gets beside the rows; a queue of None is enlarged so that nothing is lost.
SDK: dict[str, dict[str, Any]] = {
    "sdk": {"queue": None, "flush": True},
    "sdk not flushed": {"queue": 0, "flush": False},
}


@contextmanager
def started(side: str, home: Path, url: str, warehouse: str) -> Iterator[Worker]:
    """Lend the process of a side."""
    if side == "ours":
        worker = operator(home, url, warehouse)
    elif side == "loop":
        worker = Worker([sys.executable, HERE / "loop.py"], home / "loop.log")
    else:
        worker = Worker([python_of("segment"), HERE / "official_sdk.py"], home / "sdk.log")
    with worker:
        yield worker


@dataclass(frozen=True)
class Turn:
    """One run of one side, and what arrived of it."""

    run: Run
    arrived: int
    server_cpu: float

    @property
    def rows(self) -> int:
        """The rows that it read."""
        rows: int = self.run.result["rows"]
        return rows

    @property
    def lost(self) -> int:
        """What it took for sent and never arrived."""
        lost: int = self.run.result["sent"] - self.arrived
        return lost

    @property
    def rate(self) -> float:
        """Rows a second, without those that were lost."""
        return (self.rows - self.lost) / self.run.seconds


@dataclass(frozen=True)
class Side:
    """A side of a scenario, ready to run."""

    name: str
    scenario: Scenario
    rows: int
    worker: Worker
    segment: Sink
    warehouse: str
    home: Path

    def turn(self, number: int) -> Turn:
        """Run it once and look at what arrived; turn 0 is the warm-up."""
        # With "changes" the first turn must see all rows, since the next ones find only a part of them changed; but
        # where each turn is a first run it is a warm-up.
        whole = number or (self.name == "ours" and self.scenario.changed is not None and not self.scenario.first)
        sql = self.scenario.sql.format(rows=self.rows if whole else WARM_UP, round=number)
        before = self.segment.stats()
        run = self.worker.run(**self._settings(sql, number))
        after = self.segment.stats()
        turn = Turn(run, after["events"] - before["events"], after["cpu"] - before["cpu"])
        self._check(number, turn)
        return turn

    def _settings(self, sql: str, number: int) -> dict[str, Any]:
        scenario = self.scenario
        if self.name == "ours":
            settings = {"sql": sql, "calls": scenario.calls, "key": scenario.key, "max_in_flight": scenario.in_flight}
            if scenario.changed is None:
                return settings
            # A sync that has not run before is a state of its own, beside the others in PostgreSQL.
            place = self.home / f"turn-{number}" if scenario.first else self.home
            place.mkdir(exist_ok=True)
            return settings | state(scenario.source, place) | {"sync_id": f"benchmark {place.name}"}
        settings = {"sql": sql, "url": self.segment.url, "warehouse": json.loads(self.warehouse)}
        if self.name == "loop":
            return settings | {"messages": scenario.messages, "threads": scenario.in_flight}
        sdk = SDK[self.name]
        return settings | sdk | ({"queue": max(self.rows, WARM_UP)} if sdk["queue"] is None else {})

    def _check(self, number: int, turn: Turn) -> None:
        """Make sure that nothing was lost where nothing may be, and that just the changed rows were sent."""
        assert turn.lost == 0 or self.name.startswith("sdk "), (self.name, turn)
        if number:
            assert turn.rows == self.rows, (self.name, turn)
        if number and self.name == "ours":
            share = 1.0 if self.scenario.changed is None else self.scenario.changed
            assert turn.arrived == round(self.rows * share) * len(self.scenario.calls), turn


def state(source: str, home: Path) -> dict[str, str]:
    """Return the settings of a sync that remembers, in the kind of database that it reads."""
    where = {"state_path": str(home / "state.db")} if source == "sqlite" else {"state_conn_id": "warehouse"}
    return {"sync_mode": "changes", **where}


def speed(scenario: Scenario, warehouse: str, home: Path, rounds: int, *, short: bool) -> list[Speed]:
    """Run all sides of a scenario in turns, after a warm-up of each.

    :param home: an empty folder.
    """
    rows, sdk_rows = (scenario.short, min(20_000, scenario.sdk_rows)) if short else (scenario.rows, scenario.sdk_rows)
    with ExitStack() as stack:
        segment = stack.enter_context(sink(delay=scenario.delay / 1000))
        sides = []
        for name in ("ours", *scenario.peers):
            worker = stack.enter_context(started(name, home, segment.url, warehouse))
            sides.append(Side(name, scenario, sdk_rows if name in SDK else rows, worker, segment, warehouse, home))
        for side in sides:
            side.turn(0)
        turns: dict[str, list[Turn]] = {side.name: [] for side in sides}
        began = time.monotonic()
        for number in range(1, rounds + 1):
            if number > LEAST_ROUNDS and time.monotonic() - began > ENOUGH:
                break
            # Each round the other way round, so that none has always the same one before it.
            for side in sides if number % 2 else reversed(sides):
                turns[side.name].append(side.turn(number))
    return [result(scenario, name, turns) for name in turns]


def result(scenario: Scenario, name: str, turns: dict[str, list[Turn]]) -> Speed:
    """Return what one side's turns came to, beside ours."""
    own = turns[name]
    ratios = [ours.rate / theirs.rate for ours, theirs in zip(turns["ours"], own, strict=True)]
    return Speed(
        scenario=scenario.name,
        side=name,
        rows=own[-1].rows,
        rate=spread([turn.rate for turn in own]),
        cpu=median(turn.run.cpu / turn.rows * 1e6 for turn in own),
        peak=own[-1].run.peak,
        lost=own[-1].lost,
        server_cpu=median(turn.server_cpu / turn.rows * 1e6 for turn in own),
        ratio=None if name == "ours" else spread(ratios),
        at_least=scenario.peers.get(name),
    )


def memory(asked: Memory, warehouse: str, home: Path, sizes: tuple[int, ...]) -> list[Peak]:
    """Run few rows and many, each in a new process.

    :param home: an empty folder.
    """
    found: list[Peak] = []
    for rows in sizes:
        place = home / str(rows)
        place.mkdir()
        run = one_run(asked, warehouse, place, rows)
        base = found[0].base if found else run.peak
        limits = [int(base * asked.times)] if asked.times else [base + asked.more] if asked.more else [None]
        found.append(Peak(asked.name, rows, run.seconds, run.peak, base, limits[0] if rows == sizes[-1] else None))
    return found


def one_run(asked: Memory, warehouse: str, home: Path, rows: int) -> Run:
    """Run one side in a new process, after a small sync; with "changes", once more for nothing changed."""
    with sink() as segment, started(asked.side, home, segment.url, warehouse) as worker:
        if asked.side == "loop":
            settings: dict[str, Any] = {"url": segment.url, "warehouse": json.loads(warehouse)}
            settings |= {"messages": "identify", "threads": 4}
        else:
            settings = {"calls": [IDENTIFY], "key": asked.key, **(state("sqlite", home) if asked.changes else {})}
        worker.run(**settings, sql=USERS.format(rows=WARM_UP))
        # The warm-up's rows are known to "changes" by now; all others are new.
        run = worker.run(**settings, sql=USERS.format(rows=rows))
        assert run.result["rows"] == rows, run
        if not asked.changes:
            return run
        again = worker.run(**settings, sql=USERS.format(rows=rows))
        assert again.result["sent"] == 0, again
        return Run(run.result, run.seconds, run.cpu, again.peak)
