"""Inspections: one function a file, from a spec to a finding about what becomes of the network in production.

An inspection never asks a store or a pool; what is kept, and when it is made, is for whoever asks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from reflow_core.diagnosis.fields import normalize, set_aside
from reflow_core.production.finding import Finding
from reflow_core.registry import Info, Registry, import_siblings
from reflow_core.sources.library import Library
from reflow_core.spec import Spec
from reflow_core.watch import Watch, ignore


@dataclass(frozen=True, slots=True)
class InspectionInfo(Info):
    """`reads`: fields of the spec that it reads, whatever the methods read. `ignores`: fields that it does not read.

    `timed`: measures this machine.
    """

    reads: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()
    timed: bool = False


# (spec, source, watch) -> the finding. As `diagnose` does, it resolves names with `source`, calls `watch` at every
# batch and layer, and raises ReflowError for what cannot be inspected.
Inspection = Callable[[Spec, Library, Watch], Finding]
inspections: Registry[InspectionInfo, Inspection] = Registry("inspection")
import_siblings(__name__, list(__path__))


def inspect(name: str, spec: Spec, source: Library, watch: Watch = ignore) -> Finding:
    """The finding of the inspection called `name`; values that nothing reads are set aside with a note.

    Raises ReflowError.
    """
    info = inspections[name].info
    finding = inspections[name].function(normalize(spec, info.reads, info.ignores), source, watch)
    return dataclasses.replace(finding, notes=(*set_aside(spec, info.reads, info.ignores), *finding.notes))
