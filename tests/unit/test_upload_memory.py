"""What the server keeps in memory of a visitor's files: those that the page shows, whatever else is sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.exceptions import HTTPException
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from pages.ui import upload_memory

KB = 1 << 10


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryUploadedFileManager]:
    """Streamlit's own, guarded; small, so that the test is."""
    monkeypatch.setattr(upload_memory, "BYTES", 100 * KB)
    monkeypatch.setattr(upload_memory, "SERVER_BYTES", 250 * KB)
    monkeypatch.setattr(upload_memory, "SHOWN", {})
    made = MemoryUploadedFileManager("/upload")
    upload_memory.guard(made)
    yield made


def send(manager: MemoryUploadedFileManager, name: str, size: int = KB, session: str = "mine") -> None:
    manager.add_file(session, UploadedFileRec(name, name, "text/plain", bytes(size)))


def held(manager: MemoryUploadedFileManager, session: str = "mine") -> list[str]:
    return list(manager.file_storage[session])


def test_the_file_that_a_page_shows_outlives_any_number_of_later_ones(manager: MemoryUploadedFileManager) -> None:
    send(manager, "weights")
    upload_memory.SHOWN["mine"] = {"weights": "weights"}
    for number in range(20):
        send(manager, f"images {number}")
        upload_memory.SHOWN["mine"]["images"] = f"images {number}"
    assert held(manager) == ["weights", *(f"images {number}" for number in range(13, 20))]


def test_bytes_are_bounded_too_and_what_finds_no_room_is_refused(manager: MemoryUploadedFileManager) -> None:
    send(manager, "weights", 60 * KB)
    upload_memory.SHOWN["mine"] = {"weights": "weights"}
    send(manager, "old images", 30 * KB)
    send(manager, "images", 35 * KB)
    assert held(manager) == ["weights", "images"]
    with pytest.raises(HTTPException) as refused:
        send(manager, "images of 50 KB", 50 * KB)
    assert refused.value.status_code == 413 and "weights" in held(manager)


def test_all_visitors_share_a_limit(manager: MemoryUploadedFileManager) -> None:
    for session in ("first", "second"):
        send(manager, "file", 90 * KB, session)
    with pytest.raises(HTTPException) as refused:
        send(manager, "file", 90 * KB)
    assert refused.value.status_code == 507
    manager.remove_session_files("first")
    send(manager, "file", 90 * KB)


def test_what_is_remembered_of_a_session_ends_with_it(manager: MemoryUploadedFileManager) -> None:
    upload_memory.SHOWN["gone"] = {"weights": "weights"}
    send(manager, "file")
    assert list(upload_memory.SHOWN) == []
