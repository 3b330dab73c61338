"""What a server sees of any rows: bodies that are JSON, within the limits, and say what the table of values says."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sending import adds_up, run
from test_values import NESTED, plainly, read_back, same

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.core.delivery.batching import MAX_BODY_BYTES, MAX_EVENTS
from airflow_provider_segment.core.mapping.messages import MAX_EVENT_BYTES
from airflow_provider_segment.testing import SegmentServer

BAD = st.sampled_from([float("nan"), float("inf"), Decimal("NaN"), object(), "\ud800", {1.5: 1}])
LONG = st.builds(lambda text, times: text * times, st.sampled_from("xé日😀\n"), st.integers(0, 40_000))
VALUES = st.one_of(NESTED, NESTED, LONG, BAD)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.tuples(VALUES, VALUES), max_size=40), repeats=st.integers(1, 60))
def test_every_body_is_within_the_limits_and_says_what_the_rows_said(
    values: list[tuple[Any, Any]], repeats: int
) -> None:
    """Rows of any types and sizes become bodies that keep Segment's limits; what arrives is what the table says."""
    rows = [(number, *pair) for number, pair in enumerate(values * repeats)]
    with SegmentServer() as segment:
        calls = Identify("id", traits={"a": "a", "b": "b"})
        report = run(segment, ["id", "a", "b"], [rows], calls, timezone="UTC", key="id", max_rejected=len(rows))
    assert adds_up(report)
    assert (report.rows, report.accepted + report.invalid) == (len(rows), len(rows))
    assert (len(segment.messages), segment.dropped, segment.duplicates) == (report.accepted, [], [])
    for request in segment.requests:
        assert len(request.body) <= MAX_BODY_BYTES
        assert request.events <= MAX_EVENTS
        assert max(request.sizes) <= MAX_EVENT_BYTES
        for event in read_back(request.body)["batch"]:
            _, *said = rows[int(event["userId"])]
            assert same(event["traits"], {"a": plainly(said[0]), "b": plainly(said[1])})


def test_the_limits_are_those_that_are_documented() -> None:
    """The limits that the property is checked with are the ones that README.md promises."""
    assert (MAX_BODY_BYTES, MAX_EVENTS, MAX_EVENT_BYTES) == (480_000, 2_500, 32_000)
