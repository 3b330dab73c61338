"""The names of Airflow that we use, from where the installed Airflow keeps them.

The module ``sdk`` of common-compat has them all since 1.23. Managed Airflows pin what there was when their release came
out: 1.6 and 1.7 have no such module, and that of 1.8 to 1.22 lacks names; they are found where they were at that time.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.api_fastapi.app import get_auth_manager as get_auth_manager
    from airflow.api_fastapi.core_api.security import get_user as get_user
    from airflow.configuration import conf as conf
    from airflow.models.dag import DagModel as DagModel
    from airflow.models.xcom import XComModel as XComModel
    from airflow.providers.common.compat.sdk import AirflowFailException as AirflowFailException
    from airflow.providers.common.compat.sdk import AirflowNotFoundException as AirflowNotFoundException
    from airflow.providers.common.compat.sdk import AirflowPlugin as AirflowPlugin
    from airflow.providers.common.compat.sdk import AirflowSensorTimeout as AirflowSensorTimeout
    from airflow.providers.common.compat.sdk import BaseHook as BaseHook
    from airflow.providers.common.compat.sdk import BaseNotifier as BaseNotifier
    from airflow.providers.common.compat.sdk import BaseOperator as BaseOperator
    from airflow.providers.common.compat.sdk import BaseOperatorLink as BaseOperatorLink
    from airflow.providers.common.compat.sdk import BaseSensorOperator as BaseSensorOperator
    from airflow.providers.common.compat.sdk import Context as Context
    from airflow.providers.common.compat.sdk import ObjectStoragePath as ObjectStoragePath
    from airflow.providers.common.compat.sdk import PokeReturnValue as PokeReturnValue
    from airflow.providers.common.compat.sdk import Stats as Stats
    from airflow.providers.common.compat.sdk import TaskGroup as TaskGroup
    from airflow.providers.common.compat.sdk import XCom as XCom
    from airflow.providers.common.compat.sdk import XComArg as XComArg
    from airflow.providers.common.compat.sdk import get_current_context as get_current_context
    from airflow.providers.common.compat.sdk import mask_secret as mask_secret
    from airflow.triggers.base import BaseTrigger as BaseTrigger
    from airflow.triggers.base import TriggerEvent as TriggerEvent
    from airflow.utils.session import create_session as create_session

_SDK = "airflow.providers.common.compat.sdk"
# Where Airflow 3.0 and 3.1 have a name, then where 2.11 has it.
_PLACES = {
    "AirflowFailException": ("airflow.exceptions",),
    "AirflowNotFoundException": ("airflow.exceptions",),
    "AirflowPlugin": ("airflow.sdk.plugins_manager", "airflow.plugins_manager"),
    "AirflowSensorTimeout": ("airflow.exceptions",),
    "BaseHook": ("airflow.sdk", "airflow.hooks.base"),
    "BaseNotifier": ("airflow.sdk.bases.notifier", "airflow.notifications.basenotifier"),
    "BaseOperator": ("airflow.sdk", "airflow.models.baseoperator"),
    "BaseOperatorLink": ("airflow.sdk", "airflow.models.baseoperatorlink"),
    "BaseSensorOperator": ("airflow.sdk", "airflow.sensors.base"),
    "Context": ("airflow.sdk", "airflow.utils.context"),
    "ObjectStoragePath": ("airflow.sdk", "airflow.io.path"),
    "PokeReturnValue": ("airflow.sdk", "airflow.sensors.base"),
    "Stats": ("airflow.stats",),
    "TaskGroup": ("airflow.sdk", "airflow.utils.task_group"),
    "XCom": ("airflow.sdk.execution_time.xcom", "airflow.models.xcom"),
    "XComArg": ("airflow.sdk", "airflow.models.xcom_arg"),
    "conf": ("airflow.sdk.configuration", "airflow.configuration"),
    "get_current_context": ("airflow.sdk", "airflow.operators.python"),
    "mask_secret": (
        "airflow.sdk.log",
        "airflow.sdk.execution_time.secrets_masker",
        "airflow.utils.log.secrets_masker",
    ),
}
# These common-compat leaves to Airflow, which has had them at one place.
_AIRFLOWS = {
    **dict.fromkeys(("BaseTrigger", "TriggerEvent"), "airflow.triggers.base"),
    # For the pages of the API server of Airflow 3.1 and later alone, which read Airflow's own database.
    "DagModel": "airflow.models.dag",
    "XComModel": "airflow.models.xcom",
    "create_session": "airflow.utils.session",
    "get_auth_manager": "airflow.api_fastapi.app",
    "get_user": "airflow.api_fastapi.core_api.security",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: all of them together would cost every DAG file a second."""
    if name in _AIRFLOWS:
        return getattr(import_module(_AIRFLOWS[name]), name)
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for place in (_SDK, *_PLACES[name]):
        with suppress(ImportError, AttributeError):
            found = globals()[name] = getattr(import_module(place), name)
            return found
    raise ImportError(f"Airflow has no {name} in {', '.join(_PLACES[name])}, nor common-compat in its module sdk")


def default_deferrable() -> bool:
    """Return whether tasks wait in the triggerer where the DAG does not say."""
    from airflow.configuration import conf

    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def max_map_length() -> int:
    """Return how many tasks Airflow maps over what a task returns, at most."""
    from airflow.configuration import conf

    return int(conf.getint("core", "max_map_length", fallback=1_024))


def dag_run_state(instance: Any, dag_id: str, run_id: str) -> str | None:
    """Return the state of a DAG run; None where Airflow does not tell.

    :param instance: the task instance that asks.
    :param dag_id: of the run.
    :param run_id: of the run.
    """
    with suppress(Exception):
        if hasattr(instance, "get_dagrun_state"):
            state = instance.get_dagrun_state(dag_id, run_id)
        else:  # Airflow 2
            from airflow.models.dagrun import DagRun

            state = DagRun.find(dag_id=dag_id, run_id=run_id)[0].state
        return str(getattr(state, "value", state))
    return None


def send_sql_hook_lineage(**query: Any) -> None:
    """Tell Airflow of a query, where common-sql has a way to: since its 1.32.

    :param query: as common-sql takes it.
    """
    try:
        from airflow.providers.common.sql.hooks import lineage
    except ImportError:
        return
    lineage.send_sql_hook_lineage(**query)
