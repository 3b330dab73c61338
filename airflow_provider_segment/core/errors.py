"""What can go wrong, named by what the reader should do.

SegmentError
├── SettingError       mend a setting: an argument of the operator, or a field of the connection
│   └── ColumnError    mend the query or the mapping: a column is missing, doubled or unclear
├── CredentialsError   mend the write key
├── EndpointError      mend the connection's host: what answers there is not Segment's Tracking API
├── StateError         look at the state's database: it failed
│   └── LeaseError     let one run end before another of the same sync begins
├── CapError           mend the query or the mapping, or raise the cap: more calls are due than it allows
├── HoldError          make room in the temporary folder, where calls wait until the caps are known to hold
├── DeletionError      mend the query, or raise `max_deleted`: too many keys are gone
├── SourceError        look at the source database: it failed
│   └── QueryError     mend the query: the database does not take it
├── TooFewRowsError    wait for the load, mend the query, or lower `min_rows`: there are fewer rows
├── UnfinishedError    clear the tasks of a group that failed: parts of its run are not sent
├── RejectsError       make room for the file of rejects
├── NotArrivedError    look at the table: Segment acknowledged calls, and did not receive them all
├── RejectedError      mend the rows: more of them were refused than `max_rejected` allows
├── RegulationError    look at the destinations that are named: a regulation did not finish in them
├── ReverseEtlError    look at the sync in Segment: it failed, or did not deliver all that it should
└── NotSentError       try again: calls were not sent for a reason that may pass

Refused never leaves the core: it is one bad value on its way to become a Rejection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from airflow_provider_segment.core.report import Report

ERROR_CHARACTERS = 2_000


class SegmentError(Exception):
    """Something that the reader can do something about.

    :ivar retry_helps: whether the same task may succeed when it is tried again.
    :ivar report: what had happened when the run ended; None when nothing had begun.
    """

    retry_helps: ClassVar[bool] = False

    report: Report | None = None


class SettingError(SegmentError, ValueError):
    """A setting is missing or wrong."""


class ColumnError(SettingError):
    """The mapping and the query do not fit together."""


class CredentialsError(SegmentError):
    """Segment refuses the write key."""


class EndpointError(SegmentError):
    """What answers at the connection's host does not behave as Segment's Tracking API."""


class SourceError(SegmentError):
    """The source database failed; its own words are left out where they may quote a row."""

    retry_helps = True


class QueryError(SourceError):
    """The source database does not take the query: its names, its syntax or its parameters are wrong."""

    retry_helps = False


class StateError(SegmentError):
    """The state's database failed; its own words are left out, because they may quote a row."""

    retry_helps = True


class LeaseError(StateError):
    """Another run of the same sync holds its state."""


class CapError(SegmentError):
    """More calls are due than a cap allows; nothing was sent."""


class HoldError(SegmentError):
    """Calls could not be held on disk until the caps were known to hold; nothing was sent."""

    retry_helps = True


class DeletionError(SegmentError):
    """More of the known keys are gone from the query's result than `max_deleted` allows; nothing was deleted."""


class TooFewRowsError(SegmentError):
    """The source has fewer rows than `min_rows`; nothing was sent, and a load that is late may come yet."""

    retry_helps = True


class UnfinishedError(SegmentError):
    """Some tasks of a run have not sent their part; what the others sent stands."""


class RejectsError(SegmentError):
    """The file of rejects cannot be written any more; a reject that nobody can read would be lost."""

    retry_helps = True


class RejectedError(SegmentError):
    """More calls were refused than `max_rejected` allows; all the good ones were sent."""


class NotArrivedError(SegmentError):
    """Segment acknowledged calls, and its Delivery Overview does not show that it received them all."""


class RegulationError(SegmentError):
    """A regulation ended at Segment, and not everything was done that it asks for."""


class ReverseEtlError(SegmentError):
    """A sync of Segment's own Reverse ETL failed, or delivered less than it should."""

    retry_helps = True


class NotSentError(SegmentError):
    """Calls were not sent for a reason that may pass.

    :ivar wait: seconds that the Public API asked to wait before another try; None where it did not.
    """

    retry_helps = True

    wait: float | None = None


class Refused(Exception):
    """One value, and so its call, cannot be sent.

    :param code: the rule, in Segment's words where Segment has them.
    :param reason: what was found (type and length, never the value) and what was expected; {column} in it stands for
        the column's name.
    :param field: where in the message, such as "traits.age".
    """

    def __init__(self, code: str, reason: str, field: str = "") -> None:
        super().__init__(code, reason, field)
        self.code = code
        self.reason = reason
        self.field = field

    def text(self, column: str | None = None) -> str:
        """Return the reason for the reader.

        :param column: where the value comes from, as far as one column can be named.
        """
        reason = self.reason.replace("{column}", column or "the column")
        return f"column {column}: {reason}" if column else reason


def end_of(error: BaseException | None) -> tuple[str, str | None]:
    """Return how a run ended, and why in our own words; those of others may hold anything.

    :param error: that ended it.
    """
    if error is None:
        return "success", None
    said = str(error)[:ERROR_CHARACTERS] if isinstance(error, SegmentError) else type(error).__name__
    return "failed" if isinstance(error, Exception) else "killed", said
