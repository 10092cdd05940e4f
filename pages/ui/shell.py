"""What every page wears: its settings, the navigation, and the frame around the content."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.navigation.page import Page

from pages.ui import skeleton
from pages.ui.shown import begin

ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULT = "collapse"
SECTIONS: dict[str, tuple[str, ...]] = {
    "See": ("collapse", "signal", "story", "sweep"),
    "Compare": ("compare", "selection_vs_signal", "calibration"),
    "Before release": ("sensitivity", "slices", "structured", "quantisation", "hardware", "claims"),
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
    "quantisation": ":material/memory:",
    "hardware": ":material/speed:",
    "claims": ":material/fact_check:",
    "about": ":material/info:",
}
NAMED = {name for names in SECTIONS.values() for name in names}
ENTERED = "_entered"
WIDE_CSS = """
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
# Streamlit's own captions are 4.2:1, its coloured code 2.7:1, its white on the dark theme's primary colour 2.3:1; text
# needs 4.5:1.
READABLE_CSS = """
<style>
  [data-testid^="stBaseButton-primary"] p { color: light-dark(#FFFFFF, #06202F); }
  [data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] p {
    color: light-dark(#56606B, #A9B4BF); opacity: 1; }
  [data-testid="stCode"] .token { color: inherit !important; }
  [data-testid="stCode"] :is(.keyword, .builtin, .parameter, .function) {
    color: light-dark(#0B5C8A, #7CC4F0) !important; }
  [data-testid="stCode"] :is(.string, .number) { color: light-dark(#8A3B00, #F2B07A) !important; }
  [data-testid="stMultiSelect"] span[title] { color: light-dark(#FFFFFF, #06202F); }
</style>
"""
PAGES_CSS = """
<style>
  .st-key-pages [data-testid="stPageLink"] a { padding: 0 0.5rem; min-height: 1.65rem; line-height: 1.5; }
  .st-key-pages [data-testid="stCaptionContainer"] { padding: 0.5rem 0 0; margin: 0; }
  .st-key-pages p { margin: 0; }
</style>
"""
HIDDEN_CSS = """
<style>
  .st-key-controls { display: none; }
</style>
"""
DEMO_CSS = """
<style>
  [data-testid="stSidebar"], [data-testid="stExpandSidebarButton"] { display: none; }
  [data-testid="stMainBlockContainer"] { max-width: none; padding: 2.5rem 4vw; }
  @media (max-width: 720px) { [data-testid="stMainBlockContainer"] { padding-top: 4.5rem; } }  /* below the header */
</style>
"""


def enter() -> None:
    """Run by app.py: page settings and navigation over every file in pages/, then the chosen page."""
    st.set_page_config(page_title="Reflow Lab", page_icon=ROOT / "assets" / "icon.svg", layout="wide")
    st.logo(ROOT / "assets" / "logo.svg", size="large")
    st.session_state[ENTERED] = True
    st.html(STILL_CSS + READABLE_CSS + PAGES_CSS + (DEMO_CSS if st.query_params.get("demo") == "1" else WIDE_CSS))
    if st.session_state.get("hide", st.query_params.get("hide") == "true"):
        st.html(HIDDEN_CSS)  # a teacher's link to the lesson
    _navigation().run()


def frame(file: str) -> None:
    """First call of every page. A cold deep link runs the page without app.py; this goes back through the entrance."""
    begin()
    skeleton.enter(file)
    if ENTERED not in st.session_state:
        _navigation()
        parameters = {name: st.query_params.get_all(name) for name in st.query_params}
        st.switch_page(_path(Path(file).stem), query_params=parameters)


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
    running = st.navigation(list(pages.values()), position="hidden")
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
