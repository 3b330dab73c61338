"""`min_rows`: fewer rows than are expected stop a run before it has sent, or forgotten, anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sending import adds_up, delivery_to, run

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.errors import ColumnError, TooFewRowsError
from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.mapping.message_ids import Namespace
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.pipeline import sync
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.testing import SegmentServer

USERS = Identify("id")
LEFT = Track(Constant("Left"), "id", on_change="deleted")
SAID = (
    "min_rows: expected at least {} rows, found {}; nothing was sent and nothing deleted. {} rows, 0 calls: 0 accepted"
)


def pages(rows: int, size: int = 10) -> list[list[tuple[int]]]:
    """Return rows numbered from 1 in pages, the last one empty, as a driver ends."""
    return [*([(n,) for n in range(first + 1, min(first + size, rows) + 1)] for first in range(0, rows, size)), []]


@pytest.mark.parametrize(("found", "least"), [(0, 1), (9, 10), (10, 11), (25, 26), (25, 1_000)])
@pytest.mark.parametrize("is_total_known", [True, False], ids=["the source tells its total", "nobody knows the total"])
def test_too_few_rows_stop_the_run_before_the_first_request(
    segment: SegmentServer, found: int, least: int, is_total_known: bool
) -> None:
    """With one row less than expected nothing is sent; the error and the report say how many there were."""
    report = Report()
    with pytest.raises(TooFewRowsError) as raised:
        start(segment, pages(found), report, total=found if is_total_known else None, min_rows=least)
    assert str(raised.value).startswith(SAID.format(f"{least:,}", found, found))
    assert raised.value.retry_helps
    assert segment.requests == []
    assert (report.rows, report.calls) == (found, 0)
    assert adds_up(report)


@pytest.mark.parametrize(("found", "least"), [(0, 0), (1, 0), (10, 10), (25, 11), (25, 25)])
@pytest.mark.parametrize("is_total_known", [True, False], ids=["the source tells its total", "nobody knows the total"])
def test_enough_rows_are_all_sent_in_their_order(
    segment: SegmentServer, found: int, least: int, is_total_known: bool
) -> None:
    """With as many rows as expected, or more, each is sent once."""
    report = start(segment, pages(found), total=found if is_total_known else None, min_rows=least)
    assert [int(message["userId"]) for message in segment.messages] == list(range(1, found + 1))
    assert (report.rows, report.accepted) == (found, found)


def test_only_so_many_rows_are_read_ahead(segment: SegmentServer) -> None:
    """No more pages are held than it takes to know that there are enough, and none where that is known."""
    for total, least, ahead in ((None, 0, 1), (None, 15, 2), (None, 20, 2), (None, 21, 3), (50, 50, 1)):
        read = 0

        def counted() -> Iterator[Sequence[Any]]:
            nonlocal read
            for page in pages(50):
                read += 1
                yield page

        first: list[int] = []
        start(segment, counted(), on_progress=lambda _, seen=first: seen.append(read), total=total, min_rows=least)  # noqa: B023
        assert first[0] == ahead


def test_a_bad_column_is_named_first(segment: SegmentServer) -> None:
    """A mapping that does not fit is a mistake that no retry mends, so it is what the error says."""
    with pytest.raises(ColumnError):
        run(segment, ["other"], pages(3), USERS, min_rows=10)


def test_validate_only_finds_it_too(segment: SegmentServer, tmp_path: Path) -> None:
    """A look before sending fails as the run itself would."""
    preview = tmp_path / "preview.jsonl"
    with pytest.raises(TooFewRowsError):
        start(segment, pages(3), min_rows=4, validate_only=True, preview_path=str(preview))
    assert preview.read_text() == ""


@pytest.mark.parametrize("found", [0, 3])
def test_too_few_rows_delete_nothing(segment: SegmentServer, tmp_path: Path, found: int) -> None:
    """With "changes" the keys that did not come are not taken as gone, whatever max_deleted allows."""
    days = (10, found, 10)
    for rows in days:
        try:
            changes(segment, tmp_path, rows)
        except TooFewRowsError:
            assert rows == found
    assert sorted(json.dumps([m["type"], m["userId"]]) for m in segment.messages) == sorted(
        json.dumps(["identify", str(n)]) for n in range(1, 11)
    )
    changes(segment, tmp_path, 8)  # two are gone
    assert [m["userId"] for m in segment.messages if m["type"] == "track"] == ["9", "10"]


def start(
    segment: SegmentServer, rows: Any, report: Report | None = None, total: int | None = None, **options: Any
) -> Report:
    """Send rows, of which the source tells the total or does not."""
    report = report or Report()
    on_progress = options.pop("on_progress", lambda _: None)
    job = SyncJob([USERS], Namespace("sync", "run"), Options(**options), on_progress=on_progress)
    with delivery_to(segment, max_in_flight=1) as way:
        sync(Pages(["id"], rows, "tests", total), job, way, report)
    return report


def changes(segment: SegmentServer, folder: Path, rows: int) -> None:
    """Send only what changed, with all deletions allowed and eight rows expected."""
    options = Options(sync_mode="changes", key="id", state_path="unused", max_deleted=1, min_rows=8)
    engine = sa.create_engine(f"sqlite:///{folder / 'state.db'}", poolclass=sa.pool.NullPool)
    with closing(State(engine, "sync", "key", Holder(run_id="run"))) as state, delivery_to(segment) as way:
        sync(
            Pages(["id"], pages(rows), "tests"),
            SyncJob([USERS, LEFT], Namespace("unused"), options, state=state),
            way,
            Report(),
        )
