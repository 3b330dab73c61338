"""Keys that come in another type than in the run before: what the state knows of them goes on under the new one."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from airflow_provider_segment.core.changes.dry_state import DryState
from airflow_provider_segment.core.changes.entries import Entry, StoredEntry, is_alive
from airflow_provider_segment.core.changes.fingerprints import Fingerprints, is_same
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.changes.tables import GONE
from airflow_provider_segment.core.mapping.readers import Row
from airflow_provider_segment.core.rows.keys import numbers_of, other_forms

# A DifferingRow's fields; plain for the same reason as EntryFields.
Differing: TypeAlias = tuple[int, bytes, bytes, int, int, Row, int]
# Hashes of keys are larger, but for one in eight million.
_LARGEST_NUMBER = 2**40


class DifferingRow(NamedTuple):
    """A call whose content is not plainly the one that Segment last accepted.

    :param number: of the row's key.
    :param key: its bytes.
    :param content: the encoded message.
    :param found: its hash.
    :param by_value: the hash of what it says.
    :param row: the row.
    :param row_number: of the row in the query's result.
    """

    number: int
    key: bytes
    content: bytes
    found: int
    by_value: int
    row: Row
    row_number: int


class Rekeying:
    """Looks for the keys of one call in the other forms that they may have had.

    :param state: of the sync.
    :param call: the call's number.
    :param places: of the key's columns in a row.
    :param fingerprints: of the call.
    :param ids_of: makes an entry's ids of a row.
    :param on_moved: is told the numbers of keys that live on under another.
    :ivar knows_any: whether the state knows keys of this call at all.
    """

    def __init__(
        self,
        state: State | DryState,
        call: int,
        places: Sequence[int],
        fingerprints: Fingerprints,
        ids_of: Callable[[Row], str | None],
        on_moved: Callable[[Sequence[int]], None],
    ) -> None:
        self._state = state
        self._call = call
        self._places = places
        self._fingerprints = fingerprints
        self._ids_of = ids_of
        self._on_moved = on_moved
        span = state.span(call)
        self.knows_any = span is not None
        self._knows_hashes = span is not None and (span[0] < -_LARGEST_NUMBER or span[1] > _LARGEST_NUMBER)

    def find(
        self, rows: Sequence[Differing], known: Mapping[int, StoredEntry], on_its_way: Container[int]
    ) -> dict[int, StoredEntry]:
        """Return what is known under another form of rows' keys, and save it under the one that they have now.

        :param rows: some.
        :param known: what is known of their keys as they are.
        :param on_its_way: numbers of keys with a call that is being sent.
        """
        lost = [DifferingRow(*one) for one in rows if not is_alive(known.get(one[0])) and one[0] not in on_its_way]
        if not self._knows_hashes:  # whole numbers are known as such
            lost = [one for one in lost if one.key != b"[%d]" % one.number]
        forms = {one.number: other_forms([one.row[place] for place in self._places]) for one in lost}
        flat = list(dict.fromkeys(form for some in forms.values() for form in some))
        if not flat:
            return {}
        numbers = dict(zip(flat, numbers_of(flat), strict=True))
        there = self._state.known(self._call, list(numbers.values()))
        alive = {number: was for number, was in there.items() if is_alive(was)}
        found: dict[int, StoredEntry] = {}
        saved: list[Entry] = []
        for one in lost:
            for form in forms[one.number]:
                if one.number not in found and (was := alive.pop(numbers[form], None)) is not None:
                    _, content, sent, run, in_doubt, meaning = self._moved(one, form, was, known.get(one.number))
                    if was[0] in on_its_way or (run == self._state.run and not in_doubt):
                        # A row of this run has it in its other form: two rows with one key, as the caller will see.
                        run, in_doubt = self._state.run, 0
                    else:
                        ids, now = self._ids_of(one.row), self._state.run
                        saved.append(Entry(self._call, one.number, content, sent, now, in_doubt, ids, meaning))
                        saved.append(Entry(self._call, was[0], GONE, was[2] + bool(was[4]), now))
                    found[one.number] = (one.number, content, sent, run, in_doubt, meaning)
        self._state.save(saved)
        self._on_moved([entry.key for entry in saved if entry.content == GONE])
        return found

    def _moved(self, one: DifferingRow, form: bytes, was: StoredEntry, before: StoredEntry | None) -> StoredEntry:
        """Return what was known under another form; the key is hashed with the content, so its hash is made anew."""
        _, content, sent, run, in_doubt, meaning = was
        found = self._fingerprints.of([form], [one.content])
        (by_value,) = self._fingerprints.by_value([form], [one.content], found)
        if is_same(content, meaning, found[0], by_value):
            content, meaning = one.found, one.found ^ one.by_value
        # No id is repeated of a time when the key had this form before.
        return one.number, content, sent + (before[2] if before else 0), run, in_doubt, meaning
