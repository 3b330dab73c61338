"""The state of a sync in a run that several tasks do: they share its lease, and leave each other what they found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.lease import LAST_PATIENCE
from airflow_provider_segment.core.changes.prefilter.store import numbers_in, packed
from airflow_provider_segment.core.changes.shared_run import SharedRun
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.errors import SettingError, StateError
from airflow_provider_segment.core.report import ADD_UP, Report

# In the place of a part: the task that ends the run.
THE_END = -1


class SharedState(State):
    """The state as one task of such a run has it.

    :param shared: the task's place in the run.
    :param of_state: the others as for State.
    :ivar plan: of the run, as it was kept; None until it is made.
    :ivar fingerprint: of the mapping that is planned.
    :raises SettingError: if the run has ended, or another one has begun.
    """

    def __init__(
        self, engine: sa.engine.Engine, sync_id: str, write_key: str, holder: Holder, shared: SharedRun, **of_state: Any
    ) -> None:
        self._shared = shared
        self.plan: dict[str, Any] | None = None
        self.fingerprint = ""
        super().__init__(engine, sync_id, write_key, holder, shared=shared, **of_state)
        self._stays_held = shared.part is not None
        if self._lease.plan is not None:
            self.plan = json.loads(self._lease.plan)
            has_begun = self._has_begun()
            self.is_recovering = has_begun or self.plan["is_recovering"]

    def _hold(self, write_key: str | None) -> None:
        """Take the lease for a new run, or share that of the one which is going on."""
        if self._shared.run is None:
            self._lease.take(write_key, goes_on=True)
        else:
            self._lease.join(write_key or "", self._shared.run)

    def _has_begun(self) -> bool:
        """Note that this part begins, and return whether it had before: then it left calls of unknown fate."""
        part, number = self._tables.part, self._shared.part
        if number is None:
            return False

        def begin(connection: sa.engine.Connection) -> bool:
            if connection.execute(sa.select(part.c.part).where(*self._of_run, part.c.part == number)).first():
                return True
            connection.execute(sa.insert(part).values(sync_no=self._lease.number, run=self.run, part=number))
            return False

        # One try: when it was done and nobody heard of it, this part has begun before, which costs little.
        return self._lease.writing("beginning a part of the run", begin)

    def keep_plan(self, plan: Mapping[str, Any]) -> None:
        """Keep the plan for the other tasks, and the lease with it.

        :param plan: plain data.
        """
        self.plan = {**plan, "is_recovering": self.is_recovering, "fingerprint": self.fingerprint}
        self._lease.keep_plan(json.dumps(self.plan))
        self.stay_held()

    def stay_held(self) -> None:
        """Let the lease stand for the other tasks, when this one is done."""
        self._stays_held = True

    def end_plan(self) -> None:
        """Forget the plan and what the parts have left, at the end of the run."""
        part = self._tables.part
        self._lease.keep_plan(None)
        self._lease.writing(
            "ending a run", lambda c: c.execute(sa.delete(part).where(part.c.sync_no == self._lease.number))
        )

    def earlier_tries(self) -> list[dict[str, Any]]:
        """Return the counts of earlier tries of this task in the run."""
        mine = str(self._details.holder.try_number)
        return [counts for number, counts in self._tries().items() if number != mine]

    def write_down(self, report: Report) -> None:
        """Write down the counts of this task from now on.

        :param report: of the task.
        """
        tries, mine = self._tries(), str(self._details.holder.try_number)

        def note(connection: sa.engine.Connection) -> None:
            counts = report.so_far()
            tries[mine] = {name: counts[name] for name in ADD_UP}
            connection.execute(sa.update(self._tables.part).where(*self._of_part).values(tries=json.dumps(tries)))

        self._lease.note = note

    def write_down_whole(self, report: Report) -> None:
        """Write down the counts of the whole run at its end.

        :param report: of all its tasks.
        """
        super().write_down(report)

    def _tries(self) -> dict[str, Any]:
        """Return the counts of the tries of this task, by their numbers; its row is made where it is not there."""
        part = self._tables.part

        def read(connection: sa.engine.Connection) -> dict[str, Any]:
            row = connection.execute(sa.select(part.c.tries).where(*self._of_part)).one_or_none()
            if row is None:
                values = {"sync_no": self._lease.number, "run": self.run, "part": self._part}
                connection.execute(sa.insert(part).values(**values))
            found: dict[str, Any] = json.loads((row and row.tries) or "{}")
            return found

        return self._lease.writing("reading what earlier tries did", read)

    @property
    def _part(self) -> int:
        return THE_END if self._shared.part is None else self._shared.part

    @property
    def _of_part(self) -> tuple[Any, ...]:
        return (*self._of_run, self._tables.part.c.part == self._part)

    def keep_part(self, unsettled: Iterable[int], contested: Iterable[int], unmade: Sequence[str]) -> None:
        """Leave what this part has found for the end of the run.

        :param unsettled: the numbers of the rows that are to be looked at again.
        :param contested: the numbers of keys of which rows have different contents.
        :param unmade: the calls that no row made.
        """
        part = self._tables.part
        mine = sa.update(part).where(*self._of_run, part.c.part == self._shared.part)
        found: dict[str, Any] = {"unsettled": packed(sorted(unsettled)), "contested": packed(sorted(contested))}
        found |= {"unmade": json.dumps([*unmade])}
        self._lease.writing("ending a part of the run", lambda c: c.execute(mine.values(**found)))

    def parts(self) -> Iterator[tuple[Sequence[int], Sequence[int], Sequence[str]]]:
        """Yield what the parts of the run have left, as it was given to keep_part().

        :raises SettingError: if one has left nothing: then its rows must not be taken for settled.
        """
        part = self._tables.part
        query = sa.select(part.c.part, part.c.unsettled, part.c.contested, part.c.unmade)
        query = query.where(*self._of_run, part.c.part != THE_END)
        found = self._connection.run("reading the parts of the run", lambda c: list(c.execute(query)))
        ended = {row.part for row in found if row.unmade is not None}
        if missing := [first for first, _, _ in (self.plan or {})["shards"] if first not in ended]:
            raise SettingError(
                f"sync_id {self.sync_id!r}: the parts of run {self.run} that begin at bucket "
                f"{', '.join(map(str, missing))} have left nothing in the state, so they were not sent for it. Clear "
                "the whole task group: its plan is made anew then"
            )
        for _, unsettled, contested, unmade in found:
            yield numbers_in(bytes(unsettled)), numbers_in(bytes(contested)), json.loads(unmade)

    @property
    def is_first_part(self) -> bool:
        """Whether this part is the one that does what one of them must do."""
        return self.plan is not None and self.plan["shards"][0][0] == self._shared.part

    @property
    def _of_run(self) -> tuple[Any, ...]:
        part = self._tables.part.c
        return (part.sync_no == self._lease.number, part.run == self.run)

    def close(self, outcome: str = "success", error: str | None = None) -> None:
        """Close the connection; the lease stands for the other tasks, unless the run is at its end.

        :param outcome: as for State.
        :param error: as for State.
        """
        if self._stays_held:
            with suppress(StateError):
                self.refusals.write(patience=LAST_PATIENCE)
                if self._lease.note is not None:
                    self._lease.writing("writing down the part", self._lease.note, patience=LAST_PATIENCE)
            self._lease.leave()
            self._connection.close()
        else:
            super().close(outcome, error)
