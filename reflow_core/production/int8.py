"""int8: weights rounded to their grid, and networks quantized by onnxruntime (static, QDQ), to be run on a CPU."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reflow_core.errors import ReflowError
from reflow_core.leftovers import LockedFolder
from reflow_core.production.onnx_file import INPUT, session
from reflow_core.signal.layers import PRUNABLE

LEVELS = 127  # of a symmetric grid to each side of zero
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
BATCH = 32
QUANTIZING = threading.Lock()  # the log level that is raised meanwhile belongs to all threads


def rounded(weight: Tensor) -> Tensor:
    """A weight (C_out, …) rounded to the int8 grid of each output channel, scale max|w| / 127; zero stays zero.

    So every value is off by half a scale at most.
    """
    scale = weight.flatten(1).abs().amax(1).clamp(min=torch.finfo(weight.dtype).tiny) / LEVELS
    scale = scale.view(-1, *[1] * (weight.ndim - 1))
    return (weight / scale).round() * scale


def round_weights(network: nn.Module) -> None:
    """Round the weights of all convolutions and linear layers of a cloned network, in place."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, PRUNABLE):
                module.weight.copy_(rounded(module.weight))


class _Batches:
    """Calibration images as onnxruntime reads them (its CalibrationDataReader): one batch after the other."""

    def __init__(self, images: Tensor) -> None:
        self._left = iter(images.split(BATCH))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch, None at the end."""
        batch = next(self._left, None)
        return None if batch is None else {INPUT: batch.numpy()}


def fast_int8() -> bool:
    """Whether this processor sums int8 products in 32 bits (VNNI); without it sums of two may overflow 16."""
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def quantized(content: bytes, images: Tensor, ranges_of: bytes | None = None) -> bytes:
    """An ONNX file with weights and activations in int8, ranges from calibration images (N, 3, H, W).

    Static, QDQ, weights by output channel. Where the processor would overflow, weights take 7 bits. `ranges_of`: a file
    of the same graph with other weights, whose activations set the ranges in place of this one's: what int8 is where
    nobody calibrates anew after weights have changed. Raises ReflowError for another graph.
    """
    import onnx  # both slow to import
    from onnxruntime.quantization import QDQQuantizer, QuantType
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    if ranges_of is not None and _names(ranges_of) != _names(content):
        raise ReflowError("The two files are not of the same network, so they cannot share activation ranges.")
    kinds = list({*QLinearOpsRegistry, *QDQRegistry})
    logger, level = logging.getLogger(), logging.getLogger().level
    with QUANTIZING, LockedFolder() as folder:
        logger.setLevel(logging.ERROR)  # it advises optimizing first, which the export has done
        try:
            ranges = _ranges(ranges_of or content, images, kinds, folder)
            types = QuantType.QInt8, QuantType.QUInt8
            model = onnx.load_model_from_string(content)
            quantizer = QDQQuantizer(model, True, not fast_int8(), *types, ranges, [], [], kinds, {})
            quantizer.quantize_model()
        finally:
            logger.setLevel(level)
        return bytes(quantizer.model.model.SerializeToString())


def _ranges(content: bytes, images: Tensor, kinds: list[str], folder: Path) -> Any:
    """The smallest and the largest value of every activation over calibration images, as onnxruntime keeps them."""
    from onnxruntime.quantization import create_calibrator

    place = folder / "float32.onnx"
    place.write_bytes(content)
    calibrator = create_calibrator(place, kinds, str(folder / "augmented.onnx"))
    calibrator.collect_data(_Batches(images))
    return calibrator.compute_data()


def _names(content: bytes) -> list[tuple[str, tuple[str, ...]]]:
    """The kind and the outputs of every node in order: what tells whether two files are of the same graph."""
    import onnx

    return [(node.op_type, tuple(node.output)) for node in onnx.load_model_from_string(content).graph.node]


def sqnr(content: bytes, int8: bytes, images: Tensor, layers: Sequence[str]) -> list[dict[str, Any]]:
    """Signal-to-quantization-noise ratio of each weight layer's output, in dB, in forward order.

    10·log10(Σ x² / Σ (x − x̂)²) over images (N, 3, H, W), where x̂ is what the int8 network puts out there.
    """
    rectified = _outputs(content, int8)
    before, after = (_values(file, list(rectified), images) for file in (content, int8))
    titles = layers if len(layers) == len(rectified) else list(rectified)
    rows = []
    for title, (name, clipped) in zip(titles, rectified.items(), strict=True):
        signal, noisy = ((np.maximum(side[name], 0) if clipped else side[name]) for side in (before, after))
        rows.append({"layer": title, "sqnr_db": decibels(signal, noisy)})
    return rows


def decibels(signal: NDArray[np.float32], noisy: NDArray[np.float32]) -> float:
    """Signal over noise in dB; 200 stands for no noise at all."""
    noise = float(np.square(signal.astype(np.float64) - noisy).sum())
    power = float(np.square(signal.astype(np.float64)).sum())
    return 200.0 if noise == 0 else float(10 * np.log10(max(power, 1e-300) / noise))


def _outputs(content: bytes, int8: bytes) -> dict[str, bool]:
    """The output of every node with weights, by a name that both files have, and whether a ReLU follows.

    The int8 file has no ReLU: rounding to unsigned numbers clips as it does, so both sides are to be clipped there.
    """
    import onnx

    graph, small = onnx.load_model_from_string(content).graph, onnx.load_model_from_string(int8).graph
    kept = {name for node in small.node for name in node.output}
    constant = {tensor.name for tensor in graph.initializer}
    after = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "Relu"}
    own = [node.output[0] for node in graph.node if node.op_type in WEIGHTED and set(node.input) & constant]
    return {name if name in kept else after.get(name, name): name in after for name in own}


def _values(content: bytes, outputs: Sequence[str], images: Tensor) -> Mapping[str, NDArray[np.float32]]:
    """What a network puts out at these places."""
    import onnx

    model = onnx.load_model_from_string(content)
    present = {output.name for output in model.graph.output}
    kinds = onnx.TensorProto.FLOAT
    for name in outputs:
        if name not in present:
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, kinds, None))
    file = io.BytesIO()
    onnx.save_model(model, file)
    values = session(file.getvalue()).run(list(outputs), {INPUT: images.numpy()})
    return dict(zip(outputs, values, strict=True))
