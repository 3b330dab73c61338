"""SegmentHook: a Segment source as an Airflow connection, and the calls that can be made to it.

It is long for the words of its public methods and their parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_segment import __version__
from airflow_provider_segment.calls import Call
from airflow_provider_segment.compat import AirflowNotFoundException, BaseHook, mask_secret
from airflow_provider_segment.core.delivery.answers import Response
from airflow_provider_segment.core.delivery.api_call import api_call
from airflow_provider_segment.core.delivery.oauth import OAuthTokens
from airflow_provider_segment.core.delivery.pace import Pace
from airflow_provider_segment.core.delivery.rejects import path_of_try
from airflow_provider_segment.core.delivery.retries import RetryPolicy
from airflow_provider_segment.core.delivery.sender import Delivery
from airflow_provider_segment.core.delivery.transport import Transport, reach
from airflow_provider_segment.core.errors import SegmentError, SettingError
from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.mapping.message_ids import fingerprint
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.public_api.client import PublicApi
from airflow_provider_segment.core.public_api.write_key import fetch_write_key
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.rows.pages import Pages, pages_of
from airflow_provider_segment.core.stages import Stage
from airflow_provider_segment.hooks import form, lineage, metrics, run, run_history, sigterm, task, tries, windows
from airflow_provider_segment.hooks.calls import CallMethods
from airflow_provider_segment.hooks.settings import KEY_LENGTH, Settings, read_settings
from airflow_provider_segment.hooks.state_methods import StateMethods
from airflow_provider_segment.links import segment as links

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context
    from airflow_provider_segment.core.changes.state import State
    from airflow_provider_segment.hooks.run_part import RunPart

PROGRESS_SECONDS = 5.0


class SegmentHook(CallMethods, StateMethods, BaseHook):
    """Make calls to a Segment source, synchronously; nothing is queued, nothing is lost without a word.

    :param segment_conn_id: a connection of type ``segment``.
    :ivar report: what the last run did, also when it failed; None before one.
    """

    conn_name_attr = "segment_conn_id"
    default_conn_name = "segment_default"
    conn_type = "segment"
    hook_name = "Segment"

    def __init__(self, segment_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.segment_conn_id = segment_conn_id
        self.report: Report | None = None
        self._stop: Callable[[], None] | None = None

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's extra fields, for Airflow 2.11 to 3.1."""
        return form.widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the form's standard fields look, for Airflow 2.11 to 3.1."""
        return form.behaviour()

    @cached_property
    def settings(self) -> Settings:
        """The connection's settings.

        :raises SettingError: if there is no such connection, or a field of it is missing or wrong.
        """
        try:
            connection = self.get_connection(self.segment_conn_id)
        except AirflowNotFoundException:
            connection = None
        if connection is None:
            raise SettingError(
                f"segment_conn_id: Airflow has no connection {self.segment_conn_id!r}; make one of type Segment"
            )
        settings = read_settings(connection)
        for secret in settings.secrets:
            mask_secret(secret)
        return settings

    @cached_property
    def write_key(self) -> str:
        """The source's write key, from the connection or from Segment's Public API; it is kept in memory only.

        :raises SegmentError: if the Public API does not tell it.
        """
        settings = self.settings
        if settings.write_key is not None:
            return settings.write_key
        key = fetch_write_key(self.public_api, self.source_id)
        mask_secret(key)
        return key

    @cached_property
    def public_api(self) -> PublicApi:
        """Segment's Public API, with the connection's token.

        :raises SettingError: if the connection has none.
        """
        settings = self.settings
        if (access := settings.public_api) is None:
            raise SettingError(
                f"connection {self.segment_conn_id!r}: public_api_token is missing: a token of Segment's Public API"
            )
        policy = RetryPolicy(settings.deadline)
        return PublicApi(access.server, access.token, timeout=settings.timeout, proxy=settings.proxy, policy=policy)

    @property
    def source_id(self) -> str:
        """The source's id, which the Public API wants.

        :raises SettingError: if the connection does not say it.
        """
        access = self.settings.public_api
        if access is None or access.source_id is None:
            raise SettingError(
                f"connection {self.segment_conn_id!r}: source_id is missing: the source's id in Segment's Public API"
            )
        return access.source_id

    def get_conn(self) -> Transport:
        """Return what posts batches to the connection's endpoint; the calls below are easier to use."""
        settings = self.settings
        return Transport(
            settings.endpoint,
            self.write_key,
            library={"name": "airflow-provider-segment", "version": __version__},
            timeout=settings.timeout,
            proxy=settings.proxy,
            tokens=self._tokens,
        )

    @cached_property
    def _tokens(self) -> OAuthTokens | None:
        settings = self.settings
        if settings.oauth is None:
            return None
        app = settings.oauth
        return OAuthTokens(
            app.server, app.client_id, app.key_id, app.private_key, timeout=settings.timeout, proxy=settings.proxy
        )

    @task.as_airflow_exceptions()
    def send(self, messages: Iterable[Mapping[str, Any]], *, context: Context | None = None) -> Report:
        """Send messages as they stand on the wire, and raise if one was not accepted.

        :param messages: dicts with their ``type``, ``userId`` ...; those without a ``messageId`` get one that a later
            try of the same task repeats.
        :param context: the task's context; by default the one that Airflow says is current.
        :raises SegmentError: if a message is not valid or was not accepted; the good ones were sent.
        """
        task_run = task.current(context)
        report = self.report = task_run.new_report()
        with task.leaves_report(task_run, lambda: report):
            sigterm.watch(task_run)
            named = task_run.with_ids(messages, self.write_key)
            pages = Pages(["message"], ([(message,)] for message in named), "messages")
            job = SyncJob(None, task_run.namespace(self.write_key))
            return self._run(pages, job, task_run, report, task_run.name if task_run.is_task else "")

    @task.as_airflow_exceptions()
    def sync(
        self,
        rows: Iterable[Any] | Pages,
        calls: Call | Mapping[str, Any] | Sequence[Call | Mapping[str, Any]],
        *,
        columns: Sequence[str] | None = None,
        sync_id: str | None = None,
        run_id: str | None = None,
        part: RunPart | None = None,
        context: Context | None = None,
        **options: Any,
    ) -> Report:
        """Send rows as calls: what SqlToSegmentOperator does, for ``@task`` functions.

        :param rows: any iterable of dicts or of rows that know their names; with ``columns``, of tuples; or a DataFrame
            of pandas or polars, or a table of Arrow. NaN in them is null.
        :param calls: each row makes each of them.
        :param columns: the names of the columns, where the rows are tuples.
        :param sync_id: namespaces the message ids; default ``<dag_id>.<task_id>``.
        :param run_id: a later try with the same run id repeats the message ids; default the task's run, or a random
            one outside a task.
        :param part: what of a run that several tasks do is done here; SqlToSegmentTaskGroup gives it.
        :param context: the task's context; by default the one that Airflow says is current.
        :param options: ``sync_mode``, ``state_conn_id``, ``state_schema``, ``state_path``, ``first_run``, ``key``,
            ``nulls``, ``timezone``, ``max_calls``, ``max_added``, ``max_updated``, ``max_deleted``, ``min_rows``,
            ``max_rejected``, ``max_in_flight``, ``validate_only``, ``preview_path``, ``rejects_path``, ``history_days``
            as for SqlToSegmentOperator.
        :raises SegmentError: if not all went well; it carries the report.
        """
        task_run = task.current(context)
        report = self.report = task_run.new_report()
        with task.leaves_report(task_run, lambda: report), ExitStack() as outer:
            sigterm.watch(task_run)
            settled = Options(**options)
            checked = run.checked(calls, settled)
            with sigterm.waits():  # an iterable has its first page read to tell its columns
                pages = rows if isinstance(rows, Pages) else pages_of(rows, columns)
            if settled.cursor is not None and pages.cursor is None:
                raise SettingError("cursor: is for SqlToSegmentOperator, which runs the query from the mark on")
            run.log_start(self.log, pages, checked, settled.sync_mode, self.settings)
            named = self._named(task_run, sync_id, run_id, checked)
            resume, of_run = None, (task_run, settled, named, report, self.log)
            note = outer.enter_context(run_history.written_down(*of_run, part))
            if part is None or part.stage is Stage.SEND:
                resume = outer.enter_context(tries.resuming(*of_run))
            with ExitStack() as stack:
                state = None
                if settled.sync_mode == "changes":
                    with sigterm.waits():
                        state = stack.enter_context(self._state(settled, task_run, sync_id, checked, part))
                    run_history.write_changes_down(state, settled, report, part)
                rejects = stack.enter_context(closing(run.open_rejects(settled.rejects_path, task_run)))
                if settled.preview_path is not None:
                    settled = replace(settled, preview_path=path_of_try(settled.preview_path, 0, task_run.ids[3]))
                stack.enter_context(windows.explained(context))
                # Equal rows lie in one part of a run, so the map index need not tell those of several tasks apart.
                has_key = bool(settled.key_columns) or part is not None
                namespace = task_run.namespace(self.write_key, sync_id, run_id, has_key=has_key)
                said = run.progress(self.log, pages.total, PROGRESS_SECONDS, note)
                planned, warn = run.planned(self.log), self.log.warning
                job = SyncJob(checked, namespace, settled, rejects, state, resume, said, planned, warn)
                if part is None:
                    self._run(pages, job, task_run, report, named[0])
                else:
                    self._run_part(part, pages, job, task_run, report, named[0])
            if not settled.validate_only:
                run.commit(pages, report)
            run.log_end(self.log, report, settled)
            if not report.rows and settled.cursor is None and part is None:
                self.log.warning("No rows came from %s%s", pages.source, windows.hint(context))
            if task_run.try_number > 1:
                task_run.leave(report)  # so that none of a try before stands beside what this one returns
        return report

    @task.as_airflow_exceptions()
    def push_debugger_url(self, context: Context) -> None:
        """Leave the address of the source's Debugger for the task's button, where the connection tells it.

        :param context: of the task.
        """
        if (url := self.settings.debugger_url) is not None:
            task.current(context).push(links.KEY, url)

    def stop(self) -> None:
        """End the run that another thread, or a signal, finds running: nothing more is sent, and it raises."""
        if self._stop is not None:
            self._stop()

    def test_connection(self) -> tuple[bool, str]:
        """Check what can be checked: the fields, and that the endpoint answers; Segment does not confirm keys."""
        try:
            settings, length = self.settings, len(self.write_key)
            self.get_conn()
        except SegmentError as error:
            return False, str(error)
        answer = reach(settings.endpoint, timeout=min(settings.timeout, 10.0), proxy=settings.proxy)
        if answer.status is None:
            return False, f"{settings.endpoint} cannot be reached: {answer}"
        if self._tokens is not None and isinstance(refusal := self._tokens.current(), Response):
            return False, f"No OAuth token: {refusal}"
        odd = (
            ""
            if length == KEY_LENGTH
            else f" Segment's write keys have {KEY_LENGTH} characters; this one has {length}."
        )
        return True, (
            f"The fields are right and {settings.endpoint} answers. Segment does not confirm write keys (it answers "
            f"200 to a wrong one and drops the events): look at the source's Debugger after the first run.{odd}"
        )

    @task.as_airflow_exceptions()
    def api_call(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
    ) -> Any:
        """Make one request to Segment's API with the connection's authorisation, and return the answer's JSON.

        :param method: of HTTP, such as "POST".
        :param path: taken as it is below scheme and host, such as ``/v1/group``; another host is refused.
        :param headers: more headers.
        :param params: of the query.
        :param json: the body; its values become what they become in a message.
        :raises SegmentError: if the answer is not 2xx. Redirects are not followed with the key.
        """
        transport = self.get_conn()
        try:
            return api_call(transport, method, path, headers=headers, params=params, json=json)
        finally:
            transport.close()

    def _run_part(
        self, part: RunPart, rows: Pages, job: SyncJob, task_run: task.TaskRun, report: Report, sync_id: str
    ) -> None:
        """Do one task's part of a run, unless an earlier try has."""
        if not part.is_done(job.state):
            self._run(rows, replace(job, stage=part.stage), task_run, report, sync_id, senders=part.senders)
        part.on_end(job.state, report)

    def _run(
        self, rows: Pages, job: SyncJob, task_run: task.TaskRun, report: Report, sync_id: str, *, senders: int = 1
    ) -> Report:
        settings = self.settings
        policy, pace = RetryPolicy(settings.deadline), Pace(settings.events_per_second / senders)
        with Delivery(self.get_conn(), policy, pace, job.options.max_in_flight, settings.success) as delivery:
            self._stop = delivery.stop
            try:
                run.deliver(rows, job, delivery, report, task_run, self.log)
            finally:
                if report.accepted:
                    lineage.add_output(self, settings.asset_uri)
                if not job.options.validate_only and job.stage is not Stage.PLAN:
                    metrics.emit(sync_id, report)
        return report

    def _named(
        self, task_run: task.TaskRun, sync_id: str | None, run_id: str | None, calls: Sequence[Call]
    ) -> list[Any]:
        """Return what names a run for its later tries; with a None in it where no later try can be told to be one."""
        of_run = run_id or (task_run.ids[2] if task_run.is_task else None)
        source = [fingerprint(self.write_key), self.settings.endpoint]
        return [sync_id or task_run.name, of_run, task_run.ids[3], *source, [call.identity for call in calls]]

    def _state(
        self,
        options: Options,
        task_run: task.TaskRun,
        sync_id: str | None,
        calls: Sequence[Call],
        part: RunPart | None,
    ) -> AbstractContextManager[State]:
        from airflow_provider_segment.hooks.state import open_state, view_state  # it brings SQLAlchemy

        where: dict[str, Any] = {
            "conn_id": options.state_conn_id,
            "schema": options.state_schema,
            "path": options.state_path,
            "log": self.log,
        }
        if options.validate_only:
            return view_state(sync_id or task_run.name, self.write_key, **where)
        deletes = any("deleted" in call.kinds for call in calls if call.enabled)
        shared = None if part is None else part.shared
        of_run: dict[str, Any] = {"deletes": deletes, "shared": shared, "history_days": options.history_days}
        return open_state(sync_id or task_run.name, self.write_key, task_run.holder, **of_run, **where)
