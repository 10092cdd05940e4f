"""How a finding is shown: its answer first, then what the page draws, then tables, export and link."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from pages.ui import take_away as take
from pages.ui.lab import lab
from pages.ui.panels import tables
from pages.ui.stage import confirm_cost, errors_shown
from pages.ui.text import literal, sentence
from reflow_core.present.snippets import Value, command
from reflow_core.production.finding import Finding
from reflow_core.production.gate import UNDECIDED
from reflow_core.spec import Spec


def show_inspection(name: str, spec: Spec) -> Finding:
    """An inspection's finding, its answer on the page; stops the page with a sentence where there is none."""
    with errors_shown():
        confirm_cost([spec])
        finding = lab().inspect(name, spec)
    show_answer(finding)
    return finding


def show_answer(finding: Finding) -> None:
    """The answer as the page's first sentence, whether it passed where that is asked, notes, and the machine."""
    mark = {True: ":material/check_circle: **Passed.** ", False: ":material/cancel: **Failed.** ", None: ""}[
        finding.passed
    ]
    if finding.facts.get("gate") == UNDECIDED:
        mark = ":material/help: **Undecided.** "
    st.markdown(f"#### {mark}{literal(finding.answer)}")
    for note in finding.notes:
        st.caption(sentence(note))
    if finding.machine:
        st.caption(f"Measured on: {literal(finding.machine)}.")


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
