"""The signal scope as a Streamlit component: one slider, and every panel that follows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from reflow_core.diagnose import idle
from reflow_core.repairs import repairs
from reflow_core.result import Diagnosis
from reflow_core.sweep import pack

HERE = Path(__file__).parent
KEY = "scope"


@st.cache_resource
def _component() -> Callable[..., Any]:
    html, css, js = ((HERE / f"scope.{kind}").read_text() for kind in ("html", "css", "js"))
    return st.components.v2.component("reflow_scope", html=html, css=css, js=js)


def scope(
    found: Diagnosis,
    points: Sequence[Mapping[str, Any]],
    layer: str | None,
    presets: Sequence[Mapping[str, Any]] = (),
    preset: int = 0,
) -> None:
    """Draw a diagnosis and the sweep around it. A released slider and a clicked layer go into the page's controls.

    Where a pattern fixes the sparsity, the slider stands still at the one reached.
    """
    fixed = "sparsity" in idle(found.spec)
    value = round(found.sparsity, 4) if fixed else found.spec.sparsity
    _component()(
        key=KEY,
        data={
            "value": value,
            "fixed": fixed,
            "exact": pack(found) | {"sparsity": value},
            "points": list(points),
            "layers": [row.name for row in found.layers],
            "layer": layer,
            "classes": list(found.classes),
            "measure": "accuracy" if found.labels is not None else "agreement with dense",
            "n": len(found.answers["dense"].predicted),
            "probed": found.probed,
            "repair": repairs[found.spec.repair].info.title if found.repaired else "Repaired",
            "reason": found.reason or "",
            "demo": bool(presets),
            "presets": list(presets),
            "preset": preset,
        },
        on_sparsity_change=lambda: _adopt("sparsity"),
        on_layer_change=lambda: _adopt("layer"),
        on_preset_change=lambda: _recall(presets),
        on_leave_change=lambda: st.query_params.pop("demo", None),
    )


def _adopt(name: str) -> None:
    """A value of the scope becomes the value of the control of that name."""
    value = getattr(st.session_state[KEY], name)
    if value is not None:
        st.session_state[name] = value


def _recall(presets: Sequence[Mapping[str, Any]]) -> None:
    number = st.session_state[KEY].preset
    st.session_state["sparsity"] = presets[number - 1]["sparsity"]
    st.query_params["preset"] = str(number)
