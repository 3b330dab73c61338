"""The pages of the documentation hang together: what they link to is there, and none is out of reach."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_blocks import PAGES, ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")


def links(page: Path) -> list[tuple[str, str]]:
    """Return the page's links to files of ours, each with its anchor."""
    found = (link.partition("#")[::2] for link in LINK.findall(page.read_text()))
    return [(path, anchor) for path, anchor in found if not path.startswith(("http://", "https://"))]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A link to a file, or to a heading of one, finds it."""
    for path, anchor in links(page):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_every_page_can_be_reached() -> None:
    """Whoever starts at the README finds every page and every picture."""
    seen, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in seen:
            seen.add(page)
            if page.suffix == ".md":
                ahead += [(page.parent / path).resolve() for path, _ in links(page) if path]
    pictures = [path for path in (ROOT / "docs" / "images").glob("*") if path.is_file()]
    assert {path for path in (*PAGES, *pictures) if path not in seen} == set()
