"""Bool makes truth values of what databases without booleans keep."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from naming import shown

from airflow_provider_segment.calls import AllColumns, Bool, Identify, Page, as_calls
from airflow_provider_segment.core.errors import Refused
from airflow_provider_segment.core.mapping.compiler import CompiledCall
from airflow_provider_segment.core.mapping.encoding import encoder
from airflow_provider_segment.core.options import Options
from airflow_provider_segment.core.rows.columns import Columns

TRUE = [True, 1, 1.0, Decimal(1), Decimal("1.0"), "1", "true", "TRUE", "t", "Y  ", " yes", "on", b"\x01"]
FALSE = [False, 0, 0.0, -0.0, Decimal("0.00"), "0", "false", "F", "n", "No", "off", b"\x00"]
NOTHING = [None, "", "  "]
NEITHER = [2, -1, 0.5, "maybe", "x", "2", b"\x02", b"10", [], {}, math.nan, Decimal("sNaN"), Decimal("NaN"), object()]


def trait(value: Any) -> Any:
    call = CompiledCall(Identify("id", traits={"vip": Bool("vip")}), Columns(["id", "vip"]), Options())
    return json.loads(encoder(None, with_id=False)(call.message(("u", value))))["traits"]["vip"]


@pytest.mark.parametrize(
    ("value", "truth"), [(v, t) for t, vs in ((True, TRUE), (False, FALSE), (None, NOTHING)) for v in vs], ids=shown
)
def test_column_becomes_a_truth_value(value: Any, truth: bool | None) -> None:
    """Numbers, letters and words for true and false become these, whatever their type, case and padding."""
    assert trait(value) is truth


def test_numpys_numbers_are_truth_values_too() -> None:
    """A column of numpy's own numbers or truth values is one as well."""
    np = pytest.importorskip("numpy")
    assert [trait(v) for v in (np.int8(1), np.bool_(False), np.float64(0))] == [True, False, False]


@pytest.mark.parametrize("value", NEITHER, ids=shown)
def test_what_is_neither_is_refused(value: Any) -> None:
    """Anything else is no truth value, and nobody guesses."""
    with pytest.raises(Refused) as caught:
        trait(value)
    assert (caught.value.code, caught.value.field) == ("boolean_not_valid", "traits.vip")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Identify(Bool("id")),
        lambda: Identify("id", timestamp=Bool("at")),
        lambda: Page(name=Bool("name"), user_id="id"),
        lambda: Identify("id", traits=Bool("t")),
        lambda: Bool(""),
        lambda: as_calls({"call": "identify", "user_id": {"bool": "id"}}),
    ],
)
def test_bool_where_no_truth_value_can_stand_fails_when_the_dag_is_parsed(make: Any) -> None:
    """No id, name, timestamp or whole object is a truth value."""
    with pytest.raises(ValueError, match="Bool"):
        make()


@pytest.mark.parametrize(
    "call",
    [
        Identify("id", traits={"vip": Bool("v")}),
        Identify("id", traits={"bool": "v"}),
        Identify("id", traits={"bool": Bool("v")}),
        Identify("id", traits={"a.bool": "v"}),
        Identify("id", traits=["bool"]),
        Identify("id", traits=AllColumns(extra={"vip": Bool("v")}, json=["doc"])),
        Identify("id", context={"network.wifi": Bool("v")}),
    ],
)
def test_plain_form_says_the_same(call: Identify) -> None:
    """What YAML says of a Bool, and of a trait that is called so, reads back as the call that it came from."""
    assert as_calls(json.loads(json.dumps(call.as_dict()))) == [call]


def test_all_columns_says_no_more_than_before_without_json() -> None:
    """The plain form of a DAG that does not use `json` stays the same, so that Airflow sees no new version of it."""
    assert Identify("id", traits=AllColumns()).as_dict()["traits"] == {
        "all_columns": {"exclude": [], "rename": "as_is", "extra": {}}
    }
