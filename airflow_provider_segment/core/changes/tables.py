"""The tables of all states in one database, made where they are not there; older ones get the columns that are new.

``segment_sync``: one row a sync, with the generation that its message ids carry and the lease of the run that may
write. ``segment_call``: one row a call, by its identity. ``segment_state``: one row a call and key, in 64-bit integers:
the key (itself where it is an integer, else a hash), hashes of key and content, and how many calls were accepted.
``segment_sample``: for each call, the fields of some keys in four bits each (samples.py). ``segment_run``: one row a
run, which is a try of a task, with its counts. ``segment_refusal``: one row a call and key that was refused when a run
looked at it last, with the reason. ``segment_known``: how many keys of a call were known when a run began that did not
end whole. ``segment_doubt``: one row a batch that is on its way, the entries that it may change as JSON; the next run
takes those of a killed one into ``segment_state``. ``segment_filter``: one row a sync, which filter the last run has
left (prefilter/). ``segment_arrival``: one row a page of rows, the hashes of these as they arrived in that run and the
numbers of their keys. ``segment_part``: one row a task that sends a part of a run, as long as the run lasts: the
numbers of its rows that are not settled, of its keys that have different rows, and what its tries counted.
``segment_day``: with keep_days, the day of each key's row by the cursor. There is no personal data in them but the ids
of calls made on "deleted", without which nothing could be sent, and a cursor's mark.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from airflow_provider_segment.core.errors import StateError

LAYOUT = 1
# Contents that no message has: forgotten by a reset, and gone from the source.
FORGOTTEN, GONE = 0, 1
# The source of a sync that has runs with sync_mode="all" only, and so no state.
NO_KEY = ""

T = TypeVar("T")

ID_CHARACTERS = 255
_NAME = sa.String(ID_CHARACTERS).with_variant(
    mysql.VARCHAR(ID_CHARACTERS, charset="utf8mb4", collation="utf8mb4_bin"), "mysql"
)


class Tables:
    """The tables.

    :param schema: of the database; None takes its default.
    """

    def __init__(self, schema: str | None = None) -> None:
        self.meta = sa.MetaData(schema=schema)
        self.sync = sa.Table(
            "segment_sync",
            self.meta,
            sa.Column("sync_no", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("sync_id", _NAME, nullable=False, unique=True),
            sa.Column("layout", sa.Integer, nullable=False),
            sa.Column("generation", sa.String(32), nullable=False),
            sa.Column("write_key", sa.String(32), nullable=False),
            sa.Column("run", sa.Integer, nullable=False),
            sa.Column("holder", sa.String(32)),
            sa.Column("token", sa.String(32)),
            sa.Column("expires", sa.BigInteger, nullable=False),
            sa.Column("clean", sa.Integer, nullable=False),
            sa.Column("first_id", _NAME),  # of a sync that was renamed: the sync_id that its message ids carry
        )
        self.call = sa.Table(
            "segment_call",
            self.meta,
            sa.Column("call_no", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("sync_no", sa.Integer, nullable=False),
            sa.Column("identity", _NAME, nullable=False),
            sa.Column("seen", sa.Integer, nullable=False),
            sa.UniqueConstraint("sync_no", "identity"),
        )
        self.state = sa.Table(
            "segment_state",
            self.meta,
            sa.Column("call_no", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("row_key", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("content", sa.BigInteger, nullable=False),
            sa.Column("sent", sa.Integer, nullable=False),
            sa.Column("run", sa.Integer, nullable=False),
            sa.Column("doubt", sa.Integer, nullable=False),
            sa.Column("ids", sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql")),
            sa.Column("meaning", sa.BigInteger),
            sqlite_with_rowid=False,
        )
        self.sample = sa.Table(
            "segment_sample",
            self.meta,
            sa.Column("call_no", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("fields", sa.Text().with_variant(mysql.LONGTEXT, "mysql"), nullable=False),
        )
        self.run = sa.Table(
            "segment_run",
            self.meta,
            sa.Column("sync_no", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("dag_id", _NAME, nullable=False),  # this and the next two are empty outside of a task
            sa.Column("task_id", _NAME, nullable=False),
            sa.Column("run_id", _NAME, nullable=False),
            sa.Column("map_index", sa.Integer, nullable=False),
            sa.Column("try_number", sa.Integer, nullable=False),
            sa.Column("mode", sa.String(20), nullable=False),  # changes, all or reset
            sa.Column("deletes", sa.Integer, nullable=False),  # whether it looked for keys that are gone
            sa.Column("started", sa.BigInteger, nullable=False),  # seconds since 1970, by the database's clock
            sa.Column("ended", sa.BigInteger),  # of a killed run: its last sign of life
            sa.Column("state", sa.String(10), nullable=False),  # running, success, failed or killed
            sa.Column("plan", sa.Text().with_variant(mysql.LONGTEXT, "mysql")),  # as long as several tasks send it
            sa.Column("report", sa.Text().with_variant(mysql.LONGTEXT, "mysql")),  # its counts as JSON, as far as known
            sa.Column("error", sa.Text().with_variant(mysql.LONGTEXT, "mysql")),
        )
        self.refusal = sa.Table(
            "segment_refusal",
            self.meta,
            sa.Column("call_no", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("row_key", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("run", sa.Integer, nullable=False),
            sa.Column("stage", sa.String(10), nullable=False),  # mapping or delivery
            sa.Column("field", _NAME, nullable=False),
            sa.Column("code", _NAME, nullable=False),
            sa.Column("reason", sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql"), nullable=False),
        )
        self.known = sa.Table(
            "segment_known",
            self.meta,
            sa.Column("call_no", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("known", sa.BigInteger, nullable=False),
        )

        blob = sa.LargeBinary().with_variant(mysql.LONGBLOB, "mysql")
        self.filter = sa.Table(
            "segment_filter",
            self.meta,
            sa.Column("sync_no", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("maker", _NAME, nullable=False),
            sa.Column("run", sa.Integer, nullable=False),
            sa.Column("mark", sa.String(32), nullable=False),
            sa.Column("fingerprint", sa.String(32), nullable=False),
            sa.Column("is_whole", sa.Integer, nullable=False),
            sa.Column("watched", blob, nullable=False),
            sa.Column("unmade", sa.Text().with_variant(mysql.LONGTEXT, "mysql"), nullable=False),
            sa.Column("sample", sa.Text().with_variant(mysql.LONGTEXT, "mysql")),
            sa.Column("mapping", sa.Text().with_variant(mysql.LONGTEXT, "mysql")),
            sa.Column("cursor_mark", sa.Text().with_variant(mysql.LONGTEXT, "mysql")),
        )
        self.doubt = sa.Table(
            "segment_doubt",
            self.meta,
            sa.Column("sync_no", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("writer", sa.String(32), primary_key=True),  # a random text of the task that posts the batch
            sa.Column("batch_no", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("run", sa.Integer, nullable=False),
            sa.Column("part", sa.Integer, nullable=False),
            sa.Column("entries", blob, nullable=False),
        )
        self.part = sa.Table(
            "segment_part",
            self.meta,
            sa.Column("sync_no", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("unsettled", blob),  # null until the part has ended, and so are the others
            sa.Column("contested", blob),
            sa.Column("unmade", sa.Text().with_variant(mysql.LONGTEXT, "mysql")),
            sa.Column("tries", sa.Text().with_variant(mysql.LONGTEXT, "mysql")),  # what each of them counted, as JSON
        )
        self.day = sa.Table(
            "segment_day",
            self.meta,
            sa.Column("sync_no", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("row_key", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("day", sa.Integer, nullable=False),
            sa.Index("segment_day_by_day", "sync_no", "day"),
        )
        self.arrival = sa.Table(
            "segment_arrival",
            self.meta,
            sa.Column("sync_no", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("page_no", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("least", sa.BigInteger, nullable=False),
            sa.Column("hashes", blob, nullable=False),
            sa.Column("row_keys", blob, nullable=False),
        )

    def make(self, connection: sa.engine.Connection) -> None:
        """Make tables and columns that are missing; new columns can be null: older versions write rows without them.

        :param connection: to the database.
        """
        self.meta.create_all(connection)
        for table in self.meta.sorted_tables:
            there = columns_of(connection, table)
            for column in table.columns:
                if column.name not in there:
                    words = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
                    name = connection.dialect.identifier_preparer.format_table(table)
                    connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {words}")


def made_by_one(make: Callable[[], T]) -> T:
    """Make what is missing; of runs that do that at once those that fail find more of it made with each try.

    :param make: makes it, in a transaction.
    """
    for _ in range(4):
        with suppress(StateError):
            return make()
    return make()


def columns_of(connection: sa.engine.Connection, table: sa.Table) -> set[str]:
    """Return the names of the columns that a table has in the database; none where it is not there.

    :param connection: to the database.
    :param table: as it should be.
    """
    inspector = sa.inspect(connection)
    if not inspector.has_table(table.name, schema=table.schema):
        return set()
    return {column["name"] for column in inspector.get_columns(table.name, schema=table.schema)}
