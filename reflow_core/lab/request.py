"""A request: what is asked of the lab about a spec. It knows its key in the store and how it is computed."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reflow_core.diagnosis.diagnose import diagnose
from reflow_core.diagnosis.fields import normalize, set_aside
from reflow_core.diagnosis.preview import preview_pays
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.lab.store import Store, code_hash
from reflow_core.machine import fingerprint
from reflow_core.production.claims import claims, plain, try_claim
from reflow_core.production.export import FORMATS, card, rebuild
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import InspectionInfo, inspect, inspections
from reflow_core.sources.library import Library
from reflow_core.spec import Spec
from reflow_core.watch import Watch, ignore

BEAT_S = 1.0
POLL_S = 0.05
WAITS = "wait for another process"  # the stage in which a request only looks whether another is ready
Answer = Diagnosis | Finding


Compute = Callable[["Request", Library, Watch], Answer]


@dataclass(frozen=True, eq=False, slots=True)
class Context:
    """Where a spec's names are resolved, where its results are kept, and how an answer is computed: None, here."""

    library: Library
    store: Store
    compute: Compute | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A diagnosis of a spec; or what an inspection, or the test of a claim, finds about it. At most one is named.

    `preview`: whether the diagnosis is one in bfloat16, which has a key of its own and never stands for the exact one.
    """

    spec: Spec
    inspection: str | None = None
    claim: str | None = None
    preview: bool = False

    def key(self, library: Library) -> str:
        """The store's key: what is asked, of which content, by which code; where timed, on which machine.

        Raises ReflowError for names that cannot be resolved.
        """
        spec, measured = self._normalized_spec(), self.inspection or self.claim or ("preview" if self.preview else "")
        machine = fingerprint() if self.timed else ""
        code = code_hash(findings=bool(self.inspection or self.claim))
        content = f"{measured}|{machine}|{spec.canonical()}|{library.identity(spec)}|{code}"
        return hashlib.sha256(content.encode()).hexdigest()

    def compute(self, library: Library, watch: Watch = ignore) -> Answer:
        """The answer, computed now. Raises ReflowError and what `watch` does."""
        spec = self._normalized_spec()
        if self.inspection is not None:
            return inspect(self.inspection, spec, library, watch)
        if self.claim is not None:
            return try_claim(self.claim, spec, library, watch)
        return diagnose(spec, library, watch, self.preview)

    def exact_or_preview(self, context: Context, watch: Watch = ignore) -> Any:
        """The exact answer where it is stored or soon computed, or a cluster computes; else a preview.

        Raises ReflowError and what `watch` does.
        """
        exact = self.stored(context)
        here = context.compute is None and self._diagnoses  # the race is this machine's
        if exact is None and here and preview_pays(self.spec, context.library):
            return dataclasses.replace(self, preview=True).answer(context, watch)
        return exact or self.answer(context, watch)

    def answer(self, context: Context, watch: Watch = ignore, again: bool = False) -> Any:
        """The stored answer, else (or `again`) a new one, which is stored; a note for each value set aside.

        Raises ReflowError and what `watch` does.
        """
        key = self.key(context.library)
        if again:
            context.store.forget(key)
        compute = context.compute or Request.compute
        return self.noted(_once(key, context.store, lambda beat: compute(self, context.library, beat), watch))

    def stored(self, context: Context) -> Answer | None:
        """The stored answer, None without one. Raises ReflowError."""
        answer = context.store.get(self.key(context.library))
        return None if answer is None else self.noted(answer)

    def noted(self, answer: Answer) -> Answer:
        """An answer with a sentence for each value of the spec that was set aside."""
        notes = () if self.claim is not None else set_aside(self.spec, self._info.reads, self._info.ignores)
        return dataclasses.replace(answer, notes=(*notes, *answer.notes)) if notes else answer

    @property
    def _info(self) -> InspectionInfo:
        return InspectionInfo("", "", "", "") if self.inspection is None else inspections[self.inspection].info

    @property
    def _diagnoses(self) -> bool:
        return self.inspection is None and self.claim is None

    @property
    def timed(self) -> bool:
        """Whether the answer says how long something takes on this machine, which nothing else may disturb."""
        return self.claim is not None or self._info.timed

    def _normalized_spec(self) -> Spec:
        if self.claim is not None:
            return plain(self.spec)
        return normalize(self.spec, self._info.reads, self._info.ignores)


def requests_for_claims(spec: Spec) -> list[Request]:
    """The test of every registered claim."""
    return [Request(spec, claim=name) for name in claims.names()]


def network_file(spec: Spec, kind: str, context: Context, watch: Watch = ignore) -> bytes:
    """The network of a spec as a file of a kind of `export.FORMATS`, with its card. Raises ReflowError."""
    diagnosis = Request(spec).answer(context, watch)
    made = rebuild(spec, context.library, watch)
    return FORMATS[kind][1](made, card(made, diagnosis))


def _once(key: str, store: Store, compute: Callable[[Watch], Answer], watch: Watch) -> Answer:
    """What the store has under a key, else what is computed; nothing is computed twice at a time.

    Another process that computes the same is waited for, as long as its heart beats.
    """
    while (kept := store.get(key)) is None:
        if store.claim(key):
            try:
                answer: Answer = store.get(key) or compute(_with_heartbeat(store, key, watch))
                store.put(key, answer)
            finally:
                store.release(key)
            return answer
        watch(WAITS, 0, 1)
        time.sleep(POLL_S)
    return kept


def _with_heartbeat(store: Store, key: str, watch: Watch) -> Watch:
    last = time.monotonic()

    def beat(stage: str, done: int, total: int) -> None:
        nonlocal last
        watch(stage, done, total)
        if time.monotonic() - last > BEAT_S:
            last = time.monotonic()
            store.beat(key)

    return beat
