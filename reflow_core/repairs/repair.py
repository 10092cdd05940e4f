"""Any registered repair on anybody's network, in one call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reflow_core.batches import Batches
from reflow_core.errors import ReflowError
from reflow_core.repairs import EPOCHS, Calibration, Told, repairs
from reflow_core.repairs.training import Curve
from reflow_core.signal.copies import clone_on, device_of, evaluating
from reflow_core.watch import Watch, ignore

NO_IMAGES = torch.zeros(0, 3, 1, 1)


@dataclass(frozen=True, slots=True)
class Change:
    """How one tensor changed: `entries` that differ of all, and ‖after − before‖ / ‖before‖ (inf from zero)."""

    tensor: str
    entries: int
    relative: float


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair changed: one sentence, every tensor that differs, by name, and how it went where it trained."""

    method: str
    summary: str
    changes: tuple[Change, ...]
    curve: Curve | None = None


def repair(
    dense: nn.Module,
    model: nn.Module,
    batches: Batches | None = None,
    method: str = "least-squares",
    statistics: str = "population",
    seed: int = 0,
    watch: Watch = ignore,
    epochs: int = EPOCHS,
) -> RepairReport:
    """Repair a pruned network in place by any registered repair; what is zero in its layers stays zero.

    Args:
        dense: The network before pruning, of the same modules as `model`; it is not changed.
        model: The pruned network, on any device, in any mode; modes and gradient flags are as before afterwards. A copy
            of its tensors is kept for the report.
        batches: Calibration images as training saw them: tensors (N, C, H, W), (images, labels), or dicts with
            `pixel_values`. None for a method that reads none ("norm-rescale").
        method: A name in `reflow_core.repairs.repairs`, such as "least-squares", "reflow", "statcorr" or "bias".
        statistics: How "reflow" estimates moments, see `reflow`.
        seed: Draws what a method samples.
        watch: Called at every layer; may raise `Cancelled`.
        epochs: Of a method that trains.

    Returns:
        What was changed, tensor by tensor.

    Raises:
        NotApplicable: Where the method cannot help this network; the message says why.
        ReflowError: For an unknown method, for images that are missing, and where weights are still computed by
            `torch.nn.utils.prune`.

    Source: stands beside each method, `reflow_core.repairs.repairs[method].info.paper`.

    Example:
        >>> import copy, torch, reflow_core as rc
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> dense = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> pruned = copy.deepcopy(dense)
        >>> masks = rc.prune(pruned, sparsity=0.7)
        >>> report = rc.repair(dense, pruned, [torch.randn(64, 3, 8, 8)], method="least-squares")
        >>> [change.tensor for change in report.changes]
        ['0.weight', '0.bias', '1.running_mean', '1.running_var', '3.weight', '3.bias']
        >>> bool((pruned[0].weight[~masks["0"]] == 0).all())
        True
    """
    info, function = repairs[method].info, repairs[method].function
    if batches is None and info.needs_data:
        raise ReflowError(f"{method!r} reads calibration images; pass batches.")
    if not info.on_device or method != "reflow":
        _refuse_reparametrized(model)
    calibration = Calibration(NO_IMAGES) if batches is None else Calibration.of(batches, statistics, seed, epochs)
    home = device_of(model)
    place = home if info.on_device else torch.device("cpu")
    before = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    with evaluating(model):
        try:
            told = function(clone_on(dense, place).eval(), model.to(place), calibration, watch)
        finally:
            model.to(home)
    changes = tuple(_changes(before, model.state_dict()))
    told = Told.of(told)
    return RepairReport(method, told.summary, changes, told.curve)


def _refuse_reparametrized(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if "weight_orig" in module._parameters:
            raise ReflowError(
                f"The weight of {name!r} is still parametrized by torch.nn.utils.prune; make it permanent first: "
                "torch.nn.utils.prune.remove(module, 'weight'), or reflow_core.prune(model, sparsity=0)."
            )


def _changes(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[Change]:
    changes = []
    for name, tensor in after.items():
        new, old = tensor.detach().cpu(), before.get(name, torch.zeros_like(tensor, device="cpu"))
        if entries := int((new != old).sum()):
            difference, length = (float(each.double().norm()) for each in (new.double() - old.double(), old))
            changes.append(Change(name, entries, difference / length if length else float("inf")))
    return changes
