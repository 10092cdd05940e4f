"""Distillation: the dense network's logits are learned without labels, with the mask fixed, and the best epoch kept."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy, ttest_rel
from torch import nn

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.experiment import Experiment
from reflow_core.diagnosis.fields import normalize, set_aside
from reflow_core.diagnosis.preflight import preflight
from reflow_core.errors import NotApplicable
from reflow_core.lab.codec import decode, encode
from reflow_core.present.figures.learning import of_training
from reflow_core.repairs import Calibration, repairs
from reflow_core.repairs.distill import TEMPERATURE, divergences, mixed, surely_less, train_to_dense
from reflow_core.repairs.repair import repair
from reflow_core.signal.layers import prunable
from reflow_core.spec import STAGED
from reflow_core.watch import ignore

QUICK = Spec(repair="distill", sparsity=0.95, evaluation_images=64, calibration_images=96, epochs=3)


def seeded(seed: int) -> torch.Generator:
    """A source of random numbers that are the same each time."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


def test_where_no_epoch_is_kept_least_squares_has_all_images(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reflow_core.repairs.distill.surely_less", lambda after, before: False)
    networks = []
    for name in ("least-squares", "distill"):
        with Experiment.open(normalize(QUICK, repair=name, epochs=1), library, ignore) as experiment:
            network = experiment.clone(experiment.prune())
            told, _ = experiment.repair(network)
            networks.append(network.state_dict())
    assert told is not None and "by more than a standard error; none is kept" in told.summary
    for name, tensor in networks[1].items():  # in another memory layout, which sums in another order
        torch.testing.assert_close(tensor, networks[0][name], rtol=1e-2, atol=1e-3)


def test_the_divergence_is_that_of_scipy() -> None:
    ours, theirs = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(0))
    dense, network = (softmax(each.double().numpy() / TEMPERATURE, 1) for each in (theirs, ours))
    expected = TEMPERATURE**2 * entropy(dense, network, axis=1)
    np.testing.assert_allclose(divergences(ours, theirs), expected, rtol=1e-5)
    assert not divergences(ours, ours).any()


def test_a_gain_counts_from_one_standard_error_on() -> None:
    """As scipy's t of pairs, which is the mean gain in standard errors."""
    gains = torch.linspace(0, 4, 40)[:, None] * torch.ones(9) / 9 + torch.randn(40, 9, generator=seeded(0)).double()
    found = [surely_less(torch.zeros(9), each) for each in gains]
    assert found == [ttest_rel(each, np.zeros(9)).statistic > 1 for each in gains.numpy()] and len(set(found)) == 2
    assert not surely_less(torch.zeros(1), torch.ones(1)), "of one image there is no error to be known"


def test_a_mixture_lies_between_two_images() -> None:
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 2, 2)
    mixtures = mixed(images, torch.Generator().manual_seed(0))
    assert mixtures.min() >= 0 and mixtures.max() <= 7
    assert (mixtures == mixtures[:, :1, :1, :1]).all() and (mixtures != images).any()


@pytest.mark.parametrize("model", ["resnet20-digits", "vit-digits"])
def test_labels_are_not_read_zeros_stay_and_the_best_epoch_is_kept(model: str, library: Library) -> None:
    spec = normalize(QUICK, model=model)
    with Experiment.open(spec, library, ignore) as experiment:
        pruned, dense = experiment.clone(experiment.prune()), experiment.network.module
        before = {name: weight == 0 for name, weight in prunable(pruned).items()}
        calibration = dataclasses.replace(experiment.pruner.calibration, labels=None)
        repairs["least-squares"].function(dense, pruned, calibration, ignore)
        state = copy.deepcopy(dense.state_dict())
        curve = train_to_dense(dense, pruned, calibration, ignore)
    assert len(curve.train) == 3 and len(curve.held) == 4
    assert curve.best == 0 or curve.held[curve.best] == min(curve.held)
    assert all((weight[before[name]] == 0).all() for name, weight in prunable(pruned).items())
    assert all(torch.equal(value, state[name]) for name, value in dense.state_dict().items())
    assert not any(module.training for module in pruned.modules())
    assert not any(parameter.requires_grad for parameter in pruned.parameters())


def test_it_learns_what_the_dense_network_says_of_images_that_it_was_not_shown(library: Library) -> None:
    """From a network that least squares has not touched."""
    with Experiment.open(normalize(QUICK, sparsity=0.85, repair="reflow", epochs=1), library, ignore) as experiment:
        network, dense = experiment.clone(experiment.prune()), experiment.network.module
        calibration = dataclasses.replace(experiment.pruner.calibration, epochs=6)
        experiment.repair(network)
        curve = train_to_dense(dense, network, calibration, ignore)
    assert curve.best > 0 and curve.held[curve.best] < 0.9 * curve.held[0]


def test_the_same_spec_gives_the_same_network_and_its_curve_is_kept_and_drawn(library: Library) -> None:
    spec = QUICK.replace(stages=STAGED, sparsity=0.75)
    found, again = (diagnose(spec, each) for each in (library, Library()))
    assert found.curve == again.curve and found.curve is not None
    assert (found.predictions["repaired"].confidence == again.predictions["repaired"].confidence).all()
    restored = decode(encode(found))
    assert restored.curve == found.curve  # type: ignore[union-attr]
    drawn = of_training(found)["Learning curve"]
    gained = f"{found.curve.held[found.curve.best]:.3f} at epoch {found.curve.best} of 3"
    assert (gained if found.curve.best else "No epoch surely lowers the divergence") in drawn.message
    assert found.repair_report is not None
    told = "in 3 epochs over 84 images" if found.curve.best else "In 3 epochs no training lowered"
    assert told in found.repair_report
    assert of_training(diagnose(QUICK.replace(repair="reflow"), library)) == {}


def test_between_stages_it_leaves_the_repair_to_least_squares(library: Library) -> None:
    """So that both share each stage: nothing is trained twice."""
    networks = []
    for name in ("least-squares", "distill"):
        with Experiment.open(normalize(QUICK, repair=name, stages=STAGED), library, ignore) as experiment:
            networks.append(experiment.pruner.base)
    assert networks[0] is networks[1]


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
