"""The settings of regulations, checked when they are made; light enough for the parsing of a DAG."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.options import check_max_rejected, positive
from airflow_provider_segment.core.public_api.regulations import SOURCE_TYPES, TYPES

SCOPES = ("workspace", "source")


@dataclass(frozen=True)
class RegulationOptions:
    """Whom a regulation is for, and how many they may be.

    :param regulation_type: in Segment's words, such as "SUPPRESS_WITH_DELETE".
    :param max_users: more users than these that are due stop the run before the first call.
    :param scope: "workspace" (default) or "source", which is the connection's.
    :param user_id: the column with the ids; None takes the query's only one.
    :param max_rejected: how many rows may be refused before nothing is sent: a count, or below 1 a share of all.
    :param validate_only: read, check and count all, and send and remember nothing.
    :param state_conn_id: the connection where it is remembered who is part of an accepted regulation ...
    :param state_schema: ... in this schema of it ...
    :param state_path: ... or a SQLite file on a local disk.
    :param rejects_path: a file for the refused rows as JSON lines.
    :raises SettingError: if one of them is not what it should be.
    """

    regulation_type: str
    max_users: int
    scope: str = "workspace"
    user_id: str | None = None
    max_rejected: float = 0
    validate_only: bool = False
    state_conn_id: str | None = None
    state_schema: str | None = None
    state_path: str | None = None
    rejects_path: str | None = None

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise SettingError(f"scope: expected workspace or source, found {self.scope!r}")
        known = TYPES if self.scope == "workspace" else SOURCE_TYPES
        if self.regulation_type not in known:
            raise SettingError(f"regulation_type: expected one of {', '.join(known)}; found {self.regulation_type!r}")
        positive("max_users", self.max_users)
        check_max_rejected(self.max_rejected)
        for name in ("user_id", "state_conn_id", "state_schema", "state_path", "rejects_path"):
            text = getattr(self, name)
            if text is not None and not (isinstance(text, str) and text):
                raise SettingError(f"{name}: expected text, found {text!r}")
        if self.state_conn_id is not None and self.state_path is not None:
            raise SettingError("state_path, state_conn_id: expected one of the two, or none")
        if self.state_schema is not None and self.state_conn_id is None:
            raise SettingError("state_schema: is for state_conn_id; a SQLite file has no schemas")

    @property
    def has_state(self) -> bool:
        """Whether a state remembers beyond the run."""
        return self.state_conn_id is not None or self.state_path is not None
