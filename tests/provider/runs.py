"""Real DAG runs for the provider's tests: the same on Airflow 2.11 and 3."""

from __future__ import annotations

import datetime as dt
import importlib
import importlib.util
import inspect
import itertools
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowTaskTimeout, BaseOperator

NO_WAIT = dt.timedelta(0)
# Airflow 3.3 and later keep what a task's tries remember.
HAS_STORE = importlib.util.find_spec("airflow.models.task_state_store") is not None
# What can become of a call: a report counts each call under one of these.
COUNTS = ("unchanged", "invalid", "accepted", "rejected", "not_sent")
# Airflow kills a task so many seconds after its SIGTERM.
SECONDS_TO_END = 5.0
_numbers = itertools.count(1)


def new_dag(**options: Any) -> DAG:
    """Return a DAG with a name of its own."""
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return DAG(f"dag_{next(_numbers)}", start_date=start, **({"schedule": None} | options))


class Shards(BaseOperator):
    """An upstream task over whose result another is mapped.

    :param shards: the result: the arguments of each mapped task.
    """

    def __init__(self, *, shards: list[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shards = shards

    def execute(self, context: Any) -> list[Any]:
        """Return them."""
        return self.shards


class Run:
    """What became of a DAG run, read from tables that are the same in Airflow 2.11 and 3, as their Python API is not.

    :param dag_run: that `dag.test()` returned.
    """

    def __init__(self, dag_run: Any) -> None:
        self._ids = (dag_run.dag_id, dag_run.run_id)
        self.run_id: str = dag_run.run_id
        self.state = str(getattr(dag_run.state, "value", dag_run.state))

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return what a task left behind, or None."""
        found = self._rows("value", "xcom", task_id, map_index, "AND key = ?", key)
        return json.loads(found[0][0]) if found else None

    def task(self, task_id: str, map_index: int = -1) -> tuple[str, int]:
        """Return a task's state and the number of its tries."""
        state, tries = self._rows("state, try_number", "task_instance", task_id, map_index)[0]
        return state, tries

    def _rows(self, what: str, table: str, task_id: str, map_index: int, rest: str = "", *more: Any) -> list[Any]:
        query = f"SELECT {what} FROM {table} WHERE dag_id = ? AND run_id = ? AND task_id = ? AND map_index = ? {rest}"  # noqa: S608
        with closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"]) / "airflow.db")) as database:
            return database.execute(query, (*self._ids, task_id, map_index, *more)).fetchall()


RunDag: TypeAlias = Callable[..., Run]


def run(dag: DAG, at: dt.datetime | None = None) -> Run:
    """Run a DAG of a test in this process, by `dag.test()`.

    :param dag: that stands in no file.
    :param at: the run's date, which its run id is made of: the same date is the same run, started again; default now.
    """
    _store(dag)
    if at is None:
        return Run(dag.test())
    if "run_after" in inspect.signature(dag.test).parameters:
        return Run(dag.test(run_after=at, logical_date=at))
    # Airflow 2, which deletes the run that it starts again, and for that must know the table of users.
    importlib.import_module("airflow.providers.fab.auth_manager.models")
    return Run(dag.test(execution_date=at))


def again(dag: DAG, run_id: str, task_id: str) -> Run:
    """Run the next try of a task in the same run, as a retry does, and "Clear task"; its error is not raised.

    :param dag: that was run.
    :param run_id: of its run.
    :param task_id: of the task.
    """
    instances = importlib.import_module("airflow.models.taskinstance").TaskInstance
    sessions = importlib.import_module("airflow.utils.session")
    with sessions.create_session() as session:
        instance = session.query(instances).filter_by(dag_id=dag.dag_id, run_id=run_id, task_id=task_id).one()
        if hasattr(instance, "prepare_db_for_next_try"):  # Airflow 3, where each try has an id
            instance.prepare_db_for_next_try(session)
        instance.try_number += 1
        instance.state = "scheduled"
        session.commit()
        with suppress(Exception, AirflowTaskTimeout):
            if HAS_STORE:
                run_task = importlib.import_module("airflow.sdk.definitions.dag")._run_task
                run_task(ti=instance, task=dag.task_dict[task_id])
            else:
                importlib.import_module("airflow.providers.fab.auth_manager.models")  # as above
                instance.task = dag.task_dict[task_id]
                importlib.import_module("airflow.models.dag")._run_task(ti=instance, session=session)
    return Run(SimpleNamespace(dag_id=dag.dag_id, run_id=run_id, state="done"))


def run_ids(dag_id: str) -> list[str]:
    """Return the runs of a DAG."""
    with closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"]) / "airflow.db")) as database:
        return [run_id for (run_id,) in database.execute("SELECT run_id FROM dag_run WHERE dag_id = ?", (dag_id,))]


def run_without_a_date(dag: DAG) -> Run:
    """Run a DAG as a run by hand, or of an asset, is on Airflow 3; on Airflow 2 each run has a date.

    :param dag: that stands in no file.
    """
    if "run_after" not in inspect.signature(dag.test).parameters:
        pytest.skip("on Airflow 2 each run has a date")
    _store(dag)
    return Run(dag.test(logical_date=None))


def _store(dag: DAG) -> None:
    """Tell Airflow 3 of a DAG that stands in no file of its DAGs folder; Airflow 2 does not ask."""
    try:
        from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    except ImportError:
        return
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    DagBundlesManager().sync_bundles_to_db()
    folder = Path(os.environ["AIRFLOW_HOME"])
    bag = BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags-folder", collect_dags=False)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
