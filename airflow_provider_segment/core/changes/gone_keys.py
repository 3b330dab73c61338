"""The keys of one call that the query does not return any more, and the calls that are made of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import orjson

from airflow_provider_segment.calls import Call, columns_of
from airflow_provider_segment.core.changes.dry_state import DryState
from airflow_provider_segment.core.changes.entries import Entry, is_alive
from airflow_provider_segment.core.changes.in_flight import IN_DOUBT, DueCalls, InFlight
from airflow_provider_segment.core.changes.seen_keys import SeenKeys
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.changes.tables import GONE
from airflow_provider_segment.core.errors import Refused, SettingError
from airflow_provider_segment.core.mapping import values
from airflow_provider_segment.core.mapping.compiler import CompiledCall
from airflow_provider_segment.core.mapping.encoding import encoder, named
from airflow_provider_segment.core.mapping.message_ids import MessageIds
from airflow_provider_segment.core.mapping.readers import Row
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import Columns
from airflow_provider_segment.core.rows.keys import key_bytes, numbers_of, other_forms

PAGE = 2_500
Refuse = Callable[[int, bytes, Refused], None]


class GoneKeys:
    """Finds the keys of one call that are gone, and makes a call on "deleted" of each; or forgets them.

    :param call: as the DAG author said it.
    :param number: of the call in the state.
    :param columns: what the query returned.
    :param options: of the sync.
    :param state: of the sync.
    :param ids: of the messages.
    :ivar makes_calls: whether the call is made on "deleted".
    """

    def __init__(
        self, call: Call, number: int, columns: Columns, options: Options, state: State | DryState, ids: MessageIds
    ) -> None:
        self.makes_calls = "deleted" in call.kinds
        self._number = number
        self._state = state
        self._ids = ids
        if self.makes_calls:
            self._key = options.key_columns
            self._zone = options.zone
            self._columns = list(dict.fromkeys((*self._key, *columns_of(call))))
            self._places = [columns.index(name, "key") for name in self._columns]
            self._call = CompiledCall(call, Columns(self._columns), options)
            self._encode = encoder(options.zone, with_id=True, in_order=True)

    def find(self, seen: SeenKeys, candidates: Iterable[Sequence[int]] | None) -> Counter[int]:
        """Find the keys that the query does not return any more, and count them by the run that wrote them last.

        Those that this very run has told as deleted, in an earlier try of its last task, were counted then.

        :param seen: the keys that it does return; is told those that are gone.
        :param candidates: pages of the keys that may be gone; None means all that the state knows.
        """
        counts: Counter[int] = Counter()
        for page in self._known(candidates):
            gone = seen.missing([key for key, _ in page])
            told: set[int] = set()
            if gone and self.makes_calls:
                entries = self._state.entries(self._number, list(gone))
                gone -= {e.key for e in entries if self._is_there(e, seen)}
                told = {e.key for e in entries if e.content == GONE and e.run == self._state.run}
            seen.note_gone(self._number, gone)
            counts.update(run for key, run in page if key in gone and key not in told)
        return counts

    def _known(self, candidates: Iterable[Sequence[int]] | None) -> Iterator[Sequence[tuple[int, int]]]:
        """Yield the keys that are known and not gone, each with the run that wrote it last, some at a time."""
        if candidates is None:
            yield from self._state.keys(self._number, PAGE)
            return
        for keys in candidates:
            yield [(one[0], one[3]) for one in self._state.known(self._number, keys).values() if is_alive(one)]

    def left(self, seen: SeenKeys) -> Iterator[int]:
        """Yield the keys that find() has found to be gone, and of which Segment does not know it.

        :param seen: of find().
        """
        for keys in seen.gone(self._number, PAGE):
            yield from (key for key, one in self._state.known(self._number, keys).items() if is_alive(one))

    def _is_there(self, entry: Entry, seen: SeenKeys) -> bool:
        """Tell whether a key that seems to be gone was seen in another type, in a row of which no call was made."""
        ids = json.loads(entry.ids or "{}", parse_float=Decimal)
        key = [ids.get(name) for name in self._key]
        forms = [*key_bytes([[value] for value in key]), *other_forms(key)]
        numbers = numbers_of([form for form in forms if form is not None])
        if len(seen.missing(numbers)) == len(set(numbers)):
            return False
        seen.add([entry.key])  # for the calls that keep no ids
        return True

    def entries(self, seen: SeenKeys) -> Iterator[list[Entry]]:
        """Yield what is known of the keys that find() has found to be gone, some at a time.

        :param seen: of find().
        """
        for keys in seen.gone(self._number, PAGE):
            yield self._state.entries(self._number, keys)

    def forget(self, entries: Sequence[Entry]) -> None:
        """Remember that keys are gone, without a call: when they come back they are new, for this call too.

        :param entries: of the keys.
        """
        run = self._state.run
        self._state.save(
            [e._replace(content=GONE, sent=e.sent + bool(e.in_doubt), run=run, in_doubt=0) for e in entries]
        )

    def calls(self, entries: Sequence[Entry], refuse: Refuse) -> DueCalls:
        """Return the calls for keys that are gone.

        :param entries: of the keys.
        :param refuse: is told of a call that cannot be made.
        """
        events, keys, in_flight = list[bytes](), list[bytes](), list[InFlight]()
        for entry in entries:
            ids = json.loads(entry.ids or "{}", parse_float=Decimal)  # orjson would lose digits of long integers
            key = json.dumps([ids.get(name) for name in self._key], default=str).encode()
            try:
                content = self._encode(self._call.message([ids.get(name) for name in self._columns]))
            except Refused as refused:
                refuse(0, key, refused)
                continue
            sent = entry.sent + (bool(entry.in_doubt) and entry.content != GONE)
            events += named([content], [b"%d#%d" % (entry.key, sent)], self._ids, has_own_ids=True)
            keys.append(key)
            doubt = IN_DOUBT["deleted"]
            in_flight.append((self._number, entry.key, GONE, sent, self._state.run, doubt, entry.ids, entry.meaning))
        return DueCalls([0] * len(events), events, keys, in_flight)

    def ids_of(self, row: Row) -> str | None:
        """Return the values that a call on "deleted" is made from, since the row will be gone then; else None.

        :param row: as it is now.
        """
        if not self.makes_calls:
            return None
        found = zip(self._columns, self._places, strict=True)
        text = orjson.dumps({name: self._kept(row[place]) for name, place in found}).decode()
        # In ASCII, whatever character set a database of the state has; only texts hold other characters.
        return text if text.isascii() else "".join(c if c < "\x80" else json.dumps(c)[1:-1] for c in text)

    def _kept(self, value: Any) -> Any:
        """Return a value as JSON; a key may be of a type that no message could hold."""
        try:
            return values.to_json(value, self._zone)
        except (Refused, SettingError):
            return str(value).encode("utf-8", "backslashreplace").decode()
