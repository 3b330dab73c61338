"""Sensors: they wait until Segment has done with what it was given."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_segment.compat import (
    AirflowSensorTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    default_deferrable,
)
from airflow_provider_segment.core.errors import NotSentError, SettingError
from airflow_provider_segment.hooks.templates import KeepsText

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context
    from airflow_provider_segment.core.public_api.settling import Sent, Settling


class SegmentDeliverySensor(KeepsText, BaseSensorOperator):
    """Wait until Segment has received what a run sent; fail with what it dropped, filtered or never saw.

    It asks Segment's Delivery Overview for the minutes of the run, and returns the sums.

    :param report: what the sync returned, such as ``sync.output`` (templated).
    :param tolerance: the share of the accepted calls that need not be received, from 0 (default) to below 1.
    :param settle_seconds: numbers that are too small count as final when they have not moved for so long; default 600.
    :param source_id: of the source; default the connection's (templated).
    :param segment_conn_id: a connection of type ``segment`` with a ``public_api_token``; default ``segment_default``
        (templated).
    :param timeout: seconds until it gives up, default 3600; ``poke_interval`` as for all sensors, default 60.
    :param deferrable: whether it waits in Airflow's triggerer, where it takes no worker; default Airflow's setting
        ``[operators] default_deferrable``.
    :raises ValueError: when the DAG is parsed, if a setting is not what it should be.
    """

    template_fields: Sequence[str] = ("report", "source_id", "segment_conn_id")
    text_fields: ClassVar[Sequence[str]] = ("source_id", "segment_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"report": "json"}
    ui_color = "#d9f2e6"

    def __init__(
        self,
        *,
        report: Any,
        tolerance: float = 0.0,
        settle_seconds: float = 600.0,
        source_id: str | None = None,
        segment_conn_id: str = "segment_default",
        timeout: dt.timedelta | float = 3600.0,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, **kwargs)
        if not 0 <= tolerance < 1:
            raise SettingError(f"tolerance: expected a share from 0 to below 1, found {tolerance!r}")
        if settle_seconds < 0:
            raise SettingError(f"settle_seconds: expected seconds from 0, found {settle_seconds!r}")
        if self.mode == "reschedule":
            raise SettingError("mode: 'reschedule' forgets the last look; use deferrable=True, which takes no worker")
        self.report = report
        self.tolerance = tolerance
        self.settle_seconds = settle_seconds
        self.source_id = source_id
        self.segment_conn_id = segment_conn_id
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self._settling: Settling | None = None

    def execute(self, context: Context) -> Any:
        """Wait, here or in the triggerer, and return the sums.

        :param context: of the task.
        """
        from airflow_provider_segment.core.public_api.delivery_overview import Arrived
        from airflow_provider_segment.core.public_api.settling import Settling, sent_of
        from airflow_provider_segment.hooks.segment import SegmentHook
        from airflow_provider_segment.hooks.task import as_airflow_exceptions

        with as_airflow_exceptions():
            sent = sent_of(self.report, self.tolerance)
            if not sent.accepted:
                self.log.info("The run sent nothing that Segment accepted: there is nothing to wait for")
                return sent.result(Arrived())
            sent.window.check(dt.datetime.now(dt.UTC))
            hook = SegmentHook(self.segment_conn_id)
            api, source_id = hook.public_api, self.source_id or hook.source_id
        if self.deferrable:
            self._defer(source_id, sent)
        self._settling = Settling(api, source_id, sent, self.settle_seconds)
        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            if (last := self._settling.last) is not None and sent.is_enough(last):
                return self._end(sent.result(last), sent.said(last))
            raise AirflowSensorTimeout(f"{error} {sent.missing(self._settling.last)}") from None

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once.

        :param context: of the task.
        """
        from airflow_provider_segment.core.public_api.settling import Verdict
        from airflow_provider_segment.hooks.task import as_airflow_exceptions

        settling = self._settling
        assert settling is not None, "poke() belongs to execute()"  # noqa: S101  Airflow calls it from there
        sent = settling.sent
        with as_airflow_exceptions():
            try:
                verdict = settling.look()
            except NotSentError as error:  # it may pass
                self.log.warning("%s", error)
                return False
            if verdict is Verdict.MISSING:
                raise sent.missing(settling.last)
        if verdict is Verdict.WAIT or settling.last is None:
            return False
        return PokeReturnValue(is_done=True, xcom_value=self._end(sent.result(settling.last), sent.said(settling.last)))

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Return, or raise, what the trigger has found.

        :param context: of the task.
        :param event: of the trigger.
        """
        from airflow_provider_segment.hooks.task import SegmentFailException

        if "error" not in event:
            return self._end(event["result"], event["said"])
        raise (AirflowSensorTimeout if event["timed_out"] else SegmentFailException)(event["error"])

    def _defer(self, source_id: str, sent: Sent) -> None:
        from airflow_provider_segment.triggers.segment import SegmentDeliveryTrigger

        until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.timeout)
        trigger = SegmentDeliveryTrigger(
            segment_conn_id=self.segment_conn_id,
            source_id=source_id,
            report=sent.as_report(),
            tolerance=self.tolerance,
            settle_seconds=self.settle_seconds,
            poke_interval=self.poke_interval,
            until=until.isoformat(),
        )
        # The trigger keeps the time, and tells what it has seen; this is for a triggerer that does not run.
        longest = dt.timedelta(seconds=self.timeout + 2 * self.poke_interval + 300)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=longest)

    def _end(self, result: dict[str, Any], said: str) -> dict[str, Any]:
        is_clean = not result["failed"] and not result["filtered"]
        (self.log.info if is_clean else self.log.warning)("%s", said)
        return result
