"""What one run of a sync is to do, as a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_segment.calls import Call
from airflow_provider_segment.core.delivery.rejects import NoRejects, Rejects
from airflow_provider_segment.core.mapping.message_ids import Namespace
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.core.stages import Stage

if TYPE_CHECKING:
    from airflow_provider_segment.core.changes.resume import Resume
    from airflow_provider_segment.core.changes.state import State


@dataclass(frozen=True)
class SyncJob:
    """What a run is to do.

    :param calls: each row makes each of them; None where the rows are messages already, of one column.
    :param namespace: where the message ids are unique.
    :param options: how rows become calls.
    :param rejects: where refused calls are written.
    :param state: what Segment last accepted, where only changes are sent.
    :param resume: what earlier tries of the run had acknowledged, where all is sent and this is known.
    :param on_progress: is called with the report after each page.
    :param on_planned: is called with the report, and the bytes that are held, when a cap let the calls wait until all
        were known, before the first of them is sent.
    :param on_warning: is called at once with what should be known before the run ends.
    :param stage: what of the run is done here.
    """

    calls: Sequence[Call] | None
    namespace: Namespace
    options: Options = field(default_factory=Options)
    rejects: Rejects = field(default_factory=NoRejects)
    state: State | None = None
    resume: Resume | None = None
    on_progress: Callable[[Report], None] = lambda _: None
    on_planned: Callable[[Report, int], None] = lambda *_: None
    on_warning: Callable[[str], None] = lambda _: None
    stage: Stage = Stage.WHOLE
