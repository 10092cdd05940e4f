"""Where things lie: what ships with the lab, the dashboard's entrance, the cache."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
DISK_GB = {
    "cache": 2.0,
    "downloads": 20.0,
    "uploads": 8.0,
    "free": 2.0,
}  # a server's files by kind, and what they leave


def shipped(inside: str, beside: str) -> Path:
    """A place inside the package where it was installed, beside it in a checkout."""
    installed = PACKAGE / inside
    return installed if installed.exists() else PACKAGE.parent / beside


ASSETS = shipped("assets", "assets")
DOCS = shipped("docs", "docs")
DASHBOARD = shipped("dashboard/app.py", "app.py")


def cache_folder() -> Path:
    """Where downloads and results are kept: REFLOW_CACHE, or the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("REFLOW_CACHE") or platformdirs.user_cache_dir("reflow-lab"))
