"""Queries that fail, what is said of them, and the texts of an error with all that led to it."""

from __future__ import annotations

from typing import Any

import pytest
from runs import NO_WAIT

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.core.errors import SourceError
from airflow_provider_segment.hooks.task import SegmentFailException
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

BY_HAND = "; run the query by hand to see the database's own words"
SECRET = "secret@example.com"


def operator(sql: str, conn_id: str, **changed: Any) -> SqlToSegmentOperator:
    """Return an operator that identifies the users of a query."""
    settings: dict[str, Any] = {"task_id": "sync", "calls": Identify("id"), "retry_delay": NO_WAIT}
    return SqlToSegmentOperator(sql=sql, sql_conn_id=conn_id, **(settings | changed))


def failure_of(sql: str, conn_id: str, parameters: Any = None, **changed: Any) -> tuple[str, bool]:
    """Run a query that fails, and return its error's text, and whether the task is tried again."""
    with pytest.raises(Exception, match="The source database failed at ") as caught:
        operator(sql, conn_id, parameters=parameters, **changed).execute({})
    assert isinstance(caught.value, (SourceError, SegmentFailException))
    return str(caught.value).removeprefix("The source database failed at "), isinstance(caught.value, SourceError)


def chain(error: BaseException | None) -> list[str]:
    """Return the texts of an error and of all that led to it."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    return texts
