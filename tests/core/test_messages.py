"""The rules that Segment applies after its 200 are applied here before sending, with Segment's own codes."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.mapping import messages
from airflow_provider_segment.core.mapping.values import MissingTimezone
from airflow_provider_segment.testing import ingest

USER = {"userId": "u1"}
IDENTIFY = {"type": "identify", **USER}
TRACK = {"type": "track", "event": "E", **USER}
PAGE = {"type": "page", **USER}
SCREEN = {"type": "screen", **USER}
GROUP = {"type": "group", "groupId": "g", **USER}
ALIAS = {"type": "alias", "previousId": "p", **USER}

GOOD: list[dict[str, Any]] = [
    *(IDENTIFY, TRACK, PAGE, SCREEN, GROUP, ALIAS),
    {"type": "identify", "anonymousId": "a"},
    {"type": "group", "groupId": "g", "anonymousId": "g"},
    {**IDENTIFY, "traits": {}, "context": {}, "messageId": "m" * 99},
    {**IDENTIFY, "anonymousId": None, "traits": None, "context": None, "messageId": None},
    {**TRACK, "properties": {"a": 1}},
    {**PAGE, "name": "n", "category": "c"},
    {**PAGE, "name": None, "properties": None},
    {**GROUP, "groupId": "g" * 500},
]

# A message, the code of the rule that it breaks, and the field.
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({}, "type_not_valid", "type"),
    ({**USER, "type": None}, "type_not_valid", "type"),
    ({**USER, "type": "import"}, "type_not_valid", "type"),
    ({**USER, "type": "Track"}, "type_not_valid", "type"),
    ({**USER, "type": ["identify"]}, "type_not_valid", "type"),
    ({**USER, "type": {"a": 1}}, "type_not_valid", "type"),
    ({"type": "identify"}, "no_user_anon_id", "userId"),
    ({"type": "identify", "userId": None, "anonymousId": None}, "no_user_anon_id", "userId"),
    ({"type": "track", "event": "E"}, "no_user_anon_id", "userId"),
    ({"type": "page"}, "no_user_anon_id", "userId"),
    ({"type": "screen"}, "no_user_anon_id", "userId"),
    ({"type": "group", "groupId": "g"}, "no_user_anon_id", "userId"),
    ({**IDENTIFY, "userId": 1}, "id_not_string", "userId"),
    ({**IDENTIFY, "userId": ""}, "id_not_string", "userId"),
    ({**IDENTIFY, "userId": " "}, "id_not_string", "userId"),
    ({**IDENTIFY, "anonymousId": ["a"]}, "id_not_string", "anonymousId"),
    ({**GROUP, "groupId": 7}, "id_not_string", "groupId"),
    ({**ALIAS, "previousId": 7}, "id_not_string", "previousId"),
    ({"type": "group", **USER}, "id_required", "groupId"),
    ({**GROUP, "groupId": "g" * 501}, "group_id_too_long", "groupId"),
    ({"type": "alias", **USER}, "id_required", "previousId"),
    ({"type": "alias", "previousId": "p"}, "id_required", "userId"),
    ({"type": "alias", "previousId": "p", "anonymousId": "a"}, "id_required", "userId"),
    ({"type": "track", **USER}, "event_not_defined", "event"),
    ({**TRACK, "event": None}, "event_not_defined", "event"),
    ({**TRACK, "event": ""}, "event_not_string", "event"),
    ({**TRACK, "event": " "}, "event_not_string", "event"),
    ({**TRACK, "event": 5}, "event_not_string", "event"),
    ({**IDENTIFY, "traits": "x"}, "traits_not_object", "traits"),
    ({**GROUP, "traits": [1]}, "traits_not_object", "traits"),
    ({**TRACK, "properties": 0}, "properties_not_object", "properties"),
    ({**PAGE, "properties": "x"}, "properties_not_object", "properties"),
    ({**SCREEN, "properties": False}, "properties_not_object", "properties"),
    ({**IDENTIFY, "context": "x"}, "context_not_object", "context"),
    ({**PAGE, "name": ""}, "name_not_string", "name"),
    ({**SCREEN, "name": 1}, "name_not_string", "name"),
    ({**PAGE, "category": {}}, "category_not_string", "category"),
    ({**SCREEN, "category": ""}, "category_not_string", "category"),
    ({**IDENTIFY, "messageId": "m" * 100}, "message_id_not_valid", "messageId"),
    ({**ALIAS, "messageId": 1}, "message_id_not_valid", "messageId"),
    ({**TRACK, "messageId": ""}, "message_id_not_valid", "messageId"),
]


@pytest.mark.parametrize("message", GOOD)
def test_good_message_is_taken(message: dict[str, Any]) -> None:
    """A message that keeps the rules passes here, and at the local Segment."""
    messages.validate(dict(message))
    assert ingest.judge(message) is None


@pytest.mark.parametrize(("message", "code", "field"), BAD)
def test_bad_message_is_refused(message: dict[str, Any], code: str, field: str) -> None:
    """A message that breaks a rule is refused with the rule's code and the field."""
    with pytest.raises(Refused) as caught:
        messages.validate(dict(message))
    assert (caught.value.code, caught.value.field) == (code, field)


def test_nothing_is_taken_here_that_segment_drops() -> None:
    """Whatever the local Segment drops is refused here, so that no event is lost without a word."""
    dropped = [message for message, *_ in BAD if ingest.judge(message) is not None]
    assert len(dropped) > 30
    for message in dropped:
        with pytest.raises(Refused):
            messages.validate(dict(message))


SECRETS: list[tuple[dict[str, Any], str]] = [
    ({**GROUP, "groupId": "secret-" * 71 + "1234"}, "501 characters"),
    ({**IDENTIFY, "messageId": "secret" * 20}, "str of length 120"),
    ({**IDENTIFY, "userId": ["secret"]}, "list of length 1"),
    ({**TRACK, "event": {"secret": 1}}, "dict of length 1"),
    ({**IDENTIFY, "traits": "secret"}, "str of length 6"),
    ({**PAGE, "name": b"secret"}, "bytes of length 6"),
    ({**USER, "type": "secret"}, "expected one of"),
]


@pytest.mark.parametrize(("message", "words"), SECRETS)
def test_refusal_shows_type_and_length(message: dict[str, Any], words: str) -> None:
    """A refusal says what was found by its type and length, and shows no value: it is personal data."""
    with pytest.raises(Refused) as caught:
        messages.validate(dict(message))
    assert words in caught.value.reason
    assert "secret" not in str(caught.value)


# Messages that a user wrote

AT = dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC)
ID = uuid.uuid4()
WRITTEN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (IDENTIFY, IDENTIFY),
    ({"type": "identify", "userId": 7}, {"type": "identify", "userId": "7"}),
    ({"type": "identify", "anonymousId": ID}, {"type": "identify", "anonymousId": str(ID)}),
    ({**IDENTIFY, "anonymousId": "", "timestamp": None, "traits": None}, IDENTIFY),
    ({**IDENTIFY, "timestamp": AT}, {**IDENTIFY, "timestamp": "2026-01-31T09:30:00Z"}),
    ({**IDENTIFY, "timestamp": "2026-01-31"}, {**IDENTIFY, "timestamp": "2026-01-31T00:00:00Z"}),
    (
        {**IDENTIFY, "traits": {"at": AT, "b": b"\x00", "n": None}},
        {**IDENTIFY, "traits": {"at": "2026-01-31T09:30:00Z", "b": "AA==", "n": None}},
    ),
    ({**IDENTIFY, "messageId": 5}, {**IDENTIFY, "messageId": "5"}),
    ({**IDENTIFY, "integrations": {"All": False}}, {**IDENTIFY, "integrations": {"All": False}}),
    ({**PAGE, "name": "n", "category": ""}, {**PAGE, "name": "n", "properties": {"name": "n"}}),
    ({**SCREEN, "name": "n", "properties": {"a": 1}}, {**SCREEN, "name": "n", "properties": {"name": "n", "a": 1}}),
    ({**ALIAS, "previousId": Decimal(1)}, {**ALIAS, "previousId": "1"}),
]


@pytest.mark.parametrize(("message", "wanted"), WRITTEN)
def test_written_message_is_put_in_order(message: dict[str, Any], wanted: dict[str, Any]) -> None:
    """A message that a user wrote goes out with texts for ids and times, without what is empty, and is not changed."""
    before = dict(message)
    assert messages.on_the_wire(message, dt.UTC) == wanted
    assert message == before


BAD_WRITTEN: list[tuple[Any, str]] = [
    *((other, "type_not_valid") for other in (None, "identify", [IDENTIFY], 5)),
    *((message, code) for message, code, _ in BAD if code in ("type_not_valid", "id_required", "traits_not_object")),
    ({**IDENTIFY, "userId": True}, "id_not_string"),
    ({**IDENTIFY, "timestamp": "soon"}, "timestamp_not_iso8601"),
    ({**IDENTIFY, "traits": {"a": float("nan")}}, "number_not_finite"),
    ({**IDENTIFY, "traits": {"a": "\ud800"}}, "text_not_unicode"),
    ({**IDENTIFY, "more": object()}, "type_not_known"),
    ({**IDENTIFY, (1, 2): 1}, "name_not_text"),
    ({**IDENTIFY, None: 1}, "name_not_text"),
    ({**IDENTIFY, "\ud800": 1}, "text_not_unicode"),
]


@pytest.mark.parametrize(("message", "code"), BAD_WRITTEN)
def test_bad_written_message_is_refused(message: Any, code: str) -> None:
    """A message that a user wrote wrongly is refused with a code, whatever is wrong with it."""
    with pytest.raises(Refused) as caught:
        messages.on_the_wire(message, dt.UTC)
    assert caught.value.code == code


def test_written_timestamp_needs_a_zone() -> None:
    """A timestamp without a zone in a message that a user wrote stops the run."""
    with pytest.raises(MissingTimezone):
        messages.on_the_wire({**IDENTIFY, "timestamp": dt.datetime.fromisoformat("2026-01-31")}, None)


def test_written_by_pythons_names() -> None:
    """Fields by Python's names get those of the wire; what is None is left out."""
    made = messages.written("group", group_id="g", user_id=5, anonymous_id=None, traits={"a": 1}, message_id="m")
    assert made == {"type": "group", "groupId": "g", "userId": 5, "traits": {"a": 1}, "messageId": "m"}
    assert messages.on_the_wire(made, None) == {**made, "userId": "5"}


@pytest.mark.parametrize(("names", "wide"), [(0, False), (300, False), (301, True)])
def test_many_names_are_noticed(names: int, wide: bool) -> None:
    """More than 300 traits or properties, which Engage and Unify drop, are noticed."""
    names_of = dict.fromkeys(map(str, range(names)))
    assert messages.has_too_many_names({**IDENTIFY, "traits": names_of}) is wide
    assert messages.has_too_many_names({**TRACK, "properties": names_of}) is wide
    assert messages.has_too_many_names({**IDENTIFY, "traits": None}) is False
