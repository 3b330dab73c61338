"""Processes of tests, forked from one that has imported Airflow already, as those of Airflow 3's tasks are."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from airflow_provider_segment.core.changes import lease

# What a task and `dag.test()` import; modules that this Airflow does not have are passed over.
WARM = [
    "airflow.api_fastapi.execution_api.app",
    "airflow.api_fastapi.execution_api.routes",
    "airflow.api_fastapi.execution_api.versions",
    "airflow.dag_processing.collection",
    "airflow.dag_processing.dagbag",
    "airflow.models.dag",
    "airflow.models.dagbag",
    "airflow.providers.sqlite.hooks.sqlite",
    "airflow.sdk.execution_time.supervisor",
    "airflow_provider_segment.hooks.segment",
    "airflow_provider_segment.transfers.query",
    "airflow_provider_segment.transfers.sql_to_segment",
    "psycopg",
]


def start(work: Callable[..., object], *arguments: Any) -> Any:
    """Start work in a process of its own.

    :param work: a function of a module.
    :param arguments: of it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(WARM)
    process = context.Process(target=work, args=arguments)
    process.start()
    return process


def killed_before(what: str, task: Callable[[], Any]) -> None:
    """Run a task in a process that is killed before a transaction of the state, and notes its counts in each before.

    :param what: the transaction does.
    :param task: to be run.
    """
    if (child := os.fork()) == 0:
        lease.NOTE_SECONDS = 0.0
        writing = lease.Lease.writing

        def dies(self: Any, doing: str, *asked: Any, **more: Any) -> Any:
            if doing == what:
                os.kill(os.getpid(), signal.SIGKILL)
            return writing(self, doing, *asked, **more)

        lease.Lease.writing = dies  # type: ignore[method-assign, assignment]  # of this process, which ends here
        with suppress(BaseException):
            task()
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
