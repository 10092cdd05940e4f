"""The pages' background work runs only where asked for, and only as long as the test that asked."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from streamlit.components.v2 import manifest_scanner

from pages.ui.lab import lab


@pytest.fixture(autouse=True, scope="session")
def _on_demand() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["app.py", "--on-demand"])
        yield


@pytest.fixture(autouse=True, scope="session")
def _scanned_once() -> Iterator[None]:
    """Every AppTest reads the metadata of all installed packages, half a second each time."""
    with pytest.MonkeyPatch.context() as patch:
        scanned = functools.cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", scanned)
        yield


@pytest.fixture(autouse=True)
def _abandoned() -> Iterator[None]:
    """Sweeps end with the test that looked at them, and go on where another looks."""
    yield
    for sweep in lab().sweeps._values.values():
        sweep._shared.looks.clear()
