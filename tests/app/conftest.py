"""The pages' background work, which elsewhere leaves the machine to people, runs at once, and only where asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _background_at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reflow_core.lab.pool.lowest_priority", lambda: None)
        patch.setattr("reflow_core.lab.pool.QUIET_S", 0.0)
        patch.setattr("sys.argv", ["app.py", "--on-demand"])
        yield
