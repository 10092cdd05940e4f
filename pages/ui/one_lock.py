"""One lock for all runs of a session.

Streamlit gives each run of a page its own lock over the session's values. A run that was told to stop goes on to its
next call, beside the one that replaces it: both then change the same dictionaries, and one of them fails now and then.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.runtime.state.session_state import SessionState

NAME = "_lock_of_all_runs"
_making = threading.Lock()


def share_locks() -> None:
    """From now on all runs of a session wait for each other; nothing where it is so already."""
    usual = SafeSessionState.__init__
    if getattr(usual, "__wrapped__", None) is not None:
        return

    @functools.wraps(usual)
    def made(self: SafeSessionState, state: SessionState, yield_callback: Callable[[], None]) -> None:
        usual(self, state, yield_callback)
        with _making:
            lock = vars(state.query_params).setdefault(NAME, self._lock)  # the state itself has slots
        object.__setattr__(self, "_lock", lock)

    SafeSessionState.__init__ = made  # type: ignore[method-assign]
