"""Stages: a high sparsity reached a little at a time, the weights repaired and chosen anew on the way.

Zhu and Gupta, arXiv 1710.01878, prune gradually while training; here a repair without labels stands between two stages.
"""

from __future__ import annotations

from reflow_core.repairs import Calibration, repairs
from reflow_core.spec import STAGED, Spec

SCHEDULE = (0.6, 0.72, 0.8, 0.86, 0.9, 0.93, 0.95, 0.965, 0.975, 0.9825)  # about 0.7 of what is left, each time


def stages_before(sparsity: float) -> tuple[float, ...]:
    """The sparsities of SCHEDULE that come before this one."""
    return tuple(stage for stage in SCHEDULE if stage < sparsity)


def earlier_stages(spec: Spec) -> tuple[float, ...]:
    """The sparsities to which a spec prunes and repairs before its own."""
    return stages_before(spec.sparsity) if spec.stages == STAGED else ()


def repair_between(spec: Spec) -> str:
    """The repair that stands between two stages of a spec. Raises ReflowError for one that is not registered."""
    return repairs[spec.repair].info.between or spec.repair


def fitted_between(spec: Spec, calibration: Calibration) -> Calibration:
    """The calibration set that the repairs between two stages fit: all but what the last repair holds out."""
    count = repairs[spec.repair].info.holds_out
    return calibration.parted(count)[1] if count else calibration
