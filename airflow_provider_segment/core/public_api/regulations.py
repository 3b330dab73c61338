"""Regulations: what Segment is asked to suppress, delete or unsuppress, and how far it is with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_segment.core.errors import EndpointError, RegulationError

if TYPE_CHECKING:
    from airflow_provider_segment.core.public_api.client import PublicApi

# Segment's own limit of user ids in one call.
MAX_USERS = 5_000
# These six are for the workspace, or for one source.
TYPES = (
    "SUPPRESS_ONLY",
    "UNSUPPRESS",
    "SUPPRESS_WITH_DELETE",
    "SUPPRESS_WITH_DELETE_INTERNAL",
    "DELETE_ONLY",
    "DELETE_INTERNAL",
)
# In few workspaces only.
SOURCE_TYPES = (*TYPES, "DELETE_ARCHIVE_ONLY")

FINISHED = "FINISHED"
_GOES_ON = ("INITIALIZED", "RUNNING")
_DID_NOT_FINISH = ("FAILED", "PARTIAL_SUCCESS", "NOT_SUPPORTED", "INVALID")


def create(api: PublicApi, regulation_type: str, users: Sequence[str], source_id: str | None) -> str:
    """Make one regulation and return its id. After a lost answer it is made again: that harms nobody, but costs quota.

    :param api: with the token.
    :param regulation_type: one of the above.
    :param users: at most 5,000 user ids.
    :param source_id: of the source that it is for; None for the whole workspace.
    :raises SegmentError: if Segment does not take it.
    """
    body = {"regulationType": regulation_type, "subjectType": "USER_ID", "subjectIds": list(users)}
    if source_id is None:
        path, data = "/regulations", api.post("/regulations", body)
    else:
        path = "/regulations/sources/{sourceId}"
        data = api.post(path, body, sourceId=source_id)
    regulate_id = data.get("regulateId")
    if not isinstance(regulate_id, str) or not regulate_id:
        raise EndpointError(
            f"{api.server}: POST {path}: the answer has no regulateId; the regulation may have been made"
        )
    return regulate_id


def unfinished(api: PublicApi, regulate_ids: Sequence[str]) -> list[str]:
    """Return the ids of those regulations that go on.

    :param api: with the token.
    :param regulate_ids: of all that are waited for.
    :raises RegulationError: if one has ended otherwise than finished: with the destinations that said so.
    :raises EndpointError: if a status is none that Segment documents.
    """
    going_on: list[str] = []
    failures: list[str] = []
    for regulate_id in regulate_ids:
        regulation = api.get("/regulations/{regulateId}", regulateId=regulate_id).get("regulation")
        found = regulation if isinstance(regulation, dict) else {}
        status = found.get("overallStatus")
        if status in _GOES_ON:
            going_on.append(regulate_id)
        elif status in _DID_NOT_FINISH:
            failures.append(f"{regulate_id}: {status}{_said(found)}")
        elif status != FINISHED:
            raise EndpointError(f"{api.server}: regulation {regulate_id}: its status is none that Segment documents")
    if failures:
        listed = "".join(f"\n  {failure}" for failure in failures)
        raise RegulationError(
            f"{len(failures)} of {len(regulate_ids)} regulations ended, and did not finish; {len(going_on)} go on. "
            "Segment itself may have done its part all the same: FAILED can mean that one destination does not support "
            f"deletion. Look at the destinations that are named:{listed}"
        )
    return going_on


def _said(regulation: Mapping[str, Any]) -> str:
    """Return what each destination said that did not finish; its own words are left out, since they may hold an id."""
    statuses = Counter(_destinations(regulation))
    said = [f"{name} {status}" for name, status in sorted(statuses) if status != FINISHED]
    return f" ({', '.join(said)})" if said else " (no destination is named)"


def _destinations(regulation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each destination's name and status."""
    for stream in _dicts(regulation.get("streamStatus")):
        for destination in _dicts(stream.get("destinationStatus")):
            yield str(destination.get("name") or destination.get("id"))[:100], str(destination.get("status"))[:40]


def _dicts(found: Any) -> Iterator[dict[str, Any]]:
    yield from (one for one in found if isinstance(one, dict)) if isinstance(found, list) else ()
