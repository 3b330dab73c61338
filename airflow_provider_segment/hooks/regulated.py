"""Where it is remembered who is part of an accepted regulation: a state's database, or Airflow's store for a run."""

from __future__ import annotations

import logging
import struct
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from airflow_provider_segment.core.mapping.message_ids import content_digest
from airflow_provider_segment.core.regulating import Regulated
from airflow_provider_segment.core.regulation_options import RegulationOptions
from airflow_provider_segment.hooks.task import TaskRun

log = logging.getLogger(__name__)


class NothingRegulated:
    """Nowhere: a retry sends all again."""

    def __init__(self) -> None:
        self.regulations: list[str] = []

    def known(self) -> set[int]:
        """Return none."""
        return set()

    def accepted(self, regulate_id: str, users: Sequence[int]) -> None:
        """Forget it."""

    def keep(self, users: set[int]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class StoreRegulated(NothingRegulated):
    """What the tries of one run know, in Airflow's task_state_store, which retries and "Clear task" keep.

    A value is for 64 KB at most: each regulation has one of its own, which for 5,000 users is 54 KB.

    :param store: of the task.
    :param name: of the sync within the task.
    """

    def __init__(self, store: Any, name: str) -> None:
        super().__init__()
        self._store, self._name = store, name
        self._known: set[int] = set()
        try:
            while (part := store.get(self._key())) is not None:
                self.regulations.append(part["id"])
                self._known.update(_unpacked(b64decode(part["users"])))
        except Exception as error:  # noqa: BLE001  Airflow's own, of its API: what is not known is sent again
            _log_failure("read", error)

    def known(self) -> set[int]:
        """Return the numbers of the users that earlier tries had regulated."""
        return self._known

    def accepted(self, regulate_id: str, users: Sequence[int]) -> None:
        """Write a regulation down at once, before the next call."""
        packed = b64encode(struct.pack(f">{len(users)}q", *users)).decode()
        try:
            self._store.set(self._key(), {"id": regulate_id, "users": packed})
        except Exception as error:  # noqa: BLE001  the run goes on without it
            _log_failure("written", error)
        self.regulations.append(regulate_id)

    def _key(self) -> str:
        return f"segment_regulation_{self._name}_{len(self.regulations)}"


def open_regulated(
    task_run: TaskRun, options: RegulationOptions, sync_id: str, source_id: str | None, log: Any
) -> Regulated:
    """Return what is remembered of a sync's regulations; the caller closes it.

    :param task_run: the task.
    :param options: of the run.
    :param sync_id: of the sync.
    :param source_id: of the source; None for the whole workspace. With another type or scope all users are due.
    :param log: is told where nothing is remembered.
    :raises SettingError: if there is no such connection, or it is of a type that cannot hold a state.
    :raises StateError: if the database fails.
    """
    name = content_digest([sync_id, options.regulation_type, source_id])
    if options.has_state:
        from airflow_provider_segment.hooks.state import open_database_regulated  # it brings SQLAlchemy

        sync, run = (int.from_bytes(part[:8], signed=True) for part in (name, content_digest([*task_run.ids])))
        where = {"conn_id": options.state_conn_id, "schema": options.state_schema, "path": options.state_path}
        return open_database_regulated(sync, run, reads_only=options.validate_only, log=log, **where)
    if task_run.store is not None:
        return StoreRegulated(task_run.store, name.hex())
    if task_run.try_number > 1:
        log.warning(
            "Try %s of this run: the users of regulations that an earlier one made are sent again, which harms nobody "
            "and costs quota. To skip them, set state_path or state_conn_id",
            task_run.try_number,
        )
    return NothingRegulated()


def _unpacked(numbers: bytes) -> Sequence[int]:
    return struct.unpack(f">{len(numbers) // 8}q", numbers)


def _log_failure(what: str, error: Exception) -> None:
    log.warning("Who is part of a regulation could not be %s for a retry (%s)", what, type(error).__name__)
