"""A refusal teaches: what stands in the wrong place says what to write instead, with the column's own name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sending import run

from airflow_provider_segment.calls import Call, Constant, Identify, Page, Track
from airflow_provider_segment.core.errors import Refused, SettingError
from airflow_provider_segment.testing import SegmentServer

DOC = ' {"plan": "premium"}'
WHOLE: list[tuple[Call, str]] = [
    (Identify("id", traits="doc"), "traits_not_object"),
    (Page(user_id="id", properties="doc"), "properties_not_object"),
    (Identify("id", context="doc"), "context_not_object"),
    (Identify("id", context={"campaign": "doc"}), "context_not_valid"),
]


@pytest.fixture
def server() -> Iterator[SegmentServer]:
    """A local Segment."""
    with SegmentServer() as server:
        yield server


def refused(server: SegmentServer, call: Call, value: Any, column: str = "doc") -> str:
    """Return how the one row was refused."""
    report = run(server, ["id", column], [[("u1", value)]], call, max_rejected=1)
    assert report.invalid == 1
    return report.commonest()


@pytest.mark.parametrize("doc", [DOC, DOC.encode()])
@pytest.mark.parametrize(("call", "code"), WHOLE)
def test_json_text_in_place_of_an_object_names_json(server: SegmentServer, call: Call, code: str, doc: Any) -> None:
    """JSON as text where an object is expected: the reason says `Json("doc")`, and shows nothing of it."""
    reason = refused(server, call, doc)
    assert f": {code}: column doc: found " in reason
    assert 'it looks like JSON as text: map the column as Json("doc")' in reason
    assert "premium" not in reason


@pytest.mark.parametrize(("call", "code"), WHOLE)
def test_other_text_in_place_of_an_object_is_not_taken_for_json(server: SegmentServer, call: Call, code: str) -> None:
    """A text that is no JSON is named as what it is."""
    reason = refused(server, call, "pro")
    assert f": {code}: column doc: found str of length 3; expected an object" in reason
    assert "Json" not in reason


def test_epoch_number_names_the_column_in_the_cast(server: SegmentServer) -> None:
    """An epoch number as timestamp: the reason can be pasted into the query."""
    reason = refused(server, Track(Constant("Seen"), "id", timestamp="ts"), 1_767_322_645_123, "ts")
    assert "column ts: found a int which looks like milliseconds since 1970" in reason
    assert "TIMESTAMP_MILLIS(ts)" in reason


def test_constant_is_refused_when_the_sync_is_compiled(server: SegmentServer) -> None:
    """A Constant has no column, and its reason reads all the same."""
    with pytest.raises(
        SettingError, match=r"timestamp=Constant\(...\): found a int which looks like seconds"
    ) as caught:
        run(server, ["id"], [[("u1",)]], Identify("id", timestamp=Constant(1_767_322_645)))
    assert "{column}" not in str(caught.value)


def test_reason_without_a_column_is_a_sentence_too() -> None:
    """Where no column can be named, the reason says so in plain words."""
    assert Refused("code", "cast {column}").text() == "cast the column"
    assert Refused("code", "cast {column}").text("at") == "column at: cast at"
