"""One user's sign-up, told to Segment in three calls: who it was, what they did, and the company they belong to.

**Connection** `segment_default`, type *Segment*: the source's write key. Trigger the DAG by hand; its form asks for the
user, and the fields of all three operators are templates.
"""

from datetime import UTC, datetime

from airflow import DAG
from airflow.models import Param

from airflow_provider_segment.operators.segment import (
    SegmentGroupOperator,
    SegmentIdentifyOperator,
    SegmentTrackOperator,
)

with DAG(
    dag_id="segment_single_calls",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 3},
    params={
        "user_id": Param("C000123", type="string", minLength=1),
        "email": Param("ada.lovelace@example.com", type="string", format="email"),
        "plan": Param("starter", enum=["free", "starter", "pro", "enterprise"]),
        "group_id": Param("A0042", type="string", minLength=1),
    },
    tags=["segment"],
    doc_md=__doc__,
) as dag:
    identify = SegmentIdentifyOperator(
        task_id="identify",
        user_id="{{ params.user_id }}",
        traits={"email": "{{ params.email }}", "plan": "{{ params.plan }}"},
    )
    track = SegmentTrackOperator(
        task_id="track",
        user_id="{{ params.user_id }}",
        event="Signed Up",
        properties={"plan": "{{ params.plan }}", "source": "airflow", "run": "{{ run_id }}"},
    )
    group = SegmentGroupOperator(
        task_id="group",
        group_id="{{ params.group_id }}",
        user_id="{{ params.user_id }}",
        traits={"name": "Analytical Engines", "employees": 42},
    )
    identify >> [track, group]
