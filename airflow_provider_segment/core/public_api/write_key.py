"""The write key of a source, fetched with Segment's Public API, so that no connection needs to hold it."""

from __future__ import annotations

from urllib.parse import quote

import requests
from urllib3.exceptions import HTTPError

from airflow_provider_segment.core.delivery.answers import Response, kind_of_trouble, read_answer
from airflow_provider_segment.core.delivery.retries import Verdict, judge
from airflow_provider_segment.core.delivery.transport import new_session
from airflow_provider_segment.core.errors import CredentialsError, EndpointError, NotSentError, SettingError


def fetch_write_key(server: str, source_id: str, token: str, *, timeout: float, proxy: str | None) -> str:
    """Return the first write key of a source.

    :param server: base URL of the Public API.
    :param source_id: of the source.
    :param token: of the Public API, with the permission "source admin".
    :param timeout: seconds for one request.
    :param proxy: URL of a proxy; None takes the environment's.
    :raises CredentialsError: if the token is refused, or may not see the key.
    :raises SettingError: if there is no such source.
    :raises NotSentError: if the Public API does not answer as it should, for now.
    """
    response = _get(f"{server}/sources/{quote(source_id, safe='')}", token, timeout=timeout, proxy=proxy)
    verdict = judge(response.status, documented=True)
    if verdict is Verdict.CREDENTIALS:
        raise CredentialsError(f"public_api_token: {server} refuses it ({response})")
    if verdict is Verdict.RETRY:
        raise NotSentError(f"{server} cannot tell the write key now: {response}")
    if response.status in (400, 404, 422):
        raise SettingError(f"source_id: {server} knows no such source in this workspace and region ({response})")
    if response.status != 200:
        raise EndpointError(f"{server} does not answer as Segment's Public API ({response}): check host and region")
    keys = _write_keys(response)
    if not keys:
        raise CredentialsError("public_api_token: it may not see the source's write keys; it needs 'source admin'")
    return keys[0]


def _get(url: str, token: str, *, timeout: float, proxy: str | None) -> Response:
    headers = {"Authorization": f"Bearer {token}"}
    try:
        with (
            new_session(proxy) as session,
            session.get(url, headers=headers, timeout=timeout, allow_redirects=False, stream=True) as answer,
        ):
            return read_answer(answer)
    except (requests.RequestException, HTTPError, OSError) as error:
        return Response(None, trouble=kind_of_trouble(error))


def _write_keys(response: Response) -> list[str]:
    """Return ``data.source.writeKeys``; it is empty without the permission."""
    found = response.content
    for name in ("data", "source", "writeKeys"):
        found = found.get(name) if isinstance(found, dict) else None
    return [key for key in found if isinstance(key, str) and key] if isinstance(found, list) else []
