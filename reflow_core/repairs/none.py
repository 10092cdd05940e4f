"""No repair: the pruned network as it is."""

from __future__ import annotations

from torch import nn

from reflow_core.diagnosis.calibration import Calibration
from reflow_core.registry import Info
from reflow_core.repairs import NotApplicable, repairs
from reflow_core.watch import Watch


@repairs.register(Info("none", "None", "Leave the pruned network as it is.", "", any_width=True))
def none(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> str:
    """Raises NotApplicable always: no repair was asked for."""
    raise NotApplicable("No repair was chosen.")
