"""What Streamlit holds in memory of the files that visitors send: it sets a limit to each, but none to their number."""

from __future__ import annotations

import logging
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

FILES, BYTES = 8, 800 << 20  # of one session: those that its pages show, and the latest
SERVER_BYTES = 2 << 30  # of all sessions
SHOWN: dict[str, dict[str, str]] = {}  # by session and uploader: the file that the page shows as chosen


def file_is_shown(key: str, file_id: str) -> None:
    """Say that the uploader with this key now shows this file, which therefore stays. "" for none."""
    if (context := get_script_run_ctx()) is not None:
        SHOWN.setdefault(context.session_id, {})[key] = file_id


def bound_upload_memory() -> None:
    """Hold no more than that from now on."""
    if runtime.exists():  # unless a page is tested without a server
        guard(runtime.get_instance().uploaded_file_mgr)
        logging.getLogger("uvicorn.error").addFilter(_is_no_broken_upload)  # who leaves meanwhile is no error


def guard(manager: Any) -> None:
    """Have Streamlit's manager of uploads make room before it adds a file, and refuse the file where there is none.

    Files that no page shows any longer go first, the earliest before the others. One that is shown never goes: the
    page would fall back to the default without a word.
    """
    add = manager.add_file

    def guarded(session_id: str, file: Any) -> None:
        for ended in SHOWN.keys() - manager.file_storage.keys():
            SHOWN.pop(ended, None)
        held = {**manager.file_storage.get(session_id, {}), file.file_id: file}
        shown = {*SHOWN.get(session_id, {}).values(), file.file_id}
        for file_id in [each for each in held if each not in shown]:
            if not _too_much(held):
                break
            del held[file_id]
            manager.remove_file(session_id, file_id)
        if _too_much(held):
            raise HTTPException(413, "Your files exceed the upload limit of a visit; remove one first.")
        others = (list(own.values()) for session, own in list(manager.file_storage.items()) if session != session_id)
        if sum(len(each.data) for own in (*others, held.values()) for each in own) > SERVER_BYTES:
            raise HTTPException(507, "The memory for the files of all visitors is full; try again later.")
        add(session_id, file)

    manager.add_file = guarded


def _too_much(held: dict[str, Any]) -> bool:
    return len(held) > FILES or sum(len(each.data) for each in held.values()) > BYTES


def _is_no_broken_upload(record: logging.LogRecord) -> bool:
    return record.exc_info is None or not isinstance(record.exc_info[1], ClientDisconnect)
