"""The library: resolves the names in a spec to networks and images, and remembers what was loaded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from reflow_core.errors import ReflowError, unknown
from reflow_core.images.cifar import CIFAR10, CIFAR100
from reflow_core.images.decoded import decoded_folder
from reflow_core.images.digits import Digits
from reflow_core.images.image_set import ImageSet
from reflow_core.images.imagenette import Imagenette
from reflow_core.images.named import NamedSet
from reflow_core.memo import Memo
from reflow_core.networks.catalog import find, known
from reflow_core.networks.checkpoint import fingerprint, load_into, read_state, weights_folder
from reflow_core.networks.fetch import fetch
from reflow_core.networks.hub import fetch_description, is_timm
from reflow_core.networks.info import NetworkInfo
from reflow_core.networks.own import is_own, own
from reflow_core.numbers import size
from reflow_core.places import ASSETS, cache_folder
from reflow_core.sources.access import CLOSED, Access
from reflow_core.sources.reading import pictures, strange_pictures, strange_state
from reflow_core.sources.uploads import Upload, Uploads
from reflow_core.spec import Spec, is_upload, needs_upload, parted
from reflow_core.watch import Watch, ignore

SHIPPED = ASSETS / "networks"
SELECTION_BYTES = 64 << 20  # of masks and observations that are kept for the next repair or sparsity
STAGE_BYTES = 512 << 20  # of networks that were pruned and repaired in stages; of one visitor's uploads an eighth
VISIT_BYTES = 4 << 20  # the same, of one visitor's uploads
PICTURES = (".zip", ".npz")
PHOTOGRAPHS = ("imagenette",)  # of the sets with a name, those that have to be decoded
MOST_CLASSES = 25_000  # of a checkpoint's classifier; ImageNet-21k has 21,843
LONGTAIL = Digits("digits-longtail", tail=10.0)
SETS: dict[str, NamedSet] = {each.name: each for each in (Digits(), LONGTAIL, CIFAR10, CIFAR100, Imagenette())}


@dataclass(frozen=True, slots=True)
class Network:
    """A loaded network, shared by every thread: in eval mode, never to be pruned, hooked or recalibrated in place."""

    info: NetworkInfo
    module: nn.Module
    digest: str
    origin: str


class Library:
    """Networks and images by name.

    A model's name is that of an architecture, or ARCHITECTURE@CHECKPOINT for other weights than its own. `access`: what
    checkpoints and a spec's `data` may be besides. `uploads`: one visitor's files, which names may point to. `shared`:
    the library to ask for all that is no upload. `device`: where networks run, "cpu" or what torch calls another.
    """

    def __init__(
        self,
        access: Access = CLOSED,
        uploads: Uploads | None = None,
        shared: Library | None = None,
        device: str = "cpu",
    ) -> None:
        self.access, self._uploads, self._shared, self.device = access, uploads, shared, device
        few = 8 if uploads is None else 2  # a visitor's present files, and a pinned view's
        self._networks, self._images = Memo(few), Memo(few)
        selections = Memo(16, SELECTION_BYTES if uploads is None else VISIT_BYTES, held)
        stages = Memo(16, STAGE_BYTES if uploads is None else STAGE_BYTES // 8, held)
        self._shelves = {
            "facts": Memo(size=64), "selections": selections, "stages": stages, "gradients": Memo(size=1)
        }  # fmt: skip

    def network(self, name: str, watch: Watch = ignore) -> Network:
        """The network called `name`. Raises ReflowError for an unknown name or weights not on this machine."""
        if self._shared is not None and not is_upload(parted(name)[1]):
            return self._shared.network(name)
        place, checkpoint = parted(name)
        changed = self._changed(place.rpartition(":")[0]), self._changed(checkpoint)
        return self._networks.get((name, changed), lambda: self._load(name, watch))

    def images(self, spec: Spec, watch: Watch = ignore) -> ImageSet:
        """The image set of a spec, in the size and class order of its model. Raises ReflowError."""
        if self._shared is not None and not needs_upload(spec.model, spec.data):
            return self._shared.images(spec)
        name, info, key = self._named(spec)
        return self._images.get(key, lambda: self._open(name, info, watch))

    def _named(self, spec: Spec) -> tuple[str, NetworkInfo, tuple[object, ...]]:
        """The images' name, who reads them, and the key under which they are remembered."""
        info = self.network(spec.model).info
        name = info.data if spec.data == "auto" else spec.data
        if not name:
            raise ReflowError(f"The training images of {info.name!r} are unknown; bring yours with --data.")
        return name, info, (name, self._changed(name), info.stored, info.classes)

    @property
    def public(self) -> bool:
        """Whether nothing here is one visitor's own."""
        return self._uploads is None

    def decodes(self, spec: Spec) -> bool:
        """Whether the images of a spec are pictures that are not in memory yet. Raises ReflowError."""
        if self._shared is not None and not needs_upload(spec.model, spec.data):
            return self._shared.decodes(spec)
        name, _, key = self._named(spec)
        return key not in self._images and (name in PHOTOGRAPHS or (name not in SETS and not is_upload(name)))

    def load(self, spec: Spec, watch: Watch = ignore) -> None:
        """Load the network and the images of a spec. Raises ReflowError and what `watch` does."""
        self.network(spec.model, watch)
        self.images(spec, watch)

    def recall(self, key: tuple[object, ...], build: Callable[[], Any], shelf: str = "facts") -> Any:
        """What many specs share, built once: "facts" (dense answers, scores), "selections", "stages", "gradients"."""
        return self._shelves[shelf].get(key, build)

    def identity(self, spec: Spec) -> str:
        """The content behind a spec's names: hashes of network and images, and a device other than the CPU."""
        content = f"{self.network(spec.model).digest}:{self.images(spec).digest}"
        return content if self.device == "cpu" else f"{content}:{self.device}"

    def _changed(self, name: str) -> tuple[int, int] | None:
        """What tells one state of a file from the next, if a name is that of a file; None for all other names."""
        try:
            status = path.stat() if name and (path := self.access.path(name)) is not None else None
        except (OSError, ReflowError):  # no file, or none that may be read, which is said where it is
            return None
        return None if status is None else (status.st_mtime_ns, status.st_size)

    def _load(self, name: str, watch: Watch) -> Network:
        architecture, checkpoint = parted(name)
        info, origin = self.info(architecture), f"{architecture} as built"
        if is_own(architecture) and not checkpoint:
            module = info.build(len(info.classes))
        else:
            state, origin = self._state(checkpoint, watch) if checkpoint else _own_state(info)
            info, module = loaded(info, state, origin)
        module.eval().requires_grad_(False)
        return Network(info, module, fingerprint(module, info.seeing()), origin)

    def info(self, architecture: str) -> NetworkInfo:
        """What is known of an architecture. Raises ReflowError for an unknown name, and for code where it is closed."""
        if not is_own(architecture):
            return find(architecture)
        if not self.access.code:
            raise ReflowError(f"{architecture!r} is code on the server; run it from the command line.")
        place = architecture.rpartition(":")[0]
        if not place.endswith(".py"):
            if not self.access.modules:
                raise ReflowError(f"{architecture!r} is not FILE.py:FUNCTION; modules work only on the command line.")
            return own(architecture)
        if (path := self.access.path(place)) is None:
            raise ReflowError(f"{architecture!r} cannot be opened: this server has no folder (--data-root) for code.")
        return own(architecture, path)

    def _state(self, name: str, watch: Watch) -> tuple[dict[str, Tensor], str]:
        """The tensors of a checkpoint, and what to call it."""
        if is_upload(name):
            upload = self._uploaded(name)
            return strange_state(upload.path, upload.name, self.while_here(watch)), f"The checkpoint {upload.name!r}"
        if (path := self.access.path(name)) is None:
            raise ReflowError(f"Checkpoint {name!r} is a path, which is not allowed here; upload the file.")
        return read_state(path), f"The checkpoint {path.name!r}"

    def _uploaded(self, token: str) -> Upload:
        if self._uploads is None:
            raise ReflowError(f"{token} is an upload of another visit; upload the file again.")
        return self._uploads.file(token)

    def while_here(self, watch: Watch) -> Watch:
        """A watch that also ends with the visit."""

        def both(stage: str, done: int, total: int) -> None:
            assert self._uploads is not None
            self._uploads.watch(stage, done, total)
            watch(stage, done, total)

        return both

    def _open(self, name: str, info: NetworkInfo, watch: Watch) -> ImageSet:
        if name in SETS:
            return SETS[name].open(cache_folder(), info, watch)
        if is_upload(name):
            upload = self._uploaded(name)
            return strange_pictures(upload.path, info, upload.name, self.while_here(watch))
        if (path := self.access.path(name)) is None or not path.exists():
            raise unknown("data", name, SETS)
        return decoded_folder(path, info, watch) if path.is_dir() else pictures(path, info, path.name)


def held(value: object) -> int:
    """Bytes of the tensors and arrays in a value made of dataclasses, dicts, lists, tuples and modules."""
    if isinstance(value, dict):
        return sum(map(held, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(held, value))
    if dataclasses.is_dataclass(value):
        return sum(held(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, nn.Module):
        return sum(tensor.nbytes for tensor in (*value.parameters(), *value.buffers()))
    return int(getattr(value, "nbytes", 0))


def loaded(info: NetworkInfo, state: Mapping[str, Tensor], origin: str) -> tuple[NetworkInfo, nn.Module]:
    """The network with the checkpoint's weights, and for its number of classes. Raises ReflowError where none fits."""
    module = info.build(len(info.classes))
    if (fitting := sized(info, module, state)) is not info:
        info, module = fitting, fitting.build(len(fitting.classes))
    load_into(module, state, origin)
    return info, module


def _own_state(info: NetworkInfo) -> tuple[dict[str, Tensor], str]:
    path, origin = _own_weights(info)
    return read_state(path), origin


def _own_weights(info: NetworkInfo) -> tuple[Path, str]:
    if info.download is None and is_timm(info.name):
        raise ReflowError(f"There are no public weights for {info.name}; bring a checkpoint: {info.name}@FILE.")
    if info.packaged is not None:
        return info.packaged(), f"The packaged weights of {info.name}"
    if info.download is None:
        return SHIPPED / f"{info.name}.safetensors", f"The shipped network {info.name}"
    path = weights_folder() / info.download.filename
    if not path.is_file():
        raise ReflowError(
            f"The weights of {info.name} are not on this machine; get them with 'python -m reflow_core download "
            f"{info.name}' ({size(info.download.size)})."
        )
    return path, f"The public checkpoint {path.name}"


def sized(info: NetworkInfo, built: nn.Module, state: Mapping[str, Tensor]) -> NetworkInfo:
    """The same network for as many classes as the checkpoint's classifier has, which are then called by number."""
    own = built.state_dict()
    others = [(own[key].shape, state[key].shape) for key in own if key in state and own[key].shape != state[key].shape]
    counts = {theirs[0] for _, theirs in others if len(theirs) > 0}
    if max(counts, default=0) > MOST_CLASSES:
        raise ReflowError(f"The checkpoint has {max(counts):,} classes; at most {MOST_CLASSES:,} are allowed.")
    if len(counts) != 1 or any(ours[0] != len(info.classes) or ours[1:] != theirs[1:] for ours, theirs in others):
        return info
    return dataclasses.replace(info, classes=tuple(str(number) for number in range(counts.pop())))


def missing(model: str, data: str = "auto") -> list[str]:
    """What `download` has to fetch before this model runs on these data: its weights, its images, or nothing."""
    architecture, checkpoint = parted(model)
    if is_own(architecture):
        return []
    info = find(architecture)
    name = info.data if data == "auto" else data
    absent = [name] if name in SETS and not SETS[name].present(cache_folder()) else []
    if checkpoint or info.download is None or (weights_folder() / info.download.filename).is_file():
        return absent
    return [architecture, *absent]


def size_of(name: str) -> int:
    """About how many bytes `download` fetches for a name."""
    if name in SETS:
        return SETS[name].bytes
    source = find(name).download
    return 0 if source is None else source.size


def downloads() -> list[str]:
    """What `download` knows: networks with public weights, and image sets."""
    return [
        *(name for name, info in known().items() if info.download is not None),
        *(name for name, images in SETS.items() if images.bytes),
    ]


def download(name: str, watch: Watch = ignore) -> None:
    """Fetch a model's weights, or an image set by name. Raises ReflowError."""
    if name in SETS:
        SETS[name].download(cache_folder(), watch)
        return
    if is_timm(name):
        fetch_description(name, watch)
    elif name not in downloads():
        raise unknown("download", name, downloads())
    source = find(name).download
    if source is None:
        raise ReflowError(f"There are no public weights for {name}; bring a checkpoint: {name}@FILE.")
    fetch(source.url, weights_folder() / source.filename, source.sha256, source.size, watch)


def card(name: str) -> dict[str, Any]:
    """The JSON card of a shipped network; empty for one that is downloaded."""
    path = SHIPPED / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}
