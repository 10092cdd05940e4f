"""What Streamlit holds in memory of the files that visitors send: it sets a limit to each, but none to their number."""

from __future__ import annotations

import logging
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from streamlit import runtime

FILES, BYTES = 4, 256 << 20  # of one session; its earliest files go first
SERVER_BYTES = 2 << 30  # of all sessions


def _is_no_broken_upload(record: logging.LogRecord) -> bool:
    return record.exc_info is None or not isinstance(record.exc_info[1], ClientDisconnect)


def bound_upload_memory() -> None:
    """Hold no more than that from now on. (Streamlit's manager is replaced by none: only its `add_file` is guarded.)"""
    if not runtime.exists():  # a page that is tested without a server
        return
    manager: Any = runtime.get_instance().uploaded_file_mgr
    add = manager.add_file

    def guarded(session_id: str, file: Any) -> None:
        held = dict(manager.file_storage.get(session_id, {}))
        held.pop(file.file_id, None)
        while held and (len(held) >= FILES or sum(len(each.data) for each in held.values()) + len(file.data) > BYTES):
            earliest = next(iter(held))
            held.pop(earliest)
            manager.remove_file(session_id, earliest)
        if (
            sum(len(each.data) for own in list(manager.file_storage.values()) for each in list(own.values()))
            > SERVER_BYTES
        ):
            raise HTTPException(507, "The files of all visitors fill the memory set aside; try later.")
        add(session_id, file)

    manager.add_file = guarded
    logging.getLogger("uvicorn.error").addFilter(_is_no_broken_upload)  # who leaves while a file arrives is no error
