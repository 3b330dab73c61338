"""What the core's tests share: a delivery to a local Segment, and a whole run over rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from airflow_provider_segment.calls import Call, as_calls
from airflow_provider_segment.core.changes.resume import Resume
from airflow_provider_segment.core.delivery.batching import Batch
from airflow_provider_segment.core.delivery.pace import Pace
from airflow_provider_segment.core.delivery.retries import RetryPolicy, Success
from airflow_provider_segment.core.delivery.sender import Delivery
from airflow_provider_segment.core.delivery.transport import Transport
from airflow_provider_segment.core.job import SyncJob
from airflow_provider_segment.core.mapping.message_ids import Namespace
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.pipeline import sync
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.testing import SegmentServer

KEY = "the-write-key-of-the-tests-00000"
LIBRARY = {"name": "tests", "version": "1.2.3"}
# Back-offs of a millisecond: the tests wait for answers, not for clocks.
QUICK = RetryPolicy(deadline=20.0, first_wait=0.001, longest_wait=0.001)


def transport_to(server: SegmentServer, **settings: Any) -> Transport:
    """A transport to a local Segment."""
    return Transport(f"{server.url}/v1", KEY, **({"library": LIBRARY, "timeout": 10.0} | settings))


def delivery_to(
    server: SegmentServer,
    policy: RetryPolicy = QUICK,
    pace: Pace | None = None,
    max_in_flight: int = 4,
    success: Success = Success.SEGMENT,
) -> Delivery:
    """A delivery to a local Segment that does not wait long between tries."""
    return Delivery(transport_to(server), policy, pace or Pace(), max_in_flight, success)


def event(number: int, **more: Any) -> bytes:
    """An encoded event that Segment takes."""
    message = {"type": "identify", "userId": f"u{number}", "messageId": f"m{number}", **more}
    return json.dumps(message, separators=(",", ":")).encode()


def batch_of(events: Sequence[bytes], first: int = 1) -> Batch:
    """A batch of events that came from rows numbered from `first`."""
    return Batch([*events], [*range(first, first + len(events))], ["identify"] * len(events))


def run(
    server: SegmentServer,
    columns: Sequence[str] | None,
    pages: Iterable[Sequence[Sequence[Any]]],
    calls: Call | Sequence[Call] | None,
    *,
    namespace: Namespace | None = None,
    delivery: Delivery | None = None,
    report: Report | None = None,
    resume: Resume | None = None,
    **options: Any,
) -> Report:
    """Send pages of rows as calls, and return the report; errors are raised as they are."""
    report = report or Report()
    named = namespace or Namespace("sync", "run")
    job = SyncJob(None if calls is None else as_calls(calls), named, Options(**options), resume=resume)
    with delivery or delivery_to(server) as way:
        sync(Pages(columns, pages, "tests"), job, way, report)
    return report


def adds_up(report: Report) -> bool:
    """Whether every call that the rows asked for had one end."""
    ends = report.unchanged + report.invalid + report.accepted + report.rejected + report.not_sent
    counts = [number for number in report.as_dict().values() if isinstance(number, (int, float))]
    return report.calls == ends and min(counts) >= 0
