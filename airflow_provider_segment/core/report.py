"""What happened, as values: the counts of a run and the calls that were refused."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

# How a call ends.
ENDS = ("unchanged", "invalid", "accepted", "rejected", "not_sent")
# The counts of tries that may be added up.
ADD_UP = ("accepted", "added", "updated", "deleted", "batches", "requests", "retries", "bytes", "seconds")


@dataclass(frozen=True, slots=True)
class Rejection:
    """One call that was refused, before sending or by Segment; it holds no value of the row.

    :param row: the row's number in the query's result, from 1.
    :param call: the call's identity within its sync.
    :param stage: "mapping" when the row could not become a message, "delivery" when Segment refused it.
    :param field: where in the message, such as "traits.age"; empty where it is the message as a whole.
    :param code: the rule, in Segment's words where Segment has them.
    :param reason: what was found and what was expected.
    :param status: the HTTP status, where Segment refused it.
    """

    row: int
    call: str
    stage: str
    field: str
    code: str
    reason: str
    status: int | None = None

    def __str__(self) -> str:
        where = f"{self.call}.{self.field}" if self.field else self.call
        return f"row {self.row}, {where}: {self.code}: {self.reason}"


def utc_text(time: dt.datetime | None = None) -> str:
    """Return a time as text, ISO 8601 in UTC.

    :param time: an aware time; default now.
    """
    return (time or dt.datetime.now(dt.UTC)).astimezone(dt.UTC).isoformat(timespec="milliseconds")


@dataclass(slots=True)
class Report:
    """The counts of a run; always ``calls == unchanged + invalid + accepted + rejected + not_sent``.

    :param rows: rows of the query.
    :param skipped: those of them that were passed over, since the run before had settled these very rows: all that
        they ask for was accepted. Their calls are not counted; the other rows were looked at.
    :param calls: calls that the rows which were looked at asked for, and the keys that are gone.
    :param unchanged: calls that were not due, because Segment already accepted their content.
    :param invalid: calls that failed validation here and were not sent.
    :param accepted: calls that were valid here and acknowledged by Segment with 200 (which is no proof of delivery).
    :param rejected: calls that Segment refused.
    :param not_sent: calls that were valid, and were not acknowledged.
    :param added: accepted calls for rows that were new; with ``validate_only``, those that would be sent.
    :param updated: the same for rows that had changed.
    :param deleted: the same for rows that had gone.
    :param batches: batches acknowledged, in whole or in part.
    :param requests: HTTP requests made.
    :param retries: requests that repeated an earlier one.
    :param bytes: bytes of all request bodies.
    :param seconds: how long it took.
    :param started: when, as ISO 8601 text in UTC; of a later try when the DAG run did.
    :param ended: when; None while it runs, and where it ended before its first row.
    :param planned: by call, what was to be sent: ``{"identify": {"added": 12, "updated": 3, "deleted": 0}}``, or in
        ``sync_mode="all"`` ``{"identify": {"all": 30000}}``; whether it was sent and accepted or not.
    :param by_call: by call, how many there were and how they ended: ``{"identify": {"calls": 15, "accepted": 15, ...``.
    :param warnings: by call, the accepted or valid messages that Engage and Unify drop for their many names; and by
        call and code, as ``identify: id_has_blanks``, what else looks wrong and was sent all the same.
    :param warned: what the codes of the warnings mean.
    :param earlier: the counts of earlier tries of the same task in the same DAG run, as plain data.
    """

    rows: int = 0
    skipped: int = 0
    calls: int = 0
    unchanged: int = 0
    invalid: int = 0
    accepted: int = 0
    rejected: int = 0
    not_sent: int = 0
    added: int = 0
    updated: int = 0
    deleted: int = 0
    batches: int = 0
    requests: int = 0
    retries: int = 0
    bytes: int = 0
    seconds: float = 0.0
    started: str = field(default_factory=utc_text)
    ended: str | None = None
    planned: dict[str, dict[str, int]] = field(default_factory=dict)
    by_call: dict[str, dict[str, int]] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    warned: dict[str, str] = field(default_factory=dict, repr=False)
    reasons: Counter[tuple[str, str, str]] = field(default_factory=Counter, repr=False)
    examples: dict[tuple[str, str, str], Rejection] = field(default_factory=dict, repr=False)
    clock: float = field(default_factory=time.monotonic, repr=False)
    earlier: list[Mapping[str, Any]] = field(default_factory=list, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as plain data, for XCom; with warnings and ``all_tries`` where there are any."""
        hidden = {"reasons", "examples", "clock", "warned", "earlier"} | (set() if self.warnings else {"warnings"})
        counts = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in hidden}
        return counts | {"by_call": self._by_call()} | ({"all_tries": self.all_tries} if self.earlier else {})

    @property
    def all_tries(self) -> dict[str, Any]:
        """What all tries did together: the counts that add up, since a refused call is refused again by each try."""
        sums = {name: sum(one.get(name, 0) for one in self.earlier) + getattr(self, name) for name in ADD_UP}
        tries = 1 + sum(one.get("tries", 1) for one in self.earlier)
        return {"tries": tries} | sums | {"seconds": round(sums["seconds"], 3)}

    def so_far(self) -> dict[str, Any]:
        """Return the counts of a run that goes on: what has no end yet counts as not sent."""
        seconds = self.seconds or round(time.monotonic() - self.clock, 3)
        return self.as_dict() | {"not_sent": self._unsent, "seconds": seconds}

    def close(self) -> None:
        """Count what had no other end as not sent."""
        self.not_sent, self.seconds = self._unsent, round(time.monotonic() - self.clock, 3)
        self.ended = utc_text()

    @property
    def _unsent(self) -> int:
        return self.calls - self.unchanged - self.invalid - self.accepted - self.rejected

    def _by_call(self) -> dict[str, dict[str, int]]:
        """Return the counts by call; what has no end yet counts as not sent."""
        return {
            call: counts | {"not_sent": counts["calls"] - sum(counts[end] for end in ENDS[:-1])}
            for call, counts in self.by_call.items()
        }

    def ask(self, call: str, number: int = 1) -> None:
        """Count calls that are asked for.

        :param call: the call's identity within its sync.
        :param number: of them.
        """
        self.calls += number
        self._of(call)["calls"] += number

    def end(self, call: str, end: str, number: int = 1) -> None:
        """Count calls that have ended.

        :param call: the call's identity within its sync.
        :param end: one of ENDS but "not_sent", which is what is left.
        :param number: of them.
        """
        setattr(self, end, getattr(self, end) + number)
        self._of(call)[end] += number

    def _of(self, call: str) -> dict[str, int]:
        known = self.by_call.get(call)
        if known is None:
            known = self.by_call[call] = dict.fromkeys(("calls", *ENDS[:-1]), 0)
        return known

    def warn(self, call: str, code: str, reason: str, number: int = 1) -> None:
        """Count what looks wrong and is sent all the same; the log tells it at the end of the run.

        :param call: the call's identity within its sync.
        :param code: of the rule.
        :param reason: what was found, never a value of a row, and what to do.
        :param number: of messages.
        """
        name = f"{call}: {code}"
        self.warnings[name] = self.warnings.get(name, 0) + number
        self.warned.setdefault(name, reason)

    def refuse(self, rejection: Rejection) -> None:
        """Count a refused call and the reason for it."""
        self.end(rejection.call, "invalid" if rejection.stage == "mapping" else "rejected")
        kind = (rejection.call, rejection.field, rejection.code)
        self.reasons[kind] += 1
        self.examples.setdefault(kind, rejection)

    def commonest(self, most: int = 3) -> str:
        """Return the commonest reasons with the first row of each, a line each."""
        return "".join(f"\n  {n} x {self.examples[kind]}" for kind, n in self.reasons.most_common(most))

    def plan(self) -> str:
        """Return what is to be sent, by call and kind, as a small table with a line a call, for the log."""
        kinds = list(next(iter(self.planned.values()), {}))
        lines = [(call, *(of_call[kind] for kind in kinds)) for call, of_call in self.planned.items()]
        sums = [sum(of_call[kind] for of_call in self.planned.values()) for kind in kinds]
        table = [["call", *kinds], *([str(call), *(f"{n:,}" for n in numbers)] for call, *numbers in lines)]
        table += [["all calls", *(f"{n:,}" for n in sums)]] if len(lines) > 1 else []
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "".join(
            f"\n  {name:<{widths[0]}}"
            + "".join(f"  {text:>{width}}" for text, width in zip(texts, widths[1:], strict=True))
            for name, *texts in table
        )

    def summary(self) -> str:
        """Return the one line that a log wants."""
        skipped = f" ({self.skipped:,} skipped)" if self.skipped else ""
        rate = round(self.calls / self.seconds) if self.seconds else 0
        return (
            f"{self.rows:,} rows{skipped}, {self.calls:,} calls: {self.accepted:,} accepted, "
            f"{self.unchanged:,} unchanged, {self.invalid:,} invalid, {self.rejected:,} rejected, "
            f"{self.not_sent:,} not sent; {self.requests:,} requests ({self.retries:,} retries), {self.bytes:,} bytes, "
            f"{self.seconds:.1f} s, {rate:,} calls a second"
        )
