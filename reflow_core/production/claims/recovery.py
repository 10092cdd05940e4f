"""Early channels: whether what is lost when they are cut comes back by training."""

from __future__ import annotations

from reflow_core.diagnosis.calibration import no_training_images
from reflow_core.diagnosis.experiment import Experiment
from reflow_core.production.claims import Tested, Trial, claim
from reflow_core.production.claims.intervals import MORE_IMAGES, Estimate, judged, lost, together
from reflow_core.production.learning import as_table
from reflow_core.repairs.fine_tune import PATIENCE, train_until_flat
from reflow_core.repairs.training import Curve

RESIDUE = 0.05  # the least that is said to be lost
RECOVERY = f"at least {100 * RESIDUE:.0f} points still lost, by the interval, once the training curve is flat"


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
    needs = MORE_IMAGES if flat(curve) else " Training had not converged; more epochs are needed to decide."
    measured = (
        f"The cut loses {before}; {left} remain after {len(curve.train)} epochs over {images} training images; "
        f"the held-out loss went from {curve.held[0]:.3f} to {curve.kept:.3f} and "
        f"{'is flat' if flat(curve) else 'is still falling'}. {judged(verdict, RECOVERY, needs)}"
    )
    return Tested(verdict, measured, {"Learning curve": as_table(curve)})


def cannot_recover(left: Estimate, is_flat: bool) -> str:
    """Holds where RESIDUE or more is still lost and training no longer helps; does not where less is lost."""
    return together(left.at_least(RESIDUE), True if is_flat else None)


def flat(curve: Curve) -> bool:
    """Whether training ended because the last epochs did not help, not because there were enough of them."""
    return len(curve.train) - curve.best >= PATIENCE
