"""Refused calls as JSON lines, written as they happen; the one place, with the preview, where a row may be read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import orjson

from airflow_provider_segment.core.errors import RejectsError, SettingError
from airflow_provider_segment.core.report import Rejection


class Rejects(Protocol):
    """Where refused calls are written: a local file, or parts in an object storage (hooks/object_rejects.py)."""

    def write(self, line: bytes) -> None:
        """Write one line, which ends with a newline."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class NoRejects:
    """Nowhere: without a path the report counts them."""

    def write(self, line: bytes) -> None:
        """Forget the line."""

    def close(self) -> None:
        """Do nothing."""


class LocalRejects:
    """A file on a local disk, readable by its owner only; one that is there is replaced.

    :param path: of the file; missing folders are made.
    :raises SettingError: if it cannot be made.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            if Path(path).is_file():  # it would keep its owner and mode, so it is not written into but replaced
                Path(path).unlink()
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o600)
        except OSError as error:
            raise SettingError(f"rejects_path: {path} cannot be written: {error.strerror}") from None

    def write(self, line: bytes) -> None:
        """Write one line in one piece, so that a kill leaves no half of it.

        :raises RejectsError: if the disk does not take all of it; a half line is taken back.
        """
        end = os.lseek(self._file, 0, os.SEEK_END)
        try:
            if os.write(self._file, line) == len(line):
                return
            problem = "the disk took only a part of a line"
        except OSError as error:
            problem = error.strerror or type(error).__name__
        os.ftruncate(self._file, end)
        raise RejectsError(f"rejects_path: {self._path} cannot be written any more: {problem}")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def path_of_try(path: str, try_number: int, map_index: int) -> str:
    """Return the path of a try's own file.

    :param path: as the user gave it; the first try of an unmapped task has it as it is.
    :param try_number: from 1; 0 outside a task.
    :param map_index: of a mapped task; -1 for any other.
    """
    marks = (f".map{map_index}" if map_index >= 0 else "") + (f".try{try_number}" if try_number > 1 else "")
    suffix = PurePosixPath(path).suffix
    return f"{path.removesuffix(suffix)}{marks}{suffix}" if suffix else f"{path}{marks}"


def line_of(rejection: Rejection, key: Mapping[str, Any] | None, message: Mapping[str, Any] | bytes | None) -> bytes:
    """Return a refused call as one JSON line.

    :param rejection: what was refused, and why.
    :param key: the row's key columns, where the sync has a key.
    :param message: as far as there is one: its bytes, or what could not be encoded.
    """
    line = {
        "row": rejection.row,
        "key": key,
        "call": rejection.call,
        "stage": rejection.stage,
        "field": rejection.field or None,
        "code": rejection.code,
        "reason": rejection.reason,
        "status": rejection.status,
    }
    shown = message if isinstance(message, bytes) else _as_far_as_it_goes(message)
    return b'%b,"message":%b}\n' % (orjson.dumps(line)[:-1], shown)


def _as_far_as_it_goes(message: Mapping[str, Any] | None) -> bytes:
    """Return a message that has no JSON, with its odd values as text; None where even that fails."""
    try:
        return orjson.dumps(message, default=str, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        return b"null"
