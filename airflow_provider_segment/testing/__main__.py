"""The command `python -m airflow_provider_segment.testing`: a local Segment that runs alone until it is stopped."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from airflow_provider_segment.testing.server import SegmentServer


def main() -> None:
    """Serve until Ctrl-C or SIGTERM, then print what came."""
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_segment.testing", description="A local Segment.")
    parser.add_argument("--port", type=int, default=8765, help="port on 127.0.0.1; 0 is a free one (default: 8765)")
    parser.add_argument("--record", metavar="FILE", help="append each accepted message to this file as a line of JSON")
    options = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    # Bodies are nobody's to read here, and would fill the memory of a server that runs for days.
    server = SegmentServer(port=options.port, record=options.record, keep_bodies=False)
    try:
        server.start()
    except OSError as error:
        sys.exit(f"Cannot listen on port {options.port}: {error.strerror}")
    print(f"Segment is played at {server.url}; Ctrl-C ends it. Point Airflow at it with")
    print(f"export AIRFLOW_CONN_SEGMENT_DEFAULT='{server.connection}'", flush=True)
    stopped.wait()
    server.stop()
    print(
        f"accepted {len(server.messages)}, dropped {len(server.dropped)}, duplicates {len(server.duplicates)}, "
        f"requests {len(server.requests)}",
        flush=True,
    )


if __name__ == "__main__":
    main()
