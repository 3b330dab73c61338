"""Lineage: what the openlineage provider writes of real runs, and the counts on asset events."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import Asset
from runs import RunDag, new_dag
from warehouses import PostgresServer, PostgresWarehouse, SqliteWarehouse

from airflow_provider_segment.assets.segment import sanitize_uri
from airflow_provider_segment.calls import Identify
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.operators.segment import SegmentIdentifyOperator
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

HERE = Path(__file__).parent
ROOT = str(HERE.parents[1])


class Lineage:
    """The events that the openlineage provider wrote to a file.

    :param path: of the file.
    :param segment: where the events went.
    """

    def __init__(self, path: Path, segment: SegmentServer) -> None:
        self.text = path.read_text()
        self.events = [json.loads(line) for line in self.text.splitlines()]
        self.namespace = segment.url.replace("http", "segment")
        self.key: str = json.loads(segment.connection)["password"]

    def one(self, task_id: str, kind: str) -> dict[str, Any]:
        """Return the one event of a task and kind."""
        (event,) = (e for e in self.events if e["eventType"] == kind and e["job"]["name"].endswith(f".{task_id}"))
        return dict(event)

    def counts(self, event: dict[str, Any]) -> dict[str, int]:
        """Return our facet without what all facets have."""
        facet = event["run"]["facets"]["segment_report"]
        return {name: value for name, value in facet.items() if not name.startswith("_")}


@pytest.fixture(scope="module")
def lineage(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lineage]:
    """The events of a run over ten users in PostgreSQL, two of whom have no id."""
    house = PostgresWarehouse(postgres_server)
    house.run("CREATE TABLE users (id text, email text)")
    house.run("CREATE TABLE orders (id text)")
    house.insert("users", [(f"u{n}" if n > 1 else None, f"user{n}@example.com") for n in range(10)])
    path = tmp_path_factory.mktemp("lineage") / "events.jsonl"
    with SegmentServer() as segment:
        environment = {
            **os.environ,
            "AIRFLOW_CONN_POSTGRES": house.connection(),
            "AIRFLOW_CONN_SEGMENT_DEFAULT": connection(segment, source_slug="dwh"),
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(path), "append": True}),
            "PYTHONPATH": os.pathsep.join([ROOT, str(HERE)]),
        }
        done = subprocess.run(  # noqa: S603  our own file
            [sys.executable, str(HERE / "openlineage_child.py")],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        yield Lineage(path, segment)
    house.drop()


def test_complete_event(lineage: Lineage) -> None:
    """The COMPLETE event names the table that was read and the source that was written, with the counts of the run."""
    event = lineage.one("some_refused", "COMPLETE")
    (read,) = event["inputs"]
    assert read["namespace"].startswith("postgres://")
    assert read["name"].endswith(".public.users")
    (written,) = event["outputs"]
    assert (written["namespace"], written["name"]) == (lineage.namespace, "dwh")
    assert written["outputFacets"]["outputStatistics"]["rowCount"] == 8
    calls = {"calls": 10, "accepted": 8, "invalid": 2, "rejected": 0, "unchanged": 0, "not_sent": 0}
    assert lineage.counts(event) == {"rows": 10, "skipped": 0, **calls}
    assert "some_refused" in event["job"]["facets"]["sql"]["query"]


def test_start_event(lineage: Lineage) -> None:
    """The START event names both ends, and counts nothing yet."""
    event = lineage.one("some_refused", "START")
    assert [read["name"].rpartition(".")[2] for read in event["inputs"]] == ["users"]
    assert [(written["name"], written["outputFacets"]) for written in event["outputs"]] == [("dwh", {})]
    assert "segment_report" not in event["run"]["facets"]


def test_failure_event(lineage: Lineage) -> None:
    """The FAIL event of a run that sent what was good counts that."""
    event = lineage.one("too_many_refused", "FAIL")
    assert event["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 8
    assert lineage.counts(event)["invalid"] == 2


def test_nothing_sent(lineage: Lineage) -> None:
    """A run with validate_only writes to no source."""
    event = lineage.one("nothing_sent", "COMPLETE")
    assert event["outputs"] == []
    assert lineage.counts(event)["not_sent"] == 8


def test_hook_lineage(lineage: Lineage) -> None:
    """What a `@task` sends by the hook shows as its output."""
    event = lineage.one("hook_alone", "COMPLETE")
    # A set: the tasks of `dag.test()` run in one process, where Airflow collects for all of them.
    assert {(written["namespace"], written["name"]) for written in event["outputs"]} == {(lineage.namespace, "dwh")}


def test_sql_hook_lineage(lineage: Lineage) -> None:
    """The query that we read by a cursor of our own is reported as those that run by the SQL hook itself are."""
    found = [e for e in lineage.events if ".query_alone." in e["job"]["name"] and e["eventType"] == "COMPLETE"]
    assert "orders" in {read["name"].rpartition(".")[2] for event in found for read in event["inputs"]}


def test_no_secrets(lineage: Lineage) -> None:
    """No event holds the write key, a row's value or a parameter."""
    assert lineage.key not in lineage.text
    assert "@example.com" not in lineage.text
    assert "sEcReT" not in lineage.text


def test_without_openlineage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the openlineage provider is not installed there is no lineage, and no error."""
    monkeypatch.delitem(sys.modules, "airflow_provider_segment.transfers.lineage", raising=False)
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.extractors", None)
    task = SqlToSegmentOperator(task_id="sync", sql="SELECT 1", sql_conn_id="x", calls=Identify(user_id="id"))
    assert task.get_openlineage_facets_on_start() is None
    assert task.get_openlineage_facets_on_complete(None) is None
    assert task.get_openlineage_facets_on_failure(None) is None


SOURCES: dict[str, tuple[dict[str, Any], str]] = {
    "slug": ({"extra": {"source_slug": "dwh"}}, "segment://api.segment.io/dwh"),
    "region": (
        {"extra": {"source_slug": "dwh", "region": "eu"}},
        "segment://events.eu1.segmentapis.com/dwh",
    ),
    "host": (
        {"host": "https://Events.example.com:8443/v1", "extra": {"source_slug": "dwh"}},
        "segment://events.example.com:8443/dwh",
    ),
    "source id": (
        {"password": "", "extra": {"public_api_token": "token-of-the-public-api", "source_id": "qQ/7"}},
        "segment://api.segment.io/qQ%2F7",
    ),
}


@pytest.mark.parametrize(("fields", "uri"), SOURCES.values(), ids=SOURCES)
def test_name_of_a_source(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], uri: str) -> None:
    """A source is named by its host and slug, or by its id; as an asset it is called the same."""
    monkeypatch.setenv("AIRFLOW_CONN_IT", json.dumps({"conn_type": "segment", "password": "k" * 32, **fields}))
    assert SegmentHook("it").settings.asset_uri == uri
    assert Asset(uri=uri).uri == uri


def test_name_of_a_source_without_a_slug(monkeypatch: pytest.MonkeyPatch) -> None:
    """With only a key the source is named by a hash of it: two keys, two names, and no key in them."""
    uris = set()
    for key in ("a" * 32, "b" * 32):
        monkeypatch.setenv("AIRFLOW_CONN_IT", json.dumps({"conn_type": "segment", "password": key}))
        uris.add(SegmentHook("it").settings.asset_uri)
        assert key not in str(uris)
    assert len(uris) == 2


class TestAssets:
    """A Segment source as an asset."""

    @pytest.mark.parametrize(
        "written", ["segment://API.Segment.io/dwh", "segment://api.segment.io/dwh/", "SEGMENT://api.segment.io/dwh"]
    )
    def test_one_name(self, written: str) -> None:
        """The same source has one URI, however it is written."""
        assert Asset(uri=written).uri == "segment://api.segment.io/dwh"

    @pytest.mark.parametrize(
        ("written", "text"),
        {
            "segment://api.segment.io": "found no source",
            "segment://api.segment.io/": "found no source",
            "segment:///dwh": "found no host",
            "segment://api.segment.io/acme/dwh": "more than a source",
            "segment://api.segment.io/dwh?write_key=1": "without a query",
            "segment://k3y@api.segment.io/dwh": "without a user or password",
        }.items(),
    )
    def test_bad_uri(self, written: str, text: str) -> None:
        """A URI that is none of a source, or holds a secret, is an error that says what was expected."""
        with pytest.raises(ValueError, match=f"^expected segment://<host>/<source>.*{text}") as caught:
            sanitize_uri(urlsplit(written))
        assert "k3y" not in str(caught.value)

    def test_bad_uri_in_a_dag(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Airflow raises that when the DAG is parsed; Airflow 2 only warns unless it is told to be strict."""
        monkeypatch.setenv("AIRFLOW__CORE__STRICT_DATASET_URI_VALIDATION", "True")
        with pytest.raises(ValueError, match="found no source"):
            Asset(uri="segment://api.segment.io")

    def test_event_counts(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
        """The event of an outlet that is a Segment source holds the counts of the run, and nothing of a row."""
        warehouse.run("CREATE TABLE users AS SELECT 'u1' AS id UNION ALL SELECT 'u2' UNION ALL SELECT NULL")
        sql, calls = "SELECT id FROM users", Identify(user_id="id")
        outlets = [Asset(uri="segment://api.segment.io/dwh"), Asset(uri="file:///elsewhere")]
        with new_dag() as dag:
            SqlToSegmentOperator(
                task_id="sync", sql=sql, sql_conn_id="warehouse", calls=calls, max_rejected=1, outlets=outlets
            )
            SegmentIdentifyOperator(task_id="one", user_id="u1", outlets=[Asset(uri="segment://api.segment.io/other")])
        if hasattr(dag, "sync_to_db"):  # Airflow 2 keeps events only of datasets that it knows
            dag.sync_to_db()
        run = run_dag(dag)
        extra = events(run.run_id)
        assert extra["segment://api.segment.io/dwh"] == run.xcom("sync")
        assert extra["segment://api.segment.io/dwh"]["accepted"] == 2
        assert extra["segment://api.segment.io/dwh"]["invalid"] == 1
        assert extra["segment://api.segment.io/other"]["accepted"] == 1
        assert extra["file:///elsewhere"] == {}


def connection(segment: SegmentServer, **extra: Any) -> str:
    """Return the connection to a server with these extras."""
    return json.dumps({**json.loads(segment.connection), "extra": extra})


def events(run_id: str) -> dict[str, Any]:
    """Return the extras of a run's asset events by URI, from Airflow's database."""
    with closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"]) / "airflow.db")) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        event, asset = ("asset_event", "asset") if "asset_event" in tables else ("dataset_event", "dataset")
        query = f"SELECT uri, e.extra FROM {event} e JOIN {asset} a ON a.id = {asset}_id WHERE source_run_id = ?"  # noqa: S608
        return {uri: json.loads(extra) for uri, extra in database.execute(query, (run_id,))}
