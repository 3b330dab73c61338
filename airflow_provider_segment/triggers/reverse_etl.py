"""The trigger of SegmentReverseEtlOperator: it waits in Airflow's triggerer, where a wait takes no worker."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from asgiref.sync import sync_to_async

from airflow_provider_segment.compat import BaseTrigger, TriggerEvent
from airflow_provider_segment.core.delivery.retries import RetryPolicy
from airflow_provider_segment.core.errors import NotSentError, SegmentError
from airflow_provider_segment.core.public_api.client import PublicApi
from airflow_provider_segment.core.public_api.reverse_etl import IN_PROGRESS, cancel, look
from airflow_provider_segment.hooks.segment import SegmentHook


class SegmentReverseEtlTrigger(BaseTrigger):
    """Looks at a sync until it has ended; SegmentReverseEtlOperator starts it.

    Its event has ``result``, or ``error`` with ``retry_helps``.

    :param segment_conn_id: a connection of type ``segment`` with a ``public_api_token``.
    :param model_id: of the model.
    :param sync_id: of the sync.
    :param poll_interval: seconds between two looks.
    :param until: when to give up, as ISO 8601 text.
    """

    def __init__(self, *, segment_conn_id: str, model_id: str, sync_id: str, poll_interval: float, until: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own have no annotations
        self.segment_conn_id = segment_conn_id
        self.model_id = model_id
        self.sync_id = sync_id
        self.poll_interval = poll_interval
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores of it."""
        names = ("segment_conn_id", "model_id", "sync_id", "poll_interval", "until")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until it has ended, and say what was found."""
        try:
            found = await self._wait()
        except SegmentError as error:
            found = {"error": str(error), "retry_helps": error.retry_helps}
        yield TriggerEvent(found)  # type: ignore[no-untyped-call]  # as above

    async def _wait(self) -> dict[str, Any]:
        api, until = await self._api(), dt.datetime.fromisoformat(self.until)
        while True:
            pause = self.poll_interval
            try:
                result = await asyncio.to_thread(look, api, self.model_id, self.sync_id)
                if result["syncStatus"] != IN_PROGRESS:
                    return {"result": result}
            except NotSentError as error:  # it may pass, and Segment says how long to wait
                self.log.warning("%s", error)
                pause = max(pause, error.wait or 0.0)
            left = (until - dt.datetime.now(dt.UTC)).total_seconds()
            if left <= 0:
                said = f"The sync {self.sync_id} has not ended in time, and goes on; a retry waits for it"
                return {"error": said, "retry_helps": True}
            await asyncio.sleep(max(min(pause, left), 0.0))

    async def on_kill(self) -> None:
        """Cancel the sync, when somebody ends the task that waits: Airflow calls this where it knows it (3.3 does)."""
        try:
            said = await asyncio.to_thread(cancel, await self._api(), self.model_id, self.sync_id)
            self.log.warning("The sync %s was told to end; Segment says %s", self.sync_id, said)
        except SegmentError as error:
            self.log.warning("The sync %s goes on, since it could not be cancelled: %s", self.sync_id, error)

    async def _api(self) -> PublicApi:
        """Return a client that asks once: the waits are made here, where they hold up nobody."""
        hook = SegmentHook(self.segment_conn_id)
        api = await sync_to_async(lambda: hook.public_api)()
        return replace(api, policy=RetryPolicy(deadline=0))
