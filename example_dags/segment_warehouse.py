"""A shop's warehouse, sent to Segment each day: its customers, the companies they belong to, and their orders.

**Connections**

- `warehouse`: any database that Airflow has a hook for, with the tables `customers`, `accounts` and `orders`.
- `segment_default`, type *Segment*: the source's write key.

Customers and companies are sent in full at each run, which Segment takes as updates. Orders are events: one that is
sent again counts again. So with `sync_mode="changes"` it is remembered which orders Segment has, in a SQLite file in
Airflow's home; several workers need `state_conn_id`, a connection to PostgreSQL or MySQL, instead. A run asks for the
orders of the last days, late ones among them, and sends each once. To send older ones as well, trigger the DAG by hand
with the first day in `orders_since`.

Try it without a warehouse and without Segment: `make demo`.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from airflow import DAG
from airflow.models import Param

from airflow_provider_segment.calls import Constant, Group, Identify, Track
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

STATE = str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "segment_state.db")

with DAG(
    dag_id="segment_warehouse",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3},
    params={
        "orders_since": Param(None, type=["null", "string"], format="date", description="Send orders from this day")
    },
    tags=["segment"],
    doc_md=__doc__,
) as dag:
    SqlToSegmentOperator(
        task_id="customers",
        sql_conn_id="warehouse",
        sql="""
            SELECT id, first_name, last_name, email, phone, city, country, plan, created_at, lifetime_value_usd
            FROM customers
        """,
        key="id",
        calls=Identify(
            user_id="id",
            traits={
                "firstName": "first_name",
                "lastName": "last_name",
                "email": "email",
                "phone": "phone",
                "address.city": "city",
                "address.country": "country",
                "plan": "plan",
                "createdAt": "created_at",
                "lifetimeValue": "lifetime_value_usd",
                "source": Constant("warehouse"),
            },
        ),
    )

    SqlToSegmentOperator(
        task_id="companies",
        sql_conn_id="warehouse",
        # A Group call says that a user belongs to a group: one row for each person who has a company.
        sql="""
            SELECT customers.id AS customer_id, accounts.*
            FROM customers
            JOIN accounts ON accounts.id = customers.account_id
        """,
        key="customer_id",
        calls=Group(
            group_id="id",
            user_id="customer_id",
            traits=["name", "industry", "employees", "plan", "website"],
        ),
    )

    SqlToSegmentOperator(
        task_id="orders",
        sql_conn_id="warehouse",
        sql="sql/orders.sql",
        sync_mode="changes",
        key="order_id",
        state_path=STATE,
        calls=Track(
            event=Constant("Order Completed"),
            user_id="customer_id",
            timestamp="ordered_at",
            properties={
                "order_id": "order_id",
                "revenue": "amount_usd",
                "currency": "currency",
                "product": "product",
                "quantity": "quantity",
            },
        ),
    )
