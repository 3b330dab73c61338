"""The local Segment's Public API: the documented paths, who may ask, and what was told to go wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from airflow_provider_segment.testing.asked import ApiError, Asked, Found
from airflow_provider_segment.testing.delivery_overview import OUTCOMES, DeliveryOverview
from airflow_provider_segment.testing.listener import Fault, Reply, Request
from airflow_provider_segment.testing.regulations import Regulations
from airflow_provider_segment.testing.reverse_etl import ReverseEtl
from airflow_provider_segment.testing.script import Script, Steps, keeps_nothing

_ROOTS = ("sources", "delivery-overview", "regulations", "reverse-etl-syncs", "reverse-etl-models")


class PublicApi:
    """The Public API of a local Segment, which knows one source.

    :param write_key: of the source.
    :ivar token: that is asked for; another gets 401.
    :ivar source_id: of the source; another gets 404.
    :ivar delivery: what became of events: counts what the local Segment received, and lets another sender be added.
    :ivar regulations: those that were made.
    :ivar reverse_etl: the syncs that were started.
    """

    def __init__(self, write_key: str) -> None:
        self.token = "local-public-api-token-0000000000"  # noqa: S105  it opens nothing but this
        self.source_id = "local-source"
        self.delivery = DeliveryOverview()
        self.regulations = Regulations()
        self.reverse_etl = ReverseEtl()
        self._script = Script()
        source = {"id": self.source_id, "writeKeys": [write_key]}
        self._routes: list[tuple[str, str, Callable[[Asked], Found]]] = [
            ("GET", "/sources/{sourceId}", lambda _: {"source": source}),
            *(("GET", f"/delivery-overview/{outcome}", self._overview(outcome)) for outcome in OUTCOMES),
            ("POST", "/regulations", self.regulations.create),
            ("GET", "/regulations", self.regulations.list),
            ("POST", "/regulations/sources/{sourceId}", self.regulations.create),
            ("GET", "/regulations/sources/{sourceId}", self.regulations.list),
            ("GET", "/regulations/{regulateId}", self.regulations.get),
            ("POST", "/reverse-etl-syncs", self.reverse_etl.start),
            ("GET", "/reverse-etl-models/{modelId}/subscriptionId/{subscriptionId}/syncs", self.reverse_etl.list),
            ("GET", "/reverse-etl-models/{modelId}/syncs/{syncId}", self.reverse_etl.status),
            ("POST", "/reverse-etl-models/{modelId}/syncs/{syncId}/cancel", self.reverse_etl.cancel),
        ]

    def respond_with(self, script: Steps) -> None:
        """Answer the coming requests to the Public API, one step each, and then as usual.

        :param script: as :meth:`SegmentServer.respond_with` says; what is not 2xx does nothing at Segment.
        :raises ValueError: for a step that is none.
        """
        self._script.extend(script)

    @staticmethod
    def serves(request: Request) -> bool:
        """Tell whether a request is one to the Public API.

        :param request: any.
        """
        return urlsplit(request.path).path.split("/")[1:2] in [[root] for root in _ROOTS]

    def answer(self, request: Request) -> Reply | Fault:
        """Answer a request.

        :param request: that :meth:`serves` takes.
        """
        step = self._script.step(request)
        if keeps_nothing(step):
            return _with_body(step)
        try:
            status, content = 200, {"data": self._found(request)}
        except ApiError as error:
            status, content = error.status, error.body()
        if step == "reset_after":
            return step
        if isinstance(step, tuple) and (step[0] != 200 or step[2] is not None):
            return step
        return status, {}, json.dumps(content).encode()

    def _found(self, request: Request) -> Found:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise ApiError(401, "unauthorized")
        url = urlsplit(request.path)
        fits = [(method, _ids(pattern, url.path), find) for method, pattern, find in self._routes]
        known = [(method, ids, find) for method, ids, find in fits if ids is not None]
        for method, ids, find in known:
            if method == request.method:
                asked = Asked(ids, dict(parse_qsl(url.query)), _json(request))
                if ids.get("sourceId", asked.query.get("sourceId", self.source_id)) != self.source_id:
                    raise ApiError(404, "not-found")
                return find(asked)
        raise ApiError(405 if known else 404, "not-found")

    def _overview(self, outcome: str) -> Callable[[Asked], Found]:
        def find(asked: Asked) -> Found:
            asked.needed("sourceId")
            return self.delivery.answer(outcome, asked)

        return find


def _ids(pattern: str, path: str) -> dict[str, str] | None:
    """Return the ids in a path that fits a documented one; None where it does not."""
    found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern), path)
    return {name: unquote(text) for name, text in found.groupdict().items()} if found else None


def _json(request: Request) -> dict[str, Any]:
    if request.method != "POST":
        return {}
    try:
        content = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        content = None
    if not isinstance(content, dict):
        raise ApiError(422, "validation-error")
    return content


def _with_body(step: Reply | Fault) -> Reply | Fault:
    """Give a scripted failure the documented body, where the script gives none."""
    if isinstance(step, tuple) and step[2] is None:
        return step[0], step[1], json.dumps({"errors": [{"type": "scripted", "status": step[0]}]}).encode()
    return step
