"""The small core on anybody's network: four calls, of any module, in any mode, from batches of any form."""

from __future__ import annotations

import copy
import doctest
import importlib
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

import reflow_core as rc
from reflow_core.errors import NotApplicable, ReflowError
from reflow_core.networks.vision import torchvision
from reflow_core.pruning.criteria import criteria
from reflow_core.repairs import repairs
from reflow_core.signal.layers import PRUNABLE, batch_norms, prunable

ROOT = Path(__file__).resolve().parents[2]
CORE = ("signal", "pruning", "repairs")
HEAVY = ("pandas", "plotly", "onnx", "onnxruntime", "torch_pruning", "PIL", "streamlit", "torchvision", "safetensors")


def torchvision_network() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = torchvision().models.mobilenet_v3_small(num_classes=5)
    return network


def timm_network() -> nn.Module:
    torchvision()  # which timm imports, and which may need help
    torch.manual_seed(0)
    network: nn.Module = importlib.import_module("timm").create_model("test_resnet", num_classes=5)
    return network


@dataclass
class Output:
    """As the networks of transformers return."""

    logits: Tensor


class WithLogits(nn.Module):
    """A network whose output has `.logits`; a norm shared by two places, a frozen one, one that never runs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.again, self.shared = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.frozen, self.spare = torchvision().ops.FrozenBatchNorm2d(8), nn.BatchNorm2d(8)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Output:
        signal = self.norm(self.conv(images)).relu()
        signal = self.shared(self.again(self.shared(self.again(signal)))).relu()
        return Output(self.head(self.drop(self.frozen(signal).mean((2, 3)))))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "torchvision": torchvision_network,
    "timm": timm_network,
    "with .logits": WithLogits,
}


def images(count: int = 24, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def batches(count: int = 24, size: int = 8) -> list[tuple[Tensor, Tensor]]:
    labels = torch.arange(count) % 5
    return list(zip(images(count).split(size), labels.split(size), strict=True))


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_calls_work_on_anybodys_network_and_put_modes_and_flags_back(kind: str) -> None:
    dense = NETWORKS[kind]().train()
    dense.get_parameter(next(name for name, _ in dense.named_parameters())).requires_grad_(False)
    rc.reflow(dense, batches())
    pruned = copy.deepcopy(dense)
    modes = [module.training for module in pruned.modules()]
    flags = [parameter.requires_grad for parameter in pruned.parameters()]
    counters = [norm.num_batches_tracked.clone() for norm in batch_norms(pruned).values()]  # type: ignore[union-attr]
    masks = rc.prune(pruned, sparsity=0.8, allocation="uniform")
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int((~mask).sum()) for mask in masks.values()) == pytest.approx(0.8 * total, abs=len(masks))
    collapsed = rc.layer_statistics(dense, pruned, batches())
    report = rc.reflow(pruned, batches(), statistics="population")
    rows = rc.layer_statistics(dense, pruned, batches())
    assert [row.name for row in rows] == [row.name for row in collapsed] and rows
    assert [change.name for change in report.norms] == list(batch_norms(pruned))
    assert min(row.variance_ratio or 1 for row in collapsed) < 0.95
    whole = [row for row in rows if row.eps_floor is not None and row.eps_floor > 0.999]
    restored = [row.variance_ratio for row in whole if row.variance_ratio is not None]
    assert restored and all(ratio == pytest.approx(1, abs=0.02) for ratio in restored)
    assert [module.training for module in pruned.modules()] == modes
    assert [parameter.requires_grad for parameter in pruned.parameters()] == flags
    assert [norm.num_batches_tracked for norm in batch_norms(pruned).values()] == counters
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in pruned.modules())
    for name, weight in prunable(pruned).items():
        assert torch.equal(weight, dense.get_parameter(f"{name}.weight") * masks[name]), name


@pytest.mark.parametrize("method", [name for name in repairs.names() if name not in ("none", "reflow")])
@pytest.mark.parametrize("kind", NETWORKS)
def test_every_repair_works_on_anybodys_network_or_says_why_not(kind: str, method: str) -> None:
    dense = NETWORKS[kind]()
    rc.reflow(dense, batches())
    pruned = copy.deepcopy(dense)
    masks = rc.prune(pruned, sparsity=0.6)
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    try:
        report = rc.repair(dense, pruned, batches(), method=method, epochs=1)
    except NotApplicable as why:
        assert method == "repair-fuse" and "BatchNorm" in str(why)
        return
    assert report.method == method and report.summary and report.changes
    assert {change.tensor for change in report.changes} <= pruned.state_dict().keys()
    assert all(not prunable(pruned)[name][~mask].any() for name, mask in masks.items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())
    assert pruned.training and all(parameter.requires_grad for parameter in pruned.parameters())


def update_bn_stats(model: nn.Module, loader: Any, num_iters: int = 200) -> None:
    """fvcore's call, over ours."""
    some = list(itertools.islice(loader, num_iters))
    assert len(some) == num_iters
    rc.reflow(model, some, statistics="batch_mean")


@pytest.mark.parametrize(
    ("kind", "shape", "dims"),
    [(nn.BatchNorm1d, (16, 8, 24), (0, 2)), (nn.BatchNorm2d, (16, 8, 24, 8), (0, 2, 3)),
     (nn.BatchNorm3d, (16, 8, 4, 12, 6), (0, 2, 3, 4))],
)  # fmt: skip
def test_precise_bn_as_fvcore_tests_it(kind: type[nn.Module], shape: tuple[int, ...], dims: tuple[int, ...]) -> None:
    """fvcore's test_precise_bn: a lone norm in train mode, 8 random batches read round and round, 800 in all."""
    torch.manual_seed(42)
    model, tensors = kind(shape[1]).train(), [torch.randn(shape) for _ in range(8)]
    mean = torch.stack([tensor.mean(dims) for tensor in tensors]).mean(0)
    variance = torch.stack([tensor.var(dims) for tensor in tensors]).mean(0)
    weight = model.get_parameter("weight").clone()
    update_bn_stats(model, itertools.cycle(tensors), 8 * 100)
    assert np.allclose(model.get_buffer("running_mean"), mean)
    assert np.allclose(model.get_buffer("running_var"), variance)
    assert torch.equal(model.get_parameter("weight"), weight) and model.training
    with pytest.raises(AssertionError):  # fvcore's test_precise_bn_insufficient_data
        update_bn_stats(model, itertools.repeat(tensors[0], 10), 20)


def test_batch_mean_equals_torchs_update_bn_over_the_same_uneven_batches() -> None:
    ours = WithLogits()
    theirs = copy.deepcopy(ours)
    uneven = list(images().split([10, 2, 12]))
    rc.reflow(ours, uneven, statistics="batch_mean")
    torch.optim.swa_utils.update_bn(uneven, theirs.eval())
    for name in ("norm", "shared"):
        for buffer in ("running_mean", "running_var"):
            mine, other = (network.get_buffer(f"{name}.{buffer}") for network in (ours, theirs))
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


FORMS: dict[str, Callable[[], Any]] = {
    "tensors": lambda: list(images().split(8)),
    "one tensor": lambda: images(),
    "pairs": lambda: batches(),
    "lists": lambda: [list(batch) for batch in batches()],
    "dicts": lambda: [{"pixel_values": pixels, "labels": labels} for pixels, labels in batches()],
    "a generator": lambda: (pixels for pixels in images().split(8)),
    "a DataLoader": lambda: torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images()), batch_size=8),
}


@pytest.mark.parametrize("form", FORMS)
def test_batches_of_any_form_give_the_same(form: str) -> None:
    wanted, network = WithLogits(), WithLogits()
    rc.reflow(wanted, [images()])
    rc.reflow(network, FORMS[form]())
    assert torch.equal(network.norm.get_buffer("running_var"), wanted.norm.get_buffer("running_var"))


@pytest.mark.parametrize(
    ("bad", "said"),
    [([], "can be read only once"), (iter(()), "pass a list or a DataLoader"), (["cat.png"], "a str"),
     ([{"pixels": torch.zeros(1)}], "'pixel_values'"), ([torch.zeros(3)], r"a tensor \(3,\)")],
)  # fmt: skip
def test_batches_that_hold_no_images_are_refused_with_the_fix(bad: Any, said: str) -> None:
    with pytest.raises(ReflowError, match=said):
        rc.reflow(WithLogits(), bad)


def test_what_torch_pruned_before_counts_stays_and_is_made_permanent() -> None:
    network = WithLogits()
    torch_prune.l1_unstructured(network.conv, "weight", amount=0.5)
    torch_prune.global_unstructured([(network.again, "weight")], torch_prune.RandomUnstructured, amount=0.3)
    removed = {name: network.get_submodule(name).get_buffer("weight_mask") == 0 for name in ("conv", "again")}
    kept_as_it_was = rc.prune(network, sparsity=0.6, criterion="random", inplace=False)
    assert "weight_orig" in network.conv._parameters, "a copy was looked at"
    rc.reflow(network, batches())  # recalibrates without touching a weight
    with pytest.raises(ReflowError, match=r"torch\.nn\.utils\.prune\.remove"):
        rc.repair(WithLogits(), network, batches())
    masks = rc.prune(network, sparsity=0.6, criterion="random")
    assert all(torch.equal(masks[name], mask) for name, mask in kept_as_it_was.items())
    assert not any(masks[name][gone].any() for name, gone in removed.items())
    assert isinstance(network.conv.weight, nn.Parameter) and not network.conv._forward_pre_hooks
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int((~mask).sum()) for mask in masks.values()) == round(0.6 * total)


@pytest.mark.parametrize("criterion", criteria.names())
def test_every_criterion_prunes_anybodys_network(criterion: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 30 * 30, 5))
    masks = rc.prune(network, 0.5, criterion, batches=batches())
    for name, mask in masks.items():
        assert not network.get_submodule(name).weight[~mask].any()  # type: ignore[union-attr, index]
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int((~mask).sum()) for mask in masks.values()) == pytest.approx(0.5 * total, abs=6 * 27 + 5)


def test_what_is_missing_is_said() -> None:
    network = WithLogits()
    for wrong, said in (
        ({"sparsity": 1.5}, "out of range"),
        ({"sparsity": 0.5, "criterion": "snip"}, "pass batches"),
        ({"sparsity": 0.5, "criterion": "snip", "batches": [images()]}, "labeled"),
        ({"sparsity": 0.5, "criterion": "magnitud"}, "did you mean 'magnitude'"),
        ({"sparsity": 0.5, "allocation": "custom", "layer_sparsity": {"con": 0.5}}, "did you mean 'conv'"),
    ):
        with pytest.raises(ReflowError, match=said):
            rc.prune(network, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ReflowError, match="nothing to prune"):
        rc.prune(nn.ReLU(), 0.5)
    with pytest.raises(NotApplicable, match="no BatchNorm"):
        rc.reflow(nn.Sequential(nn.Linear(3, 2)), [torch.zeros(4, 3)])
    with pytest.raises(NotApplicable, match="frozen"):
        rc.reflow(nn.Sequential(torchvision().ops.FrozenBatchNorm2d(3)), [images(4)])
    with pytest.raises(ReflowError, match="did you mean 'population'"):
        rc.reflow(network, [images(4)], statistics="populaton")
    with pytest.raises(ReflowError, match="pass batches"):
        rc.repair(network, network, method="statcorr")


def test_a_network_without_norms_is_compared_at_its_layers() -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 30 * 30, 4))
    pruned = copy.deepcopy(dense)
    rc.prune(pruned, 0.9)
    rows = rc.layer_statistics(dense, pruned, batches())
    assert [(row.name, row.weights, row.eps_floor) for row in rows] == [("0", "0", None), ("3", "3", None)]
    with torch.inference_mode():
        outputs = [nn.Sequential(*list(network)[:1])(images()).double() for network in (dense, pruned)]
    theirs, ours = (output.var((0, 2, 3), correction=0).sum() for output in outputs)
    assert rows[0].variance_ratio == pytest.approx(float(ours / theirs), rel=1e-4)


def modules_of_the_core() -> Iterator[ModuleType]:
    for room in CORE:
        for file in sorted((ROOT / "reflow_core" / room).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield importlib.import_module(name)


def test_every_example_of_the_core_runs() -> None:
    results = [doctest.testmod(module) for module in modules_of_the_core()]
    assert sum(result.attempted for result in results) >= 20 and not any(result.failed for result in results)


def test_the_face_of_the_core_is_documented() -> None:
    for function in (rc.prune, rc.reflow, rc.layer_statistics, rc.repair):
        text = function.__doc__ or ""
        assert all(f"\n    {part}:" in text for part in ("Args", "Returns", "Raises", "Example")), function


def test_the_core_is_small_and_imports_torch_and_numpy_only() -> None:
    files = [file for room in CORE for file in (ROOT / "reflow_core" / room).rglob("*.py")]
    assert sum(len(file.read_text().splitlines()) for file in files) <= 3_950
    face = "import reflow_core as rc; rc.prune, rc.reflow, rc.layer_statistics, rc.repair, rc.Spec"
    code = f"import sys; {face}; print([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_only_layers_that_are_pruned_are_reached() -> None:
    network = WithLogits()
    assert prunable(network).keys() == {
        name for name, module in network.named_modules() if isinstance(module, PRUNABLE)
    }
