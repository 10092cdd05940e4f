"""Least-squares reconstruction: re-fit the surviving weights so that each layer says again what the dense one says.

One walk in forward order, no gradients, no labels, the mask unchanged. The layer-wise objective is that of Optimal
Brain Compression (arXiv 2208.11580) and of He et al., arXiv 1707.06168; here the inputs come from the network as it is
repaired so far, and the norms behind are re-estimated as in REFLOW in the same walk.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from reflow_core.repairs import Calibration, RepairInfo, repairs
from reflow_core.repairs.estimators import in_one_batch
from reflow_core.signal.copies import PreHook, hooked, shallow_clone, watched
from reflow_core.signal.layers import batch_norms
from reflow_core.signal.unfold import output_sides, padded, windows_at
from reflow_core.watch import Watch

POSITIONS = 24  # sampled an image and layer
RIDGE = 1e-2  # of the mean diagonal of the Gram matrix
FITTED = (nn.Conv2d, nn.Linear)


@repairs.register(
    RepairInfo(
        "least-squares",
        "Least squares + REFLOW",
        "Re-fit the surviving weights of each layer to the dense outputs, then re-estimate the norms: one pass.",
        "Frantar and Alistarh, arXiv 2208.11580; He et al., arXiv 1707.06168",
        needs_data=True,
    )
)
def least_squares(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> str:
    """Ridge regression of the dense layer's centerd outputs on the centerd inputs of each filter's support.

    For filter c with kept weights S: w_S = (X_Sᵀ X_S + λI)⁻¹ (X_Sᵀ y_c + λ w_S⁰), where w⁰ is what the filter had and
    λ = RIDGE · the mean of diag(XᵀX); a bias takes up the means. Everything zero stays zero.
    """
    samples = dense_outputs(dense, calibration, watch)

    def refit(name: str) -> PreHook:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if (target := samples.pop(name, None)) is not None:
                fit(module, patches(module, inputs[0], calibration.seed), target)

        return hook

    fitted, skipped = layers(pruned)
    count, refits = len(calibration.inputs), {name: refit(name) for name in fitted}
    with watched(pruned, watch, "calibrate", count), hooked(pruned, refits), torch.inference_mode():
        if norms := batch_norms(pruned):
            in_one_batch(pruned, norms, calibration)
        else:
            pruned(calibration.inputs)
    left = f"; left as they are: {', '.join(skipped)}" if skipped else ""
    return (
        f"Surviving weights of every convolution and linear layer and the statistics of {len(norms)} BatchNorm layers, "
        f"from {count} images{left}."
    )


def dense_outputs(dense: nn.Module, calibration: Calibration, watch: Watch) -> dict[str, Tensor]:
    """Each layer's dense outputs (samples, C_out) at the positions that `patches` samples."""
    reference = shallow_clone(dense)  # other threads use the dense network: it is never hooked itself
    outputs: dict[str, Tensor] = {}

    def record(name: str) -> PreHook:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            columns = patches(module, inputs[0], calibration.seed)
            outputs[name] = torch.cat(
                [part @ weight.T for part, weight in zip(columns, by_group(module), strict=True)], 1
            )
            if module.bias is not None:
                outputs[name] += module.get_parameter("bias")

        return hook

    records = {name: record(name) for name in layers(reference)[0]}
    with (
        watched(reference, watch, "target", len(calibration.inputs)),
        hooked(reference, records),
        torch.inference_mode(),
    ):
        reference(calibration.inputs)
    return outputs


def layers(network: nn.Module) -> tuple[list[str], list[str]]:
    """The names of the layers that can be fitted, and of the convolutions that cannot."""
    every = {name: module for name, module in network.named_modules() if isinstance(module, (*FITTED, _ConvNd))}
    fitted = [
        name
        for name, module in every.items()
        if isinstance(module, FITTED) and getattr(module, "padding_mode", "zeros") == "zeros"
    ]
    return fitted, [name for name in every if name not in fitted]


def by_group(layer: nn.Module) -> list[Tensor]:
    """A layer's weight as one matrix (C_out/g, inputs of a filter) a group; views of the weight."""
    weight = layer.get_parameter("weight").detach().flatten(1)
    return list(weight.chunk(getattr(layer, "groups", 1)))


def patches(layer: nn.Module, arriving: Tensor, seed: int) -> list[Tensor]:
    """What a layer reads at sampled output positions: (samples, inputs of a filter) a group.

    A linear layer is sampled over all its positions. The same seed gives the same positions, image by image.
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(layer, nn.Linear):
        rows = arriving.flatten(1, -2) if arriving.ndim > 2 else arriving[:, None]
        chosen = drawn(rows.shape[1], len(rows), generator)
        return [rows[torch.arange(len(rows))[:, None], chosen].flatten(0, 1)]
    assert isinstance(layer, nn.Conv2d)
    height, width = output_sides(layer, padded(layer, arriving))
    read = windows_at(layer, arriving, drawn(height * width, len(arriving), generator))
    return [part.flatten(1) for part in read.chunk(layer.groups, 1)]


def drawn(positions: int, images: int, generator: torch.Generator) -> Tensor:
    """At most POSITIONS of an image's output positions, drawn without replacement: (images, P)."""
    if positions <= POSITIONS:
        return torch.arange(positions).expand(images, -1)
    return torch.rand(images, positions, generator=generator).topk(POSITIONS).indices


def fit(layer: nn.Module, columns: list[Tensor], target: Tensor) -> None:
    """Re-fit one layer in place to `target` (samples, C_out), filter by filter on its own support."""
    mean = target.mean(0)
    for number, (read, weight) in enumerate(zip(columns, by_group(layer), strict=True)):
        wanted = target[:, number * len(weight) : (number + 1) * len(weight)]
        centerd = (read - read.mean(0)).double()
        gram, cross = centerd.T @ centerd, centerd.T @ (wanted - wanted.mean(0)).double()
        ridge = RIDGE * gram.diagonal().mean()
        for filter, pull in zip(weight, cross.T, strict=True):
            solve(filter, gram, pull, ridge)
    if layer.bias is not None:
        means = [read.mean(0) @ weight.T for read, weight in zip(columns, by_group(layer), strict=True)]
        layer.get_parameter("bias").copy_(mean - torch.cat(means))


def solve(weight: Tensor, gram: Tensor, pull: Tensor, ridge: Tensor) -> None:
    """The surviving entries of one filter (in place): (G_SS + λI) w_S = X_Sᵀy + λ w_S⁰. A dead input keeps w⁰."""
    kept = weight.nonzero().flatten()
    if not len(kept) or not ridge > 0:
        return
    matrix = gram[kept][:, kept] + ridge * torch.eye(len(kept), dtype=gram.dtype)
    before = weight[kept].double()
    weight[kept] = (
        torch.cholesky_solve((pull[kept] + ridge * before)[:, None], torch.linalg.cholesky(matrix)).flatten().to(weight)
    )
