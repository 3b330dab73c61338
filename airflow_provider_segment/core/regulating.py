"""The route of a user id, from a query's row to an accepted regulation: all are checked before the first call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_segment.core.accounting import check_refused, with_report
from airflow_provider_segment.core.delivery.rejects import Rejects, line_of
from airflow_provider_segment.core.errors import CapError, NotSentError, Refused, SegmentError, SettingError
from airflow_provider_segment.core.mapping.ids import Ids, to_id
from airflow_provider_segment.core.public_api.regulations import MAX_USERS, create
from airflow_provider_segment.core.regulation_options import RegulationOptions
from airflow_provider_segment.core.report import Rejection, Report
from airflow_provider_segment.core.rows.columns import Columns
from airflow_provider_segment.core.rows.pages import Pages

if TYPE_CHECKING:
    from airflow_provider_segment.core.delivery.answers import Response
    from airflow_provider_segment.core.public_api.client import PublicApi

_FIELD = "userId"
_MISSING = "found no id: leave such rows out in the query, or mend them"
_AGAIN = "found the id of a row before: SELECT DISTINCT keeps one of them"


@dataclass(slots=True)
class RegulationReport(Report):
    """The counts of a run that regulates: each row asks for one user, and a batch is a regulation.

    :param regulations: the ids of the regulations that Segment took, those of earlier tries of the run among them.
    """

    regulations: list[str] = field(default_factory=list)


class Regulated(Protocol):
    """What is remembered of a sync's regulations: in a database, or for the tries of a run in Airflow's store.

    :ivar regulations: the ids of those that earlier tries of this very run had accepted.
    """

    regulations: list[str]

    def known(self) -> set[int]:
        """Return the numbers of the users that are part of an accepted regulation."""
        ...

    def accepted(self, regulate_id: str, users: Sequence[int]) -> None:
        """Remember a regulation that Segment took just now, with the numbers of its users."""
        ...

    def keep(self, users: set[int]) -> None:
        """Forget all users but these: who leaves the query's result, and comes again, is due again."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


@dataclass(frozen=True)
class RegulationJob:
    """What a run is to do.

    :param options: whom the regulations are for.
    :param source_id: of the source that they are for; None for the whole workspace.
    :param regulated: who is part of an accepted one.
    :param rejects: where refused rows are written.
    :param is_stopped: tells whether somebody has ended the run.
    :param waits: what a call to Segment is made in: it raises when somebody ends the run meanwhile.
    :param on_planned: is called with the report when all is checked, before the first call.
    """

    options: RegulationOptions
    source_id: str | None
    regulated: Regulated
    rejects: Rejects
    is_stopped: Callable[[], bool] = lambda: False
    waits: Callable[[], AbstractContextManager[None]] = nullcontext
    on_planned: Callable[[RegulationReport], None] = lambda _: None


def regulate(rows: Pages, job: RegulationJob, api: PublicApi, report: RegulationReport) -> None:
    """Make regulations of the user ids of a query, and count what became of each row.

    :param rows: one user a row.
    :param job: what to do.
    :param api: takes the regulations.
    :param report: is filled; it is right whatever is raised.
    :raises ColumnError: if the query does not return the column.
    :raises RejectedError: if more rows were refused than is allowed; nothing was sent.
    :raises CapError: if more users are due than is allowed; nothing was sent.
    :raises NotSentError: if the Public API does not take all of them for now.
    :raises SegmentError: if the run cannot go on.
    """
    report.regulations = [*job.regulated.regulations]
    try:
        try:
            users = _Users(job, report)
            users.read(rows)
            _check(users, job, report)
            if not job.options.validate_only:
                _send(users, job, api, report)
        finally:
            report.close()
    except SegmentError as error:
        raise (with_report(error, report) if error.report is None else error) from None


class _Users:
    """The users of a query's rows: those that are due, in the order of the rows.

    :param job: tells who is part of an accepted regulation.
    :param report: counts the rows.
    """

    def __init__(self, job: RegulationJob, report: RegulationReport) -> None:
        self._job, self._report = job, report
        self._known = job.regulated.known()
        self._ids = Ids(_FIELD)
        self.seen: set[int] = set()
        self.due: list[str] = []
        self.due_count = 0

    def read(self, rows: Pages) -> None:
        """Read all rows.

        :param rows: one user a row.
        """
        place = _place(rows.columns, self._job.options.user_id)
        for page in rows.pages:
            found = [user for row in page if (user := self._read(row[place])) is not None]
            self._ids.read(found)
            self._ids.note()
        for code, reason, number in self._ids.warnings():
            self._report.warn(self._job.options.regulation_type, code, reason, number)

    def _read(self, value: Any) -> str | None:
        """Return the user of a row, unless the row is refused."""
        report = self._report
        report.rows += 1
        report.ask(self._job.options.regulation_type)
        try:
            user = to_id(value, _FIELD)
            if user is None:
                raise Refused("id_required", _MISSING, _FIELD)
            if (number := number_of(user)) in self.seen:
                raise Refused("id_again", _AGAIN, _FIELD)
        except Refused as refused:
            self._refuse(refused, value)
            return None
        self.seen.add(number)
        if number in self._known:
            report.end(self._job.options.regulation_type, "unchanged")
        else:
            self.due_count += 1
            if self.due_count <= self._job.options.max_users:  # otherwise none is sent, and they are only counted
                self.due.append(user)
        return user

    def _refuse(self, refused: Refused, value: Any) -> None:
        call, column = self._job.options.regulation_type, self._job.options.user_id
        rejection = Rejection(self._report.rows, call, "mapping", refused.field, refused.code, refused.text(column))
        self._report.refuse(rejection)
        self._job.rejects.write(line_of(rejection, None, {_FIELD: value}))


def _check(users: _Users, job: RegulationJob, report: RegulationReport) -> None:
    """Say why nothing may be sent, when all rows are read.

    :raises RejectedError: if too many rows were refused.
    :raises CapError: if too many users are due.
    """
    options = job.options
    report.close()  # an error tells the counts as they are then
    report.planned = {options.regulation_type: {"all": users.due_count}}
    job.on_planned(report)
    if options.validate_only:
        return
    check_refused(report, options.max_rejected, "Nothing was sent: ")
    if users.due_count > options.max_users:
        raise CapError(
            f"max_users: {users.due_count:,} users are due for {options.regulation_type}, and {options.max_users:,} "
            "are allowed. Nothing was sent. What is deleted cannot be brought back: look at the query, or raise "
            "max_users for this run"
        )


def _send(users: _Users, job: RegulationJob, api: PublicApi, report: RegulationReport) -> None:
    """Make the regulations, one after the other; each is remembered before the next.

    :raises SegmentError: the first reason not to go on.
    """

    def count(answer: Response) -> None:
        report.requests += 1
        report.bytes += answer.sent

    counted = replace(api, on_answer=count)
    for start in range(0, len(users.due), MAX_USERS):
        if job.is_stopped():
            raise NotSentError("the run was stopped")
        some, before = users.due[start : start + MAX_USERS], report.requests
        try:
            with job.waits():  # a call that is given up may have been taken: a retry makes it again
                regulate_id = create(counted, job.options.regulation_type, some, job.source_id)
        finally:
            report.retries += max(0, report.requests - before - 1)
        report.end(job.options.regulation_type, "accepted", len(some))
        report.batches += 1
        report.regulations.append(regulate_id)
        job.regulated.accepted(regulate_id, [number_of(user) for user in some])
    job.regulated.keep(users.seen)


def number_of(user: str) -> int:
    """Return what is remembered of a user: 64 bits of a hash of the id.

    :param user: the id.
    """
    return int.from_bytes(blake2b(user.encode(), digest_size=8, person=b"regulated").digest(), signed=True)


def _place(columns: Sequence[str] | None, user_id: str | None) -> int:
    """Return the place of the column with the ids.

    :raises SettingError: if none is named, and the query returns several.
    """
    if columns is None:
        return 0  # there are no rows
    if user_id is not None:
        return Columns(columns).index(user_id, "user_id")
    if len(columns) != 1:
        raise SettingError(f"user_id: name the column with the ids; the query returns {', '.join(columns[:60])}")
    return 0
