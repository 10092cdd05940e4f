"""The signal scope as a Streamlit component: one slider, and the panels that follow it without the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import streamlit as st

from pages.ui.binding import put_in_link
from pages.ui.session import session
from reflow_core.diagnosis.fields import BUDGET, is_total, sparsity_fixed
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.verdict import AMPLIFIED
from reflow_core.lab.sweep import pack
from reflow_core.present.file_name import amount, beginning
from reflow_core.repairs import repairs
from reflow_core.spec import Spec

HERE = Path(__file__).parent
KEY, NAME = "scope", "reflow_scope"
VIEWS = ("panels", "stream", "features")  # what may stand below the cards
SCRIPTS = ("save.js", "scope.js", "signal.js")


@dataclass(frozen=True)
class View:
    """How a diagnosis is drawn. `names`: some of VIEWS. `more`: what these draw besides. `still`: the slider rests.

    `presets`: of the demo mode, none elsewhere; `preset`: the number of the one chosen, 0 for none.
    """

    names: Sequence[str] = VIEWS[:1]
    more: Mapping[str, Any] = field(default_factory=dict)
    still: bool = False
    presets: Sequence[Mapping[str, Any]] = ()
    preset: int = 0


PLAIN = View()


@st.cache_resource
def _component() -> Callable[..., Any]:
    html, css = ((HERE / f"scope.{kind}").read_text() for kind in ("html", "css"))
    js = "\n".join([*((HERE / name).read_text() for name in SCRIPTS), "export default mount(Signal);"])
    return st.components.v2.component(NAME, html=html, css=css, js=js)


def scope(
    diagnosis: Diagnosis,
    points: Sequence[Mapping[str, Any]],
    layer: str | None,
    view: View = PLAIN,
    moved: Spec | None = None,
    asked: float | None = None,
) -> None:
    """Draw a diagnosis and the sweep around it. A released slider and a clicked layer go into the page's controls.

    `asked`: the sparsity that is still being computed, where the diagnosis is of another: the slider stands there, and
    what is drawn is marked as the nearest that is known.

    The slider shows the sparsity of all weights together; where a pattern fixes it, it stands still. `moved`: the spec
    whose sparsity it sets, where that is not the diagnosis's own.
    """
    fixed, spec = sparsity_fixed(diagnosis.spec), diagnosis.spec
    value = spec.sparsity if is_total(spec) else round(diagnosis.sparsity, 4)
    exact = pack(diagnosis) | {"sparsity": value}
    scaled = {} if moved is None else {name: getattr(moved, name) for name in BUDGET[1:]}
    data = {
        "value": value if asked is None else asked,
        "views": list(view.names),
        "fixed": fixed or view.still,
        "exact": exact if asked is None else None,
        "points": list(points) or [exact],
        "layers": [row.name for row in diagnosis.layers],
        "layer": layer,
        "classes": list(diagnosis.classes),
        "measure": "accuracy" if diagnosis.labels is not None else "agreement with dense",
        "n": len(diagnosis.predictions["dense"].predicted),
        "own": diagnosis.images_effective_classes,
        "control": None if diagnosis.control is None else diagnosis.control.score,
        "probed": diagnosis.probed,
        "amplified": AMPLIFIED,
        "repair": repairs[diagnosis.spec.repair].info.title if diagnosis.repaired else "Repaired",
        "repaired": diagnosis.repaired is not None,
        "reason": diagnosis.reason or "",
        "file": ["-".join(beginning(spec)), amount(spec) if fixed else "", spec.repair],
        "demo": bool(view.presets),
        "presets": list(view.presets),
        "preset": view.preset,
        **view.more,
    }
    _component()(
        key=KEY,
        data=_dated(data),
        on_sparsity_change=lambda: _adopt("sparsity", scaled),
        on_layer_change=lambda: put_in_link(_adopt("layer")),
        on_image_change=lambda: put_in_link(_adopt("image")),
        on_preset_change=lambda: _recall(view.presets, scaled),
        on_leave_change=lambda: st.query_params.pop("demo", None),
    )


def _dated(data: dict[str, Any]) -> dict[str, Any]:
    """With the time since when this is what the scope shows: a busy browser may be handed two drawings in any order."""
    before = session().scope
    at = before["at"] if before is not None and {**before, "at": 0} == {**data, "at": 0} else round(1000 * time.time())
    session().scope = dated = {**data, "at": at}
    return dated


def _adopt(name: str, also: Mapping[str, object] = MappingProxyType({})) -> dict[str, object]:
    """A value of the scope becomes the value of the control of that name; `also`: those that go with it.

    Returns it by name. A control below the scope is not drawn in a run that is still computing, and in a later one
    Streamlit does not tell the link.
    """
    change = getattr(st.session_state[KEY], name)
    if not (isinstance(change, Mapping) and change.get("value") is not None):
        return {}
    st.session_state.update({name: change["value"], **also})
    return {name: change["value"]}


def _recall(presets: Sequence[Mapping[str, Any]], also: Mapping[str, object]) -> None:
    number = st.session_state[KEY].preset
    st.session_state.update({"sparsity": presets[number - 1]["sparsity"], **also})
    st.query_params["preset"] = str(number)
