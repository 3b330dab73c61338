"""One POST to Segment, one Response; trouble on the network is a Response too, never an exception."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson
import requests
from urllib3.exceptions import HTTPError

# A body is read up to here: enough for Segment's longest answer, and an error page cannot fill the memory.
_MAX_ANSWER = 10_000
_SENT_AT = "0000-00-00T00:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Response:
    """What came back for one request.

    :param status: the HTTP status; None when there was no answer.
    :param headers: with lower-case names.
    :param documented: whether the body is ``{"success": true}``.
    :param message: Segment's own words about a refusal.
    :param trouble: the kind of network trouble, where there was no answer.
    :param sent: bytes of the request's body.
    """

    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    documented: bool = False
    message: str = ""
    trouble: str = ""
    sent: int = 0

    def __str__(self) -> str:
        return f"HTTP {self.status}" if self.status is not None else self.trouble or "no answer"


class Transport:
    """Posts batches to one endpoint with one write key; each thread has its own session.

    :param endpoint: the base URL with ``/v1``.
    :param write_key: the source's write key; it goes into each body and the Authorization header, as the SDKs do.
    :param library: name and version, shown in Segment's debugger as context.library.
    :param timeout: seconds for connecting, and for reading an answer.
    :param proxy: URL of a proxy; None takes the environment's.
    """

    def __init__(
        self,
        endpoint: str,
        write_key: str,
        *,
        library: Mapping[str, str],
        timeout: float = 30.0,
        proxy: str | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._auth = (write_key, "")
        self._timeout = timeout
        self._proxy = proxy
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        rest = orjson.dumps({"context": {"library": dict(library)}, "writeKey": write_key})
        self._head = b'{"sentAt":"%b",' + rest[1:-1] + b',"batch":['
        self.overhead = len(self._head) - len(b"%b") + len(_SENT_AT) + len(b"]}")

    def __repr__(self) -> str:
        return f"Transport({self.endpoint!r})"

    def post(self, events: Sequence[bytes]) -> Response:
        """Post some events and return what came back.

        :param events: encoded messages. ``sentAt`` is now: Segment reads a later try's clock skew from it.
        """
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body = self._head % now.encode() + b",".join(events) + b"]}"
        try:
            with self._session().post(
                f"{self.endpoint}/batch", data=body, timeout=self._timeout, allow_redirects=False, stream=True
            ) as answer:
                text = answer.raw.read(_MAX_ANSWER, decode_content=True) or b""
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return _response(answer.status_code, headers, text, len(body))
        except (requests.RequestException, HTTPError, OSError) as error:
            self._forget_session()
            return Response(None, trouble=_kind(error), sent=len(body))

    def close(self) -> None:
        """Close the connections of all threads."""
        while self._sessions:
            self._sessions.pop().close()

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.auth = self._auth
            session.headers["Content-Type"] = "application/json"
            if self._proxy:
                session.proxies = {"http": self._proxy, "https": self._proxy}
                session.trust_env = False
            self._local.session = session
            self._sessions.append(session)
        return session

    def _forget_session(self) -> None:
        """Begin anew after trouble: a new connection looks the host's address up again."""
        session = self._local.session
        session.close()
        if session in self._sessions:
            self._sessions.remove(session)
        self._local.session = None


def reach(endpoint: str, *, timeout: float, proxy: str | None) -> Response:
    """Ask whether anything answers at an endpoint, without sending an event.

    :param endpoint: the base URL.
    :param timeout: seconds.
    :param proxy: URL of a proxy; None takes the environment's.
    """
    proxies = {"http": proxy, "https": proxy} if proxy else None
    try:
        with requests.get(endpoint, timeout=timeout, proxies=proxies, allow_redirects=False, stream=True) as answer:
            return Response(answer.status_code)
    except (requests.RequestException, OSError) as error:
        return Response(None, trouble=_kind(error))


def _response(status: int, headers: Mapping[str, str], text: bytes, sent: int) -> Response:
    try:
        answer = orjson.loads(text)
    except orjson.JSONDecodeError:
        answer = None
    said = answer if isinstance(answer, dict) else {}
    message = said.get("message")
    return Response(
        status,
        headers,
        documented=said.get("success") is True,
        message=message[:200] if isinstance(message, str) else "",
        sent=sent,
    )


def _kind(error: Exception) -> str:
    """Name the trouble without its text, which may hold the URL of a proxy and so its password."""
    names = {
        requests.exceptions.ConnectTimeout: "no connection in time",
        requests.exceptions.ReadTimeout: "no answer in time",
        requests.exceptions.ProxyError: "the proxy failed",
        requests.exceptions.SSLError: "TLS failed",
    }
    return next(
        (text for kind, text in names.items() if isinstance(error, kind)),
        f"the connection failed ({type(error).__name__})",
    )
