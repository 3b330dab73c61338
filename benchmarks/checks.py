"""The table of checks: promises that are neither one side's speed in turns, nor memory, nor startup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import caps
import changes
import cursor
import faults
import prefilter
import sizes

if TYPE_CHECKING:
    from results import Promise
TWO = ("without", "warehouse")


@dataclass(frozen=True)
class Check:
    """A script whose promises the full mode checks, with fewer rows than it has by itself where these are enough."""

    name: str
    run: Callable[[], list[Promise]]


CHECKS = [
    Check("sizes", lambda: sizes.check(20_000)),
    Check("faults", faults.check),
    Check("customers", lambda: changes.check(1_000_000, 20_000)),
    Check("caps", lambda: caps.check(300_000, 3)),
    Check("cursor", lambda: cursor.check(500_000, 1_000, 2)),
    Check("prefilter-postgres-integer", lambda: prefilter.check("postgres", "id", 1_000_000, [0.0, 0.001])),
    Check("prefilter-postgres-text", lambda: prefilter.check("postgres", "email", 500_000, [0.0], TWO)),
    Check("prefilter-duckdb-integer", lambda: prefilter.check("duckdb", "id", 1_000_000, [0.0, 0.001])),
    Check("prefilter-duckdb-text", lambda: prefilter.check("duckdb", "email", 1_000_000, [0.0], TWO)),
    Check("prefilter-sqlite-integer", lambda: prefilter.check("sqlite", "id", 1_000_000, [0.0, 0.001], TWO)),
]
