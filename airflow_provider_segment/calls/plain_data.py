"""Calls from what a DAG author gave: calls, or the same as plain dicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from airflow_provider_segment.calls.sources import found
from airflow_provider_segment.calls.spec import Alias, Call, Group, Identify, Page, Screen, Track

TYPES: dict[str, type[Call]] = {kind.type: kind for kind in (Identify, Track, Group, Page, Screen, Alias)}


def as_calls(calls: Any) -> list[Call]:
    """Return one call or many, as calls or as plain dicts, as a list of checked calls.

    :param calls: what a user gave.
    :raises ValueError: if there is none, one is of another type, or two have the same identity.
    """
    if isinstance(calls, (Call, Mapping)):
        calls = [calls]
    elif not isinstance(calls, (list, tuple)):
        raise ValueError(f"calls: expected Identify(...), Track(...) ... or a list of them, found {found(calls)}")
    checked = [_as_call(call, f"calls[{position}]") for position, call in enumerate(calls)]
    if not checked:
        raise ValueError("calls: it is empty; expected at least one of Identify, Track, Group, Page, Screen, Alias")
    seen: set[str] = set()
    for call in checked:
        if call.identity in seen:
            raise ValueError(f"calls: two are called {call.identity!r}; give each a label=... of its own")
        seen.add(call.identity)
    return checked


def _as_call(call: Any, where: str) -> Call:
    if isinstance(call, Call):
        return call
    if not isinstance(call, Mapping):
        raise ValueError(f"{where}: expected Identify(...), Track(...) ... or a dict, found {found(call)}")
    settings = dict(call)
    name = settings.pop("call", None)
    if not isinstance(name, str) or name not in TYPES:
        raise ValueError(f"{where}: expected 'call' to be one of {', '.join(TYPES)}; found {name!r}")
    kind = TYPES[name]
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(str(key) for key in settings if key not in known):
        raise ValueError(f"{where}: {name} knows no {', '.join(unknown)}; it knows {', '.join(sorted(known))}")
    needed = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    if missing := [field for field in needed if settings.get(field) is None]:
        raise ValueError(f"{where}: {name} needs {' and '.join(missing)}")
    return kind(**settings)
