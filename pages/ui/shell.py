"""What every page wears: its settings, the navigation, and the frame around the content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st
from streamlit.navigation.page import Page

from pages.ui import skeleton
from pages.ui.session import Shown, session
from pages.ui.styles import style
from reflow_core.places import ASSETS
from reflow_core.present.paper import SOURCE, STATEMENTS

ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULT = "collapse"
SECTIONS: dict[str, tuple[str, ...]] = {
    "See": ("collapse", "signal", "story", "sweep"),
    "Compare": ("compare", "selection_vs_signal", "calibration"),
    "Before release": ("sensitivity", "slices", "structured", "quantization", "hardware", "claims"),
    "More": (),  # every other file in pages/
}
ICONS = {
    "collapse": ":material/monitor_heart:",
    "signal": ":material/water:",
    "story": ":material/menu_book:",
    "sweep": ":material/show_chart:",
    "compare": ":material/compare:",
    "selection_vs_signal": ":material/grid_on:",
    "calibration": ":material/tune:",
    "sensitivity": ":material/equalizer:",
    "slices": ":material/pie_chart:",
    "structured": ":material/content_cut:",
    "quantization": ":material/memory:",
    "hardware": ":material/speed:",
    "claims": ":material/fact_check:",
    "about": ":material/info:",
}
NAMED = {name for names in SECTIONS.values() for name in names}
OLD_PAGES = {"quantisation": "quantization"}  # addresses in links of others
OLD_PARAMETERS = {"quantise_order": "quantize_order", "arm": "variant"}


def enter() -> None:
    """Run by app.py: page settings and navigation over every file in pages/, then the chosen page."""
    st.set_page_config(page_title="Reflow Lab", page_icon=ASSETS / "icon.svg", layout="wide")
    st.logo(ASSETS / "logo.svg", size="large")
    session().entered = True
    for old in OLD_PARAMETERS.keys() & set(st.query_params):
        st.query_params[OLD_PARAMETERS[old]] = st.query_params.pop(old)
    hidden = st.session_state.get("hide", st.query_params.get("hide") == "true")
    width = "demo" if st.query_params.get("demo") == "1" else "wide"
    st.html(style("still", "readable", "pages", width, *(["hidden"] if hidden else [])))
    _navigation().run()


def frame(file: str) -> None:
    """First call of every page. A cold deep link runs the page without app.py; this goes back through the entrance."""
    session().shown = Shown()
    skeleton.enter(file)
    if not session().entered:
        _navigation()
        _go_to(Path(file).stem)
    if (statement := STATEMENTS.get(st.query_params.get("paper", ""))) is not None:
        st.info(f"The article says: “{statement.sentence}” ({SOURCE}). Below, what is measured on your network.")


def _go_to(name: str) -> None:
    """Leave for a page with all that the link says."""
    st.switch_page(_path(name), query_params={key: st.query_params.get_all(key) for key in st.query_params})


def _moved_to(name: str) -> Callable[[], None]:
    """What stands at a page's old address."""
    return lambda: _go_to(name)


def _navigation() -> Page:
    """Every file in pages/, listed in the sidebar by section. (Streamlit's own list is no list to a screen reader.)"""
    files = sorted(file.stem for file in (ROOT / "pages").glob("*.py") if not file.stem.startswith("_"))
    listed = {
        section: sorted(
            (name for name in files if name in names or (not names and name not in NAMED)),
            key=lambda name: (names.index(name) if name in names else len(names), name),
        )
        for section, names in SECTIONS.items()
    }
    pages = {name: st.Page(_path(name), title=title(name), default=name == DEFAULT) for name in files}
    moved = [st.Page(_moved_to(new), title=title(new), url_path=old) for old, new in OLD_PAGES.items()]
    running = st.navigation([*pages.values(), *moved], position="hidden")
    with st.sidebar.container(key="pages", gap=None):
        for section, names in listed.items():
            if names:
                st.caption(section)
            for name in names:
                st.page_link(pages[name], icon=ICONS.get(name, ":material/article:"))
    return running


def title(name: str) -> str:
    """A page's title, from its file's name."""
    return name.replace("_", " ").capitalize()


def _path(name: str) -> str:
    return f"pages/{name}.py"
