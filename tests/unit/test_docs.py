"""Documents over the pages: every page has one, none shows what leads nowhere from there."""

from __future__ import annotations

import pytest

from pages.ui.contents import pages
from pages.ui.docs import documents, readable, title_of
from reflow_core.places import DOCS


def test_every_page_names_a_document() -> None:
    assert {entry.doc for entry in pages().values()} <= set(documents())


@pytest.mark.parametrize("name", documents())
def test_a_document_has_a_title_and_no_picture_or_link_that_leads_nowhere(name: str) -> None:
    title, text = readable((DOCS / f"{name}.md").read_text())
    assert title == title_of(name) and 3 < len(title) < 60
    assert "![" not in text and "](" not in text.replace("](http", "")
    assert len(text) > 400


def test_a_link_to_a_file_becomes_its_words() -> None:
    text = "# Title\n\nSee [the cli](cli.md#x), ![a](b.png)\n[the paper](https://arxiv.org/abs/2502.15790).\n"
    assert readable(text) == ("Title", "[the paper](https://arxiv.org/abs/2502.15790).")
    assert readable("# T\nSee [the cli](cli.md#x).")[1] == "See the cli."
