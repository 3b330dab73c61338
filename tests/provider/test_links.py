"""The button Segment Debugger: its address comes from the connection by way of the task."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, TaskInstanceKey
from runs import Run, RunDag, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.links.segment import SegmentDebuggerLink
from airflow_provider_segment.operators.segment import SegmentApiCallOperator, SegmentIdentifyOperator
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

NAME = "Segment Debugger"
SLUGS = {"workspace_slug": "acme", "source_slug": "dwh_prod-1"}
ADDRESS = "https://app.segment.com/acme/sources/dwh_prod-1/debugger"

BAD_SLUGS = ["a/b", "a?b=c", "a#b", "../other", "a b", "a\n", "ä", "javascript:alert(1)", "https://evil.test", 7]


@pytest.fixture
def with_slugs(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> SegmentServer:
    """A local Segment whose connection names workspace and source."""
    connection = {**json.loads(segment.connection), "extra": SLUGS}
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(connection))
    return segment


def test_button_on_every_task_that_sends(
    with_slugs: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag
) -> None:
    """Each operator leaves the address, and Airflow's webserver finds it without a look at the connection."""
    warehouse.run("CREATE TABLE users AS SELECT 'u1' AS id")
    with new_dag() as dag:
        sync("sync")
        SegmentIdentifyOperator(task_id="one", user_id="u1")
        SegmentApiCallOperator(task_id="api", method="POST", path="/v1/identify", json={"userId": "u1"})
    run = run_dag(dag)
    assert [shown(dag, run, task_id) for task_id in ("sync", "one", "api")] == [ADDRESS] * 3
    assert with_slugs.messages


def test_button_on_a_mapped_task(with_slugs: SegmentServer, run_dag: RunDag) -> None:
    """Mapped tasks have the button, too."""
    with new_dag() as dag:
        SegmentIdentifyOperator.partial(task_id="one").expand(user_id=["u1", "u2"])
    run = run_dag(dag)
    assert [shown(dag, run, "one", index) for index in (0, 1)] == [ADDRESS] * 2
    assert len(with_slugs.messages) == 2


def test_button_on_a_task_that_failed(with_slugs: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
    """A task that fails after it sent something has the button: that is when it is needed."""
    warehouse.run("CREATE TABLE users AS SELECT 'u1' AS id UNION ALL SELECT NULL")
    with new_dag() as dag:
        sync("sync")
    run = run_dag(dag)
    assert run.task("sync")[0] == "failed"
    assert run.xcom("sync", "report")["accepted"] == 1
    assert shown(dag, run, "sync") == ADDRESS


@pytest.mark.parametrize("slugs", [{}, {"workspace_slug": "acme"}, {"source_slug": "dwh"}], ids=str)
def test_no_button_without_both_slugs(
    segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, run_dag: RunDag, slugs: dict[str, str]
) -> None:
    """Where the connection does not tell the address, there is none."""
    connection = {**json.loads(segment.connection), "extra": slugs}
    monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(connection))
    with new_dag() as dag:
        SegmentIdentifyOperator(task_id="one", user_id="u1")
    run = run_dag(dag)
    assert run.state == "success"
    assert not shown(dag, run, "one")


@pytest.mark.parametrize("field", SLUGS)
@pytest.mark.parametrize("slug", BAD_SLUGS, ids=str)
def test_bad_slug(monkeypatch: pytest.MonkeyPatch, field: str, slug: Any) -> None:
    """What could lead to another page is an error that names the field."""
    connection = {"conn_type": "segment", "password": "k" * 32, "extra": {**SLUGS, field: slug}}
    monkeypatch.setenv("AIRFLOW_CONN_IT", json.dumps(connection))
    with pytest.raises(SettingError, match=f"connection 'it': {field}: expected letters, digits, - and _"):
        _ = SegmentHook("it").settings


def sync(task_id: str) -> SqlToSegmentOperator:
    """Return a task that sends the warehouse's users."""
    return SqlToSegmentOperator(
        task_id=task_id, sql="SELECT id FROM users", sql_conn_id="warehouse", calls=Identify(user_id="id")
    )


def shown(dag: DAG, run: Run, task_id: str, map_index: int = -1) -> str | None:
    """Return where the button leads, as Airflow's webserver finds it: from the DAG as it is stored."""
    stored: Any = serialized(dag).get_task(task_id)
    key = TaskInstanceKey(dag.dag_id, task_id, run.run_id, 1, map_index)
    assert stored.extra_links == [NAME]
    link = stored.operator_extra_link_dict[NAME]
    return str(link.get_link(stored, ti_key=key))


def serialized(dag: DAG) -> Any:
    """Return a DAG as the webserver has it."""
    try:
        from airflow.serialization.serialized_objects import DagSerialization as Stored
    except ImportError:
        from airflow.serialization.serialized_objects import SerializedDAG as Stored
    # As in the webserver; `dag.test()` reads DAGs as the scheduler does, which turns links off for the whole process.
    Stored._load_operator_extra_links = True
    return Stored.from_dict(Stored.to_dict(dag))


def test_airflow_knows_the_link() -> None:
    """The provider lists the link, without which Airflow 2 would not load it."""
    from airflow.providers_manager import ProvidersManager

    name = f"{SegmentDebuggerLink.__module__}.{SegmentDebuggerLink.__name__}"
    assert name in ProvidersManager().extra_links_class_names
