"""A DataFrame is rows: of the hook, of an operator, of an upstream task."""

from __future__ import annotations

import math
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import task
from runs import RunDag, new_dag

from airflow_provider_segment.calls import AllColumns, Identify
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.operators.segment import SegmentIdentifyOperator
from airflow_provider_segment.testing import SegmentServer

pd = pytest.importorskip("pandas")
CALL = Identify("id", traits=AllColumns())
ARRIVES = {"u1": {"score": 1.5, "city": "London"}, "u2": {"score": None, "city": None}}


def frame() -> Any:
    return pd.DataFrame({"id": ["u1", "u2"], "score": [1.5, math.nan], "city": ["London", None]})


def arrived(segment: SegmentServer) -> dict[str, Any]:
    return {message["userId"]: message["traits"] for message in segment.messages}


def test_hook_takes_a_frame(segment: SegmentServer) -> None:
    """`hook.sync(frame, ...)` sends its rows, in the same message ids at a later try."""
    reports = [SegmentHook().sync(frame(), CALL, sync_id="s", run_id="r", key="id") for _ in range(2)]
    assert [(report.rows, report.accepted) for report in reports] == [(2, 2), (2, 2)]
    assert arrived(segment) == ARRIVES
    assert len(segment.duplicates) == 2


def test_hook_takes_what_pandas_makes_of_a_frame(segment: SegmentServer) -> None:
    """Its records and its named tuples are the same rows."""
    for rows in (frame().to_dict("records"), list(frame().itertuples(index=False))):
        assert SegmentHook().sync(rows, CALL).accepted == 2
        assert arrived(segment) == ARRIVES


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_hook_takes_other_libraries_frames(segment: SegmentServer, library: str) -> None:
    """A DataFrame of polars and a table of Arrow are taken too."""
    made = pytest.importorskip(library)
    columns = {"id": ["u1", "u2"], "score": [1.5, math.nan], "city": ["London", None]}
    rows = made.DataFrame(columns, strict=False) if library == "polars" else made.table(columns)
    assert SegmentHook().sync(rows, CALL).accepted == 2
    assert arrived(segment) == ARRIVES


def test_operator_takes_a_frame(segment: SegmentServer, run_dag: RunDag) -> None:
    """`rows=frame` of an operator is a frame as well."""
    with new_dag() as dag:
        SegmentIdentifyOperator(task_id="send", rows=frame(), call=CALL)
    assert run_dag(dag).state == "success"
    assert arrived(segment) == ARRIVES


def test_upstream_task_returns_a_frame(segment: SegmentServer, run_dag: RunDag) -> None:
    """A frame that came through XCom is taken as it is."""
    pytest.importorskip("pyarrow", reason="Airflow's XCom writes frames with pyarrow")

    @task
    def extract() -> Any:
        return frame()

    with new_dag() as dag:
        SegmentIdentifyOperator(task_id="send", rows=extract(), call=CALL)
    run = run_dag(dag)
    if run.task("extract")[0] != "success":
        pytest.skip("this Airflow's XCom takes no frame of this pandas")
    assert run.state == "success"
    assert arrived(segment) == ARRIVES
