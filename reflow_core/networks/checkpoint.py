"""Loading state dicts safely: no pickle that executes, no silent mismatch."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from reflow_core.errors import ReflowError

OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)")
SUFFIXES = (".pt", ".pth", ".th", ".tar", ".safetensors")


def weights_folder() -> Path:
    """The usual torch hub cache for checkpoints (follows TORCH_HOME)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint: plain or under `state_dict`, `module.` prefixes dropped.

    Only tensors are read (`weights_only`), so a file that carries code is refused and never run. Raises ReflowError
    for a missing, broken, hostile or empty file.
    """
    if path.suffix not in SUFFIXES:
        raise ReflowError(f"{path.name!r} is no checkpoint; use a file ending in {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise ReflowError(f"There is no checkpoint file {str(path)!r}; check the path.")
    content = _unpack(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise ReflowError(f"{path.name!r} holds a {type(content).__name__}, not a state dict; save model.state_dict().")
    state = {modern(str(key)): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise ReflowError(f"{path.name!r} holds no tensor; save model.state_dict().")
    return state


def modern(key: str) -> str:
    """A key without DataParallel's prefix, and as torchvision's DenseNet is spelled today (norm.1 -> norm1)."""
    return OLD_DENSENET.sub(r"\1\2", key.removeprefix("module."))


def _unpack(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with a file is said below, in one sentence
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).lower() or "unsupported" in str(error).lower():
            raise ReflowError(
                f"{path.name!r} holds more than tensors, so it was not opened (it could run code); "
                "save model.state_dict() and use that file."
            ) from None
        raise _broken(path) from None
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, AttributeError, IndexError, SafetensorError):
        raise _broken(path) from None


def _broken(path: Path) -> ReflowError:
    return ReflowError(f"{path.name!r} is truncated or not a checkpoint; save or download it again.")


def load_into(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Copy a state dict into a freshly built network.

    Raises ReflowError that names the keys where the architecture differs, or the tensor that is not finite.
    """
    own = network.state_dict()
    optional = {key for key in own if key.endswith("num_batches_tracked")}
    missing = [key for key in own if key not in state and key not in optional]
    unexpected = [key for key in state if key not in own]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    differences = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    if any(differences.values()):
        listed = "; ".join(f"{what}: {_some(keys)}" for what, keys in differences.items() if keys)
        raise ReflowError(f"{origin} is for another architecture than {type(network).__name__} ({listed}).")
    for key, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise ReflowError(f"{origin} holds NaN or infinity in {key!r}; train or save the model again.")
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
