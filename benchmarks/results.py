"""What was measured, as values; the JSON of `bench.py --json` is these."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles.

    :param each: all that it is of, round by round.
    """

    median: float
    low: float
    high: float
    each: list[float]


def spread(each: Sequence[float]) -> Spread:
    """Return the median of some figures and their quartiles."""
    low, middle, high = quantiles(each, n=4, method="inclusive") if len(each) > 1 else [each[0]] * 3
    return Spread(middle, low, high, list(each))


@dataclass(frozen=True)
class Speed:
    """One side in one scenario.

    :param rows: of each round.
    :param rate: rows a second that arrived (with "changes": that were read).
    :param cpu: seconds of CPU per million rows.
    :param peak: the largest memory of its process, in bytes.
    :param lost: rows of the last round that never arrived.
    :param server_cpu: seconds of the stand-in server's CPU per million rows.
    :param ratio: rows a second of ours over those of this side, round by round; of ours: None.
    :param at_least: the ratio promised.
    """

    scenario: str
    side: str
    rows: int
    rate: Spread
    cpu: float
    peak: int
    lost: int
    server_cpu: float
    ratio: Spread | None = None
    at_least: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the promise is kept, if there is one."""
        return self.at_least is None or (self.ratio is not None and self.ratio.median >= self.at_least)


@dataclass(frozen=True)
class Peak:
    """The peak memory of one run in a new process.

    :param base: the same for the fewest rows.
    :param at_most: the bytes promised.
    """

    scenario: str
    rows: int
    seconds: float
    peak: int
    base: int
    at_most: int | None = None

    @property
    def kept(self) -> bool:
        """Whether the promise is kept, if there is one."""
        return self.at_most is None or self.peak <= self.at_most


@dataclass(frozen=True)
class Startup:
    """What an import or a DAG file adds on top of Airflow's BaseOperator.

    :param ms: milliseconds.
    :param memory: bytes that stay resident.
    :param heavy: heavy modules that came with it.
    :param at_most: the milliseconds and bytes promised; then no heavy module may come either.
    """

    scenario: str
    side: str
    ms: Spread
    memory: float
    heavy: list[str]
    at_most: tuple[float, float] | None = None

    @property
    def kept(self) -> bool:
        """Whether the promise is kept, if there is one."""
        if self.at_most is None:
            return True
        return self.ms.median <= self.at_most[0] and self.memory <= self.at_most[1] and not self.heavy


@dataclass(frozen=True)
class Stage:
    """What one step of the loop takes for each row, in microseconds of CPU."""

    scenario: str
    stage: str
    us: float


@dataclass(frozen=True)
class PeerSpeed:
    """The speed of one way to Segment.

    :param rate: rows a second that arrived.
    :param cpu: seconds of CPU per million rows.
    :param peak: the largest memory of its process, in bytes.
    :param lost: rows of the last round that were taken for sent and never arrived.
    :param ratio: rows a second of ours over those of this side, round by round; of ours: None.
    :param stopped: seconds after which it was stopped, as it had not ended; then `rate` is of what had arrived.
    """

    scenario: str
    side: str
    rows: int
    rate: Spread
    cpu: float
    peak: int
    lost: int
    ratio: Spread | None = None
    stopped: float | None = None


@dataclass(frozen=True)
class Delivery:
    """What became of the rows of one way to Segment when requests failed.

    :param scenario: "faults", or "killed": ended by SIGKILL among them and run again.
    :param seconds: of the run, or of the second.
    :param exit_code: of the run, or of the second; None: stopped, as it had not ended.
    :param lost: rows that never arrived, besides the one that is refused.
    :param twice: arrivals of a content that had arrived.
    :param counted: those of them that had another id, which Segment cannot tell from new ones.
    :param requests: that the server saw.
    :param failed: those of them that it answered 500 or reset.
    """

    scenario: str
    side: str
    rows: int
    seconds: float
    exit_code: int | None
    lost: int
    twice: int
    counted: int
    requests: int
    failed: int


@dataclass(frozen=True)
class Promise:
    """What a check promised and found.

    :param scenario: the check's name.
    """

    scenario: str
    promised: str
    measured: str
    held: bool


KINDS: dict[str, type[Any]] = {
    "speed": Speed,
    "memory": Peak,
    "startup": Startup,
    "limit": Stage,
    "peers": PeerSpeed,
    "deliveries": Delivery,
    "checks": Promise,
}


@dataclass
class Results:
    """All of one or more runs of the benchmarks.

    :param runs: of each: when, on which machine, of which commit ...
    :param checks: the promises of whatever is neither speed, memory nor startup.
    :param failed: the scenarios whose run failed.
    """

    runs: list[str] = field(default_factory=list)
    speed: list[Speed] = field(default_factory=list)
    memory: list[Peak] = field(default_factory=list)
    startup: list[Startup] = field(default_factory=list)
    limit: list[Stage] = field(default_factory=list)
    peers: list[PeerSpeed] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    checks: list[Promise] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write all as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def add(self, path: Path) -> None:
        """Read what was saved; its scenarios take the place of those of the same name."""
        saved: dict[str, Any] = json.loads(path.read_text())
        self.runs += saved["runs"]
        for name, kind in KINDS.items():
            fresh = [
                kind(**{field: value(field, given) for field, given in one.items()}) for one in saved.get(name, [])
            ]
            replaced = {one.scenario for one in fresh}
            setattr(self, name, [one for one in getattr(self, name) if one.scenario not in replaced] + fresh)
        self.failed += saved.get("failed", [])


def value(name: str, given: Any) -> Any:
    """Return a field's value as it was before it became JSON."""
    return Spread(**given) if name in {"rate", "ratio", "ms"} and given is not None else given
