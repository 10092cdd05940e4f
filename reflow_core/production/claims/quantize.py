"""int8 after pruning: what it costs where nobody calibrates anew, and in which order things are done."""

from __future__ import annotations

from collections.abc import Sequence

from reflow_core.diagnosis.experiment import Experiment
from reflow_core.diagnosis.fields import normalize
from reflow_core.numbers import in_points, percent, whole_percent
from reflow_core.production.claims import OWN, Tested, Trial, claim
from reflow_core.production.claims.intervals import Estimate, judged, lost, together
from reflow_core.production.finding import Finding
from reflow_core.production.inspections.quantize import UNCALIBRATED, final_int8
from reflow_core.spec import CALIBRATION, QUANTIZE_ORDERS

SPARSITIES = (0.5, 0.6, 0.7, 0.8)
TOLERATED = 0.05  # lost by pruning alone
LEAST, MOST = 0.03, 0.07  # what int8 is said to add
AT = 0.8  # sparsity
MARGIN = 0.02  # between orders that are as good
ADDED = f"{100 * LEAST:.0f} to {100 * MOST:.0f} points added without recalibration, by the interval"
ORDERED = (
    f"no other order better by more than {100 * MARGIN:.0f} points, and one worse by at least {100 * MARGIN:.0f}, by "
    "the intervals"
)


@claim("prune-quantize", "A network that is pruned, then quantized without recalibration, loses 3 to 7 points")
def prune_quantize(trial: Trial) -> Tested:
    """int8 with the dense network's activation ranges, at the largest sparsity at which pruning alone loses little."""
    at, finding = _edge(trial)
    loss, added = finding.facts["loss"], finding.facts["added"]
    stale, fresh = (Estimate(*added[f"pruned_{precision}"]) for precision in (UNCALIBRATED, "int8"))
    verdict = adds(stale)
    repaired = loss.get("repaired_int8")
    also = (
        ""
        if repaired is None
        else f"; with REFLOW in between and ranges measured after it, the loss is {in_points(repaired)}"
    )
    measured = (
        f"At {whole_percent(at)}, pruning alone loses {in_points(loss['pruned_float32'])}; int8 with the dense "
        f"network's activation ranges adds {stale}, with re-measured ranges {fresh}{also}. "
        f"{judged(verdict, ADDED)}"
    )
    return Tested(verdict, measured)


def adds(stale: Estimate) -> str:
    """Holds where the interval lies between LEAST and MOST, does not where it lies outside on one side."""
    return together(stale.at_least(LEAST), stale.at_most(MOST))


def _edge(trial: Trial) -> tuple[float, Finding]:
    at = SPARSITIES[0]
    for sparsity in SPARSITIES:
        diagnosis = trial.diagnosis(sparsity=sparsity, repair="none")
        if diagnosis.dense.score - diagnosis.pruned.score > TOLERATED:
            break
        at = sparsity
    return at, trial.finding("quantize", sparsity=at)


@claim("order", "Prune, recalibrate, fold, quantize is the right order", OWN)
def order(trial: Trial) -> Tested:
    """The three orders at 80 %; where int8 comes earlier, the ranges are those of the network of that moment."""
    answers = {}
    for name in QUANTIZE_ORDERS:
        spec = normalize(trial.spec, ("quantize_order", *CALIBRATION), sparsity=AT, quantize_order=name)
        with Experiment.open(spec, trial.source, trial.watch) as experiment:
            answers[shown(name)] = final_int8(experiment).predicted
            labels, dense = experiment.labels, experiment.dense().predictions.predicted
    truth = dense if labels is None else labels
    scores = ", ".join(f"{name} {percent(float((each == truth).mean()))}" for name, each in answers.items())
    recommended, *others = answers
    gains = {name: lost(answers[recommended], answers[name], truth) for name in others}
    behind = " and ".join(f"{name} by {gain}" for name, gain in gains.items())
    verdict = right_order(list(gains.values()))
    measured = f"int8 at {whole_percent(AT)}: {scores}. The first is ahead of {behind}. {judged(verdict, ORDERED)}"
    return Tested(verdict, measured)


def shown(order: str) -> str:
    """An order as text: prune → repair → int8."""
    return order.replace("-", " → ")


def right_order(gains: Sequence[Estimate]) -> str:
    """Holds where the recommended order gains on at least one other, and loses on none, by MARGIN.

    `gains`: its accuracy minus that of each other order. Where all are equally good the order does not matter, so it
    does not hold.
    """
    gained = [gain.at_least(MARGIN) for gain in gains]
    on_one = True if True in gained else None if None in gained else False
    return together(on_one, *(gain.at_least(-MARGIN) for gain in gains))
