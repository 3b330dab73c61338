"""Where the errors of each driver carry their text, SQLSTATE and number, and which of them speak of the query alone.

A text is shown only where it can quote nothing but the query: what is in no table stays hidden. Each table names where
its numbers are from; the shapes of the errors are those of the drivers' own source. It is long for its tables, with an
entry a driver.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

# SQLSTATE, by class: not supported, and syntax error or access rule violation, are the query's fault; an unknown
# statement or cursor, a rollback, too few resources, a lock and an operator's intervention may pass.
WRONG_CLASSES = ("0A", "42")
PASSING_CLASSES = ("26", "34", "40", "53", "55", "57")
PLACEHOLDERS = "placeholders"
PARSER = "parser"
PASSING = "passing"

# What Python and drivers say when parameters do not fit the query, before a row was read; it quotes the query at most.
PLACEHOLDER_TEXT = re.compile(
    r"unsupported format character .{1,3} \(0x[0-9a-f]+\) at index \d+|not enough arguments for format string"
    r"|not all arguments converted during (string|bytes) formatting|incomplete format( key)?"
    r"|format requires a mapping|(list|tuple) index out of range|list indices must be integers or slices, not str"
    r"|dict is not a sequence|(named|positional) placeholders .+ of parameters|%\w format: .{1,60} required, not \w+"
    r"|bind message supplies \d+ parameters?, but prepared statement .* requires \d+"
    r"|Not (all parameters were used in the|enough parameters for the) SQL statement"
    r"|The SQL contains \d+ parameter markers, but \d+ parameters were supplied"
    r"|Only %s and %% are supported in the query\."
    r"|Invalid Input Error: (Parameter argument/count mismatch|Values were not provided for the following param).*",
    re.DOTALL,
)


class Said(NamedTuple):
    """What an error says of itself.

    :param text: of the database, where it may be shown.
    :param state: its SQLSTATE.
    :param code: the driver's own number or name of it.
    """

    text: str = ""
    state: str = ""
    code: Any = None


class Errors(NamedTuple):
    """The errors of a driver.

    :param read: finds what one says.
    :param wrong: codes of those that speak of the query's names, syntax or parameters.
    :param passing: codes of those that speak of the database's own state, which may pass.
    :param by_state: whether the class of a SQLSTATE tells as much, as the standard means it.
    """

    read: Callable[[Any], Said]
    wrong: frozenset[Any] = frozenset()
    passing: frozenset[Any] = frozenset()
    by_state: bool = True


def _standard(error: Any) -> Said:
    """SQLSTATE as an attribute, in ``args[0]`` or in the status there; the text beside it."""
    args = [*error.args, "", ""]
    status = getattr(args[0], "status", None)  # of Thrift: PyHive
    found = (
        getattr(at, name, None)
        for name in ("sqlstate", "sql_state", "sqlState", "pgcode", "code")
        for at in (error, status)
    )
    state = next((code for code in (*found, *args[:2]) if _is_state(code)), "")
    shown = (getattr(error, "msg", None), getattr(error, "message", None), getattr(status, "errorMessage", None))
    texts = [text for text in (*shown, *args) if isinstance(text, str) and text and not _is_state(text)]
    number = next((n for n in (getattr(error, "errno", None), args[0]) if isinstance(n, int)), None)
    return Said(texts[0] if texts else "", state, number)


def _is_state(code: Any) -> bool:
    return isinstance(code, str) and re.fullmatch(r"[0-9A-Z]{5}", code) is not None and any(map(str.isdigit, code))


def _postgres(error: Any) -> Said:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
    if not state:
        text = str(error)
        if type(error).__name__ == "ProgrammingError":  # psycopg's own, before the query is sent
            return Said(text, "", PLACEHOLDERS)
        # The server's no to a connection has no SQLSTATE; what stands before it may quote a setting.
        refusal = re.search(r"FATAL:\s+(.+)", text)
        return Said(refusal[1], "", PASSING) if refusal else Said()
    diag = error.diag
    text = diag.message_primary or ""
    return Said(text if not state.startswith("42") or _is_of_the_query(diag, state) else "", state)


def _is_of_the_query(diag: Any, state: str) -> bool:
    """Tell whether an error of class 42 speaks of the query.

    PostgreSQL says where in the query such an error is; without a place it is about a name that a row holds, as in
    ``email::regclass``: "relation "ann@example.com" does not exist".
    """
    is_postgres = (diag.source_file or "").endswith((".c", ".l", ".y")) and "/" not in diag.source_file
    # A table's name twice; permission denied; an ambiguous type of a parameter: these come without a place.
    return not is_postgres or bool(diag.statement_position) or state in ("42712", "42501", "42P18")


def _redshift(error: Any) -> Said:
    fields = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    return Said(fields.get("M", ""), fields.get("C", ""))


def _sqlite(error: Any) -> Said:
    """What SQLITE_ERROR says is shown by database_errors.py alone: some of it quotes rows."""
    code = getattr(error, "sqlite_errorname", None)
    if code is None and type(error).__name__ in ("ProgrammingError", "Warning"):
        code = PLACEHOLDERS
    return Said(str(error), "", code)


def _duckdb(error: Any) -> Said:
    text, kind = re.split(r"\n\nLINE|\s+Candidate functions", str(error))[0], type(error).__name__
    return Said(text, "", PASSING if text.startswith("IO Error: Could not set lock on file") else kind)


def _odbc(error: Any) -> Said:
    """``("42S22", "[42S22] [Microsoft][...][SQL Server]Invalid column name 'x'. (207) (SQLExecDirectW)")``."""
    said = _standard(error)
    if "[SQL Server]" not in said.text:
        return said
    # SQL Server's 42000 is for nearly everything, a row's own words of RAISERROR and truncated values too.
    numbers = {int(number) for number in re.findall(r"\((\d+)\)", said.text)}
    if said.state.startswith(("42", "0A")):
        return Said(said.text if numbers and numbers <= _SQL_SERVER_WRONG else "", said.state)
    return said


def _pymssql(error: Any) -> Said:
    args = error.args[0] if error.args and isinstance(error.args[0], tuple) else error.args
    number, text = [*args, None, b""][:2]
    text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return Said(text.partition("DB-Lib error message")[0], "", number)


def _oracle(error: Any) -> Said:
    found = error.args[0] if error.args else None
    text = str(getattr(found, "message", "")).partition("\n")[0]  # what follows may be a trigger's or a function's own
    return Said(text, "", text.partition(":")[0])


def _snowflake(error: Any) -> Said:
    text = getattr(error, "raw_msg", None) or getattr(error, "msg", None) or ""
    return Said(text, getattr(error, "sqlstate", None) or "", getattr(error, "errno", None))


def _bigquery(error: Any) -> Said:
    """The analyzer's own sentences: an error of a row is a 400 with the reason invalidQuery, too."""
    text = re.sub(r"^[A-Z]+ https://\S+: ", "", str(getattr(error, "message", ""))).partition("; reason:")[0]
    if _BIGQUERY_WRONG.match(text):
        return Said(text, "", "invalidQuery")
    is_passing = _BIGQUERY_PASSING.match(text) or type(error).__name__ in _GOOGLE_PASSING
    return Said(text, "", PASSING if is_passing else None)


def _databricks(error: Any) -> Said:
    text = str(getattr(error, "message", None) or error).partition("== SQL")[0]
    states = {*re.findall(r"SQLSTATE: ([0-9A-Z]{5})", text), *filter(None, [getattr(error, "sql_state", None)])}
    # More than one class, and one of them may be a row's.
    return Said(text, states.pop()) if len({state[:2] for state in states}) == 1 else Said()


def _trino(error: Any) -> Said:
    found = error.args[0] if error.args and isinstance(error.args[0], dict) else {}  # of PyHive
    name = getattr(error, "error_name", None) or found.get("errorName")
    return Said(getattr(error, "message", None) or found.get("message", ""), "", name)


def _hive(error: Any) -> Said:
    return _trino(error) if error.args and isinstance(error.args[0], dict) else _standard(error)


def _athena(error: Any) -> Said:
    text = str(error)
    return Said(text, "", text.partition(":")[0])


def _clickhouse(error: Any) -> Said:
    text = str(getattr(error, "message", None) or error).partition("Stack trace")[0]
    code = getattr(error, "code", None) or next(map(int, re.findall(r"Code: (\d+)\.", text)), None)
    return Said(text, "", code)


def _codes(numbers: str, form: Callable[[str], Any] = int) -> frozenset[Any]:
    return frozenset(map(form, numbers.split()))


# dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html, mariadb.com/kb/en/mariadb-error-code-reference:
# unknown or doubled names, syntax, grouping, wrong counts of columns and parameters, rights on tables and columns.
_MYSQL_WRONG = _codes(
    "1044 1046 1049 1051 1052 1054 1055 1056 1060 1064 1066 1109 1111 1140 1142 1143 1146 1149 1176 1221 1222 1235 1241"
    " 1247 1248 1250 1305 1318 1370 1463 1582 1584 1630 3593 4015 4161"
)
# Too many connections, out of memory, lock wait, deadlock, shutdown, interrupted, time limits, lost connections.
_MYSQL_PASSING = _codes("1021 1037 1038 1040 1041 1053 1203 1205 1213 1226 1317 1927 1969 2006 2013 3024 4031")
# The number decides: SQLSTATE 42000 is that of a variable's bad value, too.
_MYSQL = Errors(_standard, _MYSQL_WRONG, _MYSQL_PASSING, by_state=False)
# learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors.
_SQL_SERVER_WRONG = _codes(
    "102 105 107 108 109 116 121 130 137 145 147 156 164 170 174 189 195 205 206 207 208 209 229 230 243 262 306 319"
    " 402 911 916 1011 1033 1038 2715 2812 4104 4121 4145 8117 8120 8121 8127 8155 8156 8158 8159 8180"
)
_SQL_SERVER_PASSING = _codes("1204 1205 1222 3960 6005 10928 10929 40197 40501 40613 49918")
# docs.oracle.com/en/error-help/db: 00900 to 00999 is SQL's parser; and python-oracledb's errors.py for binds.
_ORACLE_WRONG = frozenset(f"ORA-{number:05}" for number in range(900, 1000)) | _codes(
    "ORA-01006 ORA-01008 ORA-01031 ORA-01036 ORA-01740 ORA-01741 ORA-01756 ORA-01785 ORA-01789 ORA-01790 ORA-01791"
    " ORA-01795 ORA-02019 ORA-02289 DPY-2003 DPY-2006 DPY-4008 DPY-4009 DPY-4010",
    str,
)
_ORACLE_PASSING = _codes(
    "ORA-00018 ORA-00020 ORA-00028 ORA-00054 ORA-00060 ORA-01012 ORA-01013 ORA-01033 ORA-01034 ORA-01089 ORA-01090"
    " ORA-01555 ORA-02391 ORA-03113 ORA-03114 ORA-03135 ORA-04031 ORA-08177 ORA-12516 ORA-12519 ORA-12520",
    str,
)
# docs.snowflake.com: "does not exist or not authorized" has SQLSTATE 02000; no current database or schema has 22000.
_SNOWFLAKE_WRONG = _codes("2003 2043 90105 90106")
_BIGQUERY_WRONG = re.compile(
    r"(Unrecognized name|Syntax error|Function not found|Type not found|Table-valued function not found): "
    r"|No matching signature for |Column name \S+ is ambiguous|Name \S+ not found inside |Cannot access field "
    r"|Duplicate (column names|table alias)|Table \S+ must be qualified|Table name \S+ missing dataset|Undeclared "
    r"|Not found: (Table|Dataset|Project|Model|Routine) |Access Denied: (Table|Dataset|Project|BigQuery) "
    r"|Query parameter \S+ not found|SELECT list expression references |Aggregate function \S+ not allowed "
)
_BIGQUERY_PASSING = re.compile("Exceeded rate limits|Quota exceeded|Job exceeded rate limits|Resources exceeded ")
# google.api_core.exceptions: 429, 503 and 504.
_GOOGLE_PASSING = ("TooManyRequests", "ServiceUnavailable", "GatewayTimeout", "DeadlineExceeded")
# trino.io, StandardErrorCode.java; Presto and Athena have the same names.
_TRINO_WRONG = _codes(
    "SYNTAX_ERROR COLUMN_NOT_FOUND TABLE_NOT_FOUND SCHEMA_NOT_FOUND CATALOG_NOT_FOUND FUNCTION_NOT_FOUND TYPE_NOT_FOUND"
    " MISSING_SCHEMA_NAME MISSING_CATALOG_NAME MISSING_TABLE MISSING_COLUMN_NAME MISSING_GROUP_BY"
    " AMBIGUOUS_NAME AMBIGUOUS_FUNCTION_CALL DUPLICATE_COLUMN_NAME DUPLICATE_NAMED_QUERY EXPRESSION_NOT_AGGREGATE"
    " EXPRESSION_NOT_SCALAR FUNCTION_NOT_AGGREGATE NESTED_AGGREGATION INVALID_COLUMN_REFERENCE INVALID_PARAMETER_USAGE"
    " COLUMN_TYPE_UNKNOWN TYPE_MISMATCH MISMATCHED_COLUMN_ALIASES PERMISSION_DENIED",
    str,
)
_TRINO_PASSING = _codes(
    "EXCEEDED_TIME_LIMIT EXCEEDED_CPU_LIMIT EXCEEDED_GLOBAL_MEMORY_LIMIT EXCEEDED_LOCAL_MEMORY_LIMIT QUERY_QUEUE_FULL"
    " CLUSTER_OUT_OF_MEMORY NO_NODES_AVAILABLE SERVER_SHUTTING_DOWN SERVER_STARTING_UP REMOTE_HOST_GONE"
    " ADMINISTRATIVELY_KILLED ADMINISTRATIVELY_PREEMPTED ABANDONED_QUERY",
    str,
)
# ClickHouse, src/Common/ErrorCodes.cpp: unknown names, syntax, aggregation, counts of arguments, rights.
_CLICKHOUSE_WRONG = _codes("10 16 35 42 43 46 47 50 60 62 63 81 179 183 184 207 215 352 456 497")
# Time-out, too many queries, network, memory, no space, cancelled.
_CLICKHOUSE_PASSING = _codes("159 202 209 210 241 243 394")

ERRORS: dict[str, Errors] = {
    "psycopg": Errors(_postgres),
    "psycopg2": Errors(_postgres),
    "redshift_connector": Errors(_redshift),
    "sqlite3": Errors(
        _sqlite, frozenset(), _codes("SQLITE_BUSY SQLITE_LOCKED SQLITE_FULL SQLITE_NOMEM SQLITE_INTERRUPT", str)
    ),
    "duckdb": Errors(
        _duckdb,
        _codes("ParserException SyntaxException BinderException CatalogException", str),
        _codes("TransactionException OutOfMemoryException InterruptException", str),
    ),
    "MySQLdb": _MYSQL,
    "pymysql": _MYSQL,
    "mysql": _MYSQL,
    "snowflake": Errors(_snowflake, _SNOWFLAKE_WRONG),
    "pyodbc": Errors(_odbc),
    "pymssql": Errors(_pymssql, _SQL_SERVER_WRONG, _SQL_SERVER_PASSING),
    "oracledb": Errors(_oracle, _ORACLE_WRONG, _ORACLE_PASSING),
    "cx_Oracle": Errors(_oracle, _ORACLE_WRONG, _ORACLE_PASSING),
    "google": Errors(_bigquery, frozenset({"invalidQuery"})),
    "databricks": Errors(_databricks),
    "trino": Errors(_trino, _TRINO_WRONG, _TRINO_PASSING),
    "prestodb": Errors(_trino, _TRINO_WRONG, _TRINO_PASSING),
    "pyhive": Errors(_hive, _TRINO_WRONG, _TRINO_PASSING),
    "pyathena": Errors(_athena, _TRINO_WRONG, _TRINO_PASSING),
    "clickhouse_connect": Errors(_clickhouse, _CLICKHOUSE_WRONG, _CLICKHOUSE_PASSING),
    "clickhouse_driver": Errors(_clickhouse, _CLICKHOUSE_WRONG, _CLICKHOUSE_PASSING),
}
STANDARD = Errors(_standard)
