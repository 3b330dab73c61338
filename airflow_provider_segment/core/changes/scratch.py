"""A SQLite database in a temporary file of its own, which is closed, and gone, with its owner."""

from __future__ import annotations

import sqlite3
import weakref


def scratch_of(owner: object) -> sqlite3.Connection:
    """Return a new database, without transactions of the driver's own.

    :param owner: with it the database goes, in whichever thread collects the garbage.
    """
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    weakref.finalize(owner, database.close)
    return database
