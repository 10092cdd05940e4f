"""Demo mode: one sentence, three numbers, presets on the number keys, readable from the back of a room."""

from __future__ import annotations

import streamlit as st

from pages.ui.portraits import portraits
from pages.ui.stage import diagnosed, stage
from reflow_core.networks.catalog import find
from reflow_core.spec import Spec


def show(spec: Spec) -> None:
    """The signal view alone, large."""
    diagnosis = diagnosed(spec)
    presets = presets_of(spec.model, diagnosis.repaired is not None)
    asked = st.query_params.get("preset", "")
    number = int(asked) if asked in {str(place + 1) for place in range(len(presets))} else 0
    shown = portraits(diagnosis)
    stage(diagnosis, shown.view(presets=presets, preset=number), shown.around)
    st.caption(f"Keys 1 to {len(presets)}: presets. Arrow keys: sparsity. Esc: back to the full page.")


def presets_of(model: str, repaired: bool) -> list[dict[str, object]]:
    """Little, more and most pruned; then repaired, and pruned beyond repair. Where no repair applies, the first three.

    What that does to this network the verdict says, not the name. `covered`: the repair is not shown yet.
    """
    down = find(model).collapse_at
    before = [("Lightly pruned", 0.3), ("Pruned further", round(down - 0.1, 2)), ("Heavily pruned", down)]
    after = [("Repaired", down), ("Beyond repair", max(0.95, down))] if repaired else []
    return [
        {"name": name, "sparsity": sparsity, "covered": repaired and covered}
        for covered, presets in ((True, before), (False, after))
        for name, sparsity in presets
    ]
