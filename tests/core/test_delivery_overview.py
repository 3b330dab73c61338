"""What is asked of Delivery Overview, and when what it says is enough: decided from values alone."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from answering import Answer, Asked, answering

from airflow_provider_segment.core.delivery.retries import RetryPolicy
from airflow_provider_segment.core.errors import EndpointError, SettingError
from airflow_provider_segment.core.public_api.client import PublicApi
from airflow_provider_segment.core.public_api.delivery_overview import Arrived, Event, Window, ask
from airflow_provider_segment.core.public_api.settling import Sent, Settling, Verdict, sent_of

NOW = dt.datetime(2026, 1, 31, 9, 30, 15, tzinfo=dt.UTC)
API = PublicApi("http://127.0.0.1:9", "token", policy=RetryPolicy(deadline=0))
TRACK, IDENTIFY = Event("track", "Bought"), Event("identify", "")


def ago(**times: float) -> dt.datetime:
    """Return a time before now."""
    return NOW - dt.timedelta(**times)


# When a run started and ended, what is asked then: granularity, start and end.
WINDOWS = {
    "a moment ago": (ago(seconds=5), ago(seconds=1), "MINUTE", "2026-01-31T09:30", "2026-01-31T09:30:15"),
    "an hour ago": (ago(minutes=70), ago(minutes=60), "MINUTE", "2026-01-31T08:20", "2026-01-31T08:32"),
    "almost four hours": (ago(hours=5), ago(hours=1, minutes=5), "MINUTE", "2026-01-31T04:30", "2026-01-31T08:27"),
    "four hours": (ago(hours=5), ago(hours=1), "HOUR", "2026-01-31T04:00", "2026-01-31T09:00"),
    "three days ago": (ago(days=3), ago(days=3, minutes=-5), "HOUR", "2026-01-28T09:00", "2026-01-28T10:00"),
    "15 days": (ago(days=16), ago(days=1), "DAY", "2026-01-15T00:00", "2026-01-31T00:00"),
    "almost 30 days ago": (ago(days=30), ago(days=29.9), "DAY", "2026-01-01T09:31:15", "2026-01-02T00:00"),
}


@pytest.mark.parametrize(("started", "ended", "granularity", "start", "end"), WINDOWS.values(), ids=WINDOWS)
def test_a_window_is_asked_in_the_finest_steps_that_segment_allows(
    started: dt.datetime, ended: dt.datetime, granularity: str, start: str, end: str
) -> None:
    """Up to four hours of the last two days go by the minute, then hours, then days: whole ones, none to come."""
    asked = Window(started, ended).query(NOW)
    times = [dt.datetime.fromisoformat(asked[name]) for name in ("startTime", "endTime")]
    assert asked["granularity"] == granularity
    assert times == [dt.datetime.fromisoformat(f"{text}+00:00") for text in (start, end)]
    assert times[0] < times[1] <= NOW


def test_a_run_of_more_than_30_days_ago_is_refused() -> None:
    """Segment keeps no counts of it: that is said, and nothing is asked."""
    with pytest.raises(SettingError, match="started 31 days ago, and Delivery Overview tells of the last 30 days"):
        Window(ago(days=31), ago(days=31)).query(NOW)


def overview(**totals: list[dict[str, Any]]) -> Any:
    """Return a function that answers for the three counts."""

    def answer(request: Asked) -> Answer:
        kind = urlsplit(request.path).path.rsplit("/", 1)[1]
        dataset = totals.get(kind.replace("-", "_"), [])
        return 200, {"data": {"total": 0, "dataset": dataset, "pagination": {"current": "x"}}}

    return answer


@pytest.mark.parametrize("number", [int, str, float], ids=["numbers", "text", "decimals"])
def test_the_three_counts_are_asked_by_event_and_reason(number: Any) -> None:
    """Numbers come as numbers or as text; what has no name, type or reason is counted all the same."""
    event = {"eventType": "track", "eventName": "Bought", "series": []}
    answers = overview(
        successfully_received=[event | {"total": number(7)}, {"eventType": "identify", "total": number(3)}],
        failed_on_ingest=[event | {"total": number(2), "discardReason": "id_not_string"}],
        filtered_at_source=[{"total": number(1)}, event | {"total": number(0), "discardReason": "unplanned"}],
    )
    with answering(answers) as (url, asked):
        client = PublicApi(url, "token", policy=RetryPolicy(deadline=0))
        arrived = ask(client, "source/1", Window(ago(minutes=9), ago(minutes=8)), NOW)
    assert arrived.received == {TRACK: 7, IDENTIFY: 3}
    assert arrived.failed == {(TRACK, "id_not_string"): 2}
    assert arrived.filtered == {(Event("", ""), "no reason told"): 1}
    assert arrived.as_dict() == {
        "received": 10,
        "failed": 2,
        "failed_by_reason": {"id_not_string": 2},
        "filtered": 1,
        "filtered_by_reason": {"no reason told": 1},
    }
    queries = [parse_qs(urlsplit(request.path).query) for request in asked]
    assert [query["sourceId"] for query in queries] == [["source/1"]] * 3
    groups = [[query.get(f"groupBy.{n}", [""])[0] for n in range(3)] for query in queries]
    assert groups == [["eventName", "eventType", ""]] + [["eventName", "eventType", "discardReason"]] * 2


@pytest.mark.parametrize("data", [{}, {"dataset": None}, {"dataset": ["x"]}, {"dataset": [{"total": "many"}]}])
def test_an_answer_without_counts_is_an_error(data: Any) -> None:
    """A shape that is not documented is told, not taken for zero."""
    with answering(lambda _: (200, {"data": data})) as (url, _), pytest.raises(EndpointError):
        ask(PublicApi(url, "token"), "s", Window(ago(minutes=9), ago(minutes=8)), NOW)


def arrived(received: int = 0, filtered: int = 0) -> Arrived:
    """Return what Segment may have counted."""
    return Arrived(Counter({TRACK: received}), Counter(), Counter({(TRACK, "unplanned"): filtered} if filtered else {}))


WAIT, ARRIVED, MISSING = Verdict
# Looks, each with its second, what was received, and what that means: of 100, and numbers that settle in 60 s.
LOOKS = {
    "all at once": [(0, 100, WAIT), (10, 100, ARRIVED)],
    "bit by bit": [
        (0, 0, WAIT),
        (50, 40, WAIT),
        (100, 40, WAIT),
        (109, 99, WAIT),
        (120, 100, WAIT),
        (130, 100, ARRIVED),
    ],
    "more, of others": [(0, 90, WAIT), (10, 130, WAIT), (20, 150, ARRIVED)],
    "too few": [(0, 99, WAIT), (30, 99, WAIT), (59, 99, WAIT), (60, 99, MISSING)],
    "nothing": [(0, 0, WAIT), (61, 0, MISSING)],
    "fewer than before": [(0, 100, WAIT), (10, 99, WAIT), (20, 100, WAIT), (30, 100, ARRIVED)],
}


@pytest.mark.parametrize("looks", LOOKS.values(), ids=LOOKS)
def test_the_numbers_are_waited_for_until_they_stand_still(looks: list[tuple[float, int, Verdict]]) -> None:
    """Enough that two looks find is enough, though it moves; too little is it when it has not for the time given."""
    settling = Settling(API, "s", Sent(100, Window(NOW, NOW), 0.0), 60.0)
    assert [settling.judge(arrived(received), at) for at, received, _ in looks] == [verdict for *_, verdict in looks]


@pytest.mark.parametrize(
    ("tolerance", "received", "verdict"),
    [
        (0, 99, MISSING),
        (0.01, 99, ARRIVED),
        (0.01, 98, MISSING),
        (0.1, 90, ARRIVED),
        (0.999, 1, ARRIVED),
        (0.7, 30, ARRIVED),
    ],
)
def test_a_tolerance_is_a_share_of_what_was_accepted(tolerance: float, received: int, verdict: Verdict) -> None:
    """What may be missing is a share of the accepted calls."""
    settling = Settling(API, "s", Sent(100, Window(NOW, NOW), tolerance), 0.0)
    assert [settling.judge(arrived(received), 0), settling.judge(arrived(received), 1)] == [WAIT, verdict]


def test_what_is_missing_is_told_with_the_table_and_what_cannot_be_known() -> None:
    """The error has each number, the events by what became of them, and the limits of what they say."""
    found = Arrived(Counter({TRACK: 90_000, IDENTIFY: 3}), Counter({(TRACK, "id_not_string"): 2}), Counter())
    found.filtered[TRACK, "unplanned"] = 1_200
    said = str(Sent(100_000, Window(ago(minutes=5), NOW), 0.05).missing(found))
    assert said == (
        "Segment received fewer events than it accepted (tolerance 0.05): 100,000 accepted, 90,003 received, 2 failed "
        "at ingest, 1,200 filtered at source, from 2026-01-31 09:25:15 to 2026-01-31 09:30:15 UTC:\n"
        "  events  type      name    what Segment did    discard reason\n"
        "   1,200  track     Bought  filtered at source  unplanned\n"
        "       2  track     Bought  failed at ingest    id_not_string\n"
        "  90,000  track     Bought  received\n"
        "       3  identify          received\n"
        "What cannot be known: the numbers are of all senders of the source; Segment may still count late minutes, and "
        "removes repeats; it does not say whether what was filtered is among what was received"
    )


def test_a_long_table_is_cut() -> None:
    """A source of many events shows the largest numbers, and how many lines there are more."""
    found = Arrived(Counter({Event("track", f"E{n:02}"): n + 1 for n in range(50)}))
    lines = found.table().splitlines()
    assert (len(lines), lines[2].split()[0], lines[-1].strip()) == (1 + 1 + 20 + 1, "50", "... and 30 lines more")


def test_others_of_the_source_are_told() -> None:
    """More than was accepted is from other senders too."""
    said = Sent(100, Window(NOW, NOW), 0).said(arrived(130))
    assert "130 received (30 more than were accepted: other senders of the source, too)" in said


REPORT = {"accepted": 5, "started": "2026-01-31T09:00:00.000+00:00", "ended": "2026-01-31T09:10:00+00:00"}


def test_a_report_says_what_was_sent() -> None:
    """A report, or those of mapped tasks together, say how much and when."""
    later = {"accepted": 7, "started": "2026-01-31T08:00:00+00:00", "ended": "2026-01-31T09:05:00+00:00"}
    one, both = sent_of(REPORT, 0.0), sent_of([REPORT, later], 0.0)
    assert (one.accepted, both.accepted) == (5, 12)
    assert (both.window.started.hour, both.window.ended) == (8, one.window.ended)
    assert sent_of(one.as_report(), 0.0) == one
    unended = sent_of(REPORT | {"ended": None}, 0.0)
    assert dt.datetime.now(dt.UTC) - unended.window.ended < dt.timedelta(minutes=1)


@pytest.mark.parametrize(
    ("more", "accepted"),
    [
        ({"planned": {"identify": {"added": 5}}, "unchanged": 90}, 5),
        ({"planned": {"identify": {"added": 5}}, "unchanged": 90, "all_tries": {"tries": 2, "accepted": 36}}, 36),
        ({"planned": {"identify": {"all": 36}}, "unchanged": 31, "all_tries": {"tries": 2, "accepted": 36}}, 36),
        ({"planned": {"identify": {"all": 5}}, "unchanged": 0, "all_tries": {"tries": 2, "accepted": 10}}, 5),
    ],
    ids=["changes", "changes, two tries", "all, two tries", "all, cleared: the same ids again"],
)
def test_what_earlier_tries_sent_must_arrive_too(more: dict[str, Any], accepted: int) -> None:
    """The time that is asked for begins with the first try, so what it had accepted is not taken for the last one's."""
    by_call = {"identify": {"accepted": 5}}
    sent = sent_of(REPORT | more | {"by_call": by_call}, 0.0)
    assert sent.accepted == accepted
    assert sent_of(sent.as_report(), 0.0) == sent
    assert sent.by_call == ({"identify": 5} if accepted == 5 else {})


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (None, "found a NoneType"),
        ("{'accepted': 1}", "found a str"),
        ([], "found a list"),
        ([REPORT, None], "found a list"),
        ({}, "found none of its counts"),
        (REPORT | {"accepted": "5"}, "found none of its counts"),
        (REPORT | {"accepted": True}, "found none of its counts"),
        ({"accepted": 5}, "does not say when its run started"),
        (REPORT | {"started": "yesterday"}, "expected times as ISO 8601 text"),
        (REPORT | {"started": 5}, "expected times as ISO 8601 text"),
    ],
)
def test_what_is_no_report_is_refused(report: Any, text: str) -> None:
    """What is given instead of a sync's output is told by its type."""
    with pytest.raises(SettingError, match=text):
        sent_of(report, 0.0)
