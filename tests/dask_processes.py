"""A real Dask cluster of processes on the loopback, whose workers share no folder with anybody."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent
SCHEDULER = "from distributed.cli.dask_scheduler import main; main()"
WORKER = "from distributed.cli.dask_worker import main; main()"


class Processes:
    """`scheduler` at an `address`, and `workers`, each with its own cache and temporary folder below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workers = folder, list[subprocess.Popen[bytes]]()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler = self.start_scheduler()

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        """The scheduler, again where it was."""
        words = ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard", "--no-show"]
        self.scheduler = self._start("scheduler", SCHEDULER, words)
        return self.scheduler

    def start_worker(self) -> int:
        """One more worker of one thread; returns its number."""
        number = len(self.workers)
        words = [self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"]
        words += ["--host", "127.0.0.1", "--local-directory", str(self.place(number, "dask")), "--death-timeout", "60"]
        self.workers.append(self._start(f"worker-{number}", WORKER, words, number))
        return number

    def place(self, number: int, what: str) -> Path:
        """A folder of a worker: its "cache", its temporary folder "tmp", Dask's own "dask"."""
        return self.folder / f"worker-{number}" / what

    def _start(self, name: str, code: str, words: list[str], number: int | None = None) -> subprocess.Popen[bytes]:
        variables = os.environ | {"OMP_NUM_THREADS": "1"}
        if number is not None:
            for what in ("cache", "tmp", "dask"):
                self.place(number, what).mkdir(parents=True)
            variables |= {"REFLOW_CACHE": str(self.place(number, "cache")), "TMPDIR": str(self.place(number, "tmp"))}
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", code, *words], cwd=ROOT, env=variables, stdout=log, stderr=log
            )

    def close(self) -> None:
        """End them all."""
        for process in (*self.workers, self.scheduler):
            process.kill()
        for process in (*self.workers, self.scheduler):
            process.wait(20)


@contextmanager
def processes(folder: Path, workers: int) -> Iterator[Processes]:
    """A scheduler and so many workers."""
    started = Processes(folder)
    try:
        until(lambda: _listens(started.port))
        for _ in range(workers):
            started.start_worker()
        yield started
    finally:
        started.close()


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0
