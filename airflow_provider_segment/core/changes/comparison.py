"""``sync_mode="changes"``: which calls are due, by what Segment last accepted for the same call and key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from airflow_provider_segment.calls import Call
from airflow_provider_segment.core.changes.calls_of_page import CallsOfPage
from airflow_provider_segment.core.changes.changing_call import ChangingCall
from airflow_provider_segment.core.changes.deletions import Deletions
from airflow_provider_segment.core.changes.dry_state import DryState
from airflow_provider_segment.core.changes.first_run import check_first_run
from airflow_provider_segment.core.changes.gone_keys import Refuse
from airflow_provider_segment.core.changes.in_flight import DueCalls, InFlight, kinds_of
from airflow_provider_segment.core.changes.mapping_changes import differences
from airflow_provider_segment.core.changes.posted import Posted
from airflow_provider_segment.core.changes.prefilter.rules import Prefilter
from airflow_provider_segment.core.changes.shared_state import SharedState
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.delivery.held_batches import HeldBatches
from airflow_provider_segment.core.errors import Refused, SettingError
from airflow_provider_segment.core.mapping.compiler import CompiledCall
from airflow_provider_segment.core.mapping.message_ids import Namespace
from airflow_provider_segment.core.mapping.readers import Row
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.report import Rejection, Report
from airflow_provider_segment.core.rows.columns import Columns
from airflow_provider_segment.core.rows.keys import numbers_of
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.core.rows.unreadable import Unreadable
from airflow_provider_segment.core.stages import Stage

# A later run that updates so much of what it knows, and no less, is worth a word.
NEARLY_ALL, LEAST_KNOWN = 0.9, 100
_AGAIN = (
    "keys were sent, since a row of theirs changed, and another row with the same key says something else; a key is "
    "one row, and the next run refuses one of the two"
)


class Changes:
    """The calls of a sync that sends only what changed.

    :param calls: that are turned on, each with what makes its messages.
    :param columns: what the query returned.
    :param options: of the sync.
    :param state: of the sync; its generation goes into the message ids, so that a new state repeats none.
    :param rows: of the query; their source may tell which of them have not changed.
    :param stage: what of the run is done here.
    :ivar deletions: the keys that are gone.
    :ivar posted: writes what was posted into the state.
    """

    def __init__(
        self,
        calls: Sequence[tuple[Call, CompiledCall]],
        columns: Columns,
        options: Options,
        state: State | DryState,
        rows: Pages,
        stage: Stage = Stage.WHOLE,
    ) -> None:
        namespace = Namespace("changes", state.first_id, state.generation)
        self._state = state
        self.prefilter = Prefilter([call for call, _ in calls], columns, options, state, rows)
        self._stage = stage
        self._is_begun_elsewhere = stage in (Stage.SEND, Stage.FINALIZE)
        deletes = any("deleted" in call.kinds for call, _ in calls)
        self.deletions = Deletions(options, self.prefilter, stage, is_looked_for=deletes)
        known = (columns, options, state, namespace, self.deletions.note, self.prefilter.watched)
        self._calls = {call.identity: ChangingCall(call, made, *known) for call, made in calls}
        if self._is_begun_elsewhere:
            self._check_plan()
        else:
            check_first_run(state, options.first_run, [name for name, call in self._calls.items() if call.is_first])
        self.deletions.begin(self._calls, state)
        self.posted = Posted(state, self._calls.values())
        self._key = [columns.index(name, "key") for name in options.key_columns]
        if not self._is_begun_elsewhere:
            self._say_what_changed()

    def _check_plan(self) -> None:
        """Refuse a mapping that is not the one of the run's plan: the filter would be left for another one."""
        if (
            isinstance(self._state, SharedState)
            and (self._state.plan or {})["fingerprint"] != self.prefilter.fingerprint
        ):
            raise SettingError(
                "The mapping, the columns or the version of this package changed since the run was planned, or a "
                "template in calls says something else in each task. Let the run go with SegmentHook.release, and "
                "clear the whole task group: its plan is made anew then"
            )

    def _say_what_changed(self) -> None:
        """Say before anything is sent what of the mapping is not as it was, since each call is billed."""
        if (before := self.prefilter.mapping_before) is None:
            return
        found = differences(
            before,
            self.prefilter.mapping,
            lambda name: self._state.bases(self._calls[name].number)[-1].known,
            lambda name: self._calls[name].makes_updates,
        )
        for said in found:
            self._state.log.warning("The mapping changed: %s", said)

    def hold(self) -> HeldBatches:
        """Return where what is due is held, since no call is sent before all rows were read."""
        self.deletions.is_held = True
        for call in self._calls.values():
            call.fresh.hold()
        return HeldBatches()

    def leave_as_it_was(self) -> None:
        """Leave all for the next run as it was found, since nothing was sent."""
        if not self._state.is_recovering:
            self._state.seen([])
            self.prefilter.keep()

    def read(self, keys: Sequence[bytes | None], page: Sequence[Row]) -> Sequence[int]:
        """Return the numbers of the keys of a page, 0 where there is none, and remember them.

        :param keys: of the rows; None where there is none.
        :param page: the rows.
        """
        known = [key for key in keys if key is not None]
        numbers = numbers_of(known)
        self.deletions.note(numbers)
        if len(known) < len(keys):
            values = ([row[place] for place in self._key] for key, row in zip(keys, page, strict=True) if key is None)
            self.deletions.unreadable += sum(Unreadable in map(type, key) for key in values)
            found = iter(numbers)
            numbers = [0 if key is None else next(found) for key in keys]
        self.prefilter.remember(numbers, page)
        return numbers

    def due(self, identity: str, page: CallsOfPage, refuse: Refuse) -> DueCalls:
        """Return the calls of a page that are to be sent.

        :param identity: of the call.
        :param page: the calls that its rows ask for.
        :param refuse: is told of a key that came before with other content.
        """
        return self._calls[identity].due(page, self._contesting(refuse))

    def rest(self, refuse: Callable[..., None]) -> Iterator[tuple[str, DueCalls]]:
        """Yield the calls of rows that were held back, after the query was read to its end.

        :param refuse: as for due(), with the identity of the call.
        """
        for call in self._calls.values():
            yield call.identity, call.rest(self._contesting(partial(refuse, identity=call.identity)))

    def refused(self, rejection: Rejection, key: bytes | None, number: int | None) -> None:
        """Remember that a call was refused: its row is looked at again, and the reason is kept.

        :param rejection: the call and the reason.
        :param key: of its row; None where it has none.
        :param number: of the key, where it is known.
        """
        self.prefilter.unsettle(rejection.row)
        if key is not None and isinstance(self._state, State) and rejection.call in self._calls:
            known = numbers_of([key])[0] if number is None else number
            self._state.refusals.add(self._calls[rejection.call].number, known, rejection)

    def _contesting(self, refuse: Refuse) -> Refuse:
        """Return what refuses a row, and remembers that its key has another one."""

        def told(row: int, key: bytes, refused: Refused) -> None:
            self.prefilter.contest(numbers_of([key])[0])
            refuse(row, key, refused)

        return told

    def kinds_of(self, in_flight: Sequence[InFlight]) -> dict[str, int]:
        """Count calls by the kind of the change."""
        return kinds_of(in_flight)

    def key_of(self, one: InFlight) -> int:
        """Return the number of the key of a call."""
        return one[1]

    def finish(self, unmade: Sequence[str], report: Report) -> None:
        """Remember that the calls were seen by a run that went to its end, and what it leaves for the next one.

        :param unmade: the calls that no row made.
        :param report: is told of keys that have more than one row.
        """
        if self._stage is Stage.SEND:
            self._finish_part(unmade)
            return
        if isinstance(self._state, DryState):
            self._state.plan_for(self.prefilter.fingerprint)
            return
        calls = self._calls.values()
        if isinstance(self._state, SharedState):  # before the run counts as one that went to its end
            unmade = self._gather(unmade)
        for call in calls:
            call.keep_sample()
        self._state.seen([call.number for call in calls])
        self._state.refusals.forget_earlier()
        if self.deletions.unreadable:  # nobody knows which keys are gone
            return
        for call in calls:
            if number := self.prefilter.again(call.updated_keys):
                report.warn(call.identity, "key_again_skipped", _AGAIN, number)
        self.prefilter.write(unmade, self.deletions.left())

    def _finish_part(self, unmade: Sequence[str]) -> None:
        """Leave for the end of the run what this part of it has found."""
        if isinstance(self._state, SharedState):
            self._state.keep_part(*self.prefilter.found(), unmade)
            if self._state.is_first_part:
                for call in self._calls.values():
                    call.keep_sample()

    def _gather(self, unmade: Sequence[str]) -> Sequence[str]:
        """Take what the parts of the run have found, and return the calls that no row of any part made."""
        for unsettled, contested, unmade_there in self._state.parts() if isinstance(self._state, SharedState) else ():
            for row in unsettled:
                self.prefilter.unsettle(row)
            for key in contested:
                self.prefilter.contest(key)
            unmade = [identity for identity in unmade if identity in unmade_there]
        return unmade

    def is_unmade(self, identity: str) -> bool:
        """Tell whether a call that no row made which was looked at is made by no row at all.

        :param identity: of the call.
        """
        return not self.prefilter.all_skipped or identity in self.prefilter.unmade

    def suspicions(self) -> Iterator[tuple[str, int, str]]:
        """Yield the calls that update nearly all that they know, with the number so far and what to do about it."""
        passed_over = self.prefilter.all_skipped
        for call in self._calls.values():
            known, updated = call.known + passed_over, len(call.updated_keys)
            if known >= LEAST_KNOWN and updated >= NEARLY_ALL * known:
                yield call.identity, updated, call.suspicion(known)

    def warn(self, report: Report) -> None:
        """Say what looked wrong, now that all rows were read.

        :param report: is told.
        """
        for identity, number, reason in self.suspicions():
            report.warn(identity, "nearly_all_updated", reason, number)
        if self._is_begun_elsewhere:
            return
        looked_at = report.rows - report.skipped
        if reason := self.prefilter.suspicion(report.rows, looked_at, report.calls, report.unchanged):
            report.warn("rows", "nothing_skipped", reason, looked_at)
