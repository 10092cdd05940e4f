"""Sentences that show a stranger's words as words; an independent parser of CommonMark is the oracle."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pages.ui.literal import JOINER, SPACES
from pages.ui.text import literal, without_folders

PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
# What Streamlit 1.67 besides makes of text: directives, formulas, and in text nodes icons, emoji and addresses.
DIRECTIVE = re.compile(r"(?<!\\):[A-Za-z]")
FORMULA = re.compile(r"(?<!\\)(\\\\)*\$")
IN_TEXT = re.compile(r":[\w+/-]+:|https?://|www\.\w|[\w.+-]+@[\w-]+\.\w", re.IGNORECASE)
HOSTILE = (
    "![x](http://evil.example/beacon.png)",
    "[click](http://evil.example)",
    "<img src=x onerror=alert(1)>",
    "<http://evil.example>",
    "http://evil.example www.evil.example WWW.evil.example me@evil.example",
    ":red[danger] :material/delete: :smile: :+1: :streamlit: :color[x]{foreground=red} ::leaf :::box",
    "$x^2$ $$y$$ \\(z\\)",
    "# title",
    "1. list",
    "12) list",
    "- a", "+ a", "* a", "> quote", "---", "===", "```code```", "~~gone~~", "~one~",
    "**bold** __bold__ _it_ *it* a_b_c",
    "&lt;b&gt; &#33; \\* \\",
    "[x]: http://evil.example\n\n[x]",
    "|a|b|\n|-|-|\n|1|2|",
    "    indented", "\tindented", "two  \nlines", "a\x1b[31mb\u2028c",
    "os:abort", "a:b:c:d", "x`y``z",
)  # fmt: skip


def shown(markdown: str) -> str:
    """What a reader sees, if it is a single paragraph of plain text and nothing else."""
    tokens = PARSER.parse(markdown)
    assert [token.type for token in tokens] in (["paragraph_open", "inline", "paragraph_close"], []), tokens
    parts = [part for token in tokens for part in token.children or ()]
    assert {part.type for part in parts} <= {"text", "text_special"}, parts
    return "".join(part.content for part in parts)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_strangers_words_are_shown_as_they_are(text: str) -> None:
    markdown = literal(text)
    assert shown(markdown).replace(JOINER, "") == SPACES.sub(" ", text).strip()
    assert not DIRECTIVE.search(markdown) and not FORMULA.search(markdown)
    assert not IN_TEXT.search(shown(markdown))


ODD = st.text(st.sampled_from("\\`*_[]<>~$|&!#+-=:/.()@{}'\" \n\tab1w"), max_size=40)


@given(ODD | st.text(max_size=40))
@example("1)")
@example("a&amp;b")
def test_any_words_are_shown_as_they_are(text: str) -> None:
    markdown = literal(text)
    seen = shown(markdown)
    assert seen.replace(JOINER, "") == SPACES.sub(" ", text).strip().replace(JOINER, "")
    assert not DIRECTIVE.search(markdown) and not FORMULA.search(markdown) and not IN_TEXT.search(seen)


def test_a_plain_sentence_stays_as_it_is() -> None:
    for text in (
        "sparsity=0.85 is out of range; choose 0 to 0.99.",
        "The pruned network's layer_sparsity: 3 of 7 – 4.2 %.",
    ):
        assert literal(text) == text


def test_sentences_name_no_folder_of_the_server() -> None:
    root, home = Path("/srv/data/pictures"), Path("/srv")
    said = {
        "'/srv/data/pictures/val/1.png' is no picture.": "'val/1.png' is no picture.",
        "Could not save x in /srv/data/pictures (full).": "Could not save x in pictures (full).",
        "[Errno 13] denied: '/srv/cache/results.sqlite'": "[Errno 13] denied: 'cache/results.sqlite'",
        "/srv/data/pictures2/a and /srvx/b": "data/pictures2/a and /srvx/b",
        "https://host/srv/data/pictures/x": "https://host/srv/data/pictures/x",
        "data/srv/data": "data/srv/data",
    }
    for text, wanted in said.items():
        assert without_folders(text, [home, root, Path("/")]) == wanted


def test_a_class_that_is_called_a_link_is_drawn_as_it_is_written() -> None:
    """Plotly makes links of names."""
    import pandas as pd
    import plotly.graph_objects as go

    from reflow_core.present.figures import Chart

    name = '<a href="http://evil.example">cat</a>'
    chart = Chart(go.Figure(go.Bar(x=[name, "dog"], y=[1, 2], text=["<b>1</b>", "2"])), "", pd.DataFrame())
    (trace,) = chart.figure.data
    assert list(trace.x) == ['&lt;a href="http://evil.example">cat&lt;/a>', "dog"] and list(trace.y) == [1, 2]
    assert trace.text[0] == "<b>1</b>"
