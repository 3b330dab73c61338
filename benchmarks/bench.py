"""Measures the speed and the memory of SqlToSegmentOperator beside other ways to Segment, and checks what is promised.

`python benchmarks/bench.py --short` every day, under 3 minutes; without it, all, under 45. `make bench` does the same.
At the end stands a table of all promises, held and missed; the exit code is 1 only where a run failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from checks import CHECKS, Check
from limit import limit
from measure import memory, speed
from peers.speed import speed as peers
from peers.under_faults import deliveries
from report import markdown, write
from results import Promise, Results
from scenarios import MEMORY, MEMORY_ROWS, SPEED, Memory, Scenario
from startup import STARTUP, Probe, startup
from warehouse import postgres, sqlite

HERE = Path(__file__).resolve().parent
ROUNDS = {"full": 7, "short": 3}
LIMIT_ROWS = 50_000
FULL_MINUTES = 45
# Other ways to Segment, in PostgreSQL; the slow ones have fewer rows.
PEERS = ("peers", "peers-under-faults")
PEER_ROWS, PEER_ROUNDS = {"full": 200_000, "short": 5_000}, {"full": 3, "short": 1}
Asked = Scenario | Memory | Probe | Check | str


def chosen(only: list[str], *, short: bool) -> list[Asked]:
    """Return the scenarios to run: all of the mode, or those whose name begins so.

    :raises SystemExit: if no name begins so.
    """
    in_short: list[Asked] = [
        *(one for one in SPEED if one.short),
        *(one for one in MEMORY if one.name == "memory-key"),
        *(one for one in STARTUP if one.short),
    ]
    # In the short mode the peers run only when they are named: starting all of them takes a minute.
    asked: list[Asked] = (
        [*in_short, *(PEERS if only else ())] if short else [*SPEED, *MEMORY, *STARTUP, "limit", *PEERS, *CHECKS]
    )
    names = [name(one) for one in asked]
    for beginning in only:
        if not any(one.startswith(beginning) for one in names):
            sys.exit(f"No scenario begins with {beginning!r}; there are: {', '.join(names)}")
    return [one for one in asked if not only or name(one).startswith(tuple(only))]


def name(asked: Asked) -> str:
    """Return a scenario's name."""
    return asked if isinstance(asked, str) else asked.name


class Lab:
    """The databases of a run, made when first asked for, with as many rows as the scenarios need."""

    def __init__(self, home: Path, asked: list[Asked], stack: ExitStack, *, short: bool) -> None:
        self.short, self.mode = short, "short" if short else "full"
        self._home = home
        self._stack = stack
        self._made: dict[str, str] = {}
        self._rows = {"sqlite": LIMIT_ROWS, "postgres": 0, "wide": 0}
        for one in asked:
            if isinstance(one, Scenario):
                table = "wide" if "FROM wide" in one.sql else one.source
                self._rows[table] = max(self._rows[table], one.short if short else one.rows)
            elif isinstance(one, Memory):
                self._rows[one.source] = max(self._rows[one.source], *self.sizes)
            elif one in PEERS:
                self._rows["postgres"] = max(self._rows["postgres"], PEER_ROWS[self.mode])

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of rows whose memory is measured."""
        return MEMORY_ROWS[self.mode]

    def warehouse(self, source: str = "sqlite") -> str:
        """Return the Airflow connection of a database."""
        if source not in self._made:
            say(f"fills {source}")
            made = (
                postgres(self._home, self._rows["postgres"])
                if source == "postgres"
                else sqlite(self._home, self._rows["sqlite"], self._rows["wide"])
            )
            self._made[source] = self._stack.enter_context(made)
        return self._made[source]

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Lend an empty folder."""
        with tempfile.TemporaryDirectory(dir=self._home) as folder:
            yield Path(folder)


def measure(asked: Asked, lab: Lab, rounds: int, results: Results) -> None:
    """Measure one scenario."""
    with lab.folder() as home:
        if isinstance(asked, Scenario):
            results.speed += speed(asked, lab.warehouse(asked.source), home, rounds, short=lab.short)
        elif isinstance(asked, Memory):
            results.memory += memory(asked, lab.warehouse(asked.source), home, lab.sizes)
        elif isinstance(asked, Probe):
            results.startup += startup(asked, home, rounds)
        elif asked == "peers":
            results.peers += peers(lab.warehouse("postgres"), home, PEER_ROUNDS[lab.mode], PEER_ROWS[lab.mode])
        elif asked == "peers-under-faults":
            results.deliveries += deliveries(lab.warehouse("postgres"), home, PEER_ROWS[lab.mode])
        elif isinstance(asked, Check):
            with redirect_stdout(sys.stderr):
                results.checks += asked.run()
        else:
            results.limit += limit(lab.warehouse(), LIMIT_ROWS, rounds)


def say(text: str) -> None:
    """Tell how far it is; the tables alone go to stdout."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def git(*words: str) -> str:
    """Return what git says of this repository; nothing, where there is none."""
    command = ["git", "-C", str(HERE), *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()  # noqa: S603 - our own


def machine(mode: str, rounds: int) -> str:
    """Return when, where, of which commit and how this run measures."""
    commit = git("rev-parse", "--short", "HEAD") or "no repository"
    changed = " with changes" if git("status", "--porcelain", "--", "../airflow_provider_segment") else ""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = models[0].partition(": ")[2] if models else platform.processor()
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    place = f"{processor}, {os.cpu_count()} cores, {gigabytes:.0f} GB, load before {os.getloadavg()[0]:.1f}"
    software = f"Python {platform.python_version()}, Airflow {version('apache-airflow')}"
    how = f"package at {commit}{changed}; {mode} mode, up to {rounds} rounds"
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {place}; {software}; {how}"


def run(asked: list[Asked], rounds: int, saved: Path | None, *, short: bool) -> Results:
    """Measure all that is asked, one after the other, and save after each."""
    results, where, began = Results(), machine("short" if short else "full", rounds), time.monotonic()
    with ExitStack() as stack:
        # The full mode needs about 3 GB for a while; TMPDIR says where.
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lab = Lab(home, asked, stack, short=short)
        for one in asked:
            say(name(one))
            try:
                measure(one, lab, rounds, results)
            except Exception:  # noqa: BLE001 - the other scenarios are measured all the same, and the end tells it
                traceback.print_exc()
                results.failed.append(name(one))
            minutes = (time.monotonic() - began) / 60
            results.runs = [f"{where}; took {minutes:.1f} min."]
            if saved:
                results.save(saved)
    if asked == chosen([], short=False):
        promised = f"all of it ends within {FULL_MINUTES} minutes"
        results.checks.append(Promise("bench", promised, f"{minutes:.1f} minutes", minutes <= FULL_MINUTES))
        if saved:
            results.save(saved)
    return results


def main() -> int:
    """Run what the command line asks for and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer scenarios, rows and rounds")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="scenarios whose names begin so")
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS['full']}, short {ROUNDS['short']}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results there, after each scenario")
    parser.add_argument(
        "--from", type=Path, nargs="+", metavar="FILE", dest="saved", help="measure nothing, read these"
    )
    parser.add_argument("--write", action="store_true", help="renew the tables in README.md and the plots in docs/")
    settings = parser.parse_args()
    # Ended from outside it still ends its servers and removes its data.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if settings.saved:
        results = Results()
        for path in settings.saved:
            results.add(path)
        if settings.json:
            results.save(settings.json)
    else:
        rounds = settings.rounds or ROUNDS["short" if settings.short else "full"]
        results = run(chosen(settings.only, short=settings.short), rounds, settings.json, short=settings.short)
    if settings.write:
        write(results, HERE / "README.md", HERE.parent / "docs")
    print(markdown(results))
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
