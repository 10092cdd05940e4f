"""Reading what strangers bring: in a worker process with limits, so that a hostile file ends it and nothing else.

One helper process imports what readers need, which takes longer than reading most files, and never looks at a file
itself: for each it forks a worker, which ends with its task. A worker gets a function and its arguments from the server
and gives back a file that the function writes, or a sentence; nothing that it says is ever unpickled. Limits of memory,
processor time and written bytes are POSIX's; elsewhere only time is limited.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflow_core.errors import ReflowError
from reflow_core.leftovers import LockedFolder
from reflow_core.watch import Watch, ignore

POLL_S = 0.01
READS, QUEUES = "read", "wait for a reader"  # stages in which the server itself computes nothing
START_S = 60.0  # until the helper process has imported everything on a slow machine
WORKERS = 8  # at a time, of lowest priority: so many that a few long ones keep nobody waiting
PATIENCE = 10  # times its processor time that a worker may take: on a busy machine it has a small share
OUT, SAID, PROCESS = "out.safetensors", "said.json", "process"
ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "PYTHONPATH": str(ROOT)} | dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
DIES_WITH_PARENT = 1  # Linux's PR_SET_PDEATHSIG


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may take: bytes of memory beyond its start, seconds of processor time, bytes that it writes."""

    memory: int = 1 << 30
    seconds: int = 20
    written: int = 1 << 30


@contextlib.contextmanager
def reading(
    function: Callable[..., None],
    arguments: Sequence[Any],
    name: str,
    limits: Limits = Limits(),
    watch: Watch = ignore,
) -> Iterator[Path]:
    """The file that `function(*arguments, out)` writes in a worker process; it is gone after the body.

    `name`: what the person calls the file that is read, for the sentences. `watch` is called while the worker works;
    where it raises, the worker is killed. Raises ReflowError where the function does and where a limit is reached.
    """
    folder = LockedFolder("reflow-reading-")
    try:
        with _turn(watch):
            task = str(folder.path), function.__module__, function.__qualname__, arguments, limits
            helper = _helper.send(function.__module__, pickle.dumps(task))
            _wait_for(folder.path, helper, limits.seconds, watch)
        _judge(folder.path, name)
        yield folder.path / OUT
    finally:
        folder.close()


_turns = threading.BoundedSemaphore(WORKERS)


@contextlib.contextmanager
def _turn(watch: Watch) -> Iterator[None]:
    while not _turns.acquire(timeout=POLL_S):
        watch(QUEUES, 0, 1)
    try:
        yield
    finally:
        _turns.release()


def _wait_for(folder: Path, helper: subprocess.Popen[bytes], seconds: int, watch: Watch) -> None:
    """Until the worker has ended; it is killed once its time is over, or where `watch` raises."""
    deadline = time.monotonic() + START_S
    process: int | None = None
    try:
        while time.monotonic() < deadline:
            watch(READS, 0, 1)
            if process is None and (process := _process(folder)) is not None:
                deadline = time.monotonic() + PATIENCE * seconds
            if not _alive(process) if process is not None else helper.poll() is not None:
                return
            time.sleep(POLL_S)
    finally:
        process = process or _process(folder)
        if process is not None:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)


def _process(folder: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int((folder / PROCESS).read_text())
    return None


def _alive(process: int) -> bool:
    with contextlib.suppress(OSError):
        os.kill(process, 0)
        return True
    return False


def _judge(folder: Path, name: str) -> None:
    """Raises ReflowError with what the worker said, or with what its silence means."""
    try:
        problem = str(json.loads((folder / SAID).read_text())["problem"])
    except (OSError, ValueError, KeyError, TypeError):
        problem = f"{name!r} was not read: it needs more time or memory than a file may use; bring a smaller one."
    if problem:
        raise ReflowError(problem)


class _Helper:
    """The process that forks the workers, started when first needed and again where it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._readers: tuple[str, ...] = ()

    def prepare(self, *readers: str) -> None:
        """Start it, so that the first file is read sooner. `readers`: modules of functions for it to import ahead."""
        with self._lock:
            self._readers = readers
            self._living()

    def send(self, reader: str, task: bytes) -> subprocess.Popen[bytes]:
        """Have a worker begin a task, whose function is in the module `reader`; returns the helper process."""
        with self._lock:
            helper = self._living()
            stdin = helper.stdin
            assert stdin is not None
            with contextlib.suppress(BrokenPipeError):  # the task is then said to have failed, and the next starts one
                stdin.write(f"{len(task)} {reader}\n".encode() + task)
                stdin.flush()
            return helper

    def _living(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import serve; serve()", *self._readers],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | ENVIRONMENT,
                start_new_session=True,  # Ctrl+C at the server's terminal is the server's to handle
            )
        return self._process


_helper = _Helper()
prepare = _helper.prepare


def serve() -> None:
    """The helper process: imports what readers need, forks a worker for each task, ends with the server."""
    for module in sys.argv[1:]:
        importlib.import_module(module)
    forks = hasattr(os, "fork")
    if forks:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a worker: it leaves no zombie
    while first := sys.stdin.buffer.readline():
        size, reader = first.decode().split()
        task = sys.stdin.buffer.read(int(size))
        importlib.import_module(reader)  # once for all workers
        if not forks or os.fork() == 0:
            try:
                _do(*pickle.loads(task))  # from the server
            finally:
                os._exit(0)


def _do(place: str, module: str, function: str, arguments: Sequence[Any], limits: Limits) -> None:
    """A worker's task, and how it ended."""
    folder, read = Path(place), getattr(importlib.import_module(module), function)
    _lower(limits)
    (folder / f"{PROCESS}.part").write_text(str(os.getpid()))
    (folder / f"{PROCESS}.part").replace(folder / PROCESS)
    problem = ""
    try:
        read(*arguments, folder / OUT)
    except ReflowError as error:
        problem = str(error)
    except MemoryError:
        return  # which is said in the same words as a death
    except Exception as error:  # whatever a hostile file provokes is no news to its owner
        problem = f"The file could not be read ({type(error).__name__}); save it again."
    (folder / SAID).write_text(json.dumps({"problem": problem}))


def _lower(limits: Limits) -> None:
    """Give up all that the task does not need."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)
    with contextlib.suppress(AttributeError):
        signal.alarm(PATIENCE * limits.seconds)  # should nobody be there to end it
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
    try:
        import resource
    except ImportError:  # not POSIX
        return
    most = {
        resource.RLIMIT_CPU: round(time.process_time()) + limits.seconds,
        resource.RLIMIT_FSIZE: limits.written,
        resource.RLIMIT_CORE: 0,
    }
    with contextlib.suppress(OSError):  # no /proc: memory is not limited
        most[resource.RLIMIT_AS] = _mapped(resource.getpagesize()) + limits.memory
    for kind, amount in most.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (amount, amount))


def _mapped(page: int) -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * page
