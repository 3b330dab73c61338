"""A run that regulates, in a task: what it opens, its words in the log, and its end, which leaves a report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import Any

from airflow_provider_segment.core.regulating import RegulationJob, RegulationReport, regulate
from airflow_provider_segment.core.regulation_options import RegulationOptions
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.hooks import run, sigterm
from airflow_provider_segment.hooks.regulated import open_regulated
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.task import TaskRun


def regulate_rows(
    hook: SegmentHook,
    rows: Pages,
    options: RegulationOptions,
    sync_id: str,
    task_run: TaskRun,
    is_stopped: Callable[[], bool],
) -> RegulationReport:
    """Make regulations of the user ids of a query.

    :param hook: of the connection, which needs a token of the Public API.
    :param rows: one user a row.
    :param options: of the run.
    :param sync_id: names what is remembered.
    :param task_run: the task.
    :param is_stopped: tells whether the task was told to end.
    :raises SegmentError: if not all went well; it carries the report.
    """
    log, report = hook.log, RegulationReport()
    hook.report = report
    source_id = hook.source_id if options.scope == "source" else None
    api = replace(hook.public_api, sleep=lambda seconds: sigterm.pause(seconds, is_stopped))
    whom = "the whole workspace" if source_id is None else "one source"
    log.info("From %s to %s: %s for %s", rows.source, api.server, options.regulation_type, whom)
    try:
        with ExitStack() as stack:
            with sigterm.waits():
                regulated = open_regulated(task_run, options, sync_id, source_id, log)
            stack.enter_context(closing(regulated))
            rejects = stack.enter_context(closing(run.open_rejects(options.rejects_path, task_run)))
            planned = partial(_plan, log)
            job = RegulationJob(options, source_id, regulated, rejects, is_stopped, sigterm.waits, planned)
            regulate(replace(rows, pages=sigterm.waited(rows.pages)), job, api, report)
    except BaseException as error:
        vars(error)["report"] = report
        task_run.leave(report)
        raise
    if not options.validate_only:
        run.commit(rows, report)
    _end(log, report, options)
    if task_run.try_number > 1:
        task_run.leave(report)  # so that none of a try before stands beside what this one returns
    return report


def _plan(log: Any, report: RegulationReport) -> None:
    known = f"; {report.unchanged:,} are part of an accepted regulation already" if report.unchanged else ""
    log.info("All rows are checked%s. To be regulated:%s", known, report.plan())


def _end(log: Any, report: RegulationReport, options: RegulationOptions) -> None:
    if report.reasons and options.rejects_path is None:
        log.warning("To see each refused row, set rejects_path. The commonest reasons:%s", report.commonest())
    for name, number in report.warnings.items():
        log.warning("%s: %s %s", name, f"{number:,}", report.warned[name])
    log.info("%s: %s", "Nothing was sent" if options.validate_only else "Done", report.summary())
    if options.validate_only and report.planned[options.regulation_type]["all"] > options.max_users:
        log.warning("max_users allows %s: a run that sends would send nothing", f"{options.max_users:,}")
