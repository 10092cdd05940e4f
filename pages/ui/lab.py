"""The one lab of this server: library, store and pool, shared by all visitors."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from reflow_core.library import Library
from reflow_core.memo import Memo
from reflow_core.result import Diagnosis
from reflow_core.spec import Spec
from reflow_core.store import Store, key_of
from reflow_core.study import Point, point
from reflow_core.sweep import Sweep, scrub
from reflow_core.work import Pool

POLL_S = 0.1
SOON_S = 1.0  # what is done so soon needs no progress bar
STAGES = {
    "queued": "Waiting for a free worker",
    "load": "Loading",
    "dense": "Dense network",
    "pruned": "Pruned network",
    "calibrate": "Calibrating",
    "repaired": "Repaired network",
}


@dataclass(frozen=True)
class Lab:
    """What every page asks."""

    library: Library
    store: Store
    pool: Pool
    sweeps: Memo

    def scrub(self, spec: Spec) -> Sweep[dict[str, Any]]:
        """The sweep over all sparsities of a spec, shared by all who look at it."""
        base = spec.replace(sparsity=0.0)
        sweep: Sweep[dict[str, Any]] = self.sweeps.get(base, lambda: scrub(base, self.pool))
        return sweep

    def study(self, specs: Sequence[Spec]) -> Sweep[Point]:
        """A sweep over any specs, likewise shared."""
        wanted = tuple(specs)
        sweep: Sweep[Point] = self.sweeps.get(wanted, lambda: Sweep(wanted, self.pool, point))
        return sweep

    def diagnose(self, spec: Spec) -> Diagnosis:
        """The diagnosis of a spec; shows progress while it is computed, and stops when a newer control value comes.

        Raises ReflowError.
        """
        slot = st.empty()  # there for every spec, so that what follows keeps its place on the page
        if st.session_state.get("_asked") == spec and (found := self.store.get(key_of(spec, self.library))):
            return found  # the sweep drew the page anew, nobody asked: the background need not keep still
        st.session_state["_asked"] = spec
        self.pool.attend()
        found = self.store.get(key_of(spec, self.library)) or self._wait(spec, slot)
        self.pool.attend()
        return found

    def _wait(self, spec: Spec, slot: DeltaGenerator) -> Diagnosis:
        begun, job = time.monotonic(), self.pool.submit(spec)
        try:
            while not job.future.done():
                _ = "sparsity" in st.session_state  # any look into the session lets newer values interrupt
                if time.monotonic() - begun > SOON_S:
                    stage, done, total = job.progress
                    slot.progress(done / max(total, 1), f"{STAGES.get(stage, stage)} …")
                wait([job.future], timeout=POLL_S)
            return job.future.result()
        finally:
            job.cancel()
            slot.empty()


@st.cache_resource(show_spinner="Opening the lab …")
def lab() -> Lab:
    """Opened once a server."""
    library, store = Library(), Store()
    return Lab(library, store, Pool(library, store), Memo(size=32))
