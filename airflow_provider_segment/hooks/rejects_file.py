"""The messages in a file of rejects, read to be sent again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from airflow_provider_segment.compat import ObjectStoragePath
from airflow_provider_segment.core.errors import SettingError


def refused_messages(path: str, *, new_ids: bool, left_out: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Yield the messages that Segment refused.

    :param path: of a file as ``rejects_path`` writes it.
    :param new_ids: leave out their ids.
    :param left_out: is filled with the codes of lines that have no message which was sent, and how often they came.
    :raises SettingError: if there is no such file, or a line is none of a file of rejects; before the first message.
    """
    if "://" not in path and Path(path).is_fifo():
        raise SettingError(f"path: {path} is a pipe; expected a file, which is read once before anything is sent of it")
    for _ in _lines(path):  # to the end: no call is sent of a file that is broken further on
        pass
    for line in _lines(path):
        if line["stage"] != "delivery":
            left_out[line["code"]] = left_out.get(line["code"], 0) + 1
            continue
        message: dict[str, Any] = line["message"]
        if new_ids:
            message.pop("messageId", None)
        yield message


def _lines(path: str) -> Iterator[dict[str, Any]]:
    try:
        with (ObjectStoragePath(path) if "://" in path else Path(path)).open("rb") as file:
            yield from (_read(path, number, text) for number, text in enumerate(file, 1))
    except SettingError:
        raise
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except Exception as error:
        if "://" not in path:
            raise
        # Every storage has its own errors; their text may hold credentials.
        problem = f"{type(error).__name__}; is the provider of its storage installed, and its connection right?"
    else:
        return
    raise SettingError(f"path: {path} cannot be read: {problem}")


def _read(path: str, number: int, text: bytes) -> dict[str, Any]:
    """Return a line; its text may not stand in an error."""
    line: Any
    try:
        line = orjson.loads(text)
    except orjson.JSONDecodeError:
        line = None
    is_line = isinstance(line, dict) and {"stage", "code", "message"} <= line.keys()
    if is_line and (line["stage"] != "delivery" or isinstance(line["message"], dict)):
        return dict(line)
    raise SettingError(f"path: line {number} of {path} is none of a file of rejects")
