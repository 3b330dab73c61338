"""Operators that make one call from templated fields, or a call for each row of an upstream task's result.

It is long for the six calls' own fields, each said with its words where an editor shows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_segment.calls import Call, as_calls
from airflow_provider_segment.compat import BaseOperator, XComArg
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.hooks.templates import KeepsText
from airflow_provider_segment.links.segment import SegmentDebuggerLink

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context
    from airflow_provider_segment.core.report import Report
    from airflow_provider_segment.hooks.segment import SegmentHook

_USER = ("user_id", "anonymous_id")
_COMMON = ("timestamp", "context", "integrations", "message_id", "call", "segment_conn_id")


class _CallOperator(KeepsText, BaseOperator):
    """One call made of literal, templated fields; or, with ``rows`` and ``call``, a call for each row.

    :param timestamp: when it happened: a datetime with its zone, or ISO 8601 text; default the time of arrival.
    :param context: an object as in Segment's spec.
    :param integrations: which destinations, ``{"All": False, "Mixpanel": True}``.
    :param message_id: names the message for Segment's deduplication; by default a retry of the task repeats its id.
    :param segment_conn_id: a connection of type ``segment``; default ``segment_default`` (templated).
    :param rows: an upstream task's result, such as ``extract.output``: dicts, tuples with ``columns``, or a DataFrame;
        what XCom does to numbers and datetimes is said in docs/mapping.md. It is no template field, since Airflow
        stores those in its database.
    :param call: what each row makes, from ``airflow_provider_segment.calls`` or as a plain dict (templated).
    :param columns: the names of the columns, where the rows are tuples.
    :param key: with rows, as for SqlToSegmentOperator; so are ``nulls``, ``timezone``, ``max_rejected`` and
        ``min_rows``.
    :param nulls: "send" (default) or "omit".
    :param timezone: the zone of timestamps that carry none.
    :param max_rejected: how many calls may be refused: a count, or below 1 a share.
    :param min_rows: fewer rows than these fail the task before anything is sent.
    :raises ValueError: when the DAG is parsed, if a setting is not what it should be.
    """

    kind: ClassVar[str] = ""
    fields: ClassVar[tuple[str, ...]] = ()
    needed: ClassVar[tuple[str, ...]] = ()
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(
        ("traits", "properties", "context", "integrations", "call"), "json"
    )
    operator_extra_links = (SegmentDebuggerLink(),)
    ui_color = "#d9f2e6"

    def __init__(
        self,
        *,
        timestamp: Any = None,
        context: Mapping[str, Any] | None = None,
        integrations: Mapping[str, Any] | None = None,
        message_id: str | None = None,
        segment_conn_id: str = "segment_default",
        rows: Any = None,
        call: Call | Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
        key: str | Sequence[str] | None = None,
        nulls: str = "send",
        timezone: str | None = None,
        max_rejected: float = 0,
        min_rows: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.timestamp = timestamp
        self.context = context
        self.integrations = integrations
        self.message_id = message_id
        self.segment_conn_id = segment_conn_id
        self.rows = rows
        self.call = None if call is None else as_calls(call)[0].as_dict()
        self.columns = None if columns is None else list(columns)
        self.options = Options(key, nulls, timezone, max_rejected, min_rows=min_rows)
        self._hook: SegmentHook | None = None
        if rows is not None:
            XComArg.apply_upstream_relationship(self, rows)

    @classmethod
    def partial(cls, *, rows: Any = None, **kwargs: Any) -> Any:
        """Return what Airflow maps over.

        :param rows: cannot be shared by mapped tasks: Airflow sets no dependency on what is no template field.
        :param kwargs: what all mapped tasks share.
        :raises SettingError: if rows are given.
        """
        if rows is not None:
            raise SettingError(f"{cls.__name__}.partial(rows=...): give rows to expand(), or to expand_kwargs()")
        return super().partial(**kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the call, or the calls, and return the report; fail if not all were accepted.

        :param context: of the task.
        """
        from airflow_provider_segment.hooks.lineage import note_events
        from airflow_provider_segment.hooks.segment import SegmentHook
        from airflow_provider_segment.hooks.task import current, leaves_report

        hook = self._hook = SegmentHook(self.segment_conn_id)
        with leaves_report(current(context), lambda: hook.report):
            hook.push_debugger_url(context)
            report = self._send(hook, context) if self.call is None else self._sync(self.call, hook, context)
            note_events(context, report)
        return report.as_dict()

    def _send(self, hook: SegmentHook, context: Context) -> Report:
        from airflow_provider_segment.core.mapping.messages import written
        from airflow_provider_segment.hooks.task import current
        from airflow_provider_segment.hooks.tries import warn_of_repeat

        task_run = current(context)
        fields = {name: getattr(self, name) for name in (*self.fields, *_COMMON[:4])}
        warn_of_repeat(task_run, self.log)
        report = hook.send([written(self.kind, **fields)], context=context)
        if task_run.try_number > 1:
            task_run.leave(report)  # as hook.sync does
        return report

    def _sync(self, call: Mapping[str, Any], hook: SegmentHook, context: Context) -> Report:
        rows = self.rows.resolve(context) if isinstance(self.rows, XComArg) else self.rows
        sync_id = f"{self.dag_id}.{self.task_id}"
        return hook.sync(rows, call, columns=self.columns, sync_id=sync_id, context=context, **asdict(self.options))

    def on_kill(self) -> None:
        """Send nothing more: what is on its way is counted, and the task fails with its report."""
        if self._hook is not None:
            self._hook.stop()

    def _check(self) -> None:
        """Check that there is either one message or many, and what the call's type needs."""
        name = type(self).__name__
        given = [field for field in (*self.fields, *_COMMON[:4]) if getattr(self, field) is not None]
        if (self.rows is None) != (self.call is None):
            raise SettingError(f"{name}: rows=... and call=... go together: the rows, and what each of them makes")
        if self.call is not None:
            if given:
                raise SettingError(f"{name}: with rows, {', '.join(given)} belong into call=...")
            if self.call["call"] != self.kind:
                raise SettingError(f"{name}: call: expected a {self.kind} call, found {self.call['call']}")
            return
        if missing := [field for field in self.needed if field not in given]:
            raise SettingError(f"{name} needs {' and '.join(missing)}")
        if "anonymous_id" in self.fields and not {"user_id", "anonymous_id"} & set(given):
            raise SettingError(f"{name} needs user_id=... or anonymous_id=...; Segment drops the call otherwise")


class SegmentIdentifyOperator(_CallOperator):
    """Say who a user is.

    :param user_id: the user's id in your database (templated).
    :param anonymous_id: an id for a user whose id is not known; one of the two is needed (templated).
    :param traits: what is known of the user (templated).
    :param kwargs: ``timestamp``, ``context``, ``integrations``, ``message_id``, ``segment_conn_id``; or ``rows`` and
        ``call``, with ``columns``, ``key``, ``nulls``, ``timezone``, ``max_rejected``, ``min_rows``, for a call a
        row.
    :raises ValueError: when the DAG is parsed, if a setting is not what it should be.
    """

    kind = "identify"
    fields = (*_USER, "traits")
    template_fields: Sequence[str] = (*fields, *_COMMON)

    def __init__(
        self, *, user_id: Any = None, anonymous_id: Any = None, traits: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.user_id = user_id
        self.anonymous_id = anonymous_id
        self.traits = traits
        self._check()


class SegmentTrackOperator(_CallOperator):
    """Say what a user did.

    :param event: the event's name (templated).
    :param user_id: the user's id (templated).
    :param anonymous_id: an anonymous id; one of the two is needed (templated).
    :param properties: what is known of the event (templated).
    :param kwargs: as for :class:`SegmentIdentifyOperator`.
    :raises ValueError: when the DAG is parsed, if a setting is not what it should be.
    """

    kind = "track"
    fields = ("event", *_USER, "properties")
    needed = ("event",)
    template_fields: Sequence[str] = (*fields, *_COMMON)

    def __init__(
        self,
        *,
        event: str | None = None,
        user_id: Any = None,
        anonymous_id: Any = None,
        properties: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event = event
        self.user_id = user_id
        self.anonymous_id = anonymous_id
        self.properties = properties
        self._check()


class SegmentGroupOperator(_CallOperator):
    """Say which group a user belongs to, and what is known of the group.

    :param group_id: the group's id (templated).
    :param user_id: the member's id; Segment needs a user even for a group's traits (templated).
    :param anonymous_id: an anonymous id; one of the two is needed (templated).
    :param traits: what is known of the group (templated).
    :param kwargs: as for :class:`SegmentIdentifyOperator`.
    :raises ValueError: when the DAG is parsed, if a setting is not what it should be.
    """

    kind = "group"
    fields = ("group_id", *_USER, "traits")
    needed = ("group_id",)
    template_fields: Sequence[str] = (*fields, *_COMMON)

    def __init__(
        self,
        *,
        group_id: Any = None,
        user_id: Any = None,
        anonymous_id: Any = None,
        traits: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.group_id = group_id
        self.user_id = user_id
        self.anonymous_id = anonymous_id
        self.traits = traits
        self._check()


class SegmentPageOperator(_CallOperator):
    """Say which page a user saw.

    :param name: the page's name (templated).
    :param category: its category (templated).
    :param user_id: the user's id (templated).
    :param anonymous_id: an anonymous id; one of the two is needed (templated).
    :param properties: what is known of the page (templated).
    :param kwargs: as for :class:`SegmentIdentifyOperator`.
    :raises ValueError: when the DAG is parsed, if a setting is not what it should be.
    """

    kind = "page"
    fields = ("name", "category", *_USER, "properties")
    template_fields: Sequence[str] = (*fields, *_COMMON)

    def __init__(
        self,
        *,
        name: str | None = None,
        category: str | None = None,
        user_id: Any = None,
        anonymous_id: Any = None,
        properties: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.category = category
        self.user_id = user_id
        self.anonymous_id = anonymous_id
        self.properties = properties
        self._check()


class SegmentScreenOperator(SegmentPageOperator):
    """Say which screen of an app a user saw.

    :param name: the screen's name (templated).
    :param category: its category (templated).
    :param user_id: the user's id (templated).
    :param anonymous_id: an anonymous id; one of the two is needed (templated).
    :param properties: what is known of the screen (templated).
    :param kwargs: as for :class:`SegmentIdentifyOperator`.
    :raises ValueError: when the DAG is parsed, if a setting is not what it should be.
    """

    kind = "screen"


class SegmentAliasOperator(_CallOperator):
    """Say that two ids are one user; some destinations cannot undo it, and Unify ignores it.

    :param user_id: the new id (templated).
    :param previous_id: the old id (templated).
    :param kwargs: as for :class:`SegmentIdentifyOperator`.
    :raises ValueError: when the DAG is parsed, if a setting is not what it should be.
    """

    kind = "alias"
    fields = ("user_id", "previous_id")
    needed = fields
    template_fields: Sequence[str] = (*fields, *_COMMON)

    def __init__(self, *, user_id: Any = None, previous_id: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.user_id = user_id
        self.previous_id = previous_id
        self._check()


class SegmentApiCallOperator(KeepsText, BaseOperator):
    """Make one request to Segment's API with the connection's authorisation, and return the answer's JSON.

    :param method: of HTTP, such as "POST" (templated).
    :param path: taken as it is below scheme and host, such as ``/v1/group``; another host is refused (templated).
    :param headers: more headers (templated).
    :param query: of the URL (templated); Airflow has another use for the name ``params``.
    :param json: the body (templated).
    :param segment_conn_id: a connection of type ``segment``; default ``segment_default`` (templated).
    """

    template_fields: Sequence[str] = ("method", "path", "headers", "query", "json", "segment_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(("headers", "query", "json"), "json")
    operator_extra_links = (SegmentDebuggerLink(),)
    ui_color = "#d9f2e6"

    def __init__(
        self,
        *,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        json: Any = None,
        segment_conn_id: str = "segment_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.method = method
        self.path = path
        self.headers = headers
        self.query = query
        self.json = json
        self.segment_conn_id = segment_conn_id

    def execute(self, context: Context) -> Any:
        """Make the request, and fail if the answer is not 2xx.

        :param context: of the task.
        """
        from airflow_provider_segment.hooks.segment import SegmentHook

        hook = SegmentHook(self.segment_conn_id)
        hook.push_debugger_url(context)
        return hook.api_call(self.method, self.path, headers=self.headers, params=self.query, json=self.json)
