"""Pruning in stages: what each stage leaves is where the next begins, and the sparsity is exact at every one."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.experiment import Experiment
from reflow_core.diagnosis.fields import normalize, set_aside
from reflow_core.diagnosis.stages import SCHEDULE, earlier_stages, stages_before
from reflow_core.numbers import percent, whole_percent
from reflow_core.production.export import rebuild
from reflow_core.pruning.criteria import criteria
from reflow_core.pruning.masks import Masks, install, pruned_count
from reflow_core.pruning.prune import prune
from reflow_core.repairs import Told, repairs
from reflow_core.signal.copies import clone_module
from reflow_core.signal.layers import prunable
from reflow_core.spec import STAGED
from reflow_core.watch import ignore

FEW = Spec(stages=STAGED, evaluation_images=64, calibration_images=64, repair="least-squares")


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


def test_the_schedule_ascends_and_ends_below_the_highest_sparsity() -> None:
    assert list(SCHEDULE) == sorted(set(SCHEDULE)) and SCHEDULE[0] > 0 and SCHEDULE[-1] < 0.99
    assert stages_before(0.8) == (0.6, 0.72) and stages_before(0.6) == ()


def test_stages_equal_the_same_steps_by_hand(library: Library) -> None:
    """With the parts of the small core: prune, repair, and again on what that left."""
    with Experiment.open(FEW.replace(sparsity=0.7), library, ignore) as experiment:
        ours = experiment.clone(experiment.prune())
        experiment.repair(ours)
        dense, calibration = experiment.network.module, experiment.pruner.calibration
    theirs = clone_module(dense)
    for sparsity in (0.6, 0.7):
        prune(theirs, sparsity)
        told = repairs["least-squares"].function(dense, theirs, calibration, ignore)
        assert isinstance(told, Told) and told.ridges
        calibration = dataclasses.replace(calibration, ridges=told.ridges)
    expected = theirs.state_dict()
    assert all((tensor == expected[name]).all() for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize("criterion", criteria.names())
def test_the_sparsity_is_exact_and_what_was_removed_stays_removed(criterion: str, library: Library) -> None:
    spec = normalize(FEW, criterion=criterion, repair="reflow", sparsity=0.75)
    with Experiment.open(spec, library, ignore) as experiment:
        pruned, base = experiment.prune(), experiment.pruner.base.module
        before = {name: weight != 0 for name, weight in prunable(base).items()}
        network = clone_module(base)
        install(network, pruned.weights)
    total = sum(mask.numel() for mask in pruned.masks.values())
    assert sum(int((~mask).sum()) for mask in before.values()) == pruned_count(total, 0.72)
    assert sum(int((~mask).sum()) for mask in pruned.masks.values()) == pruned_count(total, 0.75)
    for name, weight in prunable(network).items():
        assert not (pruned.masks[name] & ~before[name]).any()
        assert not weight[~pruned.masks[name]].any()


def test_after_every_stage_and_its_repair_the_sparsity_is_exact_and_zeros_stay_zero(library: Library) -> None:
    removed: Masks = {}
    for sparsity in (*stages_before(0.82), 0.82):
        weights = prunable(rebuild(FEW.replace(sparsity=sparsity), library).module)
        zeros = {name: weight == 0 for name, weight in weights.items()}
        total = sum(weight.numel() for weight in weights.values())
        assert sum(int(there.sum()) for there in zeros.values()) == pruned_count(total, sparsity)
        assert all(zeros[name][there].all() for name, there in removed.items())
        removed = zeros


def test_a_stage_is_computed_once_for_all_higher_sparsities(monkeypatch: pytest.MonkeyPatch) -> None:
    library, repaired = Library(), list[float]()
    usual = Experiment.repair
    monkeypatch.setattr(
        Experiment, "repair", lambda self, network: repaired.append(self.spec.sparsity) or usual(self, network)
    )
    asked = (0.8, 0.82, 0.85, 0.97, 0.6, 0.88, 0.93, 0.72, 0.96, 0.83, 0.91, 0.99, 0.55)  # as a sweep jumps
    for sparsity in asked:
        diagnose(FEW.replace(sparsity=sparsity, repair="reflow"), library)
    assert Counter(repaired) == Counter(asked) + Counter(SCHEDULE)  # each stage once, besides its own diagnosis


def test_reports_of_its_progress_count_the_stages(library: Library) -> None:
    seen: list[tuple[str, int, int]] = []
    diagnose(FEW.replace(sparsity=0.9, seed=5), library, lambda *report: seen.append(report))
    stages = [(done, total) for stage, done, total in seen if stage == "stages"]
    assert (
        stages == sorted(stages)
        and {total for _, total in stages} == {4}
        and {done for done, _ in stages} == {0, 1, 2, 3}
    )


def test_a_staged_diagnosis_says_so_and_counts_the_seconds_of_all_stages(library: Library) -> None:
    staged, one_shot = (diagnose(FEW.replace(sparsity=0.9, stages=how), library) for how in (STAGED, "one-shot"))
    before = ", ".join(map(whole_percent, (0.6, 0.72, 0.8, 0.86)))
    assert any(f"Pruned and repaired in stages, at {before} before." in note for note in staged.notes)
    assert staged.sparsity == one_shot.sparsity
    assert staged.seconds["prune"] > one_shot.seconds["prune"] + one_shot.seconds["calibrate"]
    assert staged.repaired is not None and one_shot.repaired is not None
    assert staged.repaired.agreement >= one_shot.repaired.agreement


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sparsity": 0.6}, f"the first stage prunes {percent(0.6)}"),
        ({"repair": "none"}, "without a repair nothing changes between two stages"),
        ({"pattern": "2:4"}, "only a sparsity of single weights"),
        ({"allocation": "custom", "layer_sparsity": "conv1:0.5"}, "only a sparsity of single weights"),
    ],
)
def test_where_stages_change_nothing_they_are_set_aside(changes: dict[str, str | float], why: str) -> None:
    spec = FEW.replace(**changes)
    assert normalize(spec).stages == "one-shot" and earlier_stages(normalize(spec)) == ()
    assert any(why in sentence for sentence in set_aside(spec) if sentence.startswith("stages="))
