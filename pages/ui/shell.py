"""What every page wears: its settings, the navigation, and the frame around the content."""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

import streamlit as st
from streamlit.navigation.page import Page
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.ui import header, skeleton, steps, warm
from pages.ui.binding import restore_link, shown_by
from pages.ui.contents import FIRST, OLD_PAGES, Entry, menus, pages, views
from pages.ui.runs import keep_apart
from pages.ui.session import Shown, session
from pages.ui.share import show_link
from pages.ui.styles import style
from reflow_core.places import ASSETS
from reflow_core.present.paper import SOURCE, STATEMENTS

OLD_PARAMETERS = {"quantise_order": "quantize_order", "arm": "variant"}  # in the links of others


@asynccontextmanager
async def serving(app: object) -> AsyncIterator[None]:
    """For `st.App`: what begins with the server, before its first visitor comes."""
    keep_apart()
    warm.begin()
    yield


def enter() -> None:
    """Page settings and navigation over every file in pages/; then the chosen page, in its frame."""
    warm.begin()
    restore_link()
    page = _navigation()
    st.set_page_config(page_title=f"{page.title} · Reflow Lab", page_icon=ASSETS / "icon.svg", layout="wide")
    st.logo(ASSETS / ("logo-dark.svg" if st.context.theme.type == "dark" else "logo.svg"), size="large")
    session().link = None
    for old in OLD_PARAMETERS.keys() & set(st.query_params):
        st.query_params[OLD_PARAMETERS[old]] = st.query_params.pop(old)
    hidden = shown_by("hide") in (True, "true")
    width = "demo" if in_demo() else "wide"
    st.html(style("still", "readable", "head", width, *(["hidden"] if hidden else [])))
    _menus_of_a_phone()
    try:
        if (entry := _entry(page)) is not None:  # a page that only leads to another has no frame
            _frame(entry)
            skeleton.until(warm.done)
        page.run()
    finally:
        show_link()
        _settle_values()


def _menus_of_a_phone() -> None:
    """The same menus in the page. On a narrow screen Streamlit would put its own above the controls in the sidebar.

    There its list is none to a screen reader (axe: list, listitem), its headings take no key, and five pages hide.
    """
    if in_demo():
        return
    with st.container(
        key="menus", horizontal=True, height=1, border=False, gap=None
    ):  # unseen until the style is there
        for menu, entries in menus().items():
            by_title = {entry.title: entry for entry in entries}
            if picked := st.menu_button(menu, list(by_title), type="tertiary", key=f"menu-{menu}"):
                entry = by_title[picked]
                st.switch_page(entry.path, query_params=entry.asks)  # the controls bring what is theirs


def _settle_values() -> None:
    """Have Streamlit take what a link said into its memory at the end of the run.

    It does so only when a rerun begins: who opened a link and left for another page first lost all of its values.
    """
    if (context := get_script_run_ctx()) is not None:
        with context.session_state._lock:  # a newer run of the session may begin in another thread by now
            context.session_state._state._compact_state()


def in_demo() -> bool:
    """Whether the link asks for the demo mode, which shows nothing but the scope."""
    return st.query_params.get("demo") == "1"


def _entry(page: Page) -> Entry | None:
    """Which page this is; None where it only leads to another."""
    return None if page.url_path in OLD_PAGES else pages().get(page.url_path or FIRST)


def _frame(entry: Entry) -> None:
    """What stands above a page's own content."""
    session().shown, session().line = Shown(), None
    skeleton.enter(entry.name)
    if in_demo():
        steps.draw()
    else:
        header.draw(entry)
    if (statement := STATEMENTS.get(st.query_params.get("paper", ""))) is not None:
        st.info(f"The article says: “{statement.sentence}” ({SOURCE}). Below: the measurement on your network.")


def _navigation() -> Page:
    """Every file in pages/ by menu; unseen, the old addresses, and one that does not exist, if it was asked for."""
    unseen = [
        st.Page(_moved_to(new), title=pages()[new].title, url_path=old, visibility="hidden")
        for old, new in OLD_PAGES.items()
    ]
    if strange := _strange_address():
        unseen.append(st.Page(_no_such_page, title="Page not found", url_path=strange, visibility="hidden"))
    listed = {menu: [_page(entry) for entry in entries] for menu, entries in menus().items()}
    return st.navigation(listed | {"": unseen}, position="hidden" if in_demo() else "top")


def _page(entry: Entry) -> Page:
    if entry.shows:
        return st.Page(_view(entry), title=entry.title, icon=entry.icon, url_path=entry.name)
    first = entry.name == FIRST
    return st.Page(entry.path, title=entry.title, icon=entry.icon, url_path="" if first else entry.name, default=first)


def _strange_address() -> str:
    """What the address names where no page has that name, else "". The browser says it once; the visit keeps it."""
    context = get_script_run_ctx()
    asked = (context.pages_manager.intended_page_name or "") if context is not None else ""
    if asked and asked not in {*pages(), *views(), *OLD_PAGES}:
        session().strange = asked
    return session().strange


def _no_such_page() -> None:
    """What stands at an address that no page has, with ways back."""
    from pages.ui.text import literal  # heavy, and needed nowhere else in the frame

    asked = session().strange
    entries = pages() | views()
    near = difflib.get_close_matches(asked.lower(), [*entries, *OLD_PAGES], n=1)
    st.title("Page not found", anchor=False)
    st.markdown(f"There is no page “{literal(asked[:60])}”. The menus above list every page.")
    for name in dict.fromkeys([*(OLD_PAGES.get(name, name) for name in near), FIRST]):
        entry = entries[name]
        st.page_link(entry.path, label=f"Go to {entry.title}", icon=entry.icon, query_params=entry.asks)


def _go_to(name: str, asks: Mapping[str, str] = MappingProxyType({})) -> None:
    """Leave for a page with all that the link says. `asks`: what the new link says besides."""
    kept = {key: st.query_params.get_all(key) for key in st.query_params}
    st.switch_page(pages()[name].path, query_params=kept | dict(asks))


def _moved_to(name: str) -> Callable[[], None]:
    """What stands at a page's old address."""
    return lambda: _go_to(name)


def _view(entry: Entry) -> Callable[[], None]:
    """What stands at the address of a view of the first page."""
    return lambda: _go_to(FIRST, entry.asks)
