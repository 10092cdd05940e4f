"""How a finding is shown: its answer first, then what the page draws, then tables, export and link."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

import pandas as pd
import streamlit as st

from pages.ui.lab import lab
from pages.ui.panels import options_of, table
from pages.ui.stage import agree, sentence
from reflow_core.finding import Finding, to_json
from reflow_core.spec import Spec


def inspected(name: str, spec: Spec) -> Finding:
    """An inspection's finding, its answer on the page; stops the page with a sentence where there is none."""
    with sentence():
        agree([spec])
        found = lab().inspection(name, spec)
    answer(found)
    return found


def answer(found: Finding) -> None:
    """The answer as the page's first sentence, a verdict where there is one, and what the person should know."""
    mark = {True: ":material/check_circle: **Passed.** ", False: ":material/cancel: **Failed.** ", None: ""}[
        found.passed
    ]
    st.markdown(f"#### {mark}{found.answer}")
    for note in found.notes:
        st.caption(note)
    if found.machine:
        st.caption(f"Measured on: {found.machine}.")


def checks(table: pd.DataFrame) -> None:
    """What was checked, each with its outcome and what was found."""
    for row in table.itertuples():
        mark = ":green[:material/check:]" if row.passed else ":red[:material/close:]"
        st.markdown(f"{mark} **{row.what}**: {row.told}")


def take_away(found: Finding, command: str, also: Mapping[str, object] | None = None) -> None:
    """Tables with their CSV, the whole as JSON, the command that gives the same, the link to this view.

    `command`: the command line's name for it; `also`: its own options by name.
    """
    for title, frame in found.tables.items():
        table(f"Show data: {title.lower()}", frame, f"{command}-{title.lower().replace(' ', '-')}")
    box = st.expander(
        "Take it away", key=f"take-{command}-{'-'.join(also or {})}", on_change="rerun", icon=":material/output:"
    )
    if not box.open:
        return
    own = [
        f"--{name} {shlex.quote(str(value))}" if value is not True else f"--{name}"
        for name, value in (also or {}).items()
    ]
    box.write("The same from the command line:")
    box.code(" ".join([f"python -m reflow_core {command} --json", *options_of(found.spec), *own]), language="bash")
    box.write("This very view:")
    box.code(link(), language=None)
    box.download_button("JSON", json.dumps(to_json(found), indent=1), f"{command}.json", on_click="ignore")


def link() -> str:
    """The address of the page as it is."""
    given = "&".join(f"{name}={value}" for name in st.query_params for value in st.query_params.get_all(name))
    return f"{st.context.url}?{given}" if given else str(st.context.url)
