"""Texts whose words explain themselves: a term is underlined, and its meaning stands beside it on hover or focus."""

from __future__ import annotations

import html

import streamlit as st

from pages.ui.styles import style
from reflow_core.present.lesson.glossary import GLOSSARY
from reflow_core.present.lesson.handout import lettered


def show_explained(text: str) -> None:
    """A lesson's text, its terms explained and its bold words bold."""
    st.html(f'{style("terms")}<p class="told">{lettered(text, _term)}</p>')


def _term(term: str, shown: str) -> str:
    meaning = html.escape(GLOSSARY[term])
    return f'<span class="term" tabindex="0" role="note">{shown}<span>{meaning}</span></span>'
