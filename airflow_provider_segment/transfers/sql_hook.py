"""The SQL hook of an Airflow connection, also of those whose own hook speaks to the service as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from airflow_provider_segment.compat import AirflowNotFoundException, BaseHook
from airflow_provider_segment.core.errors import SettingError, SourceError

# By connection type: the provider's SQL hook for it, and how that one calls the connection.
_SQL_HOOKS = {
    "databricks": ("airflow.providers.databricks.hooks.databricks_sql", "DatabricksSqlHook", "databricks_conn_id"),
    "google_cloud_platform": ("airflow.providers.google.cloud.hooks.bigquery", "BigQueryHook", "gcp_conn_id"),
}
# By connection type without SQL: the types that run SQL on the same service.
_INSTEAD = {
    "aws": "redshift or athena",
    "gcpcloudsql": "postgres, mysql or mssql",
    "gcpcloudsqldb": "postgres or mysql",
    "hive_cli": "hiveserver2",
    "hive_metastore": "hiveserver2",
    "pinot_admin": "pinot",
    "spark": "hiveserver2, for Spark's Thrift server",
    "spark_connect": "hiveserver2, for Spark's Thrift server",
    "spark_jdbc": "jdbc",
    "spark_sql": "hiveserver2, for Spark's Thrift server",
}
_OWN_WAY = "read the rows in a @task and give them to SegmentHook().sync(rows, calls)"


def sql_hook(conn_id: str, hook_params: Mapping[str, Any]) -> Any:
    """Return the SQL hook of a connection.

    :param conn_id: of the connection.
    :param hook_params: for the hook.
    :raises SettingError: if there is no such connection, or it has no SQL hook.
    :raises SourceError: if the hook connects when it is made, and cannot.
    """
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    try:
        connection: Any = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise SettingError(f"sql_conn_id: Airflow has no connection {conn_id!r}") from None
    kind = connection.conn_type
    no_sql = f"sql_conn_id: {conn_id!r} is of type {kind!r}, which is no SQL connection"
    if kind in _INSTEAD:  # before its hook is made, which may want what a query does not have
        raise SettingError(f"{no_sql}; make one of the type {_INSTEAD[kind]}")
    try:
        hook = _hook(connection, conn_id, hook_params)
    except OSError as error:
        raise SourceError(f"The source database failed at connecting: {type(error).__name__}") from None
    except Exception as error:  # noqa: BLE001  Airflow 2 and 3 raise different ones for a type without a hook
        if isinstance(error, TypeError) and hook_params:
            raise SettingError(f"sql_hook_params: the hook of {conn_id!r} does not take them: {error}") from None
        missing = f": {error}" if isinstance(error, ImportError) else ""
        raise SettingError(
            f"sql_conn_id: no hook for {conn_id!r} of type {kind!r}: install its provider "
            f"({type(error).__name__}{missing}); or {_OWN_WAY}"
        ) from None
    if not isinstance(hook, DbApiHook):
        raise SettingError(f"{no_sql}; {_OWN_WAY}")
    return hook


def _hook(connection: Any, conn_id: str, hook_params: Mapping[str, Any]) -> Any:
    if connection.conn_type not in _SQL_HOOKS:
        return connection.get_hook(hook_params=dict(hook_params))
    module, name, conn_name = _SQL_HOOKS[connection.conn_type]
    return getattr(import_module(module), name)(**{conn_name: conn_id, **hook_params})
