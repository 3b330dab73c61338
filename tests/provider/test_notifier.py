"""SegmentNotifier: what became of a DAG or a task is a track call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, task
from runs import NO_WAIT, RunDag, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.notifications.segment import SegmentNotifier
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator


def notifier(**changed: Any) -> SegmentNotifier:
    """Return a notifier with these arguments."""
    return SegmentNotifier(**{"event": "Task Failed", "user_id": "airflow", **changed})


def add(task_id: str, *, fails: bool = True, **options: Any) -> Any:
    """Add a task that fails, or does not."""

    @task(task_id=task_id, retry_delay=NO_WAIT, **options)
    def work() -> None:
        if fails:
            raise RuntimeError("it failed")

    return work()


def facts_of(segment: SegmentServer) -> list[tuple[str, dict[str, Any]]]:
    """Return event and properties of all calls."""
    return [(message["event"], message["properties"]) for message in segment.messages]


def test_task_that_failed(segment: SegmentServer, run_dag: RunDag) -> None:
    """A task's failure is sent with its names, its state and its try."""
    with new_dag() as dag:
        add("extract", on_failure_callback=notifier(), retries=1)
    run = run_dag(dag)
    assert run.task("extract") == ("failed", 2)
    facts = {"dag_id": dag.dag_id, "task_id": "extract", "run_id": run.run_id, "try_number": 2, "state": "failed"}
    ((event, properties),) = facts_of(segment)
    assert event == "Task Failed"
    assert properties.pop("log_url").startswith("http")
    assert properties == facts | {"error_class": "RuntimeError"}  # its text may be about a row
    assert segment.messages[0]["userId"] == "airflow"


def test_why_a_sync_failed(segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
    """The failure of a sync is sent with its class, its text and its counts, and with no value of a row."""
    warehouse.run(
        "CREATE TABLE users (id, email); INSERT INTO users VALUES ('u1', 'a@x.y'), (NULL, 'secret@example.com')"
    )
    with new_dag() as dag:
        SqlToSegmentOperator(
            task_id="sync",
            sql="SELECT * FROM users",
            sql_conn_id="warehouse",
            calls=Identify(user_id="id", traits=["email"]),
            on_failure_callback=notifier(),
        )
    run = run_dag(dag)
    (why,) = [message["properties"] for message in segment.messages if message["type"] == "track"]
    assert why["error_class"] == "RejectedError"
    assert "1 of 2 calls were refused, and max_rejected allows 0" in why["error_message"]
    assert "row 2, identify" in why["error_message"]
    assert why["report"] == run.xcom("sync", "report")
    assert (why["report"]["accepted"], why["report"]["invalid"]) == (1, 1)
    assert dag.dag_id in why["log_url"]
    assert "secret@example.com" not in json.dumps(why)


def test_why_another_error_ended_a_sync(segment: SegmentServer, run_dag: RunDag) -> None:
    """What others raise is named by its class, since its text may hold a value; the counts are there all the same."""

    @task(on_failure_callback=notifier())
    def work() -> None:
        def rows() -> Any:
            for number in range(10_000):
                yield {"id": f"u{number}"}
            raise ValueError("secret@example.com is no address")

        SegmentHook().sync(rows(), Identify(user_id="id"))

    with new_dag() as dag:
        work()
    run = run_dag(dag)
    (why,) = [message["properties"] for message in segment.messages if message["type"] == "track"]
    assert why["error_class"] == "ValueError"
    assert "error_message" not in why
    assert why["report"] == run.xcom("work", "report")
    assert why["report"]["rows"] == 10_000


def test_task_that_succeeded(segment: SegmentServer, run_dag: RunDag) -> None:
    """So is a success; a mapped task says which it was."""

    @task
    def work(number: int) -> None:
        pass

    with new_dag(default_args={"on_success_callback": notifier(event="Done")}) as dag:
        work.expand(number=[7, 8])
    run_dag(dag)
    assert not any("error_class" in facts for _, facts in facts_of(segment))
    assert sorted((event, facts["state"], facts["map_index"]) for event, facts in facts_of(segment)) == [
        ("Done", "success", 0),
        ("Done", "success", 1),
    ]


@pytest.mark.parametrize("fails", [True, False])
def test_dag(segment: SegmentServer, run_dag: RunDag, fails: bool) -> None:
    """A DAG's callback tells of the run, not of the task that Airflow looked at last."""
    callbacks = {
        "on_failure_callback": notifier(event="DAG Failed"),
        "on_success_callback": notifier(event="DAG Done"),
    }
    with new_dag(**callbacks) as dag:
        add("extract", fails=fails)
    run = run_dag(dag)
    facts = {"dag_id": dag.dag_id, "run_id": run.run_id, "state": "failed" if fails else "success"}
    assert facts_of(segment) == [("DAG Failed" if fails else "DAG Done", facts)]


def test_templates(segment: SegmentServer, run_dag: RunDag) -> None:
    """All its fields are templates, and properties of one's own are added to the others or replace them."""
    own = {"dag_id": "ours", "owner": "{{ dag.owner }}", "nested": {"task": ["{{ ti.task_id }}"]}, "number": 1}
    callback = notifier(
        event="{{ ti.task_id | title }} Failed",
        user_id=None,
        anonymous_id="{{ dag.dag_id }}",
        properties=own,
        segment_conn_id="segment_{{ 'default' }}",
    )
    with new_dag(default_args={"owner": "data"}) as dag:
        add("extract", on_failure_callback=callback)
    run_dag(dag)
    (message,) = segment.messages
    assert message["event"] == "Extract Failed"
    assert message["anonymousId"] == dag.dag_id
    properties = message["properties"]
    assert {name: properties[name] for name in (*own, "task_id", "state")} == {
        "dag_id": "ours",
        "owner": "data",
        "nested": {"task": ["extract"]},
        "number": 1,
        "task_id": "extract",
        "state": "failed",
    }


def test_one_notifier_for_many_tasks(segment: SegmentServer, run_dag: RunDag) -> None:
    """A notifier that tasks share tells of each, not of the first again."""
    shared = notifier(event="{{ ti.task_id }} failed")
    with new_dag(default_args={"on_failure_callback": shared}) as dag:
        add("one")
        add("two")
    run_dag(dag)
    assert sorted(event for event, _ in facts_of(segment)) == ["one failed", "two failed"]
    assert shared.event == "{{ ti.task_id }} failed"


def test_same_news_same_id(segment: SegmentServer, run_dag: RunDag) -> None:
    """What is sent twice has one id, so that Segment keeps it once; each try has news of its own."""
    twice = notifier(properties={"try_number": None})
    with new_dag() as dag:
        add("one", on_failure_callback=[twice, twice], on_retry_callback=twice, retries=2)
    run_dag(dag)
    assert len(segment.messages) == 3
    assert len(segment.duplicates) == 1


def test_failed_notification(segment: SegmentServer, run_dag: RunDag, capfd: pytest.CaptureFixture[str]) -> None:
    """A call that cannot be made is logged without the key, and the task's state stays what it is."""
    with new_dag() as dag:
        add("done", fails=False, on_success_callback=notifier(user_id="{{ 'x' * 40_000 }}"))
    run = run_dag(dag)
    assert run.task("done")[0] == "success"
    assert run.xcom("done", "report") is None
    out, err = capfd.readouterr()
    assert "Failed to send notification" in out + err
    assert json.loads(segment.connection)["password"] not in out + err
    assert segment.messages == []


def test_no_id() -> None:
    """Without any id the DAG is not parsed: Segment would drop the call."""
    with pytest.raises(ValueError, match=r"^SegmentNotifier needs user_id=\.\.\. or anonymous_id="):
        SegmentNotifier(event="Task Failed")


@pytest.mark.parametrize(
    "context",
    [{"dag": DAG("minimal"), "run_id": "r1", "reason": "timed_out"}, {"dag": DAG("minimal")}],
    ids=["without a task", "without a run"],
)
def test_sparse_context(segment: SegmentServer, context: dict[str, Any]) -> None:
    """Airflow's DAG processor may know little of a run: what is known is sent."""
    notifier(event="{{ dag.dag_id }}")(dict(context))
    run = {"run_id": "r1", "state": "failed"} if "run_id" in context else {}
    assert facts_of(segment) == [("minimal", {"dag_id": "minimal", **run})]
