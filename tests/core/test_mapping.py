"""A row becomes the message that the mapping says, or is refused; a mapping that does not fit fails before that."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from naming import shown

from airflow_provider_segment.calls import (
    Alias,
    AllColumns,
    Call,
    Constant,
    Group,
    Identify,
    Json,
    Page,
    Screen,
    Track,
    as_calls,
)
from airflow_provider_segment.core.errors import ColumnError, Refused, SettingError
from airflow_provider_segment.core.mapping.compiler import CompiledCall
from airflow_provider_segment.core.mapping.encoding import encoder
from airflow_provider_segment.core.mapping.values import MissingTimezone
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import Columns


def compiled(call: Call, columns: Sequence[str], **options: Any) -> CompiledCall:
    return CompiledCall(call, Columns(columns), Options(**options))


def message(call: Call, row: dict[str, Any], **options: Any) -> dict[str, Any]:
    return compiled(call, [*row], **options).message(tuple(row.values()))


def traits(content: Any, row: dict[str, Any], **options: Any) -> Any:
    return message(Identify("id", traits=content), {"id": "u"} | row, **options).get("traits")


# Columns


def test_column_is_found_exactly_first() -> None:
    """A name that a column has exactly means that column, whatever others look like it."""
    assert Columns(["ID", "id", "Id"]).index("id", "x") == 1


@given(st.lists(st.text("abAB", min_size=1, max_size=3), unique_by=str.lower, min_size=1), st.data())
def test_column_is_found_in_any_case(names: list[str], data: Any) -> None:
    """A name finds its column without regard to case where there is one such column."""
    place = data.draw(st.integers(0, len(names) - 1))
    cased = data.draw(st.sampled_from([names[place].upper(), names[place].lower(), names[place].swapcase()]))
    assert Columns(names).index(cased, "x") == place


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["name", "mail"], ["'email'", "does not return", "name, mail", "Constant('email')"]),
        (["id", "email", "email"], ["'email'", "twice", "AS"]),
        (["EMAIL", "EMAIL"], ["'email'", "twice"]),
        (["EMAIL", "Email"], ["'email'", "EMAIL and Email", "say which"]),
        ([], ["'email'", "does not return"]),
        ([f"column_{n}" for n in range(1000)], ["column_0", "and 940 more"]),
    ],
)
def test_unclear_column_is_an_error(columns: list[str], words: list[str]) -> None:
    """A column that is missing, doubled or there in two cases is an error that names the mapping and the columns."""
    with pytest.raises(ColumnError, match=r"^identify: user_id") as caught:
        compiled(Identify("email"), columns)
    assert [word for word in words if word not in str(caught.value)] == []
    assert len(str(caught.value)) < 1000


WHERE = [
    (Track("Order Completed", "id"), "track:[Order Completed]: event", "Constant('Order Completed')"),
    (Identify("id", traits={"a": {"b": "nope"}}), "traits['a']['b']", "'nope'"),
    (Identify("id", traits={"a.b": "nope"}), "traits['a']['b']", "'nope'"),
    (Identify("id", traits={"a": ["id", "nope"]}), "traits['a'][1]", "'nope'"),
    (Identify("id", traits=["nope"]), "traits['nope']", "'nope'"),
    (Identify("id", traits="nope"), "traits", "'nope'"),
    (Identify("id", traits=Json("nope")), "traits", "'nope'"),
    (Identify("id", traits={"a": Json("nope")}), "traits['a']", "'nope'"),
    (Identify("id", traits=AllColumns(exclude=["nope"])), "traits", "'nope'"),
    (Identify("id", traits=AllColumns(extra={"a": "nope"})), "traits", "'nope'"),
    (Identify("id", context=["nope"]), "context['nope']", "'nope'"),
    (Identify("id", when={"nope": 1}), "when", "'nope'"),
    (Identify("id", timestamp="nope"), "timestamp", "'nope'"),
    (Identify("id", message_id="nope"), "message_id", "'nope'"),
    (Identify("id", label="mine", traits=["nope"]), "mine: traits", "'nope'"),
]


@pytest.mark.parametrize(("call", "where", "name"), WHERE)
def test_missing_column_is_named_with_its_place(call: Call, where: str, name: str) -> None:
    """The error says which call and which of its fields asked for the column."""
    with pytest.raises(ColumnError) as caught:
        compiled(call, ["id", "other"])
    assert (where in str(caught.value), name in str(caught.value)) == (True, True)


# Ids and the other single values

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
ABSENT = [None, ""]
IDS = [("a", "a"), (7, "7"), (2**70, str(2**70)), (UUID, str(UUID)), (1.0, "1"), (Decimal(7), "7"), (0, "0")]
NO_IDS = [" ", True, False, 1.5, math.nan, {}, b"", [1], dt.date(2026, 1, 1)]
CALLS: list[tuple[Call, str]] = [
    (Identify("x"), "userId"),
    (Identify(anonymous_id="x"), "anonymousId"),
    (Identify(Json("x")), "userId"),
    (Track(Constant("E"), "x"), "userId"),
    (Group("x", Constant("u")), "groupId"),
    (Page(user_id="x"), "userId"),
    (Screen(anonymous_id="x"), "anonymousId"),
    (Alias("x", Constant("old")), "userId"),
    (Alias(Constant("new"), "x"), "previousId"),
    (Identify(Constant("u"), message_id="x"), "messageId"),
]
TEXT_IS_JSON = CALLS[2][0]


@pytest.mark.parametrize(("value", "text"), IDS)
@pytest.mark.parametrize(("call", "field"), CALLS)
def test_ids_go_out_as_text(call: Call, field: str, value: Any, text: str) -> None:
    """Ids of every type that databases have are texts on the wire, as Segment wants them."""
    found = f'"{value}"' if call is TEXT_IS_JSON and isinstance(value, str) else value
    assert message(call, {"x": found})[field] == text


@pytest.mark.parametrize("value", ABSENT)
@pytest.mark.parametrize(
    ("call", "code"),
    [
        (Identify("x"), "no_user_anon_id"),
        (Track(Constant("E"), anonymous_id="x"), "no_user_anon_id"),
        (Group("x", Constant("u")), "id_required"),
        (Group(Constant("g"), "x"), "no_user_anon_id"),
        (Alias("x", Constant("old")), "id_required"),
        (Alias(Constant("new"), "x"), "id_required"),
    ],
)
def test_absent_ids_are_missed(call: Call, code: str, value: Any) -> None:
    """A null or empty id is no id, and a call that needs it is refused with Segment's code."""
    with pytest.raises(Refused) as caught:
        message(call, {"x": value})
    assert caught.value.code == code


@pytest.mark.parametrize("value", ABSENT)
def test_one_of_two_ids_is_enough(value: Any) -> None:
    """Where one of the two user ids is null or empty, the other stands alone."""
    call = Identify("a", "b")
    assert message(call, {"a": value, "b": "x"}) == {"type": "identify", "anonymousId": "x"}
    assert message(call, {"a": "x", "b": value}) == {"type": "identify", "userId": "x"}


@pytest.mark.parametrize("value", NO_IDS, ids=shown)
@pytest.mark.parametrize(("call", "field"), [pair for pair in CALLS if pair[0] is not TEXT_IS_JSON])
def test_what_is_no_id_is_refused(call: Call, field: str, value: Any) -> None:
    """A blank text, truth value, fraction or object never becomes the id of a user."""
    with pytest.raises(Refused) as caught:
        message(call, {"x": value})
    assert (caught.value.code, caught.value.field) == ("id_not_string", field)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        *((nothing, "event_not_defined") for nothing in (None, "")),
        *((other, "event_not_string") for other in (" ", 1.5, True, {}, ["e"], b"e")),
    ],
)
def test_event_is_a_name(value: Any, code: str) -> None:
    """A track call whose event is absent or no text is refused with Segment's code."""
    with pytest.raises(Refused) as caught:
        message(Track("e", Constant("u")), {"e": value})
    assert (caught.value.code, caught.value.field) == (code, "event")


def test_whole_numbers_are_names_too() -> None:
    """An event or a page may be called 404."""
    assert message(Track("e", Constant("u")), {"e": 404})["event"] == "404"
    assert message(Page("n", user_id=Constant("u")), {"n": 404})["properties"] == {"name": "404"}


def test_timestamp_is_absent_or_iso_8601() -> None:
    """A timestamp goes out in UTC; a null one is left out; one without a zone takes the run's, or stops it."""
    call = Identify(Constant("u"), timestamp="at")
    assert "timestamp" not in message(call, {"at": None})
    at = dt.datetime.fromisoformat("2026-07-01T12:00")
    assert message(call, {"at": at}, timezone="Europe/Berlin")["timestamp"] == "2026-07-01T10:00:00Z"
    assert message(call, {"at": at.replace(tzinfo=dt.UTC)})["timestamp"] == "2026-07-01T12:00:00Z"
    with pytest.raises(MissingTimezone, match=r"^timestamp:"):
        message(call, {"at": at})


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (Identify(Constant(True)), "user_id"),
        (Identify(Constant("")), "user_id"),
        (Track(Constant(None), "id"), "event"),
        (Identify("id", timestamp=Constant("soon")), "timestamp"),
        (Identify("id", traits={"a": Constant(math.nan)}), "traits['a']"),
        (Identify("id", traits={"a": [Constant(object)]}), "traits['a'][0]"),
    ],
)
def test_constant_that_cannot_be_sent_fails_at_once(call: Call, word: str) -> None:
    """A bad constant is the author's mistake, not a thousand bad rows: it fails before the first."""
    with pytest.raises(SettingError) as caught:
        compiled(call, ["id"])
    assert word in str(caught.value)


def test_constants_stand_in_every_message() -> None:
    """A Constant is the same in each message, ids and timestamps in the form of the wire."""
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    call = Track(Constant("E"), Constant(7), timestamp=Constant(at), properties={"a": Constant({"b": [1, at]})})
    wanted = {
        "type": "track",
        "event": "E",
        "userId": "7",
        "timestamp": "2026-01-01T00:00:00Z",
        "properties": {"a": {"b": [1, "2026-01-01T00:00:00Z"]}},
    }
    ready = compiled(call, [])
    assert [ready.message(()), ready.message(())] == [wanted, wanted]


# Traits, properties, context

SHAPES: list[tuple[Any, dict[str, Any], Any]] = [
    (["a", "b"], {"a": 1, "b": None, "c": 3}, {"a": 1, "b": None}),
    (["A"], {"a": 1}, {"A": 1}),
    ({"x": "a"}, {"a": 1}, {"x": 1}),
    ({"x": "A", "y": "A"}, {"a": 1}, {"x": 1, "y": 1}),
    ({"a.b": "a", "a.c.d": "b"}, {"a": 1, "b": 2}, {"a": {"b": 1, "c": {"d": 2}}}),
    ({"a": {"b": "a", "c": {"d": "b"}}}, {"a": 1, "b": 2}, {"a": {"b": 1, "c": {"d": 2}}}),
    ({"x": ["a", Constant(2), ["b"]]}, {"a": 1, "b": 3}, {"x": [1, 2, [3]]}),
    ({"x": [{"y": "a", "z": Constant(2)}]}, {"a": 1}, {"x": [{"y": 1, "z": 2}]}),
    ({"x": [{"y": {"z": "a", "w": "b"}}]}, {"a": 1, "b": 2}, {"x": [{"y": {"z": 1, "w": 2}}]}),
    ({"x": [{"y.z": "a", "v": "b"}]}, {"a": 1, "b": 2}, {"x": [{"y": {"z": 1}, "v": 2}]}),
    ({"x": Constant(None)}, {}, {"x": None}),
    ({}, {"a": 1}, {}),
    ([], {"a": 1}, {}),
    ("a", {"a": {"b": 1}}, {"b": 1}),
    ("a", {"a": None}, None),
    (Json("a"), {"a": '{"b": [1, 2.50]}'}, {"b": [1, 2.5]}),
    (Json("a"), {"a": b'{"b": 1}'}, {"b": 1}),
    (Json("a"), {"a": memoryview(b'{"b": 1}')}, {"b": 1}),
    (Json("a"), {"a": {"b": 1}}, {"b": 1}),
    (Json("a"), {"a": None}, None),
    (Json("a"), {"a": "null"}, None),
    ({"x": Json("a")}, {"a": "[1]"}, {"x": [1]}),
    ({"x": Json("a")}, {"a": "null"}, {"x": None}),
    ({"x": Json("a")}, {"a": '"text"'}, {"x": "text"}),
    ({"x": [Json("a"), {"y": Json("a"), "z": "a"}]}, {"a": "1"}, {"x": [1, {"y": 1, "z": "1"}]}),
    (AllColumns(), {"a": 1, "b": None}, {"a": 1, "b": None}),
    (AllColumns(), {}, {}),
    (AllColumns(exclude=["A"]), {"a": 1, "b": 2}, {"b": 2}),
    (AllColumns(exclude="a"), {"a": 1, "b": 2}, {"b": 2}),
    (AllColumns(rename="snake_case"), {"firstName": 1, "ID_NUMBER": 2}, {"first_name": 1, "id_number": 2}),
    (AllColumns(rename="camelCase"), {"FIRST_NAME": 1, "age": 2}, {"firstName": 1, "age": 2}),
    (AllColumns(extra={"source": Constant("dwh")}), {"a": 1}, {"a": 1, "source": "dwh"}),
    (AllColumns(extra={"a": Constant("wins")}), {"a": 1}, {"a": "wins"}),
    (AllColumns(extra={"x.y": "b"}), {"a": 1, "b": 2}, {"a": 1, "x": {"y": 2}}),
    (AllColumns(extra={"x": Json("b")}), {"a": 1, "b": "[2]"}, {"a": 1, "x": [2]}),
]


@pytest.mark.parametrize(("content", "row", "wanted"), SHAPES)
def test_object_is_made_as_the_mapping_says(content: Any, row: dict[str, Any], wanted: Any) -> None:
    """Dicts, dotted names, lists, whole columns, Json and AllColumns make the objects that they describe."""
    assert traits(content, row) == wanted
    again = as_calls([Identify("id", traits=content).as_dict()])[0]
    assert message(again, {"id": "u"} | row).get("traits") == wanted


@pytest.mark.parametrize("field", ["properties", "context"])
@pytest.mark.parametrize(("content", "row", "wanted"), SHAPES[:9])
def test_other_objects_are_made_alike(field: str, content: Any, row: dict[str, Any], wanted: Any) -> None:
    """Properties and context are said as traits are; nulls of the context are left out."""
    made = message(Track(Constant("E"), Constant("u"), **{field: content}), row)[field]
    assert made == ({k: v for k, v in wanted.items() if v is not None} if field == "context" else wanted)


@pytest.mark.parametrize("text", ["{", "", "{'a': 1}", "NaN", b"\xff", "1 2"])
def test_json_that_is_none_is_refused(text: Any) -> None:
    """A column said to hold JSON that does not is refused without its content."""
    with pytest.raises(Refused) as caught:
        traits({"x": Json("a")}, {"a": text})
    assert (caught.value.code, caught.value.field) == ("json_not_valid", "traits.x")
    assert f"{text!r}" not in caught.value.reason


@pytest.mark.parametrize("text", ["123456789012345678901234567890", "0.12345678901234567890123"])
def test_numbers_in_json_keep_their_digits(text: str) -> None:
    """A number in a column of JSON text goes out with all its digits, as it would from a column of its own."""
    made = traits({"x": Json("a")}, {"a": text})
    assert encoder(None, with_id=False)(made) == b'{"x":%b}' % text.encode()


@pytest.mark.parametrize("value", ["text", 5, ["a"], "[1]", "5"])
def test_whole_object_must_be_one(value: Any) -> None:
    """A column given as traits must hold an object, and so must its JSON."""
    for content in ("a", Json("a")):
        with pytest.raises(Refused) as caught:
            traits(content, {"a": value})
        assert caught.value.code in ("traits_not_object", "json_not_valid")


def test_all_columns_leaves_out_what_is_used_elsewhere() -> None:
    """AllColumns takes each column that its call uses nowhere else, by any name and in any case."""
    call = Track(
        "event",
        "USER_ID",
        Json("anon"),
        AllColumns(exclude=["secret"], extra={"nested": {"x": "lat"}, "list": ["lon", Json("raw")]}),
        timestamp="at",
        context={"ip": "ip", "app.name": "app"},
        message_id="uuid",
        when={"type": "t"},
    )
    used = {"event": "E", "user_id": "u", "anon": '"a"', "secret": 1, "lat": 2, "lon": 3, "raw": "4"}
    more = {"at": None, "ip": "::1", "app": "x", "uuid": "m", "TYPE": "t"}
    made = message(call, used | more | {"new": 1, "newer": 2})
    assert made["properties"] == {"new": 1, "newer": 2, "nested": {"x": 2}, "list": [3, 4]}


@given(st.lists(st.text("abcxyz_", min_size=1, max_size=6), unique=True, max_size=10))
def test_new_columns_flow_by_themselves(names: list[str]) -> None:
    """Whatever columns a query returns beside the id, AllColumns takes them all, in their order."""
    row = {name: place for place, name in enumerate(names)}
    assert list(traits(AllColumns(), row).items()) == list(row.items())


RENAMED = [
    ("user_id", "user_id", "userId"),
    ("USER_ID", "user_id", "userId"),
    ("userId", "user_id", "userId"),
    ("UserID", "user_id", "userId"),
    ("HTTPServer", "http_server", "httpServer"),
    ("firstName2", "first_name2", "firstName2"),
    ("first name", "first_name", "firstName"),
    ("first-name", "first_name", "firstName"),
    ("_private", "private", "private"),
    ("a__b", "a_b", "aB"),
    ("a", "a", "a"),
    ("A", "a", "a"),
    ("1st_place", "1st_place", "1stPlace"),
    ("?column?", "column", "column"),
    ("größe", "größe", "größe"),
    ("GRÖSSE", "grösse", "grösse"),
    ("ÄNDERUNG_AM", "änderung_am", "änderungAm"),
    ("___", "___", "___"),
    ("名前", "名前", "名前"),
]


@pytest.mark.parametrize(("column", "snake", "camel"), RENAMED)
def test_columns_are_renamed(column: str, snake: str, camel: str) -> None:
    """A column's name is taken as it is, or becomes snake_case or camelCase, word by word."""
    for rename, name in (("as_is", column), ("snake_case", snake), ("camelCase", camel)):
        assert traits(AllColumns(rename=rename), {column: 1}) == {name: 1}


@pytest.mark.parametrize(
    ("columns", "rename", "words"),
    [
        (["id", "first_name", "firstName"], "camelCase", ["first_name", "firstName", "would both be called"]),
        (["id", "a", "a"], "as_is", ["'a'", "twice"]),
    ],
)
def test_columns_that_would_share_a_name_are_an_error(columns: list[str], rename: Any, words: list[str]) -> None:
    """Two columns of one name would overwrite each other, so that is an error before the first row."""
    with pytest.raises(ColumnError) as caught:
        compiled(Identify("id", traits=AllColumns(rename=rename)), columns)
    assert [word for word in words if word not in str(caught.value)] == []


NULLS: list[tuple[Any, dict[str, Any], Any, Any]] = [
    (["a", "b"], {"a": None, "b": 1}, {"a": None, "b": 1}, {"b": 1}),
    (AllColumns(), {"a": None, "b": 0}, {"a": None, "b": 0}, {"b": 0}),
    ({"x.y": "a", "x.z": "b"}, {"a": None, "b": ""}, {"x": {"y": None, "z": ""}}, {"x": {"z": ""}}),
    ({"x.y": "a", "z": "b"}, {"a": None, "b": False}, {"x": {"y": None}, "z": False}, {"z": False}),
    ({"x": Json("a"), "z": "b"}, {"a": "null", "b": 1}, {"x": None, "z": 1}, {"z": 1}),
    ({"x": ["a", "b"]}, {"a": None, "b": 1}, {"x": [None, 1]}, {"x": [None, 1]}),
    ({"x": "a", "y": "b"}, {"a": {}, "b": []}, {"x": {}, "y": []}, {"x": {}, "y": []}),
]


@pytest.mark.parametrize(("content", "row", "sent", "omitted"), NULLS)
def test_nulls_are_sent_or_left_out(content: Any, row: dict[str, Any], sent: Any, omitted: Any) -> None:
    """Nulls of traits are sent, or left out where that was asked for; no other value is left out with them."""
    assert traits(content, row, nulls="send") == sent
    assert traits(content, row, nulls="omit") == omitted


@pytest.mark.parametrize(
    "value", [math.inf, -math.inf, math.nan, *map(Decimal, ("Infinity", "NaN", "sNaN"))], ids=shown
)
def test_a_number_that_is_none_is_no_text_of_the_context(value: Any) -> None:
    """Where the spec wants text, such a number refuses its row with the reason, and does not end the run."""
    call = Identify(Constant("u"), context={"app.version": "a"})
    with pytest.raises(Refused, match="expected text") as refused:
        message(call, {"a": value})
    assert (refused.value.code, refused.value.field) == ("context_not_valid", "context.app.version")


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0, "2"), (2.5, "2.5"), (Decimal("2.50"), "2.50"), (Decimal("3.00"), "3"), (Decimal(10) ** 40, "1" + 40 * "0")],
    ids=shown,
)
def test_a_number_is_text_where_the_context_wants_it(value: Any, text: str) -> None:
    """A version or an id that the warehouse holds as a number leaves as text, a whole one without its point."""
    call = Identify(Constant("u"), context={"app.version": "a"})
    assert message(call, {"a": value})["context"] == {"app": {"version": text}}


@pytest.mark.parametrize("setting", [math.nan, object(), Decimal("Infinity")], ids=shown)
def test_integrations_that_cannot_be_sent_stop_the_run_before_it_begins(setting: Any) -> None:
    """What the author wrote for all messages is no fault of a row."""
    call = Identify("id", integrations={"All": True, "Braze": {"key": setting}})
    with pytest.raises(SettingError, match=r"identify: .*integrations\.Braze\.key"):
        compiled(call, ["id"])


@pytest.mark.parametrize("event", ["", " "])
def test_an_event_that_the_author_wrote_blank_is_refused(event: str) -> None:
    """A name of nothing but blanks is never sent, also where each row would have it."""
    with pytest.raises((Refused, SettingError), match="event"):
        message(Track(Constant(event), "id"), {"id": "u"})


@pytest.mark.parametrize("nulls", ["send", "omit"])
def test_nulls_of_the_context_are_left_out(nulls: str) -> None:
    """A null in the context, where Segment gives each key a meaning, is left out in any case."""
    call = Identify(Constant("u"), context={"ip": "a", "app": {"name": "a", "version": "b"}, "os.name": "a"})
    made = message(call, {"a": None, "b": 1}, nulls=nulls)
    assert made["context"] == {"app": {"version": "1"}}


def test_numpy_arrays_survive_the_leaving_out_of_nulls() -> None:
    """An array in a column is a value like any other where nulls are left out."""
    np = pytest.importorskip("numpy")
    array = np.array([1, 2])
    assert traits({"x": "a", "y": "b"}, {"a": array, "b": None}, nulls="omit") == {"x": array}


# Integrations, when, pages


def test_integrations_are_literal() -> None:
    """Integrations go into each message as they were written; their texts name no columns."""
    wanted = {"All": False, "Mixpanel": True, "Braze": {"id": "id"}}
    assert message(Identify("id", integrations=wanted), {"id": "u"})["integrations"] == wanted


# A UUID, as one driver gives it and as another does.
ONE_UUID = (UUID, str(UUID))
WHEN: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({"t": "a"}, {"t": "a"}, True),
    ({"t": "a"}, {"t": "b"}, False),
    ({"T": "a"}, {"t": "a"}, True),
    ({"t": "a"}, {"t": None}, False),
    ({"t": None}, {"t": None}, True),
    ({"t": ["a", "b"]}, {"t": "b"}, True),
    ({"t": ["a", None]}, {"t": None}, True),
    ({"t": ["a", "b"]}, {"t": "c"}, False),
    ({"t": []}, {"t": "a"}, False),
    ({"t": "abc"}, {"t": "b"}, False),
    ({"t": True}, {"t": True}, True),
    ({"t": 1}, {"t": Decimal("1.0")}, True),
    ({"t": 1}, {"t": "1"}, False),
    ({"t": "a", "s": 1}, {"t": "a", "s": 1}, True),
    ({"t": "a", "s": 1}, {"t": "a", "s": 2}, False),
    ({"t": "a"}, {"t": [1]}, False),
    *(({"t": one}, {"t": other}, True) for one in ONE_UUID for other in ONE_UUID),
    ({"t": [uuid.UUID(int=6), None]}, {"t": UUID}, False),
]


@pytest.mark.parametrize(("when", "row", "wanted"), WHEN)
def test_when_picks_rows(when: dict[str, Any], row: dict[str, Any], wanted: bool) -> None:
    """A row makes the call where each column equals its value, or is in its list."""
    wants = compiled(Identify(Constant("u"), when=when), [*row]).wants
    assert wants is not None
    assert wants(tuple(row.values())) is wanted


def test_without_when_every_row_is_picked() -> None:
    """A call without `when` has nothing to ask a row."""
    assert compiled(Identify("id"), ["id"]).wants is None


PAGES = [
    (Page, "n", "c", None, {"name": "n", "category": "c"}),
    (Page, "n", None, None, {"name": "n"}),
    (Page, None, "c", None, {"category": "c"}),
    (Page, None, "", None, None),
    (Page, "n", "c", {"x": 1, "name": "mine"}, {"x": 1, "name": "mine", "category": "c"}),
    (Screen, "n", "c", None, {"name": "n"}),
    (Screen, None, "c", None, None),
    (Screen, "n", None, {"x": 1}, {"name": "n", "x": 1}),
]


@pytest.mark.parametrize(("kind", "name", "category", "properties", "wanted"), PAGES)
def test_names_of_pages_are_properties_too(kind: Any, name: Any, category: Any, properties: Any, wanted: Any) -> None:
    """A page's name and category, and a screen's name, are among its properties, where its own come first."""
    call = kind("n", "c", Constant("u"), properties="p")
    made = message(call, {"n": name, "c": category, "p": properties})
    assert made.get("properties") == wanted
    assert {k: made[k] for k in ("name", "category") if k in made} == {
        k: v for k, v in (("name", name), ("category", category)) if v
    }


@pytest.mark.parametrize("value", [1.5, True, ["n"]])
@pytest.mark.parametrize("field", ["name", "category"])
def test_names_of_pages_are_texts(field: str, value: Any) -> None:
    """A page's name or category that is no text is refused with Segment's code."""
    with pytest.raises(Refused) as caught:
        message(Page(user_id=Constant("u"), **{field: "x"}), {"x": value})
    assert caught.value.code == f"{field}_not_string"


def test_rows_do_not_share_a_message() -> None:
    """What becomes of one row's message changes no other row's."""
    ready = compiled(Identify("id", traits={"a.b": "x"}, context={"c": "x"}, integrations={"All": True}), ["id", "x"])
    first = ready.message(("u", 1))
    first["traits"]["a"]["z"] = first["context"]["z"] = first["z"] = 1
    assert ready.message(("u", 1)) == {
        "type": "identify",
        "userId": "u",
        "integrations": {"All": True},
        "context": {"c": 1},
        "traits": {"a": {"b": 1}},
    }


@pytest.mark.parametrize(
    ("field", "column"),
    [("userId", "ID"), ("traits.address.city", "town"), ("traits.all.deep[0]", "doc"), ("event", None)],
)
def test_column_of_a_field_is_known(field: str, column: str | None) -> None:
    """A refusal can name the column, as the query has it, that its value came from."""
    ready = compiled(Identify("id", traits={"address.city": "TOWN", "all": Json("doc")}), ["ID", "town", "doc"])
    assert ready.column(field) == column


def test_column_of_a_field_is_not_that_of_a_longer_name() -> None:
    """A field is told from one whose name begins alike."""
    ready = compiled(Identify("id", traits={"a": "x", "ab": Constant(1), "b": [Constant(2), "y"]}), ["id", "x", "y"])
    assert (ready.column("traits.a.deep"), ready.column("traits.ab"), ready.column("traits.b[1]")) == ("x", None, "y")


@pytest.mark.parametrize("names", [300, 301])
@pytest.mark.parametrize("way", ["list", "all", "object"])
def test_calls_that_may_have_too_many_names_are_known(way: str, names: int) -> None:
    """Only calls whose messages can have more names than Engage takes are looked at; the messages have them all."""
    columns = [f"c{n}" for n in range(names)]
    if way == "object":
        ready, row = compiled(Identify(Constant("u"), traits="o"), ["o"]), (dict.fromkeys(columns, 1),)
    else:
        ready = compiled(Identify("id", traits=AllColumns() if way == "all" else columns), ["id", *columns])
        row = ("u", *range(names))
    assert len(ready.message(row)["traits"]) == names
    assert ready.may_be_wide == (names > 300 or way != "list")
