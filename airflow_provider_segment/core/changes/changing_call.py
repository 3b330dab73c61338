"""One call of a sync that sends only changes: which of its rows differ from what Segment last accepted."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Container, Mapping, Sequence
from typing import TypeAlias

from airflow_provider_segment.calls import Call
from airflow_provider_segment.core.changes.alike_rows import all_changed, all_new
from airflow_provider_segment.core.changes.calls_of_page import CallsOfPage
from airflow_provider_segment.core.changes.dry_state import DryState
from airflow_provider_segment.core.changes.entries import AS_KNOWN, AS_NEW, NOT_KNOWN, EntryFields, StoredEntry
from airflow_provider_segment.core.changes.fingerprints import Fingerprints, is_same
from airflow_provider_segment.core.changes.fresh_keys import FreshKeys
from airflow_provider_segment.core.changes.gone_keys import GoneKeys, Refuse
from airflow_provider_segment.core.changes.in_flight import IN_DOUBT, UNMARKED, DueCalls, InFlight
from airflow_provider_segment.core.changes.rekeying import Differing, DifferingRow, Rekeying
from airflow_provider_segment.core.changes.samples import Sample
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.changes.tables import GONE
from airflow_provider_segment.core.changes.watched_keys import WatchedKeys, refuse_again
from airflow_provider_segment.core.mapping.compiler import CompiledCall
from airflow_provider_segment.core.mapping.encoding import named
from airflow_provider_segment.core.mapping.message_ids import Namespace
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import Columns
from airflow_provider_segment.core.rows.pages import at

Known: TypeAlias = Mapping[int, StoredEntry]


class ChangingCall:
    """One call of a sync that sends only changes.

    :param call: as the DAG author said it.
    :param made: what makes its messages.
    :param columns: what the query returned.
    :param options: of the sync.
    :param state: of the sync.
    :param namespace: of the message ids.
    :param on_moved: is told the numbers of keys that live on under another.
    :param watched: the numbers of keys of which the run before found rows with different contents.
    :ivar gone_keys: of the call.
    :ivar fresh: what was sent, or is held, and does not stand in the state yet.
    :ivar makes_updates: whether the call is made on "updated".
    :ivar is_first: whether no run that went to its end has seen it.
    :ivar known: rows so far whose key the state knew.
    :ivar updated_keys: the numbers of the keys of those that are sent, since they have changed; perhaps millions.
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
        watched: frozenset[int] = frozenset(),
    ) -> None:
        self.identity = call.identity
        self.number, seen = state.call(call.identity)
        self.known = 0
        self.updated_keys = array("q")
        self._state = state
        self._ids = namespace.maker(call.identity)
        self.gone_keys = GoneKeys(call, self.number, columns, options, state, self._ids)
        self._kinds = call.kinds
        self.makes_updates = "updated" in call.kinds
        self.is_first = not seen
        self.is_baseline = options.first_run == "baseline" and self.is_first
        self._has_own_ids = made.names_itself
        self._fingerprints = Fingerprints(
            made.from_columns, omits_nulls=options.omit_nulls, has_own_ids=made.names_itself
        )
        self._sample = Sample(state.sample(self.number), made.from_columns)
        key = [columns.index(name, "key") for name in options.key_columns]
        self._rekeying = Rekeying(state, self.number, key, self._fingerprints, self.gone_keys.ids_of, on_moved)
        self.fresh = FreshKeys()
        self._most_differ = False
        self._watched = WatchedKeys(watched)

    def due(self, page: CallsOfPage, refuse: Refuse) -> DueCalls:
        """Return what is to be sent; see Changes.due."""
        known = self._state.known(self.number, page.numbers) if self._most_differ and page.numbers else None
        differing = self._differing(page, known)
        unchanged = len(page.keys) - len(differing)
        self._most_differ = len(differing) > unchanged
        self.known += unchanged
        return self._decide(differing, DueCalls(unchanged=unchanged), refuse, known)

    def rest(self, refuse: Refuse) -> DueCalls:
        """Return what is to be sent of rows that were held back, now that all were read; see Changes.rest."""
        return self._decide(self._watched.rest(), DueCalls(), refuse)

    def _decide(
        self, differing: Sequence[Differing], due: DueCalls, refuse: Refuse, known: Known | None = None
    ) -> DueCalls:
        """Return what is to be sent of rows that differ from what is known, and save the rest of them."""
        known = self._look_up(differing, known)
        numbers = [one[0] for one in differing]
        before = self.fresh.among(numbers)
        sampled = {numbers[place] for place in self._sample.wanted(numbers)}
        alike = None if before or self._watched.numbers else self._alike(differing, numbers, known)
        if alike is None:
            return self._one_by_one(differing, due, refuse, known, before, sampled)
        for one in differing if sampled else ():
            if one[0] in sampled:
                self._sample.see(one[0], self._fingerprints.said(one[2]))
        due.in_flight = alike
        self.fresh.add({one[0]: one[4] for one in differing})
        return self._send(differing, due)

    def _alike(self, differing: Sequence[Differing], numbers: Sequence[int], known: Known) -> list[InFlight] | None:
        """Return the calls of rows that are all new, or have all changed; None where each needs a look of its own."""
        if not differing or self.is_baseline or len(set(numbers)) < len(numbers):
            return None
        what = self.number, self._state.run, self.gone_keys.ids_of if self.gone_keys.makes_calls else None
        number_known = sum(number in known for number in numbers)
        if not number_known and "added" in self._kinds:
            return all_new(differing, *what, is_recovering=self._state.is_recovering)
        if number_known < len(numbers) or not self.makes_updates:
            return None
        if (changed := all_changed(differing, known, *what)) is not None:
            self.known += len(changed)
        return changed

    def _one_by_one(
        self,
        differing: Sequence[Differing],
        due: DueCalls,
        refuse: Refuse,
        known: Known,
        before: Mapping[int, int],
        sampled: Container[int],
    ) -> DueCalls:
        """Do what _decide() does, with a look at each row: one may have a key of another, or be unchanged after all."""
        run, watched = self._state.run, self._watched.numbers
        ids_of = self.gone_keys.ids_of if self.gone_keys.makes_calls else None
        fresh = dict(before)
        chosen, silent = [], []
        for one in differing:
            number, _, message, content, said, row, _ = one
            meaning = content ^ said
            _, was, sent, last_run, in_doubt, meant = known.get(number, NOT_KNOWN)
            is_known = was not in (None, GONE)
            is_fresh = number in fresh
            if is_fresh:
                is_unchanged = said == fresh[number]
            else:
                is_unchanged = not in_doubt and is_same(was, meant, content, said)
                self.known += is_known
            if number in watched and not self._watched.goes_on(
                DifferingRow(*one), due, refuse, is_unchanged=is_unchanged
            ):
                continue
            if is_unchanged:
                due.unchanged += 1
                if is_fresh or (was, meant) == (content, meaning):
                    continue
            elif is_fresh or (last_run == run and not in_doubt):
                refuse_again(DifferingRow(*one), refuse)
                continue
            fresh[number] = said
            if number in sampled:
                self._sample.see(number, self._fingerprints.said(message))
            ids = None if ids_of is None else ids_of(row)
            if is_unchanged:  # it says the same in other words, or an older version has saved it
                silent.append((self.number, number, content, sent, last_run, 0, ids, meaning))
                continue
            kind = "added" if not is_known or in_doubt == AS_NEW else "updated"
            sent += in_doubt != 0 and was != content  # the id that is in in_doubt belongs to another content
            if kind not in self._kinds or self.is_baseline:
                due.unchanged += 1
                silent.append((self.number, number, content, sent, run, 0, ids, meaning))
                continue
            is_marked = is_known or in_doubt or self._state.is_recovering
            doubt = IN_DOUBT[kind] if is_marked else UNMARKED
            chosen.append(one)
            due.in_flight.append((self.number, number, content, sent, run, doubt, ids, meaning))
        self._keep(silent, {key: said for key, said in fresh.items() if key not in before})
        return self._send(chosen, due)

    def _keep(self, silent: Sequence[EntryFields], fresh: dict[int, int]) -> None:
        """Save what asks for no call, and remember what is to be sent, until that is saved."""
        self._state.save(silent)
        for _, key, *_ in silent:
            del fresh[key]
        self.fresh.add(fresh)

    def _send(self, chosen: Sequence[Differing], due: DueCalls) -> DueCalls:
        """Give the calls of rows their ids; each call that is accepted of a key has another one."""
        _, due.keys, contents, _, _, _, due.rows = zip(*chosen, strict=True) if chosen else [()] * 7
        row_keys = [b"%b#%d" % (key, one[3]) for key, one in zip(due.keys, due.in_flight, strict=True)]
        due.events = named(contents, row_keys, self._ids, has_own_ids=self._has_own_ids)
        self.updated_keys.extend(one[1] for one in due.in_flight if one[5] == AS_KNOWN)
        return due

    def _look_up(self, rows: Sequence[Differing], known: Known | None) -> Known:
        """Return what is known of rows' keys, also of those that were of another type."""
        if not rows:
            return {}
        if known is None:
            known = self._state.known(self.number, [one[0] for one in rows])
        if self._rekeying.knows_any and (moved := self._rekeying.find(rows, known, self.fresh)):
            return {**known, **moved}
        return known

    def keep_sample(self) -> None:
        """Save what tells the next run which field changes."""
        if (kept := self._sample.kept()) is not None:
            self._state.keep_sample(self.number, kept)

    def suspicion(self, known: int) -> str:
        """Return what it means that nearly all that is known is updated.

        :param known: the number of rows whose key is known.
        """
        most = self._sample.most()
        field = f"the field that differs most is {most}: " if most else ""
        return (
            f"of {known:,} known rows are updated, and billed; {field}a value that is new in each run, such as "
            "now() or an array without an order, makes every row due: leave it out, or give it an order"
        )

    def _differing(self, page: CallsOfPage, known: Known | None) -> list[Differing]:
        """Return the rows that differ from what Segment last accepted, and all with the key of such a one.

        Most rows of most runs get no further than here, so only what that takes is looked up, unless all is known.
        """
        rows, contents, keys, numbers, values = page
        found: Sequence[int] = self._fingerprints.of(keys, contents)
        if known is None:
            accepted = self._state.accepted(self.number, numbers)
        else:
            accepted = {one[0]: one[1] for one in known.values() if not one[4] and one[5] is not None}
        fresh = self.fresh.among(numbers)
        pairs = zip(numbers, found, strict=True)
        differing = {number for number, content in pairs if accepted.get(number) != content or number in fresh}
        if self._watched.numbers:
            differing |= self._watched.numbers.intersection(numbers)
        if not differing:
            return []
        places = [place for place, number in enumerate(numbers) if number in differing]
        rows, contents, keys, numbers, values, found = (at(places, column) for column in (*page, found))
        by_value = self._fingerprints.by_value(keys, contents, found)
        return list(zip(numbers, keys, contents, found, by_value, values, rows, strict=True))
