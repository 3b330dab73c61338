"""Rows that are all new, or have all changed, as in a first run or with a new trait: decided without a look at each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat

from airflow_provider_segment.core.changes.entries import StoredEntry
from airflow_provider_segment.core.changes.in_flight import IN_DOUBT, UNMARKED, InFlight
from airflow_provider_segment.core.changes.rekeying import Differing
from airflow_provider_segment.core.changes.tables import FORGOTTEN, GONE
from airflow_provider_segment.core.mapping.readers import Row

_NO_CONTENT = frozenset({FORGOTTEN, GONE})


def all_new(
    rows: Sequence[Differing], call: int, run: int, ids_of: Callable[[Row], str | None] | None, *, is_recovering: bool
) -> list[InFlight]:
    """Return the calls of rows whose keys nobody knows.

    :param rows: each with a key of its own.
    :param call: the call's number.
    :param run: that sends them.
    :param ids_of: makes an entry's ids of a row, where that is needed.
    :param is_recovering: whether a run of before has left calls of unknown fate.
    """
    doubt = IN_DOUBT["added"] if is_recovering else UNMARKED
    return [
        (call, number, content, 0, run, doubt, ids, content ^ said)
        for (number, _, _, content, said, _, _), ids in zip(rows, _ids(rows, ids_of), strict=False)
    ]


def all_changed(
    rows: Sequence[Differing],
    known: Mapping[int, StoredEntry],
    call: int,
    run: int,
    ids_of: Callable[[Row], str | None] | None,
) -> list[InFlight] | None:
    """Return the calls of rows that say something else than before; None where that is not plain for one of them.

    :param rows: each with a key of its own.
    :param known: what is known of the keys, each of which is.
    :param call: as for all_new(), and so are the others.
    """
    entries = [known[one[0]] for one in rows]
    for one, (_, was, _, last_run, in_doubt, meant) in zip(rows, entries, strict=True):
        if in_doubt or last_run == run or was in _NO_CONTENT or meant is None:
            return None
        if was == one[3] or was ^ meant == one[4]:
            return None
    doubt = IN_DOUBT["updated"]
    return [
        (call, number, content, entry[2], run, doubt, ids, content ^ said)
        for (number, _, _, content, said, _, _), entry, ids in zip(rows, entries, _ids(rows, ids_of), strict=False)
    ]


def _ids(rows: Sequence[Differing], ids_of: Callable[[Row], str | None] | None) -> Iterable[str | None]:
    return repeat(None) if ids_of is None else [ids_of(one[5]) for one in rows]
