"""What a network predicts: one class and one confidence an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reflow_core.errors import ReflowError


@dataclass(frozen=True, eq=False, slots=True)
class Predictions:
    """What one network predicted: `predicted` (N,) class indices, `confidence` (N,) their softmax, 0 to 1.

    `separability`: leave-one-out nearest-class-mean accuracy of the penultimate features on the probed images.
    `finite`: False where the network put out NaN or infinity.
    """

    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]
    separability: float | None
    finite: bool = True

    def histogram(self, classes: int) -> NDArray[np.int64]:
        """Predictions a class, (classes,)."""
        return np.bincount(self.predicted, minlength=classes)


def logits_of(output: object) -> Tensor:
    """The logits in what a network returns: a tensor, the first of a tuple, or what stands under `logits`.

    Raises ReflowError for anything else.
    """
    if isinstance(output, Mapping):
        output = output.get("logits", output)
    output = getattr(output, "logits", output)
    if isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise ReflowError(
            f"The network returned a {type(output).__name__}; return a tensor of logits, a tuple that begins with it, "
            "or an object with .logits."
        )
    return output
