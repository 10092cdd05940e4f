"""The frame of a page imports nothing heavy; what does is imported once, whatever is wrong with one page."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pages.ui import contents, warm

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "torchvision", "pandas", "numpy", "plotly", "PIL", "onnxruntime")


def added(imported: str, by: str) -> set[str]:
    """Which heavy packages a fresh interpreter has after importing one thing that it had not after another."""
    loaded = f"{{name for name in {HEAVY} if name in sys.modules}}"
    code = f"import sys, {by}; before = {loaded}; import {imported}; print(*({loaded} - before))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_frame_imports_nothing_heavy_that_streamlit_has_not() -> None:
    assert added("pages.ui.shell, app", by="streamlit") == set()


def test_a_page_does() -> None:
    """Else the test above could not fail."""
    assert {"torch", "pandas"} <= added("pages.ui.lab", by="streamlit")


def test_a_broken_page_keeps_no_other_from_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = f"{contents.FIRST}.py"
    for name, text in {first: "import mailcap_of_nobody", "broken.py": "import (", "late.py": "import cmd"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(warm, "FOLDER", tmp_path)
    monkeypatch.setattr(warm, "_done", threading.Event())
    monkeypatch.delitem(sys.modules, "cmd", raising=False)
    warm._import_all()
    assert warm.done() and "cmd" in sys.modules


def test_only_what_a_page_imports_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{contents.FIRST}.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    monkeypatch.setattr(warm, "FOLDER", tmp_path)
    monkeypatch.setattr(warm, "_done", threading.Event())
    monkeypatch.chdir(tmp_path)
    warm._import_all()
    assert not (tmp_path / "ran").exists()


def test_it_begins_once(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[int] = []
    monkeypatch.setattr(warm, "_begun", threading.Lock())
    monkeypatch.setattr(warm, "_done", threading.Event())
    monkeypatch.setattr(warm, "_import_all", lambda: (began.append(1), warm._done.set()))
    for _ in range(3):
        warm.begin()
    assert warm.done(5.0) and began == [1]
