"""Where a network runs, and what happens when its memory is short."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reflow_core import Library, Spec, diagnose
from reflow_core.errors import ReflowError
from reflow_core.machine import devices, out_of_memory
from reflow_core.sources.access import EVERYTHING
from reflow_core.sources.library import SHIPPED

MODEL = "resnet20-digits"
SMALL = Spec(evaluation_images=100, calibration_images=70, sparsity=0.8)
CODE = """
import torch
from reflow_core.networks.resnet import CifarResNet

REFLOW = {{"classes": 10, "size": (16, 16), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "train_view": "affine"}}

class Small(CifarResNet):
    def forward(self, x):
        if len(x) > {fits}:
            raise {error}
        return super().forward(x)

def network():
    return Small(3)
"""
ERRORS = {
    "accelerator": "torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')",
    "cpu": 'RuntimeError("[enforce fail] DefaultCPUAllocator: can\'t allocate memory: you tried to allocate 9 bytes")',
}


def guarded(folder: Path, fits: int, error: str) -> str:
    """The shipped network in a class of its own that has room for `fits` images at a time."""
    code = folder / "small.py"
    code.write_text(CODE.format(fits=fits, error=error))
    return f"{code}:network@{SHIPPED / f'{MODEL}.safetensors'}"


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_where_memory_is_short_smaller_batches_give_the_same_and_say_so(
    error: str, tmp_path: Path, library: Library
) -> None:
    spec = SMALL.replace(model=guarded(tmp_path, 40, error), data="digits")
    found, plain = diagnose(spec, Library(EVERYTHING)), diagnose(SMALL, library)
    for variant, answers in plain.predictions.items():
        assert (found.predictions[variant].predicted == answers.predicted).mean() >= 0.99, variant
    for layer, other in zip(found.layers, plain.layers, strict=True):
        assert layer.variance_ratio("repaired") == pytest.approx(other.variance_ratio("repaired"), rel=1e-3)
    assert found.repair_report is not None and "norm by norm in batches of 35" in found.repair_report
    assert any("the dense network ran in batches of 24 images" in note for note in found.notes)


def test_where_not_one_image_fits_a_sentence_says_so(tmp_path: Path) -> None:
    spec = SMALL.replace(model=guarded(tmp_path, 0, ERRORS["accelerator"]), data="digits")
    with pytest.raises(ReflowError, match="Out of memory"):
        diagnose(spec, Library(EVERYTHING))


def test_other_errors_of_torch_are_no_lack_of_memory() -> None:
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_another_device_is_another_key_and_leaves_the_shared_network_where_it_is(library: Library) -> None:
    other = Library(device="cpu:0")  # the same processor under another name, so that everything is moved
    found, plain = diagnose(SMALL, other), diagnose(SMALL, library)
    assert other.identity(SMALL) != library.identity(SMALL)
    assert all((found.predictions[name].predicted == own.predicted).all() for name, own in plain.predictions.items())
    assert other.network(MODEL).digest == library.network(MODEL).digest


@pytest.mark.skipif("cuda" not in devices(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("repair", ["reflow", "statcorr", "least-squares"])
@pytest.mark.parametrize("model", [MODEL, "mobilenet-digits", "convnext-digits", "vit-digits"])
def test_a_gpu_gives_the_same_to_half_a_point(model: str, repair: str, library: Library) -> None:
    spec = Spec(model, sparsity=0.7, repair=repair)
    found, plain = diagnose(spec, Library(device="cuda")), diagnose(spec, library)
    for variant, outcome in plain.outcomes().items():
        assert found.outcome(variant).accuracy == pytest.approx(outcome.accuracy, abs=0.005), variant
    assert torch.cuda.max_memory_allocated() > 0
