"""SegmentReverseEtlOperator: a sync of Segment's own Reverse ETL, started and waited for."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_segment.compat import BaseOperator, default_deferrable
from airflow_provider_segment.core.errors import NotSentError, ReverseEtlError, SettingError
from airflow_provider_segment.core.options import check_max_rejected
from airflow_provider_segment.hooks.templates import KeepsText

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context
    from airflow_provider_segment.core.public_api.client import PublicApi
    from airflow_provider_segment.hooks.started_sync import StartedSync

# Seconds for the request that cancels: Airflow 3 kills a task five seconds after its SIGTERM.
CANCEL_SECONDS = 4.0


class SegmentReverseEtlOperator(KeepsText, BaseOperator):
    """Start a sync of Segment's own Reverse ETL, wait until it ends, and return its counts.

    A retry goes on with the sync that an earlier try has started. A task that is killed cancels it. The ids stand in
    the address of the mapping's page in Segment's app: ``.../mappings/<subscription>/source-id/<source>/model-id/...``

    :param source_id: of the warehouse, which is a source to Segment's Reverse ETL (templated).
    :param model_id: of the model (templated).
    :param subscription_id: of the mapping (templated).
    :param max_failed: how many records may fail to be delivered before the task fails: a count, or below 1 a share of
        those that were to be delivered; default 0.
    :param segment_conn_id: a connection of type ``segment`` with a ``public_api_token``; default ``segment_default``
        (templated).
    :param poll_interval: seconds between two looks at the sync; default 30.
    :param timeout: seconds for the sync; default one day. After it the task fails for a retry, and the sync goes on.
    :param deferrable: whether it waits in Airflow's triggerer, where it takes no worker; default Airflow's setting
        ``[operators] default_deferrable``.
    :return: ``syncId``, ``syncStatus``, ``startedAt``, ``finishedAt``, and as numbers ``addedCount``,
        ``updatedCount``, ``deletedCount``, ``extractCount``, ``deliverSuccessCount``, ``deliverFailureCount``.
    :raises ValueError: when the DAG is parsed, if a setting is not what it should be.
    """

    text_fields: ClassVar[Sequence[str]] = ("source_id", "model_id", "subscription_id", "segment_conn_id")
    template_fields: Sequence[str] = (*text_fields,)
    ui_color = "#d9f2e6"

    def __init__(
        self,
        *,
        source_id: str,
        model_id: str,
        subscription_id: str,
        max_failed: float = 0,
        segment_conn_id: str = "segment_default",
        poll_interval: float = 30.0,
        timeout: dt.timedelta | float = 86_400.0,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_max_rejected(max_failed, "max_failed")
        self.timeout = timeout.total_seconds() if isinstance(timeout, dt.timedelta) else timeout
        for name, seconds in (("poll_interval", poll_interval), ("timeout", self.timeout)):
            if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds <= 0:
                raise SettingError(f"{name}: expected seconds above 0, found {seconds!r}")
        self.source_id = source_id
        self.model_id = model_id
        self.subscription_id = subscription_id
        self.max_failed = max_failed
        self.segment_conn_id = segment_conn_id
        self.poll_interval = poll_interval
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self._api: PublicApi | None = None
        self._sync_id: str | None = None
        self._is_stopped = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Start a sync, or find the one that an earlier try has started; wait for it, and return its counts.

        :param context: of the task.
        """
        from airflow_provider_segment.hooks import sigterm
        from airflow_provider_segment.hooks.segment import SegmentHook
        from airflow_provider_segment.hooks.started_sync import StartedSync
        from airflow_provider_segment.hooks.task import as_airflow_exceptions, current

        task_run = current(context)
        with as_airflow_exceptions():
            pause = partial(sigterm.pause, is_stopped=lambda: self._is_stopped)
            self._api = api = replace(SegmentHook(self.segment_conn_id).public_api, sleep=pause)
            sigterm.watch(task_run)
            started = StartedSync(task_run, api, self.source_id, self.model_id, self.subscription_id, self.log)
            with sigterm.waits():
                self._sync_id = sync_id = started.find_or_start()
            if self.deferrable:
                self._defer(sync_id)
            return self._end(started, self._wait(api, sync_id))

    def _wait(self, api: PublicApi, sync_id: str) -> dict[str, Any]:
        """Look at the sync until it has ended."""
        from airflow_provider_segment.core.public_api.reverse_etl import IN_PROGRESS, look, summary
        from airflow_provider_segment.hooks import sigterm

        until = time.monotonic() + self.timeout
        while True:
            with sigterm.waits():
                try:
                    result = look(api, self.model_id, sync_id)
                except NotSentError as error:  # it may pass
                    self.log.warning("%s", error)
                else:
                    if result["syncStatus"] != IN_PROGRESS:
                        return result
                    self.log.info("%s", summary(result))
                left = until - time.monotonic()
                if left <= 0:
                    raise ReverseEtlError(
                        f"The sync {sync_id} has not ended in time, and goes on; a retry waits for it"
                    )
                sigterm.pause(min(self.poll_interval, left), lambda: self._is_stopped)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return the counts that the trigger has found, or fail.

        :param context: of the task.
        :param event: of the trigger.
        """
        from airflow_provider_segment.hooks.segment import SegmentHook
        from airflow_provider_segment.hooks.started_sync import StartedSync
        from airflow_provider_segment.hooks.task import SegmentFailException, as_airflow_exceptions, current

        if "error" in event:
            raise (ReverseEtlError if event["retry_helps"] else SegmentFailException)(event["error"])
        with as_airflow_exceptions():
            api = SegmentHook(self.segment_conn_id).public_api
            ids = (self.source_id, self.model_id, self.subscription_id)
            return self._end(StartedSync(current(context), api, *ids, self.log), event["result"])

    def _end(self, started: StartedSync, result: dict[str, Any]) -> dict[str, Any]:
        """Forget the sync, which has ended, so that a later try starts another one; and judge it."""
        from airflow_provider_segment.core.public_api.reverse_etl import check, summary

        started.forget()
        self._sync_id = None
        check(result, self.max_failed)
        self.log.info("%s", summary(result))
        return result

    def _defer(self, sync_id: str) -> None:
        from airflow_provider_segment.triggers.reverse_etl import SegmentReverseEtlTrigger

        until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.timeout)
        trigger = SegmentReverseEtlTrigger(
            segment_conn_id=self.segment_conn_id,
            model_id=self.model_id,
            sync_id=sync_id,
            poll_interval=self.poll_interval,
            until=until.isoformat(),
        )
        # The trigger keeps the time; this is for a triggerer that does not run.
        longest = dt.timedelta(seconds=self.timeout + 2 * self.poll_interval + 300)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=longest)

    def on_kill(self) -> None:
        """Cancel the sync."""
        from airflow_provider_segment.core.delivery.retries import RetryPolicy
        from airflow_provider_segment.core.errors import SegmentError
        from airflow_provider_segment.core.public_api.reverse_etl import cancel

        self._is_stopped = True
        if self._api is None or self._sync_id is None:
            return
        timeout = min(self._api.timeout, CANCEL_SECONDS)
        once = replace(self._api, timeout=timeout, policy=RetryPolicy(deadline=0))
        try:
            said = cancel(once, self.model_id, self._sync_id)
            self.log.warning("The sync %s was told to end; Segment says %s", self._sync_id, said)
        except SegmentError as error:
            self.log.warning("The sync %s goes on, since it could not be cancelled: %s", self._sync_id, error)
