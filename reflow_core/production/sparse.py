"""Sparse kernels: convolutions and linear layers over CSR weights, what 2:4 needs, and what zeros take in a file."""

from __future__ import annotations

import functools
import io
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reflow_core.pruning.patterns import n_of_m
from reflow_core.signal.copies import clone_module
from reflow_core.signal.unfold import output_sides, padded, windows

TILE = (32, 64)  # a half-precision weight (rows, columns) must be a multiple of it to be 2:4 in PyTorch
AMPERE = (8, 0)  # the first CUDA capability with sparse tensor cores


class SparseLinear(nn.Module):
    """A linear layer whose weight (out, in) is kept as CSR."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = csr(layer.weight), layer.bias

    def forward(self, images: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        rows = images.flatten(0, -2)
        product: Tensor = (self.weight @ rows.T).T.unflatten(0, images.shape[:-1])
        return product if self.bias is None else product + self.bias


class SparseConv2d(nn.Module):
    """A convolution without groups as a CSR weight (out, in·k·k) times the unfolded images."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = csr(layer.weight.flatten(1)), layer.bias
        self.layer = [layer]  # its shape is read, its parameters are no longer this network's

    def forward(self, images: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        flat, sides = unfolded(self.layer[0], images)
        product: Tensor = (self.weight @ flat).view(-1, len(images), *sides).transpose(0, 1)
        return product if self.bias is None else product + self.bias[:, None, None]


def is_product(layer: nn.Module) -> bool:
    """Whether a layer is one matrix product: linear, or a convolution without groups."""
    return isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
    )


def columns(layer: nn.Module, images: Tensor) -> Tensor:
    """What the weight of such a layer is multiplied with: (in, rows), or (in·k·k, N·L)."""
    if isinstance(layer, nn.Conv2d):
        return unfolded(layer, images)[0]
    return images.flatten(0, -2).T


def unfolded(layer: nn.Conv2d, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Every window of (N, C_in, H, W) that a convolution reads as a column, (C_in·k·k, N·L), and the output's sides."""
    patches = windows(layer, images)
    return patches.transpose(0, 1).reshape(patches.shape[1], -1), output_sides(layer, padded(layer, images))


def csr(matrix: Tensor) -> Tensor:
    """A matrix as a CSR tensor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that CSR is in beta
        return matrix.detach().to_sparse_csr()


def sparsified(network: nn.Module) -> list[str]:
    """Put CSR kernels into a cloned network, in place; returns the weight layers that stayed dense and why."""
    left = []
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Linear):
            _replace(network, name, SparseLinear(module))
        elif isinstance(module, nn.Conv2d) and is_product(module):
            _replace(network, name, SparseConv2d(module))
        elif isinstance(module, nn.Conv2d):
            left.append(f"{name} (grouped)")
    return left


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)


def eligible(layer: nn.Module) -> str:
    """Why a layer cannot run as 2:4 in PyTorch; "" if it can (torch.sparse.to_sparse_semi_structured)."""
    weight = getattr(layer, "weight", None)
    if not isinstance(layer, nn.Linear) or not isinstance(weight, Tensor):
        return "a convolution: PyTorch has 2:4 kernels for linear layers only"
    rows, columns = weight.shape
    if rows % TILE[0] or columns % TILE[1]:
        return f"its weight is {rows} × {columns}; in half precision it must be a multiple of {TILE[0]} × {TILE[1]}"
    return ""


def sparse_tensor_cores() -> str:
    """Why 2:4 cannot run on this machine; "" if it can."""
    if not torch.cuda.is_available():
        return "this machine has no CUDA GPU"
    if torch.cuda.get_device_capability() < AMPERE:
        return f"{torch.cuda.get_device_name()} has no sparse tensor cores"
    return ""


def halves(pruned: Tensor, batch: int) -> dict[str, Callable[[], object]]:
    """A 2:4 weight (out, in) in half precision on a CUDA GPU, as dense and as 2:4; each call waits for its result."""
    weight = pruned.half().cuda()
    rows = torch.randn(batch, weight.shape[1], dtype=torch.half, device="cuda")
    sparse = torch.sparse.to_sparse_semi_structured(weight)

    def run(kernel: Tensor) -> None:
        F.linear(rows, kernel)
        torch.cuda.synchronize()

    return {"dense": lambda: run(weight), "2:4": lambda: run(sparse)}


def halved_passes(network: nn.Module, images: Tensor) -> dict[str, Callable[[], object]]:
    """Whole passes over images in half precision on a CUDA GPU: dense, and 2:4 in every layer that can."""
    passes: dict[str, Callable[[], object]] = {}
    for kind in ("dense", "2:4"):
        private, inputs = clone_module(network).half().cuda(), images.half().cuda()
        for name, layer in private.named_modules():
            if kind == "2:4" and not eligible(layer):
                weight = layer.get_parameter("weight").detach()
                pruned = weight * n_of_m({name: weight.abs().float().cpu()}, kind)[name].cuda()
                layer.weight = nn.Parameter(torch.sparse.to_sparse_semi_structured(pruned), requires_grad=False)
        passes[kind] = functools.partial(_waited, private, inputs)
    return passes


def _waited(network: nn.Module, images: Tensor) -> None:
    network(images)
    torch.cuda.synchronize()


def sizes(dense: Mapping[str, Tensor], pruned: Mapping[str, Tensor]) -> dict[str, int]:
    """Bytes of a state: dense, zipped, and the pruned one zipped, as CSR (16-bit columns) and with a bit mask."""
    return {
        "dense": len(_bytes(dense.values())),
        "dense, zipped": len(zlib.compress(_bytes(dense.values()))),
        "pruned": len(_bytes(pruned.values())),
        "pruned, zipped": len(zlib.compress(_bytes(pruned.values()))),
        "pruned, CSR": sum(map(csr_bytes, pruned.values())),
        "pruned, bit mask": sum(map(mask_bytes, pruned.values())),
    }


def _bytes(tensors: Iterable[Tensor]) -> bytes:
    file = io.BytesIO()
    for tensor in tensors:
        file.write(tensor.contiguous().numpy().tobytes())
    return file.getvalue()


def csr_bytes(tensor: Tensor) -> int:
    """Bytes as CSR: values, a 16- or 32-bit column each, a 32-bit pointer a row; dense where that is less."""
    dense = tensor.numel() * tensor.element_size()
    if tensor.ndim < 2:
        return dense
    rows = tensor.flatten(1)
    column = 2 if rows.shape[1] < 1 << 16 else 4
    return min(dense, int(rows.count_nonzero()) * (tensor.element_size() + column) + 4 * (len(rows) + 1))


def mask_bytes(tensor: Tensor) -> int:
    """Bytes with a bit mask: values and one bit a weight; dense where that is less."""
    dense = tensor.numel() * tensor.element_size()
    if tensor.ndim < 2:
        return dense
    return min(dense, int(tensor.count_nonzero()) * tensor.element_size() + -(-tensor.numel() // 8))
