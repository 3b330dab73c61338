"""What may be deleted: a share of what was known before, whatever earlier tries have added, and however they ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import old_states
import pytest
from sending import QUICK
from test_changes import CAME, GONE, ONE_TRY, USERS, Table, kinds

from airflow_provider_segment.calls import Call, Constant, Identify, Track
from airflow_provider_segment.core.changes.deletions import check_gone
from airflow_provider_segment.core.changes.entries import Base
from airflow_provider_segment.core.changes.selection import Selection
from airflow_provider_segment.core.errors import CredentialsError, DeletionError, NotSentError
from airflow_provider_segment.testing import SegmentServer

BOTH = [USERS, GONE]
KNOWN = 40


@pytest.fixture
def table(segment: SegmentServer, tmp_path: Path) -> Table:
    """A sync without a state yet."""
    return Table(segment, tmp_path / "state.db")


def rows(*keys: Any) -> list[tuple[Any, int]]:
    return [(key, 0) for key in keys]


OLD = rows(*range(KNOWN))
NEW = rows(*(f"C{n}" for n in range(KNOWN)))


def left(segment: SegmentServer) -> list[str]:
    """The users of whom Segment heard that they left."""
    return [message["userId"] for message in segment.messages if message.get("event") == "Gone"]


def killed_after(table: Table, requests: int, new: Sequence[Any], calls: Any = BOTH, **options: Any) -> None:
    """Run the sync; after so many accepted batches of ten nothing more arrives."""
    table.segment.respond_with([None] * requests + [503] * 20)
    with pytest.raises(NotSentError):
        table.send(new, calls, page=10, max_events=10, max_in_flight=1, policy=ONE_TRY, **options)
    table.segment._script.clear()


# A call on "deleted" alone remembers keys when they are read, so what a killed try knew is 40 to 80.
REFUSED = rf"track:Gone: {KNOWN} of [4-7]\d known keys.* are gone from the result; max_deleted allows a share of 0.5"


def test_all_keys_in_another_form_delete_nothing(table: Table, segment: SegmentServer) -> None:
    """The share is of what was known when the run began: new keys of the same run make no room for deletions."""
    table.send(OLD, BOTH)
    with pytest.raises(DeletionError, match=REFUSED):
        table.send(NEW, BOTH)
    assert left(segment) == []


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_nor_when_the_first_try_was_killed_in_the_middle(table: Table, segment: SegmentServer, batches: int) -> None:
    """What a killed try has saved is not known for the next one: nor for the one after that."""
    table.send(OLD, BOTH)
    if batches < 4:
        killed_after(table, batches, NEW)
    for _ in range(2):
        with pytest.raises(DeletionError, match=REFUSED):
            table.send(NEW, BOTH)
    assert left(segment) == []


def test_nor_when_the_first_run_of_all_was_killed(table: Table, segment: SegmentServer) -> None:
    """A sync that never ended whole is guarded as well: each killed run's beginning counts."""
    killed_after(table, 3, OLD)
    killed_after(table, 3, NEW)
    with pytest.raises(DeletionError, match=r"40 of 40 known keys of before run 2, since which no run has ended whole"):
        table.send(NEW, BOTH)
    assert left(segment) == []


def test_a_mended_query_goes_on(table: Table, segment: SegmentServer) -> None:
    """After a wrong query was refused, the right one is taken: what the wrong one added is gone, and half at most."""
    table.send(OLD, BOTH)
    with pytest.raises(DeletionError):
        table.send(NEW, BOTH)
    assert kinds(table.send(OLD, BOTH)) == (0, 0, KNOWN)
    assert sorted(left(segment)) == sorted(key for key, _ in NEW)
    assert table.send(OLD, BOTH).accepted == 0


def test_what_a_killed_try_deleted_counts(table: Table, segment: SegmentServer) -> None:
    """Tries share what may be deleted: one that deleted a part and was killed does not give the next one a new half."""
    table.send(OLD, BOTH)
    killed_after(table, 1, OLD[20:])
    assert len(left(segment)) == 10
    with pytest.raises(DeletionError, match="25 of 40 known keys of before run 2, since which no run has ended whole"):
        table.send(OLD[25:], BOTH)
    assert kinds(table.send(OLD[20:], BOTH)) == (0, 0, 10)


def test_runs_that_end_whole_begin_anew(table: Table, segment: SegmentServer) -> None:
    """Day after day a share may go: what counts is what was known after the last run that ended whole."""
    for count in (40, 24, 14, 8):
        table.send(OLD[:count], BOTH)
    assert len(left(segment)) == 32
    assert table.sql("SELECT * FROM segment_known") == []


def test_new_keys_of_whole_runs_count(table: Table, segment: SegmentServer) -> None:
    """Keys that a whole run has added are known: half of all may go then."""
    table.send(OLD, BOTH)
    table.send([*OLD, *NEW], BOTH)
    assert kinds(table.send(NEW, BOTH)) == (0, 0, KNOWN)


def test_updates_of_a_killed_try_are_known_keys(table: Table, segment: SegmentServer) -> None:
    """A try that updated most rows and was killed leaves the few that are gone a small share."""
    table.send(OLD, BOTH)
    changed = [(key, 1) for key, _ in OLD[4:]]
    killed_after(table, 2, changed)
    assert kinds(table.send(changed, BOTH)) == (0, 16, 4)


@pytest.mark.parametrize("first_run", ["send", "baseline"])
def test_a_call_added_while_keys_change_their_form(table: Table, segment: SegmentServer, first_run: str) -> None:
    """A call on "deleted" that is new knows nothing that is gone; the others would forget all, and send it again."""
    table.send(OLD, USERS)
    with pytest.raises(DeletionError, match=f"identify: {KNOWN} of {KNOWN} known keys are gone"):
        table.send(NEW, BOTH, first_run=first_run)
    segment.reset()
    table.send(OLD, USERS)
    assert segment.messages == []


def test_an_empty_result_after_a_killed_first_run(table: Table, segment: SegmentServer) -> None:
    """Nothing is deleted for an empty result, also where no run has ended whole yet."""
    killed_after(table, 2, OLD)
    with pytest.raises(DeletionError, match="track:Gone: 40 of 40 known keys are gone"):
        table.send([], BOTH)
    assert left(segment) == []


def test_all_may_go_when_that_is_said(table: Table, segment: SegmentServer) -> None:
    """`max_deleted=1` deletes whatever is gone, after any number of killed tries."""
    table.send(OLD, BOTH)
    killed_after(table, 2, NEW)
    killed_after(table, 1, [(key, 1) for key, _ in OLD])
    table.send([], BOTH, max_deleted=1)
    assert {*map(str, range(KNOWN))} <= {*left(segment)}


def test_a_dry_run_is_refused_alike_and_leaves_nothing(table: Table, segment: SegmentServer) -> None:
    """`validate_only` says what the run would say, and is no beginning that later runs are measured against."""
    table.send(OLD, BOTH)
    with pytest.raises(DeletionError, match=REFUSED):
        table.send(NEW, BOTH, validate_only=True)
    assert table.sql("SELECT * FROM segment_known") == []


def test_a_state_of_an_older_version_is_guarded(table: Table, segment: SegmentServer) -> None:
    """A state that was written before counts were kept is measured by what it knows when the run begins."""
    old_states.load(table.path)
    it = old_states.sync_of([f"another {n}" for n in range(20)])
    with pytest.raises(DeletionError, match="track:Gone: 6 of 6 known keys are gone"):
        old_states.send(table.path, "texts", it, segment, max_deleted=0.5)
    assert left(segment) == []


SHARES: dict[str, tuple[list[Base], dict[int, int], float, bool]] = {
    "half": ([Base(5, 10)], {1: 3, 4: 2}, 0.5, True),
    "more than half": ([Base(5, 10)], {1: 3, 4: 3}, 0.5, False),
    "nothing known, nothing gone": ([Base(1, 0)], {}, 0, True),
    "none may go": ([Base(5, 10)], {1: 1}, 0, False),
    "added by a killed run, and gone": ([Base(5, 10), Base(6, 20)], {5: 10}, 0.5, True),
    "too many of what a killed run added": ([Base(5, 10), Base(6, 20)], {5: 11}, 0.5, False),
    "known before a killed run, and gone": ([Base(5, 10), Base(6, 20)], {1: 6}, 0.5, False),
    "some were deleted by a killed run": ([Base(5, 10), Base(6, 7)], {1: 2}, 0.5, True),
    "too many with those": ([Base(5, 10), Base(6, 7)], {1: 3}, 0.5, False),
    "all, when all may go": ([Base(1, 0), Base(5, 10), Base(6, 7)], {1: 7}, 1.0, True),
}


@pytest.mark.parametrize(("bases", "gone", "allowed", "may"), SHARES.values(), ids=SHARES)
def test_the_share(bases: list[Base], gone: dict[int, int], allowed: float, may: bool) -> None:
    """The share holds for what was known at each beginning since a run ended whole."""
    if may:
        check_gone("c", Counter(gone), bases, allowed)
    else:
        with pytest.raises(DeletionError):
            check_gone("c", Counter(gone), bases, allowed)


def test_keys_that_the_run_has_sent_are_not_gone() -> None:
    """A key that this very run has written cannot be gone: it is no deletion, whatever the share allows."""
    with pytest.raises(DeletionError, match="2 keys that this very run has sent"):
        check_gone("c", Counter({5: 2, 1: 1}), [Base(5, 10)], 1.0)


# The same kind of fault: a number that counts runs where it means calls


@pytest.mark.parametrize("before", ["a dry run", "a killed run", "a baseline of another call", "a reset of keys"])
def test_a_wrong_key_is_suspected_until_something_was_accepted(
    table: Table, segment: SegmentServer, before: str
) -> None:
    """That each event of the first batch is refused alone says "check the write key", whatever ran before."""
    some: list[Call] = [Identify("id", traits=["x"])]
    if before == "a dry run":
        table.send(OLD, some, validate_only=True)
    elif before == "a killed run":
        killed_after(table, 0, OLD, some)
    elif before == "a baseline of another call":
        table.send(OLD, CAME, first_run="baseline")
    else:
        with table.state() as state:
            state.make_due(Selection([1]))
    segment.refuse(lambda _: True)
    with pytest.raises(CredentialsError, match="check the write key"):
        table.send(OLD, some, policy=QUICK, max_rejected=1_000)


def test_a_wrong_batch_is_no_wrong_key(table: Table, segment: SegmentServer) -> None:
    """Where Segment has accepted calls of the sync before, a batch of bad rows is rejects."""
    table.send(OLD)
    segment.refuse(lambda _: True)
    later = Track(Constant("Later"), "id")
    assert table.send(OLD, [USERS, later], max_rejected=1_000).rejected == KNOWN
