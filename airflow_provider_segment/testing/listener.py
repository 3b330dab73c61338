"""The sockets of the local Segment: one request in; one reply, or one way of failing to reply, out."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import socketserver
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

from airflow_provider_segment.testing import ingest

Headers = dict[str, str]
Fault = Literal["reset", "reset_after", "hang"]
Reply = tuple[int, Headers, bytes | None]  # the body None: what Segment says with such a status

_LINGER = struct.Struct("ii")
_CLOSE_WITH_RESET = _LINGER.pack(1, 0)  # on, 0 seconds: close() sends RST
_JOIN_SECONDS = 5.0  # what a user's function may still take when the server stops


@dataclass(slots=True)
class Request:
    """One request as it arrived; `status` is what it was answered, None without an answer."""

    method: str
    path: str
    headers: Headers = field(repr=False)  # lower-case names
    body: bytes = field(repr=False)  # decompressed
    time: float  # time.monotonic() at arrival
    events: int = 0
    status: int | None = None

    @property
    def kind(self) -> str | None:
        """The endpoint asked for: "batch", one of the six types, or None for a path that Segment does not have."""
        return ingest.ENDPOINTS.get(urlsplit(self.path).path)

    @property
    def sizes(self) -> list[int]:
        """The bytes of each event as it was sent; none without a kept, well-formed body."""
        return ingest.event_sizes(self.kind, self.body) if self.kind else []


class Listener(ThreadingHTTPServer):
    """A port whose every connection has a thread, and which can close them all.

    :param address: host and port; port 0 is a free one.
    :param answer: function that tells what to do with a request; called from many threads.
    :param delay: function that tells how many seconds to hold back an answer.
    :raises OSError: when the port is taken.
    """

    request_queue_size = 1024

    def __init__(
        self, address: tuple[str, int], answer: Callable[[Request], Reply | Fault], delay: Callable[[], float]
    ) -> None:
        self.answer, self.delay = answer, delay
        self.stopping = threading.Event()
        self._threads_of: dict[Any, threading.Thread] = {}
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the host's name, which may ask a name server."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a connection's thread, remembering both: kept alive, they would outlive the port."""
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._threads_of[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close one connection; one that is to be reset without the FIN that a shutdown sends first."""
        self._threads_of.pop(request, None)
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.size) == _CLOSE_WITH_RESET:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that left; show the traceback of anything else, such as a user's function that failed."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        """Close the port and every connection, and wait for their threads."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        for connection, thread in list(self._threads_of.items()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            if thread is not threading.current_thread():  # a script may stop the server from within a request
                thread.join(_JOIN_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    server: Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one packet

    def do_POST(self) -> None:
        arrived = time.monotonic()
        length = self.headers.get("Content-Length") or "0"
        if not length.isdecimal() or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # what follows cannot be told from the next request
            length = "0"
        raw = self.rfile.read(int(length))
        if len(raw) < int(length):
            self.close_connection = True  # the client left halfway: Segment never saw a request
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = _decompressed(raw) if headers.get("content-encoding") == "gzip" else raw
        request = Request(self.command, self.path, headers, body, arrived)
        reply = self.server.answer(request)
        if reply == "hang":
            self._hang()
        elif self.server.stopping.wait(self.server.delay()):
            self.close_connection = True
        elif isinstance(reply, str):
            self._reset()
        else:
            request.status = reply[0]  # before it is sent, so that a client that has its answer can read it here
            self._send(*reply)

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815 - http.server finds them by these names

    def _send(self, status: int, headers: Headers, body: bytes | None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        if status in (204, 304):  # HTTP forbids these a body
            body = b""
        elif body is None:
            failure = {"success": False, "message": self.responses.get(status, ("Error",))[0]}
            body = json.dumps({"success": True} if status < 300 else failure).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _hang(self) -> None:
        self.close_connection = True
        while self.connection.recv(4096):  # ends when the client leaves, or when the server closes the connection
            pass

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_WITH_RESET)

    def handle_expect_100(self) -> bool:
        """Let the "100 Continue" out of the buffer: the client waits for it."""
        proceed = super().handle_expect_100()
        self.wfile.flush()
        return proceed

    def log_message(self, *_: Any) -> None:
        """Keep quiet: the record is the log."""


def _decompressed(raw: bytes) -> bytes:
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error):
        return b""  # no JSON either, so it gets the 400 of a broken body
