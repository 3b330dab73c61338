"""A process that runs one side again and again on command: both ends of its pipe.

A side's script calls `serve(run)`; whoever measures holds a `Worker`. One line of JSON asks for a run, one answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Run:
    """What one run took.

    :param result: what the side itself returned: ``rows`` that it read, ``sent`` messages, and more.
    :param seconds: of the wall clock.
    :param cpu: seconds of all its threads, in user and system mode.
    :param peak: the largest memory of the process until now, in bytes.
    """

    result: dict[str, Any]
    seconds: float
    cpu: float
    peak: int


def serve(run: Callable[..., dict[str, Any]]) -> None:
    """Run the side for each line of stdin, and answer what it took.

    :param run: called with the line's settings; returns the result.
    """
    # Whatever the side prints is its log; only our answers go to the real stdout.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        settings = json.loads(line)
        cpu, began = time.process_time(), time.perf_counter()
        result = run(**settings)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        answers.write(json.dumps({"result": result, "seconds": seconds, "cpu": cpu, "peak": peak()}) + "\n")


def begin(run: Callable[..., dict[str, Any]]) -> None:
    """Serve; or, with settings on the command line, run once, so that the exit code is what the side makes of it."""
    if sys.argv[1:]:
        run(**json.loads(sys.argv[1]))
    else:
        serve(run)


def peak() -> int:
    """Return the largest memory of this process; ru_maxrss would begin with that of the process which started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class Worker:
    """One side, in a process of its own while the block runs.

    :param command: its script and arguments.
    :param log: a file for all that it prints, shown when it fails.
    :param environment: default this process's.
    :param limit: seconds after which a run is ended with the process; default: never.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        environment: Mapping[str, str] | None = None,
        limit: float | None = None,
    ) -> None:
        self._log, self._limit = log, limit
        with log.open("wb") as printed:
            self._process = subprocess.Popen(  # noqa: S603 - our own
                command,
                env=environment,
                cwd=log.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=printed,
                text=True,
            )

    def run(self, **settings: Any) -> Run:
        """Run it once.

        :param settings: for the side.
        :raises TimeoutError: if it did not end in time.
        :raises RuntimeError: if it failed; its log was shown.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Timer(self._limit or threading.TIMEOUT_MAX, self._process.kill)
        late.daemon = True
        late.start()
        try:
            self._process.stdin.write(json.dumps(settings) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        timed_out = late.finished.is_set()
        late.cancel()
        if not answer and timed_out:
            raise TimeoutError(f"A side did not end in {self._limit:g} seconds")
        if not answer:
            print(self._log.read_text(errors="replace")[-5_000:], file=sys.stderr)
            raise RuntimeError(f"A side failed, see above: {settings}")
        return Run(**json.loads(answer))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
