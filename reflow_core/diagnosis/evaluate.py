"""Evaluation: what a network predicts, and the signals of its layers, in one pass over the images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reflow_core.batches import at_once
from reflow_core.diagnosis.form import AS_IT_IS, Form, precision
from reflow_core.machine import fitting
from reflow_core.signal.copies import device_of, watched
from reflow_core.signal.predictions import Predictions, logits_of
from reflow_core.signal.probes import Probe, Signal
from reflow_core.signal.trace import Trace
from reflow_core.watch import Watch

PROBED = 128  # 256 images cost over 8 % of a pass over 512 (make bench: "probing")


@dataclass(frozen=True, eq=False, slots=True)
class Observation:
    """One network's predictions on the evaluation images and its signals by layer.

    `low`: how many images fitted at once where memory forced fewer than usual, else None.
    """

    predictions: Predictions
    signals: dict[str, Signal]
    low: int | None


def observe(
    network: nn.Module,
    trace: Trace,
    inputs: Callable[[slice], Tensor],
    labels: NDArray[np.int64] | None,
    count: int,
    watch: Watch,
    stage: str,
    form: Form = AS_IT_IS,
) -> Observation:
    """Predictions of a `network` on `count` images, its layers measured on the first `PROBED` of them.

    `inputs`: a slice of the images -> normalized floats (n, 3, H, W). `stage`: the name told to `watch`. `form`: how it
    runs; the network itself is left alone. Where memory runs out, all is done again in batches of half the size.
    Raises torch's own error where not one image fits, and ReflowError for a network that returns no logits.
    """
    quick, most = form.of(network), at_once(inputs(slice(0, 1)), device_of(network))

    def attempt(batch: int) -> Observation:
        predicted, confidence = [], []
        finite = True
        probe = Probe(quick, trace)
        watching = watched(quick, watch, stage, count, -(-count // batch))
        with torch.inference_mode(), precision(device_of(quick), form.half), watching, probe.attached():
            for start in range(0, count, batch):
                probe.room = max(0, min(PROBED, count) - start)
                images = inputs(slice(start, min(start + batch, count)))
                logits = logits_of(quick(images.to(device_of(quick), memory_format=form.layout))).float()
                finite &= bool(logits.isfinite().all())
                best = logits.softmax(1).max(1)
                predicted.append(best.indices.cpu())
                confidence.append(best.values.cpu())
            signals, separability = probe.signals(), probe.separability(labels)
        predictions = Predictions(torch.cat(predicted).numpy(), torch.cat(confidence).numpy(), separability, finite)
        return Observation(predictions, signals, batch if batch < most else None)

    return fitting(attempt, most)[0]
