"""From user ids to regulations: whatever the rows hold, every row has one end, and each user is in one regulation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segment.core.delivery.rejects import NoRejects
from airflow_provider_segment.core.errors import CapError, ColumnError, RejectedError, SettingError
from airflow_provider_segment.core.mapping.ids import PLACEHOLDERS
from airflow_provider_segment.core.public_api.client import PublicApi
from airflow_provider_segment.core.regulating import RegulationJob, RegulationReport, number_of, regulate
from airflow_provider_segment.core.regulation_options import RegulationOptions
from airflow_provider_segment.core.rows.pages import Pages
from airflow_provider_segment.testing import SegmentServer

USERS = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.uuids(),
    st.decimals(),
    st.binary(max_size=3),
    st.text(max_size=3),
    st.sampled_from([*sorted(PLACEHOLDERS)[:5], " ", "\t", "u1", "u1 ", 1, "1", 1.0, Decimal(1), UUID(int=1), []]),
)


class Known:
    """What was regulated before."""

    def __init__(self, *users: str) -> None:
        self.regulations: list[str] = []
        self.users = {number_of(user) for user in users}
        self.written: list[tuple[str, list[int]]] = []

    def known(self) -> set[int]:
        return set(self.users)

    def accepted(self, regulate_id: str, users: Sequence[int]) -> None:
        self.written.append((regulate_id, list(users)))
        self.users.update(users)

    def keep(self, users: set[int]) -> None:
        self.users &= users

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[SegmentServer]:
    """A local Segment."""
    with SegmentServer() as server:
        yield server


def run(
    server: SegmentServer, pages: Any, regulated: Known, columns: Sequence[str] | None = ("id",), **options: Any
) -> RegulationReport:
    """Regulate the rows of some pages; a failure carries the report."""
    settings = {"regulation_type": "DELETE_ONLY", "max_users": 10_000, "max_rejected": 10_000} | options
    api = PublicApi(server.url, server.public_api.token, timeout=10)
    report = RegulationReport()
    job = RegulationJob(RegulationOptions(**settings), None, regulated, NoRejects())
    regulate(Pages(columns, pages, "rows"), job, api, report)
    return report


@given(st.lists(st.lists(USERS, max_size=30), max_size=4))
def test_every_row_has_one_end(server: SegmentServer, pages: list[list[Any]]) -> None:
    """Rows are accepted, unchanged or invalid; nobody is in two calls; a second run of the same rows sends nobody."""
    server.reset()
    regulated = Known("u1", "1")
    rows = [[(user,) for user in page] for page in pages]
    for number in range(2):
        report = run(server, rows, regulated)
        assert report.calls == report.rows == sum(map(len, pages))
        assert report.calls == report.unchanged + report.invalid + report.accepted
        assert report.not_sent == report.rejected == 0
        assert number == 0 or report.accepted == 0
    sent = Counter(user for one in server.public_api.regulations.made for user in one["subjects"])
    assert set(sent.values()) <= {1}
    assert {"u1", "1"}.isdisjoint(sent)
    assert all(user.strip() and user.strip() not in PLACEHOLDERS for user in sent)
    assert [users for _, users in regulated.written] == ([[number_of(user) for user in sent]] if sent else [])


@pytest.mark.parametrize("count", [0, 1, 4_999, 5_000, 5_001, 10_000])
def test_the_size_of_calls(server: SegmentServer, count: int) -> None:
    """A call has at most 5,000 users."""
    server.reset()
    report = run(server, [[(f"u{n}",) for n in range(count)]], Known())
    sizes = [len(one["subjects"]) for one in server.public_api.regulations.made]
    assert sizes == [5_000] * (count // 5_000) + ([count % 5_000] if count % 5_000 else [])
    assert (report.accepted, report.batches) == (count, len(sizes))


def test_a_blank_at_an_end_is_told(server: SegmentServer) -> None:
    """Segment knows nobody by an id with a blank at its end: the report warns, and sends it as it is."""
    server.reset()
    report = run(server, [[("u1 ",), ("0",)]], Known())
    assert set(report.warnings) == {"DELETE_ONLY: id_has_blanks", "DELETE_ONLY: id_is_doubtful"}
    assert server.public_api.regulations.made[0]["subjects"] == ["u1 ", "0"]


def test_the_counts_of_an_error(server: SegmentServer) -> None:
    """What stops a run before the first call says how many there were of what."""
    server.reset()
    with pytest.raises(CapError, match=r"max_users: 2 users are due for DELETE_ONLY, and 1 are.* 2 not sent") as caught:
        run(server, [[("u1",), ("u2",)]], Known(), max_users=1)
    assert caught.value.report is not None
    with pytest.raises(RejectedError, match=r"Nothing was sent: 1 of 2 .* 1 not sent;(?s:.*)row 1, .*id_required"):
        run(server, [[(None,), ("u2",)]], Known(), max_rejected=0)
    assert server.requests == []


def test_columns(server: SegmentServer) -> None:
    """The column is found by its name, in any case; without a name there may be one only."""
    server.reset()
    assert run(server, [[(1, "u1")]], Known(), ["plan", "ID"], user_id="id").accepted == 1
    assert run(server, [], Known(), None).rows == 0
    with pytest.raises(ColumnError, match="user_id names the column 'id', which the query does not return"):
        run(server, [], Known(), ["plan"], user_id="id")
    with pytest.raises(SettingError, match="user_id: name the column with the ids; the query returns plan, id"):
        run(server, [], Known(), ["plan", "id"])
