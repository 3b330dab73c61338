"""A server that fails on the wire, byte by byte as a test says, and knows exactly what it has acknowledged."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

OK = b'{"success":true}'
_WITH_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close() sends RST


@dataclass(frozen=True)
class Step:
    """What is done with one request.

    :param name: shown where a test fails.
    :param data: the bytes that are sent.
    :param then: what comes after them.
    :param pause: seconds before each byte; 0 sends all at once.
    :param early: do it once the head was read, so that the body never gets here.
    :param ingests: keep the events.
    :param acknowledges: all bytes of a 200 with Segment's own body are sent.
    """

    name: str
    data: bytes = b""
    then: Literal["keep", "close", "reset", "hang"] = "keep"
    pause: float = 0.0
    early: bool = False
    ingests: bool = False
    acknowledges: bool = False

    def __repr__(self) -> str:
        return self.name


def answer(status: int, body: bytes = OK, *headers: str, length: int | None = None) -> bytes:
    """Return the bytes of an answer; with `length` its head says another length than the body has."""
    lines = [f"HTTP/1.1 {status} Because", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return the bytes of a 200 in chunks; `end` is the mark of its end."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


GOOD = Step("good", answer(200), ingests=True, acknowledges=True)


@dataclass
class Came:
    """One request that came with its whole body."""

    ids: list[str]
    time: float
    step: Step
    acknowledged: bool = False


@dataclass
class Hostile:
    """A server on a free port of this machine, to be used in a `with` block; its record stays readable after it.

    :param script: what to do with the coming requests, one step each; afterwards all is good.
    :param lasting: what to do with them afterwards instead.
    """

    script: Iterable[Step] = ()
    lasting: Step = GOOD
    came: list[Came] = field(default_factory=list)
    heads: int = 0
    connections: int = 0

    def __post_init__(self) -> None:
        self._steps = deque(self.script)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._open: dict[socket.socket, threading.Thread] = {}

    @property
    def url(self) -> str:
        """The base URL, without `/v1`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def ingested(self) -> set[str]:
        """The ids of all events that were kept."""
        return {name for came in self.came if came.step.ingests for name in came.ids}

    @property
    def acknowledged(self) -> set[str]:
        """The ids of the events whose 200 was sent in full."""
        return {name for came in self.came if came.acknowledged for name in came.ids}

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, name="hostile", daemon=True)
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()
        self._accepting.join(10)
        for connection, thread in list(self._open.items()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), name="hostile", daemon=True)
            self._open[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while self._one(connection, stream.readline, stream.read):
                pass

    def _one(self, connection: socket.socket, readline: Callable[[], bytes], read: Callable[[int], bytes]) -> bool:
        """Do with one request what the script says, and tell whether the connection lives on."""
        length = 0
        while (line := readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not line:
            return False
        with self._lock:
            self.heads += 1
            step = self._steps.popleft() if self._steps else self.lasting
        if step.early:
            return self._end(connection, step)
        body = read(length)
        if len(body) < length:
            return False
        came = Came([event["messageId"] for event in json.loads(body)["batch"]], time.monotonic(), step)
        with self._lock:
            self.came.append(came)
        self._send(connection, step, came)
        return self._end(connection, step)

    def _send(self, connection: socket.socket, step: Step, came: Came) -> None:
        for byte in step.data[:-1] if step.pause else ():
            connection.sendall(bytes((byte,)))
            self._stopping.wait(step.pause)
        # Noted before the last byte goes: who has the whole answer may look here at once.
        came.acknowledged = step.acknowledges
        try:
            connection.sendall(step.data[-1:] if step.pause else step.data)
        except OSError:
            came.acknowledged = False
            raise

    def _end(self, connection: socket.socket, step: Step) -> bool:
        if step.then == "hang":
            while connection.recv(4096):  # ends when the client leaves, or the server closes the connection
                pass
        elif step.then == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _WITH_RESET)
        elif step.then == "close":
            connection.shutdown(socket.SHUT_RDWR)
        return step.then == "keep"
