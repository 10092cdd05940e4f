"""The documents, opened over the page that raises the question."""

from __future__ import annotations

import re

import streamlit as st

from reflow_core.places import DOCS

PICTURE = re.compile(r"^.*!\[.*$\n?", re.MULTILINE)  # none can be served from there
LINK = re.compile(r"\[([^\]]+)\]\((?:\.\./)?(?!https?:)[^)\s]+\)")  # to a file, which leads nowhere from a page


def documents() -> list[str]:
    """Every document by name."""
    return sorted(file.stem for file in DOCS.glob("*.md"))


def title_of(name: str) -> str:
    """A document's own title."""
    return readable((DOCS / f"{name}.md").read_text())[0]


def docs_button(name: str, label: str = "Docs") -> None:
    """Opens docs/`name`.md over the page."""
    place = DOCS / f"{name}.md"
    if place.exists() and st.button(label, icon=":material/menu_book:", type="tertiary", key=f"docs-{name}"):
        title, text = readable(place.read_text())
        st.dialog(title, width="large", icon=":material/menu_book:")(st.markdown)(text)


def readable(text: str) -> tuple[str, str]:
    """A document's title, and its text without pictures; a link to another file becomes its words."""
    title, _, body = text.partition("\n")
    return title.lstrip("# "), LINK.sub(r"\1", PICTURE.sub("", body)).strip()
