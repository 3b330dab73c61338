"""What a run did reaches the metrics that Airflow is set to, on each version of it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from airflow_provider_segment.testing import SegmentServer

CHILD = Path(__file__).with_name("metrics_child.py")


def metrics(port: int, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a sync in a process whose metrics go to a port."""
    statsd = {"STATSD_ON": "True", "STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(port), "STATSD_PREFIX": "af"}
    statsd |= {"STATSD_INFLUXDB_ENABLED": "True"}
    named = {f"AIRFLOW__METRICS__{name}": value for name, value in (statsd | more).items()}
    return subprocess.run(  # noqa: S603  ours
        [sys.executable, str(CHILD)], env=os.environ | named, capture_output=True, text=True, check=True
    )


def test_what_a_listener_hears(segment: SegmentServer) -> None:
    """Calls by sync, call and end; requests, retries and the time by sync."""
    segment.refuse(lambda message: message.get("userId") == "u3" and message["type"] == "track")
    segment.respond_with([503])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        metrics(listener.getsockname()[1])
        heard: dict[str, str] = {}
        while not any(name.startswith("segment.seconds") for name in heard):
            name, _, value = listener.recv(65_536).decode().partition(":")
            heard |= {name.removeprefix("af."): value}
    ours = {_sorted(name): value for name, value in heard.items() if name.startswith("segment.")}
    seconds = ours.pop("segment.seconds,sync_id=customers")
    assert re.fullmatch(r"[0-9.]+\|ms", seconds)
    requests = ours.pop("segment.requests,sync_id=customers")
    assert int(requests.partition("|")[0]) == len(segment.requests) > 2
    assert ours == {
        "segment.calls,call=identify,end=accepted,sync_id=customers": "30|c",
        "segment.calls,call=identify,end=invalid,sync_id=customers": "1|c",
        "segment.calls,call=track_Order_Completed,end=accepted,sync_id=customers": "29|c",
        "segment.calls,call=track_Order_Completed,end=invalid,sync_id=customers": "1|c",
        "segment.calls,call=track_Order_Completed,end=rejected,sync_id=customers": "1|c",
        "segment.retries,sync_id=customers": "1|c",
    }


def _sorted(name: str) -> str:
    first, *tags = name.split(",")
    return ",".join([first, *sorted(tags)])


def test_nobody_listens(segment: SegmentServer) -> None:
    """A run does not fail for its metrics."""
    metrics(1, STATSD_HOST="no.such.host.invalid")
    assert len(segment.messages) == 60
