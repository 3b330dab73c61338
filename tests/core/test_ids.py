"""Ids: words for nothing are refused, and what looks wrong about the others is counted and sent."""

from __future__ import annotations

import random
import uuid
from typing import Any

import pytest
from sending import run

from airflow_provider_segment.calls import Alias, Constant, Group, Identify, Track
from airflow_provider_segment.core.errors import Refused, RejectedError, SettingError
from airflow_provider_segment.core.mapping import messages
from airflow_provider_segment.core.mapping.compiler import Columns, CompiledCall
from airflow_provider_segment.core.mapping.ids import Ids
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.testing import SegmentServer

WORDS = [
    *("null", "NULL", "Null", "nUlL", "None", "none", "NONE", "nan", "NaN", "NAN", "NaT", "undefined", "UNDEFINED"),
    *("[object Object]", "[object object]", "<nil>", "<NIL>", "<null>", "(null)", "<NA>", "\\N"),
    *('"null"', "'null'", '"undefined"', '"None"', " null", "null  ", "\tNone\n"),
]
NO_WORDS = ["nullable", "Nan Goldin", "no", "nil", "NA", "na", "n", "object", "undefined1", "0", "-1", "", "u null"]
IDENTIFY = Identify(user_id="id")


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("others", [["u1"] * 3, [uuid.UUID(int=1), 7], []], ids=["texts", "mixed", "alone"])
def test_a_word_for_nothing_is_no_id(word: str, others: list[Any]) -> None:
    """A word that programs write for a missing value is refused as an id, whatever else its page holds."""
    with pytest.raises(Refused) as caught:
        Ids("userId").read([*others, word])
    assert (caught.value.code, caught.value.field) == ("id_is_placeholder", "userId")
    assert caught.value.reason.startswith("found a word that programs write for a missing value")


@pytest.mark.parametrize("text", NO_WORDS)
def test_what_only_looks_like_one_is_an_id(text: str) -> None:
    """Texts that hold such a word, and short ones, are ids."""
    assert Ids("userId").read(["u1", text]) == ["u1", text or None]


CALLS = [
    (Identify(user_id="id"), "userId"),
    (Identify(anonymous_id="id"), "anonymousId"),
    (Group("id", user_id=Constant("u1")), "groupId"),
    (Alias(user_id=Constant("u1"), previous_id="id"), "previousId"),
    (Identify(user_id=Constant("u1"), message_id="id"), "messageId"),
]


@pytest.mark.parametrize(("call", "field"), CALLS, ids=[field for _, field in CALLS])
def test_each_id_is_looked_at(call: Any, field: str) -> None:
    """Each of the five ids is refused alike, with its own name, mapped or written."""
    with pytest.raises(Refused) as mapped:
        CompiledCall(call, Columns(["id"]), Options()).messages([("undefined",)])
    written = {"type": call.type, "userId": "u1", "groupId": "g", "previousId": "p", field: "undefined"}
    with pytest.raises(Refused) as said:
        messages.on_the_wire(written, None)
    assert [(e.value.code, e.value.field) for e in (mapped, said)] == [("id_is_placeholder", field)] * 2


def test_a_constant_word_is_a_setting_error() -> None:
    """A template that rendered to None is found before the first row."""
    with pytest.raises(SettingError, match=r"user_id=Constant\(\.\.\.\): found a word that programs write"):
        CompiledCall(Identify(user_id=Constant("None")), Columns([]), Options())


def test_rows_with_such_a_word_are_rejects_and_the_others_are_sent(segment: SegmentServer) -> None:
    """A page with words for nothing sends its good rows; the others are invalid, by number and column."""
    rows = [(f"u{n}" if n % 4 else WORDS[n // 4 % len(WORDS)],) for n in range(400)]
    with pytest.raises(RejectedError, match=r"100 x row 1, identify\.userId: id_is_placeholder: column id: ") as caught:
        run(segment, ["id"], [rows], IDENTIFY)
    report = caught.value.report
    assert (report.accepted, report.invalid, len(segment.messages)) == (300, 100, 300)


# What is sent with a warning


def warnings(segment: SegmentServer, values: list[Any], call: Any = IDENTIFY, size: int = 2_500) -> dict[str, int]:
    pages = [[(value,) for value in values[at : at + size]] for at in range(0, len(values), size)]
    report = run(segment, ["id"], pages, call, max_rejected=len(values))
    assert set(report.warnings) == set(report.warned)
    return report.warnings


@pytest.mark.parametrize("values", [["0", "u1", "-1", "u2"], [0, 1, -1, 2], ["0", 1, -1.0, None]])
def test_zero_and_minus_one_are_warned_of(segment: SegmentServer, values: list[Any]) -> None:
    """0 and -1 may be users, and mostly are none: they are sent, and counted."""
    assert warnings(segment, values) == {"identify: id_is_doubtful": 2}
    assert {"0", "-1"} <= {message["userId"] for message in segment.messages}


@pytest.mark.parametrize("values", [["u1 ", "u2", " u3"], ["u1 ", 2, None, "u3\t"]])
def test_blanks_at_an_end_are_warned_of(segment: SegmentServer, values: list[Any]) -> None:
    """An id with blanks at an end is sent as it is, and counted."""
    assert warnings(segment, values) == {"identify: id_has_blanks": 2}
    assert "u1 " in {message["userId"] for message in segment.messages}


def test_each_call_has_its_own_warnings(segment: SegmentServer) -> None:
    """What is counted is counted by call, and once where a page is read again row by row."""
    calls = [IDENTIFY, Track(event=Constant("E"), anonymous_id="id")]
    found = warnings(segment, ["0", " u1", "null", "0"], calls)
    assert found == {
        f"{call}: {code}": number
        for call in ("identify", "track:E")
        for code, number in (("id_is_doubtful", 2), ("id_has_blanks", 1))
    }


def users(one: int, of: int, order: str) -> list[str]:
    """Return ids of which one comes some times, and each of the others once."""
    ids = ["the one"] * one + [f"u{n}" for n in range(of - one)]
    if order == "mixed":
        random.Random(7).shuffle(ids)  # noqa: S311  a test's order, and always the same
    return ids


REPEATED = [
    (150, 10_000, 150),
    (101, 10_000, 101),
    (100, 10_000, 0),  # one hundredth and no more
    (99, 500, 0),  # fewer than 100
    (100, 500, 100),
    (5_000, 5_000, 5_000),
]


@pytest.mark.parametrize(("one", "of", "warned"), REPEATED)
@pytest.mark.parametrize("order", ["sorted", "mixed"])
@pytest.mark.parametrize("size", [2_500, 700, 1])
def test_one_user_in_more_than_a_hundredth_of_the_calls_is_warned_of(
    segment: SegmentServer, one: int, of: int, warned: int, order: str, size: int
) -> None:
    """A user id of more than 1 % of the identify calls, and of 100 or more, is warned of with its count."""
    ids = Ids("userId", is_counted=True)
    found = users(one, of, order)
    for at in range(0, of, size):
        ids.read(found[at : at + size])
        ids.note()
    assert [(code, number) for code, _, number in ids.warnings()] == ([("id_repeats", warned)] if warned else [])


def test_the_warning_tells_the_share_and_no_id(segment: SegmentServer) -> None:
    """The reason says how large a part it is, and not whose."""
    rows = [[(user,) for user in users(300, 2_000, "mixed")]]
    report = run(segment, ["id"], rows, IDENTIFY)
    assert report.warnings == {"identify: id_repeats": 300}
    assert "one and the same userId, 15% of all" in report.warned["identify: id_repeats"]
    assert "the one" not in str(report.warned)


def test_a_user_may_have_many_events(segment: SegmentServer) -> None:
    """Only identify calls are to be of one user each."""
    call = Track(event=Constant("E"), user_id="id")
    assert warnings(segment, users(1_500, 2_000, "mixed"), call) == {}


def test_many_users_of_some_rows_each_stay_in_bounds() -> None:
    """However many ids come again, few are kept."""
    ids = Ids("userId", is_counted=True)
    for page in range(400):
        ids.read([f"u{page}-{n // 12}" for n in range(2_500)])
        ids.note()
    assert list(ids.warnings()) == []
    assert len(ids._commonest._counts) <= 1_500  # type: ignore[union-attr]
