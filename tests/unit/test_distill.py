"""Distillation: the dense network's logits are learned without labels and with the mask fixed, as far as that helps."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy
from torch import nn

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.experiment import Experiment
from reflow_core.diagnosis.fields import normalize, set_aside
from reflow_core.diagnosis.preflight import preflight
from reflow_core.diagnosis.stages import earlier_stages
from reflow_core.errors import NotApplicable
from reflow_core.lab.codec import decode, encode
from reflow_core.numbers import whole_percent
from reflow_core.present.figures.learning import of_training
from reflow_core.repairs import Calibration, Told, repairs
from reflow_core.repairs.distill import HELD_OUT, SHARES, TEMPERATURE, best_share, divergences, mixed, train_to_dense
from reflow_core.repairs.least_squares import least_squares
from reflow_core.repairs.repair import repair
from reflow_core.signal.layers import prunable
from reflow_core.spec import STAGED
from reflow_core.watch import Watch, ignore

QUICK = Spec(repair="distill", sparsity=0.95, evaluation_images=64, calibration_images=96, epochs=3)


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


def test_where_no_training_helps_the_weights_are_those_of_least_squares(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reflow_core.repairs.distill.SHARES", (0.0,))
    with Experiment.open(normalize(QUICK, epochs=1), library, ignore) as experiment:
        network, dense = experiment.clone(experiment.prune()), experiment.network.module
        fitted = copy.deepcopy(network)
        told, _ = experiment.repair(network)
        shown = experiment.pruner.calibration.parted(HELD_OUT)[1]
    repairs["least-squares"].function(dense, fitted, shown, ignore)
    assert told is not None and f"of whose change {whole_percent(0)} is kept" in told.summary
    weights = prunable(fitted)
    for name, weight in prunable(network).items():  # in another memory layout, which sums in another order
        torch.testing.assert_close(weight, weights[name], rtol=1e-2, atol=1e-3)


def test_the_divergence_is_that_of_scipy() -> None:
    ours, theirs = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(0))
    dense, network = (softmax(each.double().numpy() / TEMPERATURE, 1) for each in (theirs, ours))
    expected = TEMPERATURE**2 * entropy(dense, network, axis=1)
    np.testing.assert_allclose(divergences(ours, theirs), expected, rtol=1e-5)
    assert not divergences(ours, ours).any()


@pytest.mark.parametrize(("wanted", "share"), [(0.0, 0.0), (0.6, 0.5), (0.9, 1.0), (9.0, 1.25), (-3.0, 0.0)])
def test_the_weights_go_as_far_as_the_held_out_loss_falls(wanted: float, share: float) -> None:
    """The loss is the distance from a point of the line through both ends, so that the nearest share is known."""
    torch.manual_seed(0)
    network = nn.Linear(5, 3)
    start, target = copy.deepcopy(list(network.parameters())), copy.deepcopy(list(network.parameters()))
    with torch.no_grad():
        network.weight.mul_(torch.rand(3, 5) * 2)
        for parameter, first, goal in zip(network.parameters(), start, target, strict=True):
            goal.copy_(first + wanted * (parameter - first))

    def judge() -> float:
        pairs = zip(network.parameters(), target, strict=True)
        return float(sum((one - other).detach().square().sum() for one, other in pairs))

    found, loss = best_share(network, start, judge)
    assert found == share and loss == judge()


def test_where_training_has_diverged_nothing_of_it_is_kept() -> None:
    network = nn.Linear(2, 2)
    start = copy.deepcopy(list(network.parameters()))
    nn.init.constant_(network.weight, float("nan"))
    share, loss = best_share(network, start, lambda: float(network.weight.detach().sum()))
    assert share == 0 and loss == float(start[0].detach().sum()) and torch.equal(network.weight, start[0])


def test_a_mixture_lies_between_two_images() -> None:
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 2, 2)
    mixtures = mixed(images, torch.Generator().manual_seed(0))
    assert mixtures.min() >= 0 and mixtures.max() <= 7
    assert (mixtures == mixtures[:, :1, :1, :1]).all() and (mixtures != images).any()


@pytest.mark.parametrize("model", ["resnet20-digits", "vit-digits"])
def test_labels_are_not_read_zeros_stay_and_the_best_share_is_kept(model: str, library: Library) -> None:
    spec = normalize(QUICK, model=model)
    with Experiment.open(spec, library, ignore) as experiment:
        pruned, dense = experiment.clone(experiment.prune()), experiment.network.module
        before = {name: weight == 0 for name, weight in prunable(pruned).items()}
        calibration = dataclasses.replace(experiment.pruner.calibration, labels=None)
        repairs["least-squares"].function(dense, pruned, calibration, ignore)
        state = copy.deepcopy(dense.state_dict())
        curve = train_to_dense(dense, pruned, calibration, ignore)
    assert len(curve.train) == 3 and curve.judged == (0, 1, 2, 3) and len(curve.held) == 4
    assert curve.best in (0, 3) and curve.share in SHARES and (curve.best == 0) == (curve.share == 0)
    assert curve.kept <= min(curve.held[0], curve.held[-1]) + 1e-4
    assert all((weight[before[name]] == 0).all() for name, weight in prunable(pruned).items())
    assert all(torch.equal(value, state[name]) for name, value in dense.state_dict().items())
    assert not any(module.training for module in pruned.modules())
    assert not any(parameter.requires_grad for parameter in pruned.parameters())


def test_it_learns_what_the_dense_network_says_of_images_that_it_was_not_shown(library: Library) -> None:
    """From a network that least squares has not touched."""
    with Experiment.open(normalize(QUICK, sparsity=0.93, repair="reflow", epochs=1), library, ignore) as experiment:
        network, dense = experiment.clone(experiment.prune()), experiment.network.module
        calibration = dataclasses.replace(experiment.pruner.calibration, epochs=6)
        experiment.repair(network)
        curve = train_to_dense(dense, network, calibration, ignore)
    assert curve.share > 0 and curve.kept < 0.9 * curve.held[0]
    assert curve.judged == (0, 2, 4, 6)


def test_the_same_spec_gives_the_same_network_and_its_curve_is_kept_and_drawn(library: Library) -> None:
    spec = QUICK.replace(stages=STAGED, sparsity=0.75)
    found, again = (diagnose(spec, each) for each in (library, Library()))
    assert found.curve == again.curve and found.curve is not None
    assert (found.predictions["repaired"].confidence == again.predictions["repaired"].confidence).all()
    restored = decode(encode(found))
    assert restored.curve == found.curve  # type: ignore[union-attr]
    drawn = of_training(found)["Learning curve"]
    gained = f"to {found.curve.kept:.3f} with {whole_percent(found.curve.share)} of the change that 3 epochs made"
    assert (gained if found.curve.best else "No training lowers the divergence") in drawn.message
    assert drawn.table.kept.sum() == 1
    assert found.repair_report is not None
    assert (
        f"in 3 epochs over 84 images, of whose change {whole_percent(found.curve.share)} is kept" in found.repair_report
    )
    assert of_training(diagnose(QUICK.replace(repair="reflow"), library)) == {}


def test_no_stage_fits_what_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a stage of the one repair taken for a stage of the other, although both fit least squares between."""
    lent = list[Calibration]()

    def noting(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> Told:
        lent.append(calibration)
        return least_squares(dense, pruned, calibration, watch)

    noted = dataclasses.replace(repairs["least-squares"], function=noting)
    monkeypatch.setitem(repairs._entries, "least-squares", noted)
    library = Library()
    stages = len(earlier_stages(QUICK.replace(stages=STAGED)))
    for name in ("least-squares", "distill"):
        with Experiment.open(normalize(QUICK, repair=name, stages=STAGED), library, ignore) as experiment:
            experiment.prune()
            held = experiment.pruner.calibration.parted(HELD_OUT)[0]
    assert [len(each.inputs) for each in lent] == stages * [96] + stages * [84]
    for calibration in lent:
        seen = [bool((calibration.inputs == image).flatten(1).all(1).any()) for image in held]
        assert all(seen) == any(seen) == (len(calibration.inputs) == 96)


def test_epochs_are_set_aside_where_nothing_trains_and_priced_where_something_does(library: Library) -> None:
    spec = Spec(repair="reflow", epochs=7)
    assert normalize(spec).epochs == 20
    assert any(sentence.startswith("epochs=7 is ignored") for sentence in set_aside(spec))
    few, many = (preflight(QUICK.replace(epochs=epochs), library).images for epochs in (1, 11))
    assert many - few == 4 * 10 * 96


def test_a_network_without_classes_is_refused_in_words() -> None:
    dense = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
    with pytest.raises(NotApplicable, match="logits of several classes"):
        repair(dense, copy.deepcopy(dense), [torch.randn(8, 3, 6, 6)], method="distill")


def test_a_report_of_its_progress_can_cancel_it(library: Library) -> None:
    class Enough(Exception):
        pass

    def watch(stage: str, done: int, total: int) -> None:
        if stage == "distill" and done > total // 2:
            raise Enough

    with Experiment.open(normalize(QUICK), library, ignore) as experiment:
        network, dense = experiment.clone(experiment.prune()), experiment.network.module
        with pytest.raises(Enough):
            train_to_dense(dense, network, experiment.pruner.calibration, watch)
    assert not any(module.training for module in network.modules())


def test_a_single_image_is_enough_to_run() -> None:
    dense = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval().requires_grad_(False)
    curve = train_to_dense(dense, copy.deepcopy(dense), Calibration(torch.randn(1, 3, 6, 6), epochs=1), ignore)
    assert len(curve.held) == 2


def test_a_set_is_parted_by_the_seed_into_two_without_an_image_in_common() -> None:
    whole = Calibration(torch.arange(32.0).view(32, 1), labels=torch.arange(32), batch=(20, 12), seed=3)
    held, others = whole.parted(HELD_OUT)
    assert len(held) == 4 and sorted(torch.cat([held, others.inputs]).flatten().tolist()) == list(range(32))
    assert others.labels is not None and (others.labels == others.inputs.flatten()).all()
    assert sum(len(batch) for batch in others.batches()) == 28
    assert torch.equal(held, whole.parted(HELD_OUT)[0]) and len(whole.parted(2)[0]) == 2
    assert not torch.equal(held, dataclasses.replace(whole, seed=4).parted(HELD_OUT)[0])
