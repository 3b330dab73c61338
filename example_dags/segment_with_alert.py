"""A sync that is watched: when a run is far from the usual somebody is told, once, and again when all is well.

**Connections**

- `warehouse`: any database that Airflow has a hook for, with the table `customers`.
- `segment_default`, type *Segment*: the source's write key.

The task `watch` reads the history of the sync from its state. A run is unusual when it failed, or when its accepted or
refused calls, or its seconds, are far from the mean of the runs before. It is told when that is so for a run and was
not for the run before, or the other way round; so a week of trouble is one message. Any notifier of Airflow will do in
`tell`, such as that of Slack or of mail: here it is an event for Segment itself.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from airflow import DAG

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.notifications.segment import SegmentNotifier
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

try:
    from airflow.sdk import task
except ImportError:  # Airflow 2
    from airflow.decorators import task  # type: ignore[attr-defined, no-redef]

STATE = str(Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "segment_state.db")
SYNC = "segment_with_alert.customers"
# A run is held against so many before it, and fewer than these tell nothing yet.
RUNS, FEWEST = 20, 5


def figures(run: dict[str, Any]) -> dict[str, float]:
    """What is watched, of all tries of a run."""
    counts = run["all_tries"] or run
    refused = (run["invalid"] or 0) + (run["rejected"] or 0)
    return {"accepted": counts["accepted"] or 0, "refused": refused, "seconds": counts["seconds"] or 0}


def unusual(runs: list[dict[str, Any]]) -> list[str]:
    """Say what of the newest run is far from the runs before it; nothing where all is as ever."""
    if not runs:
        return []
    newest, *earlier = runs
    found = [] if newest["state"] == "success" else [f"it {newest['state']}"]
    before = [figures(run) for run in earlier if run["state"] == "success"][:RUNS]
    for name, number in figures(newest).items() if len(before) >= FEWEST else ():
        numbers = [one[name] for one in before]
        usual = mean(numbers)
        # Three standard deviations, and at least a tenth, and at least ten of them: small changes are no news.
        if abs(number - usual) > max(3 * stdev(numbers), usual / 10, 10):
            found.append(f"{name}: {number:,.0f}, usually {usual:,.0f}")
    return found


def tell(text: str, context: Any) -> None:
    """Tell somebody."""
    SegmentNotifier(event="Sync Watched", anonymous_id="airflow", properties={"sync": SYNC, "text": text})(context)


with DAG(
    dag_id="segment_with_alert",
    doc_md=__doc__,
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
) as dag:
    customers = SqlToSegmentOperator(
        task_id="customers",
        sql_conn_id="warehouse",
        sql="SELECT id, email, plan FROM customers",
        calls=Identify(user_id="id", traits=["email", "plan"]),
        sync_mode="changes",
        key="id",
        state_path=STATE,
    )

    @task(trigger_rule="all_done")
    def watch(**context: Any) -> None:
        lines = SegmentHook().history(SYNC, last=3 * RUNS, state_path=STATE)
        newest_try: dict[str, dict[str, Any]] = {}
        for line in lines:  # the newest first: of a run that was tried again its last try counts
            if line["mode"] == "changes":
                newest_try.setdefault(line["run_id"], line)
        runs = list(newest_try.values())
        now, then = unusual(runs), unusual(runs[1:])
        if bool(now) != bool(then):
            tell("; ".join(now) or "all is as usual again", context)

    customers >> watch()
