"""Text as it is, in markdown."""

from __future__ import annotations

import re

JOINER = "\u2060"  # has no width; parts what Streamlit looks for in text even where a backslash stands before it
PARTED = re.compile(
    r":(?=[\w+/-]+:)"  # :material/icon:, :emoji:
    r"|:(?=//)|\bwww(?=\.)|@(?=[\w.-]*\w\.\w)",  # addresses, which become links by themselves
    re.IGNORECASE,
)
MARKS = re.compile(r"[\\`*\[\]<>~$|&]|(?<![^\W_])_|_(?![^\W_])|:(?=[a-z:])", re.IGNORECASE)
BEGINNING = re.compile(r"^([#+=-]|\d+(?=[.)]))")  # what only acts at the beginning of a line
SPACES = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")


def literal(text: object) -> str:
    """Markdown that shows a text of one line as it is, whoever wrote it."""
    line = PARTED.sub(lambda match: match[0] + JOINER, SPACES.sub(" ", str(text)).strip())
    escaped = MARKS.sub(lambda match: f"\\{match[0]}", line)
    return BEGINNING.sub(lambda match: f"{match[0]}\\" if match[0].isdigit() else f"\\{match[0]}", escaped)
