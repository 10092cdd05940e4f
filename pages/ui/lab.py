"""The one lab of this server: library, store and pool, shared by all visitors."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.ui import skeleton
from reflow_core.diagnosis.diagnose import anatomy_of
from reflow_core.diagnosis.preflight import Preflight, cost, preflight
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.lab.store import Store, key_of
from reflow_core.lab.study import Point, point
from reflow_core.lab.sweep import Sweep, scrub
from reflow_core.lab.work import Home, Job, Pool, Work, asked_key, asking, taking
from reflow_core.machine import devices, keep_for_good
from reflow_core.memo import Memo
from reflow_core.production.finding import Finding
from reflow_core.signal.trace import WeightLayer
from reflow_core.sources.access import Access
from reflow_core.sources.library import Library
from reflow_core.sources.uploads import Uploads, concerns
from reflow_core.spec import Spec

POLL_S = 0.1
SOON_S = 1.0  # what is done so soon needs no progress bar
SOON_OVER_S = 2.0  # what is left of a computation and not worth saying
STAGES = {
    "load": "Loading",
    "dense": "Dense network",
    "pruned": "Pruned network",
    "scores": "Scoring the weights",
    "update": "Updating the weights",
    "target": "Dense network on calibration images",
    "calibrate": "Repairing",
    "repaired": "Repaired network",
    "groups": "Proving the coupled channels",
    "timing": "Timing",
    "quantize": "Quantising",
}


@dataclass(frozen=True)
class Started:
    """How the server was started: `streamlit run app.py -- --data-root FOLDER --allow-code --on-demand`.

    `access`: what was opened. `on_demand`: sweeps around a view begin when asked for, not by themselves.
    """

    access: Access
    on_demand: bool

    @classmethod
    def read(cls, arguments: Sequence[str]) -> Started:
        """From the words behind the script's name; words of others are ignored."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--data-root", type=Path)
        parser.add_argument("--allow-code", action="store_true")
        parser.add_argument("--on-demand", action="store_true")
        options, _ = parser.parse_known_args(arguments)
        return cls(Access(options.data_root, options.allow_code), options.on_demand)


@dataclass(frozen=True, eq=False)
class Visit:
    """What one visitor brought and what was made of it: files, networks, results and sweeps, gone with the session."""

    uploads: Uploads
    home: Home
    sweeps: Memo
    tokens: Memo

    def token(self, number: str, name: str, content: BinaryIO, suffixes: tuple[str, ...]) -> str:
        """The token of a file that the visitor chose; read only once. Raises ReflowError."""
        token: str = self.tokens.get(number, lambda: self.uploads.add(name, content, suffixes))
        return token

    @classmethod
    def opened(cls, shared: Library) -> Visit:
        """An empty one."""
        uploads = Uploads()
        home = Home(Library(shared.access, uploads, shared, shared.device), Store(uploads.folder))
        return cls(uploads, home, Memo(size=8), Memo(size=8))

    def close(self) -> None:
        """Delete every file of the visit, the results made from it too."""
        self.uploads.close()


@dataclass(frozen=True)
class Lab:
    """What every page asks. `homes`: where all that is nobody's own is at home, by device, the fastest first.

    `on_demand`: sweeps around a view begin when asked for.
    """

    homes: Mapping[str, Home]
    pool: Pool
    sweeps: Memo
    on_demand: bool = False

    @property
    def device(self) -> str:
        """Where this visitor's networks run."""
        chosen = str(st.session_state.get("device"))
        return chosen if chosen in self.homes else next(iter(self.homes))

    @property
    def public(self) -> Home:
        """Where all that is nobody's own is at home, on this visitor's device."""
        return self.homes[self.device]

    def home(self, spec: Spec) -> Home:
        """Where a spec is at home: in this visit if it needs what the visitor brought, else with all others."""
        return self.visit().home if concerns(spec.model, spec.data) else self.public

    def visit(self) -> Visit:
        """This visitor's own corner, opened with the first file; it ends with the session."""
        return _visit(self.public.library, self.device)

    def scrub(self, spec: Spec, at_once: bool = True) -> Sweep[dict[str, Any]]:
        """The sweep over all sparsities of a spec, shared by all who look at it; begun `at_once` or when asked to."""
        base, home = spec.replace(sparsity=0.0), self.home(spec)

        def made() -> Sweep[dict[str, Any]]:
            sweep = scrub(base, self.pool, home)
            if self.on_demand or not at_once:
                sweep.stop()
            return sweep

        sweep: Sweep[dict[str, Any]] = self._sweeps(home).get((base, home.library.device), made)
        return sweep

    def study(self, specs: Sequence[Spec]) -> Sweep[Point]:
        """A sweep over any specs of one model and its data, likewise shared."""
        wanted, home = tuple(specs), self.home(specs[0])
        sweep: Sweep[Point] = self._sweeps(home).get(
            (wanted, home.library.device), lambda: Sweep(wanted, self.pool, point, home)
        )
        return sweep

    def inspect(self, name: str, specs: Sequence[Spec]) -> Sweep[Finding]:
        """A sweep of an inspection over any specs of one model and its data, likewise shared."""
        wanted, home = tuple(specs), self.home(specs[0])
        key = name, wanted, home.library.device
        sweep: Sweep[Finding] = self._sweeps(home).get(
            key, lambda: Sweep(wanted, self.pool, lambda found: found, home, name)
        )
        return sweep

    def inspections(self, names: Sequence[str], spec: Spec) -> Sweep[Finding]:
        """A sweep over several inspections of one spec, by their names, likewise shared."""
        home = self.home(spec)
        asked = dict.fromkeys(names, spec)
        key = tuple(names), spec, home.library.device
        sweep: Sweep[Finding] = self._sweeps(home).get(key, lambda: Sweep(asked, self.pool, lambda found: found, home))
        return sweep

    def layers(self, spec: Spec) -> tuple[WeightLayer, ...]:
        """The weight layers of a spec's network in forward order. Raises ReflowError."""
        return anatomy_of(spec, self.home(spec).library).layers

    def _sweeps(self, home: Home) -> Memo:
        return self.sweeps if home is self.public else self.visit().sweeps

    def known(self, spec: Spec) -> bool:
        """Whether the result of a spec is there already. Raises ReflowError."""
        home = self.home(spec)
        return key_of(spec, home.library) in home.store

    def preflight(self, spec: Spec) -> Preflight:
        """What a spec will cost. Raises ReflowError."""
        return preflight(spec, self.home(spec).library)

    def cost(self, spec: Spec) -> int:
        """Multiply-adds an image. Raises ReflowError."""
        return cost(spec, self.home(spec).library)

    def diagnose(self, spec: Spec) -> Diagnosis:
        """The diagnosis of a spec; shows progress while it is computed, and stops when a newer control value comes.

        Raises ReflowError.
        """
        return cast(Diagnosis, self._answered(spec, ""))

    def inspection(self, name: str, spec: Spec) -> Finding:
        """The finding of an inspection, likewise. Raises ReflowError."""
        return cast(Finding, self._answered(spec, name))

    def _answered(self, spec: Spec, inspection: str) -> Diagnosis | Finding:
        home = self.home(spec)
        slot = st.empty()  # there for every spec, so that what follows keeps its place on the page
        key = asked_key(inspection, spec, home.library) if inspection else key_of(spec, home.library)
        asked = spec, inspection
        if st.session_state.get("_asked") == asked and (found := home.store.get(key)):
            skeleton.drawn()
            return cast(Diagnosis | Finding, found)  # the sweep drew the page anew, nobody asked: it goes on
        st.session_state["_asked"] = asked
        self.pool.attend()
        found = home.store.get(key) or self._wait(asking(spec, inspection), spec, home, slot)
        self.pool.attend()
        skeleton.drawn()
        return cast(Diagnosis | Finding, found)

    def take(self, spec: Spec, kind: str) -> bytes:
        """The network of a spec as a file of a kind; shows progress meanwhile. Raises ReflowError."""
        return cast(bytes, self._wait(taking(spec, kind), spec, self.home(spec), st.empty()))

    def _wait(self, work: Work, spec: Spec, home: Home, slot: DeltaGenerator) -> Any:
        expected, asked, shown = self.preflight(spec).seconds, time.monotonic(), None
        job, place = self.pool.submit(work, home=home), skeleton.outline(slot)
        try:
            while not job.future.done():
                _ = "sparsity" in st.session_state  # any look into the session lets newer values interrupt
                if time.monotonic() - asked > SOON_S and (now := self._told(job, expected)) != shown:
                    shown = now
                    place.progress(*shown)
                wait([job.future], timeout=POLL_S)
            return job.future.result()
        finally:
            job.cancel()
            slot.empty()

    def _told(self, job: Job, expected: float) -> tuple[float, str]:
        """How far a job is: a share of its stage, and a sentence."""
        if job.began is None:
            ahead = self.pool.ahead(job)
            return 0.0, f"Waiting for a free worker, {ahead} before you …" if ahead else "Waiting for a free worker …"
        stage, done, total = job.progress
        count = f": {done} of {total}" if total > 1 else ""
        left = expected - (time.monotonic() - job.began)
        rest = f", about {left:.0f} s left" if left > SOON_OVER_S else " …"
        return done / max(total, 1), f"{STAGES.get(stage, stage)}{count}{rest}"


@st.cache_resource(scope="session", on_release=Visit.close, show_spinner=False)
def _visit(_shared: Library, device: str) -> Visit:
    return Visit.opened(_shared)


@st.cache_resource(show_spinner="Opening the lab …")
def lab() -> Lab:
    """Opened once a server."""
    started, store = Started.read(sys.argv[1:]), Store()
    access = started.access
    library = Library(access)
    libraries = {name: library if name == "cpu" else Library(access, shared=library, device=name) for name in devices()}
    keep_for_good()
    homes = {name: Home(each, store) for name, each in libraries.items()}
    return Lab(homes, Pool(library, store), Memo(size=32), started.on_demand)
