"""Both providers installed: each DAG works as well as it does without the other package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clean import CleanAirflow

from airflow_provider_segment.testing import SegmentServer

pytestmark = pytest.mark.parametrize("clean", ["3.3-beside-official", "2.11-beside-official"], indirect=True)

KEY = "k" * 32
THEIR_ERROR = "AttributeError: 'SegmentHook' object has no attribute 'track'"
GET_HOOK = """
from airflow.providers.common.compat.sdk import BaseHook
print(type(BaseHook.get_hook("theirs")).__module__)
"""
THEIR_HOOK = """
from airflow.providers.segment.hooks.segment import SegmentHook
analytics = SegmentHook("theirs").get_conn()
print(analytics.write_key, analytics.host)
"""


def connection(**fields: object) -> str:
    """Return a connection of the type `segment` as JSON."""
    return json.dumps({"conn_type": "segment", **fields})


def test_their_operator_fails_with_and_without_us(clean: CleanAirflow, wheel: Path) -> None:
    """Their operator ends with the same error before this package is installed, and after."""
    with SegmentServer() as segment:
        theirs = {"AIRFLOW_CONN_THEIRS": connection(extra={"write_key": KEY}, host=segment.url)}
        clean.python("-m", "pip", "uninstall", "--quiet", "--yes", "airflow-provider-segment")
        try:
            without = clean.try_dag("theirs.py", "their_operator", **theirs)
        finally:
            clean.install("--no-deps", str(wheel))
        beside = clean.try_dag("theirs.py", "their_operator", **theirs)
        assert segment.messages == []
    assert THEIR_ERROR in without, without
    assert THEIR_ERROR in beside, beside


def test_their_hook_still_sends(clean: CleanAirflow) -> None:
    """A function that imports their hook gets theirs, and sends with it."""
    with SegmentServer() as segment:
        said = clean.try_dag(
            "theirs.py",
            "their_hook",
            LOCAL_SEGMENT=segment.url,
            AIRFLOW_CONN_THEIRS=connection(extra={"write_key": KEY}),
        )
        assert [(message["userId"], message["event"]) for message in segment.messages] == [("u1", "Signed Up")], said
        assert segment.messages[0]["context"]["library"]["name"] == "analytics-python"


def test_the_connection_gives_our_hook(clean: CleanAirflow) -> None:
    """Who asks Airflow for a connection's hook gets ours, also for a connection that was made for theirs."""
    theirs = connection(extra={"write_key": KEY})
    assert (
        clean.python("-c", GET_HOOK, AIRFLOW_CONN_THEIRS=theirs).split()[-1] == "airflow_provider_segment.hooks.segment"
    )


def test_their_hook_reads_the_extra_only(clean: CleanAirflow) -> None:
    """Their hook takes a write key from a connection's extra, also beside a password, and neither password nor host."""
    both = connection(password="ours", host="https://events.example.com", extra={"write_key": KEY, "region": "eu"})
    assert clean.python("-c", THEIR_HOOK, AIRFLOW_CONN_THEIRS=both).split()[-2:] == [KEY, "None"]
    with pytest.raises(AssertionError, match="No Segment write key provided"):
        clean.python("-c", THEIR_HOOK, AIRFLOW_CONN_THEIRS=connection(password=KEY))
