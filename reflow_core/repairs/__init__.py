"""Repairs: one function a file, from a pruned network and calibration images to a network that works again."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from reflow_core.diagnosis.calibration import Calibration
from reflow_core.registry import Registry, import_siblings
from reflow_core.watch import Watch


class NotApplicable(Exception):
    """Raised by a repair that cannot help this network; the message is the reason, shown to the person as data."""


# (dense, private copy of the pruned network, calibration, watch) -> what was changed, in one sentence.
# Changes the copy in place and leaves every module in eval mode; the dense network is read only.
Repair = Callable[[nn.Module, nn.Module, Calibration, Watch], str]
repairs: Registry[Repair] = Registry("repair")
import_siblings(__name__, list(__path__))
