"""The methods of the hook that look after a state, and after what was refused."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.report import Report
from airflow_provider_segment.hooks import task

if TYPE_CHECKING:
    from airflow_provider_segment.compat import Context


class StateMethods:
    """What is known of a sync, and what can be done about it; nothing here runs while a DAG is parsed."""

    log: Any

    @abstractmethod
    def send(self, messages: Iterable[Mapping[str, Any]], *, context: Context | None = None) -> Report:
        """Send messages as they stand on the wire.

        :param messages: some.
        :param context: the task's context.
        """

    @task.as_airflow_exceptions()
    def reset(
        self,
        sync_id: str,
        keys: Sequence[Any] | None = None,
        *,
        run: int | None = None,
        refused: bool = False,
        sql: str | None = None,
        sql_conn_id: str | None = None,
        cursor: Any = None,
        validate_only: bool = False,
        state_conn_id: str | None = None,
        state_schema: str | None = None,
        state_path: str | None = None,
    ) -> int:
        """Forget what Segment last accepted, so that the next run with ``sync_mode="changes"`` sends it again.

        :param sync_id: whose state it is.
        :param keys: of rows: values, or tuples of them where the key has several columns. Where neither these nor
            ``run``, ``refused``, ``sql`` or ``cursor`` is given, all is forgotten, also when the state is about another
            write key.
        :param run: the number of a run in the history: the calls that it had accepted, and that have not changed since.
        :param refused: all calls of the keys of which a call was refused when a run looked at it last; the refused ones
            are due in any case.
        :param sql: a query for the keys, whose columns are those of the key in their order ...
        :param sql_conn_id: ... and the connection to run it on.
        :param cursor: sets the mark of the sync's cursor back to this value, of the same kind as the mark; alone it
            forgets nothing, so that rows which are read again are sent only where they are new.
        :param validate_only: do nothing, and return the number all the same.
        :param state_conn_id: where the state is, as for SqlToSegmentOperator; so are ``state_schema``, ``state_path``.
        :param state_schema: of the connection.
        :param state_path: of a SQLite file.
        :return: how many calls are due again.
        :raises SegmentError: if the state cannot be opened, or a run is writing it.
        """
        from airflow_provider_segment.core.changes.selection import Selection
        from airflow_provider_segment.hooks.state_care import numbers_of_keys, read_state, reset_state

        where = _where(state_conn_id, state_schema, state_path)
        given = {"keys": keys is not None, "run": run is not None, "refused": refused, "sql": sql is not None}
        if sum(given.values()) > 1:
            raise SettingError(f"{', '.join(name for name in given if given[name])}: expected one of them at most")
        if (sql is None) != (sql_conn_id is None):
            raise SettingError("sql, sql_conn_id: the one needs the other")
        if sql is not None:
            keys = _keys_of(sql, str(sql_conn_id))
        selection = Selection(None if keys is None else numbers_of_keys(keys), run, refused)
        is_all = not any(given.values())
        if validate_only:
            with read_state(sync_id, **where) as state:
                return 0 if is_all and cursor is not None else state.count(selection)
        return reset_state(sync_id, selection, cursor=cursor, is_all=is_all, **where, log=self.log)

    @task.as_airflow_exceptions()
    def history(
        self,
        sync_id: str,
        *,
        last: int = 20,
        state_conn_id: str | None = None,
        state_schema: str | None = None,
        state_path: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return the last runs of a sync, the newest first: who ran, how it ended, its counts.

        Runs with ``sync_mode="all"`` are there where a state was given. Of a run that was killed the counts are those
        of a second before, with "all" of five.

        :param sync_id: whose state it is.
        :param last: runs at most; those of ``history_days`` are kept.
        :param state_conn_id: where the state is, as for SqlToSegmentOperator; so are ``state_schema``, ``state_path``.
        :param state_schema: of the connection.
        :param state_path: of a SQLite file.
        :raises SegmentError: if there is no such state, or its database fails.
        """
        from airflow_provider_segment.hooks.state_care import read_state

        with read_state(sync_id, **_where(state_conn_id, state_schema, state_path)) as state:
            return state.history(last)

    @task.as_airflow_exceptions()
    def explain(
        self,
        sync_id: str,
        keys: Sequence[Any],
        *,
        state_conn_id: str | None = None,
        state_schema: str | None = None,
        state_path: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return what is known of some keys, for each call: accepted, refused and why, on its way, gone, never seen.

        :param sync_id: whose state it is.
        :param keys: values, or tuples of them where the key has several columns; the answer names them 1, 2, 3 ...
        :param state_conn_id: where the state is, as for SqlToSegmentOperator; so are ``state_schema``, ``state_path``.
        :param state_schema: of the connection.
        :param state_path: of a SQLite file.
        :raises SegmentError: if there is no such state, or its database fails.
        """
        from airflow_provider_segment.hooks.state_care import numbers_of_keys, read_state

        with read_state(sync_id, **_where(state_conn_id, state_schema, state_path)) as state:
            return list(state.explain([numbers_of_keys([key]) for key in keys]))

    @task.as_airflow_exceptions()
    def release(
        self,
        sync_id: str,
        *,
        state_conn_id: str | None = None,
        state_schema: str | None = None,
        state_path: str | None = None,
    ) -> str:
        """Free a state that is held for tasks which will never go on, and return who held it; empty where nobody did.

        A SqlToSegmentTaskGroup holds it from its plan to its end, for ``pickup_timeout`` while no task of it runs. Do
        this only when none of its tasks runs any more: what they would still save is refused.

        :param sync_id: whose state it is.
        :param state_conn_id: where the state is, as for SqlToSegmentOperator; so are ``state_schema``, ``state_path``.
        :param state_schema: of the connection.
        :param state_path: of a SQLite file.
        :raises SegmentError: if there is no such state, or its database fails.
        """
        from airflow_provider_segment.hooks.state_care import release_state

        return release_state(sync_id, **_where(state_conn_id, state_schema, state_path), log=self.log)

    @task.as_airflow_exceptions()
    def rename(
        self,
        sync_id: str,
        new_id: str,
        *,
        state_conn_id: str | None = None,
        state_schema: str | None = None,
        state_path: str | None = None,
    ) -> None:
        """Give a sync another id, such as the default of a DAG that was renamed; nothing is sent again for it.

        :param sync_id: as it was.
        :param new_id: as it is from now on.
        :param state_conn_id: where the state is, as for SqlToSegmentOperator; so are ``state_schema``, ``state_path``.
        :param state_schema: of the connection.
        :param state_path: of a SQLite file.
        :raises SegmentError: if there is no such state, another one has the new id, or a run goes on.
        """
        from airflow_provider_segment.hooks.state_care import rename_state

        rename_state(sync_id, new_id, **_where(state_conn_id, state_schema, state_path), log=self.log)

    def resend(self, path: str, *, new_ids: bool = False, context: Context | None = None) -> Report:
        """Send the calls again that Segment refused, from a file of rejects; those of ``sync_mode="all"``.

        With "changes" the next run does it. What was refused before it was sent is left out, and said: no message of it
        can be sent, so mend the row or the mapping.

        :param path: as it was written for ``rejects_path``, with its ``.try2`` and ``.map0``; of an object storage each
            part by itself.
        :param new_ids: give the messages new ids, which Segment does not take for repeats; default False.
        :param context: the task's context; by default the one that Airflow says is current.
        :return: the report of what was sent.
        :raises SegmentError: if the file is no such file, or a call was not accepted.
        """
        from airflow_provider_segment.hooks.rejects_file import refused_messages

        left_out: dict[str, int] = {}
        report = self.send(refused_messages(path, new_ids=new_ids, left_out=left_out), context=context)
        for code, number in left_out.items():
            self.log.warning("%s lines of %s were left out: %s; they were refused before sending", number, path, code)
        return report


def _keys_of(sql: str, conn_id: str) -> list[Any]:
    """Return the keys that a query finds."""
    from airflow_provider_segment.transfers.query import open_query

    with open_query(conn_id, sql) as rows:
        return [row for page in rows.pages for row in page]


def _where(conn_id: str | None, schema: str | None, path: str | None) -> dict[str, Any]:
    """Return where a state is, in the words of hooks/state.py."""
    if (conn_id is None) == (path is None):
        raise SettingError("state_path, state_conn_id: expected one of the two, where the sync remembers")
    return {"conn_id": conn_id, "schema": schema, "path": path}
