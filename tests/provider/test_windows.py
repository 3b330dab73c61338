"""Windows and empty loads: a run that finds no rows, or too few, says so, and says what its data interval is."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, task
from airflow.timetables.interval import CronDataIntervalTimetable
from airflow.timetables.trigger import CronTriggerTimetable
from runs import NO_WAIT, RunDag, new_dag, run_without_a_date
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.operators.segment import SegmentIdentifyOperator
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

AT = dt.datetime(2026, 3, 2, 6, tzinfo=dt.UTC)
ORDERED = Track(Constant("Order Completed"), user_id="customer", properties=["id"])
USERS = Identify(user_id="customer")
LEFT = Track(Constant("Left"), user_id="id", on_change="deleted")
WINDOW = """
    SELECT * FROM orders
    WHERE at >= '{{ data_interval_start | ts }}' AND at < '{{ data_interval_end | ts }}'
"""
EMPTY = "The run's data interval is empty, it starts and ends at 2026-03-02T06:00:00+00:00: a query for the rows in it"
# The ways in which dag_of() sends rows.
WAYS = ("all", "changes", "look", "hook", "rows", "columns")
Capfd = pytest.CaptureFixture[str]


class TestWindows:
    """Which rows a window of the data interval finds depends on the DAG's timetable."""

    def test_an_interval_timetable_finds_the_rows_of_each_day_once(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag
    ) -> None:
        """On both Airflows the runs of three days send the orders of the three days before, each in one of them."""
        orders(warehouse)
        with new_dag(schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC")) as dag:
            operator(sql=WINDOW)
        for day, sent in enumerate((2, 3, 3)):
            run = run_dag(dag, AT + dt.timedelta(days=day))
            assert run.state == "success"
            assert len(segment.messages) == sent
        assert sorted(message["properties"]["id"] for message in segment.messages) == ["O1", "O2", "O3"]

    def test_a_trigger_timetable_finds_none_and_the_log_says_why(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: Capfd
    ) -> None:
        """What a cron expression means on Airflow 3 has an empty interval: a warning names it, and where to read on."""
        orders(warehouse)
        with new_dag(schedule=CronTriggerTimetable("0 0 * * *", timezone="UTC")) as dag:
            operator(sql=WINDOW)
        assert run_dag(dag, AT).state == "success"
        log = capfd.readouterr().out
        assert f"No rows came from warehouse (sqlite, plain cursor). {EMPTY} finds none (docs/windows.md)" in log
        assert segment.requests == []

    def test_a_run_without_a_date_says_that_it_has_no_interval(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, capfd: Capfd
    ) -> None:
        """On Airflow 3 a run by hand or of an asset has none, and a window of it fails before anything is sent."""
        orders(warehouse)
        for sql, state in (("SELECT * FROM orders WHERE 1 = 0", "success"), (WINDOW, "failed")):
            with new_dag() as dag:
                operator(sql=sql)
            assert run_without_a_date(dag).state == state
        log = capfd.readouterr().out
        assert "(sqlite, plain cursor). This run has no data interval (docs/windows.md)" in log
        assert "'data_interval_start' is undefined" in log
        assert segment.requests == []


class TestNoRows:
    """A run that reads no row succeeds, with a warning, however the rows come and whatever the mode."""

    @pytest.mark.parametrize("by", WAYS)
    def test_is_a_warning(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, tmp_path: Path, capfd: Capfd, by: str
    ) -> None:
        """The log warns that no rows came, and from where; with one row it does not."""
        orders(warehouse)
        for rows in (0, 1):
            assert run_dag(dag_of(by, rows, tmp_path)).state == "success"
            said = [line for line in capfd.readouterr().out.splitlines() if "No rows came from" in line]
            assert ["warning" in line.lower() for line in said] == ([] if rows else [True])


class TestMinRows:
    """Fewer rows than `min_rows` fail the task, for a retry, before anything is sent or deleted."""

    @pytest.mark.parametrize("by", WAYS)
    def test_too_few_rows_send_nothing(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, tmp_path: Path, capfd: Capfd, by: str
    ) -> None:
        """With one row too few the task fails, and its error says what was expected; with enough it succeeds."""
        orders(warehouse)
        failed = run_dag(dag_of(by, 2, tmp_path, min_rows=3))
        assert failed.state == "failed"
        assert segment.requests == []
        said = "min_rows: expected at least 3 rows, found 2; nothing was sent and nothing deleted. 2 rows, 0 calls"
        assert said in capfd.readouterr().out
        assert run_dag(dag_of(by, 3, tmp_path, min_rows=3)).state == "success"
        assert len(segment.messages) == (0 if by == "look" else 3)

    def test_an_empty_window_is_named_in_the_error(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, capfd: Capfd
    ) -> None:
        """Where the schedule has no data interval the error says so, since no retry will find rows then."""
        orders(warehouse)
        with new_dag(schedule=CronTriggerTimetable("0 0 * * *", timezone="UTC")) as dag:
            operator(sql=WINDOW, min_rows=1)
        assert run_dag(dag, AT).state == "failed"
        assert EMPTY in re.sub(r"\s+", " ", capfd.readouterr().out)

    def test_a_late_load_is_found_by_a_retry(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag
    ) -> None:
        """The task is tried again, and sends what has come by then."""
        orders(warehouse)
        with new_dag() as dag:
            # The load is there from the second try on.
            operator(sql="SELECT * FROM orders LIMIT {{ 3 * (ti.try_number - 1) }}", min_rows=3, **retrying(2))
        run = run_dag(dag)
        assert run.task("sync") == ("success", 2)
        assert len(segment.messages) == 3

    def test_an_empty_table_deletes_nothing_and_forgets_nothing(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, tmp_path: Path
    ) -> None:
        """With "changes", on the day after an empty load, nobody has left and nobody is new."""
        orders(warehouse)
        states = []
        for table in ("orders", "(SELECT * FROM orders WHERE 1 = 0)", "orders"):
            with new_dag() as dag:
                operator(
                    sql=f"SELECT id, customer FROM {table}",  # noqa: S608
                    calls=[USERS, LEFT],
                    sync_id="orders",
                    max_deleted=1,
                    min_rows=1,
                    **changes(tmp_path),
                )
            states.append(run_dag(dag).state)
        assert states == ["success", "failed", "success"]
        assert [message["type"] for message in segment.messages] == ["identify"] * 3

    @pytest.mark.parametrize("wrong", [-1, 1.0, True, "5", None])
    def test_is_checked_when_the_dag_is_parsed(self, segment: SegmentServer, wrong: Any) -> None:
        """What is no count is refused by each operator and by the hook."""
        said = re.escape(f"min_rows: expected a whole number from 0 on, found {wrong!r}")
        with pytest.raises(ValueError, match=said):
            operator(min_rows=wrong)
        with pytest.raises(ValueError, match=said):
            SegmentIdentifyOperator(task_id="rows", rows=[{"customer": "C1"}], call=USERS, min_rows=wrong)
        with pytest.raises(Exception, match=said):
            SegmentHook().sync([{"customer": "C1"}], USERS, min_rows=wrong)


def operator(**changed: Any) -> SqlToSegmentOperator:
    """Return an operator that sends orders, with some settings changed."""
    settings = {"task_id": "sync", "sql_conn_id": "warehouse", "sql": "SELECT * FROM orders", "calls": ORDERED}
    return SqlToSegmentOperator(**(settings | changed))


def dag_of(by: str, rows: int, folder: Path, **settings: Any) -> DAG:
    """Return a DAG that sends so many orders in one of the ways that there are."""
    names = ["id", "customer"]
    few = [dict(zip(names, (f"O{n}", f"C{n}"), strict=True)) for n in range(rows)]

    @task
    def sync() -> dict[str, Any]:
        return SegmentHook().sync(iter(few), USERS, **settings).as_dict()

    with new_dag() as dag:
        if by == "hook":
            sync()
        elif by in ("rows", "columns"):
            more = (
                {"columns": names, "rows": [tuple(row.values()) for row in few]} if by == "columns" else {"rows": few}
            )
            SegmentIdentifyOperator(task_id="sync", call=USERS, **more, **settings)
        else:
            modes = {"all": {}, "changes": changes(folder), "look": {"validate_only": True}}
            operator(sql=f"SELECT * FROM orders LIMIT {rows}", **modes[by], **settings)  # noqa: S608
    return dag


def changes(folder: Path) -> dict[str, Any]:
    """Return the settings of "changes"."""
    return {"sync_mode": "changes", "key": "id", "state_path": str(folder / "state.db")}


def retrying(times: int) -> dict[str, Any]:
    """Return the settings of retries that do not wait."""
    return {"retries": times, "retry_delay": NO_WAIT}


def orders(warehouse: SqliteWarehouse) -> None:
    """Make two orders of the first of March and one of the second."""
    warehouse.run("CREATE TABLE orders (id TEXT, customer TEXT, at TEXT)")
    days = {"O1": "2026-03-01T00:00:00+00:00", "O2": "2026-03-01T23:59:59+00:00", "O3": "2026-03-02T00:00:00+00:00"}
    warehouse.insert("orders", [(number, f"C{number}", at) for number, at in days.items()])
