"""The name under which Airflow knows a process's machine: each worker has its own, though all are on one."""

from __future__ import annotations

import os


def get() -> str:
    """Return it."""
    return os.environ.get("WORKER_NAME", "airflow")
