"""What a driver gives raw becomes what the cursor's description says that it is."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import psycopg2
import pytest
import sqlalchemy as sa
from drivers import MadeUpConnection, hand_out
from mariadb import connected
from warehouses import PostgresWarehouse

from airflow_provider_segment.calls import AllColumns, Bool, Constant, Identify, Track
from airflow_provider_segment.core.errors import SettingError, SourceError
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers import postgres_values
from airflow_provider_segment.transfers.query import open_query
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator


def traits(segment: SegmentServer, conn_id: str, sql: str = "SELECT 1", **settings: Any) -> Any:
    """Return the traits of the only row of a query, as they arrive: numbers as Decimals."""
    calls = settings.pop("calls", Identify(Constant("u"), traits=AllColumns()))
    SqlToSegmentOperator(task_id="t", sql=sql, sql_conn_id=conn_id, calls=calls, **settings).execute({})
    body = json.loads(segment.requests[-1].body, parse_float=Decimal)
    return body["batch"][0].get("traits")


# PostgreSQL

TYPES = """
    CREATE TYPE mood AS ENUM ('happy', 'sad, or "so"');
    CREATE DOMAIN score AS numeric(10, 2) CHECK (VALUE >= 0);
    CREATE DOMAIN name AS text;
    CREATE TYPE place AS (city text, at timestamptz, levels int[]);
    CREATE TYPE trip AS (start place, stops place[], mood mood);
    CREATE TABLE customers (id int, dropped int, email text, moods mood[]);
    ALTER TABLE customers DROP COLUMN dropped;
    INSERT INTO customers VALUES (1, 'ada@example.com', '{happy}');
"""
PLACE = """ROW('a "b" \\ (c), d', '2026-01-31 09:30+02', '{1,NULL,3}')::place"""
IS = {"city": 'a "b" \\ (c), d', "at": "2026-01-31T07:30:00Z", "levels": [1, None, 3]}
# A column's expression, and what arrives.
OWN_TYPES: dict[str, Any] = {
    "'happy'::mood": "happy",
    "ARRAY['happy', 'sad, or \"so\"', NULL]::mood[]": ["happy", 'sad, or "so"', None],
    "ARRAY[['happy'], ['happy']]::mood[]": [["happy"], ["happy"]],
    "'{}'::mood[]": [],
    "'[0:1]={happy,happy}'::mood[]": ["happy", "happy"],
    "ARRAY[1.10, 29.90]::score[]": [Decimal("1.10"), Decimal("29.90")],
    "29.90::score": Decimal("29.90"),
    r"""ARRAY['a,b', '"', '\', '{}', '', ' ', 'NULL', 'Zoë']::name[]""": [
        "a,b",
        '"',
        "\\",
        "{}",
        "",
        " ",
        "NULL",
        "Zoë",
    ],
    PLACE: IS,
    "ROW(NULL, NULL, NULL)::place": {"city": None, "at": None, "levels": None},
    "ROW('', NULL, '{}')::place": {"city": "", "at": None, "levels": []},
    f"ARRAY[{PLACE}, NULL]": [IS, None],
    f"ROW({PLACE}, ARRAY[{PLACE}], 'happy')::trip": {"start": IS, "stops": [IS], "mood": "happy"},
    "(SELECT c FROM customers AS c)": {"id": 1, "email": "ada@example.com", "moods": ["happy"]},
    "(SELECT array_agg(c) FROM customers AS c)": [{"id": 1, "email": "ada@example.com", "moods": ["happy"]}],
    "NULL::mood[]": None,
    "NULL::place": None,
    "ARRAY['192.0.2.7']::inet[]": ["192.0.2.7"],
    "ARRAY['00000000-0000-0000-0000-000000000007']::uuid[]": ["00000000-0000-0000-0000-000000000007"],
}


def of_psycopg(house: PostgresWarehouse) -> Any:
    fields = json.loads(house.connection())
    return psycopg.connect(host=fields["host"], user=fields["login"], dbname=fields["schema"])


def of_psycopg2(house: PostgresWarehouse) -> Any:
    fields = json.loads(house.connection())
    return psycopg2.connect(host=fields["host"], user=fields["login"], dbname=fields["schema"])


DRIVERS = pytest.mark.parametrize("connect", [of_psycopg, of_psycopg2])


@DRIVERS
@pytest.mark.parametrize("streaming", [True, False])
def test_types_of_the_databases_own_are_arrays_and_objects(
    segment: SegmentServer,
    postgres: PostgresWarehouse,
    monkeypatch: pytest.MonkeyPatch,
    connect: Callable[[PostgresWarehouse], Any],
    *,
    streaming: bool,
) -> None:
    """Arrays of enums, domains and composites, composites and whole rows, nested, with psycopg 3 and psycopg2 alike."""
    postgres.run(TYPES)
    names = {f"v{number}": expression for number, expression in enumerate(OWN_TYPES)}
    sql = "SELECT " + ", ".join(f"{expression} AS {name}" for name, expression in names.items())
    conn_id = hand_out(connect(postgres), monkeypatch)
    found = traits(segment, conn_id, sql, sql_hook_params={"streaming": streaming})
    assert {expression: found[name] for name, expression in names.items()} == OWN_TYPES


def test_citext_is_an_array(segment: SegmentServer, postgres: PostgresWarehouse) -> None:
    """An array of an extension's type, by the hook's own driver; later pages are read as the first one is."""
    try:
        postgres.run("CREATE EXTENSION citext")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this PostgreSQL comes without citext")
    sql = "SELECT n AS id, ARRAY['a' || n]::citext[] AS tags FROM generate_series(1, 30) AS n ORDER BY n"
    calls = Identify("id", traits=["tags"])
    traits(segment, "postgres", sql, calls=calls, fetch_size=7)
    assert [m["traits"]["tags"] for m in segment.messages] == [[f"a{n}"] for n in range(1, 31)]


@DRIVERS
def test_own_types_do_not_ask_the_catalog_without_need(
    postgres: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch, connect: Callable[[PostgresWarehouse], Any]
) -> None:
    """A query whose types the driver knows asks nothing more, and its pages are passed on as they are."""
    connection = connect(postgres)
    cursor = connection.cursor()
    cursor.execute("SELECT 1::bigint, 'a'::text, now(), 1.5::numeric, '{1}'::int[], '{}'::jsonb, true")
    monkeypatch.setattr(postgres_values, "_CATALOG", "SELECT nothing of the kind")
    assert postgres_values.converters(connection, cursor) == {}
    connection.close()


def test_redshift_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redshift, which says that it is PostgreSQL 8.0.2, keeps its own types as they are: its catalog is another."""

    class Redshift(MadeUpConnection):
        server_version = 80_002
        string_types: dict[int, Any] = {}  # noqa: RUF012  as psycopg2 has it

    super_type = [("super", 4_000_000, None, None, None, None, None)]
    connection = Redshift("psycopg2.extensions", super_type, [('{"a":1}',)])
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    assert postgres_values.converters(connection, cursor) == {}
    assert connection.done == ["execute SELECT 1"]


# MySQL

TABLE = """
    CREATE TABLE t (
        is_vip BIT(1), is_gone BIT(1), no_bit BIT(1), bits BIT(12), tiny TINYINT(1), flag TINYINT(1),
        opens TIME, lasts TIME(3), before_noon TIME, at TIMESTAMP(3), local DATETIME
    )
"""
VALUES = """
    INSERT INTO t VALUES (1, 0, NULL, 2049, 2, 1, '09:30:00', '100:00:00.250', '-01:30:00',
        '2026-01-31 09:30:00.250', '2026-01-31 09:30:00')
"""


@pytest.fixture
def mysql(mariadb_socket: Path, mariadb_connection: str) -> Iterator[str]:
    """A table of MariaDB with a row that was written in a session of another zone, where sessions have that zone."""
    with connected(mariadb_socket) as connection:
        for statement in ("SET GLOBAL time_zone = '+02:00'", "SET time_zone = '+02:00'", TABLE, VALUES):
            connection.execute(sa.text(statement.replace(":", r"\:")))
        connection.connection.commit()
        yield mariadb_connection
        connection.execute(sa.text("SET GLOBAL time_zone = 'SYSTEM'"))


@pytest.mark.parametrize("streaming", [True, False])
def test_mysqls_values_are_what_their_types_say(segment: SegmentServer, mysql: str, *, streaming: bool) -> None:
    """BIT(1) is a truth value, TIME a time of day, TIMESTAMP its point in time though the server's zone is another."""
    calls = Identify(Constant("u"), traits=AllColumns(extra={"flag": Bool("flag")}))
    hook = {"streaming": streaming}
    found = traits(segment, mysql, "SELECT * FROM t", calls=calls, timezone="Europe/Berlin", sql_hook_params=hook)
    assert found == {
        "is_vip": True,
        "is_gone": False,
        "no_bit": None,
        "bits": 2049,
        "tiny": 2,
        "flag": True,
        "opens": "09:30:00",
        "lasts": "100:00:00.250000",
        "before_noon": "-01:30:00",
        "at": "2026-01-31T07:30:00.250000Z",
        "local": "2026-01-31T08:30:00Z",
    }


def test_pymysql_gives_the_same(mysql: str, mariadb_socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The types are those of MySQL's protocol, so that another driver's rows become the same."""
    pymysql = pytest.importorskip("pymysql")
    connection = pymysql.connect(unix_socket=str(mariadb_socket), user="root", database="w")
    with open_query(hand_out(connection, monkeypatch), "SELECT is_vip, bits, opens, at FROM t") as pages:
        rows = [tuple(row) for page in pages.pages for row in page]
    assert rows == [(True, 2049, "09:30:00", dt.datetime(2026, 1, 31, 7, 30, 0, 250_000, tzinfo=dt.UTC))]


def test_events_are_not_shifted_by_the_servers_zone(segment: SegmentServer, mysql: str) -> None:
    """An event's TIMESTAMP with timezone="UTC" is the time that it was, not the server's clock taken for UTC."""
    calls = Track(Constant("Seen"), Constant("u"), timestamp="at")
    traits(segment, mysql, "SELECT at FROM t", calls=calls, timezone="UTC")
    assert segment.messages[0]["timestamp"] == "2026-01-31T07:30:00.250000Z"


def test_session_without_that_setting_reads_timestamps_as_before(
    segment: SegmentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What speaks MySQL's protocol and has no time zone for sessions is read as `timezone` says."""

    def refuse(connection: MadeUpConnection) -> None:
        if connection.done[-1].startswith("execute SET time_zone"):
            raise RuntimeError("Unknown system variable 'time_zone'")

    at = ("at", 7, None, 19, 19, 0, True)
    rows = [(dt.datetime.fromisoformat("2026-01-31 09:30:00"),)]
    connection = MadeUpConnection("MySQLdb.connections", [at], rows, on={"execute": refuse})
    found = traits(
        segment, hand_out(connection, monkeypatch), timezone="Europe/Berlin", sql_hook_params={"streaming": False}
    )
    assert found == {"at": "2026-01-31T08:30:00Z"}


# BigQuery: BigQueryCursor of apache-airflow-providers-google 22.8, hooks/bigquery.py, and bq_cast in utils/bigquery.py

BIGQUERY = "airflow.providers.google.cloud.hooks.bigquery"


def field(name: str, kind: str, mode: str = "NULLABLE", fields: Sequence[Any] = ()) -> dict[str, Any]:
    return {"name": name, "type": kind, "mode": mode} | ({"fields": list(fields)} if fields else {})


def struct(*values: Any) -> Any:
    return {"f": [{"v": value} for value in values]}


def array(*values: Any) -> Any:
    return [{"v": value} for value in values]


ADDRESS = field(
    "address",
    "RECORD",
    fields=[
        field("city", "STRING"),
        field("since", "TIMESTAMP"),
        field("visits", "INTEGER", "REPEATED"),
        field("rooms", "RECORD", "REPEATED", [field("area", "NUMERIC"), field("is_large", "BOOLEAN")]),
    ],
)
# What Airflow's cursor gives, and what arrives.
COLUMNS: list[tuple[dict[str, Any], Any, Any]] = [
    (field("text", "STRING"), "1", "1"),
    (field("whole", "INTEGER"), 7, 7),
    (field("truth", "BOOLEAN"), True, True),
    (field("at", "TIMESTAMP"), 1769851800.123456, "2026-01-31T09:30:00.123456Z"),
    (field("whole_at", "TIMESTAMP"), 1769851800.0, "2026-01-31T09:30:00Z"),
    (field("early", "TIMESTAMP"), -62135596800.0, "0001-01-01T00:00:00Z"),
    (field("local", "DATETIME"), "2026-01-31T09:30:00.5", "2026-01-31T08:30:00.500000Z"),
    (field("day", "DATE"), "2026-01-31", "2026-01-31"),
    (field("amount", "NUMERIC"), "29.90", Decimal("29.90")),
    (field("large", "BIGNUMERIC"), "12345678901234567890.1", Decimal("12345678901234567890.1")),
    (field("doc", "JSON"), '{"a": [1.10]}', {"a": [Decimal("1.10")]}),
    (field("nothing", "NUMERIC"), None, None),
    (field("tags", "STRING", "REPEATED"), array("a", "b"), ["a", "b"]),
    (field("amounts", "NUMERIC", "REPEATED"), array("1.10", "2.00"), [Decimal("1.10"), Decimal("2.00")]),
    (field("none", "STRING", "REPEATED"), [], []),
    (field("needed", "STRING", "REQUIRED"), "a", "a"),
    (
        ADDRESS,
        struct("London", "1.769851800123456E9", array("1", "2"), array(struct("29.90", "true"), struct(None, None))),
        {
            "city": "London",
            "since": "2026-01-31T09:30:00.123456Z",
            "visits": [1, 2],
            "rooms": [{"area": Decimal("29.90"), "is_large": True}, {"area": None, "is_large": None}],
        },
    ),
    (field("gone", "RECORD", fields=[field("a", "STRING")]), None, None),
]


class BigQuery(MadeUpConnection):
    """A connection whose cursor knows the job and can ask for its schema, as Airflow's does.

    :param columns: of the schema.
    :param rows: as its cursor gives them.
    """

    def __init__(self, columns: Sequence[dict[str, Any]], rows: Sequence[Any]) -> None:
        description = [(c["name"], c["type"], None, None, None, None, c["mode"] == "NULLABLE") for c in columns]
        super().__init__(f"{BIGQUERY}", description, rows)
        cursor: Any = self.cursor()
        cursor.project_id, cursor.job_id, cursor.location, cursor.num_retries = "p", "j", "EU", 5
        cursor.service, self.asked, self.columns = self, [], columns

    def jobs(self) -> BigQuery:
        return self

    def getQueryResults(self, **asked: Any) -> BigQuery:  # noqa: N802  as Google's client has it
        self.asked.append(asked)
        return self

    def execute(self, **_: Any) -> Any:
        return {"schema": {"fields": list(self.columns)}, "jobComplete": True}


def test_bigquerys_values_are_what_their_types_say(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Floats become points in time, texts numbers and days, pieces objects and arrays, by the schema of the job."""
    connection = BigQuery([column for column, _, _ in COLUMNS], [[given for _, given, _ in COLUMNS]])
    found = traits(segment, hand_out(connection, monkeypatch), timezone="Europe/Berlin")
    assert found == {column["name"]: arrives for column, _, arrives in COLUMNS}
    assert {name: str(value) for name, value in found.items()} == {c["name"]: str(a) for c, _, a in COLUMNS}
    assert connection.asked == [{"projectId": "p", "jobId": "j", "location": "EU", "maxResults": 0}]


def test_bigquery_is_asked_for_no_schema_without_need(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query whose description says all makes no request more."""
    connection = BigQuery([field("amount", "NUMERIC"), field("at", "TIMESTAMP")], [["1.10", 1769851800.0]])
    found = traits(segment, hand_out(connection, monkeypatch))
    assert (found, connection.asked) == ({"amount": Decimal("1.10"), "at": "2026-01-31T09:30:00Z"}, [])


@pytest.mark.parametrize("kind", ["INTEGER", "FLOAT", "TIMESTAMP", "BOOLEAN"])
def test_array_that_airflows_cursor_cannot_read_is_refused_with_the_cast(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """That cursor casts each value of these types, and fails at a list; that is said before, with column and cast."""
    connection = BigQuery([field("id", "STRING"), field("visits", kind, "REPEATED")], [])
    query = open_query(hand_out(connection, monkeypatch), "SELECT 1")
    cast = r"column visits, .*TO_JSON_STRING\(visits\) AS visits, .*Json\(\"visits\"\)"
    with pytest.raises(SettingError, match=cast), query:
        pass
    assert "fetchmany" not in connection.done


def test_struct_without_a_schema_is_refused_with_the_cast(
    segment: SegmentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody tells the names of its fields, a struct refuses the row and says how; in pieces it never leaves."""
    description = [("id", "STRING", *[None] * 4, True), ("address", "RECORD", *[None] * 4, True)]
    rows = [["u1", struct("London")], ["u2", None], ["u3", struct()]]
    connection = MadeUpConnection(f"{BIGQUERY}", description, rows)
    calls = Identify("id", traits=["address"])
    report = SqlToSegmentOperator(
        task_id="t", sql="SELECT 1", sql_conn_id=hand_out(connection, monkeypatch), calls=calls, max_rejected=2
    ).execute({})
    assert (report["accepted"], report["invalid"]) == (1, 2)
    assert [m["userId"] for m in segment.messages] == ["u2"]


def test_refusal_of_a_struct_names_the_cast(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason has the column's own name in the cast."""
    description = [("id", "STRING", *[None] * 4, True), ("address", "RECORD", *[None] * 4, True)]
    connection = MadeUpConnection(f"{BIGQUERY}", description, [["u1", struct("London")]])
    with pytest.raises(
        Exception, match=r"TO_JSON_STRING\(address\) AS address, and map it as Json\(\"address\"\)"
    ) as caught:
        traits(segment, hand_out(connection, monkeypatch), calls=Identify("id", traits=["address"]))
    assert "London" not in str(caught.value)


# Rows with names, and maps


class TrinosRow(tuple[Any, ...]):  # noqa: SLOT001  theirs has none
    """As trino 0.340 has it: types.py, NamedRowTuple; it has any attribute, as None."""

    def __new__(cls, values: Sequence[Any], names: list[str | None], types: list[str]) -> Any:
        return super().__new__(cls, values)

    def __init__(self, values: Sequence[Any], names: list[str | None], types: list[str]) -> None:
        self._names = names
        self.__annotations__ = {"names": names, "types": types}
        for name, value in zip(names, values, strict=True):
            if name is not None and names.count(name) == 1:
                setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if self._names.count(name):
            raise ValueError("Ambiguous row field reference: " + name)


class SparksRow(tuple[Any, ...]):  # noqa: SLOT001  theirs has none
    """As pyspark and databricks-sql-connector 4.9 have it: types.py, Row."""

    def __new__(cls, **fields: Any) -> Any:
        row = tuple.__new__(cls, list(fields.values()))
        row.__fields__ = list(fields)
        return row

    def __getattr__(self, item: str) -> Any:
        if item.startswith("__"):
            raise AttributeError(item)
        try:
            return self[self.__fields__.index(item)]
        except ValueError:
            raise AttributeError(item) from None


def test_rows_with_names_are_objects_however_deep(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trino's ROW and Spark's Row are objects, in arrays and in each other; without all names a row is an array."""
    inner = TrinosRow([1, Decimal("1.10")], ["a", "b"], ["integer", "decimal"])
    row = {
        "trino": TrinosRow(["London", [inner], {"k": inner}], ["city", "list", "map"], ["varchar", "array", "map"]),
        "odd_names": TrinosRow([1, 2], ["_fields", "__fields__"], ["integer"] * 2),
        "no_names": TrinosRow([1, 2], [None, None], ["integer"] * 2),
        "one_name_twice": TrinosRow([1, 2], ["a", "a"], ["integer"] * 2),
        "spark": SparksRow(city="London", inner=SparksRow(_fields=1, _names=None)),
    }
    connection = MadeUpConnection("trino.dbapi", list(row), [tuple(row.values())])
    ab = {"a": 1, "b": Decimal("1.10")}
    assert traits(segment, hand_out(connection, monkeypatch)) == {
        "trino": {"city": "London", "list": [ab], "map": {"k": ab}},
        "odd_names": {"_fields": 1, "__fields__": 2},
        "no_names": [1, 2],
        "one_name_twice": [1, 2],
        "spark": {"city": "London", "inner": {"_fields": 1, "_names": None}},
    }


@pytest.mark.parametrize("name", ["traits", "context"])
def test_row_with_names_can_be_all_traits_or_the_context(
    segment: SegmentServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A column with such a row may be the whole of an object, as one with a dict may."""
    row = TrinosRow(["192.0.2.7"], ["ip"], ["varchar"])
    connection = MadeUpConnection("trino.dbapi", ["profile"], [(row,)])
    traits(segment, hand_out(connection, monkeypatch), calls=Identify(Constant("u"), **{name: "profile"}))
    assert segment.messages[0][name]["ip"] == "192.0.2.7"


def test_map_of_pairs_is_an_object_where_the_description_says_so(
    segment: SegmentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Databricks gives a MAP as a list of pairs and says "map"; the pairs of an array stay pairs."""
    pairs = [("a", 1), ("b", None)]
    description = [(name, kind, *[None] * 5) for name, kind in (("map", "map"), ("none", "map"), ("array", "array"))]
    connection = MadeUpConnection("databricks.sql.client", description, [(pairs, None, pairs), ([], None, [])])
    assert traits(segment, hand_out(connection, monkeypatch)) == {
        "map": {"a": 1, "b": None},
        "none": None,
        "array": [["a", 1], ["b", None]],
    }
    assert segment.messages[1]["traits"] == {"map": {}, "none": None, "array": []}


# LOBs


def test_lob_is_refused_with_the_way(segment: SegmentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A LOB, which Oracle's driver hands out instead of its content, refuses the row and says what to set."""

    class LOB:
        def read(self) -> str:
            raise AssertionError("nobody reads it row by row")

    connection = MadeUpConnection("oracledb.connection", ["id", "note"], [("u1", LOB())])
    with pytest.raises(Exception, match=r"column note: found a LOB, .*fetch_lobs to false .*TO_CHAR\(note\)"):
        traits(segment, hand_out(connection, monkeypatch), calls=Identify("id", traits=["note"]))


def test_failing_catalog_is_the_source_databases_failure(
    postgres: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that does not answer about its types ends the run as one that does not give its rows."""
    postgres.run("CREATE TYPE mood AS ENUM ('happy')")
    monkeypatch.setattr(postgres_values, "_CATALOG", "SELECT nothing FROM nowhere WHERE 1 = ANY(%s)")
    query = open_query("postgres", "SELECT 'happy'::mood")
    with pytest.raises(SourceError, match="reading the types of the columns"), query:
        pass
