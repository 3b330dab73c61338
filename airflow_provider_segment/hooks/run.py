"""A run of the hook: its words in the log, what it opens, and its end, which leaves a report whatever happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_segment.calls import Call, as_calls, check_changes
from airflow_provider_segment.core.delivery.rejects import LocalRejects, NoRejects, Rejects, path_of_try
from airflow_provider_segment.core.delivery.sender import Delivery
from airflow_provider_segment.core.errors import SegmentError, SettingError
from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.pipeline import sync
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.hooks import sigterm
from airflow_provider_segment.hooks.object_rejects import ObjectRejects
from airflow_provider_segment.hooks.settings import Settings
from airflow_provider_segment.hooks.task import TaskRun


def checked(calls: Any, options: Options) -> list[Call]:
    """Return calls as objects.

    :param calls: one, or some, as the user gave them.
    :param options: of the sync.
    :raises SettingError: if one of them is not what it should be.
    """
    try:
        found = as_calls(calls)
        check_changes(found, options.sync_mode, options.key_columns)
    except ValueError as error:  # the module that a DAG author imports knows nothing of our errors
        raise SettingError(str(error)) from None
    return found


def open_rejects(path: str | None, task_run: TaskRun) -> Rejects:
    """Return where refused calls are written: nowhere, a local file, or an object storage.

    :param path: as the user gave it.
    :param task_run: each try and each mapped task has a file of its own.
    """
    if path is None:
        return NoRejects()
    own = path_of_try(path, task_run.try_number, task_run.ids[3])
    return ObjectRejects(own) if "://" in own else LocalRejects(own)


def deliver(rows: Pages, job: SyncJob, delivery: Delivery, report: Report, task_run: TaskRun, log: Any) -> None:
    """Send rows, and leave the report of a run that fails, whatever ends it.

    :param rows: to be sent.
    :param job: what to do.
    :param delivery: takes the batches.
    :param report: is filled.
    :param task_run: the task that it is done in.
    :param log: is told of an early end.
    """
    with sigterm.stops(task_run, delivery.stop):
        try:
            sync(replace(rows, pages=sigterm.waited(rows.pages)), job, delivery, report)
        except BaseException as error:
            if report.rows:
                log.warning("The run ended early: %s", report.summary())
            vars(error)["report"] = report  # also on errors of others: callbacks tell what had happened
            task_run.leave(report)
            raise


def commit(rows: Pages, report: Report) -> None:
    """Let the source keep what the query changed, now that all is acknowledged and each reject written down.

    :param rows: that were read.
    :param report: of the run.
    :raises SegmentError: if the source does not, and the query changed something.
    """
    try:
        if reason := rows.commit():
            report.warn("sql", "commit_failed", reason)
    except SegmentError as error:
        error.args = (f"{error}. {report.summary()}",)
        raise


def log_start(log: Any, rows: Pages, calls: Sequence[Call], sync_mode: str, settings: Settings) -> None:
    """Say what is sent where, and how.

    :param log: of the hook.
    :param rows: their source.
    :param calls: that each row makes.
    :param sync_mode: of the sync.
    :param settings: of the connection.
    """
    limit = settings.events_per_second
    log.info(
        "From %s to %s: %s; sync_mode %s; %s; Segment bills each call",
        rows.source,
        settings.endpoint,
        ", ".join(call.identity if call.enabled else f"{call.identity} (turned off)" for call in calls),
        sync_mode,
        f"at most {limit:,.0f} events a second" if limit else "no limit of events a second",
    )


def progress(log: Any, total: int | None, seconds: float, note: Callable[[], None]) -> Callable[[Report], None]:
    """Return what logs how far a run is, from time to time.

    :param log: of the hook.
    :param total: of the rows, where it is known.
    :param seconds: between two lines.
    :param note: writes down how far it is, when it is time for that.
    """
    last = time.monotonic()

    def tell(report: Report) -> None:
        nonlocal last
        note()
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            elapsed = now - report.clock
            log.info(
                "%s rows read%s, %s calls, %s accepted, %s a second, after %s s",
                f"{report.rows:,}",
                f" of {total:,} ({report.rows / total:.0%})" if total else "",
                *(f"{n:,.0f}" for n in (report.calls, report.accepted, report.accepted / elapsed, elapsed)),
            )

    return tell


def planned(log: Any) -> Callable[[Report, int], None]:
    """Return what logs what is going to be sent, where that was held until all was known.

    :param log: of the hook.
    """

    def tell(report: Report, held: int) -> None:
        log.info("The caps hold, and this is sent now (%s bytes were held on disk):%s", f"{held:,}", report.plan())

    return tell


def log_end(log: Any, report: Report, options: Options) -> None:
    """Say what became of the calls.

    :param log: of the hook.
    :param report: of the run.
    :param options: of the sync.
    """
    if report.reasons and options.rejects_path is None:
        log.warning("To see each refused call, set rejects_path. The commonest reasons:%s", report.commonest())
    log.info("%s: %s", "Nothing was sent" if options.validate_only else "Done", report.summary())
    if options.validate_only:
        log.info("It would send:%s", report.plan())
    for name, number in report.warnings.items():
        reason = report.warned.get(name, "messages have more than 300 names; Engage and Unify drop them")
        log.warning("%s: %s %s", name, f"{number:,}", reason)
