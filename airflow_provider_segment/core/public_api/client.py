"""Segment's Public API: the token, the pages and the tries of each of its calls."""

from __future__ import annotations

import datetime as dt
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson
import requests
from urllib3.exceptions import HTTPError

from airflow_provider_segment.core.delivery.answers import Response, kind_of_trouble, read_answer
from airflow_provider_segment.core.delivery.retries import RetryPolicy, Verdict, asked_wait, judge
from airflow_provider_segment.core.delivery.transport import new_session
from airflow_provider_segment.core.errors import (
    CredentialsError,
    EndpointError,
    NotSentError,
    SegmentError,
    SettingError,
)

log = logging.getLogger(__name__)

# The versions of the API, by the first word of a path; those that are not here are "v1".
_VERSIONS = {"delivery-overview": "v1beta", "reverse-etl-models": "v1alpha", "reverse-etl-syncs": "v1alpha"}
_WORD = re.compile(r"[A-Za-z][\w.\-\[\]]{0,59}")


@dataclass(frozen=True)
class PublicApi:
    """Segment's Public API with one token; its errors tell the documented path, and never an id that stands in it.

    :param server: the base URL.
    :param token: of the Public API.
    :param timeout: seconds for connecting, and for reading an answer.
    :param proxy: URL of a proxy; None takes the environment's.
    :param policy: how long to go on with one call. A wait that the server asks for is made as it asks.
    :param on_answer: is told of what came back for each request, those that are tried again among them.
    :param sleep: waits so many seconds before another try.
    """

    server: str
    token: str = field(repr=False)
    timeout: float = 30.0
    proxy: str | None = field(default=None, repr=False)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    on_answer: Callable[[Response], None] = field(default=lambda _: None, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def get(self, path: str, params: Mapping[str, Any] | None = None, **ids: str) -> dict[str, Any]:
        """Return what a path has, of all its pages: the first page's data, with the lists of the others added to its.

        :param path: as Segment documents it, such as "/sources/{sourceId}".
        :param params: of the query. An answer in pages needs "pagination.count", or where Segment calls it so "count";
            1 MB of a page is read, no more.
        :param ids: by their names in the path.
        :raises SegmentError: as :meth:`post`.
        """
        found = self._call("GET", path, ids, params=params)
        page = found
        seen: set[str] = set()
        name_of_cursor = "cursor" if "count" in (params or {}) else "pagination.cursor"
        while cursor := _next_cursor(page):
            if cursor in seen:
                raise EndpointError(f"{self.server}: GET {path}: the same page comes again and again")
            seen.add(cursor)
            page = self._call("GET", path, ids, params={**(params or {}), name_of_cursor: cursor})
            for name, value in page.items():
                if isinstance(value, list):
                    found[name] = [*found.get(name, []), *value]
        return found

    def post(self, path: str, body: Mapping[str, Any], *, is_repeatable: bool = True, **ids: str) -> dict[str, Any]:
        """Post some JSON, and return the answer's data.

        :param path: as Segment documents it.
        :param body: JSON.
        :param is_repeatable: whether it is posted again where it may have come already: after a lost answer, or a 5xx.
            Otherwise only a 429 is, which says that nothing was done.
        :param ids: by their names in the path.
        :raises CredentialsError: if the token is refused, or may not do this.
        :raises SettingError: if there is nothing by these ids, or Segment does not take what was said.
        :raises NotSentError: if the trouble lasted as long as the policy goes on; it has the ``wait`` that was asked.
        :raises EndpointError: if the answer is none of Segment's.
        """
        return self._call("POST", path, ids, body=orjson.dumps(body), is_repeatable=is_repeatable)

    def delete(self, path: str, **ids: str) -> dict[str, Any]:
        """Delete something, and return the answer's data.

        :param path: as Segment documents it.
        :param ids: by their names in the path.
        :raises SegmentError: as :meth:`post`.
        """
        return self._call("DELETE", path, ids)

    def _call(
        self, method: str, path: str, ids: Mapping[str, str], *, is_repeatable: bool = True, **content: Any
    ) -> dict[str, Any]:
        url = self.server + path.format(**{name: quote(text, safe="") for name, text in ids.items()})
        version = _VERSIONS.get(path.split("/")[1], "v1")
        started, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            response = self._request(method, url, f"application/vnd.segment.{version}+json", **content)
            self.on_answer(response)
            if judge(response.status) is not Verdict.RETRY:
                return self._data(response, f"{method} {path}")
            asked = asked_wait(response.headers, dt.datetime.now(dt.UTC))
            wait = self.policy.wait(attempt, time.monotonic() - started, asked)
            if wait is None or not (is_repeatable or response.status == 429):
                error = NotSentError(f"{self.server}: {method} {path}: no answer for now: {response}")
                error.wait = asked
                raise error
            log.info("%s %s: %s; again in %.1f s", method, path, response, wait)
            self.sleep(wait)

    def _request(
        self, method: str, url: str, kind: str, *, params: Mapping[str, Any] | None = None, body: bytes | None = None
    ) -> Response:
        headers = {"Authorization": f"Bearer {self.token}", "Accept": kind}
        if body is not None:
            headers["Content-Type"] = kind
        try:
            with (
                new_session(self.proxy) as session,
                session.request(
                    method,
                    url,
                    headers=headers,
                    params=params,
                    data=body,
                    timeout=self.timeout,
                    allow_redirects=False,
                    stream=True,
                ) as answer,
            ):
                return read_answer(answer, len(body or b""))
        except (requests.RequestException, HTTPError, OSError) as error:
            return Response(None, trouble=kind_of_trouble(error), sent=len(body or b""))

    def _data(self, response: Response, what: str) -> dict[str, Any]:
        """Return the data of an answer, or raise what the reader is to do."""
        status = response.status or 0
        if 200 <= status < 300:
            data = response.content.get("data") if isinstance(response.content, dict) else None
            if isinstance(data, dict):
                return data
            raise EndpointError(f"{self.server}: {what}: the answer is none of Segment's Public API (no data in it)")
        raise self._refusal(response, what + _named_fault(response))

    def _refusal(self, response: Response, what: str) -> SegmentError:
        if response.status == 401:
            return CredentialsError(f"public_api_token: {self.server} refuses it ({response})")
        if response.status == 403:
            return CredentialsError(
                f"public_api_token: {self.server} does not allow it {what} ({response}): give the token's owner the "
                "role that this needs, or look whether the workspace's plan has it"
            )
        if response.status == 404:
            return SettingError(
                f"{self.server} has nothing for {what} in this workspace and region ({response}): check the ids "
                "(source_id), the region, and the workspace's plan"
            )
        if response.status in (400, 413, 422):
            return SettingError(f"{self.server} does not take what {what} says ({response})")
        return EndpointError(f"{self.server} does not answer as Segment's Public API: {what} ({response})")


def count_of(found: Mapping[str, Any], name: str) -> int:
    """Return one of Segment's counts, which are numbers in some answers and text in others; 0 where it is left out.

    :param found: what the count is in.
    :param name: of the count.
    :raises EndpointError: if there is something else.
    """
    value = found.get(name)
    try:
        count = 0 if value is None else float(value)
        if isinstance(value, bool) or count != int(count) or count < 0:
            raise ValueError(name)
    except (TypeError, ValueError, OverflowError):
        raise EndpointError(f"Segment's Public API: {name}: expected a count, found a {type(value).__name__}") from None
    return int(count)


def _next_cursor(page: Mapping[str, Any]) -> str | None:
    pagination = page.get("pagination")
    cursor = pagination.get("next") if isinstance(pagination, dict) else None
    return cursor if isinstance(cursor, str) and cursor else None


def _named_fault(response: Response) -> str:
    """Return the type and the field of what Segment found wrong; its words may hold an id, and are left out."""
    errors = response.content.get("errors") if isinstance(response.content, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    found = [first.get(name) for name in ("type", "field")] if isinstance(first, dict) else []
    words = [word for word in found if isinstance(word, str) and _WORD.fullmatch(word)]
    return f" [{', '.join(words)}]" if words else ""
