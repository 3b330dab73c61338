"""One POST to Segment, one Response; trouble on the network is a Response too, never an exception."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import orjson
import requests
from urllib3.exceptions import HTTPError

from airflow_provider_segment.core.delivery.answers import Response, kind_of_trouble, read_answer

_SENT_AT = "0000-00-00T00:00:00.000Z"


class Tokens(Protocol):
    """Where access tokens come from; core/delivery/oauth.py has the real ones."""

    def current(self) -> str | Response:
        """Return a token, or what came back instead of one."""
        ...

    def forget(self, token: str) -> None:
        """Make a new token the next time, since this one was refused."""
        ...


class Transport:
    """Posts batches to one endpoint with one write key; each thread has its own session.

    :param endpoint: the base URL with ``/v1``.
    :param write_key: the source's write key; it goes into each body, and without tokens into the Authorization header
        too, as the SDKs do.
    :param library: name and version, shown in Segment's debugger as context.library.
    :param timeout: seconds for connecting, and for reading an answer.
    :param proxy: URL of a proxy; None takes the environment's.
    :param tokens: of OAuth, for sources that require it.
    """

    def __init__(
        self,
        endpoint: str,
        write_key: str,
        *,
        library: Mapping[str, str],
        timeout: float = 30.0,
        proxy: str | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.write_key = write_key
        self.timeout = timeout
        self._proxy = proxy
        self._tokens = tokens
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        rest = orjson.dumps({"context": {"library": dict(library)}, "writeKey": write_key})
        self._head = b'",' + rest[1:-1] + b',"batch":['
        self.overhead = len(b'{"sentAt":"') + len(_SENT_AT) + len(self._head) + len(b"]}")

    def __repr__(self) -> str:
        return f"Transport({self.endpoint!r})"

    def post(self, events: Sequence[bytes]) -> Response:
        """Post some events and return what came back.

        :param events: encoded messages. ``sentAt`` is now: Segment reads a later try's clock skew from it.
        """
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        parts = [*events] or [b""]
        parts[0] = b'{"sentAt":"%b%b%b' % (now.encode(), self._head, parts[0])
        parts[-1] += b"]}"
        body = b",".join(parts)  # one join: a body is half a megabyte, which a second copy would make anew
        return self.request("POST", f"{self.endpoint}/batch", body)

    def request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Response:
        """Make one authorised request and return what came back; redirects are not followed with the key.

        :param method: of HTTP.
        :param url: the whole URL.
        :param body: JSON.
        :param headers: more headers.
        :param params: of the query.
        """
        token = self._tokens.current() if self._tokens else None
        if isinstance(token, Response):
            return token
        self._local.token = token
        authorised = {**(headers or {})} | ({"Authorization": f"Bearer {token}"} if token else {})
        sent = len(body or b"")
        try:
            with self._session().request(
                method,
                url,
                data=body,
                headers=authorised,
                params=params,
                auth=None if token else (self.write_key, ""),
                timeout=self.timeout,
                allow_redirects=False,
                stream=True,
            ) as answer:
                response = read_answer(answer, sent)
                if self.write_key in response.message:  # it must not reach an error or a log
                    said = response.message.replace(self.write_key, "***")
                    return replace(response, content={"message": said}, text="")
                return replace(response, text="") if self.write_key in response.text else response
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:  # the last: a URL that is none
            self._forget_session()
            return Response(None, trouble=kind_of_trouble(error), sent=sent)

    @property
    def has_tokens(self) -> bool:
        """Whether OAuth is used."""
        return self._tokens is not None

    def renew(self) -> bool:
        """Drop the token of this thread's last request; tell whether a new one may help."""
        token = getattr(self._local, "token", None)
        if self._tokens is None or token is None:
            return False
        self._tokens.forget(token)
        return True

    def close(self) -> None:
        """Close the connections of all threads."""
        while self._sessions:
            self._sessions.pop().close()

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = new_session(self._proxy)
            self._sessions.append(session)
            session.headers["Content-Type"] = "application/json"
            if session.trust_env:
                # Once: requests would read the environment's proxies and certificates for each post, 0.4 ms of CPU.
                found = session.merge_environment_settings(self.endpoint, {}, None, None, None)
                session.proxies, session.verify, session.trust_env = found["proxies"], found["verify"], False
        return session

    def _forget_session(self) -> None:
        """Begin anew after trouble: a new connection looks the host's address up again."""
        session = self._local.session
        session.close()
        if session in self._sessions:
            self._sessions.remove(session)
        self._local.session = None


def new_session(proxy: str | None) -> requests.Session:
    """Return a session that takes no credentials from a netrc file.

    :param proxy: URL of a proxy; None takes the environment's.
    """
    session = _Session()
    session.auth = _no_auth
    if proxy:
        session.proxies = {"http": proxy, "https": proxy}
        session.trust_env = False
    return session


def reach(url: str, *, timeout: float, proxy: str | None) -> Response:
    """Ask whether anything answers at an endpoint, without a key and without an event.

    :param url: of the endpoint.
    :param timeout: seconds.
    :param proxy: URL of a proxy; None takes the environment's.
    """
    try:
        with (
            new_session(proxy) as session,
            session.get(url, timeout=timeout, allow_redirects=False, stream=True) as answer,
        ):
            return read_answer(answer)
    except (requests.RequestException, HTTPError, OSError) as error:
        return Response(None, trouble=kind_of_trouble(error))


class _Session(requests.Session):
    """A session that leaves redirects alone: requests would read even the Location of one that it is not to follow."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Say that there is none."""


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Stand where requests would otherwise read a netrc file."""
    return request
