"""Makes the environment of each peer from the package index: `.venv-peer-NAME` beside the Makefile."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The SDKs' environments have the PostgreSQL driver, since their scripts fetch the rows themselves.
DRIVER = "psycopg2-binary>=2.9"
PACKAGES = {
    "drt": ("drt-core[postgres]==1.2.1",),
    "dlt": ("dlt[parquet,sql-database]==1.31.0", DRIVER),
    "segment": ("segment-analytics-python==2.4.0", DRIVER),
    "rudder": ("rudder-sdk-python==2.1.9", DRIVER),
}


def python_of(peer: str) -> Path:
    """Return the Python of a peer's environment, which is made when it is not there or was made for other packages.

    :param peer: a key of PACKAGES.
    """
    home, packages = ROOT / f".venv-peer-{peer}", PACKAGES[peer]
    python, made_for, wanted = home / "bin" / "python", home / "made-for", "\n".join(packages)
    if not made_for.exists() or made_for.read_text() != wanted:
        venv.create(home, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(command, check=True)  # noqa: S603 - our own
        made_for.write_text(wanted)
    return python
