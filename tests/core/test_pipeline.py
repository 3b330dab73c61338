"""Every row of a query ends as exactly one of accepted, refused or not sent, whatever happens on the way."""

from __future__ import annotations

import datetime as dt
import json
import math
import stat
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naming import shown
from sending import KEY, QUICK, adds_up, delivery_to, run, transport_to

from airflow_provider_segment.calls import AllColumns, Constant, Group, Identify, Json, Page, Track
from airflow_provider_segment.core.delivery.pace import Pace
from airflow_provider_segment.core.delivery.retries import RetryPolicy
from airflow_provider_segment.core.delivery.sender import Delivery
from airflow_provider_segment.core.errors import (
    ColumnError,
    CredentialsError,
    EndpointError,
    NotSentError,
    RejectedError,
    SegmentError,
    SettingError,
    SourceError,
)
from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.mapping.message_ids import Namespace, fingerprint
from airflow_provider_segment.core.pipeline import sync
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.rows.pages import Pages, pages_of
from airflow_provider_segment.testing import SegmentServer

ANY = Identify("id", traits=["x"])
# The last three are the only ones of their page whose types may hold a number that JSON does not know.
BAD_ROWS = [
    *((" ", 1), (None, 1), (True, 1), ("u", "x" * 33_000), ("u", "\ud800"), ("u", object())),
    *(("u", math.nan), ("u", {"a": math.nan}), ("u", [1, math.inf])),
]
# What no two runs have in common.
TIMES = ("seconds", "started", "ended")


def users(segment: SegmentServer) -> list[str]:
    return sorted(message["userId"] for message in segment.messages)


def ids(segment: SegmentServer) -> list[str]:
    return sorted(message["messageId"] for message in segment.messages)


def test_rows_become_messages(segment: SegmentServer) -> None:
    """Each row becomes the message of its call, with an id, and all are accepted."""
    report = run(segment, ["id", "x"], [[(1, "a"), (2, None)], [(3, Decimal("0.10"))]], ANY)
    assert [m | {"messageId": "", "context": {}} for m in segment.messages] == [
        {"type": "identify", "userId": user, "traits": {"x": x}, "messageId": "", "context": {}}
        for user, x in (("1", "a"), ("2", None), ("3", 0.1))
    ]
    assert len(set(ids(segment))) == 3
    assert (report.rows, report.calls, report.accepted, report.batches, report.requests) == (3, 3, 3, 1, 1)
    assert report.bytes == len(segment.requests[0].body)
    assert b'"x":0.10' in segment.requests[0].body
    assert adds_up(report)


@pytest.mark.parametrize("pages", [[], [[]], [[], []]])
def test_no_rows_are_no_requests(segment: SegmentServer, pages: list[Any]) -> None:
    """A query without rows sends nothing and reports zeros."""
    report = run(segment, ["id", "x"], pages, ANY)
    assert segment.requests == []
    assert not any(value for name, value in report.as_dict().items() if name not in (*TIMES, "planned"))
    assert report.planned == {"identify": {"all": 0}}


def test_no_dicts_are_no_requests(segment: SegmentServer) -> None:
    """An upstream task without rows is no error either, though nobody knows the columns then."""
    nothing = pages_of([])
    report = run(segment, nothing.columns, nothing.pages, ANY)
    assert (report.calls, segment.requests) == (0, [])


# All counts add up

GOOD = st.tuples(st.integers(1, 9) | st.sampled_from(["a", "b"]), st.none() | st.integers(0, 3) | st.just("x" * 9_000))
ROWS = st.lists(st.one_of(GOOD, GOOD, st.sampled_from(BAD_ROWS)), max_size=30)
PASSING = st.sampled_from([None, 500, 503, (429, {"Retry-After": "0"}), "reset", "reset_after", (200, {}, b"<html>")])
LASTING = st.sampled_from([400, 401, 404, 302])


@settings(max_examples=60, deadline=None)
@given(
    pages=st.lists(ROWS, max_size=3),
    faults=st.lists(PASSING, max_size=6),
    lasting=st.lists(LASTING, max_size=1),
    rate=st.sampled_from([0, 30_000]),
    limit=st.integers(1, 8),
)
def test_counts_always_add_up(
    pages: list[list[Any]], faults: list[Any], lasting: list[Any], rate: int, limit: int
) -> None:
    """Whatever rows come and whatever fails, each call has one end, and the accepted are those that Segment has."""
    pace = Pace(rate)
    pace.max_events = limit
    report = Report()
    failed: SegmentError | None = None
    with SegmentServer() as segment:
        segment.respond_with([*faults, *lasting])
        delivery = delivery_to(segment, pace=pace)
        try:
            run(segment, ["id", "x"], pages, ANY, delivery=delivery, report=report, max_rejected=1_000)
        except SegmentError as error:
            failed = error
    kept = {message["messageId"] for message in segment.messages}
    bad = sum(any(row is other for other in BAD_ROWS) for page in pages for row in page)
    assert adds_up(report)
    assert (report.requests, segment.dropped) == (len(segment.requests), [])
    assert report.bytes == sum(len(request.body) for request in segment.requests)
    assert report.invalid <= bad
    if failed is None:
        assert (report.rows, report.invalid) == (sum(map(len, pages)), bad)
        assert report.accepted + report.rejected == report.rows - bad
        # Segment may keep a batch whose answer is lost, and refuse it when it comes again.
        assert report.accepted <= len(kept) <= report.accepted + report.rejected
        assert report.not_sent == 0
    else:
        assert failed.report is report
        assert report.accepted <= len(kept) <= report.accepted + report.rejected + report.not_sent


# Rows of id, other id, moment, place, number: what drivers give, and now and then what no message can hold.
TIMESTAMPS = st.sampled_from([None, "", dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "2026-01-01T00:00:00Z", "yesterday", 5])
NUMBERS = st.sampled_from([None, 1, 2.5, Decimal("1.10"), math.nan, math.inf, "7", object(), [1, None], {"a": None}])
IDS = st.sampled_from([None, "", " ", "u", "v", 0, 1, 2**70, True, 1.5, 2.0, "\ud800", "x" * 600])
MIXED = st.lists(st.tuples(IDS, IDS, TIMESTAMPS, NUMBERS, NUMBERS), max_size=12)
MANY: list[Any] = [
    Identify("id", anonymous_id="other", traits={"a.b": "x", "a.c": ["x", "y"], "d": Constant([1])}, timestamp="at"),
    Track(Constant("E"), user_id="id", context={"location.latitude": "x", "ip": "id"}, when={"other": ["u", 1]}),
    Group("other", user_id="id", traits=AllColumns(), message_id="y"),
    Page(name="x", anonymous_id="other", properties=["y"]),
]


@settings(max_examples=40, deadline=None)
@given(rows=MIXED, key=st.sampled_from([None, "id", ["id", "other"]]), nulls=st.sampled_from(["send", "omit"]))
def test_a_page_is_as_its_rows(rows: list[Any], key: Any, nulls: str) -> None:
    """Rows that are fetched one by one, or all at once with bad ones among them, make the same calls and refusals."""
    seen = []
    for pages in ([[row] for row in rows], [rows]):
        with SegmentServer() as segment:
            columns = ["id", "other", "at", "x", "y"]
            report = run(segment, columns, pages, MANY, key=key, nulls=nulls, max_rejected=1_000)
        found = sorted(json.dumps(message, sort_keys=True) for message in segment.messages)
        seen.append((found, report.calls, report.accepted, report.reasons, report.examples))
    assert seen[0] == seen[1]


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, faults=st.lists(PASSING, max_size=4), data=st.data())
def test_second_try_repeats_the_ids(rows: list[Any], faults: list[Any], data: Any) -> None:
    """A second try of the same rows, in another order and after any trouble, sends nothing that is new to Segment."""
    shuffled = data.draw(st.permutations(rows))
    with SegmentServer() as segment:
        segment.respond_with(faults)
        first = run(segment, ["id", "x"], [rows], ANY, max_rejected=100)
        kept = set(ids(segment))
        assert len(kept) == first.accepted
        second = run(segment, ["id", "x"], [shuffled[:3], shuffled[3:]], ANY, max_rejected=100)
        assert (second.accepted, set(ids(segment))) == (first.accepted, kept)


def test_ids_are_of_a_run(segment: SegmentServer) -> None:
    """Another run, sync or source sends the same rows with other ids."""
    rows = [[(1, "a"), (1, "a")]]
    for parts in (
        ("s", "r1", None),
        ("s", "r2", None),
        ("t", "r1", None),
        ("s", "r1", 0),
        ("s", "r1", fingerprint("k")),
    ):
        run(segment, ["id", "x"], rows, ANY, namespace=Namespace(*parts))
    assert (len(segment.messages), segment.duplicates) == (10, [])


def test_with_a_key_equal_rows_are_one_call(segment: SegmentServer) -> None:
    """With a key, equal key and content are one event to Segment; another content is another event."""
    report = run(segment, ["id", "x"], [[(1, "a"), (1, "a"), (1, "b"), (2, "a")]], ANY, key="ID")
    assert (report.accepted, len(segment.messages), len(segment.duplicates)) == (4, 3, 1)


def test_null_in_the_key_refuses_the_row(segment: SegmentServer) -> None:
    """A row whose key has a null is refused, once for each of its calls; the others go on."""
    calls = [ANY, Track(Constant("E"), "id")]
    with pytest.raises(RejectedError, match="key_is_null") as caught:
        run(segment, ["id", "x"], [[(1, None), (2, "a")]], calls, key=["id", "x"])
    assert (caught.value.report.invalid, users(segment)) == (2, ["2", "2"])


def test_missing_key_column_is_an_error(segment: SegmentServer) -> None:
    """A key that the query does not return is an error before the first request."""
    with pytest.raises(ColumnError, match=r"^key names the column 'no'"):
        run(segment, ["id", "x"], [[(1, 1)]], ANY, key="no")


RARE = [
    2**64,
    10**38,
    -(2**63) - 1,
    Decimal("1E+30"),
    {"a": [2**70]},
    {1: 2},
    {dt.date(2026, 1, 1)},
    memoryview(b"\xff"),
]


@pytest.mark.parametrize("value", RARE, ids=shown)
@pytest.mark.parametrize("key", [None, ["id", "x"]])
def test_rare_values_are_sent(segment: SegmentServer, value: Any, key: Any) -> None:
    """A row with a value that JSON libraries find hard, such as a number of 38 digits, is sent like another."""
    report = run(segment, ["id", "x"], [[("u", value), ("v", 1)]], ANY, key=key)
    assert (report.accepted, users(segment)) == (2, ["u", "v"])


@pytest.mark.parametrize("row", BAD_ROWS, ids=[repr(row)[:20] for row in BAD_ROWS])
@pytest.mark.parametrize("key", [None, "x"])
def test_bad_row_stops_no_other(segment: SegmentServer, row: Any, key: Any) -> None:
    """A bad row is refused alone, with its number, and the error at the end shows nothing of it."""
    with pytest.raises(RejectedError, match="row 2, identify") as caught:
        run(segment, ["id", "x"], [[("a", 1), row, ("b", 2)]], ANY, key=key)
    report = caught.value.report
    assert (report.invalid, report.accepted, users(segment)) == (1, 2, ["a", "b"])
    assert "xxx" not in str(caught.value)
    assert not caught.value.retry_helps


def test_unused_bad_value_harms_nobody(segment: SegmentServer) -> None:
    """A value that could not be sent is of no interest in a column that no call uses."""
    rows = [[("a", value) for value in (math.nan, "\ud800", object(), 1j, 2**64)]]
    report = run(segment, ["id", "unused"], rows, Identify("id"))
    assert (report.accepted, len(set(ids(segment)))) == (5, 5)


# How many may be refused


@pytest.mark.parametrize(
    ("bad", "good", "allowed", "fails"),
    [
        (0, 3, 0, False),
        (1, 9, 0, True),
        (1, 9, 1, False),
        (2, 8, 1, True),
        (1, 9, 0.1, False),
        (2, 8, 0.1, True),
        (1, 0, 0.99, True),
        (10, 0, 10, False),
    ],
)
def test_refusals_are_allowed_by_count_or_share(
    segment: SegmentServer, bad: int, good: int, allowed: float, fails: bool
) -> None:
    """More refusals than the count, or the share of the calls, fail the run, after all good rows were sent."""
    rows = [[(f"u{n}", n) for n in range(good)] + [(" ", 1)] * bad]
    report = Report()
    if fails:
        with pytest.raises(RejectedError, match=f"{bad} of {bad + good} calls") as caught:
            run(segment, ["id", "x"], rows, ANY, report=report, max_rejected=allowed)
        assert caught.value.report is report
    else:
        run(segment, ["id", "x"], rows, ANY, report=report, max_rejected=allowed)
    assert (report.accepted, report.invalid, len(segment.messages)) == (good, bad, good)


def test_segments_refusals_count_too(segment: SegmentServer) -> None:
    """An event that Segment refuses is counted as rejected, with the number of its row and Segment's words."""
    segment.refuse(lambda message: message["userId"] == "poison")
    rows = [[("a", 1), ("poison", 2)], [("b", 3)]]
    with pytest.raises(
        RejectedError, match=r"row 2, identify: http_400: A message of the request was refused"
    ) as caught:
        run(segment, ["id", "x"], rows, ANY)
    assert (caught.value.report.rejected, caught.value.report.accepted, users(segment)) == (1, 2, ["a", "b"])
    assert run(segment, ["id", "x"], rows, ANY, max_rejected=1).rejected == 1


# Several calls a row


def test_a_row_makes_each_of_its_calls(segment: SegmentServer) -> None:
    """Every row makes each call whose `when` holds; a refused one takes none of the others with it."""
    calls = [
        Identify("id", traits=["x"]),
        Track("event", "id", when={"event": ["Bought", "Sold", " "]}),
        Group(Constant("g"), "id", when={"x": 2}, enabled=False),
        Page(user_id="id", when={"event": "Seen"}),
    ]
    rows = [("a", 1, "Bought"), ("b", 2, " "), ("c", 3, None), ("d", 4, "Seen"), (None, 5, "Sold")]
    report = run(segment, ["id", "x", "event"], [rows[:2], rows[2:]], calls, max_rejected=3)
    types = Counter((message["type"], message["userId"]) for message in segment.messages)
    assert types == Counter(
        [("identify", user) for user in "abcd"] + [("track", "a"), ("page", "d")],
    )
    assert (report.rows, report.calls, report.invalid, report.accepted) == (5, 9, 3, 6)
    assert adds_up(report)


def test_calls_of_one_row_have_ids_of_their_own(segment: SegmentServer) -> None:
    """Two calls that make equal messages from one row have two ids, since they were asked for twice."""
    calls = [Identify("id"), Identify("id", label="again")]
    assert run(segment, ["id"], [[("a",), ("a",)]], calls).accepted == 4
    assert len(set(ids(segment))) == 4


def test_mapped_message_id_wins(segment: SegmentServer) -> None:
    """A column that names the messages gives them their ids."""
    run(segment, ["id", "m"], [[("a", "m1"), ("a", 2)]], Identify("id", message_id="m"))
    assert ids(segment) == ["2", "m1"]


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_message_goes_without_an_id(segment: SegmentServer, nothing: Any) -> None:
    """Where the column that names the messages is empty, a second try sends no second event all the same."""
    for _ in range(2):
        run(segment, ["id", "m"], [[("a", nothing)]], Identify("id", message_id="m"), max_rejected=1)
    assert len(segment.messages) <= 1


# What ends a run

FITS_NOT: list[Any] = [
    Identify("nope"),
    Track("Order Completed", "id"),
    Identify("id", traits={"a": Constant(math.nan)}),
    [ANY, Track(Constant("E"), "id", when={"nope": 1})],
]


@pytest.mark.parametrize("calls", FITS_NOT)
def test_wrong_mapping_fails_before_the_first_row(segment: SegmentServer, calls: Any) -> None:
    """A mapping that does not fit the query is an error before a row is read or a request made."""

    def untouched() -> Iterator[Any]:
        raise AssertionError("a row was read")
        yield

    with pytest.raises(SettingError):
        run(segment, ["id", "x"], untouched(), calls)
    assert segment.requests == []


def failing_after(pages: list[Any], error: BaseException) -> Iterator[Any]:
    yield from pages
    raise error


@pytest.mark.parametrize("error", [SourceError("the query failed"), RuntimeError("driver"), KeyboardInterrupt()])
def test_source_that_dies_leaves_true_counts(segment: SegmentServer, error: BaseException) -> None:
    """When the source fails, what was posted is counted as accepted, the rest as not sent, and the error raised."""
    delivery = delivery_to(segment, pace=Pace(100), max_in_flight=1)  # 25 events a batch
    report = Report()
    rows = [(n, "x") for n in range(60)]
    with pytest.raises(type(error)) as caught:
        run(segment, ["id", "x"], failing_after([rows], error), ANY, delivery=delivery, report=report)
    assert caught.value is error
    assert (report.rows, report.calls, adds_up(report)) == (60, 60, True)
    assert report.accepted == len(segment.messages) >= 25
    assert report.not_sent == 60 - report.accepted >= 10
    assert getattr(error, "report", report) is report


@pytest.mark.parametrize(
    ("answer", "kind", "helps"),
    [
        (401, CredentialsError, False),
        (404, EndpointError, False),
        ((302, {"Location": "https://x.example/"}), EndpointError, False),
        (500, NotSentError, True),
        ("reset", NotSentError, True),
    ],
)
def test_run_that_cannot_go_on_ends_early(
    segment: SegmentServer, answer: Any, kind: type[SegmentError], helps: bool
) -> None:
    """Trouble that lasts ends the run long before the last row, with the counts so far."""
    segment.respond_with([None])
    segment.respond_with(lambda _: answer)
    delivery = Delivery(transport_to(segment), RetryPolicy(deadline=0.0), Pace(30_000), 2)
    delivery.max_events = 10

    def endless() -> Iterator[Any]:
        while True:
            yield [(n, "x") for n in range(10)]

    with pytest.raises(kind) as caught:
        run(segment, ["id", "x"], endless(), ANY, delivery=delivery)
    report = caught.value.report
    assert caught.value.retry_helps is helps
    assert (report.accepted, adds_up(report)) == (10, True)
    assert report.not_sent == report.calls - 10 >= 10
    assert len(segment.messages) == 10


def test_timestamp_without_a_zone_ends_the_run(segment: SegmentServer) -> None:
    """A timestamp without a zone ends a run that was given none, with row and column; nothing was guessed."""
    at = dt.datetime.fromisoformat("2026-01-31")
    for call in (Identify("id", timestamp="at"), Identify("id", traits={"t.deep": "AT"})):
        with pytest.raises(SettingError, match=r"row 2, identify, column at, .*timezone='UTC'") as caught:
            run(segment, ["id", "at"], [[("a", None), ("b", at)]], call)
        assert adds_up(caught.value.report)
        assert "2026-01-31" not in str(caught.value).replace("2026-01-31T09:30:00Z", "")
        assert run(segment, ["id", "at"], [[("a", None), ("b", at)]], call, timezone="UTC").accepted == 2


# Looking before sending


def test_validate_only_sends_nothing(segment: SegmentServer) -> None:
    """With `validate_only` all rows are judged as ever, and no request is made."""
    rows = [[("a", 1), (" ", 2)], [("b", math.nan)]]
    with pytest.raises(RejectedError) as caught:
        run(segment, ["id", "x"], rows, ANY, validate_only=True)
    report = run(segment, ["id", "x"], rows, ANY, validate_only=True, max_rejected=2)
    untimed = dict.fromkeys(TIMES)
    assert report.as_dict() | untimed == caught.value.report.as_dict() | untimed
    assert (report.calls, report.invalid, report.accepted, report.not_sent) == (3, 2, 0, 1)
    assert segment.requests == []


@pytest.mark.parametrize("validate_only", [True, False])
@pytest.mark.parametrize("count", [0, 3, 150])
def test_preview_shows_the_first_messages(
    segment: SegmentServer, tmp_path: Path, validate_only: bool, count: int
) -> None:
    """The preview holds the first 100 messages as they are sent, for the owner's eyes only."""
    path = tmp_path / "new" / "preview.jsonl"
    rows = [[(n, "x")] for n in range(count)]
    run(segment, ["id", "x"], rows, ANY, validate_only=validate_only, preview_path=str(path))
    shown = [json.loads(line) for line in path.read_text().splitlines()]
    assert [message["userId"] for message in shown] == [str(n) for n in range(min(count, 100))]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if not validate_only:
        assert {m["messageId"] for m in shown} <= {m["messageId"] for m in segment.messages}


def test_preview_that_cannot_be_written_is_an_error(segment: SegmentServer, tmp_path: Path) -> None:
    """A preview's path that cannot be written ends the run before the first request."""
    with pytest.raises(SettingError, match="preview_path"):
        run(segment, ["id", "x"], [[(1, 1)]], ANY, preview_path=str(tmp_path))
    assert segment.requests == []


# Large runs, other shapes


def test_bodies_keep_segments_limits(segment: SegmentServer) -> None:
    """Thousands of rows, small and large, go out in bodies within Segment's limits, all of them, once."""
    pages = [[(page * 1_000 + n, "é" * (5_000 if n % 100 == 0 else 10)) for n in range(1_000)] for page in range(6)]
    report = run(segment, ["id", "x"], pages, ANY)
    assert (report.accepted, len(segment.messages), segment.dropped, segment.duplicates) == (6_000, 6_000, [], [])
    assert all(len(request.body) <= 480_000 and request.events <= 2_500 for request in segment.requests)
    assert len(segment.requests) < 10


def test_written_messages_are_sent(segment: SegmentServer) -> None:
    """Messages that a user wrote take the same route, with the ids they have; bad ones are refused alone."""
    written = [
        {"type": "identify", "userId": 7, "messageId": "a"},
        {"type": "track", "userId": "u", "messageId": "b"},
        {"type": ["track"], "messageId": "c"},
        "no message",
        {"type": "alias", "userId": "u", "previousId": "v", "messageId": "d"},
    ]
    with pytest.raises(RejectedError, match=r"row 2, message\.event: event_not_defined") as caught:
        run(segment, ["message"], [[(message,) for message in written]], None)
    assert (caught.value.report.invalid, ids(segment)) == (3, ["a", "d"])


def test_progress_is_reported_after_each_page(segment: SegmentServer) -> None:
    """What watches a run sees the rows after each page, and true counts at the end."""
    seen: list[int] = []
    job = SyncJob([ANY], Namespace("s"), on_progress=lambda report: seen.append(report.rows))
    report = Report()
    with delivery_to(segment, QUICK) as delivery:
        sync(Pages(["id", "x"], [[(1, 1)], [(2, 2), (3, 3)]], "tests"), job, delivery, report)
    assert (seen, report.accepted) == ([1, 3], 3)


def test_wide_messages_are_a_warning(segment: SegmentServer) -> None:
    """Messages with more than 300 names are sent and counted as a warning for their call."""
    columns = ["id", *(f"c{n}" for n in range(301))]
    report = run(segment, columns, [[("a", *range(301)), ("b", *range(301))]], Identify("id", traits=AllColumns()))
    assert (report.accepted, report.warnings) == (2, {"identify": 2})
    assert report.as_dict()["warnings"] == {"identify": 2}
    assert "warnings" not in run(segment, ["id", "x"], [[("a", 1)]], ANY).as_dict()


# Rows that make no call, and calls that no row makes

KINDS = [Identify("id", when={"type": "identify"}), Track(Constant("E"), user_id="id", when={"type": ["track", "buy"]})]


def test_sqls_padding_does_not_count_in_when(segment: SegmentServer) -> None:
    """A value of a CHAR(10) column fits the same without its blanks, and a padded value in `when` fits one without."""
    rows = [("a", "identify  "), ("b", "identify"), ("c", "track     "), ("d", "buy"), ("e", " buy"), ("f", "Buy")]
    report = run(segment, ["id", "type"], [rows], KINDS)
    assert sorted((m["type"], m["userId"]) for m in segment.messages) == [
        *(("identify", "a"), ("identify", "b"), ("track", "c"), ("track", "d"))
    ]
    assert report.warnings == {"rows: made_no_call": 2}
    padded = run(segment, ["id", "type"], [rows], Identify("id", when={"type": "identify    "}))
    assert padded.accepted == 2


def test_when_with_several_columns_knows_padding_too(segment: SegmentServer) -> None:
    """Each column of a `when` is compared alike; what is no text is compared as it is."""
    call = Identify("id", when={"type": "identify", "ok": [True, None]})
    rows = [("a", "identify  ", True), ("b", "identify", None), ("c", "identify", False), ("d", "track", True)]
    assert run(segment, ["id", "type", "ok"], [rows], call).accepted == 2


def test_a_call_that_no_row_makes_is_a_warning(segment: SegmentServer) -> None:
    """Where rows come and none fits a call's `when`, the report says so for that call, with the number of rows."""
    report = run(segment, ["id", "type"], [[("a", "identify")], [("b", "identify")]], KINDS)
    assert report.warnings == {"track:E: made_by_no_row": 2}
    assert "its `when` fits none of them" in report.warned["track:E: made_by_no_row"]


def test_rows_that_make_no_call_are_counted(segment: SegmentServer) -> None:
    """Rows that fit the `when` of no call are counted, over all pages, also where no call is made at all."""
    report = run(segment, ["id", "type"], [[("a", "x"), ("b", "identify")], [("c", "y"), ("d", "track")]], KINDS)
    assert report.warnings == {"rows: made_no_call": 2}
    report = run(segment, ["id", "type"], [[("a", "x")] * 3], KINDS[:1])
    assert (report.calls, report.warnings) == (0, {"identify: made_by_no_row": 3, "rows: made_no_call": 3})


def test_no_warning_where_each_row_makes_a_call(segment: SegmentServer) -> None:
    """A call without `when` is made by each row, and no rows make no warning."""
    assert run(segment, ["id", "type"], [[("a", "x")]], [Identify("id", label="all"), KINDS[1]]).warnings == {
        "track:E: made_by_no_row": 1
    }
    assert run(segment, ["id", "type"], [], KINDS).warnings == {}


# The report


def test_report_shows_no_row_and_no_key(segment: SegmentServer) -> None:
    """Neither a report nor the error of a run shows a value of a row, or the write key."""
    rows = [[("secret-user", "secret" * 9_000), ("secret-user", {("secret",): 1}), (["secret"], 1), ("u", "secret{")]]
    with pytest.raises(RejectedError) as caught:
        run(segment, ["id", "x"], rows, Identify("id", traits={"a": "x", "b": Json("x")}))
    report = caught.value.report
    shown = f"{caught.value} {report!r} {report.as_dict()} {report.summary()} {report.commonest(9)} {report.examples}"
    assert (report.invalid, "secret" in shown, KEY in shown) == (4, False, False)


def test_commonest_reasons_come_first(segment: SegmentServer) -> None:
    """The error of a run counts the commonest reasons and names the first row and the column of each."""
    rows = [[("u", math.nan), (" ", 1), (True, 1), (None, 1), ("u", math.inf), ("u", math.nan)]]
    with pytest.raises(RejectedError) as caught:
        run(segment, ["ID", "X"], rows, ANY)
    lines = str(caught.value).splitlines()[1:]
    assert lines[0].startswith("  3 x row 1, identify.traits.x: number_not_finite: column X: ")
    assert lines[1].startswith("  2 x row 2, identify.userId: id_not_string: column ID: ")
    assert lines[2].startswith("  1 x row 4, identify.userId: no_user_anon_id: ")


def test_summary_says_all_counts() -> None:
    """The line for the log has every count, with thousands set apart."""
    report = Report(
        rows=1_234, calls=2_345, accepted=2_000, invalid=300, rejected=40, not_sent=5, requests=7, seconds=2.0
    )
    line = report.summary()
    assert all(part in line for part in ("1,234 rows", "2,345 calls", "2,000 accepted", "300 invalid", "40 rejected"))
    assert all(part in line for part in ("5 not sent", "7 requests", "2.0 s", "1,172 calls a second"))
