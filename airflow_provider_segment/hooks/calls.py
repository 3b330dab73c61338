"""Segment's six calls as methods of the hook, one message each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_segment.core.mapping.messages import written
from airflow_provider_segment.core.report import Report

COMMON = ("timestamp", "context", "integrations", "message_id")


class CallMethods:
    """The calls of the hook; each is sent at once, and raises if it was not accepted."""

    @abstractmethod
    def send(self, messages: Iterable[Mapping[str, Any]]) -> Report:
        """Send messages as they stand on the wire.

        :param messages: some.
        """

    def identify(
        self,
        user_id: Any = None,
        anonymous_id: Any = None,
        traits: Mapping[str, Any] | None = None,
        **common: Any,
    ) -> None:
        """Say who a user is.

        :param user_id: the user's id in your database.
        :param anonymous_id: an id for a user whose id is not known; one of the two is needed.
        :param traits: what is known of the user.
        :param common: ``timestamp``, ``context``, ``integrations``, ``message_id``, as for every call.
        :raises SegmentError: if the call was not accepted; it says why.
        """
        self._call("identify", common, user_id=user_id, anonymous_id=anonymous_id, traits=traits)

    def track(
        self,
        event: str,
        user_id: Any = None,
        anonymous_id: Any = None,
        properties: Mapping[str, Any] | None = None,
        **common: Any,
    ) -> None:
        """Say what a user did.

        :param event: the event's name.
        :param user_id: the user's id.
        :param anonymous_id: an anonymous id; one of the two is needed.
        :param properties: what is known of the event.
        :param common: as for :meth:`identify`.
        :raises SegmentError: if the call was not accepted; it says why.
        """
        self._call("track", common, event=event, user_id=user_id, anonymous_id=anonymous_id, properties=properties)

    def group(
        self,
        group_id: Any,
        user_id: Any = None,
        anonymous_id: Any = None,
        traits: Mapping[str, Any] | None = None,
        **common: Any,
    ) -> None:
        """Say which group a user belongs to, and what is known of the group.

        :param group_id: the group's id.
        :param user_id: the member's id; Segment needs a user even for a group's traits.
        :param anonymous_id: an anonymous id; one of the two is needed.
        :param traits: what is known of the group.
        :param common: as for :meth:`identify`.
        :raises SegmentError: if the call was not accepted; it says why.
        """
        self._call("group", common, group_id=group_id, user_id=user_id, anonymous_id=anonymous_id, traits=traits)

    def page(
        self,
        name: str | None = None,
        category: str | None = None,
        user_id: Any = None,
        anonymous_id: Any = None,
        properties: Mapping[str, Any] | None = None,
        **common: Any,
    ) -> None:
        """Say which page a user saw.

        :param name: the page's name.
        :param category: its category.
        :param user_id: the user's id.
        :param anonymous_id: an anonymous id; one of the two is needed.
        :param properties: what is known of the page.
        :param common: as for :meth:`identify`.
        :raises SegmentError: if the call was not accepted; it says why.
        """
        ids = {"user_id": user_id, "anonymous_id": anonymous_id}
        self._call("page", common, name=name, category=category, properties=properties, **ids)

    def screen(
        self,
        name: str | None = None,
        category: str | None = None,
        user_id: Any = None,
        anonymous_id: Any = None,
        properties: Mapping[str, Any] | None = None,
        **common: Any,
    ) -> None:
        """Say which screen of an app a user saw.

        :param name: the screen's name.
        :param category: its category.
        :param user_id: the user's id.
        :param anonymous_id: an anonymous id; one of the two is needed.
        :param properties: what is known of the screen.
        :param common: as for :meth:`identify`.
        :raises SegmentError: if the call was not accepted; it says why.
        """
        ids = {"user_id": user_id, "anonymous_id": anonymous_id}
        self._call("screen", common, name=name, category=category, properties=properties, **ids)

    def alias(self, user_id: Any, previous_id: Any, **common: Any) -> None:
        """Say that two ids are one user; Unify ignores it.

        :param user_id: the new id.
        :param previous_id: the old id.
        :param common: as for :meth:`identify`.
        :raises SegmentError: if the call was not accepted; it says why.
        """
        self._call("alias", common, user_id=user_id, previous_id=previous_id)

    def _call(self, kind: str, common: Mapping[str, Any], **fields: Any) -> None:
        if unknown := sorted(common.keys() - set(COMMON)):
            raise TypeError(f"{kind}() knows no {', '.join(unknown)}; it knows {', '.join(COMMON)}")
        self.send([written(kind, **fields, **common)])
