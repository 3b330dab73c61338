"""The package file by file, for docs/contributing.md: the first line of each docstring; `make tree` writes it there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "contributing.md"
PLACE = re.compile(r"(?<=\n## The package, file by file\n\n).*?(?=\n\n## )", re.DOTALL)


def tree() -> str:
    """Return the package's files as a list in Markdown: those of a folder before the folders in it."""
    return "\n".join(_lines(ROOT / "airflow_provider_segment", 0))


def _lines(folder: Path, depth: int) -> list[str]:
    files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    lines = [_line(f"{folder.name}/", folder / "__init__.py", depth)]
    lines += [_line(path.name, path, depth + 1) for path in files]
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        lines += _lines(inner, depth + 1)
    return lines


def _line(name: str, path: Path, depth: int) -> str:
    said = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
    # mkdocs takes no fewer than four spaces for a list in a list.
    return f"{'    ' * depth}- `{name}`: {said}"


if __name__ == "__main__":
    PAGE.write_text(PLACE.sub(lambda _: tree(), PAGE.read_text()))
