"""Whether a sweep shows previews, computed in bfloat16, before exact points."""

from __future__ import annotations

from reflow_core.diagnosis.experiment import half_pays_for
from reflow_core.diagnosis.preflight import preflight
from reflow_core.sources.library import Library
from reflow_core.spec import Spec

LONG_S = 5.0  # a diagnosis that a sweep has to wait for


def preview_pays(spec: Spec, source: Library) -> bool:
    """Whether a diagnosis takes long on this machine, and much less of its time in bfloat16. Raises ReflowError."""
    return preflight(spec, source).seconds >= LONG_S and half_pays_for(spec, source)
