"""Every code block of README.md and docs/ is run: each kind of block has its rule here, and one without a rule fails.

docs/mapping.md has rules of its own, in tests/core/test_docs.py.
"""

from __future__ import annotations

import configparser
import importlib.util
import json
import logging
import os
import re
import runpy
import shlex
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import runs
import thirty_runs
from airflow.providers.common.compat.sdk import DAG, task
from doc_blocks import BLOCKS, ROOT, Block

from airflow_provider_segment import calls
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.operators import segment as operators
from airflow_provider_segment.provider_info import get_provider_info
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

HERE = [block for block in BLOCKS if block.page != "docs/mapping.md"]
PROJECTS = sorted({block.page for block in HERE if block.title})
KEY = "k" * 32
# What a fragment uses without importing it again.
NAMES: dict[str, Any] = {
    **{name: getattr(calls, name) for name in calls.__all__},
    **{name: getattr(operators, name) for name in dir(operators) if name.startswith("Segment")},
    **{each.__name__: each for each in (DAG, SegmentHook, SegmentServer, SqlToSegmentOperator, datetime)},
    "task": task,
}
fill = runpy.run_path(str(ROOT / "demo" / "warehouse.py"))["fill"]


class Place:
    """Where a block is run: a shop's warehouse, room for a state, a local Segment, a folder, and what was said.

    :param folder: empty.
    :param segment: behind the connection `segment_default`.
    :param said: tells what was logged and printed since it was asked last.
    """

    def __init__(self, folder: Path, segment: SegmentServer, said: Callable[[], str]) -> None:
        self.folder, self.segment, self.said = folder, segment, said
        self.shop, self.home = folder / "warehouse.db", folder / "airflow"
        fill(self.shop, customers=60, accounts=8, orders=150)
        with closing(sqlite3.connect(self.shop)) as shop, shop:  # the shop is open: some orders are of yesterday
            yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT12:00:00Z}"
            shop.execute("UPDATE orders SET ordered_at = ? WHERE id > 'O0000120'", (yesterday,))
            shop.execute("CREATE TABLE deletion_requests AS SELECT id AS customer_id FROM customers LIMIT 3")

    def command(self, command: str) -> str:
        """Run a command of a shell as it stands on the page, and return what it prints."""
        command = command.replace("<write key>", KEY)
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.folder / "dags"),
        }
        done = subprocess.run(  # noqa: S603  the pages are ours
            ["/bin/bash", "-ec", command], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture
def place(
    tmp_path: Path,
    segment: SegmentServer,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    """A place of its own for each block."""
    caplog.set_level(logging.INFO)
    for name, file in (("WAREHOUSE", "warehouse.db"), ("STATE_DB", "state.db")):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / file)}))
    return Place(tmp_path, segment, lambda: "\n".join([caplog.text, *capfd.readouterr()]))


# The rules


def python(block: Block, place: Place, ends: str = "success") -> None:
    """Run the DAGs that a block makes, or the tasks that it makes without a DAG; without either, its lines."""
    path = place.folder / f"block_{block.line}.py"
    quick = block.text.replace("SegmentDeliverySensor(", "SegmentDeliverySensor(poke_interval=0.1, ")
    path.write_text(_for_both(quick).replace("/data/", f"{place.folder}/"))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    vars(module).update(NAMES)
    with runs.new_dag() as around:
        spec.loader.exec_module(module)
    made = [value for value in vars(module).values() if isinstance(value, DAG)]
    assert len(made) == block.text.count("with DAG("), f"{block}: a DAG without `as` a name is not found"
    made += [around] if around.tasks else []
    for dag in made:
        assert runs.run(dag).state == ends, place.said()[-5000:]
    looks = block.text.count("validate_only")  # each task only looks, or one of two
    sends_nothing = "min_rows" in block.text or 0 < looks >= block.text.count("Operator(task_id")
    api = place.segment.public_api
    is_sent = bool(place.segment.messages or api.regulations.made or api.reverse_etl.started)
    assert is_sent != sends_nothing or not made, f"{block} sends nothing, or should"
    assert not place.segment.dropped


def failing_python(block: Block, place: Place) -> None:
    """Python whose tasks fail, as its page says."""
    python(block, place, "failed")


def message(block: Block, place: Place) -> None:
    """JSON after Python is one of the messages that its DAG sends, but for ids and times; or it is a connection."""
    expected = json.loads(block.text)
    if "conn_type" in expected:
        _can_be_read(block.text)
        return
    _run_before(block, place)
    left_out = {"messageId", "context", "sentAt", "timestamp"} - set(expected)
    sent = [{name: m[name] for name in m if name not in left_out} for m in place.segment.messages]
    like = re.escape(json.dumps(expected, sort_keys=True)).replace(re.escape("..."), ".*")  # a run's id, for one
    assert [each for each in sent if re.fullmatch(like, json.dumps(each, sort_keys=True))], sent[:3]


def log(block: Block, place: Place) -> None:
    """Each line of a log is said by the block of Python before it, but for the numbers; `...` is the rest of a line."""
    _run_before(block, place)
    said = place.said()
    for line in block.text.splitlines():
        assert re.search(_pattern(line), said), f"{line}\n---\n{said[-5000:]}"


def preview(block: Block, place: Place) -> None:
    """A message, but for its id, is in the file that the block of Python before it writes."""
    _run_before(block, place)
    lines = [json.loads(line) for path in place.folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert json.loads(block.text) in [{name: line[name] for name in line if name != "messageId"} for line in lines]


def rejects(block: Block, place: Place) -> None:
    """Each line is in the file of refused calls that the block of Python before it writes, which fails."""
    _run_before(block, place)
    lines = [json.loads(line) for path in place.folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert [json.loads(line) for line in block.text.splitlines()] == lines


def python_after(block: Block, place: Place) -> None:
    """Python that needs what the first block of its page leaves behind."""
    python(next(first for first in HERE if (first.page, first.kind) == (block.page, "python")), place)
    python(block, place)


def other(block: Block, place: Place) -> None:
    """Python of another package, which is not installed here, can at least be read by Python."""
    assert "airflow_provider_segment" not in block.text
    compile(block.text, str(block), "exec")


def part_of_an_example(block: Block, place: Place) -> None:
    """Lines of an example DAG, whose own tests run it."""
    assert any(block.text in path.read_text() for path in (ROOT / "example_dags").glob("*.py"))


def drawing(block: Block, place: Place) -> None:
    """A drawing has nothing to run; it fits the page."""
    assert max(len(line) for line in block.text.splitlines()) <= 100


def part_of_a_project(block: Block, place: Place) -> None:
    """A block with the name of a file is run by `test_the_files_of_a_page_are_a_project_whose_tests_pass`."""
    assert block.page in PROJECTS
    assert Path(block.title).suffix == ".py"


def configuration(block: Block, place: Place) -> None:
    """Each setting is one that the provider tells Airflow of."""
    found = configparser.ConfigParser()
    found.read_string(block.text)
    known = get_provider_info()["config"]
    assert found.sections()
    for section in found.sections():
        assert set(found[section]) <= set(known[section]["options"])


def console(block: Block, place: Place) -> None:
    """Each command is checked by the rule for its first words; what stands below it is what it prints."""
    for dag in HERE:  # the page's DAGs, for the commands that run them
        if dag.page == block.page and dag.kind == "python" and "with DAG(" in dag.text:
            (place.folder / "dags").mkdir(exist_ok=True)
            (place.folder / "dags" / f"block_{dag.line}.py").write_text(_for_both(dag.text))
    commands = re.split(r"^\$ ", block.text.replace("\\\n", ""), flags=re.MULTILINE)[1:]
    assert commands, f"{block}: a command begins with $"
    for command, _, output in (text.partition("\n") for text in commands):
        rules = [rule for start, rule in COMMANDS.items() if re.match(start, command)]
        assert len(rules) == 1, f"{block}: no rule, or more than one, for {command!r}"
        printed = rules[0](command, place)
        for line in output.splitlines():
            assert re.search(_pattern(line), printed), f"{line}\n---\n{printed}"


# The rules for commands, which return what the command prints


def clone(command: str, place: Place) -> str:
    """The checkout has the project's name."""
    assert command == f"git clone <this repository> && cd {_project()['name']}"
    return ""


def install(command: str, place: Place) -> str:
    """What is installed is this project."""
    assert command.removeprefix("pip install ") == _project()["name"]
    return ""


def make(command: str, place: Place) -> str:
    """The target exists, and make knows what to do for it."""
    return place.command(f"{command} --dry-run --directory {shlex.quote(str(ROOT))}") and ""


def export(command: str, place: Place) -> str:
    """The variable is a connection that the hook can use."""
    _can_be_read(place.command(f'{command}; printf %s "$AIRFLOW_CONN_SEGMENT_DEFAULT"'))
    return ""


def airflow(command: str, place: Place) -> str:
    """Airflow's own command line takes it, with a database that no other test sees."""
    place.home.mkdir(exist_ok=True)
    # By SQLite itself: closing the file here in another way would drop the locks that Airflow's own connections hold.
    ours, copy = (sqlite3.connect(home / "airflow.db") for home in (Path(os.environ["AIRFLOW_HOME"]), place.home))
    with closing(ours), closing(copy):
        ours.backup(copy)
    return place.command(f"python -m {command}")


def local_segment(command: str, place: Place) -> str:
    """The local Segment starts, says how to reach it, and ends when it is told to."""
    words = [sys.executable, *shlex.split(command.replace("8765", "0"))[1:]]  # a port that is free here
    with subprocess.Popen(words, cwd=place.folder, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        first = process.stdout.readline() + process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        return first + process.stdout.read()


def own_tests(command: str, place: Place) -> str:
    """The folder is one of a page's project, whose tests are run below."""
    assert any(block.title.startswith(f"{command.split()[-1]}/") for block in HERE if block.title)
    return ""


RULES: dict[str, Callable[[Block, Place], None]] = {
    "python": python,
    "python title": part_of_a_project,
    "python fails": failing_python,
    "python after": python_after,
    "python other": other,
    "python example": part_of_an_example,
    "json": message,
    "json preview": preview,
    "json rejects": rejects,
    "ini": configuration,
    "text log": log,
    "text drawing": drawing,
    "console": console,
}
COMMANDS: dict[str, Callable[[str, Place], str]] = {
    r"git clone ": clone,
    r"pip install ": install,
    r"make [a-z-]+( [A-Z]+=\S+)*$": make,
    r"export AIRFLOW_CONN_": export,
    r"airflow (connections|pools|db|dags) ": airflow,
    r"python -m airflow_provider_segment\.testing": local_segment,
    r"python -m airflow_provider_segment [a-z]+ ": lambda command, place: thirty_runs.run(command, place.folder),
    r"python -m pytest ": own_tests,
}


def _for_both(source: str) -> str:
    """Return Python for both lines of Airflow: the pages say what the name is on 2, here the one for both is used."""
    return source.replace("from airflow.sdk import", "from airflow.providers.common.compat.sdk import")


def _run_before(block: Block, place: Place) -> None:
    """Run the block of Python that a block speaks of: the one that comes before it on its page."""
    before = [each for each in HERE if each.page == block.page and each.line < block.line]
    python_before = [each for each in before if each.kind in ("python", "python fails")][-1]
    RULES[python_before.kind](python_before, place)


def _pattern(line: str) -> str:
    """Return a pattern for a line in which numbers are any, and `...` is the rest."""
    here = line.replace("https://api.segment.io", "http://127.0.0.1:0")  # Segment is played on a port of this machine
    words = re.split(r"(\.\.\.|\d[\d,.:]*)", here.rstrip())
    return "".join(".*" if word == "..." else r"[\d,.:]+" if word[:1].isdigit() else re.escape(word) for word in words)


def _can_be_read(connection: str) -> None:
    """Read a connection as the hook does, which raises if it cannot."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", connection.replace("<write key>", KEY))
        assert SegmentHook().settings.endpoint


def _project() -> dict[str, Any]:
    """Return what pyproject.toml says of this project."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


# The tests


@pytest.mark.parametrize("block", HERE, ids=str)
def test_every_block_keeps_its_rule(block: Block, place: Place) -> None:
    """A block of the documentation does what the page says."""
    assert block.kind in RULES, f"{block}: no rule for a block of the kind {block.kind!r}"
    RULES[block.kind](block, place)


def test_every_rule_has_a_block() -> None:
    """No rule is left over from a page that was rewritten."""
    assert set(RULES) == {block.kind for block in HERE}


@pytest.mark.timeout(600)  # it makes an Airflow of its own
@pytest.mark.parametrize("page", PROJECTS)
def test_the_files_of_a_page_are_a_project_whose_tests_pass(page: str, tmp_path: Path) -> None:
    """Whoever copies the files of a page into an empty folder has tests that pass, and that are some."""
    for block in HERE:
        if block.page == page and block.title:
            path = tmp_path / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                block.text.replace("from airflow.sdk import", "from airflow.providers.common.compat.sdk import")
            )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    functions = sum(block.text.count("def test_") for block in HERE if block.page == page and block.title)
    assert f"{functions} passed" in done.stdout
