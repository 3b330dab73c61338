"""A small query's result, sent to Segment by the tasks after it: as it is, and worked over in Python.

**Connections**

- `warehouse`: any database that Airflow has a hook for, with the tables `customers` and `orders`.
- `segment_default`, type *Segment*: the source's write key.

The rows pass through Airflow's own database (XCom), which suits some thousands. For more, and for rows that must not be
stored there, `SqlToSegmentOperator` reads them from the warehouse: see `segment_warehouse`.

A customer is welcomed among the gold ones once, not each week: with `sync_mode="changes"` it is remembered who was, in
a SQLite file in Airflow's home; several workers need `state_conn_id`, a connection to PostgreSQL or MySQL, instead.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow import DAG
from airflow.models import Param
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.operators.segment import SegmentIdentifyOperator

try:
    from airflow.sdk import task
except ImportError:  # Airflow 2
    from airflow.decorators import task  # type: ignore[attr-defined, no-redef]

STATE = str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "segment_state.db")
COLUMNS = ["customer_id", "orders", "spent", "last_order_at"]

with DAG(
    dag_id="segment_rows",
    schedule="@weekly",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3},
    params={"most": Param(100, type="integer", minimum=1, maximum=1000, description="How many customers")},
    tags=["segment"],
    doc_md=__doc__,
) as dag:
    best_customers = SQLExecuteQueryOperator(
        task_id="best_customers",
        conn_id="warehouse",
        sql="""
            SELECT customer_id, count(*), sum(amount_usd), max(ordered_at)
            FROM orders
            GROUP BY customer_id
            ORDER BY sum(amount_usd) DESC, customer_id
            LIMIT {{ params.most }}
        """,
    )

    # The rows are tuples: `columns` names what stands in them.
    SegmentIdentifyOperator(
        task_id="totals",
        rows=best_customers.output,
        columns=COLUMNS,
        key="customer_id",
        call=Identify(
            user_id="customer_id",
            traits={
                "orders": "orders",
                "spent": "spent",
                "lastOrderAt": "last_order_at",
                "run": Constant("{{ run_id }}"),
            },
        ),
    )

    @task
    def tiers(customers: Any) -> dict[str, Any]:
        """Call the first tenth of the customers gold and the others silver; welcome the gold ones."""
        from airflow_provider_segment.hooks.segment import SegmentHook

        named = (dict(zip(COLUMNS, customer, strict=True)) for customer in customers)
        rows = (
            {**row, "tier": "silver" if place >= len(customers) / 10 else "gold"} for place, row in enumerate(named)
        )
        report = SegmentHook().sync(
            rows,
            [
                Identify(user_id="customer_id", traits=["tier"]),
                Track(
                    event=Constant("Gold Tier Reached"),
                    user_id="customer_id",
                    properties=["spent"],
                    when={"tier": "gold"},
                ),
            ],
            sync_mode="changes",
            key="customer_id",
            state_path=STATE,
        )
        return report.as_dict()

    tiers(best_customers.output)
