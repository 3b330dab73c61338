"""Batches that wait on disk until it is known that they may be sent."""

from __future__ import annotations

import marshal
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from airflow_provider_segment.core.delivery.batching import Batch
from airflow_provider_segment.core.errors import HoldError

# The messages of a sync are much alike: the fastest level takes three quarters away.
_LEVEL = 1


class HeldBatches:
    """A compressed file without a name: nobody else can open it, and it is gone with the process, however that ends.

    :ivar bytes: that the file has.
    :raises HoldError: if it cannot be made; so do the methods, where there is no room.
    """

    def __init__(self) -> None:
        self.bytes = 0
        with self._on_disk():
            self._file = tempfile.TemporaryFile(prefix="segment-")  # noqa: SIM115  close() closes it

    def add(self, batch: Batch) -> None:
        """Hold a batch.

        :param batch: that is full, or the last one.
        """
        plain = (batch.events, batch.rows, batch.calls, batch.keys, batch.in_flight, batch.size)
        held = zlib.compress(marshal.dumps(plain), _LEVEL)
        with self._on_disk():
            self._file.write(len(held).to_bytes(8) + held)
        self.bytes += 8 + len(held)

    def batches(self) -> Iterator[Batch]:
        """Yield the batches, in the order in which they came."""
        with self._on_disk():
            self._file.flush()
            self._file.seek(0)
        while held := self._next():
            yield Batch(*marshal.loads(zlib.decompress(held)))  # noqa: S302  our own file

    def _next(self) -> bytes:
        with self._on_disk():
            return self._file.read(int.from_bytes(self._file.read(8)))

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HoldError(
                "With a cap the calls of a run are held in the folder for temporary files until the cap is known to "
                f"hold: {error.strerror or type(error).__name__}, after {self.bytes:,} bytes. Make room there, or name "
                "another folder in the environment variable TMPDIR"
            ) from None

    def close(self) -> None:
        """Let the file go."""
        with suppress(OSError):  # what was buffered may find no room, and is not needed
            self._file.close()
