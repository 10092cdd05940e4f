"""The lesson: steps in order, each with a number to predict, what is then shown, a formula, an exercise and notes.

Each step is one file here, and ORDER lists them. A step's texts are functions of what was computed for it, so that
no number is ever typed in. In texts, [[term]] or [[term|as written]] marks a word that the glossary explains.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.errors import ReflowError
from reflow_core.networks.catalog import find
from reflow_core.numbers import whole_percent
from reflow_core.present.figures import Chart
from reflow_core.production.finding import Finding
from reflow_core.spec import DEFAULTS, Spec, parted

ORDER = (
    "works",
    "half",
    "fades",
    "collapses",
    "selection",
    "stale",
    "by_hand",
    "reflow",
    "limits",
    "hardware",
    "at_work",
)
NEAR = 0.05  # of a question's scale
TERM = re.compile(r"\[\[([^\]|]+)(?:\|([^\]]+))?\]\]")


@dataclass(frozen=True, eq=False)
class Seen:
    """What was computed for a step. `diagnosis`: its result. `others`: more, by name. `finding`: of its inspection."""

    diagnosis: Diagnosis
    others: Mapping[str, Diagnosis] = field(default_factory=dict)
    finding: Finding | None = None

    def facts(self, name: str) -> float:
        """A number among the facts of the finding."""
        assert self.finding is not None
        return float(self.finding.facts[name])


@dataclass(frozen=True)
class Question:
    """A number to predict. `truth`: its value. `unit`: written after it. `low`, `high`, `step`: what can be said."""

    asks: str
    truth: Callable[[Seen], float]
    unit: str = "%"
    low: float = 0.0
    high: float = 100.0
    step: float = 1.0

    def shown(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:.0f} {self.unit}" if self.step >= 1 else f"{value:.1f} {self.unit}"

    def is_near(self, guess: float, seen: Seen) -> bool:
        """Whether a guess is right but for NEAR of the scale."""
        return abs(guess - self.truth(seen)) <= NEAR * (self.high - self.low)

    def judged(self, guess: float, seen: Seen) -> str:
        """A sentence that compares the guess with the truth."""
        truth = self.truth(seen)
        off_scale = " (off the scale)" if not self.low <= truth <= self.high else ""
        unit = "points" if self.unit == "%" else self.unit
        off = f"{abs(guess - truth):.0f}" if self.step >= 1 else f"{abs(guess - truth):.1f}"
        verdict = "Well predicted" if self.is_near(guess, seen) else f"Off by {off} {unit}"
        return f"{verdict}: you predicted {self.shown(guess)}, measured {self.shown(truth)}{off_scale}."


@dataclass(frozen=True)
class Predicted:
    """A prediction that was made and what was measured, both as shown; `near`: whether it was right (see Question)."""

    guess: str
    truth: str
    near: bool


def scored(predictions: Collection[Predicted]) -> str:
    """How many of the lesson's steps were predicted, and how many of these well, in a sentence."""
    if not predictions:
        return "You have not predicted any step in this visit."
    near = sum(each.near for each in predictions)
    well = f"{near} of them within {whole_percent(NEAR)} of the scale"
    return f"You predicted {len(predictions)} of the {len(STEPS)} steps, {well}."


@dataclass(frozen=True)
class Formula:
    """A formula in LaTeX, what its letters mean, and its source."""

    latex: str
    words: str
    source: str


@dataclass(frozen=True)
class Step:
    """One step. `changes`: what it sets in the controls, given the sparsity at which this network has collapsed.

    `opening` is read before the prediction and gives nothing away; `reveal` is read after it. `others`: further specs
    to diagnose, by name. `inspection`: the one to run on the spec, if any. `exercise` and `answer` are for paper,
    `notes` for the teacher. `view`: how the network is shown, "Scope" (panels) or "Signal" (stream and features).
    `table`: the table of the inspection that is shown below the text, `columns`: what of it, each by its heading.
    `late`: whether the inspection runs only after the prediction, because it takes a while. `picture`: a figure at the
    end, with its heading.
    """

    title: str
    changes: Callable[[float], Mapping[str, str | float]]
    opening: Callable[[Seen], str]
    question: Question
    reveal: Callable[[Seen], str]
    formula: Formula
    exercise: str
    answer: Callable[[Seen], str]
    notes: str
    others: Callable[[Spec], Mapping[str, Spec]] = lambda spec: {}
    inspection: str = ""
    view: str = "Scope"
    table: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    late: bool = False
    picture: tuple[str, Callable[[Seen], Chart]] | None = None


STEPS: tuple[Step, ...] = tuple(importlib.import_module(f"{__name__}.{name}").STEP for name in ORDER)


def inspected(spec: Spec) -> Spec:
    """The spec that inspections get: they look at the pruned network, so the step's repair does not matter."""
    return normalize(spec, repair=DEFAULTS["repair"])


def spec_of(step: Step, base: Spec) -> Spec:
    """The spec that a step looks at, on the network, images and seed of `base`."""
    return normalize(base.replace(**step.changes(down_at(base.model))))


def down_at(model: str) -> float:
    """The sparsity at which a network has collapsed."""
    return find(parted(model)[0]).collapse_at


def see(
    step: Step,
    spec: Spec,
    diagnose: Callable[[Spec], Diagnosis],
    inspect: Callable[[str, Spec], Finding],
    revealed: bool = True,
) -> Seen:
    """Compute what a step says about a spec, before or after it is `revealed`. Raises ReflowError."""
    others = {name: diagnose(further) for name, further in step.others(spec).items()}
    inspecting = bool(step.inspection) and (revealed or not step.late)
    diagnosis = diagnose(spec)
    if diagnosis.labels is None:
        raise ReflowError("The lesson needs labeled images, and these have no labels; choose other data.")
    return Seen(diagnosis, others, inspect(step.inspection, inspected(spec)) if inspecting else None)
