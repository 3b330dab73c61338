"""What an answer means, and how long to wait for another, is decided from values alone."""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_segment.core.delivery.retries import RetryPolicy, Success, Verdict, asked_wait, judge

NOW = dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC)

# The statuses of the official SDKs' table; all others of 100 to 499 mean that this is not Segment.
RETRIED = {408, 410, 429, 460, *range(500, 600)} - {501, 505, 511}
SPLIT = {400, 413}
CREDENTIALS = {401, 403}


def expected(status: int) -> Verdict:
    if status == 200:
        return Verdict.ACCEPTED
    if status in RETRIED:
        return Verdict.RETRY
    if status in SPLIT:
        return Verdict.SPLIT
    return Verdict.CREDENTIALS if status in CREDENTIALS else Verdict.MISPLACED


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_a_meaning(status: int) -> None:
    """Passing trouble is tried again, a refused body halved, a refused key or a strange answer ends the run."""
    assert judge(status) is expected(status)


def test_no_answer_is_worth_another_try() -> None:
    """Trouble on the network may pass."""
    assert judge(None) is Verdict.RETRY


def test_strange_200_is_no_acknowledgement() -> None:
    """A 200 with another body than Segment's, as from a captive proxy, acknowledges nothing and may pass."""
    assert judge(200, documented=False) is Verdict.RETRY


@pytest.mark.parametrize("status", [*range(100, 600), None])
@pytest.mark.parametrize("documented", [True, False])
@pytest.mark.parametrize("success", [Success.COMPATIBLE, Success.ANY_2XX])
def test_another_host_changes_the_meaning_of_2xx_alone(status: int | None, documented: bool, success: Success) -> None:
    """A 2xx of a host that is not Segment's acknowledges as Segment's does, or where any may; else it is unclear."""
    found = judge(status, documented=documented, success=success)
    if status is None or not 200 <= status < 300:
        assert found is judge(status)
    elif success is Success.ANY_2XX or (status == 200 and documented):
        assert found is Verdict.ACCEPTED
    else:
        assert found is Verdict.UNCLEAR


@pytest.mark.parametrize("status", [*range(100, 600), None])
def test_tokens_change_the_meaning_of_511_alone(status: int | None) -> None:
    """With OAuth a 511 asks for a new token; all else means what it means without."""
    assert judge(status, oauth=True) is (Verdict.CREDENTIALS if status == 511 else judge(status))


# Waiting


@given(
    attempt=st.integers(1, 10_000),
    first=st.floats(0.001, 10),
    longest=st.floats(0.001, 100),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_backoff_doubles_up_to_its_cap_with_full_jitter(
    attempt: int, first: float, longest: float, jitter: float
) -> None:
    """A back-off lies anywhere from 0 to an upper end that doubles with each try up to a cap."""
    policy = RetryPolicy(deadline=1e9, first_wait=first, longest_wait=longest, jitter=lambda: jitter)
    assert policy.wait(attempt, 0) == pytest.approx(min(longest, first * 2 ** min(attempt - 1, 30)) * jitter)


def test_default_backoffs() -> None:
    """By default the upper ends are 0.5, 1, 2 ... seconds, and 60 from the eighth try on."""
    policy = RetryPolicy(jitter=lambda: 1.0)
    assert [policy.wait(n, 0) for n in range(1, 10)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_default_jitter_spreads() -> None:
    """Many senders that fail together do not come back together."""
    waits = {RetryPolicy().wait(1, 0) for _ in range(100)}
    assert len(waits) > 90
    assert all(wait is not None and 0 <= wait < 0.5 for wait in waits)


@pytest.mark.parametrize(
    ("elapsed", "asked", "wait"),
    [
        (0.0, 5.0, 5.0),
        (0.0, 0.0, 0.5),
        (4.9, 5.0, 5.0),
        (5.0, 5.0, None),
        (9.4, 0.0, 0.5),
        (10.0, 0.0, None),
        (0.0, 300.0, None),
        (9.4, None, 0.5),
        (9.6, None, None),
    ],
)
def test_deadline_ends_the_waiting(elapsed: float, asked: float | None, wait: float | None) -> None:
    """A wait that would pass the deadline is not begun, whoever asked for it."""
    assert RetryPolicy(deadline=10.0, jitter=lambda: 1.0).wait(1, elapsed, asked) == wait


IN_A_MINUTE = format_datetime(NOW + dt.timedelta(minutes=1), usegmt=True)
ASKED: list[tuple[dict[str, str], float | None]] = [
    ({}, None),
    ({"content-type": "60"}, None),
    ({"retry-after": "60"}, 60),
    ({"retry-after": " 60 "}, 60),
    ({"retry-after": "0"}, 0),
    ({"retry-after": "301"}, 300),
    ({"retry-after": "9" * 400}, 300),
    ({"retry-after": IN_A_MINUTE}, 60),
    ({"retry-after": "Sat, 31 Jan 2026 10:31:00 +0100"}, 60),
    ({"retry-after": "Sat, 31 Jan 2026 09:31:00 -0000"}, 60),
    ({"retry-after": "Sat, 31 Jan 2026 09:29:00 GMT"}, 0),
    ({"retry-after": "Sat, 31 Jan 2099 09:29:00 GMT"}, 300),
    ({"x-ratelimit-reset": "30"}, 30),
    ({"x-ratelimit-reset": "1769851800"}, 300),
    ({"x-ratelimit-reset": "30", "retry-after": "60"}, 60),
    ({"x-ratelimit-reset": "30", "retry-after": "soon"}, 30),
    ({"x-ratelimit-reset": "30", "retry-after": ""}, 30),
    ({"retry-after": "soon"}, None),
    ({"retry-after": "-5"}, None),
    ({"retry-after": "²"}, None),
    ({"retry-after": "Sat, 31 Jan 2026 99:31:00 GMT"}, None),
    ({"retry-after": "Sat, 31 Jan 99999999999999 09:31:00 GMT"}, None),
    ({"retry-after": "Sat, 31 Jan 2026 09:31:00 +9999999999"}, None),
]


@pytest.mark.parametrize(("headers", "seconds"), ASKED)
def test_server_may_ask_for_a_wait(headers: dict[str, str], seconds: float | None) -> None:
    """Retry-After in seconds or as a date is kept, else X-RateLimit-Reset; both up to 300 s, garbage not at all."""
    assert asked_wait(headers, NOW) == seconds


NUMBER = r"[0-9]{1,14}"
DATES = st.from_regex(
    rf"\A[MTF][a-z]{{2}}, {NUMBER} (Jan|Foo) {NUMBER} {NUMBER}:{NUMBER}:{NUMBER} ([+-]{NUMBER}|GMT)?\Z"
)


@settings(report_multiple_bugs=False)
@given(st.text(max_size=30) | DATES)
def test_no_header_breaks_the_run(text: str) -> None:
    """Whatever a proxy writes into a header, it is a wait within bounds or nothing."""
    seconds = asked_wait({"retry-after": text}, NOW)
    assert seconds is None or 0 <= seconds <= 300
