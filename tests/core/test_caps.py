"""Caps: no call leaves before they are known to hold, and where one is broken nothing is sent at all."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sending import delivery_to
from test_changes import GONE, ONE_TRY, USERS, Table, kinds

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.core.errors import CapError, DeletionError, HoldError, NotSentError, SettingError
from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.mapping.message_ids import Namespace
from airflow_provider_segment.core.options import Options, most
from airflow_provider_segment.core.pipeline import sync
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.testing import SegmentServer

CAME = Track(Constant("Came"), user_id="id", when={"x": 1})
CALLS = [USERS, CAME]
# What of a report depends on the clock, and on how the calls were batched.
UNEQUAL = ("seconds", "started", "ended", "bytes", "requests")
DAYS = [(n, 0) for n in range(10)], [(n, n % 3) for n in range(2, 16)]
# By hand: on the second day identify has 6 new and 5 changed rows, and "Came" 4 new ones.
DUE = {
    "max_calls": (6 + 5 + 4, "all calls: {}"),
    "max_added": (6, "identify: added {}"),
    "max_updated": (5, "identify: updated {}"),
}


@pytest.fixture
def table(segment: SegmentServer, tmp_path: Path) -> Table:
    """A sync without a state yet."""
    return Table(segment, tmp_path / "state.db")


def pages(rows: int, size: int = 100) -> list[list[tuple[int, int]]]:
    return [[(n, n) for n in range(first, min(first + size, rows))] for first in range(0, rows, size)]


# Kept and broken


@pytest.mark.parametrize("validate_only", [False, True], ids=["a run", "a dry run"])
@pytest.mark.parametrize(("cap", "due"), [(cap, due) for cap, (due, _) in DUE.items()], ids=DUE)
def test_changes(table: Table, segment: SegmentServer, cap: str, due: int, validate_only: bool) -> None:
    """At exactly the cap a run sends; at one less nothing leaves, and the error and the report have the numbers."""
    table.send(DAYS[0], CALLS)
    sent = len(segment.requests)
    with pytest.raises(CapError, match=f"{DUE[cap][1].format(due)}; {cap} allows {due - 1}: too many") as raised:
        table.send(DAYS[1], CALLS, page=4, validate_only=validate_only, **{cap: due - 1})
    assert not raised.value.retry_helps
    planned = {
        "identify": {"added": 6, "updated": 5, "deleted": 0},
        "track:Came": {"added": 4, "updated": 0, "deleted": 0},
    }
    assert (table.report.planned, table.report.not_sent) == (planned, 15)
    assert len(segment.requests) == sent
    report = table.send(DAYS[1], CALLS, page=4, validate_only=validate_only, **{cap: due})
    assert report.planned == planned
    assert (report.accepted, report.not_sent) == ((0, 15) if validate_only else (15, 0))


@pytest.mark.parametrize("is_total_known", [True, False], ids=["the source tells its total", "nobody knows the total"])
def test_all(segment: SegmentServer, is_total_known: bool) -> None:
    """With sync_mode="all" the rows' calls are counted: at the cap all are sent, at one less none."""
    calls = [Identify("id", traits=["x"]), Track(Constant("Seen"), "id", when={"x": [1, 2, 3]})]
    with pytest.raises(CapError, match=r"all calls: 503; max_calls allows 502: too many"):
        send_all(segment, calls, total=500 if is_total_known else None, max_calls=502)
    assert segment.requests == []
    report = send_all(segment, calls, total=500 if is_total_known else None, max_calls=503)
    assert (report.accepted, len(segment.messages)) == (503, 503)


@pytest.mark.parametrize(("cap", "gone", "held"), [(2, 2, True), (2, 3, False), (0.3, 3, True), (0.3, 4, False)])
def test_max_deleted(table: Table, segment: SegmentServer, cap: float, gone: int, held: bool) -> None:
    """A cap on deletions that is set holds before anything is sent, as a count and as a share."""
    table.send(DAYS[0], [USERS, GONE])
    sent = len(segment.requests)
    rows = [(n, 1) for n in range(gone, 10)]
    if held:
        assert kinds(table.send(rows, [USERS, GONE], max_deleted=cap)) == (0, 10 - gone, gone)
        return
    with pytest.raises(DeletionError, match=rf"{gone} of 10 known keys are gone .*Nothing was sent"):
        table.send(rows, [USERS, GONE], max_deleted=cap)
    assert len(segment.requests) == sent


def test_all_that_is_broken_is_said_at_once(table: Table) -> None:
    """One error has every number beside its cap, the kept ones too."""
    table.send(DAYS[0], [USERS, GONE])
    with pytest.raises(CapError) as raised:
        table.send(
            [(n, 1) for n in range(6, 17)], [USERS, GONE], max_calls=20, max_added=0.5, max_updated=3, max_deleted=1.0
        )
    found = str(raised.value).split(". ")[0].splitlines()
    assert found[:7] == [
        "Nothing was sent, since a cap is broken:",
        "  identify: added 7; max_added allows 5 (0.5 of 10 keys that are known): too many",
        "  identify: updated 4; max_updated allows 3: too many",
        "  track:Gone: added 0; max_added allows 5 (0.5 of 10 keys that are known): kept",
        "  track:Gone: updated 0; max_updated allows 3: kept",
        "  all calls: 17; max_calls allows 20: kept",
        "If this is meant, raise the cap for one run (docs/costs.md says how); otherwise mend the query or the mapping",
    ]


def test_deletions_beside_a_cap(table: Table) -> None:
    """Where both are broken the error says both."""
    table.send(DAYS[0], [USERS, GONE])
    with pytest.raises(CapError, match=r"(?s)max_added allows 0: too many.*6 of 10 known keys are gone"):
        table.send([(n, 0) for n in range(6, 17)], [USERS, GONE], max_added=0, max_deleted=0.5)


def test_a_share_allows_no_first_run(table: Table, segment: SegmentServer) -> None:
    """Of no key nothing may be added: a state that was lost sends nothing, and the error says why."""
    with pytest.raises(CapError, match=re.escape("max_added allows 0 (0.5 of no key, since none is known so far)")):
        table.send(DAYS[0], CALLS, max_added=0.5)
    assert segment.requests == []
    table.send(DAYS[0], CALLS, max_added=10)
    table.send(DAYS[1], USERS, max_added=0.6)


@pytest.mark.parametrize(
    ("cap", "known", "allowed"), [(0.29, 100, 29), (0.1, 30, 3), (0.57, 100, 57), (0.0, 9, 0), (1.0, 7, 7), (5, 1, 5)]
)
def test_a_share_in_keys(cap: float, known: int, allowed: int) -> None:
    """A share is taken as it is written: 0.29 of 100 keys are 29, not 28.999."""
    assert most(cap, known) == allowed


# What a broken cap leaves


def test_a_broken_cap_leaves_all_as_it_was(table: Table, segment: SegmentServer) -> None:
    """The next run passes over what the last whole run settled, and sends what the stopped one would have."""
    rows = [(n, 0) for n in range(200)]
    table.send(rows, CALLS)
    changed = [(n, 1 if n < 30 else 0) for n in range(200)]
    for _ in range(2):
        with pytest.raises(CapError):
            table.send(changed, CALLS, page=50, max_calls=59)
    state = table.sql("SELECT * FROM segment_state")
    assert table.sql("SELECT clean FROM segment_sync") == [(1,)]
    report = table.send(changed, CALLS, page=50, max_calls=60)
    assert (report.skipped, report.accepted) == (170, 60)
    assert len(state) == 200
    assert table.send(changed, CALLS, page=50, max_calls=0).skipped == 200


def test_a_broken_cap_after_a_run_of_unknown_end(table: Table, segment: SegmentServer) -> None:
    """What a killed run left in doubt stays in doubt when the next one is stopped by a cap."""
    table.send(DAYS[0])
    table.unanswered([(n, 1) for n in range(10)])
    with pytest.raises(CapError):
        table.send(DAYS[0], max_calls=9)
    assert table.sql("SELECT clean FROM segment_sync") == [(0,)]
    assert table.send(DAYS[0], max_calls=10).accepted == 10


def test_a_failed_send_of_held_calls_goes_on_in_the_next_run(table: Table, segment: SegmentServer) -> None:
    """Calls that were held, and of which some were not acknowledged, are due in the next run, and no others."""
    segment.respond_with([None, 503])
    with pytest.raises(NotSentError):
        table.send(DAYS[0], max_events=4, max_in_flight=1, max_calls=10, policy=ONE_TRY)
    assert table.report.accepted == 4
    assert table.send(DAYS[0], max_calls=6).accepted == 6
    assert sorted(int(message["userId"]) for message in segment.messages) == list(range(10))


# Held on disk


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    days=st.lists(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), max_size=20), min_size=1, max_size=4),
    page=st.integers(1, 9),
    refused=st.booleans(),
)
def test_held_and_sent_at_once_are_the_same(
    segment: SegmentServer, days: Sequence[Sequence[tuple[int, int]]], page: int, refused: bool
) -> None:
    """Whatever changes from day to day, repeated keys and refusals among it, a cap that holds changes nothing."""
    calls = [USERS, CAME, GONE]
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for name, caps in (("free", {"max_deleted": 1}), ("held", {"max_calls": 10_000, "max_deleted": 1})):
            table, of_days = Table(segment, Path(folder) / name), []
            for rows in map(list, days):
                segment.reset()
                if refused:  # of two rows of a key, what becomes of the second depends on whether the first has ended
                    rows = list(dict(rows).items())
                    segment.refuse(lambda message: (message["type"], message["userId"]) == ("identify", "3"))
                report = table.send(rows, calls, page=page, max_events=3, max_rejected=999, max_in_flight=1, **caps)
                sent = [{**message, "messageId": ""} for message in segment.messages]
                told = {k: v for k, v in report.as_dict().items() if k not in UNEQUAL}
                of_days.append((sent, told))
            found.append(of_days)
        assert found[0] == found[1]


def test_nothing_is_held_where_a_cap_cannot_break(segment: SegmentServer) -> None:
    """Where the rows are few enough, calls leave as they are made."""
    held: list[int] = []
    for cap, expected in ((1_000, []), (999, [600])):
        report = Report()
        job = SyncJob(
            [Identify("id"), Track(Constant("Seen"), "id", when={"x": list(range(100))})],
            Namespace("sync", "run"),
            Options(max_calls=cap),
            on_planned=lambda report, size: held.append(sum(map(sum, (k.values() for k in report.planned.values())))),
        )
        with delivery_to(segment) as way:
            sync(Pages(["id", "x"], pages(500), "tests", 500), job, way, report)
        assert held == expected


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk(segment: SegmentServer) -> None:
    """Where there is no room to hold what is due, nothing is sent, and the error says where to make some."""
    with at_most(10_000), pytest.raises(HoldError, match=r"File too large, after [\d,]+ bytes.*TMPDIR") as raised:
        send_all(segment, [Identify("id", traits=["x"])], rows=50_000, max_calls=50_000)
    assert raised.value.retry_helps
    assert segment.requests == []


def test_no_folder_for_temporary_files(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where that folder is not there."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    with pytest.raises(HoldError, match="No such file or directory, after 0 bytes"):
        send_all(segment, [Identify("id")], max_calls=500)


HOLDING = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sending import run
from airflow_provider_segment.calls import Identify
from airflow_provider_segment.testing import SegmentServer

def pages():
    for first in range(0, 50_000, 2_500):
        yield [(n,) for n in range(first, first + 2_500)]
    print("holding", flush=True)
    time.sleep(600)

with SegmentServer() as server:
    run(server, ["id"], pages(), Identify("id"), max_calls=10**9)
"""


def test_a_kill_while_holding_leaves_no_file(tmp_path: Path) -> None:
    """The file has no name: while it is written nobody else can open it, and a kill leaves nothing of it."""
    process = subprocess.Popen(  # noqa: S603  our own interpreter and text
        [sys.executable, "-c", HOLDING, str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"holding\n"
    held = [Path(f"/proc/{process.pid}/fd/{name.name}").resolve() for name in Path(f"/proc/{process.pid}/fd").iterdir()]
    assert [path for path in held if str(path).startswith(str(tmp_path))]
    assert list(tmp_path.iterdir()) == []
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(tmp_path.iterdir()) == []


# Settings

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "max_calls is a count": ({"max_calls": 0.5}, "max_calls: expected a whole number from 0 on, found 0.5"),
    "max_calls True": ({"max_calls": True}, "max_calls: expected a whole number from 0 on, found True"),
    "max_added 1.5": ({"max_added": 1.5}, "max_added: expected a count, or a share below 1; found 1.5"),
    "max_updated -1": ({"max_updated": -1}, "max_updated: expected a count, or a share below 1; found -1"),
    "max_deleted 1.5": ({"max_deleted": 1.5}, "max_deleted: expected a count, or a share below 1; found 1.5"),
    "with all": (
        {"sync_mode": "all", "state_path": None, "max_added": 5},
        "max_added: is for sync_mode='changes'; with 'all' max_calls counts all rows' calls",
    ),
}


@pytest.mark.parametrize(("bad", "text"), BAD.values(), ids=BAD)
def test_bad_caps(bad: dict[str, Any], text: str) -> None:
    """A cap that is no cap fails when the DAG is parsed."""
    with pytest.raises(SettingError, match=re.escape(text)):
        Options(**({"sync_mode": "changes", "key": "id", "state_path": "s.db"} | bad))


def test_the_plan_as_a_table() -> None:
    """The log shows what is to be sent as a small table."""
    report = Report(
        planned={
            "identify": {"added": 12_000, "updated": 3, "deleted": 0},
            "track:Left": {"added": 0, "updated": 0, "deleted": 7},
        }
    )
    assert report.plan().splitlines() == [
        "",
        "  call         added  updated  deleted",
        "  identify    12,000        3        0",
        "  track:Left       0        0        7",
        "  all calls   12,000        3        7",
    ]


def send_all(segment: SegmentServer, calls: Any, rows: int = 500, total: int | None = None, **options: Any) -> Report:
    """Send rows with sync_mode="all"."""
    report = Report()
    job = SyncJob(calls, Namespace("sync", "run"), Options(**options))
    with delivery_to(segment) as way:
        sync(Pages(["id", "x"], pages(rows), "tests", total), job, way, report)
    return report
