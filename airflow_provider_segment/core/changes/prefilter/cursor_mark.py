"""The mark of a cursor, as a state keeps it: how far a sync has come, and from where on its rows are read."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from airflow_provider_segment.core.changes import high_water
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.options import Options


class Mark(NamedTuple):
    """How far a sync has come.

    :param column: of the cursor.
    :param kind: of its values.
    :param high: the largest value of a settled row.
    :param held: the least value of a row that is not settled; None where all are.
    :param calls: for which this is so.
    :param forgotten: the first day whose keys are still known, where ``keep_days`` has forgotten those before.
    """

    column: str
    kind: str
    high: str
    held: str | None
    calls: tuple[str, ...]
    forgotten: int | None = None

    def check_known(self, first: high_water.Value, reason: str) -> None:
        """Refuse to read rows whose keys were forgotten: they would be sent again.

        :param first: the value from which on rows are read; None means all.
        :param reason: why.
        :raises SettingError: if there are such.
        """
        if self.forgotten is None or (first is not None and (high_water.day_of(first) or 0) >= self.forgotten):
            return
        raise SettingError(
            f"keep_days: keys of old rows were forgotten, and this run would read those rows ({reason}) and send them "
            "again. Leave cursor, lookback and calls as they were, and give a new call a sync_id of its own; to send "
            "all rows again on purpose, start over with SegmentHook.reset"
        )

    def first(self, options: Options) -> high_water.Value:
        """Return the value from which on rows are read.

        :param options: of the sync.
        """
        first = high_water.back(high_water.read(self.kind, self.high), options.lookback)
        return first if self.held is None else min(first, high_water.read(self.kind, self.held))

    def oldest_kept(self, options: Options) -> int | None:
        """Return the first day whose keys are still kept; None where all are.

        :param options: of the sync.
        """
        high, first = high_water.day_of(high_water.read(self.kind, self.high)), high_water.day_of(self.first(options))
        if high is None or first is None or options.keep_days is None:
            return None
        return min(first, high - options.keep_days)

    def set_back(self, value: high_water.Value) -> Mark:
        """Return the mark at an earlier value.

        :param value: of the column.
        :raises SettingError: if it is of another kind, or not earlier.
        """
        kind = high_water.kind_of(value)
        if kind != self.kind:
            raise SettingError(f"cursor: expected a {self.kind}, as the mark is, found a {kind}")
        high = high_water.read(self.kind, self.high)
        if value > high:
            raise SettingError("cursor: the mark can only be set back, since rows before it are not read")
        self.check_known(value, "the mark is set back")
        return self._replace(high=high_water.written(value))  # a row that is held may lie before it

    def written(self) -> str:
        """Return it as text, for the state."""
        return orjson.dumps(self._asdict()).decode()


def read_mark(text: str | None) -> Mark | None:
    """Return the mark that Mark.written() has written; None where there is none.

    :param text: from the state.
    """
    if not text:
        return None
    found = orjson.loads(text)
    return Mark(**found | {"calls": tuple(found["calls"])})
