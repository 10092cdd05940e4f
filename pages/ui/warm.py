"""What takes seconds to import, imported once, in a thread that begins with the server.

Pages wait for its end instead of importing beside it: two threads in one circle of imports see modules half made.
"""

from __future__ import annotations

import ast
import contextlib
import sys
import threading

from pages.ui.contents import FIRST, FOLDER

SWITCH_S = 0.0005  # after which a thread that computes lets others go on; each small operation waits for that
_begun = threading.Lock()  # taken for good by the one that begins
_done = threading.Event()


def begin() -> None:
    """Begin, unless somebody has."""
    if _begun.acquire(blocking=False):
        sys.setswitchinterval(SWITCH_S)
        threading.Thread(target=_import_all, name="reflow-warm", daemon=True).start()


def done(seconds: float = 0.0) -> bool:
    """Whether all is imported; waits at most so many seconds for it."""
    return _done.wait(seconds)


def _import_all() -> None:
    """What the pages import, the first page's first; a page that cannot be imported says why when it is opened."""
    first = FOLDER / f"{FIRST}.py"
    for file in (first, *sorted(FOLDER.glob("[!_]*.py"))):
        with contextlib.suppress(Exception):
            statements = ast.parse(file.read_text()).body
            imports: list[ast.stmt] = [each for each in statements if isinstance(each, ast.Import | ast.ImportFrom)]
            exec(compile(ast.Module(imports, []), str(file), "exec"), {})
    with contextlib.suppress(Exception):
        from pages.ui.lab import lab

        lab()
    _done.set()
