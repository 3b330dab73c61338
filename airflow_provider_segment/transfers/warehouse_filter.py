"""The user's warehouse as the engine of the filter: its connection, its two tables, and what a run does with them.

It is long because all that a run does there shares one connection, with its rights, its parameters and its errors.
"""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import blake2b
from importlib import import_module
from typing import Any

from airflow_provider_segment.core.errors import ColumnError, SegmentError, SettingError, SourceError
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.core.rows.warehouse import LaidOut
from airflow_provider_segment.hooks import sigterm
from airflow_provider_segment.transfers.database_errors import Query, call_driver
from airflow_provider_segment.transfers.query import open_query
from airflow_provider_segment.transfers.sql_hook import sql_hook
from airflow_provider_segment.transfers.statements import check_only_reads, derived
from airflow_provider_segment.transfers.warehouse_dialects import Column, dialect_of
from airflow_provider_segment.transfers.warehouse_statements import PREFIX, Statements

# Grows when tables of before would be read wrongly.
LAYOUT = 1
UPDATED_ROWS = 1_000
PAGE = 2_500
# A dry run that was killed leaves its table; no dry run lasts as long.
DRY_SECONDS = 86_400
_WHAT = "the filter in the warehouse"


@contextmanager
def open_warehouse(
    conn_id: str,
    sql: str,
    parameters: Any,
    *,
    schema: str,
    sync_id: str,
    label: str,
    hook_params: Mapping[str, Any] | None = None,
    fetch_size: int = 2_500,
) -> Iterator[Pages]:
    """Lend a query whose rows are laid out in its database; what a run has left unfinished is dropped at the end.

    :param conn_id: an Airflow connection with an SQL hook.
    :param sql: one statement that returns rows and changes nothing.
    :param parameters: for the driver, as for open_query().
    :param schema: of the database, where the tables are made.
    :param sync_id: whose tables they are.
    :param label: who runs it: it begins each statement, for the warehouse's own history.
    :param hook_params: for the hook, as for open_query().
    :param fetch_size: rows to fetch at a time.
    :raises SettingError: if the database has no filter here, a right is missing, or the query changes data.
    :raises QueryError: if the database does not take the query.
    :raises SourceError: if the database fails.
    """
    check_only_reads(sql, "warehouse_schema")
    reading: dict[str, Any] = {"hook_params": hook_params, "fetch_size": fetch_size}
    warehouse = WarehouseTables(conn_id, sql, parameters, schema, sync_id, label, reading)
    try:
        yield Pages(warehouse.columns, (), warehouse.source, warehouse=warehouse)
    finally:
        warehouse.close()


class WarehouseTables:
    """The tables of one sync in its source's database; see Warehouse.

    :param conn_id: an Airflow connection with an SQL hook; so are the others as for open_warehouse().
    :param sql: the query.
    :param parameters: for the driver.
    :param schema: where the tables are.
    :param sync_id: whose they are.
    :param label: who runs it.
    :param reading: how rows are read.
    """

    is_planned = False
    skipped_elsewhere = 0
    buckets = 0

    def __init__(
        self, conn_id: str, sql: str, parameters: Any, schema: str, sync_id: str, label: str, reading: dict[str, Any]
    ) -> None:
        self._conn_id, self._schema, self._reading = conn_id, schema, reading
        self._sql, self._parameters = derived(sql), parameters
        self._label = re.sub(r"[^\w .:,+-]", "_", label)
        self._sync_id, self._sync, self._names = sync_id, "", ""
        params = {name: value for name, value in (reading["hook_params"] or {}).items() if name != "streaming"}
        self._hook = sql_hook(conn_id, params)
        self._denied: frozenset[Any] = frozenset()
        self._stack = ExitStack()
        self._connection = call_driver(self._hook.get_conn, "connecting")
        self._stack.callback(self._connection.close)
        with suppress(Exception):  # each statement stands for itself; some drivers know no other way
            self._hook.set_autocommit(self._connection, True)
        try:
            self._dialect = dialect_of(self._hook.conn_type, conn_id, self._run)
            self._denied = self._dialect.denied
            self.name = f"in the warehouse ({self._dialect.name}, schema {schema!r})"
            self.source = f"{conn_id} ({self._hook.conn_type}, {self.name})"
            for statement in self._dialect.session:
                self._run(statement)
            described = self._described()
        except BaseException:
            self.close()
            raise
        self.columns = [column[0] for column in described]
        self._types = [str(column[1]) for column in described]
        self._described_columns = described
        self._statements: Statements | None = None
        self._is_full = True
        self._read = self._stack.enter_context(ExitStack())

    def _described(self) -> Sequence[Any]:
        """Return the description of the query's columns, of which none is read."""
        cursor = call_driver(self._connection.cursor, "connecting")
        self._execute(cursor, f"SELECT * FROM (\n{self._sql}\n) u WHERE 1 = 0", self._parameters)
        found = list(cursor.description)
        with suppress(Exception):
            cursor.fetchall()
        cursor.close()
        names = Counter(column[0].lower() for column in found)
        if repeated := sorted(name for name, number in names.items() if number > 1):
            raise ColumnError(
                f"warehouse_schema: the query returns {', '.join(repeated)} more than once: rename one with AS"
            )
        if ours := sorted(name for name in names if name.startswith(PREFIX)):
            raise ColumnError(
                f"warehouse_schema: columns may not begin with {PREFIX}: rename {', '.join(ours)} with AS"
            )
        return found

    def lay_out(
        self, mapped: Sequence[str], key: Sequence[str], owner: str, run: int, mark: str | None, *, is_dry: bool
    ) -> LaidOut:
        """Lay out the rows of the query that may have changed; see Warehouse."""
        with sigterm.waits():
            self._own(owner)
            self._prepare()
            if not is_dry:
                self._drop_scratch()
            statements = self._statements = self._made_for(mapped, key, run, is_dry=is_dry)
            known = None if mark is None else self._known(mark, statements)
            self._is_full = known is None
            first = statements.all_due() if known is None else statements.changed()
            self._stack.callback(self.leave_due, statements.due)
            self._run(first, 1)
            ops = Counter(dict(self._run(statements.counts())))
            rows = sum(ops.values()) - ops["gone"]
            if known is not None and (rest := statements.rest(rows, has_changed=ops["changed"] > 0)) is not None:
                self._run(*rest)
                ops = Counter(dict(self._run(statements.counts())))
                rows = sum(ops.values()) - ops["gone"]
            changed = self._run(statements.changed_keys())[0][0] if ops["changed"] else 0
            skipped = 0 if known is None else known - changed - ops["gone"]
        return LaidOut(Pages(self.columns, self._rows(), self.source, rows), skipped, ops["gone"], self._is_full)

    def _rows(self) -> Iterator[Sequence[Sequence[Any]]]:
        reading = open_query(self._conn_id, self._due().read(), lineage_sql=self._sql, **self._reading)
        yield from sigterm.waited(self._read.enter_context(reading).pages)

    def gone(self) -> Iterator[Sequence[Sequence[Any]]]:
        """Yield the keys that were listed and are gone; see Warehouse."""
        statements = self._due()
        with open_query(self._conn_id, statements.gone(), lineage_sql=self._sql, **self._reading) as found:
            yield from found.pages

    def laid_out_keys(self) -> Iterator[Sequence[Sequence[Any]]]:
        """Yield the keys of the rows; see Warehouse."""
        with open_query(self._conn_id, self._due().keys_of_rows(), lineage_sql=self._sql, **self._reading) as found:
            yield from found.pages

    def settle(self, mark: str, unsettled: Sequence[int]) -> None:
        """Remember the rows as settled; see Warehouse."""
        statements, table = self._due(), self._table("segment_filter")
        self._read.close()  # SQLite would keep the file locked
        self._run(f"DELETE FROM {table} WHERE sync = '{self._sync}'")
        for at in range(0, len(unsettled), UPDATED_ROWS):
            self._run(statements.unsettle(unsettled[at : at + UPDATED_ROWS]))
        for statement in statements.promote(is_full=self._is_full):
            self._run(statement)
        said = self._signed(mark, statements)
        self._run(f"INSERT INTO {table} (sync, mark) VALUES ('{self._sync}', '{said}')")
        self.leave_due(statements.due)

    def leave_due(self, due: str) -> None:
        """Drop the rows that were laid out: nobody needs them any more."""
        self._drop(due)

    def close(self) -> None:
        """Drop what a run has left that did not end whole, and close the connection."""
        with suppress(Exception):
            self._stack.close()

    def _own(self, owner: str) -> None:
        """Name the tables: those of another state, such as of a test deployment with the same sync, are not ours."""
        self._sync = blake2b(f"{self._sync_id}\0{owner}".encode(), digest_size=6).hexdigest()
        # MySQL's names have 64 characters at most, PostgreSQL's 63.
        slug = re.sub(r"[^a-z0-9]+", "_", self._sync_id.lower()).strip("_")[:12]
        self._names = f"{slug}_{self._sync}"

    def _made_for(self, mapped: Sequence[str], key: Sequence[str], run: int, *, is_dry: bool) -> Statements:
        """Return the statements of this run."""
        query = f"SELECT * FROM (\n{self._sql}\n) u WHERE 1 = 0"
        dry = f"dry_{int(time.time())}_{uuid.uuid4().hex[:6]}"
        table = self._table(f"segment_due_{self._names}_{dry if is_dry else 'types'}")
        types = self._dialect.types(lambda sql: self._run(sql, sql.count(query)), query, self._described_columns, table)
        columns = [Column(name, str(types.get(name, ""))) for name in self.columns]
        by_name = {column.name: column for column in columns}
        lower = {column.name.lower(): column for column in columns}
        keys = [by_name.get(name) or lower[name.lower()] for name in key]
        end = dry if is_dry else str(run)
        seen, due = (self._table(f"segment_{name}") for name in (f"seen_{self._names}", f"due_{self._names}_{end}"))
        differing = [by_name[name] for name in mapped]
        return Statements(self._dialect, self._sql, columns, keys, differing, seen, due, self.buckets)

    def _due(self) -> Statements:
        if self._statements is None:
            raise SettingError("warehouse_schema: nothing is laid out yet")
        return self._statements

    def _table(self, name: str) -> str:
        return f"{self._dialect.quoted(self._schema)}.{self._dialect.quoted(name)}"

    def _signed(self, mark: str, statements: Statements) -> str:
        """Return a mark with a hash of what the tables are made of: columns, their types, and how they are compared."""
        columns = [(column.name, column.type) for column in (*statements.key, *statements.mapped)]
        made_of = [LAYOUT, self._dialect.name, columns, self._types, len(statements.key)]
        return f"{mark} {blake2b(repr(made_of).encode(), digest_size=8).hexdigest()}"

    def _known(self, mark: str, statements: Statements) -> int | None:
        """Return how many keys are listed as of the run with a mark; None where they are not, or not like this."""
        query = f"SELECT mark FROM {self._table('segment_filter')} WHERE sync = '{self._sync}'"
        if [tuple(row) for row in self._run(query)] != [(self._signed(mark, statements),)]:
            return None
        try:
            return int(self._run(statements.seen_keys())[0][0])
        except SegmentError:
            return None  # somebody has dropped it

    def _prepare(self) -> None:
        """Make the schema and the table of the marks where they are missing."""
        table, text = self._table("segment_filter"), self._dialect.text
        make = f"CREATE TABLE IF NOT EXISTS {table} (sync {text}, mark {text})"
        try:
            self._run(make)
        except SourceError:
            self._make_schema()
            self._run(make)

    def _make_schema(self) -> None:
        denied, self._denied = self._denied, frozenset()  # what an administrator must do is said here
        failure = ""
        try:
            # On a connection of its own: Snowflake's would be in the new schema from then on.
            with closing(call_driver(self._hook.get_conn, "connecting")) as connection:
                with suppress(Exception):
                    self._hook.set_autocommit(connection, True)
                with closing(connection.cursor()) as cursor:
                    self._execute(cursor, f"CREATE SCHEMA IF NOT EXISTS {self._dialect.quoted(self._schema)}", None)
                with suppress(Exception):
                    connection.commit()
        except SegmentError as error:
            failure = str(error)
        if failure:
            statement = self._for_user(self._dialect.make_schema or self._dialect.grant)
            raise SettingError(
                f"warehouse_schema: {self._dialect.name} has no schema {self._schema!r}, and this connection cannot "
                f"make one ({failure}): {statement}"
            )
        self._denied = denied

    def _drop_scratch(self) -> None:
        """Drop the laid out rows of runs that died."""
        prefix = f"segment_due_{self._names}_"
        words = {"schema": self._schema, "prefix": prefix, "any": "%"}
        for (name,) in self._run(self._dialect.scratch.format(**words)):
            dry = re.fullmatch(r"dry_(\d+)_\w+", name.removeprefix(prefix))
            is_young = dry is not None and int(dry[1]) > time.time() - DRY_SECONDS
            if name.startswith(prefix) and not is_young:
                self._drop(self._table(name))

    def _drop(self, table: str) -> None:
        self._read.close()
        with suppress(SegmentError):
            self._run(f"DROP TABLE IF EXISTS {table}")

    def _for_user(self, statement: Callable[[str, str], str]) -> str:
        with suppress(SegmentError):
            return statement(self._schema, str(self._run(self._dialect.user)[0][0]))
        return statement(self._schema, "the connection's user")

    def _run(self, sql: str, queries: int = 0) -> list[Any]:
        """Run a statement, and return its rows.

        :param sql: the statement.
        :param queries: how often the user's query, which may have parameters, stands in it.
        """
        parameters = self._parameters if queries else None
        if queries > 1 and parameters and not isinstance(parameters, Mapping):
            parameters = [*parameters] * queries
        if parameters and self._has_percents:  # in our words, that is in the names of columns
            sql = self._sql.join(part.replace("%", "%%") for part in sql.split(self._sql))
        cursor = call_driver(self._connection.cursor, "connecting")
        try:
            self._execute(cursor, sql, parameters)
            found = call_driver(lambda: cursor.fetchall() if cursor.description else [], _WHAT)
            with suppress(Exception):
                self._connection.commit()
            return [tuple(row.values() if isinstance(row, Mapping) else row) for row in found]
        finally:
            with suppress(Exception):
                cursor.close()

    @property
    def _has_percents(self) -> bool:
        """Whether the driver's placeholders begin with a percent sign."""
        driver = import_module(type(self._connection).__module__.partition(".")[0])
        return getattr(driver, "paramstyle", "") in ("format", "pyformat")

    def _execute(self, cursor: Any, sql: str, parameters: Any) -> None:
        said = f"/* {self._label} */ {sql}"
        codes: set[Any] = set()

        def execute() -> None:
            try:
                cursor.execute(*((said, parameters) if parameters else (said,)))
            except Exception as error:
                codes.update(getattr(error, name, None) for name in ("sqlstate", "pgcode", "errno"))
                codes.update(one for one in error.args[:1] if isinstance(one, int))
                raise

        try:
            call_driver(execute, _WHAT, Query(said, parameters, cursor))
        except SourceError as error:
            if codes.isdisjoint(self._denied):
                raise
            self._denied = frozenset()  # who the user is, is asked next
            grant = self._for_user(self._dialect.grant)
            raise SettingError(f"warehouse_schema: a right is missing ({error}). Give it: {grant}") from None
