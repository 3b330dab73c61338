"""Measures what an import, or a DAG file of 100 tasks, adds on top of Airflow's BaseOperator: ms, MB, heavy modules.

Each is measured in new processes, which run this file with what to import before the clock, and what after.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from child import airflow_environment
from results import Startup, spread

HEAVY = ("requests", "orjson", "sqlalchemy", "airflow.providers.common.sql", "pandas", "numpy")
BEFORE = "from airflow.providers.common.compat.sdk import DAG, BaseOperator"
OPERATOR = "from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator\n"
PEER = "from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator\n"
DAG = """
from airflow.providers.common.compat.sdk import DAG
{imports}
with DAG("sync", schedule=None) as dag:
    for number in range(100):
        {task}
"""
OURS = DAG.format(
    imports=OPERATOR + "from airflow_provider_segment.calls import Constant, Identify",
    task="""SqlToSegmentOperator(
            task_id=f"sync_{number}",
            sql="SELECT * FROM users",
            sql_conn_id="warehouse",
            calls=Identify(user_id="id", traits={"email": "email", "source": Constant("dwh")}),
            key="id",
        )""",
)
EMPTY = DAG.format(
    imports="from airflow.providers.standard.operators.empty import EmptyOperator",
    task='EmptyOperator(task_id=f"sync_{number}")',
)
BASH = DAG.format(
    imports="from airflow.providers.standard.operators.bash import BashOperator",
    task='BashOperator(task_id=f"sync_{number}", bash_command="true")',
)


@dataclass(frozen=True)
class Probe:
    """Sources to run after BaseOperator was imported, by side; ours with the most ms and bytes that it may add."""

    name: str
    sources: dict[str, str]
    at_most: tuple[float, float] | None = None
    short: bool = False


STARTUP = [
    Probe("import", {"ours": OPERATOR, "common-sql's operators": PEER}, (50, 5e6), short=True),
    Probe("dag-parse", {"ours": OURS, "EmptyOperator": EMPTY, "BashOperator": BASH}),
]


def startup(probe: Probe, home: Path, rounds: int) -> list[Startup]:
    """Run all sources in turns, each time in a new process."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in probe.sources}
    heavy: dict[str, set[str]] = {side: set() for side in probe.sources}
    for number in range(rounds + 1):
        for side, source in probe.sources.items():
            sample = measured(home, source)
            heavy[side].update(sample.pop("heavy"))
            if number:  # round 0 writes the bytecode
                found[side].append(sample)
    return [
        Startup(
            scenario=probe.name,
            side=side,
            ms=spread([sample["ms"] for sample in each]),
            memory=median(sample["memory"] for sample in each),
            heavy=sorted(heavy[side]),
            at_most=probe.at_most if side == "ours" else None,
        )
        for side, each in found.items()
    ]


def measured(home: Path, source: str) -> dict[str, Any]:
    """Run a source in a new process and return what it took."""
    command = [sys.executable, __file__, source]
    done = subprocess.run(command, env=airflow_environment(home), cwd=home, capture_output=True, check=True)  # noqa: S603
    sample: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return sample


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def main() -> None:
    """Import BaseOperator, run the source of the command line, and tell what came on top."""
    exec(BEFORE, {})  # noqa: S102 - our own
    source = compile(sys.argv[1], "source", "exec")
    modules, before, began = set(sys.modules), resident(), time.perf_counter()
    exec(source, {"__name__": "dag"})  # noqa: S102 - our own
    ms = (time.perf_counter() - began) * 1000
    came = set(sys.modules) - modules
    heavy = [name for name in HEAVY if any(one == name or one.startswith(f"{name}.") for one in came)]
    print(json.dumps({"ms": ms, "memory": resident() - before, "heavy": heavy}))


if __name__ == "__main__":
    main()
