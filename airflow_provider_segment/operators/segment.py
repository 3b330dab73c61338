"""Operators that make one call, from templated fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_segment.core.errors import SettingError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_COMMON = ("timestamp", "context", "integrations", "message_id")
_USER = ("user_id", "anonymous_id")


class _OneCall(BaseOperator):
    """One call, made of the fields that its operator names; all are templated and literal, no columns.

    :param timestamp: when it happened: a datetime with its zone, or ISO 8601 text; default the time of arrival.
    :param context: an object as in Segment's spec.
    :param integrations: which destinations, ``{"All": False, "Mixpanel": True}``.
    :param message_id: names the message for Segment's deduplication; by default a retry of the task repeats its id.
    :param segment_conn_id: a connection of type ``segment``; default ``segment_default``.
    :raises ValueError: when the DAG is parsed, if the call has no user.
    """

    kind: ClassVar[str] = ""
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(
        ("traits", "properties", "context", "integrations"), "json"
    )
    ui_color = "#d9f2e6"

    def __init__(
        self,
        *,
        timestamp: Any = None,
        context: Mapping[str, Any] | None = None,
        integrations: Mapping[str, Any] | None = None,
        message_id: str | None = None,
        segment_conn_id: str = "segment_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.timestamp = timestamp
        self.context = context
        self.integrations = integrations
        self.message_id = message_id
        self.segment_conn_id = segment_conn_id

    def execute(self, context: Context) -> None:
        """Make the call, and fail if it was not accepted.

        :param context: of the task.
        """
        from airflow_provider_segment.core.messages import written
        from airflow_provider_segment.hooks.segment import SegmentHook

        fields = {name: getattr(self, name) for name in self.template_fields if name != "segment_conn_id"}
        SegmentHook(self.segment_conn_id).send([written(self.kind, **fields)], context=context)

    def _check_user(self, *ids: Any) -> None:
        if all(value is None for value in ids):
            raise SettingError(
                f"{type(self).__name__} needs user_id=... or anonymous_id=...; Segment drops it otherwise"
            )


class SegmentIdentifyOperator(_OneCall):
    """Say who a user is.

    :param user_id: the user's id in your database (templated).
    :param anonymous_id: an id for a user whose id is not known; one of the two is needed (templated).
    :param traits: what is known of the user (templated).

    The common parameters are ``timestamp``, ``context``, ``integrations``, ``message_id`` and ``segment_conn_id``.
    """

    kind = "identify"
    template_fields: Sequence[str] = (*_USER, "traits", *_COMMON, "segment_conn_id")

    def __init__(
        self, *, user_id: Any = None, anonymous_id: Any = None, traits: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._check_user(user_id, anonymous_id)
        self.user_id = user_id
        self.anonymous_id = anonymous_id
        self.traits = traits


class SegmentTrackOperator(_OneCall):
    """Say what a user did.

    :param event: the event's name (templated).
    :param user_id: the user's id (templated).
    :param anonymous_id: an anonymous id; one of the two is needed (templated).
    :param properties: what is known of the event (templated).

    The common parameters are those of :class:`SegmentIdentifyOperator`.
    """

    kind = "track"
    template_fields: Sequence[str] = ("event", *_USER, "properties", *_COMMON, "segment_conn_id")

    def __init__(
        self,
        *,
        event: str,
        user_id: Any = None,
        anonymous_id: Any = None,
        properties: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._check_user(user_id, anonymous_id)
        self.event = event
        self.user_id = user_id
        self.anonymous_id = anonymous_id
        self.properties = properties


class SegmentGroupOperator(_OneCall):
    """Say which group a user belongs to, and what is known of the group.

    :param group_id: the group's id (templated).
    :param user_id: the member's id; Segment needs a user even for a group's traits (templated).
    :param anonymous_id: an anonymous id; one of the two is needed (templated).
    :param traits: what is known of the group (templated).

    The common parameters are those of :class:`SegmentIdentifyOperator`.
    """

    kind = "group"
    template_fields: Sequence[str] = ("group_id", *_USER, "traits", *_COMMON, "segment_conn_id")

    def __init__(
        self,
        *,
        group_id: Any,
        user_id: Any = None,
        anonymous_id: Any = None,
        traits: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._check_user(user_id, anonymous_id)
        self.group_id = group_id
        self.user_id = user_id
        self.anonymous_id = anonymous_id
        self.traits = traits
