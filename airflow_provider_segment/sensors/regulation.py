"""SegmentRegulationSensor: it waits until Segment has done what regulations ask for, which may take weeks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_segment.compat import AirflowSensorTimeout, BaseSensorOperator, default_deferrable
from airflow_provider_segment.core.errors import NotSentError, SettingError
from airflow_provider_segment.hooks.templates import KeepsText

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context

# Segment's own promise for a deletion.
LONGEST = dt.timedelta(days=30)


class SegmentRegulationSensor(KeepsText, BaseSensorOperator):
    """Wait until regulations are finished; fail with the destinations that did not finish them.

    It fails as soon as one has ended otherwise: that is final, and no retry changes it. A Public API that does not
    answer for a while is asked again.

    :param regulations: what SqlToSegmentRegulationOperator returned, such as ``forget.output``; or the ids of
        regulations, or one id (templated).
    :param segment_conn_id: a connection of type ``segment`` with a ``public_api_token``; default ``segment_default``
        (templated).
    :param poke_interval: seconds between two looks; default 600. Each looks at each regulation.
    :param timeout: seconds until it gives up; default 30 days, which Segment documents for a deletion.
    :param deferrable: whether it waits in Airflow's triggerer, where it takes no worker; default Airflow's setting
        ``[operators] default_deferrable``. ``mode="reschedule"`` takes none either.
    :raises ValueError: when the DAG is parsed, if a setting is not what it should be.
    """

    template_fields: Sequence[str] = ("regulations", "segment_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"regulations": "json"}
    ui_color = "#f6dcd8"

    def __init__(
        self,
        *,
        regulations: Any,
        segment_conn_id: str = "segment_default",
        poke_interval: dt.timedelta | float = 600.0,
        timeout: dt.timedelta | float = LONGEST,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, timeout=timeout, **kwargs)
        self.regulations = regulations
        self.segment_conn_id = segment_conn_id
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self._left: list[str] | None = None

    def execute(self, context: Context) -> Any:
        """Wait, here or in the triggerer.

        :param context: of the task.
        """
        from airflow_provider_segment.hooks.task import as_airflow_exceptions

        with as_airflow_exceptions():
            self._left = ids_of(self.regulations)
        if not self._left:
            self.log.info("There is no regulation to wait for")
            return None
        if self.deferrable:
            self._defer(self._left)
        return super().execute(context)

    def poke(self, context: Context) -> bool:
        """Look once at those that were not finished.

        :param context: of the task.
        """
        from airflow_provider_segment.core.public_api.regulations import unfinished
        from airflow_provider_segment.hooks.segment import SegmentHook
        from airflow_provider_segment.hooks.task import as_airflow_exceptions

        with as_airflow_exceptions():
            left = ids_of(self.regulations) if self._left is None else self._left
            try:
                self._left = unfinished(SegmentHook(self.segment_conn_id).public_api, left)
            except NotSentError as error:  # it may pass
                self.log.warning("%s", error)
                return False
        self.log.info("%s of %s regulations are not finished", len(self._left), len(ids_of(self.regulations)))
        return not self._left

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> None:
        """Succeed, or raise what the trigger has found.

        :param context: of the task.
        :param event: of the trigger.
        """
        from airflow_provider_segment.hooks.task import SegmentFailException

        if "error" in event:
            raise (AirflowSensorTimeout if event["timed_out"] else SegmentFailException)(event["error"])

    def _defer(self, left: list[str]) -> None:
        from airflow_provider_segment.triggers.regulation import SegmentRegulationTrigger

        trigger = SegmentRegulationTrigger(
            segment_conn_id=self.segment_conn_id,
            regulations=left,
            poke_interval=self.poke_interval,
            until=(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.timeout)).isoformat(),
        )
        # The trigger keeps the time, and tells what it has seen; this is for a triggerer that does not run.
        longest = dt.timedelta(seconds=self.timeout + 2 * self.poke_interval + 300)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=longest)


def ids_of(regulations: Any) -> list[str]:
    """Return the ids of regulations.

    :param regulations: a report, ids, or one id.
    :raises SettingError: if it is none of these.
    """
    found = regulations.get("regulations") if isinstance(regulations, Mapping) else regulations
    ids = [found] if isinstance(found, str) else found
    if not isinstance(ids, Sequence) or not all(isinstance(one, str) and one for one in ids):
        raise SettingError(
            "regulations: expected what SqlToSegmentRegulationOperator returned, such as forget.output, or the ids of "
            f"regulations; found a {type(regulations).__name__}"
        )
    return list(ids)
