"""The columns that a call uses, and those that a call on "deleted" still has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from airflow_provider_segment.calls.fields import AllColumns, columns_in
from airflow_provider_segment.calls.spec import IDS, OBJECTS, SCALARS, Call


def columns_of(call: Call) -> Iterator[str]:
    """Yield the columns that a call uses, those of AllColumns itself aside.

    :param call: as the DAG author said it.
    """
    yield from call.when or {}
    for field in dataclasses.fields(call):
        if field.name in SCALARS + OBJECTS:
            yield from columns_in(getattr(call, field.name))


def named_columns(call: Call) -> Iterator[str]:
    """Yield the columns that a call names: those that it uses, and those that AllColumns leaves out or parses.

    :param call: as the DAG author said it.
    """
    yield from columns_of(call)
    for field in OBJECTS:
        if isinstance(content := getattr(call, field, None), AllColumns):
            yield from (*content.exclude, *content.json)


def check_changes(calls: Sequence[Call], sync_mode: str, key: Sequence[str]) -> None:
    """Check that calls on "deleted" can be made when the row is gone.

    :param calls: of a sync.
    :param sync_mode: with "all" each row makes each call, whatever its ``on_change`` says.
    :param key: the key columns.
    :raises ValueError: if a call on "deleted" uses more than ids, the key columns and constants.
    """
    for call in calls:
        if sync_mode == "all" or "deleted" not in call.kinds:
            continue
        if call.when is not None:
            raise ValueError(f"{call.identity}: when=...: a call on 'deleted' has no row to look at any more")
        kept = {name.lower() for name in key}
        kept |= {name.lower() for field in IDS for name in columns_in(getattr(call, field, None))}
        if other := [name for name in columns_of(call) if name.lower() not in kept]:
            raise ValueError(
                f"{call.identity}: a call on 'deleted' may use its ids, the key columns and constants, since the row "
                f"is gone; it also uses {', '.join(other)}"
            )
        if any(isinstance(getattr(call, field, None), AllColumns) for field in OBJECTS):
            raise ValueError(f"{call.identity}: AllColumns: a call on 'deleted' has no row to take them from")
