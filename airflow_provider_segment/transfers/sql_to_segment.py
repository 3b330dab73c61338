"""SqlToSegmentOperator: the rows of a query become Segment calls.

It is long for its settings, each said with its words where an editor shows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_segment.calls import Call, as_calls, check_changes
from airflow_provider_segment.compat import BaseOperator
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.options import HISTORY_DAYS, Options, positive
from airflow_provider_segment.hooks.rendered import is_template, number_of, yes_or_no
from airflow_provider_segment.hooks.templates import KeepsText
from airflow_provider_segment.links.segment import SegmentDebuggerLink
from airflow_provider_segment.transfers.shards import sharded, warn_of_deleted
from airflow_provider_segment.transfers.statements import check_written

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_segment.compat import Context
    from airflow_provider_segment.core.report import Report
    from airflow_provider_segment.core.rows.pages import Pages
    from airflow_provider_segment.hooks.segment import SegmentHook
    from airflow_provider_segment.hooks.task import TaskRun

# Each is a number, or a template that becomes one.
CAPS = ("max_calls", "max_added", "max_updated", "max_deleted", "min_rows")


class SqlToSegmentOperator(KeepsText, BaseOperator):
    """Send the rows of a query to Segment as identify, track, group ... calls, and count what became of each.

    :param sql: one statement that returns rows, or the name of a ``.sql`` file (templated). What it changes in the
        database is committed when Segment has acknowledged the last call, and never before (docs/databases.md).
    :param sql_conn_id: any Airflow connection with an SQL hook (templated).
    :param calls: one call or a list, from ``airflow_provider_segment.calls``, or the same as plain dicts; each row
        makes each call whose ``when`` holds (templated: Jinja in a Constant, a column's name ...). Where the DAG
        renders native objects, a Constant without a template stays the text that it is.
    :param parameters: for the driver (templated); with them, one whose placeholder is ``%s`` wants any other percent
        sign twice.
    :param sql_hook_params: for the SQL hook; ``{"streaming": False}`` reads with a plain cursor instead of a
        server-side one.
    :param segment_conn_id: a connection of type ``segment``; default ``segment_default`` (templated).
    :param sync_mode: "all" (default) sends every row; "changes" sends, for each call and key, only what Segment has not
        accepted yet (docs/changes.md).
    :param sync_id: names the sync, its state and the namespace of its message ids; default ``<dag_id>.<task_id>``. To
        send the rows of a run again on purpose, change it. With "changes" it belongs to one task of a DAG run
        (templated).
    :param key: the column, or columns, that identify a row. With a key, rows with equal key and content are one call;
        without one the whole row tells rows apart, and rows that repeat exactly are calls of their own. The same among
        mapped tasks: with a key it does not matter which of them reads a row; without one the map index is in the
        message ids. "changes" needs a key.
    :param state_conn_id: a connection to PostgreSQL, MySQL/MariaDB or SQLite where it is remembered what Segment last
        accepted ...
    :param state_schema: ... in this schema of it ...
    :param state_path: ... or a SQLite file on a local disk (templated). "changes" needs one of the two; with "all" a
        retry skips what an earlier try of the run had accepted, which on 3.3 it does without (docs/delivery.md).
    :param warehouse_schema: with "changes": a schema of the source database (a database of MySQL, ``main`` of SQLite)
        where the connection may make tables. Then rows that have not changed do not leave the warehouse
        (docs/changes.md); without it they are read, and passed over on the client (templated).
    :param cursor: with "changes": a column of the query that only grows, such as the time of an event. Only rows from
        its mark on are read, which is the largest value that the last whole run has settled: the query is put within
        another one, with the mark as a parameter (docs/cursor.md). Not with ``warehouse_schema``, nor with calls on
        "deleted", since of rows that are not read nobody knows whether they are gone.
    :param lookback: how far before the mark rows are read again, for those that come late: seconds or a timedelta; of a
        cursor of whole numbers a number; default 0. The state keeps those that were sent from being sent twice.
    :param keep_days: keys whose rows lie so many days before the mark are forgotten, which bounds the state; default
        None, none are.
    :param first_run: with "changes", for each call when it is first seen: "send" (default); "baseline", which remembers
        the rows and sends nothing; or "fail", which fails the task, since the state may have been lost.
    :param max_calls: more calls than these fail the task before anything is sent; default None, no cap. With a cap that
        might not hold, what is due waits in a compressed file without a name until it is known that it does
        (docs/costs.md). All caps are templated: a text such as ``"{{ params.max_calls }}"`` becomes a number, or None.
    :param max_added: with "changes", the same for each call and its new rows: a count, or below 1 a share of the keys
        of this call that were known when the run began; so a share allows no first run (templated).
    :param max_updated: the same for rows that have changed (templated).
    :param max_deleted: the same for keys that are gone: from 2 on a count, otherwise a share of the keys that were
        known when the run began, and of those known when a run last ended whole. Where it is not given, a share of 0.5
        is held to before anything is deleted, after all else was sent (templated).
    :param nulls: nulls in traits and properties: "send" (default) or "omit"; nulls elsewhere are left out.
    :param timezone: the zone of timestamps that carry none, such as "UTC"; without it the first such stops the task.
    :param max_rejected: how many calls may be invalid or rejected before the task fails: a count, or below 1 a share
        of all calls; default 0. The good calls are sent in any case.
    :param min_rows: fewer rows than these, such as those of an empty load, fail the task for a retry before anything
        is sent or deleted; default 0. So many rows are held in memory first, unless the driver tells their number
        (templated).
    :param rejects_path: a file for the refused calls as JSON lines, with row number, key, reason and message: personal
        data. A local path, readable by its owner only, or one of an object storage (in parts of 1,000 lines); later
        tries and mapped tasks put ``.try2`` and ``.map0`` before the suffix (templated).
    :param fetch_size: rows to fetch at a time; default 2,500.
    :param max_in_flight: batches that are on their way to Segment at once; default 8.
    :param history_days: for so long the state keeps the counts of its runs; default 90 days.
    :param validate_only: read, map, validate and compare every row, and send and remember nothing; the report counts
        the valid calls as ``not_sent``, and its ``planned`` has them by call and kind; default False (templated: a text
        such as ``"{{ params.dry_run }}"``, which must become True or False).
    :param preview_path: a local file for the first 100 messages as JSON lines, readable by its owner only; they hold
        personal data (templated).
    :raises ValueError: when the DAG is parsed, if a setting is not what it should be.
    """

    text_fields: ClassVar[Sequence[str]] = (
        "sync_id",
        "sql_conn_id",
        "segment_conn_id",
        "state_path",
        "warehouse_schema",
        "rejects_path",
        "preview_path",
    )
    template_fields: Sequence[str] = ("sql", "parameters", "calls", *text_fields, "validate_only", *CAPS)
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", "parameters": "json", "calls": "json"}
    operator_extra_links = (SegmentDebuggerLink(),)
    ui_color = "#d9f2e6"

    def __init__(
        self,
        *,
        sql: str,
        sql_conn_id: str,
        calls: Call | Mapping[str, Any] | Sequence[Call | Mapping[str, Any]],
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        sql_hook_params: Mapping[str, Any] | None = None,
        segment_conn_id: str = "segment_default",
        sync_mode: str = "all",
        sync_id: str | None = None,
        key: str | Sequence[str] | None = None,
        state_conn_id: str | None = None,
        state_schema: str | None = None,
        state_path: str | None = None,
        warehouse_schema: str | None = None,
        cursor: str | None = None,
        lookback: timedelta | float = 0,
        keep_days: int | None = None,
        first_run: str = "send",
        max_calls: int | str | None = None,
        max_added: float | str | None = None,
        max_updated: float | str | None = None,
        max_deleted: float | str | None = None,
        min_rows: int | str = 0,
        nulls: str = "send",
        timezone: str | None = None,
        rejects_path: str | None = None,
        max_rejected: float = 0,
        fetch_size: int = 2_500,
        max_in_flight: int = 8,
        history_days: int = HISTORY_DAYS,
        validate_only: bool | str = False,
        preview_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_written(sql)
        caps: dict[str, Any] = dict(zip(CAPS, (max_calls, max_added, max_updated, max_deleted, min_rows), strict=True))
        self.options = Options(
            key=key,
            nulls=nulls,
            timezone=timezone,
            max_rejected=max_rejected,
            max_in_flight=max_in_flight,
            history_days=history_days,
            validate_only=not is_template(validate_only) and yes_or_no("validate_only", validate_only),
            preview_path=preview_path,
            rejects_path=rejects_path,
            sync_mode=sync_mode,
            state_conn_id=state_conn_id,
            state_schema=state_schema,
            state_path=state_path,
            first_run=first_run,
            cursor=cursor,
            lookback=lookback,
            keep_days=keep_days,
            **{name: cap for name, cap in caps.items() if not is_template(cap)},
        )
        self._check_schema(warehouse_schema, sync_mode)
        checked = as_calls(calls)
        check_changes(checked, sync_mode, self.options.key_columns)
        _check_cursor(cursor, checked, warehouse_schema)
        self.sql = sql
        self.sql_conn_id = sql_conn_id
        # Plain data: Airflow renders it by copy, so that operators and mapped tasks never see each other's values.
        self.calls = [call.as_dict() for call in checked]
        self.parameters = parameters
        self.sql_hook_params = sql_hook_params
        self.segment_conn_id = segment_conn_id
        self.state_path = state_path
        self.warehouse_schema = warehouse_schema
        self.sync_id = sync_id
        self.rejects_path = rejects_path
        self.preview_path = preview_path
        self.validate_only = validate_only
        for name, cap in caps.items():
            setattr(self, name, cap)
        self.fetch_size = positive("fetch_size", fetch_size)
        self._hook: SegmentHook | None = None

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Return what Airflow maps over; with ``sync_mode="changes"`` each shard needs a ``sync_id`` of its own.

        :param kwargs: what all shards share.
        """
        made = super().partial(**kwargs)
        return sharded(made) if kwargs.get("sync_mode") == "changes" else made

    @staticmethod
    def _check_schema(schema: object, sync_mode: str) -> None:
        if schema is not None:
            check_schema(schema)
            if sync_mode != "changes":
                raise SettingError("warehouse_schema: is for sync_mode='changes'; with 'all' every row is sent")

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the sync and return its report.

        :param context: of the task.
        """
        from airflow_provider_segment.hooks.lineage import note_events
        from airflow_provider_segment.hooks.task import default_sync_id
        from airflow_provider_segment.transfers.repeated_query import warn_if_repeated

        with self._begun(context) as (hook, task_run):
            if self.options.sync_mode == "changes":
                warn_of_deleted(self, context)
            elif not yes_or_no("validate_only", self.validate_only):
                warn_if_repeated(self, context)
            sync_id = self.sync_id or default_sync_id(self, context, self.options.sync_mode)
            report = self.sync_here(hook, task_run, context, sync_id)
            note_events(context, report)
        return report.as_dict()

    @contextmanager
    def _begun(self, context: Context) -> Iterator[tuple[SegmentHook, TaskRun]]:
        """Lend the hook and the task; a block that fails leaves a report, and fails in Airflow's terms."""
        from airflow_provider_segment.hooks import sigterm
        from airflow_provider_segment.hooks.segment import SegmentHook
        from airflow_provider_segment.hooks.task import as_airflow_exceptions, current, leaves_report

        task_run, hook = current(context), SegmentHook(self.segment_conn_id)
        self._hook = hook
        with as_airflow_exceptions(), leaves_report(task_run, lambda: hook.report):
            hook.get_conn()  # a bad connection fails before the query runs
            hook.push_debugger_url(context)
            sigterm.watch(task_run)
            yield hook, task_run

    def sync_here(self, hook: SegmentHook, task_run: TaskRun, context: Context, sync_id: str) -> Report:
        """Send the rows of the query.

        :param hook: of the connection to Segment.
        :param task_run: the try of the task.
        :param context: of the task.
        :param sync_id: of the sync.
        """
        from airflow_provider_segment.hooks import sigterm

        with ExitStack() as stack:
            with sigterm.waits():
                rows = stack.enter_context(self._open(sync_id, task_run))
            return hook.sync(rows, self.calls, sync_id=sync_id, context=context, **self.rendered())

    def rendered(self) -> dict[str, Any]:
        """Return the options as Jinja has made them."""
        paths = {name: getattr(self, name) for name in ("state_path", "rejects_path", "preview_path")}
        caps = {name: number_of(name, getattr(self, name)) for name in CAPS}
        caps["min_rows"] = caps["min_rows"] or 0
        is_dry = yes_or_no("validate_only", self.validate_only)
        return asdict(self.options) | paths | caps | {"validate_only": is_dry}

    def _open(self, sync_id: str, task_run: TaskRun) -> AbstractContextManager[Pages]:
        """Return what lends the rows of the query: all of them, or those that may have changed."""
        from airflow_provider_segment.transfers.from_mark import open_from_mark
        from airflow_provider_segment.transfers.query import open_query
        from airflow_provider_segment.transfers.warehouse_filter import open_warehouse

        asked = (self.sql_conn_id, self.sql, self.parameters)
        how: dict[str, Any] = {"hook_params": self.sql_hook_params, "fetch_size": self.fetch_size}
        if self.options.cursor is not None:
            return open_from_mark(*asked, column=self.options.cursor, **how)
        if self.warehouse_schema is None:
            return open_query(*asked, **how)
        return open_warehouse(*asked, schema=self.warehouse_schema, sync_id=sync_id, label=task_run.label, **how)

    def on_kill(self) -> None:
        """Send nothing more: what is on its way is counted, and the task fails with its report."""
        if self._hook is not None:
            self._hook.stop()

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any] | None:
        """Return the tables that the query reads and the source that is written to; None without OpenLineage."""
        try:
            from airflow_provider_segment.transfers import lineage
        except ImportError:
            return None
        from airflow_provider_segment.hooks.segment import SegmentHook

        hook = self._hook or SegmentHook(self.segment_conn_id)
        found = lineage.reading(self.sql_conn_id, self.sql, self.sql_hook_params)
        if not yes_or_no("validate_only", self.validate_only):
            found.outputs = [lineage.writing(hook.settings.asset_uri, hook.report)]
        if hook.report is not None:
            found.run_facets["segment_report"] = lineage.counts(hook.report)
        return found

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return the same with the counts of the run, whether it succeeded or failed.

        :param task_instance: of the task; not needed.
        """
        return self.get_openlineage_facets_on_start()

    get_openlineage_facets_on_failure = get_openlineage_facets_on_complete


def _check_cursor(cursor: str | None, calls: Sequence[Call], warehouse_schema: str | None) -> None:
    if cursor is None:
        return
    if warehouse_schema is not None:
        raise SettingError("cursor, warehouse_schema: expected one of the two: a cursor's rows are few, and all new")
    if deleting := [call.identity for call in calls if "deleted" in call.kinds]:
        raise SettingError(
            f"cursor: {deleting[0]} is on 'deleted', and of rows that are not read nobody knows whether they are gone; "
            "give that call a sync of its own, without a cursor"
        )


def check_schema(schema: object) -> None:
    """Refuse what is no schema's name.

    :param schema: the setting.
    :raises SettingError: if it is none.
    """
    if not isinstance(schema, str) or not schema.strip():
        raise SettingError(f"warehouse_schema: expected the name of a schema, found {schema!r}")
