"""A page's answer is read in one glance; the figures behind it follow."""

from __future__ import annotations

import pytest

from pages.ui.findings import LONGEST_HEADLINE, headline

LONG = "End to end, zeros make this network no faster: with dense kernels it runs 0.90 times as fast on one image and "
LONG += "1.04 times on 64. Its costliest layer alone is as fast from 77 % on."


@pytest.mark.parametrize(
    ("answer", "first", "rest"),
    [
        ("Short: it stays whole; all of it.", "Short: it stays whole; all of it.", ""),
        (LONG, "End to end, zeros make this network no faster.", "With dense kernels"),
        ("word " * 30 + "1.5 points", "word " * 30 + "1.5 points", ""),
    ],
)
def test_a_long_answer_is_cut_at_its_first_stop(answer: str, first: str, rest: str) -> None:
    shown, below = headline(answer)
    assert shown == first and below.startswith(rest) and bool(below) == bool(rest)
    assert not below or len(answer) > LONGEST_HEADLINE
