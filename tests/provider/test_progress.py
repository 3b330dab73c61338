"""Long runs say how far they are; of what share, where that is known for free."""

from __future__ import annotations

import re

import pytest
from airflow.providers.common.compat.sdk import task
from runs import RunDag, new_dag
from warehouses import PostgresWarehouse, SqliteWarehouse

import airflow_provider_segment.hooks.segment as hook_module
from airflow_provider_segment.calls import Identify
from airflow_provider_segment.core.rows.pages import pages_of
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

LINE = re.compile(
    r"([\d,]+) rows read( of [\d,]+ \(\d+%\))?, [\d,]+ calls, [\d,]+ accepted, [\d,]+ a second, after [\d,]+ s"
)
CALLS = Identify(user_id="id")


@pytest.fixture(autouse=True)
def _after_each_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is logged after each page, not every few seconds."""
    monkeypatch.setattr(hook_module, "PROGRESS_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("lazy", "lines"),
    {
        False: [("2,500", " of 5,000 (50%)"), ("5,000", " of 5,000 (100%)")],
        True: [("2,500", ""), ("5,000", "")],
    }.items(),
    ids=["list", "generator"],
)
def test_rows(
    segment: SegmentServer,
    run_dag: RunDag,
    capfd: pytest.CaptureFixture[str],
    lazy: bool,
    lines: list[tuple[str, str]],
) -> None:
    """Of a list it is known how many rows there are; of a generator it is not, and it is not read ahead to find out."""

    @task
    def send() -> None:
        rows = ({"id": f"u{n}"} for n in range(5_000))
        SegmentHook().sync(rows if lazy else list(rows), CALLS)

    with new_dag() as dag:
        send()
    assert run_dag(dag).state == "success"
    found = LINE.findall(capfd.readouterr().out)
    assert sorted(set(found)) == lines
    assert len(segment.messages) == 5_000


def test_no_rows(segment: SegmentServer) -> None:
    """No share of nothing is taken."""
    assert SegmentHook().sync([], CALLS).rows == 0
    assert pages_of([], ["id"]).total == 0


@pytest.mark.parametrize(("streaming", "share"), [(True, ""), (False, " of 15 (67%)")])
def test_postgres(
    segment: SegmentServer,
    postgres: PostgresWarehouse,
    run_dag: RunDag,
    capfd: pytest.CaptureFixture[str],
    streaming: bool,
    share: str,
) -> None:
    """A plain cursor of PostgreSQL has all rows and knows how many; a server-side one does not, and does not count."""
    postgres.run("CREATE TABLE users AS SELECT 'u' || n AS id FROM generate_series(1, 15) AS n")
    sync("postgres", run_dag, streaming=streaming)
    assert ("10", share) in LINE.findall(capfd.readouterr().out)
    assert len(segment.messages) == 15


def test_sqlite(
    segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    """SQLite does not know before the end, and says -1: that is no total."""
    warehouse.run("CREATE TABLE users (id TEXT)")
    warehouse.insert("users", [(f"u{n}",) for n in range(15)])
    sync("warehouse", run_dag)
    assert ("10", "") in LINE.findall(capfd.readouterr().out)


def sync(conn_id: str, run_dag: RunDag, **hook_params: bool) -> None:
    """Send the users of a database, ten rows at a time."""
    with new_dag() as dag:
        SqlToSegmentOperator(
            task_id="sync",
            sql="SELECT id FROM users",
            sql_conn_id=conn_id,
            calls=CALLS,
            fetch_size=10,
            sql_hook_params=hook_params,
        )
    assert run_dag(dag).state == "success"
