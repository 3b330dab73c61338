"""Airflow's simple auth manager, where two of the users may read only some DAGs."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

# Of each user the password is the name.
USERS = "all:admin,one:viewer,nothing:viewer"
_MAY_READ: dict[str, set[str]] = {"one": {"shop"}, "nothing": set()}


class ThreeUsers(SimpleAuthManager):
    """Who may read all DAGs, one, or none."""

    def is_authorized_dag(self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None) -> bool:
        """Tell whether a user may read a DAG, or any DAG where none is named."""
        if (readable := _MAY_READ.get(user.username)) is not None:
            return method == "GET" and details is not None and details.id in readable
        return super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)
