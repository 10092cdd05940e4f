"""Style sheets, one file a purpose in assets/styles."""

from __future__ import annotations

import functools

from reflow_core.places import ASSETS


@functools.cache
def style(*names: str) -> str:
    """Some style sheets by name, as an element for `st.html`."""
    sheets = ((ASSETS / "styles" / f"{name}.css").read_text() for name in names)
    return f"<style>{''.join(sheets)}</style>"
