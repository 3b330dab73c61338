"""Processes of tests, forked from one that has imported Airflow already, as those of Airflow 3's tasks are."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

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
