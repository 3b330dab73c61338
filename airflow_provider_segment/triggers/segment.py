"""Triggers: they wait for Segment in Airflow's triggerer, where a wait takes no worker."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from asgiref.sync import sync_to_async

from airflow_provider_segment.compat import BaseTrigger, TriggerEvent
from airflow_provider_segment.core.delivery.retries import RetryPolicy
from airflow_provider_segment.core.errors import NotSentError, SegmentError
from airflow_provider_segment.core.public_api.client import PublicApi
from airflow_provider_segment.core.public_api.settling import Settling, Verdict, sent_of
from airflow_provider_segment.hooks.segment import SegmentHook


class SegmentDeliveryTrigger(BaseTrigger):
    """Looks at what Segment received of a run, until the numbers stand still; SegmentDeliverySensor starts it.

    Its event has ``result``, or ``error`` with ``timed_out``.

    :param segment_conn_id: a connection of type ``segment`` with a ``public_api_token``.
    :param source_id: of the source.
    :param report: ``accepted``, ``started`` and ``ended`` of the run.
    :param tolerance: the share of the accepted calls that need not be received.
    :param settle_seconds: for so long the numbers must not have moved, where they are too small.
    :param poke_interval: seconds between two looks.
    :param until: when to give up, as ISO 8601 text.
    """

    def __init__(
        self,
        *,
        segment_conn_id: str,
        source_id: str,
        report: Mapping[str, Any],
        tolerance: float,
        settle_seconds: float,
        poke_interval: float,
        until: str,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own have no annotations
        self.segment_conn_id = segment_conn_id
        self.source_id = source_id
        self.report = dict(report)
        self.tolerance = tolerance
        self.settle_seconds = settle_seconds
        self.poke_interval = poke_interval
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores of it."""
        names = ("segment_conn_id", "source_id", "report", "tolerance", "settle_seconds", "poke_interval", "until")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until it is known, and say what was found."""
        try:
            found = await self._wait()
        except SegmentError as error:
            found = {"error": str(error), "timed_out": False}
        yield TriggerEvent(found)  # type: ignore[no-untyped-call]  # as above

    async def _wait(self) -> dict[str, Any]:
        sent, until = sent_of(self.report, self.tolerance), dt.datetime.fromisoformat(self.until)
        settling = Settling(await self._api(), self.source_id, sent, self.settle_seconds)
        while True:
            pause, verdict = self.poke_interval, Verdict.WAIT
            try:
                verdict = await asyncio.to_thread(settling.look)
            except NotSentError as error:  # it may pass, and Segment says how long to wait
                self.log.warning("%s", error)
                pause = max(pause, error.wait or 0.0)
            left, last = (until - dt.datetime.now(dt.UTC)).total_seconds(), settling.last
            if last is not None and (verdict is Verdict.ARRIVED or (left <= 0 and sent.is_enough(last))):
                self.log.info("%s", sent.said(last))
                return {"result": sent.result(last), "said": sent.said(last)}
            if verdict is Verdict.MISSING or left <= 0:
                return {"error": str(sent.missing(last)), "timed_out": verdict is Verdict.WAIT}
            await asyncio.sleep(max(min(pause, left), 0.0))

    async def _api(self) -> PublicApi:
        """Return a client that asks once: the waits are made here, where they hold up nobody."""
        hook = SegmentHook(self.segment_conn_id)
        api = await sync_to_async(lambda: hook.public_api)()
        return replace(api, policy=RetryPolicy(deadline=0))
