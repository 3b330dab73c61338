"""What Airflow knows of the DAGs that run syncs: when they are due, and where a task's pages are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import sqlalchemy as sa

from airflow_provider_segment.compat import DagModel, XComModel, create_session
from airflow_provider_segment.core.changes.overview import RunLine
from airflow_provider_segment.links.segment import KEY

_DEBUGGER = "https://app.segment.com/"


@dataclass(frozen=True)
class Due:
    """When a DAG is run next.

    :param at: the time; None where there is none.
    :param words: what stands there without a time.
    :param why: the same in a sentence.
    """

    at: dt.datetime | None
    words: str
    why: str


GONE = Due(None, "no DAG", "Airflow does not know this DAG any more")
BY_HAND = Due(None, "by hand", "No DAG has run it: a script did")


def due(dag_ids: Iterable[str]) -> dict[str, Due]:
    """Return when DAGs are run next, by id; GONE where Airflow does not know one.

    :param dag_ids: of the DAGs; an empty one is BY_HAND.
    """
    asked = set(dag_ids)
    with create_session() as session:
        rows = session.scalars(sa.select(DagModel).where(DagModel.dag_id.in_(asked))).all()
        known = {row.dag_id: _due_of(row) for row in rows}
    return {dag_id: known.get(dag_id, GONE if dag_id else BY_HAND) for dag_id in asked}


def _due_of(dag: DagModel) -> Due:
    schedule = dag.timetable_description or dag.timetable_summary or "none"
    if dag.is_stale:
        return Due(None, "no DAG", "The DAG's file is gone")
    if dag.is_paused:
        return Due(None, "paused", f"The DAG is paused: unpause it in Airflow. Its schedule: {schedule}")
    if dag.next_dagrun_create_after is None:
        return Due(None, "no time", f"The DAG has no next time. Its schedule: {schedule}")
    return Due(dag.next_dagrun_create_after, "", f"The DAG's schedule: {schedule}")


def dag_address(dag_id: str) -> str:
    """Return a DAG's page, as seen from ours.

    :param dag_id: of it.
    """
    return f"../dags/{quote(dag_id, safe='')}"


def log_address(run: RunLine) -> str:
    """Return the page of a task's log, as seen from ours; empty for a run outside of a task.

    :param run: whose log it is.
    """
    if not run.dag_id:
        return ""
    names = [quote(name, safe="") for name in (run.run_id, run.task_id)]
    mapped = f"/mapped/{run.map_index}" if run.map_index >= 0 else ""
    tried = urlencode({"try_number": run.try_number})
    return f"{dag_address(run.dag_id)}/runs/{names[0]}/tasks/{names[1]}{mapped}?{tried}"


def debugger_address(run: RunLine) -> str:
    """Return the page of Segment's Debugger that a task has left for its button; empty where it left none.

    :param run: of the task, or of another one in its group.
    """
    if not run.dag_id:
        return ""
    group = run.task_id.rpartition(".")[0]
    task = XComModel.task_id.startswith(f"{group}.", autoescape=True) if group else XComModel.task_id == run.task_id
    query = sa.select(XComModel.value).where(
        XComModel.dag_id == run.dag_id, XComModel.run_id == run.run_id, XComModel.key == KEY, task
    )
    with create_session() as session:
        left = session.execute(query.limit(1)).first()
    address = str(XComModel.deserialize_value(left)) if left else ""
    return address if address.startswith(_DEBUGGER) else ""
