"""The rows of one run as several tasks have them: laid out once in the warehouse, read in parts, dropped at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, NamedTuple

from airflow_provider_segment.core.changes.shared_run import BUCKETS
from airflow_provider_segment.core.errors import ColumnError, SegmentError, SettingError
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.core.rows.warehouse import LaidOut
from airflow_provider_segment.hooks import sigterm
from airflow_provider_segment.transfers.query import open_query
from airflow_provider_segment.transfers.warehouse_dialects import Column
from airflow_provider_segment.transfers.warehouse_filter import WarehouseTables
from airflow_provider_segment.transfers.warehouse_statements import BUCKET, PREFIX, in_buckets

# Rows that were laid out for a run of sync_mode="all" which nobody ended: no run lasts as long.
KEPT_SECONDS = 7 * 86_400


class Shard(NamedTuple):
    """The rows that one task sends.

    :param first_bucket: where they lie ...
    :param last_bucket: ... up to this bucket.
    :param rows: their number.
    """

    first_bucket: int
    last_bucket: int
    rows: int


class PlanTables(WarehouseTables):
    """The tables, for the task that plans: what it has laid out stays for the others, where it went well."""

    buckets = BUCKETS
    _is_kept = False
    laid_out: LaidOut

    def lay_out(
        self, mapped: Sequence[str], key: Sequence[str], owner: str, run: int, mark: str | None, *, is_dry: bool
    ) -> LaidOut:
        """Lay out the rows that may have changed; see Warehouse."""
        self.laid_out = super().lay_out(mapped, key, owner, run, mark, is_dry=is_dry)
        return self.laid_out

    def shards(self, most: int, rows_per_shard: int) -> list[Shard]:
        """Return parts of the rows of about equal size.

        :param most: of them.
        :param rows_per_shard: fewer parts where these are as many rows.
        """
        return in_shards(self._histogram(self._due().due), most, rows_per_shard)

    def _histogram(self, due: str) -> list[tuple[int, int]]:
        counts = f"SELECT {BUCKET}, COUNT(*) FROM {due} WHERE {PREFIX}n > 0 GROUP BY {BUCKET} ORDER BY {BUCKET}"
        return [(int(bucket), int(rows)) for bucket, rows in self._run(counts)]

    def keep(self) -> None:
        """Let what was laid out stay."""
        self._is_kept = True

    def leave_due(self, due: str) -> None:
        """Drop the rows, unless they are kept."""
        if not self._is_kept:
            super().leave_due(due)

    def lay_out_all(self, owner: str, together: str | None, key: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
        """Lay out all rows of the query for a run of ``sync_mode="all"``, once for all tries of the run.

        They are in the query's order as far as the database keeps that of a query within another: MariaDB does not.

        :param owner: names the group and its DAG run: another group may have the same sync id.
        :param together: a column whose equal values lie in one bucket.
        :param key: the columns that identify a row; without any, equal rows lie in one bucket.
        :return: what names them for the other tasks, and the number of rows by bucket.
        """
        with sigterm.waits():
            self.own_all()
            self._prepare()
            ending = blake2b(owner.encode(), digest_size=4).hexdigest()
            name = self._laid_out_before(ending)
            if name is None:
                name = f"all_{int(time.time())}_{ending}"
                self._stack.callback(self._forget_unless_kept, name)
                self._run(self._all_rows(self.due_table(name), together, key), 1)
                table = self._table("segment_filter")
                self._run(f"INSERT INTO {table} (sync, mark) VALUES ('{self._names}_{name}', 'laid out')")
            return name, self._histogram(self.due_table(name))

    def _forget_unless_kept(self, name: str) -> None:
        if not self._is_kept:
            self.forget(name)

    def check_laid_out(self, owner: str, run: int) -> None:
        """Check that the rows which an earlier try has laid out are there.

        :param owner: as for lay_out().
        :param run: the number of the run.
        :raises SettingError: if somebody has dropped them.
        """
        self._own(owner)
        try:
            self._histogram(self.due_table(run))
        except SegmentError:
            raise SettingError(
                f"The rows that were laid out for run {run} of this sync are gone from the warehouse. Let it go with "
                "SegmentHook.release, and clear the whole task group: its plan is made anew then"
            ) from None

    def rows(self, name: object, shard: Shard) -> Pages:
        """Return some of the rows, with the numbers that they have in the run.

        :param name: of the run.
        :param shard: which of them.
        """
        numbers: list[int] = []

        def pages() -> Iterator[Sequence[Sequence[Any]]]:
            names = ", ".join(self._dialect.quoted(column) for column in self.columns)
            read = (
                f"SELECT {names}, {PREFIX}n FROM {self.due_table(name)} WHERE {BUCKET} BETWEEN {shard.first_bucket} "
                f"AND {shard.last_bucket} AND {PREFIX}n > 0 ORDER BY {PREFIX}n"
            )
            with open_query(self._conn_id, read, lineage_sql=self._sql, **self._reading) as found:
                for page in found.pages:
                    numbers[:] = [int(row[-1]) for row in page]
                    yield [row[:-1] for row in page]

        return Pages(self.columns, pages(), self.source, shard.rows, numbers=lambda: numbers)

    def own_all(self) -> None:
        """Name the tables of ``sync_mode="all"``."""
        self._own("all")

    def _laid_out_before(self, ending: str) -> str | None:
        """Return what an earlier try has laid out whole; drop what it has not, and what is old."""
        prefix, found = f"segment_due_{self._names}_", None
        words = {"schema": self._schema, "prefix": f"{prefix}all_", "any": "%"}
        for (table,) in self._run(self._dialect.scratch.format(**words)):
            name = table.removeprefix(prefix)
            if not table.startswith(f"{prefix}all_"):
                continue  # an underscore stands for any sign in LIKE
            _, made, of_run = name.split("_")
            if of_run == ending and self._is_whole(name):
                found = name
            elif of_run == ending or int(made) < time.time() - KEPT_SECONDS:
                self.forget(name)
        return found

    def _is_whole(self, name: str) -> bool:
        table = self._table("segment_filter")
        return bool(self._run(f"SELECT mark FROM {table} WHERE sync = '{self._names}_{name}'"))

    def _all_rows(self, due: str, together: str | None, key: Sequence[str]) -> str:
        inner = f"SELECT u.*, ROW_NUMBER() OVER ({self._dialect.unordered}) AS {PREFIX}n FROM (\n{self._sql}\n) u"
        bucket = in_buckets(self._dialect, self._together(together, key), BUCKETS)
        return f"{self._dialect.create} {due}{self._dialect.expiring} AS SELECT t.*, {bucket} FROM ({inner}) t"

    def _together(self, column: str | None, key: Sequence[str]) -> list[str]:
        """Return what must be equal for rows to lie in one bucket."""
        apart = [f"t.{self._dialect.quoted(self._named(name))}" for name in key] or self._contents()
        if column is None:
            return apart
        first = f"t.{self._dialect.quoted(self._named(column))}"
        return [first, *(f"CASE WHEN {first} IS NULL THEN {one} END" for one in apart)]

    def _contents(self) -> list[str]:
        """Return what tells two rows apart."""
        query = f"SELECT * FROM (\n{self._sql}\n) u WHERE 1 = 0"
        table = self.due_table(f"types_{time.time_ns() % 10**9}")
        described = self._described_columns
        types = self._dialect.types(lambda sql: self._run(sql, sql.count(query)), query, described, table)
        columns = [Column(name, str(types.get(name, ""))) for name in self.columns]
        return self._dialect.contents([(f"t.{self._dialect.quoted(one.name)}", one.type) for one in columns])

    def _named(self, name: str) -> str:
        """Return a column's name as the database has it."""
        columns: list[str] = self.columns
        alike = [one for one in columns if one.lower() == name.lower()]
        if not alike:
            raise ColumnError(f"The query returns no column {name!r}; it returns {', '.join(columns)}")
        return name if name in alike else alike[0]

    def due_table(self, name: object) -> str:
        """Return the table of the rows of a run.

        :param name: of the run.
        """
        return self._table(f"segment_due_{self._names}_{name}")

    def forget(self, name: object) -> None:
        """Drop the rows of a run.

        :param name: of the run.
        """
        table = self._table("segment_filter")
        with suppress(SegmentError):
            self._run(f"DELETE FROM {table} WHERE sync = '{self._names}_{name}'")
        self._drop(self.due_table(name))


class SharedTables(PlanTables):
    """The tables, for a task that sends a part of the rows, or ends the run.

    :param plan: of the run.
    :param shard: the rows; None for the task that ends the run.
    :param of_tables: as for WarehouseTables.
    """

    is_planned = True

    def __init__(self, plan: dict[str, Any], shard: Shard | None, *of_tables: Any) -> None:
        super().__init__(*of_tables)
        self._plan, self._shard = plan, shard
        self.skipped_elsewhere = 0 if shard is None else plan.get("skipped", 0)
        self.keep()

    def lay_out(
        self, mapped: Sequence[str], key: Sequence[str], owner: str, run: int, mark: str | None, *, is_dry: bool
    ) -> LaidOut:
        """Return this task's part of the rows; see Warehouse."""
        self._own(owner)
        if self._shard is not None:
            return LaidOut(self.rows(run, self._shard), 0, 0, is_full=False)
        self._statements = self._made_for(mapped, key, run, is_dry=is_dry)
        self._is_full = self._plan["is_full"]
        none = Pages(self.columns, (), self.source, 0)
        return LaidOut(none, self._plan["skipped"], self._plan["gone"], self._is_full)


def whole(histogram: Sequence[tuple[int, int]]) -> Shard:
    """Return all rows as one part.

    :param histogram: as for in_shards().
    """
    return Shard(0, BUCKETS, sum(number for _, number in histogram))


def in_shards(histogram: Sequence[tuple[int, int]], most: int, rows_per_shard: int) -> list[Shard]:
    """Return buckets, in their order, in parts of about equal size.

    :param histogram: buckets that have rows, in order, each with the number of its rows.
    :param most: parts at most.
    :param rows_per_shard: fewer parts where these are as many rows.
    """
    rows = sum(number for _, number in histogram)
    parts = min(most, -(-rows // rows_per_shard))
    shards: list[Shard] = []
    first, held, sent = None, 0, 0
    for place, (bucket, number) in enumerate(histogram):
        first = bucket if first is None else first
        held += number
        is_last = place == len(histogram) - 1
        if is_last or held * (parts - len(shards)) >= rows - sent:
            shards.append(Shard(first, bucket, held))
            first, sent, held = None, sent + held, 0
    return shards
