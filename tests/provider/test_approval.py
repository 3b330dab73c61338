"""A person between plan and send: the example with Airflow's human-in-the-loop operator, answered by its REST API."""

from __future__ import annotations

import datetime as dt

import pytest
from person import CAN_BE_ASKED, Person
from runs import run
from test_example_dags import fill, forget, load
from warehouses import SqliteWarehouse

from airflow_provider_segment.testing import SegmentServer

pytestmark = [
    pytest.mark.skipif(not CAN_BE_ASKED, reason="Airflow has human-in-the-loop operators from 3.1 on"),
    pytest.mark.timeout(120, method="thread"),  # a run that waits for ever takes no notice of a signal
]

DAY = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
ADD = """
    INSERT INTO customers
    SELECT 'X' || id, first_name, last_name, 'x' || email, phone, city, country, plan, account_id, created_at,
        lifetime_value_usd
    FROM customers ORDER BY id LIMIT {}
"""
UPDATE = "UPDATE customers SET last_name = last_name || '!' WHERE id IN (SELECT id FROM customers ORDER BY id LIMIT {})"
UPDATE_BACK = "UPDATE customers SET last_name = rtrim(last_name, '!') WHERE id = (SELECT min(id) FROM customers)"


@pytest.fixture
def shop(warehouse: SqliteWarehouse) -> SqliteWarehouse:
    """The demo's data with 60 customers, of whom nothing is known yet."""
    fill(warehouse.path, customers=60, accounts=8, orders=1)
    forget()
    return warehouse


def test_approved(segment: SegmentServer, shop: SqliteWarehouse) -> None:
    """The person sees the numbers of the plan; nothing is sent before the answer, and then exactly those calls."""
    with Person("Approve", meanwhile=lambda: nothing_was_sent(segment)) as person:
        found = run(load("segment_with_approval"))
    (question,) = person.asked
    assert question["subject"] == "May these calls be sent to Segment?"
    assert question["options"] == ["Approve", "Reject"]
    assert question["body"].startswith("\n| call | added | updated | deleted |\n| --- | --- | --- | --- |\n")
    assert plans(person) == ["| identify | 60 | 0 | 0 |"]
    assert found.task("send") == ("success", 1)
    assert len(segment.messages) == 60
    assert segment.duplicates == []


def test_rejected(segment: SegmentServer, shop: SqliteWarehouse) -> None:
    """Nothing is sent, and the task that would send is skipped."""
    with Person("Reject"):
        found = run(load("segment_with_approval"))
    assert found.state == "success"
    assert found.task("send")[0] == "skipped"
    nothing_was_sent(segment)


def test_more_has_come(segment: SegmentServer, shop: SqliteWarehouse, capfd: pytest.CaptureFixture[str]) -> None:
    """One row more than was approved: nothing is sent, the error says which caps are broken; cleared, it asks anew."""
    dag = load("segment_with_approval")
    with Person("Approve", meanwhile=lambda: shop.run(ADD.format(1))):
        found = run(dag, DAY)
    assert found.task("send") == ("failed", 1)
    nothing_was_sent(segment)
    said = capfd.readouterr().out
    assert "identify: added 61; max_added allows 60: too many" in said
    assert "all calls: 61; max_calls allows 60: too many" in said
    with Person("Approve") as person:
        assert run(dag, DAY).run_id == found.run_id
    assert plans(person) == ["| identify | 61 | 0 | 0 |"]
    assert len(segment.messages) == 61


def test_another_kind_has_come(
    segment: SegmentServer, shop: SqliteWarehouse, capfd: pytest.CaptureFixture[str]
) -> None:
    """No more calls than were approved, and one of them of another kind: nothing is sent."""
    dag = load("segment_with_approval")
    with Person("Approve"):
        run(dag)
    requests = len(segment.requests)
    shop.run(UPDATE.format(2))

    with Person("Approve", meanwhile=lambda: shop.run(f"{UPDATE_BACK}; {ADD.format(1)}")) as person:
        assert run(dag).task("send") == ("failed", 1)
    assert plans(person) == ["| identify | 0 | 2 | 0 |"]
    assert len(segment.requests) == requests
    assert "identify: added 1; max_added allows 0: too many" in capfd.readouterr().out


def test_day_two(segment: SegmentServer, shop: SqliteWarehouse) -> None:
    """Each run asks anew, for its own changes; those that were rejected are asked for again."""
    dag = load("segment_with_approval")
    with Person("Approve", "Reject", "Approve", "Approve") as person:
        run(dag)
        shop.run(f"{UPDATE.format(3)}; {ADD.format(2)}")
        rejected, approved, nothing = run(dag), run(dag), run(dag)
    assert plans(person) == [f"| identify | {numbers} | 0 |" for numbers in ("60 | 0", "2 | 3", "2 | 3", "0 | 0")]
    assert [found.task("send")[0] for found in (rejected, approved, nothing)] == ["skipped", "success", "success"]
    assert len(segment.messages) == 60 + 5
    assert segment.duplicates == []


def plans(person: Person) -> list[str]:
    """Return the one line of numbers in each question."""
    return [question["body"].splitlines()[3] for question in person.asked]


def nothing_was_sent(segment: SegmentServer) -> None:
    assert segment.requests == []
