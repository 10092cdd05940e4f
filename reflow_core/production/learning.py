"""The learning curve of a repair that trains, as a table."""

from __future__ import annotations

import pandas as pd

from reflow_core.repairs.training import Curve


def as_table(curve: Curve) -> pd.DataFrame:
    """The loss by epoch, 0 being the start; `kept`: the epoch whose network is kept."""
    held = dict(zip(curve.judged, curve.held, strict=True))
    epochs = range(len(curve.train) + 1)
    rows = {"epoch": epochs, "training": [None, *curve.train], "held out": [held.get(epoch) for epoch in epochs]}
    return pd.DataFrame(rows).assign(kept=lambda table: table.epoch == curve.best)
