"""From a spec to its diagnosis on the page: the download it may need, the sweep around it, the scope above all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import streamlit as st

from pages.ui.binding import shown_by
from pages.ui.browse import browsing
from pages.ui.controls import unknown_in_link
from pages.ui.lab import lab
from pages.ui.progress import progress_row
from pages.ui.scope import PLAIN, View, scope
from pages.ui.session import session
from pages.ui.text import literal, sentence
from reflow_core.diagnosis.control import doubt_of
from reflow_core.diagnosis.fields import sparsity_fixed
from reflow_core.diagnosis.preflight import Preflight
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.verdict import verdict
from reflow_core.errors import ReflowError
from reflow_core.lab.request import Request
from reflow_core.lab.sweep import Sweep
from reflow_core.machine import free_memory
from reflow_core.networks.catalog import find
from reflow_core.numbers import count, parameters, short_count, size
from reflow_core.sources.library import download, missing, size_of
from reflow_core.sources.uploads import bare_name
from reflow_core.spec import Spec

LONG_S = 30.0  # a computation that the person has to agree to
SHORT_S = 5.0  # a diagnosis so short that a hundred of them are computed unasked
POLL_S, MOST_POLL_S, EACH = 1.0, 4.0, 5  # seconds between two looks at a sweep: each five who wait add one
REDRAW_EVERY = 12  # new sweep points that are worth a redraw


def diagnosed(spec: Spec, called: str = "", meanwhile: Callable[[Diagnosis], object] | None = None) -> Diagnosis:
    """The diagnosis of a spec; stops the page with a sentence where there is none. `called`: where it is one of two.

    `meanwhile`: draws the page's beginning from the nearest sparsity that is known, while this one is computed.
    """
    require_local(spec)

    def beginning(near: Diagnosis) -> None:
        _notes(near, called)
        if meanwhile is not None:
            meanwhile(near)

    with errors_shown():
        confirm_cost([spec])
        diagnosis = lab().diagnose(spec, None if meanwhile is None else beginning)
    _notes(diagnosis, called)
    return diagnosis


def _notes(diagnosis: Diagnosis, called: str) -> None:
    """What a diagnosis says of itself and where it is kept."""
    if problem := lab().context(diagnosis.spec).store.problem:
        st.warning(sentence(problem), icon=":material/save:")
    doubt = doubt_of(diagnosis)
    for note in diagnosis.notes:
        text = f"{called}: {sentence(note)}" if called else sentence(note)
        st.warning(text, icon=":material/rule:") if note == doubt else st.info(text)


@contextmanager
def errors_shown() -> Iterator[None]:
    """Stops the page with the sentence of a ReflowError that its body raises."""
    try:
        yield
    except ReflowError as error:
        st.error(sentence(error), icon=":material/error:")
        st.stop()


def require_local(spec: Spec) -> None:
    """Stops the page with the offer of a download where the model or its images are not on this machine."""
    if absent := missing(spec.model, spec.data):
        offer_download(spec.model, absent)
        st.stop()


def confirm_cost(specs: Sequence[Spec], most: float = LONG_S) -> None:
    """Stops the page with the cost of a computation that is long or large, until the person agrees to it.

    Asks once for all sparsities. `most`: up to so many seconds nobody is asked. Raises ReflowError.
    """
    with st.spinner("Loading and estimating …"):
        left = [spec for spec in specs if not lab().known(spec)]
        plan = lab().preflight(left[0]) if left else None
    if plan is None or (len(left) * plan.seconds < most and not exceeds_memory(plan)):
        return
    asked = frozenset(spec.replace(sparsity=0.0) for spec in specs)
    if asked in session().agreed:
        return
    st.subheader("This takes a while", anchor=False)
    st.write(f"{literal(bare_name(left[0].model))}: {cost_sentence(plan, len(left), lab().cost(left[0]))}")
    if exceeds_memory(plan):
        st.warning("This needs more memory than is free now; fewer images need less.", icon=":material/memory:")
    st.caption("Fewer evaluation and calibration images make it faster. Results are stored.")
    label = f"Compute, about {minutes(len(left) * plan.seconds)}"
    if not st.button(label, type="primary", icon=":material/play_arrow:"):
        st.stop()
    session().agreed.add(asked)


def exceeds_memory(plan: Preflight) -> bool:
    """Whether a computation wants more memory than there is."""
    free = free_memory()
    return free is not None and plan.bytes > free


def cost_sentence(plan: Preflight, diagnoses: int, cost: int) -> str:
    """The cost in words."""
    norms = ", ".join(f"{count} {literal(kind)}" for kind, count in plan.facts.norms.items()) or "no norms"
    several = f" in each of {diagnoses} diagnoses" if diagnoses > 1 else ""
    return (
        f"{parameters(plan.facts.parameters)}, {plan.facts.layers} prunable layers, {norms}; {short_count(cost)} "
        f"multiply-adds per image in these layers, {count(plan.images)} images over all passes{several}: about "
        f"**{minutes(diagnoses * plan.seconds)}** and {size(plan.bytes)} of memory on this machine."
    )


def minutes(seconds: float) -> str:
    """A time that something will take, in whole seconds or minutes."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def stage(
    diagnosis: Diagnosis, view: View = PLAIN, also: Sweep[Any] | None = None, asked: float | None = None
) -> str | None:
    """Draw the scope with the sweep around it; returns the layer that every panel shows.

    `also`: another sweep whose points the view draws. `asked`: the sparsity that is still being computed, where the
    diagnosis is that of the nearest known.
    """
    layer = chosen_layer(diagnosis)
    if sparsity_fixed(diagnosis.spec):
        scope(diagnosis, [], layer, view)
        return layer
    moved = lab().moved(diagnosis)
    sweep = lab().scrub(moved, at_once=sum(diagnosis.seconds.values()) < SHORT_S)
    sweep.learn(Request(moved), diagnosis)
    gather(sweep, also)
    scope(diagnosis, list(sweep.points.values()), layer, view, moved, asked)
    session().drawn_points = points_to_draw(sweep, also)
    polling = running(sweep, also)
    st.fragment(progress, run_every=_poll_s() if polling else None)(sweep, also, polling)
    return layer


def _poll_s() -> float:
    """How often to look after the background: seldom where many people wait, for whom it rests."""
    return min(POLL_S * (1 + lab().pool.asked / EACH), MOST_POLL_S)


def chosen_layer(diagnosis: Diagnosis) -> str | None:
    """The layer of the link or the last click; else where the signal first fails."""
    names = [layer.name for layer in diagnosis.layers]
    if "layer" not in st.session_state:
        for problem in unknown_in_link("layer", ["auto", *names]):
            st.warning(sentence(problem), icon=":material/link_off:")
    wanted = shown_by("layer")
    return str(wanted) if wanted in names else verdict(diagnosis).layer


def gather(sweep: Sweep[Any], also: Sweep[Any] | None) -> None:
    """Gather what is done of both; `also` rests and goes on with the sweep, and comes before it.

    A sweep that rests may be complete, because others looked at it: nobody can make it go on, so `also` does not wait.
    """
    if also is not None and sweep.stopped and sweep.share < 1:
        also.stop()
    elif also is not None:
        also.go_on()
    sweep.look()


def points_to_draw(sweep: Sweep[Any], also: Sweep[Any] | None) -> int:
    """How many points there are to draw."""
    return len(sweep.points) + (0 if also is None else len(also.points))


def running(sweep: Sweep[Any], also: Sweep[Any] | None) -> bool:
    """Whether points of either are still to come."""
    return sweep.running or (also is not None and also.running)


def progress(sweep: Sweep[dict[str, Any]], also: Sweep[Any] | None, polling: bool) -> None:
    """The sweep's progress, and what one can do about it; `polling`: whether this is drawn again and again."""
    gather(sweep, also)
    fresh = points_to_draw(sweep, also) - session().drawn_points
    if not browsing() and (fresh >= REDRAW_EVERY or polling != running(sweep, also)):
        st.rerun()
    complete = f"All {sweep.total} sparsities are computed: drag the slider and every panel follows instantly."
    progress_row(sweep, "sparsities", complete)
    if sweep.problems:
        st.caption(f"{len(sweep.problems)} sparsities failed: {sentence(next(iter(sweep.problems.values())))}")


def offer_download(model: str, absent: Sequence[str]) -> None:
    """What the model needs from the internet, fetched only on a click."""
    st.subheader(f"{literal(find(model).title)} is not on this machine yet")
    needs = " and ".join(f"{literal(name)} ({size(size_of(name))})" for name in absent)
    st.write(f"It needs {needs}. Downloads are verified by hash and kept in the cache folder.")
    if not st.button("Download now", type="primary", icon=":material/download:"):
        return
    bar = st.progress(0.0, "Connecting …")

    def watch(stage: str, done: int, total: int) -> None:
        bar.progress(done / total, f"{size(done)} of {size(total)}")

    try:
        for name in absent:
            download(name, watch)
    except ReflowError as error:
        st.error(sentence(error), icon=":material/wifi_off:")
        return
    st.rerun()
