"""What is in the wheel and in the source distribution."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest
from doc_blocks import ROOT

from airflow_provider_segment import __version__

PACKAGE = "airflow_provider_segment"


def metadata(wheel: Path) -> Message:
    """Return what the wheel says to package indexes."""
    with ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(f"{PACKAGE}-{__version__}.dist-info/METADATA"))


def files(wheel: Path) -> dict[str, int]:
    """Return the wheel's files, each with the checksum of its bytes."""
    with ZipFile(wheel) as archive:
        return {each.filename: each.CRC for each in archive.infolist()}


def test_the_wheel_is_the_package(wheel: Path) -> None:
    """The wheel has each file of the package, py.typed too, and nothing else but its metadata and the licence."""
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).rglob("*") if path.is_file()}
    ours = {path for path in ours if "__pycache__" not in path}
    assert f"{PACKAGE}/py.typed" in ours
    about = {"METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE", "RECORD"}
    assert set(files(wheel)) == ours | {f"{PACKAGE}-{__version__}.dist-info/{name}" for name in about}


def test_the_sdist_is_the_checkout(sdist: Path) -> None:
    """The source distribution has each file of the checkout, but for what runs this project on its CI."""
    git = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607  whichever git there is
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if git.returncode:
        pytest.skip("this is no checkout")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert packed == {name for name in git.stdout.splitlines() if not name.startswith(".ci/")} | {"PKG-INFO"}


def test_sdist_and_checkout_make_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    """The wheel of the source distribution and that of the checkout have the same files with the same bytes."""
    for source in (sdist, ROOT):
        folder = tmp_path / source.name
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source]
        subprocess.run(command, check=True)  # noqa: S603  our own command
        [made] = folder.iterdir()
        assert files(made) == files(wheel)


def test_the_index_page_has_no_dead_link(wheel: Path) -> None:
    """The README on the index's page has no link or picture that leads into the repository, and is whole otherwise."""
    page = metadata(wheel).get_payload()
    assert isinstance(page, str)
    targets = re.findall(r"\]\(([^)\s]+)\)", page)
    assert [target for target in targets if not target.startswith("https://")] == []
    headings = re.findall(r"^#+ .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert re.findall(r"^#+ .*$", page, re.MULTILINE) == headings
