"""No repair: the pruned network as it is."""

from __future__ import annotations

from torch import nn

from reflow_core.errors import NotApplicable
from reflow_core.repairs import Calibration, RepairInfo, repairs
from reflow_core.watch import Watch


@repairs.register(RepairInfo("none", "None", "Leave the pruned network as it is.", "", any_width=True))
def none(dense: nn.Module, pruned: nn.Module, calibration: Calibration, watch: Watch) -> str:
    """Raises NotApplicable always: no repair was asked for."""
    raise NotApplicable("No repair was chosen.")
