"""reflow_core: why a pruned network fails and what repairs it, without a browser.

>>> from reflow_core import Library, Spec, diagnose
>>> found = diagnose(Spec(sparsity=0.8), Library())
>>> found.pruned.accuracy < 0.3 < found.repaired.accuracy
True
"""

from reflow_core.diagnosis.diagnose import diagnose
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.production.finding import Finding
from reflow_core.production.inspections import inspect
from reflow_core.sources.library import Library
from reflow_core.spec import Spec

__all__ = ["Diagnosis", "Finding", "Library", "Spec", "diagnose", "inspect"]
