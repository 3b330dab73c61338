"""What the site of `make docs` needs beside the pages: links to files of the repository become their words."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./[^)\s]+\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page whose links stay inside docs/, for mkdocs.

    :param markdown: of the page.
    """
    return _OUTSIDE.sub(r"\1", markdown)
