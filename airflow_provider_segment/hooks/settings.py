"""What a connection of type ``segment`` says: checked, with defaults, and with the key kept out of sight.

It is long for the checks: each field has one of its own, whose error says what was found and what was expected.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from airflow_provider_segment.core.delivery.retries import Success
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.mapping.message_ids import fingerprint

# https://segment.com/docs/guides/regional-segment
ENDPOINTS = {"us": "https://api.segment.io/v1", "eu": "https://events.eu1.segmentapis.com/v1"}
# https://segment.com/docs/connections/oauth and https://docs.segmentapis.com
OAUTH_SERVERS = {"us": "https://oauth2.segment.io", "eu": "https://oauth2.eu1.segmentapis.com"}
PUBLIC_APIS = {"us": "https://api.segmentapis.com", "eu": "https://eu1.api.segmentapis.com"}
OAUTH_FIELDS = ("oauth_client_id", "oauth_key_id", "oauth_private_key")
# "more than 1,000 events per second in a workspace": https://segment.com/docs/connections/rate-limits
DOCUMENTED_EVENTS_PER_SECOND = 1000
KEY_LENGTH = 32
# An example: https://segment.com/docs/api/config-api/tutorial-javascript-google-analytics
DEBUGGER = "https://app.segment.com/{}/sources/{}/debugger"
_LONGEST_SHOWN = 24


class Connection(Protocol):
    """What we read of an Airflow connection; Airflow 2 and 3 have different classes for it."""

    conn_id: Any
    host: Any
    password: Any
    port: Any
    schema: Any

    @property
    def extra_dejson(self) -> Mapping[str, Any]:
        """The extra field as an object."""
        ...


@dataclass(frozen=True)
class OAuth:
    """The OAuth app that a source requires.

    :param server: base URL of the OAuth server.
    :param client_id: the app's id.
    :param key_id: the id of its public key.
    :param private_key: as PEM.
    """

    server: str
    client_id: str
    key_id: str
    private_key: str = field(repr=False)


@dataclass(frozen=True)
class PublicApiAccess:
    """How the Public API is asked: for the write key, where the connection does not hold it, and by operators.

    :param server: base URL of the Public API.
    :param source_id: of the source; None where the connection does not say it.
    :param token: of the Public API.
    """

    server: str
    source_id: str | None
    token: str = field(repr=False)


@dataclass(frozen=True)
class Settings:
    """A connection's settings.

    :param endpoint: base URL with ``/v1``.
    :param write_key: the source's key; None where it is looked up with the Public API.
    :param events_per_second: the limit for each task; 0 means none.
    :param timeout: seconds for one request.
    :param deadline: seconds for one batch with its tries.
    :param proxy: URL of a proxy.
    :param oauth: for sources that require it.
    :param public_api: where the connection has a token of it.
    :param success: what the endpoint answers when it has taken a batch.
    :param workspace_slug: the workspace's name in the addresses of Segment's app.
    :param source_slug: the source's name there.
    """

    endpoint: str
    write_key: str | None = field(repr=False)
    events_per_second: float = 0
    timeout: float = 30.0
    deadline: float = 600.0
    proxy: str | None = field(default=None, repr=False)
    oauth: OAuth | None = None
    public_api: PublicApiAccess | None = None
    success: Success = Success.SEGMENT
    workspace_slug: str | None = None
    source_slug: str | None = None

    @property
    def secrets(self) -> list[str]:
        """What must never be logged; Airflow masks by itself only the fields whose names it knows."""
        found = [self.write_key, self.public_api and self.public_api.token, self.oauth and self.oauth.private_key]
        return [secret for secret in found if secret]

    @property
    def debugger_url(self) -> str | None:
        """The address of the source's Debugger; None where a slug of it is not known."""
        if self.workspace_slug is None or self.source_slug is None:
            return None
        return DEBUGGER.format(self.workspace_slug, self.source_slug)

    @property
    def asset_uri(self) -> str:
        """The source as an Airflow asset: ``segment://<host>/<source>``, by its slug, else its id, else a hash."""
        looked_up = self.public_api.source_id if self.public_api and self.write_key is None else None
        source = self.source_slug or looked_up or fingerprint(self.write_key or "")
        return f"segment://{urlsplit(self.endpoint).netloc}/{quote(source, safe='')}"


def read_settings(connection: Connection) -> Settings:
    """Return the settings of a connection.

    :param connection: of Airflow.
    :raises SettingError: naming the first field that is missing or wrong, and what was found.
    """
    where = f"connection {connection.conn_id!r}"
    extra = {name: value for name, value in connection.extra_dejson.items() if value not in (None, "")}
    for name in ("port", "schema"):
        if getattr(connection, name):
            raise SettingError(f"{where}: {name} is not used; write it into the host, such as https://host:8443")
    allow_http = _truth(extra.get("allow_http", False), f"{where}: allow_http")
    region = extra.get("region", "us")
    if region not in ENDPOINTS:
        raise SettingError(f"{where}: region: expected us or eu, found {_shown(region)}")
    host = _endpoint(connection.host, f"{where}: host", allow_http=allow_http) if connection.host else None
    # What stands at the host is taken to serve all of Segment's APIs, unless the region is said as well.
    other = host.removesuffix("/v1") if host and "region" not in extra else None
    endpoint = host or ENDPOINTS[region]
    is_segments = endpoint in ENDPOINTS.values()
    public_api = _public_api(extra, other or PUBLIC_APIS[region])
    return Settings(
        endpoint,
        _key(connection.password or extra.get("write_key"), public_api, where),
        events_per_second=_number(
            extra.get("events_per_second", DOCUMENTED_EVENTS_PER_SECOND if is_segments else 0),
            f"{where}: events_per_second",
            zero=True,
        ),
        timeout=_number(extra.get("timeout", 30.0), f"{where}: timeout"),
        deadline=_number(extra.get("deadline", 600.0), f"{where}: deadline"),
        proxy=_proxy(extra.get("proxy"), f"{where}: proxy"),
        oauth=_oauth(extra, other or OAUTH_SERVERS[region], where),
        public_api=public_api,
        success=_success(extra.get("accept_any_2xx", False), f"{where}: accept_any_2xx", is_segments=is_segments),
        workspace_slug=_slug(extra.get("workspace_slug"), f"{where}: workspace_slug"),
        source_slug=_slug(extra.get("source_slug"), f"{where}: source_slug"),
    )


def _key(key: Any, public_api: PublicApiAccess | None, where: str) -> str | None:
    if key:
        return _write_key(key, where)
    if public_api is None:
        raise SettingError(f"{where} has no write key: put it into the password field, which is labelled Write key")
    if public_api.source_id is None:
        raise SettingError(f"{where}: public_api_token needs source_id too: it says whose write key to look up")
    return None


def _public_api(extra: Mapping[str, Any], server: str) -> PublicApiAccess | None:
    token, source_id = extra.get("public_api_token"), extra.get("source_id")
    return PublicApiAccess(server, str(source_id) if source_id else None, str(token)) if token else None


def _oauth(extra: Mapping[str, Any], server: str, where: str) -> OAuth | None:
    found = [name for name in OAUTH_FIELDS if extra.get(name)]
    if not found:
        return None
    if missing := [name for name in OAUTH_FIELDS if name not in found]:
        raise SettingError(f"{where}: {', '.join(found)} without {', '.join(missing)}: OAuth needs all three")
    return OAuth(server, *(str(extra[name]) for name in OAUTH_FIELDS))


def _success(accept_any_2xx: Any, where: str, *, is_segments: bool) -> Success:
    if not _truth(accept_any_2xx, where):
        return Success.SEGMENT if is_segments else Success.COMPATIBLE
    if is_segments:
        raise SettingError(f"{where}: it is for a host of your own; Segment's own answers are known")
    return Success.ANY_2XX


def _write_key(key: Any, where: str) -> str:
    if not isinstance(key, str) or not key.isascii() or key != "".join(key.split()):
        raise SettingError(f"{where}: the write key has blanks or unusual characters in it: copy it again from Segment")
    return key


def _endpoint(host: str, where: str, *, allow_http: bool) -> str:
    """Return the base URL of a host, with or without ``/v1`` as the SDKs differ on it."""
    wanted = f"{where}: expected a URL such as https://events.example.com"
    try:
        url = urlsplit(host.strip())
        port = url.port
    except ValueError:
        raise SettingError(f"{wanted}; found one that cannot be read") from None
    if url.username is not None or url.password is not None:
        raise SettingError(f"{wanted}, without a user or password in it")
    if url.scheme not in ("http", "https") or not url.hostname:
        raise SettingError(f"{wanted}, with its scheme; found {_shown(host)}")
    if url.query or url.fragment:
        raise SettingError(f"{wanted}, without a query or fragment; found {_shown(host)}")
    if url.scheme == "http" and not allow_http and not _is_loopback(url.hostname):
        raise SettingError(
            f"{where}: {_shown(host)} has no TLS; use https, or set allow_http in the connection's extra"
        )
    default_port = {"http": 80, "https": 443}[url.scheme]
    hostname = f"[{url.hostname}]" if ":" in url.hostname else url.hostname  # lower-case, as urlsplit gives it
    netloc = hostname if port in (None, default_port) else f"{hostname}:{port}"
    return f"{url.scheme}://{netloc}{url.path.rstrip('/').removesuffix('/v1')}/v1"


def _is_loopback(hostname: str) -> bool:
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost"


def _proxy(proxy: Any, where: str) -> str | None:
    if proxy is None:
        return None
    if isinstance(proxy, str) and _is_url(proxy):
        return proxy
    raise SettingError(f"{where}: expected a URL such as http://proxy.example.com:3128")  # it may hold a password


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname)


def _slug(slug: Any, where: str) -> str | None:
    if slug is None or (isinstance(slug, str) and re.fullmatch(r"[A-Za-z0-9_-]+", slug)):
        return slug
    raise SettingError(
        f"{where}: expected letters, digits, - and _, as in an address of Segment's app; found {_shown(slug)}"
    )


def _number(value: Any, where: str, *, zero: bool = False) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if isinstance(value, bool) or not (0 <= number < float("inf")) or (number == 0 and not zero):
        raise SettingError(f"{where}: expected a number {'from 0' if zero else 'above 0'}, found {_shown(value)}")
    return number


def _truth(value: Any, where: str) -> bool:
    known = {"true": True, "false": False}
    if str(value).lower() not in known:
        raise SettingError(f"{where}: expected true or false, found {_shown(value)}")
    return known[str(value).lower()]


def _shown(value: Any) -> str:
    """Return what was found, unless it is so long that it may be a key in the wrong field."""
    text = value if isinstance(value, str) else repr(value)
    return repr(value) if len(text) <= _LONGEST_SHOWN else f"{len(text)} characters"
