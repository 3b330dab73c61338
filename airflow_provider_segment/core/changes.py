"""``sync_mode="changes"``: which calls are due, by what Segment last accepted for the same call and key."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from airflow_provider_segment.calls import Call, columns_of
from airflow_provider_segment.core import batching, values
from airflow_provider_segment.core.errors import DeletionError, Refused, SettingError
from airflow_provider_segment.core.mapping import Columns, CompiledCall, Row
from airflow_provider_segment.core.message_ids import Namespace, with_id
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.seen import Seen
from airflow_provider_segment.core.state import AS_KNOWN, AS_NEW, FORGOTTEN, GONE, Entry, Known, State

PAGE = 2_500
DOUBTS = {"added": AS_NEW, "updated": AS_KNOWN, "deleted": AS_KNOWN}
_EMPTY = blake2b(digest_size=8)  # a copy is cheaper than a new one
_NOT_KNOWN = (0, None, 0, 0, 0)
Refuse = Callable[[int, bytes, Refused], None]


class Mark(NamedTuple):
    """What to remember of a call that is on its way.

    :param kind: "added", "updated" or "deleted".
    :param entry: as it is saved when Segment has accepted the call.
    :param doubt: as it is saved before the call is posted; None where that needs no saving.
    """

    kind: str
    entry: Entry
    doubt: Entry | None


@dataclass(slots=True)
class Due:
    """The calls that are to be sent, in parallel lists, and the number of those that are not."""

    rows: list[int] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    unchanged: int = 0

    def add(self, row: int, event: bytes, key: bytes, mark: Mark) -> None:
        """Add a call."""
        self.rows.append(row)
        self.events.append(event)
        self.keys.append(key)
        self.marks.append(mark)


class Changes:
    """The calls of a sync that sends only what changed.

    :param calls: that are turned on.
    :param columns: what the query returned.
    :param options: of the sync.
    :param state: of the sync; its generation goes into the message ids, so that a new state repeats none.
    """

    def __init__(self, calls: Sequence[Call], columns: Columns, options: Options, state: State) -> None:
        namespace = Namespace("changes", state.sync_id, state.generation)
        self._state = state
        self._max_deleted = options.max_deleted
        self._is_dry = options.validate_only
        self._calls = {call.identity: ChangingCall(call, columns, options, state, namespace) for call in calls}
        self._seen = Seen() if any(call.deletes for call in self._calls.values()) else None

    def read(self, keys: Sequence[bytes | None]) -> None:
        """Remember the keys of a page, where some call must know which ones are gone at the end."""
        if self._seen is not None:
            self._seen.add(numbers_of([key for key in keys if key is not None]))

    def due(
        self,
        identity: str,
        rows: Sequence[int],
        contents: Sequence[bytes],
        keys: Sequence[bytes],
        page: Sequence[Row],
        refuse: Refuse,
    ) -> Due:
        """Return the calls of a page that are to be sent.

        :param identity: of the call.
        :param rows: the numbers of the rows.
        :param contents: the encoded messages, without an id of ours.
        :param keys: of the rows.
        :param page: the rows.
        :param refuse: is told of a key that came before with other content.
        """
        return self._calls[identity].due(rows, contents, keys, page, refuse)

    def doubt(self, marks: Sequence[Mark]) -> None:
        """Say in the state, before they are sent, that Segment may get another content for these keys.

        Without it: A is saved, B is acknowledged, a crash comes before B is saved, and the source goes back to A. It
        would look unchanged, and Segment would keep B.
        """
        self._state.save([mark.doubt for mark in marks if mark.doubt is not None])

    def accepted(self, marks: Sequence[Mark]) -> None:
        """Save what Segment has accepted."""
        self._state.save([mark.entry for mark in marks])

    def ended(self, marks: Sequence[Mark]) -> None:
        """Forget that calls were on their way."""
        for mark in marks:
            for call in self._calls.values():
                if call.number == mark.entry.call:
                    call.ended(mark)

    def deletions(self, refuse: Callable[..., None]) -> Iterator[tuple[str, Due]]:
        """Yield the calls for keys that are gone, after the query was read to its end.

        :param refuse: is told of a call that cannot be made.
        :raises DeletionError: if more than the share that may be deleted is gone; then nothing is yielded.
        """
        if self._seen is None:
            return
        deleting = [call for call in self._calls.values() if call.deletes and not call.is_baseline]
        for call in deleting:
            known, gone = self._state.count(call.number), sum(map(len, call.gone(self._seen)))
            if gone > self._max_deleted * known:
                raise DeletionError(
                    f"{call.identity}: {gone:,} of {known:,} known keys are gone from the result; max_deleted "
                    f"allows a share of {self._max_deleted:g}. Nothing was deleted; mend the query or raise it"
                )
        for call in deleting:
            for entries in call.gone(self._seen):
                yield call.identity, call.deletions(entries, partial(refuse, identity=call.identity))
        for call in self._calls.values():
            if call not in deleting and not self._is_dry:
                for entries in call.gone(self._seen):
                    call.forget(entries)

    def finish(self) -> None:
        """Remember that the calls were seen by a run that went to its end."""
        if self._is_dry:
            return
        self._state.seen([call.number for call in self._calls.values()])


class ChangingCall:
    """One call of a sync that sends only changes.

    :param call: as the DAG author said it.
    :param columns: what the query returned.
    :param options: of the sync.
    :param state: of the sync.
    :param namespace: of the message ids.
    """

    def __init__(self, call: Call, columns: Columns, options: Options, state: State, namespace: Namespace) -> None:
        self.identity = call.identity
        self.number, seen = state.call(call.identity)
        self.deletes = "deleted" in call.kinds
        self._state = state
        self._ids = namespace.maker(call.identity)
        self._kinds = call.kinds
        self._names_itself = call.message_id is not None
        self._is_dry = options.validate_only
        self.is_baseline = options.first_run == "baseline" and not seen
        # Contents that were sent, or were met in this page, and do not stand in the state yet.
        self._fresh: dict[int, int] = {}
        if self.deletes:
            self._key = options.key_columns
            self._zone = options.zone
            self._columns = list(dict.fromkeys((*self._key, *columns_of(call))))
            self._places = [columns.index(name, "key") for name in self._columns]
            self._deleted = CompiledCall(call, Columns(self._columns), options)
            self._encode = batching.encoder(options.zone, with_id=True, in_order=True)

    def due(
        self, rows: Sequence[int], contents: Sequence[bytes], keys: Sequence[bytes], page: Sequence[Row], refuse: Refuse
    ) -> Due:
        """Return what is to be sent; see Changes.due."""
        numbers, found = numbers_of(keys), self._fingerprints(keys, contents)
        places = self._differing(numbers, found)
        known = self._state.known(self.number, [numbers[place] for place in places]) if places else {}
        run, fresh = self._state.run, self._fresh
        due, silent = Due(unchanged=len(keys) - len(places)), []
        for place in places:
            key, number, content = keys[place], numbers[place], found[place]
            _, was, sent, last_run, doubt = known.get(number, _NOT_KNOWN)
            if content == fresh.get(number, was) and (number in fresh or not doubt):
                due.unchanged += 1
                continue
            if number in fresh or (last_run == run and not doubt):
                again = "found the key of an earlier row, with other content; a key is one row"
                refuse(rows[place], key, Refused("key_again", again, "key"))
                continue
            fresh[number] = content
            kind = "added" if was in (None, GONE) or doubt == AS_NEW else "updated"
            ids = self._ids_of(page[place]) if self.deletes else None
            sent += bool(doubt) and was != content  # the id that is in doubt belongs to another content
            if kind in self._kinds and not self.is_baseline:
                mark = self._mark(
                    kind, Entry(self.number, number, content, sent, run, DOUBTS[kind], ids), known.get(number)
                )
                due.add(rows[place], self._named(contents[place], key, sent), key, mark)
            else:
                due.unchanged += 1
                silent.append(Entry(self.number, number, content, sent, run, 0, ids))
        if self._is_dry:
            fresh.clear()
            return due
        self._state.save(silent)
        for entry in silent:
            del fresh[entry.key]
        return due

    def _differing(self, numbers: Sequence[int], found: Sequence[int]) -> list[int]:
        """Return the places of rows that differ from what Segment last accepted, and of all with the key of such a one.

        Most rows of most runs get no further than here.
        """
        accepted, fresh = self._state.accepted(self.number, numbers), self._fresh
        pairs = zip(numbers, found, strict=True)
        differing = {number for number, content in pairs if accepted.get(number) != content or number in fresh}
        return [place for place, number in enumerate(numbers) if number in differing] if differing else []

    def _fingerprints(self, keys: Sequence[bytes], contents: Sequence[bytes]) -> list[int]:
        """Return the hashes of contents; keys are in them, so that two with one hash are sent again, never skipped."""
        if self._names_itself:
            contents = [_without_own_id(content) for content in contents]
        return [
            number if number not in (FORGOTTEN, GONE) else 2 for number in _hashes(map(bytes.__add__, keys, contents))
        ]

    def ended(self, mark: Mark) -> None:
        """Forget that a call was on its way: the state has what became of it."""
        self._fresh.pop(mark.entry.key, None)

    def gone(self, seen: Seen) -> Iterator[list[Entry]]:
        """Yield what is known of keys that the query does not return any more, some at a time."""
        for entries in self._state.entries(self.number, PAGE):
            missing = seen.missing([entry.key for entry in entries])
            if found := [entry for entry in entries if entry.key in missing]:
                yield found

    def forget(self, entries: Sequence[Entry]) -> None:
        """Remember that keys are gone, without a call: when they come back they are new, for this call too."""
        run = self._state.run
        self._state.save([e._replace(content=GONE, sent=e.sent + bool(e.doubt), run=run, doubt=0) for e in entries])

    def deletions(self, entries: Sequence[Entry], refuse: Refuse) -> Due:
        """Return the calls for keys that are gone."""
        due = Due()
        for entry in entries:
            ids = json.loads(entry.ids or "{}", parse_float=Decimal)  # orjson would lose digits of long integers
            key = json.dumps([ids.get(name) for name in self._key], default=str).encode()
            try:
                content = self._encode(self._deleted.message([ids.get(name) for name in self._columns]))
            except Refused as refused:
                refuse(0, key, refused)
                continue
            sent = entry.sent + (bool(entry.doubt) and entry.content != GONE)
            event = self._named(content, b"%d" % entry.key, sent)
            posted = entry._replace(content=GONE, sent=sent, run=self._state.run, doubt=DOUBTS["deleted"])
            due.add(0, event, key, self._mark("deleted", posted, entry[1:6]))
        return due

    def _mark(self, kind: str, posted: Entry, known: Known | None) -> Mark:
        """Return what to remember of a call before it is posted, and when it is accepted.

        A new key needs nothing before: its first id is made of its content alone. But after a run that left calls of
        unknown fate, Segment may have another content under such an id.
        """
        _, content, sent, _, in_doubt = known or _NOT_KNOWN
        is_new = content in (None, GONE) and not in_doubt
        is_said = (content, sent, in_doubt) == (posted.content, posted.sent, posted.doubt)
        doubt = None if is_said or (is_new and not self._state.is_recovering) else posted
        return Mark(kind, posted._replace(sent=posted.sent + 1, doubt=0), doubt)

    def _named(self, content: bytes, origin: bytes, sent: int) -> bytes:
        if batching.has_own_id(content):
            return content
        return with_id(content, self._ids.make(b"%b#%d" % (origin, sent), content))

    def _ids_of(self, row: Row) -> str:
        """Return the values that a call on "deleted" is made from, since the row will be gone then."""
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


def numbers_of(keys: Sequence[bytes]) -> list[int]:
    """Return keys as 64-bit integers: themselves where they are such, which keeps neighbours together, else hashes.

    :param keys: as message_ids.Origins gives them.
    """
    texts = [key[1:-1] for key in keys]  # of a list of one value in JSON
    with suppress(ValueError):
        numbers = list(map(int, texts))
        if max(map(abs, numbers), default=0) < 2**63:
            return numbers
    pairs = zip(texts, _hashes(keys), strict=True)
    return [hashed if text.startswith(b'"') or not _is_64_bit_integer(text) else int(text) for text, hashed in pairs]


def _is_64_bit_integer(text: bytes) -> bool:
    return text.removeprefix(b"-").isdigit() and -(2**63) <= int(text) < 2**63


def _without_own_id(content: bytes) -> bytes:
    if not batching.has_own_id(content):
        return content
    own = len(orjson.dumps({"messageId": orjson.loads(content)["messageId"]})) - 1
    return b"{" + content[own + 1 :]


def _hashes(parts: Iterable[bytes]) -> list[int]:
    """Return 64-bit hashes."""
    new, digests = _EMPTY.copy, []
    for part in parts:
        digest = new()
        digest.update(part)
        digests.append(digest.digest())
    return list(struct.unpack(f">{len(digests)}q", b"".join(digests)))
