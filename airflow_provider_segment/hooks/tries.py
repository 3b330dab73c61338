"""What the tries of a run know of each other in ``sync_mode="all"``: what was acknowledged is not sent again."""

from __future__ import annotations

import logging
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from airflow_provider_segment.core.changes.resume import NUMBER_BYTES, Memory, Resume
from airflow_provider_segment.core.mapping.message_ids import content_digest
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.hooks.task import TaskRun

# A value of Airflow's store is for 64 KB at most: so many bytes are as much in base64.
PART_BYTES = 48_000
# Seconds between writes at least; and writing may take a fiftieth of a run's time at most.
EVERY, SHARE = 5.0, 1 / 50
# What waits to be written, at most: it must be written within the seconds that a killed task has. The rest is repeated.
MAX_PENDING_BYTES = 500_000 * NUMBER_BYTES
_WINDOW = "under the same message ids, and Segment drops repeats for 24 hours or longer"
_ON_PURPOSE = "To send it on purpose, change sync_id (of hook.sync: or run_id)"


class RunMemory(Memory, Protocol):
    """A memory of a run's tries; the real ones are in Airflow's store and in a database.

    :ivar accepted: how many calls the run had accepted when it succeeded before; None where it has not.
    """

    accepted: int | None

    def succeeded(self, accepted: int) -> None:
        """Forget the messages, and note how many calls were accepted."""
        ...

    def close(self) -> None:
        """Write what is not written yet; the run may have failed."""
        ...


class StoreMemory:
    """What a task's tries had acknowledged, in Airflow's task_state_store, which retries and "Clear task" keep.

    :param store: of the task.
    :param name: of the run within the task.
    :param is_first: whether this is the task's first try: then nothing is there to be asked for.
    """

    def __init__(self, store: Any, name: str, *, is_first: bool) -> None:
        self._store = store
        self._key = f"segment_{name}"
        self._is_first = is_first
        self._written = 0
        self._pending = bytearray()
        self._is_saved = True
        self._due = time.monotonic() + EVERY
        self.accepted: int | None = None

    def earlier(self) -> Iterator[bytes]:
        """Yield what earlier tries have left."""
        if self._is_first:
            return
        try:
            note = self._store.get(self._key)
            self.accepted = note["accepted"] if isinstance(note, dict) else None
            while (part := self._store.get(self._part(self._written))) is not None:
                self._written += 1
                yield b64decode(part)
        except Exception as error:  # noqa: BLE001  Airflow's own, of its API: what is not known is sent again
            _log_failure("read", error)

    def add(self, numbers: bytes) -> None:
        """Take what was acknowledged, and write it from time to time."""
        if len(self._pending) < MAX_PENDING_BYTES:
            self._pending += numbers
            self._is_saved = False
        if time.monotonic() >= self._due:
            self._write()

    def _write(self) -> None:
        """Write what waits; the last part is written again when it has grown."""
        began = time.monotonic()
        try:
            while not self._is_saved:
                part = bytes(self._pending[:PART_BYTES])
                self._store.set(self._part(self._written), b64encode(part).decode())
                self._is_saved = len(self._pending) <= PART_BYTES
                if len(part) == PART_BYTES:
                    self._written += 1
                    del self._pending[:PART_BYTES]
        except Exception as error:  # noqa: BLE001  the run goes on without it
            _log_failure("written", error)
        now = time.monotonic()
        self._due = now + max(EVERY, (now - began) / SHARE)

    def succeeded(self, accepted: int) -> None:
        """Forget the messages, and note how many calls were accepted."""
        last = self._written + bool(self._pending)
        self._pending.clear()
        self._is_saved = True
        try:
            if accepted:
                self._store.set(self._key, {"accepted": accepted})
            for number in range(last):
                self._store.delete(self._part(number))
        except Exception as error:  # noqa: BLE001  what stays is ignored by other runs
            _log_failure("removed", error)

    def close(self) -> None:
        """Write what is not written yet."""
        self._write()

    def _part(self, number: int) -> str:
        return f"{self._key}_{number}"


@contextmanager
def resuming(
    task_run: TaskRun, options: Options, run: Sequence[Any], report: Report, log: Any
) -> Iterator[Resume | None]:
    """Lend what earlier tries of a run had acknowledged, and remember what this one has.

    :param task_run: the task.
    :param options: of the sync; with "changes" its state knows better.
    :param run: names the run: sync id, run id ...; None in it stands for one that no later try can repeat.
    :param report: of this try.
    :param log: is told what becomes of what earlier tries sent.
    """
    if options.sync_mode != "all" or options.validate_only or None in run:
        yield None
        return
    memory = _run_memory(task_run, options, content_digest([*run]))
    try:
        resume = None if memory is None else Resume(memory)
        _log_resume(task_run, resume, memory, log)
        yield resume
        if memory is not None and resume is not None:
            if resume.skipped:
                log.info("%s of the unchanged calls were accepted by an earlier try", f"{resume.skipped:,}")
            memory.succeeded(report.accepted + resume.skipped)
    finally:
        if memory is not None:
            memory.close()


def _run_memory(task_run: TaskRun, options: Options, run: bytes) -> RunMemory | None:
    """Return where the tries of a run remember: the database that was given, or else Airflow's store, where it is."""
    if options.state_path is not None or options.state_conn_id is not None:
        from airflow_provider_segment.hooks.state import open_memory  # it brings SQLAlchemy

        number = int.from_bytes(run[:NUMBER_BYTES], signed=True)
        where = {"conn_id": options.state_conn_id, "schema": options.state_schema, "path": options.state_path}
        return open_memory(number, **where)
    if task_run.store is not None:
        return StoreMemory(task_run.store, run.hex(), is_first=task_run.try_number <= 1)
    return None


def _log_resume(task_run: TaskRun, resume: Resume | None, memory: RunMemory | None, log: Any) -> None:
    """Say what becomes of the calls that were sent before."""
    if resume is not None and resume.known:
        log.info(
            "Earlier tries of this run had %s calls accepted: those of them that the rows ask for again are not sent, "
            "and count as unchanged",
            f"{resume.known:,}",
        )
    elif memory is not None and memory.accepted is not None:
        log.warning(
            "This run has succeeded before, with %s calls accepted, and was cleared: it sends all again %s. %s",
            f"{memory.accepted:,}",
            _WINDOW,
            _ON_PURPOSE,
        )
    elif task_run.try_number > 1 and memory is None:
        log.warning(
            "Try %s of this run: what an earlier one had accepted is sent again, %s. To skip it in retries, set "
            "state_path or state_conn_id. %s",
            task_run.try_number,
            _WINDOW,
            _ON_PURPOSE,
        )


def warn_of_repeat(task_run: TaskRun, log: Any) -> None:
    """Say what becomes of a message that an earlier try may have sent.

    :param task_run: the task.
    :param log: of the operator.
    """
    if task_run.try_number > 1:
        log.info(
            "Try %s of this run: if an earlier one was accepted, the message goes again %s. To send it on purpose, set "
            "message_id",
            task_run.try_number,
            _WINDOW,
        )


def _log_failure(what: str, error: Exception) -> None:
    log = logging.getLogger(__name__)
    log.warning("What was accepted could not be %s for a retry (%s)", what, type(error).__name__)
