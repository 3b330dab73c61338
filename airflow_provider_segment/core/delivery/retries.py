"""Is an answer worth another try, and how long to wait before it: decided from values alone."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum

# The longest wait that a server may ask for; the official SDKs cap it at the same.
MAX_ASKED_WAIT = 300.0
# 4xx that pass, and 5xx that do not: the table of the official SDKs (analytics-python 2.4, analytics-node 3.1).
_PASSING_4XX = frozenset({408, 410, 429, 460})
_LASTING_5XX = frozenset({501, 505, 511})


class Verdict(Enum):
    """What an answer means for the events of the request."""

    ACCEPTED = "accepted"
    RETRY = "may pass: try again"
    SPLIT = "the body is refused: find the bad event"
    CREDENTIALS = "the write key is refused"
    MISPLACED = "not the Tracking API"
    UNCLEAR = "2xx in other words than Segment's: nobody but the reader knows whether the events were taken"


class Success(Enum):
    """What an endpoint answers when it has taken a batch."""

    SEGMENT = "200 with the documented body; a 200 with another may pass, as a proxy's does"
    COMPATIBLE = "the same, as far as is known: no answer in other words has come before"
    ANY_2XX = "any 2xx"


def judge(
    status: int | None, *, documented: bool = True, oauth: bool = False, success: Success = Success.SEGMENT
) -> Verdict:
    """Return what an answer means.

    :param status: the HTTP status; None when there was no answer.
    :param documented: whether the body of a 200 is the one that Segment documents.
    :param oauth: whether tokens are used: 511 then asks for a new one.
    :param success: what the endpoint answers when it has taken a batch.
    """
    if status is not None and status // 100 == 2 and success is not Success.SEGMENT:
        is_taken = success is Success.ANY_2XX or (status == 200 and documented)
        return Verdict.ACCEPTED if is_taken else Verdict.UNCLEAR
    if status is None or status in _PASSING_4XX or (status >= 500 and status not in _LASTING_5XX):
        return Verdict.RETRY
    if status == 200:
        return Verdict.ACCEPTED if documented else Verdict.RETRY
    if status in (400, 413):
        return Verdict.SPLIT
    if status in (401, 403) or (status == 511 and oauth):
        return Verdict.CREDENTIALS
    return Verdict.MISPLACED


@dataclass(frozen=True)
class RetryPolicy:
    """How long to go on with one batch.

    :param deadline: seconds for a batch with all its tries; default 600.
    :param first_wait: seconds, the upper end of the first back-off; default 0.5, doubled by each try.
    :param longest_wait: seconds, the upper end of any back-off; default 60.
    :param jitter: returns a number in [0, 1); full jitter spreads the tries of many senders.
    """

    deadline: float = 600.0
    first_wait: float = 0.5
    longest_wait: float = 60.0
    jitter: Callable[[], float] = random.random

    def wait(self, attempt: int, elapsed: float, asked: float | None = None) -> float | None:
        """Return the seconds to wait before the next try, or None when the deadline would be passed.

        :param attempt: tries made so far, from 1.
        :param elapsed: seconds since the first.
        :param asked: seconds that the server asked for; 0 asks for nothing, and would make a tight loop.
        """
        if not asked:
            asked = min(self.longest_wait, self.first_wait * 2.0 ** min(attempt - 1, 30)) * self.jitter()
        return asked if elapsed + asked < self.deadline else None


def asked_wait(headers: Mapping[str, str], now: dt.datetime) -> float | None:
    """Return the seconds that the server asks to wait, capped at 300, or None when it asks for nothing.

    :param headers: of the answer, with lower-case names: Retry-After in seconds or as a date, else X-RateLimit-Reset.
    :param now: an aware time.
    """
    for name in ("retry-after", "x-ratelimit-reset"):
        if (text := headers.get(name, "").strip()) and (seconds := _seconds(text, now)) is not None:
            return min(max(seconds, 0.0), MAX_ASKED_WAIT)
    return None


def _seconds(text: str, now: dt.datetime) -> float | None:
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (until.replace(tzinfo=until.tzinfo or dt.UTC) - now).total_seconds()
