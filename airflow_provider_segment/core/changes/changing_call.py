"""One call of a sync that sends only changes: which of its rows differ from what Segment last accepted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from airflow_provider_segment.calls import Call
from airflow_provider_segment.core.changes.dry_state import DryState
from airflow_provider_segment.core.changes.entries import AS_NEW, GONE, Entry, StoredEntry
from airflow_provider_segment.core.changes.fingerprints import Fingerprints, is_same
from airflow_provider_segment.core.changes.gone_keys import GoneKeys, Refuse
from airflow_provider_segment.core.changes.in_flight import IN_DOUBT, NOT_KNOWN, DueCalls, InFlight, in_flight, named
from airflow_provider_segment.core.changes.rekeying import DifferingRow, Rekeying
from airflow_provider_segment.core.changes.samples import Sample
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.mapping.compiler import CompiledCall
from airflow_provider_segment.core.mapping.message_ids import Namespace
from airflow_provider_segment.core.mapping.readers import Row
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import Columns
from airflow_provider_segment.core.rows.keys import numbers_of


class ChangingCall:
    """One call of a sync that sends only changes.

    :param call: as the DAG author said it.
    :param made: what makes its messages.
    :param columns: what the query returned.
    :param options: of the sync.
    :param state: of the sync.
    :param namespace: of the message ids.
    :param on_moved: is told the numbers of keys that live on under another.
    :ivar gone_keys: of the call.
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
        self.known = self.updated = 0
        self._state = state
        self._ids = namespace.maker(call.identity)
        self.gone_keys = GoneKeys(call, self.number, columns, options, state, self._ids)
        self._kinds = call.kinds
        self.is_first = not seen
        self.is_baseline = options.first_run == "baseline" and self.is_first
        self._fingerprints = Fingerprints(
            made.from_columns, omits_nulls=options.omit_nulls, has_own_ids=made.names_itself
        )
        self._sample = Sample(state.sample(self.number), made.from_columns)
        key = [columns.index(name, "key") for name in options.key_columns]
        self._rekeying = Rekeying(state, self.number, key, self._fingerprints, self.gone_keys.ids_of, on_moved)
        # What was sent, or was met in this page, and does not stand in the state yet: by key, its hash by value.
        self._fresh: dict[int, int] = {}

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
            _, was, sent, last_run, in_doubt, meant = known.get(number, NOT_KNOWN)
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
            ids = self.gone_keys.ids_of(one.row)
            if is_unchanged:  # it says the same in other words, or an older version has saved it
                silent.append(Entry(self.number, number, content, sent, last_run, 0, ids, meaning))
                continue
            sent += bool(in_doubt) and was != content  # the id that is in in_doubt belongs to another content
            if kind in self._kinds and not self.is_baseline:
                self.updated += kind == "updated"
                posted = Entry(self.number, number, content, sent, run, IN_DOUBT[kind], ids, meaning)
                of_one = in_flight(kind, posted, known.get(number), is_recovering=self._state.is_recovering)
                due.add(rows[one.place], named(one.content, one.key, sent, self._ids), one.key, of_one)
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

    def ended(self, one: InFlight) -> None:
        """Forget that a call was on its way: the state has what became of it."""
        self._fresh.pop(one.entry.key, None)
