"""SegmentNotifier: a track call about a DAG or a task that succeeded or failed, made from a callback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_segment.compat import BaseNotifier
from airflow_provider_segment.core.errors import SegmentError, SettingError
from airflow_provider_segment.hooks.templates import KeepsText

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context

# Callbacks of DAGs run in Airflow's DAG processor, which waits for 50 seconds and has other things to do.
LONGEST_SECONDS = 30.0
# An error may list all columns of a wide query; an event holds 32 KB.
LONGEST_TEXT = 2_000


class SegmentNotifier(KeepsText, BaseNotifier):
    """Make a track call when a DAG or a task succeeds or fails: ``on_failure_callback=SegmentNotifier(...)``.

    :param event: the event's name (templated).
    :param user_id: the user's id (templated).
    :param anonymous_id: an anonymous id; one of the two is needed (templated).
    :param properties: more than the default ones, or others by the same name (templated). By default there are
        ``dag_id``, ``run_id`` and ``state``, and for a task ``task_id``, ``try_number``, ``log_url`` and, where it is
        mapped, ``map_index``. Of a task that failed there is ``error_class`` as well; and where the error is one of
        this package, ``error_message``, which holds no value of a row (those of others might), and ``report``, the
        counts of the run.
    :param segment_conn_id: a connection of type ``segment``; default ``segment_default`` (templated).
    :raises ValueError: when the DAG is parsed, if neither id is given.
    """

    template_fields: Sequence[str] = ("event", "user_id", "anonymous_id", "properties", "segment_conn_id")

    def __init__(
        self,
        *,
        event: str,
        user_id: Any = None,
        anonymous_id: Any = None,
        properties: Mapping[str, Any] | None = None,
        segment_conn_id: str = "segment_default",
    ) -> None:
        super().__init__()
        if user_id is None and anonymous_id is None:
            raise SettingError(
                "SegmentNotifier needs user_id=... or anonymous_id=...; Segment drops the call otherwise"
            )
        self.event = event
        self.user_id = user_id
        self.anonymous_id = anonymous_id
        self.properties = properties
        self.segment_conn_id = segment_conn_id

    def __call__(self, *args: Any) -> None:
        """Make the call, for Airflow.

        :param args: the context; Airflow 2 has another form for missed SLAs.
        """
        # Rendering is in place: one notifier that many tasks share would tell of the first for ever.
        super(SegmentNotifier, copy(self)).__call__(*args)

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """Render the templates, for Airflow.

        :param context: of the task, or of the DAG's run.
        :param jinja_env: to use for it.
        """
        # A DAG's callback gets the DAG as it is stored from `dag.test()` of Airflow 3; that one makes no environment.
        if jinja_env is None and not hasattr(context.get("dag"), "get_template_env"):
            jinja_env = self.get_template_env()
        super().render_template_fields(context, jinja_env)

    def notify(self, context: Context) -> None:
        """Make the call.

        :param context: of the task, or of the DAG's run.
        :raises SegmentError: if it was not accepted; Airflow logs that, and the run's state stays as it is.
        """
        from airflow_provider_segment.core.mapping.message_ids import Namespace, content_digest, fingerprint
        from airflow_provider_segment.hooks.segment import SegmentHook

        hook = SegmentHook(self.segment_conn_id)
        hook.settings = replace(hook.settings, deadline=min(hook.settings.deadline, LONGEST_SECONDS))
        facts, attempt = _facts(context)
        fields = {
            "event": self.event,
            "user_id": self.user_id,
            "anonymous_id": self.anonymous_id,
            "properties": facts | dict(self.properties or {}),
        }
        # The same news has the same id if it is told twice, and a later try or a cleared run has news of its own.
        namespace = Namespace("notification", fingerprint(hook.write_key))
        message_id = namespace.maker("track").make(content_digest([facts, attempt]), content_digest(fields))
        why = _why(context) if "task_id" in facts else {}
        hook.track(**fields | {"properties": why | fields["properties"]}, message_id=message_id.decode())


def _facts(context: Context) -> tuple[dict[str, Any], int]:
    """Return what a callback is about, and how often a DAG's run was cleared."""
    known: Any = context
    run, instance = known.get("dag_run"), known.get("ti")
    attempt = getattr(run, "clear_number", None) or 0
    facts = {"dag_id": getattr(known.get("dag"), "dag_id", None), "run_id": known.get("run_id")}
    # A DAG's callback has a reason, and beside it the task that Airflow happened to look at last.
    if "reason" in known or instance is None:
        return _present(facts | {"state": _outcome(known.get("reason"))}), attempt
    state, map_index = getattr(instance, "state", None), getattr(instance, "map_index", None)
    facts |= {
        "task_id": instance.task_id,
        "map_index": map_index if map_index != -1 else None,
        "try_number": instance.try_number,
        "state": None if state is None else str(getattr(state, "value", state)),
    }
    return _present(facts), attempt


def _why(context: Context) -> dict[str, Any]:
    """Return why a task failed, as far as that can be told without a value of a row, and where its log is."""
    from airflow_provider_segment.hooks.task import SegmentFailException, report_of

    known: Any = context
    error, log_url = known.get("exception"), getattr(known.get("ti"), "log_url", None)
    if not isinstance(error, BaseException):  # none, or words of Airflow 2
        return _present({"log_url": log_url})
    is_ours = isinstance(error, (SegmentError, SegmentFailException))
    # One that a retry cannot help is raised in Airflow's terms; the reader wants the error that it stands for.
    cause = error.__cause__ if isinstance(error, SegmentFailException) and error.__cause__ else error
    report = report_of(error)
    return _present(
        {
            "error_class": type(cause).__name__,
            "error_message": str(error)[:LONGEST_TEXT] if is_ours else None,
            "report": None if report is None else report.as_dict(),
            "log_url": log_url,
        }
    )


def _present(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def _outcome(reason: str | None) -> str | None:
    """Return the state of a DAG's run: the run itself may still be marked as running when its callback is called."""
    return None if reason is None else "success" if reason == "success" else "failed"
