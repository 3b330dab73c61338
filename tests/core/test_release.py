"""`make release` builds nothing that the changelog, the version or the tags contradict."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from doc_blocks import ROOT

MISTAKES = {
    "no version": ("", "", "", "Which one?"),
    "another version": ("1.2.3", "1.2.2", "## 1.2.3 (2026-12-24)", '__version__ = "1.2.3"'),
    "no heading": ("1.2.3", "1.2.3", "## 1.2.2 (2026-11-24)", "'## 1.2.3 (YYYY-MM-DD)'"),
    "a heading without its day": ("1.2.3", "1.2.3", "## 1.2.3 (unreleased)", "'## 1.2.3 (YYYY-MM-DD)'"),
    "a dot that is none": ("1.2.3", "1.2.3", "## 1x2.3 (2026-12-24)", "'## 1.2.3 (YYYY-MM-DD)'"),
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with this project's Makefile."""
    if not all(map(shutil.which, ("git", "make"))):
        pytest.skip("git and make are needed")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "airflow_provider_segment").mkdir()
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)  # noqa: S603, S607  git of the environment
    return tmp_path


def release(repository: Path, version: str, written: str, heading: str, *, tag: str = "") -> tuple[int, str]:
    """Commit a version and a changelog, and return the exit status of `make release` and what it says."""
    (repository / "airflow_provider_segment" / "__init__.py").write_text(f'__version__ = "{written}"\n')
    (repository / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n")
    git = ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (["add", "."], ["commit", "--quiet", "--message", "all"], *([["tag", tag]] if tag else [])):
        subprocess.run([*git, *command], check=True)  # noqa: S603  git of the environment
    return make(repository, version)


def make(repository: Path, version: str) -> tuple[int, str]:
    """Run `make release`; what it would build is only said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "release", f"VERSION={version}", "MAKE=echo make"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, env=clean, check=False)  # noqa: S603
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("version", "written", "heading", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_and_nothing_is_built(
    repository: Path, version: str, written: str, heading: str, said: str
) -> None:
    """A release whose version and changelog disagree stops with what was expected."""
    status, text = release(repository, version, written or "0", heading)
    assert status != 0
    assert said in text
    assert "make package" not in text


def test_a_release_is_made_once(repository: Path) -> None:
    """A version that has its tag, or a working tree with changes, is not released."""
    status, text = release(repository, "1.2.3", "1.2.3", "## 1.2.3 (2026-12-24)", tag="v1.2.3")
    assert (status != 0, "v1.2.3 is there already" in text) == (True, True)
    (repository / "new.txt").touch()
    status, text = make(repository, "1.2.3")
    assert (status != 0, "not committed" in text) == (True, True)


def test_a_release_that_is_in_order_is_built(repository: Path) -> None:
    """Where all agrees the distributions are built, and the commands that publish them are said."""
    status, text = release(repository, "1.2.3", "1.2.3", "## 1.2.3 (2026-12-24)")
    assert (status, "make package" in text, "git tag v1.2.3" in text) == (0, True, True)
