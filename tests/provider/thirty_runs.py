"""The state of a deployment with 30 runs of three syncs, as the pages ask it.

thirty_runs.sql.gz was made by real runs, by tests/browser/make_thirty_runs.py: first loads, changes, departures, a
kill, tries that failed, refusals of both kinds, a group; then the times were set apart by an hour, six or a day.
"""

from __future__ import annotations

import gzip
import io
import json
import shlex
import sqlite3
from contextlib import closing, redirect_stdout
from pathlib import Path

import pytest

from airflow_provider_segment.cli import main

DUMP = Path(__file__).with_name("thirty_runs.sql.gz")


def make(folder: Path) -> Path:
    """Make the state in a folder, unless it is there.

    :param folder: for it.
    """
    path = folder / "thirty_runs.db"
    if not path.exists():
        with closing(sqlite3.connect(path)) as database:
            database.executescript(gzip.decompress(DUMP.read_bytes()).decode())
    return path


def run(command: str, folder: Path) -> str:
    """Run a command of ours as a page has it, and return what it prints.

    :param command: with its first words, `python -m airflow_provider_segment`.
    :param folder: for the state.
    """
    connection = json.dumps({"conn_type": "sqlite", "host": str(make(folder))})
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setenv("AIRFLOW_CONN_STATE_DB", connection)
        main(shlex.split(command)[3:])
    return printed.getvalue()
