"""What docs/history.md answers is what the commands print, to the letter, of a deployment with 30 runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import thirty_runs
from doc_blocks import BLOCKS, Block

from airflow_provider_segment.cli import main
from airflow_provider_segment.hooks.segment import SegmentHook

QUESTIONS = [block for block in BLOCKS if block.page == "docs/history.md" and block.kind == "console"]
CANARY = "canary8f3a"
SYNCS = {"crm.customers": 11, "shop.orders": 10, "billing.accounts": 9}


@pytest.mark.parametrize("block", QUESTIONS, ids=str)
def test_an_answer(block: Block, tmp_path: Path) -> None:
    """Each line of an answer on the page is a line of what the command prints."""
    for text in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, answer = text.partition("\n")
        printed = [line.rstrip() for line in thirty_runs.run(command, tmp_path).splitlines()]
        assert [line for line in answer.splitlines() if line.rstrip() not in printed] == []


def test_the_deployment(tmp_path: Path) -> None:
    """It has what the page says: so many runs, and each way to end."""
    where = {"state_path": str(thirty_runs.make(tmp_path))}
    found = {sync: SegmentHook().history(sync, last=99, **where) for sync in SYNCS}
    assert {sync: len(lines) for sync, lines in found.items()} == SYNCS
    lines = [line for of_sync in found.values() for line in of_sync]
    assert {line["state"] for line in lines} == {"success", "failed", "killed"}
    assert [line["try_number"] for line in lines if line["all_tries"]] == [2]


def test_no_value_of_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A word that each row had is in no table, and in nothing that the commands print; keys are numbers, or hashes."""
    path = thirty_runs.make(tmp_path)
    assert CANARY.encode() not in path.read_bytes()
    for sync in SYNCS:
        main(["history", sync, "--last", "99", "--state-path", str(path), "--output", "json"])
        keys = ["C31", "C20", "C710", "A7", "7", "C1001"]
        main(["explain", sync, *keys, "--state-path", str(path), "--output", "json"])
    printed = capsys.readouterr().out
    assert "refused" in printed
    assert not [word for word in (CANARY, "C31", "C1001", "example.com") if word in printed]
