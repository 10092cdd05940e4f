"""What pages that compare configurations share: their choice, the work in the background, what does not apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import streamlit as st

from pages.ui.browse import browsing
from pages.ui.lab import lab
from pages.ui.progress import progress_row
from pages.ui.session import session
from pages.ui.stage import agree, sentence
from reflow_core.diagnosis.point import Point, point
from reflow_core.lab.request import Request
from reflow_core.lab.sweep import Sweep
from reflow_core.pruning.criteria import criteria
from reflow_core.pruning.updates import updates
from reflow_core.registry import Registry
from reflow_core.repairs import repairs
from reflow_core.spec import Spec

CONFIGURATION = (
    "criterion",
    "update",
    "pattern",
    "sparsity",
    "repair",
)  # what a page of configurations asks for in its own way
SEVERAL: dict[str, Registry[Any, Any]] = {"criteria": criteria, "updates": updates, "repairs": repairs}
OFFERED = {name: registry.names() for name, registry in SEVERAL.items()}
POLL_S = 2.0
LONG_STUDY_S = 600.0  # a study that is asked for first; a shorter one draws as it comes and can be paused
Draw = Callable[[Sweep[Point]], None]
T = TypeVar("T")


def choose_configurations(
    chosen_criteria: Sequence[str], chosen_updates: Sequence[str], chosen_repairs: Sequence[str]
) -> tuple[list[str], list[str], list[str]]:
    """Criteria, updates and repairs to compare, each kept in the URL; the arguments are the defaults."""
    left, middle, right = st.columns([5, 3, 5])
    with left:
        selections = _several("criteria", chosen_criteria)
    with middle:
        refits = _several("updates", chosen_updates)
    with right:
        mends = _several("repairs", chosen_repairs)
    if not (selections and refits and mends):
        st.info("Choose at least one criterion, one update and one repair.")
        st.stop()
    return selections, refits, mends


def _several(key: str, default: Sequence[str]) -> list[str]:
    registry = SEVERAL[key]
    notes = "  \n".join(f"**{info.title}** ({info.name}): {info.summary} {info.paper}" for info in registry)
    return st.multiselect(
        key.capitalize(),
        registry.names(),
        default=list(default),
        help=notes,
        key=key,
        bind="query-params",
        placeholder="none",
        wrap=True,
    )


def follow(specs: Sequence[Spec], draw: Draw, key: str = "sweep", also: Sweep[Any] | None = None) -> Sweep[Point]:
    """Compute the specs in the background and draw what there is, again and again until all is there.

    `key`: one a study on the page. `also`: another sweep that `draw` reads and waits for.
    """
    with sentence():
        agree(specs, most=LONG_STUDY_S)
    study = lab().sweep([Request(spec) for spec in specs], point)
    watch(study, "diagnoses", draw, key, also)
    return study


def watch(
    study: Sweep[T], what: str, draw: Callable[[Sweep[T]], None], key: str, also: Sweep[Any] | None = None
) -> None:
    """Progress and figures of a sweep over `what`, drawn anew while it runs."""
    polling = _running(study, also)
    st.fragment(_view, run_every=POLL_S if polling else None)(study, what, draw, key, also, polling)


def _running(*sweeps: Sweep[Any] | None) -> bool:
    """Whether any of the sweeps runs; gathers what is done."""
    there = [sweep for sweep in sweeps if sweep is not None]
    for sweep in there:
        sweep.look()
    return any(sweep.running for sweep in there)


def _view(
    study: Sweep[T],
    what: str,
    draw: Callable[[Sweep[T]], None],
    key: str,
    also: Sweep[Any] | None,
    polling: bool,
) -> None:
    if polling != _running(study, also) and not browsing():
        st.rerun()
    study.look()
    kept = f"All {study.total} {what} are computed; they are kept, so this view opens at once next time."
    progress_row(study, what, kept, f"{key}-toggle")
    if study.points:
        draw(study)
    else:
        st.caption("The first points are being computed." if study.running else "No point could be measured.")
    for problem, count in _counted(study).items():
        st.warning(f"{count} of {study.total} not measured: {problem}", icon=":material/info:")


def _counted(study: Sweep[Any]) -> dict[str, int]:
    told = [*study.problems.values()]
    points = [each for each in study.points.values() if isinstance(each, Point)]
    told += [each.reason for each in points if each.reason and each.spec.repair != "none"]
    return {problem: told.count(problem) for problem in dict.fromkeys(told)}


def open_on_collapse(spec: Spec, layer: str | None = None) -> None:
    """Leave for the Collapse page with this spec and layer in its controls.

    What widgets of this page are bound to may not be set in the URL, so that part is handed over in the session.
    """
    wanted = {name: str(value) for name, value in spec.differences().items()} | ({"layer": layer} if layer else {})
    session().handed_over = {**spec.to_dict(), "layer": layer or "auto"}
    st.switch_page(
        "pages/collapse.py", query_params={name: wanted[name] for name in (*CONFIGURATION, "layer") if name in wanted}
    )
