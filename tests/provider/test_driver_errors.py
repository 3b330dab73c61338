"""The errors of drivers that cannot run here, shaped as their source says: what is shown of them, what is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from drivers import MadeUpConnection, driver_error, hand_out
from failing import BY_HAND, SECRET, failure_of, operator
from runs import RunDag, new_dag

from airflow_provider_segment.core.errors import QueryError
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.database_errors import Query, call_driver

ODBC = "[Microsoft][ODBC Driver 18 for SQL Server][SQL Server]"
NOTHING = "Column 'nothing' cannot be resolved"
MARKERS = "The SQL contains 1 parameter markers, but 2 parameters were supplied"


def bigquery(text: str, kind: str = "BadRequest") -> Exception:
    """An error of google-api-core."""
    message = f"{text}; reason: invalidQuery, location: query, message: {text}"
    return driver_error(f"google.api_core.exceptions.{kind}", message, message=message, errors=[])


def oracle(code: str, text: str) -> Exception:
    """An error of python-oracledb, whose only argument is an object."""
    message = f"{code}: {text}\nHelp: https://docs.oracle.com/error-help/db/"
    return driver_error("oracledb.exceptions.DatabaseError", SimpleNamespace(full_code=code, message=message, code=1))


def snowflake(number: int, text: str, state: str) -> Exception:
    """An error of snowflake-connector-python."""
    said = f"{number:06} ({state}): 01b2: {text}"
    attributes = {"msg": said, "raw_msg": text, "errno": number, "sqlstate": state}
    return driver_error("snowflake.connector.errors.ProgrammingError", said, **attributes)


def odbc(state: str, text: str, *numbers: int) -> Exception:
    """An error of pyodbc, of Microsoft's driver: each part of it ends with a number of SQL Server's."""
    parts = [f"[{state}] {ODBC}{text} ({number}) (SQLExecDirectW)" for number in numbers]
    return driver_error("pyodbc.ProgrammingError", state, "; ".join(parts))


def redshift(state: str, text: str) -> Exception:
    """An error of redshift_connector, a dict of the protocol's fields."""
    fields = {"S": "ERROR", "C": state, "M": text, "R": "colNameToVar"}
    return driver_error("redshift_connector.error.ProgrammingError", fields)


def databricks(text: str) -> Exception:
    """An error of databricks-sql-connector."""
    return driver_error("databricks.sql.exc.ServerOperationError", text, message=text)


def trino(name: str, text: str) -> Exception:
    """An error of trino-python-client."""
    return driver_error("trino.exceptions.TrinoUserError", {"errorName": name}, "id", error_name=name, message=text)


def athena(text: str) -> Exception:
    """An error of PyAthena."""
    return driver_error("pyathena.error.OperationalError", text)


def clickhouse(code: int, text: str) -> Exception:
    """An error of clickhouse-driver, which its DB-API wraps into another."""
    inner = driver_error("clickhouse_driver.errors.ServerException", text, message=text, code=code)
    return driver_error("clickhouse_driver.dbapi.errors.OperationalError", inner)


def pymssql(number: int, text: str) -> Exception:
    """An error of pymssql."""
    said = f"{text}DB-Lib error message 20018, severity 16:\nGeneral SQL Server error"
    return driver_error("pymssql.exceptions.OperationalError", number, said.encode())


def mysqlclient(number: int, text: str) -> Exception:
    """An error of mysqlclient."""
    return driver_error("MySQLdb.OperationalError", number, text)


INVALID_NAME = snowflake(
    904, "SQL compilation error: error line 1 at position 7\ninvalid identifier 'NOTHING'", "42000"
)
MYSQL_CONNECTOR = {"errno": 1054, "msg": "Unknown column 'nothing'", "sqlstate": "42S22"}
HIVE = SimpleNamespace(sqlState="42000", errorMessage="Invalid column reference 'nothing'")
# What is shown of a wrong query.
WRONG: dict[str, tuple[Exception, str]] = {
    "snowflake column": (
        INVALID_NAME,
        "SQLSTATE 42000: SQL compilation error: error line 1 at position 7 invalid identifier 'NOTHING'",
    ),
    "snowflake table": (
        snowflake(2003, "SQL compilation error:\nObject 'NOWHERE' does not exist or not authorized.", "02000"),
        "Object 'NOWHERE' does not exist or not authorized.",
    ),
    "pyodbc column": (odbc("42S22", "Invalid column name 'nothing'.", 207), "SQLSTATE 42S22: [42S22] [Microsoft]"),
    "pyodbc syntax": (odbc("42000", "Incorrect syntax near 'FORM'.", 102, 8180), "Incorrect syntax near 'FORM'. (102)"),
    "pyodbc of another database": (
        driver_error("pyodbc.ProgrammingError", "42S02", "[42S02] [Dremio][Connector] Object 'nowhere' not found (0)"),
        "Object 'nowhere' not found",
    ),
    "pyodbc parameters": (driver_error("pyodbc.ProgrammingError", MARKERS, "HY000"), MARKERS),
    "pymssql column": (pymssql(207, "Invalid column name 'nothing'."), "error 207: Invalid column name 'nothing'."),
    "oracle column": (oracle("ORA-00904", '"NOTHING": invalid identifier'), 'ORA-00904: "NOTHING": invalid identifier'),
    "oracle table": (oracle("ORA-00942", "table or view does not exist"), "ORA-00942: table or view does not exist"),
    "oracle bind": (oracle("DPY-4008", 'no bind placeholder named ":at" was found'), 'no bind placeholder named ":at"'),
    "bigquery column": (bigquery("Unrecognized name: nothing at [1:8]"), "BadRequest: Unrecognized name: nothing at"),
    "bigquery syntax by the DB-API": (
        driver_error("google.cloud.bigquery.dbapi.exceptions.DatabaseError", bigquery("Syntax error: Unexpected FORM")),
        "Syntax error: Unexpected FORM",
    ),
    "bigquery table by its address": (
        bigquery("GET https://bigquery.googleapis.com/v2/p: Not found: Table p:d.nowhere was not found", "NotFound"),
        "NotFound: Not found: Table p:d.nowhere was not found",
    ),
    "redshift column": (
        redshift("42703", 'column "nothing" does not exist in users'),
        'SQLSTATE 42703: column "nothing" does not exist in users',
    ),
    "databricks column": (
        databricks("[UNRESOLVED_COLUMN] A column `nothing` cannot be resolved. SQLSTATE: 42703; line 1 pos 7\n== SQL"),
        "SQLSTATE 42703: [UNRESOLVED_COLUMN] A column `nothing` cannot be resolved.",
    ),
    "trino column": (trino("COLUMN_NOT_FOUND", f"line 1:8: {NOTHING}"), f"TrinoUserError: line 1:8: {NOTHING}"),
    "athena column": (athena(f"COLUMN_NOT_FOUND: line 1:8: {NOTHING}"), NOTHING),
    "presto of PyHive": (
        driver_error("pyhive.exc.DatabaseError", {"errorName": "COLUMN_NOT_FOUND", "message": NOTHING}),
        NOTHING,
    ),
    "hive of PyHive": (
        driver_error("pyhive.exc.OperationalError", SimpleNamespace(status=HIVE)),
        "SQLSTATE 42000: Invalid column reference 'nothing'",
    ),
    "clickhouse column": (clickhouse(47, "Unknown identifier `nothing`. Stack trace: 0. DB"), "Unknown identifier"),
    "clickhouse over HTTP": (
        driver_error("clickhouse_connect.driver.exceptions.DatabaseError", "Code: 47. DB::Exception: Unknown `no`"),
        "Unknown `no`",
    ),
    "mysql-connector column": (
        driver_error("mysql.connector.errors.ProgrammingError", 1054, "1054 (42S22): x", "42S22", **MYSQL_CONNECTOR),
        "Unknown column 'nothing'",
    ),
    "vertica column": (
        driver_error("vertica_python.errors.MissingColumn", "x, SQL: 'y'", sqlstate="42703", message="Column nothing"),
        "SQLSTATE 42703: Column nothing",
    ),
    "SQLAlchemy's wrapping": (
        driver_error("sqlalchemy.exc.ProgrammingError", f"[parameters: {SECRET}]", orig=INVALID_NAME, code="f405"),
        "invalid identifier 'NOTHING'",
    ),
    "an unknown driver": (
        driver_error("someones.Error", "42S22", "no column nothing"),
        "SQLSTATE 42S22: no column nothing",
    ),
}
# What may pass: it is named, and tried again.
MAY_PASS: dict[str, tuple[Exception, str]] = {
    "snowflake": (snowflake(630, "Statement reached its warehouse timeout", "57014"), "warehouse timeout"),
    "pyodbc": (odbc("40001", "Transaction (Process ID 52) was deadlocked.", 1205), "was deadlocked"),
    "pymssql": (pymssql(1205, "Transaction was deadlocked"), "error 1205: Transaction was deadlocked"),
    "oracle": (oracle("ORA-01555", "snapshot too old: rollback segment too small"), "snapshot too old"),
    "bigquery": (bigquery("Quota exceeded: Your project exceeded quota", "Forbidden"), "Quota exceeded"),
    "bigquery's service": (bigquery("Service is unavailable", "ServiceUnavailable"), "Service is unavailable"),
    "redshift": (redshift("57014", "Query (12) cancelled by WLM abort action"), "cancelled by WLM"),
    "mysql": (mysqlclient(1205, "Lock wait timeout exceeded"), "error 1205: Lock wait timeout exceeded"),
    "trino": (trino("EXCEEDED_TIME_LIMIT", "Query exceeded maximum time limit of 5m"), "maximum time limit"),
    "clickhouse": (clickhouse(241, "Memory limit (total) exceeded"), "error 241: Memory limit"),
    "duckdb": (
        driver_error("_duckdb.IOException", 'IO Error: Could not set lock on file "/w.db": it is held in PID 7'),
        "Could not set lock on file",
    ),
    "an unknown driver": (driver_error("someones.Error", "53300", "too many connections"), "SQLSTATE 53300: too many"),
}
# What quotes a row: class and code at most.
OF_A_ROW: dict[str, Exception] = {
    "snowflake": snowflake(100038, f"Numeric value '{SECRET}' is not recognized", "22018"),
    "snowflake's procedure": snowflake(100132, f"Uncaught exception: {SECRET}", "P0000"),
    "pyodbc": odbc("22018", f"Conversion failed when converting the value '{SECRET}'.", 245),
    "pyodbc's RAISERROR": odbc("42000", SECRET, 50000),
    "pyodbc's RAISERROR with a number in it": odbc("42000", f"{SECRET} (207)", 50000),
    "pyodbc's truncation": odbc("42000", f"Truncated value: '{SECRET}'.", 2628),
    "pymssql": pymssql(245, f"Conversion failed when converting '{SECRET}'"),
    "oracle": oracle("ORA-01722", f"unable to convert string value containing '{SECRET}' to a number"),
    "oracle's procedure": oracle("ORA-20001", SECRET),
    "bigquery": bigquery(f"Bad int64 value: {SECRET}"),
    "bigquery in a script": bigquery(f"Query error: Bad int64 value: {SECRET} at [5:1]"),
    "redshift": redshift("22P02", f'invalid input syntax for integer: "{SECRET}"'),
    "databricks": databricks(f"[CAST_INVALID_INPUT] '{SECRET} SQLSTATE: 42703' cannot be cast. SQLSTATE: 22018"),
    "trino": trino("INVALID_CAST_ARGUMENT", f"Cannot cast '{SECRET}' to INT"),
    "athena": athena(f"INVALID_CAST_ARGUMENT: Cannot cast '{SECRET}' to INT"),
    "clickhouse": clickhouse(6, f"Cannot parse string '{SECRET}' as Int32"),
    "mysql": mysqlclient(1292, f"Truncated incorrect DOUBLE value: '{SECRET}'"),
    "mysql's unique key": mysqlclient(1062, f"Duplicate entry '{SECRET}' for key"),
    "an unknown driver": driver_error("someones.Error", f"bad value {SECRET}"),
    "Python, of a row that is read at once": ValueError(f"invalid literal for int() with base 10: '{SECRET}'"),
    "Python, of a name in a row": KeyError(SECRET),
}


class TestOtherDrivers:
    """Drivers that cannot run here, whose errors are shaped as their source says."""

    @pytest.mark.parametrize(("error", "text"), WRONG.values(), ids=WRONG)
    def test_a_wrong_query_is_named_and_not_retried(
        self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, error: Exception, text: str
    ) -> None:
        """The column, the table or the word is shown, and the task fails at once."""
        found, is_retried = failure_of("SELECT nothing FROM users", failing(error, monkeypatch))
        assert text in found
        assert found.startswith("the query: ")
        assert not is_retried

    @pytest.mark.parametrize(("error", "text"), MAY_PASS.values(), ids=MAY_PASS)
    def test_what_may_pass_is_named_and_retried(
        self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, error: Exception, text: str
    ) -> None:
        """What the database says of itself is shown, and the task may be tried again."""
        found, is_retried = failure_of("SELECT id FROM users", failing(error, monkeypatch))
        assert text in found
        assert is_retried

    @pytest.mark.parametrize("error", OF_A_ROW.values(), ids=OF_A_ROW)
    def test_a_rows_own_words_are_not_shown(
        self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        """An error of a value shows its class, SQLSTATE and number, and none of its words."""
        found, is_retried = failure_of("SELECT id FROM users", failing(error, monkeypatch), ["p"])
        assert found.endswith(BY_HAND)
        assert "secret" not in found
        assert is_retried

    def test_a_tasks_tries(self, segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, run_dag: RunDag) -> None:
        """In a DAG run a wrong query has one try, whatever its retries, and what may pass has all."""
        for error, tries in ((INVALID_NAME, 1), (MAY_PASS["snowflake"][0], 3)):
            with new_dag() as dag:
                operator("SELECT 1 AS id", failing(error, monkeypatch), retries=2)
            assert run_dag(dag).task("sync") == ("failed", tries)

    @pytest.mark.parametrize("parameters", [[SECRET], {"mail": SECRET}, [["x", (SECRET,)]], SECRET, [SECRET.encode()]])
    def test_a_parameters_words_are_not_shown(self, parameters: Any) -> None:
        """No word of a parameter is shown, cut or whole, whatever holds it; the query's own words are."""
        shown = f"syntax error near '{SECRET}' and 'sec' of the column nothing"
        error = driver_error("someones.Error", "42601", shown)

        def fail() -> None:
            raise error

        with pytest.raises(QueryError) as caught:
            call_driver(fail, "the query", Query("SELECT", parameters, None))
        assert "syntax error near '***@***.***' and '***' of the column nothing" in str(caught.value)
        assert caught.value.__context__ is None


def failing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a connection whose query fails."""

    def fail(_: Any) -> None:
        raise error

    return hand_out(MadeUpConnection("someones.connection", None, on={"execute": fail}), monkeypatch)
