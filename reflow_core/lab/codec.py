"""Results as bytes and back: JSON for the words, safetensors for the numbers, nothing that could execute.

NumPy's own format is no choice here: reading its headers calls `ast.parse`, which two threads of Python 3.11 must not
do at once (python/cpython#106905).
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from reflow_core.diagnosis.result import Diagnosis
from reflow_core.production.finding import Finding, to_json
from reflow_core.repairs.training import Curve
from reflow_core.signal.layer_statistics import Layer
from reflow_core.signal.predictions import Predictions
from reflow_core.spec import Spec

Arrays = dict[str, NDArray[Any]]
MAGIC = b"F"  # before the bytes of a finding; those of a diagnosis begin otherwise
LARGEST = 128 << 20  # bytes that a result may have when it is unpacked; fifty thousand images take three million
_ARRAYS = ("labels", "predictions", "recalibrated_dense", "layers", "kept")
CONTROL = "control"  # the name of the recalibrated dense network among the predictions


def encode(answer: Diagnosis | Finding) -> bytes:
    """A diagnosis lossless in every value, a finding but for the kinds of missing values."""
    return _encode_diagnosis(answer) if isinstance(answer, Diagnosis) else _encode_finding(answer)


def decode(content: bytes) -> Diagnosis | Finding:
    """What was encoded. Raises ValueError, KeyError, TypeError or ReflowError for other bytes."""
    if content[:1] == MAGIC:
        return _decode_finding(_unpacked(content[1:]))
    return _decode_diagnosis(_unpacked(content))


def _unpacked(content: bytes) -> bytes:
    """At most LARGEST bytes, so that a few bytes from elsewhere cannot fill the memory."""
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(content, LARGEST)
    except zlib.error as error:
        raise ValueError("these bytes are not a result") from error
    if not unpacking.eof:
        raise ValueError("this result is truncated or too large")
    return unpacked


def _encode_finding(finding: Finding) -> bytes:
    return MAGIC + zlib.compress(json.dumps(to_json(finding), allow_nan=False).encode())


def _decode_finding(content: bytes) -> Finding:
    plain = json.loads(content)
    tables = {title: pd.DataFrame(table) for title, table in plain["tables"].items()}
    return Finding(**plain | {"spec": Spec(**plain["spec"]), "tables": tables, "notes": tuple(plain["notes"])})


def _encode_diagnosis(diagnosis: Diagnosis) -> bytes:
    plain = {f.name: getattr(diagnosis, f.name) for f in dataclasses.fields(diagnosis) if f.name not in _ARRAYS}
    plain |= {"spec": diagnosis.spec.to_dict(), "seconds": dict(diagnosis.seconds)}
    plain["curve"] = None if diagnosis.curve is None else dataclasses.asdict(diagnosis.curve)
    arrays: Arrays = (
        {"kept": diagnosis.kept} if diagnosis.labels is None else {"kept": diagnosis.kept, "labels": diagnosis.labels}
    )
    control = {} if diagnosis.recalibrated_dense is None else {CONTROL: diagnosis.recalibrated_dense}
    predictions = {**diagnosis.predictions, **control}
    plain["predictions"] = {name: _pack_predictions(name, each, arrays) for name, each in predictions.items()}
    plain["layers"] = [_pack_layer(number, layer, arrays) for number, layer in enumerate(diagnosis.layers)]
    arrays["plain"] = np.frombuffer(json.dumps(plain).encode(), dtype=np.uint8)
    return zlib.compress(save(arrays), level=1)


def _decode_diagnosis(content: bytes) -> Diagnosis:
    try:
        arrays = load(content)
    except SafetensorError as error:
        raise ValueError("these bytes are not a diagnosis") from error
    plain = json.loads(arrays["plain"].tobytes())
    predictions = {name: _unpack_predictions(name, row, arrays) for name, row in plain.pop("predictions").items()}
    layers = tuple(_unpack_layer(number, row, arrays) for number, row in enumerate(plain.pop("layers")))
    return Diagnosis(
        **plain
        | {
            "spec": Spec(**plain["spec"]),
            "classes": tuple(plain["classes"]),
            "unmeasured": tuple((name, reason) for name, reason in plain["unmeasured"]),
            "notes": tuple(plain["notes"]),
            "labels": arrays.get("labels"),
            "kept": arrays["kept"],
            "recalibrated_dense": predictions.pop(CONTROL, None),
            "curve": _curve(**plain["curve"]) if plain.get("curve") else None,
            "predictions": predictions,
            "layers": layers,
        }
    )


def _curve(train: list[float], held: list[float], judged: list[int], **others: Any) -> Curve:
    return Curve(tuple(train), tuple(held), tuple(judged), **others)


def _pack_predictions(variant: str, predictions: Predictions, arrays: Arrays) -> dict[str, Any]:
    arrays[f"{variant}.predicted"], arrays[f"{variant}.confidence"] = predictions.predicted, predictions.confidence
    return {"separability": predictions.separability, "finite": predictions.finite}


def _unpack_predictions(variant: str, row: Mapping[str, Any], arrays: Arrays) -> Predictions:
    return Predictions(arrays[f"{variant}.predicted"], arrays[f"{variant}.confidence"], **row)


def _pack_layer(number: int, layer: Layer, arrays: Arrays) -> dict[str, Any]:
    arrays |= {f"{number}.{variant}": variance for variant, variance in layer.variance.items()}
    row = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer) if f.name != "variance"}
    return row | {"variants": list(layer.variance)}


def _unpack_layer(number: int, row: dict[str, Any], arrays: Arrays) -> Layer:
    return Layer(variance={variant: arrays[f"{number}.{variant}"] for variant in row.pop("variants")}, **row)
