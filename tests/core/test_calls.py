"""Calls are checked when they are made, and have a plain form that says the same."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

# Each row: what the author wrote, the field that the error names, and what else it must say.
WRONG: list[tuple[str, Any, str, list[str]]] = [
    ("no user", lambda: Identify(traits=["a"]), "Identify", ["user_id", "anonymous_id"]),
    ("no user of a track", lambda: Track("event"), "Track", ["user_id", "anonymous_id"]),
    ("no user of a page", lambda: Page("name"), "Page", ["user_id", "anonymous_id"]),
    ("a group without a user", lambda: Group("account_id"), "Group", ["anonymous_id='account_id'", "user_id"]),
    ("no event", lambda: Track(None, user_id="id"), "event", []),
    ("no group", lambda: Group(None, user_id="id"), "group_id", []),
    ("no old id", lambda: Alias("id", None), "previous_id", []),
    ("no new id", lambda: Alias(None, "old"), "user_id", []),
    ("id a number", lambda: Identify(5), "user_id", ["int 5", "Constant"]),
    ("id blank", lambda: Identify(""), "user_id", ["str ''"]),
    ("id a list", lambda: Identify(["id"]), "user_id", ["list ['id']"]),
    ("event a truth value", lambda: Track(True, user_id="id"), "event", ["bool True", "Constant"]),
    (
        "trait a truth value",
        lambda: Identify("id", traits={"vip": True}),
        "traits=...)['vip']",
        ["bool True", "Constant"],
    ),
    ("trait a number", lambda: Identify("id", traits={"age": 5}), "traits=...)['age']", ["int 5", "Constant"]),
    ("trait null", lambda: Identify("id", traits={"age": None}), "traits=...)['age']", ["NoneType None"]),
    ("trait deep down", lambda: Identify("id", traits={"a": {"b": [1]}}), "traits=...)['a']['b'][0]", ["int 1"]),
    ("traits a Constant", lambda: Identify("id", traits=Constant({"a": 1})), "traits", ["Constant"]),
    ("traits a number", lambda: Identify("id", traits=7), "traits", ["int 7", "AllColumns"]),
    ("traits a set", lambda: Identify("id", traits={"a"}), "traits", ["set {'a'}"]),
    ("columns not text", lambda: Identify("id", traits=["a", 1]), "traits", ["int 1"]),
    ("name not text", lambda: Identify("id", traits={1: "a"}), "traits", ["found 1"]),
    ("name with a hole", lambda: Identify("id", traits={"a..b": "c"}), "traits", ["'a..b'", "address.city"]),
    ("name twice", lambda: Identify("id", traits={"a.b": "x", "a": {"b": "y"}}), "traits", ["'a.b'", "twice"]),
    ("value and object", lambda: Identify("id", traits={"a": "x", "a.b": "y"}), "traits", ["'a.b'"]),
    ("properties", lambda: Track("e", "id", properties=5), "properties", ["int 5"]),
    ("context", lambda: Identify("id", context={"ip": 5}), "context=...)['ip']", ["int 5"]),
    ("all in small letters", lambda: Identify("id", integrations={"all": False}), "integrations", ["'All'", "'all'"]),
    ("integrations a list", lambda: Identify("id", integrations=["Mixpanel"]), "integrations", ["list ['Mixpanel']"]),
    ("integration a text", lambda: Identify("id", integrations={"X": "yes"}), "integrations", ["'X'", "str 'yes'"]),
    ("integration not named", lambda: Identify("id", integrations={1: True}), "integrations", ["1"]),
    ("when a text", lambda: Identify("id", when="type"), "when", ["str 'type'"]),
    ("when empty", lambda: Identify("id", when={}), "when", ["dict {}"]),
    ("when not a column", lambda: Identify("id", when={1: "a"}), "when", ["int 1"]),
    ("when a Constant", lambda: Identify("id", when={"type": Constant("a")}), "when", ["'type'", "plain value"]),
    ("when an object", lambda: Identify("id", when={"type": {"a": 1}}), "when", ["'type'", "dict"]),
    ("on_change a typo", lambda: Identify("id", on_change=["add"]), "on_change", ["added, updated, deleted", "'add'"]),
    ("on_change a number", lambda: Identify("id", on_change=1), "on_change", ["1"]),
    ("on_change empty", lambda: Identify("id", on_change=[]), "on_change", ["[]"]),
    ("enabled a text", lambda: Identify("id", enabled="no"), "enabled", ["str 'no'"]),
    ("enabled null", lambda: Identify("id", enabled=None), "enabled", ["None"]),
    ("label blank", lambda: Identify("id", label=" "), "label", ["str ' '"]),
    ("label a number", lambda: Identify("id", label=3), "label", ["int 3"]),
    ("timestamp a number", lambda: Identify("id", timestamp=0), "timestamp", ["int 0"]),
    ("message_id a number", lambda: Identify("id", message_id=0), "message_id", ["int 0"]),
    ("Json of nothing", lambda: Json(""), "Json", ["str ''"]),
    ("Json of a number", lambda: Json(1), "Json", ["int 1"]),
    ("rename", lambda: AllColumns(rename="kebab-case"), "rename", ["snake_case", "'kebab-case'"]),
    ("exclude numbers", lambda: AllColumns(exclude=[1]), "exclude", ["int 1"]),
    ("exclude a number", lambda: AllColumns(exclude=1), "exclude", ["int 1"]),
    ("exclude a mixture", lambda: AllColumns(exclude=["a", 1]), "exclude", ["int 1"]),
    ("extra a list", lambda: AllColumns(extra=["a"]), "extra", ["list ['a']"]),
    ("extra a value", lambda: AllColumns(extra={"a": 1}), "extra", ["['a']", "int 1"]),
    # The same in plain dicts.
    ("nothing", lambda: as_calls([]), "calls", ["empty"]),
    ("no calls", lambda: as_calls(None), "calls", ["NoneType None"]),
    ("a text", lambda: as_calls("identify"), "calls", ["str 'identify'"]),
    ("a text among calls", lambda: as_calls([Identify("id"), "track"]), "calls[1]", ["str 'track'"]),
    ("no type", lambda: as_calls({"user_id": "id"}), "calls[0]", ["identify, track", "None"]),
    ("unknown type", lambda: as_calls({"call": "idntify"}), "calls[0]", ["'idntify'"]),
    ("type a list", lambda: as_calls({"call": ["identify"]}), "calls[0]", ["['identify']"]),
    ("unknown field", lambda: as_calls({"call": "identify", "userId": "id"}), "userId", ["calls[0]", "user_id"]),
    ("track's field", lambda: as_calls({"call": "identify", "user_id": "id", "event": "e"}), "event", ["identify"]),
    ("plain, no event", lambda: as_calls({"call": "track", "user_id": "id"}), "event", ["calls[0]"]),
    ("plain, event null", lambda: as_calls({"call": "track", "user_id": "id", "event": None}), "event", ["calls[0]"]),
    ("plain, no old id", lambda: as_calls({"call": "alias", "user_id": "id"}), "previous_id", ["calls[0]"]),
    ("plain marker", lambda: as_calls({"call": "identify", "user_id": {"const": 1}}), "user_id", ["'const'"]),
    ("plain Json", lambda: as_calls({"call": "identify", "user_id": {"json": 1}}), "Json", ["int 1"]),
    ("plain column", lambda: as_calls({"call": "identify", "user_id": {"column": 1}}), "user_id", ["int 1"]),
    (
        "unknown field of AllColumns",
        lambda: as_calls({"call": "identify", "user_id": "id", "traits": {"all_columns": {"excludes": ["a"]}}}),
        "excludes",
        ["exclude"],
    ),
    ("two alike", lambda: as_calls([Identify("id"), Identify("other")]), "calls", ["'identify'", "label"]),
    ("two events alike", lambda: as_calls([Track("e", "a"), Track("e", "b")]), "calls", ["'track:[e]'", "label"]),
]


@pytest.mark.parametrize(("make", "field", "words"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_bad_settings_are_refused_when_made(make: Any, field: str, words: list[str]) -> None:
    """A call that is wrong cannot be made; the error names the field, what was found and what was expected."""
    with pytest.raises(ValueError, match=r".") as caught:
        make()
    assert [word for word in [field, *words] if word not in str(caught.value)] == []


def test_long_settings_are_shortened() -> None:
    """An error shows the beginning of a long setting, not all of it."""
    with pytest.raises(ValueError, match="traits") as caught:
        Identify("id", traits=tuple(range(1000)))
    with pytest.raises(ValueError, match="when") as other:
        Identify("id", when="x" * 1000)
    assert max(len(str(caught.value)), len(str(other.value))) < 300


EVERY_SHAPE: list[Call] = [
    Identify("id"),
    Identify(anonymous_id="cookie"),
    Identify(Constant(7), Constant("a")),
    Identify(Json("ids")),
    Identify("id", traits=["email", "name"]),
    Identify("id", traits=[]),
    Identify("id", traits={}),
    Identify("id", traits="profile"),
    Identify("id", traits=Json("profile")),
    Identify("id", traits=AllColumns()),
    Identify("id", traits=AllColumns(["b", "a"], "snake_case", {"source": Constant("dwh"), "x.y": "z"})),
    Identify("id", traits=AllColumns(exclude="secret", rename="camelCase")),
    Identify("id", traits=AllColumns(extra={"json": {"column": "c"}})),
    Identify("id", traits=AllColumns(extra={"json": Json("c"), "constant": Constant(1)})),
    Identify("id", traits={"email": "mail", "vip": Constant(True), "meta": Json("meta")}),
    Identify("id", traits={"address.city": "city", "address.street": "street"}),
    Identify("id", traits={"address": {"city": "city", "geo": {"lat": "lat"}}}),
    Identify("id", traits={"tags": ["a", Constant("b"), Json("c"), ["d"], {"e": "f", "g": "h"}]}),
    Identify("id", traits={"tags": [{"a": {"b": "c", "d": "e"}}]}),
    # A lone trait with the name of a marker; {"json": "c"} alone is Json("c").
    Identify("id", traits={"json": {"column": "c"}}),
    Identify("id", traits={"json": "c", "a": "b"}),
    Identify("id", traits={"json": Json("c")}),
    Identify("id", traits={"json": Constant("c")}),
    Identify("id", traits={"json": ["c"]}),
    Identify("id", traits={"json": {"a": "c"}}),
    Identify("id", traits={"constant": "c"}),
    Identify("id", traits={"constant": Constant("c")}),
    Identify("id", traits={"constant": Constant({"constant": 1})}),
    Identify("id", traits={"column": "c"}),
    Identify("id", traits={"all_columns": "c"}),
    Identify("id", traits={"all_columns": Constant("c")}),
    Identify("id", traits={"a.json": "c"}),
    Identify("id", traits={"a.constant": "c"}),
    # What Constant may hold.
    Identify("id", traits={"a": Constant(None)}),
    Identify("id", traits={"a": Constant({"x": [1, {"y": 2}]})}),
    Identify("id", traits={"a": Constant({"json": "no column"})}),
    Identify("id", traits={"a": Constant({"b", "a"})}),
    Identify("id", traits={"a": Constant("{{ ds }}")}),
    Identify("id", timestamp="at", context={"ip": "ip", "app.name": Constant("x")}, message_id="uuid"),
    Identify("id", timestamp=Constant("{{ ts }}"), context=["ip"]),
    Identify("id", integrations={"All": False, "Mixpanel": True, "Braze": {"key": ["x"]}}),
    Identify("id", when={"type": "a", "n": [1, 2], "deleted": None, "s": {"x", "w"}}),
    Identify("id", on_change={"deleted", "added"}, enabled=False, label="mine"),
    Identify("id", on_change="updated"),
    Track("event", "id"),
    Track(Constant("Signed Up"), anonymous_id="cookie", properties={"plan": "plan"}),
    Track(Json("event"), "id", properties=AllColumns()),
    Group("account", "id", traits=["name"]),
    Group("account", anonymous_id="account"),
    Page(user_id="id"),
    Page("name", "category", "id", properties={"path": "path"}),
    Screen("name", Constant("Main"), anonymous_id="cookie", properties=Json("p")),
    Alias("new", "old"),
    Alias("new", Constant("old"), label="merge"),
]


@pytest.mark.parametrize("call", EVERY_SHAPE, ids=[str(call.as_dict()) for call in EVERY_SHAPE])
def test_plain_form_says_the_same(call: Call) -> None:
    """A call becomes a plain dict and comes back equal, through JSON too."""
    plain = call.as_dict()
    assert as_calls([plain]) == [call]
    assert as_calls(json.loads(json.dumps(plain))) == [call]
    assert as_calls(plain)[0].as_dict() == plain


SOURCES = st.one_of(
    st.sampled_from(["a", "b", "json", "constant", "column"]),
    st.builds(Json, st.sampled_from(["a", "json"])),
    st.builds(
        Constant,
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.sampled_from(["a", "json"]),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["json", "a"]), inner),
            max_leaves=3,
        ),
    ),
)
NAMES = st.sampled_from(["a", "b", "json", "constant", "column", "all_columns"])
# Within a list an object of one entry named like a marker is the marker, so lists hold other objects here.
OTHER_NAMES = st.sampled_from(["a", "b"])
LISTS = st.lists(SOURCES | st.dictionaries(OTHER_NAMES, SOURCES, min_size=1), max_size=3)
# And {"json": "a"} alone is Json("a") as a whole.
FIELDS = st.dictionaries(NAMES, SOURCES | LISTS, max_size=3).filter(
    lambda named: not (set(named) == {"json"} and isinstance(named["json"], str))
)


@given(traits=FIELDS, extra=FIELDS)
def test_plain_form_says_the_same_for_any_names(traits: dict[str, Any], extra: dict[str, Any]) -> None:
    """Whatever names and sources a mapping has, its plain form is read back as it was meant."""
    call = Identify("id", traits=traits)
    assert as_calls(json.loads(json.dumps(call.as_dict()))) == [call]
    with_extra = Identify("id", traits=AllColumns(extra=extra))
    assert as_calls(json.loads(json.dumps(with_extra.as_dict()))) == [with_extra]


def test_plain_form_of_the_docs_is_read() -> None:
    """The plain dict of the documentation is the call that it stands next to."""
    plain = {"call": "track", "event": {"constant": "Signed Up"}, "user_id": "id", "properties": {"plan": "plan"}}
    assert as_calls(plain) == [Track(Constant("Signed Up"), user_id="id", properties={"plan": "plan"})]


def test_one_call_or_many_is_a_list() -> None:
    """One call, a tuple of them, or a mixture of calls and plain dicts becomes a list."""
    identify = Identify("id")
    assert as_calls(identify) == as_calls((identify,)) == as_calls([identify.as_dict()]) == [identify]
    assert as_calls([identify, {"call": "alias", "user_id": "a", "previous_id": "b"}]) == [identify, Alias("a", "b")]


def test_sets_are_sorted() -> None:
    """Sets come out in one order, since another order at each parse would make another DAG each time."""
    words = {"pear", "apple", "fig", "plum", "kiwi"}
    call = Identify("id", when={"type": words}, on_change={"updated", "added"}, traits={"w": Constant(words)})
    plain = call.as_dict()
    assert plain["when"] == {"type": sorted(words)}
    assert plain["traits"] == {"w": {"constant": sorted(words)}}
    assert plain["on_change"] == ["added", "updated"]
    assert AllColumns(exclude=words) == AllColumns(exclude=sorted(words, reverse=True))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a.b": "x", "a.c": "y"}, {"a": {"b": "x", "c": "y"}}),
        ({"a": {"b.c": "x"}}, {"a.b.c": "x"}),
        ({"l": [{"a.b": "x", "c": "y"}]}, {"l": [{"a": {"b": "x"}, "c": "y"}]}),
        ({"l": ("a", "b")}, {"l": ["a", "b"]}),
        ({"a": {"column": "x"}}, {"a": "x"}),
        ({"json": "x"}, Json("x")),
        ({"all_columns": {"rename": "snake_case"}}, AllColumns(rename="snake_case")),
    ],
)
def test_ways_of_saying_the_same_are_equal(one: Any, other: Any) -> None:
    """Nested and dotted names, tuples and lists, and a marker and what it stands for are the same call."""
    assert Identify("id", traits=one) == Identify("id", traits=other)


def test_calls_cannot_be_changed() -> None:
    """A call that was made stays as it was checked."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Identify("id").user_id = "other"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Constant(1).value = 2  # type: ignore[misc]


def test_what_was_passed_may_change_later() -> None:
    """Changing a dict or list after it was given to a call, or was got from it, changes no call."""
    given: dict[str, Any] = {
        "traits": {"a": ["b", {"c": "d"}], "e": Constant({"f": [1]})},
        "context": ["ip"],
        "integrations": {"All": False, "Braze": {"key": ["x"]}},
        "when": {"type": ["a"]},
        "on_change": ["added"],
    }
    value = {"deep": [1]}
    constant, columns = Constant(value), AllColumns(exclude=(names := ["x"]), extra=(extra := {"a": ["b"]}))
    call = Identify("id", **given)
    before = copy.deepcopy((call, constant, columns))
    got = call.as_dict()
    for plain in (given, got):
        plain["traits"]["a"].append("z")
        plain["context"].append("z")
        plain["integrations"]["Braze"]["key"].append("z")
        plain["when"]["type"].append("z")
        plain["on_change"].append("deleted")
    value["deep"].append(2)
    names.append("y")
    extra["a"].append("z")
    assert (call, constant, columns) == before


@pytest.mark.parametrize(
    ("call", "identity"),
    [
        (Identify("id"), "identify"),
        (Track(Constant("Signed Up"), "id"), "track:Signed Up"),
        (Track("event", "id"), "track:[event]"),
        (Track(Json("event"), "id"), "track:[event]"),
        (Group("g", "id"), "group"),
        (Page(user_id="id"), "page"),
        (Screen(user_id="id"), "screen"),
        (Alias("a", "b"), "alias"),
        (Track("event", "id", label="mine"), "mine"),
        (Identify("id", label="mine"), "mine"),
    ],
)
def test_identity_is_label_or_type_and_event(call: Call, identity: str) -> None:
    """A call is known by its label, else by its type and, for Track, its event."""
    assert call.identity == identity


def test_labels_tell_calls_apart() -> None:
    """Two calls that are alike may stand side by side when one has a label."""
    assert len(as_calls([Identify("id"), Identify("other", label="second"), Track("e", "id")])) == 3
