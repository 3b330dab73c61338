"""A cheap stand-in for Segment in a process of its own: it answers, waits and counts, and judges nothing.

`python benchmarks/sink.py --delay 0.1` runs it alone; `GET /stats` shows its counts. Benchmarks use `with sink() as s`.
"""

from __future__ import annotations

import argparse
import json
import socketserver
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from threading import Lock
from typing import Any

ANSWER = b'{"success":true}'
MARK = b'"messageId"'  # one in each event, ours and the official SDK's; the benchmarks' data has none


class Stats:
    """Counts of what arrived.

    :param record: parse each body and measure its events too; costs as much as making them.
    """

    def __init__(self, *, record: bool) -> None:
        self.counts = {"requests": 0, "events": 0, "bytes": 0, "max_body_bytes": 0}
        if record:
            self.counts |= {"max_body_events": 0, "max_event_bytes": 0, "different_ids": 0, "events_not_compact": 0}
        self._record = record
        self._ids: set[str] = set()

    def take(self, body: bytes) -> None:
        """Count one body."""
        counts = self.counts
        counts["requests"] += 1
        counts["bytes"] += len(body)
        counts["max_body_bytes"] = max(counts["max_body_bytes"], len(body))
        if self._record:
            self._measure(body)
        else:
            counts["events"] += body.count(MARK)

    def _measure(self, body: bytes) -> None:
        import orjson

        events = orjson.loads(body)["batch"]
        sizes = [len(orjson.dumps(event)) for event in events]
        # The sizes are of events written again: they are those on the wire only if the whole array comes out as long.
        array = len(body) - body.index(b'"batch":[') - len(b'"batch":[') - len(b"]}")
        counts = self.counts
        counts["events"] += len(events)
        counts["max_body_events"] = max(counts["max_body_events"], len(events))
        counts["max_event_bytes"] = max(counts["max_event_bytes"], *sizes)
        counts["events_not_compact"] += array != sum(sizes) + len(sizes) - 1
        self._ids.update(event["messageId"] for event in events)
        counts["different_ids"] = len(self._ids)


def serve(delay: float, stats: Stats) -> None:
    """Answer on a free port, whose number is printed, until the process is ended; a thread for each connection."""
    counting = Lock()

    class Connection(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError):
                while request := self.rfile.readline():
                    self.wfile.write(self.answer(request, length(takewhile(bytes.strip, self.rfile))))

        def answer(self, request: bytes, length: int) -> bytes:
            if request.startswith(b"GET /stats"):
                return http(json.dumps(stats.counts | {"cpu": time.process_time()}).encode())
            body = self.rfile.read(length)
            with counting:
                stats.take(body)
            time.sleep(delay)
            return http(ANSWER)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection) as server:
        server.daemon_threads = True
        print(server.server_address[1], flush=True)
        server.serve_forever()


def length(headers: Iterable[bytes]) -> int:
    """Return the length of a request's body, having read its headers; the clients here never send chunks."""
    values = [
        value for name, _, value in (line.partition(b":") for line in headers) if name.lower() == b"content-length"
    ]
    return int(values[0]) if values else 0


def http(body: bytes) -> bytes:
    """Return a body as an answer that keeps the connection."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@dataclass(frozen=True)
class Sink:
    """A sink that runs.

    :param url: its base URL.
    """

    url: str

    def stats(self) -> dict[str, Any]:
        """Return what arrived until now, and the seconds of CPU that the sink took."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}/stats", timeout=30) as answer:
            counts: dict[str, Any] = json.load(answer)
        return counts


@contextmanager
def sink(*, delay: float = 0.0, record: bool = False) -> Iterator[Sink]:
    """Run a sink while the block runs.

    :param delay: seconds before each answer.
    :param record: measure events too.
    """
    command = [sys.executable, __file__, "--delay", str(delay), *(["--record"] if record else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        try:
            assert process.stdout is not None
            yield Sink(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.terminate()


def main() -> None:
    """Run a sink until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--record", action="store_true", help="parse bodies and measure their events")
    settings = parser.parse_args()
    serve(settings.delay, Stats(record=settings.record))


if __name__ == "__main__":
    main()
