"""Databricks' words on a local Spark, where pyspark and Java are there; `pip install pyspark` makes them run.

Spark alone has no table whose rows can be deleted or updated (Delta has): these two are said by a SELECT with the same
condition, and whether Databricks takes them as they are is only parsed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from airflow_provider_segment.transfers.warehouse_dialects import DATABRICKS, Column
from airflow_provider_segment.transfers.warehouse_statements import Statements

QUERY = "SELECT * FROM users -- all"
MOMENTS = [f"'2026-10-25T{time}Z'" for time in ("00:30:00", "01:30:00", "00:30:00.000001", "00:30:00.000002")]
# By type, values of which no two say the same.
VALUES: dict[str, list[str]] = {
    "STRING": ["''", "' '", "'a'", "'A'", "'a '", "'NULL'", "'1'"],
    "STRING COLLATE UTF8_LCASE": ["''", "'a'", "'A'", "'a '"],
    "BOOLEAN": ["true", "false"],
    "BIGINT": ["0", "1", "-1", "4294967296", "-4294967296", "9007199254740993", "9007199254740992"],
    "DOUBLE": ["0", "1", "0.3", "0.30000000000000004D", "'NaN'", "'Infinity'", "'-Infinity'"],
    "FLOAT": ["0", "0.1", "'0.10000001'", "16777216", "16777218", "'NaN'"],
    "DECIMAL(38, 10)": ["0", "1", "-1", "12345678901234567.89", "12345678901234567.88"],
    "BINARY": ["X''", "X'00'", "X'61'", "X'6100'", "X'FF'"],
    "DATE": ["'2026-01-01'", "'2026-01-02'"],
    "TIMESTAMP": MOMENTS,
    "TIMESTAMP_NTZ": [moment.replace("Z", "") for moment in MOMENTS],
    "INTERVAL DAY TO SECOND": ["INTERVAL '1' DAY", "INTERVAL '1.000001' SECOND"],
    "ARRAY<INT>": ["array()", "array(NULL)", "array(1)", "array(1, NULL)", "array(NULL, 1)", "array(1, 2)"],
    "ARRAY<STRING>": ["array()", "array('')", "array(NULL)", "array('null')", "array('a', 'b')", "array('a\", \"b')"],
    "ARRAY<DOUBLE>": ["array(0.3)", "array(0.30000000000000004D)", "array(double('NaN'))", "array(double(NULL))"],
    "ARRAY<TIMESTAMP>": [f"array(timestamp{moment})" for moment in MOMENTS],
    "ARRAY<TIMESTAMP_NTZ>": [f"array(timestamp_ntz{moment})".replace("Z'", "'") for moment in MOMENTS],
    "ARRAY<ARRAY<STRING>>": [
        *("array(array('a'), array('b'))", "array(array('a', 'b'))", "array(array('a'), array(), array('b'))"),
        *("array(array('a'), NULL, array('b'))", "array(array('a], [b'))"),
    ],
    "STRUCT<a: INT, b: INT>": [f"named_struct('a', {a}, 'b', {b})" for a, b in (("NULL", 1), (1, "NULL"), (1, 1))],
    "STRUCT<a: STRING>": [f"named_struct('a', {a})" for a in ("NULL", "''", "'NULL'", "'a'", "'A'")],
    "MAP<STRING, INT>": ["map()", "map('a', 1)", "map('a', NULL)", "map('A', 1)", "map('a', 1, 'b', 2)"],
    "VARIANT": [f"parse_json('{json}')" for json in ("null", "1", '"1"', "{}", "[]", '{"a":1}', '{"a":null}', "true")],
}


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Spark of one thread, whose session has a zone of its own."""
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.session.timeZone": "Europe/Berlin",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("spark")),
    }
    builder = sql.SparkSession.builder.master("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def run(spark: Any, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement as a run of the filter does, with the two that Spark has no table for said by others."""
    if deleted := re.fullmatch(r"DELETE FROM (\S+) s WHERE (.*)", statement, re.DOTALL):
        table, condition = deleted.groups()
        return rewritten(spark, table, f"SELECT * FROM {table} s WHERE NOT {condition}")  # noqa: S608
    if updated := re.fullmatch(r"UPDATE (\S+) SET (\w+) = 0 WHERE (.*)", statement):
        table, column, condition = updated.groups()
        value = f"CASE WHEN {condition} THEN 0 ELSE {column} END AS {column}"
        return rewritten(spark, table, f"SELECT * EXCEPT ({column}), {value} FROM {table}")  # noqa: S608
    return [tuple(row) for row in spark.sql(f"/* DAG d, task t */ {statement}").collect()]


def rewritten(spark: Any, table: str, query: str) -> list[tuple[Any, ...]]:
    """Put the result of a query in the place of a table."""
    for statement in (
        f"CREATE TABLE segment.rest AS {query}",
        f"DROP TABLE {table}",
        f"ALTER TABLE segment.rest RENAME TO {table}",
    ):
        spark.sql(statement)
    return []


def test_no_two_values_of_a_type_are_taken_for_one(spark: Any) -> None:
    """Nulls within values, maps, variants, case, moments an hour apart in the night when the clock is set back."""
    for kind, values in VALUES.items():
        said = ["NULL", *values]
        rows = " UNION ALL ".join(f"SELECT {n} AS n, CAST({value} AS {kind}) AS v" for n, value in enumerate(said))
        types = DATABRICKS.types(lambda sql: run(spark, sql), rows, (), "")
        (content,) = DATABRICKS.contents([("u.`v`", types["v"])])
        found = run(spark, f"SELECT {content} FROM ({rows}) u ORDER BY n")  # noqa: S608
        alike = [said[n] for n, one in enumerate(found) if found.index(one) != n]
        assert not alike, kind


@pytest.fixture
def made(spark: Any) -> Iterator[Statements]:
    """The statements over a table of users whose column of the key takes two cases for one."""
    spark.sql("CREATE SCHEMA IF NOT EXISTS segment")
    spark.sql("CREATE TABLE users (id STRING COLLATE UTF8_LCASE, email STRING, tags ARRAY<INT>)")
    types = DATABRICKS.types(lambda sql: run(spark, sql), QUERY, (), "")
    columns = [Column(name, types[name]) for name in ("id", "email", "tags")]
    yield Statements(DATABRICKS, QUERY, columns, columns[:1], columns, "`segment`.`seen`", "`segment`.`due`")
    spark.sql("DROP TABLE users")
    spark.sql("DROP SCHEMA segment CASCADE")


def a_run(
    spark: Any, made: Statements, unsettled: Sequence[int] = (), *, is_full: bool = False
) -> tuple[dict[str, int], set[Any], set[Any]]:
    """Run the statements of one run, and return what it counted, the keys that were read, and those that are gone."""
    run(spark, made.all_due() if is_full else made.changed())
    counts = dict(run(spark, made.counts()))
    if not is_full and (rest := made.rest(sum(counts.values()), has_changed=counts.get("changed", 0) > 0)):
        run(spark, rest[0])
        counts = dict(run(spark, made.counts()))
    read, gone = run(spark, made.read()), run(spark, made.gone())
    for statement in (*([made.unsettle(unsettled)] if unsettled else ()), *made.promote(is_full=is_full)):
        run(spark, statement)
    run(spark, f"DROP TABLE IF EXISTS {made.due}")
    return counts, {row[0] for row in read}, {row[1] for row in gone}


def test_the_life_of_a_table(spark: Any, made: Statements) -> None:
    """All, nothing, what changed, nothing; a row that is not settled comes again, and so do two rows of one key."""
    insert = "INSERT INTO users VALUES"
    run(spark, f"{insert} ('a', 'x', array(1)), ('A', 'x', array(1)), ('b', NULL, NULL), ('c', 'x', array(NULL, 1))")
    run(spark, f"{insert} ('d', 'x', NULL), (NULL, 'x', NULL)")
    assert a_run(spark, made, is_full=True) == ({"new": 6}, {"a", "A", "b", "c", "d", None}, set())
    assert a_run(spark, made) == ({"new": 1}, {None}, set())
    changed = "('A', 'y', array(1)), ('b', '', NULL), ('a', 'x', array(1)), ('c', 'x', array(1, NULL))"
    run(spark, f"INSERT OVERWRITE users VALUES {changed}, ('e', 'x', NULL)")  # noqa: S608
    assert a_run(spark, made, [1]) == ({"changed": 3, "new": 1, "gone": 1}, {"A", "b", "c", "e"}, {"d"})
    assert a_run(spark, made) == ({"changed": 1}, {"A"}, set())
    run(spark, f"{insert} ('a', 'z', NULL)")
    assert a_run(spark, made) == ({"changed": 1, "same": 1}, {"a"}, set())
    assert a_run(spark, made) == ({"changed": 2}, {"a"}, set())
    assert run(spark, made.seen_keys()) == [(5,)]
    run(spark, f"CREATE TABLE segment.marks (sync {DATABRICKS.text}, mark {DATABRICKS.text})")
