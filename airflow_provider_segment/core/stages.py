"""What of a run a task does: all of it, or one stage of a run that several tasks do."""

from __future__ import annotations

from enum import Enum


class Stage(Enum):
    """One task plans, which lays the rows out and sends nothing; others each send a part of them; one ends the run."""

    WHOLE = "whole"
    PLAN = "plan"
    SEND = "send"
    FINALIZE = "finalize"
