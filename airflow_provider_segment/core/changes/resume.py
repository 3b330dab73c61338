"""A later try of a run in ``sync_mode="all"`` skips the messages that an earlier one had acknowledged, by their ids."""

from __future__ import annotations

import struct
from binascii import unhexlify
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Protocol

from airflow_provider_segment.core.changes.seen_keys import SeenKeys
from airflow_provider_segment.core.mapping.encoding import has_own_id

NUMBER_BYTES = 8
# Where the first 64 of the 128 bits of an id of ours stand in a message's bytes: `...,"messageId":"<32 digits>"}`.
_NUMBER = slice(-34, -18)


class Memory(Protocol):
    """Where it is kept, for a later try, which messages of a run were acknowledged.

    It serves a retry and is never the reason why a run fails: what it loses is sent again under the same ids.
    """

    def earlier(self) -> Iterator[bytes]:
        """Yield the numbers that earlier tries have left, eight bytes each, some at a time."""
        ...

    def add(self, numbers: bytes) -> None:
        """Keep the numbers of messages that were acknowledged just now.

        :param numbers: eight bytes each.
        """
        ...


class Resume:
    """What earlier tries of a run had acknowledged, and what this one has.

    :param memory: where it is kept.
    :ivar known: how many messages earlier tries had acknowledged, as far as it is known.
    :ivar skipped: how many of them came again and were not sent.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._seen = SeenKeys()
        for numbers in memory.earlier():
            self._seen.add(_unpacked(numbers))
        self.known = self._seen.count()
        self.skipped = 0

    def due(self, events: Sequence[bytes]) -> list[int]:
        """Return the places of the messages that no earlier try had acknowledged.

        :param events: encoded, with their ids.
        """
        numbers = _unpacked(numbers_of(events))
        missing = self._seen.missing(numbers)
        due = [place for place, number in enumerate(numbers) if number in missing]
        self.skipped += len(events) - len(due)
        return due

    def accepted(self, events: Iterable[bytes]) -> None:
        """Keep what was acknowledged just now.

        :param events: encoded, with their ids.
        """
        self._memory.add(numbers_of(events))


def numbers_of(events: Iterable[bytes]) -> bytes:
    """Return what tells messages apart, eight bytes each: half of an id of ours, or a hash of a message with its own.

    An id of ours is a hash of run, row and content. One that the user gave says nothing of the content: two messages
    may have one id, and only the one that was acknowledged may be skipped.

    :param events: encoded, with their ids.
    """
    return unhexlify(b"".join([_digits(event) if has_own_id(event) else event[_NUMBER] for event in events]))


def _digits(event: bytes) -> bytes:
    return blake2b(event, digest_size=NUMBER_BYTES).hexdigest().encode()


def _unpacked(numbers: bytes) -> Sequence[int]:
    return struct.unpack(f">{len(numbers) // NUMBER_BYTES}q", numbers)
