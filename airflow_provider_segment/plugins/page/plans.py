"""The plan of a run beside what was done, as a table of calls."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_segment.plugins.page.figures import Figures

# The kinds of a plan, in the order of the table.
WORDS = {"added": "added", "updated": "updated", "deleted": "deleted", "all": "sent"}


@dataclass(frozen=True)
class Plan:
    """What was to be sent, and what was accepted.

    :param kinds: of calls, the columns of the table; none where no plan is written down.
    :param calls: by call, what was planned of each kind.
    :param planned: the sums of these.
    :param done: what was accepted of each kind.
    """

    kinds: list[str]
    calls: dict[str, list[int]]
    planned: list[int]
    done: list[int]

    @property
    def left(self) -> list[int]:
        """What was planned and not accepted, of each kind."""
        return [max(0, planned - done) for planned, done in zip(self.planned, self.done, strict=True)]


def plan_of(run: Figures) -> Plan:
    """Return the plan of a run beside what was done.

    :param run: the run.
    """
    kinds = [kind for kind in WORDS if any(kind in of_call for of_call in run.planned.values())]
    calls = {call: [of_call.get(kind, 0) for kind in kinds] for call, of_call in run.planned.items()}
    planned = [sum(numbers) for numbers in zip(*calls.values(), strict=True)]
    done = [(run.accepted if kind == "all" else run.count(kind)) or 0 for kind in kinds]
    return Plan(kinds, calls, planned, done)


def planned_of(run: Figures) -> int | None:
    """Return how many calls were planned; None where that is not written down.

    :param run: the run.
    """
    plan = plan_of(run)
    return sum(plan.planned) if plan.kinds else None
