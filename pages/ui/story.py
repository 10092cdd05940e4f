"""The lesson on the page: one step at a time, its controls set, its prediction asked for before anything is shown."""

from __future__ import annotations

import math
from typing import Literal

import pandas as pd
import streamlit as st

from pages.ui.binding import shown_by
from pages.ui.contents import FIRST, pages
from pages.ui.controls import models_shown
from pages.ui.lab import lab
from pages.ui.panels import SHOW, chart, table
from pages.ui.portraits import portraits
from pages.ui.session import session
from pages.ui.share import link
from pages.ui.stage import confirm_cost, errors_shown, require_local, stage
from pages.ui.tables import show_table
from pages.ui.terms import show_explained
from reflow_core.present.file_name import plain
from reflow_core.present.lesson import STEPS, Predicted, Question, Seen, Step, down_at, scored, see, spec_of
from reflow_core.present.lesson.handout import handout
from reflow_core.spec import DEFAULTS, Spec

GUESS, NO_GUESS = "guess", "none"  # in the link: a prediction, or that the step is shown without one
NUMBERS = tuple(str(number) for number in range(1, len(STEPS) + 1))
PAGES = ("sensitivity", "slices_and_gate", "quantization", "hardware", "claims_tested")  # where the last step leads


def current() -> int:
    """The step of the control, else of the link, from 1."""
    asked = str(shown_by("step") or "1")
    return int(asked) if asked in NUMBERS else 1


def set_controls(number: int) -> None:
    """Entering a step sets the real controls; afterwards they are the person's."""
    if session().lesson_step == number:
        return
    first = session().lesson_step is None
    session().lesson_step = number
    changes = STEPS[number - 1].changes(down_at(_model()))
    if first and set(changes) & set(st.query_params):
        return  # a copied link opens the view it was copied from
    st.session_state.update(changes)


def _model() -> str:
    asked = str(shown_by("model") or DEFAULTS["model"])
    return asked if asked in models_shown() else str(DEFAULTS["model"])  # the controls say what was wrong


def lesson(number: int, spec: Spec) -> None:
    """One step: where one is, what it is about, the prediction; once made, what is seen."""
    step = STEPS[number - 1]
    _progress(number)
    st.header(f"{number}. {step.title}", anchor=False)
    require_local(spec)
    revealed = GUESS in st.query_params
    with errors_shown():
        confirm_cost([spec, *step.others(spec).values()])
        seen = see(step, spec, lab().diagnose, lab().inspect, revealed=revealed)
    show_explained(step.opening(seen))
    if not revealed:
        _ask(number, step.question)
    else:
        _reveal(number, step, seen)
    _formula(step)
    _teacher(step, spec, seen if revealed else None)
    if number == len(STEPS):
        if revealed:
            _score()
        _ways()


def _progress(number: int) -> None:
    row = st.container(horizontal=True, vertical_alignment="center")
    row.button("Back", on_click=_go, args=(number - 1,), disabled=number == 1, key="back")
    kind: Literal["primary", "secondary"] = "primary" if GUESS in st.query_params else "secondary"  # first predict
    row.button("Next", on_click=_go, args=(number + 1,), disabled=number == len(STEPS), key="next", type=kind)
    row.segmented_control(  # last, for it grows when the browser has loaded it
        "Step",
        NUMBERS,
        default="1",
        required=True,
        key="step",
        bind="query-params",
        on_change=_forget,
        label_visibility="collapsed",
    )
    st.progress(number / len(STEPS), f"Step {number} of {len(STEPS)}")


def _guess(step: Step) -> float | None:
    """The prediction that the link holds, if there is one."""
    try:
        guess = float(st.query_params[GUESS])
    except (KeyError, ValueError):
        return None
    if not math.isfinite(guess):
        return None
    return min(max(guess, step.question.low), step.question.high)


def _ask(number: int, question: Question) -> None:
    """The prediction, before anything is shown; without one there is no verdict on it."""
    with st.form(f"predict-{number}"):
        value = st.number_input(
            f"**Predict.** {question.asks}",
            float(question.low),
            float(question.high),
            None,
            float(question.step),
            format="%g",
            placeholder=f"{question.low:g} to {question.high:g} {question.unit}; leave empty to skip",
        )
        if st.form_submit_button("Show what happens", type="primary", icon=":material/visibility:"):
            st.query_params[GUESS] = NO_GUESS if value is None else f"{value:g}"
            st.rerun()


def _reveal(number: int, step: Step, seen: Seen) -> None:
    """The visitor's prediction beside the truth, if there is one, what it means, and the network itself."""
    question = step.question
    if (guess := _guess(step)) is not None:
        st.info(question.judged(guess, seen), icon=":material/psychology:")
        said, truth = question.shown(guess), question.shown(question.truth(seen))
        session().predictions[number] = Predicted(said, truth, question.is_near(guess, seen))
    show_explained(step.reveal(seen))
    if seen.finding is not None and step.table:
        _tables(step, seen)
    _others(seen)
    if step.view == "Signal":
        shown = portraits(seen.diagnosis)
        stage(seen.diagnosis, shown.view(), shown.around)
    else:
        stage(seen.diagnosis)
    if step.picture is not None:
        heading, draw = step.picture
        drawn = draw(seen)
        chart(drawn, "lesson-picture", heading)
        table(f"{SHOW}{heading.lower()}", drawn.table, "lesson-picture-data")
    with st.expander("An exercise", icon=":material/edit:", key=f"exercise-{number}"):
        st.write(step.exercise)
        if st.toggle("Show the answer", key=f"answer-{number}"):
            show_explained(step.answer(seen))
    st.button("Predict again", on_click=_forget, icon=":material/replay:", type="tertiary")


def _tables(step: Step, seen: Seen) -> None:
    assert seen.finding is not None
    shown = seen.finding.tables[step.table][list(step.columns)].rename(columns=dict(step.columns))
    show_table(shown, height=210)
    for title, frame in seen.finding.tables.items():
        if title != step.table:
            table(f"Show data: {title.lower()}", frame, f"lesson-{title.lower()}")


def _others(seen: Seen) -> None:
    """The further networks of a step, beside the one that the scope shows."""
    if not seen.others:
        return
    rows = {"this view": seen.diagnosis, **seen.others}
    show_table(
        pd.DataFrame(
            [
                {
                    "network": name,
                    "pruned (%)": 100 * diagnosis.pruned.score,
                    "repaired (%)": None if diagnosis.repaired is None else 100 * diagnosis.repaired.score,
                    "last variance ratio": diagnosis.last_ratio(diagnosis.last),
                }
                for name, diagnosis in rows.items()
            ]
        )
    )


def _score() -> None:
    """How well the steps were predicted, at the end."""
    predictions = session().predictions
    st.subheader("Your predictions", anchor=False)
    st.markdown(scored(predictions.values()))
    if predictions:
        rows = [
            {"step": f"{number}. {STEPS[number - 1].title}", "you predicted": each.guess, "measured": each.truth}
            | {"close": each.near}
            for number, each in sorted(predictions.items())
        ]
        show_table(pd.DataFrame(rows))


def _formula(step: Step) -> None:
    with st.expander("The formula", icon=":material/function:", key=f"formula-{step.title}"):
        st.latex(step.formula.latex)
        st.write(step.formula.words)
        st.caption(f"Source: {step.formula.source}")


def _teacher(step: Step, spec: Spec, seen: Seen | None) -> None:
    """What a teacher needs: notes, a link without controls, the handout."""
    box = st.expander("For the teacher", icon=":material/school:", key="teacher", on_change="rerun")
    if not box.open:
        return
    with box:
        st.write(step.notes)
        if seen is not None:
            st.caption(f"The exercise: {step.exercise}")
            show_explained(step.answer(seen))
        st.toggle(
            "Hide the controls",
            help="The link below then opens the lesson without controls.",
            key="hide",
            bind="query-params",
        )
        st.caption("The link to share")
        st.code(link(without=(GUESS,)), language=None, wrap_lines=True)
        _handouts(spec)


def _handouts(spec: Spec) -> None:
    """The lesson on paper, computed on a click."""
    left, right = st.columns(2)
    for place, teacher, label in ((left, False, "Handout"), (right, True, "Handout with answers and notes")):
        if place.button(f"Make the {label.lower()}", icon=":material/print:", width="stretch", key=f"make-{teacher}"):
            with errors_shown():
                seen = [see(step, spec_of(step, spec), lab().diagnose, lab().inspect) for step in STEPS]
            session().handout = teacher, handout(seen, teacher)
        made = session().handout
        if made is not None and made[0] == teacher:
            place.download_button(
                f"Save the {label.lower()} (HTML, prints)", made[1], f"{plain(spec.model)}-lesson.html", "text/html",
                on_click="ignore",
                type="primary", width="stretch",
            )  # fmt: skip


def _ways() -> None:
    """Where the lesson leads."""
    for name in PAGES:
        st.page_link(pages()[name].path, icon=":material/arrow_forward:")
    st.page_link(pages()[FIRST].path, label="Explore it yourself on the Overview", icon=":material/explore:")


def _go(number: int) -> None:
    st.session_state["step"] = str(number)
    _forget()


def _forget() -> None:
    st.query_params.pop(GUESS, None)
