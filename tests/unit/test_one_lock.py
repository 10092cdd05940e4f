"""Two runs of one session never change its values at once."""

from __future__ import annotations

import threading

from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.runtime.state.session_state import SessionState

from pages.ui.one_lock import share_locks


def test_a_run_waits_for_the_other_runs_of_its_session_only() -> None:
    share_locks()
    share_locks()  # once is enough
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
    share_locks()
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
