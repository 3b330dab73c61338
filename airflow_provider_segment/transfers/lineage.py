"""OpenLineage of a sync: the tables that its query reads, the source that it writes to, and what became of the calls.

Imported only where the openlineage provider is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from airflow.providers.openlineage.extractors import OperatorLineage
from airflow.providers.openlineage.sqlparser import get_openlineage_facets_with_sql
from openlineage.client.event_v2 import OutputDataset
from openlineage.client.facet_v2 import RunFacet, output_statistics_output_dataset

from airflow_provider_segment.core.report import Report
from airflow_provider_segment.transfers.sql_hook import sql_hook


@attrs.define
class SegmentReportRunFacet(RunFacet):
    """What became of the calls: no standard facet knows refused ones; the counts mean what they mean in Report."""

    rows: int
    skipped: int
    calls: int
    unchanged: int
    invalid: int
    accepted: int
    rejected: int
    not_sent: int


def reading(conn_id: str, sql: str, hook_params: Mapping[str, Any] | None) -> OperatorLineage[Any, Any]:
    """Return what a query reads, as the openlineage provider's own parser finds it.

    :param conn_id: of the database.
    :param sql: the query.
    :param hook_params: for the hook, as for ``open_query()``.
    """
    hook = sql_hook(conn_id, {name: value for name, value in (hook_params or {}).items() if name != "streaming"})
    return get_openlineage_facets_with_sql(hook, sql, conn_id, None) or OperatorLineage()


def writing(uri: str, report: Report | None) -> OutputDataset:
    """Return the source that a sync writes to, with the number of accepted calls.

    :param uri: of the source as an asset.
    :param report: of the run; None before one.
    """
    namespace, _, name = uri.rpartition("/")
    if report is None:
        return OutputDataset(namespace=namespace, name=name)
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=report.accepted)
    return OutputDataset(namespace=namespace, name=name, outputFacets={"outputStatistics": statistics})


def counts(report: Report) -> SegmentReportRunFacet:
    """Return the counts of a run as a facet.

    :param report: of the run.
    """
    return SegmentReportRunFacet(
        rows=report.rows,
        skipped=report.skipped,
        calls=report.calls,
        unchanged=report.unchanged,
        invalid=report.invalid,
        accepted=report.accepted,
        rejected=report.rejected,
        not_sent=report.not_sent,
    )
