"""What looks wrong in messages and is sent all the same: it is counted, and logged once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sending import run

from airflow_provider_segment.calls import AllColumns, Constant, Identify, Json, Track
from airflow_provider_segment.testing import SegmentServer


@pytest.fixture
def server() -> Iterator[SegmentServer]:
    """A local Segment."""
    with SegmentServer() as server:
        yield server


SEEN = Track(Constant("Seen"), "id", timestamp="at")


def test_timestamps_of_other_centuries_are_sent_with_a_warning_and_a_count(server: SegmentServer) -> None:
    """Timestamps of the years 1 and 2999, and the zero of Unix, arrive; the report counts them."""
    far = ["2999-12-31T23:59:59Z", "0001-01-01 00:00:00+00", "1970-01-01T00:00:00Z"]
    rows = [(f"u{n}", "2026-01-31T09:30:00Z") for n in range(5_000)] + [("u", at) for at in far]
    report = run(server, ["id", "at"], [rows[:2_500], rows[2_500:5_000], rows[5_000:]], SEEN)
    assert (report.accepted, report.warnings) == (5_003, {"track:Seen: timestamp_unlikely": 3})
    assert {"2999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"} <= {m["timestamp"] for m in server.messages}
    assert "NULL" in report.warned["track:Seen: timestamp_unlikely"]


@pytest.mark.parametrize("at", ["1997-01-01T00:00:00Z", "1970-01-02T00:00:00Z", None, ""])
def test_likely_timestamps_are_not_warned_of(server: SegmentServer, at: Any) -> None:
    """A purchase of 1997 is none of these, and neither is a row without a timestamp."""
    report = run(server, ["id", "at"], [[("u", at)]], SEEN)
    assert (report.accepted, report.warnings) == (1, {})


def test_unlikely_timestamps_are_counted_once_beside_refused_rows(server: SegmentServer) -> None:
    """A page that goes again row by row, because one row of it is bad, counts its timestamps once."""
    rows = [("u", "2999-01-01T00:00:00Z"), (" ", "2999-01-01T00:00:00Z"), ("v", "2999-01-01T00:00:00Z")]
    report = run(server, ["id", "at"], [rows], SEEN, max_rejected=1)
    assert (report.accepted, report.invalid, report.warnings) == (2, 1, {"track:Seen: timestamp_unlikely": 2})


DOC = json.dumps({"city": "London", "tags": ["a"]}, indent=2)


def test_json_as_text_of_most_rows_is_warned_of_with_the_way(server: SegmentServer) -> None:
    """Where AllColumns sends JSON as text in most rows, the warning names the fields, and what to write."""
    rows = [(f"u{n}", DOC if n % 3 else None, '["a"]', "plain", "{") for n in range(3_000)]
    names = ["id", "address", "tags", "note", "odd"]
    report = run(server, names, [rows], Identify("id", traits=AllColumns()))
    assert report.accepted == 3_000
    assert report.warnings == {"identify: json_as_text": 1_000}
    said = report.warned["identify: json_as_text"]
    assert "traits.address, traits.tags;" in said
    assert 'json=["address", "tags"]' in said


def test_json_where_it_is_asked_for_is_not_warned_of(server: SegmentServer) -> None:
    """AllColumns(json=[...]) and Json make objects of it, with nothing to warn of; nor is text that may be JSON."""
    rows = [(f"u{n}", DOC, DOC, "{}" if n % 3 == 0 else "text") for n in range(9)]
    call = Identify("id", traits=AllColumns(json=["ADDRESS"], rename="camelCase", extra={"more": Json("more")}))
    report = run(server, ["id", "Address", "more", "note"], [rows], call)
    assert (report.accepted, report.warnings) == (9, {})
    assert server.messages[0]["traits"] == {"address": json.loads(DOC), "note": "{}", "more": json.loads(DOC)}


def test_name_within_a_columns_object_is_no_field(server: SegmentServer) -> None:
    """JSON as text within an object of the row is the row's own business, and its names are not shown."""
    rows = [("u", {"secret name": DOC})]
    report = run(server, ["id", "profile"], [rows], Identify("id", traits=AllColumns()))
    assert (report.accepted, report.warnings) == (1, {})


def test_too_large_message_names_its_largest_field(server: SegmentServer) -> None:
    """The reason names the field that takes most of the message, with its bytes."""
    call = Identify("id", traits={"bio": "bio", "profile.doc": "doc"})
    report = run(server, ["id", "bio", "doc"], [[("u1", "x" * 33_000, None)]], call, max_rejected=1)
    assert [rejection.reason for rejection in report.examples.values()] == [
        "found 33,123 bytes; Segment drops events above 32,000; the largest field is traits.bio, of 33,002 bytes"
    ]


@pytest.mark.parametrize(
    ("doc", "named"),
    [
        ({"secret": {"b": "z" * 40_000}}, "traits.profile.doc, of 40,019 bytes"),
        (["z" * 40_000], "traits.profile.doc, of 40,004 bytes"),
    ],
)
def test_largest_field_is_named_as_far_as_the_call_maps_it(server: SegmentServer, doc: Any, named: str) -> None:
    """Names deeper in a column's object are the row's own and do not show; the bytes are those of the mapped field."""
    call = Identify("id", traits={"bio": "bio", "profile.doc": "doc"})
    report = run(server, ["id", "bio", "doc"], [[("u2", "y", doc)]], call, max_rejected=1)
    assert report.commonest().endswith(f"; the largest field is {named}")
    assert "secret" not in report.commonest()
