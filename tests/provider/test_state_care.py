"""What an operator does about a sync: make calls due again, give it another name, send the refused ones again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from filtered import USERS, Source, Sync, made_source
from groups import GroupRun
from processes import killed_before

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.cli import main
from airflow_provider_segment.core.errors import LeaseError
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.task import SegmentFailException
from airflow_provider_segment.testing import SegmentServer


@pytest.fixture(params=["file", "postgres", "mariadb"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Where the state is."""
    if request.param == "file":
        return {"state_path": str(tmp_path / "state.db")}
    if request.param == "mariadb":
        return {"state_conn_id": request.getfixturevalue("mariadb_connection")}
    request.getfixturevalue("postgres")
    return {"state_conn_id": "postgres"}


@pytest.fixture
def sync(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sync:
    """A sync of 20 users."""
    source: Source = made_source("sqlite", request, tmp_path, monkeypatch)
    source.fill([(n, f"user{n}") for n in range(1, 21)])
    return Sync(source, "client", tmp_path / "unused.db", "users")


def send(sync: Sync, where: dict[str, str], **changed: Any) -> dict[str, Any]:
    """Run it with its state in the place."""
    return sync.send(**{"state_path": None, **where, "max_rejected": 99, **changed})


def sent(segment: SegmentServer) -> list[int]:
    return sorted(int(message["userId"]) for message in segment.messages)


class TestReset:
    """Calls are made due again under their next ids, as few as are meant; and it is told first how many."""

    def test_a_run(self, segment: SegmentServer, sync: Sync, where: dict[str, str]) -> None:
        """Of a run: what it had accepted, and what has not changed since."""
        send(sync, where)
        sync.source.run("UPDATE users SET email = 'b' WHERE id <= 6")
        send(sync, where)
        sync.source.run("UPDATE users SET email = 'c' WHERE id <= 2")
        send(sync, where)
        segment.reset()
        hook = SegmentHook()
        assert hook.reset("users", run=2, validate_only=True, **where) == 4
        assert send(sync, where)["accepted"] == 0
        assert hook.reset("users", run=2, **where) == 4
        assert send(sync, where)["accepted"] == 4
        assert sent(segment) == [3, 4, 5, 6]
        assert hook.reset("users", run=77, **where) == 0

    def test_a_baseline_is_not_what_a_run_had_accepted(
        self, segment: SegmentServer, sync: Sync, where: dict[str, str]
    ) -> None:
        """A run that only remembered has nothing that could be sent again."""
        send(sync, where, first_run="baseline")
        assert SegmentHook().reset("users", run=1, **where) == 0
        assert send(sync, where)["accepted"] == 0

    def test_what_was_refused(self, segment: SegmentServer, sync: Sync, where: dict[str, str]) -> None:
        """All calls of the keys of which one was refused go again; of the others none."""
        segment.refuse(lambda message: message["type"] == "track" and message["userId"] in {"3", "5"})
        calls = [USERS, Track(Constant("Seen"), "id", properties=["email"])]
        send(sync, where, calls=calls)
        segment.reset()
        assert SegmentHook().reset("users", refused=True, validate_only=True, **where) == 2
        assert SegmentHook().reset("users", refused=True, **where) == 2
        send(sync, where, calls=calls)
        assert sent(segment) == [3, 3, 5, 5]
        assert SegmentHook().reset("users", refused=True, **where) == 0

    def test_a_query(self, segment: SegmentServer, sync: Sync, where: dict[str, str]) -> None:
        """The keys that a query finds; keys that the state does not know are no error."""
        send(sync, where)
        segment.reset()
        sql = {"sql": "SELECT id FROM users WHERE id % 5 = 0 UNION ALL SELECT 999", "sql_conn_id": "sqlite"}
        assert SegmentHook().reset("users", validate_only=True, **sql, **where) == 8  # two calls of each
        assert SegmentHook().reset("users", **sql, **where) == 8
        send(sync, where)
        assert sent(segment) == [5, 10, 15, 20]

    def test_all(self, segment: SegmentServer, sync: Sync, where: dict[str, str]) -> None:
        """Everything is forgotten only where nothing else is named."""
        send(sync, where)
        assert SegmentHook().reset("users", validate_only=True, **where) == 40
        assert SegmentHook().reset("users", cursor=5, validate_only=True, **where) == 0
        assert send(sync, where)["accepted"] == 0
        assert SegmentHook().reset("users", **where) == 40
        assert send(sync, where)["added"] == 20

    def test_an_empty_choice_is_not_all(self, segment: SegmentServer, sync: Sync, where: dict[str, str]) -> None:
        """No keys are no keys, not all of them."""
        send(sync, where)
        assert SegmentHook().reset("users", [], **where) == 0
        empty = {"sql": "SELECT id FROM users WHERE id < 0", "sql_conn_id": "sqlite"}
        assert SegmentHook().reset("users", **empty, **where) == 0
        assert send(sync, where)["accepted"] == 0

    @pytest.mark.parametrize(
        ("what", "said"),
        [
            ({"keys": [1], "run": 1}, "keys, run: expected one of them at most"),
            ({"refused": True, "sql": "SELECT 1", "sql_conn_id": "sqlite"}, "refused, sql: expected one"),
            ({"sql": "SELECT 1"}, "sql, sql_conn_id: the one needs the other"),
        ],
    )
    def test_what_is_not_clear(
        self, segment: SegmentServer, sync: Sync, where: dict[str, str], what: dict[str, Any], said: str
    ) -> None:
        """Two choices at once are refused, and nothing is done."""
        send(sync, where)
        with pytest.raises(SegmentFailException, match=said):
            SegmentHook().reset("users", **what, **where)
        assert send(sync, where)["accepted"] == 0


class TestRename:
    """A sync that was renamed goes on where it was."""

    def test_nothing_is_sent_again(self, segment: SegmentServer, sync: Sync, where: dict[str, str]) -> None:
        """Not in the next run, nor are changes sent under other ids than they would have been."""
        send(sync, where)
        SegmentHook().rename("users", "people", **where)
        sync.source.run("UPDATE users SET email = 'b' WHERE id = 3")
        segment.reset()
        for _ in range(2):
            report = send(sync, where, sync_id="people")
        assert (report["accepted"], sent(segment)) == (0, [3])
        assert [run["run"] for run in SegmentHook().history("people", **where)] == [3, 2, 1]
        with pytest.raises(SegmentFailException, match="it has people"):
            SegmentHook().history("users", **where)

    def test_what_was_on_its_way(self, segment: SegmentServer, sync: Sync, where: dict[str, str]) -> None:
        """A call whose fate is not known goes again under the id of then, so that Segment knows it for a repeat."""
        killed_before("saving what was accepted", lambda: send(sync, where))
        SegmentHook().release("users", **where)
        first = {message["messageId"] for message in segment.messages}
        SegmentHook().rename("users", "people", **where)
        send(sync, where, sync_id="people")
        assert first <= {message["messageId"] for message in [*segment.messages, *segment.duplicates]}

    def test_twice_and_back(self, segment: SegmentServer, sync: Sync, where: dict[str, str]) -> None:
        """Its ids stay those of its first name, and a new sync of that name has others."""
        send(sync, where)
        hook = SegmentHook()
        hook.rename("users", "people", **where)
        hook.rename("people", "persons", **where)
        assert send(sync, where)["added"] == 20
        assert len(segment.messages) == 40
        assert segment.duplicates == []
        assert send(sync, where, sync_id="persons")["accepted"] == 0

    def test_what_is_in_the_way(self, segment: SegmentServer, sync: Sync, where: dict[str, str]) -> None:
        """Another sync of that name, or a run that goes on; then nothing is changed."""
        send(sync, where)
        send(sync, where, sync_id="people")
        with pytest.raises(SegmentFailException, match="new_id: there is a sync 'people' in this database"):
            SegmentHook().rename("users", "people", **where)
        with pytest.raises(SegmentFailException, match="sync_id 'nobody' has no state here"):
            SegmentHook().rename("nobody", "people", **where)
        with pytest.raises(SegmentFailException, match="expected 1 to 255 characters, found 256"):
            SegmentHook().rename("users", "x" * 256, **where)
        settings = Sync(sync.source, "group", sync.path, "users").settings(**{"state_path": None, **where})
        GroupRun(settings).plan()
        with pytest.raises(LeaseError, match=r"its state is held by DAG dag, task users\.plan"):
            SegmentHook().rename("users", "else", **where)

    def test_on_the_command_line(
        self, segment: SegmentServer, sync: Sync, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It says first what it would do."""
        path = {"state_path": str(tmp_path / "state.db")}
        send(sync, path)
        command = ["rename", "users", "people", "--state-path", path["state_path"], "--output", "json"]
        capsys.readouterr()
        main(command)
        assert json.loads(capsys.readouterr().out)[0]["to_do_it"] == "add --yes"
        assert SegmentHook().history("users", **path)
        main([*command, "--yes"])
        assert SegmentHook().history("people", **path)


class TestResend:
    """Refused calls of mode "all" go again from the file of rejects."""

    @pytest.fixture
    def rejects(self, segment: SegmentServer, sync: Sync, tmp_path: Path) -> str:
        """A file of three calls that Segment refused, and two that were refused before."""
        path = str(tmp_path / "rejects.jsonl")
        segment.refuse(lambda message: message["userId"] in {"3", "5", "7"})
        sync.source.run("UPDATE users SET id = NULL WHERE id > 18")
        calls = [Identify("id", traits=["email"])]
        sync.send(sync_mode="all", key=None, state_path=None, calls=calls, max_rejected=9, rejects_path=path)
        segment.reset()
        return path

    def test_the_same_ids(self, segment: SegmentServer, rejects: str) -> None:
        """Under the ids of then: what had arrived all the same is a repeat to Segment. Twice is once."""
        first = [json.loads(line)["message"]["messageId"] for line in Path(rejects).read_text().splitlines()[2:]]
        segment.reset()
        report = SegmentHook().resend(rejects)
        assert (report.calls, report.accepted) == (3, 3)
        assert sent(segment) == [3, 5, 7]
        assert {message["messageId"] for message in segment.messages} >= set(first)
        SegmentHook().resend(rejects)
        assert len(segment.messages) == len(segment.duplicates) == 3

    def test_new_ids(self, segment: SegmentServer, rejects: str) -> None:
        """Asked for, they are others; a second time as well."""
        segment.reset()
        for _ in range(2):
            SegmentHook().resend(rejects, new_ids=True)
        assert (len(segment.messages), segment.duplicates) == (6, [])

    def test_some_are_refused_again(self, segment: SegmentServer, rejects: str) -> None:
        """The others are sent, and the error counts."""
        segment.refuse(lambda message: message["userId"] == "5")
        with pytest.raises(SegmentFailException, match="1 of 3 calls were refused"):
            SegmentHook().resend(rejects)

    def test_what_cannot_be_sent_is_said(
        self, segment: SegmentServer, rejects: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Lines of calls that never were messages are left out, with their number and code."""
        SegmentHook().resend(rejects)
        said = "".join(capfd.readouterr())
        assert "2 lines of" in said
        assert "were left out: no_user_anon_id" in said

    @pytest.mark.parametrize("text", ["{", "[]", '{"stage": "delivery", "code": "x", "message": null}', "so-secret"])
    def test_another_file(self, segment: SegmentServer, tmp_path: Path, text: str) -> None:
        """A line that is none of such a file is named by its number, and never quoted."""
        path = tmp_path / "other.jsonl"
        path.write_text(f"{text}\n")
        with pytest.raises(SegmentFailException, match=r"path: line 1 of .* is none of a file of rejects") as error:
            SegmentHook().resend(str(path))
        assert "so-secret" not in str(error.value)
        with pytest.raises(SegmentFailException, match=r"none\.jsonl cannot be read: No such file"):
            SegmentHook().resend(str(tmp_path / "none.jsonl"))

    def test_a_file_that_is_broken_further_on(self, segment: SegmentServer, rejects: str) -> None:
        """Nothing of it is sent, though many batches of good lines come before."""
        line = Path(rejects).read_text().splitlines()[2]
        Path(rejects).write_text(f"{line}\n" * 6_000 + "so-secret\n")
        segment.reset()
        with pytest.raises(SegmentFailException, match=r"path: line 6001 of .* is none of a file of rejects"):
            SegmentHook().resend(rejects)
        assert segment.requests == []

    def test_a_pipe(self, segment: SegmentServer, tmp_path: Path) -> None:
        """It cannot be read twice, and is refused before it is opened: no call of it would be sent, without a word."""
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(SegmentFailException, match=r"path: .*pipe is a pipe; expected a file"):
            SegmentHook().resend(str(tmp_path / "pipe"))

    def test_a_storage_that_nothing_here_reads(self, segment: SegmentServer) -> None:
        """It is an error of the path, which says what may be missing."""
        with pytest.raises(
            SegmentFailException, match=r"path: nowhere://bucket/x\.jsonl cannot be read: ValueError; is the"
        ):
            SegmentHook().resend("nowhere://bucket/x.jsonl")

    def test_on_the_command_line(
        self, segment: SegmentServer, rejects: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It prints what it sent."""
        main(["resend", rejects, "--output", "json"])
        said = capsys.readouterr().out
        assert json.loads(said[said.index("[\n") :]) == [{"calls": 3, "accepted": 3, "requests": 1}]
