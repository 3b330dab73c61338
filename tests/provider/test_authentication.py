"""Each way to authenticate, at a server that checks what it is sent; and no secret where others can read it."""

from __future__ import annotations

import base64
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, redact
from core.answering import Answer, Asked, answering
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from failing import chain
from runs import NO_WAIT, RunDag, new_dag

from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.settings import OAuth, PublicApiAccess
from airflow_provider_segment.operators.segment import SegmentApiCallOperator, SegmentIdentifyOperator

SOURCE, APP, KEY_ID = "source-1", "app-1", "key-1"
LOOK_UP, GET_TOKEN, SEND = ("GET", f"/sources/{SOURCE}"), ("POST", "/token"), ("POST", "/v1/batch")


def pem(key: Any) -> str:
    """Return a private key as text."""
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    text: bytes = key.private_bytes(encoding, kind, serialization.NoEncryption())
    return text.decode()


@dataclass
class Segment:
    """Segment's three APIs on one port, with secrets of its own; what is not authorised as documented is refused."""

    write_key: str = field(default_factory=lambda: f"wk{uuid.uuid4().hex}"[:32])
    api_token: str = field(default_factory=lambda: f"pt{uuid.uuid4().hex}")
    private_key: Any = field(default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048))
    requires_oauth: bool = False
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)

    def __call__(self, request: Asked) -> Answer:
        """Answer one request."""
        match request.method, request.path.split("/")[1]:
            case "GET", "sources":
                return self._source(request)
            case "POST", "token":
                return self._token(request)
            case "POST", "v1":
                return self._events(request)
        return 404, {}

    @property
    def paths(self) -> list[tuple[str, str]]:
        """What was asked for, in order."""
        return [(request.method, request.path) for request in self.asked]

    @property
    def users(self) -> list[str]:
        """The users of the messages that were accepted."""
        return [message["userId"] for request in self.asked for message in self._batch(request)]

    def _source(self, request: Asked) -> Answer:
        if request.headers.get("authorization") != f"Bearer {self.api_token}":
            return 401, {"errors": [{"type": "unauthorized"}]}
        if request.path != f"/sources/{SOURCE}":
            return 404, {"errors": [{"type": "not-found"}]}
        return 200, {"data": {"source": {"id": SOURCE, "writeKeys": [self.write_key, "another"]}}}

    def _token(self, request: Asked) -> Answer:
        form = parse_qs(request.body.decode())
        try:
            (assertion,) = form["client_assertion"]
            claims = jwt.decode(assertion, self.private_key.public_key(), ["RS256"], audience=self.url)
        except jwt.InvalidTokenError:
            return 400, {"error": "invalid_client"}
        named = (claims["iss"], claims["sub"], jwt.get_unverified_header(assertion)["kid"])
        if named != (APP, APP, KEY_ID) or form["scope"] != ["tracking_api:write"]:
            return 401, {"error": "invalid_client"}
        self.issued.append(f"at{uuid.uuid4().hex}")
        return 200, {"access_token": self.issued[-1], "expires_in": 3600, "token_type": "Bearer"}

    def _events(self, request: Asked) -> Answer:
        basic = "Basic " + base64.b64encode(f"{self.write_key}:".encode()).decode()
        authorised = {f"Bearer {token}" for token in self.issued} if self.requires_oauth else {basic}
        if request.headers.get("authorization") not in authorised:
            return 401, {"success": False, "message": "not authorised"}
        if json.loads(request.body).get("writeKey") != self.write_key:
            return 400, {"success": False, "message": "An invalid write key was provided"}
        return 200, {"success": True}

    def _batch(self, request: Asked) -> list[dict[str, Any]]:
        accepted = request.path == "/v1/batch" and self._events(request)[0] == 200
        return json.loads(request.body)["batch"] if accepted else []

    @property
    def look_up(self) -> dict[str, Any]:
        """The extra fields that look the write key up."""
        return {"public_api_token": self.api_token, "source_id": SOURCE}

    @property
    def oauth(self) -> dict[str, Any]:
        """The extra fields of OAuth."""
        return {"oauth_client_id": APP, "oauth_key_id": KEY_ID, "oauth_private_key": pem(self.private_key)}

    @property
    def secrets(self) -> list[str]:
        """Whatever must not be seen; of the private key a line of its middle too."""
        key = pem(self.private_key)
        return [self.write_key, self.api_token, key, key.splitlines()[5], *self.issued]


Fields = Callable[[Segment], dict[str, Any]]
Connect = Callable[..., SegmentHook]

WAYS: dict[str, tuple[bool, Fields, list[tuple[str, str]]]] = {
    "the key in the password": (False, lambda s: {"password": s.write_key}, [SEND]),
    "the key in the extra": (False, lambda s: {"extra": {"write_key": s.write_key}}, [SEND]),
    "the key looked up": (False, lambda s: {"extra": s.look_up}, [LOOK_UP, SEND]),
    "the password before the looked up": (
        False,
        lambda s: {"password": s.write_key, "extra": s.look_up | {"public_api_token": "wrong"}},
        [SEND],
    ),
    "OAuth": (True, lambda s: {"password": s.write_key, "extra": s.oauth}, [GET_TOKEN, SEND]),
    "OAuth, its key in one line": (
        True,
        lambda s: {
            "password": s.write_key,
            "extra": s.oauth | {"oauth_private_key": pem(s.private_key).replace("\n", "\\n")},
        },
        [GET_TOKEN, SEND],
    ),
    "OAuth, its key without line breaks, as a form's field of one line leaves it": (
        True,
        lambda s: {
            "password": s.write_key,
            "extra": s.oauth | {"oauth_private_key": pem(s.private_key).replace("\n", " ")},
        },
        [GET_TOKEN, SEND],
    ),
    "OAuth and the key looked up": (True, lambda s: {"extra": s.oauth | s.look_up}, [LOOK_UP, GET_TOKEN, SEND]),
}

WRONG_SETTINGS: dict[str, tuple[Fields, str]] = {
    "no key at all": (lambda _: {}, "connection 'it' has no write key: put it into the password field"),
    "a source without a token": (lambda _: {"extra": {"source_id": SOURCE}}, "connection 'it' has no write key"),
    "a token without a source": (
        lambda s: {"extra": {"public_api_token": s.api_token}},
        "connection 'it': public_api_token needs source_id too: it says whose write key to look up",
    ),
    "OAuth without its key": (
        lambda s: {"password": s.write_key, "extra": s.oauth | {"oauth_private_key": ""}},
        "connection 'it': oauth_client_id, oauth_key_id without oauth_private_key: OAuth needs all three",
    ),
    "OAuth without the key's id": (
        lambda s: {"password": s.write_key, "extra": s.oauth | {"oauth_key_id": None}},
        "connection 'it': oauth_client_id, oauth_private_key without oauth_key_id: OAuth needs all three",
    ),
    "OAuth with its key alone": (
        lambda s: {"password": s.write_key, "extra": {"oauth_private_key": pem(s.private_key)}},
        "connection 'it': oauth_private_key without oauth_client_id, oauth_key_id: OAuth needs all three",
    ),
    "OAuth without a write key": (lambda s: {"extra": s.oauth}, "connection 'it' has no write key"),
    "a key that is no PEM": (
        lambda s: {"password": s.write_key, "extra": s.oauth | {"oauth_private_key": s.api_token}},
        "oauth_private_key: expected an RSA private key as PEM (-----BEGIN PRIVATE KEY----- ...)",
    ),
    "half a key": (
        lambda s: {"password": s.write_key, "extra": s.oauth | {"oauth_private_key": pem(s.private_key)[:900]}},
        "oauth_private_key: expected an RSA private key as PEM",
    ),
    "a key of another kind": (
        lambda s: {
            "password": s.write_key,
            "extra": s.oauth | {"oauth_private_key": pem(ec.generate_private_key(ec.SECP256R1()))},
        },
        "oauth_private_key: expected an RSA private key as PEM",
    ),
}

REFUSED: dict[str, tuple[Fields, str, list[tuple[str, str]]]] = {
    "a token that is refused": (
        lambda s: {"extra": s.look_up | {"public_api_token": f"x{s.api_token}"}},
        "public_api_token: {url} refuses it (HTTP 401)",
        [LOOK_UP],
    ),
    "a source that is not known": (
        lambda s: {"extra": s.look_up | {"source_id": "source/2"}},
        (
            "{url} has nothing for GET /sources/{{sourceId}} [not-found] in this workspace and region (HTTP 404): "
            "check the ids (source_id), the region, and the workspace's plan"
        ),
        [("GET", "/sources/source%2F2")],
    ),
    "an OAuth app that is not known": (
        lambda s: {"password": s.write_key, "extra": s.oauth | {"oauth_client_id": "app-2"}},
        "the OAuth server answers HTTP 401",
        [GET_TOKEN],
    ),
    "a private key of another app": (
        lambda s: {"password": s.write_key, "extra": s.oauth | {"oauth_private_key": pem(Segment().private_key)}},
        "the OAuth server answers HTTP 400",
        [GET_TOKEN],
    ),
    "a write key that is refused": (lambda s: {"password": f"x{s.write_key[1:]}"}, "refuses the write key", [SEND]),
}

US_API, EU_API = "https://api.segmentapis.com", "https://eu1.api.segmentapis.com"
US_OAUTH, EU_OAUTH = "https://oauth2.segment.io", "https://oauth2.eu1.segmentapis.com"
HERE = "http://127.0.0.1:8765"
SERVERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "nothing said": ({}, US_API, US_OAUTH),
    "region us": ({"extra": {"region": "us"}}, US_API, US_OAUTH),
    "region eu": ({"extra": {"region": "eu"}}, EU_API, EU_OAUTH),
    "a host": ({"host": HERE}, HERE, HERE),
    "a host with /v1": ({"host": f"{HERE}/v1"}, HERE, HERE),
    "a host with a path": ({"host": f"{HERE}/proxy/v1/"}, f"{HERE}/proxy", f"{HERE}/proxy"),
    "a host and a region": ({"host": HERE, "extra": {"region": "eu"}}, EU_API, EU_OAUTH),
}


@pytest.fixture
def segment_apis() -> Iterator[Segment]:
    """Segment's three APIs behind one URL."""
    apis = Segment()
    with answering(apis) as (apis.url, apis.asked):
        yield apis


@pytest.fixture
def connect(segment_apis: Segment, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Return the hook of a connection to that server that has these fields."""

    def hook(**fields: Any) -> SegmentHook:
        connection = {"conn_type": "segment", "host": segment_apis.url, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_IT", json.dumps(connection))
        return SegmentHook("it")

    return hook


class TestWays:
    """Every documented way to authenticate is taken by a server that checks it."""

    @pytest.mark.parametrize(("oauth", "fields", "asked"), WAYS.values(), ids=WAYS)
    def test_call(
        self, segment_apis: Segment, connect: Connect, oauth: bool, fields: Fields, asked: list[tuple[str, str]]
    ) -> None:
        """A call arrives, and nothing else is asked than what this way needs."""
        segment_apis.requires_oauth = oauth
        connect(**fields(segment_apis)).identify("u1")
        assert segment_apis.users == ["u1"]
        assert segment_apis.paths == asked

    @pytest.mark.parametrize(("oauth", "fields", "asked"), WAYS.values(), ids=WAYS)
    def test_task(
        self,
        segment_apis: Segment,
        connect: Connect,
        run_dag: RunDag,
        oauth: bool,
        fields: Fields,
        asked: list[tuple[str, str]],
    ) -> None:
        """A task's one call, and a request of any kind, are authorised in the same way."""
        segment_apis.requires_oauth = oauth
        connect(**fields(segment_apis))
        with new_dag() as dag:
            call = SegmentIdentifyOperator(task_id="call", user_id="u1", segment_conn_id="it")
            request = SegmentApiCallOperator(
                task_id="request",
                method="POST",
                path="/v1/group",
                json={"groupId": "g1", "userId": "u1"} | ({} if oauth else {"writeKey": segment_apis.write_key}),
                segment_conn_id="it",
            )
            call >> request
        run = run_dag(dag)
        assert run.state == "success"
        assert run.xcom("call")["accepted"] == 1
        assert run.xcom("request") == {"success": True}
        assert segment_apis.paths == [*asked, *asked[:-1], ("POST", "/v1/group")]

    def test_key_is_looked_up_once(self, segment_apis: Segment, connect: Connect) -> None:
        """All calls of one hook need one look-up."""
        hook = connect(extra=segment_apis.look_up)
        for number in range(3):
            hook.identify(f"u{number}")
        assert segment_apis.users == ["u0", "u1", "u2"]
        assert segment_apis.paths.count(LOOK_UP) == 1

    def test_token_is_kept(self, segment_apis: Segment, connect: Connect) -> None:
        """All calls of one hook need one token, which is good for an hour."""
        segment_apis.requires_oauth = True
        hook = connect(password=segment_apis.write_key, extra=segment_apis.oauth)
        for number in range(3):
            hook.identify(f"u{number}")
        assert segment_apis.users == ["u0", "u1", "u2"]
        assert segment_apis.paths.count(GET_TOKEN) == 1

    @pytest.mark.parametrize(("fields", "api", "oauth"), SERVERS.values(), ids=SERVERS)
    def test_servers(self, connect: Connect, fields: dict[str, Any], api: str, oauth: str) -> None:
        """The region, or a host of one's own without a region, says where the key and the token are asked for."""
        credentials = Segment(url="unused")
        extra = {**credentials.look_up, **credentials.oauth, **fields.get("extra", {})}
        settings = connect(**{"host": None, **fields, "extra": extra}).settings
        assert settings.public_api == PublicApiAccess(api, SOURCE, credentials.api_token)
        assert settings.oauth == OAuth(oauth, APP, KEY_ID, pem(credentials.private_key))


class TestWrongSettings:
    """What is missing, unreadable or refused is named, never shown, and sends no event."""

    @pytest.mark.parametrize(("fields", "text"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
    def test_settings(self, segment_apis: Segment, connect: Connect, fields: Fields, text: str) -> None:
        """A field that is missing or wrong is an error before any request, and the connection's test says the same."""
        hook = connect(**fields(segment_apis))
        with pytest.raises(SettingError) as caught:
            hook.get_conn()
        assert text in str(caught.value)
        with pytest.raises(AirflowFailException) as failed:
            hook.identify("u1")
        assert text in str(failed.value)
        assert hook.test_connection() == (False, str(caught.value))
        assert segment_apis.asked == []
        assert not found(segment_apis.secrets, *chain(failed.value))

    @pytest.mark.parametrize(("fields", "text", "asked"), REFUSED.values(), ids=REFUSED)
    def test_refused(
        self, segment_apis: Segment, connect: Connect, fields: Fields, text: str, asked: list[tuple[str, str]]
    ) -> None:
        """Credentials that are refused are an error that names them, after one request."""
        segment_apis.requires_oauth = GET_TOKEN in asked
        given = fields(segment_apis)
        with pytest.raises(AirflowFailException) as caught:
            connect(**given).identify("u1")
        assert text.format(url=segment_apis.url) in str(caught.value)
        assert segment_apis.paths == asked
        assert segment_apis.users == []
        sent = [given.get("password"), given.get("extra", {}).get("public_api_token")]
        assert not found([*segment_apis.secrets, *filter(None, sent)], *chain(caught.value))

    @pytest.mark.parametrize("name", ["a token that is refused", "a source that is not known"])
    def test_look_up_that_is_refused_in_the_form(self, segment_apis: Segment, connect: Connect, name: str) -> None:
        """The connection's test says that the key cannot be looked up, and why."""
        fields, text, asked = REFUSED[name]
        good, said = connect(**fields(segment_apis)).test_connection()
        assert not good
        assert said == text.format(url=segment_apis.url)
        assert segment_apis.paths == asked

    def test_task_fails_at_once(self, segment_apis: Segment, connect: Connect, run_dag: RunDag) -> None:
        """Credentials that are refused fail a task at once, whatever its retries."""
        connect(extra=segment_apis.look_up | {"public_api_token": "wrong"})
        with new_dag() as dag:
            SegmentIdentifyOperator(task_id="call", user_id="u1", segment_conn_id="it", retries=2, retry_delay=NO_WAIT)
        assert run_dag(dag).task("call") == ("failed", 1)
        assert segment_apis.paths == [LOOK_UP]


class TestSecrets:
    """Keys and tokens stay where they are needed."""

    def test_masked(self, segment_apis: Segment, connect: Connect) -> None:
        """Airflow masks in its logs the key that was fetched, the token that fetched it and the private key."""
        segment_apis.requires_oauth = True
        connect(extra=segment_apis.look_up | segment_apis.oauth).identify("u1")
        assert segment_apis.users == ["u1"]
        for secret in (segment_apis.write_key, segment_apis.api_token, pem(segment_apis.private_key)):
            assert redact(f"found {secret}.") == "found ***."

    def test_masked_before_anything_is_asked(self, segment_apis: Segment, connect: Connect) -> None:
        """Reading the settings is enough: what fails later may not show them either."""
        _ = connect(extra=segment_apis.look_up | segment_apis.oauth).settings
        assert segment_apis.asked == []
        for secret in (segment_apis.api_token, pem(segment_apis.private_key)):
            assert redact(f"found {secret}.") == "found ***."

    def test_repr(self, segment_apis: Segment, connect: Connect) -> None:
        """No repr of hook, settings or transport shows a secret, before a call or after it."""
        segment_apis.requires_oauth = True
        hook = connect(extra=segment_apis.look_up | segment_apis.oauth)
        for _ in range(2):
            settings, transport = hook.settings, hook.get_conn()
            shown = [settings, settings.public_api, hook.public_api, settings.oauth, transport, transport._tokens, hook]
            texts = [text for value in shown for text in (repr(value), str(value))]
            assert SOURCE in repr(settings.public_api)
            assert not found(segment_apis.secrets, *texts)
            hook.identify("u1")
            transport.post([b'{"type":"identify","userId":"u2"}'])
        assert set(segment_apis.users) == {"u1", "u2"}

    @pytest.mark.parametrize("refused", [False, True])
    def test_logs(
        self,
        segment_apis: Segment,
        connect: Connect,
        run_dag: RunDag,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
        refused: bool,
    ) -> None:
        """No log shows a secret at DEBUG, neither when all goes well nor when the key alone is refused."""
        segment_apis.requires_oauth = True
        hook = connect(extra=segment_apis.look_up | ({} if refused else segment_apis.oauth))
        with new_dag() as dag:
            SegmentIdentifyOperator(task_id="call", user_id="u1", segment_conn_id="it")
        with caplog.at_level(logging.DEBUG):
            if refused:
                with pytest.raises(AirflowFailException, match="HTTP 401") as caught:
                    hook.identify("u0")
                logging.getLogger(__name__).error("The call failed", exc_info=caught.value)
            else:
                hook.identify("u0")
            assert run_dag(dag).state == ("failed" if refused else "success")
        shown = capfd.readouterr()
        assert segment_apis.paths.count(SEND) == 2
        assert f'"POST /v1/batch HTTP/1.1" {401 if refused else 200}' in caplog.text
        assert not found(segment_apis.secrets, caplog.text, shown.out, shown.err)


def found(secrets: list[str], *texts: str) -> list[str]:
    """Return the secrets that stand in one of the texts, as they are or as Basic credentials."""
    coded = [base64.b64encode(f"{secret}:".encode()).decode() for secret in secrets]
    return [secret for secret in (*secrets, *coded) if any(secret in text for text in texts)]
