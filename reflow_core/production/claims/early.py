"""The first convolution and the classifier: how much of each can go."""

from __future__ import annotations

from reflow_core.diagnosis.experiment import trace_of
from reflow_core.numbers import whole_percent
from reflow_core.production.claims import Tested, Trial, claim
from reflow_core.production.claims.intervals import Estimate, judged, lost_by, together

POINT = 0.01  # a loss that is tolerated
FIRST, CLASSIFIER = 0.1, 0.5  # shares that the first convolution and the classifier are said to tolerate
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
TOLERANCE = (
    f"a loss of at most one point, by the interval, at {whole_percent(FIRST)} and at {whole_percent(CLASSIFIER)}"
)


@claim("early-tolerance", "Early convolutions tolerate 10 to 20 %, late classifier layers 50 to 70 %", "rule of thumb")
def early_tolerance(trial: Trial) -> Tested:
    """The first convolution and the classifier alone, unrepaired; to tolerate more than is said is no contradiction."""
    layers = trace_of(trial.spec, trial.source).layers
    first, last = layers[0].name, layers[-1].name
    losses = {name: losses_alone(trial, name) for name in (first, last)}
    at_first, at_last = losses[first][FIRST], losses[last][CLASSIFIER]
    verdict = tolerate(at_first, at_last)
    measured = (
        f"{first} loses {at_first} at {whole_percent(FIRST)}, {last} {at_last} at {whole_percent(CLASSIFIER)}. "
        f"With a measured loss of at most one point, {first} tolerates {percent_of(tolerated(losses[first]))} and "
        f"{last} {percent_of(tolerated(losses[last]))} of the sparsities tried. {judged(verdict, TOLERANCE)}"
    )
    return Tested(verdict, measured)


def tolerate(first: Estimate, classifier: Estimate) -> str:
    """Holds where both losses, at the least share that each is said to tolerate, are a point at most."""
    return together(first.at_most(POINT), classifier.at_most(POINT))


def losses_alone(trial: Trial, layer: str) -> dict[float, Estimate]:
    """What pruning one layer alone loses, by share."""
    losses = {}
    for share in SHARES:
        alone = {"sparsity": 0.0, "layer_sparsity": f"{layer}:{share:g}"}
        losses[share] = lost_by(trial.diagnosis(allocation="custom", repair="none", **alone), "pruned")
    return losses


def tolerated(losses: dict[float, Estimate]) -> float:
    """The largest share up to which the measured loss is a point at most; 0 without one."""
    most = 0.0
    for share, loss in losses.items():
        if loss.value > POINT:
            break
        most = share
    return most


def percent_of(share: float) -> str:
    """A share as text: at least 90 %."""
    return f"at least {whole_percent(share)}" if share else "none"
