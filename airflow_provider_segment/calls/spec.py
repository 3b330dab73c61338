"""The six calls of Segment's spec, over the columns of a query."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from airflow_provider_segment.calls.fields import Fields, as_plain, read_fields
from airflow_provider_segment.calls.settings import read_integrations, read_on_change, read_when
from airflow_provider_segment.calls.sources import Constant, Source, column_of, found, plain_value, read_scalar

# What each field may hold: one value of the row, an object built from the row, or a literal setting of the call.
SCALARS = ("event", "name", "category", "group_id", "user_id", "anonymous_id", "previous_id", "timestamp", "message_id")
IDS = ("user_id", "anonymous_id", "group_id", "previous_id")
OBJECTS = ("traits", "properties", "context")


@dataclass(frozen=True)
class Call:
    """What all calls have in common; a DAG author uses Identify, Track, Group, Page, Screen or Alias.

    :param timestamp: when it happened; left out, Segment takes the time of arrival.
    :param context: an object as for traits; see Segment's spec for its keys.
    :param integrations: literal: which destinations, ``{"All": False, "Mixpanel": True}``.
    :param message_id: a column that names the message for Segment's deduplication; by default we make the ids.
    :param when: only rows where each column equals the value, or is in the list; blanks at the end do not count.
    :param on_change: with ``sync_mode="changes"``: which of "added", "updated", "deleted" make this call; with "all"
        each row makes it.
    :param enabled: False turns the call off.
    :param label: the call's name within its sync; by default its type and, for Track, its event.
    """

    type: ClassVar[str] = ""

    _: KW_ONLY
    timestamp: Source | None = None
    context: Fields | None = None
    integrations: Mapping[str, Any] | None = None
    message_id: Source | None = None
    when: Mapping[str, Any] | None = None
    on_change: Sequence[str] | None = None
    enabled: bool = True
    label: str | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is not None:
                raise ValueError(f"{type(self).__name__}({field.name}=...): it is needed, found None")
            if value is not None:
                object.__setattr__(self, field.name, self._checked(field.name, value))
        self._check()

    def _checked(self, name: str, value: Any) -> Any:
        """Return the field's value in its plain form, or say what is wrong with it."""
        where = f"{type(self).__name__}({name}=...)"
        if name in SCALARS:
            return read_scalar(value, where)
        if name in OBJECTS:
            return read_fields(value, where)
        if name == "integrations":
            return read_integrations(value, where)
        if name == "when":
            return read_when(value, where)
        if name == "on_change":
            return read_on_change(value, where)
        if name == "enabled" and not isinstance(value, bool):
            raise ValueError(f"{where}: expected True or False, found {found(value)}")
        if name == "label" and not (isinstance(value, str) and value.strip()):
            raise ValueError(f"{where}: expected a name, found {found(value)}")
        return value

    def _check(self) -> None:
        """Check what the call's type needs; Segment wants to know the user in all of them."""
        if getattr(self, "user_id", None) is None and getattr(self, "anonymous_id", None) is None:
            raise ValueError(f"{type(self).__name__} needs user_id=... or anonymous_id=... (a column, or a Constant)")

    @property
    def identity(self) -> str:
        """The call's name within its sync."""
        return self.label or self.type

    @property
    def kinds(self) -> list[str]:
        """The changes that make this call, with ``sync_mode="changes"``."""
        return list(self.on_change or (["added"] if self.type == "track" else ["added", "updated"]))

    def as_dict(self) -> dict[str, Any]:
        """Return the plain form, as YAML would say it."""
        plain: dict[str, Any] = {"call": self.type}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and value != field.default:
                plain[field.name] = as_plain(value) if field.name in SCALARS + OBJECTS else plain_value(value)
        return plain


@dataclass(frozen=True)
class Identify(Call):
    """Who a user is: https://segment.com/docs/connections/spec/identify.

    :param user_id: the column with the user's id in your database.
    :param anonymous_id: the column with an id for a user whose id is not known; one of the two is needed.
    :param traits: what is known of the user: a dict ``{"name": column | Constant | Json | dict | list}`` where a
        dotted name nests, a list of columns, AllColumns, or a column that holds an object.

    The common parameters are those of :class:`Call`.
    """

    type: ClassVar[str] = "identify"

    user_id: Source | None = None
    anonymous_id: Source | None = None
    traits: Fields | None = None


@dataclass(frozen=True)
class Track(Call):
    """What a user did: https://segment.com/docs/connections/spec/track.

    :param event: the column with the event's name, or ``Constant("Order Completed")``.
    :param user_id: the column with the user's id.
    :param anonymous_id: the column with an anonymous id; one of the two is needed.
    :param properties: what is known of the event, said as Identify's traits.
    """

    type: ClassVar[str] = "track"

    event: Source
    user_id: Source | None = None
    anonymous_id: Source | None = None
    properties: Fields | None = None

    @property
    def identity(self) -> str:
        """The label, or the type and the event."""
        event = f"{self.event.value}" if isinstance(self.event, Constant) else f"[{column_of(self.event)}]"
        return self.label or f"track:{event}"


@dataclass(frozen=True)
class Group(Call):
    """The group that a user belongs to, or a group's traits: https://segment.com/docs/connections/spec/group.

    :param group_id: the column with the group's id.
    :param user_id: the column with the member's id; Segment needs a user even for a group's traits.
    :param anonymous_id: the column with an anonymous id; the group's own id is a good one where there is no member.
    :param traits: what is known of the group, said as Identify's traits.
    """

    type: ClassVar[str] = "group"

    group_id: Source
    user_id: Source | None = None
    anonymous_id: Source | None = None
    traits: Fields | None = None

    def _check(self) -> None:
        if self.user_id is None and self.anonymous_id is None:
            raise ValueError(
                "Group needs a user, even where only the group's traits matter (Segment drops it otherwise): map "
                f"user_id=<the owner's column>, or anonymous_id={as_plain(self.group_id)!r}, the group's own id"
            )


@dataclass(frozen=True)
class Page(Call):
    """A page that a user saw: https://segment.com/docs/connections/spec/page.

    :param name: the column with the page's name.
    :param category: the column with its category; it is put into the properties as well, as the spec says.
    :param user_id: the column with the user's id.
    :param anonymous_id: the column with an anonymous id; one of the two is needed.
    :param properties: what is known of the page, said as Identify's traits.
    """

    type: ClassVar[str] = "page"

    name: Source | None = None
    category: Source | None = None
    user_id: Source | None = None
    anonymous_id: Source | None = None
    properties: Fields | None = None


@dataclass(frozen=True)
class Screen(Call):
    """A screen of an app that a user saw: https://segment.com/docs/connections/spec/screen.

    :param name: the column with the screen's name.
    :param category: the column with its category.
    :param user_id: the column with the user's id.
    :param anonymous_id: the column with an anonymous id; one of the two is needed.
    :param properties: what is known of the screen, said as Identify's traits.
    """

    type: ClassVar[str] = "screen"

    name: Source | None = None
    category: Source | None = None
    user_id: Source | None = None
    anonymous_id: Source | None = None
    properties: Fields | None = None


@dataclass(frozen=True)
class Alias(Call):
    """Two ids of one user: https://segment.com/docs/connections/spec/alias; Unify ignores it.

    :param user_id: the column with the new id.
    :param previous_id: the column with the old one.
    """

    type: ClassVar[str] = "alias"

    user_id: Source
    previous_id: Source
