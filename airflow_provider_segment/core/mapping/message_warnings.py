"""What looks wrong in the messages of a call and is sent all the same: it is counted, and told when the run ends."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson

from airflow_provider_segment.core.mapping import timestamps
from airflow_provider_segment.core.mapping.compiler import CompiledCall, WrittenMessages
from airflow_provider_segment.core.mapping.messages import Message, has_too_many_names
from airflow_provider_segment.core.report import Report

# Messages that are looked at for JSON as text: to look at all of them would cost more than to make them.
SAMPLE = 1_000
_JSON_TEXT = (
    "of the first {all:,} messages hold JSON as text, which stays text, in {fields}; if objects are meant, map "
    "{sources}, or with AllColumns json=[{columns}]"
)
_UNLIKELY = (
    "messages have a timestamp before 1970-01-02 or more than a year ahead; where that stands for none, such as "
    "0001-01-01 or 9999-12-31, make it NULL in the query, and Segment takes the time of arrival"
)


class MessageWarnings:
    """Counts what looks wrong.

    :param call: makes the messages.
    """

    def __init__(self, call: CompiledCall | WrittenMessages) -> None:
        self._call = call
        self._latest = timestamps.latest_likely(dt.datetime.now(dt.UTC))
        self._too_many_names = 0
        self._unlikely = 0
        self._sampled = 0
        self._texts: Counter[str] = Counter()
        self._json: Counter[str] = Counter()
        self._columns = call.from_columns

    def look(self, messages: Sequence[Message]) -> None:
        """Look at messages that are valid.

        :param messages: of the call.
        """
        if self._call.may_be_wide:
            self._too_many_names += sum(map(has_too_many_names, messages))
        if self._call.has_timestamp:
            self._unlikely += self._count_unlikely([m["timestamp"] for m in messages if "timestamp" in m])
        if self._sampled < SAMPLE:
            for message in messages[: SAMPLE - self._sampled]:
                self._sample(message)

    def tell(self, report: Report) -> None:
        """Put what was found among a run's warnings.

        :param report: of the run.
        """
        name = self._call.identity
        if self._too_many_names:
            report.warnings[name] = self._too_many_names
        if self._unlikely:
            report.warn(name, "timestamp_unlikely", _UNLIKELY, self._unlikely)
        columns = {f: self._call.column(f) for f, n in self._json.items() if 2 * n > self._texts[f]}
        if columns:
            named = sorted({str(column) for column in columns.values()})
            said = {
                "all": self._sampled,
                "fields": ", ".join(sorted(columns)),
                "sources": ", ".join(f'Json("{column}")' for column in named),
                "columns": ", ".join(f'"{column}"' for column in named),
            }
            report.warn(name, "json_as_text", _JSON_TEXT.format(**said), max(self._json[f] for f in columns))

    def _count_unlikely(self, times: Sequence[str]) -> int:
        # The order of these texts is that of time, so that the first and the last of a page tell nearly always.
        if not times or (
            timestamps.is_likely(min(times), self._latest) and timestamps.is_likely(max(times), self._latest)
        ):
            return 0
        return sum(not timestamps.is_likely(time, self._latest) for time in times)

    def _sample(self, message: Message) -> None:
        """Count the texts, and the JSON among them, of fields that are each made from a column."""
        self._sampled += 1
        for root in ("traits", "properties"):
            self._count_texts(message.get(root), root)

    def _count_texts(self, part: Any, path: str) -> None:
        if isinstance(part, dict):
            for name, inner in part.items():
                self._count_texts(inner, f"{path}.{name}")
        elif isinstance(part, str) and path in self._columns:
            self._texts[path] += 1
            self._json[path] += part[:1] in ("{", "[") and _is_json(part)


def _is_json(text: str) -> bool:
    """Tell whether a text is an object or an array as JSON."""
    try:
        return isinstance(orjson.loads(text), (dict, list))
    except orjson.JSONDecodeError:
        return False
