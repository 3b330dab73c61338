"""Rows from upstream tasks and from @task functions: a call for each, and the bad ones written down."""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import get_current_context, task
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from runs import NO_WAIT, Run, RunDag, new_dag
from warehouses import SqliteWarehouse

from airflow_provider_segment.calls import Alias, Call, Constant, Group, Identify, Page, Screen, Track
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.operators.segment import (
    SegmentAliasOperator,
    SegmentGroupOperator,
    SegmentIdentifyOperator,
    SegmentPageOperator,
    SegmentScreenOperator,
    SegmentTrackOperator,
)
from airflow_provider_segment.testing import SegmentServer
from airflow_provider_segment.transfers.sql_to_segment import SqlToSegmentOperator

ROWS = [
    {"id": 1, "other": "o1", "name": "Home", "plan": "pro"},
    {"id": 2, "other": "o2", "name": "Docs"},
    {"id": 3, "other": "o3", "name": "Docs", "plan": None},
]
SEEN = Track(event=Constant("Seen"), user_id="id", properties=["plan"])
USERS = Identify(user_id="id", traits=["plan"])

EACH_TYPE: dict[str, tuple[Any, Call, dict[str, Any]]] = {
    "identify": (SegmentIdentifyOperator, USERS, {"userId": "2", "traits": {"plan": None}}),
    "track": (SegmentTrackOperator, SEEN, {"event": "Seen", "userId": "2", "properties": {"plan": None}}),
    "group": (SegmentGroupOperator, Group("other", user_id="id", traits=["name"]), {"groupId": "o2", "userId": "2"}),
    "page": (SegmentPageOperator, Page("name", user_id="id"), {"name": "Docs", "properties": {"name": "Docs"}}),
    "screen": (SegmentScreenOperator, Screen("name", anonymous_id="other"), {"name": "Docs", "anonymousId": "o2"}),
    "alias": (SegmentAliasOperator, Alias(user_id="id", previous_id="other"), {"userId": "2", "previousId": "o2"}),
}

AT_PARSE: dict[str, tuple[dict[str, Any], str]] = {
    "rows without a call": ({"rows": ROWS}, "rows=... and call=... go together"),
    "a call without rows": ({"call": SEEN}, "rows=... and call=... go together"),
    "a call of another type": ({"rows": ROWS, "call": USERS}, "call: expected a track call, found identify"),
    "another type as a dict": (
        {"rows": ROWS, "call": {"call": "alias", "user_id": "id", "previous_id": "other"}},
        "call: expected a track call, found alias",
    ),
    "both rows and a user": ({"rows": ROWS, "call": SEEN, "user_id": "u1"}, "with rows, user_id belong into call=..."),
    "both rows and more": (
        {"rows": ROWS, "call": SEEN, "event": "Seen", "message_id": "m1"},
        "with rows, event, message_id belong into call=...",
    ),
    "something else as a call": ({"rows": ROWS, "call": "track"}, "expected Identify(...), Track(...)"),
    "max_rejected": ({"rows": ROWS, "call": SEEN, "max_rejected": -1}, "max_rejected: expected a count"),
    "nulls": ({"rows": ROWS, "call": SEEN, "nulls": "drop"}, "nulls: expected one of send, omit"),
}

AT_RUN: dict[str, tuple[dict[str, Any], str]] = {
    "rows that are nothing": ({"rows": 7}, "rows: expected an iterable of rows, found a int"),
    "rows that are text": ({"rows": "secret"}, "rows: expected an iterable of rows, found a str"),
    "rows that are one row": ({"rows": {"id": "secret"}}, "rows: expected an iterable of rows, found a dict"),
    "a row that is text": ({"rows": ["secret"]}, "rows: row 1 is a str; expected a dict, or give columns=[...]"),
    "tuples without columns": ({"rows": [("secret", "pro")]}, "rows: row 1 is a tuple; expected a dict, or give col"),
    "a later row of another kind": (
        {"rows": [{"id": "u1", "plan": "pro"}, ("secret",)]},
        "rows: row 2 is a tuple; expected a dict",
    ),
    "dicts with columns": (
        {"rows": [{"id": "secret"}], "columns": ["id", "plan"]},
        "rows: row 1 is a dict; with columns, expected a tuple or a list",
    ),
    "text with columns": ({"rows": ["se"], "columns": ["id", "plan"]}, "rows: row 1 is a str; with columns, expected"),
    "a row that is too short": (
        {"rows": [("u1", "pro"), ("secret",)], "columns": ["id", "plan"]},
        "rows: row 2 has 1 values, and there are 2 columns",
    ),
    "a row that is too long": (
        {"rows": [("u1", "pro", "secret")], "columns": ["id", "plan"]},
        "rows: row 1 has 3 values, and there are 2 columns",
    ),
    "a column that is missing": ({"rows": [{"id": "secret"}]}, "names the column 'plan', which the query does not ret"),
    "a key that is missing": (
        {"rows": [{"id": "secret", "plan": "pro"}], "key": "uid"},
        "key names the column 'uid', which the query does not return",
    ),
}


class TestUpstream:
    """The rows of an upstream task's result become calls."""

    @pytest.mark.parametrize("kind", EACH_TYPE)
    def test_each_type(self, segment: SegmentServer, run_dag: RunDag, kind: str) -> None:
        """Each operator makes its call of each dict that a @task returned, and returns the report."""
        operator, call, expected = EACH_TYPE[kind]
        with new_dag() as dag:
            operator(task_id="send", rows=extract(ROWS), call=call)
        run = run_dag(dag)
        report = run.xcom("send")
        assert (report["rows"], report["calls"], report["accepted"], report["requests"]) == (3, 3, 3, 1)
        assert [message["type"] for message in segment.messages] == [kind] * 3
        second = segment.messages[1]
        assert {name: second.get(name) for name in expected} == expected
        assert segment.dropped == []

    def test_query(self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag) -> None:
        """The tuples that SQLExecuteQueryOperator returns become calls by the names in columns."""
        warehouse.run("CREATE TABLE users (id, plan, score)")
        warehouse.insert("users", [("u1", "pro", 1.5), ("u2", None, 2), ("u3", "free", None)])
        with new_dag() as dag:
            query = SQLExecuteQueryOperator(
                task_id="query", conn_id="warehouse", sql="SELECT id, plan, score FROM users ORDER BY id"
            )
            SegmentIdentifyOperator(
                task_id="send",
                rows=query.output,
                columns=["id", "plan", "points"],
                call=Identify(user_id="id", traits=["plan", "points"]),
                nulls="omit",
            )
        run = run_dag(dag)
        assert run.xcom("send")["accepted"] == 3
        assert {message["userId"]: message["traits"] for message in segment.messages} == {
            "u1": {"plan": "pro", "points": 1.5},
            "u2": {"points": 2},
            "u3": {"plan": "free"},
        }

    def test_mapped(self, segment: SegmentServer, run_dag: RunDag) -> None:
        """Mapped tasks send each their own part, and equal rows of two parts are events of their own."""
        with new_dag() as dag:
            parts = extract([[{"id": 1, "plan": "pro"}], [], [{"id": 1, "plan": "pro"}, {"id": 2, "plan": "free"}]])
            call = Track(event=Constant("Part {{ ti.map_index }}"), user_id="id", properties=["plan"])
            SegmentTrackOperator.partial(task_id="parts", call=call).expand(rows=parts)
            SegmentTrackOperator.partial(task_id="alike", call=SEEN).expand(rows=parts)
        run = run_dag(dag)
        assert run.state == "success"
        assert [run.xcom("parts", map_index=part)["accepted"] for part in range(3)] == [1, 0, 2]
        sent = Counter((message["event"], message["userId"]) for message in segment.messages)
        assert sent == {("Part 0", "1"): 1, ("Part 2", "1"): 1, ("Part 2", "2"): 1, ("Seen", "1"): 2, ("Seen", "2"): 1}
        assert segment.duplicates == []

    def test_dependency(self) -> None:
        """The task that the rows come from is upstream, whichever way the rows are said."""
        with new_dag() as dag:
            rows = extract(ROWS)
            query = SQLExecuteQueryOperator(task_id="query", conn_id="warehouse", sql="SELECT 1")
            SegmentTrackOperator(task_id="of_a_function", rows=rows, call=SEEN)
            SegmentTrackOperator(task_id="of_an_operator", rows=query.output, call=SEEN, columns=["id"])
            SegmentTrackOperator(task_id="of_a_key", rows=query.output["rows"], call=SEEN)
            SegmentTrackOperator.partial(task_id="mapped", call=SEEN).expand(rows=rows)
            SegmentTrackOperator(task_id="of_itself", rows=ROWS, call=SEEN)
        found = {name: dag.task_dict[name].upstream_task_ids for name in dag.task_dict}
        assert found == {
            "extract": set(),
            "query": set(),
            "of_a_function": {"extract"},
            "of_an_operator": {"query"},
            "of_a_key": {"query"},
            "mapped": {"extract"},
            "of_itself": set(),
        }

    def test_rows_in_partial(self) -> None:
        """Rows that all mapped tasks would share are refused: Airflow sets no dependency on them."""
        with new_dag(), pytest.raises(ValueError, match=r"partial\(rows=...\): give rows to expand"):
            SegmentTrackOperator.partial(task_id="send", rows=extract(ROWS), call=SEEN)

    def test_rows_are_not_rendered(self, segment: SegmentServer, run_dag: RunDag) -> None:
        """No row's value is among the rendered fields that Airflow stores, nor among the fields that it may render."""
        rows = [{"id": "u1", "plan": "gold-4711"}]
        with new_dag() as dag:
            SegmentTrackOperator(task_id="one", rows=extract(rows), call=SEEN)
            SegmentTrackOperator(task_id="literal", rows=rows, call=SEEN)
            SegmentTrackOperator.partial(task_id="mapped", call=SEEN).expand(rows=extract([rows]))
        run = run_dag(dag)
        assert run.state == "success"
        assert [message["properties"]["plan"] for message in segment.messages] == ["gold-4711"] * 3
        for name, map_index in (("one", -1), ("literal", -1), ("mapped", 0)):
            assert not {"rows", "columns"} & set(dag.task_dict[name].template_fields)
            fields = rendered(run, name, map_index)
            assert "Seen" in fields
            assert "gold-4711" not in fields

    def test_jinja(self, segment: SegmentServer, run_dag: RunDag) -> None:
        """Jinja in the call's constants, names and columns, and in the connection's id, is rendered."""
        call = Track(
            event=Constant("{{ params.event }} Seen"),
            user_id="{{ params.column }}",
            properties={"run": Constant("{{ run_id }}"), "tags": Constant(["{{ ti.task_id }}", 7])},
        )
        with new_dag(params={"event": "Page", "column": "id", "conn": "default"}) as dag:
            SegmentTrackOperator(
                task_id="send", rows=extract(ROWS[:1]), call=call, segment_conn_id="segment_{{ params.conn }}"
            )
        run = run_dag(dag)
        assert run.state == "success"
        (message,) = segment.messages
        assert (message["event"], message["userId"]) == ("Page Seen", "1")
        assert message["properties"] == {"run": run.run_id, "tags": ["send", 7]}

    def test_jinja_in_rows(self, segment: SegmentServer, run_dag: RunDag) -> None:
        """Whatever a row holds is data: braces in it are sent as they are."""
        with new_dag() as dag:
            SegmentTrackOperator(task_id="send", rows=extract([{"id": 1, "plan": "{{ run_id }}"}]), call=SEEN)
        assert run_dag(dag).state == "success"
        assert [message["properties"]["plan"] for message in segment.messages] == ["{{ run_id }}"]

    @pytest.mark.parametrize("columns", [None, ["id", "plan"]])
    def test_no_rows(self, segment: SegmentServer, run_dag: RunDag, columns: list[str] | None) -> None:
        """An empty list is a success without a request."""
        with new_dag() as dag:
            SegmentTrackOperator(task_id="send", rows=extract([]), call=SEEN, columns=columns, key="id")
        run = run_dag(dag)
        assert run.task("send") == ("success", 1)
        report = run.xcom("send")
        assert (report["rows"], report["calls"], report["accepted"]) == (0, 0, 0)
        assert segment.requests == []

    def test_refused_rows(self, segment: SegmentServer, run_dag: RunDag) -> None:
        """Bad rows are counted, the good ones sent, and the task fails when there are more than allowed."""
        rows = [*ROWS, {"id": None, "plan": "pro"}]
        with new_dag() as dag:
            for name, allowed in (("strict", 0), ("lenient", 1)):
                SegmentTrackOperator(
                    task_id=name, rows=extract(rows), call=SEEN, max_rejected=allowed, retries=2, retry_delay=NO_WAIT
                )
        run = run_dag(dag)
        assert (run.task("strict"), run.task("lenient")) == (("failed", 1), ("success", 1))
        for report in (run.xcom("strict", "report"), run.xcom("lenient")):
            assert (report["rows"], report["accepted"], report["invalid"]) == (4, 3, 1)
        assert len(segment.messages) == 6

    def test_retry_repeats_the_ids(
        self, segment: SegmentServer, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A try whose answers were lost is repeated with the same message ids, also for rows that are equal."""
        impatient = {**json.loads(segment.connection), "extra": {"deadline": 1e-9}}
        monkeypatch.setenv("AIRFLOW_CONN_SEGMENT_DEFAULT", json.dumps(impatient))
        segment.respond_with([None, "reset_after"])
        rows = [{"id": n % 4_000, "plan": "pro"} for n in range(6_000)]
        with new_dag() as dag:
            SegmentTrackOperator(task_id="send", rows=extract(rows), call=SEEN, retries=1, retry_delay=NO_WAIT)
        assert run_dag(dag).task("send") == ("success", 2)
        assert len(segment.messages) == 6_000
        assert len(segment.duplicates) >= 1_000


class TestWrongSettings:
    """A bad setting is one clear error, and nothing is sent."""

    @pytest.mark.parametrize(("settings", "text"), AT_PARSE.values(), ids=AT_PARSE)
    def test_fails_when_the_dag_is_parsed(self, settings: dict[str, Any], text: str) -> None:
        """What can be known without the rows fails when the DAG is parsed."""
        with pytest.raises(ValueError, match=re.escape(text)):
            SegmentTrackOperator(task_id="send", **settings)

    @pytest.mark.parametrize(("settings", "text"), AT_RUN.values(), ids=AT_RUN)
    def test_fails_before_the_first_request(self, segment: SegmentServer, settings: dict[str, Any], text: str) -> None:
        """Rows that cannot be read fail before the first request, and the error shows no value."""
        with pytest.raises(Exception, match=re.escape(text)) as caught:
            SegmentTrackOperator(task_id="send", call=SEEN, **settings).execute({})
        assert "secret" not in str(caught.value)
        assert segment.requests == []

    @pytest.mark.parametrize(
        ("returned", "text"),
        [
            (None, "rows: expected an iterable of rows, found a NoneType"),
            ({"id": 1, "plan": "pro"}, "rows: expected an iterable of rows, found a dict"),
            ([[1, "pro"]], "rows: row 1 is a list; expected a dict, or give columns=[...]"),
        ],
        ids=["nothing", "one row", "lists"],
    )
    def test_upstream_that_returns_no_rows(
        self, segment: SegmentServer, run_dag: RunDag, capfd: pytest.CaptureFixture[str], returned: Any, text: str
    ) -> None:
        """An upstream task that returned no rows fails the task at once, whatever its retries, and says so."""
        with new_dag() as dag:
            SegmentTrackOperator(task_id="send", rows=extract(returned), call=SEEN, retries=2, retry_delay=NO_WAIT)
        assert run_dag(dag).task("send") == ("failed", 1)
        shown = capfd.readouterr()
        assert text in shown.out + shown.err
        assert segment.requests == []

    def test_a_later_column(self, segment: SegmentServer) -> None:
        """A column that comes only after the first 2,500 rows is an error that names row and column."""
        rows = [{"id": n, "plan": "pro"} for n in range(2_600)]
        rows[2_550] = {"id": 7, "plan": "pro", "extra": "secret"}
        with pytest.raises(Exception, match="row 2551 has extra, which no row of the first page has") as caught:
            SegmentTrackOperator(task_id="send", rows=rows, call=SEEN).execute({})
        assert "secret" not in str(caught.value)


COUNT, TOO_LARGE, INFINITE, NULL_ID = 10_000, 2_501, 5_000, 10_000
SCORES = Identify(user_id="id", traits=["score", "note"])
SCORES_SQL = f"""
    SELECT n, CASE WHEN n <> {NULL_ID} THEN 'u' || n END AS id,
        (CASE WHEN n = {INFINITE} THEN 'Infinity' ELSE n::text END)::float8 AS score,
        CASE WHEN n = {TOO_LARGE} THEN repeat('x', 33000) ELSE 'ok' END AS note
    FROM generate_series(1, {COUNT}) AS n ORDER BY n
"""  # noqa: S608  numbers of the test
REJECTED: list[dict[str, Any]] = [
    {
        "row": TOO_LARGE,
        "key": {"n": TOO_LARGE},
        "call": "identify",
        "stage": "mapping",
        "field": None,
        "code": "message_too_large",
        "reason": (
            "found 33,119 bytes; Segment drops events above 32,000; the largest field is traits.note, of 33,002 bytes"
        ),
        "status": None,
        "message": {"type": "identify", "userId": "u2501", "traits": {"score": 2501.0, "note": "x" * 33_000}},
    },
    {
        "row": INFINITE,
        "key": {"n": INFINITE},
        "call": "identify",
        "stage": "mapping",
        "field": "traits.score",
        "code": "number_not_finite",
        "reason": "column score: found a float that is infinite; JSON has none",
        "status": None,
        "message": {"type": "identify", "userId": "u5000", "traits": {"score": None, "note": "ok"}},
    },
    {
        "row": NULL_ID,
        "key": {"n": NULL_ID},
        "call": "identify",
        "stage": "mapping",
        "field": "userId",
        "code": "no_user_anon_id",
        "reason": "column id: found neither a userId nor an anonymousId; one of them is needed",
        "status": None,
        "message": None,
    },
]


class TestTenThousandRows:
    """Of 10,000 rows with a bad one here and there, the bad ones are told apart and written down."""

    @pytest.mark.parametrize(
        ("allowed", "expected"), [(0, ("failed", 1)), (2, ("failed", 1)), (3, ("success", 1)), (10, ("success", 1))]
    )
    @pytest.mark.parametrize("source", ["task", "postgres"])
    def test_counts(
        self,
        segment: SegmentServer,
        run_dag: RunDag,
        request: pytest.FixtureRequest,
        tmp_path: Path,
        source: str,
        allowed: int,
        expected: tuple[str, int],
    ) -> None:
        """Three bad rows cost three calls, each has its line, and the task's state is what max_rejected says."""
        path = tmp_path / "new" / "rejects.jsonl"
        options: dict[str, Any] = {"key": "n", "max_rejected": allowed, "rejects_path": str(path)}
        again: dict[str, Any] = {"retries": 2, "retry_delay": NO_WAIT}
        with new_dag() as dag:
            if source == "task":

                @task(**again)
                def send() -> dict[str, Any]:
                    return SegmentHook().sync(ten_thousand(), SCORES, **options).as_dict()

                send()
            else:
                request.getfixturevalue("postgres")
                SqlToSegmentOperator(
                    task_id="send", sql=SCORES_SQL, sql_conn_id="postgres", calls=SCORES, **options, **again
                )
        run = run_dag(dag)
        assert run.task("send") == expected
        report = run.xcom("send", "report" if expected[0] == "failed" else "return_value")
        assert (report["rows"], report["calls"], report["accepted"]) == (COUNT, COUNT, 9_997)
        assert (report["invalid"], report["rejected"], report["not_sent"]) == (3, 0, 0)
        arrived = {message["userId"] for message in segment.messages}
        assert len(segment.messages) == len(arrived) == 9_997
        assert segment.dropped == segment.duplicates == []
        assert not {f"u{row}" for row in (TOO_LARGE, INFINITE, NULL_ID)} & arrived
        assert lines(path) == REJECTED
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_null_key(self, segment: SegmentServer, tmp_path: Path) -> None:
        """A row whose key is null is refused as one that cannot be told apart, with no key in its line."""
        path = tmp_path / "rejects.jsonl"
        report = SegmentHook().sync(ten_thousand(), SCORES, key=["id"], max_rejected=0.001, rejects_path=str(path))
        assert (report.accepted, report.invalid) == (9_997, 3)
        found = [(line["row"], line["code"], line["key"]) for line in lines(path)]
        assert found == [
            (TOO_LARGE, "message_too_large", {"id": "u2501"}),
            (INFINITE, "number_not_finite", {"id": "u5000"}),
            (NULL_ID, "key_is_null", None),
        ]

    def test_generator_is_read_page_by_page(self, segment: SegmentServer) -> None:
        """Rows are pulled as they are sent: what a generator yields is on its way before it ends."""
        sent: list[int] = []

        def watched() -> Iterator[dict[str, Any]]:
            for number in range(1, 20_001):
                yield {"id": number, "plan": "pro"}
                sent.append(len(segment.requests))

        assert SegmentHook().sync(watched(), SEEN, max_in_flight=1).accepted == 20_000
        assert sent[0] == 0
        assert sent[-1] >= 3

    def test_rejected_by_segment(self, segment: SegmentServer, tmp_path: Path) -> None:
        """A call that Segment refuses has its line too, with Segment's words and the message as it was sent."""
        path = tmp_path / "rejects.jsonl"
        segment.refuse(lambda message: message["userId"] == "2")
        report = SegmentHook().sync(ROWS, USERS, key="id", max_rejected=1, rejects_path=str(path))
        assert (report.accepted, report.rejected) == (2, 1)
        (line,) = lines(path)
        assert (line["row"], line["key"], line["stage"], line["code"]) == (2, {"id": 2}, "delivery", "http_400")
        assert (line["status"], line["reason"]) == (400, "A message of the request was refused")
        assert line["message"]["userId"] == "2"
        assert 32 <= len(line["message"]["messageId"]) < 100


class TestRejectsPath:
    """Each try of each mapped task has a file of its own, readable by its owner only."""

    def test_names(self, segment: SegmentServer, run_dag: RunDag, tmp_path: Path) -> None:
        """Later tries and mapped tasks put `.try2` and `.map0` before the suffix."""
        rows = [{"id": None, "plan": "pro"}]

        def push(name: str) -> None:
            path = str(tmp_path / name)
            SegmentHook().sync(rows, SEEN, max_rejected=1, rejects_path=path)
            if get_current_context()["ti"].try_number == 1:
                raise RuntimeError("the first try fails after all was sent")

        with new_dag() as dag:

            @task(retries=1, retry_delay=NO_WAIT)
            def plain() -> None:
                push("plain.jsonl")

            @task(retries=1, retry_delay=NO_WAIT)
            def mapped(part: int) -> None:
                assert part in (7, 8)
                push("mapped.d/all")

            plain()
            mapped.expand(part=[7, 8])
        assert run_dag(dag).state == "success"
        files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
        assert [str(path.relative_to(tmp_path)) for path in files] == [
            "mapped.d/all.map0",
            "mapped.d/all.map0.try2",
            "mapped.d/all.map1",
            "mapped.d/all.map1.try2",
            "plain.jsonl",
            "plain.try2.jsonl",
        ]
        for path in files:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert [line["code"] for line in lines(path)] == ["no_user_anon_id"]

    def test_names_of_an_operator(
        self, segment: SegmentServer, warehouse: SqliteWarehouse, run_dag: RunDag, tmp_path: Path
    ) -> None:
        """The operator's path is rendered, and its mapped tasks have a file each."""
        with new_dag(params={"folder": str(tmp_path)}) as dag:
            SqlToSegmentOperator.partial(
                task_id="sync",
                sql_conn_id="warehouse",
                calls=USERS,
                max_rejected=1,
                rejects_path="{{ params.folder }}/{{ ti.task_id }}.jsonl",
            ).expand(sql=["SELECT NULL AS id, 'a' AS plan", "SELECT NULL AS id, 'b' AS plan"])
        assert run_dag(dag).state == "success"
        assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["sync.map0.jsonl", "sync.map1.jsonl"]
        assert [line["row"] for line in lines(tmp_path / "sync.map1.jsonl")] == [1]

    def test_file_of_before(self, segment: SegmentServer, tmp_path: Path) -> None:
        """A file that is there is replaced by one that only its owner can read."""
        path = tmp_path / "rejects.jsonl"
        path.write_text("of an earlier run\n")
        path.chmod(0o644)
        SegmentHook().sync([{"id": None, "plan": "pro"}], SEEN, max_rejected=1, rejects_path=str(path))
        assert [line["code"] for line in lines(path)] == ["no_user_anon_id"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_cannot_be_written(self, segment: SegmentServer, tmp_path: Path) -> None:
        """A path that cannot be written fails before the first request."""
        (tmp_path / "file").write_text("")
        with pytest.raises(Exception, match=r"^rejects_path: .+/rejects.jsonl cannot be written: "):
            SegmentHook().sync(ROWS, SEEN, rejects_path=str(tmp_path / "file" / "rejects.jsonl"))
        assert segment.requests == []


def extract(returned: Any) -> Any:
    """Return the result of an upstream task, which is what it is given."""

    @task
    def extract() -> Any:
        return returned

    return extract()


def ten_thousand() -> Iterator[dict[str, Any]]:
    """Yield rows of which one is too large, one holds an infinity and one has no user: the same as SCORES_SQL."""
    for n in range(1, COUNT + 1):
        yield {
            "n": n,
            "id": None if n == NULL_ID else f"u{n}",
            "score": float("inf") if n == INFINITE else float(n),
            "note": "x" * 33_000 if n == TOO_LARGE else "ok",
        }


def rendered(run: Run, task_id: str, map_index: int) -> str:
    """Return the rendered fields of a task as Airflow stores them."""
    ((fields,),) = run._rows("rendered_fields", "rendered_task_instance_fields", task_id, map_index)
    return str(fields)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return what a file of JSON lines holds."""
    return [json.loads(line) for line in path.read_text().splitlines()]
