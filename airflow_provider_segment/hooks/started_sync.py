"""Which sync of Segment's Reverse ETL a task has started: a later try finds it, and starts no second one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.mapping.message_ids import content_digest
from airflow_provider_segment.core.public_api import reverse_etl

if TYPE_CHECKING:
    from airflow_provider_segment.core.public_api.client import PublicApi
    from airflow_provider_segment.hooks.task import TaskRun


class StartedSync:
    """The sync of a task, remembered in Airflow's task_state_store from 3.3 on.

    Elsewhere, and where a try was killed before it could be remembered, a later try takes the sync that is in progress:
    Segment does not tell who started it.

    :param task_run: the task.
    :param api: with the token.
    :param source_id: of the warehouse.
    :param model_id: of the model.
    :param subscription_id: of the mapping.
    :param log: is told which sync it is.
    """

    def __init__(
        self, task_run: TaskRun, api: PublicApi, source_id: str, model_id: str, subscription_id: str, log: Any
    ) -> None:
        self._task_run, self._api, self._log = task_run, api, log
        self._ids = (source_id, model_id, subscription_id)
        self._key = f"segment_reverse_etl_{content_digest([*self._ids]).hex()}"

    def find_or_start(self) -> str:
        """Return the id of the sync to wait for.

        :raises SegmentError: if Segment does not start it.
        """
        _, model_id, subscription_id = self._ids
        known = self._asked("read", lambda store: store.get(self._key))
        if isinstance(known, str) and known and self._is_usable(known):
            self._log.info("An earlier try of this run has started the sync %s", known)
            return known
        found = reverse_etl.running(self._api, model_id, subscription_id) if self._task_run.try_number > 1 else None
        if found is not None:
            self._log.info("The sync %s is in progress: this try waits for it, and starts none", found)
        else:
            found = reverse_etl.start(self._api, *self._ids)
            self._log.info("Segment has started the sync %s", found)
        self._asked("written", lambda store: store.set(self._key, found))
        return found

    def _is_usable(self, sync_id: str) -> bool:
        """Tell whether an earlier try's sync has not failed, nor was cancelled."""
        try:
            return bool(reverse_etl.look(self._api, self._ids[1], sync_id)["syncStatus"] != reverse_etl.FAIL)
        except SettingError:  # Segment knows it no more
            return False

    def forget(self) -> None:
        """Let a later try start a sync of its own."""
        self._asked("removed", lambda store: store.delete(self._key))

    def _asked(self, what: str, ask: Any) -> Any:
        """Ask Airflow's store, where there is one; the run goes on without its answer."""
        if self._task_run.store is None:
            return None
        try:
            return ask(self._task_run.store)
        except Exception as error:  # noqa: BLE001  Airflow's own, of its API
            self._log.warning("The id of the sync could not be %s for a retry (%s)", what, type(error).__name__)
            return None
