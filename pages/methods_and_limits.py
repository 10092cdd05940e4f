"""Methods and limits: what is measured and how, where every method is from, and what this cannot do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
import streamlit as st

from pages.ui.contents import pages
from pages.ui.docs import docs_button, documents, title_of
from reflow_core.images.corruptions import corruptions
from reflow_core.lab.store import code_hash
from reflow_core.places import ASSETS
from reflow_core.present.paper import STATEMENTS
from reflow_core.production.export import versions
from reflow_core.pruning.allocations import allocations
from reflow_core.pruning.criteria import criteria
from reflow_core.pruning.updates import updates
from reflow_core.registry import Registry
from reflow_core.repairs import repairs
from reflow_core.spec import DEFAULTS

METHODS: Iterable[Registry[Any, Any]] = (criteria, updates, allocations, repairs, corruptions)

st.markdown((ASSETS / "about.md").read_text())
st.header("The article's claims, on your network", anchor=False)
st.caption("Each link opens the page that measures the claim, with the network you chose.")
model = st.session_state.get("model", DEFAULTS["model"])
own = {} if model == DEFAULTS["model"] else {"model": str(model)}
for name, statement in STATEMENTS.items():
    query: dict[str, str | list[str]] = {**own, **statement.query, "paper": name}
    st.page_link(
        pages()[statement.page].path, label=statement.title, icon=":material/arrow_forward:", query_params=query
    )
    st.caption(f"“{statement.sentence}”")
st.header("Documents", anchor=False)
with st.container(horizontal=True, gap="small"):
    for document in documents():
        docs_button(document, title_of(document))
st.header("All methods and their sources", anchor=False)
st.dataframe(
    pd.DataFrame(
        [
            {"kind": registry.kind, "name": info.name, "what it does": info.summary, "source": info.paper or "–"}
            for registry in METHODS
            for info in registry
        ]
    ),
    hide_index=True,
    height=420,
)
st.header("Versions", anchor=False)
used = versions() | {"streamlit": st.__version__, "reflow_core": code_hash()[:12]}
st.caption(", ".join(f"{name} {version}" for name, version in used.items()))
