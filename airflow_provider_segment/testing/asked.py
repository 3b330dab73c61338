"""One question to the local Public API, and the ways to answer it: data, a page of a list, or an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Found = dict[str, Any]

_PAGE = 10


class ApiError(Exception):
    """What the Public API refuses.

    :param status: of HTTP.
    :param kind: the type of the error, in its words.
    :param field: of the request, where one is wrong.
    """

    def __init__(self, status: int, kind: str, field: str | None = None) -> None:
        super().__init__(status, kind, field)
        self.status, self.kind, self.field = status, kind, field

    def body(self) -> Found:
        """Return the documented body."""
        words = f"{self.field} is not valid" if self.field else self.kind
        return {"errors": [{"type": self.kind, "message": words} | ({"field": self.field} if self.field else {})]}


@dataclass(frozen=True)
class Asked:
    """One question.

    :param ids: of the path, by their documented names.
    :param query: of the URL.
    :param body: the JSON of a POST; empty otherwise.
    """

    ids: dict[str, str]
    query: dict[str, str]
    body: Found

    def needed(self, name: str) -> str:
        """Return a parameter of the query.

        :param name: of it.
        :raises ApiError: if it is missing.
        """
        if not self.query.get(name):
            raise ApiError(422, "validation-error", name)
        return self.query[name]

    def page(self, name: str, entries: Sequence[Any], *, prefix: str = "pagination.", longest: int = 1_000) -> Found:
        """Return the page of a list that is asked for, with the cursor of the next.

        :param name: of the list.
        :param entries: all of them.
        :param prefix: of the two parameters "count" and "cursor".
        :param longest: entries of a page at most.
        :raises ApiError: if the size or the cursor is wrong.
        """
        size, cursor = self.query.get(f"{prefix}count", str(_PAGE)), self.query.get(f"{prefix}cursor", "at-0")
        start = cursor.removeprefix("at-")
        if not size.isdecimal() or not 1 <= int(size) <= longest:
            raise ApiError(422, "validation-error", f"{prefix}count")
        if not start.isdecimal() or not cursor.startswith("at-"):
            raise ApiError(422, "validation-error", f"{prefix}cursor")
        end = int(start) + int(size)
        more = {"next": f"at-{end}"} if end < len(entries) else {}
        return {
            name: list(entries[int(start) : end]),
            "pagination": {"current": cursor, "totalEntries": len(entries)} | more,
        }
