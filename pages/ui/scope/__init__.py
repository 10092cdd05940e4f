"""The signal scope as a Streamlit component: one slider, and the panels that follow it without the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

from reflow_core.diagnosis.fields import unused_fields
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.verdict import AMPLIFIED
from reflow_core.lab.sweep import pack
from reflow_core.repairs import repairs

HERE = Path(__file__).parent
KEY = "scope"
# What each view shows below the cards, and the class in the scripts that draws it.
VIEWS = {
    "Scope": ("panels.html", ["save.js", "scope.js"]),
    "Signal": ("signal.html", ["save.js", "scope.js", "signal.js"]),
}


@dataclass(frozen=True)
class View:
    """How a diagnosis is drawn. `name`: one of VIEWS. `more`: what that view draws besides. `still`: the slider rests.

    `presets`: of the demo mode, none elsewhere; `preset`: the number of the one chosen, 0 for none.
    """

    name: str = "Scope"
    more: Mapping[str, Any] = field(default_factory=dict)
    still: bool = False
    presets: Sequence[Mapping[str, Any]] = ()
    preset: int = 0


PLAIN = View()


@st.cache_resource
def _component(view: str) -> Callable[..., Any]:
    panels, scripts = VIEWS[view]
    html = (HERE / "scope.html").read_text().replace("<!--panels-->", (HERE / panels).read_text())
    js = "\n".join([*((HERE / name).read_text() for name in scripts), f"export default mount({view});"])
    return st.components.v2.component(f"reflow_{view.lower()}", html=html, css=(HERE / "scope.css").read_text(), js=js)


def scope(diagnosis: Diagnosis, points: Sequence[Mapping[str, Any]], layer: str | None, view: View = PLAIN) -> None:
    """Draw a diagnosis and the sweep around it. A released slider and a clicked layer go into the page's controls.

    Where a pattern fixes the sparsity, the slider stands still at the one reached.
    """
    fixed = "sparsity" in unused_fields(diagnosis.spec)
    value = round(diagnosis.sparsity, 4) if fixed else diagnosis.spec.sparsity
    _component(view.name)(
        key=KEY,
        data={
            "value": value,
            "fixed": fixed or view.still,
            "exact": pack(diagnosis) | {"sparsity": value},
            "points": list(points),
            "layers": [row.name for row in diagnosis.layers],
            "layer": layer,
            "classes": list(diagnosis.classes),
            "measure": "accuracy" if diagnosis.labels is not None else "agreement with dense",
            "n": len(diagnosis.predictions["dense"].predicted),
            "control": None if diagnosis.control is None else diagnosis.control.score,
            "probed": diagnosis.probed,
            "amplified": AMPLIFIED,
            "repair": repairs[diagnosis.spec.repair].info.title if diagnosis.repaired else "Repaired",
            "repaired": diagnosis.repaired is not None,
            "reason": diagnosis.reason or "",
            "demo": bool(view.presets),
            "presets": list(view.presets),
            "preset": view.preset,
            **view.more,
        },
        on_sparsity_change=lambda: _adopt("sparsity"),
        on_layer_change=lambda: _adopt("layer"),
        on_image_change=lambda: _adopt("image"),
        on_preset_change=lambda: _recall(view.presets),
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
