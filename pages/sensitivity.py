"""Sensitivity: prune each layer alone, see which ones cannot lose much, and make a budget of it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from pages.ui.controls import controls
from pages.ui.findings import answer_place, show_answer, take_away
from pages.ui.lab import lab
from pages.ui.panels import chart
from pages.ui.session import session
from pages.ui.stage import LONG_S, errors_shown, minutes, require_local
from pages.ui.study import follow, open_on_overview
from reflow_core.diagnosis.point import Point, point
from reflow_core.lab.request import Request
from reflow_core.lab.sweep import Sweep, coarse_first
from reflow_core.numbers import in_points, percent, sparsity_of
from reflow_core.present.figures import sensitivity as pictures
from reflow_core.present.snippets import ranking
from reflow_core.production import sensitivity
from reflow_core.production.finding import Finding
from reflow_core.pruning.patterns import CHANNEL, UNSTRUCTURED
from reflow_core.spec import Spec

OWN = ("pattern", "sparsity", "allocation", "layer_sparsity", "stages")
PRUNED = {"weights": UNSTRUCTURED, "whole channels": CHANNEL}
VARIANTS = ("pruned", "repaired")
AUTO = "auto"  # the layers are ranked where something happens


def agreed(specs: Sequence[Spec]) -> bool:
    """Whether the whole profile was asked for."""
    return frozenset(specs) in session().agreed


def offer_refinement(specs: Sequence[Spec]) -> None:
    """The whole profile, with its price."""
    seconds = len(specs) * lab().preflight(specs[0]).seconds
    label = f"Measure the full profile: {len(specs)} diagnoses, about {minutes(seconds)}"
    if st.button(label, icon=":material/tune:", type="primary"):
        session().agreed.add(frozenset(specs))
        st.rerun()


base = controls(without=OWN, own={"prune": tuple(PRUNED), "variant": VARIANTS})
require_local(base)
answer = answer_place()
left, middle, right = st.columns([3, 3, 2])
with left:
    what = st.segmented_control(
        "Prune",
        list(PRUNED),
        default="weights",
        required=True,
        help="Prune single weights, or whole output channels with their bias and the scale and shift of their norm.",
        key="prune",
        bind="query-params",
    )
with middle:
    variant = st.segmented_control(
        "Show",
        VARIANTS,
        default="pruned",
        required=True,
        help="Show the loss before or after the repair.",
        key="variant",
        bind="query-params",
    )
base = base.replace(pattern=PRUNED[what])
with errors_shown():
    layers = lab().layers(base)
    coarse_base = sensitivity.first_look(base)
    coarse = sensitivity.alone(coarse_base, layers, sensitivity.COARSE)
    whole = sensitivity.alone(base, layers, coarse_first(sensitivity.CURVE))
    refined = agreed(whole) or all(lab().known(spec) for spec in whole)
measured_base, specs = (base, whole) if refined else (coarse_base, coarse)
with right:
    share = st.selectbox(
        "Rank at",
        [AUTO, *(sensitivity.CURVE if refined else sensitivity.COARSE)],
        format_func=lambda value: "automatic" if value == AUTO else f"{sparsity_of(value)}",
        help="Sparsity at which layers are ranked; automatic is the lowest at which a quarter of the layers lose more "
        f"than {100 * sensitivity.NOTICED:g} points.",
        key="share",
    )


def draw(study: Sweep[Point]) -> Finding:
    """The answer, which stands above, layer × sparsity, and depth."""
    rows = sensitivity.profile(study.by_spec, layers)
    finding = sensitivity.finding(measured_base, rows, None if share == AUTO else float(share))
    at = float(finding.facts.get("share", sensitivity.COARSE[0] if share == AUTO else share))
    shown = variant if rows.loss_repaired.notna().any() else "pruned"
    chart(pictures.heatmap(rows, shown), "sensitivity-heat", "Loss by layer and sparsity", heading=False)
    chart(pictures.depths(rows, at), "sensitivity-depth", "Early vs. late layers")
    take_away(finding, "sensitivity", {"curve": True, "share": at}, ranking(measured_base, at))
    return finding


first = lab().sweep([Request(spec) for spec in coarse], point)
profiled = follow(specs, draw, "profile", most=LONG_S, answer=answer)
if not refined and profiled.share == 1:
    with errors_shown():
        offer_refinement(whole)
st.subheader("Pruning budget", anchor=False)
source = profiled if profiled.share == 1 else first
if source.share < 1:
    st.caption("After a first look at every layer, a budget shows how much to prune each layer.")
    st.stop()
profile = sensitivity.profile(source.by_spec, layers)
if source is not profiled or not refined:
    st.caption(
        f"From a first look: {len(sensitivity.COARSE)} sparsities per layer, {coarse_base.evaluation_images} "
        "images. The full profile refines it."
    )
target = st.slider(
    "Sparsity to reach (%)",
    5,
    95,
    90,
    5,
    help="Sparsity over all weights; the budget prunes where it costs least, and the expected loss is the sum of the "
    "single-layer losses.",
    key="target",
    bind="query-params",
)
with errors_shown():
    budget = sensitivity.budget(profile, target / 100)
edited = st.data_editor(
    pictures.shares(profile, budget),
    disabled=["layer", "weights", "multiply_adds"],
    hide_index=True,
    column_config={
        "sparsity": st.column_config.NumberColumn("sparsity (%)", min_value=0.0, max_value=99.0, format="%.1f"),
        "multiply_adds": st.column_config.NumberColumn("multiply-adds"),
    },
    key=f"budget-{target}-{source is first}",
    height=260,
)
chosen = {str(row.layer): round(float(row.sparsity) / 100, 4) for row in edited.itertuples()}
reached = sensitivity.reached(profile, chosen)
st.caption(
    f"You can edit the last column. It now removes {percent(reached)} of the weights, at an expected loss of "
    f"{in_points(sensitivity.expected_loss(profile, chosen))} of fidelity."
)
rivals = sensitivity.rivals(base, round(reached, 4), chosen)
if st.button("Open on the Overview", icon=":material/open_in_new:"):
    open_on_overview(rivals["budget"], own=OWN)


def draw_rivals(study: Sweep[Point]) -> None:
    """The budget beside the usual allocations."""
    finding = sensitivity.compared(base, round(reached, 4), rivals, study.by_spec)
    show_answer(finding)
    if finding.tables:
        chart(
            pictures.scored(finding.tables["Allocations"], "allocation", finding.answer),
            "rivals",
            "Allocations",
            heading=False,
        )
    take_away(finding, "sensitivity", {"budget": round(reached, 4)})


follow(list(dict.fromkeys(rivals.values())), draw_rivals, "rivals")
st.subheader("Fine-tuning after cutting channels", anchor=False)
st.caption(
    "Half of the channels are cut in the first third of the convolutions and, for comparison, in the last third. "
    "The repair is none, REFLOW, or training on the calibration images until the held-out loss is flat."
)
cuts = sensitivity.cuts(base, layers)


def draw_cuts(study: Sweep[Point]) -> None:
    """What is still lost after each repair."""
    finding = sensitivity.recovered(base, cuts, study.by_spec)
    show_answer(finding)
    if not finding.tables["Cuts"].empty:
        chart(pictures.cuts(finding.tables["Cuts"], finding.answer), "cuts", "Cut and repaired", heading=False)
    take_away(finding, "sensitivity", {"fine-tune": True})


if st.toggle(
    "Cut and train",
    help=f"{len(set(cuts.values()))} networks; those with the repair fine-tune are trained.",
    key="cut",
    bind="query-params",
):
    follow(list(dict.fromkeys(cuts.values())), draw_cuts, "cuts")
