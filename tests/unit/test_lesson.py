"""The lesson: numbers are computed, words explained, openings give nothing away; REFLOW by hand is REFLOW."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from latex2mathml.converter import convert

from reflow_core import Diagnosis, Finding, Library, Spec, diagnose, inspect
from reflow_core.cli import main
from reflow_core.diagnosis.calibration import calibration
from reflow_core.errors import ReflowError
from reflow_core.present.lesson import STEPS, TERM, Predicted, Seen, Step, scored, see, spec_of
from reflow_core.present.lesson.glossary import GLOSSARY
from reflow_core.present.lesson.selection import compared
from reflow_core.production.export import rebuild
from reflow_core.signal.copies import hooked

MODELS = ("resnet20-digits", "vgg-digits")
SMALL = {"evaluation_images": 96, "calibration_images": 32}
NUMBER = re.compile(r"\d+(?:\.\d+)?")
EQUATION = re.compile(r"([\d.]+) · ([\d.]+) / ([\d.]+) = \*\*([\d.]+)\*\*")


@pytest.fixture(scope="module")
def lessons(library: Library) -> dict[str, list[Seen]]:
    """Every step on two networks, quickly timed."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("timing.MOST_S", 0.0),
            ("timing.LEAST", 2),
            ("timing.WARM_UP", 1),
            ("service.ENOUGH_S", 0.0),
        ):
            patch.setattr(f"reflow_core.production.{name}", value)
        patch.setattr("reflow_core.production.inspections.hardware.KERNEL_S", 0.0)
        return {
            model: [
                see(
                    step,
                    spec_of(step, Spec(model, **SMALL)),  # type: ignore[arg-type]
                    lambda spec: diagnose(spec, library),
                    lambda name, spec: inspect(name, spec, library),
                )
                for step in STEPS
            ]
            for model in MODELS
        }


def texts(step: Step, seen: Seen) -> list[str]:
    return [step.opening(seen), step.reveal(seen), step.answer(seen)]


def test_there_are_eight_to_twelve_steps_with_titles_of_their_own() -> None:
    assert 8 <= len(STEPS) <= 12 and len({step.title for step in STEPS}) == len(STEPS)


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_what_a_step_tells_is_computed(number: int, lessons: dict[str, list[Seen]]) -> None:
    """On two networks the same words carry other numbers, and the truth of the prediction is one of them."""
    step, (one, other) = STEPS[number], (lessons[model][number] for model in MODELS)
    assert NUMBER.findall(step.reveal(one)) != NUMBER.findall(step.reveal(other))
    for seen in (one, other):
        truth = step.question.truth(seen)
        assert np.isfinite(truth)
        told = [float(number) for number in NUMBER.findall(step.reveal(seen))]
        scaled = (truth, truth / 100, 100 * truth)
        assert any(abs(number - value) <= 0.006 * max(1.0, abs(value)) or abs(number - value) <= 0.06
                   for number in told for value in scaled), (truth, told)  # fmt: skip


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_an_opening_gives_nothing_away(number: int, lessons: dict[str, list[Seen]]) -> None:
    step, seen = STEPS[number], lessons[MODELS[0]][number]
    truth = step.question.truth(seen)
    said = [f"{truth:.1f} {step.question.unit}", f"{truth:.0f} {step.question.unit}"]
    assert not any(each in step.opening(seen) for each in said)


def test_every_marked_word_is_explained_and_every_formula_can_be_drawn(lessons: dict[str, list[Seen]]) -> None:
    marked = set()
    for step, seen in zip(STEPS, lessons[MODELS[0]], strict=True):
        for text in texts(step, seen):
            marked |= {term for term, _ in TERM.findall(text)}
            assert "[[" not in TERM.sub("", text)
        assert convert(step.formula.latex).startswith("<math") and step.formula.source
    assert marked <= set(GLOSSARY)


def test_a_prediction_is_judged_by_its_distance(lessons: dict[str, list[Seen]]) -> None:
    question, seen = STEPS[1].question, lessons[MODELS[0]][1]
    truth = question.truth(seen)
    assert question.judged(truth, seen).startswith("Well predicted: you predicted")
    off = f"Off by {truth:.0f} points: you predicted 0 %, measured {truth:.0f} %."
    assert question.judged(0.0, seen) == off


def test_the_score_counts_only_predictions_that_were_made() -> None:
    assert scored([]) == "You have not predicted any step in this visit."
    made = [
        Predicted("30 %", "31 %", True),
        Predicted("30 %", "95 %", False),
        Predicted("2.0 times", "5.0 times", False),
    ]
    assert scored(made) == f"You predicted 3 of the {len(STEPS)} steps, 1 of them within 5\u00a0% of the scale."


def test_the_numbers_of_the_channel_follow_from_each_other_as_the_step_says(lessons: dict[str, list[Seen]]) -> None:
    """Each “γ · arriving / stored = leaving” of step 7 is true of the numbers as they are written."""
    step, number = next((step, place) for place, step in enumerate(STEPS) if "by hand" in step.title)
    for model in MODELS:
        seen = lessons[model][number]
        equations = EQUATION.findall(step.opening(seen)) + EQUATION.findall(step.reveal(seen))
        assert len(equations) == 3
        for gamma, arriving, stored, leaving in equations:
            assert float(gamma) * float(arriving) / float(stored) == pytest.approx(float(leaving), abs=0.003)
        assert "vary" in step.opening(seen), "why what left the dense network is not |γ|"


def test_a_step_that_goes_back_says_so_and_shows_no_name_of_a_column(lessons: dict[str, list[Seen]]) -> None:
    step, seen = STEPS[9], lessons[MODELS[0]][9]
    assert step.opening(seen).startswith("Back to 80 % sparsity")
    assert seen.diagnosis.sparsity < lessons[MODELS[0]][8].diagnosis.sparsity
    for each in STEPS:
        assert bool(each.table) == bool(each.columns)
        assert not any("_" in heading for heading in each.columns.values())
    for number in (5, 6, 9):
        finding = lessons[MODELS[0]][number].finding
        assert finding is not None and set(STEPS[number].columns) <= set(finding.tables[STEPS[number].table].columns)


def test_a_beginner_needs_no_epsilon(lessons: dict[str, list[Seen]]) -> None:
    step, seen = STEPS[8], lessons[MODELS[0]][8]
    assert "ε" not in step.opening(seen) + step.reveal(seen) + step.exercise + step.answer(seen)
    assert "ε" in step.notes, "the teacher knows"


@pytest.mark.parametrize(("right", "rival", "word"), [(9, 60, "worse"), (60, 9, "better"), (30, 31, "not significant")])
def test_a_comparison_of_choices_says_worse_where_it_is_worse(
    right: int, rival: int, word: str, lessons: dict[str, list[Seen]]
) -> None:
    seen = lessons[MODELS[0]][4].diagnosis
    assert seen.labels is not None and len(seen.labels) == 96

    def one(correct: int) -> Diagnosis:
        predicted = np.where(np.arange(96) < correct, seen.labels, (seen.labels + 1) % 10)  # type: ignore[operator]
        own = dataclasses.replace(seen.predictions["pruned"], predicted=predicted)
        return dataclasses.replace(seen, predictions={**seen.predictions, "pruned": own})

    said = compared(one(right), one(rival))
    assert word in said and "no better" not in said and "e-" not in said


@pytest.fixture(scope="module")
def stale(library: Library) -> Finding:
    return inspect("stale", Spec(**SMALL), library)  # type: ignore[arg-type]


def test_stale_statistics_are_what_batchnorm_itself_would_store(stale: Finding, library: Library) -> None:
    """Stored: the buffers. Arriving: a train-mode pass of that norm alone. Re-estimated: the exported network's."""
    spec = stale.spec
    dense = library.network(spec.model).module
    pruned = rebuild(spec.replace(repair="none", calibration_images=512), library).module
    repaired = rebuild(spec, library).module
    inputs = calibration(spec, library.network(spec.model).info, library.images(spec)).inputs
    table = stale.tables["Channels"]
    for name in ("bn1", "layer2.1.bn2", "layer3.2.bn2"):
        rows, norm = table[table.norm == name], pruned.get_submodule(name)
        np.testing.assert_allclose(rows.stored_mean, dense.get_buffer(f"{name}.running_mean"), rtol=1e-6)
        np.testing.assert_allclose(rows.re_estimated_std**2, repaired.get_buffer(f"{name}.running_var"), rtol=1e-4)
        fresh = torch.nn.BatchNorm2d(len(rows), momentum=1.0)
        with torch.no_grad(), hooked(pruned, {name: lambda m, arguments, fresh=fresh: fresh(arguments[0])}):  # type: ignore[misc]
            pruned(inputs)
        count = inputs[:, 0].numel() // {"bn1": 1, "layer2.1.bn2": 4, "layer3.2.bn2": 16}[name]
        np.testing.assert_allclose(rows.arriving_mean, fresh.running_mean, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(rows.arriving_std**2, fresh.running_var * (count - 1) / count, rtol=1e-3)
        kept: list[torch.Tensor] = []
        with torch.no_grad(), hooked(pruned, {}, {name: lambda m, a, output: kept.append(output)}):  # noqa: B023
            pruned(inputs)
        np.testing.assert_allclose(rows.out_pruned, kept[0].std((0, 2, 3), correction=0), rtol=1e-3)
        assert norm is not None


def test_by_hand_the_channel_is_the_strongest_and_comes_back(stale: Finding) -> None:
    channel, table = stale.facts["channel"], stale.tables["Channels"]
    last = table[table.norm == stale.facts["norm"]]
    assert channel["out_dense"] == pytest.approx(last.out_dense.max())
    assert channel["out_pruned"] < 0.5 * channel["out_dense"] and channel["out_repaired"] > 0.8 * channel["out_dense"]
    assert stale.facts["last"] > 2 > stale.facts["first"] > 0.9


def test_a_network_without_batchnorm_stores_nothing(library: Library) -> None:
    with pytest.raises(ReflowError, match="no BatchNorm"):
        inspect("stale", Spec("convnext-digits"), library)


def test_the_handout_has_every_step_and_answers_for_the_teacher_only(
    quick_timing: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for teacher in ([], ["--teacher"]):
        out = tmp_path / "lesson.html"
        small = ["--model", "vgg-digits", "--evaluation", "64", "--calibration", "32"]
        assert main(["lesson", *small, "--out", str(out), *teacher]) == 0
        text = out.read_text()
        assert text.count("<h2>") == len(STEPS) * (1 + len(teacher)) and text.count("<math") == len(STEPS)
        assert ("Answers and notes" in text) == bool(teacher)
        assert "src=" not in text and "href=" not in text and "[[" not in text
