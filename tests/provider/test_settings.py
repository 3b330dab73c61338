"""What a connection says becomes settings, or an error that names the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import redact

from airflow_provider_segment.core.delivery.retries import Success
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.settings import Settings
from airflow_provider_segment.testing import SegmentServer

KEY = "kEy0kEy1kEy2kEy3kEy4kEy5kEy6kEy7"
US, EU = "https://api.segment.io/v1", "https://events.eu1.segmentapis.com/v1"

Connect = Callable[..., SegmentHook]

GOOD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "only a key": ({}, {"endpoint": US, "events_per_second": 1000, "timeout": 30, "deadline": 600, "proxy": None}),
    "region us": ({"extra": {"region": "us"}}, {"endpoint": US, "events_per_second": 1000}),
    "region eu": ({"extra": {"region": "eu"}}, {"endpoint": EU, "events_per_second": 1000}),
    "empty extras, as a form leaves them": (
        {"extra": {"region": "", "events_per_second": None, "timeout": "", "proxy": "", "allow_http": None}},
        {"endpoint": US, "events_per_second": 1000, "timeout": 30, "proxy": None},
    ),
    "host that is Segment's": ({"host": "https://api.segment.io"}, {"endpoint": US, "events_per_second": 1000}),
    "the same with /v1": ({"host": "https://api.segment.io/v1"}, {"endpoint": US, "events_per_second": 1000}),
    "the same with /v1/": ({"host": "https://api.segment.io/v1/"}, {"endpoint": US, "events_per_second": 1000}),
    "the same in capitals": ({"host": "https://API.Segment.io"}, {"events_per_second": 1000}),
    "host that is Segment's in the EU": (
        {"host": "https://events.eu1.segmentapis.com"},
        {"endpoint": EU, "events_per_second": 1000},
    ),
    "host of one's own": (
        {"host": "https://events.example.com"},
        {"endpoint": "https://events.example.com/v1", "events_per_second": 0},
    ),
    "with /v1": ({"host": "https://events.example.com/v1"}, {"endpoint": "https://events.example.com/v1"}),
    "with a path": ({"host": "https://example.com/segment/"}, {"endpoint": "https://example.com/segment/v1"}),
    "with a port": ({"host": "https://example.com:8443"}, {"endpoint": "https://example.com:8443/v1"}),
    "host with a limit": (
        {"host": "https://events.example.com", "extra": {"events_per_second": 50}},
        {"events_per_second": 50},
    ),
    "http on this machine": ({"host": "http://127.0.0.1:8765"}, {"endpoint": "http://127.0.0.1:8765/v1"}),
    "http on localhost": ({"host": "http://localhost:8765"}, {"endpoint": "http://localhost:8765/v1"}),
    "http on [::1]": ({"host": "http://[::1]:8765"}, {"endpoint": "http://[::1]:8765/v1"}),
    "http elsewhere, allowed": (
        {"host": "http://segment.internal", "extra": {"allow_http": True}},
        {"endpoint": "http://segment.internal/v1"},
    ),
    "allowed in words": (
        {"host": "http://segment.internal", "extra": {"allow_http": "true"}},
        {"endpoint": "http://segment.internal/v1"},
    ),
    "Segment's own answers": ({}, {"success": Success.SEGMENT}),
    "Segment's own, as a host": ({"host": "https://api.segment.io"}, {"success": Success.SEGMENT}),
    "another host's answers": ({"host": "https://events.example.com"}, {"success": Success.COMPATIBLE}),
    "any 2xx of another host": (
        {"host": "https://events.example.com", "extra": {"accept_any_2xx": "true"}},
        {"success": Success.ANY_2XX},
    ),
    "no limit": ({"extra": {"events_per_second": 0}}, {"events_per_second": 0}),
    "numbers as text": (
        {"extra": {"events_per_second": "250", "timeout": "5", "deadline": "60"}},
        {"events_per_second": 250, "timeout": 5, "deadline": 60},
    ),
    "proxy": ({"extra": {"proxy": "http://u:p@proxy:3128"}}, {"proxy": "http://u:p@proxy:3128"}),
}

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({"password": ""}, "has no write key: put it into the password field"),
    "key with a blank": ({"password": "abc def"}, "the write key has blanks or unusual characters"),
    "key with a line end": ({"password": f"{KEY}\n"}, "the write key has blanks or unusual characters"),
    "key with an umlaut": ({"password": "schlüssel"}, "the write key has blanks or unusual characters"),
    "region": ({"extra": {"region": "asia"}}, "region: expected us or eu, found 'asia'"),
    "host without a scheme": (
        {"host": "events.example.com"},
        "host: expected a URL such as https://events.example.com, with its scheme; found 'events.example.com'",
    ),
    "host of another scheme": ({"host": "ftp://example.com"}, "host: expected a URL"),
    "host without a host": ({"host": "https://"}, "host: expected a URL"),
    "host with a bad port": ({"host": "https://example.com:port"}, "host: expected a URL"),
    "host that is half an address": ({"host": "https://[::1"}, "host: expected a URL"),
    "host with a password": ({"host": "https://user:hunter2@example.com"}, "without a user or password in it"),
    "host with a query": ({"host": "https://example.com?a=1"}, "without a query or fragment"),
    "host with a fragment": ({"host": "https://example.com#a"}, "without a query or fragment"),
    "http elsewhere": ({"host": "http://segment.internal"}, "has no TLS; use https, or set allow_http"),
    "port": ({"port": 8443}, "port is not used; write it into the host"),
    "schema": ({"schema": "https"}, "schema is not used; write it into the host"),
    "limit in words": ({"extra": {"events_per_second": "fast"}}, "events_per_second: expected a number from 0"),
    "limit below 0": ({"extra": {"events_per_second": -1}}, "events_per_second: expected a number from 0"),
    "limit true": ({"extra": {"events_per_second": True}}, "events_per_second: expected a number from 0"),
    "limit infinite": ({"extra": {"events_per_second": "inf"}}, "events_per_second: expected a number from 0"),
    "limit not a number": ({"extra": {"events_per_second": "nan"}}, "events_per_second: expected a number from 0"),
    "timeout 0": ({"extra": {"timeout": 0}}, "timeout: expected a number above 0, found 0"),
    "deadline below 0": ({"extra": {"deadline": -5}}, "deadline: expected a number above 0, found -5"),
    "deadline in words": ({"extra": {"deadline": "soon"}}, "deadline: expected a number above 0, found 'soon'"),
    "proxy without a scheme": ({"extra": {"proxy": "user:hunter2@proxy:3128"}}, "proxy: expected a URL"),
    "proxy that is half an address": ({"extra": {"proxy": "http://user:hunter2@[::1"}}, "proxy: expected a URL"),
    "proxy that is a number": ({"extra": {"proxy": 3128}}, "proxy: expected a URL"),
    "accept_any_2xx": (
        {"host": "https://events.example.com", "extra": {"accept_any_2xx": "maybe"}},
        "accept_any_2xx: expected true or false, found 'maybe'",
    ),
    "accept_any_2xx of Segment": (
        {"extra": {"accept_any_2xx": True}},
        "accept_any_2xx: it is for a host of your own; Segment's own answers are known",
    ),
    "allow_http": ({"extra": {"allow_http": "maybe"}}, "allow_http: expected true or false, found 'maybe'"),
}


@pytest.mark.parametrize(("fields", "expected"), GOOD.values(), ids=GOOD)
def test_good_connection(connect: Connect, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """A connection's fields become these settings, the rest its defaults."""
    settings = connect(**fields).settings
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize(("fields", "text"), BAD.values(), ids=BAD)
def test_bad_connection(connect: Connect, fields: dict[str, Any], text: str) -> None:
    """A bad field is an error that names connection and field, and shows no password."""
    with pytest.raises(SettingError) as caught:
        _ = connect(**fields).settings
    assert text in str(caught.value)
    assert "connection 'it'" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert fields.get("password") in ("", None) or fields["password"] not in str(caught.value)


def test_no_connection() -> None:
    """A connection that Airflow does not have is an error that names the setting."""
    with pytest.raises(SettingError, match=r"^segment_conn_id: Airflow has no connection 'nowhere'; make one"):
        _ = SegmentHook("nowhere").settings


def test_official_providers_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection made for the official provider works unchanged, and Airflow's logs mask its key."""
    key = "OfficialKeyInTheExtraField000000"
    monkeypatch.setenv("AIRFLOW_CONN_IT", json.dumps({"conn_type": "segment", "extra": {"write_key": key}}))
    settings = SegmentHook("it").settings
    assert settings == Settings(US, key, events_per_second=1000)
    assert redact(f"the key is {key}.") == "the key is ***."


def test_password_is_masked(connect: Connect) -> None:
    """Airflow's logs mask a key in the password field as well."""
    key = "KeyInThePasswordField00000000000"
    assert connect(password=key).settings.write_key == key
    assert redact(f"the key is {key}.") == "the key is ***."


def test_key_in_the_extra_is_sent(segment: SegmentServer, connect: Connect) -> None:
    """The key of an official connection is the one that Segment receives."""
    hook = connect(password="", host=segment.url, extra={"write_key": KEY})
    hook.identify("u1")
    assert segment.write_keys == {KEY}
    assert [message["userId"] for message in segment.messages] == ["u1"]


def test_password_wins(connect: Connect) -> None:
    """Where both are given, the password is the key."""
    assert connect(extra={"write_key": "AnotherKey"}).settings.write_key == KEY


def test_repr_hides_the_key(connect: Connect) -> None:
    """Neither the key nor a proxy's password shows in a repr."""
    hook = connect(extra={"proxy": "http://user:hunter2@proxy:3128"})
    shown = f"{hook!r} {hook.settings!r} {hook.get_conn()!r} {hook.settings}"
    assert KEY not in shown
    assert "hunter2" not in shown


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Return the hook of a connection that has these fields, and a key if they say nothing else."""

    def hook(**fields: Any) -> SegmentHook:
        monkeypatch.setenv("AIRFLOW_CONN_IT", json.dumps({"conn_type": "segment", "password": KEY, **fields}))
        return SegmentHook("it")

    return hook
