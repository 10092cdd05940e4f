"""The one lab of this server: library, store and pool, shared by all visitors."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import secrets
import sys
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages.ui import skeleton
from pages.ui.literal import literal
from pages.ui.session import session
from pages.ui.upload_memory import bound_upload_memory
from pages.ui.visitor import visitor
from reflow_core import sandbox
from reflow_core.diagnosis.experiment import trace_of
from reflow_core.diagnosis.fields import is_total, scalable
from reflow_core.diagnosis.preflight import Preflight, cost, preflight
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.lab.cluster import Cluster
from reflow_core.lab.pool import IDLE, LIGHT, TIMED, Pool
from reflow_core.lab.request import Answer, Context, Request, network_file
from reflow_core.lab.store import Store
from reflow_core.lab.sweep import Choose, Sweep, along, in_order, scrub
from reflow_core.lab.turns import Job, Work
from reflow_core.leftovers import LockedFolder, remove_leftovers
from reflow_core.machine import allow, devices, keep_for_good, prepare
from reflow_core.memo import Memo
from reflow_core.networks.checkpoint import weights_folder
from reflow_core.networks.fetch import LIMITS, remove_part_files
from reflow_core.places import DISK_GB, cache_folder
from reflow_core.production.finding import Finding
from reflow_core.signal.trace import WeightLayer
from reflow_core.sources.access import Access
from reflow_core.sources.library import Library, missing
from reflow_core.sources.uploads import Ledger, Quota, Uploads, bare_name
from reflow_core.spec import Spec, needs_upload
from reflow_core.watch import Watch

T = TypeVar("T")
POLL_S = 0.1
WAITING_POLL_S = 0.25  # where nothing is computed for it yet: twenty who look ten times a second cost a fifth of a core
QUEUE_S = 1.0  # after which a place in the queue is looked at again
GB = 10**9
VISIT_RESULTS = GB // 4  # bytes of what was computed from one visitor's uploads
SOON_S = 0.5  # work that takes no longer needs no progress bar
SOON_OVER_S = 2.0  # a remaining time too short to mention
STAGES = {
    "load": "Loading",
    "send": "Sending the network or its images to a worker",
    "read": "Reading your file",
    "decode": "Decoding images",
    "wait for a reader": "Waiting to read your file",
    "wait for another process": "Waiting for another visitor's identical computation",
    "dense": "Dense network",
    "control": "Recalibrated dense network",
    "pruned": "Pruned network",
    "stages": "Pruning and repairing in stages",
    "scores": "Scoring the weights",
    "update": "Updating the weights",
    "target": "Dense network on calibration images",
    "calibrate": "Repairing",
    "distill": "Training to the dense network's logits",
    "repaired": "Repaired network",
    "groups": "Verifying the coupled channels",
    "timing": "Timing",
    "quantize": "Quantizing",
}


@dataclass(frozen=True)
class Started:
    """How the server was started: `streamlit run app.py -- --data-root FOLDER --allow-code --on-demand`.

    `access`: what was opened. `on_demand`: sweeps around a view begin when asked for, not by themselves. In bytes:
    `cache`, what all results may take; `downloads`, what a folder of downloads may; `uploads`, what the files of all
    visitors may; `free`, what these leave free. `cluster`: where a Dask cluster computes, None: nowhere.
    `memory`: what one calibration may hold, in words.
    """

    access: Access
    on_demand: bool
    cache: int
    downloads: int
    uploads: int
    free: int
    cluster: str | None = None
    memory: str | None = None

    @classmethod
    def read(cls, arguments: Sequence[str]) -> Started:
        """From the words behind the script's name; words of others are ignored."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--data-root", type=Path)
        parser.add_argument("--allow-code", action="store_true")
        parser.add_argument("--on-demand", action="store_true")
        parser.add_argument("--cluster")
        parser.add_argument("--memory")
        for name, default in DISK_GB.items():
            parser.add_argument(f"--{name}-gb", type=float, default=default)
        options, _ = parser.parse_known_args(arguments)
        given = {name: round(getattr(options, f"{name}_gb") * GB) for name in DISK_GB}
        return cls(
            Access(options.data_root, options.allow_code),
            options.on_demand,
            **given,
            cluster=options.cluster,
            memory=options.memory,
        )


@dataclass(frozen=True, eq=False)
class Visit:
    """What one visitor brought and what was made of it: files, networks, results and sweeps, gone with the session.

    `outcomes`: of readers, by file. `read`: the models and data whose files a worker has read. `forget`: deletes what a
    cluster has of it.
    """

    uploads: Uploads
    context: Context
    sweeps: Memo
    tokens: Memo
    outcomes: Memo
    read: set[tuple[str, str]] = field(default_factory=set)
    forget: Callable[[], None] = lambda: None

    def token(
        self, number: str, name: str, content: BinaryIO, suffixes: tuple[str, ...], keep: Collection[str] = ()
    ) -> str:
        """The token of a file that the visitor chose, kept once in place of earlier ones. Raises ReflowError.

        `keep`: names of models and data that need earlier ones.
        """
        token: str = self.tokens.get(number, lambda: self.uploads.add(name, content, suffixes, keep))
        return token

    @classmethod
    def opened(cls, shared: Library, ledger: Ledger, cluster: Cluster | None = None) -> Visit:
        """An empty one."""
        uploads = Uploads(ledger)
        library = Library(shared.access, uploads, shared, shared.device)
        context = Context(library, Store(uploads.folder, VISIT_RESULTS))
        visit = cls(uploads, context, Memo(size=8), Memo(size=8), Memo(size=2))
        return visit if cluster is None else visit.on(cluster)

    def on(self, cluster: Cluster) -> Visit:
        """The same, computed by a cluster: uploads travel under a name of the visit that nobody else knows."""
        number = secrets.token_hex(8)

        def compute(request: Request, library: Library, watch: Watch) -> Answer:
            return cluster.compute(request, library, library.while_here(watch), number)

        context = dataclasses.replace(self.context, compute=compute)
        return dataclasses.replace(self, context=context, forget=functools.partial(cluster.forget, number))

    def close(self) -> None:
        """Delete every file of the visit, the results made from it too."""
        self.uploads.close()
        self.forget()


@dataclass(frozen=True)
class Lab:
    """What every page asks. `contexts`: of all that is nobody's own, by device, the fastest first.

    `ledger`: what visitors' files may take. `on_demand`: sweeps around a view begin when asked for. `cluster`: what
    computes while it is there, None: this machine alone.
    """

    contexts: Mapping[str, Context]
    pool: Pool
    sweeps: Memo
    ledger: Ledger
    on_demand: bool = False
    cluster: Cluster | None = None

    @property
    def device(self) -> str:
        """Where this visitor's networks run."""
        chosen = str(st.session_state.get("device"))
        return chosen if chosen in self.contexts else next(iter(self.contexts))

    @property
    def public(self) -> Context:
        """The context of all that is nobody's own, on this visitor's device."""
        return self.contexts[self.device]

    @property
    def computed_by(self) -> str:
        """Who computes now, in words; "" where nobody asked for a cluster."""
        if self.cluster is None:
            return ""
        workers = self.cluster.workers
        return f"{workers} worker{'s' if workers > 1 else ''} of a cluster" if workers else "this server"

    def context(self, spec: Spec) -> Context:
        """Where a spec belongs: in this visit if it needs what the visitor brought, else with all others."""
        return self.visit().context if needs_upload(spec.model, spec.data) else self.public

    def visit(self) -> Visit:
        """This visitor's own corner, opened with the first file; it ends with the session."""
        return _visit(self.public.library, self.ledger, self.cluster, self.device)

    def scrub(self, spec: Spec, at_once: bool = True) -> Sweep[dict[str, Any]]:
        """The sweep over all sparsities of a spec, shared by all who look at it; begun `at_once` or when asked to."""
        base, context = spec.replace(sparsity=0.0), self.context(spec)
        key = base, context.library.device
        return self._shared(key, context, lambda: scrub(base, self.pool, context), self.on_demand or not at_once)

    def sweep(
        self,
        requests: Sequence[Request],
        digest: Callable[[Any], T],
        choose: Choose[T] = in_order,
        previews: bool = False,
    ) -> Sweep[T]:
        """A sweep over requests about one model and its data, likewise shared; `digest`: what is kept of an answer.

        `previews`: whether points of long passes may be previews at first.
        """
        wanted, context = tuple(requests), self.context(requests[0].spec)
        key = wanted, digest, previews, context.library.device
        return self._shared(key, context, lambda: Sweep(wanted, self.pool, digest, context, choose, previews))

    def _shared(self, key: Hashable, context: Context, made: Callable[[], Sweep[T]], resting: bool = False) -> Sweep[T]:
        """This visit's view of a sweep: to pause it is each visitor's own decision."""
        shared = (self.sweeps if context is self.public else self.visit().sweeps).get(key, made)
        if (view := session().views.get(shared)) is None:
            view = session().views[shared] = shared.seen_by(visitor())
            if resting:
                view.stop()
        return view

    def layers(self, spec: Spec) -> tuple[WeightLayer, ...]:
        """The weight layers of a spec's network in forward order. Raises ReflowError."""
        return trace_of(spec, self.context(spec).library).layers

    def moved(self, diagnosis: Diagnosis) -> Spec:
        """The spec whose sparsity the slider of a diagnosis moves: with sparsities by layer, those are scaled."""
        names = [layer.name for layer in self.layers(diagnosis.spec)]
        return scalable(diagnosis.spec, names, diagnosis.sparsity)

    def load(self, spec: Spec) -> None:
        """Have a spec's files read and its pictures decoded; shows progress, and stops for a newer control value.

        Raises ReflowError.
        """
        own = needs_upload(spec.model, spec.data)
        if own and (spec.model, spec.data) in self.visit().read:
            return
        context = self.context(spec)
        if own or (not missing(spec.model, spec.data) and context.library.decodes(spec)):
            places = LIGHT if own else 1
            self._wait(lambda own, watch: own.library.load(spec, watch), context, st.empty(), places=places)
        if own:
            self.visit().read.add((spec.model, spec.data))

    def read_once(self, file: UploadedFile, reader: Callable[[Path, str, Watch], T]) -> T:
        """What a reader makes of a visitor's file, once a file; shows progress meanwhile. Raises ReflowError."""
        return self.visit().outcomes.get((reader, file.file_id), lambda: self._read(file, reader))

    def _read(self, file: UploadedFile, reader: Callable[[Path, str, Watch], T]) -> T:
        with LockedFolder("reflow-upload-") as folder:
            path, name = folder / "file", bare_name(file.name)
            path.write_bytes(file.getbuffer())
            return cast(
                T, self._wait(lambda _, watch: reader(path, name, watch), self.public, st.empty(), places=LIGHT)
            )

    def known(self, spec: Spec) -> bool:
        """Whether the diagnosis of a spec is there already. Raises ReflowError."""
        context = self.context(spec)
        return Request(spec).key(context.library) in context.store

    def preflight(self, spec: Spec) -> Preflight:
        """What a spec will cost on the cores that a job would have now. Raises ReflowError."""
        prepare(self.pool.threads)
        return preflight(spec, self.context(spec).library)

    def cost(self, spec: Spec) -> int:
        """Multiply-adds an image in the layers that can be pruned. Raises ReflowError."""
        return cost(spec, self.context(spec).library)

    def diagnose(self, spec: Spec, meanwhile: Callable[[Diagnosis], object] | None = None) -> Diagnosis:
        """The diagnosis of a spec; shows progress while it is computed, and stops when a newer control value comes.

        `meanwhile`: draws what the nearest sparsity that is known says, if one is, while this one is computed. The page
        then runs again: what is drawn once in a run cannot be replaced in it. Raises ReflowError.
        """
        return cast(Diagnosis, self.answer(Request(spec), meanwhile=meanwhile))

    def nearest(self, spec: Spec) -> Diagnosis | None:
        """The diagnosis that is stored of the nearest sparsity of the slider, other fields alike; None without one.

        Where sparsities by layer are given or a pattern fixes them, there is none that is alike. Raises ReflowError.
        """
        if not is_total(spec):
            return None
        context = self.context(spec)
        keys = {Request(at).key(context.library): at for at in along(spec)}
        there = [(abs(keys[key].sparsity - spec.sparsity), key) for key in context.store.which(keys)]
        return cast("Diagnosis | None", context.store.get(min(there)[1])) if there else None

    def inspect(self, name: str, spec: Spec, again: bool = False) -> Finding:
        """The finding of an inspection, likewise; `again`: not the one that is stored. Raises ReflowError."""
        return cast(Finding, self.answer(Request(spec, inspection=name), again))

    def answer(
        self, request: Request, anew: bool = False, meanwhile: Callable[[Diagnosis], object] | None = None
    ) -> Answer:
        """The answer to a request, likewise; `anew`: not the one that is stored. Raises ReflowError."""
        context = self.context(request.spec)
        slot = st.empty()  # there for every spec, so that what follows keeps its place on the page
        again = session().asked == request  # the sweep redrew the page, the visitor asked for nothing new: it goes on
        session().asked = request
        if not again:
            self.pool.attend()
        answer = None if anew else session().take_computed(request) or request.stored(context)
        if answer is None:
            places = TIMED if request.timed else 1
            work = functools.partial(request.answer, again=anew)
            near = None if meanwhile is None else self.nearest(request.spec)
            if meanwhile is not None and near is not None:
                meanwhile(near)
                skeleton.result_shown()
            answer = self._wait(work, context, slot, request.spec, places)
            self.pool.attend()
            if near is not None:
                session().computed = request, answer
                st.rerun()
        skeleton.result_shown()
        return cast(Answer, answer)

    def network_file(self, spec: Spec, kind: str) -> bytes:
        """The network of a spec as a file of a kind; shows progress meanwhile. Raises ReflowError."""
        work = functools.partial(network_file, spec, kind)
        return cast(bytes, self._wait(work, self.context(spec), st.empty(), spec))

    def _wait(
        self, work: Work, context: Context, slot: DeltaGenerator, spec: Spec | None = None, places: int = 1
    ) -> Any:
        asked, looked, shown = time.monotonic(), 0.0, None
        plan = None if spec is None else self.preflight(spec)
        what = "" if spec is None else f"{literal(bare_name(spec.model))} · "
        job = self.pool.submit(work, context=context, visitor=visitor(), places=places)
        place = skeleton.outline(slot)
        try:
            while not job.future.done():
                _ = "sparsity" in st.session_state  # any look into the session lets newer values interrupt
                every = POLL_S if job.turn is not None else QUEUE_S
                if (now := time.monotonic()) - asked > SOON_S and now - looked >= every:
                    looked = now
                    if (state := self._progress(job, plan)) != shown:
                        shown = state
                        place.progress(shown[0], what + shown[1])
                wait([job.future], timeout=POLL_S if job.turn is not None else WAITING_POLL_S)
            return job.future.result()
        finally:
            job.cancel()
            slot.empty()

    def _progress(self, job: Job, plan: Preflight | None) -> tuple[float, str]:
        """How far a job is: a share of its stage, and a sentence."""
        stage, done, total = job.progress
        if job.turn is None and stage not in IDLE:
            ahead = self.pool.ahead(job)
            waiting = "Other visitors' turn" if job.begun else "Waiting for a free worker"
            return done / max(total, 1), f"{waiting}, {ahead} ahead of you …" if ahead else f"{waiting} …"
        count = f": {done} of {total}" if total > 1 else ""
        left = None if plan is None else job.pace.left(plan.plan, plan.seconds_an_image, job.seconds)
        rest = " …" if left is None or left < SOON_OVER_S else f", about {left:.0f} s left"
        return done / max(total, 1), f"{STAGES.get(stage, stage)}{count}{rest}"


def unchanged(answer: Any) -> Any:
    """The digest of a sweep that keeps its answers as they are."""
    return answer


@st.cache_resource(scope="session", on_release=Visit.close, show_spinner=False)
def _visit(_shared: Library, _ledger: Ledger, _cluster: Cluster | None, device: str) -> Visit:
    return Visit.opened(_shared, _ledger, _cluster)


@st.cache_resource(show_spinner=False)
def lab() -> Lab:
    """Opened once a server; what a killed one left behind goes first."""
    started = Started.read(sys.argv[1:])
    remove_leftovers()
    for folder in (cache_folder(), weights_folder()):
        remove_part_files(folder)
        remove_leftovers(folder)
    allow(started.memory)
    LIMITS.most, LIMITS.least_free = started.downloads, started.free
    store, access = Store(most=started.cache, least_free=started.free), started.access
    library = Library(access)
    libraries = {name: library if name == "cpu" else Library(access, shared=library, device=name) for name in devices()}
    sandbox.prepare("reflow_core.present.reopen", "reflow_core.production.columns")
    bound_upload_memory()
    keep_for_good()
    ledger = Ledger(Quota(server=started.uploads, free=started.free))
    pool, cluster = Pool(Context(library, store)), None
    if started.cluster is not None:
        cluster = Cluster(started.cluster, pool.compute_elsewhere)
        cluster.begin()
        libraries = {"cpu": library}  # as workers compute
    compute = None if cluster is None else cluster.compute
    contexts = {name: Context(own, store, compute) for name, own in libraries.items()}
    return Lab(contexts, pool, Memo(size=32), ledger, started.on_demand, cluster)
