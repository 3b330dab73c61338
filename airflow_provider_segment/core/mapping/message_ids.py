"""Message ids: the same event has the same id in every try, and no two events share one.

Segment removes repeats by messageId for 24 hours or longer, and not only within a source. So an id is a hash over a
namespace, the call's identity, the content, and what tells the row from the others: its key, or else the whole row
and how many equal rows came before it in this run.
"""

from __future__ import annotations

import struct
from binascii import hexlify
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import orjson

from airflow_provider_segment.core.rows.keys import key_bytes
from airflow_provider_segment.core.rows.row_bytes import bytes_of

ID_BYTES = 16
_EMPTY = blake2b(digest_size=ID_BYTES)  # a copy is cheaper than a new one
_WITH_ID = b'%b,"messageId":"%b"}'
_MARK_AND_PLACE = struct.Struct(">4sH")  # of a hash: its fingerprint, and in which of 65,536 buckets it lies
_FIRST = (0).to_bytes(8)


class Namespace:
    """Where ids are unique: a sync and its run, or a task.

    :param parts: texts and numbers that name it, such as sync id, run id and the write key's fingerprint; the map
        index only where there is no key, since mapped tasks count equal rows each by itself.
    """

    def __init__(self, *parts: str | int | None) -> None:
        self._root = blake2b(orjson.dumps(parts), digest_size=ID_BYTES)

    def maker(self, identity: str) -> MessageIds:
        """Return what makes the ids of one call.

        :param identity: the call's identity within its sync.
        """
        seed = self._root.copy()
        seed.update(orjson.dumps(identity))
        return MessageIds(seed)


class MessageIds:
    """The ids of one call.

    :param seed: the hash of the namespace and the call; copied for each message, which is cheaper than a new one.
    """

    def __init__(self, seed: blake2b) -> None:
        self._copy = seed.copy

    def make(self, row_key: bytes, content: bytes) -> bytes:
        """Return the id of one message, in ASCII.

        :param row_key: what tells its row from the others: JSON, or as long as all others, so that it is plain where
            it ends and no two pairs run together.
        :param content: the message's bytes without an id.
        """
        digest = self._copy()
        digest.update(row_key)
        digest.update(content)
        return hexlify(digest.digest())

    def named(self, contents: Iterable[bytes], row_keys: Iterable[bytes]) -> list[bytes]:
        """Return messages with their ids: what make() and with_id() do, written out here, since all rows come by.

        :param contents: the messages' bytes without an id.
        :param row_keys: what tells their rows from the others.
        """
        new, events = self._copy, []
        for content, row_key in zip(contents, row_keys, strict=True):
            digest = new()
            digest.update(row_key)
            digest.update(content)
            events.append(_WITH_ID % (content[:-1], hexlify(digest.digest())))
        return events


def with_id(content: bytes, message_id: bytes) -> bytes:
    """Return a message's bytes with its id put in.

    :param content: without an id.
    :param message_id: in ASCII.
    """
    return _WITH_ID % (content[:-1], message_id)


def fingerprint(secret: str) -> str:
    """Return a short hash that tells two write keys apart and shows neither."""
    return blake2b(secret.encode(), digest_size=8, person=b"write key").hexdigest()


def content_digest(content: Any) -> bytes:
    """Return a hash of a row's values, or of a message that a user wrote.

    :param content: of any types; those that JSON does not know are told apart by their text.
    """
    (digest,) = content_digests([content])
    return digest


def content_digests(contents: Iterable[Any]) -> list[bytes]:
    """Return the hashes of rows.

    :param contents: as for content_digest().
    """
    new, digests = _EMPTY.copy, []
    for content in contents:
        digest = new()
        digest.update(bytes_of(content))
        digests.append(digest.digest())
    return digests


class RowKeys:
    """What tells each row from the others: its key, or the whole row and how many equal ones came before.

    :param key: places of the key's columns in a row; empty where there is no key.
    """

    def __init__(self, key: Sequence[int]) -> None:
        self._key = key
        self._occurrences = None if key else Occurrences()

    def of(self, page: Sequence[Sequence[Any]]) -> list[bytes | None]:
        """Return what tells each row of a page from the others; None where its key has a null.

        :param page: some rows.
        """
        if self._occurrences is None:
            return key_bytes([[row[place] for row in page] for place in self._key])
        return self._occurrences.numbered(content_digests(page))


class Occurrences:
    """How many equal rows came before, in about five bytes a row.

    A set of 32-bit fingerprints of (row, number) in 65,536 buckets: no counter stands beside it, the number is found
    by looking for the first that is not there. Buckets are immutable bytes, since growing bytearrays keep spare room:
    60 MB for 12 million rows. A false hit is expected once in 47 runs of 3.4 million rows (n * n / 2**49 a run); it
    costs no event, only the sameness of one row's id in a try that reads the rows in another order.
    """

    def __init__(self) -> None:
        self._buckets = [b""] * (1 << 16)

    def numbered(self, digests: Iterable[bytes]) -> list[bytes | None]:
        """Return the hashes of rows, each with how many equal rows came before it, and remember them.

        :param digests: of the rows.
        """
        buckets, split = self._buckets, _MARK_AND_PLACE.unpack_from
        found: list[bytes | None] = []
        for digest in digests:
            mark, place = split(digest)
            bucket = buckets[place]
            if mark in bucket:
                found.append(digest + self.count(digest).to_bytes(8))
            else:  # nearly all rows
                buckets[place] = bucket + mark
                found.append(digest + _FIRST)
        return found

    def count(self, digest: bytes) -> int:
        """Return how many equal rows came before this one, and remember it.

        :param digest: the row's hash.
        """
        if self._add(digest):
            return 0
        low, high = 0, 1
        while self._has(_numbered(digest, high)):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._has(_numbered(digest, middle)) else (low, middle)
        self._add(_numbered(digest, high))
        return high

    def _add(self, digest: bytes) -> bool:
        """Add a fingerprint; tell whether it was new."""
        mark, place = _MARK_AND_PLACE.unpack_from(digest)
        bucket = self._buckets[place]
        if mark in bucket and _stands_in(bucket, mark):
            return False
        self._buckets[place] = bucket + mark
        return True

    def _has(self, digest: bytes) -> bool:
        mark, place = _MARK_AND_PLACE.unpack_from(digest)
        return _stands_in(self._buckets[place], mark)


def _stands_in(bucket: bytes, mark: bytes) -> bool:
    """Tell whether one fingerprint of the bucket is the mark, not the end of one and the start of the next."""
    found = bucket.find(mark)
    while found > 0 and found % 4:
        found = bucket.find(mark, found + 1)
    return found >= 0


def _numbered(digest: bytes, number: int) -> bytes:
    return blake2b(digest, digest_size=ID_BYTES, salt=number.to_bytes(8, "little")).digest()
