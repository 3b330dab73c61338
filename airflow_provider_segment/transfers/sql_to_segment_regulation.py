"""SqlToSegmentRegulationOperator: the users of a query are suppressed, deleted or unsuppressed at Segment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_segment.compat import BaseOperator
from airflow_provider_segment.core.options import positive
from airflow_provider_segment.core.regulation_options import RegulationOptions
from airflow_provider_segment.hooks.rendered import is_template, number_of, yes_or_no
from airflow_provider_segment.hooks.templates import KeepsText
from airflow_provider_segment.transfers.statements import check_written

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context
    from airflow_provider_segment.hooks.segment import SegmentHook


class SqlToSegmentRegulationOperator(KeepsText, BaseOperator):
    """Ask Segment to suppress, delete or unsuppress the users of a query; what is deleted cannot be brought back.

    All rows are read and checked before the first call. Return the report, whose ``regulations`` are the ids of the
    regulations that Segment took: SegmentRegulationSensor waits until they are done (docs/deletion.md).

    :param sql: one statement that returns user ids, or the name of a ``.sql`` file (templated). What it changes in the
        database is committed when Segment has taken the last regulation, and never before.
    :param sql_conn_id: any Airflow connection with an SQL hook (templated).
    :param regulation_type: "SUPPRESS_ONLY", "UNSUPPRESS", "SUPPRESS_WITH_DELETE", "SUPPRESS_WITH_DELETE_INTERNAL",
        "DELETE_ONLY" or "DELETE_INTERNAL"; of a source also "DELETE_ARCHIVE_ONLY".
    :param max_users: more users than these that are due fail the task before anything is sent, without a retry. It has
        no default (templated: a text such as ``"{{ params.max_users }}"``).
    :param scope: "workspace" (default): all sources of it; or "source": the one of the connection's ``source_id``.
    :param user_id: the column with the ids; default None, the query's only column.
    :param parameters: for the driver (templated).
    :param sql_hook_params: for the SQL hook, as for SqlToSegmentOperator.
    :param segment_conn_id: a connection of type ``segment`` with a ``public_api_token``; default ``segment_default``
        (templated).
    :param sync_id: names what is remembered; default ``<dag_id>.<task_id>`` (templated).
    :param state_conn_id: a connection to PostgreSQL, MySQL/MariaDB or SQLite where it is remembered who is part of an
        accepted regulation: such users are not sent again for as long as the query returns them ...
    :param state_schema: ... in this schema of it ...
    :param state_path: ... or a SQLite file on a local disk (templated). Without either, the tries of one run know it
        of each other on Airflow 3.3 and later, and each run sends all users of its query.
    :param max_rejected: how many rows may be refused, for an id that is missing, blank, none at all or there twice: a
        count, or below 1 a share of all rows; default 0. With more of them nothing is sent.
    :param rejects_path: a file for the refused rows as JSON lines: personal data; as for SqlToSegmentOperator
        (templated).
    :param fetch_size: rows to fetch at a time; default 2,500.
    :param validate_only: read, check and count every row, and send and remember nothing; default False (templated).
    :raises ValueError: when the DAG is parsed, if a setting is not what it should be.
    """

    text_fields: ClassVar[Sequence[str]] = ("sync_id", "sql_conn_id", "segment_conn_id", "state_path", "rejects_path")
    template_fields: Sequence[str] = ("sql", "parameters", *text_fields, "max_users", "validate_only")
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", "parameters": "json"}
    ui_color = "#f6dcd8"

    def __init__(
        self,
        *,
        sql: str,
        sql_conn_id: str,
        regulation_type: str,
        max_users: int | str,
        scope: str = "workspace",
        user_id: str | None = None,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        sql_hook_params: Mapping[str, Any] | None = None,
        segment_conn_id: str = "segment_default",
        sync_id: str | None = None,
        state_conn_id: str | None = None,
        state_schema: str | None = None,
        state_path: str | None = None,
        max_rejected: float = 0,
        rejects_path: str | None = None,
        fetch_size: int = 2_500,
        validate_only: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_written(sql)
        self.options = RegulationOptions(
            regulation_type=regulation_type,
            max_users=1 if is_template(max_users) else max_users,  # type: ignore[arg-type]  # it checks the type
            scope=scope,
            user_id=user_id,
            max_rejected=max_rejected,
            validate_only=not is_template(validate_only) and yes_or_no("validate_only", validate_only),
            state_conn_id=state_conn_id,
            state_schema=state_schema,
            state_path=state_path,
            rejects_path=rejects_path,
        )
        self.sql = sql
        self.sql_conn_id = sql_conn_id
        self.max_users = max_users
        self.parameters = parameters
        self.sql_hook_params = sql_hook_params
        self.segment_conn_id = segment_conn_id
        self.sync_id = sync_id
        self.state_path = state_path
        self.rejects_path = rejects_path
        self.fetch_size = positive("fetch_size", fetch_size)
        self.validate_only = validate_only
        self._is_stopped = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the regulations and return the report.

        :param context: of the task.
        """
        from airflow_provider_segment.hooks import sigterm
        from airflow_provider_segment.hooks.regulating import regulate_rows
        from airflow_provider_segment.hooks.segment import SegmentHook
        from airflow_provider_segment.hooks.task import as_airflow_exceptions, current, default_sync_id, leaves_report
        from airflow_provider_segment.transfers.query import open_query

        task_run, hook = current(context), SegmentHook(self.segment_conn_id)
        with as_airflow_exceptions(), leaves_report(task_run, lambda: hook.report):
            options = self._rendered()
            self._check_access(hook)  # a bad connection fails before the query runs
            # Mapped tasks with one state would each forget the users of the others.
            sync_id = self.sync_id or default_sync_id(self, context, "changes" if options.has_state else "all")
            sigterm.watch(task_run)
            how: dict[str, Any] = {"hook_params": self.sql_hook_params, "fetch_size": self.fetch_size}
            with ExitStack() as stack:
                stack.enter_context(sigterm.stops(task_run, self.on_kill))
                with sigterm.waits():
                    rows = stack.enter_context(open_query(self.sql_conn_id, self.sql, self.parameters, **how))
                report = regulate_rows(hook, rows, options, sync_id, task_run, lambda: self._is_stopped)
        return report.as_dict()

    def _rendered(self) -> RegulationOptions:
        """Return the options as Jinja has made them."""
        return replace(
            self.options,
            max_users=number_of("max_users", self.max_users),  # type: ignore[arg-type]  # as above
            validate_only=yes_or_no("validate_only", self.validate_only),
            state_path=self.state_path,
            rejects_path=self.rejects_path,
        )

    def _check_access(self, hook: SegmentHook) -> None:
        hook.public_api  # noqa: B018  it raises without a token
        if self.options.scope == "source":
            hook.source_id  # noqa: B018  the same without a source

    def on_kill(self) -> None:
        """Make no further regulation; those that were made stand."""
        self._is_stopped = True
