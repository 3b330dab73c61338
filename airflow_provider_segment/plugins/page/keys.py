"""Find a key: what the state of a sync knows of one key, as `explain` says it."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.hooks.state_care import numbers_of_keys, read_state
from airflow_provider_segment.plugins.page.states import Question
from airflow_provider_segment.plugins.page.syncs import Sync


def values_of(text: str) -> list[Any]:
    """Return the values of a key as it was typed: one, or a JSON list of several columns.

    :param text: that was typed.
    :raises SettingError: if it begins as a list and is none.
    """
    if not text.startswith("["):
        return [text]
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not found or any(isinstance(one, (list, dict)) for one in found):
        raise SettingError('Expected one value, or a JSON list with a value for each column of the key: ["4711", "eu"]')
    return found


def explain(sync: Sync, values: list[Any]) -> list[dict[str, Any]]:
    """Return what is known of a key, for each call.

    :param sync: whose state is asked.
    :param values: of the key's columns.
    :raises SegmentError: if the state's database fails.
    """
    where = {"conn_id": sync.place.conn_id, "schema": sync.place.schema, "path": None}

    def ask() -> list[dict[str, Any]]:
        with read_state(sync.line.sync_id, **where) as reader:
            return list(reader.explain([numbers_of_keys([values])]))

    return Question(sync.place, ask).answer()
