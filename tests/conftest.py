"""What all tests share: an Airflow of their own, set up before anything imports it, and a local Segment."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_segment.testing import SegmentServer

# What needs a package that is not installed here.
_NEEDED = {"provider": ("airflow",), "browser": ("airflow", "selenium"), "cluster": ("airflow", "celery")}
collect_ignore = [part for part, names in _NEEDED.items() if not all(map(importlib.util.find_spec, names))]

# Settings and connections of another Airflow on this machine must not reach this one.
for _name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[_name]
# Thousands of commits wait for a disk, which no test is about: files lie in memory, where there is enough of it.
_memory = Path("/dev/shm")  # noqa: S108  each file there gets a name of its own
if "TMPDIR" not in os.environ and _memory.is_dir() and shutil.disk_usage(_memory).free > 2 * 1024**3:
    os.environ["TMPDIR"] = tempfile.tempdir = str(_memory)
_home = tempfile.mkdtemp(prefix="airflow-provider-segment-tests-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ |= {
    "AIRFLOW_HOME": _home,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).resolve().parents[1] / "example_dags"),
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "no_proxy": "127.0.0.1,localhost",  # a proxy of the environment does not reach this machine's own ports
    "NO_PROXY": "127.0.0.1,localhost",
}


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch) -> Iterator[SegmentServer]:
    """A local Segment behind the connection `segment_default`."""
    with SegmentServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", server.connection)
        yield server
