"""What a filter must know of the mapping: the columns that it uses, and a hash of what decides a row's messages."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_segment import __version__
from airflow_provider_segment.calls import OBJECTS, AllColumns, Call, columns_of
from airflow_provider_segment.core.mapping.message_ids import content_digest
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import Columns

# Grows when a filter of before would be read wrongly.
LAYOUT = 1


def mapped_places(calls: Sequence[Call], columns: Columns, key: Sequence[str]) -> list[int]:
    """Return the places of the columns that the key and any call uses, in order.

    :param calls: of the sync.
    :param columns: what the query returned.
    :param key: the columns of the key.
    """
    used = {columns.index(name, "key") for name in key}
    for call in calls:
        used |= {columns.index(name, call.identity) for name in columns_of(call)}
        for content in (getattr(call, field, None) for field in OBJECTS):
            if isinstance(content, AllColumns):
                excluded = {columns.index(name, call.identity) for name in content.exclude}
                used |= set(range(len(columns.names))) - excluded
    return sorted(used)


def fingerprint_of(calls: Sequence[Call], names: Sequence[str], options: Options) -> str:
    """Return a hash of all that tells what a row becomes.

    :param calls: that are turned on.
    :param names: of the columns that they use.
    :param options: of the sync.
    """
    said = [[call.identity, call.kinds, call.as_dict()] for call in calls]
    how = [options.key_columns, options.nulls, options.timezone]
    return content_digest([LAYOUT, __version__, said, how, [*names]]).hex()
