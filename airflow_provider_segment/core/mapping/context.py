"""The parts of a message's context, with the types that Segment's spec gives them.

https://segment.com/docs/connections/spec/common/#context. Warehouses hold numbers in texts and versions in numbers;
what Segment's own destination for warehouse rows converts is converted here, and what it refuses is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import orjson

from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.rows.kinds import describe, hint_of_json, is_missing, named_row
from airflow_provider_segment.core.rows.numbers import LONGEST, is_finite, kind_of_nan
from airflow_provider_segment.core.rows.unreadable import Unreadable

Leaf: TypeAlias = Literal["text", "a number", "true or false", "an object"]
Shape: TypeAlias = "Leaf | dict[str, Shape]"

TEXT: Leaf = "text"
NUMBER: Leaf = "a number"
TRUTH: Leaf = "true or false"

CONTEXT: dict[str, Shape] = {
    "app": {"name": TEXT, "version": TEXT, "build": TEXT, "namespace": TEXT},
    "campaign": {"name": TEXT, "source": TEXT, "medium": TEXT, "term": TEXT, "content": TEXT},
    "consent": {"categoryPreferences": "an object"},
    "device": {
        **dict.fromkeys(("id", "advertisingId", "manufacturer", "model", "name", "type", "token"), TEXT),
        "adTrackingEnabled": TRUTH,
    },
    "groupId": TEXT,
    "ip": TEXT,
    "locale": TEXT,
    "location": {"city": TEXT, "country": TEXT, "latitude": NUMBER, "longitude": NUMBER, "speed": NUMBER},
    "network": {"carrier": TEXT, "bluetooth": TRUTH, "cellular": TRUTH, "wifi": TRUTH},
    "os": {"name": TEXT, "version": TEXT},
    "page": {"path": TEXT, "referrer": TEXT, "search": TEXT, "title": TEXT, "url": TEXT},
    "screen": {"density": NUMBER, "height": NUMBER, "width": NUMBER},
    "timezone": TEXT,
    "userAgent": TEXT,
}
_TRUTHS: dict[Any, bool] = {"true": True, "false": False, 1: True, 0: False}


def known_at(path: str) -> Shape | None:
    """Return what the spec says of a place in a message, or None where it says nothing.

    :param path: such as "context.app.version".
    """
    root, *names = path.split(".")
    found: Shape | None = CONTEXT if root == "context" else None
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def typed(value: Any, known: Shape | None, path: str) -> Any:
    """Return a part of a context with its type, None for what says nothing.

    :param value: as the row has it.
    :param known: what the spec says of the place.
    :param path: of the place.
    :raises Refused: if the value cannot have that type.
    """
    if known is None or (known == TEXT and type(value) is str and value):
        return value
    if isinstance(value, Unreadable):
        raise value.refused(path)
    # An empty text says nothing, but within an object it may stand as one.
    if is_missing(value) or (value == "" and (known != TEXT or path.count(".") == 1)):
        return None
    if isinstance(known, dict):
        return _object(value, known, path)
    is_number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    if known == TEXT and is_number:
        return _text_of(value, path)
    if known == NUMBER and isinstance(value, str):
        value = _number(value)
        is_number = value is not None
    if known == TRUTH and isinstance(value, (str, int)) and value in _TRUTHS:
        return _TRUTHS[value]
    if known == TRUTH or (known == NUMBER and not is_number) or (known == TEXT and _is_no_text(value)):
        raise Refused("context_not_valid", f"found {describe(value)}; expected {known}", path)
    return value


def all_typed(values: Sequence[Any], known: Shape, path: str) -> Sequence[Any]:
    """Return values of one place of a context with its type; most have it already.

    :param values: as the rows have them; the others as for typed().
    """
    types = set(map(type, values))
    if (known == TEXT and types == {str} and "" not in values) or (known == NUMBER and types <= {int, float}):
        return values
    return [typed(value, known, path) for value in values]


def says_nothing(value: Any) -> bool:
    """Tell whether a part of a context can be left out: a null, or an object without parts."""
    return is_missing(value) or (isinstance(value, dict) and not value)


def _object(value: Any, known: dict[str, Shape], path: str) -> dict[str, Any] | None:
    value = named_row(value) or value
    if not isinstance(value, Mapping):
        code = "context_not_valid" if "." in path else "context_not_object"
        raise Refused(code, f"found {describe(value)}; expected an object{hint_of_json(value)}", path)
    made = {name: typed(part, known.get(name), f"{path}.{name}") for name, part in value.items()}
    return {name: part for name, part in made.items() if not says_nothing(part)} or None


def _number(text: str) -> Any:
    """Return the number that a text holds as JSON would write it, or None."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, (int, float)) and not isinstance(found, bool) else None


def _text_of(value: float | Decimal, path: str) -> str:
    """Return a number as text, a whole one without its point."""
    if not is_finite(value):
        reason = f"found a {type(value).__name__} that is {kind_of_nan(value)}; expected text"
        raise Refused("context_not_valid", reason, path)
    if isinstance(value, Decimal) and value.adjusted() > LONGEST:
        return str(value)
    return str(int(value) if value == int(value) else value)


def _is_no_text(value: Any) -> bool:
    return isinstance(value, (bool, Mapping, list, tuple))
