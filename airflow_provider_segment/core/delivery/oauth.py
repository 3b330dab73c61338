"""Access tokens of Segment's OAuth server, made with a signed assertion and reused until half their life.

https://segment.com/docs/connections/oauth: for sources that require it, in place of HTTP Basic; the write key stays in
the body.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from contextlib import suppress
from email.utils import parsedate_to_datetime

import jwt
import requests
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from urllib3.exceptions import HTTPError

from airflow_provider_segment.core.delivery.answers import Response, kind_of_trouble, read_answer
from airflow_provider_segment.core.delivery.transport import new_session
from airflow_provider_segment.core.errors import SettingError

SCOPE = "tracking_api:write"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# "Tokens are expected to be valid for less than sixty seconds"; the start lies back a little for clocks that differ.
_BACK, _AHEAD = 5, 50


class OAuthTokens:
    """Tokens for one OAuth app; all threads share the current one.

    :param server: base URL of the OAuth server.
    :param client_id: the OAuth app's id.
    :param key_id: the id of the public key that was given to Segment.
    :param private_key: its private key, as PEM.
    :param timeout: seconds for one request.
    :param proxy: URL of a proxy; None takes the environment's.
    :raises SettingError: if the private key cannot be read.
    """

    def __init__(
        self,
        server: str,
        client_id: str,
        key_id: str,
        private_key: str,
        *,
        timeout: float = 30.0,
        proxy: str | None = None,
    ) -> None:
        self._server = server
        self._client_id = client_id
        self._key_id = key_id
        self._key = _rsa_key(private_key)
        self._timeout = timeout
        self._proxy = proxy
        self._lock = threading.Lock()
        self._token = ""
        self._good_until = 0.0
        self._skew = 0.0

    def __repr__(self) -> str:
        return f"OAuthTokens({self._server!r})"

    def current(self) -> str | Response:
        """Return a token, or what came back instead of one."""
        with self._lock:
            if self._token and time.monotonic() < self._good_until:
                return self._token
            response = self._ask()
            if response.status in (400, 401) and self._learn_skew(response):
                response = self._ask()
            return self._take(response)

    def forget(self, token: str) -> None:
        """Make a new token the next time.

        :param token: the one that was refused; another thread may have made a new one since.
        """
        with self._lock:
            if token == self._token:
                self._token = ""

    def _take(self, response: Response) -> str | Response:
        content = response.content if isinstance(response.content, dict) else {}
        token = content.get("access_token")
        if response.status == 200 and isinstance(token, str) and token:
            lifetime = content.get("expires_in")
            self._token = token
            self._good_until = time.monotonic() + (lifetime if isinstance(lifetime, (int, float)) else 60) / 2
            return token
        if response.status in (400, 401, 403, 404, 415):
            return Response(401, trouble=f"the OAuth server answers HTTP {response.status}")
        return Response(None, response.headers, trouble=f"the OAuth server: {response}")

    def _ask(self) -> Response:
        now = int(time.time() + self._skew)
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": self._server,
            "iat": now - _BACK,
            "exp": now + _AHEAD,
            "jti": str(uuid.uuid4()),
        }
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._key_id}),
            "scope": SCOPE,
        }
        try:
            with (
                new_session(self._proxy) as session,
                session.post(
                    f"{self._server}/token", data=form, timeout=self._timeout, allow_redirects=False, stream=True
                ) as answer,
            ):
                return read_answer(answer)
        except (requests.RequestException, HTTPError, OSError) as error:
            return Response(None, trouble=kind_of_trouble(error))

    def _learn_skew(self, response: Response) -> bool:
        """Take the server's clock from its answer; tell whether ours is so wrong that another try may help."""
        try:
            theirs = parsedate_to_datetime(response.headers.get("date", ""))
        except ValueError:
            return False
        theirs = theirs.replace(tzinfo=theirs.tzinfo or dt.UTC)
        before, self._skew = self._skew, (theirs - dt.datetime.now(dt.UTC)).total_seconds()
        return abs(self._skew - before) > _BACK


def _rsa_key(pem: str) -> RSAPrivateKey:
    """Return the key, or say what was expected, outside of the error that may quote what was found."""
    key = None
    with suppress(ValueError, TypeError, UnsupportedAlgorithm):
        # Newlines are easily lost in a connection's extra: "\n" may have come as two characters.
        key = load_pem_private_key(pem.replace("\\n", "\n").encode(), password=None)
    if not isinstance(key, RSAPrivateKey):
        raise SettingError("oauth_private_key: expected an RSA private key as PEM (-----BEGIN PRIVATE KEY----- ...)")
    return key
