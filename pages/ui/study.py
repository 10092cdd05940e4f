"""What pages that compare configurations share: their choice, the work in the background, what does not apply."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.ui.browse import browsing
from pages.ui.contents import FIRST, pages
from pages.ui.controls import set_controls
from pages.ui.findings import ANSWER_HEIGHT, show_answer
from pages.ui.lab import lab
from pages.ui.progress import progress_row
from pages.ui.stage import confirm_cost, errors_shown
from pages.ui.text import literal, sentence
from reflow_core.diagnosis.point import Point, point
from reflow_core.lab.curve import drawn_of_point
from reflow_core.lab.request import Request
from reflow_core.lab.sweep import Sweep, where_curves_bend
from reflow_core.production.finding import Finding
from reflow_core.pruning.criteria import criteria
from reflow_core.pruning.updates import updates
from reflow_core.registry import Registry
from reflow_core.repairs import repairs
from reflow_core.spec import Spec

# The fields that a page of configurations asks for in its own way.
CONFIGURATION = ("criterion", "update", "pattern", "sparsity", "repair")
SEVERAL: dict[str, Registry[Any, Any]] = {"criteria": criteria, "updates": updates, "repairs": repairs}
OFFERED = {name: registry.names() for name, registry in SEVERAL.items()}
POLL_S = 2.0
LONG_STUDY_S = 600.0  # a study that the person has to agree to; a shorter one is drawn as it comes and can be paused
Draw = Callable[[Sweep[Point]], str | Finding | None]
T = TypeVar("T")


def choose_configurations(
    chosen_criteria: Sequence[str], chosen_updates: Sequence[str], chosen_repairs: Sequence[str]
) -> tuple[list[str], list[str], list[str]]:
    """Criteria, updates and repairs to compare, each kept in the URL; the arguments are the defaults."""
    left, middle, right = st.columns([5, 3, 5])
    with left:
        picked_criteria = _several("criteria", chosen_criteria)
    with middle:
        picked_updates = _several("updates", chosen_updates)
    with right:
        picked_repairs = _several("repairs", chosen_repairs)
    if not (picked_criteria and picked_updates and picked_repairs):
        st.info("Choose at least one criterion, one update and one repair.")
        st.stop()
    return picked_criteria, picked_updates, picked_repairs


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


def follow(
    specs: Sequence[Spec],
    draw: Draw,
    key: str = "sweep",
    also: Sweep[Any] | None = None,
    most: float = LONG_STUDY_S,
    answer: DeltaGenerator | None = None,
    previews: bool = False,
) -> Sweep[Point]:
    """Compute the specs in the background and draw what there is, again and again until all is there.

    `key`: one a study on the page. `also`: another sweep that `draw` reads and waits for. `most`: seconds up to which
    nobody is asked. `answer`: where what `draw` returns stands as the page's answer. `previews`: whether points of
    long passes may be previews at first.
    """
    with errors_shown():
        confirm_cost(specs, most)
    study = lab().sweep([Request(spec) for spec in specs], point, where_curves_bend(drawn_of_point), previews)
    watch(study, "diagnoses", draw, key, also, answer)
    return study


def watch(
    study: Sweep[T],
    what: str,
    draw: Callable[[Sweep[T]], str | Finding | None],
    key: str,
    also: Sweep[Any] | None = None,
    answer: DeltaGenerator | None = None,
) -> None:
    """Progress and figures of a sweep over `what`, drawn anew while it runs."""
    polling = _running(study, also)
    st.fragment(_view, run_every=POLL_S if polling else None)(study, what, draw, key, also, answer, polling)


def _running(*sweeps: Sweep[Any] | None) -> bool:
    """Whether any of the sweeps runs; gathers what is done."""
    given = [sweep for sweep in sweeps if sweep is not None]
    for sweep in given:
        sweep.look()
    return any(sweep.running for sweep in given)


def _view(
    study: Sweep[T],
    what: str,
    draw: Callable[[Sweep[T]], str | Finding | None],
    key: str,
    also: Sweep[Any] | None,
    answer: DeltaGenerator | None,
    polling: bool,
) -> None:
    if polling != _running(study, also) and not browsing():
        st.rerun()
    study.look()
    complete = f"All {study.total} {what} are computed and stored; this view opens instantly next time."
    progress_row(study, what, complete, f"{key}-toggle")
    said = draw(study) if study.points else None
    if answer is not None:
        _say(said, answer, f"So far, {study.done} of {study.total} {what}" if study.running else "")
    if not study.points:
        st.caption("The first results are being computed." if study.running else "Nothing could be measured.")
    for problem, count in _problem_counts(study).items():
        st.warning(f"{count} of {study.total} not measured: {sentence(problem)}", icon=":material/info:")


def _say(said: str | Finding | None, answer: DeltaGenerator, so_far: str) -> None:
    """Written in each run, even if nothing is known yet: else Streamlit keeps no place for it."""
    if not said:
        answer.container(height=ANSWER_HEIGHT, border=False)
    elif isinstance(said, Finding):
        with answer.container():
            show_answer(said)
            if so_far:
                st.caption(f"{so_far}.")
    else:
        answer.markdown(f"#### {f'{so_far}: ' if so_far else ''}{literal(said)}")


def _problem_counts(study: Sweep[Any]) -> dict[str, int]:
    problems = [*study.problems.values()]
    points = [point for point in study.points.values() if isinstance(point, Point)]
    problems += [point.reason for point in points if point.reason and point.spec.repair != "none"]
    return {problem: problems.count(problem) for problem in dict.fromkeys(problems)}


def open_on_overview(spec: Spec, layer: str | None = None, own: Collection[str] = CONFIGURATION) -> None:
    """Leave for the Overview with this spec and layer in its controls.

    `own`: the fields that this page has no control for in its sidebar. Only they may be set in the link, which has to
    hold them: a control that is drawn there for the first time says nothing of a value that is handed over.
    """
    link = {name: str(value) for name, value in spec.differences().items() if name in own}
    set_controls(spec, layer=layer or "auto")
    st.switch_page(pages()[FIRST].path, query_params=link | ({"layer": layer} if layer else {}))
