"""OAuth tokens, keys from the Public API, and calls of any kind, against servers that check what they are sent."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from answering import Answer, Asked, answering
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from airflow_provider_segment.core.delivery.answers import Response
from airflow_provider_segment.core.delivery.api_call import api_call, below
from airflow_provider_segment.core.delivery.batching import Batch
from airflow_provider_segment.core.delivery.oauth import OAuthTokens
from airflow_provider_segment.core.delivery.pace import Pace
from airflow_provider_segment.core.delivery.retries import RetryPolicy
from airflow_provider_segment.core.delivery.sender import Delivery
from airflow_provider_segment.core.delivery.transport import Transport
from airflow_provider_segment.core.errors import (
    CredentialsError,
    EndpointError,
    NotSentError,
    SegmentError,
    SettingError,
)
from airflow_provider_segment.core.public_api.client import PublicApi
from airflow_provider_segment.core.public_api.write_key import fetch_write_key

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
WRITE_KEY = "local-write-key-0000000000000000"
LIBRARY = {"name": "test", "version": "0"}


class OAuthServer:
    """Issues tokens for good assertions, and takes batches with the newest token only."""

    def __init__(self, *, lifetime: float = 3600, refusals: int = 0, clock: float = 0) -> None:
        self.lifetime = lifetime
        self.refusals = refusals
        self.clock = clock
        self.issued: list[str] = []
        self.forms: list[dict[str, list[str]]] = []
        self.url = ""

    def __call__(self, request: Asked) -> Answer:
        if request.path == "/token":
            return self.token(request)
        if request.headers.get("authorization") != f"Bearer {self.issued[-1]}" or self.refusals:
            self.refusals -= 1
            return 401, {"success": False}
        return 200, {"success": True}

    def token(self, request: Asked) -> Answer:
        form = parse_qs(request.body.decode())
        self.forms.append(form)
        now = time.time() + self.clock
        claims = jwt.decode(
            form["client_assertion"][0],
            KEY.public_key(),
            algorithms=["RS256"],
            options={"verify_aud": False, "verify_iat": False, "verify_exp": False},
        )
        if not claims["iat"] <= now < claims["exp"]:
            return 400, {"error": "invalid_client"}, {"Date": formatdate(now, usegmt=True)}
        self.issued.append(f"token-{len(self.issued)}")
        return 200, {"access_token": self.issued[-1], "expires_in": self.lifetime, "token_type": "Bearer"}


def send(url: str, tokens: OAuthTokens, batches: int = 1) -> list[Any]:
    """Send some batches of one event and return their outcomes."""
    transport = Transport(f"{url}/v1", WRITE_KEY, library=LIBRARY, tokens=tokens)
    with Delivery(transport, RetryPolicy(deadline=5, first_wait=0.01), Pace(), 1) as delivery:
        for number in range(batches):
            list(delivery.make_room())
            delivery.submit(Batch([b'{"type":"identify","userId":"u"}'], [number], ["identify"]))
        return list(delivery.drain())


def test_an_assertion_is_what_segment_documents() -> None:
    """The token endpoint gets a signed JWT of less than sixty seconds, with the key's id, the app and a new jti."""
    server = OAuthServer()
    with answering(server) as (url, asked):
        tokens = OAuthTokens(url, "app-1", "key-1", PEM)
        assert tokens.current() == "token-0"
        tokens.forget("token-0")
        assert tokens.current() == "token-1"
    first, second = (form["client_assertion"][0] for form in server.forms)
    assert jwt.get_unverified_header(first) == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}
    claims, later = (jwt.decode(text, options={"verify_signature": False}) for text in (first, second))
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("app-1", "app-1", url)
    assert 0 < claims["exp"] - claims["iat"] < 60
    assert claims["jti"] != later["jti"]
    assert server.forms[0]["grant_type"] == ["client_credentials"]
    assert server.forms[0]["scope"] == ["tracking_api:write"]
    assert asked[0].headers["content-type"] == "application/x-www-form-urlencoded"


def test_a_token_is_reused_until_half_its_life() -> None:
    """Many requests need one token, and a token that lives no time is made anew for each."""
    for lifetime, wanted in ((3600, 1), (0, 3)):
        server = OAuthServer(lifetime=lifetime)
        with answering(server) as (url, _):
            tokens = OAuthTokens(url, "app", "key", PEM)
            assert {type(tokens.current()) for _ in range(3)} == {str}
        assert len(server.issued) == wanted


def test_with_oauth_the_write_key_stays_in_the_body() -> None:
    """A batch carries the token in its header and the write key in its body."""
    server = OAuthServer()
    with answering(server) as (url, asked):
        (outcome,) = send(url, OAuthTokens(url, "app", "key", PEM))
    assert (outcome.count(), outcome.error) == (1, None)
    assert asked[-1].headers["authorization"] == "Bearer token-0"
    assert json.loads(asked[-1].body)["writeKey"] == WRITE_KEY


def test_a_refused_token_is_renewed_once() -> None:
    """A 401 for a token costs one request: the batch is sent again with a new one."""
    server = OAuthServer(refusals=1)
    with answering(server) as (url, _):
        (outcome,) = send(url, OAuthTokens(url, "app", "key", PEM))
    assert (outcome.count(), outcome.requests, len(server.issued)) == (1, 2, 2)


def test_a_token_that_is_refused_again_stops_the_run() -> None:
    """A second 401 is about the credentials, and nothing more is tried."""
    server = OAuthServer(refusals=99)
    with answering(server) as (url, _):
        (outcome,) = send(url, OAuthTokens(url, "app", "key", PEM))
    assert isinstance(outcome.error, CredentialsError)
    assert (outcome.count(), outcome.requests) == (0, 2)


def test_a_clock_that_is_wrong_is_learnt_from_the_server() -> None:
    """When the server's clock differs by hours, its Date header makes the second assertion good."""
    server = OAuthServer(clock=-7200)
    with answering(server) as (url, _):
        assert OAuthTokens(url, "app", "key", PEM).current() == "token-0"
    assert len(server.forms) == 2


@pytest.mark.parametrize(("status", "retried"), [(400, False), (401, False), (415, False), (429, True), (500, True)])
def test_a_token_endpoint_that_fails_says_so(status: int, retried: bool) -> None:
    """An app that is refused stops the run; a server that is busy is asked again."""
    left = [status]

    def answer(request: Asked) -> Answer:
        if request.path == "/token" and left:
            return (left.pop() if retried else status), {"error": "no"}, {"Retry-After": "0"}
        return 200, {"access_token": "t", "expires_in": 60, "success": True}

    with answering(answer) as (url, _):
        (outcome,) = send(url, OAuthTokens(url, "app", "key", PEM))
    assert (outcome.count() == 1) is retried
    assert isinstance(outcome.error, CredentialsError) is not retried


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "secret",
        PEM[:200],
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode(),
    ],
)
def test_a_private_key_that_is_none_is_refused_without_being_shown(pem: str) -> None:
    """The error names the field and what was expected, and holds nothing of the key, nor do its causes."""
    with pytest.raises(SettingError, match="oauth_private_key: expected an RSA private key") as caught:
        OAuthTokens("http://127.0.0.1", "app", "key", pem)
    assert caught.value.__context__ is None
    assert len(pem) < 5 or pem[:30] not in str(caught.value) or pem.startswith("-----BEGIN")


def test_a_private_key_whose_newlines_were_mangled_works() -> None:
    """A key that went through a connection's extra as one line with backslashes is read all the same."""
    assert repr(OAuthTokens("http://h", "app", "key", PEM.replace("\n", "\\n"))) == "OAuthTokens('http://h')"


def source(keys: list[str]) -> dict[str, Any]:
    """Return what the Public API says of a source."""
    return {"data": {"source": {"id": "s1", "writeKeys": keys}}}


def one_try(url: str, token: str) -> PublicApi:
    """Return a client that asks once."""
    return PublicApi(url, token, timeout=5, policy=RetryPolicy(deadline=0))


def test_the_write_key_is_looked_up_with_the_public_api() -> None:
    """The source is asked for with the token, and its first key is the one."""
    with answering(lambda _: (200, source(["key-1", "key-2"]))) as (url, asked):
        assert fetch_write_key(one_try(url, "tok"), "s/1") == "key-1"
    assert (asked[0].method, asked[0].path) == ("GET", "/sources/s%2F1")
    assert asked[0].headers["authorization"] == "Bearer tok"


@pytest.mark.parametrize(
    ("status", "content", "error", "text"),
    [
        (401, {}, CredentialsError, "public_api_token"),
        (403, {}, CredentialsError, "public_api_token"),
        (404, {}, SettingError, "source_id"),
        (422, {}, SettingError, "does not take"),
        (429, {}, NotSentError, "for now"),
        (500, {}, NotSentError, "for now"),
        (302, {}, EndpointError, "Public API"),
        (200, source([]), CredentialsError, "source admin"),
        (200, {"data": None}, EndpointError, "no data in it"),
        (200, "hello", EndpointError, "no data in it"),
    ],
)
def test_a_key_that_cannot_be_looked_up_says_why(
    status: int, content: Any, error: type[SegmentError], text: str
) -> None:
    """Each refusal of the Public API names the field to mend, and never shows the token."""
    answer = (status, content, {"Location": "http://127.0.0.1:9/"})
    with answering(lambda _: answer) as (url, asked), pytest.raises(error, match=text) as caught:
        fetch_write_key(one_try(url, "tok-secret"), "s1")
    assert "tok-secret" not in str(caught.value)
    assert len(asked) == 1


def test_an_api_call_adds_the_authorisation_and_returns_the_json() -> None:
    """Method, path, query, headers and body arrive as they were said, with the key as Basic user."""
    with answering(lambda _: (201, {"ok": [1]})) as (url, asked):
        transport = Transport(f"{url}/v1", WRITE_KEY, library=LIBRARY)
        answer = api_call(transport, "PUT", "/v2/things", headers={"X-A": "b"}, params={"q": "1 2"}, json={"a": None})
    assert answer == {"ok": [1]}
    (request,) = asked
    assert (request.method, request.path, request.body) == ("PUT", "/v2/things?q=1+2", b'{"a":null}')
    assert request.headers["x-a"] == "b"
    assert request.headers["authorization"].startswith("Basic ")
    assert request.headers["content-type"] == "application/json"


def test_an_api_call_with_oauth_puts_the_write_key_into_the_body() -> None:
    """Segment wants the token and the key, and a token that is refused is renewed once."""
    server = OAuthServer(refusals=1)
    with answering(server) as (url, asked):
        transport = Transport(f"{url}/v1", WRITE_KEY, library=LIBRARY, tokens=OAuthTokens(url, "app", "key", PEM))
        assert api_call(transport, "POST", "/v1/identify", json={"userId": "u"}) == {"success": True}
    assert json.loads(asked[-1].body) == {"userId": "u", "writeKey": WRITE_KEY}


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, EndpointError), (401, CredentialsError), (404, EndpointError), (302, EndpointError), (429, NotSentError)],
)
def test_an_api_call_that_is_refused_raises(status: int, error: type[SegmentError]) -> None:
    """Whatever is not 2xx raises with the status and Segment's own words, and no redirect is followed."""
    answer = (status, {"message": "no luck"}, {"Location": "http://127.0.0.1:9/elsewhere"})
    said = f"HTTP {status}" if status == 302 else f"HTTP {status}: no luck"
    with answering(lambda _: answer) as (url, asked), pytest.raises(error, match=said):
        api_call(Transport(f"{url}/v1", WRITE_KEY, library=LIBRARY), "GET", "/v1/x")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/group", "https://a.example:8443/v1/group"),
        ("/v1/group?x=1", "https://a.example:8443/v1/group?x=1"),
        ("https://a.example:8443/v1/group", "https://a.example:8443/v1/group"),
    ],
)
def test_a_path_is_taken_below_the_host(path: str, expected: str) -> None:
    """A path is taken as it is below scheme and host, whatever base path the endpoint has."""
    assert below("https://a.example:8443/v1", path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "https://b.example/v1",
        "http://a.example:8443/v1",
        "//b.example/x",
        "https://a.example:8443@b.example/x",
        "v1/x",
        "",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    """Another host, another scheme or no path at all is an error before any request."""
    with pytest.raises(SettingError, match="path: expected one"):
        below("https://a.example:8443/v1", path)


def test_no_answer_is_a_value() -> None:
    """A token server that is not there gives a Response that is worth another try."""
    answer = OAuthTokens("http://127.0.0.1:9", "app", "key", PEM, timeout=1).current()
    assert isinstance(answer, Response)
    assert answer.status is None
