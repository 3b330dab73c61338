"""The templates, which escape whatever is put into them, and the words they use."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import urlencode

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from airflow_provider_segment import __version__
from airflow_provider_segment.core.changes.overview import REFUSALS_READ
from airflow_provider_segment.plugins.page.charts import HEIGHT, SPARK_HEIGHT, SPARK_WIDTH, WIDTH, spark
from airflow_provider_segment.plugins.page.dags import dag_address, log_address
from airflow_provider_segment.plugins.page.figures import (
    COUNTS,
    KINDS,
    MEANINGS,
    NOTHING,
    STATES,
    duration,
    moment,
    number,
    share,
)
from airflow_provider_segment.plugins.page.plans import WORDS, plan_of, planned_of


@cache
def _environment() -> Environment:
    loader = PackageLoader("airflow_provider_segment.plugins.page", "html")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"number": number, "share": share, "duration": duration, "moment": moment, "spark": spark}
    sizes = {"bar_height": HEIGHT, "bar_width": WIDTH, "spark_width": SPARK_WIDTH, "spark_height": SPARK_HEIGHT}
    words = {"KINDS": KINDS, "STATES": STATES, "COUNTS": COUNTS, "MEANINGS": MEANINGS, "PLANNED": WORDS}
    facts = {"NOTHING": NOTHING, "REFUSALS_READ": REFUSALS_READ, "version": __version__}
    addresses = {"address": _address, "dag_address": dag_address, "log_address": log_address}
    made.globals |= sizes | words | facts | addresses | {"plan_of": plan_of, "planned_of": planned_of}
    return made


def render(name: str, *, code: int = 200, **values: Any) -> HTMLResponse:
    """Return a page.

    :param name: of the template.
    :param code: the HTTP status.
    :param values: that the template names.
    """
    return HTMLResponse(_environment().get_template(name).render(values), status_code=code)


def _address(page: str, sync: Any, **more: Any) -> str:
    """Return the address of a page about a sync, as seen from any of ours."""
    asked = {"state": str(sync.place), "id": sync.line.sync_id} | more
    return f"{page}?{urlencode(asked)}"
