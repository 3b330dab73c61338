"""The pytest plugin gives a local Segment to the tests of whoever installs the package, and costs others nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("airflow", "orjson", "requests", "sqlalchemy", "http.server", "airflow_provider_segment.testing")


def pytest_in(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a project of its own, which knows nothing of ours but what is installed."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    environment = others | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.fixture(autouse=True)
def _is_installed() -> None:
    """Without the entry point nothing here can pass, and the reason is not the code."""
    names = {point.value for point in entry_points(group="pytest11")}
    assert "airflow_provider_segment.pytest_plugin" in names, (
        "this environment was made before the plugin: make it anew"
    )


def test_the_fixture_is_there_without_a_word(tmp_path: Path) -> None:
    """A test asks for `segment_server` and finds it behind the connection; a proxy does not stand in between."""
    (tmp_path / "test_mine.py").write_text("""
import json, os, requests

def test_mine(segment_server):
    connection = json.loads(os.environ["AIRFLOW_CONN_SEGMENT_DEFAULT"])
    assert connection["host"] == segment_server.url
    message = {"type": "identify", "userId": "u1", "messageId": "m1"}
    requests.post(f"{segment_server.url}/v1/batch", json={"batch": [message], "writeKey": "k" * 32}, timeout=10)
    assert segment_server.messages == [message]

def test_after_it():
    assert "AIRFLOW_CONN_SEGMENT_DEFAULT" not in os.environ
    assert os.environ["no_proxy"] == "example.com"
""")
    done = pytest_in(tmp_path, "-q", http_proxy="http://127.0.0.1:9", no_proxy="example.com", NO_PROXY="example.com")
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_it_explains_itself(tmp_path: Path) -> None:
    """`pytest --fixtures` says what the fixture is."""
    (tmp_path / "test_none.py").write_text("")
    said = pytest_in(tmp_path, "--fixtures").stdout
    assert "segment_server" in said
    assert "the connection `segment_default` leads to" in said


def test_a_project_that_does_not_ask_imports_nothing(tmp_path: Path) -> None:
    """pytest loads the plugin everywhere; only who uses the fixture pays for the server."""
    (tmp_path / "test_theirs.py").write_text(f"""
import sys

def test_theirs():
    assert "airflow_provider_segment.pytest_plugin" in sys.modules
    assert [name for name in {HEAVY!r} if name in sys.modules] == []
""")
    # Other plugins of this environment import what they like.
    done = pytest_in(tmp_path, "-q", "-p", "airflow_provider_segment.pytest_plugin", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
