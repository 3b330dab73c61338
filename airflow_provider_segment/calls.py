"""What a DAG author imports: the six calls of Segment, said over the columns of a query.

One rule: a string names a column, ``Constant(x)`` is x itself, ``Json("column")`` is the parsed content of a column
that holds JSON text, ``Bool("column")`` the truth value of one that holds it as 0 and 1 or as a word. Every call can
also be written as a plain dict, for YAML users and for Airflow's rendering:
``{"call": "track", "event": {"constant": "Signed Up"}, "user_id": "id"}``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Literal, TypeAlias

__all__ = ["Alias", "AllColumns", "Bool", "Constant", "Group", "Identify", "Json", "Page", "Screen", "Track"]

CHANGE_KINDS = ("added", "updated", "deleted")
RENAMES = ("as_is", "snake_case", "camelCase")


@dataclass(frozen=True)
class Constant:
    """A value that is the same for every row.

    :param value: any value that reaches JSON (docs/mapping.md); text is rendered by Jinja.
    """

    value: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _plain(self.value))


@dataclass(frozen=True)
class Json:
    """The parsed content of a column that holds JSON as text.

    :param column: the column's name. Columns that the driver already gives as objects (jsonb, struct) need no Json.
    """

    column: str

    def __post_init__(self) -> None:
        _check_column(self.column, "Json")


@dataclass(frozen=True)
class Bool:
    """The truth value of a column, for databases without booleans: MySQL's TINYINT(1), Oracle's NUMBER(1), SQLite.

    :param column: the column's name. 1 and 0, true and false, t and f, yes and no, y and n, on and off are truth
        values, in any case; what is neither refuses the row.
    """

    column: str

    def __post_init__(self) -> None:
        _check_column(self.column, "Bool")


@dataclass(frozen=True)
class AllColumns:
    """Every column that the call uses nowhere else, so that a new column flows by itself.

    :param exclude: names of columns to leave out.
    :param rename: how a column's name becomes a trait's or property's: "as_is" (default), "snake_case" or "camelCase".
    :param extra: more traits or properties, said as in a dict of names; they win over a column of the same name.
    :param json: names of columns that hold JSON as text, as Json("column") says it of one.
    """

    exclude: Sequence[str] = ()
    rename: Literal["as_is", "snake_case", "camelCase"] = "as_is"
    extra: Mapping[str, Tree] = dataclasses.field(default_factory=dict)
    json: Sequence[str] = ()

    def __post_init__(self) -> None:
        lists = {name: _column_names(getattr(self, name), f"AllColumns({name}=...)") for name in ("exclude", "json")}
        if both := set(lists["exclude"]) & set(lists["json"]):
            raise ValueError(f"AllColumns: exclude and json both have {', '.join(sorted(both))}; a column is in one")
        if self.rename not in RENAMES:
            raise ValueError(f"AllColumns(rename=...): expected one of {', '.join(RENAMES)}; found {self.rename!r}")
        extra = _fields(self.extra, "AllColumns(extra=...)")
        if not isinstance(extra, dict):
            raise ValueError(f"AllColumns(extra=...): expected a dict of names, found {_found(self.extra)}")
        for name, names in lists.items():
            object.__setattr__(self, name, names)
        object.__setattr__(self, "extra", extra)


Source: TypeAlias = str | Constant | Json | Bool
Tree: TypeAlias = "Source | Mapping[str, Tree] | Sequence[Tree]"
Fields: TypeAlias = "Mapping[str, Tree] | Sequence[str] | AllColumns | str | Json"

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
            return _scalar(value, where)
        if name in OBJECTS:
            return _fields(value, where)
        if name == "integrations":
            return _integrations(value, where)
        if name == "when":
            return _when(value, where)
        if name == "on_change":
            return _on_change(value, where)
        if name == "enabled" and not isinstance(value, bool):
            raise ValueError(f"{where}: expected True or False, found {_found(value)}")
        if name == "label" and not (isinstance(value, str) and value.strip()):
            raise ValueError(f"{where}: expected a name, found {_found(value)}")
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
                plain[field.name] = _as_plain(value) if field.name in SCALARS + OBJECTS else _plain(value)
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
        event = f"{self.event.value}" if isinstance(self.event, Constant) else f"[{_column(self.event)}]"
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
                f"user_id=<the owner's column>, or anonymous_id={_as_plain(self.group_id)!r}, the group's own id"
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


TYPES: dict[str, type[Call]] = {kind.type: kind for kind in (Identify, Track, Group, Page, Screen, Alias)}


def as_calls(calls: Any) -> list[Call]:
    """Return one call or many, as calls or as plain dicts, as a list of checked calls.

    :param calls: what a user gave.
    :raises ValueError: if there is none, one is of another type, or two have the same identity.
    """
    if isinstance(calls, (Call, Mapping)):
        calls = [calls]
    elif not isinstance(calls, (list, tuple)):
        raise ValueError(f"calls: expected Identify(...), Track(...) ... or a list of them, found {_found(calls)}")
    checked = [_as_call(call, f"calls[{position}]") for position, call in enumerate(calls)]
    if not checked:
        raise ValueError("calls: it is empty; expected at least one of Identify, Track, Group, Page, Screen, Alias")
    seen: set[str] = set()
    for call in checked:
        if call.identity in seen:
            raise ValueError(f"calls: two are called {call.identity!r}; give each a label=... of its own")
        seen.add(call.identity)
    return checked


def columns_of(call: Call) -> Iterator[str]:
    """Yield the columns that a call uses, those of AllColumns itself aside.

    :param call: as the DAG author said it.
    """
    yield from call.when or {}
    for field in dataclasses.fields(call):
        if field.name in SCALARS + OBJECTS:
            yield from _columns_in(getattr(call, field.name))


def named_columns(call: Call) -> Iterator[str]:
    """Yield the columns that a call names: those that it uses, and those that AllColumns leaves out or parses.

    :param call: as the DAG author said it.
    """
    yield from columns_of(call)
    for field in OBJECTS:
        if isinstance(content := getattr(call, field, None), AllColumns):
            yield from (*content.exclude, *content.json)


def _columns_in(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, (Json, Bool)):
        yield tree.column
    elif isinstance(tree, AllColumns):
        yield from _columns_in(tree.extra)
    elif isinstance(tree, Mapping):
        for part in tree.values():
            yield from _columns_in(part)
    elif isinstance(tree, list):
        for part in tree:
            yield from _columns_in(part)


def check_changes(calls: Sequence[Call], sync_mode: str, key: Sequence[str]) -> None:
    """Check that calls on "deleted" can be made when the row is gone.

    :param calls: of a sync.
    :param sync_mode: with "all" each row makes each call, whatever its ``on_change`` says.
    :param key: the key columns.
    :raises ValueError: if a call on "deleted" uses more than ids, the key columns and constants.
    """
    for call in calls:
        if sync_mode == "all" or "deleted" not in call.kinds:
            continue
        if call.when is not None:
            raise ValueError(f"{call.identity}: when=...: a call on 'deleted' has no row to look at any more")
        kept = {name.lower() for name in key}
        kept |= {name.lower() for field in IDS for name in _columns_in(getattr(call, field, None))}
        if other := [name for name in columns_of(call) if name.lower() not in kept]:
            raise ValueError(
                f"{call.identity}: a call on 'deleted' may use its ids, the key columns and constants, since the row "
                f"is gone; it also uses {', '.join(other)}"
            )
        if any(isinstance(getattr(call, field, None), AllColumns) for field in OBJECTS):
            raise ValueError(f"{call.identity}: AllColumns: a call on 'deleted' has no row to take them from")


def _as_call(call: Any, where: str) -> Call:
    if isinstance(call, Call):
        return call
    if not isinstance(call, Mapping):
        raise ValueError(f"{where}: expected Identify(...), Track(...) ... or a dict, found {_found(call)}")
    settings = dict(call)
    name = settings.pop("call", None)
    if not isinstance(name, str) or name not in TYPES:
        raise ValueError(f"{where}: expected 'call' to be one of {', '.join(TYPES)}; found {name!r}")
    kind = TYPES[name]
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(str(key) for key in settings if key not in known):
        raise ValueError(f"{where}: {name} knows no {', '.join(unknown)}; it knows {', '.join(sorted(known))}")
    needed = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    if missing := [field for field in needed if settings.get(field) is None]:
        raise ValueError(f"{where}: {name} needs {' and '.join(missing)}")
    return kind(**settings)


def _source(value: Any, where: str) -> Source:
    """Return what one value of a message is made from: a column, a Constant, a Json or a Bool."""
    if isinstance(value, (Constant, Json, Bool)):
        return value
    if isinstance(value, str):
        _check_column(value, where)
        return value
    if isinstance(value, Mapping) and len(value) == 1:
        marker, content = next(iter(value.items()))
        if marker == "constant":
            return Constant(content)
        if marker == "json":
            return Json(content)
        if marker == "bool":
            return Bool(content)
        if marker == "column":
            _check_column(content, where)
            return str(content)
    raise ValueError(
        f"{where}: expected a column's name, Constant(...), Json(...) or Bool(...), found {_found(value)}; "
        "a string names a column, and a fixed value is written Constant(value)"
    )


def _scalar(value: Any, where: str) -> Source:
    """Return what an id, a timestamp, an event or a name is made from."""
    source = _source(value, where)
    if isinstance(source, Bool):
        raise ValueError(f"{where}: expected a column's name, Constant(...) or Json(...), found a Bool")
    return source


def _tree(value: Any, where: str) -> Tree:
    """Return what a trait or property is made from: a source, or a dict or list of them."""
    if isinstance(value, Mapping) and not _is_marker(value):
        return _named(value, where)
    if isinstance(value, (list, tuple)):
        return [_tree(item, f"{where}[{position}]") for position, item in enumerate(value)]
    return _source(value, where)


def _fields(value: Any, where: str) -> Fields:
    """Return what an object of a message (traits, properties, context) is made from."""
    if isinstance(value, AllColumns):
        return value
    if isinstance(value, Mapping):
        if (
            set(value) == {"all_columns"}
            and isinstance(inner := value["all_columns"], Mapping)
            and not _is_marker(inner)
        ):
            return _all_columns(value["all_columns"], where)
        if set(value) == {"json"} and isinstance(value["json"], str):
            return Json(value["json"])
        return _named(value, where)
    if isinstance(value, (list, tuple)):
        for name in value:
            _check_column(name, where)
        return list(value)
    if isinstance(value, (Constant, Bool)):
        kind = type(value).__name__
        raise ValueError(f"{where}: expected a dict of names, found a {kind}; make each value of the dict a {kind}")
    if isinstance(value, (str, Json)):
        source = _source(value, where)
        return source if isinstance(source, Json) else str(source)
    raise ValueError(f"{where}: expected a dict of names, a list of columns or AllColumns(), found {_found(value)}")


def _all_columns(settings: Mapping[Any, Any], where: str) -> AllColumns:
    known = [field.name for field in dataclasses.fields(AllColumns)]
    if unknown := [str(name) for name in settings if name not in known]:
        raise ValueError(f"{where}: all_columns knows no {', '.join(unknown)}; it knows {', '.join(known)}")
    return AllColumns(**settings)


def _named(value: Mapping[Any, Any], where: str) -> dict[str, Tree]:
    """Return a dict of names with its nested dicts flattened into dotted names, which mean the same."""
    named: dict[str, Tree] = {}
    for name, content in value.items():
        if not isinstance(name, str) or not all(name.split(".")):
            raise ValueError(f"{where}: expected names like 'email' or 'address.city', found {name!r}")
        tree = _tree(content, f"{where}[{name!r}]")
        parts = {f"{name}.{inner}": part for inner, part in tree.items()} if isinstance(tree, Mapping) else {name: tree}
        for path, part in parts.items():
            if any(path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.") for other in named):
                raise ValueError(f"{where}: {path!r} is given twice, or both as a value and as an object")
            named[path] = part
    return named


def _is_marker(value: Mapping[Any, Any]) -> bool:
    return len(value) == 1 and next(iter(value)) in ("constant", "json", "bool", "column")


def _integrations(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected a dict like {{'All': False, 'Mixpanel': True}}, found {_found(value)}")
    for name, setting in value.items():
        if name == "all":
            raise ValueError(f"{where}: Segment writes 'All' with a capital A, found 'all'; names are case-sensitive")
        if not isinstance(name, str) or not isinstance(setting, (bool, Mapping)):
            raise ValueError(
                f"{where}: expected True, False or a dict of settings for {name!r}, found {_found(setting)}"
            )
    return {name: _plain(setting) for name, setting in value.items()}


def _when(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"{where}: expected {{column: value or list of values}}, found {_found(value)}")
    for column, wanted in value.items():
        _check_column(column, where)
        if isinstance(wanted, (Mapping, Constant, Json, Bool)):
            raise ValueError(f"{where}: {column!r} is compared with a plain value or a list, found {_found(wanted)}")
    return {column: _plain(wanted) for column, wanted in value.items()}


def _on_change(value: Any, where: str) -> list[str]:
    kinds = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]
    if not kinds or any(kind not in CHANGE_KINDS for kind in kinds):
        raise ValueError(f"{where}: expected a list of {', '.join(CHANGE_KINDS)}; found {value!r}")
    return [kind for kind in CHANGE_KINDS if kind in kinds]


def _column_names(value: Any, where: str) -> list[str]:
    """Return one column's name, or several, in an order that does not change from parse to parse."""
    if not isinstance(value, Iterable):
        raise ValueError(f"{where}: expected a list of columns, found {_found(value)}")
    names = [value] if isinstance(value, str) else list(value)
    for name in names:
        _check_column(name, where)
    return sorted(names)


def _check_column(value: Any, where: str) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(
            f"{where}: expected a column's name, found {_found(value)}; a fixed value is written Constant(value)"
        )


def _column(source: Source) -> str:
    return source if isinstance(source, str) else "" if isinstance(source, Constant) else source.column


def _as_plain(value: Any) -> Any:
    """Return the YAML form of a source or of an object's fields."""
    if isinstance(value, Constant):
        return {"constant": _plain(value.value)}
    if isinstance(value, Json):
        return {"json": value.column}
    if isinstance(value, Bool):
        return {"bool": value.column}
    if isinstance(value, AllColumns):
        plain = {"exclude": [*value.exclude], "rename": value.rename, "extra": _as_plain(value.extra)}
        return {"all_columns": plain | ({"json": [*value.json]} if value.json else {})}
    if isinstance(value, Mapping):
        return _escaped({name: _as_plain(part) for name, part in value.items()})
    if isinstance(value, list):
        return [_as_plain(part) for part in value]
    return value


def _escaped(named: dict[str, Any]) -> dict[str, Any]:
    """Keep a lone trait that is called "json", "bool" or "constant" from being read as a marker."""
    if _is_marker(named) and isinstance(column := next(iter(named.values())), str):
        return {next(iter(named)): {"column": column}}
    return named


def _plain(value: Any) -> Any:
    """Return fresh dicts and lists, and sets sorted: their order would change a DAG's hash from parse to parse."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(part) for part in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value


def _found(value: Any) -> str:
    """Name what was found: a DAG author's own setting, shortened."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"
