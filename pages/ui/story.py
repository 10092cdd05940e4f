"""The story's five steps: where each sets the controls, and what it says about the diagnosis found there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from reflow_core.models.catalogue import find
from reflow_core.result import Diagnosis
from reflow_core.spec import DEFAULTS
from reflow_core.verdict import percent, weak_layer

AT = "_story_at"


@dataclass(frozen=True)
class Step:
    """`sparsity` and `repair` are set when the step is entered; `text` is a pure function of what is found there."""

    title: str
    sparsity: Callable[[float], float]
    repair: str
    text: Callable[[Diagnosis], str]


def _works(found: Diagnosis) -> str:
    return (
        f"This is a real network, trained on real images. Nothing is pruned yet: it answers "
        f"{percent(found.dense.accuracy)} of {found.dense.n} held-out images correctly; its answers are spread over "
        f"{found.dense.effective_classes:.1f} of {len(found.classes)} classes. Each dot below is a layer; "
        "a ratio of 1 means that as much signal passes as in the dense network."
    )


def _slack(found: Diagnosis) -> str:
    return (
        f"Half of all weights are gone, {found.sparsity * found.weights:,.0f} of {found.weights:,}, the smallest ones "
        f"first. The accuracy is {percent(found.pruned.accuracy)}. Most weights were not needed. "
        "But look at the last layers: their variance has begun to fall."
    )


def _fades(found: Diagnosis) -> str:
    weak = weak_layer(found)
    where = "" if weak is None else f" At {weak.name} only {weak.variance_ratio('pruned'):.2g} of the variance is left."
    return (
        "Every pruned layer passes on a little less variance than it should, and the next layer starts from less: "
        f"the loss multiplies through the depth.{where} BatchNorm still divides by the deviation that it stored during "
        f"training, which is now far too large. The accuracy is down to {percent(found.pruned.accuracy)}."
    )


def _collapses(found: Diagnosis) -> str:
    told = "" if found.pruned.separability is None else (
        f" And yet a simple nearest-mean rule on its last features would still tell "
        f"{percent(found.pruned.separability)} of the images apart: the knowledge is there, the signal is too faint."
    )  # fmt: skip
    return (
        f"{100 * found.pruned.top_share:.0f} % of all images get the same answer, "
        f"“{found.classes[found.pruned.top_class]}”. "
        f"The network no longer looks at its input: signal collapse.{told}"
    )


def _rescued(found: Diagnosis) -> str:
    if found.repaired is None:
        return f"On this network REFLOW does not apply. {found.reason}"
    return (
        f"REFLOW shows the pruned network {found.spec.calibration_images} training images and stores the means and "
        f"variances that its BatchNorm layers see *now*. No weight is touched, no label is used. "
        f"The accuracy goes from {percent(found.pruned.accuracy)} to {percent(found.repaired.accuracy)}; "
        f"dense had {percent(found.dense.accuracy)}. Drag the slider to find where even that fails."
    )


STEPS = (
    Step("A network that works", lambda down: 0.0, "none", _works),
    Step("Half the weights are gone", lambda down: 0.5, "none", _slack),
    Step("The signal fades, layer by layer", lambda down: down - 0.05, "none", _fades),
    Step("Collapse: one answer for everything", lambda down: down, "none", _collapses),
    Step("REFLOW brings it back", lambda down: down, "reflow", _rescued),
)
NUMBERS = tuple(str(number + 1) for number in range(len(STEPS)))


def current() -> int:
    """The step of the link, 1 to 5."""
    asked = st.query_params.get("step", "1")
    return int(asked) if asked in NUMBERS else 1


def set_controls(step: int) -> None:
    """Entering a step sets the real controls; afterwards they are the person's."""
    if st.session_state.get(AT) == step:
        return
    first = AT not in st.session_state
    st.session_state[AT] = step
    if first and {"sparsity", "repair"} & set(st.query_params):
        return  # a copied link opens the view it was copied from
    model = st.session_state.get("model") or st.query_params.get("model") or str(DEFAULTS["model"])
    down = find(model).collapse_at
    st.session_state["sparsity"] = round(STEPS[step - 1].sparsity(down), 2)
    st.session_state["repair"] = STEPS[step - 1].repair


def tell(step: int, found: Diagnosis) -> None:
    """Title, text and the way on."""
    st.caption(f"Step {step} of {len(STEPS)}")
    st.header(STEPS[step - 1].title, anchor=False)
    st.markdown(STEPS[step - 1].text(found))
    back, forth, _ = st.columns([1, 1, 3])
    back.button("Back", on_click=_go, args=(step - 1,), disabled=step == 1, key="back", width="stretch")
    last = step == len(STEPS)
    forth.button("Next", on_click=_go, args=(step + 1,), disabled=last, key="next", type="primary", width="stretch")
    if last:
        st.page_link("pages/collapse.py", label="Explore it yourself on the Collapse page", icon=":material/explore:")


def _go(step: int) -> None:
    st.query_params["step"] = str(step)
