"""Demo mode: one sentence, three numbers, presets on the keys 1 to 4, readable from the back of a room."""

from __future__ import annotations

import streamlit as st

from pages.ui.portraits import portraits
from pages.ui.stage import diagnosed, stage
from reflow_core.networks.catalog import find
from reflow_core.spec import Spec


def show(spec: Spec) -> None:
    """The signal view alone, large."""
    diagnosis = diagnosed(spec)
    presets = presets_of(spec.model)[: None if diagnosis.repaired is not None else -1]
    asked = st.query_params.get("preset", "")
    number = int(asked) if asked in {str(place + 1) for place in range(len(presets))} else 0
    shown = portraits(diagnosis)
    stage(diagnosis, shown.view(presets, number), shown.around)
    st.caption(f"Keys 1 to {len(presets)}: presets. Arrow keys: sparsity. Esc: back to the whole page.")


def presets_of(model: str) -> list[dict[str, object]]:
    """Little, more and most pruned, then repaired; what that does to this network the verdict says, not the name."""
    down = find(model).collapse_at
    return [
        {"name": "Little pruned", "sparsity": 0.3},
        {"name": "More pruned", "sparsity": round(down - 0.1, 2)},
        {"name": "Most pruned", "sparsity": down},
        {"name": "Repaired", "sparsity": down},
    ]
