"""The local Segment's regulations: who is to be suppressed or deleted, and how far that is."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Iterable
from typing import Any

from airflow_provider_segment.testing.asked import ApiError, Asked, Found

TYPES = (
    "SUPPRESS_ONLY",
    "UNSUPPRESS",
    "SUPPRESS_WITH_DELETE",
    "SUPPRESS_WITH_DELETE_INTERNAL",
    "DELETE_INTERNAL",
    "DELETE_ONLY",
)
STATUSES = ("INITIALIZED", "RUNNING", "FINISHED", "FAILED", "PARTIAL_SUCCESS", "NOT_SUPPORTED", "INVALID")
MAX_SUBJECTS = 5_000


class Regulations:
    """The regulations that were made.

    :ivar made: each as Segment lists it, with ``sourceId`` None for one of the whole workspace.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._coming: list[str] = ["FINISHED"]
        self._destinations: dict[str, str] = {}
        self._shown: dict[str, int] = {}
        self.made: list[dict[str, Any]] = []

    def go_through(self, statuses: Iterable[str], destinations: dict[str, str] | None = None) -> None:
        """Say what each look at a regulation finds: the first status, then the next; the last one stays.

        :param statuses: of a regulation; by default it is finished when it is first looked at.
        :param destinations: the status of each destination, by its name; default none are connected.
        :raises ValueError: for a status that Segment does not know.
        """
        coming, at_destinations = list(statuses), dict(destinations or {})
        if unknown := {*coming, *at_destinations.values()} - {*STATUSES}:
            raise ValueError(f"Not a status of a regulation: {min(unknown)}; there are {', '.join(STATUSES)}")
        with self._lock:
            self._coming, self._destinations = coming, at_destinations

    def create(self, asked: Asked) -> Found:
        """Make a regulation, of a source or of the workspace.

        :param asked: its type and its users.
        :raises ApiError: if it is not what is documented.
        """
        body, source_id = asked.body, asked.ids.get("sourceId")
        allowed = (*TYPES, "DELETE_ARCHIVE_ONLY") if source_id else TYPES
        subjects = body.get("subjectIds")
        if body.get("regulationType") not in allowed:
            raise ApiError(422, "validation-error", "regulationType")
        if body.get("subjectType") != "USER_ID":
            raise ApiError(422, "validation-error", "subjectType")
        if not isinstance(subjects, list) or not 1 <= len(subjects) <= MAX_SUBJECTS:
            raise ApiError(422, "validation-error", "subjectIds")
        if not all(isinstance(subject, str) and subject for subject in subjects):
            raise ApiError(422, "validation-error", "subjectIds")
        entry = {
            "id": uuid.uuid4().hex,
            "sourceId": source_id,
            "regulationType": body["regulationType"],
            "subjectType": "USER_ID",
            "subjects": subjects,
            "status": "INITIALIZED",
            "createdAt": _now(),
        }
        with self._lock:
            self.made.append(entry)
        return {"regulateId": entry["id"]}

    def get(self, asked: Asked) -> Found:
        """Return how far a regulation is.

        :param asked: which.
        :raises ApiError: if there is none by this id.
        """
        with self._lock:
            entry = next((one for one in self.made if one["id"] == asked.ids["regulateId"]), None)
            if entry is None:
                raise ApiError(404, "not-found")
            look = self._shown[entry["id"]] = self._shown.get(entry["id"], -1) + 1
            entry["status"] = self._coming[min(look, len(self._coming) - 1)]
            if entry["status"] not in ("INITIALIZED", "RUNNING"):
                entry.setdefault("finishedAt", _now())
            at_destinations = [
                {
                    "name": name,
                    "id": f"destination-{number}",
                    "status": status,
                    "errString": "",
                    "finishedAt": entry.get("finishedAt", ""),
                }
                for number, (name, status) in enumerate(self._destinations.items())
            ]
            shown = {name: entry[name] for name in ("id", "createdAt", "finishedAt") if name in entry}
        streams = [{"id": "stream-0", "destinationStatus": at_destinations}]
        regulation = shown | {"workspaceId": "local", "overallStatus": entry["status"], "streamStatus": streams}
        return {"regulation": regulation}

    def list(self, asked: Asked) -> Found:
        """Return a page of the regulations of a source, or of the workspace.

        :param asked: which.
        """
        source_id = asked.ids.get("sourceId")
        with self._lock:
            found = [
                {name: value for name, value in entry.items() if name != "sourceId"}
                for entry in self.made
                if entry["sourceId"] == source_id
            ]
        return asked.page("regulations", found)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat()
