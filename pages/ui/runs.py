"""Runs of one session that follow each other closely: what Streamlit 1.67 loses there.

Each run has its own lock over the session's values. A run that was told to stop goes on to its next call, beside the
one that replaces it: both then change the same dictionaries, and now and then one fails. So all runs share one lock.

A run looks whether it was told to stop and then takes the lock. In between the next run may have set newer values,
over which the old one then wrote its own: a slider that was moved twice went back. So a run looks again once it has the
lock.

What a run sends waits in the server's loop, and is thrown away once another runner has taken its place. A fragment that
is drawn every second takes the place of a run that has ended with its last messages still in the loop, as on a busy
server: the page then never shows what was computed. So a fragment waits until the run before it has said that it ended.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequestType
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.runtime.state.session_state import SessionState

NAME = "_lock_of_all_runs"
AGAIN_S = 0.02
_making = threading.Lock()


def keep_apart() -> None:
    """From now on runs of a session wait for each other; nothing where it is so already."""
    if getattr(SafeSessionState.__init__, "__wrapped__", None) is None:
        SafeSessionState.__init__ = _sharing(SafeSessionState.__init__)  # type: ignore[method-assign]
        AppSession.request_rerun = _waiting(AppSession.request_rerun)  # type: ignore[method-assign]


def _sharing(usual: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(usual)
    def made(self: SafeSessionState, state: SessionState, yield_callback: Callable[[], None]) -> None:
        usual(self, state, yield_callback)
        with _making:
            lock = vars(state.query_params).setdefault(NAME, self._lock)  # the state itself has slots
        object.__setattr__(self, "_lock", _Lock(lock, yield_callback))

    return made


class _Lock:
    """A session's lock as one of its runs takes it; `stop_if_told` raises what ends a run that was told to."""

    def __init__(self, shared: threading.RLock, stop_if_told: Callable[[], None]) -> None:
        self._shared, self._stop_if_told = shared, stop_if_told

    def __enter__(self) -> None:
        self._shared.acquire()
        try:
            self._stop_if_told()
        except BaseException:
            self._shared.release()
            raise

    def __exit__(self, *_: object) -> None:
        self._shared.release()


def _waiting(usual: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(usual)
    def request_rerun(self: AppSession, client_state: ClientState | None) -> None:
        before = self._scriptrunner
        ended = before is not None and before._requests._state is ScriptRequestType.STOP
        if not (ended and client_state is not None and client_state.fragment_id):
            usual(self, client_state)
        elif not client_state.is_auto_rerun:  # else the browser soon asks again, and with newer values
            self._event_loop.call_later(AGAIN_S, self.request_rerun, client_state)

    return request_rerun
