"""What happened, and why: the runs of a sync, and what is known of one key."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import runs
from filtered import LEFT, USERS, Source, Sync, made_source
from groups import GroupRun

from airflow_provider_segment.calls import Constant, Identify, Track
from airflow_provider_segment.cli import main
from airflow_provider_segment.hooks.segment import SegmentHook
from airflow_provider_segment.hooks.task import SegmentFailException
from airflow_provider_segment.testing import SegmentServer

UPGRADED = Track(Constant("Upgraded"), "id", properties=["email"], on_change="updated")


@pytest.fixture
def sync(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sync:
    """A sync of 20 users, whose state is a SQLite file."""
    source: Source = made_source("sqlite", request, tmp_path, monkeypatch)
    source.fill([(n, f"user{n}") for n in range(1, 21)])
    return Sync(source, "client", tmp_path / "state.db", "users")


def history(sync: Sync, **options: Any) -> list[dict[str, Any]]:
    """The runs, the newest first."""
    return SegmentHook().history("users", state_path=str(sync.path), **options)


def explained(sync: Sync, *keys: Any) -> dict[tuple[int, str], tuple[str, str]]:
    """What is known, by key and call."""
    found = SegmentHook().explain("users", keys, state_path=str(sync.path))
    return {(one["key"], one["call"]): (one["state"], one["said"]) for one in found}


class TestHistory:
    """Each run is a line: who ran it, how it ended, and its counts."""

    def test_runs(self, segment: SegmentServer, sync: Sync) -> None:
        """Whole runs have the counts of their reports; runs that failed have them too, and the reason in our words."""
        first = sync.send()
        sync.source.run("UPDATE users SET email = 'b' WHERE id < 4")
        segment.refuse(lambda message: message["userId"] == "2")
        with pytest.raises(SegmentFailException):
            sync.send()
        second, before = history(sync)
        assert (before["run"], before["state"], before["error"]) == (1, "success", None)
        assert {name: before[name] for name in ("rows", "added", "accepted")} == {
            name: first[name] for name in ("rows", "added", "accepted")
        }
        assert (second["run"], second["state"], second["updated"], second["rejected"]) == (2, "failed", 2, 1)
        assert second["error"].startswith("1 of ")
        assert before["started"] <= before["ended"] <= second["ended"]
        assert len(history(sync, last=1)) == 1

    def test_a_group(self, segment: SegmentServer, sync: Sync) -> None:
        """A run of several tasks is one line, with the sum of their counts."""
        group = Sync(sync.source, "group", sync.path, "users")
        group.send()
        (run,) = history(sync)
        assert (run["state"], run["rows"], run["added"], run["task_id"]) == ("success", 20, 20, "users.plan")

    def test_a_run_that_is_going_on(self, segment: SegmentServer, sync: Sync) -> None:
        """It is there, also while it holds the state."""
        group = GroupRun(Sync(sync.source, "group", sync.path, "users").settings())
        group.plan()
        assert [run["state"] for run in history(sync)] == ["running"]

    def test_a_reset(self, segment: SegmentServer, sync: Sync) -> None:
        """It is a line of its own."""
        sync.send()
        SegmentHook().reset("users", [3], state_path=str(sync.path))
        assert [run["mode"] for run in history(sync)] == ["reset", "changes"]

    def test_no_such_sync(self, segment: SegmentServer, sync: Sync, tmp_path: Path) -> None:
        """The error names those that there are."""
        sync.send()
        with pytest.raises(SegmentFailException, match="sync_id 'usres' has no state in this database; it has users"):
            SegmentHook().history("usres", state_path=str(sync.path))
        with pytest.raises(SegmentFailException, match="it has none"):
            SegmentHook().history("users", state_path=str(tmp_path / "none.db"))
        assert not (tmp_path / "none.db").exists()
        with pytest.raises(SegmentFailException, match="expected one of the two"):
            SegmentHook().history("users")


class TestExplain:
    """Why did user 4711 not arrive? What is known of a key, and no more."""

    def test_each_state(self, segment: SegmentServer, sync: Sync) -> None:
        """Accepted, refused, refused after it was accepted, gone, reset, remembered, never seen."""
        calls = [USERS, LEFT, UPGRADED]
        segment.refuse(lambda message: message.get("traits", {}).get("email") == "bad")
        sync.source.run("UPDATE users SET email = 'bad' WHERE id = 2")
        sync.send(calls=calls, max_rejected=9)
        sync.source.run("UPDATE users SET email = 'bad' WHERE id = 3")
        sync.source.run("DELETE FROM users WHERE id = 4")
        sync.send(calls=calls, max_rejected=9)
        SegmentHook().reset("users", [5], state_path=str(sync.path))
        found = explained(sync, 1, 2, 3, 4, 5, 999)
        assert {place: state for place, (state, _) in found.items()} == {
            (1, "identify"): "accepted",
            (1, "track:Left"): "remembered",
            (1, "track:Upgraded"): "remembered",
            (2, "identify"): "refused",
            (2, "track:Left"): "remembered",
            (2, "track:Upgraded"): "remembered",
            (3, "identify"): "refused",
            (3, "track:Left"): "remembered",
            (3, "track:Upgraded"): "accepted",
            (4, "identify"): "gone",
            (4, "track:Left"): "gone",
            (4, "track:Upgraded"): "gone",
            (5, "identify"): "reset",
            (5, "track:Left"): "reset",
            (5, "track:Upgraded"): "reset",
            **{(6, call): "never seen" for call in ("identify", "track:Left", "track:Upgraded")},
        }
        assert "(http_400)" in found[2, "identify"][1]
        assert "Before that" not in found[2, "identify"][1]
        assert "1 calls of it were accepted before" in found[3, "identify"][1]
        assert found[4, "track:Left"][1].endswith("1 calls of it were accepted so far")

    def test_a_refusal_is_forgotten_when_the_row_is_mended(self, segment: SegmentServer, sync: Sync) -> None:
        """It stands as long as each run refuses it, and goes with the first whole run that does not."""
        sync.source.run("UPDATE users SET id = NULL WHERE id = 7")
        calls = [Identify("id", traits=["email"]), Track(Constant("Seen"), "id", timestamp="email")]
        for _ in range(2):
            sync.send(calls=calls, max_rejected=99)
            assert explained(sync, 3)[1, "track:Seen"][0] == "refused"
        sync.source.run("UPDATE users SET email = '2026-01-01T00:00:00Z' WHERE id = 3")
        sync.send(calls=calls, max_rejected=99)
        state, said = explained(sync, 3)[1, "track:Seen"]
        assert state == "accepted"
        assert "Refused" not in said

    def test_keys_of_several_columns_and_other_types(self, segment: SegmentServer, sync: Sync) -> None:
        """A key is given as its values; a number as a text finds the number, as it comes from a command line."""
        sync.send()
        assert explained(sync, "12")[1, "identify"][0] == "accepted"
        sync.send(sync_id="pairs", key=["id", "email"])
        found = SegmentHook().explain("pairs", [("12", "user12"), (12, "user13")], state_path=str(sync.path))
        assert [one["state"] for one in found if one["call"] == "identify"] == ["accepted", "never seen"]

    def test_a_group(self, segment: SegmentServer, sync: Sync) -> None:
        """What the tasks of a group refuse is known of each key."""
        segment.refuse(lambda message: message["userId"] in {"3", "17"})
        Sync(sync.source, "group", sync.path, "users").send(max_rejected=2)
        found = explained(sync, 3, 16, 17)
        assert [found[n, "identify"][0] for n in (1, 2, 3)] == ["refused", "accepted", "refused"]

    def test_no_value_of_a_row(self, segment: SegmentServer, sync: Sync) -> None:
        """Neither the answers nor the tables hold a value of a row."""
        canary = "canary-8f3a"
        sync.source.run(f"UPDATE users SET email = '{canary}'")  # noqa: S608
        segment.refuse(lambda message: message["userId"] == "3")
        calls = [USERS, Track(Constant("Seen"), "id", timestamp="email")]
        sync.send(calls=calls, max_rejected=99)
        with pytest.raises(SegmentFailException):
            sync.send(calls=calls)
        said = json.dumps([history(sync), SegmentHook().explain("users", [3, 4], state_path=str(sync.path))])
        assert canary not in said
        assert canary.encode() not in sync.path.read_bytes()


class TestCommandLine:
    """The same from a shell, on each version of Airflow."""

    def run(self, sync: Sync, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
        """Run a command, and return what it printed as JSON."""
        capsys.readouterr()
        main([arguments[0], "users", *arguments[1:], "--state-path", str(sync.path), "--output", "json"])
        return json.loads(capsys.readouterr().out)

    def test_each_command(self, segment: SegmentServer, sync: Sync, capsys: pytest.CaptureFixture[str]) -> None:
        """History, explain, release, and a reset that says first what it would do."""
        sync.send()
        (run,) = self.run(sync, capsys, "history", "--last", "5")
        assert (run["state"], run["added"], run["error"]) == ("success", 20, None)
        plan, _ = self.run(sync, capsys, "plan")
        assert plan == {
            "run": 1,
            "call": "identify",
            "planned added": 20,
            "planned updated": 0,
            "planned deleted": 0,
            "unchanged": 0,
            "accepted": 20,
        }
        assert self.run(sync, capsys, "plan", "--run", "1")[0] == plan
        found = self.run(sync, capsys, "explain", "3", "99")
        assert [one["state"] for one in found if one["call"] == "identify"] == ["accepted", "never seen"]
        assert self.run(sync, capsys, "release") == [{"was_held_by": "nobody"}]
        would = self.run(sync, capsys, "reset", "3", "99")
        under = "the next message ids of their keys"
        assert would == [{"would_be_due_again": 2, "under": under, "to_do_it": "add --yes"}]
        assert sync.send()["accepted"] == 0
        assert self.run(sync, capsys, "reset", "3", "99", "--yes") == [{"due_again": 2}]
        assert sync.send()["accepted"] == 1
        would = self.run(sync, capsys, "reset", "--all")
        assert (would[0]["would_be_due_again"], would[0]["under"][:15]) == (40, "new message ids")
        assert self.run(sync, capsys, "reset", "--all", "--yes") == [{"due_again": 40}]
        assert sync.send()["added"] == 20

    @pytest.mark.parametrize(
        "arguments",
        [["reset", "users"], ["reset", "users", "3", "--all"], ["history", "other"], ["plan", "users", "--run", "7"]],
    )
    def test_what_cannot_be_done(
        self, segment: SegmentServer, sync: Sync, capsys: pytest.CaptureFixture[str], arguments: list[str]
    ) -> None:
        """It ends with a sentence and a status, not with a traceback."""
        sync.send()
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--state-path", str(sync.path)])
        assert str(ended.value).startswith(
            ("Expected one of these", "sync_id 'other' has no state", "sync_id 'users' has no run 7")
        )

    def test_a_table(self, segment: SegmentServer, sync: Sync, capsys: pytest.CaptureFixture[str]) -> None:
        """It fits a screen: the counts that are looked for first."""
        sync.send()
        main(["history", "users", "--state-path", str(sync.path)])
        assert "accepted" in capsys.readouterr().out

    @pytest.mark.skipif(not runs.HAS_STORE, reason="providers have commands since Airflow 3.2")
    def test_as_a_command_of_airflow(self, segment: SegmentServer, sync: Sync) -> None:
        """Airflow finds the commands by the provider's description."""
        sync.send()
        command = [sys.executable, "-m", "airflow", "segment", "history", "users", "--state-path", str(sync.path)]
        done = subprocess.run([*command, "-o", "json"], capture_output=True, text=True, check=True)  # noqa: S603  ours
        assert json.loads(done.stdout[done.stdout.index("[\n") :])[0]["added"] == 20
