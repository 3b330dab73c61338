"""What the text of a query tells before it runs: that it is one statement, and whether it only reads."""

from __future__ import annotations

from typing import Any

from airflow_provider_segment.core.errors import SettingError

_ONE = (
    "expected one statement that returns rows. What is to be set before it belongs to the connection: "
    "sql_hook_params={'options': '-c ...'} (PostgreSQL), {'init_command': 'SET ...'} (MySQL), "
    "{'session_parameters': {...}} (Snowflake), or its extra; a temporary table becomes a WITH, or a table that a task "
    "before this one makes"
)
# A text that begins so may hold semicolons and still be one statement: a block of PL/SQL, T-SQL or Snowflake's script.
_BLOCKS = {"BEGIN", "DECLARE", "DO", "EXECUTE", "IF", "WHILE", "WITH FUNCTION", "WITH PROCEDURE"}
_STARTS = {"SELECT", "WITH", "VALUES", "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "DROP", "ALTER", "TRUNCATE"}
_STARTS |= {"SET", "USE", "CALL", "EXEC", "EXECUTE", "COMMIT", "ROLLBACK", "ANALYZE", "GRANT", "SHOW"}
# What the lexer does not know, such as the rest of a text with another database's rules for backslashes.
_UNCLEAR = "?"
_READS = {"SELECT", "WITH", "VALUES", "TABLE", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN"}
_WRITES = {"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "INTO"}


def check_written(sql: Any) -> None:
    """Check what an operator is given as ``sql``, as far as that can be known before Jinja and ``.sql`` files.

    :param sql: text, or what Airflow resolves to text when the task runs.
    :raises SettingError: if it is a list, or holds several statements.
    """
    if isinstance(sql, str) and (sql.endswith(".sql") or any(mark in sql for mark in ("{{", "{%", "{#"))):
        return
    if isinstance(sql, (str, list, tuple, set)):
        check_one(sql)


def check_one(sql: Any) -> None:
    """Check that a query is one statement; in doubt it is left to the database.

    :param sql: the query as it is to run.
    :raises SettingError: if it is no text, or holds several statements.
    """
    if not isinstance(sql, str):
        raise SettingError(f"sql: {_ONE}. Found a {type(sql).__name__}")
    if not sql.strip():
        raise SettingError(f"sql: {_ONE}. Found none")
    if ";" not in sql.rstrip("; \t\r\n"):
        return  # most queries: to import the lexer takes longer than parsing a DAG should
    found = _statements(sql)
    starts = [words[0] for words in found]
    if any(_UNCLEAR in words for words in found) or _is_block(found[0]):
        return
    if any(start in _STARTS for start in starts[1:]):
        raise SettingError(f"sql: {_ONE}. Found {len(found)} statements: {', '.join(starts)}")


def check_streamed(sql: str, way: str) -> None:
    """Check that a server-side cursor can run a query.

    :param sql: the query.
    :param way: what to do where it cannot.
    :raises SettingError: if it is not exactly one SELECT, WITH or VALUES.
    """
    found = _statements(sql)
    wanted = f"sql: a server-side cursor takes one SELECT, WITH or VALUES; {way}"
    if len(found) > 1:
        raise SettingError(f"{wanted}. Found more than one statement")
    first = found[0][0] if found else ""
    if first not in ("SELECT", "WITH", "VALUES"):
        raise SettingError(f"{wanted}. Found {first or 'no statement at all'}")


def only_reads(sql: str) -> bool:
    """Tell whether nothing in the text of a query says that it changes data; a function in it still may.

    :param sql: the query.
    """
    found = _statements(sql)
    if len(found) != 1 or found[0][0] not in _READS:
        return False
    # FOR UPDATE and FOR NO KEY UPDATE lock a row, and change nothing.
    return not any(
        word in _WRITES and before not in ("FOR", "KEY")
        for before, word in zip(["", *found[0]], found[0], strict=False)
    )


def check_only_reads(sql: str, setting: str) -> None:
    """Refuse a query that cannot be put within another one.

    :param sql: the query.
    :param setting: that does so, for the error.
    :raises SettingError: if it is not one statement, or changes data.
    """
    check_one(sql)
    if not only_reads(sql):
        raise SettingError(f"sql: with {setting} expected a SELECT that changes nothing")


def is_limited(sql: str) -> bool:
    """Tell whether a query ends with a LIMIT, or the like, that is its own and not one of a query within it.

    :param sql: the query.
    """
    from sqlparse import lexer, tokens

    depth = 0
    for kind, text in lexer.tokenize(sql):  # type: ignore[no-untyped-call]  # sqlparse has no annotations
        depth += (text == "(") - (text == ")") if kind in tokens.Punctuation else 0
        if depth == 0 and kind in tokens.Keyword and text.upper() in ("LIMIT", "FETCH", "TOP", "OFFSET"):
            return True
    return False


def derived(sql: str) -> str:
    """Return a query as it may stand within another one: without the semicolon at its end.

    :param sql: the query, which may end with comments.
    """
    from sqlparse import lexer, tokens

    parts = list(lexer.tokenize(sql))  # type: ignore[no-untyped-call]  # sqlparse has no annotations
    for place in reversed(range(len(parts))):
        kind, text = parts[place]
        if kind in tokens.Punctuation and text == ";":
            parts[place] = kind, ""
        elif kind not in tokens.Whitespace and kind not in tokens.Comment:
            break
    return "".join(text for _, text in parts)


def _is_block(words: list[str]) -> bool:
    if words[0] == "BEGIN":
        return len(words) > 1 and words[1] not in ("TRAN", "TRANSACTION", "WORK")
    return words[0] in _BLOCKS or " ".join(words[:2]) in _BLOCKS


def _statements(sql: str) -> list[list[str]]:
    """Return the keywords of each statement in capitals, with a dot for each name, number, text or sign."""
    from sqlparse import lexer, tokens

    found: list[list[str]] = [[]]
    for kind, text in lexer.tokenize(sql):  # type: ignore[no-untyped-call]  # sqlparse has no annotations
        if kind in tokens.Punctuation and text == ";":
            found.append([])
        elif kind in tokens.Keyword:
            found[-1] += text.upper().split()
        elif kind not in tokens.Whitespace and kind not in tokens.Comment and (found[-1] or text != "("):
            found[-1].append(_UNCLEAR if kind in tokens.Error else ".")
    return [words for words in found if words]
