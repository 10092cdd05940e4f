"""What a cluster's worker does: it computes a request about content that the server has sent, known by its digest.

Only what the content *is* travels: the tensors of a network and the pixels of an image set, as safetensors. What one
visitor brought lies in a folder of its own, which ends with the visit; of no answer does a worker keep anything.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from distributed import get_worker
from distributed.worker import thread_state  # type: ignore[attr-defined]
from safetensors.torch import save_file

from reflow_core.errors import Cancelled, ReflowError
from reflow_core.images.image_set import ImageSet
from reflow_core.images.packed import pack, unpack
from reflow_core.lab.codec import encode
from reflow_core.lab.request import Request
from reflow_core.lab.store import code_hash
from reflow_core.leftovers import LockedFolder, remove_leftovers
from reflow_core.machine import prepare
from reflow_core.networks.checkpoint import fingerprint, read_state
from reflow_core.places import cache_folder
from reflow_core.sources.library import Library, Network, loaded
from reflow_core.spec import Spec, parted
from reflow_core.watch import Watch, ignore

TELL_S = 0.2  # between two reports of progress
VISIT_S = 900.0  # after which what a visitor brought is deleted unless it is used, should the server have died
MOST_BYTES = 20 * 10**9  # of content that a worker keeps of all visitors together; the least recently used goes first


@dataclass(frozen=True, slots=True)
class Content:
    """A network or an image set. `kind`: "network" or "images"; `origin`: what a network's weights are called."""

    kind: str
    digest: str
    origin: str = ""

    @property
    def file(self) -> str:
        """Its name on a worker."""
        return f"{self.digest}.safetensors"


@dataclass(frozen=True, slots=True)
class Task:
    """A request, and the content behind its names by shelf: "" for what is everybody's, else the visit that owns it.

    `visit`: whose work it is, "" for everybody's. `code`: of the server's version. `topic`: where progress is told.
    """

    request: Request
    network: tuple[str, Content]
    images: tuple[str, Content]
    visit: str
    code: str
    topic: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a task: the encoded `answer`, or the sentence of a ReflowError in `problem`.

    Or why it could not be computed here: `lacking` content, by shelf, on this `worker`; `refused` for good, in words.
    """

    answer: bytes = b""
    problem: str = ""
    lacking: tuple[tuple[str, Content], ...] = ()
    worker: str = ""
    refused: str = ""


class _Refused(Exception):
    """This worker cannot compute it, but the server can."""


class Delivered(Library):
    """A library of what a server has sent. Everything else is refused, for here it may be something else."""

    def __init__(self) -> None:
        super().__init__()
        self._task: Task | None = None

    def of(self, task: Task) -> Delivered:
        """The same as one task names it; what was loaded and remembered is shared."""
        view = copy.copy(self)
        view._task = task
        return view

    def network(self, name: str, watch: Watch = ignore) -> Network:
        """The network of the task. Raises _Refused for another, or where it is not what its digest says."""
        assert self._task is not None
        if name != self._task.request.spec.model:
            raise _Refused(f"{name} was not sent")
        shelf, content = self._task.network
        return self._networks.get(content.digest, lambda: self._load_content(name, shelf, content))

    def images(self, spec: Spec, watch: Watch = ignore) -> ImageSet:
        """The image set of the task, likewise."""
        assert self._task is not None
        asked = self._task.request.spec
        if (spec.model, spec.data) != (asked.model, asked.data):
            raise _Refused(f"{spec.data} was not sent")
        shelf, content = self._task.images
        return self._images.get(content.digest, lambda: self._open_content(spec.model, shelf, content))

    def _load_content(self, name: str, shelf: str, content: Content) -> Network:
        path = _used(shelf, content)
        try:
            info, module = loaded(self.info(parted(name)[0]), read_state(path), content.origin)
        except ReflowError as error:  # such as one that needs a package that is not installed here
            raise _Refused(str(error)) from None
        module.eval().requires_grad_(False)
        _check(fingerprint(module, info.seeing()), content, path)
        return Network(info, module, content.digest, content.origin)

    def _open_content(self, model: str, shelf: str, content: Content) -> ImageSet:
        path = _used(shelf, content)
        images = unpack(path, self.network(model).info)
        _check(images.digest, content, path)
        return images


def _used(shelf: str, content: Content) -> Path:
    path = _folder(shelf) / content.file
    path.touch()
    return path


def _check(digest: str, content: Content, path: Path) -> None:
    if digest != content.digest:
        path.unlink(missing_ok=True)
        raise _Refused(f"the {content.kind} changed on the way")


@dataclass(eq=False)
class _Shelf:
    """`folder`: where the files lie. `library`: what was made of them. `own`, `expiry`: of one visitor only."""

    folder: Path
    library: Delivered
    own: LockedFolder | None = None
    expiry: threading.Timer | None = None


_shelves: dict[str, _Shelf] = {}
_lock = threading.Lock()


def work(task: Task) -> Reply:
    """Compute it in a worker's thread, on one core, unless something is missing."""
    if task.code != code_hash():
        return Reply(refused="the workers run another version of the lab; install the same version on them")
    worker = get_worker()
    lacking = tuple(each for each in (task.network, task.images) if not has(*each))
    if lacking:
        return Reply(lacking=lacking, worker=worker.address)
    prepare(1)
    try:
        library = _shelf(task.visit).library.of(task)
        answer = task.request.compute(library, _watch(task.topic))
    except _Refused as reason:
        return Reply(refused=f"a worker cannot use what it was sent ({reason})")
    except ReflowError as error:
        return Reply(problem=str(error))
    except Cancelled:
        return Reply(refused="it was cancelled")  # which nobody reads
    return Reply(answer=encode(answer))


def _watch(topic: str) -> Watch:
    """Tells the server how far this thread's task is, and stops it once the server wants it no more or is gone."""
    worker, key, told = get_worker(), thread_state.key, 0.0

    def watch(stage: str, done: int, total: int) -> None:
        nonlocal told
        task = worker.state.tasks.get(key)
        if task is None or task.state != "executing":
            raise Cancelled("no longer needed")
        if (now := time.monotonic()) - told > TELL_S:
            told = now
            worker.log_event(topic, [key, stage, done, total])

    return watch


def has(shelf: str, content: Content) -> bool:
    """Whether some content is here. Runs beside a worker's tasks, as the three below."""
    return (_folder(shelf) / content.file).is_file()


def receive(shelf: str, content: Content, sender: str, offset: int, part: bytes) -> None:
    """Keep a part of some content."""
    with _part(shelf, content, sender).open("r+b" if offset else "wb") as file:
        file.seek(offset)
        file.write(part)


def received(shelf: str, content: Content, sender: str) -> None:
    """All parts are there: it may be used. What it is, is checked when it is loaded."""
    folder = _folder(shelf)
    _part(shelf, content, sender).replace(folder / content.file)
    if not shelf:
        _forget_least_used(folder)


def forget(visit: str) -> None:
    """Delete what a visitor brought, and all that was made of it."""
    with _lock:
        shelf = _shelves.pop(visit, None)
    if shelf is None or shelf.own is None:
        return
    if shelf.expiry is not None:
        shelf.expiry.cancel()
    shelf.own.close()


def write(content: Content, network: Network, images: ImageSet, out: Path) -> None:
    """The content as a file of safetensors, for `receive`. Runs on the server."""
    if content.kind == "network":
        state: Mapping[str, object] = network.module.state_dict()
        save_file({key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.items()}, out)  # type: ignore[attr-defined]
    else:
        pack(images, out)


def _folder(shelf: str) -> Path:
    return _shelf(shelf).folder


def _shelf(visit: str) -> _Shelf:
    with _lock:
        if (shelf := _shelves.get(visit)) is None:
            shelf = _shelves[visit] = _opened(visit)
        if shelf.own is not None:
            if shelf.expiry is not None:
                shelf.expiry.cancel()
            shelf.expiry = threading.Timer(VISIT_S, forget, (visit,))
            shelf.expiry.daemon = True
            shelf.expiry.start()
        return shelf


def _opened(visit: str) -> _Shelf:
    if visit:
        own = LockedFolder("reflow-upload-")
        return _Shelf(own.path, Delivered(), own)
    remove_leftovers()
    folder = cache_folder() / "cluster"
    folder.mkdir(parents=True, exist_ok=True)
    for part in folder.glob("*.part"):  # other workers of this machine may receive some just now
        if time.time() - part.stat().st_mtime > VISIT_S:
            part.unlink(missing_ok=True)
    return _Shelf(folder, Delivered())


def _part(shelf: str, content: Content, sender: str) -> Path:
    return _folder(shelf) / f"{content.digest}.{sender}.part"


def _forget_least_used(folder: Path) -> None:
    files = sorted(folder.glob("*.safetensors"), key=lambda file: file.stat().st_mtime, reverse=True)
    kept = 0
    for file in files:
        kept += file.stat().st_size
        if kept > MOST_BYTES and file != files[0]:
            file.unlink(missing_ok=True)
