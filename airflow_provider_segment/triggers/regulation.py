"""The trigger of SegmentRegulationSensor: it waits in Airflow's triggerer, where a wait takes no worker."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from asgiref.sync import sync_to_async

from airflow_provider_segment.compat import BaseTrigger, TriggerEvent
from airflow_provider_segment.core.delivery.retries import RetryPolicy
from airflow_provider_segment.core.errors import NotSentError, SegmentError
from airflow_provider_segment.core.public_api.client import PublicApi
from airflow_provider_segment.core.public_api.regulations import unfinished
from airflow_provider_segment.hooks.segment import SegmentHook


class SegmentRegulationTrigger(BaseTrigger):
    """Looks at regulations until all are finished, or one has ended otherwise; SegmentRegulationSensor starts it.

    Its event is empty, or has ``error`` with ``timed_out``.

    :param segment_conn_id: a connection of type ``segment`` with a ``public_api_token``.
    :param regulations: their ids.
    :param poke_interval: seconds between two looks.
    :param until: when to give up, as ISO 8601 text.
    """

    def __init__(self, *, segment_conn_id: str, regulations: Sequence[str], poke_interval: float, until: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own have no annotations
        self.segment_conn_id = segment_conn_id
        self.regulations = list(regulations)
        self.poke_interval = poke_interval
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores of it."""
        names = ("segment_conn_id", "regulations", "poke_interval", "until")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until it is known, and say what was found."""
        try:
            found = await self._wait()
        except SegmentError as error:
            found = {"error": str(error), "timed_out": False}
        yield TriggerEvent(found)  # type: ignore[no-untyped-call]  # as above

    async def _wait(self) -> dict[str, Any]:
        api, until = await self._api(), dt.datetime.fromisoformat(self.until)
        left: Sequence[str] = self.regulations
        while True:
            pause = self.poke_interval
            try:
                left = await asyncio.to_thread(unfinished, api, left)
            except NotSentError as error:  # it may pass, and Segment says how long to wait
                self.log.warning("%s", error)
                pause = max(pause, error.wait or 0.0)
            if not left:
                return {}
            seconds = (until - dt.datetime.now(dt.UTC)).total_seconds()
            if seconds <= 0:
                said = f"{len(left)} of {len(self.regulations)} regulations are not finished in time: {', '.join(left)}"
                return {"error": said, "timed_out": True}
            await asyncio.sleep(max(min(pause, seconds), 0.0))

    async def _api(self) -> PublicApi:
        """Return a client that asks once: the waits are made here, where they hold up nobody."""
        hook = SegmentHook(self.segment_conn_id)
        api = await sync_to_async(lambda: hook.public_api)()
        return replace(api, policy=RetryPolicy(deadline=0))
