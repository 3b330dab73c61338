"""A sync of Segment's own Reverse ETL: started, looked at, cancelled, and judged by its counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_segment.core.errors import EndpointError, ReverseEtlError

if TYPE_CHECKING:
    from airflow_provider_segment.core.public_api.client import PublicApi

IN_PROGRESS, SUCCESS, PARTIAL_SUCCESS, FAIL = STATUSES = ("IN_PROGRESS", "SUCCESS", "PARTIAL_SUCCESS", "FAIL")
_COUNTS = {
    "extractPhase": ("addedCount", "updatedCount", "deletedCount", "extractCount"),
    "loadPhase": ("deliverSuccessCount", "deliverFailureCount"),
}
_SYNC = "/reverse-etl-models/{modelId}/syncs/{syncId}"
_SYNCS = "/reverse-etl-models/{modelId}/subscriptionId/{subscriptionId}/syncs"
# Of Segment's reasons to cancel a sync: another one.
_OTHER = 4
_CODE = re.compile(r"[A-Za-z][\w.-]{0,59}")


def start(api: PublicApi, source_id: str, model_id: str, subscription_id: str) -> str:
    """Start a sync and return its id; after a lost answer it is not started again, since it may go on.

    :param api: with the token.
    :param source_id: of the warehouse.
    :param model_id: of the model.
    :param subscription_id: of the mapping.
    :raises SegmentError: if Segment does not say that it has started.
    """
    body = {"sourceId": source_id, "modelId": model_id, "subscriptionId": subscription_id}
    started = api.post("/reverse-etl-syncs", body, is_repeatable=False).get("reverseETLManualSync")
    sync_id = started.get("syncId") if isinstance(started, dict) else None
    if not isinstance(sync_id, str) or not sync_id:
        raise EndpointError(
            f"{api.server}: POST /reverse-etl-syncs: the answer has no syncId; the sync may have started"
        )
    return sync_id


def running(api: PublicApi, model_id: str, subscription_id: str) -> str | None:
    """Return the id of the sync that is in progress, the one that was started last where there are several.

    :param api: with the token.
    :param model_id: of the model.
    :param subscription_id: of the mapping.
    """
    found = api.get(_SYNCS, {"count": 100}, modelId=model_id, subscriptionId=subscription_id).get("syncStatuses")
    syncs = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    going_on = [one for one in syncs if one.get("syncStatus") == IN_PROGRESS and isinstance(one.get("syncId"), str)]
    return str(max(going_on, key=lambda one: str(one.get("startedAt")))["syncId"]) if going_on else None


def look(api: PublicApi, model_id: str, sync_id: str) -> dict[str, Any]:
    """Return how far a sync is, in Segment's words, with its counts as numbers.

    :param api: with the token.
    :param model_id: of the model.
    :param sync_id: of the sync.
    :raises EndpointError: if its status is none that Segment documents, or a count is no number.
    """
    from airflow_provider_segment.core.public_api.client import count_of

    found = api.get(_SYNC, modelId=model_id, syncId=sync_id).get("reverseETLSyncStatus")
    sync = found if isinstance(found, dict) else {}
    status = sync.get("syncStatus")
    if status not in STATUSES:
        raise EndpointError(f"{api.server}: GET {_SYNC}: the sync's status is none that Segment documents")
    result: dict[str, Any] = {"syncId": sync_id, "syncStatus": status}
    result |= {name: sync[name] for name in ("startedAt", "finishedAt") if isinstance(sync.get(name), str)}
    for phase, names in _COUNTS.items():
        counts = sync.get(phase)
        result |= {name: count_of(counts if isinstance(counts, dict) else {}, name) for name in names}
    if isinstance(code := sync.get("errorCode"), str) and _CODE.fullmatch(code):
        result["errorCode"] = code  # what Segment says of it may quote a row, and is left out
    return result


def cancel(api: PublicApi, model_id: str, sync_id: str) -> str:
    """Cancel a sync, and return what Segment says to it.

    :param api: with the token.
    :param model_id: of the model.
    :param sync_id: of the sync.
    """
    said = api.post(f"{_SYNC}/cancel", {"reasonForCanceling": _OTHER}, modelId=model_id, syncId=sync_id)
    word = said.get("status") or said.get("errorCode")
    return word if isinstance(word, str) and _CODE.fullmatch(word) else "nothing that is known"


def check(result: Mapping[str, Any], max_failed: float) -> None:
    """Refuse a sync that failed, or that did not deliver as much as it should.

    :param result: of :func:`look`.
    :param max_failed: how many records may fail: a count, or below 1 a share of those that were to be delivered.
    :raises ReverseEtlError: then.
    """
    status, failed = result["syncStatus"], result["deliverFailureCount"]
    code = f" ({result['errorCode']})" if "errorCode" in result else ""
    where = f"{summary(result)}. Segment's page of the sync tells the reasons"
    if status == FAIL:
        raise ReverseEtlError(f"The sync failed{code}: {where}")
    if failed > (max_failed * (failed + result["deliverSuccessCount"]) if max_failed < 1 else max_failed):
        raise ReverseEtlError(f"More records failed than the {max_failed:g} that max_failed allows{code}: {where}")
    if status != SUCCESS and not failed:
        raise ReverseEtlError(f"The sync ended as {status}{code}, and does not say how many records failed: {where}")


def summary(result: Mapping[str, Any]) -> str:
    """Return the one line that a log wants.

    :param result: of :func:`look`.
    """
    extracted, added, updated, deleted = (
        f"{result[f'{name}Count']:,}" for name in ("extract", "added", "updated", "deleted")
    )
    return (
        f"sync {result['syncId']}: {result['syncStatus']}, {extracted} records extracted ({added} added, {updated} "
        f"updated, {deleted} deleted), {result['deliverSuccessCount']:,} delivered, "
        f"{result['deliverFailureCount']:,} failed"
    )
