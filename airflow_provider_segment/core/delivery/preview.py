"""The first messages of a run as JSON lines, for who wants to see before sending; readable by the owner only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_segment.core.errors import SettingError

MOST = 100


class Preview:
    """A file with the first 100 messages.

    :param path: of a local file; one that is there is replaced. None writes nothing.
    :raises SettingError: if it cannot be written.
    """

    def __init__(self, path: str | None) -> None:
        self._room = MOST if path else 0
        self._path = path or ""
        if path:
            self._write(b"", os.O_EXCL)

    def take(self, events: Sequence[bytes]) -> None:
        """Write messages while there is room.

        :param events: encoded.
        """
        if self._room and events:
            shown = events[: self._room]
            self._room -= len(shown)
            self._write(b"".join(event + b"\n" for event in shown), os.O_APPEND)

    def _write(self, lines: bytes, mode: int) -> None:
        try:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            if mode == os.O_EXCL and Path(self._path).is_file():  # it would keep its owner and mode
                Path(self._path).unlink()
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | mode, 0o600), "wb") as file:
                file.write(lines)
        except OSError as error:
            raise SettingError(f"preview_path: {self._path} cannot be written: {error.strerror}") from None
