"""What every page wears: its settings, the navigation, and the frame around the content."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.navigation.page import Page

from pages.ui.shown import begin

ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULT = "collapse"
SECTIONS: dict[str, tuple[str, ...]] = {
    "See": ("collapse", "signal", "story", "sweep"),
    "Compare": ("compare", "selection_vs_signal", "calibration"),
    "Before release": ("sensitivity", "slices", "structured", "quantisation", "hardware", "claims"),
    "More": (),  # every other file in pages/
}
NAMED = {name for names in SECTIONS.values() for name in names}
ENTERED = "_entered"
CSS = """
<style>
  [data-testid="stSidebar"] [data-testid="stVerticalBlock"] { gap: 0.6rem; }
  [data-testid="stMainBlockContainer"] { max-width: 1280px; }
</style>
"""
# What waits for new values dims in one step: fading it, frame by frame, takes the processor from the computation.
STILL_CSS = """
<style>
  [data-stale] { transition: opacity 0s linear 0.6s !important; }
  .stProgress *, .stExpander * { transition: none !important; }
</style>
"""
HIDDEN_CSS = """
<style>
  [data-testid="stSidebarUserContent"] { display: none; }
</style>
"""
DEMO_CSS = """
<style>
  [data-testid="stSidebar"], [data-testid="stExpandSidebarButton"] { display: none; }
  [data-testid="stMainBlockContainer"] { max-width: none; padding: 2.5rem 4vw; }
</style>
"""


def enter() -> None:
    """Run by app.py: page settings and navigation over every file in pages/, then the chosen page."""
    st.set_page_config(page_title="Reflow Lab", page_icon=ROOT / "assets" / "icon.svg", layout="wide")
    st.logo(ROOT / "assets" / "logo.svg", size="large")
    st.session_state[ENTERED] = True
    st.html(STILL_CSS + (DEMO_CSS if st.query_params.get("demo") == "1" else CSS))
    if st.session_state.get("hide", st.query_params.get("hide") == "true"):
        st.html(HIDDEN_CSS)  # a teacher's link to the lesson
    _navigation().run()


def frame(file: str) -> None:
    """First call of every page. A cold deep link runs the page without app.py; this goes back through the entrance."""
    begin()
    if ENTERED not in st.session_state:
        _navigation()
        parameters = {name: st.query_params.get_all(name) for name in st.query_params}
        st.switch_page(_path(Path(file).stem), query_params=parameters)


def _navigation() -> Page:
    files = sorted(file.stem for file in (ROOT / "pages").glob("*.py") if not file.stem.startswith("_"))
    pages = {
        section: [
            st.Page(_path(name), title=name.replace("_", " ").capitalize(), default=name == DEFAULT)
            for name in sorted(files, key=lambda name: (names.index(name) if name in names else len(names), name))
            if name in names or (not names and name not in NAMED)
        ]
        for section, names in SECTIONS.items()
    }
    return st.navigation({section: listed for section, listed in pages.items() if listed}, expanded=True)


def _path(name: str) -> str:
    return f"pages/{name}.py"
