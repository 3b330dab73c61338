"""DataFrames and tables become pages of rows; NaN in rows of Python is null."""

from __future__ import annotations

import datetime as dt
import math
import tracemalloc
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from sending import run

from airflow_provider_segment.calls import AllColumns, Identify
from airflow_provider_segment.core.errors import SettingError
from airflow_provider_segment.core.rows.pages import pages_of
from airflow_provider_segment.testing import SegmentServer

AT = dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC)


class User(NamedTuple):
    """A row that knows its names."""

    id: str
    score: float | None


def rows_of(rows: Any, **more: Any) -> tuple[Any, list[Any]]:
    pages = pages_of(rows, **more)
    return pages.columns, [row for page in pages.pages for row in page]


def pandas_frame() -> Any:
    pd = pytest.importorskip("pandas")
    columns = {
        "id": ["u1", "u2", "u3"],
        "visits": [1, 2, 3],
        "score": [1.5, math.nan, None],
        "city": ["London", None, math.nan],
        "seen": pd.to_datetime([AT, None, AT], utc=True),
        "seats": pd.array([5, None, 7], dtype="Int64"),
        "plan": pd.Categorical(["pro", None, "free"]),
        "tags": [["a"], None, {"b": math.inf}],
    }
    return pd.DataFrame(columns, index=[7, 7, 9])


def test_pandas_frame_becomes_rows(segment_of_tests: SegmentServer) -> None:
    """Each row of a DataFrame is a row, its index is none of its columns; missing values are null whatever they are."""
    frame = pandas_frame()
    frame.loc[9, "tags"] = None
    pages = pages_of(frame, size=2)
    assert (pages.total, list(pages.columns or ())) == (3, list(frame.columns))
    report = run(segment_of_tests, pages.columns, pages.pages, Identify("id", traits=AllColumns()))
    assert (report.accepted, report.invalid) == (3, 0)
    assert [m["traits"] for m in segment_of_tests.messages][:2] == [
        {
            "visits": 1,
            "score": 1.5,
            "city": "London",
            "seen": "2026-01-31T09:30:00Z",
            "seats": 5,
            "plan": "pro",
            "tags": ["a"],
        },
        {"visits": 2, "score": None, "city": None, "seen": None, "seats": None, "plan": None, "tags": None},
    ]


@pytest.fixture
def segment_of_tests() -> Any:
    """A local Segment."""
    with SegmentServer() as server:
        yield server


def test_nan_is_null_in_rows_of_python_and_infinity_is_refused() -> None:
    """One rule for dicts, tuples, named rows and frames: NaN at the top of a column is null, infinity stays."""
    wanted = [("u1", None), ("u2", math.inf), ("u3", 1.5)]
    given = [("u1", math.nan), ("u2", math.inf), ("u3", 1.5)]
    dicts = [{"id": i, "score": s} for i, s in given]
    for rows, more in ((dicts, {}), ([User(*row) for row in given], {}), (given, {"columns": ["id", "score"]})):
        assert rows_of(rows, size=2, **more) == (["id", "score"], wanted)
    pd = pytest.importorskip("pandas")
    assert rows_of(pd.DataFrame(dicts), size=2) == (["id", "score"], wanted)
    assert rows_of(pd.DataFrame(dicts).to_dict("records"), size=2) == (["id", "score"], wanted)


def test_nan_of_a_query_still_refuses_the_row(segment_of_tests: SegmentServer) -> None:
    """What a database says is not a number is no missing one: the row is refused, not sent as null."""
    rows = [[("u1", math.nan), ("u2", 1.0)]]
    report = run(segment_of_tests, ["id", "score"], rows, Identify("id", traits=["score"]), max_rejected=1)
    assert (report.accepted, report.invalid, [*report.reasons]) == (
        1,
        1,
        [("identify", "traits.score", "number_not_finite")],
    )


def test_named_rows_become_rows() -> None:
    """Named tuples and Rows of Spark, as `collect()` gives them, need no `columns`."""
    assert rows_of([User("u1", 1.0), User("u2", None)]) == (["id", "score"], [("u1", 1.0), ("u2", None)])


def test_no_rows_are_no_error_with_all_columns(segment_of_tests: SegmentServer) -> None:
    """Where no row tells the columns, the names in AllColumns are those that there will be."""
    pages = pages_of([])
    call = Identify("id", traits=AllColumns(exclude=["note"], json=["doc"]))
    assert run(segment_of_tests, pages.columns, pages.pages, call).rows == 0
    frame = pandas_frame().iloc[:0]
    assert rows_of(frame) == (list(frame.columns), [])


def test_frame_is_read_in_constant_extra_memory() -> None:
    """A DataFrame of 400,000 rows is read by slices: not even a tenth of it stands in memory beside it."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({name: range(400_000) for name in "abcde"})
    size = int(frame.memory_usage().sum())
    tracemalloc.start()
    try:
        seen = sum(len(page) for page in pages_of(frame).pages)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == 400_000
    assert peak < size / 10


def test_polars_frame_becomes_rows() -> None:
    """A DataFrame of polars is taken as one of pandas is; its structs are objects."""
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {"id": ["u1", "u2", "u3"], "score": [1.5, math.nan, None], "to": [{"city": "London"}, None, {"city": None}]}
        | {"price": [Decimal("29.90"), None, Decimal("0.10")], "tags": [["a"], [], None]}
    )
    assert rows_of(frame, size=2) == (
        ["id", "score", "to", "price", "tags"],
        [
            ("u1", 1.5, {"city": "London"}, Decimal("29.90"), ["a"]),
            ("u2", None, None, None, []),
            ("u3", None, {"city": None}, Decimal("0.10"), None),
        ],
    )
    with pytest.raises(SettingError, match=r"rows: .* found a LazyFrame; collect\(\) it first"):
        pages_of(frame.lazy())


def test_arrow_table_becomes_rows() -> None:
    """A Table or RecordBatch of Arrow is taken too; its maps are objects."""
    pa = pytest.importorskip("pyarrow")
    kinds = {
        "id": pa.string(),
        "score": pa.float64(),
        "map": pa.map_(pa.string(), pa.int64()),
        "at": pa.timestamp("us", "UTC"),
    }
    table = pa.table(
        {
            "id": ["u1", "u2", "u3"],
            "score": [1.5, math.nan, None],
            "map": [[("k", 1)], None, []],
            "at": [AT, None, AT],
        },
        schema=pa.schema(list(kinds.items())),
    )
    wanted = [("u1", 1.5, {"k": 1}, AT), ("u2", None, None, None), ("u3", None, {}, AT)]
    assert rows_of(table, size=2) == (["id", "score", "map", "at"], wanted)
    assert rows_of(table.to_batches()[0], size=2) == (["id", "score", "map", "at"], wanted)


def test_frame_names_its_own_columns() -> None:
    """`columns` beside a frame is an error, since two lists of names may differ."""
    frame = SimpleNamespace(iloc=None, columns=["a"])
    with pytest.raises(SettingError, match="columns: a SimpleNamespace names its own"):
        pages_of(frame, ["b"])
