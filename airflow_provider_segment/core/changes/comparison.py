"""``sync_mode="changes"``: which calls are due, by what Segment last accepted for the same call and key."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import orjson

from airflow_provider_segment.calls import Call, columns_of
from airflow_provider_segment.core.changes.deletions import check_share
from airflow_provider_segment.core.changes.dry_state import DryState
from airflow_provider_segment.core.changes.fingerprints import Fingerprints, is_same
from airflow_provider_segment.core.changes.first_run import check_first_run
from airflow_provider_segment.core.changes.rekeying import DifferingRow, Rekeying
from airflow_provider_segment.core.changes.samples import Sample
from airflow_provider_segment.core.changes.seen_keys import SeenKeys
from airflow_provider_segment.core.changes.state import AS_KNOWN, AS_NEW, GONE, Entry, State, StoredEntry
from airflow_provider_segment.core.errors import Refused, SettingError
from airflow_provider_segment.core.mapping import encoding, values
from airflow_provider_segment.core.mapping.compiler import CompiledCall
from airflow_provider_segment.core.mapping.message_ids import Namespace, with_id
from airflow_provider_segment.core.mapping.readers import Row
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import Columns
from airflow_provider_segment.core.rows.keys import key_bytes, numbers_of, other_forms
from airflow_provider_segment.core.rows.unreadable import Unreadable

PAGE = 2_500
IN_DOUBT = {"added": AS_NEW, "updated": AS_KNOWN, "deleted": AS_KNOWN}
# A later run that updates so much of what it knows, and no less, is worth a word.
NEARLY_ALL, LEAST_KNOWN = 0.9, 100
_NOT_KNOWN = (0, None, 0, 0, 0, None)
Refuse = Callable[[int, bytes, Refused], None]


class InFlight(NamedTuple):
    """What to remember of a call that is on its way.

    :param kind: "added", "updated" or "deleted".
    :param entry: as it is saved when Segment has accepted the call.
    :param in_doubt: as it is saved before the call is posted; None where that needs no saving.
    """

    kind: str
    entry: Entry
    in_doubt: Entry | None


@dataclass(slots=True)
class DueCalls:
    """The calls that are to be sent, in parallel lists, and the number of those that are not."""

    rows: list[int] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    in_flight: list[InFlight] = field(default_factory=list)
    unchanged: int = 0

    def add(self, row: int, event: bytes, key: bytes, mark: InFlight) -> None:
        """Add a call."""
        self.rows.append(row)
        self.events.append(event)
        self.keys.append(key)
        self.in_flight.append(mark)


class Changes:
    """The calls of a sync that sends only what changed.

    :param calls: that are turned on, each with what makes its messages.
    :param columns: what the query returned.
    :param options: of the sync.
    :param state: of the sync; its generation goes into the message ids, so that a new state repeats none.
    """

    def __init__(
        self, calls: Sequence[tuple[Call, CompiledCall]], columns: Columns, options: Options, state: State | DryState
    ) -> None:
        namespace = Namespace("changes", state.sync_id, state.generation)
        self._state = state
        self._max_deleted = options.max_deleted
        self._seen = SeenKeys() if any("deleted" in call.kinds for call, _ in calls) else None
        self._calls = {
            call.identity: ChangingCall(call, made, columns, options, state, namespace, self._note)
            for call, made in calls
        }
        check_first_run(state, options.first_run, [name for name, call in self._calls.items() if call.is_first])
        # Counted before this run adds any key: otherwise new ones would make room for more to be deleted.
        counted = self._calls.values() if self._seen is not None else ()
        self._bases = {call.number: state.bases(call.number) for call in counted}
        if self._bases:
            state.keep_bases({number: bases[-1].known for number, bases in self._bases.items()})
        self._key = [columns.index(name, "key") for name in options.key_columns]
        self.unreadable = 0

    def read(self, keys: Sequence[bytes | None], page: Sequence[Row]) -> None:
        """Remember the keys of a page, where some call must know which ones are gone at the end.

        :param keys: of the rows; None where there is none.
        :param page: the rows.
        """
        if self._seen is None:
            return
        known = [key for key in keys if key is not None]
        self._note(numbers_of(known))
        if len(known) < len(keys):
            values = ([row[place] for place in self._key] for key, row in zip(keys, page, strict=True) if key is None)
            self.unreadable += sum(Unreadable in map(type, key) for key in values)

    def _note(self, numbers: Sequence[int]) -> None:
        """Remember the numbers of keys that are not gone."""
        if self._seen is not None:
            self._seen.add(numbers)

    def undeletable(self) -> list[str]:
        """Return the calls on "deleted" that cannot be made: a key that nobody can read may be one that seems gone."""
        return [call.identity for call in self._calls.values() if call.deletes] if self.unreadable else []

    def due(
        self,
        identity: str,
        rows: Sequence[int],
        contents: Sequence[bytes],
        keys: Sequence[bytes],
        page: Sequence[Row],
        refuse: Refuse,
    ) -> DueCalls:
        """Return the calls of a page that are to be sent.

        :param identity: of the call.
        :param rows: the numbers of the rows.
        :param contents: the encoded messages, without an id of ours.
        :param keys: of the rows.
        :param page: the rows.
        :param refuse: is told of a key that came before with other content.
        """
        return self._calls[identity].due(rows, contents, keys, page, refuse)

    def mark_in_doubt(self, in_flight: Sequence[InFlight]) -> None:
        """Say in the state, before they are sent, that Segment may get another content for these keys.

        Without it: A is saved, B is acknowledged, a crash comes before B is saved, and the source goes back to A. It
        would look unchanged, and Segment would keep B.
        """
        self._state.save([mark.in_doubt for mark in in_flight if mark.in_doubt is not None])

    def accepted(self, in_flight: Sequence[InFlight]) -> None:
        """Save what Segment has accepted."""
        self._state.save([mark.entry for mark in in_flight])

    def ended(self, in_flight: Sequence[InFlight]) -> None:
        """Forget that calls were on their way."""
        for mark in in_flight:
            for call in self._calls.values():
                if call.number == mark.entry.call:
                    call.ended(mark)

    def deletions(self, refuse: Callable[..., None]) -> Iterator[tuple[str, DueCalls]]:
        """Yield the calls for keys that are gone, after the query was read to its end.

        :param refuse: is told of a call that cannot be made.
        :raises DeletionError: if more than the share that may be deleted is gone; then nothing is yielded.
        """
        if self._seen is None or self.unreadable:
            return
        deleting = [call for call in self._calls.values() if call.deletes and not call.is_baseline]
        others = [call for call in self._calls.values() if call not in deleting]
        for call in (*deleting, *others):
            check_share(call.identity, call.compare(self._seen), self._bases[call.number], self._max_deleted)
        for call in deleting:
            for entries in call.gone(self._seen):
                yield call.identity, call.deletions(entries, partial(refuse, identity=call.identity))
        for call in others:
            for entries in call.gone(self._seen):
                call.forget(entries)

    def finish(self) -> None:
        """Remember that the calls were seen by a run that went to its end."""
        for call in self._calls.values():
            call.keep_sample()
        self._state.seen([call.number for call in self._calls.values()])

    def suspicions(self) -> Iterator[tuple[str, int, str]]:
        """Yield the calls that update nearly all that they know, with the number so far and what to do about it."""
        for call in self._calls.values():
            if call.known >= LEAST_KNOWN and call.updated >= NEARLY_ALL * call.known:
                yield call.identity, call.updated, call.suspicion()


class ChangingCall:
    """One call of a sync that sends only changes.

    :param call: as the DAG author said it.
    :param made: what makes its messages.
    :param columns: what the query returned.
    :param options: of the sync.
    :param state: of the sync.
    :param namespace: of the message ids.
    :param on_moved: is told the numbers of keys that live on under another.
    :ivar is_first: whether no run that went to its end has seen it.
    :ivar known: rows so far whose key the state knew.
    :ivar updated: those of them that are sent, since they have changed.
    """

    def __init__(
        self,
        call: Call,
        made: CompiledCall,
        columns: Columns,
        options: Options,
        state: State | DryState,
        namespace: Namespace,
        on_moved: Callable[[Sequence[int]], None],
    ) -> None:
        self.identity = call.identity
        self.number, seen = state.call(call.identity)
        self.deletes = "deleted" in call.kinds
        self.known = self.updated = 0
        self._state = state
        self._ids = namespace.maker(call.identity)
        self._kinds = call.kinds
        self.is_first = not seen
        self.is_baseline = options.first_run == "baseline" and self.is_first
        self._fingerprints = Fingerprints(
            made.from_columns, omits_nulls=options.omit_nulls, has_own_ids=made.names_itself
        )
        self._sample = Sample(state.sample(self.number), made.from_columns)
        key = [columns.index(name, "key") for name in options.key_columns]
        self._rekeying = Rekeying(state, self.number, key, self._fingerprints, self._ids_of, on_moved)
        # What was sent, or was met in this page, and does not stand in the state yet: by key, its hash by value.
        self._fresh: dict[int, int] = {}
        if self.deletes:
            self._key = options.key_columns
            self._zone = options.zone
            self._columns = list(dict.fromkeys((*self._key, *columns_of(call))))
            self._places = [columns.index(name, "key") for name in self._columns]
            self._deleted = CompiledCall(call, Columns(self._columns), options)
            self._encode = encoding.encoder(options.zone, with_id=True, in_order=True)

    def due(
        self, rows: Sequence[int], contents: Sequence[bytes], keys: Sequence[bytes], page: Sequence[Row], refuse: Refuse
    ) -> DueCalls:
        """Return what is to be sent; see Changes.due."""
        differing = self._differing(contents, keys, page)
        due, silent = DueCalls(unchanged=len(keys) - len(differing)), []
        self.known += due.unchanged
        known = self._look_up(differing)
        run, fresh = self._state.run, self._fresh
        for one in differing:
            number, content, meaning = one.number, one.found, one.found ^ one.by_value
            _, was, sent, last_run, in_doubt, meant = known.get(number, _NOT_KNOWN)
            is_known = was not in (None, GONE)
            if number in fresh:
                is_unchanged = one.by_value == fresh[number]
            else:
                is_unchanged = not in_doubt and is_same(was, meant, content, one.by_value)
                self.known += is_known
            if not is_unchanged and (number in fresh or (last_run == run and not in_doubt)):
                again = "found the key of an earlier row, with other content; a key is one row"
                refuse(rows[one.place], one.key, Refused("key_again", again, "key"))
                continue
            due.unchanged += is_unchanged
            if is_unchanged and (number in fresh or (was, meant) == (content, meaning)):
                continue
            fresh[number] = one.by_value
            self._look_closer(one)
            kind = "added" if not is_known or in_doubt == AS_NEW else "updated"
            ids = self._ids_of(one.row)
            if is_unchanged:  # it says the same in other words, or an older version has saved it
                silent.append(Entry(self.number, number, content, sent, last_run, 0, ids, meaning))
                continue
            sent += bool(in_doubt) and was != content  # the id that is in in_doubt belongs to another content
            if kind in self._kinds and not self.is_baseline:
                self.updated += kind == "updated"
                posted = Entry(self.number, number, content, sent, run, IN_DOUBT[kind], ids, meaning)
                mark = self._in_flight(kind, posted, known.get(number))
                due.add(rows[one.place], self._named(one.content, one.key, sent), one.key, mark)
            else:
                due.unchanged += 1
                silent.append(Entry(self.number, number, content, sent, run, 0, ids, meaning))
        self._state.save(silent)
        for entry in silent:
            del fresh[entry.key]
        return due

    def _look_up(self, rows: Sequence[DifferingRow]) -> dict[int, StoredEntry]:
        """Return what is known of rows' keys, also of those that were of another type."""
        if not rows:
            return {}
        known = self._state.known(self.number, [one.number for one in rows])
        return known | self._rekeying.find(rows, known, self._fresh) if self._rekeying.knows_any else known

    def _look_closer(self, one: DifferingRow) -> None:
        if self._sample.wants(one.number):
            self._sample.see(one.number, self._fingerprints.said(one.content))

    def keep_sample(self) -> None:
        """Save what tells the next run which field changes."""
        if (kept := self._sample.kept()) is not None:
            self._state.keep_sample(self.number, kept)

    def suspicion(self) -> str:
        """Return what it means that nearly all that is known is updated."""
        most = self._sample.most()
        field = f"the field that differs most is {most}: " if most else ""
        return (
            f"of {self.known:,} known rows are updated, and billed; {field}a value that is new in each run, such as "
            "now() or an array without an order, makes every row due: leave it out, or give it an order"
        )

    def _differing(self, contents: Sequence[bytes], keys: Sequence[bytes], page: Sequence[Row]) -> list[DifferingRow]:
        """Return the rows that differ from what Segment last accepted, and all with the key of such a one.

        Most rows of most runs get no further than here.
        """
        numbers, found = numbers_of(keys), self._fingerprints.of(keys, contents)
        accepted, fresh = self._state.accepted(self.number, numbers), self._fresh
        pairs = zip(numbers, found, strict=True)
        differing = {number for number, content in pairs if accepted.get(number) != content or number in fresh}
        if not differing:
            return []
        places = [place for place, number in enumerate(numbers) if number in differing]
        by_value = self._fingerprints.by_value(
            [keys[place] for place in places], [contents[place] for place in places], [found[place] for place in places]
        )
        return [
            DifferingRow(numbers[place], keys[place], contents[place], found[place], said, page[place], place)
            for place, said in zip(places, by_value, strict=True)
        ]

    def ended(self, mark: InFlight) -> None:
        """Forget that a call was on its way: the state has what became of it."""
        self._fresh.pop(mark.entry.key, None)

    def compare(self, seen: SeenKeys) -> Counter[int]:
        """Find the keys that the query does not return any more, and count them by the run that wrote them last."""
        counts: Counter[int] = Counter()
        for page in self._state.keys(self.number, PAGE):
            gone = seen.missing([key for key, _ in page])
            if gone and self.deletes:
                gone -= {e.key for e in self._state.entries(self.number, list(gone)) if self._is_there(e, seen)}
            seen.note_gone(self.number, gone)
            counts.update(run for key, run in page if key in gone)
        return counts

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

    def gone(self, seen: SeenKeys) -> Iterator[list[Entry]]:
        """Yield what is known of the keys that compare() has found to be gone, some at a time."""
        for keys in seen.gone(self.number, PAGE):
            yield self._state.entries(self.number, keys)

    def forget(self, entries: Sequence[Entry]) -> None:
        """Remember that keys are gone, without a call: when they come back they are new, for this call too."""
        run = self._state.run
        self._state.save(
            [e._replace(content=GONE, sent=e.sent + bool(e.in_doubt), run=run, in_doubt=0) for e in entries]
        )

    def deletions(self, entries: Sequence[Entry], refuse: Refuse) -> DueCalls:
        """Return the calls for keys that are gone."""
        due = DueCalls()
        for entry in entries:
            ids = json.loads(entry.ids or "{}", parse_float=Decimal)  # orjson would lose digits of long integers
            key = json.dumps([ids.get(name) for name in self._key], default=str).encode()
            try:
                content = self._encode(self._deleted.message([ids.get(name) for name in self._columns]))
            except Refused as refused:
                refuse(0, key, refused)
                continue
            sent = entry.sent + (bool(entry.in_doubt) and entry.content != GONE)
            event = self._named(content, b"%d" % entry.key, sent)
            posted = entry._replace(content=GONE, sent=sent, run=self._state.run, in_doubt=IN_DOUBT["deleted"])
            known = (entry.key, entry.content, entry.sent, entry.run, entry.in_doubt, entry.meaning)
            due.add(0, event, key, self._in_flight("deleted", posted, known))
        return due

    def _in_flight(self, kind: str, posted: Entry, known: StoredEntry | None) -> InFlight:
        """Return what to remember of a call before it is posted, and when it is accepted.

        A new key needs nothing before: its first id is made of its content alone. But after a run that left calls of
        unknown fate, Segment may have another content under such an id.
        """
        _, was, was_sent, _, was_in_doubt, _ = known or _NOT_KNOWN
        is_new = was in (None, GONE) and not was_in_doubt
        is_said = (was, was_sent, was_in_doubt) == (posted.content, posted.sent, posted.in_doubt)
        in_doubt = None if is_said or (is_new and not self._state.is_recovering) else posted
        call, key, content, sent, run, _, ids, meaning = posted  # _replace() takes four times as long
        return InFlight(kind, Entry(call, key, content, sent + 1, run, 0, ids, meaning), in_doubt)

    def _named(self, content: bytes, row_key: bytes, sent: int) -> bytes:
        if encoding.has_own_id(content):
            return content
        return with_id(content, self._ids.make(b"%b#%d" % (row_key, sent), content))

    def _ids_of(self, row: Row) -> str | None:
        """Return the values that a call on "deleted" is made from, since the row will be gone then."""
        if not self.deletes:
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
