"""The keys that are gone: which they are, whether so many may be, and the calls that are made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice

from airflow_provider_segment.core.changes.changing_call import ChangingCall
from airflow_provider_segment.core.changes.dry_state import DryState
from airflow_provider_segment.core.changes.entries import Base
from airflow_provider_segment.core.changes.gone_keys import PAGE
from airflow_provider_segment.core.changes.in_flight import DueCalls
from airflow_provider_segment.core.changes.prefilter.new_pages import SOUGHT
from airflow_provider_segment.core.changes.prefilter.rules import Prefilter
from airflow_provider_segment.core.changes.seen_keys import SeenKeys
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.errors import DeletionError
from airflow_provider_segment.core.options import Options, most
from airflow_provider_segment.core.rows.keys import key_bytes, numbers_of
from airflow_provider_segment.core.rows.unreadable import Unreadable
from airflow_provider_segment.core.stages import Stage


class Deletions:
    """The keys of a run that are gone.

    :param options: of the sync.
    :param prefilter: passes over rows, whose keys are not gone.
    :param stage: what of the run is done here.
    :param is_looked_for: whether a call is on "deleted".
    :ivar unreadable: rows whose key nobody can read: it may be one that seems gone.
    :ivar is_unread: whether rows were laid out and are not read, since their number was enough to know.
    :ivar is_held: whether nothing was sent yet.
    """

    def __init__(self, options: Options, prefilter: Prefilter, stage: Stage, *, is_looked_for: bool) -> None:
        self._most = options.most_deleted
        self._has_shares = float in (type(options.max_added), type(options.max_updated))
        self._prefilter = prefilter
        self._is_begun_elsewhere = stage is Stage.FINALIZE
        self._seen = SeenKeys() if is_looked_for and stage is not Stage.SEND else None
        self._calls: Mapping[str, ChangingCall] = {}
        self._bases: Mapping[int, Sequence[Base]] = {}
        self._forgetting: Sequence[ChangingCall] = ()
        self.unreadable = 0
        self.is_unread = self.is_held = False

    def begin(self, calls: Mapping[str, ChangingCall], state: State | DryState) -> None:
        """Count the keys that are known, before this run adds any: new ones would make room for more to be deleted.

        :param calls: of the sync, by their identities.
        :param state: of the sync.
        """
        self._calls = calls
        is_counted = self._seen is not None or self._has_shares
        self._bases = {call.number: state.bases(call.number) for call in calls.values() if is_counted}
        if self._seen is not None:
            state.keep_bases({number: bases[-1].known for number, bases in self._bases.items()})

    @property
    def known(self) -> dict[str, int]:
        """How many keys of each call were known when the run began; 0 where nobody asks for it."""
        return {name: self._bases[call.number][-1].known if self._bases else 0 for name, call in self._calls.items()}

    @property
    def most_gone(self) -> int:
        """How many calls are made of keys that are gone, at most."""
        deleting = sum(call.gone_keys.makes_calls for call in self._calls.values())
        known = max(self.known.values(), default=0)
        return deleting * (known if self._prefilter.gone is None else self._prefilter.gone)

    def note(self, numbers: Sequence[int]) -> None:
        """Remember the numbers of keys that are not gone.

        :param numbers: of the keys of rows, or of those that live on under another.
        """
        if self._seen is not None:
            self._seen.add(numbers)

    def undeletable(self) -> list[str]:
        """Return the calls on "deleted" that cannot be made: a key that nobody can read may be one that seems gone."""
        return [call.identity for call in self._calls.values() if call.gone_keys.makes_calls] if self.unreadable else []

    def calls(self, refuse: Callable[..., None]) -> Iterator[tuple[str, DueCalls]]:
        """Yield the calls for keys that are gone, after the query was read to its end.

        :param refuse: is told of a call that cannot be made.
        :raises DeletionError: if more than the share that may be deleted is gone; then nothing is yielded.
        """
        if self._seen is None or not self._may_have_gone() or self.unreadable:
            return
        deleting = [call for call in self._calls.values() if call.gone_keys.makes_calls and not call.is_baseline]
        others = [call for call in self._calls.values() if call not in deleting]
        is_told = self._prefilter.missing() is not None
        if not is_told:
            for numbers in self._prefilter.passed_over():
                self.note(numbers)
        for call in (*deleting, *others):
            gone = call.gone_keys.find(self._seen, self._may_be_gone(self._seen) if is_told else None)
            nothing = "sent" if self.is_held else "deleted"
            check_gone(call.identity, gone, self._bases[call.number], self._most, nothing)
        self._forgetting = others
        if not self.is_held:
            self.forget()
        for call in deleting:
            for entries in call.gone_keys.entries(self._seen):
                yield call.identity, call.gone_keys.calls(entries, partial(refuse, identity=call.identity))

    def forget(self) -> None:
        """Let calls that are not made on "deleted" forget the keys that are gone; done before it is told to Segment.

        Otherwise a key that comes back after a crash would be unchanged for them, and gone at Segment.
        """
        seen = self._seen or SeenKeys()
        for call in self._forgetting:
            for entries in call.gone_keys.entries(seen):
                call.gone_keys.forget(entries)

    def left(self) -> list[int]:
        """Return the keys that are gone, and of which Segment does not know it."""
        if self._seen is None:
            return []
        return sorted({key for call in self._calls.values() for key in call.gone_keys.left(self._seen)})

    def _may_have_gone(self) -> bool:
        """Tell whether keys may have gone; first the keys of rows that other tasks read are seen: these are there."""
        if not (self._is_begun_elsewhere or self.is_unread):
            return True
        if not any(self.known.values()) or self._prefilter.gone == 0:
            return False  # no key was known before the run, or the warehouse has missed none
        for page in self._prefilter.laid_out_keys():
            keys = key_bytes(list(zip(*page, strict=True)))
            self.note(numbers_of([key for key in keys if key is not None]))
            self.unreadable += sum(Unreadable in map(type, row) for row in page)
        return True

    def _may_be_gone(self, seen: SeenKeys) -> Iterator[Sequence[int]]:
        """Yield the keys of rows that did not come again, and of which no other row was passed over, some at a time."""
        for keys in _in_chunks(self._prefilter.missing() or (), SOUGHT):
            gone = seen.missing(keys)
            if gone:
                for numbers in self._prefilter.passed_over():
                    gone.difference_update(numbers)
            yield from _in_chunks([sorted(gone)], PAGE)


def _in_chunks(pages: Iterable[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Yield numbers, so many at a time."""
    numbers = chain.from_iterable(pages)
    while chunk := list(islice(numbers, size)):
        yield chunk


def check_gone(
    identity: str, gone: Counter[int], bases: Sequence[Base], allowed: float, nothing: str = "deleted"
) -> None:
    """Refuse to delete more of the keys that were known before than is allowed.

    Before means: when this run began, and when each one began since which none has ended whole. Otherwise a run that
    saved new keys and was killed would make room for the next one to delete all old ones.

    :param identity: of the call.
    :param gone: the number of its keys that are gone, by the run that wrote them last.
    :param bases: how many keys were known, and when; the last is this run's.
    :param allowed: a count; or a share, where it is a float.
    :param nothing: what was done of it: "deleted", or where all is held "sent".
    :raises DeletionError: if more are gone.
    """
    *earlier, now = bases
    if own := gone[now.run]:
        raise DeletionError(
            f"{identity}: {own:,} keys that this very run has sent seem to be gone, which cannot be. Nothing was "
            f"{nothing}; please report this with the log"
        )
    for base in (now, *earlier):
        # Those of its keys that are gone now, and at least as many as runs in between have deleted.
        lost = sum(n for run, n in gone.items() if run < base.run) + max(0, base.known - now.known)
        if lost > most(allowed, base.known):
            before = "" if base is now else f" of before run {base.run}, since which no run has ended whole,"
            share = "" if isinstance(allowed, int) else "a share of "
            raise DeletionError(
                f"{identity}: {lost:,} of {base.known:,} known keys{before} are gone from the result; max_deleted "
                f"allows {share}{allowed:n}. Nothing was {nothing}; mend the query or raise it"
            )
