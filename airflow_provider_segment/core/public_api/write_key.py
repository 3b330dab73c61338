"""The write key of a source, fetched with Segment's Public API, so that no connection needs to hold it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_segment.core.errors import CredentialsError
from airflow_provider_segment.core.public_api.client import PublicApi


def fetch_write_key(api: PublicApi, source_id: str) -> str:
    """Return the first write key of a source.

    :param api: whose token needs the permission "source admin".
    :param source_id: of the source.
    :raises CredentialsError: if the token is refused, or may not see the key.
    :raises SettingError: if there is no such source.
    :raises NotSentError: if the Public API does not answer for now.
    """
    keys = _write_keys(api.get("/sources/{sourceId}", sourceId=source_id))
    if not keys:
        raise CredentialsError("public_api_token: it may not see the source's write keys; it needs 'source admin'")
    return keys[0]


def _write_keys(data: Mapping[str, Any]) -> list[str]:
    """Return ``source.writeKeys``; it is empty without the permission."""
    source = data.get("source")
    found = source.get("writeKeys") if isinstance(source, dict) else None
    return [key for key in found if isinstance(key, str) and key] if isinstance(found, list) else []
