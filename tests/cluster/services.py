"""A process of a deployment: it writes into a file of its own, and ends together with all that it started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest


class Service:
    """A program that runs until it is killed, and can be started again.

    :param name: of its file.
    :param command: the program and its arguments.
    :param environment: of it, the whole.
    :param folder: where its file lies, and where it runs.
    """

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self._command, self._environment, self._folder = command, environment, folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of its first process, which is the id of the session of all of them."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def start(self) -> None:
        """Start it; what it writes is appended."""
        with (self._folder / f"{self.name}.out").open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603  our own command
                self._command, env=self._environment, cwd=self._folder, stdout=out, stderr=out, start_new_session=True
            )

    def kill(self) -> None:
        """Kill (-9) it with all that it started, also where a parent is gone already."""
        if self._process is None:
            return
        while processes := list(self._session()):
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.poll()  # a zombie stays in its session until its parent has looked
        self._process.wait()

    def check(self) -> None:
        """Fail, with what it wrote, if it has ended by itself."""
        assert self._process is not None, f"{self.name} was not started"
        assert self._process.poll() is None, f"{self.name} has ended:\n{self.written()[-4000:]}"

    def written(self) -> str:
        """Return what it wrote."""
        return (self._folder / f"{self.name}.out").read_text(errors="replace")

    def _session(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    yield process


class Broker(Service):
    """A redis that keeps its data over a kill.

    :param port: of it, on loopback.
    :param folder: of its data.
    """

    def __init__(self, port: int, folder: Path) -> None:
        server = shutil.which("redis-server")
        if server is None:
            pytest.skip("redis-server is not installed")
        settings = {"port": port, "bind": "127.0.0.1", "dir": folder, "appendonly": "yes", "save": ""}
        command = [server, *(word for name, value in settings.items() for word in (f"--{name}", str(value)))]
        super().__init__("redis", command, os.environ, folder)
        self.url = f"redis://127.0.0.1:{port}/0"

    @contextmanager
    def gone(self, seconds: float) -> Iterator[None]:
        """Kill it for so many seconds at least, of which the block may take a part, and start it again."""
        back = threading.Event()
        timer = threading.Timer(seconds, back.set)
        self.kill()
        timer.start()
        try:
            yield
            back.wait()
        finally:
            timer.cancel()
            self.start()


class Worker(Service):
    """A Celery worker with four places for tasks.

    :param name: as Celery and Airflow know it.
    :param environment: of it, the whole.
    :param folder: where its file lies.
    """

    def __init__(self, name: str, environment: Mapping[str, str], folder: Path) -> None:
        options = ["--celery-hostname", name, "--concurrency", "4"]
        options += ["--without-mingle", "--without-gossip", "--skip-serve-logs"]
        command = [sys.executable, "-m", "airflow", "celery", "worker", *options]
        super().__init__(name, command, {**environment, "WORKER_NAME": name}, folder)

    def task_pids(self) -> list[int]:
        """Return the processes of the tasks that it runs: the children of its places."""
        places = psutil.Process(self.pid).children()
        return [task.pid for place in places for task in _children(place)]

    def kill_tasks(self) -> list[int]:
        """Kill (-9) the processes of the tasks that it runs, and return their ids."""
        pids = self.task_pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return pids


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.NoSuchProcess:  # it has ended since
        return []
