"""What the documentation says of the project's own files is true."""

from __future__ import annotations

import re
import runpy

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
        *(ROOT / name for name in ("CHANGELOG.md", "SECURITY.md", "Makefile", "mkdocs.yml", "pyproject.toml")),
        *ROOT.glob("benchmarks/*.md"),
        *(path for part in (PACKAGE, "tests", "benchmarks", "demo", "docs") for path in ROOT.glob(f"{part}/**/*.py")),
    }
)


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
