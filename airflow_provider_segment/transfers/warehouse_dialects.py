"""The words of each database for the filter in the warehouse: a table, to which a database is added by one entry.

It is long for the entries. Run in the tests: PostgreSQL, MariaDB, DuckDB and SQLite, and Snowflake's words on fakesnow;
Databricks' on a local Spark where there is one. Those of BigQuery and Redshift are only parsed (docs/changes.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_segment.core.errors import SettingError

Run = Callable[[str], list[Any]]

# PostgreSQL's own hash tells the values of these types apart ...
_POSTGRES_HASHED = frozenset({"int2", "int4", "oid", "bool", "uuid", "bytea", "date"})
# ... and takes those of these for one: numbers without their sign, 64 bits folded to 32. So their bytes are hashed.
_POSTGRES_BYTES = {
    **{kind: f"{kind}send" for kind in ("int8", "float4", "float8")},
    **{kind: f"{kind}_send" for kind in ("numeric", "time", "timetz", "timestamp", "timestamptz", "interval")},
}
# Keys that are equal where the driver's values are; all others are joined as texts, byte by byte.
_POSTGRES_KEYS = _POSTGRES_HASHED | {*_POSTGRES_BYTES, "inet", "cidr"}
INDEXED = 64
_MYSQL_LONG_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
_MYSQL_TEXTS = _MYSQL_LONG_TEXTS | {"enum", "set"}
_MYSQL_LONG = _MYSQL_LONG_TEXTS | {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}


@dataclass(frozen=True)
class Column:
    """A column of the user's query.

    :param name: as the database has it.
    :param type: as the database calls it; empty where that is no matter.
    """

    name: str
    type: str = ""


def _is_distinct(a: str, b: str) -> str:
    return f"{a} IS DISTINCT FROM {b}"


@dataclass(frozen=True)
class WarehouseDialect:
    """One database's words.

    :param name: of the database.
    :param contents: the expressions that tell two rows apart, of the mapped columns, quoted.
    :param key: the expression that joins a key column byte by byte.
    :param grant: the statement that gives a missing right, of a schema and a user.
    :param make_schema: the statement by which an administrator makes the schema for a user; None means the grant.
    :param denied: codes of the error that a right is missing.
    :param quote: the sign around a name.
    :param session: statements that pin how values become texts.
    :param types: returns the types of the query's columns, where the words need them, of a query that returns no row,
        its description, and the name of a table that may be made.
    :param text: the type of a short text.
    :param scratch: the statement that lists the tables of a schema whose name begins so.
    :param create: what begins a statement that makes a table ...
    :param expiring: ... and what stands before AS, so that one that is left behind goes by itself.
    :param differs: the condition that two values differ, of which one may be null.
    :param has_full_join: whether FULL JOIN can be said.
    :param join: what joins a table after those before it have found few rows.
    :param keyed: the words after the columns of a table that is found by its key; None where tables have no such.
    :param index: what stands before AS, of the names and types of key columns, so that joins need not look at all rows.
    :param delete: the statement that deletes the rows of one table whose key stands in another; None means IN.
    :param user: the statement that names the user.
    :param remainder: of the division of two whole numbers.
    :param unordered: what a window over rows without an order needs for ROW_NUMBER.
    """

    name: str
    contents: Callable[[Sequence[tuple[str, str]]], list[str]]
    key: Callable[[str, str], str]
    grant: Callable[[str, str], str]
    make_schema: Callable[[str, str], str] | None = None
    denied: frozenset[Any] = frozenset()
    quote: str = '"'
    session: tuple[str, ...] = ()
    types: Callable[[Run, str, Sequence[Any], str], Mapping[str, str]] = lambda run, query, description, table: {}
    text: str = "VARCHAR(100)"
    scratch: str = (
        "SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}' "
        "AND table_name LIKE '{prefix}{any}'"
    )
    create: str = "CREATE TABLE"
    expiring: str = ""
    differs: Callable[[str, str], str] = _is_distinct
    has_full_join: bool = True
    join: str = "JOIN"
    keyed: str | None = None
    index: Callable[[Sequence[tuple[str, str]]], str] = lambda columns: ""
    delete: Callable[[str, str, str], str] | None = None
    user: str = "SELECT current_user"
    remainder: Callable[[str, str], str] = "{} % {}".format
    unordered: str = ""

    def quoted(self, name: str) -> str:
        """Return a name as an identifier.

        :param name: of a column, a table or a schema.
        """
        return f"{self.quote}{name.replace(self.quote, self.quote * 2)}{self.quote}"


def dialect_of(conn_type: str, conn_id: str, run: Run) -> WarehouseDialect:
    """Return the words of a connection's database.

    :param conn_type: Airflow's type of the connection.
    :param conn_id: of the connection, for the error.
    :param run: runs a statement on it.
    :raises SettingError: if there are none.
    """
    if conn_type == "postgres" and "redshift" in str(run("SELECT version()")[0][0]).lower():
        conn_type = "redshift"
    if conn_type == "mysql":
        return _mysql(str(run("SELECT version()")[0][0]))
    if conn_type not in DIALECTS:
        names = ", ".join(sorted({dialect.name for dialect in DIALECTS.values()} | {"MySQL", "MariaDB"}))
        raise SettingError(
            f"warehouse_schema: {conn_id!r} is of type {conn_type!r}, and the filter in the warehouse knows {names}. "
            "Leave warehouse_schema out: then unchanged rows are passed over on the client"
        )
    return DIALECTS[conn_type]


def _as_is(expression: str, _: str) -> str:
    return expression


def _postgres_types(run: Run, query: str, description: Sequence[Any], table: str) -> Mapping[str, str]:
    numbers = sorted({int(column[1]) for column in description})
    listed = ", ".join(map(str, numbers))
    name = "CASE WHEN 'c' IN (t.typtype, e.typtype) THEN 'composite' ELSE t.typname END"
    types = "pg_catalog.pg_type AS t LEFT JOIN pg_catalog.pg_type AS e ON e.oid = t.typelem"
    names = dict(run(f"SELECT t.oid, {name} FROM {types} WHERE t.oid IN ({listed})"))
    return {column[0]: str(names.get(int(column[1]), "")) for column in description}


def _postgres_content(expression: str, kind: str) -> str:
    if kind in _POSTGRES_BYTES:
        return f"{_POSTGRES_BYTES[kind]}({expression})"
    if kind in _POSTGRES_HASHED:
        return expression
    text = f'({expression})::text COLLATE "C"'
    # The names of the fields of a composite, or of an array of such, stand only in its JSON.
    return f'{text}, to_json({expression})::text COLLATE "C"' if kind == "composite" else text


def _postgres_key(expression: str, kind: str) -> str:
    if kind in _POSTGRES_KEYS:
        return expression
    # Equal texts of some types may be written in another case; and CHAR has spaces at its end, which its text has not.
    return f'({expression})::{"bpchar" if kind == "bpchar" else "text"} COLLATE "C"'


POSTGRES = WarehouseDialect(
    "PostgreSQL",
    contents=lambda columns: [
        f"hash_record_extended(ROW({', '.join(_postgres_content(*column) for column in columns)}), 0)"
    ],
    key=_postgres_key,
    grant=lambda schema, user: f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {user}",
    make_schema=lambda schema, user: f"CREATE SCHEMA {schema} AUTHORIZATION {user}",
    denied=frozenset({"42501"}),
    # Not the time zone or the like: the query's own words, such as casts to dates, would mean another thing.
    session=("SET extra_float_digits = 1",),
    types=_postgres_types,
)


# DuckDB's own hash tells the values of these types apart, and takes those of others for one: a month and a day, 0 and
# -1 of more than 64 bits, an empty list and none.
_DUCKDB_HASHED = re.compile(
    r"U?(TINY|SMALL|BIG)?INT(EGER)?|BOOLEAN|FLOAT|DOUBLE|DECIMAL\((\d|1[0-8]),\d+\)|DATE|TIME[A-Z_ ]*|UUID|BLOB"
    r"|ENUM\(.*\)",
    re.DOTALL,
)


def _duckdb_value(expression: str, kind: str) -> str:
    # The hash of a text is without case where its column is.
    if kind == "VARCHAR":
        return f'{expression} COLLATE "C"'
    return expression if _DUCKDB_HASHED.fullmatch(kind) else f"{expression}, ({expression})::VARCHAR"


DUCKDB = WarehouseDialect(
    "DuckDB",
    contents=lambda columns: [f"hash(ROW({', '.join(_duckdb_value(*column) for column in columns)}))"],
    key=lambda expression, kind: f'{expression} COLLATE "C"' if kind == "VARCHAR" else expression,
    grant=lambda schema, user: f"CREATE SCHEMA {schema}",
    types=lambda run, query, description, table: dict(run(f"SELECT column_name, column_type FROM (DESCRIBE {query})")),
)

SQLITE = WarehouseDialect(
    "SQLite",
    # It has no hash, and a function of Python takes longer than a copy of the columns does. The plus takes the type of
    # the column away, with which 1 and '1' would be equal, and a number that became a text would stay one.
    contents=lambda columns: [f"+{column} COLLATE BINARY" for column, _ in columns],
    key=lambda expression, _: f"+{expression} COLLATE BINARY",
    grant=lambda schema, user: f"write access to the file, whose schema is {schema}",
    make_schema=lambda schema, user: "its schema is called main",
    scratch="SELECT name FROM {schema}.sqlite_master WHERE type = 'table' AND name LIKE '{prefix}{any}'",
    differs=lambda a, b: f"{a} IS NOT {b}",
    has_full_join=False,  # it has one since 3.39, which takes longer than two statements
    join="CROSS JOIN",  # which keeps the order: it would look up each row of the query in the larger table first
    keyed="WITHOUT ROWID",
    user="SELECT 'the user'",
)


def _mysql_index(columns: Sequence[tuple[str, str]]) -> str:
    """Return an index; of what may be too long for one, the first characters find the few that begin alike."""
    parts = []
    for name, kind in columns:
        base, _, length = kind.rstrip(")").partition("(")
        is_long = base in _MYSQL_LONG and not (length.isdigit() and int(length) <= INDEXED)
        parts.append(f"{name}({INDEXED})" if is_long else name)
    return f" (INDEX segment_key ({', '.join(parts)}))"


def _mysql(version: str) -> WarehouseDialect:
    is_mariadb = "mariadb" in version.lower()
    collation = "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"

    def types(run: Run, query: str, description: Sequence[Any], table: str) -> Mapping[str, str]:
        # A driver does not tell texts from bytes; the columns of a table do.
        run(f"CREATE TABLE {table} AS {query}")
        found = {str(row[0]): str(row[1]).lower() for row in run(f"SHOW COLUMNS FROM {table}")}
        run(f"DROP TABLE {table}")
        return found

    return WarehouseDialect(
        "MariaDB" if is_mariadb else "MySQL",
        contents=lambda columns: [
            # As bytes: texts of two character sets, of which neither has all signs of the other, cannot be joined.
            f"UNHEX(MD5(CONCAT_WS(',', {', '.join(f'CAST(QUOTE({column}) AS BINARY)' for column, _ in columns)})))"
        ],
        key=lambda expression, kind: (
            f"CONVERT({expression} USING utf8mb4) COLLATE {collation}"
            if kind.partition("(")[0] in _MYSQL_TEXTS
            else expression
        ),
        grant=lambda schema, user: f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP ON {schema}.* TO {user}",
        denied=frozenset({1044, 1142}),
        quote="`",
        session=("SET time_zone = '+00:00'",),
        types=types,
        differs=lambda a, b: f"NOT ({a} <=> {b})",
        has_full_join=False,
        index=_mysql_index,
        # MariaDB looks at each pair of rows for an IN.
        delete=lambda table, other, joined: f"DELETE s FROM {table} s JOIN {other} d ON {joined}",
        user="SELECT current_user()",
    )


SNOWFLAKE = WarehouseDialect(
    "Snowflake",
    contents=lambda columns: [f"HASH({', '.join(column for column, _ in columns)})"],
    key=_as_is,
    grant=lambda schema, user: f"GRANT USAGE, CREATE TABLE ON SCHEMA {schema} TO ROLE {user}",
    create="CREATE TRANSIENT TABLE",
    unordered="ORDER BY NULL",
    user="SELECT current_role()",
)


def _delete(table: str, other: str, joined: str) -> str:
    return f"DELETE FROM {table} s WHERE EXISTS (SELECT 1 FROM {other} d WHERE {joined})"  # IN takes one column there


BIGQUERY = WarehouseDialect(
    "BigQuery",
    contents=lambda columns: [
        f"FARM_FINGERPRINT(TO_JSON_STRING(STRUCT({', '.join(column for column, _ in columns)})))"
    ],
    key=_as_is,
    grant=lambda schema, user: f"GRANT `roles/bigquery.dataEditor` ON SCHEMA {schema} TO 'user:{user}'",
    quote="`",
    text="STRING",
    delete=_delete,
    scratch="SELECT table_name FROM `{schema}`.INFORMATION_SCHEMA.TABLES WHERE STARTS_WITH(table_name, '{prefix}')",
    expiring=" OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 7 DAY))",
    user="SELECT SESSION_USER()",
    remainder="MOD({}, {})".format,
)


_REDSHIFT_FLOATS = frozenset({"float4", "float8"})
# Texts need no cast, which would cut them; of these types a cast makes none.
_REDSHIFT_TEXTS = {
    **dict.fromkeys(("varchar", "bpchar", "text", "char"), "{0}"),
    "bool": "CASE WHEN {0} THEN 't' ELSE 'f' END",
    "super": "JSON_SERIALIZE({0})",
    "varbyte": "FROM_VARBYTE({0}, 'hex')",
}


def _chained(columns: Sequence[tuple[str, str]]) -> list[str]:
    """Return Redshift's hash, which takes one value at a time.

    The bytes of all values are hashed as if they were one text, so each value stands behind its length; that of a null
    is -1.
    """
    found = "0"
    for column, kind in columns:
        if kind in _REDSHIFT_FLOATS:  # as texts they have 15 digits
            length, value = f"CASE WHEN {column} IS NULL THEN -1 ELSE 8 END", f"COALESCE({column}, 0)"
        else:
            text = _REDSHIFT_TEXTS.get(kind, "CAST({0} AS VARCHAR(65535))").format(column)
            length = f"CASE WHEN {column} IS NULL THEN -1 ELSE OCTET_LENGTH({text}) END"
            value = f"CASE WHEN {length} > 0 THEN {text} ELSE '-' END"
        found = f"FNV_HASH({value}, FNV_HASH({length}, {found}))"
    return [found]


REDSHIFT = replace(
    POSTGRES,
    name="Redshift",
    contents=_chained,
    key=_as_is,
    session=(),
    # It has no IS DISTINCT FROM.
    differs=lambda a, b: f"({a} <> {b} OR ({a} IS NULL) <> ({b} IS NULL))",
)


# xxhash64 passes over nulls within values, and takes neither maps nor variants.
_DATABRICKS_NESTED = ("array", "struct", "map", "variant")
_DATABRICKS_JSON = (
    "'ignoreNullFields', 'false', 'timeZone', 'UTC', 'timestampFormat', \"yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX\", "
    "'timestampNTZFormat', \"yyyy-MM-dd'T'HH:mm:ss.SSSSSS\""
)


def _databricks_value(expression: str, kind: str) -> str:
    if kind.startswith(_DATABRICKS_NESTED):
        return f"to_json({expression}, map({_DATABRICKS_JSON}))"
    return f"CAST({expression} AS BINARY)" if "collate" in kind else expression


DATABRICKS = WarehouseDialect(
    "Databricks",
    # xxhash64 passes over nulls, so each column stands beside a flag.
    contents=lambda columns: [
        f"xxhash64({', '.join(f'{column} IS NULL, {_databricks_value(column, kind)}' for column, kind in columns)})"
    ],
    key=lambda expression, kind: f"{expression} COLLATE UTF8_BINARY" if "collate" in kind else expression,
    grant=lambda schema, user: f"GRANT USE SCHEMA, CREATE TABLE ON SCHEMA {schema} TO `{user}`",
    quote="`",
    delete=_delete,
    types=lambda run, query, description, table: {row[0]: row[1].lower() for row in run(f"DESCRIBE QUERY {query}")},
    user="SELECT current_user()",
    unordered="ORDER BY NULL",
)

DIALECTS = {
    "postgres": POSTGRES,
    "duckdb": DUCKDB,
    "sqlite": SQLITE,
    "snowflake": SNOWFLAKE,
    "bigquery": BIGQUERY,
    "google_cloud_platform": BIGQUERY,
    "gcpbigquery": BIGQUERY,
    "redshift": REDSHIFT,
    "databricks": DATABRICKS,
}
