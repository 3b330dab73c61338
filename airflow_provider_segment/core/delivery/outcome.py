"""What became of one batch: acknowledged, refused, or why the run cannot go on."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_provider_segment.core.delivery.answers import Response
from airflow_provider_segment.core.delivery.batching import Batch


@dataclass(slots=True)
class Outcome:
    """What became of one batch.

    :param batch: the batch.
    :param accepted: the ranges of events that were acknowledged.
    :param rejected: events that were refused, by place, each with the answer.
    :param error: why the run cannot go on, where it cannot; a SegmentError, but for a bug.
    :param is_counted: whether the report has it; after a time-out it may come again.
    """

    batch: Batch
    accepted: list[range] = field(default_factory=list)
    rejected: list[tuple[int, Response]] = field(default_factory=list)
    error: BaseException | None = None
    requests: int = 0
    retries: int = 0
    bytes: int = 0
    is_counted: bool = False

    def count(self) -> int:
        """Return how many events were acknowledged."""
        return sum(map(len, self.accepted))
