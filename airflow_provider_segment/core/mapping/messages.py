"""The six messages as they stand on the wire, and the rules that Segment applies after it has answered 200.

Segment answers 200 to nearly everything and drops bad events later, so these rules are the only verdict on a row that
anybody ever sees. The codes are Segment's own ingest codes where it has one
(https://segment.com/docs/connections/delivery-overview).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.mapping import context, ids, values
from airflow_provider_segment.core.rows.kinds import describe, hint_of_json, is_missing

Message: TypeAlias = dict[str, Any]
Rule: TypeAlias = Callable[[Message], None]

TYPES = ("identify", "track", "group", "page", "screen", "alias")
WIRE = {
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "group_id": "groupId",
    "previous_id": "previousId",
    "message_id": "messageId",
}
IDS = ("userId", "anonymousId", "groupId", "previousId", "messageId")
SCALARS = (*IDS, "timestamp", "event", "name", "category")

# Documented: 32 KB an event (tracking API). Nobody says whether a KB is 1,000 or 1,024 bytes.
MAX_EVENT_BYTES = 32_000
# Documented: "fewer than 100 characters" (HTTP API); Unify drops longer ones silently.
MAX_MESSAGE_ID = 99
# Unify silently drops events with more traits or properties (unify/product-limits), other destinations take them.
MAX_NAMES = 300
# Unify silently drops events whose groupId is longer (unify/product-limits).
MAX_GROUP_ID = 500


def has_user(message: Message) -> None:
    """A message names its user."""
    if not message.get("userId") and not message.get("anonymousId"):
        raise Refused("no_user_anon_id", "found neither a userId nor an anonymousId; one of them is needed", "userId")


def ids_are_text(message: Message) -> None:
    """Ids are texts that are not empty."""
    for name in ("userId", "anonymousId", "groupId", "previousId"):
        value = message.get(name)
        if value is not None and not (isinstance(value, str) and value.strip()):
            raise Refused("id_not_string", f"found {describe(value)}; expected text that is not blank", name)


def event_is_text(message: Message) -> None:
    """A track call has an event, and its name is text."""
    event = message.get("event")
    if event is None:
        raise Refused("event_not_defined", "found no event; a track call needs its name", "event")
    if not isinstance(event, str) or not event.strip():
        raise Refused("event_not_string", f"found {describe(event)}; expected a name that is not blank", "event")


def traits_are_an_object(message: Message) -> None:
    """Traits are an object."""
    _is_object(message, "traits")


def properties_are_an_object(message: Message) -> None:
    """Properties are an object."""
    _is_object(message, "properties")


def context_is_an_object(message: Message) -> None:
    """Context is an object whose parts have the spec's types."""
    if "context" in message and (typed := context.typed(message.pop("context"), context.CONTEXT, "context")):
        message["context"] = typed


def names_are_text(message: Message) -> None:
    """The name and category of a page or screen are texts; empty ones are left out before."""
    for name in ("name", "category"):
        value = message.get(name)
        if value is not None and not (isinstance(value, str) and value):
            raise Refused(f"{name}_not_string", f"found {describe(value)}; expected text", name)


def has_group(message: Message) -> None:
    """A group call names its group, in at most 500 characters."""
    group = message.get("groupId")
    if not group:
        raise Refused("id_required", "found no groupId; a group call needs one", "groupId")
    if len(group) > MAX_GROUP_ID:
        reason = f"found {len(group)} characters; Unify drops events above {MAX_GROUP_ID}"
        raise Refused("group_id_too_long", reason, "groupId")


def has_both_ids(message: Message) -> None:
    """An alias call names the new id and the old one."""
    for name in ("userId", "previousId"):
        if not message.get(name):
            raise Refused("id_required", f"found no {name}; an alias call needs userId and previousId", name)


def message_id_is_short(message: Message) -> None:
    """A message id is text of fewer than 100 characters."""
    found = message.get("messageId")
    if found is not None and not (isinstance(found, str) and 0 < len(found) <= MAX_MESSAGE_ID):
        reason = f"found {describe(found)}; expected text of at most {MAX_MESSAGE_ID} characters"
        raise Refused("message_id_not_valid", reason, "messageId")


RULES: dict[str, tuple[Rule, ...]] = {
    "identify": (ids_are_text, has_user, traits_are_an_object),
    "track": (ids_are_text, has_user, event_is_text, properties_are_an_object),
    "group": (ids_are_text, has_user, has_group, traits_are_an_object),
    "page": (ids_are_text, has_user, names_are_text, properties_are_an_object),
    "screen": (ids_are_text, has_user, names_are_text, properties_are_an_object),
    "alias": (ids_are_text, has_both_ids),
}
# Rules that are kept by every message with a valid id of one of these names.
MET_BY: dict[Rule, tuple[str, ...]] = {has_user: ("userId", "anonymousId")}
COMMON: tuple[Rule, ...] = (context_is_an_object, message_id_is_short)


def validate(message: Message) -> None:
    """Check a message as it stands on the wire, and give the parts of its context their types.

    :param message: with its type.
    :raises Refused: for the first rule that it breaks.
    """
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in RULES:
        raise Refused("type_not_valid", f"expected one of {', '.join(TYPES)}", "type")
    for rule in (*RULES[kind], *COMMON):
        rule(message)


def field(name: str, value: Any, zone: dt.tzinfo | None) -> Any:
    """Return the value of an id, timestamp, event or name as it stands on the wire, or None to leave it out.

    :param name: as on the wire.
    :param value: as a driver or a user gave it.
    :param zone: the zone of timestamps that carry none.
    :raises Refused: if it cannot stand there.
    """
    if name in IDS:
        return ids.to_id(value, name)
    if name == "timestamp":
        return values.timestamp(value, zone)
    if type(value) is int:
        return str(value)  # an event or a page may be called 404
    # Empty names are left out: Segment drops a page whose name is empty, and takes one without.
    return None if is_missing(value) or value == "" else value


def name_into_properties(message: Message) -> None:
    """The spec wants a page's name and category among its properties too, and a screen's name."""
    names = ("name", "category") if message["type"] == "page" else ("name",)
    if derived := {name: message[name] for name in names if name in message}:
        message["properties"] = derived | (message.get("properties") or {})


def has_too_many_names(message: Message) -> bool:
    """Tell whether a message has more traits or properties than Engage and Unify take.

    :param message: that is valid.
    """
    return any(len(message.get(name) or ()) > MAX_NAMES for name in ("traits", "properties"))


def written(kind: str, **fields: Any) -> Message:
    """Return a message of fields that a user gave, by their names on the wire.

    :param kind: the call's type.
    :param fields: by Python's names; those that are None are left out.
    """
    return {"type": kind} | {WIRE.get(name, name): value for name, value in fields.items() if value is not None}


def on_the_wire(message: Any, zone: dt.tzinfo | None) -> Message:
    """Return a message that a user wrote as it may stand on the wire.

    :param message: a dict with its type; ids may be whole numbers or UUIDs, timestamps datetimes.
    :param zone: the zone of timestamps that carry none.
    :raises Refused: for the first rule that it breaks.
    """
    if not isinstance(message, Mapping):
        raise Refused("type_not_valid", f"found {describe(message)}; expected a message as a dict")
    made: Message = {}
    for name, value in values.to_names(message).items():
        clean = field(name, value, zone) if name in SCALARS else values.to_json(value, zone, name)
        if clean is not None:
            made[name] = clean
    validate(made)
    if made["type"] in ("page", "screen"):
        name_into_properties(made)
    return made


def _is_object(message: Message, name: str) -> None:
    value = message.get(name)
    if value is not None and not isinstance(value, dict):
        reason = f"found {describe(value)}; expected an object{hint_of_json(value)}"
        raise Refused(f"{name}_not_object", reason, name)
