"""What the packaging tests share: the files of dist/, and clean environments with each line of Airflow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from clean import CleanAirflow

ROOT = Path(__file__).resolve().parents[2]
OFFICIAL = "apache-airflow-providers-segment"
CONSTRAINTS = {path.stem: path for path in sorted((Path(__file__).parent / "constraints").glob("*.txt"))}
# The newest of both lines, as pip finds it; then each release with what there was when it came out, which is what
# managed Airflows (MWAA, Composer, Astro) pin.
CASES = {
    "3.3": ["apache-airflow==3.3.*"],
    "3.3-beside-official": ["apache-airflow==3.3.*", OFFICIAL],
    "2.11": ["apache-airflow==2.11.*"],
    "2.11-beside-official": ["apache-airflow==2.11.*", OFFICIAL],
    # Up to 3.1 the form is drawn with FAB, which managed Airflows have.
    **{f"{release}-pinned": [f"apache-airflow=={release}", "apache-airflow-providers-fab"] for release in CONSTRAINTS},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests here, so that they run when they are asked for only; a test may install an Airflow first."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.packaging)
            item.add_marker(pytest.mark.timeout(1200))


def _built(pattern: str) -> Path:
    found = list((ROOT / "dist").glob(pattern))
    assert len(found) == 1, f"dist/ has {len(found)} files like {pattern}: run `make package`"
    return found[0]


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The wheel that was built."""
    return _built("*.whl")


@pytest.fixture(scope="session")
def sdist() -> Path:
    """The source distribution that was built."""
    return _built("*.tar.gz")


@pytest.fixture(scope="session", params=CASES)
def clean(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CleanAirflow]:
    """A clean environment with the wheel and one of the Airflows, on its own and beside the official provider."""
    folder = tmp_path_factory.mktemp("clean")
    # Airflow 3 comes without the provider for SQLite, which is the warehouse here.
    requirements = [*CASES[request.param], str(wheel), "apache-airflow-providers-sqlite"]
    yield CleanAirflow(folder, *requirements, constraints=CONSTRAINTS.get(request.param.removesuffix("-pinned")))
    shutil.rmtree(folder)
