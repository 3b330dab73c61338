"""The statements of the filter in the warehouse: which rows are due, and what is remembered of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_provider_segment.transfers.warehouse_dialects import Column, WarehouseDialect

# Columns of ours; the names of the query's columns may not begin so.
PREFIX = "segment_"
BUCKET = f"{PREFIX}bucket"


@dataclass(frozen=True)
class Statements:
    """The statements of one run.

    :param dialect: of the database.
    :param query: of the user.
    :param columns: that it returns.
    :param key: the columns that identify a row.
    :param mapped: the columns that tell two rows apart.
    :param seen: the table of what was settled.
    :param due: the table of the rows of this run that may have changed.
    :param buckets: where several tasks send the rows, in how many buckets these lie; those of one key lie in one.
    """

    dialect: WarehouseDialect
    query: str
    columns: Sequence[Column]
    key: Sequence[Column]
    mapped: Sequence[Column]
    seen: str
    due: str
    buckets: int = 0

    @property
    def _keys(self) -> list[str]:
        return [f"{PREFIX}k{n}" for n in range(len(self.key))]

    @property
    def _contents(self) -> list[str]:
        return [f"{PREFIX}c{n}" for n in range(len(self._expressions))]

    @property
    def _expressions(self) -> list[str]:
        return self.dialect.contents([(self._own(column), column.type) for column in self.mapped])

    def _own(self, column: Column) -> str:
        return f"u.{self.dialect.quoted(column.name)}"

    @property
    def _names(self) -> str:
        return ", ".join(self.dialect.quoted(column.name) for column in self.columns)

    @property
    def _rows(self) -> str:
        """The rows of the user's query, with what joins them and what tells them apart."""
        keys = (self.dialect.key(self._own(column), column.type) for column in self.key)
        named = [*zip(keys, self._keys, strict=True), *zip(self._expressions, self._contents, strict=True)]
        ours = ", ".join(f"{expression} AS {name}" for expression, name in named)
        return f"(SELECT 1 AS {PREFIX}here, {ours}, u.* FROM (\n{self.query}\n) u)"

    def _joined(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{name} = {right}.{name}" for name in self._keys)

    @property
    def _differs(self) -> str:
        parts = (self.dialect.differs(f"q.{name}", f"s.{name}") for name in self._contents)
        return " OR ".join([f"s.{PREFIX}ok = 0", *parts])

    def _listed(self, table: str) -> str:
        return ", ".join(f"{table}.{name}" for name in (*self._keys, *self._contents))

    def all_due(self) -> str:
        """Return what lays out all rows of the query."""
        return self._numbered(
            f"SELECT 'new' AS {PREFIX}op, {self._listed('q')}, {self._theirs('q')} FROM {self._rows} q"
        )

    def changed(self) -> str:
        """Return what lays out the rows that are new or differ from what was settled, and the keys that are gone."""
        new = f"s.{PREFIX}ok IS NULL"
        if not self.dialect.has_full_join:
            op = f"CASE WHEN {new} THEN 'new' ELSE 'changed' END"
            return self._numbered(
                f"SELECT {op} AS {PREFIX}op, {self._listed('q')}, {self._theirs('q')} FROM {self._rows} q "
                f"LEFT JOIN {self.seen} s ON {self._joined('s', 'q')} WHERE {new} OR {self._differs}"
            )
        gone = f"q.{PREFIX}here IS NULL"
        op = f"CASE WHEN {gone} THEN 'gone' WHEN {new} THEN 'new' ELSE 'changed' END"
        keys = ", ".join(f"COALESCE(q.{name}, s.{name}) AS {name}" for name in self._keys)
        contents = ", ".join(f"q.{name}" for name in self._contents)
        return self._numbered(
            f"SELECT {op} AS {PREFIX}op, {keys}, {contents}, {self._theirs('q')} FROM {self._rows} q "
            f"FULL OUTER JOIN {self.seen} s ON {self._joined('s', 'q')} WHERE {new} OR {gone} OR {self._differs}"
        )

    def _theirs(self, table: str) -> str:
        return ", ".join(f"{table}.{self.dialect.quoted(column.name)}" for column in self.columns)

    def _numbered(self, rows: str) -> str:
        """Return what makes the table of the rows, with the numbers in which they are read: -1, -2 ... are gone."""
        first = f"CASE WHEN t.{PREFIX}op = 'gone' THEN 1 ELSE 0 END"
        number = f"ROW_NUMBER() OVER (ORDER BY {first}, {self._listed('t')})"
        signed = f"CASE WHEN t.{PREFIX}op = 'gone' THEN -{number} ELSE {number} END"
        bucket = ""
        if self.buckets:
            bucket = f", {in_buckets(self.dialect, [f't.{name}' for name in self._keys], self.buckets)}"
        return (
            f"{self.dialect.create} {self.due}{self.dialect.expiring} AS SELECT t.*, {signed} AS {PREFIX}n, "
            f"1 AS {PREFIX}ok{bucket} FROM ({rows}) t"
        )

    def rest(self, last: int, *, has_changed: bool) -> tuple[str, int] | None:
        """Return what adds the other rows of keys that changed, and the keys that are gone where no join told them.

        :param last: the number of the last row.
        :param has_changed: whether any key has changed.
        :return: the statement, and how often the user's query stands in it; None where nothing is missing.
        """
        parts = []
        names = f"{PREFIX}op, {', '.join((*self._keys, *self._contents))}, {self._names}, {PREFIX}n, {PREFIX}ok"
        names += f", {BUCKET}" if self.buckets else ""
        if has_changed:
            keys = ", ".join([*self._keys, *([BUCKET] if self.buckets else [])])
            changed = f"(SELECT DISTINCT {keys} FROM {self.due} WHERE {PREFIX}op = 'changed')"
            parts.append(
                f"SELECT 'same' AS {PREFIX}op, {self._listed('q')}, {self._theirs('q')}, "
                f"{last} + ROW_NUMBER() OVER (ORDER BY {self._listed('q')}) AS {PREFIX}n, 1 AS {PREFIX}ok"
                f"{f', d.{BUCKET}' if self.buckets else ''} "
                f"FROM {self._rows} q {self.dialect.join} {changed} d ON {self._joined('d', 'q')} "
                f"{self.dialect.join} {self.seen} s ON {self._joined('s', 'q')} WHERE NOT ({self._differs})"
            )
        if not self.dialect.has_full_join:
            nulls = ", ".join(["NULL"] * (len(self._contents) + len(self.columns)))
            keys = ", ".join(self._keys)
            gone = f"(SELECT {keys} FROM {self.seen} EXCEPT SELECT {keys} FROM {self._rows} q)"
            parts.append(
                f"SELECT 'gone' AS {PREFIX}op, {keys}, {nulls}, "
                f"-ROW_NUMBER() OVER (ORDER BY {keys}) AS {PREFIX}n, 1 AS {PREFIX}ok"
                f"{', 0' if self.buckets else ''} FROM {gone} s"
            )
        if not parts:
            return None
        return f"INSERT INTO {self.due} ({names}) {' UNION ALL '.join(parts)}", len(parts)

    def counts(self) -> str:
        """Return what counts the rows by what became of them."""
        return f"SELECT {PREFIX}op, COUNT(*) FROM {self.due} GROUP BY {PREFIX}op"

    def changed_keys(self) -> str:
        """Return what counts the keys that have changed."""
        keys = ", ".join(self._keys)
        return f"SELECT COUNT(*) FROM (SELECT DISTINCT {keys} FROM {self.due} WHERE {PREFIX}op = 'changed') t"

    def seen_keys(self) -> str:
        """Return what counts the keys that were settled or listed."""
        return f"SELECT COUNT(*) FROM {self.seen}"

    def read(self) -> str:
        """Return what reads the rows in the order of their numbers."""
        return f"SELECT {self._names} FROM {self.due} WHERE {PREFIX}n > 0 ORDER BY {PREFIX}n"

    def keys_of_rows(self) -> str:
        """Return what reads the keys of the rows, as the query returned them."""
        names = ", ".join(self.dialect.quoted(column.name) for column in self.key)
        return f"SELECT {names} FROM {self.due} WHERE {PREFIX}n > 0"

    def gone(self) -> str:
        """Return what reads the keys that are gone, each with its number."""
        return f"SELECT {PREFIX}n, {', '.join(self._keys)} FROM {self.due} WHERE {PREFIX}op = 'gone'"

    def unsettle(self, numbers: Sequence[int]) -> str:
        """Return what remembers that rows are not settled.

        :param numbers: of the rows.
        """
        listed = ", ".join(map(str, numbers))
        return f"UPDATE {self.due} SET {PREFIX}ok = 0 WHERE {PREFIX}n IN ({listed})"

    def promote(self, *, is_full: bool) -> list[str]:
        """Return what fills the table of what was settled, from the rows that were sent and no others.

        :param is_full: whether it is made anew.
        """
        keys = ", ".join(self._keys)
        there = " AND ".join(f"{name} IS NOT NULL" for name in self._keys)
        # Rows of one key that differ are looked at in each run, also where each of them is settled.
        alike = " AND ".join(
            f"(COUNT({name}) = 0 OR (COUNT({name}) = COUNT(*) AND MIN({name}) = MAX({name})))"
            for name in self._contents
        )
        contents = ", ".join(f"MIN({name}) AS {name}" for name in self._contents)
        ok = f"CASE WHEN MIN({PREFIX}ok) = 1 AND {alike} THEN 1 ELSE 0 END AS {PREFIX}ok"
        grouped = (
            f"SELECT {keys}, {contents}, {ok} FROM {self.due} WHERE {PREFIX}op <> 'gone' AND {there} GROUP BY {keys}"
        )
        names = f"{keys}, {', '.join(self._contents)}, {PREFIX}ok"
        if is_full:
            if self.dialect.keyed is None:
                index = self.dialect.index(list(zip(self._keys, (one.type for one in self.key), strict=True)))
                made = f"{self.dialect.create} {self.seen}{index} AS {grouped}"
                return [f"DROP TABLE IF EXISTS {self.seen}", made]
            return [
                f"DROP TABLE IF EXISTS {self.seen}",
                f"{self.dialect.create} {self.seen} ({names}, PRIMARY KEY ({keys})) {self.dialect.keyed}",
                f"INSERT INTO {self.seen} ({names}) {grouped}",
            ]
        nulls = ", ".join(["NULL"] * len(self._contents))
        key = keys if len(self._keys) == 1 else f"({keys})"
        forget = f"DELETE FROM {self.seen} WHERE {key} IN (SELECT {keys} FROM {self.due})"
        if self.dialect.delete is not None:
            forget = self.dialect.delete(self.seen, self.due, self._joined("d", "s"))
        listed = f"SELECT {keys}, {nulls}, 0 FROM {self.due} WHERE {PREFIX}op = 'gone' AND {PREFIX}ok = 0"
        return [
            forget,
            f"INSERT INTO {self.seen} ({names}) {grouped}",
            f"INSERT INTO {self.seen} ({names}) {listed}",
        ]


def in_buckets(dialect: WarehouseDialect, together: Sequence[str], buckets: int) -> str:
    """Return the column that puts rows into buckets, of about equal size.

    :param dialect: of the database.
    :param together: the expressions whose equal values lie in one bucket.
    :param buckets: their number.
    """
    ranked = f"(DENSE_RANK() OVER (ORDER BY {', '.join(together)}) - 1)"
    return f"{dialect.remainder(ranked, str(buckets))} AS {BUCKET}"
