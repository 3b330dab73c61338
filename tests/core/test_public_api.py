"""The client of Segment's Public API: pages, tries, words for each refusal, and no id or token in any of them."""

from __future__ import annotations

import json
import logging
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from answering import Answer, Asked, answering

from airflow_provider_segment.core.delivery.retries import RetryPolicy
from airflow_provider_segment.core.errors import (
    CredentialsError,
    EndpointError,
    NotSentError,
    SegmentError,
    SettingError,
)
from airflow_provider_segment.core.public_api.client import PublicApi, count_of

TOKEN = "sgp_secret-token"
REGULATION = "regulation-id-7"
QUICK = RetryPolicy(deadline=5, first_wait=0.01, longest_wait=0.01)
ONCE = RetryPolicy(deadline=0)


def api(url: str, policy: RetryPolicy = ONCE) -> PublicApi:
    """Return a client with a token of its own."""
    return PublicApi(url, TOKEN, timeout=5, policy=policy)


def pages(*contents: list[int]) -> Any:
    """Return a function that answers with pages of a list."""

    def answer(request: Asked) -> Answer:
        number = int(parse_qs(urlsplit(request.path).query).get("pagination.cursor", ["0"])[0])
        more = {"next": str(number + 1)} if number + 1 < len(contents) else {}
        pagination = {"current": str(number)} | more
        return 200, {"data": {"total": 9, "things": contents[number], "pagination": pagination}}

    return answer


@pytest.mark.parametrize("contents", [[[]], [[1]], [[1, 2], [3]], [[1], [], [2]], [[n] for n in range(30)]])
def test_all_pages_are_one_answer(contents: list[list[int]]) -> None:
    """A list in pages is read to its end, with the query repeated for each page."""
    with answering(pages(*contents)) as (url, asked):
        found = api(url).get("/things", {"pagination.count": "2", "q": "1"})
    assert (found["things"], found["total"]) == ([n for page in contents for n in page], 9)
    assert len(asked) == len(contents)
    assert all("pagination.count=2&q=1" in request.path for request in asked)


def test_a_cursor_that_comes_again_ends_the_reading() -> None:
    """A server that gives the same page for ever is told, and not read for ever."""
    page = {"data": {"things": [1], "pagination": {"next": "same"}}}
    with answering(lambda _: (200, page)) as (url, asked), pytest.raises(EndpointError, match="again and again"):
        api(url).get("/things")
    assert len(asked) == 2


def test_each_method_sends_what_is_documented() -> None:
    """Ids are quoted into the path, bodies are JSON, and the versions of beta and alpha paths are asked for."""
    with answering(lambda _: (200, {"data": {"ok": 1}})) as (url, asked):
        client = api(url)
        assert client.get("/regulations/{regulateId}", regulateId="a/b?c") == {"ok": 1}
        assert client.post("/reverse-etl-syncs", {"modelId": "m"}) == {"ok": 1}
        assert client.delete("/regulations/{regulateId}", regulateId="r") == {"ok": 1}
        client.get("/delivery-overview/failed-on-ingest", {"groupBy.0": "eventName"})
    assert [(request.method, request.path) for request in asked] == [
        ("GET", "/regulations/a%2Fb%3Fc"),
        ("POST", "/reverse-etl-syncs"),
        ("DELETE", "/regulations/r"),
        ("GET", "/delivery-overview/failed-on-ingest?groupBy.0=eventName"),
    ]
    assert json.loads(asked[1].body) == {"modelId": "m"}
    assert asked[1].headers["content-type"] == "application/vnd.segment.v1alpha+json"
    versions = [request.headers["accept"].split(".")[2].partition("+")[0] for request in asked]
    assert versions == ["v1", "v1alpha", "v1", "v1beta"]
    assert {request.headers["authorization"] for request in asked} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_what_may_pass_is_asked_again(status: int, method: str, caplog: pytest.LogCaptureFixture) -> None:
    """A busy server is asked again, whatever is asked, and the log says the documented path."""
    left = [status, status]
    answer = lambda _: (left.pop(), {}) if left else (200, {"data": {}})  # noqa: E731
    more = {"body": {}} if method == "post" else {}
    with caplog.at_level(logging.INFO), answering(answer) as (url, asked):
        assert getattr(api(url, QUICK), method)("/regulations/{regulateId}", regulateId=REGULATION, **more) == {}
    assert len(asked) == 3
    assert caplog.text.count(f"{method.upper()} /regulations/{{regulateId}}: HTTP {status}") == 2
    assert REGULATION not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "1"}, {"X-RateLimit-Reset": "1"}, {"X-RateLimit-Reset": formatdate(4_000_000_000, usegmt=True)}],
)
def test_the_wait_that_was_asked_is_told(headers: dict[str, str]) -> None:
    """Retry-After, and the reset of the limit as seconds or as a date, are what an unanswered call says to wait."""
    with answering(lambda _: (429, {}, headers)) as (url, _), pytest.raises(NotSentError, match="HTTP 429") as caught:
        api(url).get("/things")
    assert caught.value.wait == (300 if "GMT" in next(iter(headers.values())) else 1)


def test_retry_after_is_waited_for() -> None:
    """A 429 with Retry-After holds the next try back for as long as it says."""
    left = [429]
    answer = lambda _: (left.pop(), {}, {"Retry-After": "1"}) if left else (200, {"data": {}})  # noqa: E731
    policy = RetryPolicy(deadline=1.0)  # less than what is asked for: it is not tried again
    with answering(answer) as (url, asked), pytest.raises(NotSentError):
        api(url, policy).get("/things")
    assert len(asked) == 1
    with answering(answer) as (url, _):
        assert api(url, QUICK).get("/things") == {}


FAULT = {"errors": [{"type": "validation-error", "message": f"{REGULATION} is bad", "field": "subjectIds"}]}


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (400, SettingError, "does not take what GET /regulations/{regulateId} [validation-error, subjectIds] says"),
        (401, CredentialsError, "public_api_token: {url} refuses it (HTTP 401)"),
        (403, CredentialsError, "does not allow it GET /regulations/{regulateId}"),
        (404, SettingError, "has nothing for GET /regulations/{regulateId}"),
        (405, EndpointError, "does not answer as Segment's Public API"),
        (413, SettingError, "does not take"),
        (422, SettingError, "does not take"),
        (301, EndpointError, "does not answer as Segment's Public API"),
        (501, EndpointError, "does not answer as Segment's Public API"),
    ],
)
def test_each_refusal_says_what_to_do(
    status: int, error: type[SegmentError], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What is refused is told with the documented path, the type and the field, and without the id and the token."""
    with caplog.at_level(logging.INFO), answering(lambda _: (status, FAULT)) as (url, asked):
        with pytest.raises(error) as caught:
            api(url, QUICK).get("/regulations/{regulateId}", regulateId=REGULATION)
        said = f"{caught.value} {caught.value!r} {api(url)!r} {caplog.text}"
    assert text.replace("{url}", url) in said
    assert REGULATION not in said
    assert TOKEN not in said
    assert len(asked) == 1


@pytest.mark.parametrize("content", [{"errors": None}, {"errors": ["x"]}, {"errors": [{"type": "a b"}]}, [], "x"])
def test_an_error_in_other_words_is_no_error_of_ours(content: Any) -> None:
    """A refusal whose body is not the documented one is told all the same."""
    with answering(lambda _: (422, content)) as (url, _), pytest.raises(SettingError, match="GET /things says"):
        api(url).get("/things")


def test_no_answer_is_worth_another_try_later() -> None:
    """A server that is not there is trouble that may pass."""
    with pytest.raises(NotSentError, match="the connection failed") as caught:
        api("http://127.0.0.1:9").get("/things")
    assert caught.value.wait is None


@pytest.mark.parametrize(
    ("value", "count"), [(None, 0), (0, 0), ("0", 0), (12, 12), ("12", 12), (12.0, 12), ("12.0", 12), ("1e3", 1000)]
)
def test_a_count_is_a_number_or_text(value: Any, count: int) -> None:
    """Segment gives counts as numbers and as text: both are the same whole number, and one left out is 0."""
    assert count_of({"total": value}, "total") == count
    assert count_of({}, "total") == 0


@pytest.mark.parametrize("value", ["many", "", 1.5, "1.5", -1, True, [], {}, "inf", "nan"])
def test_what_is_no_count_is_an_error(value: Any) -> None:
    """Anything else is told by its name and type, never by its value."""
    with pytest.raises(EndpointError, match="total: expected a count"):
        count_of({"total": value}, "total")
