"""A Dask cluster that computes requests in this process's place, for as long as it is there.

A request is computed by `compute`, which has the shape of `Request.compute`: progress and cancelling work as they do
here. The workers share no disk with this process: one that lacks a network or an image set says so, and is sent it
once, in parts. Whatever is wrong with the cluster, the answer is then computed here, and `problem` says why.
"""

from __future__ import annotations

import atexit
import contextlib
import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from reflow_core.errors import ReflowError
from reflow_core.lab.codec import decode
from reflow_core.lab.request import WAITS, Answer, Compute, Request
from reflow_core.lab.store import code_hash
from reflow_core.leftovers import LockedFolder
from reflow_core.machine import cores
from reflow_core.networks.own import is_own
from reflow_core.sources.library import Library
from reflow_core.spec import is_upload, parted
from reflow_core.watch import Watch

if TYPE_CHECKING:  # which imports distributed, an optional package
    from reflow_core.lab.worker import Content, Reply, Task

ANSWER_S = 30.0  # how long a cluster may take to answer: one whose connection ended is known at once, this one is busy
RETRY_S = 5.0  # after which one that did not is tried again
LOOK_S = 1.0  # between two looks at it
POLL_S = 0.05
PART = 4 << 20  # bytes of content in one message
MOST_TRIES = 8  # of one request: a worker may vanish, or turn out to lack something
HERE = "results are computed on this machine meanwhile."


class _Unavailable(Exception):
    """The cluster cannot compute this. The message says why, in words, or is empty where there is nothing to say."""


class Cluster:
    """A cluster at an `address`, "local" for one on this machine's loopback, one process a core.

    `changed`: told how many workers there are, whenever that changes. `here`: computes what the cluster does not.
    `workers`: how many requests it can compute at once.
    """

    def __init__(
        self, address: str, changed: Callable[[int], None] = lambda workers: None, here: Compute = Request.compute
    ) -> None:
        self.workers = 0
        self._address, self._changed, self._here = address, changed, here
        self._lost: str | None = None
        self._refused: str | None = None
        self._client: Any = None
        self._local: Any = None
        self._progress: dict[str, tuple[str, int, int]] = {}
        self._sending: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._closed = threading.Event()

    @property
    def problem(self) -> str | None:
        """Why results are computed here, in a sentence; None while all is well."""
        return self._lost or self._refused

    def __enter__(self) -> Cluster:
        """Connected. Raises ReflowError without the package distributed, or where nothing answers."""
        self._connect()
        self._look()
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self) -> None:
        """Connect, now and whenever it is there again; `problem` says if it is not."""
        atexit.register(self.close)
        threading.Thread(target=self._watch_over, name="reflow-cluster", daemon=True).start()

    def close(self) -> None:
        """Let it go; a local one ends."""
        atexit.unregister(self.close)
        self._closed.set()
        self._disconnect()
        if self._local is not None:
            self._local.close()

    def compute(self, request: Request, library: Library, watch: Watch, visit: str = "") -> Answer:
        """The answer to a request. `visit`: whose uploads it needs, "" for none; they travel for that visit only.

        Here is computed what is timed, what runs code that only this machine has, and what is not for a CPU. Raises
        ReflowError and what `watch` does.
        """
        own = is_own(parted(request.spec.model)[0])
        if self.workers and not (request.timed or own or library.device != "cpu"):
            try:
                return self._elsewhere(request, library, watch, visit)
            except _Unavailable as reason:
                self._refused = str(reason) or self._refused
            watch(WAITS, 0, 1)  # whoever orders the work has a place on this machine for it next
        return self._here(request, library, watch)

    def forget(self, visit: str) -> None:
        """Have the workers delete what a visit brought. Returns at once."""
        from reflow_core.lab.worker import forget

        def tell() -> None:
            with contextlib.suppress(Exception):  # who does not answer has forgotten, or will after a while
                self._client.run(forget, visit, on_error="ignore")

        threading.Thread(target=tell, name="reflow-forget", daemon=True).start()

    def _connect(self) -> None:
        try:
            from distributed import Client, LocalCluster
        except ImportError:
            raise ReflowError(
                "A cluster needs the package distributed; install it with 'pip install distributed'."
            ) from None
        try:
            if self._address == "local" and self._local is None:
                self._local = LocalCluster(cores(), threads_per_worker=1, dashboard_address=None, memory_limit=0)
            client = Client(self._local or self._address, timeout=ANSWER_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ReflowError(
                f"No Dask cluster responds at {self._address!r} ({error}); start one or use 'local'."
            ) from None
        client.subscribe_topic(f"reflow-{client.id}", self._told)
        self._client = client

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                client.close(timeout=LOOK_S)

    def _watch_over(self) -> None:
        while not self._closed.wait(LOOK_S if self._client is not None else 0.0):
            if self._client is None:
                try:
                    self._connect()
                except ReflowError as error:
                    missing = "package" in str(error)
                    self._lose(f"{error} {HERE.capitalize()}" if missing else None)
                    self._closed.wait(RETRY_S)
                    continue
            self._look()

    def _look(self) -> None:
        """How many workers there are now."""
        client = self._client
        try:
            if client.status != "running":
                raise OSError("no longer connected")
            threads = client.sync(client.scheduler.ncores, callback_timeout=ANSWER_S)
        except Exception:  # whatever a broken connection raises
            self._lose()
            self._disconnect()
            return
        workers = sum(threads.values())
        self._lost = None if workers else f"The cluster has no workers: {HERE}"
        self._set(workers)

    def _lose(self, problem: str | None = None) -> None:
        self._lost = problem or f"The cluster does not respond: {HERE}"
        self._set(0)

    def _set(self, workers: int) -> None:
        if workers != self.workers:
            self.workers = workers
            self._changed(workers)

    def _told(self, event: tuple[float, tuple[str, str, int, int]]) -> None:
        """A worker says how far a task is."""
        key, stage, done, total = event[1]
        if key in self._progress:
            self._progress[key] = stage, done, total

    def _elsewhere(self, request: Request, library: Library, watch: Watch, visit: str) -> Answer:
        task, ready = self._task(request, library, visit), ""
        for _ in range(MOST_TRIES):
            reply = self._reply(task, watch, ready)
            if reply.refused:
                raise _Unavailable(f"Results are computed on this machine: {reply.refused}.")
            if reply.problem:
                raise ReflowError(reply.problem)
            if reply.answer:
                self._refused = None
                return decode(reply.answer)
            with contextlib.suppress(OSError):  # that worker is gone; another may have what it lacked
                self._deliver(reply, task, library, watch)
                ready = reply.worker
        raise _Unavailable

    def _task(self, request: Request, library: Library, visit: str) -> Task:
        from reflow_core.lab.worker import Content, Task

        model, data = request.spec.model, request.spec.data
        network, images = library.network(model), library.images(request.spec)
        own = is_upload(parted(model)[1]), is_upload(data)
        shelves = [visit if uploaded else "" for uploaded in own]
        client = self._client
        return Task(
            request,
            (shelves[0], Content("network", network.digest, network.origin)),
            (shelves[1], Content("images", images.digest)),
            visit,
            code_hash(),
            "" if client is None else f"reflow-{client.id}",
        )

    def _reply(self, task: Task, watch: Watch, ready: str) -> Reply:
        """What a worker makes of a task. `ready`: one that has what it needs, "" where none is known to.

        Raises _Unavailable without workers, and what `watch` does.
        """
        from reflow_core.lab.worker import work

        watch("load", 0, 1)
        ended, key = threading.Event(), f"reflow-{secrets.token_hex(8)}"
        self._progress[key] = "load", 0, 1
        try:
            with self._broken():
                first = {"workers": [ready], "allow_other_workers": True} if ready else {}
                future = self._client.submit(work, task, key=key, pure=False, **first)
                future.add_done_callback(lambda _: ended.set())
            try:
                while not ended.wait(POLL_S):
                    if not self.workers:
                        raise _Unavailable
                    watch(*self._progress[key])
                with self._broken():
                    reply: Reply = future.result(timeout=ANSWER_S)
                return reply
            finally:
                with contextlib.suppress(Exception):
                    future.release() if ended.is_set() else future.cancel()
        finally:
            del self._progress[key]

    @contextlib.contextmanager
    def _broken(self) -> Iterator[None]:
        """Whatever the network or a worker does wrong: _Unavailable."""
        try:
            yield
        except Exception as error:
            client = self._client
            if client is None or client.status != "running":
                self._lose()
            raise _Unavailable from error

    def _deliver(self, reply: Reply, task: Task, library: Library, watch: Watch) -> None:
        """Send a worker what it lacks, unless another request has done so meanwhile. Raises OSError if it is gone."""
        with self._sending[reply.worker]:
            for shelf, content in reply.lacking:
                if not self._run(reply.worker, "has", shelf, content):
                    self._send(reply.worker, shelf, content, task, library, watch)

    def _send(self, worker: str, shelf: str, content: Content, task: Task, library: Library, watch: Watch) -> None:
        from reflow_core.lab.worker import write

        spec, sender = task.request.spec, secrets.token_hex(4)
        with LockedFolder() as folder:
            file = folder / "content"
            write(content, library.network(spec.model), library.images(spec), file)
            parts = -(-file.stat().st_size // PART)
            with file.open("rb") as opened:
                for part in range(parts):
                    watch("send", part, parts)
                    offset = part * PART
                    self._run(worker, "receive", shelf, content, sender, offset, opened.read(PART))
        self._run(worker, "received", shelf, content, sender)

    def _run(self, worker: str, name: str, *arguments: object) -> Any:
        """Call a function of `lab.worker` there, beside its tasks. Raises OSError if it is gone."""
        from reflow_core.lab import worker as functions

        try:
            return self._client.run(getattr(functions, name), *arguments, workers=[worker])[worker]
        except Exception as error:  # the network decides what goes wrong
            raise OSError(str(error)) from error
