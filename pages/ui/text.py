"""Sentences as they are: what a link, a file or a network is called is shown as text and never acts as markdown.

Markdown that is meant stands in the pages; whatever else they say passes through here.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pages.ui.lab import lab
from pages.ui.literal import literal as literal
from reflow_core.networks.checkpoint import weights_folder
from reflow_core.places import PACKAGE, cache_folder


def sentence(problem: object) -> str:
    """The same of an error or a note, which names files as their owner called them and no folder of the server."""
    return literal(without_folders(str(problem), _folders()))


def without_folders(text: str, folders: Iterable[Path]) -> str:
    """A text in which what lies below one of the folders is named from there, and the folder by its last part."""
    for folder in sorted({str(folder) for folder in folders if folder.name}, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.]){re.escape(folder)}/", "", text)
        text = re.sub(rf"(?<![\w.]){re.escape(folder)}(?![\w/-]|\.\w)", Path(folder).name.replace("\\", r"\\"), text)
    return text


def _folders() -> list[Path]:
    """Folders of this machine that a sentence may name: the opened one, caches, code, the home of whoever runs it."""
    root = lab().public.library.access.root
    opened = [] if root is None else [root]
    places = [*opened, cache_folder(), weights_folder(), Path(tempfile.gettempdir()), PACKAGE, Path.cwd(), Path.home()]
    return [*(place.absolute() for place in places), *(place.resolve() for place in places)]
