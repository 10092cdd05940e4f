"""How a finding is shown: its answer first, then what the page draws, then tables, export and link."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import nullcontext

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.ui import take_away as take
from pages.ui.browse import browsing
from pages.ui.lab import lab
from pages.ui.panels import tables
from pages.ui.session import session
from pages.ui.stage import confirm_cost, errors_shown
from pages.ui.text import literal, sentence
from reflow_core.lab.request import Request
from reflow_core.present.snippets import Value, command
from reflow_core.production.finding import Finding, outcome
from reflow_core.production.timing import disturbed
from reflow_core.spec import Spec

QUIET_POLL_S = 5.0
QUIET_SHARE = 0.4
ANSWER_HEIGHT = 96
LONGEST_HEADLINE = 110  # characters: two lines of a laptop's page
CUT = re.compile(r"[:;.] (?=[^\s(])")
MARKS = {
    "Passed": ":material/check_circle:",
    "Failed": ":material/cancel:",
    "Checks failed": ":material/cancel:",
    "Undecided": ":material/help:",
}


def answer_place() -> DeltaGenerator:
    """Where a page's answer stands: above the page's own controls, on which it depends.

    Until there is a first one, its room is kept; a style sheet would come too late for that.
    """
    place = st.container(key="answer").empty()
    if session().drawn != session().page:
        place.container(height=ANSWER_HEIGHT, border=False)
    return place


def show_inspection(name: str, spec: Spec, place: DeltaGenerator | None = None) -> Finding:
    """An inspection's finding, its answer in `place`; stops the page with a sentence where there is none."""
    request = Request(spec, inspection=name)
    again, session().retake = session().retake == request, None
    with errors_shown():
        confirm_cost([spec])
        finding = lab().inspect(name, spec, again)
    session().named = finding.spec
    with nullcontext() if place is None else place.container():
        show_answer(finding)
        if disturbed(finding):
            _offer_again(request)
    return finding


def _offer_again(request: Request) -> None:
    """Disturbed timings are taken again on a click, and once by themselves when the machine is quiet."""
    if st.button("Repeat the timing", icon=":material/timer:"):
        _take_again(request)
    if request not in session().retaken:
        st.caption("The timings are repeated automatically once the machine is idle, while this page is open.")
        st.fragment(_when_quiet, run_every=QUIET_POLL_S)(request)


def _when_quiet(request: Request) -> None:
    if not browsing() and quiet():
        session().retaken.add(request)
        _take_again(request)


def _take_again(request: Request) -> None:
    session().retake = request
    st.rerun()


def quiet() -> bool:
    """Whether hardly anything computes on this machine: at most QUIET_SHARE of its cores in the last minute."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] <= QUIET_SHARE * (os.cpu_count() or 1)


def show_answer(finding: Finding) -> None:
    """The answer as the page's first sentence, whether it passed where that is asked, notes, and the machine."""
    word = outcome(finding)
    mark = f"{MARKS[word]} **{word}.** " if word else ""
    heading, rest = headline(finding.answer)
    st.markdown(f"#### {mark}{literal(heading)}")
    if rest:
        st.markdown(literal(rest))
    if busy := disturbed(finding):
        st.warning(busy, icon=":material/timer:")
    for note in finding.notes:
        st.caption(sentence(note))
    if finding.machine:
        st.caption(f"Measured on: {literal(finding.machine)}.")


def headline(answer: str) -> tuple[str, str]:
    """A long answer in two: what one reads first, and the figures that follow its first full or half stop, else ""."""
    cut = CUT.search(answer, 30) if len(answer) > LONGEST_HEADLINE else None
    if cut is None:
        return answer, ""
    rest = answer[cut.end() :]
    return f"{answer[: cut.start()]}.", f"{rest[0].upper()}{rest[1:]}"


def show_checks(table: pd.DataFrame) -> None:
    """What was checked, each with its outcome and what was measured."""
    for row in table.itertuples():
        mark = ":green[:material/check:]" if row.passed else ":red[:material/close:]"
        st.markdown(f"{mark} **{literal(row.what)}**: {literal(row.told)}")


def take_away(finding: Finding, name: str, also: Mapping[str, Value] | None = None, python: str = "") -> None:
    """Its tables; then what there is to take away.

    `name`: the command's; `also`: the command's own options by name; `python`: code that gives the same answer.
    """
    tables(finding.tables, name)
    code = {"Command line": command(name, finding.spec, also)} | ({"Python": python} if python else {})
    take.of_finding(finding, "-".join([name, *(also or {})]) if not python else name, code)
