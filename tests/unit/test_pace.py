"""What is left of a run: exact for one of even pace, whatever was measured before; silent where nobody can tell."""

from __future__ import annotations

import pytest

from reflow_core import Library, Spec, diagnose
from reflow_core.diagnosis.preflight import preflight
from reflow_core.lab.pace import Pace

PLAN = (("dense", 500), ("control", 256), ("control", 500), ("pruned", 500), ("calibrate", 256), ("repaired", 500))


def run(stages: list[tuple[str, int]], an_image: float, stop: float = 10**9) -> tuple[Pace, float]:
    """A run in batches of 50 images at an even pace, until `stop` seconds."""
    pace, seconds = Pace(), 0.0
    for stage, images in stages:
        for done in range(0, images, 50):
            pace.saw(stage, done, images, seconds)
            if seconds >= stop:
                return pace, seconds
            seconds += an_image * min(50, images - done)
    return pace, seconds


@pytest.mark.parametrize("stop", [3.0, 40.0, 80.0, 110.0, 140.0])
def test_a_run_ten_times_as_slow_as_expected_says_its_own_time(stop: float) -> None:
    whole = 0.06 * sum(images for _, images in PLAN)
    pace, seconds = run(list(PLAN), 0.06, stop)
    assert pace.left(PLAN, 0.006, seconds) == pytest.approx(whole - seconds, abs=3.1), "one batch is 3 s"


def test_what_is_kept_from_before_is_not_waited_for() -> None:
    pace, seconds = run(list(PLAN[3:]), 0.06, 15.0)  # dense and its control are in the store
    assert pace.left(PLAN, 0.006, seconds) == pytest.approx(0.06 * 1256 - seconds, abs=3.1)


def test_a_slow_repair_goes_on_as_it_went_and_the_passes_after_it_as_passes_do() -> None:
    pace, seconds = run(list(PLAN[:4]), 0.02)
    for done in range(0, 129, 16):
        pace.saw("calibrate", done, 256, seconds + 0.5 * done)
    assert pace.left(PLAN, 0.02, seconds + 64) == pytest.approx(0.5 * 128 + 0.02 * 500)


def test_before_the_first_pass_it_is_what_was_measured_and_of_timings_nothing_is_said() -> None:
    pace = Pace()
    pace.saw("load", 0, 1, 0.0)
    assert pace.left(PLAN, 0.01, 2.0) == pytest.approx(0.01 * 2512 - 2)
    pace.saw("timing", 3, 7, 4.0)
    assert pace.left(PLAN, 0.01, 5.0) is None
    assert pace.left((), 0.01, 5.0) is None


def test_the_plan_is_what_a_diagnosis_reports(library: Library) -> None:
    spec = Spec("vgg-digits", sparsity=0.63, seed=5, evaluation_images=60, calibration_images=40)
    runs: list[tuple[str, int]] = []

    def watch(stage: str, done: int, total: int) -> None:
        if stage != "load" and (not runs or runs[-1] != (stage, total)):
            runs.append((stage, total))

    plan = preflight(spec, library).plan
    diagnose(spec, Library(), watch)
    assert tuple(runs) == plan == (
        ("dense", 60), ("control", 40), ("control", 60), ("pruned", 60), ("calibrate", 40), ("repaired", 60)
    )  # fmt: skip
