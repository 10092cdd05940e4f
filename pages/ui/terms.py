"""Texts whose words explain themselves: a term is underlined, and its meaning stands beside it on hover or focus."""

from __future__ import annotations

import html

import streamlit as st

from reflow_core.present.lesson.glossary import GLOSSARY
from reflow_core.present.lesson.handout import lettered

CSS = """
<style>
  .told { font-size: 1.08rem; line-height: 1.6; max-width: 46rem; }
  .term { position: relative; text-decoration: underline dotted; text-underline-offset: 0.2em; cursor: help; }
  .term:focus-visible { outline: 2px solid #4FB3E8; outline-offset: 2px; border-radius: 3px; }
  .term > span { position: absolute; left: 0; top: 1.7em; z-index: 5; width: max-content; max-width: min(18rem, 70vw);
    padding: 0.5rem 0.75rem; border-radius: 8px; background: #1B2530; color: #FFFFFF; font-size: 0.9rem;
    line-height: 1.4; visibility: hidden; opacity: 0; text-decoration: none; }
  .term:hover > span, .term:focus > span { visibility: visible; opacity: 1; }
</style>
"""


def explained(text: str) -> None:
    """A lesson's text, its terms explained and its bold words bold."""
    st.html(f'{CSS}<p class="told">{lettered(text, _term)}</p>')


def _term(term: str, shown: str) -> str:
    meaning = html.escape(GLOSSARY[term])
    return f'<span class="term" tabindex="0" role="note">{shown}<span>{meaning}</span></span>'
