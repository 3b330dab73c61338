"""The URI of a Segment source as an asset: ``segment://<host>/<source>``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    from openlineage.client.event_v2 import Dataset

_WANTED = "expected segment://<host>/<source>, such as segment://api.segment.io/my-source"


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Return the one way to write a source's URI.

    :param uri: as Airflow split it.
    :raises ValueError: if it does not name a host and a source, or has anything else in it.
    """
    if uri.username is not None or uri.password is not None:
        raise ValueError(f"{_WANTED}, without a user or password: they belong into the connection")
    if uri.query or uri.fragment:
        raise ValueError(f"{_WANTED}, without a query or fragment")
    source = uri.path.strip("/")
    if not uri.hostname or not source:
        raise ValueError(f"{_WANTED}; found no {'source' if uri.hostname else 'host'}")
    if "/" in source:
        raise ValueError(f"{_WANTED}; found more than a source behind the host")
    return uri._replace(netloc=uri.netloc.lower(), path=f"/{source}")


def convert_asset_to_openlineage(asset: Any, lineage_context: Any) -> Dataset:
    """Return an asset as OpenLineage's dataset.

    :param asset: of Airflow, with a URI that is in order.
    :param lineage_context: the hook that reported it; not needed.
    """
    from openlineage.client.event_v2 import Dataset

    uri = urlsplit(asset.uri)
    return Dataset(namespace=f"segment://{uri.netloc}", name=uri.path.strip("/"))
