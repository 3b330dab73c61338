"""One request of any kind to Segment's API: the JSON of its answer, or an error that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from airflow_provider_segment.core.delivery.retries import Verdict, judge
from airflow_provider_segment.core.delivery.transport import Transport
from airflow_provider_segment.core.errors import CredentialsError, EndpointError, NotSentError, Refused, SettingError
from airflow_provider_segment.core.mapping.values import to_json


def api_call(
    transport: Transport,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, Any] | None = None,
    json: Any = None,
) -> Any:
    """Make one request and return the JSON of its answer, None where there is none.

    :param transport: adds the authorisation; where that is a token, the write key is put into the body as well, since
        Segment wants both.
    :param method: of HTTP.
    :param path: below the endpoint's scheme and host.
    :param headers: more headers.
    :param params: of the query.
    :param json: the body.
    :raises SettingError: if the path leads to another host, or the body is no JSON.
    :raises CredentialsError: for 401 and 403.
    :raises NotSentError: for answers that may pass, and network trouble.
    :raises EndpointError: for every other answer but 2xx.
    """
    url = below(transport.endpoint, path)
    if transport.has_tokens and isinstance(json, Mapping):
        json = {**json, "writeKey": transport.write_key}
    try:
        body = None if json is None else orjson.dumps(to_json(json, None, "json"))
    except Refused as refused:
        raise SettingError(f"json: {refused.field}: {refused.text()}") from None
    response = transport.request(method, url, body, headers=headers, params=params)
    verdict = judge(response.status, oauth=transport.has_tokens)
    if verdict is Verdict.CREDENTIALS and transport.renew():
        response = transport.request(method, url, body, headers=headers, params=params)
        verdict = judge(response.status, oauth=transport.has_tokens)
    if response.status is not None and 200 <= response.status < 300:
        return response.content
    said = f"{method} {path} at {transport.endpoint}: {response}" + (
        f": {response.message}" if response.message else ""
    )
    if verdict is Verdict.CREDENTIALS:
        raise CredentialsError(f"{said}: check the connection's credentials")
    if verdict is Verdict.RETRY:
        raise NotSentError(said)
    raise EndpointError(said)


def below(endpoint: str, path: str) -> str:
    """Return the URL of a path on the endpoint's host.

    :param endpoint: the base URL.
    :param path: as the user gave it.
    :raises SettingError: if it leads to another host, which must not see the key.
    """
    ours, theirs = urlsplit(endpoint), urlsplit(path)
    if theirs.netloc and (theirs.scheme, theirs.netloc) != (ours.scheme, ours.netloc):
        raise SettingError(
            f"path: expected one on {ours.netloc}, found one on {theirs.hostname}; it must not see the key"
        )
    if not theirs.path.startswith("/"):
        raise SettingError(f"path: expected one below the host, such as /v1/group, found {path!r}")
    return f"{ours.scheme}://{ours.netloc}{theirs.path}" + (f"?{theirs.query}" if theirs.query else "")
