"""Who may see what: whoever is logged in, and the syncs of DAGs that Airflow lets them read."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import sqlalchemy as sa

from airflow_provider_segment.compat import DagModel, create_session, get_auth_manager


class Access:
    """What a user may read, asked of Airflow's authorisation once a request.

    :param user: as Airflow's API server knows it.
    """

    def __init__(self, user: Any) -> None:
        self._user = user
        self._auth: Any = get_auth_manager()
        self._readable: set[str] = set(self._auth.get_authorized_dag_ids(user=user))
        self._asked: dict[str, bool] = {}

    @property
    def is_any(self) -> bool:
        """Whether the user may read a DAG at all."""
        return bool(self._readable) or bool(self._auth.is_authorized_dag(method="GET", user=self._user))

    def may_read(self, sync_id: str, dag_id: str) -> bool:
        """Tell whether the user may see a sync.

        :param sync_id: of the sync.
        :param dag_id: of its newest run; empty where no DAG has run it.
        """
        # Who may read a DAG by such a name, which none can have, may read them all.
        return self.may_read_dag(dag_id or f"no DAG: {sync_id}")

    def may_read_dag(self, dag_id: str) -> bool:
        """Tell whether the user may read a DAG, also one that Airflow does not know any more.

        :param dag_id: of it.
        """
        if dag_id in self._readable:
            return True
        if dag_id not in self._asked:  # of one that Airflow knows the answer is there; it may belong to a team
            asked = set() if dag_id in self._known else {dag_id}
            self._asked[dag_id] = bool(self._auth.filter_authorized_dag_ids(dag_ids=asked, user=self._user))
        return self._asked[dag_id]

    @cached_property
    def _known(self) -> set[str]:
        """The DAGs that Airflow knows, whoever may read them."""
        with create_session() as session:
            return set(session.scalars(sa.select(DagModel.dag_id)))
