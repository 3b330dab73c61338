"""What came back for one request: an answer as a value, or the kind of trouble, without what may hold a secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import requests

# What is kept of an answer: enough for the longest of Segment's, and an error page cannot fill the memory.
_MAX_ANSWER = 1_000_000
# What an error may show of an answer that is not Segment's.
_MAX_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Response:
    """What came back for one request.

    :param status: the HTTP status; None when there was no answer.
    :param headers: with lower-case names.
    :param content: the parsed JSON of the body; None where it is none.
    :param trouble: the kind of network trouble, where there was no answer.
    :param sent: bytes of the request's body.
    :param text: the body, where it is a few words.
    """

    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Any = field(default=None, repr=False)
    trouble: str = ""
    sent: int = 0
    text: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.trouble or (f"HTTP {self.status}" if self.status is not None else "no answer")

    @property
    def documented(self) -> bool:
        """Whether the body is the one that Segment documents for success."""
        return isinstance(self.content, dict) and self.content.get("success") is True

    @property
    def message(self) -> str:
        """Segment's own words about a refusal."""
        said = self.content.get("message") if isinstance(self.content, dict) else None
        return said[:200] if isinstance(said, str) else ""


def read_answer(answer: requests.Response, sent: int = 0) -> Response:
    """Return an answer as a value.

    :param answer: whose body was not read yet.
    :param sent: bytes of the request's body.
    """
    text = answer.raw.read(_MAX_ANSWER, decode_content=True) or b""
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        content = None
    headers = {name.lower(): value for name, value in answer.headers.items()}
    words = text.decode("ascii", "replace").strip() if len(text) <= _MAX_SHOWN else ""
    return Response(answer.status_code, headers, content, "", sent, words if words.isprintable() else "")


def kind_of_trouble(error: Exception) -> str:
    """Name the trouble without its text, which may hold the URL of a proxy and so its password.

    :param error: of requests, urllib3 or the operating system.
    """
    names = {
        requests.exceptions.ConnectTimeout: "no connection in time",
        requests.exceptions.ReadTimeout: "no answer in time",
        requests.exceptions.ProxyError: "the proxy failed",
        requests.exceptions.SSLError: "TLS failed",
    }
    name = next((text for kind, text in names.items() if isinstance(error, kind)), "the connection failed")
    return f"{name} ({type(error).__name__})"
