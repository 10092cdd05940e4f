"""Networks without BatchNorm: they collapse too, and REFLOW has nothing to re-estimate."""

from __future__ import annotations

from reflow_core.numbers import decimal, percent, whole_percent
from reflow_core.production.claims import FAILS, OWN, Tested, Trial, claim
from reflow_core.production.claims.intervals import Estimate, judged, together
from reflow_core.spec import DEFAULTS

MODEL, SPARSITY = "convnext-digits", 0.9
COLLAPSED = 0.5  # of the images, predicted rightly


@claim("layernorm", "Networks without BatchNorm collapse too and have no stored statistics to re-estimate", OWN)
def layernorm(trial: Trial) -> Tested:
    """The shipped LayerNorm network at 90 %: its collapse, and why REFLOW does not apply."""
    data, view = DEFAULTS["data"], DEFAULTS["calibration_view"]
    diagnosis = trial.diagnosis(model=MODEL, data=data, calibration_view=view, sparsity=SPARSITY)
    low, high = diagnosis.pruned.ci95 or (0.0, 1.0)
    pruned, dense = (each.accuracy or 0.0 for each in (diagnosis.pruned, diagnosis.dense))
    verdict = collapses(Estimate(pruned, low, high), diagnosis.repaired is not None)
    measured = (
        f"{MODEL} at {whole_percent(SPARSITY)}: accuracy {percent(pruned)} [{decimal(100 * low, 1)} to "
        f"{decimal(100 * high, 1)}], dense {percent(dense)}. {diagnosis.reason or 'REFLOW applies.'} "
        f"{judged(verdict, f'accuracy below {100 * COLLAPSED:.0f} %, by the interval, and REFLOW does not apply')}"
    )
    return Tested(verdict, measured)


def collapses(pruned: Estimate, reflow_applies: bool) -> str:
    """Holds where the pruned network is right on less than half of the images and REFLOW does not apply to it."""
    return FAILS if reflow_applies else together(pruned.at_most(COLLAPSED))
