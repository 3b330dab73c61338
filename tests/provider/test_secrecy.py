"""Canaries: no key, token, address or trait shows in a log, an error, a repr, an XCom or a rendered field."""

from __future__ import annotations

import base64
import datetime as dt
import json
import logging
import math
import os
import re
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from core.answering import Answer, Asked, answering
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from runs import RunDag, new_dag
from warehouses import PostgresWarehouse, SqliteWarehouse

from airflow_provider_segment.calls import Alias, Bool, Call, Group, Identify, Json, Page, Track
from airflow_provider_segment.core.rows.unreadable import Unreadable
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.operators.segment import SegmentIdentifyOperator
from airflow_provider_segment.sensors.segment import SegmentDeliverySensor
from airflow_provider_segment.testing import Request, SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator


def _pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, kind, serialization.NoEncryption()).decode()


KEY = "wk7Qz3XvB9mLr2TtY6uHs8Dd1Ff4Gg5J"
PEM = _pem()
API_TOKEN = "sgp_9fKq2LmXw7RtB4vNz8YcH1jS6dPa"
ACCESS_TOKEN = "eyQ5ZpW8nVx3RkT7mLc2HbJ9sDf6Gg4Y"
EMAIL = "zaphod.beeblebrox@heartofgold.example"
TRAIT = "pangalactic-gargleblaster"
PROXY_PASSWORD = "prx5NnTq8Wv2Zk"
CANARIES = {
    "write key": KEY,
    "write key in HTTP Basic": base64.b64encode(f"{KEY}:".encode()).decode(),
    "private key": PEM.splitlines()[5],
    "public API token": API_TOKEN,
    "access token": ACCESS_TOKEN,
    "e-mail address": EMAIL,
    "trait": TRAIT,
    "proxy's password": PROXY_PASSWORD,
}
AHEAD = dt.timezone(dt.timedelta(hours=-1))
USERS = Identify(user_id="id", traits=["email", "note"])
RENDERED = ("rendered_task_instance_fields", "rendered_fields")


class Eyes:
    """Whatever a person or a program could read afterwards."""

    def __init__(self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
        self._caplog, self._capfd = caplog, capfd
        self._seen: list[tuple[str, str]] = []

    def see(self, where: str, *things: Any) -> None:
        """Read some text, or what a thing shows of itself."""
        self._seen += [(where, thing if isinstance(thing, str) else f"{thing!r} {thing}") for thing in things]

    def see_error(self, error: BaseException) -> None:
        """Read an error, its attributes and all that led to it, as a log would show it."""
        self.see("error", "".join(traceback.format_exception(error)))
        links: list[BaseException] = [error]
        for link in links:
            self.see("error", link, vars(link))
            links += [other for other in (link.__cause__, link.__context__) if other and other not in links]

    def see_database(self, dag_id: str) -> None:
        """Read all XComs and rendered fields of a DAG."""
        with closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"]) / "airflow.db")) as database:
            for table, column in (("xcom", "value"), RENDERED):
                query = f"SELECT CAST({column} AS TEXT) FROM {table} WHERE dag_id = ?"  # noqa: S608  of this file
                self.see(table, *(text for (text,) in database.execute(query, (dag_id,))))

    def find_nothing(self, but: str = "") -> str:
        """Check that no canary is in what was seen or logged, and return the logs."""
        logging.getLogger("urllib3.connectionpool").debug("the eyes are open")
        output = self._capfd.readouterr()
        # Airflow's own, at DEBUG: the supervisor prints the request by which a task tells it what to mask.
        shown = "\n".join(line for line in f"{output.out}\n{output.err}".splitlines() if "MaskSecret(" not in line)
        records = [f"{record.getMessage()} {record.__dict__}" for record in self._caplog.records]
        logs = "\n".join((self._caplog.text, *records, shown))
        assert "the eyes are open" in self._caplog.text
        for where, text in (*self._seen, ("log", logs)):
            if "MaskSecret(" in text and where == "log":
                text = "\n".join(line for line in text.splitlines() if "MaskSecret(" not in line)
            for name, canary in CANARIES.items():
                at = text.find(canary)
                assert at < 0 or where == but, f"{where} shows the {name}: ...{text[max(0, at - 400) : at + 100]}"
        return logs


CHANNELS: dict[str, Callable[[Eyes], Any]] = {
    "a log of urllib3": lambda _: logging.getLogger("urllib3.connectionpool").debug("%s", {"a": TRAIT}),
    "a log of ours": lambda _: logging.getLogger("airflow_provider_segment.core").debug("x %s", EMAIL),
    "standard output": lambda _: print(KEY),  # noqa: T201  that is the point
    "a file descriptor": lambda _: os.write(2, ACCESS_TOKEN.encode()),
    "a repr": lambda eyes: eyes.see("repr", SimpleNamespace(key=API_TOKEN)),
    "an error": lambda eyes: eyes.see_error(ValueError(PEM)),
    "an error's cause": lambda eyes: eyes.see_error(caused_by(ValueError(EMAIL))),
    "an error's attribute": lambda eyes: eyes.see_error(with_report({"x": EMAIL})),
}


def caused_by(cause: Exception) -> Exception:
    """Return an error that came of another, which no log would show."""
    try:
        try:
            raise cause
        except ValueError:
            raise RuntimeError("calm") from None
    except RuntimeError as error:
        return error


def with_report(report: Any) -> Exception:
    """Return an error that carries something."""
    error = RuntimeError("calm")
    error.report = report  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize("leak", CHANNELS.values(), ids=CHANNELS)
def test_a_canary_would_be_seen(eyes: Eyes, leak: Callable[[Eyes], Any]) -> None:
    """These tests can fail: a canary in any of the places where they look is found."""
    leak(eyes)
    with pytest.raises(AssertionError, match="shows the "):
        eyes.find_nothing()


@pytest.fixture
def eyes(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[Eyes]:
    """Eyes that see each line at DEBUG, of urllib3 too."""
    loggers = [logging.getLogger(name) for name in ("urllib3", "airflow", "airflow.task", "airflow_provider_segment")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel("DEBUG")
    with caplog.at_level("DEBUG"):
        yield Eyes(caplog, capfd)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@dataclass
class Stage:
    """Where a scenario plays.

    :param segment: the local Segment.
    :param house: a SQLite file with three users, canaries all.
    :param request: gives what a scenario needs more.
    """

    segment: SegmentServer
    house: SqliteWarehouse
    request: pytest.FixtureRequest
    patch: pytest.MonkeyPatch
    folder: Path
    said: list[Any] = field(default_factory=list)

    def connect(self, **fields: Any) -> None:
        """Make the Segment connection."""
        plain = {"conn_type": "segment", "host": self.segment.url, "password": KEY}
        self.patch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(plain | fields))

    def postgres(self, query: str) -> dict[str, Any]:
        """Make the users in a PostgreSQL, and return the operator's settings to run a query there."""
        house: PostgresWarehouse = self.request.getfixturevalue("postgres")
        house.run("CREATE TABLE users (id text PRIMARY KEY, email text, note text)")
        house.insert("users", ROWS)
        return {"sql": query, "sql_conn_id": "postgres"}

    def answer(self, *answers: Any) -> dict[str, Any]:
        """Let Segment answer some requests, and the last answer for ever."""
        self.segment.respond_with(answers[:-1])
        self.segment.respond_with(lambda _: answers[-1])
        return {}


ROWS = [(EMAIL, EMAIL, TRAIT), ("u2", "u2" + EMAIL, TRAIT), ("u3", EMAIL, TRAIT)]
HALF = "SELECT id, email, note FROM users UNION ALL SELECT id, email, note FROM (SELECT * FROM users WHERE false)"


@pytest.fixture
def stage(
    segment: SegmentServer,
    warehouse: SqliteWarehouse,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Stage:
    """A stage with its users and connections."""
    warehouse.run("CREATE TABLE users (id TEXT, email TEXT, note TEXT)")
    warehouse.insert("users", ROWS)
    made = Stage(segment, warehouse, request, monkeypatch, tmp_path)
    made.connect()
    return made


def quoting(status: int) -> tuple[int, dict[str, str], bytes]:
    """An answer whose message quotes what was sent, as a proxy's or a validator's may."""
    text = f"The event of {EMAIL} with {TRAIT} and key {KEY} is not valid"
    return status, {}, json.dumps({"success": False, "message": text}).encode()


def refused_rows(stage: Stage) -> dict[str, Any]:
    stage.house.run("UPDATE users SET id = NULL WHERE id = 'u2'; UPDATE users SET id = ' ' WHERE id = 'u3'")
    return {"rejects_path": str(stage.folder / "rejects.jsonl")}


def refused_by_segment(stage: Stage) -> dict[str, Any]:
    stage.segment.refuse(lambda message: message["userId"] == EMAIL)
    return {"rejects_path": str(stage.folder / "rejects.jsonl")}


def refused_in_words(stage: Stage) -> dict[str, Any]:
    bad = EMAIL.encode()
    stage.segment.respond_with(lambda request: quoting(400) if b'"userId":"%b"' % bad in request.body else None)
    return {}


def until_the_deadline(stage: Stage) -> dict[str, Any]:
    stage.connect(extra={"deadline": 0.2})
    return stage.answer(quoting(500))


def nobody_there(stage: Stage) -> dict[str, Any]:
    stage.connect(extra={"deadline": 0.2})
    stage.segment.stop()
    return {}


def proxy_not_there(stage: Stage) -> dict[str, Any]:
    stage.patch.setenv("no_proxy", "")
    stage.patch.setenv("NO_PROXY", "")
    proxy = f"http://somebody:{PROXY_PASSWORD}@127.0.0.1:1"
    stage.connect(host="http://segment.invalid", extra={"deadline": 0.2, "proxy": proxy, "allow_http": True})
    return {}


def killed_source(stage: Stage) -> dict[str, Any]:
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'"
    settings = stage.postgres("SELECT u.* FROM users u, generate_series(1, 20000)")
    house: PostgresWarehouse = stage.request.getfixturevalue("postgres")
    stage.patch.setenv("AIRFLOW_CONN_POSTGRES", house.connection(application_name="victim"))

    def kill_it(_: Request) -> None:
        house.run(kill)

    stage.segment.respond_with(kill_it)
    return settings | {"max_in_flight": 1}


def broken_rejects(stage: Stage) -> dict[str, Any]:
    refused_rows(stage)
    (stage.folder / "file").touch()
    return {"rejects_path": f"file://{stage.folder}/file/rejects.jsonl"}


def cast_that_fails(stage: Stage) -> dict[str, Any]:
    return stage.postgres("SELECT id, email::int AS email, note FROM users")


def plain_cast_that_fails(stage: Stage) -> dict[str, Any]:
    return cast_that_fails(stage) | {"sql_hook_params": {"streaming": False}}


def unique_violation(stage: Stage) -> dict[str, Any]:
    sql = "INSERT INTO users SELECT id, email, note FROM users RETURNING id, email, note"
    return stage.postgres(sql) | {"sql_hook_params": {"streaming": False}}


def raised_by_a_function(stage: Stage) -> dict[str, Any]:
    settings = stage.postgres("SELECT id, email, shout(email) AS note FROM users")
    body = "BEGIN RAISE WARNING 'warning of %', t; RAISE EXCEPTION 'found % in the row', t; END"
    house: PostgresWarehouse = stage.request.getfixturevalue("postgres")
    house.run(f"CREATE FUNCTION shout(t text) RETURNS text LANGUAGE plpgsql AS $${body}$$")
    return settings


def missing_zone(stage: Stage) -> dict[str, Any]:
    stage.house.run("UPDATE users SET note = '2026-01-31 10:30:00'")
    return {"calls": Identify(user_id="id", traits=["email"], timestamp="note")}


SCENARIOS: dict[str, tuple[Callable[[Stage], dict[str, Any]], str, str]] = {
    "success": (lambda _: {}, "success", "3 accepted"),
    "success, with a preview": (
        lambda stage: {"preview_path": str(stage.folder / "preview.jsonl"), "validate_only": True},
        "success",
        "Nothing was sent",
    ),
    "key column": (lambda _: {"key": "email"}, "success", "3 accepted"),
    "trouble that passes": (
        lambda stage: stage.answer(quoting(429), (500, {}, EMAIL.encode()), None),
        "success",
        "2 retries",
    ),
    "200 in other words, which quote the event": (
        lambda stage: stage.answer((200, {}, EMAIL.encode())),
        "failed",
        "accept_any_2xx",
    ),
    "refused rows": (refused_rows, "failed", "2 of 3 calls were refused"),
    "refused rows, as many as allowed": (lambda s: refused_rows(s) | {"max_rejected": 2}, "success", "2 invalid"),
    "400 for an event": (refused_by_segment, "failed", "http_400"),
    "400 that quotes the event": (refused_in_words, "failed", "http_400"),
    "400 that quotes the event, allowed": (
        lambda s: refused_in_words(s) | {"max_rejected": 1},
        "success",
        "1 rejected",
    ),
    "400 that quotes the key": (
        lambda stage: stage.answer((400, {}, json.dumps({"message": f"Invalid write key {KEY}"}).encode())),
        "failed",
        "refuses the write key",
    ),
    "401": (lambda stage: stage.answer(quoting(401)), "failed", "refuses the write key"),
    "403": (lambda stage: stage.answer(quoting(403)), "failed", "refuses the write key"),
    "404": (lambda stage: stage.answer(quoting(404)), "failed", "check the connection's host"),
    "a redirect with the key": (
        lambda stage: stage.answer((302, {"Location": f"https://other.example/?key={KEY}"})),
        "failed",
        "other.example",
    ),
    "500 until the deadline": (until_the_deadline, "failed", "within its deadline"),
    "connection refused": (nobody_there, "failed", "the connection failed"),
    "proxy that is not there": (proxy_not_there, "failed", "the proxy failed"),
    "killed source": (killed_source, "failed", "The source database failed at fetching"),
    "rejects that cannot be written": (broken_rejects, "failed", "cannot be written"),
    "cast of a row": (cast_that_fails, "failed", "SQLSTATE 22P02"),
    "cast of a row, plain cursor": (plain_cast_that_fails, "failed", "SQLSTATE 22P02"),
    "unique violation": (unique_violation, "failed", "SQLSTATE 23505"),
    "error that a function raises": (raised_by_a_function, "failed", "SQLSTATE P0001"),
    "timestamp without a zone": (missing_zone, "failed", "set timezone='UTC'"),
}


class Instance(SimpleNamespace):
    """What a hook wants of Airflow's task instance, where no Airflow runs."""

    dag_id, task_id, run_id, map_index, try_number = "d", "t", "r", -1, 1

    def xcom_push(self, key: str, value: Any) -> None:
        """Remember an XCom."""
        self.pushed = (key, value)


@pytest.mark.parametrize(("prepare", "state", "words"), SCENARIOS.values(), ids=SCENARIOS)
def test_no_canary_is_seen(
    stage: Stage, eyes: Eyes, run_dag: RunDag, prepare: Callable[[Stage], dict[str, Any]], state: str, words: str
) -> None:
    """Whatever happens to a sync, nothing that is logged, raised, shown or stored has a canary in it."""
    settings = {"sql": "SELECT * FROM users", "sql_conn_id": "warehouse", "calls": USERS, **prepare(stage)}
    alone = SqlToSegmentOperator(task_id="alone", **settings)
    instance = Instance()
    failed = None
    try:
        eyes.see("report", alone.execute({"ti": instance, "run_id": "r"}))
    except Exception as error:  # noqa: BLE001  whatever it is, it is looked at
        failed = error
        eyes.see_error(error)
    assert (failed is None) == (state == "success")
    hook = SegmentHook()
    eyes.see("repr", instance, alone, vars(alone), hook, hook.settings, hook.get_conn())
    with new_dag() as dag:
        SqlToSegmentOperator(task_id="sync", **settings)
    run = run_dag(dag)
    assert run.state == state
    eyes.see("XCom", run.xcom("sync") or "", run.xcom("sync", "report") or "")
    eyes.see_database(dag.dag_id)
    assert words in eyes.find_nothing()


# Rows that are refused


class Odd:
    """A value of a type that nobody knows."""

    def __repr__(self) -> str:
        return EMAIL


def deep(levels: int) -> Any:
    """Return objects in each other, so many levels deep, with an address in each."""
    return {EMAIL: deep(levels - 1)} if levels else TRAIT


REFUSED: dict[str, list[tuple[Call, dict[str, Any]]]] = {
    "no_user_anon_id": [(USERS, {"id": None})],
    "id_not_string": [(USERS, {"id": bad}) for bad in (True, 1.5, [EMAIL], {EMAIL: TRAIT}, math.inf)],
    "id_is_placeholder": [(USERS, {"id": "null"})],
    "id_required": [(Group("g", "id"), {"g": None}), (Alias("id", "g"), {"g": None})],
    "group_id_too_long": [(Group("g", "id"), {"g": EMAIL * 20})],
    "event_not_defined": [(Track("e", "id", properties=["email"]), {"e": None})],
    "event_not_string": [(Track("e", "id", properties=["email"]), {"e": bad}) for bad in ([EMAIL], {EMAIL: 1})],
    "traits_not_object": [(Identify("id", traits="t"), {"t": bad}) for bad in (TRAIT, [EMAIL])],
    "properties_not_object": [(Page(user_id="id", properties="t"), {"t": bad}) for bad in (TRAIT, [EMAIL])],
    "context_not_object": [(Identify("id", context="t"), {"t": TRAIT})],
    "context_not_valid": [
        (Identify("id", context={"location.latitude": "t"}), {"t": TRAIT}),
        (Identify("id", context={"network.wifi": "t"}), {"t": EMAIL}),
        (Identify("id", context={"ip": "t"}), {"t": {EMAIL: TRAIT}}),
    ],
    "name_not_string": [(Page(name="t", user_id="id"), {"t": [EMAIL]})],
    "category_not_string": [(Page(category="t", user_id="id"), {"t": {EMAIL: 1}})],
    "timestamp_not_iso8601": [(Identify("id", timestamp="t"), {"t": bad}) for bad in (TRAIT, EMAIL, [EMAIL])],
    "timestamp_out_of_range": [(Identify("id", timestamp="t"), {"t": dt.datetime.max.replace(tzinfo=AHEAD)})],
    "message_id_not_valid": [
        (Identify("id", message_id="t"), {"t": EMAIL * 5}),
    ],
    "message_too_large": [(USERS, {"note": bad}) for bad in (TRAIT * 3_000, {EMAIL: {TRAIT: TRAIT * 3_000}})],
    "number_not_finite": [(USERS, {"note": bad}) for bad in (math.inf, {EMAIL: math.nan}, [{TRAIT: [math.inf]}])],
    "text_not_unicode": [
        (USERS, {"note": bad}) for bad in (EMAIL + "\ud800", {EMAIL: "\ud800"}, {EMAIL + "\ud800": 1})
    ],
    "boolean_not_valid": [(Identify("id", traits={"t": Bool("t")}), {"t": bad}) for bad in (EMAIL, [TRAIT], 2)],
    "value_not_readable": [(USERS, {"note": Unreadable("found a text that is not UTF-8")})],
    "json_not_valid": [
        (Identify("id", traits={"t": Json("t")}), {"t": bad}) for bad in ("{" + EMAIL, EMAIL, f'"{EMAIL}')
    ],
    "name_not_text": [(USERS, {"note": {EMAIL: {(TRAIT,): 1}}}), (USERS, {"note": {(EMAIL,): 1}})],
    "nested_too_deep": [(USERS, {"note": deep(300)})],
    "type_not_known": [(USERS, {"note": Odd()}), (USERS, {"note": {EMAIL: Odd()}})],
    "key_is_null": [(USERS, {"key": None})],
}


def test_every_code_has_its_rows() -> None:
    """No code of docs/mapping.md is forgotten here."""
    page = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text().split("## What refuses a row", 1)[1]
    page = page.split("\n## ", 1)[0]
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) - {"key_again"} == set(REFUSED)  # which has no value


@pytest.mark.parametrize("code", REFUSED)
@pytest.mark.parametrize("allowed", [0, 100])
def test_refused_row_shows_no_canary(stage: Stage, eyes: Eyes, code: str, allowed: int) -> None:
    """A row that is refused by any rule shows nothing of itself, whether it fails the task or not."""
    for call, changed in REFUSED[code]:
        row = {"id": EMAIL, "email": EMAIL, "note": TRAIT, "key": EMAIL, "g": EMAIL, "e": EMAIL, "t": TRAIT, **changed}
        instance, refused = Instance(), ""
        try:
            report = SegmentHook().sync(
                [{**row, **changed}],
                call,
                key="key",
                run_id="r",
                context={"ti": instance},  # type: ignore[arg-type]
                max_rejected=allowed,
                rejects_path=str(stage.folder / "rejects.jsonl") if code != "nested_too_deep" else None,
            )
            eyes.see("report", report, report.as_dict(), report.examples, report.commonest(), report.summary())
            refused = report.commonest()
        except Exception as error:  # noqa: BLE001  whatever it is, it is looked at
            eyes.see_error(error)
            refused = str(error)
        assert f": {code}: " in refused
        eyes.see("XCom", instance)
    eyes.find_nothing()


def test_missing_zone_in_an_object_shows_no_canary(stage: Stage, eyes: Eyes) -> None:
    """A timestamp without a zone stops the run, and the names of the object that it stands in do not show."""
    row = {"id": EMAIL, "email": EMAIL, "note": {EMAIL: dt.datetime.fromisoformat("2026-01-31T10:30:00")}}
    with pytest.raises(Exception, match=r"row 1, identify, column note, .*timezone='UTC'") as caught:
        SegmentHook().sync([row], USERS)
    eyes.see_error(caught.value)
    eyes.find_nothing()


# Connections

BAD_SETTINGS: dict[str, dict[str, Any]] = {
    "the key in the host": {"host": KEY},
    "the key in the host's query": {"host": f"http://127.0.0.1:1/v1?writeKey={KEY}"},
    "the key in the host's user": {"host": f"http://{KEY}:@127.0.0.1:1"},
    "the key in the region": {"extra": {"region": KEY}},
    "the key in allow_http": {"extra": {"allow_http": KEY}},
    "the key in accept_any_2xx": {"host": "https://x.example.com", "extra": {"accept_any_2xx": KEY}},
    "the key in events_per_second": {"extra": {"events_per_second": KEY}},
    "the key in the time-out": {"extra": {"timeout": KEY}},
    "the key in the deadline": {"extra": {"deadline": KEY}},
    "the key in the schema": {"schema": KEY},
    "the key with a blank": {"password": f"{KEY} {KEY}"},
    "the key with an odd letter": {"password": f"{KEY}ü"},
    "a proxy that is no URL": {"extra": {"proxy": f"somebody:{PROXY_PASSWORD}@proxy"}},
    "a token without a source": {"password": None, "extra": {"public_api_token": API_TOKEN}},
    "a private key alone": {"extra": {"oauth_private_key": PEM}},
    "half a private key": {
        "extra": {"oauth_client_id": "a", "oauth_key_id": "k", "oauth_private_key": PEM[: len(PEM) // 2]}
    },
    "a private key without newlines": {
        "extra": {"oauth_client_id": "a", "oauth_key_id": "k", "oauth_private_key": PEM.replace("\n", " ") + "x"}
    },
}


@pytest.mark.parametrize("fields", BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_connection_shows_no_canary(stage: Stage, eyes: Eyes, run_dag: RunDag, fields: dict[str, Any]) -> None:
    """A connection that is wrong, even with a secret in the wrong field, is an error that does not repeat it."""
    stage.connect(**fields)
    settings: dict[str, Any] = {"sql": "SELECT * FROM users", "sql_conn_id": "warehouse", "calls": USERS}
    with pytest.raises(Exception, match=r"segment_default|oauth_private_key|public_api_token|OAuth") as caught:
        SqlToSegmentOperator(task_id="alone", **settings).execute({})
    eyes.see_error(caught.value)
    eyes.see("test_connection", SegmentHook().test_connection())
    with new_dag() as dag:
        SqlToSegmentOperator(task_id="sync", **settings)
    assert run_dag(dag).state == "failed"
    eyes.see_database(dag.dag_id)
    eyes.find_nothing()


# Tokens


def segments_apis(refused: str) -> Callable[[Asked], Answer]:
    """Segment's three APIs; one of them refuses what it is asked, and quotes it."""

    def answer(request: Asked) -> Answer:
        kind = request.path.split("/")[1]
        said = f"{request.headers.get('authorization')} {request.body.decode()}"
        if kind == refused:
            return 401, {"success": False, "message": said, "errors": [{"message": said}], "error_description": said}
        if kind == "sources":
            return 200, {"data": {"source": {"writeKeys": [KEY]}}}
        return 200, {"access_token": ACCESS_TOKEN, "expires_in": 3600} if kind == "token" else {"success": True}

    return answer


@pytest.mark.parametrize(
    ("refused", "words"), [("", "3 accepted"), ("sources", "public_api_token"), ("token", "401"), ("v1", "401")]
)
def test_tokens_show_nowhere(stage: Stage, eyes: Eyes, run_dag: RunDag, refused: str, words: str) -> None:
    """Neither tokens nor the keys behind them show, whichever of Segment's servers refuses and quotes them."""
    with answering(segments_apis(refused)) as (url, _):
        oauth = {"oauth_client_id": "app", "oauth_key_id": "key", "oauth_private_key": PEM}
        stage.connect(host=url, password=None, extra=oauth | {"public_api_token": API_TOKEN, "source_id": "s"})
        settings: dict[str, Any] = {"sql": "SELECT * FROM users", "sql_conn_id": "warehouse", "calls": USERS}
        try:
            SqlToSegmentOperator(task_id="alone", **settings).execute({})
        except Exception as error:  # noqa: BLE001  whatever it is, it is looked at
            assert refused
            eyes.see_error(error)
        hook = SegmentHook()
        eyes.see("repr", hook, hook.settings, hook.settings.oauth, hook.settings.public_api, hook.test_connection())
        if refused != "sources":
            transport = hook.get_conn()
            eyes.see("repr", transport, transport._tokens)
        with new_dag() as dag:
            SqlToSegmentOperator(task_id="sync", **settings)
        assert run_dag(dag).state == ("failed" if refused else "success")
        eyes.see_database(dag.dag_id)
    assert words in eyes.find_nothing()


def answer_quoting(status: int) -> tuple[int, dict[str, str], bytes]:
    """An answer of the Public API that quotes what it was asked with."""
    said = {"type": "bad", "message": f"{API_TOKEN} of {EMAIL} may not", "field": f"subjectIds of {EMAIL}"}
    return status, {}, json.dumps({"errors": [said]}).encode()


@pytest.mark.parametrize("deferrable", [False, True], ids=["poking", "deferred"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (None, "3 received"),
        ("filtered", "3 filtered at source"),
        (401, "refuses it (HTTP 401)"),
        (403, "does not allow it"),
        (404, "has nothing for"),
        (422, "does not take"),
        (503, "no answer for now"),
        (200, "none of Segment's Public API"),
    ],
)
def test_what_asks_the_public_api_shows_nothing(
    stage: Stage, eyes: Eyes, run_dag: RunDag, fault: Any, words: str, deferrable: bool
) -> None:
    """Neither the token nor what an answer quotes shows, in a worker or in the triggerer."""
    api = stage.segment.public_api
    api.token = API_TOKEN
    stage.connect(extra={"public_api_token": API_TOKEN, "source_id": api.source_id, "deadline": 0.2})
    if fault == "filtered":
        api.delivery.filter(lambda _: True)
    elif fault is not None:
        api.respond_with(lambda _: answer_quoting(fault))
    hook = SegmentHook()
    eyes.see("repr", hook.public_api, hook.settings)
    with new_dag() as dag:
        sent = SqlToSegmentOperator(task_id="sync", sql="SELECT * FROM users", sql_conn_id="warehouse", calls=USERS)
        quick = {"poke_interval": 0.1, "settle_seconds": 0.1, "timeout": 1.0}
        SegmentDeliverySensor(task_id="arrived", report=sent.output, deferrable=deferrable, **quick)
    assert run_dag(dag).state == ("failed" if fault else "success")
    eyes.see_database(dag.dag_id)
    assert words in eyes.find_nothing()


# The operators of one message


@pytest.mark.parametrize(("user", "answer"), [(EMAIL, None), (" ", None), (EMAIL, 400), (EMAIL, 401)])
def test_one_message_shows_in_its_own_fields_alone(
    stage: Stage, eyes: Eyes, run_dag: RunDag, user: str, answer: Any
) -> None:
    """A one-message operator's rendered fields show what its author wrote; nothing else does."""
    stage.answer(answer)
    with new_dag() as dag:
        SegmentIdentifyOperator(task_id="one", user_id=user, traits={"email": EMAIL, "note": TRAIT})
    assert run_dag(dag).state == ("success" if user == EMAIL and answer is None else "failed")
    eyes.see_database(dag.dag_id)
    eyes.find_nothing(but=RENDERED[0])
