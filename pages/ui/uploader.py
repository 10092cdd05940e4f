"""Where a person chooses a file. A browser offers none of another kind; who sends one past it is told so.

Streamlit's own check raises an exception before the page runs, where none can be caught: the page makes it instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

import streamlit as st
from streamlit.elements.widgets import file_uploader
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages.ui.upload_memory import file_is_shown

file_uploader.enforce_filename_restriction = lambda filename, allowed_types: None  # type: ignore[attr-defined]


def uploader(
    label: str, suffixes: Sequence[str], help: str, key: str, max_upload_size: int | None = None
) -> UploadedFile | None:
    """The file chosen, None without one. `suffixes`: the endings that are taken; `max_upload_size`: in MB."""
    kinds = [suffix.removeprefix(".") for suffix in suffixes]
    file = st.file_uploader(label, kinds, help=help, key=key, max_upload_size=max_upload_size)
    file_is_shown(key, file.file_id if file is not None else "")
    if file is not None and PurePath(file.name).suffix.lower().removeprefix(".") not in kinds:
        endings = ", ".join(f".{kind}" for kind in kinds)
        st.error(f"That file cannot be used here; upload one ending in {endings}.", icon=":material/error:")
        return None
    return file
