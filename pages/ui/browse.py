"""The list of all networks, to search and to choose from."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.ui.session import session
from pages.ui.text import sentence
from reflow_core.errors import ReflowError
from reflow_core.networks.catalog import facts, find, known
from reflow_core.sources.library import missing, size_of

COLUMNS: dict[str, Any] = {
    "parameters": st.column_config.NumberColumn("Parameters (M)", format="%.3f"),
    "cost": st.column_config.NumberColumn("Multiply-adds (G)", format="%.3f", help="Per image."),
    "layers": st.column_config.NumberColumn("Layers", help="Convolution and linear layers, which can be pruned."),
    "norms": "Norms",
    "reflow": st.column_config.CheckboxColumn(
        "REFLOW applies", help="Whether the network has BatchNorm statistics to re-estimate."
    ),
    "here": st.column_config.CheckboxColumn("Here", help="Already on this machine."),
    "size": st.column_config.NumberColumn("Download (MB)", format="%.0f"),
    "network": "Network",
    "data": "Images",
}


def browsing() -> bool:
    """Whether this visitor has the list open; a page that draws itself anew would close it."""
    return session().browsing


def browse_button() -> None:
    """Opens the list, which stays open until a network is taken or the list is closed."""
    st.button("Browse networks", icon=":material/search:", width="stretch", on_click=_open, args=(True,))
    if browsing():
        _list()


def _open(whether: bool) -> None:
    session().browsing = whether


@st.dialog("Networks", width="large", on_dismiss=lambda: _open(False))
def _list() -> None:
    """A table with one row a network; a click on a row shows that network."""
    st.caption("Click a row to choose its network. Search with the magnifier above the table; click a header to sort.")
    table = listed()
    event = st.dataframe(
        table,
        hide_index=True,
        height=420,
        column_config=COLUMNS,
        on_select="rerun",
        selection_mode="single-row",
        key="networks",
    )
    if event["selection"]["rows"]:
        take(str(table["network"][event["selection"]["rows"][0]]))
    with st.form("timm", border=False):
        asked = st.text_input(
            "Or a timm network",
            placeholder="timm:resnet50.a1_in1k, or timm:hf_hub:OWNER/NAME",
            help="Needs the package timm on the server (pip install timm).",
        )
        if st.form_submit_button("Use this network") and asked:
            try:
                take(find(asked.strip()).name)
            except ReflowError as error:
                st.error(sentence(error), icon=":material/error:")


def take(name: str) -> None:
    """Show this network from now on."""
    session().handed_over = {"model": name, "data": "auto"}
    _open(False)
    st.rerun()


@st.cache_data(show_spinner="Listing …", ttl=10)
def listed() -> pd.DataFrame:
    """Every network with a name of its own and what it is made of."""
    rows = []
    for name, info in known().items():
        measured = facts(name, with_cost=True)
        if measured is None:
            continue
        rows.append(
            {
                "network": name,
                "data": info.data,
                "parameters": measured.parameters / 1e6,
                "layers": measured.layers,
                "norms": ", ".join(f"{count} {kind}" for kind, count in measured.norms.items()) or "none",
                "reflow": measured.reflow_applies,
                "cost": None if measured.multiply_adds is None else measured.multiply_adds / 1e9,
                "size": size_of(name) / 1e6,
                "here": not missing(name),
            }
        )
    return pd.DataFrame(rows)
