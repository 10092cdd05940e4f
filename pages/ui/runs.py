"""Runs of one session that follow each other closely: what Streamlit 1.67 loses there.

Each run has its own lock over the session's values. A run that was told to stop goes on to its next call, beside the
one that replaces it: both then change the same dictionaries, and now and then one fails. So all runs share one lock.

A run looks whether it was told to stop and then takes the lock. In between the next run may have set newer values,
over which the old one then wrote its own: a slider that was moved twice went back. So a run looks again once it has the
lock.

What a run sends waits in the server's loop, and is thrown away once another runner has taken its place. A fragment that
is drawn every second takes the place of a run that has ended with its last messages still in the loop, as on a busy
server: the page then never shows what was computed. So a fragment waits until the run before it has said that it ended.

With each request a browser sends the values of all controls, also of one that a callback has just set and that it has
not drawn yet. So a percentage that was typed, or a slider that was dragged, went back where the page looked after the
sweep in that moment. So a value counts only where the browser has changed it since it sent it last.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequestType
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.runtime.state.session_state import SessionState

NAME, SENT = "_lock_of_all_runs", "_values_sent_last"
SET_BY_CALLBACKS = ("bool_value", "double_value", "string_value", "string_array_value")
AGAIN_S = 0.02
_making = threading.Lock()


def keep_apart() -> None:
    """From now on runs of a session wait for each other; nothing where it is so already."""
    if getattr(SafeSessionState.__init__, "__wrapped__", None) is None:
        SafeSessionState.__init__ = _sharing(SafeSessionState.__init__)  # type: ignore[method-assign]
        AppSession.request_rerun = _waiting(AppSession.request_rerun)  # type: ignore[method-assign]
        SessionState.on_script_will_rerun = _changes_only(  # type: ignore[method-assign]
            SessionState.on_script_will_rerun
        )


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


def _changes_only(usual: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(usual)
    def on_script_will_rerun(self: SessionState, fresh_widget_states: WidgetStates | None, **more: Any) -> None:
        taken = None if fresh_widget_states is None else _changed(self, fresh_widget_states)
        usual(self, taken, **more)

    return on_script_will_rerun


def _changed(state: SessionState, sent: WidgetStates) -> WidgetStates:
    """What a browser sends, but with the session's own values of the controls that have not changed there."""
    before: dict[str, WidgetState] = vars(state.query_params).setdefault(SENT, {})
    changed = WidgetStates()
    for widget in sent.widgets:
        own = _own(state, widget) if before.get(widget.id) == widget else None
        changed.widgets.append(own or widget)
        before[widget.id] = widget
    return changed


def _own(state: SessionState, widget: WidgetState) -> WidgetState | None:
    """The session's own value of a control, None where it has none or callbacks set no such value."""
    metadata = state._new_widget_state.widget_metadata.get(widget.id)
    if metadata is None or metadata.value_type not in SET_BY_CALLBACKS or widget.id not in state:
        return None
    own, value = WidgetState(id=widget.id), metadata.serializer(state[widget.id])
    if metadata.value_type == "string_array_value":
        own.string_array_value.data.extend(value or [])
    elif value is not None:
        setattr(own, metadata.value_type, value)
    return own
