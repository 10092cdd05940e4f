"""Reports that are opened again: a stranger's file, so all that is shown of it is checked and tried before."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reflow_core import sandbox
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.diagnosis.verdict import verdict
from reflow_core.errors import ReflowError
from reflow_core.lab import codec
from reflow_core.lab.sweep import pack
from reflow_core.present.report import Result, of_diagnosis, of_finding, written
from reflow_core.production.finding import Finding
from reflow_core.sandbox import Limits
from reflow_core.sources.library import MOST_CLASSES
from reflow_core.watch import Watch, ignore

PAYLOAD = re.compile(r'<script type="application/x-reflow-lab" id="result">([A-Za-z0-9+/=\s]*)</script>')
LARGEST = 32 << 20  # bytes of a report that is opened again; plotly's library alone takes about five million
MOST_CELLS = 1_000_000  # of all tables; fifty thousand images with their predictions take half of it
MOST_LAYERS = 2_000
LIMITS = Limits(memory=1 << 30, seconds=8, written=256 << 20)


def reopened(text: str, name: str) -> Result:
    """The result that the text of a report holds; nothing else in it is read. Raises ReflowError for any other text."""
    if (payload := PAYLOAD.search(text)) is None or not payload[1].strip():
        raise ReflowError(f"{name!r} is not a report that can be reopened; choose one made by Reflow Lab.")
    try:
        result = codec.decode(base64.b64decode(payload[1], validate=True))
        _check(result)
    except MemoryError:
        raise
    except Exception as error:  # the file decides what goes wrong
        reason = f" ({error})" if type(error) is ValueError else ""
        raise ReflowError(
            f"The result in {name!r} is damaged or was made by another version of the lab{reason}; create the "
            "report again."
        ) from None
    return result


def rewrite(path: Path, name: str, out: Path) -> None:
    """Write the result of a report to `out`, once everything that a page shows of it was drawn. Raises ReflowError."""
    result = reopened(path.read_text(errors="replace"), name)
    try:
        if isinstance(result, Diagnosis):
            pack(result)
            written(of_diagnosis(result, ""))
        else:
            written(of_finding(result, name, "", {}))
    except MemoryError:
        raise
    except Exception:
        raise ReflowError(f"The result in {name!r} is damaged and cannot be shown.") from None
    out.write_bytes(codec.encode(result))


def strange_report(path: Path, name: str, watch: Watch = ignore) -> Result:
    """The result of a report, read and tried by a worker process. Raises ReflowError and what `watch` does."""
    if path.stat().st_size > LARGEST:
        raise ReflowError(f"{name!r} is larger than any report of the lab ({LARGEST >> 20} MB); choose another file.")
    with sandbox.reading(rewrite, (path, name), name, LIMITS, watch) as out:
        return codec.decode(out.read_bytes())


def _check(result: Result) -> None:
    """Raises ValueError or TypeError for what no lab has written."""
    texts: list[Any] = list(result.notes)
    if isinstance(result, Diagnosis):
        _check_diagnosis(result)
        texts += [result.data, *result.classes, *(word for pair in result.unmeasured for word in pair)]
        texts += [layer.name for layer in result.layers]
        texts += [text for text in (result.reason, result.repair_report) if text is not None]
    else:
        _check_finding(result)
        texts += [result.answer, result.machine]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("words are missing")


def _check_diagnosis(diagnosis: Diagnosis) -> None:
    known, each = len(diagnosis.classes), diagnosis.predictions
    if not 1 <= known <= MOST_CLASSES or len(diagnosis.layers) > MOST_LAYERS or not {"dense", "pruned"} <= set(each):
        raise ValueError("classes, layers or predictions are missing or too many")
    count = len(each["dense"].predicted)
    own = [*each.values(), *filter(None, (diagnosis.recalibrated_dense,))]
    numbers = [predictions.predicted for predictions in own]
    numbers += [] if diagnosis.labels is None else [diagnosis.labels]
    if count == 0 or not all(_are_classes(array, count, known) for array in numbers):
        raise ValueError("predictions are not class numbers")
    if not all(predictions.confidence.shape == (count,) for predictions in own) or not _sizes_agree(diagnosis):
        raise ValueError("arrays are of different lengths")
    if any(len(variances) > MOST_CELLS for layer in diagnosis.layers for variances in layer.variance.values()):
        raise ValueError("layers have too many channels")
    _numbers_only(diagnosis.seconds)
    verdict(diagnosis)


def _are_classes(array: NDArray[Any], count: int, known: int) -> bool:
    return array.shape == (count,) and array.dtype.kind in "iu" and 0 <= int(array.min()) <= int(array.max()) < known


def _sizes_agree(diagnosis: Diagnosis) -> bool:
    """Whether each layer has as many channels in every variant."""
    lengths = [{variance.shape for variance in layer.variance.values()} for layer in diagnosis.layers]
    return all(len(shapes) == 1 and len(next(iter(shapes))) == 1 for shapes in lengths) and diagnosis.kept.ndim == 1


def _numbers_only(values: Mapping[str, Any]) -> None:
    if not all(isinstance(value, int | float) and np.isfinite(value) for value in values.values()):
        raise TypeError("numbers are missing")


def _check_finding(finding: Finding) -> None:
    cells = sum(table.size for table in finding.tables.values())
    if cells > MOST_CELLS or not isinstance(finding.facts, dict) or not isinstance(finding.passed, bool | None):
        raise ValueError("tables are too large or facts are missing")
