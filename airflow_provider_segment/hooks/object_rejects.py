"""Refused calls in an object storage: parts of 1,000 lines, since its objects cannot grow."""

from __future__ import annotations

from pathlib import PurePosixPath

from airflow_provider_segment.compat import ObjectStoragePath
from airflow_provider_segment.core.errors import RejectsError

LINES = 1_000


class ObjectRejects:
    """Parts beside each other: ``rejects.jsonl`` becomes ``rejects.part1.jsonl``, ``rejects.part2.jsonl`` ...

    :param path: such as ``s3://aws_default@bucket/rejects.jsonl``, as Airflow's ObjectStoragePath reads it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines: list[bytes] = []
        self._parts = 0

    def write(self, line: bytes) -> None:
        """Keep a line, and write a part when it is full.

        :raises RejectsError: if the storage does not take it.
        """
        self._lines.append(line)
        if len(self._lines) >= LINES:
            self._write_part()

    def close(self) -> None:
        """Write the last part.

        :raises RejectsError: if the storage does not take it.
        """
        if self._lines:
            self._write_part()

    def _write_part(self) -> None:
        lines, self._lines = self._lines, []
        self._parts += 1
        suffix = PurePosixPath(self._path).suffix
        part = f"{self._path.removesuffix(suffix)}.part{self._parts}{suffix}"
        problem = ""
        try:
            target = ObjectStoragePath(part)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"".join(lines))
        except Exception as error:  # noqa: BLE001  every storage has its own errors; their text may hold credentials
            problem = type(error).__name__
        if problem:
            raise RejectsError(f"rejects_path: {part} cannot be written ({problem})")
