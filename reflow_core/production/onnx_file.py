"""Networks as ONNX files in memory, and running them: BatchNorm is folded into the layer before it."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reflow_core.errors import ReflowError
from reflow_core.signal.copies import clone_module

if TYPE_CHECKING:
    import onnxruntime

OPSET = 18
INPUT, OUTPUT = "images", "logits"
EXPORTING = threading.Lock()  # the exporter keeps its state in globals


def export(network: nn.Module, example: Tensor, any_size: bool = False) -> bytes:
    """A network as an ONNX file for any number of images; `example` (1, 3, H, W). Raises ReflowError.

    `any_size`: for images of any size too, of a network that takes them.

    By the TorchScript exporter: it takes a second where the newer one takes seven, and folds BatchNorm as well.
    """
    file = io.BytesIO()
    sides = {2: "height", 3: "width"} if any_size else {}
    axes = {INPUT: {0: "batch"} | sides, OUTPUT: {0: "batch"}}
    with EXPORTING, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                clone_module(network).eval(),
                (example,),
                file,  # type: ignore[arg-type]  # the annotation knows paths only
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
        except Exception as error:  # the exporter and the network's own code raise any kind; none has an ONNX form
            reason = str(error).splitlines()[0][:200]
            raise ReflowError(f"This network cannot be exported to ONNX ({reason}).") from error
    return file.getvalue()


def largest_difference(content: bytes, network: nn.Module, images: Tensor) -> float:
    """The largest difference of a logit between file and network, as a fraction of the largest logit (at least 1)."""
    with torch.inference_mode():
        expected = network(images).numpy()
    difference = float(np.abs(run(session(content), images) - expected).max())
    return difference / max(1.0, float(np.abs(expected).max()))


def with_metadata(content: bytes, notes: Mapping[str, str]) -> bytes:
    """The file with notes in its metadata."""
    import onnx  # slow to import

    model = onnx.load_model_from_string(content)
    onnx.helper.set_model_props(model, dict(notes))
    return bytes(model.SerializeToString())


def session(content: bytes, threads: int | None = None) -> onnxruntime.InferenceSession:
    """A session on the CPU with as many threads as torch has, unless `threads` says otherwise."""
    import onnxruntime  # slow to import

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    # Its idle threads would otherwise spin on the cores that whatever runs next needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(runner: onnxruntime.InferenceSession, images: Tensor) -> NDArray[np.float32]:
    """Logits (N, K) of images (N, 3, H, W)."""
    logits: NDArray[np.float32] = runner.run([OUTPUT], {INPUT: images.numpy()})[0]
    return logits
