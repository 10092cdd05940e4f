"""Claims about pruning in production, each tested on one's own model and machine.

A claim is two functions in a file of this folder: one that measures, registered under its name, and a *rule*, a pure
function from the measured numbers to a verdict, which can come out either way. What several claims need is measured
once (see `Trial`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from reflow_core.diagnosis.diagnose import diagnose
from reflow_core.diagnosis.experiment import trace_of
from reflow_core.diagnosis.fields import normalize
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.errors import ReflowError
from reflow_core.machine import fingerprint
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import inspect
from reflow_core.production.sensitivity import convolutions
from reflow_core.production.timing import disturbed
from reflow_core.pruning.patterns import CHANNEL
from reflow_core.registry import Info, Registry, import_siblings
from reflow_core.sources.library import Library
from reflow_core.spec import Spec
from reflow_core.watch import Watch, ignore

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
ELSEWHERE = "not measurable here"
VERDICTS = (HOLDS, FAILS, UNDECIDED, ELSEWHERE)
ARTICLE, OWN = "article on pruned models in production", "our own"
READS = ("model", "data", "calibration_images", "calibration_view", "evaluation_images", "seed")  # of a spec


@dataclass(frozen=True, eq=False, slots=True)
class Tested:
    """A verdict, what was measured and by which thresholds it was judged in a sentence or two, and tables behind it."""

    verdict: str
    measured: str
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)


@dataclass(eq=False)
class Trial:
    """What a claim is tested on; `spec` has no repair but REFLOW, or none where that does not apply."""

    spec: Spec
    source: Library
    watch: Watch
    timed: bool = field(default=False, init=False)
    disturbance: str = field(default="", init=False)  # of timings, by other work, in a sentence

    def diagnosis(self, **changes: Any) -> Diagnosis:
        """A diagnosis of the spec with changes, made once for all claims."""
        return self.diagnosed(normalize(self.spec, **changes))

    def diagnosed(self, spec: Spec) -> Diagnosis:
        """The diagnosis of a normalized spec, made once for all claims."""
        shared: Diagnosis = self.source.recall(("claim", spec), lambda: diagnose(spec, self.source, self.watch))
        return shared

    def finding(self, inspection: str, **changes: Any) -> Finding:
        """The finding of an inspection of the spec with changes, likewise."""
        spec = self.spec.replace(**changes)
        self.timed = True
        shared: Finding = self.source.recall(
            ("claim", inspection, spec), lambda: inspect(inspection, spec, self.source, self.watch)
        )
        return shared

    def timing(self) -> Finding:
        """The hardware inspection at 85 % sparsity."""
        finding = self.finding("hardware", sparsity=0.85)
        self.disturbance = disturbed(finding)
        return finding

    def cut(self, share: float, **changes: Any) -> Spec:
        """The spec with the same share of channels cut in every early convolution. Raises ReflowError without any."""
        spec = self.spec.replace(**changes)
        early = convolutions(trace_of(spec, self.source).layers)
        if not early:
            raise ReflowError("This network has no convolution.")
        shares = ",".join(f"{name}:{share:g}" for name in early)
        return normalize(spec, pattern=CHANNEL, allocation="custom", sparsity=0.0, layer_sparsity=shares)


Test = Callable[[Trial], Tested]
claims: Registry[Info, Test] = Registry("claim")  # title: the claim itself; paper: who says so


def claim(name: str, text: str, source: str = ARTICLE) -> Callable[[Test], Test]:
    """Register the test of a claim."""
    return claims.register(Info(name, text, text, source))


import_siblings(__name__, list(__path__))


def try_claim(name: str, spec: Spec, source: Library, watch: Watch = ignore) -> Finding:
    """Whether a claim holds on a spec's model and images; of the spec only READS are read. Raises ReflowError."""
    info, test = claims[name].info, claims[name].function
    trial = Trial(plain(spec), source, watch)
    try:
        tested = test(trial)
    except ReflowError as error:
        tested = Tested(ELSEWHERE, str(error))
    measured = " ".join(filter(None, (tested.measured, trial.disturbance)))
    facts = {"claim": info.title, "source": info.paper, "verdict": tested.verdict, "measured": measured}
    machine = fingerprint() if trial.timed else ""
    tables = {"Claim": pd.DataFrame([facts]), **tested.tables}
    answer = f"{info.title}: {tested.verdict}. {measured}"
    return Finding(spec, answer, tables, facts, machine=machine)


def plain(spec: Spec) -> Spec:
    """The spec's model, images and seed, with magnitude pruning and REFLOW."""
    return Spec(**{name: getattr(spec, name) for name in READS})


def counted(spec: Spec, tested: Sequence[Finding]) -> Finding:
    """Every tested claim as a row, how many hold, and the tables behind them."""
    table = pd.DataFrame(
        [dict(finding.facts) for finding in tested], columns=["claim", "verdict", "measured", "source"]
    )
    counts = table.verdict.value_counts()
    machine = next((finding.machine for finding in tested if finding.machine), "")
    facts = {"counts": {verdict: int(counts[verdict]) for verdict in VERDICTS if verdict in counts}}
    behind = {title: rows for finding in tested for title, rows in finding.tables.items() if title != "Claim"}
    return Finding(spec, tally(facts["counts"], len(table)), {"Claims": table, **behind}, facts, machine=machine)


def tally(counts: Mapping[str, int], total: int) -> str:
    """How many of the claims have which verdict, in a sentence."""
    number = {verdict: counts.get(verdict, 0) for verdict in VERDICTS}
    held, failed = number[HOLDS], number[FAILS]
    if total == 1:
        verdict = next(verdict for verdict in VERDICTS if number[verdict])
        return f"One claim about pruning in production was tested: it {AS_PREDICATE[verdict]}."
    return (
        f"Of {total} claims about pruning in production, on this model and machine {held} "
        f"{'holds' if held == 1 else 'hold'}, {failed} {'does' if failed == 1 else 'do'} not, {number[UNDECIDED]} "
        f"{'is' if number[UNDECIDED] == 1 else 'are'} undecided, and {number[ELSEWHERE]} cannot be measured here."
    )


AS_PREDICATE = {
    HOLDS: "holds on this model and machine",
    FAILS: "does not hold on this model and machine",
    UNDECIDED: "is undecided on this model and machine",
    ELSEWHERE: "cannot be measured here",
}
