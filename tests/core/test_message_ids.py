"""The same event has the same id in every try, in whatever order its rows come, and no two events share one."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections import Counter
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naming import shown

from airflow_provider_segment.core.mapping.message_ids import (
    Namespace,
    Occurrences,
    RowKeys,
    content_digest,
    fingerprint,
    with_id,
)

KEY = "the-write-key-that-nobody-sees"
NOT_IDENTICAL = st.one_of(st.none(), st.text(max_size=5), st.integers(-5, 5))


# A key as JSON, or a digest and a number of one length; and a message.
ROW_KEY = st.lists(NOT_IDENTICAL, min_size=1, max_size=3).map(orjson.dumps)
CONTENT = st.dictionaries(st.text(max_size=2), NOT_IDENTICAL, max_size=2).map(orjson.dumps)


def made(parts: tuple[Any, ...], identity: str, row_key: bytes, content: bytes) -> bytes:
    return Namespace(*parts).maker(identity).make(row_key, content)


@given(st.lists(NOT_IDENTICAL, max_size=4), st.text(max_size=5), ROW_KEY, CONTENT)
def test_same_event_has_the_same_id(parts: list[Any], identity: str, row_key: bytes, content: bytes) -> None:
    """An id depends on nothing but what it is made of, and is 32 hexadecimal characters."""
    one, again = (made(tuple(parts), identity, row_key, content) for _ in range(2))
    assert one == again
    assert re.fullmatch(rb"[0-9a-f]{32}", one)


@given(st.lists(st.tuples(CONTENT.filter(lambda content: content != b"{}"), ROW_KEY), max_size=5))
def test_a_page_of_ids_is_as_one_by_one(rows: list[tuple[bytes, bytes]]) -> None:
    """Messages that are named together have the ids that each would have alone."""
    ids = Namespace("sync", "run").maker("identify")
    named = ids.named([content for content, _ in rows], [row_key for _, row_key in rows])
    assert named == [with_id(content, ids.make(row_key, content)) for content, row_key in rows]
    assert [orjson.loads(event)["messageId"].encode() for event in named] == [
        ids.make(row_key, content) for content, row_key in rows
    ]


EVENT = st.tuples(st.lists(NOT_IDENTICAL, max_size=3).map(tuple), st.text(max_size=2), ROW_KEY, CONTENT)


@given(st.lists(EVENT, min_size=2, max_size=30, unique_by=repr))
def test_other_events_have_other_ids(events: list[Any]) -> None:
    """Whatever differs - a part of the namespace, the call, the row or the content - makes another id."""
    assert len({made(*event) for event in events}) == len(events)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((("a", "b"), "c", b"", b""), (("a",), "bc", b"", b"")),
        ((("ab",), "c", b"", b""), (("a", "b"), "c", b"", b"")),
        ((("1",), "c", b"", b""), ((1,), "c", b"", b"")),
        (((None,), "c", b"", b""), (("null",), "c", b"", b"")),
        (((None,), "c", b"", b""), ((), "c", b"", b"")),
        (((), "c", b"[1]", b'{"a":1}'), ((), "c", b'["1"]', b'{"a":1}')),
        (((), "c", b"[1]#1", b'{"a":1}'), ((), "c", b"[1]#11", b'{"a":1}')),
        (((), "c", b"1#1", b'{"a":1}'), ((), "c", b"[1]#1", b'{"a":1}')),
        (((), "a", b"", b""), ((), "A", b"", b"")),
    ],
)
def test_parts_do_not_run_together(one: Any, other: Any) -> None:
    """Moving a character from one part to the next makes another id."""
    assert made(*one) != made(*other)


def test_makers_do_not_disturb_each_other() -> None:
    """One namespace makes the ids of many calls, in any order."""
    space = Namespace("sync", "run")
    first, second = space.maker("first"), space.maker("second")
    ids = [first.make(b"1", b"x"), second.make(b"1", b"x"), first.make(b"1", b"x")]
    assert ids[0] == ids[2] != ids[1]
    assert Namespace("sync", "run").maker("second").make(b"1", b"x") == ids[1]


def test_fingerprint_shows_no_key() -> None:
    """A fingerprint tells keys apart and shows nothing of them, nor does a namespace made with it."""
    prints = {fingerprint(KEY), fingerprint(KEY + "x"), fingerprint(KEY.upper()), fingerprint("")}
    assert len(prints) == 4
    space = Namespace("sync", fingerprint(KEY))
    shown = f"{prints} {space!r} {vars(space)} {space.maker('x')!r}"
    assert not any(KEY[i : i + 5] in shown for i in range(len(KEY) - 5))


# Rows that repeat


@given(st.lists(st.sampled_from("abcdefgh"), max_size=200))
def test_equal_rows_are_numbered(rows: list[str]) -> None:
    """The k-th of equal rows gets the number k, in whatever order the rows come, from 0."""
    occurrences, seen = Occurrences(), Counter[str]()
    for row in rows:
        assert occurrences.count(content_digest(row)) == seen[row]
        seen[row] += 1


@pytest.mark.parametrize("repeats", [1, 2, 3, 4, 5, 8, 9, 1000])
def test_any_number_of_repeats_is_counted(repeats: int) -> None:
    """A row may repeat any number of times."""
    occurrences = Occurrences()
    assert [occurrences.count(content_digest(("a", 1))) for _ in range(repeats)] == [*range(repeats)]


def test_many_different_rows_are_all_first() -> None:
    """Among 100,000 different rows none is taken for another's repeat."""
    occurrences = Occurrences()
    assert sum(occurrences.count(content_digest((n, f"row {n}"))) for n in range(100_000)) == 0


VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    st.binary(max_size=3),
    st.dates(),
    st.uuids(),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.decimals(allow_nan=False, max_value=100, min_value=0, places=2),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 3)),
)


def ids_of(pages: list[list[tuple[Any, ...]]], key: tuple[int, ...] = ()) -> list[str]:
    row_keys, make = RowKeys(key), Namespace("sync").maker("call").make
    return [make(row_key, b"content") for page in pages for row_key in row_keys.of(page) if row_key is not None]


@given(st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=6, unique_by=repr), st.data())
def test_ids_do_not_depend_on_the_order(different: list[tuple[Any, ...]], data: Any) -> None:
    """Rows have the same set of ids in whatever order and pages they come, each its own, repeats included."""
    rows = different + data.draw(st.lists(st.sampled_from(different), max_size=10))
    shuffled = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    one, other = ids_of([rows]), ids_of([shuffled[:cut], shuffled[cut:]])
    assert (set(one), len(set(one))) == (set(other), len(rows))


@given(st.lists(st.tuples(VALUE, st.sampled_from([1, 2, None])), max_size=10))
def test_key_tells_rows_apart(rows: list[tuple[Any, ...]]) -> None:
    """With a key a row is known by its key alone; one with a null in it has none."""
    row_keys = RowKeys((1,)).of(rows)
    assert [row_key is None for row_key in row_keys] == [row[1] is None for row in rows]
    assert len({*row_keys} - {None}) == len({row[1] for row in rows} - {None})


@pytest.mark.parametrize(
    "value", ["null", "None", "", 0, False, "a\x00", b"", Decimal(1), uuid.uuid4(), 2**64, "[null]"]
)
def test_key_may_be_anything_but_null(value: Any) -> None:
    """Only a null makes a key useless, not a value that looks like one."""
    (row_key,) = RowKeys((0, 1)).of([(value, "x")])
    assert row_key is not None
    assert RowKeys((0, 1)).of([(value, None), (None, value)]) == [None, None]


def test_key_columns_have_an_order() -> None:
    """A key of two columns does not take (a, b) for (b, a), nor (ab, "") for (a, b)."""
    rows = [("a", "b"), ("b", "a"), ("ab", ""), ("", "ab"), (1, 2), ("1", 2), ("a", "b")]
    assert len(set(RowKeys((0, 1)).of(rows))) == len(rows) - 1


RARE = [
    *(2**64, -(2**63) - 1, 10**38, "\ud800", ["\ud800"], {"\ud800": 1}, {"a": 2**70}, [[10**30]], {(1, 2): 3}),
    *(b"\xff", memoryview(b"\xff"), Decimal("NaN"), {1, 2}, float("nan"), dt.timedelta(1), object(), 1j, dt.time(1)),
]


@pytest.mark.parametrize("value", RARE, ids=shown)
def test_row_may_hold_anything(value: Any) -> None:
    """A value that JSON has no place for, large numbers and broken text included, does not end the run here."""
    one, other, again = RowKeys(()).of([(value, 1), (value, 2), (value, 1)])
    assert len({one, other, again}) == 3
    assert RowKeys((1,)).of([(value, 1)]) == RowKeys((1,)).of([("other", 1)])
    assert RowKeys((0, 1)).of([(value, None)]) == [None]


def deep(levels: int) -> Any:
    return [deep(levels - 1)] if levels else 1


def test_row_may_be_deep() -> None:
    """A row that is nested too deep to be sent is refused by the rule for it, and does not end the run here."""
    assert len(RowKeys(()).of([(deep(400),)])) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC),
            dt.datetime(2026, 7, 1, 14, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        ),
        (b"\xff", memoryview(b"\xff")),
        ({"b", "a", "c"}, {"c", "a", "b"}),
        ((1, 2), [1, 2]),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
    ],
)
def test_same_value_in_another_dress_is_the_same_row(one: Any, other: Any) -> None:
    """A session in another time zone, or another type of the driver for the same value, repeats the ids."""
    assert RowKeys(()).of([(one,)]) == RowKeys(()).of([(other,)])
    assert RowKeys((0,)).of([(one,)]) == RowKeys((0,)).of([(other,)])


def test_large_arrays_are_told_apart() -> None:
    """Two rows that differ somewhere in a long numpy array are two rows, not one that came twice."""
    np = pytest.importorskip("numpy")
    for kind in (float, object):
        long, other = np.zeros(5_000, dtype=kind), np.zeros(5_000, dtype=kind)
        other[2_500] = 1
        assert len({row_key[:-8] for row_key in RowKeys(()).of([(long,), (other,)]) if row_key}) == 2
