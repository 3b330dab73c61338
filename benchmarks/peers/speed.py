"""Measures the speed of all ways from PostgreSQL to Segment, in turns."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from statistics import median

from results import PeerSpeed, spread
from sink import Sink, sink
from worker import Run, Worker

from peers.sides import SIDES, Side

WARM_UP = 100
LIMIT = 120  # seconds of one run
TABLE = "users"


def speed(warehouse: str, home: Path, rounds: int, at_most: int) -> list[PeerSpeed]:
    """Run all sides in turns, after a warm-up of each.

    :param warehouse: PostgreSQL's connection.
    :param home: an empty folder.
    :param at_most: rows of a run; the slow sides have fewer anyway.
    """
    turns: dict[str, list[Turn]] = {}
    with ExitStack() as stack:
        segment = stack.enter_context(sink())
        contenders = [
            Contender(side, min(side.rows, at_most), segment, warehouse, home / side.name, stack)
            for side in SIDES
            if side.rows
        ]
        for number in range(rounds):
            # Each round the other way round, so that none has always the same one before it.
            for one in contenders if number % 2 else reversed(contenders):
                if not one.stopped:
                    turns.setdefault(one.side.name, []).append(one.turn(one.rows))
    return [one.result(turns["ours"], turns[one.side.name]) for one in contenders]


class Turn:
    """One run of one side, and what arrived of it."""

    def __init__(self, run: Run, arrived: int) -> None:
        self.run, self.arrived = run, arrived
        self.rate = arrived / run.seconds


class Contender:
    """A side in a process of its own, warmed up."""

    def __init__(self, side: Side, rows: int, segment: Sink, warehouse: str, home: Path, stack: ExitStack) -> None:
        self.side, self.rows, self.stopped = side, rows, False
        self._segment, self._warehouse, self._home = segment, warehouse, home
        home.mkdir()
        environment = side.environment(home, segment.url, warehouse)
        self._worker = stack.enter_context(Worker(side.command, home / "log", environment, LIMIT))
        self.turn(min(rows, WARM_UP))
        if self.stopped:
            raise TimeoutError(f"{side.name} did not end its warm-up in {LIMIT} seconds")

    def turn(self, rows: int) -> Turn:
        """Run it once; one that does not end in time is stopped for good, and has what arrived until then."""
        before = self._segment.stats()["events"]
        try:
            run = self._worker.run(
                **self.side.asked(self._home, self._segment.url, self._warehouse, TABLE, rows, faults=False)
            )
        except TimeoutError:
            self.stopped, run = True, Run({"rows": rows, "sent": 0}, LIMIT, 0.0, 0)
        return Turn(run, self._segment.stats()["events"] - before)

    def result(self, ours: list[Turn], own: list[Turn]) -> PeerSpeed:
        """Return what its turns came to, beside ours of the same rounds."""
        is_ours = not self.side.peer
        return PeerSpeed(
            scenario="peers",
            side=self.side.name,
            rows=self.rows,
            rate=spread([turn.rate for turn in own]),
            cpu=median(turn.run.cpu / self.rows * 1e6 for turn in own),
            peak=own[-1].run.peak,
            lost=own[-1].run.result["sent"] - own[-1].arrived if not self.stopped else 0,
            ratio=None if is_ours else spread([a.rate / max(b.rate, 0.1) for a, b in zip(ours, own, strict=False)]),
            stopped=LIMIT if self.stopped else None,
        )
