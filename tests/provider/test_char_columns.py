"""Columns of CHAR(n), which SQL fills up with blanks, read from a real PostgreSQL."""

from __future__ import annotations

import pytest
from runs import RunDag, new_dag
from warehouses import PostgresWarehouse

from airflow_provider_segment.calls import Constant, Group, Identify, Track
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator


def test_a_stream_with_a_char_column_makes_its_calls(
    postgres: PostgresWarehouse, segment: SegmentServer, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    """`when` fits padded values; ids with blanks, rows without a call and a call without a row are in the log."""
    postgres.run("CREATE TABLE stream (type char(10), id char(4), n int)")
    postgres.insert("stream", [("identify", "u1", 1), ("identify", "long", 2), ("track", "u1", 3), ("odd", "u1", 4)])
    with new_dag() as dag:
        SqlToSegmentOperator(
            task_id="send",
            sql_conn_id="postgres",
            sql="SELECT type, id, n FROM stream ORDER BY n",
            calls=[
                Identify(user_id="id", when={"type": "identify"}),
                Track(event=Constant("Seen"), user_id="id", when={"type": ["track", "page"]}),
                Group(group_id="id", user_id="id", when={"type": "group"}),
            ],
        )
    run = run_dag(dag)
    assert run.state == "success"
    assert sorted((m["type"], m["userId"]) for m in segment.messages) == [
        *(("identify", "long"), ("identify", "u1  "), ("track", "u1  "))
    ]
    assert run.xcom("send")["warnings"] == {
        "identify: id_has_blanks": 1,
        "track:Seen: id_has_blanks": 1,
        "group: made_by_no_row": 4,
        "rows: made_no_call": 1,
    }
    shown = capfd.readouterr()
    said = shown.out + shown.err
    assert "identify: id_has_blanks: 1 messages have a userId with blanks at an end" in said
    assert "group: made_by_no_row: 4 rows were read, and its `when` fits none of them" in said
    assert "rows: made_no_call: 1 rows made no call" in said
