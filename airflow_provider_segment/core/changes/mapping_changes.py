"""What of a mapping is not as it was in the run before, and how many calls that may make: said before any is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from airflow_provider_segment.calls import Call
from airflow_provider_segment.core.mapping.message_ids import content_digest
from airflow_provider_segment.core.options import Options

# The fields of each call by their paths, with hashes of what they are made of; under "" the settings of all calls.
Described: TypeAlias = Mapping[str, Mapping[str, str]]

_SETTINGS = ("key", "nulls", "timezone")
# A mapping of one of these alone is a source, and no object.
_SOURCES = {"constant", "json", "bool", "all_columns"}
# As many names as a line of the log should have.
_MOST = 5


def describe(calls: Sequence[Call], options: Options) -> Described:
    """Return what a mapping is, without a constant of it.

    :param calls: that are turned on.
    :param options: of the sync.
    """
    settings = {name: _hash(getattr(options, name)) for name in _SETTINGS}
    settings["key"] = ", ".join(options.key_columns)
    return {"": settings} | {call.identity: dict(_fields(call.as_dict(), "")) for call in calls}


def _fields(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value and not (len(value) == 1 and _SOURCES.issuperset(value)):
        for name, inner in value.items():
            yield from _fields(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, (list, tuple)) and path in ("traits", "properties", "context"):  # columns, by their names
        yield from ((f"{path}.{name}", _hash(name)) for name in value)
    elif path not in ("label", "enabled"):
        yield path, _hash(value)


def _hash(value: Any) -> str:
    return content_digest([value]).hex()[:12]


def differences(
    before: Described, now: Described, known: Callable[[str], int], updating: Callable[[str], bool]
) -> Iterator[str]:
    """Yield what is not as it was, a sentence each.

    :param before: as a run that ended whole has described it.
    :param now: of this run.
    :param known: returns how many keys of a call are known.
    :param updating: tells whether a call is made on "updated".
    """
    was, is_now = before.get("", {}), now[""]
    if was.get("key") != is_now["key"]:
        yield f"the key was {was.get('key')} and is {is_now['key']}: all rows are new, and those of before are gone"
    changed = [name for name in _SETTINGS if name != "key" and was.get(name) != is_now[name]]
    left = [name for name in before if name and name not in now]
    for name in now:
        if name and name not in before:
            gone = f"; {', '.join(left)} is not there any more: to rename a call, keep its label" if left else ""
            yield f"the call {name} is new, and made of all rows{gone}"
        elif name and (what := [*changed, *_of_fields(before[name], now[name])]):
            number = known(name) if updating(name) else 0
            more = f" and {len(what) - _MOST} more" if len(what) > _MOST else ""
            calls = f"up to {number:,} calls, one for each known key" if number else "no call for a known key"
            yield f"{name}: {', '.join(what[:_MOST])}{more}: {calls}, besides those for rows that changed"


def _of_fields(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for path in dict.fromkeys([*now, *before]):
        if before.get(path) != now.get(path):
            yield f"{path} {'is new' if path not in before else 'is gone' if path not in now else 'changed'}"
