"""The local Segment's own Reverse ETL: syncs that are started, looked at and cancelled."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Iterable
from typing import Any

from airflow_provider_segment.testing.asked import ApiError, Asked, Found

STATUSES = ("IN_PROGRESS", "SUCCESS", "PARTIAL_SUCCESS", "FAIL")
_COUNTS = {
    "extractPhase": ("addedCount", "updatedCount", "deletedCount", "extractCount"),
    "loadPhase": ("deliverSuccessCount", "deliverFailureCount"),
}


class ReverseEtl:
    """The syncs that were started.

    :ivar started: each with its ``syncId``, ``modelId``, ``sourceId``, ``subscriptionId``, ``startedAt`` and whether it
        ``isCancelled``.
    :ivar as_text: whether counts are text, as Segment documents them (default), or numbers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._coming: list[tuple[str, dict[str, int], dict[str, str]]] = [("SUCCESS", {}, {})]
        self._shown: dict[str, int] = {}
        self.started: list[dict[str, Any]] = []
        self.as_text = True

    def go_through(self, statuses: Iterable[str], error: str = "", **counts: int) -> None:
        """Say what each look at a sync finds: the first status, then the next; the last one stays.

        :param statuses: of a sync; by default it has succeeded when it is first looked at.
        :param error: the code and the words of what ended it, shown with FAIL.
        :param counts: such as ``extractCount=3, deliverFailureCount=1``; the others are 0.
        :raises ValueError: for a status or a count that Segment does not know.
        """
        coming = list(statuses)
        known = {name for names in _COUNTS.values() for name in names}
        if unknown := {*coming} - {*STATUSES} | {*counts} - known:
            raise ValueError(f"Not a status or a count of a sync: {min(unknown)}")
        said = {"error": error, "errorCode": error} if error else {}
        with self._lock:
            self._coming = [(status, counts, said if status == "FAIL" else {}) for status in coming]

    def start(self, asked: Asked) -> Found:
        """Start a sync.

        :param asked: of which model, for which subscription.
        :raises ApiError: if one of the three ids is missing.
        """
        for name in ("sourceId", "modelId", "subscriptionId"):
            if not isinstance(asked.body.get(name), str) or not asked.body[name]:
                raise ApiError(422, "validation-error", name)
        at = dt.datetime.now(dt.UTC).isoformat()
        sync = {name: asked.body[name] for name in ("sourceId", "modelId", "subscriptionId")}
        sync |= {"syncId": uuid.uuid4().hex, "startedAt": at, "isCancelled": False}
        with self._lock:
            self.started.append(sync)
        return {"reverseETLManualSync": {"syncId": sync["syncId"], "startedAt": at}}

    def status(self, asked: Asked) -> Found:
        """Return how far a sync is.

        :param asked: which.
        :raises ApiError: if the model has none by this id.
        """
        sync = self._sync(asked)
        with self._lock:
            self._shown[sync["syncId"]] = self._shown.get(sync["syncId"], -1) + 1
        return {"reverseETLSyncStatus": self._found(sync)}

    def list(self, asked: Asked) -> Found:
        """Return a page of the syncs of a model and subscription; it is no look that makes them go on.

        :param asked: which.
        """
        wanted = (asked.ids["modelId"], asked.ids["subscriptionId"])
        with self._lock:
            syncs = [one for one in self.started if (one["modelId"], one["subscriptionId"]) == wanted]
        return asked.page("syncStatuses", [self._found(one) for one in syncs], prefix="", longest=100)

    def _found(self, sync: dict[str, Any]) -> Found:
        """Return what the last look at a sync found."""
        with self._lock:
            look = max(0, self._shown.get(sync["syncId"], 0))
            status, counts, said = self._coming[min(look, len(self._coming) - 1)]
        if sync["isCancelled"]:
            status = "FAIL"
        found = {name: sync[name] for name in ("syncId", "modelId", "sourceId", "startedAt")} | said
        found |= {"syncStatus": status, "duration": "1s"}
        if status != "IN_PROGRESS":
            found["finishedAt"] = dt.datetime.now(dt.UTC).isoformat()
        for phase, names in _COUNTS.items():
            found[phase] = {name: self._number(counts.get(name, 0)) for name in names}
        return found

    def cancel(self, asked: Asked) -> Found:
        """Cancel a sync, unless it has ended.

        :param asked: which.
        :raises ApiError: if the model has none by this id.
        """
        sync = self._sync(asked)
        found = {name: sync[name] for name in ("modelId", "syncId")}
        with self._lock:
            look = self._shown.get(sync["syncId"], -1)
            has_ended = look >= 0 and self._coming[min(look, len(self._coming) - 1)][0] != "IN_PROGRESS"
            if sync["isCancelled"]:
                return found | {"errorCode": "SyncAlreadyCanceled", "errorMessage": "sync already canceled"}
            if has_ended:
                return found | {"errorCode": "SyncFinishedCannotCancel", "errorMessage": "sync already finished"}
            sync["isCancelled"] = True
        return found | {"status": "CANCELLING"}

    def _sync(self, asked: Asked) -> dict[str, Any]:
        wanted = (asked.ids["modelId"], asked.ids["syncId"])
        with self._lock:
            found = next((one for one in self.started if (one["modelId"], one["syncId"]) == wanted), None)
        if found is None:
            raise ApiError(404, "not-found")
        return found

    def _number(self, number: int) -> int | str:
        return str(number) if self.as_text else number
