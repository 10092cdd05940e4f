"""What a diagnosis will cost, said before it is begun."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reflow_core.batches import at_once
from reflow_core.diagnosis.calibration import evaluation_inputs
from reflow_core.diagnosis.experiment import form_of, lent, trace_of
from reflow_core.diagnosis.stages import earlier_stages
from reflow_core.machine import Memory
from reflow_core.networks.info import Facts, facts_of
from reflow_core.repairs import repairs
from reflow_core.repairs.lockstep import HELD
from reflow_core.signal.copies import device_of, hooked
from reflow_core.signal.fold import Folded
from reflow_core.signal.layers import batch_norms, is_norm
from reflow_core.signal.predictions import logits_of
from reflow_core.sources.library import Library
from reflow_core.spec import Spec

SIZES = (1, 1, 8, 8, 32, 32, 128)  # images of the passes that warm up, as far as they make one pass
WARM_UP_S = 4.0  # of warm-up, at most; a busy machine is slow at one_image images
TRAINING = 4  # passes that a training step takes
COPIES = 3.3  # dense, a private and a folded copy, masks and the share of scores that is kept


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one image on this machine: seconds of a pass, bytes of its largest layer's in- and output.

    `waiting`: bytes of what arrives at its largest norm, which a calibration holds of all images. `at_once`: images of
    a pass.
    """

    seconds: float
    bytes: int
    waiting: int
    at_once: int


@dataclass(frozen=True, slots=True)
class Preflight:
    """The cost of one spec: `plan`, its passes as (stage, images) in order; expected `seconds_an_image`, `bytes`."""

    facts: Facts
    plan: tuple[tuple[str, int], ...]
    seconds_an_image: float
    bytes: int

    @property
    def seconds(self) -> float:
        """Expected, of all passes."""
        return self.images * self.seconds_an_image

    @property
    def images(self) -> int:
        """Over all passes."""
        return sum(images for _, images in self.plan)


def preflight(spec: Spec, source: Library) -> Preflight:
    """Count and measure; a warm-up pass over a few images is run once a network. Raises ReflowError."""
    network, images = source.network(spec.model), source.images(spec)
    inputs = evaluation_inputs(images.test, network.info)
    run = lambda: form_of(spec, source).of(lent(spec, source))  # noqa: E731
    one_image = source.recall(("measured", network.digest), lambda: measured(run(), inputs))
    info = repairs[spec.repair].info
    evaluated = min(spec.evaluation_images, len(images.test))
    there = min(spec.calibration_images, len(images.train))
    calibrated = there if info.needs_data else 0
    plan = [("dense", evaluated)]
    if batch_norms(network.module) and there:
        plan += [("control", there), ("control", evaluated)]
    plan += [("stages", len(earlier) * calibrated)] if (earlier := earlier_stages(spec)) else []
    training = [("distill", TRAINING * spec.epochs * calibrated)] if "epochs" in info.reads else []
    repairing = [("calibrate", calibrated), *training, ("repaired", evaluated)] if calibrated else []
    plan += [("pruned", evaluated), *repairing]
    weights = sum(parameter.numel() * parameter.element_size() for parameter in network.module.parameters())
    return Preflight(
        facts_of(network.module),
        tuple(plan),
        one_image.seconds,
        round(COPIES * weights)
        + min(one_image.at_once, max(evaluated, calibrated)) * one_image.bytes
        + min(round(HELD * calibrated * one_image.waiting), Memory.most or sys.maxsize),
    )


def cost(spec: Spec, source: Library) -> int:
    """Multiply-adds an image in the layers that can be pruned of a spec's network. Raises ReflowError."""
    return trace_of(spec, source).multiply_adds


def measured(network: nn.Module, inputs: Callable[[slice], Tensor]) -> Measured:
    """The quickest pass of one image; where that takes no time, of a few, or of as many as a batch has."""
    largest, waiting, example = 0, 0, inputs(slice(0, 1)).to(device_of(network))

    def look(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal largest, waiting
        tensors = [each for each in (*arguments, output) if isinstance(each, Tensor)]
        largest = max(largest, sum(each.nbytes for each in tensors))
        if isinstance(module, Folded) or is_norm(module):
            waiting = max(waiting, output.nbytes)

    leaves = [name for name, module in network.named_modules() if not list(module.children())]
    with torch.inference_mode():
        with hooked(network, after=dict.fromkeys(leaves, look)):
            network(example)
        spent = seconds = passed(network, example)
        most = at_once(example, example.device)
        for size in (size for size in SIZES if size <= most):
            if spent + size * seconds > WARM_UP_S:
                break
            again = passed(network, inputs(slice(0, size)).to(example.device))
            seconds, spent = min(seconds, again), spent + size * again
    return Measured(seconds, largest, waiting, most)


def passed(network: nn.Module, batch: Tensor) -> float:
    """Seconds an image of one forward pass."""
    begun = time.perf_counter()
    logits_of(network(batch)).cpu()  # which waits for an accelerator
    return (time.perf_counter() - begun) / len(batch)
