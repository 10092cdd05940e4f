"""Early convolutions: what is lost for good when their channels are cut, and how much they tolerate."""

from __future__ import annotations

import pandas as pd

from reflow_core.diagnosis.calibration import no_training_images
from reflow_core.diagnosis.experiment import Experiment, trace_of
from reflow_core.production.claims import Tested, Trial, claim
from reflow_core.production.claims.intervals import Estimate, judged, lost, lost_by, together
from reflow_core.repairs.fine_tune import PATIENCE, Curve, train_until_flat

RESIDUE = 0.05  # the least that is said to be lost
POINT = 0.01  # a loss that is tolerated
FIRST, CLASSIFIER = 0.1, 0.5  # shares that the first convolution and the classifier are said to tolerate
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
RECOVERY = f"at least {100 * RESIDUE:.0f} points still lost, by the interval, once training is flat"
TOLERANCE = f"a loss of a point at most, by the interval, at {100 * FIRST:.0f} % and at {100 * CLASSIFIER:.0f} %"


@claim("early-channels", "50 % of the early channels lose 5 to 10 points that fine-tuning cannot recover")
def early_channels(trial: Trial) -> Tested:
    """A fine-tune after the cut, on the calibration images, until held-out ones of them are flat."""
    with Experiment.open(trial.cut(0.5, repair="fine-tune"), trial.source, trial.watch) as experiment:
        if len(experiment.images.train) == 0:
            raise no_training_images(experiment.images)
        dense, labels = experiment.dense().predictions.predicted, experiment.labels
        pruned, network = experiment.observe_pruned(experiment.prune())
        curve = train_until_flat(network, experiment.pruner.calibration, trial.watch)
        tuned = experiment.observe(network, "repaired").predictions.predicted
        images = len(experiment.pruner.calibration.inputs)
    before, left = (lost(dense, each, labels) for each in (pruned.predictions.predicted, tuned))
    verdict = cannot_recover(left, flat(curve))
    measured = (
        f"{before} are lost by the cut, {left} still after {len(curve.train)} epochs over {images} training images; "
        f"the loss on those held out went from {curve.held[0]:.3f} to {curve.held[curve.best]:.3f} and "
        f"{'is flat' if flat(curve) else 'still falls'}. {judged(verdict, RECOVERY)}"
    )
    return Tested(verdict, measured, {"Learning curve": as_table(curve)})


def cannot_recover(left: Estimate, is_flat: bool) -> str:
    """Holds where RESIDUE or more is still lost and training no longer helps; does not where less is lost."""
    return together(left.at_least(RESIDUE), True if is_flat else None)


def flat(curve: Curve) -> bool:
    """Whether training ended because the last epochs did not help, not because there were enough of them."""
    return len(curve.train) - curve.best >= PATIENCE


def as_table(curve: Curve) -> pd.DataFrame:
    """The loss by epoch, 0 being the start."""
    rows = {"epoch": range(len(curve.held)), "training": [None, *curve.train], "held out": curve.held}
    return pd.DataFrame(rows).assign(kept=lambda table: table.epoch == curve.best)


@claim("early-tolerance", "Early convolutions tolerate 10 to 20 %, late classifier layers 50 to 70 %", "rule of thumb")
def early_tolerance(trial: Trial) -> Tested:
    """The first convolution and the classifier alone, unrepaired; to tolerate more than is said is no contradiction."""
    layers = trace_of(trial.spec, trial.source).layers
    first, last = layers[0].name, layers[-1].name
    losses = {name: losses_alone(trial, name) for name in (first, last)}
    at_first, at_last = losses[first][FIRST], losses[last][CLASSIFIER]
    verdict = tolerate(at_first, at_last)
    measured = (
        f"{first} loses {at_first} at {100 * FIRST:.0f} %, {last} {at_last} at {100 * CLASSIFIER:.0f} %. At a measured "
        f"loss of a point at most {first} tolerates {percent_of(tolerated(losses[first]))} and {last} "
        f"{percent_of(tolerated(losses[last]))} of the shares tried. {judged(verdict, TOLERANCE)}"
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
    return f"at least {100 * share:.0f} %" if share else "none"
