"""The one function: a spec in, a diagnosis out. Knows no store, no executor and no page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from reflow_core.diagnosis.calibration import evaluating
from reflow_core.diagnosis.control import with_control
from reflow_core.diagnosis.evaluate import PROBED, Observation
from reflow_core.diagnosis.experiment import Experiment
from reflow_core.diagnosis.fields import normalize, set_aside, unused_fields
from reflow_core.diagnosis.result import Diagnosis
from reflow_core.networks.info import NetworkInfo
from reflow_core.numbers import percent
from reflow_core.pruning.masks import Masks, sparsity_of, taken
from reflow_core.repairs import Told
from reflow_core.signal.layer_statistics import compared
from reflow_core.sources.library import Library
from reflow_core.spec import Spec, parted
from reflow_core.watch import Watch, ignore

SAMPLED = 65_536  # weights whose fate a diagnosis remembers; a share is then right to 0.2 %
HARDLY = 1.5  # a dense network under this multiple of chance is no network for these images


def diagnose(spec: Spec, source: Library, watch: Watch = ignore, preview: bool = False) -> Diagnosis:
    """Prune, measure, repair and measure again, as a spec says.

    Args:
        spec: What to do to which network, on which images. Values that nothing reads are set aside with a note.
        source: Resolves names to content, and lends what many specs share; its networks are never changed.
        watch: Called at every batch and layer; may raise `Cancelled`.
        preview: Whether the pruned and the repaired network compute in bfloat16: sooner, and less exact.

    Returns:
        The diagnosis; the same spec and content give the same one, but for its seconds.

    Raises:
        ReflowError: For names or content that cannot be used, and where memory runs out.

    Example:
        >>> from reflow_core import Library, Spec, diagnose
        >>> diagnosis = diagnose(Spec(sparsity=0.8), Library())
        >>> diagnosis.pruned.accuracy < 0.3 < diagnosis.repaired.accuracy
        True
    """
    with Experiment.open(normalize(spec), source, watch, preview) as experiment:
        with experiment.timed("dense"):
            observed = {"dense": experiment.dense()}
        with experiment.timed("control"):
            control = experiment.control()
        pruned = experiment.prune()
        with experiment.timed("pruned"):
            observed["pruned"], network = experiment.observe_pruned(pruned)
        with experiment.timed("calibrate"):
            told, reason = experiment.repair(network)
        if told is not None:
            with experiment.timed("repaired"):
                observed["repaired"] = experiment.observe(network, "repaired", half=preview)
        diagnosis = _put_together(experiment, pruned.masks, observed, told, reason, set_aside(spec))
        return with_control(diagnosis, control)


def _put_together(
    experiment: Experiment,
    masks: Masks,
    observed: Mapping[str, Observation],
    told: Told | None,
    reason: str | None,
    notes: tuple[str, ...],
) -> Diagnosis:
    signals = {variant: observation.signals for variant, observation in observed.items()}
    return Diagnosis(
        spec=experiment.spec,
        data=experiment.images.name,
        classes=experiment.images.classes,
        labels=experiment.labels,
        predictions={variant: observation.predictions for variant, observation in observed.items()},
        layers=compared(experiment.trace, signals, {name: sparsity_of({name: mask}) for name, mask in masks.items()}),
        sparsity=sparsity_of(masks),
        weights=sum(mask.numel() for mask in masks.values()),
        probed=min(PROBED, len(experiment.evaluation)),
        reason=reason,
        repair_report=told and told.summary,
        unmeasured=experiment.trace.unmeasured,
        notes=(*notes, *_notes(experiment, observed)),
        kept=kept_sample(masks),
        seconds=experiment.seconds,
        preview=experiment.preview,
        curve=told and told.curve,
    )


def _notes(experiment: Experiment, observed: Mapping[str, Observation]) -> Iterator[str]:
    """What the person should know about the input and the output."""
    spec, info = experiment.spec, experiment.network.info
    yield from experiment.images.notes
    yield from _counts(experiment)
    yield from experiment.pruner.notes()
    for variant, observation in observed.items():
        if observation.low is not None:
            yield f"Low on memory: the {variant} network ran in batches of {observation.low} images."
    if "calibration_view" not in unused_fields(spec) and spec.calibration_view == "train":
        yield from view_notes(spec.model, info)
    if experiment.labels is None:
        yield "The images have no labels, so accuracy is not available. Prediction histograms and variance ratios are."
    elif (right := _right(experiment, observed["dense"])) < HARDLY / len(experiment.images.classes):
        yield (
            f"The dense network classifies only {percent(right)} of the images correctly, hardly more than "
            "chance. Check that these weights match the images, their classes and their normalization."
        )
    for variant, observation in observed.items():
        if not observation.predictions.finite:
            yield f"The {variant} network outputs NaN or infinity for some images."


def _counts(experiment: Experiment) -> Iterator[str]:
    """Where there are other or fewer images than one expects."""
    spec, images = experiment.spec, experiment.images
    if spec.evaluation_split == "train":
        yield "Evaluated on held-out training images, for choosing only; judge the result on test images."
    asked, there = spec.evaluation_images, len(experiment.evaluation)
    drawn = min(asked, len(evaluating(spec, images)))
    if there < drawn:
        yield f"The evaluation set is long-tailed: {there} of {drawn} images are kept."
    elif there < asked:
        yield f"{asked} evaluation images were requested; the data have {there}."
    asked, there = spec.calibration_images, len(images.train)
    if spec.repair != "none" and 0 < there < asked:
        yield f"{asked} calibration images were requested; the data have {there}."


def _right(experiment: Experiment, observation: Observation) -> float:
    """The share of the predictions that are right, 0 to 1, on labeled images."""
    return float((observation.predictions.predicted == experiment.labels).mean())


def view_notes(model: str, info: NetworkInfo) -> Iterator[str]:
    """What is only assumed of the images that training saw: statistics should come from the like of them."""
    if not info.train_view:
        yield (
            "Training augmentation unknown; calibrating on clean images may cost accuracy. “Recalibrated” on "
            "the dense card shows how much. If you know the augmentation, choose the calibration view (cifar, "
            "imagenet, affine)."
        )
    elif parted(model)[1]:
        yield (
            f"The checkpoint is assumed to be trained like {info.name}, with the training view "
            f"{info.train_view!r}. If it was not, choose another calibration view."
        )


def kept_sample(masks: Masks) -> NDArray[np.bool_]:
    """The masks at SAMPLED positions drawn once for all networks of this size, or everywhere where there are fewer."""
    count = sum(mask.numel() for mask in masks.values())
    drawn = torch.randint(count, (SAMPLED,), generator=torch.Generator().manual_seed(0)).sort().values
    return taken(masks, torch.arange(count) if count <= SAMPLED else drawn).numpy()
