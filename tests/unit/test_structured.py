"""Structured pruning: what is cut out answers as what is silent, and a wrong projection is caught by its name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.experiment import Experiment, trace_of
from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.silence import silence_channels
from reflow_core.errors import Cancelled, ReflowError
from reflow_core.lab.codec import decode, encode
from reflow_core.production.channels import Cutter, Group, coupled, difference, every_other, mismatches, silence, widths
from reflow_core.production.claims.projection import narrowed
from reflow_core.production.finding import to_json
from reflow_core.production.inspections import inspections
from reflow_core.production.inspections.structured import Cut, checks, importance
from reflow_core.production.sensitivity import convolutions
from reflow_core.production.timing import race
from reflow_core.signal.copies import clone_module, hooked
from reflow_core.signal.trace import trace
from reflow_core.watch import ignore

SHIPPED = ("resnet20-digits", "mobilenet-digits", "resnext-digits", "vgg-digits", "convnext-digits")
SPEC = Spec(sparsity=0.5, evaluation_images=200, calibration_images=128)


def structured(spec: Spec) -> object:
    return inspections["structured"].function(spec, Library(), ignore)


class Block(nn.Module):
    """A residual block whose shortcut has a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.main, self.main_norm = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.project, self.project_norm = nn.Conv2d(8, 12, 1), nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.main_norm(self.main(x)) + self.project_norm(self.project(x)))
        return self.head(x.mean((2, 3)))


def block() -> Block:
    torch.manual_seed(0)
    network = Block().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
    return network.requires_grad_(False)


def cut_of(network: nn.Module, images: torch.Tensor) -> Cut:
    groups = coupled(network, images, "head")
    gone = {group.name: every_other(group) for group in groups}
    private = Cutter(clone_module(network), images[:1], "head")
    private.cut(gone)
    return Cut(private.network, groups, gone, {group.name: group.channels - len(gone[group.name]) for group in groups})


def test_coupled_channels_are_found_by_hand() -> None:
    images = torch.randn(4, 3, 6, 6)
    groups = {group.name: group for group in coupled(block(), images, "head")}
    first, main = groups["first"], groups.get("main") or groups["project"]
    assert {each.layer for each in first.members if each.side == "out"} == {"first", "norm"}
    assert {each.layer for each in first.members if each.side == "in"} == {"main", "project"}
    assert {each.layer for each in main.members if each.side == "out"} == {
        "main", "main_norm", "project", "project_norm"}  # fmt: skip
    assert (first.role, main.role) == ("inside a block", "main path, coupled by shortcuts")


def test_a_cut_network_is_the_silent_one_without_the_zeros() -> None:
    network, images = block(), torch.randn(6, 3, 6, 6)
    cut = cut_of(network, images)
    silent = clone_module(network)
    for name, channels in (("first", [1, 3, 5, 7]), ("main", range(1, 12, 2)), ("project", range(1, 12, 2))):
        at = list(channels)
        norm = silent.get_submodule({"first": "norm", "main": "main_norm", "project": "project_norm"}[name])
        for parameter in (norm.weight, norm.bias):
            parameter[at] = 0
    torch.testing.assert_close(cut.network(images), silent(images))
    assert (
        sum(each.numel() for each in cut.network.parameters()) == 4 * 28 + 2 * 4 + 6 * 37 + 2 * 6 + 6 * 5 + 2 * 6 + 35
    )
    assert all(check.passed for check in checks(network, cut, images, "head", 5))


def test_a_planted_wrong_projection_is_caught_by_name() -> None:
    network, images = block(), torch.randn(6, 3, 6, 6)
    cut = cut_of(network, images)
    assert narrowed(cut.network, "project")
    assert cut.network(images).shape == (6, 5)  # the addition broadcasts it: nothing is raised
    found = {check.what: check for check in checks(network, cut, images, "head", 5)}
    assert found["forward"].passed
    assert not found["coupled widths"].passed
    assert "project outputs 1 channels, but 6 remain" in found["coupled widths"].told


def test_a_norm_whose_statistics_are_too_long_is_caught_by_name() -> None:
    network, images = block(), torch.randn(6, 3, 6, 6)
    cut = cut_of(network, images)
    cut.network.norm.register_buffer("running_extra", torch.zeros(8))
    found = {check.what: check for check in checks(network, cut, images, "head", 5)}
    assert "norm has 4 and 8 channels" in found["norm widths"].told


def test_shifted_channels_are_found_out_and_left_whole() -> None:
    network = Library().network("resnet20-digits").module
    images = torch.rand(4, 3, 16, 16)
    groups = coupled(network, images, "linear")
    held = [group.name for group in groups if group.held]
    assert held == ["conv1"]  # its shortcuts pad with zero channels: what torch-pruning would cut there is wrong
    assert "changes the logits" in groups[0].held
    assert difference(network, images, "linear", {"layer1.0.conv1": [0, 5]}) == ""
    assert difference(network, images, "linear", {"layer1.0.conv1": [99]}).startswith(
        "the network does not run without"
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_network_is_cut_verified_and_repaired(name: str, quick_timing: None) -> None:
    repair = "fine-tune" if name.startswith("convnext") else "reflow"
    found = structured(SPEC.replace(model=name, repair=repair))
    assert found.passed, found.tables["Checks"]
    outcome = found.tables["Outcome"].set_index("variant")
    assert outcome.parameters["repaired"] < 0.6 * outcome.parameters["dense"]
    assert outcome.multiply_adds["repaired"] < 0.6 * outcome.multiply_adds["dense"]
    assert outcome.accuracy["repaired"] > outcome.accuracy["pruned"]
    assert set(found.facts["speed"]) == {"1", "8", "64"}
    again = decode(encode(found))
    assert to_json(again) == to_json(found)


def test_of_an_attention_network_only_the_perceptrons_are_cut(quick_timing: None) -> None:
    found = structured(SPEC.replace(model="vit-digits", repair="none"))
    assert found.passed, found.tables["Checks"]
    widths_of = found.tables["Widths"].set_index("layer")
    assert (widths_of.after < widths_of.before).sum() == 3 and widths_of.after["blocks.0.widen"] < 128
    assert {f"blocks.{block}.attention.qkv" for block in range(3)} <= set(found.facts["held"])


def test_the_least_important_channels_go_first() -> None:
    network, images = block(), torch.randn(2, 3, 6, 6)
    main = next(group for group in coupled(network, images, "head") if len(group.members) > 4)
    scores = {name: network.get_submodule(name).weight.abs() for name in ("main", "project")}
    wanted = (scores["main"].flatten(1).mean(1) + scores["project"].flatten(1).mean(1)) / 2
    torch.testing.assert_close(importance(scores, main), wanted)


def test_a_repair_that_needs_equal_widths_says_so(quick_timing: None) -> None:
    found = structured(SPEC.replace(repair="statcorr"))
    assert "channels were removed" in found.notes[0]
    assert found.facts["variant"] == "pruned"


def test_what_cannot_be_cut_is_an_error_that_says_why() -> None:
    with pytest.raises(ReflowError, match="Channels are removed by allocation global or uniform, not erk"):
        structured(SPEC.replace(allocation="erk"))


def test_widths_are_those_of_the_weights() -> None:
    assert widths(block()) == {
        "first": 8, "norm": 8, "main": 12, "main_norm": 12, "project": 12, "project_norm": 12, "head": 5}  # fmt: skip


def test_silence_zeroes_what_is_made_only() -> None:
    network = block()
    group = Cutter(clone_module(network), torch.randn(1, 3, 6, 6), "head").makers({"first": [2]})
    silent = clone_module(network)
    silence(silent, group)
    assert not silent.first.weight[2].any()
    assert torch.equal(silent.main.weight, network.main.weight)
    assert list(mismatches(silent, network, [Group("first", 8, ())], {"first": 8})) == []


def test_a_race_gives_everyone_the_same_turns() -> None:
    calls = {"quick": 0, "slow": 0}

    def counted(name: str, size: int) -> object:
        calls[name] += 1
        return torch.rand(size, size) @ torch.rand(size, size)

    found = race({"quick": lambda: counted("quick", 2), "slow": lambda: counted("slow", 400)}, most=0.05)
    assert found["quick"].rounds == found["slow"].rounds >= 7
    assert found["quick"].median < found["slow"].median <= found["slow"].p95
    assert calls["quick"] == calls["slow"]


def test_whoever_cancels_is_heard_while_the_groups_are_proved() -> None:
    def watch(stage: str, done: int, total: int) -> None:
        if stage == "groups":
            raise Cancelled

    with pytest.raises(Cancelled):
        inspections["structured"].function(SPEC, Library(), watch)


def test_a_network_that_cannot_be_traced_says_so() -> None:
    class Torn(Block):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyError("torn")

    with pytest.raises(ReflowError, match=r"could not be determined \('torn'\)"):
        coupled(Torn(), torch.randn(2, 3, 6, 6), "head")


@pytest.mark.parametrize("repair", ["none", "reflow", "fine-tune"])
def test_channels_pruned_whole_are_silent_whatever_the_repair_re_estimates(repair: str) -> None:
    """γ(0 − μ)/σ + β is not 0: a filter of zeros alone still puts out a constant behind its norm."""
    spec = normalize(Spec(pattern="channel", sparsity=0.4, repair=repair, calibration_images=64, evaluation_images=16))
    with Experiment.open(spec, Library(), ignore) as experiment:
        pruned = experiment.prune()
        network, dense = experiment.clone(pruned), experiment.network.module
        assert (experiment.repair(network)[1] is None) == (repair != "none")
        images, sites = experiment.inputs(slice(0, 16)), experiment.trace.sites
    seen: dict[str, torch.Tensor] = {}
    keep = {site.name: lambda module, read, out, name=site.name: seen.update({name: out.clone()}) for site in sites}
    with hooked(network, after=keep), torch.inference_mode():  # type: ignore[arg-type]
        network(images)
    silent = 0
    for site in sites:
        mask = pruned.masks[str(site.weights)]
        gone = ~mask.flatten(1).any(1)
        norm, before = (net.get_submodule(site.name) for net in (network, dense))
        assert not seen[site.name][:, gone].any()
        assert not norm.weight[gone].any() and not norm.bias[gone].any(), "the exception to dense × mask"
        if repair != "fine-tune":  # every other parameter is dense × mask, bit for bit
            assert torch.equal(norm.weight[~gone], before.weight[~gone])
            assert torch.equal(norm.bias[~gone], before.bias[~gone])
            weight = network.get_submodule(str(site.weights)).weight
            assert torch.equal(weight, dense.get_submodule(str(site.weights)).weight * mask)
        silent += int(gone.sum())
    assert silent > 100


def test_pruning_whole_channels_is_cutting_them_out() -> None:
    names = ("layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1")
    by_layer = ",".join(f"{name}:0.5" for name in names)
    spec = Spec(pattern="channel", allocation="custom", sparsity=0, layer_sparsity=by_layer, repair="none")
    with Experiment.open(normalize(spec), Library(), ignore) as experiment:
        pruned, images = experiment.prune(), experiment.inputs(slice(0, 32))
        silent = experiment.clone(pruned)
        gone = {name: (~pruned.masks[name].flatten(1).any(1)).nonzero().flatten().tolist() for name in names}
        cut = Cutter(clone_module(experiment.network.module), images[:1], "linear")
    cut.cut(gone)
    with torch.inference_mode():
        torch.testing.assert_close(silent(images), cut.network(images), rtol=1e-4, atol=1e-4)


def test_the_early_third_without_45_percent_of_its_channels_is_the_silent_network() -> None:
    library = Library()
    early = convolutions(trace_of(Spec(), library).layers)
    by_layer = ",".join(f"{name}:0.45" for name in early)
    spec = Spec(pattern="channel", allocation="custom", sparsity=0, layer_sparsity=by_layer, repair="none")
    assert round(100 * diagnose(spec, library).pruned.score, 1) == 36.1  # with zero filters alone 20.0


def test_a_silent_channel_has_no_bias_with_or_without_a_norm_behind_it() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    nn.init.normal_(network[1].bias)
    masks = {"0": torch.ones(4, 3, 1, 1, dtype=torch.bool), "3": torch.ones(2, 4, 1, 1, dtype=torch.bool)}
    masks["0"][1], masks["3"][0] = False, False
    for name, mask in masks.items():
        network.get_submodule(name).weight.data *= mask
    silence_channels(network, masks, trace(network, torch.zeros(1, 3, 2, 2)).sites)
    with torch.inference_mode():
        inside, logits = network[:2](torch.randn(5, 3, 2, 2)), network(torch.randn(5, 3, 2, 2))
    assert not inside[:, 1].any() and inside[:, [0, 2, 3]].any()
    assert not logits[:, 0].any() and logits[:, 1].any()
