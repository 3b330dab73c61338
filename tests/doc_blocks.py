"""The code blocks of README.md and docs/, as the tests that run them want them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One code block.

    :param page: its page, seen from the root.
    :param line: where it begins.
    :param kind: its language with what stands beside it, such as "python" or "text log"; a title is no part of it.
    :param title: the name of the file that it is.
    :param text: its lines.
    """

    page: str
    line: int
    kind: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page, in their order."""
    source, name, found = page.read_text(), str(page.relative_to(ROOT)), []
    for fence in FENCE.finditer(source):
        info, _, title = fence["info"].strip().partition("title=")
        line = source[: fence.start()].count("\n") + 1
        kind = f"{info.strip()} title" if title else info.strip()
        found.append(Block(name, line, kind, title, textwrap.dedent(fence["text"])))
    assert 2 * len(found) == source.count("```") + source.count("~~~"), f"{name} has a fence that cannot be read"
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
