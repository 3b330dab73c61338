"""``sync_mode="changes"``: which calls are due, by what Segment last accepted for the same call and key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from airflow_provider_segment.calls import Call
from airflow_provider_segment.core.changes.changing_call import ChangingCall
from airflow_provider_segment.core.changes.deletions import check_share
from airflow_provider_segment.core.changes.dry_state import DryState
from airflow_provider_segment.core.changes.first_run import check_first_run
from airflow_provider_segment.core.changes.gone_keys import Refuse
from airflow_provider_segment.core.changes.in_flight import DueCalls, InFlight
from airflow_provider_segment.core.changes.seen_keys import SeenKeys
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.mapping.compiler import CompiledCall
from airflow_provider_segment.core.mapping.message_ids import Namespace
from airflow_provider_segment.core.mapping.readers import Row
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import Columns
from airflow_provider_segment.core.rows.keys import numbers_of
from airflow_provider_segment.core.rows.unreadable import Unreadable

# A later run that updates so much of what it knows, and no less, is worth a word.
NEARLY_ALL, LEAST_KNOWN = 0.9, 100


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
        return [call.identity for call in self._calls.values() if call.gone_keys.makes_calls] if self.unreadable else []

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
        self._state.save([one.in_doubt for one in in_flight if one.in_doubt is not None])

    def accepted(self, in_flight: Sequence[InFlight]) -> None:
        """Save what Segment has accepted."""
        self._state.save([one.entry for one in in_flight])

    def ended(self, in_flight: Sequence[InFlight]) -> None:
        """Forget that calls were on their way."""
        for one in in_flight:
            for call in self._calls.values():
                if call.number == one.entry.call:
                    call.ended(one)

    def deletions(self, refuse: Callable[..., None]) -> Iterator[tuple[str, DueCalls]]:
        """Yield the calls for keys that are gone, after the query was read to its end.

        :param refuse: is told of a call that cannot be made.
        :raises DeletionError: if more than the share that may be deleted is gone; then nothing is yielded.
        """
        if self._seen is None or self.unreadable:
            return
        deleting = [call for call in self._calls.values() if call.gone_keys.makes_calls and not call.is_baseline]
        others = [call for call in self._calls.values() if call not in deleting]
        for call in (*deleting, *others):
            check_share(call.identity, call.gone_keys.find(self._seen), self._bases[call.number], self._max_deleted)
        for call in deleting:
            for entries in call.gone_keys.entries(self._seen):
                yield call.identity, call.gone_keys.calls(entries, partial(refuse, identity=call.identity))
        for call in others:
            for entries in call.gone_keys.entries(self._seen):
                call.gone_keys.forget(entries)

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
