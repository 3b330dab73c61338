"""Old Airflows, as managed ones pin them: every name is found there, and the bounds of pyproject.toml let us in."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat import sdk
from packaging.requirements import Requirement
from packaging.version import Version

from airflow_provider_segment import compat

ROOT = Path(__file__).resolve().parents[2]
RELEASES = sorted((ROOT / "tests" / "packaging" / "constraints").glob("*.txt"))
OLDEST = ("apache-airflow-providers-common-compat", "apache-airflow-providers-common-sql")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = {each.name: each for each in map(Requirement, PROJECT["dependencies"])}


@pytest.fixture
def without_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A common-compat that has no module `sdk`, as up to 1.7."""
    monkeypatch.setattr(compat, "_SDK", "airflow.providers.common.compat.no_such_module")
    for name in compat._PLACES:
        monkeypatch.delitem(vars(compat), name, raising=False)


@pytest.mark.parametrize("name", compat._PLACES)
@pytest.mark.usefixtures("without_sdk")
@pytest.mark.filterwarnings("ignore")  # Airflow 3.3 calls old places deprecated; they are used on 2.11 to 3.1
def test_each_name_is_the_same_without_common_compats_sdk(name: str) -> None:
    """Where common-compat does not know a name, the place that it had at that time gives the same thing."""
    assert getattr(compat, name) is getattr(sdk, name)


@pytest.mark.parametrize("name", compat._PLACES)
def test_each_name_is_common_compats_where_it_has_it(name: str) -> None:
    """Where common-compat knows a name, ours is the same."""
    assert getattr(compat, name) is getattr(sdk, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as it does in any module."""
    with pytest.raises(AttributeError, match="no attribute 'BaseHok'"):
        compat.BaseHok  # noqa: B018


@pytest.mark.usefixtures("without_sdk")
def test_a_name_that_is_nowhere_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Airflow that keeps a name at none of the known places gives an error that lists them."""
    monkeypatch.setitem(compat._PLACES, "BaseHook", ("airflow.nowhere",))
    with pytest.raises(ImportError, match=r"no BaseHook in airflow\.nowhere"):
        compat.BaseHook  # noqa: B018


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.stem)
def test_a_pinned_release_meets_our_requirements(path: Path) -> None:
    """Nothing that a release of Airflow pins is too old for us."""
    pinned = pins(path)
    assert pinned["apache-airflow"] == Version(path.stem)
    too_old = {name: str(pinned[name]) for name, need in NEEDED.items() if pinned[name] not in need.specifier}
    assert too_old == {}


@pytest.mark.parametrize("name", OLDEST)
def test_the_bounds_are_the_oldest_that_were_tried(name: str) -> None:
    """pyproject.toml promises no older provider than one that `make package-test` installs."""
    (bound,) = NEEDED[name].specifier
    oldest = min(pins(path)[name] for path in RELEASES)
    assert (bound.operator, Version(bound.version).release[:2]) == (">=", oldest.release[:2])


def pins(path: Path) -> dict[str, Version]:
    """Return what a file of constraints pins."""
    pairs: list[Any] = [line.split("==") for line in path.read_text().splitlines()]
    return {name: Version(version) for name, version in pairs}
