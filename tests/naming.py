"""Names of parametrized tests that are the same in each process, as tests in parallel need them."""

from __future__ import annotations

import re
from typing import Any


def shown(value: Any) -> str:
    """Return a value's repr without the address that some have."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
