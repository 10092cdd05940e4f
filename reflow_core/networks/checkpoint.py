"""Loading state dicts safely: no pickle that executes, no silent mismatch."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reflow_core.errors import ReflowError

OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)")
SUFFIXES = (".pt", ".pth", ".th", ".tar", ".safetensors")
CODE = re.compile("GLOBAL|unrecognized function|Can only")  # in torch's words on a file with more than tensors
MOST_HEADER = 8 << 20  # bytes that describe the tensors of a safetensors file; a thousand layers take 0.1 million
SHARED = 2  # times that the tensors of a file may count the same memory, as tied weights do


def weights_folder() -> Path:
    """The usual torch hub cache for checkpoints (follows TORCH_HOME)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def read_state(path: Path, name: str = "") -> dict[str, Tensor]:
    """The tensors of a checkpoint: plain or under `state_dict`, `module.` prefixes dropped.

    Only tensors are read (`weights_only`), so a file that carries code is refused and never run. `name`: what its owner
    calls the file. Raises ReflowError for a missing, broken, hostile or empty file.
    """
    name = name or path.name
    if path.suffix.lower() not in SUFFIXES:
        raise ReflowError(f"{name!r} is not a checkpoint; use a file ending in {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise ReflowError(f"There is no checkpoint file {name!r}; check the path.")
    content = _unpack(path, name)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise ReflowError(f"{name!r} contains a {type(content).__name__}, not a state dict; save model.state_dict().")
    state = {modern(key): value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not state:
        raise ReflowError(f"{name!r} contains no tensor; save model.state_dict().")
    _check_sizes(state, path.stat().st_size, name)
    return state


def rewrite(path: Path, name: str, out: Path) -> None:
    """Write the tensors of a checkpoint as safetensors to `out`, and nothing else of it. Raises ReflowError."""
    save_file({key: value.detach().contiguous().clone() for key, value in read_state(path, name).items()}, out)


def modern(key: str) -> str:
    """A key without DataParallel's prefix, and as torchvision's DenseNet is spelled today (norm.1 -> norm1)."""
    return OLD_DENSENET.sub(r"\1\2", key.removeprefix("module."))


def _unpack(path: Path, name: str) -> object:
    try:
        if path.suffix.lower() == ".safetensors":
            _check_header(path, name)
            return load_file(path)
        _check_zip(path, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with a file is said below, in one sentence
            return torch.load(path, map_location="cpu", weights_only=True)
    except (ReflowError, MemoryError):
        raise
    except pickle.UnpicklingError as error:
        if CODE.search(str(error)):
            raise ReflowError(
                f"{name!r} contains more than tensors, so it was not opened (it could run code); save "
                "model.state_dict() and use that file."
            ) from None
        raise _broken(name) from None
    except Exception:  # the file decides what goes wrong: torch's readers raise errors of many kinds
        raise _broken(name) from None


def _check_header(path: Path, name: str) -> None:
    """The header of a safetensors file is parsed as a whole: it must be one that a network has."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if not 2 <= size <= min(MOST_HEADER, path.stat().st_size):
        raise _broken(name)


def _check_zip(path: Path, name: str) -> None:
    """torch stores what it saves; an entry that is compressed, or as large as the file cannot be, is a bomb."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as opened:
        entries = opened.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or (
        sum(entry.file_size for entry in entries) > path.stat().st_size
    ):
        raise ReflowError(f"{name!r} is compressed, which torch.save never does; save model.state_dict() again.")


def _check_sizes(state: Mapping[str, Tensor], size: int, name: str) -> None:
    """A tensor may share its memory with another, but not pretend to more than the file holds."""
    for key, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_nested:
            raise ReflowError(f"{name!r}: {key!r} is not a plain tensor; save it dense and on the CPU.")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ReflowError(
                f"{name!r}: {key!r} has less memory than its shape {_shape(tensor)} needs; save it again."
            )
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > SHARED * size:
        raise ReflowError(f"{name!r} unpacks to more than {SHARED} times its size; save model.state_dict() again.")


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))


def _broken(name: str) -> ReflowError:
    return ReflowError(f"{name!r} is truncated or not a checkpoint; save or download it again.")


def load_into(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Copy a state dict into a freshly built network.

    Raises ReflowError that names the keys where the architecture differs, or the tensor that is not finite.
    """
    own = network.state_dict()
    optional = {key for key in own if key.endswith("num_batches_tracked")}
    missing = [key for key in own if key not in state and key not in optional]
    unexpected = [key for key in state if key not in own]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    differences = {"missing": missing, "unexpected": unexpected, "with another shape": shapes}
    if any(differences.values()):
        listed = "; ".join(f"{what}: {_some(keys)}" for what, keys in differences.items() if keys)
        raise ReflowError(f"{origin} does not fit the architecture {type(network).__name__} ({listed}).")
    for key, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise ReflowError(f"{origin} has NaN or infinity in {key!r}; train or save the model again.")
    loadable = OrderedDict(state)
    loadable._metadata = own._metadata  # type: ignore[attr-defined]  # versions of modules, which MNASNet asks for
    network.load_state_dict(loadable, strict=False)


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more


def fingerprint(network: nn.Module, seeing: str = "") -> str:
    """SHA-256 over names, shapes and bytes of all parameters and buffers, and how the network sees its images."""
    state = hashlib.sha256(seeing.encode())
    for key, tensor in network.state_dict().items():
        state.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        state.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return state.hexdigest()
