"""`sql` is one statement: what is more is refused when the DAG is parsed, with the way; what is unclear is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from drivers import MadeUpConnection, hand_out
from runs import RunDag, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Identify
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator
from airflow_provider_segment.transfers.statements import only_reads

REFUSED: dict[str, tuple[Any, str]] = {
    "a list": (["SELECT 1", "SELECT 2"], "Found a list"),
    "a list of one": (["SELECT 1"], "Found a list"),
    "a tuple": (("SELECT 1",), "Found a tuple"),
    "no text": ("  ", "Found none"),
    "a setting first": ("SET search_path = crm; SELECT * FROM users", "Found 2 statements: SET, SELECT"),
    "a temporary table first": (
        "CREATE TEMP TABLE t AS SELECT 1 AS id; SELECT * FROM t;",
        "Found 2 statements: CREATE, SELECT",
    ),
    "three": ("USE crm;\nSET x = 1;\nSELECT 1", "Found 3 statements: USE, SET, SELECT"),
    "a change after the query": ("SELECT 1 AS id; DELETE FROM outbox", "Found 2 statements: SELECT, DELETE"),
    "a transaction of its own": ("BEGIN; SELECT 1 AS id; COMMIT;", "Found 3 statements: BEGIN, SELECT, COMMIT"),
    "a comment between": ("SELECT 1; -- first\n/* then */ SELECT 2", "Found 2 statements: SELECT, SELECT"),
}
TAKEN = {
    "a semicolon at the end": "SELECT 1 AS id;",
    "two at the end, and blanks": "SELECT 1 AS id ; ;\n",
    "a comment after it": "SELECT 1 AS id; -- that is all; SELECT 2\n/* ; SELECT 3 */",
    "one in a text": "SELECT 'a; SELECT 2' AS id",
    "one in a name": 'SELECT 1 AS "a; SELECT 2"',
    "one in a text that ends with a backslash": "SELECT replace(id, '\\', '; SELECT') AS id FROM users WHERE id <> ';'",
    "a block of PL/pgSQL": "DO $$ BEGIN DELETE FROM a; SELECT 1; END $$",
    "a block of Snowflake's script": "BEGIN LET r RESULTSET := (SELECT 1); RETURN TABLE(r); END;",
    "a batch of T-SQL": "DECLARE @since date = '2026-01-01'; SELECT id FROM users WHERE seen > @since",
    "a function in the query": "WITH FUNCTION f() RETURNS int BEGIN SET x = 1; RETURN 1; END SELECT f() AS id",
    "Jinja": "{% if params.all %}SELECT 1 AS id; SELECT 2{% else %}SELECT 1 AS id{% endif %}",
    "a file": "queries/users; SELECT.sql",
}
READS = {
    "SELECT id FROM users": True,
    "(SELECT id FROM a) UNION (SELECT id FROM b)": True,
    "/* DELETE */ WITH u AS (SELECT 1) SELECT * FROM u -- UPDATE": True,
    "VALUES (1)": True,
    "SHOW TABLES": True,
    "FROM users SELECT id": True,
    "SELECT id FROM users FOR UPDATE SKIP LOCKED": True,
    "SELECT id FROM users FOR NO KEY UPDATE": True,
    "SELECT replace(id, 'a', 'b'), insert(id, 1, 1, 'x'), u.update, \"delete\" FROM users u": True,
    "INSERT INTO users SELECT 1 RETURNING id": False,
    "UPDATE users SET a = 1 RETURNING id": False,
    "WITH gone AS (DELETE FROM users RETURNING id) SELECT id FROM gone": False,
    "MERGE INTO users USING new ON true WHEN MATCHED THEN UPDATE SET a = 1": False,
    "REPLACE INTO users VALUES (1)": False,
    "SELECT id INTO other FROM users": False,
    "CALL take()": False,
    "EXEC take": False,
    "EXPLAIN ANALYZE DELETE FROM users": False,
}


def operator(sql: Any, **changed: Any) -> SqlToSegmentOperator:
    """Return an operator with this query."""
    return SqlToSegmentOperator(task_id="sync", sql=sql, sql_conn_id="warehouse", calls=Identify("id"), **changed)


@pytest.mark.parametrize(("sql", "found"), REFUSED.values(), ids=REFUSED)
def test_refused_when_the_dag_is_parsed(sql: Any, found: str) -> None:
    """More than one statement is a setting error, which tells what was found and what to do in its place."""
    with pytest.raises(ValueError, match=r"^sql: expected one statement that returns rows") as caught:
        operator(sql)
    for way in ("sql_hook_params={'options'", "init_command", "session_parameters", "a temporary table becomes", found):
        assert way in str(caught.value)


@pytest.mark.parametrize("sql", TAKEN.values(), ids=TAKEN)
def test_taken(sql: str) -> None:
    """What is one statement, or may be, is left to the database."""
    assert operator(sql).sql == sql


@pytest.mark.parametrize(("sql", "reads"), READS.items(), ids=READS)
def test_only_reads(sql: str, reads: bool) -> None:
    """A query that says that it changes data is told from one that does not."""
    assert only_reads(sql) is reads


def test_from_an_upstream_task(segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
    """What another task returns is looked at when it is known: a text is taken, a list is not."""
    from airflow.providers.common.compat.sdk import task

    warehouse.run("CREATE TABLE users (id TEXT); INSERT INTO users VALUES ('u1')")
    with new_dag() as dag:

        @task
        def query(found: Any) -> Any:
            return found

        for name, sql in (("text", "SELECT id FROM users"), ("list", ["SELECT id FROM users"])):
            SqlToSegmentOperator(
                task_id=name,
                sql=query.override(task_id=f"query_{name}")(sql),
                sql_conn_id="warehouse",
                calls=Identify("id"),
            )
    run = run_dag(dag)
    assert (run.task("text")[0], run.task("list")[0]) == ("success", "failed")
    assert len(segment.messages) == 1


def test_in_a_file(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, run_dag: RunDag, tmp_path: Path) -> None:
    """Several statements in a .sql file, or behind Jinja, fail before the connection is opened; a retry is not made."""
    (tmp_path / "two.sql").write_text("CREATE TEMP TABLE t AS SELECT 1 AS id;\nSELECT id FROM t\n")
    connection = MadeUpConnection("somewhere.dbapi", ["id"], [("u1",)])
    made_up = hand_out(connection, monkeypatch)
    with new_dag(template_searchpath=str(tmp_path)) as dag:
        for name, sql in (("file", "two.sql"), ("jinja", "{{ 'DELETE FROM t' }}; SELECT 1 AS id")):
            SqlToSegmentOperator(task_id=name, sql=sql, sql_conn_id=made_up, calls=Identify("id"), retries=2)
    run = run_dag(dag)
    assert (run.task("file"), run.task("jinja")) == (("failed", 1), ("failed", 1))
    assert (connection.done, segment.requests) == ([], [])


def test_costs_nothing_while_the_dag_is_parsed() -> None:
    """A query without a semicolon in it is not lexed: the lexer is not even imported."""
    script = (
        "import sys\n"
        "from airflow_provider_segment.transfers.statements import check_written\n"
        "check_written('SELECT id FROM users -- all of them\\n;')\n"
        "assert 'sqlparse' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
