"""The wheel works where nothing else of ours is: in clean environments with each line of Airflow."""

from __future__ import annotations

import re
from pathlib import Path

from clean import CUSTOMERS, CleanAirflow

from airflow_provider_segment import __version__
from airflow_provider_segment.testing import SegmentServer

NAME, MODULE = "airflow-provider-segment", "airflow_provider_segment"
LIGHT = f"""
import sys
from airflow import DAG
from {MODULE}.compat import BaseOperator
before = set(sys.modules)
import {MODULE}.calls, {MODULE}.operators.segment, {MODULE}.transfers.sql_to_segment
print(*{{name.partition(".")[0] for name in set(sys.modules) - before}})
"""
VALID = f"""
import airflow, json, jsonschema, pathlib, {MODULE}
schema = pathlib.Path(airflow.__file__).with_name("provider_info.schema.json")
jsonschema.validate({MODULE}.get_provider_info(), json.loads(schema.read_text()))
"""
USERS_TEST = """
import json, os

def test_fixture(segment_server):
    assert json.loads(os.environ["AIRFLOW_CONN_SEGMENT_DEFAULT"])["host"] == segment_server.url
"""


def test_the_wheel_is_what_is_imported(clean: CleanAirflow) -> None:
    """The package comes from the environment, not from the checkout."""
    place, version = clean.python("-c", f"import {MODULE} as m; print(m.__file__, m.__version__)").split()[-2:]
    assert "/venv/lib/" in place
    assert version == __version__


def test_all_requirements_agree(clean: CleanAirflow) -> None:
    """pip finds no package whose requirements are not met."""
    assert "No broken requirements found" in clean.python("-m", "pip", "check")


def test_airflow_lists_the_provider(clean: CleanAirflow) -> None:
    """`airflow providers list` has the package with its version."""
    assert {"package_name": NAME, "version": __version__}.items() <= next(
        row.items() for row in clean.listed("providers", "list") if row["package_name"] == NAME
    )


def test_airflow_gets_all_of_the_provider(clean: CleanAirflow) -> None:
    """`airflow providers get` shows each kind of thing that the provider has, with its module."""
    [shown] = clean.listed("providers", "get", NAME, "--full")
    kinds = ("operators", "hooks", "transfers", "connection-types", "extra-links", "notifications", "asset-uris")
    assert [kind for kind in kinds if MODULE not in str(shown.get(kind))] == []
    for name in (
        "hooks.segment.SegmentHook",
        "links.segment.SegmentDebuggerLink",
        "notifications.segment.SegmentNotifier",
    ):
        assert f"{MODULE}.{name}" in str(shown)


def test_airflow_registers_hook_link_and_notifier(clean: CleanAirflow) -> None:
    """Airflow's lists have our extra link and notifier, and our hook, which serves the connection type `segment`."""
    hook = next(row for row in clean.listed("providers", "hooks") if row["connection_type"] == "segment")
    assert (hook["class"], hook["package_name"]) == (f"{MODULE}.hooks.segment.SegmentHook", NAME)
    assert f"{MODULE}.links.segment.SegmentDebuggerLink" in str(clean.listed("providers", "links"))
    assert f"{MODULE}.notifications.segment.SegmentNotifier" in str(clean.listed("providers", "notifications"))


def test_airflow_draws_our_form(clean: CleanAirflow) -> None:
    """The form of the connection type `segment` has our fields."""
    drawn = {row["connection_parameter_name"] for row in clean.listed("providers", "widgets")}
    assert {f"extra__segment__{name}" for name in ("region", "deadline", "oauth_private_key")} <= drawn


def test_provider_info_is_valid(clean: CleanAirflow) -> None:
    """What the provider says of itself fits the schema of the Airflow that is installed."""
    clean.python("-c", VALID)


def test_a_dag_sends_every_row(clean: CleanAirflow) -> None:
    """A DAG reads a table and Segment gets a call for each of its rows."""
    with SegmentServer() as segment:
        said = clean.try_dag("ours.py", "ours", AIRFLOW_CONN_SEGMENT_DEFAULT=segment.connection)
        arrived = [(message["userId"], message["traits"]["email"]) for message in segment.messages]
    assert sorted(arrived) == CUSTOMERS, said
    assert re.search(r"Done: 3 rows, 3 calls: 3 accepted, 0 unchanged, 0 invalid, 0 rejected, 0 not sent", said), said


def test_a_dag_file_costs_nothing_more(clean: CleanAirflow) -> None:
    """Importing the operators loads no module but ours and Airflow's own."""
    assert set(clean.python("-c", LIGHT).split()) <= {"airflow", MODULE}


def test_users_get_the_fixture(clean: CleanAirflow, tmp_path: Path) -> None:
    """Where pytest is installed too, a test gets its local Segment by naming the fixture `segment_server`."""
    clean.install("pytest")
    path = tmp_path / "test_users.py"
    path.write_text(USERS_TEST)
    assert "1 passed" in clean.python("-m", "pytest", "-p", "no:cacheprovider", str(path))
