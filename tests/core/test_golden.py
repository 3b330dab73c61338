"""For the same mapping our message carries what Segment's own warehouse destination sends, case by case.

`golden/segment_actions.json` holds what Segment's engine made of a row and a mapping: a message, an error or a skip
(repository segmentio/action-destinations, commit 970a17ee). Each case that uses plain columns and constants is said as
a call of ours and must make the same JSON, or be refused where theirs is. What differs on purpose stands in
DIFFERENCES, with exactly what ours does instead.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_segment.calls import Constant, Json, as_calls
from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.mapping.compiler import CompiledCall
from airflow_provider_segment.core.mapping.encoding import encoder
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import Columns

CASES = json.loads((Path(__file__).parent / "golden" / "segment_actions.json").read_text(encoding="utf-8"))["cases"]

# Their fields and ours, by the calls that declare them (I=identify T=track G=group P=page S=screen). A field of another
# call is left out, as their engine does; a name that none of theirs declares goes to our call as it is.
CALLS = {"sendIdentify": "I", "sendTrack": "T", "sendGroup": "G", "sendPage": "P", "sendScreen": "S"}
FIELDS = {
    "user_id": ("ITGPS", "user_id"),
    "anonymous_id": ("ITGPS", "anonymous_id"),
    "timestamp": ("ITGPS", "timestamp"),
    "message_id": ("ITGPS", "message_id"),
    "event_name": ("T", "event"),
    "page_name": ("P", "name"),
    "page_category": ("P", "category"),
    "screen_name": ("S", "name"),
    "group_id": ("G", "group_id"),
    "traits": ("IG", "traits"),
    "properties": ("TPS", "properties"),
    "address": ("I", "traits.address"),
}
CONTEXT = {
    "application": "app",
    "campaign_parameters": "campaign",
    "consent": "consent",
    "device": "device",
    "ip_address": "ip",
    "locale": "locale",
    "location": "location",
    "network": "network",
    "operating_system": "os",
    "page": "page",
    "screen": "screen",
    "user_agent": "userAgent",
    "timezone": "timezone",
    "group_id": "groupId",  # of a call that is no group
    "traits": "traits",  # of a track
}
# Theirs writes two of the device's names as the spec does not.
DEVICE = {"advertising_id": "advertisingId", "adTracking_Enabled": "adTrackingEnabled"}

WHOLE_ROW = "$.properties"
COLUMN = f"{WHOLE_ROW}."
# A column, or a part of the envelope around the row.
PLAIN = re.compile(r"\$\.properties\.[^.\[]+|\$(?!\.properties\.)(\.\w+)+")


# What theirs says, in our words


def is_in_scope(case: dict[str, Any]) -> bool:
    """A case is in scope if it makes a message or an error, out of a row, with plain columns and constants.

    Out of scope are triggers (ours are `when` and `on_change`), a missing write key (ours is the connection's), paths
    into a column's content (ours are SQL's), and the directives of their mapping language other than JSON's decoding.
    """
    return (
        "skipped" not in case["expected"]
        and "source_write_key" in case["settings"]
        and all(_is_plain(content) for content in case["mapping"].values())
    )


def _is_plain(content: Any) -> bool:
    """Tell whether a mapping's content is a column, a constant, or an object or a list of them."""
    if _is_directive(content):
        return PLAIN.fullmatch(str(_path(content))) is not None
    if isinstance(content, dict):
        return all("." not in name and _is_plain(part) for name, part in content.items())
    return not isinstance(content, list) or all(map(_is_plain, content))


def _is_directive(content: Any) -> bool:
    return isinstance(content, dict) and any(name.startswith("@") for name in content)


def _path(directive: dict[str, Any]) -> Any:
    """Return the path that a directive reads, or something that is none."""
    decoded = directive.get("@json", {})
    return _path(decoded["value"]) if decoded.get("mode") == "decode" else directive.get("@path")


def _source(content: Any) -> Any:
    """Return their content as ours: a column's name, Json, Constant, or a dict or a list of these."""
    if _is_directive(content):
        column = _path(content).removeprefix(COLUMN)
        return Json(column) if "@json" in content else column
    if isinstance(content, list):
        return [_source(part) for part in content]
    return {name: _source(part) for name, part in content.items()} if isinstance(content, dict) else Constant(content)


def call_of(case: dict[str, Any]) -> dict[str, Any]:
    """Return our call, in its plain form, that asks for what their mapping asks for."""
    letter = CALLS[case["action"]]
    call: dict[str, Any] = {"call": case["action"].removeprefix("send").lower()}
    context: dict[str, Any] = {}
    mapping = {field: _source(content) for field, content in case["mapping"].items()}
    for field, source in mapping.items():
        letters, ours = FIELDS.get(field, ("", field))
        if field == "address" and letter == "I":
            call["traits"] = {**call.get("traits", {}), "address": source}
        elif source == WHOLE_ROW:
            call[ours] = list(case["event"]["properties"])  # the whole row
        elif letter in letters:
            call[ours] = source
        elif field in CONTEXT and (field != "traits" or letter == "T"):
            context[CONTEXT[field]] = _renamed(source) if field == "device" else source
        elif field not in FIELDS:
            call[ours] = source
    if letter == "P" and isinstance(page := mapping.get("page"), dict):
        call["properties"] = page | call.get("properties", {})  # theirs copies these five; our author writes them
    return call | ({"context": context} if context else {})


def _renamed(device: Any) -> Any:
    return {DEVICE.get(name, name): part for name, part in device.items()} if isinstance(device, dict) else device


def row_of(case: dict[str, Any]) -> dict[str, Any]:
    """Return the row: its columns, the parts of their envelope that the mapping reads, and null for what neither has.

    In theirs a path that leads nowhere is absent; ours refuses to run where the query lacks a column, so that such a
    column can only be null. A part of the envelope is a column that is called as its path.
    """
    row = dict(case["event"]["properties"])
    known = {name.lower() for name in row}
    for path in sorted(_paths(case["mapping"])):
        column = path.removeprefix(COLUMN)
        if column == path:
            part: Any = case["event"]
            for name in path.split(".")[1:]:
                part = part.get(name) if isinstance(part, dict) else None
            row[path] = part
        elif column.lower() not in known:
            row[column] = None
    return row


def _paths(content: Any) -> set[str]:
    if _is_directive(content):
        return {_path(content)} - {WHOLE_ROW}
    parts = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return {path for part in parts for path in _paths(part)}


# What comes out


def ours(case: dict[str, Any]) -> dict[str, Any] | str:
    """Return our message, read from the bytes that would be sent, or the code or name of the refusal."""
    options = Options(timezone="UTC")
    row = row_of(case)
    try:
        [call] = as_calls(call_of(case))
        compiled = CompiledCall(call, Columns(list(row)), options)
        encode = encoder(options.zone, with_id=compiled.names_itself)
        message: dict[str, Any] = json.loads(encode(compiled.message(tuple(row.values()))))
    except Refused as refused:
        return refused.code
    except ValueError as error:  # a call, a setting or a column that cannot be: before the first request
        return type(error).__name__
    return message


def theirs(case: dict[str, Any]) -> dict[str, Any] | None:
    """Return their message without what is wrong or sloppy in it, or None for an error.

    Empty objects that they always send are left out, the device's names are the spec's, and a screen keeps its time
    zone.
    """
    if "error" in case["expected"]:
        return None
    [message] = copy.deepcopy(case["expected"]["payloads"])
    context = message["context"]
    if "device" in context:
        context["device"] = _renamed(context["device"])
    if message["type"] == "screen" and "timezone" in case["mapping"]:
        mapped = _source(case["mapping"]["timezone"])
        context["timezone"] = mapped.value if isinstance(mapped, Constant) else row_of(case)[mapped]
        if context["timezone"] in (None, ""):
            del context["timezone"]
    message["context"] = {name: part for name, part in context.items() if part != {}}
    return {name: part for name, part in message.items() if part != {}}


SETTINGS = "A setting that no call knows is an error when the DAG is parsed; theirs drops it without a word."
ISO = "A timestamp that is no ISO 8601 is refused; theirs sends it for Segment to guess at."
NOT_AN_ID = "What is no id (a truth value, a fraction, a list, blanks) is refused; theirs makes a user of its text."
NULL = "A null trait is sent, also within an address: it may erase a value downstream; a query has no absent columns."
CATEGORY = "A page's category stands at the top as well, where Segment's own libraries put it."
OPEN_CONTEXT = "A name of the author's own, or of the spec's, within a part of the context is sent; theirs drops it."
NOT_A_NUMBER = (
    "A truth value, a list, blanks or a text that JSON would not read are no number and no name; theirs is JavaScript."
)

# What ours does instead, and why that is better: the code or the name of a refusal, or what stands elsewise in the
# message.
DIFFERENCES: dict[str, tuple[str | dict[str, Any], str]] = {
    **dict.fromkeys(
        [f"send{kind}/undeclared_field" for kind in ("Track", "Group", "Page", "Screen")], ("ValueError", SETTINGS)
    ),
    **dict.fromkeys(
        [f"send{kind}/timestamp_epoch_ms" for kind in ("Identify", "Track", "Page", "Screen")],
        ("timestamp_not_iso8601", ISO),
    ),
    **dict.fromkeys(
        [f"timestamp/{kind}" for kind in ("us_date", "epoch_s_str", "epoch_float")],
        ("timestamp_not_iso8601", ISO),
    ),
    "timestamp/sql_tz": (
        {"timestamp": "2026-01-02T03:04:05.123Z"},
        "A timestamp that a database wrote with its zone leaves as ISO 8601; theirs sends it for Segment to guess at.",
    ),
    "timestamp/sql": (
        {"timestamp": "2026-01-02T03:04:05Z"},
        "A timestamp without a zone is given the one that the run has; theirs leaves it open.",
    ),
    "timestamp/date": (
        {"timestamp": "2026-01-02T00:00:00Z"},
        "A date is the first moment of the day in the zone that the run has; theirs leaves it open.",
    ),
    **dict.fromkeys(
        [f"coerce/user_id/{kind}" for kind in ("small", "true", "false", "array_one")], ("id_not_string", NOT_AN_ID)
    ),
    "sendPage/whitespace_user": ("id_not_string", NOT_AN_ID),
    "coerce/user_id/string_null": ("id_is_placeholder", "The word null is no user; theirs makes one of it."),
    "track/event_whitespace": ("event_not_string", "An event whose name is blank is refused; theirs sends it."),
    "traits/custom_object": ({"traits.missing": None}, NULL),
    "traits/deep_nested_output": ({"traits.profile.name.x": None, "traits.profile.empty.y": None}, NULL),
    "identify/address_partial_null": ({"traits.address.city": None, "traits.address.state": None}, NULL),
    "page/name_category": ({"category": "Docs"}, CATEGORY),
    "page/properties_override": ({"category": "C"}, CATEGORY),
    "object_field/application/unknown_keys": ({"context.app.foo": "bar", "context.app.nested": {"x": 1}}, OPEN_CONTEXT),
    "partial/campaign_custom_key_dropped": (
        {"context.campaign.id": "cid", "context.campaign.utm_source": "s"},
        OPEN_CONTEXT,
    ),
    "partial/device_spec_names_dropped": (
        {"context.device.advertisingId": "x", "context.device.adTrackingEnabled": True},
        OPEN_CONTEXT,
    ),
    "mapping/path_case_sensitive": (
        {"type": "identify", "userId": "u"},
        "A column is found without regard to case where no other is called so: Snowflake shouts.",
    ),
    **dict.fromkeys(
        [
            *(f"coerce/number/location.latitude/{kind}" for kind in ("str_hex", "str_blank", "str_plus")),
            *(f"coerce/number/location.latitude/{kind}" for kind in ("true", "false", "array_one")),
            *(f"coerce/string_leaf/application.version/{kind}" for kind in ("bool", "array_one")),
        ],
        ("context_not_valid", NOT_A_NUMBER),
    ),
    "sendIdentify/full": ({"traits.address.postalCode": 8001}, "A trait keeps the type that the query gave it."),
}


def changed(message: dict[str, Any] | None, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the message with other values at the paths; one that was an error starts empty."""
    made = copy.deepcopy(message or {})
    for path, value in changes.items():
        *parents, name = path.split(".")
        place = made
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return made


def text(value: Any) -> str:
    """Return JSON in one way only; Python alone would take 1 for true."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)


def is_same(found: dict[str, Any] | str, expected: dict[str, Any] | None) -> bool:
    """Tell whether both are the same message, or both are a refusal."""
    return isinstance(found, str) if expected is None else text(found) == text(expected)


IN_SCOPE = {case["id"]: case for case in CASES if is_in_scope(case)}


def test_no_case_drops_out() -> None:
    """Of 159 cases, 145 are in scope: 111 messages and 34 errors; the differences are among them."""
    errors = [name for name, case in IN_SCOPE.items() if theirs(case) is None]
    assert (len(CASES), len({case["id"] for case in CASES}), len(IN_SCOPE), len(errors)) == (159, 159, 145, 34)
    assert DIFFERENCES.keys() <= IN_SCOPE.keys()


@pytest.mark.parametrize("name", [name for name in IN_SCOPE if name not in DIFFERENCES])
def test_same_message_or_refusal(name: str) -> None:
    """A row makes the message that theirs makes, or is refused where theirs is."""
    expected, found = theirs(IN_SCOPE[name]), ours(IN_SCOPE[name])
    if expected is None:
        assert isinstance(found, str), f"theirs: {IN_SCOPE[name]['expected']['error']}"
    else:
        assert text(found) == text(expected)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_differs_just_as_listed(name: str) -> None:
    """Where ours differs on purpose, it does what the list says, and nothing else is different."""
    expected, found = theirs(IN_SCOPE[name]), ours(IN_SCOPE[name])
    instead, reason = DIFFERENCES[name]
    assert not is_same(found, expected), f"it is the same by now; take it off the list: {reason}"
    assert text(found) == text(changed(expected, instead) if isinstance(instead, dict) else instead), reason


def test_every_difference_is_documented() -> None:
    """docs/mapping.md names each case that differs, and no other."""
    page = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text(encoding="utf-8")
    table = page.split("## Differences from Segment's own destination", 1)[1]
    named = {name for name in re.findall(r"`([\w./]+)`", table) if name in {case["id"] for case in CASES}}
    assert named == set(DIFFERENCES)
