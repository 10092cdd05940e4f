"""Two runs of one session never change its values at once, and the newer one has the last word."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from types import SimpleNamespace
from typing import cast

from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.runtime.app_session import AppSession, AppSessionState
from streamlit.runtime.scriptrunner_utils.exceptions import StopException
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests
from streamlit.runtime.state.common import WidgetMetadata
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.runtime.state.session_state import SessionState

from pages.ui.runs import AGAIN_S, keep_apart


def test_a_run_waits_for_the_other_runs_of_its_session_only() -> None:
    keep_apart()
    keep_apart()  # once is enough
    session, other = SessionState(), SessionState()
    old, new, stranger = (SafeSessionState(state, lambda: None) for state in (session, session, other))
    written = threading.Event()

    def write() -> None:
        new["sparsity"] = 0.5
        written.set()

    with old._lock:
        stranger["sparsity"] = 0.7
        writer = threading.Thread(target=write)
        writer.start()
        assert not written.wait(0.2)
    assert written.wait(5)
    writer.join()
    assert old["sparsity"] == 0.5 and stranger["sparsity"] == 0.7


def test_values_that_are_settled_while_another_run_writes_stay_whole() -> None:
    keep_apart()
    session = SessionState()
    old, new = (SafeSessionState(session, lambda: None) for _ in range(2))
    problems: list[Exception] = []

    def settle() -> None:
        try:
            for _ in range(300):
                with old._lock:
                    session._compact_state()
        except Exception as error:
            problems.append(error)

    thread = threading.Thread(target=settle)
    thread.start()
    for number in range(3000):
        new[f"key{number}"] = number
    thread.join()
    assert not problems
    assert all(new[f"key{number}"] == number for number in range(3000))


def test_a_run_that_was_told_to_stop_while_it_waited_writes_nothing() -> None:
    """A slider that was moved twice went back to the first value."""
    keep_apart()
    session, told, waits, ends = SessionState(), threading.Event(), threading.Event(), list[BaseException]()

    def stop_if_told() -> None:
        if told.is_set():
            raise StopException
        waits.set()

    old, new = SafeSessionState(session, stop_if_told), SafeSessionState(session, lambda: None)

    def write() -> None:
        try:
            old["sparsity"] = 0.1
        except StopException as end:
            ends.append(end)

    with new._lock:
        writer = threading.Thread(target=write)
        writer.start()
        assert waits.wait(5)
        told.set()
        new["sparsity"] = 0.35
    writer.join()
    assert new["sparsity"] == 0.35 and len(ends) == 1


def test_a_fragment_waits_until_the_run_before_it_has_said_that_it_ended() -> None:
    """Else what that run still has to say is thrown away."""
    keep_apart()
    begun: list[RerunData] = []

    async def ask() -> None:
        session = cast(AppSession, SimpleNamespace())
        session.request_rerun = partial(AppSession.request_rerun, session)  # type: ignore[method-assign]
        session._state, session._event_loop = AppSessionState.APP_NOT_RUNNING, asyncio.get_running_loop()
        session.has_fragment = lambda name: True  # type: ignore[method-assign]
        session._create_scriptrunner = begun.append  # type: ignore[method-assign]
        session._scriptrunner = SimpleNamespace(_requests=ScriptRequests())  # type: ignore[assignment]
        session._scriptrunner._requests.on_scriptrunner_ready()  # nothing is left to run
        session.request_rerun(ClientState(fragment_id="poll", is_auto_rerun=True))  # which comes again by itself
        session.request_rerun(ClientState(fragment_id="progress"))
        await asyncio.sleep(5 * AGAIN_S)
        assert not begun
        session._scriptrunner = None  # as when the runner has said that it ended
        while not begun:
            await asyncio.sleep(AGAIN_S)

    asyncio.run(asyncio.wait_for(ask(), 5))
    assert [each.fragment_id for each in begun] == ["progress"]


def test_what_a_callback_has_set_stays_until_the_browser_changes_it() -> None:
    """A browser that had not drawn it yet sent the value before, and a dragged slider went back."""
    keep_apart()
    session, name = SessionState(), "$$ID-0-sparsity"

    def sent(value: float) -> float:
        states = WidgetStates(widgets=[WidgetState(id=name, double_value=value)])
        session.on_script_will_rerun(states)
        metadata = WidgetMetadata(name, lambda value: value or 0.0, lambda value: value, "double_value")
        return session.register_widget(metadata, "sparsity").value

    assert sent(0.8) == 0.8
    session["sparsity"] = 0.61
    assert sent(0.8) == 0.61, "sent before the browser has drawn what was set"
    assert sent(0.8) == 0.61, "and once more, now that what was set has been settled"
    assert sent(0.61) == 0.61
    assert sent(0.8) == 0.8, "a person moved it back"
