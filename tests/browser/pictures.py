"""Screenshots for the docs, taken by the tests when the environment's SCREENSHOTS names a directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from selenium.webdriver import Chrome
from waiting import wait_for

Screenshot: TypeAlias = Callable[[str], None]
STILL = 10  # equal pictures in a row, for fonts, folds and highlighted code come late


def save(browser: Chrome, name: str) -> None:
    """Save what the browser shows, once it stands still."""
    folder = os.environ.get("SCREENSHOTS")
    if not folder:
        return
    seen: list[bytes] = []

    def stands_still() -> bool:
        seen.append(browser.get_screenshot_as_png())
        return len(seen) >= STILL and len(set(seen[-STILL:])) == 1

    wait_for("page that stands still", stands_still)
    Path(folder, f"{name}.png").write_bytes(seen[-1])
