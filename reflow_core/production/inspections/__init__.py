"""Inspections: one function a file, from a spec to a finding about what becomes of the network in production."""

from __future__ import annotations

from collections.abc import Callable

from reflow_core.production.finding import Finding
from reflow_core.registry import Registry, import_siblings
from reflow_core.sources.library import Library
from reflow_core.spec import Spec
from reflow_core.watch import Watch, ignore

# (spec, source, watch) -> what was found; as `diagnose` does, it resolves names with `source`, calls `watch` at every
# batch and layer, and raises ReflowError for what cannot be inspected. One flagged `timed` measures this machine.
Inspection = Callable[[Spec, Library, Watch], Finding]
inspections: Registry[Inspection] = Registry("inspection")
import_siblings(__name__, list(__path__))


def inspect(name: str, spec: Spec, source: Library, watch: Watch = ignore) -> Finding:
    """The finding of the inspection called `name`. Raises ReflowError."""
    return inspections[name].function(spec, source, watch)
