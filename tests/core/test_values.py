"""Every value that a driver gives has one JSON form, whichever way the message takes, or is refused with a reason."""

from __future__ import annotations

import base64
import datetime as dt
import enum
import ipaddress
import json
import math
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naming import shown

from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.mapping import encoding, values
from airflow_provider_segment.core.mapping.values import MissingTimezone

UTC = dt.UTC
NAIVE = dt.datetime.fromisoformat("2026-01-31T09:30")
BERLIN = ZoneInfo("Europe/Berlin")
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")
encode = encoding.encoder(UTC, with_id=True)


class Colour(enum.Enum):
    RED = "red"
    TWO = 2
    AMOUNT = Decimal("1.10")
    NESTED = (1, "a")
    NAN = math.nan


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    YES = "yes"


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Pair(NamedTuple):
    left: Any
    right: Any


class Range:
    """A range as psycopg and psycopg2 give it; the core knows neither, only these names."""

    def __init__(self, lower: Any, upper: Any, bounds: str = "[)", *, isempty: bool = False) -> None:
        self.lower, self.upper, self.isempty = lower, upper, isempty
        self.lower_inc, self.upper_inc = bounds[0] == "[", bounds[1] == "]"


class Multirange(Sequence[Any]):
    """As psycopg's: a sequence that is no list."""

    def __init__(self, *ranges: Range) -> None:
        self._ranges = ranges

    def __len__(self) -> int:
        return len(self._ranges)

    def __getitem__(self, place: Any) -> Any:
        return self._ranges[place]


class Record(Mapping[str, Any]):
    """As some drivers give a struct: a mapping that is no dict."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def nested(levels: int, innermost: Any = 1) -> Any:
    """Lists and objects in turns, so many levels deep."""
    value = innermost
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


# A value of the database and the text of its JSON, written out: a number must keep all its digits.
TABLE: list[tuple[str, Any, str]] = [
    ("null", None, "null"),
    ("true", True, "true"),
    ("false", False, "false"),
    ("text", "Zoë 日本 😀", '"Zoë 日本 😀"'),
    ("empty text", "", '""'),
    ("control characters", "a\x00\t\x1f\x7f", '"a\\u0000\\t\\u001f\x7f"'),
    ("quotes", '"\\/', '"\\"\\\\/"'),
    ("the word null", "null", '"null"'),
    ("the word NaN", "NaN", '"NaN"'),
    ("text of a subclass", Text("a"), '"a"'),
    ("zero", 0, "0"),
    ("above 2**53", 2**53 + 1, "9007199254740993"),
    ("below -2**53", -(2**53) - 1, "-9007199254740993"),
    ("2**63", 2**63, "9223372036854775808"),
    ("2**64 - 1", 2**64 - 1, "18446744073709551615"),
    ("2**64", 2**64, "18446744073709551616"),
    ("-2**63 - 1", -(2**63) - 1, "-9223372036854775809"),
    ("38 digits", 10**38 - 1, "9" * 38),
    ("int of a subclass", Whole(7), "7"),
    ("float", 0.1, "0.1"),
    ("large float", 1e300, "1e+300"),
    ("whole float", 1.0, "1.0"),
    ("float of a subclass", Real(0.5), "0.5"),
    ("Decimal", Decimal("0.10"), "0.10"),
    ("exact Decimal", Decimal("12345678901234567890.123456789012345678"), "12345678901234567890.123456789012345678"),
    ("Decimal with exponent", Decimal("1E+3"), "1E+3"),
    ("small Decimal", Decimal("0E-9"), "0E-9"),
    ("negative Decimal", Decimal(-7), "-7"),
    ("date", dt.date(2026, 1, 31), '"2026-01-31"'),
    ("aware datetime", dt.datetime(2026, 1, 31, 9, 30, tzinfo=UTC), '"2026-01-31T09:30:00Z"'),
    ("another zone", dt.datetime(2026, 7, 1, 2, 0, 0, 5, tzinfo=BERLIN), '"2026-07-01T00:00:00.000005Z"'),
    ("naive datetime", NAIVE, '"2026-01-31T09:30:00Z"'),
    ("time", dt.time(9, 30, 0, 5), '"09:30:00.000005"'),
    ("aware time", dt.time(9, 30, tzinfo=UTC), '"09:30:00+00:00"'),
    ("timedelta", dt.timedelta(days=1, seconds=1), "86401"),
    ("part of a second", dt.timedelta(milliseconds=-1500), "-1.5"),
    ("UUID", ID, f'"{ID}"'),
    ("bytes", b"\x00\xff", '"AP8="'),
    ("bytearray", bytearray(b"\x00\xff"), '"AP8="'),
    ("memoryview", memoryview(b"\x00\xff"), '"AP8="'),
    ("no bytes", b"", '""'),
    ("Enum", Colour.RED, '"red"'),
    ("Enum of a number", Colour.TWO, "2"),
    ("Enum of a Decimal", Colour.AMOUNT, "1.10"),
    ("Enum of a tuple", Colour.NESTED, '[1,"a"]'),
    ("IntEnum", Level.HIGH, "3"),
    ("StrEnum", Word.YES, '"yes"'),
    ("IPv4 address", ipaddress.ip_address("10.0.0.1"), '"10.0.0.1"'),
    ("IPv6 address", ipaddress.ip_address("::1"), '"::1"'),
    ("network", ipaddress.ip_network("10.0.0.0/8"), '"10.0.0.0/8"'),
    ("IPv6 network", ipaddress.ip_network("fe80::/10"), '"fe80::/10"'),
    ("list", [1, None, "a"], '[1,null,"a"]'),
    ("tuple", (1, (2,)), "[1,[2]]"),
    ("named tuple", Pair(1, 2), '{"left":1,"right":2}'),
    ("set of texts", {"c", "a", "b"}, '["a","b","c"]'),
    ("frozen set", frozenset({ID}), f'["{ID}"]'),
    ("empty list", [], "[]"),
    ("dict", {"a": {"b": [1]}}, '{"a":{"b":[1]}}'),
    ("empty dict", {}, "{}"),
    ("names that are numbers", {1: "a", ID: "b"}, f'{{"1":"a","{ID}":"b"}}'),
    ("names of a subclass", {Text("a"): 1}, '{"a":1}'),
    ("ordered dict", OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
    ("mapping", Record(a=1, b=Decimal("1.0")), '{"a":1,"b":1.0}'),
    ("range", Range(1, 5), '{"lower":1,"upper":5,"bounds":"[)"}'),
    ("range without an end", Range(None, 5, "(]"), '{"lower":null,"upper":5,"bounds":"(]"}'),
    ("empty range", Range(None, None, isempty=True), '{"empty":true}'),
    ("range of dates", Range(dt.date(2026, 1, 1), None), '{"lower":"2026-01-01","upper":null,"bounds":"[)"}'),
    ("multirange", Multirange(Range(1, 2)), '[{"lower":1,"upper":2,"bounds":"[)"}]'),
    ("rare in a list", [Decimal("0.10"), b"a", 2**64], '[0.10,"YQ==",18446744073709551616]'),
]

# A value that JSON, or Segment, has no place for, and the code it is refused with.
REFUSED: list[tuple[str, Any, str]] = [
    ("NaN", math.nan, "number_not_finite"),
    ("infinity", math.inf, "number_not_finite"),
    ("minus infinity", -math.inf, "number_not_finite"),
    ("NaN of a subclass", Real("nan"), "number_not_finite"),
    ("Decimal NaN", Decimal("NaN"), "number_not_finite"),
    ("Decimal sNaN", Decimal("sNaN"), "number_not_finite"),
    ("Decimal infinity", Decimal("-Infinity"), "number_not_finite"),
    ("Enum of NaN", Colour.NAN, "number_not_finite"),
    ("NaN in a list", [1, [math.nan]], "number_not_finite"),
    ("NaN in a tuple", (1, (math.nan,)), "number_not_finite"),
    ("NaN in a set", {math.nan}, "number_not_finite"),
    ("NaN in a mapping", Record(a=math.nan), "number_not_finite"),
    ("NaN beside a rare value", {"a": Decimal(1), "b": math.nan}, "number_not_finite"),
    ("NaN in a range", Range(math.nan, 1.0), "number_not_finite"),
    ("half a character", "a\ud800", "text_not_unicode"),
    ("half a character in a name", {"\udfff": 1}, "text_not_unicode"),
    ("half a character in a list", ["\ud83d"], "text_not_unicode"),
    ("a name that is null", {None: 1}, "name_not_text"),
    ("a name that is a truth value", {True: 1}, "name_not_text"),
    ("a name that is a tuple", {(1, 2): 1}, "name_not_text"),
    ("before the year 1", dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=5))), "timestamp_out_of_range"),
    ("an unknown type", object(), "type_not_known"),
    ("a complex number", 1j, "type_not_known"),
    ("a generator", (n for n in "a"), "type_not_known"),
    ("a class", int, "type_not_known"),
    ("too deep", nested(300), "nested_too_deep"),
    ("too deep and rare", nested(300, Decimal(1)), "nested_too_deep"),
]


def by_rule(value: Any) -> bytes:
    return orjson.dumps(values.to_json({"x": value}, UTC, "traits")).removeprefix(b'{"x":').removesuffix(b"}")


def by_fast_path(value: Any) -> bytes:
    return encode({"traits": {"x": value}}).removeprefix(b'{"traits":{"x":').removesuffix(b"}}")


BOTH_WAYS = pytest.mark.parametrize("way", [by_rule, by_fast_path])


@BOTH_WAYS
@pytest.mark.parametrize(("value", "text"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_value_has_one_json_form(way: Any, value: Any, text: str) -> None:
    """A value becomes exactly this JSON, by the rule and on the fast path alike."""
    assert way(value).decode() == text


@BOTH_WAYS
@pytest.mark.parametrize(("value", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_value_without_a_json_form_is_refused(way: Any, value: Any, code: str) -> None:
    """A value that JSON cannot say is refused by both ways, with where it stands and without being shown."""
    with pytest.raises(Refused) as caught:
        way(value)
    assert (caught.value.code, caught.value.field.startswith("traits.x")) == (code, True)


@pytest.mark.parametrize("levels", [90, 150, 260])
@pytest.mark.parametrize("innermost", [1, Decimal(1), {7: 1}])
def test_depth_does_not_depend_on_the_way(levels: int, innermost: Any) -> None:
    """A nested value is sent or refused by its depth alone, not by what else it holds."""

    def verdict(way: Any, value: Any) -> Any:
        try:
            return way(value) and "sent"
        except Refused as refused:
            return refused.code

    value = nested(levels, innermost)
    plain = nested(levels + isinstance(innermost, dict))
    assert verdict(by_fast_path, value) == verdict(by_rule, value) == verdict(by_fast_path, plain)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"a": {"b": [0, math.nan]}}, "traits.x.a.b[1]"),
        ([{"a": "\ud800"}], "traits.x[0].a"),
        ({"a": (1, {"c": object()})}, "traits.x.a[1].c"),
        (Record(a=Range(1, math.inf)), "traits.x.a"),
    ],
)
def test_refusal_names_the_place(value: Any, field: str) -> None:
    """A refusal says where in the message the bad value stands, however deep."""
    for way in (by_rule, by_fast_path):
        with pytest.raises(Refused) as caught:
            way(value)
        assert caught.value.field == field


@pytest.mark.parametrize("value", ["secret\ud800", {("secret",): 1}, [object()], "x" * 40_000])
def test_refusal_shows_no_value(value: Any) -> None:
    """A refusal holds the type and length of a value, never the value: it is personal data."""
    with pytest.raises(Refused) as caught:
        encode({"traits": {"x": value}})
    assert "secret" not in str(caught.value)
    assert "xxx" not in str(caught.value)
    assert "0x" not in str(caught.value)


@pytest.mark.parametrize("value", [NAIVE, [NAIVE]])
def test_timestamp_without_a_zone_stops_both_ways(value: Any) -> None:
    """Without a zone for them, timestamps that carry none are nobody's to guess: the run ends."""
    for way in (
        lambda v: values.to_json(v, None, "traits.x"),
        lambda v: encoding.encoder(None, with_id=True)({"x": v}),
    ):
        with pytest.raises(MissingTimezone, match="timezone='UTC'"):
            way(value)


def test_timestamps_without_a_zone_take_the_one_of_the_run() -> None:
    """A naive timestamp is read in the zone that was given, daylight saving included."""
    zoned = encoding.encoder(BERLIN, with_id=True)
    assert zoned({"winter": NAIVE, "summer": NAIVE.replace(month=7)}) == (
        b'{"winter":"2026-01-31T08:30:00Z","summer":"2026-07-31T07:30:00Z"}'
    )


# Any value that is built of these, nested at will.
UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SIMPLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20),
    UNICODE,
    st.binary(max_size=8),
    st.uuids(),
    st.dates(),
    st.datetimes(timezones=st.sampled_from([UTC, BERLIN]), min_value=NAIVE.replace(year=1900)),
    st.times(),
    st.timedeltas(),
    st.ip_addresses(),
    st.sampled_from([*Colour][:4]),
)
NESTED = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(UNICODE | st.integers(), inner, max_size=4),
        st.sets(st.integers() | st.uuids(), max_size=4),
        st.builds(Range, inner, inner),
    ),
    max_leaves=12,
)


def plainly(value: Any) -> Any:  # noqa: C901  a table, a line a type
    """The same rules said anew, for a reader of the JSON: what `json.loads` must give, numbers as Decimals."""
    match value:
        case bool() | None | str():
            return value
        case enum.Enum():
            return plainly(value.value)
        case int() | Decimal():
            return Decimal(value)
        case float():
            return Decimal(repr(value))
        case dt.timedelta():
            return Decimal(repr(value.total_seconds()))
        case dt.datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case dt.date() | dt.time():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {str(name): plainly(part) for name, part in value.items()}
        case list() | tuple():
            return [plainly(part) for part in value]
        case set():
            return sorted((plainly(part) for part in value), key=lambda part: json.dumps(part, default=str))
        case Range():
            return {"lower": plainly(value.lower), "upper": plainly(value.upper), "bounds": "[)"}
        case _:
            return str(value)


def read_back(encoded: bytes) -> Any:
    return json.loads(encoded, parse_float=Decimal, parse_int=Decimal)


def same(one: Any, other: Any) -> bool:
    """Equal, with the members of a set in any order; they are told by holding numbers and texts only."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and (
            all(map(same, one, other)) or sorted(map(repr, one)) == sorted(map(repr, other))
        )
    return type(one) is type(other) and one == other


@given(NESTED)
def test_nested_values_read_back_as_they_were(value: Any) -> None:
    """Whatever is nested in whatever, the JSON that is sent reads back as the table says, the same by both ways."""
    fast, careful = by_fast_path(value), by_rule(value)
    assert same(read_back(fast), plainly(value))
    assert same(read_back(careful), read_back(fast))


@given(st.sets(st.integers() | UNICODE | st.uuids(), max_size=8))
def test_sets_come_in_one_order(value: set[Any]) -> None:
    """A set has the same bytes however it was filled, since other bytes would be another message."""
    again = {*reversed([*value])}
    assert by_fast_path(value) == by_fast_path(again) == by_rule(again)


# Timestamps of messages

TIMESTAMPS: list[tuple[Any, str | None]] = [
    (None, None),
    ("", None),
    (dt.datetime(2026, 1, 31, 9, 30, tzinfo=BERLIN), "2026-01-31T08:30:00Z"),
    (NAIVE, "2026-01-31T09:30:00Z"),
    (dt.date(2026, 1, 31), "2026-01-31T00:00:00Z"),
    ("2026-01-31T09:30:00Z", "2026-01-31T09:30:00Z"),
    ("2026-01-31T09:30:00+01:00", "2026-01-31T08:30:00Z"),
    ("2026-01-31 09:30:00", "2026-01-31T09:30:00Z"),
    ("2026-01-31", "2026-01-31T00:00:00Z"),
]


@pytest.mark.parametrize(("value", "text"), TIMESTAMPS)
def test_timestamp_is_iso_8601_with_a_zone(value: Any, text: str | None) -> None:
    """A message's timestamp goes out as ISO 8601 with a zone, and not at all where there is none."""
    assert values.timestamp(value, UTC) == text


@pytest.mark.parametrize("value", ["yesterday", "31.01.2026", " ", "1769851800", 1769851800, 1.5, True, {}, b"2026"])
def test_other_timestamps_are_refused(value: Any) -> None:
    """What is not clearly a point in time is refused, numbers included: nobody says which unit they are in."""
    with pytest.raises(Refused) as caught:
        values.timestamp(value, UTC)
    assert (caught.value.code, caught.value.field) == ("timestamp_not_iso8601", "timestamp")


@pytest.mark.parametrize("value", [NAIVE, dt.date(2026, 1, 31), "2026-01-31T09:30:00"])
def test_message_timestamp_needs_a_zone(value: Any) -> None:
    """A message's timestamp without a zone stops a run that was given none."""
    with pytest.raises(MissingTimezone, match="timezone"):
        values.timestamp(value, None)


# Ids

IDS: list[tuple[Any, str | None]] = [
    ("id", "id"),
    (" id ", " id "),
    ("0", "0"),
    ("\x00", "\x00"),
    (0, "0"),
    (-5, "-5"),
    (2**64, "18446744073709551616"),
    (ID, str(ID)),
    (1.0, "1"),
    (-0.0, "0"),
    (float(2**53), "9007199254740992"),
    (Decimal(7), "7"),
    (Decimal("7.00"), "7"),
    (Decimal(9007199254740993), "9007199254740993"),
    (Decimal("1E+2"), "100"),
    (Level.HIGH, "3"),
    (Colour.RED, "red"),
    (Text("id"), "id"),
    ("", None),
    (None, None),
]
NO_IDS: list[Any] = [
    *(" ", "\t\n", True, False, 1.5, 2.0**53 + 2, math.nan, math.inf, Decimal("1.5"), Decimal("NaN"), Decimal("sNaN")),
    *({}, [], ["id"], b"", b"id", dt.date(2026, 1, 31), object(), 1j),
]


@pytest.mark.parametrize(("value", "text"), IDS)
def test_id_is_text_or_absent(value: Any, text: str | None) -> None:
    """Texts, whole numbers and UUIDs are ids; an empty one is none."""
    assert values.to_id(value, "userId") == text


@pytest.mark.parametrize("value", NO_IDS, ids=shown)
def test_other_ids_are_refused(value: Any) -> None:
    """What is no clear id is refused, so that no thousand rows become the one user "nan" or "True"."""
    with pytest.raises(Refused) as caught:
        values.to_id(value, "userId")
    assert (caught.value.code, caught.value.field) == ("id_not_string", "userId")


def test_id_of_half_a_character_is_refused() -> None:
    """An id that UTF-8 cannot say is refused as such."""
    with pytest.raises(Refused) as caught:
        values.to_id("a\ud800", "userId")
    assert caught.value.code == "text_not_unicode"


# numpy and pandas, where they are installed


def test_numpy_scalars_are_pythons() -> None:
    """numpy's numbers, truth values, times and arrays go out as Python's."""
    np = pytest.importorskip("numpy")
    table = [
        (np.int64(2**53 + 1), "9007199254740993"),
        (np.uint8(7), "7"),
        (np.float64(0.1), "0.1"),
        (np.bool_(True), "true"),
        (np.str_("a"), '"a"'),
        (np.datetime64("2026-01-31T09:30:00.123456789"), '"2026-01-31T09:30:00.123456Z"'),
        (np.datetime64("2026-01-31"), '"2026-01-31T00:00:00Z"'),
        (np.datetime64("NaT"), "null"),
        (np.timedelta64(1500, "ms"), "1.5"),
        (np.array([[1, 2], [3, 4]]), "[[1,2],[3,4]]"),
        (np.array(["a", None], dtype=object), '["a",null]'),
    ]
    for value, text in table:
        assert (by_rule(value).decode(), by_fast_path(value).decode()) == (text, text), repr(value)
    for value in (np.float64("nan"), np.float32("inf"), np.array([1.0, np.nan])):
        for way in (by_rule, by_fast_path):
            with pytest.raises(Refused, match="number_not_finite"):
                way(value)
    assert values.to_id(np.int64(7), "userId") == "7"
    assert values.timestamp(np.datetime64("2026-01-31T09:30"), UTC) == "2026-01-31T09:30:00Z"


def test_pandas_nothings_are_null() -> None:
    """pandas' NA and NaT are null, and no id; its timestamps are datetimes."""
    pd = pytest.importorskip("pandas")
    for value in (pd.NA, pd.NaT):
        assert by_rule(value) == by_fast_path(value) == b"null"
        assert values.to_id(value, "userId") is None
        assert values.timestamp(value, UTC) is None
    assert by_fast_path(pd.Timestamp("2026-01-31T09:30", tz="UTC")) == b'"2026-01-31T09:30:00Z"'
