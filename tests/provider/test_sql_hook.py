"""Which connections a query can be read from: each type is taken, or refused with the way."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import airflow
import pytest
from airflow.providers.common.sql.hooks.sql import DbApiHook
from runs import RunDag, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_hook import _INSTEAD, _OWN_WAY, _SQL_HOOKS, sql_hook
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

Connect = Callable[..., str]
# What a hook wants to know when it is made; most look at their connection later.
FIELDS: dict[str, dict[str, Any]] = {
    "leveldb": {"host": "/tmp/made-up"},  # noqa: S108  nothing is opened
    "google_cloud_platform": {"extra": {"project": "made-up"}},
}


def installed() -> list[str]:
    """Return the connection types of the providers that are installed here."""
    if airflow.__version__.startswith("2."):
        from airflow.providers_manager import ProvidersManager as Manager
    else:
        from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime as Manager
    return sorted(name for name, hook in Manager().hooks.items() if hook is not None)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Return the id of a connection of some type."""

    def make(conn_type: str, **fields: Any) -> str:
        monkeypatch.setenv("AIRFLOW_CONN_IT", json.dumps({"conn_type": conn_type, "host": "localhost", **fields}))
        return "it"

    return make


@pytest.mark.parametrize("conn_type", [name for name in installed() if name != "ydb"])  # its hook connects at once
def test_each_type_of_the_installed_providers_is_taken_or_refused_with_the_way(
    connect: Connect, conn_type: str
) -> None:
    """A connection gives a hook that runs SQL, or an error that names another type or another way."""
    found = hook_or_refusal(connect(conn_type, **FIELDS.get(conn_type, {})))
    if isinstance(found, DbApiHook):
        assert getattr(found, found.conn_name_attr) == "it"
        assert conn_type not in _INSTEAD
    else:
        assert f"'it' of type '{conn_type}'" in found or f"'it' is of type '{conn_type}'" in found
        assert found.endswith(_INSTEAD.get(conn_type, _OWN_WAY))
        assert conn_type not in _SQL_HOOKS


def hook_or_refusal(conn_id: str) -> Any:
    """Return a connection's SQL hook, or the text of the error."""
    try:
        return sql_hook(conn_id, {})
    except SettingError as error:
        return str(error)


@pytest.mark.parametrize(("conn_type", "instead"), _INSTEAD.items())
def test_a_type_without_sql_is_refused_with_the_one_that_has_it(connect: Connect, conn_type: str, instead: str) -> None:
    """A service's connection that runs no SQL is refused with the type for its SQL, installed or not."""
    with pytest.raises(
        SettingError, match=f"'{conn_type}', which is no SQL connection; make one of the type {instead}"
    ):
        sql_hook(connect(conn_type), {})


class MadeUpHook(DbApiHook):
    """The SQL hook of a provider that is not installed here; it reads a file of SQLite."""

    conn_name_attr = "conn_id"
    conn_type = "made_up"
    path = ""

    def __init__(self, **said: Any) -> None:
        super().__init__("it")
        self.said = said

    def get_conn(self) -> Any:
        """Return a connection."""
        return sqlite3.connect(self.path)


@pytest.fixture
def made_up(warehouse: SqliteWarehouse, monkeypatch: pytest.MonkeyPatch) -> type[MadeUpHook]:
    """A hook in the places of the real ones."""
    hook = type("MadeUp", (MadeUpHook,), {"path": str(warehouse.path)})
    for path, name, _ in _SQL_HOOKS.values():
        module: Any = ModuleType(path)
        setattr(module, name, hook)
        monkeypatch.setitem(sys.modules, path, module)
    return hook


OTHERS = [("databricks", "databricks_conn_id"), ("google_cloud_platform", "gcp_conn_id")]


@pytest.mark.parametrize(("conn_type", "named"), OTHERS)
@pytest.mark.usefixtures("made_up")
def test_a_service_whose_own_hook_runs_no_sql_is_read_by_its_sql_hook(
    connect: Connect, conn_type: str, named: str
) -> None:
    """Databricks and Google Cloud connections get the provider's SQL hook, with what sql_hook_params say."""
    hook = sql_hook(connect(conn_type), {"use_legacy_sql": False, "location": "EU"})
    assert hook.said == {named: "it", "use_legacy_sql": False, "location": "EU"}


@pytest.mark.usefixtures("made_up")
def test_a_dag_reads_a_databricks_connection(
    connect: Connect, warehouse: SqliteWarehouse, segment: SegmentServer, run_dag: RunDag
) -> None:
    """The rows of a query on a connection of the type databricks arrive as calls."""
    warehouse.run("CREATE TABLE customers (id TEXT, email TEXT)")
    warehouse.insert("customers", [("c1", "ann@example.com"), ("c2", "bob@example.com")])
    with new_dag() as dag:
        SqlToSegmentOperator(
            task_id="send",
            sql_conn_id=connect("databricks"),
            sql="SELECT id, email FROM customers",
            calls=Identify(user_id="id", traits=["email"]),
        )
    assert run_dag(dag).state == "success"
    assert sorted(message["userId"] for message in segment.messages) == ["c1", "c2"]


@pytest.mark.parametrize(("conn_type", "named"), OTHERS)
def test_a_provider_that_is_missing_is_named(connect: Connect, conn_type: str, named: str) -> None:
    """Without the provider, or without its driver, the error says which module is missing."""
    try:
        import_module(_SQL_HOOKS[conn_type][0])
    except ImportError:
        pass
    else:
        pytest.skip("it is installed here")
    with pytest.raises(SettingError, match=rf"no hook for 'it' of type '{conn_type}': install its provider .*: No mod"):
        sql_hook(connect(conn_type), {})
