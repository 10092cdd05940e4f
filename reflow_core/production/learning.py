"""The learning curve of a repair that trains, as a table."""

from __future__ import annotations

import pandas as pd

from reflow_core.repairs.training import Curve


def as_table(curve: Curve) -> pd.DataFrame:
    """The loss by epoch, 0 being the start; `kept`: the epoch whose network is kept."""
    rows = {"epoch": range(len(curve.held)), "training": [None, *curve.train], "held out": curve.held}
    return pd.DataFrame(rows).assign(kept=lambda table: table.epoch == curve.best)
