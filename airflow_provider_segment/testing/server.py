"""The local Segment itself: what it was told to do wrong, what it takes and drops, and its record of both."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import uuid
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson

from airflow_provider_segment.testing import ingest
from airflow_provider_segment.testing.listener import Fault, Listener, Reply, Request
from airflow_provider_segment.testing.public_api import PublicApi
from airflow_provider_segment.testing.script import Script, Steps, keeps_nothing

_LOCAL_WRITE_KEY = "local-write-key-000000000000000"


class Dropped(NamedTuple):
    """One event that Segment answers 200 to and does not keep, with its ingest code."""

    message: Any
    code: str


class SegmentServer:
    """A local Segment on a port of this machine, to be used in a `with` block; its record stays readable after it.

    :param port: TCP port; default 0, a free one. It is kept when the server is stopped and started again.
    :param record: file to which each accepted message is appended as a line of JSON; default none.
    :param host: address to listen on; default "127.0.0.1".
    :param keep_bodies: keep each request's body (default); False saves memory, `sizes` is then empty.
    :raises OSError: at the start, when the port is taken.
    """

    def __init__(
        self,
        port: int = 0,
        record: str | PathLike[str] | None = None,
        host: str = "127.0.0.1",
        keep_bodies: bool = True,
    ) -> None:
        self.host, self.port, self.keep_bodies = host, port, keep_bodies
        self._record = None if record is None else Path(record)
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all that came and all that was asked for: records, script, refusals and delay."""
        with self._lock:
            self.messages: list[dict[str, Any]] = []
            self.dropped: list[Dropped] = []
            self.duplicates: list[dict[str, Any]] = []
            self.requests: list[Request] = []
            self.write_keys: set[str] = set()
            self.delay = 0.0  # seconds before each answer
            self.public_api = PublicApi(_LOCAL_WRITE_KEY)
            self._accepted_ids: set[str] = set()
            self._script = Script()
            self._refusals: list[Callable[[Any], bool]] = []

    def respond_with(self, script: Steps) -> None:
        """Answer the coming requests of the Tracking API, one step each, and then as usual; a further call appends.

        :param script: steps, or a function of the request that returns one, for ever and from several threads at once.
            A step is a status, `(status, headers)`, `(status, headers, body)`, "reset" (no answer, not ingested),
            "reset_after" (ingested, no answer), "hang" (no answer until client or server leaves), or None (as usual).
            A 2xx takes the place of the usual 200; other statuses ingest nothing.
        :raises ValueError: for a step that is none of these.
        """
        self._script.extend(script)

    def refuse(self, predicate: Callable[[Any], bool]) -> None:
        """Answer 400 to every request that holds such a message, and ingest nothing of it.

        :param predicate: function of a message as on the wire; called from several threads at once.
        """
        with self._lock:
            self._refusals.append(predicate)

    @property
    def url(self) -> str:
        """The base URL, without `/v1`.

        :raises RuntimeError: before the first start, when the port is not known.
        """
        if not self.port:
            raise RuntimeError("The port is known once the server was started: use `with SegmentServer() as server:`")
        return f"http://{self.host}:{self.port}"

    @property
    def connection(self) -> str:
        """The Airflow connection to this server as JSON, for `AIRFLOW_CONN_SEGMENT_DEFAULT`."""
        extra = {"public_api_token": self.public_api.token, "source_id": self.public_api.source_id}
        return json.dumps({"conn_type": "segment", "host": self.url, "password": _LOCAL_WRITE_KEY, "extra": extra})

    def start(self) -> Self:
        """Listen; returns the server itself.

        :raises OSError: when the port is taken.
        :raises RuntimeError: when it runs already.
        """
        if self._listener is not None:
            raise RuntimeError("The server runs already")
        self._listener = Listener((self.host, self.port), self._answer, lambda: self.delay)
        self.port = self._listener.server_address[1]
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Close the port and every connection; afterwards the record changes no more."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = self.url if self.port else "not started"
        return f"<SegmentServer {where}: {len(self.messages)} messages, {len(self.requests)} requests>"

    def _answer(self, request: Request) -> Reply | Fault:
        """Record one request, do with it what the script says, and tell what to answer."""
        reading = _read(request)
        request.events = len(reading.messages)
        with self._lock:
            self.requests.append(request)
            self.write_keys.update({reading.write_key} - {""})
        try:
            if self.public_api.serves(request):
                return self.public_api.answer(request)
            return self._tracked(request, reading)
        finally:
            if not self.keep_bodies:
                request.body = b""

    def _tracked(self, request: Request, reading: ingest.Reading) -> Reply | Fault:
        """Do with a request to the Tracking API what the script says, and tell what to answer."""
        step = self._script.step(request)
        if keeps_nothing(step):
            return step
        if request.kind is None or request.method != "POST":
            return (404 if request.kind is None else 405), {}, None
        if error := reading.error or self._refusal(reading.messages):
            return 400, {}, json.dumps({"success": False, "message": error}).encode()
        self._ingest(reading)
        return step

    def _refusal(self, messages: list[Any]) -> str | None:
        refused = any(predicate(message) for predicate in self._refusals for message in messages)
        return "A message of the request was refused" if refused else None

    def _ingest(self, reading: ingest.Reading) -> None:
        codes = ingest.judge_all(reading)
        with self._lock:
            if not codes:
                self.dropped.append(Dropped({}, "empty_batch"))
            before = len(self.messages)
            for message, code in zip(reading.messages, codes, strict=True):
                if code is not None:
                    self.dropped.append(Dropped(message, code))
                    self.public_api.delivery.note(message, code)
                    continue
                message_id = message["messageId"] = message.get("messageId") or str(uuid.uuid4())
                known = message_id in self._accepted_ids
                self._accepted_ids.add(message_id)
                (self.duplicates if known else self.messages).append(message)
                if not known:
                    self.public_api.delivery.note(message, None)
            if self._record is not None:
                with self._record.open("ab") as lines:
                    lines.writelines(orjson.dumps(message) + b"\n" for message in self.messages[before:])


def _read(request: Request) -> ingest.Reading:
    if request.kind is None or request.method != "POST":
        return ingest.Reading([])
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    basic_user = ""
    if scheme.lower() == "basic":  # a Bearer token stands beside the write key, never for it
        with contextlib.suppress(ValueError):
            basic_user = base64.b64decode(credentials).decode("latin-1").partition(":")[0]
    return ingest.read(request.kind, request.body, basic_user)
